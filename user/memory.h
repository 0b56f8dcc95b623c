/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One slice of a walk over another process's memory: the reader process's part. A walk is as many of
 * them as it takes, with pauses in between.
 *
 * Read are pages that are in memory and the process's alone (resident.h), in mappings that it may read
 * and write, behind which no userfaultfd stands (userfault.h). That leaves out, page by page: what was
 * never touched, what is swapped out, the contents of files and devices whatever file system they are on,
 * and memory that is shared with others. A page that leaves memory between the question and the read is
 * brought back by it: a race of microseconds that can't be closed from here. Should a userfaultfd stand
 * behind that page by then, the read may wait for it; the agent then kills the reader.
 */
#ifndef DEADHOLD_MEMORY_H
#define DEADHOLD_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "membytes.h"
#include "resident.h"
#include "task.h"
#include "userfault.h"

#define MEMORY_PIECES 64

/*
 * The last bytes of a block are shown again in front of the next one, where memory goes on: what is
 * looked for may straddle the border.
 */
#define MEMORY_OVERLAP 56

/* A walk begins anew with another thread, if the one through which it reads has ended. */
#define MEMORY_ATTEMPTS 3

enum find_place {
	FIND_ELSEWHERE, /* heap, stack, anonymous memory */
	FIND_DATA,	/* data or bss of a program or library */
};

struct memory_walk;

/*
 * `bytes` bytes from `address` on are at `memory`; the first `seen` of them were shown before. All are
 * multiples of 8. May read more of the process through walk->task, and may end the slice: walk->stop and
 * walk->next.
 */
typedef void memory_block(struct memory_walk *walk, uint64_t address, const void *memory,
			  size_t bytes, size_t seen);

struct memory_walk {
	int32_t tgid;
	uint64_t start_ticks; /* as in struct look */
	uint64_t from;	      /* 0, then `next` of the slice before */
	uint64_t slice_bytes; /* read no more than about this */
	uint64_t
		beyond_limit; /* read no more than this of what is not data or bss of a program file */
	uint64_t until_ns;    /* CLOCK_MONOTONIC: the slice ends there at the latest */
	memory_block *block;
	void *context;
	struct userfaults *userfaults; /* of the slices so far; the caller's, one for each walk */

	/* What came of it; to begin with, all zero. */
	uint64_t next; /* where to go on; 0: the walk is done */
	struct memory_bytes bytes;

	/* While it goes on. */
	struct task task;
	struct resident resident;
	enum find_place place; /* of what is shown */
	bool stop;
	int error;
	struct iovec piece[MEMORY_PIECES];
	size_t n_pieces, batch_bytes;
	uint64_t scanned_to; /* memory up to here was shown; its end is in front of the buffer */
};

/*
 * 0, or: -EAGAIN: the thread through which was read has ended, begin this slice anew; or as in
 * look_answer: nothing of it counts. Not reentrant: it has one buffer.
 */
int memory_walk(struct memory_walk *walk);

/* Nothing is read any more for the time being: gives the buffer's memory back. */
void memory_rest(void);

#endif
