// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include "suspects.h"
#include "table.h"

struct suspect {
	struct suspect_key key;
	uint64_t pass;
	UT_hash_handle hh;
};

static void suspect_remove(struct suspect **suspects, struct suspect *suspect)
{
	HASH_DEL(*suspects, suspect);
	free(suspect);
}

bool suspects_again(struct suspect **suspects, const struct suspect_key *key, uint64_t pass)
{
	struct suspect *suspect;

	HASH_FIND(hh, *suspects, key, sizeof(*key), suspect);
	if (suspect) {
		bool again = suspect->pass != pass;

		if (again)
			suspect_remove(suspects, suspect);
		return again;
	}
	suspect = malloc(sizeof(*suspect));
	if (suspect) { /* without memory the next pass is the first reading */
		suspect->key = *key;
		suspect->pass = pass;
		HASH_ADD(hh, *suspects, key, sizeof(suspect->key), suspect);
	}
	return false;
}

void suspects_forget(struct suspect **suspects, uint64_t pass)
{
	struct suspect *suspect, *next;

	HASH_ITER (hh, *suspects, suspect, next) {
		if (suspect->pass != pass)
			suspect_remove(suspects, suspect);
	}
}

void suspects_clear(struct suspect **suspects)
{
	while (*suspects)
		suspect_remove(suspects, *suspects);
}
