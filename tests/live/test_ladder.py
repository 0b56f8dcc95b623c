# SPDX-License-Identifier: GPL-2.0-only
"""Which rung is taken of its own accord: the best that this kernel has. A program that the verifier
refuses would take a lower one in silence."""

import json
import os
import subprocess

import pytest

from deadhold import AGENT, OPTIONS, kernel

KERNEL = kernel()


def rungs():
    said = subprocess.run([AGENT, "check", "-o", "json"], stdout=subprocess.PIPE, check=True).stdout
    return {(rung["family"], rung["rung"]): rung for rung in json.loads(said)["rungs"]}


def trampolines(check):
    """Hosts that forbid them answer all programs there alike, and not as the verifier does: EACCES."""
    refused = [check["exit", name].get("why", "") for name in ("fentry", "fentry-early")]
    return not all(refused) or "Permission denied" in "".join(refused)


def best(check):
    yield "futex", "switch" if KERNEL >= (5, 18) else "tracepoint"
    yield "signal", "tracepoint"
    yield "process", "tracepoint"
    yield "call", "sleepable" if KERNEL >= (6, 0) else "plain"
    if KERNEL >= (6, 16):
        yield "exit", "tracepoint"
    elif trampolines(check):
        with open("/proc/kallsyms") as symbols:
            there = any(line.split()[2] == "futex_exit_release" for line in symbols)
        yield "exit", "fentry" if there else "fentry-early"
    else:
        yield "exit", "late"


def test_best_rungs(start_agent):
    if any("-hook" in option for option in OPTIONS):
        pytest.skip("this run forces rungs")
    check = rungs()
    agent = start_agent()
    want = dict(best(check))
    if "--no-uprobes" in OPTIONS:
        del want["call"]
    assert {family: agent.ready["hooks"][family] for family in want} == want, check


def test_lower_rungs():
    """Those below load and attach, too, where the kernel has what they need."""
    check = rungs()
    assert check["futex", "tracepoint"]["works"], check
    assert check["exit", "late"]["works"], check
    assert check["call", "plain"]["works"], check
    if KERNEL < (6, 16) and trampolines(check):
        assert check["exit", "fentry-early"]["works"], check
