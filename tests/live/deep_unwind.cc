/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that are made to leave a lock function while they are blocked in it: cancelled, by pthread_exit
 * and by a C++ exception, both out of a signal handler. Whatever is probed there, their destructors
 * must run. Says of each function and each way what became of it.
 */
#include "say.h"
#include <initializer_list>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

/* Without their `noexcept`: the compiler then reckons with an exception. */
using lock_call = int (*)(void *);

static struct timespec later(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2 * SAY_LIMIT_S;
	return until;
}

#define TIMED(function)                                       \
	[](void *lock) -> int {                               \
		struct timespec until = later();              \
		return pointer(function)(cast(lock), &until); \
	}
#define CLOCK(function)                                                       \
	[](void *lock) -> int {                                               \
		struct timespec until = later();                              \
		return pointer(function)(cast(lock), CLOCK_REALTIME, &until); \
	}
#define PLAIN(function) [](void *lock) -> int { return pointer(function)(cast(lock)); }

/* The function by a pointer that the compiler can't see through, of a type that may throw. */
template <class Result, class... Args> static auto pointer(Result (*function)(Args...))
{
	Result (*volatile hidden)(Args...) = function;

	return hidden;
}

/* A pointer to whatever lock the function takes. */
struct any_lock {
	void *lock;

	template <class Lock> operator Lock *() const
	{
		return static_cast<Lock *>(lock);
	}
};

static any_lock cast(void *lock)
{
	return any_lock{ lock };
}

enum kind { MUTEX, RWLOCK, SEMAPHORE };

static const struct function {
	const char *name;
	enum kind kind;
	lock_call call;
} functions[] = {
	{ "pthread_mutex_lock", MUTEX, PLAIN(pthread_mutex_lock) },
	{ "pthread_mutex_timedlock", MUTEX, TIMED(pthread_mutex_timedlock) },
	{ "pthread_mutex_clocklock", MUTEX, CLOCK(pthread_mutex_clocklock) },
	{ "pthread_rwlock_wrlock", RWLOCK, PLAIN(pthread_rwlock_wrlock) },
	{ "pthread_rwlock_timedwrlock", RWLOCK, TIMED(pthread_rwlock_timedwrlock) },
	{ "pthread_rwlock_clockwrlock", RWLOCK, CLOCK(pthread_rwlock_clockwrlock) },
	{ "pthread_rwlock_rdlock", RWLOCK, PLAIN(pthread_rwlock_rdlock) },
	{ "pthread_rwlock_timedrdlock", RWLOCK, TIMED(pthread_rwlock_timedrdlock) },
	{ "pthread_rwlock_clockrdlock", RWLOCK, CLOCK(pthread_rwlock_clockrdlock) },
	{ "sem_wait", SEMAPHORE, PLAIN(sem_wait) },
	{ "sem_timedwait", SEMAPHORE, TIMED(sem_timedwait) },
	{ "sem_clockwait", SEMAPHORE, CLOCK(sem_clockwait) },
};

/* Taken by the main thread, so that whoever wants it blocks. */
static union {
	pthread_mutex_t mutex;
	pthread_rwlock_t rwlock;
	sem_t semaphore;
} lock;

static struct who victim;
static volatile int destroyed, caught;
static volatile int throws;
static struct gate ready;

struct guard {
	~guard()
	{
		destroyed = destroyed + 1;
	}
};

struct out_of_it {
};

static void leave(int)
{
	if (throws)
		throw out_of_it();
	pthread_exit(NULL);
}

static void *victim_run(void *arg)
{
	const struct function *function = static_cast<const struct function *>(arg);

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	victim = who_am_i();
	gate_open(&ready);
	try {
		guard outer;

		function->call(&lock);
	} catch (const out_of_it &) {
		caught = 1;
	}
	return NULL;
}

static void lock_take(enum kind kind)
{
	if (kind == MUTEX) {
		need(pthread_mutex_init(&lock.mutex, NULL), "init");
		need(pthread_mutex_lock(&lock.mutex), "lock");
	} else if (kind == RWLOCK) {
		need(pthread_rwlock_init(&lock.rwlock, NULL), "init");
		need(pthread_rwlock_wrlock(&lock.rwlock), "wrlock");
	} else if (sem_init(&lock.semaphore, 0, 0)) {
		die("sem_init");
	}
}

static void scenario(const struct function *function, const char *how)
{
	pthread_t thread;

	lock_take(function->kind);
	destroyed = 0;
	caught = 0;
	throws = !strcmp(how, "throw");
	gate_make(&ready);
	need(pthread_create(&thread, NULL, victim_run, const_cast<struct function *>(function)),
	     "pthread_create");
	gate_pass(&ready);
	wait_blocked(&victim, &lock, sizeof(lock));
	if (!strcmp(how, "cancel"))
		need(pthread_cancel(thread), "pthread_cancel");
	else
		need(pthread_kill(thread, SIGUSR1), "pthread_kill");
	need(pthread_join(thread, NULL), "pthread_join");
	say("left", "'function': '%s', 'how': '%s', 'destroyed': %d, 'caught': %d", function->name,
	    how, destroyed, caught);
	close(victim.syscall_fd);
	close(ready.fds[0]);
	close(ready.fds[1]);
}

int main()
{
	struct sigaction action = {};

	action.sa_handler = leave;
	sigaction(SIGUSR1, &action, NULL);
	say("started", NOTHING);
	expect_go("go");
	for (const struct function &function : functions)
		for (const char *how : { "cancel", "exit", "throw" })
			scenario(&function, how);
	say("over", NOTHING);
	expect_go("end");
	return 0;
}
