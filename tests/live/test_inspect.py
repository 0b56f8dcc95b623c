# SPDX-License-Identifier: GPL-2.0-only
"""`deadhold inspect` on processes that were there before it: every verdict, and what it must not say.

The workload is lock_steps, stripped: no symbols help."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from deadhold import ABSENT, ANY, LIVE, TIMEOUT, any_order, difference, matching
from inspected import (
    FAILED,
    FOUND,
    alive,
    dead,
    fails,
    inspect,
    lines,
    lock,
    run,
    text,
    thread_of,
)
from steps import Steps


@pytest.fixture(scope="session")
def stripped(tmp_path_factory):
    """A program of tests/live without its symbols."""
    made = {}

    def strip(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("stripped") / name
            subprocess.run(["strip", "-o", made[name], LIVE / name], check=True)
        return str(made[name])

    return strip


@pytest.fixture
def steps(start_steps, stripped):
    def start(*args, program="lock_steps", **settings):
        return start_steps(*args, program=stripped(program), **settings)

    return start


def verdict(name, locks=(), cycles=(), **members):
    return {"verdict": name, "locks": any_order(locks), "cycles": list(cycles), **members}


# --- Orphans. -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, members",
    [
        ("normal", {}),
        ("recursive", {"kind": "recursive"}),
        ("errorcheck", {"kind": "errorcheck"}),
        ("adaptive", {"kind": "adaptive"}),
        ("rwlock", {"type": "rwlock", "kind": ABSENT}),
        ("mtx", {"kind": ANY}),
    ],
)
def test_orphan(steps, kind, members):
    w = steps(kind)
    owner = w.do("owner lock A")
    waiters = [w.blocks("first lock A"), w.blocks("second lock A")]
    w.dies("owner return")
    found = inspect(
        owner["pid"],
        expected=verdict("orphaned-lock", [lock(owner, dead(owner), waiters, **members)]),
    )
    for waiter in waiters:
        wait = thread_of(found, waiter)["wait"]
        assert not difference(wait, {"for": "lock", "call": "futex", "forever": True}), wait
    assert f"2 threads wait for thread {owner['tid']}, which is dead" in found["message"]


def test_orphan_in_text(steps):
    w = steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner return")
    for i in range(11):
        w.blocks(f"waiter-{i} lock A")
    said = text(owner["pid"], status=FOUND)
    first = said.splitlines()[0]
    assert re.match(
        rf"ORPHANED LOCK lock_steps\[{owner['pid']}\]: 11 threads wait for thread {owner['tid']},"
        " which is dead$",
        first,
    ), said
    assert said.count("  stuck waiter-") == 8 and "and 3 more waiters" in said, said
    assert f"gcore {owner['pid']}" in said, said
    assert text(owner["pid"], "-v", status=FOUND).count("  stuck waiter-") == 11


def test_orphan_chain(steps):
    """Who waits for a thread that is stuck is stuck too."""
    w = steps("normal", "normal")
    owner = w.do("owner lock A")
    other = w.do("other lock B")
    w.dies("owner return")
    w.blocks("other lock A")
    last = w.blocks("last lock B")
    main = w.blocks("joiner join last")
    found = inspect(
        owner["pid"],
        expected=verdict(
            "orphaned-lock",
            [lock(owner, dead(owner), [other]), lock(other, alive(other), [last])],
        ),
    )
    assert "3 threads wait for thread" in found["message"], found["message"]
    assert thread_of(found, main)["wait"] == {
        "for": "join", "call": "futex", "call_number": ANY, "op": ANY, "futex": ANY,
        "forever": True, "tid": last["tid"],
    } or not difference(
        thread_of(found, main)["wait"], {"for": "join", "tid": last["tid"], "forever": True}
    )


def test_orphan_with_a_timed_waiter(steps):
    w = steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner return")
    waiter = w.blocks("waiter timed A 3000")
    found = inspect(
        owner["pid"], expected=verdict("orphaned-lock", [lock(owner, dead(owner), [waiter])])
    )
    wait = thread_of(found, waiter)["wait"]
    assert not difference(wait, {"forever": False, "until": ANY}), wait
    assert re.search(r"  waiting waiter .*: gives up in (49|50) min", text(owner["pid"], status=1))


def test_main_thread_gone(steps):
    w = steps("leader", "normal")
    owner = w.do("leader lock A")
    waiter = w.blocks("waiter lock A")
    w.dies("leader return")
    found = inspect(
        owner["pid"], expected=verdict("orphaned-lock", [lock(owner, dead(owner), [waiter])])
    )
    assert thread_of(found, owner)["state"] == "Z", found


def test_musl(start_steps):
    w = start_steps("recursive", program="musl_steps")
    owner = w.do("owner lock A")
    waiter = w.blocks("waiter lock A")
    w.dies("owner raw")
    inspect(
        owner["pid"],
        expected=verdict(
            "orphaned-lock",
            [lock(owner, dead(owner), [waiter], kind="recursive", libc="musl")],
        ),
    )


def test_musl_marked(start_steps):
    """musl's thread end takes the number out of the lock and leaves its mark."""
    w = start_steps("recursive", program="musl_steps")
    owner = w.do("owner lock A")
    w.dies("owner return")
    waiter = w.blocks("waiter lock A")
    inspect(
        owner["pid"],
        expected=verdict(
            "orphaned-lock",
            [
                lock(
                    owner,
                    {"state": "dead", "ns_tid": ABSENT},
                    [waiter],
                    kind="recursive",
                    libc="musl",
                    proof="owner-died",
                )
            ],
        ),
    )


def test_parked(steps):
    """After a PI owner's death libc parks whoever comes, on its own stack."""
    w = steps("pi")
    owner = w.do("owner lock A")
    w.dies("owner return")
    waiter = w.blocks("waiter lock A")
    inspect(
        owner["pid"],
        expected=verdict("orphaned-lock", [lock(owner, dead(owner), [waiter], type="pi-mutex")]),
    )


def test_robust_is_recovered(steps):
    """Nobody hangs on a robust mutex: who waited has it now."""
    w = steps("robust")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    w.dies("owner return")
    w.then("waiter lock A", result=130)
    inspect(owner["pid"], expected=verdict("ok"))


def test_fork(steps):
    """The child's copy is locked in the name of a thread that never was in the child."""
    w = steps("normal")
    owner = w.do("owner lock A")
    child = w.do("child fork")
    waiter = w.blocks("child lock A")
    found = inspect(
        child["pid"],
        expected=verdict(
            "orphaned-lock",
            [lock(waiter, {"state": "dead", "ns_tid": owner["ns_tid"], "inherited": True}, [waiter])],
        ),
    )
    assert "that fork copied locked" in found["message"], found["message"]
    inspect(owner["pid"], expected=verdict("ok"))


def test_fork_parent_thread_gone(steps):
    """Then it can't be told from a thread of the child that ended, and is not claimed."""
    w = steps("normal")
    owner = w.do("owner lock A")
    child = w.do("child fork")
    w.dies("owner return")
    waiter = w.blocks("child lock A")
    inspect(
        child["pid"],
        expected=verdict(
            "orphaned-lock",
            [lock(waiter, {"state": "dead", "ns_tid": owner["ns_tid"], "inherited": ABSENT}, [waiter])],
        ),
    )
    assert "or fork copied" in text(child["pid"], status=FOUND)


# --- Deadlocks. -----------------------------------------------------------------------------------


def cycle_of(found):
    """From its smallest number on."""
    assert len(found["cycles"]) == 1, found
    cycle = found["cycles"][0]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


def test_two(steps):
    w = steps("normal", "normal")
    a, b = w.do("left lock A"), w.do("right lock B")
    w.blocks("left lock B")
    w.blocks("right lock A")
    behind = w.blocks("third lock A")
    found = inspect(
        a["pid"],
        expected={
            "verdict": "deadlock",
            "locks": any_order([lock(a, alive(a), [b, behind]), lock(b, alive(b), [a])]),
        },
    )
    assert cycle_of(found) == [a["tid"], b["tid"]]
    said = text(a["pid"], status=FOUND)
    assert said.startswith(
        f"DEADLOCK lock_steps[{a['pid']}]: left[{a['tid']}] and right[{b['tid']}] wait for each"
        " other, 1 more behind\n"
    ), said


def test_ring_of_five(steps):
    w = steps(*["normal"] * 5)
    events = [w.do(f"actor-{i} lock {'ABCDE'[i]}") for i in range(5)]
    for i in range(5):
        w.blocks(f"actor-{i} lock {'ABCDE'[(i + 1) % 5]}")
    found = inspect(events[0]["pid"], expected={"verdict": "deadlock"})
    assert cycle_of(found) == [event["tid"] for event in events]
    assert "5 threads wait for each other in a ring" in found["message"]


def test_self(steps):
    w = steps("normal")
    owner = w.do("owner lock A")
    w.blocks("owner lock A")
    found = inspect(
        owner["pid"],
        expected=verdict(
            "deadlock", [lock(owner, alive(owner), [owner])], [[owner["tid"]]]
        ),
    )
    assert f"owner[{owner['tid']}] waits for a mutex that it holds itself" in found["message"]


def test_reader_and_writer(steps):
    """Two rwlocks, each held for writing by who wants to read the other."""
    w = steps("rwlock", "rwlock")
    a, b = w.do("left lock A"), w.do("right lock B")
    w.blocks("left read B")
    w.blocks("right read A")
    found = inspect(a["pid"], expected={"verdict": "deadlock"})
    assert cycle_of(found) == [a["tid"], b["tid"]]


def test_reader_unknown(steps):
    """Who reads is recorded nowhere: no deadlock is claimed, and it is said why."""
    w = steps("rwlock", "normal")
    reader = w.do("reader read A")
    writer = w.do("writer lock B")
    w.blocks("reader lock B")
    w.blocks("writer lock A")
    found = inspect(
        reader["pid"],
        expected=verdict(
            "blocked",
            [
                lock(writer, alive(writer), [reader]),
                lock(
                    reader,
                    {"state": "unknown", "readers": 1, "why": ANY},
                    [writer],
                    type="rwlock",
                    kind=ABSENT,
                ),
            ],
        ),
    )
    assert found["unknown"] == [{"what": matching("who holds lock 0x"), "why": ANY}] or found["unknown"]
    assert "an rwlock that 1 reader holds" in found["message"]


def test_join_in_a_cycle(steps):
    """One waits for the end of a thread that waits for its lock."""
    w = steps("normal")
    owner = w.do("owner lock A")
    waiter = w.blocks("waiter lock A")
    w.blocks("owner join waiter")
    found = inspect(owner["pid"], expected={"verdict": "deadlock"})
    assert cycle_of(found) == sorted([owner["tid"], waiter["tid"]])


def test_deadlock_that_ends_by_itself(steps):
    w = steps("normal", "normal")
    a, b = w.do("left lock A"), w.do("right lock B")
    w.blocks("left timed B 3000")
    w.blocks("right lock A")
    found = inspect(a["pid"], expected={"verdict": "blocked"})
    assert cycle_of(found) == [a["tid"], b["tid"]]
    assert found["message"].endswith("wait for each other, until one gives up")


# --- Nothing is broken. ---------------------------------------------------------------------------


def test_convoy(steps):
    """One live owner, who does something else, and those who wait for it."""
    w = steps("normal")
    owner = w.do("owner lock A")
    waiters = [w.blocks(f"waiter-{i} lock A") for i in range(3)]
    found = inspect(
        owner["pid"], expected=verdict("blocked", [lock(owner, alive(owner), waiters)])
    )
    assert f"3 threads wait for owner[{owner['tid']}], which is in read" in found["message"]


@pytest.mark.parametrize("step, what", [("sem", "semaphore"), ("wait A", "condition")])
def test_idle(steps, step, what):
    """A pool of idle threads."""
    w = steps("normal")
    for i in range(12):
        if step == "wait A":
            w.do(f"idle-{i} lock A")
        event = w.blocks(f"idle-{i} {step}")
    found = inspect(event["pid"], expected=verdict("ok", unknown=[]))
    assert [t["wait"]["for"] for t in found["threads"]].count(what) == 12, found["threads"]
    said = text(event["pid"], status=0)
    assert re.match(r"OK lock_steps\[\d+\]: none of its 13 threads waits for a lock\n", said), said
    words = {"semaphore": "for a semaphore", "condition": "on a condition variable"}[what]
    assert f"12 wait {words}" in said, said


def test_barrier_once_join(steps):
    w = steps("normal")
    barrier = w.blocks("barrier barrier")
    once = w.blocks("once once")
    join = w.blocks("joiner join barrier")
    found = inspect(barrier["pid"], expected=verdict("ok", unknown=[]))
    assert thread_of(found, barrier)["wait"]["for"] == "barrier"
    assert thread_of(found, once)["wait"]["for"] == "semaphore"  # in its routine
    assert not difference(
        thread_of(found, join)["wait"], {"for": "join", "tid": barrier["tid"]}
    ), found


def test_musl_idle(start_steps):
    w = start_steps("normal", program="musl_steps")
    w.do("idle lock A")
    idle = w.blocks("idle wait A")
    join = w.blocks("joiner join idle")
    found = inspect(idle["pid"], expected=verdict("ok", unknown=[]))
    assert not difference(
        thread_of(found, join)["wait"], {"for": "join", "tid": idle["tid"]}
    ), found


def test_musl_normal_mutex(start_steps):
    """It records no owner: that it is blocked is said, and that nobody can tell by whom."""
    w = start_steps("normal", program="musl_steps")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    found = inspect(
        owner["pid"],
        expected={
            "verdict": "blocked",
            "locks": [{"owner": {"state": "unknown", "why": ANY}, "orphaned": False}],
            "unknown": [{"what": matching("who holds lock"), "why": "it records no owner"}],
        },
    )
    assert found["message"].endswith("1 thread waits for a lock whose owner is not known")


def test_stopped(steps):
    w = steps("normal")
    event = w.do("actor lock A")
    os.kill(event["pid"], signal.SIGSTOP)
    os.waitid(os.P_PID, w.process.pid, os.WSTOPPED | os.WNOWAIT)
    found = inspect(event["pid"], expected=verdict("ok"))
    assert "stopped by a signal or a debugger" in found["message"]


# --- Elsewhere. -----------------------------------------------------------------------------------


def test_pid_namespace(start_steps):
    w = start_steps("normal", pid_ns=True)
    owner = w.do("owner lock A")
    w.dies("owner return")
    waiter = w.blocks("waiter lock A")
    assert waiter["ns_tid"] != waiter["tid"]
    found = inspect(
        waiter["pid"],
        expected=verdict(
            "orphaned-lock",
            [lock(owner, dead(owner), [waiter], symbol="private_locks")],
        ),
    )
    assert thread_of(found, waiter)["ns_tid"] == waiter["ns_tid"]


@pytest.fixture
def pair(steps, tmp_path):
    """Two processes that share locks in a file."""

    def start(*kinds):
        path = tmp_path / "locks"
        return steps("init", path, *kinds), steps("join", path, *kinds)

    return start


def test_shared_owner_alive(pair):
    a, b = pair("normal")
    owner = a.do("owner lock A")
    waiter = b.blocks("waiter lock A")
    found = inspect(
        waiter["pid"],
        expected=verdict(
            "blocked",
            [lock(waiter, alive(owner, pid=owner["pid"]), [waiter], shared=True)],
        ),
    )
    assert f"1 thread waits for owner[{owner['tid']}] of process {owner['pid']}, which is in read" in (
        found["message"]
    )


def test_shared_owner_dead(pair):
    a, b = pair("normal")
    owner = a.do("owner lock A")
    waiter = b.blocks("waiter lock A")
    a.process.kill()
    a.process.wait()
    inspect(
        waiter["pid"],
        expected=verdict("orphaned-lock", [lock(waiter, dead(owner), [waiter], shared=True)]),
    )


def test_shared_deadlock(pair):
    """Across two processes, seen from each of them."""
    a, b = pair("normal", "normal")
    left, right = a.do("left lock A"), b.do("right lock B")
    a.blocks("left lock B")
    b.blocks("right lock A")
    for pid in (left["pid"], right["pid"]):
        found = inspect(pid, expected={"verdict": "deadlock"})
        assert sorted(cycle_of(found)) == sorted([left["tid"], right["tid"]])
