// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unwinding with probes in place: each way out of a thread runs the cleanup handler and the destructor
 * in its frames, with the mutex unlocked by it. Says for each way what ran.
 */
#include "say.h"

#include <pthread.h>
#include <stdexcept>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int destroyed, cleaned;

struct guard {
	guard()
	{
		need(pthread_mutex_lock(&lock), "pthread_mutex_lock");
	}
	~guard()
	{
		destroyed++;
		need(pthread_mutex_unlock(&lock), "pthread_mutex_unlock");
	}
};

static void clean(void *arg)
{
	(void)arg;
	cleaned++;
}

static void leave(const char *way)
{
	guard held;
	int old;

	pthread_cleanup_push(clean, NULL);
	if (!strcmp(way, "cancel")) {
		need(pthread_cancel(pthread_self()), "pthread_cancel");
		pthread_testcancel();
	} else if (!strcmp(way, "cancel-at-once")) {
		/* Unwinds out of pthread_cancel itself. */
		need(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old), "setcanceltype");
		pthread_cancel(pthread_self());
	} else if (!strcmp(way, "exit")) {
		pthread_exit(NULL);
	} else if (!strcmp(way, "throw")) {
		throw std::runtime_error("thrown");
	}
	pthread_cleanup_pop(0);
	die("still there after %s", way);
}

static void *leaver(void *arg)
{
	const char *way = static_cast<const char *>(arg);

	name_me("leaver");
	say("leaving", NOTHING);
	if (strcmp(way, "throw")) {
		leave(way);
	} else {
		try {
			leave(way);
		} catch (const std::runtime_error &) {
		}
	}
	return NULL;
}

int main()
{
	static char ways[][16] = { "cancel", "cancel-at-once", "exit", "throw" };

	expect_go("begin");
	for (auto &way : ways) {
		pthread_t id;
		int free_again;

		destroyed = cleaned = 0;
		need(pthread_create(&id, NULL, leaver, way), "pthread_create");
		need(pthread_join(id, NULL), "pthread_join");
		free_again = !pthread_mutex_trylock(&lock);
		if (free_again)
			need(pthread_mutex_unlock(&lock), "pthread_mutex_unlock");
		say("left", "'way': '%s', 'destroyed': %d, 'cleaned': %d, 'free': %d", way,
		    destroyed, cleaned, free_again);
	}
	expect_go("end");
	return 0;
}
