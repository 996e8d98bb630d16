"""The conformance cases: queues, rules and the answers of Ganeti's own scheduler, as values of ours.

Rule: converts values and decides nothing. Ganeti's priorities are small first, so they are negated; its opcode's fields
position in a jobspec under `attributes.user`, so its predicate `opcode` on F is ours of kind `job` on `user.F`.
JQSCHED_CONFORMANCE_CASES names another file of cases, gzip or plain; each line is one case.
"""

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from jqsched.core.filters import Rule, read_rule
from jqsched.core.job import Job, Reason, Scheme, Spec, State, describe

SHIPPED = Path(__file__).parents[1] / "data" / "ganeti-cases.jsonl.gz"
KINDS = (
    "queue",
    "queue+filters",
    "big queue+filters",
    "filter language",
    "ad-hoc rate limits",
    "dependencies",
)
PRIORITY_OFFSET = 100  # Ganeti's priorities are -20 to 19; ours start above 0, for 0 holds
START_US = 1_000_000
_SPEC = Spec(command=("true",), name="true", cwd="/")


@frozen
class Case:
    """One case: the rules as a set, the jobs of the three lists in their order, and the answers as they are there."""

    number: int
    kind: str
    max_running: int
    rules: tuple[Rule, ...]
    enqueued: tuple[Job, ...]
    running: tuple[Job, ...]
    manipulated: tuple[Job, ...]
    answer: dict[str, Any]

    @property
    def jobs(self) -> tuple[Job, ...]:
        return self.enqueued + self.running + self.manipulated


def cases(kind: str) -> Iterator[Case]:
    """The cases of one kind, in the order of the file."""
    return (_case(document) for document in documents() if document["kind"] == kind)


@cache
def documents() -> tuple[dict[str, Any], ...]:
    data = Path(os.environ.get("JQSCHED_CONFORMANCE_CASES") or SHIPPED).read_bytes()
    text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    return tuple(json.loads(line) for line in text.splitlines())


def _case(document: dict[str, Any]) -> Case:
    queue = document["queue"]
    started = _started([*queue["running"], *queue["manipulated"]])
    return Case(
        number=document["case"],
        kind=document["kind"],
        max_running=document["max_running"],
        rules=tuple(_rule(rule) for rule in document["rules"]),
        enqueued=tuple(_enqueued(job) for job in queue["enqueued"]),
        running=started[: len(queue["running"])],
        manipulated=started[len(queue["running"]) :],
        answer=document["answer"],
    )


def _job(entry: dict[str, Any]) -> Job:
    jobspec = {"version": 1, "attributes": {"system": {}, "user": entry["fields"]}}
    reasons = tuple(Reason(*reason) for reason in entry.get("reason", ()))
    return Job(
        id=entry["id"],
        spec=evolve(_SPEC, jobspec=jobspec, reasons=reasons),
        userid=0,
        state=State.SCHED,
        pin=PRIORITY_OFFSET - entry["priority"],
        priority=PRIORITY_OFFSET - entry["priority"],
        t_submit_us=START_US + entry["id"],
    )


def _enqueued(entry: dict[str, Any]) -> Job:
    waits = tuple(describe(Scheme.AFTERANY, id_) for id_ in entry.get("depends", ()))
    return evolve(_job(entry), waits=waits, state=State.DEPEND) if waits else _job(entry)


def _started(entries: Sequence[dict[str, Any]]) -> tuple[Job, ...]:
    """Jobs that run, or are manipulated and came from there: in the order in which they started."""
    return tuple(
        evolve(_job(entry), state=State.RUN, t_run_us=2 * START_US + place, t_start_us=2 * START_US + place)
        for place, entry in enumerate(entries)
    )


def _rule(document: dict[str, Any]) -> Rule:
    rule = read_rule({**document, "predicates": [_predicate(*predicate) for predicate in document["predicates"]]})
    assert isinstance(rule, Rule), rule
    return rule


def _predicate(kind: str, filter_: Any) -> list[Any]:
    return ["job", _under_user(filter_)] if kind == "opcode" else [kind, filter_]


def _under_user(filter_: Any) -> Any:
    if filter_ is None:
        return None
    operator, *parts = filter_
    if operator in ("&", "|", "!"):
        return [operator, *map(_under_user, parts)]
    return [operator, f"user.{parts[0]}", *parts[1:]]
