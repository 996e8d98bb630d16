"""The simulation: figures worked out by hand, the same schedule as a naive one, and the same bytes every time."""

import random
from collections.abc import Sequence
from heapq import heappop, heappush

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.job import Dependency, Draft, Job, OnInterrupt, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import load
from jqsched.ports import Stored
from jqsched.testing.contracts.store import LIFE
from jqsched.testing.metrics import cores_busy, figures, jobs_waiting, wait_us
from jqsched.testing.runtimes import FAILED, Run, RunOf, read_distribution, runs
from jqsched.testing.simulation import START_US, Simulation
from jqsched.testing.simulation_ports import NEVER, Arrival, End

S = 1_000_000


def job(submit_s: float = 0, run_s: float = 1, status: int = 0, *, urgency: int = 16, **spec) -> Arrival:
    """A job that comes at a time and runs so long."""
    wanted = {"command": ("true",), "name": "job", "cwd": "/", **spec}
    return Arrival(round(submit_s * S), "x.json", Draft(Spec(**wanted), urgency), Run(round(run_s * S), status))


def simulated(*arrivals: Arrival, slots: int = 1, cores: int = 8, until_s: float | None = None, **more) -> Simulation:
    simulation = Simulation(Limits(slots, cores), arrivals, more.pop("runs", runs(0)), **more)
    simulation.run(round(until_s * S) if until_s is not None else None)
    return simulation


def times(simulation: Simulation) -> list[tuple[float | None, float | None]]:
    """When each job started and ended, in seconds; None: never."""
    table = simulation.table
    return [
        tuple(None if t_us == NEVER else t_us / S for t_us in pair)
        for pair in zip(table.begin_us, table.end_us, strict=True)
    ]


def ends(simulation: Simulation) -> list[End]:
    return [End(end) for end in simulation.table.ends]


def summed(simulation: Simulation):
    return figures(simulation.table, simulation.limits, simulation.running_most, simulation.now_us)


# ---- worked out by hand -------------------------------------------------------------------------------------------


def test_three_jobs_on_two_slots():
    """0-4, 0-2, and the third at 2-5: makespan 5 s, waits 0, 0, 2 s, slots busy 9 of 10 s, cores 10 of 15."""
    simulation = simulated(job(run_s=4), job(run_s=2), job(run_s=3, cores=1), slots=2, cores=3)
    assert times(simulation) == [(0, 4), (0, 2), (2, 5)]
    found = summed(simulation)
    assert (found.makespan_us, found.running_most, found.started) == (5 * S, 2, 3)
    assert (found.wait_us.mean, found.wait_us.p50, found.wait_us.p90, found.wait_us.max) == (2 * S / 3, 0, 2 * S, 2 * S)
    assert (found.slots_used, found.cores_used) == (9 / 10, 9 / 15)
    assert found.starts_per_s == 3 / 5


def test_jobs_that_come_later_wait_from_then_and_the_makespan_begins_with_the_first():
    simulation = simulated(job(10, 4), job(11, 2), job(30, 1))
    assert times(simulation) == [(10, 14), (14, 16), (30, 31)]
    found = summed(simulation)
    assert (found.begin_us, found.end_us, found.makespan_us) == (10 * S, 31 * S, 21 * S)
    assert [wait_us(simulation.table, row) for row in range(3)] == [0, 3 * S, 0]
    assert found.slots_used == 7 / 21


def test_the_first_that_waits_for_cores_holds_back_the_others():
    """No backfill: the third would fit beside the first, and yet waits for the second."""
    simulation = simulated(job(run_s=4, cores=2), job(run_s=1, cores=3), job(run_s=1), slots=9, cores=3)
    assert times(simulation) == [(0, 4), (4, 5), (5, 6)]


def test_slowdown_is_bounded():
    """A job of 1 s that waited 19 s counts as one of 10 s: 2; one of 20 s that waited 1 s: 1.05."""
    simulation = simulated(job(0, 19), job(0, 1), job(19, 20))
    assert times(simulation) == [(0, 19), (19, 20), (20, 40)]
    found = summed(simulation).slowdown
    assert (found.max, found.p50) == (2.0, 1.05)


def test_a_dependency_waits_and_one_that_cannot_be_met_ends_the_job():
    after = Dependency("afterok", "a")
    simulation = simulated(
        job(run_s=3, name="a"),
        job(run_s=2, status=FAILED, name="b", dependencies=(after,)),
        job(run_s=1, name="c", dependencies=(Dependency("afterok", "b"),)),
        slots=4,
    )
    assert times(simulation) == [(0, 3), (3, 5), (None, None)]
    assert ends(simulation) == [End.COMPLETED, End.FAILED, End.FAILED]
    assert summed(simulation).unstarted == 1
    assert "after-success=b→2" in simulation.table.notes[3]


def test_a_dependency_on_one_that_finished_long_ago_is_met():
    """Outcomes are remembered by id and by name after the job is gone."""
    on = [Dependency("afterok", 1), Dependency("afternotok", "bad")]
    simulation = simulated(
        job(0, 1, name="good"), job(0, 1, FAILED, name="bad"), job(50, 1, dependencies=tuple(on)), slots=2
    )
    assert times(simulation)[2] == (50, 51)


def test_what_is_held_or_waits_for_a_name_is_left_with_its_reasons():
    simulation = simulated(job(urgency=0), job(dependencies=(Dependency("afterany", "never"),)), job())
    assert ends(simulation) == [End.LEFT, End.LEFT, End.COMPLETED]
    left = dict(simulation.left())
    assert left.keys() == {1, 2}
    assert "held" in left[1][0]
    assert "never" in left[2][0]


def test_a_dependency_on_an_unknown_id_is_refused():
    simulation = simulated(job(dependencies=(Dependency("afterok", 99),)), job())
    assert ends(simulation) == [End.REFUSED, End.COMPLETED]
    assert ["rejected x.json" in line and "99" in line for line in simulation.rejected] == [True]


def test_a_job_that_wants_more_cores_than_there_are_ends_without_having_run():
    simulation = simulated(job(cores=9), job())
    assert ends(simulation) == [End.FAILED, End.COMPLETED]
    assert "alloc" in simulation.table.notes[1]


def test_a_time_limit_ends_a_job_and_one_just_reached_does_not():
    simulation = simulated(job(run_s=9, time_limit_us=4 * S), job(run_s=4, time_limit_us=4 * S))
    assert times(simulation) == [(0, 4), (4, 8)]
    assert ends(simulation) == [End.TIMEOUT, End.COMPLETED]


def test_a_begin_time_is_kept():
    simulation = simulated(job(dependencies=(Dependency("begin-time", START_US + 7 * S),)))
    assert times(simulation) == [(7, 8)]


def test_a_more_urgent_job_overtakes_those_that_wait():
    simulation = simulated(job(0, 5), job(1, 1), job(2, 1, urgency=20))
    assert times(simulation) == [(0, 5), (6, 7), (5, 6)]


def test_jobs_without_a_run_time_take_none():
    simulation = simulated(job(3, 0), job(3, 0), job(3, 1))
    assert times(simulation) == [(3, 3), (3, 3), (3, 4)]


def test_until_stops_the_clock_and_counts_what_ran_so_far():
    simulation = simulated(job(run_s=4), job(run_s=4), job(100, 1), until_s=6)
    assert times(simulation) == [(0, 4), (4, None)]
    assert dict(simulation.left()) == {2: ["running"]}
    assert simulation.now_us <= 6 * S


def test_a_rule_pauses():
    pytest.importorskip("jqsched.core.filters")
    document = {
        "uuid": "r",
        "priority": 0,
        "predicates": [["job", ["=", "name", "a"]]],
        "action": ["RATE_LIMIT", 1],
    }
    simulation = simulated(*[job(run_s=2, name="a")] * 2, job(run_s=1), slots=3, rules=[document])
    assert times(simulation) == [(0, 2), (2, 4), (0, 1)]


# ---- the present queue --------------------------------------------------------------------------------------------


def stored(*jobs: Job, settings: dict[str, str] | None = None) -> Stored:
    return Stored(
        load(jobs, seq=100, last_us=START_US - 1, last_id=max(job.id for job in jobs)), (), {}, settings or {}
    )


def queued(id_: int, **more) -> Job:
    spec = Spec(("true",), "old", "/", time_limit_us=more.pop("limit_us", None))
    ages = {"t_submit_us": START_US - 60 * S, "t_sched_us": START_US - 60 * S}
    return evolve(Job(id_, spec, 1, State.SCHED, priority=16, **ages), **more)


def running(id_: int, since_s: float, **more) -> Job:
    started_us = START_US - round(since_s * S)
    return evolve(queued(id_), state=State.RUN, t_run_us=started_us, t_start_us=started_us, **more)


TEN: RunOf = runs(0, read_distribution("10s"))


def test_what_runs_goes_on_with_what_is_left_and_the_queue_waits_for_it():
    """7 runs for 10 s since 4 s; 3 has waited for a minute, which is not counted; a new one gets the next id."""
    simulation = simulated(job(1, 2), stored=stored(queued(3), running(7, 4)), runs=TEN)
    assert times(simulation) == [(6, 16), (-4, 6), (16, 18)]
    assert simulation.table.id_of(2) == 8
    assert [wait_us(simulation.table, row) for row in (0, 2)] == [6 * S, 15 * S]
    found = summed(simulation)
    assert (found.begin_us, found.makespan_us, found.started, found.slots_used) == (0, 18 * S, 2, 1.0)


def test_what_has_run_longer_than_it_should_ends_at_once():
    assert times(simulated(stored=stored(running(1, 30)), runs=TEN)) == [(-30, 0)]


def test_the_time_limit_of_what_runs_counts_from_its_start():
    spec = Spec(("true",), "old", "/", time_limit_us=5 * S)
    simulation = simulated(stored=stored(running(1, 4, spec=spec)), runs=TEN)
    assert (times(simulation), ends(simulation)) == ([(-4, 1)], [End.TIMEOUT])


def test_one_that_may_start_but_has_not_is_started():
    """At most once: its `alloc` came before the start."""
    spec = Spec(("true",), "old", "/", on_interrupt=OnInterrupt.FAIL)
    waiting = evolve(queued(1), spec=spec, state=State.RUN, t_run_us=START_US - S)
    simulation = simulated(stored=stored(waiting), runs=TEN)
    assert (times(simulation), ends(simulation)) == ([(0, 10)], [End.COMPLETED])


def test_a_drained_queue_starts_nothing():
    simulation = simulated(stored=stored(queued(1), running(2, 4), settings={"drained": "1"}), runs=TEN)
    assert times(simulation) == [(None, None), (-4, 6)]
    assert "drained" in dict(simulation.left())[1][0]


# ---- the same as a naive list scheduler ---------------------------------------------------------------------------


@frozen
class Work:
    submit_us: int
    run_us: int
    cores: int
    urgency: int


def naive(work: Sequence[Work], slots: int, cores: int) -> list[tuple[int, int] | None]:
    """List scheduling: at each moment ends, then arrivals, then starts in order as long as the first fits."""
    spans: list[tuple[int, int] | None] = [None] * len(work)
    coming = sorted(range(len(work)), key=lambda nth: work[nth].submit_us)
    ready: list[tuple[int, int]] = []
    active: list[tuple[int, int]] = []
    now_us = 0
    while coming or active:
        now_us = min([work[nth].submit_us for nth in coming[:1]] + [end_us for end_us, _ in active])
        active = [(end_us, nth) for end_us, nth in active if end_us > now_us]
        while coming and work[coming[0]].submit_us <= now_us:
            nth = coming.pop(0)
            if work[nth].cores <= cores:
                heappush(ready, (-work[nth].urgency, nth))
        while ready and len(active) < slots:
            nth = ready[0][1]
            if sum(work[other].cores for _, other in active) + work[nth].cores > cores:
                break
            heappop(ready)
            spans[nth] = (now_us, now_us + work[nth].run_us)
            active.append((now_us + work[nth].run_us, nth))
    return spans


@st.composite
def workloads(draw: st.DrawFn) -> list[Work]:
    """No two things happen at one moment: each job's times have a rest of its own. Thousandths of a second."""
    count = draw(st.integers(1, 30))
    submits = sorted(draw(st.lists(st.integers(0, 30), min_size=count, max_size=count)))
    return [
        Work(
            submit * 100_000 + nth,
            draw(st.integers(1, 20)) * 100_000,
            draw(st.integers(1, 5)),
            draw(st.integers(14, 18)),
        )
        for nth, submit in enumerate(submits)
    ]


@given(workloads(), st.integers(1, 6), st.integers(1, 6), st.sampled_from((0, 3, 32)))
def test_it_starts_what_a_naive_list_scheduler_starts(work: list[Work], slots: int, cores: int, ahead: int):
    """The same jobs at the same times, to the microsecond, whatever is permitted ahead."""
    arrivals = [
        job(one.submit_us / S, one.run_us / S, cores=one.cores, urgency=one.urgency, name=f"j{nth}")
        for nth, one in enumerate(work)
    ]
    simulation = Simulation(Limits(slots, cores, ahead=ahead), arrivals, runs(0))
    simulation.run()
    table = simulation.table
    spans = [None if begin == NEVER else (begin, end) for begin, end in zip(table.begin_us, table.end_us, strict=True)]
    assert spans == naive(work, slots, cores)


@given(workloads(), st.integers(1, 6), st.integers(1, 6))
def test_never_more_than_slots_and_cores(work: list[Work], slots: int, cores: int):
    arrivals = [job(one.submit_us / S, one.run_us / S, cores=one.cores) for one in work]
    simulation = simulated(*arrivals, slots=slots, cores=cores)
    table = simulation.table
    ran = [row for row in range(len(table)) if table.begin_us[row] != NEVER]
    for moment in {table.begin_us[row] for row in ran}:
        there = [row for row in ran if table.begin_us[row] <= moment < table.end_us[row]]
        assert len(there) <= slots
        assert sum(table.cores[row] for row in there) <= cores
    assert len(ran) == sum(one.cores <= cores for one in work)


# ---- figures over time --------------------------------------------------------------------------------------------


def test_the_averages_of_a_bucket():
    """Two cores from 0 to 4, one from 3 to 5; buckets of 2.5 s: (5 / 2.5), (2 x 1.5 + 2) / 2.5."""
    simulation = simulated(job(0, 4, cores=2), job(3, 2), job(4, 0), slots=3)
    assert cores_busy(simulation.table, 0, 5 * S, 2) == [2.0, 2.0]
    assert cores_busy(simulation.table, 0, 5 * S, 5) == [2.0, 2.0, 2.0, 3.0, 1.0]


def test_waiting_is_from_the_drop_to_the_start():
    simulation = simulated(job(0, 4), job(1, 1), job(2, 1))
    assert jobs_waiting(simulation.table, 0, 6 * S, 6) == [0.0, 1.0, 2.0, 2.0, 1.0, 0.0]


@given(workloads(), st.integers(1, 50))
def test_the_averages_sum_up_to_the_utilisation(work: list[Work], buckets: int):
    simulation = simulated(*[job(one.submit_us / S, one.run_us / S, cores=one.cores) for one in work], slots=3)
    found = summed(simulation)
    averages = cores_busy(simulation.table, found.begin_us, found.end_us, buckets)
    assert sum(averages) / buckets / 8 == pytest.approx(found.cores_used)
    assert max(averages) <= 8 + 1e-9


# ---- run times ----------------------------------------------------------------------------------------------------


def test_what_is_drawn_depends_on_seed_id_and_attempt_alone():
    one, other = (runs(seed, read_distribution("exp:10m"), fail=0.5) for seed in (1, 2))
    spec = Spec(("true",), "job", "/")
    drawn = [one(id_, 1, spec) for id_ in range(1, 50)]
    assert [one(id_, 1, spec) for id_ in range(49, 0, -1)] == drawn[::-1]
    assert len({run.run_us for run in drawn}) == 49
    assert drawn != [other(id_, 1, spec) for id_ in range(1, 50)]
    assert {run.status for run in drawn} == {0, FAILED}


@pytest.mark.parametrize(
    ("text", "mean_s", "low_s", "high_s"),
    [
        ("10m", 600, 600, 600),
        ("exp:10m", 600, 0, 10_000),
        ("uniform:1m:3m", 120, 60, 180),
        ("lognormal:10m:0.5", 600 * 1.1331, 60, 6_000),
    ],
)
def test_a_distribution_has_its_mean_and_bounds(text: str, mean_s: float, low_s: float, high_s: float):
    run_of, spec = runs(7, read_distribution(text)), Spec(("true",), "job", "/")
    drawn = [run_of(id_, 1, spec).run_us / S for id_ in range(2_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean_s, rel=0.05)
    assert low_s <= min(drawn) <= max(drawn) <= high_s


def test_what_was_drawn_once_is_drawn_for_ever():
    """Figures of one machine, to be met by all others."""
    spec = Spec(("true",), "job", "/")
    texts = ("exp:10m", "uniform:1m:3m", "lognormal:10m:0.5")
    drawn = [runs(1, read_distribution(text))(1, 1, spec).run_us for text in texts]
    assert drawn == [230284248, 141751541, 1305245189]


def test_a_run_takes_the_limit_the_history_or_a_minute():
    plain, limited = Spec(("true",), "job", "/"), Spec(("true",), "known", "/", time_limit_us=5 * S)
    assert [runs(0)(1, 1, spec).run_us for spec in (plain, limited)] == [60 * S, 5 * S]
    assert [runs(0, history_us={"known": 3})(1, 1, spec).run_us for spec in (plain, limited)] == [60 * S, 3]


# ---- the journal --------------------------------------------------------------------------------------------------


def test_a_plain_job_has_its_ten_events_and_all_are_told_in_order():
    told: list[tuple[int, str]] = []

    def sink(first_seq, events):
        told.extend((seq, event.name) for seq, event in enumerate(events, first_seq))

    simulated(job(), sink=sink)
    assert told == list(enumerate(LIFE, 1))


def test_memory_of_finished_jobs_is_a_row():
    """Nothing else is kept of a thousand jobs that are over."""
    rng = random.Random(5)
    simulation = simulated(*[job(nth, rng.random(), name=f"n{nth}") for nth in range(1_000)], slots=4)
    head = simulation.scheduler.ledger.head
    executor = simulation._executor
    kept = (head.enqueued, head.running, head.names, head.permits, simulation._arrivals.runs)
    assert not any((*kept, executor._finished, executor._running, executor._waiting, executor._heap))
