"""The configuration file `jqsched.toml`, and the command line's options, which override it.

In: the file's content, and options. Out: a `Config` that is whole and valid, or a `BadFile` with all errors.
Rule: None stands for the built-in default that depends on the machine. A scheduler that reloads keeps the last good
configuration.
"""

import os
from collections.abc import Callable, Mapping

from attrs import asdict, evolve, fields, frozen

from jqsched.adapters.jobfile import BadFile, Refusal, bad, read_document, read_keys, read_trusted
from jqsched.core.jobspec import Wrong, values
from jqsched.core.json import JsonObject
from jqsched.ports import PortError


@frozen
class Config:
    """The settings of one scheduler. `_s` are seconds.

    `max_running` None: the usable cores; `cores` None: the larger of both. `queue_max` None: no limit on the jobs in
    the queue; `keep_finished` None: all finished jobs are kept, else the newest so many. `backfill`: none or easy;
    `backfill_depth` 0: all jobs behind the reservation are looked at.
    """

    max_running: int | None = None
    cores: int | None = None
    grace_s: float = 10.0
    scan_s: float = 5.0
    interruptions_max: int = 5
    queue_max: int | None = None
    keep_finished: int | None = None
    plugins: tuple[str, ...] = ()
    executor: str = "local"
    run_as_owner: bool = False
    backfill: str = "none"
    backfill_depth: int = 1000


def _seconds(low: float, high: float) -> Callable[[object], float]:
    """Make a reader of seconds, or an RFC 23 duration, in a range."""

    def read(value: object) -> float:
        try:
            seconds = 0.0 if value == 0 and type(value) in (int, float) else values.duration_us(value) / 1_000_000
        except Wrong:
            seconds = -1.0
        if not low <= seconds <= high:
            shown = values.show(value)
            raise Wrong(
                ("", f"must be {low:g}…{high:g} seconds (a number, or a duration like 500ms or 10s), not {shown}")
            )
        return seconds

    return read


def _word(value: object) -> str:
    text = values.string(value)
    if not text.strip():
        raise Wrong(("", "must not be empty"))
    return text


def _words(value: object) -> tuple[str, ...]:
    return values.many(list(value) if isinstance(value, tuple) else value, _word, "strings")


def _one_of(*words: str) -> Callable[[object], str]:
    """Make a reader of one of a few words."""

    def read(value: object) -> str:
        if value not in words:
            raise Wrong(("", f"must be {' or '.join(words)}, not {values.show(value)}"))
        return str(value)

    return read


_READERS: Mapping[str, Callable[[object], object]] = {
    "max_running": values.integer(1, 1_000_000),
    "cores": values.integer(1, 1_000_000),
    "grace_s": _seconds(0, 86_400),
    "scan_s": _seconds(0.1, 10),
    "interruptions_max": values.integer(0, 1_000_000),
    "queue_max": values.integer(1, values.COUNT_MAX),
    "keep_finished": values.integer(0, values.COUNT_MAX),
    "plugins": _words,
    "executor": _word,
    "run_as_owner": values.boolean,
    "backfill": _one_of("none", "easy"),
    "backfill_depth": values.integer(0, values.COUNT_MAX),
}
assert set(_READERS) == {field.name for field in fields(Config)}, "each setting has a reader"


def as_document(config: Config) -> JsonObject:
    """Write the settings as plugins see them (`conf.update`)."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}


def read_config(path: str) -> Config | BadFile:
    """Read the configuration file; where there is none, all is default. Raises PortError when that cannot be done.

    It names plugins, which are code: so it is trusted only as a job file would be.
    """
    try:
        content = read_trusted(path)
    except FileNotFoundError:
        return Config()
    except OSError as wrong:
        raise PortError("reading the configuration", path, wrong.errno, wrong.strerror or str(wrong)) from wrong
    return BadFile((content.text,)) if isinstance(content, Refusal) else parse_config(content.data)


def config_signature(path: str) -> object:
    """What changes when the configuration does, also by its removal or through another name of the file."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError as wrong:
        return wrong.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def parse_config(data: bytes) -> Config | BadFile:
    """Read the content of a configuration file; an empty one is all default."""
    if not data.strip():
        return Config()
    document = read_document(data, ".toml")
    if isinstance(document, BadFile):
        return document
    entries, errors = document
    config = _changed(Config(), entries)
    if errors:
        return bad([*errors, *(config.errors if isinstance(config, BadFile) else ())])
    return bad(config.errors) if isinstance(config, BadFile) else config


def merge(config: Config, options: Mapping[str, object]) -> Config | BadFile:
    """Let the options of the command line win; one that is None was not given. Errors name the option."""
    given = {key: value for key, value in options.items() if value is not None}
    return _changed(config, given)


def _changed(config: Config, entries: dict[str, object]) -> Config | BadFile:
    settings = read_keys(entries, _READERS)
    return settings if isinstance(settings, BadFile) else evolve(config, **settings)  # type: ignore[arg-type]  # by readers of the fields' types
