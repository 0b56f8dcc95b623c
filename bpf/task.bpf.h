/* SPDX-License-Identifier: GPL-2.0-only */
/* Who a task is: process, thread, and the numbers by which lock words call it. */
#ifndef DEADHOLD_TASK_BPF_H
#define DEADHOLD_TASK_BPF_H

#include "compat.bpf.h"

/*
 * A task's number in its own PID namespace, which is what it writes into lock words, and that
 * namespace's inode. Never nsproxy's: that is the one its children will be in. 0 once unhashed.
 */
static __always_inline __u32 pid_number(struct pid *pid, __u32 *pid_ns)
{
	struct upid *upid;
	__u32 nr = 0;

	if (pid_ns)
		*pid_ns = 0;
	if (!pid)
		return 0;
	/* numbers[] may be declared with one element or none: step by the kernel's element size. */
	upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       FIELD(pid, level) * bpf_core_type_size(struct upid);
	bpf_core_read(&nr, sizeof(nr), &upid->nr);
	if (pid_ns)
		*pid_ns = BPF_CORE_READ(upid, ns, ns.inum);
	return nr;
}

static __always_inline __u32 task_ns_tid(struct task_struct *task)
{
	return pid_number(FIELD(task, thread_pid), NULL);
}

static __always_inline void proc_key_of(struct proc_key *key, struct task_struct *task)
{
	key->tgid = FIELD(task, tgid);
	key->exec_id = FIELD(task, self_exec_id);
	key->start_ns = FIELD(task, group_leader, start_boottime);
}

static __always_inline void ev_task_fill(struct ev_task *out, struct task_struct *task)
{
	struct task_struct *leader = FIELD(task, group_leader);

	proc_key_of(&out->proc, task);
	out->start_ns = FIELD(task, start_boottime);
	out->tid = FIELD(task, pid);
	out->ns_tid = pid_number(FIELD(task, thread_pid), &out->pid_ns);
	out->ns_tgid = pid_number(FIELD(leader, thread_pid), NULL);
	out->ppid = FIELD(task, real_parent, tgid);
	out->uid = FIELD(task, real_cred, uid.val);
	BPF_CORE_READ_STR_INTO(&out->comm, task, comm);
	BPF_CORE_READ_STR_INTO(&out->proc_comm, leader, comm);
}

/* Kernel threads, io_uring's and vhost's workers: they hold no user lock. */
static __always_inline bool task_is_user(struct task_struct *task)
{
	return !(FIELD(task, flags) & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER));
}

#endif
