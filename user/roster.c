// SPDX-License-Identifier: GPL-2.0-only
#include "roster.h"

#include <fcntl.h>
#include <string.h>

#include "task.h"

#define STATUS_BYTES  8192 /* a page of it, unless there are thousands of CPUs */
#define SYSCALL_BYTES 256

static int thread_read_call(int dir, struct proc_syscall *call)
{
	char text[SYSCALL_BYTES];
	ssize_t n = task_read_file(dir, "syscall", text, sizeof(text));

	return n < 0 ? n : proc_syscall_parse(text, n, call);
}

static int thread_gone(int error)
{
	return error == -ENOENT || error == -ESRCH ? 0 : error;
}

/* 1; 0: it ended; or -errno: nobody may be taken for dead because a file could not be read. */
static int thread_read(int tasks, const char *tid, struct thread *thread)
{
	_cleanup_close_ int dir = openat(tasks, tid, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct proc_status status;
	struct proc_stat stat;
	char text[STATUS_BYTES];
	ssize_t n;
	int err;

	if (dir < 0)
		return thread_gone(-errno);
	err = task_read_stat(dir, &stat);
	if (err)
		return thread_gone(err);
	n = task_read_file(dir, "status", text, sizeof(text));
	if (n < 0)
		return thread_gone(n);
	err = proc_status_parse(text, n, &status);
	if (err)
		return err;
	*thread = (struct thread){
		.info = { .tid = stat.pid,
			  .ns_tid = status.ns_tid,
			  .start_ticks = stat.start_ticks },
		.state = stat.state,
		.ended = proc_stat_ended(&stat),
		.switches = status.switches,
	};
	memcpy(thread->info.name, stat.comm, sizeof(thread->info.name));
	thread->error = thread_read_call(dir, &thread->call);
	return 1;
}

static int thread_compare(const void *a, const void *b)
{
	const struct thread *x = a, *y = b;

	return (x->info.tid > y->info.tid) - (x->info.tid < y->info.tid);
}

static int roster_add(struct roster *roster, const struct thread *thread)
{
	if (roster->n == roster->room) {
		size_t room = roster->room ? roster->room * 2 : 64;
		struct thread *grown = reallocarray(roster->at, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		roster->at = grown;
		roster->room = room;
	}
	roster->at[roster->n++] = *thread;
	return 0;
}

int roster_read(int process, void (*progress)(void *), void *context, struct roster *roster)
{
	_cleanup_close_ int fd = openat(process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct thread thread;
	int err = 0;

	*roster = (struct roster){ 0 };
	if (!tasks)
		return errno == ENOENT ? -ESRCH : -errno;
	take_fd(&fd);
	while (!err && (entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		err = thread_read(dirfd(tasks), entry->d_name, &thread);
		if (err > 0)
			err = roster_add(roster, &thread);
		progress(context);
	}
	if (roster->n)
		qsort(roster->at, roster->n, sizeof(*roster->at), thread_compare);
	return err ?: roster->n ? 0 : -ESRCH;
}

void roster_free(struct roster *roster)
{
	free(roster->at);
	*roster = (struct roster){ 0 };
}

struct thread *roster_find(const struct roster *roster, int32_t tid)
{
	struct thread key = { .info.tid = tid };

	if (!roster->n)
		return NULL;
	return bsearch(&key, roster->at, roster->n, sizeof(key), thread_compare);
}

struct thread *roster_find_living(const struct roster *roster, int32_t ns_tid)
{
	/* Nearly always the same number. */
	struct thread *thread = roster_find(roster, ns_tid);

	if (thread && thread->info.ns_tid == ns_tid)
		return thread->ended ? NULL : thread;
	for (size_t i = 0; i < roster->n; i++)
		if (roster->at[i].info.ns_tid == ns_tid)
			return roster->at[i].ended ? NULL : &roster->at[i];
	return NULL;
}
