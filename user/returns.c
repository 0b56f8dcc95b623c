// SPDX-License-Identifier: GPL-2.0-only
#include "returns.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <capstone/capstone.h>

#include "array.h"
#include "table.h"

#define INSTRUCTION_BYTES  15
#define INSTRUCTIONS_LIMIT 8192

/* An instruction that was looked at. */
struct visited {
	uint64_t offset;
	UT_hash_handle hh;
};

/* Code lies in the file as in memory, so that offsets do for addresses. */
struct walk {
	int fd;
	uint64_t begin, end; /* of the function */
	struct returns *returns;
	csh capstone;
	cs_insn *insn;
	struct visited *visited;
	uint64_t *todo; /* where code goes on */
	size_t n_todo, room;
};

static int todo_add(struct walk *walk, uint64_t offset)
{
	uint64_t *grown = array_grow(walk->todo, walk->n_todo, &walk->room, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	walk->todo = grown;
	walk->todo[walk->n_todo++] = offset;
	return 0;
}

/* 1 the first time, 0 later, or -errno. */
static int visit(struct walk *walk, uint64_t offset)
{
	struct visited *visited;

	HASH_FIND(hh, walk->visited, &offset, sizeof(offset), visited);
	if (visited)
		return 0;
	if (HASH_COUNT(walk->visited) == INSTRUCTIONS_LIMIT)
		return -E2BIG;
	visited = calloc(1, sizeof(*visited));
	if (!visited)
		return -ENOMEM;
	visited->offset = offset;
	HASH_ADD(hh, walk->visited, offset, sizeof(visited->offset), visited);
	return 1;
}

static int return_add(struct returns *returns, uint64_t offset)
{
	if (returns->n == RETURNS_LIMIT)
		return -E2BIG;
	returns->offset[returns->n++] = offset;
	return 0;
}

static int jump_follow(struct walk *walk, const cs_insn *insn)
{
	const cs_x86_op *to = &insn->detail->x86.operands[0];

	if (insn->detail->x86.op_count != 1 || to->type != X86_OP_IMM)
		return -ENOTSUP;
	return todo_add(walk, to->imm);
}

/* 1: goes on with the next instruction. 0: not. Or -errno. */
static int step(struct walk *walk, const cs_insn *insn)
{
	int error;

	switch (insn->id) {
	case X86_INS_RET:
		return return_add(walk->returns, insn->address);
	case X86_INS_HLT:
	case X86_INS_UD2:
	case X86_INS_INT3:
		return 0;
	}
	if (!cs_insn_group(walk->capstone, insn, CS_GRP_JUMP))
		return 1;
	error = jump_follow(walk, insn);
	return error ?: insn->id != X86_INS_JMP;
}

static int decode(struct walk *walk, uint64_t *offset)
{
	uint8_t bytes[INSTRUCTION_BYTES];
	const uint8_t *at = bytes;
	ssize_t n = pread(walk->fd, bytes, sizeof(bytes), *offset);
	size_t left = n;

	if (n <= 0 || !cs_disasm_iter(walk->capstone, &at, &left, offset, walk->insn))
		return -EILSEQ;
	return 0;
}

/* From one place on up to a jump, a return, or the end of the function: a call there comes never back. */
static int walk_from(struct walk *walk, uint64_t offset)
{
	bool inside = offset >= walk->begin && offset < walk->end;
	int next = 1;

	while (next > 0 && !(inside && offset == walk->end)) {
		next = visit(walk, offset);
		if (next > 0)
			next = decode(walk, &offset) ?: step(walk, walk->insn);
	}
	return next < 0 ? next : 0;
}

static int walk_begin(struct walk *walk)
{
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &walk->capstone))
		return -ENOMEM;
	cs_option(walk->capstone, CS_OPT_DETAIL, CS_OPT_ON);
	walk->insn = cs_malloc(walk->capstone);
	return walk->insn ? todo_add(walk, walk->begin) : -ENOMEM;
}

static void walk_end(struct walk *walk)
{
	struct visited *visited, *next;

	HASH_ITER (hh, walk->visited, visited, next) {
		HASH_DEL(walk->visited, visited);
		free(visited);
	}
	free(walk->todo);
	if (walk->insn)
		cs_free(walk->insn, 1);
	if (walk->capstone)
		cs_close(&walk->capstone);
}

int returns_find(int fd, uint64_t offset, uint64_t bytes, struct returns *returns)
{
	struct walk walk = { .fd = fd, .begin = offset, .end = offset + bytes, .returns = returns };
	int error;

	returns->n = 0;
	error = walk_begin(&walk);
	while (!error && walk.n_todo)
		error = walk_from(&walk, walk.todo[--walk.n_todo]);
	walk_end(&walk);
	return error ?: returns->n ? 0 : -ENOTSUP;
}
