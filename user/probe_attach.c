// SPDX-License-Identifier: GPL-2.0-only
#include "probe_attach.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

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

/*
 * Not by libbpf's bpf_program__attach_uprobe(): its link is two descriptors that belong together, and
 * this one is handed on to another process. The link holds the event.
 */
int probe_attach(int program, pid_t pid, const char *path, uint64_t offset, uint64_t cookie)
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

/* Where in its file the caller's text has this address. */
static int text_offset(uintptr_t address, uint64_t *offset)
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
			return 0;
		}
	}
	return err ?: -ENOENT;
}

int probe_try(int program)
{
	_cleanup_close_ int link = -1;
	uint64_t offset;
	int err;

	if (program < 0)
		return program;
	err = text_offset((uintptr_t)probe_try, &offset);
	if (err)
		return err;
	link = probe_attach(program, getpid(), "/proc/self/exe", offset, 0);
	return link < 0 ? link : 0;
}
