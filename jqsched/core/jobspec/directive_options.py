"""The options of directives, in our words, Flux's and Slurm's: what each says in a job file.

In: directives. Out: entries of a job file, what `env` is to have, and what is ignored; or all that is wrong.
Rule: a value is read as it is where its name comes from (a bare 90 is minutes to Slurm and Flux, seconds to us), and
checked by its key's reader, so that an error has its line. What another scheduler would do and nothing here can is an
error, but for what only concerns accounts and mail.
Source: sbatch(1), flux-submit(1).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeAlias

from attrs import define, field, frozen

from jqsched.core.jobspec.clock_durations import slurm_seconds
from jqsched.core.jobspec.directives import BadDirectives, Dialect, Directive
from jqsched.core.jobspec.key import Key, Words
from jqsched.core.jobspec.keys import BY_NAME, KEYS
from jqsched.core.jobspec.values import Wrong, duration_s, must
from jqsched.core.json import Json


@define
class Wishes:
    """What a script's directives ask for. `env`: words as of `--env`; `capture`: `all`, `none` or nothing said.

    `begin_time` is a text: a time, which may be local, or `+` and a duration.
    """

    entries: dict[str, Json] = field(factory=dict)
    env: list[str] = field(factory=list)
    capture: str = ""
    ignored: list[str] = field(factory=list)


Take: TypeAlias = Callable[[Wishes, str], None]


@frozen
class _Flag:
    """An option: what it does; whether a value belongs to it."""

    take: Take
    has_value: bool = True


def wishes_of(directives: tuple[Directive, ...], *, ignore_unknown: bool = False) -> Wishes:
    """Read all directives, later ones over earlier ones. Raises: BadDirectives."""
    wishes = Wishes()
    errors: list[str] = []
    for directive in directives:
        table = _TABLES[directive.dialect]
        for name, value in _split(directive.words, table):
            place = f"line {directive.line}: {name}"
            flag = table.get(name)
            if flag is None:
                unknown = f"{place}: {_unknown(name, table)}"
                (wishes.ignored if ignore_unknown else errors).append(unknown)
                continue
            if value is None and flag.has_value:
                errors.append(f"{place}: a value is missing")
                continue
            try:
                flag.take(wishes, value or "")
            except _Ignored as why:
                wishes.ignored.append(f"{place}: {why}: ignored")
            except Wrong as wrong:
                errors.append(f"{place}: {wrong}")
    if errors:
        raise BadDirectives(tuple(errors))
    return wishes


class _Ignored(Exception):
    """Why an option has no effect."""


def _unknown(name: str, table: Mapping[str, _Flag]) -> str:
    if not name.startswith("-"):
        return "is no option (one begins with -)"
    near = get_close_matches(name, table, 1, 0.75) if len(name) <= 40 else []
    return "is not known here" + (f"; did you mean {near[0]}?" if near else "")


def _split(words: tuple[str, ...], table: Mapping[str, _Flag]) -> Iterator[tuple[str, str | None]]:
    """Split words into options and their values: `--name=V`, `--name V`, `-nV`, `-n V`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, inline = word.partition("=")
        else:
            name, inline = (word[:2], word[2:].removeprefix("=")) if word.startswith("-") else (word, "")
            equals = inline
        flag = table.get(name)
        if equals:
            yield name, inline
        elif flag is not None and flag.has_value and rest and not (rest[0].startswith("-") and len(rest[0]) > 1):
            yield name, rest.pop(0)
        else:
            yield name, None


# ---- what options do ------------------------------------------------------------------------------------------------


def _key(name: str, convert: Callable[[str], Json] | None = None) -> Take:
    """Make what sets a key, or adds to it where it is a list; `convert`: from another scheduler's writing."""
    key = BY_NAME[name]

    def take(wishes: Wishes, value: str) -> None:
        entry = convert(value) if convert is not None else _own_value(key, value)
        if name != "begin_time":
            key.read(entry.replace("{index}", "0") if isinstance(entry, str) else entry)  # filled in before it is read
        there = wishes.entries.get(name)
        is_list = isinstance(there, list) and isinstance(entry, list) and name != "command"
        wishes.entries[name] = [*there, *entry] if is_list else entry  # type: ignore[misc]  # both are lists

    return take


def _own_value(key: Key, value: str) -> Json:
    option = key.option
    assert option is not None
    if option.words is Words.INTEGER:
        return _integer(value)
    return option.parse(value) if option.parse is not None else value


def _integer(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise must("an integer", value)
    return int(value)


def _only(wanted: str, what: str) -> Take:
    def take(_: Wishes, value: str) -> None:
        if value not in (wanted, f"{wanted}-{wanted}"):
            raise Wrong(("", f"{what} run as one task on one machine here: only {wanted} is possible"))

    return take


def _ignore(why: str) -> Take:
    def take(_: Wishes, __: str) -> None:
        raise _Ignored(why)

    return take


def _env(wishes: Wishes, value: str) -> None:
    wishes.env.append(value)


def _capture(which: str) -> Take:
    def take(wishes: Wishes, _: str) -> None:
        wishes.capture = which

    return take


def _array(wishes: Wishes, value: str) -> None:
    wishes.entries["array"] = value  # read with the whole file, before all other keys


def _hold(wishes: Wishes, _: str) -> None:
    wishes.entries["urgency"] = 0


def _interrupt(policy: str) -> Take:
    return lambda wishes, _: wishes.entries.update(on_interrupt=policy)


# ---- Slurm's writing ------------------------------------------------------------------------------------------------

_PERCENT = {"%j": "{id}", "%A": "{id}", "%a": "{index}", "%x": "{name}", "%%": "%"}
_BEGIN_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_NOW = re.compile(r"now(?:\+(\d{1,9})(second|minute|hour|day|week)?s?)?", re.ASCII)


def _slurm_path(value: str) -> Json:
    def filled(match: "re.Match[str]") -> str:
        if match[0] not in _PERCENT:
            raise Wrong(("", f"{match[0]} is not known here; there are {' '.join(_PERCENT)}"))
        return _PERCENT[match[0]]

    return re.sub(r"%.?", filled, value)


def _slurm_time(value: str) -> Json:
    seconds = slurm_seconds(value)
    if seconds is None:
        raise must("minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S", value)
    return seconds


def _slurm_begin(value: str) -> Json:
    match = _NOW.fullmatch(value)
    if match is not None:
        return f"+{int(match[1] or 0) * _BEGIN_UNITS[match[2] or 'second']}"
    if not re.match(r"\d{4}-\d\d-\d\d", value):
        raise must("a date like 2030-01-01T06:00:00, or now+2hours", value)
    return value


def _slurm_dependencies(value: str) -> Json:
    if "?" in value:
        raise Wrong(("", "any of several (?) is not possible here, only all (,)"))
    found: list[Json] = []
    for part in value.split(","):
        scheme, colon, ids = part.strip().partition(":")
        found += [{"scheme": scheme, "value": id_} for id_ in ids.split(":")] if colon else [{"scheme": scheme}]
    return found


def _slurm_export(wishes: Wishes, value: str) -> None:
    for word in value.split(","):
        if word in ("ALL", "NONE", "NIL"):
            wishes.capture = "all" if word == "ALL" else "none"
        else:
            wishes.env.append(word)


_MEMORY = _Flag(_ignore("nothing here limits memory"))
_ACCOUNT = _Flag(_ignore("there are no accounts and queues here"))
_MAIL = _Flag(_ignore("no mail is sent"))
_SLURM_LONG: Mapping[str, _Flag] = {
    "--job-name": _Flag(_key("name")),
    "--output": _Flag(_key("output", _slurm_path)),
    "--error": _Flag(_key("error", _slurm_path)),
    "--input": _Flag(_key("input")),
    "--time": _Flag(_key("time_limit", _slurm_time)),
    "--cpus-per-task": _Flag(_key("cores", _integer)),
    "--chdir": _Flag(_key("cwd")),
    "--dependency": _Flag(_key("dependencies", _slurm_dependencies)),
    "--begin": _Flag(_key("begin_time", _slurm_begin)),
    "--array": _Flag(_array),
    "--hold": _Flag(_hold, has_value=False),
    "--requeue": _Flag(_interrupt("requeue"), has_value=False),
    "--no-requeue": _Flag(_interrupt("fail"), has_value=False),
    "--export": _Flag(_slurm_export),
    "--ntasks": _Flag(_only("1", "scripts")),
    "--nodes": _Flag(_only("1", "scripts")),
    "--ntasks-per-node": _Flag(_only("1", "scripts")),
    "--mem": _MEMORY,
    "--mem-per-cpu": _MEMORY,
    "--partition": _ACCOUNT,
    "--account": _ACCOUNT,
    "--qos": _ACCOUNT,
    "--mail-user": _MAIL,
    "--mail-type": _MAIL,
    "--comment": _Flag(_ignore("it says nothing to a scheduler")),
    "--parsable": _Flag(_ignore("the id alone is printed anyway"), has_value=False),
    "--quiet": _Flag(_ignore("little is printed anyway"), has_value=False),
    "--verbose": _Flag(_ignore("what is to be said is said"), has_value=False),
}
_SLURM_SHORT = {
    "-J": "--job-name",
    "-o": "--output",
    "-e": "--error",
    "-i": "--input",
    "-t": "--time",
    "-c": "--cpus-per-task",
    "-D": "--chdir",
    "-d": "--dependency",
    "-b": "--begin",
    "-a": "--array",
    "-H": "--hold",
    "-n": "--ntasks",
    "-N": "--nodes",
    "-p": "--partition",
    "-A": "--account",
    "-q": "--qos",
    "-Q": "--quiet",
    "-v": "--verbose",
}


# ---- Flux's writing -------------------------------------------------------------------------------------------------


def _flux_path(value: str) -> Json:
    for theirs, ours in (("{{id}}", "{id}"), ("{{jobid}}", "{id}"), ("{{name}}", "{name}")):
        value = value.replace(theirs, ours)
    return value


def _flux_minutes(value: str) -> Json:
    """Read a duration of which a bare number is minutes."""
    return duration_s(value) * (60 if re.fullmatch(r"[\d.]+", value, re.ASCII) else 1)


_FLUX_LONG: Mapping[str, _Flag] = {
    "--job-name": _Flag(_key("name")),
    "--output": _Flag(_key("output", _flux_path)),
    "--error": _Flag(_key("error", _flux_path)),
    "--input": _Flag(_key("input")),
    "--cores-per-task": _Flag(_key("cores", _integer)),
    "--cores-per-slot": _Flag(_key("cores", _integer)),
    "--cores": _Flag(_key("cores", _integer)),
    "--time-limit": _Flag(_key("time_limit", _flux_minutes)),
    "--ntasks": _Flag(_only("1", "scripts")),
    "--nslots": _Flag(_only("1", "scripts")),
    "--nodes": _Flag(_only("1", "scripts")),
    "--queue": _ACCOUNT,
    "--bank": _ACCOUNT,
    "--unbuffered": _Flag(_ignore("output is written as it comes anyway"), has_value=False),
}
_FLUX_SHORT = {"-t": "--time-limit", "-c": "--cores-per-slot", "-n": "--nslots", "-N": "--nodes", "-q": "--queue"}


_OWN: Mapping[str, _Flag] = {
    **{key.flag: _Flag(_key(key.name)) for key in KEYS if key.option is not None and key.name != "env"},
    "--env": _Flag(_env),
    "--env-all": _Flag(_capture("all"), has_value=False),
    "--env-none": _Flag(_capture("none"), has_value=False),
    "--hold": _Flag(_hold, has_value=False),
}
_TABLES: Mapping[Dialect, Mapping[str, _Flag]] = {
    Dialect.JQ: {**_SLURM_LONG, **_FLUX_LONG, **_OWN},
    Dialect.FLUX: {**_OWN, **_FLUX_LONG, **{short: _FLUX_LONG[long] for short, long in _FLUX_SHORT.items()}},
    Dialect.SLURM: {**_SLURM_LONG, **{short: _SLURM_LONG[long] for short, long in _SLURM_SHORT.items()}},
}
