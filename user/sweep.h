/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sweep: once a second, which threads have been blocked on a futex for a second or longer (those
 * that were blocked before the agent started included), and is the owner of what they wait for alive?
 * It closes every race and every eviction of the kernel programs. Two equal readings are a finding.
 */
#ifndef DEADHOLD_SWEEP_H
#define DEADHOLD_SWEEP_H

#include "agent.h"

struct sweep;

struct sweep *sweep_new(struct agent *agent);
void sweep_free(struct sweep *sweep);

/* Starts a pass if none is under way. Its findings go to the cases. Returns 0 or -errno. */
int sweep_begin(struct sweep *sweep);

/* Threads in futex waits that the pass under way, or the last one, looked at. */
size_t sweep_blocked(const struct sweep *sweep);
bool sweep_running(const struct sweep *sweep);
uint64_t sweep_passes(const struct sweep *sweep);

/* CLOCK_MONOTONIC ns at which the next pass is due: a first reading calls for a second one soon. */
uint64_t sweep_due(const struct sweep *sweep);

#endif
