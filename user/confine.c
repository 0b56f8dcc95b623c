// SPDX-License-Identifier: GPL-2.0-only
#include "confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cleanup.h"

/*
 * The parent's handlers are meaningless here. What a terminal sends to all of its foreground processes
 * and a service manager to all of a service's is for the parent: it decides when to end, and its end
 * is the child's.
 */
static void confine_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool is_kept(const struct confine *c, int fd)
{
	for (size_t i = 0; i < c->n_keep; i++)
		if (c->keep[i] == fd)
			return true;
	return false;
}

static void close_listed(const struct confine *c, int from)
{
	_cleanup_closedir_ DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;

	while (fds && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);

		if (fd >= from && fd != dirfd(fds) && !is_kept(c, fd))
			close(fd);
	}
}

/* Leaves it as CONFINE_FD, and stdout and stderr open to nowhere, lest a file get their numbers. */
static int confine_files(const struct confine *c)
{
	int nowhere;

	if (c->fd != CONFINE_FD && dup2(c->fd, CONFINE_FD) < 0)
		return -errno;
	if (c->n_keep || close_range(CONFINE_FD + 1, ~0u, 0)) /* Linux 5.9 */
		close_listed(c, CONFINE_FD + 1);
	nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (nowhere == 1 && dup2(nowhere, 2) == 2)
		return 0;
	/* No /dev here: what came that way is taken for the child's failure at the other end. */
	return dup2(CONFINE_FD, 1) < 0 || dup2(CONFINE_FD, 2) < 0 ? -errno : 0;
}

/* From what it may have, it keeps what its work takes. */
static int confine_capabilities(const struct confine *c)
{
	cap_t have = cap_get_proc(), keep = cap_init();
	int err = have && keep ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < c->n_capabilities; i++) {
		cap_flag_value_t permitted = CAP_CLEAR;

		/* One that this kernel does not know, nobody has. */
		if (cap_get_flag(have, c->capability[i], CAP_PERMITTED, &permitted) ||
		    permitted == CAP_CLEAR)
			continue;
		if (cap_set_flag(keep, CAP_PERMITTED, 1, &c->capability[i], CAP_SET) ||
		    cap_set_flag(keep, CAP_EFFECTIVE, 1, &c->capability[i], CAP_SET))
			err = -errno;
	}
	if (!err && cap_set_proc(keep))
		err = -errno;
	cap_free(have);
	cap_free(keep);
	return err;
}

/* The parent-death signal comes last but for the check: dropping rights can take it away. */
int confine(const struct confine *c)
{
	int err;

	confine_signals();
	prctl(PR_SET_NAME, c->name);
	err = confine_files(c);
	if (!err)
		err = confine_capabilities(c);
	if (err)
		return err;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	/* The parent may have ended before the line above: then nobody sends that signal any more. */
	return getppid() == c->parent ? 0 : -ESRCH;
}

int confine_reader(int fd, pid_t parent, const char *name)
{
	static const int capabilities[] = { CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH };
	const struct confine c = { .fd = fd,
				   .parent = parent,
				   .name = name,
				   .capability = capabilities,
				   .n_capabilities = 2 };

	return confine(&c);
}
