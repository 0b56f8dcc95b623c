// SPDX-License-Identifier: GPL-2.0-only
#include "pages.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HEAD "\n= "

static const char text[] =
#include "explain.inc"
	;

static void copy(char *to, size_t size, const char *from, size_t len)
{
	snprintf(to, size, "%.*s", (int)len, from);
}

/* A page goes from its head, "= WORD: WHAT", to the next one's. */
bool page_next(struct page *page)
{
	const char *from = page->text ? page->text + page->text_bytes : text;
	const char *head = strstr(from, HEAD), *colon, *end, *next;

	if (!head)
		return false;
	head += strlen(HEAD);
	end = strchr(head, '\n');
	colon = memchr(head, ':', end - head);
	if (!colon)
		return false;
	copy(page->word, sizeof(page->word), head, colon - head);
	colon += strlen(": ");
	copy(page->what, sizeof(page->what), colon, end - colon);
	page->text = end + 1;
	/* Between pages is an empty line, whose end is the next head's begin. */
	next = strstr(page->text, HEAD);
	page->text_bytes = next ? (size_t)(next - page->text) : strlen(page->text);
	return true;
}

bool page_find(const char *word, struct page *page)
{
	*page = (struct page){ 0 };
	while (page_next(page)) {
		if (!strcasecmp(page->word, word))
			return true;
	}
	return false;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein's: how many letters are to be changed, added or left out. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(b), row[PAGE_WORD_BYTES];

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t above = row[j];
			bool same = a[i - 1] == b[j - 1];

			row[j] = least(least(above, row[j - 1]) + 1, corner + !same);
			corner = above;
		}
	}
	return row[n];
}

static bool is_part(const char *word, const char *other)
{
	return strlen(word) > 2 && strstr(other, word);
}

size_t page_near(const char *word, char near[][PAGE_WORD_BYTES], size_t limit)
{
	size_t far[PAGE_NEAR_LIMIT], n = 0, at, d;
	struct page page = { 0 };

	limit = least(limit, PAGE_NEAR_LIMIT);
	while (page_next(&page)) {
		d = is_part(word, page.word) ? 0 : distance(word, page.word);
		if (d > strlen(page.word) / 2)
			continue; /* hardly a letter is right */
		for (at = n; at > 0 && far[at - 1] > d; at--)
			;
		if (at == limit)
			continue;
		n = least(n + 1, limit);
		memmove(&far[at + 1], &far[at], (n - at - 1) * sizeof(*far));
		memmove(near[at + 1], near[at], (n - at - 1) * sizeof(*near));
		far[at] = d;
		copy(near[at], PAGE_WORD_BYTES, page.word, strlen(page.word));
	}
	return n;
}
