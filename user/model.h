/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the agent knows: the threads that died, and the orphaned locks that are open. Plain
 * bookkeeping over plain structs: no I/O, no clock.
 */
#ifndef DEADHOLD_MODEL_H
#define DEADHOLD_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"
#include "event.h"
#include "table.h"

/* A thread that ended while its process lived on. */
struct dead {
	struct owner_key key;
	struct thread_info thread;
	struct exit_info exit;
	uint64_t descriptor; /* its thread pointer; 0: not known */
	UT_hash_handle hh;
	struct dead *prev, *next;	     /* all, the oldest first */
	struct dead *sibling_prev, *sibling; /* of the same process */
};

struct waiter_key {
	uint64_t tid;
	uint64_t start_ns;
};

/* A stuck thread that was reported. */
struct said {
	struct waiter_key waiter;
	UT_hash_handle hh;
};

/*
 * Where a lock is: the object, not one of its futex words (a rwlock has two). Two places are one lock
 * if proc and address are equal, or the shared place is.
 */
struct place {
	struct proc_key proc;
	uint64_t address;	    /* in that process */
	struct shared_place shared; /* inode 0: private */
};

/* A lock that a thread had, as deep mode saw it. */
struct deep_hold {
	struct deep_key key;
	struct deep_row row;
};

/* What tells orphans apart: of the place only the members that count. Made by orphan_key(). */
struct orphan_key {
	struct place place;
	uint64_t owner_ns_tid; /* 0: unknown */
};

/* An orphaned lock that was reported and not cleared. */
struct orphan {
	struct orphan_key key;
	UT_hash_handle hh; /* in order of insertion */
	char id[48];
	uint32_t layout;       /* enum lock_layout */
	uint64_t thread;       /* lock_state.thread */
	struct lock_info lock; /* as reported */
	struct process_info process;
	struct thread_info owner;
	struct exit_info exit;
	struct proc_key via; /* the process through whose memory it is re-read */
	uint64_t via_word;
	struct deep_hold deep; /* row.tid 0: deep mode did not see it */
	bool awaited;	       /* somebody waits who was not reported */
	bool suspected;	       /* reported as such: a better proof makes it another report */
	struct said *said;
	bool shown; /* the filters let its lock-orphaned through */
};

struct model {
	struct dead *dead_by_key;
	struct dead *dead_oldest;
	struct dead_process *processes;
	size_t n_dead;
	size_t dead_limit, orphan_limit;
	struct orphan *orphans;
};

void model_init(struct model *model, size_t dead_limit, size_t orphan_limit);
void model_clear(struct model *model);

/*
 * Notes a dead thread; one of the same key is replaced (the number was used again). If that is one
 * too many the oldest goes: true, and its key in *evicted. -ENOMEM leaves the model as it was.
 */
int model_dead_add(struct model *model, const struct owner_key *key,
		   const struct thread_info *thread, const struct exit_info *end, bool *evicting,
		   struct owner_key *evicted);
/* Where its thread descriptor was. Of one that is not there it says nothing. */
void model_dead_descriptor(struct model *model, const struct owner_key *key, uint64_t descriptor);
const struct dead *model_dead(const struct model *model, const struct owner_key *key);

/* Forgets the dead of a process (one image of it); `removed` is called with each key. */
typedef void model_removed(void *context, const struct owner_key *key);
void model_process_gone(struct model *model, const struct proc_key *proc, model_removed *removed,
			void *context);

/* Calls `each` for those of a process that are dead. */
typedef void model_dead_each(void *context, const struct dead *dead);
void model_process_dead(const struct model *model, const struct proc_key *proc,
			model_dead_each *each, void *context);

struct orphan_key orphan_key(const struct place *place, uint32_t owner_ns_tid);

/*
 * The open orphan of that key; where the owner is unknown, there or here, the one at that place: a
 * word with libc's mark on it, or a descriptor without its TID, names nobody. NULL: none.
 */
struct orphan *model_orphan(const struct model *model, const struct orphan_key *key);
/*
 * A copy of *orphan becomes open. Where that is one too many, the oldest one for which nobody waits is
 * forgotten: true. NULL: no memory, or somebody waits for each.
 */
struct orphan *model_orphan_open(struct model *model, const struct orphan *orphan, bool *evicting);
void model_orphan_close(struct model *model, struct orphan *orphan);

/* Was this stuck thread reported for this orphan? */
bool model_waiter_said(const struct orphan *orphan, const struct waiter_key *waiter);
/* The same, and notes it if not. Returns whether it is new. */
bool model_waiter_new(struct orphan *orphan, const struct waiter_key *waiter);

size_t model_orphans(const struct model *model);

bool proc_equal(const struct proc_key *a, const struct proc_key *b);

#endif
