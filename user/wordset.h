/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set of 64-bit words, and where in a block of memory one of them lies. Pure. Nearly every word of a
 * process is told to be none of them by one bit.
 */
#ifndef DEADHOLD_WORDSET_H
#define DEADHOLD_WORDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define WORD_SET_BITS 65536

struct word_set {
	const uint64_t *word; /* in ascending order, each once */
	size_t n;
	uint64_t filter[WORD_SET_BITS / 64];
};

/* What is looked for are addresses of what malloc gave: their lowest bits say nothing. */
static inline uint32_t word_set_bit(uint64_t word)
{
	return (word >> 4) % WORD_SET_BITS;
}

static inline int word_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* In ascending order, each once. Returns how many are left. */
static inline size_t word_sort(uint64_t *word, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(word, n, sizeof(*word), word_compare);
	for (size_t i = 0; i < n; i++)
		if (!i || word[i] != word[kept - 1])
			word[kept++] = word[i];
	return kept;
}

static inline void word_set_init(struct word_set *set, const uint64_t *word, size_t n)
{
	memset(set, 0, sizeof(*set));
	set->word = word;
	set->n = n;
	for (size_t i = 0; i < n; i++)
		set->filter[word_set_bit(word[i]) / 64] |= 1ull << word_set_bit(word[i]) % 64;
}

static inline bool word_set_may_have(const struct word_set *set, uint64_t word)
{
	return set->filter[word_set_bit(word) / 64] >> word_set_bit(word) % 64 & 1;
}

/* Its place in the set, or -1. */
static inline ssize_t word_set_find(const struct word_set *set, uint64_t word)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (set->word[middle] < word)
			low = middle + 1;
		else
			high = middle;
	}
	return low < set->n && set->word[low] == word ? (ssize_t)low : -1;
}

/* address: of the word in memory; i: its place in the set. False ends the scan. */
typedef bool word_found(void *context, uint64_t address, size_t i);

/* memory and bytes as a memory_block has them. The first `seen` bytes were scanned before. */
static inline void word_set_scan(const struct word_set *set, uint64_t address, const void *memory,
				 size_t bytes, size_t seen, word_found *found, void *context)
{
	const uint64_t *word = memory;

	for (size_t i = seen / 8; i < bytes / 8; i++) {
		ssize_t at;

		if (__builtin_expect(!word_set_may_have(set, word[i]), 1))
			continue;
		at = word_set_find(set, word[i]);
		if (at >= 0 && !found(context, address + i * 8, at))
			return;
	}
}

#endif
