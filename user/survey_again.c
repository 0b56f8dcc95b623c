// SPDX-License-Identifier: GPL-2.0-only
/* The second reading of a survey: what is not as it was in the first is not claimed. */
#include "survey_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "detect.h"
#include "host.h"
#include "look.h"

#define NS_PER_S      1000000000ull
#define APART_S	      0.1
#define PAUSE_STEP_MS 100

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
		if (survey_image_changed(survey))
			break;
	}
	if (pidfd >= 0)
		close(pidfd);
}

static void thread_drop(struct seen_thread *thread)
{
	thread->lock = NOBODY;
	thread->joins = NOBODY;
	thread->wait = (struct wait){ .what = WAIT_RUNS,
				      .number = -1 }; /* it has, between the readings */
}

bool survey_slept(const struct thread *first, const struct thread *second)
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

/* On what something depends that is said. */
static bool thread_waits(const struct seen_thread *thread)
{
	return thread->lock != NOBODY || thread->joins != NOBODY || thread->wait.what == WAIT_FUTEX;
}

/* A thread of another process. */
static bool thread_settled_elsewhere(struct survey *survey, size_t at)
{
	_cleanup_roster_ struct roster roster = { 0 };
	_cleanup_task_ struct task task = TASK_CLOSED;

	if (task_open(&task, survey->out->threads[at].tgid, 0) ||
	    roster_read(task.process, survey_progress, survey, &roster))
		return false;
	return survey_slept(&survey->reading[at],
			    roster_find(&roster, survey->reading[at].info.tid));
}

/* *own: the threads of the inspected process. */
static int threads_again(struct survey *survey, struct roster *own)
{
	struct inspection *out = survey->out;
	int err;

	survey_step(survey, STEP_THREADS, survey->task.tgid);
	err = roster_read(survey->task.process, survey_progress, survey, own);
	for (size_t i = 0; !err && i < out->n_threads; i++) {
		const struct thread *first = &survey->reading[i];

		if (!thread_waits(&out->threads[i]))
			continue;
		if (i < out->n_own ? !survey_slept(first, roster_find(own, first->info.tid))
				   : !thread_settled_elsewhere(survey, i))
			thread_drop(&out->threads[i]);
	}
	return err;
}

/*
 * Asked by number: a list of thousands of threads, some of which end while it is read, may lack one.
 * Where the process has a PID namespace of its own, its numbers are not ours.
 */
static bool thread_lives(const struct survey *survey, int32_t ns_tid)
{
	_cleanup_close_ int dir = -1;
	struct proc_stat stat;
	char name[32];

	if (survey->out->process.ns_pid != survey->task.tgid)
		return false;
	snprintf(name, sizeof(name), "task/%d", ns_tid);
	dir = openat(survey->task.process, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir >= 0 && !task_read_stat(dir, &stat) && !proc_stat_ended(&stat);
}

static bool owner_same(struct survey *survey, const struct seen_lock *lock,
		       const struct roster *own)
{
	const struct lock_place *place = &survey->place[lock - survey->out->locks];
	const struct thread_info *first;
	const struct thread *living;

	/* Who shares it was asked after the first reading of its words: once is enough. */
	if (place->shared.inode || place->tgid != survey->task.tgid || !lock->info.owner_tid)
		return true;
	if (lock->owner_state != OWNER_ALIVE)
		return !roster_find_living(own, lock->info.owner_tid) &&
		       !thread_lives(survey, lock->info.owner_tid);
	if (lock->owner == NOBODY)
		return false;
	first = &survey->reading[lock->owner].info;
	living = roster_find_living(own, first->ns_tid);
	return living && living->info.start_ticks == first->start_ticks;
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
	       (int32_t)state.owner == lock->info.owner_tid && state.thread == place->state.thread;
}

static int locks_again(struct survey *survey, const struct roster *own)
{
	static struct look_answer answer;

	for (size_t i = 0; i < survey->out->n_locks; i++) {
		struct seen_lock *lock = &survey->out->locks[i];
		struct lock_place *place = &survey->place[i];
		struct look look = { .tgid = place->tgid, .want = LOOK_WORDS, .n = 1 };

		look.address[0] = place->word;
		look.objects = detect_object(place->layout);
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

int survey_again(struct survey *survey)
{
	double apart_s = APART_S;
	_cleanup_roster_ struct roster own = { 0 };
	uint64_t from = host_now();
	int err;

	if (inspection_is_proven(survey->out) && survey->ask->apart_s > apart_s)
		apart_s = survey->ask->apart_s;
	err = survey_gil_between(survey);
	if (err)
		return err;
	pause_for(survey, apart_s);
	err = threads_again(survey, &own);
	if (!err)
		err = locks_again(survey, &own);
	if (err)
		return err;
	survey_gil_again(survey, &own);
	waits_drop(survey);
	finds_drop(survey);
	survey->out->apart_ns = host_now() - from;
	inspection_prune(survey->out);
	return inspection_judge(survey->out);
}
