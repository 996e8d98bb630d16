"""Hypothesis strategies for jobs, job files, rules and queues, and for what happens to them.

Rule: small numbers on purpose: three names, ids that are near, urgencies that matter, so that jobs meet one another.
A test that needs the whole range of a field passes a strategy for it. With this package installed, `@given(queue=...)`
with an annotation and `from_type` know these types (`jqsched.testing.hypothesis_plugin`).
"""

import json
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from jqsched.core import queue as queue_module
from jqsched.core.event import Event, advance
from jqsched.core.filters import BadRule, Rule, in_order, read_rule
from jqsched.core.job import PRIORITY_MAX, Dependency, Draft, Job, OnInterrupt, Reason, Retries, Spec
from jqsched.core.jobspec.keys import BY_NAME, KEYS
from jqsched.core.json import Json
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.testing.scenario import NAMES, RETRIES, START_US, History, Story

names: SearchStrategy[str] = st.sampled_from(NAMES)
urgencies: SearchStrategy[int] = st.sampled_from((16, 16, 16, 16, 15, 17, 0, 31)) | st.integers(0, 31)
pins: SearchStrategy[int | None] = st.none() | st.none() | st.sampled_from((0, 1, 16, 17, PRIORITY_MAX))
few_cores: SearchStrategy[int] = st.sampled_from((1, 1, 1, 1, 1, 1, 2, 2, 3, 9))
some_retries: SearchStrategy[Retries | None] = st.sampled_from(RETRIES)
begin_times_us: SearchStrategy[int] = st.integers(-10, 100).map(lambda later_us: START_US + later_us)
rate_limits: SearchStrategy[tuple[Reason, ...]] = st.sampled_from(
    ((), (), (Reason("", "rate-limit:1:x"),), (Reason("", "rate-limit:2:x"), Reason("me", "rate-limit:1:y")))
)
schemes: SearchStrategy[str] = st.sampled_from(("afterok", "afterany", "afternotok", "after"))


def dependencies(
    ids: SearchStrategy[int] | None = None, times_us: SearchStrategy[int] = begin_times_us
) -> SearchStrategy[Dependency]:
    """Dependencies by id, by name (also on the next of it only), on a begin time, and singleton."""
    return st.one_of(
        st.builds(Dependency, schemes, ids if ids is not None else st.integers(1, 8)),
        st.builds(Dependency, schemes, names, st.booleans()),
        st.builds(Dependency, st.just("begin-time"), times_us),
        st.just(Dependency("singleton")),
    )


@st.composite
def specs(
    draw: DrawFn,
    *,
    name: SearchStrategy[str] = names,
    cores: SearchStrategy[int] = few_cores,
    depends_on: SearchStrategy[Dependency] | None = None,
    dependencies_max: int = 2,
    reasons: SearchStrategy[tuple[Reason, ...]] | None = None,
    retries: SearchStrategy[Retries | None] = some_retries,
) -> Spec:
    """What a job is to run: few cores, most often no dependency, at least or at most once, with or without a limit; no
    reasons unless they are asked for (`rate_limits`).
    """
    on = depends_on if depends_on is not None else dependencies()
    return Spec(
        command=("true",),
        name=draw(name),
        cwd="/",
        cores=draw(cores),
        time_limit_us=draw(st.sampled_from((None, 1_000_000, 5_000_000))),
        on_interrupt=draw(st.sampled_from(OnInterrupt)),
        retries=draw(retries),
        reasons=draw(reasons) if reasons is not None else (),
        dependencies=tuple(draw(st.lists(on, max_size=dependencies_max))),
    )


def drafts(spec: SearchStrategy[Spec] | None = None) -> SearchStrategy[Draft]:
    """Job files: a spec, an urgency, and perhaps a pinned priority."""
    return st.builds(Draft, spec if spec is not None else specs(), urgencies, pins)


# ---- what happens to them -----------------------------------------------------------------------------------------


@st.composite
def histories(draw: DrawFn, max_moves: int = 40) -> History:
    """The events of a queue to which anything happened, with the queue that they lead to."""
    return Story(lambda below: draw(st.integers(0, below - 1))).tell(draw(st.integers(0, max_moves)))


@st.composite
def events(draw: DrawFn, max_moves: int = 20) -> Event:
    """An event of some history."""
    history = draw(histories(max_moves))
    assume(history.events)
    return draw(st.sampled_from(history.events))


@st.composite
def jobs(draw: DrawFn, max_moves: int = 20) -> Job:
    """A job in any state that events lead to, finished ones too; all its fields are what these events say."""
    told = draw(histories(max_moves)).events
    assume(told)
    last = draw(st.integers(0, len(told) - 1))
    mine = [event for event in told[: last + 1] if event.jobid == told[last].jobid]
    job = reduce(advance, mine, None)
    assert job is not None, "no history takes a submit back"
    return job


@st.composite
def queues(draw: DrawFn, max_moves: int = 30, rules_max: int = 2) -> Queue:
    """A queue that a history leads to: as it is, or as a restart finds it; perhaps with a claimed job, and rules."""
    queue = draw(histories(max_moves)).queue
    if draw(st.booleans()):
        live = list(queue_module.live(queue))
        queue = queue_module.load(live, seq=queue.seq, last_us=queue.last_us, last_id=queue.last_id)
    if draw(st.booleans()) and (queue.enqueued or queue.running):
        id_ = draw(st.sampled_from(sorted((*queue.enqueued, *queue.running))))
        claimed = queue_module.claim(queue, id_)
        queue = claimed[0] if claimed is not None else queue
    rules = draw(st.lists(filter_rules(), max_size=rules_max, unique_by=lambda rule: rule.uuid))
    return queue_module.set_rules(queue, in_order(rules)) if rules else queue


def limits() -> SearchStrategy[Limits]:
    """Few slots, few cores, a few permits ahead."""
    return st.builds(Limits, st.integers(0, 3), st.integers(1, 4), st.integers(0, 2), st.integers(1, 3))


# ---- filter rules -------------------------------------------------------------------------------------------------

_TESTS: SearchStrategy[list[Json]] = st.one_of(
    st.builds(lambda name: ["job", ["=", "name", name]], names),
    st.builds(lambda op, cores: ["job", [op, "cores", cores]], st.sampled_from(("<", ">=", "=")), st.integers(1, 3)),
    st.builds(lambda op, name: ["job", [op, ["=", "name", name], ["?", "time_limit"]]], st.sampled_from("&|"), names),
    st.builds(lambda name: ["job", ["!", ["=~", "name", f"^{name}"]]], names),
    st.builds(lambda op, id_: ["jobid", [op, "id", id_]], st.sampled_from(("<=", ">")), st.integers(1, 8)),
    st.builds(lambda op: ["jobid", [op, "id", "watermark"]], st.sampled_from(("<=", ">"))),
    st.builds(lambda text: ["reason", ["=~", "reason", text]], st.sampled_from(("rate", "x$", "."))),
)
_ACTIONS: SearchStrategy[Json] = st.sampled_from(
    ("ACCEPT", "CONTINUE", "PAUSE", "PAUSE", "REJECT", ["RATE_LIMIT", 1], ["RATE_LIMIT", 1], ["RATE_LIMIT", 2])
)


@st.composite
def rule_documents(draw: DrawFn) -> dict[str, Json]:
    """The document of a filter rule that often matches: on name, cores, id, watermark or reasons."""
    return {
        "uuid": draw(st.sampled_from(("r1", "r2", "r3", "r4"))),
        "watermark": draw(st.integers(0, 8)),
        "priority": draw(st.integers(0, 2)),
        "predicates": list(draw(st.lists(_TESTS, max_size=2))),
        "action": draw(_ACTIONS),
    }


def filter_rules() -> SearchStrategy[Rule]:
    """Filter rules, as they are read from such documents."""
    return rule_documents().map(_rule)


def _rule(document: dict[str, Json]) -> Rule:
    rule = read_rule(document)
    assert not isinstance(rule, BadRule), rule
    return rule


# ---- job files ----------------------------------------------------------------------------------------------------


class JobFile(NamedTuple):
    """A job file: the name under which it is dropped, and what is in it."""

    name: str
    text: str


# Each key with its examples, or with more than these can show.
_KEYS: dict[str, SearchStrategy[Json]] = {key.name: st.sampled_from(key.examples) for key in KEYS} | {
    "urgency": st.integers(0, 31),
    "priority": st.integers(0, PRIORITY_MAX),
    "after": st.lists(st.integers(1, 8) | names, min_size=1, max_size=2),
    "env": st.dictionaries(st.sampled_from(("A", "B")), st.sampled_from(("", "1", "ü")), min_size=1),
}
_PROGRAMS = ("command", "script")
_WRONG: tuple[dict[str, Json], ...] = (
    *({key.name: value} for key in KEYS for value in key.wrong if key.name not in _PROGRAMS),
    *({"command": value} for value in BY_NAME["command"].wrong),
    {"command": ["true"], "script": "true"},
    {"comand": ["true"]},
)
_TORN: tuple[Callable[[str], str], ...] = (
    lambda text: text[: len(text) // 2].rpartition(":")[0] + ': "',
    lambda text: text + "}",
    lambda text: text.replace("c", "\0", 1),
    lambda _: "",
)


@st.composite
def job_files(draw: DrawFn, *, broken: bool = False, toml: bool = True) -> JobFile:
    """Job files in their short form, in JSON or TOML; `broken`: with one thing in them that makes them none."""
    program = draw(st.sampled_from(_PROGRAMS))
    more = [program, *draw(st.lists(st.sampled_from(sorted({*_KEYS} - {*_PROGRAMS})), unique=True, max_size=4))]
    if "args" in more:  # of a script only
        more = ["script", *more[1:]]
    keys = {key: draw(_KEYS[key]) for key in more}
    wrong = draw(st.sampled_from((*_WRONG, None))) if broken else {}
    suffix = draw(st.sampled_from((".json", ".toml"))) if toml else ".json"
    text = (_toml if suffix == ".toml" else json.dumps)({**keys, **(wrong or {})})
    if wrong is None:
        text = draw(st.sampled_from(_TORN))(text)
        assume(suffix == ".json")  # most of what is torn is TOML still
    return JobFile(f"{draw(st.integers(1, 9))}{suffix}", text)


def _toml(keys: dict[str, Json]) -> str:
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in keys.items())


def _toml_value(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value)
