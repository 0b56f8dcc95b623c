// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks that came by fork. The child has a copy of the thread that forked, as its main thread, and of no
 * other: what other threads of the parent held stays locked in it; what the forking one held, that copy
 * may unlock.
 */
#include "survey_parts.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "proc.h"
#include "python_read.h"

/* The threads of the parent, if their numbers are of the same namespace. */
static void parent_read(struct survey *survey)
{
	const struct process_info *process = &survey->out->process;
	_cleanup_task_ struct task parent = TASK_CLOSED;
	char text[64];
	ssize_t n;

	if (survey->parent_read)
		return;
	survey->parent_read = true;
	if (process->ppid <= 0 || task_open(&parent, process->ppid, 0))
		return;
	n = task_read_link(parent.thread, "ns/pid", text, sizeof(text));
	if (n > 0 && proc_namespace_parse(text, n) == process->pid_ns)
		roster_read(parent.process, survey_progress, survey, &survey->parent);
}

/*
 * Where the thread has its list of robust mutexes: in its descriptor, which fork leaves where it is
 * (sysdeps/nptl/_Fork.c sets it anew in the child). 0: nowhere, or not to be told.
 */
static uint64_t robust_list_of(int32_t tid)
{
	uint64_t head = 0, size = 0;

	return syscall(SYS_get_robust_list, tid, &head, &size) ? 0 : head;
}

/* The thread of that number lived before this process did, and lives: so no thread here ever had it. */
static const struct thread *parent_thread(struct survey *survey, uint32_t owner)
{
	const struct thread *thread;

	parent_read(survey);
	thread = roster_find_living(&survey->parent, owner);
	return thread && thread->info.start_ticks <= survey->out->process.start_ticks ? thread
										      : NULL;
}

const struct thread *survey_main(struct survey *survey)
{
	return roster_find_living(&survey->first, survey->out->process.ns_pid);
}

enum origin survey_origin(struct survey *survey, uint32_t owner)
{
	const struct thread *copy = survey_main(survey), *thread = parent_thread(survey, owner);
	uint64_t child, parent;

	if (!thread)
		return survey->out->process.ns_pid && owner < (uint32_t)survey->out->process.ns_pid
			       ? ORIGIN_UNKNOWN
			       : ORIGIN_OWN;
	if (!copy)
		return ORIGIN_PARENT;
	child = robust_list_of(copy->info.tid);
	parent = robust_list_of(thread->info.tid);
	if (!child || !parent)
		return ORIGIN_FORK;
	return child == parent ? ORIGIN_FORKER : ORIGIN_PARENT;
}

bool survey_descriptor_forked(struct survey *survey, uint64_t descriptor)
{
	_cleanup_task_ struct task parent = TASK_CLOSED;

	parent_read(survey);
	return survey->parent.n && !task_open(&parent, survey->out->process.ppid, 0) &&
	       parent_thread(survey, python_thread_tid(&parent, descriptor));
}
