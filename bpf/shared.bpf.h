/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared locks. What makes a lock shared is its mapping, not the futex call's missing PRIVATE flag:
 * robust mutexes never set that. A waiter notes the lock's place in the mapped object under the
 * owner's number; a process that ends finds the object's address in its own memory and reads the
 * word there. So an owner is blamed only where its own exit hook read the word.
 */
#ifndef DEADHOLD_SHARED_BPF_H
#define DEADHOLD_SHARED_BPF_H

#include "words.bpf.h"

struct shared_candidate {
	__u64 mapping; /* struct address_space *, pinned by the waiter's mapping while it waits */
	__u64 offset;  /* bytes into the object, of the futex word */
	__u64 layout;
};

#define SHARED_SLOTS 4
struct shared_row {
	struct shared_candidate slot[SHARED_SLOTS];
};

/* By the number in the word alone: which namespace and process it is, the exit hook finds out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct shared_row);
} shared_candidates SEC(".maps") __weak;

struct shared_search {
	__u64 address;
	__u64 mapping; /* out; 0: the address does not lie in a shared mapping of an object */
	struct shared_place place;
};

static long shared_of_vma(struct task_struct *task, struct vm_area_struct *vma,
			  struct shared_search *search)
{
	struct file *file = BPF_CORE_READ(vma, vm_file);
	struct inode *inode;

	if (!(BPF_CORE_READ(vma, vm_flags) & VM_SHARED) || !file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	search->mapping = (__u64)BPF_CORE_READ(file, f_mapping);
	search->place.device = BPF_CORE_READ(inode, i_sb, s_dev);
	search->place.inode = BPF_CORE_READ(inode, i_ino);
	search->place.offset = (BPF_CORE_READ(vma, vm_pgoff) << PAGE_SHIFT) + search->address -
			       BPF_CORE_READ(vma, vm_start);
	return 0;
}

/*
 * Where in which object does this address of a task lie? search->mapping 0: in none. −EBUSY: the
 * mappings are locked, or (with interrupts off) another look-up is under way on this CPU.
 */
#ifdef OLD_KERNEL
/*
 * By a walk down the tree of mappings (mm_struct.mm_rb, until 6.1), without its lock: what is found is
 * checked on its own members; a change under the walk costs a find, which is counted.
 */
struct mm_struct___6_0 {
	struct rb_root mm_rb;
} __attribute__((preserve_access_index));

struct vm_area_struct___6_0 {
	struct rb_node vm_rb;
} __attribute__((preserve_access_index));

#define MAPPINGS_DEPTH 40 /* of a tree of 2^20 at most */

struct vma_walk {
	struct rb_node *node;
	__u64 address;
	struct vm_area_struct *found;
};

static long vma_step(__u32 i, struct vma_walk *walk)
{
	struct rb_node *node = walk->node;
	struct vm_area_struct *vma;

	if (!node)
		return 1;
	vma = (void *)node - bpf_core_field_offset(struct vm_area_struct___6_0, vm_rb);
	if (walk->address < FIELD(vma, vm_start)) {
		walk->node = BPF_CORE_READ(node, rb_left);
	} else if (walk->address >= FIELD(vma, vm_end)) {
		walk->node = BPF_CORE_READ(node, rb_right);
	} else {
		walk->found = vma;
		return 1;
	}
	return 0;
}

/* A global function, of numbers: verified once. struct vm_area_struct *, or 0. */
__weak __noinline __u64 vma_find(__u64 memory, __u64 address)
{
	struct mm_struct___6_0 *mm = (void *)memory;
	struct vma_walk walk = { .address = address };

	walk.node = BPF_CORE_READ(mm, mm_rb.rb_node);
	LOOP(MAPPINGS_DEPTH, vma_step, &walk);
	return (__u64)walk.found;
}

static __always_inline long shared_find(struct task_struct *task, struct shared_search *search)
{
	struct vm_area_struct *vma = (void *)vma_find((__u64)FIELD(task, mm), search->address);

	return vma ? shared_of_vma(task, vma, search) : -2; /* ENOENT */
}
#else
static __always_inline long shared_find(struct task_struct *task, struct shared_search *search)
{
	return bpf_find_vma(task, search->address, shared_of_vma, search, 0);
}
#endif

static __always_inline void shared_candidate_note(__u32 owner, const struct shared_search *search,
						  __u32 layout)
{
	struct shared_row *row = bpf_map_lookup_elem(&shared_candidates, &owner);
	struct shared_candidate *slot;

	if (!row) {
		struct shared_row empty = {};

		bpf_map_update_elem(&shared_candidates, &owner, &empty, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&shared_candidates, &owner);
		if (!row)
			return; /* the sweep finds the waiter */
	}
	/* Locks lie 40 bytes apart, or on cache lines of their own. */
	slot = &row->slot[((search->place.offset >> 3) ^ (search->place.offset >> 6)) %
			  SHARED_SLOTS];
	/* Torn by another writer, the slot leads to no word that names the dying thread: harmless. */
	slot->mapping = search->mapping;
	slot->offset = search->place.offset;
	slot->layout = layout;
}

/*
 * The address of an object's byte in a memory map, by a walk over the object's tree of mappings
 * (address_space.i_mmap: linux/rbtree.h, mm/interval_tree.c). Reads without the tree's lock: a
 * mapping found is checked on its own members, a change under the walk costs a find, which is
 * counted, and never makes a wrong one.
 */
#ifdef OLD_KERNEL
#define MAPPINGS_LIMIT 128 /* a loop is verified round by round */
#else
#define MAPPINGS_LIMIT 512
#endif

struct mapping_walk {
	struct rb_node *node;
	struct rb_node *from; /* the node visited before: tells down from up */
	__u64 mapping;
	__u64 offset;
	__u64 mm;
	__u64 address; /* out; 0: not found */
	struct shared_place place;
	bool done;
};

static __always_inline struct rb_node *rb_parent_of(struct rb_node *node)
{
	return (struct rb_node *)(BPF_CORE_READ(node, __rb_parent_color) & ~3UL);
}

static __always_inline void mapping_visit(struct mapping_walk *walk, struct rb_node *node)
{
	struct vm_area_struct *vma = (void *)node -
				     bpf_core_field_offset(struct vm_area_struct, shared.rb);
	struct file *file = BPF_CORE_READ(vma, vm_file);
	__u64 from = BPF_CORE_READ(vma, vm_pgoff) << PAGE_SHIFT;
	__u64 start = BPF_CORE_READ(vma, vm_start);
	struct inode *inode;

	if ((__u64)BPF_CORE_READ(vma, vm_mm) != walk->mm ||
	    (__u64)BPF_CORE_READ(file, f_mapping) != walk->mapping ||
	    !(BPF_CORE_READ(vma, vm_flags) & VM_SHARED) || walk->offset < from ||
	    walk->offset - from >= BPF_CORE_READ(vma, vm_end) - start)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	walk->address = start + walk->offset - from;
	walk->place.device = BPF_CORE_READ(inode, i_sb, s_dev);
	walk->place.inode = BPF_CORE_READ(inode, i_ino);
	walk->place.offset = walk->offset;
	walk->done = true;
}

static long mapping_step(__u32 i, struct mapping_walk *walk)
{
	struct rb_node *node = walk->node, *from = walk->from, *next;

	if (!node) {
		walk->done = true;
		return 1;
	}
	next = BPF_CORE_READ(node, rb_left);
	if (from == rb_parent_of(node)) {
		mapping_visit(walk, node);
		if (walk->done)
			return 1;
		if (!next)
			next = BPF_CORE_READ(node, rb_right);
	} else if (from == next && from != BPF_CORE_READ(node, rb_right)) {
		next = BPF_CORE_READ(node, rb_right);
	} else {
		next = NULL;
	}
	walk->from = node;
	walk->node = next ?: rb_parent_of(node);
	return 0;
}

/* Fills walk->address and walk->place. False: this memory map does not map the byte. */
static __always_inline bool mapping_walk(struct mapping_walk *walk)
{
	struct address_space *mapping = (void *)walk->mapping;

	walk->node = BPF_CORE_READ(mapping, i_mmap.rb_root.rb_node);
	LOOP(MAPPINGS_LIMIT, mapping_step, walk);
	if (!walk->done)
		loss_count(LOSS_MAPPINGS);
	return walk->address != 0;
}

#ifdef OLD_KERNEL
/* The node at which it is found, or 0. A global function, of numbers: verified once. */
__weak __noinline __u64 mapping_node(__u64 mapping, __u64 offset, __u64 mm)
{
	struct mapping_walk walk = { .mapping = mapping, .offset = offset, .mm = mm };

	return mapping_walk(&walk) ? (__u64)walk.node : 0;
}

static __always_inline bool mapping_find(struct mapping_walk *walk)
{
	struct rb_node *node = (void *)mapping_node(walk->mapping, walk->offset, walk->mm);

	if (node)
		mapping_visit(walk, node);
	return walk->address != 0;
}
#else
#define mapping_find mapping_walk
#endif

#endif
