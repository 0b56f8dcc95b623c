/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an ELF file says: the symbol at an address, where a function is, which C library a program
 * is made for, and its build id.
 * The file may be anything that somebody calls a library: nothing here trusts it, and files and
 * tables beyond the limits below are left alone.
 */
#ifndef DEADHOLD_SYMBOL_H
#define DEADHOLD_SYMBOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alert.h"
#include "cleanup.h"
#include "runtime.h"

#define SYMBOL_FILE_BYTES  (4ull << 30)
#define SYMBOL_TABLE_BYTES (24u << 20) /* a million symbols: some 20 ms */

struct symbols;

/*
 * Opens path below directory fd `dir` for reading, only if it is a regular file: a FIFO, a device or
 * a terminal is never opened at all. `confined`: the path is resolved as if dir were the root, and no
 * component may be a symbolic link (the kernel's own names of mapped files have none); otherwise a
 * final magic link such as /proc/PID/exe is followed. Returns the fd or -errno: -EINVAL when it is
 * no regular file, -EFBIG when it is beyond the limit.
 */
int symbol_file_open(int dir, const char *path, bool confined);

/* Takes over fd. NULL with errno: EINVAL when it is no executable or library. */
struct symbols *symbols_new(int fd);
void symbols_free(struct symbols *symbols);

static inline void cleanup_symbols(struct symbols **symbols)
{
	symbols_free(*symbols);
}
#define _cleanup_symbols_ _cleanup_(cleanup_symbols)

/*
 * What is to be added to the file's own addresses (st_value, p_vaddr) to get those in the process
 * where the file's lowest mapping starts at `start` with file offset `offset`. 0, or -ENOENT when no
 * segment starts there.
 */
int symbols_bias(const struct symbols *symbols, uint64_t start, uint64_t offset, uint64_t *bias);

/* Whether that address is in a writable segment: data, or bss to its last byte. */
bool symbols_writable(const struct symbols *symbols, uint64_t vaddr);

struct symbol_query {
	uint64_t vaddr; /* in the file's own addresses */
	char *name;	/* receives "name" or "name+0xN"; untouched when nothing covers vaddr */
	size_t size;	/* of name, at least 2 */
	bool code;	/* a function is asked for; else data */
	uint64_t found_value, found_size; /* the symbol; size 0: none */
};

/*
 * The smallest data symbol (no function, no thread-local variable), or the smallest function, over each
 * vaddr: from .symtab, and where that leaves one unnamed, from .dynsym too.
 */
void symbols_find(struct symbols *symbols, struct symbol_query *queries, size_t n);

/* In hexadecimal; "" where the file has none. */
void symbols_build_id(const struct symbols *symbols, char out[BUILD_ID_BYTES + 1]);

/*
 * Calls `found` for every definition of a function that has one of these names (names[which]): from
 * .dynsym, and for names that are not there from .symtab. `offset`: where in the file its code is;
 * `bytes`: how much of it, 0 where the file does not say. Several names and versions can mean the same
 * code. 0, or -ENOEXEC when the file is for another machine, -EFBIG when a table is beyond the limit.
 */
typedef void symbols_function(void *context, size_t which, uint64_t offset, uint64_t bytes);
int symbols_functions(struct symbols *symbols, const char *const *names, size_t n,
		      symbols_function *found, void *context);

/* The first 4 bytes of the data of that name in .dynsym; 0: there is none. */
uint32_t symbols_word(struct symbols *symbols, const char *name);

/* Where that data is, in the file's own addresses, and how much of it. False: there is none. */
bool symbols_data(struct symbols *symbols, const char *name, uint64_t *vaddr, uint64_t *bytes);

/*
 * The libc that the program brings or asks for, where that can be proven:
 *   dynamic, and glibc's own libraries: by the interpreter's name (ld-musl-*, ld-linux*);
 *   musl's own library, which is its own interpreter: by a function of its start code in .dynsym;
 *   static glibc: by the ABI tag note, which glibc's start files carry and strip keeps;
 *   static musl: by two of its internal function names, which strip removes: a stripped one, like
 *   a program without any libc (Go), stays LIBC_UNKNOWN.
 */
enum lock_libc symbols_libc(struct symbols *symbols);

/* The runtimes that the program has in it, by its sections: enum runtime. */
uint32_t symbols_runtimes(struct symbols *symbols);

#endif
