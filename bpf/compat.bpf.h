/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between kernels and between architectures, in one place, each with the commit or
 * release that made it. x86_64 only so far: system call numbers, argument registers, thread pointer.
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
		return task->robust_list;
	return new->futex.robust_list;
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
		return signal->group_exec_task != NULL;
	return old->group_exit_task != NULL;
}

/* The user's thread pointer: glibc's and musl's thread descriptor. */
static __always_inline __u64 compat_thread_pointer(struct task_struct *task)
{
	return task->thread.fsbase;
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
	call->compat = task->thread_info.status & TS_COMPAT;
	call->nr = regs->orig_ax;
	call->sp = regs->sp;
	call->pc = regs->ip;
	if (call->compat) {
		call->arg[0] = (__u32)regs->bx;
		call->arg[1] = (__u32)regs->cx;
		call->arg[2] = (__u32)regs->dx;
		call->arg[3] = (__u32)regs->si;
	} else {
		call->arg[0] = regs->di;
		call->arg[1] = regs->si;
		call->arg[2] = regs->dx;
		call->arg[3] = regs->r10;
	}
}

/*
 * The system call in which a task that runs here, or is blocked, is. While one is in progress ax is
 * −ENOSYS: entry code sets it (arch/x86/entry/entry_64.S) and only the return overwrites it; a task
 * stopped by a signal, a tracer or a core dump has its result or −ERESTART… there.
 */
static __always_inline void syscall_of(struct syscall *call, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if ((__s64)regs->ax != -ENOSYS)
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
		       (__u64)task->restart_block.futex.uaddr == call->arg[0] &&
		       task->restart_block.futex.val == (__u32)call->arg[2];
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
