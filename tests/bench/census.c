// SPDX-License-Identifier: GPL-2.0-only
/*
 * The census without the agent around it, over a process that is there:
 *   census finds PID MIN MAX    what looks like a lock held by a thread MIN to MAX: one line per kind
 *   census speed PID            census and bare process_vm_readv() loop over the same pages, in turn
 *   census serve PID PERCENT SECONDS   passes one after the other, at that share of a core
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "census_read.h"
#include "resident.h"
#include "task.h"

#define BARE_BYTES (256u << 10)
#define ROUNDS	   5   /* at least, */
#define ROUNDS_S   2.0 /* and for at least so long */

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what, int error)
{
	fprintf(stderr, "census: %s: %s\n", what, strerror(error));
	exit(1);
}

struct pass {
	uint64_t scanned, shared, swapped, unread, slices, finds;
	double seconds;
};

static uint32_t threads_count(int pid)
{
	char path[64];
	struct dirent *entry;
	uint32_t n = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		die(path, errno);
	while ((entry = readdir(tasks)))
		n += entry->d_name[0] != '.';
	closedir(tasks);
	return n;
}

typedef void pass_found(void *context, const struct census_find *find, enum find_place place);

static struct pass pass_run(int pid, uint32_t min, uint32_t max, uint64_t slice_bytes, double share,
			    pass_found *found, void *context)
{
	static struct census_answer answer;
	struct census_ask ask = { .tgid = pid,
				  .min = min,
				  .max = max,
				  .slice_bytes = slice_bytes,
				  .users = threads_count(pid) + 1,
				  .beyond_bytes = UINT64_MAX };
	struct pass pass = { 0 };
	double began = now_s(CLOCK_MONOTONIC);

	do {
		census_read(&ask, NULL, UINT64_MAX, &answer);
		if (answer.error)
			die("census_read", -answer.error);
		for (uint32_t i = 0; found && i < answer.n; i++)
			found(context, &answer.at[i].find, answer.at[i].place);
		pass.scanned += answer.bytes.scanned;
		pass.shared += answer.bytes.shared;
		pass.swapped += answer.bytes.swapped;
		pass.unread += answer.bytes.unread;
		pass.finds += answer.n;
		pass.slices++;
		ask.from = answer.next;
		if (share < 1) {
			struct timespec rest = { 0, answer.cpu_ns * (1 / share - 1) };

			rest.tv_sec = rest.tv_nsec / 1000000000;
			rest.tv_nsec %= 1000000000;
			nanosleep(&rest, NULL);
		}
	} while (ask.from);
	pass.seconds = now_s(CLOCK_MONOTONIC) - began;
	return pass;
}

/* ---- finds ---- */

#define KINDS 1024
static uint64_t counts[2][LAYOUTS][KINDS];
static struct tid_set seen[LAYOUTS];

static void finds_count(void *context, const struct census_find *find, enum find_place place)
{
	(void)context;
	counts[place][find->lock.layout][find->lock.kind % KINDS]++;
	tid_set_put(&seen[find->lock.layout], find->lock.owner, true);
	if (getenv("CENSUS_SHOW"))
		printf("  %d %d owner %u kind %u 0x%llx\n", place, find->lock.layout,
		       find->lock.owner, find->lock.kind, (unsigned long long)find->lock.address);
}

static int tids_count(const struct tid_set *set)
{
	int n = 0;

	for (size_t i = 0; i < sizeof(set->word) / sizeof(*set->word); i++)
		n += __builtin_popcountll(set->word[i]);
	return n;
}

static void finds(int pid, uint32_t min, uint32_t max)
{
	static const char *const names[LAYOUTS] = {
		[LAYOUT_GLIBC_MUTEX] = "mutex",	    [LAYOUT_GLIBC_ROBUST] = "robust",
		[LAYOUT_GLIBC_PI] = "pi",	    [LAYOUT_GLIBC_RWLOCK_12] = "rwlock",
		[LAYOUT_MUSL_MUTEX] = "musl-mutex",
	};
	struct pass pass = pass_run(pid, min, max, UINT64_MAX, 1, finds_count, NULL);

	printf("{\"pid\": %d, \"min\": %u, \"max\": %u, \"scanned\": %llu, \"shared\": %llu, "
	       "\"swapped\": %llu, \"unread\": %llu, \"seconds\": %.4f, \"finds\": [",
	       pid, min, max, (unsigned long long)pass.scanned, (unsigned long long)pass.shared,
	       (unsigned long long)pass.swapped, (unsigned long long)pass.unread, pass.seconds);
	const char *comma = "";

	for (int layout = 0; layout < LAYOUTS; layout++) {
		for (int kind = 0; kind < KINDS; kind++) {
			if (!counts[0][layout][kind] && !counts[1][layout][kind])
				continue;
			printf("%s{\"type\": \"%s\", \"kind\": %d, \"data\": %llu, \"elsewhere\": "
			       "%llu, \"tids\": %d}",
			       comma, names[layout], kind,
			       (unsigned long long)counts[FIND_DATA][layout][kind],
			       (unsigned long long)counts[FIND_ELSEWHERE][layout][kind],
			       tids_count(&seen[layout]));
			comma = ", ";
		}
	}
	printf("]}\n");
}

/* ---- speed ---- */

#define RUNS 4096

/* All pages that the census reads, found out beforehand. */
struct pages {
	struct page_run *run;
	size_t n;
};

static void pages_add(struct pages *pages, const struct page_run *run)
{
	if (pages->n && pages->run[pages->n - 1].end == run->start) {
		pages->run[pages->n - 1].end = run->end;
		return;
	}
	if (pages->n % RUNS == 0)
		pages->run = reallocarray(pages->run, pages->n + RUNS, sizeof(*pages->run));
	if (!pages->run)
		die("memory", ENOMEM);
	pages->run[pages->n++] = *run;
}

static struct pages pages_list(const struct task *task)
{
	struct resident resident;
	struct task_maps maps;
	struct proc_mapping m;
	struct pages pages = { 0 };
	struct page_run runs[64];

	if (resident_open(&resident, task->thread, true) || task_maps_open(&maps, task->thread))
		die("pagemap", errno);
	while (task_maps_next(&maps, &m) > 0) {
		uint64_t at = m.start;

		while (m.read && m.write && !m.shared && at < m.end) {
			ssize_t n = resident_runs(&resident, at, m.end, runs, 64, &at);

			for (ssize_t i = 0; i < n; i++)
				if (runs[i].kind == RUN_OWN)
					pages_add(&pages, &runs[i]);
		}
	}
	task_maps_close(&maps);
	resident_close(&resident);
	return pages;
}

static double bare_run(const struct task *task, const struct pages *pages)
{
	static char to[BARE_BYTES];
	double began = now_s(CLOCK_MONOTONIC);

	for (size_t i = 0; i < pages->n; i++) {
		for (uint64_t at = pages->run[i].start; at < pages->run[i].end; at += BARE_BYTES) {
			uint64_t left = pages->run[i].end - at;

			task_read_memory(task, at, to, left < BARE_BYTES ? left : BARE_BYTES);
		}
	}
	return now_s(CLOCK_MONOTONIC) - began;
}

static void speed(int pid)
{
	double bare = 1e9, census = 1e9, until = now_s(CLOCK_MONOTONIC) + ROUNDS_S;
	struct pages pages;
	struct pass pass;
	struct task task;

	if (task_open(&task, pid, 0))
		die("the process", errno);
	pages = pages_list(&task);
	/* A TID that is nobody's, and where heaps have few numbers. The best of the rounds of each. */
	for (int i = 0; i < ROUNDS || now_s(CLOCK_MONOTONIC) < until; i++) {
		double seconds = bare_run(&task, &pages);

		bare = seconds < bare ? seconds : bare;
		pass = pass_run(pid, 3999990, 3999999, CENSUS_SLICE_BYTES, 1, NULL, NULL);
		census = pass.seconds < census ? pass.seconds : census;
	}
	printf("{\"bytes\": %llu, \"slices\": %llu, \"runs\": %zu, \"bare_gb_s\": %.3f, "
	       "\"census_gb_s\": %.3f, \"ratio\": %.3f}\n",
	       (unsigned long long)pass.scanned, (unsigned long long)pass.slices, pages.n,
	       pass.scanned / bare / 1e9, pass.scanned / census / 1e9, bare / census);
	free(pages.run);
	task_close(&task);
}

static void serve(int pid, double percent, double seconds)
{
	double until = now_s(CLOCK_MONOTONIC) + seconds;
	uint64_t passes = 0;

	while (now_s(CLOCK_MONOTONIC) < until) {
		pass_run(pid, 3999990, 3999999, CENSUS_SLICE_BYTES, percent / 100, NULL, NULL);
		passes++;
	}
	printf("{\"passes\": %llu, \"cpu_s\": %.3f}\n", (unsigned long long)passes,
	       now_s(CLOCK_PROCESS_CPUTIME_ID));
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "finds"))
		finds(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	else if (argc == 3 && !strcmp(argv[1], "speed"))
		speed(atoi(argv[2]));
	else if (argc == 5 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]), atof(argv[3]), atof(argv[4]));
	else
		die(argc > 1 ? argv[1] : "usage", EINVAL);
	return 0;
}
