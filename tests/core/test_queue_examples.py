"""What one event does to a queue, and a run of them at once."""

from functools import reduce

import pytest

from jqsched.core import queue as queues
from jqsched.core.event import Event, IllegalEvent
from jqsched.core.job import Job, State
from jqsched.core.queue import EMPTY
from tests.core.scheduler_driver import USERID, SchedulerDriver, a_file, after
from tests.core.test_admission import limited


@pytest.mark.parametrize("earlier_us", [0, 1])
def test_an_event_that_is_not_after_the_last_is_a_bug_of_ours(earlier_us):
    driver = SchedulerDriver()
    driver.drop(a_file())
    last_us = driver.queue.last_us
    with pytest.raises(IllegalEvent, match=f"^job 1: alloc at {last_us - earlier_us} is not after {last_us}$"):
        queues.evolve(driver.queue, Event(1, last_us - earlier_us, "alloc"))


def test_events_are_counted_and_ids_remembered():
    driver = SchedulerDriver()
    driver.drop(a_file(), a_file())
    driver.cancel(2)
    driver.cancel(1)
    assert (driver.queue.seq, driver.queue.last_us, driver.queue.last_id) == (12, driver.events[-1].t_us, 2)


@pytest.mark.parametrize("urgencies", [(16,), (0, 16)])
def test_a_job_that_was_not_ready_in_between_has_lost_its_permit(urgencies):
    """Also if the events of that come all at once, and in the end it is where it was."""
    driver = SchedulerDriver()
    driver.drop(a_file())
    assert driver.schedule() == [1]
    told = [("urgency", {"userid": 0, "urgency": each}, "priority", {"priority": each}) for each in urgencies]
    pairs = [pair for a, b, c, d in told for pair in ((a, b), (c, d))]
    events = [Event(1, driver.queue.last_us + at, *pair) for at, pair in enumerate(pairs, 1)]
    at_once, one_by_one = queues.evolve_all(driver.queue, events), reduce(queues.evolve, events, driver.queue)
    for queue in (at_once, one_by_one):
        queues.check(queue)
        assert not queue.permits
    assert queues.same(at_once, one_by_one)


def test_what_leaves_the_rank_as_it_is_leaves_the_permit():
    """Two words about a job, at once or not."""
    driver = SchedulerDriver()
    driver.drop(a_file())
    driver.schedule()
    events = [Event(1, driver.queue.last_us + at, "memo") for at in (1, 2)]
    assert queues.evolve_all(driver.queue, events).permits == driver.queue.permits


def test_a_waiting_job_that_is_edited_has_other_gates():
    """Before any follower is told of it."""
    driver = SchedulerDriver()
    driver.drop(a_file(), limited("1:x"))
    driver.edit(2, after("afterok", 1))
    driver.edit(2, reasons=limited("1:y").spec.reasons)
    assert [gate.key for gate in queues.gates_known(driver.queue, 2)] == ["1:y"]


def test_one_id_is_kept_without_a_tree():
    """Most names have one job, and most jobs one that waits: a million trees of one would cost 170 MB."""
    driver = SchedulerDriver()
    driver.drop(a_file(), a_file())
    assert not isinstance(driver.queue.names[USERID]["a"], int)
    driver.cancel(1)
    assert driver.queue.names[USERID]["a"] == 2
    driver.cancel(2)
    assert driver.queue.names == EMPTY.names
    driver.drop(a_file("b"))
    assert driver.queue.names[USERID]["b"] == 3


@pytest.mark.parametrize(
    ("state", "t_run_us", "holds"),
    [
        (State.SCHED, 0, False),
        (State.RUN, 1, True),
        (State.CLEANUP, 1, True),
        (State.CLEANUP, 0, False),  # it ended before it ran, and plugins are not done with it
    ],
)
def test_who_takes_a_slot(state, t_run_us, holds):
    job = Job(1, a_file().spec, 0, state, t_run_us=t_run_us)
    assert queues.holds_slot(job) is holds
