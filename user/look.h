/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reads that the reader process does for a request, one after the other. Every one may block for
 * ever; that is the agent's to notice. Nothing here keeps anything from one request to the next.
 */
#ifndef DEADHOLD_LOOK_H
#define DEADHOLD_LOOK_H

#include <stdint.h>

#include "reader.h"
#include "task.h"

/*
 * Fills the whole answer. until_ns: CLOCK_MONOTONIC; the searches that can be left out (symbols) are
 * not begun after it, so that a deadline is not missed for a name's sake.
 *
 * answer->error is -EPERM or -EACCES where the kernel refused some of the reads; what it did not
 * refuse is filled in even then.
 */
void look_read(const struct look *look, uint64_t until_ns, struct look_answer *answer);
void park_read(const struct park *park, struct park_answer *answer);

/* The words around an address. 0 or the -errno of the last read that failed. */
int look_words_read(const struct task *task, uint64_t address, struct lock_words *words);
/* Is that a thread descriptor of glibc's, and whose? Into words->have_thread and thread_tid. */
void look_thread_read(const struct task *task, uint64_t thread, struct lock_words *words);

/*
 * Looks at the processes after PID `after`, in order of their PIDs, until all are done or until_ns
 * has come, and adds what it finds to *answer. *at always holds the PID that is being looked at (it
 * may be shared memory: whoever kills a stuck reader learns from it where it was stuck). Returns the
 * last PID that was looked at if there are more; else 0.
 */
int32_t mappers_read(const struct mappers *mappers, int32_t after, uint64_t until_ns,
		     volatile int32_t *at, struct mappers_answer *answer);

#endif
