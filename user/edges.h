/* SPDX-License-Identifier: GPL-2.0-only */
/* Who waits for whom among the threads that a sweep read: what carries an incident on. */
#ifndef DEADHOLD_EDGES_H
#define DEADHOLD_EDGES_H

#include "agent.h"

/* Whom a row waits for, by the word of the lock. */
struct row_owner {
	uint32_t ns_tid;  /* its number there; 0: nobody, or not known */
	bool shared;	  /* the lock is: by ns_tid alone nobody is meant */
	uint32_t tid;	  /* shared: the one living thread that is meant; 0: not known */
	uint64_t address; /* of the lock */
};

/* rows: by process; owner: of each; seen_ns: when they were read. */
void edges_tell(const struct agent *agent, const struct task_row *rows,
		const struct row_owner *owner, size_t n, uint64_t seen_ns);

#endif
