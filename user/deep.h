/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deep mode: which locks the threads of chosen processes hold, by probes on the lock functions. The
 * kernel keeps the rows (bpf/deep.bpf.c), the prober attaches; here is what they are good for: the locks
 * that a thread had when it ended, and whether it still has them.
 */
#ifndef DEADHOLD_DEEP_H
#define DEADHOLD_DEEP_H

#include "agent.h"

struct deep;

/* NULL: no memory. Without --deep it does nothing. */
struct deep *deep_new(struct agent *agent);
void deep_free(struct deep *deep);

/* Adds its plans to the n that are there. Returns how many there are then. */
size_t deep_plans(struct deep *deep, struct probe_plan *plans, size_t n);
/* Once the prober runs. */
void deep_listen(struct deep *deep);

/* Is all attached that can be, for all processes that there are? */
bool deep_ready(const struct deep *deep);
/* What there is to see in which process. Valid until the next dispatch of the prober. */
const struct deep_info *deep_infos(const struct deep *deep, size_t *n);
/* Holds that prove nothing because something was missed. */
uint64_t deep_losses(const struct deep *deep);

/* What a thread had when it ended. *holds is the caller's; 0: nothing. */
size_t deep_holds(struct deep *deep, const struct ev_exit *ev, struct deep_hold **holds);

/* Does the memory of such a lock name its owner? If so, the row alone proves nothing. */
bool deep_names_owner(const struct deep_hold *hold);
/* enum lock_layout of it, by the words around its futex word (have_at 0: not read yet). */
uint32_t deep_layout(const struct deep_hold *hold, const struct lock_words *words);

/* Has nobody been seen to release or take it since? To be asked after its memory was read. */
bool deep_still(const struct deep *deep, const struct deep_hold *hold);
/* The same, and was every release seen, so that this means that it is held? */
bool deep_certain(const struct deep *deep, const struct deep_hold *hold);

/* Children, and ends of threads and of process images, as they are seen. */
void deep_fork(struct deep *deep, const struct ev_fork *ev);
void deep_exit(struct deep *deep, const struct ev_exit *ev);
void deep_process_over(struct deep *deep, const struct proc_key *proc, enum cleared_how how,
		       uint64_t time_ns);

#endif
