/* SPDX-License-Identifier: GPL-2.0-only */
/* The locks that the workloads take, by name. Builds as C and C++, with glibc and musl. */
#ifndef LOCK_KINDS_H
#define LOCK_KINDS_H

#include "lock_mimic.h"
#include "say.h"
#include <pthread.h>
#include <sched.h>
#include <time.h>
#ifndef __cplusplus
#include <threads.h> /* C11 threads; C++ has its own */
#endif

#define LOCK_BYTES 64 /* enough for each of them */
#define LOCK_WORDS 10 /* how many words of a lock are shown */

/* How to take a lock: for ever, for reading, for so long, or if nobody has it. */
struct lock_way {
	int read;
	int timeout_s; /* 0: for ever */
	int attempt;
};

struct lock_kind {
	const char *name;
	void (*init)(const struct lock_kind *kind, void *lock, int shared);
	int (*acquire)(void *lock, struct lock_way way); /* 0 or an errno, as pthread_mutex_lock */
	int (*release)(void *lock);
	/* For pthread_mutexattr_set… of the pthread kinds. */
	int type, robust, protocol;
};

static inline struct timespec lock_deadline(struct lock_way way)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += way.timeout_s;
	return until;
}

static void mutex_init(const struct lock_kind *kind, void *lock, int shared)
{
	pthread_mutexattr_t attr;

	need(pthread_mutexattr_init(&attr), "pthread_mutexattr_init");
	if (kind->type != PTHREAD_MUTEX_DEFAULT) /* else glibc notes that it was asked for */
		need(pthread_mutexattr_settype(&attr, kind->type), "settype");
	need(pthread_mutexattr_setpshared(&attr, shared), "setpshared");
	if (kind->robust)
		need(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), "setrobust");
	if (kind->protocol)
		need(pthread_mutexattr_setprotocol(&attr, kind->protocol), "setprotocol");
#ifdef __GLIBC__
	if (kind->protocol == PTHREAD_PRIO_PROTECT)
		need(pthread_mutexattr_setprioceiling(&attr, 1), "setprioceiling");
#endif
	need(pthread_mutex_init((pthread_mutex_t *)lock, &attr), "pthread_mutex_init");
}

static int mutex_acquire(void *lock, struct lock_way way)
{
	struct timespec until = lock_deadline(way);

	if (way.attempt)
		return pthread_mutex_trylock((pthread_mutex_t *)lock);
	if (way.timeout_s)
		return pthread_mutex_timedlock((pthread_mutex_t *)lock, &until);
	return pthread_mutex_lock((pthread_mutex_t *)lock);
}

static int mutex_release(void *lock)
{
	return pthread_mutex_unlock((pthread_mutex_t *)lock);
}

#ifdef __GLIBC__
/* Who uses a priority-protect mutex must be a real-time thread. Not every host allows it. */
static int protect_acquire(void *lock, struct lock_way way)
{
	struct sched_param param;
	int error;

	memset(&param, 0, sizeof(param));
	param.sched_priority = 1;
	error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	return error ? error : mutex_acquire(lock, way);
}
#endif

static void rwlock_init(const struct lock_kind *kind, void *lock, int shared)
{
	pthread_rwlockattr_t attr;

	need(pthread_rwlockattr_init(&attr), kind->name);
	need(pthread_rwlockattr_setpshared(&attr, shared), "setpshared");
	need(pthread_rwlock_init((pthread_rwlock_t *)lock, &attr), "pthread_rwlock_init");
}

static int rwlock_acquire(void *lock, struct lock_way way)
{
	pthread_rwlock_t *rwlock = (pthread_rwlock_t *)lock;
	struct timespec until = lock_deadline(way);

	if (way.attempt)
		return way.read ? pthread_rwlock_tryrdlock(rwlock)
				: pthread_rwlock_trywrlock(rwlock);
	if (way.timeout_s && way.read)
		return pthread_rwlock_timedrdlock(rwlock, &until);
	if (way.timeout_s)
		return pthread_rwlock_timedwrlock(rwlock, &until);
	return way.read ? pthread_rwlock_rdlock(rwlock) : pthread_rwlock_wrlock(rwlock);
}

static int rwlock_release(void *lock)
{
	return pthread_rwlock_unlock((pthread_rwlock_t *)lock);
}

#ifndef __cplusplus
static void mtx_kind_init(const struct lock_kind *kind, void *lock, int shared)
{
	(void)shared;
	need(mtx_init((mtx_t *)lock, mtx_timed | kind->type) != thrd_success, "mtx_init");
}

static int mtx_acquire(void *lock, struct lock_way way)
{
	struct timespec until = lock_deadline(way);

	if (way.attempt)
		return mtx_trylock((mtx_t *)lock) == thrd_success ? 0 : EBUSY;
	if (way.timeout_s)
		return mtx_timedlock((mtx_t *)lock, &until) == thrd_success ? 0 : ETIMEDOUT;
	return mtx_lock((mtx_t *)lock) == thrd_success ? 0 : EINVAL;
}

static int mtx_release(void *lock)
{
	return mtx_unlock((mtx_t *)lock) == thrd_success ? 0 : EINVAL;
}
#endif

#if defined(__GLIBC__) && !defined(__cplusplus)
/* A stream whose lock lies where this workload wants it; behind the lock, the stream. */
#define STDIO_STREAM(lock) (((FILE **)(lock))[4])

static void stdio_init(const struct lock_kind *kind, void *lock, int shared)
{
	FILE *stream = fopen("/dev/null", "w");

	if (!stream || shared)
		die("%s", kind->name);
	stream->_lock = lock;
	STDIO_STREAM(lock) = stream;
}

static int stdio_acquire(void *lock, struct lock_way way)
{
	(void)way;
	flockfile(STDIO_STREAM(lock));
	return 0;
}

static int stdio_release(void *lock)
{
	funlockfile(STDIO_STREAM(lock));
	return 0;
}
#endif

static void mimic_init(const struct lock_kind *kind, void *lock, int shared)
{
	struct mimic *mimic = (struct mimic *)lock;

	if (shared)
		die("%s", kind->name);
	memset(mimic, 0, sizeof(*mimic));
	mimic->owner = MIMIC_NOBODY;
	mimic->users = 4;
	mimic->how = (uint32_t)kind->type;
}

static int mimic_acquire(void *lock, struct lock_way way)
{
	(void)way;
	mimic_lock((struct mimic *)lock);
	return 0;
}

static int mimic_release(void *lock)
{
	mimic_unlock((struct mimic *)lock);
	return 0;
}

#define MUTEX(name, type, robust, protocol)                                            \
	{                                                                              \
		name, mutex_init, mutex_acquire, mutex_release, type, robust, protocol \
	}

/* Ends with a nameless kind. A workload may bring more kinds. */
static const struct lock_kind lock_kinds[] = {
	MUTEX("normal", PTHREAD_MUTEX_DEFAULT, 0, 0),
	MUTEX("recursive", PTHREAD_MUTEX_RECURSIVE, 0, 0),
	MUTEX("errorcheck", PTHREAD_MUTEX_ERRORCHECK, 0, 0),
	MUTEX("robust", PTHREAD_MUTEX_DEFAULT, 1, 0),
	MUTEX("robust-recursive", PTHREAD_MUTEX_RECURSIVE, 1, 0),
	MUTEX("pi", PTHREAD_MUTEX_DEFAULT, 0, PTHREAD_PRIO_INHERIT),
	MUTEX("robust-pi", PTHREAD_MUTEX_DEFAULT, 1, PTHREAD_PRIO_INHERIT),
#ifdef __GLIBC__
	MUTEX("adaptive", PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0),
	{ "protect", mutex_init, protect_acquire, mutex_release, PTHREAD_MUTEX_DEFAULT, 0,
	  PTHREAD_PRIO_PROTECT },
#endif
	{ "rwlock", rwlock_init, rwlock_acquire, rwlock_release, 0, 0, 0 },
#ifndef __cplusplus
	{ "mtx", mtx_kind_init, mtx_acquire, mtx_release, mtx_plain, 0, 0 },
	{ "mtx-recursive", mtx_kind_init, mtx_acquire, mtx_release, mtx_recursive, 0, 0 },
#endif
#if defined(__GLIBC__) && !defined(__cplusplus)
	{ "stdio", stdio_init, stdio_acquire, stdio_release, 0, 0, 0 },
#endif
	{ "mimic", mimic_init, mimic_acquire, mimic_release, 0, 0, 0 },
	{ "mimic-bitset", mimic_init, mimic_acquire, mimic_release, MIMIC_BITSET, 0, 0 },
	{ "mimic-inline", mimic_init, mimic_acquire, mimic_release, MIMIC_INLINE, 0, 0 },
	{ "mimic-self", mimic_init, mimic_acquire, mimic_release, MIMIC_SELF, 0, 0 },
#ifdef MORE_LOCK_KINDS
	MORE_LOCK_KINDS
#endif
	{ NULL, NULL, NULL, NULL, 0, 0, 0 },
};

static inline const struct lock_kind *lock_kind_find(const char *name)
{
	const struct lock_kind *kind;

	for (kind = lock_kinds; kind->name; kind++)
		if (!strcmp(kind->name, name))
			return kind;
	die("no kind of lock is called %s", name);
}

#endif
