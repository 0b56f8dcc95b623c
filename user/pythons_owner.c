// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who holds what threads of a Python process wait for, and is he dead? Each object is read twice, and
 * between the two readings nobody who waits for it ran.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include <utlist.h>

#include "calls.h"
#include "cases.h"
#include "detect.h"
#include "pythons_parts.h"

/*
 * Who got that Lock last, and ended with it: only where an exception was thrown into it before, for who
 * returns of its own accord may have left the release to another thread, by design. In a wait without a
 * limit only the main thread can be stopped, by a signal's handler.
 */
static const struct dead *lock_taker(struct pythons *pythons, const struct python_process *process,
				     const struct python_wait *wait)
{
	const struct taker *taker = takers_last(&process->takers, python_wait_lock(wait).lock);
	struct agent *agent = pythons->agent;
	struct owner_key key = { .proc = process->key };
	struct thread_info thread;
	const struct dead *dead;
	struct cause_info cause;

	if (!taker || process->realtime || taker->task.tid == process->key.tgid)
		return NULL;
	key.ns_tid = taker->task.ns_tid;
	dead = model_dead(&agent->model, &key);
	detect_thread(&thread, &taker->task, agent->tick_ns);
	/* What the last pass saw, it saw after the end. */
	if (!dead || dead->thread.tid != thread.tid ||
	    dead->thread.start_ticks != thread.start_ticks ||
	    dead->exit.time_ns > pythons->before_ns ||
	    !calls_cause(agent->calls, &key, &dead->exit, &cause) ||
	    cause.kind != CAUSE_ASYNC_EXCEPTION)
		return NULL;
	return dead;
}

/* Whom the lock, which reads so now, was left by: something that tells one from the other; 0: by nobody. */
static uint64_t suspect_of(struct pythons *pythons, const struct python_process *process,
			   const struct python_wait *wait, const struct lock_words *words,
			   struct lock_state *state)
{
	const struct dead *dead;

	if (!lock_owner(python_layout(wait->type), wait->object, words, state) || !state->held)
		return 0;
	if (wait->type == PYTHON_RLOCK)
		return state->owner_died ? state->thread : 0;
	dead = lock_taker(pythons, process, wait);
	return dead ? dead->exit.time_ns : 0;
}

/* Is woken before those that came before it. */
static bool is_realtime(uint32_t tid)
{
	int policy = sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK;

	return policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

/* A look at all threads of a process, just before something is told of it. */
struct tell {
	struct python_process *process;
	uint64_t number;
};

static void still_row(void *context, const struct task_row *row)
{
	struct tell *tell = context;
	struct python_wait *wait;

	tell->process->realtime |= is_realtime(row->task.tid);
	HASH_FIND(hh, tell->process->waits, &row->task.tid, sizeof(row->task.tid), wait);
	if (wait && row->flags & ROW_BLOCKED && python_wait_is_of(wait, row)) {
		wait->row = *row;
		wait->still = tell->number;
	} else if (wait) {
		wait->suspect = 0;
	}
}

/*
 * All that waited for the lock do so still, in the same wait, and so do those of whom nobody knows what they
 * wait for, if they may have waited for it before others: it was not released.
 */
static bool lock_rests(const struct tell *tell, uint64_t lock)
{
	const struct taker *taker = takers_last(&tell->process->takers, lock);
	struct python_wait *wait, *next;

	HASH_ITER (hh, tell->process->waits, wait, next) {
		struct lock_wait other = python_wait_lock(wait);

		if (wait->still != tell->number &&
		    (other.lock == lock ||
		     (!other.lock && taker && other.first <= taker->first + 1)))
			return false;
	}
	return taker;
}

/* Who may come out of the wait without the lock tells nothing by it. The lock itself is read all the same. */
static void told_add(struct python_process *process, const struct python_wait *wait)
{
	struct python_told *told;

	if (wait->row.timeout || wait->tid == process->key.tgid)
		return;
	told = calloc(1, sizeof(*told));
	if (!told)
		return;
	told->task = wait->row.task;
	told->object = wait->object;
	told->lock = python_wait_lock(wait).lock;
	DL_APPEND(process->told, told);
}

/* That wait of the object's, which is unsaid, was looked into twice, and goes on? */
static bool wait_is_ripe(const struct python_wait *wait, const struct tell *tell, uint64_t object,
			 uint64_t suspect, uint64_t now)
{
	return !wait->said && wait->object == object && wait->suspect == suspect &&
	       wait->suspect_ns + SECOND_READ_NS <= now && wait->still == tell->number;
}

/* Twice the same dead owner, and all the while the threads did not run: that is a case. */
static void orphan_tell(struct pythons *pythons, struct python_process *process,
			const struct lock_state *state, uint64_t suspect, uint64_t now)
{
	struct task_row *rows = calloc(HASH_COUNT(process->waits) + 1, sizeof(*rows));
	struct tell tell = { .process = process, .number = ++pythons->tells };
	struct python_wait *wait, *next;
	const struct dead *dead = NULL;
	uint64_t waits_ns = UINT64_MAX;
	size_t n = 0;

	if (!rows)
		return;
	hooks_snapshot(pythons->agent->hooks, process->key.tgid, still_row, &tell);
	HASH_ITER (hh, process->waits, wait, next) {
		if (!wait_is_ripe(wait, &tell, state->address, suspect, now))
			continue;
		if (wait->type == PYTHON_LOCK) {
			dead = lock_rests(&tell, python_wait_lock(wait).lock)
				       ? lock_taker(pythons, process, wait)
				       : NULL;
			if (!dead)
				break;
			told_add(process, wait);
		}
		wait->said = true;
		rows[n++] = wait->row;
		if (wait->first_ns < waits_ns)
			waits_ns = wait->first_ns;
	}
	if (n)
		cases_python(pythons->agent->cases, state, dead, rows, n, waits_ns);
	free(rows);
}

/* An RLock is looked at when somebody waits for it, a Lock when a dead thread may have it. */
static bool wait_is_looked_into(struct pythons *pythons, const struct python_process *process,
				const struct python_wait *wait)
{
	if (!wait->searched || wait->said)
		return false;
	return wait->type == PYTHON_RLOCK ||
	       (wait->type == PYTHON_LOCK && lock_taker(pythons, process, wait));
}

/* What the lock at this address says now, of all who wait for it. */
static void object_looked(struct pythons *pythons, struct python_process *process, uint64_t object,
			  const struct lock_words *words)
{
	uint64_t now = host_now(), suspect, found = 0;
	struct python_wait *wait, *next;
	struct lock_state state, found_state;
	bool second = false;

	HASH_ITER (hh, process->waits, wait, next) {
		if (!wait->searched || wait->said || wait->object != object)
			continue;
		suspect = suspect_of(pythons, process, wait, words, &state);
		if (!suspect || wait->suspect != suspect) {
			wait->suspect = suspect;
			wait->suspect_ns = now;
		} else if (wait->suspect_ns + SECOND_READ_NS <= now) {
			second = true;
			found = suspect;
			found_state = state;
		}
	}
	if (second)
		orphan_tell(pythons, process, &found_state, found, now);
}

static void objects_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct pythons *pythons = context;
	struct python_process *process;
	struct proc_key key = pythons->key;
	uint32_t i;

	if (answer->error == -ECANCELED)
		return;
	pythons->busy = false;
	pythons->work = true;
	for (i = 0; !answer->error && i < look->n; i++) {
		process = pythons_process(pythons, &key);
		if (process)
			object_looked(pythons, process, look->address[i], &answer->at[i].words);
	}
}

static bool look_has(const struct look *look, uint64_t address)
{
	for (uint32_t i = 0; i < look->n; i++) {
		if (look->address[i] == address)
			return true;
	}
	return false;
}

bool pythons_objects_look(struct pythons *pythons, struct python_process *process)
{
	struct look look = {
		.tgid = process->key.tgid,
		.start_ticks = process->key.start_ns / pythons->agent->tick_ns,
		.want = LOOK_WORDS,
	};
	struct python_wait *wait, *next;

	HASH_ITER (hh, process->waits, wait, next) {
		if (wait->round == pythons->round || !wait_is_looked_into(pythons, process, wait))
			continue;
		if (!look_has(&look, wait->object)) {
			if (look.n == LOOK_ADDRESSES)
				continue;
			look.objects |= 1u << look.n;
			look.address[look.n++] = wait->object;
		}
		wait->round = pythons->round;
	}
	if (!look.n)
		return false;
	pythons->key = process->key;
	pythons->busy = !reader_look(pythons->agent->reader, &look, objects_looked, pythons);
	return pythons->busy;
}
