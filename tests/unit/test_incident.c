// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "incident.h"

#define S     1000000000ull
#define SAID  64
#define OWNER 11

/* What was told, as copies of what counts. */
static struct told {
	enum severity severity;
	struct incident_info info;
	size_t n_locks, n_stuck;
	struct waiter_info stuck[INCIDENT_STUCK];
	int32_t pid;
	bool follows;
	uint64_t time_ns;
} told[SAID];
static size_t n_told;
static bool shows;

static bool take(void *context, const struct alert *alert)
{
	struct told *t = &told[n_told++ % SAID];

	(void)context;
	assert_int_equal(alert->kind, ALERT_INCIDENT);
	*t = (struct told){ .severity = alert->severity,
			    .info = *alert->incident,
			    .n_locks = alert->n_locks,
			    .n_stuck = alert->n_waiters,
			    .pid = alert->process.pid,
			    .follows = alert->follows,
			    .time_ns = alert->time_ns };
	memcpy(t->stuck, alert->waiters, alert->n_waiters * sizeof(*alert->waiters));
	return shows;
}

static struct incidents *start(size_t limit, size_t victims)
{
	n_told = 0;
	shows = true;
	return incidents_new("abc", limit, victims, take, NULL);
}

static const struct told *last(size_t n)
{
	assert_int_equal(n_told, n);
	return &told[(n - 1) % SAID];
}

static struct process_info process_of(int32_t pid)
{
	return (struct process_info){ .pid = pid, .start_ticks = 100 + pid };
}

static struct thread_info thread_of(int32_t tid)
{
	return (struct thread_info){ .tid = tid, .ns_tid = tid, .start_ticks = 1000 + tid };
}

static struct lock_info lock_at(uint64_t address)
{
	return (struct lock_info){ .address = address };
}

static struct waiter_info waiter_of(int32_t tid, size_t lock)
{
	return (struct waiter_info){ .thread = thread_of(tid), .lock = lock };
}

/* A thread of process 10 died. */
static struct alert orphaned(int32_t tid, const char *id, const struct lock_info *locks, size_t n)
{
	struct alert alert = {
		.kind = ALERT_LOCK_ORPHANED,
		.time_ns = 100 * S,
		.process = process_of(10),
		.thread = thread_of(tid),
		.exit = { .reason = EXIT_RETURN, .time_ns = 100 * S },
		.locks = locks,
		.n_locks = n,
	};

	snprintf(alert.orphan_id, sizeof(alert.orphan_id), "%s", id);
	return alert;
}

static struct alert waits(int32_t tid, const char *id, const struct lock_info *lock)
{
	struct alert alert = {
		.kind = ALERT_ORPHAN_WAIT,
		.time_ns = 101 * S,
		.process = process_of(10),
		.thread = thread_of(tid),
		.owner = thread_of(OWNER),
		.exit = { .reason = EXIT_RETURN, .time_ns = 100 * S },
		.locks = lock,
		.n_locks = 1,
	};

	snprintf(alert.orphan_id, sizeof(alert.orphan_id), "%s", id);
	return alert;
}

static struct alert cleared(const char *id, const struct lock_info *lock, enum cleared_how how)
{
	struct alert alert = waits(OWNER, id, lock);

	alert.kind = ALERT_ORPHAN_CLEARED;
	alert.how = how;
	alert.time_ns = 110 * S;
	return alert;
}

static void a_thread_hangs(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct waiter_info waiter = waiter_of(12, 0);
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);
	const struct told *t;

	(void)state;
	alert.waiters = &waiter;
	alert.n_waiters = 1;
	incidents_take(incidents, &alert, 7);
	t = last(1);
	assert_string_equal(t->info.id, "abc:i1");
	assert_int_equal(t->info.revision, 1);
	assert_int_equal(t->info.state, INCIDENT_OPEN);
	assert_int_equal(t->severity, SEVERITY_CRITICAL);
	assert_int_equal(t->info.victims_count, 1);
	assert_int_equal(t->stuck[0].thread.tid, 12);
	assert_int_equal(t->stuck[0].lock, 0);
	assert_int_equal(t->info.dead[0].thread.tid, OWNER);
	assert_false(t->info.dead[0].has_cause);
	assert_int_equal(t->n_locks, 1);
	assert_int_equal(t->info.n_chain, 1);
	assert_int_equal(t->info.chain[0], 7);
	assert_false(t->follows);
	assert_int_equal(incidents_open(incidents), 1);

	alert = waits(12, "o1", &lock); /* the same thread again */
	incidents_take(incidents, &alert, 8);
	last(1);
	alert = cleared("o1", &lock, CLEARED_FOREIGN_UNLOCK);
	incidents_take(incidents, &alert, 9);
	t = last(2);
	assert_string_equal(t->info.id, "abc:i1");
	assert_int_equal(t->info.revision, 2);
	assert_int_equal(t->info.state, INCIDENT_CLOSED);
	assert_int_equal(t->info.close_reason, CLEARED_FOREIGN_UNLOCK);
	assert_true(t->follows);
	assert_int_equal(t->info.n_chain, 3);
	assert_int_equal(t->time_ns, 110 * S);
	assert_int_equal(incidents_open(incidents), 0);
	incidents_free(incidents);
}

/* An orphan that hurts nobody is none, until somebody comes. */
static void nobody_hangs(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info locks[] = { lock_at(0x1000), lock_at(0x2000) };
	struct alert alert = orphaned(OWNER, "o1", locks, 2);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 0);
	alert = waits(12, "o1", &locks[1]);
	alert.wait.has_timeout = true;
	incidents_take(incidents, &alert, 0);
	assert_int_equal(n_told, 0);
	alert = cleared("o1", &locks[0], CLEARED_GONE);
	incidents_take(incidents, &alert, 0);
	assert_int_equal(n_told, 0);
	alert = waits(12, "o1", &locks[1]);
	incidents_take(incidents, &alert, 0);
	t = last(1);
	assert_int_equal(t->n_locks, 2);
	assert_int_equal(t->stuck[0].lock, 1);
	assert_int_equal(t->info.n_chain, 0); /* nothing of it was shown */
	alert = cleared("o1", &locks[1], CLEARED_GONE);
	incidents_take(incidents, &alert, 0);
	assert_int_equal(last(2)->info.state, INCIDENT_CLOSED);

	alert = orphaned(OWNER, "o2", locks, 1);
	incidents_take(incidents, &alert, 0);
	alert = cleared("o2", &locks[0], CLEARED_GONE);
	incidents_take(incidents, &alert, 0);
	last(2); /* what did not open does not close */
	incidents_free(incidents);
}

/* Who gets a robust lock next is told and can repair it. */
static void robust_locks_hurt_nobody(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = { .address = 0x1000, .robust = true };
	struct waiter_info waiter = waiter_of(12, 0);
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);

	(void)state;
	alert.waiters = &waiter;
	alert.n_waiters = 1;
	alert.exit.reason = EXIT_CANCEL;
	incidents_take(incidents, &alert, 1);
	alert = waits(13, "o1", &lock);
	incidents_take(incidents, &alert, 2);
	assert_int_equal(n_told, 0);
	incidents_free(incidents);
}

static void killed_with_a_lock(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct cause_info cause = { .kind = CAUSE_THREAD_CANCEL, .seq = 3, .certain = true };
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);
	const struct told *t;

	(void)state;
	alert.exit.reason = EXIT_CANCEL;
	alert.cause = &cause;
	incidents_take(incidents, &alert, 5);
	t = last(1);
	assert_int_equal(t->severity, SEVERITY_WARNING);
	assert_int_equal(t->info.victims_count, 0);
	assert_true(t->info.dead[0].has_cause && t->info.dead[0].cause.certain);
	assert_int_equal(t->info.n_chain, 2);
	assert_int_equal(t->info.chain[0], 3); /* the cause is before the end */

	alert = (struct alert){ .kind = ALERT_THREAD_KILLED,
				.process = process_of(10),
				.thread = thread_of(OWNER) };
	incidents_take(incidents, &alert, 6);
	last(1); /* nothing new but a link */
	alert = waits(12, "o1", &lock);
	incidents_take(incidents, &alert, 8);
	t = last(2);
	assert_int_equal(t->info.state, INCIDENT_UPDATED);
	assert_int_equal(t->severity, SEVERITY_CRITICAL);
	assert_int_equal(t->info.n_chain, 4);
	incidents_free(incidents);
}

/* Each is counted; told at 1, 2, 5, 10, 20, 50. */
static void steps(void **state)
{
	static const uint64_t at[] = { 1, 2, 5, 10, 20, 50 };
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);
	int32_t tid;
	size_t i;

	(void)state;
	incidents_take(incidents, &alert, 0);
	for (tid = 100; tid < 160; tid++) {
		alert = waits(tid, "o1", &lock);
		incidents_take(incidents, &alert, 0);
	}
	assert_int_equal(n_told, 6);
	for (i = 0; i < 6; i++)
		assert_int_equal(told[i].info.victims_count, at[i]);
	assert_int_equal(told[5].n_stuck, INCIDENT_STUCK);
	alert = cleared("o1", &lock, CLEARED_PROCESS_EXIT);
	incidents_take(incidents, &alert, 0);
	assert_int_equal(last(7)->info.victims_count, 60);
	incidents_free(incidents);
}

/* Threads of a process that die together, and all their locks, are one story. */
static void one_story(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info locks[] = { lock_at(0x1000), lock_at(0x2000), lock_at(0x3000),
				     lock_at(0x4000) };
	const struct told *t;
	struct alert alert;

	(void)state;
	alert = orphaned(OWNER, "o1", &locks[0], 1);
	alert.exit.reason = EXIT_SECCOMP;
	incidents_take(incidents, &alert, 1);
	last(1);
	alert = orphaned(OWNER, "o2", &locks[1], 1); /* found later */
	incidents_take(incidents, &alert, 2);
	t = last(2);
	assert_int_equal(t->info.dead_count, 1);
	assert_int_equal(t->info.locks_count, 2);
	alert = orphaned(20, "o3", &locks[2], 1);
	alert.exit.time_ns = 100 * S + INCIDENT_NS;
	incidents_take(incidents, &alert, 3);
	t = last(3);
	assert_int_equal(t->info.dead_count, 2);
	assert_int_equal(t->info.dead[1].thread.tid, 20);
	assert_string_equal(t->info.id, "abc:i1");

	alert = orphaned(30, "o4", &locks[3], 1); /* long after */
	alert.exit.reason = EXIT_SECCOMP;
	alert.exit.time_ns = 100 * S + 2 * INCIDENT_NS + 1;
	incidents_take(incidents, &alert, 4);
	assert_string_equal(last(4)->info.id, "abc:i2");
	alert = orphaned(OWNER, "o5", &locks[0], 1); /* another process, the same numbers */
	alert.process.start_ticks++;
	alert.exit.reason = EXIT_SECCOMP;
	incidents_take(incidents, &alert, 5);
	assert_string_equal(last(5)->info.id, "abc:i3");

	alert = cleared("o1", &locks[0], CLEARED_GONE);
	incidents_take(incidents, &alert, 0);
	alert = cleared("o3", &locks[2], CLEARED_GONE);
	incidents_take(incidents, &alert, 0);
	last(5);
	alert = cleared("o2", &locks[1], CLEARED_PROCESS_EXIT);
	incidents_take(incidents, &alert, 0);
	t = last(6);
	assert_string_equal(t->info.id, "abc:i1");
	assert_int_equal(t->info.close_reason, CLEARED_PROCESS_EXIT);
	assert_int_equal(incidents_open(incidents), 2);
	incidents_free(incidents);
}

/* A shared lock: the dead are of one process, who hangs is of another, at another address. */
static void other_processes_hang(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = {
		.address = 0x1000, .shared = true, .device = 1, .inode = 2, .object_offset = 64
	};
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 1);
	lock.address = 0x9000;
	alert = waits(22, "o1", &lock);
	alert.owner_process = alert.process;
	alert.process = process_of(20);
	incidents_take(incidents, &alert, 2);
	t = last(1);
	assert_int_equal(t->pid, 10);
	assert_int_equal(t->stuck[0].process.pid, 20);
	assert_true(incidents_anybody_stuck(incidents));
	alert = cleared("o1", &lock, CLEARED_RECOVERED);
	incidents_take(incidents, &alert, 3);
	assert_int_equal(last(2)->info.close_reason, CLEARED_RECOVERED);
	incidents_free(incidents);
}

static struct alert fatal(enum alert_kind kind, int32_t number, bool ends)
{
	return (struct alert){ .kind = kind,
			       .time_ns = 100 * S,
			       .process = process_of(10),
			       .thread = thread_of(12),
			       .sender_process = process_of(30),
			       .sender_thread = thread_of(31),
			       .signal = { .number = number, .fatal = true, .ends = ends } };
}

static void a_signal_ends_the_process(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct alert alert = fatal(ALERT_TID_KILL, 15, true);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 4);
	t = last(1);
	assert_int_equal(t->severity, SEVERITY_CRITICAL);
	assert_true(t->info.killed);
	assert_int_equal(t->info.dead[0].exit.reason, EXIT_PROCESS_KILLED);
	assert_int_equal(t->info.dead[0].exit.signal, 15);
	assert_int_equal(t->info.dead[0].cause.kind, CAUSE_TID_KILL);
	assert_int_equal(t->info.dead[0].cause.sender_process.pid, 30);
	assert_true(t->info.dead[0].cause.certain);
	assert_int_equal(t->info.chain[0], 4);
	incidents_take(incidents, &alert, 5); /* the process is ending already */
	last(1);
	incidents_process_over(incidents, 10, 110, 15, 101 * S);
	t = last(2);
	assert_int_equal(t->info.state, INCIDENT_CLOSED);
	assert_int_equal(t->info.close_reason, CLEARED_PROCESS_EXIT);

	/* The end may be known before the signal is told. */
	incidents_process_over(incidents, 40, 140, 9, 101 * S);
	alert = fatal(ALERT_THREAD_SIGNAL, 9, true);
	alert.process = process_of(40);
	incidents_take(incidents, &alert, 6);
	t = last(4);
	assert_int_equal(t->info.state, INCIDENT_CLOSED);
	assert_int_equal(t->info.revision, 2);
	assert_int_equal(t->info.dead[0].cause.before_ns, S);
	assert_int_equal(incidents_open(incidents), 0);
	incidents_free(incidents);
}

/* A signal that dumps core, or one that was blocked: it is the end that tells. */
static void a_fatal_signal_may_end_it_later(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct alert alert = fatal(ALERT_THREAD_SIGNAL, 6, false);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 4);
	alert.signal.result = RESULT_IGNORED;
	alert.process = process_of(50);
	incidents_take(incidents, &alert, 5);
	assert_int_equal(n_told, 0);
	incidents_process_over(incidents, 50, 150, 6, 101 * S);
	assert_int_equal(n_told, 0); /* it was ignored */
	incidents_process_over(incidents, 10, 110, 6, 100 * S + 5000000);
	t = last(2);
	assert_int_equal(t->info.dead[0].cause.before_ns, 5000000);
	assert_false(t->info.dead[0].cause.certain);
	assert_int_equal(t->info.state, INCIDENT_CLOSED);

	/* Another signal, a plain exit, too late, another process: not by this one. */
	alert = fatal(ALERT_THREAD_SIGNAL, 6, false);
	alert.process = process_of(60);
	incidents_take(incidents, &alert, 4);
	incidents_process_over(incidents, 60, 160, 9, 101 * S);
	incidents_process_over(incidents, 60, 160, 0, 101 * S);
	incidents_process_over(incidents, 60, 160, 6, 100 * S + INCIDENT_NS + 1);
	incidents_process_over(incidents, 60, 161, 6, 101 * S);
	last(2);
	incidents_free(incidents);
}

/* Threads 12 to 19 are of process 10, 20 to 29 of process 20, and so on. */
static struct incident_edge edge(int32_t waiter, int32_t owner)
{
	static struct process_info process[10];
	int32_t of = waiter / 10 * 10, owned = owner / 10 * 10;

	process[of / 10] = process_of(of);
	return (struct incident_edge){ .process = &process[of / 10],
				       .owner_process = { .pid = owned,
							  .start_ticks = 100 + owned },
				       .waiter = thread_of(waiter),
				       .owner = thread_of(owner) };
}

/* Who waits for those who wait, however far. */
static void behind(void **state)
{
	const struct incident_edge edges[] = { edge(15, 14), edge(13, 12), edge(14, 13),
					       edge(40, 41), edge(41, 40) };
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 1);
	assert_false(incidents_anybody_stuck(incidents));
	alert = waits(12, "o1", &lock);
	incidents_take(incidents, &alert, 2);
	last(1);
	assert_true(incidents_anybody_stuck(incidents));
	/* What was seen before thread 12 was stuck says nothing of what it holds now. */
	incidents_behind(incidents, edges, 5, 101 * S - 1);
	last(1);
	incidents_behind(incidents, edges, 5, 102 * S);
	t = last(2);
	assert_int_equal(t->info.victims_count, 4);
	assert_int_equal(t->stuck[1].thread.tid, 13);
	assert_int_equal(t->stuck[1].behind.tid, 12);
	assert_int_equal(t->stuck[1].process.pid, 0);
	assert_int_equal(t->stuck[2].thread.tid, 14);
	assert_int_equal(t->stuck[3].behind.tid, 14);
	incidents_behind(incidents, edges, 5, 103 * S);
	last(2);
	incidents_free(incidents);
}

/* From process to process and back, whatever the order; each once, however many incidents there are. */
static void behind_in_other_processes(void **state)
{
	const struct incident_edge edges[] = { edge(14, 31), edge(31, 21), edge(21, 12),
					       edge(22, 41), edge(41, 22) };
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct alert alert = waits(12, "o1", &lock);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 1);
	incidents_behind(incidents, edges, 5, 102 * S);
	t = last(2);
	assert_int_equal(t->info.victims_count, 4);
	assert_int_equal(t->stuck[1].thread.tid, 21);
	assert_int_equal(t->stuck[1].process.pid, 20);
	assert_int_equal(t->stuck[1].behind.tid, 12);
	assert_int_equal(t->stuck[1].behind_process.pid, 10);
	assert_int_equal(t->stuck[2].process.pid, 30);
	assert_int_equal(t->stuck[2].behind_process.pid, 20);
	assert_int_equal(t->stuck[3].thread.tid, 14);
	assert_int_equal(t->stuck[3].process.pid, 0);
	assert_int_equal(t->stuck[3].behind_process.pid, 30);
	incidents_behind(incidents, edges, 5, 103 * S);
	last(2);
	incidents_free(incidents);
}

/* Of its end nobody tells: it is asked for, in time, and believed the second time. */
static size_t n_asked;
static bool may_ask;

static bool ask(void *context, int32_t pid, uint64_t start_ticks)
{
	(void)context;
	assert_int_equal(pid, 60);
	assert_int_equal(start_ticks, 160);
	n_asked++;
	return may_ask;
}

static void asked(struct incidents *incidents, uint64_t now_ns, size_t n)
{
	n_asked = 0;
	incidents_ask(incidents, now_ns, ask, NULL);
	assert_int_equal(n_asked, n);
}

static void an_end_is_not_told(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct alert alert = waits(12, "o1", &lock);
	const struct told *t;

	(void)state;
	incidents_take(incidents, &alert, 1); /* an incident of another kind */
	alert = fatal(ALERT_TID_KILL, 15, true);
	alert.process = process_of(60);
	incidents_take(incidents, &alert, 2);
	assert_int_equal(last(2)->info.state, INCIDENT_OPEN);
	asked(incidents, alert.time_ns + ENDING_NS - 1, 0);
	may_ask = false;
	asked(incidents, alert.time_ns + ENDING_NS, 1);
	may_ask = true;
	asked(incidents, alert.time_ns + ENDING_NS, 1);
	asked(incidents, alert.time_ns + ENDING_NS, 0); /* it has not been answered */
	incidents_answer(incidents, 60, 160, true, 105 * S);
	asked(incidents, 106 * S, 1);
	incidents_answer(incidents, 60, 160, false, 106 * S); /* another thread had it read wrong */
	asked(incidents, 107 * S, 1);
	incidents_answer(incidents, 60, 160, true, 107 * S);
	incidents_answer(incidents, 60, 161, true, 107 * S); /* another process */
	last(2);
	asked(incidents, 108 * S, 1);
	incidents_answer(incidents, 60, 160, true, 108 * S);
	t = last(3);
	assert_int_equal(t->info.state, INCIDENT_CLOSED);
	assert_int_equal(t->info.close_reason, CLEARED_GONE);
	assert_int_equal(t->time_ns, 108 * S);
	incidents_answer(incidents, 60, 160, true, 109 * S);
	incidents_process_over(incidents, 60, 160, 15, 110 * S); /* it was only late */
	asked(incidents, 111 * S, 0);
	last(3);
	assert_int_equal(incidents_open(incidents), 1);
	incidents_free(incidents);
}

static struct alert suspected(int32_t tid, const char *id, const struct lock_info *locks, size_t n)
{
	struct alert alert = orphaned(tid, id, locks, n);

	alert.kind = ALERT_LOCK_SUSPECTED;
	return alert;
}

/* Opens nothing, whoever waits, and adds nobody to the dead. What is proven later has it in its chain. */
static void suspicion_is_no_incident(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info locks[] = { lock_at(0x1000), lock_at(0x2000) };
	struct waiter_info waiter = waiter_of(12, 0);
	struct alert alert = suspected(OWNER, "o1", locks, 1);
	const struct told *t;

	(void)state;
	alert.waiters = &waiter;
	alert.n_waiters = 1;
	alert.exit.reason = EXIT_CANCEL;
	incidents_take(incidents, &alert, 1);
	alert = suspected(14, "o2", locks, 1); /* another thread that died in that second */
	incidents_take(incidents, &alert, 2);
	alert = suspected(OWNER, "o3", locks, 1); /* of another process */
	alert.process = process_of(20);
	incidents_take(incidents, &alert, 3);
	assert_int_equal(n_told, 0);
	alert = orphaned(OWNER, "o4", locks, 1);
	alert.waiters = &waiter;
	alert.n_waiters = 1;
	incidents_take(incidents, &alert, 4);
	t = last(1);
	assert_int_equal(t->info.n_chain, 2);
	assert_int_equal(t->info.chain[0], 1);
	assert_int_equal(t->info.chain[1], 4);
	assert_int_equal(t->info.dead_count, 1);
	assert_int_equal(t->info.locks_count, 1);
	/* Nor one that comes after it. */
	alert = suspected(OWNER, "o5", &locks[1], 1);
	incidents_take(incidents, &alert, 5);
	last(1);
	alert = cleared("o4", &locks[0], CLEARED_FOREIGN_UNLOCK);
	incidents_take(incidents, &alert, 6);
	t = last(2);
	assert_int_equal(t->info.state, INCIDENT_CLOSED);
	assert_int_equal(t->info.n_chain, 4);
	assert_int_equal(t->info.chain[2], 5);
	assert_int_equal(t->info.locks_count, 1);
	incidents_free(incidents);
}

/* Unlocked, or gone with its process: no link any more. */
static void suspicion_is_over(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info locks[] = { lock_at(0x1000), lock_at(0x2000) };
	struct alert alert = suspected(OWNER, "o1", locks, 2);

	(void)state;
	incidents_take(incidents, &alert, 1);
	alert = cleared("o1", &locks[0], CLEARED_FOREIGN_UNLOCK);
	incidents_take(incidents, &alert, 2);
	alert = waits(12, "o2", &locks[1]);
	incidents_take(incidents, &alert, 3);
	assert_int_equal(last(1)->info.n_chain, 2); /* the other lock may still be one */
	alert = suspected(21, "o3", locks, 1);
	alert.process = process_of(20);
	incidents_take(incidents, &alert, 4);
	alert = cleared("o3", &locks[0], CLEARED_GONE);
	incidents_take(incidents, &alert, 5);
	alert = orphaned(21, "o4", locks, 1);
	alert.process = process_of(20);
	alert.exit.reason = EXIT_CANCEL;
	incidents_take(incidents, &alert, 6);
	assert_int_equal(last(2)->info.n_chain, 1);
	assert_int_equal(incidents_lost(incidents), 0);
	incidents_free(incidents);
}

static void bounded(void **state)
{
	struct incidents *incidents = start(4, 6);
	struct lock_info lock = lock_at(0x1000);
	struct waiter_info waiter[10];
	struct alert alert;
	int32_t pid;
	size_t i;

	(void)state;
	/* Orphans that hurt nobody make room for each other. */
	for (pid = 100; pid < 200; pid++) {
		alert = orphaned(OWNER, "o1", &lock, 1);
		alert.process = process_of(pid);
		incidents_take(incidents, &alert, 0);
	}
	assert_int_equal(incidents_lost(incidents), 0);
	/* One that was forgotten opens by what its waiter tells. */
	alert = waits(12, "o1", &lock);
	alert.process = process_of(100);
	incidents_take(incidents, &alert, 0);
	assert_int_equal(last(1)->info.dead[0].thread.tid, OWNER);
	for (i = 0; i < 10; i++)
		waiter[i] = waiter_of(200 + i, 0);
	alert = orphaned(OWNER, "o2", &lock, 1);
	alert.waiters = waiter;
	alert.n_waiters = 10;
	incidents_take(incidents, &alert, 0);
	assert_int_equal(last(2)->info.victims_count, 5);
	assert_int_equal(incidents_lost(incidents), 5);
	for (pid = 300; pid < 303; pid++) {
		alert = orphaned(OWNER, "o3", &lock, 1);
		alert.process = process_of(pid);
		alert.exit.reason = EXIT_CANCEL;
		incidents_take(incidents, &alert, 0);
	}
	assert_int_equal(incidents_open(incidents), 4);
	assert_int_equal(incidents_lost(incidents), 6);
	/* A suspicion makes room for a later one, unless it is over. */
	for (pid = 1000; pid < 1000 + 1024 + 3; pid++) {
		alert = suspected(OWNER, "o4", &lock, 1);
		alert.process = process_of(pid);
		incidents_take(incidents, &alert, pid);
		if (pid == 1001)
			incidents_process_over(incidents, 1001, 1101, 0, 101 * S);
	}
	assert_int_equal(incidents_lost(incidents), 8);
	incidents_free(incidents);
}

/* What a filter hid when it opened goes through the filter again. */
static void not_shown(void **state)
{
	struct incidents *incidents = start(8, 100);
	struct lock_info lock = lock_at(0x1000);
	struct alert alert = orphaned(OWNER, "o1", &lock, 1);

	(void)state;
	shows = false;
	alert.exit.reason = EXIT_CANCEL;
	incidents_take(incidents, &alert, 0);
	alert = waits(12, "o1", &lock);
	incidents_take(incidents, &alert, 0);
	assert_false(last(2)->follows);
	shows = true;
	alert = waits(13, "o1", &lock);
	incidents_take(incidents, &alert, 0);
	assert_false(last(3)->follows);
	alert = cleared("o1", &lock, CLEARED_GONE);
	incidents_take(incidents, &alert, 0);
	assert_true(last(4)->follows);
	incidents_free(incidents);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_hangs),
		cmocka_unit_test(nobody_hangs),
		cmocka_unit_test(robust_locks_hurt_nobody),
		cmocka_unit_test(killed_with_a_lock),
		cmocka_unit_test(steps),
		cmocka_unit_test(one_story),
		cmocka_unit_test(other_processes_hang),
		cmocka_unit_test(a_signal_ends_the_process),
		cmocka_unit_test(a_fatal_signal_may_end_it_later),
		cmocka_unit_test(behind),
		cmocka_unit_test(behind_in_other_processes),
		cmocka_unit_test(an_end_is_not_told),
		cmocka_unit_test(suspicion_is_no_incident),
		cmocka_unit_test(suspicion_is_over),
		cmocka_unit_test(bounded),
		cmocka_unit_test(not_shown),
	};

	return cmocka_run_group_tests_name("incident", tests, NULL, NULL);
}
