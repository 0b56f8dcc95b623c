/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPython's global interpreter lock, as it lies in memory. Pure functions over bytes; what reads them is
 * gil_read.c.
 *
 * Layouts, LP64, builds with the GIL. All were run: 3.8.18, 3.9.18, 3.10.13, 3.11.2, 3.11.7, 3.12.1, 3.13.0,
 * 3.13.5, 3.13.18, 3.14.10.
 *   the GIL           struct _gil_runtime_state, Include/internal/pycore_gil.h: the same in all of them:
 *                     interval@0 last_holder@8 locked@16 switch_number@24 cond@32 mutex@80
 *   where it is       up to 3.11 one in _PyRuntime (pycore_runtime.h: ceval.gil); then each interpreter's
 *                     state has a pointer to its own one or to one that it shares (pycore_interp.h, ceval.gil)
 *   interpreters      a list from _PyRuntime.interpreters.head, by PyInterpreterState.next
 *   a thread's state  Include/cpython/pystate.h: interp@16, thread_id (pthread_self()), and from 3.11 on
 *                     native_thread_id (gettid())
 * Offsets up to 3.12: offsetof() in these versions. From 3.13 on they are at the beginning of _PyRuntime,
 * struct _Py_DebugOffsets (3.13: pycore_runtime.h, 3.14: pycore_debug_offsets.h), whose own layout is each
 * minor version's.
 *
 * Python/ceval_gil.c (3.8: ceval_gil.h): take_gil() waits on cond, five milliseconds at a time, and nobody
 * else does; with mutex held it sets locked to 1, then last_holder to itself, and counts up switch_number if
 * that was another one. drop_gil() sets locked to 0, under the mutex, too.
 */
#ifndef DEADHOLD_GIL_H
#define DEADHOLD_GIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GIL_DEBUG_WORDS 32 /* of struct _Py_DebugOffsets */

struct gil_layout {
	bool runtime; /* one for all, in _PyRuntime */
	uint64_t gil; /* there, or the pointer in an interpreter's state */
	uint64_t interpreters, next;
	/* Of a thread's state: its interpreter, its pthread_self(), its gettid() (0: not there). */
	uint64_t interpreter, thread, native;
};

/*
 * version: as Py_Version has it. debug: how _PyRuntime begins. False: no version that is known, or one
 * without a GIL.
 */
bool gil_layout(uint32_t version, const uint64_t debug[GIL_DEBUG_WORDS], struct gil_layout *layout);

#define GIL_WORDS 11 /* up to the mutex's first one */

struct gil_state {
	bool held;
	uint64_t holder; /* the state of the thread that has it, or had it last */
	uint64_t switches;
};

/* False: no GIL has such words, or one that is about to change hands. */
bool gil_state(const uint64_t words[GIL_WORDS], struct gil_state *state);

/* Does a thread that sleeps on this futex word wait for the GIL at that address? */
bool gil_waits(uint64_t gil, uint64_t word);

#endif
