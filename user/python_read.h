/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the threads of a Python process wait for: the reader process's part. Of a thread that parks it
 * stands before its futex word. Of one that sleeps on a semaphore the object is looked for in the
 * process's memory (memory.h), slice by slice: the one whose lock is at that address.
 */
#ifndef DEADHOLD_PYTHON_READ_H
#define DEADHOLD_PYTHON_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "memory.h"
#include "python.h"
#include "wordset.h"

#define PYTHON_WORDS 256 /* of one request */

struct python_ask {
	int32_t tgid;
	uint32_t n;
	uint32_t n_parked;
	uint32_t pad;
	uint64_t start_ticks; /* as in struct look */
	uint64_t from;	      /* 0, then python_answer.next */
	uint64_t slice_bytes; /* as in memory.h */
	/*
	 * Futex words (python_waits()). The first n_parked are those of threads that park. The others are in
	 * ascending order, each once; they are looked for only if there are any.
	 */
	uint64_t word[PYTHON_WORDS];
};

struct python_find {
	uint64_t address; /* of the object */
	uint64_t owner;	  /* PYTHON_THREAD: the number of the thread, as its descriptor has it */
	uint32_t word;	  /* which of the words that were asked for */
	uint32_t type;	  /* enum python_type */
};

struct python_answer {
	int32_t error; /* as in look_answer */
	uint32_t n;
	uint64_t next; /* where to go on; 0: all of the memory was looked at */
	uint64_t scanned_bytes;
	uint64_t unread_bytes; /* swapped out, or refused: an object may lie there */
	uint64_t cpu_ns;
	uint32_t python; /* it is a Python process: else nothing was looked for */
	uint32_t pad;
	struct python_find at[PYTHON_WORDS];
};

/* until_ns: CLOCK_MONOTONIC. A find may be told with two slices. Not reentrant (memory.h). */
void python_read(const struct python_ask *ask, uint64_t until_ns, struct python_answer *answer);

/* Does a thread that sleeps on this word park, for one of Python's objects? */
bool python_is_parked(const struct task *task, uint64_t word);

/* The number in the thread descriptor at that address, of glibc or musl; 0: it is none, or has none. */
uint32_t python_thread_tid(const struct task *task, uint64_t thread);

/* What is the object at that address, by the name of its type? PYTHON_NOTHING: none, or not readable. */
enum python_type python_object_type(const struct task *task, uint64_t address,
				    struct lock_words *words);

/* For words at an object's address: sets words->object and, of an RLock, have_thread and thread_tid. */
void python_object_read(const struct task *task, struct lock_words *words);

#endif
