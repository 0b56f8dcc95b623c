// SPDX-License-Identifier: GPL-2.0-only
/*
 * Verdicts, sentences, text, JSON and graph of inspections. The JSON lines go where test_alert.c's go:
 * tests/contract.py checks them against their schema.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "inspection.h"

#define NS_PER_S INT64_C(1000000000)

static const struct run run = {
	.boot_id = "3f9d1c52-7a46-4be1-9d27-60a1c5b7e8f4",
	.host = "db7",
	.boot_realtime_ns = 1763814660 * NS_PER_S,
};

/* A process that is put together thread by thread and lock by lock. */
struct fixture {
	struct inspection inspection;
	struct seen_thread threads[16];
	struct seen_lock locks[16];
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->inspection = (struct inspection){
		.process = { .pid = 4700, .start_ticks = 185520, .uid = -1, .comm = "web" },
		.libc = LIBC_GLIBC,
		.time_ns = 1763816591 * NS_PER_S,
		.apart_ns = NS_PER_S / 10,
		.threads = f->threads,
		.locks = f->locks,
	};
	return f;
}

static void fixture_free(struct fixture *f)
{
	f->inspection.threads = NULL;
	f->inspection.locks = NULL;
	inspection_free(&f->inspection);
	free(f);
}

static int thread_add(struct fixture *f, const char *name, enum wait_what what, int number)
{
	struct seen_thread *thread = &f->threads[f->inspection.n_threads];

	*thread = (struct seen_thread){
		.tgid = 4700,
		.info = { .tid = 4700 + (int)f->inspection.n_threads },
		.state = 'S',
		.wait = { .what = what, .number = number },
		.timeout_ns = -1,
		.lock = NOBODY,
		.joins = NOBODY,
	};
	thread->info.ns_tid = thread->info.tid;
	snprintf(thread->info.name, sizeof(thread->info.name), "%s", name);
	f->inspection.n_own = ++f->inspection.n_threads;
	return f->inspection.n_own - 1;
}

static int waiter_add(struct fixture *f, const char *name, int lock)
{
	int thread = thread_add(f, name, WAIT_LOCK, SYS_futex);

	f->threads[thread].lock = lock;
	f->threads[thread].wait.op = FUTEX_OP_PRIVATE;
	f->threads[thread].wait.val = 2;
	f->threads[thread].wait.word = 0x55d0c2f050e0 + 64 * lock;
	return thread;
}

static int lock_add(struct fixture *f, int owner, enum owner_state state)
{
	struct seen_lock *lock = &f->locks[f->inspection.n_locks];

	*lock = (struct seen_lock){
		.info = { .address = 0x55d0c2f050e0 + 64 * f->inspection.n_locks,
			  .type = LOCK_MUTEX,
			  .kind = LOCK_NORMAL,
			  .libc = LIBC_GLIBC,
			  .proof = PROOF_WAITER,
			  .owner_tid = owner == NOBODY ? 4799 : 4700 + owner,
			  .map_path = "/usr/bin/web",
			  .map_start = 0x55d0c2f04000,
			  .map_offset = 0x3000,
			  .symbol = "queue_lock" },
		.owner = owner,
		.owner_state = state,
	};
	if (state == OWNER_UNKNOWN) {
		lock->info.owner_tid = 0;
		lock->why = "it records no owner";
	}
	return f->inspection.n_locks++;
}

static void recorded(const char *line)
{
	const char *path = getenv("DEADHOLD_TEST_LINES");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (!file)
		return;
	fputs(line, file);
	fclose(file);
}

/* Every form can be made of it, and each is well-formed. */
static void assert_forms(const struct inspection *inspection)
{
	size_t len;
	char *json = inspection_json(inspection, &run, &len), *text, *dot;
	json_error_t error;
	json_t *parsed;

	assert_non_null(json);
	assert_int_equal(strlen(json), len);
	assert_ptr_equal(strchr(json, '\n'), json + len - 1);
	parsed = json_loads(json, JSON_REJECT_DUPLICATES, &error);
	assert_non_null(parsed);
	json_decref(parsed);
	recorded(json);
	free(json);
	for (int all = 0; all < 2; all++) {
		text = inspection_text(inspection, &run, all, &len);
		assert_non_null(text);
		for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
			assert_int_equal(strncmp(line, "  ", 2), 0);
			assert_true(strcspn(line, "\n") <= 80);
		}
		free(text);
	}
	dot = inspection_dot(inspection, &len);
	assert_non_null(dot);
	assert_int_equal(dot[len - 2], '}');
	free(dot);
}

static void assert_says(struct fixture *f, enum verdict verdict, const char *sentence)
{
	char *message;

	assert_int_equal(inspection_judge(&f->inspection), 0);
	assert_int_equal(f->inspection.verdict, verdict);
	message = inspection_message(&f->inspection);
	assert_string_equal(message, sentence);
	free(message);
	assert_forms(&f->inspection);
}

static void assert_text(struct fixture *f, const char *expected)
{
	size_t len;
	char *text = inspection_text(&f->inspection, &run, false, &len);

	assert_string_equal(text, expected);
	assert_int_equal(strlen(text), len);
	free(text);
}

static void ok(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	assert_says(f, VERDICT_OK, "web[4700]: its thread waits for no lock");
	for (int i = 0; i < 12; i++)
		thread_add(f, "idle", WAIT_CONDITION, SYS_futex);
	thread_add(f, "busy", WAIT_RUNS, -1);
	assert_says(f, VERDICT_OK, "web[4700]: none of its 14 threads waits for a lock");
	assert_text(f, "OK web[4700]: none of its 14 threads waits for a lock\n"
		       "  threads: 12 wait on a condition variable, 1 is in read, 1 runs\n");
	inspection_unclear(&f->inspection, "its memory could not be read", "what thread %d does",
			   4707);
	assert_says(f, VERDICT_OK,
		    "web[4700]: none of its 14 threads waits for a lock, as far as can be told");
	fixture_free(f);
}

static void orphan(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_DEAD);

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	waiter_add(f, "http-1", lock);
	waiter_add(f, "http-2", lock);
	assert_says(f, VERDICT_ORPHAN, "web[4700]: 2 threads wait for thread 4799, which is dead");
	assert_text(f, "ORPHANED LOCK web[4700]: 2 threads wait for thread 4799, which is dead\n"
		       "  lock 0x55d0c2f050e0: normal mutex, /usr/bin/web+0x40e0 (queue_lock)\n"
		       "    held by thread 4799, which has ended: nobody can unlock it\n"
		       "    stuck http-1 (tid 4701): for ever\n"
		       "    stuck http-2 (tid 4702): for ever\n"
		       "  the other threads: 1 is in read\n"
		       "  what to do: restart web; 'gcore 4700' first keeps the evidence\n");
	f->locks[lock].maybe_copied = true;
	assert_says(f, VERDICT_ORPHAN,
		    "web[4700]: 2 threads wait for thread 4799, which is not in this process");
	f->locks[lock].inherited = true;
	assert_says(f, VERDICT_ORPHAN,
		    "web[4700]: 2 threads wait for a mutex that fork copied locked");
	f->locks[lock].inherited = false;
	f->locks[lock].info.owner_tid = 0;
	f->locks[lock].info.proof = PROOF_OWNER_DIED;
	assert_says(f, VERDICT_ORPHAN, "web[4700]: 2 threads wait for a mutex whose owner is dead");
	fixture_free(f);
}

static void orphan_without_waiters(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_DEAD);

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	lock_add(f, NOBODY, OWNER_DEAD);
	for (; lock < 2; lock++) {
		f->locks[lock].found = true;
		f->locks[lock].info.proof = PROOF_SHAPE;
		f->locks[lock].info.evidence = EVIDENCE_FIELDS | EVIDENCE_SYMBOL;
	}
	assert_says(
		f, VERDICT_ORPHAN,
		"web[4700]: thread 4799 is dead and holds a mutex; nobody waits for it yet; 1 more "
		"orphaned lock");
	assert_false(inspection_is_proven(&f->inspection));
	fixture_free(f);
}

/* Threads that libc parked want a PI mutex of a dead owner, and nothing tells which. */
static void orphan_with_parked(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_DEAD), thread = thread_add(f, "web", WAIT_FUTEX, 0);
	size_t len;
	char *text;

	(void)state;
	f->threads[thread].parked = true;
	f->locks[lock].found = true;
	f->locks[lock].info.proof = PROOF_SHAPE;
	f->locks[lock].info.evidence = EVIDENCE_FIELDS | EVIDENCE_SYMBOL;
	assert_says(f, VERDICT_ORPHAN,
		    "web[4700]: thread 4799 is dead and holds a mutex; nobody waits for it yet");
	f->locks[lock].info.type = LOCK_PI_MUTEX;
	assert_says(
		f, VERDICT_ORPHAN,
		"web[4700]: thread 4799 is dead and holds a priority-inheritance mutex; 1 thread "
		"may wait for it");
	text = inspection_text(&f->inspection, &run, false, &len);
	assert_non_null(strstr(text, "nobody is seen to wait for it; known by the looks"));
	free(text);
	fixture_free(f);
}

/* The search has ended at its limit: nobody knows how many there are. */
static void too_many_orphans(void **state)
{
	struct fixture *f = fixture_new();
	size_t len;
	char *text;

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	for (int i = 0; i < 11; i++) {
		struct seen_lock *lock = &f->locks[lock_add(f, NOBODY, OWNER_DEAD)];

		lock->found = true;
		lock->info.proof = PROOF_SHAPE;
		lock->info.evidence = EVIDENCE_FIELDS | EVIDENCE_SYMBOL;
	}
	f->inspection.more_finds = true;
	assert_says(f, VERDICT_ORPHAN,
		    "web[4700]: thread 4799 is dead and holds a mutex; nobody waits for it yet; at "
		    "least 10 more orphaned locks");
	text = inspection_text(&f->inspection, &run, false, &len);
	assert_non_null(strstr(text, "  and at least 3 more locks of dead threads, nobody waits "
				     "there:"));
	free(text);
	fixture_free(f);
}

/* What shape alone tells is told as what it is. */
static void suspected(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_DEAD);

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	f->inspection.census =
		(struct census_info){ .bytes.scanned = 812345678, .seconds = 0.4, .full = true };
	f->locks[lock].found = f->locks[lock].suspected = true;
	f->locks[lock].info.proof = PROOF_SHAPE;
	f->locks[lock].info.evidence = EVIDENCE_FIELDS | EVIDENCE_ALONE;
	f->locks[lock].info.symbol[0] = '\0';
	assert_says(f, VERDICT_OK, "web[4700]: its thread waits for no lock");
	assert_text(f,
		    "OK web[4700]: its thread waits for no lock\n"
		    "  maybe a lock 0x55d0c2f050e0: normal mutex, /usr/bin/web+0x40e0\n"
		    "    if it is one, it was held by thread 4799, which has ended\n"
		    "    nobody waits for it; known by the looks of memory: valid-fields, alone\n"
		    "  the other threads: 1 is in read\n");
	f->locks[lock].suspected = false;
	inspection_judge(&f->inspection);
	assert_int_equal(f->inspection.verdict, VERDICT_ORPHAN);
	assert_false(inspection_is_proven(&f->inspection));
	assert_forms(&f->inspection);
	f->inspection.census.full = false;
	assert_forms(&f->inspection);
	waiter_add(f, "http-1", lock);
	inspection_judge(&f->inspection);
	assert_true(inspection_is_proven(&f->inspection));
	fixture_free(f);
}

static int gil_waiter_add(struct fixture *f, const char *name)
{
	int thread = thread_add(f, name, WAIT_GIL, SYS_futex);

	f->threads[thread].wait.op = FUTEX_OP_WAIT_BITSET | FUTEX_OP_PRIVATE;
	f->threads[thread].wait.word = 0x7f811de00048;
	f->threads[thread].wait.timeout = 0x7ffd00001000; /* five milliseconds */
	f->threads[thread].gil = 0x7f811de00000;
	return thread;
}

static struct seen_gil *gil_add(struct fixture *f, int holder, bool asleep)
{
	struct seen_gil *gil = &f->inspection.gils[f->inspection.n_gils++];

	*gil = (struct seen_gil){ 0x7f811de00000, holder, asleep, 0 };
	return gil;
}

/* Who holds Python's GIL: a program at work is not blocked by it, one whose holder sleeps is. */
static void gil(void **state)
{
	struct fixture *f = fixture_new();
	int holder = thread_add(f, "python3", WAIT_RUNS, -1);
	struct seen_gil *gil;

	(void)state;
	gil_waiter_add(f, "http-1");
	assert_says(f, VERDICT_OK, "web[4700]: none of its 2 threads waits for a lock but the GIL");
	gil = gil_add(f, holder, false);
	assert_says(f, VERDICT_OK, "web[4700]: none of its 2 threads waits for a lock but the GIL");
	assert_text(f, "OK web[4700]: none of its 2 threads waits for a lock but the GIL\n"
		       "  GIL: held by main thread (tid 4700), which runs; 1 thread waits for it\n"
		       "  threads: 1 runs, 1 waits for the GIL\n");
	f->threads[holder].wait = (struct wait){ .what = WAIT_CALL, .number = SYS_read };
	gil->asleep = true;
	gil_waiter_add(f, "http-2");
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 2 threads wait for the GIL: main thread holds it, and is in read");
	assert_false(inspection_is_proven(&f->inspection));
	assert_text(
		f, "BLOCKED web[4700]: 2 threads wait for the GIL: main thread holds it, and is in "
		   "read\n"
		   "  GIL: held by main thread (tid 4700), which is in read and did not run; 2\n"
		   "        threads wait for it, and can't run Python code before it is released\n"
		   "  threads: 2 wait for the GIL, 1 is in read\n");
	/* Nobody waits for another one. */
	f->inspection.gils[0].address += 64;
	assert_says(f, VERDICT_OK, "web[4700]: none of its 3 threads waits for a lock but the GIL");
	fixture_free(f);
}

/* It waits for a lock with the GIL, and who holds the lock waits for the GIL. */
static void gil_deadlock(void **state)
{
	struct fixture *f = fixture_new();
	int leader = thread_add(f, "web", WAIT_CALL, SYS_read), first = gil_waiter_add(f, "first");
	int second = waiter_add(f, "second", lock_add(f, first, OWNER_ALIVE));

	(void)state, (void)leader;
	gil_waiter_add(f, "third");
	gil_add(f, second, false);
	inspection_judge(&f->inspection);
	assert_int_equal(f->inspection.verdict, VERDICT_BLOCKED);
	assert_forms(&f->inspection);
	f->inspection.gils[0].asleep = true;
	assert_says(f, VERDICT_DEADLOCK,
		    "web[4700]: first[4701] and second[4702] wait for each other, 1 more behind");
	assert_true(inspection_is_proven(&f->inspection));
	assert_text(
		f,
		"DEADLOCK web[4700]: first[4701] and second[4702] wait for each other, 1 "
		"more behind\n"
		"  first (tid 4701) waits for the GIL, which second[4702] holds\n"
		"  second (tid 4702) waits for lock 0x55d0c2f050e0, which first[4701] holds\n"
		"  lock 0x55d0c2f050e0: normal mutex, /usr/bin/web+0x40e0 (queue_lock)\n"
		"  GIL: held by second (tid 4702), which waits for lock 0x55d0c2f050e0 and did\n"
		"        not run; 2 threads wait for it, and can't run Python code before it is\n"
		"        released\n"
		"  the other threads: 1 is in read, 1 waits for the GIL\n"
		"  what to do: restart web; 'gcore 4700' first keeps the evidence\n");
	fixture_free(f);
}

static size_t count_of(const char *text, const char *words)
{
	size_t n = 0;

	for (; (text = strstr(text, words)); text++)
		n++;
	return n;
}

/* One object again and again is one piece of news. What somebody waits for comes first. */
static void many_suspected(void **state)
{
	struct fixture *f = fixture_new();
	char *brief, *full;
	size_t len;
	int lock;

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	for (size_t i = 0; i < 5; i++) {
		lock = lock_add(f, NOBODY, OWNER_DEAD);
		f->locks[lock].found = f->locks[lock].suspected = true;
		f->locks[lock].info.proof = PROOF_SHAPE;
		f->locks[lock].info.evidence = EVIDENCE_FIELDS;
	}
	waiter_add(f, "http-1", lock_add(f, NOBODY, OWNER_UNKNOWN));
	inspection_judge(&f->inspection);
	assert_forms(&f->inspection);
	brief = inspection_text(&f->inspection, &run, false, &len);
	full = inspection_text(&f->inspection, &run, true, &len);
	assert_int_equal(count_of(brief, "\n  maybe a lock 0x"), 3);
	assert_true(strstr(brief, "\n  lock 0x") < strstr(brief, "\n  maybe a lock 0x"));
	assert_non_null(
		strstr(brief, "\n  and 2 more places in memory that look like locks, nobody"));
	assert_int_equal(count_of(full, "\n  maybe a lock 0x"), 5);
	assert_null(strstr(full, " more place"));
	free(brief);
	free(full);
	f->inspection.n_locks = 4;
	f->inspection.n_threads = f->inspection.n_own = 1;
	inspection_judge(&f->inspection);
	brief = inspection_text(&f->inspection, &run, false, &len);
	assert_non_null(
		strstr(brief, "\n  and 1 more place in memory that looks like a lock, nobody"));
	free(brief);
	fixture_free(f);
}

/* The kernel gives a robust lock to the next thread; only what it overlooked is an orphan. */
static void robust(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_DEAD);

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	f->locks[lock].info.type = LOCK_ROBUST_MUTEX;
	f->locks[lock].info.robust = true;
	f->locks[lock].owner_died = true;
	waiter_add(f, "http-1", lock);
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 1 thread waits for a robust lock whose owner is dead");
	f->locks[lock].owner_died = false;
	assert_says(f, VERDICT_ORPHAN, "web[4700]: 1 thread waits for thread 4799, which is dead");
	fixture_free(f);
}

static void deadlock(void **state)
{
	struct fixture *f = fixture_new();
	int a, b;

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	a = lock_add(f, 1, OWNER_ALIVE);
	b = lock_add(f, 2, OWNER_ALIVE);
	waiter_add(f, "left", b);
	waiter_add(f, "right", a);
	assert_says(f, VERDICT_DEADLOCK,
		    "web[4700]: left[4701] and right[4702] wait for each other");
	assert_text(f, "DEADLOCK web[4700]: left[4701] and right[4702] wait for each other\n"
		       "  left (tid 4701) waits for lock 0x55d0c2f05120, which right[4702] holds\n"
		       "  right (tid 4702) waits for lock 0x55d0c2f050e0, which left[4701] holds\n"
		       "  lock 0x55d0c2f05120: normal mutex, /usr/bin/web+0x4120 (queue_lock)\n"
		       "  lock 0x55d0c2f050e0: normal mutex, /usr/bin/web+0x40e0 (queue_lock)\n"
		       "  the other threads: 1 is in read\n"
		       "  what to do: restart web; 'gcore 4700' first keeps the evidence\n");
	waiter_add(f, "third", a);
	assert_says(f, VERDICT_DEADLOCK,
		    "web[4700]: left[4701] and right[4702] wait for each other, 1 more behind");
	f->threads[1].wait.timeout = 1;
	f->threads[1].has_timeout = true;
	assert_says(
		f, VERDICT_BLOCKED,
		"web[4700]: left[4701] and right[4702] wait for each other, until one gives up");
	fixture_free(f);
}

static void deadlock_with_itself(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, 0, OWNER_ALIVE);

	(void)state;
	waiter_add(f, "web", lock);
	assert_says(f, VERDICT_DEADLOCK,
		    "web[4700]: main thread waits for a mutex that it holds itself");
	fixture_free(f);
}

static void blocked(void **state)
{
	struct fixture *f = fixture_new();
	int lock;

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_clock_nanosleep);
	lock = lock_add(f, 0, OWNER_ALIVE);
	waiter_add(f, "http-1", lock);
	waiter_add(f, "http-2", lock);
	f->threads[2].wait.timeout = 1;
	f->threads[2].has_timeout = true;
	f->threads[2].timeout_ns = 5 * NS_PER_S;
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 2 threads wait for main thread, which is in clock_nanosleep");
	assert_text(f, "BLOCKED web[4700]: 2 threads wait for main thread, which is in "
		       "clock_nanosleep\n"
		       "  lock 0x55d0c2f050e0: normal mutex, /usr/bin/web+0x40e0 (queue_lock)\n"
		       "    held by main thread (tid 4700), which is in clock_nanosleep\n"
		       "    waiting http-1 (tid 4701): without a timeout\n"
		       "    waiting http-2 (tid 4702): gives up after 5.0 s\n"
		       "  the other threads: 1 is in clock_nanosleep\n");
	fixture_free(f);
}

static void blocked_by_nobody_known(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_UNKNOWN);

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	waiter_add(f, "http-1", lock);
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 1 thread waits for a lock whose owner is not known");
	f->locks[lock].readers = 3;
	f->locks[lock].info.type = LOCK_RWLOCK;
	f->locks[lock].info.kind = LOCK_KIND_NONE;
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 1 thread waits for an rwlock that 3 readers hold");
	waiter_add(f, "http-2", lock_add(f, NOBODY, OWNER_UNKNOWN));
	waiter_add(f, "http-3", lock);
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 2 threads wait for an rwlock that 3 readers hold; 1 more thread "
		    "waits for other locks");
	waiter_add(f, "http-4", lock_add(f, 0, OWNER_ALIVE));
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 2 threads wait for an rwlock that 3 readers hold; 2 more threads "
		    "wait for other locks");
	fixture_free(f);
}

static void owner_elsewhere(void **state)
{
	struct fixture *f = fixture_new();
	int lock, owner;

	(void)state;
	thread_add(f, "web", WAIT_CALL, SYS_read);
	lock = lock_add(f, 2, OWNER_ALIVE);
	waiter_add(f, "http-1", lock);
	owner = thread_add(f, "flush", WAIT_CALL, SYS_fsync);
	f->threads[owner].tgid = 812;
	f->threads[owner].state = 'D';
	f->inspection.n_own--;
	f->locks[lock].info.shared = true;
	f->locks[lock].info.inode = 77;
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 1 thread waits for flush[4702] of process 812, which is in fsync, "
		    "not interruptible");
	fixture_free(f);
}

static void stopped(void **state)
{
	struct fixture *f = fixture_new();
	char does[WAIT_WORDS_BYTES];
	int idle, owner;

	(void)state;
	thread_add(f, "web", WAIT_STOPPED, -1);
	idle = thread_add(f, "worker", WAIT_CONDITION, SYS_futex);
	f->threads[0].state = 'T';
	f->threads[idle].wait.stopped = true;
	f->threads[idle].state = 't';
	assert_string_equal(inspection_wait(&f->inspection, idle, 1, does),
			    "waits on a condition variable");
	assert_says(f, VERDICT_OK,
		    "web[4700]: stopped by a signal or a debugger; none of its 2 threads waits for "
		    "a lock");
	fixture_free(f);

	f = fixture_new();
	owner = thread_add(f, "web", WAIT_CONDITION, SYS_futex);
	f->threads[owner].wait.stopped = true;
	f->threads[owner].state = 't';
	waiter_add(f, "worker", lock_add(f, owner, OWNER_ALIVE));
	assert_says(f, VERDICT_BLOCKED,
		    "web[4700]: 1 thread waits for main thread, which waits on a condition "
		    "variable (stopped)");
	fixture_free(f);
}

static void asleep(void **state)
{
	struct fixture *f = fixture_new();
	int owner = thread_add(f, "web", WAIT_CALL, SYS_read),
	    lock = lock_add(f, owner, OWNER_ALIVE);
	size_t len;
	char *text;

	(void)state;
	f->threads[waiter_add(f, "long", lock)].asleep_ns = 18ull * 60 * 1000000000;
	f->threads[waiter_add(f, "short", lock)].asleep_ns = 999999999;
	f->threads[owner].asleep_ns = 3ull * 3600 * 1000000000;
	waiter_add(f, "unknown", lock);
	assert_int_equal(inspection_judge(&f->inspection), 0);
	text = inspection_text(&f->inspection, &run, false, &len);
	assert_non_null(
		strstr(text, "long (tid 4701): without a timeout, asleep for 18 min or longer\n"));
	assert_non_null(strstr(text, "short (tid 4702): without a timeout\n"));
	assert_non_null(strstr(text, "which is in read, asleep for 3 h or longer\n"));
	assert_non_null(strstr(text, "unknown (tid 4703): without a timeout\n"));
	free(text);
	text = inspection_json(&f->inspection, &run, &len);
	assert_non_null(strstr(text, "\"asleep_ns\":\"1080000000000\""));
	free(text);
	assert_forms(&f->inspection);
	fixture_free(f);
}

/* Every wait can be put into words. */
static void all_waits(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	for (int what = 0; what < WAIT_WHATS; what++) {
		int thread = thread_add(f, "a\"\x1b\\\xff<", what,
					what >= WAIT_FUTEX ? SYS_futex : 1);

		if (what == WAIT_JOIN)
			f->threads[thread].joins = 0;
	}
	thread_add(f, "other", WAIT_CALL, 123456);
	f->threads[3].state = 'Z';
	inspection_judge(&f->inspection);
	assert_int_equal(f->inspection.verdict, VERDICT_OK);
	assert_forms(&f->inspection);
	fixture_free(f);
}

static void prune(void **state)
{
	struct fixture *f = fixture_new();
	int gone = lock_add(f, NOBODY, OWNER_DEAD), found = lock_add(f, NOBODY, OWNER_DEAD);
	int kept = lock_add(f, NOBODY, OWNER_DEAD);

	(void)state;
	(void)gone;
	f->locks[found].found = true;
	waiter_add(f, "http-1", kept);
	inspection_prune(&f->inspection);
	assert_int_equal(f->inspection.n_locks, 2);
	assert_true(f->locks[0].found);
	assert_int_equal(f->threads[0].lock, 1);
	assert_int_equal(f->locks[1].info.address, 0x55d0c2f050e0 + 64 * kept);
	fixture_free(f);
}

/* Nobody wants ten thousand boxes. */
static void graph_of_many(void **state)
{
	struct fixture *f = fixture_new();
	int lock = lock_add(f, NOBODY, OWNER_DEAD);
	size_t len;
	char *dot;

	(void)state;
	for (int i = 0; i < 12; i++)
		waiter_add(f, "http", lock);
	inspection_judge(&f->inspection);
	dot = inspection_dot(&f->inspection, &len);
	assert_non_null(strstr(dot, "label=\"4 more\""));
	assert_null(strstr(dot, "t4709 ["));
	free(dot);
	fixture_free(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ok),
		cmocka_unit_test(orphan),
		cmocka_unit_test(orphan_without_waiters),
		cmocka_unit_test(orphan_with_parked),
		cmocka_unit_test(too_many_orphans),
		cmocka_unit_test(suspected),
		cmocka_unit_test(many_suspected),
		cmocka_unit_test(gil),
		cmocka_unit_test(gil_deadlock),
		cmocka_unit_test(robust),
		cmocka_unit_test(deadlock),
		cmocka_unit_test(deadlock_with_itself),
		cmocka_unit_test(blocked),
		cmocka_unit_test(blocked_by_nobody_known),
		cmocka_unit_test(owner_elsewhere),
		cmocka_unit_test(stopped),
		cmocka_unit_test(asleep),
		cmocka_unit_test(all_waits),
		cmocka_unit_test(prune),
		cmocka_unit_test(graph_of_many),
	};

	return cmocka_run_group_tests_name("inspection", tests, NULL, NULL);
}
