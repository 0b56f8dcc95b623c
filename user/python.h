/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What threads of CPython wait for, as its objects lie in memory. Pure functions over bytes and words;
 * what reads them is python_read.c, what decides about RLock and its owner lock.h.
 *
 * Layouts, LP64, builds with the GIL. All were run: 3.6 to 3.12, 3.13.0, 3.13.5, 3.13.18, 3.14.10.
 *   object        Include/object.h: reference count@0 type@8; PyTypeObject: tp_name@24
 *   _thread.lock  Modules/_threadmodule.c: up to 3.13.0 lock_lock@16 in_weakreflist@24 locked@32; then
 *                 a PyMutex@16 (Include/cpython/lock.h: one byte)
 *   _thread.RLock the same file: up to 3.13 rlock_lock@16 rlock_owner@24 rlock_count@32; 3.14
 *                 _PyRecursiveMutex (pycore_lock.h): mutex@16 thread@24 level@32
 *   _queue.SimpleQueue  Modules/_queuemodule.c: up to 3.12 lock@16; then has_threads_waiting@16
 *   deque         Modules/_collectionsmodule.c: leftblock@24 rightblock@32 leftindex@40 rightindex@48;
 *                 a block is {leftlink, 64 items, rightlink}
 *   weakref       Include/cpython/weakrefobject.h: wr_object@16
 *
 * A lock up to 3.13.0, and an RLock up to 3.13, is the address of a semaphore from malloc(), on which
 * its waiters sleep (Python/thread_pthread.h): the futex word. All others park (Python/parking_lot.c):
 * the waiter has a struct wait_entry {park_arg, addr, sema} in its own frame and sleeps on `sema`, so
 * that the word before the futex word is the address of what it waits for.
 *
 * Thread.join() up to 3.12 waits for a lock of the thread's own, to which the thread's state has a weak
 * reference (Python/pystate.c: on_delete_data). From 3.13 on it parks on the event in a struct ThreadHandle
 * {node@0 ident@16 os_handle@24 has_os_handle@32 state@36 mutex@40 event@41} (Modules/_threadmodule.c).
 */
#ifndef DEADHOLD_PYTHON_H
#define DEADHOLD_PYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"

enum python_type {
	PYTHON_NOTHING, /* that is known here */
	PYTHON_LOCK,
	PYTHON_RLOCK,
	PYTHON_QUEUE,  /* _queue.SimpleQueue */
	PYTHON_THREAD, /* the end of a thread; the address is the ThreadHandle's */
	PYTHON_DEQUE,
	PYTHON_WEAKREF,
	PYTHON_TYPES,
};

#define PYTHON_OBJECT_TYPE  8
#define PYTHON_OBJECT_LOCK  16 /* of lock, RLock and SimpleQueue: what is waited for */
#define PYTHON_TYPE_NAME    24
#define PYTHON_NAME_BYTES   32 /* more than the longest name that is known */
#define PYTHON_LOCK_WEAKREF 24
#define PYTHON_WEAKREF_TO   16
#define PYTHON_DEQUE_BLOCK  24
#define PYTHON_BLOCK_ITEMS  64
#define PYTHON_BLOCK_FIRST  8 /* of the items of a block, behind the link to the left */
#define PYTHON_BLOCK_WORDS  (1 + PYTHON_BLOCK_ITEMS + 1)
#define PYTHON_HANDLE_IDENT 16
#define PYTHON_HANDLE_EVENT 41
#define PYTHON_PARK_BEFORE  8 /* wait_entry.addr lies so far before the futex word */

/* By tp_name. name ends with a NUL within len bytes, or is none. */
enum python_type python_type_named(const char *name, size_t len);

/* Of LOCK and RLOCK: the layout in lock.h; else LAYOUT_NONE. */
uint32_t python_layout(enum python_type type);

/* Could such a futex call be a wait of CPython's? parked: on a semaphore in the caller's own frame. */
bool python_waits(uint32_t op, uint32_t val, uint64_t word);
bool python_parks(uint64_t word, uint64_t sp);

/* Is that a semaphore with a waiter that found it at zero? */
bool python_semaphore(const struct lock_words *words);

/* Do these words, the first 40 bytes, look like the ThreadHandle of a thread that was started? */
bool python_handle(const uint64_t words[5]);

/* A deque: where its items are, from the first to the last. False: no deque has such words. */
struct python_deque {
	uint64_t left, right; /* blocks */
	uint64_t first, last; /* items in these */
};
bool python_deque_read(const uint64_t object[7], struct python_deque *deque);

#endif
