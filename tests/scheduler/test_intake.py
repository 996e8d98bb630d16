"""Intake: drops in steps, refusals, the limit of the queue, and edits and deletions, also while it was down."""

import json
from typing import Any

import pytest
from attrs import evolve

from jqsched.core.job import State
from jqsched.scheduler.intake import STEP
from tests.scheduler.conftest import LIMITS, World

# ---- drops --------------------------------------------------------------------------------------------------------


def test_files_are_taken_in_steps(world: World) -> None:
    """The first start before the last are taken; none is forgotten."""
    for at in range(2 * STEP + 5):
        world.drop(f"j{at}")
    world.turn()
    assert world.spool.steps == [STEP]
    world.store.commit()
    world.scheduler.turn()
    assert world.executor.running() == [(1, 1)]
    world.settle()
    assert world.spool.steps[:3] == [STEP, STEP, 5]
    assert len(world.store.disk.jobs) == 2 * STEP + 5
    world.check()


def test_no_step_while_a_commit_is_under_way(world: World) -> None:
    """Files are not taken faster than they become durable."""
    for at in range(STEP + 1):
        world.drop(f"j{at}")
    world.turn()
    world.turn()
    world.turn()
    assert world.spool.steps == [STEP]


def test_ids_follow_the_names_of_one_scan(world: World) -> None:
    """And what came with `submit` has its own."""
    world.drop("b")
    world.drop("a")
    world.settle()
    assert world.ask("submit", text='{"command": ["true"], "name": "c"}') == []
    world.settle()
    assert [job.spec.name for _, job in sorted(world.store.disk.jobs.items())] == ["b", "a", "c"]


def test_the_folders_are_synced_before_the_commit_that_accepts(world: World) -> None:
    """And after it only when files were moved again."""
    world.add("a")
    synced = world.spool.syncs
    assert synced >= 1
    world.ask("hold", id=1)
    world.settle()
    assert world.spool.syncs == synced


def test_a_file_that_is_no_job_is_set_aside_and_told(world: World) -> None:
    """The folders are synced for it with the next commit, and the good one beside it is taken."""
    world.spool.files.drops["bad.json"] = "{"
    world.add("good")
    assert set(world.spool.files.rejected) == {"bad.json"}
    assert any("rejected bad.json" in line for line in world.log)
    assert world.job(1).spec.name == "good"
    synced = world.spool.syncs
    world.spool.files.drops["bad.json"] = "{"
    world.scheduler.intake.more = True
    world.settle()
    world.ask("stop-starts")
    world.settle()
    assert world.spool.syncs == synced + 1


def test_what_is_refused_after_it_was_taken_is_set_aside_and_its_id_is_spent(world: World) -> None:
    """Under the name by which it was dropped; a restart does not give the id again either."""
    world.drop("bad", after=[99])
    world.settle()
    assert world.spool.files.jobs == {}
    (name,) = world.spool.files.rejected
    assert "job 99 is unknown" in world.spool.files.rejected[name][1]
    assert name.endswith("-bad.json")
    world.restart()
    world.add("good")
    assert set(world.store.disk.jobs) == {2}


def test_a_spent_id_stays_spent_after_a_purge(world: World) -> None:
    """The purge keeps the highest id, and that is the refused one's.

    Seen to fail: the highest id of a job was written over it.
    """
    world.executor.run_for(1, 0)
    world.add("a")
    world.advance(1)
    world.settle()
    world.drop("bad", after=[99])
    world.settle()
    world.ask("purge", ids=[1])
    world.settle()
    assert world.store.disk.jobs == {}
    world.restart()
    world.add("good")
    assert set(world.store.disk.jobs) == {3}


def test_refusals_in_the_middle_leave_the_others(world: World) -> None:
    """A cycle in one scan: the one that closes it is refused, the rest are jobs."""
    world.drop("a", after=["b"])
    world.drop("b", after=["a"])
    world.drop("c")
    world.settle()
    assert {job.spec.name for job in world.store.disk.jobs.values()} == {"a", "c"}
    assert len(world.spool.files.rejected) == 1
    world.check()


def test_no_more_are_queued_than_may_be(world: World) -> None:
    """The rest waits in the drop zone, and is taken as places come free.

    Seen to fail: a whole step was taken as long as there was one place.
    """
    world.scheduler.intake.queue_max = 3
    for name in "abcdef":
        world.drop(name, urgency=0)
    world.settle()
    assert len(world.head.enqueued) == 3
    assert len(world.spool.files.drops) == 3
    world.ask("cancel", id=2)
    world.settle()
    assert len(world.head.enqueued) == 3
    assert len(world.spool.files.drops) == 2


def test_a_full_queue_refuses_what_comes_by_command(world: World) -> None:
    """It cannot wait as a file does: submit and the requeue of a finished job say so, and no id is spent."""
    world.add("a")
    world.end(1)
    world.scheduler.intake.queue_max = 1
    world.add("b", urgency=0)
    answers = [*world.ask("submit", text='{"command": ["true"]}'), *world.ask("requeue", id=1)]
    assert [str(answer) for answer in answers] == [
        "[Errno 22] the queue is full (queue_max = 1): a dropped file would wait"
    ] * 2
    world.ask("cancel", id=2)
    world.settle()
    world.ask("submit", text='{"command": ["true"]}')
    world.settle()
    assert world.job(3).id == 3


def test_a_job_that_could_never_run_here_ends_at_once(world: World) -> None:
    """More cores than there are: an `alloc` exception, and its file goes."""
    world.add("big", cores=9)
    assert world.events(1)[-2:] == ["exception", "clean"]
    assert world.spool.files.jobs == {}


def test_the_file_of_a_job_that_ended_is_removed_when_that_is_durable(world: World) -> None:
    """Not before: a crash in between must not make a new drop of it, nor lose it."""
    world.add("a")
    world.executor.end(1)
    world.advance()
    world.turn()
    assert 1 in world.spool.files.jobs
    world.commit()
    assert 1 not in world.spool.files.jobs


def test_a_name_is_the_newest_job_of_it_and_not_the_last_to_end(world: World) -> None:
    """The older one's end is not durable yet, which changes nothing: the newer failed, so the next is waited for.

    Seen to fail: for the time of a commit the older one counted.
    """
    world.scheduler.set_limits(evolve(LIMITS, max_running=2), 0)
    world.add("x", "x")
    world.end(2, 1 << 8)
    world.executor.end(1)
    world.advance()
    world.add("dependent", after=["x"])
    assert world.job(3).waits == ("after-success=x",)


# ---- leftovers of a crash -----------------------------------------------------------------------------------------


def test_a_file_that_was_moved_and_not_accepted_is_taken_at_the_next_start(world: World) -> None:
    """With its id; once."""
    world.drop("a")
    world.turn()
    assert world.store.pending == 1
    world.restart()
    assert set(world.store.disk.jobs) == {1}
    assert world.executor.orders == [(1, 1)]
    world.restart()
    assert set(world.store.disk.jobs) == {1}
    world.check()


def test_the_file_of_a_finished_job_is_removed_at_start(world: World) -> None:
    """Its end was durable, its file still there: no second run."""
    world.add("a")
    world.executor.end(1)
    world.advance()
    world.turn()
    world.store.commit()
    assert 1 in world.spool.files.jobs
    world.restart()
    assert world.spool.files.jobs == {}
    assert world.executor.orders == [(1, 1)]


# ---- edits --------------------------------------------------------------------------------------------------------


def stored(world: World, id_: int) -> dict[str, Any]:
    text = world.store.file(id_)
    assert text is not None
    return json.loads(text)


def test_an_edit_becomes_events_and_the_accepted_file(world: World) -> None:
    """In one commit; and it takes the place that its new urgency gives it."""
    world.add("a")
    world.add("b", "c", urgency=10)
    world.edit(3, urgency=20)
    world.settle()
    assert world.job(3).urgency == 20
    assert world.events(3)[-2:] == ["urgency", "priority"]
    assert stored(world, 3)["urgency"] == 20
    assert world.executor.waiting() == [(3, 1), (2, 1)]
    world.check()


def test_an_invalid_edit_leaves_the_job_as_it_was(world: World) -> None:
    """The reason is beside the file and in the job's log; the next good edit removes it."""
    world.add("a", urgency=0)
    world.edit(1, urgency=99)
    world.settle()
    assert "urgency" in world.spool.files.reasons[1]
    assert world.events(1)[-1] == "exception"
    assert stored(world, 1)["urgency"] == 0
    world.edit(1, urgency=1)
    world.settle()
    assert world.spool.files.reasons == {}
    assert world.job(1).urgency == 1


@pytest.mark.parametrize("keys", [{"name": "other"}, {"after": [99]}, {"dependencies": [{"scheme": "x"}]}])
def test_what_cannot_be_changed_is_refused(world: World, keys: dict[str, Any]) -> None:
    """A name, and dependencies that cannot be: the last good form holds."""
    world.add("a", urgency=0)
    world.edit(1, **keys)
    world.settle()
    assert world.spool.files.reasons[1]
    assert (world.job(1).spec.name, world.job(1).waits) == ("a", ())
    assert stored(world, 1).keys() == {"command", "name", "urgency"}


def test_an_edit_of_a_running_job_is_refused_but_for_its_time_limit(world: World) -> None:
    """The reason says so."""
    world.add("a")
    world.edit(1, command=["false"])
    world.settle()
    assert "runs already" in world.spool.files.reasons[1]
    assert world.job(1).spec.command == ("true",)


def test_a_job_whose_file_is_deleted_is_canceled_while_it_is_queued(world: World) -> None:
    """With a note; a running one runs on."""
    world.add("a", "b")
    for id_ in (1, 2):
        del world.spool.files.jobs[id_]
    world.scheduler.intake.look_at([1, 2])
    world.settle()
    assert world.store.disk.jobs[2].exception is not None
    assert world.store.disk.jobs[2].exception.note == "its job file was removed"
    assert world.executor.running() == [(1, 1)]
    assert world.job(1).state is State.RUN


def test_a_deletion_that_comes_too_late_has_no_effect(world: World) -> None:
    """It started while the executor was asked: as if it had run before."""
    world.add("a", "b")
    world.executor.holding = True
    world.executor.end(1)
    world.advance()
    del world.spool.files.jobs[2]
    world.scheduler.intake.look_at([2])
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert "exception" not in world.events(2)


# ---- while it was down --------------------------------------------------------------------------------------------


def down_with(world: World, *names: str) -> None:
    """Queued jobs, and no scheduler."""
    world.scheduler.set_drained(True)
    world.add(*names)
    world.scheduler.set_drained(False)
    world.turn()
    world.store.commit()
    world.crash()


def test_a_file_edited_while_it_was_down_is_looked_at_before_the_job_starts(world: World) -> None:
    """The first order is for the new command."""
    down_with(world, "a")
    world.change_file(1, command=["false"])
    world.boot()
    world.settle()
    assert world.executor.running() == [(1, 1)]
    assert world.job(1).spec.command == ("false",)
    assert world.executor.orders == [(1, 1)]
    world.check()


def test_a_file_deleted_while_it_was_down_is_not_run(world: World) -> None:
    """Canceled before anything starts."""
    down_with(world, "a", "b")
    del world.spool.files.jobs[1]
    world.boot()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert (1, 1) not in world.executor.orders
    assert world.store.disk.jobs[1].exception is not None


def test_a_priority_edited_while_it_was_down_counts_at_once(world: World) -> None:
    """The one that was last is first, although the others are looked at before they start, too."""
    down_with(world, "a", "b", "c", "d", "e", "f")
    world.change_file(1, urgency=1)
    world.boot()
    world.settle()
    assert world.executor.running() == [(2, 1)]


def test_of_very_many_the_first_to_start_are_looked_at_first(world: World) -> None:
    """More than one step of files: the last of them starts first, and as it was edited."""
    last = 2 * STEP
    world.scheduler.set_drained(True)
    world.add(*(f"j{at}" for at in range(last - 1)))
    world.add("last", urgency=30)
    world.scheduler.set_drained(False)
    world.turn()
    world.store.commit()
    world.crash()
    world.change_file(last, command=["false"])
    world.boot()
    world.settle()
    assert world.executor.orders[0] == (last, 1)
    assert world.job(last).spec.command == ("false",)


def test_all_files_are_looked_at_after_a_start(world: World) -> None:
    """Those too that would not start for a long time."""
    down_with(world, *(f"j{at}" for at in range(3 * STEP)))
    last = 3 * STEP
    world.change_file(last, command=["false"])
    world.boot()
    world.settle()
    assert world.job(last).spec.command == ("false",)
    assert not world.scheduler.intake.unverified


def test_an_invalid_edit_while_it_was_down_leaves_the_job_startable(world: World) -> None:
    """Its last good form runs, and the reason is beside the file."""
    down_with(world, "a")
    world.change_file(1, urgency=99)
    world.boot()
    world.settle()
    assert world.executor.running() == [(1, 1)]
    assert 1 in world.spool.files.reasons
