// SPDX-License-Identifier: GPL-2.0-only

// Goroutines, and the threads under them.
//
//	go_threads locked      goroutines that end with their thread locked to them: the thread goes too
//	go_threads held        a goroutine ends with a sync.Mutex locked, others wait for it
//	go_threads preempt     goroutines that compute, stopped again and again by the collector
//	go_threads contention  sync.Mutex, RWMutex, Cond, channels, used as they should be
//
// Says on stdout what was done, and ends when a line comes on stdin.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func say(event string, format string, args ...any) {
	pid := os.Getpid()
	fmt.Printf("{\"event\": %q, \"pid\": %d, \"tid\": %d%s}\n",
		event, pid, pid, fmt.Sprintf(format, args...))
}

func until(what string, condition func() bool) {
	for i := 0; !condition(); i++ {
		if i == 150000 {
			panic("waited in vain: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func exists(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
	return err == nil
}

func locked() {
	var mutex sync.Mutex
	const threads = 20
	tids := make(chan int, threads)
	for i := 0; i < threads; i++ {
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			mutex.Lock()
			tid := syscall.Gettid()
			mutex.Unlock()
			tids <- tid
		}()
	}
	ended := 0
	for i := 0; i < threads; i++ {
		tid := <-tids
		until("the thread to end", func() bool { return !exists(tid) })
		ended++
	}
	say("locked", ", \"ended\": %d", ended)
}

func held() {
	var mutex sync.Mutex
	var waiting atomic.Int32
	taken := make(chan int)
	go func() {
		runtime.LockOSThread()
		mutex.Lock()
		taken <- syscall.Gettid()
	}()
	tid := <-taken
	until("the thread to end", func() bool { return !exists(tid) })
	for i := 0; i < 3; i++ {
		go func() {
			waiting.Add(1)
			mutex.Lock()
			panic("nobody unlocks it")
		}()
	}
	until("all to wait", func() bool { return waiting.Load() == 3 })
	say("held", ", \"owner\": %d", tid)
}

var sink atomic.Int64

func preempt() {
	var stop atomic.Bool
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for !stop.Load() {
				n := int64(0)
				for j := int64(0); j < 200_000_000; j++ { // no call in it: only a signal stops it
					n += j ^ n
				}
				sink.Add(n)
			}
		}()
	}
	for i := 0; i < 20; i++ {
		runtime.GC()
	}
	stop.Store(true)
	group.Wait()
	say("preempt", "")
}

func contention() {
	var mutex sync.Mutex
	var table sync.RWMutex
	var group sync.WaitGroup
	count := 0
	jobs := make(chan int)
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range jobs {
				mutex.Lock()
				count++
				runtime.Gosched()
				mutex.Unlock()
				table.RLock()
				table.RUnlock()
				if n%16 == 0 {
					table.Lock()
					time.Sleep(time.Microsecond)
					table.Unlock()
				}
			}
		}()
	}
	for n := 0; n < 20000; n++ {
		jobs <- n
	}
	close(jobs)
	group.Wait()
	say("contention", ", \"count\": %d", count)
}

func main() {
	runtime.LockOSThread() // no other goroutine runs on the main thread, which never ends
	map[string]func(){"locked": locked, "held": held, "preempt": preempt,
		"contention": contention}[os.Args[1]]()
	bufio.NewReader(os.Stdin).ReadString('\n')
}
