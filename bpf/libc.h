/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libc's own thread descriptor says of the end of a thread: offsets in struct pthread.
 *
 *   glibc x86_64, 2.17 to 2.43 (nptl/descr.h): tid at robust_head − 16; cancelhandling at
 *   robust_head + 40 (after the 24-byte head, cleanup and cleanup_jmp_buf). Bits as nptl has them.
 *   The result pointer moves between releases: 1,576 bytes into the descriptor in 2.36, 1,584 in
 *   others; what lies there in the respective other ones (joinid, scheduling parameters) is never all
 *   ones. It confirms a cancellation, and is never used alone.
 *   2.43: a joinable thread takes its tid away itself before it ends, and what the kernel clears then
 *   (CLONE_CHILD_CLEARTID), and pthread_join() waits for, is no more tid but joinstate.
 *   musl 1.1.22 to 1.2.6 x86_64 (src/internal/pthread_impl.h), from the thread pointer on.
 */
#ifndef DEADHOLD_LIBC_H
#define DEADHOLD_LIBC_H

#define GLIBC_THREAD_SELF	16 /* tcbhead_t: the descriptor's own address, as at 0 */
#define GLIBC_THREAD_TID	720
#define GLIBC_THREAD_ROBUST	736
#define GLIBC_THREAD_JOINSTATE	1576
#define GLIBC_JOINABLE		2u
#define GLIBC_ROBUST_TO_TID	(-16)
#define GLIBC_ROBUST_TO_CANCEL	40
#define GLIBC_CANCELED		0x08u
#define GLIBC_EXITING		0x10u
#define GLIBC_CANCEL_BITS	0x7fu
#define GLIBC_ROBUST_TO_RESULT	(1576 - GLIBC_THREAD_ROBUST)
#define PTHREAD_CANCELED_RESULT (~0ull)

#define MUSL_SELF	  0
#define MUSL_PREV	  16
#define MUSL_NEXT	  24
#define MUSL_TID	  48
#define MUSL_DETACH_STATE 56
#define MUSL_CANCEL	  60
#define MUSL_RESULT	  112
#define MUSL_DT_EXITED	  0u
#define MUSL_DT_EXITING	  1u

/* The head's futex_offset tells whose list it is. */
#define GLIBC_FUTEX_OFFSET (-32)
#define MUSL_FUTEX_OFFSET  (-28)

#endif
