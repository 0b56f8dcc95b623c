/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that is looked at, reached through one of its live threads: once the main thread has
 * ended, maps, exe, root and memory can be had through any other thread, and no longer through the
 * leader's number. Every call here may block; only the reader makes them.
 *
 * The directories in /proc are held open, and they stay bound to this process and this thread:
 * whoever gets the numbers next is not reached through them.
 */
#ifndef DEADHOLD_TASK_H
#define DEADHOLD_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cleanup.h"
#include "proc.h"

struct task {
	int32_t tgid;
	int32_t tid;	       /* of a live thread */
	struct proc_stat stat; /* the process's, when it was opened */
	int process;	       /* /proc/TGID */
	int thread;	       /* /proc/TGID/task/TID */
};

#define TASK_CLOSED                         \
	{                                   \
		.process = -1, .thread = -1 \
	}

/*
 * Opens process tgid. start_ticks: who it must be, 0: any. Returns 0 or -errno: -ESRCH also for
 * another start time, and for a process without a live thread. Close it in either case.
 */
int task_open(struct task *task, int32_t tgid, uint64_t start_ticks);
void task_close(struct task *task);
#define _cleanup_task_ _cleanup_(task_close)

/*
 * To be asked after the reads: 0: they were of this process; -EAGAIN: the thread ended meanwhile,
 * other threads may live; -ESRCH: the process ended.
 */
int task_check(const struct task *task);

/* A file of /proc, read up to size − 1 bytes and terminated. `dir`: process or thread above. The
 * number of bytes, or -errno. */
ssize_t task_read_file(int dir, const char *name, char *text, size_t size);
ssize_t task_read_link(int dir, const char *name, char *text, size_t size);
int task_read_stat(int dir, struct proc_stat *stat);

/* Memory at address: the number of bytes read from its start on, 1 to len, or -errno. */
ssize_t task_read_memory(const struct task *task, uint64_t address, void *to, size_t len);

/* The mappings of a thread's process, line by line. */
struct task_maps {
	int fd;
	bool skip;	   /* in the midst of a line that is too long */
	size_t start, end; /* of what is unread in text */
	char text[32768];  /* lines that don't fit are left out: nobody has such paths honestly */
};

int task_maps_open(struct task_maps *maps, int dir);
int task_smaps_open(struct task_maps *maps, int dir);
void task_maps_close(struct task_maps *maps);
/* 1 and the mapping (its path lives until the next call), 0 at the end, or -errno. */
int task_maps_next(struct task_maps *maps, struct proc_mapping *mapping);
/* Of smaps: the same for the next mapping behind which a userfaultfd stands; its path is not told. */
int task_smaps_userfault(struct task_maps *maps, struct proc_mapping *mapping);

#endif
