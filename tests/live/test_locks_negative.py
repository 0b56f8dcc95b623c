# SPDX-License-Identifier: GPL-2.0-only
"""Programs that do nothing wrong with their locks: not one alert about a lock.

A sweep looks at threads that have been blocked for a second, and believes what it reads twice.
Where a thread stays blocked, the test lets three more sweeps go by, so that silence means something.
"""

import os
import signal

import pytest

from deadhold import expect_nothing_about_locks, one_of
from tracing import PTRACE_DETACH, PTRACE_INTERRUPT, PTRACE_SEIZE, WALL, ptrace

SWEEPS = 3
GLIBC_KINDS = ["normal", "recursive", "errorcheck", "adaptive", "robust", "pi", "rwlock", "mtx", "stdio"]
MUSL_KINDS = ["normal", "recursive", "errorcheck", "robust", "rwlock"]
CXX_KINDS = ["std-mutex", "std-recursive-mutex", "std-timed-mutex", "std-shared-mutex"]
EVERY_KIND = [
    *(("lock_steps", kind) for kind in [*GLIBC_KINDS, "robust-pi", "mtx-recursive"]),
    *(("lock_cxx", kind) for kind in CXX_KINDS),
    *(("musl_steps", kind) for kind in [*MUSL_KINDS, "pi"]),
]


# --- The lock is released. -----------------------------------------------------------------------


def test_owner_unlocks_and_ends(agent, start_steps):
    """The twin of all that die with it; the owner held it for several sweeps, with a waiter."""
    workloads = [start_steps(kind, program=program) for program, kind in EVERY_KIND]
    for w in workloads:
        w.do("owner lock A")
        w.blocks("waiter lock A")
    agent.wait_sweeps(SWEEPS)
    for w in workloads:
        w.do("owner unlock A")
        w.dies("owner return")
        w.then("waiter lock A")
        w.do("waiter unlock A")
        w.dies("waiter return")
        w.do("third lock A")
    expect_nothing_about_locks(agent, workloads)


@pytest.mark.parametrize("program, kinds",
                         [("lock_churn", GLIBC_KINDS), ("musl_churn", MUSL_KINDS)])
def test_heavy_contention(agent, start_workload, program, kinds):
    w = start_workload(program, "contention", 5000, *kinds)
    churned = w.event("churned", timeout=600)
    assert churned["switches"] > 100, "nobody had to wait"
    w.end()
    expect_nothing_about_locks(agent, w, sweeps=1)


# Joins included: the joiner waits on a word that holds the TID of a thread about to be dead.
@pytest.mark.parametrize("program, kinds",
                         [("lock_churn", GLIBC_KINDS), ("musl_churn", MUSL_KINDS)])
def test_short_threads(agent, start_workload, program, kinds):
    w = start_workload(program, "short", 10000, *kinds)
    churned = w.event("churned", timeout=600)
    assert churned["switches"] > 100, "nobody had to wait"
    w.end()
    expect_nothing_about_locks(agent, w, sweeps=1)


@pytest.mark.parametrize("order", ["free", "taken"])
def test_unlock_in_cancellation_handler(agent, start_steps, order):
    w = start_steps("normal")
    w.do("owner lock A")
    w.blocks("owner wait-guarded A")
    if order == "taken":
        w.do("other lock A")
        w.do("cancel owner A", "blocked")
        w.blocks("waiter lock A")
        w.do("other unlock A")
        w.then("waiter lock A")
    else:
        w.dies("cancel owner A")
        w.do("waiter lock A")
    w.blocks("third lock A")  # behind a live owner
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_stdio_lock_is_passed_on(agent, start_steps):
    """Each that had it was waited for, and ends."""
    w = start_steps("stdio")
    w.do("first lock A")
    w.blocks("second lock A")
    w.do("first unlock A")
    w.then("second lock A")
    w.blocks("third lock A")
    w.dies("first return")
    w.do("second unlock A")
    w.then("third lock A")
    w.dies("second return")
    w.do("third unlock A")
    w.dies("third return")
    agent.wait_sweeps(2)
    expect_nothing_about_locks(agent, [w])


def test_foreign_unlock_before_the_exit(agent, start_steps):
    w = start_steps("normal")
    w.do("owner lock A")
    w.blocks("waiter lock A")
    w.do("other unlock A")
    w.then("waiter lock A")
    w.dies("owner return")
    w.blocks("third lock A")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


# --- The process goes, and its private locks with it. --------------------------------------------


def test_process_ends_with_private_locks_held(agent, start_steps):
    workloads = []
    for kind in ("normal", "robust", "pi"):
        for end in ("end", "owner exit", "waker exit", "SIGKILL", "SIGTERM"):
            w = start_steps(kind)
            workloads.append(w)
            w.do("owner lock A")
            w.blocks("waiter lock A")
            if end.startswith("SIG"):
                os.kill(w.pid, getattr(signal, end))
            else:
                w.go(end)
            w.wait()
    expect_nothing_about_locks(agent, workloads, sweeps=SWEEPS)


def test_core_dump_with_private_locks_held(agent, start_steps):
    w = start_steps("normal")
    w.do("owner lock A")
    w.blocks("waiter lock A")
    w.go("owner abort")
    assert w.wait() == -signal.SIGABRT
    if not w.dumped:
        pytest.skip("this host writes no core here (core_pattern, or the hard limit)")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_exec_with_private_locks_held(agent, start_steps):
    """The new image, whose only thread has the old main thread's TID, then holds a lock itself."""
    workloads = []
    for who in ("leader", "worker"):
        for owner in ("leader", "worker", "other"):
            w = start_steps("leader", "normal")
            workloads.append(w)
            w.do(f"{owner} lock A")
            w.blocks("waiter lock A")
            w.go(f"{who} exec")
            w.event("started")
            again = w.do("leader lock A")
            assert again["tid"] == again["pid"]
            w.blocks("waiter lock A")
    expect_nothing_about_locks(agent, workloads, sweeps=SWEEPS)


# --- What is waited for is no lock, or has no dead owner. ----------------------------------------


def test_live_owner(agent, start_steps):
    """Others died, one who held the lock before among them; the owner is alive."""
    workloads = []
    for program, kind in EVERY_KIND:
        w = start_steps(kind, program=program)
        workloads.append(w)
        w.do("first lock A")
        w.blocks("second lock A")
        w.do("first unlock A")
        w.then("second lock A")
        w.dies("first return")
        w.blocks("waiter lock A")
        if kind in ("rwlock", "std-shared-mutex"):
            w.blocks("reader read A")
        else:
            w.blocks("timed timed A 3600")
    expect_nothing_about_locks(agent, workloads, sweeps=SWEEPS)


def test_musl_normal_mutex_names_nobody(agent, start_steps):
    """Its owner dies, but no word of it tells that this was its owner."""
    w = start_steps("normal", program="musl_steps")
    w.do("owner lock A")
    w.blocks("waiter lock A")
    w.dies("owner return")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_readers_name_nobody(agent, start_steps):
    w = start_steps("rwlock")
    w.do("owner read A")
    w.blocks("waiter lock A")
    w.dies("owner return")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


@pytest.mark.parametrize("program", ["lock_steps", "musl_steps"])
def test_waits_that_are_no_locks(agent, start_steps, program):
    w = start_steps("normal", program=program)
    # Some come through and end; what they waited on has seen dead threads then.
    w.do("c0 lock A")
    w.blocks("c0 wait A")
    w.blocks("s0 sem")
    w.blocks("o0 once")
    w.blocks("o1 once")
    w.blocks("b0 barrier")
    w.blocks("j0 join b0")
    w.do("b1 barrier")
    w.then("b0 barrier")
    w.go("wake")
    for step in ("c0 wait A", "s0 sem", "o0 once", "o1 once"):
        w.then(step)
    w.do("c0 unlock A")
    for name in ("c0", "s0", "o0", "o1", "b1", "b0"):
        w.dies(f"{name} return")
    w.then("j0 join b0")
    w.dies("j0 return")
    # Some stay.
    w.do("c1 lock A")
    w.blocks("c1 wait A")
    w.blocks("s1 sem")
    w.blocks("b2 barrier")
    w.blocks("j1 join c1")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_join_of_the_main_thread(agent, start_steps):
    w = start_steps("leader", "normal")
    w.blocks("joiner join leader")
    w.dies("leader return")
    w.then("joiner join leader")
    w.do("owner lock A")
    w.blocks("waiter lock A")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_fork_child_with_its_own_lock(agent, start_steps):
    """It inherits one held lock and leaves it alone; another is held by the child itself."""
    w = start_steps("normal", "anonymous", "normal")
    w.do("owner lock A")
    w.do("child fork")
    w.do("child lock B")
    w.blocks("waiter lock B")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


def test_forking_thread_held_it(agent, start_steps):
    """Its copy, the child's main thread, has the lock then, and unlocks it."""
    w = start_steps("normal")
    w.do("child fork A")
    w.do("child helper A")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)
    w.do("child unlock A")
    w.do("child lock A")


@pytest.mark.parametrize("program", ["lock_steps", "lock_steps_static"])
@pytest.mark.parametrize("kind", ["mimic", "mimic-bitset", "mimic-inline", "mimic-self"])
def test_looks_like_a_mutex(agent, start_steps, program, kind):
    """A lock of somebody else's make; what it guards looks like glibc's to the last bit, and names a thread
    that is not there, or who waits."""
    w = start_steps(kind, program=program)
    w.do("owner lock A")
    w.blocks("b lock A")
    w.blocks("c lock A")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)
    w.do("owner unlock A")
    w.then("b lock A")
    w.do("b unlock A")
    w.then("c lock A")


def test_dead_threads_number_in_guarded_data(agent, start_steps):
    """The same, and the number is that of a thread that did end."""
    w = start_steps("mimic-self")
    w.do("owner lock A")
    w.blocks("b lock A")
    w.do("owner unlock A")
    w.then("b lock A")
    w.do("b unlock A")
    w.do("owner lock A")
    w.dies("b return")
    w.blocks("c lock A")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


# --- Numbers that look alike. --------------------------------------------------------------------


def test_tid_is_reused_at_once(agent, start_workload):
    w = start_workload("lock_reuse", 200, pid_ns=True)
    w.event("started")
    w.out.wait(lambda: len(w.events) > 1, 600)
    if w.events[-1]["event"] == "unsupported":
        pytest.skip(w.events[-1]["why"])
    assert w.event("holds")["owner"] == 100
    agent.wait_sweeps(SWEEPS)
    w.go("release")
    w.event("released")
    w.end()
    expect_nothing_about_locks(agent, w)


def test_live_owner_in_a_pid_namespace(agent, start_steps):
    w = start_steps("normal", pid_ns=True)
    w.do("first lock A")
    w.do("first unlock A")
    w.dies("first return")
    owner = w.do("owner lock A")
    assert owner["ns_tid"] != owner["tid"]
    w.blocks("waiter lock A")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)


@pytest.mark.parametrize("kind", ["normal", "rwlock", "robust"])
def test_dead_number_is_alive_in_another_namespace(agent, start_steps, tmp_path, kind):
    """Two namespaces share a lock. A thread of ours had the number of their owner, and is dead."""
    path = tmp_path / "shared"
    theirs = start_steps("init", path, kind, pid_ns=True)
    ours = start_steps("join", path, kind, pid_ns=True)
    owner = theirs.do("owner lock A")
    # It used this very lock, and others waited for it.
    theirs.do("owner unlock A")
    twin = ours.do("twin lock A")
    assert twin["ns_tid"] == owner["ns_tid"] and twin["tid"] != owner["tid"]
    ours.blocks("waiter lock A")
    ours.do("twin unlock A")
    ours.then("waiter lock A")
    ours.do("waiter unlock A")
    ours.dies("twin return")
    theirs.do("owner lock A")
    ours.blocks("waiter lock A")
    agent.wait_sweeps(SWEEPS)
    theirs.do("owner unlock A")
    ours.then("waiter lock A")
    expect_nothing_about_locks(agent, [ours, theirs])


# --- Interrupted waits. --------------------------------------------------------------------------


def state(tid):
    """The letter of a thread's state in /proc."""
    with open(f"/proc/{tid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


@pytest.fixture
def waiting(start_steps):
    """A workload in which another thread was there before, and died; then one holds the lock, and
    two wait for it, one of them with a timeout."""
    w = start_steps("normal")
    w.do("first lock A")
    w.blocks("owner lock A")
    w.do("first unlock A")
    w.then("owner lock A")
    w.dies("first return")
    waiters = [w.blocks("waiter lock A"), w.blocks("timed timed A 3600")]
    return w, waiters


def still_waiting(w, agent):
    """All as before: the lock works."""
    agent.wait_sweeps(SWEEPS)
    w.do("owner unlock A")
    # An interrupted wait begins anew, so that either may be the first.
    either = one_of("waiter lock A", "timed timed A 3600")
    first = w.event("done", step=either)
    w.do(f"{first['step'].split()[0]} unlock A")
    w.event("done", step=either)
    expect_nothing_about_locks(agent, w)


def until(condition, what):
    """Asks again and again, for as long as a slow machine may need."""
    for _ in range(6000):
        if condition():
            return
        signal.sigtimedwait([], 0.01)
    raise AssertionError(f"waited in vain: {what}")


def test_stopped_and_continued(agent, waiting):
    w, waiters = waiting
    for _ in range(3):
        os.kill(w.pid, signal.SIGSTOP)
        until(lambda: all(state(e["tid"]) == "T" for e in waiters), "the process to stop")
        agent.wait_sweeps(1)
        os.kill(w.pid, signal.SIGCONT)
        until(lambda: all(state(e["tid"]) == "S" for e in waiters), "the process to go on")
    still_waiting(w, agent)


def test_traced(agent, waiting):
    """As a debugger does, and a tool that dumps a live process."""
    w, waiters = waiting
    for _ in range(3):
        for event in waiters:
            ptrace(PTRACE_SEIZE, event["tid"])
            ptrace(PTRACE_INTERRUPT, event["tid"])
            os.waitpid(event["tid"], WALL)
        agent.wait_sweeps(1)
        for event in waiters:
            ptrace(PTRACE_DETACH, event["tid"])
    still_waiting(w, agent)


def test_dumped_while_it_waits(agent, waiting):
    w, _ = waiting
    w.go("other abort")
    assert w.wait() == -signal.SIGABRT
    if not w.dumped:
        pytest.skip("this host writes no core here (core_pattern, or the hard limit)")
    expect_nothing_about_locks(agent, w, sweeps=SWEEPS)
