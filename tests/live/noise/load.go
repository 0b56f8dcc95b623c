// SPDX-License-Identifier: GPL-2.0-only

// Goroutines that never yield, so that the scheduler has to interrupt them, under a CPU profile.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"
)

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[1], 64)
	end := time.Now().Add(time.Duration(seconds * 1e9))
	var wait sync.WaitGroup

	pprof.StartCPUProfile(io.Discard)
	for i := 0; i < 4; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for sum := 0; time.Now().Before(end); {
				for j := 0; j < 100000000; j++ {
					sum += j
				}
				_ = make([]byte, 100000)
			}
		}()
	}
	// A goroutine that ends with its thread locked ends the thread, past libc.
	for time.Now().Before(end) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			runtime.LockOSThread()
		}()
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	wait.Wait()
	pprof.StopCPUProfile()
	fmt.Println("done")
}
