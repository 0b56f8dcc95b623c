/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Incidents: what belongs together among the alerts, told as one story from the cause to those who
 * suffer. Takes alerts as they are made and gives incident alerts. No I/O, no clock.
 *
 * An incident is about one process and its threads that died: the dead thread's orphaned locks, others
 * that died within INCIDENT_NS of it, and all who are stuck behind them, in other processes too. It opens
 * with the first link that hurts: a thread is stuck for ever on an orphan; a thread was killed (cancelled,
 * by seccomp, or ended after an exception was thrown into it) and held locks that nothing recovers; or a
 * signal at a thread ended its process. It closes when its last orphan is cleared, or with the process.
 * What is merely suspected opens none; it is a link of the chain where more is known of the same thread.
 */
#ifndef DEADHOLD_INCIDENT_H
#define DEADHOLD_INCIDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"

#define INCIDENT_NS 10000000000ull

struct incidents;

/* Is given incident alerts to say. False: it was not shown. */
typedef bool incident_say(void *context, const struct alert *alert);

/*
 * run_id: of this run; limit: incidents, those that may yet become one included, that are followed at a
 * time; victims: threads that are told apart in all of them. NULL with errno.
 */
struct incidents *incidents_new(const char *run_id, size_t limit, size_t victims, incident_say *say,
				void *context);
void incidents_free(struct incidents *incidents);

/* An alert was made; seq: its number in this run, 0 if it was not shown. */
void incidents_take(struct incidents *incidents, const struct alert *alert, uint64_t seq);

/* A thread that waits for ever for a lock that a living thread holds, of its process or of another. */
struct incident_edge {
	const struct process_info *process; /* the waiter's */
	struct process_name owner_process;
	struct thread_info waiter, owner;
	struct wait_info wait;
};

/*
 * Those who wait for those who are stuck. seen_ns: the edges were true from then on. Only who was known to
 * be stuck before that counts, and who is found to be so by this.
 */
void incidents_behind(struct incidents *incidents, const struct incident_edge *edges, size_t n,
		      uint64_t seen_ns);
/* Is anybody known to be stuck? */
bool incidents_anybody_stuck(const struct incidents *incidents);

/* A process ended; signal: that ended it, 0: none. */
void incidents_process_over(struct incidents *incidents, int32_t pid, uint64_t start_ticks,
			    int32_t signal, uint64_t time_ns);

/*
 * A process that a signal has begun to end, and whose end nobody has told for ENDING_NS: it may be held up,
 * or the record of its end was lost. ask: is it there? False: it can't be asked now. Of each such process
 * once, until incidents_answer() has come.
 */
#define ENDING_NS 2000000000ull
typedef bool incident_ask(void *context, int32_t pid, uint64_t start_ticks);
void incidents_ask(struct incidents *incidents, uint64_t now_ns, incident_ask *ask, void *context);
/* Found gone twice, it is over, and how it ended was not seen. */
void incidents_answer(struct incidents *incidents, int32_t pid, uint64_t start_ticks, bool gone,
		      uint64_t now_ns);

/* Incidents, victims and suspicions for which there was no room. */
uint64_t incidents_lost(const struct incidents *incidents);
/* Incidents that are open. */
size_t incidents_open(const struct incidents *incidents);

#endif
