# SPDX-License-Identifier: GPL-2.0-only
"""A Python service with a lock of its C library under it, as an extension module has one. A worker holds
it; whoever comes as a client waits for it. As told, one line a step:

    worker NAME    a thread that takes the lock and computes
    client NAME    a thread that wants the lock
    throw NAME     SystemExit into that thread
    release        the main thread unlocks: legal for nobody but the owner, and what an operator tries
"""

import ctypes
import json
import os
import sys
import threading
import time

libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(40)  # PTHREAD_MUTEX_INITIALIZER
throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
throw.argtypes = (ctypes.c_ulong, ctypes.py_object)
SYS_GETTID = 186  # x86_64


def say(event, **members):
    members.update(event=event, pid=os.getpid())
    os.write(1, json.dumps(members).encode() + b"\n")


def work():
    try:
        while True:
            time.sleep(0.001)
    except SystemExit:
        pass  # and the lock stays as it is


def begin(name, work, says):
    def run():
        tid = libc.syscall(SYS_GETTID)
        libc.prctl(15, name.encode(), 0, 0, 0)  # PR_SET_NAME
        if says == "wants":
            say(says, name=name, tid=tid)
        libc.pthread_mutex_lock(mutex)
        if says == "holds":
            say(says, name=name, tid=tid, lock=hex(ctypes.addressof(mutex)))
        work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


threads = {}
say("ready", tid=os.getpid())
for line in sys.stdin:
    verb, *names = line.split()
    if verb == "worker":
        threads[names[0]] = begin(names[0], work, "holds")
    elif verb == "client":
        threads[names[0]] = begin(names[0], work, "wants")
    elif verb == "throw":
        say("thrown", count=throw(threads[names[0]].ident, SystemExit))
    elif verb == "release":
        say("released", result=libc.pthread_mutex_unlock(mutex))
