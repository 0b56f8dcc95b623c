/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that ended by force while their process lives on: said when it is known what they held, or
 * when finding that out takes too long.
 */
#ifndef DEADHOLD_KILLED_H
#define DEADHOLD_KILLED_H

#include "agent.h"

struct killed;

struct killed *killed_new(struct agent *agent);
void killed_free(struct killed *killed);

/* To be called when the other parts of the agent have taken the record. */
void killed_exit(struct killed *killed, const struct ev_exit *ev);
/* A lock of a dead thread was found. */
void killed_lock(struct killed *killed, const struct owner_key *key, uint64_t exit_ns);

/* Says what can be said. `all`: what is not known yet, too. */
void killed_flush(struct killed *killed, bool all);
size_t killed_waiting(const struct killed *killed);
/* CLOCK_MONOTONIC ns at which killed_flush() is to be called at the latest; 0: nothing waits. */
uint64_t killed_due(const struct killed *killed);

#endif
