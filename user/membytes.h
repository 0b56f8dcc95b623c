/* SPDX-License-Identifier: GPL-2.0-only */
/* How much of a process's memory a walk over it read, and what it left out: of a slice, of a pass, of all. */
#ifndef DEADHOLD_MEMBYTES_H
#define DEADHOLD_MEMBYTES_H

#include <stdint.h>

struct memory_bytes {
	uint64_t scanned;
	uint64_t beyond;  /* of these, neither data nor bss of a program file */
	uint64_t shared;  /* in shared mappings, resident or not: not read */
	uint64_t swapped; /* swapped out: left there */
	uint64_t unread;  /* the kernel refused, or the mapping is a device's or a userfaultfd's */
	uint64_t left;	  /* mappings beyond what was to be read */
};

static inline void memory_bytes_add(struct memory_bytes *sum, const struct memory_bytes *part)
{
	sum->scanned += part->scanned;
	sum->beyond += part->beyond;
	sum->shared += part->shared;
	sum->swapped += part->swapped;
	sum->unread += part->unread;
	sum->left += part->left;
}

static inline uint64_t memory_bytes_skipped(const struct memory_bytes *bytes)
{
	return bytes->shared + bytes->swapped + bytes->unread + bytes->left;
}

#endif
