"""The checks of invariants, which other tests rely on: each sees what is broken, and says what it is."""

import pytest
from attrs import evolve
from pyrsistent import pmap

from jqsched.core import admission, order
from jqsched.core import queue as queues
from jqsched.core.admission import Admission
from jqsched.core.queue import Permit, Queue
from tests.core.scheduler_driver import SchedulerDriver, a_file, after
from tests.core.test_admission import limited

X, Y = admission.buckets(limited("1:x", "1:y").spec.reasons)
LANE = (X, Y)


def an_admission() -> Admission:
    """One job waits at two gates, and may pass."""
    driver = SchedulerDriver()
    driver.drop(limited("1:x", "1:y"))
    return driver.queue.admission


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"groups": pmap({LANE: None})}, "an empty group"),
        ({"watched": pmap({LANE: admission.Gate(X.kind, "1:z", 1)})}, "a group is filed under a strange gate"),
        ({"watch_lists": pmap()}, "watch_lists are not the heads of their groups"),
        ({"watched": pmap({LANE: X, (X,): X})}, "watched of groups that are not there"),
        ({"openings": None}, "openings are not the heads of the watch lists with room"),
        ({"places": pmap({Y: 1})}, "the first opening may not pass"),
    ],
)
def test_a_broken_admission_is_seen(broken, said):
    sound = an_admission()
    admission.check(sound)
    with pytest.raises(AssertionError, match=f"^{said}$"):
        admission.check(evolve(sound, **broken))


def test_a_full_gate_that_is_awake_is_seen():
    """One that is just full."""
    sound = an_admission()
    with pytest.raises(AssertionError, match=r"^openings are not the heads of the watch lists with room$"):
        admission.check(evolve(sound, places=pmap({X: 1})))


def a_queue() -> Queue:
    """A job runs, one is permitted, one is ready, one waits at a gate."""
    driver = SchedulerDriver(max_running=2)
    driver.drop(a_file(), a_file(), a_file(), limited("1:x"))
    driver.start(1)
    return driver.queue


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda sound: {"enqueued": sound.enqueued.set(1, sound.running[1])}, "a job is in two places"),
        (
            lambda sound: {"enqueued": sound.enqueued.set(1, sound.running[1]), "running": sound.running.remove(1)},
            "a started job is enqueued",
        ),
        (
            lambda sound: {"running": sound.running.set(3, sound.enqueued[3]), "enqueued": sound.enqueued.remove(3)},
            "an enqueued job is in running",
        ),
        (
            lambda sound: {"permits": sound.permits.set(9, Permit(1)), "permitted": queues.as_order(9)},
            "a permit for a job that is not enqueued",
        ),
        (lambda _: {"cores_used": 0}, "an index is not what the jobs say"),
        (lambda _: {"names": queues.EMPTY.names}, "an index is not what the jobs say"),
        (lambda _: {"permitted": None, "ready": None}, "an index is not what the jobs say"),
        (
            lambda sound: {"admission": evolve(sound.admission, places=pmap({X: 1}))},
            "an index is not what the jobs say",
        ),
        (
            lambda sound: {"ready": order.add(sound.ready, queues.rank_key(sound.enqueued[2]))},
            "rules and rate limits are not kept as the jobs say",
        ),
        (lambda _: {"permitted": None}, "permits differ from their order"),
    ],
)
def test_a_broken_queue_is_seen(broken, said):
    sound = a_queue()
    queues.check(sound)
    with pytest.raises(AssertionError, match=f"^{said}$"):
        queues.check(evolve(sound, **broken(sound)))


def a_full_queue() -> Queue:
    """There is something in every index."""
    driver = SchedulerDriver(max_running=3)
    driver.drop(
        a_file(), a_file(), a_file("b", after("afterok", 1)), a_file("c", after("begin-time", driver.now_us + 5))
    )
    driver.start(1)
    driver.drop(limited("1:x"), limited("1:x"), a_file("d"), a_file("d"))
    driver.queue, _ = queues.claim(driver.queue, 7)
    return driver.queue


@pytest.mark.parametrize(
    "other",
    [
        lambda here: {"seq": here.seq + 1},
        lambda here: {"last_us": here.last_us + 1},
        lambda here: {"last_id": here.last_id + 1},
        lambda here: {"cores_used": here.cores_used + 1},
        lambda here: {"cores_permitted": here.cores_permitted + 1},
        lambda here: {"enqueued": here.enqueued.remove(8)},
        lambda here: {"running": here.running.remove(1)},
        lambda here: {"manipulated": here.manipulated.remove(7)},
        lambda here: {"permits": here.permits.remove(2)},
        lambda _: {"ready": None},
        lambda _: {"permitted": None},
        lambda _: {"timers": None},
        lambda here: {"names": here.names.set(9, pmap({"a": 1}))},
        lambda here: {"dependents": here.dependents.set(1, 2)},
        lambda here: {"admission": evolve(here.admission, gates=here.admission.gates.remove(5))},
        lambda here: {"admission": evolve(here.admission, places=pmap({X: 1}))},
        lambda here: {
            "admission": evolve(here.admission, groups=here.admission.groups.set((X,), order.build([(1, 2)])))
        },
    ],
)
def test_queues_that_differ_in_anything_are_not_the_same(other):
    here = a_full_queue()
    assert queues.same(here, here)
    assert evolve(here, **other(here)) != here
    assert not queues.same(here, evolve(here, **other(here)))


def test_queues_are_the_same_however_their_trees_are_balanced():
    one, other = (evolve(queues.EMPTY, ready=order.build(())) for _ in range(2))
    keys = [(-16, id_) for id_ in range(1, 6)]
    for key in keys:
        one = evolve(one, ready=order.add(one.ready, key))
    other = evolve(other, ready=order.build(keys))
    assert one != other
    assert queues.same(one, other)
