/* SPDX-License-Identifier: GPL-2.0-only */
/* Deep mode, per thread: calls of lock functions that have not returned, and how many rows it has. */
#ifndef DEADHOLD_DEEP_BPF_H
#define DEADHOLD_DEEP_BPF_H

#include "compat.bpf.h"

/* A call whose outcome is seen at a RET instruction: the stack pointer there is the one at the entry. */
struct deep_call {
	__u64 sp;
	__u64 lock;
	__u64 caller;
	__u64 time_ns;
	__u64 site; /* 0: the slot is free */
};

/* One call lies within another only where a lock function calls another, or in a signal handler. */
#define DEEP_CALLS 8
struct deep_thread {
	__u32 rows; /* of deep_holds that it made; at least as many as there are */
	__u32 next; /* slot to use when none is free, modulo their number */
	struct deep_call call[DEEP_CALLS];
};

TASK_MAP(deep_threads, struct deep_thread)

/* Set by the agent before loading. */
const volatile bool deep_on __weak = false;

#endif
