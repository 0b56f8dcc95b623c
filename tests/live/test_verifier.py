# SPDX-License-Identifier: GPL-2.0-only
"""Each BPF program is taken by this kernel's verifier, if it was before. What that costs it is shown
where it changed: programs that grow are refused some day, on the oldest kernel first."""

import subprocess

import pytest

import verifier
from deadhold import LIVE

LIMIT = 1000000  # BPF_COMPLEXITY_LIMIT_INSNS: include/linux/bpf.h


def test_verifier(capsys):
    run = subprocess.run([LIVE / "verifier"], stdout=subprocess.PIPE, text=True, check=True)
    kernel, cells = verifier.read_run(run.stdout.splitlines())
    known = verifier.read_table().get(kernel)
    if known is None:
        pytest.skip(f"no column for kernel {kernel} in verifier.txt: {cells}")
    assert cells.keys() == known.keys()
    assert any("/" in cell for cell in cells.values())
    for name, cell in cells.items():
        if cell == "refused":
            assert known[name] == "refused", f"{name} was accepted with {known[name]}"
        if "/" not in cell:
            continue
        instructions = int(cell.split("/")[0])
        assert instructions < LIMIT / 2, f"{name}: {cell}"
        if known[name] != cell:
            with capsys.disabled():
                print(f"\n{name}: {known[name]} before, {cell} now", end="")
