// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals aimed at single threads, in the sender's context with the kernel's verdict; and those that
 * kill(2) or rt_sigqueueinfo(2) sent to a TID which leads no process, which hit the whole process.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "filter.bpf.h"
#include "maps.bpf.h"
#include "noise.h"
#include "task.bpf.h"

#define SI_USER	  0
#define SI_KERNEL 0x80
#define SI_TIMER  (-2)

/* Filled by the agent from its policy table. */
const volatile struct noise_rule noise_rules[NOISE_RULES] = {};

static __always_inline bool filter_signal(__u32 signal)
{
	__u64 bit = signal ? 1ull << ((signal - 1) & 63) : 0;

	if (send_filter.signals && !(send_filter.signals & bit))
		return false;
	return !(send_filter.not_signals & bit);
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, MAP_FLAGS_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct noise_key);
	__type(value, struct noise_row);
} noise SEC(".maps") __weak;

/*
 * Processes of which the agent has found out that a rule with runtimes is for them: enum runtime. One
 * that is not here, or no longer, has its signals sent to the agent, which folds them itself.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct proc_key);
	__type(value, __u32);
} runtimes SEC(".maps") __weak;

struct send {
	__u32 signal;
	__s32 code;
	bool group;
	bool fatal;
	__u32 call;
	__u32 relation; /* enum noise_relation */
};

/*
 * SEND_SIG_NOINFO (0, from a user) and SEND_SIG_PRIV (1, from the kernel) are no pointers:
 * include/linux/signal.h.
 */
static __always_inline void send_code(struct send *send, struct kernel_siginfo *info)
{
	if ((unsigned long)info > 1)
		send->code = BPF_CORE_READ(info, si_code);
	else
		send->code = info ? SI_KERNEL : SI_USER;
}

/*
 * Can the call make this code? The kernel's own (above 0) only a process that writes to itself:
 * do_rt_sigqueueinfo() and its kin in kernel/signal.c.
 */
static __always_inline bool call_makes_code(__u32 which, __s32 code, bool to_itself)
{
	bool queues = which == SEND_RT_TGSIGQUEUEINFO || which == SEND_RT_SIGQUEUEINFO ||
		      which == SEND_PIDFD;

	if (code > 0)
		return queues && to_itself;
	return code != SI_TIMER || queues;
}

/*
 * Which call was it? The system call that current is in counts only where it names this signal and
 * can make this code: a timer may fire in anybody's context.
 */
static __always_inline void send_call(struct send *send, struct task_struct *current,
				      struct task_struct *target, struct kernel_siginfo *info)
{
	struct syscall call;
	__u32 signal, which;

	syscall_of(&call, current);
	which = call.nr == -1 ? SEND_UNKNOWN : send_call_of(&call, &signal);
	if (which != SEND_UNKNOWN && signal == send->signal && (unsigned long)info > 1 &&
	    call_makes_code(which, send->code, FIELD(current, tgid) == FIELD(target, tgid)))
		send->call = which;
	else if (send->code == SI_TIMER)
		send->call = SEND_TIMER;
	else
		send->call = SEND_KERNEL;
}

static __always_inline void send_relation(struct send *send, struct task_struct *current,
					  struct task_struct *target)
{
	if (send->call == SEND_TIMER)
		send->relation = NOISE_ANYBODY;
	else if (current == target)
		send->relation = NOISE_SAME_THREAD;
	else if (FIELD(current, tgid) == FIELD(target, tgid))
		send->relation = NOISE_SAME_PROCESS;
	else
		send->relation = NOISE_ANYBODY;
}

static __always_inline bool runs_on(struct task_struct *target, __u32 wanted)
{
	struct proc_key key = {};
	__u32 *found;

	if (!wanted)
		return false;
	proc_key_of(&key, target);
	found = bpf_map_lookup_elem(&runtimes, &key);
	return found && *found & wanted;
}

static __always_inline bool send_is_noise(const struct send *send, struct task_struct *target)
{
	struct noise_send as = { send->signal, send->call, send->relation };
	__u32 match = 0;
	int i;

	/* A TID was named and the whole process is hit: never everyday traffic. */
	if (send->group || send->signal < 1 || send->signal > 64)
		return false;
	for (i = 0; i < NOISE_RULES; i++)
		match |= noise_match(&noise_rules[i], &as);
	if (match & NOISE_ALWAYS)
		return true;
	return !send->fatal &&
	       (match & NOISE_IF_HARMLESS || runs_on(target, match & NOISE_IF_RUNTIMES));
}

static __always_inline void noise_count(const struct send *send, struct task_struct *target)
{
	struct noise_key key = {};
	struct noise_row *row;

	proc_key_of(&key.proc, target);
	key.signal = send->signal;
	key.from_same_process = send->relation != NOISE_ANYBODY;
	row = bpf_map_lookup_elem(&noise, &key);
	if (!row) {
		struct noise_row first = {};

		ev_task_fill(&first.target, target);
		bpf_map_update_elem(&noise, &key, &first, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&noise, &key);
		if (!row) {
			loss_count(LOSS_NOISE);
			return;
		}
	}
	__sync_fetch_and_add(&row->count, 1);
}

/* Signals whose default does not end the process: kernel/signal.c, signal(7). */
static __always_inline bool default_is_fatal(__u32 signal)
{
	switch (signal) {
	case 17: /* SIGCHLD */
	case 18: /* SIGCONT */
	case 19: /* SIGSTOP */
	case 20: /* SIGTSTP */
	case 21: /* SIGTTIN */
	case 22: /* SIGTTOU */
	case 23: /* SIGURG */
	case 28: /* SIGWINCH */
		return false;
	default:
		return true;
	}
}

static __always_inline bool send_is_fatal(__u32 signal, struct task_struct *target, int result)
{
	struct sighand_struct *sighand = FIELD(target, sighand);
	struct k_sigaction *action;
	void *handler = NULL;

	if (result == TRACE_SIGNAL_IGNORED || result == TRACE_SIGNAL_OVERFLOW_FAIL ||
	    !default_is_fatal(signal) || signal < 1 || signal > 64)
		return false;
	/* The init of a namespace is spared all but a SIGKILL from an outer one (else: ignored). */
	if (FIELD(target, signal, flags) & SIGNAL_UNKILLABLE && signal != 9)
		return false;
	action = (void *)sighand + bpf_core_field_offset(struct sighand_struct, action) +
		 (signal - 1) * bpf_core_type_size(struct k_sigaction);
	bpf_core_read(&handler, sizeof(handler), &action->sa.sa_handler);
	return !handler || signal == 9;
}

/*
 * Has this send begun to end the process? complete_signal() has run by now, and on a process that is
 * ending already the signal would have been ignored (prepare_signal()). Of signals that dump core it is
 * the target itself that ends the process, later.
 */
static __always_inline bool send_ends(__u32 signal, struct task_struct *target, int result)
{
	return (result == TRACE_SIGNAL_DELIVERED || result == TRACE_SIGNAL_LOSE_INFO) &&
	       FIELD(target, signal, flags) & SIGNAL_GROUP_EXIT &&
	       FIELD(target, signal, group_exit_code) == (int)signal;
}

static __always_inline void signal_say(const struct send *send, struct task_struct *current,
				       struct task_struct *target, int result)
{
	struct ev_signal *ev;

	if (!event_reserve_or(ev, EV_SIGNAL, LOSS_SIGNALS))
		return;
	__builtin_memset(&ev->sender, 0, sizeof(ev->sender));
	ev->flags = SIGNAL_HAS_CODE;
	if (send->call == SEND_TIMER)
		ev->flags |= SIGNAL_NO_SENDER;
	else
		ev_task_fill(&ev->sender, current);
	ev_task_fill(&ev->target, target);
	ev->signal = send->signal;
	ev->code = send->code;
	ev->call = send->call;
	ev->result = result;
	ev->pad = 0;
	if (send->group)
		ev->flags |= SIGNAL_GROUP;
	if (send->fatal)
		ev->flags |= SIGNAL_FATAL;
	if (send_ends(send->signal, target, result))
		ev->flags |= SIGNAL_FATAL | SIGNAL_ENDS;
	event_submit(ev);
}

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int signal, struct kernel_siginfo *info, struct task_struct *target,
	     int group, int result)
{
	struct task_struct *current = compat_current();
	struct send send = { .signal = signal, .group = group };
	bool leader = FIELD(target, pid) == FIELD(target, tgid);

	if (group && leader)
		return 0;
	if (!filter_target(FIELD(target, tgid)))
		return 0;
	if (!send_filter.failed_alone && !filter_signal(signal))
		return 0;
	send_code(&send, info);
	send_call(&send, current, target, info);
	/* Group signals at a non-leader: PDEATHSIG, timers, pidfds do that too, and mean the process. */
	if (group && send.call != SEND_KILL && send.call != SEND_RT_SIGQUEUEINFO)
		return 0;
	send_relation(&send, current, target);
	send.fatal = send_is_fatal(signal, target, result);
	if (send_is_noise(&send, target))
		noise_count(&send, target);
	else if (send_filter.failed_alone ||
		 filter_has(send_filter.sender, send_filter.n_senders,
			    send.call == SEND_TIMER ? 0 : FIELD(current, tgid)))
		signal_say(&send, current, target, result);
	return 0;
}

/*
 * Sends that failed, and signal 0: no tracepoint of their own. At the exit of the system call the
 * arguments are still in the registers. EAGAIN is left out: signal_generate has said that one.
 */
static __always_inline int send_exit(long ret)
{
	struct task_struct *task = compat_current();
	struct pt_regs *regs = compat_regs(task);
	struct ev_send_failed *ev;
	struct syscall call;
	__u32 which, signal;
	bool has_tgid;

	syscall_read(&call, task, regs);
	which = send_call_of(&call, &signal);
	if (which == SEND_UNKNOWN || signal > 64 || ret > 0 || ret == -EAGAIN ||
	    (ret == 0 && signal != 0))
		return 0;
	if (!filter_signal(signal) ||
	    !filter_has(send_filter.sender, send_filter.n_senders, FIELD(task, tgid)))
		return 0;
	if (!event_reserve_or(ev, EV_SEND_FAILED, LOSS_SIGNALS))
		return 0;
	has_tgid = which == SEND_TGKILL || which == SEND_RT_TGSIGQUEUEINFO;
	ev_task_fill(&ev->sender, task);
	ev->call = which;
	ev->signal = signal;
	ev->error = -ret;
	ev->tgid = has_tgid ? call.arg[0] : 0;
	ev->tid = has_tgid ? call.arg[1] : call.arg[0];
	ev->call_flags = which == SEND_PIDFD ? call.arg[3] : 0;
	event_submit(ev);
	return 0;
}

#define SEND_EXIT(name)                                              \
	SEC("?tp/syscalls/sys_exit_" #name)                          \
	int signal_exit_##name(struct trace_event_raw_sys_exit *ctx) \
	{                                                            \
		return send_exit(ctx->ret);                          \
	}

SEND_EXIT(tgkill)
SEND_EXIT(tkill)
SEND_EXIT(kill)
SEND_EXIT(rt_sigqueueinfo)
SEND_EXIT(rt_tgsigqueueinfo)
SEND_EXIT(pidfd_send_signal)

char LICENSE[] SEC("license") = "GPL";
