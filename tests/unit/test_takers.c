// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "takers.h"

#define LOCK  0x5000
#define OTHER 0x6000

static const struct ev_task thread = { .tid = 4712 }, second = { .tid = 4713 };
static struct takers takers;

static int tear_down(void **state)
{
	(void)state;
	takers_clear(&takers);
	assert_null(takers.by_lock);
	takers = (struct takers){ 0 };
	return 0;
}

static void leaves(uint64_t lock, uint64_t first, const struct ev_task *task, uint64_t pass)
{
	struct lock_wait wait = { .lock = lock, .first = first };

	takers_left(&takers, &wait, task, pass);
}

/* One who waits since the pass `first`, and the end of the pass. */
static void waits(uint64_t lock, uint64_t first, uint64_t pass)
{
	struct lock_wait wait = { .lock = lock, .first = first };

	takers_waits(&takers, &wait, pass);
	takers_pass(&takers, pass);
}

static uint32_t last(uint64_t lock)
{
	const struct taker *taker = takers_last(&takers, lock);

	return taker ? taker->task.tid : 0;
}

static void who_left_alone_has_it(void **state)
{
	(void)state;
	leaves(LOCK, 9, &thread, 13);
	waits(LOCK, 10, 13);
	assert_int_equal(last(LOCK), 4712);
	assert_int_equal(last(OTHER), 0);
	waits(LOCK, 10, 14);
	assert_int_equal(last(LOCK), 4712);
}

/* Others may have waited before it, unseen. */
static void who_waits_on_waited_long(void **state)
{
	(void)state;
	leaves(LOCK, 9, &thread, 13);
	waits(LOCK, 11, 13);
	assert_int_equal(last(LOCK), 0);
}

static void who_waits_longest_counts(void **state)
{
	struct lock_wait late = { .lock = LOCK, .first = 13 };

	(void)state;
	leaves(LOCK, 9, &thread, 13);
	takers_waits(&takers, &late, 13);
	waits(LOCK, 10, 13);
	assert_int_equal(last(LOCK), 4712);
	waits(LOCK, 13, 14); /* the other one has left, and nobody knows when */
	assert_int_equal(last(LOCK), 0);
}

static void several_leave_in_one_pass(void **state)
{
	(void)state;
	leaves(LOCK, 9, &thread, 13);
	leaves(LOCK, 9, &second, 13);
	waits(LOCK, 10, 13);
	assert_int_equal(last(LOCK), 0);
}

static void several_leave_in_two_passes(void **state)
{
	(void)state;
	leaves(LOCK, 5, &second, 12);
	waits(LOCK, 5, 12);
	leaves(LOCK, 5, &thread, 13);
	waits(LOCK, 5, 13);
	assert_int_equal(last(LOCK), 0);
}

static void the_last_one_counts(void **state)
{
	(void)state;
	leaves(LOCK, 5, &second, 12);
	waits(LOCK, 5, 12);
	waits(LOCK, 5, 13);
	leaves(LOCK, 5, &thread, 14);
	waits(LOCK, 5, 14);
	assert_int_equal(last(LOCK), 4712);
}

static void timed_waits_tell_nothing(void **state)
{
	struct lock_wait timed = { .lock = LOCK, .first = 5, .timed = true };

	(void)state;
	takers_left(&takers, &timed, &thread, 13);
	waits(LOCK, 5, 13);
	assert_int_equal(last(LOCK), 0);
	leaves(LOCK, 5, &thread, 15);
	takers_waits(&takers, &timed, 15);
	takers_pass(&takers, 15);
	assert_int_equal(last(LOCK), 0);
}

static void nobody_waits_any_more(void **state)
{
	(void)state;
	leaves(LOCK, 9, &thread, 13);
	takers_pass(&takers, 13);
	assert_int_equal(last(LOCK), 0);
	assert_null(takers.by_lock);
}

/* One that waited for nobody knows what may have waited for this lock: if it came before. */
static void strangers(uint64_t first, uint64_t left, uint32_t expected)
{
	leaves(LOCK, 5, &thread, 13);
	if (left == 13)
		leaves(0, first, &second, left);
	waits(LOCK, 5, 13);
	if (left == 14)
		leaves(0, first, &second, left);
	waits(LOCK, 5, 14);
	assert_int_equal(last(LOCK), expected);
}

static void a_stranger_in_the_same_pass(void **state)
{
	(void)state;
	strangers(6, 13, 0);
}

static void a_stranger_later(void **state)
{
	(void)state;
	strangers(6, 14, 0);
}

static void a_stranger_behind(void **state)
{
	(void)state;
	strangers(7, 14, 4712);
}

static void a_stranger_just_before(void **state)
{
	(void)state;
	leaves(0, 6, &second, 12);
	strangers(7, 13, 0);
}

static void a_stranger_long_before(void **state)
{
	(void)state;
	leaves(0, 6, &second, 11);
	strangers(7, 13, 4712);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(who_left_alone_has_it, tear_down),
		cmocka_unit_test_teardown(who_waits_on_waited_long, tear_down),
		cmocka_unit_test_teardown(who_waits_longest_counts, tear_down),
		cmocka_unit_test_teardown(several_leave_in_one_pass, tear_down),
		cmocka_unit_test_teardown(several_leave_in_two_passes, tear_down),
		cmocka_unit_test_teardown(the_last_one_counts, tear_down),
		cmocka_unit_test_teardown(timed_waits_tell_nothing, tear_down),
		cmocka_unit_test_teardown(nobody_waits_any_more, tear_down),
		cmocka_unit_test_teardown(a_stranger_in_the_same_pass, tear_down),
		cmocka_unit_test_teardown(a_stranger_later, tear_down),
		cmocka_unit_test_teardown(a_stranger_behind, tear_down),
		cmocka_unit_test_teardown(a_stranger_just_before, tear_down),
		cmocka_unit_test_teardown(a_stranger_long_before, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
