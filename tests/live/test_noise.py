# SPDX-License-Identifier: GPL-2.0-only
"""What language runtimes do to their own threads is folded and counted, what looks like it is not. The
real runtimes are in test_minute.py."""

import shutil
import subprocess

import pytest

from deadhold import LIVE, SCALE
from signals import (
    SI_TKILL,
    SIGUSR1,
    SIGUSR2,
    Actor,
    alert,
    noise_of,
    signal_object,
)

PYTHON = "/usr/bin/python3"


# --- What looks like it. ---------------------------------------------------------------------------


@pytest.fixture
def start_actor(start_workload):
    def start(*words, **settings):
        return Actor(start_workload, *words, **settings)

    return start


@pytest.fixture
def library(tmp_path):
    """library(name): some library under that name."""

    def make(name):
        return shutil.copy(LIVE / "lock_data.so", tmp_path / name)

    return make


@pytest.fixture
def jvm_like(start_actor, library):
    """A process in which a library of that name is mapped, and that handles SIGUSR2 alone."""
    env = {"LD_PRELOAD": str(library("libjvm.so"))}
    return start_actor(f"handle={SIGUSR2}", name="sig-jvm", threads=["one", "two"], env=env)


def within(actor, sig, count=1):
    """From one thread of the actor to another; returns the event."""
    return actor.send("tgkill", sig, actor, to=2, count=count)


def said_of(agent, actor):
    """All that was said of it, by signal and severity."""
    return [
        (a["kind"], a["signal"]["name"], a["severity"], a["sender"]["process"]["pid"])
        for a in agent.alerts_of(actor.pid)
    ]


def test_first_signals_are_counted(start_agent, jvm_like):
    """Before it is known on what the process runs: none is said, none is lost."""
    agent = start_agent("-p", jvm_like.pid)
    for _ in range(3):
        within(jvm_like, SIGUSR2, 100)
    agent.stop()
    assert said_of(agent, jvm_like) == [], agent.said()
    assert noise_of(agent.alerts, jvm_like.pid) == {"SIGUSR2": 300}, agent.said()


def test_other_process_is_shown(start_agent, start_actor, jvm_like):
    """The same signal from another process is nobody's habit, before and after it is known."""
    sender = start_actor(name="sig-sender", threads=["one"])
    agent = start_agent("-p", jvm_like.pid)
    for _ in range(2):
        sent = sender.send("tgkill", SIGUSR2, jvm_like, to=2)
        agent.wait_for(kind="thread-signal", ktime_ns=_between(sent))
        within(jvm_like, SIGUSR2)
    agent.stop()
    foreign = ("thread-signal", "SIGUSR2", "info", sender.pid)
    assert said_of(agent, jvm_like) == [foreign, foreign], agent.said()
    assert noise_of(agent.alerts, jvm_like.pid) == {"SIGUSR2": 2}, agent.said()


def _between(sent):
    return alert("thread-signal", {}, {}, _Nobody, 1, sent)["ktime_ns"]


class _Nobody:
    @staticmethod
    def process():
        return {}

    @staticmethod
    def thread(_):
        return {}


def test_other_signal_is_shown(start_agent, start_actor, library):
    env = {"LD_PRELOAD": str(library("libjvm.so"))}
    words = [f"handle={SIGUSR1}", f"handle={SIGUSR2}"]
    actor = start_actor(*words, name="sig-jvm", threads=["one", "two"], env=env)
    agent = start_agent("-p", actor.pid)
    within(actor, SIGUSR2)
    within(actor, SIGUSR1)
    agent.stop()
    assert said_of(agent, actor) == [("thread-signal", "SIGUSR1", "info", actor.pid)], agent.said()
    assert noise_of(agent.alerts, actor.pid) == {"SIGUSR2": 1}, agent.said()


def test_fatal_one_is_shown(start_agent, start_actor, library):
    """A runtime has a handler for what it sends. Where there is none, it ends the process."""
    env = {"LD_PRELOAD": str(library("libjvm.so"))}
    actor = start_actor(name="sig-jvm", threads=["one", "two"], env=env)
    agent = start_agent()
    actor.workload.go(f"1 send tgkill {SIGUSR2} {actor.pid} {actor.threads[2]['tid']} 1")
    agent.wait_for(kind="thread-signal", pid=actor.pid)
    agent.stop()
    assert said_of(agent, actor) == [("thread-signal", "SIGUSR2", "critical", actor.pid)]
    assert noise_of(agent.alerts, actor.pid) == {}, agent.said()


@pytest.mark.parametrize("name", [None, "libjvm-data.so", "libgc.so.1"])
def test_other_runtime_is_shown(start_agent, start_actor, library, name):
    """SIGUSR2 within a process is a JVM's habit, and nobody else's but D's and SBCL's."""
    env = {"LD_PRELOAD": str(library(name))} if name else {}
    actor = start_actor(f"handle={SIGUSR2}", name="sig-other", threads=["one", "two"], env=env)
    agent = start_agent("-p", actor.pid)
    sent = within(actor, SIGUSR2)
    signal = signal_object(SIGUSR2, "tgkill", SI_TKILL)
    agent.wait_for(**alert("thread-signal", signal, actor.sender(), actor, 2, sent))
    agent.stop()
    assert len(said_of(agent, actor)) == 1, agent.said()
    assert noise_of(agent.alerts, actor.pid) == {}, agent.said()


def test_kill_at_a_thread_is_shown(start_agent, jvm_like):
    """That one names a thread and hits the process, whoever does it."""
    agent = start_agent("-p", jvm_like.pid)
    within(jvm_like, SIGUSR2)
    jvm_like.send("kill", SIGUSR2, jvm_like, to=2)
    agent.stop()
    assert [kind for kind, *_ in said_of(agent, jvm_like)] == ["tid-kill"], agent.said()


def test_all_signals_of_a_runtime(start_agent, jvm_like):
    agent = start_agent("-p", jvm_like.pid, "--all-signals", "--no-limit")
    within(jvm_like, SIGUSR2)
    within(jvm_like, SIGUSR2)
    agent.stop()
    shown = ("thread-signal", "SIGUSR2", "info", jvm_like.pid)
    assert said_of(agent, jvm_like) == [shown, shown], agent.said()
    assert noise_of(agent.alerts, jvm_like.pid) == {}, agent.said()


LATE = """
import ctypes, signal, sys, threading
signal.signal(signal.SIGUSR2, lambda *_: None)
thread = threading.Thread(target=sys.stdin.readline and threading.Event().wait, daemon=True)
thread.start()
print("ready", flush=True)
for line in sys.stdin:
    if line == "load\\n":
        ctypes.CDLL(sys.argv[1])
    else:
        signal.pthread_kill(thread.ident, signal.SIGUSR2)
    print("did", flush=True)
"""


def test_library_that_is_loaded_late(start_agent, library):
    """It is asked again on what a process runs, if that would explain its signals."""
    words = [PYTHON, "-c", LATE, str(library("libjvm.so"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as late:
        try:

            def do(word):
                late.stdin.write(f"{word}\n")
                late.stdin.flush()
                assert late.stdout.readline() == "did\n"

            assert late.stdout.readline() == "ready\n"
            agent = start_agent("-p", late.pid, "--noise-interval", 0.1)
            do("signal")
            agent.wait_for(kind="thread-signal", pid=late.pid)
            do("load")
            sent, folded = 1, 0
            while not folded:
                do("signal")
                sent += 1
                # Either it is said, or counted.
                agent.wait_for(lambda a: _seen(agent, late.pid) == sent)
                folded = noise_of(agent.alerts, late.pid).get("SIGUSR2", 0)
            do("signal")
            agent.stop()
            assert noise_of(agent.alerts, late.pid) == {"SIGUSR2": folded + 1}, agent.said()
            assert len(agent.alerts_of(late.pid)) == sent - folded, agent.said()
        finally:
            late.kill()


def _seen(agent, pid):
    return len(agent.alerts_of(pid)) + noise_of(agent.alerts, pid).get("SIGUSR2", 0)


def test_synchronous_calls_of_musl(start_agent, start_actor):
    """setuid() in a musl program signals all its threads; the same number in glibc's is its own."""
    actor = start_actor(name="sig-setuid", threads=["a", "b", "c"], musl=True)
    agent = start_agent("-p", actor.pid)
    actor.do(1, "setuid", 2)
    agent.stop()
    assert said_of(agent, actor) == [], agent.said()
    assert noise_of(agent.alerts, actor.pid) == {"SIGSYNCCALL": 6}, agent.said()


def test_flood_costs_counters_only(start_agent, jvm_like):
    """What the kernel folds never reaches the agent: of a flood none is lost, and none said."""
    count = max(1000, int(100_000 * SCALE))
    agent = start_agent("-p", jvm_like.pid)
    within(jvm_like, SIGUSR2)
    agent.wait_sweeps(1)
    within(jvm_like, SIGUSR2, count)
    agent.stop()
    assert said_of(agent, jvm_like) == [], agent.said()
    assert noise_of(agent.alerts, jvm_like.pid) == {"SIGUSR2": count + 1}, agent.said()
