/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One slice of a census of a process: the reader process's part. What of its memory is read, and how:
 * memory.h.
 */
#ifndef DEADHOLD_CENSUS_READ_H
#define DEADHOLD_CENSUS_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "census.h"
#include "memory.h"

#define CENSUS_FINDS	   48 /* of one slice */
#define CENSUS_SLICE_BYTES (32ull << 20)

/* A set of TIDs: bit t % 64 of word[t / 64]. */
struct tid_set {
	uint64_t word[LOCK_TID_LIMIT / 64];
};

/* wanted: whose locks are asked for. known: threads that may well hold locks, living ones above all. */
struct tid_sets {
	struct tid_set wanted, known;
};

static inline void tid_set_put(struct tid_set *set, uint32_t tid, bool in)
{
	uint64_t bit = 1ull << tid % 64;

	if (tid >= LOCK_TID_LIMIT)
		return;
	if (in)
		set->word[tid / 64] |= bit;
	else
		set->word[tid / 64] &= ~bit;
}

static inline bool tid_set_has(const struct tid_set *set, uint32_t tid)
{
	return tid < LOCK_TID_LIMIT && set->word[tid / 64] >> tid % 64 & 1;
}

struct census_ask {
	int32_t tgid;
	/* TIDs that words are compared with. Those neither wanted nor known are strangers. */
	uint32_t min, max;
	uint32_t musl_marks;  /* census_owners.musl_marks */
	uint32_t users, pad;  /* census_owners.users */
	uint64_t start_ticks; /* as in struct look */
	uint64_t from;	      /* 0, then census_answer.next: locks at lower addresses were told */
	uint64_t slice_bytes; /* read no more than about this */
	uint64_t
		beyond_bytes; /* read no more than this of what is not data or bss of a program file */
};

struct census_answer {
	/* 0; or as in look_answer: nothing of it counts. */
	int32_t error;
	uint32_t n;
	uint64_t next; /* where to go on; 0: the pass is done */
	struct memory_bytes bytes;
	/* Words that look like locks of threads that this process does not have: how much shape is worth. */
	uint64_t strangers;
	uint64_t cpu_ns; /* the slice's CPU time */
	struct {
		struct census_find find;
		uint32_t place; /* enum find_place */
		uint32_t pad;
	} at[CENSUS_FINDS];
};

/*
 * tids NULL: all TIDs of the range are wanted. until_ns: CLOCK_MONOTONIC; the slice ends there at the
 * latest. The same lock may be told with two slices in a row. Not reentrant: it has one buffer.
 */
void census_read(const struct census_ask *ask, const struct tid_sets *tids, uint64_t until_ns,
		 struct census_answer *answer);

#endif
