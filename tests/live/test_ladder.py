# SPDX-License-Identifier: GPL-2.0-only
"""Which rung is taken of its own accord: the best that this kernel has. A program that the verifier
refuses would take a lower one in silence."""

import json
import os
import subprocess

import pytest

from deadhold import AGENT, OPTIONS, ROOT, kernel

KERNEL = kernel()


def rungs(prefix=()):
    said = subprocess.run(
        [*prefix, AGENT, "check", "-o", "json"], stdout=subprocess.PIPE, check=True
    ).stdout
    return {(rung["family"], rung["rung"]): rung for rung in json.loads(said)["rungs"]}


def trampolines(check):
    """Hosts that forbid them answer all programs there alike, and not as the verifier does: EACCES."""
    refused = [check["exit", name].get("why", "") for name in ("fentry", "fentry-early")]
    return not all(refused) or "Permission denied" in "".join(refused)


def best(check):
    yield "futex", "switch"
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


def hooks(prefix=()):
    """Those that a watch attaches to."""
    command = [*prefix, AGENT, "--json", "-d", "0.1", *OPTIONS]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return json.loads(said.splitlines()[0])["hooks"]


def test_newest_libbpf():
    """It loads and attaches with the newest libbpf what it does with this host's."""
    fetch = ROOT / "tests" / "libbpf"
    if not fetch.exists():
        pytest.skip("in the VM")
    got = subprocess.run([fetch, "sid"], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(got.stderr.strip().splitlines()[-1] if got.stderr else "it can't be fetched here")
    prefix = got.stdout.split()
    loaded = subprocess.run(
        [*prefix, AGENT, "--version"], env={"LD_DEBUG": "libs"}, capture_output=True, text=True, check=True
    ).stderr
    assert f"{ROOT}/build/libbpf/sid/" in next(
        line for line in loaded.splitlines() if "calling init" in line and "libbpf.so" in line
    )
    assert rungs(prefix) == rungs()
    assert hooks(prefix) == hooks()
