/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which pages of another process are in memory? Asked before anything is read there, since a read of
 * any other page would bring it in: a zero page for one that was never touched, a page from swap.
 *
 * By the PAGEMAP_SCAN ioctl (Linux 6.7 on), else by what /proc/PID/pagemap holds for each page, which
 * does not tell zero pages apart: these are then read, which changes nothing, since they are there.
 */
#ifndef DEADHOLD_RESIDENT_H
#define DEADHOLD_RESIDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum run_kind {
	RUN_OWN,  /* in memory and the process's alone: anonymous, or a private copy of a file's */
	RUN_FILE, /* in memory: a file's page, or one of shared memory */
	RUN_SWAPPED, /* not in memory, but with contents */
};

/* Pages in a row of the same kind. Those that are not there, and zero pages, are in no run. */
struct page_run {
	uint64_t start, end;
	enum run_kind kind;
};

struct resident {
	int fd;
	bool scan; /* by PAGEMAP_SCAN */
	uint64_t page_bytes;
	uint64_t step; /* how far the next look goes: far through what is empty */
};

#define RESIDENT_CLOSED             \
	{                           \
		.fd = -1, .step = 0 \
	}

/* dir: /proc/PID/task/TID. `scan` false: do without the ioctl. 0 or -errno. */
int resident_open(struct resident *resident, int dir, bool scan);
void resident_close(struct resident *resident);

/*
 * The runs between start and end, at most `room` (at least 1) of them, from start on. It looks at a
 * limited part at a time, since the kernel holds the process's mmap lock meanwhile: *next is the address
 * from which to go on, end if there is no more. Returns how many runs, or -errno.
 */
ssize_t resident_runs(struct resident *resident, uint64_t start, uint64_t end,
		      struct page_run *runs, size_t room, uint64_t *next);

/* Bytes of a mapping beyond which resident_runs() is not to be asked: it would take too long. */
uint64_t resident_limit(const struct resident *resident);

/* One word of /proc/PID/pagemap: whether the page belongs to a run, and to which kind. */
bool pagemap_kind(uint64_t word, enum run_kind *kind);

#endif
