/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a rule of the noise policy asks of a signal at one thread, and whether it fits. Compiled into
 * the kernel programs and into the agent; the rules themselves are in user/policy.c.
 */
#ifndef DEADHOLD_NOISE_H
#define DEADHOLD_NOISE_H

#include "event.h"

/* Who sent it, as seen from the target. */
enum noise_relation {
	NOISE_ANYBODY,
	NOISE_SAME_PROCESS,
	NOISE_SAME_THREAD, /* raise(), abort(), faults, SIGPIPE */
};

/* What a process runs on. Bits; how each is recognised, user/runtime.c says. */
enum runtime {
	RUNTIME_JVM = 1,
	RUNTIME_DOTNET = 2,
	RUNTIME_MONO = 4,
	RUNTIME_BOEHM = 8,
	RUNTIME_D = 16,
	RUNTIME_SBCL = 32,
	RUNTIME_RUBY = 64,
	RUNTIME_MUSL = 128,
	RUNTIME_PYTHON = 256,
};

/*
 * A signal that fits one rule is folded into a count. A rule with runtimes holds for processes that
 * run on one of them, and is always harmless: the runtime has a handler for its own signals.
 */
#define NOISE_RULES 16
struct noise_rule {
	__u64 signals; /* bit N − 1 for signal N; 0: the rule is not used */
	__u32 calls;   /* bit N for enum send_call N; 0: any */
	__u32 relation;
	__u32 runtimes;
	__u32 harmless; /* only where it does not end the process */
};

struct noise_send {
	__u32 signal; /* 1 to 64 */
	__u32 call;   /* enum send_call */
	__u32 relation;
};

/* What has still to be true of the target for a signal to be folded: any one of these, as bits. */
#define NOISE_ALWAYS	  (1u << 31) /* nothing */
#define NOISE_IF_HARMLESS (1u << 30)
#define NOISE_IF_RUNTIMES (NOISE_IF_HARMLESS - 1) /* harmless, and one of these */

static inline __u32 noise_needs(const volatile struct noise_rule *rule)
{
	if (!rule->harmless)
		return NOISE_ALWAYS;
	return rule->runtimes ?: NOISE_IF_HARMLESS;
}

/*
 * 0: the rule does not fit. Without a branch on what is sent: the verifier follows both sides of each,
 * rule after rule, and took four seconds for fifteen rules. The asm keeps the compiler from making one.
 */
static inline __u32 noise_match(const volatile struct noise_rule *rule,
				const struct noise_send *send)
{
	__u32 calls = rule->calls ?: ~0u, relations = ~0u << rule->relation;
	__u32 fits = rule->signals >> (send->signal - 1) & relations >> send->relation &
		     calls >> send->call & 1;

	asm volatile("" : "+r"(fits));
	return -fits & noise_needs(rule);
}

#endif
