// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "cleanup.h"
#include "hooks.h"
#include "host.h"
#include "object.h"
#include "probe_attach.h"
#include "deadhold.skel.h" /* needs the types of event.h */

#define DESCRIPTORS 64 /* about 45, and what was open before */

/* Of an old kernel, where tasks have no storage of their own: 8 MB, and 21 MB more with --deep. */
#define TASK_ROWS 65536

/* The ladder. Cheapest first within a family. */
static const struct rung ladder[] = {
	{ .family = HOOK_FUTEX,
	  .name = "switch",
	  .programs = { "futex_switch" },
	  .where = "tp_btf/sched_switch",
	  .needs = "BTF-typed tracepoints (5.5)" },
	{ .family = HOOK_FUTEX,
	  .name = "tracepoint",
	  .programs = { "futex_tracepoint" },
	  .where = "tp/syscalls/sys_enter_futex",
	  .tax = "puts every system call of the host on the slow path",
	  .needs = "tracefs and syscall tracepoints",
	  .tracefs = true },
	{ .family = HOOK_EXIT,
	  .name = "tracepoint",
	  .programs = { "exit_tracepoint" },
	  .where = "tp_btf/sched_process_exit",
	  .needs = "sched_process_exit ahead of exit_mm (6.16)" },
	{ .family = HOOK_EXIT,
	  .name = "fentry",
	  .programs = { "exit_fentry" },
	  .where = "fentry/futex_exit_release",
	  .needs = "BPF trampolines, and futex_exit_release out of line" },
	{ .family = HOOK_EXIT,
	  .name = "fentry-early",
	  .programs = { "exit_fentry_signals" },
	  .where = "fentry/exit_signals",
	  .needs = "BPF trampolines" },
	{ .family = HOOK_EXIT,
	  .name = "late",
	  .programs = { "exit_late" },
	  .where = "tp_btf/sched_process_exit, memory gone",
	  .needs = "BTF-typed tracepoints (5.5)" },
	{ .family = HOOK_SIGNAL,
	  .name = "tracepoint",
	  .programs = { "signal_generate" },
	  .where = "tp_btf/signal_generate",
	  .needs = "BTF-typed tracepoints (5.5)" },
	{ .family = HOOK_FAILED,
	  .name = "tracepoint",
	  .programs = { "signal_exit_tgkill", "signal_exit_tkill", "signal_exit_kill",
			"signal_exit_rt_sigqueueinfo", "signal_exit_rt_tgsigqueueinfo",
			"signal_exit_pidfd_send_signal" },
	  .where = "tp/syscalls/sys_exit_tgkill and the five others",
	  .tax = "puts every system call of the host on the slow path",
	  .needs = "tracefs and syscall tracepoints",
	  .tracefs = true },
	{ .family = HOOK_PROCESS,
	  .name = "tracepoint",
	  .programs = { "process_newtask", "process_exec", "process_exit", "process_snapshot" },
	  .where = "tp_btf/task_newtask, sched_process_exec, sched_process_exit; iter/task",
	  .needs = "task storage for tracing programs (5.13)" },
	{ .family = HOOK_CALL,
	  .name = "sleepable",
	  .programs = { "call_cancel_sleepable", "call_async_exc_sleepable" },
	  .where = "uprobes: pthread_cancel, PyThreadState_SetAsyncExc",
	  .needs = "uprobes, and BPF programs there that may sleep (6.0)",
	  .probed = true },
	{ .family = HOOK_CALL,
	  .name = "plain",
	  .programs = { "call_cancel", "call_async_exc" },
	  .where = "uprobes: pthread_cancel, PyThreadState_SetAsyncExc",
	  .needs = "uprobes (CONFIG_UPROBE_EVENTS)",
	  .probed = true },
	{ .family = HOOK_DEEP,
	  .name = "uprobe",
	  .programs = { "deep_acquire", "deep_return", "deep_release", "deep_marker" },
	  .where = "uprobes: lock functions of chosen processes",
	  .needs = "uprobes with cookies (5.15)",
	  .probed = true },
};

#define DEEP_DOUBTS 16384
#define DEEP_BATCH  4096

#define RUNGS (sizeof(ladder) / sizeof(ladder[0]))

struct hooks {
	struct deadhold_bpf *object;
	struct ring_buffer *ring;
	struct bpf_link *snapshot;
	const struct rung *rung[HOOK_FAMILIES];
	char why_not[HOOK_FAMILIES][160];
	hooks_event *event;
	void *context;
	int budget; /* records that this hooks_consume() may still take */
	int n_cpus;
};

const struct rung *hooks_ladder(size_t *n)
{
	*n = RUNGS;
	return ladder;
}

const char *hook_family_name(enum hook_family family)
{
	static const char *const names[HOOK_FAMILIES] = {
		[HOOK_FUTEX] = "futex",	    [HOOK_EXIT] = "exit",
		[HOOK_SIGNAL] = "signal",   [HOOK_FAILED] = "failed-sends",
		[HOOK_PROCESS] = "process", [HOOK_CALL] = "call",
		[HOOK_DEEP] = "deep",
	};

	return family < HOOK_FAMILIES ? names[family] : NULL;
}

static int print_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level, (void)format, (void)args;
	return 0;
}

static int print_stderr(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, args);
}

/* The rest of those that the prober attaches are for chosen processes. */
static bool rung_probes_all(const struct rung *rung)
{
	return rung->family == HOOK_CALL;
}

static void object_select(struct deadhold_bpf *object, const struct rung *rung, bool on)
{
	const char *const *name;

	for (name = rung->programs; *name; name++) {
		struct bpf_program *program = bpf_object__find_program_by_name(object->obj, *name);

		bpf_program__set_autoload(program, on);
		if (rung_probes_all(rung))
			bpf_program__set_expected_attach_type(program, probe_all_type());
	}
}

static void object_deepen(struct deadhold_bpf *object, uint32_t locks)
{
	object->rodata->deep_on = true;
	if (object_is_old())
		bpf_map__set_max_entries(object->maps.deep_threads, TASK_ROWS);
	bpf_map__set_max_entries(object->maps.deep_holds, locks);
	bpf_map__set_max_entries(object->maps.deep_doubts, DEEP_DOUBTS);
}

static uint32_t ids_copy(uint32_t out[SEND_FILTER_IDS], const struct id_list *list)
{
	size_t i;

	_Static_assert(SEND_FILTER_IDS >= OPTION_LIST, "the kernel's list holds what can be given");
	for (i = 0; i < list->n; i++)
		out[i] = list->id[i];
	return list->n;
}

/*
 * What would be told to the agent only to be dropped there. A signal that is not to be shown may still
 * explain a death: where deaths are told, all those to the watched processes are.
 */
static void send_filter_fill(struct send_filter *filter, const struct options *options)
{
	uint32_t of_signals = 1u << ALERT_THREAD_SIGNAL | 1u << ALERT_TID_KILL | 1u << ALERT_NOISE;

	filter->signals = options->signals;
	filter->not_signals = options->not_signals;
	filter->n_targets = ids_copy(filter->target, &options->pids);
	filter->children = options->deep_children;
	filter->n_senders = ids_copy(filter->sender, &options->sender_pids);
	filter->failed_alone = !options->kinds || options->kinds & ~of_signals;
}

static struct deadhold_bpf *object_open(const struct options *options)
{
	struct deadhold_bpf *object = object_new(options ? TASK_ROWS : 1);
	struct bpf_program *program;
	const struct policy_rule *rules;
	size_t n, i;

	if (!object)
		return NULL;
	bpf_object__for_each_program(program, object->obj)
		bpf_program__set_autoload(program, false);
	rules = policy_rules(&n);
	for (i = 0; i < n && !(options && options->all_signals); i++)
		object->rodata->noise_rules[i] = rules[i].rule;
	if (options && options->deep)
		object_deepen(object, options->deep_locks);
	if (options)
		send_filter_fill(&object->rodata->send_filter, options);
	return object;
}

static struct bpf_link *program_attach(struct deadhold_bpf *object, const char *name)
{
	return bpf_program__attach(bpf_object__find_program_by_name(object->obj, name));
}

static int program_fd(const struct deadhold_bpf *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object->obj, name);

	return program && bpf_program__autoload(program) ? bpf_program__fd(program) : -ENOENT;
}

static void why_failed(char *why, size_t bytes, const struct rung *rung, const char *step,
		       int error)
{
	/* Short of something on this host, whatever the kernel supports. */
	if (error == -EMFILE || error == -ENFILE)
		snprintf(why, bytes, "%s refused (%s); raise that limit: ulimit -n 1024", step,
			 strerror(-error));
	else if (error == -ENOMEM)
		snprintf(why, bytes, "%s refused (%s)", step, strerror(-error));
	else
		snprintf(why, bytes, "%s refused (%s); needs %s", step, strerror(-error),
			 rung->needs);
}

/* What a rung's attaching needs of the host. 0, or -errno and a line in why. */
static int rung_prepare(const struct rung *rung, char *why, size_t why_bytes)
{
	return rung && rung->tracefs ? host_tracefs(why, why_bytes) : 0;
}

/* Links of a trial die with the object's programs only if destroyed: collect and destroy. */
static int rung_attach_try(struct deadhold_bpf *object, const struct rung *rung)
{
	struct bpf_link *links[8] = { NULL };
	int i, error = 0;

	for (i = 0; rung->programs[i] && !error; i++) {
		if (rung->probed) {
			error = probe_try(program_fd(object, rung->programs[i]),
					  rung_probes_all(rung));
			continue;
		}
		links[i] = program_attach(object, rung->programs[i]);
		error = links[i] ? 0 : -errno;
	}
	while (i--)
		bpf_link__destroy(links[i]);
	return error;
}

/*
 * Whoever runs out of them half-way says something else: libbpf asks anew, for a log, and what the kernel
 * answered first is lost.
 */
static int descriptors_check(char *why, size_t why_bytes)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur >= DESCRIPTORS)
		return 0;
	files.rlim_cur = files.rlim_max;
	if (files.rlim_max >= DESCRIPTORS && !setrlimit(RLIMIT_NOFILE, &files))
		return 0;
	snprintf(
		why, why_bytes,
		"too many open files: there may be %llu, it takes %d; raise that limit: ulimit -n 1024",
		(unsigned long long)files.rlim_max, DESCRIPTORS);
	return -EMFILE;
}

int rung_try(const struct rung *rung, struct rung_state *state, bool verbose)
{
	struct deadhold_bpf *object = NULL;
	libbpf_print_fn_t before;

	*state = (struct rung_state){ .rung = rung };
	before = libbpf_set_print(verbose ? print_stderr : print_nothing);
	state->error = descriptors_check(state->why, sizeof(state->why));
	if (state->error)
		goto out;
	object = object_open(NULL);
	if (!object) {
		state->error = -errno;
		why_failed(state->why, sizeof(state->why), rung, "opening", state->error);
		goto out;
	}
	bpf_map__set_max_entries(object->maps.events, 4096); /* a trial needs no room */
	bpf_map__set_max_entries(object->maps.dead_threads, 1);
	object_select(object, rung, true);
	state->error = deadhold_bpf__load(object);
	if (state->error) {
		why_failed(state->why, sizeof(state->why), rung, "loading", state->error);
		goto out;
	}
	state->error = rung_prepare(rung, state->why, sizeof(state->why));
	if (state->error)
		goto out;
	state->error = rung_attach_try(object, rung);
	if (state->error)
		why_failed(state->why, sizeof(state->why), rung, "attaching", state->error);
out:
	deadhold_bpf__destroy(object);
	libbpf_set_print(before);
	return state->error;
}

static bool family_wanted(enum hook_family family, const struct options *options)
{
	if (family == HOOK_CALL)
		return !options->no_uprobes;
	if (family == HOOK_DEEP)
		return options->deep;
	return family != HOOK_FAILED || options->failed;
}

/* Nothing else depends on it: where it does not work, the rest goes on. */
static bool family_optional(enum hook_family family)
{
	return family == HOOK_CALL;
}

/* Does the option allow this rung? */
static bool rung_allowed(const struct rung *rung, const struct options *options)
{
	static const char *const futex[] = { NULL, "switch", "tracepoint" };
	static const char *const exits[] = { NULL, "tracepoint", "fentry", "fentry-early", "late" };
	const char *forced = NULL;

	if (rung->family == HOOK_FUTEX)
		forced = futex[options->futex_hook];
	else if (rung->family == HOOK_EXIT)
		forced = exits[options->exit_hook];
	return !forced || !strcmp(forced, rung->name);
}

/* The first rung of the family that is allowed, after `after`; NULL: no more. */
static const struct rung *rung_next(enum hook_family family, const struct rung *after,
				    const struct options *options)
{
	const struct rung *rung;

	for (rung = after ? after + 1 : ladder; rung < ladder + RUNGS; rung++) {
		if (rung->family == family && rung_allowed(rung, options))
			return rung;
	}
	return NULL;
}

/* Goes down the family's ladder by trials. 0, or -errno with a line in why. */
static int family_choose(struct hooks *hooks, enum hook_family family,
			 const struct options *options, char *why, size_t why_bytes)
{
	const struct rung *rung = NULL;
	struct rung_state state;

	while ((rung = rung_next(family, rung, options))) {
		if (!rung_try(rung, &state, options->verbose)) {
			hooks->rung[family] = rung;
			return 0;
		}
		snprintf(hooks->why_not[family], sizeof(hooks->why_not[family]), "%s: %.120s",
			 rung->name, state.why);
	}
	hooks->rung[family] = NULL;
	snprintf(why, why_bytes, "no %s hook works on this host: %s", hook_family_name(family),
		 hooks->why_not[family]);
	return -ENOTSUP;
}

/*
 * Loads the chosen rungs. On failure *failed is the family whose program the verifier refused, told
 * by the log that it left, or HOOK_FAMILIES where it left none.
 */
static int object_load(struct hooks *hooks, const struct options *options, enum hook_family *failed)
{
	static char log[HOOK_FAMILIES][1 << 16];
	enum hook_family family;
	const char *const *name;
	int error;

	*failed = HOOK_FAMILIES;
	hooks->object = object_open(options);
	if (!hooks->object)
		return -errno;
	for (family = 0; family < HOOK_FAMILIES; family++) {
		const struct rung *rung = hooks->rung[family];

		log[family][0] = '\0';
		if (!rung)
			continue;
		object_select(hooks->object, rung, true);
		/* libbpf fills the buffer only for a program that is refused. */
		for (name = rung->programs; *name; name++)
			bpf_program__set_log_buf(
				bpf_object__find_program_by_name(hooks->object->obj, *name),
				log[family], sizeof(log[family]));
	}
	error = deadhold_bpf__load(hooks->object);
	if (!error)
		return 0;
	/*
	 * ENOSPC: the log is full, of a program that the verifier takes. It was something else then (no
	 * descriptor left for it), which libbpf has forgotten while it asked for the log.
	 */
	for (family = 0; family < HOOK_FAMILIES && error != -ENOSPC; family++) {
		if (log[family][0])
			*failed = family;
	}
	deadhold_bpf__destroy(hooks->object);
	hooks->object = NULL;
	return error;
}

/* Each family by trials: for refusals that leave no verifier log (EPERM: trampolines forbidden). */
static int families_choose(struct hooks *hooks, const struct options *options, char *why,
			   size_t why_bytes)
{
	enum hook_family family;
	int error;

	for (family = 0; family < HOOK_FAMILIES; family++) {
		error = hooks->rung[family] ? family_choose(hooks, family, options, why, why_bytes)
					    : 0;
		if (error && !family_optional(family))
			return error;
	}
	return 0;
}

/* The family's next rung after one that was refused; false: there is none. */
static bool family_step(struct hooks *hooks, enum hook_family family, const struct options *options,
			int error)
{
	const struct rung *rung = hooks->rung[family];
	char why[128];

	why_failed(why, sizeof(why), rung, "loading", error);
	snprintf(hooks->why_not[family], sizeof(hooks->why_not[family]), "%s: %s", rung->name, why);
	hooks->rung[family] = rung_next(family, rung, options);
	return hooks->rung[family] != NULL;
}

/* From the best rungs down: one load where all of them work. */
static int hooks_load(struct hooks *hooks, const struct options *options, char *why,
		      size_t why_bytes)
{
	enum hook_family family, failed;
	int error;

	for (family = 0; family < HOOK_FAMILIES; family++)
		hooks->rung[family] = family_wanted(family, options)
					      ? rung_next(family, NULL, options)
					      : NULL;
	while ((error = object_load(hooks, options, &failed))) {
		if (failed == HOOK_FAMILIES)
			break;
		if (!family_step(hooks, failed, options, error) && !family_optional(failed)) {
			snprintf(why, why_bytes, "no %s hook works on this host: %s",
				 hook_family_name(failed), hooks->why_not[failed]);
			return -ENOTSUP;
		}
	}
	if (!error)
		return 0;
	error = families_choose(hooks, options, why, why_bytes);
	if (!error)
		error = object_load(hooks, options, &failed);
	if (error && error != -ENOTSUP)
		snprintf(why, why_bytes, "loading the kernel programs failed: %s",
			 strerror(-error));
	return error;
}

static int ring_record(void *context, void *data, size_t size)
{
	struct hooks *hooks = context;

	if (size >= sizeof(struct ev_head))
		hooks->event(hooks->context, data, size);
	return --hooks->budget ? 0 : -EAGAIN; /* this record is consumed all the same */
}

static int family_attach(struct hooks *hooks, enum hook_family family, char *why, size_t why_bytes)
{
	const struct rung *rung = hooks->rung[family];
	const char *const *name;
	struct bpf_link *link;
	int error = rung_prepare(rung, why, why_bytes);

	if (error || (rung && rung->probed))
		return error;
	for (name = rung ? rung->programs : (const char *const[]){ NULL }; *name; name++) {
		link = program_attach(hooks->object, *name);
		if (!link) {
			snprintf(why, why_bytes, "attaching %s failed: %s", rung->where,
				 strerror(errno));
			return -errno;
		}
		if (!strcmp(*name, "process_snapshot"))
			hooks->snapshot = link;
		/* The other links live as long as the process: nothing is pinned. */
	}
	return 0;
}

/*
 * Maps that libbpf has mapped are the agent's own: a reader that is made later would keep them alive,
 * and count them as its memory.
 */
static void mappings_keep(void)
{
	_cleanup_fclose_ FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "anon_inode:bpf-map") &&
		    sscanf(line, "%lx-%lx ", &start, &end) == 2)
			madvise((void *)start, end - start, MADV_DONTFORK);
	}
}

struct hooks *hooks_new(const struct options *options, hooks_event *event, void *context, char *why,
			size_t why_bytes)
{
	struct hooks *hooks = calloc(1, sizeof(*hooks));
	int error;

	if (!hooks)
		return NULL;
	libbpf_set_print(options->verbose ? print_stderr : print_nothing);
	hooks->event = event;
	hooks->context = context;
	hooks->n_cpus = libbpf_num_possible_cpus();
	error = hooks->n_cpus < 0 ? hooks->n_cpus : descriptors_check(why, why_bytes);
	if (!error)
		error = hooks_load(hooks, options, why, why_bytes);
	if (!error)
		error = family_attach(hooks, HOOK_PROCESS, why, why_bytes);
	if (!error) {
		hooks->ring = ring_buffer__new(bpf_map__fd(hooks->object->maps.events), ring_record,
					       hooks, NULL);
		if (!hooks->ring) {
			error = -errno;
			snprintf(why, why_bytes, "opening the ring buffer failed: %s",
				 strerror(errno));
		}
		mappings_keep();
	}
	if (error) {
		hooks_free(hooks);
		errno = -error;
		return NULL;
	}
	return hooks;
}

int hooks_attach(struct hooks *hooks, char *why, size_t why_bytes)
{
	/* Exits before waits: a waiter must find the dead rows of every exit that it could race. */
	static const enum hook_family order[] = { HOOK_EXIT, HOOK_FUTEX, HOOK_SIGNAL, HOOK_FAILED };
	size_t i;
	int error;

	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		error = family_attach(hooks, order[i], why, why_bytes);
		if (error)
			return error;
	}
	return 0;
}

void hooks_free(struct hooks *hooks)
{
	if (!hooks)
		return;
	ring_buffer__free(hooks->ring);
	bpf_link__destroy(hooks->snapshot);
	deadhold_bpf__destroy(hooks->object);
	free(hooks);
}

int hooks_program(const struct hooks *hooks, const char *name)
{
	return program_fd(hooks->object, name);
}

const struct rung *hooks_rung(const struct hooks *hooks, enum hook_family family)
{
	return hooks->rung[family];
}

const char *hooks_why_not(const struct hooks *hooks, enum hook_family family)
{
	return hooks->why_not[family];
}

int hooks_fd(const struct hooks *hooks)
{
	return ring_buffer__epoll_fd(hooks->ring);
}

int hooks_consume(struct hooks *hooks)
{
	int n;

	hooks->budget = HOOKS_CONSUME_LIMIT;
	n = ring_buffer__consume(hooks->ring);
	return n == -EAGAIN ? HOOKS_CONSUME_LIMIT : n;
}

/* Rows are written whole, but a read may end anywhere: the rest moves to the front. */
int hooks_snapshot(struct hooks *hooks, uint32_t tgid, hooks_row *row, void *context)
{
	struct task_row buffer[64];
	size_t have = 0, rows, i;
	ssize_t n;
	int fd;

	hooks->object->bss->snapshot_tgid = tgid;
	fd = bpf_iter_create(bpf_link__fd(hooks->snapshot));
	if (fd < 0)
		return -errno;
	while ((n = read(fd, (char *)buffer + have, sizeof(buffer) - have)) != 0) {
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			break;
		have += n;
		rows = have / sizeof(buffer[0]);
		for (i = 0; i < rows; i++)
			row(context, &buffer[i]);
		have -= rows * sizeof(buffer[0]);
		memmove(buffer, buffer + rows, have);
	}
	n = n < 0 ? -errno : 0;
	close(fd);
	if (!n && !tgid)
		hooks->object->bss->snapshot_rows_made = true;
	return n;
}

bool hooks_dead(struct hooks *hooks, const struct owner_key *key, struct dead_row *row)
{
	return !bpf_map_lookup_elem(bpf_map__fd(hooks->object->maps.dead_threads), key, row);
}

bool hooks_candidates(struct hooks *hooks, const struct owner_key *key, struct candidate_row *row)
{
	return !bpf_map_lookup_elem(bpf_map__fd(hooks->object->maps.candidates), key, row);
}

void hooks_dead_remove(struct hooks *hooks, const struct owner_key *key)
{
	bpf_map_delete_elem(bpf_map__fd(hooks->object->maps.dead_threads), key);
}

void hooks_dead_each(struct hooks *hooks, hooks_dead_row *row, void *context)
{
	int fd = bpf_map__fd(hooks->object->maps.dead_threads);
	struct owner_key key, next, *at = NULL;
	struct dead_row value;

	while (!bpf_map_get_next_key(fd, at, &next)) {
		if (!bpf_map_lookup_elem(fd, &next, &value))
			row(context, &next, &value);
		key = next;
		at = &key;
	}
}

bool hooks_deep_each(struct hooks *hooks, uint32_t tgid, hooks_deep_row *each, void *context)
{
	int fd = bpf_map__fd(hooks->object->maps.deep_holds);
	_cleanup_free_ struct deep_key *keys = calloc(DEEP_BATCH, sizeof(*keys));
	_cleanup_free_ struct deep_row *rows = calloc(DEEP_BATCH, sizeof(*rows));
	uint32_t batch, n, i, *at = NULL;
	int error = keys && rows ? 0 : -ENOMEM;

	/* Bucket by bucket: what does not change meanwhile comes once. */
	while (!error) {
		n = DEEP_BATCH;
		error = bpf_map_lookup_batch(fd, at, &batch, keys, rows, &n, NULL);
		for (i = 0; (!error || error == -ENOENT) && i < n; i++) {
			if (keys[i].tgid == tgid)
				each(context, &keys[i], &rows[i]);
		}
		at = &batch;
	}
	return error == -ENOENT; /* the end */
}

bool hooks_deep(struct hooks *hooks, const struct deep_key *key, struct deep_row *row)
{
	return !bpf_map_lookup_elem(bpf_map__fd(hooks->object->maps.deep_holds), key, row);
}

void hooks_deep_remove(struct hooks *hooks, const struct deep_key *key)
{
	bpf_map_delete_elem(bpf_map__fd(hooks->object->maps.deep_holds), key);
}

uint64_t hooks_deep_doubt(struct hooks *hooks, const struct deep_key *key)
{
	struct deep_key lock = { .lock = key->lock, .tgid = key->tgid };
	uint64_t ns = 0, all = hooks->object->bss->deep_doubt_ns;

	bpf_map_lookup_elem(bpf_map__fd(hooks->object->maps.deep_doubts), &lock, &ns);
	return ns > all ? ns : all;
}

static void doubts_forget(struct hooks *hooks, uint32_t tgid)
{
	int fd = bpf_map__fd(hooks->object->maps.deep_doubts);
	struct deep_key key, next, *at = NULL;

	while (!bpf_map_get_next_key(fd, at, &next)) {
		if (at && key.tgid == tgid)
			bpf_map_delete_elem(fd, &key);
		key = next;
		at = &key;
	}
	if (at && key.tgid == tgid)
		bpf_map_delete_elem(fd, &key);
}

void hooks_deep_forget(struct hooks *hooks, uint32_t tgid)
{
	bpf_map_delete_elem(bpf_map__fd(hooks->object->maps.deep_pythons), &tgid);
	doubts_forget(hooks, tgid);
}

int hooks_deep_python(struct hooks *hooks, uint32_t tgid, const struct deep_span *span)
{
	return bpf_map_update_elem(bpf_map__fd(hooks->object->maps.deep_pythons), &tgid, span,
				   BPF_ANY);
}

void hooks_candidate_note(struct hooks *hooks, const struct owner_key *key, uint32_t layout,
			  uint64_t word)
{
	int fd = bpf_map__fd(hooks->object->maps.candidates);
	struct candidate_row row = { 0 };
	uint64_t packed = lock_pack(layout, word);
	size_t i;

	bpf_map_lookup_elem(fd, key, &row);
	for (i = 0; i < CANDIDATE_SLOTS; i++) {
		if (row.lock[i] == packed)
			return;
	}
	row.lock[row.next++ % CANDIDATE_SLOTS] = packed;
	bpf_map_update_elem(fd, key, &row, BPF_ANY);
}

void hooks_noise(struct hooks *hooks, hooks_noise_row *row, void *context)
{
	int fd = bpf_map__fd(hooks->object->maps.noise);
	struct noise_key key, next, *at = NULL;
	struct noise_row value;

	while (!bpf_map_get_next_key(fd, at, &next)) {
		if (!bpf_map_lookup_elem(fd, &next, &value))
			row(context, &next, &value);
		key = next;
		at = &key;
	}
}

void hooks_noise_remove(struct hooks *hooks, const struct noise_key *key)
{
	bpf_map_delete_elem(bpf_map__fd(hooks->object->maps.noise), key);
}

void hooks_runtimes_set(struct hooks *hooks, const struct proc_key *proc, uint32_t runtimes)
{
	bpf_map_update_elem(bpf_map__fd(hooks->object->maps.runtimes), proc, &runtimes, BPF_ANY);
}

static uint64_t program_recursion(const struct bpf_program *program)
{
	struct bpf_prog_info info = { 0 };
	__u32 size = sizeof(info);

	if (!bpf_program__autoload(program) ||
	    bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
		return 0;
	return info.recursion_misses;
}

void hooks_losses(struct hooks *hooks, uint64_t counts[LOSSES], uint64_t *recursion)
{
	int fd = bpf_map__fd(hooks->object->maps.losses);
	uint64_t per_cpu[hooks->n_cpus];
	struct bpf_program *program;
	__u32 i;
	int cpu;

	for (i = 0; i < LOSSES; i++) {
		counts[i] = 0;
		if (bpf_map_lookup_elem(fd, &i, per_cpu))
			continue;
		for (cpu = 0; cpu < hooks->n_cpus; cpu++)
			counts[i] += per_cpu[cpu];
	}
	*recursion = 0;
	bpf_object__for_each_program(program,
				     hooks->object->obj) *recursion += program_recursion(program);
}
