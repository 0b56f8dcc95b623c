/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mutex of 0, 1 and 2, as Rust's and many a program's own. What it guards lies behind it, and is by
 * chance what glibc has in a mutex that is held.
 */
#ifndef LOCK_MIMIC_H
#define LOCK_MIMIC_H

#include "say.h"
#include <stdint.h>

#define MIMIC_BITSET 1 /* it waits as Rust's does */
#define MIMIC_INLINE 2 /* by a system call in the program's own code */
#define MIMIC_SELF   4 /* "the owner" is who waits; else nobody in this process */
#define MIMIC_NOBODY 3999999

struct mimic {
	uint32_t word, count, owner, users, kind, rest[5]; /* as glibc's: struct_mutex.h */
	uint32_t how;
};

static inline void mimic_sleep(struct mimic *mimic)
{
	uint32_t any = mimic->how & MIMIC_BITSET ? ~0u : 0;
	long op = mimic->how & MIMIC_BITSET ? 128 | 9 : 128;

#ifdef __x86_64__
	if (mimic->how & MIMIC_INLINE) {
		register long timeout __asm__("r10") = 0, second __asm__("r8") = 0;
		register long bits __asm__("r9") = any;
		long result = SYS_futex;

		__asm__ volatile("syscall"
				 : "+a"(result)
				 : "D"(mimic), "S"(op), "d"(2L), "r"(timeout), "r"(second),
				   "r"(bits)
				 : "rcx", "r11", "memory");
		return;
	}
#endif
	syscall(SYS_futex, mimic, op, 2, NULL, NULL, any);
}

static inline int mimic_take(struct mimic *mimic, uint32_t word)
{
	uint32_t free = 0;

	if (word == 2)
		return !__atomic_exchange_n(&mimic->word, 2, __ATOMIC_ACQUIRE);
	return __atomic_compare_exchange_n(&mimic->word, &free, word, 0, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static inline void mimic_lock(struct mimic *mimic)
{
	if (mimic_take(mimic, 1))
		return;
	if (mimic->how & MIMIC_SELF)
		mimic->owner = (uint32_t)syscall(SYS_gettid);
	while (!mimic_take(mimic, 2))
		mimic_sleep(mimic);
}

static inline void mimic_unlock(struct mimic *mimic)
{
	if (__atomic_exchange_n(&mimic->word, 0, __ATOMIC_RELEASE) == 2)
		syscall(SYS_futex, mimic, 1 | 128, 1);
}

#endif
