// SPDX-License-Identifier: GPL-2.0-only
#include "module.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

void module_follow(struct module *module, const struct proc_mapping *m)
{
	if (m->inode && m->path) {
		bool same = module->end && module->inode == m->inode &&
			    module->device == m->device && m->offset > module->offset;

		if (!same) {
			module->start = m->start;
			module->offset = m->offset;
			module->device = m->device;
			module->inode = m->inode;
			proc_path_unescape(m->path, m->path_len, module->path,
					   sizeof(module->path));
		}
		module->end = m->end;
	} else if (module->end == m->start) {
		module->end = m->end; /* .bss; with a fixed layout the heap has merged into it */
	} else {
		module->end = 0;
	}
}

/*
 * Is that the file that is mapped? Its inode number says so. Overlay file systems (containers) show
 * another number in maps than stat(2) does: there the name has to do, where it is the process's own
 * name for it; the kernel says itself when a name is not the file's any more.
 */
static bool module_is_file(const struct module *module, int fd, bool own_name)
{
	struct stat st;
	struct statfs fs;

	if (fstat(fd, &st))
		return false;
	if (st.st_ino == module->inode)
		return true;
	return own_name && !fstatfs(fd, &fs) && fs.f_type == (__fsword_t)OVERLAYFS_SUPER_MAGIC;
}

static int module_open_exe(const struct task *task, const struct module *module)
{
	_cleanup_close_ int fd = symbol_file_open(task->thread, "exe", false);

	return fd >= 0 && module_is_file(module, fd, true) ? take_fd(&fd) : -1;
}

static int module_open_below(int root, const struct module *module, bool own_name)
{
	_cleanup_close_ int fd = symbol_file_open(root, module->path, true);

	return fd >= 0 && module_is_file(module, fd, own_name) ? take_fd(&fd) : -1;
}

/*
 * The module's file: the process's executable (which may be deleted by now), or the path below its
 * root. For a process in a chroot, maps shows paths from the root of the whole mount namespace, which
 * are found below ours.
 */
static int module_open(const struct task *task, const struct module *module)
{
	_cleanup_close_ int root = -1, own_root = -1;
	char exe[PATH_BYTES];
	size_t len;
	int fd;

	task_read_link(task->thread, "exe", exe, sizeof(exe));
	if (!strcmp(exe, module->path))
		return module_open_exe(task, module);
	if (module->path[0] != '/' || proc_path_deleted(module->path, &len))
		return -1;
	root = openat(task->thread, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -1;
	fd = module_open_below(root, module, true);
	if (fd >= 0)
		return fd;
	own_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return own_root < 0 ? -1 : module_open_below(own_root, module, false);
}

struct symbols *module_symbols(const struct task *task, const struct module *module, uint64_t *bias)
{
	_cleanup_symbols_ struct symbols *symbols = NULL;
	int fd = module_open(task, module);

	if (fd >= 0)
		symbols = symbols_new(fd);
	if (!symbols || symbols_bias(symbols, module->start, module->offset, bias))
		return NULL;
	return take_ptr(symbols);
}
