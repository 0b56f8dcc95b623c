// SPDX-License-Identifier: GPL-2.0-only
#include "detail.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "words.h"

#define COLUMNS	    80
#define INDENT	    2
#define INDENT_OF   4
#define INDENT_MORE 8

static size_t columns(const char *text, size_t bytes)
{
	size_t width = 0;

	for (size_t i = 0; i < bytes; i++)
		width += (text[i] & 0xc0) != 0x80;
	return width;
}

static void line_print(FILE *out, int indent, const char *line)
{
	size_t column = indent;

	fprintf(out, "%*s", indent, "");
	for (bool first = true; *line || first; first = false) {
		size_t bytes = strcspn(line, " "), width = columns(line, bytes);

		if (!first && column > INDENT_MORE && column + 1 + width > COLUMNS) {
			fprintf(out, "\n%*s", INDENT_MORE, "");
			column = INDENT_MORE;
		} else if (!first) {
			fputc(' ', out);
			column++;
		}
		for (size_t i = 0; i < bytes; i++)
			fputc(line[i] == GLUE[0] ? ' ' : line[i], out);
		column += width;
		line += bytes;
		line += *line == ' ';
	}
	fputc('\n', out);
}

void detail_line(FILE *out, const char *line)
{
	line_print(out, INDENT, line);
}

void detail(FILE *out, const char *format, ...)
{
	char line[DETAIL_LINE_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	line_print(out, INDENT, line);
}

void detail_of(FILE *out, const char *format, ...)
{
	char line[DETAIL_LINE_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	line_print(out, INDENT_OF, line);
}

const char *lock_place(const struct lock_info *lock, char out[LOCK_PLACE_BYTES])
{
	char path[ESCAPED_BYTES(PATH_BYTES)], symbol[ESCAPED_BYTES(DETAIL_BYTES)];
	size_t used = 0;

	out[0] = '\0';
	if (lock->map_path[0] == '/' && lock->map_start)
		used = (size_t)snprintf(out, LOCK_PLACE_BYTES, ", %s+0x%" PRIx64,
					ESCAPE(path, lock->map_path),
					lock->address - lock->map_start + lock->map_offset);
	else if (lock->map_path[0])
		used = (size_t)snprintf(out, LOCK_PLACE_BYTES, ", in %s",
					ESCAPE(path, lock->map_path));
	if (lock->symbol[0])
		snprintf(out + used, LOCK_PLACE_BYTES - used, used ? " (%s)" : ", %s",
			 ESCAPE(symbol, lock->symbol));
	return out;
}

const char *lock_type_words(enum lock_type type)
{
	switch (type) {
	case LOCK_MUTEX:
	case LOCK_ROBUST_MUTEX:
		return "mutex";
	case LOCK_PI_MUTEX:
		return "priority-inheritance mutex";
	case LOCK_RWLOCK:
		return "rwlock, held for writing";
	case LOCK_STDIO:
		return "stdio stream's lock";
	case LOCK_PYTHON_LOCK:
		return "Python Lock";
	case LOCK_PYTHON_RLOCK:
		return "Python RLock";
	default:
		return "lock of unknown make";
	}
}

const char *lock_in_words(const struct lock_info *lock, char out[LOCK_WORDS_BYTES])
{
	const char *kind = lock_kind_name(lock->kind);
	char times[32] = "";

	if (lock->recursion > 1)
		snprintf(times, sizeof(times), ", held %u times", lock->recursion);
	snprintf(out, LOCK_WORDS_BYTES, "%s%s%s%s%s%s", lock->shared ? "shared " : "",
		 lock_is_robust(lock) ? "robust " : "", kind ? kind : "", kind ? " " : "",
		 lock->read ? "rwlock, held for reading" : lock_type_words(lock->type), times);
	return out;
}

void detail_glue(char *words)
{
	for (; *words; words++)
		if (*words == ' ')
			*words = GLUE[0];
}
