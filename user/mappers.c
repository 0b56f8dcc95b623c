// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "look.h"
#include "task.h"

/* The PIDs of all processes, in order. */
struct pids {
	size_t n, room;
	int32_t *pid;
};

static void pids_free(struct pids *pids)
{
	free(pids->pid);
}

static int pids_add(struct pids *pids, int32_t pid)
{
	if (pids->n == pids->room) {
		size_t room = pids->room ? pids->room * 2 : 512;
		int32_t *grown = reallocarray(pids->pid, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		pids->pid = grown;
		pids->room = room;
	}
	pids->pid[pids->n++] = pid;
	return 0;
}

static int pid_compare(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

/* Those greater than `after`. */
static int pids_list(struct pids *pids, int32_t after)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		int32_t pid = atoi(entry->d_name);

		if (pid > after && pids_add(pids, pid))
			return -ENOMEM;
	}
	if (pids->n)
		qsort(pids->pid, pids->n, sizeof(*pids->pid), pid_compare);
	return 0;
}

/* 1: it maps that byte of the object, at *address; 0: it does not; or -errno. */
static int task_maps_object(const struct task *task, const struct mappers *mappers,
			    uint64_t *address)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct proc_mapping m;
	int err = task_maps_open(&maps, task->thread);

	if (err)
		return err;
	while ((err = task_maps_next(&maps, &m)) > 0)
		if (m.shared && m.inode == mappers->inode && m.device == mappers->device &&
		    mappers->offset >= m.offset && mappers->offset - m.offset < m.end - m.start) {
			*address = m.start + mappers->offset - m.offset;
			return 1;
		}
	return err;
}

/* Whether thread `name` of the process lives and is called ns_tid in its own namespace. */
static bool thread_is_owner(int tasks, const char *name, int32_t ns_tid)
{
	_cleanup_close_ int dir = openat(tasks, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct proc_status status;
	struct proc_stat stat;
	char text[8192];
	ssize_t n;

	if (dir < 0)
		return false;
	n = task_read_file(dir, "status", text, sizeof(text));
	if (n < 0 || proc_status_parse(text, n, &status) || status.ns_tid != ns_tid)
		return false;
	return !task_read_stat(dir, &stat) && !proc_stat_ended(&stat);
}

/* How many, or -errno; the last of them in *tid. */
static int task_count_owners(const struct task *task, int32_t ns_tid, int32_t *tid)
{
	_cleanup_close_ int fd = openat(task->process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int owners = 0;

	if (!tasks)
		return -errno;
	take_fd(&fd);
	while ((entry = readdir(tasks)))
		if (entry->d_name[0] != '.' &&
		    thread_is_owner(dirfd(tasks), entry->d_name, ns_tid)) {
			*tid = atoi(entry->d_name);
			owners++;
		}
	return owners;
}

static uint32_t task_namespace(const struct task *task)
{
	char text[64];
	ssize_t n = task_read_link(task->thread, "ns/pid", text, sizeof(text));

	return n > 0 ? proc_namespace_parse(text, n) : 0;
}

/* 0, or -errno when the process could not be looked at. */
static int mappers_look(const struct mappers *mappers, int32_t pid, struct mappers_answer *answer)
{
	_cleanup_task_ struct task task = TASK_CLOSED;
	int err = task_open(&task, pid, 0), owners;
	uint64_t address = 0;
	int32_t tid = 0;
	uint32_t pid_ns;

	if (err)
		return err;
	if (task.stat.flags & PROC_FLAG_KTHREAD)
		return 0;
	err = task_maps_object(&task, mappers, &address);
	/*
	 * Mappings that may not be read (a process with more rights than ours) matter only if the
	 * process could be the owner: its threads' numbers everybody may read.
	 */
	if ((err == -EACCES || err == -EPERM) && !task_count_owners(&task, mappers->ns_tid, &tid))
		return 0;
	if (err <= 0)
		return err ? err : task_check(&task); /* no maps: the thread may just have ended */
	owners = task_count_owners(&task, mappers->ns_tid, &tid);
	if (owners < 0)
		return owners;
	pid_ns = task_namespace(&task);
	if (!answer->count)
		answer->pid_ns = pid_ns;
	answer->foreign |= !pid_ns || pid_ns != answer->pid_ns;
	answer->count++;
	answer->owners += owners;
	if (!answer->owner_tid)
		answer->owner_tid = tid;
	if (!answer->first_pid) {
		answer->first_pid = pid;
		answer->first_start_ticks = task.stat.start_ticks;
		answer->first_address = address;
	}
	return 0;
}

static void mappers_look_again(const struct mappers *mappers, int32_t pid,
			       struct mappers_answer *answer)
{
	int err = -EAGAIN;

	for (int i = 0; i < 3 && err == -EAGAIN; i++)
		err = mappers_look(mappers, pid, answer);
	if (err && err != -ESRCH && err != -ENOENT)
		answer->unread++;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

int32_t mappers_read(const struct mappers *mappers, int32_t after, uint64_t until_ns,
		     volatile int32_t *at, struct mappers_answer *answer)
{
	_cleanup_(pids_free) struct pids pids = { 0 };

	answer->error = pids_list(&pids, after);
	if (answer->error)
		return 0;
	for (size_t i = 0; i < pids.n; i++) {
		*at = pids.pid[i];
		mappers_look_again(mappers, pids.pid[i], answer);
		if (i + 1 < pids.n && now_ns() >= until_ns)
			return pids.pid[i];
	}
	return 0;
}
