// SPDX-License-Identifier: GPL-2.0-only
#include "limit.h"

#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "table.h"

/* What makes two alerts the same, but for time and thread. */
struct limit_key {
	uint32_t kind;
	int32_t pid;
	uint64_t start_ticks;
	/* The first lock: its address, or its place in the object. */
	uint64_t device, inode, address;
	uint64_t n_locks;
	uint64_t sender_start_ticks;
	int32_t sender_pid;
	int32_t signal, call, code, result, error;
	uint32_t flags; /* KEY_* */
	uint32_t severity;
	uint32_t reason; /* how the thread ended, or the orphan */
	uint32_t named, state;
	char exception[CALL_NAME_BYTES];
};

#define KEY_FATAL   1
#define KEY_PROCESS 2 /* scope */

struct limit {
	struct limit_key key;
	UT_hash_handle hh; /* in order of insertion */
	uint64_t from_ns, until_ns;
	size_t n_said;
	struct limit_thread {
		int32_t tid, ns_tid;
		uint64_t start_ticks;
	} said[LIMIT_THREADS]; /* in this interval */
	struct alert *kept;    /* the first one; NULL: none */
};

struct limits {
	struct limit *all;
	size_t keys, kept_most, n_kept;
	uint64_t now_ns; /* the latest time seen */
	uint64_t due_ns; /* not before that */
	uint64_t merged;
};

struct limits *limits_new(size_t keys, size_t kept)
{
	struct limits *limits = calloc(1, sizeof(*limits));

	if (limits)
		*limits = (struct limits){ .keys = keys, .kept_most = kept };
	return limits;
}

static void limit_free(struct limits *limits, struct limit *limit)
{
	limits->n_kept -= limit->kept != NULL;
	HASH_DEL(limits->all, limit);
	alert_free(limit->kept);
	free(limit);
}

void limits_free(struct limits *limits)
{
	if (!limits)
		return;
	while (limits->all)
		limit_free(limits, limits->all);
	free(limits);
}

static bool is_limited(const struct alert *alert)
{
	switch (alert->kind) {
	case ALERT_LOCK_ORPHANED:
	case ALERT_LOCK_SUSPECTED:
	case ALERT_ORPHAN_WAIT:
	case ALERT_THREAD_SIGNAL:
	case ALERT_TID_KILL:
	case ALERT_THREAD_KILLED:
	case ALERT_THREAD_CANCEL:
	case ALERT_ASYNC_EXCEPTION:
		return true;
	case ALERT_ORPHAN_CLEARED:
		return !alert->follows; /* whoever was told of the orphan waits for this one */
	default:
		return false;
	}
}

static void key_of_signal(struct limit_key *key, const struct alert *alert)
{
	const struct signal_info *signal = &alert->signal;

	key->signal = signal->number;
	key->call = signal->call;
	key->code = signal->code;
	key->result = signal->result;
	key->error = signal->error;
	key->flags = (signal->fatal ? KEY_FATAL : 0) |
		     (signal->scope == SCOPE_PROCESS ? KEY_PROCESS : 0);
}

static void key_of_lock(struct limit_key *key, const struct alert *alert)
{
	const struct lock_info *lock = &alert->locks[0];

	key->n_locks = alert->n_locks;
	if (lock->shared && lock->inode) {
		key->device = lock->device;
		key->inode = lock->inode;
		key->address = lock->object_offset;
	} else {
		key->address = lock->address;
	}
}

static void key_of_call(struct limit_key *key, const struct call_info *called)
{
	key->named = called->named;
	key->state = called->state;
	memcpy(key->exception, called->exception, strnlen(called->exception, CALL_NAME_BYTES));
}

/* The padding is compared as well. */
static void key_of(struct limit_key *key, const struct alert *alert)
{
	memset(key, 0, sizeof(*key));
	key->kind = alert->kind;
	key->severity = alert->severity;
	key->pid = alert->process.pid;
	key->start_ticks = alert->process.start_ticks;
	key->sender_pid = alert->sender_process.pid;
	key->sender_start_ticks = alert->sender_process.start_ticks;
	key->reason = alert->kind == ALERT_ORPHAN_CLEARED ? alert->how : alert->exit.reason;
	key_of_signal(key, alert);
	if (alert->n_locks)
		key_of_lock(key, alert);
	if (alert->called)
		key_of_call(key, alert->called);
}

static bool thread_equal(const struct limit_thread *said, const struct thread_info *thread)
{
	return said->tid == thread->tid && said->ns_tid == thread->ns_tid &&
	       said->start_ticks == thread->start_ticks;
}

static bool limit_said(const struct limit *limit, const struct thread_info *thread)
{
	size_t i;

	for (i = 0; i < limit->n_said; i++) {
		if (thread_equal(&limit->said[i], thread))
			return true;
	}
	return false;
}

/* Whoever is forgotten is said once more than need be. */
static void limits_make_room(struct limits *limits)
{
	struct limit *limit, *next;

	HASH_ITER (hh, limits->all, limit, next) {
		if (HASH_COUNT(limits->all) < limits->keys)
			return;
		if (!limit->kept)
			limit_free(limits, limit);
	}
}

static struct limit *limit_new(struct limits *limits, const struct limit_key *key)
{
	struct limit *limit;

	limits_make_room(limits);
	if (HASH_COUNT(limits->all) >= limits->keys)
		return NULL;
	limit = calloc(1, sizeof(*limit));
	if (!limit)
		return NULL;
	limit->key = *key;
	limit->from_ns = limits->now_ns;
	limit->until_ns = limits->now_ns + LIMIT_FIRST_NS;
	HASH_ADD(hh, limits->all, key, sizeof(limit->key), limit);
	return limit;
}

/* The same was said in this interval. True: kept. */
static bool limit_keep(struct limits *limits, struct limit *limit, const struct alert *alert)
{
	struct alert *kept = limit->kept;

	if (!kept) {
		if (limits->n_kept == limits->kept_most)
			return false;
		kept = limit->kept = alert_copy(alert);
		if (!kept)
			return false;
		limits->n_kept++;
		kept->merged = (struct merged_info){ .first_ns = alert->time_ns };
		if (!limits->due_ns || limit->until_ns < limits->due_ns)
			limits->due_ns = limit->until_ns;
	}
	kept->merged.count++;
	limits->merged += kept->merged.count > 1;
	kept->merged.several_threads |= kept->thread.tid != alert->thread.tid ||
					kept->thread.ns_tid != alert->thread.ns_tid ||
					kept->thread.start_ticks != alert->thread.start_ticks;
	if (alert->time_ns > kept->time_ns)
		kept->time_ns = alert->time_ns;
	return true;
}

bool limits_keep(struct limits *limits, const struct alert *alert)
{
	struct limit_key key;
	struct limit *limit;

	if (!is_limited(alert))
		return false;
	if (alert->time_ns > limits->now_ns)
		limits->now_ns = alert->time_ns;
	key_of(&key, alert);
	HASH_FIND(hh, limits->all, &key, sizeof(key), limit);
	/* An interval in which nothing was kept ends by itself: it was no storm. */
	if (limit && !limit->kept && limit->until_ns <= limits->now_ns) {
		limit_free(limits, limit);
		limit = NULL;
	}
	if (!limit)
		limit = limit_new(limits, &key);
	if (!limit)
		return false;
	if (limit->kept || limit->n_said == LIMIT_THREADS || limit_said(limit, &alert->thread))
		return limit_keep(limits, limit, alert);
	limit->said[limit->n_said++] = (struct limit_thread){
		alert->thread.tid,
		alert->thread.ns_tid,
		alert->thread.start_ticks,
	};
	return false;
}

/* The next interval is twice as long. */
static void limit_go_on(struct limit *limit, uint64_t now_ns)
{
	uint64_t length = 2 * (limit->until_ns - limit->from_ns);

	if (length > LIMIT_LONGEST_NS)
		length = LIMIT_LONGEST_NS;
	limit->from_ns = now_ns;
	limit->until_ns = now_ns + length;
}

static struct alert *limit_take(struct limits *limits, struct limit *limit)
{
	struct alert *kept = limit->kept;

	limit->kept = NULL;
	limits->n_kept--;
	if (kept->merged.count == 1)
		kept->merged = (struct merged_info){ 0 }; /* one is one */
	limit_go_on(limit, limits->now_ns);
	return kept;
}

struct alert *limits_next(struct limits *limits, uint64_t now_ns, bool all)
{
	struct limit *limit, *next;

	if (now_ns > limits->now_ns)
		limits->now_ns = now_ns;
	if (!all && (!limits->due_ns || limits->now_ns < limits->due_ns))
		return NULL;
	limits->due_ns = 0;
	HASH_ITER (hh, limits->all, limit, next) {
		if (limit->kept && (all || limit->until_ns <= limits->now_ns)) {
			limits->due_ns = limits->now_ns; /* there may be more */
			return limit_take(limits, limit);
		}
		if (!limit->kept && limit->until_ns <= limits->now_ns)
			limit_free(limits, limit);
		else if (limit->kept && (!limits->due_ns || limit->until_ns < limits->due_ns))
			limits->due_ns = limit->until_ns;
	}
	return NULL;
}

uint64_t limits_due(const struct limits *limits)
{
	return limits->due_ns;
}

uint64_t limits_merged(const struct limits *limits)
{
	return limits->merged;
}
