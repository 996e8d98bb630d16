"""A `Spec` as an RFC 25 jobspec (version 1), and back.

Rule: what RFC 25 has a place for stands there, the rest under `attributes.user.jqsched`. A jobspec that says more than
a `Spec` can is kept verbatim in `Spec.jobspec`; one that `to_jobspec` would make again is not (it would cost memory).
Source: RFC 25, RFC 14 (attributes), RFC 26 (dependencies; optional keys such as our `next` are allowed there).
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from attrs import define, evolve, field

from jqsched.core.job import Spec
from jqsched.core.jobspec import arrays, values
from jqsched.core.jobspec.keys import OF_SPEC, OURS, SYSTEM
from jqsched.core.jobspec.values import Wrong, show
from jqsched.core.json import Json, JsonObject

T = TypeVar("T")

_KEYS = ("version", "resources", "tasks", "attributes")
_PATH_MAX = 32  # names in a dotted key of an update: what is nested deeper could not be written to the store
# What RFC 25 demands, or makes of parts. Each other key has its place, where it stands unless it is left out.
_STRUCTURAL = ("command", "name", "cwd", "env", "cores", "time_limit")
_PLACED = tuple(
    (key, section, key.place.removeprefix(section).split("."))
    for key in OF_SPEC
    for section in (SYSTEM, OURS)
    if key.name not in _STRUCTURAL and key.place.startswith(section)
)
_OURS = (*(path[0] for _, section, path in _PLACED if section == OURS), "array")
_FROM_PARTS = ("command", "cores")
_READ = tuple((key, *key.place.rpartition(".")) for key in OF_SPEC if key.name not in _FROM_PARTS)


class JobspecError(ValueError):
    """Not a jobspec that can be run here: all errors, each with its place, as `tasks[0].command: must be …`."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__(errors)  # an exception is pickled by its arguments
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(self.errors)


# ---- writing ------------------------------------------------------------------------------------------------------


def to_jobspec(spec: Spec) -> JsonObject:
    """Write the jobspec of a spec: the one it was given as, or one made of it.

    Units: duration in seconds, 0 = none, as Flux writes it. Cost: a few microseconds.
    """
    return spec.jobspec if spec.jobspec is not None else _made_of(spec, {"environment": dict(spec.env)})


def shown_jobspec(spec: Spec) -> dict[str, Json]:
    """Write the jobspec of a spec as others are shown it: without the environment, in which secrets are."""
    return _without_environment(spec.jobspec) if spec.jobspec is not None else _made_of(spec, {})


def _without_environment(jobspec: JsonObject) -> dict[str, Json]:
    """The same without that; the rest is shared, not copied."""
    attributes = jobspec.get("attributes")
    system = attributes.get("system") if isinstance(attributes, Mapping) else None
    if not isinstance(attributes, Mapping) or not isinstance(system, Mapping) or "environment" not in system:
        return dict(jobspec)
    shown = {key: value for key, value in system.items() if key != "environment"}
    return {**jobspec, "attributes": {**attributes, "system": shown}}


def _made_of(spec: Spec, environment: JsonObject) -> dict[str, Json]:
    system: dict[str, Json] = {
        "duration": spec.time_limit_us / 1_000_000 if spec.time_limit_us is not None else 0,
        "cwd": spec.cwd,
        **environment,
        "job": {"name": spec.name},
    }
    ours: dict[str, Json] = {}
    for key, section, path in _PLACED:
        value = getattr(spec, key.fills)
        if value != key.absent:
            _set(ours if section == OURS else system, path, key.write_there(value))
    if spec.element is not None:
        ours["array"] = arrays.element_object(spec.element)
    attributes: dict[str, Json] = {"system": system}
    if ours:
        attributes["user"] = {"jqsched": ours}
    slots, resources = _resources(spec)
    count: Json = {"per_slot": 1} if slots == spec.tasks else {"total": spec.tasks}
    return {
        "resources": resources,
        "tasks": [{"command": list(spec.command), "slot": "task", "count": count}],
        "attributes": attributes,
        "version": 1,
    }


def _set(document: dict[str, Json], path: list[str], value: Json) -> None:
    """Put a value into a document that is being made; the objects on the way are its own."""
    for name in path[:-1]:
        document = cast(dict[str, Json], document.setdefault(name, {}))
    document[path[-1]] = value


def _resources(spec: Spec) -> tuple[int, list[Json]]:
    """Choose the number of slots (in all), one for each task where nodes and cores can be shared out evenly."""
    even = spec.tasks % spec.nodes == 0 and spec.cores % spec.tasks == 0
    slots = spec.tasks if even else spec.nodes
    assert spec.cores % slots == 0, "a spec's cores are spread evenly over its nodes"
    core: Json = {"type": "core", "count": spec.cores // slots}
    slot: Json = {"type": "slot", "count": slots // spec.nodes, "with": [core], "label": "task"}
    return slots, [slot if spec.nodes == 1 else {"type": "node", "count": spec.nodes, "with": [slot]}]


# ---- reading ------------------------------------------------------------------------------------------------------


def from_jobspec(jobspec: object, default_cwd: str = "/") -> Spec:
    """Read a jobspec.

    Refuses:  what RFC 25 forbids, several task entries, and resources other than node, slot and core.
    Raises:   JobspecError with all errors.
    Cost:     some ten microseconds.
    """
    if not isinstance(jobspec, Mapping):
        raise JobspecError((f"a jobspec must be an object, not {show(jobspec)}",))
    reading = _Reading({"": jobspec})
    reading.known("", jobspec, _KEYS)
    if reading.take("", jobspec, "version", values.integer(1, 1, "1"), 0, required=True):
        spec = _read(reading, jobspec, default_cwd)
        if not reading.errors:
            return spec if to_jobspec(spec) == jobspec else evolve(spec, jobspec=jobspec)
    raise JobspecError(tuple(reading.errors))


def updated(spec: Spec, updates: Mapping[str, Json]) -> Spec:
    """A spec with some values of its jobspec changed, by dotted keys; None removes one.

    Raises:   JobspecError.
    Source:   RFC 21 (jobspec-update).
    """
    document = dict(to_jobspec(spec))
    for key, value in updates.items():
        path = key.split(".")
        if len(path) > _PATH_MAX:
            raise JobspecError((f"{show(key)[1:-1]}: more than {_PATH_MAX} names, one inside the other",))
        _put(document, key, path, value)
    return from_jobspec(document, spec.cwd)


def _put(document: dict[str, Json], key: str, path: list[str], value: Json) -> None:
    """Change one value; the objects on the way are copied, for a spec shares them."""
    for name in path[:-1]:
        there = document.get(name, {})
        if not isinstance(there, Mapping):
            raise JobspecError((f"{show(key)[1:-1]}: {show(name)[1:-1]} is no object",))
        copied = dict(there)
        document[name] = copied
        document = copied
    if value is None:
        document.pop(path[-1], None)
    else:
        document[path[-1]] = value


@define
class _Reading:
    """The errors of one reading, and how a value is taken out of an object with its errors noted.

    `sections`: the objects by their places; at first only the jobspec itself.
    """

    sections: dict[str, Mapping[str, object]]
    errors: list[str] = field(factory=list)

    def take(
        self,
        place: str,
        parent: Mapping[str, object],
        key: str,
        read: Callable[[object], T],
        default: T,
        *,
        required: bool = False,
    ) -> T:
        if key in parent:
            try:
                return read(parent[key])
            except Wrong as wrong:
                self.errors.extend(f"{place}{key}{inner}: {what}" for inner, what in wrong.errors)
        elif required:
            self.errors.append(f"{place}{key}: missing")
        return default

    def section(
        self, place: str, parent: Mapping[str, object], key: str, *, required: bool = False
    ) -> Mapping[str, object]:
        return self.take(place, parent, key, values.mapping, {}, required=required)

    def at(self, place: str, *, required: bool = False) -> Mapping[str, object]:
        """Take the object at a place such as `attributes.user.`; empty where there is none. Errors are noted once."""
        found = self.sections.get(place)
        if found is None:
            outer, dot, name = place[:-1].rpartition(".")
            found = self.section(outer + dot, self.at(outer + dot), name, required=required)
            self.sections[place] = found
        return found

    def only(self, place: str, parent: Mapping[str, object], key: str) -> Mapping[str, object] | None:
        """Take the one object that a list must consist of."""
        return self.take(place, parent, key, _one_object, None, required=True)

    def known(self, place: str, parent: Mapping[str, object], keys: tuple[str, ...]) -> None:
        self.errors.extend(f"{place}{show(key)[1:-1]}: unknown key" for key in parent if key not in keys)


def _one_object(value: object) -> Mapping[str, object] | None:
    items = values.many(value, values.mapping, "one object")
    if len(items) != 1:
        raise Wrong(("", f"must have exactly one element, not {len(items)}"))
    return items[0]


def _read(reading: _Reading, jobspec: Mapping[str, object], default_cwd: str) -> Spec:
    nodes, slots, cores, label = _read_resources(reading, jobspec)
    found = reading.only("", jobspec, "tasks")
    task: Mapping[str, object] = {} if found is None else found
    unknown: tuple[str, ...] = ("?",)
    command = reading.take("tasks[0].", task, "command", values.command, unknown, required=found is not None)
    tasks = _read_count(reading, task, slots) if found is not None else 1
    if found is not None and slots and not isinstance(task.get("slot"), str):
        wanted, given = show(label), show(task.get("slot"))
        reading.errors.append(f"tasks[0].slot: must be the label of the slot, {wanted}, not {given}")
    attributes = reading.at("attributes.", required=True)
    reading.known("attributes.", attributes, ("system", "user"))
    system = reading.at(SYSTEM, required="attributes" in jobspec)
    reading.known(OURS, reading.at(OURS), _OURS)
    for key, why in _NOT_OBEYED.items():
        if system.get(key):
            reading.errors.append(f"{SYSTEM}{key}: {why}")
    defaults: dict[str, object] = {"name": values.name_from(command[0]), "cwd": default_cwd}
    if "shell" in system:
        defaults |= {name: _read_stream(reading, f"{_SHELL_OUTPUT}{stream}.") for name, stream in _STREAMS.items()}
    more = {
        key.fills: reading.take(
            outer + dot, reading.at(outer + dot), name, key.read_there, defaults.get(key.name, key.absent)
        )
        for key, outer, dot, name in _READ
    }
    more["element"] = reading.take(OURS, reading.at(OURS), "array", arrays.element, None)
    return Spec(command=command, cores=cores, tasks=tasks, nodes=nodes, **more)  # type: ignore[arg-type]  # see `Key`


# What changes where or how a job may run, so that to ignore it would run another job than was asked for.
_NOT_OBEYED = {
    "constraints": "nothing here obeys constraints: leave them out",
    "files": "a batch script is not run from a jobspec here: name it in tasks[0].command",
    "batch": "a batch script is not run from a jobspec here: name it in tasks[0].command",
}


# Where Flux's job shell is told to write, which holds where we are not told. Source: flux-shell(1), output.stdout.
_SHELL_OUTPUT = f"{SYSTEM}shell.options.output."
_STREAMS = {"output": "stdout", "error": "stderr"}


def _read_stream(reading: _Reading, place: str) -> str | None:
    stream = reading.at(place)
    if stream.get("type", "file" if "path" in stream else "kvs") == "kvs":
        return None
    if stream.get("type", "file") != "file":
        reading.errors.append(f"{place}type: must be file or kvs, not {show(stream.get('type'))}")
        return None
    return reading.take(place, stream, "path", _shell_path, None, required=True)


def _shell_path(value: object) -> str:
    """Read the path of an output file in Flux's writing, `{{id}}` and `{{name}}`."""
    text = values.string(value)
    for flux, ours in (("{{id}}", "{id}"), ("{{jobid}}", "{id}"), ("{{name}}", "{name}")):
        text = text.replace(flux, ours)
    return values.path(text)


def _duration(value: object) -> int | None:
    return None if value == 0 and type(value) in (int, float) else values.duration_us(value)


def _read_resources(reading: _Reading, jobspec: Mapping[str, object]) -> tuple[int, int, int, object]:
    """Read slot>core or node>slot>core: how many nodes, slots in all and cores in all, and the slot's label."""
    nodes, place = 1, "resources[0]."
    slot = reading.only("", jobspec, "resources")
    if slot is not None and slot.get("type") == "node":
        nodes = reading.take(place, slot, "count", values.count, 1, required=True)
        slot, place = reading.only(place, slot, "with"), f"{place}with[0]."
    if slot is None:
        return nodes, 0, 1, None
    if slot.get("type") != "slot":
        reading.errors.append(f"{place}type: must be node or slot, not {show(slot.get('type'))}")
        return nodes, 0, 1, None
    slots = nodes * reading.take(place, slot, "count", values.count, 1, required=True)
    core = reading.only(place, _without_nothing(slot), "with")
    if core is None:
        return nodes, slots, slots, slot.get("label")
    if core.get("type") != "core":
        reading.errors.append(f"{place}with[0].type: only core is known here, not {show(core.get('type'))}")
    cores = slots * reading.take(f"{place}with[0].", core, "count", values.count, 1, required=True)
    if cores > values.COUNT_MAX:
        reading.errors.append(f"resources[0]: asks for more than {values.COUNT_MAX} cores")
    return nodes, slots, cores, slot.get("label")


def _without_nothing(slot: Mapping[str, object]) -> Mapping[str, object]:
    """A slot without the resources of which it asks for none (`{"type": "gpu", "count": 0}`)."""
    inside = slot.get("with")
    return slot if not isinstance(inside, list) else {**slot, "with": [part for part in inside if not _is_none(part)]}


def _is_none(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("count") == 0 and part.get("type") != "core"


def _read_count(reading: _Reading, task: Mapping[str, object], slots: int) -> int:
    count = reading.section("tasks[0].", task, "count", required=True)
    if set(count) == {"total"}:
        return reading.take("tasks[0].count.", count, "total", values.count, 1)
    if set(count) == {"per_slot"}:
        return max(slots, 1) * reading.take("tasks[0].count.", count, "per_slot", values.count, 1)
    if isinstance(task.get("count"), Mapping):
        reading.errors.append("tasks[0].count: must have one key, per_slot or total")
    return 1
