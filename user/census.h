/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The census: which words in a block of memory look like a lock that one of these threads holds? A
 * pure function over bytes that were read elsewhere.
 *
 * The layouts are lock.h's, which also decides; here is only what makes it fast: nearly every word of a
 * process is told to be no lock by a range check that the compiler makes a vector operation of.
 */
#ifndef DEADHOLD_CENSUS_H
#define DEADHOLD_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"

/* The threads whose locks are looked for, by their numbers in their own PID namespace. */
struct census_owners {
	uint32_t min, max; /* the smallest and the largest of them; 0: none */
	const uint64_t *
		bits; /* bit t % 64 of bits[t / 64] for each t up to max; NULL: all of min to max */
	/*
	 * Also musl's locks on which the end of their thread's left its mark: they name nobody
	 * (lock.owner is 0). Ask for it only in a process that has musl: 0x40000000 is 2.0f.
	 */
	bool musl_marks;
	/*
	 * The largest __nusers of a glibc mutex: its holder, and who waits for a condition that goes with
	 * it. So the number of threads is a limit. 0: none is known.
	 */
	uint32_t users;
};

#define CENSUS_ALL ((struct census_owners){ .min = 1, .max = LOCK_TID_LIMIT - 1 })

struct census_find {
	struct lock_state lock;
	uint64_t prev, next; /* of one that is linked: for lock_links_agree(); else 0 */
};

typedef void census_found(void *context, const struct census_find *find);

/*
 * The last bytes of a block that must be shown again in front of the next one, where memory goes on:
 * a lock may straddle the border. A multiple of 8.
 */
#define CENSUS_OVERLAP 56

/*
 * Calls found() for each lock that lies in the block, in the order of the words that name the owners,
 * but for those that lie within its first `seen` bytes: the caller was told of them with the block
 * before. Locks are aligned to 8 bytes: address, memory and seen must be
 * so too. Returns how many were found.
 */
size_t census_scan(const struct census_owners *owners, uint64_t address, const uint32_t *memory,
		   size_t bytes, size_t seen, census_found *found, void *context);

/* Is the thread one of them? */
bool census_owned(const struct census_owners *owners, uint32_t tid);

#endif
