"""Plugins and jobs that have not started: rejecting them, their priorities, their dependencies."""

import errno

import pytest

from jqsched.core.job import State
from tests.scheduler.conftest import Make
from tests.scheduler.plugged import GATE, LATE, RECORD, WAITS, answer, plugin, refused

# ---- rejecting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["job.create", "job.validate"])
@pytest.mark.parametrize(
    ("says", "text"),
    [
        ('p.reject_job(args, "user exceeded %d jobs", 5)', "user exceeded 5 jobs"),
        ("p.reject_job(args)", "rejected by job-manager plugin 'p0.py'"),
        ("-1", "rejected by job-manager plugin"),
    ],
)
def test_a_rejected_file_is_set_aside_with_the_reason(plugged: Make, topic: str, says: str, text: str) -> None:
    """And a submit is answered EINVAL with it; in the journal stand `submit` and `invalidate`, and there is no job."""
    world = plugged(
        f"""
        def plugin_init(p):
            p.add_handler("{topic}", lambda p, topic, args: {says})
        """
    )
    world.add("a")
    assert [reason for _, reason in world.spool.files.rejected.values()] == [text]
    assert refused(world, "submit", text='{"command": ["true"]}') == (errno.EINVAL, text)
    assert world.events(1) == ["submit", "invalidate"]
    assert not world.store.disk.jobs
    world.restart()
    assert not world.store.disk.jobs
    world.check()


def test_one_rejected_of_a_batch_leaves_the_others_alone(plugged: Make) -> None:
    """But for those that need it to succeed: they are rejected as well. Seen to fail: they were ended in NEW."""
    world = plugged(
        """
        def validate(p, topic, args):
            if args["jobspec"]["attributes"]["system"]["job"]["name"] == "bad":
                return p.reject_job(args, "bad name")
        def plugin_init(p):
            p.add_handler("job.validate", validate)
        """
    )
    world.drop("good")
    world.drop("bad")
    world.drop("needs", after=["bad"])
    world.drop("whatever", dependencies=[{"scheme": "afterany", "value": "bad"}])
    world.settle()
    assert sorted(job.spec.name for job in world.store.disk.jobs.values()) == ["good", "whatever"]
    assert sorted(name.partition("-")[2] for name in world.spool.files.rejected) == ["bad.json", "needs.json"]
    world.check()


# ---- priorities -----------------------------------------------------------------------------------------------------


def test_a_priority_may_come_late_from_a_service(plugged: Make) -> None:
    """Until then the job is in PRIORITY, whatever its urgency becomes. Source: docs/reference/plugins.md."""
    world = plugged(LATE)
    world.add("a")
    assert world.job(1).state is State.PRIORITY
    answer(world, "urgency", id=1, urgency=31)
    assert world.job(1).state is State.PRIORITY
    answer(world, "urgency", id=1, urgency=20)
    assert answer(world, "late.give", id=1, priority=500) == {"given": True}
    assert (world.job(1).priority, world.job(1).state) == (500, State.RUN)


@pytest.mark.parametrize(("urgency", "priority"), [(0, 0), (31, 4294967295), (16, 500)])
def test_hold_and_expedite_override_the_priority_that_comes(plugged: Make, urgency: int, priority: int) -> None:
    world = plugged(LATE)
    world.add("a", urgency=urgency)
    answer(world, "late.give", id=1, priority=500)
    assert world.job(1).priority == priority


def test_reprioritize_job_where_it_does_nothing(plugged: Make) -> None:
    """Unknown: ENOENT; a job that runs: nothing; the same again: no event. Source: docs/reference/plugins.md."""
    world = plugged(LATE)
    assert refused(world, "late.give", id=7, priority=1)[0] == errno.EIO
    assert "FileNotFoundError" in world.log[-1]
    world.add("a", "b")
    answer(world, "late.give", id=1, priority=5)
    before = world.events(1)
    answer(world, "late.give", id=1, priority=6)
    assert world.events(1) == before
    answer(world, "late.give", id=2, priority=6)
    before = world.events(2)
    answer(world, "late.give", id=2, priority=6)
    assert world.events(2) == before


def test_a_pin_wins_over_a_plugin_and_its_end_asks_the_plugin_again(plugged: Make) -> None:
    world = plugged(
        """
        def give(p, topic, args):
            args.out["priority"] = 77
        def plugin_init(p):
            p.add_handler("job.state.priority", give)
            p.add_handler("job.priority.get", give)
        """
    )
    world.add("first", "a", priority=9)
    assert world.job(2).priority == 9
    answer(world, "priority", id=2, priority=None)
    assert world.job(2).priority == 77
    answer(world, "priority", id=2, priority=3)
    assert world.job(2).priority == 3
    answer(world, "urgency", id=2, urgency=5)
    assert world.job(2).priority == 3
    world.check()


def test_reprioritize_all_asks_for_each_pending_job_and_orders_the_queue(plugged: Make) -> None:
    world = plugged(
        """
        wanted = {}
        def get(p, topic, args):
            args.out["priority"] = wanted.get(args["id"], args["urgency"])
        def again(p, message):
            p.reprioritize_all()
            message.respond()
        def plugin_init(p):
            p.add_handler("job.priority.get", get)
            p.service_register("again", again)
        """
    )
    world.add("running", "a", "b")
    plugin(world)["wanted"].update({1: 99, 3: 1000})
    answer(world, "p0.again")
    assert [world.job(id_).priority for id_ in (1, 2, 3)] == [16, 16, 1000]
    world.end(1)
    assert world.job(3).state is State.RUN


@pytest.mark.parametrize(
    ("value", "kind"), [("'high'", "string"), ("1.5", "real"), ("True", "boolean"), ("-7", "integer")]
)
def test_a_priority_that_is_none_is_reported_and_the_job_waits(plugged: Make, value: str, kind: str) -> None:
    """Source: docs/reference/plugins.md."""
    world = plugged(
        f"""
        def give(p, topic, args):
            args.out["priority"] = {value}
        def plugin_init(p):
            p.add_handler("job.state.priority", give)
        """
    )
    world.add("a")
    assert world.job(1).state is State.PRIORITY
    told = [event.context for event in world.seen if event.name == "exception"]
    assert [(told["type"], told["severity"]) for told in told] == [("job.state.priority", 4)]
    assert told[0]["note"] == f"arg_unpack: Expected integer, got {kind} (job may be stuck in PRIORITY state)"


# ---- dependencies ---------------------------------------------------------------------------------------------------


def test_a_dependency_of_a_plugin_holds_a_job_until_it_is_removed(plugged: Make) -> None:
    world = plugged(GATE)
    world.add("a", **WAITS)
    assert (world.job(1).state, world.job(1).waits) == (State.DEPEND, ("gate=north",))
    assert world.events(1) == ["submit", "dependency-add", "validate"]
    assert refused(world, "gate.open", id=1, description="gate=south")[0] == errno.EIO
    answer(world, "gate.open", id=1, description="gate=north")
    assert world.job(1).state is State.RUN
    assert world.events(1)[3:6] == ["dependency-remove", "depend", "priority"]


def test_it_is_still_there_after_a_restart(plugged: Make) -> None:
    world = plugged(GATE)
    world.add("a", **WAITS)
    world.restart()
    assert (world.job(1).state, world.job(1).waits) == (State.DEPEND, ("gate=north",))
    answer(world, "gate.open", id=1, description="gate=north")
    assert world.job(1).state is State.RUN


NORTH_AND_SOUTH = {"dependencies": [{"scheme": "gate", "value": value} for value in ("north", "south")]}


@pytest.mark.parametrize("opened", ["north", "south"])
def test_what_was_removed_before_a_restart_stays_removed(plugged: Make, opened: str) -> None:
    """The plugin asks for all dependencies again, as it does when it is loaded again; the event log knows better."""
    world = plugged(GATE)
    world.add("a", **NORTH_AND_SOUTH)
    answer(world, "gate.open", id=1, description=f"gate={opened}")
    other = {"north": "gate=south", "south": "gate=north"}[opened]
    assert world.job(1).waits == (other,)
    world.restart()
    assert world.job(1).waits == (other,)
    path = world.scheduler.jobtap.registry.find("p0.py").path
    answer(world, "jobtap", remove="p0.py", load=path)
    assert world.job(1).waits == (other,)
    assert "exception" not in world.events(1)
    answer(world, "gate.open", id=1, description=other)
    assert world.job(1).state is State.RUN
    world.check()


@pytest.mark.parametrize("loaded", [True, False])
def test_a_scheme_that_nobody_knows_is_refused(plugged: Make, loaded: bool) -> None:
    world = plugged(RECORD) if loaded else plugged()
    world.add("a", **WAITS)
    ((_, reason),) = world.spool.files.rejected.values()
    assert reason.startswith('dependency scheme "gate" not supported')


def test_dependencies_of_plugins_cannot_be_edited(plugged: Make) -> None:
    world = plugged(GATE)
    world.add("a", **WAITS)
    world.edit(1, dependencies=[])
    world.settle()
    assert "plugins cannot be changed" in world.spool.files.reasons[1]
    world.edit(1, urgency=3, **WAITS)
    world.settle()
    assert (world.job(1).urgency, world.job(1).waits) == (3, ("gate=north",))


DEPENDENCY_FAULTS = """
    said = {}
    def attempt(name, act):
        try:
            act()
            said[name] = 0
        except OSError as error:
            said[name] = error.errno
    def new(p, topic, args):
        attempt("add", lambda: p.dependency_add(-1, "x"))
        attempt("again", lambda: p.dependency_add(args["id"], "x"))
        attempt("ours", lambda: p.dependency_add(-1, "after-success=1"))
        attempt("ours, nearly", lambda: p.dependency_add(-1, "begin-time=soon"))
        attempt("nobody", lambda: p.dependency_add(99, "x"))
        attempt("remove unknown", lambda: p.dependency_remove(-1, "y"))
        attempt("remove", lambda: p.dependency_remove(-1, "x"))
        attempt("add removed", lambda: p.dependency_add(-1, "x"))
    def sched(p, topic, args):
        attempt("too late", lambda: p.dependency_add(-1, "z"))
        attempt("remove too late", lambda: p.dependency_remove(-1, "z"))
    def plugin_init(p):
        p.add_handler("job.new", new)
        p.add_handler("job.state.sched", sched)
        attempt("outside", lambda: p.dependency_add(-1, "x"))
"""


def test_what_dependency_functions_answer(plugged: Make) -> None:
    """Source: docs/reference/plugins.md; EEXIST as flux-jobtap-plugins(7) says it."""
    world = plugged(DEPENDENCY_FAULTS)
    world.add("a")
    assert plugin(world)["said"] == {
        "outside": errno.EINVAL,
        "add": 0,
        "again": 0,
        "ours": errno.EINVAL,
        "ours, nearly": errno.EINVAL,
        "nobody": errno.ENOENT,
        "remove unknown": errno.ENOENT,
        "remove": 0,
        "add removed": errno.EEXIST,
        "too late": errno.EINVAL,
        "remove too late": errno.EINVAL,
    }
    assert world.job(1).state is State.RUN
