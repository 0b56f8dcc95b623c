// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "limit.h"

#define S 1000000000ull

static struct alert signal_at(uint64_t time_ns, int32_t tid)
{
	struct alert alert = { .kind = ALERT_THREAD_SIGNAL, .time_ns = time_ns };

	alert.process.pid = 10;
	alert.process.start_ticks = 5;
	alert.thread.tid = tid;
	alert.sender_process.pid = 20;
	alert.signal.number = 12;
	return alert;
}

/* Takes n alerts at once and returns how many were kept. */
static size_t keep(struct limits *limits, uint64_t time_ns, int32_t tid, size_t n)
{
	size_t kept = 0, i;

	for (i = 0; i < n; i++) {
		struct alert alert = signal_at(time_ns + i, tid);

		kept += limits_keep(limits, &alert);
	}
	return kept;
}

/* What is due, which must be one alert or (count 0) none. */
static void due(struct limits *limits, uint64_t now_ns, uint64_t count, bool several)
{
	struct alert *alert = limits_next(limits, now_ns, false);

	if (!count) {
		assert_null(alert);
		return;
	}
	assert_non_null(alert);
	assert_int_equal(alert->merged.count, count > 1 ? count : 0);
	assert_int_equal(alert->merged.several_threads, several);
	alert_free(alert);
	assert_null(limits_next(limits, now_ns, false));
}

static void thousand_is_one_and_one(void **state)
{
	struct limits *limits = limits_new(16, 16);
	struct alert *alert;

	(void)state;
	assert_int_equal(limits_due(limits), 0);
	assert_int_equal(keep(limits, 10 * S, 11, 1000), 999);
	assert_int_equal(limits_due(limits), 11 * S);
	due(limits, 11 * S - 1, 0, false);
	alert = limits_next(limits, 11 * S, false);
	assert_non_null(alert);
	assert_int_equal(alert->merged.count, 999);
	assert_int_equal(alert->merged.first_ns, 10 * S + 1);
	assert_int_equal(alert->time_ns, 10 * S + 999);
	assert_false(alert->merged.several_threads);
	alert_free(alert);
	assert_int_equal(limits_merged(limits), 998); /* two lines stand for a thousand */
	assert_int_equal(limits_due(limits), 11 * S); /* there may be more: ask */
	due(limits, 11 * S, 0, false);
	assert_int_equal(limits_due(limits), 0);
	limits_free(limits);
}

/* A storm that goes on is told of at 1, 3, 7, 15, 31, 63, 123 … seconds. */
static void intervals_grow(void **state)
{
	static const uint64_t at[] = { 1, 3, 7, 15, 31, 63, 123, 183 };
	struct limits *limits = limits_new(16, 16);
	uint64_t told = 1, sent = 0, s = 0;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(at) / sizeof(*at); i++) {
		uint64_t count = 0;

		for (; s < at[i]; s++) {
			due(limits, (100 + s) * S, 0, false);
			count += keep(limits, (100 + s) * S, 11, 10);
			sent += 10;
		}
		told += count;
		due(limits, (100 + s) * S, count, false);
	}
	assert_int_equal(told, sent);
	limits_free(limits);
}

/* After a quiet interval the next one is the first again: at once. */
static void quiet_ends_it(void **state)
{
	struct limits *limits = limits_new(16, 16);

	(void)state;
	assert_int_equal(keep(limits, 1 * S, 11, 3), 2);
	due(limits, 2 * S, 2, false);
	assert_int_equal(keep(limits, 3 * S, 11, 1), 1); /* the interval of two seconds goes on */
	due(limits, 4 * S, 1, false);			 /* one is said as what it is */
	assert_int_equal(keep(limits, 8 * S, 11, 1), 0);
	assert_int_equal(keep(limits, 9 * S, 11, 1), 0); /* one a second is no storm */
	limits_free(limits);
}

static void few_threads_are_named(void **state)
{
	struct limits *limits = limits_new(16, 16);
	int32_t tid;

	(void)state;
	for (tid = 1; tid <= LIMIT_THREADS; tid++)
		assert_int_equal(keep(limits, S, tid, 1), 0);
	assert_int_equal(keep(limits, S, 100, 5), 5);
	assert_int_equal(keep(limits, S, 1, 1), 1);
	due(limits, 2 * S, 6, true);
	limits_free(limits);
}

#define DIFFERS(change)                                    \
	do {                                               \
		struct alert other = signal_at(S, 11);     \
                                                           \
		change;                                    \
		assert_false(limits_keep(limits, &other)); \
		assert_true(limits_keep(limits, &other));  \
	} while (0)

static void what_differs_is_not_merged(void **state)
{
	struct limits *limits = limits_new(64, 64);
	uint64_t told = 0;
	struct alert *alert;

	(void)state;
	DIFFERS((void)0);
	DIFFERS(other.kind = ALERT_TID_KILL);
	DIFFERS(other.process.pid = 30);
	DIFFERS(other.process.start_ticks = 6);
	DIFFERS(other.sender_process.pid = 21);
	DIFFERS(other.sender_process.start_ticks = 7);
	DIFFERS(other.signal.number = 10);
	DIFFERS(other.signal.result = RESULT_ALREADY_PENDING);
	DIFFERS(other.signal.call = CALL_TKILL);
	DIFFERS(other.signal.code = -6);
	DIFFERS(other.signal.error = 3);
	DIFFERS(other.signal.fatal = true);
	DIFFERS(other.severity = SEVERITY_CRITICAL);
	while ((alert = limits_next(limits, S, true))) {
		assert_int_equal(alert->merged.count, 0);
		told++;
		alert_free(alert);
	}
	assert_int_equal(told, 13);
	assert_int_equal(limits_merged(limits), 0);
	limits_free(limits);
}

static struct alert wait_at(uint64_t time_ns, int32_t tid, const struct lock_info *lock)
{
	struct alert alert = { .kind = ALERT_ORPHAN_WAIT, .time_ns = time_ns, .n_locks = 1 };

	alert.process.pid = 10;
	alert.thread.tid = tid;
	alert.locks = lock;
	return alert;
}

/* Waiters of one lock: the first eight by name. What is kept has its own copy of the lock. */
static void waiters_of_a_lock(void **state)
{
	struct lock_info locks[] = { { .address = 0x1000 }, { .address = 0x2000 } };
	struct limits *limits = limits_new(16, 16);
	struct alert *alert;
	size_t kept[2] = { 0 }, i, tid;

	(void)state;
	for (tid = 1; tid <= 20; tid++) {
		for (i = 0; i < 2; i++) {
			struct alert wait = wait_at(S, tid, &locks[i]);

			kept[i] += limits_keep(limits, &wait);
		}
	}
	assert_int_equal(kept[0], 12);
	assert_int_equal(kept[1], 12);
	memset(locks, 0, sizeof(locks));
	alert = limits_next(limits, 2 * S, false);
	assert_int_equal(alert->locks[0].address, 0x1000);
	assert_int_equal(alert->thread.tid, 9);
	assert_int_equal(alert->merged.count, 12);
	assert_true(alert->merged.several_threads);
	alert_free(alert);
	due(limits, 2 * S, 12, true);
	limits_free(limits);
}

/* Whoever was told of an orphan is told of its end. */
static void ends_of_what_was_said(void **state)
{
	struct lock_info lock = { .address = 0x1000 };
	struct limits *limits = limits_new(16, 16);
	struct alert cleared = wait_at(S, 1, &lock);
	size_t kept = 0, i;

	(void)state;
	cleared.kind = ALERT_ORPHAN_CLEARED;
	cleared.follows = true;
	for (i = 0; i < 100; i++)
		kept += limits_keep(limits, &cleared);
	assert_int_equal(kept, 0);
	cleared.follows = false;
	for (i = 0; i < 100; i++)
		kept += limits_keep(limits, &cleared);
	assert_int_equal(kept, 99);
	limits_free(limits);
}

static void other_kinds_are_not_limited(void **state)
{
	static const enum alert_kind kinds[] = { ALERT_READY, ALERT_NOISE, ALERT_LOSS,
						 ALERT_SUMMARY };
	struct limits *limits = limits_new(16, 16);
	size_t i;

	(void)state;
	for (i = 0; i < 2 * sizeof(kinds) / sizeof(*kinds); i++) {
		struct alert alert = { .kind = kinds[i / 2] };

		assert_false(limits_keep(limits, &alert));
	}
	limits_free(limits);
}

/* More sorts than there is room for: each alert is said or kept, none is lost. */
static void bounded(void **state)
{
	struct limits *limits = limits_new(8, 4);
	uint64_t told = 0, round;
	struct alert *alert;
	int32_t pid;

	(void)state;
	for (round = 0; round < 10; round++) {
		for (pid = 1; pid <= 100; pid++) {
			struct alert other = signal_at(S + round * 100000000, 11);

			other.process.pid = pid;
			told += !limits_keep(limits, &other);
			other.process.pid = 1; /* a storm that goes on */
			told += !limits_keep(limits, &other);
		}
	}
	assert_true(told < 1100);
	while ((alert = limits_next(limits, 9 * S, true))) {
		told += alert->merged.count ?: 1;
		alert_free(alert);
	}
	assert_int_equal(told, 2000);
	limits_free(limits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thousand_is_one_and_one),
		cmocka_unit_test(intervals_grow),
		cmocka_unit_test(quiet_ends_it),
		cmocka_unit_test(few_threads_are_named),
		cmocka_unit_test(what_differs_is_not_merged),
		cmocka_unit_test(waiters_of_a_lock),
		cmocka_unit_test(ends_of_what_was_said),
		cmocka_unit_test(other_kinds_are_not_limited),
		cmocka_unit_test(bounded),
	};

	return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
