// SPDX-License-Identifier: GPL-2.0-only
/*
 * Since when threads sleep. What the kernel tells is in /proc/TID/sched: when the thread last ran, by a
 * clock of its processor that stands still for interrupts and while the hypervisor runs others. So it can
 * be compared with nothing but what else ran there: the kernel's own threads, of which some run on every
 * processor all the time. From the thread's last run to the last of theirs it has slept, and longer.
 */
#include "survey_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "host.h"

#define SLEEPERS_LIMIT 1024
#define CPUS_LIMIT     4096
#define ASK_NS	       100000000ull
#define SCHED_BYTES    1024 /* what is wanted is on one of the first lines */

static int sched_read(int dir, uint64_t *ran_ns)
{
	char text[SCHED_BYTES];
	ssize_t n = task_read_file(dir, "sched", text, sizeof(text));

	return n < 0 ? (int)n : proc_sched_parse(text, n, ran_ns);
}

/* If it runs in between, that may be on another processor: then nothing is known. */
static bool task_ran(int dir, uint64_t *ran_ns, int32_t *cpu, char *state)
{
	struct proc_stat stat;
	uint64_t again;

	if (sched_read(dir, ran_ns) || task_read_stat(dir, &stat) || sched_read(dir, &again))
		return false;
	*cpu = stat.processor;
	*state = stat.state;
	return *ran_ns && *ran_ns == again && *cpu >= 0 && *cpu < CPUS_LIMIT;
}

/* When each thread last ran, and where: cpu -1: not known, or it does not sleep. */
struct sleeper {
	uint64_t ran_ns;
	int32_t cpu;
};

static void sleeper_read(const struct survey *survey, const struct seen_thread *thread,
			 struct sleeper *sleeper)
{
	_cleanup_close_ int dir = -1;
	char name[32], state;

	snprintf(name, sizeof(name), "task/%d", thread->info.tid);
	dir = openat(survey->task.process, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || !task_ran(dir, &sleeper->ran_ns, &sleeper->cpu, &state) ||
	    (state != 'S' && state != 'D'))
		sleeper->cpu = -1;
}

static bool sleeps(const struct seen_thread *thread)
{
	return !thread->wait.stopped && thread->wait.what != WAIT_UNKNOWN &&
	       thread->wait.what != WAIT_RUNS && thread->wait.what != WAIT_STOPPED;
}

/* Where there are too many, those that wait for locks come first. */
static size_t sleepers_read(struct survey *survey, struct sleeper *sleepers)
{
	size_t n = 0, known = 0;

	for (int others = 0; others <= 1; others++) {
		for (size_t i = 0; i < survey->out->n_own && n < SLEEPERS_LIMIT; i++) {
			const struct seen_thread *thread = &survey->out->threads[i];

			if ((thread->lock == NOBODY) != others || !sleeps(thread))
				continue;
			n++;
			sleeper_read(survey, thread, &sleepers[i]);
			known += sleepers[i].cpu >= 0;
			survey_progress(survey);
		}
	}
	return known;
}

/* The latest that each processor's clock is known to have shown. */
static void clocks_read(struct survey *survey, uint64_t *clocks)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	uint64_t until = host_now() + ASK_NS;
	struct dirent *entry;

	while (proc && (entry = readdir(proc)) && host_now() < until) {
		_cleanup_close_ int dir = -1;
		struct proc_stat stat;
		uint64_t ran_ns;
		int32_t cpu;
		char state;

		survey_progress(survey);
		if (atoi(entry->d_name) <= 0)
			continue;
		dir = openat(dirfd(proc), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0 || task_read_stat(dir, &stat) || !(stat.flags & PROC_FLAG_KTHREAD))
			continue;
		if (task_ran(dir, &ran_ns, &cpu, &state) && ran_ns > clocks[cpu])
			clocks[cpu] = ran_ns;
	}
}

void survey_since(struct survey *survey)
{
	struct inspection *out = survey->out;
	_cleanup_free_ struct sleeper *sleepers = calloc(out->n_own + 1, sizeof(*sleepers));
	_cleanup_free_ uint64_t *clocks = calloc(CPUS_LIMIT, sizeof(*clocks));

	if (!sleepers || !clocks)
		return;
	for (size_t i = 0; i < out->n_own; i++)
		sleepers[i].cpu = -1;
	survey_step(survey, STEP_THREADS, survey->task.tgid);
	if (!sleepers_read(survey, sleepers))
		return;
	clocks_read(survey, clocks);
	for (size_t i = 0; i < out->n_own; i++)
		if (sleepers[i].cpu >= 0 && clocks[sleepers[i].cpu] > sleepers[i].ran_ns)
			out->threads[i].asleep_ns = clocks[sleepers[i].cpu] - sleepers[i].ran_ns;
}
