// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worker: looks at what all processes map, then at what is newly mapped, as the kernel tells it
 * (PERF_RECORD_MMAP2). A probe is on the file: whoever maps it later has it from the first instruction
 * on. Only a file that nobody mapped before is probed some time after it is mapped.
 *
 * A probe keeps its file, and the file system that it is on, in use: those of files that nobody maps
 * any more are taken away. For each file one process that maps it is remembered; when that one is gone
 * all are looked at for another one.
 */
#include "prober_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "cleanup.h"
#include "confine.h"
#include "host.h"
#include "probe_attach.h"
#include "probe_file.h"
#include "symbol.h"
#include "table.h"
#include "task.h"

#define S 1000000000ull
/* Of each CPU's ring, of 16 records or so a page. A build maps thousands of files a second. */
#define RECORD_PAGES	   256
#define RECORD_PAGES_LEAST 32
#define RECORD_PAGES_HOST  1024 /* all of them together, where that leaves the least */
/* How often those who map the files are looked for, and at most all processes are. */
#define WITNESS_NS (10 * S)
#define PASS_NS	   (30 * S)
/* Between the two passes that find nobody any more. */
#define CONFIRM_NS S
/* Files that are remembered though they have nothing to probe. */
#define FILES 8192

/* A file that was looked at. */
struct file {
	struct probe_key key;
	UT_hash_handle hh; /* in order of insertion */
	struct probe_version version;
	bool probed;
	uint32_t python; /* its Py_Version; 0: none */
	bool stale;	 /* found mapped by nobody, once */
	uint64_t pass;	 /* in which it was last seen mapped */
	uint64_t start;	 /* where `witness` maps it */
	uint64_t end;
	int32_t witness; /* 0: nobody known */
	int32_t tid;	 /* of a thread of key.pid, by which the probes know it */
};

struct worker {
	struct plans *plans;
	struct prober_page *page;
	const struct prober_past *past;
	struct file *files;
	struct perf_buffer *records;
	uint64_t pass, pass_due_ns, witness_due_ns, looked_ns;
	uint64_t lost;
	uint32_t seen; /* plans with probes in what was looked at; bits */
	bool looked;
	struct probe_point point[PROBE_POINTS];
	struct probe_found found;
	int link[PROBE_POINTS];
};

/* ---- what is said ---- */

static void keeper_send(const struct prober_report *report, const int *fds, size_t n)
{
	union {
		char bytes[CMSG_SPACE(PROBE_LINKS * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec io = { (void *)report, sizeof(*report) };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	if (sendmsg(CONFINE_FD, &msg, MSG_NOSIGNAL) < 0)
		_exit(EXIT_FAILURE);
}

static void report_say(enum report_type type, int error, uint64_t n, const struct file *file,
		       const char *path)
{
	struct prober_report report = { .type = type, .error = error, .n = n };

	if (file) {
		report.key = file->key;
		report.version = file->version;
		report.tid = file->tid;
		report.start = file->start;
		report.end = file->end;
		report.python = file->python;
	}
	snprintf(report.path, sizeof(report.path), "%s", path);
	keeper_send(&report, NULL, 0);
}

/* What may block for ever from here on, until work_end(). */
static void work_begin(struct worker *w, const struct probe_key *key, const char *path)
{
	w->page->key = *key;
	snprintf(w->page->path, sizeof(w->page->path), "%s", path);
	w->page->limit_ns = PROBE_STUCK_NS;
	w->page->since_ns = host_now();
}

/* Each probe has a time of its own. */
static void work_attach(struct worker *w)
{
	w->page->limit_ns = PROBE_ATTACH_NS;
	w->page->since_ns = host_now();
}

static void work_end(struct worker *w)
{
	w->page->since_ns = 0;
	w->page->turned_ns = host_now();
}

static bool key_avoided(const struct worker *w, const struct probe_key *key)
{
	for (size_t i = 0; i < w->past->n_avoided; i++)
		if (!memcmp(&w->past->avoided[i], key, sizeof(*key)))
			return true;
	return false;
}

/* ---- files ---- */

static struct file *file_find(const struct worker *w, const struct probe_key *key)
{
	struct file *file;

	HASH_FIND(hh, w->files, key, sizeof(*key), file);
	return file;
}

static void file_forget(struct worker *w, struct file *file)
{
	HASH_DEL(w->files, file);
	free(file);
}

static struct file *file_add(struct worker *w, const struct probe_key *key)
{
	struct file *file = calloc(1, sizeof(*file)), *old, *next;

	if (!file)
		_exit(EXIT_FAILURE); /* the keeper starts another one */
	/* The oldest without probes makes room. */
	HASH_ITER (hh, w->files, old, next) {
		if (HASH_COUNT(w->files) < FILES)
			break;
		if (!old->probed)
			file_forget(w, old);
	}
	file->key = *key;
	HASH_ADD(hh, w->files, key, sizeof(file->key), file);
	return file;
}

static void file_drop(struct worker *w, struct file *file)
{
	if (file->probed)
		report_say(REPORT_DROP, 0, 0, file, "");
	file_forget(w, file);
}

static struct probe_version version_of(const struct stat *st)
{
	return (struct probe_version){ st->st_ctim.tv_sec * (int64_t)S + st->st_ctim.tv_nsec,
				       st->st_size };
}

static bool version_equal(const struct probe_version *a, const struct probe_version *b)
{
	return a->ctime_ns == b->ctime_ns && a->bytes == b->bytes;
}

/*
 * The mapped file itself, whatever its path is in that process, and whether it still has one. Not so on
 * a kernel that denies it (before 5.9 to all but CAP_SYS_ADMIN): then by its path.
 */
static int mapping_open(const struct task *task, const struct proc_mapping *m)
{
	char name[PATH_BYTES + 64], path[PATH_BYTES];
	struct stat st;
	int fd;

	snprintf(name, sizeof(name), "map_files/%llx-%llx", (unsigned long long)m->start,
		 (unsigned long long)m->end);
	fd = symbol_file_open(task->process, name, false);
	if (fd < 0 && task->tid != task->tgid) {
		/* The main thread has ended, and the memory is another one's to show. */
		snprintf(name, sizeof(name), "/proc/%d/map_files/%llx-%llx", task->tid,
			 (unsigned long long)m->start, (unsigned long long)m->end);
		fd = symbol_file_open(AT_FDCWD, name, false);
	}
	if (fd != -EPERM && fd != -EACCES)
		return fd;
	proc_path_unescape(m->path, m->path_len, path, sizeof(path));
	snprintf(name, sizeof(name), "root%s", path);
	fd = symbol_file_open(task->process, name, false);
	if (fd >= 0 && (fstat(fd, &st) || st.st_ino != m->inode)) {
		close(fd);
		return -ESTALE;
	}
	return fd;
}

/* A file that is no program for this machine has nothing to be probed. */
static bool error_is_failure(int error, uint32_t kind)
{
	if (error == -EINVAL || error == -ENOENT || error == -ESRCH)
		return false;
	return error != -ENOEXEC || kind != PROBE_PROGRAM;
}

static int point_order(const void *a, const void *b)
{
	const struct probe_point *x = a, *y = b;

	return (x->site > y->site) - (x->site < y->site);
}

/* Attaches to the points; *error: of the first that could not be. Returns how many could. */
static size_t points_attach(struct worker *w, const struct file *file, int fd, size_t n, int *error)
{
	const int *program = w->plans->program[file->key.plan];
	size_t links = 0, i;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	qsort(w->point, n, sizeof(*w->point), point_order);
	for (i = 0; i < n; i++) {
		const struct probe_site *site =
			&w->plans->plan[file->key.plan].sites[w->point[i].site];
		int link;

		work_attach(w);
		link = program[w->point[i].site] < 0
			       ? -ENOENT
			       : probe_attach(program[w->point[i].site], file->tid ?: PROBE_ALL,
					      path, w->point[i].offset, site->cookie);

		if (link >= 0)
			w->link[links++] = link;
		else if (link != -ENOENT)
			*error = link;
	}
	return links;
}

static void links_send(struct worker *w, const struct file *file, size_t n)
{
	struct prober_report report = {
		.type = REPORT_LINKS,
		.key = file->key,
		.version = file->version,
	};
	size_t at, i;

	for (at = 0; at < n; at += PROBE_LINKS)
		keeper_send(&report, w->link + at, n - at < PROBE_LINKS ? n - at : PROBE_LINKS);
	for (i = 0; i < n; i++)
		close(w->link[i]);
}

static void missing_say(struct worker *w, const struct file *file, const char *path)
{
	for (size_t s = 0; s < w->plans->plan[file->key.plan].n_sites; s++)
		if (w->found.missing[s])
			report_say(REPORT_MISSING, w->found.missing[s], s, file, path);
}

/* Takes over fd. */
static void file_probe(struct worker *w, struct file *file, int fd, uint32_t kind, const char *path)
{
	_cleanup_close_ int owned = fd;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), error = 0;
	ssize_t n = copy < 0 ? -errno
			     : probe_file_points(copy, kind, &w->plans->plan[file->key.plan],
						 w->point, PROBE_POINTS, &w->found);
	size_t links = n > 0 ? points_attach(w, file, fd, n, &error) : 0;

	if (n < 0 && error_is_failure(n, kind))
		error = n;
	file->probed = links > 0;
	file->python = w->found.python;
	if (links)
		links_send(w, file, links);
	if (links || error)
		report_say(REPORT_FILE, error, links, file, path);
	if (n >= 0)
		missing_say(w, file, path);
}

/* Somebody maps it. Looks at it, unless that was done. */
static void file_look(struct worker *w, const struct probe_key *key, const struct task *task,
		      const struct proc_mapping *m, uint32_t kind)
{
	struct file *file = file_find(w, key);
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES];
	struct stat st;

	proc_path_unescape(m->path, m->path_len, path, sizeof(path));
	if (file && file->probed)
		w->seen |= 1u << key->plan;
	if (key_avoided(w, key) || (file && file->pass == w->pass && w->pass))
		return;
	work_begin(w, key, path);
	fd = mapping_open(task, m);
	if (fd >= 0 && !fstat(fd, &st)) {
		struct probe_version version = version_of(&st);

		if (file && !version_equal(&file->version, &version)) {
			file_drop(w, file); /* another file by now, or another content */
			file = NULL;
		}
		if (!file) {
			file = file_add(w, key);
			file->version = version;
			file->tid = key->pid ? task->tid : 0;
			file->start = m->start;
			file->end = m->end;
			file_probe(w, file, take_fd(&fd), kind, path);
			if (file->probed)
				w->seen |= 1u << key->plan;
		}
		file->pass = w->pass;
		file->stale = false;
		file->witness = task->tid; /* also has a directory in /proc */
		file->start = m->start;
		file->end = m->end;
	} else if (fd < 0 && error_is_failure(fd, kind) && !file) {
		file = file_add(w, key);
		file->pass = w->pass;
		report_say(REPORT_FILE, fd, 0, file, path);
	}
	work_end(w);
}

/* ---- processes ---- */

static uint32_t plan_files(const struct probe_plan *plan)
{
	uint32_t files = 0;

	for (size_t i = 0; i < plan->n_sites; i++)
		files |= plan->sites[i].files;
	return files;
}

static void mapping_look(struct worker *w, const struct task *task, const struct proc_mapping *m)
{
	uint32_t kind;

	if (!m->exec || !m->inode || !m->path)
		return;
	kind = probe_file_kind(m->path, m->path_len);
	for (size_t p = 0; kind && p < w->plans->n; p++) {
		const struct probe_plan *plan = &w->plans->plan[p];
		struct probe_key key = { m->device, m->inode, plan->n ? task->tgid : 0, p };

		if (plan_files(plan) & kind && plan_has(plan, task->tgid))
			file_look(w, &key, task, m, kind);
	}
}

/* 0, or -errno; -ESRCH: it maps nothing, and has ended or is about to. */
static int process_look(struct worker *w, int32_t pid)
{
	_cleanup_task_ struct task task = TASK_CLOSED;
	_cleanup_(task_maps_close) struct task_maps maps = { .fd = -1 };
	const struct probe_key key = { .pid = pid };
	struct proc_mapping m;
	bool any = false;
	int err;

	if (key_avoided(w, &key))
		return -EIO;
	work_begin(w, &key, "");
	err = task_open(&task, pid, 0) ?: task_maps_open(&maps, task.thread);
	while (!err && task_maps_next(&maps, &m) > 0) {
		mapping_look(w, &task, &m);
		work_begin(w, &key, "");
		any = true;
	}
	work_end(w);
	return err ?: any ? 0 : -ESRCH;
}

static void records_take(struct worker *w);

/* Files that nobody maps lose their probes: when two passes did not come upon them. */
static void files_sweep(struct worker *w)
{
	struct file *file, *next;

	HASH_ITER (hh, w->files, file, next) {
		if (!file->probed || file->pass == w->pass)
			continue;
		if (file->stale) {
			file_drop(w, file);
		} else {
			file->stale = true;
			file->witness = 0;
			w->pass_due_ns = w->looked_ns + CONFIRM_NS;
		}
	}
}

/* All processes. */
static void pass_run(struct worker *w)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		_exit(EXIT_FAILURE);
	w->pass++;
	while ((entry = readdir(proc))) {
		int32_t pid = atoi(entry->d_name);

		if (pid > 0)
			process_look(w, pid);
		records_take(w);
	}
	w->looked_ns = host_now();
	w->pass_due_ns = UINT64_MAX;
	files_sweep(w);
	if (!w->looked)
		report_say(REPORT_LOOKED, 0, 0, NULL, "");
	w->looked = true;
}

static bool witness_maps(struct worker *w, const struct file *file)
{
	char path[96];
	struct stat st;
	bool maps;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", file->witness,
		 (unsigned long long)file->start, (unsigned long long)file->end);
	work_begin(w, &(struct probe_key){ .pid = file->witness }, "");
	maps = !stat(path, &st);
	work_end(w);
	return maps && (uint64_t)st.st_ino == file->key.inode;
}

/* Is each probed file still mapped by the process that is known to? Else all are looked at, soon. */
static void witnesses_look(struct worker *w, uint64_t now)
{
	struct file *file, *next;

	w->witness_due_ns = now + WITNESS_NS;
	HASH_ITER (hh, w->files, file, next) {
		if (file->probed && (!file->witness || !witness_maps(w, file))) {
			if (w->pass_due_ns > w->looked_ns + PASS_NS)
				w->pass_due_ns = w->looked_ns + PASS_NS;
			return;
		}
	}
}

/* ---- what the kernel tells of new mappings ---- */

struct mapping_record {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t address, bytes, page_offset;
	uint32_t major, minor;
	uint64_t inode, generation;
	uint32_t protection, flags;
	char path[];
};

struct lost_record {
	struct perf_event_header header;
	uint64_t id, lost;
};

static int record_version(struct worker *w, const struct mapping_record *r,
			  struct probe_version *version)
{
	char path[96];
	struct stat st;
	int err;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%" PRIx64 "-%" PRIx64, r->pid, r->address,
		 r->address + r->bytes);
	work_begin(w, &(struct probe_key){ .pid = r->pid }, "");
	err = stat(path, &st) ? -errno : 0;
	work_end(w);
	if (!err)
		*version = version_of(&st);
	return err;
}

/* Has it been looked at, and is it still the same? Overwritten in place it has another ctime. */
static bool record_known(struct worker *w, const struct mapping_record *r, const struct file *file)
{
	struct probe_version version;

	/* Gone again, or the mapping was split: the next one that maps it tells. */
	return record_version(w, r, &version) || version_equal(&version, &file->version);
}

/*
 * On some file systems of layers the record has the lower file's numbers, and /proc the upper one's.
 * Such a file is remembered under both, or each program that starts would be looked at anew.
 */
static void record_alias(struct worker *w, const struct mapping_record *r,
			 const struct probe_key *key)
{
	struct probe_version version;

	if (record_version(w, r, &version))
		return;
	file_add(w, key)->version = version;
}

/* A file is known by what it is, and for some plans by who maps it. */
static void record_look(struct worker *w, const struct mapping_record *r, uint32_t plan)
{
	struct probe_key key;
	struct file *file;

	memset(&key, 0, sizeof(key)); /* it is hashed as bytes */
	key.device = (uint64_t)r->major << 20 | r->minor;
	key.inode = r->inode;
	key.plan = plan;
	if (w->plans->plan[plan].n)
		key.pid = r->pid;
	file = file_find(w, &key);
	if (file && record_known(w, r, file)) {
		file->pass = w->pass;
		file->stale = false;
		return;
	}
	if (file)
		file->pass = 0; /* to be looked at again */
	process_look(w, r->pid);
	if (!file_find(w, &key))
		record_alias(w, r, &key);
}

static void record_mapping(struct worker *w, const struct mapping_record *r)
{
	size_t room = r->header.size - sizeof(*r);

	if (!r->inode || !probe_file_kind(r->path, strnlen(r->path, room)))
		return;
	for (size_t p = 0; p < w->plans->n; p++)
		if (plan_has(&w->plans->plan[p], r->pid))
			record_look(w, r, p);
}

static enum bpf_perf_event_ret record_take(void *context, int cpu, struct perf_event_header *header)
{
	struct worker *w = context;

	(void)cpu;
	switch (header->type) {
	case PERF_RECORD_MMAP2:
		record_mapping(w, (const void *)header);
		break;
	case PERF_RECORD_LOST:
		w->lost += ((const struct lost_record *)header)->lost;
		break;
	}
	return LIBBPF_PERF_EVENT_CONT;
}

static void records_take(struct worker *w)
{
	uint64_t lost = w->lost;

	if (!w->records)
		return;
	perf_buffer__consume(w->records);
	if (w->lost == lost)
		return;
	report_say(REPORT_LOST, 0, w->lost - lost, NULL, "");
	w->pass_due_ns = host_now();
}

/* A power of two, as perf has it. */
static size_t record_pages(void)
{
	int cpus = libbpf_num_possible_cpus();
	size_t pages = RECORD_PAGES;

	while (pages > RECORD_PAGES_LEAST && cpus > 0 && pages * cpus > RECORD_PAGES_HOST)
		pages /= 2;
	return pages;
}

/* An event that counts nothing, of every CPU: it is there for the records that come along. */
static int records_open(struct worker *w)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.mmap = 1,
		.mmap2 = 1,
		.watermark = 1,
		.wakeup_watermark = 1,
	};
	int map = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, NULL, sizeof(int), sizeof(int),
				 libbpf_num_possible_cpus(), NULL);

	if (map < 0)
		return map;
	w->records = perf_buffer__new_raw(map, record_pages(), &attr, record_take, w, NULL);
	return w->records ? 0 : -errno;
}

/* ---- the loop ---- */

/* Forgets the files of a plan's process, so that they are attached to again. */
static void process_drop(struct worker *w, uint32_t plan, int32_t pid)
{
	struct file *file, *next;

	HASH_ITER (hh, w->files, file, next)
		if (file->key.plan == plan && file->key.pid == pid)
			file_drop(w, file);
}

static void order_take(struct worker *w)
{
	struct prober_report done = { .type = REPORT_DONE };
	struct prober_order order;
	ssize_t n = recv(CONFINE_FD, &order, sizeof(order), 0);

	if (n < 0 && errno == EINTR)
		return;
	if (n != sizeof(order) || order.plan >= w->plans->n)
		_exit(EXIT_FAILURE); /* the keeper has ended */
	plan_order(&w->plans->plan[order.plan], &order);
	if (order.what != ORDER_LOOK)
		process_drop(w, order.plan, order.pid);
	w->seen = 0;
	if (order.what != ORDER_REMOVE)
		done.error = process_look(w, order.pid);
	done.n = w->seen >> order.plan & 1;
	done.what = order.what;
	done.number = order.number;
	done.key.plan = order.plan;
	done.key.pid = order.pid;
	keeper_send(&done, NULL, 0);
}

static int due_ms(const struct worker *w, uint64_t now)
{
	uint64_t due = w->pass_due_ns < w->witness_due_ns ? w->pass_due_ns : w->witness_due_ns;

	return due <= now ? 0 : (due - now + 999999) / 1000000;
}

static _Noreturn void worker_run(struct worker *w)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = CONFINE_FD, .events = POLLIN },
			{ .fd = w->records ? perf_buffer__epoll_fd(w->records) : -1,
			  .events = POLLIN },
		};
		uint64_t now;

		poll(fds, 2, due_ms(w, host_now()));
		w->page->turned_ns = host_now();
		if (fds[0].revents)
			order_take(w);
		records_take(w);
		now = host_now();
		if (w->witness_due_ns <= now)
			witnesses_look(w, now);
		if (w->pass_due_ns <= now)
			pass_run(w);
		if (!w->records && w->pass_due_ns > w->looked_ns + WITNESS_NS)
			w->pass_due_ns = w->looked_ns + WITNESS_NS;
	}
}

static void past_take(struct worker *w)
{
	for (size_t i = 0; i < w->past->n_probed; i++) {
		struct file *file = file_add(w, &w->past->probed[i].key);

		file->version = w->past->probed[i].version;
		file->probed = true;
	}
}

void prober_work(int fd, pid_t keeper, struct plans *plans, struct prober_page *page,
		 const struct prober_past *past)
{
	static struct worker w;

	prober_confine(fd, keeper, "deadhold-prober", plans);
	w = (struct worker){ .plans = plans, .page = page, .past = past };
	past_take(&w);
	/* Records first, then the look at all processes: nobody is missed in between. */
	report_say(REPORT_FOLLOW, records_open(&w), 0, NULL, "");
	pass_run(&w);
	w.witness_due_ns = host_now() + WITNESS_NS;
	worker_run(&w);
}
