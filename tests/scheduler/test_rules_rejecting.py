"""Filter rules in a whole scheduler: a job that is rejected ends or is refused, wherever it is; what runs, runs on."""

import errno
import json

from tests.scheduler.conftest import World
from tests.scheduler.ruled import add_rule, answer, ask_rule, named, notes


def test_a_reject_cancels_queued_jobs(world: World) -> None:
    """Held ones and those that wait too, with the rule in the note; their files go, who waited for them ends too."""
    world.add("a")
    world.add("bad", urgency=0)
    world.add("bad", after=["nobody"])
    world.add("c", after=[2])
    answers = ask_rule(world, "REJECT", named("bad"), uuid="0123456789", note="no more")
    world.turn()
    assert answers == []
    world.settle()
    assert notes(world, 2) == notes(world, 3) == ["rejected by rule 01234567 (no more)"]
    assert [world.events(id_)[-1] for id_ in (2, 3, 4)] == ["clean"] * 3
    assert set(world.spool.files.jobs) == {1}
    assert world.executor.asked_back == []
    world.check()


def test_a_rejected_job_with_a_permit_ends_when_it_is_given_back(world: World) -> None:
    """Not before: until then it may have started. It is asked back once."""
    world.add("a", "bad")
    answers = ask_rule(world, "REJECT", named("bad"))
    world.turn()
    world.commit()
    assert answers != []
    assert world.executor.asked_back == [(2, 1)]
    assert "exception" not in world.events(2)
    world.settle()
    assert world.events(2)[-2:] == ["exception", "clean"]
    assert (2, 1) not in world.executor.launched
    assert set(world.store.disk.attempts) == {1}
    world.check()


def test_a_rejected_job_whose_order_has_not_left_ends_at_once(world: World) -> None:
    """Without a word to the executor."""
    world.drop("bad")
    world.turn()
    assert 1 in world.head.permits
    ask_rule(world, "REJECT")
    assert not world.head.enqueued
    world.settle()
    assert (world.executor.orders, world.executor.asked_back) == ([], [])
    assert world.events(1)[-1] == "clean"
    world.check()


def test_a_rejected_job_that_has_started_meanwhile_runs_on(world: World) -> None:
    """To its own end: it is not canceled."""
    world.add("a", "bad")
    world.executor.holding = True
    world.executor.end(1)
    world.advance()  # 2 starts; no news yet
    ask_rule(world, "REJECT", named("bad"))
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.executor.stopped == []
    world.end(2)
    assert world.job(2).status == 0
    assert notes(world, 2) == []
    world.check()


def test_a_rejected_job_that_runs_is_not_queued_again(world: World) -> None:
    """Asked for, or after an interruption."""
    world.add("bad")
    add_rule(world, "REJECT", named("bad"))
    answers = world.ask("requeue", id=1)
    world.settle()
    assert answers == [{"outcome": "stopping"}]
    assert world.events(1)[-3:] == ["priority", "exception", "clean"]
    assert world.executor.orders == [(1, 1)]
    world.check()


def test_a_finished_job_that_is_rejected_is_not_submitted_anew(world: World) -> None:
    """`requeue` of it says which rule, and spends the id."""
    world.add("bad")
    world.end(1)
    add_rule(world, "REJECT", named("bad"))
    assert answer(world, "requeue", id=1) == (errno.EINVAL, "rejected by rule r")
    assert world.spool.files.jobs == {}
    world.add("good")
    assert set(world.store.disk.jobs) == {1, 3}


def test_a_dropped_file_that_is_rejected_is_set_aside(world: World) -> None:
    """Unchanged, with the rule in the reason and in the log; the good one beside it becomes a job. Its id is spent."""
    add_rule(world, "REJECT", named("bad"), uuid="0123456789", note="no more")
    world.drop("bad", cores=2)
    world.drop("good")
    world.settle()
    ((name, (text, reason)),) = world.spool.files.rejected.items()
    assert (name, json.loads(text)["cores"], reason) == ("000000-bad.json", 2, "rejected by rule 01234567 (no more)")
    assert world.log == ["rejected 000000-bad.json: rejected by rule 01234567 (no more)"]
    assert set(world.store.disk.jobs) == {2}
    world.add("bad")
    world.restart()
    world.add("next")
    assert set(world.store.disk.jobs) == {2, 4}
    world.check()


def test_a_file_that_was_moved_when_the_scheduler_died_is_rejected_at_the_next_start(world: World) -> None:
    """The rule was durable, the refusal was not."""
    add_rule(world, "REJECT", named("bad"))
    world.drop("good")
    world.turn()
    world.spool.files.jobs[7] = json.dumps({"command": ["true"], "name": "bad"})
    world.restart()
    assert [reason for _, reason in world.spool.files.rejected.values()] == ["rejected by rule r"]
    world.add("next")
    assert {id_: job.spec.name for id_, job in world.store.disk.jobs.items()} == {1: "good", 8: "next"}
    world.check()


def test_what_is_rejected_when_it_is_submitted(world: World) -> None:
    """EINVAL, with the rule; no file is left, the id is spent."""
    add_rule(world, "REJECT", named("bad"), note="no more")
    said = answer(world, "submit", text='{"command": ["true"], "name": "bad"}')
    assert said == (errno.EINVAL, "rejected by rule r (no more)")
    assert world.spool.files.jobs == {}
    assert answer(world, "submit", text='{"command": ["true"], "name": "good"}') == {"id": 2}


def test_an_edit_into_a_rejected_form_is_refused(world: World) -> None:
    """The job keeps its last good form; why stands beside the file, and in its log."""
    add_rule(world, "REJECT", ["job", [">", "cores", 1]])
    world.add("a", "b")
    world.edit(2, cores=2)
    world.settle()
    assert world.spool.files.reasons == {2: "rejected by rule r"}
    assert world.job(2).spec.cores == 1
    assert notes(world, 2) == ["rejected by rule r"]
    world.end(1)
    assert world.executor.running() == [(2, 1)]
    world.check()


def test_a_rule_sees_an_edit(world: World) -> None:
    """Edited into a form that is paused, a permitted job is asked back and waits; edited back, it goes on."""
    add_rule(world, "PAUSE", ["job", [">", "cores", 1]])
    world.add("a", "b")
    world.edit(2, cores=2)
    world.settle()
    assert world.executor.waiting() == []
    world.end(1)
    assert world.executor.running() == []
    world.edit(2, cores=1)
    world.settle()
    assert world.executor.running() == [(2, 1)]
    world.check()
