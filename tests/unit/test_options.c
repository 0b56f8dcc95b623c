// SPDX-License-Identifier: GPL-2.0-only
/* Every option, what it sets, and what is said of wrong ones: one line each. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>

#include "options.h"

#define WORDS 80

static char said[2][16384]; /* on stdout and stderr by the last call */

/* stdout and stderr as files in memory, while something runs. */
struct capture {
	int saved[2], file[2];
};

static void capture_start(struct capture *capture)
{
	for (int i = 0; i < 2; i++) {
		fflush(i ? stderr : stdout);
		capture->saved[i] = dup(i + 1);
		capture->file[i] = memfd_create("said", 0);
		assert_true(capture->saved[i] >= 0 && capture->file[i] >= 0);
		dup2(capture->file[i], i + 1);
	}
}

static void capture_end(struct capture *capture)
{
	for (int i = 0; i < 2; i++) {
		ssize_t n;

		fflush(i ? stderr : stdout);
		dup2(capture->saved[i], i + 1);
		n = pread(capture->file[i], said[i], sizeof(said[i]) - 1, 0);
		assert_true(n >= 0);
		said[i][n] = 0;
		close(capture->saved[i]);
		close(capture->file[i]);
	}
}

/* The words live on: the options borrow from them. */
static int parse(struct options *options, const char *line)
{
	static char copy[4096];
	char *argv[WORDS + 2] = { (char *)"./build/deadhold" }, *rest = copy;
	struct capture capture;
	int argc = 1, err;

	assert_true(strlen(line) < sizeof(copy));
	strcpy(copy, line);
	while (rest && *rest && argc <= WORDS)
		argv[argc++] = strsep(&rest, " ");
	capture_start(&capture);
	err = options_parse(options, argc, argv);
	capture_end(&capture);
	return err;
}

static void parse_well(struct options *options, const char *line)
{
	assert_int_equal(parse(options, line), 0);
	assert_string_equal(said[0], "");
	assert_string_equal(said[1], "");
}

static void assert_one_line(const char *text)
{
	size_t len = strlen(text);

	assert_true(len > 10);
	assert_int_equal(strncmp(text, "deadhold: ", 10), 0);
	assert_ptr_equal(strchr(text, '\n'), text + len - 1);
}

static void defaults(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "");
	assert_int_equal(o.command, COMMAND_WATCH);
	assert_int_equal(o.output, OUTPUT_TEXT);
	assert_int_equal(o.futex_hook, FUTEX_AUTO);
	assert_int_equal(o.exit_hook, EXIT_AUTO);
	assert_int_equal(o.pids.n + o.tids.n + o.sender_pids.n, 0);
	assert_int_equal(o.cgroups.n + o.comms.n + o.not_comms.n, 0);
	assert_int_equal(o.signals | o.not_signals | o.kinds, 0);
	assert_false(o.failed || o.all_signals || o.cmdline || o.quiet || o.verbose);
	assert_true(o.noise_interval_s == 60);
	assert_true(o.duration_s == 0);
}

static void commands(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "watch");
	assert_int_equal(o.command, COMMAND_WATCH);
	parse_well(&o, "check");
	assert_int_equal(o.command, COMMAND_CHECK);
	parse_well(&o, "-p 1 watch -x");
	assert_int_equal(o.command, COMMAND_WATCH);
	assert_true(o.failed);
	parse_well(&o, "--json check -v");
	assert_int_equal(o.command, COMMAND_CHECK);
	parse_well(&o, "check -o json -q");
	parse_well(&o, "explain");
	assert_int_equal(o.command, COMMAND_EXPLAIN);
	assert_null(o.word);
	parse_well(&o, "explain watch --json");
	assert_int_equal(o.command, COMMAND_EXPLAIN);
	assert_string_equal(o.word, "watch");
	parse_well(&o, "-- watch");
	parse_well(&o, "inspect 12 -o dot 34");
	assert_int_equal(o.command, COMMAND_INSPECT);
	assert_int_equal(o.output, OUTPUT_DOT);
	assert_int_equal(o.pids.n, 2);
	assert_int_equal(o.pids.id[1], 34);
	parse_well(&o, "inspect --all --probe 2.5 --cmdline --json -q");
	assert_true(o.all && o.cmdline && o.probe_s == 2.5);
	/* With the traditional order of words, options may still follow the command. */
	setenv("POSIXLY_CORRECT", "1", 1);
	parse_well(&o, "watch -p 1");
	assert_int_equal(o.pids.n, 1);
	unsetenv("POSIXLY_CORRECT");
}

static void ids(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "-p 1 --pid 4194303 --pid=17 -t 2 --tid 3 -p18 --sender-pid 5");
	assert_int_equal(o.pids.n, 4);
	assert_int_equal(o.pids.id[0], 1);
	assert_int_equal(o.pids.id[1], 4194303);
	assert_int_equal(o.pids.id[2], 17);
	assert_int_equal(o.pids.id[3], 18);
	assert_int_equal(o.tids.n, 2);
	assert_int_equal(o.tids.id[1], 3);
	assert_int_equal(o.sender_pids.n, 1);
	assert_int_equal(o.sender_pids.id[0], 5);
}

static void words(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "-c /a --cgroup b --comm nginx* --comm fifteen-letters --not-comm x");
	assert_int_equal(o.cgroups.n, 2);
	assert_string_equal(o.cgroups.word[0], "/a");
	assert_string_equal(o.cgroups.word[1], "b");
	assert_int_equal(o.comms.n, 2);
	assert_string_equal(o.comms.word[0], "nginx*");
	assert_string_equal(o.comms.word[1], "fifteen-letters");
	assert_int_equal(o.not_comms.n, 1);
	parse_well(&o,
		   "--container 0123456789ab --container f --unit db --unit x.scope --no-limit");
	assert_int_equal(o.containers.n, 2);
	assert_string_equal(o.containers.word[1], "f");
	assert_int_equal(o.units.n, 2);
	assert_string_equal(o.units.word[0], "db");
	assert_true(o.no_limit);
}

static void signals(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "-s TERM,9 --signal SIGUSR1 --not-signal 64,1");
	assert_int_equal(o.signals, 1ull << 14 | 1ull << 8 | 1ull << 9);
	assert_int_equal(o.not_signals, 1ull << 63 | 1);
}

static void kinds(void **state)
{
	struct options o;
	char line[64];

	(void)state;
	parse_well(&o, "-k lock-orphaned,orphan-wait --kind tid-kill");
	assert_int_equal(o.kinds,
			 1 << ALERT_LOCK_ORPHANED | 1 << ALERT_ORPHAN_WAIT | 1 << ALERT_TID_KILL);
	for (int kind = 0; kind < ALERT_KINDS; kind++) {
		snprintf(line, sizeof(line), "-k %s", alert_kind_name(kind));
		parse_well(&o, line);
		assert_int_equal(o.kinds, 1u << kind);
	}
}

static void flags(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "-x");
	assert_true(o.failed);
	parse_well(&o, "--failed");
	assert_true(o.failed);
	parse_well(&o, "--all-signals");
	assert_true(o.all_signals);
	parse_well(&o, "--cmdline");
	assert_true(o.cmdline);
	parse_well(&o, "-q");
	assert_true(o.quiet);
	parse_well(&o, "--quiet");
	assert_true(o.quiet);
	parse_well(&o, "-v");
	assert_true(o.verbose);
	parse_well(&o, "--verbose");
	assert_true(o.verbose);
}

static void choices(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "-o json");
	assert_int_equal(o.output, OUTPUT_JSON);
	parse_well(&o, "--json");
	assert_int_equal(o.output, OUTPUT_JSON);
	parse_well(&o, "--json --output text");
	assert_int_equal(o.output, OUTPUT_TEXT);
	parse_well(&o, "--futex-hook auto --exit-hook auto");
	parse_well(&o, "--futex-hook switch --exit-hook tracepoint");
	assert_int_equal(o.futex_hook, FUTEX_SWITCH);
	assert_int_equal(o.exit_hook, EXIT_TRACEPOINT);
	parse_well(&o, "--futex-hook tracepoint --exit-hook fentry");
	assert_int_equal(o.futex_hook, FUTEX_TRACEPOINT);
	assert_int_equal(o.exit_hook, EXIT_FENTRY);
	parse_well(&o, "--exit-hook late");
	assert_int_equal(o.exit_hook, EXIT_LATE);
}

static void seconds(void **state)
{
	struct options o;

	(void)state;
	parse_well(&o, "-d 5 --noise-interval 0.5");
	assert_true(o.duration_s == 5);
	assert_true(o.noise_interval_s == 0.5);
	parse_well(&o, "--duration .25");
	assert_true(o.duration_s == 0.25);
}

/* What is wrong, and a part of what has to be said of it. */
static void wrong(void **state)
{
	static const struct {
		const char *line, *part;
	} rows[] = {
		{ "--foo", "unknown option '--foo': see 'deadhold --help'" },
		{ "--foo=1", "unknown option '--foo=1'" },
		{ "-z", "unknown option '-z'" },
		{ "-qz", "unknown option '-z'" },
		{ "--json -zq", "unknown option '-z'" },
		{ "watch -p 1 -?", "unknown option '-?'" },
		{ "-p 1 -t", "option '-t' needs a value" },
		{ "-qp", "option '-p' needs a value" },
		{ "--comm", "option '--comm' needs a value" },
		{ "--json=1", "option '--json' takes no value" },
		{ "--quiet=1", "option '--quiet' takes no value" },
		{ "-p 0", "bad --pid '0': use a number from 1 to 4194303" },
		{ "-p -1", "bad --pid '-1'" },
		{ "-p 4194304", "bad --pid '4194304'" },
		{ "-t 12x", "bad --tid '12x'" },
		{ "-t +12", "bad --tid '+12'" },
		{ "--sender-pid 99999999999999999999", "bad --sender-pid" },
		{ "--pid=", "bad --pid ''" },
		{ "--container web-1", "bad --container 'web-1': use an id or its first digits" },
		{ "--container=", "empty --container" },
		{ "--unit=", "empty --unit" },
		{ "--cgroup=", "empty --cgroup" },
		{ "--comm=", "empty --comm" },
		{ "--comm sixteen-letters-", "use 'sixteen-letters'" },
		{ "--not-comm sixteen-letters-", "can't match" },
		{ "-s SIGFOO",
		  "unknown signal 'SIGFOO': use a name such as SIGTERM or a number from 1 to 64" },
		{ "-s TERM,,KILL", "unknown signal ''" },
		{ "-s 0", "unknown signal '0'" },
		{ "-s 65", "unknown signal '65'" },
		{ "--not-signal TERM,FOO", "unknown signal 'FOO'" },
		{ "-k lock-orphaned,foo", "unknown kind 'foo': use ready, lock-orphaned" },
		{ "--kind=", "unknown kind ''" },
		{ "-o xml", "bad --output 'xml': use text, json or dot" },
		{ "-o dot", "--output 'dot' goes with 'inspect' alone: use text or json" },
		{ "check -o dot", "--output 'dot' goes with 'inspect' alone" },
		{ "--futex-hook fentry", "use auto, switch or tracepoint" },
		{ "--exit-hook kprobe", "use auto, tracepoint, fentry, fentry-early or late" },
		{ "-d 0", "bad --duration '0': use a number of seconds" },
		{ "-d -1", "bad --duration" },
		{ "-d nan", "bad --duration" },
		{ "-d inf", "bad --duration" },
		{ "-d 0x10", "bad --duration" },
		{ "-d 1e3", "bad --duration" },
		{ "-d 1.2.3", "bad --duration" },
		{ "-d 5s", "bad --duration" },
		{ "-d 99999999999", "bad --duration" },
		{ "--noise-interval 0.0", "bad --noise-interval" },
		{ "-q -v", "--quiet and --verbose exclude each other" },
		{ "foo", "unknown command 'foo': use 'watch', 'inspect', 'check' or 'explain'" },
		{ "explain a b", "unexpected word 'b'" },
		{ "explain -p 1", "--pid does not go with 'explain'" },
		{ "explain --cmdline", "--cmdline does not go with 'explain'" },
		{ "explain --census all", "--census does not go with 'explain'" },
		{ "explain --probe 1", "--probe does not go with 'explain'" },
		{ "explain -o dot", "--output 'dot' goes with 'inspect' alone" },
		{ "1234", "unknown command '1234'" },
		{ "watch check", "unexpected word 'check'" },
		{ "watch 1234", "unexpected word '1234'" },
		{ "-- -p", "unknown command '-p'" },
		{ "check -p 1", "--pid does not go with 'check'" },
		{ "-d 1 check", "--duration does not go with 'check'" },
		{ "check --cmdline", "--cmdline does not go with 'check'" },
		{ "check --exit-hook late", "--exit-hook does not go with 'check'" },
		{ "--probe 1", "--probe does not go with 'watch'" },
		{ "--all", "--all does not go with 'watch'" },
		{ "check --all", "--all does not go with 'check'" },
		{ "inspect", "inspect what? give PIDs, or --all" },
		{ "inspect 0", "bad PID '0': use a number from 1 to 4194303" },
		{ "inspect 1 x", "bad PID 'x'" },
		{ "inspect -p 1", "--pid does not go with 'inspect'" },
		{ "inspect 1 -d 1", "--duration does not go with 'inspect'" },
		{ "inspect --all 1", "--all looks at every process" },
		{ "inspect --all -o dot", "a graph is of one process" },
		{ "inspect --probe 0 1", "bad --probe '0'" },
		{ "check --no-uprobes", "--no-uprobes does not go with 'check'" },
		{ "inspect 1 --no-uprobes", "--no-uprobes does not go with 'inspect'" },
		{ "--deep", "--deep slows down whom it watches: say whom, with -p PID" },
		{ "--deep -t 1", "say whom, with -p PID" },
		{ "--deep -p 1 --no-uprobes", "--deep and --no-uprobes exclude each other" },
		{ "--deep-children -p 1", "--deep-children goes with --deep alone" },
		{ "--deep-locks 5 -p 1", "--deep-locks goes with --deep alone" },
		{ "--deep -p 1 --deep-locks 0", "bad --deep-locks '0': use a number from 1 to" },
		{ "--deep -p 1 --deep-locks 5x", "bad --deep-locks '5x'" },
		{ "--deep -p 1 --deep-locks 99999999", "bad --deep-locks '99999999'" },
		{ "check --deep", "--deep does not go with 'check'" },
		{ "inspect 1 --deep", "--deep does not go with 'inspect'" },
		/* of later issues */
		{ "--btf x", "unknown option '--btf'" },
		{ "report x", "unknown command 'report'" },
		{ "--usage", "unknown option '--usage'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct options o;

		assert_int_equal(parse(&o, rows[i].line), -EINVAL);
		assert_string_equal(said[0], "");
		assert_one_line(said[1]);
		if (!strstr(said[1], rows[i].part))
			fail_msg("%s: %s", rows[i].line, said[1]);
	}
}

static void too_many(void **state)
{
	static const char *const options[] = { "-p1", "-t1",	  "--sender-pid=1",
					       "-ca", "--comm=a", "--not-comm=a" };

	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		char line[2048] = "";
		struct options o;

		for (int n = 0; n < OPTION_LIST; n++)
			snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s%s",
				 n ? " " : "", options[i]);
		parse_well(&o, line);
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " %s", options[i]);
		assert_int_equal(parse(&o, line), -EINVAL);
		assert_one_line(said[1]);
		assert_non_null(strstr(said[1], "at most 64"));
	}
}

static void version(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "-V"), -ECANCELED);
	assert_string_equal(said[0], "deadhold " DEADHOLD_VERSION "\n");
	assert_string_equal(said[1], "");
	assert_int_equal(parse(&o, "check --version --foo"), -ECANCELED);
	assert_int_equal(parse(&o, "--foo --version"), -EINVAL);
}

static void assert_fits(const char *text, size_t columns)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		assert_true(len <= columns);
		text += len + (text[len] == '\n');
	}
}

static void help(void **state)
{
	static const char *const parts[] = {
		"USAGE:",
		"EXAMPLES:",
		"-p, --pid=PID",
		"-t, --tid=TID",
		"-c, --cgroup=PATH",
		"--sender-pid=PID",
		"--comm=GLOB",
		"--not-comm=GLOB",
		"-s, --signal=SIG",
		"--not-signal=SIG",
		"-k, --kind=KIND",
		"-x, --failed",
		"--all-signals",
		"--noise-interval",
		"--futex-hook=RUNG",
		"--exit-hook=RUNG",
		"--cmdline",
		"-d, --duration=SEC",
		"-o, --output=FORMAT",
		"--json",
		"-q, --quiet",
		"-v, --verbose",
		"-h, --help",
		"-V, --version",
	};
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "--help"), -ECANCELED);
	assert_string_equal(said[1], "");
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (!strstr(said[0], parts[i]))
			fail_msg("missing in --help: %s", parts[i]);
	assert_fits(said[0], 79);
	assert_int_equal(parse(&o, "-h"), -ECANCELED);
	assert_int_equal(parse(&o, "check -h"), -ECANCELED);
}

/* --- the host --- */

static int check_host(const char *line)
{
	struct options o;
	struct capture capture;
	int err;

	parse_well(&o, line);
	capture_start(&capture);
	err = options_check_host(&o);
	capture_end(&capture);
	assert_string_equal(said[0], "");
	if (err)
		assert_one_line(said[1]);
	else
		assert_string_equal(said[1], "");
	return err;
}

/* The PID of a process that has ended and was collected: nobody has it, unless it was reused. */
static pid_t pid_gone(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static void host_pids(void **state)
{
	char line[128];

	(void)state;
	snprintf(line, sizeof(line), "-p %d -t %d --sender-pid %d", getpid(), getpid(), getpid());
	assert_int_equal(check_host(line), 0);
	snprintf(line, sizeof(line), "-p %d -p %d", getpid(), pid_gone());
	assert_int_equal(check_host(line), -ESRCH);
	assert_non_null(strstr(said[1], "no process"));
	snprintf(line, sizeof(line), "--sender-pid %d", pid_gone());
	assert_int_equal(check_host(line), -ESRCH);
	assert_non_null(strstr(said[1], "for --sender-pid"));
	snprintf(line, sizeof(line), "-t %d", pid_gone());
	assert_int_equal(check_host(line), -ESRCH);
	assert_non_null(strstr(said[1], "no thread"));
}

static void host_zombie(void **state)
{
	siginfo_t info;
	char line[128];
	pid_t pid = fork();

	(void)state;
	if (!pid)
		_exit(0);
	assert_int_equal(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	snprintf(line, sizeof(line), "-p %d", pid);
	assert_int_equal(check_host(line), -ESRCH);
	assert_non_null(strstr(said[1], "has ended"));
	snprintf(line, sizeof(line), "-t %d", pid);
	assert_int_equal(check_host(line), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

struct worker {
	pid_t tid;
	pthread_barrier_t told, done;
};

static void *worker_main(void *argument)
{
	struct worker *worker = argument;

	worker->tid = gettid();
	pthread_barrier_wait(&worker->told);
	pthread_barrier_wait(&worker->done);
	return NULL;
}

static void host_tid_as_pid(void **state)
{
	struct worker worker;
	pthread_t thread;
	char line[128], part[128];

	(void)state;
	pthread_barrier_init(&worker.told, NULL, 2);
	pthread_barrier_init(&worker.done, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, worker_main, &worker), 0);
	pthread_barrier_wait(&worker.told);
	snprintf(line, sizeof(line), "-t %d", worker.tid);
	assert_int_equal(check_host(line), 0);
	snprintf(line, sizeof(line), "-p %d", worker.tid);
	assert_int_equal(check_host(line), -ESRCH);
	snprintf(part, sizeof(part), "thread of process %d, not a process: use -p %d, or -t %d",
		 getpid(), getpid(), worker.tid);
	assert_non_null(strstr(said[1], part));
	pthread_barrier_wait(&worker.done);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void host_cgroups(void **state)
{
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(check_host("-c /no/such/cgroup"), -ENOENT);
	assert_non_null(strstr(said[1], "no cgroup '/no/such/cgroup'"));
	assert_int_not_equal(check_host("-c ../../../etc"), 0);
	assert_int_not_equal(check_host("-c /sys/fs/cgroup/../../../etc"), 0);
	assert_int_not_equal(check_host("-c /etc"), 0);
	if (access("/sys/fs/cgroup", X_OK))
		skip();
	assert_int_equal(check_host("-c /"), 0);
	assert_int_equal(check_host("-c /sys/fs/cgroup/"), 0);
	assert_int_equal(options_cgroup_path("/sys/fs/cgroup/.", path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup");
	assert_int_equal(options_cgroup_path("/", path, 4), -ENAMETOOLONG);
	assert_int_equal(options_cgroup_path("/", path, sizeof(path)), 0);
	assert_int_equal(strncmp(path, "/sys/fs/cgroup", 14), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),	cmocka_unit_test(commands),
		cmocka_unit_test(ids),		cmocka_unit_test(words),
		cmocka_unit_test(signals),	cmocka_unit_test(kinds),
		cmocka_unit_test(flags),	cmocka_unit_test(choices),
		cmocka_unit_test(seconds),	cmocka_unit_test(wrong),
		cmocka_unit_test(too_many),	cmocka_unit_test(version),
		cmocka_unit_test(help),		cmocka_unit_test(host_pids),
		cmocka_unit_test(host_zombie),	cmocka_unit_test(host_tid_as_pid),
		cmocka_unit_test(host_cgroups),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
