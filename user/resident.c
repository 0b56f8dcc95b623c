// SPDX-License-Identifier: GPL-2.0-only
#include "resident.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <unistd.h>

#include "cleanup.h"

/*
 * The mmap lock is held for one look: seldom and for long rather than often, see memory.c. Where
 * nothing is found the page tables are empty too, and the next look goes twice as far.
 */
#define STEP_BYTES     (16ull << 20)
#define STEP_BYTES_MAX (64ull << 30)
#define SCAN_REGIONS   64

/* Without the ioctl it costs 8 bytes a page, whether it is there or not. */
#define PAGEMAP_WORDS 4096
#define PAGEMAP_LIMIT (64ull << 30)

/* include/uapi/linux/fs.h of Linux 6.7; the headers at hand may be older. */
struct pm_scan_region {
	uint64_t start, end, categories;
};

struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PM_SCAN		   _IOWR('f', 16, struct pm_scan)
#define PM_PAGE_IS_FILE	   (1 << 2)
#define PM_PAGE_IS_PRESENT (1 << 3)
#define PM_PAGE_IS_SWAPPED (1 << 4)
#define PM_PAGE_IS_PFNZERO (1 << 5)

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_WORD_FILE	(1ull << 61)
#define PM_WORD_SWAPPED (1ull << 62)
#define PM_WORD_PRESENT (1ull << 63)

static int scan_region(const struct resident *resident, uint64_t start, uint64_t end,
		       struct pm_scan_region *regions, size_t room, uint64_t *next)
{
	struct pm_scan scan = {
		.size = sizeof(scan),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = room,
		.category_inverted = PM_PAGE_IS_PFNZERO,
		.category_mask = PM_PAGE_IS_PFNZERO,
		.category_anyof_mask = PM_PAGE_IS_PRESENT | PM_PAGE_IS_SWAPPED,
		.return_mask = PM_PAGE_IS_PRESENT | PM_PAGE_IS_SWAPPED | PM_PAGE_IS_FILE,
	};
	int n = ioctl(resident->fd, PM_SCAN, &scan);

	*next = scan.walk_end;
	return n < 0 ? -errno : n;
}

int resident_open(struct resident *resident, int dir, bool scan)
{
	struct pm_scan_region region;
	uint64_t page = sysconf(_SC_PAGESIZE), next;

	*resident = (struct resident){
		.fd = openat(dir, "pagemap", O_RDONLY | O_CLOEXEC),
		.page_bytes = page,
		.step = STEP_BYTES,
	};
	if (resident->fd < 0)
		return -errno;
	resident->scan = scan && scan_region(resident, 0, page, &region, 1, &next) >= 0;
	return 0;
}

void resident_close(struct resident *resident)
{
	cleanup_close(&resident->fd);
	resident->fd = -1;
}

static enum run_kind region_kind(uint64_t categories)
{
	if (categories & PM_PAGE_IS_SWAPPED)
		return RUN_SWAPPED;
	return categories & PM_PAGE_IS_FILE ? RUN_FILE : RUN_OWN;
}

static ssize_t scan_runs(struct resident *resident, uint64_t start, uint64_t end,
			 struct page_run *runs, size_t room, uint64_t *next)
{
	struct pm_scan_region regions[SCAN_REGIONS];
	int n = scan_region(resident, start, end, regions, MIN(room, SCAN_REGIONS), next);

	for (int i = 0; i < n; i++)
		runs[i] = (struct page_run){ .start = regions[i].start,
					     .end = regions[i].end,
					     .kind = region_kind(regions[i].categories) };
	return n;
}

bool pagemap_kind(uint64_t word, enum run_kind *kind)
{
	*kind = word & PM_WORD_SWAPPED ? RUN_SWAPPED : word & PM_WORD_FILE ? RUN_FILE : RUN_OWN;
	return word & (PM_WORD_PRESENT | PM_WORD_SWAPPED);
}

static ssize_t pagemap_runs(struct resident *resident, uint64_t start, uint64_t end,
			    struct page_run *runs, size_t room, uint64_t *next)
{
	uint64_t words[PAGEMAP_WORDS], page = resident->page_bytes;
	size_t want = MIN((end - start) / page, PAGEMAP_WORDS), n = 0;
	ssize_t bytes = pread(resident->fd, words, want * 8, (off_t)(start / page * 8));
	enum run_kind kind;

	if (bytes < 0)
		return -errno;
	*next = start;
	for (size_t i = 0; i < (size_t)bytes / 8; i++, *next += page) {
		if (!pagemap_kind(words[i], &kind))
			continue;
		if (n && runs[n - 1].end == *next && runs[n - 1].kind == kind) {
			runs[n - 1].end += page;
			continue;
		}
		if (n == room)
			break;
		runs[n++] = (struct page_run){ .start = *next, .end = *next + page, .kind = kind };
	}
	if (!bytes) /* beyond what the machine can map */
		*next = end;
	return n;
}

ssize_t resident_runs(struct resident *resident, uint64_t start, uint64_t end,
		      struct page_run *runs, size_t room, uint64_t *next)
{
	uint64_t until = end - start > resident->step ? start + resident->step : end;
	ssize_t n;

	if (!resident->scan)
		return pagemap_runs(resident, start, until, runs, room, next);
	n = scan_runs(resident, start, until, runs, room, next);
	if (n > 0)
		resident->step = STEP_BYTES;
	else if (resident->step < STEP_BYTES_MAX)
		resident->step *= 2;
	if (n >= 0 && *next <= start) /* the kernel says that it went nowhere */
		*next = until;
	return n;
}

uint64_t resident_limit(const struct resident *resident)
{
	return resident->scan ? UINT64_MAX : PAGEMAP_LIMIT;
}
