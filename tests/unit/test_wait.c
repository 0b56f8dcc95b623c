// SPDX-License-Identifier: GPL-2.0-only
/* What a thread waits for: by its call, and by the memory around its futex word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "callname.h"
#include "wait.h"

#define WORD	0x7f0000001040ull
#define SP	0x7ffd00000000ull
#define PRIVATE FUTEX_OP_PRIVATE
#define BITSET	(FUTEX_OP_WAIT_BITSET | FUTEX_OP_REALTIME)

static struct proc_syscall futex_call(uint64_t word, uint32_t op, uint32_t val)
{
	return (struct proc_syscall){
		.where = SYSCALL_BLOCKED,
		.number = SYS_futex,
		.argument = { word, op, val },
		.sp = SP,
	};
}

static struct wait futex(uint64_t word, uint32_t op, uint32_t val)
{
	struct proc_syscall call = futex_call(word, op, val);

	return wait_of_call('S', &call);
}

static struct lock_words words_of(const uint32_t before[3], const uint32_t at[LOCK_WORDS_FROM])
{
	struct lock_words words = { .have_before = 1, .have_at = LOCK_WORDS_FROM };

	memcpy(words.before, before, sizeof(words.before));
	memcpy(words.at, at, sizeof(words.at));
	return words;
}
#define WORDS(a, b, c, ...) \
	words_of((uint32_t[3]){ a, b, c }, (uint32_t[LOCK_WORDS_FROM]){ __VA_ARGS__ })

static void calls(void **state)
{
	struct proc_syscall call = { .where = SYSCALL_BLOCKED, .number = SYS_read };
	struct wait wait = wait_of_call('S', &call);

	(void)state;
	assert_int_equal(wait.what, WAIT_CALL);
	assert_int_equal(wait.number, SYS_read);
	assert_string_equal(call_name(wait.number), "read");
	assert_int_equal(wait_of_call('T', &call).what, WAIT_STOPPED);
	assert_int_equal(wait_of_call('t', &call).what, WAIT_STOPPED);
	assert_int_equal(wait_of_call('t', &call).number, -1);
	call.where = SYSCALL_RUNNING;
	assert_int_equal(wait_of_call('R', &call).what, WAIT_RUNS);
	call.where = SYSCALL_OUTSIDE;
	assert_int_equal(wait_of_call('S', &call).what, WAIT_OUTSIDE);
	assert_null(call_name(-1));
	assert_null(call_name(100000));
}

static void futex_calls(void **state)
{
	struct proc_syscall call = futex_call(WORD, PRIVATE, 2);

	(void)state;
	assert_int_equal(wait_of_call('S', &call).what, WAIT_FUTEX);
	call.argument[1] = FUTEX_OP_LOCK_PI;
	assert_int_equal(wait_of_call('S', &call).what, WAIT_FUTEX);
	call.argument[1] = 1 | PRIVATE; /* FUTEX_WAKE */
	assert_int_equal(wait_of_call('S', &call).what, WAIT_CALL);
	/* What the kernel restarts that way is a futex wait only if it was timed. */
	call.number = SYS_restart_syscall;
	call.argument[1] = PRIVATE;
	assert_int_equal(wait_of_call('S', &call).what, WAIT_CALL);
	call.argument[3] = SP;
	assert_int_equal(wait_of_call('S', &call).what, WAIT_FUTEX);
	assert_true(wait_of_call('S', &call).restarted);
}

static struct wait stopped_futex(uint32_t op, uint32_t val)
{
	struct proc_syscall call = futex_call(WORD, op, val);

	return wait_of_call('t', &call);
}

static void stopped(void **state)
{
	struct proc_syscall call = futex_call(WORD, PRIVATE, 2);
	struct lock_words words = WORDS(0, 0, 0, 2, 1, 77, 1), none = { 0 };
	struct wait wait = stopped_futex(PRIVATE, 2);

	(void)state;
	assert_int_equal(wait.what, WAIT_FUTEX);
	assert_true(wait.stopped);
	assert_false(wait_is_over(&wait, &words, 77));
	assert_false(wait_is_over(&wait, &none, 77));
	wait.val = 1;
	assert_true(wait_is_over(&wait, &words, 77));
	wait.stopped = false; /* asleep: it would have been woken */
	assert_false(wait_is_over(&wait, &words, 77));
	/* The kernel made it the owner. */
	words.at[0] = 77 | FUTEX_WORD_WAITERS;
	wait = stopped_futex(FUTEX_OP_LOCK_PI | PRIVATE, 0);
	assert_true(wait_is_over(&wait, &words, 77));
	assert_false(wait_is_over(&wait, &words, 78));
	wait.stopped = false; /* frozen */
	assert_true(wait_is_over(&wait, &words, 77));
	assert_int_equal(stopped_futex(1 | PRIVATE, 2).what, WAIT_STOPPED); /* FUTEX_WAKE */
	call.where = SYSCALL_OUTSIDE;					    /* not in a call */
	assert_int_equal(wait_of_call('T', &call).what, WAIT_STOPPED);
}

static void same(void **state)
{
	struct wait a = futex(WORD, PRIVATE, 2), b = a;

	(void)state;
	assert_true(wait_same(&a, &b));
	b.val = 1;
	assert_false(wait_same(&a, &b));
	b = a;
	b.sp += 8;
	assert_false(wait_same(&a, &b));
	assert_false(wait_timed(&a));
	a.timeout = SP;
	assert_true(wait_timed(&a));
}

/* size[1] orig_size wrefs | signals[0] signals[1]; for signals[1]: orig_size wrefs signals[0] | */
static void condition(void **state)
{
	struct wait first = futex(WORD, BITSET | PRIVATE, 0);
	struct wait second = futex(WORD + 4, BITSET | PRIVATE, 0);
	struct lock_words g0 = WORDS(0, 0, 12 << 3, 0, 0, 0, 0);
	struct lock_words g1 = WORDS(0, 12 << 3, 0, 0, 0, 0, 0);

	(void)state;
	assert_int_equal(wait_object(&first, LIBC_GLIBC, &g0, 12, 13), WAIT_CONDITION);
	assert_int_equal(wait_object(&first, LIBC_GLIBC, &g0, 10, 13), WAIT_CONDITION);
	assert_int_equal(wait_object(&second, LIBC_GLIBC, &g1, 12, 13), WAIT_CONDITION);
	/* More wait than it counts; it counts more than there are; it is a shared one */
	assert_int_equal(wait_object(&first, LIBC_GLIBC, &g0, 13, 14), WAIT_FUTEX);
	assert_int_equal(wait_object(&first, LIBC_GLIBC, &g0, 2, 5), WAIT_FUTEX);
	g0.before[2] |= 1;
	assert_int_equal(wait_object(&first, LIBC_GLIBC, &g0, 12, 13), WAIT_FUTEX);
	g0.have_before = 0;
	assert_int_equal(wait_object(&first, LIBC_GLIBC, &g0, 12, 13), WAIT_FUTEX);
}

static void semaphore(void **state)
{
	struct wait wait = futex(WORD, BITSET | PRIVATE, 0);
	struct lock_words words = WORDS(0, 0x31, 0, 0, 3, 0, 0);

	(void)state;
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 3, 9), WAIT_SEMAPHORE);
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 4, 9), WAIT_FUTEX);
	words.at[2] = 128;
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 3, 9), WAIT_FUTEX);
	wait.op &= ~PRIVATE;
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 3, 9), WAIT_SEMAPHORE);
	words.at[0] = 1; /* it is on its way out */
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 3, 9), WAIT_FUTEX);
}

static void musl_objects(void **state)
{
	struct wait own = futex(SP + 64, PRIVATE, 2), sem = futex(WORD, PRIVATE, 0xffffffff);
	struct lock_words node = WORDS(0, 0, 0, 2);
	struct lock_words words = WORDS(0, 0, 0, 0xffffffff, 2, 128);

	(void)state;
	assert_int_equal(wait_object(&own, LIBC_MUSL, &node, 1, 9), WAIT_CONDITION);
	assert_int_equal(wait_object(&sem, LIBC_MUSL, &words, 2, 9), WAIT_SEMAPHORE);
	assert_int_equal(wait_object(&sem, LIBC_MUSL, &words, 3, 9), WAIT_FUTEX);
	words.at[2] = 0;
	assert_int_equal(wait_object(&sem, LIBC_MUSL, &words, 2, 9), WAIT_FUTEX);
}

/* What could be either is neither. */
static void ambiguous(void **state)
{
	struct wait wait = futex(WORD, BITSET | PRIVATE, 0);
	struct lock_words words = WORDS(0, 0, 3 << 3, 0, 3, 0, 0);

	(void)state;
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 3, 9), WAIT_FUTEX);
}

static void barrier(void **state)
{
	struct wait wait = futex(WORD + 4, PRIVATE, 8);
	struct lock_words words = WORDS(0, 0, 10, 8, 4, 0, 8);

	(void)state;
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 2, 9), WAIT_BARRIER);
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 3, 9), WAIT_FUTEX);
	words.before[2] = 12; /* all have come */
	assert_int_equal(wait_object(&wait, LIBC_GLIBC, &words, 2, 9), WAIT_FUTEX);
}

static void ownerless(void **state)
{
	struct wait low = futex(WORD, PRIVATE, 2), bits = futex(WORD + 8, BITSET | PRIVATE, 2);
	struct lock_words words = WORDS(0, 0, 0, 2);
	struct lock_words read = WORDS(0, 3 << 3 | 2, 1, 2, 1, 0, 0, 0, 0);
	struct wait_ownerless lock;

	(void)state;
	assert_true(wait_is_ownerless(&low, &words, &lock));
	assert_int_equal(lock.address, WORD);
	assert_int_equal(lock.type, LOCK_FUTEX);
	assert_int_equal(lock.readers, 0);
	words.at[0] = 1;
	assert_false(wait_is_ownerless(&low, &words, &lock));
	assert_true(wait_is_ownerless(&bits, &read, &lock));
	assert_int_equal(lock.address, WORD);
	assert_int_equal(lock.type, LOCK_RWLOCK);
	assert_int_equal(lock.readers, 3);
	/* On its own stack: musl's condition variables do that. */
	words.at[0] = 2;
	low.word = SP + 64;
	assert_false(wait_is_ownerless(&low, &words, &lock));
	low = futex(WORD, PRIVATE, 0);
	words.at[0] = 0;
	assert_false(wait_is_ownerless(&low, &words, &lock));
}

static void ownerless_writers_behind(void **state)
{
	struct wait wait = futex(WORD + 12, BITSET | PRIVATE, 3);
	struct lock_words words = WORDS(1 << 3 | 2, 2, 2, 3, 0, 0, 0, 0);
	struct wait_ownerless lock;

	(void)state;
	assert_true(wait_is_ownerless(&wait, &words, &lock));
	assert_int_equal(lock.address, WORD);
	assert_int_equal(lock.readers, 1);
}

static void ownerless_musl(void **state)
{
	struct wait wait = futex(WORD + 4, PRIVATE, 0x80000010);
	struct lock_words words = WORDS(0, 0, 0, 0x80000010, 1);
	struct wait_ownerless lock;

	(void)state;
	assert_true(wait_is_ownerless(&wait, &words, &lock));
	assert_int_equal(lock.address, WORD);
	assert_int_equal(lock.type, LOCK_MUTEX);
}

static void joins(void **state)
{
#ifdef __x86_64__
	struct wait glibc = futex(WORD + 720, BITSET, 4712);
	struct wait newer = futex(WORD + 1576, BITSET, 2);
	struct wait musl = futex(WORD + 56, PRIVATE, 2);
	struct wait_joined joined[WAIT_JOINS];

	(void)state;
	assert_int_equal(wait_joins(&glibc, LIBC_GLIBC, joined), 1);
	assert_int_equal(joined[0].descriptor, WORD);
	assert_int_equal(joined[0].tid, WORD + 720);
	assert_int_equal(wait_joins(&glibc, LIBC_MUSL, joined), 0);
	/* From 2.43 on; before that it could be a thread of the number 2. */
	assert_int_equal(wait_joins(&newer, LIBC_GLIBC, joined), 2);
	assert_int_equal(joined[0].tid, WORD + 1576);
	assert_int_equal(joined[1].descriptor, WORD);
	assert_int_equal(joined[1].tid, WORD + 720);
	assert_int_equal(wait_joins(&newer, LIBC_UNKNOWN, joined), 3);
	assert_int_equal(wait_joins(&musl, LIBC_MUSL, joined), 1);
	assert_int_equal(joined[0].descriptor, WORD);
	assert_int_equal(joined[0].tid, WORD + 48);
	assert_int_equal(wait_joins(&musl, LIBC_GLIBC, joined), 0);
	glibc.val = 0;
	assert_int_equal(wait_joins(&glibc, LIBC_GLIBC, joined), 0);
#else
	(void)state;
	skip();
#endif
}

static void names(void **state)
{
	(void)state;
	for (int what = 0; what < WAIT_WHATS; what++)
		assert_non_null(wait_what_name(what));
	assert_null(wait_what_name(WAIT_WHATS));
	assert_string_equal(wait_op_name(BITSET | PRIVATE), "FUTEX_WAIT_BITSET");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls),	cmocka_unit_test(futex_calls),
		cmocka_unit_test(same),		cmocka_unit_test(condition),
		cmocka_unit_test(semaphore),	cmocka_unit_test(ambiguous),
		cmocka_unit_test(barrier),	cmocka_unit_test(ownerless),
		cmocka_unit_test(joins),	cmocka_unit_test(ownerless_writers_behind),
		cmocka_unit_test(names),	cmocka_unit_test(ownerless_musl),
		cmocka_unit_test(musl_objects), cmocka_unit_test(stopped),
	};

	return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
