// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPython's locks by their bytes: lock_owner() over objects of all versions, made by hand as they were
 * seen, and python_read() over a child of this test that has such objects, waiters' frames, and memory
 * that only looks like them.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "python.h"
#include "python_read.h"

#define SEMAPHORE 0x5578889235e0ull
#define OWNER	  0x7f2facdc0b80ull
#define TYPE	  0x7f2facd504c0ull

/* --- objects by their words --- */

static struct lock_words object_words(uint32_t layout, const uint64_t word[5])
{
	struct lock_words words = { .have_at = LOCK_WORDS_FROM, .object = layout };

	memcpy(words.at, word, 5 * sizeof(*word));
	return words;
}

static bool rlock_read(const uint64_t word[5], int32_t tid, struct lock_state *state)
{
	struct lock_words words = object_words(LAYOUT_PYTHON_RLOCK, word);

	words.have_thread = tid >= 0;
	words.thread_tid = tid;
	return lock_owner(LAYOUT_PYTHON_RLOCK, 0x1000, &words, state);
}

static void rlock_semaphore(void **state)
{
	const uint64_t word[5] = { 6, TYPE, SEMAPHORE, OWNER, 3 };
	struct lock_state s;

	(void)state;
	assert_true(rlock_read(word, 4711, &s));
	assert_true(s.held && !s.owner_died);
	assert_int_equal(s.owner, 4711);
	assert_int_equal(s.recursion, 3);
	assert_int_equal(s.thread, OWNER);
	assert_int_equal(s.address, 0x1000);
}

/* A mutex of one byte, and a level that counts from 0: 3.14. Its reference count has flags on top. */
static void rlock_mutex(void **state)
{
	uint64_t word[5] = { 5 | 1ull << 48, TYPE, 3, OWNER, 0 };
	struct lock_state s;

	(void)state;
	assert_true(rlock_read(word, 4711, &s));
	assert_true(s.held);
	assert_int_equal(s.owner, 4711);
	assert_int_equal(s.recursion, 1);
	word[2] = 0; /* free: the owner's place is not cleared in all versions */
	assert_true(rlock_read(word, 4711, &s));
	assert_false(s.held);
	word[2] = 2; /* free, and somebody is parked: about to take it */
	assert_true(rlock_read(word, 4711, &s));
	assert_false(s.held);
}

static void rlock_free(void **state)
{
	const uint64_t count[5] = { 6, TYPE, SEMAPHORE, OWNER, 0 };
	const uint64_t owner[5] = { 6, TYPE, SEMAPHORE, 0, 1 };
	struct lock_state s;

	(void)state;
	assert_true(rlock_read(count, 4711, &s));
	assert_false(s.held);
	assert_true(rlock_read(owner, 4711, &s));
	assert_false(s.held);
}

/* No descriptor is there any more, or one whose thread has ended (its TID is 0, or −1 once joined). */
static void rlock_dead(void **state)
{
	const uint64_t word[5] = { 2, TYPE, SEMAPHORE, OWNER, 1 };
	struct lock_words words = object_words(LAYOUT_PYTHON_RLOCK, word);
	struct lock_state s;

	(void)state;
	assert_true(rlock_read(word, -1, &s));
	assert_true(s.held && s.owner_died && !s.owner);
	assert_true(rlock_read(word, 0, &s));
	assert_true(s.held && s.owner_died && !s.owner);
	words.have_thread = 1;
	words.thread_tid = -1;
	assert_true(lock_owner(LAYOUT_PYTHON_RLOCK, 0x1000, &words, &s));
	assert_true(s.held && s.owner_died && !s.owner);
}

static void plain_lock(void **state)
{
	uint64_t semaphore[5] = { 6, TYPE, SEMAPHORE, 0, 1 };
	uint64_t mutex[5] = { 6, TYPE, 3, TYPE, 0 };
	struct lock_words words = object_words(LAYOUT_PYTHON_LOCK, semaphore);
	struct lock_state s;

	(void)state;
	assert_true(lock_owner(LAYOUT_PYTHON_LOCK, 0x1000, &words, &s));
	assert_true(s.held && !s.owner && !s.owner_died && !s.thread);
	semaphore[4] = 0x7f0000000000;
	words = object_words(LAYOUT_PYTHON_LOCK, semaphore);
	assert_true(lock_owner(LAYOUT_PYTHON_LOCK, 0x1000, &words, &s));
	assert_false(s.held);
	words = object_words(LAYOUT_PYTHON_LOCK, mutex);
	assert_true(lock_owner(LAYOUT_PYTHON_LOCK, 0x1000, &words, &s));
	assert_true(s.held && !s.owner && !s.owner_died);
}

/* Freed, of another type, or not read: nothing is said. */
static void no_object(void **state)
{
	static const uint64_t none[][5] = {
		{ 0, TYPE, SEMAPHORE, OWNER, 1 },	       /* no references */
		{ 0x7f2fac719b40, TYPE, SEMAPHORE, OWNER, 1 }, /* a freed object's link */
		{ 0x5555, 0, SEMAPHORE, OWNER, 1 },	       /* no type */
		{ 6, TYPE + 1, SEMAPHORE, OWNER, 1 },
	};
	const uint64_t word[5] = { 6, TYPE, SEMAPHORE, OWNER, 1 };
	struct lock_words words = object_words(LAYOUT_NONE, word);
	struct lock_state s;

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		assert_false(rlock_read(none[i], 4711, &s));
	assert_false(lock_owner(LAYOUT_PYTHON_RLOCK, 0x1000, &words, &s));
	words.object = LAYOUT_PYTHON_LOCK;
	assert_false(lock_owner(LAYOUT_PYTHON_RLOCK, 0x1000, &words, &s));
	words.object = LAYOUT_PYTHON_RLOCK;
	words.have_at = 1;
	assert_false(lock_owner(LAYOUT_PYTHON_RLOCK, 0x1000, &words, &s));
}

/* Whatever lies there: an owner is named only with a descriptor, and held only what has one. */
static void any_words(void **state)
{
	struct lock_state s;

	(void)state;
	srandom(4);
	for (int i = 0; i < 1000000; i++) {
		struct lock_words words = { .have_at = LOCK_WORDS_FROM };

		for (int at = 0; at < LOCK_WORDS_FROM; at++)
			words.at[at] = random() & 1 ? random() % 5 : (uint32_t)random() << 1;
		words.object = LAYOUT_PYTHON_LOCK + random() % 2;
		words.have_thread = random() & 1;
		words.thread_tid = random() & 1 ? random() : -(random() & 1);
		if (!lock_owner(words.object, 0x1000, &words, &s))
			continue;
		assert_true(!s.owner || (s.held && words.have_thread && s.thread));
		assert_true(!s.owner_died || (s.held && !s.owner && s.thread));
	}
}

static void names(void **state)
{
	(void)state;
	assert_int_equal(python_type_named("_thread.lock", 13), PYTHON_LOCK);
	assert_int_equal(python_type_named("_thread.RLock\0x", 16), PYTHON_RLOCK);
	assert_int_equal(python_type_named("_queue.SimpleQueue", 19), PYTHON_QUEUE);
	assert_int_equal(python_type_named("weakref", 8), PYTHON_WEAKREF);
	assert_int_equal(python_type_named("weakref.ReferenceType", 22), PYTHON_WEAKREF);
	assert_int_equal(python_type_named("_thread.lock", 12), PYTHON_NOTHING); /* no end */
	assert_int_equal(python_type_named("", 1), PYTHON_NOTHING);
	assert_int_equal(python_type_named("_thread.lockx", 14), PYTHON_NOTHING);
}

static void calls(void **state)
{
	(void)state;
	assert_true(python_waits(0x189, 0, 0x1000));
	assert_true(python_waits(0x89, 0, 0x1000));
	assert_false(python_waits(0x189, 2, 0x1000));
	assert_false(python_waits(0x109, 0, 0x1000)); /* a semaphore of several processes */
	assert_false(python_waits(0x189, 0, 0x1004));
	assert_false(python_waits(0x80 | FUTEX_OP_LOCK_PI, 0, 0x1000));
	assert_true(python_parks(0x1100, 0x1000));
	assert_false(python_parks(0xf00, 0x1000));
	assert_false(python_parks(0x1400, 0x1000));
}

/* --- a set of words --- */

static bool note(void *context, uint64_t address, size_t i)
{
	uint64_t *found = context;

	found[i] = address;
	return true;
}

static void word_sets(void **state)
{
	uint64_t words[] = { 900, 100, 500, 100, 900 }, found[3] = { 0 };
	const uint64_t memory[] = { 100, 101, 500, 0, 500, 1 };
	struct word_set set;
	size_t n = word_sort(words, 5);

	(void)state;
	assert_int_equal(n, 3);
	word_set_init(&set, words, n);
	assert_int_equal(word_set_find(&set, 100), 0);
	assert_int_equal(word_set_find(&set, 900), 2);
	assert_int_equal(word_set_find(&set, 901), -1);
	word_set_scan(&set, 0x1000, memory, sizeof(memory), 8, note, found);
	assert_int_equal(found[0], 0); /* shown before */
	assert_int_equal(found[1], 0x1020);
	assert_int_equal(found[2], 0);
	word_set_init(&set, words, 0);
	assert_int_equal(word_set_find(&set, 100), -1);
}

/* --- a process that has such objects --- */

/* As the child lays them out: both have the same addresses. */
static struct place {
	uint64_t type_lock[4], type_rlock[4], type_other[4];
	char name_lock[32], name_rlock[32], name_other[32];
	uint64_t semaphore[8], freed[8], twice[8], nobody[8]; /* their addresses alone count */
	uint64_t lock[5], rlock[5], stale[5], one[5], two[5], other[5];
	uint64_t park_arg, park_addr, park_sema[4]; /* struct wait_entry */
	uint64_t parked[5];
} * place;

static pid_t child;

static void object_put(uint64_t object[5], uint64_t references, const uint64_t *type, uint64_t lock)
{
	object[0] = references;
	object[1] = (uintptr_t)type;
	object[2] = lock;
}

static void type_put(uint64_t type[4], char *to, const char *name)
{
	strcpy(to, name);
	type[3] = (uintptr_t)to;
}

static void place_fill(void)
{
	type_put(place->type_lock, place->name_lock, "_thread.lock");
	type_put(place->type_rlock, place->name_rlock, "_thread.RLock");
	type_put(place->type_other, place->name_other, "_thread._local");
	object_put(place->lock, 3, place->type_lock, (uintptr_t)place->semaphore);
	object_put(place->other, 3, place->type_other, (uintptr_t)place->semaphore);
	object_put(place->stale, (uintptr_t)place->lock, place->type_rlock,
		   (uintptr_t)place->semaphore);
	object_put(place->rlock, 2, place->type_rlock, (uintptr_t)place->freed);
	place->rlock[3] = pthread_self();
	place->rlock[4] = 1;
	object_put(place->one, 1, place->type_lock, (uintptr_t)place->twice);
	object_put(place->two, 1, place->type_lock, (uintptr_t)place->twice);
	object_put(place->parked, 1, place->type_rlock, 3);
	place->park_addr = (uintptr_t)place->parked + PYTHON_OBJECT_LOCK;
	place->park_sema[0] = 1ull << 32; /* value 0, one waiter */
}

static int child_start(void **state)
{
	char text[] = "/tmp/python_XXXXXX";
	int ready[2], code = mkstemp(text);
	void *mapped;
	char byte;

	(void)state;
	/* Code of Python's, by its name: that is all that is asked for. */
	if (code < 0 || ftruncate(code, 4096) || pipe(ready))
		return -1;
	mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, code, 0);
	unlink(text);
	place = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapped == MAP_FAILED || place == MAP_FAILED)
		return -1;
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		place_fill();
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	return child < 0 || read(ready[0], &byte, 1) != 1;
}

static int child_end(void **state)
{
	(void)state;
	kill(child, SIGKILL);
	return waitpid(child, NULL, 0) != child;
}

static struct python_answer answer;

static void ask(const uint64_t *words, uint32_t n, uint32_t n_parked)
{
	struct python_ask ask = {
		.tgid = child, .n = n, .n_parked = n_parked, .slice_bytes = UINT64_MAX
	};

	memcpy(ask.word, words, n * sizeof(*words));
	word_sort(ask.word + n_parked, n - n_parked);
	python_read(&ask, UINT64_MAX, &answer);
}

static void found_by_semaphore(void **state)
{
	uint64_t words[] = { (uintptr_t)place->semaphore };

	(void)state;
	ask(words, 1, 0);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.python, 1);
	assert_int_equal(answer.next, 0);
	assert_int_equal(answer.n, 1); /* not what is left of a freed one, nor of another type */
	assert_int_equal(answer.at[0].address, (uintptr_t)place->lock);
	assert_int_equal(answer.at[0].type, PYTHON_LOCK);
	words[0] = (uintptr_t)place->nobody;
	ask(words, 1, 0);
	assert_int_equal(answer.n, 0);
	words[0] = (uintptr_t)place->twice; /* both are told: which it is nobody knows */
	ask(words, 1, 0);
	assert_int_equal(answer.n, 2);
}

static void found_by_park(void **state)
{
	const uint64_t words[] = { (uintptr_t)place->park_sema, (uintptr_t)place->nobody };

	(void)state;
	ask(words, 2, 2);
	assert_int_equal(answer.n, 1);
	assert_int_equal(answer.at[0].word, 0);
	assert_int_equal(answer.at[0].address, (uintptr_t)place->parked);
	assert_int_equal(answer.at[0].type, PYTHON_RLOCK);
	assert_int_equal(answer.scanned_bytes, 0); /* no search was needed */
}

/* Words that lead nowhere, and a process that is gone. */
static void hostile(void **state)
{
	uint64_t words[PYTHON_WORDS];

	(void)state;
	srandom(5);
	for (int round = 0; round < 200; round++) {
		for (uint32_t i = 0; i < PYTHON_WORDS; i++)
			words[i] = (uint64_t)random() << 33 ^ (uint64_t)random() << (random() & 31);
		ask(words, PYTHON_WORDS, round & 1 ? PYTHON_WORDS : 0);
		assert_int_equal(answer.error, 0);
		assert_int_equal(answer.n, 0);
	}
}

static void owner_is_read(void **state)
{
	_cleanup_task_ struct task task = TASK_CLOSED;
	struct lock_words words;
	struct lock_state s;

	(void)state;
	assert_int_equal(task_open(&task, child, 0), 0);
	assert_int_equal(python_object_type(&task, (uintptr_t)place->rlock, &words), PYTHON_RLOCK);
	python_object_read(&task, &words);
	assert_true(lock_owner(LAYOUT_PYTHON_RLOCK, (uintptr_t)place->rlock, &words, &s));
	assert_int_equal(s.owner, child); /* fork has put the child's number there */
	assert_int_equal(python_thread_tid(&task, pthread_self()), child);
	assert_int_equal(python_thread_tid(&task, (uintptr_t)place), 0);
	assert_int_equal(python_thread_tid(&task, 8), 0);
}

static void nobody_there(void **state)
{
	struct python_ask gone = { .tgid = 1 << 30, .n = 1, .slice_bytes = UINT64_MAX };

	(void)state;
	python_read(&gone, UINT64_MAX, &answer);
	assert_int_equal(answer.error, -ESRCH);
	assert_int_equal(answer.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rlock_semaphore),
		cmocka_unit_test(rlock_mutex),
		cmocka_unit_test(rlock_free),
		cmocka_unit_test(rlock_dead),
		cmocka_unit_test(plain_lock),
		cmocka_unit_test(no_object),
		cmocka_unit_test(any_words),
		cmocka_unit_test(names),
		cmocka_unit_test(calls),
		cmocka_unit_test(word_sets),
		cmocka_unit_test(found_by_semaphore),
		cmocka_unit_test(found_by_park),
		cmocka_unit_test(hostile),
		cmocka_unit_test(owner_is_read),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests_name("python", tests, child_start, child_end);
}
