# SPDX-License-Identifier: GPL-2.0-only
"""Rare calls that are probed: pthread_cancel and PyThreadState_SetAsyncExc, and the ends that follow."""

import os
import pathlib
import select
import shutil
import signal
import subprocess
import time

import pytest

from calls import (
    PROGRAMS,
    Python,
    Steps,
    cancelled,
    cause,
    ended,
    killed,
    needs_uprobes,
    program,
    pythons,
    sender,
    text_of,
    thread,
    thrown,
    wait_prober,
)
from deadhold import (
    ABSENT,
    ANY,
    SCALE,
    TIMEOUT,
    Agent,
    address,
    expect,
    one_of,
)
from signals import comm_of

CALL_KINDS = ("thread-cancel", "async-exception", "thread-killed")


@pytest.fixture
def start_calls(start_workload):
    """start_calls(libc): call_steps, ready for its first step."""

    def start(libc="glibc", **settings):
        w = start_workload(program(libc), kind=Steps, **settings)
        w.event("ready")
        return w

    return start


@pytest.fixture
def start_python(start_workload):
    def start(python=pythons()[0], **settings):
        w = start_workload(python, kind=Python, **settings)
        w.event("ready")
        return w

    return start


def probed(agent, path):
    """Waits until the prober has attached to this file: a program that the agent did not find running
    is probed some time after it has started."""
    wait_prober(agent, f"in {os.path.realpath(path)}")


def expect_calls(agent, about, expected):
    return expect(agent, about, expected, kinds=CALL_KINDS)


# --- pthread_cancel ------------------------------------------------------------------------------


@pytest.mark.parametrize("libc", PROGRAMS)
def test_cancel_of_a_spinning_thread(start_agent, start_calls, libc):
    """No signal is needed for it: the probe is the only witness."""
    w = start_calls(libc)
    agent = start_agent()
    needs_uprobes(agent)
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    assert w.do("join victim", "joined")["cancelled"] == 1
    reason = agent.reason("cancel")
    if reason != "cancel":
        expect_calls(agent, w, [cancelled(victim)])
        return
    agent.wait_for(kind="thread-killed", pid=w.pid)
    why = cause(agent, "thread-cancel", victim, True, exception=ABSENT)
    expect_calls(agent, w, [cancelled(victim), killed(victim, "cancel", why)])


@pytest.mark.parametrize("libc", PROGRAMS)
def test_cancel_of_a_program_that_started_later(agent, start_calls, libc):
    needs_uprobes(agent)
    w = start_calls(libc)
    # A library that some other process maps is probed already, and nothing more is said of it.
    if "static" in libc:
        probed(agent, program(libc))
    elif libc == "musl":
        agent.err.wait(lambda: any("musl" in line for line in agent.errors), 60)
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    expect(agent, w, [cancelled(victim)], kinds=("thread-cancel",))


def test_cancel_of_a_blocked_thread(agent, start_calls):
    needs_uprobes(agent)
    w = start_calls()
    victim = w.begin("victim", "read")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    expect(agent, w, [cancelled(victim)], kinds=("thread-cancel",))


def test_cancel_twice(start_agent, start_calls):
    """The second one does nothing: the first is why it ended."""
    agent = start_agent("--no-limit")
    needs_uprobes(agent)
    w = start_calls()
    victim = w.begin("victim", "masked")
    w.do("cancel victim", "cancelled")
    w.do("cancel victim", "cancelled")
    w.do("go victim", "went")
    w.do("join victim", "joined")
    if agent.reason("cancel") != "cancel":
        expect_calls(agent, w, [cancelled(victim)] * 2)
        return
    agent.wait_for(kind="thread-killed", pid=w.pid)
    why = cause(agent, "thread-cancel", victim, True)
    first = agent.wait_for(kind="thread-cancel", pid=w.pid)
    assert why["id"] == first["id"]
    expect_calls(agent, w, [cancelled(victim), cancelled(victim), killed(victim, "cancel", why)])


def test_cancel_of_itself(agent, start_calls):
    needs_uprobes(agent)
    w = start_calls()
    w.go("self")
    me = {**w.event("self"), "name": "self"}
    assert w.event("joined")["cancelled"] == 1
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    said = cancelled({**me, "ident": "0x0"}, sender=sender(me, me["tid"], "self"), ident=ANY)
    expect(agent, w, [said], kinds=("thread-cancel",))


@pytest.mark.parametrize("libc", PROGRAMS)
def test_cancel_of_a_thread_that_ended(start_agent, start_calls, libc):
    """Its descriptor is still there, and names nobody."""
    w = start_calls(libc)
    agent = start_agent()
    needs_uprobes(agent)
    late = w.begin("late", "spin")
    w.do("end late", "gone")
    w.do("cancel late", "cancelled")
    nobody = cancelled(late, thread=ABSENT, named="ended-thread")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    expect_calls(agent, w, [nobody])


@pytest.mark.parametrize("libc", PROGRAMS)
def test_cancel_of_garbage(start_agent, start_calls, libc):
    w = start_calls(libc)
    agent = start_agent()
    needs_uprobes(agent)
    event = w.do("garbage", "cancelled")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    expect_calls(agent, w, [cancelled({**event, "name": ANY}, thread=ABSENT, named="no-thread")])


def test_worker_that_returns(agent, start_calls):
    """One that is never cancelled, one that ends before the cancel could act: no end by force."""
    needs_uprobes(agent)
    w = start_calls()
    w.begin("clean", "spin")
    w.do("end clean", "gone")
    masked = w.begin("masked", "masked")
    w.do("cancel masked", "cancelled")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    expect_calls(agent, w, [cancelled(masked)])


def test_burst_of_cancels(start_agent, start_calls):
    """Each is told, none twice, in order."""
    agent = start_agent("--no-limit", in_file=True)
    needs_uprobes(agent)
    w = start_calls()
    count = w.do("burst 10000", "burst")["count"]
    last = "thread-cancel" if agent.reason("cancel") != "cancel" else "thread-killed"
    agent.wait_for(kind=last, pid=w.pid, count=count, timeout=300)
    agent.stop()
    said = [a for a in agent.alerts_of(w.pid, kinds=CALL_KINDS)]
    cancels = [a for a in said if a["kind"] == "thread-cancel"]
    kills = [a for a in said if a["kind"] == "thread-killed"]
    assert len(cancels) == count
    assert all(a["thread"]["tid"] and a["thread"]["start_ticks"] for a in cancels)
    if last == "thread-killed":
        assert len(kills) == count
        by_thread = {(a["thread"]["tid"], a["cause"]["id"]) for a in kills}
        assert by_thread == {(a["thread"]["tid"], a["id"]) for a in cancels}


def test_locks_of_a_cancelled_thread(agent, start_calls):
    """The orphan says who did it, and the end how many locks were found."""
    needs_uprobes(agent)
    w = start_calls()
    victim = w.begin("victim", "spin", "lock")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    reason = agent.reason("cancel")
    orphan = agent.wait_for(kind="lock-orphaned", pid=w.pid)
    why = cause(agent, "thread-cancel", victim, reason == "cancel")
    assert orphan["locks"][0]["address"] == address(victim["lock"])
    orphaned = {"kind": "lock-orphaned", "thread": thread(victim), "cause": why}
    kinds = ("thread-cancel", "lock-orphaned", "thread-killed")
    if reason != "cancel":
        expect(agent, w, [cancelled(victim), orphaned], kinds=kinds)
        return
    agent.wait_for(kind="thread-killed", pid=w.pid)
    expect(agent, w, [cancelled(victim), orphaned, killed(victim, "cancel", why, locks=1)],
           kinds=kinds)


def test_seccomp(agent, start_steps):
    """It needs no probe: how the thread ended proves it."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner seccomp")
    if agent.reason("seccomp") != "seccomp":
        pytest.skip("this exit hook runs before the kernel notes the signal")
    agent.wait_for(kind="thread-killed", pid=w.pid)
    said = killed({**owner, "name": "owner"}, "seccomp", ABSENT, locks=1)
    expect(agent, w, [said], kinds=("thread-killed",))


# --- PyThreadState_SetAsyncExc -------------------------------------------------------------------


@pytest.mark.parametrize("python", pythons())
def test_exception_ends_a_thread(start_agent, start_python, python):
    w = start_python(python)
    agent = start_agent()
    needs_uprobes(agent)
    victim = w.begin("victim", "spin")
    assert w.throw("victim", "SystemExit")["result"] == 1
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-killed", pid=w.pid)
    why = cause(agent, "async-exception", victim, False, exception="SystemExit")
    expect_calls(agent, w, [
        thrown(victim, "SystemExit", "pending"),
        ended(victim, "SystemExit"),
        killed(victim, agent.reason("return"), why),
    ])


def test_exception_in_a_blocked_thread(agent, start_python):
    """It acts when the system call is over, however long that takes, and is said to be pending in it."""
    needs_uprobes(agent)
    w = start_python()
    victim = w.begin("victim", "read")
    # Told before it is asked where the thread is: it blocks in the end.
    wait_for_call(victim["tid"], "read")
    w.throw("victim", "Stop")
    agent.wait_for(kind="async-exception", pid=w.pid, state="pending")
    agent.wait_sweeps(3)  # time passes, and it is still there
    w.do("wake victim", "woken")
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-killed", pid=w.pid)
    why = cause(agent, "async-exception", victim, False, exception="Stop")
    expect_calls(agent, w, [
        thrown(victim, "Stop", "pending", blocked_in={"call": "read", "number": 0}),
        ended(victim, "Stop"),
        killed(victim, agent.reason("return"), why),
    ])


def wait_for_call(tid, name, number=0):
    """Until the thread is blocked in that system call."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        text = pathlib.Path(f"/proc/{tid}/syscall").read_text()
        if text.split()[0] == str(number):
            return
    raise AssertionError(f"thread {tid} is not in {name}: {text}")


def test_exception_that_is_caught(agent, start_python):
    """Its thread goes on for longer than an exception could matter, then ends: not by force."""
    needs_uprobes(agent)
    w = start_python()
    victim = w.begin("victim", "catch")
    w.throw("victim", "Stop")
    w.do("caught victim", "caught")
    agent.wait_sweeps(12)  # one a second: longer than CAUSE_NS
    w.do("stop victim", "stopped")
    agent.wait_sweeps(2)
    expect_calls(agent, w, [thrown(victim, "Stop", "pending")])


def test_exception_that_is_taken_back(agent, start_python):
    needs_uprobes(agent)
    w = start_python()
    victim = w.begin("victim", "read")
    wait_for_call(victim["tid"], "read")
    w.throw("victim", "Stop")
    w.throw("victim", "none")
    w.do("wake victim", "woken")
    w.do("stop victim", "stopped")
    agent.wait_sweeps(2)
    expect_calls(agent, w, [
        thrown(victim, "Stop", "pending"),
        thrown(victim, ABSENT, "revoked"),
    ])


def test_nothing_to_take_back(agent, start_python):
    needs_uprobes(agent)
    w = start_python()
    w.begin("victim", "spin")
    w.throw("victim", "none")
    w.do("stop victim", "stopped")
    agent.wait_sweeps(2)
    expect_calls(agent, w, [])


def test_exception_for_a_native_tid(agent, start_python):
    """The classic mistake: the call wants threading.get_ident()."""
    needs_uprobes(agent)
    w = start_python()
    victim = w.begin("victim", "spin")
    assert w.throw("victim", "SystemExit", "throw-tid")["result"] == 0
    agent.wait_for(kind="async-exception", pid=w.pid)
    w.do("stop victim", "stopped")
    expect_calls(agent, w, [thrown(
        victim, "SystemExit", "no-such-thread", thread=ABSENT, named="no-thread",
        ident=hex(victim["tid"]), native_tid=victim["tid"],
    )])


def wait_ended(event):
    """Until the kernel has no such thread any more."""
    until = time.monotonic() + TIMEOUT
    while os.path.exists(f"/proc/{event['pid']}/task/{event['tid']}"):
        assert time.monotonic() < until, f"{event} does not end"


def test_exception_for_a_thread_that_ended(agent, start_python):
    needs_uprobes(agent)
    w = start_python()
    late = w.begin("late", "spin")
    w.do("stop late", "stopped")
    # Python's join() is over before the thread is.
    wait_ended(late)
    assert w.throw("late", "SystemExit")["result"] == 0
    agent.wait_for(kind="async-exception", pid=w.pid)
    # Its stack may be kept, given back, or another thread's by then.
    expect_calls(agent, w, [thrown(
        late, "SystemExit", "no-such-thread", thread=ABSENT,
        named=one_of("ended-thread", "no-thread"),
    )])


# --- where the files are, and when they come -----------------------------------------------------


def test_library_loaded_later(agent, start_workload, tmp_path):
    """A libpython that a running program loads, at a place where nobody looked before."""
    library = shared_python()
    copy = tmp_path / library.name
    shutil.copy(library, copy)
    needs_uprobes(agent)
    w = start_workload("call_load", kind=Steps)
    w.event("ready")
    w.do(f"load {copy}", "loaded")
    probed(agent, copy)
    child = w.do("throw", "thrown")["child"]
    agent.wait_for(kind="async-exception", pid=child)
    expect(agent, child, [{"kind": "async-exception", "state": "no-such-thread"}],
           kinds=("async-exception",))


def shared_python():
    """A libpython on this host."""
    if not shutil.which("ldconfig", path="/sbin:/usr/sbin"):
        pytest.skip("no ldconfig here to ask for a libpython")
    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True,
                           env={**os.environ, "PATH": "/sbin:/usr/sbin:" + os.environ["PATH"]})
    for line in found.stdout.splitlines():
        if "libpython3" in line and "x86-64" in line:
            return pathlib.Path(line.split("=> ")[1])
    pytest.skip("there is no shared libpython here")


def test_copy_in_another_mount_namespace(agent, start_workload, tmp_path):
    """As in a container: its own files, at paths that mean other files outside."""
    needs_uprobes(agent)
    static = program("glibc, static")
    script = f"mount -t tmpfs none {tmp_path} && cp {static} {tmp_path}/steps && exec {tmp_path}/steps"
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    w = start_workload("/bin/sh", "-c", script, kind=Steps, prefix=["unshare", "-m"])
    w.event("ready")
    assert not (tmp_path / "steps").exists()
    probed(agent, tmp_path / "steps")
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    w.do("join victim", "joined")
    expect(agent, w, [cancelled(victim)], kinds=("thread-cancel",))


def test_deleted_file(start_agent, start_workload, tmp_path):
    """It runs on, and is probed, though no path leads to it any more."""
    copy = tmp_path / "steps"
    shutil.copy(program("glibc, static"), copy)
    w = start_workload(str(copy), kind=Steps)
    w.event("ready")
    copy.unlink()
    agent = start_agent()
    needs_uprobes(agent)
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    w.do("join victim", "joined")
    expect(agent, w, [cancelled(victim)], kinds=("thread-cancel",))


def test_file_out_of_use_is_let_go(agent, start_workload, tmp_path):
    """A probe holds its file and the file system: nobody could unmount it."""
    needs_uprobes(agent)
    alone(agent)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        shutil.copy(program("glibc, static"), disk / "steps")
        w = start_workload(str(disk / "steps"), kind=Steps)
        w.event("ready")
        probed(agent, disk / "steps")
        w.go("quit")
        w.wait()
        wait_prober(agent, "taken away")
        subprocess.run(["umount", disk], check=True)
    finally:
        subprocess.run(["umount", "-l", disk], check=False, capture_output=True)


def test_container_numbers(agent, start_workload):
    """In a PID namespace of its own a descriptor holds other numbers than the host's."""
    needs_uprobes(agent)
    w = start_workload("call_steps", kind=Steps, pid_ns=True)
    w.event("ready")
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    main = victim["pid"]
    agent.wait_for(kind="thread-cancel", pid=main)
    said = cancelled(victim)
    assert victim["tid"] != victim["ns_tid"]
    said["thread"]["ns_tid"] = victim["ns_tid"]
    expect(agent, main, [said], kinds=("thread-cancel",))


# --- no harm -------------------------------------------------------------------------------------

WAYS = {"call_unwind_c": ["cancel", "cancel-at-once", "exit"],
        "musl_call_unwind_c": ["cancel", "cancel-at-once", "exit"],
        "call_unwind": ["cancel", "cancel-at-once", "exit", "throw"]}


@pytest.mark.parametrize("name", WAYS)
def test_unwinding(start_agent, start_workload, name):
    """Cleanup handlers and destructors run with the probes in place, as without; nothing stays locked."""
    w = start_workload(name)
    agent = start_agent()
    needs_uprobes(agent)
    w.go("begin")
    for way in WAYS[name]:
        left = w.event("left", way=way)
        assert left["free"] == 1, f"{way}: the mutex stayed locked"
        assert left["cleaned"] == 1, way
        assert left.get("destroyed", 1) == 1, way
    w.end()
    agent.stop()
    cancels = agent.alerts_of(w.pid, kinds=("thread-cancel",))
    assert len(cancels) == 2, agent.said()


def parent_of(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rsplit(") ", 1)[1].split()[1])


def alone(*agents):
    """Skips where others than these write breakpoints and hold files, too. Those whose agent has ended
    are waited for: what a deep one probed takes seconds to go."""
    own = [pid for agent in agents for pid in prober_pids(agent)]
    pids = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
    for keeper in (pid for pid in pids if comm_of(pid) == "deadhold-keeper" and pid not in own):
        if comm_of(parent_of(keeper)) == "deadhold":
            pytest.skip("another deadhold runs here")
        wait_gone(keeper)


def test_no_uprobes(start_agent, start_calls):
    """Nothing is written into any program, and nothing is said of calls."""
    alone()
    w = start_calls()
    before = text_of(w.pid, "libc.so.6")
    agent = start_agent("--no-uprobes")
    assert agent.ready["uprobes"] == {"state": "off"}
    assert text_of(w.pid, "libc.so.6") == before
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    agent.wait_sweeps(2)
    # That it was cancelled shows in how it ended; by whom only in the signal that libc sends itself
    # where the thread is in a cancellation point: here in the write() that said it spins, or no more.
    reason = agent.reason("cancel")
    sent = {"kind": "thread-signal", "signal": "SIGCANCEL", "certain": False, "sender": ANY}
    signals = [a for a in agent.alerts_of(w.pid) if a["kind"] == "thread-signal"]
    why = sent if signals else ABSENT
    said = [killed(victim, "cancel", why)] if reason == "cancel" else []
    expect_calls(agent, w, said)


def test_breakpoints_go_with_the_agent(start_calls):
    """What is written into programs is gone when the agent is, however it ends."""
    alone()
    w = start_calls()
    clean = text_of(w.pid, "libc.so.6")
    with Agent() as agent:
        needs_uprobes(agent)
        assert text_of(w.pid, "libc.so.6") != clean
        prober = prober_pids(agent)
        assert prober
        agent.kill()  # SIGKILL
        for pid in prober:
            wait_gone(pid)
    assert text_of(w.pid, "libc.so.6") == clean


def prober_pids(agent):
    """The keeper and the worker."""
    pids = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid, rest = text.split(" (", 1)
        name, fields = rest.rsplit(") ", 1)
        parent = int(fields.split()[1])
        if name in ("deadhold-keeper", "deadhold-prober"):
            if parent == agent.process.pid or parent in pids:
                pids.append(int(pid))
    return pids


def wait_gone(pid):
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 60)[0], f"{pid} is still there"
    finally:
        os.close(fd)


def lost(agent):
    """Waits until it is said that one probe, or what goes with it, was lost."""
    said = agent.wait_for(lambda a: a["kind"] == "loss" and "probes" in a["where"], timeout=120)
    assert said["where"]["probes"] == 1, said


def test_worker_dies(start_agent, start_calls):
    """The probes stay, another worker goes on, and it is counted."""
    w = start_calls()
    agent = start_agent(allow_loss=True)
    needs_uprobes(agent)
    keeper, worker = prober_pids(agent)
    os.kill(worker, signal.SIGKILL)
    lost(agent)
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    assert prober_pids(agent)[0] == keeper
    expect(agent, w, [cancelled(victim)], kinds=("thread-cancel",))


def test_worker_is_stuck(start_agent, start_calls):
    """One that does not go on is replaced."""
    agent = start_agent(allow_loss=True)
    needs_uprobes(agent)
    keeper, worker = prober_pids(agent)
    os.kill(worker, signal.SIGSTOP)
    lost(agent)
    wait_gone(worker)
    w = start_calls("glibc, static")  # which the successor finds
    probed(agent, program("glibc, static"))
    victim = w.begin("victim", "spin")
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    expect(agent, w, [cancelled(victim)], kinds=("thread-cancel",))


def test_keeper_dies(start_agent, start_calls):
    """With the probes: said and counted, and the agent goes on."""
    agent = start_agent(allow_loss=True)
    needs_uprobes(agent)
    os.kill(prober_pids(agent)[0], signal.SIGKILL)
    lost(agent)
    assert any("prober has ended" in line for line in agent.errors)
    agent.stop()


FILTERS = {
    "none": ("", True),
    "pid": ("-p {p}", True),
    "another pid": ("-p {q}", False),
    "target": ("-t {victim}", True),
    "another thread": ("-t {p}", False),
    "sender": ("--sender-pid {p}", True),
    "another sender": ("--sender-pid {q}", False),
    "kind": ("-k thread-cancel", True),
    "another kind": ("-k async-exception", False),
    "comm": ("--comm call_st*", True),
    "not comm": ("--not-comm call_steps", False),
    "signal": ("-s TERM", True),  # of signals alone
}


@pytest.mark.parametrize("case", FILTERS if SCALE >= 1 else ["pid", "another sender"])
def test_filters(agent, start_agent, start_calls, case):
    needs_uprobes(agent)
    options, said = FILTERS[case]
    w, far = start_calls(), start_calls()
    victim = w.begin("victim", "spin")
    filtering = start_agent(*options.format(p=w.pid, q=far.pid, victim=victim["tid"]).split())
    needs_uprobes(filtering)
    w.do("cancel victim", "cancelled")
    w.do("join victim", "joined")
    agent.wait_for(kind="thread-cancel", pid=w.pid)
    filtering.wait_sweeps(2)
    expect(filtering, [w, far], [cancelled(victim)] if said else [], kinds=("thread-cancel",))
