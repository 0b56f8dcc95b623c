// SPDX-License-Identifier: GPL-2.0-only
#include "policy.h"

#define SIGNAL(number) (1ull << ((number)-1))
#define CALL(call)     (1u << (call))
#define ANY_SIGNAL     (~0ull)

/* x86's and arm64's numbers, as the kernel has them. */
enum { USR1 = 10, USR2 = 12, URG = 23, XCPU = 24, VTALRM = 26, PROF = 27, PWR = 30 };

/* Sources: the runtimes' own code. What was run on the real thing, tests/live/test_minute.py says. */
static const struct policy_rule rules[] = {
	{
		.rule = { .signals = ANY_SIGNAL, .relation = NOISE_SAME_THREAD },
		.reason = "a thread signals itself: raise(), abort(), SIGPIPE, a fault",
	},
	{
		/* Whoever has no handler for it does not notice. */
		.rule = { .signals = SIGNAL(URG), .relation = NOISE_SAME_PROCESS },
		.reason = "SIGURG within a process: Go's preemption, thousands a second",
	},
	{
		/* musl's pthread_cancel sends 33 too, but by tkill: that one is shown. */
		.rule = { .signals = SIGNAL(33),
			  .relation = NOISE_SAME_PROCESS,
			  .calls = CALL(SEND_TGKILL) },
		.reason = "SIGSETXID: glibc's setuid() family and Go's per-thread system calls",
	},
	{
		.rule = { .signals = SIGNAL(32), .calls = CALL(SEND_TIMER) },
		.reason = "SIGTIMER: libc's own timer thread (SIGEV_THREAD), at every expiry",
	},
	{
		.rule = { .signals = SIGNAL(34),
			  .relation = NOISE_SAME_PROCESS,
			  .calls = CALL(SEND_TKILL),
			  .runtimes = RUNTIME_MUSL,
			  .harmless = 1 },
		.reason = "SIGSYNCCALL: musl's setuid() family and membarrier",
	},
	{
		.rule = { .signals = SIGNAL(PROF),
			  .calls = CALL(SEND_TIMER) | CALL(SEND_KERNEL),
			  .harmless = 1 },
		.reason =
			"SIGPROF by a timer or counter of one thread: Go's, gperftools', JVM profilers",
	},
	{
		.rule = { .signals = SIGNAL(PROF), .relation = NOISE_SAME_PROCESS, .harmless = 1 },
		.reason = "SIGPROF within a process: a profiler thread samples the others, as V8's",
	},
	{
		.rule = { .signals = SIGNAL(USR2),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_JVM,
			  .harmless = 1 },
		.reason = "SIGUSR2 within a JVM: HotSpot suspends a thread to look at it",
	},
	{
		.rule = { .signals = SIGNAL(62),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_JVM,
			  .harmless = 1 },
		.reason = "SIGRTMAX-2 within a JVM: wakes a thread whose socket or file is closed",
	},
	{
		.rule = { .signals = SIGNAL(VTALRM),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_JVM | RUNTIME_RUBY,
			  .harmless = 1 },
		.reason =
			"SIGVTALRM within a JVM (async-profiler) or Ruby (wakes a blocked thread)",
	},
	{
		.rule = { .signals = SIGNAL(34) | SIGNAL(35),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_DOTNET,
			  .harmless = 1 },
		.reason =
			"SIGRTMIN (glibc's 34, musl's 35) within .NET: stops threads for its collector",
	},
	{
		.rule = { .signals = SIGNAL(PWR) | SIGNAL(XCPU) | SIGNAL(35) | SIGNAL(36) |
				     SIGNAL(37) | SIGNAL(38),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_MONO,
			  .harmless = 1 },
		.reason = "SIGPWR, SIGXCPU, 35 to 38 within Mono: stops threads for its collector",
	},
	{
		.rule = { .signals = SIGNAL(PWR) | SIGNAL(XCPU),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_BOEHM,
			  .harmless = 1 },
		.reason =
			"SIGPWR, SIGXCPU with the Boehm collector (Guile, Crystal …): stops threads",
	},
	{
		.rule = { .signals = SIGNAL(USR1) | SIGNAL(USR2) | SIGNAL(34) | SIGNAL(35),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_D,
			  .harmless = 1 },
		.reason = "SIGUSR1, SIGUSR2, 34, 35 within D: stops threads for its collector",
	},
	{
		.rule = { .signals = SIGNAL(USR2),
			  .relation = NOISE_SAME_PROCESS,
			  .runtimes = RUNTIME_SBCL,
			  .harmless = 1 },
		.reason = "SIGUSR2 within SBCL: stops threads for its collector",
	},
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

_Static_assert(RULES <= NOISE_RULES, "noise policy table");

const struct policy_rule *policy_rules(size_t *n)
{
	*n = RULES;
	return rules;
}

/* As the kernel program has it, which cannot tell the sender of a timer. */
static uint32_t signal_relation(const struct ev_signal *signal)
{
	if (signal->flags & SIGNAL_NO_SENDER ||
	    signal->sender.proc.tgid != signal->target.proc.tgid)
		return NOISE_ANYBODY;
	return signal->sender.tid == signal->target.tid ? NOISE_SAME_THREAD : NOISE_SAME_PROCESS;
}

uint32_t policy_runtimes(const struct ev_signal *signal)
{
	struct noise_send send = { signal->signal, signal->call, signal_relation(signal) };
	uint32_t match = 0;

	if (signal->flags & (SIGNAL_GROUP | SIGNAL_FATAL) || send.signal < 1 || send.signal > 64)
		return 0;
	for (size_t i = 0; i < RULES; i++)
		match |= noise_match(&rules[i].rule, &send);
	return match & NOISE_IF_RUNTIMES;
}
