// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "suspects.h"

static struct task_row row;
static struct stuck stuck;
static struct suspect *suspects;

static int set_up(void **state)
{
	(void)state;
	row = (struct task_row){
		.task = { .tid = 4712, .start_ns = 5 },
		.word = 0x1008,
		.switches = 3,
	};
	stuck = (struct stuck){
		.row = &row,
		.word = 0x1008,
		.state = { .address = 0x1000, .owner = 4711 },
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
	assert_false(suspects_again(&suspects, &stuck, 1));
	assert_false(suspects_again(&suspects, &stuck, 1)); /* the same pass is the same reading */
	assert_true(suspects_again(&suspects, &stuck, 2));
	assert_false(
		suspects_again(&suspects, &stuck, 3)); /* told: from here on it is a first one */
	/* What else memory says by then does not matter. */
	stuck.state.recursion = 2;
	assert_true(suspects_again(&suspects, &stuck, 4));
}

static void any_change_is_another_reading(void **state)
{
	(void)state;
	suspects_again(&suspects, &stuck, 1);
	stuck.state.owner = 4710;
	assert_false(suspects_again(&suspects, &stuck, 2));
	stuck.state.owner = 4711;
	stuck.word = 0x100c;
	assert_false(suspects_again(&suspects, &stuck, 2));
	stuck.word = 0x1008;
	row.word = 0x2000;
	assert_false(suspects_again(&suspects, &stuck, 2));
	row.word = 0x1008;
	row.switches = 4; /* it ran in between */
	assert_false(suspects_again(&suspects, &stuck, 2));
	row.switches = 3;
	row.task.tid = 4713;
	assert_false(suspects_again(&suspects, &stuck, 2));
	row.task.tid = 4712;
	row.task.start_ns = 6; /* another thread of that number */
	assert_false(suspects_again(&suspects, &stuck, 2));
	row.task.start_ns = 5;
	assert_true(suspects_again(&suspects, &stuck, 2));
}

static void not_read_again_is_cleared(void **state)
{
	(void)state;
	suspects_again(&suspects, &stuck, 1);
	suspects_forget(&suspects, 1);
	suspects_forget(&suspects, 2);
	assert_null(suspects);
	assert_false(suspects_again(&suspects, &stuck, 3));
	suspects_forget(&suspects, 3);
	assert_true(suspects_again(&suspects, &stuck, 4));
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
