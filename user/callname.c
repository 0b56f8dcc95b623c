// SPDX-License-Identifier: GPL-2.0-only
#include "callname.h"

#include <stddef.h>
#include <sys/syscall.h>

#define CALL(name) [SYS_##name] = #name

/* Not every architecture has all: arm64 came without the oldest ones. */
static const char *const names[] = {
	CALL(accept),
	CALL(accept4),
	CALL(clock_nanosleep),
	CALL(clone),
	CALL(close),
	CALL(connect),
	CALL(copy_file_range),
	CALL(epoll_pwait),
	CALL(execve),
	CALL(fallocate),
	CALL(fcntl),
	CALL(fdatasync),
	CALL(flock),
	CALL(fsync),
	CALL(ftruncate),
	CALL(futex),
	CALL(getdents64),
	CALL(getrandom),
	CALL(io_getevents),
	CALL(io_pgetevents),
	CALL(io_uring_enter),
	CALL(ioctl),
	CALL(madvise),
	CALL(membarrier),
	CALL(mmap),
	CALL(mprotect),
	CALL(mq_timedreceive),
	CALL(mq_timedsend),
	CALL(msgrcv),
	CALL(msgsnd),
	CALL(msync),
	CALL(munmap),
	CALL(nanosleep),
	CALL(newfstatat),
	CALL(openat),
	CALL(ppoll),
	CALL(pread64),
	CALL(preadv),
	CALL(preadv2),
	CALL(process_vm_readv),
	CALL(pselect6),
	CALL(ptrace),
	CALL(pwrite64),
	CALL(pwritev),
	CALL(pwritev2),
	CALL(read),
	CALL(readv),
	CALL(recvfrom),
	CALL(recvmmsg),
	CALL(recvmsg),
	CALL(restart_syscall),
	CALL(rt_sigsuspend),
	CALL(rt_sigtimedwait),
	CALL(semop),
	CALL(semtimedop),
	CALL(sendfile),
	CALL(sendmmsg),
	CALL(sendmsg),
	CALL(sendto),
	CALL(splice),
	CALL(statx),
	CALL(sync),
	CALL(sync_file_range),
	CALL(tee),
	CALL(unlinkat),
	CALL(wait4),
	CALL(waitid),
	CALL(write),
	CALL(writev),
#ifdef SYS_clone3
	CALL(clone3),
#endif
#ifdef SYS_epoll_pwait2
	CALL(epoll_pwait2),
#endif
#ifdef SYS_epoll_wait
	CALL(epoll_wait),
#endif
#ifdef SYS_futex_wait
	CALL(futex_wait),
#endif
#ifdef SYS_futex_waitv
	CALL(futex_waitv),
#endif
#ifdef SYS_open
	CALL(open),
#endif
#ifdef SYS_pause
	CALL(pause),
#endif
#ifdef SYS_poll
	CALL(poll),
#endif
#ifdef SYS_rename
	CALL(rename),
#endif
#ifdef SYS_select
	CALL(select),
#endif
#ifdef SYS_stat
	CALL(stat),
#endif
#ifdef SYS_unlink
	CALL(unlink),
#endif
#ifdef SYS_vfork
	CALL(vfork),
#endif
};

const char *call_name(int32_t number)
{
	if (number < 0 || (size_t)number >= sizeof(names) / sizeof(*names))
		return NULL;
	return names[number];
}
