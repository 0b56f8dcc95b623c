// SPDX-License-Identifier: GPL-2.0-only
#include "takers.h"

#include <stdlib.h>

static void taker_free(struct takers *takers, struct taker *taker)
{
	HASH_DEL(takers->by_lock, taker);
	free(taker);
}

void takers_clear(struct takers *takers)
{
	while (takers->by_lock)
		taker_free(takers, takers->by_lock);
}

static struct taker *taker_find(const struct takers *takers, uint64_t lock)
{
	struct taker *taker;

	HASH_FIND(hh, takers->by_lock, &lock, sizeof(lock), taker);
	return taker;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A pass, and the one before. */
static bool is_near(uint64_t then, uint64_t pass)
{
	return then + 1 >= pass;
}

/* It may have been any lock. */
static void stranger_left(struct takers *takers, uint64_t first, uint64_t pass)
{
	struct taker *taker, *next;

	if (!is_near(takers->stranger_pass, pass))
		takers->stranger = TAKERS_NEVER;
	takers->stranger = earlier(takers->stranger, first);
	takers->stranger_pass = pass;
	HASH_ITER (hh, takers->by_lock, taker, next)
		taker->stranger = earlier(taker->stranger, first);
}

void takers_left(struct takers *takers, const struct lock_wait *wait, const struct ev_task *task,
		 uint64_t pass)
{
	struct taker *taker = taker_find(takers, wait->lock);

	if (!wait->lock) {
		stranger_left(takers, wait->first, pass);
		return;
	}
	if (taker) {
		taker->several = is_near(taker->pass, pass);
	} else {
		taker = calloc(1, sizeof(*taker));
		if (!taker) { /* nobody is to be taken for the only one because of that */
			stranger_left(takers, 0, pass);
			return;
		}
		taker->lock = wait->lock;
		HASH_ADD(hh, takers->by_lock, lock, sizeof(taker->lock), taker);
	}
	taker->task = *task;
	taker->timed = wait->timed;
	taker->seen = pass - 1;
	taker->pass = pass;
	taker->stranger = is_near(takers->stranger_pass, pass) ? takers->stranger : TAKERS_NEVER;
}

void takers_waits(struct takers *takers, const struct lock_wait *wait, uint64_t pass)
{
	struct taker *taker = wait->lock ? taker_find(takers, wait->lock) : NULL;

	if (!taker)
		return;
	if (taker->waited != pass)
		taker->first = TAKERS_NEVER;
	taker->waited = pass;
	if (!wait->timed)
		taker->first = earlier(taker->first, wait->first);
}

void takers_pass(struct takers *takers, uint64_t pass)
{
	struct taker *taker, *next;

	HASH_ITER (hh, takers->by_lock, taker, next) {
		if (taker->waited != pass)
			taker_free(takers, taker);
	}
}

const struct taker *takers_last(const struct takers *takers, uint64_t lock)
{
	const struct taker *taker = taker_find(takers, lock);

	if (!taker || taker->timed || taker->several || taker->first == TAKERS_NEVER ||
	    taker->first + 2 > taker->seen || taker->stranger <= taker->first + 1)
		return NULL;
	return taker;
}
