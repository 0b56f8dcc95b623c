// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hint of an alert: what to do now, and how the code should have been, in one sentence. What does
 * not fit into one is on the pages of `deadhold explain`.
 */
#include <stdio.h>
#include <string.h>

#include "alert.h"

static const char *const orphan_hints[EXIT_REASONS] = {
	[EXIT_RETURN] =
		"its function ended without unlocking: let a guard unlock (RAII, with, defer)",
	[EXIT_CANCEL] =
		"cancelled while it held it: use a stop flag, or a cleanup handler that unlocks",
	[EXIT_RAW] = "the bare system call cleans up nothing: return from the thread's function",
	[EXIT_SECCOMP] = "a filter killed the thread: let it kill the process, or return an error",
	[EXIT_EXEC] = "exec unlocks nothing in shared memory: make the lock robust",
	[EXIT_PROCESS_EXIT] = "nothing unlocks in shared memory at exit: make the lock robust",
	[EXIT_PROCESS_KILLED] =
		"nothing unlocks in shared memory after a kill: make the lock robust",
	[EXIT_FORK] =
		"held by another thread at fork: exec at once in the child, or use pthread_atfork",
};

static bool all_robust(const struct alert *alert)
{
	for (size_t i = 0; i < alert->n_locks; i++)
		if (!lock_is_robust(&alert->locks[i]))
			return false;
	return alert->n_locks > 0;
}

static bool any_by_shape(const struct alert *alert)
{
	for (size_t i = 0; i < alert->n_locks; i++)
		if (alert->locks[i].proof == PROOF_SHAPE)
			return true;
	return false;
}

static void hint_orphan(const struct alert *alert, bool hangs, char out[HINT_BYTES])
{
	const char *now = hangs ? "only a restart frees what is stuck" : "", *code = NULL;

	if ((unsigned int)alert->exit.reason < EXIT_REASONS)
		code = orphan_hints[alert->exit.reason];
	if (all_robust(alert))
		code = "whoever locks it next gets EOWNERDEAD: repair, then pthread_mutex_consistent";
	snprintf(out, HINT_BYTES, "%s%s%s", now, *now && code ? "; " : "", code ? code : "");
}

/* An interpreter runs handlers where it wants: python, python3.11, by its own executable. */
static bool is_python(const struct process_info *process)
{
	const char *slash = strrchr(process->exe, '/');

	return slash && !strncmp(slash + 1, "python", strlen("python"));
}

static const char *fatal_hint(bool tid_kill)
{
	return tid_kill ? "no signal ends one thread: let it read a stop flag (deadhold explain "
			  "tid-kill)"
			: "no signal ends one thread: let it read a stop flag (deadhold explain "
			  "thread-signal)";
}

static const char *signal_hint(const struct alert *alert)
{
	const struct signal_info *signal = &alert->signal;

	if (signal->result != RESULT_QUEUED && signal->result != RESULT_ALREADY_PENDING)
		return "";
	if (signal->fatal)
		return fatal_hint(alert->kind == ALERT_TID_KILL);
	/* 32 and 33 are the C library's own: no handler of Python's. */
	if (is_python(&alert->process) && signal->number != 32 && signal->number != 33)
		return "CPython runs handlers in its main thread, whichever thread is hit";
	if (alert->kind == ALERT_TID_KILL)
		return "kill knows no threads: name the process, or use tgkill for one thread";
	return "";
}

/* By its first dead thread, as the line tells it. When it is over, nothing is to be done now. */
static void hint_incident(const struct alert *alert, char out[HINT_BYTES])
{
	const struct incident_info *info = alert->incident;

	if (!info)
		return;
	if (info->killed)
		snprintf(out, HINT_BYTES, "%s",
			 fatal_hint(info->dead[0].cause.kind == CAUSE_TID_KILL));
	else
		hint_orphan(alert, info->victims_count && info->state != INCIDENT_CLOSED, out);
}

static const char *exception_hint(const struct call_info *called)
{
	if (called && called->native_tid)
		return "the call takes Thread.ident, not the number that ps shows";
	if (called && called->state == ASYNC_PENDING)
		return "a thread that waits does not get it: a stop event and time limits are safer "
		       "(deadhold explain async-exception)";
	return "";
}

bool alert_hint(const struct alert *alert, char out[HINT_BYTES])
{
	out[0] = '\0';
	switch (alert->kind) {
	case ALERT_LOCK_ORPHANED:
	case ALERT_ORPHAN_WAIT:
		hint_orphan(alert, alert->severity == SEVERITY_CRITICAL, out);
		break;
	case ALERT_INCIDENT:
		hint_incident(alert, out);
		break;
	case ALERT_LOCK_SUSPECTED:
		if (alert->n_locks && alert->locks[0].doubt)
			snprintf(out, HINT_BYTES, "gdb -p %d, thread apply all bt: what %s does",
				 alert->process.pid,
				 alert->locks[0].doubt == DOUBT_FORK ? "the main thread"
								     : "who waits there");
		else
			snprintf(out, HINT_BYTES, "%s: deadhold explain %s says how to tell",
				 any_by_shape(alert) ? "it may be chance"
						     : "the lock records no owner",
				 any_by_shape(alert) ? "lock-suspected" : "inferred");
		break;
	case ALERT_THREAD_SIGNAL:
	case ALERT_TID_KILL:
		snprintf(out, HINT_BYTES, "%s", signal_hint(alert));
		break;
	case ALERT_THREAD_KILLED:
		snprintf(out, HINT_BYTES,
			 "what it had in hand, such as a task from a queue, may be lost "
			 "(deadhold explain thread-killed)");
		break;
	case ALERT_THREAD_CANCEL:
		snprintf(out, HINT_BYTES,
			 "locks without a cleanup handler stay locked: a stop flag is safer "
			 "(deadhold explain thread-cancel)");
		break;
	case ALERT_ASYNC_EXCEPTION:
		snprintf(out, HINT_BYTES, "%s", exception_hint(alert->called));
		break;
	case ALERT_LOSS:
		snprintf(out, HINT_BYTES, "deadhold explain PLACE says what may be missing");
		break;
	default:
		break;
	}
	return out[0];
}
