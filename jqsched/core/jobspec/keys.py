"""The keys of the job file: one table, from which all that knows a key is derived, or against which it is checked.

Derived:  reading and writing job files (`adapters.jobfile`), jobspecs (`document`, `remarks`), the events of an edit
          (`core.accept`), the fields of rules (`core.filters`), the options of `submit` (`cli.app_submit`), the table
          of docs/reference/job-file.md, the JSON Schema (`schema`), the strategies of `jqsched.testing`.
Checked:  the store's encoding, and the keys of a job's document (tests/core/test_keys.py).
Rule:     a new key is a field of `Spec`, a row here, and what obeys it. A row does not know who reads it.
Source:   docs/reference/job-file.md; RFC 25 (places in a jobspec).
"""

from jqsched.core.job import PRIORITY_MAX, Dependency
from jqsched.core.jobspec import input_values, option_words, retry_values, values, writers
from jqsched.core.jobspec.key import Edit, Key, Option, Seen, Words, make_key, unchanged
from jqsched.core.json import Json

SYSTEM = "attributes.system."
OURS = "attributes.user.jqsched."


def _duration_there(value: object) -> int | None:
    """Read a jobspec's duration, in which 0 is none."""
    return None if value == 0 and type(value) in (int, float) else values.duration_us(value)


def _limit_us(value: object) -> int | None:
    return values.duration_us(value)


def _begin_time(value: object) -> tuple[Dependency, ...]:
    return (Dependency("begin-time", values.begin_us(value)),)


def _arguments(value: object) -> tuple[str, ...]:
    return values.many(value, values.string, "strings")


def _path(value: object) -> str | None:
    return values.path(value)


_TEXT: dict[str, Json] = {"type": "string", "minLength": 1}
_NAMES: dict[str, Json] = {"type": "array", "items": {"type": ["string", "integer"]}}
_DURATION: dict[str, Json] = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^[0-9.eE+:-]+(ms|s|m|h|d)?$"}]
}
_DEPENDENCY: dict[str, Json] = {
    "type": "object",
    "properties": {
        "scheme": _TEXT,
        "value": {"type": ["string", "number"]},
        "next": {"type": "boolean"},
    },
    "required": ["scheme"],
    "additionalProperties": False,
}
_RETRIES: dict[str, Json] = {
    "type": "object",
    "properties": {
        "max": {"type": "integer", "minimum": 0},
        "delay": {"type": ["number", "string"]},
        "factor": {"type": "number", "minimum": 1},
        "max_delay": {"type": ["number", "string"]},
        "on": {"type": "array", "minItems": 1, "items": {"type": ["integer", "string"]}},
        "separator": {"type": "boolean"},
    },
    "required": ["max"],
    "additionalProperties": False,
}
_REASON: dict[str, Json] = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 2, "maxItems": 3}]}

KEYS: tuple[Key, ...] = (
    make_key(
        "command",
        "list of strings, the first not empty; executed as it stands, without a shell",
        "",
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        (["true"], ["echo", "ünï"]),
        ("not a list", [], [""]),
        read=values.command,
        write=writers.words,
        place="tasks[0].command",
        seen=Seen.ALWAYS,
        shape="a list of strings",
        as_seen=unchanged,  # no copy for each rule that asks
        option=None,  # what stands behind all options
    ),
    make_key(
        "script",
        "string, not blank; run by `/bin/sh -c`, or by what its first line names (`#!`), where that is a shell, Python,"
        " Perl or Ruby: else it is refused. At most 128 KiB, as any one argument and variable; DOS line breaks are said"
        " by `check` and in the log",
        "",
        _TEXT,
        ("exit 3",),
        (" ", 3),
        read=values.script,
        write=writers.plain,
        fills="command",
        is_shorthand=True,
        option=None,
    ),
    make_key(
        "args",
        "list of strings: the arguments of `script`",
        "none",
        {"type": "array", "items": {"type": "string"}},
        ([], ["-v", "ü"]),
        ("x", [1]),
        read=_arguments,
        write=writers.words,
        fills="command",
        is_shorthand=True,
        option=None,
    ),
    make_key(
        "name",
        "1 to 100 printable characters of any script, blanks inside included; no `→`, not digits alone, not starting"
        " with `+`, `-`, `.` or `ƒ`; compared in its composed form (NFC); need not be unique",
        "last part of the command; for a script the file's name without its suffix; other characters become `_`",
        _TEXT,
        ("build", "a"),
        ("-starts with a sign", "17", ""),
        read=values.name,
        write=writers.plain,
        place=f"{SYSTEM}job.name",
        edit=Edit.NEVER,
        seen=Seen.ALWAYS,
        shape="a string",
        shown="name",
        option=Option("TEXT", "The job's name."),
    ),
    make_key(
        "urgency",
        "integer 0 to 31; 0 holds the job, 31 lets it run before all others",
        "16",
        {"type": "integer", "minimum": 0, "maximum": 31},
        (0, 15, 16, 17, 31),
        (32, -1, "high"),
        read=values.urgency,
        write=writers.plain,
        in_draft=True,
        shown="urgency",
        option=Option("N", "0 (hold) to 31, default 16.", Words.INTEGER),
    ),
    make_key(
        "priority",
        "integer 0 to 4294967295: pins the priority; 0 holds",
        "computed: equal to the urgency",
        {"type": "integer", "minimum": 0, "maximum": PRIORITY_MAX},
        (0, 1, 17, PRIORITY_MAX),
        (-1, 1.5),
        read=values.priority,
        write=writers.plain,
        fills="pin",
        in_draft=True,
        shown="priority",
        option=Option("N", "Pin the priority.", Words.INTEGER),
    ),
    make_key(
        "after",
        "list of ids (integers) and names (strings): each is the dependency `afterok`",
        "none",
        _NAMES,
        ([1], ["a"], [3, "build"]),
        ("17", [{}]),
        read=values.after,
        write=writers.dependencies,
        fills="dependencies",
        is_shorthand=True,
        option=Option(
            "A,B", "Run when these jobs (ids or names) have succeeded.", Words.TEXTS, parse=option_words.comma_list
        ),
    ),
    make_key(
        "begin_time",
        "the dependency `begin-time`: seconds since 1970 (number or string), or RFC 3339 with an offset",
        "none",
        {"type": ["number", "string"]},
        (1_893_456_000, "2030-01-01T00:00:00+00:00"),
        ("soon", [], "2030-01-01T00:00:00"),
        read=_begin_time,
        write=writers.dependencies,
        fills="dependencies",
        is_shorthand=True,
        option=Option("TIME|+DURATION", "Not before this time, or so long from now."),
    ),
    make_key(
        "dependencies",
        "list of [dependency objects](#dependencies)",
        "none",
        {"type": "array", "items": _DEPENDENCY},
        (
            [{"scheme": "afterany", "value": "1"}],
            [{"scheme": "afternotok", "value": "a", "next": True}, {"scheme": "singleton"}],
            [{"scheme": "begin-time", "value": "2030-01-01T00:00:00+00:00"}],
        ),
        ([{"scheme": "no such scheme", "value": "1"}], {}),
        read=values.dependencies,
        write=writers.dependencies,
        place=f"{SYSTEM}dependencies",
        changed=lambda wanted: [dependency.scheme for dependency in wanted],
        shown="dependencies",
        option=Option(
            "SCHEME:VALUE",
            "Run when this is met: afterany:17, singleton.",
            Words.TEXTS,
            flag="--dependency",
            parse=option_words.dependency,
        ),
    ),
    make_key(
        "cwd",
        "absolute path, at most 4095 bytes",
        "the directory in which the spool is",
        {"type": "string", "pattern": "^/"},
        ("/", "/srv"),
        ("relative", ""),
        read=values.cwd,
        write=writers.plain,
        place=f"{SYSTEM}cwd",
        seen=Seen.ALWAYS,
        shape="a string",
        shown="cwd",
        option=Option("DIR", "Where it runs; default: here.", Words.PATH),
    ),
    make_key(
        "env",
        "object of strings; names not empty, without `=`",
        "none beyond [those that every job gets](#what-a-job-finds)",
        {"type": "object", "additionalProperties": {"type": "string"}},
        ({"A": ""}, {"A": "1", "B": "ü"}),
        ({"A": 1}, {"": "x"}, ["A=1"]),
        read=values.env,
        write=writers.variables,
        place=f"{SYSTEM}environment",
        changed=lambda _: "changed",  # there are secrets in it
        option=Option("NAME[=VALUE]", "A variable for it; NAME alone: as it is here.", Words.PATHS),
    ),
    make_key(
        "cores",
        "integer from 1 to 2147483647",
        "1",
        {"type": "integer", "minimum": 1, "maximum": values.COUNT_MAX},
        (1, 2, 3, 4),
        (0, 1.5, "2"),
        read=values.cores,
        write=writers.plain,
        place=f"{OURS}cores",  # of an edit's event; else the jobspec's `resources` say it
        seen=Seen.ALWAYS,
        shape="a number",
        shown="ncores",
        option=Option("N", "How many cores it takes.", Words.INTEGER),
    ),
    make_key(
        "time_limit",
        'seconds (a number), or a string: a number with `ms`, `s`, `m`, `h` or `d`, such as `"10m"`, or `"1:30:00"` and'
        ' `"1-12:00:00"` as Slurm writes it; more than 0, at most 8500000000 s',
        "none",
        _DURATION,
        (1, 2.5, "10m", "1.5h", "1-12:30:00"),
        (0, "soon", "10:00"),
        read=_limit_us,
        write=writers.seconds,
        fills="time_limit_us",
        place=f"{SYSTEM}duration",
        read_there=_duration_there,
        write_there=lambda time_us: writers.seconds(time_us or 0),
        edit=Edit.RUNNING,
        seen=Seen.SOMETIMES,
        shape="a number",
        shown="duration",
        option=Option("DURATION", "Seconds, or 10m, 1.5h, 1:30:00."),
    ),
    make_key(
        "output",
        "path of a file, relative to `cwd`; `{id}`, `{name}`, `{attempt}` and `{rank}` are filled in (of the name, `/`"
        " as `_`, at most 200 bytes). With `{rank}`, each task writes to a file of its own; without, all to one",
        "`output/ID.log` in the spool; of several tasks `output/ID.{rank}.out`, and `.err` unless `error` is set",
        _TEXT,
        ("{id}.log", "/out/{name}.{rank}.log"),
        ("", "{job}", "folder/"),
        read=_path,
        write=writers.plain,
        place=f"{OURS}output",
        seen=Seen.SOMETIMES,
        shape="a string",
        option=Option("PATH", "Its output; may contain {id} and {name}.", Words.PATH),
    ),
    make_key(
        "error",
        "as `output`; for stderr",
        "together with `output`",
        _TEXT,
        ("err",),
        ("", 5),
        read=_path,
        write=writers.plain,
        place=f"{OURS}error",
        seen=Seen.SOMETIMES,
        shape="a string",
        option=Option("PATH", "Its stderr, if not with the output.", Words.PATH),
    ),
    make_key(
        "input",
        "path of a file, relative to `cwd`: the job's stdin. Nothing is filled in",
        "`/dev/null`",
        _TEXT,
        ("in.txt", "/data/{1}.csv"),
        ("", "folder/", 5),
        read=input_values.path,
        write=writers.plain,
        place=f"{SYSTEM}shell.options.input.stdin",
        read_there=input_values.flux_stdin,
        write_there=input_values.as_flux_stdin,
        seen=Seen.SOMETIMES,
        shape="a string",
        option=Option("FILE", "A file that is its stdin.", Words.PATH),
    ),
    make_key(
        "on_interrupt",
        '`"requeue"` or `"fail"`: what becomes of the job when the machine or the executor went down under it',
        '`"requeue"`',
        {"enum": ["requeue", "fail"]},
        ("requeue", "fail"),
        ("ignore", True),
        read=values.on_interrupt,
        write=writers.on_interrupt,
        place=f"{OURS}on_interrupt",
        seen=Seen.ALWAYS,
        shape="a string",
        option=Option("requeue|fail", "If the machine goes down."),
    ),
    make_key(
        "retries",
        "how many more attempts a job gets that fails, or an object: [Retries](#retries)",
        "none",
        {"anyOf": [{"type": "integer", "minimum": 0}, _RETRIES]},
        (0, 3, {"max": 2, "delay": "1s"}, {"max": 1, "factor": 1.5, "on": [75, "signal"]}),
        ({"delay": "1s"}, -1),
        read=retry_values.retries,
        write=writers.retries,
        place=f"{OURS}retries",
        option=Option("N|max=N,delay=10s,...", "More attempts if it fails.", parse=option_words.retries),
    ),
    make_key(
        "reason",
        "list of strings, of `[source, text]`, or of `[source, text, nanoseconds]`",
        "none",
        {"type": "array", "items": _REASON},
        (["nightly"], ["rate-limit:2:x"], [["cron", "again"], "nightly"]),
        ("nightly", [[]]),
        read=values.reasons,
        write=writers.reasons,
        fills="reasons",
        place=f"{OURS}reasons",
        option=Option("TEXT", "Why it is made; may be given several times.", Words.TEXTS, parse=option_words.text),
    ),
)
"""All keys, in the order of the reference page and of error messages."""

BY_NAME = {key.name: key for key in KEYS}
OF_SPEC = tuple(key for key in KEYS if not (key.in_draft or key.is_shorthand))
"""The keys that say one field of `Spec` each."""
