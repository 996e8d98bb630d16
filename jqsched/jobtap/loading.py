"""Finding a plugin's module: by path, by the name of an entry point, by module, or built in.

Rule: loading runs the plugin's code, which is trusted as the scheduler's is; whatever it raises becomes one line.
"""

import errno
import importlib
import importlib.util
import json
import os
import shlex
import stat
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType
from typing import TypeVar

from jqsched.core.jobspec.values import finite, show
from jqsched.core.json import Json
from jqsched.jobtap.boundary import DEPTH_MAX, describe_error, failure
from jqsched.jobtap.plugin import Plugin

Init = Callable[[Plugin], int | None]
T = TypeVar("T")

GROUP = "jqsched.jobtap"
BUILTIN = "builtin"  # the path of those that come with jqsched
NAME_MAX = 4_095  # bytes of a path
BUILT_IN = MappingProxyType(
    {
        ".priority-default": "jqsched.plugins.priority_default",
        ".limit-duration": "jqsched.plugins.limit_duration",
        ".dependency-after": "jqsched.plugins.dependency_after",
        ".dependency-singleton": "jqsched.plugins.dependency_singleton",
        ".begin-time": "jqsched.plugins.begin_time",
    }
)


def find_plugin(wanted: str, folder: str) -> tuple[str, str, Init]:
    """Find a plugin: its name, its path (`builtin` for one of ours), and its `plugin_init`.

    `wanted` is a built-in name, a path (absolute, or with `/` or `.py` in it: relative to `folder`), an entry point
    of the group `jqsched.jobtap`, or a module. Raises: ENOENT when there is none; EINVAL when it is none, with what is
    wrong.
    """
    if wanted in BUILT_IN:
        return wanted, BUILTIN, _init(wanted, importlib.import_module(BUILT_IN[wanted]))
    if len(wanted) > NAME_MAX:
        raise failure(errno.ENOENT, f"{show(wanted)[1:-1]}: No such plugin found")
    if "/" in wanted or wanted.endswith(".py"):
        path = os.path.join(folder, wanted)
        if not os.path.isfile(path):
            raise failure(errno.ENOENT, f"{wanted}: No such plugin found")
        return os.path.basename(path), path, _init(wanted, _run_file(wanted, path))
    for entry in entry_points(group=GROUP, name=wanted):
        loaded = _guarded(wanted, entry.load)
        return wanted, entry.value, _init(wanted, loaded)
    spec = _guarded(wanted, lambda: _find_module(wanted))
    if spec is None:
        raise failure(errno.ENOENT, f"{wanted}: No such plugin found")
    module = _guarded(wanted, lambda: importlib.import_module(wanted))
    return wanted, spec.origin or wanted, _init(wanted, module)


def _find_module(wanted: str) -> ModuleSpec | None:
    """Where a module is; its packages are run to find it."""
    try:
        return importlib.util.find_spec(wanted)
    except (ModuleNotFoundError, ValueError):
        return None


def _trusted(wanted: str, found: os.stat_result) -> None:
    """Refuse code that other users may change. Raises: EPERM.

    The spool judges job files alike (adapters/jobfile/trusted), but by whose jobs they would be: these are the
    scheduler's own code, no matter which user owns the jobs.
    """
    if found.st_uid not in (0, os.geteuid()):
        raise failure(
            errno.EPERM, f"{wanted}: belongs to user {found.st_uid}: only your own plugins, or root's, are run"
        )
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid()):
        raise failure(
            errno.EPERM, f"{wanted}: others may write to it (mode {stat.S_IMODE(found.st_mode):o}): chmod go-w"
        )


def _run_file(wanted: str, path: str) -> ModuleType:
    """Run a file as a module of its own, anew each time: so an edited plugin is reloaded by removing and loading it."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the next `with`
    except OSError as error:
        raise failure(error.errno or errno.EINVAL, f"{wanted}: cannot be read: {error.strerror}") from error
    with file:
        _trusted(wanted, os.fstat(file.fileno()))  # of what is read, whatever the name means a moment later
        source = file.read()
    module = ModuleType(f"jqsched_plugin {path}")
    module.__file__ = path
    _guarded(wanted, lambda: exec(compile(source, path, "exec"), module.__dict__))  # noqa: S102 - that is its purpose
    return module


def _guarded(wanted: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except BaseException as error:  # whatever a plugin raises, the scheduler goes on
        raise failure(errno.EINVAL, f"{wanted}: {describe_error(error)}") from error


def _init(wanted: str, module: object) -> Init:
    init = module if callable(module) else _guarded(wanted, lambda: getattr(module, "plugin_init", None))
    if not callable(init):
        raise failure(errno.EINVAL, f"{wanted}: has no plugin_init(p)")
    return init


# ---- what a user writes -------------------------------------------------------------------------------------------


def read_wanted(entry: str) -> tuple[str, dict[str, Json]]:
    """Read `NAME KEY=VALUE …`: a plugin and its configuration; dots in a key make objects. Raises ValueError."""
    name, *pairs = shlex.split(entry) or [""]
    if not name:
        raise ValueError(f"{show(entry)} names no plugin")
    return name, read_conf(pairs)


def read_conf(pairs: Iterable[str]) -> dict[str, Json]:
    """Read `KEY=VALUE` pairs; a value is JSON where it can be read so, else a text. Raises ValueError."""
    conf: dict[str, Json] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"{show(pair)} is not KEY=VALUE")
        *path, last = key.split(".")
        if len(path) >= DEPTH_MAX:
            raise ValueError(f"{show(key)}: nested more than {DEPTH_MAX} deep")
        here = conf
        for part in path:
            there = here.setdefault(part, {})
            if not isinstance(there, dict):
                raise ValueError(f"{show(key)}: {show(part)[1:-1]} has a value already")
            here = there
        here[last] = _conf_value(key, text)
    return conf


def _conf_value(key: str, text: str) -> Json:
    """Read a value: of what looks like JSON, only what can go over the socket and to a plugin."""
    try:
        value: Json = json.loads(text, parse_float=finite, parse_constant=finite)
        if not _is_deep(value, DEPTH_MAX):
            return value
    except RecursionError:
        pass
    except ValueError:
        return text
    raise ValueError(f"{show(key)}: nested more than {DEPTH_MAX} deep")


def _is_deep(value: Json, most: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return most < 0 or any(_is_deep(item, most - 1) for item in items)
