"""A job that is out of the queue while it is changed: what happens to it meanwhile, and where it comes back."""

import pytest
from attrs import evolve

from jqsched.core import policy
from jqsched.core import queue as queues
from jqsched.core.job import State
from tests.core.desk import Desk, a_file, after
from tests.core.test_admission import limited


def claimed(desk: Desk, id_: int) -> Desk:
    taken = queues.claim(desk.queue, id_)
    assert taken is not None
    desk.queue = taken[0]
    queues.check(desk.queue)
    return desk


def released(desk: Desk, id_: int) -> Desk:
    desk.queue = queues.release(desk.queue, id_)
    queues.check(desk.queue)
    assert id_ not in desk.queue.manipulated
    return desk


def test_what_it_waits_for_may_come_meanwhile():
    """Then it is ready when it is back, and nobody is told again."""
    desk = Desk(max_running=9)
    desk.drop(a_file(), a_file("b", after("afterok", 1)))
    claimed(desk, 2).run(1)
    assert desk.state(2) is State.SCHED
    assert not desk.queue.dependents
    assert desk.schedule() == []
    assert released(desk, 2).schedule() == [2]


def test_it_may_be_made_to_wait_meanwhile():
    desk = Desk(max_running=9)
    desk.drop(a_file(), a_file("b"))
    claimed(desk, 2).edit(2, after("afterok", 1), after("begin-time", desk.now_us + 5))
    assert queues.waiters(desk.queue, 1) == [2]
    assert policy.next_timer_us(desk.queue) == desk.now_us + 5
    released(desk, 2).run(1)
    assert desk.state(2) is State.DEPEND
    desk.tick(5)
    assert desk.schedule() == [2]


def test_it_may_end_meanwhile():
    """And is gone: its name, its waits, its claim."""
    desk = Desk()
    desk.drop(a_file("b", after("afterok", "nobody"), after("begin-time", desk.now_us + 5)))
    claimed(desk, 1).cancel(1)
    settled = queues.evolve_all(queues.EMPTY, desk.events)
    assert queues.same(desk.queue, settled)
    assert (len(desk.queue.names), len(desk.queue.dependents), desk.queue.timers) == (0, 0, None)
    assert released(desk, 1).queue is desk.queue


def test_a_running_one_keeps_its_slot_and_its_cores():
    """Until it is over."""
    desk = Desk(max_running=2, cores=4)
    desk.drop(a_file(cores=3), a_file())
    desk.start(1, 2)
    assert (claimed(desk, 1).queue.busy, desk.queue.cores_used) == (2, 4)
    desk.finish(1)
    assert (desk.queue.busy, desk.queue.cores_used) == (1, 1)


@pytest.mark.parametrize("again", [False, True], ids=["runs", "requeued"])
def test_a_running_one_comes_back_where_its_state_belongs(again):
    """One that was interrupted meanwhile is queued, and its cores are free then."""
    desk = Desk(cores=4)
    desk.drop(a_file(cores=3))
    desk.start(1)
    claimed(desk, 1)
    if again:
        desk.interrupt(1)
    assert (desk.queue.busy, desk.queue.cores_used) == (1, 3)
    released(desk, 1)
    assert (1 in desk.queue.running, 1 in desk.queue.enqueued) == (not again, again)
    assert (desk.queue.busy, desk.queue.cores_used) == (0, 0) if again else (1, 3)


def test_a_running_one_may_be_given_more_cores():
    """No command does that yet; the cores that are taken are those of its spec."""
    desk = Desk(cores=9)
    desk.drop(a_file(cores=3))
    desk.start(1)
    claimed(desk, 1)
    larger = evolve(desk.job(1).spec, cores=5)
    update = queues.evolve(
        desk.queue, evolve(desk.events[-1], name="jobspec-update", t_us=desk.now_us + 99, spec=larger)
    )
    assert update.cores_used == 5
    queues.check(update)


def test_a_permitted_one_may_start_meanwhile():
    """Its permit is gone at once; its slot it takes when it is back."""
    desk = Desk(max_running=1, cores=4)
    desk.drop(a_file(cores=3), a_file())
    assert desk.schedule() == [1]
    assert (claimed(desk, 1).queue.permits, desk.queue.cores_permitted) == ({}, 0)
    desk.start(1)
    assert released(desk, 1).state(1) is State.RUN
    assert (desk.queue.busy, desk.queue.cores_used) == (1, 3)


def test_no_job_is_claimed_twice_or_when_it_is_not_there():
    desk = Desk()
    desk.drop(a_file())
    claimed(desk, 1)
    assert queues.claim(desk.queue, 1) is None
    assert queues.claim(desk.queue, 2) is None
    assert queues.release(desk.queue, 2) is desk.queue


def test_one_that_waits_at_a_gate_leaves_it_meanwhile():
    """And is back in its place behind it."""
    desk = Desk()
    desk.drop(limited("1:x"), limited("1:x"))
    assert claimed(desk, 1).schedule() == [2]
    assert released(desk, 1).schedule() == []
    desk.start(2)
    desk.finish(2)
    assert desk.schedule() == [1]
