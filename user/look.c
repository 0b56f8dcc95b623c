// SPDX-License-Identifier: GPL-2.0-only
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libc.h"
#include "module.h"
#include "python_read.h"
#include "runtime.h"
#include "symbol.h"
#include "task.h"

#define LOOK_ATTEMPTS \
	3 /* a thread through which is read may end; this often in a row it does not */
#define PARK_BYTES    1024
#define PARK_REGS     6
#define PARK_POINTERS (PARK_BYTES / 8 + PARK_REGS)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Only a refusal is remembered: that a thing is not there is said by the member itself. */
static void answer_refused(struct look_answer *answer, int error)
{
	if (error == -EPERM || error == -EACCES)
		answer->error = error;
}

/* --- the words around an address --- */

/*
 * Up to three reads, since what lies before and what lies behind may be on a page that is not there.
 */
int look_words_read(const struct task *task, uint64_t address, struct lock_words *words)
{
	struct {
		__u32 before[LOCK_WORDS_BEFORE];
		__u32 at[LOCK_WORDS_FROM];
	} all;
	ssize_t n;

	*words = (struct lock_words){ 0 };
	if (address & 3 || address < sizeof(all.before))
		return -EFAULT;
	n = task_read_memory(task, address - sizeof(all.before), &all, sizeof(all));
	if (n == sizeof(all)) {
		memcpy(words->before, all.before, sizeof(words->before));
		memcpy(words->at, all.at, sizeof(words->at));
		words->have_before = 1;
		words->have_at = LOCK_WORDS_FROM;
		return 0;
	}
	n = task_read_memory(task, address - sizeof(words->before), words->before,
			     sizeof(words->before));
	words->have_before = n == sizeof(words->before);
	n = task_read_memory(task, address, words->at, sizeof(words->at));
	if (n == sizeof(words->at))
		words->have_at = LOCK_WORDS_FROM;
	else if (n >= (ssize_t)sizeof(words->at[0]))
		words->have_at = 1;
	return n < 0 ? n : 0;
}

/* As thread_read() of the kernel programs. */
void look_thread_read(const struct task *task, uint64_t thread, struct lock_words *words)
{
	uint64_t tcb[GLIBC_THREAD_SELF / 8 + 1];

	words->have_thread = task_read_memory(task, thread, tcb, sizeof(tcb)) == sizeof(tcb) &&
			     tcb[0] == thread && tcb[GLIBC_THREAD_SELF / 8] == thread &&
			     task_read_memory(task, thread + GLIBC_THREAD_TID, &words->thread_tid,
					      sizeof(words->thread_tid)) ==
				     sizeof(words->thread_tid);
}

static void look_words(const struct task *task, const struct look *look, struct look_answer *answer)
{
	for (uint32_t i = 0; i < look->n; i++) {
		struct lock_words *words = &answer->at[i].words;

		answer_refused(answer, look_words_read(task, look->address[i], words));
		if (look->objects >> i & 1)
			python_object_read(task, words);
		else if (lock_stdio_thread(words))
			look_thread_read(task, lock_stdio_thread(words), words);
	}
}

static bool timespec_ns(const int64_t word[2], int64_t *ns)
{
	if (word[0] < 0 || word[1] < 0 || word[1] >= 1000000000)
		return false;
	if (__builtin_mul_overflow(word[0], 1000000000, ns) ||
	    __builtin_add_overflow(*ns, word[1], ns))
		*ns = INT64_MAX;
	return true;
}

static void look_timespecs(const struct task *task, const struct look *look,
			   struct look_answer *answer)
{
	for (uint32_t i = 0; i < look->n; i++) {
		int64_t word[2];
		ssize_t n = task_read_memory(task, look->address[i], word, sizeof(word));

		if (n == sizeof(word))
			answer->at[i].has_timespec = timespec_ns(word, &answer->at[i].timespec_ns);
		else
			answer_refused(answer, n);
	}
}

/* --- mappings --- */

static void mapping_fill(const struct proc_mapping *m, struct look_mapping *mapping)
{
	mapping->known = true;
	mapping->shared = m->shared;
	mapping->start = m->start;
	mapping->end = m->end;
	mapping->offset = m->offset;
	mapping->device = m->device;
	mapping->inode = m->inode;
	if (m->path)
		proc_path_unescape(m->path, m->path_len, mapping->path, sizeof(mapping->path));
}

static void mapping_match(const struct look *look, const struct proc_mapping *m,
			  const struct module *module, struct look_answer *answer,
			  struct module *modules)
{
	for (uint32_t i = 0; i < look->n; i++) {
		if (look->address[i] < m->start || look->address[i] >= m->end)
			continue;
		mapping_fill(m, &answer->at[i].mapping);
		modules[i] = *module;
	}
}

/*
 * One walk over the mappings for all that is wanted of them: where the addresses lie, and which C
 * libraries and runtimes have code there (a data file may bear the name of one).
 */
static int maps_walk(const struct task *task, const struct look *look, struct look_answer *answer,
		     struct module *modules, uint32_t *libcs)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct module module = { 0 };
	struct proc_mapping m;
	int err = task_maps_open(&maps, task->thread);

	if (err)
		return err;
	while ((err = task_maps_next(&maps, &m)) > 0) {
		module_follow(&module, &m);
		if (look->want & LOOK_MAPPINGS)
			mapping_match(look, &m, &module, answer, modules);
		if (!m.exec || !m.path)
			continue;
		*libcs |= 1u << proc_path_libc(m.path, m.path_len);
		answer->runtimes |= runtime_of_library(m.path, m.path_len);
	}
	return err;
}

/* --- symbols --- */

static bool module_same(const struct module *a, const struct module *b)
{
	return a->end && b->end && a->start == b->start && a->inode == b->inode &&
	       a->device == b->device;
}

static void module_code(const struct symbols *symbols, uint64_t vaddr, struct look_mapping *mapping)
{
	mapping->has_vaddr = true;
	mapping->vaddr = vaddr;
	symbols_build_id(symbols, mapping->build_id);
}

/* Names all addresses that lie in modules[first]'s object, and marks them as done (end 0). */
static void module_names(const struct task *task, const struct look *look, uint32_t first,
			 struct module *modules, struct look_answer *answer)
{
	struct module module = modules[first];
	struct symbol_query query[LOOK_ADDRESSES];
	uint64_t bias;
	_cleanup_symbols_ struct symbols *symbols = module_symbols(task, &module, &bias);
	size_t n = 0;

	for (uint32_t i = first; i < look->n; i++) {
		if (!module_same(&modules[i], &module))
			continue;
		modules[i].end = 0;
		if (!symbols)
			continue;
		query[n++] = (struct symbol_query){
			.vaddr = look->address[i] - look->into[i] - bias,
			.name = answer->at[i].mapping.symbol,
			.size = sizeof(answer->at[i].mapping.symbol),
			.code = look->code >> i & 1,
		};
		if (look->code >> i & 1)
			module_code(symbols, query[n - 1].vaddr, &answer->at[i].mapping);
		else
			answer->at[i].mapping.data = symbols_writable(symbols, query[n - 1].vaddr);
	}
	if (n)
		symbols_find(symbols, query, n);
}

static void look_symbols(const struct task *task, const struct look *look, uint64_t until_ns,
			 struct module *modules, struct look_answer *answer)
{
	for (uint32_t i = 0; i < look->n && now_ns() < until_ns; i++)
		if (modules[i].end)
			module_names(task, look, i, modules, answer);
}

/* --- the process --- */

/* Code of one libc is mapped: that one. None, or several: ask the program itself. */
static enum lock_libc look_libc(const struct task *task, uint32_t libcs)
{
	_cleanup_symbols_ struct symbols *symbols = NULL;
	int fd;

	libcs &= 1u << LIBC_GLIBC | 1u << LIBC_MUSL;
	if (libcs == 1u << LIBC_GLIBC)
		return LIBC_GLIBC;
	if (libcs == 1u << LIBC_MUSL)
		return LIBC_MUSL;
	fd = symbol_file_open(task->thread, "exe", false);
	if (fd >= 0)
		symbols = symbols_new(fd);
	return symbols ? symbols_libc(symbols) : LIBC_UNKNOWN;
}

/* What the program itself says, and not its libraries. */
static uint32_t look_program(const struct task *task, uint32_t libcs)
{
	_cleanup_symbols_ struct symbols *symbols = NULL;
	uint32_t runtimes = 0;
	char exe[PATH_BYTES];
	int fd;

	if (task_read_link(task->thread, "exe", exe, sizeof(exe)) > 0)
		runtimes |= runtime_of_executable(exe);
	if (look_libc(task, libcs) == LIBC_MUSL)
		runtimes |= RUNTIME_MUSL;
	fd = symbol_file_open(task->thread, "exe", false);
	if (fd >= 0)
		symbols = symbols_new(fd);
	return symbols ? runtimes | symbols_runtimes(symbols) : runtimes;
}

/*
 * The user's name by this host's own list; the C library's other sources can't be had in a static
 * program, and may ask the network.
 */
static void look_user(struct process_info *process)
{
	FILE *passwd = fopen("/etc/passwd", "re");
	struct passwd *entry;

	while (passwd && (entry = fgetpwent(passwd))) {
		if ((int64_t)entry->pw_uid != process->uid)
			continue;
		snprintf(process->user, sizeof(process->user), "%s", entry->pw_name);
		break;
	}
	if (passwd)
		fclose(passwd);
}

static void look_status(const struct task *task, struct process_info *process)
{
	struct proc_status status;
	char text[8192];
	ssize_t n = task_read_file(task->process, "status", text, sizeof(text));

	if (n < 0 || proc_status_parse(text, n, &status))
		return;
	process->uid = status.uid;
	process->ns_pid = status.ns_tgid;
	look_user(process);
}

static void look_parent(struct process_info *process)
{
	char name[32], text[sizeof(process->parent_comm)];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/%d/comm", process->ppid);
	n = process->ppid > 0 ? task_read_file(AT_FDCWD, name, text, sizeof(text)) : 0;
	if (n > 0 && text[n - 1] == '\n')
		memcpy(process->parent_comm, text, n - 1);
}

/* What needs no right to the process's memory comes first. */
static void look_process(const struct task *task, struct look_answer *answer)
{
	struct process_info *process = &answer->process;
	char text[4096];
	ssize_t n;

	process->pid = task->tgid;
	process->ppid = task->stat.ppid;
	process->start_ticks = task->stat.start_ticks;
	memcpy(process->comm, task->stat.comm, sizeof(process->comm));
	look_parent(process);
	look_status(task, process);
	n = task_read_file(task->thread, "cgroup", text, sizeof(text));
	if (n > 0)
		proc_cgroup_parse(text, n, process->cgroup, sizeof(process->cgroup));
	n = task_read_link(task->thread, "ns/pid", text, sizeof(text));
	if (n > 0)
		process->pid_ns = proc_namespace_parse(text, n);
	else
		answer_refused(answer, n);
	answer_refused(answer,
		       task_read_link(task->thread, "exe", process->exe, sizeof(process->exe)));
}

static void look_cmdline(const struct task *task, struct look_answer *answer)
{
	char text[DETAIL_BYTES];
	ssize_t n = task_read_file(task->thread, "cmdline", text, sizeof(text));

	if (n > 0)
		proc_cmdline_parse(text, n, answer->process.cmdline,
				   sizeof(answer->process.cmdline));
}

static void look_pidfd(const struct task *task, const struct look *look, struct look_answer *answer)
{
	char name[32], text[1024];
	ssize_t n;

	snprintf(name, sizeof(name), "fdinfo/%d", look->pidfd);
	n = task_read_file(task->thread, name, text, sizeof(text));
	if (n > 0)
		proc_pidfd_parse(text, n, &answer->pidfd_id, &answer->pidfd_thread);
}

static void look_callers(const struct task *task, const struct look *look, uint32_t libcs,
			 struct look_answer *answer)
{
	enum lock_libc libc = look_libc(task, libcs);
	uint8_t code[CALLER_BYTES];

	for (uint32_t i = 0; i < look->n; i++) {
		const struct look_mapping *mapping = &answer->at[i].mapping;

		if (look->code >> i & 1 && mapping->known &&
		    task_read_memory(task, look->address[i] - sizeof(code), code, sizeof(code)) ==
			    sizeof(code))
			answer->at[i].caller = caller_of(mapping->path, mapping->symbol,
							 caller_is_wrapper(code), libcs, libc);
	}
}

static void look_maps(const struct task *task, const struct look *look, uint64_t until_ns,
		      struct look_answer *answer)
{
	struct module modules[LOOK_ADDRESSES] = { 0 };
	uint32_t libcs = 0;

	answer_refused(answer, maps_walk(task, look, answer, modules, &libcs));
	if (look->want & LOOK_PROCESS)
		answer->libc = look_libc(task, libcs);
	if (look->want & LOOK_RUNTIME)
		answer->runtimes |= look_program(task, libcs);
	if (look->want & LOOK_MAPPINGS)
		look_symbols(task, look, until_ns, modules, answer);
	if (look->want & LOOK_CALLERS)
		look_callers(task, look, libcs, answer);
}

/* 0, -EAGAIN (the thread ended in the midst of it), or another -errno. */
static int look_attempt(const struct look *look, uint64_t until_ns, struct look_answer *answer)
{
	_cleanup_task_ struct task task = TASK_CLOSED;
	int err = task_open(&task, look->tgid, look->start_ticks);

	*answer = (struct look_answer){ .process.uid = -1, .n = look->n };
	if (err)
		return err;
	if (look->want & LOOK_WORDS)
		look_words(&task, look, answer);
	if (look->want & LOOK_TIMESPEC)
		look_timespecs(&task, look, answer);
	if (look->want & LOOK_PROCESS)
		look_process(&task, answer);
	if (look->want & LOOK_CMDLINE)
		look_cmdline(&task, answer);
	if (look->want & LOOK_PIDFD)
		look_pidfd(&task, look, answer);
	if (look->want & (LOOK_PROCESS | LOOK_MAPPINGS | LOOK_RUNTIME))
		look_maps(&task, look, until_ns, answer);
	return task_check(&task);
}

void look_read(const struct look *look, uint64_t until_ns, struct look_answer *answer)
{
	int err = -EAGAIN;

	for (int i = 0; i < LOOK_ATTEMPTS && err == -EAGAIN; i++)
		err = look_attempt(look, until_ns, answer);
	if (err) /* whatever was read may be of somebody else */
		*answer = (struct look_answer){
			.error = err == -EAGAIN ? -ESRCH : err,
			.process.uid = -1,
			.n = look->n,
		};
}

/* --- parked threads --- */

static bool park_known(const struct park_answer *answer, uint64_t address)
{
	for (uint32_t i = 0; i < answer->n; i++)
		if (answer->lock[i].address == address)
			return true;
	return false;
}

static void park_try(const struct task *task, uint64_t address, struct park_answer *answer)
{
	struct lock_words words;
	struct lock_state state;

	/* A mutex is aligned to 8 bytes, and page 0 is never mapped. */
	if (address < 4096 || address & 7 || park_known(answer, address))
		return;
	if (look_words_read(task, address, &words))
		return;
	if (!lock_owner(LAYOUT_GLIBC_PI, address, &words, &state) || !state.held)
		return;
	answer->lock[answer->n++] = state;
}

static int park_attempt(const struct park *park, struct park_answer *answer)
{
	_cleanup_task_ struct task task = TASK_CLOSED;
	uint64_t pointer[PARK_POINTERS] = { 0 };
	int err = task_open(&task, park->tgid, park->start_ticks);
	ssize_t n;

	*answer = (struct park_answer){ 0 };
	if (err)
		return err;
	if (python_is_parked(&task, park->word))
		return task_check(&task);
	memcpy(pointer, park->regs, sizeof(park->regs));
	/* What is beyond the end of the stack is missing from the end: the rest stays 0. */
	n = task_read_memory(&task, (park->sp + 7) & ~7ull, pointer + PARK_REGS, PARK_BYTES);
	if (n == -EPERM)
		answer->error = n;
	for (int i = 0; i < PARK_POINTERS && answer->n < PARK_LOCKS; i++)
		park_try(&task, pointer[i], answer);
	return task_check(&task);
}

void park_read(const struct park *park, struct park_answer *answer)
{
	int err = -EAGAIN;

	for (int i = 0; i < LOOK_ATTEMPTS && err == -EAGAIN; i++)
		err = park_attempt(park, answer);
	if (err)
		*answer = (struct park_answer){ .error = err == -EAGAIN ? -ESRCH : err };
}
