// SPDX-License-Identifier: GPL-2.0-only
/* What a process runs on, and which of its signals are then folded. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"
#include "runtime.h"
#include "symbol.h"

#define USR2 12

/* This program pretends to be .NET's and D's. */
static const int managed __attribute__((section("__managedcode"), used)) = 1;
static const int modules __attribute__((section("minfo"), used)) = 1;

static uint32_t library(const char *path)
{
	return runtime_of_library(path, strlen(path));
}

static void libraries(void **state)
{
	(void)state;
	assert_int_equal(library("/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so"),
			 RUNTIME_JVM);
	assert_int_equal(library("libjvm.so"), RUNTIME_JVM);
	assert_int_equal(library("/usr/share/dotnet/libcoreclr.so"), RUNTIME_DOTNET);
	assert_int_equal(library("/usr/lib/libmonosgen-2.0.so.1.0.0"), RUNTIME_MONO);
	assert_int_equal(library("/usr/lib/libgc.so.1.5.1"), RUNTIME_BOEHM);
	assert_int_equal(library("/usr/lib/libgc.so.1.5.1 (deleted)"), RUNTIME_BOEHM);
	assert_int_equal(library("/usr/lib/libruby-3.1.so.3.1.2"), RUNTIME_RUBY);
	assert_int_equal(library("/usr/lib/libruby.so.2.7"), RUNTIME_RUBY);
	assert_int_equal(library("/usr/lib/libgdruntime.so.3.0.0"), RUNTIME_D);
	assert_int_equal(library("/opt/jdk/libjvm.so (deleted)"), RUNTIME_JVM);
	assert_int_equal(library("/usr/bin/python3.11"), RUNTIME_PYTHON);
	assert_int_equal(library("/opt/app/libpython3.12.so.1.0 (deleted)"), RUNTIME_PYTHON);
}

static void other_libraries(void **state)
{
	(void)state;
	assert_int_equal(library(""), 0);
	assert_int_equal(library("/"), 0);
	assert_int_equal(library("/usr/lib/libjvm.so/data"), 0);
	assert_int_equal(library("/usr/lib/notlibjvm.so"), 0);
	assert_int_equal(library("/usr/lib/libjvm.sox"), 0);
	assert_int_equal(library("/usr/lib/libgc"), 0);
	assert_int_equal(library("/usr/lib/libjvm.so.d/libc.so.6"), 0);
	assert_int_equal(library("[heap]"), 0);
	assert_int_equal(library("/usr/lib/python3/dist-packages/"
				 "apt_pkg.cpython-311-x86_64-linux-gnu.so"),
			 0);
	assert_int_equal(library("/usr/lib/libgcc_s.so.1"), 0);
	/* Of a path that is longer than told, the rest is not looked at. */
	assert_int_equal(runtime_of_library("/lib/libjvm.so", strlen("/lib/libjvm")), 0);
}

static void executables(void **state)
{
	(void)state;
	assert_int_equal(runtime_of_executable("/usr/bin/mono-sgen"), RUNTIME_MONO);
	assert_int_equal(runtime_of_executable("/usr/lib/sbcl/sbcl"), RUNTIME_SBCL);
	assert_int_equal(runtime_of_executable("sbcl"), RUNTIME_SBCL);
	assert_int_equal(runtime_of_executable("/usr/bin/sbcl-wrapper"), 0);
	assert_int_equal(runtime_of_executable("/opt/sbcl/bin/web"), 0);
	assert_int_equal(runtime_of_executable("/"), 0);
	assert_int_equal(runtime_of_executable(""), 0);
}

static void sections_of_a_program(void **state)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	_cleanup_symbols_ struct symbols *symbols = symbols_new(self);

	(void)state;
	(void)managed, (void)modules;
	assert_non_null(symbols);
	assert_int_equal(symbols_runtimes(symbols), RUNTIME_DOTNET | RUNTIME_D);
	assert_int_equal(runtime_of_section(".text"), 0);
	assert_int_equal(runtime_of_section(""), 0);
}

/* --- the policy --- */

static struct ev_signal sent(uint32_t signal)
{
	return (struct ev_signal){
		.sender = { .proc.tgid = 100, .tid = 101 },
		.target = { .proc.tgid = 100, .tid = 102 },
		.signal = signal,
		.call = SEND_TGKILL,
	};
}

static void folded_by_runtime(void **state)
{
	struct ev_signal ev;

	(void)state;
	ev = sent(USR2);
	assert_int_equal(policy_runtimes(&ev), RUNTIME_JVM | RUNTIME_D | RUNTIME_SBCL);
	ev = sent(30);
	assert_int_equal(policy_runtimes(&ev), RUNTIME_MONO | RUNTIME_BOEHM);
	ev = sent(62);
	assert_int_equal(policy_runtimes(&ev), RUNTIME_JVM);
	ev = sent(34);
	assert_int_equal(policy_runtimes(&ev), RUNTIME_DOTNET | RUNTIME_D);
	ev.call = SEND_TKILL; /* as musl does */
	assert_int_equal(policy_runtimes(&ev), RUNTIME_DOTNET | RUNTIME_D | RUNTIME_MUSL);
}

/* What could be somebody's mistake is no runtime's. */
static void never_folded(void **state)
{
	struct ev_signal ev;

	(void)state;
	ev = sent(15);
	assert_int_equal(policy_runtimes(&ev), 0);
	ev = sent(USR2);
	ev.flags = SIGNAL_FATAL;
	assert_int_equal(policy_runtimes(&ev), 0);
	ev.flags = SIGNAL_GROUP;
	assert_int_equal(policy_runtimes(&ev), 0);
	ev = sent(USR2);
	ev.sender.proc.tgid = 99;
	assert_int_equal(policy_runtimes(&ev), 0);
	ev = sent(USR2);
	ev.flags = SIGNAL_NO_SENDER;
	assert_int_equal(policy_runtimes(&ev), 0);
	ev = sent(0);
	assert_int_equal(policy_runtimes(&ev), 0);
	ev = sent(65);
	assert_int_equal(policy_runtimes(&ev), 0);
}

static void table_is_sound(void **state)
{
	const struct policy_rule *rules;
	size_t n;

	(void)state;
	rules = policy_rules(&n);
	assert_true(n > 0 && n <= NOISE_RULES);
	for (size_t i = 0; i < n; i++) {
		const struct noise_rule *rule = &rules[i].rule;

		assert_true(rule->signals);
		assert_true(rules[i].reason[0] && strlen(rules[i].reason) < 80);
		/* Nothing that another process sent, but for what no process did. */
		assert_true(rule->relation >= NOISE_SAME_PROCESS ||
			    !(rule->calls & ~(1u << SEND_TIMER | 1u << SEND_KERNEL)));
		assert_true(rule->relation >= NOISE_SAME_PROCESS || rule->calls);
		/* A runtime is asked for only where it is known to have a handler. */
		assert_true(!rule->runtimes || rule->harmless);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(libraries),	     cmocka_unit_test(other_libraries),
		cmocka_unit_test(executables),	     cmocka_unit_test(sections_of_a_program),
		cmocka_unit_test(folded_by_runtime), cmocka_unit_test(never_folded),
		cmocka_unit_test(table_is_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
