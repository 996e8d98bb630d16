"""Arrays among other jobs: ids in a run, limits, failures that cancel the rest, and dependencies on all elements."""

import pytest

from jqsched.core import decide, policy
from jqsched.core import queue as queues
from jqsched.core.explain import Why, obstacles, take_snapshot
from jqsched.core.fold import EndHopeless
from jqsched.core.job import Array, ArrayId, Result, Retries, Scheme, State, describe, read_wait
from jqsched.core.jobspec import from_jobspec, to_jobspec
from tests.core.scheduler_driver import SchedulerDriver, a_file, after, an_array

FAILED = 256


def test_an_array_takes_a_run_of_ids(driver: SchedulerDriver):
    """Its elements are jobs like all others; what came after it has the ids behind them."""
    assert driver.drop(a_file(), an_array(3), a_file()) == [1, 2, 3, 4, 5]
    assert driver.log(3) == [(name, context) if context else name for name, context in map(as_pair, driver.log(1))]
    element = driver.job(4).spec.element
    assert element is not None
    assert (element.array, element.index) == (Array(2, 3), 2)
    assert (driver.queue.arrays[2].left, driver.queue.arrays[2].arrived) == (3, 3)
    assert to_jobspec(driver.job(4).spec)["attributes"]["user"]["jqsched"] == {
        "array": {"id": 2, "index": 2, "count": 3}
    }
    assert from_jobspec(to_jobspec(driver.job(4).spec)) == driver.job(4).spec


def as_pair(entry: tuple[str, dict] | str) -> tuple[str, dict]:
    return entry if isinstance(entry, tuple) else (entry, {})


def test_its_elements_share_what_is_the_same(driver: SchedulerDriver):
    """One array, one command, one environment in memory."""
    driver.drop(an_array(3, env=(("A", "B"),)))
    one, other = driver.job(1).spec, driver.job(3).spec
    assert one.env is other.env
    assert one.command is other.command
    assert one.element is not None
    assert other.element is not None
    assert one.element.array is other.element.array


def test_an_array_that_is_over_is_forgotten(driver: SchedulerDriver):
    """With its last element, not before; `has_file` asks the array and none of its elements."""
    driver.drop(an_array(2))
    driver.run(1)
    assert queues.has_file(driver.queue, 1)
    assert not queues.has_file(driver.queue, 2)
    driver.run(2)
    assert not driver.queue.arrays
    assert not queues.has_file(driver.queue, 1)


def test_an_array_is_refused_whole(driver: SchedulerDriver):
    """And its neighbours are not."""
    driver.drop(a_file("x", after("afterok", 3)), an_array(3, "sweep", after("afterok", 99)), a_file("y"))
    assert sorted(driver.refused) == [1, 2, 3, 4]
    assert {driver.refused[id_] for id_ in (2, 3, 4)} == {
        "dependency: afterok: job 99 is unknown (purged, or never given out)"
    }
    assert not driver.queue.arrays
    assert driver.state(5) is State.SCHED


# ---- limits -------------------------------------------------------------------------------------------------------


def test_so_many_run_at_a_time(driver: SchedulerDriver):
    """A limit is a gate; other jobs, and other arrays, pass it."""
    driver.drop(an_array(5, limit=2), an_array(2, "other", limit=1), a_file())
    assert driver.schedule() == [1, 2, 6, 8]
    for id_ in (1, 2, 6, 8):
        driver.start(id_)
    snapshot = take_snapshot(driver.queue, driver.limits)
    whys = {why.why: why.text for why in obstacles(snapshot, driver.job(3))}
    assert whys[Why.ARRAY] == "array 1: 2 of 2 taken"
    driver.finish(1)
    assert driver.schedule() == [3]


def test_a_limit_survives_a_restart(driver: SchedulerDriver):
    """It is made of the jobs alone."""
    driver.drop(an_array(4, limit=1))
    driver.start(1)
    jobs = list(queues.live(driver.queue))
    loaded = queues.load(
        jobs, seq=driver.queue.seq, last_us=driver.queue.last_us, last_id=4, arrays=driver.queue.arrays
    )
    assert queues.same(loaded, driver.queue.settled())
    assert list(policy.candidates(loaded)) == []


# ---- failures -----------------------------------------------------------------------------------------------------


def test_after_so_many_failures_the_rest_is_canceled(driver: SchedulerDriver):
    """What runs goes on; what has not started ends, what waits for a dependency too."""
    driver.drop(a_file("gate"), an_array(6, max_failures=2))
    driver.drop(a_file("later", after("afterany", "sweep")))
    driver.start(2, 3, 4)
    driver.finish(2, FAILED)
    assert driver.state(7) is State.SCHED
    driver.finish(3, FAILED)
    assert [driver.job(id_).result for id_ in (5, 6, 7)] == [Result.CANCELED] * 3
    assert driver.log(7)[-2][1]["note"] == "2 of 6 failed (max_failures = 2)"
    assert driver.state(4) is State.RUN
    assert driver.state(8) is State.DEPEND
    driver.finish(4)
    assert driver.state(8) is State.SCHED


def test_what_may_start_at_any_moment_is_asked_back_first(driver: SchedulerDriver):
    """It is not ended behind the executor's back; a start looks for it again."""
    driver.drop(an_array(4, max_failures=1))
    driver.start(1)
    assert set(driver.queue.permits) == {2, 3, 4}
    driver.queue = queues.withdraw(driver.queue, 4)
    attempt = driver.job(1).attempt
    step = driver.take(decide.finished(driver.queue, 1, attempt, FAILED, driver.limits, driver.now_us))
    assert step.effects == (EndHopeless((2, 3)),)
    assert driver.job(4).result is Result.CANCELED
    assert policy.infeasible(driver.queue, driver.limits) == [2, 3]
    driver.queue = queues.withdraw(driver.queue, 2)
    driver.take(decide.end_if_infeasible(driver.queue, 2, driver.limits, driver.now_us))
    assert driver.job(2).result is Result.CANCELED


def test_cancels_and_retried_attempts_are_no_failures(driver: SchedulerDriver):
    """Only what failed for good counts."""
    driver.drop(an_array(4, max_failures=1, retries=Retries(1)))
    driver.cancel(1)
    driver.run(2, FAILED)
    assert driver.state(2) is State.SCHED
    assert driver.queue.arrays[1].failed == 0
    driver.run(2, FAILED)
    assert driver.queue.arrays[1].failed == 1


# ---- dependencies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "statuses", "verdicts"),
    [
        ("afterok", (0, 0, 0), "open open met"),
        ("afterok", (0, FAILED, 0), "open never never"),
        ("afternotok", (0, FAILED, 0), "open open met"),
        ("afternotok", (0, 0, 0), "open open never"),
        ("afterany", (FAILED, 0, FAILED), "open open met"),
        ("afterexcept", (FAILED, 0, 0), "open open never"),
        ("after", (0, 0, 0), "met met met"),
        ("afterstart", (0, 0, 0), "met met met"),
    ],
)
@pytest.mark.parametrize("wanted", ["sweep", 1])
def test_what_each_scheme_waits_for(
    driver: SchedulerDriver, scheme: str, statuses: tuple[int, ...], verdicts: str, wanted: int | str
):
    """Name and id mean the array: all of its elements."""
    driver.drop(an_array(3))
    driver.drop(a_file("b", after(scheme, wanted)))
    assert driver.job(4).waits == (describe(Scheme(scheme), wanted, ArrayId(1)),)
    for id_, (status, verdict) in enumerate(zip(statuses, verdicts.split(), strict=True), 1):
        driver.run(id_, status)
        job = driver.job(4)
        now = "open" if job.waits else "never" if job.state is State.INACTIVE else "met"
        assert now == verdict, f"after element {id_}"


def test_a_failure_that_is_retried_dooms_nobody(driver: SchedulerDriver):
    """`afterok` fails at the first element that failed for good."""
    driver.drop(an_array(2, retries=Retries(1)), a_file("b", after("afterok", "sweep")))
    driver.run(1, FAILED)
    assert driver.state(3) is State.DEPEND
    driver.run(1, FAILED)
    assert driver.job(3).result is Result.FAILED


def test_a_name_that_is_awaited_binds_to_the_array(driver: SchedulerDriver):
    """Once, when it comes."""
    driver.drop(a_file("b", after("afterok", "sweep")))
    driver.drop(an_array(2))
    assert driver.job(1).waits == ("after-success=sweep→2_*",)
    assert driver.names(1).count("dependency-add") == 2
    wait = read_wait("after-success=sweep→2_*")
    assert wait is not None
    assert wait.target == ArrayId(2)


def test_an_element_by_its_id(driver: SchedulerDriver):
    """Other ids than the first are those of one element."""
    driver.drop(an_array(3))
    driver.drop(a_file("b", after("afterok", 2)))
    assert driver.job(4).waits == ("after-success=2",)
    driver.run(2)
    assert driver.state(4) is State.SCHED


@pytest.mark.parametrize("wanted", ["sweep", 1])
def test_an_array_that_is_over(driver: SchedulerDriver, wanted: int | str):
    """What is known of it comes from its elements."""
    driver.drop(an_array(2))
    driver.run(1, FAILED)
    driver.run(2)
    driver.drop(a_file("b", after("afternotok", wanted)), a_file("c", after("afterok", wanted)))
    assert driver.state(3) is State.SCHED
    if wanted == 1:
        assert driver.refused[4] == "dependency: afterok: array 1 has an element that failed or was canceled"
    else:
        assert driver.job(4).waits == ("after-success=sweep",)


def test_an_array_that_has_failed_already(driver: SchedulerDriver):
    """Is refused by id."""
    driver.drop(an_array(2))
    driver.run(1, FAILED)
    driver.drop(a_file("b", after("afterok", 1)))
    assert driver.refused[3] == "dependency: afterok: array 1 has an element that failed or was canceled"


def test_cycles_through_arrays(driver: SchedulerDriver):
    """Of the same scan, and through live ones; an array does not wait for itself."""
    driver.drop(an_array(2, "a", after("afterok", "b")), an_array(2, "b", after("afterok", "a")))
    assert sorted(driver.refused) == [3, 4]
    assert "dependency: cycle: " in driver.refused[3]
    driver.drop(an_array(2, "c", after("afterok", "c")))
    assert all(driver.state(id_) is State.DEPEND for id_ in (5, 6))
    driver.drop(a_file("b", after("afterok", "a")))
    assert "dependency: cycle: " in driver.refused[7]


def test_singleton_runs_elements_one_after_the_other(driver: SchedulerDriver):
    """Each is a job of that name."""
    driver.drop(an_array(3, "sweep", after("singleton")))
    assert [driver.state(id_) for id_ in (1, 2, 3)] == [State.SCHED, State.DEPEND, State.DEPEND]
    driver.run(1)
    assert driver.state(2) is State.SCHED


def test_an_array_of_which_nothing_is_known(driver: SchedulerDriver):
    """In a rebuilt store: what waits for it can never run."""
    driver.drop(an_array(1))
    driver.drop(a_file("b", after("afterany", 1)))
    jobs = [driver.job(2)]
    driver.queue = queues.load(jobs, seq=driver.queue.seq, last_us=driver.queue.last_us, last_id=2)
    driver.take(decide.resolve_missing_antecedents(driver.queue, {}, driver.limits, driver.now_us))
    assert driver.job(2).result is Result.FAILED
