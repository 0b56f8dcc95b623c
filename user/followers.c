// SPDX-License-Identifier: GPL-2.0-only
#include <string.h>

#include "followers.h"

static struct follower *follower_find(const struct followers *followers, int32_t pid)
{
	size_t i;

	for (i = 0; i < followers->n; i++) {
		if (followers->at[i].pid == pid)
			return (struct follower *)&followers->at[i];
	}
	return NULL;
}

static void follower_remove(struct followers *followers, struct follower *gone)
{
	size_t behind = &followers->at[followers->n--] - (gone + 1);

	memmove(gone, gone + 1, behind * sizeof(*gone));
}

bool followers_has(const struct followers *followers, int32_t pid)
{
	return follower_find(followers, pid);
}

static bool followers_room(struct followers *followers)
{
	size_t i;

	if (followers->n < FOLLOWERS)
		return true;
	for (i = 0; i < followers->n; i++) {
		if (followers->at[i].over) {
			follower_remove(followers, &followers->at[i]);
			return true;
		}
	}
	return false;
}

bool followers_add(struct followers *followers, int32_t pid)
{
	struct follower *again = follower_find(followers, pid);

	if (again)
		follower_remove(followers, again);
	if (!followers_room(followers))
		return false;
	followers->at[followers->n++] = (struct follower){ .pid = pid };
	return true;
}

void followers_over(struct followers *followers, int32_t pid)
{
	struct follower *follower = follower_find(followers, pid);

	if (follower)
		follower->over = true;
}
