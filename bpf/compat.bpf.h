/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between kernels and between architectures, in one place, each with the commit or
 * release that made it. x86_64 only so far: system call numbers, argument registers, thread pointer.
 *
 * The programs are compiled twice. OLD_KERNEL is the object for kernels from 5.10 on that lack any of: task
 * storage (5.11, 4cf1bc1f1045), the current task as a typed pointer (5.11, 3ca1032ab7ab), pointers to
 * global functions (5.12, e5069b9c23b3), atomics that return a value (5.12, 5ca419f2864a), callbacks (5.13,
 * 69c087ba6225), bpf_task_pt_regs() (5.15, dd6e10fbd9fb), bpf_find_vma() (5.17, 7c7e3d31e785), bpf_loop()
 * (5.17, e6f2dd0f8067), the state in sched_switch (5.18, fa2c3254d7cf).
 */
#ifndef DEADHOLD_COMPAT_BPF_H
#define DEADHOLD_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "event.h"

#define ENOSYS 38
#define EAGAIN 11

#define TASK_INTERRUPTIBLE   1
#define TASK_UNINTERRUPTIBLE 2
#define PF_EXITING	     0x00000004
#define PF_IO_WORKER	     0x00000010
#define PF_USER_WORKER	     0x00004000 /* 6.4, 54e6842d0775 */
#define PF_KTHREAD	     0x00200000

#define SIGNAL_GROUP_EXIT 0x00000004
#define SIGNAL_UNKILLABLE 0x00000040

#define TS_COMPAT  0x0002 /* arch/x86/include/asm/thread_info.h: a 32-bit system call */
#define VM_SHARED  0x00000008
#define PAGE_SHIFT 12

/*
 * A member of a kernel object, through pointers: FIELD(task, signal, flags). A typed pointer is read by
 * plain loads; the current task of an old kernel is a number.
 */
#ifdef OLD_KERNEL
#define FIELD(from, ...) BPF_CORE_READ(from, __VA_ARGS__)
#else
#define FIELD(from, ...) ___arrow(from, __VA_ARGS__)
#endif

static __always_inline struct task_struct *compat_current(void)
{
#ifdef OLD_KERNEL
	return (struct task_struct *)bpf_get_current_task();
#else
	return bpf_get_current_task_btf();
#endif
}

/*
 * Verified once, whoever calls it. On an old kernel it takes no pointers: there a function that has some is
 * verified anew for each call.
 */
#ifdef OLD_KERNEL
#define GLOBAL_FUNCTION static __noinline __attribute__((unused))
#else
#define GLOBAL_FUNCTION __weak __noinline
#endif

/*
 * Calls step(i, context) for i from 0 to n − 1, until it returns 1. n: a constant. An old kernel takes no
 * jump into the midst of a loop, which the compiler makes where it knows how the first round begins.
 */
#ifdef OLD_KERNEL
#define LOOP(n, step, context)                 \
	({                                     \
		__u32 _i = 0;                  \
                                               \
		asm volatile("" : "+r"(_i));   \
		for (; _i < (n); _i++)         \
			if (step(_i, context)) \
				break;         \
	})
#else
#define LOOP(n, step, context) bpf_loop(n, step, context, 0)
#endif

/*
 * 0, which the verifier does not know: rounds of a loop that differ in a count alone are one to it, then.
 */
static __always_inline __u64 unknown_zero(void)
{
#ifdef OLD_KERNEL
	__u64 a = bpf_ktime_get_ns(), b = a;

	asm volatile("" : "+r"(b));
	return a - b;
#else
	return 0;
#endif
}

/* Adds one and returns what there was. On an old kernel two at once may get the same. */
#ifdef OLD_KERNEL
#define FETCH_AND_INCREMENT(at) ((*(at))++)
#else
#define FETCH_AND_INCREMENT(at) __sync_fetch_and_add(at, 1)
#endif

/* By adding nothing to that number: what is written before it is seen by who sees what comes behind it. */
#ifdef OLD_KERNEL
#define FULL_BARRIER(at)                                                         \
	asm volatile("lock *(u64 *)(%0 + 0) += %1"                               \
		     :			  /* not by the compiler, which makes */ \
		     : "r"(at), "r"(0ull) /* an OR of it */                      \
		     : "memory")
#else
#define FULL_BARRIER(at) __sync_fetch_and_add(at, 0) /* on arm64 too: its value is returned */
#endif

/*
 * Hash maps whose elements are made when they are needed. Of programs on tracepoints and probes that is
 * safe since 6.1 (34dd3bad1a6f); before, the kernel warns.
 */
#ifdef OLD_KERNEL
#define MAP_FLAGS_NO_PREALLOC 0
#else
#define MAP_FLAGS_NO_PREALLOC BPF_F_NO_PREALLOC
#endif

/*
 * A value for each task: declares the map `name`, and name_get(task, make). Of an old kernel it is a table
 * by the task's address, from which name_drop(task) takes a row when the task ends.
 */
#ifdef OLD_KERNEL
#define TASK_MAP(name, row)                                                         \
	struct {                                                                    \
		__uint(type, BPF_MAP_TYPE_HASH);                                    \
		__uint(max_entries, 1); /* set by the agent before loading */       \
		__type(key, __u64);                                                 \
		__type(value, row);                                                 \
	} name SEC(".maps") __weak;                                                 \
	static __always_inline row *name##_get(struct task_struct *task, bool make) \
	{                                                                           \
		__u64 key = (__u64)task;                                            \
		row *found = bpf_map_lookup_elem(&name, &key);                      \
                                                                                    \
		if (!found && make) {                                               \
			row empty = {};                                             \
                                                                                    \
			bpf_map_update_elem(&name, &key, &empty, BPF_NOEXIST);      \
			found = bpf_map_lookup_elem(&name, &key);                   \
		}                                                                   \
		return found;                                                       \
	}                                                                           \
	static __always_inline void name##_drop(struct task_struct *task)           \
	{                                                                           \
		__u64 key = (__u64)task;                                            \
                                                                                    \
		bpf_map_delete_elem(&name, &key);                                   \
	}
#else
#define TASK_MAP(name, row)                                                             \
	struct {                                                                        \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);                                \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                   \
		__type(key, int);                                                       \
		__type(value, row);                                                     \
	} name SEC(".maps") __weak;                                                     \
	static __always_inline row *name##_get(struct task_struct *task, bool make)     \
	{                                                                               \
		return bpf_task_storage_get(&name, task, 0,                             \
					    make ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0); \
	}                                                                               \
	static __always_inline void name##_drop(struct task_struct *task)               \
	{                                                                               \
	}
#endif

struct task_struct___old {
	long state;
	void *stack;
} __attribute__((preserve_access_index));

/* The registers of user mode. x86_64: at the top of the kernel stack (asm/processor.h, task_pt_regs()). */
#define THREAD_BYTES (4 * 4096)

static __always_inline struct pt_regs *compat_regs(struct task_struct *task)
{
#ifdef OLD_KERNEL
	struct task_struct___old *old = (void *)task;

	return (struct pt_regs *)((__u64)FIELD(old, stack) + THREAD_BYTES) - 1;
#else
	return (struct pt_regs *)bpf_task_pt_regs(task);
#endif
}

/* 5.14 (2f064a59a11f): __state; a long `state` before. */
static __always_inline __u32 compat_state(struct task_struct *task)
{
	struct task_struct___old *old = (void *)task;

	if (bpf_core_field_exists(task->__state))
		return FIELD(task, __state);
	return FIELD(old, state);
}

/* 7.x: the robust list moved into task_struct.futex (tip, "futex: Move futex related task fields"). */
struct futex_sched_data___new {
	struct robust_list_head *robust_list;
} __attribute__((preserve_access_index));

struct task_struct___new {
	struct futex_sched_data___new futex;
} __attribute__((preserve_access_index));

static __always_inline struct robust_list_head *compat_robust_list(struct task_struct *task)
{
	struct task_struct___new *new = (void *)task;

	if (bpf_core_field_exists(task->robust_list))
		return FIELD(task, robust_list);
	return FIELD(new, futex.robust_list);
}

/* The same as a number, for global functions: they take no pointer into user memory. */
static __always_inline __u64 compat_robust_address(struct task_struct *task)
{
	struct task_struct___new *new = (void *)task;
	__u64 address = 0;

	if (bpf_core_field_exists(task->robust_list))
		bpf_core_read(&address, sizeof(address), &task->robust_list);
	else
		bpf_core_read(&address, sizeof(address), &new->futex.robust_list);
	return address;
}

/* The group leader's exec in progress. 6.1 (5.17, 60700e38fb68): group_exec_task; group_exit_task before. */
struct signal_struct___old {
	struct task_struct *group_exit_task;
} __attribute__((preserve_access_index));

static __always_inline bool compat_in_exec(struct signal_struct *signal)
{
	struct signal_struct___old *old = (void *)signal;

	if (bpf_core_field_exists(signal->group_exec_task))
		return FIELD(signal, group_exec_task) != NULL;
	return FIELD(old, group_exit_task) != NULL;
}

/* The user's thread pointer: glibc's and musl's thread descriptor. */
static __always_inline __u64 compat_thread_pointer(struct task_struct *task)
{
	return FIELD(task, thread.fsbase);
}

/* A system call in progress. nr −1: the task is in none. */
struct syscall {
	__s32 nr;
	bool compat; /* numbers and registers of the 32-bit table */
	__u64 arg[4];
	__u64 sp, pc;
};

static __always_inline void syscall_read(struct syscall *call, struct task_struct *task,
					 struct pt_regs *regs)
{
	call->compat = FIELD(task, thread_info.status) & TS_COMPAT;
	call->nr = FIELD(regs, orig_ax);
	call->sp = FIELD(regs, sp);
	call->pc = FIELD(regs, ip);
	if (call->compat) {
		call->arg[0] = (__u32)FIELD(regs, bx);
		call->arg[1] = (__u32)FIELD(regs, cx);
		call->arg[2] = (__u32)FIELD(regs, dx);
		call->arg[3] = (__u32)FIELD(regs, si);
	} else {
		call->arg[0] = FIELD(regs, di);
		call->arg[1] = FIELD(regs, si);
		call->arg[2] = FIELD(regs, dx);
		call->arg[3] = FIELD(regs, r10);
	}
}

/*
 * The system call in which a task that runs here, or is blocked, is. While one is in progress ax is
 * −ENOSYS: entry code sets it (arch/x86/entry/entry_64.S) and only the return overwrites it; a task
 * stopped by a signal, a tracer or a core dump has its result or −ERESTART… there.
 */
static __always_inline void syscall_of(struct syscall *call, struct task_struct *task)
{
	struct pt_regs *regs = compat_regs(task);

	if ((__s64)FIELD(regs, ax) != -ENOSYS)
		call->nr = -1;
	else
		syscall_read(call, task, regs);
}

#define NR_FUTEX	   202
#define NR_RESTART_SYSCALL 219
#define NR_EXIT		   60

static __always_inline bool futex_op_waits(__u32 op)
{
	__u32 cmd = op & FUTEX_OP_MASK;

	return cmd == FUTEX_OP_WAIT || cmd == FUTEX_OP_WAIT_BITSET || cmd == FUTEX_OP_LOCK_PI ||
	       cmd == FUTEX_OP_LOCK_PI2 || cmd == FUTEX_OP_WAIT_REQUEUE_PI;
}

/*
 * Is this call a futex wait? A timed FUTEX_WAIT that was stopped goes on as restart_syscall with the
 * registers of the original call; what tells it from a restarted poll or nanosleep is that the
 * kernel's restart block names the same word and value (kernel/futex/waitwake.c, futex_wait()).
 */
static __always_inline bool futex_wait_of(const struct syscall *call, struct task_struct *task)
{
	__u32 cmd = call->arg[1] & FUTEX_OP_MASK;

	if (call->compat)
		return false;
	if (call->nr == NR_RESTART_SYSCALL)
		return (cmd == FUTEX_OP_WAIT || cmd == FUTEX_OP_WAIT_BITSET) &&
		       (__u64)FIELD(task, restart_block.futex.uaddr) == call->arg[0] &&
		       FIELD(task, restart_block.futex.val) == (__u32)call->arg[2];
	return call->nr == NR_FUTEX && futex_op_waits(call->arg[1]);
}

/* Which sending call is it, and which of its arguments is the signal? Both tables of x86. */
static __always_inline __u32 send_call_of(const struct syscall *call, __u32 *signal)
{
	__u32 which = SEND_UNKNOWN;

	switch (call->nr) {
	case 234:
		which = call->compat ? SEND_UNKNOWN : SEND_TGKILL;
		break;
	case 200:
		which = call->compat ? SEND_UNKNOWN : SEND_TKILL;
		break;
	case 297:
		which = call->compat ? SEND_UNKNOWN : SEND_RT_TGSIGQUEUEINFO;
		break;
	case 62:
		which = call->compat ? SEND_UNKNOWN : SEND_KILL;
		break;
	case 129:
		which = call->compat ? SEND_UNKNOWN : SEND_RT_SIGQUEUEINFO;
		break;
	case 270:
		which = call->compat ? SEND_TGKILL : SEND_UNKNOWN;
		break;
	case 238:
		which = call->compat ? SEND_TKILL : SEND_UNKNOWN;
		break;
	case 335:
		which = call->compat ? SEND_RT_TGSIGQUEUEINFO : SEND_UNKNOWN;
		break;
	case 37:
		which = call->compat ? SEND_KILL : SEND_UNKNOWN;
		break;
	case 178:
		which = call->compat ? SEND_RT_SIGQUEUEINFO : SEND_UNKNOWN;
		break;
	case 424:
		which = SEND_PIDFD;
		break;
	}
	*signal = which == SEND_TGKILL || which == SEND_RT_TGSIGQUEUEINFO ? call->arg[2]
									  : call->arg[1];
	return which;
}

#endif
