# SPDX-License-Identifier: GPL-2.0-only
"""Threads of C++, Rust, Go, Java and JavaScript, the real thing: what is said when one of them ends with a
lock, and that nothing is said of a program that only does what its runtime always does. The table in
docs/runtimes.md names these tests.

Python's are in test_python.py, those of C and of the locks of std:: in test_locks.py.
"""

import shutil

import pytest

from deadhold import (
    ABSENT,
    ANY,
    LIVE,
    ROOT,
    SCALE,
    address,
    any_order,
    expect,
    expect_nothing_about_locks,
)
from inspected import inspect
from signals import boot_id, start_ticks
from steps import exit_of

SOURCES = ROOT / "tests" / "live" / "runtimes"
SWEEPS = 3


# Nothing is said of others: on a busy host their lines would be lost.
ONLY = [f"--comm={name}" for name in ("*_threads", "stdio_cancel", "java", "node")]


@pytest.fixture
def agent(start_agent):
    return start_agent(*ONLY)


@pytest.fixture
def lock_agent(start_agent):
    """Without the census: what is tested with it is what hooks and sweep prove."""
    return start_agent(*ONLY, "--census=off")


@pytest.fixture
def start(start_workload):
    """start(program, *args): a workload of a runtime that may not be here."""

    def start(name, *args, **settings):
        compiler = {"rust_threads": "rustc", "go_threads": "go", "cgo_threads": "go"}.get(name)
        if compiler and not (LIVE / name).exists():
            pytest.skip(f"{name} was not built: no {compiler} (tools/packages runtimes)")
        return start_workload(name, *args, **settings)

    return start


@pytest.fixture
def start_java(start_workload):
    def start(*args):
        for program in ("java", "javac"):
            if not shutil.which(program):
                pytest.skip(f"there is no {program} here (tools/packages runtimes)")
        return start_workload(SOURCES / "Threads.java", *args, prefix=("java",))

    return start


@pytest.fixture
def start_node(start_workload):
    def start(*args):
        if not shutil.which("node"):
            pytest.skip("there is no node here (tools/packages runtimes)")
        return start_workload(SOURCES / "workers.js", *args, prefix=("node",))

    return start


# --- What is expected, from the events of these workloads. ---------------------------------------


def process(event):
    return {"pid": event["pid"], "id": f"{boot_id()}:{event['pid']}:{start_ticks(event['pid'])}"}


def thread(event):
    return {"tid": event["tid"], "name": event["event"]}


def mutex(owner, **members):
    return {
        "address": address(owner["lock"]),
        "type": "mutex",
        "kind": "normal",
        "libc": "glibc",
        "owner_tid": owner["ns_tid"],
        "proof": "owner-word",
        **members,
    }


WAIT = {"op": "FUTEX_WAIT", "timeout_ns": ABSENT}


def orphan(owner, waiters, held, exit_, at):
    """lock-orphaned for the thread of the event `owner`, then one orphan-wait for each waiter. at:
    process(), taken while it lived."""
    stuck = [{"thread": thread(w), "wait": WAIT} for w in waiters]
    return [
        {
            "kind": "lock-orphaned",
            "severity": "critical" if waiters else "warning",
            "process": at,
            "thread": thread(owner),
            "exit": exit_,
            "locks": [held],
            "waiters": any_order(stuck) if len(stuck) > 1 else stuck,
        },
        *(orphan_wait(owner, waiter, held, exit_, at) for waiter in waiters),
    ]


def orphan_wait(owner, waiter, held, exit_, at):
    return {
        "kind": "orphan-wait",
        "severity": "critical",
        "process": at,
        "thread": thread(waiter),
        "lock": held,
        "owner": {"thread": thread(owner), "exit": exit_},
        "wait": WAIT,
    }


# --- C++ -----------------------------------------------------------------------------------------


def test_cxx_jthread_returns_with_a_lock(lock_agent, start):
    """A jthread joins at its end; it does not unlock."""
    w = start("cxx_threads", "holds")
    owner = w.event("owner")
    w.go("die")
    w.event("died")
    w.go("wait")
    waiter = w.event("waiter")
    at = process(owner)
    lock_agent.wait_for(kind="orphan-wait", pid=w.pid)
    inspect(w.pid, expected={"verdict": "orphaned-lock"})
    expect(lock_agent, w, orphan(owner, [waiter], mutex(owner, proof="waiter"),
                                 exit_of(lock_agent.reason("return")), at))


def test_cxx_jthread_is_stopped(agent, start):
    """By its stop token: it comes out of its wait, unlocks and returns. Nothing at all is said."""
    w = start("cxx_threads", "stop")
    w.go("stop")
    w.event("stopped")
    agent.wait_sweeps(1)
    w.end()
    expect(agent, w, [])


def test_cxx_throw_unlocks(agent, start):
    w = start("cxx_threads", "throw")
    w.event("thrown")
    agent.wait_sweeps(1)
    w.end()
    expect(agent, w, [])


def test_cxx_throw_out_of_a_thread(agent, start):
    """std::terminate() ends the whole process, locks and all."""
    w = start("cxx_threads", "terminate")
    w.event("started")
    w.go("die")
    assert w.wait() == -6  # SIGABRT, which the thread sends to itself: folded
    agent.wait_sweeps(1)
    expect(agent, w, [])


# --- Rust ----------------------------------------------------------------------------------------


def rust_step(w, step):
    w.go(step)
    return w.event(step)


@pytest.mark.parametrize("kind", ["mutex", "read", "write"])
@pytest.mark.parametrize("waiters", [True, False], ids=["waiter", "nobody"])
def test_rust_leaked_guard_is_not_seen(agent, start, kind, waiters):
    """It stays locked for ever, and nothing in memory says by whom: nothing is claimed."""
    w = start("rust_threads", "steps", kind)
    assert rust_step(w, "owner")["has"]
    if waiters and kind != "read":
        assert not rust_step(w, "waiter")["has"]
    assert not rust_step(w, "leak")["panicked"]
    if kind != "read":
        assert not rust_step(w, "late")["has"], "it is still locked"
    # To inspect, who waits for a mutex waits for a lock of an unknown owner; for an RwLock, for something.
    inspect(w.pid, expected={"verdict": "blocked" if kind == "mutex" else "ok"})
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


@pytest.fixture
def tracing(start_agent):
    """The futex hook that sees wakes, and so can infer."""
    return start_agent(*ONLY, "--futex-hook=tracepoint")


def inferred(owner, waiters, at):
    """lock-suspected: a lock that names nobody, left by the thread of the event `owner`."""
    wait = {**WAIT, "op": "FUTEX_WAIT_BITSET"}
    return {
        "kind": "lock-suspected",
        "severity": "warning",
        "process": at,
        "thread": thread(owner),
        "exit": exit_of("return"),
        "locks": [{
            "address": address(owner["futex"]),
            "type": "futex",
            "kind": ABSENT,
            "libc": ABSENT,
            "owner_tid": ABSENT,
            "proof": "inferred",
            "evidence": ["got-it", "no-wake"],
            "mapping": ANY,
        }],
        "waiters": [{"thread": thread(waiter), "wait": wait} for waiter in waiters],
        "census": ABSENT,
        "evidence": ["got-it", "no-wake"],
    }


def rust_owner_after_a_wait(w):
    rust_step(w, "take")
    owner = rust_step(w, "owner")
    assert not owner["has"]
    rust_step(w, "drop")
    return owner


@pytest.mark.parametrize("waiters", [1, 0], ids=["waiter", "nobody"])
def test_rust_leaked_mutex_is_inferred(tracing, start, waiters):
    """It got the mutex after a wait and never made the call of an unlock. Never critical, and nobody is
    said to be stuck for ever: it is no proof."""
    if tracing.rung("exit") == "late":
        pytest.skip("the latest exit hook can't tell that a thread returned")
    w = start("rust_threads", "steps", "mutex")
    owner = rust_owner_after_a_wait(w)
    stuck = [rust_step(w, "waiter") for _ in range(waiters)]
    rust_step(w, "leak")
    at = process(owner)
    tracing.wait_for(kind="lock-suspected", pid=w.pid)
    assert not rust_step(w, "late")["has"], "it is still locked"
    tracing.wait_sweeps(SWEEPS)
    expect(tracing, w, [inferred(owner, stuck, at)])


@pytest.mark.parametrize("end", ["panic", "release"])
def test_rust_unlock_after_a_wait_is_seen(tracing, start, end):
    """Others wait: the mutex is locked, in the very state that a leaked one has, when the owner ends."""
    w = start("rust_threads", "steps", "mutex")
    rust_owner_after_a_wait(w)
    next_owner = rust_step(w, "keeper")
    rust_step(w, "waiter")
    rust_step(w, end)
    w.event("has", tid=next_owner["tid"])
    tracing.wait_sweeps(SWEEPS)
    expect(tracing, w, [])


def test_rust_lock_that_was_not_waited_for_is_not_inferred(tracing, start):
    w = start("rust_threads", "steps", "mutex")
    assert rust_step(w, "owner")["has"]
    rust_step(w, "waiter")
    rust_step(w, "leak")
    expect_nothing_about_locks(tracing, w, sweeps=SWEEPS)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_rust_rwlock_is_not_inferred(tracing, start, kind):
    w = start("rust_threads", "steps", kind)
    if kind == "write":
        rust_owner_after_a_wait(w)
    else:
        rust_step(w, "owner")
    rust_step(w, "leak")
    expect_nothing_about_locks(tracing, w, sweeps=SWEEPS)


def test_rust_memory_is_used_again(tracing, start):
    """A condition's counter that stood at 2 when the thread slept on it; then the memory is a mutex that
    somebody else holds while others wait: another word of the same value."""
    w = start("rust_threads", "reuse")
    w.event("reuse")
    tracing.wait_sweeps(SWEEPS)
    w.end()
    expect(tracing, w, [])


def test_rust_under_load_while_wakes_are_seen(tracing, start):
    w = start("rust_threads", "churn", 4, max(1, int(200 * SCALE)))
    assert w.event("churned", timeout=600)["switches"] > 100, "nobody had to wait"
    w.end()
    expect(tracing, w, [])


@pytest.mark.parametrize("kind", ["mutex", "write"])
@pytest.mark.parametrize("end", ["panic", "release"])
def test_rust_guard_is_dropped(agent, start, kind, end):
    """A panic drops the guard, too: the lock is poisoned, and free."""
    w = start("rust_threads", "steps", kind)
    rust_step(w, "take")
    assert not rust_step(w, "owner")["has"]
    rust_step(w, "drop")
    if kind == "mutex":
        assert not rust_step(w, "waiter")["has"]
    assert rust_step(w, end)["panicked"] == (end == "panic")
    if kind == "mutex":
        late = rust_step(w, "late")
        assert late["has"] and late["poisoned"] == (end == "panic")
    agent.wait_sweeps(1)
    w.end()
    expect(agent, w, [])


# --- Go ------------------------------------------------------------------------------------------


def test_go_goroutine_takes_its_thread_with_it(agent, start):
    """A goroutine that ends locked to its thread ends the thread, by the system call itself."""
    w = start("go_threads", "locked")
    assert w.event("locked")["ended"] == 20
    agent.wait_sweeps(1)
    w.end()
    expect(agent, w, [])


def test_go_mutex_of_an_ended_goroutine_is_not_seen(agent, start):
    """Goroutines wait for it in the runtime's own queue, not in the kernel."""
    w = start("go_threads", "held")
    w.event("held")
    inspect(w.pid, expected={"verdict": "ok"})
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_go_preemption_is_folded(agent, start):
    w = start("go_threads", "preempt")
    w.event("preempt", timeout=600)
    w.end()
    expect(agent, w, [])
    folded = agent.alerts_of(w.pid, kinds=["noise"])
    assert [n["signal"]["name"] for n in folded] == ["SIGURG"], agent.said()
    assert folded[0]["count"] > 0


def test_go_under_load(agent, start):
    w = start("go_threads", "contention")
    assert w.event("contention", timeout=600)["count"] == 20000
    w.end()
    expect(agent, w, [])


def test_cgo_thread_ends_with_a_lock_of_c(lock_agent, start):
    """With cgo threads are libc's, and so are the locks that C code takes in them."""
    w = start("cgo_threads", "locked")
    owner = w.event("owner")
    waiter = w.event("waiter")
    at = process(owner)
    lock_agent.wait_for(kind="orphan-wait", pid=w.pid)
    inspect(w.pid, expected={"verdict": "orphaned-lock"})
    expect(lock_agent, w, orphan(owner, [waiter], mutex(owner, proof="waiter"),
                                 exit_of(lock_agent.reason("return")), at))


def test_cgo_goroutine_ends_and_its_thread_does_not(agent, start):
    """The lock's owner is the thread, which lives."""
    w = start("cgo_threads", "unlocked")
    owner = w.event("owner")
    waiter = w.event("waiter")
    # The next goroutine may run on that very thread, and then waits for itself.
    verdict = "deadlock" if waiter["tid"] == owner["tid"] else "blocked"
    inspect(w.pid, expected={"verdict": verdict})
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


# --- Java ----------------------------------------------------------------------------------------


def test_jvm_lock_of_an_ended_thread_is_not_seen(agent, start_java):
    """The ReentrantLock is an object on the Java heap; who waits for it sleeps on a condition."""
    w = start_java("held")
    w.event("held")
    inspect(w.pid, expected={"verdict": "ok"})
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_jvm_thread_stop(agent, start_java):
    """Up to Java 19 it throws into the thread: no signal, no end of a thread that the kernel sees as
    other than ordinary. Monitors are left, a ReentrantLock stays locked. Since 20 it throws at whoever
    calls it."""
    w = start_java("stop")
    stop = w.event("stop")
    assert stop["outcome"] in ("stopped", "UnsupportedOperationException", "removed"), stop
    assert stop["locked"]
    expect(agent, w, [], stop=False)
    w.end()
    expect(agent, w, [])


# --- JavaScript ----------------------------------------------------------------------------------


def test_node_worker_is_terminated(agent, start_node):
    """In the midst of its work, again and again: the engine stops it, no signal does."""
    w = start_node("terminate")
    assert w.event("terminate")["terminated"] == 15
    agent.wait_sweeps(1)
    w.end()
    expect(agent, w, [])


def test_node_lock_of_atomics_is_not_seen(agent, start_node):
    """Locked by a worker that was terminated. The engine's own condition is what others sleep on."""
    w = start_node("atomics")
    assert w.event("atomics")["word"] == 1
    inspect(w.pid, expected={"verdict": "ok"})
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


# --- glibc's stdio -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flockfile", "compute"])
def test_stdio_lock_of_a_cancelled_thread(lock_agent, start, how):
    """It took the lock by flockfile(): no handler unlocks. Cancelled in the write() below fflush(), or
    asynchronously while it computes."""
    w = start("stdio_cancel", how)
    owner = w.event("owner")
    w.go("wait")
    waiter = w.event("waiter")
    w.go("cancel")
    w.event("cancelled")
    at = process(owner)
    lock_agent.wait_for(kind="orphan-wait", pid=w.pid)
    proof = "owner-died" if lock_agent.rung("exit") == "late" else "owner-word"
    held = mutex(owner, type="stdio", kind=ABSENT, proof=proof)
    expected = orphan(owner, [waiter], held, exit_of(lock_agent.reason("cancel")), at)
    lock_agent.stop()
    expect(lock_agent, w, expected, kinds=["lock-orphaned", "orphan-wait", "lock-suspected"])


def test_stdio_cancelled_in_fwrite(agent, start):
    """fwrite() took the lock itself, and unlocks in a handler of its own: the waiter comes through."""
    w = start("stdio_cancel", "fwrite")
    w.event("owner")
    w.go("wait")
    w.event("waiter")
    w.go("cancel")
    w.event("through")
    w.event("cancelled")
    agent.wait_sweeps(SWEEPS)
    w.end()
    expect_nothing_about_locks(agent, w)
