/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line: docs/alerts.md, "Commands". Parsed once, read-only afterwards.
 */
#ifndef DEADHOLD_OPTIONS_H
#define DEADHOLD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"

#define OPTION_LIST 64 /* how often a repeatable option may be given */

enum command { COMMAND_WATCH, COMMAND_INSPECT, COMMAND_CHECK, COMMAND_EXPLAIN };
enum output_format { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_DOT };
enum census_mode { CENSUS_OFF, CENSUS_AUTO, CENSUS_EVERYTHING };
enum futex_hook { FUTEX_AUTO, FUTEX_SWITCH, FUTEX_TRACEPOINT };
enum exit_hook { EXIT_AUTO, EXIT_TRACEPOINT, EXIT_FENTRY, EXIT_FENTRY_EARLY, EXIT_LATE };

struct id_list {
	size_t n;
	int32_t id[OPTION_LIST];
};

struct word_list {
	size_t n;
	const char *word[OPTION_LIST]; /* argv's own strings */
};

struct options {
	enum command command;
	enum output_format output;
	enum futex_hook futex_hook;
	enum exit_hook exit_hook;
	enum census_mode census;
	bool census_given;
	double census_percent;	    /* of one CPU */
	struct id_list pids;	    /* -p; those that inspect is given */
	struct id_list tids;	    /* -t */
	struct id_list sender_pids; /* --sender-pid */
	struct word_list cgroups;   /* -c: as given; options_cgroup_path() makes them absolute */
	struct word_list comms, not_comms;
	struct word_list containers; /* beginnings of ids */
	struct word_list units;
	uint64_t signals; /* bit N − 1 for signal N; 0: no filter */
	uint64_t not_signals;
	uint32_t kinds; /* bit per enum alert_kind; 0: no filter */
	bool failed;
	bool deep;
	bool deep_children;
	uint32_t deep_locks; /* that it keeps in mind */
	bool all_signals;
	bool no_limit;
	bool cmdline;
	bool no_uprobes;
	bool all;	/* inspect */
	double probe_s; /* inspect; 0: no probe */
	bool quiet;
	bool verbose;
	double noise_interval_s;
	double duration_s; /* 0: until interrupted */
	const char *word;  /* explain; NULL: all of them */
};

/*
 * Parses. Returns 0 to go on; -EINVAL after one line on stderr about wrong usage (exit status 2);
 * -ECANCELED after --help or --version was printed (exit status 0).
 */
int options_parse(struct options *options, int argc, char **argv);

/*
 * Whether what the options name exists on this host. Returns 0, or after one line on stderr (exit
 * status 1): -ESRCH (a process or thread has ended, never was, or -p names a thread), -ENOENT or
 * -ENOTDIR (no such cgroup).
 */
int options_check_host(const struct options *options);

/*
 * Is it a process that lives? Returns 0, or -ESRCH after one line on stderr. `what`: the option or
 * command that names it.
 */
int options_check_process(const char *what, int32_t pid);

/*
 * The directory of a cgroup that was given as an absolute path below /sys/fs/cgroup, or as
 * /proc/PID/cgroup prints it. Where version 1 and 2 are mounted side by side, the latter means the
 * version 2 hierarchy. Returns 0 or -errno; no symbolic links and no ".." remain in path.
 */
int options_cgroup_path(const char *given, char *path, size_t size);

#endif
