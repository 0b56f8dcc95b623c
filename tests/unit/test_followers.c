// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "followers.h"

static void one_that_is_over_is_kept(void **state)
{
	struct followers followers = { 0 };

	(void)state;
	assert_false(followers_has(&followers, 10));
	assert_true(followers_add(&followers, 10));
	assert_true(followers_add(&followers, 11));
	followers_over(&followers, 10);
	followers_over(&followers, 12); /* nobody */
	assert_true(followers_has(&followers, 10));
	assert_true(followers_has(&followers, 11));
	assert_false(followers_has(&followers, 12));
}

static void oldest_that_is_over_makes_room(void **state)
{
	struct followers followers = { 0 };
	int32_t pid;

	(void)state;
	for (pid = 1; pid <= FOLLOWERS; pid++)
		assert_true(followers_add(&followers, pid));
	assert_false(followers_add(&followers, pid));
	followers_over(&followers, 7);
	followers_over(&followers, 3);
	assert_true(followers_add(&followers, pid));
	assert_false(followers_has(&followers, 3));
	assert_true(followers_has(&followers, 7));
	assert_true(followers_add(&followers, pid + 1));
	assert_false(followers_has(&followers, 7));
	assert_false(followers_add(&followers, pid + 2));
	for (pid = 1; pid <= FOLLOWERS + 2; pid++)
		assert_int_equal(followers_has(&followers, pid), pid != 3 && pid != 7);
}

/* The number of one that is over is somebody else's. */
static void number_again(void **state)
{
	struct followers followers = { 0 };
	int32_t pid;

	(void)state;
	for (pid = 1; pid <= FOLLOWERS; pid++)
		assert_true(followers_add(&followers, pid));
	followers_over(&followers, 5);
	assert_true(followers_add(&followers, 5));
	assert_int_equal(followers.n, FOLLOWERS);
	assert_false(followers_add(&followers, pid)); /* it lives */
	followers_over(&followers, 5);
	assert_true(followers_add(&followers, pid));
	assert_false(followers_has(&followers, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_is_over_is_kept),
		cmocka_unit_test(oldest_that_is_over_makes_room),
		cmocka_unit_test(number_again),
	};

	return cmocka_run_group_tests_name("followers", tests, NULL, NULL);
}
