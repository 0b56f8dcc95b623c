/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a function returns: its RET instructions, found by following the code from its entry. A plain
 * probe on each of them sees what a return probe would, and changes nothing on the stack.
 */
#ifndef DEADHOLD_RETURNS_H
#define DEADHOLD_RETURNS_H

#include <stddef.h>
#include <stdint.h>

#define RETURNS_LIMIT 64

struct returns {
	size_t n;
	uint64_t offset[RETURNS_LIMIT]; /* in the file */
};

/*
 * Fills *returns with every RET by which the function of `bytes` bytes at `offset` of the file can return
 * to its caller: also those of other functions, and of parts of its own, to which it jumps. 0, or -errno:
 * -ENOTSUP (a jump whose target is not in the code, or no RET at all), -E2BIG (too much code, or too many
 * of them), -EILSEQ (bytes that are no instruction), -ENOMEM.
 */
int returns_find(int fd, uint64_t offset, uint64_t bytes, struct returns *returns);

#endif
