# SPDX-License-Identifier: GPL-2.0-only
"""A database server and clients that keep it busy: servers.py redis|postgres SECONDS PROGRAM...

PROGRAM: the paths of those that it needs. Says the PIDs of server and clients, the names by which the kernel
knows them, and "done" at the end."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


def start(command, **settings):
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, **settings)
    print(f"pid {child.pid}", flush=True)
    return child


def comm_of(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def say_comm(child):
    """Its name changes a moment after Popen has come back."""
    while comm_of(child.pid) == comm_of(os.getpid()) and child.poll() is None:
        time.sleep(0.01)
    print("comm", comm_of(child.pid), flush=True)


def until(condition, server):
    while not condition():
        assert server.poll() is None, "the server has ended"
        time.sleep(0.05)
    say_comm(server)


def ends_well(child, *signals):
    for number in signals:
        child.send_signal(number)
    assert child.wait() == 0, f"{child.args} ended with {child.returncode}"


def ask(path, words):
    """Of Redis; false: it does not answer."""
    with socket.socket(socket.AF_UNIX) as client:
        if client.connect_ex(str(path)):
            return b""
        client.sendall(words + b"\r\n")
        return client.recv(100)


def redis(folder, end, server, benchmark):
    """With threads that read and write, and forks that save."""
    path = folder / "socket"
    words = ["redis-server", "--port", 0, "--unixsocket", path, "--dir", folder, "--save", ""]
    child = start([*words, "--io-threads", 3, "--io-threads-do-reads", "yes"], executable=server)
    until(lambda: ask(path, b"PING") == b"+PONG\r\n", child)
    while time.monotonic() < end:
        assert ask(path, b"BGSAVE")
        words = ["-s", path, "-c", 50, "-P", 8, "-n", 50000, "-t", "set,get", "--threads", 2, "-q"]
        clients = start([benchmark, *words])
        say_comm(clients)
        ends_well(clients)
    ends_well(child, signal.SIGTERM)


def postgres(folder, end, initdb, server, pgbench, setpriv):
    """Processes that wait for each other by semaphores in shared memory. It does not run as root."""
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    as_nobody = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    data = folder / "data"
    quiet = {"cwd": folder, "stderr": subprocess.DEVNULL}
    init = [*as_nobody, initdb, "-D", data, "-U", "bench", "-A", "trust", "--no-sync"]
    ends_well(start(init, **quiet))
    child = start([*as_nobody, server, "-D", data, "-k", folder, "-h", ""], **quiet)
    client = [pgbench, "-h", folder, "-U", "bench"]
    fill = [*client, "-i", "-q", "postgres"]
    until(lambda: not start(fill, **quiet).wait(), child)
    rest = max(1, round(end - time.monotonic()))
    clients = start([*client, "-c", 8, "-j", 2, "-T", rest, "postgres"], **quiet)
    say_comm(clients)
    ends_well(clients)
    ends_well(child, signal.SIGINT)


def main(which, seconds, *programs):
    end = time.monotonic() + float(seconds)
    folder = pathlib.Path(tempfile.mkdtemp())  # short, as a socket's name must be
    try:
        {"redis": redis, "postgres": postgres}[which](folder, end, *programs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("done")


main(*sys.argv[1:])
