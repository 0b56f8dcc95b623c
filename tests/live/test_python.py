# SPDX-License-Identifier: GPL-2.0-only
"""The locks of Python programs: what the agent and `inspect` say of them, and what they must not say."""

import collections
import json
import re
import signal
import time

import pytest

from deadhold import (
    ABSENT,
    ANY,
    LOCK_KINDS,
    TIMEOUT,
    any_order,
    expect,
    expect_nothing_about_locks,
    matching,
)
from calls import needs_uprobes
from inspected import inspect, text
from python import SWEEPS, WANTED, Python, interpreter, wait_in_line

@pytest.fixture(params=WANTED)
def python(request, start_workload):
    """python(): a started program of one CPython after the other."""
    found = interpreter(request.param)
    return lambda **settings: start_workload(found, kind=Python, **settings)


@pytest.fixture
def any_python(start_workload):
    """The same of this host's CPython alone, where the version makes no difference."""
    found = interpreter("3.11")
    return lambda **settings: start_workload(found, kind=Python, **settings)


@pytest.fixture
def agent(start_agent):
    """Of a whole host, but for its locks alone: other programs' signals are no matter here."""
    return start_agent("--kind", ",".join(LOCK_KINDS))


# --- What is expected. ---------------------------------------------------------------------------


def rlock(event, **members):
    return {
        "address": event["lock"],
        "type": "python-rlock",
        "kind": ABSENT,
        "libc": "glibc",
        "shared": False,
        "robust": False,
        "proof": "waiter",
        **members,
    }


def orphaned(reason, died, lock, waiters, **members):
    return {
        "kind": "lock-orphaned",
        "severity": "critical",
        "process": {"pid": died["pid"]},
        "thread": {"tid": died["tid"]},
        "exit": {"reason": reason},
        "locks": [lock],
        "waiters": any_order([{"thread": {"tid": w["tid"]}} for w in waiters]),
        **members,
    }


def waits(died, lock, waiter, **members):
    return {
        "kind": "orphan-wait",
        "severity": "critical",
        "process": {"pid": died["pid"]},
        "thread": {"tid": waiter["tid"]},
        "lock": lock,
        "owner": {"thread": {"tid": died["tid"]}},
        "wait": {"timeout_ns": ABSENT},
        **members,
    }


def cleared(lock, how):
    return {"kind": "orphan-cleared", "how": how, "lock": {"address": lock["address"]}}


# --- The agent: an RLock whose owner is dead. ----------------------------------------------------


def test_rlock_exception(agent, python):
    """The story: an exception is thrown into the thread that holds it, others hang from then on."""
    w = python()
    w.do("owner acquire R")
    first, second = w.blocks("first acquire R"), w.blocks("second acquire R")
    w.do("owner spin")
    died = w.dies("main throw owner")
    agent.wait_for(kind="orphan-wait", pid=w.pid, count=2)
    w.end()
    agent.wait_for(kind="orphan-cleared", pid=w.pid)
    lock = rlock(first, recursion=1)
    expect(agent, w, [
        orphaned(agent.reason("return"), died, lock, [first, second]),
        any_order([waits(died, lock, first), waits(died, lock, second)]),
        cleared(lock, "process-exit"),
    ], kinds=LOCK_KINDS)


def test_rlock_return(agent, python):
    """The thread's function returns, the lock held twice; the waiter has a timeout."""
    w = python()
    w.do("owner acquire R"), w.do("owner acquire R")
    waiter = w.blocks("waiter timed R")
    died = w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    lock = rlock(waiter, recursion=2)
    expect(agent, w, [
        orphaned(agent.reason("return"), died, lock, [waiter], severity="warning"),
        waits(died, lock, waiter, severity="warning", wait={"timeout_ns": ANY}),
    ], kinds=LOCK_KINDS)


def test_rlock_waiter_later(agent, python):
    """Who wants it only after it was reported is reported, too."""
    w = python()
    w.do("owner acquire R")
    first = w.blocks("first acquire R")
    w.do("second acquire L")  # a thread of its own from now on: with a descriptor that is in use
    died = w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    second = w.blocks("second acquire R")
    agent.wait_for(kind="orphan-wait", pid=w.pid, thread={"tid": second["tid"]})
    lock = rlock(first)
    expect(agent, w, [
        orphaned(agent.reason("return"), died, lock, [first]),
        waits(died, lock, first),
        waits(died, lock, second),
    ], kinds=LOCK_KINDS)


def test_rlock_freed(agent, python):
    """What frees a dead thread's RLock, behind the owner's back, ends the alert."""
    w = python()
    if w.version >= (3, 14):
        pytest.skip("an RLock of 3.14 can't be freed by another thread")
    w.do("owner acquire R")
    waiter = w.blocks("waiter acquire R")
    died = w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    w.go("main free R")
    w.then("waiter acquire R")
    agent.wait_for(kind="orphan-cleared", pid=w.pid)
    lock = rlock(waiter)
    expect(agent, w, [
        orphaned(agent.reason("return"), died, lock, [waiter]),
        waits(died, lock, waiter),
        cleared(lock, "foreign-unlock"),
    ], kinds=LOCK_KINDS)


def test_rlock_before_the_agent(start_agent, python):
    """All was over before the agent came: nobody saw who died."""
    w = python()
    w.do("owner acquire R")
    waiter = w.blocks("waiter acquire R")
    died = w.dies("owner return")
    agent = start_agent()
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    lock = rlock(waiter)
    expect(agent, w, [
        orphaned(agent.reason("return"), died, lock, [waiter], thread=ABSENT, exit={"reason": "unknown"}),
        waits(died, lock, waiter, owner={"thread": ABSENT, "exit": {"reason": "unknown"}}),
    ], kinds=LOCK_KINDS)


def test_rlock_process_before_the_agent(start_agent, python):
    """The service runs already, and somebody waits, when deadhold comes; then the owner dies. By Python's
    own rule it was the owner as long as it lived, whoever had its descriptor before."""
    w = python()
    w.do("owner acquire R")
    waiter = w.blocks("waiter acquire R")
    w.do("owner spin")
    agent = start_agent("--kind", ",".join(LOCK_KINDS))
    agent.wait_sweeps(2)
    died = w.dies("main throw owner")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    lock = rlock(waiter)
    expect(agent, w, [
        orphaned(agent.reason("return"), died, lock, [waiter]),
        waits(died, lock, waiter),
    ], kinds=LOCK_KINDS)


def test_rlock_process_before_the_agent_waiter_later(start_agent, python):
    """Of whoever had the descriptor before deadhold came nothing is known: the one that ended with it is
    not blamed."""
    w = python()
    w.do("owner acquire R")
    w.dies("owner return")
    w.do("heir acquire L"), w.do("waiter acquire K")  # each with a descriptor of its own
    agent = start_agent("--kind", ",".join(LOCK_KINDS))
    w.dies("heir return")
    waiter = w.blocks("waiter acquire R")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    lock = rlock(waiter)
    unknown = {"reason": "unknown"}
    expect(agent, w, [
        {"kind": "lock-orphaned", "locks": [lock], "thread": ABSENT, "exit": unknown},
        waits(waiter, lock, waiter, owner={"thread": ABSENT, "exit": unknown}),
    ], kinds=LOCK_KINDS)


def test_rlock_forked(agent, any_python):
    """A child waits for an RLock that a thread of its parent held when it was forked."""
    w = any_python()
    w.do("owner acquire R")
    child = w.do("main fork R")
    agent.wait_for(kind="orphan-wait", pid=child["pid"])
    expect(agent, child["pid"], [
        {"kind": "lock-orphaned", "thread": ABSENT, "exit": {"reason": "fork"}},
        {"kind": "orphan-wait", "owner": {"thread": ABSENT}, "exit": ABSENT},
    ], kinds=LOCK_KINDS)
    assert not agent.alerts_of(w.pid, kinds=LOCK_KINDS)


def test_rlock_census_off(start_agent, python):
    """Memory is not searched. What a thread parks on is found all the same: 3.14."""
    agent = start_agent("--census", "off")
    w = python()
    w.do("owner acquire R")
    w.blocks("waiter acquire R")
    w.dies("owner return")
    if w.version >= (3, 14):
        agent.wait_for(kind="orphan-wait", pid=w.pid)
        agent.stop()
    else:
        expect_nothing_about_locks(agent, w, SWEEPS)


# --- The agent: a Lock that a dead thread got last. ----------------------------------------------


@pytest.fixture
def probing(start_agent):
    """An agent that knows what was thrown into whom."""
    agent = start_agent("--kind", ",".join(LOCK_KINDS + ("async-exception",)))
    needs_uprobes(agent)
    return agent


def suspected(w, agent, died, waiters):
    return {
        "kind": "lock-suspected",
        "severity": "warning",
        "process": {"pid": died["pid"]},
        "thread": {"tid": died["tid"]},
        "exit": {"reason": agent.reason("return")},
        "cause": {"kind": "async-exception", "exception": "SystemExit", "certain": False},
        "locks": [{
            "address": waiters[0]["lock"],
            "type": "python-lock",
            "proof": "inferred",
            "evidence": ["got-it", "waiter-not-woken"],
            "owner_tid": ABSENT,
        }],
        "waiters": any_order([
            {"thread": {"tid": one["tid"]}, "wait": {"timeout_ns": ABSENT}} for one in waiters
        ]),
        "evidence": ["got-it", "waiter-not-woken"],
    }


def test_lock_taken(probing, python):
    """The dead thread was seen to wait for it and to get it, and who waited behind it sleeps on. A
    release by another thread ends that, though the lock is held again at once."""
    w = python()
    w.do("owner acquire L")
    _, second, third = wait_in_line(probing, w, "acquire L", "first", "second", "third")
    w.do("owner release L"), w.then("first acquire L")
    w.do("first spin")
    died = w.dies("main throw first")
    probing.wait_for(kind="lock-suspected", pid=w.pid)
    w.do("main release L"), w.then("second acquire L")
    probing.wait_for(kind="orphan-cleared", pid=w.pid)
    expect(probing, w, [
        suspected(w, probing, died, [second, third]),
        cleared({"address": second["lock"]}, "foreign-unlock"),
    ], kinds=LOCK_KINDS)


def test_lock_taken_from_the_last(probing, any_python):
    """The only one that waits gets it after all, and keeps it: nobody waits, and it reads locked."""
    w = any_python()
    w.do("owner acquire L")
    _, second = wait_in_line(probing, w, "acquire L", "first", "second")
    w.do("owner release L"), w.then("first acquire L")
    w.do("first spin")
    died = w.dies("main throw first")
    probing.wait_for(kind="lock-suspected", pid=w.pid)
    w.do("main release L"), w.then("second acquire L")
    probing.wait_for(kind="orphan-cleared", pid=w.pid)
    expect(probing, w, [
        suspected(w, probing, died, [second]),
        cleared({"address": second["lock"]}, "foreign-unlock"),
    ], kinds=LOCK_KINDS)


def test_lock_taken_and_released(probing, python):
    """It gave the lock back before its end: who waited behind it has it."""
    w = python()
    w.do("owner acquire L")
    wait_in_line(probing, w, "acquire L", "first", "second", "third")
    w.do("owner release L"), w.then("first acquire L")
    w.do("first release L"), w.then("second acquire L")
    w.do("first spin")
    w.dies("main throw first")
    expect_nothing_about_locks(probing, w, SWEEPS)


def test_lock_handed_on(probing, python):
    """Another thread gave the lock of the one that ends to the next one."""
    w = python()
    w.do("owner acquire L")
    wait_in_line(probing, w, "acquire L", "first", "second", "third")
    w.do("owner release L"), w.then("first acquire L")
    probing.wait_sweeps(SWEEPS)
    w.do("main release L"), w.then("second acquire L")
    w.do("first spin")
    w.dies("main throw first")
    expect_nothing_about_locks(probing, w, SWEEPS)


def test_lock_left_to_others(probing, python):
    """A thread that returns may have left the release to another one."""
    w = python()
    w.do("owner acquire L")
    wait_in_line(probing, w, "acquire L", "first", "second")
    w.do("owner release L"), w.then("first acquire L")
    w.dies("first return")
    probing.wait_sweeps(SWEEPS)
    w.do("main release L"), w.then("second acquire L")
    expect_nothing_about_locks(probing, w)


def test_queue_taken(probing, python):
    """Workers wait in line for jobs; an exception ends the one that got the first. What they sleep on
    is a lock inside of the queue, and nobody's."""
    w = python()
    wait_in_line(probing, w, "take Q", "first", "second", "third")
    w.do("main put Q"), w.then("first take Q")
    w.do("first spin")
    w.dies("main throw first")
    expect_nothing_about_locks(probing, w, SWEEPS)


# --- The agent: nothing is claimed. --------------------------------------------------------------


def test_clean_worker(agent, python):
    """An exception ends a worker that holds nothing, while others are at rest in all the ways there
    are."""
    w = python()
    w.do("main idle")
    w.do("worker spin")
    w.dies("main throw worker")
    expect_nothing_about_locks(agent, w, SWEEPS)


def test_with_releases(agent, python):
    """A with statement frees both kinds when the exception comes: who waited gets them."""
    w = python()
    for lock in ("L", "R"):
        w.do(f"owner with {lock}")
        w.blocks(f"waiter acquire {lock}")
        w.dies("main throw owner")
        w.then(f"waiter acquire {lock}")
    expect_nothing_about_locks(agent, w, SWEEPS)


@pytest.mark.parametrize("end", ["main throw owner", "owner return"])
def test_lock_unprovable(agent, python, end):
    """A Lock says nothing of its owner: no claim, whatever became of it."""
    w = python()
    w.do("owner acquire L")
    w.blocks("waiter acquire L")
    if end.startswith("main"):
        w.do("owner spin")
    w.dies(end)
    expect_nothing_about_locks(agent, w, SWEEPS)


def test_foreign_release(agent, python):
    """Threads release each other's Locks, which is what Locks are for; those that took them end."""
    w = python()
    w.do("first acquire L")
    w.blocks("second acquire L")
    w.dies("first return")
    w.do("main release L")
    w.then("second acquire L")
    w.blocks("third acquire L")
    w.dies("second return")
    agent.wait_sweeps(SWEEPS)
    w.do("main release L")
    w.then("third acquire L")
    expect_nothing_about_locks(agent, w)


def test_rlock_alive(agent, python):
    """The owner lives, while others die: one of them had waited for it, and had it."""
    w = python()
    w.do("owner acquire R")
    w.blocks("first acquire R")
    w.do("owner release R")
    w.then("first acquire R")
    w.do("first release R")
    w.do("owner acquire R")
    w.blocks("second acquire R")
    w.dies("first return")
    w.do("third spin")
    w.dies("main throw third")
    expect_nothing_about_locks(agent, w, SWEEPS)


def test_used_correctly(agent, python):
    """RLock, Condition, Event and Queue under load, and threads that come and go."""
    w = python()
    w.do("main work")
    w.do("worker spin")
    w.dies("main throw worker")
    expect_nothing_about_locks(agent, w, SWEEPS)


def test_multiprocessing(agent, any_python):
    """A process is killed that holds a lock of multiprocessing's: a semaphore, which names nobody."""
    w = any_python()
    w.do("worker spin")
    event = w.do("main semlock")
    w.dies("main throw worker")
    expect_nothing_about_locks(agent, [w, event["child"]], SWEEPS)


# --- Signals that were meant for one thread. -----------------------------------------------------


def test_kill_tid(start_agent, any_python):
    """kill(2) at the number of a thread ends the whole process."""
    agent, w = start_agent("--kind", "tid-kill"), any_python()
    target = w.do("worker acquire L")
    w.go("main kill worker")
    assert w.wait() == -signal.SIGTERM
    expect(agent, w, [{
        "kind": "tid-kill",
        "severity": "critical",
        "thread": {"tid": target["tid"]},
        "signal": {"name": "SIGTERM", "call": "kill", "scope": "process", "fatal": True},
    }])


def test_kill_tid_handled(start_agent, any_python):
    """With a handler the process survives; the main thread runs it, whoever was meant."""
    agent, w = start_agent("--kind", "tid-kill"), any_python()
    target = w.do("worker acquire L")
    w.do("main handle SIGTERM")
    w.do("main kill worker")
    assert w.event("handled")["tid"] == w.first["tid"]
    expect(agent, w, [{
        "kind": "tid-kill",
        "severity": "warning",
        "thread": {"tid": target["tid"]},
        "signal": {"name": "SIGTERM", "call": "kill", "scope": "process", "fatal": False},
    }])


def waits_of(found):
    return collections.Counter(thread["wait"]["for"] for thread in found["threads"])


def look_until(pid, condition):
    """Threads take a while to fall asleep."""
    until = time.monotonic() + TIMEOUT
    while not condition(found := inspect(pid)):
        assert time.monotonic() < until, f"not so: {json.dumps(found, indent=1)}"
    return found


# --- One look. -----------------------------------------------------------------------------------


def test_inspect_rlock(python):
    w = python()
    w.do("owner acquire R")
    waiters = [w.blocks("first acquire R"), w.blocks("second acquire R")]
    w.dies("owner return")
    inspect(w.pid, expected={
        "verdict": "orphaned-lock",
        "message": matching("2 threads wait for a Python RLock whose owner is dead$"),
        "locks": [rlock(
            waiters[0],
            owner={"state": "dead", "ns_tid": ABSENT},
            orphaned=True,
            waiters=sorted(e["tid"] for e in waiters),
        )],
        "unknown": [],
    })


def test_inspect_rlock_alive(python):
    """Two RLocks crosswise; and one that somebody merely holds."""
    w = python()
    a, b = w.do("first acquire R1"), w.do("second acquire R2")
    w.blocks("first acquire R2"), w.blocks("second acquire R1")
    owner = w.do("owner acquire R3")
    waiter = w.blocks("waiter acquire R3")
    found = inspect(w.pid, expected={
        "verdict": "deadlock",
        "cycles": [any_order([a["tid"], b["tid"]])],
    })
    wanted = {lock["address"]: lock for lock in found["locks"]}
    assert len(wanted) == 3
    for lock, holder in ((a, a), (b, b), (owner, owner)):
        assert wanted[lock["lock"]]["owner"]["tid"] == holder["tid"]
        assert wanted[lock["lock"]]["type"] == "python-rlock"
    assert wanted[owner["lock"]]["waiters"] == [waiter["tid"]]


def test_inspect_lock(python):
    """Who holds a Lock nobody knows: it is listed as unknown, and said what would tell."""
    w = python()
    w.do("owner acquire L")
    waiters = [w.blocks("first acquire L"), w.blocks("second timed L")]
    inspect(w.pid, expected={
        "verdict": "blocked",
        "locks": [{
            "address": waiters[0]["lock"],
            "type": "python-lock",
            "owner": {"state": "unknown", "why": "threading.Lock records no owner"},
            "owner_tid": ABSENT,
            "orphaned": False,
            "waiters": sorted(e["tid"] for e in waiters),
        }],
        "unknown": [{
            "what": f"who holds lock {waiters[0]['lock']}",
            "why": "threading.Lock records no owner",
        }],
    })
    said = " ".join(text(w.pid, status=0).split())
    assert "Python Lock" in said and f"py-spy dump --pid {w.pid}" in said and "--deep" in said


def test_inspect_idle(python):
    """Threads at rest wait for locks by design: these are no findings."""
    w = python()
    w.do("main idle")
    idle = {"call": 1, "condition": 11, "join": 1, "queue": 3}
    found = look_until(w.pid, lambda found: waits_of(found) == idle)
    assert found["verdict"] == "ok" and not found["unknown"] and not found["locks"], found


def test_inspect_census_off(python):
    """Without a search nothing is claimed, and that is said."""
    w = python()
    w.do("owner acquire L"), w.blocks("waiter acquire L")
    found = inspect(w.pid, "--census", "off")
    if w.version < (3, 13, 1):
        assert found["verdict"] == "ok" and not found["locks"], found
    assert any("--census" in u["why"] for u in found["unknown"]), found


def test_inspect_forked(any_python):
    w = any_python()
    w.do("owner acquire R")
    child = w.do("main fork R")
    look_until(child["pid"], lambda found: waits_of(found) == {"lock": 1})
    said = " ".join(text(child["pid"], status=1).split())
    assert "has ended, or fork copied the lock from a parent" in said


# --- One look: the GIL. --------------------------------------------------------------------------


def holders_of(found):
    return {gil["holder"]["tid"]: gil for gil in found.get("gils", [])}


def gil_held(w, waiters):
    """The holder has got it, and those that are at work have come to wait for it."""
    def so(found):
        return any(set(gil["waiters"]) >= {e["tid"] for e in waiters} for gil in found.get("gils", []))

    return look_until(w.pid, so)


def test_inspect_gil(python):
    """A thread sleeps in C with the GIL held: all the others are stuck behind it."""
    w = python()
    workers = [w.do("first spin"), w.do("second spin")]
    owner = w.do("owner hold")
    found = gil_held(w, workers)
    assert found["verdict"] == "blocked" and not found["locks"] and not found["cycles"], found
    (gil,) = found["gils"]
    assert gil["holder"] == {key: owner_of(found, owner)[key] for key in gil["holder"]}, found
    assert gil["asleep"] and owner_of(found, owner)["wait"]["call"] == "pause", found
    for tid in gil["waiters"]:
        wait = next(t["wait"] for t in found["threads"] if t["tid"] == tid)
        assert wait["for"] == "gil" and wait["gil"] == gil["address"], found
    # Threads have their names from 3.14 on.
    message = rf"wait for the GIL: \S*\b{owner['tid']}\b\S* holds it, and is in pause$"
    assert re.search(message, found["message"].replace("thread ", "thread-")), found
    said = " ".join(text(w.pid, status=0).split())
    assert f"(tid {owner['tid']}), which is in pause and did not run; " in said, said
    assert "run Python code before it is released" in said, said


def owner_of(found, event):
    return next(t for t in found["threads"] if t["tid"] == event["tid"])


def test_inspect_gil_deadlock(python):
    """One has the GIL and waits for a mutex of C; who has that waits for the GIL."""
    w = python()
    first = w.do("first mutex M")
    second = w.do("second grab M")
    found = look_until(w.pid, lambda found: found["verdict"] == "deadlock")
    assert found["gils"][0]["holder"]["tid"] == second["tid"], found
    assert [sorted(cycle) for cycle in found["cycles"]] == [sorted([first["tid"], second["tid"]])]
    said = " ".join(text(w.pid, status=1).split())
    assert f"(tid {first['tid']}) waits for the GIL, which" in said, said


def test_inspect_gil_taken_along(python):
    """A thread ended with it. Nobody can be named, and that is said."""
    w = python()
    w.do("worker spin")
    w.do("owner exit")

    def so(found):
        return any("who holds the GIL" in unknown["what"] for unknown in found["unknown"])

    assert "gils" not in look_until(w.pid, so)


def test_inspect_gil_of_an_interpreter(python):
    """A thread is at work in another interpreter, all the time."""
    w = python()
    runner = w.do("runner interpreter")
    found = look_until(w.pid, lambda found: "gils" in found)
    assert set(holders_of(found)) == {runner["tid"]}, found
    assert not found["gils"][0]["asleep"] and found["verdict"] == "ok", found


def test_inspect_gil_of_each_interpreter(python):
    """Own GILs: one is held by a thread that is at work, the other by one that sleeps."""
    w = python()
    if w.version < (3, 12):
        pytest.skip("interpreters share the GIL up to 3.11")
    worker, runner = w.do("worker spin"), w.do("runner interpreter")
    look_until(w.pid, lambda found: runner["tid"] in holders_of(found))
    owner = w.do("owner hold")
    found = gil_held(w, [worker])
    gils = holders_of(found)
    assert set(gils) == {runner["tid"], owner["tid"]}, found
    assert gils[owner["tid"]]["asleep"] and not gils[runner["tid"]]["asleep"], found
    assert not gils[runner["tid"]]["waiters"], found


def test_inspect_gil_forked(any_python):
    """What the parent's thread held is nobody's in the child, which made its GIL anew."""
    w = any_python()
    w.do("owner acquire R")
    child = w.do("main fork R")
    look_until(child["pid"], lambda found: waits_of(found) == {"lock": 1})
    assert "gils" not in inspect(child["pid"])


def test_inspect_gil_released(python):
    """Threads at rest, and some that sleep all the time but for a moment: nobody holds it."""
    w = python()
    w.do("main idle")
    w.do("worker spin")
    for _ in range(5):
        found = inspect(w.pid)
        assert "gils" not in found and found["verdict"] == "ok", found
