// SPDX-License-Identifier: GPL-2.0-only
#include "probe_attach.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "cleanup.h"
#include "task.h"

#define UPROBE_TYPE "/sys/bus/event_source/devices/uprobe/type"

static int uprobe_type(void)
{
	_cleanup_fclose_ FILE *file = fopen(UPROBE_TYPE, "re");
	int type;

	if (!file)
		return -errno;
	return fscanf(file, "%d", &type) == 1 ? type : -EIO;
}

/* From 6.6 on; of union bpf_attr, the part of BPF_LINK_CREATE. The distribution's headers are older. */
#define TRACE_UPROBE_MULTI 48

struct link_create_uprobes {
	uint32_t program, target, type, flags;
	uint64_t path, offsets, counters, cookies;
	uint32_t n, uprobe_flags, pid;
	uint32_t unused;
};

static int link_create_uprobes(int program, pid_t pid, const char *path, uint64_t offset,
			       uint64_t cookie)
{
	struct link_create_uprobes attr = {
		.program = program,
		.type = TRACE_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)&offset,
		.cookies = (uintptr_t)&cookie,
		.n = 1,
		.pid = pid,
	};
	int link = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return link < 0 ? -errno : link;
}

/* A kernel that knows it comes as far as to find that this is no regular file: EBADF. */
static int all_type_find(void)
{
	const struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = TRACE_UPROBE_MULTI);
	_cleanup_close_ int program = bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", nothing, 2,
						    &options);

	if (program < 0 || link_create_uprobes(program, 0, "/", 0, 0) != -EBADF)
		return 0;
	return TRACE_UPROBE_MULTI;
}

int probe_all_type(void)
{
	static int type = -1;

	if (type < 0)
		type = all_type_find();
	return type;
}

/*
 * Not by libbpf's bpf_program__attach_uprobe(): its link is two descriptors that belong together, and
 * this one is handed on to another process. The link holds the event.
 */
static int event_attach(int program, pid_t pid, const char *path, uint64_t offset, uint64_t cookie)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.uprobe_path = (uintptr_t)path,
		.probe_offset = offset,
	};
	LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event.bpf_cookie = cookie);
	_cleanup_close_ int event = -1;
	int type = uprobe_type(), link;

	if (type < 0)
		return type;
	attr.type = type;
	event = syscall(SYS_perf_event_open, &attr, pid, pid < 0 ? 0 : -1, -1,
			PERF_FLAG_FD_CLOEXEC);
	if (event < 0)
		return -errno;
	link = bpf_link_create(program, event, BPF_PERF_EVENT, &options);
	if (link >= 0)
		return link;
	/* Before 5.15 (b89fbfbb854c) the event alone is the link. */
	if (link != -EINVAL || cookie || ioctl(event, PERF_EVENT_IOC_SET_BPF, program))
		return link;
	return take_fd(&event);
}

int probe_attach(int program, pid_t pid, const char *path, uint64_t offset, uint64_t cookie)
{
	if (pid == PROBE_ALL && probe_all_type())
		return link_create_uprobes(program, 0, path, offset, cookie);
	return event_attach(program, pid, path, offset, cookie);
}

#define MAPPED_BYTES 64

/*
 * The file that the caller's text at this address is from, by a name of the kernel's, and where in it that
 * is. It is not /proc/self/exe where the dynamic loader was called by hand.
 */
static int text_find(uintptr_t address, char path[MAPPED_BYTES], uint64_t *offset)
{
	_cleanup_task_ struct task self = TASK_CLOSED;
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct proc_mapping m;
	int err = task_open(&self, getpid(), 0) ?: task_maps_open(&maps, self.thread);

	if (err)
		return err;
	while ((err = task_maps_next(&maps, &m)) > 0) {
		if (m.exec && address >= m.start && address < m.end) {
			*offset = address - m.start + m.offset;
			snprintf(path, MAPPED_BYTES, "/proc/self/map_files/%llx-%llx",
				 (unsigned long long)m.start, (unsigned long long)m.end);
			if (access(path, R_OK)) /* not allowed */
				snprintf(path, MAPPED_BYTES, "/proc/self/exe");
			return 0;
		}
	}
	return err ?: -ENOENT;
}

int probe_try(int program, bool for_all)
{
	_cleanup_close_ int link = -1;
	char path[MAPPED_BYTES];
	uint64_t offset;
	int err;

	if (program < 0)
		return program;
	err = text_find((uintptr_t)probe_try, path, &offset);
	if (err)
		return err;
	link = probe_attach(program, for_all ? PROBE_ALL : getpid(), path, offset, 0);
	return link < 0 ? link : 0;
}
