# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong: each with its exit status and one clear line on stderr. And what must go well
beside it: a clean end, nothing left behind, no privilege kept that is not needed."""

import ctypes
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from deadhold import AGENT, OPTIONS, SCALE, TIMEOUT, Lines, difference
from counter import thread_signals
from signals import SIGUSR1, SIGUSR2, Actor, RawAgent, check_lines, comm_of, descendants, losses_of, readers

FAILED, USAGE = 1, 2


@pytest.fixture
def run():
    """run(*words): a RawAgent, killed at the end. Without the options of DEADHOLD_OPTIONS: what is
    tested here is the command line itself."""
    agents = []

    def start(*words, **settings):
        settings.setdefault("options", ())
        agents.append(RawAgent(*words, **settings))
        return agents[-1]

    yield start
    for agent in agents:
        agent.kill()


@pytest.fixture
def start_actor(start_workload):
    def start(*words, **settings):
        return Actor(start_workload, *words, **settings)

    return start


@pytest.fixture
def pair(start_actor):
    """A sender and a target."""
    handled = [f"handle={sig}" for sig in (SIGUSR1, SIGUSR2)]
    return (
        start_actor(name="fail-sender", threads=["sends"]),
        start_actor(*handled, name="fail-target", threads=["takes"]),
    )


def expect_error(agent, status, *patterns):
    """It ends with that status, says one line on stderr that matches all patterns, and nothing on
    stdout."""
    got = agent.wait()
    assert got == status, f"ended with status {got}, expected {status}{agent.said()}"
    assert not agent.lines, f"said on stdout{agent.said()}"
    expect_error_line(agent, *patterns)


def expect_error_line(agent, *patterns):
    assert len(agent.errors) == 1, f"one line on stderr was expected{agent.said()}"
    line = agent.errors[0].decode()
    assert line.startswith("deadhold: ") and line.endswith("\n"), agent.said()
    for pattern in patterns:
        assert re.search(pattern, line, re.IGNORECASE), f"{pattern!r} is not in it{agent.said()}"


def summary_of(agent):
    last = json.loads(agent.lines[-1])
    assert last["kind"] == "summary", agent.said()
    return last


# --- Wrong usage: status 2. -----------------------------------------------------------------------

USAGES = {
    "unknown option": (["--nonsense"], "--nonsense"),
    "unknown letter": (["-Z"], "-Z"),
    "option without its value": (["-p"], "-p"),
    "value that none takes": (["--failed=1"], "--failed"),
    "unknown command": (["frobnicate"], "frobnicate"),
    "two commands": (["watch", "check"], "check"),
    "unknown word to explain": (["explain", "tidkill"], "'tidkill'.*tid-kill"),
    "unknown word, nothing near": (["explain", "x\x1b[2J"], r"'x\\x1b\[2J'.*'deadhold explain'"),
    "two words to explain": (["explain", "tid-kill", "noise"], "noise"),
    "unknown signal": (["-s", "SIGNOPE"], "SIGNOPE"),
    "unknown signal among known": (["-s", "TERM,NOPE,KILL"], "NOPE"),
    "signal 0": (["-s", "0"], "0"),
    "signal 65": (["--signal", "65"], "65"),
    "no signal": (["-s", ""], "signal"),
    "unknown signal not wanted": (["--not-signal", "NOPE"], "NOPE"),
    "RT signal too far": (["-s", "SIGRTMIN+31"], r"SIGRTMIN\+31"),
    "unknown kind": (["-k", "nope"], "nope"),
    "PID that is no number": (["-p", "abc"], "abc"),
    "PID with rubbish": (["-p", "12x"], "12x"),
    "PID 0": (["-p", "0"], "0"),
    "PID below 0": (["-p", "-1"], "-1"),
    "PID too large": (["-p", "99999999999"], "99999999999"),
    "TID that is no number": (["-t", "abc"], "abc"),
    "sender that is no number": (["--sender-pid", "abc"], "abc"),
    "duration that is no number": (["-d", "x"], "x"),
    "duration below 0": (["-d", "-1"], "-1"),
    "duration nan": (["-d", "nan"], "nan"),
    "interval 0": (["--noise-interval", "0"], "0"),
    "unknown format": (["-o", "xml"], "xml"),
    "unknown futex rung": (["--futex-hook", "nope"], "nope"),
    "unknown exit rung": (["--exit-hook", "nope"], "nope"),
    "filter for check": (["check", "-p", "1"], "pid"),
}


@pytest.mark.parametrize("case", USAGES)
def test_usage(run, case):
    words, pattern = USAGES[case]
    expect_error(run(*words), USAGE, pattern)


# --- What the host does not have: status 1. -------------------------------------------------------


@pytest.fixture
def ended(start_workload):
    """A process that has ended and was collected."""
    workload = start_workload("sig_actor")
    pid = workload.event("actor")["pid"]
    workload.go("0 exit 0")
    workload.wait()
    workload.kill()
    return pid


@pytest.mark.parametrize("option", ["-p", "--pid", "-t", "--tid", "--sender-pid"])
def test_unknown_id(run, ended, option):
    what = "process" if "p" in option else "thread"
    expect_error(run(option, ended), FAILED, rf"\b{ended}\b", what)


def test_unknown_id_among_known(run, pair, ended):
    expect_error(run("-p", pair[0].pid, "-p", ended), FAILED, rf"\b{ended}\b")


@pytest.mark.parametrize("option", ["-p", "--sender-pid"])
def test_thread_for_a_process(run, pair, option):
    """It says whose thread that is."""
    target = pair[1]
    tid = target.threads[1]["tid"]
    expect_error(run(option, tid), FAILED, rf"\b{tid}\b.*thread", rf"process {target.pid}\b")


def test_zombie(run, start_workload):
    """Ended, but its parent has not collected it: there is nothing to watch."""
    workload = start_workload("sig_actor")
    pid = workload.event("actor")["pid"]
    workload.go("0 exit 0")
    workload.wait()  # leaves it a zombie
    expect_error(run("-p", pid), FAILED, rf"\b{pid}\b", "ended")


@pytest.mark.parametrize("path", ["/no/such/group", "../../etc", "/sys/fs/cgroup/no-such"])
def test_unknown_cgroup(run, path):
    expect_error(run("-c", path), FAILED, "cgroup", re.escape(path))


# --- Privilege. -----------------------------------------------------------------------------------


@pytest.fixture
def program():
    """A copy of the agent that every user can run, wherever the build lies."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        copy = shutil.copy(AGENT, directory)
        os.chmod(copy, 0o755)
        yield copy


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def without(*names):
    """Runs a program as root without these capabilities."""
    # By its path: a shell of busybox would take its own.
    return [shutil.which("setpriv") or "setpriv", "--bounding-set", ",".join(f"-{name}" for name in names)]


def test_not_root(run, program):
    agent = run(prefix=NOBODY, program=program)
    expect_error(agent, FAILED)
    assert agent.errors == [
        b"deadhold: not permitted: CAP_BPF is missing; run as root, for example: sudo deadhold\n"
    ]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--nonsense"]])
def test_not_root_needs_none_for_words(run, program, words):
    """What the command line alone decides needs no privilege."""
    agent = run(*words, prefix=NOBODY, program=program)
    assert agent.wait() == (USAGE if "--nonsense" in words else 0), agent.said()


@pytest.mark.parametrize(
    "missing, name",
    [
        (["sys_admin", "bpf"], "CAP_BPF"),
        (["sys_admin", "perfmon"], "CAP_PERFMON"),
        (["sys_ptrace"], "CAP_SYS_PTRACE"),
    ],
)
def test_missing_capability(run, missing, name):
    agent = run(prefix=without(*missing))
    expect_error(agent, FAILED)
    assert agent.errors[0].decode() == (
        f"deadhold: not permitted: this root lacks {name}; give the container or service that "
        "capability\n"
    )


@pytest.mark.parametrize("instead", ["bpf", "perfmon"])
def test_capability_that_another_one_includes(run, instead):
    """The twin: CAP_SYS_ADMIN does for either."""
    agent = run("--json", prefix=without(instead))
    agent.wait_line('"kind":"ready"')
    agent.stop()


@pytest.mark.parametrize("word", ["watch", "check"])
def test_root_of_a_user_namespace(run, word):
    """As in a rootless container: it has all capabilities, and none that counts."""
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode:
        pytest.skip("this host allows no user namespaces")
    agent = run(word, prefix=["unshare", "-Ur"])
    expect_error(agent, FAILED)
    assert agent.errors == [
        b"deadhold: not permitted: this is root of a user namespace alone (a rootless container?); "
        b"run as the host's root\n"
    ]


@pytest.mark.parametrize("limit", [16, 32])
def test_few_files_may_be_open(run, limit):
    """It says what is short, and not that the kernel lacks something."""
    prefix = [shutil.which("prlimit"), f"--nofile={limit}:{limit}"]
    agent = run(prefix=prefix)
    expect_error(agent, FAILED, "too many open files")
    assert b"needs" not in agent.errors[0], agent.said()


def test_little_memory_may_be_locked(run, pair):
    """None, and no right to raise that limit: it goes on."""
    prefix = ["prlimit", "--memlock=0:0", *without("sys_resource")]
    agent = run("--json", prefix=prefix)
    limits = pathlib.Path(f"/proc/{agent.pid}/limits")
    agent.wait_line('"kind":"ready"')
    assert re.search(r"^Max locked memory +0 +0 ", limits.read_text(), re.M), limits.read_text()
    pair[0].send("tgkill", SIGUSR1, pair[1])
    agent.wait_line('"kind":"thread-signal"')
    agent.stop()


# --- The kernel. ----------------------------------------------------------------------------------


def in_mounts(*steps):
    """Runs a program in a mount namespace of its own, changed by these steps."""
    return ["unshare", "-m", "sh", "-ec", "; ".join([*steps, 'exec "$@"']), "sh"]


def test_no_kernel_types(run, tmp_path):
    """Neither /sys/kernel/btf nor a kernel image beside it."""
    steps = [f"mount -o bind {tmp_path} /sys/kernel/btf"]
    for path in ("/boot", f"/lib/modules/{os.uname().release}"):
        if os.path.isdir(path):
            steps.append(f"mount -o bind {tmp_path} {path}")
    expect_error(run(prefix=in_mounts(*steps)), FAILED, "BTF|kernel types")


def lockdown(state):
    if not os.path.isdir("/sys/kernel/security"):
        pytest.skip("this kernel has no /sys/kernel/security")
    return in_mounts(
        "mount -t tmpfs none /sys/kernel/security",
        f"echo '{state}' >/sys/kernel/security/lockdown",
    )


def test_lockdown_confidentiality(run):
    prefix = lockdown("none integrity [confidentiality]")
    expect_error(run(prefix=prefix), FAILED, "lockdown", "confidentiality")


def test_locked_down_kernel(run):
    """The same of a kernel that really is: `make test-vm` boots one for this."""
    try:
        state = pathlib.Path("/sys/kernel/security/lockdown").read_text()
    except OSError as e:
        pytest.skip(f"this kernel does not say whether it is locked down: {e}")
    if "[confidentiality]" not in state:
        pytest.skip(f"this kernel is not locked down so: {state.strip()}")
    for words in ([], ["check"]):
        agent = run(*words)
        expect_error(agent, FAILED)
        assert agent.errors == [
            b"deadhold: kernel lockdown is in confidentiality mode, which forbids BPF to read "
            b"memory; boot with lockdown=integrity or none\n"
        ]


@pytest.mark.parametrize("state", ["none [integrity] confidentiality",
                                   "[none] integrity confidentiality"])
def test_lockdown_less(run, state):
    """The twin: the other modes let the agent work."""
    agent = run(prefix=lockdown(state))
    agent.wait_line(" ready ")
    agent.stop()


def mounts():
    return pathlib.Path("/proc/self/mounts").read_text()


NO_TRACEFS = [
    f"while umount -l {path} 2>/dev/null; do :; done"
    for path in ("/sys/kernel/debug/tracing", "/sys/kernel/debug", "/sys/kernel/tracing")
]


def test_no_tracefs_and_may_not_mount(run):
    prefix = [*in_mounts(*NO_TRACEFS), *without("sys_admin")]
    agent = run("-x", prefix=prefix)
    expect_error(agent, FAILED)
    assert agent.errors[0].decode() == (
        "deadhold: tracefs is not mounted and could not be mounted privately (Operation not "
        "permitted); mount it: mount -t tracefs tracefs /sys/kernel/tracing\n"
    )


@pytest.fixture
def host_without_tracefs():
    """A mount namespace that stands for the host's: what is mounted in it reaches all that were made
    from it, and would come back from them. (a command that runs a program in it, mounts())"""
    steps = [*NO_TRACEFS, "mount --make-rshared /", "echo", "read word"]
    with subprocess.Popen(["unshare", "-m", "sh", "-ec", "; ".join(steps)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
        assert host.stdout.readline() == b"\n"
        yield (
            ["nsenter", f"--mount=/proc/{host.pid}/ns/mnt"],
            lambda: pathlib.Path(f"/proc/{host.pid}/mounts").read_text(),
        )
        host.stdin.close()


@pytest.mark.parametrize("words", [["--futex-hook", "tracepoint"], ["-x"]], ids=["futex", "failed"])
def test_no_tracefs(run, pair, host_without_tracefs, words):
    """The tracepoints of system calls are attached by way of tracefs. The agent brings its own, and
    the host's mounts stay as they were."""
    prefix, mounts_there = host_without_tracefs
    before = mounts_there()
    assert " tracefs " not in before
    agent = run("--json", *words, prefix=prefix)
    ready = json.loads(agent.wait_line('"kind":"ready"'))
    if "-x" not in words:
        assert ready["hooks"]["futex"] == "tracepoint", agent.said()
    assert " tracefs " in pathlib.Path(f"/proc/{agent.pid}/mounts").read_text()
    assert mounts_there() == before
    sender, target = pair
    sender.send("tgkill", SIGUSR1, target)
    sender.send_ids("tgkill", SIGUSR2, sender.pid, target.threads[1]["tid"], ok="ESRCH")
    agent.wait_line('"kind":"thread-signal".*"SIGUSR1"')
    if "-x" in words:
        agent.wait_line('"kind":"thread-signal".*"SIGUSR2".*"ESRCH"')
    agent.stop()
    assert mounts_there() == before


# --- More than one, and the end of what is watched. -----------------------------------------------


def test_two_agents(start_agent, pair):
    """A second one sees the same; both end well."""
    sender, target = pair
    first, second = start_agent(), start_agent()
    assert first.ready["run"] != second.ready["run"]
    sender.send("tgkill", SIGUSR1, target)
    seen = [agent.wait_for(kind="thread-signal", pid=target.pid) for agent in (first, second)]
    # Each agent's own: clocks are read in each one's kernel program, and compared by each.
    for alert in seen:
        for member in ("run", "seq", "id", "emitted", "time", "ktime_ns"):
            del alert[member]
        for process in (alert["process"], alert["sender"]["process"]):
            del process["start_time"]
    assert difference(*seen) is None, seen
    first.stop()
    sender.send("tgkill", SIGUSR2, target)
    second.wait_for(kind="thread-signal", pid=target.pid, signal={"number": SIGUSR2})
    second.stop()


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_watched_process_gone(run, start_actor, how):
    """It says so and ends well. With several: when the last of them is gone."""
    actors = [start_actor(name="fail-watched", threads=["one"]) for _ in range(2)]
    agent = run("--json", "-p", actors[0].pid, "-p", actors[1].pid)
    agent.wait_line('"kind":"ready"')
    for n, actor in enumerate(actors):
        if how == "exit":
            actor.workload.go("1 exit 0")
        else:
            os.kill(actor.pid, signal.SIGKILL)
        actor.workload.wait()
        agent.wait_line(rf"\b{actor.pid}\b.*(gone|ended)", stream="err")
        if n == 0:
            with pytest.raises(subprocess.TimeoutExpired):
                agent.process.wait(0.3)
    assert agent.wait() == 0, agent.said()
    summary_of(agent)
    assert not [line for line in agent.lines if b'"thread-signal"' in line], agent.said()


def test_watched_process_goes_as_watch_begins(run, start_workload):
    """Whatever the moment: it ends by itself, with status 0, or 1 where it never began."""
    for _ in range(3):
        workload = start_workload("sig_actor")
        pid = workload.event("actor")["pid"]
        agent = run("--json", "-p", pid)
        workload.go("0 exit 0")
        workload.wait()
        workload.kill()
        assert agent.wait() in (0, FAILED), agent.said()
        assert re.search(rf"\b{pid}\b", b"".join(agent.errors).decode()), agent.said()


# --- Standard output. -----------------------------------------------------------------------------


def test_line_by_line(run, pair):
    """A pipe's reader gets each line at once, text or JSON."""
    sender, target = pair
    agents = [run(), run("-o", "json")]
    for agent in agents:
        agent.wait_line(r"ready")
    for n in range(3):
        sender.send("tgkill", SIGUSR1, target)
        for agent in agents:
            def enough(agent=agent, n=n):
                said = [line for line in agent.lines if b"thread-signal" in line]
                return len([line for line in said if str(target.pid).encode() in line]) > n
            assert agent.out.wait(enough, TIMEOUT), agent.said()
    for agent in agents:
        agent.stop()


def first_line(fd):
    """Reads one line of an agent's stdout, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([fd], [], [], TIMEOUT)[0], f"no line in {TIMEOUT:.0f} s, only {line}"
        byte = os.read(fd, 1)
        assert byte, f"it ended after {line}"
        line += byte
    return line


def closed_after_first_line(run, *words, **settings):
    """An agent whose stdout was closed by its reader after the first line: `| head -1`."""
    reading, writing = os.pipe()
    agent = run(*words, out=writing, **settings)
    os.close(writing)
    try:
        assert b"ready" in first_line(reading), agent.said()
    finally:
        os.close(reading)
    return agent


def test_reader_gone(run, pair):
    sender, target = pair
    agent = closed_after_first_line(run, "-q")
    # Known at the latest with the next line.
    sender.send("tgkill", SIGUSR1, target)
    assert agent.wait() == FAILED, f"{agent.process.returncode}{agent.said()}"
    expect_error_line(agent, "standard output")


def test_reader_gone_and_nothing_to_say(run):
    """Nobody would ever read it: no reason to wait for the next alert."""
    agent = closed_after_first_line(run, "-q", "-k", "lock-orphaned")
    assert agent.wait() == FAILED, agent.said()
    expect_error_line(agent, "standard output")


def test_output_full(run):
    with open("/dev/full", "wb") as full:
        agent = run("-q", out=full)
        assert agent.wait() == FAILED, agent.said()
    expect_error_line(agent, "standard output", "space")


@pytest.mark.parametrize("words", [["--json", "-d", "0.1"], ["check"]], ids=["watch", "check"])
def test_output_may_not_grow(run, tmp_path, words):
    """A limit on the size of files: told as any other failed write."""
    with open(tmp_path / "out", "wb") as out:
        agent = run(*words, "-q", out=out, prefix=["prlimit", "--fsize=100:100"])
        assert agent.wait() == FAILED, agent.said()
    expect_error_line(agent, "standard output")


def test_output_closed(run):
    """Started without a stdout: what it opens first must not become it."""
    agent = run("-q", prefix=["sh", "-c", 'exec "$@" >&-', "sh"])
    expect_error(agent, FAILED, "standard output")


@pytest.mark.parametrize("words", [["explain"], ["explain", "noise"]])
def test_explain_without_privilege(run, words):
    agent = run(*words, prefix=["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"])
    assert agent.wait() == 0, agent.said()
    assert agent.lines and not agent.errors, agent.said()


@pytest.mark.parametrize("word", ["--help", "--version", "check", "explain"])
def test_output_closed_for_words(run, word):
    agent = run(word, prefix=["sh", "-c", 'exec "$@" >&-', "sh"])
    expect_error(agent, FAILED, "standard output")


def test_slow_reader(run, pair):
    """Nobody reads for a while: the agent goes on, drops whole lines, and says how many when it can
    be heard again. Only lines about the target are printed; in the ring there may be others' too."""
    sender, target = pair
    reading, writing = os.pipe()
    agent = run("--json", "-v", "--no-limit", "-p", target.pid, out=writing)
    os.close(writing)
    with open(reading, "rb") as stream, thread_signals() as counter:
        assert b'"ready"' in first_line(reading), agent.said()
        count = max(4000, int(60000 * SCALE))
        sent = sender.send("tgkill", SIGUSR1, target, count=count, timeout=TIMEOUT * 10)
        assert sent["ok"] == count

        def sweeps():
            return sum(1 for line in agent.errors if b"sweep" in line)

        # It is not held up: sweeps go on.
        seen = sweeps()
        assert agent.err.wait(lambda: sweeps() > seen + 2, TIMEOUT), agent.said()

        said, rest, raw = 0, [], []

        def take(line):
            nonlocal said
            raw.append(line)
            a = json.loads(line)
            if a["kind"] == "thread-signal" and a["process"]["pid"] == target.pid:
                said += 1
            else:
                rest.append(a)

        def lost():
            losses = losses_of(rest)
            return losses["signals"] + losses["output"]

        lines = Lines(stream, take)
        heard = lines.wait(lambda: said + lost() >= count, TIMEOUT * 10)
        assert heard, f"said {said} of {count}; {rest}{agent.said()}"
        agent.stop()
        lines.thread.join(TIMEOUT)
        others = counter.read() - count
    assert lines.error is None, lines.error
    check_lines(raw, first=2)
    assert rest[-1]["kind"] == "summary"
    losses = rest[-1]["losses"]
    print(f"sent {count}, said {said}, lost {losses}, others {others}")
    assert losses_of(rest) == losses and "recursion" not in losses
    assert count <= said + lost() <= count + (others if "signals" in losses else 0)
    assert said == count or "output" in losses


def test_nobody_reads(run, pair):
    """A pipe that is full and stays so: SIGINT ends the agent all the same."""
    sender, target = pair
    reading, writing = os.pipe()
    agent = run("--json", "--no-limit", out=writing)
    os.close(writing)
    try:
        assert b'"ready"' in first_line(reading), agent.said()
        sender.send("tgkill", SIGUSR1, target, count=2000, timeout=TIMEOUT * 10)
        agent.process.send_signal(signal.SIGINT)
        # By its own end, not by a signal; what could not be written makes it no clean one.
        assert agent.wait() in (0, FAILED), agent.said()
    finally:
        os.close(reading)


def test_nobody_reads_errors(run, pair):
    """stderr is a pipe that is full: what would be said there is left out, and nothing else."""
    sender, target = pair
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        for size in (4096, 1):
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(writing, b"x" * size)
        full = f"/proc/{os.getpid()}/fd/{writing}"
        agent = run("--json", "-v", "-x", prefix=["sh", "-c", f'exec "$@" 2>{full}', "sh"])
        agent.wait_line('"kind":"ready"')
        sender.send("tgkill", SIGUSR1, target)
        agent.wait_line('"kind":"thread-signal"')
        agent.stop()
        summary_of(agent)
    finally:
        os.close(reading)
        os.close(writing)


# --- A clean end. ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form, how", [("text", signal.SIGINT), ("json", signal.SIGTERM)])
def test_interrupted(run, form, how):
    agent = run("-o", form)
    agent.wait_line("ready")
    agent.stop(how)
    if form == "json":
        assert summary_of(agent)["counts"]["ready"] == 1
    said = [b"summary" in line and not line.startswith(b" ") for line in agent.lines]
    assert said.count(True) == 1 and agent.lines[-1].endswith(b"\n"), agent.said()


def test_nohup(run):
    """The end of the terminal ends it, but not under nohup, which is to ignore the signal and exec."""
    agent = run("--json")
    agent.wait_line('"kind":"ready"')
    agent.stop(signal.SIGHUP)
    agent = run("--json", prefix=["sh", "-c", 'trap "" HUP; exec "$@"', "nohup"])
    agent.wait_line('"kind":"ready"')
    status = pathlib.Path(f"/proc/{agent.process.pid}/status").read_text()
    masks = {name: int(mask, 16) for name, mask in re.findall(r"Sig(\w+):\s*(\w+)", status)}
    hangup = 1 << (signal.SIGHUP - 1)
    # It takes none that come: the kernel throws them away.
    assert masks["Ign"] & hangup and not masks["Blk"] & hangup, masks
    agent.process.send_signal(signal.SIGHUP)
    agent.stop()


def test_interrupted_before_ready(run):
    """Whatever the moment."""
    for pause in (0, 0.01, 0.05, 0.2):
        agent = run("--json")
        time.sleep(pause)  # not a wait for a condition: any moment will do
        agent.process.send_signal(signal.SIGINT)
        status = agent.wait()
        # Before its first line of code ran, the signal does what it does by default.
        assert status in (0, -signal.SIGINT), f"{status}{agent.said()}"


def test_duration(run):
    """It ends by itself; with -q it has said nothing on stderr."""
    agent = run("--json", "-q", "-d", "0.5")
    assert agent.wait() == 0 and not agent.errors, agent.said()
    # The clock starts with `ready`, not before.
    assert 0.5 <= summary_of(agent)["run_time_s"] < 0.5 + TIMEOUT


# --- What stays behind. ---------------------------------------------------------------------------

BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID = 13, 14, 30
SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_OBJECTS = {
    "prog_id": BPF_PROG_GET_FD_BY_ID,
    "map_id": BPF_MAP_GET_FD_BY_ID,
    "link_id": BPF_LINK_GET_FD_BY_ID,
}


def bpf_ids(pid):
    """The kernel objects that a process holds by descriptors: {(what, id)}."""
    found = set()
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = path.read_text()
        except OSError:
            continue  # closed meanwhile
        found.update(
            (name, int(number))
            for name, number in re.findall(r"^(prog_id|map_id|link_id):\s*(\d+)$", text, re.M)
        )
    return found


def bpf_lives(what, number):
    libc = ctypes.CDLL(None, use_errno=True)
    attr = (ctypes.c_uint32 * 32)(number)
    call = SYS_BPF[os.uname().machine]
    fd = libc.syscall(call, BPF_OBJECTS[what], ctypes.byref(attr), ctypes.sizeof(attr))
    if fd < 0:
        return False
    os.close(fd)
    return True


def until(condition, what):
    limit = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < limit, what()
        time.sleep(0.02)


def pinned():
    return sorted(str(path) for path in pathlib.Path("/sys/fs/bpf").glob("**/*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_left_behind(run, how, pair):
    """After kill -9 as after a clean end: no process, no kernel program, no mount."""
    before = mounts(), pinned()
    agent = run("--json", "--futex-hook", "tracepoint", "-x")
    agent.wait_line('"kind":"ready"')
    objects = bpf_ids(agent.pid)
    assert {what for what, _ in objects} >= {"prog_id", "map_id"}, objects
    assert all(bpf_lives(*o) for o in objects if o[0] != "link_id")
    children = descendants(agent.pid)
    assert readers(agent.pid), "the reader process is missing"
    # What it inherits would keep it all alive.
    for child in readers(agent.pid):
        assert not bpf_ids(child), (child, bpf_ids(child))
    # The prober's is to hold the probes; they are not to be left either.
    objects |= set().union(*map(bpf_ids, children))
    agent.process.send_signal(how)
    agent.process.wait()
    until(
        lambda: not any(os.path.exists(f"/proc/{child}") for child in children),
        lambda: f"left running: {[c for c in children if os.path.exists(f'/proc/{c}')]}",
    )
    until(
        lambda: not any(bpf_lives(*o) for o in objects),
        lambda: f"left in the kernel: {[o for o in objects if bpf_lives(*o)]}",
    )
    assert (mounts(), pinned()) == before


def test_reader_killed(run, pair):
    """The reader process is replaced when it is needed again, and what it reads is there."""
    sender, target = pair
    agent = run("--json")
    agent.wait_line('"kind":"ready"')
    (reader,) = readers(agent.pid)
    os.kill(reader, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{reader}"), lambda: f"{reader} was not collected")
    sender.send("tgkill", SIGUSR1, target)
    got = json.loads(agent.wait_line(f'"kind":"thread-signal".*"pid":{target.pid}'))
    assert got["process"].get("exe") == target.facts["exe"], agent.said()
    (successor,) = readers(agent.pid)
    # Made when all is attached, it holds nothing of that.
    assert "bpf-map" in pathlib.Path(f"/proc/{agent.pid}/maps").read_text()
    assert "bpf-map" not in pathlib.Path(f"/proc/{successor}/maps").read_text()
    assert not bpf_ids(successor)
    agent.stop()


# --- Privilege that is given up. ------------------------------------------------------------------

CAPABILITIES = {"DAC_READ_SEARCH": 2, "SYS_PTRACE": 19}
# What attaching to programs takes on top of that. Of these the agent keeps none.
PROBER_CAPABILITIES = {"PERFMON": 38, "BPF": 39, "SYS_ADMIN": 21, "CHECKPOINT_RESTORE": 40}


def test_privilege_dropped(run):
    """When it is ready it keeps what reading other processes takes; the reader likewise. The prober keeps
    what attaching takes; the child of it that reads files keeps nothing, and is gone by then."""
    agent = run("--json")
    agent.wait_line('"kind":"ready"')
    allowed = sum(1 << bit for bit in CAPABILITIES.values())
    pids = {agent.pid, *descendants(agent.pid)}
    assert len(pids) >= 2
    for pid in pids:
        prober = comm_of(pid) in ("deadhold-keeper", "deadhold-prober")
        extra = sum(1 << bit for bit in PROBER_CAPABILITIES.values()) if prober else 0
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        for field in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            held = int(re.search(rf"^{field}:\s*(\w+)$", status, re.M).group(1), 16)
            assert held & ~(allowed | extra) == 0, f"{field} of {pid} is {held:#x}"
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.M), pid
    agent.stop()


def dumps_core(command, pid_of, directory):
    """Starts a program, kills it with SIGSEGV when it is there, and returns whether that left a
    core dump: the kernel's own word in the exit status."""
    child = subprocess.Popen(
        ["prlimit", "--core=unlimited:unlimited", *map(str, command)],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        child.stdout.readline()
        for pid in pid_of(child.pid):
            os.kill(pid, signal.SIGSEGV)
        _, status = os.waitpid(child.pid, 0)
    finally:
        child.stdout.close()
        child.returncode = 0  # collected above
    assert os.WIFSIGNALED(status), status
    return os.WCOREDUMP(status)


def test_not_dumpable(tmp_path):
    """A core file would hold what was read of others. A program without such care shows that this
    host writes core files at all."""
    if not dumps_core(["sh", "-c", "echo; read x </dev/zero; while :; do :; done"],
                      lambda pid: [pid], tmp_path):
        pytest.skip("this host writes no core files: an ordinary program left none")
    assert not dumps_core([AGENT], lambda pid: [pid], tmp_path)


# --- The other commands. --------------------------------------------------------------------------


def test_check(run):
    """Says of every hook family which rung works, and ends well where watching works."""
    agent = run("check")
    assert agent.wait() == 0, agent.said()
    text = b"".join(agent.lines).decode()
    for word in ("futex", "exit", "signal", "switch", "tracepoint", "late"):
        assert word in text, f"{word} is missing{agent.said()}"
    assert not agent.errors, agent.said()


def test_check_json(run, start_agent):
    """The same for programs; and watch takes the rungs that check says it would."""
    agent = run("check", "-o", "json")
    assert agent.wait() == 0, agent.said()
    (check,) = map(json.loads, agent.lines)
    assert check["works"] is True
    for rung in check["rungs"]:
        assert rung["works"] or (rung["why"] and not rung["used"]), rung
    used = {rung["family"]: rung["rung"] for rung in check["rungs"] if rung["used"]}
    assert set(used) >= {"futex", "exit", "signal"}, used
    used.pop("deep", None)  # with --deep alone, and then not among the hooks
    if "--no-uprobes" in OPTIONS:
        used["call"] = "none: --no-uprobes"
    watching = start_agent("--futex-hook", "auto", "--exit-hook", "auto", "-x")
    assert watching.ready["hooks"] == used


@pytest.mark.parametrize("words, says", [
    ([], 0),
    (["--futex-hook", "tracepoint"], 1),
    (["-x"], 1),
    (["-x", "--futex-hook", "tracepoint"], 2),
    (["-x", "-q"], 0),
])
def test_what_slows_the_host_is_said(run, words, says):
    """What slows every system call of the host is told, unless told to be quiet; else nothing is."""
    agent = run("-d", "0.1", "--futex-hook", "switch", *words)
    assert agent.wait() == 0, agent.said()
    slow = [line for line in agent.errors
            if line.endswith(b"puts every system call of the host on the slow path\n")]
    assert len(slow) == len(agent.errors) == says, agent.said()


def test_version(run):
    agent = run("--version")
    assert agent.wait() == 0 and re.fullmatch(rb"deadhold \d+(\.\d+)+\n", b"".join(agent.lines))


def help_of(run):
    agent = run("--help")
    assert agent.wait() == 0 and not agent.errors, agent.said()
    return b"".join(agent.lines).decode()


def options_in_help(text):
    """long option → its letter, or None."""
    found = {}
    for line in text.splitlines():
        entry = re.match(r"\s{1,8}(?:-(\w), )?--([a-z][a-z-]*)", line)
        if entry:
            found[entry.group(2)] = entry.group(1)
    return found


def test_help(run):
    text = help_of(run)
    for line in text.splitlines():
        assert len(line) <= 80 and "\t" not in line, line
    options = options_in_help(text)
    assert {"pid", "signal", "help", "version"} <= set(options), text
    # Each is understood: what is wrong with these command lines is another word.
    for name, letter in options.items():
        for word in filter(None, (f"--{name}", letter and f"-{letter}")):
            agent = run(word, "no-value", "no-command")
            agent.wait()
            assert b"unknown option" not in b"".join(agent.errors), agent.said()
