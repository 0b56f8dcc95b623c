/* SPDX-License-Identifier: GPL-2.0-only */
/* The noise policy: which signals are everyday traffic and are folded into counts. One table. */
#ifndef DEADHOLD_POLICY_H
#define DEADHOLD_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise.h"

/* A rule with its reason, for the documentation and for `explain`. */
struct policy_rule {
	struct noise_rule rule;
	const char *reason;
};

/* The built-in table, at most NOISE_RULES long. */
const struct policy_rule *policy_rules(size_t *n);

/*
 * Of a signal that the kernel did not fold: on which runtimes would the target have to run for the
 * signal to be folded (enum runtime)? 0: it is none of theirs.
 */
uint32_t policy_runtimes(const struct ev_signal *signal);

#endif
