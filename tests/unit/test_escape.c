// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "escape.h"

static void assert_escaped(const char *bytes, size_t len, const char *expected)
{
	char out[256];

	assert_ptr_equal(escape(out, sizeof(out), bytes, len), out);
	assert_string_equal(out, expected);
}

#define ASSERT_ESCAPED(literal, expected) assert_escaped(literal, sizeof(literal) - 1, expected)

static void test_printable_stays(void **state)
{
	(void)state;
	ASSERT_ESCAPED("", "");
	ASSERT_ESCAPED("worker-3 \"a\" 'b' $(c) <d>", "worker-3 \"a\" 'b' $(c) <d>");
	ASSERT_ESCAPED("Übergröße", "Übergröße");
	ASSERT_ESCAPED("東京 Ω ✓", "東京 Ω ✓");
	ASSERT_ESCAPED("\xf0\x9f\x94\x92", "\xf0\x9f\x94\x92"); /* U+1F512 */
	ASSERT_ESCAPED("\xf4\x8f\xbf\xbd", "\xf4\x8f\xbf\xbd"); /* U+10FFFD, the last */
	ASSERT_ESCAPED("\xed\x9f\xbb\xee\x80\x80",
		       "\xed\x9f\xbb\xee\x80\x80"); /* around surrogates */
}

static void test_backslash_is_doubled(void **state)
{
	(void)state;
	ASSERT_ESCAPED("a\\b", "a\\\\b");
	ASSERT_ESCAPED("\\x1b", "\\\\x1b");
}

static void test_controls(void **state)
{
	(void)state;
	ASSERT_ESCAPED("\x1b[2J", "\\x1b[2J");
	ASSERT_ESCAPED("a\nb\tc\r", "a\\x0ab\\x09c\\x0d");
	ASSERT_ESCAPED("\0\x7f", "\\x00\\x7f");
	ASSERT_ESCAPED("\xc2\x9b\x32J", "\\xc2\\x9b2J"); /* C1 control sequence introducer */
	ASSERT_ESCAPED("\xc2\xa0", "\xc2\xa0");		 /* the first behind C1 */
}

static void test_invisible_format(void **state)
{
	(void)state;
	ASSERT_ESCAPED("a\u202Eb", "a\\xe2\\x80\\xaeb"); /* right-to-left override */
	ASSERT_ESCAPED("\u2066\u2069", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9");
	ASSERT_ESCAPED("\u200B\uFEFF\u00AD\u061C",
		       "\\xe2\\x80\\x8b\\xef\\xbb\\xbf\\xc2\\xad\\xd8\\x9c");
	ASSERT_ESCAPED("\u2028\u2029", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9"); /* line separators */
	ASSERT_ESCAPED("\U000E0041", "\\xf3\\xa0\\x81\\x81");		  /* a tag */
}

static void test_invalid_utf8(void **state)
{
	(void)state;
	ASSERT_ESCAPED("\xff\xfe", "\\xff\\xfe");
	ASSERT_ESCAPED("a\x80"
		       "b",
		       "a\\x80b");				    /* a continuation alone */
	ASSERT_ESCAPED("\xc0\xaf\xc1\xbf", "\\xc0\\xaf\\xc1\\xbf"); /* overlong, 2 bytes */
	ASSERT_ESCAPED("\xe0\x9f\xbf", "\\xe0\\x9f\\xbf");	    /* overlong, 3 bytes */
	ASSERT_ESCAPED("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"); /* overlong, 4 bytes */
	ASSERT_ESCAPED("\xed\xa0\x80", "\\xed\\xa0\\x80");	    /* surrogate */
	ASSERT_ESCAPED("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
	ASSERT_ESCAPED("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80");
	ASSERT_ESCAPED("\xe2\x82", "\\xe2\\x82"); /* cut off: 15 bytes of comm */
	ASSERT_ESCAPED("\xe2\x82"
		       "a",
		       "\\xe2\\x82"
		       "a");
	ASSERT_ESCAPED("\xe2\xe2\x82\xac", "\\xe2\u20ac");
}

static void test_every_byte_can_be_got_back(void **state)
{
	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		char in = (char)byte, out[ESCAPED_BYTES(1)];

		escape(out, sizeof(out), &in, 1);
		if (byte == '\\')
			assert_string_equal(out, "\\\\");
		else if (byte >= 0x20 && byte < 0x7f)
			assert_true(out[0] == in && out[1] == '\0');
		else
			assert_int_equal(strtol(out + 2, NULL, 16), byte);
	}
}

/* A small out cuts between units, never within one, and always ends with NUL. */
static void test_cut_off(void **state)
{
	static const char *const expected[] = { "",	   "a",	      "a",	    "a",
						"a",	   "a\\x1b",  "a\\x1b",	    "a\\x1b",
						"a\\x1b€", "a\\x1b€", "a\\x1b€\\\\" };
	char out[16];

	(void)state;
	for (size_t room = 1; room <= sizeof(expected) / sizeof(expected[0]); room++) {
		memset(out, '!', sizeof(out));
		escape(out, room, "a\x1b€\\", 6);
		assert_string_equal(out, expected[room - 1]);
		assert_int_equal(out[room], '!');
	}
}

static void test_worst_case_fits(void **state)
{
	char in[64], out[ESCAPED_BYTES(sizeof(in))];

	(void)state;
	memset(in, 0xff, sizeof(in));
	escape(out, sizeof(out), in, sizeof(in));
	assert_int_equal(strlen(out), 4 * sizeof(in));
}

static void test_string(void **state)
{
	char *out = escape_string("\x1b\u202E ok\xff");

	(void)state;
	assert_string_equal(out, "\\x1b\\xe2\\x80\\xae ok\\xff");
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_printable_stays),
		cmocka_unit_test(test_backslash_is_doubled),
		cmocka_unit_test(test_controls),
		cmocka_unit_test(test_invisible_format),
		cmocka_unit_test(test_invalid_utf8),
		cmocka_unit_test(test_every_byte_can_be_got_back),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_worst_case_fits),
		cmocka_unit_test(test_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
