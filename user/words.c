// SPDX-License-Identifier: GPL-2.0-only
#include "words.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_S      UINT64_C(1000000000)
#define NUMBERS_BYTES 64 /* two numbers and what the second one is */

const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

const char *duration(uint64_t ns, char out[DURATION_BYTES])
{
	uint64_t s = ns / NS_PER_S;

	if (ns < NS_PER_MS)
		snprintf(out, DURATION_BYTES, "%" PRIu64 " us", ns / 1000);
	else if (ns < NS_PER_S)
		snprintf(out, DURATION_BYTES, "%" PRIu64 " ms", ns / NS_PER_MS);
	else if (s < 120)
		snprintf(out, DURATION_BYTES, "%.1f s", (double)ns / NS_PER_S);
	else if (s < 120 * 60)
		snprintf(out, DURATION_BYTES, "%" PRIu64 " min", s / 60);
	else
		snprintf(out, DURATION_BYTES, "%" PRIu64 " h", s / 3600);
	return out;
}

const char *errno_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "unknown error";
}

const char *signal_label(const struct signal_info *signal, char name[SIGNAL_NAME_BYTES])
{
	return signal_name(signal->number, signal->libc, signal_origin(signal), name);
}

static bool is_main_thread(const struct process_info *process, const struct thread_info *thread)
{
	return thread->tid && thread->tid == process->pid;
}

const char *process_label(const struct process_info *process, char out[WHO_BYTES])
{
	char comm[ESCAPED_BYTES(NAME_BYTES)];

	if (!process->pid)
		snprintf(out, WHO_BYTES, "unknown process");
	else if (!process->comm[0])
		snprintf(out, WHO_BYTES, "process %d", process->pid);
	else
		snprintf(out, WHO_BYTES, "%s[%d]", ESCAPE(comm, process->comm), process->pid);
	return out;
}

const char *thread_number(const struct process_info *process, const struct thread_info *thread,
			  char out[WHO_BYTES])
{
	if (is_main_thread(process, thread))
		snprintf(out, WHO_BYTES, "main thread");
	else if (thread->tid)
		snprintf(out, WHO_BYTES, "thread %d", thread->tid);
	else if (thread->ns_tid)
		snprintf(out, WHO_BYTES, "namespace thread %d", thread->ns_tid);
	else
		snprintf(out, WHO_BYTES, "some thread");
	return out;
}

const char *thread_label(const struct process_info *process, const struct thread_info *thread,
			 char out[WHO_BYTES])
{
	char name[ESCAPED_BYTES(NAME_BYTES)];

	if (!thread->tid || !thread->name[0] || is_main_thread(process, thread) ||
	    !strcmp(thread->name, process->comm))
		return thread_number(process, thread, out);
	snprintf(out, WHO_BYTES, "%s[%d]", ESCAPE(name, thread->name), thread->tid);
	return out;
}

/* "4712" or, where its own namespace has another number for it, "4712, 7 in its namespace" */
static const char *number_in_full(int number, int ns_number, char out[NUMBERS_BYTES])
{
	if (!number)
		snprintf(out, NUMBERS_BYTES, "%d in its namespace", ns_number);
	else if (ns_number && ns_number != number)
		snprintf(out, NUMBERS_BYTES, "%d, %d in its namespace", number, ns_number);
	else
		snprintf(out, NUMBERS_BYTES, "%d", number);
	return out;
}

const char *thread_in_full(const struct process_info *process, const struct thread_info *thread,
			   char out[WHO_BYTES])
{
	char number[NUMBERS_BYTES], name[ESCAPED_BYTES(NAME_BYTES)];

	if (!thread->tid && !thread->ns_tid) {
		snprintf(out, WHO_BYTES, "unknown");
		return out;
	}
	number_in_full(thread->tid, thread->ns_tid, number);
	if (is_main_thread(process, thread))
		snprintf(out, WHO_BYTES, "main thread (tid %s)", number);
	else if (!thread->name[0])
		snprintf(out, WHO_BYTES, "thread (tid %s)", number);
	else
		snprintf(out, WHO_BYTES, "%s (tid %s)", ESCAPE(name, thread->name), number);
	return out;
}

const char *process_in_full(const struct process_info *process, char out[WHO_BYTES])
{
	char number[NUMBERS_BYTES], comm[ESCAPED_BYTES(NAME_BYTES)];
	char user[ESCAPED_BYTES(USER_BYTES) + NUMBERS_BYTES] = "", name[ESCAPED_BYTES(USER_BYTES)];

	if (process->user[0])
		snprintf(user, sizeof(user), ", user %s", ESCAPE(name, process->user));
	else if (process->uid >= 0)
		snprintf(user, sizeof(user), ", uid %" PRId64, process->uid);
	snprintf(out, WHO_BYTES, "%s (pid %s%s)",
		 process->comm[0] ? ESCAPE(comm, process->comm) : "process",
		 number_in_full(process->pid, process->ns_pid, number), user);
	return out;
}
