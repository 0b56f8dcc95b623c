/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel programs, as they are compiled for this kernel: bpf/compat.bpf.h says which are old. */
#ifndef DEADHOLD_OBJECT_H
#define DEADHOLD_OBJECT_H

#include <stdbool.h>

struct deadhold_bpf; /* deadhold.skel.h */

/* Of these, is it the one for old kernels that this one takes? Asked once. Needs the rights to load. */
bool object_is_old(void);

/* Opens that one, with nothing loaded. `tasks`: rows for them, in an old one. NULL with errno. */
struct deadhold_bpf *object_new(unsigned int tasks);

#endif
