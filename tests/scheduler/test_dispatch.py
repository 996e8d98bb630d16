"""Dispatch: permits, orders, changes of permitted jobs, and what the executor tells; what is durable at each step."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from jqsched.core.job import State
from jqsched.core.policy import Limits
from jqsched.ports import Attempt, Finished, News, PortError, Started, Withdrawn
from tests.scheduler.conftest import LIMITS, World

# ---- permits and orders -------------------------------------------------------------------------------------------


def test_no_order_leaves_before_its_permit_is_durable(world: World) -> None:
    """Handed over is not durable; then it leaves with the commit."""
    world.drop("a")
    world.turn()
    world.turn()
    assert world.head.permits
    assert world.store.pending == 1
    assert world.executor.orders == []
    world.commit()
    assert world.executor.orders == [(1, 1)]


def test_a_job_that_is_permitted_again_waits_for_its_own_permit(world: World) -> None:
    """Edited while its first permit was being written: the order leaves with the commit that holds the edit.

    Seen to fail: the first permit's commit sent the order for what was edited meanwhile, before that was durable.
    """
    world.scheduler.set_drained(True)
    world.add("a")
    world.scheduler.set_drained(False)
    world.turn()
    assert world.store.pending == 1
    world.edit(1, command=["false"])
    world.turn()
    assert 1 in world.head.permits
    world.commit()
    assert world.executor.orders == []
    world.commit()
    assert world.executor.orders == [(1, 1)]


def test_permits_run_ahead_of_the_slots(world: World) -> None:
    """One runs, three wait at the executor, the fifth waits here; in the order of ids."""
    world.add("a", "b", "c", "d", "e")
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == [(2, 1), (3, 1), (4, 1)]
    world.end(1)
    assert world.executor.running() == [(2, 1)]
    assert world.executor.waiting() == [(3, 1), (4, 1), (5, 1)]
    world.check()


def test_an_overtaking_job_recalls_what_it_overtakes(world: World) -> None:
    """Those of higher rank stay, and the recalled come behind it again (law 4)."""
    world.add("a")
    world.add("first", urgency=20)
    world.add("last")
    assert world.executor.waiting() == [(2, 1), (3, 1)]
    world.add("between", urgency=18)
    assert world.executor.asked_back == [(3, 1)]
    assert world.executor.waiting() == [(2, 1), (4, 1), (3, 1)]


def test_what_is_overtaken_before_its_order_left_is_just_dropped(world: World) -> None:
    """The executor never hears of it."""
    world.add("a")
    world.drop("late")
    world.turn()
    assert 2 in world.head.permits
    world.commit()  # accepted, permitted, and not ordered yet
    world.drop("first", urgency=30)
    world.settle()
    assert world.executor.waiting() == [(3, 1), (2, 1)]


def test_a_recalled_job_that_starts_all_the_same_runs(world: World) -> None:
    """The executor was faster: it is started, and the overtaking one comes next."""
    world.add("a", "b")
    world.executor.holding = True
    world.executor.end(1)
    world.advance()  # 2 starts; nobody knows yet
    world.drop("first", urgency=30)
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.job(2).started
    assert world.executor.waiting() == [(3, 1)]
    world.check()


def test_an_at_most_once_job_is_allocated_and_never_ahead(world: World) -> None:
    """Its `alloc` is durable before its order leaves, and it gets none while no slot is free."""
    world.add("a")
    world.add("once", on_interrupt="fail")
    assert world.executor.waiting() == []
    assert world.job(2).state is State.SCHED
    world.executor.holding = True
    world.executor.end(1)
    world.advance()
    world.executor.let_go()
    world.turn()
    assert world.job(2).state is State.RUN
    assert (2, 1) not in world.executor.orders
    world.settle()
    assert world.executor.running() == [(2, 1)]


def test_an_end_is_acknowledged_when_it_is_durable(world: World) -> None:
    """Not before: after a crash the next scheduler must still hear of it."""
    world.add("a")
    world.executor.end(1)
    world.advance()
    world.turn()
    assert world.store.pending == 1
    assert world.executor._finished
    world.commit()
    assert not world.executor._finished


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


def given(answers: list[Any]) -> dict[str, Any] | str:
    assert len(answers) == 1, f"answered {len(answers)} times"
    return answers[0].strerror if isinstance(answers[0], OSError) else answers[0]


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
    """It had started, but nobody had told yet: not dequeued, and not half changed."""
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


# ---- jobs that are allocated but not started -----------------------------------------------------------------------


def allocated(world: World) -> None:
    """Job 1 takes the slot; 2, at most once, is allocated, and waits at the executor for its cores."""
    world.limits = evolve(LIMITS, max_running=2, cores=4)
    world.scheduler.set_limits(world.limits, 0)
    world.add("a", cores=2)
    world.executor.limit(1, 4, 0)  # the executor knows that something else is in the way
    world.add("once", on_interrupt="fail")
    assert world.job(2).state is State.RUN
    assert not world.job(2).started
    assert world.executor.waiting() == [(2, 1)]


def test_cancel_of_an_allocated_job_that_has_not_started(world: World) -> None:
    """Asked back, and ended without a start."""
    allocated(world)
    answers = world.ask("cancel", id=2)
    world.settle()
    assert given(answers) == {"outcome": "stopping"}
    assert world.events(2)[4:] == ["alloc", "exception", "release", "free", "clean"]
    assert world.executor.waiting() == []
    world.check()


def test_requeue_of_an_allocated_job_that_has_not_started(world: World) -> None:
    """Asked back, and queued again as the next attempt; that is no interruption."""
    allocated(world)
    world.ask("requeue", id=2)
    world.settle()
    assert world.job(2).attempt == 2
    assert world.job(2).interruptions == 0
    assert world.executor.orders[-1] == (2, 2)
    world.check()


def test_cancel_of_an_allocated_job_that_starts_all_the_same(world: World) -> None:
    """The executor was faster: it is stopped, and its end is logged."""
    allocated(world)
    world.executor.holding = True
    world.executor.limit(2, 4, 0)  # it starts
    world.ask("cancel", id=2)
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.stopped == [(2, 1)]
    assert world.events(2)[4:] == ["alloc", "exception", "start", "finish", "release", "free", "clean"]
    world.check()


def test_cancel_of_an_allocated_job_whose_order_has_not_left(world: World) -> None:
    """Ended when the allocation is durable; no order leaves."""
    world.drop("once", on_interrupt="fail")
    world.turn()
    assert world.job(1).state is State.RUN
    answers = world.ask("cancel", id=1)
    world.settle()
    assert given(answers) == {"outcome": "stopping"}
    assert world.executor.orders == []
    assert world.events(1)[4:] == ["alloc", "exception", "release", "free", "clean"]
    world.check()


def test_an_allocated_job_that_the_executor_gave_up_is_ordered_again(world: World) -> None:
    """Nobody asked for its end: at most once is not never."""
    allocated(world)
    world.executor.withdraw([(2, 1)])
    world.settle()
    assert world.executor.orders == [(1, 1), (2, 1), (2, 1)]
    assert world.executor.waiting() == [(2, 1)]


# ---- running jobs -------------------------------------------------------------------------------------------------


def test_cancel_of_a_running_job_stops_it_when_that_is_durable(world: World) -> None:
    """First the exception, then TERM, then the end."""
    world.add("a")
    answers = world.ask("cancel", id=1, note="enough")
    world.turn()
    assert (answers, world.executor.stopped) == ([], [])
    world.commit()
    assert (given(answers), world.executor.stopped) == ({"outcome": "stopping"}, [(1, 1)])
    world.settle()
    assert world.events(1)[5:] == ["start", "exception", "finish", "release", "free", "clean"]


def test_requeue_of_a_running_job_runs_it_again_after_its_end(world: World) -> None:
    """The second attempt is ordered when the first is over."""
    world.add("a")
    world.ask("requeue", id=1)
    world.settle()
    assert world.executor.orders == [(1, 1), (1, 2)]
    assert world.executor.running() == [(1, 2)]
    assert world.job(1).interruptions == 0
    world.check()


def test_a_time_limit_ends_a_job(world: World) -> None:
    """The executor only tells; the exception is durable before the job is stopped."""
    world.add("a", time_limit=1)
    world.advance(1_000_000)
    world.turn()
    assert world.executor.stopped == []
    world.commit()
    assert world.executor.stopped == [(1, 1)]
    world.settle()
    assert world.store.disk.jobs[1].exception is not None
    assert world.store.disk.jobs[1].exception.type == "timeout"


def test_a_new_time_limit_reaches_the_running_job(world: World) -> None:
    """By an edit of its file, which may change nothing else."""
    world.add("a", time_limit=100)
    world.edit(1, time_limit=1)
    world.settle()
    world.advance(1_000_000)
    world.settle()
    assert world.executor.stopped == [(1, 1)]


def test_what_cannot_be_started_fails(world: World) -> None:
    """With the text of the executor, at once, and the next one runs."""
    world.executor.fail(1, "no such file")
    world.add("a", "b")
    assert world.store.disk.jobs[1].status == 127 << 8
    assert "exception" in world.events(1)
    assert world.executor.running() == [(2, 1)]


# ---- repeated and late news ---------------------------------------------------------------------------------------


def second_attempt(world: World, *, sent: bool) -> None:
    """Job 1 was requeued, and is queued for its second attempt."""
    world.limits = evolve(LIMITS, max_running=2)
    world.scheduler.set_limits(world.limits, 0)
    world.add("a")
    world.ask("requeue", id=1)
    world.turn()
    world.commit()
    world.executor.limit(0, 0, 0)
    world.drop("other", urgency=0)
    world.turn()
    world.advance()  # Finished(1, 1), with a commit under way
    world.turn()
    assert world.job(1).attempt == 2
    assert 1 in world.head.permits
    assert world.store.pending == 1
    if sent:
        world.settle()
        assert world.executor.orders == [(1, 1), (1, 2)]


def test_an_end_told_twice_leaves_the_next_attempt_alone(world: World) -> None:
    """Its record stays: without it a restart would not know of the process, and run the job a third time.

    Seen to fail: the record of whatever attempt was noted last was forgotten.
    """
    second_attempt(world, sent=False)
    world.scheduler.deliver_news([Finished(1, 1, 15 << 8)])
    assert world.scheduler.dispatch._attempts[1].attempt == 2
    world.settle()
    assert world.executor.orders == [(1, 1), (1, 2)]
    assert world.store.disk.attempts == {1: Attempt(1, 2, boot_id="boot")}
    world.check()


def test_an_end_that_is_not_durable_is_known_to_the_next_executor(world: World) -> None:
    """The end is told, the executor dies, another one is had; then the scheduler dies before the end is durable.

    Seen to fail (found by a seeded story): the new executor had never heard of the attempt, so it said that it never
    started, and it was started again.
    """
    world.drop("a")
    world.turn()
    world.turn()
    world.commit()
    assert world.executor.orders == [(1, 1)]
    world.executor.end(1)
    world.advance()  # Started and Finished: decided, not durable
    world.executor.kill()
    world.advance()
    world.turn()  # has another executor
    world.restart()
    assert world.executor.orders == [(1, 1), (1, 2)]
    assert "exception" in world.events(1)
    world.check()


@pytest.mark.parametrize("late", [Finished(1, 1, 15 << 8), Started(1, 1, 1001, 0), Withdrawn(1, 1)])
def test_late_news_answer_no_question_about_the_next_attempt(world: World, late: News) -> None:
    """A cancel waits for the second attempt's permit; a repeated word about the first says nothing of that.

    Seen to fail: "dequeued" was answered while the executor could still start the job.
    """
    second_attempt(world, sent=True)
    answers = world.ask("cancel", id=1)
    world.scheduler.deliver_news([late])
    world.turn()
    world.commit()
    assert answers == []
    assert 1 in world.head.manipulated
    assert world.scheduler.dispatch._attempts[1].attempt == 2
    world.settle()
    assert given(answers) == {"outcome": "dequeued"}


def test_a_late_withdrawal_does_not_end_what_runs(world: World) -> None:
    """The job runs, and is being ended: it is over when its process is."""
    world.executor.run_for(1, None, stubborn=True)
    world.add("a")
    world.ask("cancel", id=1)
    world.settle()
    world.scheduler.deliver_news([Withdrawn(1, 1)])
    world.settle()
    assert world.job(1).state is State.CLEANUP
    assert set(world.store.disk.attempts) == {1}


def test_an_end_told_twice_is_one_end(world: World) -> None:
    """Repeatable: no event more, and acknowledged again."""
    world.add("a")
    world.end(1)
    before = world.events(1)
    world.scheduler.deliver_news([Started(1, 1, 1001, 0), Finished(1, 1, 0)])
    world.settle()
    assert world.events(1) == before
    assert world.store.disk.attempts == {}


# ---- drain and limits ---------------------------------------------------------------------------------------------


def test_drain_recalls_and_starts_nothing(world: World) -> None:
    """What runs runs on; a free slot stays free; resume starts what was recalled, in order."""
    world.add("a", "b", "c")
    answers = world.ask("drain")
    world.settle()
    assert given(answers) == {}
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == []
    world.add("d")
    world.end(1)
    assert world.executor.running() == []
    world.ask("resume")
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.executor.waiting() == [(3, 1), (4, 1)]
    world.check()


def test_drained_is_durable(world: World) -> None:
    """A restart starts nothing either."""
    world.ask("drain")
    world.settle()
    world.restart()
    world.add("a")
    assert world.scheduler.drained
    assert world.executor.orders == []


def test_lower_limits_stop_nobody(world: World) -> None:
    """Three run on; the next starts when there is room under the new limit."""
    world.limits = Limits(3, 4)
    world.scheduler.set_limits(world.limits, 0)
    world.add("a", "b", "c", "d")
    assert len(world.executor.running()) == 3
    world.scheduler.set_limits(Limits(1, 4), 0)
    world.settle()
    assert world.executor.limits == (1, 4, 0)
    assert len(world.executor.running()) == 3
    world.end(1)
    world.end(2)
    assert world.executor.running() == [(3, 1)]
    world.end(3)
    assert world.executor.running() == [(4, 1)]


def test_queued_jobs_that_could_never_run_any_more_end(world: World) -> None:
    """Fewer cores: permitted or not, the large ones end with an `alloc` exception, the running one does not."""
    world.add("running", cores=4)
    world.add("permitted", cores=3)
    world.add("held", cores=3, urgency=0)
    world.add("small")
    world.scheduler.set_limits(evolve(LIMITS, cores=2), 0)
    world.settle()
    assert world.events(2)[-2:] == ["exception", "clean"]
    assert world.events(3)[-2:] == ["exception", "clean"]
    assert world.executor.running() == [(1, 1)]
    assert world.job(4).state is State.SCHED
    world.check()


# ---- the executor is lost -----------------------------------------------------------------------------------------


def lose_executor(world: World) -> None:
    world.executor.kill()
    world.advance()


def test_a_lost_executor_is_replaced(world: World) -> None:
    """It has the limits, and permits that it never got are given anew."""
    world.add("a", "b")
    world.executor.limits = (0, 0, 0)
    lose_executor(world)
    world.settle()
    assert any("starting another" in line for line in world.log)
    assert world.executor.limits[:2] == (1, 4)
    assert world.executor.running() == [(1, 1)]
    world.check()


def test_attempts_that_are_gone_without_a_trace_are_interrupted(world: World) -> None:
    """By `on_interrupt`: queued again, or ended; and not one that was permitted and provably never started."""
    world.limits = evolve(LIMITS, max_running=2)
    world.scheduler.set_limits(world.limits, 0)
    world.add("again")
    world.add("once", on_interrupt="fail")
    world.executor.kill()
    world.executor._orphans.clear()  # the processes died with it
    world.advance()
    world.settle()
    assert world.job(1).attempt == 2
    assert world.job(1).interruptions == 1
    assert world.store.disk.jobs[2].exception is not None
    assert world.store.disk.jobs[2].exception.type == "interrupted"
    assert world.executor.orders.count((2, 1)) == 1
    world.check()


def test_orders_decided_while_it_was_lost_are_sent_to_the_next(world: World) -> None:
    """Their permits became durable between the loss and the new one."""
    world.drop("a")
    world.turn()
    assert world.store.pending == 1
    lose_executor(world)
    world.store.commit()
    world.turn()
    assert world.executor.orders == [(1, 1)]
    world.settle()
    assert world.executor.running() == [(1, 1)]
    world.check()


def test_a_change_that_waits_when_the_executor_is_lost_is_answered(world: World) -> None:
    """The next one knows nothing of the order: gone, so the job was interrupted, or is dequeued; never silence."""
    world.add("a", "b")
    answers = world.ask("cancel", id=2)
    lose_executor(world)
    world.settle()
    assert len(answers) == 1
    assert 2 not in world.head.manipulated
    world.check()


def test_an_old_recall_does_not_touch_a_new_permit(world: World) -> None:
    """Recalled, the executor lost and replaced, permitted anew: the new permit is not asked back.

    Seen to fail: the recall came with the commit, when the job had another permit.
    """
    world.add("a", "b")
    world.drop("first", urgency=30)
    world.turn()
    asked = list(world.executor.asked_back)
    lose_executor(world)
    world.settle()
    assert world.executor.asked_back in (asked, [(2, 1)])
    assert world.executor.asked_back.count((2, 1)) <= 1
    world.check()


def test_no_executor_to_be_had_ends_the_scheduler(world: World) -> None:
    """PortError out of turn(), and not a retry for ever."""
    world.add("a")
    world.executor.unavailable = PortError("start the executor", "/x", 12, "Cannot allocate memory")
    lose_executor(world)
    with pytest.raises(PortError, match="start the executor"):
        world.turn()


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
