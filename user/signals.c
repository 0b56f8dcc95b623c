// SPDX-License-Identifier: GPL-2.0-only
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "calls.h"
#include "detect.h"
#include "signals.h"
#include "table.h"

/* PIDFD_SIGNAL_THREAD, include/uapi/linux/pidfd.h (6.9). */
#define PIDFD_THREAD_FLAG 1

/* Whom a failed send's file descriptor stands for. */
struct target_fd {
	int32_t id; /* 0: unknown */
	bool thread;
};

/* A send that waits for what is known of its sender and target: later ones wait behind it. */
struct waiting {
	union {
		struct ev_head head;
		struct ev_signal signal;
		struct ev_send_failed failed;
	};
	struct target_fd fd;
	struct fd_request *request; /* under way */
	struct waiting *prev, *next;
};

/* Lives until it is answered, the send that it is for perhaps not. */
struct fd_request {
	struct signals *signals;
	struct waiting *waiting;
};

#define WAITING_LIMIT 16384

/* Folded signals of one process, number and relation. Counts only grow. */
struct folded {
	struct noise_key key;
	struct ev_task target; /* of the first one */
	uint64_t kernel;       /* folded there, up to the last look */
	uint64_t here;	       /* by us, before the kernel knew on what the process runs */
	uint64_t said;
	bool over; /* its process has ended, and all is said */
	UT_hash_handle hh;
};

struct signals {
	struct agent *agent;
	struct waiting *waiting;
	size_t n_waiting;
	struct folded *folded;
	uint64_t folded_total;
};

struct signals *signals_new(struct agent *agent)
{
	struct signals *signals = calloc(1, sizeof(*signals));

	if (signals)
		signals->agent = agent;
	return signals;
}

static void waiting_free(struct waiting *waiting)
{
	if (waiting->request)
		waiting->request->waiting = NULL;
	free(waiting);
}

void signals_free(struct signals *signals)
{
	struct waiting *waiting, *next;
	struct folded *folded, *other;

	if (!signals)
		return;
	DL_FOREACH_SAFE(signals->waiting, waiting, next)
	{
		waiting_free(waiting);
	}
	HASH_ITER (hh, signals->folded, folded, other) {
		HASH_DEL(signals->folded, folded);
		free(folded);
	}
	free(signals);
}

static enum severity signal_severity(const struct alert *alert)
{
	if (alert->signal.fatal)
		return SEVERITY_CRITICAL;
	return alert->kind == ALERT_TID_KILL ? SEVERITY_WARNING : SEVERITY_INFO;
}

static struct folded *folded_get(struct signals *signals, const struct noise_key *key,
				 const struct ev_task *target)
{
	struct folded *folded;

	HASH_FIND(hh, signals->folded, key, sizeof(*key), folded);
	if (folded)
		return folded;
	folded = calloc(1, sizeof(*folded));
	if (!folded)
		return NULL;
	folded->key = *key;
	folded->target = *target;
	HASH_ADD(hh, signals->folded, key, sizeof(folded->key), folded);
	return folded;
}

/* On which runtimes would the target have to run for the kernel to fold this? 0: on none. */
static uint32_t signal_runtimes(const struct signals *signals, const struct ev_signal *ev)
{
	return signals->agent->options->all_signals ? 0 : policy_runtimes(ev);
}

/*
 * A signal that the kernel would have folded, had it known on what the target runs. From now on it
 * knows. False: it is none, or there is no memory to count it.
 */
static bool signal_fold(struct signals *signals, const struct ev_signal *ev)
{
	struct agent *agent = signals->agent;
	uint32_t wanted = signal_runtimes(signals, ev), runtimes;
	struct noise_key key = {
		.proc = ev->target.proc,
		.signal = ev->signal,
		.from_same_process = ev->sender.proc.tgid == ev->target.proc.tgid,
	};
	struct folded *folded;

	if (!wanted)
		return false;
	processes_runtimes(agent->processes, &key.proc, wanted, ev->head.time_ns, &runtimes);
	if (!(runtimes & wanted))
		return false;
	folded = folded_get(signals, &key, &ev->target);
	if (!folded)
		return false;
	folded->here++;
	hooks_runtimes_set(agent->hooks, &key.proc, runtimes);
	return true;
}

static void signal_say(struct signals *signals, const struct ev_signal *ev)
{
	struct agent *agent = signals->agent;
	struct alert alert = { .time_ns = ev->head.time_ns };
	enum lock_libc libc;

	if (signal_fold(signals, ev))
		return;
	detect_process(&alert.process, &ev->target, agent->tick_ns);
	detect_thread(&alert.thread, &ev->target, agent->tick_ns);
	libc = processes_fill(agent->processes, &ev->target.proc, &alert.process);
	if (!(ev->flags & SIGNAL_NO_SENDER)) {
		detect_process(&alert.sender_process, &ev->sender, agent->tick_ns);
		detect_thread(&alert.sender_thread, &ev->sender, agent->tick_ns);
		processes_fill(agent->processes, &ev->sender.proc, &alert.sender_process);
	}
	alert.kind = detect_signal(&alert.signal, ev, libc);
	alert.severity = signal_severity(&alert);
	if (stream_say(&agent->stream, &alert))
		calls_signal_said(agent->calls, ev, agent->stream.seq);
}

size_t signals_waiting(const struct signals *signals)
{
	return signals->n_waiting;
}

/* The thread that a failed send named: by its host TID, or by its number in the sender's namespace. */
struct target_search {
	uint32_t tid; /* 0: by the two below */
	uint32_t pid_ns, ns_tid;
	bool found;
	struct ev_task task;
};

static void target_row(void *context, const struct task_row *row)
{
	struct target_search *search = context;

	if (search->tid
		    ? row->task.tid == search->tid
		    : row->task.pid_ns == search->pid_ns && row->task.ns_tid == search->ns_tid) {
		search->found = true;
		search->task = row->task;
	}
}

static bool sender_is_host(const struct ev_send_failed *failed)
{
	return failed->sender.ns_tid == failed->sender.tid;
}

/* By host TID. */
static bool target_find_tid(struct signals *signals, int32_t tid, struct target_search *search)
{
	int32_t tgid = tid > 0 ? host_tgid(tid) : 0;

	search->tid = tid;
	if (tgid > 0)
		hooks_snapshot(signals->agent->hooks, tgid, target_row, search);
	return search->found;
}

static bool target_find(struct signals *signals, const struct ev_send_failed *failed,
			const struct target_fd *fd, struct target_search *search)
{
	if (failed->call == SEND_PIDFD)
		return (fd->thread || failed->call_flags & PIDFD_THREAD_FLAG) &&
		       target_find_tid(signals, fd->id, search);
	if (failed->tid <= 0)
		return false;
	if (sender_is_host(failed))
		return target_find_tid(signals, failed->tid, search);
	search->pid_ns = failed->sender.pid_ns;
	search->ns_tid = failed->tid;
	hooks_snapshot(signals->agent->hooks, SNAPSHOT_ALL, target_row, search);
	return search->found;
}

/* As the caller named it: a process and a thread that may not be, or not belong together. */
static void target_as_named(struct alert *alert, const struct ev_send_failed *failed)
{
	if (!sender_is_host(failed)) {
		alert->thread.ns_tid = failed->tid;
		return;
	}
	alert->thread.tid = failed->tid;
	alert->process.pid = failed->tgid;
}

/* Does the thread that was found belong to the process that the call names as well? */
static bool target_fits(const struct target_search *search, const struct ev_send_failed *failed)
{
	if (!failed->tgid)
		return true;
	return (uint32_t)failed->tgid ==
	       (sender_is_host(failed) ? search->task.proc.tgid : search->task.ns_tgid);
}

static void failed_say(struct signals *signals, const struct ev_send_failed *failed,
		       const struct target_fd *fd)
{
	struct agent *agent = signals->agent;
	bool by_kill = failed->call == SEND_KILL || failed->call == SEND_RT_SIGQUEUEINFO;
	struct target_search search = { 0 };
	struct alert alert = {
		.kind = by_kill ? ALERT_TID_KILL : ALERT_THREAD_SIGNAL,
		.time_ns = failed->head.time_ns,
		.sender_process = { .uid = -1 },
		.process = { .uid = -1 },
		.signal = {
			.number = failed->signal,
			.scope = by_kill ? SCOPE_PROCESS : SCOPE_THREAD,
			.call = (enum signal_call)failed->call,
			.result = failed->error ? RESULT_FAILED : RESULT_PROBED,
			.error = failed->error,
		},
	};

	/* kill names processes; that a thread was meant shows only where the number is a thread's. */
	if (target_find(signals, failed, fd, &search) && target_fits(&search, failed)) {
		if (by_kill && search.task.tid == search.task.proc.tgid)
			return;
		detect_process(&alert.process, &search.task, agent->tick_ns);
		detect_thread(&alert.thread, &search.task, agent->tick_ns);
		alert.signal.libc = processes_fill(agent->processes, &search.task.proc,
						   &alert.process);
	} else if (by_kill || (failed->call == SEND_PIDFD && !fd->thread &&
			       !(failed->call_flags & PIDFD_THREAD_FLAG))) {
		return;
	} else if (failed->call != SEND_PIDFD) {
		target_as_named(&alert, failed);
	}
	detect_process(&alert.sender_process, &failed->sender, agent->tick_ns);
	detect_thread(&alert.sender_thread, &failed->sender, agent->tick_ns);
	processes_fill(agent->processes, &failed->sender.proc, &alert.sender_process);
	alert.signal.from_same_process = alert.process.pid == alert.sender_process.pid;
	alert.severity = signal_severity(&alert);
	stream_say(&agent->stream, &alert);
}

static bool send_ready(struct signals *signals, const struct ev_head *head)
{
	struct processes *processes = signals->agent->processes;
	const struct ev_signal *signal = (const void *)head;
	uint32_t wanted, runtimes;
	bool ready;

	if (head->type == EV_SEND_FAILED)
		return processes_ready(processes,
				       &((const struct ev_send_failed *)head)->sender.proc);
	ready = processes_ready(processes, &signal->target.proc);
	if (!(signal->flags & SIGNAL_NO_SENDER))
		ready &= processes_ready(processes, &signal->sender.proc);
	wanted = signal_runtimes(signals, signal);
	if (wanted)
		ready &= processes_runtimes(processes, &signal->target.proc, wanted, head->time_ns,
					    &runtimes);
	return ready;
}

static void send_say(struct signals *signals, const struct ev_head *head,
		     const struct target_fd *fd)
{
	if (head->type == EV_SEND_FAILED)
		failed_say(signals, (const void *)head, fd);
	else
		signal_say(signals, (const void *)head);
}

void signals_flush(struct signals *signals, bool all)
{
	struct waiting *first;

	while ((first = signals->waiting) &&
	       (all || (!first->request && send_ready(signals, &first->head)))) {
		DL_DELETE(signals->waiting, first);
		signals->n_waiting--;
		send_say(signals, &first->head, &first->fd);
		waiting_free(first);
	}
}

static void fd_answered(void *context, const struct look *look, const struct look_answer *answer)
{
	struct fd_request *request = context;
	struct waiting *waiting = request->waiting;

	(void)look;
	if (waiting) {
		waiting->request = NULL;
		if (!answer->error)
			waiting->fd = (struct target_fd){ answer->pidfd_id, answer->pidfd_thread };
		signals_flush(request->signals, false);
	}
	free(request);
}

static void fd_ask(struct signals *signals, struct waiting *waiting)
{
	const struct ev_send_failed *failed = &waiting->failed;
	struct agent *agent = signals->agent;
	struct look look = {
		.tgid = failed->sender.proc.tgid,
		.start_ticks = failed->sender.proc.start_ns / agent->tick_ns,
		.want = LOOK_PIDFD,
		.pidfd = failed->tid,
	};
	struct fd_request *request = malloc(sizeof(*request));

	if (!request)
		return;
	*request = (struct fd_request){ signals, waiting };
	if (reader_look(agent->reader, &look, fd_answered, request))
		free(request);
	else
		waiting->request = request;
}

/* `size` bytes at head: one of the two records. */
static void send_take(struct signals *signals, const struct ev_head *head, size_t size)
{
	bool by_fd = head->type == EV_SEND_FAILED &&
		     ((const struct ev_send_failed *)head)->call == SEND_PIDFD;
	const struct target_fd unknown = { 0 };
	struct waiting *waiting = NULL;

	if (!signals->waiting && !by_fd && send_ready(signals, head)) {
		send_say(signals, head, &unknown);
		return;
	}
	if (signals->n_waiting < WAITING_LIMIT)
		waiting = calloc(1, sizeof(*waiting));
	if (!waiting) {
		/* Rather say it without the names of executables than lose it or its order. */
		signals_flush(signals, true);
		send_say(signals, head, &unknown);
		return;
	}
	memcpy(&waiting->head, head, size);
	DL_APPEND(signals->waiting, waiting);
	signals->n_waiting++;
	if (by_fd)
		fd_ask(signals, waiting);
	signals_flush(signals, false);
}

void signals_sent(struct signals *signals, const struct ev_signal *signal)
{
	send_take(signals, &signal->head, sizeof(*signal));
}

void signals_failed(struct signals *signals, const struct ev_send_failed *failed)
{
	send_take(signals, &failed->head, sizeof(*failed));
}

struct image {
	const struct proc_key *proc;
	bool runs;
};

static void image_row(void *context, const struct task_row *row)
{
	struct image *image = context;

	image->runs |= proc_equal(&row->task.proc, image->proc);
}

/* Nobody of that process, or of that image of it, any more. */
static bool folded_is_over(const struct signals *signals, const struct folded *folded)
{
	struct image image = { .proc = &folded->key.proc };

	return !hooks_snapshot(signals->agent->hooks, folded->key.proc.tgid, image_row, &image) &&
	       !image.runs;
}

/* A row for which there is no memory stays in the kernel and is said next time. */
static void noise_row(void *context, const struct noise_key *key, const struct noise_row *row)
{
	struct folded *folded = folded_get(context, key, &row->target);

	if (folded)
		folded->kernel = row->count;
}

static uint64_t folded_unsaid(const struct folded *folded)
{
	return folded->kernel + folded->here - folded->said;
}

bool signals_noise_ready(struct signals *signals)
{
	struct folded *folded, *next;
	bool ready = true;

	hooks_noise(signals->agent->hooks, noise_row, signals);
	HASH_ITER (hh, signals->folded, folded, next) {
		if (folded_unsaid(folded))
			ready &= processes_ready(signals->agent->processes, &folded->key.proc);
	}
	return ready;
}

static void folded_say(struct signals *signals, struct folded *folded, double interval_s)
{
	const struct noise_key *key = &folded->key;
	struct agent *agent = signals->agent;
	struct alert alert = {
		.kind = ALERT_NOISE,
		.severity = SEVERITY_INFO,
		.time_ns = host_now(),
		.interval_s = interval_s,
		.count = folded_unsaid(folded),
	};

	detect_process(&alert.process, &folded->target, agent->tick_ns);
	alert.signal.number = key->signal;
	alert.signal.from_same_process = key->from_same_process;
	alert.signal.libc = processes_fill(agent->processes, &key->proc, &alert.process);
	/* 32 is folded only as a timer's expiry: policy.c. */
	alert.signal.has_code = key->signal == 32;
	alert.signal.code = SI_TIMER;
	signals->folded_total += alert.count;
	folded->said += alert.count;
	stream_say(&agent->stream, &alert);
}

static void folded_forget(struct signals *signals)
{
	struct folded *folded, *next;

	HASH_ITER (hh, signals->folded, folded, next) {
		if (!folded->over)
			continue;
		HASH_DEL(signals->folded, folded);
		free(folded);
	}
}

void signals_noise(struct signals *signals, double interval_s)
{
	struct folded *folded, *next;

	hooks_noise(signals->agent->hooks, noise_row, signals);
	HASH_ITER (hh, signals->folded, folded, next) {
		if (folded_unsaid(folded))
			folded_say(signals, folded, interval_s);
		folded->over = folded_is_over(signals, folded);
		if (folded->over)
			hooks_noise_remove(signals->agent->hooks, &folded->key);
	}
	folded_forget(signals);
}

uint64_t signals_folded(const struct signals *signals)
{
	return signals->folded_total;
}
