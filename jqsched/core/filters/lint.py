"""Lint for rules: find fields that no job can have, and tests that can never hold.

Rule: the language allows these (an unknown field makes its predicate false, as in Ganeti), so only the command that
makes a rule refuses them, with a suggestion; a stored rule with one stays valid.
"""

from collections.abc import Iterable, Mapping

from jqsched.core.filters.documents import near
from jqsched.core.filters.predicates import (
    REASON_FIELDS,
    WATERMARK,
    Compare,
    Contains,
    Kind,
    Leaf,
    Search,
    Truth,
    leaves,
)
from jqsched.core.filters.rule import Rule
from jqsched.core.filters.subject import ALWAYS, OURS, SOMETIMES, USER, getter
from jqsched.core.jobspec.key import Seen
from jqsched.core.jobspec.keys import OF_SPEC
from jqsched.core.jobspec.values import show

_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.JOBID: ("id",),
    Kind.REASON: REASON_FIELDS,
    Kind.JOB: (*ALWAYS, *SOMETIMES, f"{USER}X"),
}
_SHAPES = {
    **dict.fromkeys(("id", "tasks", "nodes", "userid", "timestamp"), "a number"),
    **dict.fromkeys(("source", "reason"), "a string"),
    **{key.name: key.shape for key in OF_SPEC if key.seen is not Seen.NEVER},
}
_NEEDS: Mapping[type, str] = {Truth: "a boolean", Search: "a string", Contains: "a list"}


def doubtful_fields(rule: Rule) -> tuple[str, ...]:
    """Say which tests of a rule no job could ever fulfil, each with the predicate it stands in and a suggestion."""
    doubts: dict[str, None] = {}  # each once, in order
    for index, predicate in enumerate(rule.predicates):
        for leaf in leaves(predicate.filter):
            doubts |= dict.fromkeys(f"predicates[{index}]: {doubt}" for doubt in _doubts(predicate.kind, leaf))
    return tuple(doubts)


def _doubts(kind: Kind, leaf: Leaf) -> Iterable[str]:
    known = _FIELDS[kind]
    if leaf.field not in known and (kind is not Kind.JOB or getter(leaf.field) is None):
        yield f"{_no_field(kind, leaf.field)} (known: {' '.join(known)})"
        return
    shape = _SHAPES.get(leaf.field, "")
    needed = _NEEDS.get(type(leaf), "")
    if shape and not shape.startswith(needed):
        sign = {Truth: "?", Search: "=~", Contains: "=[]"}[type(leaf)]
        yield f"{leaf.field} is {shape}, and {sign} needs {needed}: it never holds"
    elif kind is Kind.JOBID and isinstance(leaf, Compare) and isinstance(leaf.value, str) and leaf.value != WATERMARK:
        yield f"id is compared with {show(leaf.value)}: only a number or {WATERMARK} can hold"


def _no_field(kind: Kind, name: str) -> str:
    thing = {Kind.JOBID: "jobid predicate", Kind.REASON: "reason", Kind.JOB: "job"}[kind]
    if name == "text" and kind is Kind.REASON:
        return "no reason has the field 'text'; did you mean reason?"
    if kind is Kind.JOB and name in ("env", "environment"):
        return "the environment is not shown to rules: there may be secrets in it"
    if kind is Kind.JOB and name.startswith(f"{USER}{OURS}."):
        return f"{show(name)} is not shown to rules{near(name.rpartition('.')[2], _FIELDS[kind])}"
    for other, fields in _FIELDS.items():
        if other is not kind and name in fields:
            return f"no {thing} has the field {show(name)}: it is one of {other.value} predicates"
    return f"no {thing} has the field {show(name)}{near(name, _FIELDS[kind])}"
