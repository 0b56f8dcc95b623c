# SPDX-License-Identifier: GPL-2.0-only
"""Threads that die and leave a lock: what is said, of whom, with which proof, and that nothing else
is said. Numbers in parentheses are those of the list that this project began with."""

import os
import pathlib
import re
import signal
import struct
import time

import pytest

from deadhold import between, expect_nothing_about_locks, matching
from signals import RawAgent
from steps import (
    ABSENT,
    ANY,
    address,
    any_order,
    cleared,
    expect_orphans,
    expect_unnamed_owner,
    held_back,
    held_back_process,
    lock,
    one_of,
    optional,
    orphaned,
    process,
    settle_shared,
    shared_id,
    stuck,
    waiter,
)

BITSET = {"op": "FUTEX_WAIT_BITSET"}



@pytest.fixture
def start_agent(start_agent):
    """Without the census, which would find some of these locks before anybody waits for them: what is
    tested here is what hooks and sweep prove. test_census.py has both together."""
    return lambda *options, **settings: start_agent("--census", "off", *options, **settings)


# name → (program, kind of lock, how often it is taken, what the lock looks like, how one waits)
KINDS = {
    "normal": ("lock_steps", "normal", 1, {}, {}),
    "recursive": ("lock_steps", "recursive", 3, {"kind": "recursive", "recursion": 3}, {}),
    "errorcheck": ("lock_steps", "errorcheck", 1, {"kind": "errorcheck"}, {}),
    "adaptive": ("lock_steps", "adaptive", 1, {"kind": "adaptive"}, {}),
    "protect": ("lock_steps", "protect", 1, {}, {}),
    "rwlock": ("lock_steps", "rwlock", 1, {"type": "rwlock", "kind": ABSENT}, BITSET),
    "mtx": ("lock_steps", "mtx", 1, {}, {}),
    "mtx-recursive": (
        "lock_steps", "mtx-recursive", 2, {"kind": "recursive", "recursion": 2}, {}
    ),
    "std::mutex": ("lock_cxx", "std-mutex", 1, {}, {}),
    "std::recursive_mutex": (
        "lock_cxx", "std-recursive-mutex", 2, {"kind": "recursive", "recursion": 2}, {}
    ),
    "std::timed_mutex": ("lock_cxx", "std-timed-mutex", 1, {}, {}),
    "std::shared_mutex": (
        "lock_cxx", "std-shared-mutex", 1, {"type": "rwlock", "kind": ABSENT}, BITSET
    ),
    "std::recursive_timed_mutex": (
        "lock_cxx", "std-recursive-timed-mutex", 2, {"kind": "recursive", "recursion": 2}, {}
    ),
    "std::shared_timed_mutex": (
        "lock_cxx", "std-shared-timed-mutex", 1, {"type": "rwlock", "kind": ABSENT}, BITSET
    ),
    # The kernel's own thread end leaves the TID in musl's locks.
    "musl recursive": (
        "musl_steps", "recursive", 3, {"kind": "recursive", "recursion": 3, "libc": "musl"}, {}
    ),
    "musl errorcheck": (
        "musl_steps", "errorcheck", 1, {"kind": "errorcheck", "libc": "musl"}, {}
    ),
}


def start_kind(start_steps, name, **settings):
    """Starts the workload of a kind and has "owner" take the lock. Returns it, the owner's event,
    what the lock looks like, how one waits for it, and how the owner ends."""
    program, kind, depth, looks, wait = KINDS[name]
    w = start_steps(kind, program=program, **settings)
    for _ in range(depth):
        w.go("owner lock A")
        owner = w.event("done", step="owner lock A")
        if owner["result"] and kind == "protect":
            pytest.skip("a thread may not become a real-time thread here: "
                        + os.strerror(owner["result"]))
        assert not owner["result"], w.said()
    end, reason = ("raw", "raw-exit") if program.startswith("musl") else ("return", "return")
    return w, owner, looks, wait, end, reason


# (1) (3) (4) (5) (8) (15) (16)
@pytest.mark.parametrize("kind", KINDS)
def test_waiter_before(agent, start_steps, kind):
    w, owner, looks, wait, end, reason = start_kind(start_steps, kind)
    b = w.blocks("waiter lock A")
    w.dies(f"owner {end}")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, **looks)
    reason = agent.reason(reason)
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b, **wait)]),
            stuck(b, held, owner, reason, wait),
        ],
    )


# (2), and the same of every kind
@pytest.mark.parametrize("kind", KINDS)
def test_waiter_after(agent, start_steps, kind):
    w, owner, looks, wait, end, reason = start_kind(start_steps, kind)
    w.dies(f"owner {end}")
    if kind == "normal":
        agent.wait_sweeps(2)  # a second and more
        assert not agent.alerts_of(owner["pid"])
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, **looks, proof="waiter")
    reason = agent.reason(reason)
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b, **wait)]),
            stuck(b, held, owner, reason, wait),
        ],
    )


def test_each_waiter_is_said_once(agent, start_steps):
    w = start_steps("normal")
    owner = w.do("owner lock A")
    early = [w.blocks(f"early{n} lock A") for n in range(3)]
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=3)
    late = [w.blocks(f"late{n} lock A") for n in range(2)]
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=5)
    # The sweeps look at all of them again, and have nothing to add.
    agent.wait_sweeps(3)
    held = lock(owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(e) for e in early]),
            any_order(stuck(e, held, owner, reason) for e in early),
            any_order(stuck(e, held, owner, reason) for e in late),
        ],
    )


def test_process_in_full(agent, start_steps):
    """The object that stands in every alert, against /proc."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    proc = pathlib.Path(f"/proc/{w.pid}")
    ticks = (proc / "stat").read_text().rpartition(")")[2].split()[19]
    boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # Of version 2, or where that says nothing of another one that does: systemd's first.
    cgroups = dict(line.split(":", 2)[1:] for line in (proc / "cgroup").read_text().splitlines())
    cgroup = [path for name in ("", "name=systemd", *cgroups) if (path := cgroups.get(name))]
    cgroup.sort(key=lambda path: path == "/")
    full = {
        "id": f"{boot_id}:{w.pid}:{ticks}",
        "pid": w.pid,
        "comm": "lock_steps",
        "exe": os.readlink(proc / "exe"),
        "uid": 0,
        "ppid": os.getpid(),
        "pid_ns": os.stat(proc / "ns/pid").st_ino,
        "cmdline": ABSENT,
        **({"cgroup": cgroup[0]} if cgroup else {}),
    }
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    expect_orphans(
        agent,
        w,
        [
            {"kind": "lock-orphaned", "process": full},
            {
                "kind": "orphan-wait",
                "process": full,
                "lock": {"id": f"{full['id']}:{address(owner['lock'])}"},
            },
        ],
    )


def mapping_of(pid, at):
    """What /proc/PID/maps says of an address, as an alert has it: where it lies, and its path."""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        where, _, offset, _, inode, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in where.split("-"))
        if start <= at < end:
            in_file = inode != "0"
            return {
                "path": path[0] if path else ABSENT,
                "start": hex(start),
                "offset": hex(at - start + int(offset, 16)) if in_file else ABSENT,
            }
    raise AssertionError(f"{at:#x} is not mapped in {pid}")


# The array in which the locks lie is static; A is its first one.
@pytest.mark.parametrize("place, path, symbols", [
    ("static", ANY, ("private_locks", "private_locks+0x40")),
    ("heap", "[heap]", (ABSENT, ABSENT)),
    ("stack", "[stack]", (ABSENT, ABSENT)),
    ("file", None, (ABSENT, ABSENT)),
])
def test_where_the_lock_lies(agent, start_steps, tmp_path, place, path, symbols):
    if agent.rung("exit") == "late" and place == "file":
        pytest.skip("the latest exit hook can't tell whose number is in a shared lock")
    words = {"static": [], "file": ["init", tmp_path / "shared"]}.get(place, [place])
    w = start_steps(*words, "normal", "normal")
    w.do("owner lock A")
    owner = w.do("owner lock B")
    waiters = [w.blocks("first lock A"), w.blocks("second lock B")]
    if place == "file":
        path = str(tmp_path / "shared")
        settle_shared(agent)
    mappings = [mapping_of(w.pid, int(event["lock"], 16)) for event in waiters]
    if place == "static" and mappings[0]["path"] is ABSENT:
        path = ABSENT  # beyond the file's last page
    if path not in (ANY, ABSENT):
        assert {mapping["path"] for mapping in mappings} == {path}
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid, count=len(waiters))
    shared = {"shared": True} if place == "file" else {}
    held = [
        lock(event, owner, mapping={**mapping, "path": path}, symbol=symbol, **shared)
        for event, mapping, symbol in zip(waiters, mappings, symbols)
    ]
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, held, reason, [waiter(event) for event in waiters]),
            any_order(stuck(e, h, owner, reason) for e, h in zip(waiters, held)),
        ],
    )


def memory(pid, at, n):
    """n words of a process's memory."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        file.seek(at)
        return struct.unpack(f"{n}I", file.read(4 * n))


STDIO = {"type": "stdio", "kind": ABSENT}


def test_stdio_waiter_before(agent, start_steps):
    """A thread that dies within printf(). The lock names its descriptor, which a later thread
    takes over, stack and all: the orphan stays one."""
    w = start_steps("stdio", "normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    w.do("other join owner")
    heir = w.do("heir lock B")
    words = memory(w.pid, int(owner["lock"], 16), 4)
    assert memory(w.pid, (words[3] << 32 | words[2]) + 720, 1) == (heir["ns_tid"],)
    agent.wait_sweeps(2)
    # The latest hook's finding is read when the kernel has taken the TID out of the descriptor.
    proof = "owner-died" if agent.rung("exit") == "late" else "owner-word"
    held = lock(owner, **STDIO, proof=proof)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [orphaned(owner, [held], reason, [waiter(b)]), stuck(b, held, owner, reason)],
    )


def test_stdio_waiter_after(agent, start_steps):
    """The descriptor has lost its TID: it is certain that the owner is dead, not who it was. From glibc
    2.43 on it is there still after such an end."""
    w = start_steps("stdio")
    owner = w.do("owner lock A")
    w.dies("owner raw")
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    words = memory(w.pid, int(owner["lock"], 16), 4)
    if memory(w.pid, (words[3] << 32 | words[2]) + 720, 1) == (owner["ns_tid"],):
        held, reason = lock(owner, **STDIO, proof="waiter"), agent.reason("raw-exit")
        found = [orphaned(owner, [held], reason, [waiter(b)]), stuck(b, held, owner, reason)]
        expect_orphans(agent, w, found)
        return
    held = lock(owner, **STDIO, proof="owner-died") | {"owner_tid": ABSENT}
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], "unknown", [waiter(b)], thread=ABSENT),
            stuck(b, held, ABSENT, "unknown"),
        ],
    )


def test_stdio_second_waiter(agent, start_steps):
    """Who comes when the orphan is known waits for that one, and for the thread that left it."""
    w = start_steps("stdio")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner raw")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    c = w.blocks("late lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=2)
    held = lock(owner, **STDIO, proof=one_of("owner-word", "owner-died"))
    reason = agent.reason("raw-exit")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
            stuck(c, held, owner, reason),
        ],
    )


def robust_proof(agent):
    """The kernel takes the robust list from a thread before the latest hook sees it."""
    return "owner-word" if agent.rung("exit") == "late" else "robust-list"


def robust_lock(agent, kind, owner):
    return lock(
        owner,
        type=one_of("robust-mutex", "pi-mutex") if "pi" in kind else "robust-mutex",
        kind="recursive" if "recursive" in kind else "normal",
        recursion=1 if "recursive" in kind else ABSENT,
        robust=True,
        proof=robust_proof(agent),
    )


ROBUST_KINDS = ["robust", "robust-recursive", "robust-pi"]


# (6)
@pytest.mark.parametrize("kind", ROBUST_KINDS)
def test_robust_with_waiter(agent, start_steps, kind):
    """The waiter is woken by the owner's death, and may recover the lock before anybody looks."""
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook's finding is read later than the waiter recovers it")
    w = start_steps(kind)
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    w.then("waiter lock A", 130)  # EOWNERDEAD; it made the lock consistent
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = robust_lock(agent, kind, owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            # So up to timing is whether it is seen waiting, and nothing else.
            orphaned(owner, [held], reason, one_of([], [waiter(b, op=ANY)]), severity="warning"),
            optional(stuck(b, held, owner, reason, {"op": ANY}, severity="warning")),
            cleared({"address": address(owner["lock"])}, "recovered"),
        ],
    )


@pytest.mark.parametrize("kind", ROBUST_KINDS)
def test_robust_with_waiter_held_back(agent, start_steps, kind):
    """The same with a waiter that can't recover it yet: all is certain, on every rung."""
    w = start_steps(kind)
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    with held_back(b["tid"]):
        w.dies("owner return")
        agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    w.then("waiter lock A", 130)
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = robust_lock(agent, kind, owner)
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], agent.reason("return"), [], severity="warning"),
            cleared({"address": address(owner["lock"])}, "recovered"),
        ],
    )


def test_robust_without_waiter(agent, start_steps):
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook sees no robust list, and nobody waited for the lock")
    w = start_steps("robust")
    owner = w.do("owner lock A")
    w.dies("owner raw")
    agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    w.do("next lock A", result=130)
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = lock(owner, type="robust-mutex", robust=True, proof="robust-list")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], agent.reason("raw-exit"), [], severity="warning"),
            cleared({"address": address(owner["lock"])}, "recovered"),
        ],
    )


# (7)
def test_pi_waiter_before(agent, start_steps):
    """The kernel hands the lock to the waiter, which is never stuck; libc does not expect that, and
    aborts the process. Up to timing is only whether the agent reads the memory before that: so the
    lock's mapping may be known or not."""
    w = start_steps("pi")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    w.go("owner return")
    if w.wait() != -signal.SIGABRT:
        pytest.skip("this libc does not abort when it gets a PI mutex whose owner died")
    if agent.rung("exit") == "late":
        pytest.skip("the process is gone before the latest exit hook's finding is read")
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = lock(owner, type="pi-mutex")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], agent.reason("return"), [], severity="warning"),
            cleared({"address": address(owner["lock"])}, "process-exit"),
        ],
    )


def test_pi_waiter_after(agent, start_steps):
    w = start_steps("pi")
    owner = w.do("owner lock A")
    w.dies("owner return")
    b = w.blocks("waiter lock A")
    start = int(b["lock"], 16)
    assert not start <= int(b["futex"], 16) < start + 40, "libc parks it elsewhere"
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, type="pi-mutex")
    reason = agent.reason("return")
    found = orphaned(owner, [held], reason, [waiter(b, op=ANY)])
    if agent.rung("futex") != "switch":
        # This hook also sees the call that fails before libc parks the thread.
        held["proof"] = one_of("owner-word", "waiter")
        found = one_of(found, orphaned(owner, [held], reason, [], severity="warning"))
    expect_orphans(
        agent,
        w,
        [
            found,
            stuck(b, held, owner, reason, {"op": ANY}),
        ],
    )


# (8)
@pytest.mark.parametrize("program, kind",
                         [("lock_steps", "rwlock"), ("lock_cxx", "std-shared-mutex")])
def test_rwlock_reader_and_writer_wait(agent, start_steps, program, kind):
    w = start_steps(kind, program=program)
    owner = w.do("owner lock A")
    b = w.blocks("writer lock A")
    c = w.blocks("reader read A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=2)
    held = lock(owner, type="rwlock", kind=ABSENT)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b, **BITSET), waiter(c, **BITSET)]),
            any_order(stuck(e, held, owner, reason, BITSET) for e in (b, c)),
        ],
    )


def sigcancel(target):
    """pthread_cancel of a thread that sits in a cancellation point sends a signal."""
    return {
        "kind": "thread-signal",
        "severity": "info",
        "signal": {"name": "SIGCANCEL", "call": "tgkill", "fatal": False},
        "process": process(target),
        "thread": {"tid": target["tid"]},
        "sender": {"process": {"pid": target["pid"]}},
    }


def cancel_of(agent, target):
    """The call and the signal that it sends."""
    call = {"kind": "thread-cancel", "process": process(target), "thread": {"tid": target["tid"]}}
    return [any_order([sigcancel(target), call] if agent.ready["uprobes"]["state"] == "on"
                      else [sigcancel(target)])]


def end_by_force(owner, reason, locks=1):
    """thread-killed, where how the thread ended proves it; and it is said last, with the locks."""
    if reason not in ("cancel", "seccomp"):
        return []
    return [{"kind": "thread-killed", "process": process(owner), "locks_found": locks,
             "thread": {"tid": owner["tid"]}, "exit": {"reason": reason}}]


# (9)
def test_cancel_in_cond_wait_waiter_after(agent, start_steps):
    w = start_steps("normal")
    w.do("owner lock A")
    owner = w.blocks("owner wait A")
    assert w.show()[:3] == [0, 0, 0]
    w.dies("cancel owner A")
    assert w.show()[2] == owner["ns_tid"], "it took the lock again"
    reason = agent.reason("cancel")
    if end_by_force(owner, reason, locks=0):
        agent.wait_for(kind="thread-killed", pid=owner["pid"])  # before anybody waits
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, proof="waiter")
    expect_orphans(
        agent,
        w,
        [
            *cancel_of(agent, owner),
            *end_by_force(owner, reason, locks=0),  # nobody has waited for it so far
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )


def test_cancel_in_cond_wait_waiter_before(agent, start_steps):
    w = start_steps("normal")
    w.do("owner lock A")
    owner = w.blocks("owner wait A")
    w.do("other lock A")
    w.do("cancel owner A", "blocked")  # behind the other
    b = w.blocks("waiter lock A")
    w.do("other unlock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    assert w.show()[2] == owner["ns_tid"]
    held = lock(owner)
    reason = agent.reason("cancel")
    expect_orphans(
        agent,
        w,
        [
            *cancel_of(agent, owner),
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
            *end_by_force(owner, reason),
        ],
    )


# (10) (11)
@pytest.mark.parametrize(
    "end, reason", [("pthread-exit", "return"), ("raw", "raw-exit"), ("seccomp", "seccomp")]
)
def test_ways_to_end(agent, start_steps, end, reason):
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies(f"owner {end}")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner)
    reason = agent.reason(reason)
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
            *end_by_force(owner, reason),
        ],
    )


# (12) (13)
@pytest.mark.parametrize(
    "end, owner_ns, waiter_ns",
    [
        ("SIGKILL", False, False),
        ("SIGKILL", True, True),
        ("exit", False, False),
        ("return", False, False),
        ("return", True, False),
        ("return", True, True),
    ],
)
def test_shared_between_processes(agent, start_steps, tmp_path, end, owner_ns, waiter_ns):
    path = tmp_path / "shared"
    ours = start_steps("init", path, "normal", "normal", pid_ns=owner_ns)
    theirs = start_steps("join", path, "normal", "normal", pid_ns=waiter_ns)
    # The second lock: its offset is not 0.
    owner = ours.do("owner lock B")
    b = theirs.blocks("waiter lock B")
    assert b["words"][2] == owner["ns_tid"], "it is one lock"
    assert b["lock"] != owner["lock"], "mapped at another address"
    if waiter_ns and agent.rung("exit") == "late":
        pytest.skip("a living thread of another namespace has the number: it could be the owner")
    settle_shared(agent)
    if end == "SIGKILL":
        os.kill(owner["pid"], signal.SIGKILL)
        reason = "process-killed"
    elif end == "exit":
        ours.go("owner exit")
        reason = "process-exit"
    else:
        ours.dies("owner return")
        reason = agent.reason("return")
    agent.wait_for(kind="orphan-wait", pid=b["pid"])
    if agent.rung("exit") == "late":
        expect_unnamed_owner(agent, [ours, theirs], b, id=shared_id(path, owner))
        return
    held = lock(owner, shared=True, id=shared_id(path, owner))
    expect_orphans(
        agent,
        [ours, theirs],
        [
            orphaned(owner, [held], reason, [{**waiter(b), "process": process(b)}]),
            stuck(b, {**held, "address": address(b["lock"])}, owner, reason),
        ],
    )


def test_shared_owners_end_with_their_process(agent, start_steps, tmp_path):
    """The process's main thread ends at the same moment on another CPU, and says that the process
    is over, now and then before the owner's record is whole."""
    if agent.rung("exit") == "late":
        pytest.skip("the memory is gone: no such owner is named")
    pairs = []
    for n in range(16):
        ours = start_steps("init", tmp_path / f"{n}", "normal", "normal")
        theirs = start_steps("join", tmp_path / f"{n}", "normal", "normal")
        pairs.append((ours, theirs, ours.do("owner lock A"), theirs.blocks("waiter lock A")))
    settle_shared(agent)
    for ours, *_ in pairs:
        ours.go("owner exit")
        assert ours.wait() == 0
    for _, _, _, b in pairs:
        agent.wait_for(kind="orphan-wait", pid=b["pid"])
    for n, (ours, theirs, owner, b) in enumerate(pairs):
        held = lock(owner, shared=True, id=shared_id(tmp_path / f"{n}", owner))
        expect_orphans(
            agent,
            [ours, theirs],
            [
                orphaned(owner, [held], "process-exit",
                         [{**waiter(b), "process": process(b)}]),
                stuck(b, {**held, "address": address(b["lock"])}, owner, "process-exit"),
            ],
        )


def test_shared_anonymous_memory(agent, start_steps):
    w = start_steps("anonymous", "normal")
    w.do("child fork")
    owner = w.do("child lock A")
    b = w.blocks("waiter lock A")
    settle_shared(agent)
    os.kill(owner["pid"], signal.SIGKILL)
    agent.wait_for(kind="orphan-wait", pid=b["pid"])
    if agent.rung("exit") == "late":
        expect_unnamed_owner(agent, [w], b, id=matching(r"^\d+:\d+:\d+$"))
        return
    held = lock(owner, shared=True, id=matching(r"^\d+:\d+:\d+$"))
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], "process-killed", [{**waiter(b), "process": process(b)}]),
            stuck(b, held, owner, "process-killed"),
        ],
    )


def test_shared_robust(agent, start_steps, tmp_path):
    """The waiter's process can't recover the lock before a second is over: then it is said."""
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook sees no robust list, and a stopped process waits for nothing")
    path = tmp_path / "shared"
    ours = start_steps("init", path, "robust")
    theirs = start_steps("join", path, "robust")
    owner = ours.do("owner lock A")
    b = theirs.blocks("waiter lock A")
    settle_shared(agent)
    with held_back_process(theirs.pid):
        os.kill(owner["pid"], signal.SIGKILL)
        agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    theirs.then("waiter lock A", 130)
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = lock(
        owner,
        type="robust-mutex",
        robust=True,
        shared=True,
        proof="robust-list",
        id=shared_id(path, owner),
    )
    expect_orphans(
        agent,
        [ours, theirs],
        [
            orphaned(owner, [held], "process-killed", [], severity="warning"),
            cleared({"id": shared_id(path, owner), "address": ANY}, "recovered"),
        ],
    )


def test_shared_robust_recovered_at_once(agent, start_steps, tmp_path):
    """The twin: before that it is nobody's trouble."""
    path = tmp_path / "shared"
    ours = start_steps("init", path, "robust")
    theirs = start_steps("join", path, "robust")
    owner = ours.do("owner lock A")
    theirs.blocks("waiter lock A")
    began = time.monotonic()
    os.kill(owner["pid"], signal.SIGKILL)
    theirs.then("waiter lock A", 130)
    if time.monotonic() - began > 0.5:
        pytest.skip("this host was so slow that it may have been said by then")
    agent.wait_sweeps(3)
    expect_nothing_about_locks(agent, [ours, theirs])


# (13)
@pytest.mark.parametrize("order", ["before", "after"])
def test_inside_a_pid_namespace(agent, start_steps, order):
    w = start_steps("normal", pid_ns=True)
    owner = w.do("owner lock A")
    assert owner["ns_tid"] != owner["tid"] and owner["ns_pid"] == 1
    if order == "before":
        b = w.blocks("waiter lock A")
        w.dies("owner return")
    else:
        w.dies("owner return")
        b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, proof="owner-word" if order == "before" else "waiter")
    reason = agent.reason("return")
    inside = {
        "pid": owner["pid"],
        "ns_pid": 1,
        "pid_ns": os.stat(f"/proc/{owner['pid']}/ns/pid").st_ino,
    }
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)], process=inside),
            stuck(b, held, owner, reason, process=inside),
        ],
    )


# (14)
@pytest.mark.parametrize("order", ["before", "after"])
def test_main_thread_is_gone(agent, start_steps, order):
    w = start_steps("leader", "normal")
    w.dies("leader return")
    owner = w.do("owner lock A")
    if order == "before":
        b = w.blocks("waiter lock A")
        w.dies("owner return")
    else:
        w.dies("owner return")
        b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, proof="owner-word" if order == "before" else "waiter")
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )


@pytest.mark.parametrize("order", ["before", "after"])
def test_main_thread_is_the_owner(agent, start_steps, order):
    w = start_steps("leader", "normal")
    owner = w.do("leader lock A")
    assert owner["tid"] == owner["pid"]
    if order == "before":
        b = w.blocks("waiter lock A")
        w.dies("leader return")
    else:
        w.dies("leader return")
        b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, proof="owner-word" if order == "before" else "waiter")
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )


# (16): musl's own thread end puts its mark in place of the TID.
def musl_lock(owner, kind, **members):
    # At the end of a thread musl leaves the depth as it was.
    return lock(owner, kind=kind, libc="musl", proof="owner-died",
                recursion=1 if kind == "recursive" else ABSENT, **members)


@pytest.mark.parametrize("kind", ["recursive", "errorcheck"])
def test_musl_ordinary_end_owner_remembered(agent, start_steps, kind):
    """The mark names nobody, but somebody waited when the word still named the owner. The waiter is
    held back: woken, it would look at the mark before the owner has quite ended."""
    w = start_steps(kind, program="musl_steps")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    with held_back(b["tid"]):
        w.dies("owner return")
        agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = musl_lock(owner, kind)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [], severity="warning"),
            stuck(b, held, owner, reason),
        ],
    )


@pytest.mark.parametrize("kind", ["recursive", "errorcheck"])
def test_musl_ordinary_end_waiter_before(agent, start_steps, kind):
    """Left alone, the woken waiter races with the owner, which has marked the lock and has not ended:
    if it comes first, the orphan is found at a waiter, and nobody remembers the owner."""
    w = start_steps(kind, program="musl_steps")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    # musl wakes the waiter, which says that it waits when it sleeps again.
    w.shows(lambda words: words[1] == 0xC0000000, "died, and somebody waits")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = musl_lock(owner, kind)
    reason = agent.reason("return")
    unnamed = {**held, "owner_tid": ABSENT}
    remembered = [
        one_of(
            orphaned(owner, [held], reason, [waiter(b)]),
            orphaned(owner, [held], reason, [], severity="warning"),  # still awake
        ),
        stuck(b, held, owner, reason),
    ]
    unremembered = [
        orphaned(owner, [unnamed], "unknown", [waiter(b)], thread=ABSENT),
        stuck(b, unnamed, ABSENT, "unknown"),
    ]
    agent.stop()
    first = agent.alerts_of(owner["pid"])[0]
    expect_orphans(agent, w, remembered if "thread" in first else unremembered)


def test_musl_ordinary_end_waiter_after(agent, start_steps):
    w = start_steps("recursive", program="musl_steps")
    owner = w.do("owner lock A")
    w.dies("owner return")
    assert w.show()[1] == 0x40000000
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = musl_lock(owner, "recursive", owner_tid=ABSENT)
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], "unknown", [waiter(b)], thread=ABSENT),
            stuck(b, held, ABSENT, "unknown"),
        ],
    )


# (17)
def test_two_locks_one_alert(agent, start_steps):
    w = start_steps("normal", "errorcheck")
    w.do("owner lock A")
    owner = w.do("owner lock B")
    a = w.blocks("first lock A")
    b = w.blocks("second lock B")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=2)
    held_a = lock(a, owner)
    held_b = lock(b, owner, kind="errorcheck")
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held_a, held_b], reason, [waiter(a), waiter(b)]),
            any_order([stuck(a, held_a, owner, reason), stuck(b, held_b, owner, reason)]),
        ],
    )


def test_second_lock_found_later(agent, start_steps):
    w = start_steps("normal", "normal")
    w.do("owner lock A")
    owner = w.do("owner lock B")
    a = w.blocks("first lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    b = w.blocks("second lock B")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=2)
    held_a = lock(a, owner)
    held_b = lock(b, owner, proof="waiter")
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held_a], reason, [waiter(a)]),
            stuck(a, held_a, owner, reason),
            orphaned(owner, [held_b], reason, [waiter(b)]),
            stuck(b, held_b, owner, reason),
        ],
    )


# (18)
def test_handed_over_and_awaited(agent, start_steps):
    w = start_steps("normal")
    w.do("first lock A")
    owner = w.blocks("owner lock A")
    w.do("first unlock A")
    w.then("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )


def test_handed_over_and_nobody_waits(agent, start_steps):
    """The lock that a thread last waited for is looked at when it ends, waiters or not."""
    w = start_steps("normal")
    w.do("first lock A")
    owner = w.blocks("owner lock A")
    w.do("first unlock A")
    w.then("owner lock A")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [], severity="warning"),
            stuck(b, held, owner, reason),
        ],
    )


@pytest.mark.parametrize("end", ["end", "SIGKILL"])
def test_process_ends_just_after_its_thread(agent, start_steps, end):
    """Nobody is stuck, and the process is over before that is said: nothing, where it ended by itself.
    Where a signal ended it, the orphan may be the reason. The agent sees both ends at once."""
    w = start_steps("normal")
    w.do("first lock A")
    owner = w.blocks("owner lock A")
    w.do("first unlock A")
    w.then("owner lock A")
    with held_back_process(agent.process.pid):
        w.dies("owner return")
        if end == "SIGKILL":
            os.kill(w.pid, signal.SIGKILL)
        else:
            w.go(end)
        w.wait()
    agent.wait_sweeps(2)
    expected = [
        orphaned(owner, [lock(owner)], agent.reason("return"), [], severity="warning"),
        cleared({"address": address(owner["lock"])}, "process-exit"),
    ]
    if end == "end" or agent.rung("exit") == "late":  # whose finding is read when the memory is gone
        expected = []
    expect_orphans(agent, w, expected)


def unseen(owner):
    """A dead thread of which only the number in the lock is known."""
    return one_of(
        {"tid": owner["tid"], "name": ABSENT},
        {"ns_tid": owner["ns_tid"], "tid": ABSENT, "name": ABSENT},
    )


# (19)
@pytest.mark.parametrize("kind", ["normal", "recursive", "rwlock", "musl recursive"])
@pytest.mark.parametrize("waiter_is", ["older", "newer"])
def test_orphan_older_than_the_agent(start_agent, start_steps, kind, waiter_is):
    w, owner, looks, wait, end, _ = start_kind(start_steps, kind)
    if waiter_is == "older":
        b = w.blocks("waiter lock A")
        w.dies(f"owner {end}")
        agent = start_agent()
        wait = {**wait, "since": ABSENT}
    else:
        w.dies(f"owner {end}")
        agent = start_agent()
        b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, **looks, proof="waiter")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], "unknown", [waiter(b, **wait)],
                     thread=unseen(owner)),
            stuck(b, held, unseen(owner), "unknown", wait),
        ],
    )


@pytest.mark.parametrize("kind", ["normal", "recursive", "rwlock", "musl recursive"])
def test_waiter_older_than_the_agent(start_agent, start_steps, kind):
    """Nobody saw it block. Where the owner dies later it is found at that exit all the same, not by
    a sweep: that would say that the waiter proves it."""
    w, owner, looks, wait, end, reason = start_kind(start_steps, kind)
    b = w.blocks("waiter lock A")
    agent = start_agent()
    w.dies(f"owner {end}")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    wait = {**wait, "since": ABSENT}
    held = lock(owner, **looks, proof="owner-word")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], agent.reason(reason), [waiter(b, **wait)]),
            stuck(b, held, owner, agent.reason(reason), wait),
        ],
    )


MANY = 40  # more than one request for memory asks for, and more than text lists


def start_many(start_steps, step):
    """MANY threads that wait for a lock whose owner died: the workload, the owner, the waiters."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    waiters = [w.blocks(f"w{n:02} {step}") for n in range(MANY)]
    w.dies("owner return")
    return w, owner, waiters


@pytest.mark.parametrize("step, wait, severity", [
    ("lock A", {"since": ABSENT}, "critical"),
    ("timed A 3600", {**BITSET, "since": ABSENT, "timeout_ns": ANY}, "warning"),
])
def test_many_waiters_older_than_the_agent(start_agent, start_steps, step, wait, severity):
    """One alert about the lock, and one about each waiter."""
    w, owner, waiters = start_many(start_steps, step)
    agent = start_agent("--no-limit")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=MANY)
    agent.wait_sweeps(2)
    held = lock(owner, proof="waiter")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], "unknown", [waiter(b, **wait) for b in waiters],
                     thread=unseen(owner), severity=severity),
            any_order([stuck(b, held, unseen(owner), "unknown", wait, severity=severity)
                       for b in waiters]),
        ],
    )


def test_many_waiters_are_merged(start_agent, start_steps):
    """The first eight of them by name; the others are counted in one line."""
    w, owner, waiters = start_many(start_steps, "lock A")
    agent = start_agent()
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], merged={"count": MANY - 8})
    agent.wait_sweeps(2)
    agent.stop()
    waits = agent.alerts_of(w.pid, kinds=["orphan-wait"])
    assert len(waits) == 9 and not any("merged" in a for a in waits[:8]), agent.said()
    assert waits[8]["merged"]["several_threads"]
    tids = {b["tid"] for b in waiters}
    assert len({a["thread"]["tid"] for a in waits} & tids) == 9


def test_many_waiters_in_text(start_steps):
    """Eight are listed and said, the others counted; one that comes later is said."""
    w, owner, _ = start_many(start_steps, "lock A")
    with RawAgent("-p", owner["pid"], options=()) as agent:
        agent.wait_line(rf"and {MANY - 8} more waiters: --json lists all")
        late = w.blocks("late lock A")
        agent.wait_line(rf"orphan-wait .*\blate\[{late['tid']}\]")
        agent.stop()
    text = b"".join(agent.lines).decode()
    assert len(re.findall(r"^  stuck w\d\d ", text.partition(" CRITICAL orphan-wait ")[0], re.M)) == 8, text
    assert text.count(" CRITICAL orphan-wait ") == 8 + 1, text


def test_owner_dies_after_the_agent_came_waiter_is_older(start_agent, start_steps):
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    agent = start_agent()
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    held = lock(owner, proof=one_of("owner-word", "waiter"))
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )


# (20)
def test_fork_child_stuck_on_inherited_lock(agent, start_steps):
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.do("child fork")
    b = w.blocks("child lock A")
    assert b["pid"] != owner["pid"] and b["words"][2] == owner["ns_tid"]
    agent.wait_for(kind="orphan-wait", pid=b["pid"])
    held = lock(b, owner, proof="waiter")
    expect_orphans(
        agent,
        w,
        [
            orphaned(b, [held], "fork", [waiter(b)], thread=ABSENT),
            stuck(b, held, ABSENT, "fork"),
        ],
    )


def test_fork_child_stuck_behind_another_thread_of_the_parent(agent, start_steps):
    """Its main thread is the copy of the one that forked, which had not the lock."""
    w = start_steps("normal")
    w.do("owner lock A")
    w.do("child fork")
    b = w.do("child helper A")
    said = agent.wait_for(kind="lock-orphaned", pid=b["pid"])
    assert said["exit"] == {"reason": "fork"} and said["severity"] == "critical", said


def expect_doubt(agent, b, doubt, owner):
    """A suspicion, and no more."""
    said = agent.wait_for(kind="lock-suspected", pid=b["pid"])
    (held,) = said["locks"]
    assert held["address"] == address(b["lock"]) and held["doubt"] == doubt, said
    assert held["owner_tid"] == owner["ns_tid"] and held["proof"] == "waiter", said
    assert said["severity"] == "warning" and len(said["waiters"]) == 1, said
    agent.wait_sweeps(3)
    kinds = [a["kind"] for a in agent.alerts if a.get("process", {}).get("pid") == b["pid"]]
    assert kinds == ["lock-suspected"], kinds


def test_fork_not_known_by_whom(agent, start_steps):
    """The thread of the parent that held it is gone: it may be the one that forked."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.do("child fork")
    w.dies("owner return")
    expect_doubt(agent, w.do("child helper A"), "fork", owner)


def test_static_and_stripped_and_older_than_the_agent(start_agent, start_steps):
    """Nobody saw the owner end, and nothing tells whose code waits."""
    w = start_steps("normal", program="lock_steps_stripped")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    expect_doubt(start_agent(), b, "static-program", owner)


# (21)
def test_timed_waiter_and_foreign_unlock(agent, start_steps):
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter timed A 3600")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    w.do("other unlock A")
    w.then("waiter timed A 3600")
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = lock(owner)
    reason = agent.reason("return")
    timed = {**BITSET, "timeout_ns": between(3590 * 10**9, 3600 * 10**9)}
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b, **timed)], severity="warning"),
            stuck(b, held, owner, reason, timed, severity="warning"),
            cleared({"address": address(owner["lock"])}, "foreign-unlock"),
        ],
    )


def test_timed_waiter_then_one_for_ever(agent, start_steps):
    """That it got worse is told by the severity of the second orphan-wait."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("timed timed A 3600")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    c = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"], count=2)
    held = lock(owner)
    reason = agent.reason("return")
    timed = {**BITSET, "timeout_ns": ANY}
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b, **timed)], severity="warning"),
            stuck(b, held, owner, reason, timed, severity="warning"),
            stuck(c, held, owner, reason),
        ],
    )


def test_waiter_that_gave_up_is_not_stuck(agent, start_steps):
    """A timed wait that ends leaves no event. That it was waited for once is enough to know the
    lock, but nobody may be said to be stuck because of a wait that is over."""
    w = start_steps("normal", "normal")
    owner = w.do("owner lock A")
    w.blocks("waiter timed A 1")
    w.then("waiter timed A 1", 110)  # ETIMEDOUT
    w.do("other lock B")
    w.blocks("waiter lock B")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    agent.wait_sweeps(3)
    expect_orphans(
        agent,
        w,
        [orphaned(owner, [lock(owner)], agent.reason("return"), [], severity="warning")],
    )


@pytest.mark.parametrize(
    "how, step", [("process-exit", "end"), ("process-exit", "SIGKILL"), ("exec", "waker exec")]
)
def test_orphan_ends_with_its_process(agent, start_steps, how, step):
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    if step == "SIGKILL":
        os.kill(w.pid, signal.SIGKILL)
    else:
        w.go(step)
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    held = lock(owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
            cleared({"address": address(owner["lock"])}, how),
        ],
    )
