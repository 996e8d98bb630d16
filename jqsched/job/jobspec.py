"""Build and check jobspecs: `JobspecV1.from_command(["true"], duration="10m")`, and `dumps()` for the scheduler.

Rule: what it makes is an RFC 25 jobspec that our own long form accepts; what cannot be had on one machine (GPUs, whole
nodes, batch instances) is refused here, not later. Source: RFC 14, RFC 25; Flux's parameters and their errors.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib import import_module
from typing import IO, Any, NoReturn, Self, TypeAlias, cast

from jqsched.core.jobspec import from_jobspec
from jqsched.core.jobspec.values import Wrong, duration_us, is_unicode
from jqsched.core.json import Json, as_object

Tree: TypeAlias = dict[str, Json]

_ZERO = re.compile(r"(?:0++\.?0*+|\.0++)(?:ms|s|m|h|d)?", re.ASCII)  # possessive: linear
_NOWHERE = ("none", "kvs")  # Flux's words for output that goes to no file: here it goes where output goes
_OURS = "user.jqsched."


class Jobspec:
    """A jobspec of RFC 25: its four sections, and its attributes by dotted keys.

    Raises: JobspecError (a ValueError) with all errors, when the parts make no jobspec that can run here.
    """

    def __init__(self, resources: list[Json], tasks: list[Json], attributes: Tree, version: int = 1) -> None:
        self.jobspec: Tree = {"resources": resources, "tasks": tasks, "attributes": attributes, "version": version}
        from_jobspec(self.jobspec)

    # -- sections

    @property
    def resources(self) -> Json:
        """The section `resources`."""
        return self.jobspec["resources"]

    @property
    def tasks(self) -> Json:
        """The section `tasks`."""
        return self.jobspec["tasks"]

    @property
    def attributes(self) -> Json:
        """The section `attributes`."""
        return self.jobspec["attributes"]

    @property
    def version(self) -> Json:
        """The version, 1."""
        return self.jobspec["version"]

    # -- attributes by key

    def getattr(self, key: str) -> Json:
        """Get an attribute: `system.duration`, or in short `duration`. Raises: KeyError when there is none."""
        value: Json = self.jobspec
        for part in _full(key).split("."):
            if not isinstance(value, Mapping) or value.get(part) is None:
                raise KeyError(key)
            value = value[part]
        return value

    def setattr(self, key: str, val: Json) -> None:
        """Set an attribute, with the objects around it. Raises: TypeError when one of these is no object."""
        *path, last = _full(key).split(".")
        parent = self.jobspec
        for part in path:
            inner = parent.setdefault(part, {})
            if not isinstance(inner, dict):
                raise TypeError(f"failed to set {_full(key)} to {val}: {part} is no object")
            parent = inner
        parent[last] = val

    def setattr_shell_option(self, key: str, val: Json) -> None:
        """Set an option of Flux's job shell; it is kept, and has no effect here."""
        self.setattr(f"system.shell.options.{key}", val)

    def _get(self, key: str) -> Json:
        try:
            return self.getattr(key)
        except KeyError:
            return None

    @property
    def duration(self) -> Json:
        """The time limit in seconds, 0 = none. Set it to seconds, a `timedelta`, or RFC 23's `10m`."""
        return self._get("duration")

    @duration.setter
    def duration(self, duration: float | str | timedelta) -> None:
        self.setattr("duration", _seconds(duration))

    @property
    def cwd(self) -> Json:
        """The working directory: an absolute path."""
        return self._get("cwd")

    @cwd.setter
    def cwd(self, cwd: str | os.PathLike[str]) -> None:
        path = os.fspath(cwd) if isinstance(cwd, os.PathLike) else cwd
        if not isinstance(path, str):
            raise ValueError("cwd must be a string")
        self.setattr("cwd", path)

    @property
    def environment(self) -> Json:
        """The environment that is added to what a job gets anyway. A mapping that is no dict is copied."""
        return self._get("environment")

    @environment.setter
    def environment(self, environ: Mapping[str, str]) -> None:
        if not isinstance(environ, Mapping):
            raise ValueError("environment must be a mapping")
        self.setattr("environment", cast(Json, environ if isinstance(environ, dict) else dict(environ)))

    @property
    def queue(self) -> Json:
        """The queue: a word that lists can look for; there are no queues here."""
        return self._get("queue")

    @queue.setter
    def queue(self, queue: str) -> None:
        if not isinstance(queue, str):
            raise TypeError("queue must be a string")
        self.setattr("queue", queue)

    @property
    def stdout(self) -> Json:
        """The file of the output; relative to the working directory, with `{id}` (or `{{id}}`) and `{name}` in it."""
        return self._get(f"{_OURS}output")

    @stdout.setter
    def stdout(self, path: str | os.PathLike[str]) -> None:
        self.setattr(f"{_OURS}output", _file(path))

    @property
    def stderr(self) -> Json:
        """The file of the error output; None: together with the output."""
        return self._get(f"{_OURS}error")

    @stderr.setter
    def stderr(self, path: str | os.PathLike[str]) -> None:
        self.setattr(f"{_OURS}error", _file(path))

    output, error = stdout, stderr

    @property
    def stdin(self) -> Json:
        """The file that is the job's stdin; None: `/dev/null`."""
        return self._get("system.shell.options.input.stdin.path")

    @stdin.setter
    def stdin(self, path: str | os.PathLike[str] | None) -> None:
        self.setattr_shell_option("input.stdin", {} if path is None else {"type": "file", "path": _file(path)})

    input = stdin

    @property
    def unbuffered(self) -> bool:
        """Whether Flux is asked not to buffer the output; here it is written as it comes, always."""
        return self._get("system.shell.options.output.stdout.buffer.type") == "none"

    @unbuffered.setter
    def unbuffered(self, val: bool) -> None:
        if not isinstance(val, bool):
            raise TypeError("unbuffered must be a boolean")
        for stream in ("stdout", "stderr"):
            if val:
                self.setattr_shell_option(f"output.{stream}.buffer.type", "none")
            elif self._get(f"system.shell.options.output.{stream}") is not None:
                self.setattr_shell_option(f"output.{stream}.buffer.type", "line")

    # -- from YAML, and what it asks for

    @classmethod
    def from_yaml_stream(cls, yaml_stream: str | bytes | IO[str] | IO[bytes]) -> Self:
        """Read a jobspec from YAML: text or an open file. Raises ValueError with all that is wrong."""
        text = yaml_stream if isinstance(yaml_stream, str | bytes) else yaml_stream.read()
        document = _read_yaml(text.decode() if isinstance(text, bytes) else text)
        from_jobspec(document)
        return cls(**cast(dict[str, Any], document))

    @classmethod
    def from_yaml_file(cls, filename: str | os.PathLike[str]) -> Self:
        """Read a jobspec from a YAML file. Raises OSError; as `from_yaml_stream`."""
        with open(filename, "rb") as file:
            return cls.from_yaml_stream(file)

    def resource_counts(self) -> Counter[str]:
        """Count what is asked for, by the type of the resource, slots included."""
        found = Counter[str]()
        todo = [(entry, 1) for entry in cast(list[Any], self.resources)]
        while todo:
            entry, outer = todo.pop()
            count = outer * entry.get("count", 1)
            found[entry["type"]] += count
            todo += [(inner, count) for inner in entry.get("with", ())]
        return found

    # -- as text

    def dumps(self, **kwargs: bool | int | str | None) -> str:
        """Return the jobspec as JSON text, with the options of `json.dumps`."""
        return json.dumps(self.jobspec, **{"ensure_ascii": False, "default": as_object, **kwargs})  # type: ignore[arg-type]  # json's own options

    def __str__(self) -> str:
        return str(self.jobspec)

    def __repr__(self) -> str:
        parts = f"{self.resources}, {self.tasks}, attributes={self.attributes}, version={self.version}"
        return f"{type(self).__name__}({parts})"


class JobspecV1(Jobspec):
    """A jobspec of version 1, the only one."""

    def __init__(self, resources: list[Json], tasks: list[Json], attributes: Tree, version: int = 1) -> None:
        if version != 1:
            raise ValueError("version must be 1")
        super().__init__(resources, tasks, attributes, version)

    @classmethod
    def from_command(
        cls,
        command: Iterable[str],
        num_tasks: int = 1,
        cores_per_task: int = 1,
        gpus_per_task: int | None = None,
        num_nodes: int | None = None,
        exclusive: bool = False,
        duration: float | str | timedelta | None = None,
        environment: Mapping[str, str] | None = None,
        env_expand: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        rlimits: Mapping[str, int] | None = None,
        name: str | None = None,
        input: str | os.PathLike[str] | None = None,  # noqa: A002  # Flux's parameter
        output: str | os.PathLike[str] | None = None,
        error: str | os.PathLike[str] | None = None,
        label_io: bool = False,
        unbuffered: bool = False,
        queue: str | None = None,
        bank: str | None = None,
    ) -> Self:
        """Make the jobspec of a command that runs `num_tasks` times side by side.

        `environment` is the caller's where none is given, without what is no Unicode.
        Refuses: with ValueError what Flux refuses, what our long form does (as JobspecError, with all errors), and
                 GPUs, `exclusive`, `env_expand`, `rlimits`, `label_io`.
        """
        _refuse_what_there_is_not(
            gpus_per_task=gpus_per_task, exclusive=exclusive, env_expand=env_expand, rlimits=rlimits, label_io=label_io,
        )  # fmt: skip
        slot_count, nodes, count = _shared_out(num_tasks, cores_per_task, num_nodes)
        slot: Json = {
            "type": "slot",
            "count": slot_count,
            "with": [{"type": "core", "count": cores_per_task}],
            "label": "task",
        }
        made = cls(
            [slot if nodes is None else {"type": "node", "count": nodes, "with": [slot]}],
            [{"command": _command(command), "slot": "task", "count": count}],
            {"system": {"duration": 0}},
        )
        made.environment = _own_environment() if environment is None else environment
        if duration is not None:
            made.duration = duration
        if cwd is not None:
            made.cwd = cwd
        if output is not None and output not in _NOWHERE:
            made.stdout = output
        if error is not None and error not in _NOWHERE:
            made.stderr = error
        if input is not None and input not in _NOWHERE:
            made.stdin = input
        if unbuffered:
            made.unbuffered = True
        if queue is not None:
            made.queue = queue
        for key, value in (("job.name", name), ("bank", bank)):
            if value is not None:
                made.setattr(key, value)
        from_jobspec(made.jobspec)
        return made

    @classmethod
    def per_resource(
        cls,
        command: Iterable[str],
        ncores: int | None = None,
        nnodes: int | None = None,
        per_resource_type: str | None = None,
        per_resource_count: int | None = None,
        **options: Any,
    ) -> Self:
        """Make the jobspec of a command that runs so many times for each core, or for the one node.

        `options` are those of `from_command`. Refuses, with ValueError, what `from_command` does, more than one node,
        and cores that tasks share.
        """
        if "num_tasks" in options or "cores_per_task" in options:
            raise ValueError("num_tasks and cores_per_task follow from the resources")
        count = 1 if per_resource_count is None else per_resource_count
        cores = 1 if ncores is None else ncores
        if not _at_least_one(count) or not _at_least_one(cores):
            raise ValueError("per_resource_count and ncores must be integers >= 1")
        if nnodes not in (None, 1):
            raise ValueError("nnodes: there is only one node here")
        if per_resource_type == "node":
            if cores % count:
                raise ValueError(f"{cores} cores cannot be shared out evenly among {count} tasks")
            return cls.from_command(command, num_tasks=count, cores_per_task=cores // count, **options)
        if per_resource_type not in (None, "core"):
            raise ValueError(f"Invalid per_resource_type='{per_resource_type}'")
        if count != 1:
            raise ValueError("per_resource_count: several tasks on a core are not supported here")
        return cls.from_command(command, num_tasks=cores, **options)

    @classmethod
    def from_batch_command(cls, *_: object, **__: object) -> NoReturn:
        """Refuse with ValueError: a batch job is an instance of its own, and there is only the one scheduler here."""
        raise ValueError(
            "from_batch_command: a batch job is an instance of Flux; here a job is a command: from_command"
        )

    @classmethod
    def from_nest_command(cls, *_: object, **__: object) -> NoReturn:
        """Refuse with ValueError: as `from_batch_command`."""
        raise ValueError("from_nest_command: an instance within an instance is Flux's; here a job is a command")


def validate_jobspec(jobspec: str | bytes | Mapping[str, Json] | Jobspec, require_version: int | None = None) -> bool:
    """Check a jobspec, given as text or as an object; return True. Raises ValueError with every error."""
    document = jobspec.jobspec if isinstance(jobspec, Jobspec) else jobspec
    if isinstance(document, str | bytes):
        document = json.loads(document)
    if require_version is not None and isinstance(document, Mapping) and document.get("version") != require_version:
        raise ValueError(f"version: must be {require_version}")
    from_jobspec(document)
    return True


def _read_yaml(text: str) -> object:
    """Read YAML: JSON, which is YAML, by itself, and anything else where PyYAML is installed."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        yaml = import_module("yaml")  # no dependency: JSON needs none
    except ImportError:
        raise ValueError("no JSON, and to read other YAML PyYAML must be installed") from None
    try:
        return cast(object, yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from None


# ---- the parameters -----------------------------------------------------------------------------------------------


def _full(key: str) -> str:
    """Expand a short key: `duration` is `attributes.system.duration`."""
    if key.startswith("attributes."):
        return key
    return f"attributes.{key}" if key.startswith(("user.", "system.")) else f"attributes.system.{key}"


def _refuse_what_there_is_not(**asked: object) -> None:
    for name, value in asked.items():
        if value:
            raise ValueError(f"{name} is not supported here")


def _at_least_one(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _shared_out(tasks: int, cores_per_task: int, nodes: int | None) -> tuple[int, int | None, Json]:
    """Find the slots of each node, the nodes, and how tasks are counted (uneven: slots are left over)."""
    if not _at_least_one(tasks):
        raise ValueError("task count must be a integer >= 1")
    if not _at_least_one(cores_per_task):
        raise ValueError("cores per task must be an integer >= 1")
    if nodes is None:
        return tasks, None, {"per_slot": 1}
    if not _at_least_one(nodes):
        raise ValueError("node count must be an integer >= 1 (if set)")
    if nodes > tasks:
        raise ValueError("node count must not be greater than task count")
    return math.ceil(tasks / nodes), nodes, {"total": tasks} if tasks % nodes else {"per_slot": 1}


def _command(command: Iterable[str]) -> Json:
    words: list[Json] = [] if isinstance(command, str) else [*command]
    if isinstance(command, str) or not all(isinstance(word, str) for word in words):
        raise TypeError("command must be a list of strings")
    if not words:
        raise TypeError("command array cannot have length of zero")
    return words


def _own_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if is_unicode(key) and is_unicode(value)}


def _seconds(duration: float | str | timedelta) -> float:
    if isinstance(duration, str):
        return _standard_duration(duration)
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, int | float):
        seconds = float(duration)
    else:
        raise TypeError("duration must be an int, float, string, or timedelta")
    if seconds < 0:
        raise ValueError("duration must not be negative")
    if not math.isfinite(seconds):
        raise ValueError("duration must be a normal, finite value")
    return seconds


def _standard_duration(text: str) -> float:
    if _ZERO.fullmatch(text):
        return 0.0
    try:
        return duration_us(text) / 1_000_000
    except Wrong as wrong:
        raise ValueError(f"invalid Flux standard duration: {wrong}") from None


def _file(path: str | os.PathLike[str]) -> str:
    """Read the path of an output file, with Flux's `{{id}}` as our `{id}`."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"The path must be a string or pathlib object, got {type(path).__name__}")
    return re.sub(r"\{\{(id|name)\}\}", r"{\1}", text)
