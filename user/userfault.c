// SPDX-License-Identifier: GPL-2.0-only
#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"

/*
 * One object for each userfaultfd of the host, whoever has it open. Freed ones may be counted, living ones
 * always are: the cache is merged with no other, since it has a constructor. Objects that KFENCE guards lie
 * elsewhere and are not counted.
 */
#define SLAB_OBJECTS "/sys/kernel/slab/userfaultfd_ctx_cache/objects"
#define KFENCE_MS    "/sys/module/kfence/parameters/sample_interval"

bool userfaults_text_none(const char *text)
{
	return text[0] == '0' && strchr(" \n", text[1]);
}

static bool host_has_none(void)
{
	char text[256];

	if (task_read_file(AT_FDCWD, SLAB_OBJECTS, text, sizeof(text)) < 0 ||
	    !userfaults_text_none(text))
		return false;
	return task_read_file(AT_FDCWD, KFENCE_MS, text, sizeof(text)) == -ENOENT ||
	       userfaults_text_none(text);
}

void userfaults_forget(struct userfaults *faults)
{
	free(faults->range);
	*faults = (struct userfaults){ 0 };
}

static int range_add(struct userfaults *faults, const struct proc_mapping *m)
{
	struct userfault_range *grown = array_grow(faults->range, faults->n, &faults->room,
						   sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	faults->range = grown;
	faults->range[faults->n++] = (struct userfault_range){ m->start, m->end };
	return 0;
}

static int smaps_read(struct userfaults *faults, const struct task *task)
{
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	struct proc_mapping m;
	int err = task_smaps_open(&maps, task->thread), n = 0;

	while (!err && (n = task_smaps_userfault(&maps, &m)) > 0)
		err = range_add(faults, &m);
	return err ?: n;
}

int userfaults_learn(struct userfaults *faults, const struct task *task, bool anew)
{
	int err;

	if (!anew && faults->tgid == task->tgid && faults->start_ticks == task->stat.start_ticks)
		return 0;
	userfaults_forget(faults);
	if (host_has_none()) /* there may be one by the next slice: not kept */
		return 0;
	err = smaps_read(faults, task);
	if (err) {
		userfaults_forget(faults);
		return err;
	}
	faults->tgid = task->tgid;
	faults->start_ticks = task->stat.start_ticks;
	return 0;
}

bool userfaults_serve(const struct userfaults *faults, uint64_t start, uint64_t end)
{
	size_t low = 0, high = faults->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (faults->range[middle].end <= start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < faults->n && faults->range[low].start < end;
}
