"""Plugins: what each topic is told, in which order; what a plugin posts; what it does with its handle."""

import errno

from jqsched.core.job import State
from tests.scheduler.conftest import Make
from tests.scheduler.plugged import LIFE, RECORD, answer, plugin

# ---- order ----------------------------------------------------------------------------------------------------------


def test_a_job_is_shown_at_each_turn_of_its_life(plugged: Make) -> None:
    """Source: docs/reference/plugins.md."""
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


def test_a_retry_is_shown_as_another_way_through_the_states(plugged: Make) -> None:
    """A stage of plugins sees the attempt that is retried end, and the job come back; it becomes inactive once."""
    world = plugged(RECORD)
    world.add("a", retries={"max": 1, "delay": "10s"})
    world.end(1, 75 << 8)
    assert world.job(1).waits, "its backoff"
    at = len(plugin(world)["heard"])
    assert "job.state.inactive" not in [topic for _, topic in plugin(world)["heard"]]
    world.clock.advance(12_000_000)
    world.settle()
    assert [topic for _, topic in plugin(world)["heard"][at:]] == [
        "job.state.priority",
        "job.state.sched",
        "job.state.run",
    ]
    world.end(1)
    topics = [topic for _, topic in plugin(world)["heard"]]
    assert topics[-len(LIFE) + 7 :] == LIFE[7:]
    assert topics.count("job.inactive-add") == topics.count("job.destroy") == 1
    assert topics.count("job.validate") == 1, "it is no new submission"
    world.check()


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
    """Source: docs/reference/plugins.md. The environment, in which secrets are, is left out."""
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


# ---- the event queue ------------------------------------------------------------------------------------------------


def test_events_for_the_current_job_wait_for_the_callback_and_those_for_another_do_not(plugged: Make) -> None:
    """Also the whole way of the other one from DEPEND on. Source: docs/reference/plugins.md."""
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


# ---- the handle -----------------------------------------------------------------------------------------------------


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
