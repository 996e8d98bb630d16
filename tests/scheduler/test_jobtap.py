"""Plugins: what each topic is told, in which order, and what becomes of what a plugin says. A plugin here is a file."""

import errno
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from attrs import evolve

from jqsched.core.job import State
from jqsched.core.policy import Limits
from jqsched.jobtap import loading
from tests.scheduler.conftest import LIMITS, World

RECORD = """
    import json
    heard = []
    def note(p, topic, args):
        heard.append((args["id"], topic))
    def plugin_init(p):
        p.add_handler("job.*", note)
"""

Make = Callable[..., World]


@pytest.fixture
def plugged(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Make a world whose scheduler loads plugins with these bodies."""

    def make(*bodies: str, limits: Limits = LIMITS) -> World:
        return World(limits, tuple(write(tmp_path, body, f"p{at}.py") for at, body in enumerate(bodies)))

    return make


def write(folder: Path, body: str, name: str = "p.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(body))
    path.chmod(0o600)
    return str(path)


def plugin(world: World, name: str = "p0.py") -> Any:
    """The globals of a plugin's module."""
    found = world.scheduler.jobtap.stack.find(name)
    callback = found._handlers[0][1]
    return callback.__globals__


def answer(world: World, topic: str, **payload: Any) -> Any:
    answers = world.ask(topic, **payload)
    world.settle()
    assert len(answers) == 1
    return answers[0]


def refused(world: World, topic: str, **payload: Any) -> tuple[int, str]:
    error = answer(world, topic, **payload)
    assert isinstance(error, OSError), error
    return error.errno or 0, error.strerror


# ---- order --------------------------------------------------------------------------------------------------------

LIFE = [
    "job.create",
    "job.validate",
    "job.new",
    "job.state.depend",
    "job.state.priority",
    "job.state.sched",
    "job.state.run",
    "job.state.cleanup",
    "job.state.inactive",
    "job.inactive-add",
    "job.destroy",
]


def test_a_job_is_shown_at_each_turn_of_its_life(plugged: Make) -> None:
    """Source: flux.md section 8.1."""
    world = plugged(RECORD)
    world.add("a")
    world.end(1)
    assert [topic for _, topic in plugin(world)["heard"]] == LIFE
    assert world.events(1) == [
        "submit",
        "validate",
        "depend",
        "priority",
        "alloc",
        "start",
        "finish",
        "release",
        "free",
        "clean",
    ]


def test_a_subscriber_is_shown_each_event_before_the_state_that_it_leads_to(plugged: Make) -> None:
    world = plugged(
        """
        heard = []
        def note(p, topic, args):
            heard.append(topic)
            if topic == "job.create":
                p.job_subscribe(-1)
        def plugin_init(p):
            p.add_handler("job.*", note)
        """
    )
    world.add("a")
    world.end(1)
    assert plugin(world)["heard"] == [
        "job.create", "job.validate", "job.new",
        "job.event.validate", "job.state.depend",
        "job.event.depend", "job.state.priority",
        "job.event.priority", "job.state.sched",
        "job.event.alloc", "job.state.run",
        "job.event.start",
        "job.event.finish", "job.state.cleanup",
        "job.event.release", "job.event.free",
        "job.event.clean", "job.state.inactive",
        "job.inactive-add", "job.destroy",
    ]  # fmt: skip


def test_a_purged_job_is_told_of(plugged: Make) -> None:
    world = plugged(RECORD)
    world.add("a", "b")
    world.end(1)
    plugin(world)["heard"].clear()
    answer(world, "purge", ids=[1])
    assert plugin(world)["heard"] == [(1, "job.inactive-remove")]


def test_what_callbacks_are_told_of_a_job(plugged: Make) -> None:
    """Source: flux.md section 8.2. The environment, in which secrets are, is left out."""
    world = plugged(
        """
        seen = {}
        def note(p, topic, args):
            seen[topic] = dict(args)
        def plugin_init(p):
            p.add_handler("job.*", note)
        """
    )
    world.add("a", urgency=20, env={"SECRET": "x"})
    seen = plugin(world)["seen"]
    assert set(seen["job.validate"]) == {"jobspec", "id", "userid", "urgency", "state", "priority", "t_submit"}
    assert (seen["job.validate"]["state"], seen["job.validate"]["priority"]) == (int(State.NEW), -1)
    assert "SECRET" not in str(seen)
    sched = seen["job.state.sched"]
    assert (sched["prev_state"], sched["state"], sched["priority"]) == (4, 8, 20)
    assert sched["entry"]["name"] == "priority"
    world.end(1, 1 << 8)
    assert seen["job.state.cleanup"]["end_event"]["context"] == {"status": 256}


def test_plugins_are_asked_in_load_order_until_one_refuses(plugged: Make) -> None:
    body = """
        def note(p, topic, args):
            args.out.setdefault("who", [])
            args.out["who"].append(p.name)
            return p.reject_job(args, "%s says no to %d", p.name, args["id"]) if p.name == "p1.py" else 0
        def plugin_init(p):
            p.add_handler("job.validate", note)
    """
    world = plugged(body, body, body)
    world.add("a")
    assert [reason for _, reason in world.spool.files.rejected.values()] == ["p1.py says no to 1"]


def test_the_first_handler_that_matches_is_called_and_gets_its_argument(plugged: Make) -> None:
    world = plugged(
        """
        heard = []
        def plugin_init(p):
            p.add_handler("job.val*", lambda p, topic, args, arg: heard.append(arg), "one")
            p.add_handler("job.validate", lambda p, topic, args, arg: heard.append(arg), "two")
        """
    )
    world.add("a")
    assert plugin(world)["heard"] == ["one"]


# ---- rejecting ----------------------------------------------------------------------------------------------------


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


# ---- priorities ---------------------------------------------------------------------------------------------------

LATE = """
    def wait(p, topic, args):
        return p.priority_unavail(args)
    def give(p, message):
        p.reprioritize_job(message.payload["id"], message.payload["priority"])
        message.respond({"given": True})
    def plugin_init(p):
        p.set_name("late")
        p.add_handler("job.state.priority", wait)
        p.service_register("give", give)
"""


def test_a_priority_may_come_late_from_a_service(plugged: Make) -> None:
    """Until then the job is in PRIORITY, whatever its urgency becomes. Source: flux.md section 0.8."""
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
    """Unknown: ENOENT; a job that runs: nothing; the same again: no event. Source: flux.md section 8.3."""
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
    """Source: flux.md section 8.2."""
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


# ---- dependencies -------------------------------------------------------------------------------------------------

GATE = """
    def dependency(p, topic, args):
        p.dependency_add(args["id"], "gate=" + args["dependency"]["value"])
    def open_(p, message):
        p.dependency_remove(message.payload["id"], message.payload["description"])
        message.respond()
    def plugin_init(p):
        p.set_name("gate")
        p.add_handler("job.dependency.gate", dependency)
        p.service_register("open", open_)
"""
WAITS = {"dependencies": [{"scheme": "gate", "value": "north"}]}


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
    """Source: flux.md section 8.4; EEXIST as flux-jobtap-plugins(7) says it."""
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


# ---- prolog and epilog --------------------------------------------------------------------------------------------

PERILOG = """
    def run(p, topic, args):
        p.prolog_start("test")
    def cleanup(p, topic, args):
        p.epilog_start("test")
    def finish(p, message):
        getattr(p, message.payload["which"] + "_finish")(message.payload["id"], "test", 0)
        message.respond()
    def plugin_init(p):
        p.set_name("perilog")
        p.add_handler("job.state.run", run)
        p.add_handler("job.state.cleanup", cleanup)
        p.service_register("finish", finish)
"""


def test_a_prolog_keeps_a_job_from_starting_and_an_epilog_from_leaving(plugged: Make) -> None:
    """Source: flux.md section 2 (variants)."""
    world = plugged(PERILOG)
    world.add("a", "b")
    assert world.executor.orders == []
    answer(world, "perilog.finish", id=1, which="prolog")
    assert world.executor.orders == [(1, 1)]
    world.end(1)
    assert world.job(1).state is State.CLEANUP
    assert not world.executor.orders[1:], "its slot is not free yet"
    answer(world, "perilog.finish", id=1, which="epilog")
    assert world.events(1)[4:] == [
        "alloc", "prolog-start", "prolog-finish", "start", "finish", "epilog-start", "release", "epilog-finish", "free",
        "clean",
    ]  # fmt: skip
    assert world.job(2).state is State.RUN
    world.check()


def test_a_job_that_is_canceled_in_its_prolog_never_starts(plugged: Make) -> None:
    world = plugged(PERILOG)
    world.add("a")
    answer(world, "cancel", id=1)
    assert world.job(1).state is State.CLEANUP
    answer(world, "perilog.finish", id=1, which="prolog")
    answer(world, "perilog.finish", id=1, which="epilog")
    assert world.executor.orders == []
    assert world.events(1)[4:] == [
        "alloc", "prolog-start", "exception", "epilog-start", "prolog-finish", "epilog-finish", "free", "clean",
    ]  # fmt: skip


@pytest.mark.parametrize("executor", [False, True])
def test_a_prolog_that_a_crash_cut_short_is_begun_anew(plugged: Make, executor: bool) -> None:
    world = plugged(PERILOG)
    world.add("a")
    world.restart(executor=executor)
    assert world.executor.orders == []
    # Where the executor died as well, nobody knows that it never started: it is queued again.
    assert world.events(1).count("prolog-start") == 2 + executor
    answer(world, "perilog.finish", id=1, which="prolog")
    assert [id_ for id_, _ in world.executor.orders] == [1]


def test_an_epilog_that_a_crash_cut_short_is_begun_anew(plugged: Make) -> None:
    world = plugged(PERILOG)
    world.add("a")
    answer(world, "perilog.finish", id=1, which="prolog")
    world.end(1)
    world.restart()
    assert world.job(1).state is State.CLEANUP
    answer(world, "perilog.finish", id=1, which="epilog")
    assert world.job(1).state is State.INACTIVE
    world.check()


def test_without_its_plugins_a_later_scheduler_ends_what_they_held(plugged: Make) -> None:
    """No epilog is under way then; nor does anybody give a priority that was waited for."""
    world = plugged(PERILOG, limits=evolve(LIMITS, max_running=2))
    world.add("a")
    answer(world, "perilog.finish", id=1, which="prolog")
    world.end(1)
    world.plugins = ()
    world.restart()
    assert world.job(1).state is State.INACTIVE


def test_a_job_that_waited_for_a_priority_goes_on_without_the_plugin(plugged: Make) -> None:
    world = plugged(LATE)
    world.add("a")
    world.plugins = ()
    world.restart()
    assert world.job(1).state is State.RUN


# ---- what plugins do to jobs --------------------------------------------------------------------------------------


def test_exceptions_of_plugins(plugged: Make) -> None:
    """One of severity 0 ends a job wherever it is; one in NEW is refused; a bad one is EINVAL."""
    world = plugged(
        """
        said = []
        def attempt(act):
            try:
                act()
                said.append(0)
            except OSError as error:
                said.append(error.errno)
        def new(p, topic, args):
            attempt(lambda: p.raise_exception(-1, "early", 0, ""))
            attempt(lambda: p.raise_exception(-1, "two words", 1, ""))
            attempt(lambda: p.raise_exception(-1, "x", 8, ""))
        def run(p, topic, args):
            attempt(lambda: p.raise_exception(-1, "warning", 5, "n" * 2000))
        def depend(p, topic, args):
            if args["urgency"] == 5:
                p.raise_exception(-1, "unwanted", 0, "go away")
        def plugin_init(p):
            p.add_handler("job.new", new)
            p.add_handler("job.state.run", run)
            p.add_handler("job.state.depend", depend)
        """
    )
    world.add("a")
    assert plugin(world)["said"] == [errno.EINVAL] * 3 + [0]
    assert len(world.job(1).exception.note) == 1024
    world.add("b", urgency=5)
    assert world.events(2) == ["submit", "validate", "exception", "clean"]
    assert world.job(2).exception.type == "unwanted"


def test_aux_results_lookups_and_posted_events(plugged: Make) -> None:
    world = plugged(
        """
        said = {}
        def new(p, topic, args):
            p.job_aux_set(-1, "mine", [args["id"]])
            p.event_post(args["id"], "memo", {"a": 1}) if args["state"] > 1 else None
        def sched(p, topic, args):
            p.event_post(-1, "memo", {"a": 1})
            said["posted"] = (p.job_event_posted(-1, "memo"), p.job_event_posted(-1, "finish"))
        def cleanup(p, topic, args):
            said["aux"] = p.job_aux_get(args["id"], "mine")
            said["result"] = p.get_job_result(-1)
            said["lookup"] = p.job_lookup(args["id"])["urgency"]
        def inactive(p, topic, args):
            said["inactive"] = (p.job_aux_get(-1, "mine"), p.job_aux_get(-1, "other"))
        def plugin_init(p):
            p.add_handler("job.new", new)
            p.add_handler("job.state.sched", sched)
            p.add_handler("job.state.cleanup", cleanup)
            p.add_handler("job.state.inactive", inactive)
        """
    )
    world.add("a")
    world.end(1, 1 << 8)
    assert plugin(world)["said"] == {
        "posted": (True, False), "aux": [1], "result": 2, "lookup": 16, "inactive": ([1], None),
    }  # fmt: skip
    assert world.events(1)[3:6] == ["priority", "memo", "alloc"]


def test_a_jobspec_may_be_updated_by_a_callback(plugged: Make) -> None:
    world = plugged(
        """
        said = []
        def validate(p, topic, args):
            p.jobspec_update({"attributes.system.duration": 60, "attributes.user.project": "x"})
            try:
                p.jobspec_update({"tasks": 5})
            except OSError as error:
                said.append(error.errno)
        def plugin_init(p):
            p.add_handler("job.validate", validate)
        """
    )
    world.add("a")
    assert plugin(world)["said"] == [errno.EINVAL]
    assert world.job(1).spec.time_limit_us == 60_000_000
    assert world.job(1).spec.jobspec["attributes"]["user"]["project"] == "x"
    assert world.events(1)[:2] == ["submit", "jobspec-update"]
    world.check()


def test_updates_that_users_ask_for_are_up_to_plugins(plugged: Make) -> None:
    """All or nothing; the duration is its owner's. Source: flux.md section 8.4."""
    world = plugged(
        """
        def update(p, topic, args):
            if args["value"] == "no":
                return p.reject_job(args, "not that one")
            args.out["updates"] = {"attributes.user.more": args["key"]}
        def validate(p, topic, args):
            if args["jobspec"]["attributes"]["system"].get("duration") == 666:
                return p.reject_job(args, "too much")
        def plugin_init(p):
            p.add_handler("job.update.attributes.user.colour", update)
            p.add_handler("job.validate", validate)
        """
    )
    world.add("first", "a")
    assert refused(world, "update", id=2, updates={"attributes.user.taste": 1}) == (
        errno.EINVAL,
        "update of attributes.user.taste not supported",
    )
    assert refused(world, "update", id=2, updates={"attributes.user.colour": "no"}) == (errno.EINVAL, "not that one")
    assert refused(world, "update", id=2, updates={"attributes.system.duration": 666}) == (errno.EINVAL, "too much")
    assert refused(world, "update", id=9, updates={"attributes.system.duration": 6})[0] == errno.ENOENT
    answer(world, "update", id=2, updates={"attributes.user.colour": "red", "attributes.system.duration": 6})
    user = world.job(2).spec.jobspec["attributes"]["user"]
    assert (user["colour"], user["more"]) == ("red", "attributes.user.colour")
    assert world.events(2)[-2:] == ["jobspec-update", "priority"]
    answer(world, "update", id=1, updates={"attributes.system.duration": 7})
    assert world.job(1).spec.time_limit_us == 7_000_000


# ---- the event queue ----------------------------------------------------------------------------------------------


def test_events_for_the_current_job_wait_for_the_callback_and_those_for_another_do_not(plugged: Make) -> None:
    """Also the whole way of the other one from DEPEND on. Source: flux.md section 0.10."""
    world = plugged(
        """
        heard = []
        def new(p, topic, args):
            p.job_subscribe(-1)
            if args["id"] == 1:
                p.dependency_add(-1, "second")
        def note(p, topic, args):
            heard.append((args["id"], topic, args["state"]))
            if (args["id"], topic) == (2, "job.state.depend"):
                heard.append("posting")
                p.event_post(2, "memo")
                p.dependency_remove(1, "second")
                heard.append("posted")
        def plugin_init(p):
            p.add_handler("job.new", new)
            p.add_handler("job.event.memo", note)
            p.add_handler("job.state.*", note)
        """
    )
    world.add("a")
    world.add("b")
    heard = plugin(world)["heard"]
    between = heard[heard.index("posting") + 1 : heard.index("posted")]
    assert [entry[1] for entry in between] == ["job.state.priority", "job.state.sched"]
    assert {entry[0] for entry in between} == {1}
    assert heard[heard.index("posted") + 1] == (2, "job.event.memo", int(State.DEPEND))


# ---- what misbehaves ----------------------------------------------------------------------------------------------


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
    assert told == ([topic] if topic.startswith("job.state") and topic != "job.state.inactive" else [])


@pytest.mark.parametrize("topic", ["job.create", "job.validate"])
def test_a_plugin_that_raises_where_it_is_asked_rejects(plugged: Make, topic: str) -> None:
    """Nobody gets past a check that is broken."""
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


# ---- loading and unloading ----------------------------------------------------------------------------------------

BUILT_IN = [".priority-default", ".limit-duration", ".dependency-after", ".dependency-singleton", ".begin-time"]


def names(world: World) -> list[str]:
    return [entry["name"] for entry in answer(world, "jobtap-list")["plugins"]]


def test_loading_shows_the_jobs_that_are_there(plugged: Make, tmp_path: Path) -> None:
    """Source: flux.md section 8.5. Permits that were given ahead are taken back: plugins have their say before."""
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
        file = open(name, mode)  # noqa: SIM115 - whoever asked for it closes it
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
    """Source: flux.md section 8.5. The next load asks for their priorities."""
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


# ---- the handle ---------------------------------------------------------------------------------------------------


def test_timers_requests_and_calls_from_threads(plugged: Make) -> None:
    world = plugged(
        """
        import threading
        said = []
        def later(p):
            reply = p.get_handle().rpc("job-manager.urgency", {"id": 2, "urgency": 0})
            reply.then(lambda reply: said.append(dict(reply.get())))
            try:
                reply.get()
            except OSError as error:
                said.append(error.errno)
        def plugin_init(p):
            handle = p.get_handle()
            handle.call_later(1.0, lambda: later(p))
            handle.call_later(2.0, lambda: said.append("tick"), 2.0)
            canceled = handle.call_later(1.0, lambda: said.append("never"))
            canceled.cancel()
            thread = threading.Thread(target=lambda: handle.call_soon_threadsafe(lambda: said.append("thread")))
            thread.start()
            thread.join()
            p.add_handler("none", later)
        """
    )
    world.add("first", "a")
    said = plugin(world)["said"]
    assert said == ["thread"]
    world.clock.advance(1_000_000)
    world.settle()
    assert said[1] == errno.EDEADLK
    assert said[2:] == [{"outcome": "changed", "old_urgency": 16}]
    world.clock.advance(5_000_000)
    world.settle()
    assert said.count("tick") == 1
    world.clock.advance(2_000_000)
    world.settle()
    assert said.count("tick") == 2
    assert "never" not in said


def test_a_timer_of_an_unloaded_plugin_does_not_fire(plugged: Make) -> None:
    world = plugged(
        """
        said = []
        def plugin_init(p):
            p.get_handle().call_later(1.0, lambda: said.append("fired"))
            p.add_handler("none", lambda *_: None)
        """
    )
    said = plugin(world)["said"]
    answer(world, "jobtap", remove="p0.py")
    world.clock.advance(2_000_000)
    world.settle()
    assert said == []
