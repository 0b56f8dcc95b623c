// SPDX-License-Identifier: GPL-2.0-only
/* The locks of a survey: where they lie, and who holds them. */
#include "survey_parts.h"

#include <errno.h>
#include <string.h>

#include "array.h"
#include "detect.h"
#include "host.h"
#include "look.h"
#include "runtime.h"

#define SLICE_NS     100000000ull
#define OWNERS_LIMIT 64 /* owners in other processes that are followed */

int survey_lock(struct survey *survey, int32_t tgid, uint64_t address)
{
	struct inspection *out = survey->out;
	size_t room = survey->room_locks;
	struct lock_place *place;
	struct seen_lock *lock;

	for (size_t i = 0; i < out->n_locks; i++)
		if (out->locks[i].info.address == address && survey->place[i].tgid == tgid)
			return i;
	place = array_grow(survey->place, out->n_locks, &room, sizeof(*place));
	if (!place)
		return NOBODY;
	survey->place = place;
	lock = array_grow(out->locks, out->n_locks, &survey->room_locks, sizeof(*lock));
	if (!lock)
		return NOBODY;
	out->locks = lock;
	survey->place[out->n_locks] = (struct lock_place){ .tgid = tgid };
	out->locks[out->n_locks] = (struct seen_lock){ .owner = NOBODY, .info.address = address };
	return out->n_locks++;
}

/* ---- where the locks lie ---- */

static void lock_mapped(struct survey *survey, size_t i, const struct look_mapping *mapping)
{
	struct seen_lock *lock = &survey->out->locks[i];
	struct lock_place *place = &survey->place[i];

	place->looked = true;
	if (mapping->known)
		place->shared = detect_mapping(&lock->info, mapping);
	if (!lock->found || lock->info.proof != PROOF_SHAPE)
		return;
	lock->info.evidence = detect_evidence(&place->state, mapping, false,
					      survey->out->census.strangers);
	lock->suspected = !detect_evidence_enough(lock->info.evidence,
						  survey->runtimes & RUNTIME_JVM);
}

static void locks_look(struct survey *survey, size_t from, uint32_t n)
{
	static struct look_answer answer;
	struct look look = { .tgid = survey->place[from].tgid, .want = LOOK_MAPPINGS, .n = n };

	for (uint32_t i = 0; i < n; i++)
		look.address[i] = survey->out->locks[from + i].info.address;
	survey_step(survey, STEP_MAPPINGS, look.tgid);
	look_read(&look, UINT64_MAX, &answer); /* after an error, without any mapping */
	for (uint32_t i = 0; i < n; i++)
		lock_mapped(survey, from + i, &answer.at[i].mapping);
}

static void locks_map(struct survey *survey)
{
	size_t from = 0, n;

	while (from < survey->out->n_locks) {
		for (n = 0; from + n < survey->out->n_locks && n < LOOK_ADDRESSES; n++)
			if (survey->place[from + n].looked ||
			    survey->place[from + n].tgid != survey->place[from].tgid)
				break;
		if (n)
			locks_look(survey, from, n);
		from += n ? n : 1;
	}
}

static bool place_same(const struct shared_place *a, const struct shared_place *b)
{
	return a->inode && a->inode == b->inode && a->device == b->device && a->offset == b->offset;
}

/* A lock that two processes share, or one process maps twice, is one lock: the first of them. */
static void locks_merge(struct survey *survey)
{
	struct inspection *out = survey->out;

	for (size_t i = 0; i < out->n_threads; i++) {
		int lock = out->threads[i].lock;

		for (int first = 0; lock != NOBODY && first < lock; first++)
			if (place_same(&survey->place[first].shared, &survey->place[lock].shared))
				out->threads[i].lock = lock = first;
	}
}

void survey_map(struct survey *survey)
{
	locks_map(survey);
	locks_merge(survey);
}

/* ---- who holds them ---- */

static void owner_is_main(struct survey *survey, struct seen_lock *lock)
{
	const struct thread *copy = survey_main(survey);

	lock->owner_state = OWNER_ALIVE;
	lock->owner = copy - survey->first.at;
}

/* Who waits for it can't unlock it. */
static bool main_waits(struct survey *survey, const struct seen_lock *lock)
{
	const struct seen_thread *copy =
		&survey->out->threads[survey_main(survey) - survey->first.at];

	return copy->lock == lock - survey->out->locks;
}

/* The process does not have the owner any more, or never had it. */
static void owner_not_here(struct survey *survey, struct seen_lock *lock,
			   const struct lock_state *state)
{
	enum origin origin = survey_origin(survey, lock->info.owner_tid);
	bool unlocks = survey_main(survey) && detect_unlocks_after_fork(state);

	lock->owner_state = OWNER_DEAD;
	lock->inherited = origin != ORIGIN_OWN && origin != ORIGIN_UNKNOWN;
	lock->maybe_copied = origin == ORIGIN_UNKNOWN;
	if (!unlocks || origin == ORIGIN_OWN || origin == ORIGIN_PARENT)
		return;
	if (origin == ORIGIN_FORKER) {
		owner_is_main(survey, lock);
	} else if (!main_waits(survey, lock)) {
		lock->owner_state = OWNER_UNKNOWN;
		lock->why = lock->maybe_copied
				    ? "the thread that it names is not in this process: it has "
				      "ended, or fork copied the lock; if it was that thread that "
				      "forked, the main thread can unlock it"
				    : "fork copied it from a thread of the parent; if that was the "
				      "one that forked, the main thread can unlock it";
	}
}

static void owner_private(struct survey *survey, struct seen_lock *lock,
			  const struct lock_state *state)
{
	struct thread *living = roster_find_living(&survey->first, lock->info.owner_tid);

	if (!living) {
		owner_not_here(survey, lock, state);
		return;
	}
	lock->owner_state = OWNER_ALIVE;
	lock->owner = living - survey->first.at;
}

/*
 * An RLock names a thread descriptor, which in this process is that of no thread. In the parent it may be
 * one, older than this process: so fork may have copied the lock as it was.
 */
static void owner_descriptor(struct survey *survey, struct seen_lock *lock, uint64_t descriptor)
{
	lock->owner_state = OWNER_DEAD;
	lock->maybe_copied = survey_descriptor_forked(survey, descriptor);
}

/* An owner in another process is one more thread to be looked at. */
static int owner_elsewhere(struct survey *survey, struct seen_lock *lock, int32_t tid)
{
	int32_t tgid = host_tgid(tid);
	_cleanup_task_ struct task task = TASK_CLOSED;
	_cleanup_roster_ struct roster threads = { 0 };
	struct thread *thread = NULL;
	int err;

	for (size_t i = 0; i < survey->out->n_threads; i++) {
		if (survey->out->threads[i].info.tid == tid) {
			lock->owner = i;
			return 0;
		}
	}
	if (survey->out->n_threads >= survey->out->n_own + OWNERS_LIMIT)
		return 0;
	survey_step(survey, STEP_THREADS, tgid);
	if (tgid && !task_open(&task, tgid, 0) &&
	    !roster_read(task.process, survey_progress, survey, &threads))
		thread = roster_find(&threads, tid);
	if (!thread || thread->ended)
		return 0;
	err = survey_thread_add(survey, tgid, thread);
	if (!err)
		lock->owner = survey->out->n_threads - 1;
	return err;
}

static void mappers_ask(struct survey *survey, const struct mappers *mappers,
			struct mappers_answer *answer)
{
	volatile int32_t *at = &survey->page->at;
	int32_t after = 0;

	*answer = (struct mappers_answer){ 0 };
	do {
		survey_step(survey, STEP_MAPPERS, 0);
		after = mappers_read(mappers, after, host_now() + SLICE_NS, at, answer);
	} while (after);
}

static int owner_shared(struct survey *survey, struct seen_lock *lock,
			const struct lock_place *place)
{
	struct mappers mappers = { .device = place->shared.device,
				   .inode = place->shared.inode,
				   .offset = place->shared.offset,
				   .ns_tid = lock->info.owner_tid };
	struct mappers_answer answer;
	const char *why = NULL;

	mappers_ask(survey, &mappers, &answer);
	if (answer.error || answer.unread)
		why = "processes that may share it could not be looked at";
	else if (answer.owners && (answer.foreign || answer.owners > 1))
		why = "processes of several PID namespaces share it, and in more than one there "
		      "may be a thread of the owner's number";
	lock->owner_state = why ? OWNER_UNKNOWN : answer.owners ? OWNER_ALIVE : OWNER_DEAD;
	lock->why = why;
	return lock->owner_state == OWNER_ALIVE ? owner_elsewhere(survey, lock, answer.owner_tid)
						: 0;
}

/* That nobody has the number may mean that it never was one. */
static void owner_doubt(struct seen_lock *lock, const struct lock_place *place)
{
	if (!place->doubted || lock->owner_state != OWNER_DEAD)
		return;
	lock->owner_state = OWNER_UNKNOWN;
	lock->inherited = lock->maybe_copied = false;
	lock->why = "it looks like a mutex of glibc's whose owner has ended, but the program is "
		    "static and without symbols: that it is one could not be told";
}

int survey_owners(struct survey *survey, size_t from)
{
	int err = 0;

	for (size_t i = from; !err && i < survey->out->n_locks; i++) {
		struct seen_lock *lock = &survey->out->locks[i];
		struct lock_place *place = &survey->place[i];

		if (place->layout == LAYOUT_NONE)
			lock->why = lock->readers ? "an rwlock does not say who its readers are"
						  : "it records no owner";
		else if (place->layout == LAYOUT_PYTHON_LOCK)
			lock->why = "threading.Lock records no owner";
		else if (place->layout == LAYOUT_PYTHON_RLOCK && !lock->info.owner_tid)
			owner_descriptor(survey, lock, place->state.thread);
		else if (!lock->info.owner_tid)
			lock->owner_state = OWNER_DEAD; /* libc's own mark */
		else if (place->shared.inode)
			err = owner_shared(survey, lock, place);
		else if (place->tgid == survey->task.tgid)
			owner_private(survey, lock, &place->state);
		else
			lock->why = "it is another process's own: inspect that process";
		owner_doubt(lock, place);
	}
	return err;
}
