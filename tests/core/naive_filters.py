"""The filter language a second time, naively, from docs/reference/filter-rules.md: on documents, with exceptions.

Rule: shares nothing with `jqsched.core.filters`, and builds everything each time.
"""

import re
from collections.abc import Iterator
from typing import Any

from jqsched.core.job import Job

RANKS = ["NoneType", "False", "True", "number", "str", "list", "dict"]


class Oops(Exception):
    """An error of the language: the whole predicate is false."""


def matches(rule: dict[str, Any], job: Job) -> bool:
    """Whether all predicates of a rule's document hold."""
    return all(predicate(kind, filter_, job, int(rule["watermark"])) for kind, filter_ in rule["predicates"])


def predicate(kind: str, filter_: Any, job: Job, watermark: int) -> bool:
    if kind == "job":
        known = fields(job)
        # "All fields are looked up first: one unknown field anywhere makes it false."
        return set(fields_in(filter_)) <= known.keys() and is_true(filter_, known, kind)
    if kind == "reason":
        # "Evaluated for each reason entry; true if one entry makes it true."
        return any(is_true(filter_, entry, kind) for entry in reasons(job))
    return is_true(with_watermark(filter_, watermark), {"id": job.id}, kind)


def is_true(filter_: Any, known: dict[str, Any], kind: str) -> bool:
    try:
        return evaluate(filter_, known, kind)
    except Oops:
        return False


def evaluate(filter_: Any, known: dict[str, Any], kind: str) -> bool:
    if filter_ is None:
        return True
    operator, *parts = filter_
    if operator == "&":
        return all(evaluate(part, known, kind) for part in parts)
    if operator == "|":
        return any(evaluate(part, known, kind) for part in parts)
    if operator == "!":
        return not evaluate(parts[0], known, kind)
    if operator == "!=":
        return not evaluate(["=", *parts], known, kind)
    if parts[0] not in known:
        raise Oops
    found = known[parts[0]]
    if operator == "?":
        if not isinstance(found, bool):
            raise Oops
        return found
    wanted = parts[1]
    if operator == "=~":
        if not isinstance(found, str):
            raise Oops
        return re.search(wanted, found) is not None
    if operator == "=[]":
        if not isinstance(found, list) or word(wanted) not in ("str", "int"):
            raise Oops
        if any(word(each) != word(wanted) for each in found):
            raise Oops
        return wanted in found
    if kind == "jobid" and isinstance(wanted, str):
        raise Oops
    left, right = key(found, kind), key(wanted, kind)
    return {
        "=": left == right,
        "==": left == right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


def key(value: Any, kind: str) -> tuple[int, Any]:
    """null < false < true < numbers < strings < arrays < objects; in reasons strings come before numbers."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "reason":
        return (1, value) if number else (0, value)
    name = "number" if number else str(value) if isinstance(value, bool) else type(value).__name__
    return (RANKS.index(name), value if number or isinstance(value, str) else 0)


def word(value: Any) -> str:
    if isinstance(value, float) and value == int(value):
        return "int"
    return type(value).__name__


def with_watermark(filter_: Any, watermark: int) -> Any:
    if isinstance(filter_, list) and filter_[0] in ("&", "|", "!"):
        return [filter_[0], *(with_watermark(part, watermark) for part in filter_[1:])]
    if isinstance(filter_, list) and filter_[-1] == "watermark" and filter_[0] not in ("?", "=~", "=[]"):
        return [*filter_[:-1], watermark]
    return filter_


def fields_in(filter_: Any) -> Iterator[str]:
    if filter_ is None:
        return
    if filter_[0] in ("&", "|", "!"):
        for part in filter_[1:]:
            yield from fields_in(part)
    else:
        yield filter_[1]


def reasons(job: Job) -> list[dict[str, Any]]:
    return [
        {"source": source, "reason": text, "timestamp": job.t_submit_us * 1000 if t_ns is None else t_ns}
        for source, text, t_ns in job.spec.reasons
    ]


def fields(job: Job) -> dict[str, Any]:
    """All fields of a job, by their dotted names."""
    spec = job.spec
    found: dict[str, Any] = {
        "name": spec.name,
        "command": list(spec.command),
        "cwd": spec.cwd,
        "cores": spec.cores,
        "tasks": spec.tasks,
        "nodes": spec.nodes,
        "on_interrupt": spec.on_interrupt.value,
        "userid": job.userid,
    }
    if spec.time_limit_us is not None:
        found["time_limit"] = spec.time_limit_us / 1e6
    if spec.output is not None:
        found["output"] = spec.output
    if spec.error is not None:
        found["error"] = spec.error
    attributes: dict[str, Any] = dict((spec.jobspec or {}).get("attributes", {}))
    system = attributes.get("system", {})
    found |= {name: system[name] for name in ("queue", "project", "bank") if name in system}
    user = {name: value for name, value in attributes.get("user", {}).items() if name != "jqsched"}
    return found | flat("user", user)


def flat(prefix: str, value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if "." not in name:
            found[f"{prefix}.{name}"] = inner
            if isinstance(inner, dict):
                found |= flat(f"{prefix}.{name}", inner)
    return found
