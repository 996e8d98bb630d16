"""What tests of filter rules share: rules that are asked for, and what is answered and seen of them."""

from typing import Any

from tests.scheduler.conftest import World


def a_rule(action: Any = "PAUSE", *predicates: Any, uuid: str = "r", **keys: Any) -> dict[str, Any]:
    return {"uuid": uuid, "priority": 0, "predicates": list(predicates), "action": action, **keys}


def named(name: str) -> list[Any]:
    return ["job", ["=", "name", name]]


def ask_rule(world: World, action: Any = "PAUSE", *predicates: Any, **keys: Any) -> list[Any]:
    """Ask for a rule; nothing settles."""
    return world.ask("filter-add", rule=a_rule(action, *predicates, **keys))


def answer(world: World, topic: str, **payload: Any) -> Any:
    """Ask, let everything settle, and return the one answer: a payload, or the errno and the text."""
    answers = world.ask(topic, **payload)
    world.settle()
    assert len(answers) == 1
    said = answers[0]
    return (said.errno, said.strerror) if isinstance(said, OSError) else said


def add_rule(world: World, action: Any = "PAUSE", *predicates: Any, **keys: Any) -> Any:
    return answer(world, "filter-add", rule=a_rule(action, *predicates, **keys))


def remove_rule(world: World, uuid: str = "r") -> None:
    assert "rule" in answer(world, "filter-remove", uuid=uuid)


def uuids(world: World) -> list[str]:
    """The rules that a scheduler would find now."""
    return [rule.uuid for rule in world.store.load().queue.rules]


def notes(world: World, id_: int) -> list[Any]:
    """The notes of a job's durable exceptions."""
    told = [event for _, event in sorted(world.store.disk.events.items()) if event.jobid == id_]
    return [event.context["note"] for event in told if event.name == "exception"]
