/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose code is it that waits for a futex? What lies around a futex word can be a mutex of glibc's to the
 * last bit and be something else; the instruction behind which the thread sleeps tells. Pure functions.
 */
#ifndef DEADHOLD_CALLER_H
#define DEADHOLD_CALLER_H

#include <stdbool.h>
#include <stdint.h>

#include "alert.h"

enum caller {
	CALLER_UNKNOWN, /* a static program without symbols, or not readable */
	CALLER_LOCK,	/* the C library itself, for a lock of its own */
	CALLER_OTHER,	/* somebody else, through syscall(3) or in code of his own */
};

/*
 * Of the code, the bytes up to and with the system call's instruction. x86_64's syscall(3) takes the sixth
 * argument off the stack last (sysdeps/unix/sysv/linux/x86_64/syscall.S, the same since 2.3), as nothing else
 * in the library does before it.
 */
#define CALLER_BYTES 7
bool caller_is_wrapper(const uint8_t code[CALLER_BYTES]);

/*
 * Of a thread that waits as for a lock of glibc's. path, symbol: the file in which the code lies ("": in none)
 * and its function there ("": not known); wrapper: as above; libcs: of which libcs code is mapped in the
 * process, bit 1 << enum lock_libc; libc: the one it runs on.
 */
enum caller caller_of(const char *path, const char *symbol, bool wrapper, uint32_t libcs,
		      enum lock_libc libc);

#endif
