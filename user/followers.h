/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes that are watched because one that -p names forked them. One that is over is kept for a while:
 * what is said of it may come later.
 */
#ifndef DEADHOLD_FOLLOWERS_H
#define DEADHOLD_FOLLOWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

#define FOLLOWERS (4 * FOLLOWED)

struct followers {
	size_t n; /* in the order in which they were forked */
	struct follower {
		int32_t pid;
		bool over;
	} at[FOLLOWERS];
};

bool followers_has(const struct followers *followers, int32_t pid);
/* For a new one, those that are over go, the oldest first. False: so many live. */
bool followers_add(struct followers *followers, int32_t pid);
void followers_over(struct followers *followers, int32_t pid);

#endif
