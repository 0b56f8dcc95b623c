/* SPDX-License-Identifier: GPL-2.0-only */
/* A shared library with a mutex in its data: lock_places.cc loads it. */
#include <pthread.h>

struct {
	char name[40];
	pthread_mutex_t mutex;
} library_table = { "the library's table", PTHREAD_MUTEX_INITIALIZER };
