/* SPDX-License-Identifier: GPL-2.0-only */
/* What the threads of a process do at one moment, by /proc. None of these files takes the mmap lock. */
#ifndef DEADHOLD_ROSTER_H
#define DEADHOLD_ROSTER_H

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

struct roster {
	size_t n, room;
	struct thread *at; /* by TID */
};

/*
 * All threads in directory `process` (/proc/PID). `progress` is called after each. 0; -ESRCH: the
 * process ended; or another -errno. Free them in either case.
 */
int roster_read(int process, void (*progress)(void *), void *context, struct roster *roster);
void roster_free(struct roster *roster);
#define _cleanup_roster_ _cleanup_(roster_free)

/* By TID in the reader's namespace; by TID in their own (a living thread). NULL: there is none. */
struct thread *roster_find(const struct roster *roster, int32_t tid);
struct thread *roster_find_living(const struct roster *roster, int32_t ns_tid);

#endif
