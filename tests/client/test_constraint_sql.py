"""Lists from the store: the same jobs, in the same order, as looking at each job; by index, and of one moment."""

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.adapters.store import codec
from jqsched.adapters.store.query import FINISHED, LIVE, RARE, condition
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import FORMAT_VERSION, TABLES, store_path
from jqsched.adapters.store.writer import PUT_JOB
from jqsched.core.constraint import Budget, Excessive, matches, read_constraint
from jqsched.core.job import Job, JobException, Result, Spec, State
from jqsched.core.view import list_key
from tests.core.constraint_cases import HOSTNAME, TIMES_US, documents, many_jobs

FOREVER = Budget(10**9)


def store(folder: Path, jobs: list[Job]) -> None:
    """Leave a store with these jobs behind; not synced, and made anew each time."""
    path = Path(store_path(folder))
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version={FORMAT_VERSION}; COMMIT")
        connection.execute("BEGIN")
        connection.executemany(PUT_JOB, [codec.summed(codec.job_to_row(job)) for job in jobs])
        connection.execute("COMMIT")


def found(folder: Path, document: object, **how: object) -> list[Job]:
    constraint = read_constraint(document)
    with closing(StoreReader(str(folder))) as reader:
        return list(reader.search(constraint, hostname=HOSTNAME, **{"budget": FOREVER, **how}))


def looked_for(jobs: list[Job], document: object, since_us: int = 0, most: int = -1) -> list[Job]:
    constraint = read_constraint(document)
    chosen = [
        job
        for job in sorted(jobs, key=list_key)
        if matches(constraint, job, FOREVER, HOSTNAME)
        and (job.state is not State.INACTIVE or job.t_inactive_us > since_us)
    ]
    return chosen if most < 0 else chosen[:most]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@given(many_jobs(), documents, st.sampled_from((0, *TIMES_US)), st.integers(-1, 4))
def test_the_store_answers_what_looking_at_each_job_finds(
    folder: Path, jobs: list[Job], document: dict, since_us: int, most: int
):
    store(folder, jobs)
    assert found(folder, document, since_us=since_us, most=most) == looked_for(jobs, document, since_us, most)


@given(documents, many_jobs())
def test_a_condition_that_says_it_is_exact_is(folder: Path, document: dict, jobs: list[Job]):
    """`search` would hide one that is too wide and not exact; this one would not."""
    store(folder, jobs)
    constraint = read_constraint(document)
    with closing(sqlite3.connect(store_path(folder))) as connection:
        for part in (LIVE, FINISHED):
            wanted = condition(constraint, part, HOSTNAME)
            sql = f"SELECT id FROM jobs WHERE {part.where} AND ({wanted.sql}) ORDER BY id"
            ids = {row[0] for row in connection.execute(sql, wanted.values)}
            right = {job.id for job in jobs if job.state & part.states and matches(constraint, job, FOREVER, HOSTNAME)}
            assert ids == right if wanted.exact else ids >= right


def test_every_way_to_end_is_found_by_its_result(folder: Path):
    kinds = (None, "cancel", "timeout", "exec", 'cancel",', "")
    ways = itertools.product((True, False), (None, 0, 256), kinds)
    jobs = [
        job(number, fatal=fatal, status=status, exception=None if kind is None else JobException(kind, 0, "because"))
        for number, (fatal, status, kind) in enumerate(ways, 1)
    ]
    store(folder, jobs)
    for mask in range(16):
        document = {"results": [mask]}
        assert found(folder, document) == looked_for(jobs, document), mask
    assert {job.result for job in jobs} == set(Result)


def job(number: int, name: str = "build", *, ended: bool = True, **more: object) -> Job:
    state = State.INACTIVE if ended else State.SCHED
    return Job(number, Spec(("true",), name, "/"), 0, state=state, t_inactive_us=number if ended else 0, **more)


def plan(folder: Path, document: object, monkeypatch: pytest.MonkeyPatch, **how: object) -> list[str]:
    """How SQLite goes about a search: the details of its query plan, of each query."""
    plans: list[str] = []
    rows = StoreReader._rows

    def explaining(self, sql, arguments=()):
        if sql.startswith("SELECT"):
            plans.extend(row[-1] for row in self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments))
        return rows(self, sql, arguments)

    with monkeypatch.context() as patched:
        patched.setattr(StoreReader, "_rows", explaining)
        found(folder, document, **how)
    return plans


def test_the_newest_of_many_are_found_by_index_without_sorting(folder: Path, monkeypatch: pytest.MonkeyPatch):
    store(folder, [job(number) for number in range(1, 50)])
    for document in ({"states": ["inactive"]}, {"and": [{"userid": [0]}, {"results": ["failed"]}]}):
        steps = plan(folder, document, monkeypatch, most=10)
        assert any("jobs_inactive" in step for step in steps), steps
        assert not any("TEMP B-TREE" in step for step in steps if "jobs_live" not in step), steps


def test_rare_names_are_found_by_name_and_common_ones_by_time(folder: Path, monkeypatch: pytest.MonkeyPatch):
    store(folder, [job(number, "rare" if number % 100 == 0 else "common") for number in range(1, RARE + 100)])
    inactive = {"states": ["inactive"]}
    rare = plan(folder, {"and": [inactive, {"name": ["rare"]}]}, monkeypatch)
    common = plan(folder, {"and": [inactive, {"name": ["common"]}]}, monkeypatch, most=10)
    assert "jobs_by_name" in rare[-2], rare
    assert "jobs_inactive" in common[-1], common


def test_times_of_the_end_are_a_range_of_the_index(folder: Path, monkeypatch: pytest.MonkeyPatch):
    store(folder, [job(number) for number in range(1, 50)])
    for document, bounds in (
        ({"t_inactive": ["<0.00001"]}, "(t_inactive_us<?)"),
        (
            {"and": [{"t_inactive": ["<0.00001"]}, {"t_inactive": [">0.000005"]}]},
            "(t_inactive_us>? AND t_inactive_us<?)",
        ),
    ):
        steps = plan(folder, document, monkeypatch)
        assert any(bounds in step for step in steps), steps


def test_jobs_that_cannot_match_are_not_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch):
    store(folder, [job(1), job(2, ended=False)])
    for document in ({"states": ["inactive"]}, {"results": ["failed"]}, {"not": [{"states": ["active", "new"]}]}):
        assert not any("jobs_live" in step for step in plan(folder, document, monkeypatch))
    assert not any("jobs_inactive" in step for step in plan(folder, {"states": ["pending"]}, monkeypatch))


def test_a_search_that_compares_too_often_ends(folder: Path):
    spec = Spec(("true",), "x", "/", jobspec={"attributes": {"system": {"queue": "batch"}}})
    store(folder, [Job(number, spec, 0, state=State.INACTIVE, t_inactive_us=number) for number in range(1, 10)])
    assert len(found(folder, {"queue": ["batch"]}, budget=Budget(9))) == 9
    with pytest.raises(Excessive):
        found(folder, {"queue": ["other"]}, budget=Budget(8))
    assert len(found(folder, {"queue": ["batch"]}, budget=Budget(2), most=2)) == 2


def test_more_values_than_a_query_takes_are_matched_all_the_same(folder: Path):
    store(folder, [job(number, f"job{number}") for number in range(1, 4)])
    names = [f"job{number}" for number in range(2, 2000)]
    assert [job.id for job in found(folder, {"name": names})] == [3, 2]
    assert [job.id for job in found(folder, {"or": [{"name": [name]} for name in names]})] == [3, 2]
    assert [job.id for job in found(folder, {"not": [{"name": names}]})] == [1]


def test_a_list_is_of_one_moment(folder: Path):
    """A job that ends while the list is read is not in it twice, and not missing."""
    store(folder, [job(1), job(2, ended=False), job(3, ended=False)])
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        with closing(StoreReader(str(folder))) as reader:
            listed = reader.search(read_constraint({}), budget=FOREVER, hostname=HOSTNAME)
            first = next(listed)
            writer.execute("UPDATE jobs SET state = 64, t_inactive_us = 9")
            assert [first.id, *(job.id for job in listed)] == [2, 3, 1]
            again = reader.search(read_constraint({}), budget=FOREVER, hostname=HOSTNAME)
            assert [job.id for job in again] == [3, 2, 1]


def test_a_list_that_is_left_lets_go_of_its_moment(folder: Path):
    store(folder, [job(1), job(2)])
    with closing(StoreReader(str(folder))) as reader:
        listed = reader.search(read_constraint({}), budget=FOREVER, hostname=HOSTNAME)
        next(listed)
        assert reader._connection.in_transaction
        listed.close()
        assert not reader._connection.in_transaction
        left = reader.search(read_constraint({}), budget=FOREVER, hostname=HOSTNAME)
        next(left)
    left.close()
