"""The start times that an independent, published simulator of EASY gave for 400 workloads are the scheduler's, too.

A case is `{procs, jobs: [[submit_s, cores, limit_s, run_s]…], easy: [start_s…], fcfs: [start_s…]}`. Jobs come first,
are served first; no two submissions or ends fall on one time. JQSCHED_EASY_CASES names another file of such cases.
"""

import gzip
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from jqsched.core import backfill
from jqsched.core.job import Draft, Spec
from jqsched.core.policy import Backfill, Limits
from jqsched.testing.runtimes import Run
from jqsched.testing.simulation import Simulation
from jqsched.testing.simulation_ports import Arrival

CASES = Path(os.environ.get("JQSCHED_EASY_CASES") or Path(__file__).parents[1] / "data" / "easy-cases.jsonl.gz")
S = 1_000_000
PARTS = 8  # so many tests, for as many workers

Case = dict[str, Any]


@cache
def cases() -> tuple[Case, ...]:
    """All cases of the file."""
    with (gzip.open if CASES.suffix == ".gz" else open)(CASES, "rt", encoding="utf-8") as lines:
        return tuple(json.loads(line) for line in lines)


def arrivals(case: Case) -> Iterator[Arrival]:
    """The case's jobs as they come."""
    for nth, (submit_s, cores, limit_s, run_s) in enumerate(case["jobs"], 1):
        spec = Spec(("true",), f"job {nth}", "/", cores=cores, time_limit_us=limit_s * S)
        yield Arrival(submit_s * S, f"job {nth}", Draft(spec), Run(run_s * S, 0))


def starts(case: Case, easy: Backfill | None) -> list[int]:
    """When each job starts, in seconds."""
    limits = Limits(case["procs"], case["procs"], backfill=easy)
    simulation = Simulation(limits, arrivals(case), lambda *_: Run(0, 0))
    simulation.run()
    begin_us = [simulation.table.begin_us[row] for row in range(len(simulation.table))]
    assert all(us % S == 0 for us in begin_us)
    return [us // S for us in begin_us]


def wrong(part: int, easy: Backfill | None) -> list[int]:
    """The numbers of the cases of a part in which a start time differs."""
    key = "easy" if easy is not None else "fcfs"
    return [nth for nth, case in enumerate(cases()) if nth % PARTS == part and starts(case, easy) != case[key]]


def test_there_are_cases() -> None:
    """An empty file would show nothing."""
    assert len(cases()) >= PARTS
    assert any(case["easy"] != case["fcfs"] for case in cases())


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("easy", [Backfill(depth=0), None], ids=["easy", "fcfs"])
def test_every_start_time_is_the_same(part: int, easy: Backfill | None) -> None:
    """Each job of each case starts at the second at which the other simulator started it."""
    assert wrong(part, easy) == []


def earlier(*at: Any) -> backfill.Reservation:
    """A planted bug: a job that ends just at the shadow time is not let past."""
    reserved = RESERVE(*at)
    return evolve(reserved, at_us=reserved.at_us - 1) if reserved.at_us is not None else reserved


def without_spare(*at: Any) -> backfill.Reservation:
    """A planted bug: what is spare at the shadow time is not used."""
    return evolve(RESERVE(*at), spare=backfill.Amounts(0, 0))


RESERVE = backfill.reserve


@pytest.mark.parametrize("planted", [earlier, without_spare])
def test_a_planted_bug_is_found(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong reservation gives wrong start times in some of the cases."""
    monkeypatch.setattr(backfill, "reserve", planted)
    assert any(starts(case, Backfill(depth=0)) != case["easy"] for case in cases())
