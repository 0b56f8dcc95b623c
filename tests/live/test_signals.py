# SPDX-License-Identifier: GPL-2.0-only
"""Signals aimed at single threads: who sent what to whom, how, and what came of it.

The workloads are actors (sig_actor.c): one sends, one takes, or one does both. What each did is
what the alerts are compared with. Processes that no test started are none of these tests' business.

Where no option matters and nothing has to be compared at its end, tests share agents, which run as
long as the module's tests do (`watching`): loading one takes seconds in an emulated machine."""

import collections
import ctypes
import os
import pathlib
import re
import threading
import time

import pytest

from deadhold import (
    ABSENT,
    ANY,
    LIVE,
    SCALE,
    TIMEOUT,
    Agent,
    Workload,
    any_order,
    between,
    difference,
    expect,
    one_of,
)
from counter import thread_signals
from tracing import PTRACE_ATTACH, PTRACE_DETACH, WALL, ptrace
from signals import (
    NAMES,
    SI_KERNEL,
    SI_QUEUE,
    SI_TIMER,
    SI_TKILL,
    SI_USER,
    SIGABRT,
    SIGALRM,
    SIGCHLD,
    SIGIO,
    SIGKILL,
    SIGPIPE,
    SIGPROF,
    SIGRTMIN,
    SIGSEGV,
    SIGSTOP,
    SIGTERM,
    SIGURG,
    SIGUSR1,
    SIGUSR2,
    SIGVTALRM,
    Actor,
    CountingAgent,
    RawAgent,
    alert,
    failed_object,
    losses_of,
    noise_counts,
    noise_of,
    process_facts,
    signal_object,
)

# How the actor calls it → what an alert calls it, and the code that the kernel gives it.
THREAD_CALLS = {
    "tgkill": ("tgkill", SI_TKILL),
    "tkill": ("tkill", SI_TKILL),
    "rt_tgsigqueueinfo": ("rt_tgsigqueueinfo", SI_QUEUE),
    "pidfd-thread": ("pidfd_send_signal", SI_TKILL),
    "pidfd-flag": ("pidfd_send_signal", SI_TKILL),
    "tgkill-int80": ("tgkill", SI_TKILL),
}
TID_KILLS = {
    "kill": ("kill", SI_USER),
    "rt_sigqueueinfo": ("rt_sigqueueinfo", SI_QUEUE),
    "kill-int80": ("kill", SI_USER),
}


SYS_TGKILL = {"x86_64": 234, "aarch64": 131}


@pytest.fixture
def start_actor(start_workload):
    def start(*words, **settings):
        return Actor(start_workload, *words, **settings)

    return start


class Watching:
    """Agents by their options, each started when it is first asked for. They merge nothing: tests that
    come one after the other do the same things to the same processes."""

    def __init__(self):
        self.agents = {}
        self.workloads = []
        # Sends and takes the signal that settle() waits for.
        self.fence = Actor(self._start, f"handle={SIGUSR2}", name="sig-fence", threads=["fence"])

    def _start(self, name, *args, **settings):
        self.workloads.append(Workload(name, *args, **settings))
        return self.workloads[-1].start()

    def __call__(self, *options):
        agent = self.agents.get(options)
        # One that said something wrong failed that test, and shall not fail the next.
        if agent and (agent.out.error or agent.process.poll() is not None):
            agent.kill()
            agent = None
        self.agents[options] = agent or Agent("--no-limit", *options).start()
        return self.agents[options]

    def settle(self, agent):
        """Waits until the agent has said all that came before: alerts keep the order of events."""
        sent = self.fence.send("tgkill", SIGUSR2, self.fence, to=0)
        agent.wait_for(
            kind="thread-signal",
            pid=self.fence.pid,
            ktime_ns=between(sent["before_ns"], sent["after_ns"]),
        )

    def expect(self, agent, about, expected, **options):
        self.settle(agent)
        return expect(agent, about, expected, stop=False, **options)

    def end(self):
        """Stops them; all must end well."""
        try:
            for agent in self.agents.values():
                if not agent.out.error and agent.process.poll() is None:
                    agent.stop()
        finally:
            for agent in self.agents.values():
                agent.kill()
            self.agents.clear()


@pytest.fixture(scope="module")
def watching():
    agents = Watching()
    try:
        yield agents
        agents.end()
    finally:
        for workload in agents.workloads:
            workload.kill()


@pytest.fixture
def alone(watching):
    """For tests whose own agents have enough to do."""
    watching.end()


@pytest.fixture
def said(watching):
    """said(actors, alerts): fails unless just this was said of them, with default options."""
    agent = watching()
    return lambda actors, alerts: watching.expect(agent, pids(actors), alerts)


@pytest.fixture
def said_with_failed(watching):
    """The same of an agent with -x; and that one without it said nothing."""
    agents = watching("-x"), watching()

    def compare(actors, alerts):
        for agent, expected in zip(agents, (alerts, [])):
            watching.expect(agent, pids(actors), expected)

    return compare


@pytest.fixture
def said_nothing(watching):
    """said_nothing(actors): not even where everything is asked for."""
    agent = watching("--all-signals", "-x")
    return lambda actors: watching.expect(agent, pids(actors), [])


@pytest.fixture
def need(watching):
    """need(call): skips the test where this kernel does not know it."""
    return watching.fence.need


def pids(actors):
    """Actors and pids → pids."""
    return [a.pid if isinstance(a, Actor) else a for a in actors]


@pytest.fixture
def sender(start_actor):
    return start_actor(name="sig-sender", threads=["sender-w"])


@pytest.fixture
def target(start_actor):
    """Handles SIGUSR1, SIGUSR2 and SIGRTMIN+3; everything else does what it does by default."""
    handled = [f"handle={sig}" for sig in (SIGUSR1, SIGUSR2, 37)]
    return start_actor(*handled, name="sig-target", threads=["target-1", "target-2"])


def mortal(actor):
    """What is read from /proc may come too late for a process that is being killed."""
    for name in ("exe", "cgroup", "user", "parent_comm"):
        if name in actor.facts:
            actor.facts[name] = one_of(actor.facts[name], ABSENT)
    return actor


# --- Every call that names a thread. --------------------------------------------------------------


@pytest.mark.parametrize("call", THREAD_CALLS)
def test_call(need, said, sender, target, call):
    """From a thread of one process to a thread of another, a standard and a real-time signal."""
    need(call)
    to = 0 if call == "pidfd-flag" else 1
    says, code = THREAD_CALLS[call]
    expected = []
    for sig in (SIGUSR1, 37):
        sent = sender.send(call, sig, target, to=to)
        signal = signal_object(sig, says, code)
        expected.append(alert("thread-signal", signal, sender.sender(), target, to, sent))
        # The target says so itself: that thread got it, and no other.
        assert target.do(0, "handled", sig, 1)["by"][to] == 1
    said([sender, target], expected)


@pytest.mark.parametrize("call", ["pthread_kill", "pthread_sigqueue"])
def test_libc_call(said, target, call):
    """Within one process, from thread to thread."""
    sent = target.do(1, "pthread", call, SIGUSR1, 2, 1, says="send")
    assert sent["error"] == 0
    target.do(0, "handled", SIGUSR1, 1)
    signal = (
        signal_object(SIGUSR1, "tgkill", SI_TKILL)
        if call == "pthread_kill"
        else signal_object(SIGUSR1, "rt_tgsigqueueinfo", SI_QUEUE)
    )
    said([target], [alert("thread-signal", signal, target.sender(1), target, 2, sent)])


def test_musl(said, sender, start_actor):
    """musl's pthread_kill is tkill. RT signals have the same names, but for 34."""
    target = start_actor(
        f"handle={SIGUSR1}", "handle=35", name="musl-target", threads=["a", "b"], musl=True
    )
    inside = target.do(1, "pthread", "pthread_kill", SIGUSR1, 2, 1, says="send")
    outside = sender.send("tgkill", 35, target)
    target.do(0, "handled", 35, 1)
    by_tkill = signal_object(SIGUSR1, "tkill", SI_TKILL)
    by_tgkill = signal_object(35, "tgkill", SI_TKILL, name="SIGRTMIN+1")
    said(
        [sender, target],
        [
            alert("thread-signal", by_tkill, target.sender(1), target, 2, inside),
            alert("thread-signal", by_tgkill, sender.sender(), target, 1, outside),
        ],
    )


def test_main_threads(said, sender, target):
    """Main thread to main thread: aimed at a thread all the same."""
    sent = sender.send("tgkill", SIGUSR1, target, to=0, by=0)
    target.do(0, "handled", SIGUSR1, 1)
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    said([sender, target], [alert("thread-signal", signal, sender.sender(0), target, 0, sent)])


@pytest.mark.parametrize("to", [2, 1], ids=["another", "itself-while-it-runs"])
def test_timer(said, target, to):
    """A timer with SIGEV_THREAD_ID: nobody sent it. Whoever happens to run when it expires, the
    target included, is not its sender."""
    sent = target.do(1, "thread-timer", SIGUSR1, to)
    signal = signal_object(SIGUSR1, "timer", SI_TIMER)
    said([target], [alert("thread-signal", signal, ABSENT, target, to, sent)])


@pytest.mark.parametrize("sig, number, code", [(0, SIGIO, SI_KERNEL), (37, 37, 1)])
def test_descriptor_owner(said, start_actor, sig, number, code):
    """F_SETOWN_EX names a thread that is signalled when a descriptor can be read: by the kernel."""
    target = start_actor("handle=29", "handle=37", name="sig-target", threads=["writer", "owner"])
    sent = target.do(1, "sigio", sig, 2)
    signal = {
        **signal_object(number, "kernel", code),
        "code_name": "SI_KERNEL" if code == SI_KERNEL else one_of(ABSENT, "POLL_IN"),
    }
    expected = alert("thread-signal", signal, ANY, target, 2, sent)
    del expected["sender"]  # whoever wrote to it, or nobody
    said([target], [expected])


def test_short_sender(said, start_actor):
    """A sender that ends at once is still named."""
    actor = start_actor(f"handle={SIGUSR1}", name="sig-parent", threads=["forks"])
    actor.workload.go(f"1 child signal {SIGUSR1}")
    child = actor.workload.event("child")
    actor.workload.event("child-end")
    sender = {
        "process": {"pid": child["pid"], "comm": "forks", "ppid": actor.pid, "uid": 0},
        "thread": {"tid": child["tid"], "name": "forks", "ns_tid": child["ns_tid"]},
    }
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    said([actor, child["pid"]], [alert("thread-signal", signal, sender, actor)])


def test_signal_names(said, sender, start_actor):
    signals = [SIGRTMIN, 50, 64]
    target = start_actor(*(f"handle={sig}" for sig in signals), threads=["t"])
    expected = []
    for sig in signals:
        sent = sender.send("tgkill", sig, target)
        signal = signal_object(sig, "tgkill", SI_TKILL)
        expected.append(alert("thread-signal", signal, sender.sender(), target, 1, sent))
    said([sender, target], expected)


def test_cmdline(start_agent, sender, target):
    """Command lines are shown where they are asked for, and only there (see process_facts)."""
    agent = start_agent("--cmdline")
    sender.send("tgkill", SIGUSR1, target)
    got = agent.wait_for(kind="thread-signal", pid=target.pid)
    for actor, process in ((sender, got["sender"]["process"]), (target, got["process"])):
        words = pathlib.Path(f"/proc/{actor.pid}/cmdline").read_bytes()
        # The actor cuts its words in two.
        assert process["cmdline"].split(" ")[0] == words.split(b"\0")[0].decode()


def test_none_after_ready_is_missed(start_agent, target):
    """Signals are sent all the time while an agent starts: each one from `ready` on is said."""
    libc = ctypes.CDLL(None)
    sent, ready = [], threading.Event()

    def send():
        left = 500  # after it is known that the agent is ready
        while left:
            left -= ready.is_set()
            sent.append(time.monotonic_ns())
            libc.syscall(SYS_TGKILL[os.uname().machine], target.pid, target.threads[1]["tid"], SIGUSR1)
            time.sleep(0.0002)  # so that the agent keeps up

    sender = threading.Thread(target=send)
    sender.start()
    try:
        agent = start_agent("-p", target.pid, "--no-limit")
    finally:
        ready.set()
        sender.join()
    agent.stop()
    since = int(agent.ready["ktime_ns"])
    before, after = sum(t < since for t in sent), sum(t >= since for t in sent)
    said = [a for a in agent.alerts_of(target.pid) if int(a["ktime_ns"]) >= since]
    assert before and after >= 500
    # One may have been on its way.
    assert after <= len(said) <= after + 1, (before, after, len(said))


# --- kill(2) at a thread, and what only looks like it. --------------------------------------------


@pytest.mark.parametrize("call", TID_KILLS)
def test_tid_kill(need, said, sender, target, call):
    need(call)
    says, code = TID_KILLS[call]
    sent = sender.send(call, SIGUSR1, target, to=2)
    target.do(0, "handled", SIGUSR1, 1)
    signal = signal_object(SIGUSR1, says, code, scope="process")
    said([sender, target], [alert("tid-kill", signal, sender.sender(), target, 2, sent)])


@pytest.mark.parametrize("by", [1, 2], ids=["its-own", "a-sibling's"])
def test_tid_kill_within(said, target, by):
    """A process that kills a thread's id of its own, as old code does that takes kill for
    pthread_kill: a sibling's or that of the calling thread."""
    sent = target.send("kill", SIGUSR1, target, to=1, by=by)
    target.do(0, "handled", SIGUSR1, 1)
    signal = signal_object(SIGUSR1, "kill", SI_USER, scope="process")
    said([target], [alert("tid-kill", signal, target.sender(by), target, 1, sent)])


@pytest.mark.parametrize("call", ["kill", "rt_sigqueueinfo"])
def test_fatal_tid_kill(said, sender, target, call):
    mortal(target)
    sent = sender.send(call, SIGTERM, target, to=2)
    assert target.workload.wait() == -SIGTERM
    says, code = TID_KILLS[call]
    signal = signal_object(SIGTERM, says, code, scope="process", fatal=True)
    said([sender, target], [alert("tid-kill", signal, sender.sender(), target, 2, sent)])


@pytest.mark.parametrize("call", ["kill", "rt_sigqueueinfo", "pidfd-process", "kill-int80"])
def test_process_signal(need, said_nothing, sender, target, call):
    """The twin: sent to the process by its own number, it is nobody's business."""
    need(call)
    sender.send(call, SIGUSR1, target, to=0)
    target.do(0, "handled", SIGUSR1, 1)
    said_nothing([sender, target])


def test_process_signal_by_thread_descriptor(need, said_nothing, sender, target):
    """PIDFD_SIGNAL_THREAD_GROUP on a thread's descriptor: the sender said that it means all."""
    need("pidfd-group")
    sender.send("pidfd-group", SIGUSR1, target, to=2)
    target.do(0, "handled", SIGUSR1, 1)
    said_nothing([sender, target])


def test_parent_death_signal(said_nothing, start_workload):
    """PR_SET_PDEATHSIG that a thread asked for: the kernel names the thread, as kill would."""
    workload = start_workload("sig_pdeath", SIGUSR1)
    asked = workload.event("asked")
    parent = workload.event("parent")
    assert asked["pid"] != asked["tid"]
    workload.go("end")
    assert workload.event("signalled")["pid"] == asked["pid"]
    said_nothing([workload.pid, asked["pid"], parent["pid"]])


@pytest.mark.parametrize("verb", ["interval-timer prof", "interval-timer virtual",
                                  "interval-timer real", f"process-timer {SIGUSR1}"])
def test_process_timer(said_nothing, start_actor, verb):
    """Timers of a process, armed and run by a thread that does not lead it."""
    handled = [f"handle={sig}" for sig in (SIGPROF, SIGVTALRM, SIGALRM, SIGUSR1)]
    actor = start_actor(*handled, name="sig-timer", threads=["burns"])
    actor.do(1, *verb.split())
    said_nothing([actor])


def test_child_signal(said_nothing, start_actor):
    """SIGCHLD names the thread that forked."""
    actor = start_actor(f"handle={SIGCHLD}", name="sig-parent", threads=["forks"])
    actor.do(1, "child", "exit", 0, says="child-end")
    actor.do(0, "handled", SIGCHLD, 1)
    said_nothing([*actor.workload.pids])


# --- What the kernel did with it. -----------------------------------------------------------------


def test_ignored(said, sender, start_actor):
    """SIG_IGN, and ignored by default. Blocked as well, it is kept."""
    target = start_actor(f"ignore={SIGUSR1}", threads=["target-1"])
    expected = []
    for sig, result in ((SIGUSR1, "ignored"), (SIGURG, "ignored"), (SIGUSR1, "queued")):
        if result == "queued":
            target.do(1, "mask", "block", sig)
        sent = sender.send("tgkill", sig, target)
        signal = signal_object(sig, "tgkill", SI_TKILL, result=result)
        expected.append(alert("thread-signal", signal, sender.sender(), target, 1, sent))
    said([sender, target], expected)


def test_already_pending(said, sender, target):
    """A standard signal that is blocked is kept once; a real-time signal each time."""
    target.do(1, "mask", "block", SIGUSR1)
    target.do(1, "mask", "block", 37)
    expected = []
    for sig, result in ((SIGUSR1, "queued"), (SIGUSR1, "already-pending"), (37, "queued"),
                        (37, "queued")):
        sent = sender.send("tgkill", sig, target)
        signal = signal_object(sig, "tgkill", SI_TKILL, result=result)
        expected.append(alert("thread-signal", signal, sender.sender(), target, 1, sent))
    said([sender, target], expected)


@pytest.mark.parametrize("options", [(), ("-x",)], ids=["default", "failed"])
def test_full_queue(watching, sender, target, options):
    """No room in the target's queue: a real-time signal fails, and that is said without -x too (and
    once with it); a standard one arrives without its sender's details."""
    target.do(0, "rlimit", 0)
    agent = watching(*options)
    failed = sender.send("tgkill", 37, target, ok="EAGAIN")
    queued = sender.send("tgkill", SIGUSR1, target)
    target.do(0, "handled", SIGUSR1, 1)
    no_room = failed_object(37, "tgkill", "EAGAIN", code=SI_TKILL)
    # The code may be lost with the details.
    no_details = {**signal_object(SIGUSR1, "tgkill", SI_TKILL), "code": ANY, "code_name": ANY}
    watching.expect(
        agent,
        pids([sender, target]),
        [
            alert("thread-signal", no_room, sender.sender(), target, 1, failed),
            alert("thread-signal", no_details, sender.sender(), target, 1, queued),
        ],
    )


# --- Fatal or not. --------------------------------------------------------------------------------


@pytest.mark.parametrize("sig", [SIGTERM, SIGKILL, 37, 32])
def test_fatal(said, sender, start_actor, sig):
    """It ends the whole process."""
    target = mortal(start_actor(name="sig-target", threads=["target-1"]))
    sent = sender.send("tgkill", sig, target)
    assert target.workload.wait() == -sig
    name = "SIG32" if sig == 32 else None
    signal = signal_object(sig, "tgkill", SI_TKILL, fatal=True, name=name)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


def test_fatal_is_said_before_what_follows(start_agent, sender, start_actor):
    """With -p the end of the watched process ends the watch: the signal was said by then."""
    target = mortal(start_actor(name="sig-target", threads=["target-1"]))
    agent = start_agent("-p", target.pid)
    sent = sender.send("tgkill", SIGTERM, target)
    assert target.workload.wait() == -SIGTERM
    agent.process.wait(TIMEOUT)
    signal = signal_object(SIGTERM, "tgkill", SI_TKILL, fatal=True)
    expected = [alert("thread-signal", signal, sender.sender(), target, 1, sent)]
    expect(agent, pids([sender, target]), expected)
    kinds = [a["kind"] for a in agent.alerts]
    # The incident is opened with the end of the process, and over with it.
    assert kinds == ["ready", "thread-signal", "incident", "incident", "summary"]


def test_fatal_but_blocked(said, sender, start_actor):
    """`fatal` says what it will do when it is let in. By its default it ends the process: true also
    while it is blocked; already-pending ones too."""
    target = start_actor(name="sig-target", threads=["target-1"])
    target.do(1, "mask", "block", SIGTERM)
    expected = []
    for result in ("queued", "already-pending"):
        sent = sender.send("tgkill", SIGTERM, target)
        signal = signal_object(SIGTERM, "tgkill", SI_TKILL, result=result, fatal=True)
        expected.append(alert("thread-signal", signal, sender.sender(), target, 1, sent))
    assert target.do(1, "handled", SIGTERM, 0)["total"] == 0  # alive
    said([sender, target], expected)


@pytest.mark.parametrize("word, result", [("handle", "queued"), ("ignore", "ignored")])
def test_not_fatal(said, sender, start_actor, word, result):
    target = start_actor(f"{word}={SIGTERM}", name="sig-target", threads=["target-1"])
    sent = sender.send("tgkill", SIGTERM, target)
    target.do(0, "handled", SIGTERM, int(word == "handle"))  # alive
    signal = signal_object(SIGTERM, "tgkill", SI_TKILL, result=result)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


def test_stop_is_not_fatal(said, sender, start_actor):
    """SIGSTOP stops the process; nothing ends."""
    target = start_actor(name="sig-target", threads=["target-1"])
    sent = sender.send("tgkill", SIGSTOP, target)
    signal = signal_object(SIGSTOP, "tgkill", SI_TKILL)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


def test_debugger_attaches(said, start_actor):
    """PTRACE_ATTACH stops a thread by a SIGSTOP of the kernel's, which the process never sees."""
    target = start_actor(name="sig-target", threads=["target-1"])
    tid = target.threads[1]["tid"]
    ptrace(PTRACE_ATTACH, tid)
    os.waitpid(tid, WALL)
    ptrace(PTRACE_DETACH, tid)
    signal = signal_object(SIGSTOP, "kernel", SI_KERNEL)
    sent = alert("thread-signal", signal, {"process": {"pid": os.getpid()}}, target)
    said([target], [sent])


# --- Sends that failed or only asked: -x. ---------------------------------------------------------


def named(pid=None, tid=None):
    """What is known of a target that was not there: the numbers that the sender named."""
    return {
        "process": {"pid": pid, "comm": ABSENT} if pid else ABSENT,
        "thread": {"tid": tid, "name": ABSENT, "start_ticks": ABSENT},
    }


def found(target, to=1):
    """A target that was there: its numbers at least."""
    return {"process": {"pid": target.pid}, "thread": {"tid": target.threads[to]["tid"]}}


@pytest.fixture
def gone(start_workload):
    """The id of a process that has just ended. The kernel goes round all numbers before it gives
    out one again."""
    workload = start_workload("sig_actor")
    pid = workload.event("actor")["pid"]
    workload.go("0 exit 0")
    workload.wait()
    workload.kill()
    return pid


@pytest.fixture
def weak(start_actor):
    """A sender without privilege."""
    actor = start_actor(name="sig-weak", threads=["weak-w"])
    for index in (1, 0):
        actor.do(index, "uid", 65534)
    actor.facts = process_facts(actor.pid)
    assert actor.facts["uid"] == 65534
    return actor


def failure(signal, sender, target, sent, kind="thread-signal"):
    return {
        "kind": kind,
        "severity": "info" if kind == "thread-signal" else "warning",
        "signal": signal,
        "sender": sender.sender(),
        "ktime_ns": between(sent["before_ns"], sent["after_ns"]),
        **target,
    }


@pytest.mark.parametrize("call", ["tgkill", "tkill", "rt_tgsigqueueinfo"])
def test_no_such_thread(said_with_failed, sender, gone, call):
    """ESRCH: nothing is there."""
    sent = sender.send_ids(call, SIGUSR1, gone, gone, ok="ESRCH")
    signal = failed_object(SIGUSR1, call, "ESRCH", code=THREAD_CALLS[call][1])
    target = named(None if call == "tkill" else gone, gone)
    said_with_failed([sender], [failure(signal, sender, target, sent)])


def test_wrong_process(said_with_failed, sender, target):
    """ESRCH: tgkill of a thread that lives, but in another process than the sender thought. Not
    blamed on the process in which it lives: that is not what was named."""
    tid = target.threads[1]["tid"]
    sent = sender.send_ids("tgkill", SIGUSR1, sender.pid, tid, ok="ESRCH")
    signal = failed_object(SIGUSR1, "tgkill", "ESRCH")
    wrong = {"process": {"pid": sender.pid}, "thread": {"tid": tid}}
    said_with_failed([sender, target], [failure(signal, sender, wrong, sent)])


# Not pidfd-thread: that it was a thread's descriptor tells only the descriptor, which this sender has
# closed by the time anybody can look (deadhold.8, CAVEATS).
@pytest.mark.parametrize("call", ["tgkill", "tkill", "rt_tgsigqueueinfo"])
def test_not_permitted(need, said_with_failed, weak, target, call):
    """EPERM: a sender without privilege and a target of root's."""
    need(call)
    sent = weak.send(call, SIGUSR1, target, ok="EPERM")
    says, code = THREAD_CALLS[call]
    signal = failed_object(SIGUSR1, says, "EPERM", code=code)
    # A descriptor is no number that would tell the target.
    where = {"thread": one_of(ABSENT, ANY)} if "pidfd" in call else found(target)
    said_with_failed([weak, target], [failure(signal, weak, where, sent)])


def test_forged_code(said_with_failed, sender, target):
    """EPERM: only the kernel may say that the kernel sent it."""
    sent = sender.send("rt_tgsigqueueinfo-as-kernel", SIGUSR1, target, ok="EPERM")
    signal = failed_object(SIGUSR1, "rt_tgsigqueueinfo", "EPERM", code=SI_USER)
    said_with_failed([sender, target], [failure(signal, sender, found(target), sent)])


def test_bad_signal(said_with_failed, sender, target):
    """EINVAL: there is no signal 65, and the contract's numbers end at 64. It must not become
    another signal's."""
    sender.send("tgkill", 65, target, ok="EINVAL")
    said_with_failed([sender, target], [])


@pytest.mark.parametrize("call", ["tgkill", "tkill", "rt_tgsigqueueinfo"])
def test_probe(said_with_failed, sender, target, call):
    """Signal 0 asks whether the thread is there: `probed`."""
    sent = sender.send(call, 0, target)
    signal = {
        "number": 0,
        "scope": "thread",
        "call": call,
        "result": "probed",
        "errno": ABSENT,
        "fatal": ABSENT,
    }
    said_with_failed([sender, target], [failure(signal, sender, found(target), sent)])


def test_probe_of_nobody(said_with_failed, sender, gone):
    sent = sender.send_ids("tgkill", 0, gone, gone, ok="ESRCH")
    signal = failed_object(0, "tgkill", "ESRCH")
    said_with_failed([sender], [failure(signal, sender, named(gone, gone), sent)])


def test_kill_probes_thread(said_with_failed, sender, target):
    """kill(tid, 0) succeeds for a thread's number: whoever takes that for a living process errs."""
    sent = sender.send("kill", 0, target, to=1)
    signal = {"number": 0, "scope": "process", "call": "kill", "result": "probed", "fatal": ABSENT}
    said_with_failed(
        [sender, target], [failure(signal, sender, found(target), sent, "tid-kill")]
    )


def test_kill_not_permitted_at_thread(said_with_failed, weak, target):
    sent = weak.send("kill", SIGUSR1, target, to=1, ok="EPERM")
    # Its process's own number: not aimed at a thread, whatever comes of it.
    weak.send("kill", SIGUSR1, target, to=0, ok="EPERM")
    signal = failed_object(SIGUSR1, "kill", "EPERM", scope="process", code=SI_USER)
    said_with_failed([weak, target], [failure(signal, weak, found(target), sent, "tid-kill")])


def test_kill_failures_that_mean_no_thread(said_with_failed, sender, target, gone):
    """kill(2) at a number that is nobody's, or at a living process with signal 0: nobody can tell
    that a thread was meant. Not said, even with -x."""
    sender.send_ids("kill", SIGUSR1, gone, gone, ok="ESRCH")
    sender.send_ids("rt_sigqueueinfo", SIGUSR1, gone, gone, ok="ESRCH")
    sender.send("kill", 0, target, to=0)
    sender.send_ids("kill", 0, 0, 0)  # its own process group
    said_with_failed([sender, target], [])


def test_success_is_said_once_with_failed(watching, sender, target):
    """-x looks at the calls too: what succeeded must not be said twice. Its long name."""
    agent = watching("--failed")
    sent = sender.send("tgkill", SIGUSR1, target)
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    expected = [alert("thread-signal", signal, sender.sender(), target, 1, sent)]
    watching.expect(agent, pids([sender, target]), expected)


# --- Numbers that libc keeps for itself. ----------------------------------------------------------


@pytest.mark.parametrize("libc, number, call", [("glibc", 32, "tgkill"), ("musl", 33, "tkill")])
def test_cancel(watching, start_actor, libc, number, call):
    """pthread_cancel of a thread that can be cancelled at once. What else is said of it is
    test_calls.py's."""
    agent = watching()
    actor = start_actor(name="sig-cancel", threads=["victim", "other"], musl=libc == "musl")
    sent = actor.do(0, "cancel", 1)
    assert sent["canceled"]
    signal = signal_object(number, call, SI_TKILL, name="SIGCANCEL")
    expected = [alert("thread-signal", signal, actor.sender(0), actor, 1, sent)]
    watching.expect(agent, [actor.pid], expected, kinds=("thread-signal", "tid-kill"))


def test_callback_timer(start_agent, start_actor):
    """SIGEV_THREAD: at each expiry the kernel sends glibc's helper thread signal 32, the number of
    SIGCANCEL. Folded; as SIGTIMER, never SIGCANCEL."""
    actor = start_actor(name="sig-timer", threads=["arms"])
    agent = start_agent()
    actor.do(1, "callback-timer", 5)
    expect(agent, [actor.pid], [])
    assert noise_of(agent.alerts, actor.pid) == {"SIGTIMER": 5}, agent.said()


def test_callback_timer_shown(watching, start_actor):
    actor = start_actor(name="sig-timer", threads=["arms"])
    agent = watching("--all-signals")
    actor.do(1, "callback-timer", 5)
    signal = {
        "number": 32,
        "name": "SIGTIMER",
        "scope": "thread",
        "call": "timer",
        "code": SI_TIMER,
        "code_name": "SI_TIMER",
        # The helper takes it by sigwaitinfo and may not be back there yet.
        "result": one_of("queued", "already-pending"),
    }
    others = [t["tid"] for t in actor.threads]
    helper = {"kind": "thread-signal", "signal": signal, "sender": ABSENT,
              "process": actor.process(), "thread": {"tid": ANY}}
    got = watching.expect(agent, [actor.pid], [helper] * 5)
    assert all(a["thread"]["tid"] not in others for a in got), got


@pytest.mark.parametrize("libc, number, name",
                         [("glibc", 33, "SIGSETXID"), ("musl", 34, "SIGSYNCCALL")])
def test_set_ids(watching, start_actor, libc, number, name):
    """setuid() in a program with threads: libc has every other thread do it too, by a signal."""
    actor = start_actor(name="sig-setuid", threads=["a", "b", "c"], musl=libc == "musl")
    agent = watching("--all-signals")
    sent = actor.do(1, "setuid", 1)
    signal = signal_object(number, "tgkill" if libc == "glibc" else "tkill", SI_TKILL, name=name)
    others = [alert("thread-signal", signal, actor.sender(1), actor, to) for to in (0, 2, 3)]
    assert sent["others"] == len(others)
    watching.expect(agent, [actor.pid], [any_order(others)])


@pytest.mark.parametrize("libc, number, name", [("glibc", 32, "SIG32"), ("musl", 33, "SIG33")])
def test_not_a_cancel(said, sender, start_actor, libc, number, name):
    """The number of SIGCANCEL from another process cancels nothing: libc's handler looks who sent
    it. The target has not set it up either, so it is fatal."""
    target = mortal(start_actor(threads=["target-1"], musl=libc == "musl"))
    sent = sender.send("tgkill", number, target)
    assert target.workload.wait() == -number
    signal = signal_object(number, "tgkill", SI_TKILL, name=name, fatal=True)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


# --- What is folded. ------------------------------------------------------------------------------

# What an actor does, and what it then has got, as signal names and counts. {tid} is its thread 2.
FOLDED = {
    "raise": ("pthread raise 10 1 5", {"SIGUSR1": 5}),
    "pthread_kill of itself": ("pthread pthread_kill 10 1 3", {"SIGUSR1": 3}),
    "SIGURG to itself": ("send tgkill 23 {pid} {self} 4", {"SIGURG": 4}),
    "SIGURG to a sibling": ("send tgkill 23 {pid} {tid} 7", {"SIGURG": 7}),
    "setuid": ("setuid 3", {"SIGSETXID": 9}),
    "broken pipe": ("broken-pipe 3", {"SIGPIPE": 3}),
    "fault": ("fault 2", {"SIGSEGV": 2}),
    "timer with a callback": ("callback-timer 4", {"SIGTIMER": 4}),
}


@pytest.fixture
def folder(start_actor):
    handled = [f"handle={sig}" for sig in (SIGUSR1, SIGUSR2, SIGPIPE, SIGSEGV)]
    return start_actor(*handled, name="sig-folder", threads=["one", "two", "three"])


def fold(actor, what):
    steps, counts = FOLDED[what]
    ids = {"pid": actor.pid, "self": actor.threads[1]["tid"], "tid": actor.threads[2]["tid"]}
    words = steps.format(**ids).split()
    actor.do(1, *words, says="send" if words[0] == "pthread" else None)
    return counts


def fold_all(actor):
    """Everything in FOLDED; returns the sums by signal name."""
    sums = collections.Counter()
    for what in FOLDED:
        sums.update(fold(actor, what))
    return sums


def test_folded(start_agent, folder):
    """Everyday signals of a process to itself: not listed, counted exactly, said at each interval
    with who and what, and for the rest at the end."""
    agent = start_agent("--noise-interval", 1)
    expected = fold_all(folder)
    # Said while the agent runs: it is not the end that brings them.
    agent.wait_for(lambda a: noise_of(agent.alerts, folder.pid) == expected)
    # A count covers its own interval. The rest of the last one is said before the summary.
    expected.update(fold(folder, "raise"))
    expect(agent, [folder.pid], [])
    assert noise_of(agent.alerts, folder.pid) == expected, agent.said()
    for a in agent.alerts:
        if a["kind"] == "noise" and a["process"]["pid"] == folder.pid:
            assert difference(a["process"], folder.process()) is None, agent.said()
            assert 0 < a["interval_s"] <= TIMEOUT, a


def test_folded_rest_is_said_at_the_end(start_agent, start_actor, folder):
    """An interval that never ends within the run. abort() and a fatal raise() in a child that ends
    by it: folded, though the process is gone by the time it is said."""
    parent = start_actor(name="sig-parent", threads=["forks"])
    agent = start_agent("--noise-interval", 100000)
    expected = {**fold(folder, "raise"), **fold(folder, "SIGURG to a sibling")}
    children = {}
    for what, sig in (("abort", SIGABRT), ("raise", SIGTERM)):
        parent.workload.go(f"1 child {what} {sig}")
        children[sig] = parent.workload.event("child")["pid"]
        assert parent.workload.event("child-end")["signal"] == sig
    expect(agent, [folder.pid, parent.pid, *children.values()], [])
    assert noise_of(agent.alerts, folder.pid) == expected, agent.said()
    for sig, child in children.items():
        assert noise_of(agent.alerts, child) == {NAMES[sig]: 1}, agent.said()
    kinds = [a["kind"] for a in agent.alerts]
    first = kinds.index("noise")
    assert set(kinds[first:-1]) == {"noise"} and kinds[-1] == "summary", agent.said()
    assert agent.alerts[-1]["counts"]["noise"] == kinds.count("noise")


def test_all_signals(start_agent, start_actor, folder):
    """--all-signals shows each, and folds nothing."""
    parent = start_actor(name="sig-parent", threads=["forks"])
    agent = start_agent("--all-signals", "--no-limit")
    expected = fold_all(folder)
    parent.workload.go("1 child abort 0")
    child = parent.workload.event("child")
    assert parent.workload.event("child-end")["signal"] == SIGABRT
    agent.stop()
    shown = collections.Counter()
    for a in agent.alerts_of(folder.pid):
        assert a["kind"] == "thread-signal", agent.said()
        shown[a["signal"]["name"]] += 1
        if a["signal"]["name"] == "SIGSEGV":
            kernel = signal_object(SIGSEGV, "kernel", 1)
            assert difference(a["signal"], {**kernel, "code_name": "SEGV_MAPERR"}) is None, a
    assert shown == expected, agent.said()
    assert noise_of(agent.alerts, folder.pid, child["pid"]) == {}, agent.said()
    # abort(): it is fatal, and sent by the thread itself.
    me = {"process": {"pid": child["pid"]}, "thread": {"tid": child["tid"]}}
    signal = signal_object(SIGABRT, "tgkill", SI_TKILL, fatal=True)
    aborted = {"kind": "thread-signal", "signal": signal, "sender": me, **me}
    expect(agent, [child["pid"]], [aborted], stop=False)


@pytest.mark.parametrize("word, result", [("handle", "queued"), ("name", "ignored")])
def test_foreign_urgent_signal(said, sender, start_actor, word, result):
    """SIGURG from another process is no scheduler's: shown."""
    words = [f"handle={SIGURG}"] if word == "handle" else []
    target = start_actor(*words, name="sig-target", threads=["target-1"])
    sent = sender.send("tgkill", SIGURG, target)
    signal = signal_object(SIGURG, "tgkill", SI_TKILL, result=result)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


# --- Namespaces. ----------------------------------------------------------------------------------


def test_target_in_namespace(said, sender, start_actor):
    """Host ids first, those of the target's own PID namespace beside them."""
    target = start_actor(f"handle={SIGUSR1}", name="sig-inside", threads=["in-1"], pid_ns=True)
    assert target.main["ns_pid"] == 1 and target.main["pid"] != 1
    assert target.facts["pid_ns"] != os.stat("/proc/self/ns/pid").st_ino
    sent = sender.send("tgkill", SIGUSR1, target, scope="host")
    kill = sender.send("kill", SIGUSR1, target, scope="host")
    tgkill = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    at_process = signal_object(SIGUSR1, "kill", SI_USER, scope="process")
    said(
        [sender, target],
        [
            alert("thread-signal", tgkill, sender.sender(), target, 1, sent),
            alert("tid-kill", at_process, sender.sender(), target, 1, kill),
        ],
    )


def test_both_in_namespace(said, start_actor):
    actor = start_actor(f"handle={SIGUSR1}", name="sig-inside", threads=["in-1", "in-2"],
                        pid_ns=True)
    sent = actor.send("tgkill", SIGUSR1, actor, to=2)
    kill = actor.send("kill", SIGUSR1, actor, to=2)
    tgkill = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    at_process = signal_object(SIGUSR1, "kill", SI_USER, scope="process")
    said(
        [actor],
        [
            alert("thread-signal", tgkill, actor.sender(1), actor, 2, sent),
            alert("tid-kill", at_process, actor.sender(1), actor, 2, kill),
        ],
    )


@pytest.fixture
def nested(start_actor):
    """An actor two PID namespaces down, and one in the namespace between that and the host's."""
    inner = start_actor(f"handle={SIGUSR1}", name="sig-inner", threads=["in-1"], pid_ns=True,
                        prefix=[str(LIVE / "lock_pidns")])
    between = inner.facts["ppid"]  # the second lock_pidns
    assert os.stat(f"/proc/{between}/ns/pid").st_ino != inner.facts["pid_ns"]
    outer = start_actor(f"handle={SIGUSR1}", name="sig-outer", threads=["out-1"],
                        prefix=["nsenter", f"--pid=/proc/{between}/ns/pid"])
    assert outer.facts["pid_ns"] == os.stat(f"/proc/{between}/ns/pid").st_ino
    return inner, outer


def numbers(pid, tid):
    """What a thread is called in each PID namespace, the host's first: (process, thread)."""
    status = pathlib.Path(f"/proc/{pid}/task/{tid}/status").read_text()
    lists = [re.search(rf"^{name}:(.*)$", status, re.M)[1].split() for name in ("NStgid", "NSpid")]
    return [tuple(map(int, pair)) for pair in zip(*lists)]


def test_nested_namespaces(said, nested):
    """The sender names the target by the number that it has in the sender's namespace. Whatever the
    two are called where, it is one fact and one alert, with the ids of the host and of each one's own
    namespace."""
    inner, outer = nested
    thread = inner.threads[1]
    called = numbers(inner.pid, thread["tid"])
    assert len(called) == 3 and called[0] == (inner.pid, thread["tid"])
    assert called[2] == (inner.main["ns_pid"], thread["ns_tid"]) == (1, thread["ns_tid"])
    assert called[1][0] not in (1, inner.pid)
    sent = outer.send_ids("tgkill", SIGUSR1, *called[1])
    inner.do(0, "handled", SIGUSR1, 1)
    kill = outer.send_ids("kill", SIGUSR1, *called[1])
    said(
        [inner, outer],
        [
            alert("thread-signal", signal_object(SIGUSR1, "tgkill", SI_TKILL), outer.sender(),
                  inner, 1, sent),
            alert("tid-kill", signal_object(SIGUSR1, "kill", SI_USER, scope="process"),
                  outer.sender(), inner, 1, kill),
        ],
    )


def test_nobody_in_namespace(said_with_failed, start_actor):
    """The number that a sender inside names is its namespace's, not the host's."""
    actor = start_actor(name="sig-inside", threads=["in-1", "in-2"], pid_ns=True)
    sent = actor.send_ids("tkill", SIGUSR1, 0, 32000, ok="ESRCH")
    signal = failed_object(SIGUSR1, "tkill", "ESRCH")
    nobody = {"process": ABSENT, "thread": {"tid": ABSENT, "ns_tid": 32000}}
    said_with_failed([actor], [failure(signal, actor, nobody, sent)])


def test_probe_in_namespace(said_with_failed, start_actor):
    """One that is there is found by that number."""
    actor = start_actor(name="sig-inside", threads=["in-1", "in-2"], pid_ns=True)
    sent = actor.send("tkill", 0, actor, to=2)
    signal = {"number": 0, "result": "probed", "call": "tkill"}
    there = {"process": {"pid": actor.pid},
             "thread": {"tid": actor.threads[2]["tid"], "ns_tid": actor.threads[2]["ns_tid"]}}
    said_with_failed([actor], [failure(signal, actor, there, sent)])


def test_init_of_namespace(said, sender, start_actor):
    """Process 1 of a namespace is spared the default action: not fatal, the kernel drops it."""
    target = start_actor(name="sig-init", threads=["in-1"], pid_ns=True)
    sent = sender.send("tgkill", SIGTERM, target, scope="host")
    assert target.do(1, "handled", SIGTERM, 0)["total"] == 0  # alive
    signal = signal_object(SIGTERM, "tgkill", SI_TKILL, result="ignored")
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


@pytest.mark.parametrize("call", ["tgkill", "kill"])
def test_kill_of_namespace_init(said, sender, start_actor, call):
    """Only SIGKILL from an outer namespace ends it: fatal."""
    target = mortal(start_actor(name="sig-init", threads=["in-1"], pid_ns=True))
    sent = sender.send(call, SIGKILL, target, scope="host")
    assert target.workload.wait() == 128 + SIGKILL, "as unshare says that its child was killed"
    if call == "kill":
        signal = signal_object(SIGKILL, "kill", SI_USER, scope="process", fatal=True)
        kind = "tid-kill"
    else:
        signal = signal_object(SIGKILL, "tgkill", SI_TKILL, fatal=True)
        kind = "thread-signal"
    said([sender, target], [alert(kind, signal, sender.sender(), target, 1, sent)])


# --- Filters. -------------------------------------------------------------------------------------


class Scene:
    """Two targets, two senders, and five signals between them, by which filters are told apart."""

    def __init__(self, start_actor):
        words = [f"handle={SIGUSR1}", f"handle={SIGUSR2}"]
        self.a = start_actor(*words, name="sig-alpha", threads=["a1", "a2"])
        self.b = start_actor(*words, name="sig-beta", threads=["b1"])
        self.s = start_actor(name="sig-sender1", threads=["s1"])
        self.z = start_actor(name="sig-sender2", threads=["z1"])

    def play(self):
        """name → the alert to expect, if it is let through."""
        s, z, a, b = self.s, self.z, self.a, self.b
        steps = {
            "s-a1-usr1": (s, "tgkill", SIGUSR1, a, 1),
            "s-a2-usr2": (s, "tgkill", SIGUSR2, a, 2),
            "s-b1-usr1": (s, "tgkill", SIGUSR1, b, 1),
            "z-a1-usr1": (z, "tgkill", SIGUSR1, a, 1),
            "kill-a2": (s, "kill", SIGUSR1, a, 2),
        }
        expected = {}
        taken = collections.Counter()
        for name, (by, call, sig, to, thread) in steps.items():
            sent = by.send(call, sig, to, to=thread)
            taken[to.pid, sig] += 1  # or the next one could find it pending
            to.do(0, "handled", sig, taken[to.pid, sig])
            scope = "process" if call == "kill" else "thread"
            code = SI_USER if call == "kill" else SI_TKILL
            kind = "tid-kill" if call == "kill" else "thread-signal"
            expected[name] = alert(kind, signal_object(sig, call, code, scope=scope),
                                   by.sender(), to, to=thread, sent=sent)
        return expected

    @property
    def pids(self):
        return [x.pid for x in (self.a, self.b, self.s, self.z)]


ALL = ["s-a1-usr1", "s-a2-usr2", "s-b1-usr1", "z-a1-usr1", "kill-a2"]
OF_A = [name for name in ALL if "a" in name.split("-")[1]]
USR1 = [name for name in ALL if name != "s-a2-usr2"]

# {x} is the pid of actor x, {xN} the tid of its thread N. Filters do not depend on the kernel:
# where a machine is slow (DEADHOLD_SCALE below 1), only the last one of each option is tried.
FILTERS = {
    "none": ("", ALL),
    "pid": ("-p {a}", OF_A),
    "pid, the other": ("-p {b}", ["s-b1-usr1"]),
    "pid, twice": ("-p {a} --pid {b}", ALL),
    "pid of a sender": ("-p {s}", []),
    "tid": ("-t {a1}", ["s-a1-usr1", "z-a1-usr1"]),
    "tid, the other": ("--tid {a2}", ["s-a2-usr2", "kill-a2"]),
    "tid, twice": ("-t {a2} -t {b1}", ["s-a2-usr2", "s-b1-usr1", "kill-a2"]),
    "sender": ("--sender-pid {z}", ["z-a1-usr1"]),
    "sender, the other": ("--sender-pid {s}", [n for n in ALL if n != "z-a1-usr1"]),
    "sender that is a target": ("--sender-pid {a}", []),
    "signal": ("-s SIGUSR2", ["s-a2-usr2"]),
    "signal, short name": ("-s USR2", ["s-a2-usr2"]),
    "signal by number": ("--signal 10", USR1),
    "signals": ("-s USR1,SIGUSR2", ALL),
    "signals, options": ("-s USR1 -s 12", ALL),
    "another signal": ("-s SIGRTMIN+3,64", []),
    "not signal": ("--not-signal USR1", ["s-a2-usr2"]),
    "not signals": ("--not-signal 10,SIGUSR2", []),
    "not another signal": ("--not-signal SIGTERM", ALL),
    "signal and not": ("-s USR1,USR2 --not-signal USR2", USR1),
    "kind": ("-k tid-kill", ["kill-a2"]),
    "kind, the other": ("--kind thread-signal", ALL[:-1]),
    "kinds": ("-k thread-signal,tid-kill", ALL),
    "kind of locks": ("-k lock-orphaned", []),
    "comm": ("--comm sig-alpha", OF_A),
    "comm by pattern": ("--comm sig-b*", ["s-b1-usr1"]),
    "comms": ("--comm sig-alpha --comm sig-b?ta", ALL),
    "comm of nobody": ("--comm alpha", []),
    "not comm": ("--not-comm sig-alpha", ["s-b1-usr1"]),
    "not comm by pattern": ("--not-comm sig-[ab]*", []),
    "not comm of nobody": ("--not-comm nobody", ALL),
    "all of them": ("-p {a} -p {b} -s USR1 -k thread-signal --not-comm sig-beta --sender-pid {z}",
                    ["z-a1-usr1"]),
}


FILTER_CASES = (
    FILTERS
    if SCALE >= 1
    else {options.partition(" ")[0]: case for case, (options, _) in FILTERS.items()}.values()
)


@pytest.mark.parametrize("case", FILTER_CASES)
def test_filter(alone, start_agent, start_actor, case):
    scene = Scene(start_actor)
    options, passes = FILTERS[case]
    ids = {}
    for name in "absz":
        for index, thread in enumerate(getattr(scene, name).threads):
            ids[f"{name}{index or ''}"] = thread["tid"]
    agent = start_agent(*options.format(**ids).split())
    played = scene.play()
    expect(agent, scene.pids, [played[name] for name in passes])


def cgroup_root():
    """Where the unified hierarchy is mounted, and writable; else skips."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return pathlib.Path(where)
    pytest.skip("no cgroup2 file system is mounted here, writable")


@pytest.fixture
def cgroup():
    """A group of its own, removed again: {path in the hierarchy, directory}."""
    root = cgroup_root()
    directory = root / f"deadhold-test-{os.getpid()}"
    try:
        (directory / "below").mkdir(parents=True)
    except OSError as e:
        pytest.skip(f"can't make a cgroup here: {e}")
    yield directory
    for path in [*sorted(directory.glob("**/"), reverse=True)]:
        # Whoever was in it has been killed by now: fixtures end in reverse order.
        for pid in (path / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(pid)
        path.rmdir()


@pytest.mark.parametrize(
    "form", ["path", "directory", "below", "another"] if SCALE >= 1 else ["directory", "below"]
)
def test_cgroup_filter(cgroup, start_agent, start_actor, form):
    """-c takes the path as /proc/PID/cgroup has it, or the directory; groups below count too."""
    scene = Scene(start_actor)
    group = cgroup / "below" if form == "below" else cgroup
    (group / "cgroup.procs").write_text(str(scene.a.pid))
    scene.a.facts = process_facts(scene.a.pid)
    path = "/" + str(cgroup.relative_to(cgroup_root()))
    assert scene.a.facts["cgroup"].startswith(path)
    given = {"path": path, "below": path, "directory": cgroup, "another": path + "/below"}[form]
    agent = start_agent("-c", given)
    played = scene.play()
    passes = [] if form == "another" else OF_A
    expect(agent, scene.pids, [played[name] for name in passes])


CONTAINER = "0123456789abcdef" * 4

# Where a process is in the hierarchy → its unit, its container.
PLACES = {
    "system.slice/deadhold-test.service": ("deadhold-test.service", ABSENT),
    "user.slice/user-7.slice/session-3.scope": ("session-3.scope", ABSENT),
    f"system.slice/docker-{CONTAINER}.scope": (ABSENT, CONTAINER),
    f"docker/{CONTAINER}": (ABSENT, CONTAINER),
    f"system.slice/containerd.service/kubepods/burstable/pod7/{CONTAINER}": (
        "containerd.service", CONTAINER
    ),
    f"kubepods.slice/kubepods-pod7.slice/crio-{CONTAINER}.scope": (ABSENT, CONTAINER),
    f"user.slice/user@7.service/user.slice/libpod-{CONTAINER}.scope/container": (
        "user@7.service", CONTAINER
    ),
    f"machine.slice/libpod-conmon-{CONTAINER}.scope": (
        f"libpod-conmon-{CONTAINER}.scope", ABSENT  # its monitor, which is outside
    ),
    f"docker/{CONTAINER}/docker/{CONTAINER[::-1]}": (ABSENT, CONTAINER[::-1]),
    f"docker-{CONTAINER[:-1]}.scope": (f"docker-{CONTAINER[:-1]}.scope", ABSENT),  # no id
    "ordinary/group": (ABSENT, ABSENT),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_unit_and_container(cgroup, said, sender, start_actor, place):
    """By the path of the cgroup, as systemd, docker and kubernetes make them."""
    unit, container = PLACES[place]
    directory = cgroup / "below" / place
    directory.mkdir(parents=True)
    target = start_actor(f"handle={SIGUSR1}", name="sig-target", threads=["target-1"])
    (directory / "cgroup.procs").write_text(str(target.pid))
    target.facts = {**process_facts(target.pid), "unit": unit, "container_id": container}
    assert target.facts["cgroup"] == "/" + str(directory.relative_to(cgroup_root()))
    sent = sender.send("tgkill", SIGUSR1, target)
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


# In containers that lie in each other, and in a service.
SCENE_PLACES = {
    "a": f"system.slice/docker-{CONTAINER}.scope/docker/{CONTAINER[::-1]}",
    "b": "system.slice/deadhold-test.service/below",
}
PLACE_FILTERS = {
    "container": (f"--container {CONTAINER[::-1]}", OF_A),
    "the one around it": (f"--container {CONTAINER[:12]}", OF_A),
    "a container and another": (f"--container {CONTAINER[:1]} --container ee", OF_A),
    "another container": (f"--container {CONTAINER[1:13]}", []),
    "unit": ("--unit deadhold-test.service", ["s-b1-usr1"]),
    "unit, as systemctl takes it": ("--unit deadhold-test", ["s-b1-usr1"]),
    "another unit": ("--unit deadhold", []),
    "container and unit": (f"--container {CONTAINER[:12]} --unit deadhold-test", []),
    "container's scope": (f"--unit docker-{CONTAINER}.scope", OF_A),
}


@pytest.mark.parametrize(
    "case", PLACE_FILTERS if SCALE >= 1 else ["the one around it", "unit"]
)
def test_place_filter(cgroup, start_agent, start_actor, case):
    scene = Scene(start_actor)
    for name, place in SCENE_PLACES.items():
        actor = getattr(scene, name)
        directory = cgroup / "below" / place
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(str(actor.pid))
        actor.facts = process_facts(actor.pid)
    options, passes = PLACE_FILTERS[case]
    agent = start_agent(*options.split())
    played = scene.play()
    expect(agent, scene.pids, [played[name] for name in passes])


@pytest.fixture
def old_cgroup():
    """A group in a version 1 hierarchy, where processes are in the root of version 2."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "rw" in options.split(",") and "pids" in options.split(","):
            break
    else:
        pytest.skip("no version 1 cgroup file system with pids is mounted here, writable")
    root = pathlib.Path(where)
    directory = root / f"deadhold-test-{os.getpid()}"
    try:
        (directory / "docker" / CONTAINER).mkdir(parents=True)
    except OSError as e:
        pytest.skip(f"can't make a cgroup here: {e}")
    yield directory / "docker" / CONTAINER
    for path in [*sorted(directory.glob("**/"), reverse=True)]:
        for pid in (path / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(pid)
        path.rmdir()


def test_container_of_version_1(old_cgroup, start_agent, sender, start_actor):
    """Its id is there, though the version 2 hierarchy says nothing of it."""
    agent = start_agent("--container", CONTAINER[:12])
    targets = [
        start_actor(f"handle={SIGUSR1}", name="sig-target", threads=["target-1"]) for _ in range(2)
    ]
    target = targets[0]
    (old_cgroup / "cgroup.procs").write_text(str(target.pid))
    # Those that this host has put the tests into would be as good.
    for line in pathlib.Path(f"/proc/{target.pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if path != "/" and not path.endswith(CONTAINER):
            hierarchy = pathlib.Path("/sys/fs/cgroup") / (names.removeprefix("name=") or "unified")
            (hierarchy / "cgroup.procs").write_text(str(target.pid))
    target.facts = {**process_facts(target.pid), "container_id": CONTAINER, "unit": ABSENT}
    assert CONTAINER in target.facts["cgroup"]
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    sent = sender.send("tgkill", SIGUSR1, target)
    sender.send("tgkill", SIGUSR1, targets[1])
    expect(agent, [sender.pid, target.pid],
           [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


def as_user(uid):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


@pytest.mark.parametrize("uid", [65534, 54321], ids=["named", "nameless"])
def test_user(said, sender, start_actor, uid):
    """By the host's passwd file; a number that is not there has no name."""
    target = start_actor(f"handle={SIGUSR1}", name="sig-target", threads=["target-1"],
                         prefix=as_user(uid))
    assert target.facts["uid"] == uid
    assert (target.facts["user"] is ABSENT) == (uid == 54321)
    sent = sender.send("tgkill", SIGUSR1, target)
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])


def test_cgroup_filter_and_death(cgroup, start_agent, sender, start_actor):
    """A process that is killed at once: it was in the group, whether or not that could still be
    read when the alert was made."""
    agent = start_agent("-c", "/" + str(cgroup.relative_to(cgroup_root())))
    expected, pids = [], []
    for _ in range(8):
        target = mortal(start_actor(name="sig-mortal", threads=["target-1"]))
        (cgroup / "cgroup.procs").write_text(str(target.pid))
        sent = sender.send("tgkill", SIGKILL, target)
        assert target.workload.wait() == -SIGKILL
        signal = signal_object(SIGKILL, "tgkill", SI_TKILL, fatal=True)
        expected.append(alert("thread-signal", signal, sender.sender(), target, sent=sent))
        expected[-1]["process"]["cgroup"] = one_of(ANY, ABSENT)
        pids.append(target.pid)
    expect(agent, [sender.pid, *pids], expected)


def test_filter_and_noise(start_agent, start_actor, folder):
    """Folded signals are filtered by the same rules."""
    other = start_actor(f"handle={SIGUSR1}", name="sig-other", threads=["one", "two"])
    agent = start_agent("-p", folder.pid, "--not-signal", "URG")
    for actor in (folder, other):
        fold(actor, "raise")
        fold(actor, "SIGURG to a sibling")
    agent.stop()
    assert noise_counts(agent.alerts) == {(folder.pid, SIGUSR1): 5}, agent.said()


# --- Bursts. --------------------------------------------------------------------------------------

BURST = max(1000, int(100_000 * SCALE))


def burst(two, folder, target):
    """Signals as fast as two threads can send them, while two more send some that are folded. Returns
    what is to be compared: how many were sent, said, folded, lost, and sent by others."""
    with (
        CountingAgent("--no-limit", "-p", target.pid, "-p", folder.pid, target=target.pid) as agent,
        thread_signals() as counter,
    ):
        thread = target.threads[1]
        each = BURST // 4
        folder.workload.go(f"all send tgkill {SIGURG} {folder.pid} {folder.threads[0]['tid']} {each}")
        sent = 2 * each
        for sig in (SIGUSR1, 37):
            events = two.all_do("send", "tgkill", sig, thread["pid"], thread["tid"], each,
                                timeout=TIMEOUT * 10)
            for e in events:
                # A full queue is a result too: the kernel says so where it happens.
                assert e["ok"] + e["again"] == e["count"] == each, e
                sent += e["count"]
        for _ in range(2):
            assert folder.workload.event("send", TIMEOUT * 10)["ok"] == each
        agent.stop(timeout=TIMEOUT * 10)
        others = counter.read() - sent
        summary = agent.alerts[-1]
        losses = losses_of(agent.alerts)
        assert losses == summary["losses"], agent.said()
        assert summary["counts"]["thread-signal"] == sum(agent.counted.values()), summary
        folded = noise_of(agent.alerts, folder.pid)
        assert set(folded) == {"SIGURG"}
        said = sum(agent.counted.values())
        print(f"events {events}")
        print(f"sent {sent}, said {agent.counted}, folded {folded}, lost {losses}, others {others}")
        return sent, said + folded["SIGURG"], losses, others


def test_burst(alone, start_actor, target):
    """Those said, folded and lost are all there were: exactly, in each run. Only what others of this
    host send meanwhile can be lost besides."""
    two = start_actor(name="sig-burst", threads=["one", "two"])
    folder = start_actor(name="sig-folder", threads=["three", "four"])
    for _ in range(2):
        sent, seen, losses, others = burst(two, folder, target)
        assert others >= 0
        # A hook that is left out may be any hook: what it can be is `recursion` at most.
        lost = losses["signals"]
        assert set(losses) <= {"signals", "ring-buffer", "recursion"}, losses
        assert sent - losses["recursion"] <= seen + lost <= sent + others


def told(alerts):
    """How many alerts these lines stand for."""
    return sum(a.get("merged", {"count": 1})["count"] for a in alerts)


def test_storm(start_agent, start_actor, target):
    """A thousand signals to one thread: the first is said at once, by itself; all others are counted,
    exactly."""
    sender = start_actor(name="sig-storm", threads=["one"])
    agent = start_agent("-p", target.pid)
    first = sender.send("tgkill", SIGUSR1, target)
    alone = agent.wait_for(kind="thread-signal", pid=target.pid)
    assert "merged" not in alone
    assert first["before_ns"] <= int(alone["ktime_ns"]) <= first["after_ns"]
    target.do(0, "handled", SIGUSR1, 1)
    sent = sender.send("tgkill", SIGUSR1, target, count=999)
    agent.stop()
    lines = agent.alerts_of(target.pid)
    by_result = collections.Counter()
    for line in lines[1:]:
        by_result[line["signal"]["result"]] += told([line])
        assert difference(line, {
            "kind": "thread-signal",
            "sender": sender.sender(),
            "process": target.process(),
            "thread": target.thread(1),
        }) is None, line
    assert lines[0] == alone and told(lines) == 1000, agent.said()
    assert set(by_result) <= {"queued", "already-pending"}
    merged = [line for line in lines if "merged" in line]
    assert merged, agent.said()
    for line in merged:
        assert line["merged"]["several_threads"] is False
        assert line["merged"]["first"] <= line["time"]
        assert sent["before_ns"] <= int(line["ktime_ns"]) <= sent["after_ns"]
        assert line["message"].endswith(f" ({line['merged']['count']} times)")
    # The two results, each with a first line of its own, in the seconds that it took.
    seconds = (sent["after_ns"] - first["before_ns"]) / 1e9
    assert len(lines) <= 4 + 2 * seconds, agent.said()
    figures = agent.alerts[-1]["figures"]
    assert figures["alerts_merged"] == 1000 - len(lines), agent.said()


MANY_THREADS = 12  # more than are said by themselves


def test_storm_on_many_threads(start_agent, start_actor):
    """Eight are said by themselves, the others are counted as of several threads."""
    threads = [f"t{i}" for i in range(MANY_THREADS)]
    target = start_actor(f"handle={SIGUSR1}", name="sig-many", threads=threads)
    sender = start_actor(name="sig-storm", threads=["one"])
    agent = start_agent("-p", target.pid)
    for i in range(1, MANY_THREADS + 1):
        sender.send("tgkill", SIGUSR1, target, to=i)
        target.do(0, "handled", SIGUSR1, i)
    agent.stop()
    lines = agent.alerts_of(target.pid)
    assert told(lines) == MANY_THREADS
    single = [line["thread"]["name"] for line in lines if "merged" not in line]
    assert single[:8] == threads[:8], agent.said()
    assert all(line["merged"]["several_threads"] for line in lines if "merged" in line)


def test_no_limit(start_agent, start_actor, target):
    sender = start_actor(name="sig-storm", threads=["one"])
    agent = start_agent("-p", target.pid, "--no-limit")
    sender.send("tgkill", SIGUSR1, target, count=1000)
    agent.stop()
    lines = agent.alerts_of(target.pid)
    assert len(lines) == 1000 and not any("merged" in line for line in lines)
    assert agent.alerts[-1]["figures"]["alerts_merged"] == 0


def test_burst_merged(alone, start_actor, start_agent, target):
    """As fast as two threads can: what was said and merged is what was sent."""
    two = start_actor(name="sig-burst", threads=["one", "two"])
    agent = start_agent("-p", target.pid, allow_loss=True)
    thread = target.threads[1]
    sent = 0
    with thread_signals() as counter:
        events = two.all_do("send", "tgkill", SIGUSR1, thread["pid"], thread["tid"], BURST // 2,
                            timeout=TIMEOUT * 10)
        sent = sum(e["ok"] for e in events)
        agent.stop(timeout=TIMEOUT * 10)
        others = counter.read() - sent
    lines = agent.alerts_of(target.pid)
    losses = losses_of(agent.alerts)
    assert sent == BURST // 2 * 2 and others >= 0
    assert set(losses) <= {"signals", "ring-buffer", "recursion"}, losses
    seen = told(lines) + losses["signals"]
    assert sent - losses["recursion"] <= seen <= sent + others, agent.said()
    assert len(lines) < 100, agent.said()


def test_folded_burst(alone, start_agent, start_actor):
    """Folded in the kernel, by four threads at once: the count is exact."""
    actor = start_actor(name="sig-folder", threads=["one", "two", "three", "four"])
    agent = start_agent("--noise-interval", 1)
    each = BURST // 4
    events = actor.all_do("send", "tgkill", SIGURG, actor.pid, actor.threads[1]["tid"], each,
                          timeout=TIMEOUT * 10)
    assert sum(e["ok"] for e in events) == 4 * each
    agent.stop()
    assert agent.alerts_of(actor.pid) == [], agent.said()
    assert noise_of(agent.alerts, actor.pid) == {"SIGURG": 4 * each}, agent.said()


# --- Hostile names. -------------------------------------------------------------------------------

# Bytes → how the contract writes them. 15 bytes are what the kernel keeps.
HOSTILE = {
    b"\x1b[31mred\n\r\tx": "\\x1b[31mred\\x0a\\x0d\\x09x",
    b"\x1b]0;title\x07": "\\x1b]0;title\\x07",
    b"\xff\xfeok\x80": "\\xff\\xfeok\\x80",
    b'a"b\\c\'d': "a\"b\\\\c'd",
    b"caf\xc3\xa9": "caf\u00e9",
    b"abcdefghijklmn\xc3\xa9": "abcdefghijklmn\\xc3",  # cut in the middle of a character
    b"\xc2\x9b31m": "\\xc2\\x9b31m",  # CSI as one character
    b"\xe2\x80\xaeevil": "\\xe2\\x80\\xaeevil",  # right-to-left override
    b"\xed\xa0\x80\xc0\xaf": "\\xed\\xa0\\x80\\xc0\\xaf",  # a surrogate; an overlong slash
    b"%s%n${x}`": "%s%n${x}`",
}


@pytest.fixture(scope="module")
def text():
    """An agent that writes text."""
    with RawAgent() as agent:
        agent.wait_line(r" ready ")
        yield agent
        agent.stop()


@pytest.mark.parametrize("raw", HOSTILE, ids=lambda raw: raw.hex())
def test_hostile_name(said, text, start_actor, raw):
    """In every place where a name can be: the sender's and the target's, thread and process."""
    name = "hex:" + raw.hex()
    sender = start_actor(name=name, threads=[name])
    target = start_actor(f"handle={SIGUSR1}", name=name, threads=[name])
    sender.name = target.name = HOSTILE[raw]
    sender.names = target.names = [HOSTILE[raw]] * 2
    sent = sender.send("tgkill", SIGUSR1, target)
    signal = signal_object(SIGUSR1, "tgkill", SI_TKILL)
    said([sender, target], [alert("thread-signal", signal, sender.sender(), target, 1, sent)])
    text.wait_line(rf" thread-signal .*\[{target.pid}\]")
    text.wait_line(rf"^  target .*\(tid {target.threads[1]['tid']}\)")
    whole = b"".join(text.lines).decode()  # UTF-8
    assert HOSTILE[raw] in whole, text.said()
    bad = [c for c in whole if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0]
    assert not bad and "\u202e" not in whole, text.said()
    # A name can't begin a line of its own.
    for line in whole.splitlines():
        assert line.startswith("  ") or line[2] == ":", text.said()
