#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that --help, docs/deadhold.8, README.md, docs/alerts.md and the Makefile agree. TAP."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MANUAL = (ROOT / "docs/deadhold.8").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "docs/alerts.schema.json").read_text(encoding="utf-8"))
HELP = subprocess.run(
    [ROOT / "build/deadhold", "--help"], capture_output=True, text=True, check=True
).stdout


def options_of_help():
    """{"--pid": ("-p", "PID")}"""
    found = re.finditer(r"^ +(-\w)?,? *(--[a-z-]+)(?:=(\S+))?", HELP, re.M)
    return {option[2]: (option[1], option[3]) for option in found}


def options_of_manual():
    """The same from ".It Fl p , Fl -pid Ns = Ns Ar PID"."""
    options = {}
    for line in re.findall(r"^\.It (Fl .*)", section("OPTIONS"), re.M):
        text = line.replace("Ns ", "").replace("Ar ", "").replace("Op ", "[")
        short, name, value = re.match(r"(?:Fl (\w) , )?Fl -([a-z-]+)(?: = (.*))?$", text).groups()
        value = value and value.replace(" ", "") + ("]" if "[" in value else "")
        options[f"--{name}"] = (short and f"-{short}", value)
    return options


def section(name):
    return re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh|\Z)", MANUAL, re.M | re.S)[1]


def items(text):
    """The words that a manual's section explains: ".It Cm watch", ".It 0"."""
    return set(re.findall(r"^\.It (?:Cm )?([a-z0-9-]+)$", text, re.M))


def differ(what, left, right):
    for name, one, other in (("left", left, right), ("right", right, left)):
        for key in sorted(set(one) - set(other)):
            yield f"{what}: {key} is only in the {name} one"
    if isinstance(left, dict):
        for key in sorted(set(left) & set(right)):
            if left[key] != right[key]:
                yield f"{what}: {key}: {left[key]} and {right[key]}"


def test_help_and_manual_have_the_same_options():
    yield from differ("help, manual", options_of_help(), options_of_manual())


def test_help_and_manual_have_the_same_commands():
    usage = HELP.split("USAGE:")[1].split("OPTIONS:")[0]
    commands = set(re.findall(r"^  deadhold \[?([a-z]+)", usage, re.M))
    yield from differ("help, manual", commands, items(section("COMMANDS")))


def test_rungs_of_help_are_explained():
    for option, rungs in re.findall(r"(--\w+-hook)=RUNG\s+([^()]*) \(auto\)", HELP):
        for rung in re.findall(r"[\w-]+", rungs.replace(" or ", " ")):
            if f".Cm {rung}" not in section("OPTIONS"):
                yield f"{option} {rung} is not in the manual"


def test_manual_explains_every_kind():
    kinds = set(SCHEMA["$defs"]["kind"]["enum"])
    proofs = set(SCHEMA["$defs"]["lock"]["properties"]["proof"]["enum"])
    yield from differ("schema, manual", kinds | proofs, items(section("OUTPUT")))


def test_manual_explains_every_place_of_loss():
    source = (ROOT / "user/watch.c").read_text(encoding="utf-8")
    places = set(re.findall(r'pairs\[n\+\+\] = \(struct pair\){ "([a-z-]+)"', source))
    yield from differ("watch.c, manual", places, set(re.findall(r"^\.It Sy (\S+)", MANUAL, re.M)))


def words_of(schema, path):
    """The words of an enum, by the names on the way to it below $defs."""
    value = schema["$defs"]
    for name in path.split("/"):
        value = value[name]
    return set(value["enum"])


def explained():
    """What the pages of `explain` are about: {"kind": {"ready", …}, "proof": …}"""
    words = {}
    command = [ROOT / "build/deadhold", "explain", "-o", "json"]
    for page in json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["words"]:
        for what in page["is"]:
            words.setdefault(what, set()).add(page["word"])
    return words


def choice(schema, kind, field):
    """The words of a field that this kind alone has."""
    own = (one["then"]["properties"] for one in schema["allOf"] if kind in str(one["if"]))
    return {word for properties in own for word in properties.get(field, {}).get("enum", ())}


# Pages that came before what they are about; to be taken out with it.
AHEAD = {"inferred", "probe", "got-it", "no-wake", "deep"}


def test_explain_has_a_page_for_every_word():
    inspect = json.loads((ROOT / "docs/inspect.schema.json").read_text(encoding="utf-8"))
    source = (ROOT / "user/watch.c").read_text(encoding="utf-8")
    words = {
        "kind": words_of(SCHEMA, "kind"),
        "proof": words_of(SCHEMA, "lock/properties/proof"),
        "exit reason": words_of(SCHEMA, "exit/properties/reason"),
        "result of a signal": words_of(SCHEMA, "signal/properties/result"),
        "evidence": words_of(SCHEMA, "evidence/items"),
        "how an orphan was cleared": choice(SCHEMA, "orphan-cleared", "how"),
        "state of an exception thrown into a thread": choice(SCHEMA, "async-exception", "state"),
        "verdict of inspect": set(inspect["properties"]["verdict"]["enum"]),
        "state of an owner": words_of(inspect, "owner/properties/state"),
        "place of loss": set(re.findall(r'pairs\[n\+\+\] = \(struct pair\){ "([a-z-]+)"', source)),
    }
    pages = explained()
    for what in words:
        paged = pages.get(what, set())
        yield from differ(f"schema, explain: {what}", words[what] | (paged & AHEAD), paged)
    yield from (f"explain: {what} is checked by nobody" for what in set(pages) - set(words))


def test_explain_says_why_signals_are_folded():
    command = [ROOT / "build/deadhold", "explain", "noise", "-o", "json"]
    page = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    text = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")
    for reason in page["folded"]:
        if reason not in text:
            yield f"docs/alerts.md does not have: {reason}"


def test_exit_statuses_agree():
    said = set(re.findall(r"\b(\d) (?:after|on)", HELP.split("Exit status:")[1]))
    yield from differ("help, manual", said, items(section("EXIT STATUS")))


def test_readme_names_only_what_exists():
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - set(options_of_help()):
        yield f"README: {option} is not in --help"
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M)):
        if not re.search(rf"^(?:[a-z -]+ )?{target}(?: [a-z -]+)?:(?!=)", MAKEFILE, re.M):
            yield f"README: the Makefile has no target {target}"
    for path in set(re.findall(r"\]\(([^)#:]+)\)", README)):
        if not (ROOT / path).exists():
            yield f"README: there is no {path}"


def test_readme_names_every_package():
    packages = (ROOT / "tools/packages").read_text(encoding="utf-8")
    for group, deb, rpm in re.findall(r"^(build|test) +(\S+) +(\S+)$", packages, re.M):
        for name in (deb, rpm):
            if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", README):
                yield f"README: package {name} ({group}) is not named"


def test_runtimes_names_tests_that_are_there():
    text = (ROOT / "docs/runtimes.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)::(test_\w+)`", text))
    if len(named) < 10:
        yield f"docs/runtimes.md: only {len(named)} tests are named"
    for module, name in sorted(named):
        path = ROOT / f"tests/live/{module}.py"
        if not path.exists() or f"def {name}(" not in path.read_text(encoding="utf-8"):
            yield f"docs/runtimes.md: there is no {module}::{name}"


def main():
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for number, test in enumerate(tests, 1):
        findings = list(test())
        failed += bool(findings)
        for finding in findings:
            print(f"# {finding}")
        print(f"{'not ok' if findings else 'ok'} {number} - {test.__name__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
