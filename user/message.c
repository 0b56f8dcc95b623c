// SPDX-License-Identifier: GPL-2.0-only
/*
 * The message: one sentence an alert, the same in text and JSON. It says who and what, as short as
 * an 80-column line leaves room for behind time, severity and kind; text.c says the rest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alert.h"
#include "words.h"

#define MESSAGE_BYTES 2048 /* three labels and a few words: nothing is ever cut off */
#define LOCK_BYTES    32
#define NS_PER_S      UINT64_C(1000000000)

static void message_ready(const struct alert *alert, char out[MESSAGE_BYTES])
{
	(void)alert;
	snprintf(out, MESSAGE_BYTES, "watching: nothing from here on is missed");
}

/* "2 locks", "at least 4096 locks": the search ended before all had been looked at. */
static char *locks_words(const struct alert *alert, char out[WHO_BYTES])
{
	uint64_t n = alert->n_locks + alert->locks_more;

	snprintf(out, WHO_BYTES, "%s%" PRIu64 " lock%s",
		 alert->census && alert->census->error ? "at least " : "", n, plural(n));
	return out;
}

static void message_lock_orphaned(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES], thread[WHO_BYTES], locks[WHO_BYTES];
	size_t n = alert->n_locks;

	process_label(&alert->process, process);
	if (alert->exit.reason == EXIT_FORK)
		snprintf(out, MESSAGE_BYTES, "%s inherited %zu held lock%s over fork", process, n,
			 plural(n));
	else
		snprintf(out, MESSAGE_BYTES, "%s %s died holding %s", process,
			 thread_label(&alert->process, &alert->thread, thread),
			 locks_words(alert, locks));
}

static void message_lock_suspected(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES], thread[WHO_BYTES], locks[WHO_BYTES];

	process_label(&alert->process, process);
	thread_label(&alert->process, &alert->thread, thread);
	snprintf(out, MESSAGE_BYTES, "%s %s may hold %s", process, thread,
		 locks_words(alert, locks));
}

static void message_orphan_wait(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES], thread[WHO_BYTES];

	snprintf(out, MESSAGE_BYTES, "%s %s %s: lock %s", process_label(&alert->process, process),
		 thread_label(&alert->process, &alert->thread, thread),
		 alert_hangs(alert, &alert->wait) ? "hangs" : "waits",
		 alert->exit.reason == EXIT_FORK ? "held at fork" : "owner died");
}

static void message_orphan_cleared(const struct alert *alert, char out[MESSAGE_BYTES])
{
	static const char *const formats[CLEARED_HOWS] = {
		[CLEARED_FOREIGN_UNLOCK] = "%s%s is free again",
		[CLEARED_RECOVERED] = "%s%s was recovered",
		[CLEARED_PROCESS_EXIT] = "%s%s is gone: exit",
		[CLEARED_EXEC] = "%s%s is gone: exec",
		[CLEARED_GONE] = "%s%s is gone",
	};
	char process[WHO_BYTES], lock[LOCK_BYTES] = " lock";

	if (alert->n_locks && alert->locks[0].address)
		snprintf(lock, sizeof(lock), " lock 0x%" PRIx64, alert->locks[0].address);
	snprintf(out, MESSAGE_BYTES, formats[alert->how < CLEARED_HOWS ? alert->how : CLEARED_GONE],
		 process_label(&alert->process, process), lock);
}

static const char *sender_label(const struct alert *alert, char out[WHO_BYTES])
{
	if (alert->sender_process.pid)
		return process_label(&alert->sender_process, out);
	snprintf(out, WHO_BYTES, "%s",
		 alert->signal.call == CALL_TIMER    ? "a timer"
		 : alert->signal.call == CALL_KERNEL ? "the kernel"
						     : "unknown sender");
	return out;
}

/* thread 4712 of web[4700] */
static const char *target_label(const struct alert *alert, char out[2 * WHO_BYTES])
{
	char number[WHO_BYTES], process[WHO_BYTES];
	bool known = alert->process.pid;

	snprintf(out, 2 * WHO_BYTES, "%s%s%s",
		 thread_number(&alert->process, &alert->thread, number), known ? " of " : "",
		 known ? process_label(&alert->process, process) : "");
	return out;
}

static void message_thread_signal(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char sender[WHO_BYTES], target[2 * WHO_BYTES], process[WHO_BYTES], number[WHO_BYTES];
	bool own = alert->process.pid && alert->sender_process.pid == alert->process.pid;
	char name[SIGNAL_NAME_BYTES];

	signal_label(&alert->signal, name);
	sender_label(alert, sender);
	target_label(alert, target);
	process_label(&alert->process, process);
	thread_number(&alert->process, &alert->thread, number);

	if (alert->signal.result == RESULT_FAILED)
		snprintf(out, MESSAGE_BYTES, "%s failed: %s, %s", name,
			 errno_name(alert->signal.error), target);
	else if (alert->signal.result == RESULT_PROBED)
		snprintf(out, MESSAGE_BYTES, "%s: probe of %s", sender, target);
	else if (alert->signal.fatal)
		snprintf(out, MESSAGE_BYTES, "%s at %s ends all of %s", name, number, process);
	else if (own)
		snprintf(out, MESSAGE_BYTES, "%s: %s to its own %s", process, name, number);
	else
		snprintf(out, MESSAGE_BYTES, "%s: %s to %s", sender, name, target);
}

static void message_tid_kill(const struct alert *alert, char out[MESSAGE_BYTES])
{
	const char *call = alert->signal.call == CALL_RT_SIGQUEUEINFO ? "sigqueue" : "kill";
	int number = alert->thread.tid ? alert->thread.tid : alert->thread.ns_tid;
	char process[WHO_BYTES], name[SIGNAL_NAME_BYTES];

	process_label(&alert->process, process);
	signal_label(&alert->signal, name);
	if (alert->signal.result == RESULT_FAILED)
		snprintf(out, MESSAGE_BYTES, "%s %d with %s failed: %s", call, number, name,
			 errno_name(alert->signal.error));
	else if (alert->signal.result == RESULT_PROBED)
		snprintf(out, MESSAGE_BYTES, "%s %d probed: it is a thread of %s", call, number,
			 process);
	else
		snprintf(out, MESSAGE_BYTES, "%s %d: whole process %s %s %s", call, number, process,
			 alert->signal.result == RESULT_IGNORED ? "ignores" : "gets", name);
}

/* SystemExit, or what is known in its place */
static const char *exception_label(const char *exception, char out[ESCAPED_BYTES(TYPE_NAME_BYTES)])
{
	if (!*exception)
		return strcpy(out, "an exception");
	return escape(out, ESCAPED_BYTES(TYPE_NAME_BYTES), exception, strlen(exception));
}

/* worker[4712], or what the caller named in its place */
static const char *named_label(const struct alert *alert, char out[WHO_BYTES])
{
	static const char *const words[NAMED_KINDS] = {
		[NAMED_ENDED] = "an ended thread",
		[NAMED_NO_THREAD] = "no thread",
		[NAMED_UNREADABLE] = "some thread",
	};
	const char *word = words[alert->called->named];

	if (!word)
		return thread_label(&alert->process, &alert->thread, out);
	snprintf(out, WHO_BYTES, "%s", word);
	return out;
}

static void message_thread_cancel(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES], target[WHO_BYTES], sender[WHO_BYTES];

	process_label(&alert->process, process);
	thread_label(&alert->process, &alert->sender_thread, sender);
	if (alert->called->named == NAMED_THREAD && alert->thread.tid &&
	    alert->thread.tid == alert->sender_thread.tid)
		snprintf(out, MESSAGE_BYTES, "%s %s cancels itself", process, sender);
	else
		snprintf(out, MESSAGE_BYTES, "%s %s cancels %s", process, sender,
			 named_label(alert, target));
}

static void message_async_exception(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES], target[WHO_BYTES], exception[ESCAPED_BYTES(TYPE_NAME_BYTES)];
	const struct call_info *called = alert->called;

	process_label(&alert->process, process);
	named_label(alert, target);
	exception_label(called->exception, exception);
	if (called->state == ASYNC_NO_THREAD && called->native_tid)
		snprintf(out, MESSAGE_BYTES, "%s: %s for TID %d: no ident", process, exception,
			 called->native_tid);
	else if (called->state == ASYNC_NO_THREAD || called->state == ASYNC_UNKNOWN)
		snprintf(out, MESSAGE_BYTES, "%s: %s for %s", process, exception, target);
	else if (called->state == ASYNC_REVOKED)
		snprintf(out, MESSAGE_BYTES, "%s %s: exception taken back", process, target);
	else if (called->state == ASYNC_ENDED)
		snprintf(out, MESSAGE_BYTES, "%s %s ended after %s", process, target, exception);
	else
		snprintf(out, MESSAGE_BYTES, "%s %s gets %s", process, target, exception);
}

static void message_thread_killed(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES], thread[WHO_BYTES], exception[ESCAPED_BYTES(TYPE_NAME_BYTES)];

	process_label(&alert->process, process);
	thread_label(&alert->process, &alert->thread, thread);
	if (alert->exit.reason == EXIT_SECCOMP)
		snprintf(out, MESSAGE_BYTES, "%s %s killed by seccomp", process, thread);
	else if (alert->exit.reason == EXIT_CANCEL)
		snprintf(out, MESSAGE_BYTES, "%s %s ended by cancel", process, thread);
	else if (alert->cause && alert->cause->kind == CAUSE_ASYNC_EXCEPTION)
		snprintf(out, MESSAGE_BYTES, "%s %s ended after %s", process, thread,
			 exception_label(alert->cause->exception, exception));
	else
		snprintf(out, MESSAGE_BYTES, "%s %s ended", process, thread);
}

/* That an exception ended a thread can't be seen. */
static bool exit_is_forced(enum exit_reason reason)
{
	return reason == EXIT_CANCEL || reason == EXIT_SECCOMP;
}

const char *alert_headline(const struct alert *alert, char out[HEADLINE_BYTES])
{
	const struct incident_info *info = alert->incident;
	char process[WHO_BYTES], thread[WHO_BYTES], name[SIGNAL_NAME_BYTES];
	uint64_t stuck = info->victims_count;

	process_label(&alert->process, process);
	if (info->killed)
		snprintf(out, HEADLINE_BYTES, "%s at %s ended all of %s",
			 signal_label(&info->dead[0].cause.signal, name),
			 thread_number(&alert->process, &alert->thread, thread), process);
	else if (alert->exit.reason == EXIT_FORK)
		snprintf(out, HEADLINE_BYTES, "%s: %" PRIu64 " hang%s: lock held at fork", process,
			 stuck, stuck == 1 ? "s" : "");
	else if (!stuck && info->dead_count > 1)
		snprintf(out, HEADLINE_BYTES,
			 "%s: %" PRIu64 " threads ended with %" PRIu64 " lock%s", process,
			 info->dead_count, info->locks_count, plural(info->locks_count));
	else if (!stuck)
		snprintf(out, HEADLINE_BYTES, "%s: %s %s with %" PRIu64 " lock%s", process,
			 thread_label(&alert->process, &alert->thread, thread),
			 exit_is_forced(alert->exit.reason) ? "killed" : "ended", info->locks_count,
			 plural(info->locks_count));
	else if (info->dead_count > 1)
		snprintf(out, HEADLINE_BYTES,
			 "%s: %" PRIu64 " hang%s behind %" PRIu64 " dead threads", process, stuck,
			 stuck == 1 ? "s" : "", info->dead_count);
	else if (!alert->thread.tid && !alert->thread.ns_tid)
		snprintf(out, HEADLINE_BYTES, "%s: %" PRIu64 " hang%s behind a dead thread",
			 process, stuck, stuck == 1 ? "s" : "");
	else
		snprintf(out, HEADLINE_BYTES, "%s: %" PRIu64 " hang%s behind dead %s", process,
			 stuck, stuck == 1 ? "s" : "",
			 thread_label(&alert->process, &alert->thread, thread));
	return out;
}

static void message_incident(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char headline[HEADLINE_BYTES];

	snprintf(out, MESSAGE_BYTES, "%s%.1900s",
		 alert->incident->state == INCIDENT_CLOSED ? "over: " : "",
		 alert_headline(alert, headline));
}

static void message_noise(const struct alert *alert, char out[MESSAGE_BYTES])
{
	char process[WHO_BYTES] = "", name[SIGNAL_NAME_BYTES], interval[DURATION_BYTES];
	bool known = alert->process.pid;

	/* 0.25 s, 1.5 s, 60 s */
	snprintf(interval, sizeof(interval), alert->interval_s < 10 ? "%.2g" : "%.0f",
		 alert->interval_s);
	snprintf(out, MESSAGE_BYTES, "%s%s%" PRIu64 " %s in %s s: normal, folded",
		 known ? process_label(&alert->process, process) : "", known ? " got " : "",
		 alert->count, signal_label(&alert->signal, name), interval);
}

static void message_loss(const struct alert *alert, char out[MESSAGE_BYTES])
{
	uint64_t events = pairs_sum(alert->counts, alert->n_counts);

	snprintf(out, MESSAGE_BYTES, "%" PRIu64 " event%s lost: something may have been missed",
		 events, plural(events));
}

/* Lines about the watched, not about the run itself. */
static uint64_t count_alerts(const struct alert *summary)
{
	uint64_t total = 0;

	for (size_t i = 0; i < summary->n_counts; i++) {
		switch (alert_kind_parse(summary->counts[i].name)) {
		case ALERT_READY:
		case ALERT_NOISE:
		case ALERT_LOSS:
		case ALERT_SUMMARY:
			break;
		default:
			total += summary->counts[i].count;
		}
	}
	return total;
}

static void message_summary(const struct alert *alert, char out[MESSAGE_BYTES])
{
	uint64_t alerts = count_alerts(alert), lost = pairs_sum(alert->losses, alert->n_losses);
	char length[DURATION_BYTES];

	snprintf(out, MESSAGE_BYTES,
		 "watched for %s: %" PRIu64 " alert%s, %" PRIu64 " event%s lost",
		 duration((uint64_t)(alert->run_time_s * NS_PER_S), length), alerts, plural(alerts),
		 lost, plural(lost));
}

static void (*const messages[ALERT_KINDS])(const struct alert *alert, char out[MESSAGE_BYTES]) = {
	[ALERT_READY] = message_ready,
	[ALERT_LOCK_ORPHANED] = message_lock_orphaned,
	[ALERT_ORPHAN_WAIT] = message_orphan_wait,
	[ALERT_ORPHAN_CLEARED] = message_orphan_cleared,
	[ALERT_LOCK_SUSPECTED] = message_lock_suspected,
	[ALERT_THREAD_SIGNAL] = message_thread_signal,
	[ALERT_TID_KILL] = message_tid_kill,
	[ALERT_THREAD_KILLED] = message_thread_killed,
	[ALERT_THREAD_CANCEL] = message_thread_cancel,
	[ALERT_ASYNC_EXCEPTION] = message_async_exception,
	[ALERT_INCIDENT] = message_incident,
	[ALERT_NOISE] = message_noise,
	[ALERT_LOSS] = message_loss,
	[ALERT_SUMMARY] = message_summary,
};

char *alert_message(const struct alert *alert)
{
	char message[MESSAGE_BYTES] = "";

	if ((unsigned int)alert->kind < ALERT_KINDS)
		messages[alert->kind](alert, message);
	if (alert->merged.count) {
		size_t used = strlen(message);

		snprintf(message + used, sizeof(message) - used, " (%" PRIu64 " times)",
			 alert->merged.count);
	}
	return strdup(message);
}
