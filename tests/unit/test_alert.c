// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names, messages, text and JSON of alerts. Every JSON line made here is appended to the file that
 * the environment names in DEADHOLD_TEST_LINES: tests/contract.py checks it against the schema.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "alert.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

#define BOOT_ID "3f9d1c52-7a46-4be1-9d27-60a1c5b7e8f4"

/* 2025-11-22T13:03:11.482311904Z, half an hour after the boot */
#define REALTIME_NS (INT64_C(1763816591) * NS_PER_S + 482311904)
#define TIME_NS	    (INT64_C(1931) * NS_PER_S + 702311904)
#define BOOT_NS	    (REALTIME_NS - TIME_NS)

static const struct run run = {
	.id = "9c1e47d20ab35f68",
	.boot_id = BOOT_ID,
	.host = "db7",
	.realtime_offset_ns = REALTIME_NS - TIME_NS,
	.boot_realtime_ns = BOOT_NS,
};

static const struct process_info web = {
	.pid = 4700,
	.ppid = 1,
	.ns_pid = 4700,
	.pid_ns = 4026531836,
	.start_ticks = 185520,
	.uid = 1000,
	.user = "www",
	.comm = "web",
	.exe = "/usr/bin/web",
	.cgroup = "/system.slice/web.service",
	.unit = "web.service",
	.cmdline = "web --token secret",
};
static const struct process_info bash = {
	.pid = 4100,
	.start_ticks = 170211,
	.uid = 0,
	.comm = "bash",
};
static const struct thread_info worker = {
	.tid = 4712,
	.ns_tid = 4712,
	.start_ticks = 185523,
	.name = "worker-3",
};
static const struct thread_info http = {
	.tid = 4713,
	.ns_tid = 4713,
	.start_ticks = 185524,
	.name = "http-2",
};
static const struct thread_info bash_main = { .tid = 4100, .name = "bash" };

static const struct lock_info queue_lock = {
	.address = 0x55d0c2f050e0,
	.type = LOCK_MUTEX,
	.kind = LOCK_NORMAL,
	.libc = LIBC_GLIBC,
	.proof = PROOF_WAITER,
	.owner_tid = 4712,
	.map_path = "/usr/bin/web",
	.map_start = 0x55d0c2f04000,
	.map_offset = 0x3000,
	.symbol = "queue_lock",
};
static const struct waiter_info http_waits = {
	.thread = { .tid = 4713, .ns_tid = 4713, .start_ticks = 185524, .name = "http-2" },
	.wait = { .op = "FUTEX_WAIT", .since_ns = TIME_NS - 2105 * NS_PER_MS },
};

static struct alert sample_orphan(void)
{
	return (struct alert){
		.kind = ALERT_LOCK_ORPHANED,
		.severity = SEVERITY_CRITICAL,
		.time_ns = TIME_NS,
		.process = web,
		.thread = worker,
		.orphan_id = "9c1e47d20ab35f68:o1",
		.exit = { .reason = EXIT_RETURN, .time_ns = TIME_NS - NS_PER_MS / 2 },
		.locks = &queue_lock,
		.n_locks = 1,
		.waiters = &http_waits,
		.n_waiters = 1,
	};
}

static struct alert sample_wait(void)
{
	struct alert alert = sample_orphan();

	alert.kind = ALERT_ORPHAN_WAIT;
	alert.thread = http;
	alert.owner = worker;
	alert.wait = http_waits.wait;
	alert.waiters = NULL;
	alert.n_waiters = 0;
	return alert;
}

static struct alert sample_cleared(enum cleared_how how)
{
	struct alert alert = sample_orphan();

	alert.kind = ALERT_ORPHAN_CLEARED;
	alert.severity = SEVERITY_INFO;
	alert.how = how;
	return alert;
}

static struct alert sample_signal(int number, bool fatal)
{
	return (struct alert){
		.kind = ALERT_THREAD_SIGNAL,
		.severity = fatal ? SEVERITY_CRITICAL : SEVERITY_INFO,
		.time_ns = TIME_NS,
		.process = web,
		.thread = worker,
		.sender_process = bash,
		.sender_thread = bash_main,
		.signal = {
			.number = number,
			.libc = LIBC_GLIBC,
			.scope = SCOPE_THREAD,
			.call = CALL_TGKILL,
			.has_code = true,
			.code = SI_TKILL,
			.result = RESULT_QUEUED,
			.fatal = fatal,
		},
	};
}

static struct alert sample_kill(int number, bool fatal)
{
	struct alert alert = sample_signal(number, fatal);

	alert.kind = ALERT_TID_KILL;
	alert.severity = fatal ? SEVERITY_CRITICAL : SEVERITY_WARNING;
	alert.signal.scope = SCOPE_PROCESS;
	alert.signal.call = CALL_KILL;
	alert.signal.code = SI_USER;
	return alert;
}

static const struct pair hooks[] = {
	{ .name = "futex", .word = "switch" },
	{ .name = "exit", .word = "fentry" },
	{ .name = "failed-sends", .word = "none: not asked for (-x)" },
};
static const struct pair losses[] = { { "ring-buffer", 12, NULL }, { "reader-deadline", 2, NULL } };
static const struct pair counts[] = {
	{ "ready", 1, NULL },	       { "lock-orphaned", 1, NULL }, { "orphan-wait", 2, NULL },
	{ "orphan-cleared", 1, NULL }, { "thread-signal", 1, NULL }, { "tid-kill", 1, NULL },
	{ "noise", 3, NULL },	       { "loss", 1, NULL },
};
static const struct pair figures[] = {
	{ "orphans_open", 0, NULL }, /* for JSON alone */
	{ "thread_exits", 5021, NULL },
	{ "futex", 0, "switch" },
	{ "sweeps", 0, NULL },
};

static const struct uprobes_info uprobes = {
	.state = UPROBES_ON,
	.files = 5,
	.sites = 6,
	.n_failed = 1,
	.failed = { { "/srv/odd", "it took too long" } },
};

static struct alert sample_ready(void)
{
	return (struct alert){
		.uprobes = &uprobes,
		.kind = ALERT_READY,
		.time_ns = TIME_NS,
		.version = "0.1.0",
		.kernel = "6.1.0-30-cloud-amd64",
		.hooks = hooks,
		.n_hooks = ARRAY_SIZE(hooks),
		.blocked_threads = 212,
	};
}

static const struct call_info called_alive = {
	.ident = 0x7f21d8a006c0,
	.named = NAMED_THREAD,
	.state = ASYNC_PENDING,
	.exception = "SystemExit",
	.blocked_in = 45,
	.before_ns = 246 * NS_PER_MS,
};

static struct alert sample_call(enum alert_kind kind, const struct call_info *called)
{
	bool thread = called->named == NAMED_THREAD;

	return (struct alert){
		.kind = kind,
		.severity = SEVERITY_WARNING,
		.time_ns = TIME_NS,
		.process = web,
		.thread = thread ? worker : (struct thread_info){ 0 },
		.sender_process = web,
		.sender_thread = http,
		.called = called,
		.exit = { .reason = EXIT_RETURN, .time_ns = TIME_NS },
	};
}

static const struct cause_info cancelled = {
	.kind = CAUSE_THREAD_CANCEL,
	.seq = 17,
	.sender_process = { .pid = 4700, .comm = "web", .uid = 1000 },
	.sender_thread = { .tid = 4713, .name = "http-2" },
	.before_ns = 12 * NS_PER_MS,
	.certain = true,
};
static const struct cause_info threw = {
	.kind = CAUSE_ASYNC_EXCEPTION,
	.sender_process = { .pid = 4700, .comm = "web", .uid = 1000 },
	.sender_thread = { .tid = 4713, .name = "http-2" },
	.before_ns = 246 * NS_PER_MS,
	.exception = "SystemExit",
};

static struct alert sample_killed(enum exit_reason reason, const struct cause_info *cause)
{
	return (struct alert){
		.kind = ALERT_THREAD_KILLED,
		.severity = SEVERITY_WARNING,
		.time_ns = TIME_NS,
		.process = web,
		.thread = worker,
		.exit = { .reason = reason, .time_ns = TIME_NS },
		.cause = cause,
		.locks_found = 1,
	};
}

static const struct incident_info hanging = {
	.id = "9c1e47d20ab35f68:i1",
	.revision = 2,
	.state = INCIDENT_UPDATED,
	.n_dead = 1,
	.dead_count = 1,
	.locks_count = 1,
	.victims_count = 12,
	.n_chain = 2,
	.chain = { 3, 5 },
};

static struct alert sample_incident(struct incident_info *info, const struct cause_info *cause)
{
	struct alert alert = sample_orphan();

	alert.kind = ALERT_INCIDENT;
	alert.exit.reason = EXIT_CANCEL;
	alert.incident = info;
	info->dead[0] = (struct dead_info){ .thread = worker,
					    .exit = alert.exit,
					    .has_cause = cause != NULL };
	if (cause)
		info->dead[0].cause = *cause;
	return alert;
}

static struct alert sample_noise(void)
{
	return (struct alert){
		.kind = ALERT_NOISE,
		.time_ns = TIME_NS,
		.process = web,
		.signal = { .number = SIGURG, .libc = LIBC_UNKNOWN, .from_same_process = true },
		.count = 1843,
		.interval_s = 60,
	};
}

static struct alert sample_loss(void)
{
	return (struct alert){
		.kind = ALERT_LOSS,
		.severity = SEVERITY_WARNING,
		.time_ns = TIME_NS,
		.counts = losses,
		.n_counts = ARRAY_SIZE(losses),
	};
}

static struct alert sample_summary(void)
{
	return (struct alert){
		.kind = ALERT_SUMMARY,
		.time_ns = TIME_NS,
		.counts = counts,
		.n_counts = ARRAY_SIZE(counts),
		.losses = losses,
		.n_losses = ARRAY_SIZE(losses),
		.figures = figures,
		.n_figures = ARRAY_SIZE(figures),
		.run_time_s = 151,
	};
}

/* --- helpers --- */

static char *text_of(const struct alert *alert)
{
	size_t len = 0;
	char *text = alert_text(alert, &run, &len);

	assert_non_null(text);
	assert_int_equal(len, strlen(text));
	assert_int_equal(text[len - 1], '\n');
	return text;
}

static void assert_text(struct alert alert, const char *expected)
{
	char *text = text_of(&alert);

	assert_string_equal(text, expected);
	free(text);
}

/* The line below the first that starts with the label is exactly this. */
static void assert_detail(struct alert alert, const char *detail)
{
	char *text = text_of(&alert), *line;
	char expected[512];

	snprintf(expected, sizeof(expected), "\n  %s\n", detail);
	line = strstr(text, expected);
	if (!line)
		fail_msg("no line \"%s\" in:\n%s", detail, text);
	free(text);
}

static void assert_no_detail(struct alert alert, const char *words)
{
	char *text = text_of(&alert);

	assert_null(strstr(text, words));
	free(text);
}

static void assert_message(struct alert alert, const char *expected)
{
	char *message = alert_message(&alert);

	assert_string_equal(message, expected);
	free(message);
}

static void record(const char *line)
{
	const char *path = getenv("DEADHOLD_TEST_LINES");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (file) {
		fputs(line, file);
		fclose(file);
	}
}

static json_t *json_with(const struct alert *alert, const struct run *with)
{
	static uint64_t seq;
	size_t len = 0;
	char *line = alert_json(alert, with, ++seq, REALTIME_NS + NS_PER_MS, &len);
	json_t *json;

	assert_non_null(line);
	assert_int_equal(len, strlen(line));
	assert_ptr_equal(strchr(line, '\n'), line + len - 1);
	record(line);
	json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "seq")), seq);
	free(line);
	return json;
}

static json_t *json_of(struct alert alert)
{
	return json_with(&alert, &run);
}

/* A member by its path: "locks.0.mapping.offset". NULL if it is absent. */
static json_t *member(json_t *json, const char *path)
{
	char copy[128], *rest = copy, *name;

	snprintf(copy, sizeof(copy), "%s", path);
	while (json && (name = strsep(&rest, ".")))
		json = json_is_array(json) ? json_array_get(json, strtoul(name, NULL, 10))
					   : json_object_get(json, name);
	return json;
}

static void assert_json_string(json_t *json, const char *path, const char *expected)
{
	const char *value = json_string_value(member(json, path));

	if (!value)
		fail_msg("no string %s", path);
	assert_string_equal(value, expected);
}

static void assert_json_number(json_t *json, const char *path, double expected)
{
	if (!json_is_number(member(json, path)))
		fail_msg("no number %s", path);
	assert_true(json_number_value(member(json, path)) == expected);
}

/* Exactly these members, in any order, besides those that every line has. */
static void assert_own_members(json_t *json, const char *names)
{
	static const char common[] = "schema run seq id time ktime_ns emitted host boot_id kind "
				     "severity message";
	char all[512], *rest = all, *name;
	size_t n = 0;

	snprintf(all, sizeof(all), "%s %s", common, names);
	while ((name = strsep(&rest, " "))) {
		if (!json_object_get(json, name))
			fail_msg("no member %s", name);
		n++;
	}
	assert_int_equal(json_object_size(json), n);
}

/* --- names --- */

static void test_kind_names(void **state)
{
	(void)state;
	for (int kind = 0; kind < ALERT_KINDS; kind++)
		assert_int_equal(alert_kind_parse(alert_kind_name(kind)), kind);
	assert_null(alert_kind_name(ALERT_KINDS));
	assert_null(alert_kind_name((enum alert_kind) - 1));
	assert_int_equal(alert_kind_parse("lock-orphan"), -EINVAL);
	assert_int_equal(alert_kind_parse(""), -EINVAL);
}

/* Every value has a name, and its own; the count has none. */
#define ASSERT_NAMES(function, first, end)                                         \
	do {                                                                       \
		for (int i = (first); i < (int)(end); i++) {                       \
			assert_non_null(function(i));                              \
			for (int j = (first); j < i; j++)                          \
				assert_string_not_equal(function(i), function(j)); \
		}                                                                  \
		assert_null(function(end));                                        \
		assert_null(function(-1));                                         \
	} while (0)

static void test_value_names(void **state)
{
	(void)state;
	ASSERT_NAMES(severity_name, SEVERITY_INFO, SEVERITY_CRITICAL + 1);
	ASSERT_NAMES(exit_reason_name, EXIT_UNKNOWN, EXIT_REASONS);
	ASSERT_NAMES(lock_proof_name, PROOF_WAITER, PROOF_KINDS);
	ASSERT_NAMES(lock_type_name, LOCK_MUTEX, LOCK_TYPES);
	ASSERT_NAMES(lock_kind_name, LOCK_NORMAL, LOCK_KINDS);
	ASSERT_NAMES(libc_name, LIBC_GLIBC, LIBCS);
	ASSERT_NAMES(signal_call_name, CALL_TGKILL, SIGNAL_CALLS);
	ASSERT_NAMES(signal_result_name, RESULT_QUEUED, SIGNAL_RESULTS);
	ASSERT_NAMES(cleared_how_name, CLEARED_FOREIGN_UNLOCK, CLEARED_HOWS);
	assert_null(lock_kind_name(LOCK_KIND_NONE));
	assert_null(libc_name(LIBC_UNKNOWN));
	assert_null(signal_call_name(CALL_UNKNOWN));
}

/* --- text: each kind as people see it --- */

static void test_text_of_the_run(void **state)
{
	(void)state;
	assert_text(sample_ready(),
		    "13:03:11.482 info ready watching: nothing from here on is missed\n"
		    "  deadhold 0.1.0 on Linux 6.1.0-30-cloud-amd64\n"
		    "  hooks: futex switch, exit fentry, failed-sends none: not asked for (-x)\n"
		    "  uprobes: 6 places in 5 files\n"
		    "  not probed: /srv/odd: it took too long\n"
		    "  looked at 212 threads that already waited on a futex\n");
	assert_text(sample_noise(),
		    "13:03:11.482 info noise web[4700] got 1843 SIGURG in 60 s: normal, folded\n"
		    "  signal 23 SIGURG (urgent data on a socket)\n");
	assert_text(sample_loss(),
		    "13:03:11.482 WARNING loss 14 events lost: something may have been missed\n"
		    "  where: ring-buffer 12, reader-deadline 2\n");
	assert_text(sample_summary(),
		    "13:03:11.482 info summary watched for 2 min: 6 alerts, 14 events lost\n"
		    "  said: ready 1, lock-orphaned 1, orphan-wait 2, orphan-cleared 1,\n"
		    "        thread-signal 1, tid-kill 1, noise 3, loss 1\n"
		    "  lost: ring-buffer 12, reader-deadline 2\n"
		    "  figures: thread_exits 5021, futex switch\n");
}

static void test_text_of_orphans(void **state)
{
	(void)state;
	assert_text(sample_orphan(),
		    "13:03:11.482 CRITICAL lock-orphaned web[4700] worker-3[4712] "
		    "died holding 1 lock\n"
		    "  dead owner worker-3 (tid 4712): its thread function returned\n"
		    "  lock 0x55d0c2f050e0: normal mutex, proof waiter, "
		    "/usr/bin/web+0x40e0\n"
		    "        (queue_lock)\n"
		    "  stuck http-2 (tid 4713): waits for ever, for 2.1 s already\n"
		    "  web runs in unit web.service\n"
		    "  hint: only a restart frees what is stuck; its function ended without\n"
		    "        unlocking: let a guard unlock (RAII, with, defer)\n");
	assert_text(sample_wait(),
		    "13:03:11.482 CRITICAL orphan-wait web[4700] http-2[4713] hangs: "
		    "lock owner died\n"
		    "  stuck http-2 (tid 4713): waits for ever, for 2.1 s already\n"
		    "  lock 0x55d0c2f050e0: normal mutex, proof waiter, "
		    "/usr/bin/web+0x40e0\n"
		    "        (queue_lock)\n"
		    "  dead owner worker-3 (tid 4712): its thread function returned\n"
		    "  web runs in unit web.service\n");
	assert_text(sample_cleared(CLEARED_FOREIGN_UNLOCK),
		    "13:03:11.482 info orphan-cleared web[4700] lock 0x55d0c2f050e0 is free again\n"
		    "  how: another thread unlocked it\n"
		    "  lock 0x55d0c2f050e0: normal mutex, proof waiter, /usr/bin/web+0x40e0\n"
		    "        (queue_lock)\n");
}

static void test_text_of_signals(void **state)
{
	(void)state;
	assert_text(sample_signal(SIGTERM, true),
		    "13:03:11.482 CRITICAL thread-signal SIGTERM at thread 4712 ends all of "
		    "web[4700]\n"
		    "  fatal: ends the whole process, unless it is blocked or handled first\n"
		    "  signal 15 SIGTERM (termination request) by tgkill, SI_TKILL: queued\n"
		    "  sender main thread (tid 4100) of bash (pid 4100, uid 0)\n"
		    "  target worker-3 (tid 4712) of web (pid 4700, user www)\n"
		    "  web runs in unit web.service\n"
		    "  hint: no signal ends one thread: let it read a stop flag (deadhold explain\n"
		    "        thread-signal)\n");
	assert_text(
		sample_kill(SIGUSR1, false),
		"13:03:11.482 WARNING tid-kill kill 4712: whole process web[4700] gets SIGUSR1\n"
		"  whole process: kill gives SIGUSR1 to all of web[4700], not to one thread of it\n"
		"  signal 10 SIGUSR1 (the program's own, 1) by kill, SI_USER: queued\n"
		"  sender main thread (tid 4100) of bash (pid 4100, uid 0)\n"
		"  target worker-3 (tid 4712) of web (pid 4700, user www)\n"
		"  web runs in unit web.service\n"
		"  hint: kill knows no threads: name the process, or use tgkill for one thread\n");
}

static void test_text_of_calls(void **state)
{
	(void)state;
	assert_text(
		sample_call(ALERT_THREAD_CANCEL, &called_alive),
		"13:03:11.482 WARNING thread-cancel web[4700] http-2[4713] cancels worker-3[4712]\n"
		"  sender http-2 (tid 4713) of web (pid 4700, user www)\n"
		"  target worker-3 (tid 4712) of web (pid 4700, user www)\n"
		"  web runs in unit web.service\n"
		"  hint: locks without a cleanup handler stay locked: a stop flag is safer\n"
		"        (deadhold explain thread-cancel)\n");
	assert_text(
		sample_call(ALERT_ASYNC_EXCEPTION, &called_alive),
		"13:03:11.482 WARNING async-exception web[4700] worker-3[4712] gets SystemExit\n"
		"  pending: the thread is in recvfrom (45); the exception acts when it runs\n"
		"        Python code again\n"
		"  sender http-2 (tid 4713) of web (pid 4700, user www)\n"
		"  target worker-3 (tid 4712) of web (pid 4700, user www)\n"
		"  web runs in unit web.service\n"
		"  hint: a thread that waits does not get it: a stop event and time limits are\n"
		"        safer (deadhold explain async-exception)\n");
	assert_text(
		sample_killed(EXIT_CANCEL, &cancelled),
		"13:03:11.482 WARNING thread-killed web[4700] worker-3[4712] ended by cancel\n"
		"  thread worker-3 (tid 4712): it was cancelled with pthread_cancel\n"
		"  by: http-2 (tid 4713) cancelled it 12 ms earlier\n"
		"  held 1 lock that was found: see lock-orphaned\n"
		"  web runs in unit web.service\n"
		"  hint: what it had in hand, such as a task from a queue, may be lost (deadhold\n"
		"        explain thread-killed)\n");
	assert_text(
		sample_killed(EXIT_RETURN, &threw),
		"13:03:11.482 WARNING thread-killed web[4700] worker-3[4712] ended after SystemExit\n"
		"  thread worker-3 (tid 4712): its thread function returned\n"
		"  ended 246 ms after SystemExit was thrown into it by http-2 (tid 4713)\n"
		"  held 1 lock that was found: see lock-orphaned\n"
		"  web runs in unit web.service\n"
		"  hint: what it had in hand, such as a task from a queue, may be lost (deadhold\n"
		"        explain thread-killed)\n");
}

/* Whom a call named, and what became of it. "By" is said only where it is certain. */
static void test_words_for_calls(void **state)
{
	struct call_info called = called_alive;
	struct alert alert = sample_call(ALERT_ASYNC_EXCEPTION, &called);
	struct cause_info cause = cancelled;

	(void)state;
	called.state = ASYNC_ENDED;
	assert_message(alert, "web[4700] worker-3[4712] ended after SystemExit");
	assert_detail(
		alert,
		"ended 246 ms after SystemExit was thrown into it: that it is why can't be seen");
	called.exception[0] = '\0';
	assert_message(alert, "web[4700] worker-3[4712] ended after an exception");
	called.state = ASYNC_REVOKED;
	assert_message(alert, "web[4700] worker-3[4712]: exception taken back");
	called = called_alive;
	called.blocked_in = 9999;
	assert_detail(
		alert,
		"pending: the thread is in system call 9999; the exception acts when it runs\n"
		"        Python code again");
	called.blocked_in = -1;
	assert_detail(alert, "pending: acts when the thread runs Python code");

	called = (struct call_info){ .ident = 4712,
				     .named = NAMED_NO_THREAD,
				     .state = ASYNC_NO_THREAD,
				     .exception = "SystemExit",
				     .native_tid = 4712 };
	alert = sample_call(ALERT_ASYNC_EXCEPTION, &called);
	assert_message(alert, "web[4700]: SystemExit for TID 4712: no ident");
	assert_detail(
		alert,
		"mistake: the call takes threading.get_ident(), not a native thread id: nothing\n"
		"        happens");
	called.native_tid = 0;
	assert_message(alert, "web[4700]: SystemExit for no thread");
	assert_detail(alert, "0x1268 is no thread of this process");
	called.named = NAMED_ENDED;
	assert_message(alert, "web[4700]: SystemExit for an ended thread");
	called.named = NAMED_UNREADABLE;
	called.state = ASYNC_UNKNOWN;
	assert_detail(alert, "0x1268 could not be read: which thread that is is not known");
	json_decref(json_of(alert));

	alert = sample_call(ALERT_THREAD_CANCEL, &called);
	called.named = NAMED_NO_THREAD;
	assert_message(alert, "web[4700] http-2[4713] cancels no thread");
	called.named = NAMED_THREAD;
	alert.thread = http;
	assert_message(alert, "web[4700] http-2[4713] cancels itself");

	alert = sample_killed(EXIT_SECCOMP, NULL);
	assert_message(alert, "web[4700] worker-3[4712] killed by seccomp");
	alert.locks_found = 0;
	assert_detail(alert, "no lock found so far that it held");
	alert = sample_orphan();
	alert.cause = &cause;
	assert_detail(alert, "by: http-2 (tid 4713) cancelled it 12 ms earlier");
	cause.certain = false;
	assert_detail(alert, "before: http-2 (tid 4713) cancelled it 12 ms earlier");
}

static void test_incident(void **state)
{
	struct incident_info info = hanging;
	struct alert alert = sample_incident(&info, &cancelled);
	struct cause_info none = { .kind = CAUSE_NONE };
	struct waiter_info waiters[] = { http_waits, http_waits };

	(void)state;
	assert_text(
		alert,
		"13:03:11.482 CRITICAL incident web[4700]: 12 hang behind dead worker-3[4712]\n"
		"  cause: pthread_cancel from http-2 (tid 4713), 12 ms before: that ended it\n"
		"  died: worker-3 (tid 4712): it was cancelled with pthread_cancel\n"
		"  lock 0x55d0c2f050e0: normal mutex, proof waiter, /usr/bin/web+0x40e0\n"
		"        (queue_lock)\n"
		"  stuck: http-2 (tid 4713) waits for ever, for 2.1 s already\n"
		"  and 11 more stuck threads\n"
		"  web runs in unit web.service\n"
		"  incident 9c1e47d20ab35f68:i1, revision 2\n"
		"  hint: only a restart frees what is stuck; cancelled while it held it: use a\n"
		"        stop flag, or a cleanup handler that unlocks\n");
	waiters[1].behind = http;
	waiters[1].thread = worker;
	alert.waiters = waiters;
	alert.n_waiters = 2;
	assert_detail(alert, "stuck: worker-3 (tid 4712) waits for http-2 (tid 4713), for 2.1 s "
			     "already");
	waiters[1].behind_process = (struct process_name){ .pid = 5000, .comm = "db" };
	assert_detail(alert, "stuck: worker-3 (tid 4712) waits for http-2 (tid 4713) of db (pid "
			     "5000), for");
	info.state = INCIDENT_CLOSED;
	info.close_reason = CLEARED_EXEC;
	assert_detail(alert, "over: the process became another program");
	alert = sample_incident(&info, NULL);
	assert_detail(alert, "cause: not known");
	alert = sample_incident(&info, &none);
	assert_detail(alert, "cause: no signal, cancel or exception was seen before its end");
	info.dead_count = 9;
	info.locks_count = 3;
	assert_detail(alert, "and 8 more dead threads");
	assert_detail(alert, "and 2 more locks");
}

static void test_incident_of_a_signal(void **state)
{
	struct incident_info info = hanging;
	struct cause_info cause = { .kind = CAUSE_TID_KILL,
				    .sender_process = bash,
				    .sender_thread = bash_main,
				    .certain = true,
				    .signal = { .number = 15, .call = CALL_KILL } };
	struct alert alert = sample_incident(&info, &cause);

	(void)state;
	info.killed = true;
	info.victims_count = info.locks_count = alert.n_locks = alert.n_waiters = 0;
	info.dead[0].exit = (struct exit_info){ .reason = EXIT_PROCESS_KILLED, .signal = 15 };
	assert_text(
		alert,
		"13:03:11.482 CRITICAL incident SIGTERM at thread 4712 ended all of web[4700]\n"
		"  cause: SIGTERM by kill from main thread (tid 4100) of bash (pid 4100, uid 0):\n"
		"        that ended it\n"
		"  died: worker-3 (tid 4712): its process was killed with SIGTERM\n"
		"  web runs in unit web.service\n"
		"  incident 9c1e47d20ab35f68:i1, revision 2\n"
		"  hint: no signal ends one thread: let it read a stop flag (deadhold explain\n"
		"        tid-kill)\n");
	info.state = INCIDENT_CLOSED;
	info.close_reason = CLEARED_GONE;
	assert_detail(alert, "over: the process is gone; its end was not seen");
	info.killed = false;
	assert_detail(alert, "over: the lock is gone");
}

static void test_json_of_incidents(void **state)
{
	struct incident_info info = hanging;
	struct cause_info none = { .kind = CAUSE_NONE };
	struct alert alert = sample_incident(&info, &cancelled);
	struct waiter_info http_waits_behind = http_waits;
	struct thread_info owner;
	json_t *json = json_of(alert);

	(void)state;
	assert_own_members(json,
			   "incident_id revision state headline process cause dead dead_count "
			   "locks locks_count victims chain hint");
	assert_json_string(json, "state", "updated");
	assert_json_string(json, "headline", "web[4700]: 12 hang behind dead worker-3[4712]");
	assert_json_string(json, "message", "web[4700]: 12 hang behind dead worker-3[4712]");
	assert_json_number(json, "victims.count", 12);
	assert_int_equal(json_array_size(member(json, "victims.sample")), 1);
	assert_int_equal(json_array_size(member(json, "dead")), 1);
	assert_string_equal(json_string_value(json_array_get(member(json, "chain"), 1)),
			    "9c1e47d20ab35f68:5");
	json_decref(json);
	info.state = INCIDENT_CLOSED;
	info.close_reason = CLEARED_RECOVERED;
	json = json_of(alert);
	assert_json_string(json, "close_reason", "recovered");
	assert_json_string(json, "message", "over: web[4700]: 12 hang behind dead worker-3[4712]");
	json_decref(json);
	info.victims_count = 0;
	info.dead_count = info.locks_count = 2;
	json = json_of(alert);
	assert_json_string(json, "headline", "web[4700]: 2 threads ended with 2 locks");
	json_decref(json);
	info.victims_count = info.dead_count = 1;
	owner = alert.thread;
	alert.thread = (struct thread_info){ 0 };
	json = json_of(alert);
	assert_json_string(json, "headline", "web[4700]: 1 hangs behind a dead thread");
	json_decref(json);
	alert.thread = owner;
	info.victims_count = 12;
	info.locks_count = 1;
	http_waits_behind.behind_process = (struct process_name){ .pid = 5000, .comm = "db" };
	alert.waiters = &http_waits_behind;
	json = json_of(alert);
	assert_json_number(json_array_get(member(json, "victims.sample"), 0), "behind_process.pid",
			   5000);
	assert_json_string(json_array_get(member(json, "victims.sample"), 0), "behind_process.comm",
			   "db");
	json_decref(json);
	json = json_of(sample_incident(&info, &none));
	assert_json_string(json, "cause.kind", "none");
	assert_null(member(json, "cause.certain"));
	json_decref(json);
	json = json_of(sample_incident(&info, NULL));
	assert_null(member(json, "cause"));
	json_decref(json);
}

static void test_merged(void **state)
{
	struct alert alert = sample_signal(10, false);
	json_t *json;

	(void)state;
	alert.merged = (struct merged_info){ .count = 998,
					     .first_ns = TIME_NS - 997 * NS_PER_MS,
					     .several_threads = true };
	assert_detail(alert,
		      "merged: 998 of these in 997 ms, of several threads: this is the first one");
	json = json_of(alert);
	assert_json_number(json, "merged.count", 998);
	assert_true(json_is_true(member(json, "merged.several_threads")));
	assert_non_null(strstr(json_string_value(member(json, "message")), " (998 times)"));
	json_decref(json);
	alert.merged = (struct merged_info){ 0 };
	json = json_of(alert);
	assert_null(member(json, "merged"));
	json_decref(json);
}

static void test_json_of_calls(void **state)
{
	struct call_info called = called_alive;
	json_t *json = json_of(sample_call(ALERT_THREAD_CANCEL, &called));

	(void)state;
	assert_own_members(json, "sender process thread ident named hint");
	assert_json_string(json, "ident", "0x7f21d8a006c0");
	assert_json_string(json, "named", "thread");
	assert_json_number(json, "sender.thread.tid", 4713);
	json_decref(json);

	json = json_of(sample_call(ALERT_ASYNC_EXCEPTION, &called));
	assert_own_members(json,
			   "sender process thread ident named exception state blocked_in hint");
	assert_json_string(json, "state", "pending");
	assert_json_string(json, "exception", "SystemExit");
	assert_json_string(json, "blocked_in.call", "recvfrom");
	assert_json_number(json, "blocked_in.number", 45);
	json_decref(json);

	called.state = ASYNC_ENDED;
	json = json_of(sample_call(ALERT_ASYNC_EXCEPTION, &called));
	assert_own_members(json,
			   "sender process thread ident named exception state exit before_ms");
	assert_json_number(json, "before_ms", 246);
	json_decref(json);

	called = (struct call_info){ .ident = 4712,
				     .named = NAMED_NO_THREAD,
				     .state = ASYNC_NO_THREAD,
				     .native_tid = 4712,
				     .blocked_in = -1 };
	json = json_of(sample_call(ALERT_ASYNC_EXCEPTION, &called));
	assert_own_members(json, "sender process ident named native_tid state hint");
	assert_json_string(json, "named", "no-thread");
	json_decref(json);

	json = json_of(sample_killed(EXIT_CANCEL, &cancelled));
	assert_own_members(json, "process thread exit cause locks_found hint");
	assert_json_string(json, "cause.kind", "thread-cancel");
	assert_json_string(json, "cause.id", "9c1e47d20ab35f68:17");
	assert_json_number(json, "cause.before_ms", 12);
	assert_true(json_is_true(member(json, "cause.certain")));
	assert_json_number(json, "locks_found", 1);
	json_decref(json);

	json = json_of(sample_killed(EXIT_RETURN, &threw));
	assert_json_string(json, "cause.exception", "SystemExit");
	assert_null(member(json, "cause.id"));
	assert_true(json_is_false(member(json, "cause.certain")));
	json_decref(json);
	json_decref(json_of(sample_killed(EXIT_SECCOMP, NULL)));
}

static void test_first_lines_fit(void **state)
{
	struct alert alerts[] = {
		sample_ready(),
		sample_orphan(),
		sample_wait(),
		sample_cleared(CLEARED_FOREIGN_UNLOCK),
		sample_cleared(CLEARED_RECOVERED),
		sample_cleared(CLEARED_PROCESS_EXIT),
		sample_cleared(CLEARED_EXEC),
		sample_cleared(CLEARED_GONE),
		sample_signal(SIGTERM, true),
		sample_signal(SIGUSR1, false),
		sample_kill(SIGTERM, true),
		sample_kill(SIGUSR1, false),
		sample_call(ALERT_THREAD_CANCEL, &called_alive),
		sample_call(ALERT_ASYNC_EXCEPTION, &called_alive),
		sample_killed(EXIT_CANCEL, &cancelled),
		sample_killed(EXIT_SECCOMP, NULL),
		sample_noise(),
		sample_loss(),
		sample_summary(),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(alerts); i++) {
		char *text = text_of(&alerts[i]), *rest = text, *line;

		while ((line = strsep(&rest, "\n")))
			if (strlen(line) > 80)
				fail_msg("%zu columns: %s", strlen(line), line);
		free(text);
	}
}

/* --- text: the words for each situation --- */

static void test_who(void **state)
{
	struct alert alert = sample_orphan();

	(void)state;
	alert.thread.tid = 4700;
	assert_message(alert, "web[4700] main thread died holding 1 lock");
	assert_detail(
		alert,
		"dead owner main thread (tid 4700, 4712 in its namespace): its thread function\n"
		"        returned");

	alert.thread = (struct thread_info){ .tid = 4712, .name = "web" };
	assert_message(alert, "web[4700] thread 4712 died holding 1 lock");

	alert.thread = (struct thread_info){ .ns_tid = 7 };
	assert_message(alert, "web[4700] namespace thread 7 died holding 1 lock");
	assert_detail(alert,
		      "dead owner thread (tid 7 in its namespace): its thread function returned");

	alert.thread = (struct thread_info){ 0 };
	alert.exit = (struct exit_info){ .reason = EXIT_UNKNOWN };
	assert_message(alert, "web[4700] some thread died holding 1 lock");
	assert_detail(alert, "dead owner unknown: how it ended is not known");

	alert.process = (struct process_info){ .pid = 4700, .uid = -1 };
	assert_message(alert, "process 4700 some thread died holding 1 lock");
	alert.process = (struct process_info){ .uid = -1 };
	assert_message(alert, "unknown process some thread died holding 1 lock");
}

static void test_how_it_died(void **state)
{
	struct alert alert = sample_orphan();

	(void)state;
	alert.exit = (struct exit_info){ .reason = EXIT_CANCEL,
					 .time_ns = TIME_NS - 12 * NS_PER_MS };
	assert_detail(alert,
		      "dead owner worker-3 (tid 4712): it was cancelled with pthread_cancel,\n"
		      "        12 ms ago");
	alert.exit = (struct exit_info){ .reason = EXIT_SECCOMP, .signal = SIGSYS };
	assert_detail(alert,
		      "dead owner worker-3 (tid 4712): seccomp killed this one thread with SIGSYS");
	alert.exit = (struct exit_info){ .reason = EXIT_PROCESS_KILLED,
					 .signal = SIGKILL,
					 .time_ns = TIME_NS - 90 * NS_PER_S };
	assert_detail(alert,
		      "dead owner worker-3 (tid 4712): its process was killed with SIGKILL,\n"
		      "        90.0 s ago");
	alert.exit = (struct exit_info){ .reason = EXIT_PROCESS_EXIT, .has_code = true, .code = 3 };
	assert_detail(alert, "dead owner worker-3 (tid 4712): its process exited, exit code 3");
	alert.exit = (struct exit_info){ .reason = EXIT_RAW, .has_code = true };
	assert_detail(alert,
		      "dead owner worker-3 (tid 4712): it called the exit system call, not libc's");
	alert.exit = (struct exit_info){ .reason = EXIT_EXEC, .time_ns = TIME_NS + NS_PER_S };
	assert_detail(alert, "dead owner worker-3 (tid 4712): its process called exec");
	alert.exit = (struct exit_info){ .reason = EXIT_UNKNOWN };
	assert_detail(alert, "dead owner worker-3 (tid 4712): how it ended is not known");
}

static void test_fork(void **state)
{
	struct alert alert = sample_orphan();

	(void)state;
	alert.exit = (struct exit_info){ .reason = EXIT_FORK };
	assert_message(alert, "web[4700] inherited 1 held lock over fork");
	assert_detail(
		alert,
		"fork: inherited locked from the parent; nobody in this process holds it, so\n"
		"        nobody can unlock it");
	assert_detail(alert, "owner in the parent worker-3 (tid 4712)");
	assert_no_detail(alert, "dead owner");

	alert = sample_wait();
	alert.exit = (struct exit_info){ .reason = EXIT_FORK };
	alert.owner = (struct thread_info){ 0 };
	assert_message(alert, "web[4700] http-2[4713] hangs: lock held at fork");
	assert_no_detail(alert, "owner");
	assert_no_detail(alert, "died");
}

static void test_owner_of_another_process(void **state)
{
	struct alert alert = sample_wait();

	(void)state;
	alert.owner_process = (struct process_info){ .pid = 4800, .comm = "batch", .uid = -1 };
	alert.exit = (struct exit_info){ .reason = EXIT_PROCESS_KILLED, .signal = 9 };
	assert_detail(alert,
		      "dead owner worker-3 (tid 4712) of batch (pid 4800): its process was killed\n"
		      "        with SIGKILL");
}

static void test_waits(void **state)
{
	struct alert alert = sample_wait();

	(void)state;
	alert.severity = SEVERITY_WARNING;
	alert.wait.has_timeout = true;
	alert.wait.timeout_ns = 5 * NS_PER_S;
	assert_message(alert, "web[4700] http-2[4713] waits: lock owner died");
	assert_detail(alert, "waiting http-2 (tid 4713): gives up after 5.0 s, for 2.1 s already");
	json_decref(json_of(alert));
	alert.wait.timeout_ns = 7300 * NS_PER_S;
	assert_detail(alert, "waiting http-2 (tid 4713): gives up after 2 h, for 2.1 s already");

	alert = sample_wait();
	alert.wait.since_ns = 0;
	assert_detail(alert,
		      "stuck http-2 (tid 4713): waits for ever, since before it was watched");
	alert.wait.since_ns = TIME_NS - 130 * NS_PER_S;
	assert_detail(alert, "stuck http-2 (tid 4713): waits for ever, for 2 min already");
	alert.wait.since_ns = TIME_NS - 1500;
	assert_detail(alert, "stuck http-2 (tid 4713): waits for ever, for 1 us already");
}

static void test_robust(void **state)
{
	struct lock_info locks[] = { queue_lock, queue_lock };
	struct alert alert = sample_orphan();

	(void)state;
	locks[0].type = LOCK_ROBUST_MUTEX;
	locks[0].robust = true;
	locks[0].shared = true;
	locks[0].proof = PROOF_ROBUST_LIST;
	locks[0].symbol[0] = '\0';
	locks[1].kind = LOCK_RECURSIVE;
	locks[1].recursion = 3;
	alert.locks = locks;
	alert.severity = SEVERITY_WARNING;
	assert_detail(alert, "lock 0x55d0c2f050e0: shared robust normal mutex, proof robust-list,\n"
			     "        /usr/bin/web+0x40e0");
	assert_detail(alert, "robust: the next thread that locks it is told and can recover it");
	assert_detail(alert,
		      "waiting http-2 (tid 4713): waits without a timeout, for 2.1 s already");

	alert.n_locks = 2;
	assert_message(alert, "web[4700] worker-3[4712] died holding 2 locks");
	assert_detail(alert, "lock 0x55d0c2f050e0: recursive mutex, held 3 times, proof waiter,\n"
			     "        /usr/bin/web+0x40e0 (queue_lock)");
}

/* Of several locks each waiter's line says which: what one of them is says nothing of the others. */
static void test_stuck_on_which(void **state)
{
	struct lock_info locks[] = { queue_lock, queue_lock };
	struct waiter_info waiters[] = { http_waits, http_waits };
	struct alert alert = sample_orphan();

	(void)state;
	locks[1].address = 0x1000;
	locks[1].robust = true;
	waiters[1].thread.tid = waiters[1].thread.ns_tid = 4714;
	waiters[1].lock = 1;
	alert.locks = locks;
	alert.waiters = waiters;
	alert.n_waiters = 2;
	assert_detail(alert, "stuck http-2 (tid 4713): waits for ever, for 2.1 s already");

	alert.n_locks = 2;
	assert_detail(alert,
		      "stuck http-2 (tid 4713) on lock 0x55d0c2f050e0: waits for ever, for 2.1 s\n"
		      "        already");
	assert_detail(
		alert,
		"waiting http-2 (tid 4714) on lock 0x1000: waits without a timeout, for 2.1 s\n"
		"        already");
	locks[0].address = 0;
	assert_detail(alert, "stuck http-2 (tid 4713): waits for ever, for 2.1 s already");
}

static void test_many_locks(void **state)
{
	static struct lock_info locks[3 * TEXT_LOCKS];
	struct waiter_info waiter = http_waits;
	struct alert alert = sample_orphan();
	struct census_info census = { .bytes.scanned = 4096 };
	json_t *json;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
		locks[i] = alert.locks[0];
		locks[i].address = 0x55d0c2f05000 + 0x10 * i;
	}
	alert.locks = locks;
	alert.waiters = &waiter;
	alert.n_waiters = 1;
	alert.n_locks = TEXT_LOCKS;
	assert_detail(alert,
		      "lock 0x55d0c2f050f0: normal mutex, proof waiter, /usr/bin/web+0x40f0\n"
		      "        (queue_lock)");
	assert_no_detail(alert, "more lock");
	alert.n_locks++;
	assert_no_detail(alert, "lock 0x55d0c2f05100:");
	assert_detail(alert, "and 1 more lock: --json lists all");

	/* The one that somebody waits for is among those that are listed. */
	alert.n_locks = ARRAY_SIZE(locks);
	waiter.lock = ARRAY_SIZE(locks) - 1;
	assert_detail(alert,
		      "lock 0x55d0c2f052f0: normal mutex, proof waiter, /usr/bin/web+0x42f0\n"
		      "        (queue_lock)");
	assert_no_detail(alert, "lock 0x55d0c2f05100:");
	assert_detail(alert, "and 31 more locks: --json lists all");

	json = json_of(alert);
	assert_null(member(json, "locks_more"));
	json_decref(json);
	alert.locks_more = 1000;
	json = json_of(alert);
	assert_json_number(json, "locks_more", 1000);
	assert_json_string(json, "message", "web[4700] worker-3[4712] died holding 1048 locks");
	json_decref(json);
	assert_detail(alert, "and 31 more locks: --json lists them");
	assert_detail(alert, "and 1000 more locks that are not listed");

	/* The search ended before all had been looked at. */
	alert.locks_more = 0;
	alert.census = &census;
	json = json_of(alert);
	assert_json_string(json, "message", "web[4700] worker-3[4712] died holding 48 locks");
	json_decref(json);
	census.error = E2BIG;
	json = json_of(alert);
	assert_json_string(json, "message",
			   "web[4700] worker-3[4712] died holding at least 48 locks");
	json_decref(json);
	alert.kind = ALERT_LOCK_SUSPECTED;
	alert.severity = SEVERITY_WARNING;
	locks[0].evidence = EVIDENCE_FIELDS;
	json = json_of(alert);
	assert_json_string(json, "message", "web[4700] worker-3[4712] may hold at least 48 locks");
	json_decref(json);
}

static void test_many_waiters(void **state)
{
	struct waiter_info waiters[300];
	struct alert alert = sample_orphan();
	char last[128];
	json_t *json;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
		waiters[i] = http_waits;
		waiters[i].thread.tid = waiters[i].thread.ns_tid = 5000 + (int)i;
	}
	alert.waiters = waiters;
	alert.n_waiters = TEXT_WAITERS;
	assert_no_detail(alert, "more waiter");
	snprintf(last, sizeof(last), "stuck http-2 (tid %d): waits for ever, for 2.1 s already",
		 4999 + TEXT_WAITERS);
	assert_detail(alert, last);
	alert.n_waiters++;
	assert_detail(alert, last);
	assert_detail(alert, "and 1 more waiter: --json lists all");
	alert.n_waiters = ARRAY_SIZE(waiters);
	assert_detail(alert, "and 292 more waiters: --json lists all");
	snprintf(last, sizeof(last), "(tid %d)", 5000 + TEXT_WAITERS);
	assert_no_detail(alert, last);

	json = json_of(alert);
	assert_int_equal(json_array_size(member(json, "waiters")), ARRAY_SIZE(waiters));
	json_decref(json);
}

static void test_where_the_lock_is(void **state)
{
	struct lock_info lock = queue_lock;
	struct alert alert = sample_orphan();

	(void)state;
	alert.locks = &lock;
	strcpy(lock.map_path, "[heap]");
	lock.symbol[0] = '\0';
	assert_detail(alert, "lock 0x55d0c2f050e0: normal mutex, proof waiter, in [heap]");
	lock.map_path[0] = '\0';
	assert_detail(alert, "lock 0x55d0c2f050e0: normal mutex, proof waiter");
	strcpy(lock.symbol, "pool+0x40");
	assert_detail(alert, "lock 0x55d0c2f050e0: normal mutex, proof waiter, pool+0x40");

	lock = (struct lock_info){ .type = LOCK_PI_MUTEX, .proof = PROOF_WAITER };
	assert_detail(alert,
		      "lock at an unknown address: priority-inheritance mutex, proof waiter");
	lock = (struct lock_info){ .address = 0x1000,
				   .type = LOCK_RWLOCK,
				   .proof = PROOF_OWNER_WORD };
	assert_detail(alert, "lock 0x1000: rwlock, held for writing, proof owner-word");
	lock.type = LOCK_FUTEX;
	lock.proof = PROOF_OWNER_DIED;
	assert_detail(alert, "lock 0x1000: lock of unknown make, proof owner-died");
}

static void test_waiter_of_another_process(void **state)
{
	struct waiter_info waiter = http_waits;
	struct alert alert = sample_orphan();

	(void)state;
	alert.waiters = &waiter;
	waiter.process = bash;
	assert_detail(
		alert,
		"stuck http-2 (tid 4713) of bash (pid 4100, uid 0): waits for ever, for 2.1 s\n"
		"        already");
	waiter.process = web;
	assert_detail(alert, "stuck http-2 (tid 4713): waits for ever, for 2.1 s already");
}

static void test_cleared(void **state)
{
	static const char *const messages[CLEARED_HOWS] = {
		[CLEARED_FOREIGN_UNLOCK] = "web[4700] lock 0x55d0c2f050e0 is free again",
		[CLEARED_RECOVERED] = "web[4700] lock 0x55d0c2f050e0 was recovered",
		[CLEARED_PROCESS_EXIT] = "web[4700] lock 0x55d0c2f050e0 is gone: exit",
		[CLEARED_EXEC] = "web[4700] lock 0x55d0c2f050e0 is gone: exec",
		[CLEARED_GONE] = "web[4700] lock 0x55d0c2f050e0 is gone",
	};

	(void)state;
	for (int how = 0; how < CLEARED_HOWS; how++) {
		json_t *json = json_of(sample_cleared(how));

		assert_message(sample_cleared(how), messages[how]);
		assert_json_string(json, "how", cleared_how_name(how));
		json_decref(json);
	}
}

static void test_senders(void **state)
{
	struct alert alert = sample_signal(SIGUSR1, false);

	(void)state;
	assert_message(alert, "bash[4100]: SIGUSR1 to thread 4712 of web[4700]");
	alert.sender_process = web;
	alert.sender_thread = http;
	assert_message(alert, "web[4700]: SIGUSR1 to its own thread 4712");
	assert_detail(alert, "sender http-2 (tid 4713) of web (pid 4700, user www)");

	alert.sender_process = (struct process_info){ .uid = -1 };
	alert.sender_thread = (struct thread_info){ 0 };
	alert.signal.call = CALL_TIMER;
	assert_message(alert, "a timer: SIGUSR1 to thread 4712 of web[4700]");
	assert_no_detail(alert, "sender");
	alert.signal.call = CALL_KERNEL;
	assert_message(alert, "the kernel: SIGUSR1 to thread 4712 of web[4700]");
	alert.signal.call = CALL_UNKNOWN;
	assert_message(alert, "unknown sender: SIGUSR1 to thread 4712 of web[4700]");
}

static void test_results(void **state)
{
	struct alert alert = sample_signal(SIGTERM, false);
	json_t *json;

	(void)state;
	alert.signal.result = RESULT_IGNORED;
	assert_detail(
		alert,
		"signal 15 SIGTERM (termination request) by tgkill, SI_TKILL: ignored by the\n"
		"        target");
	alert.signal.result = RESULT_ALREADY_PENDING;
	assert_detail(
		alert,
		"signal 15 SIGTERM (termination request) by tgkill, SI_TKILL: already pending,\n"
		"        so dropped");

	alert.signal.result = RESULT_FAILED;
	alert.signal.error = EPERM;
	assert_message(alert, "SIGTERM failed: EPERM, thread 4712 of web[4700]");
	alert.signal.has_code = false;
	alert.signal.error = ESRCH;
	alert.process = (struct process_info){ .uid = -1 };
	assert_message(alert, "SIGTERM failed: ESRCH, thread 4712");
	assert_detail(
		alert,
		"signal 15 SIGTERM (termination request) by tgkill: failed with ESRCH, no such\n"
		"        thread or process");
	assert_detail(alert, "target worker-3 (tid 4712)");
	json = json_of(alert);
	assert_json_string(json, "signal.errno", "ESRCH");
	assert_null(member(json, "signal.fatal"));
	assert_null(member(json, "process"));
	json_decref(json);

	alert = sample_signal(0, false);
	alert.signal.result = RESULT_PROBED;
	alert.signal.has_code = false;
	assert_message(alert, "bash[4100]: probe of thread 4712 of web[4700]");
	json = json_of(alert);
	assert_json_string(json, "signal.name", "SIG0");
	assert_json_string(json, "signal.result", "probed");
	assert_null(member(json, "signal.fatal"));
	json_decref(json);
}

static void test_tid_kills(void **state)
{
	struct alert alert = sample_kill(SIGTERM, true);

	(void)state;
	assert_message(alert, "kill 4712: whole process web[4700] gets SIGTERM");
	assert_detail(alert,
		      "fatal: ends the whole process, unless it is blocked or handled first");
	alert.signal.call = CALL_RT_SIGQUEUEINFO;
	assert_message(alert, "sigqueue 4712: whole process web[4700] gets SIGTERM");

	alert = sample_kill(SIGTERM, false);
	alert.signal.result = RESULT_IGNORED;
	assert_message(alert, "kill 4712: whole process web[4700] ignores SIGTERM");
	alert.signal.result = RESULT_FAILED;
	alert.signal.error = EPERM;
	assert_message(alert, "kill 4712 with SIGTERM failed: EPERM");
	assert_no_detail(alert, "whole process");
	json_decref(json_of(alert));
	alert.signal.result = RESULT_PROBED;
	alert.signal.number = 0;
	assert_message(alert, "kill 4712 probed: it is a thread of web[4700]");
	assert_no_detail(alert, "whole process");
	json_decref(json_of(alert));
}

static void test_stop(void **state)
{
	struct alert alert = sample_signal(SIGSTOP, false);

	(void)state;
	assert_detail(alert, "stops the whole process until SIGCONT");
	alert.signal.call = CALL_KERNEL;
	alert.signal.code = SI_KERNEL;
	assert_detail(alert, "as when a debugger attaches (ptrace): then only this thread stops");
	assert_no_detail(alert, "whole process");
}

static void test_missing(void **state)
{
	struct alert alert = sample_orphan();
	json_t *json;

	(void)state;
	alert.missing = "mapping: no answer within 200 ms";
	assert_detail(alert, "missing: mapping: no answer within 200 ms");
	json = json_of(alert);
	assert_json_string(json, "missing", "mapping: no answer within 200 ms");
	json_decref(json);
}

static void test_command_lines_only_when_asked(void **state)
{
	struct run showing = run;
	struct alert alert = sample_orphan();
	size_t len;
	char *text;
	json_t *json;

	(void)state;
	assert_no_detail(alert, "secret");
	json = json_of(alert);
	assert_null(member(json, "process.cmdline"));
	json_decref(json);

	showing.cmdline = true;
	text = alert_text(&alert, &showing, &len);
	assert_non_null(strstr(text, "\n  web was started as web --token secret\n"));
	free(text);
	json = json_with(&alert, &showing);
	assert_json_string(json, "process.cmdline", "web --token secret");
	json_decref(json);
}

static void test_container(void **state)
{
	struct alert alert = sample_orphan();
	json_t *json;

	(void)state;
	strcpy(alert.process.container_id, "0123456789abcdef0123456789abcdef");
	assert_detail(alert, "web runs in container 0123456789ab");
	json = json_of(alert);
	assert_json_string(json, "process.container_id", "0123456789abcdef0123456789abcdef");
	json_decref(json);
}

/* --- what the census found --- */

static struct alert sample_suspected(void)
{
	static const struct census_info census = { .seconds = 0.0123,
						   .bytes.scanned = 1080000000,
						   .bytes.shared = 4096,
						   .bytes.left = 5000000,
						   .strangers = 3,
						   .error = E2BIG };
	static struct lock_info lock;
	struct alert alert = sample_orphan();

	lock = alert.locks[0];
	lock.proof = PROOF_SHAPE;
	lock.evidence = EVIDENCE_FIELDS | EVIDENCE_DATA;
	alert.kind = ALERT_LOCK_SUSPECTED;
	alert.severity = SEVERITY_WARNING;
	alert.locks = &lock;
	alert.n_locks = 1;
	alert.n_waiters = 0;
	alert.census = &census;
	return alert;
}

static void test_deep(void **state)
{
	struct lock_info lock = queue_lock;
	struct alert alert = sample_orphan();
	struct deep_info deep = {
		.pid = 4700, .probes = 41, .missing = { "sem_wait in /lib/\x1b" }, .n_missing = 1
	};
	json_t *json;

	(void)state;
	lock.type = LOCK_RWLOCK;
	lock.kind = LOCK_KIND_NONE;
	lock.proof = PROOF_PROBE;
	lock.read = true;
	lock.owner_tid = 0;
	lock.symbol[0] = lock.map_path[0] = '\0';
	lock.acquired.time_ns = alert.time_ns - 2500 * NS_PER_MS;
	alert.locks = &lock;
	assert_detail(alert, "lock 0x55d0c2f050e0: rwlock, held for reading, proof probe");
	assert_detail(alert, "  acquired at an unknown place, 2.5 s ago");
	json = json_of(alert);
	assert_json_string(json, "locks.0.mode", "read");
	assert_null(member(json, "locks.0.acquired.stack"));
	json_decref(json);

	lock.acquired.frame = (struct frame_info){ .address = 0x55d0c2f01234 };
	assert_detail(alert, "  acquired at 0x55d0c2f01234, 2.5 s ago");
	strcpy(lock.acquired.frame.module, "/usr/bin/web");
	lock.acquired.frame.has_offset = true;
	lock.acquired.frame.offset = 0x1234;
	assert_detail(alert, "  acquired at /usr/bin/web+0x1234, 2.5 s ago");
	strcpy(lock.acquired.frame.symbol, "take\x1b+0x1f");
	strcpy(lock.acquired.frame.build_id, "00ff");
	assert_detail(alert, "  acquired at take\\x1b+0x1f, /usr/bin/web+0x1234, 2.5 s ago");
	json = json_of(alert);
	assert_json_string(json, "locks.0.acquired.stack.0.address", "0x55d0c2f01234");
	assert_json_string(json, "locks.0.acquired.stack.0.symbol", "take\\x1b+0x1f");
	assert_json_string(json, "locks.0.acquired.stack.0.offset", "0x1234");
	assert_json_string(json, "locks.0.acquired.stack.0.build_id", "00ff");
	json_decref(json);

	alert = sample_ready();
	alert.deep = &deep;
	alert.n_deep = 1;
	assert_detail(alert, "deep: 41 probes in process 4700");
	assert_detail(alert, "  out of sight: sem_wait in /lib/\\x1b");
	json = json_of(alert);
	assert_json_number(json, "deep.0.pid", 4700);
	assert_json_number(json, "deep.0.probes", 41);
	assert_json_string(json, "deep.0.missing.0", "sem_wait in /lib/\\x1b");
	json_decref(json);
}

static void test_suspected(void **state)
{
	struct alert alert = sample_suspected();
	json_t *json = json_of(alert);

	(void)state;
	assert_detail(alert, "evidence: valid-fields, data-section");
	assert_detail(
		alert,
		"census: 1.1 GB of memory in 12 ms, not 5.0 MB shared, swapped out, refused or");
	assert_detail(
		alert,
		"beware: 3 places in this memory look like locks of threads that the process");
	assert_own_members(json,
			   "orphan_id process thread exit locks waiters census evidence hint");
	assert_json_string(json, "message", "web[4700] worker-3[4712] may hold at least 1 lock");
	assert_json_string(json, "census.scope", "part");
	assert_json_string(json, "census.errno", "E2BIG");
	assert_json_number(json, "census.scanned_bytes", 1080000000);
	assert_json_number(json, "census.strangers", 3);
	assert_int_equal(json_array_size(member(json, "evidence")), 2);
	json_decref(json);
}

static void test_inferred(void **state)
{
	struct alert alert = sample_suspected();
	struct lock_info lock = alert.locks[0];
	json_t *json;

	(void)state;
	lock.type = LOCK_FUTEX;
	lock.kind = LOCK_KIND_NONE;
	lock.libc = LIBC_UNKNOWN;
	lock.owner_tid = 0;
	lock.proof = PROOF_INFERRED;
	lock.evidence = EVIDENCE_GOT | EVIDENCE_NO_WAKE;
	alert.locks = &lock;
	alert.census = NULL;
	json = json_of(alert);
	assert_detail(
		alert,
		"by inference, for the lock names nobody: that thread got it after a wait, and");
	assert_detail(alert, "evidence: got-it, no-wake");
	assert_own_members(json, "orphan_id process thread exit locks waiters evidence hint");
	assert_int_equal(json_array_size(member(json, "evidence")), 2);
	assert_json_string(json, "locks.0.proof", "inferred");
	assert_json_string(json, "locks.0.type", "futex");
	json_decref(json);

	alert.waiters = &http_waits;
	alert.n_waiters = 1;
	lock.type = LOCK_PYTHON_LOCK;
	lock.evidence = EVIDENCE_GOT | EVIDENCE_NOT_WOKEN;
	json = json_of(alert);
	assert_detail(
		alert,
		"by inference, for the lock names nobody: that thread got it after a wait, and\n"
		"        nobody who waits for it was woken since");
	assert_detail(alert, "evidence: got-it, waiter-not-woken");
	/* For ever? Another thread may release it. */
	assert_detail(alert,
		      "waiting http-2 (tid 4713): waits without a timeout, for 2.1 s already");
	assert_json_string(json, "locks.0.type", "python-lock");
	assert_json_string(json, "evidence.1", "waiter-not-woken");
	json_decref(json);
}

/* --- JSON: each kind --- */

static void test_json_common(void **state)
{
	struct alert alert = sample_orphan();
	json_t *json = json_of(alert);
	char id[64];

	(void)state;
	snprintf(id, sizeof(id), "9c1e47d20ab35f68:%" JSON_INTEGER_FORMAT,
		 json_integer_value(member(json, "seq")));
	assert_json_string(json, "schema", "deadhold.alert/1");
	assert_json_string(json, "run", "9c1e47d20ab35f68");
	assert_json_string(json, "id", id);
	assert_json_string(json, "time", "2025-11-22T13:03:11.482311904Z");
	assert_json_string(json, "ktime_ns", "1931702311904");
	assert_json_string(json, "emitted", "2025-11-22T13:03:11.483311904Z");
	assert_json_string(json, "host", "db7");
	assert_json_string(json, "boot_id", BOOT_ID);
	assert_json_string(json, "kind", "lock-orphaned");
	assert_json_string(json, "severity", "critical");
	assert_json_string(json, "message", "web[4700] worker-3[4712] died holding 1 lock");
	json_decref(json);
}

static void test_json_lock_orphaned(void **state)
{
	json_t *json = json_of(sample_orphan());

	(void)state;
	assert_own_members(json, "orphan_id process thread exit locks waiters hint");
	assert_json_string(json, "orphan_id", "9c1e47d20ab35f68:o1");
	assert_json_string(json, "process.id", BOOT_ID ":4700:185520");
	assert_json_number(json, "process.pid", 4700);
	assert_json_string(json, "process.comm", "web");
	assert_json_string(json, "process.exe", "/usr/bin/web");
	assert_json_number(json, "process.uid", 1000);
	assert_json_string(json, "process.user", "www");
	assert_json_number(json, "process.ppid", 1);
	assert_json_string(json, "process.start_time", "2025-11-22T13:01:54.980000000Z");
	assert_json_string(json, "process.cgroup", "/system.slice/web.service");
	assert_json_string(json, "process.unit", "web.service");
	assert_json_number(json, "process.pid_ns", 4026531836);
	assert_json_number(json, "process.ns_pid", 4700);
	assert_json_number(json, "thread.tid", 4712);
	assert_json_string(json, "thread.name", "worker-3");
	assert_json_string(json, "thread.start_ticks", "185523");
	assert_json_number(json, "thread.ns_tid", 4712);
	assert_json_string(json, "exit.reason", "return");
	assert_json_string(json, "exit.time", "2025-11-22T13:03:11.481811904Z");
	assert_int_equal(json_object_size(member(json, "exit")), 2);
	assert_int_equal(json_array_size(member(json, "locks")), 1);
	assert_json_string(json, "locks.0.id", BOOT_ID ":4700:185520:0x55d0c2f050e0");
	assert_json_string(json, "locks.0.address", "0x55d0c2f050e0");
	assert_json_string(json, "locks.0.type", "mutex");
	assert_json_string(json, "locks.0.kind", "normal");
	assert_json_string(json, "locks.0.libc", "glibc");
	assert_true(json_is_false(member(json, "locks.0.shared")));
	assert_true(json_is_false(member(json, "locks.0.robust")));
	assert_null(member(json, "locks.0.recursion"));
	assert_json_number(json, "locks.0.owner_tid", 4712);
	assert_json_string(json, "locks.0.proof", "waiter");
	assert_json_string(json, "locks.0.mapping.path", "/usr/bin/web");
	assert_json_string(json, "locks.0.mapping.start", "0x55d0c2f04000");
	assert_json_string(json, "locks.0.mapping.offset", "0x40e0");
	assert_json_string(json, "locks.0.symbol", "queue_lock");
	assert_int_equal(json_array_size(member(json, "waiters")), 1);
	assert_null(member(json, "waiters.0.process"));
	assert_json_number(json, "waiters.0.thread.tid", 4713);
	assert_json_string(json, "waiters.0.wait.op", "FUTEX_WAIT");
	assert_json_string(json, "waiters.0.wait.since", "2025-11-22T13:03:09.377311904Z");
	assert_null(member(json, "waiters.0.wait.timeout_ns"));
	json_decref(json);
}

static void test_json_orphan_wait(void **state)
{
	struct alert alert = sample_wait();
	json_t *json;

	(void)state;
	alert.severity = SEVERITY_WARNING;
	alert.wait.has_timeout = true;
	alert.wait.timeout_ns = UINT64_MAX;
	json = json_of(alert);
	assert_own_members(json, "orphan_id process thread lock owner wait hint");
	assert_json_string(json, "thread.name", "http-2");
	assert_json_string(json, "owner.thread.name", "worker-3");
	assert_json_string(json, "owner.exit.reason", "return");
	assert_json_string(json, "lock.address", "0x55d0c2f050e0");
	assert_json_string(json, "wait.timeout_ns", "18446744073709551615");
	assert_null(json_object_get(json_object_get(json, "owner"), "process"));
	json_decref(json);

	/* A lock in shared memory, whose owner died with another process. */
	alert.owner_process = alert.process;
	alert.owner_process.pid = 4800;
	json = json_of(alert);
	assert_json_number(json, "owner.process.pid", 4800);
	assert_json_number(json, "process.pid", 4700);
	json_decref(json);
}

static void test_json_orphan_cleared(void **state)
{
	json_t *json = json_of(sample_cleared(CLEARED_RECOVERED));

	(void)state;
	assert_own_members(json, "orphan_id process thread lock how");
	assert_json_string(json, "how", "recovered");
	json_decref(json);
}

static void test_json_signal(void **state)
{
	json_t *json = json_of(sample_signal(SIGTERM, true));

	(void)state;
	assert_own_members(json, "signal sender process thread hint");
	assert_json_number(json, "signal.number", 15);
	assert_json_string(json, "signal.name", "SIGTERM");
	assert_json_string(json, "signal.meaning", "termination request");
	assert_json_string(json, "signal.scope", "thread");
	assert_json_string(json, "signal.call", "tgkill");
	assert_json_number(json, "signal.code", -6);
	assert_json_string(json, "signal.code_name", "SI_TKILL");
	assert_json_string(json, "signal.result", "queued");
	assert_null(member(json, "signal.errno"));
	assert_true(json_is_true(member(json, "signal.fatal")));
	assert_json_number(json, "sender.process.pid", 4100);
	assert_json_number(json, "sender.process.uid", 0);
	assert_json_number(json, "sender.thread.tid", 4100);
	assert_json_number(json, "process.pid", 4700);
	assert_json_number(json, "thread.tid", 4712);
	json_decref(json);

	json = json_of(sample_kill(SIGTERM, true));
	assert_own_members(json, "signal sender process thread hint");
	assert_json_string(json, "signal.scope", "process");
	assert_json_string(json, "signal.call", "kill");
	json_decref(json);
}

static void test_json_of_the_run(void **state)
{
	json_t *json = json_of(sample_ready());

	(void)state;
	assert_own_members(json, "version kernel hooks uprobes blocked_threads");
	assert_json_string(json, "uprobes.state", "on");
	assert_json_number(json, "uprobes.files", 5);
	assert_json_number(json, "uprobes.sites", 6);
	assert_json_string(json, "uprobes.new_files", "followed");
	assert_json_number(json, "uprobes.failed_files", 1);
	assert_json_string(json, "uprobes.failed.0.path", "/srv/odd");
	assert_json_string(json, "version", "0.1.0");
	assert_json_string(json, "kernel", "6.1.0-30-cloud-amd64");
	assert_json_string(json, "hooks.futex", "switch");
	assert_json_string(json, "hooks.failed-sends", "none: not asked for (-x)");
	assert_json_number(json, "blocked_threads", 212);
	json_decref(json);

	json = json_of(sample_noise());
	assert_own_members(json, "process signal count interval_s");
	assert_int_equal(json_object_size(member(json, "signal")), 3);
	assert_json_string(json, "signal.name", "SIGURG");
	assert_json_number(json, "count", 1843);
	assert_json_number(json, "interval_s", 60);
	json_decref(json);

	json = json_of(sample_loss());
	assert_own_members(json, "events where hint");
	assert_json_number(json, "events", 14);
	assert_json_number(json, "where.ring-buffer", 12);
	json_decref(json);

	json = json_of(sample_summary());
	assert_own_members(json, "counts losses figures run_time_s");
	assert_json_number(json, "counts.noise", 3);
	assert_json_number(json, "losses.reader-deadline", 2);
	assert_json_number(json, "figures.orphans_open", 0);
	assert_json_number(json, "figures.thread_exits", 5021);
	assert_json_string(json, "figures.futex", "switch");
	assert_json_number(json, "run_time_s", 151);
	json_decref(json);
}

/* --- JSON: what is unknown is absent --- */

static void test_absent(void **state)
{
	struct lock_info lock = { .type = LOCK_PI_MUTEX, .proof = PROOF_WAITER };
	struct alert alert = {
		.kind = ALERT_LOCK_ORPHANED,
		.severity = SEVERITY_WARNING,
		.time_ns = TIME_NS,
		.process = { .pid = 4700, .uid = -1 },
		.orphan_id = "x",
		.locks = &lock,
		.n_locks = 1,
	};
	json_t *json = json_of(alert);

	(void)state;
	assert_own_members(json, "orphan_id process exit locks waiters");
	assert_int_equal(json_object_size(member(json, "process")), 1);
	assert_json_number(json, "process.pid", 4700);
	assert_int_equal(json_object_size(member(json, "exit")), 1);
	assert_json_string(json, "exit.reason", "unknown");
	assert_int_equal(json_object_size(member(json, "locks.0")), 2);
	assert_int_equal(json_array_size(member(json, "waiters")), 0);
	json_decref(json);
}

static void test_absent_in_a_wait(void **state)
{
	struct alert alert = sample_wait();
	json_t *json;

	(void)state;
	alert.owner = (struct thread_info){ 0 };
	alert.wait.since_ns = 0;
	json = json_of(alert);
	assert_int_equal(json_object_size(member(json, "owner")), 1);
	assert_int_equal(json_object_size(member(json, "wait")), 1);
	json_decref(json);
}

static void test_absent_sender(void **state)
{
	struct alert alert = sample_signal(SIGALRM, false);
	json_t *json;

	(void)state;
	alert.sender_process = (struct process_info){ .uid = -1 };
	alert.sender_thread = (struct thread_info){ 0 };
	alert.signal.call = CALL_TIMER;
	alert.signal.code = SI_TIMER;
	json = json_of(alert);
	assert_own_members(json, "signal process thread");
	assert_json_string(json, "signal.code_name", "SI_TIMER");
	json_decref(json);

	alert.signal.call = CALL_UNKNOWN;
	alert.signal.code = -1000;
	json = json_of(alert);
	assert_null(member(json, "signal.call"));
	assert_null(member(json, "signal.code_name"));
	assert_json_number(json, "signal.code", -1000);
	json_decref(json);
}

static void test_absent_in_the_run(void **state)
{
	struct alert noise = sample_noise(), summary = sample_summary();
	json_t *json;

	(void)state;
	noise.process = (struct process_info){ .uid = -1 };
	noise.interval_s = 60.000271;
	assert_message(noise, "1843 SIGURG in 60 s: normal, folded");
	noise.interval_s = 3600.4;
	assert_message(noise, "1843 SIGURG in 3600 s: normal, folded");
	noise.interval_s = 1.52;
	assert_message(noise, "1843 SIGURG in 1.5 s: normal, folded");
	noise.interval_s = 9.99;
	assert_message(noise, "1843 SIGURG in 10 s: normal, folded");
	json = json_of(noise);
	assert_own_members(json, "signal count interval_s");
	json_decref(json);

	summary.n_losses = summary.n_figures = 0;
	summary.run_time_s = 1.5;
	assert_message(summary, "watched for 1.5 s: 6 alerts, 0 events lost");
	json = json_of(summary);
	assert_own_members(json, "counts losses run_time_s");
	assert_int_equal(json_object_size(member(json, "losses")), 0);
	json_decref(json);
}

static void test_identity(void **state)
{
	struct lock_info lock = queue_lock;
	struct alert alert = sample_orphan();
	json_t *json;

	(void)state;
	alert.locks = &lock;
	lock.shared = true;
	lock.device = 2049;
	lock.inode = 1234567;
	lock.object_offset = 64;
	json = json_of(alert);
	assert_json_string(json, "locks.0.id", "2049:1234567:64");
	assert_true(json_is_true(member(json, "locks.0.shared")));
	json_decref(json);

	lock.inode = 0;
	json = json_of(alert);
	assert_null(member(json, "locks.0.id"));
	json_decref(json);

	lock.shared = false;
	alert.process.start_ticks = 0;
	json = json_of(alert);
	assert_null(member(json, "process.id"));
	assert_null(member(json, "process.start_time"));
	assert_null(member(json, "locks.0.id"));
	json_decref(json);
}

static void test_mapping(void **state)
{
	struct lock_info lock = queue_lock;
	struct alert alert = sample_orphan();
	json_t *json;

	(void)state;
	alert.locks = &lock;
	strcpy(lock.map_path, "[heap]");
	json = json_of(alert);
	assert_json_string(json, "locks.0.mapping.path", "[heap]");
	assert_null(member(json, "locks.0.mapping.offset"));
	json_decref(json);

	lock.map_path[0] = '\0';
	json = json_of(alert);
	assert_int_equal(json_object_size(member(json, "locks.0.mapping")), 1);
	json_decref(json);

	lock.map_start = 0;
	json = json_of(alert);
	assert_null(member(json, "locks.0.mapping"));
	json_decref(json);
}

static void test_waiter_process(void **state)
{
	struct waiter_info waiter = http_waits;
	struct alert alert = sample_orphan();
	json_t *json;

	(void)state;
	alert.waiters = &waiter;
	waiter.process = bash;
	json = json_of(alert);
	assert_json_number(json, "waiters.0.process.pid", 4100);
	json_decref(json);
	waiter.process = web;
	json = json_of(alert);
	assert_null(member(json, "waiters.0.process"));
	json_decref(json);
}

/* --- hostile and odd values --- */

/* Nothing in the line may move the cursor, start a line or be no UTF-8. */
static void assert_harmless(const char *text)
{
	json_t *json = json_string(text); /* NULL for what is no UTF-8 */

	assert_non_null(json);
	json_decref(json);
	for (const char *byte = text; *byte; byte++)
		assert_true(*byte == '\n' || ((unsigned char)*byte >= 0x20 && *byte != 0x7f));
	assert_null(strstr(text, "\xc2\x9b"));
	assert_null(strstr(text, "\u202E"));
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static void test_hostile_strings(void **state)
{
	static const char *const hostile[] = {
		"\x1b[2J\x07",
		"\xff\xfe\xc0\xaf",
		"a\nCRITICAL b",
		"\u202Egnp.exe",
		"\"},{\"kind\":\"x\"",
		"\\x1b\\\\",
		"\xc2\x9b\x33m",
		"%s%n%p%d",
		"caf\xc3",
		"\x7f\x01\x02\x03",
		" two  spaces ",
		"\xed\xa0\x80\xf8",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		struct lock_info lock = queue_lock;
		struct alert alert = sample_orphan();
		struct run named = run;
		char *text;
		size_t len;

		alert.locks = &lock;
		alert.missing = hostile[i];
		named.cmdline = true;
		snprintf(alert.process.comm, sizeof(alert.process.comm), "%s", hostile[i]);
		snprintf(alert.process.exe, sizeof(alert.process.exe), "%s", hostile[i]);
		snprintf(alert.process.cgroup, sizeof(alert.process.cgroup), "%s", hostile[i]);
		snprintf(alert.process.unit, sizeof(alert.process.unit), "%s", hostile[i]);
		snprintf(alert.process.cmdline, sizeof(alert.process.cmdline), "%s", hostile[i]);
		snprintf(alert.thread.name, sizeof(alert.thread.name), "%s", hostile[i]);
		snprintf(lock.map_path, sizeof(lock.map_path), "/%s", hostile[i]);
		snprintf(lock.symbol, sizeof(lock.symbol), "%s", hostile[i]);
		snprintf(named.host, sizeof(named.host), "%s", hostile[i]);

		text = alert_text(&alert, &named, &len);
		assert_non_null(text);
		assert_harmless(text);
		/* message, owner, lock (perhaps broken), waiter, unit, command line, missing */
		assert_in_range(count_lines(text), 7, 11);
		free(text);
		json_decref(json_with(&alert, &named));
	}
}

static void test_hostile_name_exactly(void **state)
{
	struct alert alert = sample_orphan();
	json_t *json;

	(void)state;
	strcpy(alert.thread.name, "\x1b[31m\xffok\\");
	assert_message(alert, "web[4700] \\x1b[31m\\xffok\\\\[4712] died holding 1 lock");
	json = json_of(alert);
	assert_json_string(json, "thread.name", "\\x1b[31m\\xffok\\\\");
	assert_json_string(json, "message",
			   "web[4700] \\x1b[31m\\xffok\\\\[4712] died holding 1 lock");
	json_decref(json);
}

/* The longest of everything, all of it escaped: nothing is cut off in the message. */
static void test_longest(void **state)
{
	struct lock_info lock = queue_lock;
	struct alert alert = sample_orphan();
	char *text, *message, escaped[4 * NAME_BYTES + 1] = "";
	size_t len;

	(void)state;
	alert.locks = &lock;
	memset(alert.process.comm, 0xff, NAME_BYTES);
	memset(alert.thread.name, 0xff, NAME_BYTES);
	alert.thread.name[0] = 'a';
	memset(lock.map_path + 1, 0xff, PATH_BYTES - 2);
	memset(lock.symbol, 0xff, DETAIL_BYTES - 1);
	alert.process.pid = alert.thread.tid = INT32_MAX;
	alert.thread.tid--;
	for (int i = 0; i < NAME_BYTES; i++)
		strcat(escaped, "\\xff");
	message = alert_message(&alert);
	assert_memory_equal(message, escaped, strlen(escaped));
	assert_non_null(strstr(message, "[2147483646] died holding 1 lock"));
	free(message);
	text = alert_text(&alert, &run, &len);
	assert_non_null(strstr(text, "proof waiter,\n        /\\xff"));
	free(text);
	json_decref(json_of(alert));
}

static void test_large_counts(void **state)
{
	const struct pair huge = { "ring-buffer", UINT64_MAX, NULL };
	struct alert alert = sample_loss();
	json_t *json;

	(void)state;
	alert.counts = &huge;
	alert.n_counts = 1;
	json = json_of(alert);
	assert_int_equal(json_integer_value(member(json, "events")), INT64_MAX);
	json_decref(json);
}

static void test_odd_seconds(void **state)
{
	struct alert alert = sample_noise();
	size_t len;
	char *line;

	(void)state;
	alert.interval_s = NAN;
	line = alert_json(&alert, &run, 1, REALTIME_NS, &len);
	assert_non_null(line);
	assert_null(strstr(line, "interval_s"));
	free(line);
	alert.interval_s = 0.1;
	line = alert_json(&alert, &run, 1, REALTIME_NS, &len);
	assert_non_null(strstr(line, "\"interval_s\":0.1}"));
	free(line);
}

/* Whatever the kernel says about a signal, there is a line. */
static void test_every_signal(void **state)
{
	(void)state;
	for (int number = 0; number <= 64; number++) {
		for (int call = 0; call < SIGNAL_CALLS; call++) {
			struct alert alert = sample_signal(number, false);
			char *text;
			size_t len;

			alert.signal.call = call;
			alert.signal.libc = (enum lock_libc)(number % LIBCS);
			alert.signal.code = number - 20;
			alert.signal.result = call % RESULT_FAILED;
			text = alert_text(&alert, &run, &len);
			assert_non_null(text);
			assert_harmless(text);
			free(text);
			json_decref(json_of(alert));
		}
	}
}

static void test_no_such_kind(void **state)
{
	struct alert alert = { .kind = ALERT_KINDS };
	size_t len;
	char *message = alert_message(&alert);

	(void)state;
	assert_string_equal(message, "");
	free(message);
	assert_null(alert_text(&alert, &run, &len));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(alert_json(&alert, &run, 1, REALTIME_NS, &len));
	assert_int_equal(errno, EINVAL);
}

static void test_hangs(void **state)
{
	struct lock_info locks[] = { queue_lock, queue_lock };
	struct alert alert = sample_wait();

	(void)state;
	alert.locks = locks;
	assert_true(alert_hangs(&alert, &alert.wait));
	locks[0].type = LOCK_ROBUST_MUTEX;
	assert_true(lock_is_robust(&locks[0]));
	assert_false(alert_hangs(&alert, &alert.wait));
	alert.n_locks = 2;
	assert_true(alert_hangs(&alert, &alert.wait));
	alert.wait.has_timeout = true;
	assert_false(alert_hangs(&alert, &alert.wait));
	alert.wait.has_timeout = false;
	alert.n_locks = 0;
	assert_true(alert_hangs(&alert, &alert.wait));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kind_names),
		cmocka_unit_test(test_value_names),
		cmocka_unit_test(test_text_of_the_run),
		cmocka_unit_test(test_text_of_orphans),
		cmocka_unit_test(test_text_of_signals),
		cmocka_unit_test(test_text_of_calls),
		cmocka_unit_test(test_words_for_calls),
		cmocka_unit_test(test_json_of_calls),
		cmocka_unit_test(test_incident),
		cmocka_unit_test(test_incident_of_a_signal),
		cmocka_unit_test(test_json_of_incidents),
		cmocka_unit_test(test_merged),
		cmocka_unit_test(test_first_lines_fit),
		cmocka_unit_test(test_who),
		cmocka_unit_test(test_how_it_died),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_owner_of_another_process),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_robust),
		cmocka_unit_test(test_stuck_on_which),
		cmocka_unit_test(test_many_locks),
		cmocka_unit_test(test_many_waiters),
		cmocka_unit_test(test_where_the_lock_is),
		cmocka_unit_test(test_waiter_of_another_process),
		cmocka_unit_test(test_cleared),
		cmocka_unit_test(test_senders),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_tid_kills),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_command_lines_only_when_asked),
		cmocka_unit_test(test_container),
		cmocka_unit_test(test_suspected),
		cmocka_unit_test(test_inferred),
		cmocka_unit_test(test_json_common),
		cmocka_unit_test(test_json_lock_orphaned),
		cmocka_unit_test(test_json_orphan_wait),
		cmocka_unit_test(test_json_orphan_cleared),
		cmocka_unit_test(test_json_signal),
		cmocka_unit_test(test_json_of_the_run),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_absent_in_a_wait),
		cmocka_unit_test(test_absent_sender),
		cmocka_unit_test(test_absent_in_the_run),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test(test_waiter_process),
		cmocka_unit_test(test_hostile_strings),
		cmocka_unit_test(test_hostile_name_exactly),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_large_counts),
		cmocka_unit_test(test_odd_seconds),
		cmocka_unit_test(test_every_signal),
		cmocka_unit_test(test_no_such_kind),
		cmocka_unit_test(test_hangs),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
