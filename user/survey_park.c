// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that glibc parked: the kernel refused to let them wait for a priority-inheritance mutex, whose
 * owner is gone or in turn waits for them. They sleep on a word of their own stack. Which mutex it is,
 * the pointers in their frames tell.
 */
#include "survey_parts.h"

#include <errno.h>

#include "look.h"

static void park_look(struct survey *survey, const struct seen_thread *thread,
		      struct park_answer *answer)
{
	struct park park = { .tgid = thread->tgid,
			     .sp = thread->wait.sp,
			     .word = thread->wait.word };

	survey_step(survey, STEP_MEMORY, thread->tgid);
	park_read(&park, answer);
	if (answer->error)
		answer->n = 0;
}

int survey_park_dead(struct survey *survey, struct seen_thread *thread)
{
	struct park_answer answer;

	if (thread->tgid != survey->task.tgid)
		return 0;
	park_look(survey, thread, &answer);
	for (uint32_t i = 0; i < answer.n; i++)
		if (answer.lock[i].owner &&
		    !roster_find_living(&survey->first, answer.lock[i].owner))
			return survey_lock_wanted(survey, thread, &answer.lock[i]);
	return 0;
}

/* Is the thread in a ring, if it waits for this lock? */
static int park_try(struct survey *survey, size_t at, const struct lock_state *state)
{
	struct inspection *out = survey->out;
	size_t locks = out->n_locks;
	int err = survey_lock_wanted(survey, &out->threads[at], state);

	if (!err) {
		survey_map(survey);
		err = survey_owners(survey, locks);
	}
	if (!err)
		err = inspection_judge(out);
	if (err || out->graph.fate[at].inner)
		return err;
	out->threads[at].lock = NOBODY;
	out->threads[at].wait.what = WAIT_FUTEX;
	return 0;
}

/*
 * Its frames may point at mutexes that it holds itself too: those come last. What is not proven by a ring
 * that closes is not claimed.
 */
static int park_close(struct survey *survey, size_t at)
{
	const struct inspection *out = survey->out;
	uint32_t self = out->threads[at].info.ns_tid;
	struct park_answer answer;
	int err = 0;

	park_look(survey, &out->threads[at], &answer);
	for (int own = 0; own < 2; own++)
		for (uint32_t i = 0; i < answer.n && !err; i++)
			if (out->threads[at].lock == NOBODY &&
			    (answer.lock[i].owner == self) == own)
				err = park_try(survey, at, &answer.lock[i]);
	if (!err && out->threads[at].lock == NOBODY)
		inspection_unclear(survey->out,
				   "it sleeps on its own stack, as libc parks who can't have a "
				   "priority-inheritance mutex any more; which one was not found",
				   "what thread %d waits for", out->threads[at].info.tid);
	return err;
}

int survey_park_rings(struct survey *survey)
{
	int err = 0;

	for (size_t i = 0; !err && i < survey->out->n_own; i++)
		if (survey->out->threads[i].parked)
			err = park_close(survey, i);
	return err;
}
