/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which processes are searched for locks that dead threads left behind, when, and how much of them.
 * One pass at a time, in slices through the reader, with pauses, under a CPU budget. Exits that come
 * while a pass is under way are answered by the next one. What is found goes to the cases.
 */
#ifndef DEADHOLD_CENSUSES_H
#define DEADHOLD_CENSUSES_H

#include "agent.h"

struct censuses;

struct censuses *censuses_new(struct agent *agent);
void censuses_free(struct censuses *censuses);

/* Kernel records, after the other parts of the agent have taken them. */
void censuses_exit(struct censuses *censuses, const struct ev_exit *ev);
void censuses_signal(struct censuses *censuses, const struct ev_signal *ev);
void censuses_call(struct censuses *censuses, const struct ev_call *ev);
void censuses_process_over(struct censuses *censuses, const struct proc_key *proc);

/* CLOCK_MONOTONIC ns at which censuses_run_due() is to be called; 0: nothing is due. */
uint64_t censuses_due(struct censuses *censuses);
void censuses_run_due(struct censuses *censuses);

/* The agent is about to end: what is pending is done at once. */
void censuses_hurry(struct censuses *censuses);
bool censuses_pending(const struct censuses *censuses);

/* No end of a thread of that process waits for a pass. */
bool censuses_answered(const struct censuses *censuses, const struct proc_key *proc);

/* Of the run so far, for the summary. */
struct census_totals {
	uint64_t passes, unfinished; /* unfinished: begun and not completed */
	struct memory_bytes bytes;
	uint64_t cpu_ns;
	uint64_t finds; /* before they were read again */
	uint64_t exits; /* that were pending at the end, or had no room */
};
struct census_totals censuses_totals(const struct censuses *censuses);

#endif
