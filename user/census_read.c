// SPDX-License-Identifier: GPL-2.0-only
#include "census_read.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/uio.h>
#include <time.h>

#include "resident.h"
#include "task.h"

#define ATTEMPTS 3 /* a thread through which is read may end */

/*
 * The kernel holds the target's mmap lock while it looks up the pages of one piece, at most 4 MB, and
 * lets go of it before it copies them. Few large pieces, not many small ones: each may make a thread of
 * the target wait for the lock, and to be woken costs it more than the time for which the lock is held.
 */
#define BATCH_BYTES (4u << 20)
#define PIECES	    64
#define RUNS	    64
#define HEAD_BYTES  64 /* room for CENSUS_OVERLAP */

struct slice {
	const struct census_ask *ask;
	const struct tid_sets *tids;
	struct census_owners owners;
	struct census_answer *answer;
	struct task task;
	struct resident resident;
	uint64_t until_ns;
	enum find_place place; /* of what the batch reads */
	struct iovec piece[PIECES];
	size_t n_pieces, batch_bytes;
	uint64_t scanned_to; /* memory up to here was scanned; its end is in front of the buffer */
	bool stop;
};

/* Of pages of its own: census_rest() gives them back. */
static struct {
	_Alignas(4096) unsigned char byte[HEAD_BYTES + BATCH_BYTES];
} buffer;

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* ---- finds ---- */

/* 8 bytes of the process, if they are in memory. */
static bool link_read(struct slice *slice, uint64_t address, uint64_t *word)
{
	uint64_t page = address & -slice->resident.page_bytes, next;
	struct page_run run;

	if (address & 7 || address < slice->resident.page_bytes)
		return false;
	if (resident_runs(&slice->resident, page, page + slice->resident.page_bytes, &run, 1,
			  &next) != 1 ||
	    run.kind == RUN_SWAPPED)
		return false;
	return task_read_memory(&slice->task, address, word, sizeof(*word)) == sizeof(*word);
}

static bool links_agree(struct slice *slice, const struct census_find *find)
{
	uint64_t at_prev = 0, before_next = 0;

	if (!lock_is_linked(find->lock.layout))
		return true;
	link_read(slice, find->prev, &at_prev);
	link_read(slice, find->next - 8, &before_next);
	return lock_links_agree(&find->lock, find->prev, find->next, at_prev, before_next);
}

static bool find_wanted(struct slice *slice, const struct census_find *find)
{
	uint32_t owner = find->lock.owner;

	if (!slice->tids || !owner || tid_set_has(&slice->tids->wanted, owner))
		return true;
	slice->answer->strangers += !tid_set_has(&slice->tids->known, owner);
	return false;
}

/* No room for it: the next slice begins with it. */
static void find_later(struct slice *slice, uint64_t address)
{
	slice->answer->next = address;
	slice->stop = true;
}

static void slice_found(void *context, const struct census_find *find)
{
	struct slice *slice = context;
	struct census_answer *answer = slice->answer;

	if (slice->stop || find->lock.address < slice->ask->from || !links_agree(slice, find) ||
	    !find_wanted(slice, find))
		return;
	if (answer->n == CENSUS_FINDS) {
		find_later(slice, find->lock.address);
		return;
	}
	answer->at[answer->n].find = *find;
	answer->at[answer->n].place = slice->place;
	answer->at[answer->n].pad = 0;
	answer->n++;
}

/* ---- a batch of pieces ---- */

/* `bytes` bytes of memory from address on are at buffer.byte + at. */
static void piece_scan(struct slice *slice, uint64_t address, size_t at, size_t bytes)
{
	size_t seen = slice->scanned_to == address ? CENSUS_OVERLAP : 0;

	census_scan(&slice->owners, address - seen,
		    (const uint32_t *)(const void *)(buffer.byte + at - seen), bytes + seen, seen,
		    slice_found, slice);
	slice->scanned_to = address + bytes;
	slice->answer->scanned_bytes += bytes;
	if (slice->place != FIND_DATA)
		slice->answer->beyond_bytes += bytes;
}

/* The first `bytes` bytes of piece i are done. */
static void piece_advance(struct slice *slice, size_t i, size_t bytes)
{
	slice->piece[i].iov_base = (char *)slice->piece[i].iov_base + bytes;
	slice->piece[i].iov_len -= bytes;
}

/* Scans what was read of the pieces from `first` on. Returns the first one that was not read whole. */
static size_t pieces_scan(struct slice *slice, size_t first, size_t bytes)
{
	size_t at = HEAD_BYTES, i;

	for (i = first; i < slice->n_pieces && bytes && !slice->stop; i++) {
		size_t len = MIN(slice->piece[i].iov_len, bytes & -slice->resident.page_bytes);

		piece_scan(slice, (uintptr_t)slice->piece[i].iov_base, at, len);
		piece_advance(slice, i, len);
		at += len;
		bytes -= len;
		if (slice->piece[i].iov_len)
			break;
	}
	memcpy(buffer.byte + HEAD_BYTES - CENSUS_OVERLAP, buffer.byte + at - CENSUS_OVERLAP,
	       CENSUS_OVERLAP);
	return i;
}

/* The kernel stopped at the start of this piece: its first page is left out, the rest tried again. */
static size_t piece_shrink(struct slice *slice, size_t i)
{
	slice->answer->unread_bytes += slice->resident.page_bytes;
	piece_advance(slice, i, slice->resident.page_bytes);
	return slice->piece[i].iov_len ? i : i + 1;
}

static size_t pieces_bytes(const struct slice *slice, size_t first)
{
	size_t bytes = 0;

	for (size_t i = first; i < slice->n_pieces; i++)
		bytes += slice->piece[i].iov_len;
	return bytes;
}

static void batch_read(struct slice *slice)
{
	size_t i = 0, next;

	while (i < slice->n_pieces && !slice->stop) {
		struct iovec local = { buffer.byte + HEAD_BYTES, pieces_bytes(slice, i) };
		ssize_t n = process_vm_readv(slice->task.tid, &local, 1, &slice->piece[i],
					     slice->n_pieces - i, 0);

		if (n < 0 && errno != EFAULT) {
			slice->answer->error = -errno;
			slice->stop = true;
			break;
		}
		next = n > 0 ? pieces_scan(slice, i, n) : i;
		i = next < slice->n_pieces && !slice->stop ? piece_shrink(slice, next) : next;
	}
	slice->n_pieces = 0;
	slice->batch_bytes = 0;
}

/* Ends the slice if it has done enough. `at`: where the next one is to begin. */
static void slice_pause(struct slice *slice, uint64_t at)
{
	if (slice->stop || at - CENSUS_OVERLAP <= slice->ask->from ||
	    (slice->answer->scanned_bytes < slice->ask->slice_bytes &&
	     clock_ns(CLOCK_MONOTONIC) < slice->until_ns))
		return;
	/* A lock may straddle that place. */
	slice->answer->next = at - CENSUS_OVERLAP;
	slice->stop = true;
}

static void piece_add(struct slice *slice, uint64_t address, size_t bytes)
{
	slice->piece[slice->n_pieces++] = (struct iovec){ (void *)(uintptr_t)address, bytes };
	slice->batch_bytes += bytes;
	if (slice->n_pieces < PIECES && slice->batch_bytes < BATCH_BYTES)
		return;
	batch_read(slice);
	slice_pause(slice, address + bytes);
}

/* ---- mappings ---- */

static void run_read(struct slice *slice, const struct page_run *run)
{
	if (run->kind == RUN_SWAPPED)
		slice->answer->swapped_bytes += run->end - run->start;
	if (run->kind != RUN_OWN)
		return;
	for (uint64_t at = run->start, bytes; at < run->end && !slice->stop; at += bytes) {
		bytes = MIN(run->end - at, BATCH_BYTES - slice->batch_bytes);
		piece_add(slice, at, bytes);
	}
}

static bool beyond_spent(const struct slice *slice)
{
	return slice->place != FIND_DATA &&
	       slice->answer->beyond_bytes + slice->batch_bytes >= slice->ask->beyond_bytes;
}

static void mapping_read(struct slice *slice, const struct proc_mapping *m)
{
	uint64_t at = MAX(m->start, slice->ask->from & -slice->resident.page_bytes);
	struct page_run runs[RUNS];

	while (at < m->end && !slice->stop && !beyond_spent(slice)) {
		ssize_t n = resident_runs(&slice->resident, at, m->end, runs, RUNS, &at);

		if (n < 0) {
			slice->answer->unread_bytes += m->end - at;
			break;
		}
		for (ssize_t i = 0; i < n && !slice->stop && !beyond_spent(slice); i++)
			run_read(slice, &runs[i]);
	}
	if (!slice->stop)
		batch_read(slice);
	if (!slice->stop && beyond_spent(slice) && at < m->end)
		slice->answer->left_bytes += m->end - at;
}

static bool path_is(const struct proc_mapping *m, const char *prefix)
{
	size_t len = strlen(prefix);

	return m->path && m->path_len >= len && !memcmp(m->path, prefix, len);
}

/* Private memory of a device: its pages may do things when they are read. */
static bool mapping_is_device(const struct proc_mapping *m)
{
	return path_is(m, "/dev/") && !path_is(m, "/dev/zero") && !path_is(m, "/dev/shm/");
}

/* Counts once, with the slice that comes to the mapping's start, what is left out of it. */
static bool mapping_left_out(struct slice *slice, const struct proc_mapping *m)
{
	struct census_answer *answer = slice->answer;
	uint64_t bytes = m->start >= slice->ask->from ? m->end - m->start : 0;

	if (!m->read || !m->write)
		return true;
	if (m->shared)
		answer->shared_bytes += bytes;
	else if (mapping_is_device(m) || m->end - m->start > resident_limit(&slice->resident))
		answer->unread_bytes += bytes;
	else
		return false;
	return true;
}

/*
 * Data and bss of programs and libraries: private mappings of files, and the anonymous one right behind
 * the writable part of a file, which ends at *file_end.
 */
static enum find_place mapping_place(const struct proc_mapping *m, uint64_t *file_end)
{
	bool follows = *file_end == m->start;

	if (m->inode && m->path) {
		*file_end = m->write && !m->shared ? m->end : 0;
		return FIND_DATA;
	}
	*file_end = 0;
	return follows && !m->path ? FIND_DATA : FIND_ELSEWHERE;
}

static int slice_walk(struct slice *slice)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct proc_mapping m;
	uint64_t file_end = 0;
	int err = task_maps_open(&maps, slice->task.thread);

	while (!err && !slice->stop) {
		int n = task_maps_next(&maps, &m);

		if (n <= 0)
			return n;
		slice->place = mapping_place(&m, &file_end);
		if (m.end <= slice->ask->from || mapping_left_out(slice, &m))
			continue;
		mapping_read(slice, &m);
		slice_pause(slice, m.end);
	}
	return err;
}

/* Through a process that is open. */
static int slice_through(struct slice *slice)
{
	int err = resident_open(&slice->resident, slice->task.thread, true);

	if (!err)
		err = slice_walk(slice);
	if (!err)
		err = slice->answer->error;
	if (!err || err == -ESRCH) /* ESRCH: the thread through which was read is gone */
		err = task_check(&slice->task) ?: err;
	resident_close(&slice->resident);
	return err;
}

static int slice_attempt(struct slice *slice)
{
	int err = task_open(&slice->task, slice->ask->tgid, slice->ask->start_ticks);

	memset(slice->answer, 0, sizeof(*slice->answer));
	if (!err)
		err = slice_through(slice);
	task_close(&slice->task);
	return err;
}

void census_read(const struct census_ask *ask, const struct tid_sets *tids, uint64_t until_ns,
		 struct census_answer *answer)
{
	uint64_t began_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	int err = -EAGAIN;

	for (int i = 0; i < ATTEMPTS && err == -EAGAIN; i++) {
		struct slice slice = {
			.ask = ask,
			.tids = tids,
			.owners = { .min = ask->min,
				    .max = ask->max,
				    .musl_marks = ask->musl_marks,
				    .users = ask->users },
			.answer = answer,
			.task = TASK_CLOSED,
			.resident = RESIDENT_CLOSED,
			.until_ns = until_ns,
		};

		err = slice_attempt(&slice);
	}
	if (err)
		memset(answer, 0, sizeof(*answer));
	answer->error = err == -EAGAIN ? -ESRCH : err;
	answer->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - began_ns;
}

void census_rest(void)
{
	madvise(&buffer, sizeof(buffer), MADV_DONTNEED);
}
