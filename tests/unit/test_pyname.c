// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pyname.h"

static const char *name_of(const char *text, size_t len)
{
	static char out[64];

	memset(out, 'x', sizeof(out));
	python_name(out, sizeof(out), text, len);
	return out;
}

static void names(void **state)
{
	static const char *const good[] = { "SystemExit", "_x", "a.b.C9", "concurrent.futures._B" };
	static const char *const bad[] = {
		"",    ".",	 ".a",	 "a.",	     "a..b", "9a",	 "a.9",
		"a b", "a\x1b[", "a\nb", "\xc3\xa9", "a-b",  "<locals>", "a'b",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_string_equal(name_of(good[i], 64), good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_string_equal(name_of(bad[i], 64), "");
}

static void lengths(void **state)
{
	char text[80], out[8];

	(void)state;
	assert_string_equal(name_of("SystemExit", 6), "System"); /* no NUL within */
	memset(text, 'a', sizeof(text));
	assert_string_equal(name_of(text, 64), ""); /* does not fit */
	assert_int_equal(strlen(name_of(text, 63)), 63);
	python_name(out, sizeof(out), "abcdefg", 64);
	assert_string_equal(out, "abcdefg");
	python_name(out, sizeof(out), "abcdefgh", 64);
	assert_string_equal(out, "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(lengths),
	};

	return cmocka_run_group_tests_name("pyname", tests, NULL, NULL);
}
