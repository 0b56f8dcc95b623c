// SPDX-License-Identifier: GPL-2.0-only
/*
 * Deep mode: what the threads of chosen processes hold, by probes on the lock functions.
 *
 * Where a lock's memory names its owner, a probe at the entry is enough: it notes whom to ask. Where it
 * does not, the call must be seen to succeed, at the RET instructions of the function. A return probe
 * would see that too, and break unwinding through the function: docs/decisions.md.
 *
 * A release takes the row away before the lock's memory changes. So who reads the memory, and then finds
 * the row as it was, knows that nobody released the lock in between.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "deep.bpf.h"
#include "maps.bpf.h"
#include "task.bpf.h"

#define ENOENT 2

/*
 * In CPython 3.13 who waits for its own kind of mutex sleeps on a semaphore in its own frames
 * (Python/parking_lot.c). That is no lock: nothing this near to the stack pointer is.
 */
#define DEEP_FRAME_BYTES 2048

#define MUSL_TYPE 15 /* of _m_type; 0: a normal mutex, which names no owner */

/* Allocated beforehand: probes on user code may not allocate on every kernel (34dd3bad1a6f, 6.1). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set by the agent before loading, as the next one */
	__type(key, struct deep_key);
	__type(value, struct deep_row);
} deep_holds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct deep_key);
	__type(value, __u64);
} deep_doubts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct deep_span);
} deep_pythons SEC(".maps");

/* When a doubt found no room: no row from before then proves anything. */
__u64 deep_doubt_ns;

static __always_inline struct deep_thread *deep_thread(bool make)
{
	return deep_threads_get(compat_current(), make);
}

static __always_inline bool user_read(void *to, __u32 bytes, __u64 address)
{
	return !bpf_probe_read_user(to, bytes, (void *)address);
}

/* ---- what the memory says ---- */

static __always_inline bool caller_is_python(__u64 caller)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct deep_span *span = bpf_map_lookup_elem(&deep_pythons, &tgid);

	return span && caller >= span->start && caller < span->end;
}

/* 0: none that is of interest, or not to be told. */
static __always_inline __u32 deep_how(__u64 site, __u64 lock)
{
	__u32 type;

	switch (site) {
	case DEEP_GLIBC_MUTEX:
	case DEEP_GLIBC_WRITE:
		return DEEP_OWNER;
	case DEEP_GLIBC_READ:
	case DEEP_MUSL_READ:
		return DEEP_READER;
	case DEEP_MUSL_MUTEX:
		if (!user_read(&type, sizeof(type), lock)) {
			loss_count(LOSS_DEEP);
			return 0;
		}
		return type & MUSL_TYPE ? DEEP_OWNER : DEEP_EXCLUSIVE;
	default:
		return DEEP_EXCLUSIVE;
	}
}

struct deep_owner {
	__u32 tid;
	__u32 more; /* times that the lock is held, beyond once; 0 for what can't be held twice */
};

static __always_inline bool owner_read(__u64 site, __u64 lock, struct deep_owner *owner)
{
	__u32 w[6];

	if (!user_read(w, sizeof(w), lock))
		return false;
	if (site == DEEP_GLIBC_MUTEX) {
		owner->tid = w[0] ? w[2] : 0;
		owner->more = (w[4] & GLIBC_KIND_TYPE) == 1 && w[1] ? w[1] - 1 : 0;
	} else {
		owner->tid = w[1] & FUTEX_WORD_TID;
		owner->more = (w[0] & MUSL_TYPE_KIND) == 1 ? w[5] : 0;
	}
	return true;
}

/*
 * Had the thread taken it before, so that where it did is noted? glibc is asked at the entry of the
 * function, musl when it returns.
 */
static __always_inline bool taken_before(__u64 site, __u64 lock)
{
	struct deep_owner owner = {};

	if (site == DEEP_GLIBC_WRITE)
		user_read(&owner.tid, sizeof(owner.tid), lock + GLIBC_RWLOCK_WRITER);
	else if (!owner_read(site, lock, &owner))
		return false;
	if (site == DEEP_MUSL_MUTEX)
		return owner.more;
	return owner.tid && owner.tid == task_ns_tid(compat_current());
}

/* ---- rows ---- */

static __always_inline void key_of(struct deep_key *key, __u64 lock, __u32 how)
{
	__u64 id = bpf_get_current_pid_tgid();

	key->lock = lock;
	key->tgid = id >> 32;
	key->tid = how == DEEP_EXCLUSIVE ? 0 : (__u32)id;
}

static __always_inline void row_make(const struct deep_key *key, const struct deep_row *row)
{
	struct deep_thread *thread = deep_thread(true);

	if (!thread || bpf_map_update_elem(&deep_holds, key, row, BPF_ANY)) {
		loss_count(LOSS_DEEP);
		return;
	}
	thread->rows++;
}

static __always_inline void reader_count(struct deep_row *row, const struct deep_call *call,
					 __u64 now)
{
	/* Not what a function within this one has counted already. */
	if (row->counted_ns < call->time_ns) {
		row->count++;
	} else if (row->count == 1) {
		row->call_ns = call->time_ns;
		row->caller = call->caller;
	}
	row->counted_ns = now;
}

static __always_inline void row_note(const struct deep_call *call, __u32 how)
{
	__u64 now = bpf_ktime_get_ns();
	struct deep_row fresh = {
		.call_ns = call->time_ns,
		.caller = call->caller,
		.counted_ns = now,
		.tid = bpf_get_current_pid_tgid(),
		.site = call->site,
		.how = how,
		.count = 1,
	};
	struct deep_thread *thread;
	struct deep_row *row;
	struct deep_key key;

	key_of(&key, call->lock, how);
	row = bpf_map_lookup_elem(&deep_holds, &key);
	if (!row) {
		row_make(&key, &fresh);
		return;
	}
	if (row->how == DEEP_READER && how != DEEP_READER)
		return; /* asks for writing what it has for reading: it will not get it */
	if (how == DEEP_OWNER && row->tid == fresh.tid && taken_before(call->site, call->lock))
		return;
	if (how == DEEP_READER && row->how == DEEP_READER) {
		reader_count(row, call, now);
		return;
	}
	if (row->tid != fresh.tid) {
		thread = deep_thread(true);
		if (!thread) {
			loss_count(LOSS_DEEP);
			fresh.tid = 0; /* somebody's */
		} else {
			thread->rows++;
		}
	}
	*row = fresh;
}

/* Whoever called for this lock before now may have it or not. */
static __always_inline void doubt_note(__u64 lock)
{
	struct deep_key key;
	__u64 now = bpf_ktime_get_ns();

	key_of(&key, lock, DEEP_EXCLUSIVE);
	if (bpf_map_update_elem(&deep_doubts, &key, &now, BPF_ANY)) {
		deep_doubt_ns = now;
		loss_count(LOSS_DEEP);
	}
}

/* Returns whether there was one. */
static __always_inline bool row_remove(const struct deep_key *key)
{
	struct deep_row *row = bpf_map_lookup_elem(&deep_holds, key);
	struct deep_thread *thread;
	bool own;

	if (!row || !row->tid)
		return false;
	own = row->tid == (__u32)bpf_get_current_pid_tgid();
	row->tid = 0; /* whatever becomes of the rest */
	if (bpf_map_delete_elem(&deep_holds, key))
		loss_count(LOSS_DEEP);
	thread = own ? deep_thread(false) : NULL;
	if (thread && thread->rows)
		thread->rows--;
	return true;
}

/* Once less; false: the thread does not have it for reading. */
static __always_inline bool reader_leave(__u64 lock)
{
	struct deep_row *row;
	struct deep_key key;

	key_of(&key, lock, DEEP_READER);
	row = bpf_map_lookup_elem(&deep_holds, &key);
	if (!row || row->how != DEEP_READER || !row->tid)
		return false;
	if (row->count > 1)
		row->count--;
	else
		row_remove(&key);
	return true;
}

/* ---- calls that have not returned ---- */

static __always_inline void call_note(const struct deep_call *call)
{
	struct deep_thread *thread = deep_thread(true);
	__u32 i, slot = DEEP_CALLS;

	if (!thread) {
		loss_count(LOSS_DEEP);
		return;
	}
	/* A call further down the stack is over: this thread is here. */
	for (i = 0; i < DEEP_CALLS; i++) {
		if (!thread->call[i].site || thread->call[i].sp <= call->sp)
			slot = i;
	}
	if (slot >= DEEP_CALLS) {
		slot = thread->next++ % DEEP_CALLS;
		loss_count(LOSS_DEEP);
	}
	/* A jump back to the entry, or on to another lock function, is the same call. */
	for (i = 0; i < DEEP_CALLS; i++) {
		if (thread->call[i].site && thread->call[i].sp == call->sp)
			slot = i;
	}
	thread->call[slot % DEEP_CALLS] = *call;
}

static __always_inline bool call_take(__u64 sp, struct deep_call *call)
{
	struct deep_thread *thread = deep_thread(false);
	__u32 i;

	if (!thread)
		return false;
	for (i = 0; i < DEEP_CALLS; i++) {
		if (!thread->call[i].site || thread->call[i].sp != sp)
			continue;
		*call = thread->call[i];
		thread->call[i].site = 0;
		return true;
	}
	return false;
}

/* ---- the probes: plain ones, by file offset; the cookie is the site ---- */

SEC("?uprobe")
int deep_acquire(struct pt_regs *ctx)
{
	struct deep_call call = {
		.sp = PT_REGS_SP(ctx),
		.lock = PT_REGS_PARM1(ctx),
		.time_ns = bpf_ktime_get_ns(),
		.site = bpf_get_attach_cookie(ctx),
	};

	user_read(&call.caller, sizeof(call.caller), call.sp);
	if (call.site == DEEP_SEMAPHORE &&
	    (!caller_is_python(call.caller) || call.lock - call.sp < DEEP_FRAME_BYTES))
		return 0;
	/*
	 * glibc's memory tells who has it. musl's keeps no name when a thread has ended: whom it was
	 * that did is known from having seen it succeed.
	 */
	if (call.site == DEEP_GLIBC_MUTEX || call.site == DEEP_GLIBC_WRITE)
		row_note(&call, DEEP_OWNER);
	else
		call_note(&call);
	return 0;
}

SEC("?uprobe")
int deep_return(struct pt_regs *ctx)
{
	struct deep_call call;
	__u32 how;

	if (!call_take(PT_REGS_SP(ctx), &call) || (__u32)PT_REGS_RC(ctx))
		return 0;
	/* Its memory is there by now: it has just been locked. */
	how = deep_how(call.site, call.lock);
	if (how)
		row_note(&call, how);
	return 0;
}

SEC("?uprobe")
int deep_release(struct pt_regs *ctx)
{
	__u64 lock = PT_REGS_PARM1(ctx), site = bpf_get_attach_cookie(ctx), caller = 0;
	__u32 how = deep_how(site, lock);
	struct deep_owner owner;
	struct deep_key key;

	if (!how)
		return 0;
	if ((site == DEEP_GLIBC_WRITE || site == DEEP_MUSL_WRITE) && reader_leave(lock))
		return 0;
	if (how == DEEP_OWNER && site != DEEP_GLIBC_WRITE && owner_read(site, lock, &owner) &&
	    owner.more)
		return 0;
	key_of(&key, lock, how);
	if (row_remove(&key))
		return 0;
	if (site == DEEP_SEMAPHORE) {
		/* Another program's semaphore is posted by whoever likes to. */
		user_read(&caller, sizeof(caller), PT_REGS_SP(ctx));
		if (!caller_is_python(caller))
			return 0;
	}
	if (how != DEEP_OWNER || site == DEEP_GLIBC_WRITE)
		doubt_note(lock);
	return 0;
}

/* Tells where a Python is: on a function that is next to never called. */
SEC("?uprobe")
int deep_marker(struct pt_regs *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
