/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of a survey share: survey.c and survey_*.c. */
#ifndef DEADHOLD_SURVEY_PARTS_H
#define DEADHOLD_SURVEY_PARTS_H

#include "caller.h"
#include "event.h"
#include "gil_read.h"
#include "roster.h"
#include "survey.h"
#include "task.h"

/* A futex word that threads wait on, and what lies around it. */
struct spot {
	uint64_t word;
	int32_t tgid;
	uint32_t n; /* threads that wait there */
	struct lock_words words;
};

/* What is known of a lock beside what is said of it. */
struct lock_place {
	int32_t tgid; /* where info.address is */
	uint64_t word;
	uint32_t layout; /* LAYOUT_NONE: it records no owner; `val` is what was in the word */
	uint32_t val;
	struct shared_place shared;
	bool looked;
	bool doubted;	/* it may be none: who waits for it was not seen to be glibc's own code */
	bool unsettled; /* not the same in both readings */
	struct lock_state state;
};

/* Whose code it was that waits, at one place in code of one process. */
struct waiting_code {
	int32_t tgid;
	uint64_t pc;
	enum caller caller;
};
/* Which program it ran when the survey began. */
struct survey_image {
	size_t len;
	char auxv[1024];
};

#define WAITING_CODES 16 /* there are few in a process */

struct survey {
	const struct survey_ask *ask;
	struct survey_page *page;
	struct inspection *out;
	struct task task;
	struct roster first;
	struct thread *reading; /* the first one, of each of out->threads */
	size_t room_threads, room_locks;
	struct lock_place *place; /* of each of out->locks */
	struct spot *spots;	  /* of the threads that are being judged, in order */
	size_t n_spots;
	struct roster parent; /* its threads; read when they are asked for */
	bool parent_read;
	uint32_t runtimes; /* enum runtime */
	struct gil_place gil_place;
	size_t n_gils;
	struct gil gils[GILS]; /* of the first reading, those that are held */
	struct wait *gil_wait; /* of each of the process's threads: survey_gil_between() */
	size_t judged;	       /* threads whose wait was looked into */
	struct survey_image image;
	size_t n_codes;
	struct waiting_code codes[WAITING_CODES];
};

/* Says what it does, and on which process. */
void survey_step(struct survey *survey, enum survey_step what, int32_t at);
/* For roster_read(): the survey gets on. */
void survey_progress(void *context);

/* Does the process run another program than when the survey began? Then nothing that was read first holds. */
bool survey_image_changed(const struct survey *survey);

/* One more thread of process tgid, by its first reading. 0 or -ENOMEM. */
int survey_thread_add(struct survey *survey, int32_t tgid, const struct thread *thread);

/* What the threads wait for that were added since. 0; -ESRCH, -EPERM or -ENOMEM. */
int survey_waits(struct survey *survey);
/* Reads all again that matters, and forgets what was not the same. 0 or -errno. */
int survey_again(struct survey *survey);

/* The lock at that address of that process, known or new. NOBODY: no memory. */
int survey_lock(struct survey *survey, int32_t tgid, uint64_t address);
/* The thread waits for this lock. 0 or -ENOMEM. */
int survey_lock_wanted(struct survey *survey, struct seen_thread *thread,
		       const struct lock_state *state);
/* Whose code it is that makes a thread's futex call. */
enum caller survey_caller(struct survey *survey, int32_t tgid, uint64_t pc);

/* How may a private lock have come into the process whose owner, by its number, the process does not have? */
enum origin {
	ORIGIN_OWN, /* the owner was a thread of its own, which has ended */
	ORIGIN_PARENT, /* fork copied it from a thread of the parent that is not the one which forked */
	ORIGIN_FORKER, /* from the one that forked: the main thread is its copy */
	ORIGIN_FORK,   /* from a thread of the parent, not known which of these two */
	ORIGIN_UNKNOWN, /* the number is from before the process; its parent is gone or does not have it */
};
enum origin survey_origin(struct survey *survey, uint32_t owner);
/* Was that descriptor one of a thread of the parent that is older than the process? */
bool survey_descriptor_forked(struct survey *survey, uint64_t descriptor);
/* The main thread, if it lives: the copy of the one that forked. Else NULL. */
const struct thread *survey_main(struct survey *survey);

/* Reads where the new locks lie; one that two mappings show is one lock. */
void survey_map(struct survey *survey);
/* Who holds the locks from `from` on. Owners in other processes become threads. 0 or -ENOMEM. */
int survey_owners(struct survey *survey, size_t from);

/*
 * A thread that sleeps as libc parks threads: if its frames point at a mutex whose owner is dead, that
 * is what it waits for. 0 or -ENOMEM.
 */
int survey_park_dead(struct survey *survey, struct seen_thread *thread);
/* For the parked ones that are left, when all else is known: do they wait in a ring? 0 or -ENOMEM. */
int survey_park_rings(struct survey *survey);

/* How long threads have slept at least, where it can be known; of many, 1,024. */
void survey_since(struct survey *survey);

/*
 * Of a Python process: for which of its objects do threads wait? 0 or -errno. What could not be told is
 * left as it was, and said.
 */
int survey_python(struct survey *survey);

/* Of a Python process: who holds the GIL, and which threads wait for it? 0 or -errno. */
int survey_gil(struct survey *survey);
/* Between the readings: what do those wait for that ran in the first one? 0 or -errno. */
int survey_gil_between(struct survey *survey);
/* What the second reading says to that; own: the threads in it. */
void survey_gil_again(struct survey *survey, const struct roster *own);

/* Has a thread slept in the same call from its first reading to its second one (NULL: there is none)? */
bool survey_slept(const struct thread *first, const struct thread *second);

/*
 * Looks through the process's memory for locks that threads hold which it does not have any more.
 * 0 or -errno. What is found is weighed by survey_map().
 */
int survey_census(struct survey *survey);

#endif
