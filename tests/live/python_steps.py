# SPDX-License-Identifier: GPL-2.0-only
"""A Python program that does with its locks what it is told, step by step, and says what it did. Each
line of stdin is a step: ACTOR VERB [LOCK]. Runs on CPython 3.6 and later.

The main thread is the actor "main", and takes the steps that are for no other. Locks are made when they
are first named: those that begin with R are RLocks, those with Q queues (SimpleQueue), all others Locks.

    A acquire L   A timed L   A release L   A return   A spin   A with L   A take Q   A poll Q
    main put Q
    main throw A    PyThreadState_SetAsyncExc(A, SystemExit)
    main idle       starts threads that wait as threads of a program at rest do
    main fork L     a child whose only thread acquires L

With the GIL held, which ctypes.PyDLL does not release: nothing is to be done after that.

    A hold          sleeps for ever
    A exit          ends itself, by the system call
    A mutex M       a mutex of C, and spins; without the GIL
    A grab M        the same mutex, with the GIL
    A interpreter   runs in an interpreter of its own, with a GIL of its own where that can be had (3.12)
"""
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

SYS_GETTID = 186
SYS_FUTEX = "202"
SYS_EXIT = 60
LOCKS = {}
ACTORS = {}
HANDLED = []
HOLDS = ("hold", "exit", "grab", "interpreter")
AT_WORK = HOLDS + ("spin", "with", "mutex")  # they say so themselves, and are not waited for


def gettid():
    return ctypes.CDLL(None).syscall(SYS_GETTID)


def mutex():
    return ctypes.create_string_buffer(40)  # PTHREAD_MUTEX_INITIALIZER


def lock_of(name):
    if name not in LOCKS:
        makers = {"R": threading.RLock, "Q": queue.SimpleQueue, "M": mutex}
        LOCKS[name] = makers.get(name[0], threading.Lock)()
    return LOCKS[name]


def say(event, step, tid, **members):
    """One write: lines of several threads and processes stay whole."""
    name = step.split()[-1]
    if name in LOCKS:
        members["lock"] = hex(id(LOCKS[name]))
    line = {"event": event, "step": step, "pid": os.getpid(), "tid": tid, "result": 0}
    line.update(members)
    os.write(1, json.dumps(line).encode() + b"\n")


class Actor(threading.Thread):
    def __init__(self, name):
        threading.Thread.__init__(self, name=name, daemon=True)
        self.steps = queue.Queue()
        self.ready = threading.Event()
        self.step = None

    def run(self):
        self.tid = gettid()
        self.ready.set()
        while self.take(self.steps.get()):
            pass

    def take(self, step):
        """False: this was its last step."""
        verb, name = step.split()[1], step.split()[-1]
        self.step = step
        if verb == "return":
            return False
        if verb == "spin":
            say("done", step, self.tid)
            self.spin()
        if verb in HOLDS:
            self.hold(verb, name)
        if verb == "mutex":
            ctypes.CDLL(None).pthread_mutex_lock(lock_of(name))
            say("done", step, self.tid)
            self.spin()
        if verb == "with":
            with lock_of(name):
                say("done", step, self.tid)
                self.spin()
        self.lock(verb, name)
        self.step = None
        say("done", step, self.tid)
        return True

    def hold(self, verb, name):
        """Says so before: afterwards nobody can."""
        library, lock = ctypes.PyDLL(None), lock_of(name) if verb == "grab" else None
        say("done", self.step, self.tid)
        if verb == "hold":
            library.pause()
        elif verb == "exit":
            library.syscall(SYS_EXIT, 0)
        elif verb == "grab":
            library.pthread_mutex_lock(lock)
        else:
            interpreter("while True: pass")

    def lock(self, verb, name):
        if verb == "acquire":
            lock_of(name).acquire()
        elif verb == "timed":
            lock_of(name).acquire(timeout=600)
        elif verb == "take":
            lock_of(name).get()
        elif verb == "poll":
            try:
                lock_of(name).get(timeout=0.001)
            except queue.Empty:
                pass
        else:
            lock_of(name).release()

    def spin(self):
        """Until an exception is thrown into it."""
        while True:
            time.sleep(0.001)

    def call(self):
        """Its system call and the arguments, as /proc has them. None: it has ended."""
        try:
            with open("/proc/self/task/%d/syscall" % self.tid) as file:
                return file.read().split()
        except OSError:
            return None

    def blocks(self):
        """Does it sleep for a lock? For the interpreter's own one a thread waits for a short time only."""
        call = self.call()
        return call and call[0] == SYS_FUTEX and (
            int(call[4], 16) == 0 or self.step is not None and " timed " in self.step)

    def ended(self):
        return not os.path.exists("/proc/self/task/%d" % self.tid)


def actor_of(name):
    if name not in ACTORS:
        ACTORS[name] = Actor(name)
        ACTORS[name].start()
        ACTORS[name].ready.wait()
    return ACTORS[name]


def actor_step(step):
    """What comes of it: it says so itself when it has done it, or it blocks in it, or it ends by it."""
    actor = actor_of(step.split()[0])
    actor.step = step
    actor.steps.put(step)
    if " return" in step:
        wait_end(actor, step)
        return
    while actor.step == step and not actor.blocks():
        if step.split()[1] in AT_WORK:
            return
        time.sleep(0.001)
    # It may have done it and gone back to sleep for its next step.
    if actor.step == step:
        say("blocked", step, actor.tid)


def wait_end(actor, step):
    while not actor.ended():
        time.sleep(0.001)
    del ACTORS[actor.name]
    say("died", step, actor.tid)


def throw(name):
    actor = ACTORS[name]
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(actor.ident), ctypes.py_object(SystemExit)) == 1
    wait_end(actor, "main throw " + name)


def interpreter(code):
    """Own GILs: PEP 684. The module has been renamed since."""
    if sys.version_info >= (3, 13):
        import _interpreters
        _interpreters.run_string(_interpreters.create("isolated"), code)
    else:
        import _xxsubinterpreters
        _xxsubinterpreters.run_string(_xxsubinterpreters.create(), code)


def background(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def at_rest(condition):
    with condition:
        condition.wait()


def idle(step):
    pool, both = ThreadPoolExecutor(2), threading.Barrier(2)
    for done in [pool.submit(both.wait) for _ in range(2)]:
        done.result()
    LOCKS["pool"] = pool  # kept
    for _ in range(3):
        background(queue.Queue().get)
    shared = queue.Queue()
    for _ in range(3):
        background(shared.get)
    background(threading.Event().wait)
    background(at_rest, threading.Condition())
    background(at_rest, threading.Condition(threading.Lock()))
    background(threading.Semaphore(0).acquire)
    if hasattr(queue, "SimpleQueue"):
        background(queue.SimpleQueue().get)
    background(actor_of("joined").join)
    say("done", step, gettid())


def fork(step):
    lock = lock_of(step.split()[-1])
    if os.fork():
        return
    say("done", step, gettid())
    lock.acquire()
    say("unexpected", step, gettid())


def hand_over(step):
    """Threads that work under a lock, a condition and a queue, for two seconds."""
    lock, condition, event = threading.RLock(), threading.Condition(), threading.Event()
    jobs, end = queue.Queue(), time.time() + 2

    def produce():
        while time.time() < end:
            with lock:
                jobs.put(1)
            with condition:
                condition.notify_all()
            event.set()
            time.sleep(0.0005)
        for _ in range(8):
            jobs.put(None)

    def consume():
        while jobs.get() is not None:
            with lock:
                with condition:
                    condition.wait(0.01)
            event.wait(0.01)
            event.clear()

    def churn():
        while time.time() < end:
            thread = threading.Thread(target=lambda: lock.acquire() and lock.release())
            thread.start()
            thread.join()

    threads = [threading.Thread(target=f) for f in [produce] + [consume] * 8 + [churn] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("done", step, gettid())


def semlock(step):
    """A lock of multiprocessing's, whose holder is killed: nobody can tell that it is dead."""
    import multiprocessing
    context = multiprocessing.get_context("fork")
    lock, held = context.Lock(), context.Event()

    def hold():
        lock.acquire()
        held.set()
        time.sleep(600)

    child = context.Process(target=hold, daemon=True)
    child.start()
    held.wait()
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    background(lock.acquire)
    say("done", step, gettid(), child=child.pid)


def main_step(step):
    verb, name = step.split()[1], step.split()[-1]
    if verb == "throw":
        throw(name)
    elif verb in ("idle", "fork", "work", "semlock"):
        {"idle": idle, "fork": fork, "work": hand_over, "semlock": semlock}[verb](step)
    elif verb == "handle":
        signal.signal(signal.SIGTERM, lambda *_: HANDLED.append(say("handled", step, gettid())))
        say("done", step, gettid())
    elif verb == "kill":
        os.kill(actor_of(name).tid, signal.SIGTERM)
        # Whichever thread takes it, Python's handler runs when the main thread runs next.
        while not HANDLED:
            time.sleep(0.001)
        say("done", step, gettid())
    elif verb == "put":
        lock_of(name).put(1)
        say("done", step, gettid())
    elif verb == "free":
        lock_of(name)._release_save()
        say("done", step, gettid())
    else:
        getattr(lock_of(name), verb)()
        say("done", step, gettid())


def main():
    say("started", "start", gettid(), version=list(sys.version_info[:3]))
    for line in iter(sys.stdin.readline, ""):
        step = line.strip()
        if step == "end":
            break
        if step.startswith("main "):
            main_step(step)
        else:
            actor_step(step)
    os._exit(0)


main()
