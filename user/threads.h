/* SPDX-License-Identifier: GPL-2.0-only */
/* What the threads of a process do at one moment, by /proc. None of these files takes the mmap lock. */
#ifndef DEADHOLD_THREADS_H
#define DEADHOLD_THREADS_H

#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"
#include "proc.h"

struct thread {
	struct thread_info info;
	char state;
	bool ended;	   /* or ending: it unlocks nothing any more */
	uint64_t switches; /* proc_status.switches */
	int error;	   /* of the system call's file: 0 or -errno */
	struct proc_syscall call;
};

struct threads {
	size_t n, room;
	struct thread *at; /* by TID */
};

/*
 * All threads in directory `process` (/proc/PID). `progress` is called after each. 0; -ESRCH: the
 * process ended; or another -errno. Free them in either case.
 */
int threads_read(int process, void (*progress)(void *), void *context, struct threads *threads);
void threads_free(struct threads *threads);
#define _cleanup_threads_ _cleanup_(threads_free)

/* By TID in the reader's namespace; by TID in their own (a living thread). NULL: there is none. */
struct thread *threads_find(const struct threads *threads, int32_t tid);
struct thread *threads_find_living(const struct threads *threads, int32_t ns_tid);

#endif
