"""Arrays on the command line: which jobs `42` and `42_[1-5]` are, and an array as one line of a list.

In: a reader of the store, ids and jobs. Out: ids; groups of jobs that a list shows in one line.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli.failure import NO_JOB, Failure, tell
from jqsched.cli.target import Place, reading
from jqsched.core.job import Job, Result, State
from jqsched.core.jobspec.arrays import read_indexes, write_indexes
from jqsched.ports import ArrayRow

_INDEXES_SHOWN = 12  # characters of them in a list


def elements_at(array: ArrayRow, ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the ids of the elements with these indexes. Raises Failure where there is none."""
    at = enumerate(read_indexes(array.indexes), array.id)
    ids = [id_ for id_, index in at if any(first <= index <= last for first, last in ranges)]
    if not ids:
        raise Failure(f"array {array.id} has no such element: its indexes are {_short(array.indexes)}", NO_JOB)
    return ids


def all_of(where: Place, id_: int) -> list[int]:
    """Return the ids of the elements of an array; of any other job its own."""
    with reading(where) as reader:
        array = reader.array(id_)
    return [id_] if array is None else list(range(id_, id_ + array.count))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def one_of(reader: StoreReader, array: ArrayRow) -> int:
    """Choose the element that a command about one job shows, and say which: one that failed, else one that runs, else
    the first that is not over.
    """
    jobs = list(reader.between(array.id, array.id + array.count - 1))
    if not jobs:
        return array.id
    failed = (job for job in jobs if job.result in (Result.FAILED, Result.TIMEOUT))
    running = (job for job in jobs if State.RUN <= job.state < State.INACTIVE)
    waiting = (job for job in jobs if job.state is not State.INACTIVE)
    kinds: tuple[tuple[str, Iterable[Job]], ...] = (
        ("the first that failed", failed),
        ("the first that runs", running),
        ("the first that waits", waiting),
        ("the first", jobs),
    )
    for what, those in kinds:
        job = next(iter(those), None)
        if job is not None:
            tell(f"{array.id} is an array of {array.count} jobs; this is {what}, {name_of(job)} (job {job.id})")
            return job.id
    raise AssertionError("there is a first one")


def name_of(job: Job) -> str:
    """Write how an element is named: `42_7`; another job's id."""
    element = job.spec.element
    return f"{element.array.id}_{element.index}" if element is not None else str(job.id)


# ---- lists --------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """Jobs that a list shows in one line; `id` is what stands there as their id."""

    id: str
    jobs: Sequence[Job]


def grouped(jobs: Iterable[Job], status: Callable[[Job], str]) -> list[Group]:
    """Put the elements of an array together that have the same status and do not run; where the first of them was."""
    together: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        runs = State.RUN <= job.state < State.INACTIVE
        element = job.spec.element
        key = (job.id, "") if element is None or runs else (element.array.id, status(job))
        together.setdefault(key, []).append(job)
    return [Group(_id_of(members), members) for members in together.values()]


def _id_of(jobs: Sequence[Job]) -> str:
    element = jobs[0].spec.element
    if element is None or len(jobs) == 1:
        return name_of(jobs[0])
    indexes = sorted(job.spec.element.index for job in jobs if job.spec.element is not None)
    return f"{element.array.id}_[{_ranges(indexes)}]"


def _ranges(indexes: Sequence[int]) -> str:
    """Write ascending indexes as ranges, cut short where they are many."""
    evenly = write_indexes(indexes)
    if len(evenly) <= _INDEXES_SHOWN:
        return evenly
    runs = [[index for _, index in run] for _, run in groupby(enumerate(indexes), lambda pair: pair[1] - pair[0])]
    words = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ",".join(words) if len(words) <= 4 else ",".join([*words[:3], "…"])
