// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "proc.h"
#include "processes.h"
#include "table.h"

#define PROCESSES_LIMIT	 512
#define RUNTIME_AGAIN_NS 1000000000ull

/* What a process runs on, as it was when it was last asked. */
struct runtime_known {
	uint32_t runtimes;
	bool asked; /* and not answered yet */
	uint64_t
		again_ns; /* how long the answer is good for those it does not have; 0: never asked */
	uint64_t time_ns; /* when it was answered */
};

struct known {
	struct proc_key key;
	bool ready;
	struct runtime_known runtime;
	enum lock_libc libc;
	char *exe, *cgroup, *cmdline, *user; /* NULL: unknown */
	int32_t ppid;			     /* whose name parent_comm is */
	char parent_comm[NAME_BYTES + 1];
	UT_hash_handle hh; /* in order of insertion: the oldest goes first */
};

struct processes {
	struct reader *reader;
	uint64_t tick_ns;
	bool cmdline;
	processes_changed *changed;
	void *context;
	struct known *known;
};

/* A question under way: the answer finds its entry by key, which may be gone by then. */
struct question {
	struct processes *processes;
	struct proc_key key;
};

struct processes *processes_new(struct reader *reader, uint64_t tick_ns, bool cmdline,
				processes_changed *changed, void *context)
{
	struct processes *processes = calloc(1, sizeof(*processes));

	if (processes)
		*processes = (struct processes){ .reader = reader,
						 .tick_ns = tick_ns,
						 .cmdline = cmdline,
						 .changed = changed,
						 .context = context };
	return processes;
}

static void known_free(struct processes *processes, struct known *known)
{
	HASH_DEL(processes->known, known);
	free(known->exe);
	free(known->cgroup);
	free(known->cmdline);
	free(known->user);
	free(known);
}

void processes_free(struct processes *processes)
{
	if (!processes)
		return;
	while (processes->known)
		known_free(processes, processes->known);
	free(processes);
}

static struct known *known_find(const struct processes *processes, const struct proc_key *key)
{
	struct known *known;

	HASH_FIND(hh, processes->known, key, sizeof(*key), known);
	return known;
}

static struct known *known_add(struct processes *processes, const struct proc_key *key)
{
	struct known *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	if (HASH_COUNT(processes->known) >= PROCESSES_LIMIT)
		known_free(processes, processes->known);
	known->key = *key;
	HASH_ADD(hh, processes->known, key, sizeof(known->key), known);
	return known;
}

static char *text_keep(char *old, const char *text)
{
	if (!*text)
		return old;
	free(old);
	return strdup(text);
}

static void known_learn(struct known *known, const struct look_answer *answer)
{
	known->ready = true;
	if (answer->error)
		return;
	known->libc = answer->libc;
	known->exe = text_keep(known->exe, answer->process.exe);
	known->cgroup = text_keep(known->cgroup, answer->process.cgroup);
	known->cmdline = text_keep(known->cmdline, answer->process.cmdline);
	known->user = text_keep(known->user, answer->process.user);
	known->ppid = answer->process.ppid;
	memcpy(known->parent_comm, answer->process.parent_comm, sizeof(known->parent_comm));
}

static void runtime_learn(struct runtime_known *runtime, const struct look_answer *answer)
{
	runtime->asked = false;
	runtime->time_ns = host_now();
	runtime->again_ns = runtime->again_ns ? 2 * runtime->again_ns : RUNTIME_AGAIN_NS;
	if (!answer->error)
		runtime->runtimes = answer->runtimes;
}

static void question_answered(void *context, const struct look *look,
			      const struct look_answer *answer)
{
	struct question *question = context;
	struct processes *processes = question->processes;
	struct known *known = known_find(processes, &question->key);

	if (known && look->want & LOOK_RUNTIME)
		runtime_learn(&known->runtime, answer);
	else if (known)
		known_learn(known, answer);
	free(question);
	if (answer->error != -ECANCELED) /* the agent is ending: nothing is left to go on with */
		processes->changed(processes->context);
}

/* 0 or -errno. */
static int question_put(struct processes *processes, const struct known *known, uint32_t want)
{
	struct question *question = malloc(sizeof(*question));
	struct look look = {
		.tgid = known->key.tgid,
		.start_ticks = known->key.start_ns / processes->tick_ns,
		.want = want,
	};
	int error;

	if (!question)
		return -ENOMEM;
	*question = (struct question){ .processes = processes, .key = known->key };
	error = reader_look(processes->reader, &look, question_answered, question);
	if (error)
		free(question);
	return error;
}

static void known_ask(struct processes *processes, struct known *known)
{
	uint32_t want = LOOK_PROCESS | (processes->cmdline ? LOOK_CMDLINE : 0);

	if (question_put(processes, known, want))
		known->ready = true; /* goes without */
}

bool processes_ready(struct processes *processes, const struct proc_key *key)
{
	struct known *known = known_find(processes, key);

	if (!known) {
		known = known_add(processes, key);
		if (!known)
			return true;
		known_ask(processes, known);
	}
	return known->ready;
}

bool processes_runtimes(struct processes *processes, const struct proc_key *key, uint32_t wanted,
			uint64_t time_ns, uint32_t *runtimes)
{
	struct known *known = known_find(processes, key);
	struct runtime_known *runtime;

	*runtimes = 0;
	if (!known)
		return true;
	runtime = &known->runtime;
	if (!runtime->asked && !(runtime->runtimes & wanted) &&
	    (!runtime->again_ns || time_ns > runtime->time_ns + runtime->again_ns))
		runtime->asked = !question_put(processes, known, LOOK_RUNTIME);
	*runtimes = runtime->runtimes;
	return !runtime->asked;
}

void processes_learn(struct processes *processes, const struct proc_key *key,
		     const struct look_answer *answer)
{
	struct known *known = known_find(processes, key) ?: known_add(processes, key);

	if (known)
		known_learn(known, answer);
}

static void text_fill(char *out, size_t bytes, const char *text)
{
	if (text) {
		strncpy(out, text, bytes - 1);
		out[bytes - 1] = '\0';
	}
}

enum lock_libc processes_fill(const struct processes *processes, const struct proc_key *key,
			      struct process_info *process)
{
	struct known *known = known_find(processes, key);

	if (!known)
		return LIBC_UNKNOWN;
	text_fill(process->exe, sizeof(process->exe), known->exe);
	text_fill(process->cgroup, sizeof(process->cgroup), known->cgroup);
	text_fill(process->cmdline, sizeof(process->cmdline), known->cmdline);
	text_fill(process->user, sizeof(process->user), known->user);
	if (known->ppid == process->ppid) /* else it has another parent by now */
		memcpy(process->parent_comm, known->parent_comm, sizeof(process->parent_comm));
	proc_cgroup_unit(process->cgroup, process->unit, sizeof(process->unit));
	proc_cgroup_container(process->cgroup, process->container_id,
			      sizeof(process->container_id));
	return known->libc;
}
