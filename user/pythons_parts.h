/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of pythons.h share: pythons.c, pythons_search.c and pythons_owner.c. */
#ifndef DEADHOLD_PYTHONS_PARTS_H
#define DEADHOLD_PYTHONS_PARTS_H

#include "budget.h"
#include "pythons.h"
#include "table.h"
#include "takers.h"

#define MS 1000000ull

/* From the first reading of a lock to the second. */
#define SECOND_READ_NS (100 * MS)

/* One wait of one thread, as long as it lasts. */
struct python_wait {
	uint32_t tid;
	struct task_row row; /* of the last pass */
	uint64_t pass, first_pass;
	uint64_t first_ns; /* seen */
	bool searched;	   /* type and object are known, or it is known that nothing is */
	enum python_type type;
	uint64_t object;
	uint64_t round;	  /* in which its object was read last */
	uint64_t suspect; /* whose lock it was at the first reading: suspect_of(); 0: nobody's */
	uint64_t suspect_ns;
	uint64_t still; /* the last struct tell that saw it go on */
	bool said;
	UT_hash_handle hh;
};

/* A thread that was said to be stuck on a Lock that a dead thread may hold. */
struct python_told {
	struct ev_task task;
	uint64_t object, lock;
	unsigned int missed; /* passes in a row in which it did not wait for it */
	struct python_told *prev, *next;
};

struct python_process {
	struct proc_key key;
	uint64_t pass;
	bool known, python; /* is it Python? */
	bool armed;	    /* it lost a thread, or was there at the start */
	struct python_wait *waits;
	struct takers takers;
	struct python_told *told;
	bool realtime; /* a thread was seen that may be woken out of its turn */
	UT_hash_handle hh;
};

/* A program that was seen to begin. */
struct image {
	struct proc_key key;
	UT_hash_handle hh; /* in order of insertion */
};

struct pythons {
	struct agent *agent;
	struct python_process *processes;
	struct image *images;
	struct budget budget;
	struct python_totals totals;
	uint64_t pass, round;
	uint64_t pass_ns;   /* the end of the last pass */
	uint64_t before_ns; /* and of the one before */
	uint64_t tells;	    /* looks at all threads before something was told */
	bool busy;	    /* a request is under way */
	bool work;	    /* there may be something to do */
	uint64_t due_ns;    /* of the next slice, or of second readings; 0: none */
	/* The search under way, and what it found so far. */
	bool searching;
	struct proc_key key;
	struct python_ask ask;
	struct python_answer found;
};

/* NULL: none of its threads was seen to wait. */
struct python_process *pythons_process(struct pythons *pythons, const struct proc_key *key);

/* The same wait still: the thread has not run in between. */
bool python_wait_is_of(const struct python_wait *wait, const struct task_row *row);
bool python_wait_parks(const struct python_wait *wait);
/* What all that wait for the same lock have in common: a semaphore, or what they park for. */
struct lock_wait python_wait_lock(const struct python_wait *wait);
void python_wait_free(struct python_process *process, struct python_wait *wait);

/* Begins to look for what threads of that process wait for. False: there is nothing to look for. */
bool pythons_search(struct pythons *pythons, struct python_process *process, uint64_t now);
/* The next slice of the search under way. */
void pythons_search_on(struct pythons *pythons);

/* Reads the locks that are looked into, each once a round. False: there is none, or no memory. */
bool pythons_objects_look(struct pythons *pythons, struct python_process *process);

#endif
