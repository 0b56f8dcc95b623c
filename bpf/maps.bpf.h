/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the hook families share: the maps, the loss counters, the ring buffer. Every file that
 * includes this defines the same weak symbols, and the BPF linker makes one of each.
 */
#ifndef DEADHOLD_MAPS_BPF_H
#define DEADHOLD_MAPS_BPF_H

#include "compat.bpf.h"

/* Sizes are set by the agent before loading where they depend on the host (user/hooks.c). */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, MAP_FLAGS_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct owner_key);
	__type(value, struct dead_row);
} dead_threads SEC(".maps") __weak;

/* Least recently used goes first: its waiters are still blocked, so the sweep finds them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct owner_key);
	__type(value, struct candidate_row);
} candidates SEC(".maps") __weak;

/* What a thread last did on a futex. Made when the thread is, never in sched_switch. */
struct wait_row {
	__u64 since_ns;
	__u64 word;
	__u64 lock; /* packed like a candidate: the last lock it waited for; 0: none */
	__u64 said; /* the last word on which it was reported to wait for a dead owner */
	__u32 owner;
	__u32 said_owner;
	__u32 shared_pending; /* a shared lock whose mapping could not be looked up at once */
	__u32 pad;
	__u64 tristate; /* the last such word it slept on and has woken nobody on since: tristate.bpf.h */
	__u64 tristate_ns;
#ifdef OLD_KERNEL
	struct lock_state found; /* what held_find() read last */
#endif
};

TASK_MAP(waits, struct wait_row)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSSES);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps") __weak;

static __always_inline void loss_count(__u32 which)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &which);

	if (count)
		(*count)++; /* per CPU; a program that interrupts this one counts on its own line */
}

/* Room for one record, or NULL and one loss counted. */
#define event_reserve_or(ev, kind, loss)                               \
	({                                                             \
		(ev) = bpf_ringbuf_reserve(&events, sizeof(*(ev)), 0); \
		if (ev) {                                              \
			(ev)->head.type = (kind);                      \
			(ev)->head.pad = 0;                            \
			(ev)->head.time_ns = bpf_ktime_get_ns();       \
		} else {                                               \
			loss_count(loss);                              \
		}                                                      \
		(ev) != NULL;                                          \
	})

#define event_reserve(ev, kind) event_reserve_or(ev, kind, LOSS_RING_BUFFER)

/* Wakes the agent whatever lies unread before this record: event_submit_idly() woke nobody. */
static __always_inline void event_submit(void *ev)
{
	bpf_ringbuf_submit(ev, BPF_RB_FORCE_WAKEUP);
}

/*
 * For what the agent only keeps in mind: it looks into the ring once a second anyway, and before it
 * judges anything. Much unread is a reason to wake it.
 */
#define EVENTS_UNREAD_BYTES (1 << 20)
static __always_inline void event_submit_idly(void *ev)
{
	bool much = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > EVENTS_UNREAD_BYTES;

	bpf_ringbuf_submit(ev, much ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

#endif
