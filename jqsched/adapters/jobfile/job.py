"""The job file: its keys in the short form, what they default to, and the `Draft` that they make.

Rule: the table of docs/reference/job-file.md is `_READERS` and `_Short`; `core.jobspec.values` knows what a value may
be.
"""

import json
import tomllib

from attrs import evolve, frozen

from jqsched.adapters.jobfile.document import BadFile, Object, bad, read_document
from jqsched.adapters.jobfile.structure import Strict
from jqsched.core.job import URGENCY_DEFAULT, Dependency, Draft, OnInterrupt, Reason, Retries, Spec
from jqsched.core.jobspec import JobspecError, from_jobspec, retry_values, values
from jqsched.core.jobspec.script import interpreter_of

NO_CWD = "cwd: missing, and the folder that the spool is in has a name that is not UTF-8: state an absolute path"


@frozen
class _Short:
    """A job file in its short form, as it stands there."""

    command: tuple[str, ...] = ()
    script: str = ""
    name: str = ""
    urgency: int = URGENCY_DEFAULT
    priority: int | None = None
    after: tuple[Dependency, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    cwd: str = ""
    env: tuple[tuple[str, str], ...] = ()
    cores: int = 1
    time_limit: int | None = None
    output: str | None = None
    error: str | None = None
    on_interrupt: OnInterrupt = OnInterrupt.REQUEUE
    retries: Retries | None = None
    reason: tuple[Reason, ...] = ()


_READERS = {
    "command": values.command,
    "script": values.script,
    "name": values.name,
    "urgency": values.urgency,
    "priority": values.priority,
    "after": values.after,
    "dependencies": values.dependencies,
    "cwd": values.cwd,
    "env": values.env,
    "cores": values.cores,
    "time_limit": values.duration_us,
    "output": values.path,
    "error": values.path,
    "on_interrupt": values.on_interrupt,
    "retries": retry_values.retries,
    "reason": values.reasons,
}
_SHORT = Strict(_Short, _READERS)


def read_job(data: bytes, suffix: str, default_cwd: str, stem: str = "", name: str = "") -> Draft | BadFile:
    """Read a job file. Never raises for what is in the file.

    `suffix` is `.json` or `.toml`. A file without a name gets `name` where that is given (a job keeps its name when its
    file is edited), else the command's, or for a script that of its file: `stem`.
    Cost: about 8 µs for a plain file.
    """
    document = read_document(data, suffix)
    if isinstance(document, BadFile):
        return document
    entries, errors = document
    job = _read_entries(entries, default_cwd, stem, name)
    if isinstance(job, BadFile):
        return bad([*errors, *job.errors])
    return bad(errors) if errors else job


def _read_entries(entries: Object, default_cwd: str, stem: str, name: str) -> Draft | BadFile:
    if "version" in entries or ("tasks" in entries and "resources" in entries):
        return _read_long(entries, default_cwd, name)
    short = _SHORT.read(entries)
    command = _one_of_two(entries)
    if isinstance(short, BadFile):
        return BadFile((*short.errors, *command))
    return BadFile(tuple(command)) if command else _draft(short, default_cwd, name, stem)


def _one_of_two(entries: Object) -> list[str]:
    if ("command" in entries) != ("script" in entries):
        return []
    return ["command, script: only one of the two" if "command" in entries else "command: missing (or script)"]


def _draft(short: _Short, default_cwd: str, name: str, stem: str) -> Draft | BadFile:
    if not short.cwd and not values.is_unicode(default_cwd):
        return BadFile((NO_CWD,))
    command = short.command or (*interpreter_of(short.script), short.script)
    spec = Spec(
        command=command,
        name=short.name or name or values.name_from(stem if stem and short.script else command[0]),
        cwd=short.cwd or default_cwd,
        env=short.env,
        cores=short.cores,
        time_limit_us=short.time_limit,
        output=short.output,
        error=short.error,
        on_interrupt=short.on_interrupt,
        retries=short.retries,
        reasons=short.reason,
        dependencies=short.after + short.dependencies,
    )
    return Draft(spec, short.urgency, short.priority)


def is_named_by_file(job: Draft, stem: str) -> bool:
    """Whether a job may have its name from that of its file, and from nowhere else."""
    return job.spec.command[-2:-1] in (("-c",), ("-e",)) and job.spec.name == values.name_from(stem)


@frozen
class _Wishes:
    """What a file in the long form may say beside the jobspec, which has no place for it."""

    urgency: int = URGENCY_DEFAULT
    priority: int | None = None


_WISH_KEYS = ("urgency", "priority")
_WISHES = Strict(_Wishes, {key: _READERS[key] for key in _WISH_KEYS})


def _read_long(entries: Object, default_cwd: str, name: str) -> Draft | BadFile:
    wishes = _WISHES.read({key: entries[key] for key in _WISH_KEYS if key in entries})
    errors = wishes.errors if isinstance(wishes, BadFile) else ()
    if not values.is_unicode(default_cwd):
        if not _states_cwd(entries):
            return BadFile((*errors, NO_CWD))
        default_cwd = "/"
    try:
        spec = from_jobspec({key: entries[key] for key in entries if key not in _WISH_KEYS}, default_cwd)
    except JobspecError as wrong:
        return BadFile((*errors, *wrong.errors))
    if isinstance(wishes, BadFile):
        return wishes
    named = evolve(spec, name=name) if name and not _states_name(entries) else spec
    return Draft(named, wishes.urgency, wishes.priority)


def _states_cwd(entries: Object) -> bool:
    """Whether what may be a jobspec says where it is to run."""
    attributes = entries.get("attributes")
    system = attributes.get("system") if isinstance(attributes, dict) else None
    return isinstance(system, dict) and "cwd" in system


def _states_name(entries: Object) -> bool:
    """Whether a jobspec that was found valid names its job."""
    system = entries["attributes"]["system"]  # type: ignore[index]  # both are objects: the jobspec is valid
    return "name" in system.get("job", {})


def as_json(data: bytes, suffix: str) -> str:
    """Write a file that `read_job` accepted as JSON with the same keys: itself, or TOML's content."""
    text = data.decode()
    return text if suffix == ".json" else json.dumps(tomllib.loads(text.removeprefix("\ufeff")), ensure_ascii=False)
