// SPDX-License-Identifier: GPL-2.0-only
#include "python.h"

#include <string.h>

/* Above the stack pointer, in sem_wait() and its callers: a local variable of _PyParkingLot_Park(). */
#define FRAME_BYTES 1024

enum python_type python_type_named(const char *name, size_t len)
{
	static const char *const names[PYTHON_TYPES] = {
		[PYTHON_LOCK] = "_thread.lock",
		[PYTHON_RLOCK] = "_thread.RLock",
		[PYTHON_QUEUE] = "_queue.SimpleQueue",
		[PYTHON_DEQUE] = "collections.deque",
		[PYTHON_WEAKREF] = "weakref.ReferenceType",
	};

	if (!memchr(name, 0, len))
		return PYTHON_NOTHING;
	for (enum python_type type = 1; type < PYTHON_TYPES; type++)
		if (names[type] && !strcmp(name, names[type]))
			return type;
	/* Up to 3.10. */
	return strcmp(name, "weakref") ? PYTHON_NOTHING : PYTHON_WEAKREF;
}

uint32_t python_layout(enum python_type type)
{
	switch (type) {
	case PYTHON_LOCK:
		return LAYOUT_PYTHON_LOCK;
	case PYTHON_RLOCK:
		return LAYOUT_PYTHON_RLOCK;
	default:
		return LAYOUT_NONE;
	}
}

/* glibc's sem_wait(), sem_timedwait() and sem_clockwait(), which know of the waiters by themselves. */
bool python_waits(uint32_t op, uint32_t val, uint64_t word)
{
	uint32_t cmd = op & FUTEX_OP_MASK;

	return (cmd == FUTEX_OP_WAIT || cmd == FUTEX_OP_WAIT_BITSET) && op & FUTEX_OP_PRIVATE &&
	       !val && word && !(word & 7);
}

bool python_parks(uint64_t word, uint64_t sp)
{
	return word >= sp && word < sp + FRAME_BYTES;
}

/* glibc's struct new_sem: value, waiters, private */
bool python_semaphore(const struct lock_words *words)
{
	return words->have_at == LOCK_WORDS_FROM && !words->at[0] && words->at[1] &&
	       words->at[1] < LOCK_TID_LIMIT && !words->at[2];
}

bool python_handle(const uint64_t words[5])
{
	uint32_t has_os_handle = words[4], state = words[4] >> 32;

	/* THREAD_HANDLE_NOT_STARTED 1, STARTING 2, RUNNING 3, DONE 4 */
	return words[2] && words[2] == words[3] && has_os_handle == 1 && state >= 2 && state <= 4;
}

bool python_deque_read(const uint64_t object[7], struct python_deque *deque)
{
	*deque = (struct python_deque){
		.left = object[3],
		.right = object[4],
		.first = object[5],
		.last = object[6],
	};
	return deque->left && deque->right && deque->first < PYTHON_BLOCK_ITEMS &&
	       deque->last < PYTHON_BLOCK_ITEMS;
}
