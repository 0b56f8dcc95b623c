#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""
A small service that ends a thread by force, as Python does not offer it and as many pages on the web
advise it: its supervisor throws an exception into the worker, which it holds to be too slow. The worker
dies in the midst of a job, with the lock of the stock in its hands; from then on the reporter, which
needs that lock, hangs.

Gives up after a few seconds, where a real service would not.
"""

import ctypes
import os
import threading
import time

PR_SET_NAME = 15
SLOW_JOB = 3
GIVE_UP_S = 5

stock_lock = threading.RLock()
jobs_done = 0


def say(words):
    print(f"orders: {words}", flush=True)


def name_thread(name):
    """As the system knows it: Python does so by itself from 3.14 on."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def job_do(job):
    for _ in range(10 ** 6 if job == SLOW_JOB else 10):
        time.sleep(0.01)


def worker_run():
    global jobs_done
    name_thread("worker")
    while True:
        stock_lock.acquire()  # the mistake: not `with stock_lock:`
        job_do(jobs_done + 1)
        jobs_done += 1
        say(f"job {jobs_done} done")
        stock_lock.release()
        time.sleep(0.05)


def reporter_run():
    name_thread("reporter")
    while True:
        with stock_lock:
            say(f"reporter: {jobs_done} jobs so far")
        time.sleep(0.1)


def thread_kill(thread):
    """What people write who miss pthread_cancel() in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


def main():
    name_thread("orders")
    worker = threading.Thread(target=worker_run, daemon=True)
    reporter = threading.Thread(target=reporter_run, daemon=True)
    worker.start()
    reporter.start()
    while jobs_done < SLOW_JOB - 1:
        time.sleep(0.01)
    worker.join(0.5)
    say(f"job {SLOW_JOB} takes too long: the worker is killed")
    thread_kill(worker)
    worker.join()
    reporter.join(GIVE_UP_S)
    say(f"nothing from the reporter for {GIVE_UP_S} s: the service hangs; giving up")
    os._exit(0)


main()
