/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who got a lock last that records no owner, and was it given back since? As far as it can be told by who
 * sleeps for it, pass by pass of the sweep. Plain bookkeeping of one process: no I/O, no clock.
 *
 * Those that sleep for a semaphore, or park for a PyMutex, are woken in the order in which they came, one at
 * each release. A thread T was seen to sleep for it in pass L and not in the next one; W has slept in one
 * wait from pass L − 2 on and does so still. Then whoever slept before W in pass L − 1 was seen there; and if
 * none of these has woken in a pass around L but T, and none since, there was one release: the one that
 * woke T. Passes take time, and rows are not read at once: hence the two passes before, and "around".
 *
 * That it was T who got it, and not somebody who came along at that moment, is told by T's end: out of such
 * a wait a thread comes with the lock, or not at all.
 */
#ifndef DEADHOLD_TAKERS_H
#define DEADHOLD_TAKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "event.h"
#include "table.h"

/* The last one that came out of a wait for this lock. */
struct taker {
	uint64_t lock;
	UT_hash_handle hh;
	struct ev_task task;
	bool timed;	   /* it may have come out without the lock */
	bool several;	   /* others did in the same pass, or the one before */
	uint64_t seen;	   /* the pass in which it slept last */
	uint64_t pass;	   /* in which it did no longer */
	uint64_t waited;   /* the last pass in which somebody waited for the lock */
	uint64_t first;	   /* since when the one that waits longest does; TAKERS_NEVER: nobody */
	uint64_t stranger; /* likewise, of those that came out of waits for who knows what */
};

#define TAKERS_NEVER UINT64_MAX

struct takers {
	struct taker *by_lock;
	uint64_t stranger, stranger_pass;
};

void takers_clear(struct takers *takers);

/* A wait, as a pass sees it. lock: any name for it, the same for all who wait for it; 0: not known which. */
struct lock_wait {
	uint64_t lock;
	uint64_t first; /* the pass in which it was seen first */
	bool timed;
};

/* The wait of this thread was seen last in pass − 1. */
void takers_left(struct takers *takers, const struct lock_wait *wait, const struct ev_task *task,
		 uint64_t pass);
/* At the end of a pass, after all takers_left(): each wait that goes on, then the end. */
void takers_waits(struct takers *takers, const struct lock_wait *wait, uint64_t pass);
void takers_pass(struct takers *takers, uint64_t pass);

/* Who got that lock last, if it was not released since: to be asked between passes. NULL: not known. */
const struct taker *takers_last(const struct takers *takers, uint64_t lock);

#endif
