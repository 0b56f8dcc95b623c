# SPDX-License-Identifier: GPL-2.0-only
"""The lock workload, step by step (lock_steps.c), and what the agent is expected to say of it."""

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


class Steps(Workload):
    """lock_steps, or its likes built with C++ or musl.

    w.do("owner lock A")       a step that is done at once; returns its event
    w.blocks("waiter lock A")  a step in which the actor blocks in a futex call
    w.dies("owner return")     a step that ends the actor
    w.then("waiter lock A")    what was blocked came through
    """

    def start(self):
        super().start()
        self.first = self.event("started")
        return self

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


# --- What is expected of an alert, from the events of a workload. --------------------------------

WAIT = {"op": "FUTEX_WAIT", "timeout_ns": ABSENT}


def actor(event):
    return event["step"].split()[0]


def process(event):
    return {"pid": event["pid"], "id": ANY}


def thread(event):
    """The thread that an event is about. In a PID namespace its number there must be said too."""
    expected = {"tid": event["tid"], "name": actor(event)}
    if event["ns_tid"] != event["tid"]:
        expected["ns_tid"] = event["ns_tid"]
    return expected


def lock(event, owner=None, **members):
    """The lock of an event; held by the thread of the event `owner`. A default mutex of glibc but
    for what `members` say."""
    return {
        "address": address(event["lock"]),
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
        "exit": reason if isinstance(reason, dict) else {"reason": reason, "time": ANY},
        "locks": any_order(locks) if len(locks) > 1 else locks,
        "waiters": waiters,
        **members,
    }


def stuck(event, held, owner, reason, wait=None, **members):
    """orphan-wait: the thread of `event` waits for the lock `held`, whose owner died. The owner is
    an event, or what is expected to be said of the dead thread."""
    dead = {"exit": {"reason": reason}}
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


def expect_orphans(agent, about, expected, **options):
    """As expect(), and what follows from an orphan names the alert that it follows from: the same
    orphan_id, and one of its locks."""
    alerts = expect(agent, about, expected, **options)
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


__all__ = [
    "ABSENT",
    "ANY",
    "Steps",
    "actor",
    "address",
    "any_order",
    "cleared",
    "expect_orphans",
    "lock",
    "one_of",
    "optional",
    "orphaned",
    "process",
    "stuck",
    "thread",
    "waiter",
]
