// SPDX-License-Identifier: GPL-2.0-only
/* For what do threads of a Python process wait? The search of its memory, slice by slice. */
#include <errno.h>

#include "pythons_parts.h"

/* A wait that is looked into has lasted so long. */
#define LONG_NS (1000 * MS)
/* The agent's own part of a slice, as in censuses.c. */
#define SLICE_NS 100000ull

static bool wait_wants_search(const struct python_wait *wait, uint64_t now)
{
	return !wait->searched && wait->first_ns + LONG_NS <= now;
}

/* Those that sleep on semaphores are looked for in memory: not where that is not wanted. */
static bool searches_memory(const struct pythons *pythons)
{
	return pythons->agent->options->census != CENSUS_OFF;
}

/* Fills the request with the words of waits that are new. Returns how many. */
static uint32_t ask_fill(struct pythons *pythons, struct python_process *process, uint64_t now)
{
	struct python_ask *ask = &pythons->ask;
	struct python_wait *wait, *next;

	*ask = (struct python_ask){
		.tgid = process->key.tgid,
		.start_ticks = process->key.start_ns / pythons->agent->tick_ns,
		.slice_bytes = CENSUS_SLICE_BYTES,
	};
	for (int parked = 1; parked >= 0; parked--) {
		HASH_ITER (hh, process->waits, wait, next) {
			if (ask->n < PYTHON_WORDS && wait_wants_search(wait, now) &&
			    python_wait_parks(wait) == parked &&
			    (parked || searches_memory(pythons)))
				ask->word[ask->n++] = wait->row.word;
		}
		if (parked)
			ask->n_parked = ask->n = word_sort(ask->word, ask->n);
	}
	ask->n = ask->n_parked + word_sort(ask->word + ask->n_parked, ask->n - ask->n_parked);
	return ask->n;
}

/* Two objects with the same semaphore: nothing is told. */
static void wait_resolve(const struct pythons *pythons, struct python_wait *wait, uint32_t word)
{
	const struct python_answer *found = &pythons->found;
	size_t n = 0;

	wait->searched = true;
	for (uint32_t i = 0; i < found->n; i++) {
		if (found->at[i].word != word)
			continue;
		wait->type = found->at[i].type;
		wait->object = found->at[i].address;
		n++;
	}
	if (n != 1)
		wait->type = PYTHON_NOTHING;
}

static void search_end(struct pythons *pythons)
{
	struct python_process *process = pythons_process(pythons, &pythons->key);
	struct python_wait *wait, *next;

	pythons->searching = false;
	pythons->work = true;
	pythons->totals.searches += pythons->found.python;
	if (!process)
		return;
	process->known = true;
	process->python = pythons->found.python;
	HASH_ITER (hh, process->waits, wait, next) {
		for (uint32_t i = 0; i < pythons->ask.n; i++) {
			if (pythons->ask.word[i] == wait->row.word && !wait->searched)
				wait_resolve(pythons, wait, i);
		}
		if (!process->python)
			python_wait_free(process, wait);
	}
}

static void found_add(struct python_answer *found, const struct python_find *find)
{
	for (uint32_t i = 0; i < found->n; i++) {
		if (found->at[i].word == find->word && found->at[i].address == find->address)
			return;
	}
	if (found->n < PYTHON_WORDS)
		found->at[found->n++] = *find;
}

static void slice_answered(void *context, const struct python_ask *ask,
			   const struct python_answer *answer)
{
	struct pythons *pythons = context;
	uint64_t now = host_now();

	(void)ask;
	if (answer->error == -ECANCELED)
		return;
	pythons->busy = false;
	budget_spend(&pythons->budget, now, answer->cpu_ns + SLICE_NS);
	pythons->totals.scanned_bytes += answer->scanned_bytes;
	pythons->totals.unread_bytes += answer->unread_bytes;
	pythons->totals.cpu_ns += answer->cpu_ns;
	if (!answer->error && !pythons->ask.from)
		pythons->found.python = answer->python;
	for (uint32_t i = 0; i < answer->n; i++)
		found_add(&pythons->found, &answer->at[i]);
	pythons->ask.from =
		answer->next; /* 0 after an error: it is over, or the reader counted it */
	if (!answer->next)
		search_end(pythons);
	else
		pythons->due_ns = now + answer->cpu_ns; /* a pause as long as it was at work */
}

void pythons_search_on(struct pythons *pythons)
{
	pythons->busy = !reader_python(pythons->agent->reader, &pythons->ask, slice_answered,
				       pythons);
	if (!pythons->busy)
		search_end(pythons);
}

bool pythons_search(struct pythons *pythons, struct python_process *process, uint64_t now)
{
	if ((process->known && !(process->python && process->armed)) ||
	    !ask_fill(pythons, process, now))
		return false;
	pythons->key = process->key;
	pythons->found.n = 0;
	pythons->found.python = process->python;
	pythons->searching = true;
	pythons_search_on(pythons);
	return true;
}
