# SPDX-License-Identifier: GPL-2.0-only
"""Locks that dead threads hold and nobody waits for: found by their shape in memory."""

import os
import shutil

import pytest

from deadhold import (
    ABSENT,
    ANY,
    LIVE,
    address,
    any_order,
    expect,
    expect_nothing_about_locks,
    matching,
)
from steps import Steps, expect_orphans, lock, process, stuck, thread
from test_locks import KINDS, start_kind



@pytest.fixture
def agent(start_agent):
    """Default options, but for the processes of other tests: each pass takes its time."""
    programs = ("lock_places", "lock_steps", "lock_cxx", "musl_steps")
    return start_agent(*(option for name in programs for option in ("--comm", name)))


SCANNED = {"scope": ANY, "scanned_bytes": ANY, "strangers": 0}


def shape(event, **members):
    return lock(event, proof="shape", evidence=ANY, **members)


def orphaned(owner, locks, reason, **members):
    return {
        "kind": "lock-orphaned",
        "severity": "warning",
        "orphan_id": ANY,
        "process": process(owner),
        "thread": {"tid": owner["tid"], "name": "owner"},
        "exit": {"reason": reason},
        "locks": locks,
        "waiters": [],
        "census": SCANNED,
        **members,
    }


IN_DATA = ("static", "library", "rwlock", "recursive")


def kind_of(owner, place):
    """On the heap it takes a large number: the host may give out small ones at any time."""
    large = owner["ns_tid"] >= 10_000
    return "lock-orphaned" if large or place in IN_DATA else "lock-suspected"


@pytest.fixture
def start_places(start_workload):
    return lambda *args, **settings: start_workload("lock_places", *args, kind=Steps, **settings)


def step(w, name):
    w.go(name)
    return w.event(name)


# --- Wherever locks are. --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["static", "heap", "stack", "object", "library", "huge", "rwlock",
                                   "recursive"])
def test_place(agent, start_places, place):
    """After an ordinary end, by default: data and bss, and a part of the heap."""
    w = start_places(place)
    if w.first["huge"] == 0:
        pytest.skip("the kernel gives no huge pages here")
    owner = step(w, "hold")
    step(w, "die")
    looks = {"rwlock": {"type": "rwlock", "kind": ABSENT},
             "recursive": {"kind": "recursive", "recursion": 1}}.get(place, {})
    where = {"static": {"symbol": matching("static_mutex")}, "rwlock": {"symbol": matching("static_rwlock")},
             "library": {"symbol": "library_table+0x28",
                         "mapping": {"path": matching("lock_data.so$")}},
             "heap": {"mapping": {"path": "[heap]"}}}.get(place, {})
    kind = kind_of(owner, place)
    agent.wait_for(kind=kind, pid=owner["pid"])
    found = shape(owner, **looks, **where)
    expect(agent, w, [orphaned(owner, [found], agent.reason("return"), kind=kind)])


def test_thousand(agent, start_places):
    """One alert for all that one thread held; after a suspicious end all of the memory is read."""
    w = start_places("many", "raw")
    owner = step(w, "hold")
    assert owner["count"] == 1000
    step(w, "die")
    kind = kind_of(owner, "many")
    alert = agent.wait_for(kind=kind, pid=owner["pid"])
    assert len(alert["locks"]) == 1000
    assert len({found["address"] for found in alert["locks"]}) == 1000
    if agent.reason("raw-exit") == "raw-exit":
        assert alert["census"]["scope"] == "all"
    expect(agent, w, [orphaned(owner, ANY, agent.reason("raw-exit"), kind=kind)])


def test_watched_process_is_read_whole(start_agent, start_places):
    w = start_places("heap")
    agent = start_agent("-p", w.process.pid)
    owner = step(w, "hold")
    step(w, "die")
    alert = agent.wait_for(kind=kind_of(owner, "heap"), pid=owner["pid"])
    assert alert["census"]["scope"] == "all" and alert["census"]["left_bytes"] == 0


@pytest.mark.parametrize("place", ["mapping", "userfault", "elsewhere"])
def test_userfault(start_agent, start_places, place):
    """The same lock in the same memory, whose pages are all there. Where a userfaultfd stands behind it,
    even one that only another process has, it is not read, and counted."""
    w = start_places(place)
    if w.first["userfault"]:
        pytest.skip(f"no userfaultfd here: {os.strerror(w.first['userfault'])}")
    agent = start_agent("-p", w.process.pid)
    owner = step(w, "hold")
    step(w, "die")
    agent.wait_census()
    if place == "mapping":
        kind = kind_of(owner, "heap")
        alert = agent.wait_for(kind=kind, pid=owner["pid"])
        assert alert["census"]["unread_bytes"] == 0
        expect(agent, w, [orphaned(owner, [shape(owner)], agent.reason("return"), kind=kind)])
    else:
        expect_nothing_about_locks(agent, w)
    agent.stop()
    figures = agent.alerts[-1]["figures"]
    assert figures["census_finds"] == (place == "mapping"), agent.said()
    assert figures["census_unread_bytes"] == (0 if place == "mapping" else 1 << 20), agent.said()


def test_off(start_agent, start_places):
    agent = start_agent("--census", "off", "--comm", "lock_places")
    w = start_places("static")
    step(w, "hold")
    step(w, "die")
    expect_nothing_about_locks(agent, w, sweeps=2)


# --- What becomes of it. --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_waiter_raises(agent, start_steps, kind):
    """Found by its shape, it is said once; the first thread that waits for it makes it critical."""
    w, owner, looks, wait, end, reason = start_kind(start_steps, kind)
    w.dies(f"owner {end}")
    agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    reason = agent.reason(reason)
    b = w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    expect_orphans(
        agent,
        w,
        [
            orphaned(owner, [shape(owner, **looks)], reason),
            stuck(b, lock(owner, **looks, proof="waiter", evidence=ABSENT), owner, reason, wait),
        ],
    )


def test_musl_mark(agent, start_steps):
    """musl's own thread end takes the owner's number out of its locks and leaves a mark: nobody is
    named. A waiter makes it critical, and it is one orphan."""
    w = start_steps("recursive", program="musl_steps")
    owner = w.do("owner lock A")
    w.dies("owner return")
    alert = agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    assert "thread" not in alert and "owner_tid" not in alert["locks"][0]
    w.blocks("waiter lock A")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    expect(agent, w, [
        {"kind": "lock-orphaned", "severity": "warning",
         "locks": [{"address": address(owner["lock"]), "libc": "musl", "proof": "shape"}]},
        {"kind": "orphan-wait", "severity": "critical", "lock": {"proof": "waiter"},
         "orphan_id": alert["orphan_id"]},
    ])


def test_unlocked_by_another(agent, start_places):
    w = start_places("static")
    owner = step(w, "hold")
    step(w, "die")
    agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    step(w, "unlock")
    agent.wait_for(kind="orphan-cleared", pid=owner["pid"])
    expect(agent, w, [
        orphaned(owner, [shape(owner)], agent.reason("return")),
        {"kind": "orphan-cleared", "how": "foreign-unlock"},
    ])


def test_freed_while_locked(agent, start_places):
    """The documented limit: what was freed while it was locked keeps its shape for as long as nobody
    writes there. At most a warning, and cleared when the memory changes."""
    w = start_places("heap")
    owner = step(w, "hold")
    step(w, "free")
    step(w, "die")
    agent.wait_census()
    for alert in agent.alerts_of(owner["pid"]):
        assert alert["severity"] != "critical", agent.said()


def test_two_die_one_after_the_other(agent, start_steps):
    """Exits while a pass is due are answered by one pass, each with its own locks."""
    w = start_steps("normal", "normal")
    first = w.do("first lock A")
    second = w.do("second lock B")
    w.dies("first return")
    w.dies("second return")
    agent.wait_for(kind="lock-orphaned", pid=first["pid"], count=2)
    reason = agent.reason("return")
    expect(agent, w, any_order([
        orphaned(owner, [shape(owner)], reason, thread=thread(owner)) for owner in (first, second)
    ]))


# --- What is none. --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["numbers", "random", "static"])
def test_no_lock(start_agent, start_places, place):
    w = start_places(place)
    agent = start_agent("-p", w.process.pid)
    if place == "static":  # it is unlocked before the thread ends
        step(w, "hold")
        step(w, "unlock")
    else:
        step(w, "hold")
    step(w, "die")
    agent.wait_census()
    expect_nothing_about_locks(agent, w)


def test_look_alikes_are_never_critical(start_agent, start_places):
    """200 objects {1, 0, number, 1, 0 …}, one of them with the thread's number: what shape can tell is
    said with how little that is worth here."""
    w = start_places("alike")
    agent = start_agent("-p", w.process.pid)
    owner = step(w, "hold")
    step(w, "die")
    alert = agent.wait_for(kind="lock-suspected", pid=owner["pid"])
    assert alert["severity"] == "warning"
    assert alert["census"]["strangers"] > 50
    assert "alone" not in alert["evidence"]
    expect(agent, w, [{"kind": "lock-suspected", "thread": {"tid": owner["tid"]}}])


def test_java_array(agent, start_places, tmp_path):
    """In a JVM an empty array looks like a mutex held by the number of its class, however large. A library
    of that name makes a JVM of any program."""
    library = tmp_path / "libjvm.so"
    shutil.copy(LIVE / "lock_data.so", library)
    w = start_places("heap", env={**os.environ, "LD_PRELOAD": str(library)})
    owner = step(w, "hold")
    step(w, "die")
    agent.wait_for(kind="lock-suspected", pid=owner["pid"])
    expect(agent, w, [orphaned(owner, [shape(owner)], agent.reason("return"), kind="lock-suspected",
                               evidence=ANY)])


@pytest.mark.parametrize("place", ["static", "heap"])
def test_small_numbers(agent, start_places, place):
    """In a container thread numbers are small: on the heap, shape alone is not enough."""
    w = start_places(place, pid_ns=True)
    owner = step(w, "hold")
    assert owner["ns_tid"] < 300 and owner["ns_tid"] != owner["tid"]
    step(w, "die")
    kind = "lock-orphaned" if place == "static" else "lock-suspected"
    found = shape(owner)
    agent.wait_for(kind=kind, pid=owner["pid"])
    expect(agent, w, [orphaned(owner, [found], agent.reason("return"), kind=kind,
                               evidence=ABSENT if place == "static" else ANY)])


def test_suspected_then_waited_for(agent, start_places):
    """A waiter proves what was suspected: a report of its own, then who is stuck."""
    w = start_places("heap", pid_ns=True)
    owner = step(w, "hold")
    step(w, "die")
    agent.wait_for(kind="lock-suspected", pid=owner["pid"])
    assert not agent.alerts_of(owner["pid"], kinds=["incident"]), "of a suspicion alone"
    step(w, "wait")
    agent.wait_for(kind="orphan-wait", pid=owner["pid"])
    (incident,) = agent.alerts_of(owner["pid"], kinds=["incident"])
    said = {a["id"]: a["kind"] for a in agent.alerts}
    assert [said[link] for link in incident["chain"]] == ["lock-suspected", "lock-orphaned"]
    assert incident["severity"] == "critical" and incident["locks_count"] == 1
    expect(agent, w, [
        {"kind": "lock-suspected", "severity": "warning"},
        {"kind": "lock-orphaned", "severity": "critical", "locks": [{"proof": "waiter"}]},
        {"kind": "orphan-wait", "severity": "critical"},
    ])


def test_number_is_alive_again(start_agent, start_places):
    """The owner died with the lock, and its number is a living thread's of the same process: what
    the word says can't be told from that one's."""
    w = start_places("static", pid_ns=True)
    owner = step(w, "hold")
    w.go("die")
    w.go("reuse")
    w.event("die")
    w.out.wait(lambda: any(e["event"] in ("reuse", "unsupported") for e in w.events), 60)
    if w.events[-1]["event"] == "unsupported":
        pytest.skip(w.events[-1]["why"])
    agent = start_agent("-p", owner["pid"])
    agent.wait_sweeps(2)
    expect_nothing_about_locks(agent, w)


# --- What it leaves as it was. --------------------------------------------------------------------


def test_pages_stay_as_they_were(start_agent, start_places):
    """Pages that were never touched, and pages that are gone, are not brought in; zero pages are not
    read. That this test would tell is shown by reading them all."""
    w = start_places("pages")
    agent = start_agent("-p", w.process.pid)
    before = step(w, "pages")["there"]
    owner = step(w, "hold")
    step(w, "die")
    agent.wait_census()
    assert step(w, "pages")["there"] == before
    step(w, "touch")
    assert step(w, "pages")["there"] > 4 * before
    w.go("end")
    w.end()
    summary = agent.stop()
    figures = agent.alerts[-1]["figures"]
    assert figures["census_passes"] >= 1, summary
    # 1,024 pages were written, 64 MB were mapped: the process's other memory is small.
    assert figures["census_scanned_bytes"] < 16 << 20
    assert owner["count"] == 0


def test_summary_counts(start_agent, start_places):
    w = start_places("static")
    agent = start_agent("-p", w.process.pid)
    owner = step(w, "hold")
    step(w, "die")
    agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
    agent.stop()
    figures = agent.alerts[-1]["figures"]
    assert figures["census_passes"] == 1 and figures["census_finds"] == 1
    assert figures["census_scanned_bytes"] > 4096
    assert figures["census_passes_unfinished"] == figures["census_exits_unanswered"] == 0


def test_pending_at_the_end_is_done(start_agent, start_places):
    """A thread that ended just before the agent is told to end."""
    w = start_places("static")
    agent = start_agent("-p", w.process.pid)
    owner = step(w, "hold")
    step(w, "die")
    agent.stop()
    assert [a["kind"] for a in agent.alerts_of(owner["pid"])] == ["lock-orphaned"]
