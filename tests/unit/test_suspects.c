// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "suspects.h"

static struct suspect_key key;
static struct suspect *suspects;

static int set_up(void **state)
{
	(void)state;
	key = (struct suspect_key){
		.tid = 4712,
		.start_ns = 5,
		.switches = 3,
		.waits_on = 0x1008,
		.word = 0x1008,
		.owner = 4711,
	};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	suspects_clear(&suspects);
	assert_null(suspects);
	return 0;
}

static void second_reading_finds(void **state)
{
	(void)state;
	assert_false(suspects_again(&suspects, &key, 1));
	assert_false(suspects_again(&suspects, &key, 1)); /* the same pass is the same reading */
	assert_true(suspects_again(&suspects, &key, 2));
	assert_false(suspects_again(&suspects, &key, 3)); /* told: from here on it is a first one */
	assert_true(suspects_again(&suspects, &key, 4));
}

static void any_change_is_another_reading(void **state)
{
	struct suspect_key changed[6];

	(void)state;
	for (size_t i = 0; i < 6; i++)
		changed[i] = key;
	changed[0].owner++;
	changed[1].word++;
	changed[2].waits_on++;
	changed[3].switches++; /* it ran in between */
	changed[4].tid++;
	changed[5].start_ns++; /* another thread of that number */
	suspects_again(&suspects, &key, 1);
	for (size_t i = 0; i < 6; i++)
		assert_false(suspects_again(&suspects, &changed[i], 2));
	assert_true(suspects_again(&suspects, &key, 2));
}

static void not_read_again_is_cleared(void **state)
{
	(void)state;
	suspects_again(&suspects, &key, 1);
	suspects_forget(&suspects, 1);
	suspects_forget(&suspects, 2);
	assert_null(suspects);
	assert_false(suspects_again(&suspects, &key, 3));
	suspects_forget(&suspects, 3);
	assert_true(suspects_again(&suspects, &key, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(second_reading_finds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(any_change_is_another_reading, set_up, tear_down),
		cmocka_unit_test_setup_teardown(not_read_again_is_cleared, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("suspects", tests, NULL, NULL);
}
