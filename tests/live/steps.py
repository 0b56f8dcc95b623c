# SPDX-License-Identifier: GPL-2.0-only
"""The lock workload, step by step (lock_steps.c), and what the agent is expected to say of it."""

import contextlib
import ctypes
import os
import pathlib
import signal
import time

from deadhold import (
    ABSENT,
    ANY,
    LOCK_KINDS,
    TIMEOUT,
    Workload,
    address,
    any_order,
    expect,
    one_of,
    optional,
)
from signals import boot_id, start_ticks


class Steps(Workload):
    """lock_steps, or its likes built with C++ or musl.

    w.do("owner lock A")       a step that is done at once; returns its event
    w.blocks("waiter lock A")  a step in which the actor blocks in a futex call
    w.dies("owner return")     a step that ends the actor
    w.then("waiter lock A")    what was blocked came through
    """

    def start(self):
        self.process_ids = {}
        super().start()
        self.first = self.event("started")
        return self

    def event(self, name, **members):
        """As Workload.event(); with the id of the process, which is read while it lives."""
        event = super().event(name, **members)
        pid = event["pid"]
        if pid not in self.process_ids:
            self.process_ids[pid] = f"{boot_id()}:{pid}:{start_ticks(pid)}"
        return {**event, "process_id": self.process_ids[pid]}

    def do(self, step, outcome="done", result=0):
        self.go(step)
        return self._of(step, outcome, result)

    def blocks(self, step):
        return self.do(step, "blocked")

    def dies(self, step):
        return self.do(step, "died")

    def then(self, step, result=0):
        return self._of(step, "done", result)

    def _of(self, step, outcome, result):
        event = self.event(outcome, step=step)
        assert event["result"] == result, f"{step} gave {event['result']}{self.said()}"
        return event

    def show(self, name="A"):
        """The words of a lock as they are now."""
        self.go(f"show {name}")
        return self.event("shown", step=f"show {name}")["words"]

    def shows(self, condition, what, name="A"):
        """Waits until condition(the words of a lock)."""
        until = time.monotonic() + TIMEOUT
        while not condition(words := self.show(name)):
            assert time.monotonic() < until, f"not so: {what}; the words are {words}{self.said()}"


# --- Threads that do not run for a while. -------------------------------------------------------

PTRACE_DETACH, PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 24, 0x4206, 0x4207
PTRACE_O_TRACEEXIT = 0x40
WALL = 0x40000000  # waitpid() for threads, too


def ptrace(request, tid, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, None, data):
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x}, {tid})")


@contextlib.contextmanager
def held_back(tid):
    """One thread does not run: not even if what it waits for comes. It waits no longer, but asks
    again when it may."""
    ptrace(PTRACE_SEIZE, tid)
    try:
        ptrace(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)
        yield
    finally:
        ptrace(PTRACE_DETACH, tid)


@contextlib.contextmanager
def held_at_its_end(tid):
    """One thread stops before it ends; calls what it gives to wait until it has come to that."""
    ptrace(PTRACE_SEIZE, tid, PTRACE_O_TRACEEXIT)
    try:
        yield lambda: os.waitpid(tid, WALL)
    finally:
        ptrace(PTRACE_DETACH, tid)


@contextlib.contextmanager
def held_at_calls(tid):
    """One thread, blocked in a system call, that is stopped before each entry and each end of one;
    calls what it gives to let it run up to the next of these."""

    def go_on(then=lambda: None):
        ptrace(PTRACE_SYSCALL, tid)
        then()
        os.waitpid(tid, WALL)

    with held_back(tid):
        go_on()  # it asks again
        yield go_on


@contextlib.contextmanager
def held_back_process(pid):
    """The same of a whole process, by SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + TIMEOUT
        while any(state != "T" for state in thread_states(pid)):
            assert time.monotonic() < until, f"process {pid} does not stop"
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def thread_states(pid):
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
        yield path.read_text(errors="replace").rpartition(")")[2].split()[0]


# --- What is expected of an alert, from the events of a workload. --------------------------------

WAIT = {"op": "FUTEX_WAIT", "timeout_ns": ABSENT}


def actor(event):
    return event["step"].split()[0]


def process(event):
    return {"pid": event["pid"], "id": event["process_id"]}


def thread(event):
    """The thread that an event is about. In a PID namespace its number there must be said too."""
    expected = {"tid": event["tid"], "name": actor(event)}
    if event["ns_tid"] != event["tid"]:
        expected["ns_tid"] = event["ns_tid"]
    return expected


def lock(event, owner=None, **members):
    """The lock of an event; held by the thread of the event `owner`. A default mutex of glibc but
    for what `members` say. The id of a shared one must be given, if it is known."""
    at = address(event["lock"])
    return {
        "id": ANY if members.get("shared") else f"{event['process_id']}:{at}",
        "address": at,
        "type": "mutex",
        "kind": "normal",
        "libc": "glibc",
        "shared": False,
        "robust": False,
        "recursion": ABSENT,
        "owner_tid": (owner or event)["ns_tid"],
        "proof": "owner-word",
        **members,
    }


def waiter(event, **wait):
    return {"thread": thread(event), "wait": {**WAIT, **wait}}


# With which code or by which signal the workload's threads end: the exit hook sees it on every rung.
EXITS = {
    "return": {"code": 0, "signal": ABSENT},
    "cancel": {"code": 0, "signal": ABSENT},
    "raw-exit": {"code": 7, "signal": ABSENT},
    "seccomp": {"code": ABSENT, "signal": "SIGSYS"},
    "process-exit": {"code": 0, "signal": ABSENT},
    "process-killed": {"code": ABSENT, "signal": "SIGKILL"},
    "seen to end": {"code": ABSENT, "signal": ABSENT},
    # Nobody saw it.
    "fork": {"code": ABSENT, "signal": ABSENT, "time": ABSENT},
    "unknown": {"code": ABSENT, "signal": ABSENT, "time": ABSENT},
}


def exit_of(reason):
    """The `exit` object, by its reason or by what Agent.reason() gives."""
    return {"time": ANY, **EXITS[getattr(reason, "seen", reason)], "reason": reason}


def _is_event(owner):
    return isinstance(owner, dict) and "event" in owner


def orphaned(owner, locks, reason, waiters, **members):
    """lock-orphaned: the thread of the event `owner` died with these locks."""
    if isinstance(waiters, list) and len(waiters) > 1:
        waiters = any_order(waiters)
    return {
        "kind": "lock-orphaned",
        "severity": "critical",
        "orphan_id": ANY,
        "process": process(owner),
        "thread": thread(owner),
        "exit": exit_of(reason),
        "locks": any_order(locks) if len(locks) > 1 else locks,
        "waiters": waiters,
        **members,
    }


def stuck(event, held, owner, reason, wait=None, **members):
    """orphan-wait: the thread of `event` waits for the lock `held`, whose owner died. The owner is
    an event, or what is expected to be said of the dead thread."""
    dead = {"exit": exit_of(reason)}
    if _is_event(owner) and owner["pid"] != event["pid"]:
        dead["process"] = process(owner)
    dead["thread"] = thread(owner) if _is_event(owner) else owner
    return {
        "kind": "orphan-wait",
        "severity": "critical",
        "orphan_id": ANY,
        "process": process(event),
        "thread": thread(event),
        "lock": held,
        "owner": dead,
        "wait": {**WAIT, **(wait or {})},
        **members,
    }


def cleared(held, how):
    return {"kind": "orphan-cleared", "severity": "info", "lock": held, "how": how}


def expect_orphans(agent, about, expected, whole=True, **options):
    """As expect(), and what follows from an orphan names the alert that it follows from: the same
    orphan_id, and one of its locks. whole=False: that one need not have been said."""
    alerts = expect(agent, about, list(expected), **options)
    if not whole:
        return alerts
    orphans = {}
    for alert in alerts:
        if alert["kind"] == "lock-orphaned":
            orphans.setdefault(alert["orphan_id"], []).extend(alert["locks"])
        elif alert["kind"] in LOCK_KINDS:
            locks = orphans.get(alert["orphan_id"])
            assert locks, f"{alert} names an orphan that was not said before: {alerts}"
            ids = [found.get("id") for found in locks]
            assert alert["lock"].get("id") in ids, f"{alert} names another lock than {locks}"
    return alerts


def shared_id(path, event):
    """The id of a lock in a file, the same for all that map it."""
    st = os.stat(path)
    return f"{st.st_dev}:{st.st_ino}:{event['offset']}"


def settle_shared(agent):
    """Where a waiter blocks, the kernel may be too busy to say in which mapping. The next look at
    all blocked threads makes up for it: an owner that dies before that may stay unknown."""
    agent.wait_sweeps(2)


def expect_unnamed_owner(agent, workloads, b, **members):
    """What is left to say of a shared lock whose owner's own exit hook could not read it: somebody
    waits for a number that none of the living has. Whose number it was, nobody knows."""
    held = lock(b, shared=True, proof="waiter", owner_tid=b["words"][2], **members)
    expect_orphans(
        agent,
        workloads,
        [
            orphaned(b, [held], "unknown", [waiter(b)], thread=ABSENT),
            stuck(b, held, ABSENT, "unknown"),
        ],
    )


__all__ = [
    "ABSENT",
    "ANY",
    "Steps",
    "actor",
    "address",
    "any_order",
    "cleared",
    "exit_of",
    "expect_orphans",
    "expect_unnamed_owner",
    "held_back",
    "held_back_process",
    "lock",
    "one_of",
    "optional",
    "orphaned",
    "process",
    "settle_shared",
    "shared_id",
    "stuck",
    "thread",
    "waiter",
]
