// SPDX-License-Identifier: GPL-2.0-only
/* Threads and processes come and go: new TIDs, exec, the end of a process, and the task snapshot. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "deep.bpf.h"
#include "filter.bpf.h"
#include "maps.bpf.h"
#include "shared.bpf.h"
#include "task.bpf.h"

static __always_inline struct wait_row *row_of(struct task_struct *task)
{
	return waits_get(task, true);
}

/* A watched process has a child, that does nothing before this is told. */
static __always_inline void process_follow(struct task_struct *child)
{
	__u32 tgid = FIELD(child, tgid), parent = bpf_get_current_pid_tgid() >> 32, one = 1;
	struct ev_fork *ev;

	if (!filter_target(parent))
		return;
	if (bpf_map_update_elem(&followed, &tgid, &one, BPF_ANY)) {
		loss_count(LOSS_DEEP);
		return;
	}
	if (!event_reserve(ev, EV_FORK))
		return;
	proc_key_of(&ev->proc, child);
	event_submit(ev);
}

/* The new task has its numbers and does not run yet. Its wait row is made here, where memory may be. */
SEC("tp_btf/task_newtask")
int BPF_PROG(process_newtask, struct task_struct *task, unsigned long clone_flags)
{
	struct owner_key key = {};

	if (!task_is_user(task))
		return 0;
	waits_drop(task); /* of an earlier task at this address */
	deep_threads_drop(task);
	row_of(task);
	if (FIELD(task, pid) == FIELD(task, tgid)) {
		if (send_filter.children)
			process_follow(task);
		return 0;
	}
	/* The number is in use again in this process: no word can tell its old bearer from the new. */
	proc_key_of(&key.proc, task);
	key.ns_tid = task_ns_tid(task);
	bpf_map_delete_elem(&dead_threads, &key);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct ev_exec *ev;

	if (!event_reserve(ev, EV_EXEC))
		return 0;
	proc_key_of(&ev->proc, task);
	ev->old_exec_id = ev->proc.exec_id - 1; /* raised once, just before this tracepoint */
	ev->pad = 0;
	event_submit(ev);
	return 0;
}

/* Two last threads that end at once may both see that nobody lives: said twice, harmless. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct ev_process_exit *ev;
	__u32 tgid = FIELD(task, tgid);

	if (!task_is_user(task) || FIELD(task, signal, live.counter) > 0)
		return 0;
	if (send_filter.children)
		bpf_map_delete_elem(&followed, &tgid);
	if (!event_reserve(ev, EV_PROCESS_EXIT))
		return 0;
	proc_key_of(&ev->proc, task);
	ev->signal = FIELD(task, signal, group_exit_code) & 0x7f;
	ev->pad = 0;
	event_submit(ev);
	return 0;
}

/* Which threads a reading of the snapshot wants: those blocked in a futex wait, or all of a process. */
__u32 snapshot_tgid;

/*
 * Threads older than the agent get their wait rows in its first whole snapshot; user space sets this then.
 * Later ones ask for rows of blocked threads alone: while the CPU's task storage is busy
 * (bpf_task_storage_busy) a thread that is made on it gets none.
 */
bool snapshot_rows_made;

/* Makes up for a look-up that was not possible in sched_switch: here interrupts are on. */
static __always_inline void row_share(struct wait_row *row, struct task_struct *task)
{
	struct shared_search search = { .address = row->word };

	if (!row->shared_pending || !row->owner || shared_find(task, &search))
		return;
	row->shared_pending = 0;
	if (search.mapping)
		shared_candidate_note(row->owner, &search, row->lock >> PACK_SHIFT);
}

static __always_inline void row_wait(struct task_row *out, struct task_struct *task)
{
	struct pt_regs *regs = compat_regs(task);
	struct wait_row *row = NULL;
	struct syscall call;

	if (!snapshot_rows_made)
		row = row_of(task);
	if (!(compat_state(task) & (TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE)))
		return;
	syscall_of(&call, task);
	if (!call.compat)
		out->call = call.nr;
	if (call.nr == -1 || !(compat_state(task) & TASK_INTERRUPTIBLE) ||
	    !futex_wait_of(&call, task))
		return;
	out->flags |= ROW_BLOCKED;
	out->word = call.arg[0];
	out->op = call.arg[1];
	out->val = call.arg[2];
	out->timeout = call.arg[3];
	out->sp = call.sp;
	out->pc = call.pc;
	out->regs[0] = FIELD(regs, bx);
	out->regs[1] = FIELD(regs, bp);
	out->regs[2] = FIELD(regs, r12);
	out->regs[3] = FIELD(regs, r13);
	out->regs[4] = FIELD(regs, r14);
	out->regs[5] = FIELD(regs, r15);
	if (snapshot_rows_made)
		row = row_of(task);
	if (row && row->word == out->word && row->since_ns) {
		out->flags |= ROW_SINCE;
		out->since_ns = row->since_ns;
		row_share(row, task);
	}
}

SEC("iter/task")
int process_snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_row out = { .call = -1 };

	if (!task || !task_is_user(task))
		return 0;
	if (snapshot_tgid && snapshot_tgid != SNAPSHOT_ALL &&
	    (__u32)FIELD(task, tgid) != snapshot_tgid)
		return 0;
	if (FIELD(task, flags) & PF_EXITING || FIELD(task, exit_state))
		out.flags |= ROW_EXITING;
	else
		row_wait(&out, task);
	if (!(out.flags & ROW_EXITING))
		out.robust_list = compat_robust_address(task);
	if (!snapshot_tgid && !(out.flags & ROW_BLOCKED))
		return 0;
	out.switches = FIELD(task, nvcsw);
	ev_task_fill(&out.task, task);
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
