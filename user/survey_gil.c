// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who holds the GIL of a Python process? Only where both readings agree, and the count of switches says
 * that no other thread had it in between. A holder that did not run from before the first of them to the
 * second one had it all the time.
 *
 * Who waits for the GIL comes out of that wait every five milliseconds and goes to sleep again. So it may
 * run in both readings: where the holder sleeps, it is looked at more often in between.
 */
#include "survey_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "runtime.h"
#include "words.h"

#define LOOKS	 10
#define LOOK_GAP 7000000l /* ns: no multiple of the five milliseconds */

_Static_assert(GILS <= SEEN_GILS, "each has its place");

/* Builds for other machines and with other C libraries were not run. */
static bool layout_is_known(const struct survey *survey)
{
#ifdef __x86_64__
	return survey->out->libc == LIBC_GLIBC;
#else
	(void)survey;
	return false;
#endif
}

static bool wait_is_for(const struct wait *wait, uint64_t gil)
{
	return wait->what >= WAIT_FUTEX && gil_waits(gil, wait->word);
}

static void waiters_mark(struct survey *survey, uint64_t gil)
{
	for (size_t i = 0; i < survey->out->n_own; i++) {
		struct seen_thread *thread = &survey->out->threads[i];

		if (!wait_is_for(&thread->wait, gil))
			continue;
		thread->wait.what = WAIT_GIL;
		thread->lock = NOBODY;
		thread->gil = gil;
	}
}

int survey_gil(struct survey *survey)
{
	struct gil gils[GILS];
	size_t n;
	int err;

	if (!(survey->runtimes & RUNTIME_PYTHON) || !layout_is_known(survey))
		return 0;
	survey_step(survey, STEP_MAPPINGS, survey->task.tgid);
	err = gil_find(&survey->task, &survey->gil_place);
	if (err)
		return err;
	survey_step(survey, STEP_MEMORY, survey->task.tgid);
	n = gil_read(&survey->task, &survey->gil_place, gils);
	for (size_t i = 0; i < n; i++) {
		waiters_mark(survey, gils[i].address);
		if (gils[i].state.held)
			survey->gils[survey->n_gils++] = gils[i];
	}
	return 0;
}

/* ---- between the readings ---- */

static bool holder_sleeps(const struct survey *survey)
{
	for (size_t i = 0; i < survey->n_gils; i++) {
		const struct thread *holder = roster_find_living(&survey->first,
								 survey->gils[i].holder);

		if (holder && !holder->error &&
		    wait_of_call(holder->state, &holder->call).what != WAIT_RUNS)
			return true;
	}
	return false;
}

/* Returns how many threads are left of which it is known only that they ran when they were looked at. */
static size_t runners_look(struct survey *survey, const struct roster *now)
{
	size_t left = 0;

	for (size_t i = 0; i < survey->out->n_own; i++) {
		const struct seen_thread *seen = &survey->out->threads[i];
		const struct thread *thread = roster_find(now, seen->info.tid);
		struct wait *found = &survey->gil_wait[i], wait;

		if (seen->wait.what != WAIT_RUNS || found->what || !thread || thread->error ||
		    thread->ended || thread->info.start_ticks != seen->info.start_ticks)
			continue;
		wait = wait_of_call(thread->state, &thread->call);
		if (wait.what >= WAIT_FUTEX)
			*found = wait;
		left += wait.what == WAIT_RUNS;
	}
	return left;
}

int survey_gil_between(struct survey *survey)
{
	const struct timespec gap = { .tv_nsec = LOOK_GAP };
	size_t left = 1;
	int err = 0;

	if (!holder_sleeps(survey))
		return 0;
	survey->gil_wait = calloc(survey->out->n_own + 1, sizeof(*survey->gil_wait));
	if (!survey->gil_wait)
		return -ENOMEM;
	for (int i = 0; !err && left && i < LOOKS; i++) {
		_cleanup_roster_ struct roster now = { 0 };

		nanosleep(&gap, NULL);
		survey_step(survey, STEP_THREADS, survey->task.tgid);
		err = roster_read(survey->task.process, survey_progress, survey, &now);
		left = err ? 0 : runners_look(survey, &now);
	}
	return err;
}

/* ---- the second reading ---- */

/* Whoever sleeps elsewhere by now has got it. */
static void waiters_again(struct survey *survey, const struct roster *own)
{
	for (size_t i = 0; i < survey->out->n_own; i++) {
		struct seen_thread *thread = &survey->out->threads[i];
		const struct thread *now = roster_find(own, thread->info.tid);
		struct wait wait;

		if (!thread->gil)
			continue;
		wait = now && !now->ended && !now->error ? wait_of_call(now->state, &now->call)
							 : (struct wait){ 0 };
		if (wait.what == WAIT_RUNS || wait_is_for(&wait, thread->gil))
			continue;
		thread->gil = 0;
		thread->wait = (struct wait){ .what = WAIT_RUNS, .number = -1 };
	}
}

/* Its holder slept all the time: whoever asked for it in between waits for it still. */
static void waiters_between(struct survey *survey, uint64_t gil)
{
	for (size_t i = 0; survey->gil_wait && i < survey->out->n_own; i++) {
		struct seen_thread *thread = &survey->out->threads[i];

		if (thread->wait.what != WAIT_RUNS || !wait_is_for(&survey->gil_wait[i], gil))
			continue;
		thread->wait = survey->gil_wait[i];
		thread->wait.what = WAIT_GIL;
		thread->gil = gil;
	}
}

static bool gil_same(const struct gil *a, const struct gil *b)
{
	return a->address == b->address && a->holder == b->holder && b->state.held &&
	       a->state.holder == b->state.holder && a->state.switches == b->state.switches;
}

/* Has it not run at all? A thread that is at work all the time looks the same by its switches alone. */
static bool thread_rested(const struct thread *first, const struct thread *now)
{
	enum wait_what what = wait_of_call(first->state, &first->call).what;

	return !first->error && what != WAIT_RUNS && survey_slept(first, now);
}

/* False: its holder is none of the living. */
static bool gil_seen(struct survey *survey, const struct gil *gil, const struct roster *own)
{
	struct inspection *out = survey->out;
	const struct thread *first = roster_find_living(&survey->first, gil->holder);
	const struct thread *now = roster_find_living(own, gil->holder);
	struct seen_thread *holder;
	bool asleep;

	if (!gil->holder || !first || !now || first->info.tid != now->info.tid ||
	    first->info.start_ticks != now->info.start_ticks)
		return false;
	asleep = thread_rested(first, now);
	holder = &out->threads[first - survey->first.at];
	if (asleep)
		waiters_between(survey, gil->address);
	else if (holder->wait.what == WAIT_CALL) /* when it was read first */
		holder->wait = (struct wait){ .what = WAIT_RUNS, .number = -1 };
	out->gils[out->n_gils++] = (struct seen_gil){
		.address = gil->address,
		.holder = first - survey->first.at,
		.asleep = asleep,
	};
	return true;
}

/* A thread ended with it; or its state is laid out in a way that is not known. */
static void gil_unclear(struct survey *survey, const struct gil *gil)
{
	size_t n = 0;

	for (size_t i = 0; i < survey->out->n_own; i++)
		n += survey->out->threads[i].gil == gil->address;
	if (n)
		inspection_unclear(survey->out,
				   "no living thread was found by the state that it names",
				   "who holds the GIL for which %zu thread%s wait%s", n, plural(n),
				   n == 1 ? "s" : "");
}

void survey_gil_again(struct survey *survey, const struct roster *own)
{
	struct gil now[GILS];
	size_t n;

	waiters_again(survey, own);
	if (!survey->n_gils)
		return;
	survey_step(survey, STEP_MEMORY, survey->task.tgid);
	n = gil_read(&survey->task, &survey->gil_place, now);
	for (size_t i = 0; i < survey->n_gils; i++) {
		for (size_t j = 0; j < n; j++) {
			if (gil_same(&survey->gils[i], &now[j]) && !gil_seen(survey, &now[j], own))
				gil_unclear(survey, &now[j]);
		}
	}
}
