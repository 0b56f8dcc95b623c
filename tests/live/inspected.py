# SPDX-License-Identifier: GPL-2.0-only
"""`deadhold inspect` from outside: its result, held against the schema, and its text."""

import json
import subprocess

import pytest

from deadhold import AGENT, ANY, TIMEOUT, address, contract, difference

FOUND, FAILED = 1, 2
FINDINGS = ("orphaned-lock", "deadlock")


def run(*words, **settings):
    """`deadhold inspect WORDS`, to its end."""
    command = [str(AGENT), "inspect", *map(str, words)]
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, **settings
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"{command} did not end: {error.stdout} {error.stderr}")


def lines(*words, **settings):
    """All JSON objects of a run, each held against the schema, and the run."""
    done = run("--json", *words, **settings)
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    for line in found:
        wrong = list(contract.INSPECT.wrong(line))
        assert not wrong, f"{wrong}\n{line}"
    return found, done


def inspect(pid, *options, expected=None, status=None, **settings):
    """The result of one process. Expected members as in deadhold.difference(); by default the exit
    status must be the verdict's."""
    found, done = lines(*options, pid, **settings)
    assert len(found) == 1, f"one object was expected: {done}"
    assert not done.stderr, done
    if status is None:
        status = FOUND if found[0]["verdict"] in FINDINGS else 0
    assert done.returncode == status, done
    wrong = difference(found[0], expected or {})
    assert not wrong, f"{wrong}\n{json.dumps(found[0], indent=1)}"
    return found[0]


def text(pid, *options, status):
    done = run(*options, pid)
    assert done.returncode == status and not done.stderr, done
    said = done.stdout.decode()
    for line in said.splitlines()[1:]:
        assert line.startswith("  ") and len(line) <= 80, f"not in form: {line}\n{said}"
    return said


def fails(*words, status=FAILED, **settings):
    """One line on stderr, which is returned; nothing on stdout."""
    done = run(*words, **settings)
    said = done.stderr.decode()
    assert done.returncode == status and not done.stdout, done
    assert said.startswith("deadhold: ") and said.count("\n") == 1 and said.endswith("\n"), said
    return said


# --- What is expected, from the events of a workload (steps.py). ----------------------------------


def thread_of(found, event):
    return next(t for t in found["threads"] if t["tid"] == event["tid"])


def dead(event):
    return {"state": "dead", "ns_tid": event["ns_tid"]}


def alive(event, **members):
    return {"state": "alive", "tid": event["tid"], "ns_tid": event["ns_tid"], "name": ANY, **members}


def lock(event, owner, waiters, **members):
    return {
        "address": address(event["lock"]),
        "type": "mutex",
        "kind": "normal",
        "libc": "glibc",
        "shared": False,
        "robust": False,
        "proof": "waiter",
        "orphaned": owner["state"] == "dead",
        "owner": owner,
        "waiters": sorted(w["tid"] for w in waiters),
        **members,
    }
