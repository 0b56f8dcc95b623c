// SPDX-License-Identifier: GPL-2.0-only
/* The agent's side of the prober: what it is to do, and what it said. */
#include "prober.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "array.h"
#include "cleanup.h"
#include "confine.h"
#include "escape.h"
#include "prober_wire.h"
#include "words.h"

static const struct probe_site call_sites[] = {
	{ "call_cancel_sleepable", "pthread_cancel", PROBE_LIBC | PROBE_PROGRAM, PROBE_ENTRY },
	{ "call_cancel", "pthread_cancel", PROBE_LIBC | PROBE_PROGRAM, PROBE_ENTRY },
	{ "call_async_exc_sleepable", "PyThreadState_SetAsyncExc", PROBE_PYTHON | PROBE_PROGRAM,
	  PROBE_ENTRY },
	{ "call_async_exc", "PyThreadState_SetAsyncExc", PROBE_PYTHON | PROBE_PROGRAM,
	  PROBE_ENTRY },
};

const struct probe_plan probe_calls = {
	.sites = call_sites,
	.n_sites = sizeof(call_sites) / sizeof(*call_sites),
};

struct prober {
	pid_t pid;
	int fd; /* -1: it has ended */
	struct prober_state state;
	prober_listener *listener;
	void *context;
	/* Orders in their turn; of the first ones, that were sent, it has not said yet that they are done. */
	struct prober_order *order;
	size_t n, room, sent;
	uint32_t number;
};

const char *prober_why(int error)
{
	switch (error) {
	case -ENOEXEC:
		return "made for another machine";
	case -EFBIG:
		return "its table of symbols is beyond the limit";
	case -ETIMEDOUT:
		return "it took too long";
	case -ESTALE:
		return "its path leads to another file by now";
	case -EIO:
		return "the process that read it died";
	default:
		return strerror(-error);
	}
}

bool plan_has(const struct probe_plan *plan, int32_t pid)
{
	for (size_t i = 0; i < plan->n; i++)
		if (plan->pid[i] == pid)
			return true;
	return !plan->n;
}

/* A plan without any would be for all: a place that is free again has process 0. */
void plan_order(struct probe_plan *plan, const struct prober_order *order)
{
	size_t i;

	if (order->what != ORDER_REMOVE && plan_has(plan, order->pid))
		return;
	for (i = 0; i < plan->n; i++)
		if (plan->pid[i] == (order->what == ORDER_REMOVE ? order->pid : 0))
			break;
	if (i < plan->n)
		plan->pid[i] = order->what == ORDER_REMOVE ? 0 : order->pid;
	else if (order->what != ORDER_REMOVE && plan->n < PROBE_PIDS)
		plan->pid[plan->n++] = order->pid;
}

/*
 * Looking into processes takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, opening what they map
 * CAP_CHECKPOINT_RESTORE (5.9), probing CAP_PERFMON and CAP_BPF. There are kernels that ask for
 * CAP_SYS_ADMIN in place of these three: the keeper finds out.
 */
void prober_confine(int fd, pid_t parent, const char *name, const struct plans *plans)
{
	static const int capabilities[] = { CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH,    CAP_PERFMON,
					    CAP_BPF,	    CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN };
	int keep[PROBE_PLANS * PROBE_SITES];
	struct confine confine_to = { .fd = fd,
				      .parent = parent,
				      .name = name,
				      .capability = capabilities,
				      .n_capabilities = 6,
				      .keep = keep };

	for (size_t p = 0; p < plans->n; p++)
		for (size_t s = 0; s < plans->plan[p].n_sites; s++)
			if (plans->program[p][s] >= 0)
				keep[confine_to.n_keep++] = plans->program[p][s];
	if (confine(&confine_to))
		_exit(EXIT_FAILURE);
}

static int plans_fill(struct plans *out, const struct hooks *hooks, const struct probe_plan *plans,
		      size_t n)
{
	if (n > PROBE_PLANS)
		return -E2BIG;
	out->n = n;
	for (size_t p = 0; p < n; p++) {
		if (plans[p].n_sites > PROBE_SITES)
			return -E2BIG;
		out->plan[p] = plans[p];
		for (size_t s = 0; s < plans[p].n_sites; s++)
			out->program[p][s] = hooks_program(hooks, plans[p].sites[s].program);
	}
	return 0;
}

static int prober_start(struct prober *prober, struct plans *plans)
{
	pid_t agent = getpid();
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	prober->pid = fork();
	if (!prober->pid)
		prober_keep(pair[1], agent, plans);
	err = prober->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (err)
		close(pair[0]);
	else
		prober->fd = pair[0];
	return err;
}

struct prober *prober_new(const struct hooks *hooks, const struct probe_plan *plans, size_t n_plans)
{
	_cleanup_free_ struct prober *prober = calloc(1, sizeof(*prober));
	_cleanup_free_ struct plans *copy = calloc(1, sizeof(*copy));
	int err = prober && copy ? plans_fill(copy, hooks, plans, n_plans) : -ENOMEM;

	if (!err) {
		prober->fd = -1;
		prober->state.looked = !n_plans;
		err = n_plans ? prober_start(prober, copy) : 0;
	}
	errno = -err;
	return err ? NULL : take_ptr(prober);
}

/*
 * Its end takes the probes away, which may take as long as attaching them: not waited for. Nothing that
 * it does after this reaches anybody.
 */
void prober_free(struct prober *prober)
{
	if (!prober)
		return;
	if (prober->fd >= 0)
		close(prober->fd);
	free(prober->order);
	free(prober);
}

static void failed_note(struct prober_state *state, const struct prober_report *report)
{
	uint64_t n = state->n_failed++;

	state->losses += state->looked;
	if (n >= PROBER_FAILED)
		return;
	memcpy(state->failed[n].path, report->path, sizeof(report->path));
	state->failed[n].error = report->error;
}

/* Its paths are those of watched programs. */
static void report_print(const struct prober_report *report)
{
	char path[ESCAPED_BYTES(PATH_BYTES)], whose[32] = "";
	unsigned long long n = report->n;

	ESCAPE(path, report->path);
	switch (report->type) {
	case REPORT_FILE:
		if (report->key.pid)
			snprintf(whose, sizeof(whose), " of process %d", report->key.pid);
		fprintf(stderr, "deadhold: prober: %llu probe%s in %s%s%s%s\n", n, plural(n), path,
			whose, report->error ? ": " : "",
			report->error ? prober_why(report->error) : "");
		break;
	case REPORT_DROP:
		fprintf(stderr,
			"deadhold: prober: %llu probe%s taken away: inode %llu is not in use\n", n,
			plural(n), (unsigned long long)report->key.inode);
		break;
	case REPORT_LOOKED:
		fprintf(stderr, "deadhold: prober: looked at all processes\n");
		break;
	case REPORT_LOST:
		fprintf(stderr, "deadhold: prober: %llu record%s of mappings lost\n", n, plural(n));
		break;
	case REPORT_RESTART:
		fprintf(stderr, "deadhold: prober: goes on without process %d, file '%s': %s\n",
			report->key.pid, path,
			report->error == -ETIMEDOUT ? "it hung there" : "it died there");
		break;
	}
}

static void report_take(struct prober_state *state, const struct prober_report *report)
{
	switch (report->type) {
	case REPORT_FILE:
		state->files += report->n > 0;
		state->sites += report->n;
		/* A process that has ended while it was probed has lost nothing. */
		if (report->error && !(report->key.pid && report->error == -ESRCH))
			failed_note(state, report);
		break;
	case REPORT_DROP:
		state->files -= state->files > 0;
		state->sites -= report->n < state->sites ? report->n : state->sites;
		break;
	case REPORT_LOOKED:
		state->looked = true;
		break;
	case REPORT_REFUSED:
		state->refused = report->error;
		state->looked = true;
		break;
	case REPORT_FOLLOW:
		state->follow_error = report->error;
		break;
	case REPORT_LOST:
		state->losses += report->n;
		break;
	case REPORT_RESTART:
		state->losses++;
		break;
	}
}

static void orders_send(struct prober *prober)
{
	const struct prober_order *order;

	while (prober->sent < prober->n && prober->sent < PROBE_ORDERS) {
		order = &prober->order[prober->sent];
		if (send(prober->fd, order, sizeof(*order), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return; /* its end is seen elsewhere */
		prober->sent++;
	}
}

static int order_add(struct prober *prober, int what, uint32_t plan, int32_t pid)
{
	struct prober_order *order;

	if (prober->fd < 0)
		return -ESRCH;
	order = array_grow(prober->order, prober->n, &prober->room, sizeof(*order));
	if (!order)
		return -ENOMEM;
	prober->order = order;
	order[prober->n++] = (struct prober_order){ what, plan, pid, prober->number++ };
	orders_send(prober);
	return 0;
}

static void orders_remove(struct prober *prober, size_t at, size_t n)
{
	prober->n -= n;
	memmove(&prober->order[at], &prober->order[at + n],
		(prober->n - at) * sizeof(*prober->order));
}

/* Those for this process that were not sent: it is not to be looked at any more. */
static void orders_cancel(struct prober *prober, uint32_t plan, int32_t pid)
{
	size_t i;

	for (i = prober->n; i > prober->sent; i--) {
		if (prober->order[i - 1].plan == plan && prober->order[i - 1].pid == pid)
			orders_remove(prober, i - 1, 1);
	}
}

/* The worker takes them in their turn. False: it is known; before it was replaced it had been sent, too. */
static bool order_done(struct prober *prober, uint32_t number)
{
	if (!prober->sent || prober->order[0].number != number)
		return false;
	orders_remove(prober, 0, 1);
	prober->sent--;
	orders_send(prober);
	return true;
}

/* All that were sent are sent again, to the next one. */
static void orders_again(struct prober *prober)
{
	prober->sent = 0;
	orders_send(prober);
}

void prober_listen(struct prober *prober, prober_listener *listener, void *context)
{
	prober->listener = listener;
	prober->context = context;
}

static void report_tell(const struct prober *prober, const struct prober_report *report)
{
	struct prober_told told = {
		.plan = report->key.plan,
		.pid = report->key.pid,
		.tid = report->tid,
		.n = report->n,
		.error = report->error,
		.start = report->start,
		.end = report->end,
		.python = report->python,
		.path = report->path,
	};

	switch (report->type) {
	case REPORT_FILE:
		told.what = TOLD_FILE;
		break;
	case REPORT_MISSING:
		told.what = TOLD_MISSING;
		break;
	case REPORT_DONE:
	case REPORT_LOOKED:
		told.what = TOLD_DONE;
		if (report->type == REPORT_DONE && report->what == ORDER_REMOVE)
			return;
		break;
	default:
		return;
	}
	if (prober->listener)
		prober->listener(prober->context, &told);
}

void prober_dispatch(struct prober *prober, bool verbose)
{
	struct prober_report report;
	ssize_t n = 0;

	while (prober->fd >= 0) {
		n = recv(prober->fd, &report, sizeof(report), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n != sizeof(report))
			break;
		report.path[sizeof(report.path) - 1] = '\0';
		report_take(&prober->state, &report);
		if (report.type == REPORT_DONE && !order_done(prober, report.number))
			continue;
		if (report.type == REPORT_RESTART)
			orders_again(prober);
		report_tell(prober, &report);
		if (verbose)
			report_print(&report);
	}
	if (prober->fd < 0)
		return;
	close(prober->fd);
	prober->fd = -1;
	waitpid(prober->pid, NULL, WNOHANG);
	prober->state.over = true;
	prober->state.looked = true;
	prober->state.losses++;
	fprintf(stderr,
		"deadhold: the prober has ended: pthread_cancel and asynchronous exceptions "
		"are not seen any more; restart deadhold\n");
}

int prober_fd(const struct prober *prober)
{
	return prober->fd;
}

int prober_pid_add(struct prober *prober, uint32_t plan, int32_t pid, bool anew)
{
	return order_add(prober, anew ? ORDER_ANEW : ORDER_LOOK, plan, pid);
}

int prober_pid_remove(struct prober *prober, uint32_t plan, int32_t pid)
{
	orders_cancel(prober, plan, pid);
	return order_add(prober, ORDER_REMOVE, plan, pid);
}

const struct prober_state *prober_state(const struct prober *prober)
{
	return &prober->state;
}
