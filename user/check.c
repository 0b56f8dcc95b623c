// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include <jansson.h>

#include "check.h"
#include "hooks.h"
#include "host.h"

/* One rung as it stands: the first that works in its family is the one that `watch` takes. */
static void rung_print(const struct rung_state *state, bool taken)
{
	const char *how = state->error ? "no" : taken ? "yes, used" : "yes";

	printf("  %-8s %-11s %-10s %s\n", hook_family_name(state->rung->family), state->rung->name,
	       how, state->rung->where);
	if (state->error)
		printf("%33s%s\n", "", state->why);
	else if (state->rung->tax)
		printf("%33scosts: %s\n", "", state->rung->tax);
}

static json_t *rung_json(const struct rung_state *state, bool taken)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:b, s:b}", "family",
				 hook_family_name(state->rung->family), "rung", state->rung->name,
				 "where", state->rung->where, "works", !state->error, "used",
				 taken);

	if (state->error)
		json_object_set_new(json, "why", json_string(state->why));
	if (state->rung->tax)
		json_object_set_new(json, "costs", json_string(state->rung->tax));
	return json;
}

/* Tries every rung. Returns whether each family has one that works. */
static bool rungs_try(const struct options *options, json_t *list)
{
	bool works[HOOK_FAMILIES] = { false }, all = true, taken;
	const struct rung *ladder;
	struct rung_state state;
	size_t n, i;

	ladder = hooks_ladder(&n);
	for (i = 0; i < n; i++) {
		rung_try(&ladder[i], &state, options->verbose);
		taken = !state.error && !works[ladder[i].family];
		works[ladder[i].family] |= !state.error;
		if (list)
			json_array_append_new(list, rung_json(&state, taken));
		else
			rung_print(&state, taken);
	}
	for (i = 0; i < HOOK_FAMILIES; i++)
		all = all && (works[i] || i == HOOK_FAILED);
	return all;
}

static int check_text(const struct options *options, const char *kernel)
{
	bool works;

	printf("deadhold %s on Linux %s\n\n", DEADHOLD_VERSION, kernel);
	printf("  %-8s %-11s %-10s %s\n", "hook", "rung", "works", "where");
	works = rungs_try(options, NULL);
	printf("\n%s\n", works ? "deadhold watch runs here." : "deadhold watch can't run here.");
	return works ? 0 : 1;
}

static int check_json(const struct options *options, const char *kernel)
{
	json_t *rungs = json_array();
	bool works = rungs_try(options, rungs);
	json_t *json = json_pack("{s:s, s:s, s:s, s:b, s:o}", "schema", "deadhold.check/1",
				 "version", DEADHOLD_VERSION, "kernel", kernel, "works", works,
				 "rungs", rungs);

	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
	return works ? 0 : 1;
}

int check_run(const struct options *options)
{
	struct utsname kernel;
	char why[256];
	int status;

	if (host_check(why, sizeof(why))) {
		fprintf(stderr, "deadhold: %s\n", why);
		return 1;
	}
	uname(&kernel);
	status = options->output == OUTPUT_JSON ? check_json(options, kernel.release)
						: check_text(options, kernel.release);
	if (fflush(stdout)) {
		fprintf(stderr, "deadhold: standard output: write error\n");
		return 1;
	}
	return status;
}
