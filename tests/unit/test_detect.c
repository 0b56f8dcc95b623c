// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "detect.h"

#define TICK_NS 10000000ull
#define WORD	0x7f0000001000ull

static const struct ev_task task = {
	.proc = { .tgid = 4700, .exec_id = 3, .start_ns = 1234567890 },
	.start_ns = 2234567890,
	.tid = 4712,
	.ns_tid = 12,
	.ns_tgid = 7,
	.pid_ns = 4026532000,
	.ppid = 1,
	.uid = 33,
	.comm = "worker-3",
	.proc_comm = "sixteen-bytes-ab", /* no terminator, as a hostile kernel might leave it */
};

static void tasks(void **state)
{
	struct process_info process;
	struct thread_info thread;

	(void)state;
	detect_process(&process, &task, TICK_NS);
	assert_int_equal(process.pid, 4700);
	assert_int_equal(process.ns_pid, 7);
	assert_int_equal(process.start_ticks, 123);
	assert_int_equal(process.uid, 33);
	assert_string_equal(process.comm, "sixteen-bytes-ab");
	assert_string_equal(process.exe, "");
	detect_thread(&thread, &task, TICK_NS);
	assert_int_equal(thread.tid, 4712);
	assert_int_equal(thread.ns_tid, 12);
	assert_int_equal(thread.start_ticks, 223);
	assert_string_equal(thread.name, "worker-3");
}

static void exit_reasons(void **state)
{
	static const struct {
		uint32_t flags, exit_code, libc_end;
		int32_t syscall;
		enum exit_reason reason;
	} cases[] = {
		{ 0, 0, END_LIBC, SYS_exit, EXIT_RETURN },
		{ 0, 0, END_CANCEL, SYS_exit, EXIT_CANCEL },
		{ 0, 7 << 8, END_RAW, SYS_exit, EXIT_RAW },
		/* In a thread that libc did not make a raw exit is the ordinary end. */
		{ 0, 0, END_UNKNOWN, SYS_exit, EXIT_UNKNOWN },
		{ 0, 0, END_RAW, -1, EXIT_UNKNOWN },
		{ 0, 31, END_RAW, SYS_getpid, EXIT_SECCOMP },
		{ 0, 11, END_RAW, -1, EXIT_UNKNOWN }, /* a kernel oops kills one task so */
		{ EXIT_IN_GROUP, 0, END_LIBC, SYS_exit, EXIT_PROCESS_EXIT },
		{ EXIT_IN_GROUP, 9, END_UNKNOWN, -1, EXIT_PROCESS_KILLED },
		{ EXIT_IN_GROUP, 0x80 | 11, END_UNKNOWN, -1,
		  EXIT_PROCESS_KILLED }, /* dumped core */
		{ EXIT_IN_EXEC, 9, END_UNKNOWN, -1, EXIT_EXEC },
		{ EXIT_NO_CODE, 0, END_RAW, SYS_getpid, EXIT_UNKNOWN },
		{ EXIT_UNREADABLE, 0, END_UNKNOWN, SYS_exit, EXIT_UNKNOWN },
	};
	struct exit_info end;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ev_exit ev = { .flags = cases[i].flags,
				      .exit_code = cases[i].exit_code,
				      .libc_end = cases[i].libc_end,
				      .syscall = cases[i].syscall };

		ev.head.time_ns = 99;
		detect_exit(&end, &ev);
		assert_int_equal(end.reason, cases[i].reason);
		assert_int_equal(end.time_ns, 99);
		assert_int_equal(end.signal, cases[i].exit_code & 0x7f);
		assert_int_equal(end.has_code,
				 !(cases[i].exit_code & 0x7f) && !(cases[i].flags & EXIT_NO_CODE));
		if (end.has_code)
			assert_int_equal(end.code, cases[i].exit_code >> 8);
	}
}

static void signals(void **state)
{
	struct ev_signal ev = { .sender = task,
				.target = task,
				.signal = 15,
				.code = -6,
				.call = SEND_TGKILL,
				.flags = SIGNAL_HAS_CODE | SIGNAL_FATAL };
	struct signal_info info;

	(void)state;
	assert_int_equal(detect_signal(&info, &ev, LIBC_GLIBC), ALERT_THREAD_SIGNAL);
	assert_int_equal(info.scope, SCOPE_THREAD);
	assert_int_equal(info.call, CALL_TGKILL);
	assert_int_equal(info.result, RESULT_QUEUED);
	assert_true(info.fatal);
	assert_true(info.from_same_process);

	ev.flags |= SIGNAL_GROUP | SIGNAL_NO_SENDER;
	ev.call = SEND_KILL;
	ev.result = 3;
	assert_int_equal(detect_signal(&info, &ev, LIBC_GLIBC), ALERT_TID_KILL);
	assert_int_equal(info.scope, SCOPE_PROCESS);
	assert_int_equal(info.result, RESULT_FAILED);
	assert_int_equal(info.error, EAGAIN);
	assert_false(info.from_same_process);
	ev.result = 1;
	detect_signal(&info, &ev, LIBC_GLIBC);
	assert_int_equal(info.result, RESULT_IGNORED);
	ev.result = 2;
	detect_signal(&info, &ev, LIBC_GLIBC);
	assert_int_equal(info.result, RESULT_ALREADY_PENDING);
	ev.result = 4; /* its siginfo was lost, the signal was not */
	detect_signal(&info, &ev, LIBC_GLIBC);
	assert_int_equal(info.result, RESULT_QUEUED);
}

static void lock_types(void **state)
{
	static const struct {
		uint32_t layout, kind;
		enum lock_type type;
		enum lock_kind expected;
		enum lock_libc libc;
	} cases[] = {
		{ LAYOUT_GLIBC_MUTEX, 0, LOCK_MUTEX, LOCK_NORMAL, LIBC_GLIBC },
		{ LAYOUT_GLIBC_MUTEX, 128 | 1, LOCK_MUTEX, LOCK_RECURSIVE, LIBC_GLIBC },
		{ LAYOUT_GLIBC_MUTEX, 2, LOCK_MUTEX, LOCK_ERRORCHECK, LIBC_GLIBC },
		{ LAYOUT_GLIBC_MUTEX, 3, LOCK_MUTEX, LOCK_ADAPTIVE, LIBC_GLIBC },
		{ LAYOUT_GLIBC_ROBUST, 144, LOCK_ROBUST_MUTEX, LOCK_NORMAL, LIBC_GLIBC },
		{ LAYOUT_GLIBC_PI, 32, LOCK_PI_MUTEX, LOCK_NORMAL, LIBC_GLIBC },
		{ LAYOUT_GLIBC_RWLOCK_8, 0, LOCK_RWLOCK, LOCK_KIND_NONE, LIBC_GLIBC },
		{ LAYOUT_GLIBC_RWLOCK_12, 0, LOCK_RWLOCK, LOCK_KIND_NONE, LIBC_GLIBC },
		{ LAYOUT_MUSL_MUTEX, 1, LOCK_MUTEX, LOCK_RECURSIVE, LIBC_MUSL },
		{ LAYOUT_MUSL_MUTEX, 4, LOCK_ROBUST_MUTEX, LOCK_NORMAL, LIBC_MUSL },
		{ LAYOUT_MUSL_MUTEX, 8 | 2, LOCK_PI_MUTEX, LOCK_ERRORCHECK, LIBC_MUSL },
		{ LAYOUT_GLIBC_STDIO, 0, LOCK_STDIO, LOCK_KIND_NONE, LIBC_GLIBC },
		{ LAYOUT_PI_FUTEX, 0, LOCK_FUTEX, LOCK_KIND_NONE, LIBC_UNKNOWN },
		{ LAYOUT_TRISTATE, 0, LOCK_FUTEX, LOCK_KIND_NONE, LIBC_UNKNOWN },
	};
	struct lock_info info;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lock_state lock = { .address = WORD,
					   .owner = 12,
					   .recursion = 3,
					   .kind = cases[i].kind,
					   .layout = cases[i].layout };

		detect_lock(&info, &lock, PROOF_WAITER, LIBC_UNKNOWN);
		assert_int_equal(info.type, cases[i].type);
		assert_int_equal(info.kind, cases[i].expected);
		assert_int_equal(info.libc, cases[i].libc);
		assert_int_equal(info.owner_tid, 12);
		assert_int_equal(info.recursion, 3);
		assert_false(info.shared); /* the mapping says that, not the kind */
	}
}

static void left_by(void **state)
{
	struct lock_state lock = { .owner = 12, .held = 1 };

	(void)state;
	assert_true(detect_left_by(&lock, 12));
	assert_false(detect_left_by(&lock, 13));
	lock.held = 0;
	assert_false(detect_left_by(&lock, 12));
	lock = (struct lock_state){ .held = 1, .owner_died = 1 };
	assert_true(detect_left_by(&lock, 12)); /* libc's mark names nobody */
	lock.owner_died = 0;
	assert_false(detect_left_by(&lock, 0));
	lock.layout = LAYOUT_TRISTATE; /* names nobody: who left it was inferred */
	assert_true(detect_left_by(&lock, 12));
	lock.layout = LAYOUT_PYTHON_LOCK;
	assert_true(detect_left_by(&lock, 12));
	lock.held = 0;
	assert_false(detect_left_by(&lock, 12));
}

static struct lock_words mutex_words(uint32_t word, uint32_t owner, uint32_t nusers, uint32_t kind)
{
	struct lock_words words = { .have_at = LOCK_WORDS_FROM, .have_before = 1 };

	words.at[0] = word;
	words.at[2] = owner;
	words.at[3] = nusers;
	words.at[4] = kind;
	return words;
}

static void inferred_orphans_end(void **state)
{
	struct lock_words words = mutex_words(2, 12, 1, 0);
	enum cleared_how how;

	(void)state;
	assert_int_equal(detect_orphan(LAYOUT_TRISTATE, WORD, 12, 0, &words, &how), ORPHAN_STILL);
	words.at[0] = 0;
	assert_int_equal(detect_orphan(LAYOUT_TRISTATE, WORD, 12, 0, &words, &how), ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
	words.at[0] = 3;
	assert_int_equal(detect_orphan(LAYOUT_TRISTATE, WORD, 12, 0, &words, &how), ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_GONE);
}

static void orphans_end(void **state)
{
	struct lock_words words = mutex_words(2, 12, 1, 0);
	enum cleared_how how;

	(void)state;
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_MUTEX, WORD, 12, 0, &words, &how),
			 ORPHAN_STILL);
	/* The window of an unlock: the owner is cleared before the word. */
	words = mutex_words(2, 0, 1, 0);
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_MUTEX, WORD, 12, 0, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
	words = mutex_words(1, 13, 1, 0); /* unlocked, and another one took it */
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_MUTEX, WORD, 12, 0, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
	words = mutex_words(0x12345678, 12, 1, 0); /* the memory is something else by now */
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_MUTEX, WORD, 12, 0, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_GONE);
	words.have_at = 0;
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_MUTEX, WORD, 12, 0, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_GONE);

	/* Robust: the kernel takes the TID away and marks the word; then a locker recovers it. */
	words = mutex_words(FUTEX_WORD_OWNER_DIED, 12, 1, 144);
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_ROBUST, WORD, 12, 0, &words, &how),
			 ORPHAN_STILL);
	words = mutex_words(13, 13, 1, 144);
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_ROBUST, WORD, 12, 0, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_RECOVERED);

	/* stdio: as long as it names the descriptor, whoever has that by now. */
	words = mutex_words(2, 0x1230, 0x7f45, 0);
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_STDIO, WORD, 12, 0x7f4500001230, &words, &how),
			 ORPHAN_STILL);
	words.have_thread = 1;
	words.thread_tid = 13;
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_STDIO, WORD, 12, 0x7f4500001230, &words, &how),
			 ORPHAN_STILL);
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_STDIO, WORD, 12, 0x7f4500004560, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
	words = mutex_words(0, 0, 0, 0);
	assert_int_equal(detect_orphan(LAYOUT_GLIBC_STDIO, WORD, 12, 0x7f4500001230, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
}

/* An RLock of Python's is an orphan as long as it names the descriptor, whoever has that by now. */
static void orphaned_rlock(void **state)
{
	const uint64_t thread = 0x7f4500001230;
	struct lock_words words = {
		.have_at = LOCK_WORDS_FROM,
		.object = LAYOUT_PYTHON_RLOCK,
		/* references, type, semaphore, owner, count */
		.at = { 3, 0, 0x1000, 0x7f45, 0x2000, 0x5555, 0x1230, 0x7f4500001230 >> 32, 1 },
	};
	enum cleared_how how;

	(void)state;
	assert_int_equal(detect_orphan(LAYOUT_PYTHON_RLOCK, WORD, 12, thread, &words, &how),
			 ORPHAN_STILL);
	words.have_thread = 1;
	words.thread_tid = 13;
	assert_int_equal(detect_orphan(LAYOUT_PYTHON_RLOCK, WORD, 12, thread, &words, &how),
			 ORPHAN_STILL);
	words.at[6] = 0x4560; /* somebody else has it */
	assert_int_equal(detect_orphan(LAYOUT_PYTHON_RLOCK, WORD, 12, thread, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
	words.at[6] = 0x1230;
	words.at[8] = 0; /* nobody has it */
	assert_int_equal(detect_orphan(LAYOUT_PYTHON_RLOCK, WORD, 12, thread, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_FOREIGN_UNLOCK);
	words.at[8] = 1;
	words.object = LAYOUT_NONE; /* it was freed, and another object is there */
	assert_int_equal(detect_orphan(LAYOUT_PYTHON_RLOCK, WORD, 12, thread, &words, &how),
			 ORPHAN_CLEARED);
	assert_int_equal(how, CLEARED_GONE);
}

static void lock_calls(void **state)
{
	(void)state;
	assert_true(lock_call(128, 2));
	assert_true(lock_call(0, 2));
	assert_true(lock_call(393, 3));
	assert_true(lock_call(0, 12 | FUTEX_WORD_WAITERS));
	assert_true(lock_call(134, 0));		  /* LOCK_PI */
	assert_true(lock_call(128, 5 << 19 | 2)); /* priority-protect */
	assert_false(lock_call(393, 0));	  /* condition variable, semaphore */
	assert_false(lock_call(265, 4712));	  /* pthread_join */
	assert_false(lock_call(129, 2));	  /* FUTEX_WAKE */
}

static void waits_for(void **state)
{
	struct task_row row = { .word = WORD + 12, .op = 393, .val = 3, .flags = ROW_BLOCKED };

	(void)state;
	/* A reader and a writer wait on two words of one rwlock. */
	assert_true(detect_waits_for(&row, WORD + 8, LAYOUT_GLIBC_RWLOCK_8));
	assert_true(detect_waits_for(&row, WORD + 12, LAYOUT_GLIBC_RWLOCK_12));
	assert_false(detect_waits_for(&row, WORD + 16, LAYOUT_GLIBC_RWLOCK_8));
	row.word = WORD;
	assert_false(detect_waits_for(&row, WORD + 8, LAYOUT_GLIBC_RWLOCK_8));
	row.val = 2;
	assert_true(detect_waits_for(&row, WORD, LAYOUT_GLIBC_MUTEX));
	row.flags = 0;
	assert_false(detect_waits_for(&row, WORD, LAYOUT_GLIBC_MUTEX));
}

/* For a lock that names nobody. */
static void waits_for_nameless(void **state)
{
	struct task_row row = { .word = WORD, .op = 393, .val = 0, .flags = ROW_BLOCKED };

	(void)state;
	assert_true(detect_waits_for(&row, WORD, LAYOUT_SEMAPHORE));
	assert_false(detect_waits_for(&row, WORD + 8, LAYOUT_SEMAPHORE));
	assert_false(detect_waits_for(&row, WORD, LAYOUT_MUSL_NORMAL)); /* a condition's call */
	row.val = 16 | FUTEX_WORD_WAITERS;
	assert_true(detect_waits_for(&row, WORD, LAYOUT_MUSL_NORMAL));
	assert_true(detect_waits_for(&row, WORD, LAYOUT_MUSL_RWLOCK));
	row.op = 129; /* FUTEX_WAKE */
	assert_false(detect_waits_for(&row, WORD, LAYOUT_SEMAPHORE));
	/* A writer that waits for readers to leave, and one behind it. */
	row = (struct task_row){ .word = WORD + 8, .op = 393, .val = 2, .flags = ROW_BLOCKED };
	assert_true(detect_waits_for(&row, WORD + 8, LAYOUT_GLIBC_RWLOCK_READ));
	row.word = WORD + 12;
	row.val = 3;
	assert_true(detect_waits_for(&row, WORD + 8, LAYOUT_GLIBC_RWLOCK_READ));
}

/* Held by nobody that it names: whoever was seen to take it. Named as what it is. */
static void nameless(void **state)
{
	struct lock_state s = { .address = WORD, .layout = LAYOUT_GLIBC_RWLOCK_READ };
	struct lock_info info;

	(void)state;
	assert_false(detect_left_by(&s, 4712));
	s.held = 1;
	assert_true(detect_left_by(&s, 4712));
	detect_lock(&info, &s, PROOF_PROBE, LIBC_GLIBC);
	assert_int_equal(info.type, LOCK_RWLOCK);
	assert_int_equal(info.libc, LIBC_GLIBC);
	assert_true(info.read);
	assert_int_equal(info.owner_tid, 0);
	s.layout = LAYOUT_MUSL_NORMAL;
	detect_lock(&info, &s, PROOF_PROBE, LIBC_UNKNOWN);
	assert_int_equal(info.type, LOCK_MUTEX);
	assert_int_equal(info.kind, LOCK_NORMAL);
	assert_int_equal(info.libc, LIBC_MUSL);
	s.layout = LAYOUT_SEMAPHORE;
	detect_lock(&info, &s, PROOF_PROBE, LIBC_GLIBC);
	assert_int_equal(info.type, LOCK_PYTHON_LOCK);
	assert_int_equal(info.libc, LIBC_UNKNOWN);
}

static void parked(void **state)
{
	struct task_row row = { .op = 393, .val = 0, .sp = 0x7ffc00001000, .word = 0x7ffc00001020 };

	(void)state;
	assert_true(detect_parked(&row));
	row.word = row.sp + LOCK_PARK_BYTES; /* not in the frames at hand */
	assert_false(detect_parked(&row));
	row.word = row.sp - 4;
	assert_false(detect_parked(&row));
	row.word = row.sp;
	row.timeout = 1;
	assert_false(detect_parked(&row));
	row.timeout = 0;
	row.val = 1;
	assert_false(detect_parked(&row));
}

static void wait_lengths(void **state)
{
	struct wait_info wait;

	(void)state;
	detect_wait(&wait, 128, 1000, false, 77, 5000, 0);
	assert_false(wait.has_timeout);
	assert_int_equal(wait.since_ns, 1000);
	assert_string_equal(wait.op, "FUTEX_WAIT");
	/* FUTEX_WAIT: a length. The others: a point in time. */
	detect_wait(&wait, 128, 1000, true, 700, 5000, 0);
	assert_int_equal(wait.timeout_ns, 700);
	detect_wait(&wait, 137, 1000, true, 1700, 5000, 9000000);
	assert_int_equal(wait.timeout_ns, 700);
	detect_wait(&wait, 393, 1000, true, 9001700, 5000, 9000000);
	assert_int_equal(wait.timeout_ns, 700);
	detect_wait(&wait, 134, 1000, true, 9001700, 5000, 9000000); /* LOCK_PI: real time */
	assert_int_equal(wait.timeout_ns, 700);
	detect_wait(&wait, 141, 1000, true, 1700, 5000, 9000000); /* LOCK_PI2: by the flag */
	assert_int_equal(wait.timeout_ns, 700);
	detect_wait(&wait, 137, 0, true, 5700, 5000, 0); /* began before it was watched */
	assert_int_equal(wait.timeout_ns, 700);
	detect_wait(&wait, 137, 1000, true, 500, 5000, 0); /* over already */
	assert_int_equal(wait.timeout_ns, 0);
}

static void severities(void **state)
{
	struct lock_info locks[2] = { { .robust = true }, { .robust = false } };
	struct waiter_info waiters[2] = { { .wait = { .has_timeout = true } }, { .lock = 0 } };
	struct waiter_info on_second = { .lock = 1 };

	(void)state;
	assert_int_equal(detect_severity(locks + 1, 1, NULL, 0), SEVERITY_WARNING);
	assert_int_equal(detect_severity(locks + 1, 1, waiters, 1), SEVERITY_WARNING);
	assert_int_equal(detect_severity(locks + 1, 1, waiters, 2), SEVERITY_CRITICAL);
	assert_int_equal(detect_severity(locks, 1, waiters, 2), SEVERITY_WARNING);
	assert_int_equal(detect_severity(locks, 2, waiters + 1, 1), SEVERITY_WARNING);
	assert_int_equal(detect_severity(locks, 2, &on_second, 1), SEVERITY_CRITICAL);
}

static void places(void **state)
{
	struct look_mapping mapping = {
		.known = true,
		.shared = true,
		.start = WORD - 0x40,
		.end = WORD + 0x1000,
		.offset = 0x3000,
		.device = 8,
		.inode = 77,
	};
	struct shared_place place = detect_place(&mapping, WORD);

	(void)state;
	assert_int_equal(place.device, 8);
	assert_int_equal(place.inode, 77);
	assert_int_equal(place.offset, 0x3040);
	mapping.shared = false;
	assert_int_equal(detect_place(&mapping, WORD).inode, 0);
	mapping.shared = true;
	mapping.known = false;
	assert_int_equal(detect_place(&mapping, WORD).inode, 0);
}

/* What speaks for a find of the census, and what is enough. */
static void evidence(void **state)
{
	static const struct {
		uint32_t owner, layout;
		const char *symbol;
		bool data, waited_for;
		uint64_t strangers;
		uint32_t evidence;
		bool enough;
	} cases[] = {
		/* On the heap: a large number among no strangers is enough, a small one is not. */
		{ 5, LAYOUT_GLIBC_MUTEX, "", 0, 0, 0, EVIDENCE_ALONE, false },
		{ 9999, LAYOUT_GLIBC_MUTEX, "", 0, 0, 0, EVIDENCE_ALONE, false },
		{ 10000, LAYOUT_GLIBC_MUTEX, "", 0, 0, 0, EVIDENCE_ALONE | EVIDENCE_TID, true },
		{ 10000, LAYOUT_GLIBC_MUTEX, "", 0, 0, 1, EVIDENCE_TID, false },
		/* In data. */
		{ 5, LAYOUT_GLIBC_MUTEX, "", 1, 0, 0, EVIDENCE_ALONE | EVIDENCE_DATA, true },
		{ 5, LAYOUT_GLIBC_MUTEX, "", 1, 0, 1, EVIDENCE_DATA, false },
		{ 5, LAYOUT_GLIBC_MUTEX, "clock+0x8", 1, 0, 1, EVIDENCE_DATA, false },
		{ 5, LAYOUT_GLIBC_MUTEX, "blocks", 1, 0, 1, EVIDENCE_DATA, false },
		{ 5, LAYOUT_GLIBC_MUTEX, "queue_lock", 1, 0, 1, EVIDENCE_DATA | EVIDENCE_SYMBOL,
		  true },
		{ 5, LAYOUT_GLIBC_MUTEX, "clock_Lock", 1, 0, 1, EVIDENCE_DATA | EVIDENCE_SYMBOL,
		  true },
		{ 5, LAYOUT_GLIBC_MUTEX, "lock", 1, 0, 1, EVIDENCE_DATA | EVIDENCE_SYMBOL, true },
		{ 5, LAYOUT_GLIBC_MUTEX, "StatMutex", 1, 0, 1, EVIDENCE_DATA | EVIDENCE_SYMBOL,
		  true },
		/* Somebody waited there; or there is more to the layout. */
		{ 5, LAYOUT_GLIBC_MUTEX, "", 0, 1, 9, EVIDENCE_WAITED_FOR, true },
		{ 5, LAYOUT_GLIBC_RWLOCK_12, "", 0, 0, 9, EVIDENCE_LAYOUT, true },
		{ 5, LAYOUT_GLIBC_PI, "", 0, 0, 9, EVIDENCE_LAYOUT, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct lock_state lock = { .owner = cases[i].owner, .layout = cases[i].layout };
		struct look_mapping mapping = { .data = cases[i].data };
		uint32_t got;

		strcpy(mapping.symbol, cases[i].symbol);
		got = detect_evidence(&lock, &mapping, cases[i].waited_for, cases[i].strangers);
		assert_int_equal(got, cases[i].evidence | EVIDENCE_FIELDS);
		assert_int_equal(detect_evidence_enough(got, false), cases[i].enough);
		/* In a JVM a large number says nothing. */
		assert_int_equal(detect_evidence_enough(got, true),
				 cases[i].enough &&
					 got & ~(EVIDENCE_FIELDS | EVIDENCE_TID | EVIDENCE_ALONE));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks),
		cmocka_unit_test(exit_reasons),
		cmocka_unit_test(signals),
		cmocka_unit_test(lock_types),
		cmocka_unit_test(left_by),
		cmocka_unit_test(orphans_end),
		cmocka_unit_test(inferred_orphans_end),
		cmocka_unit_test(waits_for_nameless),
		cmocka_unit_test(nameless),
		cmocka_unit_test(lock_calls),
		cmocka_unit_test(waits_for),
		cmocka_unit_test(parked),
		cmocka_unit_test(wait_lengths),
		cmocka_unit_test(severities),
		cmocka_unit_test(places),
		cmocka_unit_test(evidence),
		cmocka_unit_test(orphaned_rlock),
	};

	return cmocka_run_group_tests_name("detect", tests, NULL, NULL);
}
