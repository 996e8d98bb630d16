"""Housekeeping: many jobs are forgotten in steps, others are served between them, and a wrong clock does no harm."""

from typing import Any

import pytest

from jqsched.scheduler import housekeeping
from jqsched.scheduler.housekeeping import MARKS_MAX, event_time_us, marked, read_marks
from tests.scheduler.conftest import World

YEAR_US = 365 * 86_400 * 1_000_000


def finished(world: World, *names: str) -> None:
    for name in names:
        world.add(name)
        world.end(world.store.load().queue.last_id)


# ---- steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["ids", "time", "number"])
def test_many_are_forgotten_in_steps_between_which_others_are_served(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """By ids, by time, or because only so many are kept: no commit holds more than a step, and a job that is dropped
    meanwhile starts before the last step.
    """
    monkeypatch.setattr(housekeeping, "STEP_MIN", 2)
    monkeypatch.setattr(housekeeping, "STEP_MAX", 2)
    world.scheduler.housekeeping._step = 2
    finished(world, *"abcdefghij")
    handed_over = len(world.store.batches)
    answers: list[Any] = [{"purged": 10}]
    match by:
        case "ids":
            answers = world.ask("purge", ids=list(range(1, 11)))
        case "time":
            answers = world.ask("purge", before_us=world.clock.wall_us)
        case _:
            world.scheduler.housekeeping.keep_finished = 0
            world.scheduler.look_at_store()
    world.drop("urgent")
    world.settle()
    batches = world.store.batches[handed_over:]
    assert [len(batch.purged) for batch in batches if batch.purged] == [2] * 5
    started = [number for number, batch in enumerate(batches) if any(event.name == "submit" for event in batch.events)]
    assert started < [number for number, batch in enumerate(batches) if batch.purged][-1:]
    assert answers == [{"purged": 10}]
    assert set(world.store.disk.jobs) == {11}
    world.restart()
    assert world.scheduler.finished_count == 10


@pytest.mark.parametrize(("took_us", "grows"), [(1_000, True), (15_000, False), (200_000, False)])
def test_a_step_is_as_large_as_time_allows(world: World, took_us: int, grows: bool) -> None:
    """As long as it takes about 20 ms it stays as it is."""
    finished(world, "a")
    keeping = world.scheduler.housekeeping
    before = keeping._step
    world.ask("purge", ids=[1])
    world.turn()
    world.clock.advance(took_us)
    world.store.commit()
    world.scheduler.turn()
    assert (keeping._step > before) == grows
    assert (keeping._step < before) == (took_us > housekeeping.STEP_US)


def test_a_scheduler_that_ends_says_that_not_all_is_purged(world: World) -> None:
    """The client that asked is answered, and what is not gone is whole."""
    world.scheduler.housekeeping._step = 1
    finished(world, *"abc")
    answers = world.ask("purge", ids=[1, 2, 3])
    world.turn()
    world.scheduler.stop()
    world.settle()
    assert "the scheduler ends" in str(answers[0])
    assert set(world.store.disk.jobs) == {2, 3}
    world.check()


def test_jobs_that_an_earlier_request_deleted_are_passed_over_a_step_at_a_time(world: World) -> None:
    """However many they are in a row: other work comes between, the rest is deleted, and both are answered."""
    world.scheduler.housekeeping._step = 1
    finished(world, "a", "b")
    first, second = list[Any](), list[Any]()
    world.scheduler.housekeeping.purge([1], first.append)
    world.scheduler.housekeeping.purge([1, *range(10_000, 12_000), 2], second.append)
    turns = 0
    while not world.scheduler.housekeeping.is_idle:
        world.turn()
        world.store.commit()
        turns += 1
    world.settle()
    assert turns > 2_000, "the loop turns between two steps"
    assert (first, second) == ([1], [1])
    assert set(world.store.disk.jobs) == set()


def test_a_step_is_in_a_commit_of_its_own_but_for_one_that_waited_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decided meanwhile does not wait for a step, and steps do not wait without end for the rest."""
    monkeypatch.setattr(housekeeping, "STEP_MAX", 1)
    finished(world, *"abc")
    keeping, world.scheduler.housekeeping._step = world.scheduler.housekeeping, 1
    world.ask("purge", ids=[1, 2, 3])
    for number in range(4):
        world.scheduler.ledger.setting("x", str(number))  # something is to be committed in every turn
        if number == 3:
            world.clock.advance(housekeeping.PATIENCE_US)
        assert keeping.is_due == (number in (0, 3))
        world.scheduler.turn()
        world.scheduler.ledger.flush()
        world.store.commit()
    assert [batch.purged for batch in world.store.batches if batch.purged] == [(1,), (2,)]
    world.settle()
    assert set(world.store.disk.jobs) == set()


def test_what_ends_after_a_purge_was_asked_for_stays(world: World) -> None:
    """Also where it was asked for all that are over now."""
    world.scheduler.housekeeping._step = 1
    finished(world, *"ab")
    answers = world.ask("purge", before_us=world.clock.wall_us)
    finished(world, "late")
    assert answers == [{"purged": 2}]
    assert set(world.store.disk.jobs) == {3}


# ---- ages ---------------------------------------------------------------------------------------------------------


def test_a_clock_that_was_years_ahead_keeps_no_job_for_years(world: World) -> None:
    """Events go on from the times that it gave, and what is old by the clock is forgotten all the same; what is not is
    kept, also after a restart.
    """
    world.clock.wall_us += 5 * YEAR_US
    finished(world, "early")
    world.clock.wall_us -= 5 * YEAR_US
    finished(world, "old")
    world.scheduler.look_at_store()
    world.settle()
    noon_us = world.clock.wall_us
    world.clock.advance(60_000_000)
    finished(world, "new")
    world.restart()
    assert world.ask("purge", before_us=noon_us - 3_600_000_000) == []
    world.settle()
    assert set(world.store.disk.jobs) == {1, 2, 3}
    answers = world.ask("purge", before_us=noon_us)
    world.settle()
    assert (answers, set(world.store.disk.jobs)) == ([{"purged": 2}], {3})
    finished(world, "newest")
    world.scheduler.housekeeping.keep_finished = 1
    world.scheduler.look_at_store()
    world.settle()
    assert set(world.store.disk.jobs) == {4}


def test_marks_are_made_only_where_the_clock_is_behind() -> None:
    """And once for each last event; a wrong clock's own marks go when it is set back."""
    assert marked((), 1_000, 1_000) == ()
    ahead_us = 10 * YEAR_US
    one = marked((), ahead_us, 1_000)
    assert one == ((ahead_us, 1_000),)
    assert marked(one, ahead_us, 9_000) == one
    two = marked(one, ahead_us + 1, 9_000)
    assert marked(two, ahead_us + 2, 5_000) == (*one, (ahead_us + 2, 5_000))
    assert [event_time_us(two, wall_us) for wall_us in (999, 1_000, 8_999, 9_000)] == [
        999, ahead_us + 1, ahead_us + 1, ahead_us + 2,
    ]  # fmt: skip


def test_marks_of_years_stay_few() -> None:
    """The older, the further apart."""
    marks: housekeeping.Marks = ()
    for number in range(10_000):
        marks = marked(marks, 10 * YEAR_US + number, number * 1_000)
    assert len(marks) <= MARKS_MAX
    assert list(marks) == sorted(set(marks))
    assert marks[-100:] == tuple((10 * YEAR_US + number, number * 1_000) for number in range(9_900, 10_000))


@pytest.mark.parametrize("text", [None, "", "{", "7", "[7]", '[["x", 1]]', "[[1, 2, 3]]"])
def test_marks_that_nobody_wrote_are_none(text: str | None) -> None:
    """They only tell ages: nothing rests on them that could not wait."""
    assert read_marks(text) == ()
