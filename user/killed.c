// SPDX-License-Identifier: GPL-2.0-only
#include "killed.h"

#include <stdlib.h>

#include "calls.h"
#include "cases.h"
#include "censuses.h"
#include "detect.h"
#include "table.h"

/* So long is waited for a census and for what is found. */
#define WAIT_NS 3000000000ull
/* Those that wait: the oldest is said as it is, then. */
#define WAITING_LIMIT 16384

struct end {
	struct owner_key key;
	UT_hash_handle hh; /* in the order of the ends */
	struct ev_task task;
	struct exit_info exit;
	uint64_t locks;
};

struct killed {
	struct agent *agent;
	struct end *ends;
};

struct killed *killed_new(struct agent *agent)
{
	struct killed *killed = calloc(1, sizeof(*killed));

	if (killed)
		killed->agent = agent;
	return killed;
}

static void end_free(struct killed *killed, struct end *end)
{
	HASH_DEL(killed->ends, end);
	free(end);
}

void killed_free(struct killed *killed)
{
	struct end *end, *next;

	if (!killed)
		return;
	HASH_ITER (hh, killed->ends, end, next)
		end_free(killed, end);
	free(killed);
}

static void end_say(struct killed *killed, const struct end *end)
{
	struct agent *agent = killed->agent;
	struct cause_info cause;
	struct alert alert = {
		.kind = ALERT_THREAD_KILLED,
		.severity = SEVERITY_WARNING,
		.time_ns = end->exit.time_ns,
		.exit = end->exit,
		.locks_found = end->locks,
	};

	detect_process(&alert.process, &end->task, agent->tick_ns);
	processes_fill(agent->processes, &end->key.proc, &alert.process);
	detect_thread(&alert.thread, &end->task, agent->tick_ns);
	if (calls_cause(agent->calls, &end->key, &end->exit, &cause))
		alert.cause = &cause;
	stream_say(&agent->stream, &alert);
}

/* By its exit reason, or because an exception that was thrown into it may be why. */
static bool end_is_forced(const struct killed *killed, const struct owner_key *key,
			  const struct exit_info *exit)
{
	struct cause_info cause;

	if (exit->reason == EXIT_CANCEL || exit->reason == EXIT_SECCOMP)
		return true;
	return calls_cause(killed->agent->calls, key, exit, &cause) &&
	       cause.kind == CAUSE_ASYNC_EXCEPTION;
}

void killed_exit(struct killed *killed, const struct ev_exit *ev)
{
	struct owner_key key = { .proc = ev->task.proc, .ns_tid = ev->task.ns_tid };
	struct exit_info info;
	struct end *end;

	if (ev->flags & (EXIT_IN_GROUP | EXIT_IN_EXEC))
		return;
	detect_exit(&info, ev);
	if (!end_is_forced(killed, &key, &info))
		return;
	HASH_FIND(hh, killed->ends, &key, sizeof(key), end);
	if (!end && HASH_COUNT(killed->ends) >= WAITING_LIMIT)
		end = killed->ends;
	if (end) { /* the number was in use again */
		end_say(killed, end);
		end_free(killed, end);
	}
	end = calloc(1, sizeof(*end));
	if (!end) {
		killed->agent->unsaid.no_memory++;
		return;
	}
	end->key = key;
	end->task = ev->task;
	end->exit = info;
	processes_ready(killed->agent->processes, &key.proc); /* asks */
	HASH_ADD(hh, killed->ends, key, sizeof(end->key), end);
}

void killed_lock(struct killed *killed, const struct owner_key *key, uint64_t exit_ns)
{
	struct end *end;

	HASH_FIND(hh, killed->ends, key, sizeof(*key), end);
	if (end && end->exit.time_ns == exit_ns)
		end->locks++;
}

static bool end_ready(const struct killed *killed, const struct end *end, uint64_t now)
{
	struct agent *agent = killed->agent;

	if (end->exit.time_ns + WAIT_NS <= now)
		return true;
	return !calls_waiting(agent->calls) && processes_ready(agent->processes, &end->key.proc) &&
	       censuses_answered(agent->censuses, &end->key.proc) &&
	       !cases_about(agent->cases, &end->key);
}

void killed_flush(struct killed *killed, bool all)
{
	uint64_t now = host_now();
	struct end *end, *next;

	HASH_ITER (hh, killed->ends, end, next) {
		if (!all && !end_ready(killed, end, now))
			continue;
		end_say(killed, end);
		end_free(killed, end);
	}
}

size_t killed_waiting(const struct killed *killed)
{
	return HASH_COUNT(killed->ends);
}

uint64_t killed_due(const struct killed *killed)
{
	return killed->ends ? killed->ends->exit.time_ns + WAIT_NS : 0;
}
