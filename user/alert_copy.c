// SPDX-License-Identifier: GPL-2.0-only
#include "alert.h"

#include <stdlib.h>
#include <string.h>

/* n of them, `size` bytes each; NULL for none. */
static void *array_copy(const void *array, size_t n, size_t size, bool *failed)
{
	void *copy;

	if (!array || !n)
		return NULL;
	copy = malloc(n * size);
	if (copy)
		memcpy(copy, array, n * size);
	*failed |= !copy;
	return copy;
}

struct alert *alert_copy(const struct alert *alert)
{
	struct alert *copy = malloc(sizeof(*copy));
	bool failed = false;

	if (!copy)
		return NULL;
	*copy = *alert;
	copy->locks = array_copy(alert->locks, alert->n_locks, sizeof(*alert->locks), &failed);
	copy->waiters = array_copy(alert->waiters, alert->n_waiters, sizeof(*alert->waiters),
				   &failed);
	copy->census = array_copy(alert->census, 1, sizeof(*alert->census), &failed);
	copy->cause = array_copy(alert->cause, 1, sizeof(*alert->cause), &failed);
	copy->called = array_copy(alert->called, 1, sizeof(*alert->called), &failed);
	if (!failed)
		return copy;
	alert_free(copy);
	return NULL;
}

void alert_free(struct alert *alert)
{
	if (!alert)
		return;
	free((void *)alert->locks);
	free((void *)alert->waiters);
	free((void *)alert->census);
	free((void *)alert->cause);
	free((void *)alert->called);
	free(alert);
}
