// SPDX-License-Identifier: GPL-2.0-only
/* Loads a library as told ("load PATH"), and calls its PyThreadState_SetAsyncExc for nobody ("throw"). */
#include "say.h"

#include <dlfcn.h>
#include <sys/wait.h>

int main(void)
{
	int (*set_async_exc)(unsigned long, void *) = NULL;
	char line[4096];
	void *library;

	say("ready", NOTHING);
	for (;;) {
		read_go(line, sizeof(line));
		if (!strcmp(line, "quit"))
			return 0;
		if (!strncmp(line, "load ", 5)) {
			library = dlopen(line + 5, RTLD_NOW);
			if (!library)
				die("dlopen: %s", dlerror());
			set_async_exc = dlsym(library, "PyThreadState_SetAsyncExc");
			say("loaded", NOTHING);
		} else {
			/* No interpreter runs here: it finds no thread, or it faults: in a child. */
			pid_t child = fork();

			if (!child) {
				set_async_exc(1, NULL + 4096);
				_exit(0);
			}
			waitpid(child, NULL, 0);
			say("thrown", "'child': %d", child);
		}
	}
}
