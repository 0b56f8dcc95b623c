# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of probed calls share: the workloads, and what an alert must say of them."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from deadhold import ABSENT, ANY, LIVE, TIMEOUT, Workload, address, matching

PYTHON_PROGRAM = pathlib.Path(__file__).with_name("python_calls.py")


class Steps(Workload):
    """call_steps: threads by their names, as the events of `start` tell them."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.threads = {}

    def do(self, line, says, **members):
        self.go(line)
        return self.event(says, **members)

    def begin(self, name, how, *rest):
        event = self.do(" ".join(["start", name, how, *rest]), "started")
        tid = event.get("of", event["tid"])
        self.threads[name] = {**event, "tid": tid, "name": name}
        return self.threads[name]


class Python(Steps):
    """python_calls.py: run by `python`."""

    def __init__(self, python, **settings):
        super().__init__(str(python), str(PYTHON_PROGRAM), **settings)

    def throw(self, name, exception, verb="throw"):
        return self.do(f"{verb} {name} {exception}", "thrown")


def needs_uprobes(agent):
    """Skips where this kernel refuses them; the ready line has the reason."""
    uprobes = agent.ready["uprobes"]
    if uprobes["state"] == "refused":
        pytest.skip(f"no uprobes: {uprobes['why']}")
    if uprobes["state"] == "late":  # the machine is slow
        wait_prober(agent, "looked at all processes")
        return
    assert uprobes["state"] == "on", uprobes


def wait_prober(agent, said):
    """Waits until the prober has said that."""
    def found():
        return any("deadhold: prober: " in line and said in line for line in agent.errors)

    assert agent.err.wait(found, TIMEOUT), f"the prober did not say {said!r}{agent.said()}"


def thread(event):
    """The `thread` object of an alert about this thread."""
    return {"tid": event["tid"], "name": event["name"], "start_ticks": ANY, "ns_tid": ANY}


def sender(event, tid=None, name=ANY):
    """By default the main thread."""
    return {"process": {"pid": event["pid"]}, "thread": {"tid": tid or event["pid"], "name": name}}


def cancelled(target, **members):
    """thread-cancel of the thread of that event."""
    return {
        "kind": "thread-cancel",
        "severity": "warning",
        "sender": sender(target),
        "process": {"pid": target["pid"]},
        "thread": thread(target),
        "ident": address(target["ident"]),
        "named": "thread",
        **members,
    }


def thrown(target, exception, state, **members):
    """async-exception."""
    return {
        "kind": "async-exception",
        "severity": "warning",
        "sender": sender(target),
        "process": {"pid": target["pid"]},
        "thread": thread(target),
        "ident": address(target["ident"]),
        "named": "thread",
        "native_tid": ABSENT,
        "exception": exception,
        "state": state,
        **members,
    }


def ended(target, exception, **members):
    return thrown(target, exception, "ended", exit={"reason": ANY, "time": ANY}, before_ms=ANY,
                  blocked_in=ABSENT, **members)


def killed(target, reason, cause, locks=0, **members):
    """thread-killed."""
    return {
        "kind": "thread-killed",
        "severity": "warning",
        "process": {"pid": target["pid"]},
        "thread": thread(target),
        "exit": {"reason": reason, "time": ANY},
        "cause": cause,
        "locks_found": locks,
        **members,
    }


def cause(agent, kind, target, certain, **members):
    """The `cause` of what an agent said of that thread: with the id of its alert about it."""
    return {
        "kind": kind,
        "id": agent.wait_for(kind=kind, pid=target["pid"], thread=thread(target))["id"],
        "sender": sender(target),
        "before_ms": ANY,
        "certain": certain,
        **members,
    }


def signals(number=matching("SIG")):
    """What a cancel sends, where it sends something."""
    return {"kind": "thread-signal", "signal": {"name": number}}


def text_of(pid, library):
    """{offset: bytes} of a library's code in a process, as its CPU sees it."""
    pages = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) \S+ \d+ +(\S+)", line)
            if not found or not pathlib.Path(found[4]).name.startswith(library):
                continue
            start, end, offset = (int(found[i], 16) for i in (1, 2, 3))
            memory.seek(start)
            pages[offset] = memory.read(end - start)
    assert pages, f"{pid} maps no {library}"
    return pages


def pythons():
    """The interpreter that runs the tests, and the one by the name of python3 where that is another."""
    found = [sys.executable]
    if shutil.which("python3"):  # which may be a script
        command = ["python3", "-c", "import sys; print(sys.executable)"]
        found += subprocess.run(command, capture_output=True, text=True).stdout.split()
    return sorted({os.path.realpath(path) for path in found})


def musl_loader():
    loader = pathlib.Path("/lib/ld-musl-x86_64.so.1")
    if not loader.exists():
        pytest.skip(f"no shared musl here: {loader}")


PROGRAMS = {
    "glibc": "call_steps",
    "glibc, static": "call_steps_static",
    "musl, static": "musl_call_steps",
    "musl": "musl_call_steps_dynamic",
}


def program(libc):
    if libc == "musl":
        musl_loader()
    return str(LIVE / PROGRAMS[libc])
