"""Plugins that misbehave; loading, unloading and listing plugins."""

import errno
from pathlib import Path
from typing import IO, Any

import pytest

from jqsched.core.job import State
from jqsched.jobtap import loading
from tests.scheduler.conftest import LIMITS, Make, World, write
from tests.scheduler.plugged import BUILT_IN, GATE, LATE, LIFE, RECORD, WAITS, answer, names, plugin, refused

# ---- what misbehaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["raise ValueError('x')", "raise SystemExit(3)", "return 'rubbish' + 1", "1 / 0"])
@pytest.mark.parametrize("topic", [topic for topic in LIFE if topic not in ("job.create", "job.validate")])
def test_a_plugin_that_raises_is_reported_and_the_job_goes_on(plugged: Make, topic: str, body: str) -> None:
    """Into the log, and, where the job still has one, into its event log."""
    world = plugged(
        f"""
        def bad(p, topic, args):
            {body}
        def plugin_init(p):
            p.add_handler("{topic}", bad)
        """
    )
    world.add("a")
    world.end(1)
    assert world.job(1).state is State.INACTIVE
    assert world.job(1).priority == 16
    assert any("p0.py" in line and topic in line for line in world.log)
    told = [event.context["type"] for event in world.seen if event.name == "exception"]
    has_log = topic == "job.new" or (topic.startswith("job.state") and topic != "job.state.inactive")
    assert told == ([topic] if has_log else [])


@pytest.mark.parametrize("topic", ["job.create", "job.validate"])
def test_a_plugin_that_raises_where_it_is_asked_rejects(plugged: Make, topic: str) -> None:
    """No job gets past a check that is broken."""
    world = plugged(
        f"""
        def plugin_init(p):
            p.add_handler("{topic}", lambda p, topic, args: 1 / 0)
        """
    )
    world.add("a")
    assert len(world.spool.files.rejected) == 1
    assert "ZeroDivisionError" in world.log[0]


@pytest.mark.parametrize("event", ["memo", "exception"])
def test_a_plugin_that_posts_without_end_is_stopped(plugged: Make, event: str) -> None:
    world = plugged(
        f"""
        def new(p, topic, args):
            p.job_subscribe(-1)
        def again(p, topic, args):
            p.event_post(-1, "memo")
        def plugin_init(p):
            p.add_handler("job.new", new)
            p.add_handler("job.state.sched", again)
            p.add_handler("job.event.{event}", again)
            p.add_handler("job.event.memo", again)
        """
    )
    world.add("a")
    assert world.job(1).state is State.RUN
    assert world.events(1).count("memo") < 1100
    assert any("without end" in line for line in world.log)


def test_a_service_that_fails_is_answered_for(plugged: Make) -> None:
    world = plugged(
        """
        def bad(p, message):
            raise KeyError("x")
        def plugin_init(p):
            p.service_register("bad", bad)
            p.service_register(None, lambda p, message: message.respond_error(95, "not so"))
            p.add_handler("none", bad)
        """
    )
    assert refused(world, "p0.bad")[0] == errno.EIO
    assert refused(world, "p0") == (95, "not so")
    assert refused(world, "p0.other")[0] == errno.ENOSYS


# ---- loading and unloading ------------------------------------------------------------------------------------------


def test_loading_shows_the_jobs_that_are_there(plugged: Make, tmp_path: Path) -> None:
    """Permits that were given ahead are taken back: plugins are asked first. Source: docs/reference/plugins.md."""
    world = plugged()
    world.add("runs", "queued")
    world.add("waits", after=["queued"])
    assert world.scheduler.ledger.head.permits
    answer(world, "jobtap", load=write(tmp_path, RECORD))
    assert not world.scheduler.ledger.head.permits
    assert plugin(world, "p.py")["heard"] == [
        (1, "job.create"), (1, "job.new"),
        (2, "job.create"), (2, "job.new"),
        (3, "job.create"), (3, "job.new"), (3, "job.state.depend"),
        (2, "job.priority.get"),
    ]  # fmt: skip
    assert names(world) == [*BUILT_IN, "p.py"]
    world.end(1)
    assert world.job(2).state is State.RUN
    world.end(2)
    world.end(3)
    world.check()


@pytest.mark.parametrize(
    ("payload", "number", "text"),
    [
        ({"load": "nosuch.py"}, errno.ENOENT, "nosuch.py: No such plugin found"),
        ({"load": "no.such.module"}, errno.ENOENT, "no.such.module: No such plugin found"),
        ({"load": "json"}, errno.EINVAL, "json: has no plugin_init(p)"),
        ({"load": ".begin-time"}, errno.EEXIST, ".begin-time already loaded"),
        ({"load": "x", "conf": 5}, errno.EINVAL, "jobtap: conf must be an object"),
        ({"remove": "nosuch"}, errno.ENOENT, "Failed to find plugin to remove"),
    ],
)
def test_what_cannot_be_loaded_or_removed(plugged: Make, payload: dict[str, Any], number: int, text: str) -> None:
    world = plugged(RECORD)
    assert refused(world, "jobtap", **payload) == (number, text)
    assert names(world) == [*BUILT_IN, "p0.py"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero (p.py:1)"),
        ("def plugin_init(p:", "SyntaxError"),
        ("def plugin_init(p):\n    raise RuntimeError('not today')", "plugin_init: RuntimeError: not today (p.py:2)"),
        ("def plugin_init(p):\n    return -1", "plugin_init failed"),
        ("def plugin_init(p):\n    p.add_handler('conf.update', lambda *_: -1)", "conf.update failed"),
        (
            "def plugin_init(p):\n    p.add_handler('conf.update', lambda p, t, a: p.reject_job(a, 'Error in [x]'))",
            "Error in [x]",
        ),
        ("def plugin_init(p):\n    p.add_handler('conf.update', lambda *_: {}['x'])", "KeyError: 'x' (p.py:2)"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E: (its text cannot be read) (p.py:3)"),
        ("def plugin_init(p):\n    raise KeyboardInterrupt", "plugin_init: KeyboardInterrupt:  (p.py:2)"),
    ],
)
def test_a_plugin_that_does_not_load_is_refused_in_a_line(plugged: Make, tmp_path: Path, body: str, text: str) -> None:
    world = plugged()
    path = write(tmp_path, body)
    number, said = refused(world, "jobtap", load=path)
    assert number == errno.EINVAL
    assert text in said
    assert "\n" not in said
    assert names(world) == BUILT_IN
    world.add("a")
    assert world.job(1).state is State.RUN


def test_code_that_others_may_change_is_not_run(plugged: Make, tmp_path: Path) -> None:
    path = write(tmp_path, RECORD)
    Path(path).chmod(0o666)
    number, said = refused(plugged(), "jobtap", load=path)
    assert (number, "others may write to it" in said) == (errno.EPERM, True)


def test_who_may_change_code_is_asked_of_the_file_that_is_run(
    plugged: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file put in its place after it was opened changes nothing; one that cannot be opened is said."""
    path, bad = write(tmp_path, RECORD), tmp_path / "bad"
    bad.write_text("raise SystemExit\n")
    world = plugged()

    def opened(name: str, mode: str) -> IO[bytes]:
        file = open(name, mode)  # noqa: SIM115 - the caller closes it
        bad.replace(name)
        return file

    monkeypatch.setattr(loading, "open", opened, raising=False)
    answer(world, "jobtap", load=path)
    assert len(names(world)) == len(BUILT_IN) + 1
    monkeypatch.setattr(loading, "open", _not_for_you, raising=False)
    assert refused(plugged(), "jobtap", load=path) == (errno.EACCES, f"{path}: cannot be read: Permission denied")


def _not_for_you(name: str, _: str) -> IO[bytes]:
    raise PermissionError(errno.EACCES, "Permission denied", name)


def test_a_plugin_s_file_may_be_called_anything(plugged: Make, tmp_path: Path) -> None:
    """Seen to fail: a name without `.py` ended the scheduler."""
    world = plugged()
    answer(world, "jobtap", load=write(tmp_path, RECORD, "record"))
    assert names(world) == [*BUILT_IN, "record"]


def test_a_package_that_raises_when_it_is_looked_into_is_refused(
    plugged: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail: it ended the scheduler."""
    (tmp_path / "faulty_package").mkdir()
    write(tmp_path / "faulty_package", "raise RuntimeError('not today')", "__init__.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    number, said = refused(plugged(), "jobtap", load="faulty_package.plugin")
    assert (number, "RuntimeError: not today" in said) == (errno.EINVAL, True)


@pytest.mark.parametrize("entry", ["p.py 'most=5", "p.py most", "p.py =5"])
def test_what_the_configuration_says_of_a_plugin_must_be_readable(entry: str) -> None:
    """One line says which entry. Seen to fail: a ValueError."""
    from jqsched.ports import PortError

    with pytest.raises(PortError, match=r"p\.py"):
        World(LIMITS, (entry,))


def test_unloading_ends_services_and_leaves_those_that_wait(plugged: Make) -> None:
    """Source: docs/reference/plugins.md. The next load asks for their priorities."""
    world = plugged(LATE, GATE)
    world.add("a")
    world.add("b", **WAITS)
    answer(world, "jobtap", remove="all")
    assert names(world) == BUILT_IN
    assert refused(world, "late.give", id=1, priority=5)[0] == errno.ENOSYS
    assert (world.job(1).state, world.job(2).state) == (State.PRIORITY, State.DEPEND)
    answer(world, "jobtap", load=world.plugins[1])
    assert (world.job(1).state, world.job(2).state) == (State.RUN, State.DEPEND)


def test_globs_do_not_match_the_dot_of_the_built_in_ones(plugged: Make) -> None:
    world = plugged(RECORD, RECORD)
    answer(world, "jobtap", remove="*")
    assert names(world) == BUILT_IN
    answer(world, "jobtap", remove=".begin*")
    assert ".begin-time" not in names(world)
    world.add("a", dependencies=[{"scheme": "begin-time", "value": 1}])
    assert len(world.spool.files.rejected) == 1
    answer(world, "jobtap", load=".begin-time")
    world.add("a", dependencies=[{"scheme": "begin-time", "value": 1}])
    assert world.job(2).state is State.RUN


def test_without_a_priority_plugin_jobs_wait(plugged: Make) -> None:
    world = plugged()
    answer(world, "jobtap", remove=".priority-default")
    world.add("a")
    assert world.job(1).state is State.PRIORITY


def test_the_built_in_limit_of_durations(plugged: Make) -> None:
    """Flux's texts."""
    world = plugged()
    assert refused(world, "jobtap", load=".limit-duration", conf={"duration": "soon"})[0] == errno.EINVAL
    assert names(world) == BUILT_IN
    answer(world, "jobtap", load=".limit-duration", conf={"duration": "1m"})
    world.drop("long", time_limit="2m")
    world.drop("endless")
    world.drop("short", time_limit=59)
    world.settle()
    assert sorted(reason for _, reason in world.spool.files.rejected.values()) == [
        "requested duration (unlimited) exceeds policy limit of 1m",
        "requested duration exceeds policy limit of 1m",
    ]
    assert [job.spec.name for job in world.store.disk.jobs.values()] == ["short"]


def test_queries(plugged: Make) -> None:
    world = plugged(
        """
        def query(p, topic, args):
            args.out["answer"] = 42
        def plugin_init(p):
            p.add_handler("plugin.query", query)
        """
    )
    world.add("a")
    world.add("b", after=["a"])
    assert answer(world, "jobtap-query", name="p0.py") == {"name": "p0.py", "path": world.plugins[0], "answer": 42}
    assert answer(world, "jobtap-query", name=".dependency-after")["dependencies"] == [
        {"id": 2, "depid": 1, "type": "afterok", "description": "after-success=a→1"}
    ]
    assert refused(world, "jobtap-query", name="x") == (errno.EINVAL, "x: plugin not found")


def test_a_plugin_that_the_configuration_names_must_load() -> None:
    """A scheduler without it would let through what it is there to stop."""
    from jqsched.ports import PortError

    with pytest.raises(PortError, match="nosuch"):
        World(LIMITS, ("nosuch.py",))


THREADS = """
    import threading
    said = []
    def attempt(act):
        try:
            act()
        except OSError as error:
            said.append((error.errno, error.strerror))
    def elsewhere(act):
        thread = threading.Thread(target=attempt, args=(act,))
        thread.start()
        thread.join()
    def serve(p, message):
        elsewhere(lambda: p.event_post(1, "memo"))
        elsewhere(lambda: message.respond({"by": "a thread"}))
        elsewhere(lambda: p.get_handle().call_soon_threadsafe(lambda: message.respond({"by": "the scheduler"})))
    def plugin_init(p):
        p.set_name("threads")
        p.add_handler("own.topic", lambda *_: None)
        p.service_register("do", serve)
"""


def test_other_threads_may_only_have_something_called(plugged: Make) -> None:
    world = plugged(THREADS)
    world.add("a")
    assert answer(world, "threads.do") == {"by": "the scheduler"}
    assert plugin(world)["said"] == [(errno.EPERM, "only call_soon_threadsafe may be called from another thread")] * 2
    assert "memo" not in world.events(1)


@pytest.mark.parametrize(
    ("topic", "act"),
    [
        ("job.event.annotations", "args.out['annotations'] = {'user': {'n': 1}}"),
        ("job.event.priority", "args.out['priority'] = 7 + len(calls) % 2"),
        ("job.update", "p.jobspec_update({'attributes.user.k': len(calls)})"),
        ("job.event.exception", "raise RuntimeError(len(calls))"),
        ("job.priority.get", "p.reprioritize_all()"),
    ],
)
def test_a_plugin_that_answers_itself_without_end_is_stopped(plugged: Make, topic: str, act: str) -> None:
    """The log says so, and the scheduler goes on."""
    world = plugged(
        f"""
        calls = []
        def new(p, topic, args):
            p.job_subscribe(-1)
            p.raise_exception(-1, "remark", 5)
        def again(p, topic, args):
            calls.append(topic)
            {act}
        def sched(p, topic, args):
            if not calls:
                args.out["annotations"] = {{"user": {{"n": 0}}}}
                p.jobspec_update({{"attributes.user.k": 0}})
        def plugin_init(p):
            p.add_handler("job.new", new)
            p.add_handler("{topic}", again)
            p.add_handler("job.state.sched", sched)
        """
    )
    world.add("a", "b")
    world.scheduler.jobtap.events.reprioritize_all()
    world.settle()
    assert 10 < len(plugin(world)["calls"]) < 5_000
    assert any("without end" in line for line in world.log)
    world.add("c")
    world.check()
