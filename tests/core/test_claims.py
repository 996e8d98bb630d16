"""A job that is out of the queue while it is changed: what happens to it meanwhile, and where it comes back."""

import pytest
from attrs import evolve

from jqsched.core import policy
from jqsched.core import queue as queues
from jqsched.core.job import State
from tests.core.scheduler_driver import SchedulerDriver, a_file, after
from tests.core.test_admission import limited


def claimed(driver: SchedulerDriver, id_: int) -> SchedulerDriver:
    taken = queues.claim(driver.queue, id_)
    assert taken is not None
    driver.queue = taken[0]
    queues.check(driver.queue)
    return driver


def released(driver: SchedulerDriver, id_: int) -> SchedulerDriver:
    driver.queue = queues.release(driver.queue, id_)
    queues.check(driver.queue)
    assert id_ not in driver.queue.manipulated
    return driver


def test_what_it_waits_for_may_come_meanwhile():
    """Then it is ready when it is back, and no follower is told again."""
    driver = SchedulerDriver(max_running=9)
    driver.drop(a_file(), a_file("b", after("afterok", 1)))
    claimed(driver, 2).run(1)
    assert driver.state(2) is State.SCHED
    assert not driver.queue.dependents
    assert driver.schedule() == []
    assert released(driver, 2).schedule() == [2]


def test_it_may_be_made_to_wait_meanwhile():
    driver = SchedulerDriver(max_running=9)
    driver.drop(a_file(), a_file("b"))
    claimed(driver, 2).edit(2, after("afterok", 1), after("begin-time", driver.now_us + 5))
    assert queues.waiters(driver.queue, 1) == [2]
    assert policy.next_timer_us(driver.queue) == driver.now_us + 5
    released(driver, 2).run(1)
    assert driver.state(2) is State.DEPEND
    driver.tick(5)
    assert driver.schedule() == [2]


def test_it_may_end_meanwhile():
    """And is gone: its name, its waits, its claim."""
    driver = SchedulerDriver()
    driver.drop(a_file("b", after("afterok", "nobody"), after("begin-time", driver.now_us + 5)))
    claimed(driver, 1).cancel(1)
    settled = queues.evolve_all(queues.EMPTY, driver.events)
    assert queues.same(driver.queue, settled)
    assert (len(driver.queue.names), len(driver.queue.dependents), driver.queue.timers) == (0, 0, None)
    assert released(driver, 1).queue is driver.queue


def test_a_running_one_keeps_its_slot_and_its_cores():
    """Until it is over."""
    driver = SchedulerDriver(max_running=2, cores=4)
    driver.drop(a_file(cores=3), a_file())
    driver.start(1, 2)
    assert (claimed(driver, 1).queue.busy, driver.queue.cores_used) == (2, 4)
    driver.finish(1)
    assert (driver.queue.busy, driver.queue.cores_used) == (1, 1)


@pytest.mark.parametrize("again", [False, True], ids=["runs", "requeued"])
def test_a_running_one_comes_back_where_its_state_belongs(again):
    """One that was interrupted meanwhile is queued, and its cores are free then."""
    driver = SchedulerDriver(cores=4)
    driver.drop(a_file(cores=3))
    driver.start(1)
    claimed(driver, 1)
    if again:
        driver.interrupt(1)
    assert (driver.queue.busy, driver.queue.cores_used) == (1, 3)
    released(driver, 1)
    assert (1 in driver.queue.running, 1 in driver.queue.enqueued) == (not again, again)
    assert (driver.queue.busy, driver.queue.cores_used) == (0, 0) if again else (1, 3)


def test_a_running_one_may_be_given_more_cores():
    """No command does that yet; the cores that are taken are those of its spec."""
    driver = SchedulerDriver(cores=9)
    driver.drop(a_file(cores=3))
    driver.start(1)
    claimed(driver, 1)
    larger = evolve(driver.job(1).spec, cores=5)
    update = queues.evolve(
        driver.queue, evolve(driver.events[-1], name="jobspec-update", t_us=driver.now_us + 99, spec=larger)
    )
    assert update.cores_used == 5
    queues.check(update)


def test_a_permitted_one_may_start_meanwhile():
    """Its permit is gone at once; its slot it takes when it is back."""
    driver = SchedulerDriver(max_running=1, cores=4)
    driver.drop(a_file(cores=3), a_file())
    assert driver.schedule() == [1]
    assert (claimed(driver, 1).queue.permits, driver.queue.cores_permitted) == ({}, 0)
    driver.start(1)
    assert released(driver, 1).state(1) is State.RUN
    assert (driver.queue.busy, driver.queue.cores_used) == (1, 3)


def test_no_job_is_claimed_twice_or_when_it_is_not_there():
    driver = SchedulerDriver()
    driver.drop(a_file())
    claimed(driver, 1)
    assert queues.claim(driver.queue, 1) is None
    assert queues.claim(driver.queue, 2) is None
    assert queues.release(driver.queue, 2) is driver.queue


def test_one_that_waits_at_a_gate_leaves_it_meanwhile():
    """And is back in its place behind it."""
    driver = SchedulerDriver()
    driver.drop(limited("1:x"), limited("1:x"))
    assert claimed(driver, 1).schedule() == [2]
    assert released(driver, 1).schedule() == []
    driver.start(2)
    driver.finish(2)
    assert driver.schedule() == [1]
