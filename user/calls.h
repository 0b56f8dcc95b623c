/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From records of rare calls (pthread_cancel, PyThreadState_SetAsyncExc) to alerts, in the order in which
 * they were made; and from the ends of threads, what of that may be why.
 */
#ifndef DEADHOLD_CALLS_H
#define DEADHOLD_CALLS_H

#include "agent.h"
#include "cause.h"

struct calls;

struct calls *calls_new(struct agent *agent);
void calls_free(struct calls *calls);

void calls_called(struct calls *calls, const struct ev_call *ev);
/* To be called before anything else is told of that end. */
void calls_exit(struct calls *calls, const struct ev_exit *ev);

/* Looks whom the calls of this turn named, and says what is known. `all`: what is not, too. */
void calls_flush(struct calls *calls, bool all);
size_t calls_waiting(const struct calls *calls);

/* A signal at a thread, which may explain its end; and the number of the alert that said it. */
void calls_signal(struct calls *calls, const struct ev_signal *ev);
void calls_signal_said(struct calls *calls, const struct ev_signal *ev, uint64_t seq);

/*
 * What preceded that end of a thread. Kind CAUSE_NONE: nothing did that could be seen. False: that is not
 * known. *cause is filled as far as it is for an alert.
 */
bool calls_cause(const struct calls *calls, const struct owner_key *key,
		 const struct exit_info *exit, struct cause_info *cause);

/* CLOCK_MONOTONIC ns at which calls_run_due() is to be called; 0: nothing is due. */
uint64_t calls_due(const struct calls *calls);
/* Looks after threads that have an exception pending. */
void calls_run_due(struct calls *calls);

#endif
