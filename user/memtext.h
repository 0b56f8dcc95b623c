/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DEADHOLD_MEMTEXT_H
#define DEADHOLD_MEMTEXT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Ends what open_memstream(&text, ...) began. Returns the text, to be freed, or NULL with errno ENOMEM:
 * memory ran out on the way, or there was none to begin with (out is NULL).
 */
static inline char *memtext_end(FILE *out, char **text)
{
	int failed = out ? ferror(out) : 0;

	if (out && !fclose(out) && !failed)
		return *text;
	if (out)
		free(*text);
	errno = ENOMEM;
	return NULL;
}

#endif
