"""Filter rules in a whole scheduler: a change is answered when it is durable, a bad rule refused with its place."""

import errno
from typing import Any

import pytest

from jqsched.ports import RULES
from jqsched.scheduler import rulebook
from tests.scheduler.conftest import World
from tests.scheduler.ruled import a_rule, add_rule, answer, remove_rule, uuids

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
