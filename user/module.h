/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A loaded object, as a walk over a process's mappings shows it: its file, and where its lowest part is
 * mapped. The part of .bss that lies beyond the file is an anonymous mapping right behind the file's last
 * one.
 */
#ifndef DEADHOLD_MODULE_H
#define DEADHOLD_MODULE_H

#include <stdint.h>

#include "symbol.h"
#include "task.h"

struct module {
	uint64_t start, offset, end; /* of the file's mappings so far; end 0: none */
	uint64_t device, inode;
	char path[PATH_BYTES];
};

/* Follows the walk over the mappings from low to high addresses: to which module does this one belong? */
void module_follow(struct module *module, const struct proc_mapping *m);

/*
 * The module's file, and what is to be added to its own addresses (symbols_bias()). NULL: it can't be had,
 * is not the one that is mapped, or is no ELF file.
 */
struct symbols *module_symbols(const struct task *task, const struct module *module,
			       uint64_t *bias);

#endif
