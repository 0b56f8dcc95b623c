/* SPDX-License-Identifier: GPL-2.0-only */
/* Who waits for whom among the threads that a sweep read: what carries an incident on. */
#ifndef DEADHOLD_EDGES_H
#define DEADHOLD_EDGES_H

#include "agent.h"

/*
 * rows: by process; owner[i]: whom row i waits for, by its number in the process's namespace, where it is
 * a living thread of the same process; 0: another one, nobody, or not known. seen_ns: when they were read.
 */
void edges_tell(const struct agent *agent, const struct task_row *rows, const uint32_t *owner,
		size_t n, uint64_t seen_ns);

#endif
