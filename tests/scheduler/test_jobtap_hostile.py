"""Nothing that a plugin hands over ends the scheduler or gets into the store as what cannot be read back.

The plugin is `tests/data/plugins/hostile.py`, whose calls are made of the methods' own signatures; the topics are those
of `docs/reference/plugins.md`.
"""

import errno
import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from jqsched.adapters.store import codec
from jqsched.core import queue as queues
from jqsched.core.event import advance
from jqsched.jobtap import Handle, Plugin
from tests.scheduler.conftest import LIMITS, World, write
from tests.scheduler.plugged import GATE, WAITS, answer

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"job.dependency.SCHEME": "job.dependency.gate", "job.update.KEY": "job.update.attributes.user.k"}


def documented_topics() -> list[str]:
    """The topics in the first column of the table; `.sched` there stands for `job.state.sched`."""
    table = (ROOT / "docs/reference/plugins.md").read_text().partition("## Topics")[2].partition("\n\n##")[0]
    cells = re.findall(r"^\| (`(?:job|conf|plugin)\.[^|]+) \|", table, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    topics = [f"job.state{name}" if name.startswith(".") else name for name in names]
    return [KNOWN.get(topic, topic.replace("NAME", "memo")) for topic in topics]


TOPICS = documented_topics()


class Hostile:
    """A world with the plugin, and the globals of its module."""

    def __init__(self, tmp_path: Path, **conf: Any) -> None:
        many = evolve(LIMITS, max_running=10_000, cores=10_000)
        self.world = World(many, (write(tmp_path, GATE, "gate.py"),))
        path = write(tmp_path, (ROOT / "tests/data/plugins/hostile.py").read_text(), "hostile.py")
        loaded = answer(self.world, "jobtap", load=path, conf=conf)
        assert isinstance(loaded, Mapping), loaded
        plugin = self.world.scheduler.jobtap.registry.find("hostile.py")
        callback, _ = plugin.services["job-manager.hostile.do"]
        self.module = SimpleNamespace(**callback.__globals__)

    def check(self) -> None:
        """The scheduler goes on without the plugin; what it stored is JSON, and each job is the fold of its events."""
        world = self.world
        answer(world, "jobtap", remove="hostile.py")
        for job in list(queues.live(world.scheduler.ledger.head)):
            world.ask("cancel", id=job.id)
        world.settle()
        world.add("after")
        newest = world.scheduler.ledger.head.last_id
        world.end(newest)
        assert world.job(newest).success
        events = sorted(world.store.disk.events.items(), key=lambda item: (item[1].jobid, item[0]))
        for id_, log in groupby(events, lambda item: item[1].jobid):
            job = None
            for seq, event in log:
                row = codec.event_to_row(seq, event)
                assert codec.event_from_row(row) == (seq, event)
                job = advance(job, event)
            assert world.store.disk.jobs.get(id_) == job
        assert all(line.isprintable() and len(line) < 3_000 for line in world.log)


def test_no_call_ends_the_scheduler(tmp_path: Path) -> None:
    """Each is taken, or refused with an errno and a line; outside of callbacks and in those of each state."""
    topics = [
        topic for topic in TOPICS if topic.startswith("job.state") or topic in ("job.create", "job.new", "job.destroy")
    ]
    assert len(topics) == 9
    hostile = Hostile(tmp_path, calls_in=topics)
    for topic in topics:
        hostile.world.add(topic)
        hostile.world.end(hostile.world.scheduler.ledger.head.last_id)
    made = answer(hostile.world, "hostile.do")
    assert len(set(hostile.module.called_in)) == len(topics)
    called = {name for name, _ in hostile.module.outcomes}
    for kind in (Plugin, Handle):
        for name, parameters in hostile.module.methods(kind):
            assert f"{kind.__name__}.{name}" in called or not parameters
    assert made["calls"] > 20 * made["values"]
    assert hostile.module.stray == []
    for name, error in hostile.module.outcomes:
        assert error is None or (error.errno and error.strerror.isprintable()), name
    refused = Counter(name for name, error in hostile.module.outcomes if error is not None)
    assert all(count >= 40 for count in refused.values()), refused
    hostile.check()


REJECTING = ("job.create", "job.validate", "job.dependency.gate")
STOPPING = ("job.state.priority", "job.priority.get")  # a job without a priority goes no further
ON_REQUEST = ("job.update.attributes.user.k", "conf.update", "plugin.query", "job.inactive-remove")


@pytest.mark.parametrize(
    "answers", [REJECTING, STOPPING, ON_REQUEST, None], ids=["reject", "priority", "request", "rest"]
)
def test_no_answer_ends_the_scheduler(tmp_path: Path, answers: tuple[str, ...] | None) -> None:
    """Whatever a callback leaves in `out`, returns or raises: each topic does it all, and the log names the plugin."""
    rest = [topic for topic in TOPICS if topic not in (*REJECTING, *STOPPING, *ON_REQUEST)]
    hostile = Hostile(tmp_path, answers=answers or rest, subscribes=answers is None)
    world, count = hostile.world, len(hostile.module.ACTS)
    world.add("first", urgency=0)
    if answers is ON_REQUEST:
        for at in range(count):
            answer(world, "update", id=1, updates={"attributes.user.k": at})
            world.scheduler.jobtap.configure({"at": at})
            answer(world, "jobtap-query", name="hostile.py")
            world.scheduler.jobtap.purged([at])
    else:
        for _ in range(count + 100):
            world.drop(**(WAITS if answers is REJECTING else {}))
        world.settle()
        while answers is STOPPING and hostile.module.answers.get("job.priority.get", 0) < count:
            world.scheduler.jobtap.events.reprioritize_all()
        if answers is None:
            answer(world, "update", id=1, updates={"attributes.system.duration": 5})
            for id_, _ in world.executor.running():
                world.executor.end(id_)
            world.settle()
    for topic in answers or rest:
        assert hostile.module.answers[topic] >= (count if topic != "job.update" else 1), topic
        named = [line for line in world.log if line.startswith(f"plugin hostile.py: {topic}: ")]
        assert len(named) > 300 or topic == "job.update"
    hostile.check()


@pytest.mark.parametrize("how", ["answer", "error"])
def test_a_bad_answer_to_a_request_is_an_error_for_whoever_asked(tmp_path: Path, how: str) -> None:
    hostile = Hostile(tmp_path)
    refusals = 0
    for at, _ in enumerate(hostile.module.bad_values()):
        answered = answer(hostile.world, "hostile.do", at=at, how=how)
        if isinstance(answered, OSError):
            assert isinstance(answered.errno, int)
            assert answered.strerror.isprintable()
            refusals += answered.errno == errno.EIO
        else:
            json.dumps(answered, allow_nan=False).encode()
    assert refusals > 60
    hostile.check()
