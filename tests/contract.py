#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that docs/alerts.md, docs/inspect.md, their schemas and any recorded lines agree.

    contract.py               the examples of both, and the alerts' schema against mutations
    contract.py FILE...       also every line of these recordings ("-": standard input)

Exit status: 0 all agree, 1 something does not, 2 could not look.
"""

import copy
import json
import pathlib
import re
import sys

try:
    import jsonschema
except ImportError:
    sys.exit("contract.py: jsonschema is not installed: install the package python3-jsonschema")

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
EXAMPLE = re.compile(
    r"<!-- example (?P<kind>[a-z-]+) (?P<form>text|json) -->\n"
    r"```(?:json)?\n(?P<body>.*?)\n```\n"
    r"<!-- end example -->",
    re.DOTALL,
)
HEAD = re.compile(
    r"^\d\d:\d\d:\d\d\.\d{3} (?P<severity>CRITICAL|WARNING|info) (?P<kind>[a-z-]+) (?P<message>.+)$"
)


def schema_load(name):
    schema = json.loads((DOCS / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


INSPECT = schema_load("inspect.schema.json")


class Findings:
    """What does not agree; each is printed when it is found."""

    def __init__(self):
        self.count = 0

    def add(self, where, what):
        self.count += 1
        print(f"contract.py: {where}: {what}", file=sys.stderr)


def without_duplicates(pairs):
    keys = [key for key, _ in pairs]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"member given twice: {', '.join(sorted(twice))}")
    return dict(pairs)


def parse(line):
    def no_constant(name):
        raise ValueError(f"{name} is no JSON")

    return json.loads(line, object_pairs_hook=without_duplicates, parse_constant=no_constant)


def check_sense(alert):
    """What a schema cannot say. Yields what is wrong."""
    if alert["id"] != f"{alert['run']}:{alert['seq']}":
        yield "id is not run:seq"
    if alert["kind"] == "loss" and sum(alert["where"].values()) != alert["events"]:
        yield "the places do not add up to events"
    for process in find_objects(alert, "process"):
        if not isinstance(process, dict):
            continue  # ready: the hook family of that name
        ids = f"{alert['boot_id']}:{process['pid']}:"
        if not process.get("id", ids).startswith(ids):
            yield f"process id {process['id']} does not begin with boot id and pid"
    for lock in [alert.get("lock"), *alert.get("locks", [])]:
        if lock and "id" in lock and not lock["shared"]:
            if lock["id"] != f"{alert['process']['id']}:{lock['address']}":
                yield f"lock id {lock['id']} is not process id and address"


def check_inspect_sense(line):
    """The same of an inspection."""
    waiting = {}
    for thread in line["threads"]:
        if "lock" in thread.get("wait", {}):
            waiting.setdefault(thread["wait"]["lock"], []).append(thread["tid"])
    for lock in line["locks"]:
        if lock["waiters"] != waiting.pop(lock["address"], []):
            yield f"the waiters of {lock['address']} are not those that wait for it"
    if waiting:
        yield f"threads wait for locks that are not there: {waiting}"
    tids = [thread["tid"] for thread in line["threads"]]
    for tid in [tid for cycle in line["cycles"] for tid in cycle]:
        if tid not in tids:
            yield f"{tid} of a cycle is no thread"


def find_objects(value, name):
    if isinstance(value, dict):
        for key, member in value.items():
            if key == name:
                yield member
            yield from find_objects(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from find_objects(member, name)


def check_line(validator, line, where, findings):
    """Returns the alert, or None where the line is no alert at all."""
    try:
        alert = parse(line)
    except ValueError as error:
        findings.add(where, f"no JSON: {error}")
        return None
    inspected = isinstance(alert, dict) and alert.get("schema") == "deadhold.inspect/1"
    if inspected:
        validator = INSPECT
    errors = list(validator.iter_errors(alert))
    for error in errors:
        findings.add(where, f"{error.json_path}: {error.message}")
    if not errors:
        for wrong in check_inspect_sense(alert) if inspected else check_sense(alert):
            findings.add(where, wrong)
    return alert


def check_inspect(alerts, findings):
    """The example of docs/inspect.md in both forms, and what its schema has in common with the alerts'."""
    texts = {}
    for found in EXAMPLE.finditer((DOCS / "inspect.md").read_text(encoding="utf-8")):
        texts[found["form"]] = found["body"]
    line = check_line(INSPECT, texts.get("json", ""), "docs/inspect.md: json", findings)
    first, *details = texts.get("text", "").split("\n")
    if line and not first.endswith(" " + line.get("message", "")):
        findings.add("docs/inspect.md", "text and message differ")
    check_details(details, "docs/inspect.md: text", findings)
    for name, definition in alerts.schema["$defs"].items():
        own = INSPECT.schema["$defs"].get(name, definition)
        if own != definition and name not in ("lock", "owner", "thread", "wait"):
            findings.add("docs/inspect.schema.json", f"{name} is not as in alerts.schema.json")


def check_details(details, where, findings):
    for detail in details:
        if not detail.startswith("  "):
            findings.add(where, f"detail is not indented: {detail}")
        if len(detail) > 80:
            findings.add(where, f"detail is {len(detail)} columns wide: {detail}")


def check_text(text, kind, where, findings):
    """Returns the match of the first line, or None."""
    first, *details = text.split("\n")
    match = HEAD.match(first)
    if not match:
        findings.add(where, f"not TIME SEVERITY KIND MESSAGE: {first}")
        return None
    if match["kind"] != kind:
        findings.add(where, f"is of kind {match['kind']}")
    check_details(details, where, findings)
    return match


def check_examples(validator, kinds, findings):
    """Returns the JSON examples by kind."""
    texts, alerts = {}, {}
    for found in EXAMPLE.finditer((DOCS / "alerts.md").read_text(encoding="utf-8")):
        kind, form, body = found["kind"], found["form"], found["body"]
        where = f"docs/alerts.md: {kind} {form}"
        if kind in (texts if form == "text" else alerts):
            findings.add(where, "given twice")
        if form == "text":
            texts[kind] = check_text(body, kind, where, findings)
            continue
        alerts[kind] = check_line(validator, body, where, findings)
        if alerts[kind] and alerts[kind].get("kind") != kind:
            findings.add(where, f"is of kind {alerts[kind].get('kind')}")
    for kind in kinds:
        for form, given in (("text", texts), ("json", alerts)):
            if kind not in given and (kind, form) != ("noise", "text"):  # it has none
                findings.add("docs/alerts.md", f"no {form} example of {kind}")
        match, alert = texts.get(kind), alerts.get(kind)
        if match and alert:
            if match["message"] != alert.get("message"):
                findings.add(f"docs/alerts.md: {kind}", "text and message differ")
            if match["severity"].lower() != alert.get("severity"):
                findings.add(f"docs/alerts.md: {kind}", "text and severity differ")
    for kind in set(texts) | set(alerts):
        if kind not in kinds:
            findings.add("docs/alerts.md", f"example of {kind}, which the schema does not have")
    return {kind: alert for kind, alert in alerts.items() if alert}


# The members that every example has whatever was known; the rest may be absent by contract.
REQUIRED = {
    "ready": ["version", "kernel", "hooks", "blocked_threads"],
    "lock-orphaned": ["orphan_id", "process", "exit", "locks", "waiters"],
    "orphan-wait": ["orphan_id", "process", "thread", "lock", "owner", "wait"],
    "orphan-cleared": ["orphan_id", "lock", "how"],
    "lock-suspected": ["orphan_id", "process", "exit", "locks", "waiters", "census", "evidence"],
    "thread-signal": ["signal", "process", "thread"],
    "tid-kill": ["signal", "process", "thread"],
    "noise": ["signal", "count", "interval_s"],
    "loss": ["events", "where"],
    "summary": ["counts", "losses", "run_time_s"],
}
COMMON = [
    "schema", "run", "seq", "id", "time", "ktime_ns", "emitted", "host", "boot_id", "kind",
    "severity", "message",
]  # fmt: skip


def members(value, path=()):
    """Every object member below value, as (path, value)."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield (*path, key), member
            yield from members(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from members(member, (*path, index))


def changed(alert, path, change):
    copied = copy.deepcopy(alert)
    holder = copied
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return copied


# Objects whose member names are data.
OPEN_OBJECTS = {"hooks", "where", "counts", "losses", "figures"}


def mutations(alert):
    """Yields (what was done, a line that the schema must refuse)."""
    for name in COMMON + REQUIRED[alert["kind"]]:
        yield f"without {name}", changed(alert, (name,), lambda holder, key: holder.pop(key))
    yield "with an unknown member", {**alert, "evnts": 1}
    for path, value in members(alert):
        name = ".".join(map(str, path))
        for wrong in (None, [], "", {"x": 1}, 1.5):
            if path[-1] in ("interval_s", "run_time_s") and wrong == 1.5:
                continue
            if path[-1] == "waiters" and wrong == []:
                continue
            if path[-1] in OPEN_OBJECTS and wrong == {"x": 1}:
                continue
            yield (
                f"{name} = {wrong!r}",
                changed(alert, path, lambda holder, key, wrong=wrong: holder.update({key: wrong})),
            )
        if isinstance(value, dict) and path[-1] not in OPEN_OBJECTS:
            yield f"{name}.evnts added", changed(alert, (*path, "evnts"), dict_set)
        if isinstance(value, str) and path[0] != "figures":
            yield (
                f"{name} with a control byte",
                changed(alert, path, lambda holder, key: holder.update({key: holder[key] + "\x1b"})),
            )


def dict_set(holder, key):
    holder[key] = 1


def check_mutations(validator, alerts, findings):
    """A schema that refuses nothing checks nothing. Returns how many mutations were tried."""
    tried = 0
    for kind, alert in alerts.items():
        for what, mutated in mutations(alert):
            tried += 1
            if validator.is_valid(mutated):
                findings.add("docs/alerts.schema.json", f"{kind} {what} is let through")
    return tried


def check_recording(validator, name, findings):
    """Returns how many lines it holds."""
    with sys.stdin if name == "-" else open(name, encoding="utf-8") as recording:
        last = {}
        number = 0
        for number, line in enumerate(recording, 1):
            where = f"{name}:{number}"
            alert = check_line(validator, line, where, findings)
            if not alert or not isinstance(alert.get("seq"), int):
                continue
            run = alert.get("run")
            if alert["seq"] != last.get(run, 0) + 1:
                findings.add(where, f"seq {alert['seq']} after {last.get(run, 0)}")
            last[run] = alert["seq"]
    return number


def main(recordings):
    findings = Findings()
    validator = schema_load("alerts.schema.json")
    kinds = validator.schema["$defs"]["kind"]["enum"]

    check_inspect(validator, findings)
    alerts = check_examples(validator, kinds, findings)
    tried = check_mutations(validator, alerts, findings)
    lines = sum(check_recording(validator, name, findings) for name in recordings)

    print(
        f"contract.py: {len(alerts)} of {len(kinds)} kinds by example, {tried} mutations,"
        f" {lines} recorded lines: {findings.count} findings"
    )
    return 1 if findings.count else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError, jsonschema.SchemaError) as problem:
        print(f"contract.py: {problem}", file=sys.stderr)
        sys.exit(2)
