// SPDX-License-Identifier: GPL-2.0-only
/* Which alerts the filters let through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream.h"

static bool wants(const struct options *options, const struct alert *alert)
{
	struct stream stream = { .options = options };

	return stream_wants(&stream, alert);
}

static void by_kind(void **state)
{
	struct options options = { .kinds = 1u << ALERT_ORPHAN_WAIT };
	struct alert alert = { .kind = ALERT_ORPHAN_WAIT };

	(void)state;
	assert_true(wants(&options, &alert));
	alert.kind = ALERT_LOCK_ORPHANED;
	assert_false(wants(&options, &alert));
	alert.kind = ALERT_LOSS; /* no filter hides what the agent says of itself */
	assert_true(wants(&options, &alert));
}

/* Who did it is asked of what somebody does; signals' numbers are not. */
static void calls_by_sender(void **state)
{
	struct options options = { .sender_pids = { 1, { 10 } }, .signals = 1 };
	struct alert alert = { .kind = ALERT_THREAD_CANCEL,
			       .process.pid = 20,
			       .sender_process.pid = 10 };

	(void)state;
	assert_true(wants(&options, &alert));
	alert.kind = ALERT_ASYNC_EXCEPTION;
	assert_true(wants(&options, &alert));
	options.sender_pids.id[0] = 20;
	assert_false(wants(&options, &alert));
	alert.kind = ALERT_THREAD_CANCEL;
	assert_false(wants(&options, &alert));
	alert.kind = ALERT_THREAD_KILLED;
	assert_true(wants(&options, &alert));
}

static void by_id(void **state)
{
	struct options options = { .pids = { 1, { 10 } } };
	struct alert alert = { .kind = ALERT_ORPHAN_WAIT, .process.pid = 10, .thread.tid = 11 };

	(void)state;
	assert_true(wants(&options, &alert));
	options.tids = (struct id_list){ 1, { 12 } };
	assert_false(wants(&options, &alert));
	alert.thread.tid = 12;
	assert_true(wants(&options, &alert));
	alert.process.pid = 20;
	assert_false(wants(&options, &alert));
}

/* Dead owner, waiters, and those who wait later: the lines about one orphan go together. */
static void by_any_party(void **state)
{
	struct waiter_info waiters[] = {
		{ .thread.tid = 13 },
		{ .process = { .pid = 20, .comm = "other" }, .thread.tid = 21 },
	};
	struct alert alert = { .kind = ALERT_LOCK_ORPHANED,
			       .process = { .pid = 10, .comm = "web" },
			       .thread.tid = 11,
			       .waiters = waiters,
			       .n_waiters = 2 };
	struct options options = { .tids = { 1, { 13 } } };

	(void)state;
	assert_true(wants(&options, &alert));
	options.pids = (struct id_list){ 1, { 20 } }; /* not both of one party */
	assert_false(wants(&options, &alert));
	options.tids.id[0] = 21;
	assert_true(wants(&options, &alert));
	options = (struct options){ .comms = { 1, { "other" } } };
	assert_true(wants(&options, &alert));
	options = (struct options){ .comms = { 1, { "third" } } };
	assert_false(wants(&options, &alert));

	options = (struct options){ .pids = { 1, { 10 } } };
	alert = (struct alert){ .kind = ALERT_ORPHAN_WAIT, .process.pid = 20, .thread.tid = 21 };
	assert_false(wants(&options, &alert));
	alert.owner_process.pid = 10;
	assert_true(wants(&options, &alert));

	options = (struct options){ .tids = { 1, { 21 } } };
	alert = (struct alert){ .kind = ALERT_ORPHAN_CLEARED, .process.pid = 10, .thread.tid = 11 };
	assert_false(wants(&options, &alert));
	alert.follows = true;
	assert_true(wants(&options, &alert));
	options.kinds = 1u << ALERT_LOCK_ORPHANED;
	assert_false(wants(&options, &alert));
}

/* Of folded signals no thread is known. */
static void noise_by_process(void **state)
{
	struct options options = { .output = OUTPUT_JSON,
				   .tids = { 1, { 11 } },
				   .pids = { 1, { 10 } } };
	struct alert alert = { .kind = ALERT_NOISE, .process.pid = 10 };

	(void)state;
	assert_true(wants(&options, &alert));
	alert.process.pid = 20;
	assert_false(wants(&options, &alert));
}

/* What text says in another place: noise in the summary, the many waiters of a lock with the lock. */
static void left_out_of_text(void **state)
{
	struct options text = { .output = OUTPUT_TEXT }, json = { .output = OUTPUT_JSON };
	struct alert alert = { .kind = ALERT_NOISE };

	(void)state;
	assert_false(wants(&text, &alert));
	assert_true(wants(&json, &alert));
	alert = (struct alert){ .kind = ALERT_ORPHAN_WAIT };
	assert_true(wants(&text, &alert));
	alert.counted = true;
	assert_false(wants(&text, &alert));
	assert_true(wants(&json, &alert));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_kind),	    cmocka_unit_test(by_id),
		cmocka_unit_test(calls_by_sender),  cmocka_unit_test(by_any_party),
		cmocka_unit_test(noise_by_process), cmocka_unit_test(left_out_of_text),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
