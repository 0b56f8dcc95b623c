# SPDX-License-Identifier: GPL-2.0-only
"""orders.c, a small service like anybody's, from its first line to its end: not step by step."""

import subprocess

from deadhold import ABSENT, ANY, LIVE, LOCK_KINDS, TIMEOUT, expect, matching


def test_orders(start_agent):
    """Its worker returns early with the lock of the queue; its reporter hangs; it gives up."""
    agent = start_agent("--comm", "orders", "--kind", ",".join(LOCK_KINDS))
    done = subprocess.Popen([LIVE / "orders"], stdout=subprocess.DEVNULL)
    assert done.wait(TIMEOUT) == 0
    agent.wait_for(kind="orphan-cleared", pid=done.pid)
    lock = {"type": "mutex", "kind": "normal", "symbol": "queue_lock", "proof": "owner-word"}
    reporter = {"tid": ANY, "name": "reporter"}
    alerts = expect(agent, done.pid, [
        {
            "kind": "lock-orphaned",
            "severity": "critical",
            "message": matching(rf"^orders\[{done.pid}\] worker\[\d+\] died holding 1 lock$"),
            "thread": {"name": "worker"},
            "exit": {"reason": agent.reason("return")},
            "locks": [lock],
            "waiters": [{"thread": reporter}],
        },
        {"kind": "orphan-wait", "thread": reporter, "lock": lock, "wait": {"timeout_ns": ABSENT}},
        {"kind": "orphan-cleared", "how": "process-exit", "lock": lock},
    ])
    assert len({alert["orphan_id"] for alert in alerts}) == 1
