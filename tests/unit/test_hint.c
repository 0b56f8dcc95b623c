// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "alert.h"
#include "pages.h"

static struct lock_info lock;

static struct alert orphan(enum exit_reason reason, enum severity severity)
{
	lock = (struct lock_info){ .address = 0x1000, .type = LOCK_MUTEX };
	return (struct alert){
		.kind = ALERT_LOCK_ORPHANED,
		.severity = severity,
		.exit = { .reason = reason },
		.locks = &lock,
		.n_locks = 1,
	};
}

static struct alert signalled(enum alert_kind kind, enum signal_result result, bool fatal,
			      const char *exe)
{
	struct alert alert = { .kind = kind, .signal = { .result = result, .fatal = fatal } };

	strcpy(alert.process.exe, exe);
	return alert;
}

static void assert_hint(struct alert alert, const char *expected)
{
	char hint[HINT_BYTES];

	assert_int_equal(alert_hint(&alert, hint), expected[0] != '\0');
	if (expected[0] && expected[strlen(expected) - 1] == '*')
		assert_memory_equal(hint, expected, strlen(expected) - 1);
	else
		assert_string_equal(hint, expected);
}

static void orphans(void **state)
{
	(void)state;
	assert_hint(orphan(EXIT_RETURN, SEVERITY_WARNING),
		    "its function ended without unlocking: *");
	assert_hint(orphan(EXIT_RETURN, SEVERITY_CRITICAL),
		    "only a restart frees what is stuck; its function ended without unlocking: *");
	assert_hint(orphan(EXIT_CANCEL, SEVERITY_WARNING), "cancelled while it held it: *");
	assert_hint(orphan(EXIT_FORK, SEVERITY_WARNING), "held by another thread at fork: *");
	/* How it ended is not known: nothing is said of the code. */
	assert_hint(orphan(EXIT_UNKNOWN, SEVERITY_CRITICAL), "only a restart frees what is stuck");
	assert_hint(orphan(EXIT_UNKNOWN, SEVERITY_WARNING), "");
	assert_hint(orphan(EXIT_REASONS, SEVERITY_WARNING), "");
}

/* A robust lock is recovered: no restart is asked for. */
static void robust_orphans(void **state)
{
	struct alert alert = orphan(EXIT_RETURN, SEVERITY_WARNING);

	(void)state;
	lock.robust = true;
	assert_hint(alert, "whoever locks it next gets EOWNERDEAD: *");
	alert.n_locks = 0; /* what was not found is not said to be robust */
	assert_hint(alert, "its function ended without unlocking: *");
}

static void signals(void **state)
{
	struct alert cancel;

	(void)state;
	assert_hint(
		signalled(ALERT_TID_KILL, RESULT_QUEUED, true, "/usr/bin/web"),
		"no signal ends one thread: let it read a stop flag (deadhold explain tid-kill)");
	assert_hint(signalled(ALERT_THREAD_SIGNAL, RESULT_QUEUED, true, ""),
		    "no signal ends one thread: *");
	assert_hint(signalled(ALERT_TID_KILL, RESULT_QUEUED, false, "/usr/bin/web"),
		    "kill knows no threads: *");
	assert_hint(signalled(ALERT_TID_KILL, RESULT_QUEUED, false, "/usr/bin/python3.11"),
		    "CPython runs handlers in its main thread, *");
	assert_hint(signalled(ALERT_THREAD_SIGNAL, RESULT_QUEUED, false, "/usr/bin/python3"),
		    "CPython runs handlers in its main thread, *");
	cancel = signalled(ALERT_THREAD_SIGNAL, RESULT_QUEUED, false, "/usr/bin/python3");
	cancel.signal.number = 32;
	assert_hint(cancel, "");
}

/* Of a lock that keeps no owner nobody can say that it only looks like one. */
static void suspicions(void **state)
{
	struct lock_info suspect = { .proof = PROOF_SHAPE };
	struct alert alert = { .kind = ALERT_LOCK_SUSPECTED, .locks = &suspect, .n_locks = 1 };

	(void)state;
	assert_hint(alert, "it may be chance: deadhold explain lock-suspected *");
	suspect.proof = PROOF_INFERRED;
	assert_hint(alert, "the lock records no owner: deadhold explain inferred *");
}

static void forced_ends(void **state)
{
	struct call_info called = { .state = ASYNC_PENDING };
	struct alert alert = { .kind = ALERT_ASYNC_EXCEPTION, .called = &called };

	(void)state;
	assert_hint((struct alert){ .kind = ALERT_THREAD_KILLED },
		    "what it had in hand, such as a task from a queue, may be lost *");
	assert_hint((struct alert){ .kind = ALERT_THREAD_CANCEL },
		    "locks without a cleanup handler stay locked: *");
	assert_hint(alert, "a thread that waits does not get it: *");
	called.state = ASYNC_NO_THREAD;
	assert_hint(alert, "");
	called.native_tid = 4712;
	assert_hint(alert, "the call takes Thread.ident, *");
}

static void nothing_to_say(void **state)
{
	(void)state;
	assert_hint(signalled(ALERT_THREAD_SIGNAL, RESULT_QUEUED, false, "/usr/bin/web"), "");
	assert_hint(signalled(ALERT_THREAD_SIGNAL, RESULT_QUEUED, false, "/srv/python3/web"), "");
	assert_hint(signalled(ALERT_THREAD_SIGNAL, RESULT_FAILED, false, "/usr/bin/python3"), "");
	assert_hint(signalled(ALERT_TID_KILL, RESULT_IGNORED, false, "/usr/bin/web"), "");
	assert_hint(signalled(ALERT_TID_KILL, RESULT_PROBED, false, "/usr/bin/web"), "");
	assert_hint((struct alert){ .kind = ALERT_READY }, "");
	assert_hint((struct alert){ .kind = ALERT_NOISE }, "");
	assert_hint((struct alert){ .kind = ALERT_KINDS }, "");
}

static void of_an_incident(void **state)
{
	struct incident_info info = { .victims_count = 1 };
	struct alert alert = orphan(EXIT_CANCEL, SEVERITY_CRITICAL);

	(void)state;
	alert.kind = ALERT_INCIDENT;
	assert_hint(alert, ""); /* nothing is known of it */
	alert.incident = &info;
	assert_hint(alert, "only a restart frees what is stuck; cancelled while it held it: *");
	info.state = INCIDENT_UPDATED;
	assert_hint(alert, "only a restart frees what is stuck; cancelled while it held it: *");
	info.state = INCIDENT_CLOSED;
	assert_hint(alert, "cancelled while it held it: *");
	info.state = INCIDENT_OPEN;
	info.victims_count = 0;
	assert_hint(alert, "cancelled while it held it: *");
	alert.exit.reason = EXIT_UNKNOWN;
	assert_hint(alert, "");
	info.killed = true;
	info.dead[0].cause.kind = CAUSE_TID_KILL;
	assert_hint(
		alert,
		"no signal ends one thread: let it read a stop flag (deadhold explain tid-kill)");
	info.dead[0].cause.kind = CAUSE_THREAD_SIGNAL;
	assert_hint(alert, "no signal ends one thread: let it read a stop flag (deadhold "
			   "explain thread-signal)");
}

/* A word that a hint sends its reader to has a page; and none is cut off. */
static void hints_lead_somewhere(void **state)
{
	static const char command[] = "deadhold explain ";

	(void)state;
	for (int kind = 0; kind < ALERT_KINDS; kind++) {
		for (int reason = 0; reason < EXIT_REASONS; reason++) {
			const struct incident_info incident = { .victims_count = 1,
								.killed = reason % 2 };
			struct alert alert = orphan(reason, SEVERITY_CRITICAL);
			char hint[HINT_BYTES], *word;
			struct page page;

			alert.kind = kind;
			alert.signal.fatal = true;
			alert.incident = &incident;
			alert_hint(&alert, hint);
			assert_true(strlen(hint) < HINT_BYTES - 1);
			word = strstr(hint, command);
			if (!word || strstr(hint, "PLACE"))
				continue;
			word += strlen(command);
			word[strcspn(word, " )")] = '\0';
			assert_true(page_find(word, &page));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orphans),
		cmocka_unit_test(robust_orphans),
		cmocka_unit_test(signals),
		cmocka_unit_test(nothing_to_say),
		cmocka_unit_test(hints_lead_somewhere),
		cmocka_unit_test(suspicions),
		cmocka_unit_test(forced_ends),
		cmocka_unit_test(of_an_incident),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
