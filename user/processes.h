/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of processes beyond what the kernel's records carry: executable, cgroup, libc. Asked
 * of the reader once per process image and kept, since it can't be asked once the process is gone.
 */
#ifndef DEADHOLD_PROCESSES_H
#define DEADHOLD_PROCESSES_H

#include "alert.h"
#include "event.h"
#include "reader.h"

struct processes;

typedef void processes_changed(void *context);

/* `changed` is called whenever an answer came. NULL with errno. */
struct processes *processes_new(struct reader *reader, uint64_t tick_ns, bool cmdline,
				processes_changed *changed, void *context);
void processes_free(struct processes *processes);

/* Asks for it if it was not. True: what can be known is there. */
bool processes_ready(struct processes *processes, const struct proc_key *key);

/*
 * What the process runs on (enum runtime), into *runtimes. True: it is known, or can't be. False: it is
 * asked. A library may be loaded late: if none of `wanted` was found, it is asked anew for a signal sent
 * at time_ns (CLOCK_MONOTONIC) or later, at first a second after the last answer, then ever more
 * seldom.
 */
bool processes_runtimes(struct processes *processes, const struct proc_key *key, uint32_t wanted,
			uint64_t time_ns, uint32_t *runtimes);

/* Adds what is known of the process to *process. Returns its libc. */
enum lock_libc processes_fill(const struct processes *processes, const struct proc_key *key,
			      struct process_info *process);

/* Takes over what a look brought for another purpose. */
void processes_learn(struct processes *processes, const struct proc_key *key,
		     const struct look_answer *answer);

#endif
