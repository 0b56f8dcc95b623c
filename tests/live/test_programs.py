# SPDX-License-Identifier: GPL-2.0-only
"""`deadhold inspect` on real programs that are as they should be, idle and under load: nothing wrong may
be claimed of them. What is not installed is skipped."""

import contextlib
import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest

from deadhold import SCALE, TIMEOUT, any_order, matching
from inspected import inspect, lines, text

LOOKS = max(3, int(20 * SCALE))


def need(*programs):
    """Their paths; the test is skipped where one is missing."""
    paths = [shutil.which(program, path=PATH) for program in programs]
    for program, path in zip(programs, paths):
        if not path:
            pytest.skip(f"{program} is not installed")
    return paths


# Debian keeps the programs of PostgreSQL's versions apart.
PATH = os.pathsep.join([os.environ["PATH"], *glob.glob("/usr/lib/postgresql/*/bin")])


def until(condition, what):
    end = time.monotonic() + TIMEOUT
    while not (value := condition()):
        assert time.monotonic() < end, f"not so: {what}"
        time.sleep(0.01)
    return value


@pytest.fixture
def start():
    """start(command): a process group, killed at the end of the test."""
    started = []

    def start(*command, **settings):
        started.append(subprocess.Popen(list(map(str, command)), process_group=0, **settings))
        return started[-1]

    yield start
    for process in reversed(started):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def nothing_is_wrong(*pids):
    found, done = lines(*pids)
    ended = [line for line in done.stderr.decode().splitlines() if "ended" in line]
    assert len(found) + len(ended) == len(pids) and len(ended) == done.stderr.count(b"\n"), done
    assert found and done.returncode in ((0, 2) if ended else (0,)), done
    for one in found:
        assert one["verdict"] in ("ok", "blocked") and not one["cycles"], one
        assert not [lock for lock in one["locks"] if lock["orphaned"]], one


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def looks(pid):
    """Again and again, in all of which it was at work."""
    for _ in range(LOOKS):
        before = cpu_ticks(pid)
        nothing_is_wrong(pid)
        until(lambda: cpu_ticks(pid) > before, "it works")


def calls(pid):
    for path in pathlib.Path(f"/proc/{pid}/task").iterdir():
        yield (path / "syscall").read_text().split()[0]


def futex_call():
    return "202" if os.uname().machine == "x86_64" else "98"


# --- Programs that are idle, and the same at work: "busy". ------------------------------------------

JAVA = """
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.*;
public class Pool {
    static final Object monitor = new Object();
    static final ReentrantLock lock = new ReentrantLock();
    static final BlockingQueue<Integer> queue = new ArrayBlockingQueue<>(4);
    static Object kept;
    static void work(int i) throws Exception {
        for (int n = 0;; n++) {
            synchronized (monitor) { kept = new int[1000 + n % 1000]; }
            lock.lock();
            try { kept = new ArrayList<>(List.of(n, i)); } finally { lock.unlock(); }
            if (i % 2 == 0) queue.put(n); else queue.take();
        }
    }
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        CountDownLatch started = new CountDownLatch(8);
        for (int i = 0; i < 8; i++) {
            final int number = i;
            pool.submit(() -> { started.countDown();
                                if (args.length > 0) work(number);
                                synchronized (monitor) { monitor.wait(); }
                                return null; });
        }
        started.await();
        System.out.println("ready");
        System.out.flush();
        Thread.currentThread().join();
    }
}
"""
NODE = """
const { Worker } = require('worker_threads');
const crypto = require('crypto');
const busy = process.argv.length > 2;
let ready = 0;
for (let i = 0; i < 2; i++)
    new Worker("const port = require('worker_threads').parentPort;"
               + "port.on('message', (m) => port.postMessage(m)); port.postMessage(1)", { eval: true })
        .on('message', function (m) {
            if (m == 1 && ++ready == 2)
                console.log('ready');
            if (busy)
                this.postMessage(new Array(1000).fill(2));
        });
function hash() { crypto.pbkdf2('a', 'b', 1000, 32, 'sha256', hash); }
for (let i = 0; busy && i < 8; i++)
    hash();
setInterval(() => {}, 1 << 30);
"""
PYTHON = """
import queue, sys, threading
jobs, done, lock = queue.Queue(), queue.Queue(), threading.RLock()
def work():
    while True:
        job = jobs.get()
        with lock:
            done.put(sum(range(job)))
for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
while len(sys.argv) > 1:
    for n in range(16):
        jobs.put(n * 100)
    for n in range(16):
        done.get()
threading.Event().wait()
"""
PROGRAMS = {"java": ("Pool.java", JAVA), "node": ("pool.js", NODE), sys.executable: ("pool.py", PYTHON)}


@pytest.mark.parametrize("how", ["idle", "busy"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_runtime(start, tmp_path, program, how):
    (path,) = need(program)
    name, source = PROGRAMS[program]
    (tmp_path / name).write_text(source)
    words = ["busy"] if how == "busy" else []
    child = start(path, tmp_path / name, *words, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    if how == "busy":
        looks(child.pid)
    else:
        nothing_is_wrong(child.pid)
        unknown = [one["what"] for one in inspect(child.pid)["unknown"]]
        # Java's locks are made of condition variables; what Python's threads wait for is known.
        if program == "java":
            assert [what for what in unknown if "condition variables" in what], unknown
        elif program == sys.executable:
            assert unknown == []


DEADLOCK = """
import threading
locks = [threading.Lock(), threading.RLock()]
both = threading.Barrier(2)
def take(first, second):
    with first:
        both.wait()
        with second:
            pass
threading.Thread(target=take, args=locks).start()
take(*reversed(locks))
"""


def test_python_deadlock(start):
    """A Lock of Python records nobody, so a deadlock through one is no certain one: its RLock's owner is
    named, and of the Lock it is said that nobody knows."""
    child = start(sys.executable, "-c", DEADLOCK)

    def hangs():
        return [thread["wait"]["for"] for thread in inspect(child.pid)["threads"]] == ["lock", "lock"]

    until(hangs, "both wait")
    answer = inspect(child.pid, expected={
        "verdict": "blocked",
        "message": matching("2 threads wait for a lock whose owner is not known$"),
        "cycles": [],
    })  # fmt: skip
    locks = {lock["type"]: lock for lock in answer["locks"]}
    assert locks["python-rlock"]["owner"]["state"] == "alive"
    assert locks["python-rlock"]["owner"]["tid"] == child.pid
    assert locks["python-lock"]["owner"]["state"] == "unknown"
    assert locks["python-lock"]["waiters"] == [child.pid]
    assert answer["unknown"] == [{"what": f"who holds lock {locks['python-lock']['address']}",
                                  "why": "threading.Lock records no owner"}]  # fmt: skip


# --- Database servers. ------------------------------------------------------------------------------


def redis_server():
    """Debian's redis-tools has the server too, under the name of a checker; it goes by its first word."""
    return shutil.which("redis-server") or need("redis-check-rdb")[0]


def is_open(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_redis(start):
    """Its I/O threads take and leave mutexes of its main thread all the time."""
    (benchmark,) = need("redis-benchmark")
    with tempfile.TemporaryDirectory() as folder:  # short, as a socket's name must be
        path = pathlib.Path(folder) / "socket"
        server = start(
            "redis-server", "--port", "0", "--unixsocket", path, "--dir", folder, "--save", "",
            "--io-threads", "3", "--io-threads-do-reads", "yes",
            executable=redis_server(), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: is_open(path), "the server answers")
        nothing_is_wrong(server.pid)
        start(benchmark, "-s", path, "-c", "50", "-P", "8", "-t", "set,get,lpush", "-l", "-q",
              stdout=subprocess.DEVNULL)  # fmt: skip
        looks(server.pid)


def children(pid):
    return list(map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@pytest.fixture
def database(start):
    """A PostgreSQL server that pgbench's eight clients keep busy. It does not run as root."""
    initdb, postgres, pgbench, setpriv = need("initdb", "postgres", "pgbench", "setpriv")
    folder = tempfile.mkdtemp()
    nobody = pwd.getpwnam("nobody")
    as_nobody = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        data = pathlib.Path(folder) / "data"
        subprocess.run([*as_nobody, initdb, "-D", data, "-U", "bench", "-A", "trust", "--no-sync"],
                       check=True, **quiet)  # fmt: skip
        server = start(*as_nobody, postgres, "-D", data, "-k", folder, "-h", "", **quiet)
        until(lambda: is_open(f"{folder}/.s.PGSQL.5432"), "the server listens")
        client = [pgbench, "-h", folder, "-U", "bench"]
        until(lambda: not subprocess.run([*client, "-i", "-q", "postgres"], check=False,
                                         **quiet).returncode, "the server answers")  # fmt: skip
        start(*client, "-c", "8", "-T", "3600", "postgres", **quiet)
        until(lambda: len(children(server.pid)) > 12, "the clients are there")
        yield server
        server.send_signal(signal.SIGQUIT)
        until(lambda: server.poll() is not None, "the server ends")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_postgres(database):
    """Processes that wait for each other by semaphores in shared memory."""
    for _ in range(LOOKS // 4 + 1):
        nothing_is_wrong(database.pid, *children(database.pid))


# --- A process that forks, with much memory. --------------------------------------------------------

FORKS = """
import mmap, os, struct, sys
memory = bytearray(b"x") * (256 << 20)
forks = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 8)
print("ready", flush=True)
while True:
    child = os.fork()
    if not child:
        os._exit(0)
    forks[:] = struct.pack("q", struct.unpack("q", forks[:])[0] + 1)
    os.waitpid(child, 0)
"""


def test_forks(start, tmp_path):
    """Its memory can't be read while it is copied: that takes longer, and nothing else comes of it."""
    counter = tmp_path / "forks"
    counter.write_bytes(bytes(8))
    child = start(sys.executable, "-c", FORKS, counter, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"

    def forked_meanwhile():
        before = struct.unpack("q", counter.read_bytes())[0]
        inspect(child.pid, expected={"verdict": "ok", "locks": []})
        return struct.unpack("q", counter.read_bytes())[0] - before > 1

    for _ in range(LOOKS // 4 + 1):  # one fork, at least, began and ended in each of them
        until(forked_meanwhile, "it forks while it is looked at")


# --- Since when it hangs. ---------------------------------------------------------------------------

def test_asleep(start):
    """Those that wait and the one that they wait for. Never longer than it can be, and before long,
    where the kernel's own threads are seen, nearly as long as that."""
    begin = time.monotonic_ns()
    child = start(sys.executable, "-c", OWNER % "time.sleep(1e6)", stdin=subprocess.PIPE)
    until(lambda: list(calls(child.pid)).count(futex_call()) == 2, "they wait")
    asleep = time.monotonic_ns()
    stat = pathlib.Path("/proc/2/stat")
    if not stat.exists() or "(kthreadd)" not in stat.read_text():
        pytest.skip("no kernel threads in this PID namespace")
    if not pathlib.Path("/proc/self/sched").exists():
        pytest.skip("this kernel has no /proc/PID/sched")

    def slept():
        found = inspect(child.pid, expected={"verdict": "blocked"})
        most = time.monotonic_ns() - begin
        times = [int(thread["wait"].get("asleep_ns", 0)) for thread in found["threads"]]
        assert len(times) == 3 and max(times) < most, (times, most)
        return min(times) > 2e9

    until(slept, "they have slept for two seconds")
    assert time.monotonic_ns() - asleep > 2e9
    said = text(child.pid, status=0)
    assert len(re.findall(r": without a timeout, asleep for \d+(\.\d)? s or longer$", said, re.M)) == 2
    assert re.search(r"held by .*, which is in clock_nanosleep, asleep for \d", said), said


# --- A process in a frozen cgroup, as a paused container is. ----------------------------------------

SPINS = """
import ctypes, threading
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
threading.Thread(target=libc.pthread_mutex_lock, args=(mutex,), daemon=True).start()
print("ready", flush=True)
while True:
    pass
"""


@contextlib.contextmanager
def frozen(pid):
    mounts = map(str.split, pathlib.Path("/proc/self/mounts").read_text().splitlines())
    at = next((pathlib.Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if not at or not os.access(at, os.W_OK):
        pytest.skip("no cgroup of version 2 is mounted to be written")
    own = re.search(r"^0::/(.*)$", pathlib.Path(f"/proc/{pid}/cgroup").read_text(), re.M)
    inside, cgroup = at / own.group(1), at / f"deadhold-test-{pid}"
    try:
        cgroup.mkdir()
    except OSError as error:  # the mount may be read-only
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        (cgroup / "cgroup.procs").write_text(str(pid))
        (cgroup / "cgroup.freeze").write_text("1")
        until(lambda: "frozen 1" in (cgroup / "cgroup.events").read_text(), "it is frozen")
        yield
    finally:
        (cgroup / "cgroup.freeze").write_text("0")
        (inside / "cgroup.procs").write_text(str(pid))
        cgroup.rmdir()


def test_frozen(start):
    """Its threads sleep, whatever they did: of one that computed, no more is said than that."""
    child = start(sys.executable, "-c", SPINS, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    until(lambda: len(list(calls(child.pid))) == 2 and futex_call() in calls(child.pid), "it waits")
    with frozen(child.pid):
        found = inspect(child.pid, expected={
            "verdict": "blocked",
            "locks": [{"owner": {"state": "alive", "tid": child.pid}, "orphaned": False}],
        })  # fmt: skip
    own = next(thread for thread in found["threads"] if thread["tid"] == child.pid)
    assert own["wait"]["for"] == "kernel" and own["wait"].keys() <= {"for", "asleep_ns"}, own


# --- What else an owner does. -----------------------------------------------------------------------

# The main thread holds a mutex for which another one waits.
OWNER = """
import ctypes, select, sys, threading, time
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
for _ in range(2):
    threading.Thread(target=libc.pthread_mutex_lock, args=(mutex,), daemon=True).start()
%s
"""
DOES = {
    "time.sleep(1e6)": ("clock_nanosleep", "230", "115"),
    "select.poll().poll()": ("p?poll", "7", "73"),
    "select.epoll().poll()": ("epoll_p?wait", "232", "22"),
    "sys.stdin.read()": ("read", "0", "63"),
}


@pytest.mark.parametrize("does", DOES)
def test_live_owner(start, does):
    """It sleeps, with the lock: that is what is said, and that nothing proves it wrong."""
    name, *number = DOES[does]
    futex = futex_call()
    call = number[0] if os.uname().machine == "x86_64" else number[1]
    child = start(sys.executable, "-c", OWNER % does, stdin=subprocess.PIPE)
    until(lambda: sorted(calls(child.pid)) == sorted([call, futex, futex]), f"it is in {name}")
    inspect(child.pid, expected={
        "verdict": "blocked",
        "message": matching(f"2 threads wait for main thread, which is in {name}$"),
        "locks": [{"owner": {"state": "alive", "tid": child.pid}, "orphaned": False}],
        "threads": any_order([{"wait": {"for": "call", "call": matching(f"^{name}$")}},
                              {"wait": {"for": "lock"}}, {"wait": {"for": "lock"}}]),
        "unknown": [],
    })  # fmt: skip
