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
    import fastjsonschema
    import jsonschema
except ImportError as error:
    sys.exit(f"contract.py: install the packages python3-jsonschema, python3-fastjsonschema: {error}")

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


class Findings:
    """What does not agree; each is printed when it is found."""

    def __init__(self):
        self.count = 0

    def add(self, where, what):
        self.count += 1
        print(f"contract.py: {where}: {what}", file=sys.stderr)


def without_duplicates(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = {key for key in keys if keys.count(key) > 1}
        raise ValueError(f"member given twice: {', '.join(sorted(twice))}")
    return members


def no_constant(name):
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=without_duplicates, parse_constant=no_constant)


def parse(line):
    return DECODER.decode(line)


# What translated() knows how to say in draft 7, or leaves as it is.
KEYWORDS = {
    "$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "dependentRequired",
    "description", "else", "enum", "if", "items", "maxItems", "maximum", "minItems", "minProperties",
    "minimum", "not", "pattern", "properties", "propertyNames", "required", "then", "type",
    "uniqueItems",
}  # fmt: skip


def translated(schema):
    """A schema of draft 2020-12 in the words of draft 7, which fastjsonschema compiles. It passes
    over keywords that it does not know: so none may be left."""
    if not isinstance(schema, dict):
        return schema
    unknown = set(schema) - KEYWORDS
    if unknown:
        raise ValueError(f"contract.py can't compile {', '.join(sorted(unknown))}")
    said = {}
    for word, value in schema.items():
        if word in ("properties", "$defs"):
            said[word] = {name: translated(member) for name, member in value.items()}
        elif word in ("allOf", "anyOf"):
            said[word] = [translated(member) for member in value]
        elif word in ("if", "then", "else", "not", "items", "additionalProperties",
                      "propertyNames"):
            said[word] = translated(value)
        elif word == "dependentRequired":
            said["dependencies"] = value
        elif word != "description":
            said[word] = value
    if "$ref" in said and len(said) > 1:  # draft 7 passes over its neighbours
        reference = {"$ref": said.pop("$ref")}
        said["allOf"] = [reference, *said.get("allOf", [])]
    return said


def schema_of_kind(schema, kind):
    """What the schema says of lines of one kind, without its outermost choice by kind, and with
    unevaluatedProperties resolved by that."""
    (own,) = (
        choice["then"]
        for choice in schema["allOf"]
        if choice["if"] == {"properties": {"kind": {"const": kind}}} and set(choice) == {"if", "then"}
    )
    common = {word: schema[word] for word in ("type", "required", "properties")}
    assert set(schema) - set(common) - {"$schema", "$id", "title", "description"} == {
        "allOf", "unevaluatedProperties", "$defs"
    } and schema["unevaluatedProperties"] is False  # fmt: skip
    names = {*common["properties"], *own["properties"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$defs": translated({"$defs": schema["$defs"]})["$defs"],
        **translated(common | {"properties": dict.fromkeys(names, True) | common["properties"]}),
        "additionalProperties": False,
        "allOf": [translated(own)],
    }


class Contract:
    """Holds lines against the schema, some 10,000 a second: the schema of each kind is compiled when
    its first line comes. What is wrong with a line is said by jsonschema, which knows the whole of
    the draft; that both refuse the same is checked on every mutation below."""

    def __init__(self):
        self.schema = json.loads((DOCS / "alerts.schema.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(self.schema)
        self.validator = jsonschema.Draft202012Validator(self.schema)
        self.kinds = self.schema["$defs"]["kind"]["enum"]
        self.compiled = {}

    def agrees(self, alert):
        """Is it by the schema? As fast as it can be told."""
        kind = alert.get("kind") if isinstance(alert, dict) else None
        if not isinstance(kind, str) or kind not in self.kinds:
            return False
        if kind not in self.compiled:
            self.compiled[kind] = fastjsonschema.compile(schema_of_kind(self.schema, kind))
        try:
            self.compiled[kind](alert)
        except fastjsonschema.JsonSchemaException:
            return False
        return True

    def wrong(self, alert):
        """Yields all that is wrong with an alert: by the schema, else by what it cannot say."""
        if self.agrees(alert):
            yield from check_sense(alert)
            return
        errors = [f"{e.json_path}: {e.message}" for e in self.validator.iter_errors(alert)]
        yield from errors or ["refused by the compiled schema alone: contract.py is wrong"]


def check_sense(alert):
    """What a schema cannot say, of an alert that is by the schema. Yields what is wrong."""
    if alert["emitted"] < alert["time"]:  # the same format, so they compare as strings
        yield "emitted before it happened"
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


def find_objects(value, name):
    if isinstance(value, dict):
        for key, member in value.items():
            if key == name:
                yield member
            yield from find_objects(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from find_objects(member, name)


class InspectContract:
    """The same for the lines of `deadhold inspect`, which are few."""

    def __init__(self):
        self.schema = json.loads((DOCS / "inspect.schema.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(self.schema)
        self.validator = jsonschema.Draft202012Validator(self.schema)

    def wrong(self, line):
        errors = [f"{e.json_path}: {e.message}" for e in self.validator.iter_errors(line)]
        yield from errors or check_inspect_sense(line)


def check_inspect_sense(line):
    """What a schema cannot say, of an inspection that is by the schema."""
    waiting = {}
    for thread in line["threads"]:
        if "lock" in thread.get("wait", {}):
            waiting.setdefault(thread["wait"]["lock"], []).append(thread["tid"])
    for lock in line["locks"]:
        if lock["waiters"] != waiting.pop(lock["address"], []):
            yield f"the waiters of {lock['address']} are not those that wait for it"
        if not lock["waiters"] and lock["proof"] == "waiter":
            yield f"nobody waits for {lock['address']}, which is known by its waiters"
    if waiting:
        yield f"threads wait for locks that are not there: {waiting}"
    tids = [thread["tid"] for thread in line["threads"]]
    for tid in [tid for cycle in line["cycles"] for tid in cycle]:
        if tid not in tids:
            yield f"{tid} of a cycle is no thread"
    if not line["message"].startswith(f"{line['process']['comm']}[{line['process']['pid']}]: "):
        yield "the message does not begin with the process"


INSPECT = InspectContract()


def check_line(contract, line, where, findings):
    """Returns the alert, or None where the line is no alert at all."""
    try:
        alert = parse(line)
    except ValueError as error:
        findings.add(where, f"no JSON: {error}")
        return None
    inspected = isinstance(alert, dict) and alert.get("schema") == "deadhold.inspect/1"
    for wrong in (INSPECT if inspected else contract).wrong(alert):
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
        if own != definition and name not in ("census", "lock", "owner", "thread", "wait"):
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


def check_examples(contract, findings):
    """Returns the JSON examples by kind."""
    kinds = contract.kinds
    texts, alerts = {}, {}
    for found in EXAMPLE.finditer((DOCS / "alerts.md").read_text(encoding="utf-8")):
        kind, form, body = found["kind"], found["form"], found["body"]
        where = f"docs/alerts.md: {kind} {form}"
        if kind in (texts if form == "text" else alerts):
            findings.add(where, "given twice")
        if form == "text":
            texts[kind] = check_text(body, kind, where, findings)
            continue
        alerts[kind] = check_line(contract, body, where, findings)
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
    "ready": ["version", "kernel", "hooks", "uprobes", "blocked_threads"],
    "lock-orphaned": ["orphan_id", "process", "exit", "locks", "waiters"],
    "orphan-wait": ["orphan_id", "process", "thread", "lock", "owner", "wait"],
    "orphan-cleared": ["orphan_id", "lock", "how"],
    "lock-suspected": ["orphan_id", "process", "exit", "locks", "waiters", "evidence"],
    "thread-killed": ["process", "thread", "exit", "locks_found"],
    "thread-signal": ["signal", "process", "thread"],
    "tid-kill": ["signal", "process", "thread"],
    "thread-cancel": ["sender", "process", "ident"],
    "async-exception": ["sender", "process", "ident"],
    "incident": [
        "incident_id", "revision", "state", "headline", "process", "dead", "dead_count", "locks",
        "locks_count", "victims", "chain",
    ],
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
            if path[-1] in ("interval_s", "run_time_s", "seconds") and wrong == 1.5:
                continue
            if path[-1] in ("waiters", "chain", "sample") and wrong == []:
                continue
            if alert["kind"] == "incident" and path[-1] == "locks" and wrong == []:
                continue  # a signal ended the process
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


def check_mutations(contract, alerts, findings):
    """A schema that refuses nothing checks nothing. Returns how many mutations were tried."""
    tried = 0
    for kind, alert in alerts.items():
        for what, mutated in mutations(alert):
            tried += 1
            if contract.validator.is_valid(mutated):
                findings.add("docs/alerts.schema.json", f"{kind} {what} is let through")
            if contract.agrees(mutated):
                findings.add("docs/alerts.schema.json, compiled", f"{kind} {what} is let through")
        # What may be absent, and beside what: both must say the same.
        for path, _ in members(alert):
            tried += 1
            mutated = changed(alert, path, lambda holder, key: holder.pop(key))
            if contract.agrees(mutated) != contract.validator.is_valid(mutated):
                name = ".".join(map(str, path))
                findings.add("docs/alerts.schema.json, compiled", f"differs {kind} without {name}")
    return tried


def check_recording(contract, name, findings):
    """Returns how many lines it holds."""
    with sys.stdin if name == "-" else open(name, encoding="utf-8") as recording:
        last = {}
        number = 0
        for number, line in enumerate(recording, 1):
            where = f"{name}:{number}"
            alert = check_line(contract, line, where, findings)
            if not alert or not isinstance(alert.get("seq"), int):
                continue
            run = alert.get("run")
            if alert["seq"] != last.get(run, 0) + 1:
                findings.add(where, f"seq {alert['seq']} after {last.get(run, 0)}")
            last[run] = alert["seq"]
    return number


def main(recordings):
    findings = Findings()
    contract = Contract()
    check_inspect(contract, findings)
    alerts = check_examples(contract, findings)
    tried = check_mutations(contract, alerts, findings)
    lines = sum(check_recording(contract, name, findings) for name in recordings)

    print(
        f"contract.py: {len(alerts)} of {len(contract.kinds)} kinds by example, {tried} mutations,"
        f" {lines} recorded lines: {findings.count} findings"
    )
    return 1 if findings.count else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError, jsonschema.SchemaError) as problem:
        print(f"contract.py: {problem}", file=sys.stderr)
        sys.exit(2)
