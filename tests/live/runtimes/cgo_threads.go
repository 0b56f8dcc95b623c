// SPDX-License-Identifier: GPL-2.0-only

// A lock of C, taken by a goroutine that ends with it.
//
//	cgo_threads locked    its thread is locked to it, and ends with it
//	cgo_threads unlocked  its thread lives on, for other goroutines
//
// Says on stdout who took it and who waits, and ends when a line comes on stdin.
package main

/*
#include <pthread.h>
#include <sys/prctl.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void take(const char *name)
{
	if (name)
		prctl(PR_SET_NAME, name);
	pthread_mutex_lock(&mutex);
}

static void *address(void)
{
	return &mutex;
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func say(event string, tid int) {
	fmt.Printf("{\"event\": %q, \"pid\": %d, \"tid\": %d, \"ns_tid\": %d, \"lock\": \"%p\"}\n",
		event, os.Getpid(), tid, tid, C.address())
}

func until(what string, condition func() bool) {
	for i := 0; !condition(); i++ {
		if i == 150000 {
			panic("waited in vain: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func sleeps(tid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
	return strings.HasPrefix(string(text), fmt.Sprintf("202 %p ", C.address()))
}

func exists(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
	return err == nil
}

func main() {
	leaves := os.Args[1] == "locked"
	tids := make(chan int)
	runtime.LockOSThread() // no other goroutine runs on the main thread, which never ends
	go func() {
		runtime.LockOSThread()
		C.take(C.CString("owner"))
		tids <- syscall.Gettid()
		if !leaves {
			runtime.UnlockOSThread()
		}
	}()
	owner := <-tids
	if leaves {
		until("the owner to end", func() bool { return !exists(owner) })
	}
	say("owner", owner)
	go func() {
		runtime.LockOSThread()
		tids <- syscall.Gettid()
		C.take(C.CString("waiter"))
	}()
	waiter := <-tids
	until("the waiter to wait", func() bool { return sleeps(waiter) })
	say("waiter", waiter)
	bufio.NewReader(os.Stdin).ReadString('\n')
}
