// SPDX-License-Identifier: GPL-2.0-only
/*
 * The threads of a Python process: for which of its objects do they wait? Of a plain Lock the memory
 * does not say what it is for: one that threading.Condition made for a single waiter (Event, Queue and
 * the like wait so) lies in a deque, and one that stands for the life of a thread is known to that
 * thread's state. What is neither is a lock that somebody may be stuck on.
 */
#include "survey_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "host.h"
#include "look.h"
#include "python_read.h"
#include "runtime.h"

#define SLICE_NS     100000000ull
#define SLICE_BYTES  (32ull << 20)
#define PLACES_LIMIT 2048 /* where locks are mentioned: in some 30,000 blocks at most */
#define DEQUE_BLOCKS 256

/* A plain Lock, and what speaks for what it is. */
struct plain {
	uint64_t address;
	uint64_t weakref; /* 0: none */
	size_t waiters;
	bool condition;
	uint32_t thread; /* that it stands for, by its number; 0: none */
};

/* A place that holds the address of a plain Lock. */
struct mention {
	uint64_t address;
	size_t plain;
};

struct pythons {
	struct survey *survey;
	double left_s; /* of the time for searches */
	bool cut;      /* it did not suffice */
	size_t n_plain, room_plain;
	struct plain *plain;
	size_t n_mentions;
	struct mention *mention;
	/* The search under way. */
	struct word_set set;
	struct memory_walk walk;
	struct userfaults userfaults;
	word_found *found;
};

static void pythons_free(struct pythons *pythons)
{
	free(pythons->plain);
	free(pythons->mention);
	userfaults_forget(&pythons->userfaults);
}
#define _cleanup_pythons_ _cleanup_(pythons_free)

static bool thread_is_candidate(const struct seen_thread *thread)
{
	const struct wait *wait = &thread->wait;

	return wait->what >= WAIT_FUTEX && wait->what != WAIT_LOCK && wait->what != WAIT_JOIN &&
	       wait->what != WAIT_GIL && python_waits(wait->op, wait->val, wait->word);
}

static size_t candidates_count(const struct survey *survey)
{
	size_t n = 0;

	for (size_t i = 0; i < survey->out->n_own; i++)
		n += thread_is_candidate(&survey->out->threads[i]);
	return n;
}

/* ---- searches ---- */

static void block_show(struct memory_walk *walk, uint64_t address, const void *memory, size_t bytes,
		       size_t seen)
{
	struct pythons *pythons = walk->context;

	word_set_scan(&pythons->set, address, memory, bytes, seen, pythons->found, pythons);
}

/* One slice. 0 or -errno. */
static int search_slice(struct pythons *pythons, uint64_t from)
{
	const struct task *task = &pythons->survey->task;
	int err = -EAGAIN;

	for (int i = 0; i < MEMORY_ATTEMPTS && err == -EAGAIN; i++) {
		pythons->walk = (struct memory_walk){
			.tgid = task->tgid,
			.start_ticks = task->stat.start_ticks,
			.from = from,
			.slice_bytes = SLICE_BYTES,
			.beyond_limit = UINT64_MAX,
			.until_ns = host_now() + SLICE_NS,
			.block = block_show,
			.context = pythons,
			.userfaults = &pythons->userfaults,
			.task = TASK_CLOSED,
			.resident = RESIDENT_CLOSED,
		};
		survey_step(pythons->survey, STEP_CENSUS, task->tgid);
		err = memory_walk(&pythons->walk);
	}
	return err == -EAGAIN ? -ESRCH : err;
}

/* Calls found() for each word of the process's memory that is one of these. words: any order. */
static int search_words(struct pythons *pythons, uint64_t *words, size_t n, word_found *found)
{
	uint64_t from_ns = host_now(), from = 0;
	int err = 0;

	if (!n)
		return 0;
	if (pythons->left_s <= 0) {
		pythons->cut = true;
		return 0;
	}
	n = word_sort(words, n);
	word_set_init(&pythons->set, words, n);
	pythons->found = found;
	do {
		err = search_slice(pythons, from);
		from = pythons->walk.next;
	} while (!err && from && (double)(host_now() - from_ns) / 1e9 < pythons->left_s);
	pythons->left_s -= (double)(host_now() - from_ns) / 1e9;
	pythons->cut |= !err && from;
	return err;
}

/* ---- what plain locks are for ---- */

static struct plain *plain_find(struct pythons *pythons, uint64_t address)
{
	for (size_t i = 0; i < pythons->n_plain; i++)
		if (pythons->plain[i].address == address)
			return &pythons->plain[i];
	return NULL;
}

/* Does the state of a thread know the weak reference at this place? Its number before it tells whose. */
static uint32_t state_thread(const struct task *task, uint64_t place)
{
	uint64_t state[6]; /* … ident, (native id,) trash, trash, on_delete, on_delete_data */
	uint32_t tid;

	if (task_read_memory(task, place - 40, state, sizeof(state)) != sizeof(state) || !state[4])
		return 0;
	tid = python_thread_tid(task, state[1]);
	return tid ? tid : python_thread_tid(task, state[0]);
}

static bool mention_found(void *context, uint64_t address, size_t i)
{
	struct pythons *pythons = context;
	uint64_t word = pythons->set.word[i];

	for (size_t p = 0; p < pythons->n_plain; p++) {
		struct plain *plain = &pythons->plain[p];

		if (plain->weakref == word && !plain->thread)
			plain->thread = state_thread(&pythons->walk.task, address);
		if (plain->address == word && pythons->n_mentions < PLACES_LIMIT)
			pythons->mention[pythons->n_mentions++] = (struct mention){ address, p };
	}
	return true;
}

/* A deque that one of the blocks belongs to: which of the locks are in it? */
static void deque_mark(struct pythons *pythons, const struct python_deque *deque)
{
	const struct task *task = &pythons->walk.task;
	uint64_t words[PYTHON_BLOCK_WORDS], block = deque->left;

	for (size_t n = 0; n < DEQUE_BLOCKS; n++) {
		size_t first = block == deque->left ? deque->first : 0;
		size_t last = block == deque->right ? deque->last : PYTHON_BLOCK_ITEMS - 1;

		if (task_read_memory(task, block, words, sizeof(words)) != sizeof(words))
			return;
		for (size_t i = first; i <= last; i++) {
			struct plain *plain = plain_find(pythons, words[1 + i]);

			if (plain)
				plain->condition = true;
		}
		if (block == deque->right)
			return;
		block = words[PYTHON_BLOCK_WORDS - 1];
	}
}

static bool block_found(void *context, uint64_t address, size_t i)
{
	struct pythons *pythons = context;
	struct python_deque deque;
	struct lock_words words;
	uint64_t object[7];

	(void)i;
	/* The left block is what a deque names first; the right one lies behind it. */
	for (int which = 0; which < 2; which++) {
		uint64_t at = address - PYTHON_DEQUE_BLOCK - 8 * which;

		if (python_object_type(&pythons->walk.task, at, &words) == PYTHON_DEQUE &&
		    task_read_memory(&pythons->walk.task, at, object, sizeof(object)) ==
			    sizeof(object) &&
		    python_deque_read(object, &deque))
			deque_mark(pythons, &deque);
	}
	return true;
}

/* All the blocks that the mentions may lie in: malloc gave them, at multiples of 16. */
static int blocks_search(struct pythons *pythons)
{
	_cleanup_free_ uint64_t *blocks = calloc(pythons->n_mentions * PYTHON_BLOCK_ITEMS + 1,
						 sizeof(*blocks));
	size_t n = 0;

	if (!blocks)
		return -ENOMEM;
	for (size_t m = 0; m < pythons->n_mentions; m++) {
		for (int i = 0; i < PYTHON_BLOCK_ITEMS; i++) {
			uint64_t block = pythons->mention[m].address - PYTHON_BLOCK_FIRST - 8 * i;

			if (!(block & 15))
				blocks[n++] = block;
		}
	}
	return search_words(pythons, blocks, n, block_found);
}

static int plains_search(struct pythons *pythons)
{
	_cleanup_free_ uint64_t *words = calloc(2 * pythons->n_plain + 1, sizeof(*words));
	size_t n = 0;
	int err;

	pythons->mention = calloc(PLACES_LIMIT, sizeof(*pythons->mention));
	if (!words || !pythons->mention)
		return -ENOMEM;
	for (size_t i = 0; i < pythons->n_plain; i++) {
		words[n++] = pythons->plain[i].address;
		if (pythons->plain[i].weakref)
			words[n++] = pythons->plain[i].weakref;
	}
	err = search_words(pythons, words, n, mention_found);
	return err ?: blocks_search(pythons);
}

static int plain_add(struct pythons *pythons, uint64_t address, const struct lock_words *words)
{
	struct plain *plain = plain_find(pythons, address);
	uint64_t weakref = words->at[PYTHON_LOCK_WEAKREF / 4] |
			   (uint64_t)words->at[PYTHON_LOCK_WEAKREF / 4 + 1] << 32;
	struct lock_words other;

	if (plain) {
		plain->waiters++;
		return 0;
	}
	plain = array_grow(pythons->plain, pythons->n_plain, &pythons->room_plain, sizeof(*plain));
	if (!plain)
		return -ENOMEM;
	pythons->plain = plain;
	plain += pythons->n_plain++;
	*plain = (struct plain){ .address = address, .waiters = 1 };
	if (!lock_python_mutex(words) &&
	    python_object_type(&pythons->survey->task, weakref, &other) == PYTHON_WEAKREF)
		plain->weakref = weakref;
	return 0;
}

/* ---- what was found ---- */

/* The thread waits for the end of that one. */
static void thread_joins(struct survey *survey, struct seen_thread *thread, uint32_t tid)
{
	const struct thread *other = roster_find_living(&survey->first, tid);

	thread->wait.what = WAIT_SEMAPHORE;
	if (!other || other->info.tid == thread->info.tid)
		return;
	thread->joins = other - survey->first.at;
	thread->wait.what = WAIT_JOIN;
}

/* The object as it is now. False: it is no lock of this kind that somebody holds. */
static bool object_state(struct survey *survey, const struct python_find *find,
			 struct lock_words *words, struct lock_state *state)
{
	if (look_words_read(&survey->task, find->address, words))
		return false;
	python_object_read(&survey->task, words);
	return lock_owner(python_layout(find->type), find->address, words, state) && state->held;
}

static int thread_found(struct pythons *pythons, struct seen_thread *thread,
			const struct python_find *find)
{
	struct survey *survey = pythons->survey;
	struct lock_words words;
	struct lock_state state;

	switch (find->type) {
	case PYTHON_QUEUE:
		thread->wait.what = WAIT_QUEUE;
		return 0;
	case PYTHON_THREAD:
		thread_joins(survey, thread, find->owner);
		return 0;
	default:
		break;
	}
	/* Free just now: its waiters have been woken, or will be. */
	if (!object_state(survey, find, &words, &state))
		return 0;
	if (find->type == PYTHON_LOCK) {
		int err = plain_add(pythons, find->address, &words);

		if (err)
			return err;
	}
	return survey_lock_wanted(survey, thread, &state);
}

/* Two objects with the same semaphore: one of them is what is left of a freed one. */
static const struct python_find *find_of(const struct python_answer *answer, uint32_t word)
{
	const struct python_find *find = NULL;

	for (uint32_t i = 0; i < answer->n; i++) {
		if (answer->at[i].word != word)
			continue;
		if (find)
			return NULL;
		find = &answer->at[i];
	}
	return find;
}

static int finds_take(struct pythons *pythons, const struct python_ask *ask,
		      const struct python_answer *answer)
{
	struct inspection *out = pythons->survey->out;
	int err = 0;

	for (size_t i = 0; !err && i < out->n_own; i++) {
		struct seen_thread *thread = &out->threads[i];
		const struct python_find *find = NULL;

		for (uint32_t w = 0; thread_is_candidate(thread) && w < ask->n; w++)
			if (ask->word[w] == thread->wait.word)
				find = find_of(answer, w);
		if (find)
			err = thread_found(pythons, thread, find);
	}
	return err;
}

static void answer_add(struct python_answer *all, const struct python_answer *slice)
{
	for (uint32_t i = 0; i < slice->n && all->n < PYTHON_WORDS; i++) {
		const struct python_find *find = &slice->at[i];
		bool known = false;

		for (uint32_t j = 0; j < all->n; j++)
			known |= all->at[j].word == find->word &&
				 all->at[j].address == find->address;
		if (!known)
			all->at[all->n++] = *find;
	}
}

/* One request's words. */
static int words_ask(struct pythons *pythons, struct python_ask *ask)
{
	static struct python_answer slice, all;
	uint64_t from_ns = host_now();
	int err;

	all.n = 0;
	do {
		survey_step(pythons->survey, STEP_CENSUS, ask->tgid);
		python_read(ask, host_now() + SLICE_NS, &slice);
		err = slice.error;
		if (!err)
			answer_add(&all, &slice);
		ask->from = slice.next;
	} while (!err && ask->from && (double)(host_now() - from_ns) / 1e9 < pythons->left_s);
	pythons->left_s -= (double)(host_now() - from_ns) / 1e9;
	pythons->cut |= !err && ask->from;
	return err ?: finds_take(pythons, ask, &all);
}

/* The words on which threads wait that park, or of those that don't. Returns how many. */
static size_t words_collect(const struct survey *survey, bool parked, uint64_t *words)
{
	size_t n = 0;

	for (size_t i = 0; i < survey->out->n_own; i++) {
		const struct seen_thread *thread = &survey->out->threads[i];

		if (thread_is_candidate(thread) &&
		    python_parks(thread->wait.word, thread->wait.sp) == parked)
			words[n++] = thread->wait.word;
	}
	return word_sort(words, n);
}

static int words_search(struct pythons *pythons, bool parked)
{
	const struct survey *survey = pythons->survey;
	_cleanup_free_ uint64_t *words = calloc(survey->out->n_own + 1, sizeof(*words));
	size_t n = words ? words_collect(survey, parked, words) : 0, from = 0;
	int err = words ? 0 : -ENOMEM;

	while (!err && from < n && (parked || pythons->left_s > 0)) {
		static struct python_ask ask;
		size_t part = n - from < PYTHON_WORDS ? n - from : PYTHON_WORDS;

		ask = (struct python_ask){ .tgid = survey->task.tgid,
					   .start_ticks = survey->task.stat.start_ticks,
					   .slice_bytes = SLICE_BYTES,
					   .n = part,
					   .n_parked = parked ? part : 0 };
		memcpy(ask.word, words + from, part * sizeof(*words));
		err = words_ask(pythons, &ask);
		from += part;
	}
	pythons->cut |= !err && from < n;
	return err;
}

/* What the plain locks turned out to be. Those that are waited for by design are no locks here. */
static void plains_take(struct pythons *pythons)
{
	struct survey *survey = pythons->survey;
	struct inspection *out = survey->out;

	for (size_t i = 0; i < out->n_own; i++) {
		struct seen_thread *thread = &out->threads[i];
		const struct plain *plain;

		if (thread->lock == NOBODY)
			continue;
		plain = plain_find(pythons, out->locks[thread->lock].info.address);
		if (!plain)
			continue;
		if (plain->thread || (plain->condition && plain->waiters == 1) || pythons->cut)
			thread->lock = NOBODY;
		if (plain->thread)
			thread_joins(survey, thread, plain->thread);
		else if (plain->condition && plain->waiters == 1)
			thread->wait.what = WAIT_CONDITION;
		else if (pythons->cut)
			thread->wait.what = WAIT_SEMAPHORE;
	}
}

int survey_python(struct survey *survey)
{
	_cleanup_pythons_ struct pythons pythons = { .survey = survey,
						     .left_s = survey->ask->census_s };
	int err;

	if (!(survey->runtimes & RUNTIME_PYTHON) || !candidates_count(survey))
		return 0;
	err = words_search(&pythons, true);
	if (!err)
		err = words_search(&pythons, false);
	if (!err && pythons.n_plain)
		err = plains_search(&pythons);
	if (err)
		return err;
	plains_take(&pythons);
	if (!pythons.cut)
		return 0;
	inspection_unclear(survey->out,
			   survey->ask->census_s > 0
				   ? "its memory was not searched to the end for the locks "
				     "behind them: --census all takes the time for it"
				   : "its memory was not searched for the locks behind "
				     "them (--census)",
			   "for what some of its Python threads wait");
	survey->runtimes &= ~RUNTIME_PYTHON; /* that much is said */
	return 0;
}
