# SPDX-License-Identifier: GPL-2.0-only
"""A Python program whose threads get exceptions thrown into them, as told, one line a step. Runs on every
CPython from 3.6 on, and says what it did as say.h does.

    start NAME HOW [lock]   a thread: spin (runs Python code), sleep (blocks for an hour), read (blocks
                            in a pipe, until "wake"), catch (catches what comes and goes on), end (until
                            "stop": it returns); with `lock` it holds a threading.Lock
    throw NAME EXCEPTION    into that thread, by the main one; none: takes it back
    throw-tid NAME EXCEPTION   the same by its native id: a mistake
    wake NAME, stop NAME, join NAME
"""

import ctypes
import json
import os
import sys
import threading
import time

throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
throw.argtypes = (ctypes.c_ulong, ctypes.py_object)
clear = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
libc = ctypes.CDLL(None)
SYS_GETTID = 186  # x86_64: threading.get_native_id() came with 3.8


class Stop(BaseException):
    pass


class Worker:
    def __init__(self, name, how, lock):
        self.name, self.how = name, how
        self.lock = threading.Lock() if lock else None
        self.pipe = os.pipe()
        self.ready = threading.Event()
        self.caught = threading.Event()
        self.may_end = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.ready.wait()
        self.ident = self.thread.ident

    def run(self):
        self.tid = libc.syscall(SYS_GETTID)
        libc.prctl(15, self.name.encode(), 0, 0, 0)  # PR_SET_NAME
        if self.lock:
            self.lock.acquire()
        self.ready.set()
        try:
            self.work()
        except (SystemExit, Stop):
            pass  # what a thread does of its own, without a traceback

    def work(self):
        if self.how == "sleep":
            time.sleep(3600)
        if self.how == "read":
            os.read(self.pipe[0], 1)
        while not self.may_end:
            try:
                for _ in range(100):
                    pass
                time.sleep(0.001)
            except BaseException:
                if self.how != "catch":
                    raise
                self.caught.set()


def say(event, **members):
    members.update(event=event, pid=os.getpid(), tid=os.getpid())
    os.write(1, json.dumps(members).encode() + b"\n")


def step(workers, verb, name, *rest):
    if verb == "start":
        worker = workers[name] = Worker(name, rest[0], "lock" in rest)
        say("started", of=worker.tid, ident=hex(worker.ident))
        return
    worker = workers[name]
    if verb in ("throw", "throw-tid"):
        ident = worker.tid if verb == "throw-tid" else worker.ident
        if rest[0] == "none":
            result = clear(ident, None)
        else:
            result = throw(ident, {"SystemExit": SystemExit, "Stop": Stop}[rest[0]])
        say("thrown", result=result, of=worker.tid, ident=hex(ident))
    elif verb == "caught":
        worker.caught.wait()
        say("caught")
    elif verb == "wake":
        os.write(worker.pipe[1], b"x")
        say("woken")
    elif verb == "stop":
        worker.may_end = True
        worker.thread.join()
        say("stopped")
    elif verb == "join":
        worker.thread.join()
        say("joined")


def main():
    workers = {}
    say("ready", version=list(sys.version_info[:3]))
    for line in sys.stdin:
        if line == "quit\n":
            return
        step(workers, *line.split())


main()
