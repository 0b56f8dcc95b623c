// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent's side of the reader. Nothing here waits: requests are queued, sent one at a time, and
 * answered from reader_dispatch(). A reader that does not answer in time is killed and another one is
 * forked; the killed one is collected whenever it has really ended, since a process in an
 * uninterruptible sleep does not end when told to.
 */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "cleanup.h"
#include "reader_wire.h"
#include "task.h"

/* How many killed readers may still not have ended before no more are started. */
#define READERS_STUCK 8
/* How many readers may die under one request before it is given up. */
#define REQUEST_READERS 2
/* How many deadlines a search over all processes may miss: it goes on behind the one it is stuck at. */
#define MAPPERS_DEADLINES 4
/* How often a deadline is put off for a reader that is not stuck, but at work or waiting for a CPU. */
#define DEADLINE_EXTENSIONS 4
/* A census is in no hurry, and stands behind whoever holds the process's mmap lock. */
#define CENSUS_DEADLINES 4
/* How many answers one call takes, so that the agent's loop comes to its other work. */
#define DISPATCH_ANSWERS 64
/* How long reader_free() waits for the end of the reader that it killed. */
#define FREE_WAIT_MS 200

struct request {
	struct request *next;
	struct reader_request wire;
	union {
		look_done *look;
		park_done *park;
		mappers_done *mappers;
		census_done *census;
		python_done *python;
	} done;
	void *context;
	unsigned int died;	       /* readers that died under it */
	unsigned int missed;	       /* deadlines */
	struct mappers_answer mappers; /* what the search has found so far */
};

struct reader {
	unsigned int deadline_ms;
	pid_t pid; /* 0: none is running */
	int fd;	   /* -1: none is running */
	struct reader_page *page;
	struct request *first, **last; /* the first one is the one under way, if any is */
	unsigned int pending;
	uint64_t due_ns;       /* of the request under way; 0: none is */
	unsigned int extended; /* how often its deadline was put off */
	pid_t stuck[READERS_STUCK];
	size_t n_stuck;
	bool closing;
	struct reader_losses losses;
	struct reader_reply reply;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* --- the process --- */

/* Whether it is gone. If somebody else has collected it (SIGCHLD ignored), it is gone as well. */
static bool child_collect(pid_t pid)
{
	pid_t n = waitpid(pid, NULL, WNOHANG);

	return n == pid || (n < 0 && errno == ECHILD);
}

static void reader_collect(struct reader *reader)
{
	size_t kept = 0;

	for (size_t i = 0; i < reader->n_stuck; i++)
		if (!child_collect(reader->stuck[i]))
			reader->stuck[kept++] = reader->stuck[i];
	reader->n_stuck = kept;
}

/* Kills the reader. Its descriptor stays open until the next one has another number. */
static void reader_kill(struct reader *reader)
{
	if (!reader->pid)
		return;
	kill(reader->pid, SIGKILL);
	if (!child_collect(reader->pid))
		reader->stuck[reader->n_stuck++] = reader->pid;
	reader->pid = 0;
	reader->due_ns = 0;
}

static void reader_close(struct reader *reader)
{
	cleanup_close(&reader->fd);
	reader->fd = -1;
}

static int reader_start(struct reader *reader)
{
	pid_t agent = getpid(), pid;
	int pair[2];

	reader_collect(reader);
	if (reader->n_stuck == READERS_STUCK)
		return -EBUSY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	reader->page->at = 0;
	pid = fork();
	if (!pid)
		reader_serve(pair[1], agent, reader->page);
	close(pair[1]);
	if (pid < 0) {
		int err = -errno;

		close(pair[0]);
		return err;
	}
	reader_close(reader);
	reader->fd = pair[0];
	reader->pid = pid;
	return 0;
}

/* --- the queue --- */

static void request_finish(struct reader *reader, const struct reader_reply *reply)
{
	_cleanup_free_ struct request *request = reader->first;

	reader->first = request->next;
	if (!reader->first)
		reader->last = &reader->first;
	reader->pending--;
	reader->due_ns = 0;
	switch (request->wire.call) {
	case READER_LOOK:
		request->done.look(request->context, &request->wire.look, &reply->look);
		break;
	case READER_PARK:
		request->done.park(request->context, &request->wire.park, &reply->park);
		break;
	case READER_MAPPERS:
		request->done.mappers(request->context, &request->wire.mappers, &reply->mappers);
		break;
	case READER_CENSUS:
		request->done.census(request->context, &request->wire.census, &reply->census);
		break;
	case READER_PYTHON:
		request->done.python(request->context, &request->wire.python, &reply->python);
		break;
	}
}

/* Answers the first request with an error and nothing else, or with what was found up to then. */
static void request_fail(struct reader *reader, int error)
{
	const struct request *request = reader->first;
	struct reader_reply *reply = &reader->reply;

	memset(reply, 0, sizeof(*reply));
	switch (request->wire.call) {
	case READER_LOOK:
		reply->look.error = error;
		reply->look.process.uid = -1;
		reply->look.n = request->wire.look.n;
		break;
	case READER_PARK:
		reply->park.error = error;
		break;
	case READER_MAPPERS:
		reply->mappers = request->mappers;
		reply->mappers.error = error;
		break;
	case READER_CENSUS:
		reply->census.error = error;
		break;
	case READER_PYTHON:
		reply->python.error = error;
		break;
	}
	request_finish(reader, reply);
}

/* Not those that the done functions submit meanwhile: they would come back here for ever. */
static void reader_fail_all(struct reader *reader, int error)
{
	for (unsigned int n = reader->pending; n; n--)
		request_fail(reader, error);
}

/*
 * What a process runs on decides whether its signals are said at all, a thousand of them by one answer: it
 * does not stand behind questions that are asked for a name's sake, only behind what is under way.
 */
static bool request_is_urgent(const struct request *request)
{
	return request->wire.call == READER_LOOK && request->wire.look.want == LOOK_RUNTIME;
}

static void reader_queue(struct reader *reader, struct request *queued)
{
	struct request **at = reader->last;

	if (request_is_urgent(queued))
		at = reader->due_ns ? &reader->first->next : &reader->first;
	queued->next = *at;
	*at = queued;
	if (!queued->next)
		reader->last = &queued->next;
}

static int reader_submit(struct reader *reader, const struct request *request)
{
	struct request *queued;

	if (reader->closing)
		return -ECANCELED;
	queued = malloc(sizeof(*queued));
	if (!queued)
		return -ENOMEM;
	*queued = *request;
	reader_queue(reader, queued);
	reader->pending++;
	return 0;
}

/* Sends the first request if none is under way. A reader that is dead says so when it is read. */
static void reader_send(struct reader *reader)
{
	struct request *request = reader->first;
	uint64_t now = now_ns(), deadline = reader->deadline_ms * 1000000ull;
	unsigned int deadlines = 1;

	if (!request || reader->due_ns || !reader->pid)
		return;
	reader->page->at = 0;
	request->wire.until_ns = now + deadline / 2;
	send(reader->fd, &request->wire, sizeof(request->wire), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (request->wire.call == READER_CENSUS || request->wire.call == READER_PYTHON)
		deadlines = CENSUS_DEADLINES;
	reader->due_ns = now + deadlines * deadline;
	reader->extended = 0;
}

int reader_look(struct reader *reader, const struct look *look, look_done *done, void *context)
{
	struct request request = {
		.wire = { .call = READER_LOOK, .look = *look },
		.done.look = done,
		.context = context,
	};
	int err;

	if (look->n > LOOK_ADDRESSES)
		return -EINVAL;
	err = reader_submit(reader, &request);
	reader_send(reader);
	return err;
}

int reader_park(struct reader *reader, const struct park *park, park_done *done, void *context)
{
	struct request request = {
		.wire = { .call = READER_PARK, .park = *park },
		.done.park = done,
		.context = context,
	};
	int err = reader_submit(reader, &request);

	reader_send(reader);
	return err;
}

int reader_mappers(struct reader *reader, const struct mappers *mappers, mappers_done *done,
		   void *context)
{
	struct request request = {
		.wire = { .call = READER_MAPPERS, .mappers = *mappers },
		.done.mappers = done,
		.context = context,
	};
	int err = reader_submit(reader, &request);

	reader_send(reader);
	return err;
}

int reader_census(struct reader *reader, const struct census_ask *ask, census_done *done,
		  void *context)
{
	struct request request = {
		.wire = { .call = READER_CENSUS, .census = *ask },
		.done.census = done,
		.context = context,
	};
	int err = reader_submit(reader, &request);

	reader_send(reader);
	return err;
}

int reader_python(struct reader *reader, const struct python_ask *ask, python_done *done,
		  void *context)
{
	struct request request = {
		.wire = { .call = READER_PYTHON, .python = *ask },
		.done.python = done,
		.context = context,
	};
	int err;

	if (ask->n > PYTHON_WORDS || ask->n_parked > ask->n)
		return -EINVAL;
	err = reader_submit(reader, &request);
	reader_send(reader);
	return err;
}

struct tid_sets *reader_tids(struct reader *reader)
{
	return &reader->page->tids;
}

/* --- answers --- */

static void sane_text(char *text, size_t size)
{
	text[size - 1] = 0;
}

/* A bool that is neither 0 nor 1 is undefined behaviour to whoever reads it. */
static void sane_bool(bool *flag)
{
	unsigned char *byte = (unsigned char *)flag;

	*byte = *byte != 0;
}

static void sane_mapping(struct look_mapping *mapping)
{
	sane_bool(&mapping->known);
	sane_bool(&mapping->shared);
	sane_bool(&mapping->data);
	sane_text(mapping->path, sizeof(mapping->path));
	sane_bool(&mapping->has_vaddr);
	sane_text(mapping->symbol, sizeof(mapping->symbol));
	sane_text(mapping->build_id, sizeof(mapping->build_id));
}

static bool look_sound(struct look_answer *answer, const struct look *look)
{
	struct process_info *process = &answer->process;

	if (answer->n != look->n || answer->libc >= LIBCS)
		return false;
	sane_text(process->comm, sizeof(process->comm));
	sane_text(process->parent_comm, sizeof(process->parent_comm));
	sane_text(process->exe, sizeof(process->exe));
	sane_text(process->cgroup, sizeof(process->cgroup));
	sane_text(process->cmdline, sizeof(process->cmdline));
	for (uint32_t i = 0; i < answer->n; i++) {
		sane_bool(&answer->at[i].has_timespec);
		sane_mapping(&answer->at[i].mapping);
	}
	return true;
}

static bool park_sound(const struct park_answer *answer)
{
	for (uint32_t i = 0; i < answer->n && i < PARK_LOCKS; i++)
		if (answer->lock[i].layout >= LAYOUTS)
			return false;
	return answer->n <= PARK_LOCKS;
}

static bool census_sound(const struct census_answer *answer, const struct census_ask *ask)
{
	for (uint32_t i = 0; i < answer->n && i < CENSUS_FINDS; i++)
		if (answer->at[i].find.lock.layout >= LAYOUTS)
			return false;
	return answer->n <= CENSUS_FINDS && (!answer->next || answer->next > ask->from);
}

static bool python_sound(const struct python_answer *answer, const struct python_ask *ask)
{
	for (uint32_t i = 0; i < answer->n && i < PYTHON_WORDS; i++)
		if (answer->at[i].word >= ask->n || answer->at[i].type >= PYTHON_TYPES)
			return false;
	return answer->n <= PYTHON_WORDS && (!answer->next || answer->next > ask->from);
}

/*
 * The reader has parsed what hostile processes wrote. Should one of them have taken it over, it must
 * not get further than this: sizes, counts and string ends are checked, all else is plain numbers.
 */
static bool reply_sound(struct reader_reply *reply, size_t len,
			const struct reader_request *request)
{
	if (len < sizeof(reply->call) || reply->call != request->call ||
	    len != reader_reply_bytes(request->call, request->look.n))
		return false;
	switch (reply->call) {
	case READER_LOOK:
		return look_sound(&reply->look, &request->look);
	case READER_PARK:
		return park_sound(&reply->park);
	case READER_CENSUS:
		return census_sound(&reply->census, &request->census);
	case READER_PYTHON:
		return python_sound(&reply->python, &request->python);
	default:
		return !reply->after || reply->after > request->after;
	}
}

static void mappers_add(struct mappers_answer *sum, const struct mappers_answer *part)
{
	sum->error = part->error;
	if (!sum->count)
		sum->pid_ns = part->pid_ns;
	sum->foreign |= part->foreign || (part->count && part->pid_ns != sum->pid_ns);
	sum->count += part->count;
	sum->owners += part->owners;
	sum->unread += part->unread;
	if (!sum->owner_tid)
		sum->owner_tid = part->owner_tid;
	if (!sum->first_pid) {
		sum->first_pid = part->first_pid;
		sum->first_start_ticks = part->first_start_ticks;
		sum->first_address = part->first_address;
	}
}

/* A search over all processes comes in parts, each with a deadline of its own. */
static void reader_take(struct reader *reader)
{
	struct request *request = reader->first;
	struct reader_reply *reply = &reader->reply;

	if (request->wire.call == READER_MAPPERS) {
		mappers_add(&request->mappers, &reply->mappers);
		reply->mappers = request->mappers;
		if (reply->after) {
			request->wire.after = reply->after;
			reader->due_ns = 0;
			return;
		}
	}
	request_finish(reader, reply);
}

/* Whether a search over all processes can go on behind the one at which its reader hangs. */
static bool mappers_skip(struct reader *reader, struct request *request)
{
	int32_t at = reader->page->at;

	if (request->wire.call != READER_MAPPERS || request->missed >= MAPPERS_DEADLINES ||
	    at <= request->wire.after)
		return false;
	request->wire.after = at;
	request->mappers.unread++;
	return true;
}

/*
 * A deadline is there for reads that hang, and a process that hangs sleeps. On a host that is short of
 * CPUs, which is when an agent is needed, one that is ready to run only needs more time.
 */
static bool reader_runs(const struct reader *reader)
{
	struct proc_stat stat;
	char path[32];
	int dir, err;

	snprintf(path, sizeof(path), "/proc/%d", reader->pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	err = task_read_stat(dir, &stat);
	cleanup_close(&dir);
	return !err && stat.state == 'R';
}

static bool reader_extend(struct reader *reader)
{
	if (reader->extended == DEADLINE_EXTENSIONS || !reader_runs(reader))
		return false;
	reader->extended++;
	reader->due_ns = now_ns() + reader->deadline_ms * 1000000ull;
	return true;
}

static void reader_missed(struct reader *reader)
{
	struct request *request = reader->first;

	reader->losses.deadlines++;
	reader->losses.restarts++;
	request->missed++;
	reader_kill(reader);
	if (!mappers_skip(reader, request))
		request_fail(reader, -ETIMEDOUT);
}

/* It died by itself, or it sent what it can't have meant: that may be the request's doing, or not. */
static void reader_died(struct reader *reader)
{
	bool under_way = reader->due_ns;

	reader->losses.restarts++;
	reader_kill(reader);
	if (under_way && ++reader->first->died >= REQUEST_READERS)
		request_fail(reader, -EIO);
}

static ssize_t reader_recv(struct reader *reader)
{
	return recv(reader->fd, &reader->reply, sizeof(reader->reply), MSG_DONTWAIT);
}

/* 1: something was done, there may be more to do; 0: nothing to do now. */
static int reader_step(struct reader *reader)
{
	ssize_t n = reader_recv(reader);

	if (n < 0 && errno == EAGAIN) {
		if (!reader->due_ns || now_ns() < reader->due_ns || reader_extend(reader))
			return 0;
		/* It sleeps: in a read that hangs, or since it has answered while this agent did not run. */
		n = reader_recv(reader);
	}
	if (n < 0 && errno == EINTR)
		return 1;
	if (n < 0 && errno == EAGAIN) {
		reader_missed(reader);
	} else if (n > 0 && reader->due_ns &&
		   reply_sound(&reader->reply, n, &reader->first->wire)) {
		reader_take(reader);
	} else {
		reader_died(reader);
	}
	return 1;
}

/*
 * A reader that is gone is replaced when there is work for another one: should it die at once each
 * time (say, of a sandbox around the agent), two are started for a request, not two for ever.
 */
static int reader_replace(struct reader *reader)
{
	int err = reader->first ? reader_start(reader) : 0;

	if (!reader->pid)
		reader_close(reader);
	if (err)
		reader_fail_all(reader, err);
	return err;
}

int reader_dispatch(struct reader *reader)
{
	reader_collect(reader);
	for (int i = 0; i < DISPATCH_ANSWERS; i++) {
		if (!reader->pid) {
			int err = reader_replace(reader);

			if (err || !reader->pid)
				return err;
		}
		reader_send(reader);
		if (!reader_step(reader))
			break;
	}
	return 0;
}

/* --- the rest --- */

struct reader *reader_new(unsigned int deadline_ms)
{
	_cleanup_free_ struct reader *reader = calloc(1, sizeof(*reader));
	int err;

	if (!reader)
		return NULL;
	reader->deadline_ms = deadline_ms;
	reader->fd = -1;
	reader->last = &reader->first;
	reader->page = mmap(NULL, sizeof(*reader->page), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (reader->page == MAP_FAILED)
		return NULL;
	err = reader_start(reader);
	if (err) {
		munmap(reader->page, sizeof(*reader->page));
		errno = -err;
		return NULL;
	}
	return take_ptr(reader);
}

/* Waits for the end of a process that was killed, but not for ever. */
static void child_await(pid_t pid)
{
	_cleanup_close_ int fd = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = { .fd = fd, .events = POLLIN };

	if (fd >= 0)
		poll(&ended, 1, FREE_WAIT_MS);
	child_collect(pid);
}

void reader_free(struct reader *reader)
{
	if (!reader)
		return;
	reader->closing = true;
	reader_kill(reader);
	reader_fail_all(reader, -ECANCELED);
	reader_collect(reader);
	for (size_t i = 0; i < reader->n_stuck; i++)
		child_await(reader->stuck[i]);
	reader_close(reader);
	munmap(reader->page, sizeof(*reader->page));
	free(reader);
}

int reader_fd(const struct reader *reader)
{
	return reader->fd;
}

uint64_t reader_due(const struct reader *reader)
{
	if (reader->due_ns)
		return reader->due_ns;
	return reader->pending ? 1 : 0; /* nothing is under way, but could be: at once */
}

unsigned int reader_pending(const struct reader *reader)
{
	return reader->pending;
}

struct reader_losses reader_losses(const struct reader *reader)
{
	return reader->losses;
}
