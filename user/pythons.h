/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The threads of Python processes that sleep on semaphores, as the sweep sees them: which RLock do they
 * wait for, and is its owner dead? Which Lock, and was it a dead thread that got it last (takers.h)? What
 * they wait for is found by the reader in the process's memory,
 * which costs something: so only in processes that lost a thread, and at the start; for waits of a second
 * or longer, each of them once; within the same share of a CPU that a census may take.
 */
#ifndef DEADHOLD_PYTHONS_H
#define DEADHOLD_PYTHONS_H

#include "agent.h"

struct pythons;

struct pythons *pythons_new(struct agent *agent);
void pythons_free(struct pythons *pythons);

/* A pass of the sweep: every thread that is in a futex wait, then its end. */
void pythons_row(struct pythons *pythons, const struct task_row *row);
void pythons_pass(struct pythons *pythons);

/*
 * A process began a program, and what is in its memory began with it. Of one that was not seen to, it may
 * be that fork copied it: pythons_image_seen().
 */
void pythons_exec(struct pythons *pythons, const struct proc_key *proc);
bool pythons_image_seen(const struct pythons *pythons, const struct proc_key *proc);
void pythons_process_over(struct pythons *pythons, const struct proc_key *proc);

/* CLOCK_MONOTONIC ns at which pythons_run_due() is to be called; 0: nothing is due. */
uint64_t pythons_due(struct pythons *pythons);
void pythons_run_due(struct pythons *pythons);

/* Requests that have no answer yet. */
bool pythons_pending(const struct pythons *pythons);

/* For the summary: processes' memory that was searched, and what of it could not be read. */
struct python_totals {
	uint64_t searches, scanned_bytes, unread_bytes, cpu_ns;
};
struct python_totals pythons_totals(const struct pythons *pythons);

#endif
