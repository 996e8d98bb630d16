"""A plugin that only looks on changes nothing: each job has the same events with it as without any plugin.

With plugins the core decides in stages (`core.stages`), without them in one go; here the same story without faults is
told to a scheduler of either kind. Three things are left out, in which the two may differ. Between two moves all comes
to rest: what is under way meets another move sooner or later. No permits are given ahead: with them the next job starts
before the scheduler hears which job the end of the last has released. And no pin is removed: what the priority is then
is up to a plugin, and stands in an event of its own.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core import queue as queues
from jqsched.core.policy import Limits
from tests.scheduler.conftest import World

ONLOOKER = """
def plugin_init(p):
    p.add_handler("job.new", lambda p, topic, args: p.job_subscribe(args["id"]))
    p.add_handler("*", lambda p, topic, args: None)
"""
LIMITS = Limits(max_running=2, cores=4, ahead=0)
Move = tuple[str, dict[str, Any]]

names = st.sampled_from("abc")
urgencies = st.sampled_from((16, 16, 16, 0, 1, 31))
back = st.integers(1, 6)  # that many jobs before: the one that is meant
dependencies = st.one_of(
    st.fixed_dictionaries({"scheme": st.sampled_from(("after", "afterany", "afterok", "afternotok")), "value": back}),
    st.fixed_dictionaries({"scheme": st.sampled_from(("afterany", "afterok", "afternotok")), "value": names}),
    st.just({"scheme": "singleton"}),
    st.fixed_dictionaries({"scheme": st.just("begin-time"), "value": st.sampled_from((1, 4_070_930_400))}),
)
files = st.fixed_dictionaries(
    {"name": names, "urgency": urgencies, "cores": st.sampled_from((1, 1, 2, 4, 9))},
    optional={
        "dependencies": st.lists(dependencies, min_size=1, max_size=2),
        "priority": st.sampled_from((5, 1000)),
        "on_interrupt": st.just("fail"),
        "time_limit": st.just(60),
    },
)
severities = st.fixed_dictionaries({"back": back, "type": st.just("foo"), "severity": st.sampled_from((0, 3, 7))})
commands = st.one_of(
    st.tuples(st.sampled_from(("cancel", "hold", "release", "requeue")), st.fixed_dictionaries({"back": back})),
    st.tuples(st.just("urgency"), st.fixed_dictionaries({"back": back, "urgency": urgencies})),
    st.tuples(st.just("priority"), st.fixed_dictionaries({"back": back, "priority": st.sampled_from((7, 2000))})),
    st.tuples(st.just("raise"), severities),
    st.tuples(
        st.just("update"),
        st.fixed_dictionaries({"back": back, "updates": st.just({"attributes.system.duration": 90.0})}),
    ),
)
moves = st.one_of(
    st.tuples(st.just("drop"), st.fixed_dictionaries({"files": st.lists(files, min_size=1, max_size=3)})),
    commands,
    st.tuples(st.just("edit"), st.fixed_dictionaries({"back": back, "urgency": urgencies})),
    st.tuples(st.just("end"), st.fixed_dictionaries({"which": back, "status": st.sampled_from((0, 0, 256, 35072))})),
    st.tuples(st.just("drained"), st.fixed_dictionaries({"drained": st.booleans()})),
)


def tell(world: World, move: Move) -> object:
    """Make a move; returns what was answered to it."""
    what, how = move
    last = world.head.last_id
    at = max(1, last + 1 - how.get("back", 1))
    answers: list[Any] = []
    match what:
        case "drop":
            for file in how["files"]:
                world.drop(**_with_ids(file, last))
        case "end":
            running = sorted(world.executor.running())
            if running:
                world.executor.end(running[how["which"] % len(running)][0], how["status"])
                world.advance()
        case "edit":
            if world.spool.files.jobs.get(at, "").startswith("{"):  # one that was requeued has no text in the fake
                world.edit(at, urgency=how["urgency"])
        case "drained":
            answers = world.ask("stop-starts" if how["drained"] else "resume")
        case _:
            answers = world.ask(what, id=at, **{key: value for key, value in how.items() if key != "back"})
    world.settle()
    return [repr(answer) for answer in answers]


def _with_ids(file: dict[str, Any], last: int) -> dict[str, Any]:
    """A file with its dependencies on jobs that are so many before, as far as there are any."""
    found = []
    for dependency in file.get("dependencies", ()):
        value = dependency.get("value")
        if isinstance(value, int) and dependency["scheme"] != "begin-time":
            if last + 1 - value >= 1:
                found.append({**dependency, "value": str(last + 1 - value)})
        else:
            found.append(dependency)
    return {**file, "dependencies": found}


def told(world: World) -> dict[int, list[tuple[str, Any]]]:
    """The events of each job so far, durable and seen."""
    logs: dict[int, list[tuple[str, Any]]] = {}
    for event in world.seen:
        logs.setdefault(event.jobid, []).append((event.name, dict(event.context)))
    return logs


@pytest.fixture(scope="module")
def onlooker(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("plugins") / "onlooker.py"
    path.write_text(ONLOOKER)
    path.chmod(0o600)
    return str(path)


@given(st.lists(moves, min_size=1, max_size=20))
def test_with_an_onlooker_each_job_has_the_same_events(onlooker: str, story: list[Move]) -> None:
    """After each move: names and contexts in order, and what was answered."""
    plain, watched = World(LIMITS), World(LIMITS, (onlooker,))
    for move in story:
        assert tell(plain, move) == tell(watched, move)
        assert told(plain) == told(watched)
    queues.check(watched.head)
