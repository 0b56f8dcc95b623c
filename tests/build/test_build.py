# SPDX-License-Identifier: GPL-2.0-only
"""The Makefile and the tools beside it, as whoever builds and installs deadhold meets them."""

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import contract  # noqa: E402 # from there

Contract = contract.Contract()


def run(*command, status=0, **settings):
    """Runs a command in the tree; returns its output and error lines. Fails on another status."""
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, text=True, capture_output=True, timeout=300, **settings
    )
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines(), done.stderr.splitlines()


def make(*words, **settings):
    return run("make", "--no-print-directory", *words, **settings)


@pytest.fixture
def programs(tmp_path):
    """programs(name, script) puts a program into a folder; programs.path is an environment that has
    these and a few that change nothing."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "env", "awk", "grep", "sed", "paste", "ls", "find"):
        (folder / name).symlink_to(shutil.which(name))

    def add(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    add.path = {"PATH": str(folder)}
    add("id", "echo 0")
    return add


# --- make


def test_second_make_does_nothing():
    out, _ = make("all", "static")
    assert [line for line in out if "Nothing to be done" not in line] == []


def test_missing_compiler_is_one_clear_line(tmp_path):
    out, err = make(f"BUILD={tmp_path}", "CLANG=no-such-clang", status=2)
    assert out == []
    assert err[0] == "no-such-clang is missing: run tools/packages build"
    assert all(line.startswith("make") for line in err[1:])


def test_install_and_uninstall(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/dh")
    program = tmp_path / "opt/dh/sbin/deadhold"
    installed = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert installed == {
        "opt/dh/sbin/deadhold",
        "opt/dh/share/man/man8/deadhold.8",
        "opt/dh/share/deadhold/alerts.schema.json",
        "opt/dh/share/deadhold/inspect.schema.json",
    }
    assert run(program, "--version")[0][0].startswith("deadhold ")
    make("uninstall", f"DESTDIR={tmp_path}", "PREFIX=/opt/dh")
    assert [p for p in tmp_path.rglob("*") if p.is_file() or "deadhold" in p.name] == []


# --- make run, make demo


@pytest.mark.parametrize("missing", [None, "uthash-dev"])
def test_make_run(programs, tmp_path, missing):
    """Says what it installs, if anything; builds; and watches, in one go."""
    log = tmp_path / "log"
    log.touch()
    shutil.rmtree(tmp_path / "programs")
    (tmp_path / "programs").mkdir()
    if missing:
        query = shutil.which("dpkg-query")
        programs("dpkg-query", f'{query} "$@" | grep -v {missing}')
        programs("apt-get", APT.format(log=log, fails=tmp_path / "fails"))
    path = {"PATH": f"{programs.path['PATH']}:{os.environ['PATH']}"}
    out, err = make("run", "ARGS=-d 1 --json", env={**os.environ, **path})
    if missing:
        (said,) = [line for line in err if "installing" in line]
        assert said.startswith("tools/packages: installing ") and missing in said.split()
        installs = [line.split() for line in log.read_text().splitlines() if " install " in line]
        assert [missing] == [words[-1] for words in installs], log.read_text()
    else:
        assert err == []
    lines = [line for line in out if line.startswith("{")]
    alerts = [contract.parse(line) for line in lines]
    wrong = [what for alert in alerts for what in Contract.wrong(alert)]
    assert not wrong, wrong
    kinds = [alert["kind"] for alert in alerts]
    assert kinds[0] == "ready" and kinds[-1] == "summary", kinds
    assert 1 <= alerts[-1]["run_time_s"] < 60
    assert out.index("tools/as-root build/deadhold -d 1 --json") < out.index(lines[0])


def test_make_demo():
    """To its end: who died with which lock, who hangs, how it ended."""
    out, err = make("demo")
    assert err == []
    assert out[-1] == (
        "# deadhold named the dead worker, the lock it held, and the reporter that hangs."
    )
    pattern = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} (\S+) ([a-z-]+) (.*)$")
    said = [match.groups() for match in map(pattern.match, out) if match]
    pid = next(re.search(r"orders\[(\d+)\]", text)[1] for _, kind, text in said if "orphan" in kind)
    worker = next(re.search(r"worker\[(\d+)\]", text)[1] for _, _, text in said if "worker" in text)
    reporter = next(re.search(r"reporter\[(\d+)\]", t)[1] for _, _, t in said if "reporter" in t)
    about_locks = [s for s in said if s[1] not in ("async-exception", "thread-killed")]
    assert [(severity, kind) for severity, kind, _ in about_locks] == [
        ("info", "ready"),
        ("CRITICAL", "lock-orphaned"),
        ("CRITICAL", "incident"),
        ("CRITICAL", "orphan-wait"),
        ("info", "orphan-cleared"),
        ("CRITICAL", "incident"),
        ("info", "summary"),
    ]
    _, orphaned, opened, stuck, cleared, closed, _ = (text for _, _, text in about_locks)
    assert orphaned == f"orders[{pid}] worker[{worker}] died holding 1 lock"
    assert stuck == f"orders[{pid}] reporter[{reporter}] hangs: lock owner died"
    assert re.fullmatch(rf"orders\[{pid}\] lock 0x[0-9a-f]+ is gone: exit", cleared)
    assert all(f"orders[{pid}]" in text for text in (opened, closed)), (opened, closed)
    text = "\n".join(out)
    assert f"  dead owner worker (tid {worker}): its thread function returned" in text
    assert re.search(rf"^  stuck reporter \(tid {reporter}\): waits for ever$", text, re.M)
    assert re.search(r"^  lock 0x[0-9a-f]+: Python RLock, proof waiter$", text, re.M)
    findings = contract.Findings()
    for number, line in enumerate(out):
        match = pattern.match(line)
        if match:
            rest = itertools.takewhile(lambda l: l.startswith("  "), out[number + 1:])
            contract.check_text("\n".join([line, *rest]), match[2], f"line {number}", findings)
    assert findings.count == 0


# --- make static


@pytest.fixture
def empty_root(tmp_path):
    """A file system that holds nothing but the static program."""
    shutil.copy(ROOT / "build/deadhold-static", tmp_path / "deadhold")
    return tmp_path


def test_static_needs_nothing(empty_root):
    assert run("chroot", empty_root, "/deadhold", "--version")[0][0].startswith("deadhold ")
    _, err = run("chroot", empty_root, "/deadhold", "watch", status=1)
    assert len(err) == 1 and "/sys is not mounted" in err[0]


def test_static_watches_with_proc_and_sys_alone(empty_root):
    for name in ("proc", "sys"):
        (empty_root / name).mkdir()
    # In a mount namespace of its own, which ends with it.
    script = (
        f"mount --rbind /proc {empty_root}/proc; mount --rbind /sys {empty_root}/sys;"
        f' exec chroot {empty_root} /deadhold "$@"'
    )
    inside = ["unshare", "-m", "sh", "-ec", script, "sh"]
    out, _ = run(*inside, "check")
    assert out[-1] == "deadhold watch runs here."
    out, _ = run(*inside, "watch", "-d", "0.1")
    assert " ready " in out[0]


# --- tools


def test_as_root_without_root_and_sudo_is_one_clear_line(programs):
    programs("id", "echo 1000")
    out, err = run("tools/as-root", "echo", "hello", status=1, env=programs.path)
    assert out == []
    assert len(err) == 1 and "there is no sudo" in err[0] and err[0].endswith("run: echo hello")


def test_as_root_goes_through_sudo(programs):
    programs("id", "echo 1000")
    programs("sudo", 'echo "sudo $*"')
    out, err = run("tools/as-root", "echo", "a b", env=programs.path)
    assert (out, err) == (["sudo -- echo a b"], [])


def test_packages_are_silent_where_nothing_is_missing():
    assert run("tools/packages", "build", "test") == ([], [])


# Its fourth word is the command.
APT = """
echo "$*" >>{log}
[ "$4" != install ] || [ ! -e {fails} ] || {{ rm {fails}; exit 100; }}
"""


def test_packages_are_named_and_installed(programs, tmp_path):
    log, fails = tmp_path / "log", tmp_path / "fails"
    programs("dpkg-query", "echo installed make; echo config-files gcc")
    programs("apt-get", APT.format(log=log, fails=fails))
    programs("rm", f"exec {shutil.which('rm')} \"$@\"")
    for first_fails in (False, True):
        log.write_text("")
        if first_fails:
            fails.touch()
        out, err = run("tools/packages", "build", env=programs.path)
        assert out == []
        assert "installing clang bpftool" in err[0] and " make" not in err[0] and "gcc" in err[0]
        called = [line.split()[3] for line in log.read_text().splitlines()]
        ends = ["install", "update", "install"] if first_fails else ["install"]
        assert called[-len(ends):] == ends
        assert "--no-install-recommends" in log.read_text()


def test_packages_without_root_and_sudo_is_one_clear_line(programs):
    programs("dpkg-query", "echo installed make")
    programs("apt-get", "exit 99")
    programs("id", "echo 1000")
    out, err = run("tools/packages", "build", status=1, env=programs.path)
    assert out == []
    assert len(err) == 1 and "clang bpftool" in err[0] and "no sudo" in err[0]


def test_packages_without_apt_names_those_of_dnf(programs):
    programs("rpm", '[ "$4" = clang ]')
    out, err = run("tools/packages", "build", status=1, env=programs.path)
    assert out == []
    assert len(err) == 1 and "dnf install bpftool libbpf-devel" in err[0]
    programs("rpm", "exit 0")
    assert run("tools/packages", "build", env=programs.path) == ([], [])
