// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread ends. While its memory is still mapped: which locks name it? Its robust list, the lock it
 * last waited for, and those on which others wait while the word names it. One EV_HELD for each,
 * then the EV_EXIT.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "deep.bpf.h"
#include "libc.h"
#include "maps.bpf.h"
#include "shared.bpf.h"
#include "task.bpf.h"
#include "tristate.bpf.h"
#include "words.bpf.h"

#define SIGNAL_MASK 0x7f

struct thread_end {
	struct owner_key key;
	__u32 tid;
	__u32 flags; /* EXIT_* */
	__u32 n_held;
	bool early; /* at exit_signals() */
	bool any_held; /* not n_held: a counter that is tested would keep the verifier from converging */
	/* robust list */
	__u64 entry;
	__u64 head;
	__s64 futex_offset;
	bool complete;
};

#define EXIT_DYING (EXIT_IN_GROUP | EXIT_IN_EXEC)

static __always_inline void held_say(struct thread_end *end, __u64 word,
				     const struct lock_state *lock,
				     const struct shared_place *place, __u32 from)
{
	struct ev_held *ev;

	end->n_held++;
	end->any_held = true;
	if (!event_reserve(ev, EV_HELD))
		return;
	ev->proc = end->key.proc;
	ev->word = word;
	ev->lock = *lock;
	ev->place = *place;
	ev->tid = end->tid;
	ev->from = from;
	event_submit(ev);
}

/* How does the word name the thread? HELD_UNREAD + 1: it does not. */
static __always_inline __u32 held_judge(__u32 layout, bool known, __u32 have, __u32 ns_tid,
					const struct lock_state *lock)
{
	if (!known || !lock->held)
		return have == LOCK_WORDS_FROM || (have && layout == LAYOUT_PI_FUTEX)
			       ? HELD_UNREAD + 1
			       : HELD_UNREAD;
	if (lock->owner == ns_tid)
		return HELD_CANDIDATE;
	/* It was a candidate, so the word named this thread; musl's thread end has just marked it. */
	if (layout == LAYOUT_MUSL_MUTEX && !lock->owner && lock->owner_died && !lock->robust)
		return HELD_OWNER_DIED;
	return HELD_UNREAD + 1;
}

static __always_inline void held_begin(struct lock_state *lock, __u64 packed)
{
	__u32 layout = packed >> PACK_SHIFT;

	*lock = (struct lock_state){
		.address = (packed & PACK_ADDRESS) - lock_word_offset(layout),
		.layout = layout,
	};
}

#ifdef OLD_KERNEL
/* Verified once, since it takes no pointer: the answer lies in the thread's own row. */
__weak __noinline __u32 held_find(__u64 packed, __u32 ns_tid)
{
	struct wait_row *row = waits_get(compat_current(), false);
	__u32 have = 0, layout = packed >> PACK_SHIFT;
	struct lock_state lock;
	bool known;

	held_begin(&lock, packed);
	known = words_owner_of(layout, packed & PACK_ADDRESS, &lock, &have);
	if (row)
		row->found = lock;
	return held_judge(layout, known, have, ns_tid, &lock);
}

static __always_inline __u32 held_check(struct thread_end *end, __u64 packed,
					struct lock_state *lock)
{
	struct wait_row *row;
	__u32 from;

	held_begin(lock, packed);
	if (end->flags & EXIT_UNREADABLE)
		return HELD_UNREAD;
	from = held_find(packed, end->key.ns_tid);
	row = waits_get(compat_current(), false);
	if (!row) {
		loss_count(LOSS_WAITS);
		return HELD_UNREAD + 1;
	}
	*lock = row->found;
	return from;
}
#else
__weak __noinline __u32 held_check(struct thread_end *end, __u64 packed, struct lock_state *lock)
{
	__u32 have = 0, layout = packed >> PACK_SHIFT;
	bool known;

	if (!end || !lock)
		return HELD_UNREAD + 1;
	held_begin(lock, packed);
	if (end->flags & EXIT_UNREADABLE)
		return HELD_UNREAD;
	known = words_owner(layout, packed & PACK_ADDRESS, lock, &have);
	return held_judge(layout, known, have, end->key.ns_tid, lock);
}
#endif

/* Does the address lie in a shared mapping of this process, which is ending? */
static __always_inline bool shared_place_find(struct shared_search *search)
{
	long error = shared_find(compat_current(), search);

	if (error && error != -2) /* ENOENT */
		loss_count(LOSS_MAPPINGS);
	return !error && search->mapping;
}

/* A lock by its address here. Of a process that ends only what lies in a shared mapping counts. */
static __always_inline void candidate_check(struct thread_end *end, __u64 packed)
{
	struct shared_search search = { .address = packed & PACK_ADDRESS };
	struct lock_state lock;
	__u32 from;

	if (!packed)
		return;
	from = held_check(end, packed, &lock);
	if (from > HELD_UNREAD)
		return;
	if (end->flags & EXIT_DYING) {
		if (from == HELD_UNREAD || !shared_place_find(&search))
			return;
	}
	held_say(end, search.address, &lock, &search.place, from);
}

struct candidate_walk {
	struct thread_end *end;
	struct candidate_row row;
	__u64 last; /* the lock that the thread itself last waited for */
};

/* Callbacks of bpf_loop() keep the verifier's work small: a slot is verified once, not eight times. */
static long candidate_step(__u32 i, struct candidate_walk *walk)
{
	candidate_check(walk->end,
			i < CANDIDATE_SLOTS ? walk->row.lock[i % CANDIDATE_SLOTS] : walk->last);
	return 0;
}

/* Of an old kernel's the frames under these are larger: the answers do not come by pointers. */
#ifdef OLD_KERNEL
#define OWN_FRAME static __always_inline
#else
#define OWN_FRAME static __noinline
#endif

/*
 * noinline, as exit_say() is: the stack of all that call each other has 512 bytes, which kernels before
 * 6.9 count in steps of 32. What the program needs for one of them it shall not need under the others.
 */
OWN_FRAME void candidates_check(struct thread_end *end, struct task_struct *task)
{
	struct wait_row *wait = waits_get(task, false);
	struct candidate_row *row = bpf_map_lookup_elem(&candidates, &end->key);
	struct candidate_walk walk = { .end = end };

	if (row) {
		walk.row = *row;
		bpf_map_delete_elem(&candidates, &end->key);
	}
	if (wait && wait->owner)
		walk.last = wait->lock;
	if (row || walk.last)
		LOOP(CANDIDATE_SLOTS + 1, candidate_step, &walk);
}

/* What is in the word now is for the agent to read: it says nothing of who wrote it. */
static __always_inline void tristate_check(struct thread_end *end, struct task_struct *task)
{
	struct wait_row *wait = waits_get(task, false);
	struct shared_place nowhere = {};
	struct lock_state lock = {};

	if (!wait || !tristate_left(&end->key.proc, wait))
		return;
	lock.address = wait->tristate;
	lock.layout = LAYOUT_TRISTATE;
	held_say(end, lock.address, &lock, &nowhere, HELD_INFERRED);
}

struct shared_walk {
	struct thread_end *end;
	struct shared_row *row;
	__u64 mm;
};

/* A lock in shared memory on which another process waits, at the address where it is mapped here. */
static long shared_step(__u32 i, struct shared_walk *shared)
{
	struct shared_candidate *slot = &shared->row->slot[i % SHARED_SLOTS];
	struct mapping_walk walk = {
		.mapping = slot->mapping,
		.offset = slot->offset,
		.mm = shared->mm,
	};
	struct lock_state lock;

	if (!walk.mapping || !mapping_find(&walk))
		return 0;
	if (held_check(shared->end, lock_pack(slot->layout, walk.address), &lock) == HELD_CANDIDATE)
		held_say(shared->end, walk.address, &lock, &walk.place, HELD_CANDIDATE);
	return 0;
}

static __always_inline void shared_check(struct thread_end *end, struct task_struct *task)
{
	struct shared_walk shared = {
		.end = end,
		.row = bpf_map_lookup_elem(&shared_candidates, &end->key.ns_tid),
		.mm = (__u64)FIELD(task, mm),
	};

	if (shared.row && shared.mm)
		LOOP(SHARED_SLOTS, shared_step, &shared);
}

/* Global functions are verified once each, and return a number: 0 here. */
#ifdef OLD_KERNEL
static __always_inline
#else
__weak __noinline
#endif
	int
	robust_entry(struct thread_end *end, __u64 entry)
{
	__u64 word = (entry & ~1ull) + (end ? end->futex_offset : 0);
	__u32 layout = LAYOUT_PI_FUTEX; /* the word alone */
	struct shared_search search = { .address = word };
	struct lock_state lock;

	if (!end)
		return 0;
	if (end->futex_offset == GLIBC_FUTEX_OFFSET)
		layout = LAYOUT_GLIBC_ROBUST;
	else if (end->futex_offset == MUSL_FUTEX_OFFSET)
		layout = LAYOUT_MUSL_MUTEX;
	if (held_check(end, lock_pack(layout, word), &lock) != HELD_CANDIDATE)
		return 0;
	if (layout == LAYOUT_PI_FUTEX)
		lock.robust = 1;
	if (end->flags & EXIT_DYING && !shared_place_find(&search))
		return 0;
	held_say(end, word, &lock, &search.place, HELD_ROBUST_LIST);
	return 0;
}

static long robust_step(__u32 i, struct thread_end *end)
{
	__u64 entry = end->entry & ~1ull;

	if (!entry || entry == end->head) {
		end->complete = true;
		return 1;
	}
	robust_entry(end, end->entry);
	return bpf_probe_read_user(&end->entry, sizeof(end->entry), (void *)entry) ? 1 : 0;
}

#ifdef OLD_KERNEL
#define ROBUST_LIST_LIMIT \
	32 /* a loop is verified round by round; what is beyond is counted as lost */
#else
#define ROBUST_LIST_LIMIT 2048 /* include/uapi/linux/futex.h: the kernel stops there too */
#endif

static __always_inline void robust_list_check(struct thread_end *end, struct robust_list_head *user)
{
	struct {
		__u64 next;
		__s64 futex_offset;
		__u64 pending;
	} head;

	if (!user)
		return;
	if (bpf_probe_read_user(&head, sizeof(head), user)) {
		loss_count(LOSS_ROBUST_LIST);
		return;
	}
	end->head = (__u64)user;
	end->entry = head.next;
	end->futex_offset = head.futex_offset;
	LOOP(ROBUST_LIST_LIMIT, robust_step, end);
	if (!end->complete)
		loss_count(LOSS_ROBUST_LIST);
	if (head.pending)
		robust_entry(end, head.pending);
}

static __always_inline bool user_u32(__u64 address, __u32 *value)
{
	return !bpf_probe_read_user(value, sizeof(*value), (void *)address);
}

static __always_inline __u32 glibc_end(__u64 robust, __u32 cancel)
{
	__u64 result[2] = {};

	if (cancel & ~GLIBC_CANCEL_BITS)
		return END_UNKNOWN;
	if (!(cancel & GLIBC_EXITING))
		return END_RAW;
	if (!(cancel & GLIBC_CANCELED))
		return END_LIBC;
	/* Cancelled, but did it act? The thread may have returned before it came to a point for it. */
	bpf_probe_read_user(result, sizeof(result), (void *)(robust + GLIBC_ROBUST_TO_RESULT));
	return result[0] == PTHREAD_CANCELED_RESULT || result[1] == PTHREAD_CANCELED_RESULT
		       ? END_CANCEL
		       : END_UNKNOWN;
}

/*
 * At its ordinary end a thread of musl has taken itself out of the list of threads, 1.2's also its TID
 * out of the descriptor (src/thread/pthread_create.c).
 */
static __always_inline __u32 musl_end(__u64 self, __u32 tid)
{
	__u64 result, prev, next;
	__u32 state, cancel;
	bool ended;

	if (!user_u32(self + MUSL_DETACH_STATE, &state) || !user_u32(self + MUSL_CANCEL, &cancel) ||
	    bpf_probe_read_user(&result, sizeof(result), (void *)(self + MUSL_RESULT)) ||
	    bpf_probe_read_user(&prev, sizeof(prev), (void *)(self + MUSL_PREV)) ||
	    bpf_probe_read_user(&next, sizeof(next), (void *)(self + MUSL_NEXT)))
		return END_UNKNOWN;
	ended = state == MUSL_DT_EXITING ||
		(state == MUSL_DT_EXITED && prev == self && next == self);
	if (state > 3 || (!ended && !tid))
		return END_UNKNOWN;
	if (!ended)
		return END_RAW;
	return cancel && result == PTHREAD_CANCELED_RESULT ? END_CANCEL : END_LIBC;
}

/*
 * Each libc's descriptor is known by the thread's own TID in its place, that of glibc 2.43 also by the word
 * that the kernel will clear. A global function: verified once.
 */
__weak __noinline __u32 libc_end_of(__u64 self, __u64 robust, __u32 ns_tid, __u64 clear_child_tid)
{
	bool took_tid_away = robust == self + GLIBC_THREAD_ROBUST &&
			     clear_child_tid == self + GLIBC_THREAD_JOINSTATE;
	__u64 self_word = 0;
	__u32 tid, cancel;

	if (robust && user_u32(robust + GLIBC_ROBUST_TO_TID, &tid) &&
	    (tid == ns_tid || (!tid && took_tid_away)) &&
	    user_u32(robust + GLIBC_ROBUST_TO_CANCEL, &cancel))
		return glibc_end(robust, cancel);
	bpf_probe_read_user(&self_word, sizeof(self_word), (void *)(self + MUSL_SELF));
	if (self && self_word == self && user_u32(self + MUSL_TID, &tid) && (tid == ns_tid || !tid))
		return musl_end(self, tid);
	return END_UNKNOWN;
}

static __always_inline __u32 exit_flags_of(struct task_struct *task, int live_at_end)
{
	struct signal_struct *signal = FIELD(task, signal);
	__u32 flags = 0;

	if (compat_in_exec(signal))
		flags |= EXIT_IN_EXEC;
	else if (FIELD(signal, flags) & SIGNAL_GROUP_EXIT ||
		 FIELD(signal, live.counter) <= live_at_end)
		flags |= EXIT_IN_GROUP;
	return flags;
}

/*
 * do_exit() notes the code in the task only after exit_signals(): by then it is the process's, or the
 * argument of the system call. A thread that seccomp kills alone has neither.
 */
static __always_inline bool exit_code_early(struct task_struct *task, const struct syscall *call,
					    __u32 *code)
{
	if (FIELD(task, signal, flags) & SIGNAL_GROUP_EXIT)
		*code = FIELD(task, signal, group_exit_code);
	else if (!call->compat && call->nr == NR_EXIT)
		*code = (call->arg[0] & 0xff) << 8;
	else
		return false;
	return true;
}

/* Only a hint: may deep mode have noted something of this thread? */
static __always_inline __u32 deep_rows(struct task_struct *task)
{
	struct deep_thread *thread;

	if (!deep_on)
		return 0;
	thread = deep_threads_get(task, false);
	return thread ? thread->rows : 0;
}

static __noinline void exit_say(struct thread_end *end, struct task_struct *task,
				const struct dead_row *dead, __u32 libc_end)
{
	struct syscall call = {}; /* before 5.12 not even what goes unused may be read unwritten */
	struct ev_exit *ev;

	if (!event_reserve(ev, EV_EXIT))
		return;
	syscall_of(&call, task);
	ev->head.time_ns = dead->exit_ns; /* tells whose dead row it is */
	ev_task_fill(&ev->task, task);
	ev->exit_code = FIELD(task, exit_code);
	ev->flags = end->flags;
	if (end->early && !exit_code_early(task, &call, &ev->exit_code))
		ev->flags |= EXIT_NO_CODE;
	ev->libc_end = libc_end;
	ev->syscall = call.nr;
	ev->n_held = end->n_held;
	ev->n_deep = deep_rows(task);
	ev->clear_child_tid = dead->clear_child_tid;
	ev->thread_pointer = compat_thread_pointer(task);
	/* After an end that is no ordinary one the census begins at once. */
	if (end->any_held || ev->n_deep || libc_end == END_CANCEL || libc_end == END_RAW ||
	    FIELD(task, exit_code) & 0x7f)
		event_submit(ev);
	else
		event_submit_idly(ev);
}

/*
 * live_at_end: what signal_struct.live is at this hook when the last thread of a process ends. early:
 * the hook runs before do_exit() has counted the thread out and noted its code.
 */
static __always_inline int thread_exit(struct task_struct *task, bool readable, int live_at_end,
				       bool early)
{
	struct robust_list_head *robust = compat_robust_list(task);
	struct dead_row dead = {};
	struct thread_end end = {};
	__u32 libc_end = END_UNKNOWN;
	__u64 robust_address = 0;

	if (!task_is_user(task))
		return 0;
	proc_key_of(&end.key.proc, task);
	end.key.ns_tid = task_ns_tid(task);
	end.tid = FIELD(task, pid);
	end.flags = exit_flags_of(task, live_at_end);
	end.early = early;
	end.n_held = unknown_zero();
	if (!readable)
		end.flags |= EXIT_UNREADABLE;
	dead.exit_ns = bpf_ktime_get_ns();
	/* Read as a number: global functions take no pointer into user memory. */
	bpf_core_read(&dead.clear_child_tid, sizeof(dead.clear_child_tid), &task->clear_child_tid);
	if (!(end.flags & EXIT_DYING) &&
	    bpf_map_update_elem(&dead_threads, &end.key, &dead, BPF_ANY))
		loss_count(LOSS_DEAD_THREADS);
	FULL_BARRIER(&dead.exit_ns); /* see futex.bpf.c */

	if (readable) {
		robust_address = compat_robust_address(task);
		libc_end = libc_end_of(compat_thread_pointer(task), robust_address, end.key.ns_tid,
				       dead.clear_child_tid);
		robust_list_check(&end, robust);
	}
	candidates_check(&end, task);
	if (readable && !(end.flags & EXIT_DYING))
		tristate_check(&end, task);
	if (readable)
		shared_check(&end, task);
	if (!(end.flags & EXIT_DYING) || end.any_held)
		exit_say(&end, task, &dead, libc_end);
	waits_drop(task);
	deep_threads_drop(task);
	return 0;
}

/*
 * Rung "tracepoint": since 6.16 (3e816361e94a) sched_process_exit comes before exit_mm(), and has
 * group_dead: reading that argument keeps the program from loading on older kernels.
 */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(exit_tracepoint, struct task_struct *task, bool group_dead)
{
	return thread_exit(task, true, group_dead ? 1 << 30 : 0, false);
}

/* Rung "fentry": futex_exit_release() is called from exit_mm() with the memory still there. */
SEC("?fentry/futex_exit_release")
int BPF_PROG(exit_fentry, struct task_struct *task)
{
	return thread_exit(task, true, 0, false);
}

/* The same where futex_exit_release() is inlined: earlier, before signal_struct.live goes down. */
SEC("?fentry/exit_signals")
int BPF_PROG(exit_fentry_signals, struct task_struct *task)
{
	return thread_exit(task, true, 1, true);
}

/* Rung "late": the memory is gone; the agent reads the candidates of a process that lives on. */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(exit_late, struct task_struct *task)
{
	return thread_exit(task, false, 0, false);
}

char LICENSE[] SEC("license") = "GPL";
