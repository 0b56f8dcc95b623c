# SPDX-License-Identifier: GPL-2.0-only
"""A CPython heap: objects of many kinds, buffers of integers. Prints "ready" and waits for the end."""
import array
import collections
import random
import struct
import sys


class Job:
    __slots__ = ("state", "flags", "number", "refs", "name", "next")

    def __init__(self, number, following):
        self.state, self.flags, self.number, self.refs = 1, 0, number, 1
        self.name, self.next = f"job-{number}", following


def main():
    dice = random.Random(1)
    kept = []
    job = None
    for number in range(300_000):
        job = Job(number, job)
        kept.append(job)
    kept.append({n: (n, str(n), [n, n + 1]) for n in range(300_000)})
    kept.append([collections.Counter("abcdefgh" * (n % 7)) for n in range(100_000)])
    for code in "bhilq":
        kept.append(array.array(code, (dice.randrange(100) for _ in range(1_000_000))))
    kept.append(b"".join(struct.pack("<6i", 1, n % 3, n % 400, n % 2, 0, 0) for n in range(500_000)))
    kept.append([random.Random(n) for n in range(2000)])
    kept.append(dice.randbytes(64 << 20))
    print("ready", flush=True)
    sys.stdin.read()


main()
