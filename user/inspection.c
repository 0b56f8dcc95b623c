// SPDX-License-Identifier: GPL-2.0-only
#include "inspection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "callname.h"
#include "cleanup.h"
#include "detail.h"
#include "memtext.h"
#include "words.h"

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[VERDICTS] = {
		[VERDICT_OK] = "ok",
		[VERDICT_BLOCKED] = "blocked",
		[VERDICT_DEADLOCK] = "deadlock",
		[VERDICT_ORPHAN] = "orphaned-lock",
	};

	return (unsigned int)verdict < VERDICTS ? names[verdict] : NULL;
}

const char *owner_state_name(enum owner_state state)
{
	return state == OWNER_ALIVE ? "alive" : state == OWNER_DEAD ? "dead" : "unknown";
}

/*
 * A robust lock is recovered by the next thread that takes it, and who waits for it is woken. Only if
 * the kernel did not mark it, and somebody still waits, it is lost all the same.
 */
bool lock_is_orphaned(const struct seen_lock *lock)
{
	if (lock->owner_state != OWNER_DEAD || lock->suspected)
		return false;
	return !lock_is_robust(&lock->info) || (lock->waiters && !lock->owner_died);
}

bool inspection_is_proven(const struct inspection *inspection)
{
	if (inspection->verdict == VERDICT_DEADLOCK)
		return true;
	for (size_t i = 0; i < inspection->n_locks; i++)
		if (lock_is_orphaned(&inspection->locks[i]) && inspection->locks[i].waiters)
			return true;
	for (size_t i = 0; i < inspection->graph.n_cycles; i++)
		if (!inspection->graph.cycle[i].timed)
			return true;
	return false;
}

int inspection_gil(const struct inspection *inspection, int thread)
{
	for (size_t i = 0; i < inspection->n_gils; i++)
		if (inspection->gils[i].address == inspection->threads[thread].gil)
			return i;
	return NOBODY;
}

static void waiters_count(struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->n_locks; i++)
		inspection->locks[i].waiters = 0;
	for (size_t i = 0; i < inspection->n_gils; i++)
		inspection->gils[i].waiters = 0;
	for (size_t i = 0; i < inspection->n_threads; i++)
		if (inspection_gil(inspection, i) != NOBODY)
			inspection->gils[inspection_gil(inspection, i)].waiters++;
	for (size_t i = 0; i < inspection->n_threads; i++)
		if (inspection->threads[i].lock != NOBODY)
			inspection->locks[inspection->threads[i].lock].waiters++;
}

/*
 * A GIL whose holder slept all the time is one more lock, behind the others. Its waiters look every five
 * milliseconds whether it is free, and never give up.
 */
static void graph_gils(const struct inspection *inspection, struct graph_thread *threads,
		       struct graph_lock *locks)
{
	for (size_t i = 0; i < inspection->n_gils; i++)
		locks[inspection->n_locks + i] = (struct graph_lock){
			.state = OWNER_ALIVE,
			.owner = inspection->gils[i].holder,
		};
	for (size_t i = 0; i < inspection->n_threads; i++) {
		int gil = inspection_gil(inspection, i);

		if (gil == NOBODY || !inspection->gils[gil].asleep)
			continue;
		threads[i].lock = inspection->n_locks + gil;
		threads[i].timed = false;
	}
}

static int graph_make(struct inspection *inspection)
{
	_cleanup_free_ struct graph_thread *threads = calloc(inspection->n_threads + 1,
							     sizeof(*threads));
	_cleanup_free_ struct graph_lock *locks = calloc(inspection->n_locks + SEEN_GILS,
							 sizeof(*locks));

	if (!threads || !locks)
		return -ENOMEM;
	for (size_t i = 0; i < inspection->n_threads; i++) {
		const struct seen_thread *thread = &inspection->threads[i];

		threads[i] = (struct graph_thread){
			.lock = thread->lock,
			.joins = thread->joins,
			.timed = wait_timed(&thread->wait),
		};
	}
	for (size_t i = 0; i < inspection->n_locks; i++)
		locks[i] = (struct graph_lock){
			.state = inspection->locks[i].owner_state,
			.owner = inspection->locks[i].owner,
		};
	graph_gils(inspection, threads, locks);
	return graph_find(threads, inspection->n_threads, locks, &inspection->graph);
}

static enum verdict verdict_of(const struct inspection *inspection)
{
	bool blocked = false;

	for (size_t i = 0; i < inspection->n_locks; i++) {
		if (lock_is_orphaned(&inspection->locks[i]))
			return VERDICT_ORPHAN;
		blocked |= inspection->locks[i].waiters;
	}
	for (size_t i = 0; i < inspection->n_gils; i++)
		blocked |= inspection->gils[i].asleep && inspection->gils[i].waiters;
	for (size_t i = 0; i < inspection->graph.n_cycles; i++) {
		if (!inspection->graph.cycle[i].timed)
			return VERDICT_DEADLOCK;
		blocked = true;
	}
	return blocked ? VERDICT_BLOCKED : VERDICT_OK;
}

int inspection_judge(struct inspection *inspection)
{
	int err;

	graph_free(&inspection->graph);
	waiters_count(inspection);
	err = graph_make(inspection);
	if (!err)
		inspection->verdict = verdict_of(inspection);
	return err;
}

void inspection_prune(struct inspection *inspection)
{
	_cleanup_free_ int *now = calloc(inspection->n_locks + 1, sizeof(*now));
	size_t kept = 0;

	if (!now)
		return;
	waiters_count(inspection);
	for (size_t i = 0; i < inspection->n_locks; i++) {
		const struct seen_lock *lock = &inspection->locks[i];

		now[i] = kept;
		if (lock->waiters || lock->found)
			inspection->locks[kept++] = *lock;
	}
	inspection->n_locks = kept;
	for (size_t i = 0; i < inspection->n_threads; i++)
		if (inspection->threads[i].lock != NOBODY)
			inspection->threads[i].lock = now[inspection->threads[i].lock];
}

void inspection_free(struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->n_unclear; i++)
		free(inspection->unclear[i].what);
	free(inspection->unclear);
	free(inspection->threads);
	free(inspection->locks);
	graph_free(&inspection->graph);
	*inspection = (struct inspection){ 0 };
}

void inspection_unclear(struct inspection *inspection, const char *why, const char *what, ...)
{
	struct unclear *grown = reallocarray(inspection->unclear, inspection->n_unclear + 1,
					     sizeof(*grown));
	va_list arguments;
	char *text;

	if (!grown)
		return;
	inspection->unclear = grown;
	va_start(arguments, what);
	if (vasprintf(&text, what, arguments) < 0)
		text = NULL;
	va_end(arguments);
	if (text)
		grown[inspection->n_unclear++] = (struct unclear){ text, why };
}

size_t inspection_stuck(const struct inspection *inspection, int lock)
{
	size_t n = 0;

	for (size_t i = 0; i < inspection->n_threads; i++) {
		const struct graph_fate *fate = &inspection->graph.fate[i];

		n += (fate->end == PATH_DEAD || fate->end == PATH_UNKNOWN) && fate->at == lock;
	}
	return n;
}

/* ---- what a thread does ---- */

const char *inspection_label(const struct inspection *inspection, int thread, char out[WHO_BYTES])
{
	const struct seen_thread *seen = &inspection->threads[thread];
	struct process_info process = inspection->process;
	char number[WHO_BYTES];

	if (seen->tgid == process.pid)
		return thread_label(&process, &seen->info, out);
	process = (struct process_info){ .pid = seen->tgid };
	snprintf(out, WHO_BYTES, "%s of process %d", thread_label(&process, &seen->info, number),
		 seen->tgid);
	return out;
}

/* All of the process; it is said once. */
static bool is_stopped(const struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->n_own; i++)
		if (!wait_is_stopped(inspection->threads[i].state) &&
		    inspection->threads[i].state != 'Z')
			return false;
	return true;
}

const char *inspection_wait(const struct inspection *inspection, int thread, size_t n,
			    char out[WAIT_WORDS_BYTES])
{
	const struct seen_thread *seen = &inspection->threads[thread];
	const char *s = n == 1 ? "s" : "", *call = call_name(seen->wait.number);
	char number[32], who[WHO_BYTES];

	if (!call) {
		snprintf(number, sizeof(number), "system call %d", seen->wait.number);
		call = number;
	}
	switch (seen->wait.what) {
	case WAIT_RUNS:
		snprintf(out, WAIT_WORDS_BYTES, "run%s", s);
		break;
	case WAIT_STOPPED:
		snprintf(out, WAIT_WORDS_BYTES, "%s stopped by a signal or a debugger",
			 n == 1 ? "is" : "are");
		break;
	case WAIT_OUTSIDE:
		snprintf(out, WAIT_WORDS_BYTES, "%s asleep in the kernel (a page fault, or frozen)",
			 n == 1 ? "is" : "are");
		break;
	case WAIT_CALL:
		snprintf(out, WAIT_WORDS_BYTES, "%s in %s%s", n == 1 ? "is" : "are", call,
			 seen->state == 'D' ? ", not interruptible" : "");
		break;
	case WAIT_FUTEX:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s on a futex that is no lock we know", s);
		break;
	case WAIT_LOCK:
		if (seen->lock != NOBODY)
			snprintf(out, WAIT_WORDS_BYTES, "wait%s for lock 0x%llx", s,
				 (unsigned long long)inspection->locks[seen->lock].info.address);
		else
			snprintf(out, WAIT_WORDS_BYTES, "wait%s for a lock that changes hands", s);
		break;
	case WAIT_JOIN:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s for %s to end", s,
			 inspection_label(inspection, seen->joins, who));
		break;
	case WAIT_CONDITION:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s on a condition variable", s);
		break;
	case WAIT_SEMAPHORE:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s for a semaphore", s);
		break;
	case WAIT_BARRIER:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s at a barrier", s);
		break;
	case WAIT_QUEUE:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s for an item of a queue", s);
		break;
	case WAIT_GIL:
		snprintf(out, WAIT_WORDS_BYTES, "wait%s for the GIL", s);
		break;
	default:
		snprintf(out, WAIT_WORDS_BYTES, "%s not known to us", n == 1 ? "is" : "are");
	}
	if (seen->wait.stopped && !is_stopped(inspection))
		strcat(out, " (stopped)");
	return out;
}

/* ---- the sentence ---- */

/* Of the orphaned locks that with the most threads behind it; *others: how many more there are. */
static int worst_orphan(const struct inspection *inspection, size_t *stuck, size_t *others)
{
	size_t n = 0, most = 0;
	int worst = NOBODY;

	for (size_t i = 0; i < inspection->n_locks; i++) {
		size_t behind = inspection_stuck(inspection, i);

		if (!lock_is_orphaned(&inspection->locks[i]))
			continue;
		n++;
		if (worst != NOBODY && behind <= most)
			continue;
		worst = i;
		most = behind;
	}
	*stuck = most;
	*others = n - 1;
	return worst;
}

static void say_more(FILE *out, size_t n, const char *what)
{
	if (n)
		fprintf(out, "; %zu more %s%s", n, what, plural(n));
}

static size_t deadlocks_count(const struct inspection *inspection)
{
	size_t n = 0;

	for (size_t i = 0; i < inspection->graph.n_cycles; i++)
		n += !inspection->graph.cycle[i].timed;
	return n;
}

size_t inspection_parked(const struct inspection *inspection)
{
	size_t n = 0;

	for (size_t i = 0; i < inspection->n_own; i++)
		n += inspection->threads[i].parked && inspection->threads[i].lock == NOBODY;
	return n;
}

static void say_orphan(FILE *out, const struct inspection *inspection)
{
	size_t stuck, others, parked, deadlocks = deadlocks_count(inspection);
	const struct seen_lock *lock =
		&inspection->locks[worst_orphan(inspection, &stuck, &others)];
	const char *what = lock_type_words(lock->info.type);

	if (stuck)
		fprintf(out, "%zu thread%s for ", stuck, stuck == 1 ? " waits" : "s wait");
	if (lock->inherited)
		fprintf(out, "a %s that fork copied locked", what);
	else if (!lock->info.owner_tid)
		fprintf(out, "a %s whose owner is %s", what,
			lock->info.type == LOCK_PYTHON_RLOCK && lock->maybe_copied
				? "not in this process"
				: "dead");
	else if (stuck)
		fprintf(out, "thread %d, which is %s", lock->info.owner_tid,
			lock->maybe_copied ? "not in this process" : "dead");
	else
		fprintf(out, "thread %d is dead and holds a %s", lock->info.owner_tid, what);
	parked = lock->info.type == LOCK_PI_MUTEX ? inspection_parked(inspection) : 0;
	if (!stuck && parked)
		fprintf(out, "; %zu thread%s may wait for it", parked, plural(parked));
	else if (!stuck)
		fputs("; nobody waits for it yet", out);
	if (inspection->more_finds)
		fprintf(out, "; at least %zu more orphaned locks", others);
	else
		say_more(out, others, "orphaned lock");
	if (deadlocks)
		fprintf(out, "; %zu deadlock%s, too", deadlocks, plural(deadlocks));
}

static void say_cycle(FILE *out, const struct inspection *inspection,
		      const struct graph_cycle *cycle)
{
	char first[WHO_BYTES], second[WHO_BYTES];

	inspection_label(inspection, cycle->thread[0], first);
	if (cycle->n == 1)
		fprintf(out, "%s waits for a %s that it holds itself", first,
			lock_type_words(
				inspection->locks[inspection->threads[cycle->thread[0]].lock]
					.info.type));
	else if (cycle->n == 2)
		fprintf(out, "%s and %s wait for each other", first,
			inspection_label(inspection, cycle->thread[1], second));
	else
		fprintf(out, "%zu threads wait for each other in a ring", cycle->n);
	if (cycle->timed)
		fputs(", until one gives up", out);
}

static const struct graph_cycle *first_cycle(const struct inspection *inspection, bool timed)
{
	for (size_t i = 0; i < inspection->graph.n_cycles; i++)
		if (inspection->graph.cycle[i].timed == timed)
			return &inspection->graph.cycle[i];
	return NULL;
}

static void say_deadlock(FILE *out, const struct inspection *inspection)
{
	size_t behind = 0;

	for (size_t i = 0; i < inspection->n_threads; i++) {
		const struct graph_fate *fate = &inspection->graph.fate[i];

		behind += fate->end == PATH_CYCLE && !fate->inner;
	}
	say_cycle(out, inspection, first_cycle(inspection, false));
	if (behind)
		fprintf(out, ", %zu more behind", behind);
	say_more(out, deadlocks_count(inspection) - 1, "deadlock");
}

/* How many threads wait for locks on a path that ends like this? */
static size_t path_count(const struct inspection *inspection, enum path_end end, int at)
{
	size_t n = 0;

	for (size_t i = 0; i < inspection->n_threads; i++) {
		const struct graph_fate *fate = &inspection->graph.fate[i];

		n += inspection->threads[i].lock != NOBODY && fate->end == end && fate->at == at;
	}
	return n;
}

/* The path end that the most threads wait for. NULL: there is none of the kind. */
static const struct graph_fate *worst_end(const struct inspection *inspection, enum path_end end,
					  size_t *waiters)
{
	const struct graph_fate *worst = NULL;

	*waiters = 0;
	for (size_t i = 0; i < inspection->n_threads; i++) {
		const struct graph_fate *fate = &inspection->graph.fate[i];
		size_t n;

		if (inspection->threads[i].lock == NOBODY || fate->end != end ||
		    (worst && worst->at == fate->at))
			continue;
		n = path_count(inspection, end, fate->at);
		if (n <= *waiters)
			continue;
		*waiters = n;
		worst = fate;
	}
	return worst;
}

static void say_nameless(FILE *out, const struct seen_lock *lock)
{
	if (lock->readers)
		fprintf(out, "an rwlock that %u reader%s", lock->readers,
			lock->readers == 1 ? " holds" : "s hold");
	else
		fputs("a lock whose owner is not known", out);
}

/* What the most threads wait for, and how many others wait. What is dead and no orphan is robust. */
static void say_convoy(FILE *out, const struct inspection *inspection)
{
	size_t free_waiters, waiters, all = 0;
	const struct graph_fate *free_end = worst_end(inspection, PATH_FREE, &free_waiters);
	const struct graph_fate *end = worst_end(inspection, PATH_UNKNOWN, &waiters);
	char who[WHO_BYTES], does[WAIT_WORDS_BYTES];

	if (free_end && free_waiters >= waiters) {
		end = free_end;
		waiters = free_waiters;
	}
	if (!end)
		end = worst_end(inspection, PATH_DEAD, &waiters);
	fprintf(out, "%zu thread%s for ", waiters, waiters == 1 ? " waits" : "s wait");
	if (end->end == PATH_FREE)
		fprintf(out, "%s, which %s", inspection_label(inspection, end->at, who),
			inspection_wait(inspection, end->at, 1, does));
	else if (end->end == PATH_UNKNOWN)
		say_nameless(out, &inspection->locks[end->at]);
	else
		fputs("a robust lock whose owner is dead", out);
	for (size_t i = 0; i < inspection->n_threads; i++)
		all += inspection->threads[i].lock != NOBODY;
	if (all > waiters)
		fprintf(out, "; %zu more thread%s for other locks", all - waiters,
			all - waiters == 1 ? " waits" : "s wait");
}

/* Of the GILs whose holders sleep that with the most waiters. NULL: nobody waits for any. */
static const struct seen_gil *worst_gil(const struct inspection *inspection)
{
	const struct seen_gil *worst = NULL;

	for (size_t i = 0; i < inspection->n_gils; i++) {
		const struct seen_gil *gil = &inspection->gils[i];

		if (gil->asleep && gil->waiters > (worst ? worst->waiters : 0))
			worst = gil;
	}
	return worst;
}

static void say_gil(FILE *out, const struct inspection *inspection, const struct seen_gil *gil)
{
	char who[WHO_BYTES], does[WAIT_WORDS_BYTES];

	fprintf(out, "%zu thread%s for the GIL: %s holds it, and %s", gil->waiters,
		gil->waiters == 1 ? " waits" : "s wait",
		inspection_label(inspection, gil->holder, who),
		inspection_wait(inspection, gil->holder, 1, does));
}

static void say_blocked(FILE *out, const struct inspection *inspection)
{
	const struct graph_cycle *cycle = first_cycle(inspection, true);
	const struct seen_gil *gil = worst_gil(inspection);

	if (cycle)
		say_cycle(out, inspection, cycle);
	else if (gil)
		say_gil(out, inspection, gil);
	else
		say_convoy(out, inspection);
}

static void say_ok(FILE *out, const struct inspection *inspection)
{
	bool gil = false;

	for (size_t i = 0; i < inspection->n_own; i++)
		gil |= inspection->threads[i].wait.what == WAIT_GIL;
	if (inspection->n_own == 1)
		fputs("its thread waits for no lock", out);
	else
		fprintf(out, "none of its %zu threads waits for a lock", inspection->n_own);
	if (gil)
		fputs(" but the GIL", out);
	if (inspection->n_unclear)
		fputs(", as far as can be told", out);
}

char *inspection_message(const struct inspection *inspection)
{
	static void (*const say[VERDICTS])(FILE * out, const struct inspection *inspection) = {
		[VERDICT_OK] = say_ok,
		[VERDICT_BLOCKED] = say_blocked,
		[VERDICT_DEADLOCK] = say_deadlock,
		[VERDICT_ORPHAN] = say_orphan,
	};
	char who[WHO_BYTES], *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		fprintf(out, "%s: %s", process_label(&inspection->process, who),
			is_stopped(inspection) ? "stopped by a signal or a debugger; " : "");
		say[inspection->verdict](out, inspection);
	}
	return memtext_end(out, &text);
}
