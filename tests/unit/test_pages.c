// SPDX-License-Identifier: GPL-2.0-only
/* The pages of `deadhold explain`. Whether there is one for every word, tests/docs.py checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pages.h"

#define COLUMNS 80
#define NEAR	3

static void pages_are_well_made(void **state)
{
	struct page page = { 0 }, other;
	size_t n = 0;

	(void)state;
	while (page_next(&page)) {
		const char *end = page.text + page.text_bytes;

		n++;
		assert_true(page.word[0] && page.what[0] && page.text_bytes > 20);
		assert_int_equal(end[-1], '\n');
		assert_true(end[-2] != '\n');
		/* The first page of that word is this one: no word has two. */
		assert_true(page_find(page.word, &other));
		assert_ptr_equal(other.text, page.text);
		for (const char *line = page.text, *next; line < end; line = next + 1) {
			next = memchr(line, '\n', end - line);
			assert_true(next - line <= COLUMNS);
			assert_null(memchr(line, '\t', next - line));
		}
	}
	assert_true(n > 50);
}

static void pages_are_found(void **state)
{
	struct page page;

	(void)state;
	assert_true(page_find("tid-kill", &page));
	assert_string_equal(page.word, "tid-kill");
	assert_string_equal(page.what, "kind");
	assert_true(page_find("Tid-Kill", &page));
	assert_true(page_find("robust-list", &page));
	assert_string_equal(page.what, "proof, place of loss");
	assert_true(page_find("output", &page)); /* the last one */
	assert_false(page_find("", &page));
	assert_false(page_find("tid", &page));
	assert_false(page_find("tid-kill: kind", &page));
	assert_false(page_find("\n= ", &page));
}

/* The text as one line. */
static void unbroken(const struct page *page, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < page->text_bytes; i++) {
		bool space = page->text[i] == ' ' || page->text[i] == '\n';

		assert_true(n + 1 < size);
		if (!space || !n || out[n - 1] != ' ')
			out[n++] = space ? ' ' : page->text[i];
	}
	out[n] = '\0';
}

/* The story: a page that answers it says all of this. */
static void story_is_answered(void **state)
{
	static const char *const words[][8] = {
		{ "thread-killed", "task off a queue", "stop.is_set()", "timeout=1",
		  "deadhold inspect", "pthread_cleanup_push", "CANNOT KNOW", NULL },
		{ "tid-kill", "ps -mp PID -o THREAD,tid", "whole process ends", "main thread",
		  "tgkill", "CANNOT KNOW", "flag", NULL },
	};

	char text[8192];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		struct page page;

		assert_true(page_find(words[i][0], &page));
		unbroken(&page, text, sizeof(text));
		for (const char *const *word = &words[i][1]; *word; word++)
			assert_non_null(strstr(text, *word));
	}
}

static void assert_nearest(const char *word, const char *expected)
{
	char near[NEAR][PAGE_WORD_BYTES];

	assert_true(page_near(word, near, NEAR) >= 1);
	assert_string_equal(near[0], expected);
}

static void near_words(void **state)
{
	char near[PAGE_NEAR_LIMIT][PAGE_WORD_BYTES];
	char longest[4096];

	(void)state;
	assert_nearest("tidkill", "tid-kill");
	assert_nearest("tid_kill", "tid-kill");
	assert_nearest("lock-orphan", "lock-orphaned");
	assert_nearest("canceled", "cancel");
	assert_nearest("suspected", "lock-suspected");
	assert_int_equal(page_near("xyzzy", near, NEAR), 0);
	assert_int_equal(page_near("lock", near, 0), 0);
	assert_int_equal(page_near("lock", near, 2), 2);
	assert_int_equal(page_near("lock", near, 100), PAGE_NEAR_LIMIT);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(page_near(longest, near, NEAR), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_well_made),
		cmocka_unit_test(pages_are_found),
		cmocka_unit_test(story_is_answered),
		cmocka_unit_test(near_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
