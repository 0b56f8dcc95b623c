#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the verifiers of several kernels make of the agent's programs: the table verifier.txt.

    build/live/verifier | tests/live/verifier.py
    tests/vm/run --suite sid -- build/live/verifier | tests/live/verifier.py

puts a kernel's column into it. A cell is INSTRUCTIONS/STATES, or refused; or forbidden, where it is not
the verifier that says no."""

import pathlib
import re
import sys

TABLE = pathlib.Path(__file__).with_name("verifier.txt")


def read_run(lines):
    """The output of build/live/verifier: (kernel, {program: cell})."""
    words = [line.split() for line in lines]
    begin = next(i for i, word in enumerate(words) if word[:1] == ["kernel"])
    end = words.index(["."])
    release = re.match(r"\d+\.\d+", words[begin][1])[0]
    refused = {"refused 1": "forbidden", "refused 13": "refused", "refused 22": "refused", "refused 7": "refused"}
    cells = {}
    for name, *said in words[begin + 1 : end]:
        cells[name] = refused[" ".join(said)] if said[0] == "refused" else "/".join(said)
    return release, cells


def read_table():
    """{kernel: {program: cell}}"""
    rows = [line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    kernels = rows[0][1:]
    return {kernel: {row[0]: row[1 + i] for row in rows[1:]} for i, kernel in enumerate(kernels)}


def write_table(table):
    kernels = sorted(table, key=lambda kernel: tuple(map(int, kernel.split("."))))
    programs = list(dict.fromkeys(name for cells in table.values() for name in cells))
    rows = [["program", *kernels]]
    rows += [[name, *(table[kernel].get(name, "-") for kernel in kernels)] for name in programs]
    head = [line for line in TABLE.read_text().splitlines() if line.startswith("#")]
    lines = [f"{row[0]:<34}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows]
    TABLE.write_text("\n".join(head + lines) + "\n")


if __name__ == "__main__":
    RELEASE, CELLS = read_run(sys.stdin)
    write_table({**read_table(), RELEASE: CELLS})
