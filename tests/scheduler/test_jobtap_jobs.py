"""Plugins and jobs: before and after they run, and what plugins do to them."""

import errno
import json

import pytest
from attrs import evolve

from jqsched.core.job import State
from tests.scheduler.conftest import LIMITS, Make
from tests.scheduler.plugged import LATE, answer, plugin, refused

# ---- prolog and epilog ----------------------------------------------------------------------------------------------

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
    """Source: docs/reference/events.md."""
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
    # Where the executor died as well, it is unknown that it never started: it is queued again.
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
    """No epilog is under way then; nor is a priority given that was waited for."""
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


# ---- what plugins do to jobs ----------------------------------------------------------------------------------------


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
    """All or nothing; the duration is its owner's. Source: docs/reference/plugins.md."""
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


# ---- while a job is being submitted, and what is left of it ----------------------------------------------------------


SUBMITTING = """
    heard = []
    def post(p, topic, args):
        p.job_subscribe(-1)
        p.event_post(-1, "memo", {"topic": topic})
        p.raise_exception(-1, "remark", 5, topic)
        if topic == args["jobspec"]["attributes"]["system"]["job"]["name"]:
            return p.reject_job(args, "no")
    def hear(p, topic, args):
        heard.append((topic, args["entry"].get("context")))
    def plugin_init(p):
        for topic in ("job.create", "job.validate", "job.new"):
            p.add_handler(topic, post)
        p.add_handler("job.event.*", hear)
"""


def test_events_are_posted_while_a_job_is_being_submitted(plugged: Make) -> None:
    """They come before `validate`, and a subscriber hears of them."""
    world = plugged(SUBMITTING)
    world.add("a")
    assert world.events(1)[:8] == ["submit", *["memo", "exception"] * 3, "validate"]
    memos = [context["topic"] for topic, context in plugin(world)["heard"] if topic == "job.event.memo"]
    assert memos == ["job.create", "job.validate", "job.new"]
    assert world.job(1).state is State.RUN
    world.check()


@pytest.mark.parametrize(("topic", "posts"), [("job.create", 1), ("job.validate", 2)])
def test_what_was_posted_for_a_job_that_is_rejected_stays_in_the_journal(plugged: Make, topic: str, posts: int) -> None:
    world = plugged(SUBMITTING)
    world.add(topic)
    assert world.events(1) == ["submit", *["memo", "exception"] * posts, "invalidate"]
    assert not world.store.disk.jobs
    world.restart()
    world.check()


def test_what_was_posted_before_a_restart_is_known_after_it(plugged: Make) -> None:
    world = plugged(
        """
        asked = {}
        def create(p, topic, args):
            names = ("submit", "memo", "depend", "alloc")
            asked[args["id"]] = [name for name in names if p.job_event_posted(args["id"], name)]
        def plugin_init(p):
            p.add_handler("job.create", create)
            p.add_handler("job.state.depend", lambda p, topic, args: p.event_post(-1, "memo"))
        """
    )
    world.add("a", "b")
    assert plugin(world)["asked"][1] == ["submit"]
    world.restart()
    assert plugin(world)["asked"] == {1: ["submit", "memo", "depend", "alloc"], 2: ["submit", "memo", "depend"]}


# ---- what they are given --------------------------------------------------------------------------------------------


CHANGING = """
    changed = []
    def spoil(value):
        changed.append(True)
        for key in list(value):
            if isinstance(value[key], dict):
                spoil(value[key])
            value[key] = "spoilt"
        value["more"] = 1
    def look(p, topic, args):
        for key in args:
            if isinstance(args[key], dict):
                spoil(args[key])
        found = p.job_lookup(args["id"])
        spoil(found["jobspec"])
        for job in p.live_jobs():
            spoil(job.spec.jobspec)
    def serve(p, message):
        spoil(message.payload)
        message.respond({"given": 1})
    def plugin_init(p):
        spoil(p.conf)
        p.set_name("spoils")
        p.service_register("do", serve)
        p.add_handler("job.*", look)
        p.add_handler("conf.update", lambda p, topic, args: spoil(args["conf"]))
"""


def test_changing_what_is_given_changes_nothing(plugged: Make) -> None:
    jobspec = {
        "version": 1,
        "resources": [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": ["app"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 5, "cwd": "/"}, "user": {"k": {"deep": [1]}}},
    }
    world = plugged(CHANGING)
    answer(world, "submit", text=json.dumps(jobspec))
    payload = {"k": {"j": 1}}
    assert answer(world, "spoils.do", **payload) == {"given": 1}
    config = {"k": {"j": 1}}
    world.scheduler.jobtap.configure(config)
    assert world.job(1).spec.jobspec == jobspec
    assert (payload, config) == ({"k": {"j": 1}}, {"k": {"j": 1}})
    world.end(1)
    assert plugin(world)["changed"]
    assert world.job(1).spec.jobspec == jobspec
    assert [event.context for event in world.seen if event.name in ("priority", "finish")] == [
        {"priority": 16},
        {"status": 0},
    ]
    world.check()
