"""Dispatch: a change of a permitted job waits until the permit is given back, and is answered once and truly."""

from collections.abc import Callable
from typing import Any

import pytest

from jqsched.core.job import State
from jqsched.ports import Finished
from tests.scheduler.conftest import World
from tests.scheduler.dispatched import given, lose_executor

# ---- changes of permitted jobs ------------------------------------------------------------------------------------

# What a user may do to a queued job: topic, payload, the answer when it was queued, and when it had started.
CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any] | str]] = [
    ("cancel", {}, {"outcome": "dequeued"}, {"outcome": "stopping"}),
    ("urgency", {"urgency": 3}, {"outcome": "changed", "old_urgency": 16}, "already started"),
    ("priority", {"priority": 3}, {"outcome": "changed"}, "already started"),
    ("hold", {}, {"outcome": "changed", "old_urgency": 16}, "already started"),
    ("release", {}, {"outcome": "changed"}, "already started"),
    ("requeue", {}, {"outcome": "queued"}, {"outcome": "stopping"}),
]
change = pytest.mark.parametrize(("topic", "payload", "queued", "started"), CHANGES, ids=[row[0] for row in CHANGES])


@change
def test_a_change_waits_until_the_permit_is_given_back(
    world: World, topic: str, payload: dict[str, Any], queued: dict[str, Any], started: object
) -> None:
    """Asked back once, answered after the executor's word and the commit, and truly."""
    world.add("a", "b")
    answers = world.ask(topic, id=2, **payload)
    assert 2 in world.head.manipulated
    assert world.executor.asked_back == [(2, 1)]
    world.turn()
    assert answers == []
    world.advance()  # Withdrawn
    world.turn()
    assert answers == []
    world.commit()
    assert given(answers) == queued
    world.settle()
    world.check()


@change
def test_a_change_that_comes_too_late_says_so(
    world: World, topic: str, payload: dict[str, Any], queued: object, started: dict[str, Any] | str
) -> None:
    """It had started, but no news had come yet: not dequeued, and not half changed."""
    world.add("a", "b")
    world.executor.holding = True
    world.executor.end(1)
    world.advance()  # 2 starts
    answers = world.ask(topic, id=2, **payload)
    world.advance()
    world.settle()
    assert answers == []
    world.executor.let_go()
    world.settle()
    assert given(answers) == started
    assert world.job(2).started
    world.check()


@change
def test_a_change_of_a_job_that_ended_meanwhile_says_so(
    world: World, topic: str, payload: dict[str, Any], queued: object, started: object
) -> None:
    """Started and finished before the executor heard: finished, and nothing of the change."""
    world.add("a", "b")
    world.executor.run_for(2, 0)
    world.executor.holding = True
    world.executor.end(1)
    world.advance()
    world.advance()
    answers = world.ask(topic, id=2, **payload)
    world.advance()
    world.executor.let_go()
    world.settle()
    outcome = given(answers)
    if topic in ("cancel", "requeue"):  # its start was told before its end
        assert outcome == started
    else:
        assert outcome == "already started"
    assert 2 not in world.head.manipulated
    assert world.executor.orders.count((2, 1)) == 1
    world.check()


@change
def test_a_permit_whose_order_has_not_left_is_taken_back_at_once(
    world: World, topic: str, payload: dict[str, Any], queued: dict[str, Any], started: object
) -> None:
    """The executor is not asked; the answer waits for the commit only."""
    world.add("a")
    world.drop("b")
    world.turn()
    assert 2 in world.head.permits
    answers = world.ask(topic, id=2, **payload)
    world.turn()
    world.settle()
    assert given(answers) == queued
    assert world.executor.asked_back == []
    world.check()


def test_changes_that_come_together_are_made_in_their_order(world: World) -> None:
    """One question to the executor; each has its answer, each sees what those before it did."""
    world.add("a", "b")
    first = world.ask("urgency", id=2, urgency=5)
    second = world.ask("cancel", id=2)
    third = world.ask("hold", id=2)
    assert world.executor.asked_back == [(2, 1)]
    world.settle()
    assert given(first) == {"outcome": "changed", "old_urgency": 16}
    assert given(second) == {"outcome": "dequeued"}
    assert given(third) == "job is finished"
    assert world.events(2)[-3:] == ["priority", "exception", "clean"]


def test_a_change_of_a_recalled_job_is_answered(world: World) -> None:
    """Overtaken and canceled before the recall was even sent: it is asked back, and canceled.

    Seen to fail: the recall was not sent for a claimed job, and the answer came only when the job had run.
    """
    world.add("a", "b")
    world.drop("first", urgency=30)
    world.turn()
    assert world.head.permits[2].recalled
    answers = world.ask("cancel", id=2)
    world.settle()
    assert given(answers) == {"outcome": "dequeued"}
    world.check()


def test_an_edit_of_a_permitted_job_waits_too(world: World) -> None:
    """The order that had left is not run; the next one is for the new command."""
    world.add("a", "b")
    world.edit(2, command=["false"])
    assert world.executor.asked_back == [(2, 1)]
    assert world.job(2).spec.command == ("true",)
    world.settle()
    assert world.job(2).spec.command == ("false",)
    assert world.executor.orders == [(1, 1), (2, 1), (2, 1)]
    assert world.executor._waiting[2, 1].spec.command == ("false",)


def test_a_second_edit_is_compared_with_the_first(world: World) -> None:
    """Two edits while the executor is asked: the file says 16 in the end, and so does the job.

    Seen to fail: both were compared with the file as it was before, and the first one's urgency stayed.
    """
    world.add("a", "b")
    world.edit(2, urgency=20)
    world.edit(2, urgency=16)
    world.settle()
    assert world.job(2).urgency == 16


def test_a_manipulated_job_is_not_started_and_blocks_its_dependents(world: World) -> None:
    """Law 5: while the executor is asked, a free slot goes to another."""
    world.add("a", "b")
    world.executor.holding = True
    world.ask("cancel", id=2)
    world.add("dependent", dependencies=[{"scheme": "afterany", "value": "2"}])
    world.add("other")
    world.executor.end(1)
    world.advance()
    world.scheduler.deliver_news([item for item in world.executor.held if isinstance(item, Finished)])
    world.settle()
    assert world.executor.running() == [(4, 1)]
    assert world.job(3).state is State.DEPEND


# ---- any two moves around a change --------------------------------------------------------------------------------

Move = Callable[[World], object]
MOVES: list[tuple[str, Move]] = [
    ("turn", lambda world: world.turn()),
    ("commit", lambda world: world.commit()),
    ("advance", lambda world: world.advance()),
    ("end", lambda world: [world.executor.end(id_) for id_, _ in world.executor.running()]),
    ("lose", lose_executor),
]


@pytest.mark.parametrize("second", MOVES, ids=[name for name, _ in MOVES])
@pytest.mark.parametrize("first", MOVES, ids=[name for name, _ in MOVES])
@change
def test_every_interleaving_is_answered_once_and_truly(
    topic: str,
    payload: dict[str, Any],
    queued: dict[str, Any],
    started: object,
    first: tuple[str, Move],
    second: tuple[str, Move],
) -> None:
    """Any two moves before and after a change of the next job in turn: `dequeued` means that it never runs."""
    world = World()
    world.drop("a")
    world.drop("b")
    for move in (first, second):
        move[1](world)
    world.settle()
    world.drop("c", urgency=30)
    first[1](world)
    ran_before = world.executor.orders.count((2, 1))
    answers = world.ask(topic, id=2, **payload)
    second[1](world)
    world.settle()
    assert len(answers) == 1
    if answers[0] == {"outcome": "dequeued"}:
        assert "start" not in world.events(2)
        assert (2, 1) not in world.executor.running()
        assert world.executor.orders.count((2, 1)) == ran_before
    world.check()
