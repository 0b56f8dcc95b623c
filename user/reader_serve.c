// SPDX-License-Identifier: GPL-2.0-only
/* The reader process: gives up what it has from the agent, then answers requests until it is killed. */
#include "reader_wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "look.h"

/* The socket's number in the reader process: stdin's, which nothing else uses there. */
#define SERVE_FD 0

/*
 * The agent's handlers are meaningless here. What a terminal sends to all of its foreground processes
 * and a service manager to all of a service's is for the agent: it decides when to end, and its end
 * is the reader's.
 */
static void serve_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_listed(int from)
{
	_cleanup_closedir_ DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;

	while (fds && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);

		if (fd >= from && fd != dirfd(fds))
			close(fd);
	}
}

/* Leaves the socket as SERVE_FD, and stdout and stderr open to nowhere, lest a file get their numbers. */
static int serve_files(int fd)
{
	int nowhere;

	if (fd != SERVE_FD && dup2(fd, SERVE_FD) < 0)
		return -errno;
	if (close_range(SERVE_FD + 1, ~0u, 0)) /* Linux 5.9 */
		close_listed(SERVE_FD + 1);
	nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (nowhere == 1 && dup2(nowhere, 2) == 2)
		return 0;
	/* No /dev here: the socket's other end takes what is no answer as the reader's failure. */
	return dup2(SERVE_FD, 1) < 0 || dup2(SERVE_FD, 2) < 0 ? -errno : 0;
}

/* From what it may have, it keeps what reading other processes takes. */
static int serve_capabilities(void)
{
	static const cap_value_t needed[] = { CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH };
	cap_t have = cap_get_proc(), keep = cap_init();
	int err = have && keep ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < sizeof(needed) / sizeof(*needed); i++) {
		cap_flag_value_t permitted = CAP_CLEAR;

		cap_get_flag(have, needed[i], CAP_PERMITTED, &permitted);
		if (cap_set_flag(keep, CAP_PERMITTED, 1, &needed[i], permitted) ||
		    cap_set_flag(keep, CAP_EFFECTIVE, 1, &needed[i], permitted))
			err = -errno;
	}
	if (!err && cap_set_proc(keep))
		err = -errno;
	cap_free(have);
	cap_free(keep);
	return err;
}

/* The parent-death signal comes last but for the check: dropping rights can take it away. */
static int serve_prepare(int fd, pid_t agent)
{
	int err;

	serve_signals();
	prctl(PR_SET_NAME, "deadhold-reader");
	err = serve_files(fd);
	if (!err)
		err = serve_capabilities();
	if (err)
		return err;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	/* The agent may have ended before the line above: then nobody sends that signal any more. */
	return getppid() == agent ? 0 : -ESRCH;
}

/* Whether the packet is a whole request that stays within its limits. */
static bool request_sound(const struct reader_request *request, ssize_t len)
{
	if (len != sizeof(*request) || request->call > READER_CENSUS)
		return false;
	return request->call != READER_LOOK || request->look.n <= LOOK_ADDRESSES;
}

static void serve_request(const struct reader_request *request, struct reader_page *page,
			  struct reader_reply *reply)
{
	reply->call = request->call;
	reply->after = 0;
	switch (request->call) {
	case READER_LOOK:
		look_read(&request->look, request->until_ns, &reply->look);
		break;
	case READER_PARK:
		park_read(&request->park, &reply->park);
		break;
	case READER_MAPPERS:
		reply->mappers = (struct mappers_answer){ 0 };
		reply->after = mappers_read(&request->mappers, request->after, request->until_ns,
					    &page->at, &reply->mappers);
		break;
	case READER_CENSUS:
		census_read(&request->census, &page->tids, request->until_ns, &reply->census);
		break;
	}
}

void reader_serve(int fd, pid_t agent, struct reader_page *page)
{
	static struct reader_request request;
	static struct reader_reply reply;

	if (serve_prepare(fd, agent))
		_exit(EXIT_FAILURE);
	for (;;) {
		ssize_t n = recv(SERVE_FD, &request, sizeof(request), 0);
		size_t len;

		if (n < 0 && errno == EINTR)
			continue;
		if (!n)
			_exit(EXIT_SUCCESS); /* the agent has closed its end */
		if (!request_sound(&request, n))
			_exit(EXIT_FAILURE);
		serve_request(&request, page, &reply);
		len = reader_reply_bytes(request.call, request.look.n);
		if (send(SERVE_FD, &reply, len, MSG_NOSIGNAL) != (ssize_t)len)
			_exit(EXIT_FAILURE);
	}
}
