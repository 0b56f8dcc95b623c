/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One look at a process: fills an inspection. Every read may block for ever: it is done in a child
 * process, which says in memory that its parent shares what it does, step by step.
 */
#ifndef DEADHOLD_SURVEY_H
#define DEADHOLD_SURVEY_H

#include <stdint.h>

#include "inspection.h"

enum survey_step {
	STEP_PROCESS,
	STEP_THREADS,
	STEP_MEMORY,
	STEP_MAPPINGS,
	STEP_MAPPERS, /* `at` is the process */
	STEP_PAUSE,
	STEP_CENSUS,
	STEP_OUTPUT,
	SURVEY_STEPS,
};

/* Shared with whoever waits for it. */
struct survey_page {
	volatile uint64_t steps; /* counts up while it gets on */
	volatile enum survey_step step;
	volatile int32_t at;
};

struct survey_ask {
	int32_t pid;
	double apart_s; /* between the two readings, where something is wrong; 0: the usual */
	bool cmdline;
	double census_s; /* how long it may take; 0: none; INFINITY */
};

/*
 * 0, or -errno: -ESRCH (no such process, or it ended meanwhile), -EPERM or -EACCES, -EINVAL (a kernel
 * thread), -ENOMEM. inspection_free() in either case. What follows from it is judged.
 */
int survey_read(const struct survey_ask *ask, struct survey_page *page,
		struct inspection *inspection);

/* What it is doing, for "could not look": "the memory of process 12 could not be read". */
const char *survey_step_name(enum survey_step step);

#endif
