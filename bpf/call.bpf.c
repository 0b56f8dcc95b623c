// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rare calls that explain the end of a thread, at their entry: pthread_cancel, which need not send a
 * signal, and PyThreadState_SetAsyncExc. Both name their target by its pthread_self.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "libc.h"
#include "maps.bpf.h"
#include "task.bpf.h"

/*
 * PyTypeObject (Include/cpython/object.h), the same from 3.6 to 3.14 where the head of an object is two
 * words: not in debug builds with reference tracing, nor without the GIL. The flag says that it is a
 * type of exceptions, so that this is the layout.
 */
#define PYTHON_TYPE_NAME      24
#define PYTHON_TYPE_FLAGS     168
#define PYTHON_TYPE_EXCEPTION (1ull << 30)

/* A sleepable program reads what is not resident, too: then nothing there means that nothing is. */
static __always_inline long call_read(void *to, __u32 bytes, __u64 from, bool sleepable)
{
	if (sleepable)
		return bpf_copy_from_user(to, bytes, (void *)from);
	return bpf_probe_read_user(to, bytes, (void *)from);
}

/* What lies where the caller says that a thread's descriptor is? bpf/libc.h has the layouts. */
static __always_inline enum call_target call_target_find(__u64 thread, __u32 *tid, bool sleepable)
{
	__u64 head[4], link, at;

	if (call_read(head, sizeof(head), thread, sleepable))
		return sleepable || thread < CALL_THREAD_LEAST ? TARGET_NONE : TARGET_UNREAD;
	if (head[0] != thread)
		return TARGET_NONE;
	/* In musl's, the only thread's links name itself as well: both of them. */
	if (head[2] == thread && head[3] != thread) {
		at = thread + GLIBC_THREAD_TID;
	} else {
		if (call_read(&link, sizeof(link), head[3] + MUSL_PREV, sleepable) ||
		    link != thread)
			return TARGET_NONE;
		at = thread + MUSL_TID;
	}
	if (call_read(tid, sizeof(*tid), at, sleepable))
		return TARGET_UNREAD;
	return *tid ? TARGET_THREAD : TARGET_ENDED;
}

static __always_inline void call_exception_name(struct ev_call *ev, __u64 type, bool sleepable)
{
	__u64 name = 0, flags = 0;
	long length;
	char first;

	if (call_read(&flags, sizeof(flags), type + PYTHON_TYPE_FLAGS, sleepable) ||
	    !(flags & PYTHON_TYPE_EXCEPTION) ||
	    call_read(&name, sizeof(name), type + PYTHON_TYPE_NAME, sleepable) ||
	    call_read(&first, 1, name, sleepable)) /* makes it resident */
		return;
	length = bpf_probe_read_user_str(ev->name, sizeof(ev->name), (void *)name);
	if (length < 0 || length == sizeof(ev->name)) /* cut off, perhaps */
		ev->name[0] = '\0';
}

static __always_inline int call_say(__u32 which, __u64 thread, __u64 exception, bool sleepable)
{
	struct ev_call *ev;

	if (!event_reserve_or(ev, EV_CALL, LOSS_CALLS))
		return 0;
	ev_task_fill(&ev->caller, compat_current());
	ev->thread = thread;
	ev->exception = exception;
	ev->which = which;
	ev->ns_tid = 0;
	ev->target = call_target_find(thread, &ev->ns_tid, sleepable);
	ev->pad = 0;
	__builtin_memset(ev->name, 0, sizeof(ev->name));
	if (exception)
		call_exception_name(ev, exception, sleepable);
	event_submit(ev);
	return 0;
}

SEC("?uprobe.s")
int call_cancel_sleepable(struct pt_regs *ctx)
{
	return call_say(CALLED_CANCEL, PT_REGS_PARM1(ctx), 0, true);
}

SEC("?uprobe")
int call_cancel(struct pt_regs *ctx)
{
	return call_say(CALLED_CANCEL, PT_REGS_PARM1(ctx), 0, false);
}

SEC("?uprobe.s")
int call_async_exc_sleepable(struct pt_regs *ctx)
{
	return call_say(CALLED_ASYNC_EXC, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), true);
}

SEC("?uprobe")
int call_async_exc(struct pt_regs *ctx)
{
	return call_say(CALLED_ASYNC_EXC, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), false);
}

char LICENSE[] SEC("license") = "GPL";
