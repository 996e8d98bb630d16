"""What a job file says that is obeyed otherwise than its author may think: said by `check`, and once at acceptance.

Rule: it is about what was accepted, so none of it is an error; a plain job costs two comparisons.
"""

from collections.abc import Iterator, Mapping

from jqsched.core.job import Spec
from jqsched.core.jobspec.values import show

_SYSTEM = {"cwd", "environment", "duration", "dependencies", "job", "queue", "project", "bank", "shell", "constraints"}


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
    system = _at(jobspec, "attributes", "system")
    yield from _others("attributes.system.", system, _SYSTEM)
    yield from _others("attributes.system.job.", _at(system, "job"), {"name"})
    shell = _at(system, "shell")
    yield from _others("attributes.system.shell.", shell, {"options"})
    options = _at(shell, "options")
    yield from _others("attributes.system.shell.options.", options, {"output"})
    output = _at(options, "output")
    yield from _others("attributes.system.shell.options.output.", output, {"stdout", "stderr"})
    for name in ("stdout", "stderr"):
        place = f"attributes.system.shell.options.output.{name}."
        yield from _others(place, _at(output, name), {"type", "path"})
    yield from _others("tasks[0].", _first(jobspec, "tasks"), {"command", "slot", "count"})
    yield from _others("resources[0].", _first(jobspec, "resources"), {"type", "count", "with", "label"})


def _first(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    items = parent.get(key)
    return items[0] if isinstance(items, list) and items and isinstance(items[0], Mapping) else {}


def _at(parent: Mapping[str, object], *path: str) -> Mapping[str, object]:
    for key in path:
        value = parent.get(key)
        parent = value if isinstance(value, Mapping) else {}
    return parent


def _others(place: str, parent: Mapping[str, object], known: set[str]) -> Iterator[str]:
    """The keys that are not known and say something."""
    return (place + show(key)[1:-1] for key, value in parent.items() if key not in known and value)
