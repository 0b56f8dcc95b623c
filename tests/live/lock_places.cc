/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread that ends with locks which nobody waits for, wherever locks are.
 *
 *   lock_places PLACE [raw]
 *
 * PLACE: static, heap, stack (of another thread), object (of a C++ class), library (its data), huge (a
 * huge page), many (1,000 on the heap), rwlock, recursive, mapping (a mapping of its own, of 1 MB),
 * userfault (the same, and a userfaultfd stands behind it), elsewhere (the same, and the descriptor is
 * another process's); or what is none: alike (200 objects that look like mutexes, one of them of the
 * thread), numbers (the thread's number, everywhere), random; or pages (mappings with pages of all states).
 * raw: the thread ends by the system call.
 *
 * A step is a line on stdin, and gives one event:
 *   hold     the thread "owner" is there and has the locks
 *   die      it has ended
 *   reuse    a thread with its number is there again: in a PID namespace, as its process 1
 *   wait     the thread "waiter" is blocked in the first of the locks
 *   unlock   the main thread has unlocked all of them
 *   free     the memory of the heap's lock was freed, and is used again
 *   pages    says how many pages of the mappings are there
 *   touch    the process has read all of the mappings, as no census may
 *   end
 */
#include "say.h"
#include <dlfcn.h>
#include <linux/userfaultfd.h>
#include <mutex>
#include <new>
#include <pthread.h>
#include <csignal>
#include <random>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <vector>

#define MANY	   1000
#define HUGE_BYTES (2ul << 20)
#define PAGES_MB   64ul
#define OWN_BYTES  (1ul << 20)

class account
{
      public:
	virtual ~account() = default;
	std::string name = "an account";
	long amount = 100;
	std::mutex mutex;
	std::vector<int> log;
};

static pthread_mutex_t static_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t static_rwlock = PTHREAD_RWLOCK_INITIALIZER;
static std::string place;
static std::vector<pthread_mutex_t *> mutexes;
static bool with_rwlock, raw;
static struct who owner, waiter, other;
static struct gate holds, may_die, placed, never, blocks;
static char *mapping;
static int huge = -1; /* whether it lies in one; -1: not asked */
static int userfault; /* 0, or the errno with which this host gives no userfaultfd */

static void *stack_run(void *)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	mutexes.push_back(&mutex);
	gate_open(&placed);
	gate_pass(&never);
	return nullptr;
}

static void in_stack()
{
	pthread_t thread;

	gate_make(&placed);
	need(pthread_create(&thread, nullptr, stack_run, nullptr), "pthread_create");
	gate_pass(&placed);
}

static pthread_mutex_t *on_heap()
{
	auto *mutex = static_cast<pthread_mutex_t *>(malloc(sizeof(pthread_mutex_t)));

	need(pthread_mutex_init(mutex, nullptr), "pthread_mutex_init");
	return mutex;
}

static void in_library()
{
	char path[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	void *library, *table;

	path[n < 0 ? 0 : n] = '\0';
	strcpy(strrchr(path, '/') + 1, "lock_data.so");
	library = dlopen(path, RTLD_NOW);
	table = library ? dlsym(library, "library_table") : nullptr;
	if (!table)
		die("%s", path);
	mutexes.push_back(reinterpret_cast<pthread_mutex_t *>(static_cast<char *>(table) + 40));
}

/* Does the kernel say that this is a huge page? */
static bool is_huge(const char *address)
{
	char line[512];
	bool here = false, huge = false;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long start, end, kb;

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (unsigned long)address >= start && (unsigned long)address < end;
		if (here && sscanf(line, "AnonHugePages: %lu kB", &kb) == 1)
			huge = kb >= HUGE_BYTES / 1024;
	}
	if (smaps)
		fclose(smaps);
	return huge;
}

static void in_huge_page()
{
	char *memory = static_cast<char *>(mmap(nullptr, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *aligned = reinterpret_cast<char *>(
		(reinterpret_cast<unsigned long>(memory) + HUGE_BYTES - 1) & -HUGE_BYTES);
	pthread_mutex_t *mutex;

	madvise(aligned, HUGE_BYTES, MADV_HUGEPAGE);
	aligned[0] = 1;
	huge = is_huge(aligned);
	mutex = reinterpret_cast<pthread_mutex_t *>(aligned + HUGE_BYTES / 2 + 4096 - 16);
	need(pthread_mutex_init(mutex, nullptr), "pthread_mutex_init");
	mutexes.push_back(mutex);
}

static char *in_mapping()
{
	char *memory = static_cast<char *>(mmap(nullptr, OWN_BYTES, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	auto *mutex = reinterpret_cast<pthread_mutex_t *>(memory + OWN_BYTES / 2);

	memset(memory, 0, OWN_BYTES); /* all of its pages are there, and stay */
	need(pthread_mutex_init(mutex, nullptr), "pthread_mutex_init");
	mutexes.push_back(mutex);
	return memory;
}

/* Holds what it has got from its parent for as long as that lives. */
static void child_leave(int ready)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void fd_give_away(int fd)
{
	int ready[2];
	char byte;

	if (pipe(ready))
		die("pipe");
	child_leave(ready[1]);
	close(fd);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the child ended");
	close(ready[0]);
}

static void in_userfault(bool elsewhere)
{
	struct uffdio_api api = {};
	struct uffdio_register range = {};
	int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));

	if (fd < 0) {
		userfault = errno;
		return;
	}
	api.api = UFFD_API;
	range.range.start = reinterpret_cast<unsigned long>(in_mapping());
	range.range.len = OWN_BYTES;
	range.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		die("userfaultfd");
	if (elsewhere)
		fd_give_away(fd);
}

/*
 * Of each 16 pages: one that was written, one that was only read (a zero page), one that was written and
 * is gone again (as if swapped out and dropped), the others never touched.
 */
static void in_pages()
{
	mapping = static_cast<char *>(mmap(nullptr, PAGES_MB << 20, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	madvise(mapping, PAGES_MB << 20, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < PAGES_MB << 20; at += 16 * 4096) {
		mapping[at] = 1;
		mapping[at + 2 * 4096] += mapping[at + 4096];
		madvise(mapping + at + 2 * 4096, 4096, MADV_DONTNEED);
	}
}

static void place_locks()
{
	if (place == "static" || place == "recursive")
		mutexes.push_back(&static_mutex);
	else if (place == "rwlock")
		with_rwlock = true;
	else if (place == "heap")
		mutexes.push_back(on_heap());
	else if (place == "stack")
		in_stack();
	else if (place == "object")
		mutexes.push_back((new account)->mutex.native_handle());
	else if (place == "library")
		in_library();
	else if (place == "huge")
		in_huge_page();
	else if (place == "mapping")
		in_mapping();
	else if (place == "userfault" || place == "elsewhere")
		in_userfault(place == "elsewhere");
	else if (place == "pages")
		in_pages();
	for (int i = 0; place == "many" && i < MANY; i++)
		mutexes.push_back(on_heap());
}

static std::vector<std::vector<int>> kept;

/* What is no lock, though the thread's number is in it. */
static void place_others(int tid)
{
	std::mt19937 dice(1);

	for (int i = 0; place == "alike" && i < 200; i++)
		kept.push_back({ 1, 0, i ? tid - 100 + i : tid, 1, 0, 0, 0, 0, 0, 0, 0, 0 });
	for (int step = 1; place == "numbers" && step < 12; step++) {
		kept.emplace_back(100000, 0);
		for (size_t i = 0; i < kept.back().size(); i += step)
			kept.back()[i] = tid;
	}
	if (place == "random") {
		kept.emplace_back(1 << 22);
		for (int &word : kept.back())
			word = static_cast<int>(dice());
	}
}

static void *owner_run(void *)
{
	name_me("owner");
	owner = who_am_i();
	for (pthread_mutex_t *mutex : mutexes)
		need(pthread_mutex_lock(mutex), "pthread_mutex_lock");
	if (with_rwlock)
		need(pthread_rwlock_wrlock(&static_rwlock), "pthread_rwlock_wrlock");
	place_others(owner.ns_tid);
	gate_open(&holds);
	gate_pass(&may_die);
	if (raw)
		syscall(SYS_exit, 0);
	return nullptr;
}

static void hold()
{
	pthread_t thread;

	need(pthread_create(&thread, nullptr, owner_run, nullptr), "pthread_create");
	gate_pass(&holds);
	say_of(&owner, "hold", "'lock': '%p', 'count': %zu",
	       with_rwlock	 ? static_cast<void *>(&static_rwlock)
	       : mutexes.empty() ? nullptr
				 : static_cast<void *>(mutexes[0]),
	       mutexes.size() + with_rwlock);
}

static void *other_run(void *)
{
	name_me("other");
	other = who_am_i();
	gate_open(&placed);
	gate_pass(&may_die);
	if (other.ns_tid == owner.ns_tid)
		gate_pass(&never);
	return nullptr;
}

/* As in lock_reuse.c: the namespace gives out the number after the last one. */
static void reuse()
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	char last[16];

	if (fd < 0) {
		say("unsupported", "'why': 'the kernel has no ns_last_pid'");
		_exit(0);
	}
	snprintf(last, sizeof(last), "%d", owner.ns_tid - 1);
	for (int i = 0; i < SAY_LIMIT_S * 500; i++) {
		pthread_t thread;

		gate_make(&placed);
		if (pwrite(fd, last, strlen(last), 0) < 0)
			die("ns_last_pid");
		need(pthread_create(&thread, nullptr, other_run, nullptr), "pthread_create");
		gate_pass(&placed);
		if (other.ns_tid == owner.ns_tid) {
			say_of(&other, "reuse", NOTHING);
			return;
		}
		wait_gone(&other);
	}
	die("number %d is never free", owner.ns_tid);
}

static void *waiter_run(void *)
{
	name_me("waiter");
	waiter = who_am_i();
	gate_open(&blocks);
	if (with_rwlock)
		pthread_rwlock_wrlock(&static_rwlock);
	else
		pthread_mutex_lock(mutexes[0]);
	return nullptr;
}

static void wait()
{
	pthread_t thread;
	void *lock = with_rwlock ? static_cast<void *>(&static_rwlock) : mutexes[0];

	need(pthread_create(&thread, nullptr, waiter_run, nullptr), "pthread_create");
	gate_pass(&blocks);
	wait_blocked(&waiter, lock, 56);
	say_of(&waiter, "wait", "'lock': '%p'", lock);
}

static unsigned long pages_there()
{
	std::vector<unsigned long> words((PAGES_MB << 20) / 4096);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t bytes = words.size() * sizeof(words[0]);
	unsigned long n = 0;

	if (pread(fd, words.data(), bytes,
		  (off_t)(reinterpret_cast<unsigned long>(mapping) / 512)) != (ssize_t)bytes)
		die("pagemap");
	close(fd);
	for (unsigned long word : words)
		n += word >> 63;
	return n;
}

static void touch()
{
	std::vector<char> to(1 << 20);

	for (size_t at = 0; at < PAGES_MB << 20; at += to.size()) {
		struct iovec local = { to.data(), to.size() }, remote = { mapping + at, to.size() };

		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0)
			die("process_vm_readv");
	}
}

static void step(const std::string &name)
{
	if (name == "hold") {
		hold();
		return;
	} else if (name == "reuse") {
		reuse();
		return;
	} else if (name == "wait") {
		wait();
		return;
	} else if (name == "pages") {
		say("pages", "'there': %lu", pages_there());
		return;
	} else if (name == "die") {
		gate_open(&may_die);
		wait_gone(&owner);
	} else if (name == "unlock") {
		for (pthread_mutex_t *mutex : mutexes)
			pthread_mutex_unlock(mutex);
		if (with_rwlock)
			pthread_rwlock_unlock(&static_rwlock);
	} else if (name == "free") {
		free(mutexes[0]);
	} else if (name == "touch") {
		touch();
	} else {
		die("no such step: %s", name.c_str());
	}
	say_of(&owner, name.c_str(), NOTHING);
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc < 2)
		die("usage: lock_places PLACE [raw]");
	place = argv[1];
	raw = argc > 2 && !strcmp(argv[2], "raw");
	gate_make(&holds);
	gate_make(&may_die);
	gate_make(&never);
	gate_make(&blocks);
	if (place == "recursive") {
		pthread_mutexattr_t attr;

		pthread_mutexattr_init(&attr);
		pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
		pthread_mutex_init(&static_mutex, &attr);
	}
	place_locks();
	say("started", "'place': '%s', 'huge': %d, 'userfault': %d", argv[1], huge, userfault);
	for (;;) {
		read_go(line, sizeof(line));
		if (!strcmp(line, "end"))
			return 0;
		step(line);
	}
}
