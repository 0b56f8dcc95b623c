// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "host.h"

#define TRACEFS		"/sys/kernel/tracing"
#define DEBUGFS_TRACING "/sys/kernel/debug/tracing"
#define KERNEL_BTF	"/sys/kernel/btf/vmlinux"

/* include/linux/proc_ns.h: PROC_USER_INIT_INO and PROC_PID_INIT_INO, the same on every kernel. */
#define INIT_USER_NS 0xeffffffdu
#define INIT_PID_NS  0xeffffffcu

static bool cap_effective(cap_value_t cap)
{
	cap_flag_value_t value = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (!caps)
		return false;
	cap_get_flag(caps, cap, CAP_EFFECTIVE, &value);
	cap_free(caps);
	return value == CAP_SET;
}

/* The capability that is missing, by name; NULL: none is. */
static const char *cap_missing(void)
{
	bool admin = cap_effective(CAP_SYS_ADMIN);

	if (!admin && !cap_effective(CAP_BPF))
		return "CAP_BPF";
	if (!admin && !cap_effective(CAP_PERFMON))
		return "CAP_PERFMON";
	if (!cap_effective(CAP_SYS_PTRACE))
		return "CAP_SYS_PTRACE";
	return NULL;
}

static int privilege_check(char *why, size_t why_bytes)
{
	const char *missing = cap_missing();

	if (!missing)
		return 0;
	if (geteuid())
		snprintf(why, why_bytes,
			 "not permitted: %s is missing; run as root, for example: sudo deadhold",
			 missing);
	else
		snprintf(why, why_bytes,
			 "not permitted: this root lacks %s; give the container or service that "
			 "capability",
			 missing);
	return -EPERM;
}

/* Reads one line of a small kernel file. */
static int line_read(const char *path, char *line, size_t bytes)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");

	if (!file)
		return -errno;
	if (!fgets(line, bytes, file))
		return -EIO;
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

int host_check(char *why, size_t why_bytes)
{
	char lockdown[128];
	struct stat ns;
	int error = privilege_check(why, why_bytes);

	if (error)
		return error;
	/* Its root has all capabilities, and none that the kernel asks for here. No such file: none are. */
	if (!stat("/proc/self/ns/user", &ns) && ns.st_ino != INIT_USER_NS) {
		snprintf(why, why_bytes,
			 "not permitted: this is root of a user namespace alone (a rootless "
			 "container?); run as the host's root");
		return -EPERM;
	}
	if (access(KERNEL_BTF, R_OK)) {
		snprintf(why, why_bytes,
			 "no kernel type information (%s): this kernel was built without "
			 "CONFIG_DEBUG_INFO_BTF, or /sys is not mounted; boot a kernel that has it",
			 KERNEL_BTF);
		return -ENOENT;
	}
	if (!line_read("/sys/kernel/security/lockdown", lockdown, sizeof(lockdown)) &&
	    strstr(lockdown, "[confidentiality]")) {
		snprintf(why, why_bytes,
			 "kernel lockdown is in confidentiality mode, which forbids BPF to read "
			 "memory; boot with lockdown=integrity or none");
		return -EPERM;
	}
	if (stat("/proc/self/ns/pid", &ns)) {
		snprintf(why, why_bytes, "/proc is not readable (%s); mount it", strerror(errno));
		return -ENOENT;
	}
	if (ns.st_ino != INIT_PID_NS) {
		snprintf(why, why_bytes,
			 "not in the host's PID namespace; start the container with the host's "
			 "(docker: --pid=host)");
		return -ENOTSUP;
	}
	return 0;
}

static bool is_tracefs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == TRACEFS_MAGIC;
}

int host_tracefs(char *why, size_t why_bytes)
{
	if (is_tracefs(TRACEFS) || is_tracefs(DEBUGFS_TRACING))
		return 0;
	/* Slave: mounts of the host still reach us, ours never reach the host. */
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    mount("tracefs", TRACEFS, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) {
		snprintf(
			why, why_bytes,
			"tracefs is not mounted and could not be mounted privately (%s); mount it: "
			"mount -t tracefs tracefs " TRACEFS,
			strerror(errno));
		return -errno;
	}
	return 0;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

uint64_t host_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t host_realtime_offset(void)
{
	return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
}

int64_t host_boottime_offset(void)
{
	int64_t monotonic = clock_ns(CLOCK_MONOTONIC);

	return clock_ns(CLOCK_BOOTTIME) - monotonic;
}

uint64_t host_ticks(uint64_t start_ns)
{
	return start_ns / (1000000000ull / sysconf(_SC_CLK_TCK));
}

/* status takes none of the locks that a sick process may hold: no need for the reader. */
int32_t host_tgid(int32_t tid)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[32], line[128];
	int32_t tgid;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			return tgid;
	}
	return 0;
}

int host_run(struct run *run)
{
	unsigned char random[16];
	size_t i;
	int error;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	for (i = 0; i < sizeof(random); i++)
		snprintf(run->id + 2 * i, 3, "%02x", random[i]);
	if (gethostname(run->host, sizeof(run->host)))
		return -errno;
	run->host[sizeof(run->host) - 1] = '\0';
	error = line_read("/proc/sys/kernel/random/boot_id", run->boot_id, sizeof(run->boot_id));
	run->realtime_offset_ns = host_realtime_offset();
	run->boot_realtime_ns = host_realtime_offset() - host_boottime_offset();
	return error;
}

/*
 * Before 6.0 (c8644cd0efe7) even to read a map that is open takes CAP_BPF, where the sysctl
 * kernel.unprivileged_bpf_disabled is set.
 */
static bool maps_take_rights(void)
{
	struct utsname kernel;
	int major;

	return !uname(&kernel) && sscanf(kernel.release, "%d.", &major) == 1 && major < 6;
}

int host_drop(void)
{
	static const cap_value_t kept[] = { CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_BPF };
	size_t n = sizeof(kept) / sizeof(kept[0]) - !maps_take_rights();
	cap_t now = cap_get_proc(), want = cap_init();
	cap_flag_value_t has;
	int error = 0;
	size_t i;

	if (!now || !want)
		error = -ENOMEM;
	for (i = 0; !error && i < n; i++) {
		/* Keep only what is there: a container may have withheld one. */
		if (!cap_get_flag(now, kept[i], CAP_PERMITTED, &has) && has == CAP_SET) {
			cap_set_flag(want, CAP_PERMITTED, 1, &kept[i], CAP_SET);
			cap_set_flag(want, CAP_EFFECTIVE, 1, &kept[i], CAP_SET);
		}
	}
	if (!error && cap_set_proc(want))
		error = -errno;
	cap_free(now);
	cap_free(want);
	if (!error && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0)))
		error = -errno;
	return error;
}
