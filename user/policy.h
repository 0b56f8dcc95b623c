/* SPDX-License-Identifier: GPL-2.0-only */
/* The noise policy: which signals are everyday traffic and are folded into counts. One table. */
#ifndef DEADHOLD_POLICY_H
#define DEADHOLD_POLICY_H

#include "event.h"

/* A rule with its reason, for the documentation and for `check`. */
struct policy_rule {
	struct noise_rule rule;
	const char *reason;
};

/* The built-in table, at most NOISE_RULES long. */
const struct policy_rule *policy_rules(size_t *n);

#endif
