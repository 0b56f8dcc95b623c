// SPDX-License-Identifier: GPL-2.0-only
#include "jsonw.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

#define FIRST_BYTES  2048 /* more than most alerts take */
#define NUMBER_BYTES 32
#define FORMAT_BYTES 128

static void put(struct jsonw *w, const char *bytes, size_t n)
{
	if (w->room - w->len < n && !w->failed) {
		size_t room = w->room ? w->room * 2 : FIRST_BYTES;
		char *grown;

		while (room - w->len < n)
			room *= 2;
		grown = realloc(w->text, room);
		w->failed = !grown;
		if (grown) {
			w->text = grown;
			w->room = room;
		}
	}
	if (w->failed)
		return;
	memcpy(w->text + w->len, bytes, n);
	w->len += n;
}

static bool is_special(unsigned char byte)
{
	return byte < ' ' || byte == '"' || byte == '\\';
}

static void put_quoted(struct jsonw *w, const char *text)
{
	char control[NUMBER_BYTES];

	put(w, "\"", 1);
	for (;;) {
		size_t n = 0;

		while (!is_special(text[n]))
			n++;
		put(w, text, n);
		text += n;
		if (!*text)
			break;
		if (*text < ' ')
			put(w, control, sprintf(control, "\\u%04x", *text));
		else
			put(w, (char[]){ '\\', *text }, 2);
		text++;
	}
	put(w, "\"", 1);
}

/* Only an object or array that was just begun ends like this: all values end otherwise. */
static bool at_first(const struct jsonw *w)
{
	return !w->len || w->text[w->len - 1] == '{' || w->text[w->len - 1] == '[';
}

static void put_key(struct jsonw *w, const char *key)
{
	if (!at_first(w))
		put(w, ",", 1);
	if (!key)
		return;
	put(w, "\"", 1);
	put(w, key, strlen(key));
	put(w, "\":", 2);
}

void jsonw_object(struct jsonw *w, const char *key)
{
	put_key(w, key);
	put(w, "{", 1);
}

void jsonw_object_end(struct jsonw *w)
{
	put(w, "}", 1);
}

void jsonw_array(struct jsonw *w, const char *key)
{
	put_key(w, key);
	put(w, "[", 1);
}

void jsonw_array_end(struct jsonw *w)
{
	put(w, "]", 1);
}

void jsonw_string(struct jsonw *w, const char *key, const char *text)
{
	if (!text)
		return;
	put_key(w, key);
	put_quoted(w, text);
}

void jsonw_format(struct jsonw *w, const char *key, const char *format, ...)
{
	char text[FORMAT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	jsonw_string(w, key, text);
}

/* Nearly all names and paths: escape() would leave them as they are. */
static bool is_plain(const char *bytes)
{
	while (*bytes >= ' ' && *bytes < 0x7f && *bytes != '\\')
		bytes++;
	return !*bytes;
}

void jsonw_escaped(struct jsonw *w, const char *key, const char *bytes)
{
	char *escaped;

	if (!bytes || !*bytes)
		return;
	if (is_plain(bytes)) {
		jsonw_string(w, key, bytes);
		return;
	}
	escaped = escape_string(bytes);
	w->failed |= !escaped;
	jsonw_string(w, key, escaped);
	free(escaped);
}

void jsonw_integer(struct jsonw *w, const char *key, int64_t value)
{
	char number[NUMBER_BYTES];

	put_key(w, key);
	put(w, number, sprintf(number, "%" PRId64, value));
}

/* A number that could be read as an integer has ".0" at its end. */
void jsonw_real(struct jsonw *w, const char *key, double value)
{
	char number[NUMBER_BYTES];
	int n = sprintf(number, "%.12g", value);

	put_key(w, key);
	put(w, number, n);
	if (!strpbrk(number, ".e"))
		put(w, ".0", 2);
}

void jsonw_boolean(struct jsonw *w, const char *key, bool value)
{
	put_key(w, key);
	put(w, value ? "true" : "false", value ? 4 : 5);
}

char *jsonw_take(struct jsonw *w, size_t *len)
{
	char *text;

	put(w, "\n", 2); /* and its NUL */
	if (w->failed) {
		free(w->text);
		*w = (struct jsonw){ 0 };
		errno = ENOMEM;
		return NULL;
	}
	text = w->text;
	*len = w->len - 1;
	*w = (struct jsonw){ 0 };
	return text;
}
