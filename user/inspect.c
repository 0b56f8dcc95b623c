// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each process is looked at by a child process of its own, because any read of another process may
 * block for ever. The child writes the whole result into a pipe; what it is doing meanwhile, it says in
 * a page that both map. A child that does not get on is killed.
 */
#include "inspect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "confine.h"
#include "host.h"
#include "inspection.h"
#include "survey.h"
#include "task.h"

#define DEADLINE_NS 2000000000ull /* for one read */
#define POLL_MS	    100
#define KILL_MS	    1000 /* for a child to die of SIGKILL */
#define CENSUS_S    5.0

enum { STATUS_OK = 0, STATUS_FOUND = 1, STATUS_FAILED = 2 };

/* What a child leaves behind beside its output. */
struct inspect_page {
	struct survey_page survey;
	volatile bool done;
	volatile int error; /* -errno */
	volatile enum verdict verdict;
	volatile bool proven; /* not by the shape of memory alone */
};

struct inspect {
	const struct options *options;
	struct run run;
	struct inspect_page *page;
	unsigned int looked, failed, refused;
	unsigned int verdicts[VERDICTS];
	bool proven;
	bool printed;
	bool forked; /* the child of the process that is being looked at */
};

/* ---- the child ---- */

static char *result_format(const struct inspect *inspect, const struct inspection *inspection,
			   size_t *len)
{
	switch (inspect->options->output) {
	case OUTPUT_JSON:
		return inspection_json(inspection, &inspect->run, len);
	case OUTPUT_DOT:
		return inspection_dot(inspection, len);
	default:
		return inspection_text(inspection, &inspect->run, inspect->options->verbose, len);
	}
}

/* A process that has nothing to say is left out, where all are looked at. */
static bool is_worth_it(const struct inspect *inspect, const struct inspection *inspection)
{
	if (!inspect->options->all)
		return true;
	if (inspect->options->output != OUTPUT_JSON)
		return inspection->verdict != VERDICT_OK;
	for (size_t i = 0; i < inspection->n_own; i++)
		if (inspection->threads[i].wait.what >= WAIT_FUTEX)
			return true;
	return false;
}

static int result_write(struct inspect *inspect, const struct inspection *inspection)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, done = 0;

	if (!is_worth_it(inspect, inspection))
		return 0;
	text = result_format(inspect, inspection, &len);
	if (!text)
		return -errno;
	while (done < len) {
		ssize_t n = write(CONFINE_FD, text + done, len - done);

		if (n < 0)
			return -errno;
		done += n;
		inspect->page->survey.steps++;
	}
	return 0;
}

/* Whoever looks is in a hurry, unless they say otherwise. */
static double census_seconds(const struct options *options)
{
	if (options->census == CENSUS_OFF || (options->all && !options->census_given))
		return 0;
	return options->census_given && options->census == CENSUS_EVERYTHING ? INFINITY : CENSUS_S;
}

static void child_run(struct inspect *inspect, int32_t pid, int fd, pid_t parent)
{
	struct inspect_page *page = inspect->page;
	struct inspection inspection;
	struct survey_ask ask = {
		.pid = pid,
		.apart_s = inspect->options->probe_s,
		.cmdline = inspect->options->cmdline,
		.census_s = census_seconds(inspect->options),
	};

	if (confine_reader(fd, parent, "deadhold-reader"))
		_exit(EXIT_FAILURE);
	page->error = survey_read(&ask, &page->survey, &inspection);
	if (!page->error) {
		page->survey.step = STEP_OUTPUT;
		page->verdict = inspection.verdict;
		page->proven = inspection_is_proven(&inspection);
		page->error = result_write(inspect, &inspection);
	}
	page->done = true;
	_exit(EXIT_SUCCESS);
}

/* ---- the parent ---- */

struct result {
	char *text;
	size_t len, room;
};

/* 1: more may come; 0: that was all; or -errno. */
static int result_take(struct result *result, int fd)
{
	ssize_t n;

	if (result->room - result->len < 65536) {
		size_t room = result->room * 2 + 65536;
		char *grown = realloc(result->text, room);

		if (!grown)
			return -ENOMEM;
		result->text = grown;
		result->room = room;
	}
	n = read(fd, result->text + result->len, result->room - result->len);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	result->len += n;
	return n > 0;
}

/* Reads until the child has closed its end. -ETIMEDOUT: it does not get on. */
static int result_read(struct inspect *inspect, struct result *result, int fd)
{
	uint64_t steps = 0, since = host_now();
	int more = 1;

	while (more > 0) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };

		if (poll(&ready, 1, POLL_MS) > 0)
			more = result_take(result, fd);
		if (inspect->page->survey.steps != steps) {
			steps = inspect->page->survey.steps;
			since = host_now();
		} else if (host_now() > since + DEADLINE_NS) {
			return -ETIMEDOUT;
		}
	}
	return more;
}

static int child_start(struct inspect *inspect, int32_t pid, int *fd, pid_t *child)
{
	pid_t parent = getpid();
	int ends[2];

	*inspect->page = (struct inspect_page){ 0 };
	inspect->forked = false;
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	*child = fork();
	if (!*child)
		child_run(inspect, pid, ends[1], parent);
	close(ends[1]);
	*fd = ends[0];
	inspect->forked = *child > 0;
	return *child < 0 ? -errno : 0;
}

/*
 * A child that sleeps where no signal reaches it (another process's memory map is held for ever) is left
 * behind; it ends when it can.
 */
static void child_end(pid_t child)
{
	kill(child, SIGKILL);
	for (int waited_ms = 0; waited_ms < KILL_MS; waited_ms++) {
		if (waitpid(child, NULL, WNOHANG))
			return;
		poll(NULL, 0, 1);
	}
}

/* Looks at one process. 0 and its result, or -errno. */
static int process_look(struct inspect *inspect, int32_t pid, struct result *result)
{
	_cleanup_close_ int fd = -1;
	pid_t child = -1;
	int err = child_start(inspect, pid, &fd, &child);

	if (!err)
		err = result_read(inspect, result, fd);
	if (child > 0 && err)
		child_end(child);
	else if (child > 0)
		waitpid(child, NULL, 0);
	if (!err && !inspect->page->done)
		err = -ECHILD;
	return err ?: inspect->page->error;
}

static const char *permission_hint(void)
{
	return geteuid() ? "run as root, for example: sudo deadhold inspect ..."
			 : "this root lacks CAP_SYS_PTRACE, or a security module forbids it";
}

static void say_failure(const struct inspect *inspect, int32_t pid, int error)
{
	const struct survey_page *page = &inspect->page->survey;

	switch (error) {
	case -ESRCH:
		fprintf(stderr, "deadhold: process %d ended while it was looked at\n", pid);
		break;
	case -ESTALE:
		fprintf(stderr,
			"deadhold: process %d runs another program than when the look began "
			"(exec): look again\n",
			pid);
		break;
	case -EPERM:
	case -EACCES:
		fprintf(stderr, "deadhold: not permitted to look at process %d: %s\n", pid,
			permission_hint());
		break;
	case -EINVAL:
		fprintf(stderr,
			"deadhold: %d is a thread of the kernel: it has no locks of this "
			"kind\n",
			pid);
		break;
	case -ENOEXEC:
		fprintf(stderr,
			"deadhold: could not look at process %d: it is a 32-bit program, whose "
			"locks are not known; see /proc/%d/task/*/stack\n",
			pid, pid);
		break;
	case -ETIMEDOUT:
		fprintf(stderr,
			"deadhold: could not look at process %d: reading %s did not come to an end "
			"in %llu s%s; look again, or see /proc/%d/task/*/stack\n",
			pid, survey_step_name(page->step), DEADLINE_NS / 1000000000ull,
			page->step == STEP_MAPPERS && page->at ? " at another process" : "", pid);
		break;
	case -ECHILD:
		fprintf(stderr, "deadhold: could not look at process %d: the reader died\n", pid);
		break;
	default:
		fprintf(stderr, "deadhold: could not look at process %d: %s%s: %s\n", pid,
			inspect->forked ? "reading " : "starting a child that reads",
			inspect->forked ? survey_step_name(page->step) : "", strerror(-error));
	}
}

static void process_inspect(struct inspect *inspect, int32_t pid)
{
	struct result result = { 0 };
	int err = process_look(inspect, pid, &result);
	bool all = inspect->options->all;

	if (err) {
		inspect->refused += err == -EPERM || err == -EACCES;
		inspect->failed += !all || err != -ESRCH; /* processes come and go */
		if (!all || (err != -ESRCH && err != -EPERM && err != -EACCES && err != -EINVAL))
			say_failure(inspect, pid, err);
	} else {
		inspect->looked++;
		inspect->verdicts[inspect->page->verdict]++;
		inspect->proven |= inspect->page->proven;
		if (inspect->printed && result.len && inspect->options->output == OUTPUT_TEXT)
			putchar('\n');
		inspect->printed |= result.len > 0;
		fwrite(result.text, 1, result.len, stdout);
		fflush(stdout); /* the next may take its time, or Ctrl-C come */
	}
	free(result.text);
}

static bool is_kernel_thread(int32_t pid)
{
	_cleanup_close_ int dir = -1;
	struct proc_stat stat;
	char name[32];

	snprintf(name, sizeof(name), "/proc/%d", pid);
	dir = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir >= 0 && !task_read_stat(dir, &stat) && stat.flags & PROC_FLAG_KTHREAD;
}

/* Every process but ourselves. */
static int all_inspect(struct inspect *inspect)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc) {
		fprintf(stderr, "deadhold: /proc can't be read (%s): mount it\n", strerror(errno));
		return -errno;
	}
	while ((entry = readdir(proc))) {
		int32_t pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid() && !is_kernel_thread(pid))
			process_inspect(inspect, pid);
	}
	return 0;
}

static void all_summary(const struct inspect *inspect)
{
	if (inspect->refused)
		fprintf(stderr, "deadhold: not permitted to look at %u process%s: %s\n",
			inspect->refused, inspect->refused == 1 ? "" : "es", permission_hint());
	if (inspect->options->output != OUTPUT_TEXT || inspect->options->quiet)
		return;
	printf("%slooked at %u process%s: %u with orphaned locks, %u with deadlocks, %u blocked, "
	       "%u ok\n",
	       inspect->printed ? "\n" : "", inspect->looked, inspect->looked == 1 ? "" : "es",
	       inspect->verdicts[VERDICT_ORPHAN], inspect->verdicts[VERDICT_DEADLOCK],
	       inspect->verdicts[VERDICT_BLOCKED], inspect->verdicts[VERDICT_OK]);
}

/* The same number was given before. */
static bool id_is_again(const struct id_list *ids, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (ids->id[i] == ids->id[at])
			return true;
	return false;
}

static void pids_inspect(struct inspect *inspect)
{
	const struct id_list *pids = &inspect->options->pids;

	for (size_t i = 0; i < pids->n; i++) {
		if (id_is_again(pids, i))
			continue;
		if (options_check_process("inspect", pids->id[i])) {
			inspect->failed++;
			continue;
		}
		process_inspect(inspect, pids->id[i]);
	}
}

static int inspect_status(const struct inspect *inspect)
{
	/* A probe kills: not for what could not be looked at, nor for the looks of memory alone. */
	if (inspect->options->probe_s)
		return inspect->proven ? STATUS_FOUND : STATUS_OK;
	if (inspect->verdicts[VERDICT_ORPHAN] || inspect->verdicts[VERDICT_DEADLOCK])
		return STATUS_FOUND;
	return inspect->failed ? STATUS_FAILED : STATUS_OK;
}

/* A probe kills for nothing but what it has seen. */
static int status_failed(const struct options *options)
{
	return options->probe_s ? STATUS_OK : STATUS_FAILED;
}

int inspect_run(const struct options *options)
{
	struct inspect inspect = { .options = options };

	inspect.page = mmap(NULL, sizeof(*inspect.page), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (inspect.page == MAP_FAILED || host_run(&inspect.run)) {
		fprintf(stderr, "deadhold: can't start (%s): is /proc mounted?\n", strerror(errno));
		return status_failed(options);
	}
	inspect.run.cmdline = options->cmdline;
	if (!options->all)
		pids_inspect(&inspect);
	else if (all_inspect(&inspect))
		return status_failed(options);
	else
		all_summary(&inspect);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "deadhold: standard output: write error\n");
		if (!options->probe_s)
			return STATUS_FAILED;
	}
	return inspect_status(&inspect);
}
