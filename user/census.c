// SPDX-License-Identifier: GPL-2.0-only
#include "census.h"

#include <string.h>

/*
 * So many words are checked before the first branch. A musl mark costs a second comparison, in a loop
 * of its own.
 */
#define CHUNK_WORDS 64

/*
 * Wider, and with masks, where the CPU can. The dynamic linker chooses, which sanitizers don't bear and other
 * C libraries don't do.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

struct scan {
	const struct census_owners *owners;
	uint64_t address;
	const uint32_t *words; /* n of them, of which the first `seen` were shown before */
	size_t n, seen;
	census_found *found;
	void *context;
	size_t finds;
};

bool census_owned(const struct census_owners *owners, uint32_t tid)
{
	if (!tid || tid < owners->min || tid > owners->max)
		return false;
	return !owners->bits || owners->bits[tid / 64] >> tid % 64 & 1;
}

static bool state_owned(const struct census_owners *owners, const struct lock_state *state)
{
	if (!state->owner)
		return owners->musl_marks && state->owner_died &&
		       state->layout == LAYOUT_MUSL_MUTEX;
	return census_owned(owners, state->owner);
}

/* Of a robust mutex whose owner died the kernel's mark is in the word, the owner stands beside it. */
static bool lock_marked(const uint32_t *lock)
{
	return (lock[0] & ~FUTEX_WORD_WAITERS) == FUTEX_WORD_OWNER_DIED;
}

static __attribute__((noinline)) void lock_read(struct scan *scan, uint32_t layout, size_t at)
{
	const uint32_t *lock = &scan->words[at];
	struct census_find find = { 0 };
	struct lock_words words;

	lock_words_of(layout, lock, &words);
	if (!lock_owner(layout, scan->address + at * 4 + lock_word_offset(layout), &words,
			&find.lock) ||
	    !lock_shape(&words, &find.lock) || !state_owned(scan->owners, &find.lock))
		return;
	if (scan->owners->users && lock_users(&words, layout) > scan->owners->users)
		return;
	if (lock_is_linked(layout)) {
		memcpy(&find.prev, &lock[6], sizeof(find.prev));
		memcpy(&find.next, &lock[8], sizeof(find.next));
		find.prev &= ~1ull;
		find.next &= ~1ull;
	}
	scan->finds++;
	scan->found(scan->context, &find);
}

/* Word `at` is the first of what may be a lock, and at a multiple of 8 bytes. */
static inline void lock_try(struct scan *scan, uint32_t layout, size_t at)
{
	size_t size = lock_bytes(layout) / 4;

	if (scan->n - at >= size && at + size > scan->seen &&
	    !lock_glance(layout, &scan->words[at]))
		lock_read(scan, layout, at);
}

/*
 * Word `at` could name an owner: in which lock? Of its two places in a robust mutex the second counts
 * where the kernel has taken the number out of the first.
 */
static void word_try(struct scan *scan, size_t at)
{
	const uint32_t *word = &scan->words[at];

	if (at % 2) {
		lock_try(scan, LAYOUT_MUSL_MUTEX, at - 1);
		return;
	}
	if (at >= 2 && lock_marked(word - 2))
		lock_try(scan, LAYOUT_GLIBC_ROBUST, at - 2);
	else if (at >= 2)
		lock_try(scan, LAYOUT_GLIBC_MUTEX, at - 2);
	if (at >= 6)
		lock_try(scan, LAYOUT_GLIBC_RWLOCK_12, at - 6);
	lock_try(scan, LAYOUT_GLIBC_ROBUST, at);
	lock_try(scan, LAYOUT_GLIBC_PI, at);
}

static void words_try(struct scan *scan, size_t from, size_t to)
{
	for (size_t at = from; at < to; at++) {
		if (census_owned(scan->owners, scan->words[at] & FUTEX_WORD_TID) ||
		    (scan->owners->musl_marks && lock_marked(&scan->words[at])))
			word_try(scan, at);
	}
}

/* No branches and a known count: vector operations. */
static inline __attribute__((always_inline)) bool chunk_hit(const uint32_t *words, uint32_t min,
							    uint32_t span, bool marks)
{
	uint32_t hit = 0;

	for (int i = 0; i < CHUNK_WORDS; i++) {
		hit |= (words[i] & FUTEX_WORD_TID) - min <= span;
		if (marks)
			hit |= (words[i] & ~FUTEX_WORD_WAITERS) == FUTEX_WORD_OWNER_DIED;
	}
	return hit;
}

/*
 * A chunk with words in range: does any of the layouts look likely around one of them? In memory full of
 * small numbers nearly every chunk has such words, and a branch for each would be mispredicted.
 */
#define GLANCE_BEFORE 6 /* words: a rwlock names its owner in its seventh */
#define GLANCE_BEHIND 5 /* kinds are four words behind a robust mutex's owner */

static inline __attribute__((always_inline)) bool chunk_glance(const uint32_t *words, uint32_t min,
							       uint32_t span)
{
	uint32_t hit = 0;

	for (int i = 0; i < CHUNK_WORDS; i++) {
		const uint32_t *word = &words[i];
		uint32_t named = (*word & FUTEX_WORD_TID) - min <= span;
		uint32_t marked = ((*word & ~FUTEX_WORD_WAITERS) == FUTEX_WORD_OWNER_DIED);
		uint32_t died = (word[-2] & ~FUTEX_WORD_WAITERS) == FUTEX_WORD_OWNER_DIED;

		uint32_t mutex = lock_glance(LAYOUT_GLIBC_MUTEX, word - 2);
		uint32_t slow = lock_glance(LAYOUT_GLIBC_ROBUST, word);
		uint32_t rwlock = lock_glance(LAYOUT_GLIBC_RWLOCK_12, word - 6);
		uint32_t musl = lock_glance(LAYOUT_MUSL_MUTEX, word - 1);

		hit |= (named & ((mutex == 0) | died | (slow == 0) | (rwlock == 0))) |
		       ((named | marked) & (musl == 0));
	}
	return hit;
}

/* Whether it is worth to go through the chunk word by word. At the block's ends it always is. */
static inline __attribute__((always_inline)) bool
chunk_likely(const struct scan *scan, size_t at, uint32_t min, uint32_t span, bool marks)
{
	if (!chunk_hit(&scan->words[at], min, span, marks))
		return false;
	return at < GLANCE_BEFORE || scan->n - at < CHUNK_WORDS + GLANCE_BEHIND ||
	       chunk_glance(&scan->words[at], min, span);
}

static inline __attribute__((always_inline)) void chunks_try(struct scan *scan, bool marks)
{
	/* Marks alone: from a number that no masked word reaches. */
	const uint32_t min = scan->owners->max ? scan->owners->min : FUTEX_WORD_TID + 1;
	const uint32_t span = scan->owners->max ? scan->owners->max - min : 0;
	size_t at;

	for (at = 0; scan->n - at >= CHUNK_WORDS; at += CHUNK_WORDS) {
		if (chunk_likely(scan, at, min, span, marks))
			words_try(scan, at, at + CHUNK_WORDS);
	}
	words_try(scan, at, scan->n);
}

WIDE size_t census_scan(const struct census_owners *owners, uint64_t address,
			const uint32_t *memory, size_t bytes, size_t seen, census_found *found,
			void *context)
{
	struct scan scan = { .owners = owners,
			     .address = address,
			     .words = memory,
			     .n = bytes / 4,
			     .seen = seen / 4,
			     .found = found,
			     .context = context };

	if (owners->musl_marks)
		chunks_try(&scan, true);
	else
		chunks_try(&scan, false);
	return scan.finds;
}
