# SPDX-License-Identifier: GPL-2.0-only
"""Deep mode: the locks that threads of chosen processes hold when they end, uncontended ones included,
and where they took them. Every claim has its negative: what is free is not said."""

import os
import pathlib
import signal
import time

import pytest

from calls import musl_loader
from deadhold import (
    ABSENT,
    ANY,
    LIVE,
    LOCK_KINDS,
    TIMEOUT,
    Workload,
    address,
    expect,
    expect_nothing_about_locks,
    matching,
    one_of,
)
from steps import cleared, expect_orphans, lock, orphaned, stuck, waiter

GLIBC_BITSET = {"op": "FUTEX_WAIT_BITSET"}

@pytest.fixture
def start_deep(start_agent):
    """start_deep(workload, …): an agent in deep mode for it. Without the census: it would find some of
    these locks, too."""

    def start(*workloads, **settings):
        options = [option for w in workloads if isinstance(w, Workload) for option in ("-p", w.pid)]
        options += [option for option in workloads if not isinstance(option, Workload)]
        agent = start_agent("--deep", "--census=off", *options, **settings)
        for about in agent.ready["deep"]:
            assert about["probes"] and not about["missing"], agent.said()
        return agent

    return start

def acquired(function, module=matching("^/")):
    """Taken in this function of the workload."""
    frame = {
        "address": ANY,
        "symbol": matching(rf"^{function}\+0x[0-9a-f]+$"),
        "offset": ANY,
        "module": module,
    }
    return {"time": ANY, "stack": [frame]}

def probed(owner, **members):
    """A lock whose memory names nobody."""
    return lock(owner, **{"owner_tid": ABSENT, "kind": ABSENT, "proof": "probe", **members})

MUTEX = acquired("mutex_acquire")
RWLOCK = acquired("rwlock_acquire")
LIBC = acquired("mtx_lock")

# name → (program, kind of lock, verb, how often, what the lock looks like)
KINDS = {
    "normal": ("lock_steps", "normal", "lock", 1, {"acquired": MUTEX}),
    "normal, try": ("lock_steps", "normal", "try", 1, {"acquired": MUTEX}),
    "normal, timed": ("lock_steps", "normal", "timed", 1, {"acquired": MUTEX}),
    "recursive": (
        "lock_steps", "recursive", "lock", 3,
        {"kind": "recursive", "recursion": 3, "acquired": MUTEX},
    ),
    "errorcheck": (
        "lock_steps", "errorcheck", "lock", 1, {"kind": "errorcheck", "acquired": MUTEX}
    ),
    "adaptive": ("lock_steps", "adaptive", "lock", 1, {"kind": "adaptive", "acquired": MUTEX}),
    "pi": ("lock_steps", "pi", "lock", 1, {"type": "pi-mutex", "acquired": MUTEX}),
    "robust": (
        "lock_steps", "robust", "lock", 1,
        {"type": "robust-mutex", "robust": True, "proof": one_of("robust-list", "owner-word"),
         "acquired": MUTEX},
    ),
    "rwlock": (
        "lock_steps", "rwlock", "lock", 1,
        {"type": "rwlock", "kind": ABSENT, "mode": ABSENT, "acquired": RWLOCK},
    ),
    "rwlock, try": (
        "lock_steps", "rwlock", "try", 1, {"type": "rwlock", "kind": ABSENT, "acquired": RWLOCK}
    ),
    "rwlock, timed": (
        "lock_steps", "rwlock", "timed", 1, {"type": "rwlock", "kind": ABSENT, "acquired": RWLOCK}
    ),
    "mtx": ("lock_steps", "mtx", "lock", 1, {"acquired": LIBC}),
    "std::mutex": ("lock_cxx", "std-mutex", "lock", 1, {"acquired": ANY}),
    "std::timed_mutex": ("lock_cxx", "std-timed-mutex", "timed", 1, {"acquired": ANY}),
    "std::recursive_mutex": (
        "lock_cxx", "std-recursive-mutex", "lock", 2,
        {"kind": "recursive", "recursion": 2, "acquired": ANY},
    ),
    "std::shared_mutex": (
        "lock_cxx", "std-shared-mutex", "lock", 1,
        {"type": "rwlock", "kind": ABSENT, "acquired": ANY},
    ),
}  # fmt: skip

MUSL_OWNED = {"libc": "musl", "proof": "owner-died", "acquired": MUTEX}
MUSL_RWLOCK = {"type": "rwlock", "libc": "musl", "acquired": RWLOCK}
MUSL_NORMAL = {"kind": "normal", "libc": "musl", "acquired": MUTEX}

# The same of locks whose memory names nobody, or keeps no name.
NAMELESS = {
    "rwlock, read": (
        "lock_steps", "rwlock", "read", 1, {"type": "rwlock", "mode": "read", "acquired": RWLOCK}
    ),
    "rwlock, read twice": (
        "lock_steps", "rwlock", "read", 2, {"type": "rwlock", "mode": "read", "acquired": RWLOCK}
    ),
    "rwlock, try-read": (
        "lock_steps", "rwlock", "try-read", 1,
        {"type": "rwlock", "mode": "read", "acquired": RWLOCK},
    ),
    "rwlock, timed-read": (
        "lock_steps", "rwlock", "timed-read", 1,
        {"type": "rwlock", "mode": "read", "acquired": RWLOCK},
    ),
    "std::shared_mutex, read": (
        "lock_cxx", "std-shared-mutex", "read", 1,
        {"type": "rwlock", "mode": "read", "acquired": ANY},
    ),
    "musl normal": ("musl_steps", "normal", "lock", 1, MUSL_NORMAL),
    "musl normal, try": ("musl_steps", "normal", "try", 1, MUSL_NORMAL),
    "musl normal, timed": ("musl_steps", "normal", "timed", 1, MUSL_NORMAL),
    "musl mtx": ("musl_steps", "mtx", "lock", 1, {**MUSL_NORMAL, "acquired": ANY}),
    "musl rwlock": ("musl_steps", "rwlock", "lock", 1, {**MUSL_RWLOCK, "mode": ABSENT}),
    "musl rwlock, try": ("musl_steps", "rwlock", "try", 1, MUSL_RWLOCK),
    "musl rwlock, timed": ("musl_steps", "rwlock", "timed", 1, MUSL_RWLOCK),
    "musl rwlock, read": ("musl_steps", "rwlock", "read", 1, {**MUSL_RWLOCK, "mode": "read"}),
    "musl rwlock, read twice": (
        "musl_steps", "rwlock", "read", 2, {**MUSL_RWLOCK, "mode": "read"}
    ),
    "musl rwlock, try-read": (
        "musl_steps", "rwlock", "try-read", 1, {**MUSL_RWLOCK, "mode": "read"}
    ),
    "musl recursive": (
        "musl_steps", "recursive", "lock", 3, {"kind": "recursive", "recursion": 3, **MUSL_OWNED}
    ),
    "musl errorcheck": ("musl_steps", "errorcheck", "lock", 1, {"kind": "errorcheck", **MUSL_OWNED}),
}  # fmt: skip

def runs_here(program):
    """Skips the test where what the program is linked with is not there."""
    if program.startswith("musl") and program.endswith("_dynamic"):
        musl_loader()

def take(w, verb, times=1, who="owner", name="A"):
    """Has an actor take a lock, so many times; the event of the last time."""
    step = f"{who} {verb} {name}" + (" 5" if verb.startswith("timed") else "")
    for _ in range(times):
        event = w.do(step)
    return event

def released(w, times, who="owner", name="A"):
    for _ in range(times):
        w.do(f"{who} unlock {name}")

@pytest.mark.parametrize("kind", KINDS)
def test_held(start_deep, start_steps, kind):
    program, name, verb, times, looks = KINDS[kind]
    w = start_steps(name, program=program)
    agent = start_deep(w)
    owner = take(w, verb, times)
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    held = lock(owner, **looks)
    expect_orphans(
        agent, w, [orphaned(owner, [held], agent.reason("return"), [], severity="warning")]
    )

def test_asked_for_again_in_vain(start_deep, start_steps):
    """What it has for writing it can't get again: where and when it did stays told."""
    w = start_steps("rwlock")
    agent = start_deep(w)
    owner = take(w, "lock")
    seconds, ns = divmod(time.time_ns(), 10**9)
    had = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ns:09}Z"
    w.do("owner try A", result=16)
    w.dies("owner return")
    taken = agent.wait_for(kind="lock-orphaned", pid=w.pid)["locks"][0]["acquired"]
    assert taken["time"] < had, agent.said()
    held = lock(owner, type="rwlock", kind=ABSENT, acquired=RWLOCK)
    expect_orphans(
        agent, w, [orphaned(owner, [held], agent.reason("return"), [], severity="warning")]
    )

@pytest.mark.parametrize("kind", NAMELESS)
def test_held_nameless(start_deep, start_steps, kind):
    program, name, verb, times, looks = NAMELESS[kind]
    w = start_steps(name, program=program)
    agent = start_deep(w)
    owner = take(w, verb, times)
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    if looks.get("proof") == "owner-died":
        looks = {"owner_tid": owner["ns_tid"], **looks}
    expect_orphans(
        agent,
        w,
        [orphaned(owner, [probed(owner, **looks)], agent.reason("return"), [], severity="warning")],
    )

@pytest.mark.parametrize("kind", [*KINDS, *NAMELESS])
def test_released(start_deep, start_steps, kind):
    """As often as it was taken."""
    program, name, verb, times, _ = {**KINDS, **NAMELESS}[kind]
    w = start_steps(name, program=program)
    agent = start_deep(w)
    take(w, verb, times)
    released(w, times)
    w.dies("owner return")
    expect_nothing_about_locks(agent, w, sweeps=1)

@pytest.mark.parametrize("program", ["lock_steps", "musl_steps"])
def test_read_twice_released_once(start_deep, start_steps, program):
    w = start_steps("rwlock", program=program)
    agent = start_deep(w)
    take(w, "read")
    owner = take(w, "read")
    released(w, 1)
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    libc = "musl" if program == "musl_steps" else "glibc"
    held = probed(owner, type="rwlock", mode="read", libc=libc)
    expect_orphans(
        agent, w, [orphaned(owner, [held], agent.reason("return"), [], severity="warning")]
    )

@pytest.mark.parametrize("program", ["lock_steps", "musl_steps"])
@pytest.mark.parametrize("kind", ["normal", "rwlock", "errorcheck"])
def test_failed_attempts(start_deep, start_steps, program, kind):
    """Whoever did not get it does not hold it, though somebody else does: who lives."""
    w = start_steps(kind, program=program)
    agent = start_deep(w)
    take(w, "lock", who="holder")
    busy = 16
    w.do("other try A", result=busy)
    w.blocks("other timed A 1")
    w.then("other timed A 1", result=110)
    if kind == "rwlock":
        w.do("other try-read A", result=busy)
        w.blocks("other timed-read A 1")
        w.then("other timed-read A 1", result=110)
    w.dies("other return")
    expect_nothing_about_locks(agent, w, sweeps=1)

@pytest.mark.parametrize("program", ["lock_steps", "musl_steps"])
def test_two_readers(start_deep, start_steps, program):
    """One of them dies with it, one lives with it, one had it."""
    w = start_steps("rwlock", program=program)
    agent = start_deep(w)
    take(w, "read", who="lives")
    take(w, "read", who="had")
    owner = take(w, "read")
    released(w, 1, who="had")
    w.dies("had return")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    libc = "musl" if program == "musl_steps" else "glibc"
    held = probed(owner, type="rwlock", mode="read", libc=libc)
    expect_orphans(
        agent, w, [orphaned(owner, [held], agent.reason("return"), [], severity="warning")]
    )

@pytest.mark.parametrize("program", ["lock_steps", "musl_steps"])
def test_foreign_unlock_before(start_deep, start_steps, program):
    """Another thread unlocked it, a third one has it."""
    w = start_steps("normal", program=program)
    agent = start_deep(w)
    take(w, "lock")
    released(w, 1, who="other")
    take(w, "lock", who="third")
    w.dies("owner return")
    expect_nothing_about_locks(agent, w, sweeps=1)

@pytest.mark.parametrize("program", ["lock_steps", "musl_steps"])
def test_foreign_unlock_after(start_deep, start_steps, program):
    """Another thread unlocks it when the owner is dead, and a third one takes it."""
    w = start_steps("normal", program=program)
    agent = start_deep(w)
    owner = take(w, "lock")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    released(w, 1, who="other")
    take(w, "lock", who="third")
    agent.wait_for(kind="orphan-cleared", pid=w.pid)
    held = lock(owner) if program == "lock_steps" else probed(owner, **MUSL_NORMAL)
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], agent.reason("return"), [], severity="warning"),
            cleared(held, "foreign-unlock"),
        ],
    )

# --- The C library in the program itself, and musl's as a shared one. ---

GLIBC_READ = {"type": "rwlock", "mode": "read", "acquired": RWLOCK}

# program → the locks: (kind, every way to take it, what one looks like that was taken the first way)
BUILDS = {
    "lock_steps_static": [
        # The first one: the kernel's own list of it is read before the others are looked at.
        ("robust", ["lock"], lock,
         {"type": "robust-mutex", "robust": True, "proof": one_of("robust-list", "owner-word"),
          "acquired": MUTEX}),
        ("normal", ["lock", "try", "timed"], lock, {"acquired": MUTEX}),
        ("recursive", ["lock", "try"], lock, {"kind": "recursive", "recursion": 1, "acquired": MUTEX}),
        ("errorcheck", ["lock"], lock, {"kind": "errorcheck", "acquired": MUTEX}),
        ("adaptive", ["lock", "timed"], lock, {"kind": "adaptive", "acquired": MUTEX}),
        ("pi", ["lock"], lock, {"type": "pi-mutex", "acquired": MUTEX}),
        ("rwlock", ["lock", "try", "timed"], lock,
         {"type": "rwlock", "kind": ABSENT, "acquired": RWLOCK}),
        ("rwlock", ["read", "try-read", "timed-read"], probed, GLIBC_READ),
        ("mtx", ["lock", "try", "timed"], lock, {"acquired": LIBC}),
    ],
    "musl_steps_dynamic": [
        ("normal", ["lock", "try", "timed"], probed, MUSL_NORMAL),
        ("recursive", ["lock", "try"], probed, {"kind": "recursive", "recursion": 1, **MUSL_OWNED}),
        ("errorcheck", ["lock", "timed"], probed, {"kind": "errorcheck", **MUSL_OWNED}),
        ("rwlock", ["lock", "try", "timed"], probed, MUSL_RWLOCK),
        ("rwlock", ["read", "try-read", "timed-read"], probed, {**MUSL_RWLOCK, "mode": "read"}),
        ("mtx", ["lock", "try", "timed"], probed, {**MUSL_NORMAL, "acquired": ANY}),
    ],
}  # fmt: skip

@pytest.mark.parametrize("program", BUILDS)
def test_builds(start_deep, start_steps, program):
    """One thread had each lock, taken in each way, and released it: of it nothing is said. One has
    them all when it ends. One came to get them and did not."""
    runs_here(program)
    locks = BUILDS[program]
    w = start_steps(*(kind for kind, *_ in locks), program=program)
    agent = start_deep(w)
    names = "ABCDEFGHIJKL"[: len(locks)]
    for name, (_, verbs, *_) in zip(names, locks):
        for verb in verbs:
            take(w, verb, who="had", name=name)
            released(w, 1, who="had", name=name)
    w.dies("had return")
    held = []
    for name, (_, verbs, looks_like, looks) in zip(names, locks):
        owner = take(w, verbs[0], name=name)
        if looks.get("proof") == "owner-died":
            looks = {"owner_tid": owner["ns_tid"], **looks}
        held.append(looks_like(owner, **looks))
        w.do(f"other try {name}", result=16)
    w.dies("other return")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    said = orphaned(owner, held, agent.reason("return"), [], severity="warning")
    expect_orphans(agent, w, [{**said, "locks": held}])  # in the order in which they were taken

@pytest.mark.parametrize("program", ["lock_deep_stripped", "musl_deep_stripped"])
def test_stripped(start_agent, start_workload, program):
    """A static program without symbols: nothing tells where its functions are. That is said, in ready and
    to who looks on, and then nothing of a lock that was taken there."""
    w = start_workload(program)
    w.event("started")
    agent = start_agent("--deep", "--census=off", "-p", w.pid)
    why = "all of its locks: no lock function of a C library was found"
    assert agent.ready["deep"] == [{"pid": w.pid, "probes": 0, "missing": [why]}]
    told = f"deadhold: --deep, process {w.pid}: out of sight: {why}"
    assert agent.err.wait(lambda: told in agent.errors, TIMEOUT), agent.said()
    w.go("many 3")
    w.event("locked")
    w.go("die")
    w.event("died")
    expect_nothing_about_locks(agent, w, sweeps=1)

WAITED = {
    "rwlock, read": ("lock_steps", "rwlock", "read", "lock",
                     {"type": "rwlock", "mode": "read"}, GLIBC_BITSET),
    "musl normal": ("musl_steps", "normal", "lock", "lock", MUSL_NORMAL, {}),
    "musl rwlock": ("musl_steps", "rwlock", "lock", "read", MUSL_RWLOCK, {}),
    "musl rwlock, read": ("musl_steps", "rwlock", "read", "lock",
                          {**MUSL_RWLOCK, "mode": "read"}, {}),
}  # fmt: skip

@pytest.mark.parametrize("kind", WAITED)
def test_waiters(start_deep, start_steps, kind):
    """Those who wait for a lock that names nobody: before the end of its owner, and after it."""
    program, name, verb, waits, looks, wait = WAITED[kind]
    w = start_steps(name, program=program)
    agent = start_deep(w)
    owner = take(w, verb)
    before = w.blocks(f"before {waits} A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    after = w.blocks(f"after {waits} A")
    agent.wait_for(kind="orphan-wait", pid=w.pid, count=2)
    reason = agent.reason("return")
    held = probed(owner, **looks)
    said = expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(before, **wait)]),
            stuck(before, held, owner, reason, wait),
            stuck(after, held, owner, reason, {"op": matching("^FUTEX_WAIT")}),
        ],
        stop=False,
    )
    agent.wait_sweeps(2)
    assert agent.alerts_of(w.pid) == said  # each waiter once

def test_cancelled_in_cond_wait(start_deep, start_steps):
    """It takes the mutex again before it ends, and its handler, if there is one, unlocks."""
    w = start_steps("normal", "normal")
    agent = start_deep(w)
    take(w, "lock", who="clean")
    w.blocks("clean wait-guarded A")
    w.go("cancel clean A")
    w.event("died", step="cancel clean A")
    owner = take(w, "lock", name="B")
    w.blocks("owner wait B")
    w.go("cancel owner B")
    w.event("died", step="cancel owner B")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    expect_orphans(
        agent,
        w,
        [
            orphaned(
                owner, [lock(owner, acquired=MUTEX)], agent.reason("cancel"), [], severity="warning"
            )
        ],
        kinds=LOCK_KINDS,
    )

def test_all_in_one_alert(start_deep, start_steps):
    """In the order in which they were taken; the one that somebody waits for is proven otherwise."""
    w = start_steps("rwlock", "normal", "robust", "recursive")
    agent = start_deep(w)
    owner = take(w, "read", name="A")
    take(w, "lock", name="D")
    mutex = take(w, "lock", name="B")
    b = w.blocks("waiter lock B")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    (said,) = [a for a in agent.alerts_of(w.pid) if a["kind"] == "lock-orphaned"]
    assert {(found["type"], found["proof"]) for found in said["locks"]} == {
        ("rwlock", "probe"), ("mutex", "owner-word")
    }, said  # fmt: skip
    assert len(said["locks"]) == 3 and said["severity"] == "critical", said
    assert all(found["acquired"]["stack"] for found in said["locks"]), said
    assert mutex and b and owner

# --- How many, and what does not fit. ---

DEEP_PROGRAMS = ["lock_deep", "lock_deep_static", "musl_deep", "musl_deep_dynamic"]

@pytest.mark.parametrize("program", DEEP_PROGRAMS)
def test_a_thousand_locks(start_deep, start_workload, program):
    runs_here(program)
    w = start_workload(program)
    w.event("started")
    agent = start_deep(w)
    w.go("many 1000")
    held = w.event("locked")
    w.go("die")
    w.event("died")
    said = agent.wait_for(kind="lock-orphaned", pid=w.pid)
    bytes_each = 40
    first = int(held["lock"], 16)
    wanted = [address(first + i * bytes_each) for i in range(1000)]
    assert [found["address"] for found in said["locks"]] == wanted
    proof = "probe" if program.startswith("musl") else "owner-word"
    assert {found["proof"] for found in said["locks"]} == {proof}
    assert said["thread"]["tid"] == held["tid"] and said["severity"] == "warning"
    w.end()
    kinds = ("lock-orphaned", "orphan-wait", "lock-suspected")
    assert expect(agent, w, [ANY], kinds=kinds) == [said]

def test_five_thousand_locks(start_deep, start_workload):
    """In one alert, and no more listed than a reader of lines can take."""
    w = start_workload("lock_deep")
    w.event("started")
    agent = start_deep(w)
    w.go("many 5000")
    held = w.event("locked")
    w.go("die")
    w.event("died")
    said = agent.wait_for(kind="lock-orphaned", pid=w.pid)
    assert said["message"].endswith(f"[{held['tid']}] died holding 5000 locks")
    assert (len(said["locks"]), said["locks_more"]) == (2048, 2952)
    w.end()
    kinds = ("lock-orphaned", "orphan-wait", "lock-suspected")
    assert expect(agent, w, [ANY], kinds=kinds) == [said]

def test_overflow_is_counted(start_deep, start_workload):
    w = start_workload("lock_deep")
    w.event("started")
    agent = start_deep(w, "--deep-locks=100", allow_loss=True)
    w.go("many 1000")
    w.event("locked")
    w.go("die")
    w.event("died")
    said = agent.wait_for(kind="lock-orphaned", pid=w.pid)
    loss = agent.wait_for(kind="loss")
    agent.stop()
    assert 0 < len(said["locks"]) <= 100
    lost = sum(a["where"].get("deep", 0) for a in agent.alerts if a["kind"] == "loss")
    assert lost >= 900 and "deep" in loss["where"], agent.said()

# --- The processes. ---

def text_at(pid, *addresses):
    """What a process has as its code at these addresses."""
    with open(f"/proc/{pid}/mem", "rb") as memory:
        return [os.pread(memory.fileno(), 8, int(at, 16)) for at in addresses]

def text_of(event):
    return text_at(event["pid"], event["lock"], event["unlock"], event["read"])

@pytest.mark.parametrize("program", ["lock_deep", "lock_deep_static", "musl_deep_dynamic"])
def test_others_are_untouched(start_deep, start_workload, program):
    """Not even those that run the same file."""
    runs_here(program)
    chosen, other = start_workload(program), start_workload(program)
    texts = {}
    for w in (chosen, other):
        texts[w] = w.event("started")
    before = text_of(texts[chosen])
    assert text_of(texts[other]) == before
    agent = start_deep(chosen)
    assert text_of(texts[other]) == before
    during = text_of(texts[chosen])
    assert [text[:1] for text in during] == [b"\xcc"] * 3, during
    agent.stop()
    # The kernel takes the probes away when their last descriptor is closed, which nobody waits for.
    assert eventually(lambda: text_of(texts[chosen]) == before)

def test_nothing_is_left_after_kill(start_deep, start_workload):
    w = start_workload("lock_deep")
    started = w.event("started")
    before = text_of(started)
    agent = start_deep(w)
    assert text_of(started) != before
    agent.kill()
    assert eventually(lambda: text_of(started) == before)

def eventually(condition):
    """Whether it becomes true in time."""
    until = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True

@pytest.mark.parametrize("program", DEEP_PROGRAMS)
def test_attached_in_the_midst(start_deep, start_workload, program):
    """Threads take locks, release them and end all the time: nobody left one."""
    runs_here(program)
    w = start_workload(program)
    w.event("started")
    w.go("churn")
    w.event("churning")
    agent = start_deep(w)
    agent.wait_sweeps(4)
    w.go("stop")
    assert w.event("churned")["rounds"] > 0
    agent.wait_sweeps(1)
    w.end()
    assert not agent.stop()[-1]["losses"]
    assert not agent.alerts_of(w.pid, kinds=LOCK_KINDS), agent.said()

def test_unwinding(start_deep, start_workload):
    """Cancelled, by pthread_exit and by a C++ exception, out of every function in which a thread can be
    blocked: the destructors run. The semaphores' are probed where there is a Python."""
    libraries = sorted(pathlib.Path.home().glob(".pyenv/versions/3.*/lib/libpython3.*.so.1.0"))
    env = {"LD_PRELOAD": str(libraries[-1])} if libraries else {}
    w = start_workload("deep_unwind", env=env)
    w.event("started")
    agent = start_deep(w)
    (about,) = agent.ready["deep"]
    assert about["probes"] > (35 if libraries else 20)
    w.go("go")
    w.event("over")
    left = [event for event in w.events if event["event"] == "left"]
    assert len(left) == 12 * 3
    for event in left:
        assert event["destroyed"] == 1, event
        assert event["caught"] == (event["how"] == "throw"), event
    w.end()
    expect_nothing_about_locks(agent, w)
    if not libraries:
        pytest.skip("sem_wait and its kin were not probed: no shared libpython is installed")

def test_main_thread_ends(start_deep, start_workload):
    """The probes know the process by a thread. When that ends they are attached anew, and what may have
    been missed meanwhile is counted."""
    w = start_workload("lock_deep")
    w.event("started")
    agent = start_deep(w, allow_loss=True)
    w.go("leave")
    w.event("started")
    assert agent.err.wait(
        lambda: sum("probes in" in line and "libc.so" in line and f" {n} " in line
                    for line in agent.errors for n in [agent.ready["deep"][0]["probes"]]) >= 2,
        TIMEOUT,
    ), agent.said()  # fmt: skip
    agent.wait_sweeps(1)
    w.go("many 3")
    held = w.event("locked")
    w.go("die")
    said = agent.wait_for(kind="lock-orphaned", pid=w.pid)
    assert said["thread"]["tid"] == held["tid"] and len(said["locks"]) == 3
    assert all(found["acquired"]["stack"] for found in said["locks"])
    agent.stop()
    assert agent.alerts[-1]["losses"].keys() == {"deep"}, agent.said()

@pytest.mark.parametrize("program", ["lock_deep", "lock_deep_static"])
def test_exec(start_deep, start_workload, program):
    """The new program is seen as the old one was."""
    w = start_workload(program)
    w.event("started")
    agent = start_deep(w)
    w.go("exec")
    w.event("started")
    agent.wait_sweeps(1)
    w.go("many 3")
    held = w.event("locked")
    w.go("die")
    said = agent.wait_for(kind="lock-orphaned", pid=w.pid)
    assert said["thread"]["tid"] == held["tid"] and len(said["locks"]) == 3
    assert all(found["acquired"]["stack"] for found in said["locks"])
    w.go("many 1")
    w.event("locked")
    w.go("die")
    agent.wait_for(kind="lock-orphaned", pid=w.pid, count=2)
    assert not any("out of sight" in line for line in agent.errors), agent.said()

@pytest.mark.parametrize("program", ["lock_deep", "lock_deep_static"])
def test_exec_out_of_sight(start_deep, start_workload, program):
    """Nothing tells where the new program's functions are. That is said when its first thread ends."""
    w = start_workload(program)
    w.event("started")
    agent = start_deep(w)
    w.go(f"exec {LIVE / 'lock_deep_stripped'}")
    w.event("started")
    w.go("many 3")
    w.event("locked")
    w.go("die")
    w.event("died")
    told = (f"deadhold: --deep, process {w.pid}: out of sight: "
            "all of its locks: no lock function of a C library was found")
    assert agent.err.wait(lambda: told in agent.errors, TIMEOUT), agent.said()
    expect_nothing_about_locks(agent, w, sweeps=1)
    assert agent.errors.count(told) == 1

def probed_child(agent, child):
    told = f"of process {child['pid']}"
    assert agent.err.wait(
        lambda: any(told in line and "libc.so" in line and " 1 probe" not in line
                    for line in agent.errors), TIMEOUT,
    ), agent.said()  # fmt: skip

def test_child_at_once(start_deep, start_workload):
    """A child is watched from its first instruction on: also before it is probed."""
    w = start_workload("lock_deep")
    w.event("started")
    agent = start_deep(w, "--deep-children", allow_loss=True)
    w.go("fork hang")
    child = w.event("hangs")
    said = agent.wait_for(kind="orphan-wait", pid=child["pid"])
    assert said["lock"]["address"] == child["lock"] and said["process"]["ppid"] == w.pid
    os.kill(child["pid"], signal.SIGKILL)
    agent.wait_for(kind="orphan-cleared", pid=child["pid"])
    story = [a["state"] for a in agent.alerts_of(child["pid"], kinds=("incident",))]
    assert (story[0], story[-1]) == ("open", "closed"), agent.said()
    agent.stop()
    # Its thread ended before it could be probed, or after that.
    assert agent.alerts[-1]["losses"].get("deep", 0) <= 1, agent.said()

def test_child_signal(start_deep, start_workload):
    """Signals are told of children, too."""
    w = start_workload("lock_deep")
    w.event("started")
    agent = start_deep(w, "--deep-children")
    w.go("fork")
    child = w.event("forked")
    w.go("many 1")
    held = w.event("locked")
    os.kill(held["tid"], signal.SIGURG)
    said = agent.wait_for(kind="tid-kill", pid=child["pid"])
    assert said["thread"]["tid"] == held["tid"]

def test_children_that_end(start_deep, start_workload):
    """They make room for those to come, and nothing is said of them."""
    w = start_workload("lock_deep")
    w.event("started")
    agent = start_deep(w, "--deep-children")
    w.go("forks 400")
    w.event("over")
    w.go("fork")
    child = w.event("forked")
    probed_child(agent, child)
    w.go("many 3")
    held = w.event("locked")
    w.go("die")
    said = agent.wait_for(kind="lock-orphaned", pid=child["pid"])
    assert said["thread"]["tid"] == held["tid"] and len(said["locks"]) == 3
    assert not any("out of sight" in line for line in agent.errors), agent.said()

@pytest.mark.parametrize("children", [False, True])
def test_children(start_deep, start_workload, children):
    """Those that are forked later: on request. A child that is not wanted runs as ever, and what it has
    of the probes goes as it comes upon it."""
    w = start_workload("lock_deep")
    started = w.event("started")
    before = text_of(started)
    agent = start_deep(w, *(["--deep-children"] if children else []))
    w.go("fork")
    child = w.event("forked")
    if children:
        probed_child(agent, child)
    w.go("many 3")
    held = w.event("locked")
    assert held["pid"] == child["pid"] != w.pid
    if not children:
        assert text_at(child["pid"], started["lock"]) == before[:1]
    w.go("die")
    w.event("died")
    if children:
        said = agent.wait_for(kind="lock-orphaned", timeout=TIMEOUT, predicate=lambda a: (
            a["process"]["pid"] == child["pid"]))  # fmt: skip
        assert len(said["locks"]) == 3
        assert all(found["acquired"]["stack"] for found in said["locks"])
    agent.stop()
    if not children:
        assert not agent.alerts_of(child["pid"], kinds=LOCK_KINDS)
