// SPDX-License-Identifier: GPL-2.0-only
#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <time.h>

/*
 * The kernel holds the target's mmap lock while it looks up the pages of one piece, at most 4 MB, and
 * lets go of it before it copies them. Few large pieces, not many small ones: each may make a thread of
 * the target wait for the lock, and to be woken costs it more than the time for which the lock is held.
 */
#define BATCH_BYTES (4u << 20)

/*
 * A walk's first batches stay in the core's own cache from the copy to the scan, which is all there is to
 * the speed of a walk over a small process. Of a walk over a large one they are a small part.
 */
#define FIRST_BATCH_BYTES (512u << 10)
#define FIRST_BYTES	  (16u << 20)

#define RUNS	   64
#define HEAD_BYTES 64 /* room for MEMORY_OVERLAP */

/* Of pages of its own: memory_rest() gives them back. */
static struct {
	_Alignas(4096) unsigned char byte[HEAD_BYTES + BATCH_BYTES];
} buffer;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* ---- a batch of pieces ---- */

/* `bytes` bytes of memory from address on are at buffer.byte + at. */
static void piece_scan(struct memory_walk *walk, uint64_t address, size_t at, size_t bytes)
{
	size_t seen = walk->scanned_to == address ? MEMORY_OVERLAP : 0;

	walk->block(walk, address - seen, buffer.byte + at - seen, bytes + seen, seen);
	walk->scanned_to = address + bytes;
	walk->bytes.scanned += bytes;
	if (walk->place != FIND_DATA)
		walk->bytes.beyond += bytes;
}

/* The first `bytes` bytes of piece i are done. */
static void piece_advance(struct memory_walk *walk, size_t i, size_t bytes)
{
	walk->piece[i].iov_base = (char *)walk->piece[i].iov_base + bytes;
	walk->piece[i].iov_len -= bytes;
}

/* Scans what was read of the pieces from `first` on. Returns the first one that was not read whole. */
static size_t pieces_scan(struct memory_walk *walk, size_t first, size_t bytes)
{
	size_t at = HEAD_BYTES, i;

	for (i = first; i < walk->n_pieces && bytes && !walk->stop; i++) {
		size_t len = MIN(walk->piece[i].iov_len, bytes & -walk->resident.page_bytes);

		piece_scan(walk, (uintptr_t)walk->piece[i].iov_base, at, len);
		piece_advance(walk, i, len);
		at += len;
		bytes -= len;
		if (walk->piece[i].iov_len)
			break;
	}
	memcpy(buffer.byte + HEAD_BYTES - MEMORY_OVERLAP, buffer.byte + at - MEMORY_OVERLAP,
	       MEMORY_OVERLAP);
	return i;
}

/* The kernel stopped at the start of this piece: its first page is left out, the rest tried again. */
static size_t piece_shrink(struct memory_walk *walk, size_t i)
{
	walk->bytes.unread += walk->resident.page_bytes;
	piece_advance(walk, i, walk->resident.page_bytes);
	return walk->piece[i].iov_len ? i : i + 1;
}

static size_t pieces_bytes(const struct memory_walk *walk, size_t first)
{
	size_t bytes = 0;

	for (size_t i = first; i < walk->n_pieces; i++)
		bytes += walk->piece[i].iov_len;
	return bytes;
}

static void batch_read(struct memory_walk *walk)
{
	size_t i = 0, next;

	while (i < walk->n_pieces && !walk->stop) {
		struct iovec local = { buffer.byte + HEAD_BYTES, pieces_bytes(walk, i) };
		ssize_t n = process_vm_readv(walk->task.tid, &local, 1, &walk->piece[i],
					     walk->n_pieces - i, 0);

		if (n < 0 && errno != EFAULT) {
			walk->error = -errno;
			walk->stop = true;
			break;
		}
		next = n > 0 ? pieces_scan(walk, i, n) : i;
		i = next < walk->n_pieces && !walk->stop ? piece_shrink(walk, next) : next;
	}
	walk->n_pieces = 0;
	walk->batch_bytes = 0;
}

/* Ends the slice if it has done enough. `at`: where the next one is to begin. */
static void walk_pause(struct memory_walk *walk, uint64_t at)
{
	if (walk->stop || at - MEMORY_OVERLAP <= walk->from ||
	    (walk->bytes.scanned < walk->slice_bytes && now_ns() < walk->until_ns))
		return;
	/* A lock may straddle that place. */
	walk->next = at - MEMORY_OVERLAP;
	walk->stop = true;
}

/* Changes only with what was scanned: not while a batch is filled. */
static size_t batch_limit(const struct memory_walk *walk)
{
	return !walk->from && walk->bytes.scanned < FIRST_BYTES ? FIRST_BATCH_BYTES : BATCH_BYTES;
}

static void piece_add(struct memory_walk *walk, uint64_t address, size_t bytes)
{
	walk->piece[walk->n_pieces++] = (struct iovec){ (void *)(uintptr_t)address, bytes };
	walk->batch_bytes += bytes;
	if (walk->n_pieces < MEMORY_PIECES && walk->batch_bytes < batch_limit(walk))
		return;
	batch_read(walk);
	walk_pause(walk, address + bytes);
}

/* ---- mappings ---- */

static void run_read(struct memory_walk *walk, const struct page_run *run)
{
	if (run->kind == RUN_SWAPPED)
		walk->bytes.swapped += run->end - run->start;
	if (run->kind != RUN_OWN)
		return;
	for (uint64_t at = run->start, bytes; at < run->end && !walk->stop; at += bytes) {
		bytes = MIN(run->end - at, batch_limit(walk) - walk->batch_bytes);
		piece_add(walk, at, bytes);
	}
}

static bool beyond_spent(const struct memory_walk *walk)
{
	return walk->place != FIND_DATA &&
	       walk->bytes.beyond + walk->batch_bytes >= walk->beyond_limit;
}

static void mapping_read(struct memory_walk *walk, const struct proc_mapping *m)
{
	uint64_t at = MAX(m->start, walk->from & -walk->resident.page_bytes);
	struct page_run runs[RUNS];

	while (at < m->end && !walk->stop && !beyond_spent(walk)) {
		ssize_t n = resident_runs(&walk->resident, at, m->end, runs, RUNS, &at);

		if (n < 0) {
			walk->bytes.unread += m->end - at;
			break;
		}
		for (ssize_t i = 0; i < n && !walk->stop && !beyond_spent(walk); i++)
			run_read(walk, &runs[i]);
	}
	if (!walk->stop)
		batch_read(walk);
	if (!walk->stop && beyond_spent(walk) && at < m->end)
		walk->bytes.left += m->end - at;
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

/* Counts what is left out of it: a slice begins in one only if it was no such mapping before. */
static bool mapping_left_out(struct memory_walk *walk, const struct proc_mapping *m)
{
	uint64_t bytes = m->end - MAX(m->start, walk->from);

	if (!m->read || !m->write)
		return true;
	if (m->shared)
		walk->bytes.shared += bytes;
	else if (mapping_is_device(m) || m->end - m->start > resident_limit(&walk->resident) ||
		 userfaults_serve(walk->userfaults, m->start, m->end))
		walk->bytes.unread += bytes;
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

static int mappings_walk(struct memory_walk *walk)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct proc_mapping m;
	uint64_t file_end = 0;
	int err = task_maps_open(&maps, walk->task.thread);

	while (!err && !walk->stop) {
		int n = task_maps_next(&maps, &m);

		if (n <= 0)
			return n;
		walk->place = mapping_place(&m, &file_end);
		if (m.end <= walk->from || mapping_left_out(walk, &m))
			continue;
		mapping_read(walk, &m);
		walk_pause(walk, m.end);
	}
	return err;
}

/* Through a process that is open. */
static int walk_through(struct memory_walk *walk)
{
	int err = userfaults_learn(walk->userfaults, &walk->task, !walk->from);

	if (!err)
		err = resident_open(&walk->resident, walk->task.thread, true);
	if (!err)
		err = mappings_walk(walk);
	if (!err)
		err = walk->error;
	if (!err || err == -ESRCH) /* ESRCH: the thread through which was read is gone */
		err = task_check(&walk->task) ?: err;
	resident_close(&walk->resident);
	if (err)
		userfaults_forget(walk->userfaults);
	return err;
}

int memory_walk(struct memory_walk *walk)
{
	int err = task_open(&walk->task, walk->tgid, walk->start_ticks);

	if (!err)
		err = walk_through(walk);
	task_close(&walk->task);
	return err;
}

void memory_rest(void)
{
	madvise(&buffer, sizeof(buffer), MADV_DONTNEED);
}
