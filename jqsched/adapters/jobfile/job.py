"""The job file: its keys in the short form, what they default to, and the `Draft` that they make.

Rule: which keys there are, and what a value may be, is said by the table `core.jobspec.keys`.
"""

import json
import tomllib
from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from jqsched.adapters.jobfile.array import read_array
from jqsched.adapters.jobfile.document import BadFile, Object, bad, read_document
from jqsched.adapters.jobfile.structure import read_keys
from jqsched.core.job import Dependency, Draft, Spec
from jqsched.core.jobspec import JobspecError, arrays, from_jobspec, values
from jqsched.core.jobspec.keys import KEYS, OF_SPEC
from jqsched.core.jobspec.script import command_of

NO_CWD = "cwd: missing, and the folder that the spool is in has a name that is not UTF-8: state an absolute path"


_READERS = {key.name: key.read for key in KEYS}
_PLAIN = {key.name: key.fills for key in OF_SPEC if key.name not in ("command", "name", "cwd", "dependencies")}
_OF_DEPENDENCIES = tuple(key.name for key in KEYS if key.fills == "dependencies")
_BESIDE = tuple(key for key in KEYS if key.in_draft)  # what may stand beside a jobspec, which has no place for it


def read_job(
    data: bytes, suffix: str, default_cwd: str, stem: str = "", name: str = "", owner: int | None = None
) -> Draft | BadFile:
    """Read a job file. Never raises for what is in the file.

    `suffix` is `.json` or `.toml`. A file without a name gets `name` where that is given (a job keeps its name when its
    file is edited), else the command's, or for a script that of its file: `stem`. `owner`: whose job it is (None: the
    user's who reads it); only files of this user's are read for the values of an array.
    Cost: about 8 µs for a plain file.
    """
    document = read_document(data, suffix)
    if isinstance(document, BadFile):
        return document
    entries, errors = document
    if arrays.is_array(entries):
        job = read_array(
            entries, default_cwd, owner, lambda filled, known: _read_entries(filled, default_cwd, stem, known or name)
        )
    else:
        job = _read_entries(entries, default_cwd, stem, name)
    if isinstance(job, BadFile):
        return bad([*errors, *arrays.without_array(entries), *job.errors])
    return bad(errors) if errors else job


def _read_entries(entries: Object, default_cwd: str, stem: str, name: str) -> Draft | BadFile:
    if "version" in entries or ("tasks" in entries and "resources" in entries):
        return _read_long(entries, default_cwd, name)
    short = read_keys(entries, _READERS)
    command = _one_of_two(entries)
    if isinstance(short, BadFile):
        return BadFile((*short.errors, *command))
    return BadFile(tuple(command)) if command else _draft(short, default_cwd, name, stem)


def _one_of_two(entries: Object) -> list[str]:
    if ("command" in entries) != ("script" in entries):
        return (
            ["args: only with a script; a command has its arguments itself"]
            if {"command", "args"} <= entries.keys()
            else []
        )
    return ["command, script: only one of the two" if "command" in entries else "command: missing (or script)"]


def _draft(short: Object, default_cwd: str, name: str, stem: str) -> Draft | BadFile:
    """Make the draft of values that were read; the table says which field each fills."""
    if "cwd" not in short and not values.is_unicode(default_cwd):
        return BadFile((NO_CWD,))
    script = cast(str, short.get("script", ""))
    arguments = cast(tuple[str, ...], short.get("args", ()))
    command = cast(tuple[str, ...], short.get("command")) or command_of(script, arguments)
    spec = Spec(
        command=command,
        name=cast(str, short.get("name")) or name or values.name_from(stem if stem and script else command[0]),
        cwd=cast(str, short.get("cwd", default_cwd)),
        dependencies=_dependencies(short),
        **{_PLAIN[key]: value for key, value in short.items() if key in _PLAIN},  # type: ignore[arg-type]  # see `Key`
    )
    return Draft(spec, **_wishes(short))


def _dependencies(short: Object) -> tuple[Dependency, ...]:
    found: tuple[Dependency, ...] = ()
    for key in _OF_DEPENDENCIES:
        if key in short:
            found += cast(tuple[Dependency, ...], short[key])
    return found


def _wishes(read: Object) -> Mapping[str, Any]:
    return {key.fills: read[key.name] for key in _BESIDE if key.name in read}


def is_named_by_file(job: Draft, stem: str) -> bool:
    """Whether a job may have its name from that of its file, and from nowhere else."""
    return job.spec.command[-2:-1] in (("-c",), ("-e",)) and job.spec.name == values.name_from(stem)


def _read_long(entries: Object, default_cwd: str, name: str) -> Draft | BadFile:
    beside = read_keys({key.name: entries[key.name] for key in _BESIDE if key.name in entries}, _READERS)
    errors = beside.errors if isinstance(beside, BadFile) else ()
    if not values.is_unicode(default_cwd):
        if not _states_cwd(entries):
            return BadFile((*errors, NO_CWD))
        default_cwd = "/"
    names = [key.name for key in _BESIDE]
    try:
        spec = from_jobspec({key: entries[key] for key in entries if key not in names}, default_cwd)
    except JobspecError as wrong:
        return BadFile((*errors, *wrong.errors))
    if spec.element is not None:
        return BadFile((*errors, "attributes.user.jqsched.array: is given by the scheduler, to an array's elements"))
    if isinstance(beside, BadFile):
        return beside
    named = evolve(spec, name=name) if name and not _states_name(entries) else spec
    return Draft(named, **_wishes(beside))


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
