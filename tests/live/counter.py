# SPDX-License-Identifier: GPL-2.0-only
"""Counts what happens on the whole host, by the kernel's own tracepoints and without deadhold: so that
a test on a busy host knows how much of what was counted can be somebody else's."""

import ctypes
import fcntl
import os
import pathlib
import struct
import subprocess
import tempfile

import pytest

SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
PERF_TYPE_TRACEPOINT = 2
ATTR_BYTES = 128
IOC_SET_FILTER = 0x40082406


def kernel_file(system, name):
    """A file of a file system of the kernel's, which is mounted out of everybody's sight."""
    with tempfile.TemporaryDirectory() as directory:
        script = 'mount -t "$1" none "$2" && cat "$2/$3"'
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", system, directory, name],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        pytest.skip(f"this kernel has no {system}, or no {name}: {done.stderr}")
    return done.stdout.strip()


def tracepoint_id(name):
    return int(kernel_file("tracefs", f"events/{name}/id"))


def online_cpus():
    ranges = pathlib.Path("/sys/devices/system/cpu/online").read_text().strip().split(",")
    for part in ranges:
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Counter:
    """How often a tracepoint was passed with this filter, anywhere, since the counter was made."""

    def __init__(self, name, condition):
        attr = bytearray(ATTR_BYTES)
        struct.pack_into("=IIQ", attr, 0, PERF_TYPE_TRACEPOINT, ATTR_BYTES, tracepoint_id(name))
        self.fds = []
        libc = ctypes.CDLL(None, use_errno=True)
        number = SYS_PERF_EVENT_OPEN[os.uname().machine]
        for cpu in online_cpus():
            # pid -1: every process on this CPU.
            fd = libc.syscall(number, ctypes.c_char_p(bytes(attr)), -1, cpu, -1, 0)
            if fd < 0:
                self.close()
                pytest.skip(f"no counter of {name}: {os.strerror(ctypes.get_errno())}")
            self.fds.append(fd)
            fcntl.ioctl(fd, IOC_SET_FILTER, condition.encode() + b"\0")

    def read(self):
        return sum(struct.unpack("Q", os.read(fd, 8))[0] for fd in self.fds)

    def close(self):
        while self.fds:
            os.close(self.fds.pop())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def thread_signals():
    """Signals to single threads."""
    return Counter("signal/signal_generate", "group == 0")
