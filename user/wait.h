/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What does a thread wait for? From its system call, as /proc has it, and the memory around its futex
 * word. Pure functions; what the memory does not prove stays "a futex".
 */
#ifndef DEADHOLD_WAIT_H
#define DEADHOLD_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "alert.h"
#include "lock.h"
#include "proc.h"

enum wait_what {
	WAIT_UNKNOWN, /* it could not be read */
	WAIT_RUNS,    /* or is about to */
	WAIT_STOPPED, /* by a signal or a debugger, and out of no futex call */
	WAIT_OUTSIDE, /* asleep in the kernel without a system call: a page fault, or frozen */
	WAIT_CALL,    /* another system call */
	WAIT_FUTEX,   /* a futex that is nothing of the following, or nothing that is proven */
	WAIT_LOCK,
	WAIT_JOIN,
	WAIT_CONDITION,
	WAIT_SEMAPHORE,
	WAIT_BARRIER,
	WAIT_QUEUE, /* Python's queue.SimpleQueue */
	WAIT_GIL,   /* Python's global interpreter lock */
	WAIT_WHATS,
};

struct wait {
	enum wait_what what;
	int32_t number; /* of the system call; -1: in none */
	/* A futex call: what, and those below it. */
	uint32_t op, val;
	uint64_t word;
	uint64_t timeout; /* of the struct timespec; 0: none */
	uint64_t sp;
	uint64_t pc;
	bool restarted; /* restart_syscall: the registers are the old call's, whatever that was */
	bool stopped; /* out of that call: it makes it again when it may run, or has just ended it */
};

/* state: as in /proc/TID/stat. */
struct wait wait_of_call(char state, const struct proc_syscall *call);

/* By a signal or a debugger; state: as above. */
bool wait_is_stopped(char state);

/*
 * A thread that was stopped or frozen on its way out of the call looks like one that sleeps there. Its word
 * tells: nobody who finds it like that waits. ns_tid: the thread's own.
 */
bool wait_is_over(const struct wait *wait, const struct lock_words *words, uint32_t ns_tid);

/* The same wait still: it has gone to sleep there once and not run since. */
bool wait_same(const struct wait *a, const struct wait *b);

/* Does it end by itself? */
bool wait_timed(const struct wait *wait);

/* A lock that records no owner, or whose holders are readers. */
struct wait_ownerless {
	uint64_t address; /* of the object */
	enum lock_type type;
	uint32_t readers; /* of an rwlock that readers hold; else 0 */
};

/*
 * Is it a lock without a known owner? What makes such calls: rwlocks that readers hold, glibc's own
 * low-level locks, musl's normal mutex, the locks of Rust and Go. To be asked after lock_layout().
 */
bool wait_is_ownerless(const struct wait *wait, const struct lock_words *words,
		       struct wait_ownerless *lock);

/*
 * A condition variable, a semaphore, a barrier, if the counts in it fit: n threads were seen to wait
 * there, of `threads` of the process. Else WAIT_FUTEX. glibc 2.25 on; of musl no barriers.
 */
enum wait_what wait_object(const struct wait *wait, enum lock_libc libc,
			   const struct lock_words *words, uint32_t n, uint32_t threads);

/*
 * Could it be a pthread_join()? The places at which the joined thread's descriptor may lie then, and in it
 * the TID. A descriptor begins with a pointer to itself: that tells which it is, if any.
 */
struct wait_joined {
	uint64_t descriptor;
	uint64_t tid; /* address of the TID */
};
#define WAIT_JOINS 3
/* Returns how many it filled in; 0: it is none. */
size_t wait_joins(const struct wait *wait, enum lock_libc libc, struct wait_joined *joined);

/* FUTEX_WAIT … */
const char *wait_op_name(uint32_t op);
/* lock, join, condition …: as docs/inspect.md has it. */
const char *wait_what_name(enum wait_what what);

#endif
