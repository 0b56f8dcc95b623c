/* SPDX-License-Identifier: GPL-2.0-only */
/* lock_steps with the locks of the C++ library: std-mutex, std-timed-mutex, std-shared-mutex, … */
#include "say.h"
#include <chrono>
#include <mutex>
#include <new>
#include <shared_mutex>

struct lock_kind;
struct lock_way;

template <class Mutex> void cxx_init(const lock_kind *, void *lock, int)
{
	new (lock) Mutex;
}

template <class Mutex> int cxx_acquire(void *lock, lock_way way);

template <class Mutex> int cxx_release(void *lock)
{
	static_cast<Mutex *>(lock)->unlock();
	return 0;
}

#define CXX_LOCK(name, Mutex) \
	{ name, cxx_init<Mutex>, cxx_acquire<Mutex>, cxx_release<Mutex>, 0, 0, 0 },
#define MORE_LOCK_KINDS                                                   \
	CXX_LOCK("std-mutex", std::mutex)                                 \
	CXX_LOCK("std-recursive-mutex", std::recursive_mutex)             \
	CXX_LOCK("std-timed-mutex", std::timed_mutex)                     \
	CXX_LOCK("std-shared-mutex", std::shared_mutex)                   \
	CXX_LOCK("std-recursive-timed-mutex", std::recursive_timed_mutex) \
	CXX_LOCK("std-shared-timed-mutex", std::shared_timed_mutex)

#include "lock_steps.c"

template <class Mutex> int cxx_acquire(void *lock, lock_way way)
{
	Mutex *mutex = static_cast<Mutex *>(lock);

	static_assert(sizeof(Mutex) <= LOCK_BYTES, "LOCK_BYTES");
	if constexpr (std::is_same_v<Mutex, std::timed_mutex>)
		if (way.timeout_s)
			return mutex->try_lock_for(std::chrono::seconds(way.timeout_s)) ? 0
											: ETIMEDOUT;
	if constexpr (std::is_same_v<Mutex, std::shared_mutex>)
		if (way.read) {
			mutex->lock_shared();
			return 0;
		}
	if (way.attempt)
		return mutex->try_lock() ? 0 : EBUSY;
	mutex->lock();
	return 0;
}
