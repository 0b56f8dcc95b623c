/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pages of `deadhold explain`, one for each word that alerts use. Their text is docs/explain.txt,
 * which the build puts into the program.
 */
#ifndef DEADHOLD_PAGES_H
#define DEADHOLD_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#define PAGE_WORD_BYTES 32

struct page {
	char word[PAGE_WORD_BYTES];
	char what[64];	  /* "kind", "proof, place of loss": what the word is */
	const char *text; /* text_bytes long, lines of at most 80 columns */
	size_t text_bytes;
};

/* The page behind *page, the first one behind an empty one. False: there is none. */
bool page_next(struct page *page);

/* The page of that word, in upper or lower case. False: there is none. */
bool page_find(const char *word, struct page *page);

/*
 * The words that somebody who wrote `word` may have meant, the nearest first, `limit` at most. Returns
 * how many there are.
 */
#define PAGE_NEAR_LIMIT 8
size_t page_near(const char *word, char near[][PAGE_WORD_BYTES], size_t limit);

#endif
