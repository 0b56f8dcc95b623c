// SPDX-License-Identifier: GPL-2.0-only
/*
 * lock_owner() and lock_layout() over real locks of this libc, with real waiters: what a waiter passes
 * to futex(2) is read from /proc/self/task/TID/syscall while it is blocked. Then locks of others, made
 * by hand, and memory that is no lock at all.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <threads.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "libc.h"
#include "lock.h"

/* A futex call in which a thread is blocked. */
struct call {
	uint64_t address;
	uint32_t op, val;
	uint64_t timeout;
};

/* What looks like a stdio lock's pointer may lead anywhere: read by the kernel, which says so. */
static bool words_self(uint64_t thread, uint32_t *tid)
{
	uint64_t self = 0;
	struct iovec to[] = { { &self, sizeof(self) }, { tid, sizeof(*tid) } };
	struct iovec from[] = { { (void *)(thread + GLIBC_THREAD_SELF), sizeof(self) },
				{ (void *)(thread + GLIBC_THREAD_TID), sizeof(*tid) } };

	return process_vm_readv(getpid(), to, 2, from, 2, 0) == sizeof(self) + sizeof(*tid) &&
	       self == thread;
}

/* Other threads write there, and what lies around a lock is not the lock's: only the agent may look. */
static __attribute__((no_sanitize_address)) struct lock_words words_at(const void *word)
{
	struct lock_words w = { .have_before = 1, .have_at = LOCK_WORDS_FROM };

	for (int i = 0; i < LOCK_WORDS_BEFORE; i++)
		w.before[i] = __atomic_load_n((const uint32_t *)word - 3 + i, __ATOMIC_RELAXED);
	for (int i = 0; i < LOCK_WORDS_FROM; i++)
		w.at[i] = __atomic_load_n((const uint32_t *)word + i, __ATOMIC_RELAXED);
	w.have_thread = words_self(lock_stdio_thread(&w), &w.thread_tid);
	return w;
}

/* All locks of these tests have room around them: words are read from 12 before to 40 behind. */
union room {
	pthread_mutex_t mutex;
	pthread_rwlock_t rwlock;
	mtx_t mtx;
	uint32_t words[32];
};

static struct {
	uint32_t before[4];
	union room lock;
} place;

#define MUTEX  (&place.lock.mutex)
#define RWLOCK (&place.lock.rwlock)

/* --- threads that wait --- */

struct waiter {
	pthread_t thread;
	pid_t tid;
	void (*wait)(void *lock);
	void *lock;
};

static void *waiter_main(void *argument)
{
	struct waiter *waiter = argument;

	__atomic_store_n(&waiter->tid, gettid(), __ATOMIC_RELEASE);
	waiter->wait(waiter->lock);
	return NULL;
}

static void waiter_start(struct waiter *waiter, void (*wait)(void *lock), void *lock)
{
	*waiter = (struct waiter){ .wait = wait, .lock = lock };
	assert_int_equal(pthread_create(&waiter->thread, NULL, waiter_main, waiter), 0);
}

/* Whether the thread is blocked in futex(2) on a word of the object. */
static bool call_read(pid_t tid, const void *object, size_t size, struct call *call)
{
	unsigned long long number, address, op, val, timeout;
	char path[64];
	bool blocked;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = fopen(path, "r");
	if (!file)
		return false;
	blocked = fscanf(file, "%llu 0x%llx 0x%llx 0x%llx 0x%llx", &number, &address, &op, &val,
			 &timeout) == 5 &&
		  number == SYS_futex && address >= (uintptr_t)object &&
		  address < (uintptr_t)object + size;
	fclose(file);
	if (blocked)
		*call = (struct call){ address, op, val, timeout };
	return blocked;
}

/* To threads of lower priority as well, which sched_yield() would not. */
static void give_way(void)
{
	poll(NULL, 0, 1);
}

/* Comes back when the waiter is blocked. That it ever is, is what the test's time limit sees to. */
static struct call waiter_blocked(const struct waiter *waiter, const void *object, size_t size)
{
	struct call call;
	pid_t tid;

	while (!(tid = __atomic_load_n(&waiter->tid, __ATOMIC_ACQUIRE)))
		give_way();
	while (!call_read(tid, object, size, &call))
		give_way();
	return call;
}

static void waiter_join(struct waiter *waiter)
{
	assert_int_equal(pthread_join(waiter->thread, NULL), 0);
}

static uint32_t layout_of(const struct call *call, struct lock_state *s)
{
	struct lock_words w = words_at((void *)(uintptr_t)call->address);

	return lock_layout(call->op, call->val, call->timeout, call->address, &w, s);
}

static void run_in_thread(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* --- mutexes --- */

struct mutex_case {
	const char *name;
	int type, protocol, robust, shared;
	int depth;
	uint32_t layout, kind;
};

#define NORMAL	   PTHREAD_MUTEX_NORMAL
#define RECURSIVE  PTHREAD_MUTEX_RECURSIVE
#define ERRORCHECK PTHREAD_MUTEX_ERRORCHECK
#define ADAPTIVE   PTHREAD_MUTEX_ADAPTIVE_NP
#define INHERIT	   PTHREAD_PRIO_INHERIT
#define PROTECT	   PTHREAD_PRIO_PROTECT

static const struct mutex_case mutex_cases[] = {
	{ "normal", NORMAL, 0, 0, 0, 1, LAYOUT_GLIBC_MUTEX, 0 },
	{ "recursive", RECURSIVE, 0, 0, 0, 3, LAYOUT_GLIBC_MUTEX, 1 },
	{ "errorcheck", ERRORCHECK, 0, 0, 0, 1, LAYOUT_GLIBC_MUTEX, 2 },
	{ "adaptive", ADAPTIVE, 0, 0, 0, 1, LAYOUT_GLIBC_MUTEX, 3 },
	{ "normal shared", NORMAL, 0, 0, 1, 1, LAYOUT_GLIBC_MUTEX, 0 },
	{ "recursive shared", RECURSIVE, 0, 0, 1, 2, LAYOUT_GLIBC_MUTEX, 1 },
	{ "robust", NORMAL, 0, 1, 0, 1, LAYOUT_GLIBC_ROBUST, 16 },
	{ "robust recursive", RECURSIVE, 0, 1, 0, 3, LAYOUT_GLIBC_ROBUST, 17 },
	{ "robust errorcheck", ERRORCHECK, 0, 1, 0, 1, LAYOUT_GLIBC_ROBUST, 18 },
	{ "robust adaptive", ADAPTIVE, 0, 1, 0, 1, LAYOUT_GLIBC_ROBUST, 19 },
	{ "robust shared", NORMAL, 0, 1, 1, 1, LAYOUT_GLIBC_ROBUST, 16 },
	{ "pi", NORMAL, INHERIT, 0, 0, 1, LAYOUT_GLIBC_PI, 32 },
	{ "pi recursive", RECURSIVE, INHERIT, 0, 0, 3, LAYOUT_GLIBC_PI, 33 },
	{ "pi errorcheck", ERRORCHECK, INHERIT, 0, 0, 1, LAYOUT_GLIBC_PI, 34 },
	{ "pi adaptive", ADAPTIVE, INHERIT, 0, 0, 1, LAYOUT_GLIBC_PI, 35 },
	{ "pi shared", NORMAL, INHERIT, 0, 1, 1, LAYOUT_GLIBC_PI, 32 },
	{ "pi robust", NORMAL, INHERIT, 1, 0, 1, LAYOUT_GLIBC_ROBUST, 48 },
	{ "pi robust recursive", RECURSIVE, INHERIT, 1, 1, 2, LAYOUT_GLIBC_ROBUST, 49 },
	{ "protect", NORMAL, PROTECT, 0, 0, 1, LAYOUT_GLIBC_MUTEX, 64 },
	{ "protect recursive", RECURSIVE, PROTECT, 0, 0, 3, LAYOUT_GLIBC_MUTEX, 65 },
};

#define MUTEX_CASES (sizeof(mutex_cases) / sizeof(*mutex_cases))

static void mutex_init(const struct mutex_case *c)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	assert_int_equal(pthread_mutexattr_settype(&attr, c->type), 0);
	assert_int_equal(pthread_mutexattr_setprotocol(&attr, c->protocol), 0);
	assert_int_equal(pthread_mutexattr_setrobust(&attr, c->robust), 0);
	assert_int_equal(pthread_mutexattr_setpshared(&attr, c->shared), 0);
	if (c->protocol == PROTECT)
		assert_int_equal(
			pthread_mutexattr_setprioceiling(&attr, sched_get_priority_min(SCHED_FIFO)),
			0);
	memset(&place, 0, sizeof(place));
	assert_int_equal(pthread_mutex_init(MUTEX, &attr), 0);
	pthread_mutexattr_destroy(&attr);
}

/* A thread that locks a mutex with a priority ceiling must have a real-time priority itself. */
static bool mutex_allowed(const struct mutex_case *c)
{
	struct sched_param param = { .sched_priority = sched_get_priority_min(SCHED_FIFO) };

	if (c->protocol != PROTECT)
		return true;
	if (!pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
		return true;
	print_message("not tested: %s: no right to real-time priorities\n", c->name);
	return false;
}

static void mutex_lock(const struct mutex_case *c)
{
	for (int i = 0; i < c->depth; i++)
		assert_int_equal(pthread_mutex_lock(MUTEX), 0);
}

static int ordinary_priority(void **state)
{
	struct sched_param param = { 0 };

	(void)state;
	return pthread_setschedparam(pthread_self(), SCHED_OTHER, &param);
}

static void wait_mutex(void *lock)
{
	assert_int_equal(pthread_mutex_lock(lock), 0);
	assert_int_equal(pthread_mutex_unlock(lock), 0);
}

static void mutex_assert_held(const struct mutex_case *c, const struct lock_state *s,
			      uint32_t owner)
{
	assert_int_equal(s->address, (uintptr_t)MUTEX);
	assert_int_equal(s->layout, c->layout);
	assert_true(s->held);
	assert_int_equal(s->owner, owner);
	/* 128 is no news: glibc sets it in every robust mutex, shared or not. */
	assert_int_equal(s->kind & 127, c->kind);
	assert_int_equal(s->recursion, c->type == RECURSIVE ? c->depth : 0);
	assert_int_equal(s->robust, c->robust);
}

/* Free, held by this thread with a waiter, free again. */
static void mutex_waited_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < MUTEX_CASES; i++) {
		const struct mutex_case *c = &mutex_cases[i];
		struct lock_words w;
		struct waiter waiter;
		struct lock_state s;
		struct call call;

		if (!mutex_allowed(c))
			continue;
		mutex_init(c);
		w = words_at(MUTEX);
		assert_true(lock_owner(c->layout, (uintptr_t)MUTEX, &w, &s));
		assert_false(s.held);
		mutex_lock(c);
		w = words_at(MUTEX);
		assert_true(lock_owner(c->layout, (uintptr_t)MUTEX, &w, &s));
		mutex_assert_held(c, &s, gettid());
		assert_false(s.owner_died);

		waiter_start(&waiter, wait_mutex, MUTEX);
		call = waiter_blocked(&waiter, MUTEX, sizeof(*MUTEX));
		assert_int_equal(layout_of(&call, &s), c->layout);
		mutex_assert_held(c, &s, gettid());

		for (int n = 0; n < c->depth; n++)
			assert_int_equal(pthread_mutex_unlock(MUTEX), 0);
		waiter_join(&waiter);
		assert_int_equal(layout_of(&call, &s), LAYOUT_NONE);
		w = words_at(MUTEX);
		assert_true(lock_owner(c->layout, (uintptr_t)MUTEX, &w, &s));
		assert_false(s.held);
		assert_int_equal(pthread_mutex_destroy(MUTEX), 0);
	}
}

/* The same through timed waits, which make another futex call. */
static void wait_mutex_timed(void *lock)
{
	struct timespec far = { .tv_sec = INT32_MAX };

	assert_int_equal(pthread_mutex_timedlock(lock, &far), 0);
	assert_int_equal(pthread_mutex_unlock(lock), 0);
}

static void wait_mutex_clock(void *lock)
{
	struct timespec far = { .tv_sec = INT32_MAX };

	assert_int_equal(pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &far), 0);
	assert_int_equal(pthread_mutex_unlock(lock), 0);
}

static void mutex_timed(void **state)
{
	static void (*const waits[])(void *) = { wait_mutex_timed, wait_mutex_clock };

	(void)state;
	for (size_t i = 0; i < MUTEX_CASES; i++) {
		const struct mutex_case *c = &mutex_cases[i];

		for (int timed = 0; timed < 2; timed++) {
			struct waiter waiter;
			struct lock_state s;
			struct call call;

			/* Priority inheritance by the monotonic clock: EINVAL in glibc before 2.35 */
			if (!mutex_allowed(c) || (c->protocol == INHERIT && timed))
				continue;
			mutex_init(c);
			mutex_lock(c);
			waiter_start(&waiter, waits[timed], MUTEX);
			call = waiter_blocked(&waiter, MUTEX, sizeof(*MUTEX));
			assert_int_equal(layout_of(&call, &s), c->layout);
			mutex_assert_held(c, &s, gettid());
			for (int n = 0; n < c->depth; n++)
				assert_int_equal(pthread_mutex_unlock(MUTEX), 0);
			waiter_join(&waiter);
		}
	}
}

struct dying {
	const struct mutex_case *c;
	uint32_t tid;
};

static void *die_with_mutex(void *argument)
{
	struct dying *dying = argument;

	dying->tid = gettid();
	mutex_lock(dying->c);
	return NULL;
}

/* What this is about: the owner ends, the words stay. */
static void mutex_orphaned(void **state)
{
	(void)state;
	for (size_t i = 0; i < MUTEX_CASES; i++) {
		struct dying dying = { .c = &mutex_cases[i] };
		struct lock_state s;
		struct lock_words w;

		if (!mutex_allowed(dying.c))
			continue;
		mutex_init(dying.c);
		run_in_thread(die_with_mutex, &dying);
		w = words_at(MUTEX);
		assert_true(lock_owner(dying.c->layout, (uintptr_t)MUTEX, &w, &s));
		mutex_assert_held(dying.c, &s, dying.tid);
		assert_int_equal(s.owner_died, dying.c->robust);
	}
}

static void robust_recovered(void **state)
{
	struct dying dying = { .c = &mutex_cases[6] };
	struct lock_state s;
	struct lock_words w;

	(void)state;
	assert_string_equal(dying.c->name, "robust");
	mutex_init(dying.c);
	run_in_thread(die_with_mutex, &dying);
	assert_int_equal(pthread_mutex_lock(MUTEX), EOWNERDEAD);
	/* __owner says "inconsistent" now; the word names the new owner. */
	w = words_at(MUTEX);
	assert_true(lock_owner(LAYOUT_GLIBC_ROBUST, (uintptr_t)MUTEX, &w, &s));
	mutex_assert_held(dying.c, &s, gettid());
	assert_false(s.owner_died);
	/* Given back without having been repaired: nobody will ever hold it again. */
	assert_int_equal(pthread_mutex_unlock(MUTEX), 0);
	assert_int_equal(pthread_mutex_lock(MUTEX), ENOTRECOVERABLE);
	w = words_at(MUTEX);
	assert_true(lock_owner(LAYOUT_GLIBC_ROBUST, (uintptr_t)MUTEX, &w, &s));
	assert_false(s.held);
}

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool cond_done;

static void wait_cond(void *lock)
{
	assert_int_equal(pthread_mutex_lock(lock), 0);
	while (!cond_done)
		pthread_cond_wait(&cond, lock);
	assert_int_equal(pthread_mutex_unlock(lock), 0);
}

/* In pthread_cond_wait() the mutex is free, whatever is left in it. */
static void mutex_in_cond_wait(void **state)
{
	struct waiter waiter;
	struct lock_state s;
	struct lock_words w;
	struct call call;

	(void)state;
	mutex_init(&mutex_cases[0]);
	waiter_start(&waiter, wait_cond, MUTEX);
	call = waiter_blocked(&waiter, &cond, sizeof(cond));
	assert_int_equal(layout_of(&call, &s), LAYOUT_NONE);
	w = words_at(MUTEX);
	assert_true(lock_owner(LAYOUT_GLIBC_MUTEX, (uintptr_t)MUTEX, &w, &s));
	assert_false(s.held);
	assert_int_equal(pthread_mutex_lock(MUTEX), 0);
	cond_done = true;
	pthread_cond_signal(&cond);
	assert_int_equal(pthread_mutex_unlock(MUTEX), 0);
	waiter_join(&waiter);
}

static void wait_mtx(void *lock)
{
	assert_int_equal(mtx_lock(lock), thrd_success);
	assert_int_equal(mtx_unlock(lock), thrd_success);
}

static void mtx_waited_for(void **state)
{
	static const int types[] = { mtx_plain, mtx_plain | mtx_recursive, mtx_timed };

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		struct waiter waiter;
		struct lock_state s;
		struct call call;

		memset(&place, 0, sizeof(place));
		assert_int_equal(mtx_init(&place.lock.mtx, types[i]), thrd_success);
		assert_int_equal(mtx_lock(&place.lock.mtx), thrd_success);
		waiter_start(&waiter, wait_mtx, &place.lock.mtx);
		call = waiter_blocked(&waiter, &place.lock.mtx, sizeof(mtx_t));
		assert_int_equal(layout_of(&call, &s), LAYOUT_GLIBC_MUTEX);
		assert_int_equal(s.owner, gettid());
		assert_int_equal(mtx_unlock(&place.lock.mtx), thrd_success);
		waiter_join(&waiter);
	}
}

/* --- rwlocks --- */

static void wait_read(void *lock)
{
	assert_int_equal(pthread_rwlock_rdlock(lock), 0);
	assert_int_equal(pthread_rwlock_unlock(lock), 0);
}

static void wait_write(void *lock)
{
	assert_int_equal(pthread_rwlock_wrlock(lock), 0);
	assert_int_equal(pthread_rwlock_unlock(lock), 0);
}

static void rwlock_init(int kind, int shared)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	assert_int_equal(pthread_rwlockattr_setkind_np(&attr, kind), 0);
	assert_int_equal(pthread_rwlockattr_setpshared(&attr, shared), 0);
	memset(&place, 0, sizeof(place));
	assert_int_equal(pthread_rwlock_init(RWLOCK, &attr), 0);
	pthread_rwlockattr_destroy(&attr);
}

#define RWLOCK_WAITERS 8

/* Writers and readers wait in turn; says how the lock looks to each of them. */
static void rwlock_check(uint32_t owner)
{
	struct waiter waiters[RWLOCK_WAITERS];

	for (int i = 0; i < RWLOCK_WAITERS; i++) {
		struct lock_state s;
		struct call call;

		waiter_start(&waiters[i], i % 2 ? wait_read : wait_write, RWLOCK);
		/* It is blocked once and for all: nobody lets go before all have been looked at. */
		call = waiter_blocked(&waiters[i], RWLOCK, sizeof(*RWLOCK));
		if (!owner) {
			assert_int_equal(layout_of(&call, &s), LAYOUT_NONE);
			continue;
		}
		assert_int_equal(layout_of(&call, &s), call.address == (uintptr_t)RWLOCK + 8
							       ? LAYOUT_GLIBC_RWLOCK_8
							       : LAYOUT_GLIBC_RWLOCK_12);
		assert_int_equal(s.address, (uintptr_t)RWLOCK);
		assert_int_equal(s.owner, owner);
	}
	assert_int_equal(pthread_rwlock_unlock(RWLOCK), 0);
	for (int i = 0; i < RWLOCK_WAITERS; i++)
		waiter_join(&waiters[i]);
}

static void rwlock_writer(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		for (int shared = 0; shared < 2; shared++) {
			rwlock_init(kind, shared);
			assert_int_equal(pthread_rwlock_wrlock(RWLOCK), 0);
			rwlock_check(gettid());
		}
	}
}

/* Nobody records the readers: nobody may be named. */
static void rwlock_reader(void **state)
{
	(void)state;
	for (int kind = 2; kind < 3; kind++) {
		for (int shared = 0; shared < 2; shared++) {
			struct waiter waiters[6];

			rwlock_init(kind, shared);
			assert_int_equal(pthread_rwlock_rdlock(RWLOCK), 0);
			for (int i = 0; i < 6; i++) {
				struct lock_state s;
				struct call call;

				waiter_start(&waiters[i], wait_write, RWLOCK);
				call = waiter_blocked(&waiters[i], RWLOCK, sizeof(*RWLOCK));
				for (int n = 0; n <= i; n++) {
					assert_true(call_read(waiters[n].tid, RWLOCK,
							      sizeof(*RWLOCK), &call));
					assert_int_equal(layout_of(&call, &s), LAYOUT_NONE);
				}
			}
			assert_int_equal(pthread_rwlock_unlock(RWLOCK), 0);
			for (int i = 0; i < 6; i++)
				waiter_join(&waiters[i]);
		}
	}
}

static void *die_with_rwlock(void *tid)
{
	*(uint32_t *)tid = gettid();
	assert_int_equal(pthread_rwlock_wrlock(RWLOCK), 0);
	return NULL;
}

static void rwlock_orphaned(void **state)
{
	static const uint32_t layouts[] = { LAYOUT_GLIBC_RWLOCK_8, LAYOUT_GLIBC_RWLOCK_12 };
	uint32_t tid;

	(void)state;
	rwlock_init(0, 0);
	run_in_thread(die_with_rwlock, &tid);
	for (int i = 0; i < 2; i++) {
		char *word = (char *)RWLOCK + lock_word_offset(layouts[i]);
		struct lock_words w = words_at(word);
		struct lock_state s;

		assert_true(lock_owner(layouts[i], (uintptr_t)word, &w, &s));
		assert_true(s.held);
		assert_int_equal(s.owner, tid);
		assert_int_equal(s.address, (uintptr_t)RWLOCK);
	}
}

/* --- what is no lock with an owner --- */

static void wait_file(void *file)
{
	flockfile(file);
	funlockfile(file);
}

/* Its owner is a thread descriptor. Its futex call is that of a mutex. */
static void stdio_lock(void **state)
{
	FILE *file = fopen("/dev/null", "w");
	struct lock_words words;
	struct waiter waiter;
	struct lock_state s;
	struct call call;

	(void)state;
	assert_non_null(file);
	flockfile(file);
	waiter_start(&waiter, wait_file, file);
	call = waiter_blocked(&waiter, file->_lock, 4);
	assert_int_equal(call.val, 2);
	assert_int_equal(layout_of(&call, &s), LAYOUT_GLIBC_STDIO);
	assert_true(s.held && !s.owner_died);
	assert_int_equal(s.owner, gettid());
	assert_int_equal(s.thread, (uintptr_t)pthread_self());
	/* What is behind a pointer that lies there by chance is no descriptor. */
	words = words_at(file->_lock);
	words.have_thread = 0;
	assert_int_equal(lock_layout(call.op, call.val, call.timeout, call.address, &words, &s),
			 LAYOUT_NONE);
	funlockfile(file);
	waiter_join(&waiter);
	words = words_at(file->_lock);
	assert_true(lock_owner(LAYOUT_GLIBC_STDIO, (uintptr_t)file->_lock, &words, &s));
	assert_false(s.held);
	fclose(file);
}

static void *file_keeper(void *file)
{
	flockfile(file);
	return NULL;
}

static void stdio_orphaned(void **state)
{
	FILE *file = fopen("/dev/null", "w");
	struct lock_words words;
	struct lock_state s;
	pthread_t keeper;

	(void)state;
	assert_non_null(file);
	assert_int_equal(pthread_create(&keeper, NULL, file_keeper, file), 0);
	assert_int_equal(pthread_join(keeper, NULL), 0); /* its stack stays, its TID is −1 */
	words = words_at(file->_lock);
	assert_true(lock_owner(LAYOUT_GLIBC_STDIO, (uintptr_t)file->_lock, &words, &s));
	assert_true(s.held && s.owner_died && !s.owner);
	assert_int_equal(s.thread, (uintptr_t)keeper);
	/* fclose() would wait for it. */
}

static sem_t sem;

static void wait_sem(void *lock)
{
	sem_wait(lock);
}

static pthread_barrier_t barrier;

static void wait_barrier(void *lock)
{
	pthread_barrier_wait(lock);
}

static void no_locks(void **state)
{
	struct waiter waiter;
	struct lock_state s;
	struct call call;

	(void)state;
	sem_init(&sem, 0, 0);
	waiter_start(&waiter, wait_sem, &sem);
	call = waiter_blocked(&waiter, &sem, sizeof(sem));
	assert_int_equal(layout_of(&call, &s), LAYOUT_NONE);
	sem_post(&sem);
	waiter_join(&waiter);

	pthread_barrier_init(&barrier, NULL, 2);
	waiter_start(&waiter, wait_barrier, &barrier);
	call = waiter_blocked(&waiter, &barrier, sizeof(barrier));
	assert_int_equal(layout_of(&call, &s), LAYOUT_NONE);
	pthread_barrier_wait(&barrier);
	waiter_join(&waiter);
	pthread_barrier_destroy(&barrier);
}

/* pthread_join() waits on a word that holds a TID; with a robust mutex's bit it would be one. */
static void joins(void **state)
{
	struct lock_words w = { .have_before = 1, .have_at = LOCK_WORDS_FROM };
	struct lock_state s;

	(void)state;
	w.at[0] = 4242;
	assert_int_equal(lock_layout(265, 4242, 0, 4096, &w, &s), LAYOUT_NONE);
	assert_int_equal(lock_layout(0, 4242, 0, 4096, &w, &s), LAYOUT_NONE);
	w.at[0] |= FUTEX_WORD_WAITERS;
	assert_int_equal(lock_layout(0, w.at[0], 0, 4096, &w, &s), LAYOUT_NONE);
}

/* Rust's Mutex, Go's runtime lock, lll_lock: 2 and whatever they guard. */
static void other_runtimes(void **state)
{
	static const uint32_t memories[][LOCK_WORDS_FROM] = {
		{ 2 },
		{ 2, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
		{ 2, 1, 1, 1, 1, 1, 1, 1, 1, 1 },
		{ 2, 0, 0x5678, 0x7f12, 0, 0, 0, 0, 0, 0 },	/* a pointer behind it */
		{ 2, 0, 0x5678, 0xc0, 0, 0, 0x40, 0, 0x40, 0 }, /* a Go slice */
		{ 2, 0, 0, 1, 0, 0, 0, 0, 0, 0 },
		{ 2, 0, 3, 0, 0, 0, 0, 0, 0, 0 },
		{ 2, 0, 0x80000000, 1, 0, 0, 0, 0, 0, 0 },
		{ 2, 0, 3, 0x7f12, 0, 0, 0, 0, 0, 0 },
		{ 3, 0, 3, 1, 0, 0, 0, 0, 0, 0 },
		{ 2, 0, 3, 1, 4, 0, 0, 0, 0, 0 },
		{ 2, 123456, 4, 1, 0, 0, 0, 0, 0, 0 }, /* a plain mutex counts nothing */
		{ 2, 123456, 4, 1, 2, 0, 0, 0, 0, 0 },
		{ 2, 0, 777, 4, 0, 1, 0, 0, 0, 0 }, /* nor does it spin */
		{ 2, 0, 777, 4, 3, 0x8000, 0, 0, 0, 0 },
		{ 2, 0, 777, 4, 1, 0, 0, 0, 0, 0 }, /* a recursive one counts the first time, too */
		{ 2, 0, 777, 4, 128, 0, 0, 0, 0, 0 }, /* and its waiters use no private futex */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(memories) / sizeof(*memories); i++) {
		struct lock_words w = { .have_before = 1, .have_at = LOCK_WORDS_FROM };
		struct lock_state s;

		memcpy(w.at, memories[i], sizeof(w.at));
		assert_int_equal(lock_layout(128, 2, 0, 4096, &w, &s), LAYOUT_NONE);
		assert_int_equal(lock_layout(137, 2, 0, 4096, &w, &s), LAYOUT_NONE);
	}
}

/* Guarded data may be a mutex to the word: then the call must be one of glibc's for such a mutex. */
static void other_calls(void **state)
{
	struct lock_words w = { .have_before = 1,
				.have_at = LOCK_WORDS_FROM,
				.at = { 2, 0, 777, 4, 0 } };
	struct lock_state s;

	(void)state;
	assert_int_equal(lock_layout(128, 2, 0, 4096, &w, &s), LAYOUT_GLIBC_MUTEX);
	assert_int_equal(s.owner, 777);
	assert_int_equal(lock_layout(137, 2, 0x7000, 4096, &w, &s), LAYOUT_GLIBC_MUTEX);
	/* Rust's waits for ever are these. */
	assert_int_equal(lock_layout(137, 2, 0, 4096, &w, &s), LAYOUT_NONE);
	assert_int_equal(lock_layout(0, 2, 0, 4096, &w, &s), LAYOUT_NONE);
	w.at[4] = 128;
	assert_int_equal(lock_layout(0, 2, 0, 4096, &w, &s), LAYOUT_GLIBC_MUTEX);
	assert_int_equal(lock_layout(9, 2, 0, 4096, &w, &s), LAYOUT_NONE);
}

/* --- musl, by hand: src/thread/pthread_mutex_trylock.c, pthread_exit() --- */

#define MUSL_LINK_LO 0x1230u
#define MUSL_LINK_HI 0x7f45u

/* Locks that say whether they are held and not by whom. */

static bool held(uint32_t layout, const void *lock)
{
	uint64_t word = (uintptr_t)lock + lock_word_offset(layout);
	struct lock_words words = words_at((const void *)word);
	struct lock_state s;

	assert_true(lock_is_nameless(layout));
	assert_true(lock_owner(layout, word, &words, &s));
	assert_int_equal(s.address, (uintptr_t)lock);
	assert_int_equal(s.owner, 0);
	return s.held;
}

static void glibc_readers(void **state)
{
	(void)state;
	rwlock_init(0, 0);
	assert_false(held(LAYOUT_GLIBC_RWLOCK_READ, RWLOCK));
	assert_int_equal(pthread_rwlock_rdlock(RWLOCK), 0);
	assert_int_equal(pthread_rwlock_rdlock(RWLOCK), 0);
	assert_int_equal(pthread_rwlock_unlock(RWLOCK), 0);
	assert_true(held(LAYOUT_GLIBC_RWLOCK_READ, RWLOCK));
	assert_int_equal(pthread_rwlock_unlock(RWLOCK), 0);
	assert_false(held(LAYOUT_GLIBC_RWLOCK_READ, RWLOCK));
	assert_int_equal(pthread_rwlock_wrlock(RWLOCK), 0);
	assert_false(held(LAYOUT_GLIBC_RWLOCK_READ, RWLOCK));
	assert_int_equal(pthread_rwlock_unlock(RWLOCK), 0);
}

static void semaphores(void **state)
{
	static union {
		sem_t semaphore;
		char room[64]; /* as many words are looked at */
	} lock;

	(void)state;
	assert_int_equal(sem_init(&lock.semaphore, 0, 1), 0);
	assert_false(held(LAYOUT_SEMAPHORE, &lock));
	assert_int_equal(sem_wait(&lock.semaphore), 0);
	assert_true(held(LAYOUT_SEMAPHORE, &lock));
	assert_int_equal(sem_post(&lock.semaphore), 0);
	assert_false(held(LAYOUT_SEMAPHORE, &lock));
}

/* As musl writes them: a type before the word, or the word alone. */
static void musl_nameless(void **state)
{
	static const struct {
		uint32_t layout, type, word;
		bool fits, held;
	} rows[] = {
		{ LAYOUT_MUSL_NORMAL, 0, 0, true, false },
		{ LAYOUT_MUSL_NORMAL, 0, 16, true, true },
		{ LAYOUT_MUSL_NORMAL, 128, 16 | FUTEX_WORD_WAITERS, true, true },
		{ LAYOUT_MUSL_NORMAL, 0, 4712, false, false },
		{ LAYOUT_MUSL_NORMAL, 1, 16, false, false }, /* recursive: it names its owner */
		{ LAYOUT_MUSL_RWLOCK, 0, 0, true, false },
		{ LAYOUT_MUSL_RWLOCK, 0, 0x7fffffff, true, true },
		{ LAYOUT_MUSL_RWLOCK, 0, 0xffffffff, true, true },
		{ LAYOUT_MUSL_RWLOCK, 0, 2, true, false },
		{ LAYOUT_MUSL_RWLOCK_READ, 0, 2 | FUTEX_WORD_WAITERS, true, true },
		{ LAYOUT_MUSL_RWLOCK_READ, 0, FUTEX_WORD_WAITERS, true, false },
		{ LAYOUT_MUSL_RWLOCK_READ, 0, 0x7fffffff, true, false },
		{ LAYOUT_SEMAPHORE, 0, 0xffffffff, true, true }, /* to 1.2.3 */
		{ LAYOUT_SEMAPHORE, 0, FUTEX_WORD_WAITERS, true, true },
		{ LAYOUT_SEMAPHORE, 0, 1 | FUTEX_WORD_WAITERS, true, false },
		{ LAYOUT_SEMAPHORE, 0, 2, false, false }, /* counts: no lock */
	};
	struct lock_state s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct lock_words w = { .before[2] = rows[i].type,
					.at[0] = rows[i].word,
					.have_before = 1,
					.have_at = LOCK_WORDS_FROM };

		assert_int_equal(lock_owner(rows[i].layout, 4096, &w, &s), rows[i].fits);
		assert_int_equal(s.held, rows[i].held);
		assert_int_equal(s.owner, 0);
		w.have_at = 0;
		assert_false(lock_owner(rows[i].layout, 4096, &w, &s));
	}
}

static struct lock_words musl_words(uint32_t type, uint32_t word, uint32_t count, bool linked)
{
	return (struct lock_words){
		.before = { 0, 0, type },
		.at = { word, 1, 0, 0, count, linked ? MUSL_LINK_LO : 0, linked ? MUSL_LINK_HI : 0,
			linked ? MUSL_LINK_LO : 0, linked ? MUSL_LINK_HI : 0, 0 },
		.have_before = 1,
		.have_at = LOCK_WORDS_FROM,
	};
}

static void musl_mutex(void **state)
{
	static const struct {
		uint32_t type, word, count;
		bool linked;
		bool fits, held, died;
		uint32_t owner, recursion;
	} rows[] = {
		/* normal: no owner, ever */
		{ 0, 16, 0, false, false, false, false, 0, 0 },
		{ 128, 0x80000010, 0, false, false, false, false, 0, 0 },
		/* recursive, errorcheck */
		{ 1, 0, 0, false, true, false, false, 0, 0 },
		{ 1, 77, 0, true, true, true, false, 77, 1 },
		{ 1, 0x80000000 | 77, 2, true, true, true, false, 77, 3 },
		{ 2, 0x80000000 | 77, 0, true, true, true, false, 77, 0 },
		{ 1 | 128, 77, 0, true, true, true, false, 77, 1 },
		/* the owner ended as threads do */
		{ 1, 0x40000000, 0, true, true, true, true, 0, 1 },
		{ 2, 0xc0000000, 0, true, true, true, true, 0, 0 },
		/* robust, PI */
		{ 4, 0x80000000 | 77, 0, true, true, true, false, 77, 0 },
		{ 4 | 128, 0xc0000000, 0, true, true, true, true, 0, 0 },
		{ 5, 77, 4, true, true, true, false, 77, 5 },
		{ 8, 77, 0, true, true, true, false, 77, 0 },
		{ 9, 0x80000000 | 77, 1, true, true, true, false, 77, 2 },
		/* unrecoverable; not linked; no TID; no type */
		{ 4, 0x3fffffff, 0, true, false, false, false, 0, 0 },
		{ 1, 77, 0, false, false, false, false, 0, 0 },
		{ 1, 0x00500000, 0, true, false, false, false, 0, 0 },
		{ 16, 77, 0, true, false, false, false, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct lock_words w = musl_words(rows[i].type, rows[i].word, rows[i].count,
						 rows[i].linked);
		struct lock_state s;

		assert_int_equal(lock_owner(LAYOUT_MUSL_MUTEX, 0x5004, &w, &s), rows[i].fits);
		assert_int_equal(s.held, rows[i].held);
		assert_int_equal(s.owner_died, rows[i].died);
		assert_int_equal(s.owner, rows[i].owner);
		if (rows[i].held)
			assert_int_equal(s.recursion, rows[i].recursion);
		assert_int_equal(s.address, 0x5000);
	}
}

/* As musl's waiters call: FUTEX_WAIT with the word and the bit, or FUTEX_LOCK_PI. */
static void musl_waiters(void **state)
{
	struct lock_words w = musl_words(1, 0x80000000 | 77, 0, true);
	struct lock_state s;

	(void)state;
	assert_int_equal(lock_layout(128, w.at[0], 0, 0x5004, &w, &s), LAYOUT_MUSL_MUTEX);
	assert_int_equal(s.owner, 77);
	w = musl_words(1, 0xc0000000, 0, true);
	assert_int_equal(lock_layout(128, w.at[0], 0, 0x5004, &w, &s), LAYOUT_MUSL_MUTEX);
	assert_true(s.owner_died);
	w = musl_words(0, 0x80000010, 0, true);
	assert_int_equal(lock_layout(128, w.at[0], 0, 0x5004, &w, &s), LAYOUT_NONE);
	w = musl_words(8, 0x80000000 | 77, 0, true);
	assert_int_equal(lock_layout(134, 0, 0, 0x5004, &w, &s), LAYOUT_MUSL_MUTEX);
	assert_int_equal(s.owner, 77);
	/* No PI mutex, but somebody uses FUTEX_LOCK_PI on it: the kernel's own rules hold. */
	w = musl_words(1, 0x80000000 | 77, 0, true);
	assert_int_equal(lock_layout(134, 0, 0, 0x5004, &w, &s), LAYOUT_PI_FUTEX);
	assert_int_equal(s.owner, 77);
	assert_int_equal(s.address, 0x5004);
}

/* --- torn reads --- */

static void not_readable(void **state)
{
	static const uint32_t values[] = { 0, 2, 3, 77, 0x80000000 | 77, 0xc0000000 };

	(void)state;
	for (uint32_t layout = 0; layout < LAYOUTS + 2; layout++) {
		for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
			struct lock_words w = { .at = { values[i] }, .have_at = 1 };
			struct lock_state s;
			bool named = (values[i] & FUTEX_WORD_TID) == 77;

			/* The word alone says something only for a PI futex and for Rust's mutex. */
			if (layout == LAYOUT_PI_FUTEX) {
				assert_true(lock_owner(layout, 4096, &w, &s));
				assert_int_equal(s.owner == 77, named);
			} else if (layout == LAYOUT_TRISTATE) {
				assert_int_equal(lock_owner(layout, 4096, &w, &s), values[i] <= 2);
				assert_int_equal(s.held, values[i] == 2);
				assert_int_equal(s.owner, 0);
			} else {
				assert_false(lock_owner(layout, 4096, &w, &s));
				assert_false(s.held);
			}
			w.have_at = 0;
			assert_false(lock_owner(layout, 4096, &w, &s));
			assert_false(s.held);
			assert_int_equal(lock_layout(134, 0, 0, 4096, &w, &s), LAYOUT_NONE);
			assert_int_equal(lock_layout(128, values[i], 0, 4096, &w, &s), LAYOUT_NONE);
		}
	}
}

/* The start of the lock is on a page that is not there: layouts that need it say no. */
static void nothing_before(void **state)
{
	struct lock_words w = musl_words(1, 0x80000000 | 77, 0, true);
	struct lock_state s;

	(void)state;
	w.have_before = 0;
	assert_false(lock_owner(LAYOUT_MUSL_MUTEX, 4096, &w, &s));
	assert_false(lock_owner(LAYOUT_GLIBC_RWLOCK_8, 4096, &w, &s));
	assert_false(lock_owner(LAYOUT_GLIBC_RWLOCK_12, 4096, &w, &s));
	assert_int_equal(lock_layout(128, w.at[0], 0, 4096, &w, &s), LAYOUT_NONE);
}

/* --- memory that is no lock --- */

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static const struct {
	uint32_t op, val;
} calls[] = {
	{ 128, 2 },  { 0, 2 },	  { 393, 2 }, { 137, 2 }, { 393, 3 },
	{ 137, 3 },  { 9, 3 },	  { 128, 0 }, { 128, 1 }, { 0, 0x80000000 | 77 },
	{ 265, 77 }, { 134, 0 },  { 141, 0 }, { 6, 0 },	  { 128, 0xc0000000 },
	{ 393, 0 },  { 128, 16 }, { 139, 0 }, { 128, 3 }, { 128, 0x80002 },
};

#define CALLS (sizeof(calls) / sizeof(*calls))

static bool is_tid(uint32_t word)
{
	return word >= 1 && word < 4194304;
}

/* The shapes once more, in other words: who is named must have one of them. */
static bool shape_ok(uint32_t layout, const struct lock_words *w, const struct lock_state *s)
{
	const uint32_t *at = w->at;

	if (!is_tid(s->owner) && !(s->owner_died && !s->owner))
		return false;
	switch (layout) {
	case LAYOUT_GLIBC_MUTEX:
		return at[2] == s->owner && at[3] >= 1 && at[3] <= 0x4000 &&
		       !(at[4] & ~(3u | 64 | 128 | 256 | 512)) && !at[6] && !at[7] && !at[8] &&
		       !at[9] && ((at[0] & 0x7ffff) == 1 || (at[0] & 0x7ffff) == 2);
	case LAYOUT_GLIBC_ROBUST:
		return at[4] & 16 && at[4] < 1024 && !(at[4] & (4 | 8 | 64)) &&
		       ((at[0] & 0x3fffffff) == s->owner || at[0] & 0x40000000);
	case LAYOUT_GLIBC_PI:
		return at[4] & 32 && at[4] < 1024 && !(at[4] & (4 | 8 | 16 | 64)) &&
		       (at[0] & 0x3fffffff) == s->owner;
	case LAYOUT_GLIBC_RWLOCK_8:
		return (w->before[1] & 3) == 3 && at[1] & 1 && at[4] == s->owner && at[5] <= 1;
	case LAYOUT_GLIBC_RWLOCK_12:
		return (w->before[0] & 3) == 3 && w->before[2] & 1 && at[3] == s->owner &&
		       at[4] <= 1;
	case LAYOUT_MUSL_MUTEX:
		return w->before[2] & 15 && at[5] | at[6] && at[7] | at[8] && !(at[5] & 7) &&
		       !(at[7] & 7);
	case LAYOUT_GLIBC_STDIO:
		return (at[0] == 1 || at[0] == 2) && at[3] > 0x4000 && !(at[2] & 15) &&
		       w->have_thread &&
		       (s->owner_died ? (int32_t)w->thread_tid <= 0 && !s->owner
				      : w->thread_tid == s->owner);
	case LAYOUT_PI_FUTEX:
		return (at[0] & 0x3fffffff) == s->owner;
	default:
		return false;
	}
}

/* Uniform words look like a lock with an owner only where the kernel itself says that they are one. */
static void random_memory(void **state)
{
	uint64_t seed = 42;

	(void)state;
	for (int i = 0; i < 1000000; i++) {
		struct lock_words w;
		struct lock_state s;
		uint32_t layout;

		for (size_t n = 0; n < sizeof(w) / 4; n++)
			((uint32_t *)&w)[n] = random_next(&seed);
		w.have_before = 1;
		w.have_at = LOCK_WORDS_FROM;
		layout = lock_layout(calls[i % CALLS].op, calls[i % CALLS].val, 0, 4096, &w, &s);
		assert_true(layout == LAYOUT_NONE || layout == LAYOUT_PI_FUTEX);
		if (layout)
			assert_true(shape_ok(layout, &w, &s));
	}
}

/* Small numbers, as they fill real memory: shapes do come up, and nobody is named without one. */
static void plausible_memory(void **state)
{
	static const uint32_t likely[] = {
		0,	    0,		0,	0,	1,	 1,	     2,
		3,	    4,		8,	16,	17,	 32,	     33,
		64,	    128,	48,	77,	4194303, 4194304,    0x80000000 | 77,
		0x40000000, 0xc0000000, 0x7f45, 0x1230, 0x80002, 0x3fffffff, ~0u
	};
	uint64_t seed = 4711;
	unsigned int named = 0;

	(void)state;
	for (int i = 0; i < 1000000; i++) {
		struct lock_words w;
		struct lock_state s;
		uint32_t layout, op = calls[i % CALLS].op, val = calls[i % CALLS].val;

		for (size_t n = 0; n < sizeof(w) / 4; n++)
			((uint32_t *)&w)[n] =
				likely[random_next(&seed) % (sizeof(likely) / sizeof(*likely))];
		w.have_before = random_next(&seed) % 8 != 0;
		w.have_at = random_next(&seed) % 8 ? LOCK_WORDS_FROM : random_next(&seed) % 2;
		layout = lock_layout(op, val, 0, 4096, &w, &s);
		if (layout == LAYOUT_NONE)
			continue;
		named++;
		assert_true(s.held);
		assert_true(shape_ok(layout, &w, &s));
		assert_true(w.have_at == LOCK_WORDS_FROM || layout == LAYOUT_PI_FUTEX);
	}
	assert_true(named > 1000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(mutex_waited_for, ordinary_priority),
		cmocka_unit_test_teardown(mutex_timed, ordinary_priority),
		cmocka_unit_test_teardown(mutex_orphaned, ordinary_priority),
		cmocka_unit_test(robust_recovered),
		cmocka_unit_test(mutex_in_cond_wait),
		cmocka_unit_test(mtx_waited_for),
		cmocka_unit_test(rwlock_writer),
		cmocka_unit_test(rwlock_reader),
		cmocka_unit_test(rwlock_orphaned),
		cmocka_unit_test(stdio_lock),
		cmocka_unit_test(stdio_orphaned),
		cmocka_unit_test(no_locks),
		cmocka_unit_test(joins),
		cmocka_unit_test(other_runtimes),
		cmocka_unit_test(other_calls),
		cmocka_unit_test(musl_mutex),
		cmocka_unit_test(musl_waiters),
		cmocka_unit_test(glibc_readers),
		cmocka_unit_test(semaphores),
		cmocka_unit_test(musl_nameless),
		cmocka_unit_test(not_readable),
		cmocka_unit_test(nothing_before),
		cmocka_unit_test(random_memory),
		cmocka_unit_test(plausible_memory),
	};

	alarm(120); /* a waiter that never blocks */
	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
