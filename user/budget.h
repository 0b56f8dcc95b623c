/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A share of CPU time: what quiet times leave unused is kept, up to a limit, for when it is needed at
 * once. Pure; all times are ns of one clock.
 */
#ifndef DEADHOLD_BUDGET_H
#define DEADHOLD_BUDGET_H

#include <stdint.h>

struct budget {
	double share;	 /* 0.02: 2 % of one CPU */
	double left_ns;	 /* below 0: overdrawn */
	double most_ns;	 /* what is kept at most */
	uint64_t now_ns; /* when left_ns was right */
};

static inline void budget_update(struct budget *budget, uint64_t now_ns)
{
	if (now_ns <= budget->now_ns)
		return;
	budget->left_ns += (double)(now_ns - budget->now_ns) * budget->share;
	if (budget->left_ns > budget->most_ns)
		budget->left_ns = budget->most_ns;
	budget->now_ns = now_ns;
}

static inline void budget_spend(struct budget *budget, uint64_t now_ns, uint64_t spent_ns)
{
	budget_update(budget, now_ns);
	budget->left_ns -= (double)spent_ns;
}

/* From when on there is something left: now_ns or later. */
static inline uint64_t budget_due(struct budget *budget, uint64_t now_ns)
{
	budget_update(budget, now_ns);
	if (budget->left_ns > 0)
		return now_ns;
	return now_ns + (uint64_t)(-budget->left_ns / budget->share) + 1;
}

#endif
