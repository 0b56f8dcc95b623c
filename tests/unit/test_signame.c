// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "signame.h"

static void assert_name(int number, enum lock_libc libc, enum signal_origin origin,
			const char *expected)
{
	char name[SIGNAL_NAME_BYTES];

	assert_string_equal(signal_name(number, libc, origin, name), expected);
}

/* The C library of this build knows the same names. */
static void test_standard_names(void **state)
{
	char expected[SIGNAL_NAME_BYTES];

	(void)state;
	for (int number = 1; number < 32; number++) {
		/* glibc prefers the older of two names */
		const char *name = number == SIGIO ? "IO" : sigabbrev_np(number);

		snprintf(expected, sizeof(expected), "SIG%s", name);
		for (int libc = 0; libc < LIBCS; libc++)
			assert_name(number, libc, ORIGIN_OTHER, expected);
		assert_non_null(signal_meaning(number, LIBC_GLIBC, ORIGIN_OTHER));
	}
}

static void test_realtime_names(void **state)
{
	(void)state;
	assert_name(34, LIBC_GLIBC, ORIGIN_OTHER, "SIGRTMIN");
	for (int libc = 0; libc < LIBCS; libc++) {
		assert_name(35, libc, ORIGIN_OTHER, "SIGRTMIN+1");
		assert_name(37, libc, ORIGIN_OTHER, "SIGRTMIN+3");
		assert_name(49, libc, ORIGIN_OTHER, "SIGRTMIN+15");
		assert_name(50, libc, ORIGIN_OTHER, "SIGRTMAX-14");
		assert_name(63, libc, ORIGIN_OTHER, "SIGRTMAX-1");
		assert_name(64, libc, ORIGIN_OTHER, "SIGRTMAX");
	}
}

static void test_names_of_libc(void **state)
{
	(void)state;
	assert_name(32, LIBC_GLIBC, ORIGIN_OWN_TKILL, "SIGCANCEL");
	assert_name(32, LIBC_GLIBC, ORIGIN_TIMER, "SIGTIMER");
	assert_name(32, LIBC_GLIBC, ORIGIN_OTHER, "SIG32");
	assert_name(33, LIBC_GLIBC, ORIGIN_OTHER, "SIGSETXID");
	assert_name(33, LIBC_GLIBC, ORIGIN_OWN_TKILL, "SIGSETXID");

	assert_name(32, LIBC_MUSL, ORIGIN_OTHER, "SIGTIMER");
	assert_name(32, LIBC_MUSL, ORIGIN_OWN_TKILL, "SIGTIMER");
	assert_name(33, LIBC_MUSL, ORIGIN_OWN_TKILL, "SIGCANCEL");
	assert_name(33, LIBC_MUSL, ORIGIN_OTHER, "SIG33");
	assert_name(34, LIBC_MUSL, ORIGIN_OTHER, "SIGSYNCCALL");

	assert_name(32, LIBC_UNKNOWN, ORIGIN_OWN_TKILL, "SIG32");
	assert_name(33, LIBC_UNKNOWN, ORIGIN_TIMER, "SIG33");
	assert_name(34, LIBC_UNKNOWN, ORIGIN_OTHER, "SIG34");
}

static void test_names_of_what_is_none(void **state)
{
	(void)state;
	assert_name(0, LIBC_GLIBC, ORIGIN_OTHER, "SIG0");
	assert_name(65, LIBC_GLIBC, ORIGIN_OTHER, "SIG65");
	assert_name(-1, LIBC_GLIBC, ORIGIN_OTHER, "SIG-1");
	assert_name(INT32_MIN, LIBC_GLIBC, ORIGIN_OTHER, "SIG-2147483648");
}

static void test_origin(void **state)
{
	struct signal_info signal = { .number = 32, .has_code = true, .code = SI_TKILL };

	(void)state;
	assert_int_equal(signal_origin(&signal), ORIGIN_OTHER);
	signal.from_same_process = true;
	assert_int_equal(signal_origin(&signal), ORIGIN_OWN_TKILL);
	signal.code = SI_QUEUE;
	assert_int_equal(signal_origin(&signal), ORIGIN_OTHER);
	signal.code = SI_TIMER;
	assert_int_equal(signal_origin(&signal), ORIGIN_TIMER);
	signal.has_code = false;
	assert_int_equal(signal_origin(&signal), ORIGIN_OTHER);
}

static void test_meanings(void **state)
{
	(void)state;
	assert_string_equal(signal_meaning(1, LIBC_UNKNOWN, ORIGIN_OTHER), "hang-up");
	assert_string_equal(signal_meaning(32, LIBC_GLIBC, ORIGIN_OWN_TKILL),
			    "thread cancellation, pthread_cancel");
	assert_string_equal(signal_meaning(32, LIBC_GLIBC, ORIGIN_OTHER),
			    "kept by C libraries for themselves");
	assert_string_equal(signal_meaning(40, LIBC_GLIBC, ORIGIN_OTHER),
			    "real-time, the program's own");
	assert_string_equal(signal_meaning(0, LIBC_GLIBC, ORIGIN_OTHER),
			    "asks whether the target exists");
	assert_null(signal_meaning(65, LIBC_GLIBC, ORIGIN_OTHER));
	assert_null(signal_meaning(-1, LIBC_GLIBC, ORIGIN_OTHER));
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		int number;
	} good[] = {
		{ "15", 15 },	      { "SIGTERM", 15 },    { "term", 15 },
		{ "SigTerm", 15 },    { "1", 1 },	    { "64", 64 },
		{ "09", 9 },	      { "SIG33", 33 },	    { "RTMIN", 34 },
		{ "SIGRTMIN+0", 34 }, { "SIGRTMIN+3", 37 }, { "rtmin+30", 64 },
		{ "SIGRTMAX", 64 },   { "RTMAX-2", 62 },    { "sigrtmax-30", 34 },
		{ "IO", 29 },	      { "SIGPOLL", 29 },    { "CLD", 17 },
		{ "IOT", 6 },	      { "SIGSETXID", 33 },  { "SYNCCALL", 34 },
		{ "SIGTIMER", 32 },   { "STKFLT", 16 },	    { "usr1", 10 },
	};
	static const char *const bad[] = {
		"",	  "SIG",	"0",	   "SIG0",     "65",	  "-1",
		"+5",	  " 15",	"15 ",	   "1x",       "123",	  "999999999999",
		"TERMX",  "SIGSIGTERM", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAX-31",
		"RTMIN+", "RTMIN+-1",	"RTMINX",  "RTMAX-",   "CANCEL",  "SIGCANCEL",
		"EXIT",	  "RTMIN+ 1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(signal_parse(good[i].text), good[i].number);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(signal_parse(bad[i]), -EINVAL);
}

/* What we print can be given back, but for SIGCANCEL, which is two numbers. */
static void test_parse_reads_names(void **state)
{
	char name[SIGNAL_NAME_BYTES];

	(void)state;
	for (int number = 1; number <= SIGNAL_MAX; number++)
		for (int libc = 0; libc < LIBCS; libc++)
			assert_int_equal(
				signal_parse(signal_name(number, libc, ORIGIN_OTHER, name)),
				number);
}

static void test_default_fatal(void **state)
{
	static const int not_fatal[] = { 0,	  SIGCHLD, SIGCONT, SIGURG, SIGWINCH,
					 SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };

	(void)state;
	for (int number = 0; number <= SIGNAL_MAX; number++) {
		bool fatal = true;

		for (size_t i = 0; i < sizeof(not_fatal) / sizeof(not_fatal[0]); i++)
			fatal &= number != not_fatal[i];
		assert_int_equal(signal_default_fatal(number), fatal);
	}
	assert_false(signal_default_fatal(-1));
	assert_false(signal_default_fatal(65));
}

static void test_code_names(void **state)
{
	(void)state;
	assert_string_equal(si_code_name(15, 0), "SI_USER");
	assert_string_equal(si_code_name(15, 0x80), "SI_KERNEL");
	assert_string_equal(si_code_name(15, -1), "SI_QUEUE");
	assert_string_equal(si_code_name(32, -2), "SI_TIMER");
	assert_string_equal(si_code_name(10, -6), "SI_TKILL");
	assert_string_equal(si_code_name(SIGSEGV, SEGV_MAPERR), "SEGV_MAPERR");
	assert_string_equal(si_code_name(SIGCHLD, CLD_CONTINUED), "CLD_CONTINUED");
	assert_string_equal(si_code_name(SIGIO, POLL_HUP), "POLL_HUP");
	assert_string_equal(si_code_name(SIGBUS, BUS_MCEERR_AO), "BUS_MCEERR_AO");
	assert_string_equal(si_code_name(SIGILL, ILL_BADSTK), "ILL_BADSTK");
	assert_string_equal(si_code_name(SIGFPE, FPE_FLTSUB), "FPE_FLTSUB");
	assert_string_equal(si_code_name(SIGTRAP, 2), "TRAP_TRACE");
	assert_string_equal(si_code_name(SIGSYS, 1), "SYS_SECCOMP");
	assert_null(si_code_name(SIGTERM, 1));
	assert_null(si_code_name(SIGSEGV, 50));
	assert_null(si_code_name(40, 1));
	assert_null(si_code_name(10, -1000));
	assert_null(si_code_name(-1, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_standard_names), cmocka_unit_test(test_realtime_names),
		cmocka_unit_test(test_names_of_libc),  cmocka_unit_test(test_names_of_what_is_none),
		cmocka_unit_test(test_origin),	       cmocka_unit_test(test_meanings),
		cmocka_unit_test(test_parse),	       cmocka_unit_test(test_parse_reads_names),
		cmocka_unit_test(test_default_fatal),  cmocka_unit_test(test_code_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
