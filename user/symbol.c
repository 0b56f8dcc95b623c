// SPDX-License-Identifier: GPL-2.0-only
#include "symbol.h"

#include <fcntl.h>
#include <gelf.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NOTE_BYTES     65536
#define FUNCTION_NAMES 256 /* at a time */

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#endif
#define INTERPRETER_BYTES 256

struct symbols {
	Elf *elf;
	int fd;
};

/* A table of symbols and where its names are in the file. */
struct table {
	Elf_Data *data;
	size_t n;
	size_t names_section;
	uint64_t names, names_size;
};

static int open_path(int dir, const char *path, bool confined)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC };

	if (confined)
		how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
	return syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

int symbol_file_open(int dir, const char *path, bool confined)
{
	/* Only O_PATH is free of side effects: opening rewinds a tape, waits for a FIFO's writer. */
	_cleanup_close_ int handle = open_path(dir, path, confined);
	_cleanup_close_ int fd = -1;
	char name[64];
	struct stat st;

	if (handle < 0 || fstat(handle, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > SYMBOL_FILE_BYTES)
		return -EFBIG;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", handle);
	/* O_NONBLOCK: somebody may hold a lease on it. */
	fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : take_fd(&fd);
}

static bool elf_usable(Elf *elf)
{
	GElf_Ehdr header;

	return elf && elf_kind(elf) == ELF_K_ELF && gelf_getehdr(elf, &header) &&
	       (header.e_type == ET_EXEC || header.e_type == ET_DYN);
}

struct symbols *symbols_new(int fd)
{
	_cleanup_symbols_ struct symbols *s = calloc(1, sizeof(*s));
	_cleanup_close_ int owned = fd;

	if (!s)
		return NULL;
	s->fd = take_fd(&owned);
	elf_version(EV_CURRENT);
	/* Read, not mapped: a file that shrinks under a mapping means SIGBUS. */
	s->elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf_usable(s->elf)) {
		errno = EINVAL;
		return NULL;
	}
	return take_ptr(s);
}

void symbols_free(struct symbols *symbols)
{
	if (!symbols)
		return;
	elf_end(symbols->elf);
	cleanup_close(&symbols->fd);
	free(symbols);
}

/* The nth program header of a type, from *next on; advances *next. */
static bool segment_next(const struct symbols *s, uint32_t type, size_t *next, GElf_Phdr *segment)
{
	size_t n;

	if (elf_getphdrnum(s->elf, &n))
		return false;
	while (*next < n)
		if (gelf_getphdr(s->elf, (*next)++, segment) && segment->p_type == type)
			return true;
	return false;
}

int symbols_bias(const struct symbols *symbols, uint64_t start, uint64_t offset, uint64_t *bias)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	GElf_Phdr segment;
	size_t next = 0;

	while (segment_next(symbols, PT_LOAD, &next, &segment)) {
		if ((segment.p_offset & -page) != offset)
			continue;
		*bias = start - (segment.p_vaddr & -page);
		return 0;
	}
	return -ENOENT;
}

bool symbols_writable(const struct symbols *symbols, uint64_t vaddr)
{
	GElf_Phdr segment;
	size_t next = 0;

	while (segment_next(symbols, PT_LOAD, &next, &segment))
		if (segment.p_flags & PF_W && vaddr >= segment.p_vaddr &&
		    vaddr - segment.p_vaddr < segment.p_memsz)
			return true;
	return false;
}

/* The file's table of that type, if it is sound and not beyond the limit (else errno is EFBIG). */
static bool table_find(const struct symbols *s, uint32_t type, struct table *table)
{
	GElf_Shdr section, names;
	Elf_Scn *scn = NULL;

	while ((scn = elf_nextscn(s->elf, scn)))
		if (gelf_getshdr(scn, &section) && section.sh_type == type)
			break;
	errno = scn && section.sh_size > SYMBOL_TABLE_BYTES ? EFBIG : ENOENT;
	if (!scn || section.sh_size > SYMBOL_TABLE_BYTES || !section.sh_entsize)
		return false;
	if (!gelf_getshdr(elf_getscn(s->elf, section.sh_link), &names) ||
	    names.sh_type != SHT_STRTAB || names.sh_flags & SHF_COMPRESSED)
		return false;
	table->data = elf_getdata(scn, NULL);
	if (!table->data)
		return false;
	table->n = section.sh_size / section.sh_entsize;
	table->names_section = section.sh_link;
	table->names = names.sh_offset;
	table->names_size = names.sh_size;
	return true;
}

/* Reads the name itself: the table of all names may be far larger than that of the symbols. */
static bool table_name(const struct symbols *s, const struct table *table, uint32_t at, char *name,
		       size_t size)
{
	uint64_t offset;
	ssize_t n;

	if (at >= table->names_size || __builtin_add_overflow(table->names, at, &offset))
		return false;
	if (size - 1 > table->names_size - at)
		size = table->names_size - at + 1;
	n = pread(s->fd, name, size - 1, offset);
	if (n <= 0)
		return false;
	name[n] = 0;
	return name[0] != 0;
}

static bool symbol_is_data(const GElf_Sym *symbol)
{
	unsigned int type = GELF_ST_TYPE(symbol->st_info);

	return (type == STT_OBJECT || type == STT_NOTYPE || type == STT_COMMON) &&
	       symbol->st_shndx != SHN_UNDEF && symbol->st_shndx != SHN_ABS && symbol->st_size;
}

static bool symbol_is_function(const GElf_Sym *symbol)
{
	return GELF_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF &&
	       symbol->st_size;
}

static bool symbol_answers(const GElf_Sym *symbol, const struct symbol_query *query)
{
	return query->vaddr >= symbol->st_value &&
	       query->vaddr - symbol->st_value < symbol->st_size &&
	       (!query->found_size || symbol->st_size < query->found_size);
}

static void query_answer(const struct symbols *s, const struct table *table, const GElf_Sym *symbol,
			 struct symbol_query *query)
{
	uint64_t into = query->vaddr - symbol->st_value;
	char name[DETAIL_BYTES];

	if (!table_name(s, table, symbol->st_name, name, sizeof(name)))
		return;
	query->found_value = symbol->st_value;
	query->found_size = symbol->st_size;
	/* A name that is too long loses its end, never the distance. */
	if (!into) {
		snprintf(query->name, query->size, "%s", name);
	} else {
		char distance[24];
		int n = snprintf(distance, sizeof(distance), "+0x%llx", (unsigned long long)into);
		int room = (int)query->size - 1 - n;

		if (room > 0)
			snprintf(query->name, query->size, "%.*s%s", room, name, distance);
	}
}

/* Once over the table for all queries. */
static void table_search(const struct symbols *s, const struct table *table,
			 struct symbol_query *queries, size_t n)
{
	GElf_Sym symbol;

	for (size_t i = 0; i < table->n && gelf_getsym(table->data, i, &symbol); i++) {
		bool data = symbol_is_data(&symbol), code = symbol_is_function(&symbol);

		for (size_t q = 0; (data || code) && q < n; q++)
			if ((queries[q].code ? code : data) && symbol_answers(&symbol, &queries[q]))
				query_answer(s, table, &symbol, &queries[q]);
	}
}

void symbols_find(struct symbols *symbols, struct symbol_query *queries, size_t n)
{
	struct table table;
	bool all = true;

	for (size_t q = 0; q < n; q++)
		queries[q].found_size = 0;
	if (table_find(symbols, SHT_SYMTAB, &table))
		table_search(symbols, &table, queries, n);
	for (size_t q = 0; q < n; q++)
		all &= queries[q].found_size != 0;
	if (!all && table_find(symbols, SHT_DYNSYM, &table))
		table_search(symbols, &table, queries, n);
}

/* Where in the file the code at this address is. */
static bool code_offset(const struct symbols *s, uint64_t vaddr, uint64_t *offset)
{
	GElf_Phdr segment;
	size_t next = 0;

	while (segment_next(s, PT_LOAD, &next, &segment))
		if (segment.p_flags & PF_X && vaddr >= segment.p_vaddr &&
		    vaddr - segment.p_vaddr < segment.p_filesz)
			return !__builtin_add_overflow(vaddr - segment.p_vaddr, segment.p_offset,
						       offset);
	return false;
}

static size_t name_find(const char *const *names, size_t n, const char *name)
{
	size_t i = 0;

	while (i < n && strcmp(names[i], name))
		i++;
	return i;
}

/* Those that are not in `have` already; fresh: those of this table. */
static void table_functions(const struct symbols *s, const struct table *table,
			    const char *const *names, size_t n, const bool *have, bool *fresh,
			    symbols_function *found, void *context)
{
	uint64_t offset;
	GElf_Sym symbol;

	for (size_t i = 0; i < table->n && gelf_getsym(table->data, i, &symbol); i++) {
		const char *name;
		size_t which;

		if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF)
			continue;
		name = elf_strptr(s->elf, table->names_section, symbol.st_name);
		which = name ? name_find(names, n, name) : n;
		if (which == n || have[which] || !code_offset(s, symbol.st_value, &offset))
			continue;
		fresh[which] = true;
		found(context, which, offset, symbol.st_size);
	}
}

int symbols_functions(struct symbols *symbols, const char *const *names, size_t n,
		      symbols_function *found, void *context)
{
	static const uint32_t types[] = { SHT_DYNSYM, SHT_SYMTAB };
	bool have[FUNCTION_NAMES] = { false }, fresh[FUNCTION_NAMES] = { false };
	GElf_Ehdr header;
	struct table table;
	int err = 0;

	if (n > FUNCTION_NAMES)
		return -EINVAL;
	if (!gelf_getehdr(symbols->elf, &header) || header.e_machine != MACHINE ||
	    header.e_ident[EI_CLASS] != ELFCLASS64)
		return -ENOEXEC;
	for (size_t t = 0; t < 2 && memchr(have, false, n); t++) {
		bool usable = table_find(symbols, types[t], &table);

		if (usable && table.names_size <= SYMBOL_TABLE_BYTES)
			table_functions(symbols, &table, names, n, have, fresh, found, context);
		else if (usable || errno == EFBIG)
			err = -EFBIG;
		memcpy(have, fresh, sizeof(have));
	}
	return err;
}

static enum lock_libc interpreter_libc(const struct symbols *s, const GElf_Phdr *segment)
{
	char path[INTERPRETER_BYTES];
	const char *name;
	ssize_t n;

	if (segment->p_filesz >= sizeof(path))
		return LIBC_UNKNOWN;
	n = pread(s->fd, path, segment->p_filesz, segment->p_offset);
	if (n <= 0)
		return LIBC_UNKNOWN;
	path[n] = 0;
	name = strrchr(path, '/');
	name = name ? name + 1 : path;
	if (!strncmp(name, "ld-musl-", 8))
		return LIBC_MUSL;
	if (!strncmp(name, "ld-linux", 8) || !strncmp(name, "ld64.so.", 8))
		return LIBC_GLIBC;
	return LIBC_UNKNOWN;
}

/* A note of GNU's of this type among those of a segment. Returns its contents, or NULL. */
static const char *notes_find(Elf_Data *notes, uint32_t type, size_t *size)
{
	size_t at = 0, next, name, desc;
	GElf_Nhdr header;

	while ((next = gelf_getnote(notes, at, &header, &name, &desc))) {
		const char *bytes = notes->d_buf;

		if (header.n_type == type && header.n_namesz == 4 &&
		    !memcmp(bytes + name, "GNU", 4)) {
			*size = header.n_descsz;
			return bytes + desc;
		}
		at = next;
	}
	return NULL;
}

static const char *note_find(const struct symbols *s, uint32_t type, size_t *size)
{
	const char *found = NULL;
	GElf_Phdr segment;
	size_t next = 0;

	while (!found && segment_next(s, PT_NOTE, &next, &segment)) {
		Elf_Data *notes;

		if (segment.p_filesz > NOTE_BYTES)
			continue;
		notes = elf_getdata_rawchunk(s->elf, segment.p_offset, segment.p_filesz,
					     segment.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
		found = notes ? notes_find(notes, type, size) : NULL;
	}
	return found;
}

/* Type 1, first word 0 (Linux): csu/abi-note.c of glibc. */
static bool program_has_abi_tag(const struct symbols *s)
{
	uint32_t system;
	size_t size;
	const char *tag = note_find(s, NT_GNU_ABI_TAG, &size);

	if (!tag || size < 16)
		return false;
	memcpy(&system, tag, sizeof(system));
	return system == ELF_NOTE_OS_LINUX;
}

void symbols_build_id(const struct symbols *symbols, char out[BUILD_ID_BYTES + 1])
{
	size_t size = 0;
	const char *id = note_find(symbols, NT_GNU_BUILD_ID, &size);

	out[0] = 0;
	if (!id || size > BUILD_ID_BYTES / 2)
		return;
	for (size_t i = 0; i < size; i++)
		snprintf(out + 2 * i, 3, "%02x", (unsigned char)id[i]);
}

static bool program_has_musl_names(const struct symbols *s)
{
	bool init = false, start = false;
	struct table table;
	GElf_Sym symbol;

	if (!table_find(s, SHT_SYMTAB, &table) || table.names_size > SYMBOL_TABLE_BYTES)
		return false;
	for (size_t i = 0; i < table.n && gelf_getsym(table.data, i, &symbol); i++) {
		const char *name = elf_strptr(s->elf, table.names_section, symbol.st_name);

		if (!name || GELF_ST_TYPE(symbol.st_info) != STT_FUNC ||
		    symbol.st_shndx == SHN_UNDEF)
			continue;
		init |= !strcmp(name, "__init_libc");
		start |= !strcmp(name, "__libc_start_init");
		if (init && start)
			return true;
	}
	return false;
}

static void function_seen(void *context, size_t which, uint64_t offset, uint64_t bytes)
{
	(void)which, (void)offset, (void)bytes;
	*(bool *)context = true;
}

/* ldso/dynlink.c: the last stage of its start, which the earlier ones look up by name. */
static bool library_is_musl(struct symbols *s)
{
	static const char *const name[] = { "__dls3" };
	bool seen = false;

	symbols_functions(s, name, 1, function_seen, &seen);
	return seen;
}

static bool data_offset(const struct symbols *s, uint64_t vaddr, uint64_t *offset)
{
	GElf_Phdr segment;
	size_t next = 0;

	while (segment_next(s, PT_LOAD, &next, &segment))
		if (vaddr >= segment.p_vaddr && vaddr - segment.p_vaddr < segment.p_filesz)
			return !__builtin_add_overflow(vaddr - segment.p_vaddr, segment.p_offset,
						       offset);
	return false;
}

/* The data of that name in .dynsym. */
static bool data_find(const struct symbols *s, const char *name, GElf_Sym *symbol)
{
	struct table table;

	if (!table_find(s, SHT_DYNSYM, &table) || table.names_size > SYMBOL_TABLE_BYTES)
		return false;
	for (size_t i = 0; i < table.n && gelf_getsym(table.data, i, symbol); i++) {
		const char *own = elf_strptr(s->elf, table.names_section, symbol->st_name);

		if (own && !strcmp(own, name) && symbol_is_data(symbol))
			return true;
	}
	return false;
}

uint32_t symbols_word(struct symbols *symbols, const char *name)
{
	GElf_Sym symbol;
	uint64_t offset;
	uint32_t word;

	if (!data_find(symbols, name, &symbol) || !data_offset(symbols, symbol.st_value, &offset))
		return 0;
	return pread(symbols->fd, &word, sizeof(word), offset) == sizeof(word) ? word : 0;
}

bool symbols_data(struct symbols *symbols, const char *name, uint64_t *vaddr, uint64_t *bytes)
{
	GElf_Sym symbol;

	if (!data_find(symbols, name, &symbol))
		return false;
	*vaddr = symbol.st_value;
	*bytes = symbol.st_size;
	return true;
}

enum lock_libc symbols_libc(struct symbols *symbols)
{
	GElf_Phdr segment;
	size_t next = 0;

	if (segment_next(symbols, PT_INTERP, &next, &segment))
		return interpreter_libc(symbols, &segment);
	if (program_has_abi_tag(symbols))
		return LIBC_GLIBC;
	if (library_is_musl(symbols))
		return LIBC_MUSL;
	return program_has_musl_names(symbols) ? LIBC_MUSL : LIBC_UNKNOWN;
}

uint32_t symbols_runtimes(struct symbols *symbols)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr section, names;
	uint32_t runtimes = 0;
	size_t index;

	/* The names are read as a whole. */
	if (elf_getshdrstrndx(symbols->elf, &index) ||
	    !gelf_getshdr(elf_getscn(symbols->elf, index), &names) ||
	    names.sh_size > SYMBOL_TABLE_BYTES)
		return 0;
	while ((scn = elf_nextscn(symbols->elf, scn)) && gelf_getshdr(scn, &section)) {
		const char *name = elf_strptr(symbols->elf, index, section.sh_name);

		if (name)
			runtimes |= runtime_of_section(name);
	}
	return runtimes;
}
