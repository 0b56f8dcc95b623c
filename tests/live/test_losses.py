# SPDX-License-Identifier: GPL-2.0-only
"""What can't be said is counted: a full ring buffer, memory that nobody can read, a reader that does
not answer. And what comes after it is complete again."""

import os
import pathlib
import re
import signal
import time

import pytest

from calls import Steps as Calls
from calls import cancelled, needs_uprobes, program, wait_prober
from counter import Counter, kernel_file, thread_signals
from deadhold import LOCK_KINDS, SCALE, TIMEOUT, expect, expect_nothing_about_locks
from signals import (
    SI_TKILL,
    SIGURG,
    SIGUSR1,
    Actor,
    CountingAgent,
    alert,
    comm_of,
    descendants,
    readers,
    losses_of,
    noise_of,
    signal_object,
)
from steps import (
    ABSENT,
    ANY,
    address,
    expect_orphans,
    expect_unnamed_owner,
    held_back_process,
    lock,
    one_of,
    orphaned,
    process,
    settle_shared,
    shared_id,
    stuck,
    waiter,
)

RING_BUFFER = 27  # enum bpf_map_type


@pytest.fixture
def start_calls(start_workload):
    """start_calls(libc): call_steps, ready for its first step."""

    def start(libc="glibc"):
        calls = start_workload(program(libc), kind=Calls)
        calls.event("ready")
        return calls

    return start


def ring_bytes(agent):
    """How large the agent's ring buffer is, by its descriptor."""
    for path in pathlib.Path(f"/proc/{agent.process.pid}/fdinfo").iterdir():
        info = dict(re.findall(r"^(\w+):\s*(\d+)$", path.read_text(), re.M))
        if info.get("map_type") == str(RING_BUFFER):
            return int(info["max_entries"])
    raise AssertionError("the agent has no ring buffer")


# sizeof(struct ev_signal), and the kernel's header of a record: a test of its own in bpf/event.h.
RECORD_BYTES = 200 + 8


def test_full_ring_buffer(start_workload, start_steps, start_calls):
    """The agent does not run for a while, and the kernel has more to say than there is room for."""
    if SCALE < 1:
        pytest.skip("a whole ring buffer takes minutes on a slow machine")
    target = Actor(start_workload, f"handle={SIGUSR1}", name="sig-target", threads=["target-1"])
    two = Actor(start_workload, name="sig-burst", threads=["one", "two"])
    w = start_steps("normal", "normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.do("short show")
    calls = start_calls()
    victim, victim2 = calls.begin("victim", "masked"), calls.begin("victim2", "spin")
    n_calls = 5
    pids = [word for p in (target, two, w, calls) for word in ("-p", p.pid)]
    with CountingAgent("--no-limit", *pids, target=target.pid) as agent, thread_signals() as counter:
        each = ring_bytes(agent) // RECORD_BYTES * 3 // 4
        thread = target.threads[1]
        with held_back_process(agent.process.pid):
            events = two.all_do("send", "tgkill", SIGUSR1, thread["pid"], thread["tid"], each,
                                timeout=TIMEOUT * 10)
            assert sum(e["ok"] for e in events) == 2 * each
            events = two.all_do("send", "tgkill", SIGURG, two.pid, two.pid, 1000)
            assert sum(e["ok"] for e in events) == 2000
            w.dies("short return")
            w.dies("owner return")
            for _ in range(n_calls):
                calls.do("cancel victim", "cancelled")
        others = counter.read() - 2 * each - 2000
        agent.wait_for(kind="loss", timeout=TIMEOUT * 10)
        agent.wait_for(kind="orphan-wait", pid=w.pid)
        agent.wait_sweeps(2)

        # From here on nothing is lost.
        lost = losses_of(agent.alerts)
        said = sum(agent.counted.values())
        two.send("tgkill", SIGUSR1, target, count=100)
        owner2 = w.do("owner2 lock B")
        c = w.blocks("waiter2 lock B")
        w.dies("owner2 return")
        agent.wait_for(kind="orphan-wait", pid=w.pid, count=2)
        calls.do("cancel victim2", "cancelled")
        calls.do("join victim2", "joined")
        if probed := agent.ready["uprobes"]["state"] == "on":
            agent.wait_for(kind="thread-cancel", pid=calls.pid)
        agent.stop()
        assert losses_of(agent.alerts) == lost == agent.alerts[-1]["losses"], agent.said()
        assert sum(agent.counted.values()) == said + 100

        print(f"sent {2 * each}, said {said}, lost {lost}, others {others}")
        assert noise_of(agent.alerts, two.pid) == {"SIGURG": 2000}
        # Exactly what was not said; but for what others of this host sent, if they did.
        missing = 2 * each - said
        assert 0 < missing <= lost["signals"] <= missing + others
        assert lost["ring-buffer"] >= 2, "the two exits at least"
        assert lost["calls"] >= n_calls if probed else "calls" not in lost, "others may call it as well"
        assert set(lost) == {"signals", "ring-buffer"} | ({"calls"} if probed else set())
        expect(agent, calls, [cancelled(victim2)] if probed else [], kinds=("thread-cancel",),
               stop=False)

        # The exit record was lost; that it is dead, and since when, the kernel has kept.
        held = lock(owner, proof="waiter")
        held2 = lock(owner2)
        dead = {"tid": owner["tid"], "name": ABSENT}
        exits = {"reason": "unknown", "code": ABSENT, "signal": ABSENT, "time": one_of(ANY, ABSENT)}
        reason = agent.reason("return")
        expect_orphans(
            agent,
            w,
            [
                {**orphaned(owner, [held], "unknown", [waiter(b)], thread=dead), "exit": exits},
                {**stuck(b, held, dead, "unknown"), "owner": {"thread": dead, "exit": exits}},
                orphaned(owner2, [held2], reason, [waiter(c)]),
                stuck(c, held2, owner2, reason),
            ],
            stop=False,
        )


DEAD_ROWS, NOISE_ROWS = 65536, 8192  # bpf/maps.bpf.h, bpf/signal.bpf.c


def test_more_dead_threads_than_room(start_agent, start_workload, start_steps):
    """More threads end while the agent does not run than the kernel side can keep in mind. What such
    a thread held is found all the same, without its name."""
    if SCALE < 1:
        pytest.skip("so many threads take minutes on a slow machine")
    each, count = 24000, 3  # below what PIDs go up to: no process gets a number twice
    lossy = [start_workload("lossy", "exits", each) for _ in range(count)]
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    pids = [word for process in (w, *lossy) for word in ("-p", process.pid)]
    agent = start_agent("--census", "off", *pids, allow_loss=True, in_file=True)
    with Counter("sched/sched_process_exit", "pid > 0") as ended:
        with held_back_process(agent.process.pid):
            for process in lossy:
                process.go("go")
                process.event("done", timeout=TIMEOUT * 5)
            w.dies("owner return")
            ours, others = each * count + 1, ended.read() - each * count - 1
        agent.wait_for(kind="orphan-wait", pid=w.pid, timeout=TIMEOUT * 5)
    agent.wait_sweeps(2)
    agent.stop()
    lost = losses_of(agent.alerts)
    print(f"ours {ours}, others {others}, lost {lost}")
    assert lost == agent.alerts[-1]["losses"], agent.said()
    assert ours - DEAD_ROWS <= lost["dead-threads"] <= ours + max(others, 0)
    # Whatever else others of this host did found no room in the ring either.
    assert set(lost) <= {"dead-threads", "ring-buffer", "signals"}, lost
    held = lock(owner, proof="waiter")
    dead = one_of({"tid": owner["tid"], "name": ABSENT},
                  {"ns_tid": owner["ns_tid"], "tid": ABSENT, "name": ABSENT})
    unknown = {"reason": "unknown"}
    expect_orphans(
        agent,
        [w, *lossy],
        [
            {**orphaned(owner, [held], "unknown", [waiter(b, since=ABSENT)], thread=dead),
             "exit": unknown},
            {**stuck(b, held, dead, "unknown", {"since": ABSENT}),
             "owner": {"thread": dead, "exit": unknown}},
        ],
        stop=False,
    )


def test_more_folded_signals_than_room(start_agent, start_workload):
    """Counts of folded signals are kept by process and signal. Those that find no room are counted
    together."""
    if SCALE < 1:
        pytest.skip("so many processes take minutes on a slow machine")
    lossy = start_workload("lossy", "signals", NOISE_ROWS // 60 + 20)
    agent = start_agent("--noise-interval", 100000, allow_loss=True, in_file=True)
    with thread_signals() as counter:
        lossy.go("go")
        sent = lossy.event("done")["count"]
        agent.stop(timeout=TIMEOUT * 5)
        others = counter.read() - sent
    assert sent > NOISE_ROWS and others >= 0
    lost = losses_of(agent.alerts)
    assert lost == agent.alerts[-1]["losses"], agent.said()
    folded = sum(a["count"] for a in agent.alerts if a["kind"] == "noise")
    print(f"sent {sent}, folded {folded}, lost {lost}, others {others}")
    assert set(lost) == {"noise"}, lost
    assert lost["noise"] >= sent - NOISE_ROWS
    assert sent <= folded + lost["noise"] <= sent + others


def runs_left_out(agent):
    """How often the kernel left out one of the agent's programs, by itself."""
    found = 0
    for path in pathlib.Path(f"/proc/{agent.process.pid}/fdinfo").iterdir():
        found += sum(map(int, re.findall(r"^recursion_misses:\s*(\d+)$", path.read_text(), re.M)))
    return found


def needs_preemption():
    """Skips where a thread is not interrupted for another one while the kernel does something for it."""
    model = kernel_file("debugfs", "sched/preempt")
    if "(full)" not in model:
        pytest.skip(f"this kernel interrupts no thread within a hook: preemption is {model!r}")


def test_exit_within_an_exit(start_agent, start_workload, start_steps):
    """A thread ends on a CPU while the hook is at another one's exit there: the kernel leaves the hook
    out. Only on rungs during which it may let another thread run, and where it does so within the kernel:
    tests/vm/run --append preempt=full."""
    needs_preemption()
    agent = start_agent("--census", "off", allow_loss=True)
    if not agent.rung("exit").startswith("fentry"):
        pytest.skip("during this hook no other thread runs on the CPU")
    lossy = start_workload("lossy", "within", 50)
    lossy.go("go")
    done = lossy.event("done", timeout=TIMEOUT * 5)
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    agent.wait_sweeps(2)
    left_out = runs_left_out(agent)
    held, reason = lock(owner), agent.reason("return")
    expect_orphans(
        agent,
        [w, lossy],
        [orphaned(owner, [held], reason, [waiter(b)]), stuck(b, held, owner, reason)],
    )
    lost = losses_of(agent.alerts)
    print(f"{done}, lost {lost}")
    assert 0 < left_out <= done["count"]
    assert lost == {"recursion": left_out, "robust-list": done["lists"]} == agent.alerts[-1]["losses"]


@pytest.mark.parametrize("how", ["nowhere", "circle", "broken", "empty"])
def test_robust_list_without_an_end(start_agent, start_workload, how):
    """A list that can't be walked to its end counts as one. One that can is the twin."""
    agent = start_agent(allow_loss=True)
    lossy = start_workload("lossy", "list", how)
    lossy.go("go")
    lossy.event("done")
    expect_nothing_about_locks(agent, lossy)
    lost = 0 if how == "empty" or agent.rung("exit") == "late" else 1
    assert losses_of(agent.alerts) == ({"robust-list": lost} if lost else {}), agent.said()


def test_memory_that_nobody_serves(start_agent, start_steps):
    """A lock on a page that is gone, and that a userfaultfd should bring back: whoever reads it is
    blocked for ever. The agent is not, and says nothing that it does not know."""
    agent = start_agent(allow_loss=True)
    sick = start_steps("userfault", "normal")
    if sick.first["result"]:
        pytest.skip(f"no userfaultfd here: {os.strerror(sick.first['result'])}")
    sick.do("owner lock A")
    sick.blocks("waiter lock A")
    sick.go("drop")
    sick.event("dropped")
    sick.dies("owner return")
    agent.wait_for(lambda a: a["kind"] == "loss" and a["where"].get("reader"))
    agent.wait_for(lambda a: a["kind"] == "loss" and a["where"].get("locks-unread"))

    # Others are not made to wait for it.
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    agent.wait_sweeps(2)
    held = lock(owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        [w, sick],
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )
    assert set(agent.alerts[-1]["losses"]) <= {"reader", "locks-unread", "waits"}, agent.said()


def test_reader_does_not_answer(start_agent, start_workload, start_steps):
    """The reader process is stopped: the agent replaces it, counts what it did not answer, and what
    is said after that is complete."""
    agent = start_agent(allow_loss=True)
    (reader,) = readers(agent.process.pid)
    os.kill(reader, signal.SIGSTOP)
    actor = Actor(start_workload, f"handle={SIGUSR1}", name="sig-both", threads=["both"])
    actor.send("tgkill", SIGUSR1, actor, to=0)
    first = agent.wait_for(kind="thread-signal", pid=actor.pid)
    assert first["thread"]["tid"] == actor.pid
    agent.wait_for(lambda a: a["kind"] == "loss" and a["where"].get("reader"))
    until = time.monotonic() + TIMEOUT
    while os.path.exists(f"/proc/{reader}"):
        assert time.monotonic() < until, f"the reader {reader} was not collected"
        time.sleep(0.02)
    lost = losses_of(agent.alerts)
    assert set(lost) == {"reader"}, agent.said()

    other = Actor(start_workload, f"handle={SIGUSR1}", name="sig-other", threads=["other"])
    sent = other.send("tgkill", SIGUSR1, other, to=0)
    got = agent.wait_for(kind="thread-signal", pid=other.pid)
    (successor,) = readers(agent.process.pid)
    assert successor != reader
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    held = lock(owner)
    reason = agent.reason("return")
    expect_orphans(
        agent,
        [w, other.pid],
        [
            alert("thread-signal", signal_object(SIGUSR1, "tgkill", SI_TKILL), other.sender(),
                  other, 0, sent),
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
        ],
    )
    assert got["process"]["exe"] == other.facts["exe"]
    assert agent.alerts[-1]["losses"] == lost, agent.said()


@pytest.mark.parametrize("how", ["touched", "untouched"])
def test_lock_that_the_hook_cannot_read(start_agent, start_workload, tmp_path, how):
    """A thread goes to sleep on a lock whose page is not there for it yet: the hook at the entry of the
    call may not bring it in, the kernel does so just after. It is found asleep. The twin has read it."""
    agent = start_agent("--futex-hook", "tracepoint", "--census", "off", allow_loss=True)
    lossy = start_workload("lossy", "page", tmp_path / "page", how)
    lossy.go("go")
    owner, b = lossy.event("locked"), lossy.event("done")
    said = agent.wait_for(kind="orphan-wait", pid=lossy.pid)
    agent.wait_sweeps(2)
    agent.stop()
    assert losses_of(agent.alerts) == ({"waits": 1} if how == "untouched" else {}), agent.said()
    assert agent.alerts[-1]["losses"] == losses_of(agent.alerts)
    assert said["thread"] == {**said["thread"], "tid": b["tid"], "name": "waiter"}
    assert said["owner"]["thread"]["tid"] == owner["tid"]
    assert said["lock"]["address"] == address(b["lock"])


MAPPINGS_LIMIT = 512  # bpf/shared.bpf.h


@pytest.mark.parametrize("count", [MAPPINGS_LIMIT // 8, MAPPINGS_LIMIT * 8])
def test_file_with_many_mappings(start_agent, start_workload, start_steps, tmp_path, count):
    """The owner's own mapping of a lock is looked for among all mappings of the file, and there are too
    many. That the owner is dead is found all the same, without its name. The twin has fewer."""
    agent = start_agent("--census", "off", allow_loss=True)
    if agent.rung("exit") == "late":
        pytest.skip("this exit hook looks for no mapping: the memory is gone")
    path = tmp_path / "shared"
    lossy = start_workload("lossy", "maps", path, count)
    lossy.go("go")
    lossy.event("done")
    # After the others in the kernel's tree, which has them in order.
    ours = start_steps("init", path, "normal")
    theirs = start_steps("join", path, "normal")
    owner = ours.do("owner lock A")
    b = theirs.blocks("waiter lock A")
    settle_shared(agent)
    os.kill(owner["pid"], signal.SIGKILL)
    agent.wait_for(kind="orphan-wait", pid=theirs.pid)
    agent.wait_sweeps(2)
    ident = shared_id(path, owner)
    if count > MAPPINGS_LIMIT:
        expect_unnamed_owner(agent, [ours, theirs, lossy], b, id=ident)
        lost = {"mappings": 1}
    else:
        held = lock(owner, shared=True, id=ident)
        expect_orphans(
            agent,
            [ours, theirs, lossy],
            [
                orphaned(owner, [held], "process-killed", [{**waiter(b), "process": process(b)}]),
                stuck(b, {**held, "address": address(b["lock"])}, owner, "process-killed"),
            ],
        )
        lost = {}
    assert losses_of(agent.alerts) == lost == agent.alerts[-1]["losses"], agent.said()


@pytest.mark.parametrize("number", ["in use", "not in use"])
def test_owner_with_anothers_number(start_agent, start_steps, tmp_path, number):
    """A process ends with a robust lock in shared memory, on which nobody waits. A living thread of
    another PID namespace that maps it has the dead owner's number, and may have taken it since: nobody
    is blamed. In the twin there is no such thread."""
    agent = start_agent("--census", "off", allow_loss=True)
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook sees no robust list")
    path = tmp_path / "shared"
    ours = start_steps("init", path, "robust", pid_ns=True)
    theirs = start_steps("join", path, "robust", pid_ns=True)
    owner = ours.do("owner lock A")
    other = theirs.do("other show")
    assert owner["ns_tid"] == other["ns_tid"]
    if number == "not in use":
        theirs.dies("other return")
    os.kill(owner["pid"], signal.SIGKILL)
    if number == "in use":
        agent.wait_for(kind="loss", timeout=TIMEOUT + 15)  # that long a waiter may still settle it
        expect_nothing_about_locks(agent, [ours, theirs])
        lost = {"locks-ambiguous": 1}
    else:
        agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
        held = lock(owner, type="robust-mutex", robust=True, shared=True, proof="robust-list",
                    id=shared_id(path, owner))
        expect_orphans(
            agent,
            [ours, theirs],
            [orphaned(owner, [held], "process-killed", [], severity="warning")],
        )
        lost = {}
    assert losses_of(agent.alerts) == lost == agent.alerts[-1]["losses"], agent.said()


ORPHANS, MARKS, ROBUST = 4096, 4096, 2000  # user/watch.c, user/incident.c, lossy.c


def test_more_orphans_than_room(start_agent, start_workload, start_steps):
    """So many orphaned locks are open at a time that some are forgotten: the oldest ones for which nobody
    waits. All were said, and what is still awaited stays."""
    agent = start_agent("--census", "off", "--no-limit", allow_loss=True, in_file=True)
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook sees no robust list")
    w = start_steps("normal")
    owner = w.do("owner lock A")
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    agent.wait_for(kind="orphan-wait", pid=w.pid)
    lossy = start_workload("lossy", "robust", 3)
    lossy.go("go")
    lossy.event("done")
    agent.wait_for(kind="lock-orphaned", pid=lossy.pid, count=3, timeout=TIMEOUT * 5)
    agent.wait_sweeps(2)
    c = w.blocks("second lock A")
    agent.wait_for(kind="orphan-wait", pid=w.pid, count=2)
    agent.stop(timeout=TIMEOUT * 5)
    lines = agent.alerts_of(lossy.pid, kinds=LOCK_KINDS)
    assert [len(a["locks"]) for a in lines] == [ROBUST] * 3
    said = sum(len(a["locks"]) for a in agent.alerts if a["kind"] in ("lock-orphaned", "lock-suspected"))
    gone = sum(a["kind"] == "orphan-cleared" for a in agent.alerts)
    lost, summary = losses_of(agent.alerts), agent.alerts[-1]
    forgotten = said - gone - summary["figures"]["orphans_open"]
    assert forgotten >= 3 * ROBUST + 1 - ORPHANS
    expected = {"memory": forgotten, "incidents": 3 * ROBUST - MARKS}
    assert lost == expected == summary["losses"], agent.said()
    held, reason = lock(owner), agent.reason("return")
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [held], reason, [waiter(b)]),
            stuck(b, held, owner, reason),
            stuck(c, held, owner, reason),
        ],
        stop=False,
    )


# An agent's buffer for new mappings on each CPU (user/prober_worker.c), and a record in it but for its
# path (PERF_RECORD_MMAP2).
PAGES_MOST, PAGES_LEAST, PAGES_HOST, MAPPING_BYTES = 256, 32, 1024, 72


def mappings_fit(path):
    """How many records of a file's mapping the buffer of one CPU has room for."""
    first, _, last = pathlib.Path("/sys/devices/system/cpu/possible").read_text().rpartition("-")
    cpus, pages = int(last) - int(first or last) + 1, PAGES_MOST
    while pages > PAGES_LEAST and pages * cpus > PAGES_HOST:
        pages //= 2
    room = pages * os.sysconf("SC_PAGESIZE") - 1  # full is not empty
    return room // (MAPPING_BYTES + -(-(len(os.fsencode(path)) + 1) // 8) * 8)


def prober_of(agent):
    """The process that attaches probes."""
    for pid in descendants(agent.process.pid):
        if comm_of(pid) == "deadhold-prober":
            return pid
    raise AssertionError(f"no prober{agent.said()}")


def test_more_mappings_than_room(start_agent, start_workload, start_calls, tmp_path):
    """More is mapped while the prober does not run than the kernel keeps for it. The prober looks at all
    processes then: a program that started meanwhile is probed all the same."""
    path = tmp_path / "program"
    agent = start_agent(allow_loss=True)
    if agent.ready["uprobes"]["state"] == "off":
        pytest.skip("without probes no mappings are followed")
    needs_uprobes(agent)
    count = mappings_fit(path) + 4000
    lossy = start_workload("lossy", "runs", path, count)
    with held_back_process(prober_of(agent)):
        lossy.go("go")
        lossy.event("done")
        calls = start_calls("glibc, static")
    agent.wait_for(lambda a: a["kind"] == "loss" and "probes" in a["where"])
    wait_prober(agent, f"in {os.path.realpath(program('glibc, static'))}")
    victim = calls.begin("victim", "spin")
    calls.do("cancel victim", "cancelled")
    calls.do("join victim", "joined")
    agent.wait_for(kind="thread-cancel", pid=calls.pid)
    expect(agent, calls, [cancelled(victim)], kinds=("thread-cancel",))
    lost = losses_of(agent.alerts)
    told = [int(n) for n in re.findall(r": (\d+) records? of mappings lost", "\n".join(agent.errors))]
    print(f"mapped {count}, lost {lost}, told {told}")
    assert lost == {"probes": sum(told)} == agent.alerts[-1]["losses"], agent.said()
    # As many of ours at least; what others of this host map meanwhile takes room, or is lost as well.
    assert lost["probes"] >= count - mappings_fit(path)
