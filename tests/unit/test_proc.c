// SPDX-License-Identifier: GPL-2.0-only
/* The parsers of proc.c, over what the kernel writes and over what it never would. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proc.h"

/* A copy with no byte behind it: the sanitizer sees every read that goes too far. */
static char *exact(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	return copy;
}

static int stat_parse(const char *text, size_t len, struct proc_stat *stat)
{
	char *copy = exact(text, len);
	int err = proc_stat_parse(copy, len, stat);

	free(copy);
	return err;
}

#define STAT_REST                                                                              \
	" S 17 4242 4242 34816 -1 4194560 100 0 0 0 12 13 -14 15 20 0 7 0 987654321 1000 200 " \
	"18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"

static void stat_plain(void **state)
{
	static const char text[] = "4242 (worker)" STAT_REST;
	struct proc_stat stat;

	(void)state;
	assert_int_equal(stat_parse(text, sizeof(text) - 1, &stat), 0);
	assert_int_equal(stat.pid, 4242);
	assert_string_equal(stat.comm, "worker");
	assert_int_equal(stat.state, 'S');
	assert_int_equal(stat.ppid, 17);
	assert_int_equal(stat.flags, 4194560);
	assert_int_equal(stat.threads, 7);
	assert_int_equal(stat.start_ticks, 987654321);
	assert_int_equal(stat.processor, 1);
	/* Cut before it. */
	assert_int_equal(stat_parse(text, strstr(text, " 17 1 ") + 3 - text, &stat), 0);
	assert_int_equal(stat.processor, -1);
}

static int sched_parse(const char *text, uint64_t *ran_ns)
{
	char *copy = exact(text, strlen(text));
	int err = proc_sched_parse(copy, strlen(text), ran_ns);

	free(copy);
	return err;
}

static void sched(void **state)
{
	static const char *const wrong[] = {
		"",
		"se.exec_start",
		"se.exec_start : ",
		"se.exec_start : 12",
		"se.exec_start : 12.5",
		"se.exec_start : 12.0000005",
		"se.exec_start : -1.000000",
		"se.exec_start : 12.000000 ms",
		"se.exec_start : 18446744073709551615.000000",
		"xse.exec_start : 12.000000",
	};
	uint64_t ran_ns = 0;

	(void)state;
	/* A thread may have any name. */
	assert_int_equal(sched_parse("\nse.exec_start: (4242, #threads: 3)\n"
				     "-----------------------------------\n"
				     "se.exec_start                 :        386971.795527\n"
				     "se.vruntime                   :             1.000001\n",
				     &ran_ns),
			 0);
	assert_int_equal(ran_ns, 386971795527ull);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(sched_parse(wrong[i], &ran_ns), -EINVAL);
}

static void stat_hostile_comm(void **state)
{
	static const char *const comms[] = {
		"",   ")",   "(",	    "a) R 1 (b", ") Z 1 1 1 1",	   "a\nb",
		"\n", "   ", "\x1b[31mred", "\xff\xfe",	 "))))))))))))))", "a b) S 1 (c",
	};
	struct proc_stat stat;

	(void)state;
	for (size_t i = 0; i < sizeof(comms) / sizeof(*comms); i++) {
		char text[512];
		int len = snprintf(text, sizeof(text), "1 (%s)%s", comms[i], STAT_REST);

		assert_int_equal(stat_parse(text, len, &stat), 0);
		assert_string_equal(stat.comm, comms[i]);
		assert_int_equal(stat.ppid, 17);
		assert_int_equal(stat.start_ticks, 987654321);
	}
}

static void stat_long_comm(void **state)
{
	static const char text[] = "2 (kworker/u8:3-events_unbound_and_more)" STAT_REST;
	struct proc_stat stat;

	(void)state;
	assert_int_equal(stat_parse(text, sizeof(text) - 1, &stat), 0);
	assert_string_equal(stat.comm, "kworker/u8:3-eve");
}

/* Cut anywhere before the start time, it is refused; later, it is not needed. */
static void stat_cut(void **state)
{
	static const char text[] = "4242 (a) b)" STAT_REST;
	size_t start = strstr(text, "987654321") - text;
	struct proc_stat stat;

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		int err = stat_parse(text, len, &stat);

		if (len <= start)
			assert_int_equal(err, -EINVAL);
		else
			assert_int_equal(err, 0);
	}
}

static void stat_refused(void **state)
{
	static const char *const bad[] = {
		"x (a)" STAT_REST,
		"4242 a" STAT_REST,
		"4242(a)" STAT_REST,
		"99999999999999999999 (a)" STAT_REST,
		"4242 (a) S x 1 1",
		"4242 (a) S 1 1 1 1 1 99999999999 0 0 0 0 0 0 0 0 20 0 7 0 5 0",
		"4242 (a) S 1 1 1 1 1 0 0 0 0 0 0 0 0 0 20 0 7 0 18446744073709551616 0",
		"4242 (a) S 1  1 1 1 1 0 0 0 0 0 0 0 0 0 20 0 7 0 5 0",
		"4242 (a) S -1 1 1 1 1 0 0 0 0 0 0 0 0 0 20 0 7 0 5 0",
	};
	struct proc_stat stat;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(stat_parse(bad[i], strlen(bad[i]), &stat), -EINVAL);
}

static void stat_ended(void **state)
{
	static const struct {
		char state;
		uint32_t flags;
		bool ended;
	} rows[] = {
		{ 'R', 0x400040, false }, { 'S', 0, false },
		{ 'D', 0, false },	  { 'T', 0, false },
		{ 't', 0, false },	  { 'Z', 0, true },
		{ 'X', 0, true },	  { 'R', PROC_FLAG_EXITING, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct proc_stat stat = { .state = rows[i].state, .flags = rows[i].flags };

		assert_int_equal(proc_stat_ended(&stat), rows[i].ended);
	}
}

static int status_parse(const char *text, struct proc_status *status)
{
	size_t len = strlen(text);
	char *copy = exact(text, len);
	int err = proc_status_parse(copy, len, status);

	free(copy);
	return err;
}

static void status_plain(void **state)
{
	static const char text[] =
		"Name:\tworker\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4242\n"
		"Ngid:\t0\nPid:\t4243\nPPid:\t17\nTracerPid:\t0\n"
		"Uid:\t1000\t1001\t1002\t1003\nGid:\t5\t5\t5\t5\n"
		"NStgid:\t4242\t77\t3\nNSpid:\t4243\t78\t4\nNSpgid:\t1\t2\t3\n";
	struct proc_status status;

	(void)state;
	assert_int_equal(status_parse(text, &status), 0);
	assert_int_equal(status.state, 'S');
	assert_int_equal(status.tgid, 4242);
	assert_int_equal(status.ppid, 17);
	assert_int_equal(status.uid, 1000);
	assert_int_equal(status.ns_tgid, 3);
	assert_int_equal(status.ns_tid, 4);
}

static void status_missing(void **state)
{
	struct proc_status status;

	(void)state;
	assert_int_equal(status_parse("", &status), -EINVAL);
	assert_int_equal(status_parse("Name:\tx\n", &status), -EINVAL);
	assert_int_equal(status_parse("Tgid:\t5\n", &status), 0);
	assert_int_equal(status.tgid, 5);
	assert_int_equal(status.uid, -1);
	assert_int_equal(status.ns_tid, 0);
	assert_int_equal(status.state, 0);
}

static void status_hostile(void **state)
{
	struct proc_status status;

	(void)state;
	/* The kernel escapes the newline of a name: these are one line, and no NSpid. */
	assert_int_equal(status_parse("Name:\ta\\nNSpid:\t1\nTgid:\t9\n", &status), 0);
	assert_int_equal(status.ns_tid, 0);
	assert_int_equal(status_parse("Tgid:\t1\nNSpid:\t\n", &status), 0);
	assert_int_equal(status.ns_tid, 0);
	assert_int_equal(status_parse("Tgid:\t1\nNSpid:\t5\tx\t7\n", &status), 0);
	assert_int_equal(status.ns_tid, 0);
	assert_int_equal(status_parse("Tgid:\t1\nUid:\t4294967295\t0\t0\t0\n", &status), 0);
	assert_int_equal(status.uid, 4294967295);
	assert_int_equal(status_parse("Tgid:\t1\nUid:\t4294967296\n", &status), 0);
	assert_int_equal(status.uid, -1);
	assert_int_equal(status_parse("NSpid:\t99999999999999999999\n", &status), -EINVAL);
}

/* Parses, and copies the path out, unescaped. */
static int mapping_parse(const char *line, struct proc_mapping *mapping, char *path, size_t size)
{
	size_t len = strlen(line);
	char *copy = exact(line, len);
	int err = proc_mapping_parse(copy, len, mapping);

	path[0] = 0;
	if (!err && mapping->path)
		proc_path_unescape(mapping->path, mapping->path_len, path, size);
	mapping->path = NULL;
	free(copy);
	return err;
}

static void mapping_plain(void **state)
{
	struct proc_mapping m;
	char path[256];

	(void)state;
	assert_int_equal(mapping_parse("7f0f7c682000-7f0f7c697000 rw-s 00015000 fe:1a 1057105"
				       "                    /usr/lib/a b/libc.so (deleted)",
				       &m, path, sizeof(path)),
			 0);
	assert_int_equal(m.start, 0x7f0f7c682000);
	assert_int_equal(m.end, 0x7f0f7c697000);
	assert_int_equal(m.offset, 0x15000);
	assert_int_equal(m.device, 0xfe0001a);
	assert_int_equal(m.inode, 1057105);
	assert_true(m.read && m.write && !m.exec && m.shared);
	assert_string_equal(path, "/usr/lib/a b/libc.so (deleted)");
}

static void mapping_forms(void **state)
{
	struct proc_mapping m;
	char path[256];

	(void)state;
	assert_int_equal(mapping_parse("1000-2000 ---p 00000000 00:00 0 ", &m, path, 256), 0);
	assert_string_equal(path, "");
	assert_false(m.read || m.write || m.exec || m.shared);
	assert_int_equal(mapping_parse("1000-2000 r-xp 0 00:00 0", &m, path, 256), 0);
	assert_true(m.exec);
	assert_int_equal(mapping_parse("1000-2000 rw-p 0 00:00 0   [heap]", &m, path, 256), 0);
	assert_string_equal(path, "[heap]");
	assert_int_equal(
		mapping_parse("ffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]", &m,
			      path, 256),
		0);
	assert_int_equal(m.start, 0xffffffffff600000);
	assert_int_equal(mapping_parse("1000-2000 rw-p 0 00:01 5  /a\\012b\\040c\\", &m, path, 256),
			 0);
	assert_string_equal(path, "/a\nb\\040c\\");
	assert_int_equal(
		mapping_parse("1000-2000 rw-p 0 fff:fffff 18446744073709551615 /x", &m, path, 256),
		0);
	assert_int_equal(m.device, 0xffffffff);
	assert_int_equal(m.inode, UINT64_MAX);
}

static void mapping_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"1000",
		"1000-",
		"1000-2000",
		"2000-1000 rw-p 0 00:00 0",
		"1000-1000 rw-p 0 00:00 0",
		"1000-2000 rw-q 0 00:00 0",
		"1000-2000 xw-p 0 00:00 0",
		"1000-2000 rw-",
		"1000-2000 rw-p g 00:00 0",
		"1000-2000 rw-p 0 0000 0",
		"1000-2000 rw-p 0 1000:00 0",
		"1000-2000 rw-p 0 00:100000 0",
		"1000-2000 rw-p 0 00:00 x",
		"1000-2000 rw-p 0 00:00 18446744073709551616",
		"10000000000000000-20000000000000000 rw-p 0 00:00 0",
		"Size:                132 kB",
	};
	struct proc_mapping m;
	char path[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(mapping_parse(bad[i], &m, path, sizeof(path)), -EINVAL);
	assert_int_equal(proc_mapping_parse("1000-2000 \0w-p 0 00:00 0", 24, &m), -EINVAL);
}

static void smaps_lines(void **state)
{
	static const char *const served[] = {
		"VmFlags: rd wr mr mw me ac um ",
		"VmFlags: um rd",
		"VmFlags: rd wr mr mw me uw sd",
		"VmFlags: rd ui",
	};
	static const char *const others[] = {
		"VmFlags: rd wr mr mw me ac sd ",
		"VmFlags:",
		"VmFlags: ",
		"VmFlag: um",
		" VmFlags: um",
		"Size:                 um kB",
		"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 VmFlags: um",
		"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(served) / sizeof(*served); i++)
		assert_true(proc_smaps_userfault(served[i], strlen(served[i])));
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_false(proc_smaps_userfault(others[i], strlen(others[i])));
	assert_false(proc_smaps_userfault("VmFlags: rd um", 13)); /* cut */
}

static void path_cut(void **state)
{
	char path[4] = "zzz";

	(void)state;
	assert_int_equal(proc_path_unescape("abc", 3, path, 4), 3);
	assert_string_equal(path, "abc");
	assert_int_equal(proc_path_unescape("abcd", 4, path, 4), 4);
	assert_string_equal(path, "abc");
	assert_int_equal(proc_path_unescape("\\012\\012\\012\\012\\01", 19, path, 4), 7);
	assert_string_equal(path, "\n\n\n");
	assert_int_equal(proc_path_unescape("", 0, path, 4), 0);
	assert_string_equal(path, "");
	assert_int_equal(proc_path_unescape("abc", 3, path, 0), 3);
}

static void path_deleted(void **state)
{
	size_t len;

	(void)state;
	assert_true(proc_path_deleted("/lib/a (deleted)", &len));
	assert_int_equal(len, 6);
	assert_false(proc_path_deleted("/lib/a", &len));
	assert_int_equal(len, 6);
	assert_false(proc_path_deleted(" (deleted)", &len));
	assert_false(proc_path_deleted("", &len));
}

static void path_libc(void **state)
{
	static const struct {
		const char *path;
		enum lock_libc libc;
	} rows[] = {
		{ "/lib/ld-musl-x86_64.so.1", LIBC_MUSL },
		{ "/lib/libc.musl-x86_64.so.1", LIBC_MUSL },
		{ "/usr/lib/x86_64-linux-musl/libc.so", LIBC_MUSL },
		{ "/usr/lib/x86_64-linux-musl/libc.so (deleted)", LIBC_MUSL },
		{ "/usr/lib/x86_64-linux-gnu/libc.so.6", LIBC_GLIBC },
		{ "/usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)", LIBC_GLIBC },
		{ "/lib/x86_64-linux-gnu/libc-2.31.so", LIBC_GLIBC },
		{ "/apex/com.android.runtime/lib64/bionic/libc.so", LIBC_UNKNOWN },
		{ "/usr/lib/libc.so", LIBC_UNKNOWN },
		{ "/opt/app-musl/libcrypto.so.3", LIBC_UNKNOWN },
		{ "/usr/lib/libc++.so.1", LIBC_UNKNOWN },
		{ "[heap]", LIBC_UNKNOWN },
		{ "/", LIBC_UNKNOWN },
		{ "", LIBC_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].path);
		char *copy = exact(rows[i].path, len);

		assert_int_equal(proc_path_libc(copy, len), rows[i].libc);
		free(copy);
	}
}

static void cgroup_forms(void **state)
{
	static const struct {
		const char *text, *path;
	} rows[] = {
		{ "0::/system.slice/db.service\n", "/system.slice/db.service" },
		{ "12:memory:/a\n1:name=systemd:/b\n0::/c:d\n", "/c:d" },
		{ "12:memory:/a\n1:name=systemd:/b\n", "/b" },
		{ "12:memory:/a\n3:cpu,cpuacct:/b\n", "/a" },
		{ "x\n0:\n:::\n0::/ok", "/ok" },
		{ "0::/gone (deleted)\n", "/gone (deleted)" },
		{ "0::/\n", "/" },
		{ "9:name=systemd:/\n4:memory:/docker/7\n0::/\n", "/docker/7" },
		{ "9:name=systemd:/b\n4:memory:/docker/7\n0::/\n", "/b" },
		{ "9:name=systemd:/\n4:memory:/\n", "/" },
	};
	char path[32];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].text);
		char *copy = exact(rows[i].text, len);

		assert_int_equal(proc_cgroup_parse(copy, len, path, sizeof(path)), 0);
		assert_string_equal(path, rows[i].path);
		free(copy);
	}
	assert_int_equal(proc_cgroup_parse("", 0, path, sizeof(path)), -EINVAL);
	assert_string_equal(path, "");
	assert_int_equal(proc_cgroup_parse("0::", 3, path, sizeof(path)), -EINVAL);
	assert_int_equal(proc_cgroup_parse("0::/123456", 10, path, 4), 0);
	assert_string_equal(path, "/12");
}

#define HEX63 "123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX64 "0" HEX63

static void cgroup_names(void **state)
{
	static const struct {
		const char *path, *unit, *container;
	} rows[] = {
		{ "/", "", "" },
		{ "", "", "" },
		{ "/system.slice/db.service", "db.service", "" },
		{ "/user.slice/user-0.slice/user@0.service/app.slice/x.service/sub", "x.service",
		  "" },
		{ "/user.slice/session-3.scope", "session-3.scope", "" },
		{ "/.service/.scope", "", "" },
		{ "/system.slice/docker-" HEX64 ".scope", "", HEX64 },
		{ "/docker/" HEX64, "", HEX64 },
		{ "/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:x",
		  "containerd.service", "" },
		{ "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" HEX64 ".scope/init", "",
		  HEX64 },
		{ "/machine.slice/libpod-" HEX64 ".scope/container", "", HEX64 },
		{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/crio-" HEX64
		  ".scope",
		  "", HEX64 },
		{ "/kubepods/besteffort/pod1/crio-" HEX64, "", HEX64 },
		{ "/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" HEX64,
		  "containerd.service", HEX64 },
		{ "/user.slice/user-7.slice/user@7.service/user.slice/libpod-" HEX64
		  ".scope/container",
		  "user@7.service", HEX64 },
		{ "/libpod_parent/libpod-" HEX64, "", HEX64 },
		{ "/docker/" HEX64 "/system.slice/db.service", "db.service", HEX64 },
		{ "/docker/" HEX64 "/docker/1" HEX63, "", "1" HEX63 },
		/* Their monitors, outside of the container. */
		{ "/machine.slice/libpod-conmon-" HEX64 ".scope", "libpod-conmon-" HEX64 ".scope",
		  "" },
		{ "/system.slice/crio-conmon-" HEX64 ".scope", "crio-conmon-" HEX64 ".scope", "" },
		{ "/docker/0" HEX64, "", "" },
		{ "/docker/" HEX64 "0x", "", "" },
		{ "/docker/A" HEX64, "", "" },
	};
	char unit[96], container[65];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *copy = exact(rows[i].path, strlen(rows[i].path) + 1);

		proc_cgroup_unit(copy, unit, sizeof(unit));
		proc_cgroup_container(copy, container, sizeof(container));
		assert_string_equal(unit, rows[i].unit);
		assert_string_equal(container, rows[i].container);
		free(copy);
	}
}

/* Units and containers around the innermost ones count, and nothing that only looks alike. */
static void cgroup_in(void **state)
{
	static const char path[] = "/user.slice/user@7.service/docker/" HEX64
				   "/x.scope/docker/1" HEX63;

	(void)state;
	assert_true(proc_cgroup_in_unit(path, "user@7.service"));
	assert_true(proc_cgroup_in_unit(path, "user@7"));
	assert_true(proc_cgroup_in_unit(path, "x.scope"));
	assert_true(proc_cgroup_in_unit(path, "user.slice"));
	assert_false(proc_cgroup_in_unit(path, "user@7.servic"));
	assert_false(proc_cgroup_in_unit(path, "user"));
	assert_false(proc_cgroup_in_unit(path, "x"));
	assert_false(proc_cgroup_in_unit(path, "user@7.service/docker"));
	assert_false(proc_cgroup_in_unit("", "x"));
	assert_true(proc_cgroup_in_container(path, "0123456789ab"));
	assert_true(proc_cgroup_in_container(path, HEX64));
	assert_true(proc_cgroup_in_container(path, "11"));
	assert_false(proc_cgroup_in_container(path, "2"));
	assert_false(proc_cgroup_in_container(path, HEX64 "0"));
	assert_false(proc_cgroup_in_container("/docker/x", "x"));
}

static void cmdline_forms(void **state)
{
	char line[8];

	(void)state;
	proc_cmdline_parse("a\0bc\0\0", 6, line, sizeof(line));
	assert_string_equal(line, "a bc");
	proc_cmdline_parse("", 0, line, sizeof(line));
	assert_string_equal(line, "");
	proc_cmdline_parse("\0\0\0", 3, line, sizeof(line));
	assert_string_equal(line, "");
	proc_cmdline_parse("123456789", 9, line, sizeof(line));
	assert_string_equal(line, "1234567");
}

static void namespace_forms(void **state)
{
	(void)state;
	assert_int_equal(proc_namespace_parse("pid:[4026531836]", 16), 4026531836);
	assert_int_equal(proc_namespace_parse("pid:[4026531836", 15), 0);
	assert_int_equal(proc_namespace_parse("net:[4026531836]", 16), 0);
	assert_int_equal(proc_namespace_parse("pid:[99999999999]", 17), 0);
	assert_int_equal(proc_namespace_parse("pid:[1] ", 8), 0);
	assert_int_equal(proc_namespace_parse("", 0), 0);
}

/* xorshift64: the same bytes in every run. */
static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Sound text with some bytes changed, cut somewhere: nobody reads or writes where they must not. */
static void anything_goes(void **state)
{
	static const char *const seeds[] = {
		"4242 (a) b)" STAT_REST,
		"Name:\tx\nState:\tS (s)\nTgid:\t1\nPPid:\t2\nUid:\t1\t2\t3\t4\nNSpid:\t1\t2\n",
		"1000-2000 rw-s 00015000 fe:1a 1057105       /usr/lib/libc.so.6\\012 (deleted)",
		"12:memory:/a\n1:name=systemd:/b\n0::/c:d\n",
		"pid:[4026531836]",
		"VmFlags: rd wr mr mw me ac um ",
		"202 0x55d0 0x80 0x2 0x0 0x0 0xffffffffffffffff 0x7ffe5c 0x4010ff\n",
	};
	uint64_t seed = 20260101;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		const char *text = seeds[round % 7];
		size_t len = random_next(&seed) % (strlen(text) + 1);
		char *copy = exact(text, len), out[16];
		struct proc_mapping m;
		struct proc_syscall call;
		struct proc_status status;
		struct proc_stat stat;

		for (int i = random_next(&seed) % 4; len && i; i--)
			copy[random_next(&seed) % len] = random_next(&seed);
		if (!proc_stat_parse(copy, len, &stat))
			assert_true(strlen(stat.comm) <= NAME_BYTES);
		proc_status_parse(copy, len, &status);
		if (!proc_mapping_parse(copy, len, &m) && m.path) {
			proc_path_unescape(m.path, m.path_len, out, sizeof(out));
			proc_path_libc(m.path, m.path_len);
		}
		proc_cgroup_parse(copy, len, out, sizeof(out));
		assert_true(strlen(out) < sizeof(out));
		proc_smaps_userfault(copy, len);
		proc_cmdline_parse(copy, len, out, sizeof(out));
		proc_namespace_parse(copy, len);
		proc_syscall_parse(copy, len, &call);
		free(copy);
	}
}

static void test_pidfd(void **state)
{
	static const struct {
		const char *text;
		int err;
		int32_t pid;
		bool thread;
	} cases[] = {
		{ "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t61\nPid:\t4712\nNSpid:\t4712\t7\n",
		  0, 4712, false },
		{ "pos:\t0\nflags:\t02000202\nmnt_id:\t15\nPid:\t4713\n", 0, 4713, true },
		{ "flags:\t0200\nPid:\t-1\nNSpid:\t-1\n", 0, -1, true }, /* has ended */
		{ "flags:\t02\nPid:\t0\n", 0, 0, false },		 /* of another namespace */
		{ "pos:\t0\nflags:\t0200\nmnt_id:\t15\n", -EINVAL, 0, true }, /* a file */
		{ "", -EINVAL, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int32_t pid;
		bool thread;

		assert_int_equal(
			proc_pidfd_parse(cases[i].text, strlen(cases[i].text), &pid, &thread),
			cases[i].err);
		assert_int_equal(pid, cases[i].pid);
		assert_int_equal(thread, cases[i].thread);
	}
}

static int syscall_parse(const char *text, struct proc_syscall *call)
{
	char *copy = exact(text, strlen(text));
	int err = proc_syscall_parse(copy, strlen(text), call);

	free(copy);
	return err;
}

static void syscall_forms(void **state)
{
	struct proc_syscall call;

	(void)state;
	assert_int_equal(syscall_parse("running\n", &call), 0);
	assert_int_equal(call.where, SYSCALL_RUNNING);
	assert_int_equal(syscall_parse("-1 0x7ffe5c 0x4010ff\n", &call), 0);
	assert_int_equal(call.where, SYSCALL_OUTSIDE);
	assert_int_equal(call.sp, 0x7ffe5c);
	assert_int_equal(syscall_parse("202 0x55d0c2f050e0 0x80 0x2 0x0 0x0 0xffffffffffffffff "
				       "0x7ffe5c 0x4010ff\n",
				       &call),
			 0);
	assert_int_equal(call.where, SYSCALL_BLOCKED);
	assert_int_equal(call.number, 202);
	assert_int_equal(call.argument[0], 0x55d0c2f050e0);
	assert_int_equal(call.argument[1], 0x80);
	assert_true(call.argument[5] == UINT64_MAX);
	assert_int_equal(call.sp, 0x7ffe5c);
	assert_int_equal(syscall_parse("", &call), -EINVAL);
	assert_int_equal(syscall_parse("202 0x1 0x2", &call), -EINVAL);
	assert_int_equal(syscall_parse("-1", &call), -EINVAL);
	assert_int_equal(syscall_parse("202 1 2 3 4 5 6 7 8", &call), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(stat_plain),	   cmocka_unit_test(stat_hostile_comm),
		cmocka_unit_test(stat_long_comm),  cmocka_unit_test(stat_cut),
		cmocka_unit_test(stat_refused),	   cmocka_unit_test(stat_ended),
		cmocka_unit_test(status_plain),	   cmocka_unit_test(status_missing),
		cmocka_unit_test(status_hostile),  cmocka_unit_test(mapping_plain),
		cmocka_unit_test(mapping_forms),   cmocka_unit_test(mapping_refused),
		cmocka_unit_test(smaps_lines),	   cmocka_unit_test(path_cut),
		cmocka_unit_test(path_deleted),	   cmocka_unit_test(path_libc),
		cmocka_unit_test(sched),	   cmocka_unit_test(cgroup_forms),
		cmocka_unit_test(cgroup_names),	   cmocka_unit_test(cgroup_in),
		cmocka_unit_test(cmdline_forms),   cmocka_unit_test(test_pidfd),
		cmocka_unit_test(namespace_forms), cmocka_unit_test(syscall_forms),
		cmocka_unit_test(anything_goes),
	};

	return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}
