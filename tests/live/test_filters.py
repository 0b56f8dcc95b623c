# SPDX-License-Identifier: GPL-2.0-only
"""Filters on what is said of locks: an alert is let through for the dead owner, for each of those who
wait, and for their processes. (Filters on signals: test_signals.py.)"""

import pytest

from deadhold import SCALE
from steps import address, cleared, expect_orphans, lock, orphaned, process, stuck, waiter

ORPHANED, WAIT, CLEARED = "lock-orphaned", "orphan-wait", "orphan-cleared"
ALL = [ORPHANED, WAIT, CLEARED]

# {p}: the process; {owner}, {waiter}: the threads; {other}: one that has nothing to do with it;
# {q}, {bystander}: another process and its thread.
PRIVATE = {
    "none": ("", ALL),
    "pid": ("-p {p}", ALL),
    "another pid": ("-p {q}", []),
    "pid among others": ("-p {q} -p {p}", ALL),
    "owner": ("-t {owner}", ALL),
    "waiter": ("-t {waiter}", ALL),
    "another thread": ("-t {other}", []),
    "a bystander": ("--tid {bystander}", []),
    "both must fit": ("-p {q} -t {owner}", []),
    "comm": ("--comm lock_ste*", ALL),
    "another comm": ("--comm lock_cxx", []),
    "not comm": ("--not-comm lock_steps", []),
    "not another comm": ("--not-comm lock_cxx", ALL),
    "orphans": ("-k lock-orphaned", [ORPHANED]),
    "waits": ("-k orphan-wait", [WAIT]),
    "ends": ("-k orphan-cleared", [CLEARED]),
    "kinds": ("-k lock-orphaned,orphan-cleared", [ORPHANED, CLEARED]),
    "kinds of signals": ("-k thread-signal,tid-kill", []),
    "kind and waiter": ("-k orphan-wait -t {waiter}", [WAIT]),
    "signal": ("-s TERM --not-signal USR1", ALL),  # of signals alone
}


def sweep_twice(*agents):
    due = [(agent, agent.sweeps() + 2) for agent in agents]
    for agent, number in due:
        agent.wait_sweeps(number - agent.sweeps())


def some(cases, *names):
    """Filters do not depend on the kernel: where a machine is slow, a few are enough."""
    return cases if SCALE >= 1 else names


@pytest.mark.parametrize("case", some(PRIVATE, "waiter", "orphans"))
def test_private_lock(agent, start_agent, start_steps, case):
    options, kinds = PRIVATE[case]
    w, far = start_steps("normal", "normal"), start_steps("normal")
    owner = w.do("owner lock A")
    other = w.do("other lock B")
    b = w.do("waiter show")
    bystander = far.do("bystander lock A")
    filtering = start_agent(*options.format(
        p=w.pid, q=far.pid, owner=owner["tid"], waiter=b["tid"], other=other["tid"],
        bystander=bystander["tid"],
    ).split())
    b = w.blocks("waiter lock A")
    w.dies("owner return")
    for watching in (agent, *([filtering] if WAIT in kinds else [])):
        watching.wait_for(kind=WAIT, pid=w.pid)
    if WAIT not in kinds:
        sweep_twice(filtering)  # so that it knows what it does not say
    w.do("other unlock A")
    for watching in (agent, *([filtering] if CLEARED in kinds else [])):
        watching.wait_for(kind=CLEARED, pid=w.pid)
    if kinds != ALL:
        sweep_twice(filtering)
    held = lock(owner)
    reason = agent.reason("return")
    said = {
        ORPHANED: orphaned(owner, [held], reason, [waiter(b)]),
        WAIT: stuck(b, held, owner, reason),
        CLEARED: cleared({"address": address(owner["lock"])}, "foreign-unlock"),
    }
    expect_orphans(agent, [w, far], said.values())
    expect_orphans(filtering, [w, far], [said[kind] for kind in kinds],
                   whole=ORPHANED in kinds or not kinds)


SHARED = {
    "owner's process": ("-p {ours}", ALL),
    "waiter's process": ("-p {theirs}", ALL),
    "a process that maps it": ("-p {third}", []),
    "owner": ("-t {owner}", ALL),
    "waiter": ("-t {waiter}", ALL),
    "owner's other thread": ("-t {other}", []),
    "owner and its process": ("-p {ours} -t {owner}", ALL),
    "waiter and its process": ("-p {theirs} -t {waiter}", ALL),
    # Each party by itself: neither is both.
    "owner's process, waiter": ("-p {ours} -t {waiter}", []),
}


@pytest.mark.parametrize("case", some(SHARED, "owner's process", "waiter"))
def test_shared_lock(agent, start_agent, start_steps, tmp_path, case):
    if agent.rung("exit") == "late":
        pytest.skip("the latest exit hook can't tell whose number is in a shared lock")
    options, kinds = SHARED[case]
    path = tmp_path / "shared"
    ours = start_steps("init", path, "normal", "normal")
    theirs = start_steps("join", path, "normal", "normal")
    third = start_steps("join", path, "normal", "normal")
    owner = ours.do("owner lock A")
    other = ours.do("other lock B")
    b = theirs.do("waiter show")
    filtering = start_agent(*options.format(
        ours=ours.pid, theirs=theirs.pid, third=third.pid, owner=owner["tid"], waiter=b["tid"],
        other=other["tid"],
    ).split())
    b = theirs.blocks("waiter lock A")
    sweep_twice(agent, filtering)  # as settle_shared() in test_locks.py
    ours.dies("owner return")
    for watching in (agent, *([filtering] if kinds else [])):
        watching.wait_for(kind=WAIT, pid=theirs.pid)
    theirs.do("thief unlock A")
    for watching in (agent, *([filtering] if kinds else [])):
        watching.wait_for(kind=CLEARED, pid=ours.pid)
    if not kinds:
        sweep_twice(filtering)
    held = lock(owner, shared=True)
    reason = agent.reason("return")
    said = [
        orphaned(owner, [held], reason, [{**waiter(b), "process": process(b)}]),
        stuck(b, {**held, "address": address(b["lock"])}, owner, reason),
        cleared({"shared": True}, "foreign-unlock"),
    ]
    expect_orphans(agent, [ours, theirs, third], said)
    expect_orphans(filtering, [ours, theirs, third], said if kinds else [])
