// SPDX-License-Identifier: GPL-2.0-only
/* The same in C: cleanup handlers on each way out of a thread. */
#include "say.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int cleaned;

static void clean(void *arg)
{
	cleaned++;
	need(pthread_mutex_unlock(arg), "pthread_mutex_unlock");
}

static void *leaver(void *arg)
{
	int old;

	name_me("leaver");
	say("leaving", NOTHING);
	need(pthread_mutex_lock(&lock), "pthread_mutex_lock");
	pthread_cleanup_push(clean, &lock);
	if (!strcmp(arg, "cancel")) {
		need(pthread_cancel(pthread_self()), "pthread_cancel");
		pthread_testcancel();
	} else if (!strcmp(arg, "cancel-at-once")) {
		need(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old), "setcanceltype");
		pthread_cancel(pthread_self());
	} else {
		pthread_exit(NULL);
	}
	pthread_cleanup_pop(0);
	die("still there after %s", (const char *)arg);
}

int main(void)
{
	static char ways[][16] = { "cancel", "cancel-at-once", "exit" };

	expect_go("begin");
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		pthread_t id;
		int free_again;

		cleaned = 0;
		need(pthread_create(&id, NULL, leaver, ways[i]), "pthread_create");
		need(pthread_join(id, NULL), "pthread_join");
		free_again = !pthread_mutex_trylock(&lock);
		if (free_again)
			need(pthread_mutex_unlock(&lock), "pthread_mutex_unlock");
		say("left", "'way': '%s', 'cleaned': %d, 'free': %d", ways[i], cleaned, free_again);
	}
	expect_go("end");
	return 0;
}
