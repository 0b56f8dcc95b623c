/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the running agent share. watch.c owns it; the parts borrow it. */
#ifndef DEADHOLD_AGENT_H
#define DEADHOLD_AGENT_H

#include "hooks.h"
#include "host.h"
#include "model.h"
#include "options.h"
#include "prober.h"
#include "processes.h"
#include "reader.h"
#include "stream.h"

/* Cases that were looked into and not said, by why. But for the first, these are losses. */
struct unsaid {
	uint64_t vanished;  /* no orphan any more when read again */
	uint64_t ambiguous; /* a shared lock: a living thread elsewhere has the owner's number */
	uint64_t unread;    /* the memory could not be read */
	uint64_t no_memory; /* for what is to be remembered of it */
};

struct agent {
	const struct options *options;
	struct run run;
	uint64_t tick_ns;	  /* of /proc's clock ticks */
	uint64_t started_boot_ns; /* on the clock of start_ns */
	struct hooks *hooks;
	struct reader *reader;
	struct stream stream;
	struct model model;
	struct processes *processes;
	struct signals *signals;
	struct cases *cases;
	struct sweep *sweep;
	struct censuses *censuses;
	struct pythons *pythons;
	struct calls *calls;
	struct killed *killed;
	struct deep *deep;
	struct prober *prober;
	struct unsaid unsaid;
	uint64_t reader_failures; /* no reader could be started */
	uint64_t dead_forgotten;  /* dead threads that made room for later ones */
	uint64_t dead_unknown;	  /* dead threads for which there was no memory */
	uint64_t orphan_number;
	size_t blocked_at_start;
};

/* Of the threads that ended since the start, was none forgotten? */
static inline bool agent_dead_all_known(const struct agent *agent)
{
	uint64_t losses[LOSSES], recursion;

	hooks_losses(agent->hooks, losses, &recursion);
	return !agent->dead_forgotten && !agent->dead_unknown && !losses[LOSS_DEAD_THREADS] &&
	       !recursion;
}

#endif
