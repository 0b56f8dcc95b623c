# SPDX-License-Identifier: GPL-2.0-only
"""What the measurements are made with: the agent, helpers, and what the kernel says of both."""

import atexit
import calendar
import collections
import json
import os
import pathlib
import select
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
AGENT = pathlib.Path(os.environ.get("DEADHOLD", ROOT / "build" / "deadhold")).resolve()
BENCH = pathlib.Path(os.environ.get("DEADHOLD_BENCH", ROOT / "build" / "bench")).resolve()
PATIENCE_S = 120  # for what should come at once


class Failure(Exception):
    """Something could not be measured."""


# --- Processes: ended by whoever started them, by PID. -------------------------------------------

running = []


def start(command, **how):
    process = subprocess.Popen([str(c) for c in command], **how)
    running.append(process)
    return process


def end(process):
    if process.poll() is None:
        process.kill()
    process.wait()
    running.remove(process)


@atexit.register
def end_all():
    for process in list(running):
        end(process)


def stat_of(pid):
    """comm, state and parent of a process; None if it is gone."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    comm, rest = stat[stat.index("(") + 1 :].rsplit(")", 1)
    return comm, rest.split()[0], int(rest.split()[1])


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def foreign_agents():
    """How many deadhold processes on this host are not ours: they change what is measured."""
    ours = {p.pid for p in running}
    n = 0
    for pid in processes():
        stat = stat_of(pid)
        if stat and stat[0] == "deadhold" and stat[1] != "Z" and not {pid, stat[2]} & ours:
            n += 1
    return n


def ended_await(pidfd, begin):
    """Waits for the end of a process; seconds since `begin`."""
    with os.fdopen(pidfd) as file:
        ended = select.poll()
        ended.register(file, select.POLLIN)
        if not ended.poll(PATIENCE_S * 1000):
            raise Failure("a process of the agent's does not end")
    return time.monotonic() - begin


def cpu_ns_of(pid):
    """CPU time of a process, and of its children that it has collected; 0: it is just gone."""
    try:
        own = pathlib.Path(f"/proc/{pid}/schedstat").read_text()
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    cutime, cstime = map(int, stat.rpartition(")")[2].split()[13:15])
    return int(own.split()[0]) + (cutime + cstime) * 10**9 // os.sysconf("SC_CLK_TCK")


class Helper:
    """A program of ours. It obeys lines on stdin and goes on until that ends."""

    def __init__(self, *command):
        self.process = start(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        self.process.stdin.close()
        self.process.stdout.close()

    def failed(self):
        return Failure(f"`{' '.join(self.process.args)}` failed")

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise self.failed()
        return line.strip()

    def tell(self, line):
        self.process.stdin.write(line + "\n")

    def rest(self):
        """Lets it end by itself; what it said since."""
        self.process.stdin.close()
        lines = self.process.stdout.read().splitlines()
        if self.process.wait():
            raise self.failed()
        return lines


def bench(*args):
    return Helper(BENCH / "bench", *args)


def bpf(*args):
    return Helper(BENCH / "bpf", *args)


# --- The agent. ----------------------------------------------------------------------------------

Line = collections.namedtuple("Line", "alert received_ns")


class Agent:
    """A running `deadhold --json`, which watches the whole host and speaks of our own loads. A thread
    takes its lines off the pipe as they come; those of the kind `only_count` are not kept."""

    def __init__(self, *options, only_count=None):
        self.options = options
        self.only_count = f'"kind":"{only_count}"'.encode() if only_count else None
        self.counted = 0
        self.first_counted_ns = self.last_counted_ns = 0
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False

    def __enter__(self):
        begin = time.time_ns()
        self.process = start(
            [AGENT, "--json", "--quiet", "--comm=bench", *self.options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pipesize=1 << 20,
        )
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        ready = self.wait(lambda alert: alert["kind"] == "ready")
        if not ready:
            error = self.process.stderr.read().decode(errors="replace") if self.ended else ""
            end(self.process)
            raise Failure(f"the agent did not get ready: {error.strip() or 'no word of why'}")
        self.ready = ready.alert
        self.ready_s = (ready.received_ns - begin) / 1e9
        return self

    def __exit__(self, *_):
        end(self.process)
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()

    def _read(self):
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 1 << 20):
            now = time.time_ns()
            *lines, rest = (rest + chunk).split(b"\n")
            if self.only_count:
                kept = [line for line in lines if self.only_count not in line]
                if len(kept) < len(lines):
                    self.counted += len(lines) - len(kept)
                    self.last_counted_ns = now
                    self.first_counted_ns = self.first_counted_ns or now
                lines = kept
            with self.changed:
                self.lines += [Line(json.loads(line), now) for line in lines]
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, wanted, timeout=PATIENCE_S):
        """The first line that is wanted; None: it did not come, or the agent has ended."""
        seen = 0
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                for line in self.lines[seen:]:
                    if wanted(line.alert):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    return None
                self.changed.wait(left)

    def stop(self):
        """Ends it well; its summary."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.thread.join()
        if self.process.returncode or self.lines[-1].alert["kind"] != "summary":
            raise Failure(f"the agent ended with status {self.process.returncode}")
        return self.lines[-1].alert

    # What the kernel says of it.

    def pids(self):
        """The agent and what it has started, the reader and the prober's processes; of these, which
        ones, may change."""
        parents = {pid: (stat_of(pid) or (0, 0, 0))[2] for pid in processes()}
        own = [self.process.pid]
        for pid in own:  # it grows meanwhile
            own += [child for child, parent in parents.items() if parent == pid]
        return own

    def memory(self, pids=None):
        """(RSS, PSS) in bytes, of all of them together, or of these."""
        sums = {"Rss": 0, "Pss": 0}
        for pid in pids or self.pids():
            try:
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:  # a reader that is just being replaced
                continue
            for line in rollup.splitlines():
                name, _, value = line.partition(":")
                if name in sums:
                    sums[name] += int(value.split()[0]) * 1024
        return sums["Rss"], sums["Pss"]

    def cpu_ns(self):
        """CPU time of all of them together, and of those that came and went."""
        return sum(cpu_ns_of(pid) for pid in self.pids())

    def end_await(self):
        """Ends it, and waits until nothing that it had started is left: the probes go with the last of
        these. How many seconds that took, and how many until it had itself ended."""
        ends = [os.pidfd_open(pid) for pid in self.pids()]
        begin = time.monotonic()
        self.process.terminate()
        took = [ended_await(end, begin) for end in ends]
        return max(took), took[0]

    def maps(self):
        """name → (entries, max_entries, bytes)"""
        with bpf("maps", self.process.pid) as helper:
            rows = (line.split() for line in helper.rest())
            return {row[0]: tuple(map(int, row[1:])) for row in rows}


def time_ns(text):
    """Nanoseconds since the epoch of an RFC 3339 time with nine digits behind the point."""
    seconds, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(fraction)
