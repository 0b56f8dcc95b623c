// SPDX-License-Identifier: GPL-2.0-only
/*
 * Alerts for people, who may read them at three in the morning and not know what a futex is. The
 * first line answers who and what; each line below it adds one fact.
 */
#include "alert.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "callname.h"
#include "cleanup.h"
#include "detail.h"
#include "memtext.h"
#include "words.h"

#define PHRASE_BYTES 64

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* A duration that stays on one line. */
static const char *span(uint64_t ns, char out[DURATION_BYTES])
{
	duration(ns, out);
	*strchrnul(out, ' ') = GLUE[0];
	return out;
}

/* ", 1.5 s ago" at the time of the alert; empty if it is the same moment or unknown */
static const char *ago(const struct alert *alert, uint64_t then_ns, char out[PHRASE_BYTES])
{
	char length[DURATION_BYTES];

	out[0] = '\0';
	if (then_ns && then_ns + NS_PER_MS <= alert->time_ns)
		snprintf(out, PHRASE_BYTES, ", %s" GLUE "ago",
			 span(alert->time_ns - then_ns, length));
	return out;
}

static void detail_lock(FILE *out, const struct lock_info *lock)
{
	const char *proof = lock_proof_name(lock->proof);
	char address[PHRASE_BYTES] = "at an unknown address";
	char words[LOCK_WORDS_BYTES], place[LOCK_PLACE_BYTES];

	if (lock->address)
		snprintf(address, sizeof(address), "0x%" PRIx64, lock->address);
	detail(out, "lock %s: %s, proof %s%s", address, lock_in_words(lock, words),
	       proof ? proof : "unknown", lock_place(lock, place));
}

/* Where it was taken: queue_take+0x1f, /srv/app+0x1234 */
static void detail_acquired(FILE *out, const struct alert *alert, const struct lock_info *lock)
{
	const struct frame_info *frame = &lock->acquired.frame;
	char symbol[ESCAPED_BYTES(DETAIL_BYTES)], module[ESCAPED_BYTES(PATH_BYTES)];
	char when[PHRASE_BYTES], offset[PHRASE_BYTES] = "";
	bool named = frame->symbol[0], mapped = frame->module[0];

	if (!lock->acquired.time_ns)
		return;
	ago(alert, lock->acquired.time_ns, when);
	if (frame->has_offset)
		snprintf(offset, sizeof(offset), "+0x%" PRIx64, frame->offset);
	if (named || mapped)
		detail_of(out, "acquired at %s%s%s%s%s", named ? ESCAPE(symbol, frame->symbol) : "",
			  named && mapped ? ", " : "", mapped ? ESCAPE(module, frame->module) : "",
			  mapped ? offset : "", when);
	else if (frame->address)
		detail_of(out, "acquired at 0x%" PRIx64 "%s", frame->address, when);
	else
		detail_of(out, "acquired at an unknown place%s", when);
}

/* Is it the lock of one of the waiters that are listed? */
static bool lock_has_waiter(const struct alert *alert, size_t lock)
{
	for (size_t i = 0; i < alert->n_waiters && i < TEXT_WAITERS; i++)
		if (alert->waiters[i].lock == lock)
			return true;
	return false;
}

static void detail_locks(FILE *out, const struct alert *alert)
{
	uint64_t said = 0, left;
	bool robust = false;

	for (size_t i = 0; i < alert->n_locks; i++) {
		robust |= lock_is_robust(&alert->locks[i]);
		if (i >= TEXT_LOCKS && !lock_has_waiter(alert, i))
			continue;
		detail_lock(out, &alert->locks[i]);
		detail_acquired(out, alert, &alert->locks[i]);
		said++;
	}
	left = alert->n_locks - said;
	if (left)
		detail(out, "and %" PRIu64 " more lock%s: --json lists %s", left, plural(left),
		       alert->locks_more ? "them" : "all");
	if (alert->locks_more)
		detail(out, "and %" PRIu64 " more lock%s that are not listed", alert->locks_more,
		       plural(alert->locks_more));
	if (robust && alert->kind != ALERT_ORPHAN_CLEARED)
		detail(out, "robust: the next thread that locks it is told and can recover it");
}

static const char *exit_reason_words(enum exit_reason reason)
{
	switch (reason) {
	case EXIT_RETURN:
		return "its thread function returned";
	case EXIT_CANCEL:
		return "it was cancelled with pthread_cancel";
	case EXIT_RAW:
		return "it called the exit system call, not libc's";
	case EXIT_SECCOMP:
		return "seccomp killed this one thread";
	case EXIT_EXEC:
		return "its process called exec";
	case EXIT_PROCESS_EXIT:
		return "its process exited";
	case EXIT_PROCESS_KILLED:
		return "its process was killed";
	default:
		return "how it ended is not known";
	}
}

/* The thread that ended, by its role, and its end; of a lock that fork copied, why nobody can unlock it. */
static void detail_end(FILE *out, const struct alert *alert, const char *role,
		       const struct thread_info *owner)
{
	char who[WHO_BYTES], whose[WHO_BYTES], when[PHRASE_BYTES], name[SIGNAL_NAME_BYTES];
	const struct process_info *other = &alert->owner_process;
	char by[PHRASE_BYTES] = "", code[PHRASE_BYTES] = "";
	const struct exit_info *end = &alert->exit;

	thread_in_full(other->pid ? other : &alert->process, owner, who);
	if (alert->kind == ALERT_LOCK_SUSPECTED && alert->locks[0].doubt) {
		detail(out, "%s %s", "named owner", who);
		return;
	}
	if (alert->exit.reason == EXIT_FORK) {
		detail(out, "fork: inherited locked from the parent; nobody in this process "
			    "holds it, so nobody can unlock it");
		if (owner->tid || owner->ns_tid)
			detail(out, "owner in the parent %s", who);
		return;
	}
	if (end->signal)
		snprintf(by, sizeof(by), " with %s",
			 signal_name(end->signal, LIBC_UNKNOWN, ORIGIN_OTHER, name));
	if (end->has_code && end->code)
		snprintf(code, sizeof(code), ", exit code %d", end->code);
	detail(out, "%s %s%s%s: %s%s%s%s", role, who, other->pid ? " of " : "",
	       other->pid ? process_in_full(other, whose) : "", exit_reason_words(end->reason), by,
	       code, ago(alert, end->time_ns, when));
}

/* process: of the waiter, NULL where it is the alert's own; lock: NULL where it is the only one */
static void detail_waiter(FILE *out, const struct alert *alert, const struct process_info *process,
			  const struct thread_info *thread, const struct lock_info *lock,
			  const struct wait_info *wait)
{
	char who[WHO_BYTES], whose[WHO_BYTES] = "", on[PHRASE_BYTES] = "", length[DURATION_BYTES];
	bool hangs = lock ? !wait->has_timeout && !lock_is_robust(lock) : alert_hangs(alert, wait);
	char how[PHRASE_BYTES], since[PHRASE_BYTES] = ", since before it was watched";

	hangs &= alert->kind != ALERT_LOCK_SUSPECTED; /* that is what is not known */
	if (wait->has_timeout)
		snprintf(how, sizeof(how), "gives up after %s", span(wait->timeout_ns, length));
	else
		snprintf(how, sizeof(how), hangs ? "waits for ever" : "waits without a timeout");
	if (wait->since_ns && wait->since_ns <= alert->time_ns)
		snprintf(since, sizeof(since), ", for %s already",
			 span(alert->time_ns - wait->since_ns, length));
	else if (!wait->since_ns && wait->unseen)
		since[0] = '\0';
	if (process)
		process_in_full(process, whose);
	if (lock && lock->address)
		snprintf(on, sizeof(on), " on lock 0x%" PRIx64, lock->address);
	detail(out, "%s %s%s%s%s: %s%s", hangs ? "stuck" : "waiting",
	       thread_in_full(process ? process : &alert->process, thread, who),
	       process ? " of " : "", whose, on, how, since);
}

/* Where a process runs, as far as it is known: what the reader needs to restart it. */
static void detail_process(FILE *out, const struct process_info *process, const struct run *run)
{
	char id[ESCAPED_BYTES(CONTAINER_ID_BYTES)], unit[ESCAPED_BYTES(DETAIL_BYTES)];
	char cmdline[ESCAPED_BYTES(DETAIL_BYTES)], comm[ESCAPED_BYTES(NAME_BYTES)];

	ESCAPE(comm, process->comm);
	if (process->container_id[0])
		detail(out, "%s runs in container %.12s", comm, ESCAPE(id, process->container_id));
	if (process->unit[0])
		detail(out, "%s runs in unit %s", comm, ESCAPE(unit, process->unit));
	if (run->cmdline && process->cmdline[0])
		detail(out, "%s was started as %s", comm, ESCAPE(cmdline, process->cmdline));
}

/* hooks: futex switch, exit tracepoint. Counts of zero are left to JSON. */
static void detail_pairs(FILE *out, const char *label, const struct pair *pairs, size_t n)
{
	char line[DETAIL_LINE_BYTES];
	size_t used = (size_t)snprintf(line, sizeof(line), "%s:", label);
	const char *comma = "";

	for (size_t i = 0; i < n && used < sizeof(line); i++) {
		char value[ESCAPED_BYTES(DETAIL_BYTES)];
		int more;

		if (!pairs[i].word && !pairs[i].count)
			continue;
		if (pairs[i].word)
			detail_glue(ESCAPE(value, pairs[i].word));
		else
			snprintf(value, sizeof(value), "%" PRIu64, pairs[i].count);
		more = snprintf(line + used, sizeof(line) - used, "%s %s" GLUE "%s", comma,
				pairs[i].name, value);
		used += (size_t)more;
		comma = ",";
	}
	if (*comma)
		detail_line(out, line);
}

static void detail_uprobes(FILE *out, const struct uprobes_info *uprobes)
{
	char path[ESCAPED_BYTES(PATH_BYTES)];

	if (!uprobes)
		return;
	switch (uprobes->state) {
	case UPROBES_ON:
	case UPROBES_LATE:
		detail(out, "uprobes: %" PRIu64 " place%s in %" PRIu64 " file%s%s%s",
		       uprobes->sites, plural(uprobes->sites), uprobes->files,
		       plural(uprobes->files),
		       uprobes->polled ? ", new files are looked for every 10 s" : "",
		       uprobes->state == UPROBES_LATE ? ", more to come: it takes long" : "");
		break;
	case UPROBES_OFF:
		detail(out, "uprobes: none: --no-uprobes");
		break;
	default:
		detail(out, "uprobes: none: %s", uprobes->why ?: "the prober has ended");
	}
	for (size_t i = 0; i < uprobes->n_failed && i < UPROBES_FAILED; i++)
		detail(out, "not probed: %s: %s", ESCAPE(path, uprobes->failed[i].path),
		       uprobes->failed[i].why);
	if (uprobes->n_failed > UPROBES_FAILED)
		detail(out, "not probed: %" PRIu64 " more", uprobes->n_failed - UPROBES_FAILED);
}

static void detail_deep(FILE *out, const struct deep_info *deep)
{
	char missing[ESCAPED_BYTES(PATH_BYTES)];

	detail(out, "deep: %" PRIu64 " probe%s in process %d", deep->probes, plural(deep->probes),
	       deep->pid);
	for (size_t i = 0; i < deep->n_missing; i++)
		detail_of(out, "out of sight: %s", ESCAPE(missing, deep->missing[i]));
}

static void details_ready(FILE *out, const struct alert *alert, const struct run *run)
{
	(void)run;
	detail(out, "deadhold %s on Linux %s", alert->version, alert->kernel);
	detail_pairs(out, "hooks", alert->hooks, alert->n_hooks);
	detail_uprobes(out, alert->uprobes);
	detail(out, "looked at %" PRIu64 " thread%s that already waited on a futex",
	       alert->blocked_threads, plural(alert->blocked_threads));
	for (size_t i = 0; i < alert->n_deep; i++)
		detail_deep(out, &alert->deep[i]);
}

/* 1.1 GB */
static const char *size_words(uint64_t bytes, char out[DURATION_BYTES])
{
	static const char *const units[] = { "kB", "MB", "GB", "TB" };
	double size = bytes / 1e3;
	size_t unit = 0;

	while (size >= 999.5 && unit < 3) {
		size /= 1e3;
		unit++;
	}
	snprintf(out, DURATION_BYTES, size < 9.95 ? "%.1f%s%s" : "%.0f%s%s", size, GLUE,
		 units[unit]);
	return out;
}

static void detail_census(FILE *out, const struct alert *alert)
{
	const struct census_info *census = alert->census;
	char scanned[DURATION_BYTES], left[DURATION_BYTES], took[DURATION_BYTES];
	uint64_t left_bytes;

	if (!census)
		return;
	left_bytes = memory_bytes_skipped(&census->bytes);
	detail(out, "census: %s of memory in %s%s%s%s%s",
	       size_words(census->bytes.scanned, scanned),
	       span((uint64_t)(census->seconds * 1e9), took), left_bytes ? ", not " : "",
	       left_bytes ? size_words(left_bytes, left) : "",
	       left_bytes ? " shared, swapped out, refused or beyond the budget" : "",
	       census->error ? ", ended early" : "");
	if (census->strangers)
		detail(out,
		       "beware: %" PRIu64
		       " place%s in this memory look%s like locks of threads that "
		       "the process never had",
		       census->strangers, plural(census->strangers),
		       census->strangers == 1 ? "s" : "");
}

/* What preceded the end of the thread; "ended by" only where that is certain. */
static void detail_cause(FILE *out, const struct alert *alert)
{
	const struct cause_info *cause = alert->cause;
	char exception[ESCAPED_BYTES(TYPE_NAME_BYTES)] = "an exception", length[DURATION_BYTES];
	char name[SIGNAL_NAME_BYTES];
	char who[WHO_BYTES], whose[WHO_BYTES];
	bool other;

	if (!cause || cause->kind == CAUSE_NONE)
		return;
	if (*cause->exception)
		ESCAPE(exception, cause->exception);
	other = cause->sender_process.pid != alert->process.pid;
	span(cause->before_ns, length);
	thread_in_full(&cause->sender_process, &cause->sender_thread, who);
	if (other)
		process_in_full(&cause->sender_process, whose);
	if (cause->kind == CAUSE_ASYNC_EXCEPTION)
		detail(out, "ended %s after %s was thrown into it by %s%s%s", length, exception,
		       who, other ? " of " : "", other ? whose : "");
	else if (cause->kind != CAUSE_THREAD_CANCEL)
		detail(out, "before: %s %s by %s%s%s, %s earlier",
		       signal_label(&cause->signal, name),
		       cause->kind == CAUSE_TID_KILL ? "with its number, for the whole process,"
						     : "at it",
		       who, other ? " of " : "", other ? whose : "", length);
	else
		detail(out, "%s %s%s%s %s it %s earlier", cause->certain ? "by:" : "before:", who,
		       other ? " of " : "", other ? whose : "",
		       cause->kind == CAUSE_THREAD_CANCEL ? "cancelled" : "signalled", length);
}

static void details_lock_orphaned(FILE *out, const struct alert *alert, const struct run *run)
{
	detail_end(out, alert, "dead owner", &alert->thread);
	detail_cause(out, alert);
	detail_locks(out, alert);
	for (size_t i = 0; i < alert->n_waiters && i < TEXT_WAITERS; i++) {
		const struct waiter_info *waiter = &alert->waiters[i];
		bool foreign = waiter->process.pid && waiter->process.pid != alert->process.pid;
		bool told_apart = alert->n_locks > 1 && waiter->lock < alert->n_locks;

		detail_waiter(out, alert, foreign ? &waiter->process : NULL, &waiter->thread,
			      told_apart ? &alert->locks[waiter->lock] : NULL, &waiter->wait);
	}
	if (alert->n_waiters > TEXT_WAITERS)
		detail(out, "and %zu more waiter%s: --json lists all",
		       alert->n_waiters - TEXT_WAITERS, plural(alert->n_waiters - TEXT_WAITERS));
	detail_census(out, alert);
	detail_process(out, &alert->process, run);
}

static void details_lock_suspected(FILE *out, const struct alert *alert, const struct run *run)
{
	char line[DETAIL_LINE_BYTES] = "evidence:";
	size_t used = strlen(line);
	uint32_t evidence = 0;

	for (size_t i = 0; i < alert->n_locks; i++)
		evidence |= alert->locks[i].evidence;
	for (unsigned int bit = 0; bit < EVIDENCE_BITS; bit++) {
		if (evidence >> bit & 1)
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s %s",
						 evidence & ((1u << bit) - 1) ? "," : "",
						 evidence_name(bit));
	}
	if (alert->n_locks && alert->locks[0].doubt == DOUBT_FORK)
		detail(out,
		       "held by a thread that is not in this process: fork may have copied the lock, "
		       "and the main thread may be the copy of the thread that held it and unlock it");
	else if (alert->n_locks && alert->locks[0].doubt == DOUBT_STATIC)
		detail(out,
		       "by its looks: a mutex of a thread that is not there. The program is static and "
		       "without symbols, so it could not be told whether C library code waits there");
	else if (evidence & EVIDENCE_NOT_WOKEN)
		detail(out,
		       "by inference, for the lock names nobody: that thread got it after a wait, "
		       "and nobody who waits for it was woken since");
	else if (alert->n_locks && alert->locks[0].proof == PROOF_INFERRED)
		detail(out,
		       "by inference, for the lock names nobody: that thread got it after a wait, "
		       "and made no call to unlock it");
	else
		detail(out,
		       "by its looks alone: memory that has the shape of a held lock of that thread");
	detail(out, "%s", line);
	details_lock_orphaned(out, alert, run);
}

static void details_orphan_wait(FILE *out, const struct alert *alert, const struct run *run)
{
	detail_waiter(out, alert, NULL, &alert->thread, NULL, &alert->wait);
	detail_locks(out, alert);
	detail_end(out, alert, "dead owner", &alert->owner);
	detail_process(out, &alert->process, run);
}

static void details_orphan_cleared(FILE *out, const struct alert *alert, const struct run *run)
{
	static const char *const words[CLEARED_HOWS] = {
		[CLEARED_FOREIGN_UNLOCK] = "another thread unlocked it",
		[CLEARED_RECOVERED] = "a thread took it over and made it consistent",
		[CLEARED_PROCESS_EXIT] = "the process ended",
		[CLEARED_EXEC] = "the process became another program",
		[CLEARED_GONE] = "its memory was freed or holds something else now",
	};

	(void)run;
	if (alert->how < CLEARED_HOWS)
		detail(out, "how: %s", words[alert->how]);
	detail_locks(out, alert);
}

static const char *error_words(int error)
{
	switch (error) {
	case ESRCH:
		return ", no such thread or process";
	case EPERM:
		return ", the sender is not permitted to";
	case EAGAIN:
		return ", too many signals are queued";
	case EINVAL:
		return ", no such signal or no valid id";
	default:
		return "";
	}
}

static void detail_signal(FILE *out, const struct alert *alert)
{
	static const char *const results[SIGNAL_RESULTS] = {
		[RESULT_QUEUED] = "queued",
		[RESULT_IGNORED] = "ignored by the target",
		[RESULT_ALREADY_PENDING] = "already pending, so dropped",
		[RESULT_FAILED] = "failed",
		[RESULT_PROBED] = "the target exists, nothing was sent",
	};
	const struct signal_info *signal = &alert->signal;
	const char *call = signal_call_name(signal->call);
	const char *code = signal->has_code ? si_code_name(signal->number, signal->code) : NULL;
	const char *meaning = signal_meaning(signal->number, signal->libc, signal_origin(signal));
	bool failed = signal->result == RESULT_FAILED;
	char name[SIGNAL_NAME_BYTES];

	detail(out, "signal %d %s%s%s%s%s%s%s%s: %s%s%s%s", signal->number,
	       signal_label(&alert->signal, name), meaning ? " (" : "", meaning ? meaning : "",
	       meaning ? ")" : "", call ? " by " : "", call ? call : "", code ? ", " : "",
	       code ? code : "", signal->result < SIGNAL_RESULTS ? results[signal->result] : "",
	       failed ? " with " : "", failed ? errno_name(signal->error) : "",
	       failed ? error_words(signal->error) : "");
}

static void detail_party(FILE *out, const char *role, const struct process_info *process,
			 const struct thread_info *thread)
{
	char who[WHO_BYTES], whose[WHO_BYTES];
	bool has_thread = thread->tid || thread->ns_tid;

	if (has_thread)
		thread_in_full(process, thread, who);
	if (process->pid)
		process_in_full(process, whose);
	if (has_thread || process->pid)
		detail(out, "%s %s%s%s", role, has_thread ? who : "",
		       has_thread && process->pid ? " of " : "", process->pid ? whose : "");
}

static bool was_sent(const struct signal_info *signal)
{
	return signal->result != RESULT_FAILED && signal->result != RESULT_PROBED;
}

/* ptrace(2) sends it when a tracer attaches, which then keeps it from the process. */
static bool is_tracers_stop(const struct signal_info *signal)
{
	return signal->call == CALL_KERNEL && signal->has_code && signal->code == SI_KERNEL;
}

static void details_signal(FILE *out, const struct alert *alert, const struct run *run)
{
	if (alert->signal.fatal && was_sent(&alert->signal))
		detail(out, "fatal: ends the whole process, unless it is blocked or handled first");
	else if (alert->signal.number == SIGSTOP && was_sent(&alert->signal))
		detail(out,
		       is_tracers_stop(&alert->signal)
			       ? "as when a debugger attaches (ptrace): then only this thread stops"
			       : "stops the whole process until SIGCONT");
	detail_signal(out, alert);
	detail_party(out, "sender", &alert->sender_process, &alert->sender_thread);
	if (alert->sender_process.pid != alert->process.pid)
		detail_process(out, &alert->sender_process, run);
	detail_party(out, "target", &alert->process, &alert->thread);
	detail_process(out, &alert->process, run);
}

static void details_tid_kill(FILE *out, const struct alert *alert, const struct run *run)
{
	char process[WHO_BYTES], name[SIGNAL_NAME_BYTES];

	if (was_sent(&alert->signal))
		detail(out, "whole process: %s gives %s to all of %s, not to one thread of it",
		       alert->signal.call == CALL_RT_SIGQUEUEINFO ? "sigqueue" : "kill",
		       signal_label(&alert->signal, name), process_label(&alert->process, process));
	details_signal(out, alert, run);
}

static void details_thread_killed(FILE *out, const struct alert *alert, const struct run *run)
{
	detail_end(out, alert, "thread", &alert->thread);
	detail_cause(out, alert);
	if (alert->locks_found)
		detail(out, "held %" PRIu64 " lock%s that %s found: see lock-orphaned",
		       alert->locks_found, plural(alert->locks_found),
		       alert->locks_found == 1 ? "was" : "were");
	else
		detail(out, "no lock found so far that it held");
	detail_process(out, &alert->process, run);
}

/* Why a call that names a thread by its pthread_self did not reach one. */
static void detail_named(FILE *out, const struct alert *alert)
{
	const struct call_info *called = alert->called;

	switch (called->named) {
	case NAMED_ENDED:
		detail(out, "0x%" PRIx64 " is the descriptor of a thread that had ended",
		       called->ident);
		break;
	case NAMED_NO_THREAD:
		detail(out, "0x%" PRIx64 " is no thread of this process", called->ident);
		break;
	case NAMED_UNREADABLE:
		detail(out, "0x%" PRIx64 " could not be read: which thread that is is not known",
		       called->ident);
		break;
	default:
		detail_party(out, "target", &alert->process, &alert->thread);
	}
}

static void details_thread_cancel(FILE *out, const struct alert *alert, const struct run *run)
{
	detail_party(out, "sender", &alert->sender_process, &alert->sender_thread);
	detail_named(out, alert);
	detail_process(out, &alert->process, run);
}

static void details_async_exception(FILE *out, const struct alert *alert, const struct run *run)
{
	const struct call_info *called = alert->called;
	const char *call = call_name(called->blocked_in);
	char exception[ESCAPED_BYTES(TYPE_NAME_BYTES)] = "an exception", length[DURATION_BYTES];

	if (*called->exception)
		ESCAPE(exception, called->exception);
	if (called->state == ASYNC_PENDING && called->blocked_in >= 0)
		detail(out,
		       "pending: the thread is in %s%s%d%s; the exception acts when it runs "
		       "Python code again",
		       call ?: "system call ", call ? " (" : "", called->blocked_in,
		       call ? ")" : "");
	else if (called->state == ASYNC_PENDING)
		detail(out, "pending: acts when the thread runs Python code");
	else if (called->state == ASYNC_REVOKED)
		detail(out, "what had not acted by then never will");
	else if (called->state == ASYNC_NO_THREAD && called->native_tid)
		detail(out,
		       "mistake: the call takes threading.get_ident(), not a native thread id: "
		       "nothing happens");
	else if (called->state == ASYNC_ENDED)
		detail(out, "ended %s after %s was thrown into it: that it is why can't be seen",
		       span(called->before_ns, length), exception);
	detail_party(out, "sender", &alert->sender_process, &alert->sender_thread);
	detail_named(out, alert);
	detail_process(out, &alert->process, run);
}

/* So many locks of an incident are listed; the others are counted. */
#define INCIDENT_TEXT_LOCKS 4

/* SIGUSR1 by tgkill; pthread_cancel; SystemExit thrown */
#define WHAT_BYTES (ESCAPED_BYTES(TYPE_NAME_BYTES) + 64)
static const char *cause_words(const struct cause_info *cause, char out[WHAT_BYTES])
{
	char exception[ESCAPED_BYTES(TYPE_NAME_BYTES)] = "an exception", name[SIGNAL_NAME_BYTES];
	const char *call = signal_call_name(cause->signal.call);

	if (*cause->exception)
		ESCAPE(exception, cause->exception);
	if (cause->kind == CAUSE_THREAD_CANCEL)
		snprintf(out, WHAT_BYTES, "pthread_cancel");
	else if (cause->kind == CAUSE_ASYNC_EXCEPTION)
		snprintf(out, WHAT_BYTES, "%s thrown into it", exception);
	else
		snprintf(out, WHAT_BYTES, "%s by %s", signal_label(&cause->signal, name),
			 call ? call : "an unknown call");
	return out;
}

/* What came before, by whom, how long before; and whether it is why. */
static void detail_incident_cause(FILE *out, const struct alert *alert,
				  const struct dead_info *dead)
{
	const struct cause_info *cause = &dead->cause;
	char what[WHAT_BYTES], who[WHO_BYTES], whose[WHO_BYTES], from[2 * WHO_BYTES + 16] = "";
	char length[DURATION_BYTES], before[PHRASE_BYTES] = "";
	bool other = cause->sender_process.pid != alert->process.pid;

	if (!dead->has_cause) {
		detail(out, "cause: not known");
		return;
	}
	if (cause->kind == CAUSE_NONE) {
		detail(out, "cause: no signal, cancel or exception was seen before its end");
		return;
	}
	if (cause->sender_process.pid)
		snprintf(from, sizeof(from), " from %s%s%s",
			 thread_in_full(&cause->sender_process, &cause->sender_thread, who),
			 other ? " of " : "",
			 other ? process_in_full(&cause->sender_process, whose) : "");
	if (cause->before_ns)
		snprintf(before, sizeof(before), ", %s before", span(cause->before_ns, length));
	detail(out, "cause: %s%s%s%s", cause_words(cause, what), from, before,
	       cause->certain ? ": that ended it" : "");
}

static void detail_incident_dead(FILE *out, const struct alert *alert, const struct dead_info *dead)
{
	struct alert end = { .time_ns = alert->time_ns,
			     .process = alert->process,
			     .exit = dead->exit };

	detail_incident_cause(out, alert, dead);
	detail_end(out, &end, "died:", &dead->thread);
}

static void detail_victim(FILE *out, const struct alert *alert, const struct waiter_info *waiter)
{
	const struct process_info *process = waiter->process.pid ? &waiter->process
								 : &alert->process;
	const struct process_info other = process_named(&waiter->behind_process);
	char who[WHO_BYTES], whose[WHO_BYTES] = "", behind[WHO_BYTES], on[PHRASE_BYTES] = "";
	char behind_whose[WHO_BYTES] = "";
	char length[DURATION_BYTES], since[PHRASE_BYTES] = "";
	const struct lock_info *lock = waiter->lock < alert->n_locks ? &alert->locks[waiter->lock]
								     : NULL;

	if (waiter->wait.since_ns && waiter->wait.since_ns <= alert->time_ns)
		snprintf(since, sizeof(since), ", for %s already",
			 span(alert->time_ns - waiter->wait.since_ns, length));
	if (waiter->process.pid)
		process_in_full(&waiter->process, whose);
	if (lock && lock->address && alert->n_locks > 1)
		snprintf(on, sizeof(on), " on lock 0x%" PRIx64, lock->address);
	if (other.pid)
		process_in_full(&other, behind_whose);
	thread_in_full(process, &waiter->thread, who);
	if (waiter->behind.tid || waiter->behind.ns_tid)
		detail(out, "stuck: %s%s%s waits for %s%s%s%s", who, *whose ? " of " : "", whose,
		       thread_in_full(other.pid ? &other : process, &waiter->behind, behind),
		       other.pid ? " of " : "", behind_whose, since);
	else
		detail(out, "stuck: %s%s%s waits for ever%s%s", who, *whose ? " of " : "", whose,
		       on, since);
}

static void detail_more(FILE *out, uint64_t all, size_t told, const char *what)
{
	if (all > told)
		detail(out, "and %" PRIu64 " more %s%s", all - told, what, plural(all - told));
}

static void details_incident(FILE *out, const struct alert *alert, const struct run *run)
{
	static const char *const over[CLEARED_HOWS] = {
		[CLEARED_FOREIGN_UNLOCK] = "another thread unlocked it",
		[CLEARED_RECOVERED] = "a thread took it over and made it consistent",
		[CLEARED_PROCESS_EXIT] = "the process ended",
		[CLEARED_EXEC] = "the process became another program",
		[CLEARED_GONE] = "the lock is gone",
	};
	const struct incident_info *info = alert->incident;
	size_t i;

	for (i = 0; i < info->n_dead; i++)
		detail_incident_dead(out, alert, &info->dead[i]);
	detail_more(out, info->dead_count, info->n_dead, "dead thread");
	for (i = 0; i < alert->n_locks && i < INCIDENT_TEXT_LOCKS; i++)
		detail_lock(out, &alert->locks[i]);
	detail_more(out, info->locks_count, i, "lock");
	for (i = 0; i < alert->n_waiters; i++)
		detail_victim(out, alert, &alert->waiters[i]);
	detail_more(out, info->victims_count, alert->n_waiters, "stuck thread");
	detail_process(out, &alert->process, run);
	if (info->state == INCIDENT_CLOSED && info->close_reason < CLEARED_HOWS)
		detail(out, "over: %s",
		       info->killed && info->close_reason == CLEARED_GONE
			       ? "the process is gone; its end was not seen"
			       : over[info->close_reason]);
	detail(out, "incident %s, revision %" PRIu64, info->id, info->revision);
}

static void details_noise(FILE *out, const struct alert *alert, const struct run *run)
{
	const struct signal_info *signal = &alert->signal;
	const char *meaning = signal_meaning(signal->number, signal->libc, signal_origin(signal));
	char name[SIGNAL_NAME_BYTES];

	(void)run;
	if (meaning)
		detail(out, "signal %d %s (%s)", signal->number, signal_label(&alert->signal, name),
		       meaning);
}

static void details_loss(FILE *out, const struct alert *alert, const struct run *run)
{
	(void)run;
	detail_pairs(out, "where", alert->counts, alert->n_counts);
}

static void details_summary(FILE *out, const struct alert *alert, const struct run *run)
{
	(void)run;
	detail_pairs(out, "said", alert->counts, alert->n_counts);
	detail_pairs(out, "lost", alert->losses, alert->n_losses);
	detail_pairs(out, "figures", alert->figures, alert->n_figures);
}

static void (*const details[ALERT_KINDS])(FILE *out, const struct alert *alert,
					  const struct run *run) = {
	[ALERT_READY] = details_ready,
	[ALERT_LOCK_ORPHANED] = details_lock_orphaned,
	[ALERT_ORPHAN_WAIT] = details_orphan_wait,
	[ALERT_ORPHAN_CLEARED] = details_orphan_cleared,
	[ALERT_LOCK_SUSPECTED] = details_lock_suspected,
	[ALERT_THREAD_SIGNAL] = details_signal,
	[ALERT_TID_KILL] = details_tid_kill,
	[ALERT_THREAD_KILLED] = details_thread_killed,
	[ALERT_THREAD_CANCEL] = details_thread_cancel,
	[ALERT_ASYNC_EXCEPTION] = details_async_exception,
	[ALERT_INCIDENT] = details_incident,
	[ALERT_NOISE] = details_noise,
	[ALERT_LOSS] = details_loss,
	[ALERT_SUMMARY] = details_summary,
};

static void detail_merged(FILE *out, const struct merged_info *merged, uint64_t last_ns)
{
	char length[DURATION_BYTES];

	if (merged->count)
		detail(out, "merged: %" PRIu64 " of these in %s%s", merged->count,
		       span(last_ns - merged->first_ns, length),
		       merged->several_threads ? ", of several threads: this is the first one"
					       : "");
}

static const char *severity_word(enum severity severity)
{
	switch (severity) {
	case SEVERITY_CRITICAL:
		return "CRITICAL";
	case SEVERITY_WARNING:
		return "WARNING";
	default:
		return "info";
	}
}

/* The local time of day with milliseconds. */
static void print_time(FILE *out, int64_t realtime_ns)
{
	time_t seconds = realtime_ns / (int64_t)NS_PER_S;
	int ms = (int)(realtime_ns % (int64_t)NS_PER_S / (int64_t)NS_PER_MS);
	struct tm tm;
	char clock[16] = "";

	if (localtime_r(&seconds, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	fprintf(out, "%s.%03d", clock, ms);
}

/* Not where the line before has told it, nor where few will want it: --json has all. */
static bool hint_is_told(enum alert_kind kind)
{
	return kind != ALERT_ORPHAN_WAIT && kind != ALERT_LOSS;
}

static void print_alert(FILE *out, const struct alert *alert, const struct run *run,
			const char *message)
{
	char missing[ESCAPED_BYTES(PATH_BYTES)], hint[HINT_BYTES];

	print_time(out, (int64_t)alert->time_ns + run->realtime_offset_ns);
	fprintf(out, " %s %s %s\n", severity_word(alert->severity), alert_kind_name(alert->kind),
		message);
	details[alert->kind](out, alert, run);
	detail_merged(out, &alert->merged, alert->time_ns);
	if (hint_is_told(alert->kind) && alert_hint(alert, hint))
		detail(out, "hint: %s", hint);
	if (alert->missing)
		detail(out, "missing: %s", ESCAPE(missing, alert->missing));
}

char *alert_text(const struct alert *alert, const struct run *run, size_t *len)
{
	_cleanup_free_ char *message = NULL;
	char *text;
	FILE *out;

	if ((unsigned int)alert->kind >= ALERT_KINDS) {
		errno = EINVAL;
		return NULL;
	}
	message = alert_message(alert);
	out = message ? open_memstream(&text, len) : NULL;
	if (out)
		print_alert(out, alert, run, message);
	return memtext_end(out, &text);
}
