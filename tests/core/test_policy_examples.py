"""Who may start now, and why not: order, slots, cores, permits ahead, recalls. Source: docs/reference/laws.md."""

import pytest
from attrs import evolve

from jqsched.core import decide, explain, policy
from jqsched.core import queue as queues
from jqsched.core.job import Job, OnInterrupt, Outcome, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import Permit
from tests.core.scheduler_driver import USERID, SchedulerDriver, a_file, after

AHEAD = "slots: 1 of 2 free, 1 ahead of it"


def test_the_highest_priority_first_then_the_lowest_id():
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(a_file(), a_file(urgency=20), a_file(), a_file(urgency=20), a_file(urgency=1))
    assert driver.schedule() == [2, 4, 1, 3, 5]


def test_no_more_than_there_are_slots():
    """Permits count like running jobs."""
    driver = SchedulerDriver(max_running=2, cores=9)
    driver.drop(*[a_file()] * 4)
    driver.start(1)
    assert sorted(driver.queue.permits) == [2]
    assert driver.schedule() == []
    driver.finish(1)
    assert driver.schedule() == [3]


def test_the_first_that_waits_for_cores_ends_the_pass():
    """Nothing of lower rank takes what it waits for: there is no backfill."""
    driver = SchedulerDriver(max_running=9, cores=4)
    driver.drop(a_file(cores=3), a_file(cores=2), a_file(cores=1))
    assert driver.schedule() == [1]
    driver.start(1)
    driver.finish(1)
    assert driver.schedule() == [2, 3]


def test_the_last_core_is_given_out():
    """And no more than there are, with those of running and permitted jobs."""
    driver = SchedulerDriver(max_running=9, cores=4)
    driver.drop(a_file(cores=2), a_file(cores=1), a_file(cores=1), a_file(cores=1))
    assert driver.schedule() == [1, 2, 3]
    driver.start(1)
    assert driver.schedule() == []
    driver.finish(1)
    driver.drop(a_file(cores=2, urgency=20))
    assert driver.schedule() == [5]


def test_a_permit_is_for_an_attempt():
    driver = SchedulerDriver()
    driver.drop(a_file())
    for attempt in (1, 2):
        assert driver.schedule() == [1]
        assert driver.queue.permits == {1: Permit(attempt)}
        driver.interrupt(1)


def test_what_is_remembered_of_a_job_that_is_over():
    job = Job(7, Spec(("true",), "a", "/"), 0, State.INACTIVE, status=0, t_start_us=1)
    assert policy.outcome_of(job) == Outcome(7, "a", job.userid, success=True, ran=True)
    assert policy.outcome_of(evolve(job, fatal=True, t_start_us=0)) == Outcome(
        7, "a", job.userid, success=False, ran=False, is_fatal=True
    )


def test_held_and_dependent_jobs_are_passed_over():
    """Law 8: they take nothing, and hold back no one."""
    driver = SchedulerDriver(max_running=1)
    driver.drop(a_file(urgency=0), a_file(pin=0), a_file("b", after("afterok", "nobody"), urgency=31), a_file())
    assert driver.schedule() == [4]


def test_lowering_a_limit_stops_nobody():
    driver = SchedulerDriver(max_running=3)
    driver.drop(*[a_file()] * 4)
    driver.start(1, 2, 3)
    driver.limits = evolve(driver.limits, max_running=1, cores=2)
    assert driver.schedule() == []
    driver.finish(1)
    driver.finish(2)
    assert driver.schedule() == []
    driver.finish(3)
    assert driver.schedule() == [4]


def test_permits_ahead():
    """Two more than run may wait at the executor, but none that may run at most once, and none behind it."""
    driver = SchedulerDriver(max_running=1, ahead=2)
    once = a_file(on_interrupt=OnInterrupt.FAIL)
    driver.drop(a_file(), a_file(), once, a_file())
    assert driver.schedule() == [1, 2]
    driver.start(1)
    driver.finish(1)
    driver.start(2)
    driver.finish(2)
    assert driver.schedule() == [3, 4]


def test_a_job_that_waits_for_cores_may_be_permitted_ahead():
    """In its order; the executor lets nothing by."""
    driver = SchedulerDriver(max_running=4, cores=4, ahead=2)
    driver.drop(a_file(cores=3), a_file(cores=2), a_file(cores=1), a_file(cores=1))
    assert driver.schedule() == [1, 2, 3]


def test_who_is_overtaken_is_recalled():
    """Law 4, also for permits that are out already; once, until the executor has answered."""
    driver = SchedulerDriver(max_running=1, ahead=2)
    driver.drop(a_file(urgency=20), a_file(), a_file())
    driver.schedule()
    driver.drop(a_file(urgency=18))
    assert policy.overtaken(driver.queue, driver.limits) == (2, 3)
    assert decide.schedule(driver.queue, driver.limits, driver.now_us).recalled == (2, 3)
    assert driver.schedule() == []
    assert policy.overtaken(driver.queue, driver.limits) == ()
    assert sorted(driver.queue.permits) == [1, 2, 3]
    driver.queue = queues.withdraw(queues.withdraw(driver.queue, 2), 3)
    assert driver.schedule() == [4, 2]


def test_a_pass_may_recall_and_permit():
    """Who overtakes takes the slot that is free, and those behind give theirs back."""
    driver = SchedulerDriver(max_running=2, cores=4, ahead=1)
    driver.drop(a_file(), a_file())
    assert driver.schedule() == [1, 2]
    driver.drop(a_file(urgency=20))
    decided = decide.schedule(driver.queue, driver.limits, driver.now_us)
    assert (decided.permits, decided.recalled) == ((3,), (1, 2))


def test_who_joins_behind_overtakes_nobody():
    driver = SchedulerDriver(max_running=1, ahead=2)
    driver.drop(*[a_file()] * 2)
    driver.schedule()
    driver.drop(a_file())
    assert policy.overtaken(driver.queue, driver.limits) == ()


def test_drain_starts_nothing_and_recalls_what_has_not_started():
    driver = SchedulerDriver(max_running=1, ahead=2)
    driver.drop(*[a_file()] * 3)
    driver.start(1)
    driver.limits = evolve(driver.limits, draining=True)
    assert policy.overtaken(driver.queue, driver.limits) == (2, 3)
    assert driver.schedule() == []


def test_the_next_timer():
    """None when no job waits for a time."""
    driver = SchedulerDriver()
    driver.drop(a_file())
    assert policy.next_timer_us(driver.queue) is None
    later = driver.now_us + 50
    driver.drop(a_file("b", after("begin-time", later + 1)), a_file("c", after("begin-time", later)))
    assert policy.next_timer_us(driver.queue) == later
    assert policy.due(driver.queue, later) == [3]


def test_what_the_store_must_be_asked():
    """Only what the queue itself does not know."""
    driver = SchedulerDriver()
    driver.drop(a_file())
    asked = [after("afterok", 1), after("singleton"), after("begin-time", 5), after("afterok", 9), after("after", "a")]
    asked.append(after("afterany", "z"))
    assert policy.lookups(driver.queue, ((USERID, one) for one in asked)) == ({9}, {(USERID, "z")})
    assert policy.lookups(driver.queue, iter([(USERID + 1, after("after", "a"))])) == (set(), {(USERID + 1, "a")})


def test_what_can_never_run_under_lower_limits():
    """Those that wait their turn; what runs goes on, and what waits for others is asked when it does not."""
    driver = SchedulerDriver()
    driver.drop(*[a_file(cores=3)] * 2, a_file(cores=1), a_file("b", after("afterok", 1), cores=3))
    driver.start(1)
    assert policy.infeasible(driver.queue, Limits(4, 2)) == [2]
    assert policy.infeasible(driver.queue, Limits(4, 4)) == []


def test_a_singleton_waits_for_its_elders_only():
    driver = SchedulerDriver()
    driver.drop(a_file("s"), a_file("t"), a_file("s"), a_file("s", after("singleton")), a_file("s"))
    assert list(policy.antecedents(driver.queue, driver.job(4))) == [1, 3]


def test_what_is_no_live_job_is_no_antecedent():
    """Neither a time, nor a name, nor what a plugin waits for."""
    waits = ("begin-time=5", "after-success=b", "after-finish=3", "approval", "after-start=c→4")
    job = Job(9, Spec(("true",), "a", "/"), 0, State.DEPEND, waits=waits)
    assert list(policy.antecedents(queues.EMPTY, job)) == [3, 4]


# ---- reasons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (a_file(urgency=0), ["held (urgency 0)", AHEAD]),
        (a_file(pin=0), ["held (priority 0)", AHEAD]),
        (a_file("b", after("afterok", 1)), ["dependency after-success=1", AHEAD]),
        (a_file("b", after("afterok", "x")), ["dependency after-success=x: no job named x was dropped yet", AHEAD]),
        (a_file("b", after("afterok", "x"), urgency=0), [None, "held (urgency 0)", AHEAD]),
        (
            a_file(cores=4),
            [AHEAD, "cores: 4 wanted, 3 of 4 free, 1 for those ahead of it"],
        ),
        (a_file(), [AHEAD]),
    ],
)
def test_every_reason_is_told(file, why):
    """Beside a running job and one that is ready."""
    driver = SchedulerDriver(max_running=2)
    driver.drop(a_file())
    driver.start(1)
    driver.drop(a_file(urgency=20), file)
    told = explain.reasons(explain.take_snapshot(driver.queue, driver.limits), driver.job(3))
    assert len(told) == len(why)
    assert all(expected in (None, text) for expected, text in zip(why, told, strict=True))


def test_reasons_of_a_job_that_may_start_or_has():
    driver = SchedulerDriver(max_running=2)
    driver.drop(a_file(), a_file())
    driver.start(1)
    assert explain.reasons(explain.take_snapshot(driver.queue, driver.limits), driver.job(1)) == []
    assert explain.reasons(explain.take_snapshot(driver.queue, driver.limits), driver.job(2)) == []


def test_reasons_that_concern_all():
    driver = SchedulerDriver(max_running=1)
    driver.drop(a_file(), a_file())
    driver.start(1)
    drained = evolve(driver.limits, draining=True)
    assert explain.reasons(explain.take_snapshot(driver.queue, drained), driver.job(2)) == [
        "the queue is drained",
        "slots: 1 of 1 taken",
    ]


def test_a_claimed_job_is_being_changed():
    driver = SchedulerDriver()
    driver.drop(a_file())
    claimed, job = queues.claim(driver.queue, 1)
    assert explain.reasons(explain.take_snapshot(claimed, driver.limits), job) == ["being changed"]
    assert policy.select(claimed, driver.limits) == ()
