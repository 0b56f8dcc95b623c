# SPDX-License-Identifier: GPL-2.0-only
"""A Python program: for each line on stdin, how many ns a turn of a loop takes that takes a lock each time,
one that works with objects, and one that puts into a queue and gets from it. The fastest of five."""

import queue
import sys
import threading
import time

lock = threading.Lock()
jobs = queue.Queue()


def locked(n):
    for _ in range(n):
        with lock:
            pass


def worked(n):
    words = {}
    for i in range(n):
        words[i % 997] = str(i)
    return sorted(words)


def queued(n):
    for i in range(n):
        jobs.put(i)
        jobs.get()


def price(run, n):
    best = None
    for _ in range(5):
        begin = time.perf_counter()
        run(n)
        took = time.perf_counter() - begin
        best = took if best is None else min(best, took)
    return best / n * 1e9


for line in sys.stdin:
    n = int(line)
    for name, run in ("lock", locked), ("work", worked), ("queue", queued):
        print(name, f"{price(run, n):.1f}")
    print(".", flush=True)
