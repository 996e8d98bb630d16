"""The loop: start and recovery, failed commits, crashes at any moment, time, and how it ends."""

import random
from collections.abc import Callable

import pytest
from attrs import evolve

from jqsched.core.event import Event
from jqsched.core.job import State
from jqsched.core.queue import same
from jqsched.ports import Attempt, Batch, PortError
from jqsched.scheduler.ledger import EVENTS_MAX
from jqsched.scheduler.loop import AHEAD_TIMES_LONG_LOG, COMMIT_SPACING_US
from tests.scheduler.conftest import LIMITS, World

# ---- recovery: what became of an attempt ---------------------------------------------------------------------------


def exception(world: World, id_: int) -> tuple[str, int]:
    told = world.job(id_).exception
    assert told is not None
    return told.type, told.severity


def test_a_running_job_is_adopted(world: World) -> None:
    """Not ordered again; its end is recorded with its status."""
    world.add("a")
    world.restart()
    assert world.job(1).state is State.RUN
    world.end(1, 3 << 8)
    assert world.job(1).status == 3 << 8
    assert world.executor.orders == [(1, 1)]
    world.check()


def test_a_job_that_ended_meanwhile_is_settled(world: World) -> None:
    """With its real status; and the next one gets the slot."""
    world.add("a", "b")
    world.crash()
    world.executor.end(1, 7 << 8)
    world.advance()
    world.boot()
    world.settle()
    assert world.job(1).status == 7 << 8
    assert world.executor.running() == [(2, 1)]
    assert world.executor.orders.count((1, 1)) == 1
    world.check()


def test_a_job_that_started_and_nobody_knew_is_adopted(world: World) -> None:
    """The store only has its permit: alloc and start follow, and no second process."""
    world.drop("a")
    world.turn()
    world.commit()
    assert world.executor.running() == [(1, 1)]
    assert "alloc" not in world.events(1)
    world.restart()
    assert world.executor.orders == [(1, 1)]
    assert world.events(1)[-2:] == ["alloc", "start"]
    assert world.store.disk.attempts[1].pid > 0
    world.check()


def test_a_permit_that_never_started_is_given_anew(world: World) -> None:
    """It waited at the executor, which gave it up with the scheduler: the same attempt, no interruption."""
    world.add("a", "b")
    world.restart()
    assert world.executor.waiting() == [(2, 1)]
    assert world.job(2).interruptions == 0
    world.check()


def test_an_allocated_job_that_never_started_is_ordered_again(world: World) -> None:
    """At most once, and it has not run at all."""
    world.drop("once", on_interrupt="fail")
    world.turn()
    world.store.commit()  # the order does not leave
    world.restart()
    assert world.executor.orders == [(1, 1)]
    assert world.executor.running() == [(1, 1)]
    world.check()


@pytest.mark.parametrize("permitted_only", [True, False])
def test_a_job_that_is_gone_without_a_trace_was_interrupted(world: World, permitted_only: bool) -> None:
    """Executor and process died with the scheduler: queued again as the next attempt, started or only permitted."""
    world.drop("a")
    world.turn()
    world.commit()
    if not permitted_only:
        world.settle()
    world.crash(executor=True)
    world.executor._orphans.clear()
    world.boot()
    world.settle()
    assert world.job(1).attempt == 2
    assert world.job(1).interruptions == 0  # that counts those of the machine
    assert world.executor.orders == [(1, 1), (1, 2)]
    world.check()


def test_an_at_most_once_job_that_is_gone_fails(world: World) -> None:
    """Severity 0, and not a second run."""
    world.add("once", on_interrupt="fail")
    world.crash(executor=True)
    world.executor._orphans.clear()
    world.boot()
    world.settle()
    assert exception(world, 1) == ("interrupted", 0)
    assert world.executor.orders == [(1, 1)]


def test_a_process_that_outlived_its_executor_is_waited_for(world: World) -> None:
    """No second one beside it; when it is over it is unknown how, so it was interrupted."""
    world.add("a")
    world.restart(executor=True)
    assert world.executor.orders == [(1, 1)]
    world.end(1)
    assert exception(world, 1) == ("interrupted", 2)
    assert world.executor.running() == [(1, 2)]
    world.check()


def test_a_time_limit_that_passed_while_it_was_away_is_a_timeout(world: World) -> None:
    """The executor ended it; the exception says why."""
    world.add("a", time_limit=1)
    world.crash()
    world.advance(2_000_000)
    world.advance(10_000_000)
    world.boot()
    world.settle()
    assert exception(world, 1) == ("timeout", 0)
    assert world.events(1)[-1] == "clean"


def test_a_job_that_was_being_ended_is_ended_again(world: World) -> None:
    """The exception was durable, TERM was not sent: the next scheduler sends it."""
    world.add("a")
    world.ask("cancel", id=1)
    world.turn()
    world.store.commit()
    assert world.executor.stopped == []
    world.restart()
    assert world.executor.stopped == [(1, 1)]
    assert world.store.disk.jobs[1].exception is not None
    assert world.events(1)[-1] == "clean"


def test_a_job_that_was_being_requeued_is_queued_again(world: World) -> None:
    """Whatever its status: as the next attempt, without an interruption."""
    world.add("a")
    world.ask("requeue", id=1)
    world.turn()
    world.store.commit()
    world.crash()
    world.executor.end(1, 0)
    world.advance()
    world.boot()
    world.settle()
    assert (world.job(1).attempt, world.job(1).interruptions) == (2, 0)
    assert world.executor.running() == [(1, 2)]
    world.check()


def test_a_running_job_of_which_no_attempt_is_recorded_was_interrupted(world: World) -> None:
    """A store that says both cannot be (a bug, a repair): it ends in the queue and not in limbo."""
    world.add("a")
    world.crash()
    world.executor._running.clear()
    del world.store.disk.attempts[1]
    world.boot()
    world.settle()
    assert world.job(1).attempt == 2
    world.check()


def test_after_too_many_interruptions_a_job_is_held(world: World) -> None:
    """It stays in the queue until a user looks. What an executor's death took does not count: any job can kill it."""
    world.limits = evolve(LIMITS, interruptions_max=2)
    world.crash()
    world.boot()
    world.add("a")
    for _ in range(3):
        world.crash(executor=True)
        world.executor._orphans.clear()
        world.boot()
        world.settle()
    assert (world.job(1).attempt, world.job(1).interruptions) == (4, 0)
    for _ in range(2):
        world.power_cut(lambda _: 0)
        world.boot()
        world.settle()
    assert (world.job(1).interruptions, world.job(1).urgency) == (2, 0)
    assert world.executor.running() == []


def test_jobs_that_no_longer_fit_end_at_start(world: World) -> None:
    """Fewer cores than when they were accepted."""
    world.add("a")
    world.add("big", cores=4)
    world.limits = evolve(LIMITS, cores=2)
    world.restart()
    assert exception(world, 2) == ("alloc", 0)
    assert world.executor.running() == [(1, 1)]


def test_a_start_without_an_executor_fails(world: World) -> None:
    """PortError out of start(): nothing can be said of what runs."""
    world.add("a")
    world.crash()
    world.executor.unavailable = PortError("start the executor", "/x", 12, "Cannot allocate memory")
    with pytest.raises(PortError, match="start the executor"):
        world.boot()


# ---- failed commits -----------------------------------------------------------------------------------------------


def test_a_failed_commit_stops_everything(world: World) -> None:
    """PortError out of turn(); what is visible stays as it was, no client is told, no order leaves."""
    world.add("a")
    visible, seen, orders = world.visible, list(world.seen), list(world.executor.orders)
    world.store.fails_at = len(world.store.batches) + 1
    answers = world.ask("submit", text='{"command": ["true"]}')
    world.turn()
    world.store.commit()
    with pytest.raises(PortError, match="commit to the store"):
        world.turn()
    assert world.visible is visible
    assert (world.seen, world.executor.orders, answers) == (seen, orders, [])


def test_after_a_failed_commit_nothing_is_lost_and_nothing_runs_twice(world: World) -> None:
    """The next scheduler finds the file that was moved, and the process that runs."""
    world.add("a")
    world.store.fails_at = len(world.store.batches) + 1
    world.drop("b")
    world.turn()
    world.store.commit()
    with pytest.raises(PortError):
        world.turn()
    world.restart()
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == [(2, 1)]
    world.end(1)
    world.end(2)
    assert [job.status for _, job in sorted(world.store.disk.jobs.items())] == [0, 0]
    assert world.executor.orders.count((1, 1)) == 1


def test_a_spool_that_cannot_be_synced_stops_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a failed commit does: the error names the folder."""

    def sync() -> None:
        raise PortError("syncing the spool", "/spool/jobs", 5, "Input/output error")

    monkeypatch.setattr(world.spool, "sync", sync)
    world.drop("a")
    world.turn()
    world.store.commit()
    with pytest.raises(PortError, match="/spool/jobs"):
        world.turn()
    assert world.executor.orders == []


def _story(world: World, rng: random.Random) -> Callable[[], None]:
    """One thing that may happen, at random."""
    ids = [*world.head.enqueued, *world.head.running]
    id_ = rng.choice(sorted(ids)) if ids else 1
    running = world.executor.running()
    return rng.choice(
        [
            lambda: world.drop("j", urgency=rng.choice([16, 16, 0, 30])),
            lambda: world.drop("once", on_interrupt="fail"),
            lambda: world.ask(rng.choice(["cancel", "hold", "release", "requeue"]), id=id_) and None,
            lambda: world.ask("urgency", id=id_, urgency=rng.randint(0, 31)) and None,
            lambda: world.executor.end(rng.choice(running)[0]) if running else None,
            lambda: world.turn() and None,
            world.commit,
            world.store.commit,
            world.advance,
        ]
    )


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_lost_and_nothing_runs_twice_whenever_it_crashes(seed: int) -> None:
    """Random moves, and a crash of the scheduler (now and then of its executor too) after each few of them.

    One process for an attempt at most; each file dropped is a job that ends, once, or was canceled; the visible queue
    is always what the store holds or less.
    """
    rng = random.Random(seed)
    world = World(evolve(LIMITS, max_running=2))
    for _ in range(6):
        for _ in range(rng.randint(1, 12)):
            _story(world, rng)()
        world.crash(executor=rng.random() < 0.2)
        world.boot()
        world.turn()
    world.settle()
    world.check()
    assert same(world.visible.settled(), world.store.load().queue)
    assert set(world.store.disk.jobs) == set(range(1, world.head.last_id + 1))
    for id_ in sorted(world.head.enqueued):
        world.ask("release", id=id_)
    while world.executor.running():
        world.end(world.executor.running()[0][0])
    world.settle()
    assert not world.head.running
    for id_, job in world.store.disk.jobs.items():
        starts = [event for event in world.events(id_) if event == "start"]
        attempts = [event for event in world.events(id_) if event == "requeue"]
        assert len(starts) <= len(attempts) + 1, f"seed {seed}: job {id_} started more often than it had attempts"
        assert job.state is State.INACTIVE or job.priority == 0, f"seed {seed}: job {id_} is left in {job.state.name}"
    assert world.store.disk.attempts == {}
    assert world.spool.files.jobs.keys() == set(world.head.enqueued)


# ---- batches ------------------------------------------------------------------------------------------------------


def test_what_comes_while_a_commit_is_under_way_goes_into_the_next(world: World) -> None:
    """One batch at a time, whatever the number of requests."""
    world.add(*"abcdef", urgency=0)
    before = len(world.store.batches)
    answers = [world.ask("hold", id=1)]
    world.turn()
    answers += [world.ask("release", id=id_) for id_ in range(1, 7)]
    world.turn()
    world.turn()
    assert len(world.store.batches) == before + 1
    world.commit()
    assert len(world.store.batches) == before + 2
    assert [len(answer) for answer in answers] == [1, 0, 0, 0, 0, 0, 0]
    world.commit()
    assert [len(answer) for answer in answers] == [1] * 7


def test_where_nobody_waits_commits_keep_their_distance(world: World) -> None:
    """It says until when; what a client waits for goes at once."""
    world.add("a", "b")
    world.turn()
    world.scheduler.ledger.setting("x", "1")
    world.clock.advance(COMMIT_SPACING_US)
    world.scheduler.turn()
    world.store.commit()
    world.scheduler.turn()
    batches = len(world.store.batches)
    world.scheduler.ledger.setting("x", "2")
    due_us = world.scheduler.turn()
    assert due_us == world.clock.monotonic_us() + COMMIT_SPACING_US
    assert len(world.store.batches) == batches
    world.ask("hold", id=99)
    world.ask("stop-starts")
    world.scheduler.turn()
    assert len(world.store.batches) == batches + 1


def test_where_the_log_is_long_commits_are_fewer_and_larger(world: World) -> None:
    """Further apart, with more permits ahead, but never larger than a batch should be; what is awaited goes at once."""
    world.store.spacing_us = 50 * COMMIT_SPACING_US
    world.scheduler.look_at_store()
    world.add(*(f"job{number}" for number in range(30)))
    assert len(world.executor.waiting()) == AHEAD_TIMES_LONG_LOG * world.limits.ahead
    world.settle()
    batches = len(world.store.batches)
    world.scheduler.ledger.setting("x", "1")
    world.clock.advance(COMMIT_SPACING_US)
    assert world.scheduler.turn() == world.scheduler._last_flush_us + 50 * COMMIT_SPACING_US
    assert len(world.store.batches) == batches
    for number in range(600):
        world.drop(f"held{number}", urgency=0)
    while len(world.store.batches) == batches:
        world.scheduler.turn()
    assert EVENTS_MAX <= len(world.store.batches[-1].events) < 2 * EVENTS_MAX
    assert world.clock.monotonic_us() - world.scheduler._last_flush_us == 0


def test_a_full_log_stops_acceptance_and_starts_until_there_is_room(world: World) -> None:
    """What runs ends, what was permitted is called back, and what is dropped waits where it is."""
    world.add("a", "b")
    world.store.is_log_full = True
    world.scheduler.look_at_store()
    world.settle()
    assert (world.executor.running(), world.executor.waiting()) == ([(1, 1)], [])
    world.drop("c")
    (answer,) = world.ask("submit", text='{"command": ["true"]}')
    assert "the store's log is full" in str(answer)
    world.settle()
    world.end(1)
    assert [world.job(1).state, world.job(2).state] == [State.INACTIVE, State.SCHED]
    world.store.is_log_full = False
    world.scheduler.look_at_store()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.job(3).state is State.SCHED


def test_observers_see_each_event_once_and_in_order(world: World) -> None:
    """As they become durable; what they see is what the store holds."""
    world.add("a", "b")
    world.end(1)
    assert world.seen == [event for _, event in sorted(world.store.disk.events.items())]


def test_tasks_of_other_threads_are_done_in_the_next_turn(world: World) -> None:
    """In the order in which they were posted, those posted meanwhile too."""
    done: list[int] = []
    world.scheduler.post(lambda: (done.append(1), world.scheduler.post(lambda: done.append(3)))[0])
    world.scheduler.post(lambda: done.append(2))
    assert done == []
    world.turn()
    assert done == [1, 2, 3]


# ---- time ---------------------------------------------------------------------------------------------------------


def test_a_commit_that_is_not_urgent_makes_no_begin_time_late(world: World) -> None:
    """The next turn is due at the earlier of both."""
    begin_us = world.clock.wall_us + 60_000_000
    world.add("a", dependencies=[{"scheme": "begin-time", "value": begin_us / 1_000_000}])
    world.clock.wall_us = begin_us - COMMIT_SPACING_US // 5
    world.scheduler._last_flush_us = world.clock.monotonic_us()
    world.scheduler.ledger.after(lambda: None)
    assert world.scheduler.turn() == world.clock.monotonic_us() + COMMIT_SPACING_US // 5


def test_a_full_queue_does_not_spin(world: World) -> None:
    """A file that is not quiet yet is to be looked at again, but there is no room for it: nothing is due."""
    world.scheduler.intake.queue_max = 1
    world.add("a", urgency=0)
    now_us = world.scheduler.intake.again_us = world.clock.monotonic_us()
    assert world.scheduler.turn() is None
    world.scheduler.intake.queue_max = 2
    assert world.scheduler._next_due_us(now_us) == now_us


def test_a_begin_time_releases_a_job(world: World) -> None:
    """The loop says when it is due, and then it starts; by the wall clock, whatever the other one says."""
    begin_us = world.clock.wall_us + 60_000_000
    world.add("a", dependencies=[{"scheme": "begin-time", "value": begin_us / 1_000_000}])
    assert world.executor.orders == []
    due_us = world.scheduler.turn()
    assert due_us is not None
    assert due_us - world.clock.monotonic_us() == begin_us - world.clock.wall_us
    world.clock.wall_us = begin_us
    world.settle()
    assert world.executor.running() == [(1, 1)]


def test_a_clock_that_goes_back_does_not_turn_events_round(world: World) -> None:
    """Times increase strictly; nothing waits for the clock to come back."""
    world.add("a")
    world.clock.wall_us -= 86_400_000_000
    world.add("b")
    world.end(1)
    times = [event.t_us for _, event in sorted(world.store.disk.events.items())]
    assert times == sorted(set(times))
    assert world.executor.running() == [(2, 1)]


# ---- the end ------------------------------------------------------------------------------------------------------


def test_stop_starts_nothing_more_and_settles(world: World) -> None:
    """What was decided becomes durable; permits come back; the running job runs on."""
    world.add("a", "b")
    world.drop("c")
    world.scheduler.stop()
    assert not world.scheduler.is_stopped
    world.settle()
    assert world.scheduler.is_stopped
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == []
    assert set(world.store.disk.jobs) == {1, 2}
    assert len(world.spool.files.drops) == 1


def test_an_order_that_had_not_left_when_it_was_stopped_never_does(world: World) -> None:
    """Its permit was being written."""
    world.drop("a")
    world.turn()
    world.scheduler.stop()
    world.settle()
    assert world.executor.orders == []
    assert world.store.disk.attempts == {}


def test_idle_is_when_nothing_can_start_without_somebody(world: World) -> None:
    """Held jobs and those that wait for a name are left over, and named; a running or startable one is work."""
    world.drop("held", urgency=0)
    assert not world.scheduler.is_idle
    world.settle()
    world.add("waits", after=["nobody"])
    assert world.scheduler.is_idle
    lines = list(world.scheduler.left_over())
    assert any("held (urgency 0)" in line for line in lines)
    assert any("no job named nobody" in line for line in lines)
    world.add("a")
    assert not world.scheduler.is_idle
    world.end(3)
    assert world.scheduler.is_idle


def test_a_store_without_a_scheduler_that_knows_it_is_loaded_as_it_is(world: World) -> None:
    """Attempts of jobs that are unknown (purged, repaired) are forgotten, and disturb no other."""
    world.add("a")
    world.store.disk.write(Batch(world.head, world.head.seq + 1, attempts=(Attempt(77, 1),)))
    world.restart()
    assert set(world.store.disk.attempts) == {1}
    world.check()


def test_only_so_many_finished_jobs_are_kept(world: World) -> None:
    """The oldest go, and still count; asked twice before the commit, no more go than should."""
    world.add(*"abcde")
    for id_ in range(1, 6):
        world.end(id_)
    world.scheduler.housekeeping.keep_finished = 2
    world.scheduler.look_at_store()
    world.scheduler.look_at_store()
    world.settle()
    assert set(world.store.disk.jobs) == {4, 5}
    world.restart()
    assert world.scheduler.finished_count == 5


def test_events_are_as_the_life_of_a_plain_job(world: World) -> None:
    """Exactly ten."""
    world.add("a")
    world.end(1)
    log: list[Event] = [event for event in world.seen if event.jobid == 1]
    assert [event.name for event in log] == (
        ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]
    )
