/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was done to a thread before it ended, and what of it may be why. Order and distance in time, and
 * no more, unless the way in which the thread ended proves it. Plain bookkeeping: no I/O, no clock. It
 * outlives the thread and its process: what is said of their end may come later.
 */
#ifndef DEADHOLD_CAUSE_H
#define DEADHOLD_CAUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"
#include "event.h"
#include "table.h"

/* An end so long after an exception could act has to do with it no more than with anything else. */
#define CAUSE_NS 10000000000ull

struct cause {
	enum cause_kind kind; /* CAUSE_NONE: nothing was done */
	uint64_t time_ns;
	uint64_t seq;	/* of the alert that said it; 0: none did */
	uint64_t ident; /* by which the caller named the thread */
	struct ev_task sender;
	char exception[CALL_NAME_BYTES]; /* empty: not known, or none */
	struct signal_info sent;	 /* of the kinds of signals; the libc is not known */
	bool no_sender;			 /* a timer's */
};

/* What is remembered of a thread. */
struct cause_row {
	struct owner_key key;
	UT_hash_handle hh; /* in order of insertion */
	uint64_t exit_ns;  /* 0: it lives */
	struct cause cancel, exception;
	struct cause signal; /* the last one */
	/*
	 * The exception acts only when the thread runs again: the system call in which it was blocked
	 * when it was thrown, and the last time that it was seen there. call −1: in none.
	 */
	int32_t call;
	uint64_t switches, blocked_ns;
	uint64_t looked_ns; /* for whoever looks */
};

struct causes {
	struct cause_row *rows;
	size_t limit;
	uint64_t evicted; /* rows that made room */
};

void causes_init(struct causes *causes, size_t limit);
void causes_clear(struct causes *causes);

/*
 * The thread lives, and this was done to it. Of cancels the first counts: the later ones do nothing. An
 * exception takes the place of one that was pending. Returns the row; NULL: no memory. The oldest row
 * goes where there are too many.
 */
struct cause_row *causes_note(struct causes *causes, const struct owner_key *key,
			      const struct cause *cause);
struct cause_row *causes_row(const struct causes *causes, const struct owner_key *key);

/* What was done at time_ns was said in the alert with this number. */
void cause_said(struct cause_row *row, uint64_t time_ns, uint64_t seq);

/* The exception was taken back. Was one pending? */
bool causes_revoke(struct causes *causes, const struct owner_key *key);

/* The thread began only then: what was done before was done to an earlier bearer of its number. */
void cause_forget_before(struct cause_row *row, uint64_t start_ns);

/*
 * A thread ended. If something was done to it, that goes with this end from now on: who bears its number
 * next is another one. The row, or NULL.
 */
struct cause_row *causes_exit(struct causes *causes, const struct owner_key *key, uint64_t exit_ns);

/* The exception has had its time, or the thread ended: nobody needs to look after it. */
bool cause_settled(const struct cause_row *row, uint64_t now_ns);

/* The thread was seen in this system call (−1: in none), `switches` voluntary switches so far. */
void cause_seen(struct cause_row *row, int32_t call, uint64_t switches, uint64_t now_ns);

/*
 * What of it preceded this end of the thread and may be why: NULL: nothing. *certain: it is why, by the
 * way in which the thread ended.
 */
const struct cause *cause_of(const struct cause_row *row, const struct exit_info *exit,
			     bool *certain);

/* Was anything done that this end may have to do with, though cause_of() says that it is not why? */
bool cause_any(const struct cause_row *row, uint64_t end_ns);

#endif
