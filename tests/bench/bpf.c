// SPDX-License-Identifier: GPL-2.0-only
/*
 * The side of the measurements that asks the kernel about BPF.
 *
 *   bpf empty         an empty program on syscalls/sys_enter_futex, until stdin ends
 *   bpf programs PID  of each program that PID holds: NAME RUNS NANOSECONDS, then "."; at once, and
 *                     again for each line of stdin
 *   bpf maps PID      of each map that PID holds: NAME ENTRIES MAX_ENTRIES BYTES
 *
 * Changes no setting of the host: statistics are counted only while a descriptor is held, and
 * tracefs, where it is not mounted, is mounted in a mount namespace of our own.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define TRACEFS	 "/sys/kernel/tracing"
#define EVENT_ID TRACEFS "/events/syscalls/sys_enter_futex/id"

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void stdin_await_end(void)
{
	while (getchar() != EOF)
		;
}

/* ---- an empty program ---- */

static void tracefs_mount(void)
{
	if (!access(EVENT_ID, R_OK))
		return;
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    mount("tracefs", TRACEFS, "tracefs", 0, NULL))
		die("mounting tracefs");
}

static int event_id(void)
{
	FILE *file = fopen(EVENT_ID, "re");
	int id;

	if (!file || fscanf(file, "%d", &id) != 1)
		die(EVENT_ID);
	fclose(file);
	return id;
}

static int empty(void)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 }, /* return 0 */
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT,
					.size = sizeof(attr),
					.sample_period = 1,
					.wakeup_events = 1 };
	int program, event;

	tracefs_mount();
	attr.config = event_id();
	program = bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, "empty", "GPL", code, 2, NULL);
	if (program < 0)
		die("loading an empty program");
	/* One CPU is named, as libbpf does; the program runs on all of them. */
	event = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (event < 0 || ioctl(event, PERF_EVENT_IOC_SET_BPF, program) ||
	    ioctl(event, PERF_EVENT_IOC_ENABLE, 0))
		die("attaching an empty program");
	printf("attached\n");
	fflush(stdout);
	stdin_await_end();
	return 0;
}

/* ---- what a process holds ---- */

struct held {
	uint32_t id;
	uint64_t bytes; /* of maps */
};

#define HELD_MAX 256

/* The distinct objects whose id stands under `member` in the process's descriptors. */
static size_t held_list(const char *pid, const char *member, struct held held[HELD_MAX])
{
	char path[300], line[128], name[64];
	unsigned long long value;
	struct dirent *entry;
	size_t n = 0, i;
	FILE *file;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	dir = opendir(path);
	if (!dir)
		die(path);
	while ((entry = readdir(dir)) && n < HELD_MAX) {
		snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, entry->d_name);
		file = fopen(path, "re");
		held[n] = (struct held){ 0 };
		while (file && fgets(line, sizeof(line), file)) {
			if (sscanf(line, "%63[^:]: %llu", name, &value) != 2)
				continue;
			if (!strcmp(name, member))
				held[n].id = value;
			else if (!strcmp(name, "memlock"))
				held[n].bytes = value;
		}
		if (file)
			fclose(file);
		for (i = 0; i < n && held[i].id != held[n].id; i++)
			;
		n += i == n && held[n].id;
	}
	closedir(dir);
	return n;
}

static void program_print(uint32_t id)
{
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &bytes))
		die("asking for a program");
	printf("%s %llu %llu\n", info.name, (unsigned long long)info.run_cnt,
	       (unsigned long long)info.run_time_ns);
	close(fd);
}

static int programs(const char *pid)
{
	struct held held[HELD_MAX] = { 0 };
	char line[16];
	size_t n, i;

	if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		die("counting the runs of programs");
	n = held_list(pid, "prog_id", held);
	do {
		for (i = 0; i < n; i++)
			program_print(held[i].id);
		printf(".\n");
		fflush(stdout);
	} while (fgets(line, sizeof(line), stdin));
	return 0;
}

#define BATCH 8192

static long entries_count(int fd, const struct bpf_map_info *info)
{
	uint32_t position = 0, *from = NULL, n;
	char *keys, *values;
	long count = 0;
	int error;

	if (info->type != BPF_MAP_TYPE_HASH && info->type != BPF_MAP_TYPE_LRU_HASH)
		return info->max_entries;
	keys = calloc(BATCH, info->key_size);
	values = calloc(BATCH, info->value_size);
	if (!keys || !values)
		die("calloc");
	do {
		n = BATCH;
		error = bpf_map_lookup_batch(fd, from, &position, keys, values, &n, NULL);
		if (error && error != -ENOENT)
			die("counting the entries of a map");
		from = &position;
		count += n;
	} while (!error);
	free(keys);
	free(values);
	return count;
}

static int maps(const char *pid)
{
	struct held held[HELD_MAX] = { 0 };
	struct bpf_map_info info;
	size_t n, i;
	uint32_t bytes;
	int fd;

	n = held_list(pid, "map_id", held);
	for (i = 0; i < n; i++) {
		memset(&info, 0, sizeof(info));
		bytes = sizeof(info);
		fd = bpf_map_get_fd_by_id(held[i].id);
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &bytes))
			die("asking for a map");
		printf("%s %ld %u %llu\n", info.name, entries_count(fd, &info), info.max_entries,
		       (unsigned long long)held[i].bytes);
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing stays behind */
	if (!strcmp(what, "empty") && argc == 2)
		return empty();
	if (!strcmp(what, "programs") && argc == 3)
		return programs(argv[2]);
	if (!strcmp(what, "maps") && argc == 3)
		return maps(argv[2]);
	fprintf(stderr, "usage: bpf empty | programs PID | maps PID\n");
	return 2;
}
