// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads each of the agent's BPF programs alone and says what this kernel's verifier makes of it:
 *
 *   kernel RELEASE               first
 *   NAME INSTRUCTIONS STATES     accepted; both as it counts them (log_level 4)
 *   NAME refused ERROR           by errno's number
 *
 * With all that an option can add: deep mode, the noise rules. The last line is "." With the name of a
 * program: the verifier's log of that one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "event.h"
#include "object.h"
#include "policy.h"
#include "deadhold.skel.h"

static int print_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level, (void)format, (void)args;
	return 0;
}

static struct deadhold_bpf *object_open(void)
{
	struct deadhold_bpf *object = object_new(64);
	struct bpf_program *program;
	const struct policy_rule *rules;
	size_t n;

	if (!object) {
		perror("opening the programs");
		exit(1);
	}
	bpf_object__for_each_program(program, object->obj)
		bpf_program__set_autoload(program, false);
	rules = policy_rules(&n);
	for (size_t i = 0; i < n; i++)
		object->rodata->noise_rules[i] = rules[i].rule;
	object->rodata->deep_on = true;
	object->rodata->send_filter.n_targets = 1;
	object->rodata->send_filter.children = 1;
	bpf_map__set_max_entries(object->maps.deep_holds, 64);
	bpf_map__set_max_entries(object->maps.deep_doubts, 64);
	bpf_map__set_max_entries(object->maps.events, 4096);
	return object;
}

/* print_verification_stats() in kernel/bpf/verifier.c; other lines stand around it, by kernel. */
static bool stats_parse(const char *log, unsigned long *instructions, unsigned long *states)
{
	for (const char *line = log; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line,
			   "processed %lu insns (limit %*d) max_states_per_insn %*d "
			   "total_states %lu",
			   instructions, states) == 2)
			return true;
	}
	return false;
}

static void program_load(const char *name)
{
	static char log[4096];
	struct deadhold_bpf *object = object_open();
	struct bpf_program *program = bpf_object__find_program_by_name(object->obj, name);
	unsigned long instructions, states;
	int error;

	bpf_program__set_autoload(program, true);
	bpf_program__set_log_level(program, 4); /* BPF_LOG_STATS: one line, at the end */
	bpf_program__set_log_buf(program, log, sizeof(log));
	log[0] = '\0';
	error = bpf_object__load(object->obj);
	if (error) {
		printf("%s refused %d\n", name, -error);
	} else if (!stats_parse(log, &instructions, &states)) {
		fprintf(stderr, "%s: the verifier says '%s'\n", name, log);
		exit(1);
	} else {
		printf("%s %lu %lu\n", name, instructions, states);
	}
	deadhold_bpf__destroy(object);
}

/* Of one program, what the verifier says from beginning to end: to find out why it is refused. */
static int program_explain(const char *name)
{
	static char log[16 << 20];
	struct deadhold_bpf *object = object_open();
	struct bpf_program *program = bpf_object__find_program_by_name(object->obj, name);
	int error;

	if (!program) {
		fprintf(stderr, "there is no program %s\n", name);
		return 2;
	}
	bpf_program__set_autoload(program, true);
	bpf_program__set_log_level(program, 1);
	bpf_program__set_log_buf(program, log, sizeof(log));
	error = bpf_object__load(object->obj);
	printf("%s%s: %d\n", log, name, error);
	return error != 0;
}

int main(int argc, char **argv)
{
	struct deadhold_bpf *names;
	struct bpf_program *program;
	struct utsname kernel;

	libbpf_set_print(print_nothing);
	if (argc == 2)
		return program_explain(argv[1]);
	uname(&kernel);
	printf("kernel %s\n", kernel.release);
	names = object_open();
	bpf_object__for_each_program(program, names->obj) program_load(bpf_program__name(program));
	deadhold_bpf__destroy(names);
	puts(".");
	return 0;
}
