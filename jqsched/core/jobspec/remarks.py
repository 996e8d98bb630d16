"""What a job file says that is obeyed otherwise than its author may think: said by `check`, and once at acceptance.

Rule: it is about what was accepted, so none of it is an error; a plain job costs two comparisons.
"""

from collections.abc import Iterator, Mapping

from jqsched.core.job import Spec
from jqsched.core.jobspec.keys import OF_SPEC, SYSTEM
from jqsched.core.jobspec.values import show

# The places in `attributes.system` that mean something here: keys', accounting, what is refused, Flux's output.
_KNOWN = [
    place.split(".")
    for place in (
        *(key.place.removeprefix(SYSTEM) for key in OF_SPEC if key.place.startswith(SYSTEM)),
        *("queue", "project", "bank", "constraints"),
        *(f"shell.options.output.{name}.{part}" for name in ("stdout", "stderr") for part in ("type", "path")),
    )
]


def remarks(spec: Spec) -> tuple[str, ...]:
    """Say what is odd in a job that was accepted, a line each; mostly nothing."""
    lines: list[str] = []
    if len(spec.command) > 2 and spec.command[-2] in ("-c", "-e") and "\r\n" in spec.command[-1]:
        lines.append("script: has DOS line breaks (\\r\\n): the \\r becomes a part of the last word of each line")
    if spec.jobspec is not None and (ignored := list(_ignored(spec.jobspec))):
        lines.append(f"nothing here obeys {', '.join(ignored)}: ignored")
    return tuple(lines)


def _ignored(jobspec: Mapping[str, object]) -> Iterator[str]:
    """Find the keys of a valid jobspec that jqsched does not use."""
    yield from _beside(_at(_at(jobspec, "attributes"), "system"), SYSTEM, _KNOWN)
    yield from _others("tasks[0].", _first(jobspec, "tasks"), {"command", "slot", "count"})
    yield from _others("resources[0].", _first(jobspec, "resources"), {"type", "count", "with", "label"})


def _beside(parent: Mapping[str, object], place: str, known: list[list[str]]) -> Iterator[str]:
    """Find what stands beside known places, which are lists of names from here on, at any depth.

    Only where the lists go on: an object that is the value of a known place is not looked into.
    """
    yield from _others(place, parent, {names[0] for names in known})
    for name in dict.fromkeys(names[0] for names in known if names[1:]):
        inside = [names[1:] for names in known if names[0] == name]
        yield from _beside(_at(parent, name), f"{place}{name}.", inside)


def _at(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _first(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    items = parent.get(key)
    return items[0] if isinstance(items, list) and items and isinstance(items[0], Mapping) else {}


def _others(place: str, parent: Mapping[str, object], known: set[str]) -> Iterator[str]:
    """The keys that are not known and say something."""
    return (place + show(key)[1:-1] for key, value in parent.items() if key not in known and value)
