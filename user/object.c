// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include <bpf/libbpf.h>

#include "event.h"
#include "noise.h"
#include "object.h"
#include "deadhold.skel.h"
#pragma GCC diagnostic ignored "-Wunused-function"
#include "deadhold_old.skel.h"

/* What one is set up by is what the other reads. */
#define SAME(part, member)                                                        \
	_Static_assert(offsetof(struct deadhold_bpf__##part, member) ==           \
			       offsetof(struct deadhold_old_bpf__##part, member), \
		       #member)
SAME(rodata, deep_on);
SAME(rodata, send_filter);
SAME(rodata, noise_rules);
SAME(bss, deep_doubt_ns);
SAME(bss, tristates_used);
SAME(bss, snapshot_tgid);
SAME(bss, snapshot_rows_made);
_Static_assert(sizeof(struct deadhold_bpf__rodata) == sizeof(struct deadhold_old_bpf__rodata) &&
		       sizeof(struct deadhold_bpf__bss) == sizeof(struct deadhold_old_bpf__bss),
	       "the same data");

bool object_is_old(void)
{
	static int old = -1;

	if (old < 0)
		old = libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop, NULL) == 0 ||
		      libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_find_vma, NULL) == 0;
	return old;
}

static int object_open(struct deadhold_bpf *object, unsigned int tasks)
{
	int error = deadhold_bpf__create_skeleton(object);

	if (error)
		return error;
	if (object_is_old())
		object->skeleton->data =
			(void *)deadhold_old_bpf__elf_bytes(&object->skeleton->data_sz);
	error = bpf_object__open_skeleton(object->skeleton, NULL);
	if (!error && object_is_old())
		bpf_map__set_max_entries(object->maps.waits, tasks);
	return error;
}

struct deadhold_bpf *object_new(unsigned int tasks)
{
	struct deadhold_bpf *object = calloc(1, sizeof(*object));
	int error = object ? object_open(object, tasks) : -ENOMEM;

	if (!error)
		return object;
	deadhold_bpf__destroy(object);
	errno = -error;
	return NULL;
}
