// SPDX-License-Identifier: GPL-2.0-only
/* Whose code waits for a futex: by file, function and instruction. And of this C library's own functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "caller.h"

#define GLIBC (1u << LIBC_GLIBC)
#define MUSL  (1u << LIBC_MUSL)

static void dynamic_programs(void **state)
{
	static const char *const libraries[] = {
		"/usr/lib/x86_64-linux-gnu/libc.so.6",
		"/lib64/libc-2.17.so",
		"/lib64/libpthread-2.17.so",
		"/usr/lib/libpthread.so.0",
		"/usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)",
	};
	static const char *const others[] = {
		"/opt/app/app", "/usr/lib/libfoo.so",	    "/usr/lib/libc.so.6.d/x", "",
		"[vdso]",	"/lib/ld-musl-x86_64.so.1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries); i++) {
		assert_int_equal(caller_of(libraries[i], "", false, GLIBC, LIBC_GLIBC),
				 CALLER_LOCK);
		/* Rust's standard library, and whoever has no wrapper of his own. */
		assert_int_equal(caller_of(libraries[i], "syscall+0x1d", true, GLIBC, LIBC_GLIBC),
				 CALLER_OTHER);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_int_equal(caller_of(others[i], "", false, GLIBC, LIBC_GLIBC), CALLER_OTHER);
	assert_int_equal(caller_of("/lib/ld-musl-x86_64.so.1", "", false, MUSL, LIBC_MUSL),
			 CALLER_OTHER);
}

static void static_programs(void **state)
{
	static const struct {
		const char *symbol;
		enum caller caller;
	} of[] = {
		{ "__lll_lock_wait+0x25", CALLER_LOCK },
		{ "__lll_lock_wait_private", CALLER_LOCK },
		{ "___pthread_mutex_lock+0x1b0", CALLER_LOCK },
		{ "__pthread_mutex_lock_full", CALLER_LOCK },
		{ "__pthread_rwlock_wrlock", CALLER_LOCK },
		{ "__futex_abstimed_wait_common", CALLER_LOCK },
		{ "my_lock+0x12", CALLER_OTHER },
		{ "runtime.futex.abi0", CALLER_OTHER },
		{ "", CALLER_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
		assert_int_equal(caller_of("/app", of[i].symbol, false, 0, LIBC_GLIBC),
				 of[i].caller);
	/* Even stripped, this one is known. */
	assert_int_equal(caller_of("/app", "", true, 0, LIBC_GLIBC), CALLER_OTHER);
	/* No C library, as in Go, or another one. */
	assert_int_equal(caller_of("/app", "", false, 0, LIBC_UNKNOWN), CALLER_OTHER);
	assert_int_equal(caller_of("/app", "", false, 0, LIBC_MUSL), CALLER_OTHER);
}

static void nothing(void **state)
{
	static const uint8_t code[CALLER_BYTES];

	(void)state;
	assert_false(caller_is_wrapper(code));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(dynamic_programs),
		cmocka_unit_test(static_programs),
		cmocka_unit_test(nothing),
	};

	return cmocka_run_group_tests_name("caller", tests, NULL, NULL);
}
