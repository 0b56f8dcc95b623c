// SPDX-License-Identifier: GPL-2.0-only
#include "explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "detail.h"
#include "jsonw.h"
#include "pages.h"
#include "policy.h"
#include "words.h"

#define SCHEMA	   "deadhold.explain/1"
#define WHATS	   32
#define WHAT_BYTES 64
#define NEAR	   3

/* --- what a word is: "proof, place of loss" are two --- */

/* Calls `each` for every part. */
static void page_whats(const struct page *page, void *context,
		       void (*each)(void *context, const char *what))
{
	char whats[sizeof(page->what)], *rest = whats, *what;

	snprintf(whats, sizeof(whats), "%s", page->what);
	while ((what = strsep(&rest, ",")))
		each(context, what + (*what == ' '));
}

/* All there are, each once, in the order of the pages. */
struct whats {
	size_t n;
	char what[WHATS][WHAT_BYTES];
};

static void whats_add(void *context, const char *what)
{
	struct whats *whats = context;

	for (size_t i = 0; i < whats->n; i++) {
		if (!strcmp(whats->what[i], what))
			return;
	}
	if (whats->n < WHATS)
		snprintf(whats->what[whats->n++], WHAT_BYTES, "%s", what);
}

struct what_search {
	const char *what;
	bool found;
};

static void what_compare(void *context, const char *what)
{
	struct what_search *search = context;

	search->found |= !strcmp(search->what, what);
}

static void json_what(void *context, const char *what)
{
	jsonw_string(context, NULL, what);
}

static void json_page(struct jsonw *w, const struct page *page)
{
	jsonw_string(w, "word", page->word);
	jsonw_array(w, "is");
	page_whats(page, w, json_what);
	jsonw_array_end(w);
}

static void json_print(struct jsonw *w)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	jsonw_object_end(w);
	text = jsonw_take(w, &len);
	if (text)
		fwrite(text, 1, len, stdout);
	else
		fprintf(stderr, "deadhold: out of memory\n");
}

/* --- all words --- */

static void words_text(void)
{
	struct whats whats = { 0 };
	struct page page = { 0 };

	while (page_next(&page))
		page_whats(&page, &whats, whats_add);
	puts("deadhold explain WORD says what a word means, and what to do. The words:");
	for (size_t i = 0; i < whats.n; i++) {
		char line[DETAIL_LINE_BYTES];
		size_t used = (size_t)snprintf(line, sizeof(line), "%s:", whats.what[i]);
		const char *comma = "";

		page = (struct page){ 0 };
		while (page_next(&page) && used < sizeof(line)) {
			struct what_search search = { .what = whats.what[i] };

			page_whats(&page, &search, what_compare);
			if (!search.found)
				continue;
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s %s", comma,
						 page.word);
			comma = ",";
		}
		detail_line(stdout, line);
	}
}

static void words_json(void)
{
	struct jsonw w = { 0 };
	struct page page = { 0 };

	jsonw_object(&w, NULL);
	jsonw_string(&w, "schema", SCHEMA);
	jsonw_array(&w, "words");
	while (page_next(&page)) {
		jsonw_object(&w, NULL);
		json_page(&w, &page);
		jsonw_object_end(&w);
	}
	jsonw_array_end(&w);
	json_print(&w);
}

/* --- one word --- */

static bool is_noise(const struct page *page)
{
	return !strcmp(page->word, "noise");
}

static void page_text(const struct page *page)
{
	const struct policy_rule *rules;
	size_t n;

	printf("%s: %s\n\n%.*s", page->word, page->what, (int)page->text_bytes, page->text);
	if (!is_noise(page))
		return;
	rules = policy_rules(&n);
	for (size_t i = 0; i < n; i++)
		detail(stdout, "- %s", rules[i].reason);
}

static void page_json(const struct page *page)
{
	_cleanup_free_ char *text = strndup(page->text, page->text_bytes);
	const struct policy_rule *rules;
	struct jsonw w = { 0 };
	size_t n;

	jsonw_object(&w, NULL);
	jsonw_string(&w, "schema", SCHEMA);
	json_page(&w, page);
	jsonw_string(&w, "text", text);
	if (is_noise(page)) {
		rules = policy_rules(&n);
		jsonw_array(&w, "folded");
		for (size_t i = 0; i < n; i++)
			jsonw_string(&w, NULL, rules[i].reason);
		jsonw_array_end(&w);
	}
	json_print(&w);
}

static int word_unknown(const char *word)
{
	char near[NEAR][PAGE_WORD_BYTES], shown[ESCAPED_BYTES(DETAIL_BYTES)];
	size_t n = page_near(word, near, NEAR);

	ESCAPE(shown, word);
	fprintf(stderr, "deadhold: nothing to explain about '%s': ", shown);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s%s", i ? ", " : "try ", near[i]);
	fprintf(stderr, "%s'deadhold explain' lists all words\n", n ? "; " : "");
	return 2;
}

int explain_run(const struct options *options)
{
	bool json = options->output == OUTPUT_JSON;
	struct page page;

	if (!options->word)
		json ? words_json() : words_text();
	else if (!page_find(options->word, &page))
		return word_unknown(options->word);
	else
		json ? page_json(&page) : page_text(&page);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "deadhold: standard output: write error\n");
		return 1;
	}
	return 0;
}
