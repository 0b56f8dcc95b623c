// SPDX-License-Identifier: GPL-2.0-only
/*
 * An inspection for people, at three in the morning: the verdict in one line, then what it rests on,
 * lock by lock, then what to do. Idle threads are summed up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "detail.h"
#include "inspection.h"
#include "memtext.h"

#define ASLEEP_BYTES  (DURATION_BYTES + 32)
#define ASLEEP_NS     1000000000ull /* less is of no interest */
#define RESTART_BYTES (ESCAPED_BYTES(NAME_BYTES) + ESCAPED_BYTES(DETAIL_BYTES) + 64)

static const char *verdict_words(enum verdict verdict)
{
	static const char *const words[VERDICTS] = {
		[VERDICT_OK] = "OK",
		[VERDICT_BLOCKED] = "BLOCKED",
		[VERDICT_DEADLOCK] = "DEADLOCK",
		[VERDICT_ORPHAN] = "ORPHANED LOCK",
	};

	return words[verdict];
}

/* "worker-3 (tid 4712)" */
static const char *in_full(const struct inspection *inspection, int thread, char out[WHO_BYTES])
{
	const struct seen_thread *seen = &inspection->threads[thread];
	char who[WHO_BYTES];

	if (seen->tgid == inspection->process.pid)
		return thread_in_full(&inspection->process, &seen->info, out);
	thread_in_full(&inspection->process, &seen->info, who);
	snprintf(out, WHO_BYTES, "%.220s of process %d", who, seen->tgid);
	return out;
}

static void line_lock(FILE *out, const struct seen_lock *lock)
{
	char words[LOCK_WORDS_BYTES], place[LOCK_PLACE_BYTES];

	detail(out, "%s 0x%" PRIx64 ": %s%s", lock->suspected ? "maybe a lock" : "lock",
	       lock->info.address,
	       lock->readers ? "rwlock, held for reading" : lock_in_words(&lock->info, words),
	       lock_place(&lock->info, place));
}

static void line_dead_owner(FILE *out, const struct seen_lock *lock)
{
	char owner[64] = "a thread";

	if (lock->info.owner_tid)
		snprintf(owner, sizeof(owner), "thread %d", lock->info.owner_tid);
	if (lock->suspected)
		detail_of(out, "if it is one, it was held by %s, which has ended", owner);
	else if (lock_is_robust(&lock->info) && !lock_is_orphaned(lock))
		detail_of(out,
			  "held by %s, which has ended; the lock is robust: the next thread that "
			  "takes it is told, and can recover it",
			  owner);
	else if (lock->inherited)
		detail_of(out,
			  "held by %s of the parent when fork copied it: nobody in this process "
			  "can unlock it",
			  owner);
	else if (lock->maybe_copied)
		detail_of(out,
			  "held by %s, which is not in this process: it has ended, or fork copied "
			  "the lock from a parent; nobody can unlock it",
			  owner);
	else
		detail_of(out, "held by %s, which has ended: nobody can unlock it", owner);
}

/* ", asleep for 18 min or longer", or nothing */
static const char *asleep_words(const struct seen_thread *seen, char out[ASLEEP_BYTES])
{
	char length[DURATION_BYTES];

	out[0] = 0;
	if (seen->asleep_ns >= ASLEEP_NS)
		snprintf(out, ASLEEP_BYTES, ", asleep for %s or longer",
			 duration(seen->asleep_ns, length));
	return out;
}

static void line_owner(FILE *out, const struct inspection *inspection, const struct seen_lock *lock)
{
	char who[WHO_BYTES], does[WAIT_WORDS_BYTES], since[ASLEEP_BYTES];

	if (lock->owner_state == OWNER_DEAD)
		line_dead_owner(out, lock);
	else if (lock->owner != NOBODY && lock->inherited)
		detail_of(out,
			  "held by %s, a copy of the parent's thread %d, which held it when it "
			  "forked; it %s%s",
			  in_full(inspection, lock->owner, who), lock->info.owner_tid,
			  inspection_wait(inspection, lock->owner, 1, does),
			  asleep_words(&inspection->threads[lock->owner], since));
	else if (lock->owner != NOBODY)
		detail_of(out, "held by %s, which %s%s", in_full(inspection, lock->owner, who),
			  inspection_wait(inspection, lock->owner, 1, does),
			  asleep_words(&inspection->threads[lock->owner], since));
	else if (lock->owner_state == OWNER_ALIVE)
		detail_of(out, "held by thread %d of another process", lock->info.owner_tid);
	else if (lock->readers)
		detail_of(out, "held by %u reader%s: %s", lock->readers, plural(lock->readers),
			  lock->why);
	else
		detail_of(out, "who holds it is not known: %s",
			  lock->why ? lock->why : "not found");
}

static void line_waiter(FILE *out, const struct inspection *inspection, size_t thread)
{
	const struct seen_thread *seen = &inspection->threads[thread];
	const struct graph_fate *fate = &inspection->graph.fate[thread];
	bool stuck = (fate->end == PATH_DEAD && lock_is_orphaned(&inspection->locks[fate->at])) ||
		     (fate->end == PATH_CYCLE && !inspection->graph.cycle[fate->at].timed);
	char who[WHO_BYTES], length[DURATION_BYTES], how[64] = "without a timeout";
	char since[ASLEEP_BYTES];

	if (seen->has_timeout && !seen->absolute && seen->timeout_ns >= 0)
		snprintf(how, sizeof(how), "gives up after %s", duration(seen->timeout_ns, length));
	else if (seen->has_timeout && seen->timeout_ns > inspection->time_ns)
		snprintf(how, sizeof(how), "gives up in %s",
			 duration(seen->timeout_ns - inspection->time_ns, length));
	else if (seen->has_timeout)
		snprintf(how, sizeof(how), "with a timeout");
	else if (stuck && !fate->timed)
		snprintf(how, sizeof(how), "for ever");
	detail_of(out, "%s %s: %s%s", stuck && !seen->has_timeout ? "stuck" : "waiting",
		  in_full(inspection, thread, who), how, asleep_words(seen, since));
}

static void lines_waiters(FILE *out, const struct inspection *inspection, int lock, bool all)
{
	size_t said = 0, more = 0;

	for (size_t i = 0; i < inspection->n_threads; i++) {
		if (inspection->threads[i].lock != lock || inspection->graph.fate[i].inner)
			continue;
		if (all || said < TEXT_WAITERS) {
			line_waiter(out, inspection, i);
			said++;
		} else {
			more++;
		}
	}
	if (more)
		detail_of(out, "and %zu more waiter%s: -v or --json lists all", more, plural(more));
}

/* One step of a cycle: who waits for whom, and by which lock. */
static void line_step(FILE *out, const struct inspection *inspection,
		      const struct graph_cycle *cycle, size_t i)
{
	const struct seen_thread *seen = &inspection->threads[cycle->thread[i]];
	int next = cycle->thread[(i + 1) % cycle->n];
	char who[WHO_BYTES], whom[WHO_BYTES], since[ASLEEP_BYTES];

	in_full(inspection, cycle->thread[i], who);
	asleep_words(seen, since);
	inspection_label(inspection, next, whom);
	if (since[0])
		strcat(since, ",");
	if (seen->gil)
		detail(out, "%s%s waits for the GIL, which %s holds", who, since, whom);
	else if (seen->lock == NOBODY)
		detail(out, "%s%s waits for %s to end", who, since, whom);
	else
		detail(out, "%s%s waits for lock 0x%" PRIx64 ", which %s holds%s", who, since,
		       inspection->locks[seen->lock].info.address,
		       cycle->n == 1 ? "it itself" : whom, seen->has_timeout ? ", for a time" : "");
}

static void lines_cycle(FILE *out, const struct inspection *inspection,
			const struct graph_cycle *cycle, bool all)
{
	for (size_t i = 0; i < cycle->n; i++)
		line_step(out, inspection, cycle, i);
	for (size_t i = 0; i < cycle->n; i++) {
		int lock = inspection->threads[cycle->thread[i]].lock;

		if (lock == NOBODY)
			continue;
		line_lock(out, &inspection->locks[lock]);
		lines_waiters(out, inspection, lock, all);
	}
	if (cycle->n == 1)
		detail(out, "a %s mutex can't be taken twice by one thread; a recursive one can",
		       lock_kind_name(LOCK_NORMAL));
}

/* Said with a cycle already? */
static bool lock_in_cycle(const struct inspection *inspection, int lock)
{
	for (size_t i = 0; i < inspection->n_threads; i++)
		if (inspection->threads[i].lock == lock && inspection->graph.fate[i].inner)
			return true;
	return false;
}

/* Nobody waits for it: why is it one? */
static void line_evidence(FILE *out, const struct inspection *inspection,
			  const struct seen_lock *lock)
{
	bool unsure = lock->info.type == LOCK_PI_MUTEX && inspection_parked(inspection);
	char line[DETAIL_LINE_BYTES];
	size_t used = snprintf(line, sizeof(line),
			       "nobody %s for it; known by the looks of memory:",
			       unsure ? "is seen to wait" : "waits");

	if (lock->info.proof != PROOF_SHAPE)
		return;
	for (unsigned int bit = 0; bit < EVIDENCE_BITS; bit++)
		if (lock->info.evidence >> bit & 1)
			used += snprintf(line + used, sizeof(line) - used, "%s %s",
					 lock->info.evidence & ((1u << bit) - 1) ? "," : "",
					 evidence_name(bit));
	detail_of(out, "%s", line);
}

static void lines_lock(FILE *out, const struct inspection *inspection, int lock, bool all)
{
	line_lock(out, &inspection->locks[lock]);
	line_owner(out, inspection, &inspection->locks[lock]);
	line_evidence(out, inspection, &inspection->locks[lock]);
	lines_waiters(out, inspection, lock, all);
}

/* Of those for which nobody waits only some. */
#define TEXT_FOUND 8
static void lines_locks(FILE *out, const struct inspection *inspection, bool orphaned, bool all)
{
	size_t found = 0;

	for (size_t i = 0; i < inspection->n_locks; i++) {
		const struct seen_lock *lock = &inspection->locks[i];

		if (lock->suspected || lock_is_orphaned(lock) != orphaned ||
		    lock_in_cycle(inspection, i))
			continue;
		found += !lock->waiters;
		if (lock->waiters || found <= TEXT_FOUND || all)
			lines_lock(out, inspection, i, all);
	}
	if (all || found <= TEXT_FOUND)
		return;
	found -= TEXT_FOUND;
	detail(out,
	       "and %s%zu more lock%s of dead threads, nobody waits there: -v or --json lists %s",
	       inspection->more_finds ? "at least " : "", found, plural(found),
	       inspection->more_finds ? "them" : "all");
}

/* Numbers in memory that may be a lock. Where there are many it is the same object again and again. */
#define TEXT_SUSPECTED 3
static void lines_suspected(FILE *out, const struct inspection *inspection, bool all)
{
	size_t n = 0, more;

	for (size_t i = 0; i < inspection->n_locks; i++)
		if (inspection->locks[i].suspected && (n++ < TEXT_SUSPECTED || all))
			lines_lock(out, inspection, i, all);
	if (all || n <= TEXT_SUSPECTED)
		return;
	more = n - TEXT_SUSPECTED;
	detail(out,
	       "and %zu more place%s in memory that %s, nobody waits there: mostly chance; "
	       "--verbose lists all",
	       more, plural(more), more == 1 ? "looks like a lock" : "look like locks");
}

/* One line for each GIL of which it is known who holds it. */
static void lines_gils(FILE *out, const struct inspection *inspection)
{
	char who[WHO_BYTES], does[WAIT_WORDS_BYTES], waiters[48];

	for (size_t i = 0; i < inspection->n_gils; i++) {
		const struct seen_gil *gil = &inspection->gils[i];

		snprintf(waiters, sizeof(waiters), "%zu thread%s", gil->waiters,
			 gil->waiters == 1 ? " waits" : "s wait");
		detail(out, "GIL: held by %s, which %s%s; %s for it%s",
		       in_full(inspection, gil->holder, who),
		       inspection_wait(inspection, gil->holder, 1, does),
		       gil->asleep ? " and did not run" : "",
		       gil->waiters ? waiters : "nobody waits",
		       gil->asleep && gil->waiters
			       ? ", and can't run Python code before it is released"
			       : "");
	}
}

/* Threads that do the same thing. */
struct group {
	int thread; /* one of them */
	size_t n;
	char words[WAIT_WORDS_BYTES]; /* of one, in which they don't differ */
};

static struct group *group_find(struct group *groups, size_t *n, const char *words)
{
	for (size_t i = 0; i < *n; i++)
		if (!strcmp(groups[i].words, words))
			return &groups[i];
	groups[*n].n = 0;
	snprintf(groups[*n].words, sizeof(groups[*n].words), "%s", words);
	return &groups[(*n)++];
}

static int group_compare(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return (x->n < y->n) - (x->n > y->n);
}

/* "9 wait on a condition variable, 1 is in epoll_wait" of those that wait for no lock */
#define GROUPS 32
static void lines_others(FILE *out, const struct inspection *inspection)
{
	struct group *groups = calloc(GROUPS + 1, sizeof(*groups));
	char words[WAIT_WORDS_BYTES], line[DETAIL_LINE_BYTES];
	size_t n = 0, more = 0, used;

	for (size_t i = 0; groups && i < inspection->n_own; i++) {
		const struct seen_thread *seen = &inspection->threads[i];
		struct group *group;

		if (seen->lock != NOBODY || inspection->graph.fate[i].inner || seen->state == 'Z')
			continue;
		group = group_find(groups, &n, inspection_wait(inspection, i, 1, words));
		group->thread = i;
		group->n++;
		if (n > GROUPS) {
			n = GROUPS;
			more++;
		}
	}
	used = snprintf(line, sizeof(line),
			inspection->n_locks ? "the other threads:" : "threads:");
	if (n)
		qsort(groups, n, sizeof(*groups), group_compare);
	for (size_t i = 0; i < n && used < sizeof(line) / 2; i++)
		used += snprintf(line + used, sizeof(line) - used, "%s %zu" GLUE "%s", i ? "," : "",
				 groups[i].n,
				 inspection_wait(inspection, groups[i].thread, groups[i].n, words));
	if (more)
		snprintf(line + used, sizeof(line) - used, ", %zu do something else", more);
	if (n)
		detail_line(out, line);
	free(groups);
}

static void lines_threads(FILE *out, const struct inspection *inspection)
{
	char who[WHO_BYTES], does[WAIT_WORDS_BYTES], since[ASLEEP_BYTES];

	for (size_t i = 0; i < inspection->n_threads; i++)
		detail(out, "thread %s %s%s", in_full(inspection, i, who),
		       inspection->threads[i].state == 'Z'
			       ? "has ended"
			       : inspection_wait(inspection, i, 1, does),
		       asleep_words(&inspection->threads[i], since));
}

/* web, unit web.service, container 4f0a1c... : what can be restarted */
static const char *restart_words(const struct process_info *process, char out[RESTART_BYTES])
{
	char comm[ESCAPED_BYTES(NAME_BYTES)], unit[ESCAPED_BYTES(DETAIL_BYTES)];

	snprintf(out, RESTART_BYTES, "%s%s%s%s%.12s", ESCAPE(comm, process->comm),
		 process->unit[0] ? ", unit " : "", ESCAPE(unit, process->unit),
		 process->container_id[0] ? ", container " : "", process->container_id);
	return out;
}

static bool waits_for_python_lock(const struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->n_locks; i++)
		if (inspection->locks[i].info.type == LOCK_PYTHON_LOCK &&
		    inspection->locks[i].waiters)
			return true;
	return false;
}

static void line_advice(FILE *out, const struct inspection *inspection)
{
	char what[RESTART_BYTES];

	if (waits_for_python_lock(inspection))
		detail(out,
		       "who holds a Python Lock: 'py-spy dump --pid %d' shows what each thread does "
		       "now; 'deadhold --deep -p PID', started before, sees who takes it",
		       inspection->process.pid);
	if (inspection->verdict != VERDICT_ORPHAN && inspection->verdict != VERDICT_DEADLOCK)
		return;
	restart_words(&inspection->process, what);
	if (inspection_is_proven(inspection))
		detail(out, "what to do: restart %s; 'gcore %d' first keeps the evidence", what,
		       inspection->process.pid);
	else
		detail(out,
		       "what to do: the next thread that wants it waits for ever; restart %s "
		       "before that",
		       what);
}

static void line_census(FILE *out, const struct inspection *inspection, bool all)
{
	const struct census_info *census = &inspection->census;
	uint64_t skipped = memory_bytes_skipped(&census->bytes);
	char left[96] = "";

	if (!census->bytes.scanned || (census->full && !all))
		return;
	if (skipped)
		snprintf(left, sizeof(left),
			 ", %" PRIu64 " MB left out (shared, swapped, devices, userfaultfd)",
			 (skipped + 500000) / 1000000);
	if (!census->full)
		snprintf(left, sizeof(left), "%s",
			 inspection->more_finds
				 ? ", not in the rest: too many were found"
				 : ", not in the rest: --census all takes the time for it");
	detail(out, "looked for locks of dead threads in %.*f MB of memory%s",
	       census->bytes.scanned < 10000000, census->bytes.scanned / 1e6, left);
}

static void print_inspection(FILE *out, const struct inspection *inspection, const struct run *run,
			     bool all)
{
	char cmdline[ESCAPED_BYTES(DETAIL_BYTES)];

	lines_locks(out, inspection, true, all);
	for (size_t i = 0; i < inspection->graph.n_cycles; i++)
		lines_cycle(out, inspection, &inspection->graph.cycle[i], all);
	lines_locks(out, inspection, false, all);
	lines_suspected(out, inspection, all);
	lines_gils(out, inspection);
	if (all)
		lines_threads(out, inspection);
	else
		lines_others(out, inspection);
	line_census(out, inspection, all);
	for (size_t i = 0; i < inspection->n_unclear; i++)
		detail(out, "not known: %s: %s", inspection->unclear[i].what,
		       inspection->unclear[i].why);
	if (run->cmdline && inspection->process.cmdline[0])
		detail(out, "started as %s", ESCAPE(cmdline, inspection->process.cmdline));
	line_advice(out, inspection);
}

char *inspection_text(const struct inspection *inspection, const struct run *run, bool all,
		      size_t *len)
{
	_cleanup_free_ char *message = inspection_message(inspection);
	char *text;
	FILE *out = message ? open_memstream(&text, len) : NULL;

	if (out) {
		fprintf(out, "%s %s\n", verdict_words(inspection->verdict), message);
		print_inspection(out, inspection, run, all);
	}
	return memtext_end(out, &text);
}
