/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Alerts that say the same again and again become one with a count: by process, kind, and lock, or
 * signal and sender. The first is said at once, and so are those about up to LIMIT_THREADS threads; what
 * comes after in the same interval is kept, and said as one alert when the interval is over. Intervals
 * begin with a second and grow as it goes on. What was said plus what was merged is what happened.
 *
 * Plain bookkeeping: no I/O, no clock.
 */
#ifndef DEADHOLD_LIMIT_H
#define DEADHOLD_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"

#define LIMIT_THREADS	 8
#define LIMIT_FIRST_NS	 1000000000ull
#define LIMIT_LONGEST_NS 60000000000ull

struct limits;

/*
 * keys: how many kinds of sameness are followed at a time; kept: how many of them may keep alerts. What
 * is beyond is said at once. NULL with errno.
 */
struct limits *limits_new(size_t keys, size_t kept);
void limits_free(struct limits *limits);

/* True: it was kept, and comes again out of limits_next(). False: it is to be said. */
bool limits_keep(struct limits *limits, const struct alert *alert);

/*
 * The next merged alert that is due (all: whether due or not), to be given to alert_free(). NULL: none.
 */
struct alert *limits_next(struct limits *limits, uint64_t now_ns, bool all);

/* CLOCK_MONOTONIC ns at which the next one is due; 0: none is kept. */
uint64_t limits_due(const struct limits *limits);

/* Alerts that were kept so far, beyond the lines that stand for them. */
uint64_t limits_merged(const struct limits *limits);

#endif
