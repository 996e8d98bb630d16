"""What goes wrong in Ganeti's scheduler does not here: the weaknesses that no other test shows.

Which test shows what is in docs/explanation/ganeti-weaknesses.md; W1 and so on are the numbers there.
"""

from pathlib import Path

import pytest

from jqsched.core import explain
from jqsched.core.admission import buckets
from jqsched.core.job import Reason, State
from jqsched.core.policy import Limits
from tests.core.scheduler_driver import SchedulerDriver, a_file, after
from tests.core.test_admission import a_rule, limited, named
from tests.scheduler.conftest import World

UNITS = sorted((Path(__file__).parents[2] / "docs" / "systemd").glob("*.service"))


def test_who_is_behind_a_paused_job_of_its_bucket_runs_in_every_pass():
    """W2: the paused one is never started and never in the way, pass after pass; the bucket is used to its limit."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.rule(a_rule("PAUSE", named("paused")))
    driver.drop(*[limited("2:x", name="paused", urgency=31)] * 3, *[limited("2:x", name=f"b{n}") for n in range(4)])
    assert driver.schedule() == [4, 5]
    driver.start(4, 5)
    driver.finish(4)
    assert driver.schedule() == [6]
    driver.start(6)
    driver.finish(5)
    driver.finish(6)
    assert driver.schedule() == [7]
    assert {driver.job(id_).state for id_ in (1, 2, 3)} == {State.SCHED}


def test_one_that_cannot_be_started_strands_nobody():
    """W3: it ends with the reason; those chosen with it run, its slot is free, who waits for it is told."""
    world = World(Limits(max_running=3, cores=4, ahead=3))
    world.executor.fail(2, "no room for it")
    world.drop("a")
    world.drop("b")
    world.drop("c")
    world.drop("behind", after=[2])
    world.drop("d")
    world.settle()
    assert world.executor.running() == [(1, 1), (3, 1), (5, 1)]
    assert world.job(2).exception is not None
    assert [world.events(id_)[-1] for id_ in (2, 4)] == ["clean", "clean"]
    world.check()


@pytest.mark.parametrize("topic", ["urgency", "priority", "cancel"])
def test_a_change_whose_commit_fails_is_not_half_made(topic: str):
    """W6: no client is told that it was made; the next start knows the job as it was, and it runs once."""
    world = World()
    world.add("a", "b")
    answers = world.ask(topic, id=2, **{topic: 3} if topic != "cancel" else {})
    world.advance()
    world.store.fails_at = len(world.store.batches) + 1
    world.turn()
    world.store.commit()
    assert world.store.has_failed
    assert answers == []
    world.crash()
    world.store.fails_at = None
    world.boot()
    world.settle()
    assert (world.job(2).urgency, world.job(2).priority) == (16, 16)
    world.end(1)
    assert world.executor.running() == [(2, 1)]
    world.check()


@pytest.mark.parametrize("end", ["lost", "cancel", "finish"])
def test_an_end_overwrites_nothing_of_what_was(end: str):
    """W7: what the store knows of a job only grows; its first attempt stays, and so does what had ended before."""
    world = World()
    world.add("done")
    world.end(1, 3 << 8)
    world.add("a")
    world.ask("requeue", id=2)
    world.settle()
    done, before = world.store.disk.jobs[1], dict(world.store.disk.events)
    assert world.executor.running() == [(2, 2)]
    if end == "lost":
        world.restart(executor=True)
        world.end(2)
    elif end == "cancel":
        world.ask("cancel", id=2)
        world.settle()
    else:
        world.end(2)
    assert world.job(2).attempt == (3 if end == "lost" else 2)
    assert len(world.store.disk.events) > len(before)
    assert {seq: event for seq, event in world.store.disk.events.items() if seq in before} == before
    assert world.store.disk.jobs[1] == done


def test_a_dependent_takes_no_slot_while_it_waits():
    """W10: where only one may run, the two cannot block each other, whatever is done to the first meanwhile."""
    world = World(Limits(max_running=1, cores=4))
    world.add("first", urgency=0)
    world.add("second", after=["first"], urgency=31)
    world.ask("urgency", id=1, urgency=5)
    world.drop("third", after=["second"], urgency=31)
    world.settle()
    assert world.executor.running() == [(1, 1)]
    world.end(1)
    assert world.executor.running() == [(2, 1)]
    world.end(2)
    assert world.executor.running() == [(3, 1)]


def test_those_dropped_together_see_one_another():
    """W10: from the moment at which they are jobs; none of them starts before the one that it waits for."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(a_file("last", after("afterok", "first"), urgency=31), a_file("first"))
    assert driver.schedule() == [2]


def test_a_start_of_which_nothing_is_heard_holds_up_nobody():
    """W14: files are taken, commands answered and other jobs started, while the executor is silent about one."""
    world = World(Limits(max_running=2, cores=4, ahead=3))
    world.executor.holding = True
    world.add("silent")
    world.add("b", "c")
    assert world.executor.running() == [(1, 1), (2, 1)]
    assert set(world.store.disk.jobs) == {1, 2, 3}
    drained = world.ask("stop-starts")
    held = world.ask("submit", text='{"command": ["true"]}')
    world.settle()
    assert (drained, held) == ([{}], [{"id": 4}])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_stop_of_the_service_tells_the_scheduler_only(unit: Path):
    """W18: by systemd's default the jobs, which are in the same control group, would be ended with it."""
    assert "KillMode=process" in unit.read_text().splitlines()
    assert UNITS


@pytest.mark.parametrize("topic", ["stop-starts", "resume"])
def test_what_is_so_already_is_no_error(topic: str):
    """W19: drained twice, resumed twice or without a drain."""
    world = World()
    first = world.ask(topic)
    second = world.ask(topic)
    world.settle()
    assert (first, second) == ([{}], [{}])
    assert world.scheduler.drained == (topic == "stop-starts")


@pytest.mark.parametrize("text", ["0x2:x", " 2:x", "(2):x", "0o2:x", f"{2**64 + 2}:x"])
def test_a_rate_limit_is_read_as_it_is_written(text: str):
    """Not as Haskell reads numbers: nothing else than decimal digits, and none that wraps round."""
    assert buckets((Reason("me", f"rate-limit:{text}"),)) == ()


def test_who_waits_behind_a_stream_of_others_can_be_put_first():
    """W13, which we have too: no age helps a job. But how many are ahead is told, and one command puts it first."""
    driver = SchedulerDriver(max_running=1)
    driver.drop(a_file(urgency=1), a_file("first"))
    for _ in range(5):
        (running,) = driver.schedule()
        driver.start(running)
        driver.drop(a_file(f"after {running}"))
        driver.finish(running)
        assert driver.job(1).state is State.SCHED
    assert explain.ahead(explain.take_snapshot(driver.queue, driver.limits), driver.job(1)) == 1
    driver.urgency(1, 31)
    assert driver.schedule() == [1]
