// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of the readings is what makes a claim true: threads, memory, threads, memory. A thread that
 * slept in the same call in both, without having run in between, waited all the time; a lock whose
 * memory was the same in both was held all the time; an owner who lived in neither is dead.
 */
#include "survey_parts.h"

#include <elf.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "detect.h"
#include "host.h"
#include "libc.h"
#include "look.h"
#include "symbol.h"
#include "task.h"
#include "roster.h"

#define NS_PER_S      1000000000ll
#define APART_S	      0.1
#define PAUSE_STEP_MS 100

/* ---- saying what it does ---- */

void survey_step(struct survey *survey, enum survey_step what, int32_t at)
{
	survey->page->step = what;
	survey->page->at = at;
	survey->page->steps++;
}

void survey_progress(void *context)
{
	const struct survey *survey = context;

	survey->page->steps++;
}

const char *survey_step_name(enum survey_step step)
{
	static const char *const names[SURVEY_STEPS] = {
		[STEP_PROCESS] = "what /proc says of it",
		[STEP_THREADS] = "its threads",
		[STEP_MEMORY] = "its memory",
		[STEP_MAPPINGS] = "its mappings",
		[STEP_MAPPERS] = "who shares its memory",
		[STEP_PAUSE] = "its end",
		[STEP_CENSUS] = "its memory",
		[STEP_OUTPUT] = "the result",
	};

	return (unsigned int)step < SURVEY_STEPS ? names[step] : "it";
}

void *survey_grow(void *array, size_t n, size_t *room, size_t bytes)
{
	size_t more = *room ? *room * 2 : 64;
	void *grown;

	if (n < *room)
		return array;
	grown = reallocarray(array, more, bytes);
	if (grown)
		*room = more;
	return grown;
}

/* ---- threads ---- */

int survey_thread_add(struct survey *survey, int32_t tgid, const struct thread *thread)
{
	struct inspection *out = survey->out;
	size_t room = survey->room_threads;
	struct seen_thread *seen;
	struct thread *reading;

	reading = survey_grow(survey->reading, out->n_threads, &room, sizeof(*reading));
	if (!reading)
		return -ENOMEM;
	survey->reading = reading;
	seen = survey_grow(out->threads, out->n_threads, &survey->room_threads, sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	out->threads = seen;
	survey->reading[out->n_threads] = *thread;
	out->threads[out->n_threads++] = (struct seen_thread){
		.tgid = tgid,
		.info = thread->info,
		.state = thread->state,
		.wait = thread->error ? (struct wait){ .number = -1 }
				      : wait_of_call(thread->state, &thread->call),
		.timeout_ns = -1,
		.lock = NOBODY,
		.joins = NOBODY,
	};
	return 0;
}

static struct seen_thread *thread_of(struct survey *survey, const struct thread *thread)
{
	return &survey->out->threads[thread - survey->first.at];
}

static bool is_wanting(const struct thread *thread)
{
	return thread->error == -EPERM || thread->error == -EACCES;
}

static int threads_take(struct survey *survey)
{
	int err = roster_read(survey->task.process, survey_progress, survey, &survey->first);

	for (size_t i = 0; !err && i < survey->first.n; i++) {
		if (is_wanting(&survey->first.at[i]))
			return -EPERM;
		err = survey_thread_add(survey, survey->task.tgid, &survey->first.at[i]);
	}
	survey->out->n_own = survey->out->n_threads;
	return err;
}

/* ---- the memory around futex words ---- */

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
	enum lock_proof proof = state->owner ? PROOF_WAITER : PROOF_OWNER_DIED;
	int lock = survey_lock(survey, thread->tgid, state->address);
	struct lock_place *place;

	if (lock == NOBODY)
		return -ENOMEM;
	place = &survey->place[lock];
	if (!place->word) {
		place->word = state->address + lock_word_offset(state->layout);
		place->layout = state->layout;
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

/* pthread_join(), and of whom: what the descriptor says. */
static void thread_join(struct survey *survey, struct seen_thread *thread)
{
	struct wait_joined joined;
	struct thread *other;
	uint64_t self = 0;
	uint32_t tid = 0;

	if (thread->tgid != survey->task.tgid ||
	    !wait_may_join(&thread->wait, survey->out->libc, &joined))
		return;
	survey_step(survey, STEP_MEMORY, thread->tgid);
	if (task_read_memory(&survey->task, joined.descriptor, &self, sizeof(self)) !=
		    sizeof(self) ||
	    self != joined.descriptor ||
	    task_read_memory(&survey->task, joined.tid, &tid, sizeof(tid)) != sizeof(tid))
		return;
	other = roster_find_living(&survey->first, tid);
	if (!other || thread_of(survey, other) == thread)
		return;
	thread->joins = other - survey->first.at;
	thread->wait.what = WAIT_JOIN;
}

/* What its futex word is, by the memory around it. */
static int thread_judge(struct survey *survey, struct seen_thread *thread)
{
	struct spot *spot = spot_find(survey, thread->tgid, thread->wait.word), *pair;
	const struct wait *wait = &thread->wait;
	struct wait_ownerless ownerless;
	struct lock_state state;
	int err;

	if (!spot->words.have_at) {
		inspection_unclear(survey->out, "the memory of its futex word could not be read",
				   "what thread %d waits for", thread->info.tid);
		return 0;
	}
	if (lock_layout(wait->op, wait->val, wait->word, &spot->words, &state) != LAYOUT_NONE)
		return survey_lock_wanted(survey, thread, &state);
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
	thread->wait.what = wait_object(wait, &spot->words, spot->n + (pair ? pair->n : 0),
					survey->out->n_own);
	thread->parked &= thread->wait.what == WAIT_FUTEX;
	if (thread->wait.what == WAIT_FUTEX && wait_is_ownerless(wait, &spot->words, &ownerless))
		return lock_add_ownerless(survey, thread, &ownerless);
	return 0;
}

/* Those that have not been looked into yet. */
static int threads_judge(struct survey *survey)
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

/* ---- the second reading ---- */

static void pause_for(struct survey *survey, double seconds)
{
	uint64_t until = host_now() + (uint64_t)(seconds * NS_PER_S);
	int pidfd = syscall(SYS_pidfd_open, survey->task.tgid, 0);
	struct pollfd end = { .fd = pidfd, .events = POLLIN };
	uint64_t now;

	while ((now = host_now()) < until) {
		uint64_t left_ms = (until - now) / 1000000 + 1;

		survey_step(survey, STEP_PAUSE, survey->task.tgid);
		if (poll(&end, 1, left_ms < PAUSE_STEP_MS ? left_ms : PAUSE_STEP_MS) > 0)
			break; /* it has ended */
	}
	if (pidfd >= 0)
		close(pidfd);
}

static void thread_drop(struct seen_thread *thread)
{
	thread->lock = NOBODY;
	thread->joins = NOBODY;
	thread->wait.what = WAIT_RUNS; /* it has, between the readings */
}

/* Has it slept in this call all the time? */
static bool thread_settled(const struct thread *first, const struct thread *second)
{
	struct wait a, b;

	if (!second || second->ended || second->error ||
	    second->info.start_ticks != first->info.start_ticks ||
	    second->switches != first->switches)
		return false;
	a = wait_of_call(first->state, &first->call);
	b = wait_of_call(second->state, &second->call);
	return wait_same(&a, &b);
}

/* Reads again the processes whose threads wait; *own is the inspected one's. */
static int threads_again(struct survey *survey, struct roster *own)
{
	struct inspection *out = survey->out;
	int err;

	survey_step(survey, STEP_THREADS, survey->task.tgid);
	err = roster_read(survey->task.process, survey_progress, survey, own);
	for (size_t i = 0; !err && i < out->n_threads; i++) {
		_cleanup_roster_ struct roster elsewhere = { 0 };
		_cleanup_task_ struct task task = TASK_CLOSED;
		const struct roster *threads = own;

		if (i >= out->n_own) {
			threads = &elsewhere;
			if (!task_open(&task, out->threads[i].tgid, 0))
				roster_read(task.process, survey_progress, survey, &elsewhere);
		}
		if ((out->threads[i].lock != NOBODY || out->threads[i].joins != NOBODY) &&
		    !thread_settled(&survey->reading[i],
				    roster_find(threads, survey->reading[i].info.tid)))
			thread_drop(&out->threads[i]);
	}
	return err;
}

static bool owner_same(struct survey *survey, const struct seen_lock *lock,
		       const struct roster *own)
{
	const struct thread *living;

	if (survey->place[lock - survey->out->locks].shared.inode || !lock->info.owner_tid)
		return true; /* asked anew, or nobody is named */
	living = roster_find_living(own, lock->info.owner_tid);
	if (lock->owner_state == OWNER_DEAD)
		return !living;
	return living && lock->owner != NOBODY &&
	       living->info.start_ticks == survey->reading[lock->owner].info.start_ticks;
}

/* Do its words say the same as before? */
static bool lock_same(const struct seen_lock *lock, const struct lock_place *place,
		      const struct lock_words *words)
{
	struct lock_state state;

	if (!words->have_at)
		return false;
	if (place->layout == LAYOUT_NONE)
		return words->at[0] == place->val;
	return lock_owner(place->layout, place->word, words, &state) && state.held &&
	       (int32_t)state.owner == lock->info.owner_tid;
}

static int locks_again(struct survey *survey, const struct roster *own)
{
	static struct look_answer answer;

	for (size_t i = 0; i < survey->out->n_locks; i++) {
		struct seen_lock *lock = &survey->out->locks[i];
		struct lock_place *place = &survey->place[i];
		struct look look = { .tgid = place->tgid, .want = LOOK_WORDS, .n = 1 };

		look.address[0] = place->word;
		survey_step(survey, STEP_MEMORY, place->tgid);
		look_read(&look, 0, &answer);
		if (answer.error == -ESRCH && place->tgid == survey->task.tgid)
			return -ESRCH;
		place->unsettled = answer.error || !lock_same(lock, place, &answer.at[0].words) ||
				   !owner_same(survey, lock, own);
	}
	return 0;
}

/* Waits that were for a lock which changed hands meanwhile. */
static void waits_drop(struct survey *survey)
{
	struct inspection *out = survey->out;

	for (size_t i = 0; i < out->n_threads; i++) {
		struct seen_thread *thread = &out->threads[i];

		if (thread->lock == NOBODY || !survey->place[thread->lock].unsettled)
			continue;
		thread->lock = NOBODY;
		inspection_unclear(out, "the lock changed while it was looked at",
				   "who holds what thread %d waits for", thread->info.tid);
	}
}

/* What looked like a lock and does not any more was none, or was freed since. */
static void finds_drop(struct survey *survey)
{
	for (size_t i = 0; i < survey->out->n_locks; i++)
		if (survey->place[i].unsettled || survey->out->locks[i].owner_state != OWNER_DEAD)
			survey->out->locks[i].found = false;
}

static bool is_wrong(const struct inspection *out)
{
	return out->verdict == VERDICT_ORPHAN || out->verdict == VERDICT_DEADLOCK;
}

static int second_reading(struct survey *survey)
{
	double apart_s = APART_S;
	_cleanup_roster_ struct roster own = { 0 };
	uint64_t from = host_now();
	int err;

	if (is_wrong(survey->out) && survey->ask->apart_s > apart_s)
		apart_s = survey->ask->apart_s;
	pause_for(survey, apart_s);
	err = threads_again(survey, &own);
	if (!err)
		err = locks_again(survey, &own);
	if (err)
		return err;
	waits_drop(survey);
	finds_drop(survey);
	survey->out->apart_ns = host_now() - from;
	inspection_prune(survey->out);
	return inspection_judge(survey->out);
}

/* ---- how long they will wait ---- */

static void timeout_set(struct seen_thread *thread, const struct look_answer *answer, uint32_t i)
{
	uint32_t cmd = thread->wait.op & FUTEX_OP_MASK;

	thread->has_timeout = true;
	if (!answer->at[i].has_timespec)
		return;
	thread->timeout_ns = answer->at[i].timespec_ns;
	thread->absolute = cmd != FUTEX_OP_WAIT;
	if (thread->absolute && !(thread->wait.op & FUTEX_OP_REALTIME) && cmd != FUTEX_OP_LOCK_PI)
		thread->timeout_ns += host_realtime_offset();
}

static void timeouts_read(struct survey *survey)
{
	static struct look_answer answer;

	for (size_t i = 0; i < survey->out->n_threads; i++) {
		struct seen_thread *thread = &survey->out->threads[i];
		struct look look = { .tgid = thread->tgid, .want = LOOK_TIMESPEC, .n = 1 };

		if ((thread->lock == NOBODY && thread->joins == NOBODY) ||
		    !wait_timed(&thread->wait))
			continue;
		look.address[0] = thread->wait.timeout;
		survey_step(survey, STEP_MEMORY, thread->tgid);
		look_read(&look, 0, &answer);
		timeout_set(thread, &answer, 0);
	}
}

/* ---- all of it ---- */

/* The system calls and locks of 32-bit programs are others. */
static bool is_32_bit(struct survey *survey)
{
	_cleanup_close_ int fd = symbol_file_open(survey->task.thread, "exe", false);
	unsigned char ident[EI_NIDENT];

	return fd >= 0 && read(fd, ident, sizeof(ident)) == sizeof(ident) &&
	       ident[EI_CLASS] == ELFCLASS32;
}

static int process_read(struct survey *survey)
{
	static struct look_answer answer;
	struct look look = {
		.tgid = survey->task.tgid,
		.start_ticks = survey->task.stat.start_ticks,
		.want = LOOK_PROCESS | (survey->ask->cmdline ? LOOK_CMDLINE : 0),
	};
	struct process_info *process = &survey->out->process;

	if (survey->task.stat.flags & PROC_FLAG_KTHREAD)
		return -EINVAL;
	survey_step(survey, STEP_PROCESS, look.tgid);
	look_read(&look, 0, &answer);
	if (answer.error)
		return answer.error;
	*process = answer.process;
	survey->out->libc = answer.libc;
	proc_cgroup_unit(process->cgroup, process->unit, sizeof(process->unit));
	proc_cgroup_container(process->cgroup, process->container_id,
			      sizeof(process->container_id));
	return 0;
}

static void give_up_32_bit(struct survey *survey)
{
	for (size_t i = 0; i < survey->out->n_threads; i++)
		survey->out->threads[i].wait = (struct wait){ .number = -1 };
	inspection_unclear(survey->out, "it is a 32-bit program, whose locks are not known",
			   "what its threads wait for");
}

/* Threads, then their locks, then who holds these: which may be threads of other processes. */
static int first_reading(struct survey *survey)
{
	size_t locks = 0;
	int err = threads_take(survey);

	if (!err && is_32_bit(survey)) {
		give_up_32_bit(survey);
		return 0;
	}
	while (!err && survey->judged < survey->out->n_threads) {
		bool census = survey->ask->census && !survey->judged;

		err = threads_judge(survey);
		if (!err && census)
			err = survey_census(survey);
		if (err)
			break;
		survey_map(survey);
		err = survey_owners(survey, locks);
		locks = survey->out->n_locks;
	}
	return err ?: survey_park_rings(survey);
}

static int survey_do(struct survey *survey)
{
	int err = task_open(&survey->task, survey->ask->pid, 0);

	if (!err)
		err = process_read(survey);
	if (!err)
		err = first_reading(survey);
	if (!err)
		err = inspection_judge(survey->out);
	if (!err && (survey->out->n_locks || is_wrong(survey->out)))
		err = second_reading(survey);
	if (!err)
		timeouts_read(survey);
	survey->out->time_ns = host_now() + host_realtime_offset();
	if (!err && task_check(&survey->task) == -ESRCH)
		err = -ESRCH;
	return err;
}

int survey_read(const struct survey_ask *ask, struct survey_page *page,
		struct inspection *inspection)
{
	struct survey survey = {
		.ask = ask,
		.page = page,
		.out = inspection,
		.task = TASK_CLOSED,
	};
	int err;

	*inspection = (struct inspection){ 0 };
	err = survey_do(&survey);
	task_close(&survey.task);
	roster_free(&survey.first);
	roster_free(&survey.parent);
	free(survey.spots);
	free(survey.reading);
	free(survey.place);
	return err;
}
