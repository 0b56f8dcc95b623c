# SPDX-License-Identifier: GPL-2.0-only
"""`deadhold inspect` on processes that were there before it: every verdict, and what it must not say.

The workload is lock_steps, stripped: no symbols help."""

import ctypes
import mmap
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

from deadhold import (
    ABSENT,
    AGENT,
    ANY,
    LIVE,
    SCALE,
    TIMEOUT,
    any_order,
    difference,
    kernel,
    matching,
    one_of,
)
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
from steps import Steps, held_at_calls, held_back, held_back_process


# System call numbers of x86_64 and arm64.
FUTEX, POLL = (202, (7,)) if os.uname().machine == "x86_64" else (98, (73,))


@pytest.fixture(scope="session")
def stripped(tmp_path_factory):
    """A program of tests/live without its symbols."""
    made = {}

    def strip(name):
        if not shutil.which("strip"):  # in the VM
            return name
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
        ("stdio", {"type": "stdio", "kind": ABSENT, "proof": "owner-died", "owner_tid": ABSENT,
                   "owner": {"state": "dead", "ns_tid": ABSENT}}),
    ],
)
def test_orphan(steps, kind, members):
    w = steps(kind)
    owner = w.do("owner lock A")
    waiters = [w.blocks("first lock A"), w.blocks("second lock A")]
    w.dies("owner return")
    found = inspect(
        owner["pid"],
        expected=verdict("orphaned-lock", [{**lock(owner, dead(owner), waiters), **members}]),
    )
    for waiter in waiters:
        wait = thread_of(found, waiter)["wait"]
        assert not difference(wait, {"for": "lock", "call": "futex", "forever": True}), wait
    whom = f"thread {owner['tid']}, which"
    if kind == "stdio":
        whom = "a stdio stream's lock whose owner"
    assert found["message"].endswith(f"2 threads wait for {whom} is dead")


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


@pytest.mark.parametrize("pid_ns", [False, True])
def test_orphans_without_waiters(start_steps, stripped, pid_ns):
    """Nobody ever waited for them: only memory tells."""
    w = start_steps(
        "normal", "recursive", "rwlock", "normal", program=stripped("lock_steps"), pid_ns=pid_ns
    )
    owner = w.do("owner lock A")
    second, third = w.do("owner lock B"), w.do("owner lock C")
    alive_owner = w.do("other lock D")
    w.dies("owner return")
    shape = {"proof": "shape", "evidence": ANY}
    expected = [
        lock(owner, dead(owner), [], **shape),
        lock(second, dead(owner), [], kind="recursive", recursion=1, **shape),
        lock(third, dead(owner), [], type="rwlock", kind=ABSENT, **shape),
    ]
    if pid_ns:  # small numbers: what has no more to it than a plain mutex is suspected only
        for e in expected:
            e["orphaned"] = ANY
    found = inspect(alive_owner["pid"], expected={"locks": any_order(expected), "cycles": []})
    assert found["census"]["scanned_bytes"] > 10000
    if not pid_ns:
        assert found["verdict"] == "orphaned-lock"
        assert "is dead and holds a mutex; nobody waits for it yet; 2 more" in found["message"]
    # A probe does not kill for the looks of memory.
    inspect(alive_owner["pid"], "--probe", "0.1", status=0)
    found = inspect(alive_owner["pid"], "--census", "off", expected={"verdict": "ok"})
    assert "census" not in found


@pytest.mark.parametrize("place", ["heap", "static"])
def test_java_arrays(start_workload, tmp_path, place):
    """{1, 0, class, length, 0 ...}: in a JVM that is an array, whatever number its class has. What lies in
    data or bss is none. A library of that name makes a JVM of any program."""
    library = tmp_path / "libjvm.so"
    shutil.copy(LIVE / "lock_data.so", library)
    for settings, known in (({}, True), ({"env": {**os.environ, "LD_PRELOAD": str(library)}}, False)):
        w = start_workload("lock_places", place, kind=Steps, **settings)
        w.go("hold")
        owner = w.event("hold")
        if place == "heap" and owner["ns_tid"] < 10_000:
            pytest.skip("thread numbers are small here: nothing on the heap is claimed")
        w.go("die")
        w.event("die")
        found = inspect(w.process.pid)
        wanted = known or place == "static"
        assert found["verdict"] == ("orphaned-lock" if wanted else "ok"), found
        (lock,) = found["locks"]
        assert lock["orphaned"] == wanted and lock.get("suspected", False) != wanted, lock


@pytest.mark.parametrize("place", ["mapping", "elsewhere"])
def test_userfault(start_workload, place):
    """The same lock in the same memory: where a userfaultfd stands behind it, it is left out, and counted."""
    w = start_workload("lock_places", place, kind=Steps)
    if w.first["userfault"]:
        pytest.skip(f"no userfaultfd here: {os.strerror(w.first['userfault'])}")
    w.go("hold")
    w.event("hold")
    w.go("die")
    w.event("die")
    found = inspect(w.process.pid)
    skipped = found["census"]["skipped_bytes"]
    if place == "mapping":
        assert len(found["locks"]) == 1 and skipped == 0, found
    else:
        assert found["verdict"] == "ok" and not found["locks"] and skipped == 1 << 20, found


def test_robust_without_waiters(steps):
    """The next thread that takes it is told: nothing is wrong."""
    w = steps("robust")
    owner = w.do("owner lock A")
    w.dies("owner return")
    inspect(owner["pid"], expected={"verdict": "ok"})


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
    wait = thread_of(found, main)["wait"]
    assert not difference(wait, {"for": "join", "tid": last["tid"], "forever": True}), wait


def test_orphan_with_a_timed_waiter(steps):
    w = steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner return")
    waiter = w.blocks("waiter timed A 3000")
    found = inspect(
        owner["pid"], expected=verdict("orphaned-lock", [lock(owner, dead(owner), [waiter])])
    )
    wait = thread_of(found, waiter)["wait"]
    # glibc 2.31 says how long, later ones until when.
    until = {"until": ANY} if "until" in wait else {"timeout_ns": ANY}
    assert not difference(wait, {"forever": False, **until}), wait
    assert re.search(r"  waiting waiter .*: gives up (in|after) (49|50) min", text(owner["pid"], status=1))


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


def in_call(pid, numbers):
    """Is the process's main thread asleep in one of these system calls?"""
    try:
        call = pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except OSError:
        return False
    return call in map(str, numbers)


def test_exec_during_the_look(steps):
    """Neither what the old program was nor what the new one is can be told."""
    w = steps("normal")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    w.dies("owner return")
    command = [str(AGENT), "inspect", "--probe", "3600", str(owner["pid"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as look:
        readers = pathlib.Path(f"/proc/{look.pid}/task/{look.pid}/children")
        until = time.monotonic() + TIMEOUT
        while not any(in_call(child, POLL) for child in readers.read_text().split()):
            assert time.monotonic() < until, "it does not come to its pause"
        w.go("other exec")
        w.event("started")
        out, said = look.communicate(timeout=TIMEOUT)
    assert look.returncode == 0 and not out, (out, said)  # a probe that fails kills nobody
    assert b"runs another program than when the look began" in said, said


def test_many_without_waiters(steps):
    """In text some are listed, and the others counted."""
    w = steps(*["normal"] * 12)
    for name in "ABCDEFGHIJKL":
        owner = w.do(f"owner lock {name}")
    w.dies("owner return")
    said = text(owner["pid"], status=FOUND)
    assert said.count("nobody waits for it; known by") == 8, said
    assert "and 4 more locks of dead threads, nobody waits there" in " ".join(said.split()), said
    assert len(re.findall("^  lock ", text(owner["pid"], "-v", status=FOUND), re.M)) == 12


def test_fork(steps):
    """The child's copy is locked in the name of a thread that never was in the child."""
    w = steps("normal")
    owner = w.do("owner lock A")
    child = w.do("child fork")
    waiter = w.blocks("child lock A")
    left = dead(owner) | {"inherited": True}
    found = inspect(
        child["pid"], expected=verdict("orphaned-lock", [lock(waiter, left, [waiter])])
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
    left = dead(owner) | {"inherited": ABSENT}
    inspect(child["pid"], expected=verdict("orphaned-lock", [lock(waiter, left, [waiter])]))
    said = text(child["pid"], status=FOUND)
    assert "which is not in this process" in said.splitlines()[0], said
    assert "or fork copied" in " ".join(said.split()), said


def helper(child):
    """The thread that the step "helper" makes. It has no event of its own."""
    tids = {int(task) for task in os.listdir(f"/proc/{child['pid']}/task")}
    (tid,) = tids - {child["tid"]}
    return {**child, "tid": tid}


def test_forking_thread_held_it(steps):
    """Its copy, the child's main thread, has the lock then, and unlocks it."""
    w = steps("normal")
    w.do("child fork A")
    b = w.do("child helper A")
    owner = {**b, "ns_tid": b["ns_pid"]}
    held = lock(b, alive(owner, inherited=True), [helper(b)])
    found = inspect(b["pid"], "--probe", "0.2", expected=verdict("blocked", [held]))
    assert found["message"].endswith("waits for main thread, which is in read"), found["message"]
    w.do("child unlock A")
    w.do("child lock A")
    inspect(b["pid"], expected=verdict("ok"))


def test_forking_thread_held_it_and_waits(steps):
    w = steps("normal")
    w.do("child fork A")
    b = w.blocks("child lock A")
    held = lock(b, alive(b, inherited=True), [b])
    inspect(b["pid"], expected=verdict("deadlock", [held], [[b["tid"]]]))


@pytest.mark.parametrize("kind, proven", [("normal", False), ("recursive", True)])
def test_fork_not_known_by_whom(steps, kind, proven):
    """It is not known any more whether that thread forked. Then the main thread may unlock what asks for
    no number."""
    w = steps(kind)
    owner = w.do("owner lock A")
    w.do("child fork")
    w.dies("owner return")
    b = w.do("child helper A")
    left = dead(owner) | ({} if proven else {"state": "unknown", "why": matching("main thread can")})
    recursion = {"recursion": 1} if proven else {}
    expected = lock(b, left, [helper(b)], kind=kind, **recursion)
    found = verdict("orphaned-lock" if proven else "blocked", [expected])
    inspect(b["pid"], "--probe", "0.2", expected=found)


MIMICS = ("mimic", "mimic-bitset", "mimic-inline", "mimic-self")


@pytest.mark.parametrize("kind", MIMICS)
@pytest.mark.parametrize("program", ["lock_steps", "lock_steps_static"])
def test_looks_like_a_mutex(start_steps, program, kind):
    """A lock of somebody else's make; what it guards looks like glibc's to the last bit, and names a thread
    that is not there, or who waits."""
    w = start_steps(kind, program=program)
    w.do("owner lock A")
    b, c = w.blocks("b lock A"), w.blocks("c lock A")
    unknown = {"state": "unknown", "why": "it records no owner", "tid": ABSENT}
    held = {**lock(b, unknown, [b, c]), "type": "futex", "kind": ABSENT}
    inspect(b["pid"], "--probe", "0.2", expected=verdict("blocked", [held]))
    w.do("owner unlock A")
    w.then("b lock A")
    w.do("b unlock A")
    w.then("c lock A")


@pytest.mark.parametrize("kind", ["normal", "mimic-inline"])
def test_static_and_stripped(steps, kind):
    """Nothing tells whose code waits there: a dead owner is not claimed."""
    w = steps(kind, program="lock_steps_stripped")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    if kind == "normal":
        inspect(b["pid"], expected=verdict("blocked", [lock(b, alive(owner), [b])]))
        w.dies("owner return")
    unknown = {"state": "unknown", "why": matching("static and without symbols")}
    inspect(b["pid"], "--probe", "0.2", expected=verdict("blocked", [lock(b, unknown, [b])]))


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


@pytest.mark.parametrize("kind", ["robust", "pi", "recursive"])
def test_two_of_a_kind(steps, kind):
    """The kernel refuses the ring of priority-inheritance mutexes, and libc parks who closed it."""
    w = steps(kind, kind)
    a, b = w.do("left lock A"), w.do("right lock B")
    w.blocks("left lock B")
    w.blocks("right lock A")
    found = inspect(a["pid"], expected={"verdict": "deadlock"})
    assert cycle_of(found) == [a["tid"], b["tid"]]


def test_self_parked(steps):
    w = steps("pi")
    owner = w.do("owner lock A")
    w.blocks("owner lock A")
    found = inspect(owner["pid"], expected={"verdict": "deadlock"})
    assert found["cycles"] == [[owner["tid"]]]


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
    assert not difference(found["unknown"], [{"what": matching("who holds lock 0x"), "why": ANY}])
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


@pytest.mark.parametrize("kind", ["normal", "robust", "pi", "rwlock", "stdio"])
def test_convoy(steps, kind):
    """One live owner, who does something else, and those who wait for it."""
    w = steps(kind)
    owner = w.do("owner lock A")
    waiters = [w.blocks(f"waiter-{i} lock A") for i in range(3)]
    held = lock(owner, alive(owner), waiters, type=ANY, kind=one_of(ABSENT, "normal"), robust=ANY)
    found = inspect(owner["pid"], expected=verdict("blocked", [held]))
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
    assert "stopped by a signal or a debugger; none of its" in found["message"]


def test_stopped_idle(steps):
    """Where it is stopped, its threads still wait for what they waited for."""
    w = steps("normal")
    w.do("idle lock A")
    idle = w.blocks("idle wait A")
    with held_back_process(idle["pid"]):
        found = inspect(idle["pid"], expected=verdict("ok", unknown=[]))
    assert not difference(thread_of(found, idle), {"state": "T", "wait": {"for": "condition"}})


def test_stopped_deadlock(steps):
    """Somebody was faster, with a debugger or SIGSTOP: it hangs all the same."""
    w = steps("normal", "normal")
    a, b = w.do("left lock A"), w.do("right lock B")
    w.blocks("left lock B")
    w.blocks("right lock A")
    with held_back_process(a["pid"]):
        found = inspect(a["pid"], expected={"verdict": "deadlock"})
    assert cycle_of(found) == [a["tid"], b["tid"]]
    assert {t["state"] for t in found["threads"]} == {"T"}
    assert ": stopped by a signal or a debugger; left[" in found["message"], found["message"]


def test_stopped_waiter_and_owner(steps):
    """Single threads, by a debugger."""
    w = steps("normal", "normal")
    owner, dead_owner = w.do("owner lock A"), w.do("gone lock B")
    waiters = [w.blocks("first lock A"), w.blocks("second lock A")]
    w.dies("gone return")
    with held_back(owner["tid"]), held_back(waiters[0]["tid"]):
        found = inspect(owner["pid"], "--census", "off",
                        expected=verdict("blocked", [lock(owner, alive(owner), waiters)]))
    assert "owner[%d], which is stopped by a signal" % owner["tid"] in found["message"]
    stuck = w.blocks("stuck lock B")
    with held_back(stuck["tid"]):
        left = lock(dead_owner, dead(dead_owner), [stuck])
        inspect(owner["pid"], expected=verdict("orphaned-lock", any_order(
            [left, lock(owner, alive(owner), waiters)])))


@pytest.mark.parametrize("kind", ["normal", "recursive", "robust", "pi", "rwlock"])
def test_stopped_at_the_end_of_its_wait(steps, kind):
    """A thread that a debugger stops between the end of the call that waited and its own next
    instruction: that call is shown as if it slept there; of a PI mutex it is the owner already."""
    w = steps(kind)
    owner = w.do("owner lock A")
    waiter = w.blocks("waiter lock A")
    with held_at_calls(waiter["tid"]) as go_on:
        inspect(owner["pid"], expected={"verdict": "blocked", "cycles": []})
        go_on(lambda: (wait_call(waiter["tid"], FUTEX), w.do("owner unlock A")))
        found = inspect(owner["pid"], expected=verdict("ok"))
        assert thread_of(found, waiter)["wait"] == {"for": "stopped"}, found
    w.then("waiter lock A")


@pytest.mark.parametrize("program", ["lock_churn", "musl_churn"])
@pytest.mark.parametrize("how", ["short", "contention"])
def test_busy(start_workload, program, how):
    """Threads that take locks, wait for them and end, all the time: never is more said than that."""
    kinds = ["normal", "recursive", "errorcheck", "robust", "pi", "rwlock"]
    w = start_workload(program, how, 10**9, *kinds)
    for _ in range(max(3, int(20 * SCALE))):
        found, done = lines(w.process.pid)
        assert done.returncode == 0 and len(found) == 1, done
        assert found[0]["verdict"] in ("ok", "blocked"), found
        assert not any(lock["orphaned"] for lock in found[0]["locks"]), found


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


def test_mount_namespace(tmp_path):
    """Its program is on a file system that only it has: symbols are found by its own root."""
    script = tmp_path / "elsewhere"
    script.write_text(
        "#!/bin/sh -e\n"
        f'[ "$1" = inside ] || exec unshare -m "$0" inside\n'
        f"mount -t tmpfs none {tmp_path}\n"
        f"cp {LIVE}/lock_steps {LIVE}/lock_pidns {tmp_path}\n"
        f"exec {tmp_path}/lock_pidns {tmp_path}/lock_steps normal\n"
    )
    script.chmod(0o755)
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    w = Steps("lock_steps")
    w.command = [str(script)]
    try:
        w.start()
        owner = w.do("owner lock A")
        w.dies("owner return")
        waiter = w.blocks("waiter lock A")
        assert not (tmp_path / "lock_steps").exists()
        inspect(
            waiter["pid"],
            expected=verdict(
                "orphaned-lock",
                [lock(owner, dead(owner), [waiter], symbol="private_locks")],
            ),
        )
    finally:
        w.kill()


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
    whom = f"owner[{owner['tid']}] of process {owner['pid']}"
    assert found["message"].endswith(f"1 thread waits for {whom}, which is in read")


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


# --- What can't be looked at: one line, and status 2. ---------------------------------------------


def test_no_such_process(steps):
    w = steps("normal")
    pid = w.first["pid"]
    w.kill()
    assert f"no process {pid}" in fails(pid)


def test_thread_for_a_process(steps):
    w = steps("normal")
    event = w.do("actor lock A")
    said = fails(event["tid"])
    assert f"is a thread of process {event['pid']}" in said, said
    assert said.rstrip().endswith(f"use inspect {event['pid']}"), said


def test_kernel_thread():
    stat = open("/proc/2/stat").read()
    if not stat.startswith("2 (kthreadd)"):
        pytest.skip("no kernel threads in this PID namespace")
    assert "thread of the kernel" in fails(2)


def test_zombie():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    said = fails(child.pid)
    child.wait()
    assert "has ended" in said, said


# pause() by the number of the 32-bit table, for ever.
CODE_32 = b"\xb8\x1d\x00\x00\x00\xcd\x80\xeb\xf7"


def program_32():
    """A program for 32-bit x86: the head of its file, of its one segment, and its code."""
    base, head, segment = 0x8048000, 52, 32
    size = head + segment + len(CODE_32)
    return (
        b"\x7fELF\x01\x01\x01" + bytes(9)
        + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + head + segment, head, 0, 0, head, segment,
                      1, 0, 0, 0)
        + struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 4096)
        + CODE_32
    )


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a program for x86")
def test_32_bit(tmp_path):
    """Its locks and calls are others: nothing is said of it, least of all that it is fine."""
    program = tmp_path / "small"
    program.write_bytes(program_32())
    program.chmod(0o755)
    try:
        child = subprocess.Popen([program])
    except OSError as error:
        pytest.skip(f"this kernel runs no 32-bit programs: {error}")
    try:
        wait_call(child.pid, 29)
        said = fails(child.pid)
        assert f"process {child.pid}: it is a 32-bit program" in said, said
        fails("--probe", "1", child.pid, status=0)
    finally:
        child.kill()
        child.wait()


def nobody():
    os.setgid(65534)
    os.setuid(65534)


def test_not_permitted(steps, tmp_path):
    """Another user's process; and the copy of deadhold is one that this user can run."""
    w = steps("normal")
    event = w.do("actor lock A")
    said = fails(event["pid"], preexec_fn=nobody)
    assert f"not permitted to look at process {event['pid']}" in said and "as root" in said, said


def nobody_without_children():
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    nobody()


def test_no_child(steps):
    """It could not begin: that is said, and not that something could not be read."""
    pid = steps("normal").first["pid"]
    said = fails(pid, preexec_fn=nobody_without_children)
    assert f"could not look at process {pid}: starting a child that reads: " in said, said


def test_own_process_without_privilege(tmp_path):
    """One's own process can be looked at by anyone."""
    child = subprocess.Popen(["sleep", "600"], preexec_fn=nobody)
    try:
        found, done = lines(child.pid, preexec_fn=nobody)
        if done.returncode == FAILED and os.path.exists("/proc/sys/kernel/yama/ptrace_scope"):
            pytest.skip("Yama keeps users from their own processes")
        assert done.returncode == 0 and found[0]["verdict"] == "ok", done
    finally:
        child.kill()
        child.wait()


def test_unreadable_page(start_workload):
    """A read that never comes back costs a child process, not us."""
    w = start_workload("inspect_page")
    event = w.event("page")
    if event["error"]:
        pytest.skip(f"userfaultfd: {os.strerror(event['error'])}")
    said = fails(event["pid"])
    assert re.search(rf"process {event['pid']}: reading its memory did not come to an end", said), said


def children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_ends_meanwhile(steps):
    """A probe gives it three minutes; it is killed while the probe waits for these to be over."""
    w = steps("normal")
    owner = w.do("owner lock A")
    w.blocks("owner lock A")
    probe = subprocess.Popen(
        [AGENT, "inspect", "--probe", "180", str(owner["pid"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + TIMEOUT
        while not (child := children(probe.pid)):
            assert time.monotonic() < until, "no child"
        wait_call(child[0], *POLL)
        w.kill()
        out, err = probe.communicate(timeout=TIMEOUT)
    finally:
        probe.kill()
    assert probe.returncode == 0 and not out
    assert err.decode() == f"deadhold: process {owner['pid']} ended while it was looked at\n"


def test_comes_and_goes():
    """Whatever moment it ends at: a result, or one clear line."""
    for _ in range(max(3, int(20 * SCALE))):
        child = subprocess.Popen(
            [LIVE / "lock_churn", "short", str(10**9), "normal"], stdout=subprocess.DEVNULL
        )
        looker = subprocess.Popen(
            [AGENT, "inspect", "--json", str(child.pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        child.kill()
        child.wait()
        out, err = looker.communicate(timeout=TIMEOUT)
        if looker.returncode == 0:
            assert out and not err
        else:
            assert looker.returncode == FAILED and not out, (out, err)
            assert re.fullmatch(rb"deadhold: .*\b%d\b.*ended.*\n" % child.pid, err), err


WRITE_ERROR = b"deadhold: standard output: write error\n"


@pytest.mark.parametrize("how", ["closed", "full"])
def test_closed_output(steps, how):
    """Whoever can't be told does not learn that something was found; but a probe asks for the status."""
    w = steps("normal")
    event = w.do("actor lock A")

    def status(*options):
        into = {"closed": ">&-", "full": ">/dev/full"}[how]
        command = ["sh", "-c", f'exec "$@" {into}', "sh", AGENT, "inspect", *options]
        done = subprocess.run([*command, str(event["pid"])], stderr=subprocess.PIPE, check=False)
        assert done.stderr == WRITE_ERROR, done
        return done.returncode

    assert status() == FAILED
    assert status("--probe", "0.2") == 0
    w.blocks("actor lock A")
    assert status() == FAILED
    assert status("--probe", "0.2") == FOUND


def test_no_proc():
    """Nothing can be looked at: for a probe that is no reason to kill."""
    inside = ["unshare", "-m", "sh", "-c", 'umount -l /proc && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("/proc can't be taken away here")
    for options, status in ((["1"], FAILED), (["--all"], FAILED), (["--probe", "1", "1"], 0)):
        done = subprocess.run([*inside, AGENT, "inspect", *options], capture_output=True, check=False)
        assert done.returncode == status and not done.stdout, done
        assert done.stderr.endswith(b"is /proc mounted?\n") and done.stderr.count(b"\n") == 1, done


USAGES = {
    "no PID": ([], "PIDs, or --all"),
    "PID that is no number": (["12x"], "12x"),
    "PID 0": (["0"], "0"),
    "all and a PID": (["--all", "1"], "--all"),
    "option of watch": (["-s", "TERM", "1"], "signal"),
    "probe without a number": (["--probe", "x", "1"], "probe"),
    "probe for ever": (["--probe", "1e9", "1"], "below 1e9"),
    "unknown format": (["-o", "svg", "1"], "text, json or dot"),
    "a graph of all": (["--all", "-o", "dot"], "graph"),
    "too many": (["1"] * 65, "64"),
}


@pytest.mark.parametrize("case", USAGES)
def test_usage(case):
    words, pattern = USAGES[case]
    assert pattern in fails(*words)


@pytest.mark.parametrize("words", [["--all"], ["check", "--probe", "1"], ["-o", "dot"]])
def test_options_of_inspect_alone(words):
    done = subprocess.run([AGENT, *words], capture_output=True, check=False)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done


def zero_page_is_shared():
    """Some kernels give each page that is only read one of its own, in place of the zero page."""
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    assert pages[0] == pages[mmap.PAGESIZE] == 0
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        words = struct.unpack("2Q", os.pread(pagemap.fileno(), 16, start // mmap.PAGESIZE * 8))
    return words[0] == words[1]


def test_pages_stay_as_they_were(start_workload):
    """The census of a look brings no page in: neither those that were never touched, nor those that are
    gone, nor zero pages. test_census.py shows that the count would tell."""
    w = start_workload("lock_places", "pages", kind=Steps)
    w.go("pages")
    before = w.event("pages")["there"]
    found = inspect(w.process.pid, "--census", "all", expected={"verdict": "ok"})
    # Half of those that are there were written, half only read: zero pages, which 6.7 tells from others.
    assert found["census"]["complete"]
    if kernel() >= (6, 7) and zero_page_is_shared():
        assert before // 2 * 4096 < found["census"]["scanned_bytes"] < before * 4096
    else:
        assert before * 4096 <= found["census"]["scanned_bytes"] < (before + 256) * 4096
    w.go("pages")
    assert w.event("pages")["there"] == before


# --- Ways to ask. ---------------------------------------------------------------------------------


def test_several(steps):
    """One object a line; what was found counts more than what could not be looked at."""
    w = steps("normal")
    owner = w.do("owner lock A")
    w.blocks("owner lock A")
    fine = steps("normal").do("actor lock A")
    gone = steps("normal")
    gone.kill()
    found, done = lines(fine["pid"], gone.first["pid"], owner["pid"], fine["pid"])
    assert [line["verdict"] for line in found] == ["ok", "deadlock"]
    assert done.returncode == FOUND and done.stderr.count(b"\n") == 1
    found, done = lines(fine["pid"], gone.first["pid"])
    assert done.returncode == FAILED and len(found) == 1


def test_all(steps):
    w = steps("normal")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    w.dies("owner return")
    idle = steps("normal").blocks("idle sem")
    found, done = lines("--all")
    verdicts = {line["process"]["pid"]: line["verdict"] for line in found}
    assert verdicts[owner["pid"]] == "orphaned-lock" and verdicts[idle["pid"]] == "ok"
    assert done.returncode == FOUND
    said = run("--all").stdout.decode()
    assert re.search(rf"^ORPHANED LOCK lock_steps\[{owner['pid']}\]", said, re.M), said
    assert f"[{idle['pid']}]" not in said, said
    assert re.search(r"^looked at \d+ processes: \d+ with orphaned locks", said, re.M), said


def test_probe(steps):
    """Wrong for as long as was asked; not wrong when it is over sooner."""
    w = steps("normal")
    owner = w.do("owner lock A")
    w.blocks("owner lock A")
    found = inspect(owner["pid"], "--probe", "0.7", expected={"verdict": "deadlock"})
    assert found["readings_apart_s"] >= 0.7
    fine = steps("normal").do("actor lock A")
    assert "readings_apart_s" not in inspect(fine["pid"], "--probe", "100")


def test_probe_of_what_is_gone(steps):
    w = steps("normal")
    w.kill()
    assert "no process" in fails("--probe", "1", w.first["pid"], status=0)


def test_cmdline(steps):
    w = steps("normal")
    event = w.do("actor lock A")
    assert "cmdline" not in inspect(event["pid"])["process"]
    assert inspect(event["pid"], "--cmdline")["process"]["cmdline"].endswith("lock_steps normal")


# Takes a mutex twice, under a name with an escape, a quote, a backslash, and a byte that is no UTF-8.
HOSTILE = r"""
import ctypes
libc = ctypes.CDLL(None)
libc.prctl(15, b'a"\x1b[2J\\\xff<b>', 0, 0, 0)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""
ESCAPED = r'a"\x1b[2J\\\xff<b>'


def wait_call(pid, *numbers):
    """Until the process sleeps in one of these system calls."""
    until = time.monotonic() + TIMEOUT
    while pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0] not in map(str, numbers):
        assert time.monotonic() < until, f"{pid} is in none of the calls {numbers}"
        time.sleep(0.002)


def test_hostile_name(tmp_path):
    """Nothing that a thread calls itself reaches the terminal or breaks a format."""
    child = subprocess.Popen([sys.executable, "-c", HOSTILE])
    try:
        wait_call(child.pid, FUTEX)
        found = inspect(child.pid, expected={"verdict": "deadlock"})
        assert found["process"]["comm"] == ESCAPED
        for form in ("text", "dot"):
            said = run("-o", form, child.pid).stdout
            assert b"\x1b" not in said and b"\xff" not in said, said
        assert ESCAPED in text(child.pid, status=FOUND)
        if shutil.which("dot"):
            draw(said, tmp_path)
    finally:
        child.kill()
        child.wait()


def draw(graph, folder):
    """Graphviz reads it without a word, and draws each thread and lock once."""
    done = subprocess.run(["dot", "-Tsvg"], input=graph, capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    (folder / "graph.svg").write_bytes(done.stdout)
    return done.stdout.decode()


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_graph(steps, tmp_path):
    w = steps("normal", "normal", "normal")
    a, b = w.do("left lock A"), w.do("right lock B")
    dead_owner = w.do("gone lock C")
    w.dies("gone return")
    w.blocks("left lock B")
    w.blocks("right lock A")
    waiter = w.blocks("waiter lock C")
    done = run("-o", "dot", a["pid"])
    assert done.returncode == FOUND and not done.stderr
    svg = draw(done.stdout, tmp_path)
    assert svg.count("which is dead; 1 deadlock, too</text>") == 1, svg
    for event in (a, b, waiter):
        assert svg.count(f">{event['step'].split()[0]}[{event['tid']}]</text>") == 1, svg
    assert svg.count(f">thread {dead_owner['tid']}</text>") == 1 and svg.count(">dead</text>") == 1
    assert svg.count(">held by</text>") == 3
    assert len(re.findall('<g id="edge', svg)) == 6
