/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Behind which mappings of a process does a userfaultfd stand? A page of theirs that is missing comes from
 * whoever reads that descriptor, which may be another process than the one that has the mapping, and than
 * the one that made the descriptor: no list of open files tells. The kernel marks the mappings.
 */
#ifndef DEADHOLD_USERFAULT_H
#define DEADHOLD_USERFAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "task.h"

struct userfault_range {
	uint64_t start, end;
};

/* Of one process, as they were when a walk over its memory began. To begin with, all zero. */
struct userfaults {
	int32_t tgid; /* whose they are; 0: not known */
	uint64_t start_ticks;
	size_t n, room;
	struct userfault_range *range; /* from low to high addresses */
};

/*
 * Asks what is not known of this process yet, or, with `anew`, in any case: once a walk, since the answer
 * takes the kernel a look at all of the process's pages (10 ms for each gigabyte of small ones). Nearly
 * every host is spared that: it has no userfaultfd at all, which takes microseconds to see.
 * 0 or -errno: nothing is known.
 */
int userfaults_learn(struct userfaults *faults, const struct task *task, bool anew);
void userfaults_forget(struct userfaults *faults);

/* Does one stand behind any byte from start to end? */
bool userfaults_serve(const struct userfaults *faults, uint64_t start, uint64_t end);

/* /sys/kernel/slab/CACHE/objects, "42 N0=42": is it certain that there are none? */
bool userfaults_text_none(const char *text);

#endif
