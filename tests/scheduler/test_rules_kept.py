"""Filter rules in a whole scheduler: they outlive a crash whole, hold without an executor, and tell who is left."""

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

from jqsched.adapters.store.fsck import audit
from jqsched.adapters.store.schema import StoreRefused
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.filters import kept_rules
from jqsched.core.queue import EMPTY
from jqsched.ports import RULES, Batch
from jqsched.scheduler.commands import Commands
from jqsched.scheduler.loop import Scheduler
from jqsched.testing.harness import GRACE_US, USERID
from tests.scheduler.conftest import LIMITS, World
from tests.scheduler.ruled import a_rule, add_rule, answer, ask_rule, named, uuids

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
    """Before its commit nothing of it is known, and no client was answered; after it all of it is."""
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
    """A job may have been started of which no news has come yet; the next start asks, and cancels."""
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
    world.ask("stop-starts")
    world.add("limited", reason=["rate-limit:1:x"])
    world.crash()
    world.store.disk.settings["drained"] = "0"
    world.boot()
    world.scheduler.intake.more = False
    assert world.scheduler.is_settled
    assert not world.scheduler.is_idle
