// SPDX-License-Identifier: GPL-2.0-only
/* returns.c over code made by hand, and over bytes that are none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "returns.h"

static struct returns found;

/* The function is the first `bytes` bytes of the code. */
static int find(const void *code, size_t size, uint64_t bytes)
{
	int fd = memfd_create("code", MFD_CLOEXEC), error;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, code, size), size);
	error = returns_find(fd, 0, bytes, &found);
	close(fd);
	return error;
}

#define FIND(bytes, ...) \
	find((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), bytes)

static void assert_found(size_t n, ...)
{
	va_list offsets;
	size_t i, j;

	assert_int_equal(found.n, n);
	va_start(offsets, n);
	for (i = 0; i < n; i++) {
		uint64_t offset = va_arg(offsets, int);

		for (j = 0; j < n && found.offset[j] != offset; j++)
			;
		assert_true(j < n);
	}
	va_end(offsets);
}

#define NOP  0x90
#define RET  0xc3
#define REPZ 0xf3
#define JE   0x74
#define JMP  0xeb

static void one_way(void **state)
{
	(void)state;
	assert_int_equal(FIND(2, NOP, RET), 0);
	assert_found(1, 1);
	assert_int_equal(FIND(2, REPZ, RET), 0);
	assert_found(1, 0);
	assert_int_equal(FIND(3, 0xc2, 8, 0), 0); /* ret 8 */
	assert_found(1, 0);
}

/* Both ways of a branch; and a byte of c3 in the midst of an instruction is no RET. */
static void two_ways(void **state)
{
	(void)state;
	assert_int_equal(FIND(9, JE, 6, 0xb8, RET, RET, RET, RET, RET, RET), 0);
	assert_found(2, 7, 8);
	/* a loop back to the entry */
	assert_int_equal(FIND(3, JE, -2, RET), 0);
	assert_found(1, 2);
}

/* Out of the function: a part of it elsewhere, or another function's body. */
static void jumps_out(void **state)
{
	(void)state;
	assert_int_equal(FIND(2, JMP, 2, RET, RET, NOP, RET), 0);
	assert_found(1, 5);
}

/* What follows a call at the end of the function is another one's. */
static void calls_that_do_not_return(void **state)
{
	(void)state;
	assert_int_equal(FIND(8, JE, 5, 0xe8, 0, 0, 0, 0, RET, RET), 0);
	assert_found(1, 7);
	assert_int_equal(FIND(8, JE, 1, RET, 0xe8, 0, 0, 0, 0, RET, RET), 0);
	assert_found(1, 2);
	assert_int_equal(FIND(5, JE, 1, RET, 0x0f, 0x0b, RET), 0); /* ud2 */
	assert_found(1, 2);
}

static void refused(void **state)
{
	static uint8_t many[400], large[20000];
	size_t i;

	(void)state;
	assert_int_equal(FIND(4, JE, 2, 0xff, 0xe0, RET), -ENOTSUP); /* jmp *%rax */
	assert_int_equal(FIND(2, JMP, -2), -ENOTSUP);		     /* for ever */
	assert_int_equal(FIND(1, 0x06), -EILSEQ);		     /* push %es */
	assert_int_equal(FIND(4, NOP), -EILSEQ);		     /* the file ends */
	assert_int_equal(FIND(2, JMP, 0x7f), -EILSEQ);		     /* out of it */
	assert_int_equal(FIND(2, JMP, -128), -EILSEQ);		     /* before it */
	for (i = 0; i < sizeof(many); i += 3)
		memcpy(many + i, (const uint8_t[]){ JE, 1, RET }, i + 3 <= sizeof(many) ? 3 : 1);
	assert_int_equal(find(many, sizeof(many), sizeof(many)), -E2BIG);
	memset(large, NOP, sizeof(large));
	assert_int_equal(find(large, sizeof(large), sizeof(large)), -E2BIG);
}

/* Whatever the bytes are, it comes to an end. */
static void any_bytes(void **state)
{
	uint8_t code[512];
	uint32_t random = 1;
	int i;
	size_t n;

	(void)state;
	for (i = 0; i < 300; i++) {
		for (n = 0; n < sizeof(code); n++) {
			random = random * 1664525 + 1013904223;
			code[n] = random >> 24;
		}
		find(code, sizeof(code), random >> 8);
		assert_true(found.n <= RETURNS_LIMIT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_way),   cmocka_unit_test(two_ways),
		cmocka_unit_test(jumps_out), cmocka_unit_test(calls_that_do_not_return),
		cmocka_unit_test(refused),   cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
