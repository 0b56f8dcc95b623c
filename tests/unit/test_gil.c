// SPDX-License-Identifier: GPL-2.0-only
/* CPython's GIL by its bytes: where each version has it, and what the words say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gil.h"

/* As they begin in CPython 3.13.5 and 3.14.10 of Debian. */
static const uint64_t debug_3_13[GIL_DEBUG_WORDS] = {
	0x7970677562656478,
	0x30d05f0,
	0,
	0x452f0,
	608,
	632,
	0x2f9a0,
	7272,
	7264,
	7344,
	7400,
	7656,
	7640,
	7648,
	16,
	7752,
	0,
	7768,
	7760,
	304,
	0,
	8,
	16,
	72,
	152,
	160,
	232,
	32,
	80,
	8,
	0,
	56,
};
static const uint64_t debug_3_14[GIL_DEBUG_WORDS] = {
	0x7970677562656478,
	0x30e0af0,
	0,
	0x4d4c8,
	784,
	808,
	0x37248,
	7280,
	7272,
	7344,
	7360,
	7408,
	7688,
	7672,
	7680,
	16,
	7784,
	0,
	7800,
	7792,
	7992,
	0,
	832,
	0,
	8,
	16,
	72,
	152,
	160,
	232,
	32,
	88,
};

static void layout_is(uint32_t version, const uint64_t *debug, struct gil_layout expected)
{
	struct gil_layout layout;

	assert_true(gil_layout(version, debug, &layout));
	assert_int_equal(layout.runtime, expected.runtime);
	assert_int_equal(layout.gil, expected.gil);
	assert_int_equal(layout.interpreters, expected.interpreters);
	assert_int_equal(layout.next, expected.next);
	assert_int_equal(layout.interpreter, expected.interpreter);
	assert_int_equal(layout.thread, expected.thread);
	assert_int_equal(layout.native, expected.native);
}

static void layouts(void **state)
{
	static const uint64_t none[GIL_DEBUG_WORDS];
	struct gil_layout layout;

	(void)state;
	layout_is(0x03080000, none, (struct gil_layout){ true, 1152, 32, 0, 16, 176, 0 });
	layout_is(0x030a0000, none, (struct gil_layout){ true, 352, 32, 0, 16, 176, 0 });
	layout_is(0x030b07f0, none, (struct gil_layout){ true, 360, 40, 0, 16, 152, 160 });
	layout_is(0x030c01f0, none, (struct gil_layout){ false, 384, 40, 0, 16, 136, 144 });
	layout_is(0x030d05f0, debug_3_13,
		  (struct gil_layout){ false, 16, 632, 7264, 16, 152, 160 });
	layout_is(0x030e0af0, debug_3_14,
		  (struct gil_layout){ false, 16, 808, 7272, 16, 152, 160 });
	assert_false(gil_layout(0, none, &layout));
	assert_false(gil_layout(0x03070000, none, &layout));
	assert_false(gil_layout(0x030f00f0, debug_3_14, &layout));
}

/* Where the words are not those of the version, or the build has no GIL. */
static void no_layouts(void **state)
{
	uint64_t debug[GIL_DEBUG_WORDS];
	struct gil_layout layout;

	(void)state;
	assert_false(gil_layout(0x030d05f0, debug_3_14, &layout));
	assert_false(gil_layout(0x030e0af0, debug_3_13, &layout));
	for (int word = 0; word < 3; word++) { /* cookie, version, free_threaded */
		memcpy(debug, debug_3_14, sizeof(debug));
		debug[word] ^= 1u << 16;
		assert_false(gil_layout(0x030e0af0, debug, &layout));
	}
	memcpy(debug, debug_3_14, sizeof(debug));
	debug[18] += 8;
	assert_false(gil_layout(0x030e0af0, debug, &layout));
}

static void states(void **state)
{
	uint64_t words[GIL_WORDS] = { 5000, 0x555500001000, 0x7f0000000001, 17 };
	struct gil_state s;

	(void)state;
	assert_true(gil_state(words, &s)); /* what is behind the 4 bytes of `locked` is padding */
	assert_true(s.held);
	assert_int_equal(s.holder, 0x555500001000);
	assert_int_equal(s.switches, 17);
	words[2] = 0;
	assert_true(gil_state(words, &s));
	assert_false(s.held);
	words[2] = UINT32_MAX; /* not made yet */
	assert_false(gil_state(words, &s));
	words[2] = 1;
	words[10] = 1; /* somebody takes it just now */
	assert_false(gil_state(words, &s));
	words[10] = 0;
	words[1] = 0;
	assert_false(gil_state(words, &s));
	words[1] = 0x555500001004;
	assert_false(gil_state(words, &s));
}

static void waits(void **state)
{
	(void)state;
	assert_false(gil_waits(0x1000, 0x1000 + 28));
	assert_true(gil_waits(0x1000, 0x1000 + 32));
	assert_true(gil_waits(0x1000, 0x1000 + 76));
	assert_false(gil_waits(0x1000, 0x1000 + 80)); /* the mutex: drop_gil() takes it, too */
	assert_false(gil_waits(0x1000, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layouts),
		cmocka_unit_test(no_layouts),
		cmocka_unit_test(states),
		cmocka_unit_test(waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
