"""The SQLite store: every value reads back as it was written, and each column holds the field of its name."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched.adapters.store import codec
from jqsched.core.event import Event
from jqsched.core.job import Dependency, Job, JobException, OnInterrupt, Reason, Retries, Spec, State

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
numbers = st.integers(0, 2**63 - 1)
times = st.integers(0, 2**53)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
contexts = st.dictionaries(texts, json_values, max_size=3)
specs = st.builds(
    Spec,
    command=st.lists(texts, min_size=1, max_size=3).map(tuple),
    name=texts,
    cwd=texts,
    env=st.dictionaries(texts, texts, max_size=3).map(lambda env: tuple(sorted(env.items()))),
    cores=numbers,
    tasks=numbers,
    nodes=numbers,
    time_limit_us=st.none() | numbers,
    output=st.none() | texts,
    error=st.none() | texts,
    on_interrupt=st.sampled_from(OnInterrupt),
    retries=st.none()
    | st.builds(
        Retries,
        numbers,
        numbers,
        st.floats(1, 1000),
        numbers,
        st.lists(numbers | texts, max_size=2).map(tuple),
        st.booleans(),
    ),
    reasons=st.lists(st.builds(Reason, texts, texts, st.none() | numbers), max_size=2).map(tuple),
    dependencies=st.lists(
        st.builds(Dependency, texts, st.none() | numbers | texts, st.booleans()),
        max_size=2,
    ).map(tuple),
    jobspec=st.none() | contexts,
)
events = st.builds(Event, numbers, times, texts, contexts, st.none() | specs)
jobs = st.builds(
    Job,
    id=numbers,
    spec=specs,
    userid=numbers,
    state=st.sampled_from(State),
    urgency=numbers,
    urgency_before=numbers,
    pin=st.none() | numbers,
    priority=st.integers(-1, 2**32),
    waits=st.lists(texts, max_size=3).map(tuple),
    attempt=numbers,
    interruptions=numbers,
    requeuing=st.booleans(),
    retried=st.integers(0, 10**6),
    retrying=st.booleans(),
    fatal=st.booleans(),
    exception=st.none() | st.builds(JobException, texts, numbers, texts),
    status=st.none() | numbers,
    **{
        f"t_{what}_us": times
        for what in ("submit", "depend", "priority", "sched", "run", "start", "cleanup", "inactive")
    },
)


def through_sqlite(row: codec.Row) -> codec.Row:
    """What SQLite makes of the values of a row."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute(f"SELECT {','.join('?' * len(row))}", row).fetchone()


@given(specs)
def test_a_spec_reads_back_as_it_was_written(spec: Spec):
    """Every field, and its type with it."""
    back = codec.spec_from_json(codec.spec_to_json(spec))
    assert repr(back) == repr(spec)


def test_reasons_without_a_time_stand_as_they_always_did():
    """Pairs; so rows of before reasons had times still load, and new ones without times look the same."""
    spec = Spec(("x",), "x", "/", reasons=(Reason("me", "why"), Reason("me", "when", 5)))
    written = codec.spec_to_json(spec)
    assert '"reasons":[["me","why"],["me","when",5]]' in written
    assert codec.spec_from_json(written) == spec


@given(numbers, events)
def test_an_event_reads_back_as_it_was_written(seq: int, event: Event):
    """Through the database, with its seq."""
    back = codec.event_from_row(through_sqlite(codec.event_to_row(seq, event)))
    assert repr(back) == repr((seq, event))


@given(jobs)
def test_a_job_reads_back_as_it_was_written(job: Job):
    """Through the database; every column has its field."""
    row = codec.job_to_row(job)
    assert len(row) == len(codec.JOB_COLUMNS)
    assert repr(codec.job_from_row(through_sqlite(row))) == repr(job)


@pytest.mark.parametrize("field", [name for name in codec.JOB_COLUMNS if name not in ("name", "spec")])
def test_each_column_holds_the_field_of_its_name(field: str):
    """So that SQL over the job table means what it says."""
    job = Job(1, Spec(("true",), "n", "/"), 7)
    other: Any = {"state": State.RUN, "waits": ("x",), "exception": JobException("a", 0, "b"), "requeuing": True}
    changed = evolve(job, **{field: other.get(field, True if field == "fatal" else 55)})
    before, after = codec.job_to_row(job), codec.job_to_row(changed)
    assert [name for name, a, b in zip(codec.JOB_COLUMNS, before, after, strict=True) if a != b] == [field]
