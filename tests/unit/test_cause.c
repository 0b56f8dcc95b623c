// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cause.h"

#define S 1000000000ull

static struct owner_key key_of(uint32_t tgid, uint32_t ns_tid)
{
	struct owner_key key = { .ns_tid = ns_tid };

	key.proc.tgid = tgid;
	return key;
}

static struct cause_row *note(struct causes *causes, uint32_t tid, enum cause_kind kind,
			      uint64_t time_ns)
{
	struct owner_key key = key_of(10, tid);
	struct cause cause = { .kind = kind, .time_ns = time_ns };

	return causes_note(causes, &key, &cause);
}

static const struct cause *ended(struct causes *causes, uint32_t tid, enum exit_reason reason,
				 uint64_t time_ns, bool *certain)
{
	struct exit_info info = { .reason = reason, .time_ns = time_ns };
	struct owner_key key = key_of(10, tid);

	causes_exit(causes, &key, time_ns);
	return cause_of(causes_row(causes, &key), &info, certain);
}

static void cancel_is_certain_by_the_end(void **state)
{
	const struct cause *cause;
	struct causes causes;
	bool certain;

	(void)state;
	causes_init(&causes, 8);
	note(&causes, 12, CAUSE_THREAD_CANCEL, S);
	note(&causes, 12, CAUSE_THREAD_CANCEL, 2 * S);
	cause = ended(&causes, 12, EXIT_CANCEL, 100 * S, &certain);
	assert_non_null(cause);
	assert_int_equal(cause->time_ns, S); /* the second one did nothing */
	assert_true(certain);

	/* It returned by itself: the cancel came too late, or was disabled. */
	note(&causes, 13, CAUSE_THREAD_CANCEL, S);
	assert_null(ended(&causes, 13, EXIT_RETURN, S + 1, &certain));
	assert_false(certain);

	/* The hook could not tell how: the order in time, and no more. */
	note(&causes, 14, CAUSE_THREAD_CANCEL, S);
	assert_non_null(ended(&causes, 14, EXIT_UNKNOWN, 2 * S, &certain));
	assert_false(certain);
	note(&causes, 15, CAUSE_THREAD_CANCEL, S);
	assert_null(ended(&causes, 15, EXIT_UNKNOWN, 12 * S, &certain));

	/* A cancel that nobody saw, and an exception that had nothing to do with it. */
	note(&causes, 16, CAUSE_ASYNC_EXCEPTION, S);
	assert_null(ended(&causes, 16, EXIT_CANCEL, 2 * S, &certain));
	causes_clear(&causes);
}

static void exception_is_never_certain(void **state)
{
	struct causes causes;
	bool certain = true;

	(void)state;
	causes_init(&causes, 8);
	note(&causes, 12, CAUSE_ASYNC_EXCEPTION, S);
	assert_non_null(ended(&causes, 12, EXIT_RETURN, S + CAUSE_NS, &certain));
	assert_false(certain);
	note(&causes, 13, CAUSE_ASYNC_EXCEPTION, S);
	assert_null(ended(&causes, 13, EXIT_RETURN, S + CAUSE_NS + 1, &certain));
	note(&causes, 14, CAUSE_ASYNC_EXCEPTION, S);
	assert_null(ended(&causes, 14, EXIT_RAW, S + 1, &certain));
	note(&causes, 15, CAUSE_ASYNC_EXCEPTION, S);
	assert_null(ended(&causes, 15, EXIT_SECCOMP, S + 1, &certain));
	causes_clear(&causes);
}

static void blocked_thread_has_more_time(void **state)
{
	struct cause_row *row;
	struct causes causes;
	bool certain;

	(void)state;
	causes_init(&causes, 8);
	row = note(&causes, 12, CAUSE_ASYNC_EXCEPTION, S);
	cause_seen(row, 0, 7, S + 1);
	cause_seen(row, 0, 7, 60 * S);
	assert_false(cause_settled(row, 200 * S));
	cause_seen(row, 0, 8, 61 * S); /* the same call, again: it ran in between */
	assert_false(cause_settled(row, 61 * S));
	assert_true(cause_settled(row, 60 * S + CAUSE_NS + 1));
	assert_non_null(ended(&causes, 12, EXIT_RETURN, 60 * S + CAUSE_NS, &certain));

	row = note(&causes, 13, CAUSE_ASYNC_EXCEPTION, S);
	cause_seen(row, -1, 7, S + 1);
	cause_seen(row, 0, 8, 5 * S); /* blocks after it had run: it could act before */
	assert_false(cause_settled(row, 6 * S));
	assert_true(cause_settled(row, S + CAUSE_NS + 2));
	assert_null(ended(&causes, 13, EXIT_RETURN, S + CAUSE_NS + 2, &certain));
	causes_clear(&causes);
}

static void taken_back(void **state)
{
	struct owner_key key = key_of(10, 12), other = key_of(11, 12);
	struct causes causes;
	bool certain;

	(void)state;
	causes_init(&causes, 8);
	assert_false(causes_revoke(&causes, &key));
	note(&causes, 12, CAUSE_ASYNC_EXCEPTION, S);
	assert_false(causes_revoke(&causes, &other)); /* of another process */
	assert_true(causes_revoke(&causes, &key));
	assert_false(causes_revoke(&causes, &key));
	assert_null(ended(&causes, 12, EXIT_RETURN, 2 * S, &certain));

	note(&causes, 13, CAUSE_THREAD_CANCEL, S);
	note(&causes, 13, CAUSE_ASYNC_EXCEPTION, S);
	key = key_of(10, 13);
	assert_true(causes_revoke(&causes, &key)); /* that one alone */
	assert_non_null(ended(&causes, 13, EXIT_CANCEL, 2 * S, &certain));
	causes_clear(&causes);
}

static void number_used_again(void **state)
{
	struct owner_key key = key_of(10, 12);
	struct exit_info first = { .reason = EXIT_CANCEL, .time_ns = 2 * S };
	struct cause_row *row;
	struct causes causes;
	bool certain;

	(void)state;
	causes_init(&causes, 8);
	note(&causes, 12, CAUSE_THREAD_CANCEL, S);
	assert_non_null(ended(&causes, 12, EXIT_CANCEL, 2 * S, &certain));
	assert_null(ended(&causes, 12, EXIT_CANCEL, 3 * S, &certain)); /* of the next bearer */
	/* What is said of the first end later is still right. */
	assert_non_null(cause_of(causes_row(&causes, &key), &first, &certain));
	note(&causes, 12, CAUSE_THREAD_CANCEL, 4 * S);
	assert_null(cause_of(causes_row(&causes, &key), &first, &certain));

	/* The end of the first one was lost. */
	row = note(&causes, 13, CAUSE_THREAD_CANCEL, S);
	cause_forget_before(row, 2 * S);
	assert_null(ended(&causes, 13, EXIT_CANCEL, 3 * S, &certain));
	causes_clear(&causes);
}

static void oldest_makes_room(void **state)
{
	struct owner_key key = key_of(10, 12);
	struct causes causes;

	(void)state;
	causes_init(&causes, 2);
	note(&causes, 12, CAUSE_THREAD_CANCEL, S);
	note(&causes, 13, CAUSE_THREAD_CANCEL, S);
	note(&causes, 14, CAUSE_THREAD_CANCEL, S);
	assert_null(causes_row(&causes, &key));
	key.ns_tid = 14;
	assert_non_null(causes_row(&causes, &key));
	assert_int_equal(HASH_COUNT(causes.rows), 2);
	causes_clear(&causes);
}

static void its_alert(void **state)
{
	struct cause_row *row;
	struct causes causes;

	(void)state;
	causes_init(&causes, 2);
	row = note(&causes, 12, CAUSE_THREAD_CANCEL, S);
	note(&causes, 12, CAUSE_THREAD_CANCEL, 2 * S);
	note(&causes, 12, CAUSE_ASYNC_EXCEPTION, 3 * S);
	cause_said(row, S, 7);
	cause_said(row, 2 * S, 8);
	cause_said(row, 3 * S, 9);
	assert_int_equal(row->cancel.seq, 7);
	assert_int_equal(row->exception.seq, 9);
	causes_clear(&causes);
}

/* A signal came before the end: order and distance, whatever the end, and no more. */
static void signal_is_never_certain(void **state)
{
	static const enum exit_reason reasons[] = { EXIT_RETURN, EXIT_RAW, EXIT_UNKNOWN,
						    EXIT_CANCEL };
	const struct cause *cause;
	struct causes causes;
	bool certain;
	size_t i;

	(void)state;
	causes_init(&causes, 16);
	for (i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		note(&causes, 20 + i, CAUSE_TID_KILL, S);
		note(&causes, 20 + i, CAUSE_THREAD_SIGNAL, 2 * S);
		cause = ended(&causes, 20 + i, reasons[i], 3 * S, &certain);
		assert_non_null(cause);
		assert_int_equal(cause->kind, CAUSE_THREAD_SIGNAL);
		assert_int_equal(cause->time_ns, 2 * S);
		assert_false(certain);
	}
	note(&causes, 12, CAUSE_THREAD_SIGNAL, S);
	assert_null(ended(&causes, 12, EXIT_SECCOMP, S + 1, &certain));
	note(&causes, 13, CAUSE_THREAD_SIGNAL, S); /* long ago */
	assert_null(ended(&causes, 13, EXIT_RETURN, S + CAUSE_NS + 1, &certain));
	note(&causes, 14, CAUSE_THREAD_SIGNAL, 4 * S); /* after the end */
	assert_null(ended(&causes, 14, EXIT_RETURN, 3 * S, &certain));
	/* What is certain, and an exception, say more. */
	note(&causes, 15, CAUSE_THREAD_CANCEL, S);
	note(&causes, 15, CAUSE_THREAD_SIGNAL, 2 * S);
	cause = ended(&causes, 15, EXIT_CANCEL, 3 * S, &certain);
	assert_int_equal(cause->kind, CAUSE_THREAD_CANCEL);
	assert_true(certain);
	note(&causes, 16, CAUSE_ASYNC_EXCEPTION, S);
	note(&causes, 16, CAUSE_THREAD_SIGNAL, 2 * S);
	cause = ended(&causes, 16, EXIT_RETURN, 3 * S, &certain);
	assert_int_equal(cause->kind, CAUSE_ASYNC_EXCEPTION);
	causes_clear(&causes);
}

/* That nothing was done is another thing than that what was done is not why. */
static void nothing_at_all(void **state)
{
	struct owner_key key = key_of(10, 12);
	struct causes causes;
	bool certain;

	(void)state;
	causes_init(&causes, 8);
	assert_false(cause_any(causes_row(&causes, &key), 2 * S));
	note(&causes, 12, CAUSE_THREAD_CANCEL, S);
	assert_null(ended(&causes, 12, EXIT_RETURN, 2 * S, &certain));
	assert_true(cause_any(causes_row(&causes, &key), 2 * S));
	note(&causes, 13, CAUSE_THREAD_SIGNAL, S);
	key.ns_tid = 13;
	assert_true(cause_any(causes_row(&causes, &key), 2 * S));
	assert_false(cause_any(causes_row(&causes, &key), S + CAUSE_NS + 1));
	causes_clear(&causes);
}

/* What had its time is no loss. */
static void eviction_is_counted(void **state)
{
	struct causes causes;
	bool certain;

	(void)state;
	causes_init(&causes, 2);
	note(&causes, 12, CAUSE_THREAD_SIGNAL, S);
	note(&causes, 13, CAUSE_THREAD_SIGNAL, S);
	note(&causes, 14, CAUSE_THREAD_SIGNAL, 2 * S);
	assert_int_equal(causes.evicted, 1);
	ended(&causes, 13, EXIT_RETURN, 3 * S, &certain);
	note(&causes, 15, CAUSE_THREAD_SIGNAL, 4 * S);
	assert_int_equal(causes.evicted, 1);
	note(&causes, 16, CAUSE_THREAD_SIGNAL, 2 * S + CAUSE_NS);
	assert_int_equal(causes.evicted, 1);
	causes_clear(&causes);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_is_certain_by_the_end),
		cmocka_unit_test(exception_is_never_certain),
		cmocka_unit_test(blocked_thread_has_more_time),
		cmocka_unit_test(taken_back),
		cmocka_unit_test(number_used_again),
		cmocka_unit_test(oldest_makes_room),
		cmocka_unit_test(its_alert),
		cmocka_unit_test(signal_is_never_certain),
		cmocka_unit_test(nothing_at_all),
		cmocka_unit_test(eviction_is_counted),
	};

	return cmocka_run_group_tests_name("cause", tests, NULL, NULL);
}
