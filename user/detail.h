/* SPDX-License-Identifier: GPL-2.0-only */
/* The lines below a message: indented, and broken at spaces where they would be too wide. */
#ifndef DEADHOLD_DETAIL_H
#define DEADHOLD_DETAIL_H

#include <stdio.h>

#include "alert.h"
#include "escape.h"

/* A space that no line breaks at. Escaped text never holds this byte. */
#define GLUE "\x01"

#define DETAIL_LINE_BYTES 8192 /* more than an escaped path and an escaped symbol */

/* `line` as a line, whatever bytes it holds. */
void detail_line(FILE *out, const char *line);
void detail(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What belongs to the detail above it: further in. */
void detail_of(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keeps these words on one line. */
void detail_glue(char *words);

/* shared robust recursive mutex, held 2 times */
#define LOCK_WORDS_BYTES 128
const char *lock_in_words(const struct lock_info *lock, char out[LOCK_WORDS_BYTES]);
/* mutex; rwlock, held for writing … */
const char *lock_type_words(enum lock_type type);
/* ", /usr/bin/web+0x40e0 (queue_lock)", or what of it is known */
#define LOCK_PLACE_BYTES (ESCAPED_BYTES(PATH_BYTES) + ESCAPED_BYTES(DETAIL_BYTES) + 32)
const char *lock_place(const struct lock_info *lock, char out[LOCK_PLACE_BYTES]);

#endif
