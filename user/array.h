/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DEADHOLD_ARRAY_H
#define DEADHOLD_ARRAY_H

#include <stdlib.h>

/*
 * The array of *room elements (0: it may be NULL) of `bytes` each, with room for one more than n. NULL:
 * no memory, and the array is as it was.
 */
static inline void *array_grow(void *array, size_t n, size_t *room, size_t bytes)
{
	size_t more = *room ? *room * 2 : 64;
	void *grown;

	if (n < *room)
		return array;
	grown = reallocarray(array, more, bytes);
	if (grown)
		*room = more;
	return grown;
}

#endif
