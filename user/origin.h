/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A private lock names a thread that its process does not have. Did that end, or did fork copy the lock?
 * The child has a copy of the thread that forked, as its main thread, and of no other: what other threads
 * of the parent held stays locked in it; what the forking one held, that copy may unlock.
 */
#ifndef DEADHOLD_ORIGIN_H
#define DEADHOLD_ORIGIN_H

#include <stdbool.h>

#include "agent.h"
#include "cases.h"

struct origin {
	bool known; /* a thread had that number: one that was seen to end, or one of the parent's */
	bool forked; /* no thread of this process ever had it */
	bool held;   /* the main thread holds it */
	bool unsure; /* the main thread may hold it */
};

struct origin origin_of(struct agent *agent, const struct stuck *stuck);

#endif
