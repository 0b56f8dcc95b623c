/* SPDX-License-Identifier: GPL-2.0-only */
/* Which processes are watched: all; or those that -p names, and with --deep-children whom they fork. */
#ifndef DEADHOLD_FILTER_BPF_H
#define DEADHOLD_FILTER_BPF_H

#include "maps.bpf.h"

/* Filled by the agent from the options. Where nothing is filtered, the checks are no code at all. */
const volatile struct send_filter send_filter __weak = {};

/* TGIDs of children, and of theirs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FOLLOWED);
	__type(key, __u32);
	__type(value, __u32);
} followed SEC(".maps") __weak;

static __always_inline bool filter_has(const volatile __u32 *list, __u32 n, __u32 id)
{
	__u32 i;

	for (i = 0; i < SEND_FILTER_IDS && i < n; i++) {
		if (list[i] == id)
			return true;
	}
	return !n;
}

static __always_inline bool filter_target(__u32 tgid)
{
	return filter_has(send_filter.target, send_filter.n_targets, tgid) ||
	       (send_filter.children && bpf_map_lookup_elem(&followed, &tgid));
}

#endif
