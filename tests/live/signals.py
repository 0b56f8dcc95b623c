# SPDX-License-Identifier: GPL-2.0-only
"""What the signal tests share: actors (sig_actor.c), and what an alert must say of them."""

import collections
import errno
import json
import os
import pathlib
import pwd
import re
import shlex
import subprocess

import pytest

from deadhold import (
    ABSENT,
    AGENT,
    ANY,
    OPTIONS,
    TIMEOUT,
    Agent,
    Lines,
    between,
    check_alert,
    check_order,
    contract,
    one_of,
)

SIGINT, SIGABRT, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2 = 2, 6, 9, 10, 11, 12
SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGSTOP, SIGURG = 13, 14, 15, 17, 19, 23
SIGVTALRM, SIGPROF, SIGIO = 26, 27, 29
SIGRTMIN = 34  # as the kernel and `kill -l` count

NAMES = {
    0: ANY, SIGINT: "SIGINT", SIGABRT: "SIGABRT", SIGKILL: "SIGKILL", SIGUSR1: "SIGUSR1",
    SIGSEGV: "SIGSEGV", SIGUSR2: "SIGUSR2", SIGPIPE: "SIGPIPE", SIGTERM: "SIGTERM",
    SIGSTOP: "SIGSTOP", SIGURG: "SIGURG", SIGIO: one_of("SIGIO", "SIGPOLL"),
    34: "SIGRTMIN", 37: "SIGRTMIN+3", 40: "SIGRTMIN+6", 50: "SIGRTMAX-14", 64: "SIGRTMAX",
}

SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_TKILL = 0, 0x80, -1, -2, -6
CODES = {
    SI_USER: "SI_USER", SI_KERNEL: "SI_KERNEL", SI_QUEUE: "SI_QUEUE", SI_TIMER: "SI_TIMER",
    SI_TKILL: "SI_TKILL",
}


class Actor:
    """A running sig_actor: it sends signals, takes them, or both.

    Threads are given by index; 0 is the main one."""

    def __init__(
        self, start_workload, *words, name="sig-actor", threads=(), musl=False, **settings
    ):
        words = [f"name={name}", *(f"thread={t}" for t in threads), *words]
        program = "musl_sig_actor" if musl else "sig_actor"
        self.name = name
        self.names = [name, *threads]
        self.workload = start_workload(program, *words, **settings)
        self.threads = [self.workload.event("thread", index=i) for i in range(len(self.names))]
        self.main = self.workload.event("actor")
        self.pid = self.main["pid"]
        # Read while it lives: an alert about its death is compared later.
        self.facts = process_facts(self.pid)
        self.ticks = [str(start_ticks(self.pid, t["tid"])) for t in self.threads]

    def do(self, index, verb, *args, says=None, timeout=TIMEOUT):
        """Has a thread do something and returns the event that it ends with."""
        self.workload.go(" ".join(map(str, (index, verb, *args))))
        return self.workload.event(says or verb, timeout)

    def all_do(self, verb, *args, timeout=TIMEOUT):
        """The same in all threads but the main one, at once; returns their events."""
        self.workload.go(" ".join(map(str, ("all", verb, *args))))
        return [self.workload.event(verb, timeout) for _ in self.threads[1:]]

    def send(self, call, sig, target, to=1, by=1, count=1, scope="ns", ok=True, timeout=TIMEOUT):
        """Thread `by` makes the call at thread `to` of the target, and the call must succeed;
        ok=None: it may fail; ok="ESRCH": it must fail so. scope="host": numbers of the test's
        namespace."""
        ids = ("ns_pid", "ns_tid") if scope == "ns" else ("pid", "tid")
        tgid, tid = (target.threads[to][i] for i in ids)
        return self.send_ids(call, sig, tgid, tid, by=by, count=count, ok=ok, timeout=timeout)

    def send_ids(self, call, sig, tgid, tid, by=1, count=1, ok=True, timeout=TIMEOUT):
        sent = self.do(by, "send", call, sig, tgid, tid, count, timeout=timeout)
        assert sent["count"] == count
        if ok is True:
            assert (sent["ok"], sent["error"]) == (count, 0), f"{call}: {sent}"
        elif ok:
            assert sent["ok"] == 0 and errno.errorcode[sent["error"]] == ok, f"{call}: {sent}"
        return sent

    def need(self, call):
        """Skips the test where this kernel does not know the call: it is tried on the caller
        itself, with signal 0."""
        if "int80" in call:
            if not self.do(1, "int80")["works"]:
                pytest.skip("this kernel takes no 32-bit system calls")
        elif "pidfd" in call:
            me = self.threads[1]
            sent = self.send_ids(call, 0, me["ns_pid"], me["ns_tid"], ok=None)
            if sent["error"] in (errno.EINVAL, errno.ENOSYS):
                name = errno.errorcode[sent["error"]]
                pytest.skip(f"this kernel has no pidfd_send_signal as in {call} (tried: {name})")
            assert sent["error"] == 0, f"{call}: {sent}"

    # -- what an alert must say

    def process(self, **more):
        """The `process` object of an alert about this actor."""
        return {**self.facts, "comm": self.name, "ns_pid": self.main["ns_pid"], **more}

    def thread(self, index, **more):
        """The `thread` object of an alert about one of its threads."""
        event = self.threads[index]
        return {
            "tid": event["tid"],
            "ns_tid": event["ns_tid"],
            "name": self.names[index],
            "start_ticks": self.ticks[index],
            **more,
        }

    def sender(self, index=1):
        return {"process": self.process(), "thread": self.thread(index)}


def boot_id():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid, tid=None):
    """Field 22 of /proc/PID/stat, or of a thread's; the name before it may contain anything."""
    path = f"/proc/{pid}/task/{tid}/stat" if tid else f"/proc/{pid}/stat"
    stat = pathlib.Path(path).read_bytes()
    return int(stat.rpartition(b")")[2].split()[19])


def process_facts(pid):
    """What /proc says of a process, as the members of an alert's `process`."""
    status = dict(
        line.split(":\t", 1)
        for line in pathlib.Path(f"/proc/{pid}/status").read_text(errors="replace").split("\n")
        if ":\t" in line
    )
    uid = int(status["Uid"].split()[1])
    facts = {
        "id": f"{boot_id()}:{pid}:{start_ticks(pid)}",
        "pid": pid,
        "exe": os.readlink(f"/proc/{pid}/exe"),
        "uid": uid,
        "ppid": int(status["PPid"]),
        "pid_ns": os.stat(f"/proc/{pid}/ns/pid").st_ino,
        "start_time": ANY,
        "cmdline": ABSENT,
    }
    try:
        facts["user"] = pwd.getpwuid(uid).pw_name
    except KeyError:
        facts["user"] = ABSENT
    facts["cgroup"] = cgroup_of(pid)
    parent = pathlib.Path(f"/proc/{facts['ppid']}/comm").read_bytes()[:-1]
    facts["parent_comm"] = parent.decode(errors="backslashreplace")
    return facts


def cgroup_of(pid):
    """The version 2 path, else systemd's, else the first one; "/", which says nothing, only if all
    are."""
    groups = [
        line.split(":", 2)
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    ]
    order = [path for number, _, path in groups if number == "0"]
    order += [path for _, names, path in groups if "name=systemd" in names]
    order += [path for _, _, path in groups]
    return next((path for path in order if path != "/"), order[0] if order else ABSENT)


def descendants(pid):
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found, more = set(), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more} - found
        found |= more
    return found


def readers(pid):
    """Of the agent's children, those that read other processes for it."""
    return {p for p in descendants(pid) if comm_of(p) == "deadhold-reader"}


def comm_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return None


def signal_object(number, call, code, result="queued", fatal=False, scope="thread", name=None):
    return {
        "number": number,
        "name": name or NAMES[number],
        "scope": scope,
        "call": call,
        "code": code,
        "code_name": CODES.get(code, ANY) if not hasattr(code, "matches") else ANY,
        "result": result,
        "fatal": fatal,
        "errno": ABSENT,
    }


def failed_object(number, call, error, scope="thread", code=None, **more):
    return {
        "number": number,
        "name": NAMES[number],
        "scope": scope,
        "call": call,
        "code": one_of(ABSENT, code) if code is not None else one_of(ABSENT, SI_TKILL),
        "result": "failed",
        "errno": error,
        "fatal": ABSENT,
        **more,
    }


def alert(kind, signal, sender, target, to=1, sent=None, **more):
    """What a signal's alert must say. sent: the workload's event of the send, for the time."""
    fatal = signal.get("fatal") is True
    severity = "critical" if fatal else "warning" if kind == "tid-kill" else "info"
    expected = {
        "kind": kind,
        "severity": severity,
        "signal": signal,
        "sender": sender,
        "process": target.process(),
        "thread": target.thread(to),
        **more,
    }
    if sent:
        expected["ktime_ns"] = between(sent["before_ns"], sent["after_ns"])
    return expected


def noise_counts(alerts):
    """(pid, signal number) → how many signals were folded, over all `noise` lines."""
    counts = {}
    for a in alerts:
        if a["kind"] == "noise":
            key = (a["process"]["pid"], a["signal"]["number"])
            counts[key] = counts.get(key, 0) + a["count"]
    return counts


def losses_of(alerts):
    """Place → how many were lost there, by the `loss` lines."""
    losses = collections.Counter()
    for a in alerts:
        losses.update(a["where"] if a["kind"] == "loss" else {})
    return losses


def noise_of(alerts, *pids):
    """The same for some processes only: (signal name) → count, and no process twice by name."""
    counts = {}
    for a in alerts:
        if a["kind"] == "noise" and a["process"]["pid"] in pids:
            counts[a["signal"]["name"]] = counts.get(a["signal"]["name"], 0) + a["count"]
    return counts


def check_lines(lines, context=lambda: "", first=1):
    """Holds lines against the contract: the JSON of one run, from its alert number `first` on."""
    alerts = []
    for number, line in enumerate(lines, first):
        if not line.endswith(b"\n"):
            raise AssertionError(f"the last line is cut off: {line}{context()}")
        alerts.append(contract.parse(line.decode()))
        check_order(alerts[-1], number, alerts[0])
        check_alert(alerts[-1], context)
    return alerts


BRIEF = {"kind": "thread-signal"}


class CountingAgent(Agent):
    """Counts the many lines about one process's signals. They are kept as they came, and held against
    the contract at the end, like all others."""

    def __init__(self, *options, target, **settings):
        super().__init__(*options, allow_loss=True, in_file=True, **settings)
        self.target = target
        self.counted = {}
        self.raw = []

    def _take(self, line):
        a = json.loads(line)
        if a["kind"] != "thread-signal" or a["process"]["pid"] != self.target:
            super()._take(line)
            return
        key = (a["signal"]["name"], a["signal"]["result"])
        self.counted[key] = self.counted.get(key, 0) + 1
        self.raw.append((len(self.alerts) + 1, line))
        self.alerts.append(BRIEF)

    def check(self):
        super().check()
        with self.out.changed:
            lines, self.raw = self.raw, []
        for number, line in lines:
            (alert_said,) = check_lines([line], first=number)
            check_order(alert_said, number, self.alerts[0])


class RawAgent:
    """A running deadhold of which nothing is assumed: not that it starts, nor that it writes JSON.
    Where it writes alerts in JSON, each line is held against the contract when it has ended.

    `prefix` is a command that runs it (unshare, setpriv); `out` is where its stdout goes."""

    def __init__(self, *words, prefix=(), out=subprocess.PIPE, options=OPTIONS, program=AGENT):
        self.command = [*map(str, prefix), str(program), *options, *map(str, words)]
        words = list(map(str, words))
        json_asked = any(word in ("--json", "json", "-ojson", "--output=json") for word in words)
        self.says_alerts = json_asked and "check" not in words
        self.lines = []  # of stdout: bytes, newline included
        self.errors = []  # of stderr, likewise
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self.out = Lines(self.process.stdout, self.lines.append) if self.process.stdout else None
        self.err = Lines(self.process.stderr, self.errors.append)

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        lines = b"".join(["stdout:\n".encode(), *self.lines, b"stderr:\n", *self.errors])
        return f"\ncommand: {shlex.join(self.command)}\n{lines.decode(errors='backslashreplace')}"

    def wait_line(self, pattern, stream="out", timeout=TIMEOUT):
        """Waits for a line that matches and returns it, decoded."""
        lines, source = (self.lines, self.out) if stream == "out" else (self.errors, self.err)

        def found():
            texts = (line.decode(errors="backslashreplace") for line in lines)
            return next((text for text in texts if re.search(pattern, text)), None)

        line = source.wait(found, timeout)
        if line is None:
            raise AssertionError(f"no line {pattern!r} on std{stream}{self.said()}")
        return line

    def wait(self, timeout=TIMEOUT):
        """Waits for the end; returns the exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {timeout:.0f} s{self.said()}") from None
        for lines in filter(None, (self.out, self.err)):
            lines.thread.join(timeout)
            if lines.thread.is_alive():
                raise AssertionError(f"it left a process on its output{self.said()}")
        self.check()
        return status

    def check(self):
        """Fails if a line was no alert by the contract. What it was just writing when it was killed
        may be cut off."""
        lines = self.lines if self.says_alerts else []
        if lines and self.process.returncode == -SIGKILL and not lines[-1].endswith(b"\n"):
            lines = lines[:-1]
        check_lines(lines, self.said)

    def stop(self, how=SIGINT, status=0):
        self.process.send_signal(how)
        got = self.wait()
        assert got == status, f"ended with status {got}, expected {status}{self.said()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for lines in filter(None, (self.out, self.err)):
            lines.thread.join(TIMEOUT)
        self.check()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
