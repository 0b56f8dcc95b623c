// SPDX-License-Identifier: GPL-2.0-only
#include <stddef.h>

#include "policy.h"

static const struct policy_rule rules[] = {
	{
		.rule = { .used = 1, .relation = NOISE_SAME_THREAD },
		.reason = "a thread signals itself: raise(), abort(), SIGPIPE, a fault",
	},
	{
		.rule = { .used = 1, .signal = 23, .relation = NOISE_SAME_PROCESS },
		.reason = "SIGURG within a process: Go's preemption, thousands a second",
	},
	{
		/* musl's pthread_cancel sends 33 too, but by tkill: that one is shown. */
		.rule = { .used = 1,
			  .signal = 33,
			  .relation = NOISE_SAME_PROCESS,
			  .call = SEND_TGKILL },
		.reason = "SIGSETXID: glibc's setuid() family and Go's per-thread system calls",
	},
	{
		.rule = { .used = 1, .signal = 32, .call = SEND_TIMER },
		.reason = "SIGTIMER: libc's own timer thread (SIGEV_THREAD), at every expiry",
	},
};

_Static_assert(sizeof(rules) / sizeof(rules[0]) <= NOISE_RULES, "noise policy table");

const struct policy_rule *policy_rules(size_t *n)
{
	*n = sizeof(rules) / sizeof(rules[0]);
	return rules;
}
