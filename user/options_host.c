// SPDX-License-Identifier: GPL-2.0-only
/* Does this host have what the command line names? */
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proc.h"
#include "task.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
/* Where systemd puts version 2 beside version 1. */
#define CGROUP_ROOT_UNIFIED CGROUP_ROOT "/unified"

/* What /proc says of a number: who it is, and whether it is still there. 0, or -ESRCH. */
static int id_find(int32_t id, struct proc_status *status, struct proc_stat *stat)
{
	_cleanup_close_ int dir = -1;
	char text[8192];
	ssize_t n;

	snprintf(text, sizeof(text), "/proc/%d", id);
	dir = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -ESRCH;
	n = task_read_file(dir, "status", text, sizeof(text));
	if (n < 0 || proc_status_parse(text, n, status) || task_read_stat(dir, stat))
		return -ESRCH;
	return 0;
}

int options_check_process(const char *what, int32_t pid)
{
	struct proc_status status;
	struct proc_stat stat;
	char thread[32];

	if (id_find(pid, &status, &stat)) {
		fprintf(stderr,
			"deadhold: no process %d for %s: it has ended or never was; see 'ps -e'\n",
			pid, what);
		return -ESRCH;
	}
	if (status.tgid != pid) {
		snprintf(thread, sizeof(thread), ", or -t %d", pid);
		fprintf(stderr,
			"deadhold: %d is a thread of process %d, not a process: use %s %d%s\n", pid,
			status.tgid, what, status.tgid, what[0] == '-' ? thread : "");
		return -ESRCH;
	}
	/* A main thread that has ended stays as a zombie while its process lives on. */
	if (proc_stat_ended(&stat) && stat.threads <= 1) {
		fprintf(stderr,
			"deadhold: process %d has ended: its parent, %d, has not collected it yet\n",
			pid, status.ppid);
		return -ESRCH;
	}
	return 0;
}

static int thread_check(int32_t tid)
{
	struct proc_status status;
	struct proc_stat stat;

	if (!id_find(tid, &status, &stat) && !proc_stat_ended(&stat))
		return 0;
	fprintf(stderr, "deadhold: no thread %d for -t: it has ended or never was; see 'ps -eL'\n",
		tid);
	return -ESRCH;
}

static bool path_below(const char *path, const char *root)
{
	size_t n = strlen(root);

	return !strncmp(path, root, n) && (!path[n] || path[n] == '/');
}

/* A directory that exists and does not lead out of the cgroup file systems. */
static int cgroup_resolve(const char *root, const char *below, char *path, size_t size)
{
	_cleanup_free_ char *joined = NULL, *real = NULL;
	struct stat st;

	if (asprintf(&joined, "%s/%s", root, below) < 0) {
		joined = NULL;
		return -ENOMEM;
	}
	real = realpath(joined, NULL);
	if (!real || stat(real, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (!path_below(real, CGROUP_ROOT))
		return -ENOENT;
	if (strlen(real) >= size)
		return -ENAMETOOLONG;
	strcpy(path, real);
	return 0;
}

int options_cgroup_path(const char *given, char *path, size_t size)
{
	struct stat st;

	if (path_below(given, CGROUP_ROOT))
		return cgroup_resolve("", given, path, size);
	if (!stat(CGROUP_ROOT_UNIFIED "/cgroup.procs", &st))
		return cgroup_resolve(CGROUP_ROOT_UNIFIED, given, path, size);
	return cgroup_resolve(CGROUP_ROOT, given, path, size);
}

static int cgroup_check(const char *given)
{
	char path[PATH_MAX];
	int err = options_cgroup_path(given, path, sizeof(path));

	if (err)
		fprintf(stderr,
			"deadhold: no cgroup '%s' (%s): use a directory below " CGROUP_ROOT
			", or a path as in /proc/PID/cgroup\n",
			given, strerror(-err));
	return err;
}

static int processes_check(const char *option, const struct id_list *list)
{
	int err = 0;

	for (size_t i = 0; i < list->n && !err; i++)
		err = options_check_process(option, list->id[i]);
	return err;
}

int options_check_host(const struct options *options)
{
	int err = processes_check("-p", &options->pids);

	if (!err)
		err = processes_check("--sender-pid", &options->sender_pids);
	for (size_t i = 0; i < options->tids.n && !err; i++)
		err = thread_check(options->tids.id[i]);
	for (size_t i = 0; i < options->cgroups.n && !err; i++)
		err = cgroup_check(options->cgroups.word[i]);
	return err;
}
