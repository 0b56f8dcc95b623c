# SPDX-License-Identifier: GPL-2.0-only
"""Incidents: one story from the cause to those who suffer; and none where nobody does."""

import os
import pathlib
import re
import signal
import sys

import pytest

from calls import needs_uprobes
from deadhold import ABSENT, ANY, address, any_order, difference, matching, one_of
from signals import SIGTERM, SIGUSR1, Actor, RawAgent
from steps import held_at_its_end, lock, thread
from test_signals import CONTAINER, cgroup  # noqa: F401 # a fixture

SERVICE = pathlib.Path(__file__).with_name("python_service.py")
NONE = {"kind": "none"}


@pytest.fixture
def start_actor(start_workload):
    def start(*words, **settings):
        return Actor(start_workload, *words, **settings)

    return start


def incidents(agent, pid):
    return [a for a in agent.alerts if a["kind"] == "incident" and a["process"]["pid"] == pid]


def expect_incidents(agent, pid, expected):
    """Exactly these were said of the process, with one id and revisions that count up."""
    agent.stop()
    got = incidents(agent, pid)
    wrong = difference(got, expected)
    assert wrong is None, f"{wrong}{agent.said()}"
    assert [a["revision"] for a in got] == list(range(1, len(got) + 1))
    assert len({a["incident_id"] for a in got}) <= 1
    said = {a["id"]: a for a in agent.alerts}
    for a in got:
        # The links are alerts that were said before, in order, about this process.
        links = [said[link] for link in a["chain"]]
        assert [link["seq"] for link in links] == sorted({link["seq"] for link in links})
        assert all(link["seq"] < a["seq"] for link in links)
    return got


def opened(w, owner, victims, **members):
    return {
        "kind": "incident",
        "severity": "critical",
        "state": "open",
        "close_reason": ABSENT,
        "process": {"pid": w.pid},
        "dead_count": 1,
        "dead": [{"thread": thread(owner), "exit": ANY}],
        "victims": {"count": len(victims), "sample": any_order(victims)},
        **members,
    }


def victim(event, **members):
    return {"thread": thread(event), "process": ABSENT, "behind": ABSENT, **members}


def kinds_of(agent, alert):
    said = {a["id"]: a["kind"] for a in agent.alerts}
    return [said[link] for link in alert["chain"]]


# --- Threads that hang. ---------------------------------------------------------------------------


def test_hangs_and_is_over(agent, start_steps):
    """Opened by the first thread that hangs, closed when another one unlocks."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="incident", pid=w.pid, state="open")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    w.do("other unlock A")
    w.then("waiter lock A")
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    late = agent.rung("exit") == "late"  # how a thread ended, it can't tell
    cause = one_of(NONE, ABSENT) if late else NONE
    first = opened(w, owner, [victim(b, lock=0)], locks=[lock(owner)], locks_count=1, cause=cause,
                   headline=f"lock_steps[{w.pid}]: 1 hangs behind dead owner[{owner['tid']}]",
                   hint=matching("^only a restart frees what is stuck"))
    last = {**first, "state": "closed", "close_reason": "foreign-unlock",
            "hint": ABSENT if late else matching("^its function ended without unlocking: ")}
    got = expect_incidents(agent, w.pid, [first, last])
    assert kinds_of(agent, got[1]) == ["lock-orphaned", "orphan-wait", "orphan-cleared"]
    assert got[1]["message"] == "over: " + got[0]["message"] == "over: " + got[0]["headline"]


def test_waiter_comes_later(agent, start_steps):
    """An orphan that nobody wants is no incident; with the process it is over."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    agent.wait_sweeps(2)
    assert not incidents(agent, w.pid)
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="incident", pid=w.pid, state="open")
    w.end()
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    first = opened(w, owner, [victim(b)])
    expect_incidents(agent, w.pid, [first, {**first, "state": "closed",
                                            "close_reason": "process-exit"}])


def test_who_waits_for_those_who_wait(agent, start_steps):
    """Threads that hold what others want hang behind the orphan; so do those others, and those who
    wait for them. One that waits for a live thread does not."""
    w = start_steps("normal", "normal", "normal", "normal")
    owner = w.do("owner lock A")
    w.do("b lock B")
    w.do("c lock C")
    w.do("busy lock D")
    b = w.blocks("b lock A")
    c = w.blocks("c lock B")
    d = w.blocks("d lock C")
    w.blocks("e lock D")
    agent.wait_sweeps(3)
    assert not incidents(agent, w.pid)
    w.dies("owner return")
    agent.wait_for(kind="incident", pid=w.pid, victims={"count": 3})
    agent.wait_sweeps(2)
    first = opened(w, owner, [victim(b)])
    grown = {
        **first,
        "state": "updated",
        "victims": {
            "count": 3,
            "sample": [victim(b), victim(c, behind=thread(b), lock=ABSENT),
                       victim(d, behind=thread(c), lock=ABSENT)],
        },
    }
    expect_incidents(agent, w.pid, [first, grown])


def start_shared(start_steps, path, n, **settings):
    """n processes that share four mutexes in a file, mapped at different addresses."""
    words = ["normal"] * 4
    first = start_steps("init", path, *words)
    return [first, *(start_steps("join", path, *words, **settings) for _ in range(n - 1))]


@pytest.mark.parametrize("end", ["return", "SIGKILL"])
def test_who_waits_in_other_processes(agent, start_steps, tmp_path, end):
    """Through memory that processes share: behind a thread of another process that hangs, hangs a third
    one's, and behind that one of the second again. Not who waits there for a thread that is alive; nor
    who waits for a lock at the same place of another file."""
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook can't read whose lock it was")
    ours, theirs, third = start_shared(start_steps, tmp_path / "shared", 3)
    (others,) = start_shared(start_steps, tmp_path / "others", 1)
    owner = ours.do("owner lock A")
    theirs.do("b lock B")
    third.do("c lock C")
    theirs.do("busy lock D")
    others.do("x lock B")
    b = theirs.blocks("b lock A")
    c = third.blocks("c lock B")
    d = theirs.blocks("d lock C")
    third.blocks("e lock D")
    others.blocks("y lock B")
    assert len({b["lock"], owner["lock"]}) == 2, "mapped at different addresses"
    agent.wait_sweeps(3)
    assert not incidents(agent, ours.pid)
    if end == "return":
        ours.dies("owner return")
    else:
        os.kill(ours.pid, signal.SIGKILL)
    agent.wait_for(kind="incident", pid=ours.pid, victims={"count": 3})
    agent.wait_sweeps(2)
    here, there = {"pid": theirs.pid}, {"pid": third.pid}
    stuck = [
        victim(b, process=here, lock=0),
        victim(c, process=there, behind=thread(b), behind_process=here, lock=ABSENT),
        victim(d, process=here, behind=thread(c), behind_process=there, lock=ABSENT),
    ]
    first = opened(ours, owner, stuck[:1])
    grown = {**first, "state": "updated", "victims": {"count": 3, "sample": stuck}}
    expect_incidents(agent, ours.pid, [first, grown])
    for w in theirs, third, others:
        assert not incidents(agent, w.pid), agent.said()


def test_number_of_another_namespace(agent, start_steps, tmp_path):
    """Of who waits for a lock that processes of several PID namespaces map, it is not known for whom: the
    number in it may be that of a thread that hangs and of the one that has it."""
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook can't read whose lock it was")
    ours, theirs = start_shared(start_steps, tmp_path / "shared", 2, pid_ns=True)
    owner = theirs.do("owner lock A")
    theirs.do("b lock B")
    b = theirs.blocks("b lock A")
    ours.blocks("c lock B")
    agent.wait_sweeps(2)
    theirs.dies("owner return")
    agent.wait_for(kind="incident", pid=b["pid"])
    agent.wait_sweeps(3)
    expect_incidents(agent, b["pid"], [opened(theirs, owner, [victim(b)], process={"pid": b["pid"]})])
    assert not incidents(agent, ours.pid)


def test_many_hang(agent, start_steps):
    """Counted as they come, told in steps, eight by name; exactly at the end."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    events = []
    for i in range(12):
        events.append(w.blocks(f"w{i} lock A"))
        agent.wait_for(kind="orphan-wait", pid=w.pid, thread=thread(events[-1])) if i < 8 else None
    agent.wait_for(kind="incident", pid=w.pid, victims={"count": 10})
    agent.wait_sweeps(2)
    w.end()
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    agent.stop()
    got = incidents(agent, w.pid)
    assert [a["victims"]["count"] for a in got] == [1, 2, 5, 10, 12], agent.said()
    names = [v["thread"]["name"] for v in got[-1]["victims"]["sample"]]
    assert names == [f"w{i}" for i in range(8)]
    assert got[-1]["dead"][0]["thread"]["tid"] == owner["tid"]


def test_two_deaths_one_story(agent, start_steps):
    """Two threads that die with their locks, and all who hang behind either: one incident."""
    w = start_steps("normal", "normal")
    first = w.do("one lock A")
    second = w.do("two lock B")
    a = w.blocks("a lock A")
    b = w.blocks("b lock B")
    w.dies("one return")
    w.dies("two return")
    agent.wait_for(kind="incident", pid=w.pid, dead_count=2, victims={"count": 2})
    w.end()
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    agent.stop()
    last = incidents(agent, w.pid)[-1]
    assert difference(last, {
        "dead": [{"thread": thread(first)}, {"thread": thread(second)}],
        "locks_count": 2,
        "victims": {"count": 2, "sample": [victim(a, lock=0), victim(b, lock=1)]},
        "headline": f"lock_steps[{w.pid}]: 2 hang behind 2 dead threads",
    }) is None, last
    assert len({i["incident_id"] for i in incidents(agent, w.pid)}) == 1


def test_incidents_alone(start_agent, start_steps):
    """What one leaves running: nothing else is said, and the story is whole."""
    agent = start_agent("-k", "incident")
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="incident", pid=w.pid, state="open")
    w.end()
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    agent.stop()
    assert {a["kind"] for a in agent.alerts} <= {"ready", "incident", "summary"}
    for a, state in zip(incidents(agent, w.pid), ["open", "closed"], strict=True):
        assert difference(a, opened(w, owner, [victim(b)], state=state, chain=[], locks=[lock(owner)],
                                    close_reason=ANY if state == "closed" else ABSENT)) is None


# --- Threads that were killed. --------------------------------------------------------------------


def test_seccomp_with_a_lock(agent, start_steps):
    """A thread is killed with a lock that nobody wants yet: a warning; critical when somebody does."""
    if agent.rung("exit") == "fentry-early":
        pytest.skip("the earliest exit hook can't tell that seccomp did it")
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.dies("owner seccomp")
    agent.wait_for(kind="incident", pid=w.pid, state="open")
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="incident", pid=w.pid, state="updated")
    dead = [{"thread": thread(owner), "exit": {"reason": "seccomp", "signal": "SIGSYS"}}]
    first = opened(w, owner, [], severity="warning", dead=dead, cause=ABSENT,
                   headline=f"lock_steps[{w.pid}]: owner[{owner['tid']}] killed with 1 lock")
    second = opened(w, owner, [victim(b)], state="updated", dead=dead)
    expect_incidents(agent, w.pid, [first, second])


def cancelled_with_a_lock(w):
    """A worker is cancelled where it waits for a condition, and dies with the mutex that goes with it,
    which others want."""
    w.do("worker lock A")
    owner = w.blocks("worker wait A")
    w.do("other lock A")
    w.do("cancel worker A", "blocked")  # behind the other
    b = w.blocks("client lock A")
    w.do("other unlock A")
    return owner, b


def test_cancelled(agent, start_steps):
    """From the cancel, by whom, to the thread that hangs."""
    needs_uprobes(agent)
    w = start_steps("normal")
    owner, b = cancelled_with_a_lock(w)
    agent.wait_for(kind="incident", pid=w.pid, state="open")
    agent.wait_for(kind="thread-killed", pid=w.pid)
    w.end()
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    certain = agent.rung("exit") != "late"
    cause = {
        "kind": "thread-cancel",
        "id": ANY,
        "sender": {"process": {"pid": w.pid}, "thread": {"tid": w.pid}},
        "before_ms": ANY,
        "certain": certain,
    }
    first = opened(w, owner, [victim(b)], cause=cause,
                   dead=[{"thread": thread(owner), "exit": {"reason": agent.reason("cancel")},
                          "cause": cause}])
    got = expect_incidents(agent, w.pid, [first, {**first, "state": "closed",
                                                  "close_reason": "process-exit"}])
    kinds = kinds_of(agent, got[1])
    assert kinds[0] == "thread-cancel" and "thread-killed" in kinds, kinds
    (cancel,) = [a for a in agent.alerts if a["id"] == got[0]["cause"]["id"]]
    assert cancel["kind"] == "thread-cancel" and cancel["thread"]["tid"] == owner["tid"]


@pytest.fixture
def start_service(start_workload):
    """python_service.py, its interpreter known to the prober."""

    def start(agent):
        w = start_workload(sys.executable, SERVICE)
        w.event("ready")
        path = pathlib.Path(sys.executable).resolve()
        assert agent.err.wait(
            lambda: any(f"in {path}" in line for line in agent.errors if "prober: " in line), 60
        ), agent.said()
        return w

    return start


def service_step(w, step, says):
    w.go(step)
    return w.event(says)


def test_exception_in_python(agent, start_service):
    """SystemExit thrown into a Python thread that holds a lock of a C library: what can be seen is that
    it ended after that, never that it ended by that."""
    needs_uprobes(agent)
    w = start_service(agent)
    worker = service_step(w, "worker job-1", "holds")
    client = service_step(w, "client job-2", "wants")
    service_step(w, "throw job-1", "thrown")
    agent.wait_for(kind="incident", pid=w.pid, victims={"count": 1})
    service_step(w, "release", "released")
    agent.wait_for(kind="incident", pid=w.pid, state="closed")
    agent.stop()
    first, *_, last = incidents(agent, w.pid)
    cause = {
        "kind": "async-exception",
        "exception": "SystemExit",
        "sender": {"process": {"pid": w.pid}, "thread": {"tid": w.pid}},
        "certain": False,
    }
    for a in first, last:
        assert difference(a, {
            "cause": cause,
            "dead": [{"thread": {"tid": worker["tid"], "name": "job-1"}, "cause": cause}],
            "locks": [{"address": worker["lock"], "type": "mutex"}],
        }) is None, a
    assert [v["thread"]["tid"] for v in last["victims"]["sample"]] == [client["tid"]]
    assert last["close_reason"] == "foreign-unlock"
    assert "async-exception" in kinds_of(agent, last)


def test_clean_service_in_python(agent, start_service):
    """The same, but nobody throws: the lock is contended, and no incident comes of it."""
    w = start_service(agent)
    service_step(w, "worker job-1", "holds")
    service_step(w, "client job-2", "wants")
    agent.wait_sweeps(3)
    expect_incidents(agent, w.pid, [])


def test_signal_before_the_end(agent, start_actor, start_steps):
    """A thread that was signalled and ended: order and distance, no claim."""
    w = start_steps("normal")
    owner = w.do("owner lock A")
    w.blocks("waiter lock A")
    sender = start_actor(name="sig-sender", threads=["s1"])
    sender.send_ids("tgkill", signal.SIGSTOP, w.pid, owner["tid"])
    os.kill(w.pid, signal.SIGCONT)
    w.dies("owner return")
    got = agent.wait_for(kind="incident", pid=w.pid, state="open")
    assert difference(got["cause"], {
        "kind": "thread-signal",
        "signal": "SIGSTOP",
        "sender": sender.sender(),
        "certain": False,
        "before_ms": ANY,
    }) is None, got
    assert kinds_of(agent, got)[0] == "thread-signal"


# --- Signals that end processes. ------------------------------------------------------------------


@pytest.mark.parametrize("call, kind", [("tgkill", "thread-signal"), ("kill", "tid-kill")])
@pytest.mark.parametrize("number", [SIGTERM, signal.SIGKILL, 37])
def test_signal_ends_the_process(agent, start_actor, call, kind, number):
    """Aimed at one thread; the kernel ends them all. By that very send: so it is certain."""
    target = start_actor(name="sig-web", threads=["http-1", "worker-3"])
    sender = start_actor(name="sig-watchdog", threads=["checker"])
    sender.send(call, number, target, to=2)
    target.workload.wait()
    agent.wait_for(kind="incident", pid=target.pid, state="closed")
    name = signal.Signals(number).name if number < 34 else "SIGRTMIN+3"
    cause = {"kind": kind, "signal": name, "sender": sender.sender(), "certain": True}
    for each in ("process", "thread"):  # what is read from /proc may come too late
        cause["sender"][each].pop("parent_comm", None)
    first = {
        "severity": "critical",
        "state": "open",
        "cause": cause,
        "headline": f"{name} at thread {target.threads[2]['tid']} ended all of sig-web[{target.pid}]",
        "dead": [{"thread": {"tid": target.threads[2]["tid"], "name": "worker-3"},
                  "exit": {"reason": "process-killed", "signal": name}}],
        "locks": [],
        "victims": {"count": 0, "sample": []},
    }
    got = expect_incidents(agent, target.pid, [first, {**first, "state": "closed",
                                                       "close_reason": "process-exit"}])
    assert kinds_of(agent, got[0]) == [kind]


def test_end_is_held_up(agent, start_actor):
    """A process that is ending may take its time: it is not over before it is."""
    target = start_actor(name="sig-web", threads=["http-1"])
    sender = start_actor(name="sig-watchdog", threads=["checker"])
    with held_at_its_end(target.pid) as end:
        sender.send("tgkill", SIGTERM, target)
        end()
        agent.wait_for(kind="incident", pid=target.pid, state="open")
        agent.wait_sweeps(6)
        assert [a["state"] for a in incidents(agent, target.pid)] == ["open"], agent.said()
    target.workload.wait()
    agent.wait_for(kind="incident", pid=target.pid, state="closed")
    first = {"state": "open", "hint": matching("^no signal ends one thread")}
    expect_incidents(agent, target.pid, [first, {**first, "state": "closed",
                                                 "close_reason": "process-exit"}])


def test_core_dump(agent, start_actor):
    """A signal that dumps core ends the process by the thread that takes it: after the send, and by that
    number, is all that can be said."""
    target = start_actor(name="sig-web", threads=["http-1"])
    sender = start_actor(name="sig-watchdog", threads=["checker"])
    sender.send("tgkill", signal.SIGABRT, target)
    target.workload.wait()
    agent.wait_for(kind="incident", pid=target.pid, state="closed")
    first = {"state": "open", "cause": {"kind": "thread-signal", "signal": "SIGABRT",
                                        "certain": False}}
    expect_incidents(agent, target.pid, [first, {**first, "state": "closed"}])


@pytest.mark.parametrize("how", ["handled", "ignored", "blocked", "at the process", "another one"])
def test_no_incident_of_a_signal(agent, start_actor, how):
    """A signal that does not end the process; or one that does, but was aimed at nobody."""
    words = {"handled": [f"handle={SIGUSR1}"], "ignored": [f"ignore={SIGUSR1}"],
             "blocked": [f"block={SIGUSR1}"]}
    target = start_actor(*words.get(how, []), name="sig-web", threads=["http-1"])
    sender = start_actor(name="sig-watchdog", threads=["checker"])
    if how == "at the process":
        sender.send("kill", SIGTERM, target, to=0)
        target.workload.wait()
    elif how == "another one":
        sender.send("tgkill", signal.SIGWINCH, target)
        sender.send("kill", SIGTERM, target, to=0)
        target.workload.wait()
    else:
        sender.send("tgkill", SIGUSR1, target)
    agent.wait_sweeps(2)
    expect_incidents(agent, target.pid, [])


# --- No incident. ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, wait", [("robust", "lock"), ("normal", "timed")])
def test_nobody_hangs(agent, start_steps, kind, wait):
    """A robust lock is recovered by who gets it; a timed wait ends."""
    w = start_steps(kind)
    w.do("owner lock A")
    if wait == "timed":
        w.blocks("waiter timed A 600")
    w.dies("owner return")
    agent.wait_for(kind="lock-orphaned", pid=w.pid)
    agent.wait_sweeps(2)
    expect_incidents(agent, w.pid, [])


def test_clean_end(agent, start_steps):
    """Threads that end with nothing in their hands, and a lock that is wanted and given back."""
    w = start_steps("normal")
    w.do("owner lock A")
    w.blocks("waiter lock A")
    w.do("owner unlock A")
    w.then("waiter lock A")
    w.dies("owner return")
    w.do("waiter unlock A")
    w.dies("waiter pthread-exit")
    agent.wait_sweeps(2)
    expect_incidents(agent, w.pid, [])


# --- The whole story, as one reads it. ------------------------------------------------------------


def text_blocks(text, pid):
    """The alerts of a text stream about a process: lists of lines."""
    blocks = []
    for line in b"".join(text.lines).decode().splitlines():
        if line.startswith("  ") and blocks:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return [block for block in blocks if f"[{pid}]" in block[0]]


def unwrapped(lines):
    """Details with what was broken off put back."""
    whole = []
    for line in lines:
        if line.startswith("        "):
            whole[-1] += " " + line.strip()
        else:
            whole.append(line.strip())
    return whole


@pytest.mark.parametrize("place", ["host's cgroup", "container's cgroup"])
def test_the_story_in_text(agent, start_steps, request, place):
    """A service in a PID namespace of its own, as in a container: a worker is cancelled while it holds
    the lock that a client wants, who holds what another wants. Line by line."""
    needs_uprobes(agent)
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook can't tell that the cancel ended it")
    with RawAgent("-k", "incident") as text:
        text.wait_line(" ready ")
        w = start_steps("normal", "normal", pid_ns=True)
        pid = w.first["pid"]
        if place == "container's cgroup":
            directory = request.getfixturevalue("cgroup") / f"system.slice/docker-{CONTAINER}.scope"
            directory.mkdir(parents=True)
            (directory / "cgroup.procs").write_text(str(pid))
        w.do("client lock B")
        owner, b = cancelled_with_a_lock(w)
        c = w.blocks("user lock B")
        text.wait_line(rf"incident lock_steps\[{pid}\]: 2 hang behind dead worker")
        w.end()
        text.wait_line(rf"incident over: lock_steps\[{pid}\]")
        text.stop()
    blocks = text_blocks(text, pid)
    assert len(blocks) == 3, text.said()
    for block in blocks:
        for line in block:
            assert len(line) <= 80 or line is block[0], line

    def full(name, tid, ns):
        return rf"{name} \(tid {tid}, {ns} in its namespace\)"

    worker = full("worker", owner["tid"], owner["ns_tid"])
    client = full("client", b["tid"], b["ns_tid"])
    user = full("user", c["tid"], c["ns_tid"])
    main = full("main thread", pid, 1)
    span = r"\d[\d.]* (us|ms|s)"
    lines = [
        rf"\d\d:\d\d:\d\d\.\d{{3}} CRITICAL incident over: lock_steps\[{pid}\]: 2 hang behind dead "
        rf"worker\[{owner['tid']}\]",
        rf"cause: pthread_cancel from {main}(, {span} before)?: that ended it",
        rf"died: {worker}: it was cancelled with pthread_cancel, {span} ago",
        rf"lock {address(owner['lock'])}: normal mutex, proof owner-word, private_locks",
        rf"stuck: {client} waits for ever, for {span} already",
        rf"stuck: {user} waits for {client}(, for {span} already)?",
        *([f"lock_steps runs in container {CONTAINER[:12]}"] if "container" in place else []),
        r"over: the process ended",
        r"incident [0-9a-f]{32}:i\d+, revision 3",
        r"hint: cancelled while it held it: use a stop flag, or a cleanup handler that unlocks",
    ]
    got = [blocks[2][0], *unwrapped(blocks[2][1:])]
    assert len(got) == len(lines), got
    for line, pattern in zip(got, lines):
        assert re.fullmatch(pattern, line), f"{line!r} is not {pattern!r}{text.said()}"
