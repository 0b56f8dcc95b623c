/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mutex that records no owner: Rust's (std/src/sys/sync/mutex/futex.rs, since 1.62). Its word is 0 free,
 * 1 locked, 2 locked and somebody may wait. Who wants it and can't have it sets 2 and sleeps until it is
 * no longer 2; who comes out of that sleep takes it by setting 2 again; who unlocks it sets 0 and, where
 * there was a 2, calls FUTEX_WAKE. So a thread that slept on it and went on has it until it makes that
 * call. One that ends without, with the word still at 2, has left it locked.
 *
 * Words of other makes are slept on with the same call (the counter of a condition that stands at 2). What
 * tells them apart is what the waker has left there: 0, where this thread's mutex was unlocked; another
 * number where it is no mutex. Only the rung that sees wakes can know any of it.
 */
#ifndef DEADHOLD_TRISTATE_BPF_H
#define DEADHOLD_TRISTATE_BPF_H

#include "maps.bpf.h"
#include "task.bpf.h"

#define TRISTATE_FREE	0
#define TRISTATE_WAITED 2

struct tristate_key {
	struct proc_key proc;
	__u64 word;
};

/* What wakers left in the word, and when last. A row says nothing of what was before it was made. */
struct tristate_row {
	__u64 made_ns;
	__u64 freed_ns; /* 0 */
	__u64 other_ns; /* what the word of such a mutex never is */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tristate_key);
	__type(value, struct tristate_row);
} tristates SEC(".maps") __weak;

/* There is a row, or was one: other hosts pay nothing for theirs. */
__u32 tristates_used __weak;

static __always_inline bool tristate_call(__u32 op, __u32 val, __u64 timeout)
{
	return op == (FUTEX_OP_WAIT_BITSET | FUTEX_OP_PRIVATE) && val == TRISTATE_WAITED &&
	       !timeout;
}

/*
 * The thread is about to sleep on such a word. Only where it has that value still: else the call fails, and
 * the waker may have been here before it, unseen.
 */
static __always_inline void tristate_wait(struct task_struct *task, __u64 word)
{
	struct wait_row *row = waits_get(task, false);
	struct tristate_row empty = { .made_ns = bpf_ktime_get_ns() };
	struct tristate_key key = { .word = word };
	__u32 value;

	if (!row)
		return; /* counted where the wait itself is looked at */
	row->tristate = 0;
	if (bpf_probe_read_user(&value, sizeof(value), (void *)word) || value != TRISTATE_WAITED)
		return;
	proc_key_of(&key.proc, task);
	bpf_map_update_elem(&tristates, &key, &empty, BPF_NOEXIST);
	tristates_used = 1;
	row->tristate = word;
	row->tristate_ns = bpf_ktime_get_ns();
}

/* The thread wakes, or moves, those that sleep on a word. */
static __always_inline void tristate_wake(struct task_struct *task, __u64 word)
{
	struct wait_row *row = waits_get(task, false);
	struct tristate_key key = { .word = word };
	struct tristate_row *wakes;
	__u32 value;

	if (row && row->tristate == word)
		row->tristate = 0; /* so does an unlock */
	proc_key_of(&key.proc, task);
	wakes = bpf_map_lookup_elem(&tristates, &key);
	if (!wakes)
		return;
	if (bpf_probe_read_user(&value, sizeof(value), (void *)word) || value > TRISTATE_WAITED)
		wakes->other_ns = bpf_ktime_get_ns();
	else if (value == TRISTATE_FREE)
		wakes->freed_ns = bpf_ktime_get_ns();
}

/* Has a thread that ends, whose memory is there, left one locked? */
static __always_inline bool tristate_left(const struct proc_key *proc, const struct wait_row *row)
{
	struct tristate_key key = { .proc = *proc, .word = row->tristate };
	struct tristate_row *wakes;
	__u32 value;

	wakes = row->tristate ? bpf_map_lookup_elem(&tristates, &key) : NULL;
	if (!wakes || wakes->made_ns > row->tristate_ns || wakes->freed_ns <= row->tristate_ns ||
	    wakes->other_ns >= row->tristate_ns)
		return false;
	return !bpf_probe_read_user(&value, sizeof(value), (void *)key.word) &&
	       value == TRISTATE_WAITED;
}

#endif
