# SPDX-License-Identifier: GPL-2.0-only
"""A minute of each language runtime, server and thread pool that is at hand, all at once and under load: of
none of them anything is said, and what they do to their own threads is folded and counted exactly.

One agent watches them all. Beside it runs one with --all-signals: what the one lists, the other must have
counted. What is not at hand is a SKIP, each by its name."""

import collections
import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import time
import types

import pytest

from deadhold import LIVE, SCALE, TIMEOUT, Agent
from signals import losses_of, noise_of
from test_locks_negative import GLIBC_KINDS, MUSL_KINDS
from test_programs import PATH, need, redis_server

SECONDS = max(2, int(60 * SCALE))
# Locks may have gone unread, of threads that ended an instant before their process; no signal.
SIGNAL_LOSSES = {"signals", "noise", "ring-buffer", "recursion", "memory"}
SOURCES = pathlib.Path(__file__).parent / "noise"
THREADS = pathlib.Path(__file__).parent / "runtimes" / "Threads.java"
PYTHON = "/usr/bin/python3"


class Load:
    """A process that waits under its PID until it is told to become the program. comms: of what is to be
    watched, if that is not the program itself; meanwhile(load): what is done to it; ends: tells it to end,
    with a line that has `last`."""

    def __init__(self, command, folder, comms=(), meanwhile=None, ends="", last="done"):
        words = ["sh", "-c", 'read go; exec "$@"', "sh", *map(str, command)]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            text=True,
            start_new_session=True,
            env={**os.environ, "PATH": PATH},
        )
        self.pid = self.process.pid
        self.pids = {self.pid}
        self.comms = {*(comms or [pathlib.Path(command[0]).name])}
        self.direct = not comms
        self.meanwhile, self.ends, self.last = meanwhile, ends, last

    def run(self):
        """To its end, which it reaches by itself. Returns what is wrong with that."""
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
            self.begun()
            if self.meanwhile:
                self.meanwhile(self)
            out, _ = self.process.communicate(self.ends, timeout=SECONDS * 10 + TIMEOUT)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            return repr(error)
        finally:
            self.kill()
        lines = out.splitlines()
        self.pids |= {int(line.split()[1]) for line in lines if line.startswith("pid ")}
        others = {line.split()[1] for line in lines if line.startswith("comm ")} - self.comms
        if others:
            return f"not watched: {others}"
        ended = self.process.returncode == 0 and lines and self.last in lines[-1]
        return None if ended else f"status {self.process.returncode}: {out}"

    def begun(self):
        """It has become the program, and goes by the name that is watched."""
        if not self.direct:
            return
        path = pathlib.Path(f"/proc/{self.pid}/comm")
        while (comm := path.read_text().strip()) == "sh" and self.process.poll() is None:
            time.sleep(0.01)
        assert comm in self.comms, f"it is {comm}"

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def has(self, alert):
        """Is it about one of its processes?"""
        at = alert.get("process", {})
        return not self.pids.isdisjoint({at.get("pid"), at.get("ppid")})


def build(folder, *command, **env):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- Each: the command, and what more there is to say of it. -------------------------------------


def jvm(folder):
    """With the flight recorder, which suspends threads to look at their stacks."""
    need("javac", "java")
    record = f"-XX:StartFlightRecording=settings=profile,filename={folder}/load.jfr"
    return ["java", record, SOURCES / "Load.java", SECONDS], {}


def go(folder):
    need("go")
    env = {"GOCACHE": f"{folder}/cache", "GO111MODULE": "off"}
    build(folder, "go", "build", "-o", folder / "load-go", SOURCES / "load.go", **env)
    return [folder / "load-go", SECONDS], {}


def node(folder):
    need("node")
    profile = ["--cpu-prof", "--cpu-prof-interval=10000", f"--cpu-prof-dir={folder}"]
    return ["node", *profile, SOURCES / "load.js", SECONDS], {}


def guile(folder):
    need("guile")
    return ["guile", "--no-auto-compile", SOURCES / "load.scm", SECONDS], {}


def mono(folder):
    need("mcs", "mono")
    build(folder, "mcs", f"-out:{folder}/Load.exe", SOURCES / "Load.cs")
    return ["mono", folder / "Load.exe", SECONDS], {}


def sbcl(folder):
    need("sbcl")
    return ["sbcl", "--script", SOURCES / "load.lisp", SECONDS], {}


def ruby(folder):
    need("ruby")
    return ["ruby", SOURCES / "load.rb", SECONDS], {}


def gdc(folder):
    need("gdc")
    build(folder, "gdc", "-o", folder / "load-d", SOURCES / "load.d")
    return [folder / "load-d", SECONDS], {}


def cpython(folder):
    return [PYTHON, SOURCES / "load.py", SECONDS], {}


def attached(load):
    """As the person on call does it: jstack, jcmd."""
    begin = time.monotonic()
    line = load.process.stdout.readline()
    assert '"loaded"' in line, line
    for tool in ["jstack"], ["jcmd", "Thread.print"]:
        command = [tool[0], str(load.pid), *tool[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10 * TIMEOUT, check=False)
        assert done.returncode == 0 and "worker-" in done.stdout, done.stdout + done.stderr
    time.sleep(max(0, begin + SECONDS - time.monotonic()))


def jvm_locks(_):
    """Monitors, ReentrantLock, queues, interrupts, safepoints, short threads. At its end the VM thread leaves a
    lock."""
    need("javac", "java", "jstack", "jcmd")
    return ["java", THREADS, "load"], {"meanwhile": attached, "ends": "end\n", "last": '"ended"'}


def rust(_):
    if not (LIVE / "rust_threads").exists():
        pytest.skip("rust_threads was not built: no rustc")
    again = f"""
        end=$(($(date +%s) + {SECONDS}))
        while [ $(date +%s) -lt $end ]; do echo end | {LIVE}/rust_threads churn 4 50 || exit; done
        echo done"""
    return ["sh", "-c", again], {"comms": ["rust_threads"]}


def redis(_):
    server, (benchmark,) = redis_server(), need("redis-benchmark")
    comms = [pathlib.Path(server).name, "redis-benchmark"]
    return [PYTHON, SOURCES / "servers.py", "redis", SECONDS, server, benchmark], {"comms": comms}


def postgres(_):
    programs = need("initdb", "postgres", "pgbench", "setpriv")
    command = [PYTHON, SOURCES / "servers.py", "postgres", SECONDS, *programs]
    return command, {"comms": ["postgres", "pgbench", "initdb"]}


def glibc_pool(_):
    return [LIVE / "lock_churn", "pool", SECONDS, *GLIBC_KINDS], {}


def musl_pool(_):
    return [LIVE / "musl_churn", "pool", SECONDS, *MUSL_KINDS], {}


# What each sends to its own threads at least, or the test has shown nothing.
RUNTIMES = {
    jvm: {"SIGUSR2", "SIGRTMAX-2"},
    jvm_locks: set(),
    go: {"SIGURG", "SIGPROF"},
    node: {"SIGPROF"},
    guile: {"SIGPWR", "SIGXCPU"},
    mono: {"SIGRTMIN+1", "SIGRTMIN+2"},
    sbcl: {"SIGUSR2"},
    ruby: {"SIGVTALRM"},
    gdc: {"SIGUSR1", "SIGUSR2"},
    cpython: set(),
    rust: set(),
    redis: set(),
    postgres: set(),
    glibc_pool: set(),
    musl_pool: set(),
}


def name_of(runtime):
    return runtime.__name__


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """All of them, to their ends: loads or why there is none, what is wrong with each, and the agents."""
    loads, missing = {}, {}
    for runtime in RUNTIMES:
        folder = tmp_path_factory.mktemp(name_of(runtime))
        try:
            command, more = runtime(folder)
            loads[runtime] = Load(command, folder, **more)
        except pytest.skip.Exception as why:
            missing[runtime] = str(why)
    options = [f"--comm={comm}" for comm in sorted(set().union(*(one.comms for one in loads.values())))]
    try:
        with (
            Agent(*options, allow_loss=True) as agent,
            Agent(*options, "--all-signals", "--no-limit", allow_loss=True, in_file=True) as other,
            concurrent.futures.ThreadPoolExecutor(len(loads)) as pool,
        ):
            wrong = dict(zip(loads, pool.map(Load.run, loads.values())))
    finally:
        for load in loads.values():
            load.kill()
    return types.SimpleNamespace(loads=loads, missing=missing, wrong=wrong, agent=agent, other=other)


def by_chance(alert):
    """Now and then one of the many numbers in a JVM's memory has the shape of a lock (docs/census.md tells
    how often): that is suspected, and no more."""
    locks = alert.get("locks", [alert.get("lock")])
    return alert["kind"] in ("lock-suspected", "orphan-cleared") and all(
        lock and lock["proof"] == "shape" for lock in locks
    )


@pytest.mark.parametrize("runtime", RUNTIMES, ids=name_of)
def test_runtime(minute, runtime):
    if runtime in minute.missing:
        pytest.skip(f"untested: {minute.missing[runtime]}")
    load, agent, other = minute.loads[runtime], minute.agent, minute.other
    assert minute.wrong[runtime] is None
    said = [a for a in agent.alerts if load.has(a) and a["kind"] != "noise"]
    if runtime in (jvm, jvm_locks):
        said = [a for a in said if not by_chance(a)]
    assert said == [], agent.said()
    ours = [a for a in other.alerts if load.has(a)]
    shown = collections.Counter(a["signal"]["name"] for a in ours if a["kind"] == "thread-signal")
    print(f"{name_of(runtime)}: {dict(shown)}")
    pids = {a["process"]["pid"] for a in agent.alerts if load.has(a)}
    assert noise_of(agent.alerts, *pids) == shown, agent.said()
    assert RUNTIMES[runtime] <= set(shown), other.said()
    assert SIGNAL_LOSSES.isdisjoint(losses_of(agent.alerts)), agent.said()
