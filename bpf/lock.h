/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who holds this futex word? The lock layouts of the C libraries and lock_owner(), one pure function
 * over a few words of user memory, compiled into the kernel programs and into the agent.
 *
 * A lock is looked at through the words around its futex word. Which layout to read them by is told
 * by the futex call on which a thread blocks (lock_layout()), and kept with the address from then on.
 *
 * Layouts (LP64, x86_64 and aarch64):
 *   glibc mutex   nptl/…/bits/struct_mutex.h, unchanged 2.17 to 2.42: lock@0 count@4 owner@8 nusers@12
 *                 kind@16 spins@20 list.prev@24 list.next@32. Futex word: lock.
 *   glibc rwlock  …/bits/struct_rwlock.h, 2.25 on: readers@0 writers@4 wrphase_futex@8
 *                 writers_futex@12 cur_writer@24 shared@28. Futex words: @8 and @12.
 *   musl mutex    src/internal/pthread_impl.h, 1.1 to 1.2.6: type@0 lock@4 waiters@8 count@20 prev@24
 *                 next@32. Futex word: lock@4.
 *   musl rwlock   src/internal/pthread_impl.h: lock@0, 0x7fffffff: by a writer, else so many readers; bit 31:
 *                 somebody waits. Futex word: lock.
 *   semaphore     what CPython's own lock is (Python/thread_pthread.h). Futex word and value: @0. 0 when the
 *                 lock is held, in musl to 1.2.3 also −1 and from then on bit 31: somebody waits.
 *   glibc stdio   sysdeps/nptl/stdio-lock.h, the lock of a FILE: lock@0 cnt@4 owner@8, where owner is the
 *                 address of the holder's thread descriptor. Futex word: lock.
 *   CPython       an object's reference count@0 and type@8, then of _thread.lock and _thread.RLock (the
 *                 sources and the versions are in python.h): lock@16, and of RLock owner@24 (a thread
 *                 descriptor) and count@32. Nobody sleeps on a word of the object: python_read.c.
 */
#ifndef DEADHOLD_LOCK_H
#define DEADHOLD_LOCK_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <stdbool.h>
#endif

/* include/uapi/linux/futex.h */
#define FUTEX_OP_WAIT		 0
#define FUTEX_OP_LOCK_PI	 6
#define FUTEX_OP_WAIT_BITSET	 9
#define FUTEX_OP_WAIT_REQUEUE_PI 11
#define FUTEX_OP_LOCK_PI2	 13
#define FUTEX_OP_MASK		 0x7f /* without PRIVATE (128) and CLOCK_REALTIME (256) */
#define FUTEX_OP_PRIVATE	 128
#define FUTEX_OP_REALTIME	 256
#define FUTEX_WORD_WAITERS	 0x80000000u
#define FUTEX_WORD_OWNER_DIED	 0x40000000u
#define FUTEX_WORD_TID		 0x3fffffffu

#define LOCK_TID_LIMIT 4194304u /* PID_MAX_LIMIT of 64-bit kernels, include/linux/threads.h */

/* struct __pthread_mutex_s.__kind, nptl/pthreadP.h */
#define GLIBC_KIND_TYPE	   3u
#define GLIBC_KIND_ROBUST  16u
#define GLIBC_KIND_PI	   32u
#define GLIBC_KIND_PROTECT 64u
#define GLIBC_KIND_PSHARED 128u
#define GLIBC_KIND_ELISION (256u | 512u) /* any: settype(PTHREAD_MUTEX_NORMAL) alone sets 512 */

/* pthread_rwlock_t.__readers, nptl/pthread_rwlock_common.c */
#define GLIBC_RWLOCK_WRITER	   24 /* offset of cur_writer */
#define GLIBC_RWLOCK_WRPHASE	   1u
#define GLIBC_RWLOCK_WRLOCKED	   2u
#define GLIBC_RWLOCK_READERS_SHIFT 3

/* pthread_mutex_t._m_type, musl */
#define MUSL_TYPE_KIND	  3u
#define MUSL_TYPE_ROBUST  4u
#define MUSL_TYPE_PI	  8u
#define MUSL_TYPE_PSHARED 128u

#define MUSL_NORMAL_HELD   16u /* EBUSY */
#define MUSL_RWLOCK_WRITER 0x7fffffffu

/*
 * A mutex whose __nusers is above this is taken for something else: a stdio lock has the upper half
 * of a thread pointer there (0x7f…, 0x55…).
 */
#define GLIBC_NUSERS_LIMIT 0x4000u

/* Waiters of one lock, recursions of one thread: more is taken for something else. */
#define LOCK_COUNT_LIMIT 0x10000u

/* __spins of an adaptive mutex is a short; glibc's elision counter next to it starts at 3 */
#define GLIBC_SPINS_LIMIT   0x7fffu
#define GLIBC_ELISION_LIMIT 0xffu

enum lock_layout {
	LAYOUT_NONE,	    /* no lock that records its owner */
	LAYOUT_GLIBC_MUTEX, /* normal, recursive, errorcheck, adaptive, priority-protect */
	LAYOUT_GLIBC_ROBUST,
	LAYOUT_GLIBC_PI,
	LAYOUT_GLIBC_RWLOCK_8,	/* futex word: __wrphase_futex */
	LAYOUT_GLIBC_RWLOCK_12, /* futex word: __writers_futex */
	LAYOUT_MUSL_MUTEX,
	LAYOUT_GLIBC_STDIO,
	LAYOUT_TRISTATE, /* Rust's mutex: 0 free, 1 locked, 2 waited for; names nobody */
	LAYOUT_PI_FUTEX, /* FUTEX_LOCK_PI on a word with nothing known around it: the kernel's ABI */
	/* By the address of the object, where a thread was found to wait for it; of the agent's alone. */
	LAYOUT_PYTHON_LOCK,
	LAYOUT_PYTHON_RLOCK,
	/* These name nobody: lock_is_nameless(). */
	LAYOUT_GLIBC_RWLOCK_READ, /* futex word: __wrphase_futex, on which the first writer waits */
	LAYOUT_MUSL_NORMAL,
	LAYOUT_MUSL_RWLOCK, /* held for writing */
	LAYOUT_MUSL_RWLOCK_READ,
	LAYOUT_SEMAPHORE,
	LAYOUTS,
};

/* User memory around a futex word. */
#define LOCK_WORDS_BEFORE 3
#define LOCK_WORDS_FROM	  10
struct lock_words {
	__u32 before[LOCK_WORDS_BEFORE]; /* word − 12, − 8, − 4 */
	__u32 at[LOCK_WORDS_FROM];	 /* the word itself, then + 4 to + 36 */
	__u8 have_before;		 /* before[] was readable */
	__u8 have_at;			 /* how many of at[] were: 0, 1 or all */
	__u8 have_thread; /* at lock_stdio_thread(), or lock_python_thread(), is a thread descriptor */
	__u8 object; /* LAYOUT_PYTHON_*: the type of the object at the word is called so; else 0 */
	__u32 thread_tid; /* its TID; 0: ended, −1: joined as well */
};

/* What the memory says of a lock. */
struct lock_state {
	__u64 address;	 /* of the lock object */
	__u64 thread;	 /* stdio, python-rlock: the holder's descriptor; else 0 */
	__u32 owner;	 /* TID in the owner's own PID namespace; 0: nobody is named */
	__u32 recursion; /* times held; 0: the layout does not count */
	__u32 kind;	 /* glibc's or musl's kind, as the memory has it */
	__u8 layout;	 /* enum lock_layout */
	__u8 held;	 /* somebody holds it, or died with it */
	__u8 owner_died; /* the kernel's or musl's mark is on it */
	__u8 robust;
};

/* Bytes from the start of the lock object to the futex word. */
static inline __u32 lock_word_offset(__u32 layout)
{
	switch (layout) {
	case LAYOUT_MUSL_MUTEX:
	case LAYOUT_MUSL_NORMAL:
		return 4;
	case LAYOUT_GLIBC_RWLOCK_8:
	case LAYOUT_GLIBC_RWLOCK_READ:
		return 8;
	case LAYOUT_GLIBC_RWLOCK_12:
		return 12;
	default:
		return 0;
	}
}

/* Its memory says that it is held, not by whom: that takes another witness. */
static inline bool lock_is_nameless(__u32 layout)
{
	return layout >= LAYOUT_GLIBC_RWLOCK_READ && layout <= LAYOUT_SEMAPHORE;
}

/*
 * Others' memory may look like it to the last bit: whose code it is that waits has to be known, too. The
 * others have a TID in the word by which the kernel or libc finds the owner, or pointers that are followed.
 */
static inline bool lock_needs_caller(__u32 layout)
{
	return layout == LAYOUT_GLIBC_MUTEX || layout == LAYOUT_GLIBC_RWLOCK_8 ||
	       layout == LAYOUT_GLIBC_RWLOCK_12;
}

static inline bool lock_tid_plausible(__u32 tid)
{
	return tid && tid < LOCK_TID_LIMIT;
}

static inline bool lock_read_glibc_mutex(const struct lock_words *w, struct lock_state *s)
{
	__u32 kind = w->at[4], word = w->at[0];

	if (kind &
	    ~(GLIBC_KIND_TYPE | GLIBC_KIND_PROTECT | GLIBC_KIND_PSHARED | GLIBC_KIND_ELISION))
		return false;
	if (kind & GLIBC_KIND_PROTECT)
		word &= 0x7ffff; /* the priority ceiling is above */
	if (word > 2 || w->at[3] > GLIBC_NUSERS_LIMIT)
		return false;
	if (w->at[6] || w->at[7] || w->at[8] || w->at[9]) /* in no list unless robust */
		return false;
	s->kind = kind;
	/* Unlock clears the owner first and the word last, lock sets them the other way round. */
	if (word && w->at[3] && lock_tid_plausible(w->at[2])) {
		s->owner = w->at[2];
		s->held = 1;
		if ((kind & GLIBC_KIND_TYPE) == 1)
			s->recursion = w->at[1];
	}
	return true;
}

static inline bool lock_read_glibc_robust(const struct lock_words *w, struct lock_state *s)
{
	__u32 kind = w->at[4], word = w->at[0], owner = w->at[2];

	if (!(kind & GLIBC_KIND_ROBUST) ||
	    kind & ~(GLIBC_KIND_TYPE | GLIBC_KIND_ROBUST | GLIBC_KIND_PI | GLIBC_KIND_PSHARED |
		     GLIBC_KIND_ELISION))
		return false;
	s->kind = kind;
	s->robust = 1;
	if (lock_tid_plausible(word & FUTEX_WORD_TID)) {
		s->owner = word & FUTEX_WORD_TID;
		s->held = 1;
	} else if (word & FUTEX_WORD_OWNER_DIED) {
		/* The kernel took the TID out of the word; __owner keeps it until the next lock. */
		s->owner_died = 1;
		s->held = 1;
		if (lock_tid_plausible(owner))
			s->owner = owner;
	}
	if (s->held && (kind & GLIBC_KIND_TYPE) == 1)
		s->recursion = w->at[1];
	return true;
}

static inline bool lock_read_glibc_pi(const struct lock_words *w, struct lock_state *s)
{
	__u32 kind = w->at[4], word = w->at[0];

	if (!(kind & GLIBC_KIND_PI) || kind & GLIBC_KIND_ROBUST ||
	    kind & ~(GLIBC_KIND_TYPE | GLIBC_KIND_PI | GLIBC_KIND_PSHARED | GLIBC_KIND_ELISION))
		return false;
	s->kind = kind;
	s->owner_died = !!(word & FUTEX_WORD_OWNER_DIED);
	if (lock_tid_plausible(word & FUTEX_WORD_TID)) {
		s->owner = word & FUTEX_WORD_TID;
		s->held = 1;
		if ((kind & GLIBC_KIND_TYPE) == 1)
			s->recursion = w->at[1];
	}
	return true;
}

/*
 * `other` is the futex word of the two on which the thread does not wait. A writer that holds the lock
 * has set bit 0 of both. It is what tells the layouts apart: seen through the wrong one, a lock that
 * three writers wait for and that is process-shared would be held by thread 1.
 */
static inline bool lock_read_glibc_rwlock(__u32 readers, __u32 other, __u32 cur_writer,
					  __u32 shared, struct lock_state *s)
{
	if (shared > 1 || other > 3)
		return false;
	if (other & 1 &&
	    (readers & (GLIBC_RWLOCK_WRPHASE | GLIBC_RWLOCK_WRLOCKED)) ==
		    (GLIBC_RWLOCK_WRPHASE | GLIBC_RWLOCK_WRLOCKED) &&
	    lock_tid_plausible(cur_writer)) {
		s->owner = cur_writer;
		s->held = 1;
	}
	return true;
}

/*
 * The thread descriptor that holds the stdio lock of this shape; 0: it is none, or free. Whoever reads
 * lock words reads the descriptor too: words alone are no proof. The upper half of its address is above
 * any mutex's __nusers.
 */
static inline __u64 lock_stdio_thread(const struct lock_words *w)
{
	if (w->have_at != LOCK_WORDS_FROM || !w->at[0] || w->at[0] > 2 || w->at[1] > 0xffff ||
	    w->at[2] & 15 || w->at[3] <= GLIBC_NUSERS_LIMIT || w->at[3] > 0x7fff)
		return 0;
	return w->at[2] | (__u64)w->at[3] << 32;
}

static inline bool lock_read_glibc_stdio(const struct lock_words *w, struct lock_state *s)
{
	if (!w->at[0] && !w->at[2] && !w->at[3])
		return true;
	if (!lock_stdio_thread(w) || !w->have_thread)
		return false;
	s->thread = lock_stdio_thread(w);
	s->held = 1;
	if (lock_tid_plausible(w->thread_tid))
		s->owner = w->thread_tid;
	else
		s->owner_died = (__s32)w->thread_tid <= 0;
	return s->owner || s->owner_died;
}

#ifndef __VMLINUX_H__
/* What a living object has at its start: a count of references that is no pointer, and a type. */
#define PYTHON_REFERENCES_LIMIT 0x100000u

static inline bool lock_python_object(const struct lock_words *w)
{
	/* 3.14 has flags in the upper quarter of the count. A freed object has a link there, or 0. */
	return w->have_at == LOCK_WORDS_FROM && w->at[0] && w->at[0] < PYTHON_REFERENCES_LIMIT &&
	       !(w->at[1] & 0xffff) && !(w->at[2] & 7) && (w->at[2] | w->at[3]);
}

/* Who holds an RLock: the descriptor, whoever's it is by now; 0: nobody. Read like lock_stdio_thread(). */
static inline __u64 lock_python_thread(const struct lock_words *w)
{
	return w->at[6] | (__u64)w->at[7] << 32;
}

/* lock@16 is a PyMutex, one byte (1 locked, 2 somebody is parked), or the address of a semaphore. */
static inline bool lock_python_mutex(const struct lock_words *w)
{
	return !w->at[5] && w->at[4] < 4;
}

static inline bool lock_read_python_lock(const struct lock_words *w, struct lock_state *s)
{
	if (w->object != LAYOUT_PYTHON_LOCK || !lock_python_object(w))
		return false;
	/* Where it has a semaphore, `locked` is a byte of its own. */
	s->held = lock_python_mutex(w) ? w->at[4] & 1 : w->at[8] & 1;
	return true;
}

/*
 * A descriptor that is none any more (its stack was unmapped or used for something else) or that has no
 * TID any more is that of a dead thread.
 */
static inline bool lock_read_python_rlock(const struct lock_words *w, struct lock_state *s)
{
	__u64 count = w->at[8] | (__u64)w->at[9] << 32;

	if (w->object != LAYOUT_PYTHON_RLOCK || !lock_python_object(w))
		return false;
	if (lock_python_mutex(w)) { /* 3.14: the level is that above the first */
		if (!(w->at[4] & 1))
			return true;
		count++;
	}
	if (!count || !lock_python_thread(w))
		return true;
	s->held = 1;
	s->thread = lock_python_thread(w);
	s->recursion = count < LOCK_COUNT_LIMIT ? count : 0;
	if (w->have_thread && lock_tid_plausible(w->thread_tid))
		s->owner = w->thread_tid;
	else
		s->owner_died = 1;
	return true;
}
#endif

static inline bool lock_read_musl_mutex(const struct lock_words *w, struct lock_state *s)
{
	__u32 type = w->before[2], word = w->at[0];
	__u64 prev = w->at[5] | (__u64)w->at[6] << 32, next = w->at[7] | (__u64)w->at[8] << 32;

	if (!w->have_before ||
	    type & ~(MUSL_TYPE_KIND | MUSL_TYPE_ROBUST | MUSL_TYPE_PI | MUSL_TYPE_PSHARED))
		return false;
	if (!(type & (MUSL_TYPE_KIND | MUSL_TYPE_ROBUST | MUSL_TYPE_PI)))
		return false; /* the normal kind records no owner */
	s->kind = type;
	s->robust = !!(type & MUSL_TYPE_ROBUST);
	if (!word)
		return true;
	/* Who holds it has linked it into a list whose end is the list head: never a null link. */
	if (prev < 4096 || next < 4096 || prev & 7 || next & 7)
		return false;
	if (lock_tid_plausible(word & FUTEX_WORD_TID)) {
		s->owner = word & FUTEX_WORD_TID;
		s->held = 1;
	} else if ((word & ~FUTEX_WORD_WAITERS) == FUTEX_WORD_OWNER_DIED) {
		s->owner_died = 1; /* musl's thread end and the kernel's robust list do the same */
		s->held = 1;
	} else {
		return false;
	}
	if ((type & MUSL_TYPE_KIND) == 1)
		s->recursion = w->at[4] + 1;
	return true;
}

/* Through LAYOUT_GLIBC_RWLOCK_READ. In the write phase those who came to read wait. */
static inline bool lock_read_glibc_readers(const struct lock_words *w, struct lock_state *s)
{
	__u32 readers = w->before[1];

	if (!w->have_before || w->at[5] > 1)
		return false;
	s->held = readers >> GLIBC_RWLOCK_READERS_SHIFT && !(readers & GLIBC_RWLOCK_WRPHASE);
	return true;
}

static inline bool lock_read_musl_normal(const struct lock_words *w, struct lock_state *s)
{
	__u32 type = w->before[2], word = w->at[0] & ~FUTEX_WORD_WAITERS;

	if (!w->have_before || type & ~MUSL_TYPE_PSHARED || (word && word != MUSL_NORMAL_HELD))
		return false;
	s->kind = type;
	s->held = !!word;
	return true;
}

static inline bool lock_read_nameless(const struct lock_words *w, struct lock_state *s)
{
	__u32 word = w->at[0] & ~FUTEX_WORD_WAITERS;

	switch (s->layout) {
	case LAYOUT_GLIBC_RWLOCK_READ:
		return lock_read_glibc_readers(w, s);
	case LAYOUT_MUSL_NORMAL:
		return lock_read_musl_normal(w, s);
	case LAYOUT_MUSL_RWLOCK:
		s->held = word == MUSL_RWLOCK_WRITER;
		return true;
	case LAYOUT_MUSL_RWLOCK_READ:
		s->held = word && word != MUSL_RWLOCK_WRITER;
		return true;
	default: /* a Python lock: a semaphore that is 0, or −1 */
		s->held = !word || w->at[0] == ~0u;
		return !(w->at[0] & ~FUTEX_WORD_WAITERS & ~1u) || w->at[0] == ~0u;
	}
}

/*
 * Reads a lock by a known layout. `address` is that of the futex word. Returns whether the memory has
 * that layout at all; *s then says who holds the lock (s->held 0: nobody, or the holder is just
 * taking or releasing it).
 */
static inline bool lock_owner(__u32 layout, __u64 address, const struct lock_words *w,
			      struct lock_state *s)
{
	*s = (struct lock_state){ .address = address - lock_word_offset(layout), .layout = layout };

	if (layout == LAYOUT_PI_FUTEX) {
		if (!w->have_at)
			return false;
		s->owner_died = !!(w->at[0] & FUTEX_WORD_OWNER_DIED);
		s->held = lock_tid_plausible(w->at[0] & FUTEX_WORD_TID);
		s->owner = s->held ? w->at[0] & FUTEX_WORD_TID : 0;
		return true;
	}
	if (layout == LAYOUT_TRISTATE) {
		/* Only where somebody waited is it told who has it, and then the word is 2. */
		s->held = w->have_at && w->at[0] == 2;
		return w->have_at && w->at[0] <= 2;
	}
	if (w->have_at != LOCK_WORDS_FROM)
		return false;
	if (lock_is_nameless(layout))
		return lock_read_nameless(w, s);
	switch (layout) {
	case LAYOUT_GLIBC_MUTEX:
		return lock_read_glibc_mutex(w, s);
	case LAYOUT_GLIBC_ROBUST:
		return lock_read_glibc_robust(w, s);
	case LAYOUT_GLIBC_PI:
		return lock_read_glibc_pi(w, s);
	case LAYOUT_GLIBC_RWLOCK_8:
		return w->have_before &&
		       lock_read_glibc_rwlock(w->before[1], w->at[1], w->at[4], w->at[5], s);
	case LAYOUT_GLIBC_RWLOCK_12:
		return w->have_before &&
		       lock_read_glibc_rwlock(w->before[0], w->before[2], w->at[3], w->at[4], s);
	case LAYOUT_MUSL_MUTEX:
		return lock_read_musl_mutex(w, s);
	case LAYOUT_GLIBC_STDIO:
		return lock_read_glibc_stdio(w, s);
#ifndef __VMLINUX_H__
	case LAYOUT_PYTHON_LOCK:
		return lock_read_python_lock(w, s);
	case LAYOUT_PYTHON_RLOCK:
		return lock_read_python_rlock(w, s);
#endif
	default:
		return false;
	}
}

/* Robust, PI and priority-protect mutexes of every type count the one time they are held. */
static inline bool lock_recursion_plausible(__u32 kind, __u32 count)
{
	if ((kind & GLIBC_KIND_TYPE) == 1)
		return count && count < LOCK_COUNT_LIMIT;
	return count <= !!(kind & (GLIBC_KIND_ROBUST | GLIBC_KIND_PI | GLIBC_KIND_PROTECT));
}

static inline bool lock_shape_glibc_mutex(const struct lock_words *w, const struct lock_state *s)
{
	__u32 spins = w->at[5] & 0xffff, elision = w->at[5] >> 16;

	if (!lock_recursion_plausible(s->kind, w->at[1]))
		return false;
	if ((s->kind & GLIBC_KIND_TYPE) == 3)
		return spins <= GLIBC_SPINS_LIMIT && !elision;
	return !spins && elision <= (s->kind & GLIBC_KIND_TYPE ? 0 : GLIBC_ELISION_LIMIT);
}

/*
 * Can this futex call be a wait for a lock that records its owner? By operation and value alone, so
 * that the rest costs nothing: what the libraries pass is in lock_layout().
 */
static inline bool lock_call(__u32 op, __u32 val)
{
	switch (op & FUTEX_OP_MASK) {
	case FUTEX_OP_LOCK_PI:
	case FUTEX_OP_LOCK_PI2:
		return true;
	case FUTEX_OP_WAIT:
	case FUTEX_OP_WAIT_BITSET:
		return val & FUTEX_WORD_WAITERS || val == 3 || (val & 0x7ffff) == 2;
	default:
		return false;
	}
}

/*
 * Does it look like glibc's parking place of a thread that found a PI mutex's owner dead: a wait for
 * ever, for a zero that lies in the caller's own frames? sp: the user stack pointer in the call; timeout:
 * where the caller has it, 0: none.
 */
#define LOCK_PARK_BYTES 1024
static inline bool lock_parked(__u32 op, __u32 val, __u64 timeout, __u64 word, __u64 sp)
{
	__u32 cmd = op & FUTEX_OP_MASK;

	return (cmd == FUTEX_OP_WAIT || cmd == FUTEX_OP_WAIT_BITSET) && !val && !timeout &&
	       word >= sp && word < sp + LOCK_PARK_BYTES;
}

/*
 * Waits on 2 are others' too (Go, Rust, stdio, whoever makes a lock of 0, 1 and 2), and what lies behind
 * their word is anything. glibc passes FUTEX_WAIT_BITSET only with a timeout, as Rust does without, and
 * FUTEX_PRIVATE_FLAG unless the kind is process-shared. Priority-protect waits on ceiling << 19 | 2.
 */
static inline bool lock_wait_glibc_mutex(__u32 op, __u32 val, __u64 timeout, __u64 address,
					 const struct lock_words *w, struct lock_state *s)
{
	if ((val & 0x7ffff) != 2 || ((op & FUTEX_OP_MASK) == FUTEX_OP_WAIT_BITSET && !timeout) ||
	    !lock_owner(LAYOUT_GLIBC_MUTEX, address, w, s) || !s->held)
		return false;
	return !(op & FUTEX_OP_PRIVATE) == !!(s->kind & GLIBC_KIND_PSHARED) &&
	       lock_shape_glibc_mutex(w, s);
}

/*
 * Which lock is it that a thread waits for with this futex call? Tries the layouts that make such
 * calls, the strictest first, and takes the first that fits the memory and says the lock is held.
 * Returns the layout and fills *s, or returns LAYOUT_NONE: no lock that records its owner. timeout: as
 * in lock_parked().
 *
 * What the libraries pass (facts: measured on glibc 2.36, read in 2.17 to 2.42 and musl 1.2):
 * glibc mutex val 2; rwlock val 3; robust mutex and musl's val = TID | WAITERS; PI: LOCK_PI.
 */
static inline __u32 lock_layout(__u32 op, __u32 val, __u64 timeout, __u64 address,
				const struct lock_words *w, struct lock_state *s)
{
	__u32 cmd = op & FUTEX_OP_MASK;

	if (cmd == FUTEX_OP_LOCK_PI || cmd == FUTEX_OP_LOCK_PI2) {
		if (lock_owner(LAYOUT_GLIBC_PI, address, w, s) && s->held)
			return LAYOUT_GLIBC_PI;
		if (lock_owner(LAYOUT_GLIBC_ROBUST, address, w, s) && s->held)
			return LAYOUT_GLIBC_ROBUST; /* robust and PI both */
		if (lock_owner(LAYOUT_MUSL_MUTEX, address, w, s) && s->held &&
		    s->kind & MUSL_TYPE_PI)
			return LAYOUT_MUSL_MUTEX;
		if (lock_owner(LAYOUT_PI_FUTEX, address, w, s) && s->held)
			return LAYOUT_PI_FUTEX;
		return LAYOUT_NONE;
	}
	if (!lock_call(op, val))
		return LAYOUT_NONE;
	if (val & FUTEX_WORD_WAITERS) {
		if (lock_owner(LAYOUT_GLIBC_ROBUST, address, w, s) && s->held)
			return LAYOUT_GLIBC_ROBUST;
		if (lock_owner(LAYOUT_MUSL_MUTEX, address, w, s) && s->held)
			return LAYOUT_MUSL_MUTEX;
		return LAYOUT_NONE;
	}
	if (val == 3 && w->at[0] == 3) {
		if (lock_owner(LAYOUT_GLIBC_RWLOCK_8, address, w, s) && s->held)
			return LAYOUT_GLIBC_RWLOCK_8;
		if (lock_owner(LAYOUT_GLIBC_RWLOCK_12, address, w, s) && s->held)
			return LAYOUT_GLIBC_RWLOCK_12;
		return LAYOUT_NONE;
	}
	if (lock_wait_glibc_mutex(op, val, timeout, address, w, s))
		return LAYOUT_GLIBC_MUTEX;
	if (val == 2 && lock_owner(LAYOUT_GLIBC_STDIO, address, w, s) && s->held)
		return LAYOUT_GLIBC_STDIO;
	return LAYOUT_NONE;
}

/*
 * ---- Memory that nobody pointed at: is it a held lock by its looks alone? ----
 *
 * For the census, which has no futex call that tells where a lock is. lock_owner() decides here too;
 * these functions ask beforehand whether it is worth asking, and afterwards for all that a held lock
 * has around it besides.
 */

/* Bytes from the start of the lock object that are looked at. */
#define LOCK_OBJECT_BYTES	 40
#define LOCK_OBJECT_BYTES_RWLOCK 52

/* __owner of a robust mutex that was recovered and not made consistent yet */
#define GLIBC_OWNER_INCONSISTENT 0x7fffffffu

static inline __u32 lock_bytes(__u32 layout)
{
	return layout == LAYOUT_GLIBC_RWLOCK_8 || layout == LAYOUT_GLIBC_RWLOCK_12
		       ? LOCK_OBJECT_BYTES_RWLOCK
		       : LOCK_OBJECT_BYTES;
}

/* Bytes from the start of the lock object to the word that names the owner. */
static inline __u32 lock_owner_offset(__u32 layout)
{
	switch (layout) {
	case LAYOUT_GLIBC_MUTEX:
		return 8;
	case LAYOUT_GLIBC_RWLOCK_8:
	case LAYOUT_GLIBC_RWLOCK_12:
		return 24;
	case LAYOUT_MUSL_MUTEX:
		return 4;
	default:
		return 0;
	}
}

/*
 * A glance at the memory of a lock object, of which one word could name an owner. Returns 0 if it is
 * worth a lock_owner(): for every held lock, and for next to nothing else. No branch and no comparison,
 * so that compilers make vector operations of a loop over it.
 */
static inline __u32 lock_glance(__u32 layout, const __u32 *lock)
{
	switch (layout) {
	case LAYOUT_GLIBC_MUTEX: /* 1 or 2 in the word; a kind */
		return (((lock[0] & 0x7ffff) - 1) & ~1u) | lock[4] >> 10;
	case LAYOUT_GLIBC_ROBUST:
	case LAYOUT_GLIBC_PI: /* at least one of the two in the kind */
		return (((lock[4] & (GLIBC_KIND_ROBUST | GLIBC_KIND_PI)) - 16) & ~63u) |
		       lock[4] >> 10;
	case LAYOUT_GLIBC_RWLOCK_8:
	case LAYOUT_GLIBC_RWLOCK_12: /* bit 0 in three words; nothing in the unused ones */
		return (~(lock[0] & lock[2] & lock[3]) & 1) | lock[4] | lock[5];
	case LAYOUT_MUSL_MUTEX: /* a type that is not normal; nothing in the unused words */
		return ((lock[0] - 1) & ~0xffu) | lock[3] | lock[4];
	default:
		return 1;
	}
}

/* The words of a lock object that lies in `bytes` bytes of memory, for lock_owner(). */
static inline void lock_words_of(__u32 layout, const __u32 *lock, struct lock_words *w)
{
	__u32 word = lock_word_offset(layout) / 4, n = lock_bytes(layout) / 4, i;

	*w = (struct lock_words){ .have_before = word, .have_at = LOCK_WORDS_FROM };
	for (i = 0; i < LOCK_WORDS_BEFORE; i++)
		w->before[i] = word + i < LOCK_WORDS_BEFORE ? 0
							    : lock[word + i - LOCK_WORDS_BEFORE];
	for (i = 0; i < LOCK_WORDS_FROM; i++)
		w->at[i] = word + i < n ? lock[word + i] : 0;
}

static inline bool lock_link_plausible(__u32 low, __u32 high)
{
	/* User addresses of both machines; bit 0 is the mark of a PI mutex. */
	return (high || low >= 4096) && high < 0x10000 && !(low & 6);
}

static inline bool lock_shape_glibc_robust(const struct lock_words *w, const struct lock_state *s)
{
	return lock_recursion_plausible(s->kind, w->at[1]) &&
	       (w->at[2] == s->owner || w->at[2] == GLIBC_OWNER_INCONSISTENT) && w->at[3] &&
	       w->at[3] <= GLIBC_NUSERS_LIMIT && !w->at[5] &&
	       lock_link_plausible(w->at[6], w->at[7]) && lock_link_plausible(w->at[8], w->at[9]);
}

static inline bool lock_shape_glibc_pi(const struct lock_words *w, const struct lock_state *s)
{
	return lock_recursion_plausible(s->kind, w->at[1]) && w->at[2] == s->owner && w->at[3] &&
	       w->at[3] <= GLIBC_NUSERS_LIMIT && !w->at[5] && !w->at[6] && !w->at[7] && !w->at[8] &&
	       !w->at[9];
}

/* Through LAYOUT_GLIBC_RWLOCK_12. __flags, the last word, says whom the lock prefers: 0 to 2. */
static inline bool lock_shape_glibc_rwlock(const struct lock_words *w)
{
	return w->before[0] >> 3 < LOCK_COUNT_LIMIT &&
	       (w->before[1] & ~FUTEX_WORD_WAITERS) < LOCK_COUNT_LIMIT && w->before[2] <= 3 &&
	       (w->at[0] | 2) == 3 && !w->at[1] && !w->at[2] && !w->at[5] && !w->at[6] &&
	       !w->at[7] && !w->at[8] && w->at[9] <= 2;
}

static inline bool lock_shape_musl(const struct lock_words *w, const struct lock_state *s)
{
	__u32 count = w->at[4];

	return w->at[1] < LOCK_COUNT_LIMIT && !w->at[2] && !w->at[3] &&
	       ((s->kind & MUSL_TYPE_KIND) == 1 ? count < LOCK_COUNT_LIMIT : !count) &&
	       lock_link_plausible(w->at[5], w->at[6]) && lock_link_plausible(w->at[7], w->at[8]) &&
	       !(w->at[5] & 1) && !(w->at[7] & 1);
}

/*
 * Does all of it look like a lock that *s, lock_owner()'s answer to these words, says is held? The
 * links into a list are only plausible so far: lock_links_agree().
 */
static inline bool lock_shape(const struct lock_words *w, const struct lock_state *s)
{
	if (!s->held)
		return false;
	switch (s->layout) {
	case LAYOUT_GLIBC_MUTEX:
		return lock_shape_glibc_mutex(w, s);
	case LAYOUT_GLIBC_ROBUST:
		return lock_shape_glibc_robust(w, s);
	case LAYOUT_GLIBC_PI:
		return lock_shape_glibc_pi(w, s);
	case LAYOUT_GLIBC_RWLOCK_12:
		return lock_shape_glibc_rwlock(w);
	case LAYOUT_MUSL_MUTEX:
		return lock_shape_musl(w, s);
	default:
		return false;
	}
}

/* __nusers of a glibc mutex; 0 where the layout has none. */
static inline __u32 lock_users(const struct lock_words *w, __u32 layout)
{
	return layout == LAYOUT_GLIBC_MUTEX || layout == LAYOUT_GLIBC_ROBUST ||
			       layout == LAYOUT_GLIBC_PI
		       ? w->at[3]
		       : 0;
}

/*
 * A held mutex of musl, and a robust one of glibc, is linked into a list that goes through its last
 * word (the object + 32); the word before an entry is its link back. What stands in these two must
 * agree: prev, next: the links of the mutex, without glibc's mark in bit 0; at_prev: the 8 bytes at
 * prev; before_next: at next − 8.
 *
 * The list begins and ends at its head, in the thread's descriptor, which has no link back in front of
 * it in musl. A thread that ended through musl has taken its entries out of the head, one by one.
 */
#define LOCK_ENTRY 32
static inline bool lock_is_linked(__u32 layout)
{
	return layout == LAYOUT_MUSL_MUTEX || layout == LAYOUT_GLIBC_ROBUST;
}

static inline bool lock_links_agree(const struct lock_state *s, __u64 prev, __u64 next,
				    __u64 at_prev, __u64 before_next)
{
	__u64 entry = s->address + LOCK_ENTRY;

	if ((at_prev & ~1ull) == entry || (next != prev && (before_next & ~1ull) == entry))
		return true;
	return s->layout == LAYOUT_MUSL_MUTEX && s->owner_died && prev == next;
}

#endif
