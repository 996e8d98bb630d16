"""A `Spec` as an RFC 25 jobspec (version 1), and back.

Rule: what RFC 25 has a place for stands there, the rest under `attributes.user.jqsched`. A jobspec that says more than
a `Spec` can is kept verbatim in `Spec.jobspec`; one that `to_jobspec` would make again is not (it would cost memory).
Source: RFC 25, RFC 14 (attributes), RFC 26 (dependencies; optional keys such as our `next` are allowed there).
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from attrs import define, evolve, field

from jqsched.core.job import Dependency, OnInterrupt, Reason, Retries, Scheme, Spec
from jqsched.core.jobspec import retry_values, values
from jqsched.core.jobspec.values import Wrong, show
from jqsched.core.json import Json, JsonObject

T = TypeVar("T")

_KEYS = ("version", "resources", "tasks", "attributes")
_PATH_MAX = 32  # names in a dotted key of an update: what is nested deeper could not be written to the store
_OURS = ("output", "error", "on_interrupt", "retries", "reasons")


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
    if spec.dependencies:
        system["dependencies"] = [dependency_object(dependency) for dependency in spec.dependencies]
    attributes: dict[str, Json] = {"system": system}
    if ours := _ours(spec):
        attributes["user"] = {"jqsched": ours}
    slots, resources = _resources(spec)
    count: Json = {"per_slot": 1} if slots == spec.tasks else {"total": spec.tasks}
    return {
        "resources": resources,
        "tasks": [{"command": list(spec.command), "slot": "task", "count": count}],
        "attributes": attributes,
        "version": 1,
    }


def _resources(spec: Spec) -> tuple[int, list[Json]]:
    """Choose the number of slots (in all), one for each task where nodes and cores can be shared out evenly."""
    even = spec.tasks % spec.nodes == 0 and spec.cores % spec.tasks == 0
    slots = spec.tasks if even else spec.nodes
    assert spec.cores % slots == 0, "a spec's cores are spread evenly over its nodes"
    core: Json = {"type": "core", "count": spec.cores // slots}
    slot: Json = {"type": "slot", "count": slots // spec.nodes, "with": [core], "label": "task"}
    return slots, [slot if spec.nodes == 1 else {"type": "node", "count": spec.nodes, "with": [slot]}]


def dependency_object(dependency: Dependency) -> Json:
    """Write a dependency as an RFC 26 object, times in seconds as Flux does."""
    value = dependency.value
    if dependency.scheme == Scheme.BEGIN_TIME.value and isinstance(value, int):
        return {"scheme": dependency.scheme, "value": value / 1_000_000}
    entries: dict[str, Json] = {"scheme": dependency.scheme, "value": "" if value is None else str(value)}
    if dependency.next_only:
        entries["next"] = True
    return entries


def _ours(spec: Spec) -> dict[str, Json]:
    ours: dict[str, Json] = {}
    if spec.output is not None:
        ours["output"] = spec.output
    if spec.error is not None:
        ours["error"] = spec.error
    if spec.on_interrupt is not OnInterrupt.REQUEUE:
        ours["on_interrupt"] = spec.on_interrupt.value
    if spec.retries is not None:
        ours["retries"] = retries_value(spec.retries)
    if spec.reasons:
        ours["reasons"] = [reason_list(reason) for reason in spec.reasons]
    return ours


def retries_value(retries: Retries) -> Json:
    """Write retries as a job file has them: a number where that says all, else an object; times in seconds."""
    plain = Retries(retries.max)
    wishes: dict[str, Json] = {
        "delay": retries.delay_us / 1_000_000 if retries.delay_us else None,
        "factor": retries.factor if retries.factor != plain.factor else None,
        "max_delay": retries.max_delay_us / 1_000_000 if retries.max_delay_us != plain.max_delay_us else None,
        "on": [*retries.on] or None,
        "separator": None if retries.separator else False,
    }
    entries: dict[str, Json] = {"max": retries.max}
    entries |= {key: value for key, value in wishes.items() if value is not None}
    return retries.max if len(entries) == 1 else entries


def reason_list(reason: Reason) -> Json:
    """Write a reason as `[source, text]`, with the nanoseconds where it has a time of its own."""
    return [reason.source, reason.text] if reason.t_ns is None else [reason.source, reason.text, reason.t_ns]


# ---- reading ------------------------------------------------------------------------------------------------------


def from_jobspec(jobspec: object, default_cwd: str = "/") -> Spec:
    """Read a jobspec.

    Refuses:  what RFC 25 forbids, several task entries, and resources other than node, slot and core.
    Raises:   JobspecError with all errors.
    Cost:     some ten microseconds.
    """
    if not isinstance(jobspec, Mapping):
        raise JobspecError((f"a jobspec must be an object, not {show(jobspec)}",))
    reading = _Reading()
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
    """The errors of one reading, and how a value is taken out of an object with its errors noted."""

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
    attributes = reading.section("", jobspec, "attributes", required=True)
    reading.known("attributes.", attributes, ("system", "user"))
    system = reading.section("attributes.", attributes, "system", required="attributes" in jobspec)
    ours = reading.section("attributes.user.", reading.section("attributes.", attributes, "user"), "jqsched")
    job = reading.section("attributes.system.", system, "job")
    place, user = "attributes.system.", "attributes.user.jqsched."
    reading.known(user, ours, _OURS)
    for key, why in _NOT_OBEYED.items():
        if system.get(key):
            reading.errors.append(f"{place}{key}: {why}")
    stdout, stderr = _read_shell_output(reading, system)
    return Spec(
        command=command,
        name=reading.take(f"{place}job.", job, "name", values.name, "") or values.name_from(command[0]),
        cwd=reading.take(place, system, "cwd", values.cwd, default_cwd),
        env=reading.take(place, system, "environment", values.env, ()),
        cores=cores,
        tasks=tasks,
        nodes=nodes,
        time_limit_us=reading.take(place, system, "duration", _duration, None),
        output=reading.take(user, ours, "output", values.path, stdout),
        error=reading.take(user, ours, "error", values.path, stderr),
        on_interrupt=reading.take(user, ours, "on_interrupt", values.on_interrupt, OnInterrupt.REQUEUE),
        retries=reading.take(user, ours, "retries", retry_values.retries, None),
        reasons=reading.take(user, ours, "reasons", values.reasons, ()),
        dependencies=reading.take(place, system, "dependencies", values.dependencies, ()),
    )


# What changes where or how a job may run, so that to ignore it would run another job than was asked for.
_NOT_OBEYED = {
    "constraints": "nothing here obeys constraints: leave them out",
    "files": "a batch script is not run from a jobspec here: name it in tasks[0].command",
    "batch": "a batch script is not run from a jobspec here: name it in tasks[0].command",
}


def _read_shell_output(reading: _Reading, system: Mapping[str, object]) -> tuple[str | None, str | None]:
    """Where Flux's job shell is told to write stdout and stderr. Source: flux-shell(1), output.{stdout,stderr}."""
    place = "attributes.system.shell."
    shell = reading.section("attributes.system.", system, "shell")
    options = reading.section(place, shell, "options")
    output = reading.section(f"{place}options.", options, "output")
    stdout, stderr = (
        _read_stream(
            reading, f"{place}options.output.{name}.", reading.section(f"{place}options.output.", output, name)
        )
        for name in ("stdout", "stderr")
    )
    return stdout, stderr


def _read_stream(reading: _Reading, place: str, stream: Mapping[str, object]) -> str | None:
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
