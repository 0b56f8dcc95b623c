// SPDX-License-Identifier: GPL-2.0-only
/* symbol.c over this test's own file, over ELF files made by hand, and over files that lie. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "symbol.h"

/* Looked up by name; volatile and used, so that they stay. */
static volatile int symbol_data[16] = { 1 };
static volatile char symbol_bss[100000];
static __thread volatile int symbol_tls = 1;

static uint64_t own_bias;

static int bias_of_first(struct dl_phdr_info *info, size_t size, void *bias)
{
	(void)size;
	*(uint64_t *)bias = info->dlpi_addr;
	return 1;
}

static int setup(void **state)
{
	(void)state;
	symbol_bss[5] = symbol_data[0] + symbol_tls;
	dl_iterate_phdr(bias_of_first, &own_bias);
	return 0;
}

static struct symbols *own_symbols(void)
{
	int fd = symbol_file_open(AT_FDCWD, "/proc/self/exe", false);
	struct symbols *symbols;

	assert_true(fd >= 0);
	symbols = symbols_new(fd);
	assert_non_null(symbols);
	return symbols;
}

static void find_own(struct symbols *symbols, const volatile void *address, char *name, size_t size)
{
	struct symbol_query query = {
		.vaddr = (uintptr_t)address - own_bias,
		.name = name,
		.size = size,
	};

	name[0] = 0;
	symbols_find(symbols, &query, 1);
}

static void own_names(void **state)
{
	_cleanup_symbols_ struct symbols *symbols = own_symbols();
	char name[64];

	(void)state;
	find_own(symbols, symbol_data, name, sizeof(name));
	assert_string_equal(name, "symbol_data");
	find_own(symbols, symbol_data + 3, name, sizeof(name));
	assert_string_equal(name, "symbol_data+0xc");
	find_own(symbols, symbol_bss + 99999, name, sizeof(name));
	assert_string_equal(name, "symbol_bss+0x1869f");
	find_own(symbols, (void *)own_names, name, sizeof(name)); /* a function is none */
	assert_string_equal(name, "");
	find_own(symbols, &symbol_tls, name, sizeof(name));
	assert_string_equal(name, "");
	find_own(symbols, NULL, name, sizeof(name));
	assert_string_equal(name, "");
}

static void long_names(void **state)
{
	_cleanup_symbols_ struct symbols *symbols = own_symbols();
	char name[16];

	(void)state;
	find_own(symbols, symbol_data + 3, name, 10);
	assert_string_equal(name, "symbo+0xc");
	find_own(symbols, symbol_data + 3, name, 6);
	assert_string_equal(name, "s+0xc");
	find_own(symbols, symbol_data + 3, name, 5);
	assert_string_equal(name, "");
	find_own(symbols, symbol_data, name, 5);
	assert_string_equal(name, "symb");
}

static void many_at_once(void **state)
{
	_cleanup_symbols_ struct symbols *symbols = own_symbols();
	char names[3][32] = { "", "", "" };
	struct symbol_query queries[3] = {
		{ .vaddr = (uintptr_t)symbol_bss - own_bias, .name = names[0], .size = 32 },
		{ .vaddr = 1, .name = names[1], .size = 32 },
		{ .vaddr = (uintptr_t)symbol_data - own_bias, .name = names[2], .size = 32 },
	};

	(void)state;
	symbols_find(symbols, queries, 3);
	assert_string_equal(names[0], "symbol_bss");
	assert_string_equal(names[1], "");
	assert_string_equal(names[2], "symbol_data");
}

static void own_libc(void **state)
{
	_cleanup_symbols_ struct symbols *symbols = own_symbols();

	(void)state;
	assert_int_equal(symbols_libc(symbols), LIBC_GLIBC);
}

/* --- files by hand --- */

struct note {
	Elf64_Nhdr header;
	char name[4];
	uint32_t desc[4];
};

/* A program with one loaded segment, a note or an interpreter, and a table of a few symbols. */
struct file {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	char interpreter[32];
	struct note note;
	Elf64_Sym symbols[6];
	char names[96];
	Elf64_Shdr sections[3];
};

enum { NAME_NONE = 0, NAME_INIT = 1, NAME_START = 13, NAME_OUTER = 31, NAME_INNER = 37 };

static struct file file_make(void)
{
	struct file f = {
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_phoff = offsetof(struct file, segments),
			.e_shoff = offsetof(struct file, sections),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1,
			.e_shentsize = sizeof(Elf64_Shdr),
			.e_shnum = 3,
		},
		.segments = {
			{ .p_type = PT_LOAD, .p_vaddr = 0x400000, .p_filesz = sizeof(struct file),
			  .p_memsz = sizeof(struct file), .p_align = 4096 },
		},
		.note = { .header = { 4, 16, NT_GNU_ABI_TAG }, .name = "GNU", .desc = { 0, 3, 2 } },
		.names = "\0__init_libc\0__libc_start_init\0outer\0inner",
		.sections = {
			{ 0 },
			{ .sh_type = SHT_SYMTAB, .sh_offset = offsetof(struct file, symbols),
			  .sh_size = sizeof(f.symbols), .sh_entsize = sizeof(Elf64_Sym),
			  .sh_link = 2 },
			{ .sh_type = SHT_STRTAB, .sh_offset = offsetof(struct file, names),
			  .sh_size = sizeof(f.names) },
		},
	};

	return f;
}

static void file_add_segment(struct file *f, uint32_t type, size_t offset, size_t size)
{
	f->segments[f->header.e_phnum++] = (Elf64_Phdr){
		.p_type = type,
		.p_offset = offset,
		.p_filesz = size,
		.p_align = 4,
	};
}

static int memory_file(const void *bytes, size_t len)
{
	int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}

static enum lock_libc file_libc(const struct file *f)
{
	_cleanup_symbols_ struct symbols *symbols = symbols_new(memory_file(f, sizeof(*f)));

	assert_non_null(symbols);
	return symbols_libc(symbols);
}

static void libc_static_glibc(void **state)
{
	struct file f = file_make();

	(void)state;
	assert_int_equal(file_libc(&f), LIBC_UNKNOWN);
	file_add_segment(&f, PT_NOTE, offsetof(struct file, note), sizeof(f.note));
	assert_int_equal(file_libc(&f), LIBC_GLIBC);
	f.note.desc[0] = 1; /* for the Hurd */
	assert_int_equal(file_libc(&f), LIBC_UNKNOWN);
	f.note.desc[0] = 0;
	f.note.header.n_type = NT_GNU_BUILD_ID;
	assert_int_equal(file_libc(&f), LIBC_UNKNOWN);
	f.note.header.n_type = NT_GNU_ABI_TAG;
	f.note.header.n_descsz = 1u << 31;
	assert_int_equal(file_libc(&f), LIBC_UNKNOWN);
}

static void libc_static_musl(void **state)
{
	struct file f = file_make();

	(void)state;
	f.symbols[1] = (Elf64_Sym){ NAME_INIT, STT_FUNC, 0, 1, 0x400100, 16 };
	assert_int_equal(file_libc(&f), LIBC_UNKNOWN);
	f.symbols[2] = (Elf64_Sym){ NAME_START, STT_FUNC, 0, SHN_UNDEF, 0, 0 };
	assert_int_equal(file_libc(&f), LIBC_UNKNOWN);
	f.symbols[2] = (Elf64_Sym){ NAME_START, STT_FUNC, 0, 1, 0x400200, 16 };
	assert_int_equal(file_libc(&f), LIBC_MUSL);
}

static void libc_by_interpreter(void **state)
{
	static const struct {
		const char *interpreter;
		enum lock_libc libc;
	} rows[] = {
		{ "/lib64/ld-linux-x86-64.so.2", LIBC_GLIBC },
		{ "/lib/ld-linux-aarch64.so.1", LIBC_GLIBC },
		{ "/lib/ld-musl-x86_64.so.1", LIBC_MUSL },
		{ "/system/bin/linker64", LIBC_UNKNOWN },
		{ "ld-musl-x", LIBC_MUSL },
		{ "", LIBC_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct file f = file_make();

		strcpy(f.interpreter, rows[i].interpreter);
		file_add_segment(&f, PT_INTERP, offsetof(struct file, interpreter),
				 strlen(rows[i].interpreter) + 1);
		file_add_segment(&f, PT_NOTE, offsetof(struct file, note), sizeof(f.note));
		assert_int_equal(file_libc(&f), rows[i].libc);
	}
}

static void file_find(const struct file *f, uint64_t vaddr, char *name, size_t size)
{
	_cleanup_symbols_ struct symbols *symbols = symbols_new(memory_file(f, sizeof(*f)));
	struct symbol_query query = { .vaddr = vaddr, .name = name, .size = size };

	assert_non_null(symbols);
	name[0] = 0;
	symbols_find(symbols, &query, 1);
}

/* The smallest one; kinds that are no data, and names that are none, are passed over. */
static void which_symbol(void **state)
{
	struct file f = file_make();
	char name[32];

	(void)state;
	f.symbols[1] = (Elf64_Sym){ NAME_OUTER, STT_OBJECT, 0, 1, 0x5000, 0x100 };
	f.symbols[2] = (Elf64_Sym){ NAME_INNER, STT_NOTYPE, 0, 1, 0x5010, 0x10 };
	f.symbols[3] = (Elf64_Sym){ NAME_INIT, STT_FUNC, 0, 1, 0x5010, 8 };
	f.symbols[4] = (Elf64_Sym){ NAME_INIT, STT_TLS, 0, 1, 0x5010, 4 };
	f.symbols[5] = (Elf64_Sym){ NAME_NONE, STT_OBJECT, 0, 1, 0x5010, 1 };
	file_find(&f, 0x5000, name, sizeof(name));
	assert_string_equal(name, "outer");
	file_find(&f, 0x5010, name, sizeof(name));
	assert_string_equal(name, "inner");
	file_find(&f, 0x501f, name, sizeof(name));
	assert_string_equal(name, "inner+0xf");
	file_find(&f, 0x5020, name, sizeof(name));
	assert_string_equal(name, "outer+0x20");
	file_find(&f, 0x5100, name, sizeof(name));
	assert_string_equal(name, "");
	file_find(&f, 0x4fff, name, sizeof(name));
	assert_string_equal(name, "");
	f.sections[1].sh_type = SHT_DYNSYM; /* stripped */
	file_find(&f, 0x5010, name, sizeof(name));
	assert_string_equal(name, "inner");
	f.symbols[2].st_name = sizeof(f.names) + 5;
	file_find(&f, 0x5010, name, sizeof(name));
	assert_string_equal(name, "outer+0x10");
	/* Its end is beyond the last address. */
	f.symbols[1].st_size = UINT64_MAX;
	file_find(&f, 0x5010, name, sizeof(name));
	assert_string_equal(name, "outer+0x10");
}

static void biases(void **state)
{
	struct file f = file_make();
	_cleanup_symbols_ struct symbols *symbols = NULL;
	uint64_t bias;

	(void)state;
	f.header.e_phnum = 2;
	f.segments[1] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = 0x1010, .p_vaddr = 0x403010 };
	symbols = symbols_new(memory_file(&f, sizeof(f)));
	assert_int_equal(symbols_bias(symbols, 0x400000, 0, &bias), 0);
	assert_int_equal(bias, 0);
	assert_int_equal(symbols_bias(symbols, 0x7f0000400000, 0, &bias), 0);
	assert_int_equal(bias, 0x7f0000000000);
	if (sysconf(_SC_PAGESIZE) == 4096) {
		assert_int_equal(symbols_bias(symbols, 0x503000, 0x1000, &bias), 0);
		assert_int_equal(bias, 0x100000);
	}
	assert_int_equal(symbols_bias(symbols, 0x400000, 0x7000000, &bias), -ENOENT);
}

static void no_program(void **state)
{
	struct file f = file_make();

	(void)state;
	f.header.e_type = ET_REL;
	assert_null(symbols_new(memory_file(&f, sizeof(f))));
	assert_int_equal(errno, EINVAL);
	assert_null(symbols_new(memory_file("", 0)));
	assert_null(symbols_new(memory_file("\x7f"
					    "ELF",
					    4)));
	assert_null(symbols_new(memory_file("!<arch>\n", 8)));
	assert_null(symbols_new(memory_file("#!/bin/sh\n", 10)));
	symbols_free(NULL);
}

/* Tables that are too large, or say that they are. */
static void lying_sections(void **state)
{
	char name[32];

	(void)state;
	for (int lie = 0; lie < 8; lie++) {
		struct file f = file_make();

		f.symbols[1] = (Elf64_Sym){ NAME_OUTER, STT_OBJECT, 0, 1, 0x5000, 0x100 };
		switch (lie) {
		case 0:
			f.sections[1].sh_size = 1ull << 40;
			break;
		case 1:
			f.sections[1].sh_entsize = 0;
			break;
		case 2:
			f.sections[1].sh_link = 77;
			break;
		case 3:
			f.sections[1].sh_link = 1;
			break;
		case 4:
			f.sections[2].sh_offset = UINT64_MAX - 10;
			break;
		case 5:
			f.sections[1].sh_offset = UINT64_MAX - 10;
			break;
		case 6:
			f.header.e_shoff = UINT64_MAX - 10;
			break;
		case 7:
			f.sections[2].sh_size = 0;
			break;
		}
		file_find(&f, 0x5000, name, sizeof(name));
		assert_string_equal(name, "");
	}
}

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* A few bytes of a sound file changed, its end cut off: the sanitizers watch. */
static void anything_goes(void **state)
{
	struct file sound = file_make();
	uint64_t seed = 77;

	(void)state;
	sound.symbols[1] = (Elf64_Sym){ NAME_OUTER, STT_OBJECT, 0, 1, 0x5000, 0x100 };
	sound.symbols[2] = (Elf64_Sym){ NAME_INIT, STT_FUNC, 0, 1, 0x400100, 16 };
	strcpy(sound.interpreter, "/lib/ld-musl-x86_64.so.1");
	for (int round = 0; round < 20000; round++) {
		_cleanup_symbols_ struct symbols *symbols = NULL;
		struct file f = sound;
		char name[32];
		struct symbol_query query = { .vaddr = 0x5008, .name = name, .size = sizeof(name) };
		size_t len = sizeof(f) - (round % 3 ? 0 : random_next(&seed) % sizeof(f));
		uint64_t bias;

		file_add_segment(&f, round % 2 ? PT_NOTE : PT_INTERP,
				 round % 2 ? offsetof(struct file, note)
					   : offsetof(struct file, interpreter),
				 sizeof(f.note));
		for (int i = random_next(&seed) % 6; i; i--)
			((unsigned char *)&f)[random_next(&seed) % sizeof(f)] = random_next(&seed);
		symbols = symbols_new(memory_file(&f, len));
		if (!symbols)
			continue;
		symbols_libc(symbols);
		symbols_bias(symbols, 0x400000, 0, &bias);
		symbols_find(symbols, &query, 1);
	}
}

/* --- opening --- */

struct place {
	char path[64];
	int dir;
};

static struct place place_make(void)
{
	struct place place = { .path = "/tmp/test_symbol.XXXXXX" };

	assert_non_null(mkdtemp(place.path));
	place.dir = open(place.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(place.dir >= 0);
	return place;
}

static void place_remove(struct place *place)
{
	static const char *const names[] = { "file", "fifo", "link", "absolute", "big" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlinkat(place->dir, names[i], 0);
	close(place->dir);
	rmdir(place->path);
}

static void which_files(void **state)
{
	struct place place = place_make();
	int fd = openat(place.dir, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(mkfifoat(place.dir, "fifo", 0600), 0);
	assert_int_equal(symlinkat("file", place.dir, "link"), 0);
	assert_int_equal(symlinkat("/file", place.dir, "absolute"), 0);
	fd = openat(place.dir, "big", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	if (ftruncate(fd, SYMBOL_FILE_BYTES + 1))
		print_message("not tested: a file that is too big\n");
	else
		assert_int_equal(symbol_file_open(place.dir, "/big", true), -EFBIG);
	close(fd);

	fd = symbol_file_open(place.dir, "/file", true);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	/* Would wait for a writer, if it were opened; alarm(2) ends that. */
	assert_int_equal(symbol_file_open(place.dir, "/fifo", true), -EINVAL);
	assert_int_equal(symbol_file_open(place.dir, "/", true), -EINVAL);
	assert_int_equal(symbol_file_open(place.dir, "/link", true), -ELOOP);
	assert_int_equal(symbol_file_open(place.dir, "/absolute", true), -ELOOP);
	assert_int_equal(symbol_file_open(place.dir, "/none", true), -ENOENT);
	/* Not out of it. */
	assert_int_equal(symbol_file_open(place.dir, "/../../../../etc/passwd", true), -ENOENT);
	assert_int_equal(symbol_file_open(AT_FDCWD, "/dev/null", false), -EINVAL);
	place_remove(&place);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_names),
		cmocka_unit_test(long_names),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(own_libc),
		cmocka_unit_test(libc_static_glibc),
		cmocka_unit_test(libc_static_musl),
		cmocka_unit_test(libc_by_interpreter),
		cmocka_unit_test(which_symbol),
		cmocka_unit_test(biases),
		cmocka_unit_test(no_program),
		cmocka_unit_test(lying_sections),
		cmocka_unit_test(anything_goes),
		cmocka_unit_test(which_files),
	};

	alarm(120);
	return cmocka_run_group_tests_name("symbol", tests, setup, NULL);
}
