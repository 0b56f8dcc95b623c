// SPDX-License-Identifier: GPL-2.0-only
#include "cause.h"

#include <stdlib.h>

void causes_init(struct causes *causes, size_t limit)
{
	*causes = (struct causes){ .limit = limit };
}

static void row_free(struct causes *causes, struct cause_row *row)
{
	HASH_DEL(causes->rows, row);
	free(row);
}

void causes_clear(struct causes *causes)
{
	struct cause_row *row, *next;

	HASH_ITER (hh, causes->rows, row, next)
		row_free(causes, row);
}

struct cause_row *causes_row(const struct causes *causes, const struct owner_key *key)
{
	struct cause_row *row;

	HASH_FIND(hh, causes->rows, key, sizeof(*key), row);
	return row;
}

/* The oldest row goes. Is anything lost by that which may yet explain an end? */
static void row_evict(struct causes *causes, uint64_t now_ns)
{
	const struct cause_row *row = causes->rows;

	if (!row)
		return;
	causes->evicted += !row->exit_ns && (row->cancel.kind || row->exception.kind ||
					     row->signal.time_ns + CAUSE_NS > now_ns);
	row_free(causes, causes->rows);
}

static struct cause_row *row_new(struct causes *causes, const struct owner_key *key,
				 uint64_t now_ns)
{
	struct cause_row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	if (HASH_COUNT(causes->rows) >= causes->limit)
		row_evict(causes, now_ns);
	row->key = *key;
	row->call = -1;
	HASH_ADD(hh, causes->rows, key, sizeof(row->key), row);
	return row;
}

struct cause_row *causes_note(struct causes *causes, const struct owner_key *key,
			      const struct cause *cause)
{
	struct cause_row *row = causes_row(causes, key);

	if (row && row->exit_ns) {
		row_free(causes, row); /* of an earlier bearer of the number */
		row = NULL;
	}
	if (!row)
		row = row_new(causes, key, cause->time_ns);
	if (!row)
		return NULL;
	if (cause->kind == CAUSE_ASYNC_EXCEPTION) {
		row->exception = *cause;
		row->call = -1;
		row->blocked_ns = 0;
	} else if (cause->kind != CAUSE_THREAD_CANCEL) {
		row->signal = *cause;
	} else if (!row->cancel.kind) {
		row->cancel = *cause;
	}
	return row;
}

void cause_said(struct cause_row *row, uint64_t time_ns, uint64_t seq)
{
	if (row->cancel.time_ns == time_ns)
		row->cancel.seq = seq;
	if (row->exception.time_ns == time_ns)
		row->exception.seq = seq;
	if (row->signal.time_ns == time_ns)
		row->signal.seq = seq;
}

void cause_forget_before(struct cause_row *row, uint64_t start_ns)
{
	if (row->cancel.time_ns < start_ns)
		row->cancel = (struct cause){ 0 };
	if (row->exception.time_ns < start_ns)
		row->exception = (struct cause){ 0 };
	if (row->signal.time_ns < start_ns)
		row->signal = (struct cause){ 0 };
}

bool causes_revoke(struct causes *causes, const struct owner_key *key)
{
	struct cause_row *row = causes_row(causes, key);

	if (!row || row->exit_ns || !row->exception.kind)
		return false;
	row->exception = (struct cause){ 0 };
	if (!row->cancel.kind && !row->signal.kind)
		row_free(causes, row);
	return true;
}

struct cause_row *causes_exit(struct causes *causes, const struct owner_key *key, uint64_t exit_ns)
{
	struct cause_row *row = causes_row(causes, key);

	if (!row || row->exit_ns)
		return NULL;
	row->exit_ns = exit_ns;
	return row;
}

/* From when on could the exception have acted, as far as that is known? */
static uint64_t acts_from(const struct cause_row *row)
{
	return row->blocked_ns > row->exception.time_ns ? row->blocked_ns : row->exception.time_ns;
}

static bool is_blocked(const struct cause_row *row)
{
	return row->call >= 0;
}

bool cause_settled(const struct cause_row *row, uint64_t now_ns)
{
	return !row->exception.kind || row->exit_ns ||
	       (!is_blocked(row) && acts_from(row) + CAUSE_NS < now_ns);
}

void cause_seen(struct cause_row *row, int32_t call, uint64_t switches, uint64_t now_ns)
{
	bool same = call == row->call && switches == row->switches;

	if (!row->blocked_ns) { /* the first look, just after the call */
		row->call = call;
		row->switches = switches;
		row->blocked_ns = now_ns;
	} else if (is_blocked(row) && same) {
		row->blocked_ns = now_ns;
	} else {
		row->call = -1;
	}
}

/* One soon before the end. No signal ends a single thread, but its handler may. */
static const struct cause *signal_before(const struct cause_row *row, uint64_t end)
{
	const struct cause *signal = &row->signal;

	return signal->kind && signal->time_ns <= end && end <= signal->time_ns + CAUSE_NS ? signal
											   : NULL;
}

const struct cause *cause_of(const struct cause_row *row, const struct exit_info *exit,
			     bool *certain)
{
	uint64_t end = exit->time_ns;

	*certain = false;
	if (!row || row->exit_ns != end)
		return NULL;
	if (exit->reason == EXIT_CANCEL) {
		*certain = row->cancel.kind && row->cancel.time_ns <= end;
		return *certain ? &row->cancel : signal_before(row, end);
	}
	if (exit->reason == EXIT_RAW)
		return signal_before(row, end);
	/* Either one ends a thread by way of its C library. */
	if (exit->reason != EXIT_RETURN && exit->reason != EXIT_UNKNOWN)
		return NULL;
	if (row->exception.kind && row->exception.time_ns <= end &&
	    end <= acts_from(row) + CAUSE_NS)
		return &row->exception;
	/* Where the hook can't tell how it ended; a thread that returned was not cancelled. */
	if (exit->reason == EXIT_UNKNOWN && row->cancel.kind && row->cancel.time_ns <= end &&
	    end <= row->cancel.time_ns + CAUSE_NS)
		return &row->cancel;
	return signal_before(row, end);
}

bool cause_any(const struct cause_row *row, uint64_t end_ns)
{
	return row && (row->cancel.kind || row->exception.kind || signal_before(row, end_ns));
}
