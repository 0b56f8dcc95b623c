// SPDX-License-Identifier: GPL-2.0-only
/* The keeper: holds the probes, watches the worker, and restarts it without what it hung at. */
#include "prober_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "array.h"
#include "cleanup.h"
#include "confine.h"
#include "host.h"
#include "probe_attach.h"
#include "table.h"
#include "task.h"

#define LOOK_MS 250
#define END_MS	10

/* The probes of one file. */
struct held {
	struct probe_key key;
	UT_hash_handle hh;
	struct probe_version version;
	size_t n, room;
	int *link;
};

struct keeper {
	struct plans *plans;
	struct prober_page *page;
	struct held *held;
	int worker_fd;
	pid_t worker;
	size_t n_avoided;
	struct probe_key avoided[PROBE_RESTARTS];
};

/* Returns how many probes it had. */
static size_t held_drop(struct keeper *k, const struct probe_key *key)
{
	struct held *held;
	size_t n;

	HASH_FIND(hh, k->held, key, sizeof(*key), held);
	if (!held)
		return 0;
	n = held->n;
	for (size_t i = 0; i < n; i++)
		close(held->link[i]);
	HASH_DEL(k->held, held);
	free(held->link);
	free(held);
	return n;
}

/* One that is ready to run is not stuck: the host is short of CPUs. */
static bool worker_runs(const struct keeper *k)
{
	_cleanup_close_ int dir = -1;
	struct proc_stat stat;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", k->worker);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir >= 0 && !task_read_stat(dir, &stat) && stat.state == 'R';
}

static bool worker_stuck(const struct keeper *k)
{
	uint64_t since = k->page->since_ns, now = host_now();
	bool late = since ? now > since + k->page->limit_ns
			  : now > k->page->turned_ns + PROBE_IDLE_NS;

	return late && !worker_runs(k);
}

/*
 * Takes the probes away, and waits until the worker has let go of what it is at. A process that is killed
 * in the midst of attaching or taking away leaves breakpoints behind: the kernel gives up then
 * (kernel/events/uprobes.c, register_for_each_vma()).
 */
static _Noreturn void keeper_end(struct keeper *k, int status)
{
	struct held *held, *next;

	if (k->worker_fd >= 0)
		close(k->worker_fd);
	HASH_ITER (hh, k->held, held, next)
		held_drop(k, &held->key);
	/* What hangs dies with this process. */
	while (k->worker > 0 && !waitpid(k->worker, NULL, WNOHANG) && !worker_stuck(k))
		poll(NULL, 0, END_MS);
	_exit(status);
}

/* An agent that is gone is no reason to go on. One that is busy is waited for. */
static void agent_tell(struct keeper *k, const struct prober_report *report)
{
	if (send(CONFINE_FD, report, sizeof(*report), MSG_NOSIGNAL) < 0)
		keeper_end(k, EXIT_FAILURE);
}

static struct held *held_get(struct keeper *k, const struct prober_report *report)
{
	struct held *held;

	HASH_FIND(hh, k->held, &report->key, sizeof(report->key), held);
	if (held)
		return held;
	held = calloc(1, sizeof(*held));
	if (!held)
		keeper_end(k, EXIT_FAILURE);
	held->key = report->key;
	held->version = report->version;
	HASH_ADD(hh, k->held, key, sizeof(held->key), held);
	return held;
}

static void held_add(struct keeper *k, const struct prober_report *report, const int *fds, size_t n)
{
	struct held *held = held_get(k, report);

	for (size_t i = 0; i < n; i++) {
		int *grown = array_grow(held->link, held->n, &held->room, sizeof(*grown));

		if (!grown)
			keeper_end(k, EXIT_FAILURE);
		held->link = grown;
		held->link[held->n++] = fds[i];
	}
}

/* ---- the worker ---- */

static void past_fill(const struct keeper *k, struct prober_past *past)
{
	struct held *held, *next;

	past->n_avoided = k->n_avoided;
	memcpy(past->avoided, k->avoided, sizeof(past->avoided));
	past->probed = calloc(HASH_COUNT(k->held) ?: 1, sizeof(*past->probed));
	if (!past->probed)
		_exit(EXIT_FAILURE);
	HASH_ITER (hh, k->held, held, next)
		past->probed[past->n_probed++] = (struct probed){ held->key, held->version };
}

static void worker_start(struct keeper *k)
{
	static struct prober_past past;
	pid_t self = getpid();
	int pair[2];

	k->page->since_ns = 0;
	k->page->turned_ns = host_now();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		keeper_end(k, EXIT_FAILURE);
	k->worker = fork();
	if (!k->worker) {
		past_fill(k, &past);
		prober_work(pair[1], self, k->plans, k->page, &past);
	}
	close(pair[1]);
	if (k->worker < 0)
		keeper_end(k, EXIT_FAILURE);
	k->worker_fd = pair[0];
}

/*
 * The worker is gone, or is made to go: what it was at is left alone from now on. One that is in an
 * uninterruptible sleep ends when that does; its own descriptors go with it.
 */
static void worker_replace(struct keeper *k, int error)
{
	struct prober_report report = { .type = REPORT_RESTART, .error = error };

	kill(k->worker, SIGKILL);
	close(k->worker_fd);
	k->worker_fd = -1;
	if (k->page->since_ns) {
		report.key = k->page->key;
		memcpy(report.path, k->page->path, sizeof(report.path));
		report.path[sizeof(report.path) - 1] = '\0';
	}
	agent_tell(k, &report);
	if (k->n_avoided == PROBE_RESTARTS)
		keeper_end(k, EXIT_FAILURE);
	k->avoided[k->n_avoided++] = report.key;
	worker_start(k);
}

/* ---- packets ---- */

union control {
	char bytes[CMSG_SPACE(PROBE_LINKS * sizeof(int))];
	struct cmsghdr align;
};

static size_t descriptors(struct msghdr *msg, int *fds)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	size_t bytes;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	bytes = c->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(c), bytes);
	return bytes / sizeof(int);
}

static void report_take(struct keeper *k, struct prober_report *report, const int *fds, size_t n)
{
	report->path[sizeof(report->path) - 1] = '\0';
	switch (report->type) {
	case REPORT_LINKS:
		held_add(k, report, fds, n);
		return;
	case REPORT_DROP:
		report->n = held_drop(k, &report->key);
		break;
	}
	agent_tell(k, report);
}

static void worker_read(struct keeper *k)
{
	struct prober_report report;
	struct iovec io = { &report, sizeof(report) };
	union control control;
	struct msghdr msg = { .msg_iov = &io,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fds[PROBE_LINKS];
	ssize_t n = recvmsg(k->worker_fd, &msg, MSG_CMSG_CLOEXEC);

	if (n < 0 && errno == EINTR)
		return;
	if (n != sizeof(report)) {
		worker_replace(k, -EIO);
		return;
	}
	report_take(k, &report, fds, descriptors(&msg, fds));
	if (msg.msg_flags & MSG_CTRUNC) { /* no more descriptors */
		report.type = REPORT_FILE;
		report.error = -EMFILE;
		agent_tell(k, &report);
	}
}

static void agent_read(struct keeper *k)
{
	struct prober_order order;
	ssize_t n = recv(CONFINE_FD, &order, sizeof(order), 0);

	if (n < 0 && errno == EINTR)
		return;
	if (n != sizeof(order) || order.plan >= k->plans->n)
		keeper_end(k, n ? EXIT_FAILURE : EXIT_SUCCESS); /* the agent has closed its end */
	plan_order(&k->plans->plan[order.plan], &order);
	send(k->worker_fd, &order, sizeof(order), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static _Noreturn void keeper_run(struct keeper *k)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = CONFINE_FD, .events = POLLIN },
					{ .fd = k->worker_fd, .events = POLLIN } };

		poll(fds, 2, LOOK_MS);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			; /* workers that were killed */
		if (fds[0].revents)
			agent_read(k);
		if (fds[1].revents)
			worker_read(k);
		else if (worker_stuck(k))
			worker_replace(k, -ETIMEDOUT);
	}
}

static void limit_raise(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static void admin_put(cap_flag_t where, cap_flag_value_t value)
{
	const cap_value_t admin = CAP_SYS_ADMIN;
	cap_t all = cap_get_proc();

	if (all && !cap_set_flag(all, where, 1, &admin, value))
		cap_set_proc(all); /* nothing is lost where it is not there to be put */
	cap_free(all);
}

static int plan_try(const struct plans *plans, size_t p)
{
	for (size_t s = 0; s < plans->plan[p].n_sites; s++)
		if (plans->program[p][s] >= 0)
			return probe_try(plans->program[p][s], !plans->plan[p].n);
	return -ENOENT;
}

/* One program of each plan. */
static int plans_try(const struct plans *plans)
{
	int err = 0;

	for (size_t p = 0; p < plans->n && !err; p++)
		err = plan_try(plans, p);
	return err;
}

/* Keeps CAP_SYS_ADMIN only where nothing can be probed without it. 0 or -errno: nothing can at all. */
static int rights_trim(const struct plans *plans)
{
	admin_put(CAP_EFFECTIVE, CAP_CLEAR);
	if (!plans_try(plans)) {
		admin_put(CAP_PERMITTED, CAP_CLEAR);
		return 0;
	}
	admin_put(CAP_EFFECTIVE, CAP_SET);
	return plans_try(plans);
}

void prober_keep(int fd, pid_t agent, struct plans *plans)
{
	static struct keeper k = { .worker_fd = -1 };
	struct prober_report report = { .type = REPORT_REFUSED };
	struct prober_order order;

	prober_confine(fd, agent, "deadhold-keeper", plans);
	/* The socket tells of the agent's end, and is enough: nothing here blocks. See keeper_end(). */
	prctl(PR_SET_PDEATHSIG, 0);
	limit_raise();
	report.error = rights_trim(plans);
	if (report.error) {
		agent_tell(&k, &report);
		while (recv(CONFINE_FD, &order, sizeof(order), 0) > 0)
			; /* the agent's end is this one's */
		_exit(EXIT_SUCCESS);
	}
	k.plans = plans;
	k.page = mmap(NULL, sizeof(*k.page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (k.page == MAP_FAILED)
		_exit(EXIT_FAILURE);
	worker_start(&k);
	keeper_run(&k);
}
