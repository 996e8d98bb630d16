"""Filter rules and rate limits in a whole scheduler: what they ask back, end and refuse, and what of it is durable."""

import errno
import json
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from jqsched.adapters.store.audit import audit
from jqsched.adapters.store.schema import StoreRefused
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.filters import kept_rules
from jqsched.core.job import State
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY
from jqsched.ports import RULES, Batch
from jqsched.scheduler import rulebook
from jqsched.scheduler.commands import Commands
from jqsched.scheduler.loop import Scheduler
from jqsched.testing.rig import GRACE_US, USERID
from tests.scheduler.conftest import LIMITS, World


def a_rule(action: Any = "PAUSE", *predicates: Any, uuid: str = "r", **keys: Any) -> dict[str, Any]:
    return {"uuid": uuid, "priority": 0, "predicates": list(predicates), "action": action, **keys}


def named(name: str) -> list[Any]:
    return ["job", ["=", "name", name]]


def ask_rule(world: World, action: Any = "PAUSE", *predicates: Any, **keys: Any) -> list[Any]:
    """Ask for a rule; nothing settles."""
    return world.ask("filter-add", rule=a_rule(action, *predicates, **keys))


def answer(world: World, topic: str, **payload: Any) -> Any:
    """Ask, let everything settle, and return the one answer: a payload, or the errno and the text."""
    answers = world.ask(topic, **payload)
    world.settle()
    assert len(answers) == 1
    said = answers[0]
    return (said.errno, said.strerror) if isinstance(said, OSError) else said


def add_rule(world: World, action: Any = "PAUSE", *predicates: Any, **keys: Any) -> Any:
    return answer(world, "filter-add", rule=a_rule(action, *predicates, **keys))


def remove_rule(world: World, uuid: str = "r") -> None:
    assert "rule" in answer(world, "filter-remove", uuid=uuid)


def uuids(world: World) -> list[str]:
    """The rules that a scheduler would find now."""
    return [rule.uuid for rule in world.store.load().queue.rules]


def notes(world: World, id_: int) -> list[Any]:
    """The notes of a job's durable exceptions."""
    told = [event for _, event in sorted(world.store.disk.events.items()) if event.jobid == id_]
    return [event.context["note"] for event in told if event.name == "exception"]


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
    world.advance()  # 2 starts; nobody knows yet
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
    """Of its own jobs, and nobody while there is room; who runs runs on, and counts."""
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
    """It had started, and nobody had told yet; a place that was free would let another one beside it.

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


# ---- REJECT -------------------------------------------------------------------------------------------------------


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
    world.advance()  # 2 starts; nobody knows yet
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


# ---- answers and refusals -----------------------------------------------------------------------------------------

CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("filter-add", {"rule": a_rule(uuid="new")}),
    ("filter-replace", {"uuid": "old", "rule": a_rule("ACCEPT")}),
    ("filter-remove", {"uuid": "old"}),
]


@pytest.mark.parametrize(("topic", "payload"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_change_is_answered_when_it_is_durable(world: World, topic: str, payload: dict[str, Any]) -> None:
    """Not when it is decided, nor when it is handed over; with the rule that is made, replaced or gone."""
    add_rule(world, uuid="old")
    before = world.store.disk.settings[RULES]
    answers = world.ask(topic, **payload)
    world.turn()
    assert world.store.pending == 1
    assert answers == []
    assert world.store.disk.settings[RULES] == before
    world.commit()
    assert [set(said) for said in answers] == [{"rule"}]
    assert answers[0]["rule"]["uuid"] == ("new" if topic == "filter-add" else "old")
    assert world.store.disk.settings[RULES] != before
    assert world.store.load().queue.rules == world.head.rules


def test_a_bad_rule_is_refused_with_all_errors_and_their_places(world: World) -> None:
    """EINVAL, a line for each; nothing changes."""
    bad = a_rule("STOP", ["job", ["=~", "name", "("]], ["jobid", ["=", "id"]], priority="1", colour="red")
    code, text = answer(world, "filter-add", rule=bad)
    assert code == errno.EINVAL
    assert [line.partition(": ")[0] for line in text.splitlines()] == [
        "colour", "priority", "predicates[0][1][2]", "predicates[1][1]", "action"
    ]  # fmt: skip
    assert uuids(world) == []
    assert world.head.rules == ()


@pytest.mark.parametrize("rule", [None, 5, "pause", [], [a_rule()], {}, {"uuid": "x" * 200_000}])
@pytest.mark.parametrize("topic", ["filter-add", "filter-replace"])
def test_what_is_no_rule_at_all_is_refused(world: World, topic: str, rule: Any) -> None:
    """Whatever JSON can say; and the rule that was to be replaced stays."""
    add_rule(world)
    code, text = answer(world, topic, uuid="r", rule=rule)
    assert (code, bool(text)) == (errno.EINVAL, True)
    assert uuids(world) == ["r"]


@pytest.mark.parametrize("topic", ["filter-replace", "filter-remove"])
@pytest.mark.parametrize("uuid", [None, 5, ["r"], "\ud800"])
def test_a_name_that_is_none_is_a_protocol_error(world: World, topic: str, uuid: Any) -> None:
    add_rule(world)
    assert answer(world, topic, uuid=uuid, rule=a_rule())[0] == errno.EPROTO
    assert uuids(world) == ["r"]


@pytest.mark.parametrize("topic", ["filter-replace", "filter-remove"])
def test_a_rule_is_named_by_its_uuid_or_the_beginning_of_it(world: World, topic: str) -> None:
    """Unknown: ENOENT; what may be two: EINVAL, with both. A whole uuid is never ambiguous."""
    for uuid in ("abc", "abcd", "xyz"):
        add_rule(world, uuid=uuid)
    assert answer(world, topic, uuid="nosuch", rule=a_rule()) == (errno.ENOENT, "unknown rule 'nosuch'")
    assert answer(world, topic, uuid="", rule=a_rule()) == (errno.ENOENT, "unknown rule ''")
    assert answer(world, topic, uuid="ab", rule=a_rule()) == (errno.EINVAL, "'ab' may be any of abc, abcd")
    assert uuids(world) == ["abc", "abcd", "xyz"]
    assert answer(world, topic, uuid="abc", rule=a_rule("ACCEPT"))["rule"]["uuid"] == "abc"
    assert answer(world, topic, uuid="x", rule=a_rule("ACCEPT"))["rule"]["uuid"] == "xyz"


def test_a_uuid_is_given_once(world: World) -> None:
    """EINVAL; the first one stays as it is. Once removed, it is free."""
    add_rule(world)
    assert add_rule(world, "REJECT") == (errno.EINVAL, "there is a rule r already: replace it")
    assert [rule.action.value for rule in world.store.load().queue.rules] == ["PAUSE"]
    remove_rule(world)
    assert "rule" in add_rule(world, "REJECT")


def test_there_are_only_so_many_rules(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """EINVAL with the number; one may still be replaced, and when one goes there is room."""
    monkeypatch.setattr(rulebook, "RULES_MAX", 2)
    add_rule(world, uuid="a")
    add_rule(world, uuid="b")
    assert add_rule(world, uuid="c") == (errno.EINVAL, "there are 2 rules: as many as may be")
    assert "rule" in answer(world, "filter-replace", uuid="a", rule=a_rule("ACCEPT"))
    remove_rule(world, "b")
    assert "rule" in add_rule(world, uuid="c")
    assert uuids(world) == ["a", "c"]


def test_rules_are_asked_in_their_order(world: World) -> None:
    """By priority, however they came; the order is kept over a restart."""
    for uuid, priority, action in (("late", 5, "PAUSE"), ("first", 0, "CONTINUE"), ("early", 1, "ACCEPT")):
        add_rule(world, action, uuid=uuid, priority=priority)
    assert [rule.uuid for rule in world.head.rules] == ["first", "early", "late"]
    world.add("a")
    assert world.executor.running() == [(1, 1)]
    remove_rule(world, "early")
    world.restart()
    assert uuids(world) == ["first", "late"]
    world.add("b")
    world.end(1)
    assert world.executor.running() == []


def test_the_watermark_is_the_last_id_given_out(world: World) -> None:
    """Of jobs that are over and of files that were refused too; whatever the document says; at a replacement anew."""
    assert add_rule(world, uuid="zero", watermark=77)["rule"]["watermark"] == 0
    answer(world, "filter-remove", uuid="zero")
    world.add("a")
    world.end(1)
    world.add("refused", after=[99])
    world.restart()
    assert add_rule(world, "PAUSE", ["jobid", ["<=", "id", "watermark"]])["rule"]["watermark"] == 2
    world.add("b")
    assert world.executor.running() == [(3, 1)]
    replaced = answer(world, "filter-replace", uuid="r", rule=a_rule("PAUSE", ["jobid", ["<=", "id", "watermark"]]))
    assert replaced["rule"]["watermark"] == 3


# ---- what is durable ----------------------------------------------------------------------------------------------

STORY: list[tuple[str, dict[str, Any]]] = [
    ("filter-add", {"rule": a_rule("PAUSE", named("a"), uuid="one")}),
    ("filter-add", {"rule": a_rule("REJECT", named("b"), uuid="two")}),
    ("filter-replace", {"uuid": "one", "rule": a_rule(["RATE_LIMIT", 1], named("a"))}),
    ("filter-remove", {"uuid": "two"}),
]


@pytest.mark.parametrize("step", range(len(STORY)))
@pytest.mark.parametrize("durable", [False, True], ids=["before", "after"])
def test_a_crash_leaves_a_rule_whole_or_not_at_all(world: World, step: int, durable: bool) -> None:
    """Before its commit nothing of it is known, and nobody was answered; after it all of it is."""
    world.add("a", "b", urgency=0)
    for topic, payload in STORY[:step]:
        answer(world, topic, **payload)
    before = world.head.rules
    topic, payload = STORY[step]
    answers = world.ask(topic, **payload)
    after = world.head.rules
    assert before != after
    world.turn()
    if durable:
        world.commit()
    world.crash()
    assert len(answers) == durable
    assert world.store.load().queue.rules == (after if durable else before)
    rejects = any(rule.uuid == "two" for rule in (after if durable else before)) or step > 1
    assert bool(world.store.disk.jobs[2].t_inactive_us) == rejects
    world.boot()
    world.settle()
    assert world.head.rules == (after if durable else before)
    world.check()


def test_what_was_asked_back_when_it_crashed_waits_at_the_next_start(world: World) -> None:
    """The rule is durable, the executor's answer is not known: nothing that it stops starts."""
    world.add("a", "b")
    world.executor.holding = True
    ask_rule(world)
    world.turn()
    world.commit()
    world.restart()
    world.end(1)
    assert (2, 1) not in world.executor.launched
    assert world.executor.running() == []
    world.check()


def test_who_was_rejected_when_it_crashed_ends_at_the_next_start(world: World) -> None:
    """The rule was durable, the cancellation waited for the executor."""
    world.add("a", "bad")
    world.executor.holding = True
    ask_rule(world, "REJECT", named("bad"))
    world.turn()
    world.commit()
    world.restart()
    assert world.events(2)[-2:] == ["exception", "clean"]
    assert (2, 1) not in world.executor.launched
    world.check()


DAMAGED = [
    "", "{", "null", "5", "{}", "[5]", '[{"uuid": "r"}]', "[" * 100_000, "\x00", '"pause"',
    json.dumps([{**a_rule(), "watermark": 0}] * 2),
    json.dumps([{**a_rule("PAUSE", ["job", ["=~", "name", "("]]), "watermark": 0}]),
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:20])
def test_damaged_rules_are_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    """Never taken for none: jobs would start that are to wait. `check-spool` finds it, and its advice works.

    Seen to fail: an empty text was no rules, a very deep one a RecursionError, and two rules of one uuid were taken.
    """
    store = SqliteStore(str(tmp_path), lambda: None)
    store.start(lambda _: None)
    store.submit(Batch(EMPTY, 1, settings=((RULES, text),)))
    store.close()
    again = SqliteStore(str(tmp_path), lambda: None)
    with pytest.raises(StoreRefused) as refused:
        again.load()
    again.close()
    said = str(refused.value)
    assert said.startswith(f"{tmp_path}/jqsched.db: damaged (ValueError: filter rules: ")
    assert said.endswith(f"look at it with `jqsched check-spool --spool {tmp_path}`, or put a backup in its place")
    (finding,) = audit(str(tmp_path))
    _, drop = finding.split("drop them all: ")
    with closing(sqlite3.connect(tmp_path / "jqsched.db")) as database:
        database.execute(shlex.split(drop)[-1])
        database.commit()
    assert audit(str(tmp_path)) == []
    last = SqliteStore(str(tmp_path), lambda: None)
    assert last.load().queue.rules == ()
    last.close()


def test_no_rules_are_no_damage() -> None:
    assert kept_rules(None) == kept_rules("[]") == ()


# ---- without an executor ------------------------------------------------------------------------------------------


def offline(world: World) -> tuple[Scheduler, Callable[..., list[Any]]]:
    """A scheduler without an executor on what there is, as commands have it; and a way to ask it."""
    around = evolve(world.scheduler.around, store=world.store, spool=world.spool, executor=None)
    scheduler = Scheduler(around, world.store.load(), LIMITS, GRACE_US)
    commands = Commands(scheduler, USERID)
    scheduler.start()

    def ask(topic: str, **payload: Any) -> list[Any]:
        answers: list[Any] = []
        commands.run(f"job-manager.{topic}", payload, answers.append)
        for _ in range(5):
            scheduler.turn()
            world.store.commit()
        return answers

    world.scheduler = scheduler
    return scheduler, ask


def test_without_an_executor_rules_change_and_nobody_is_canceled(world: World) -> None:
    """A job may have been started that nobody knows of yet; the next start asks, and cancels."""
    world.add("a", "bad")
    world.add("bad", urgency=0)
    world.crash()
    _, ask = offline(world)
    assert "rule" in ask("filter-add", rule=a_rule("REJECT", named("bad")))[0]
    assert uuids(world) == ["r"]
    assert not any(world.store.disk.jobs[id_].t_inactive_us for id_ in (2, 3))
    said = ask("submit", text='{"command": ["true"], "name": "bad"}')[0]
    assert (said.errno, said.strerror) == (errno.EINVAL, "rejected by rule r")
    world.restart()
    assert [world.events(id_)[-1] for id_ in (2, 3)] == ["clean", "clean"]
    assert world.executor.running() == [(1, 1)]
    world.check()


# ---- when nothing is left to do -----------------------------------------------------------------------------------


def test_it_is_idle_when_all_that_is_left_is_stopped_by_rules(world: World) -> None:
    """Paused, or in a bucket with who is paused; each is named with its rule. A limited job that may start is work."""
    add_rule(world, "PAUSE", named("paused"), uuid="0123456789", note="until noon")
    world.add("a", reason=["rate-limit:1:x"])
    world.add("paused", reason=["rate-limit:1:x"])
    world.add("b", reason=["rate-limit:1:x"])
    assert not world.scheduler.is_idle
    world.end(1)
    assert world.executor.running() == [(3, 1)]
    assert not world.scheduler.is_idle
    world.end(3)
    assert world.scheduler.is_idle
    assert list(world.scheduler.left_over()) == ["job 2 (paused): rule 01234567 (until noon) pauses it"]
    world.ask("filter-remove", uuid="0123")
    assert not world.scheduler.is_idle


def test_a_limited_job_that_may_start_is_work(world: World) -> None:
    """Before the first pass has looked at it, too."""
    world.ask("drain")
    world.add("limited", reason=["rate-limit:1:x"])
    world.crash()
    world.store.disk.settings["drained"] = "0"
    world.boot()
    world.scheduler.intake.more = False
    assert world.scheduler.is_settled
    assert not world.scheduler.is_idle
