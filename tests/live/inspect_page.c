/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread waits on a futex word at the end of a page; whoever reads beyond it waits for a page that
 * never comes, until told to "end".
 */
#include "say.h"
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static struct who waiter;
static struct gate known;
static unsigned int *word;

static void *wait_for_ever(void *arg)
{
	name_me("waiter");
	waiter = who_am_i();
	gate_open(&known);
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	return arg;
}

/* Registers the second page. 0, or an errno where this host does not let us. */
static int page_withhold(char *page, size_t bytes)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (unsigned long)page, bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return errno;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		die("userfaultfd");
	return 0;
}

int main(void)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);
	pthread_t thread;
	int error;

	if (pages == MAP_FAILED)
		die("mmap");
	word = (unsigned int *)(pages + bytes) - 2;
	*word = 2;
	error = page_withhold(pages + bytes, bytes);
	if (error) {
		say("page", "'error': %d", error);
		return 0;
	}
	gate_make(&known);
	errno = pthread_create(&thread, NULL, wait_for_ever, NULL);
	if (errno)
		die("pthread_create");
	gate_pass(&known);
	wait_blocked(&waiter, word, sizeof(*word));
	say_of(&waiter, "page", "'error': 0");
	expect_go("end");
	return 0;
}
