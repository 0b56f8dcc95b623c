// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "check.h"
#include "hooks.h"
#include "host.h"
#include "jsonw.h"

/* One rung as it stands: the first that works in its family is the one that `watch` takes. */
static void rung_print(const struct rung_state *state, bool taken)
{
	const char *how = state->error ? "no" : taken ? "yes, used" : "yes";

	printf("  %-12s %-13s %-10s %s\n", hook_family_name(state->rung->family), state->rung->name,
	       how, state->rung->where);
	if (state->error)
		printf("      %s\n", state->why);
	else if (state->rung->tax)
		printf("      costs: %s\n", state->rung->tax);
}

static void rung_json(struct jsonw *json, const struct rung_state *state, bool taken)
{
	jsonw_object(json, NULL);
	jsonw_string(json, "family", hook_family_name(state->rung->family));
	jsonw_string(json, "rung", state->rung->name);
	jsonw_string(json, "where", state->rung->where);
	jsonw_boolean(json, "works", !state->error);
	jsonw_boolean(json, "used", taken);
	if (state->error)
		jsonw_escaped(json, "why", state->why);
	jsonw_string(json, "costs", state->rung->tax);
	jsonw_object_end(json);
}

/* Tries every rung. Returns whether each family has one that works. */
static bool rungs_try(const struct options *options, struct jsonw *json)
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
		if (json)
			rung_json(json, &state, taken);
		else
			rung_print(&state, taken);
	}
	for (i = 0; i < HOOK_FAMILIES; i++)
		all = all && (works[i] || i == HOOK_FAILED || i == HOOK_CALL || i == HOOK_DEEP);
	return all;
}

static int check_text(const struct options *options, const char *kernel)
{
	bool works;

	printf("deadhold %s on Linux %s\n\n", DEADHOLD_VERSION, kernel);
	printf("  %-12s %-13s %-10s %s\n", "hook", "rung", "works", "where");
	works = rungs_try(options, NULL);
	printf("\n%s\n", works ? "deadhold watch runs here." : "deadhold watch can't run here.");
	return works ? 0 : 1;
}

static int check_json(const struct options *options, const char *kernel)
{
	struct jsonw json = { 0 };
	char *text;
	size_t len;
	bool works;

	jsonw_object(&json, NULL);
	jsonw_string(&json, "schema", "deadhold.check/1");
	jsonw_string(&json, "version", DEADHOLD_VERSION);
	jsonw_escaped(&json, "kernel", kernel);
	jsonw_array(&json, "rungs");
	works = rungs_try(options, &json);
	jsonw_array_end(&json);
	jsonw_boolean(&json, "works", works);
	jsonw_object_end(&json);
	text = jsonw_take(&json, &len);
	if (!text) {
		fprintf(stderr, "deadhold: out of memory\n");
		return 1;
	}
	fwrite(text, 1, len, stdout);
	free(text);
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
