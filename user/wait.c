// SPDX-License-Identifier: GPL-2.0-only
#include "wait.h"

#include <sys/syscall.h>

#include "libc.h"

/* nptl/pthread_rwlock_common.c: the readers are counted above these bits. */
#define GLIBC_RWLOCK_READERS_SHIFT 3
/* nptl/pthread_cond_common.c: so are the waiters of a condition variable. */
#define GLIBC_COND_SHARED	 1u
#define GLIBC_COND_WAITERS_SHIFT 3
#define GLIBC_SHARED		 128u /* LLL_SHARED, in semaphores and barriers */
#define MUSL_NORMAL_LOCKED	 16u  /* EBUSY */
#define MUSL_JOINABLE		 2u   /* DT_JOINABLE */

/* What lies this little above the stack pointer is a local variable of the waiting function. */
#define FRAME_BYTES 1024

static bool op_waits(uint32_t op)
{
	switch (op & FUTEX_OP_MASK) {
	case FUTEX_OP_WAIT:
	case FUTEX_OP_WAIT_BITSET:
	case FUTEX_OP_WAIT_REQUEUE_PI:
	case FUTEX_OP_LOCK_PI:
	case FUTEX_OP_LOCK_PI2:
		return true;
	default:
		return false;
	}
}

static struct wait wait_of_futex(const struct proc_syscall *call)
{
	return (struct wait){
		.what = op_waits(call->argument[1]) ? WAIT_FUTEX : WAIT_CALL,
		.number = call->number,
		.word = call->argument[0],
		.op = call->argument[1],
		.val = call->argument[2],
		.timeout = call->argument[3],
		.sp = call->sp,
		.pc = call->pc,
		.restarted = call->number == SYS_restart_syscall,
	};
}

/* Of the calls that the kernel restarts that way, the timed futex wait alone matters here. */
static bool is_futex_call(const struct proc_syscall *call)
{
	return call->where == SYSCALL_BLOCKED &&
	       (call->number == SYS_futex ||
		(call->number == SYS_restart_syscall && call->argument[3]));
}

bool wait_is_stopped(char state)
{
	return state == 'T' || state == 't';
}

/* The registers keep the call out of which it was stopped, and which it makes again when it may run. */
static struct wait wait_of_stopped(const struct proc_syscall *call)
{
	struct wait wait = { .what = WAIT_STOPPED, .number = -1 };

	if (!is_futex_call(call) || !op_waits(call->argument[1]))
		return wait;
	wait = wait_of_futex(call);
	wait.stopped = true;
	return wait;
}

bool wait_is_over(const struct wait *wait, const struct lock_words *words, uint32_t ns_tid)
{
	uint32_t cmd = wait->op & FUTEX_OP_MASK;

	if (!words->have_at)
		return false;
	/* These the kernel gives to the waiter itself. */
	if (cmd == FUTEX_OP_LOCK_PI || cmd == FUTEX_OP_LOCK_PI2)
		return (words->at[0] & FUTEX_WORD_TID) == ns_tid;
	return wait->stopped && words->at[0] != wait->val;
}

struct wait wait_of_call(char state, const struct proc_syscall *call)
{
	if (wait_is_stopped(state))
		return wait_of_stopped(call);
	switch (call->where) {
	case SYSCALL_RUNNING:
		return (struct wait){ .what = WAIT_RUNS, .number = -1 };
	case SYSCALL_OUTSIDE:
		return (struct wait){ .what = WAIT_OUTSIDE, .number = -1 };
	default:
		break;
	}
	if (is_futex_call(call))
		return wait_of_futex(call);
	return (struct wait){ .what = WAIT_CALL, .number = call->number, .sp = call->sp };
}

bool wait_same(const struct wait *a, const struct wait *b)
{
	return a->number == b->number && a->op == b->op && a->val == b->val && a->word == b->word &&
	       a->timeout == b->timeout && a->sp == b->sp;
}

bool wait_timed(const struct wait *wait)
{
	return wait->timeout;
}

static bool in_own_frame(const struct wait *wait)
{
	return wait->word >= wait->sp && wait->word < wait->sp + FRAME_BYTES;
}

static bool plain_wait(const struct wait *wait)
{
	uint32_t cmd = wait->op & FUTEX_OP_MASK;

	return cmd == FUTEX_OP_WAIT || cmd == FUTEX_OP_WAIT_BITSET;
}

static bool is_private(const struct wait *wait)
{
	return wait->op & FUTEX_OP_PRIVATE;
}

/* Readers hold it, and one writer has announced itself: for it they wait on + 8, behind it on + 12. */
static bool rwlock_read(uint32_t readers, uint32_t cur_writer, uint32_t shared, uint32_t *count)
{
	*count = readers >> GLIBC_RWLOCK_READERS_SHIFT;
	return (readers & (GLIBC_RWLOCK_WRPHASE | GLIBC_RWLOCK_WRLOCKED)) ==
		       GLIBC_RWLOCK_WRLOCKED &&
	       *count && *count < LOCK_TID_LIMIT && !cur_writer && shared <= 1;
}

bool wait_is_ownerless(const struct wait *wait, const struct lock_words *words,
		       struct wait_ownerless *lock)
{
	*lock = (struct wait_ownerless){ .address = wait->word, .type = LOCK_FUTEX };
	if (!plain_wait(wait) || !words->have_at || words->at[0] != wait->val || in_own_frame(wait))
		return false;
	if (words->have_before && words->have_at == LOCK_WORDS_FROM) {
		if (wait->val == 2 &&
		    rwlock_read(words->before[1], words->at[4], words->at[5], &lock->readers)) {
			lock->address = wait->word - 8;
			lock->type = LOCK_RWLOCK;
			return true;
		}
		if (wait->val == 3 &&
		    rwlock_read(words->before[0], words->at[3], words->at[4], &lock->readers)) {
			lock->address = wait->word - 12;
			lock->type = LOCK_RWLOCK;
			return true;
		}
	}
	lock->readers = 0;
	if (wait->val == (MUSL_NORMAL_LOCKED | FUTEX_WORD_WAITERS)) {
		lock->address = wait->word - lock_word_offset(LAYOUT_MUSL_MUTEX);
		lock->type = LOCK_MUTEX;
		return true;
	}
	return wait->val == 2;
}

/* All that wait were seen, or nearly: one may be on its way in or out. */
static bool count_fits(uint32_t count, uint32_t n, uint32_t threads)
{
	return count >= n && count <= threads;
}

/* wrefs@… signals[0] signals[1]: which of the two it is, its alignment tells. */
static bool is_condition(const struct wait *wait, const struct lock_words *words, uint32_t n,
			 uint32_t threads)
{
	uint32_t wrefs = words->before[wait->word & 4 ? 1 : 2];

	return plain_wait(wait) && words->have_before &&
	       !(wrefs & GLIBC_COND_SHARED) == is_private(wait) &&
	       count_fits(wrefs >> GLIBC_COND_WAITERS_SHIFT, n, threads);
}

/* value, waiters, private */
static bool is_semaphore(const struct wait *wait, const struct lock_words *words, uint32_t n,
			 uint32_t threads)
{
	return plain_wait(wait) && !(wait->word & 7) && !wait->val &&
	       words->have_at == LOCK_WORDS_FROM && count_fits(words->at[1], n, threads) &&
	       words->at[2] == (is_private(wait) ? 0 : GLIBC_SHARED);
}

/* in, round, count, shared, out; the futex word is the round: the `in` of its first thread. */
static bool is_barrier(const struct wait *wait, const struct lock_words *words, uint32_t n)
{
	uint32_t arrived = words->before[2] - wait->val;

	return (wait->op & FUTEX_OP_MASK) == FUTEX_OP_WAIT && words->have_before &&
	       words->have_at == LOCK_WORDS_FROM && arrived >= n && arrived < words->at[1] &&
	       words->at[2] == (is_private(wait) ? 0 : GLIBC_SHARED);
}

/* musl's waiters for a condition each wait in their own frame, for a word that is 2. */
static bool is_musl_condition(const struct wait *wait)
{
	return plain_wait(wait) && wait->val == 2 && in_own_frame(wait);
}

/* value, waiters, private; the value says with its highest bit that somebody waits */
static bool is_musl_semaphore(const struct wait *wait, const struct lock_words *words, uint32_t n,
			      uint32_t threads)
{
	return plain_wait(wait) && wait->val & FUTEX_WORD_WAITERS &&
	       words->have_at == LOCK_WORDS_FROM && count_fits(words->at[1], n, threads) &&
	       words->at[2] == (is_private(wait) ? FUTEX_OP_PRIVATE : 0);
}

static enum wait_what musl_object(const struct wait *wait, const struct lock_words *words,
				  uint32_t n, uint32_t threads)
{
	if (is_musl_condition(wait))
		return WAIT_CONDITION;
	return is_musl_semaphore(wait, words, n, threads) ? WAIT_SEMAPHORE : WAIT_FUTEX;
}

enum wait_what wait_object(const struct wait *wait, enum lock_libc libc,
			   const struct lock_words *words, uint32_t n, uint32_t threads)
{
	bool condition, semaphore, barrier;

	if (!words->have_at || words->at[0] != wait->val)
		return WAIT_FUTEX;
	if (libc == LIBC_MUSL)
		return musl_object(wait, words, n, threads);
	condition = is_condition(wait, words, n, threads);
	semaphore = is_semaphore(wait, words, n, threads);
	barrier = is_barrier(wait, words, n);
	if (condition + semaphore + barrier != 1)
		return WAIT_FUTEX;
	return condition ? WAIT_CONDITION : semaphore ? WAIT_SEMAPHORE : WAIT_BARRIER;
}

#ifdef __x86_64__ /* the offsets of libc.h */
/* A descriptor in which the futex word lies `offset` bytes from the beginning. */
static size_t join_add(struct wait_joined *joined, size_t n, const struct wait *wait,
		       uint64_t offset, uint64_t tid_offset)
{
	uint64_t descriptor = wait->word - offset;

	if (wait->word <= offset)
		return n;
	joined[n] = (struct wait_joined){ descriptor, descriptor + tid_offset };
	return n + 1;
}
#endif

size_t wait_joins(const struct wait *wait, enum lock_libc libc, struct wait_joined *joined)
{
	size_t n = 0;

#ifdef __x86_64__
	if (!plain_wait(wait))
		return 0;
	if (libc != LIBC_MUSL && !is_private(wait)) {
		if (lock_tid_plausible(wait->val))
			n = join_add(joined, n, wait, GLIBC_THREAD_TID, GLIBC_THREAD_TID);
		if (wait->val == GLIBC_JOINABLE)
			n = join_add(joined, n, wait, GLIBC_THREAD_JOINSTATE, GLIBC_THREAD_TID);
	}
	if (libc != LIBC_GLIBC && wait->val == MUSL_JOINABLE)
		n = join_add(joined, n, wait, MUSL_DETACH_STATE, MUSL_TID);
#else
	(void)wait, (void)libc, (void)joined;
#endif
	return n;
}

const char *wait_op_name(uint32_t op)
{
	switch (op & FUTEX_OP_MASK) {
	case FUTEX_OP_WAIT:
		return "FUTEX_WAIT";
	case FUTEX_OP_WAIT_BITSET:
		return "FUTEX_WAIT_BITSET";
	case FUTEX_OP_LOCK_PI:
		return "FUTEX_LOCK_PI";
	case FUTEX_OP_LOCK_PI2:
		return "FUTEX_LOCK_PI2";
	case FUTEX_OP_WAIT_REQUEUE_PI:
		return "FUTEX_WAIT_REQUEUE_PI";
	default:
		return "futex";
	}
}

const char *wait_what_name(enum wait_what what)
{
	static const char *const names[WAIT_WHATS] = {
		[WAIT_UNKNOWN] = "unknown",
		[WAIT_RUNS] = "runs",
		[WAIT_STOPPED] = "stopped",
		[WAIT_OUTSIDE] = "kernel",
		[WAIT_CALL] = "call",
		[WAIT_FUTEX] = "futex",
		[WAIT_LOCK] = "lock",
		[WAIT_JOIN] = "join",
		[WAIT_CONDITION] = "condition",
		[WAIT_SEMAPHORE] = "semaphore",
		[WAIT_BARRIER] = "barrier",
		[WAIT_QUEUE] = "queue",
		[WAIT_GIL] = "gil",
	};

	return (unsigned int)what < WAIT_WHATS ? names[what] : NULL;
}
