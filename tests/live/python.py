# SPDX-License-Identifier: GPL-2.0-only
"""The CPythons that can be had here, and python_steps.py under one of them."""

import collections
import functools
import glob
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from deadhold import ROOT, TIMEOUT, Workload
from steps import Steps

STEPS = pathlib.Path(__file__).with_name("python_steps.py")
# Locks are made in another way from 3.13.1 on: both are wanted.
WANTED = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13.0", "3.13", "3.14"]
# After this many sweeps what a sweep could find has been found: a wait is looked into when it is a
# second old, its lock is read twice.
SWEEPS = 5

Interpreter = collections.namedtuple("Interpreter", "path version")


def candidates():
    """By name in PATH, where pyenv keeps its own, and those that tests/python/get unpacked."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    yield "/usr/bin/python3"
    for minor in range(8, 15):
        yield from filter(None, [shutil.which(f"python3.{minor}")])
    yield from sorted(glob.glob(f"{pyenv}/versions/*/bin/python3"))
    yield from sorted(map(str, (ROOT / "build" / "python").glob("*/python")))


def version_of(path):
    try:
        done = subprocess.run([path, "-IV"], capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    found = re.match(r"Python (\d+)\.(\d+)\.(\d+)$", (done.stdout or done.stderr).strip())
    return tuple(map(int, found.groups())) if found else None


def stands_for(version):
    """Which of the wanted ones a version is."""
    short = "%d.%d" % version[:2]
    return "3.13.0" if version == (3, 13, 0) else short


@functools.lru_cache(None)
def interpreters():
    found = {}
    for path in candidates():
        version = version_of(path)
        if version:
            found.setdefault(stands_for(version), Interpreter(path, version))
    return found


def interpreter(wanted):
    found = interpreters().get(wanted)
    if not found:
        pytest.skip(f"untested: no CPython {wanted} in PATH, from pyenv or in build/python")
    return found


class Python(Steps):
    """python_steps.py under an interpreter; as lock_steps otherwise."""

    def __init__(self, found, **settings):
        Workload.__init__(self, "python", **settings)
        self.command = [found.path, "-B", str(STEPS)]
        self.version = found.version

def wait_probed(agent, pid):
    """Waits until the prober has found the interpreter that this process runs."""
    with open(f"/proc/{pid}/maps") as maps:
        files = {line.split()[-1] for line in maps if "/" in line}
    places = [file for file in files if pathlib.Path(file).name.startswith(("python", "libpython"))]
    assert places, f"{pid} runs no Python"

    def found():
        return any(f"probe in {place}" in line for line in agent.errors for place in places)

    assert agent.err.wait(found, TIMEOUT), f"none of {places} is probed{agent.said()}"


def wait_in_line(agent, w, step, *names):
    """One waits behind the other, for so long that each sweep has seen them."""
    wait_probed(agent, w.pid)
    w.do("early spin")
    w.dies("main throw early")  # from now on it is looked for what threads wait for
    agent.wait_for(kind="async-exception", pid=w.pid, state="ended")
    waiters = [w.blocks(f"{name} {step}") for name in names]
    agent.wait_sweeps(SWEEPS)
    return waiters
