# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures for the live tests; the parts are in deadhold.py."""

import os
import signal

import pytest

from deadhold import Agent, Workload
from steps import Steps


def pytest_configure(config):
    # Tests that need less than root start what they test with less.
    if os.geteuid() != 0:
        pytest.exit("the live tests load BPF programs: run them as root", returncode=2)
    # Ignored in what a shell runs in the background, and then in all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Deep tests come spread among the others: a deep agent's probes take seconds to go after its end,
    and the next one's wait for that. Modules whose tests share an agent stay whole."""
    whole = [item for item in items if item.path.stem in ("test_minute", "test_signals")]
    deep = [item for item in items if item.path.stem.startswith("test_deep")]
    kept = {*whole, *deep}
    others = [item for item in items if item not in kept]
    place = {item: at for at, item in enumerate(others)}
    place |= {item: at * len(others) / len(deep) for at, item in enumerate(deep)}
    items[:] = sorted([*others, *deep], key=place.get) + whole


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.stash[_failed] = report.failed


@pytest.fixture
def start_agent(request):
    """start_agent(*options): an Agent that is ready. At the end of the test it is stopped, and must
    then have ended well, unless the test failed already."""
    agents = []

    def start(*options, **settings):
        agents.append(Agent(*options, **settings))
        return agents[-1].start()

    yield start
    try:
        for agent in agents:
            if agent.status is None and not request.node.stash.get(_failed, True):
                agent.stop()
    finally:
        for agent in agents:
            agent.kill()


@pytest.fixture
def agent(start_agent):
    """An agent with default options that was ready before the test began."""
    return start_agent()


@pytest.fixture
def start_workload(tmp_path):
    """start_workload(name, *args): a Workload, killed at the end of the test. Its working directory
    is the test's own."""
    workloads = []

    def start(name, *args, kind=Workload, **settings):
        settings.setdefault("cwd", tmp_path)
        workloads.append(kind(name, *args, **settings))
        return workloads[-1].start()

    yield start
    for workload in workloads:
        workload.kill()


@pytest.fixture
def start_steps(start_workload):
    """start_steps(*args): lock_steps, ready for its first step; program= for one of its likes."""

    def start(*args, program="lock_steps", **settings):
        return start_workload(program, *args, kind=Steps, **settings)

    return start
