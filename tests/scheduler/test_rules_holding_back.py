"""Filter rules and rate limits in a whole scheduler: who is paused or over a limit is asked back, and does not run."""

from typing import Any

import pytest

from jqsched.core.job import State
from jqsched.core.policy import Limits
from tests.scheduler.conftest import World
from tests.scheduler.ruled import a_rule, add_rule, answer, ask_rule, named, remove_rule

# ---- PAUSE --------------------------------------------------------------------------------------------------------


def test_a_rule_takes_effect_with_the_next_decision(world: World) -> None:
    """Before it is durable, and for a file that is dropped after it."""
    answers = ask_rule(world)
    world.drop("a")
    world.turn()
    assert answers == []
    assert 1 in world.head.enqueued
    assert not world.head.permits
    world.settle()
    assert world.executor.orders == []


def test_a_pause_asks_back_what_the_executor_holds(world: World) -> None:
    """At once, and only what it stops; the job waits, and goes on when the rule is gone. Who runs runs on."""
    world.add("a", "b", "c")
    ask_rule(world, "PAUSE", ["jobid", ["<=", "id", 2]])
    assert world.executor.asked_back == [(2, 1)]
    world.settle()
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == [(3, 1)]
    assert set(world.store.disk.attempts) == {1, 3}
    world.end(1)
    world.end(3)
    assert world.executor.running() == []
    assert world.job(2).state is State.SCHED
    world.check()
    remove_rule(world)
    assert world.executor.running() == [(2, 1)]
    world.check()


def test_a_permit_whose_order_has_not_left_is_taken_back(world: World) -> None:
    """The executor never hears of it."""
    world.drop("a")
    world.turn()
    assert 1 in world.head.permits
    ask_rule(world)
    assert 1 not in world.head.permits
    world.settle()
    assert (world.executor.orders, world.executor.asked_back) == ([], [])
    assert world.store.disk.attempts == {}
    world.check()


def test_what_has_started_meanwhile_runs_on(world: World) -> None:
    """It was asked back, but the executor was faster."""
    world.add("a", "b", "c")
    world.executor.holding = True
    world.executor.end(1)
    world.advance()  # 2 starts; no news yet
    ask_rule(world)
    assert world.executor.asked_back == [(2, 1), (3, 1)]
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.job(2).started
    world.end(2)
    assert world.executor.running() == []
    world.check()


def test_a_rule_that_is_gone_before_the_executor_has_answered(world: World) -> None:
    """What was asked back comes back, and is permitted again: it runs once."""
    world.add("a", "b")
    ask_rule(world)
    world.ask("filter-remove", uuid="r")
    world.settle()
    assert world.executor.waiting() == [(2, 1)]
    world.end(1)
    world.end(2)
    assert world.events(2).count("start") == 1
    world.check()


def test_a_paused_job_stays_so_when_the_executor_dies(world: World) -> None:
    """Asked back, and the executor is gone before it could answer."""
    world.add("a", "b")
    world.executor.holding = True
    ask_rule(world)
    world.executor.let_go()
    world.executor.kill()
    world.advance()
    world.settle()
    assert (2, 1) not in world.executor.launched
    assert world.job(2).state is State.SCHED
    assert 2 not in world.head.permits
    world.check()


def test_a_paused_job_can_be_changed_and_canceled(world: World) -> None:
    """Also while it is asked back."""
    world.add("a", "b", "c")
    ask_rule(world)
    first, second = world.ask("urgency", id=2, urgency=20), world.ask("cancel", id=3)
    world.settle()
    assert first == [{"outcome": "changed", "old_urgency": 16}]
    assert second == [{"outcome": "dequeued"}]
    assert world.executor.asked_back == [(2, 1), (3, 1)]
    world.check()


def test_the_maintenance_s_own_jobs_run(world: World) -> None:
    """The example of the reference: pause all, accept those with the reason."""
    add_rule(world, "PAUSE", uuid="all", priority=2)
    add_rule(world, "ACCEPT", ["reason", ["=~", "reason", "maintenance pink bunny"]], uuid="own", priority=1)
    world.add("a")
    world.add("own", reason=[["me", "maintenance pink bunny, first part"]])
    assert world.executor.orders == [(2, 1)]


# ---- RATE_LIMIT and buckets ---------------------------------------------------------------------------------------


def test_a_lowered_limit_asks_back_what_is_too_many(world: World) -> None:
    """Of its own jobs, and none while there is room; a job that runs runs on, and counts."""
    world.add("a", "a", "b", "a")
    add_rule(world, ["RATE_LIMIT", 3], named("a"))
    assert world.executor.asked_back == []
    answers = world.ask("filter-replace", uuid="r", rule=a_rule(["RATE_LIMIT", 1], named("a")))
    assert world.executor.asked_back == [(2, 1), (4, 1)]
    world.settle()
    assert answers[0]["rule"]["action"] == ["RATE_LIMIT", 1]
    assert world.executor.waiting() == [(3, 1)]
    world.end(1)
    world.end(3)
    assert world.executor.running() == [(2, 1)]
    world.check()


def test_no_more_run_than_the_limit_says() -> None:
    """Though there are slots; the next one starts when one is over, by rank, and others are not held up."""
    world = World(Limits(max_running=4, cores=4, ahead=3))
    add_rule(world, ["RATE_LIMIT", 2], named("a"))
    world.add("a", "a", "a", "b")
    world.add("a", urgency=20)
    assert world.executor.running() == [(1, 1), (2, 1), (4, 1)]
    world.end(2)
    assert world.executor.running() == [(1, 1), (4, 1), (5, 1)]
    answer(world, "filter-replace", uuid="r", rule=a_rule(["RATE_LIMIT", 3], named("a")))
    assert world.executor.running() == [(1, 1), (3, 1), (4, 1), (5, 1)]
    world.check()


def test_a_limited_job_is_never_permitted_ahead(world: World) -> None:
    """Nor who stands behind it; who stands before it is. It starts when the slot is free."""
    world.add("a", "b")
    world.add("limited", reason=["rate-limit:5:x"])
    world.add("c")
    assert world.executor.waiting() == [(2, 1)]
    world.end(1)
    world.end(2)
    assert world.executor.running() == [(3, 1)]
    assert world.executor.waiting() == [(4, 1)]
    world.check()


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("urgency", {"urgency": 3}), ("priority", {"priority": 3}), ("hold", {}), ("cancel", {}), ("requeue", {})],
)
def test_a_limited_job_keeps_its_place_while_it_is_changed(topic: str, payload: dict[str, Any]) -> None:
    """It had started, and no news had come yet; a place that was free would let another one beside it.

    Seen to fail: with the change its place was given up, and two of a bucket of one ran.
    """
    world = World(Limits(max_running=2, cores=4, ahead=3))
    world.add("a", "b", reason=["rate-limit:1:x"], urgency=0)
    world.executor.holding = True
    world.ask("release", id=1)
    world.ask("release", id=2)
    world.settle()
    assert world.executor.running() == [(1, 1)]
    world.ask(topic, id=1, **payload)
    assert 1 in world.head.manipulated
    world.settle()
    assert world.executor.running() == [(1, 1)]
    assert world.executor.orders == [(1, 1)]
    world.check()
    world.executor.let_go()
    world.settle()
    assert len(world.executor.running()) == 1
    if topic != "requeue":
        if topic != "cancel":
            world.end(1)
        assert world.executor.running() == [(2, 1)]
    world.check()


def test_the_place_of_a_changed_job_is_free_when_it_is_back() -> None:
    """The executor gave it back before it started, and its new form is held: the other one runs."""
    world = World(Limits(max_running=1, cores=4, ahead=3))
    world.add("a")
    world.add("x", "y")
    add_rule(world, ["RATE_LIMIT", 1], ["jobid", [">", "id", 2]])
    answer(world, "filter-replace", uuid="r", rule=a_rule(["RATE_LIMIT", 1], ["jobid", [">", "id", 1]]))
    world.ask("hold", id=2)
    world.settle()
    world.end(1)
    assert world.executor.running() == [(3, 1)]
    world.check()


def test_an_edit_takes_a_job_out_of_its_bucket(world: World) -> None:
    """And into another, with what it asks for."""
    world = World(Limits(max_running=3, cores=4, ahead=3))
    world.add("a", "b", "c", reason=["rate-limit:1:x"])
    assert world.executor.running() == [(1, 1)]
    world.edit(3, reason=["rate-limit:1:y"])
    world.settle()
    assert world.executor.running() == [(1, 1), (3, 1)]
    world.check()
