/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes JSON, compact, into a buffer that grows. Members come out in the order of the calls. A value
 * that is unknown is left out: by NULL where a function takes a pointer, else by not calling it. The
 * key of what is written into an array is NULL. Keys are written as they are.
 *
 * A writer that runs out of memory takes nothing more, and jsonw_take() says so.
 */
#ifndef DEADHOLD_JSONW_H
#define DEADHOLD_JSONW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jsonw {
	char *text;
	size_t len, room;
	bool failed;
};

void jsonw_object(struct jsonw *w, const char *key);
void jsonw_object_end(struct jsonw *w);
void jsonw_array(struct jsonw *w, const char *key);
void jsonw_array_end(struct jsonw *w);

/* Text of our own, which is UTF-8. NULL: left out. */
void jsonw_string(struct jsonw *w, const char *key, const char *text);
void jsonw_format(struct jsonw *w, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4))); /* what does not fit into 128 bytes is cut off */
/* Bytes from anywhere, made fit to print by escape(). NULL or empty: left out. */
void jsonw_escaped(struct jsonw *w, const char *key, const char *bytes);

void jsonw_integer(struct jsonw *w, const char *key, int64_t value);
void jsonw_real(struct jsonw *w, const char *key, double value); /* neither NaN nor infinite */
void jsonw_boolean(struct jsonw *w, const char *key, bool value);

/*
 * The text, with a newline at its end, and its length in *len. The caller frees it; the writer is as
 * it was at first. NULL with errno ENOMEM.
 */
char *jsonw_take(struct jsonw *w, size_t *len);

#endif
