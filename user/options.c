// SPDX-License-Identifier: GPL-2.0-only
#include "options.h"

#include <argp.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "lock.h"
#include "signame.h"

#define EXPLAINED	       EBADMSG /* to argp, from a parser that has printed its line */
#define SECONDS_LIMIT	       1e9
#define NOISE_INTERVAL_SECONDS 60
#define CENSUS_PERCENT	       2
#define DEEP_LOCKS	       65536
#define DEEP_LOCKS_LIMIT       (16u << 20)

/* Options without a short form. */
enum {
	KEY_SENDER_PID = 256,
	KEY_COMM,
	KEY_NOT_COMM,
	KEY_NOT_SIGNAL,
	KEY_ALL_SIGNALS,
	KEY_NOISE_INTERVAL,
	KEY_FUTEX_HOOK,
	KEY_EXIT_HOOK,
	KEY_CMDLINE,
	KEY_JSON,
	KEY_ALL,
	KEY_PROBE,
	KEY_CENSUS,
	KEY_CENSUS_CPU,
	KEY_CONTAINER,
	KEY_UNIT,
	KEY_NO_LIMIT,
	KEY_NO_UPROBES,
	KEY_DEEP,
	KEY_DEEP_CHILDREN,
	KEY_DEEP_LOCKS,
};

static const char help_text[] =
	"Finds the locks that dead threads still hold, and the signals that were aimed\n"
	"at single threads, on a live host.\n"
	"\n"
	"USAGE:\n"
	"  deadhold [watch] [OPTION...]   stream alerts until interrupted (the default)\n"
	"  deadhold inspect PID...        one look at processes, hung or not\n"
	"  deadhold check [OPTION...]     what this host supports, and why not more\n"
	"  deadhold explain [WORD]        what a word in an alert means, and what to do\n"
	"\n"
	"OPTIONS:\v"
	"EXAMPLES:\n"
	"  deadhold                       watch the whole host\n"
	"  deadhold -p 1234               watch one process\n"
	"  deadhold -c /system.slice/db.service --json\n"
	"                                 watch a service; one JSON object a line\n"
	"  deadhold -s TERM,KILL -x       SIGTERM and SIGKILL sent to single threads,\n"
	"                                 and the sends that failed\n"
	"  deadhold -k incident           one story for each: what one leaves running\n"
	"  deadhold -k lock-orphaned,orphan-wait -d 60\n"
	"                                 orphaned locks, for a minute\n"
	"  deadhold check                 which hooks work here\n"
	"  deadhold inspect 1234          why does it hang?\n"
	"  deadhold inspect 1234 -o dot | dot -Tsvg > graph.svg\n"
	"                                 who waits for whom, drawn\n"
	"  deadhold inspect --all         every process of the host\n"
	"  deadhold explain tid-kill      what is that, and what now?\n"
	"\n"
	"Exit status: 0 after a clean end, 1 on failure, 2 on wrong usage.\n"
	"Of inspect: 0 nothing wrong, 1 orphaned lock or deadlock, 2 could not look.";

static const struct argp_option argp_options[] = {
	{ 0, 0, 0, 0, "Whom to watch (each may be given several times):", 1 },
	{ "pid", 'p', "PID", 0, "this process, as target, dead owner or waiter", 0 },
	{ "tid", 't', "TID", 0, "this thread, likewise", 0 },
	{ "sender-pid", KEY_SENDER_PID, "PID", 0, "only signals sent by this process", 0 },
	{ "cgroup", 'c', "PATH", 0, "this cgroup and below", 0 },
	{ "comm", KEY_COMM, "GLOB", 0, "processes whose comm matches", 0 },
	{ "not-comm", KEY_NOT_COMM, "GLOB", 0, "processes whose comm does not match", 0 },
	{ "container", KEY_CONTAINER, "ID", 0, "processes of the container, by the start of its id",
	  0 },
	{ "unit", KEY_UNIT, "NAME", 0, "processes of the systemd unit", 0 },

	{ 0, 0, 0, 0, "What to report:", 2 },
	{ "signal", 's', "SIG[,SIG]", 0, "only these signals, by name or number", 0 },
	{ "not-signal", KEY_NOT_SIGNAL, "SIG[,SIG]", 0, "not these signals", 0 },
	{ "kind", 'k', "KIND[,KIND]", 0, "only these alerts", 0 },
	{ "failed", 'x', 0, 0, "also sends that failed or only probed", 0 },
	{ "all-signals", KEY_ALL_SIGNALS, 0, 0, "also what is otherwise folded into counts", 0 },
	{ "noise-interval", KEY_NOISE_INTERVAL, "SEC", 0, "how often folded counts are said (60)",
	  0 },
	{ "no-limit", KEY_NO_LIMIT, 0, 0, "do not merge what is said again and again", 0 },
	{ "cmdline", KEY_CMDLINE, 0, 0, "show command lines: they can hold secrets", 0 },

	{ 0, 0, 0, 0, "Inspect:", 3 },
	{ "all", KEY_ALL, 0, 0, "every process with threads that wait for locks", 0 },
	{ "probe", KEY_PROBE, "SEC", 0, "status 1 only if it stays wrong for SEC seconds", 0 },

	{ 0, 0, 0, 0, "How:", 4 },
	{ "futex-hook", KEY_FUTEX_HOOK, "RUNG", 0, "auto, switch or tracepoint (auto)", 0 },
	{ "exit-hook", KEY_EXIT_HOOK, "RUNG", 0,
	  "auto, tracepoint, fentry, fentry-early or late (auto)", 0 },
	{ "census", KEY_CENSUS, "MODE", 0,
	  "search memory for the locks of dead threads: off, auto, or all of it (auto; all with -p or "
	  "-c)",
	  0 },
	{ "census-cpu", KEY_CENSUS_CPU, "PERCENT", 0, "share of one CPU that this may take (2)",
	  0 },
	{ "deep", KEY_DEEP, 0, 0,
	  "with -p: see each lock that these processes take; they run slower", 0 },
	{ "deep-children", KEY_DEEP_CHILDREN, 0, 0, "also those that they fork from then on", 0 },
	{ "deep-locks", KEY_DEEP_LOCKS, "NUMBER", 0, "that can be held at a time (65536)", 0 },
	{ "no-uprobes", KEY_NO_UPROBES, 0, 0, "write no breakpoint into any program", 0 },
	{ "duration", 'd', "SEC", 0, "stop after so long", 0 },
	{ "output", 'o', "FORMAT", 0, "text or json (text); inspect: also dot", 0 },
	{ "json", KEY_JSON, 0, 0, "short for -o json", 0 },
	{ "quiet", 'q', 0, 0, "nothing on stderr but errors", 0 },
	{ "verbose", 'v', 0, 0, "more on stderr", 0 },
	{ "help", 'h', 0, 0, "print this help", 0 },
	{ "version", 'V', 0, 0, "print the version", 0 },
	{ 0 },
};

struct parse {
	struct options *options;
	bool command_given;
	/* An option that goes with this command alone; 0: none was given. */
	int watch_key, inspect_key;
};

/* Wrong usage: one line. Returns what argp is to stop with. */
static __attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("deadhold: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return EXPLAINED;
}

static const char *option_name(int key)
{
	for (const struct argp_option *o = argp_options; o->name || o->doc; o++)
		if (o->name && o->key == key)
			return o->name;
	return NULL;
}

/* --- values --- */

static int set_id(struct id_list *list, int key, const char *arg)
{
	char *end;
	long id;

	errno = 0;
	id = strtol(arg, &end, 10);
	if (arg[0] < '0' || arg[0] > '9' || *end || errno || id < 1 || id >= LOCK_TID_LIMIT)
		return usage_error("bad --%s '%s': use a number from 1 to %u", option_name(key),
				   arg, LOCK_TID_LIMIT - 1);
	if (list->n == OPTION_LIST)
		return usage_error("too many --%s: give at most %d", option_name(key), OPTION_LIST);
	list->id[list->n++] = id;
	return 0;
}

/* A process that inspect is given. */
static int set_process(struct id_list *list, const char *word)
{
	char *end;
	long id;

	errno = 0;
	id = strtol(word, &end, 10);
	if (word[0] < '0' || word[0] > '9' || *end || errno || id < 1 || id >= LOCK_TID_LIMIT)
		return usage_error("bad PID '%s': use a number from 1 to %u", word,
				   LOCK_TID_LIMIT - 1);
	if (list->n == OPTION_LIST)
		return usage_error("too many PIDs: give at most %d, or --all", OPTION_LIST);
	list->id[list->n++] = id;
	return 0;
}

static int set_word(struct word_list *list, int key, const char *arg)
{
	if (!*arg)
		return usage_error("empty --%s: give a value, or leave the option out",
				   option_name(key));
	if (list->n == OPTION_LIST)
		return usage_error("too many --%s: give at most %d", option_name(key), OPTION_LIST);
	list->word[list->n++] = arg;
	return 0;
}

static int set_comm(struct word_list *list, int key, const char *arg)
{
	if (strlen(arg) >= NAME_BYTES && !strpbrk(arg, "*?[\\"))
		return usage_error("--%s '%s' can't match: the kernel keeps %d bytes of a name; "
				   "use '%.*s'",
				   option_name(key), arg, NAME_BYTES - 1, NAME_BYTES - 1, arg);
	return set_word(list, key, arg);
}

#define CONTAINER_DIGITS "0123456789abcdef"

static int set_container(struct word_list *list, int key, const char *arg)
{
	if (arg[strspn(arg, CONTAINER_DIGITS)] || strlen(arg) > CONTAINER_ID_BYTES)
		return usage_error(
			"bad --%s '%s': use an id or its first digits, such as the 12 that "
			"'docker ps' shows",
			option_name(key), arg);
	return set_word(list, key, arg);
}

/* Calls `add` for each word between commas. The words are cut out of a copy. */
static int set_list(void *set, const char *arg, int (*add)(void *set, const char *word))
{
	_cleanup_free_ char *copy = strdup(arg);
	char *rest = copy, *word;
	int err = copy ? 0 : ENOMEM;

	while (!err && (word = strsep(&rest, ",")))
		err = add(set, word);
	return err;
}

static int add_signal(void *set, const char *word)
{
	uint64_t *signals = set;
	int number = signal_parse(word);

	if (number < 1)
		return usage_error("unknown signal '%s': use a name such as SIGTERM or a number "
				   "from 1 to %d",
				   word, SIGNAL_MAX);
	*signals |= 1ull << (number - 1);
	return 0;
}

static void kind_names(char *names, size_t size)
{
	size_t len = 0;

	for (int kind = 0; kind < ALERT_KINDS && len < size; kind++)
		len += snprintf(names + len, size - len, "%s%s", kind ? ", " : "",
				alert_kind_name(kind));
}

static int add_kind(void *set, const char *word)
{
	uint32_t *kinds = set;
	int kind = alert_kind_parse(word);
	char names[512];

	if (kind < 0) {
		kind_names(names, sizeof(names));
		return usage_error("unknown kind '%s': use %s", word, names);
	}
	*kinds |= 1u << kind;
	return 0;
}

static int set_number(double *number, int key, const char *arg, double limit, const char *what)
{
	bool plain = arg[0] && !arg[strspn(arg, "0123456789.")];
	char *end;
	double value = strtod(arg, &end);

	if (!plain || *end || !(value > 0) || value > limit)
		return usage_error("bad --%s '%s': use %s", option_name(key), arg, what);
	*number = value;
	return 0;
}

static int set_seconds(double *seconds, int key, const char *arg)
{
	return set_number(seconds, key, arg, SECONDS_LIMIT,
			  "a number of seconds above 0 and below 1e9, such as 60 or 0.5");
}

static int set_percent(double *percent, int key, const char *arg)
{
	return set_number(percent, key, arg, 100,
			  "a number above 0 and up to 100, such as 2 or 0.5");
}

static int set_deep_locks(uint32_t *locks, int key, const char *arg)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(arg, &end, 10);
	if (arg[0] < '0' || arg[0] > '9' || *end || errno || !number || number > DEEP_LOCKS_LIMIT)
		return usage_error("bad --%s '%s': use a number from 1 to %u", option_name(key),
				   arg, DEEP_LOCKS_LIMIT);
	*locks = number;
	return 0;
}

/* One of n words; *choice is its place. */
static int set_choice(unsigned int *choice, int key, const char *arg, const char *const *words)
{
	char all[128] = "";
	size_t len = 0;

	for (unsigned int i = 0; words[i]; i++) {
		if (!strcmp(arg, words[i])) {
			*choice = i;
			return 0;
		}
		len += snprintf(all + len, sizeof(all) - len, "%s%s",
				!i	       ? ""
				: words[i + 1] ? ", "
					       : " or ",
				words[i]);
	}
	return usage_error("bad --%s '%s': use %s", option_name(key), arg, all);
}

static const char *const output_words[] = { "text", "json", "dot", NULL };
static const char *const futex_words[] = { "auto", "switch", "tracepoint", NULL };
static const char *const census_words[] = { "off", "auto", "all", NULL };
static const char *const exit_words[] = { "auto",	  "tracepoint", "fentry",
					  "fentry-early", "late",	NULL };

/* --- options --- */

static int set_flag(bool *flag)
{
	*flag = true;
	return 0;
}

/* What watches, filters and hooks take. */
static int parse_watch_option(struct options *o, int key, const char *arg)
{
	switch (key) {
	case 'p':
		return set_id(&o->pids, key, arg);
	case 't':
		return set_id(&o->tids, key, arg);
	case KEY_SENDER_PID:
		return set_id(&o->sender_pids, key, arg);
	case 'c':
		return set_word(&o->cgroups, key, arg);
	case KEY_COMM:
		return set_comm(&o->comms, key, arg);
	case KEY_NOT_COMM:
		return set_comm(&o->not_comms, key, arg);
	case KEY_CONTAINER:
		return set_container(&o->containers, key, arg);
	case KEY_UNIT:
		return set_word(&o->units, key, arg);
	case 's':
		return set_list(&o->signals, arg, add_signal);
	case KEY_NOT_SIGNAL:
		return set_list(&o->not_signals, arg, add_signal);
	case 'k':
		return set_list(&o->kinds, arg, add_kind);
	case 'x':
		return set_flag(&o->failed);
	case KEY_ALL_SIGNALS:
		return set_flag(&o->all_signals);
	case KEY_NO_LIMIT:
		return set_flag(&o->no_limit);
	case KEY_NOISE_INTERVAL:
		return set_seconds(&o->noise_interval_s, key, arg);
	case KEY_FUTEX_HOOK:
		return set_choice(&o->futex_hook, key, arg, futex_words);
	case KEY_EXIT_HOOK:
		return set_choice(&o->exit_hook, key, arg, exit_words);
	case KEY_NO_UPROBES:
		return set_flag(&o->no_uprobes);
	case KEY_DEEP:
		return set_flag(&o->deep);
	case KEY_DEEP_CHILDREN:
		return set_flag(&o->deep_children);
	case KEY_DEEP_LOCKS:
		return set_deep_locks(&o->deep_locks, key, arg);
	case KEY_CENSUS_CPU:
		return set_percent(&o->census_percent, key, arg);
	case 'd':
		return set_seconds(&o->duration_s, key, arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int parse_inspect_option(struct options *o, int key, const char *arg)
{
	switch (key) {
	case KEY_ALL:
		return set_flag(&o->all);
	case KEY_PROBE:
		return set_seconds(&o->probe_s, key, arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Those that go with every command. */
static int parse_common_option(struct options *o, int key, const char *arg)
{
	switch (key) {
	case 'o':
		return set_choice(&o->output, key, arg, output_words);
	case KEY_JSON:
		o->output = OUTPUT_JSON;
		return 0;
	case KEY_CMDLINE:
		return set_flag(&o->cmdline);
	case KEY_CENSUS:
		o->census_given = true;
		return set_choice(&o->census, key, arg, census_words);
	case 'q':
		return set_flag(&o->quiet);
	case 'v':
		return set_flag(&o->verbose);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int parse_command(struct parse *parse, const char *word)
{
	if (parse->command_given && parse->options->command == COMMAND_INSPECT)
		return set_process(&parse->options->pids, word);
	if (parse->command_given && parse->options->command == COMMAND_EXPLAIN &&
	    !parse->options->word) {
		parse->options->word = word;
		return 0;
	}
	if (parse->command_given)
		return usage_error("unexpected word '%s': options start with '-'; see "
				   "'deadhold --help'",
				   word);
	parse->command_given = true;
	if (!strcmp(word, "watch"))
		parse->options->command = COMMAND_WATCH;
	else if (!strcmp(word, "inspect"))
		parse->options->command = COMMAND_INSPECT;
	else if (!strcmp(word, "check"))
		parse->options->command = COMMAND_CHECK;
	else if (!strcmp(word, "explain"))
		parse->options->command = COMMAND_EXPLAIN;
	else
		return usage_error("unknown command '%s': use 'watch', 'inspect', 'check' or "
				   "'explain'",
				   word);
	return 0;
}

/* One word for each, as in usage. */
static const char *command_name(enum command command)
{
	static const char *const names[] = {
		[COMMAND_WATCH] = "watch",
		[COMMAND_INSPECT] = "inspect",
		[COMMAND_CHECK] = "check",
		[COMMAND_EXPLAIN] = "explain",
	};

	return names[command];
}

static int check_inspect(const struct options *o)
{
	if (!o->pids.n && !o->all)
		return usage_error("inspect what? give PIDs, or --all");
	if (o->pids.n && o->all)
		return usage_error("--all looks at every process: leave out the PIDs, or --all");
	if (o->all && o->output == OUTPUT_DOT)
		return usage_error("a graph is of one process: give its PID in place of --all");
	return 0;
}

static int check_deep(const struct options *o)
{
	if (!o->deep && (o->deep_children || o->deep_locks))
		return usage_error("--%s goes with --deep alone: leave it out, or add --deep",
				   o->deep_children ? "deep-children" : "deep-locks");
	if (o->deep && !o->pids.n)
		return usage_error("--deep slows down whom it watches: say whom, with -p PID");
	if (o->deep && o->no_uprobes)
		return usage_error("--deep and --no-uprobes exclude each other: give one of them");
	return 0;
}

static int parse_end(const struct parse *parse)
{
	struct options *o = parse->options;
	bool looks = o->command == COMMAND_WATCH || o->command == COMMAND_INSPECT;
	int key = 0;

	if (o->command != COMMAND_WATCH)
		key = parse->watch_key;
	if (!key && o->command != COMMAND_INSPECT)
		key = parse->inspect_key;
	if (!key && !looks && o->cmdline)
		key = KEY_CMDLINE;
	if (!key && !looks && o->census_given)
		key = KEY_CENSUS;
	if (key)
		return usage_error("--%s does not go with '%s': leave it out%s", option_name(key),
				   command_name(o->command), looks ? "" : ", or use 'watch'");
	if (o->output == OUTPUT_DOT && o->command != COMMAND_INSPECT)
		return usage_error("--output 'dot' goes with 'inspect' alone: use text or json");
	if (o->quiet && o->verbose)
		return usage_error("--quiet and --verbose exclude each other: give one of them");
	if (!o->census_given && (o->pids.n || o->cgroups.n))
		o->census = CENSUS_EVERYTHING;
	if (check_deep(o))
		return EXPLAINED;
	o->deep_locks = o->deep_locks ?: DEEP_LOCKS;
	return o->command == COMMAND_INSPECT ? check_inspect(o) : 0;
}

static error_t parse_key(int key, char *arg, struct argp_state *state);

/* Leaves out argp's note on values, which says in two lines what "-p, --pid=PID" shows. */
static char *help_filter(int key, const char *text, void *input)
{
	(void)input;
	return key == ARGP_KEY_HELP_DUP_ARGS_NOTE ? NULL : (char *)text;
}

static const struct argp argp = {
	.options = argp_options,
	.parser = parse_key,
	.doc = help_text,
	.help_filter = help_filter,
};

static int print_help(void)
{
	char name[] = "deadhold";

	argp_help(&argp, stdout, ARGP_HELP_PRE_DOC | ARGP_HELP_LONG | ARGP_HELP_POST_DOC, name);
	return ECANCELED;
}

static int print_version(void)
{
	puts("deadhold " DEADHOLD_VERSION);
	return ECANCELED;
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct parse *parse = state->input;
	int err;

	switch (key) {
	case 'h':
		return print_help();
	case 'V':
		return print_version();
	case ARGP_KEY_ARG:
		return parse_command(parse, arg);
	case ARGP_KEY_END:
		return parse_end(parse);
	}
	err = parse_common_option(parse->options, key, arg);
	if (err != ARGP_ERR_UNKNOWN)
		return err;
	err = parse_inspect_option(parse->options, key, arg);
	if (err != ARGP_ERR_UNKNOWN) {
		parse->inspect_key = key;
		return err;
	}
	err = parse_watch_option(parse->options, key, arg);
	if (err != ARGP_ERR_UNKNOWN && !parse->watch_key)
		parse->watch_key = key;
	return err;
}

/* --- what argp finds wrong itself --- */

/*
 * argp would print two lines and exit with 64. Told to do neither, it doesn't say either which option
 * it stumbled over; getopt, which it uses underneath, does: once more, over the same words.
 */
struct getopt_tables {
	char letters[2 * sizeof(argp_options) / sizeof(*argp_options) + 3];
	struct option options[sizeof(argp_options) / sizeof(*argp_options) + 1];
};

static void getopt_tables(struct getopt_tables *tables)
{
	char *letter = tables->letters;
	size_t n = 0;

	*letter++ = '-'; /* words among the options are no end of them */
	*letter++ = ':'; /* tell a missing value from an unknown option */
	for (const struct argp_option *o = argp_options; o->name || o->doc; o++) {
		if (!o->name)
			continue;
		tables->options[n++] = (struct option){ o->name, o->arg ? required_argument : 0,
							NULL, o->key };
		if (o->key >= 256)
			continue;
		*letter++ = o->key;
		if (o->arg)
			*letter++ = ':';
	}
	*letter = 0;
	tables->options[n] = (struct option){ 0 };
}

/* The word at which getopt stopped, if it is a long option. */
static bool getopt_at_long(char **argv)
{
	return !strncmp(argv[optind - 1], "--", 2);
}

static int getopt_complain(int result, char **argv)
{
	static const char see[] = "see 'deadhold --help'";

	if (result == ':' && getopt_at_long(argv))
		return usage_error("option '%s' needs a value: %s", argv[optind - 1], see);
	if (result == ':')
		return usage_error("option '-%c' needs a value: %s", optopt, see);
	if (optopt && option_name(optopt))
		return usage_error("option '--%s' takes no value: leave it out",
				   option_name(optopt));
	if (optopt)
		return usage_error("unknown option '-%c': %s", optopt, see);
	return usage_error("unknown option '%s': %s", argv[optind - 1], see);
}

static void explain_failure(int argc, char **argv)
{
	struct getopt_tables tables;
	int result;

	getopt_tables(&tables);
	opterr = 0;
	optind = 0; /* from the start: glibc */
	do
		result = getopt_long(argc, argv, tables.letters, tables.options, NULL);
	while (result != -1 && result != '?' && result != ':');
	if (result != -1)
		getopt_complain(result, argv);
	else
		usage_error("can't read the command line: no memory");
}

int options_parse(struct options *options, int argc, char **argv)
{
	struct parse parse = { .options = options };
	int err;

	*options = (struct options){ .noise_interval_s = NOISE_INTERVAL_SECONDS,
				     .census = CENSUS_AUTO,
				     .census_percent = CENSUS_PERCENT };
	err = argp_parse(&argp, argc, argv,
			 ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT | ARGP_IN_ORDER, NULL, &parse);
	if (!err || err == ECANCELED)
		return -err;
	if (err != EXPLAINED)
		explain_failure(argc, argv);
	return -EINVAL;
}
