// SPDX-License-Identifier: GPL-2.0-only
#include "probe_file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "confine.h"
#include "returns.h"
#include "symbol.h"

#define LOOK_MS 4000

static bool name_starts(const char *name, size_t len, const char *prefix)
{
	return len >= strlen(prefix) && !memcmp(name, prefix, strlen(prefix));
}

uint32_t probe_file_kind(const char *path, size_t len)
{
	const char *slash = memrchr(path, '/', len), *name = slash ? slash + 1 : path;
	size_t n = path + len - name;

	if (!slash) /* [vdso], anon_inode:… */
		return 0;
	if (name_starts(name, n, "libc.so") || name_starts(name, n, "libc-") ||
	    name_starts(name, n, "libpthread") || name_starts(name, n, "ld-musl-") ||
	    name_starts(name, n, "libc.musl-"))
		return PROBE_LIBC;
	if (name_starts(name, n, "libpython"))
		return PROBE_PYTHON;
	return memmem(name, n, ".so", 3) ? 0 : PROBE_PROGRAM;
}

/* What the child fills, in memory that the worker sees. */
struct answer {
	int32_t error; /* until it is done: -EIO */
	uint32_t n;
	struct probe_found found;
	struct probe_point point[];
};

struct search {
	int fd;
	const struct probe_plan *plan;
	uint32_t kind;
	bool wanted[PROBE_SITES];	/* the sites that go with this file */
	const char *names[PROBE_SITES]; /* each once, though several sites may have it */
	struct answer *answer;
	size_t room;
};

static void point_add(const struct search *search, uint32_t site, uint64_t offset)
{
	const struct probe_site *sites = search->plan->sites;
	struct answer *answer = search->answer;

	for (uint32_t i = 0; i < answer->n; i++) {
		/* A version of the same function, or an alias. */
		if (answer->point[i].offset == offset &&
		    !strcmp(sites[answer->point[i].site].program, sites[site].program))
			return;
	}
	if (answer->n < search->room)
		answer->point[answer->n++] = (struct probe_point){ offset, site, 0 };
	else
		answer->error = -EFBIG;
}

static void site_found(const struct search *search, uint32_t site, uint64_t offset, uint64_t bytes)
{
	struct returns returns;
	int error;

	if (search->plan->sites[site].where == PROBE_ENTRY) {
		point_add(search, site, offset);
		return;
	}
	error = returns_find(search->fd, offset, bytes, &returns);
	if (error)
		search->answer->found.missing[site] = error;
	for (size_t i = 0; !error && i < returns.n; i++)
		point_add(search, site, returns.offset[i]);
}

static void function_found(void *context, size_t which, uint64_t offset, uint64_t bytes)
{
	const struct search *search = context;
	const struct probe_plan *plan = search->plan;

	for (uint32_t i = 0; i < plan->n_sites; i++)
		if (search->wanted[i] && !strcmp(plan->sites[i].symbol, search->names[which]))
			site_found(search, i, offset, bytes);
}

static size_t names_fill(struct search *search, enum lock_libc libc)
{
	const struct probe_plan *plan = search->plan;
	size_t n = 0, have;

	for (size_t i = 0; i < plan->n_sites && n < PROBE_SITES; i++) {
		const struct probe_site *site = &plan->sites[i];

		search->wanted[i] = site->files & search->kind &&
				    (!site->libc || site->libc == libc);
		for (have = 0; have < n; have++)
			if (!strcmp(search->names[have], site->symbol))
				break;
		if (have == n && search->wanted[i])
			search->names[n++] = site->symbol;
	}
	return n;
}

static int symbols_search(int fd, struct search *search)
{
	_cleanup_symbols_ struct symbols *symbols = symbols_new(fd);
	size_t n;

	if (!symbols)
		return -errno;
	search->fd = fd;
	search->answer->found.python = symbols_word(symbols, "Py_Version");
	n = names_fill(search, symbols_libc(symbols));
	return symbols_functions(symbols, search->names, n, function_found, search);
}

/* The child's life: nothing that a file could make it do is permitted to it. */
static _Noreturn void file_look(int fd, pid_t worker, struct search *search)
{
	const struct confine confine_to = { .fd = fd, .parent = worker, .name = "deadhold-symbol" };
	int err;

	search->answer->error = 0;
	err = confine(&confine_to) ?: symbols_search(CONFINE_FD, search);
	if (err)
		search->answer->error = err;
	_exit(EXIT_SUCCESS);
}

/* 0: it ended well, in time; -ETIMEDOUT, -EIO. */
static int child_wait(pid_t pid)
{
	_cleanup_close_ int end = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = { .fd = end, .events = POLLIN };
	int status;

	if (end < 0 || poll(&ended, 1, LOOK_MS) != 1) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, WNOHANG); /* else it is collected with the worker */
		return -ETIMEDOUT;
	}
	return waitpid(pid, &status, 0) == pid && !status ? 0 : -EIO;
}

/* What the child wrote is not trusted: numbers within limits, and nothing else. */
static ssize_t answer_take(const struct answer *answer, const struct probe_plan *plan,
			   struct probe_point *points, size_t room)
{
	size_t n = answer->n < room ? answer->n : room, i;
	int error = answer->error;

	if (error)
		return error < 0 && error > -4096 ? error : -EIO;
	memcpy(points, answer->point, n * sizeof(*points));
	for (i = 0; i < n; i++) {
		if (points[i].site >= plan->n_sites)
			return -EIO;
	}
	return n;
}

ssize_t probe_file_points(int fd, uint32_t kind, const struct probe_plan *plan,
			  struct probe_point *points, size_t room, struct probe_found *found)
{
	size_t bytes = sizeof(struct answer) + room * sizeof(*points);
	_cleanup_close_ int owned = fd;
	struct search search = { .plan = plan, .kind = kind, .room = room };
	pid_t worker = getpid(), pid;
	ssize_t n;

	search.answer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			     0);
	if (search.answer == MAP_FAILED)
		return -errno;
	pid = fork();
	if (!pid)
		file_look(fd, worker, &search);
	n = pid < 0 ? -errno : child_wait(pid);
	if (!n)
		n = answer_take(search.answer, plan, points, room);
	*found = search.answer->found;
	munmap(search.answer, bytes);
	return n;
}
