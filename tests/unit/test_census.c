// SPDX-License-Identifier: GPL-2.0-only
/*
 * census_scan() over real locks of this libc, locks of musl made by hand, what nearly is one, borders of
 * blocks, and memory that is no lock at all; against a plain loop that tries every layout everywhere.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "budget.h"
#include "census.h"

#define TID 12345u

struct finds {
	size_t n;
	struct census_find at[64];
};

static void find_note(void *context, const struct census_find *find)
{
	struct finds *finds = context;

	if (finds->n < 64)
		finds->at[finds->n] = *find;
	finds->n++;
}

static struct finds scan(uint32_t min, uint32_t max, uint64_t address, const void *memory,
			 size_t bytes)
{
	const struct census_owners owners = { .min = min, .max = max };
	struct finds finds = { 0 };
	size_t n = census_scan(&owners, address, memory, bytes, 0, find_note, &finds);

	assert_int_equal(n, finds.n);
	return finds;
}

static uint32_t own_tid(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

/* ---- real locks ---- */

static void mutex_make(pthread_mutex_t *mutex, int type, int robust, int protocol)
{
	pthread_mutexattr_t attr;

	assert_int_equal(pthread_mutexattr_init(&attr), 0);
	assert_int_equal(pthread_mutexattr_settype(&attr, type), 0);
	assert_int_equal(pthread_mutexattr_setrobust(&attr, robust), 0);
	assert_int_equal(pthread_mutexattr_setprotocol(&attr, protocol), 0);
	assert_int_equal(pthread_mutex_init(mutex, &attr), 0);
	pthread_mutexattr_destroy(&attr);
}

static void every_mutex(void **state)
{
	static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
				     PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP };
	static const int protocols[] = { PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT };
	pthread_mutex_t *mutex = aligned_alloc(8, 40);

	(void)state;
	for (int i = 0; i < 16; i++) {
		int type = types[i % 4], robust = i / 4 % 2, protocol = protocols[i / 8];
		struct finds finds;

		mutex_make(mutex, type, robust, protocol);
		assert_int_equal(scan(1, LOCK_TID_LIMIT - 1, 4096, mutex, 40).n, 0);
		assert_int_equal(pthread_mutex_lock(mutex), 0);
		if (type == PTHREAD_MUTEX_RECURSIVE)
			assert_int_equal(pthread_mutex_lock(mutex), 0);
		finds = scan(own_tid(), own_tid(), 4096, mutex, 40);
		assert_int_equal(finds.n, 1);
		assert_int_equal(finds.at[0].lock.address, 4096);
		assert_int_equal(finds.at[0].lock.owner, own_tid());
		assert_int_equal(finds.at[0].lock.robust, robust);
		assert_int_equal(finds.at[0].lock.layout, robust     ? LAYOUT_GLIBC_ROBUST
							  : protocol ? LAYOUT_GLIBC_PI
								     : LAYOUT_GLIBC_MUTEX);
		if (type == PTHREAD_MUTEX_RECURSIVE)
			assert_int_equal(finds.at[0].lock.recursion, 2);
		/* The list of robust ones begins in this thread's descriptor. */
		if (robust)
			assert_true(lock_links_agree(
				&(struct lock_state){ .address = (uintptr_t)mutex,
						      .layout = LAYOUT_GLIBC_ROBUST },
				finds.at[0].prev, finds.at[0].next, *(uint64_t *)finds.at[0].prev,
				0));
		assert_int_equal(scan(own_tid() + 1, own_tid() + 1, 4096, mutex, 40).n, 0);
		if (type == PTHREAD_MUTEX_RECURSIVE)
			assert_int_equal(pthread_mutex_unlock(mutex), 0);
		assert_int_equal(pthread_mutex_unlock(mutex), 0);
		assert_int_equal(scan(1, LOCK_TID_LIMIT - 1, 4096, mutex, 40).n, 0);
		pthread_mutex_destroy(mutex);
	}
	free(mutex);
}

static void *robust_dies(void *mutex)
{
	pthread_mutex_lock(mutex);
	return (void *)(uintptr_t)own_tid();
}

static void robust_owner_died(void **state)
{
	pthread_mutex_t *mutex = aligned_alloc(8, 40);
	struct finds finds;
	pthread_t thread;
	void *tid;

	(void)state;
	mutex_make(mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
	assert_int_equal(pthread_create(&thread, NULL, robust_dies, mutex), 0);
	assert_int_equal(pthread_join(thread, &tid), 0);
	finds = scan((uintptr_t)tid, (uintptr_t)tid, 4096, mutex, 40);
	assert_int_equal(finds.n, 1);
	assert_int_equal(finds.at[0].lock.owner, (uintptr_t)tid);
	assert_true(finds.at[0].lock.owner_died);
	free(mutex);
}

static void rwlock(void **state)
{
	pthread_rwlock_t *lock = aligned_alloc(8, sizeof(*lock));
	struct finds finds;

	(void)state;
	assert_int_equal(pthread_rwlock_init(lock, NULL), 0);
	assert_int_equal(scan(1, LOCK_TID_LIMIT - 1, 4096, lock, sizeof(*lock)).n, 0);
	assert_int_equal(pthread_rwlock_rdlock(lock), 0);
	assert_int_equal(scan(1, LOCK_TID_LIMIT - 1, 4096, lock, sizeof(*lock)).n, 0);
	assert_int_equal(pthread_rwlock_unlock(lock), 0);
	assert_int_equal(pthread_rwlock_wrlock(lock), 0);
	finds = scan(own_tid(), own_tid(), 4096, lock, sizeof(*lock));
	assert_int_equal(finds.n, 1);
	assert_int_equal(finds.at[0].lock.layout, LAYOUT_GLIBC_RWLOCK_12);
	assert_int_equal(finds.at[0].lock.address, 4096);
	/* One word short of what is looked at. */
	assert_int_equal(scan(own_tid(), own_tid(), 4096, lock, LOCK_OBJECT_BYTES_RWLOCK - 8).n, 0);
	assert_int_equal(pthread_rwlock_unlock(lock), 0);
	assert_int_equal(scan(1, LOCK_TID_LIMIT - 1, 4096, lock, sizeof(*lock)).n, 0);
	free(lock);
}

/* ---- what nearly is one ---- */

struct change {
	int word;
	uint32_t value;
};

static void changes_refused(const uint32_t *lock, size_t words, const struct change *changes,
			    size_t n)
{
	_Alignas(8) uint32_t copy[16];

	memcpy(copy, lock, words * 4);
	assert_int_equal(scan(TID, TID, 4096, copy, words * 4).n, 1);
	for (size_t i = 0; i < n; i++) {
		memcpy(copy, lock, words * 4);
		copy[changes[i].word] = changes[i].value;
		if (scan(TID, TID, 4096, copy, words * 4).n)
			fail_msg("word %d = 0x%x is still a lock", changes[i].word,
				 changes[i].value);
	}
}
#define REFUSED(lock, changes) \
	changes_refused(lock, sizeof(lock) / 4, changes, sizeof(changes) / sizeof(*(changes)))

static void near_mutex(void **state)
{
	static const uint32_t normal[10] = { 1, 0, TID, 1 };
	static const uint32_t recursive[10] = { 1, 2, TID, 1, 1 };
	static const uint32_t adaptive[10] = { 2, 0, TID, 3, 3, 100 };
	static const struct change changes[] = {
		{ 0, 0 },
		{ 0, 3 },
		{ 0, 0x80001 },
		{ 0, 0x80000001 },
		{ 1, 1 },
		{ 1, UINT32_MAX },
		{ 2, 0 },
		{ 2, TID + 1 },
		{ 2, TID | 0x80000000 },
		{ 2, 0x40000000 | TID },
		{ 3, 0 },
		{ 3, 0x4001 },
		{ 3, 0x7fff },
		{ 4, 1 },
		{ 4, 4 },
		{ 4, 8 },
		{ 4, 16 },
		{ 4, 1024 },
		{ 4, ~0u },
		{ 5, 1 },
		{ 5, 0x8000 },
		{ 5, 0x1000000 },
		{ 6, 1 },
		{ 7, 1 },
		{ 8, 1 },
		{ 9, 1 },
	};
	static const struct change counts[] = { { 1, 0 }, { 1, 0x10000 }, { 5, 1 }, { 9, 1 } };
	static const struct change spins[] = { { 5, 0x8000 }, { 5, 0x10000 }, { 1, 1 } };

	(void)state;
	REFUSED(normal, changes);
	REFUSED(recursive, counts);
	REFUSED(adaptive, spins);
}

static void near_protect(void **state)
{
	/* Priority-protect: the ceiling is in the word, and the one time it is held is counted. */
	static const uint32_t protect[10] = { 40 << 19 | 1, 1, TID, 1, 64 };
	static const struct change changes[] = {
		{ 0, 40 << 19 }, { 0, 40 << 19 | 3 }, { 1, 2 }, { 4, 0 }, { 4, 64 | 16 }
	};

	(void)state;
	REFUSED(protect, changes);
}

static void near_pi(void **state)
{
	static const uint32_t pi[10] = { TID | 0x80000000, 1, TID, 1, 32 };
	static const struct change changes[] = {
		{ 0, TID + 1 }, { 0, 0 }, { 2, 0 }, { 2, TID + 1 }, { 3, 0 }, { 4, 0 },
		{ 4, 2048 },	{ 1, 2 }, { 5, 1 }, { 6, 8 },	    { 9, 1 },
	};

	(void)state;
	REFUSED(pi, changes);
}

static void near_robust(void **state)
{
	static const uint32_t robust[10] = {
		TID, 1, TID, 1, 144, 0, 0x1000, 0x7f00, 0x1000, 0x7f00
	};
	static const struct change changes[] = {
		{ 0, TID + 1 }, { 0, 0 },	{ 2, 0 },      { 2, TID + 1 },
		{ 3, 0 },	{ 4, 128 },	{ 1, 7 },      { 5, 1 },
		{ 6, 0x1002 },	{ 7, 0x10000 }, { 8, 0x1004 }, { 9, 0xffff0000 },
	};
	static const uint32_t recovered[10] = { TID, 1,	     0x7fffffff, 1,	 144,
						0,   0x1000, 0x7f00,	 0x1000, 0x7f00 };

	(void)state;
	REFUSED(robust, changes);
	assert_int_equal(scan(TID, TID, 4096, recovered, 40).n, 1);
}

static void near_rwlock(void **state)
{
	static const uint32_t lock[14] = { 3, 0, 1, 3, 0, 0, TID, 0 };
	static const struct change changes[] = {
		{ 0, 1 }, { 0, 2 }, { 0, 0x80000003 }, { 1, 0x10000 }, { 2, 0 },  { 2, 5 },
		{ 3, 0 }, { 3, 7 }, { 4, 1 },	       { 5, 1 },       { 6, 0 },  { 6, TID + 1 },
		{ 7, 2 }, { 8, 1 }, { 9, 1 },	       { 10, 1 },      { 11, 1 }, { 12, 3 },
	};

	(void)state;
	REFUSED(lock, changes);
}

static void near_musl(void **state)
{
	static const uint32_t lock[10] = { 1, TID, 0, 0, 0, 2, 0x1000, 0x7f00, 0x1000, 0x7f00 };
	static const struct change changes[] = {
		{ 0, 0 },	{ 0, 128 },	{ 0, 16 },     { 0, 0x101 },   { 1, 0 },
		{ 1, TID + 1 }, { 2, 0x10000 }, { 3, 1 },      { 4, 1 },       { 5, 0x10000 },
		{ 6, 0x1001 },	{ 6, 0x1004 },	{ 8, 0x1001 }, { 9, 0x10000 },
	};
	static const uint32_t null_links[10] = { 1, TID };

	(void)state;
	REFUSED(lock, changes);
	assert_int_equal(scan(TID, TID, 4096, null_links, 40).n, 0);
}

static void musl_links(void **state)
{
	/* The list: head at 100, then a at 1000, then b at 2000. Entries are the objects + 32. */
	const uint64_t head = 100, a = 1000, b = 2000;
	struct lock_state held = { .address = a, .layout = LAYOUT_MUSL_MUTEX, .owner = TID };
	struct lock_state last = { .address = b, .layout = LAYOUT_MUSL_MUTEX, .owner = TID };
	struct lock_state alone = { .address = a, .layout = LAYOUT_MUSL_MUTEX, .owner_died = 1 };

	(void)state;
	assert_true(lock_links_agree(&held, head, b + 32, a + 32, a + 32));
	assert_true(lock_links_agree(&last, a + 32, head, b + 32, 0));
	assert_false(lock_links_agree(&held, head, head, 0, 0));
	assert_false(lock_links_agree(&held, head, b + 32, b + 32, b + 32));
	/* Ended through musl: the head says nothing any more. */
	assert_true(lock_links_agree(&alone, head, head, head, 0));
	assert_false(lock_links_agree(&alone, head, b + 32, head, 0));
}

static void musl_mark(void **state)
{
	static const uint32_t lock[10] = {
		1, 0xc0000000, 1, 0, 0, 0, 0x1000, 0x7f00, 0x1000, 0x7f00
	};
	const struct census_owners with = { .musl_marks = true }, without = { .min = 1, .max = 99 };
	struct finds finds = { 0 };

	(void)state;
	assert_int_equal(census_scan(&without, 4096, lock, 40, 0, find_note, &finds), 0);
	assert_int_equal(census_scan(&with, 4096, lock, 40, 0, find_note, &finds), 1);
	assert_int_equal(finds.at[0].lock.owner, 0);
	assert_true(finds.at[0].lock.owner_died);
	assert_int_equal(finds.at[0].prev, 0x7f0000001000);
}

/* ---- whose ---- */

static void owners(void **state)
{
	static const uint32_t lock[10] = { 1, 0, TID, 1 };
	static uint64_t bits[TID / 64 + 1];
	struct census_owners set = { .min = TID - 5, .max = TID + 5, .bits = bits };
	struct finds finds = { 0 };

	(void)state;
	assert_int_equal(census_scan(&set, 4096, lock, 40, 0, find_note, &finds), 0);
	bits[TID / 64] |= 1ull << TID % 64;
	assert_int_equal(census_scan(&set, 4096, lock, 40, 0, find_note, &finds), 1);
	set.max = TID - 1;
	assert_int_equal(census_scan(&set, 4096, lock, 40, 0, find_note, &finds), 0);
	assert_int_equal(
		census_scan(&(struct census_owners){ 0 }, 4096, lock, 40, 0, find_note, &finds), 0);
}

static void users(void **state)
{
	/* Nine wait for a condition: with the holder, ten. */
	static const uint32_t lock[10] = { 1, 0, TID, 10 };
	struct census_owners set = { .min = TID, .max = TID, .users = 10 };
	struct finds finds = { 0 };

	(void)state;
	assert_int_equal(census_scan(&set, 4096, lock, 40, 0, find_note, &finds), 1);
	set.users = 9;
	assert_int_equal(census_scan(&set, 4096, lock, 40, 0, find_note, &finds), 0);
}

/* ---- where ---- */

static const uint32_t some_mutex[10] = { 1, 0, TID, 1 };
static const uint32_t some_rwlock[14] = { 3, 0, 1, 1, 0, 0, TID };

/* A lock anywhere in memory that is shown in two blocks, cut anywhere. */
static void borders(void **state)
{
	enum { BYTES = 1024 };
	_Alignas(8) unsigned char memory[BYTES];
	const struct census_owners set = { .min = TID, .max = TID };

	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		const void *lock = kind ? some_rwlock : some_mutex;
		size_t size = kind ? LOCK_OBJECT_BYTES_RWLOCK + 4 : LOCK_OBJECT_BYTES;

		for (size_t at = 0; at + size <= BYTES; at += 8) {
			memset(memory, 0, BYTES);
			memcpy(memory + at, lock, size);
			for (size_t cut = CENSUS_OVERLAP; cut <= BYTES; cut += 40) {
				struct finds finds = { 0 };
				const uint32_t *second = (void *)(memory + cut - CENSUS_OVERLAP);

				census_scan(&set, 65536, (void *)memory, cut, 0, find_note, &finds);
				census_scan(&set, 65536 + cut - CENSUS_OVERLAP, second,
					    BYTES - cut + CENSUS_OVERLAP, CENSUS_OVERLAP, find_note,
					    &finds);
				if (finds.n != 1 || finds.at[0].lock.address != 65536 + at)
					fail_msg("kind %d at %zu cut at %zu: %zu finds", kind, at,
						 cut, finds.n);
			}
		}
	}
}

static void not_aligned(void **state)
{
	_Alignas(8) unsigned char memory[512] = { 0 };

	(void)state;
	memcpy(memory + 100, some_mutex, sizeof(some_mutex));
	memcpy(memory + 300, some_rwlock, sizeof(some_rwlock));
	assert_int_equal(scan(TID, TID, 4096, memory, sizeof(memory)).n, 0);
}

/* Blocks of every length: the sanitizer tells of a read beyond the end. */
static void lengths(void **state)
{
	(void)state;
	for (size_t bytes = 0; bytes <= 800; bytes += 8) {
		unsigned char *memory = malloc(bytes ?: 8);

		assert_non_null(memory);
		for (size_t i = 0; i + 4 <= bytes; i += 4)
			memcpy(memory + i, &(uint32_t){ i % 12 ? 1 : TID }, 4);
		scan(TID, TID, 4096, memory, bytes);
		if (bytes >= 40) {
			memcpy(memory + bytes - 40, some_mutex, 40);
			assert_int_equal(scan(TID, TID, 4096, memory, bytes).n, 1);
		}
		free(memory);
	}
}

/* ---- what is none ---- */

#define PLENTY (4u << 20)

static uint64_t dice(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void random_data(void **state)
{
	uint64_t *memory = malloc(PLENTY), seed = 88172645463325252;

	(void)state;
	for (size_t i = 0; i < PLENTY / 8; i++)
		memory[i] = dice(&seed);
	assert_int_equal(scan(1, LOCK_TID_LIMIT - 1, 4096, memory, PLENTY).n, 0);
	free(memory);
}

static void small_integers(void **state)
{
	uint32_t *memory = malloc(PLENTY);
	uint64_t seed = 123456789;

	(void)state;
	for (size_t i = 0; i < PLENTY / 4; i++)
		memory[i] = dice(&seed) % 300;
	assert_int_equal(scan(2, 300, 4096, memory, PLENTY).n, 0);
	free(memory);
}

/* Numbers of dead threads in arrays and records, which are no locks. */
static void numbers_of_dead(void **state)
{
	uint32_t *memory = calloc(PLENTY, 1);
	static const size_t strides[] = { 1, 2, 3, 4, 5, 8, 10 };

	(void)state;
	for (size_t s = 0; s < sizeof(strides) / sizeof(*strides); s++) {
		memset(memory, 0, PLENTY);
		for (size_t i = 0; i < PLENTY / 4; i += strides[s])
			memory[i] = TID + i % 100;
		assert_int_equal(scan(TID, TID + 100, 4096, memory, PLENTY).n, 0);
	}
	free(memory);
}

/* The limit of all looks: an object that is, word for word, a mutex. */
static void look_alike(void **state)
{
	static const uint32_t object[16] = { 1, 0, 7, 1 };

	(void)state;
	assert_int_equal(scan(7, 7, 4096, object, sizeof(object)).n, 1);
}

/* ---- against a plain loop ---- */

static size_t plain_loop(uint32_t min, uint32_t max, const uint32_t *memory, size_t words)
{
	static const uint8_t layouts[] = { LAYOUT_GLIBC_MUTEX, LAYOUT_GLIBC_ROBUST, LAYOUT_GLIBC_PI,
					   LAYOUT_GLIBC_RWLOCK_12, LAYOUT_MUSL_MUTEX };
	struct lock_state lock;
	struct lock_words w;
	size_t n = 0;

	for (size_t at = 0; at < words; at += 2) {
		for (size_t i = 0; i < sizeof(layouts); i++) {
			if (words - at < lock_bytes(layouts[i]) / 4)
				continue;
			lock_words_of(layouts[i], memory + at, &w);
			n += lock_owner(layouts[i], 4096 + at * 4 + lock_word_offset(layouts[i]),
					&w, &lock) &&
			     lock_shape(&w, &lock) && lock.owner >= min && lock.owner <= max;
		}
	}
	return n;
}

/* Memory in which locks, and their ruins, are frequent. */
static void same_as_plain_loop(void **state)
{
	static const uint32_t values[] = {
		0, 0, 0, 0, 0, 1, 1, 2, 3, 7, 16, 32, 0x40000007, 0x1000
	};
	enum { WORDS = 1 << 16 };
	_Alignas(8) static uint32_t memory[WORDS];
	uint64_t seed = 42;
	size_t total = 0;

	(void)state;
	for (int round = 0; round < 30; round++) {
		for (size_t i = 0; i < WORDS; i++)
			memory[i] = values[dice(&seed) % (sizeof(values) / sizeof(*values))];
		for (size_t i = 0; i + 14 < WORDS; i += 2 * (dice(&seed) % 20 + 1)) {
			memcpy(memory + i, round % 2 ? some_rwlock : some_mutex,
			       round % 2 ? sizeof(some_rwlock) : sizeof(some_mutex));
			memory[i + (round % 2 ? 6 : 2)] = dice(&seed) % 12;
			memory[i + dice(&seed) % 14] ^= dice(&seed) % 8 ? 0 : 1;
		}
		total += plain_loop(2, 9, memory, WORDS);
		assert_int_equal(scan(2, 9, 4096, memory, sizeof(memory)).n,
				 plain_loop(2, 9, memory, WORDS));
	}
	assert_true(total > 1000);
}

/* ---- the budget ---- */

static void budget(void **state)
{
	struct budget b = { .share = 0.02, .left_ns = 1000, .most_ns = 1000, .now_ns = 0 };

	(void)state;
	assert_int_equal(budget_due(&b, 5), 5);
	budget_spend(&b, 10, 3000);
	/* 2,000 ns overdrawn: at 2 % it takes 100,000 ns. */
	assert_in_range(budget_due(&b, 10), 100000, 100020);
	assert_int_equal(budget_due(&b, 200000), 200000);
	/* What is not used is kept up to the limit. */
	budget_update(&b, 1000000000);
	assert_int_equal((int)b.left_ns, 1000);
	/* Time that goes back gives nothing. */
	budget_update(&b, 5);
	assert_int_equal((int)b.left_ns, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mutex),
		cmocka_unit_test(robust_owner_died),
		cmocka_unit_test(rwlock),
		cmocka_unit_test(near_mutex),
		cmocka_unit_test(near_protect),
		cmocka_unit_test(near_pi),
		cmocka_unit_test(near_robust),
		cmocka_unit_test(near_rwlock),
		cmocka_unit_test(near_musl),
		cmocka_unit_test(musl_links),
		cmocka_unit_test(musl_mark),
		cmocka_unit_test(owners),
		cmocka_unit_test(users),
		cmocka_unit_test(borders),
		cmocka_unit_test(not_aligned),
		cmocka_unit_test(lengths),
		cmocka_unit_test(random_data),
		cmocka_unit_test(small_integers),
		cmocka_unit_test(numbers_of_dead),
		cmocka_unit_test(look_alike),
		cmocka_unit_test(same_as_plain_loop),
		cmocka_unit_test(budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
