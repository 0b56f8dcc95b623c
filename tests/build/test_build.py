# SPDX-License-Identifier: GPL-2.0-only
"""The Makefile and the tools beside it, as whoever builds and installs deadhold meets them."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
