// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader against children of this test that hold locks, lose their main thread, end, or hang
 * whoever reads them; and its own life: deadlines, deaths, replacement, what it keeps of the agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "look.h"
#include "proc.h"
#include "reader.h"
#include "task.h"

#define PATIENT_MS 30000 /* a deadline that is never missed */
#define SHORT_MS   700	 /* one that is */

/* In .data and in .bss: their names are to be found. */
static pthread_mutex_t data_mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct {
	char room[300000];
	pthread_mutex_t mutex;
} bss_locks;

/* Shared by test and targets, at one address in all of them. */
struct board {
	int tid, other_tid;
	uint64_t address;
	uint64_t stack[192];
	pthread_mutex_t pi[6], robust_pi, plain;
};
static struct board *board;

/* --- targets: children that do something and then wait to be killed --- */

struct target {
	pid_t pid;
	int ready; /* a byte comes when it is where it should be */
};

static int told; /* a target's end of its pipe */

static void target_ready(void)
{
	if (write(told, "r", 1) != 1)
		_exit(99);
}

static void target_stay(void)
{
	for (;;)
		pause();
}

static struct target target_start(void (*run)(void))
{
	struct target target;
	int fds[2];
	char byte;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	memset(board, 0, sizeof(*board));
	target.pid = fork();
	if (!target.pid) {
		told = fds[1];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* where Yama asks for it */
		run();
		target_ready();
		target_stay();
	}
	close(fds[1]);
	target.ready = fds[0];
	assert_int_equal(read(target.ready, &byte, 1), 1);
	return target;
}

static void target_end(struct target *target)
{
	kill(target->pid, SIGKILL);
	assert_int_equal(waitpid(target->pid, NULL, 0), target->pid);
	close(target->ready);
}

static uint64_t start_of(pid_t pid)
{
	struct proc_stat stat;
	char path[32];
	int dir, err;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_CLOEXEC);
	err = task_read_stat(dir, &stat);
	close(dir);
	return err ? 0 : stat.start_ticks;
}

/* --- answers --- */

/* The reader of the test under way; the teardown frees it. */
static struct reader *reader;

static struct look_answer answer;
static struct park_answer park_found;
static struct mappers_answer mappers_found;
static int answers;
static uint64_t order[64];

static void looked(void *context, const struct look *look, const struct look_answer *a)
{
	(void)look;
	if (answers < 64)
		order[answers] = (uintptr_t)context;
	answers++;
	answer = *a;
}

static void parked(void *context, const struct park *park, const struct park_answer *a)
{
	(void)context, (void)park;
	answers++;
	park_found = *a;
}

static void mapped(void *context, const struct mappers *mappers, const struct mappers_answer *a)
{
	(void)context, (void)mappers;
	answers++;
	mappers_found = *a;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* What the agent's loop does: sleeps until something is due, never inside the reader's functions. */
static int pump(int until)
{
	int err = 0;

	while (!err && answers < until) {
		uint64_t due = reader_due(reader), now = now_ns();
		struct pollfd ready = { .fd = reader_fd(reader), .events = POLLIN };

		assert_int_not_equal(due, 0);
		poll(&ready, 1, due > now ? (due - now) / 1000000 + 1 : 0);
		err = reader_dispatch(reader);
	}
	return err;
}

static void look_at(const struct look *look)
{
	answers = 0;
	assert_int_equal(reader_look(reader, look, looked, NULL), 0);
	assert_int_equal(answers, 0);
	assert_int_equal(pump(1), 0);
	assert_int_equal(reader_pending(reader), 0);
}

static struct look look_for(const struct target *target, uint32_t want, const void *address)
{
	struct look look = {
		.tgid = target->pid,
		.start_ticks = start_of(target->pid),
		.want = want,
		.n = address ? 1 : 0,
		.address = { (uintptr_t)address },
	};

	return look;
}

static int reader_end(void **state)
{
	(void)state;
	reader_free(reader);
	reader = NULL;
	return 0;
}

/* The youngest reader among a process's children: one that was killed may still be there. */
static pid_t reader_pid(pid_t parent)
{
	char path[64], comm[32];
	pid_t pid, found = 0;
	FILE *children;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	children = fopen(path, "re");
	if (!children)
		return 0;
	while (fscanf(children, "%d", &pid) == 1) {
		int dir;

		snprintf(path, sizeof(path), "/proc/%d", pid);
		dir = open(path, O_PATH | O_CLOEXEC);
		task_read_file(dir, "comm", comm, sizeof(comm));
		close(dir);
		if (!strcmp(comm, "deadhold-reader\n"))
			found = pid;
	}
	fclose(children);
	return found;
}

/* It takes its name when it begins: a request has been answered, so it has. */
static pid_t reader_known(void)
{
	struct look look = { .tgid = getpid() };

	look_at(&look);
	assert_int_equal(answer.error, 0);
	return reader_pid(getpid());
}

/* Starts it. Returns its PID, 0 where the kernel doesn't tell (no /proc/PID/task/TID/children). */
static pid_t reader_ready(unsigned int deadline_ms)
{
	reader = reader_new(deadline_ms);
	assert_non_null(reader);
	return reader_known();
}

/* --- memory, mappings, identity --- */

static void hold_mutexes(void)
{
	board->tid = gettid();
	pthread_mutex_lock(&data_mutex);
	pthread_mutex_lock(&data_mutex);
	pthread_mutex_lock(&bss_locks.mutex);
}

static void held_mutex(void **state)
{
	struct target target = target_start(hold_mutexes);
	struct look look = look_for(&target, LOOK_WORDS | LOOK_MAPPINGS, &data_mutex);
	char exe[PATH_MAX] = "";
	struct lock_state s;

	(void)state;
	reader_ready(PATIENT_MS);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	look.n = 2;
	look.address[1] = (uintptr_t)&bss_locks.mutex;
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.n, 2);

	assert_true(lock_owner(LAYOUT_GLIBC_MUTEX, look.address[0], &answer.at[0].words, &s));
	assert_true(s.held);
	assert_int_equal(s.owner, target.pid);
	assert_int_equal(s.recursion, 2);
	assert_true(answer.at[0].mapping.known);
	assert_false(answer.at[0].mapping.shared);
	assert_true(answer.at[0].mapping.start <= look.address[0] &&
		    look.address[0] < answer.at[0].mapping.end);
	assert_string_equal(answer.at[0].mapping.path, exe);
	assert_string_equal(answer.at[0].mapping.symbol, "data_mutex");

	assert_true(lock_owner(LAYOUT_GLIBC_MUTEX, look.address[1], &answer.at[1].words, &s));
	assert_int_equal(s.owner, target.pid);
	assert_true(answer.at[1].mapping.known);
	assert_string_equal(answer.at[1].mapping.symbol, "bss_locks+0x493e0");

	/* The futex word of a musl mutex is 4 bytes into it: the name is the mutex's all the same. */
	look.address[0] += 4;
	look.into[0] = 4;
	look_at(&look);
	assert_string_equal(answer.at[0].mapping.symbol, "data_mutex");
	look.into[0] = 0;
	look_at(&look);
	assert_string_equal(answer.at[0].mapping.symbol, "data_mutex+0x4");
	target_end(&target);
}

static void set_odd_name(void)
{
	prctl(PR_SET_NAME, "a) Z 1 (b\n\x1b");
}

static void process_info(void **state)
{
	struct target target = target_start(set_odd_name);
	struct look look = look_for(&target, LOOK_PROCESS | LOOK_CMDLINE, NULL);
	char exe[PATH_MAX] = "", ns[64];
	struct stat st;

	(void)state;
	reader_ready(PATIENT_MS);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_int_equal(stat("/proc/self/ns/pid", &st), 0);
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, target.pid);
	assert_int_equal(answer.process.ppid, getpid());
	assert_int_equal(answer.process.start_ticks, look.start_ticks);
	assert_int_equal(answer.process.uid, getuid());
	assert_int_equal(answer.process.pid_ns, st.st_ino);
	assert_true(answer.process.ns_pid > 0);
	assert_string_equal(answer.process.comm, "a) Z 1 (b\n\x1b");
	assert_string_equal(answer.process.exe, exe);
	if (!access("/proc/self/cgroup", R_OK))
		assert_int_equal(answer.process.cgroup[0], '/');
	assert_non_null(strstr(answer.process.cmdline, "test_reader"));
	assert_int_equal(answer.libc, LIBC_GLIBC);

	look.want = LOOK_PROCESS;
	look_at(&look);
	assert_string_equal(answer.process.cmdline, "");
	snprintf(ns, sizeof(ns), "%u", answer.process.pid_ns);
	target_end(&target);
}

static void nothing(void)
{
}

/* Who has the PID now is somebody else: not a word about him. */
static void pid_reused(void **state)
{
	struct target target = target_start(hold_mutexes);
	struct look look = look_for(&target, LOOK_PROCESS | LOOK_WORDS | LOOK_MAPPINGS,
				    &data_mutex);

	(void)state;
	reader_ready(PATIENT_MS);
	look.start_ticks++;
	look_at(&look);
	assert_int_equal(answer.error, -ESRCH);
	assert_int_equal(answer.process.pid, 0);
	assert_string_equal(answer.process.comm, "");
	assert_int_equal(answer.at[0].words.have_at, 0);
	assert_false(answer.at[0].mapping.known);
	look.start_ticks = 0; /* any */
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, target.pid);
	target_end(&target);
}

static void process_ended(void **state)
{
	struct target target = target_start(nothing);
	struct look look = look_for(&target, LOOK_PROCESS, NULL);
	siginfo_t info;

	(void)state;
	reader_ready(PATIENT_MS);
	kill(target.pid, SIGKILL);
	assert_int_equal(waitid(P_PID, target.pid, &info, WEXITED | WNOWAIT), 0);
	look_at(&look); /* a zombie */
	assert_int_equal(answer.error, -ESRCH);
	target_end(&target);
	look_at(&look); /* nobody */
	assert_int_equal(answer.error, -ESRCH);
}

static void *stay_behind(void *pid_pointer)
{
	pid_t pid = *(pid_t *)pid_pointer;
	struct proc_stat stat;
	char path[32];
	int dir;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_CLOEXEC);
	board->tid = gettid();
	pthread_mutex_lock(&data_mutex);
	do
		task_read_stat(dir, &stat);
	while (stat.state != 'Z');
	target_ready();
	target_stay();
	return NULL;
}

static void leave_by_main_thread(void)
{
	static pid_t pid;
	pthread_t thread;

	pid = getpid();
	if (pthread_create(&thread, NULL, stay_behind, &pid))
		_exit(99);
	syscall(SYS_exit, 0);
}

static void main_thread_exited(void **state)
{
	struct target target = target_start(leave_by_main_thread);
	struct look look = look_for(
		&target, LOOK_PROCESS | LOOK_CMDLINE | LOOK_WORDS | LOOK_MAPPINGS, &data_mutex);
	char exe[PATH_MAX] = "";
	struct lock_state s;

	(void)state;
	reader_ready(PATIENT_MS);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, target.pid);
	assert_string_equal(answer.process.exe, exe);
	assert_int_not_equal(answer.process.pid_ns, 0);
	assert_int_not_equal(answer.process.cmdline[0], 0);
	assert_int_equal(answer.libc, LIBC_GLIBC);
	assert_true(lock_owner(LAYOUT_GLIBC_MUTEX, look.address[0], &answer.at[0].words, &s));
	assert_int_equal(s.owner, board->tid);
	assert_string_equal(answer.at[0].mapping.symbol, "data_mutex");
	target_end(&target);
}

/* A path can be longer than any buffer. Its line is left out, and no other one is. */
static void long_maps_lines(void **state)
{
	static const struct {
		int line, path;
	} longs[] = { { 500, 40000 }, { 700, 32768 - 40 }, { 900, 70000 }, { 901, 33000 } };
	static struct task_maps maps;
	int fd = memfd_create("maps", MFD_CLOEXEC), seen = 0;
	FILE *file = fdopen(dup(fd), "w");
	struct proc_mapping m;

	(void)state;
	assert_non_null(file);
	for (int line = 1; line <= 1000; line++) {
		int len = line % 300;

		for (int i = 0; i < 4; i++)
			if (longs[i].line == line)
				len = longs[i].path;
		fprintf(file, "%x000-%x000 rw-p 0 00:00 7 /%0*d\n", line, line + 1, len, 0);
	}
	fclose(file);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	maps.fd = fd;
	for (int line = 1; line <= 1000; line++) {
		if (line == 500 || line == 900 || line == 901)
			continue;
		assert_int_equal(task_maps_next(&maps, &m), 1);
		assert_int_equal(m.start, line * 4096ull);
		seen++;
	}
	assert_int_equal(seen, 997);
	assert_int_equal(task_maps_next(&maps, &m), 0);
	task_maps_close(&maps);
}

/* One page of sevens between two that are not there. */
static void map_lonely_page(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);

	memset(pages + page, 7, page);
	munmap(pages, page);
	munmap(pages + 2 * page, page);
	board->address = (uintptr_t)pages + page;
}

static void torn_words(void **state)
{
	struct target target = target_start(map_lonely_page);
	uint64_t page = board->address, end = page + sysconf(_SC_PAGESIZE);
	const struct {
		uint64_t address;
		int before, at;
	} rows[] = {
		{ page + 12, 1, 10 },
		{ page + 8, 0, 10 },
		{ page, 0, 10 },
		{ end - 40, 1, 10 },
		{ end - 36, 1, 1 },
		{ end - 4, 1, 1 },
		{ end, 1, 0 },
		{ end + 12, 0, 0 },
		{ page - 4, 0, 0 },
		{ page + 14, 0, 0 }, /* not aligned: no futex word */
		{ 0, 0, 0 },
		{ 8, 0, 0 },
		{ UINT64_MAX - 3, 0, 0 },
		{ 0xffffffff81000000, 0, 0 },
	};
	struct look look = look_for(&target, LOOK_WORDS, NULL);

	(void)state;
	reader_ready(PATIENT_MS);
	look.n = sizeof(rows) / sizeof(*rows);
	for (uint32_t i = 0; i < look.n; i++)
		look.address[i] = rows[i].address;
	look_at(&look);
	assert_int_equal(answer.error, 0);
	for (uint32_t i = 0; i < look.n; i++) {
		const struct lock_words *w = &answer.at[i].words;

		assert_int_equal(w->have_before, rows[i].before);
		assert_int_equal(w->have_at, rows[i].at);
		if (rows[i].before)
			assert_int_equal(w->before[0] & w->before[2], 0x07070707);
		if (rows[i].at)
			assert_int_equal(w->at[0], 0x07070707);
		if (rows[i].at > 1)
			assert_int_equal(w->at[9], 0x07070707);
	}
	target_end(&target);
}

static void timespecs(void **state)
{
	static struct timespec times[] = {
		{ 0, 0 },  { 1, 999999999 },	      { 5, 1000000000 }, { -1, 0 },
		{ 1, -1 }, { 9223372036, 854775807 }, { INT64_MAX, 5 },
	};
	struct target target = target_start(nothing);
	struct look look = look_for(&target, LOOK_TIMESPEC, NULL);

	(void)state;
	reader_ready(PATIENT_MS);
	for (look.n = 0; look.n < 7; look.n++)
		look.address[look.n] = (uintptr_t)&times[look.n];
	look.address[look.n++] = 16;
	look_at(&look);
	assert_true(answer.at[0].has_timespec && answer.at[0].timespec_ns == 0);
	assert_true(answer.at[1].has_timespec && answer.at[1].timespec_ns == 1999999999);
	assert_false(answer.at[2].has_timespec);
	assert_false(answer.at[3].has_timespec);
	assert_false(answer.at[4].has_timespec);
	assert_true(answer.at[5].has_timespec && answer.at[5].timespec_ns == INT64_MAX);
	assert_true(answer.at[6].has_timespec && answer.at[6].timespec_ns == INT64_MAX);
	assert_false(answer.at[7].has_timespec);
	target_end(&target);
}

/* Of the target's own descriptors: one for the test's process, and one that is none. */
static void make_pidfds(void)
{
	board->address = (uintptr_t)syscall(SYS_pidfd_open, getppid(), 0);
}

static void process_descriptors(void **state)
{
	struct target target = target_start(make_pidfds);
	struct look look = look_for(&target, LOOK_PIDFD, NULL);

	(void)state;
	reader_ready(PATIENT_MS);
	look.pidfd = (int32_t)board->address;
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.pidfd_id, getpid());
	assert_false(answer.pidfd_thread);
	look.pidfd++;
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.pidfd_id, 0);
	target_end(&target);
}

/* --- shared memory --- */

static int object_fd;

static void map_object(void)
{
	long page = sysconf(_SC_PAGESIZE);

	board->address = (uintptr_t)mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, object_fd,
					 page);
}

static struct stat object_make(void)
{
	struct stat st;

	object_fd = memfd_create("ob ject\nx", MFD_CLOEXEC);
	assert_true(object_fd >= 0);
	assert_int_equal(ftruncate(object_fd, 2 * sysconf(_SC_PAGESIZE)), 0);
	assert_int_equal(fstat(object_fd, &st), 0);
	return st;
}

static uint64_t device_of(const struct stat *st)
{
	return (uint64_t)major(st->st_dev) << 20 | minor(st->st_dev);
}

static void shared_mapping(void **state)
{
	struct stat st = object_make();
	struct target target = target_start(map_object);
	struct look look = look_for(&target, LOOK_MAPPINGS, (void *)(board->address + 64));
	const struct look_mapping *m = &answer.at[0].mapping;

	(void)state;
	reader_ready(PATIENT_MS);
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_true(m->known && m->shared);
	assert_int_equal(m->start, board->address);
	assert_int_equal(m->offset, sysconf(_SC_PAGESIZE));
	assert_int_equal(m->inode, st.st_ino);
	assert_int_equal(m->device, device_of(&st));
	assert_string_equal(m->path, "/memfd:ob ject\nx (deleted)");
	assert_string_equal(m->symbol, "");
	look.address[0] = 64; /* nothing is mapped there */
	look_at(&look);
	assert_false(m->known);
	target_end(&target);
	close(object_fd);
}

static uint32_t namespace_of_us(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/pid", &st), 0);
	return st.st_ino;
}

static void find_mappers(const struct stat *st, int32_t ns_tid)
{
	struct mappers mappers = {
		.device = device_of(st),
		.inode = st->st_ino,
		.offset = sysconf(_SC_PAGESIZE) + 64,
		.ns_tid = ns_tid,
	};

	answers = 0;
	assert_int_equal(reader_mappers(reader, &mappers, mapped, NULL), 0);
	assert_int_equal(pump(1), 0);
	assert_int_equal(mappers_found.error, 0);
}

static void map_object_and_lose_main_thread(void)
{
	map_object();
	leave_by_main_thread();
}

/* The innermost number of a thread; here nearly always the only one. */
static int32_t ns_tid_of(pid_t pid)
{
	struct proc_status status = { 0 };
	char path[32], text[8192];
	ssize_t n;
	int dir;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_CLOEXEC);
	n = task_read_file(dir, "status", text, sizeof(text));
	close(dir);
	if (n > 0)
		proc_status_parse(text, n, &status);
	return status.ns_tid;
}

static void who_maps(void **state)
{
	struct stat st = object_make();
	struct target a, b;

	(void)state;
	reader_ready(PATIENT_MS);
	find_mappers(&st, 1);
	assert_int_equal(mappers_found.count, 0);
	assert_int_equal(mappers_found.first_pid, 0);
	a = target_start(map_object);
	find_mappers(&st, ns_tid_of(a.pid));
	assert_int_equal(mappers_found.count, 1);
	assert_int_equal(mappers_found.owners, 1);
	assert_int_equal(mappers_found.first_pid, a.pid);
	assert_int_equal(mappers_found.first_start_ticks, start_of(a.pid));
	assert_int_equal(mappers_found.first_address, board->address + 64);
	b = target_start(map_object_and_lose_main_thread);
	find_mappers(&st, ns_tid_of(board->tid));
	assert_int_equal(mappers_found.count, 2);
	assert_false(mappers_found.foreign);
	assert_int_equal(mappers_found.pid_ns, namespace_of_us());
	assert_int_equal(mappers_found.owners, 1);
	find_mappers(&st, ns_tid_of(b.pid)); /* its main thread is a zombie: no owner */
	assert_int_equal(mappers_found.count, 2);
	assert_int_equal(mappers_found.owners, 0);
	target_end(&a);
	find_mappers(&st, 1);
	assert_int_equal(mappers_found.count, 1);
	assert_int_equal(mappers_found.first_pid, b.pid);
	target_end(&b);
	close(object_fd);
}

/* With no time at all, it comes back after every process, and goes on where it was. */
static void who_maps_in_slices(void **state)
{
	struct stat st = object_make();
	struct target a = target_start(map_object), b = target_start(map_object);
	struct mappers mappers = {
		.device = device_of(&st),
		.inode = st.st_ino,
		.offset = sysconf(_SC_PAGESIZE),
	};
	struct mappers_answer sum = { 0 };
	volatile int32_t at = 0;
	int32_t after = 0, next;
	bool met_a = false, met_b = false;

	(void)state;
	for (;;) {
		next = mappers_read(&mappers, after, 0, &at, &sum);
		assert_int_equal(sum.error, 0);
		met_a |= at == a.pid;
		met_b |= at == b.pid;
		if (!next)
			break;
		assert_int_equal(next, at);
		assert_true(next > after);
		after = next;
	}
	assert_true(met_a && met_b);
	assert_int_equal(sum.count, 2);
	assert_int_equal(sum.owners, 0);
	assert_true(sum.first_pid == a.pid || sum.first_pid == b.pid);
	target_end(&a);
	target_end(&b);
	close(object_fd);
}

/* --- parked threads --- */

static void pi_init(pthread_mutex_t *mutex, int protocol, int robust)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, protocol);
	pthread_mutexattr_setrobust(&attr, robust);
	pthread_mutex_init(mutex, &attr);
}

static void make_stack(void)
{
	for (int i = 0; i < 6; i++) {
		pi_init(&board->pi[i], PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
		pthread_mutex_lock(&board->pi[i]);
	}
	pthread_mutex_unlock(&board->pi[4]);
	pi_init(&board->robust_pi, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_lock(&board->robust_pi);
	pi_init(&board->plain, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
	pthread_mutex_lock(&board->plain);
	for (int i = 0; i < 192; i++)
		board->stack[i] = 0x1234567890abcdefull * i;
	board->stack[3] = (uintptr_t)&board->plain;
	board->stack[4] = (uintptr_t)&board->robust_pi;
	board->stack[5] = (uintptr_t)&board->pi[0] + 4;
	board->stack[6] = (uintptr_t)&board->pi[0];
	board->stack[7] = (uintptr_t)&board->pi[4]; /* free */
	board->stack[8] = (uintptr_t)&board->pi[0]; /* once more */
	board->stack[127] = (uintptr_t)&board->pi[1];
	board->stack[128] = (uintptr_t)&board->pi[2]; /* too far up */
}

static void park_at(const struct park *park)
{
	answers = 0;
	assert_int_equal(reader_park(reader, park, parked, NULL), 0);
	assert_int_equal(pump(1), 0);
}

static void parked_pointers(void **state)
{
	struct target target = target_start(make_stack);
	struct park park = {
		.tgid = target.pid,
		.start_ticks = start_of(target.pid),
		.sp = (uintptr_t)board->stack,
		.regs = { 0, 4096, (uintptr_t)&board->pi[3], 1, UINT64_MAX, 0 },
	};

	(void)state;
	reader_ready(PATIENT_MS);
	park_at(&park);
	assert_int_equal(park_found.error, 0);
	assert_int_equal(park_found.n, 3);
	assert_int_equal(park_found.lock[0].address, (uintptr_t)&board->pi[3]);
	assert_int_equal(park_found.lock[1].address, (uintptr_t)&board->pi[0]);
	assert_int_equal(park_found.lock[2].address, (uintptr_t)&board->pi[1]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(park_found.lock[i].layout, LAYOUT_GLIBC_PI);
		assert_true(park_found.lock[i].held);
		assert_int_equal(park_found.lock[i].owner, ns_tid_of(target.pid));
	}
	/* A limit, and a stack that ends. */
	for (int i = 0; i < 4; i++)
		board->stack[10 + i] = (uintptr_t)&board->pi[i == 3 ? 5 : i];
	park_at(&park);
	assert_int_equal(park_found.n, PARK_LOCKS);
	park.sp = 4096;
	park_at(&park);
	assert_int_equal(park_found.error, 0);
	assert_int_equal(park_found.n, 1);
	park.start_ticks++;
	park_at(&park);
	assert_int_equal(park_found.error, -ESRCH);
	assert_int_equal(park_found.n, 0);
	target_end(&target);
}

static void *take_and_die(void *mutex)
{
	board->tid = gettid();
	pthread_mutex_lock(mutex);
	return NULL;
}

static void *take_and_hang(void *mutex)
{
	__atomic_store_n(&board->other_tid, gettid(), __ATOMIC_RELEASE);
	pthread_mutex_lock(mutex);
	return NULL;
}

static void wait_for_the_dead(void)
{
	pthread_t thread;

	pi_init(&board->pi[0], PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
	if (pthread_create(&thread, NULL, take_and_die, &board->pi[0]) ||
	    pthread_join(thread, NULL))
		_exit(99);
	if (pthread_create(&thread, NULL, take_and_hang, &board->pi[0]))
		_exit(99);
}

/* Where the thread is parked: its stack pointer, once it is. 0: it is not. */
static uint64_t parked_sp(pid_t pid, pid_t tid)
{
	unsigned long long number, word, op, val, sp;
	char path[64];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	n = fscanf(file, "%llu 0x%llx 0x%llx 0x%llx %*s %*s %*s 0x%llx", &number, &word, &op, &val,
		   &sp);
	fclose(file);
	return n == 5 && number == SYS_futex && (op & FUTEX_OP_MASK) == FUTEX_OP_WAIT_BITSET &&
			       word >= sp && word < sp + 1024
		       ? sp
		       : 0;
}

/* The real thing, with this libc. */
static void parked_for_ever(void **state)
{
	struct target target = target_start(wait_for_the_dead);
	struct park park = { .tgid = target.pid, .start_ticks = start_of(target.pid) };

	(void)state;
	reader_ready(PATIENT_MS);
	while (!__atomic_load_n(&board->other_tid, __ATOMIC_ACQUIRE))
		poll(NULL, 0, 1);
	while (!park.sp) {
		park.sp = parked_sp(target.pid, board->other_tid);
		poll(NULL, 0, 1);
	}
	park_at(&park);
	assert_int_equal(park_found.error, 0);
	assert_int_equal(park_found.n, 1);
	assert_int_equal(park_found.lock[0].address, (uintptr_t)&board->pi[0]);
	assert_int_equal(park_found.lock[0].owner, board->tid);
	target_end(&target);
}

/* --- queue --- */

static int submitted;

static void look_again(void *context, const struct look *look, const struct look_answer *a)
{
	looked(context, look, a);
	if (submitted++ < 200)
		assert_int_equal(reader_look(reader, look, look_again, context), 0);
}

static void order_kept(void **state)
{
	struct look look = { .tgid = getpid(), .want = LOOK_PROCESS };

	(void)state;
	reader_ready(PATIENT_MS);
	answers = 0;
	for (uintptr_t i = 0; i < 40; i++)
		assert_int_equal(reader_look(reader, &look, looked, (void *)i), 0);
	assert_int_equal(reader_pending(reader), 40);
	assert_int_equal(pump(40), 0);
	for (uintptr_t i = 0; i < 40; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(reader_due(reader), 0);
}

static void done_submits(void **state)
{
	struct look look = { .tgid = getpid() };

	(void)state;
	reader_ready(PATIENT_MS);
	answers = submitted = 0;
	assert_int_equal(reader_look(reader, &look, look_again, NULL), 0);
	assert_int_equal(pump(201), 0);
	assert_int_equal(reader_pending(reader), 0);
	assert_int_equal(reader_losses(reader).restarts, 0);
}

static void too_many_addresses(void **state)
{
	struct look look = { .tgid = getpid(), .n = LOOK_ADDRESSES + 1 };

	(void)state;
	reader_ready(PATIENT_MS);
	assert_int_equal(reader_look(reader, &look, looked, NULL), -EINVAL);
	look.n = LOOK_ADDRESSES;
	look.want = LOOK_WORDS | LOOK_MAPPINGS | LOOK_TIMESPEC;
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.n, LOOK_ADDRESSES);
}

static void refuse_more(void *context, const struct look *look, const struct look_answer *a)
{
	looked(context, look, a);
	assert_int_equal(reader_look(reader, look, looked, NULL), -ECANCELED);
}

static void free_cancels(void **state)
{
	struct look look = { .tgid = getpid() };
	pid_t pid;

	(void)state;
	pid = reader_ready(PATIENT_MS);
	if (!pid)
		skip();
	kill(pid, SIGSTOP);
	answers = 0;
	for (int i = 0; i < 3; i++)
		assert_int_equal(reader_look(reader, &look, refuse_more, NULL), 0);
	reader_end(NULL);
	assert_int_equal(answers, 3);
	assert_int_equal(answer.error, -ECANCELED);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* collected */
	assert_int_equal(errno, ECHILD);
	reader_free(NULL);
}

/* --- deadlines and deaths --- */

/* Comes back when the process that was killed has been collected as well. */
static void await_collected(pid_t pid)
{
	while (!kill(pid, 0)) {
		assert_int_equal(reader_dispatch(reader), 0);
		poll(NULL, 0, 1);
	}
}

static void deadline_missed(void **state)
{
	struct look look = { .tgid = getpid(), .want = LOOK_PROCESS };
	uint64_t begin;
	pid_t pid;
	int fd;

	(void)state;
	pid = reader_ready(SHORT_MS);
	if (!pid)
		skip();
	fd = reader_fd(reader);
	begin = now_ns();
	kill(pid, SIGSTOP);
	answers = 0;
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(reader_look(reader, &look, looked, (void *)i), 0);
	/* Nothing of it waits, whatever the reader does. */
	assert_int_equal(reader_dispatch(reader), 0);
	assert_int_equal(answers, 0);
	assert_true(reader_due(reader) > begin);
	assert_int_equal(pump(1), 0);
	assert_int_equal(order[0], 0);
	assert_true(now_ns() - begin >= SHORT_MS * 1000000ull);
	assert_int_equal(reader_losses(reader).deadlines, 1);
	assert_int_equal(reader_losses(reader).restarts, 1);
	/* The next ones are answered by another reader. */
	assert_int_equal(pump(3), 0);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, getpid());
	assert_int_not_equal(reader_fd(reader), fd);
	await_collected(pid);
	assert_int_not_equal(reader_known(), 0);
	assert_int_equal(reader_losses(reader).deadlines, 1);
}

static void deadline_answer(void **state)
{
	struct look look = { .tgid = getpid(), .n = 2, .want = LOOK_WORDS };
	struct park park = { .tgid = getpid() };
	pid_t pid;

	(void)state;
	pid = reader_ready(SHORT_MS);
	if (!pid)
		skip();
	kill(pid, SIGSTOP);
	look_at(&look);
	assert_int_equal(answer.error, -ETIMEDOUT);
	assert_int_equal(answer.n, 2);
	assert_int_equal(answer.at[0].words.have_at, 0);
	assert_int_equal(answer.process.uid, -1);
	pid = reader_known();
	kill(pid, SIGSTOP);
	park_at(&park);
	assert_int_equal(park_found.error, -ETIMEDOUT);
}

/* A page whose every reader waits for somebody who never comes. */
static void map_trap(void)
{
	long page = sysconf(_SC_PAGESIZE);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	void *trap = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return;
	range = (struct uffdio_register){
		.range = { (uintptr_t)trap, page },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	if (!ioctl(fd, UFFDIO_REGISTER, &range))
		board->address = (uintptr_t)trap;
}

static void memory_that_hangs(void **state)
{
	struct target target = target_start(map_trap);
	struct look look;

	(void)state;
	reader_ready(SHORT_MS);
	if (!board->address) {
		target_end(&target);
		print_message("no right to userfaultfd(2) here\n");
		skip();
	}
	look = look_for(&target, LOOK_PROCESS | LOOK_WORDS, (void *)board->address);
	look_at(&look);
	assert_int_equal(answer.error, -ETIMEDOUT);
	assert_int_equal(reader_losses(reader).deadlines, 1);
	look.want = LOOK_PROCESS;
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, target.pid);
	target_end(&target);
}

static void reader_killed_idle(void **state)
{
	struct look look = { .tgid = getpid(), .want = LOOK_PROCESS };
	struct pollfd ended = { .events = POLLIN };
	pid_t pid;

	(void)state;
	pid = reader_ready(PATIENT_MS);
	if (!pid)
		skip();
	ended.fd = reader_fd(reader);
	kill(pid, SIGKILL);
	assert_int_equal(poll(&ended, 1, PATIENT_MS), 1);
	/* Nobody asks for anything: no other one is started, and nothing is to be watched. */
	assert_int_equal(reader_dispatch(reader), 0);
	assert_int_equal(reader_fd(reader), -1);
	assert_int_equal(reader_due(reader), 0);
	assert_int_equal(reader_losses(reader).restarts, 1);
	look_at(&look);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, getpid());
	await_collected(pid);
}

/* The request was not at fault: another reader answers it. */
static void reader_killed_at_work(void **state)
{
	struct look look = { .tgid = getpid(), .want = LOOK_PROCESS };
	pid_t pid;

	(void)state;
	pid = reader_ready(PATIENT_MS);
	if (!pid)
		skip();
	kill(pid, SIGSTOP);
	answers = 0;
	assert_int_equal(reader_look(reader, &look, looked, NULL), 0);
	kill(pid, SIGKILL);
	assert_int_equal(pump(1), 0);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.process.pid, getpid());
	assert_int_equal(reader_losses(reader).restarts, 1);
	assert_int_equal(reader_losses(reader).deadlines, 0);
}

/* No descriptors left: everything is answered, and it goes on when there are some again. */
static void no_reader_to_be_had(void **state)
{
	struct look look = { .tgid = getpid(), .want = LOOK_PROCESS };
	pid_t pid;
	struct rlimit limit, none;

	(void)state;
	pid = reader_ready(PATIENT_MS);
	if (!pid)
		skip();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 3, limit.rlim_max };
	answers = 0;
	kill(pid, SIGSTOP);
	for (int i = 0; i < 3; i++)
		assert_int_equal(reader_look(reader, &look, looked, NULL), 0);
	kill(pid, SIGKILL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(pump(3), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(answers, 3);
	assert_int_equal(answer.error, -EMFILE);
	assert_int_equal(reader_fd(reader), -1);
	assert_int_equal(reader_due(reader), 0);
	look_at(&look);
	assert_int_equal(answer.error, 0);
}

/* An agent whose readers all fail when they start: here, because they can't give up their rights. */
static void be_agent_in_sandbox(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_capset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };
	struct look look = { .tgid = getpid() };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return;
	reader = reader_new(PATIENT_MS);
	answers = 0;
	if (!reader || reader_look(reader, &look, looked, NULL) || pump(1) ||
	    reader_dispatch(reader))
		_exit(99);
	board->tid = answer.error;
	board->other_tid = reader_losses(reader).restarts;
	board->address = reader_due(reader);
}

/* Two readers for a request, not two for ever. */
static void readers_that_never_start(void **state)
{
	struct target agent = target_start(be_agent_in_sandbox);

	(void)state;
	target_end(&agent);
	if (!board->other_tid)
		skip();
	assert_int_equal(board->tid, -EIO);
	assert_int_equal(board->other_tid, 2);
	assert_int_equal(board->address, 0);
}

/* --- what the reader process is --- */

static uint64_t status_bits(int dir, const char *field)
{
	char text[8192], *line;

	assert_true(task_read_file(dir, "status", text, sizeof(text)) > 0);
	line = strstr(text, field);
	assert_non_null(line);
	return strtoull(line + strlen(field), NULL, 16);
}

/* Only the socket and, for what would be written to stdout and stderr, nowhere. */
static void assert_files(int dir)
{
	_cleanup_close_ int fd = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *fds = NULL;
	struct dirent *entry;
	int n = 0;

	if (fd < 0 && errno == EACCES)
		return; /* it is not dumpable: only root may look */
	assert_true(fd >= 0);
	fds = fdopendir(take_fd(&fd));
	while ((entry = readdir(fds))) {
		char target[64];

		if (entry->d_name[0] == '.')
			continue;
		assert_true(task_read_link(dirfd(fds), entry->d_name, target, sizeof(target)) > 0);
		assert_string_equal(entry->d_name[0] == '0' ? "socket" : target,
				    entry->d_name[0] == '0' ? strtok(target, ":") : "/dev/null");
		n++;
	}
	assert_int_equal(n, 3);
}

static void hygiene(void **state)
{
	int left_open = open("/dev/zero", O_RDONLY);
	uint64_t ignored, needed = 1ull << CAP_SYS_PTRACE | 1ull << CAP_DAC_READ_SEARCH;
	_cleanup_close_ int own = open("/proc/self", O_PATH | O_CLOEXEC);
	sigset_t set, old;
	struct proc_stat stat;
	char path[32];
	pid_t pid;
	int dir;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old); /* as for a signalfd */
	signal(SIGUSR1, SIG_IGN);
	pid = reader_ready(PATIENT_MS);
	sigprocmask(SIG_SETMASK, &old, NULL);
	signal(SIGUSR1, SIG_DFL);
	if (!pid)
		skip();
	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_CLOEXEC);
	assert_int_equal(task_read_stat(dir, &stat), 0);
	assert_string_equal(stat.comm, "deadhold-reader");
	assert_int_equal(stat.ppid, getpid());
	assert_int_equal(status_bits(dir, "CapPrm:"), status_bits(own, "CapPrm:") & needed);
	assert_int_equal(status_bits(dir, "CapEff:"), status_bits(dir, "CapPrm:"));
	assert_int_equal(status_bits(dir, "CapInh:"), 0);
	assert_int_equal(status_bits(dir, "NoNewPrivs:"), 1);
	assert_int_equal(status_bits(dir, "SigBlk:"), 0);
	assert_int_equal(status_bits(dir, "SigCgt:") & 1ull << (SIGUSR1 - 1), 0);
	ignored = status_bits(dir, "SigIgn:");
	assert_int_equal(ignored & 1ull << (SIGUSR1 - 1), 0);
	assert_true(ignored & 1ull << (SIGINT - 1) && ignored & 1ull << (SIGTERM - 1) &&
		    ignored & 1ull << (SIGHUP - 1));
	assert_files(dir);
	close(dir);
	close(left_open);
	/* Ctrl-C and a service's stop reach it as well: they are the agent's business. */
	kill(pid, SIGINT);
	kill(pid, SIGTERM);
	kill(pid, SIGHUP);
	assert_int_equal(reader_known(), pid);
	assert_int_equal(reader_losses(reader).restarts, 0);
}

/* An agent that has a reader, says who, and waits to be killed. */
static void be_agent(void)
{
	board->tid = reader_ready(PATIENT_MS);
}

/* Stopped, it can't notice that its socket was closed: only the signal of the parent's death ends it. */
static void agent_dies(void **state)
{
	struct target agent = target_start(be_agent);
	struct pollfd ended = { .events = POLLIN };
	pid_t pid = board->tid;

	(void)state;
	if (!pid) {
		target_end(&agent);
		skip();
	}
	ended.fd = syscall(SYS_pidfd_open, pid, 0);
	assert_true(ended.fd >= 0);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(poll(&ended, 1, 0), 0);
	target_end(&agent);
	assert_int_equal(poll(&ended, 1, PATIENT_MS), 1);
	close(ended.fd);
}

static int setup(void **state)
{
	(void)state;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	return board == MAP_FAILED;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(held_mutex, reader_end),
		cmocka_unit_test_teardown(process_info, reader_end),
		cmocka_unit_test_teardown(pid_reused, reader_end),
		cmocka_unit_test_teardown(process_ended, reader_end),
		cmocka_unit_test_teardown(main_thread_exited, reader_end),
		cmocka_unit_test_teardown(long_maps_lines, reader_end),
		cmocka_unit_test_teardown(torn_words, reader_end),
		cmocka_unit_test_teardown(timespecs, reader_end),
		cmocka_unit_test_teardown(process_descriptors, reader_end),
		cmocka_unit_test_teardown(shared_mapping, reader_end),
		cmocka_unit_test_teardown(who_maps, reader_end),
		cmocka_unit_test_teardown(who_maps_in_slices, reader_end),
		cmocka_unit_test_teardown(parked_pointers, reader_end),
		cmocka_unit_test_teardown(parked_for_ever, reader_end),
		cmocka_unit_test_teardown(order_kept, reader_end),
		cmocka_unit_test_teardown(done_submits, reader_end),
		cmocka_unit_test_teardown(too_many_addresses, reader_end),
		cmocka_unit_test_teardown(free_cancels, reader_end),
		cmocka_unit_test_teardown(deadline_missed, reader_end),
		cmocka_unit_test_teardown(deadline_answer, reader_end),
		cmocka_unit_test_teardown(memory_that_hangs, reader_end),
		cmocka_unit_test_teardown(reader_killed_idle, reader_end),
		cmocka_unit_test_teardown(reader_killed_at_work, reader_end),
		cmocka_unit_test_teardown(no_reader_to_be_had, reader_end),
		cmocka_unit_test_teardown(readers_that_never_start, reader_end),
		cmocka_unit_test_teardown(hygiene, reader_end),
		cmocka_unit_test_teardown(agent_dies, reader_end),
	};

	alarm(240);
	return cmocka_run_group_tests_name("reader", tests, setup, NULL);
}
