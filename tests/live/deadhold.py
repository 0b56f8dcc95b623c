# SPDX-License-Identifier: GPL-2.0-only
"""What the live tests are made of: the agent, workloads, and the comparison of alerts.

    with Agent() as agent, Workload("lock_orphan", "normal", "return", "wait") as w:
        owner = w.event("locked")
        w.go("die")
        agent.wait_for(kind="lock-orphaned", pid=owner["pid"])
        expect(agent, w, [{"kind": "lock-orphaned", "locks": [...]}, ...])

Nothing sleeps and hopes: every wait is for a condition. The limits are there for a host where the
condition never comes, and are far above what a slow emulated machine needs.

Environment: DEADHOLD (the agent, default build/deadhold), DEADHOLD_LIVE (the workloads, default
build/live), DEADHOLD_OPTIONS (added to each start of the agent, to run the suite on a rung of the
hook ladder), DEADHOLD_TIMEOUT (seconds for a condition, default 60), DEADHOLD_SCALE (how much the
workloads that repeat things do, default 1).
"""

import itertools
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import contract  # noqa: E402 # from there
AGENT = pathlib.Path(os.environ.get("DEADHOLD", ROOT / "build" / "deadhold")).resolve()
LIVE = pathlib.Path(os.environ.get("DEADHOLD_LIVE", ROOT / "build" / "live")).resolve()
OPTIONS = shlex.split(os.environ.get("DEADHOLD_OPTIONS", ""))
TIMEOUT = float(os.environ.get("DEADHOLD_TIMEOUT", "60"))
SCALE = float(os.environ.get("DEADHOLD_SCALE") or "1")
SAID = 60  # lines that a failure shows

# Said of the run, not of a process that is watched.
RUN_KINDS = ("ready", "loss", "summary")
LOCK_KINDS = ("lock-orphaned", "orphan-wait", "orphan-cleared", "lock-suspected")


def kernel():
    """The running kernel's version, to compare: (6, 1)."""
    return tuple(int(n) for n in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())


# --- Matchers: expected values that are more than a constant. ------------------------------------


class Matcher:
    """An expected value that a function decides about."""

    def __init__(self, text, matches):
        self.text = text
        self.matches = matches

    def __repr__(self):
        return self.text


_MISSING = object()
ANY = Matcher("ANY", lambda value: value is not _MISSING)  # there, whatever it is
ABSENT = Matcher("ABSENT", lambda value: value is _MISSING)  # not there


def one_of(*values):
    return Matcher(
        f"one_of{values}", lambda value: any(difference(value, v) is None for v in values)
    )


def between(low, high):
    """A number, or the string of one, in [low, high]."""
    return Matcher(
        f"between({low}, {high})",
        lambda value: value is not _MISSING and low <= int(value) <= high,
    )


def address(number):
    """An address: a number, or a string as C prints it."""
    number = int(number, 16) if isinstance(number, str) else number
    return hex(number)


def matching(pattern):
    return Matcher(
        f"matching({pattern!r})",
        lambda value: isinstance(value, str) and re.search(pattern, value) is not None,
    )


class optional:
    """An expected alert that may or may not come, at this place in the order."""

    def __init__(self, alert):
        self.alert = alert

    def __repr__(self):
        return f"optional({self.alert!r})"


class any_order(list):
    """An expected list whose items may come in any order."""

    def __repr__(self):
        return f"any_order({super().__repr__()})"


def difference(got, expected, where=""):
    """None if `got` is as expected, else what differs, in words. Dictionaries are compared in the
    members that are expected; lists must have as many items."""
    if isinstance(expected, Matcher):
        if expected.matches(got):
            return None
        got = "absent" if got is _MISSING else json.dumps(got)
        return f"{where or 'value'}: got {got}, expected {expected}"
    if got is _MISSING:
        return f"{where}: absent, expected {expected!r}"
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return f"{where}: got {json.dumps(got)}, expected {expected!r}"
        for name, value in expected.items():
            inner = difference(got.get(name, _MISSING), value, f"{where}.{name}" if where else name)
            if inner:
                return inner
        return None
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return f"{where}: got {json.dumps(got)}, expected {len(expected)} item(s): {expected!r}"
        first = None
        orders = itertools.permutations(expected) if isinstance(expected, any_order) else [expected]
        for order in orders:
            inner = next(
                filter(
                    None, (difference(g, e, f"{where}[{i}]") for i, (g, e) in
                           enumerate(zip(got, order)))
                ),
                None,
            )
            if inner is None:
                return None
            first = first or inner
        return first
    # 1 and True are equal in Python, not in JSON.
    if got == expected and isinstance(got, bool) == isinstance(expected, bool):
        return None
    return f"{where or 'value'}: got {json.dumps(got)}, expected {expected!r}"


# --- Reading lines without losing one. -----------------------------------------------------------


class Lines:
    """Collects the lines of a pipe in a thread; whoever waits for one sleeps on a condition."""

    def __init__(self, stream, take):
        self.stream = stream
        self.take = take
        self.changed = threading.Condition()
        self.ended = False
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for line in self.stream:
            with self.changed:
                try:
                    self.take(line)
                except Exception as e:  # said by whoever waits next
                    self.error = self.error or e
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, condition, timeout):
        """Waits until condition() is true; returns what it gave, or None after the timeout or when
        nothing more can come."""
        with self.changed:
            self.changed.wait_for(
                lambda: condition() or self.ended or self.error is not None, timeout
            )
            return condition()


# --- The agent. ----------------------------------------------------------------------------------

_contract = None


def contract_of_lines():
    """docs/alerts.schema.json, compiled, and what it cannot say: tests/contract.py."""
    global _contract
    if _contract is None:
        _contract = contract.Contract()
    return _contract


def check_alert(alert, context=lambda: ""):
    """Fails if an alert is not as the contract has it."""
    wrong = list(contract_of_lines().wrong(alert))
    if wrong:
        raise AssertionError("\n".join([*wrong, json.dumps(alert)]) + context())


def check_order(alert, n, first):
    """Fails if this cannot be the nth alert of the run that `first` began."""
    if alert["seq"] != n:
        raise AssertionError(f"seq {alert['seq']} where {n} was due\n{json.dumps(alert)}")
    for member in ("run", "host", "boot_id"):
        if alert[member] != first[member]:
            raise AssertionError(f"{member} changed within the run\n{json.dumps(alert)}")


class Agent:
    """A running `deadhold watch -o json -v`. Every line is checked against what holds for all lines
    of a run, and against the contract: not in the thread that reads, so that a burst of lines does
    not make the agent wait for the test. in_file: it writes to a file, which is never too slow."""

    def __init__(self, *options, allow_loss=False, env=None, in_file=False):
        self.command = [str(AGENT), "-o", "json", "-v", *OPTIONS, *map(str, options)]
        self.allow_loss = allow_loss
        self.file = tempfile.TemporaryFile() if in_file else None
        self.env = {**os.environ, **(env or {})}
        self.alerts = []  # every line, ready and summary included
        self.errors = []  # lines of stderr
        self.unchecked = []  # those not yet held against the contract
        self.process = None
        self.ready = None
        self.status = None

    def start(self):
        contract_of_lines()
        if not AGENT.exists():
            pytest.fail(f"{AGENT} does not exist: build it, or set DEADHOLD", pytrace=False)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self.file or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            process_group=0,
            pipesize=1 << 20,
        )
        self.out = Lines(self._follow() if self.file else self.process.stdout, self._take)
        self.err = Lines(
            self.process.stderr,
            lambda line: self.errors.append(line.decode(errors="backslashreplace").rstrip("\n")),
        )
        try:
            self.ready = self.wait_for(kind="ready")
        except BaseException:
            self.kill()
            raise
        return self

    def _follow(self):
        """The lines of the file as they are written."""
        with open(f"/proc/self/fd/{self.file.fileno()}", "rb") as lines:
            rest = b""
            while True:
                ended = self.process.poll() is not None
                for line in lines:
                    rest += line
                    if rest.endswith(b"\n"):
                        yield rest
                        rest = b""
                if ended:
                    break
                time.sleep(0.005)
            if rest:
                yield rest

    def __enter__(self):
        return self.start()

    def __exit__(self, error, *_):
        if error is not None:
            self.kill()
        elif self.status is None:
            self.stop()

    def _take(self, line):
        text = line.decode()  # contract: valid UTF-8, whatever is watched
        if not text.endswith("\n"):
            raise AssertionError(f"the last line is cut off: {text!r}")
        alert = contract.parse(text)
        self.alerts.append(alert)
        self.unchecked.append(alert)
        n = len(self.alerts)
        check_order(alert, n, self.alerts[0])
        if n > 1 and self.alerts[-2]["kind"] == "summary":
            raise AssertionError(f"said after the summary\n{text}")

    def said(self):
        """What the agent said last, and the losses, for a failure's message."""
        lines = [json.dumps(a) for a in self.alerts[-SAID:]] or ["(nothing)"]
        earlier = self.alerts[:-SAID]
        if earlier:
            losses = [json.dumps(a) for a in earlier if a["kind"] == "loss"]
            lines = [f"({len(earlier)} lines before, {len(losses)} losses:)", *losses, *lines]
        errors = [line for line in self.errors if not line.startswith("deadhold: sweep ")]
        errors.append(f"({self.sweeps()} sweeps)")
        return "\n".join(
            ["", "command: " + shlex.join(self.command), "stdout:", *lines, "stderr:", *errors]
        )

    def check(self):
        """Fails if a line that came was wrong."""
        with self.out.changed:
            if self.out.error is not None:
                raise AssertionError(f"{self.out.error}{self.said()}")
            alerts, self.unchecked = self.unchecked, []
        for alert in alerts:
            check_alert(alert, self.said)

    def wait_for(self, predicate=None, *, kind=None, pid=None, timeout=TIMEOUT, count=1, **members):
        """Waits until `count` lines match, and returns the last of them. A line matches by kind,
        by pid (that of the process it is about or of the sender), by other expected members, and
        by predicate(line)."""
        if kind is not None:
            members["kind"] = kind

        hits = []
        looked_at = 0

        def found():
            nonlocal looked_at
            for alert in self.alerts[looked_at:]:
                looked_at += 1
                if alert["kind"] == "loss" and members.get("kind") != "loss" and not self.allow_loss:
                    raise AssertionError(f"something was lost{self.said()}")
                if (
                    difference(alert, members) is None
                    and (pid is None or pid in pids_of(alert))
                    and (predicate is None or predicate(alert))
                ):
                    hits.append(alert)
            return hits[count - 1] if len(hits) >= count else None

        alert = self.out.wait(found, timeout)
        self.check()
        if alert is None:
            what = ", ".join(f"{k}={v!r}" for k, v in members.items())
            what += f", pid={pid}" if pid else ""
            what += ", a predicate" if predicate else ""
            why = "the agent ended" if self.out.ended else f"{timeout:.0f} s are over"
            self.err.wait(lambda: self.err.ended, 1 if self.out.ended else 0)
            raise AssertionError(f"no alert with {what}: {why}{self.said()}")
        return alert

    def sweeps(self):
        """The number of the last sweep that was completed; 0: none yet."""
        numbers = (re.match(r"deadhold: sweep (\d+):", line) for line in reversed(self.errors))
        return next((int(m.group(1)) for m in numbers if m), 0)

    def wait_sweeps(self, n=3, timeout=TIMEOUT):
        """Waits until n more sweeps were made, so that what a sweep could find has been found."""
        due = self.sweeps() + n
        if not self.err.wait(lambda: self.sweeps() >= due, timeout):
            self.check()
            raise AssertionError(f"{n} sweeps did not come in {timeout:.0f} s{self.said()}")
        self.check()

    def wait_census(self, pid=None, timeout=TIMEOUT):
        """Waits until a census has ended: of that process, or of any."""
        said = f"deadhold: census of {pid}:" if pid else "deadhold: census of "
        if not self.err.wait(lambda: any(line.startswith(said) for line in self.errors), timeout):
            self.check()
            raise AssertionError(f"no census came in {timeout:.0f} s{self.said()}")
        self.check()

    def stop(self, how=signal.SIGINT, timeout=TIMEOUT):
        """Ends the agent, which first settles what is pending, and returns all it said. Fails
        unless it ended well, with a summary and, by default, without loss."""
        if self.status is None:
            self.process.send_signal(how)
            self._end(timeout)
        self.check()
        if self.status != 0:
            raise AssertionError(f"the agent ended with status {self.status}{self.said()}")
        if not self.alerts or self.alerts[-1]["kind"] != "summary":
            raise AssertionError(f"the last line is no summary{self.said()}")
        if not self.allow_loss:
            lost = [a for a in self.alerts if a["kind"] == "loss"]
            lost += [a for a in self.alerts[-1:] if a["losses"]]
            if lost:
                raise AssertionError(f"something was lost: {json.dumps(lost)}{self.said()}")
        return self.alerts

    def _end(self, timeout):
        try:
            self.status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the agent did not end in {timeout:.0f} s{self.said()}") from None
        for lines in (self.out, self.err):
            lines.thread.join(timeout)
            if lines.thread.is_alive():
                raise AssertionError(f"the agent left a process on its output{self.said()}")

    def kill(self):
        """Ends the agent whatever it does. For clean-up, and for a test of just that."""
        if self.status is None and self.process is not None:
            self.process.kill()
            self.status = self.process.wait()
            self.out.thread.join(TIMEOUT)
            self.err.thread.join(TIMEOUT)

    def alerts_of(self, *pids, kinds=None):
        """What was said of these processes, in order: as the process it is about or as the sender.
        Kinds: only these; by default all but `noise`, which comes when its interval ends, and
        `incident`, which tells again what the others told."""
        return [
            a
            for a in self.alerts
            if a["kind"] not in RUN_KINDS
            and (a["kind"] in kinds if kinds else a["kind"] not in ("noise", "incident"))
            and not pids_of(a).isdisjoint(pids)
        ]

    def rung(self, family):
        """The rung that a hook family took, by the ready line: agent.rung("exit") == "late"."""
        return self.ready["hooks"].get(family)

    def reason(self, reason):
        """An exit reason as it can be known: the latest hook runs when the thread's memory, which
        tells how libc ended the thread, is gone; the earliest before the kernel notes the signal."""
        if self.rung("exit") == "fentry-early" and reason == "seccomp":
            unseen = one_of("unknown")
            unseen.seen = "seen to end"
            return unseen
        if self.rung("exit") == "late" and reason in ("return", "cancel", "raw-exit"):
            known = one_of(reason, "unknown")
            known.seen = reason  # what the other hooks would say
            return known
        return reason


def pids_of(alert):
    """The processes that an alert is about."""
    found = set()
    for process in (alert.get("process"), alert.get("sender", {}).get("process")):
        if process:
            found.add(process["pid"])
    return found


# --- Workloads. ----------------------------------------------------------------------------------


class Workload:
    """A program of tests/live. Its lines are events; it does its next step when told to. It and all
    that it started are killed at the end.

    pid_ns=True runs it in a PID namespace of its own; its events carry the ids of both sides.
    prefix: a command that runs it (setpriv)."""

    def __init__(self, name, *args, pid_ns=False, cwd=None, env=None, prefix=()):
        self.command = [*prefix, str(LIVE / name), *map(str, args)]
        if pid_ns:
            self.command.insert(0, str(LIVE / "lock_pidns"))
        self.cwd = cwd
        self.env = {**os.environ, **(env or {})}
        self.events = []
        self.errors = []
        self.taken = set()  # indices of events that were asked for
        self.process = None
        self.status = None

    def start(self):
        if not shutil.which(self.command[0]):
            if "DEADHOLD_LIVE" in os.environ:
                pytest.skip(f"{self.command[0]} is not built against that C library")
            pytest.fail(f"{self.command[0]} does not exist: build it",
                        pytrace=False)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.cwd,
            env=self.env,
            process_group=0,
        )
        self.out = Lines(self.process.stdout, lambda line: self.events.append(json.loads(line)))
        self.err = Lines(
            self.process.stderr,
            lambda line: self.errors.append(line.decode(errors="backslashreplace").rstrip("\n")),
        )
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    @property
    def pid(self):
        """The process that was started; with pid_ns, the one outside the namespace."""
        return self.process.pid

    @property
    def pids(self):
        """All processes that have spoken, and the one that was started."""
        return {self.process.pid, *(e["pid"] for e in self.events)}

    def said(self):
        lines = [json.dumps(e) for e in self.events] or ["(nothing)"]
        return "\n".join(
            ["", "workload: " + shlex.join(self.command), *lines, "its stderr:", *self.errors]
        )

    def event(self, name, timeout=TIMEOUT, **members):
        """Waits for the next event of that name (and those members) and returns it. Each event is
        returned once."""
        def found():
            for i, event in enumerate(self.events):
                if (
                    i not in self.taken
                    and event["event"] == name
                    and difference(event, members) is None
                ):
                    return i, event
            return None

        hit = self.out.wait(found, timeout)
        if self.out.error is not None:
            raise AssertionError(f"not JSON: {self.out.error}{self.said()}")
        if hit is None:
            why = "it ended" if self.out.ended else f"{timeout:.0f} s are over"
            self.err.wait(lambda: self.err.ended, 1 if self.out.ended else 0)
            raise AssertionError(f"no event {name!r}: {why}{self.said()}")
        self.taken.add(hit[0])
        return hit[1]

    def go(self, word):
        """Tells it to take its next step; the word says which, so that test and program agree."""
        try:
            self.process.stdin.write(word.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"it ended before {word!r}{self.said()}") from None

    def wait(self, timeout=TIMEOUT):
        """Waits for its end and returns the status as subprocess has it: -9 for SIGKILL. The
        process stays a zombie until kill(), so that its group can't be somebody else's by then."""
        if self.status is None:
            fd = os.pidfd_open(self.process.pid)
            try:
                if not select.select([fd], [], [], timeout)[0]:
                    raise AssertionError(f"it did not end in {timeout:.0f} s{self.said()}")
            finally:
                os.close(fd)
            end = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            self.status = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
            self.dumped = end.si_code == os.CLD_DUMPED
            self.out.wait(lambda: self.out.ended, 1)
        return self.status

    def end(self, word="end", status=0):
        """Tells it to end, and checks that it ended well."""
        self.go(word)
        got = self.wait()
        if got != status:
            raise AssertionError(f"it ended with status {got}, expected {status}{self.said()}")

    def kill(self):
        """Kills it and all that it started, and waits until they are gone."""
        if self.process is None or self.process.returncode is not None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.status is None:
            self.process.wait()
        else:
            self.process.poll()
        self.process.stdin.close()
        # Their ends of the pipes close when the last of them is gone.
        self.out.thread.join(TIMEOUT)
        self.err.thread.join(TIMEOUT)


def ns_tids(pid):
    """Host TID → innermost TID of each thread of a process."""
    tids = {}
    for path in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (path / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        tids[int(path.name)] = int(re.search(r"^NSpid:.*?(\d+)$", status, re.M).group(1))
    return tids


# --- Comparison. ---------------------------------------------------------------------------------


def pids_in(about):
    """Workloads, pids, or an iterable of these → pids."""
    if isinstance(about, Workload):
        return about.pids
    if isinstance(about, int):
        return {about}
    return set().union(*(pids_in(a) for a in about))


def _context(agent, about):
    text = agent.said()
    for item in about if isinstance(about, (list, tuple)) else [about]:
        if isinstance(item, Workload):
            text += item.said()
    return text


def expect(agent, about, expected, kinds=None, stop=True):
    """Fails unless the agent said exactly this about these processes (a Workload, pids, or
    several), in this order. Each expected alert is compared in the members that it lists. An
    any_order(...) among them stands for several alerts that may come in any order, an optional(...)
    for one that may be missing. Stops the agent first, which settles what is pending; stop=False
    compares what was said so far."""
    if stop:
        agent.stop()
    else:
        agent.check()
    got = agent.alerts_of(*pids_in(about), kinds=kinds)
    rest = list(got)
    for n, want in enumerate(expected):
        if isinstance(want, optional):
            if rest and difference(rest[0], want.alert) is None:
                rest = rest[1:]
            continue
        group = want if isinstance(want, any_order) else [want]
        part, rest = rest[: len(group)], rest[len(group):]
        wrong = None
        if len(part) < len(group):
            wrong = f"{len(got)} alert(s) where more were expected; next would be {want!r}"
        else:
            wrong = difference(part, any_order(group), "")
        if wrong:
            raise AssertionError(
                f"expected alert {n + 1} of {len(expected)}: {wrong}\n"
                f"expected: {want!r}\ngot:\n"
                + "\n".join(json.dumps(a) for a in got)
                + _context(agent, about)
            )
    if rest:
        raise AssertionError(
            "also said, and not expected:\n"
            + "\n".join(json.dumps(a) for a in rest)
            + _context(agent, about)
        )
    return got


def expect_nothing_about_locks(agent, about, sweeps=0):
    """Fails if the agent said anything about a lock of these processes. Where threads are blocked
    that a sweep would look at, let it sweep first."""
    if sweeps:
        agent.wait_sweeps(sweeps)
    return expect(agent, about, [], kinds=LOCK_KINDS)
