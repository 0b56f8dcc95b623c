// SPDX-License-Identifier: GPL-2.0-only
#include "census_read.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "memory.h"

_Static_assert(MEMORY_OVERLAP == CENSUS_OVERLAP, "a lock may straddle the border of two blocks");

struct slice {
	const struct census_ask *ask;
	const struct tid_sets *tids;
	struct census_owners owners;
	struct census_answer *answer;
	struct memory_walk walk;
};

/* 8 bytes of the process, if they are in memory and no userfaultfd stands behind them. */
static bool link_read(struct slice *slice, uint64_t address, uint64_t *word)
{
	uint64_t page = address & -slice->walk.resident.page_bytes, next;
	struct page_run run;

	if (address & 7 || address < slice->walk.resident.page_bytes ||
	    userfaults_serve(slice->walk.userfaults, address, address + sizeof(*word)))
		return false;
	if (resident_runs(&slice->walk.resident, page, page + slice->walk.resident.page_bytes, &run,
			  1, &next) != 1 ||
	    run.kind == RUN_SWAPPED)
		return false;
	return task_read_memory(&slice->walk.task, address, word, sizeof(*word)) == sizeof(*word);
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
	slice->walk.next = address;
	slice->walk.stop = true;
}

static void slice_found(void *context, const struct census_find *find)
{
	struct slice *slice = context;
	struct census_answer *answer = slice->answer;

	if (slice->walk.stop || find->lock.address < slice->ask->from ||
	    !links_agree(slice, find) || !find_wanted(slice, find))
		return;
	if (answer->n == CENSUS_FINDS) {
		find_later(slice, find->lock.address);
		return;
	}
	answer->at[answer->n].find = *find;
	answer->at[answer->n].place = slice->walk.place;
	answer->at[answer->n].pad = 0;
	answer->n++;
}

static void slice_block(struct memory_walk *walk, uint64_t address, const void *memory,
			size_t bytes, size_t seen)
{
	struct slice *slice = walk->context;

	census_scan(&slice->owners, address, memory, bytes, seen, slice_found, slice);
}

static int slice_attempt(struct slice *slice)
{
	int err;

	memset(slice->answer, 0, sizeof(*slice->answer));
	err = memory_walk(&slice->walk);
	slice->answer->next = slice->walk.next;
	slice->answer->bytes = slice->walk.bytes;
	return err;
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

void census_read(const struct census_ask *ask, const struct tid_sets *tids, uint64_t until_ns,
		 struct census_answer *answer)
{
	static struct userfaults userfaults;
	uint64_t began_ns = cpu_ns();
	int err = -EAGAIN;

	for (int i = 0; i < MEMORY_ATTEMPTS && err == -EAGAIN; i++) {
		struct slice slice = {
			.ask = ask,
			.tids = tids,
			.owners = { .min = ask->min,
				    .max = ask->max,
				    .musl_marks = ask->musl_marks,
				    .users = ask->users },
			.answer = answer,
			.walk = { .tgid = ask->tgid,
				  .start_ticks = ask->start_ticks,
				  .from = ask->from,
				  .slice_bytes = ask->slice_bytes,
				  .beyond_limit = ask->beyond_bytes,
				  .until_ns = until_ns,
				  .block = slice_block,
				  .context = &slice,
				  .userfaults = &userfaults,
				  .task = TASK_CLOSED,
				  .resident = RESIDENT_CLOSED },
		};

		err = slice_attempt(&slice);
	}
	if (err)
		memset(answer, 0, sizeof(*answer));
	answer->error = err == -EAGAIN ? -ESRCH : err;
	answer->cpu_ns = cpu_ns() - began_ns;
}
