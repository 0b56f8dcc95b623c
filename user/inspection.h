/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was seen of one process: its threads, what they wait for, the locks and who holds them, and what
 * follows from it. Filled by survey.c, printed by inspection_text() and its like. docs/inspect.md has
 * it field by field.
 *
 * A thread's wait for a lock, and a lock's owner, are in here only if two readings agreed.
 */
#ifndef DEADHOLD_INSPECTION_H
#define DEADHOLD_INSPECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"
#include "graph.h"
#include "wait.h"
#include "words.h"

struct seen_thread {
	int32_t tgid; /* of its process: the inspected one, or that of an owner elsewhere */
	struct thread_info info;
	char state; /* as ps shows it */
	struct wait wait;
	bool parked;	    /* it sleeps as libc parks threads that can never have their lock */
	bool has_timeout;   /* wait_timed(), and how long: */
	bool absolute;	    /* timeout_ns is a point in time of CLOCK_REALTIME */
	int64_t timeout_ns; /* -1: could not be read */
	uint64_t asleep_ns; /* so long at least; 0: unknown */
	int lock;	    /* waits for it, or NOBODY */
	int joins;	    /* waits for this thread to end, or NOBODY */
	uint64_t
		gil; /* waits for this GIL, which is in `gils` if it is known who holds it; 0: none */
};

struct seen_lock {
	struct lock_info info;
	enum owner_state owner_state;
	int owner;	   /* the thread, or NOBODY; info.owner_tid is what the memory says */
	bool inherited;	   /* fork copied it while a thread of the parent held it */
	bool maybe_copied; /* the owner's number is below the process's own: it may be so */
	bool found;	   /* by census, not by somebody who waits for it */
	bool suspected;	   /* found, and what speaks for it is not enough */
	bool owner_died;   /* the kernel's or libc's mark is on it */
	const char *why;   /* the owner is not known; NULL: it is, or is dead */
	uint32_t readers;  /* an rwlock that so many readers hold; they are recorded nowhere */
	size_t waiters;	   /* threads here that wait for it */
};

/* CPython's global interpreter lock, where both readings said that the same thread holds it. */
#define SEEN_GILS 8
struct seen_gil {
	uint64_t address;
	int holder;  /* the thread */
	bool asleep; /* it slept all the time: nobody else can have had it */
	/* From here on by inspection_judge(). */
	size_t waiters;
};

/* What could not be decided, and why. */
struct unclear {
	char *what; /* malloc'd both */
	const char *why;
};

enum verdict { VERDICT_OK, VERDICT_BLOCKED, VERDICT_DEADLOCK, VERDICT_ORPHAN, VERDICTS };

struct inspection {
	struct process_info process;
	enum lock_libc libc;
	int64_t time_ns;  /* CLOCK_REALTIME, of the last reading */
	int64_t apart_ns; /* between the two readings; 0: one was enough */
	size_t n_threads;
	struct seen_thread *threads;
	size_t n_own; /* of those, the first so many are the process's own */
	size_t n_locks;
	struct seen_lock *locks;
	size_t n_gils;
	struct seen_gil gils[SEEN_GILS];
	struct census_info census; /* bytes.scanned 0: there was none */
	bool more_finds;	   /* than there are locks here */
	size_t n_unclear;
	struct unclear *unclear;

	/* From here on by inspection_judge(). */
	struct graph graph;
	enum verdict verdict;
};

/* Follows the graph. 0 or -ENOMEM. */
int inspection_judge(struct inspection *inspection);
/* Forgets locks for which nobody waits and that no dead thread holds. Says what of the rest is unclear. */
void inspection_prune(struct inspection *inspection);
void inspection_free(struct inspection *inspection);

/* Remembers what could not be decided. Lost where there is no memory. why: lives for ever. */
void inspection_unclear(struct inspection *inspection, const char *why, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

/* Nobody can free it any more, and nobody can recover it. */
bool lock_is_orphaned(const struct seen_lock *lock);
/* Orphaned, by more than the looks of memory for which nobody waits. */
bool inspection_is_proven(const struct inspection *inspection);
/* The one of `gils` that the thread waits for, or NOBODY. */
int inspection_gil(const struct inspection *inspection, int thread);
/* So many threads are stuck behind this lock, those too that wait for other threads which are. */
size_t inspection_stuck(const struct inspection *inspection, int lock);

const char *verdict_name(enum verdict verdict);
const char *owner_state_name(enum owner_state state);

/* Threads of its own that libc parked, and of which is not known what they want: a PI mutex, of a dead one. */
size_t inspection_parked(const struct inspection *inspection);

/* Our name for a thread: words.h; with its process, if that is another one. */
const char *inspection_label(const struct inspection *inspection, int thread, char out[WHO_BYTES]);
/* "waits for lock 0x55d0c2f050e0", "wait on a condition variable": what it does, as of n threads. */
#define WAIT_WORDS_BYTES (WHO_BYTES + 64)
const char *inspection_wait(const struct inspection *inspection, int thread, size_t n,
			    char out[WAIT_WORDS_BYTES]);

/* The sentence of the verdict: one line without its newline. malloc'd, NULL with errno. */
char *inspection_message(const struct inspection *inspection);

/* Each malloc'd, with the length in *len; NULL with errno. all: list the idle threads too. */
char *inspection_text(const struct inspection *inspection, const struct run *run, bool all,
		      size_t *len);
char *inspection_json(const struct inspection *inspection, const struct run *run, size_t *len);
char *inspection_dot(const struct inspection *inspection, size_t *len);

#endif
