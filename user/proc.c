// SPDX-License-Identifier: GPL-2.0-only
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* What is left of a text. */
struct cursor {
	const char *at, *end;
};

static bool cursor_char(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static bool cursor_any(struct cursor *c, char *found)
{
	if (c->at == c->end)
		return false;
	*found = *c->at++;
	return true;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return 16;
}

/* One or more digits whose value fits. */
static bool cursor_number(struct cursor *c, unsigned int base, uint64_t *value)
{
	const char *first = c->at;

	*value = 0;
	for (; c->at < c->end; c->at++) {
		unsigned int digit = digit_value(*c->at);

		if (digit >= base)
			break;
		if (__builtin_mul_overflow(*value, base, value) ||
		    __builtin_add_overflow(*value, digit, value))
			return false;
	}
	return c->at > first;
}

static bool cursor_u32(struct cursor *c, uint32_t *value)
{
	uint64_t wide;

	if (!cursor_number(c, 10, &wide) || wide > UINT32_MAX)
		return false;
	*value = wide;
	return true;
}

static bool cursor_id(struct cursor *c, int32_t *id)
{
	uint64_t wide;

	if (!cursor_number(c, 10, &wide) || wide > INT32_MAX)
		return false;
	*id = wide;
	return true;
}

static void cursor_skip(struct cursor *c, const char *bytes)
{
	while (c->at < c->end && *c->at && strchr(bytes, *c->at))
		c->at++;
}

/* The next line without its newline; false at the end of the text. */
static bool cursor_line(struct cursor *c, struct cursor *line)
{
	const char *newline;

	if (c->at == c->end)
		return false;
	newline = memchr(c->at, '\n', c->end - c->at);
	line->at = c->at;
	line->end = newline ? newline : c->end;
	c->at = newline ? newline + 1 : c->end;
	return true;
}

static bool cursor_word(struct cursor *c, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len))
		return false;
	c->at += len;
	return true;
}

static void text_copy(char *to, size_t size, const char *from, size_t len)
{
	if (len >= size)
		len = size - 1;
	memcpy(to, from, len);
	to[len] = 0;
}

/* " -1" or " 17": a field whose value nobody needs. */
static bool stat_skip_field(struct cursor *c)
{
	uint64_t ignored;

	if (!cursor_char(c, ' '))
		return false;
	cursor_char(c, '-');
	return cursor_number(c, 10, &ignored);
}

static bool stat_skip_fields(struct cursor *c, int n)
{
	while (n--)
		if (!stat_skip_field(c))
			return false;
	return true;
}

/* Fields 3 to 22, proc(5). */
static bool stat_parse_fields(struct cursor *c, struct proc_stat *stat)
{
	return cursor_char(c, ' ') && cursor_any(c, &stat->state) && cursor_char(c, ' ') &&
	       cursor_id(c, &stat->ppid) && stat_skip_fields(c, 4) && cursor_char(c, ' ') &&
	       cursor_u32(c, &stat->flags) && stat_skip_fields(c, 10) && cursor_char(c, ' ') &&
	       cursor_id(c, &stat->threads) && stat_skip_fields(c, 1) && cursor_char(c, ' ') &&
	       cursor_number(c, 10, &stat->start_ticks);
}

int proc_stat_parse(const char *text, size_t len, struct proc_stat *stat)
{
	struct cursor c = { text, text + len };
	const char *close;

	*stat = (struct proc_stat){ 0 };
	if (!cursor_id(&c, &stat->pid) || !cursor_char(&c, ' ') || !cursor_char(&c, '('))
		return -EINVAL;
	/* comm may hold anything, ')' too; what follows it are numbers and one letter. */
	close = memrchr(c.at, ')', c.end - c.at);
	if (!close)
		return -EINVAL;
	text_copy(stat->comm, sizeof(stat->comm), c.at, close - c.at);
	c.at = close + 1;
	if (!stat_parse_fields(&c, stat))
		return -EINVAL;
	if (!stat_skip_fields(&c, 16) || !cursor_char(&c, ' ') || !cursor_id(&c, &stat->processor))
		stat->processor = -1;
	return 0;
}

/* "se.exec_start      :      386971.795527" */
static bool sched_parse_line(struct cursor *line, uint64_t *ran_ns)
{
	uint64_t ms, ns;
	const char *point;

	if (!cursor_word(line, "se.exec_start"))
		return false;
	cursor_skip(line, " ");
	if (!cursor_char(line, ':'))
		return false;
	cursor_skip(line, " ");
	if (!cursor_number(line, 10, &ms) || !cursor_char(line, '.'))
		return false;
	point = line->at;
	if (!cursor_number(line, 10, &ns) || line->at != point + 6 || line->at != line->end ||
	    ms > INT64_MAX / 1000000 - 1)
		return false;
	*ran_ns = ms * 1000000 + ns;
	return true;
}

int proc_sched_parse(const char *text, size_t len, uint64_t *ran_ns)
{
	struct cursor c = { text, text + len }, line;
	bool found = false;

	/* The name comes first, and as it is, newlines and all: the last line that looks so is the one. */
	while (cursor_line(&c, &line))
		found |= sched_parse_line(&line, ran_ns);
	return found ? 0 : -EINVAL;
}

bool proc_stat_ended(const struct proc_stat *stat)
{
	return stat->state == 'Z' || stat->state == 'X' || stat->state == 'x' ||
	       stat->flags & PROC_FLAG_EXITING;
}

/* The last of the numbers, one for each PID namespace from the reader's down to the process's own. */
static int32_t status_innermost(struct cursor *line)
{
	int32_t id = 0;

	for (;;) {
		cursor_skip(line, "\t ");
		if (line->at == line->end)
			return id;
		if (!cursor_id(line, &id))
			return 0;
	}
}

static bool status_parse_line(struct cursor *line, struct proc_status *status)
{
	uint32_t uid;

	/* "Name:" is the first line; the kernel escapes newlines in it, so that it fakes no other. */
	if (cursor_word(line, "State:\t"))
		return cursor_any(line, &status->state);
	if (cursor_word(line, "Tgid:\t"))
		return cursor_id(line, &status->tgid);
	if (cursor_word(line, "PPid:\t"))
		return cursor_id(line, &status->ppid);
	if (cursor_word(line, "Uid:\t")) {
		if (!cursor_u32(line, &uid))
			return false;
		status->uid = uid;
		return true;
	}
	if (cursor_word(line, "NStgid:"))
		return (status->ns_tgid = status_innermost(line));
	if (cursor_word(line, "NSpid:"))
		return (status->ns_tid = status_innermost(line));
	if (cursor_word(line, "voluntary_ctxt_switches:\t"))
		return cursor_number(line, 10, &status->switches);
	return false;
}

int proc_status_parse(const char *text, size_t len, struct proc_status *status)
{
	struct cursor c = { text, text + len }, line;
	bool known = false;

	*status = (struct proc_status){ .uid = -1 };
	while (cursor_line(&c, &line))
		known |= status_parse_line(&line, status);
	return known ? 0 : -EINVAL;
}

/* " 0x7ffe12345678" */
static bool syscall_value(struct cursor *c, uint64_t *value)
{
	return cursor_word(c, " 0x") && cursor_number(c, 16, value);
}

int proc_syscall_parse(const char *text, size_t len, struct proc_syscall *call)
{
	struct cursor c = { text, text + len };

	*call = (struct proc_syscall){ .where = SYSCALL_RUNNING };
	if (cursor_word(&c, "running"))
		return 0;
	call->where = SYSCALL_BLOCKED;
	if (cursor_word(&c, "-1")) {
		call->where = SYSCALL_OUTSIDE;
	} else {
		if (!cursor_id(&c, &call->number))
			return -EINVAL;
		for (int i = 0; i < 6; i++)
			if (!syscall_value(&c, &call->argument[i]))
				return -EINVAL;
	}
	return syscall_value(&c, &call->sp) && syscall_value(&c, &call->pc) ? 0 : -EINVAL;
}

int proc_pidfd_parse(const char *text, size_t len, int32_t *pid, bool *thread)
{
	struct cursor c = { text, text + len }, line;
	bool known = false;
	uint64_t flags;

	*pid = 0;
	*thread = false;
	while (cursor_line(&c, &line)) {
		if (cursor_word(&line, "flags:\t") && cursor_number(&line, 8, &flags)) {
			*thread = flags & O_EXCL;
		} else if (cursor_word(&line, "Pid:\t")) {
			known = true;
			if (cursor_char(&line, '-'))
				*pid = -1;
			else
				cursor_id(&line, pid);
		}
	}
	return known ? 0 : -EINVAL;
}

static bool mapping_parse_flags(struct cursor *c, struct proc_mapping *m)
{
	char r, w, x, s;

	if (!cursor_any(c, &r) || !cursor_any(c, &w) || !cursor_any(c, &x) || !cursor_any(c, &s))
		return false;
	if ((r != 'r' && r != '-') || (w != 'w' && w != '-') || (x != 'x' && x != '-') ||
	    (s != 's' && s != 'p'))
		return false;
	m->read = r == 'r';
	m->write = w == 'w';
	m->exec = x == 'x';
	m->shared = s == 's';
	return true;
}

static bool mapping_parse_device(struct cursor *c, struct proc_mapping *m)
{
	uint64_t major, minor;

	if (!cursor_number(c, 16, &major) || !cursor_char(c, ':') || !cursor_number(c, 16, &minor))
		return false;
	if (major >= 1 << 12 || minor >= 1 << 20)
		return false;
	m->device = major << 20 | minor;
	return true;
}

int proc_mapping_parse(const char *line, size_t len, struct proc_mapping *mapping)
{
	struct cursor c = { line, line + len };
	struct proc_mapping *m = mapping;

	*m = (struct proc_mapping){ 0 };
	if (!cursor_number(&c, 16, &m->start) || !cursor_char(&c, '-') ||
	    !cursor_number(&c, 16, &m->end) || !cursor_char(&c, ' ') ||
	    !mapping_parse_flags(&c, m) || !cursor_char(&c, ' ') ||
	    !cursor_number(&c, 16, &m->offset) || !cursor_char(&c, ' ') ||
	    !mapping_parse_device(&c, m) || !cursor_char(&c, ' ') ||
	    !cursor_number(&c, 10, &m->inode) || m->start >= m->end)
		return -EINVAL;
	/* Padding up to a fixed column; a path starts with '/' or '[', never with a space. */
	cursor_skip(&c, " ");
	if (c.at < c.end) {
		m->path = c.at;
		m->path_len = c.end - c.at;
	}
	return 0;
}

/* "VmFlags: rd wr mr mw me um ac": fs/proc/task_mmu.c, show_smap_vma_flags(); "ui" is Linux 5.13's. */
bool proc_smaps_userfault(const char *line, size_t len)
{
	static const char *const served[] = { "um", "uw", "ui" };
	struct cursor c = { line, line + len };

	if (!cursor_word(&c, "VmFlags:"))
		return false;
	while (c.at < c.end) {
		cursor_skip(&c, " ");
		for (size_t i = 0; i < sizeof(served) / sizeof(*served); i++)
			if (cursor_word(&c, served[i]))
				return true;
		while (c.at < c.end && *c.at != ' ')
			c.at++;
	}
	return false;
}

size_t proc_path_unescape(const char *text, size_t len, char *path, size_t size)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++, out++) {
		char byte = text[i];

		if (len - i >= 4 && !memcmp(text + i, "\\012", 4)) {
			byte = '\n';
			i += 3;
		}
		if (out + 1 < size)
			path[out] = byte;
	}
	if (size)
		path[out < size ? out : size - 1] = 0;
	return out;
}

bool proc_path_deleted(const char *path, size_t *len)
{
	static const char mark[] = " (deleted)";
	size_t n = strlen(path), m = sizeof(mark) - 1;
	bool deleted = n > m && !memcmp(path + n - m, mark, m);

	*len = deleted ? n - m : n;
	return deleted;
}

static bool name_starts(const char *name, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && !memcmp(name, with, n);
}

/* The name, or the name of a file that was replaced while it is mapped. */
static bool name_is(const char *name, size_t len, const char *wanted)
{
	size_t n = strlen(wanted);

	return name_starts(name, len, wanted) && (len == n || name[n] == ' ');
}

enum lock_libc proc_path_libc(const char *path, size_t len)
{
	const char *slash = memrchr(path, '/', len);
	const char *name = slash ? slash + 1 : path;
	size_t n = path + len - name;

	if (name_starts(name, n, "ld-musl-") || name_starts(name, n, "libc.musl-"))
		return LIBC_MUSL;
	/* Debian's musl package: ld-musl-ARCH.so.1 is a link to ARCH-linux-musl/libc.so */
	if (slash && name_is(name, n, "libc.so") && memmem(path, slash - path, "-musl", 5))
		return LIBC_MUSL;
	if (name_starts(name, n, "libc.so.6") || name_starts(name, n, "libc-2."))
		return LIBC_GLIBC;
	return LIBC_UNKNOWN;
}

/* "4:memory:/a/b". Only the path may hold colons: hierarchy names are [A-Za-z0-9_.-]+. */
static bool cgroup_parse_line(struct cursor *line, uint64_t *hierarchy, struct cursor *controllers)
{
	const char *colon;

	if (!cursor_number(line, 10, hierarchy) || !cursor_char(line, ':'))
		return false;
	colon = memchr(line->at, ':', line->end - line->at);
	if (!colon)
		return false;
	*controllers = (struct cursor){ line->at, colon };
	line->at = colon + 1;
	return line->at < line->end;
}

int proc_cgroup_parse(const char *text, size_t len, char *path, size_t size)
{
	struct cursor c = { text, text + len }, line, controllers;
	uint64_t hierarchy;
	int best = 0;

	path[0] = 0;
	while (cursor_line(&c, &line)) {
		int rank = 1;

		if (!cgroup_parse_line(&line, &hierarchy, &controllers))
			continue;
		if (!hierarchy && controllers.at == controllers.end)
			rank = 3;
		else if (cursor_word(&controllers, "name=systemd"))
			rank = 2;
		if (line.end - line.at != 1) /* not "/", which says nothing */
			rank += 3;
		if (rank > best) {
			text_copy(path, size, line.at, line.end - line.at);
			best = rank;
		}
	}
	return best ? 0 : -EINVAL;
}

#define CONTAINER_ID_LEN 64

static bool part_ends(const char *part, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len > n && !memcmp(part + len - n, with, n);
}

/*
 * Where a container's id begins in this part of a path; NULL: there is none. The group that CRI-O and
 * Podman make for a container's monitor is outside of it.
 */
static const char *part_container(const char *part, size_t len)
{
	const char *id;

	if (part_ends(part, len, ".scope"))
		len -= strlen(".scope");
	if (len < CONTAINER_ID_LEN)
		return NULL;
	id = part + len - CONTAINER_ID_LEN;
	if (strspn(id, "0123456789abcdef") < CONTAINER_ID_LEN ||
	    (id > part && id[-1] != '-' && id[-1] != ':') || part_ends(part, id - part, "conmon-"))
		return NULL;
	return id;
}

void proc_cgroup_unit(const char *path, char *unit, size_t size)
{
	unit[0] = '\0';
	while (*(path += strspn(path, "/"))) {
		size_t len = strcspn(path, "/");

		if ((part_ends(path, len, ".service") || part_ends(path, len, ".scope")) &&
		    !part_container(path, len))
			text_copy(unit, size, path, len);
		path += len;
	}
}

void proc_cgroup_container(const char *path, char *id, size_t size)
{
	id[0] = '\0';
	while (*(path += strspn(path, "/"))) {
		size_t len = strcspn(path, "/");
		const char *found = part_container(path, len);

		if (found)
			text_copy(id, size, found, CONTAINER_ID_LEN);
		path += len;
	}
}

bool proc_cgroup_in_unit(const char *path, const char *unit)
{
	size_t n = strlen(unit);

	while (*(path += strspn(path, "/"))) {
		size_t len = strcspn(path, "/");
		bool begins = len >= n && !memcmp(path, unit, n);

		if (begins && (len == n ||
			       (len == n + strlen(".service") && part_ends(path, len, ".service"))))
			return true;
		path += len;
	}
	return false;
}

bool proc_cgroup_in_container(const char *path, const char *id)
{
	while (*(path += strspn(path, "/"))) {
		size_t len = strcspn(path, "/");
		const char *found = part_container(path, len);

		if (found && !strncmp(found, id, strlen(id)))
			return true;
		path += len;
	}
	return false;
}

void proc_cmdline_parse(const char *text, size_t len, char *cmdline, size_t size)
{
	if (len >= size)
		len = size - 1;
	while (len && !text[len - 1])
		len--;
	for (size_t i = 0; i < len; i++)
		cmdline[i] = text[i] ? text[i] : ' ';
	cmdline[len] = 0;
}

uint32_t proc_namespace_parse(const char *text, size_t len)
{
	struct cursor c = { text, text + len };
	uint32_t inode;

	if (!cursor_word(&c, "pid:[") || !cursor_u32(&c, &inode) || !cursor_char(&c, ']') ||
	    c.at != c.end)
		return 0;
	return inode;
}
