// SPDX-License-Identifier: GPL-2.0-only
#include "caller.h"

#include <stddef.h>
#include <string.h>

#include "proc.h"

bool caller_is_wrapper(const uint8_t code[CALLER_BYTES])
{
#ifdef __x86_64__ /* mov 8(%rsp), %r9; syscall */
	static const uint8_t wrapper[CALLER_BYTES] = { 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05 };

	return !memcmp(code, wrapper, CALLER_BYTES);
#else
	(void)code;
	return false;
#endif
}

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* Until 2.34 its locks were in a library of their own. */
static bool is_glibc(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	return proc_path_libc(path, strlen(path)) == LIBC_GLIBC ||
	       starts(name, "libpthread.so.0") || starts(name, "libpthread-2.");
}

/* nptl/: the functions of a static program in which the system call of a lock may lie. */
static bool is_lock_function(const char *symbol)
{
	static const char *const names[] = {
		"__lll_",	   "__pthread_mutex_",	"___pthread_mutex_",
		"pthread_mutex_",  "__pthread_rwlock_", "___pthread_rwlock_",
		"pthread_rwlock_", "__futex_abstimed_", "__pthread_cond_",
		"pthread_cond_",   "___pthread_cond_",	"__futex_lock_pi",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (starts(symbol, names[i]))
			return true;
	return false;
}

enum caller caller_of(const char *path, const char *symbol, bool wrapper, uint32_t libcs,
		      enum lock_libc libc)
{
	if (wrapper)
		return CALLER_OTHER;
	if (is_glibc(path))
		return CALLER_LOCK;
	if (libcs & (1u << LIBC_GLIBC | 1u << LIBC_MUSL) || libc != LIBC_GLIBC || !*path)
		return CALLER_OTHER;
	/* A static program. */
	if (!*symbol)
		return CALLER_UNKNOWN;
	return is_lock_function(symbol) ? CALLER_LOCK : CALLER_OTHER;
}
