/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The decisions: what an exit was, whether a lock is orphaned, whether it still is, how bad it is.
 * Pure functions from records and memory words to parts of alerts.
 */
#ifndef DEADHOLD_DETECT_H
#define DEADHOLD_DETECT_H

#include <stdbool.h>
#include <stddef.h>

#include "alert.h"
#include "event.h"
#include "reader.h"

/* Parts of alerts from the kernel's records. start_ns becomes clock ticks by `tick_ns`. */
void detect_process(struct process_info *out, const struct ev_task *task, uint64_t tick_ns);
void detect_thread(struct thread_info *out, const struct ev_task *task, uint64_t tick_ns);

/* Why did this thread end? Only what the record proves; else EXIT_UNKNOWN. */
void detect_exit(struct exit_info *out, const struct ev_exit *exit);

/*
 * The signal part of a thread-signal or tid-kill. `libc` is the target's. Returns the kind.
 */
enum alert_kind detect_signal(struct signal_info *out, const struct ev_signal *signal,
			      enum lock_libc libc);

/* The lock part, but for mapping, symbol and identity, from what memory says. */
void detect_lock(struct lock_info *out, const struct lock_state *state, enum lock_proof proof,
		 enum lock_libc libc);

/*
 * Where in a shared object an address of that mapping lies. Inode 0: in none, or not known.
 */
struct shared_place detect_place(const struct look_mapping *mapping, uint64_t address);

/* The mapping, symbol and identity of a lock whose address is in *info. Returns where it is. */
struct shared_place detect_mapping(struct lock_info *info, const struct look_mapping *mapping);

/* 1: a lock of this layout is an object of Python's: a bit of look.objects. */
uint32_t detect_object(uint32_t layout);

/* Does whoever unlocks it not need the owner's TID, which fork changes? glibc's plain and adaptive mutexes. */
bool detect_unlocks_after_fork(const struct lock_state *state);

/* Does this state of the lock say that `owner` (0: somebody unknown) left it locked? */
bool detect_left_by(const struct lock_state *state, uint32_t owner);

enum orphan_state { ORPHAN_STILL, ORPHAN_CLEARED };

/*
 * An open orphan, read again: words around its futex word. If it is none any more, *how says why.
 * thread: lock_state.thread as it was found.
 */
enum orphan_state detect_orphan(uint32_t layout, uint64_t word, uint32_t owner, uint64_t thread,
				const struct lock_words *words, enum cleared_how *how);

/* Could this be libc's parking place (lock_parked())? Only a hint where to look. */
bool detect_parked(const struct task_row *row);

/* Is this row's wait for the lock at `address` (the object's, not the futex word's)? */
bool detect_waits_for(const struct task_row *row, uint64_t word, uint32_t layout);

/*
 * The wait of a row or a record. timeout_ns: as passed by the caller, relative for FUTEX_WAIT, else
 * a point in time of CLOCK_MONOTONIC or CLOCK_REALTIME. Where since_ns is 0 the length of the wait
 * is counted from now_ns on.
 */
void detect_wait(struct wait_info *out, uint32_t op, uint64_t since_ns, bool timed,
		 uint64_t timeout_ns, uint64_t now_ns, int64_t realtime_offset_ns);

/*
 * What speaks for a lock that a census found (enum evidence). mapping: where it lies; waited_for: a thread of the process waited for a lock there; strangers: census_answer's, of the pass.
 */
uint32_t detect_evidence(const struct lock_state *state, const struct look_mapping *mapping,
			 bool waited_for, uint64_t strangers);
/*
 * Is that enough to say that it is one? Else it is suspected. docs/census.md has the numbers. java: the
 * process is a JVM. An empty array on its heap, {1, 0, class, length, 0 ...}, looks like a plain mutex whose
 * owner is the number of the array's class, however large.
 */
bool detect_evidence_enough(uint32_t evidence, bool java);

/* How bad: critical if somebody is stuck for ever on one of them that nothing recovers. */
enum severity detect_severity(const struct lock_info *locks, size_t n_locks,
			      const struct waiter_info *waiters, size_t n_waiters);

#endif
