// SPDX-License-Identifier: GPL-2.0-only
#include "task.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

ssize_t task_read_file(int dir, const char *name, char *text, size_t size)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	text[0] = 0;
	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		ssize_t n = read(fd, text + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += n;
	}
	text[len] = 0;
	return len;
}

ssize_t task_read_link(int dir, const char *name, char *text, size_t size)
{
	ssize_t n = readlinkat(dir, name, text, size - 1);

	text[n < 0 ? 0 : n] = 0;
	return n < 0 ? -errno : n;
}

static int stat_read(int dir, const char *name, struct proc_stat *stat)
{
	char text[1024]; /* comm and some fifty numbers */
	ssize_t n = task_read_file(dir, name, text, sizeof(text));

	return n < 0 ? n : proc_stat_parse(text, n, stat);
}

int task_read_stat(int dir, struct proc_stat *stat)
{
	return stat_read(dir, "stat", stat);
}

/*
 * Name, parent and start of a process are its main thread's, which has a stat file of its own for as
 * long as the process is there, ended or not. The process's file has the same, but adds up the times of
 * all its threads for each reader: milliseconds where they are thousands.
 */
static int task_read_leader(const struct task *task, struct proc_stat *stat)
{
	char name[32];

	snprintf(name, sizeof(name), "task/%d/stat", task->tgid);
	return stat_read(task->process, name, stat);
}

/* /proc says that a process is gone in two ways: the name is not there, or the read fails. */
static int task_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR ? -ESRCH : error;
}

/* Takes the thread if it is alive. */
static int task_try_thread(struct task *task, const char *tid)
{
	_cleanup_close_ int tasks = openat(task->process, "task", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = -1;
	struct proc_stat stat;
	int err;

	if (tasks < 0)
		return task_gone(-errno);
	dir = openat(tasks, tid, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return task_gone(-errno);
	err = task_read_stat(dir, &stat);
	if (err)
		return task_gone(err);
	if (proc_stat_ended(&stat))
		return -ESRCH;
	task->tid = stat.pid;
	task->thread = take_fd(&dir);
	return 0;
}

static int task_find_thread(struct task *task)
{
	_cleanup_close_ int fd = openat(task->process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *tasks = NULL;
	struct dirent *entry;

	if (fd < 0)
		return task_gone(-errno);
	tasks = fdopendir(fd);
	if (!tasks)
		return -errno;
	take_fd(&fd);
	while ((entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && !task_try_thread(task, entry->d_name))
			return 0;
	return -ESRCH;
}

int task_open(struct task *task, int32_t tgid, uint64_t start_ticks)
{
	char name[32];
	int err;

	*task = (struct task)TASK_CLOSED;
	task->tgid = tgid;
	snprintf(name, sizeof(name), "/proc/%d", tgid);
	task->process = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (task->process < 0)
		return task_gone(-errno);
	err = task_read_leader(task, &task->stat);
	if (err)
		return task_gone(err);
	if (start_ticks && task->stat.start_ticks != start_ticks)
		return -ESRCH;
	/* Nearly always the main thread lives. */
	snprintf(name, sizeof(name), "%d", tgid);
	return task_try_thread(task, name) ? task_find_thread(task) : 0;
}

void task_close(struct task *task)
{
	cleanup_close(&task->thread);
	cleanup_close(&task->process);
	task->thread = task->process = -1;
}

int task_check(const struct task *task)
{
	struct proc_stat stat;
	int err = task_read_leader(task, &stat);

	if (err)
		return task_gone(err);
	if (stat.start_ticks != task->stat.start_ticks)
		return -ESRCH;
	/* As long as it lives, nobody else has its number: process_vm_readv() met the right one. */
	err = task_gone(task_read_stat(task->thread, &stat));
	if (err == -ESRCH || (!err && proc_stat_ended(&stat)))
		return -EAGAIN;
	return err;
}

ssize_t task_read_memory(const struct task *task, uint64_t address, void *to, size_t len)
{
	struct iovec local = { to, len }, remote = { (void *)(uintptr_t)address, len };
	ssize_t n = process_vm_readv(task->tid, &local, 1, &remote, 1, 0);

	return n < 0 ? -errno : n;
}

static int maps_open(struct task_maps *maps, int dir, const char *name)
{
	maps->start = maps->end = 0;
	maps->skip = false;
	maps->fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	return maps->fd < 0 ? -errno : 0;
}

int task_maps_open(struct task_maps *maps, int dir)
{
	return maps_open(maps, dir, "maps");
}

int task_smaps_open(struct task_maps *maps, int dir)
{
	return maps_open(maps, dir, "smaps");
}

void task_maps_close(struct task_maps *maps)
{
	cleanup_close(&maps->fd);
	maps->fd = -1;
}

/* Bytes read, 0 at the end of the file, or -errno. */
static ssize_t maps_fill(struct task_maps *maps)
{
	ssize_t n;

	memmove(maps->text, maps->text + maps->start, maps->end - maps->start);
	maps->end -= maps->start;
	maps->start = 0;
	if (maps->end == sizeof(maps->text)) {
		maps->end = 0;
		maps->skip = true;
	}
	do
		n = read(maps->fd, maps->text + maps->end, sizeof(maps->text) - maps->end);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	maps->end += n;
	return n;
}

/* 1 and the next line that fits, without its newline (it lives until the next call), 0, or -errno. */
static int maps_line(struct task_maps *maps, const char **line, size_t *len)
{
	for (;;) {
		char *newline = memchr(maps->text + maps->start, '\n', maps->end - maps->start);
		ssize_t n;

		if (newline) {
			bool whole = !maps->skip;

			*line = maps->text + maps->start;
			*len = newline - *line;
			maps->start = newline + 1 - maps->text;
			maps->skip = false;
			if (whole)
				return 1;
			continue;
		}
		n = maps_fill(maps);
		if (n <= 0)
			return n;
	}
}

int task_maps_next(struct task_maps *maps, struct proc_mapping *mapping)
{
	const char *line;
	size_t len;
	int n;

	while ((n = maps_line(maps, &line, &len)) > 0)
		if (!proc_mapping_parse(line, len, mapping))
			return 1;
	return n;
}

int task_smaps_userfault(struct task_maps *maps, struct proc_mapping *mapping)
{
	struct proc_mapping m;
	const char *line;
	size_t len;
	int n;

	*mapping = (struct proc_mapping){ 0 };
	while ((n = maps_line(maps, &line, &len)) > 0) {
		if (!proc_mapping_parse(line, len, &m)) {
			*mapping = m;
			mapping->path = NULL;
		} else if (proc_smaps_userfault(line, len)) {
			return 1;
		}
	}
	return n;
}
