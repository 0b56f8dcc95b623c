// SPDX-License-Identifier: GPL-2.0-only
/* The writer against jansson, which reads back what it wrote, and writes numbers the same way. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonw.h"

/* Ends the outermost object and takes the text. */
static char *take(struct jsonw *w)
{
	size_t len = 0;
	char *text;

	jsonw_object_end(w);
	text = jsonw_take(w, &len);
	assert_non_null(text);
	assert_int_equal(len, strlen(text));
	return text;
}

static void assert_text(struct jsonw *w, const char *expected)
{
	char *text = take(w);

	assert_string_equal(text, expected);
	free(text);
}

static struct jsonw begin(void)
{
	struct jsonw w = { 0 };

	jsonw_object(&w, NULL);
	return w;
}

static void nothing(void **state)
{
	struct jsonw w = begin();

	(void)state;
	assert_text(&w, "{}\n");
}

static void values(void **state)
{
	struct jsonw w = begin();

	(void)state;
	jsonw_integer(&w, "least", INT64_MIN);
	jsonw_integer(&w, "most", INT64_MAX);
	jsonw_boolean(&w, "yes", true);
	jsonw_boolean(&w, "no", false);
	jsonw_string(&w, "text", "a");
	jsonw_string(&w, "empty", "");
	jsonw_format(&w, "hex", "0x%x", 255);
	assert_text(&w,
		    "{\"least\":-9223372036854775808,\"most\":9223372036854775807,"
		    "\"yes\":true,\"no\":false,\"text\":\"a\",\"empty\":\"\",\"hex\":\"0xff\"}\n");
}

static void unknown_is_left_out(void **state)
{
	struct jsonw w = begin();

	(void)state;
	jsonw_string(&w, "a", NULL);
	jsonw_escaped(&w, "b", NULL);
	jsonw_escaped(&w, "c", "");
	assert_text(&w, "{}\n");
}

/* Commas, also after strings that end like the start of an object. */
static void nested(void **state)
{
	struct jsonw w = begin();

	(void)state;
	jsonw_object(&w, "a");
	jsonw_object_end(&w);
	jsonw_array(&w, "b");
	jsonw_string(&w, NULL, "{");
	jsonw_string(&w, NULL, "[");
	jsonw_array(&w, NULL);
	jsonw_array_end(&w);
	jsonw_object(&w, NULL);
	jsonw_integer(&w, "c", 1);
	jsonw_integer(&w, "d", 2);
	jsonw_object_end(&w);
	jsonw_array_end(&w);
	jsonw_integer(&w, "e", 3);
	assert_text(&w, "{\"a\":{},\"b\":[\"{\",\"[\",[],{\"c\":1,\"d\":2}],\"e\":3}\n");
}

static void reals(void **state)
{
	static const double numbers[] = { 0, 1, 60, 0.5, 127.5873019, 1e6, 0.001, 86400.25 };

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		json_t *json = json_pack("{s:f}", "n", numbers[i]);
		char *expected = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(12));
		struct jsonw w = begin();
		char *text;

		jsonw_real(&w, "n", numbers[i]);
		text = take(&w);
		text[strlen(text) - 1] = '\0';
		assert_string_equal(text, expected);
		free(text);
		free(expected);
		json_decref(json);
	}
}

/* What was written, read by somebody else. */
static void assert_read_back(struct jsonw *w, const char *expected)
{
	char *text = take(w);
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (!json)
		fail_msg("no JSON: %s", text);
	assert_string_equal(json_string_value(json_object_get(json, "s")), expected);
	json_decref(json);
	free(text);
}

static void every_byte(void **state)
{
	(void)state;
	for (int byte = 1; byte < 0x80; byte++) {
		char text[] = { 'a', (char)byte, 'z', '\0' };
		struct jsonw w = begin();

		jsonw_string(&w, "s", text);
		assert_read_back(&w, text);
	}
}

static void escapes(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{ "worker-3", "worker-3" },
		{ "a b~", "a b~" },
		{ "quo\"te", "quo\"te" },
		{ "back\\slash", "back\\\\slash" },
		{ "\x1b[31m", "\\x1b[31m" },
		{ "\x7f", "\\x7f" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xff\xfe", "\\xff\\xfe" },
		{ "\xe2\x80\xae", "\\xe2\\x80\\xae" }, /* turns the reading direction */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct jsonw w = begin();

		jsonw_escaped(&w, "s", cases[i].bytes);
		assert_read_back(&w, cases[i].text);
	}
}

static void grows(void **state)
{
	struct jsonw w = begin();
	char *many = malloc(100001);

	(void)state;
	memset(many, '"', 100000);
	many[100000] = '\0';
	jsonw_string(&w, "s", many);
	assert_read_back(&w, many);
	free(many);
}

static void out_of_memory(void **state)
{
	struct jsonw w = begin();
	size_t len;

	(void)state;
	w.failed = true; /* as a realloc() that fails leaves it */
	jsonw_string(&w, "s", "text");
	jsonw_object_end(&w);
	assert_null(jsonw_take(&w, &len));
	assert_int_equal(errno, ENOMEM);
	assert_null(w.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing),	 cmocka_unit_test(values),
		cmocka_unit_test(reals),	 cmocka_unit_test(unknown_is_left_out),
		cmocka_unit_test(nested),	 cmocka_unit_test(every_byte),
		cmocka_unit_test(escapes),	 cmocka_unit_test(grows),
		cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests_name("jsonw", tests, NULL, NULL);
}
