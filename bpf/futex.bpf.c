// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread blocks on a futex. Writes the thread's wait row, notes the lock with its owner as a
 * candidate for the owner's exit, and says at once when the owner is dead already.
 *
 * Order against exit.bpf.c: here the candidate is written, then the dead are looked up; there the
 * dead row is written, then the candidates are read; a full barrier lies between. So of two that
 * race at least one sees the other, and if both do the agent folds them.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "maps.bpf.h"
#include "shared.bpf.h"
#include "task.bpf.h"
#include "tristate.bpf.h"
#include "words.bpf.h"

struct futex_wait {
	__u64 word;
	__u64 timeout; /* user address; 0: for ever */
	__u64 pc;
	__u32 op;
	__u32 val;
};

static __always_inline void candidate_note(const struct owner_key *key, __u64 packed)
{
	struct candidate_row *row = bpf_map_lookup_elem(&candidates, key);
	__u32 i;

	if (!row) {
		struct candidate_row empty = {};

		bpf_map_update_elem(&candidates, key, &empty, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&candidates, key);
		if (!row)
			return;
	}
	for (i = 0; i < CANDIDATE_SLOTS; i++) {
		if (row->lock[i] == packed)
			return;
	}
	i = FETCH_AND_INCREMENT(&row->next) % CANDIDATE_SLOTS;
	row->lock[i] = packed;
}

static __always_inline void timeout_read(struct ev_wait_dead *ev, __u64 timeout)
{
	struct __kernel_timespec ts;

	if (!timeout)
		return;
	ev->flags |= WAIT_TIMED;
	if (!bpf_probe_read_user(&ts, sizeof(ts), (void *)timeout)) {
		ev->flags |= WAIT_TIMEOUT_READ;
		ev->timeout_ns = ts.tv_sec * 1000000000ull + ts.tv_nsec;
	}
}

static __always_inline void wait_dead_say(struct task_struct *task, const struct futex_wait *wait,
					  const struct lock_state *lock, __u32 owner)
{
	struct ev_wait_dead *ev;

	if (!event_reserve(ev, EV_WAIT_DEAD))
		return;
	ev_task_fill(&ev->task, task);
	ev->word = wait->word;
	ev->lock = *lock;
	ev->timeout_ns = 0;
	ev->op = wait->op;
	ev->flags = 0;
	ev->owner = owner;
	ev->pad = 0;
	ev->pc = wait->pc;
	timeout_read(ev, wait->timeout);
	event_submit(ev);
}

/*
 * Is the owner dead, and does the word still name it? The second reading makes it certain: an owner
 * that unlocked and ended between the first reading and the look-up is not blamed.
 */
static __always_inline bool owner_is_dead(const struct owner_key *key,
					  const struct futex_wait *wait, struct lock_state *lock)
{
	struct dead_row *dead = bpf_map_lookup_elem(&dead_threads, key);
	__u32 have;

	if (!dead || dead->clear_child_tid == wait->word)
		return false;
	return words_owner(lock->layout, wait->word, lock, &have) && lock->held &&
	       lock->owner == key->ns_tid;
}

static __always_inline void shared_pending_say(void)
{
	struct {
		struct ev_head head;
	} * ev;

	if (event_reserve(ev, EV_SHARED_PENDING))
		event_submit(ev);
}

/* Notes the lock for its owner's exit. Returns whether the owner is dead already. */
static __always_inline bool private_wait(const struct owner_key *key, __u64 packed,
					 const struct futex_wait *wait, struct lock_state *lock,
					 struct wait_row *row)
{
	candidate_note(key, packed);
	FULL_BARRIER(&row->since_ns);
	return owner_is_dead(key, wait, lock);
}

/* A lock with a known owner, or one that libc marked as left by a dead one. */
static __always_inline void lock_wait(struct task_struct *task, const struct futex_wait *wait,
				      struct lock_state *lock, struct wait_row *row)
{
	__u64 packed = lock_pack(lock->layout, wait->word);
	struct owner_key key = {};
	bool dead = false;

	proc_key_of(&key.proc, task);
	key.ns_tid = lock->owner;
	if (!lock->owner) {
		/* musl's thread end took the TID away; we may have seen it here before. */
		dead = lock->owner_died && !lock->robust;
		if (row->lock == packed)
			key.ns_tid = row->owner;
	} else if (wait->op & FUTEX_OP_PRIVATE) {
		dead = private_wait(&key, packed, wait, lock, row);
	} else {
		struct shared_search search = { .address = wait->word };
		long error = shared_find(task, &search);

		/*
		 * One such look-up a CPU at a time where interrupts are off: if another program
		 * was first, the task snapshot asks again.
		 */
		row->shared_pending = error != 0;
		if (error)
			shared_pending_say();
		if (!error && search.mapping)
			shared_candidate_note(lock->owner, &search, lock->layout);
		else if (!error)
			dead = private_wait(&key, packed, wait, lock, row);
	}
	row->lock = packed;
	row->owner = key.ns_tid;
	if (!dead || (row->said == wait->word && row->said_owner == key.ns_tid))
		return;
	row->said = wait->word;
	row->said_owner = key.ns_tid;
	wait_dead_say(task, wait, lock, key.ns_tid);
}

/*
 * noinline: the layouts are many branches, and verified once. Takes values and pointers to the
 * caller's stack, as static functions may. Returns the layout.
 */
static __noinline __u32 lock_of_wait(const struct futex_wait *wait, struct lock_state *lock)
{
	struct lock_words words;

	words_read(&words, wait->word);
	if (!words.have_at) {
		loss_count(LOSS_UNREADABLE);
		return LAYOUT_NONE;
	}
	return lock_layout(wait->op, wait->val, wait->timeout, wait->word, &words, lock);
}

static __always_inline void futex_wait_begin(struct task_struct *task, const struct syscall *call)
{
	struct futex_wait wait = {
		.word = call->arg[0],
		.op = call->arg[1],
		.val = call->arg[2],
		.timeout = call->arg[3],
		.pc = call->pc,
	};
	bool lock_call_made = lock_call(wait.op, wait.val);
	struct lock_state lock;
	struct wait_row *row;

	/* Nearly all waits are for conditions, queues, semaphores: nothing of them is needed. */
	if (!lock_call_made && !lock_parked(wait.op, wait.val, wait.timeout, wait.word, call->sp))
		return;
	row = waits_get(task, false);
	if (!row) {
		loss_count(LOSS_WAITS);
		return;
	}
	row->since_ns = bpf_ktime_get_ns();
	row->word = wait.word;
	if (lock_call_made && lock_of_wait(&wait, &lock) != LAYOUT_NONE)
		lock_wait(task, &wait, &lock, row);
}

/*
 * Rung "switch": the thread leaves the CPU inside a futex call. Taxes no system call. In
 * sched_switch prev is still current, so its memory is there; the run queue's lock is held, so
 * nothing here allocates.
 */
static __always_inline int futex_switched(bool preempt, struct task_struct *prev, __u32 prev_state)
{
	struct syscall call;

	if (preempt || !(prev_state & TASK_INTERRUPTIBLE) ||
	    FIELD(prev, flags) & (PF_EXITING | PF_KTHREAD))
		return 0;
	syscall_of(&call, prev);
	if (call.nr != -1 && futex_wait_of(&call, prev))
		futex_wait_begin(prev, &call);
	return 0;
}

#ifdef OLD_KERNEL
SEC("?tp_btf/sched_switch")
int BPF_PROG(futex_switch, bool preempt, struct task_struct *prev)
{
	return futex_switched(preempt, prev, compat_state(prev));
}
#else
SEC("?tp_btf/sched_switch")
int BPF_PROG(futex_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	return futex_switched(preempt, prev, prev_state);
}
#endif

/* Rung "tracepoint": every futex call, at its entry. Puts all system calls of the host on the slow path. */
SEC("?tp/syscalls/sys_enter_futex")
int futex_tracepoint(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task;
	struct syscall call;

	if (!futex_op_waits(ctx->args[1])) { /* most calls are wakes */
		if (tristates_used)
			tristate_wake(compat_current(), ctx->args[0]);
		return 0;
	}
	task = compat_current();
	syscall_of(&call, task);
	if (call.nr != NR_FUTEX || !futex_wait_of(&call, task))
		return 0;
	if (tristate_call(call.arg[1], call.arg[2], call.arg[3]))
		tristate_wait(task, call.arg[0]);
	futex_wait_begin(task, &call);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
