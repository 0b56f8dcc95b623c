// SPDX-License-Identifier: GPL-2.0-only
/*
 * One slice of a census after the other over a child of this test, which has pages of all states and
 * locks at known places; and which pages are in memory, asked in two ways.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "census_read.h"
#include "resident.h"
#include "task.h"

#define PAGE  4096ul
#define PAGES 512ul
#define LOCKS 120

static pthread_mutex_t data_mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char *private, *shared, *served;
#define IS_SERVED shared[PAGE] /* 1 + whether the kernel let the child do it */
static pid_t child;

/* Each kind of page, one after the other: written, read only (a zero page), dropped, never touched. */
static void pages_make(char *memory)
{
	for (size_t i = 0; i < PAGES; i += 4) {
		memory[i * PAGE] = 1;
		memory[(i + 2) * PAGE] += memory[(i + 1) * PAGE];
		madvise(memory + (i + 2) * PAGE, PAGE, MADV_DONTNEED);
	}
}

/* The locks: every 5th page group has one, each 7th of these across a page's border. */
static pthread_mutex_t *lock_at(size_t i)
{
	return (void *)(private + i * 4 * PAGE + (i % 7 ? 64 : 0));
}

/* From now on a userfaultfd stands behind it, though its pages are there. */
static bool userfault_put(char *memory)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)memory, PAGES * PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, 0);

	return fd >= 0 && !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &range);
}

static void child_run(int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pages_make(private);
	for (size_t i = 0; i < LOCKS; i++) {
		*lock_at(i) = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
		pthread_mutex_lock(lock_at(i));
	}
	pthread_mutex_lock(&data_mutex);
	memset(shared, 1, PAGES * PAGE);
	*(pthread_mutex_t *)shared = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock((pthread_mutex_t *)shared);
	memset(served, 0, PAGES * PAGE);
	*(pthread_mutex_t *)served = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock((pthread_mutex_t *)served);
	IS_SERVED = 1 + userfault_put(served);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void *memory_map(int flags)
{
	char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1,
			    0);

	assert_true(memory != MAP_FAILED);
	madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	return memory;
}

static int child_start(void **state)
{
	int ready[2];
	char byte;

	(void)state;
	private = memory_map(MAP_PRIVATE);
	shared = memory_map(MAP_SHARED);
	served = memory_map(MAP_PRIVATE);
	if (pipe(ready))
		return -1;
	child = fork();
	if (!child)
		child_run(ready[1]);
	close(ready[1]);
	return read(ready[0], &byte, 1) == 1 ? close(ready[0]) : -1;
}

static int child_end(void **state)
{
	(void)state;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	munmap(private, PAGES * PAGE);
	munmap(shared, PAGES * PAGE);
	munmap(served, PAGES * PAGE);
	return 0;
}

struct sum {
	size_t slices, in_private, in_shared, in_served, in_data;
	uint64_t scanned, shared, unread, beyond, left, strangers, last;
};

/* A whole pass. */
static struct sum pass(struct census_ask ask, const struct tid_sets *tids)
{
	static struct census_answer answer;
	struct sum sum = { 0 };

	ask.tgid = child;
	do {
		census_read(&ask, tids, UINT64_MAX, &answer);
		if (answer.error == -EPERM)
			skip();
		assert_int_equal(answer.error, 0);
		for (uint32_t i = 0; i < answer.n; i++) {
			uint64_t at = answer.at[i].find.lock.address;

			if (at <= sum.last) /* told with two slices */
				continue;
			sum.last = at;
			assert_int_equal(answer.at[i].find.lock.owner, child);
			sum.in_private += at - (uintptr_t) private < PAGES * PAGE;
			sum.in_shared += at - (uintptr_t)shared < PAGES * PAGE;
			sum.in_served += at - (uintptr_t)served < PAGES * PAGE;
			if (at == (uintptr_t)&data_mutex) {
				sum.in_data++;
				assert_int_equal(answer.at[i].place, FIND_DATA);
			}
		}
		assert_true(!answer.next || answer.next > ask.from);
		ask.from = answer.next;
		ask.beyond_bytes -= answer.bytes.beyond < ask.beyond_bytes ? answer.bytes.beyond
									   : ask.beyond_bytes;
		sum.scanned += answer.bytes.scanned;
		sum.shared += answer.bytes.shared;
		sum.unread += answer.bytes.unread;
		sum.beyond += answer.bytes.beyond;
		sum.left += answer.bytes.left;
		sum.strangers += answer.strangers;
		sum.slices++;
	} while (ask.from);
	return sum;
}

static void whole(void **state)
{
	struct sum sum = pass((struct census_ask){ .min = child,
						   .max = child,
						   .slice_bytes = 1 << 30,
						   .beyond_bytes = UINT64_MAX },
			      NULL);

	(void)state;
	assert_int_equal(sum.in_private, LOCKS);
	assert_int_equal(sum.in_data, 1);
	assert_int_equal(sum.in_shared, 0);
	assert_in_range(sum.shared, PAGES * PAGE, UINT64_MAX);
	assert_int_equal(sum.left, 0);
	assert_true(sum.slices >= LOCKS / CENSUS_FINDS);
}

/* However small the slices, nothing is lost between two of them, and it comes to an end. */
static void slices(void **state)
{
	static const uint64_t bytes[] = { 1, PAGE, 65536, 300000 };

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		struct sum sum = pass((struct census_ask){ .min = child,
							   .max = child,
							   .slice_bytes = bytes[i],
							   .beyond_bytes = UINT64_MAX },
				      NULL);

		assert_int_equal(sum.in_private, LOCKS);
		assert_int_equal(sum.in_data, 1);
		assert_true(sum.slices > 3);
	}
}

static void part(void **state)
{
	struct sum sum = pass(
		(struct census_ask){
			.min = child, .max = child, .slice_bytes = 1 << 30, .beyond_bytes = 0 },
		NULL);

	(void)state;
	assert_int_equal(sum.in_private, 0);
	assert_int_equal(sum.in_data, 1);
	assert_in_range(sum.left, PAGES * PAGE, UINT64_MAX);
	assert_int_equal(sum.beyond, 0);
}

/* Its pages are there, and yet it is left out, and counted once however many slices the pass has. */
static void userfault(void **state)
{
	static const uint64_t bytes[] = { 65536, 1 << 30 };

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		struct sum sum = pass((struct census_ask){ .min = child,
							   .max = child,
							   .slice_bytes = bytes[i],
							   .beyond_bytes = UINT64_MAX },
				      NULL);

		assert_int_equal(sum.in_served, IS_SERVED == 1);
		assert_int_equal(sum.unread, IS_SERVED == 1 ? 0 : PAGES * PAGE);
	}
	if (IS_SERVED == 1) {
		print_message("no right to userfaultfd(2) here\n");
		skip();
	}
}

static void strangers(void **state)
{
	static struct tid_sets tids;
	const struct census_ask ask = {
		.min = child, .max = child, .slice_bytes = 1 << 30, .beyond_bytes = UINT64_MAX
	};
	struct sum sum = pass(ask, &tids);

	(void)state;
	assert_int_equal(sum.in_private, 0);
	assert_in_range(sum.strangers, LOCKS + 1, LOCKS + 20);
	tid_set_put(&tids.known, child, true);
	assert_int_equal(pass(ask, &tids).strangers, 0);
	tid_set_put(&tids.wanted, child, true);
	assert_int_equal(pass(ask, &tids).in_private, LOCKS);
	/* Numbers that no set can have are in none. */
	tid_set_put(&tids.wanted, UINT32_MAX, true);
	assert_false(tid_set_has(&tids.wanted, UINT32_MAX));
}

static size_t runs_of(struct resident *resident, struct page_run *runs, size_t room)
{
	uint64_t at = (uintptr_t) private, end = at + PAGES * PAGE;
	size_t n = 0;

	while (at < end) {
		struct page_run some[3]; /* little room: many calls */
		ssize_t got = resident_runs(resident, at, end, some, 3, &at);

		assert_true(got >= 0);
		for (ssize_t i = 0; i < got; i++) {
			assert_true(n < room);
			runs[n++] = some[i];
		}
	}
	return n;
}

/* Some kernels give each page that is only read one of its own, in place of the zero page. */
static bool zero_page_shared(void)
{
	volatile char *memory = memory_map(MAP_PRIVATE);
	uint64_t word[2];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(!memory[0] && !memory[PAGE]);
	n = pread(fd, word, sizeof(word), (off_t)((uintptr_t)memory / PAGE * sizeof(word[0])));
	assert_int_equal(n, sizeof(word));
	close(fd);
	munmap((void *)memory, PAGES * PAGE);
	return word[0] == word[1];
}

/* By the ioctl only what was written is there; pagemap has the zero pages too. */
static void residents(void **state)
{
	static struct page_run runs[PAGES];
	bool zero_page = zero_page_shared();
	struct resident resident;
	struct task task;

	(void)state;
	if (!zero_page)
		print_message("no zero page here\n");
	assert_int_equal(task_open(&task, child, 0), 0);
	for (int scan = 0; scan < 2; scan++) {
		size_t n, pages = 0;

		assert_int_equal(resident_open(&resident, task.thread, scan), 0);
		if (scan && !resident.scan)
			print_message("no PAGEMAP_SCAN here\n");
		n = runs_of(&resident, runs, PAGES);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(runs[i].kind, RUN_OWN);
			pages += (runs[i].end - runs[i].start) / PAGE;
		}
		if (resident.scan)
			assert_int_equal(pages, zero_page ? PAGES / 4 : PAGES / 2);
		else
			assert_in_range(pages, PAGES / 4, PAGES / 2);
		resident_close(&resident);
	}
	task_close(&task);
}

/* The pass brings no page in. */
static void untouched(void **state)
{
	static struct page_run before[PAGES], after[PAGES];
	struct resident resident;
	struct task task;
	size_t n;

	(void)state;
	assert_int_equal(task_open(&task, child, 0), 0);
	assert_int_equal(resident_open(&resident, task.thread, false), 0);
	n = runs_of(&resident, before, PAGES);
	pass((struct census_ask){ .min = child,
				  .max = child,
				  .slice_bytes = 1 << 30,
				  .beyond_bytes = UINT64_MAX },
	     NULL);
	assert_int_equal(runs_of(&resident, after, PAGES), n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(after[i].start, before[i].start);
		assert_int_equal(after[i].end, before[i].end);
	}
	resident_close(&resident);
	task_close(&task);
}

static void words(void **state)
{
	enum run_kind kind;

	(void)state;
	assert_false(pagemap_kind(0, &kind));
	assert_false(pagemap_kind(1ull << 61, &kind));
	assert_true(pagemap_kind(1ull << 63 | 12345, &kind));
	assert_int_equal(kind, RUN_OWN);
	assert_true(pagemap_kind(1ull << 63 | 1ull << 61, &kind));
	assert_int_equal(kind, RUN_FILE);
	assert_true(pagemap_kind(1ull << 62, &kind));
	assert_int_equal(kind, RUN_SWAPPED);
}

static void nobody(void **state)
{
	static struct census_answer answer;
	struct census_ask ask = { .tgid = child, .start_ticks = 1, .min = 1, .max = 2 };

	(void)state;
	census_read(&ask, NULL, UINT64_MAX, &answer);
	assert_int_equal(answer.error, -ESRCH);
	assert_int_equal(answer.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole),     cmocka_unit_test(slices),
		cmocka_unit_test(part),	     cmocka_unit_test(userfault),
		cmocka_unit_test(strangers), cmocka_unit_test(residents),
		cmocka_unit_test(untouched), cmocka_unit_test(words),
		cmocka_unit_test(nobody),
	};

	return cmocka_run_group_tests(tests, child_start, child_end);
}
