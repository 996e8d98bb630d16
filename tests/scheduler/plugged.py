"""What tests of plugins share: worlds with plugins, which are files here, and what these say."""

from typing import Any

from tests.scheduler.conftest import World

RECORD = """
    import json
    heard = []
    def note(p, topic, args):
        heard.append((args["id"], topic))
    def plugin_init(p):
        p.add_handler("job.*", note)
"""

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


def plugin(world: World, name: str = "p0.py") -> Any:
    """The globals of a plugin's module."""
    found = world.scheduler.jobtap.registry.find(name)
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


BUILT_IN = [".priority-default", ".limit-duration", ".dependency-after", ".dependency-singleton", ".begin-time"]


def names(world: World) -> list[str]:
    return [entry["name"] for entry in answer(world, "jobtap-list")["plugins"]]
