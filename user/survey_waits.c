// SPDX-License-Identifier: GPL-2.0-only
/* What the threads of a survey wait for: by the memory around their futex words. */
#include "survey_parts.h"

#include <errno.h>
#include <stdlib.h>

#include "detect.h"
#include "look.h"

static int spot_compare(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	if (x->tgid != y->tgid)
		return x->tgid < y->tgid ? -1 : 1;
	return (x->word > y->word) - (x->word < y->word);
}

/* NULL: nobody waits there. */
static struct spot *spot_find(const struct survey *survey, int32_t tgid, uint64_t word)
{
	struct spot key = { .tgid = tgid, .word = word };

	return bsearch(&key, survey->spots, survey->n_spots, sizeof(key), spot_compare);
}

/* The spots of the threads from `from` on, each once, in order. */
static int spots_collect(struct survey *survey, size_t from)
{
	const struct inspection *out = survey->out;
	struct spot *spots = calloc(out->n_threads - from + 1, sizeof(*spots));
	size_t n = 0, kept = 0;

	free(survey->spots);
	survey->spots = spots;
	survey->n_spots = 0;
	if (!spots)
		return -ENOMEM;
	for (size_t i = from; i < out->n_threads; i++)
		if (out->threads[i].wait.what == WAIT_FUTEX)
			spots[n++] = (struct spot){ .tgid = out->threads[i].tgid,
						    .word = out->threads[i].wait.word };
	qsort(spots, n, sizeof(*spots), spot_compare);
	for (size_t i = 0; i < n; i++) {
		if (kept && !spot_compare(&spots[kept - 1], &spots[i]))
			spots[kept - 1].n++;
		else
			spots[kept++] = (struct spot){ spots[i].word, spots[i].tgid, .n = 1 };
	}
	survey->n_spots = kept;
	return 0;
}

/* Up to LOOK_ADDRESSES of one process. The words of a spot that can't be read stay empty. */
static int spots_look(struct survey *survey, struct spot *spots, uint32_t n)
{
	static struct look_answer answer;
	struct look look = { .tgid = spots[0].tgid, .want = LOOK_WORDS, .n = n };

	if (look.tgid == survey->task.tgid)
		look.start_ticks = survey->task.stat.start_ticks;
	for (uint32_t i = 0; i < n; i++)
		look.address[i] = spots[i].word;
	survey_step(survey, STEP_MEMORY, look.tgid);
	look_read(&look, 0, &answer);
	for (uint32_t i = 0; i < n; i++)
		if (!answer.error || answer.error == -EACCES)
			spots[i].words = answer.at[i].words;
	if (look.tgid != survey->task.tgid)
		return 0;
	return answer.error == -ESRCH || answer.error == -EPERM ? answer.error : 0;
}

static int spots_read(struct survey *survey)
{
	size_t from = 0, n;
	int err = 0;

	for (; !err && from < survey->n_spots; from += n) {
		for (n = 1; from + n < survey->n_spots && n < LOOK_ADDRESSES; n++)
			if (survey->spots[from + n].tgid != survey->spots[from].tgid)
				break;
		err = spots_look(survey, survey->spots + from, n);
	}
	return err;
}

/* ---- locks ---- */

int survey_lock_wanted(struct survey *survey, struct seen_thread *thread,
		       const struct lock_state *state)
{
	bool by_mark = !state->owner && state->layout < LAYOUT_PYTHON_LOCK;
	enum lock_proof proof = by_mark ? PROOF_OWNER_DIED : PROOF_WAITER;
	int lock = survey_lock(survey, thread->tgid, state->address);
	struct lock_place *place;

	if (lock == NOBODY)
		return -ENOMEM;
	place = &survey->place[lock];
	if (!place->word) {
		place->word = state->address + lock_word_offset(state->layout);
		place->layout = state->layout;
		place->state = *state;
		detect_lock(&survey->out->locks[lock].info, state, proof, survey->out->libc);
		survey->out->locks[lock].owner_died = state->owner_died;
	}
	thread->lock = lock;
	thread->wait.what = WAIT_LOCK;
	return 0;
}

static int lock_add_ownerless(struct survey *survey, struct seen_thread *thread,
			      const struct wait_ownerless *ownerless)
{
	int lock = survey_lock(survey, thread->tgid, ownerless->address);
	struct lock_place *place;
	struct seen_lock *seen;

	if (lock == NOBODY)
		return -ENOMEM;
	place = &survey->place[lock];
	seen = &survey->out->locks[lock];
	if (!place->word) {
		place->word = thread->wait.word;
		place->val = thread->wait.val;
		seen->info.type = ownerless->type;
		seen->info.libc = survey->out->libc;
		seen->info.proof = PROOF_WAITER;
		seen->readers = ownerless->readers;
	}
	thread->lock = lock;
	thread->wait.what = WAIT_LOCK;
	return 0;
}

static struct seen_thread *thread_of(struct survey *survey, const struct thread *thread)
{
	return &survey->out->threads[thread - survey->first.at];
}

/* The TID in a thread's descriptor; 0: there is none there, or the thread has ended. */
static uint32_t joined_tid(struct survey *survey, const struct wait_joined *joined)
{
	uint64_t self = 0;
	uint32_t tid = 0;

	if (task_read_memory(&survey->task, joined->descriptor, &self, sizeof(self)) !=
		    sizeof(self) ||
	    self != joined->descriptor ||
	    task_read_memory(&survey->task, joined->tid, &tid, sizeof(tid)) != sizeof(tid))
		return 0;
	return tid;
}

/* pthread_join(), and of whom: what the descriptor says. */
static void thread_join(struct survey *survey, struct seen_thread *thread)
{
	struct wait_joined joined[WAIT_JOINS];
	struct thread *other;
	uint32_t tid = 0;
	size_t n;

	n = thread->tgid == survey->task.tgid ? wait_joins(&thread->wait, survey->out->libc, joined)
					      : 0;
	if (n)
		survey_step(survey, STEP_MEMORY, thread->tgid);
	for (size_t i = 0; i < n && !tid; i++)
		tid = joined_tid(survey, &joined[i]);
	if (!tid)
		return;
	other = roster_find_living(&survey->first, tid);
	if (!other || thread_of(survey, other) == thread)
		return;
	thread->joins = other - survey->first.at;
	thread->wait.what = WAIT_JOIN;
}

enum caller survey_caller(struct survey *survey, int32_t tgid, uint64_t pc)
{
	static struct look_answer answer;
	struct look look = {
		.tgid = tgid, .want = LOOK_MAPPINGS | LOOK_CALLERS, .code = 1, .n = 1
	};

	for (size_t i = 0; i < survey->n_codes; i++)
		if (survey->codes[i].tgid == tgid && survey->codes[i].pc == pc)
			return survey->codes[i].caller;
	look.address[0] = pc;
	survey_step(survey, STEP_MAPPINGS, tgid);
	look_read(&look, UINT64_MAX, &answer); /* after an error, of an unknown one */
	if (survey->n_codes < WAITING_CODES)
		survey->codes[survey->n_codes++] = (struct waiting_code){ tgid, pc,
									  answer.at[0].caller };
	return answer.at[0].caller;
}

/*
 * The lock that a thread waits for by the memory around its futex word and, where that alone is too little,
 * by whose code it is that waits.
 */
static uint32_t layout_of(struct survey *survey, const struct seen_thread *thread,
			  const struct lock_words *words, struct lock_state *state, bool *doubted)
{
	const struct wait *wait = &thread->wait;
	uint32_t layout = lock_layout(wait->op, wait->val, wait->timeout, wait->word, words, state);
	enum caller caller;

	*doubted = false;
	if (!lock_needs_caller(layout))
		return layout;
	caller = survey_caller(survey, thread->tgid, wait->pc);
	*doubted = caller == CALLER_UNKNOWN;
	return caller == CALLER_OTHER ? LAYOUT_NONE : layout;
}

/* What its futex word is, by the memory around it. */
static int thread_judge(struct survey *survey, struct seen_thread *thread)
{
	struct spot *spot = spot_find(survey, thread->tgid, thread->wait.word), *pair;
	const struct wait *wait = &thread->wait;
	struct wait_ownerless ownerless;
	struct lock_state state;
	bool over, doubted;
	int err;

	if (!spot->words.have_at) {
		inspection_unclear(survey->out, "the memory of its futex word could not be read",
				   "what thread %d waits for", thread->info.tid);
		return 0;
	}
	over = wait_is_over(wait, &spot->words, thread->info.ns_tid);
	/* A word that changed may still be that of a lock: then it asks for that again. */
	if (layout_of(survey, thread, &spot->words, &state, &doubted) != LAYOUT_NONE &&
	    !(over && (int32_t)state.owner == thread->info.ns_tid)) {
		err = survey_lock_wanted(survey, thread, &state);
		if (!err)
			survey->place[thread->lock].doubted |= doubted;
		return err;
	}
	if (over) {
		thread->wait = (struct wait){
			.what = wait->stopped ? WAIT_STOPPED : WAIT_OUTSIDE,
			.number = -1,
		};
		return 0;
	}
	if (wait->restarted) {
		thread->wait.what = WAIT_CALL;
		return 0;
	}
	thread_join(survey, thread);
	if (thread->joins != NOBODY)
		return 0;
	if (lock_parked(wait->op, wait->val, wait->timeout, wait->word, wait->sp)) {
		err = survey_park_dead(survey, thread);
		if (err || thread->lock != NOBODY)
			return err;
		thread->parked = true;
	}
	/* The two words of a condition variable lie side by side. */
	pair = spot_find(survey, thread->tgid, wait->word ^ 4);
	thread->wait.what = wait_object(wait, survey->out->libc, &spot->words,
					spot->n + (pair ? pair->n : 0), survey->out->n_own);
	thread->parked &= thread->wait.what == WAIT_FUTEX;
	if (thread->wait.what == WAIT_FUTEX && wait_is_ownerless(wait, &spot->words, &ownerless))
		return lock_add_ownerless(survey, thread, &ownerless);
	return 0;
}

int survey_waits(struct survey *survey)
{
	struct inspection *out = survey->out;
	size_t i, from = survey->judged;
	int err = spots_collect(survey, from);

	if (!err)
		err = spots_read(survey);
	for (i = from; !err && i < out->n_threads; i++)
		if (out->threads[i].wait.what == WAIT_FUTEX)
			err = thread_judge(survey, &out->threads[i]);
	survey->judged = out->n_threads;
	return err;
}
