/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Orphan cases: from the first sign that a dead thread left locks behind to the alerts about it. A
 * case reads the locks' memory and mappings through the reader, looks who is stuck on them, and says
 * lock-orphaned and then one orphan-wait for each. Cases are said in the order in which they began.
 */
#ifndef DEADHOLD_CASES_H
#define DEADHOLD_CASES_H

#include "agent.h"

struct cases;

struct cases *cases_new(struct agent *agent);
void cases_free(struct cases *cases);

/* Kernel records. A held lock is kept until its thread's exit record comes. */
void cases_held(struct cases *cases, const struct ev_held *held);
void cases_exit(struct cases *cases, const struct ev_exit *ev);
void cases_wait(struct cases *cases, const struct ev_wait_dead *ev);

/*
 * A thread that is stuck: the lock that it waits for has an owner who is not alive. The sweep tells it
 * after the second reading. A case looks for the others who wait for the lock by itself.
 */
struct stuck {
	const struct task_row *row;
	uint64_t word; /* of the lock; the row's own word but for parked threads */
	struct lock_state state;
	struct shared_place shared;
	bool parked; /* a case is about this thread alone: it does not wait on the lock's own word */
	bool forked; /* the owner never was in this process */
	bool known;  /* that a thread had the owner's number, in this process or in the parent */
	bool unsure; /* the main thread may hold it: origin.h */
};
void cases_stuck(struct cases *cases, const struct stuck *stuck);

/*
 * Threads that are stuck on an RLock of Python's, whose owner is dead, all of one process: not on a word
 * of the lock's. Told after the second reading. Or on a Lock, which `dead` got last: that is inferred.
 * waits_ns: when the first of these waits was seen, CLOCK_MONOTONIC.
 */
void cases_python(struct cases *cases, const struct lock_state *state, const struct dead *dead,
		  const struct task_row *rows, size_t n, uint64_t waits_ns);
/* Such a Lock was released, though it may be held again by now. */
void cases_python_released(struct cases *cases, const struct proc_key *proc, uint64_t address);

/* Did a thread of that number end with its process, and its own exit hook see it hold this lock? */
bool cases_claimed(const struct cases *cases, const struct shared_place *shared, uint32_t owner);

/* What a census found of one owner's. dead NULL: memory names nobody. */
struct census_finds {
	const struct ev_task *task; /* of any thread of the process: who it is */
	const struct dead *dead;
	const struct census_info *census;
	size_t n;
	const struct census_lock {
		struct lock_state state;
		bool waited_for;
	} * lock;
};
void cases_census(struct cases *cases, const struct census_finds *finds);

/*
 * Records were lost: whose exit records those were, the kernel's table of the dead still knows. They are
 * kept from now on like all others, and make room like all others.
 */
void cases_records_lost(struct cases *cases);

/*
 * A process image is over: its open orphans are cleared, its dead are forgotten. killed: by a signal, for
 * which an orphan that was not told yet may be the reason.
 */
void cases_process_over(struct cases *cases, const struct proc_key *proc, enum cleared_how how,
			bool killed, uint64_t time_ns);

/*
 * Once per sweep: reads open orphans again, and looks after shared locks of processes that ended a
 * second ago.
 */
void cases_tick(struct cases *cases);

/* CLOCK_MONOTONIC ns at which cases_due() is to be called; 0: nothing is due. */
uint64_t cases_due(const struct cases *cases);
void cases_run_due(struct cases *cases, bool all);
/* Is what that thread held being looked into? */
bool cases_about(const struct cases *cases, const struct owner_key *key);
size_t cases_pending(const struct cases *cases);

#endif
