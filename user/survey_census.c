// SPDX-License-Identifier: GPL-2.0-only
/*
 * The census of a survey: locks for which nobody waits, and whose owners the process does not have any
 * more. Words that name threads which it can't have had tell how much the shape of a lock is worth here.
 */
#include "survey_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "census_read.h"
#include "cleanup.h"
#include "detect.h"
#include "host.h"

#define SLICE_NS    100000000ull
#define FINDS_LIMIT 4096
#define STRANGERS   256 /* so many numbers that nobody had are compared with, on either side */
#define FIRST_PID   300 /* RESERVED_PIDS: numbers begin again there */
#define NS_LAST_PID "/proc/sys/kernel/ns_last_pid"

/* The last number that our own PID namespace gave out; 0: not known, or the process is in another. */
static uint32_t last_number(const struct process_info *process)
{
	_cleanup_fclose_ FILE *file = NULL;
	char text[64];
	ssize_t n = readlink("/proc/self/ns/pid", text, sizeof(text));
	uint32_t last;

	if (n <= 0 || proc_namespace_parse(text, n) != process->pid_ns)
		return 0;
	file = fopen(NS_LAST_PID, "re");
	return file && fscanf(file, "%u", &last) == 1 && last < LOCK_TID_LIMIT ? last : 0;
}

static void put_all(struct tid_set *set, uint32_t from, uint32_t to)
{
	for (uint32_t tid = from; tid <= to; tid++)
		tid_set_put(set, tid, true);
}

/*
 * The numbers of threads come after the process's own, up to the last one that was given out; if that
 * is smaller, they have begun again from the start.
 */
static void numbers_fill(const struct survey *survey, struct tid_sets *tids, struct census_ask *ask)
{
	uint32_t first = survey->out->process.ns_pid, last = last_number(&survey->out->process);

	if (!last)
		last = LOCK_TID_LIMIT - 1;
	if (first <= last) {
		put_all(&tids->wanted, first, last);
		ask->min = first > STRANGERS + 1 ? first - STRANGERS : 2;
		ask->max = last + STRANGERS < LOCK_TID_LIMIT ? last + STRANGERS
							     : LOCK_TID_LIMIT - 1;
	} else {
		put_all(&tids->wanted, FIRST_PID, last);
		put_all(&tids->wanted, first, LOCK_TID_LIMIT - 1);
		ask->min = 2;
		ask->max = LOCK_TID_LIMIT - 1;
	}
	for (size_t i = 0; i < survey->first.n; i++) {
		const struct thread *thread = &survey->first.at[i];

		if (thread->ended)
			continue;
		tid_set_put(&tids->wanted, thread->info.ns_tid, false);
		tid_set_put(&tids->known, thread->info.ns_tid, true);
	}
}

static int find_add(struct survey *survey, const struct lock_state *state)
{
	size_t before = survey->out->n_locks;
	int lock = survey_lock(survey, survey->task.tgid, state->address);
	enum lock_proof proof = state->owner ? PROOF_SHAPE : PROOF_OWNER_DIED;

	if (lock == NOBODY)
		return -ENOMEM;
	if (survey->out->n_locks == before) /* somebody waits for it */
		return 0;
	survey->place[lock].word = state->address + lock_word_offset(state->layout);
	survey->place[lock].layout = state->layout;
	survey->place[lock].state = *state;
	detect_lock(&survey->out->locks[lock].info, state, proof, survey->out->libc);
	survey->out->locks[lock].found = true;
	survey->out->locks[lock].owner_died = state->owner_died;
	return 0;
}

static int slice_take(struct survey *survey, const struct census_answer *answer)
{
	struct census_info *census = &survey->out->census;
	int err = 0;

	memory_bytes_add(&census->bytes, &answer->bytes);
	census->strangers += answer->strangers;
	for (uint32_t i = 0; !err && i < answer->n; i++) {
		if (survey->out->n_locks >= FINDS_LIMIT) {
			survey->out->more_finds = true;
			break;
		}
		err = find_add(survey, &answer->at[i].find.lock);
	}
	return err;
}

int survey_census(struct survey *survey)
{
	static struct census_answer answer;
	_cleanup_free_ struct tid_sets *tids = calloc(1, sizeof(*tids));
	uint64_t from_ns = host_now();
	struct census_ask ask = {
		.tgid = survey->task.tgid,
		.start_ticks = survey->task.stat.start_ticks,
		.musl_marks = survey->out->libc == LIBC_MUSL,
		.users = survey->first.n + 1, /* as in censuses.c */
		.slice_bytes = CENSUS_SLICE_BYTES,
		.beyond_bytes = UINT64_MAX,
	};
	int err = tids ? 0 : -ENOMEM;
	double seconds;

	if (err)
		return err;
	numbers_fill(survey, tids, &ask);
	do {
		survey_step(survey, STEP_CENSUS, ask.tgid);
		census_read(&ask, tids, host_now() + SLICE_NS, &answer);
		err = answer.error ?: slice_take(survey, &answer);
		ask.from = answer.next;
		seconds = (double)(host_now() - from_ns) / 1e9;
	} while (!err && ask.from && !survey->out->more_finds && seconds < survey->ask->census_s);
	if (!err && survey->out->more_finds)
		inspection_unclear(survey->out, "the search ended with so many",
				   "how many more locks dead threads hold");
	survey->out->census.full = !ask.from;
	survey->out->census.seconds = seconds;
	return err;
}
