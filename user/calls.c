// SPDX-License-Identifier: GPL-2.0-only
#include "calls.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "array.h"
#include "detect.h"
#include "pyname.h"

/* Threads to which something was done that are remembered: some 6 MB. */
#define CAUSES 16384
/* Calls that wait for what is known of their process. */
#define WAITING_LIMIT 16384
/*
 * A thread that is not there any more has left its exit record in the ring before it went. It is read
 * in this time, unless it was lost.
 */
#define RECORD_NS 1000000000ull
/* How often threads with an exception pending are looked at. */
#define LOOK_NS 1000000000ull

/* A call that is to be said, or (ended) the end that came after it. */
struct call {
	struct ev_call ev;
	bool ended;
	bool settled;	    /* whom it named has been looked for */
	uint64_t missed_ns; /* since when nobody of that number lives; 0: not so */
	bool found;
	struct thread_info thread;
	int32_t native_tid;
	int32_t blocked_in;
	struct exit_info exit;
	struct call *prev, *next;
};

struct calls {
	struct agent *agent;
	struct causes causes;
	struct call *waiting;
	size_t n_waiting, n_unsettled, n_missed, n_pending;
	uint64_t due_ns;
};

struct calls *calls_new(struct agent *agent)
{
	struct calls *calls = calloc(1, sizeof(*calls));

	if (calls) {
		calls->agent = agent;
		causes_init(&calls->causes, CAUSES);
	}
	return calls;
}

static void call_free(struct calls *calls, struct call *call)
{
	DL_DELETE(calls->waiting, call);
	calls->n_waiting--;
	calls->n_unsettled -= !call->settled;
	calls->n_missed -= call->missed_ns && !call->settled;
	free(call);
}

void calls_free(struct calls *calls)
{
	if (!calls)
		return;
	while (calls->waiting)
		call_free(calls, calls->waiting);
	causes_clear(&calls->causes);
	free(calls);
}

static struct owner_key target_key(const struct ev_call *ev)
{
	return (struct owner_key){ .proc = ev->caller.proc, .ns_tid = ev->ns_tid };
}

/* ---- what is said ---- */

static enum async_state async_state_of(const struct call *call)
{
	if (call->ended)
		return ASYNC_ENDED;
	if (call->ev.target == TARGET_UNREAD)
		return ASYNC_UNKNOWN;
	if (call->ev.target != TARGET_THREAD)
		return ASYNC_NO_THREAD;
	return call->ev.exception ? ASYNC_PENDING : ASYNC_REVOKED;
}

static void called_fill(struct call_info *out, const struct call *call)
{
	static const enum call_named named[] = {
		[TARGET_UNREAD] = NAMED_UNREADABLE,
		[TARGET_NONE] = NAMED_NO_THREAD,
		[TARGET_ENDED] = NAMED_ENDED,
		[TARGET_THREAD] = NAMED_THREAD,
	};

	*out = (struct call_info){
		.ident = call->ev.thread,
		.named = call->ev.target <= TARGET_THREAD ? named[call->ev.target]
							  : NAMED_UNREADABLE,
		.state = async_state_of(call),
		.native_tid = call->native_tid,
		.blocked_in = call->blocked_in,
		.before_ns = call->ended ? call->exit.time_ns - call->ev.head.time_ns : 0,
	};
	python_name(out->exception, sizeof(out->exception), call->ev.name, CALL_NAME_BYTES);
}

static void call_say(struct calls *calls, const struct call *call)
{
	const struct ev_task *caller = &call->ev.caller;
	struct agent *agent = calls->agent;
	struct owner_key key = target_key(&call->ev);
	struct call_info called;
	struct alert alert = {
		.kind = call->ev.which == CALLED_CANCEL ? ALERT_THREAD_CANCEL
							: ALERT_ASYNC_EXCEPTION,
		.severity = SEVERITY_WARNING,
		.time_ns = call->ended ? call->exit.time_ns : call->ev.head.time_ns,
		.called = &called,
		.thread = call->thread,
		.exit = call->exit,
	};
	uint64_t seq = agent->stream.seq;
	struct cause_row *row;

	called_fill(&called, call);
	detect_process(&alert.process, caller, agent->tick_ns);
	processes_fill(agent->processes, &caller->proc, &alert.process);
	alert.sender_process = alert.process;
	detect_thread(&alert.sender_thread, caller, agent->tick_ns);
	stream_say(&agent->stream, &alert);
	row = agent->stream.seq > seq ? causes_row(&calls->causes, &key) : NULL;
	if (row && !call->ended)
		cause_said(row, call->ev.head.time_ns, agent->stream.seq);
}

/* ---- whom it named ---- */

static void cause_add(struct calls *calls, const struct ev_call *ev)
{
	struct owner_key key = target_key(ev);
	struct cause cause = {
		.kind = ev->which == CALLED_CANCEL ? CAUSE_THREAD_CANCEL : CAUSE_ASYNC_EXCEPTION,
		.time_ns = ev->head.time_ns,
		.ident = ev->thread,
		.sender = ev->caller,
	};

	memcpy(cause.exception, ev->name, sizeof(cause.exception));
	if (!causes_note(&calls->causes, &key, &cause))
		calls->agent->unsaid.no_memory++;
}

struct rows {
	size_t n, room;
	struct task_row *row;
	int error;
};

static void rows_add(void *context, const struct task_row *row)
{
	struct rows *rows = context;
	struct task_row *grown = array_grow(rows->row, rows->n, &rows->room, sizeof(*grown));

	if (!grown)
		return; /* not found, then */
	rows->row = grown;
	rows->row[rows->n++] = *row;
}

static int row_compare(const void *a, const void *b)
{
	const struct task_row *x = a, *y = b;

	return (x->task.ns_tid > y->task.ns_tid) - (x->task.ns_tid < y->task.ns_tid);
}

static const struct task_row *rows_find(const struct rows *rows, const struct proc_key *proc,
					uint64_t ns_tid)
{
	const struct task_row wanted = { .task.ns_tid = ns_tid };
	const struct task_row *row;

	if (ns_tid > UINT32_MAX || !rows->n)
		return NULL;
	row = bsearch(&wanted, rows->row, rows->n, sizeof(*row), row_compare);
	return row && proc_equal(&row->task.proc, proc) ? row : NULL;
}

/* On the clock of the records; rather too early than too late. */
static uint64_t task_began(const struct ev_task *task)
{
	return task->start_ns - host_boottime_offset();
}

static void pending_begin(struct calls *calls, struct cause_row *row, uint64_t now)
{
	if (cause_settled(row, now))
		return;
	calls->n_pending++;
	if (!calls->due_ns)
		calls->due_ns = now + LOOK_NS;
}

static void call_settle(struct calls *calls, struct call *call)
{
	call->settled = true;
	calls->n_unsettled--;
	calls->n_missed -= call->missed_ns != 0;
}

/* Is its exit record still to come? */
static bool call_misses(struct calls *calls, struct call *call, bool all)
{
	uint64_t now = host_now();

	if (!call->missed_ns) {
		call->missed_ns = now;
		calls->n_missed++;
	}
	return !all && call->missed_ns + RECORD_NS > now;
}

/* No thread of that number lives: it has ended since. */
static void call_find_dead(struct calls *calls, struct call *call)
{
	struct owner_key key = target_key(&call->ev);
	const struct dead *dead = model_dead(&calls->agent->model, &key);
	const struct ev_task *caller = &call->ev.caller;

	call->found = true;
	call->thread = (struct thread_info){ .ns_tid = call->ev.ns_tid };
	if (dead && dead->exit.time_ns >= call->ev.head.time_ns)
		call->thread = dead->thread;
	else if (caller->tid == caller->ns_tid) /* the host's own namespace */
		call->thread.tid = call->ev.ns_tid;
}

/* What was noted may be of an earlier bearer of the number, whose end nobody saw. */
static void cause_renew(struct calls *calls, const struct call *call, const struct ev_task *task)
{
	struct owner_key key = target_key(&call->ev);
	struct cause_row *row = causes_row(&calls->causes, &key);

	if (!row || row->exit_ns)
		return;
	cause_forget_before(row, task_began(task));
	if (call->ev.which == CALLED_CANCEL && !row->cancel.kind)
		cause_add(calls, &call->ev);
}

static void call_find(struct calls *calls, struct call *call, const struct rows *rows, bool all)
{
	const struct proc_key *proc = &call->ev.caller.proc;
	struct owner_key key = target_key(&call->ev);
	const struct task_row *row = rows_find(rows, proc, call->ev.ns_tid);
	struct cause_row *cause = causes_row(&calls->causes, &key);

	if (call->ev.target != TARGET_THREAD) {
		/* An ident is an address: what is a TID at the same time was one by mistake. */
		row = call->ev.which == CALLED_ASYNC_EXC && call->ev.target == TARGET_NONE
			      ? rows_find(rows, proc, call->ev.thread)
			      : NULL;
		call->native_tid = row ? row->task.ns_tid : 0;
	} else if (!row || task_began(&row->task) > call->ev.head.time_ns) {
		/* Nobody, or a thread that has got its number since. */
		if (call_misses(calls, call, all))
			return;
		call_find_dead(calls, call);
	} else {
		call->found = true;
		detect_thread(&call->thread, &row->task, calls->agent->tick_ns);
		cause_renew(calls, call, &row->task);
		if (!(row->flags & ROW_EXITING))
			call->blocked_in = row->call;
		if (cause && cause->exception.time_ns == call->ev.head.time_ns && !cause->exit_ns) {
			cause_seen(cause, call->blocked_in, row->switches, host_now());
			pending_begin(calls, cause, host_now());
		}
	}
	call_settle(calls, call);
}

/* One snapshot for all calls of a process that are not settled. */
static void calls_find(struct calls *calls, bool all)
{
	struct call *first, *call;

	DL_FOREACH(calls->waiting, first)
	{
		struct rows rows = { 0 };

		if (!calls->n_unsettled)
			return;
		if (first->settled ||
		    (first->missed_ns && !all && first->missed_ns + RECORD_NS > host_now()))
			continue;
		hooks_snapshot(calls->agent->hooks, first->ev.caller.proc.tgid, rows_add, &rows);
		if (rows.n)
			qsort(rows.row, rows.n, sizeof(*rows.row), row_compare);
		DL_FOREACH(first, call)
		{
			if (!call->settled &&
			    proc_equal(&call->ev.caller.proc, &first->ev.caller.proc))
				call_find(calls, call, &rows, all);
		}
		free(rows.row);
	}
}

void calls_flush(struct calls *calls, bool all)
{
	struct call *first;

	calls_find(calls, all);
	while ((first = calls->waiting) && first->settled &&
	       (all || processes_ready(calls->agent->processes, &first->ev.caller.proc))) {
		call_say(calls, first);
		call_free(calls, first);
	}
}

size_t calls_waiting(const struct calls *calls)
{
	return calls->n_waiting;
}

/* ---- records ---- */

/* What is waited for too long is said without; nothing is lost by that but names. */
static struct call *call_new(struct calls *calls, const struct ev_call *ev)
{
	struct call *call;

	if (calls->n_waiting >= WAITING_LIMIT)
		calls_flush(calls, true);
	call = calloc(1, sizeof(*call));
	if (!call) {
		calls->agent->unsaid.no_memory++;
		return NULL;
	}
	call->ev = *ev;
	call->blocked_in = -1;
	DL_APPEND(calls->waiting, call);
	calls->n_waiting++;
	calls->n_unsettled++;
	processes_ready(calls->agent->processes, &ev->caller.proc); /* asks */
	return call;
}

void calls_called(struct calls *calls, const struct ev_call *ev)
{
	struct owner_key key = target_key(ev);
	bool revokes = ev->which == CALLED_ASYNC_EXC && !ev->exception;

	/* Taking back what is not there is no exception, and changes nothing. */
	if (revokes && (ev->target != TARGET_THREAD || !causes_revoke(&calls->causes, &key)))
		return;
	if (!revokes && ev->target == TARGET_THREAD)
		cause_add(calls, ev);
	call_new(calls, ev);
}

static void call_found_exiting(struct calls *calls, struct call *call, const struct ev_exit *exit)
{
	call->found = true;
	detect_thread(&call->thread, &exit->task, calls->agent->tick_ns);
	call_settle(calls, call);
}

/* The record of its end tells whom the calls before it named. */
static void exit_settles(struct calls *calls, const struct ev_exit *exit)
{
	struct call *call;

	if (!calls->n_unsettled)
		return;
	DL_FOREACH(calls->waiting, call)
	{
		if (!call->settled && call->ev.target == TARGET_THREAD &&
		    call->ev.ns_tid == exit->task.ns_tid &&
		    call->ev.head.time_ns <= exit->head.time_ns &&
		    proc_equal(&call->ev.caller.proc, &exit->task.proc))
			call_found_exiting(calls, call, exit);
	}
}

/* The second line about an exception: the thread has ended, and in that order. */
static void ended_add(struct calls *calls, const struct cause *cause, const struct ev_exit *exit,
		      const struct exit_info *info)
{
	struct ev_call ev = {
		.head.time_ns = cause->time_ns,
		.caller = cause->sender,
		.which = CALLED_ASYNC_EXC,
		.target = TARGET_THREAD,
		.thread = cause->ident,
		.exception = 1,
		.ns_tid = exit->task.ns_tid,
	};
	struct call *call;

	memcpy(ev.name, cause->exception, sizeof(ev.name));
	call = call_new(calls, &ev);
	if (!call)
		return;
	call->ended = true;
	call->exit = *info;
	call_found_exiting(calls, call, exit);
}

void calls_exit(struct calls *calls, const struct ev_exit *ev)
{
	struct owner_key key = { .proc = ev->task.proc, .ns_tid = ev->task.ns_tid };
	const struct cause *cause;
	struct cause_row *row;
	struct exit_info exit;
	bool certain;

	exit_settles(calls, ev);
	row = causes_exit(&calls->causes, &key, ev->head.time_ns);
	if (!row || ev->flags & (EXIT_IN_GROUP | EXIT_IN_EXEC))
		return;
	cause_forget_before(row, task_began(&ev->task));
	detect_exit(&exit, ev);
	cause = cause_of(row, &exit, &certain);
	if (cause && cause->kind == CAUSE_ASYNC_EXCEPTION)
		ended_add(calls, cause, ev, &exit);
}

void calls_signal(struct calls *calls, const struct ev_signal *ev)
{
	struct owner_key key = { .proc = ev->target.proc, .ns_tid = ev->target.ns_tid };
	struct cause cause = { .time_ns = ev->head.time_ns,
			       .sender = ev->sender,
			       .no_sender = ev->flags & SIGNAL_NO_SENDER };
	enum alert_kind kind = detect_signal(&cause.sent, ev, LIBC_UNKNOWN);

	if (cause.sent.result != RESULT_QUEUED)
		return;
	cause.kind = kind == ALERT_TID_KILL ? CAUSE_TID_KILL : CAUSE_THREAD_SIGNAL;
	if (!causes_note(&calls->causes, &key, &cause))
		calls->agent->unsaid.no_memory++;
}

void calls_signal_said(struct calls *calls, const struct ev_signal *ev, uint64_t seq)
{
	struct owner_key key = { .proc = ev->target.proc, .ns_tid = ev->target.ns_tid };
	struct cause_row *row = causes_row(&calls->causes, &key);

	if (row)
		cause_said(row, ev->head.time_ns, seq);
}

/* Are the signals to this process shown to us at all? */
static bool process_is_watched(const struct options *options, const struct proc_key *proc)
{
	size_t i;

	for (i = 0; i < options->pids.n; i++) {
		if (options->pids.id[i] == (int32_t)proc->tgid)
			return true;
	}
	return !options->pids.n;
}

/* Nothing that may have preceded an end was lost, left out or not looked at. */
static bool calls_saw_all(const struct calls *calls)
{
	const struct agent *agent = calls->agent;
	const struct prober_state *prober = agent->prober ? prober_state(agent->prober) : NULL;
	uint64_t losses[LOSSES], recursion;

	hooks_losses(agent->hooks, losses, &recursion);
	return prober && prober->looked && !prober->over && !prober->n_failed && !prober->losses &&
	       !losses[LOSS_RING_BUFFER] && !losses[LOSS_SIGNALS] && !losses[LOSS_CALLS] &&
	       !recursion && !agent->unsaid.no_memory && !calls->causes.evicted;
}

/* And was it one that a call, a signal or nothing at all may be the cause of? */
static bool end_was_seen(const struct exit_info *exit)
{
	return exit->time_ns && (exit->reason == EXIT_RETURN || exit->reason == EXIT_RAW ||
				 exit->reason == EXIT_UNKNOWN);
}

bool calls_cause(const struct calls *calls, const struct owner_key *key,
		 const struct exit_info *exit, struct cause_info *out)
{
	const struct cause_row *row = causes_row(&calls->causes, key);
	struct agent *agent = calls->agent;
	struct process_info process;
	const struct cause *cause;
	bool certain;

	*out = (struct cause_info){ .kind = CAUSE_NONE };
	cause = cause_of(row, exit, &certain);
	if (!cause)
		return end_was_seen(exit) && !cause_any(row, exit->time_ns) &&
		       process_is_watched(agent->options, &key->proc) && calls_saw_all(calls);
	out->kind = cause->kind;
	out->seq = cause->seq;
	out->before_ns = exit->time_ns - cause->time_ns;
	out->certain = certain;
	out->signal = cause->sent;
	out->signal.libc = processes_fill(agent->processes, &key->proc, &process);
	python_name(out->exception, sizeof(out->exception), cause->exception, CALL_NAME_BYTES);
	if (cause->no_sender)
		return true;
	detect_process(&out->sender_process, &cause->sender, agent->tick_ns);
	processes_fill(agent->processes, &cause->sender.proc, &out->sender_process);
	detect_thread(&out->sender_thread, &cause->sender, agent->tick_ns);
	return true;
}

/* ---- exceptions that are pending ---- */

uint64_t calls_due(const struct calls *calls)
{
	if (calls->n_missed)
		return host_now(); /* the ring is read at once */
	return calls->n_pending ? calls->due_ns : 0;
}

/* All threads of one process that have one pending: once. */
static void process_look(struct calls *calls, const struct proc_key *proc, uint64_t now)
{
	struct cause_row *row, *next;
	struct rows rows = { 0 };
	const struct task_row *found;

	hooks_snapshot(calls->agent->hooks, proc->tgid, rows_add, &rows);
	if (rows.n)
		qsort(rows.row, rows.n, sizeof(*rows.row), row_compare);
	HASH_ITER (hh, calls->causes.rows, row, next) {
		if (!proc_equal(&row->key.proc, proc) || cause_settled(row, now))
			continue;
		row->looked_ns = now;
		found = rows_find(&rows, proc, row->key.ns_tid);
		/* Not there: it has ended, and its record is on the way. */
		cause_seen(row, found ? found->call : -1, found ? found->switches : 0, now);
	}
	free(rows.row);
}

void calls_run_due(struct calls *calls)
{
	struct cause_row *row, *next;
	uint64_t now = host_now();

	if (!calls->n_pending || calls->due_ns > now)
		return;
	calls->n_pending = 0;
	calls->due_ns = now + LOOK_NS;
	HASH_ITER (hh, calls->causes.rows, row, next) {
		if (cause_settled(row, now))
			continue;
		calls->n_pending++;
		if (row->looked_ns != now)
			process_look(calls, &row->key.proc, now);
	}
}
