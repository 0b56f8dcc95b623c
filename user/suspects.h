/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was read once is a suspicion, what was read twice, a while apart and with nothing changed in
 * between, is a finding. Plain bookkeeping: no I/O, no clock.
 */
#ifndef DEADHOLD_SUSPECTS_H
#define DEADHOLD_SUSPECTS_H

#include <stdbool.h>
#include <stdint.h>

/* One reading: this thread, in this very block, waits for a lock that names this owner. No padding. */
struct suspect_key {
	uint64_t start_ns; /* of the thread */
	uint64_t switches;
	uint64_t waits_on; /* futex word */
	uint64_t word;	   /* of the lock */
	uint32_t tid;
	uint32_t owner;
};

struct suspect;

/* Notes a reading of pass `pass`. True: an earlier pass had the same, which is forgotten now. */
bool suspects_again(struct suspect **suspects, const struct suspect_key *key, uint64_t pass);

/* Those that pass `pass` did not read are cleared of it. */
void suspects_forget(struct suspect **suspects, uint64_t pass);
void suspects_clear(struct suspect **suspects);

#endif
