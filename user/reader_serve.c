// SPDX-License-Identifier: GPL-2.0-only
/* The reader process: gives up what it has from the agent, then answers requests until it is killed. */
#include "reader_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "confine.h"
#include "look.h"
#include "memory.h"

#define REST_MS 1000

/* Whether the packet is a whole request that stays within its limits. */
static bool request_sound(const struct reader_request *request, ssize_t len)
{
	if (len != sizeof(*request) || request->call > READER_PYTHON)
		return false;
	if (request->call == READER_PYTHON)
		return request->python.n_parked <= request->python.n &&
		       request->python.n <= PYTHON_WORDS;
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
	case READER_PYTHON:
		python_read(&request->python, request->until_ns, &reply->python);
		break;
	}
}

/* Waits for the next request. After a while without one, what only a census needs is given back. */
static void serve_wait(bool *rested)
{
	struct pollfd request = { .fd = CONFINE_FD, .events = POLLIN };

	if (*rested || poll(&request, 1, REST_MS))
		return;
	memory_rest();
	*rested = true;
}

void reader_serve(int fd, pid_t agent, struct reader_page *page)
{
	static struct reader_request request;
	static struct reader_reply reply;
	bool rested = true;

	if (confine_reader(fd, agent, "deadhold-reader"))
		_exit(EXIT_FAILURE);
	for (;;) {
		ssize_t n;
		size_t len;

		serve_wait(&rested);
		n = recv(CONFINE_FD, &request, sizeof(request), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (!n)
			_exit(EXIT_SUCCESS); /* the agent has closed its end */
		if (!request_sound(&request, n))
			_exit(EXIT_FAILURE);
		serve_request(&request, page, &reply);
		rested &= request.call != READER_CENSUS && request.call != READER_PYTHON;
		len = reader_reply_bytes(request.call, request.look.n);
		if (send(CONFINE_FD, &reply, len, MSG_NOSIGNAL) != (ssize_t)len)
			_exit(EXIT_FAILURE);
	}
}
