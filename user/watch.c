// SPDX-License-Identifier: GPL-2.0-only
/* The agent: one thread, one epoll loop. Kernel records come in, alerts go out. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent.h"
#include "calls.h"
#include "cases.h"
#include "censuses.h"
#include "cleanup.h"
#include "deep.h"
#include "detect.h"
#include "output.h"
#include "pythons.h"
#include "killed.h"
#include "signals.h"
#include "sweep.h"
#include "watch.h"

#define OUTPUT_LIMIT_BYTES (8u << 20)
#define DEAD_LIMIT	   49152 /* three quarters of the kernel's dead_threads */
#define ORPHAN_LIMIT	   4096	 /* open at a time; 16 MB */
#define SETTLE_NS	   2000000000ull
#define DRAIN_MS	   1000
#define PLACES		   20 /* of losses */
#define NOISE_GRACE_NS	   500000000ull
#define LOSS_NS		   1000000000ull
#define DEEP_NS		   60000000000ull
#define INCIDENTS	   96		 /* followed at a time, possible ones included; 4 MB */
#define VICTIMS		   32768	 /* told apart in all of them: 3 MB */
#define LIMITS		   4096		 /* sorts of alerts that are followed; 1 MB */
#define LIMITS_KEPT	   256		 /* of which may keep one: 2 MB */
#define PROBER_NS	   2000000000ull /* how long ready waits for it at most */

enum source { SOURCE_RING, SOURCE_READER, SOURCE_SIGNAL, SOURCE_OUTPUT, SOURCE_PROBER };

struct watch {
	struct agent agent;
	int epoll;
	int signal;
	int reader_fd;
	bool output_added, output_watched;
	bool stop;
	bool behind; /* the kernel has more records than one turn took */
	bool over;   /* what it has from now on is only counted */
	uint64_t unread_signals, unread;
	bool shared_pending;
	uint64_t ready_ns;
	uint64_t end_ns; /* -d; 0: none */
	uint64_t noise_due_ns, noise_said_ns, loss_due_ns;
	uint64_t losses_said[PLACES];
	uint64_t records_lost; /* of the ring buffer, up to the last look */
	bool watched_gone[OPTION_LIST];
	size_t n_watched_gone;
	char why[256];
};

static int fail(const char *what)
{
	fprintf(stderr, "deadhold: %s\n", what);
	return 1;
}

/* ---- kernel records ---- */

/* One of the processes of -p has ended: with the last one the watch does. */
static void watched_over(struct watch *w, size_t i)
{
	if (w->watched_gone[i])
		return;
	w->watched_gone[i] = true;
	fprintf(stderr, "deadhold: watched process %d has ended\n", w->agent.options->pids.id[i]);
	if (++w->n_watched_gone >= w->agent.options->pids.n)
		w->stop = true;
}

/* Those that ended between the look at the options and the hooks. EPERM means that it is there. */
static void watched_check(struct watch *w)
{
	size_t i;

	for (i = 0; i < w->agent.options->pids.n; i++) {
		if (kill(w->agent.options->pids.id[i], 0) && errno == ESRCH)
			watched_over(w, i);
	}
}

static void process_over(struct watch *w, const struct proc_key *proc, enum cleared_how how,
			 bool killed, uint64_t time_ns)
{
	size_t i;

	cases_process_over(w->agent.cases, proc, how, killed, time_ns);
	deep_process_over(w->agent.deep, proc, how, time_ns);
	censuses_process_over(w->agent.censuses, proc);
	pythons_process_over(w->agent.pythons, proc);
	if (how != CLEARED_PROCESS_EXIT)
		return;
	for (i = 0; i < w->agent.options->pids.n; i++) {
		if (w->agent.options->pids.id[i] == (int32_t)proc->tgid)
			watched_over(w, i);
	}
}

static void event_exec(struct watch *w, const struct ev_exec *ev)
{
	struct proc_key old = ev->proc;

	old.exec_id = ev->old_exec_id;
	process_over(w, &old, CLEARED_EXEC, false, ev->head.time_ns);
	pythons_exec(w->agent.pythons, &ev->proc);
}

static void event_process_exit(struct watch *w, const struct ev_process_exit *ev)
{
	process_over(w, &ev->proc, CLEARED_PROCESS_EXIT, ev->signal, ev->head.time_ns);
	if (w->agent.stream.incidents)
		incidents_process_over(w->agent.stream.incidents, ev->proc.tgid,
				       ev->proc.start_ns / w->agent.tick_ns, ev->signal,
				       ev->head.time_ns);
}

/* There was no time to look into it any more. */
static void event_count(struct watch *w, const struct ev_head *head)
{
	if (head->type == EV_SIGNAL || head->type == EV_SEND_FAILED)
		w->unread_signals++;
	else
		w->unread++;
}

/* Every record is as long as its type says: the kernel side writes them whole. */
static void event_take(void *context, const struct ev_head *head, size_t size)
{
	struct watch *w = context;
	const void *ev = head;

	if (w->over) {
		event_count(w, head);
		return;
	}
	switch (head->type) {
	case EV_HELD:
		if (size >= sizeof(struct ev_held))
			cases_held(w->agent.cases, ev);
		break;
	case EV_EXIT:
		if (size >= sizeof(struct ev_exit)) {
			calls_exit(w->agent.calls, ev);
			cases_exit(w->agent.cases, ev);
			deep_exit(w->agent.deep, ev);
			censuses_exit(w->agent.censuses, ev);
			killed_exit(w->agent.killed, ev);
		}
		break;
	case EV_WAIT_DEAD:
		if (size >= sizeof(struct ev_wait_dead))
			cases_wait(w->agent.cases, ev);
		break;
	case EV_SIGNAL:
		if (size >= sizeof(struct ev_signal)) {
			calls_signal(w->agent.calls, ev);
			signals_sent(w->agent.signals, ev);
			censuses_signal(w->agent.censuses, ev);
		}
		break;
	case EV_CALL:
		if (size >= sizeof(struct ev_call)) {
			calls_called(w->agent.calls, ev);
			censuses_call(w->agent.censuses, ev);
		}
		break;
	case EV_SEND_FAILED:
		if (size >= sizeof(struct ev_send_failed))
			signals_failed(w->agent.signals, ev);
		break;
	case EV_FORK:
		if (size >= sizeof(struct ev_fork))
			deep_fork(w->agent.deep, ev);
		break;
	case EV_EXEC:
		if (size >= sizeof(struct ev_exec))
			event_exec(w, ev);
		break;
	case EV_SHARED_PENDING:
		w->shared_pending = true; /* once for all of them: see loop_turn() */
		break;
	case EV_PROCESS_EXIT:
		if (size >= sizeof(struct ev_process_exit))
			event_process_exit(w, ev);
		break;
	}
}

static void processes_did_change(void *context)
{
	struct watch *w = context;

	signals_flush(w->agent.signals, false);
	calls_flush(w->agent.calls, false);
}

/* ---- what the agent says of itself ---- */

/* All losses since the start, by place. The names are those of docs/alerts.md. */
static size_t losses_collect(struct watch *w, struct pair pairs[PLACES])
{
	uint64_t kernel[LOSSES], recursion;
	struct reader_losses reader = reader_losses(w->agent.reader);
	const struct unsaid *unsaid = &w->agent.unsaid;
	const struct incidents *stories = w->agent.stream.incidents;
	uint64_t incidents = stories ? incidents_lost(stories) : 0;
	size_t n = 0;

	hooks_losses(w->agent.hooks, kernel, &recursion);
	pairs[n++] = (struct pair){ "ring-buffer", kernel[LOSS_RING_BUFFER] + w->unread, NULL };
	pairs[n++] = (struct pair){ "signals", kernel[LOSS_SIGNALS] + w->unread_signals, NULL };
	pairs[n++] = (struct pair){ "dead-threads",
				    kernel[LOSS_DEAD_THREADS] + w->agent.dead_unknown, NULL };
	pairs[n++] = (struct pair){ "noise", kernel[LOSS_NOISE], NULL };
	pairs[n++] = (struct pair){ "waits", kernel[LOSS_WAITS] + kernel[LOSS_UNREADABLE], NULL };
	pairs[n++] = (struct pair){ "robust-list", kernel[LOSS_ROBUST_LIST], NULL };
	pairs[n++] = (struct pair){ "mappings", kernel[LOSS_MAPPINGS], NULL };
	pairs[n++] = (struct pair){ "recursion", recursion, NULL };
	pairs[n++] = (struct pair){ "reader", reader.deadlines + w->agent.reader_failures, NULL };
	pairs[n++] = (struct pair){ "locks-unread", unsaid->unread, NULL };
	pairs[n++] = (struct pair){ "locks-ambiguous", unsaid->ambiguous, NULL };
	pairs[n++] = (struct pair){ "deep", kernel[LOSS_DEEP] + deep_losses(w->agent.deep), NULL };
	pairs[n++] = (struct pair){ "calls", kernel[LOSS_CALLS], NULL };
	pairs[n++] = (struct pair){ "probes", prober_state(w->agent.prober)->losses, NULL };
	pairs[n++] = (struct pair){ "memory", unsaid->no_memory, NULL };
	pairs[n++] = (struct pair){ "incidents", incidents, NULL };
	pairs[n++] = (struct pair){ "output", w->agent.stream.refused, NULL };
	return n;
}

static void records_lost_follow(struct watch *w)
{
	uint64_t kernel[LOSSES], recursion;

	hooks_losses(w->agent.hooks, kernel, &recursion);
	if (kernel[LOSS_RING_BUFFER] > w->records_lost)
		cases_records_lost(w->agent.cases);
	w->records_lost = kernel[LOSS_RING_BUFFER];
}

static void loss_say(struct watch *w)
{
	struct pair pairs[PLACES], fresh[PLACES];
	size_t n = losses_collect(w, pairs), n_fresh = 0, i;
	struct alert alert = { .kind = ALERT_LOSS, .severity = SEVERITY_WARNING };
	uint64_t refused = w->agent.stream.refused;

	for (i = 0; i < n; i++) {
		if (pairs[i].count <= w->losses_said[i])
			continue;
		fresh[n_fresh] = pairs[i];
		fresh[n_fresh].count -= w->losses_said[i];
		alert.count += fresh[n_fresh++].count;
	}
	if (!n_fresh)
		return;
	alert.time_ns = host_now();
	alert.counts = fresh;
	alert.n_counts = n_fresh;
	stream_say(&w->agent.stream, &alert);
	if (w->agent.stream.refused != refused) {
		w->agent.stream.refused = refused; /* no room for the loss line: no alert lost */
		return;
	}
	for (i = 0; i < n; i++)
		w->losses_said[i] = pairs[i].count;
}

static const struct uprobes_info *uprobes_fill(struct watch *w, struct uprobes_info *out)
{
	const struct prober_state *state = prober_state(w->agent.prober);
	size_t i;

	*out = (struct uprobes_info){ .state = UPROBES_ON,
				      .files = state->files,
				      .sites = state->sites,
				      .n_failed = state->n_failed };
	if (w->agent.options->no_uprobes)
		out->state = UPROBES_OFF;
	else if (!hooks_rung(w->agent.hooks, HOOK_CALL) || state->refused)
		out->state = UPROBES_REFUSED;
	else if (state->over)
		out->state = UPROBES_OVER;
	else if (!state->looked)
		out->state = UPROBES_LATE;
	if (out->state == UPROBES_REFUSED)
		out->why = state->refused ? prober_why(state->refused)
					  : hooks_why_not(w->agent.hooks, HOOK_CALL);
	out->polled = state->follow_error != 0;
	for (i = 0; i < state->n_failed && i < UPROBES_FAILED; i++)
		out->failed[i] = (struct uprobes_failed){ state->failed[i].path,
							  prober_why(state->failed[i].error) };
	return out;
}

static const char *rung_absent(const struct watch *w, enum hook_family family)
{
	if (family == HOOK_FAILED)
		return "none: not asked for (-x)";
	return w->agent.options->no_uprobes ? "none: --no-uprobes" : "none: refused";
}

static void ready_say(struct watch *w)
{
	struct uprobes_info uprobes;
	struct pair hooks[HOOK_FAMILIES];
	struct alert alert = { .kind = ALERT_READY,
			       .severity = SEVERITY_INFO,
			       .time_ns = w->ready_ns,
			       .version = DEADHOLD_VERSION,
			       .blocked_threads = w->agent.blocked_at_start };
	enum hook_family family;
	struct utsname kernel;
	const struct rung *rung;

	uname(&kernel);
	alert.kernel = kernel.release;
	alert.hooks = hooks;
	alert.uprobes = uprobes_fill(w, &uprobes);
	alert.deep = deep_infos(w->agent.deep, &alert.n_deep);
	for (family = 0; family < HOOK_FAMILIES; family++) {
		rung = hooks_rung(w->agent.hooks, family);
		if (family == HOOK_DEEP)
			continue; /* in deep */
		hooks[alert.n_hooks++] = (struct pair){ hook_family_name(family), 0,
							rung ? rung->name
							     : rung_absent(w, family) };
		if (rung && rung->tax && !w->agent.options->quiet)
			fprintf(stderr, "deadhold: hook %s (%s) %s\n", rung->name, rung->where,
				rung->tax);
		if (rung && *hooks_why_not(w->agent.hooks, family) && w->agent.options->verbose)
			fprintf(stderr, "deadhold: %s hook: not %s\n", hook_family_name(family),
				hooks_why_not(w->agent.hooks, family));
	}
	stream_say(&w->agent.stream, &alert);
}

static size_t python_figures(const struct watch *w, struct pair *figures)
{
	struct python_totals totals = pythons_totals(w->agent.pythons);
	const struct pair all[] = {
		{ "python_searches", totals.searches, NULL },
		{ "python_scanned_bytes", totals.scanned_bytes, NULL },
		{ "python_unread_bytes", totals.unread_bytes, NULL },
		{ "python_cpu_ms", totals.cpu_ns / 1000000, NULL },
	};

	memcpy(figures, all, sizeof(all));
	return sizeof(all) / sizeof(*all);
}

static size_t census_figures(const struct watch *w, struct pair *figures)
{
	struct census_totals totals = censuses_totals(w->agent.censuses);
	const struct pair all[] = {
		{ "census_passes", totals.passes, NULL },
		{ "census_passes_unfinished", totals.unfinished, NULL },
		{ "census_exits_unanswered", totals.exits, NULL },
		{ "census_finds", totals.finds, NULL },
		{ "census_scanned_bytes", totals.bytes.scanned, NULL },
		{ "census_shared_bytes", totals.bytes.shared, NULL },
		{ "census_swapped_bytes", totals.bytes.swapped, NULL },
		{ "census_unread_bytes", totals.bytes.unread, NULL },
		{ "census_left_bytes", totals.bytes.left, NULL },
		{ "census_cpu_ms", totals.cpu_ns / 1000000, NULL },
	};

	memcpy(figures, all, sizeof(all));
	return sizeof(all) / sizeof(*all);
}

static void summary_say(struct watch *w)
{
	struct pair counts[ALERT_KINDS], places[PLACES], losses[PLACES], figures[24];
	struct alert alert = { .kind = ALERT_SUMMARY,
			       .severity = SEVERITY_INFO,
			       .time_ns = host_now(),
			       .counts = counts,
			       .losses = losses,
			       .figures = figures };
	size_t n_places, n = 0, i;
	enum alert_kind kind;

	for (kind = 0; kind < ALERT_KINDS; kind++) {
		if (w->agent.stream.said[kind])
			counts[alert.n_counts++] = (struct pair){ alert_kind_name(kind),
								  w->agent.stream.said[kind],
								  NULL };
	}
	n_places = losses_collect(w, places);
	for (i = 0; i < n_places; i++) {
		if (places[i].count)
			losses[alert.n_losses++] = places[i];
	}
	figures[n++] = (struct pair){ "signals_folded", signals_folded(w->agent.signals), NULL };
	figures[n++] = (struct pair){ "alerts_merged",
				      w->agent.stream.limits ? limits_merged(w->agent.stream.limits)
							     : 0,
				      NULL };
	if (w->agent.stream.incidents)
		figures[n++] = (struct pair){ "incidents_open",
					      incidents_open(w->agent.stream.incidents), NULL };
	figures[n++] = (struct pair){ "orphans_open", model_orphans(&w->agent.model), NULL };
	figures[n++] = (struct pair){ "dead_threads_known", w->agent.model.n_dead, NULL };
	figures[n++] = (struct pair){ "dead_threads_forgotten", w->agent.dead_forgotten, NULL };
	figures[n++] = (struct pair){ "sweeps", sweep_passes(w->agent.sweep), NULL };
	figures[n++] = (struct pair){ "locks_vanished", w->agent.unsaid.vanished, NULL };
	n += census_figures(w, figures + n);
	n += python_figures(w, figures + n);
	alert.n_figures = n;
	alert.run_time_s = (alert.time_ns - w->ready_ns) / 1e9;
	stream_say(&w->agent.stream, &alert);
}

/* ---- the loop ---- */

static int watch_fd(struct watch *w, int fd, enum source source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u32 = source };

	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* The reader's descriptor changes when the reader is replaced. The old one has left with its close. */
static int reader_follow(struct watch *w)
{
	int fd = reader_fd(w->agent.reader), error = 0;

	if (fd != w->reader_fd && fd >= 0)
		error = watch_fd(w, fd, SOURCE_READER, EPOLLIN);
	w->reader_fd = fd;
	return error;
}

/* Its descriptor leaves with its close. */
static int prober_follow(struct watch *w)
{
	int fd = prober_fd(w->agent.prober);

	return fd < 0 ? 0 : watch_fd(w, fd, SOURCE_PROBER, EPOLLIN);
}

/*
 * Waits for room only while something waits in the output. A reader of the stream that goes away is
 * always told (EPOLLERR). A regular file can't be watched, and need not be.
 */
static void output_follow(struct watch *w)
{
	bool pending = output_pending(w->agent.stream.output) > 0;
	struct epoll_event event = { .events = pending ? EPOLLOUT : 0, .data.u32 = SOURCE_OUTPUT };
	int fd = output_fd(w->agent.stream.output);

	if (!w->output_added)
		w->output_added = !epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
	else if (pending != w->output_watched)
		epoll_ctl(w->epoll, EPOLL_CTL_MOD, fd, &event);
	w->output_watched = pending;
}

static void signal_take(struct watch *w)
{
	struct signalfd_siginfo info;

	while (read(w->signal, &info, sizeof(info)) == sizeof(info))
		w->stop = true;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a ?: b;
	return a < b ? a : b;
}

static int wait_ms(struct watch *w, uint64_t now)
{
	uint64_t due = w->noise_due_ns;

	/* It is asked who it was: the answer wakes the loop, or the grace ends. */
	if (due && due <= now)
		due += NOISE_GRACE_NS;
	due = sooner(due, w->loss_due_ns);
	due = sooner(due, sweep_due(w->agent.sweep));
	due = sooner(due, reader_due(w->agent.reader));
	due = sooner(due, cases_due(w->agent.cases));
	due = sooner(due, censuses_due(w->agent.censuses));
	due = sooner(due, pythons_due(w->agent.pythons));
	due = sooner(due, stream_due(&w->agent.stream));
	due = sooner(due, calls_due(w->agent.calls));
	due = sooner(due, killed_due(w->agent.killed));
	due = sooner(due, w->end_ns);
	return due <= now ? 0 : (due - now + 999999) / 1000000;
}

static void noise_say(struct watch *w, uint64_t now)
{
	signals_noise(w->agent.signals, (now - w->noise_said_ns) / 1e9);
	w->noise_said_ns = now;
	w->noise_due_ns = now + w->agent.options->noise_interval_s * 1e9;
}

static void ending_looked(void *context, const struct look *look, const struct look_answer *answer)
{
	struct agent *agent = context;

	if (answer->error != -ECANCELED)
		incidents_answer(agent->stream.incidents, look->tgid, look->start_ticks,
				 answer->error == -ESRCH, host_now());
}

static bool ending_ask(void *context, int32_t pid, uint64_t start_ticks)
{
	struct agent *agent = context;
	struct look look = { .tgid = pid, .start_ticks = start_ticks };

	return !reader_look(agent->reader, &look, ending_looked, agent);
}

static void due_run(struct watch *w)
{
	uint64_t now = host_now();

	w->agent.run.realtime_offset_ns = host_realtime_offset();
	cases_run_due(w->agent.cases, false);
	censuses_run_due(w->agent.censuses);
	pythons_run_due(w->agent.pythons);
	stream_say_merged(&w->agent.stream, false);
	calls_run_due(w->agent.calls);
	killed_flush(w->agent.killed, false);
	if (sweep_due(w->agent.sweep) && sweep_due(w->agent.sweep) <= now) {
		cases_tick(w->agent.cases);
		if (w->agent.stream.incidents)
			incidents_ask(w->agent.stream.incidents, now, ending_ask, &w->agent);
		sweep_begin(w->agent.sweep);
	}
	if (w->loss_due_ns <= now) {
		records_lost_follow(w);
		loss_say(w);
		w->loss_due_ns = now + LOSS_NS;
	}
	if (w->noise_due_ns <= now) {
		/* Who it was is asked first: said with the names, or without them if that takes long. */
		if (signals_noise_ready(w->agent.signals) || w->noise_due_ns + NOISE_GRACE_NS < now)
			noise_say(w, now);
	}
	if (w->end_ns && w->end_ns <= now)
		w->stop = true;
}

static void nothing_row(void *context, const struct task_row *row)
{
	(void)context, (void)row;
}

/* What was said goes out before anything that may take long, sleeping first of all. */
static int output_say(struct watch *w)
{
	int error = output_flush(w->agent.stream.output);

	if (error && !w->agent.stream.error)
		w->agent.stream.error = error;
	return w->agent.stream.error;
}

/* One turn: waits up to timeout_ms for something to do and does it. 0 or -errno. */
static int loop_turn(struct watch *w, int timeout_ms)
{
	struct epoll_event events[8];
	int n, i, error;

	error = reader_follow(w) ?: output_say(w);
	if (error)
		return error;
	output_follow(w);
	n = epoll_wait(w->epoll, events, 8, timeout_ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	for (i = 0; i < n; i++) {
		if (events[i].data.u32 == SOURCE_SIGNAL)
			signal_take(w);
	}
	/* The ring first, always: what the kernel has to say is what must not pile up. */
	n = hooks_consume(w->agent.hooks);
	if (n < 0)
		return n;
	w->behind = n == HOOKS_CONSUME_LIMIT;
	calls_flush(w->agent.calls, false);
	if (w->shared_pending)
		hooks_snapshot(w->agent.hooks, 0, nothing_row, NULL); /* the walk itself does it */
	w->shared_pending = false;
	prober_dispatch(w->agent.prober, w->agent.options->verbose);
	/* No reader can be started just now: its requests were answered so, the next ones try again. */
	if (reader_dispatch(w->agent.reader))
		w->agent.reader_failures++;
	return output_say(w);
}

static int loop_run(struct watch *w)
{
	int error = 0;

	while (!w->stop && !error) {
		error = loop_turn(w, wait_ms(w, host_now()));
		if (!error)
			due_run(w);
	}
	return error;
}

static bool settled(struct watch *w)
{
	return !w->behind && !cases_pending(w->agent.cases) &&
	       !censuses_pending(w->agent.censuses) && !pythons_pending(w->agent.pythons) &&
	       !signals_waiting(w->agent.signals) && !calls_waiting(w->agent.calls) &&
	       !killed_waiting(w->agent.killed) && !reader_pending(w->agent.reader);
}

/*
 * What the kernel has told and nobody came to is lost, and counted. Those who tell it may be quick: up to
 * what there is now.
 */
static int rest_count(struct watch *w)
{
	uint64_t until = host_now() + SETTLE_NS;
	int n;

	w->over = true;
	do
		n = hooks_consume(w->agent.hooks);
	while (n == HOOKS_CONSUME_LIMIT && host_now() < until);
	return n < 0 ? n : 0;
}

/* At the end: what was seen is said, within bounds. */
static int loop_settle(struct watch *w)
{
	uint64_t until = host_now() + SETTLE_NS;
	int error;

	signals_noise_ready(w->agent.signals); /* asks for the names */
	censuses_hurry(w->agent.censuses);
	error = loop_turn(w, 0);

	while (!error && !settled(w) && host_now() < until) {
		error = loop_turn(w, 10);
		cases_run_due(w->agent.cases, false);
		censuses_run_due(w->agent.censuses);
		killed_flush(w->agent.killed, false);
	}
	if (!error && w->behind)
		error = rest_count(w);
	if (error)
		return error;
	cases_run_due(w->agent.cases, true);
	signals_flush(w->agent.signals, true);
	calls_flush(w->agent.calls, true);
	killed_flush(w->agent.killed, true);
	/* Whoever reads is behind: the last lines, which say how much was lost, must find room. */
	error = output_drain(w->agent.stream.output, DRAIN_MS);
	if (error && error != -ETIMEDOUT)
		return w->agent.stream.error = error;
	stream_say_merged(&w->agent.stream, true);
	noise_say(w, host_now());
	loss_say(w);
	summary_say(w);
	error = output_drain(w->agent.stream.output, DRAIN_MS);
	if (error && !w->agent.stream.error)
		w->agent.stream.error = error;
	return w->agent.stream.error;
}

/* ---- start and end ---- */

static bool signal_is_ignored(int number)
{
	struct sigaction action;

	return !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN;
}

/* Under nohup(1) the terminal's end is not this process's. */
static int signals_block(struct watch *w)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (!signal_is_ignored(SIGHUP))
		sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	w->signal = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return w->signal < 0 ? -errno : 0;
}

static int parts_new(struct watch *w)
{
	struct agent *agent = &w->agent;

	agent->reader = reader_new(READER_DEADLINE_MS);
	agent->stream.output = output_new(STDOUT_FILENO, OUTPUT_LIMIT_BYTES);
	if (!agent->options->kinds || agent->options->kinds & 1u << ALERT_INCIDENT)
		agent->stream.incidents = incidents_new(agent->run.id, INCIDENTS, VICTIMS,
							stream_say_incident, &agent->stream);
	if (!agent->options->no_limit)
		agent->stream.limits = limits_new(LIMITS, LIMITS_KEPT);
	if (!agent->reader || !agent->stream.output ||
	    (!agent->options->no_limit && !agent->stream.limits))
		return -errno;
	agent->processes = processes_new(agent->reader, agent->tick_ns, agent->options->cmdline,
					 processes_did_change, w);
	agent->signals = signals_new(agent);
	agent->calls = calls_new(agent);
	agent->killed = killed_new(agent);
	agent->cases = cases_new(agent);
	agent->sweep = sweep_new(agent);
	agent->censuses = censuses_new(agent);
	agent->pythons = pythons_new(agent);
	agent->deep = deep_new(agent);
	if (!agent->calls || !agent->killed || !agent->deep)
		return -ENOMEM;
	if (!agent->processes || !agent->signals || !agent->cases || !agent->sweep ||
	    !agent->censuses || !agent->pythons)
		return -ENOMEM;
	w->reader_fd = -1;
	return watch_fd(w, w->signal, SOURCE_SIGNAL, EPOLLIN);
}

static void count_row(void *context, const struct task_row *row)
{
	size_t *n = context;

	(void)row;
	(*n)++;
}

/* While there are the rights that it takes. */
static int prober_start(struct watch *w)
{
	struct agent *agent = &w->agent;
	static struct probe_plan plans[PROBE_PLANS];
	size_t n = 0;

	if (hooks_rung(agent->hooks, HOOK_CALL))
		plans[n++] = probe_calls;
	n = deep_plans(agent->deep, plans, n);
	agent->prober = prober_new(agent->hooks, plans, n);
	if (!agent->prober) {
		snprintf(w->why, sizeof(w->why), "starting the prober failed: %s", strerror(errno));
		return -errno;
	}
	deep_listen(agent->deep);
	return prober_follow(w);
}

/*
 * The order is the claim that `ready` makes: rows for all threads exist before the futex hook runs,
 * every hook is attached, and what was blocked before has been looked at once.
 */
static int hooks_start(struct watch *w)
{
	struct agent *agent = &w->agent;
	int error;

	agent->hooks = hooks_new(agent->options, event_take, w, w->why, sizeof(w->why));
	if (!agent->hooks)
		return -errno;
	error = hooks_snapshot(agent->hooks, 0, count_row, &agent->blocked_at_start);
	if (error) {
		snprintf(w->why, sizeof(w->why), "reading the task snapshot failed: %s",
			 strerror(-error));
		return error;
	}
	error = prober_start(w);
	if (!error)
		error = hooks_attach(agent->hooks, w->why, sizeof(w->why));
	return error ?: watch_fd(w, hooks_fd(agent->hooks), SOURCE_RING, EPOLLIN);
}

/* The first reading of the sweep, before ready. */
static int first_look(struct watch *w)
{
	int error = sweep_begin(w->agent.sweep);

	while (!error && sweep_running(w->agent.sweep) && !w->stop)
		error = loop_turn(w, wait_ms(w, host_now()));
	return error;
}

/* And the prober's first look at all processes, unless it takes too long. */
static int first_probes(struct watch *w)
{
	uint64_t until = host_now() + PROBER_NS, now;
	int error = 0;

	while (!error && !w->stop && !prober_state(w->agent.prober)->looked &&
	       (now = host_now()) < until)
		error = loop_turn(w, (until - now) / 1000000 + 1);
	return error;
}

/* All that --deep is to see, however long that takes: from ready on it is seen. */
static int first_deep(struct watch *w)
{
	uint64_t until = host_now() + DEEP_NS, now = 0;
	int error = 0;

	while (!error && !w->stop && !deep_ready(w->agent.deep) && (now = host_now()) < until)
		error = loop_turn(w, (until - now) / 1000000 + 1);
	if (!error && w->agent.options->deep && prober_state(w->agent.prober)->over) {
		snprintf(w->why, sizeof(w->why), "--deep: the prober has ended");
		return -EIO;
	}
	if (error || w->stop || deep_ready(w->agent.deep))
		return error;
	snprintf(w->why, sizeof(w->why), "--deep: attaching the probes takes too long");
	return -ETIMEDOUT;
}

static void watch_end(struct watch *w)
{
	struct agent *agent = &w->agent;

	prober_free(agent->prober);
	reader_free(agent->reader); /* its callbacks still need the rest */
	hooks_free(agent->hooks);
	censuses_free(agent->censuses);
	pythons_free(agent->pythons);
	deep_free(agent->deep);
	sweep_free(agent->sweep);
	cases_free(agent->cases);
	killed_free(agent->killed);
	calls_free(agent->calls);
	signals_free(agent->signals);
	processes_free(agent->processes);
	incidents_free(agent->stream.incidents);
	limits_free(agent->stream.limits);
	output_free(agent->stream.output);
	model_clear(&agent->model);
	if (w->signal > 0)
		close(w->signal);
	if (w->epoll > 0)
		close(w->epoll);
}

static int watch_start(struct watch *w, const struct options *options)
{
	struct agent *agent = &w->agent;
	int error = host_check(w->why, sizeof(w->why));

	if (error)
		return error;
	output_stderr_unblock();
	error = host_run(&agent->run);
	if (error)
		return error;
	agent->options = options;
	agent->run.cmdline = options->cmdline;
	agent->tick_ns = 1000000000ull / sysconf(_SC_CLK_TCK);
	agent->started_boot_ns = host_now() + host_boottime_offset();
	agent->stream.options = options;
	agent->stream.run = &agent->run;
	model_init(&agent->model, DEAD_LIMIT, ORPHAN_LIMIT);
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		return -errno;
	error = signals_block(w);
	if (!error)
		error = parts_new(w);
	if (!error)
		error = hooks_start(w);
	if (!error)
		error = host_drop();
	return error;
}

static int end_status(struct watch *w, int error)
{
	char line[160];

	if (!error)
		return 0;
	if (error == -EPIPE)
		return fail("standard output was closed by its reader: nothing more can be said");
	if (error == -ETIMEDOUT)
		return fail("standard output takes nothing: the last lines were not written");
	if (w->agent.stream.error == error)
		snprintf(line, sizeof(line), "standard output: %s", strerror(-error));
	else
		snprintf(line, sizeof(line), "failed: %s", strerror(-error));
	return fail(*w->why ? w->why : line);
}

int watch_run(const struct options *options)
{
	struct watch w = { .epoll = -1, .signal = -1 };
	int error = watch_start(&w, options), status;

	if (!error)
		error = first_look(&w);
	if (!error)
		error = first_probes(&w) ?: first_deep(&w);
	if (!error) {
		w.ready_ns = host_now();
		ready_say(&w);
		watched_check(&w);
		w.loss_due_ns = w.ready_ns + LOSS_NS;
		w.noise_said_ns = w.ready_ns;
		w.noise_due_ns = w.ready_ns + options->noise_interval_s * 1e9;
		if (options->duration_s > 0)
			w.end_ns = w.ready_ns + options->duration_s * 1e9;
		error = loop_run(&w);
		if (!error)
			error = loop_settle(&w);
	}
	status = end_status(&w, error);
	watch_end(&w);
	return status;
}
