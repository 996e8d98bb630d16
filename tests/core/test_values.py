"""The rules for single values, at their bounds, and word for word what is said of a value that breaks one."""

import datetime as dt

import pytest

from jqsched.core.job import Dependency, OnInterrupt
from jqsched.core.jobspec import Wrong, values

WHEN = "seconds since 1970, or a time like 2026-03-01T06:00:00+01:00"
HOW_LONG = "seconds, or a duration like 90s, 10m, 1.5h, 2d, 100ms"
A_NAME = (
    "must be a name of at most 100 printable characters (blanks only inside, no →, not digits alone, "
    "not starting with + - . or ƒ), not "
)
NO_VARIABLE = "is no name for a variable: empty, or with = or NUL, or not Unicode"
SURROGATE = "is not valid Unicode: it contains a lone surrogate"
SCHEMES = "after afterstart afterexcept afterany afterok afternotok begin-time singleton"
LONG = "/" + "x" * 4_095


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (values.urgency, 32, "must be an integer 0…31, not 32"),
        (values.job_id, 0, "must be a job id (an integer from 1), not 0"),
        (values.number, "5", "must be a number, not '5'"),
        (values.number, True, "must be a number, not true"),
        (values.number, float("-inf"), "number not allowed: -inf"),
        (values.number, 2**63 + 1, "number not allowed: 9223372036854775809"),
        (values.number, -(2**200), "number not allowed: a huge number"),
        (values.boolean, 1, "must be true or false, not 1"),
        (values.string, 5, "must be a string, not 5"),
        (values.string, "a\0b", "must not contain NUL (\\u0000)"),
        (values.string, "a\ud800", SURROGATE),
        (values.mapping, [], "must be an object, not a list"),
        (values.command, "ls", "must be a list of strings, not 'ls'"),
        (values.command, [], "must not be empty"),
        (values.command, ["", "x"], "[0]: must not be empty: it names the program"),
        (values.command, ["x", 1, "y", None], "[1]: must be a string, not 1; [3]: must be a string, not null"),
        (values.script, 5, "must be a string, not 5"),
        (values.script, " \n", "must not be empty"),
        (values.name, " a b", A_NAME + "' a b'"),
        (values.cwd, "here", "must be an absolute path, not 'here'"),
        (values.cwd, LONG, "must be at most 4095 bytes long"),
        (values.cwd, "/" + "é" * 2_048, "must be at most 4095 bytes long"),
        (values.env, [], "must be an object, not a list"),
        (values.env, {"A": 1, "B-C": 2}, ".A: must be a string, not 1; ['B-C']: must be a string, not 2"),
        (values.env, {"": "x"}, f"['']: {NO_VARIABLE}"),
        (values.env, {"A=B": "x"}, f"['A=B']: {NO_VARIABLE}"),
        (values.env, {"A\0": "x"}, rf"['A\x00']: {NO_VARIABLE}"),
        (values.env, {"\ud800": "\ud800"}, rf"['\ud800']: {NO_VARIABLE}; ['\ud800']: {SURROGATE}"),
        (values.duration_us, "soon", f"must be {HOW_LONG}, not 'soon'"),
        (values.duration_us, [], f"must be {HOW_LONG}, not a list"),
        (values.duration_us, 0, "must be more than 0 and at most 8500000000 seconds, not 0"),
        (values.duration_us, "8500000001", "must be more than 0 and at most 8500000000 seconds, not '8500000001'"),
        (values.begin_us, "now", f"must be {WHEN}, not 'now'"),
        (values.begin_us, "2026-03-01", "needs an offset from UTC (like Z or +01:00): '2026-03-01'"),
        (values.begin_us, "1969-12-31T00Z", "must be 0…8500000000 seconds since 1970, not '1969-12-31T00Z'"),
        (values.begin_us, -1, "must be 0…8500000000 seconds since 1970, not -1"),
        (values.begin_us, 8_500_000_001, "must be 0…8500000000 seconds since 1970, not 8500000001"),
        (values.begin_us, [], "must be a number, not a list"),
        (values.path, "", "must be the path of a file, not ''"),
        (values.path, "out/", "must be the path of a file, not 'out/'"),
        (values.path, "{ID}.log", "may contain {id}, {name}, {attempt} and {rank} and no other braces: '{ID}.log'"),
        (values.path, "{id}}", "may contain {id}, {name}, {attempt} and {rank} and no other braces: '{id}}'"),
        (values.path, LONG, "must be at most 4095 bytes long"),
        (values.path, "é" * 2_048, "must be at most 4095 bytes long"),
        (values.on_interrupt, "retry", "must be requeue or fail, not 'retry'"),
        (values.target, 1.5, "must be a job's id or name, not 1.5"),
        (values.target, "-x", "no job could have this name: '-x'"),
        (values.target, "ƒ0", "is no id: 'ƒ0' (ƒ and base58 digits)"),
        (values.after, "build", "must be a list of ids and names, not 'build'"),
        (values.after, [17, 0], "[1]: must be a job id (an integer from 1), not 0"),
        (values.dependencies, {}, "must be a list of dependency objects, not an object"),
        (values.dependencies, [5], "[0]: must be an object, not 5"),
        (values.dependency, {"value": "a"}, f".scheme: must be one of {SCHEMES}, or a plugin's, not null"),
        (values.dependency, {"scheme": "x y"}, f".scheme: must be one of {SCHEMES}, or a plugin's, not 'x y'"),
        (values.dependency, {"scheme": "x", "value": 1}, ".value: must be a string, not 1"),
        (values.dependency, {"scheme": "x", "value": "a", "next": True}, ".next: is for names only"),
        (values.dependency, {"scheme": "after"}, ".value: missing"),
        (values.dependency, {"scheme": "after", "value": 17, "next": True}, ".next: is for names only"),
        (
            values.dependency,
            {"scheme": "singleton", "value": "a"},
            ".value: must be left out or empty: singleton takes none",
        ),
        (
            values.dependency,
            {"scheme": "after", "value": ".a b", "next": 1, "when\n": 2},
            r".when\n: unknown key; .value: no job could have this name: '.a b'; .next: must be true or false, not 1",
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_a_bad_value(read, value, said):
    """All that is wrong, each with its place inside the value."""
    with pytest.raises(Wrong) as refusal:
        read(value)
    assert str(refusal.value) == said
    assert len(refusal.value.errors) == said.count("; ") + 1


def test_a_range_is_said_unless_it_has_a_name():
    with pytest.raises(Wrong, match=r"^must be an integer 1…3, not 4$"):
        values.integer(1, 3)(4)
    with pytest.raises(Wrong, match=r"^must be a die, not 0$"):
        values.integer(1, 6, "a die")(0)


@pytest.mark.parametrize(
    ("read", "value", "meant"),
    [
        (values.number, 2**63, 2.0**63),
        (values.number, -(2**63), -(2.0**63)),
        (values.string, "naïve", "naïve"),
        (values.script, "exit 1\n", "exit 1\n"),
        (values.cwd, LONG[:-1], LONG[:-1]),
        (values.cwd, "/" + "é" * 2_047, "/" + "é" * 2_047),
        (values.path, LONG[:-1], LONG[:-1]),
        (values.path, "é" * 2_047, "é" * 2_047),
        (values.path, "{name}/{id}.log", "{name}/{id}.log"),
        (values.env, {"B": "2", "A": "1", "c-d": ""}, (("A", "1"), ("B", "2"), ("c-d", ""))),
        (values.duration_us, 1e-6, 1),
        (values.duration_us, 8_500_000_000, 8_500_000_000_000_000),
        (values.begin_us, 0, 0),
        (values.begin_us, 8_500_000_000, 8_500_000_000_000_000),
        (values.on_interrupt, "requeue", OnInterrupt.REQUEUE),
        (values.on_interrupt, "fail", OnInterrupt.FAIL),
        (values.target, "ƒNQm6nKp8qFC", values.ID_MAX),
        (values.target, str(values.ID_MAX), values.ID_MAX),
        (values.target, "0" * 18 + "17", 17),
        (values.after, [17, "build"], (Dependency("afterok", 17), Dependency("afterok", "build"))),
        (values.dependency, {"scheme": "singleton"}, Dependency("singleton")),
        (values.dependency, {"scheme": "a-plugins.own"}, Dependency("a-plugins.own", "")),
        (values.dependency, {"scheme": "a-plugins.own", "value": "x y"}, Dependency("a-plugins.own", "x y")),
        (values.dependency, {"scheme": "file-exists", "value": "/a"}, Dependency("file-exists", "/a")),
        (values.dependency, {"scheme": "singleton", "value": ""}, Dependency("singleton")),
        (values.dependency, {"scheme": "after", "value": "a", "next": True}, Dependency("after", "a", next_only=True)),
    ],
)
def test_what_is_just_allowed(read, value, meant):
    """The last value inside each bound, and each form that there is."""
    assert read(value) == meant


@pytest.mark.parametrize("value", ["ƒNQm6nKp8qFD", "ƒ" + "1" * 11 + "2", str(values.ID_MAX + 1), "0" * 19 + "17"])
def test_an_id_is_not_longer_than_the_longest(value):
    """One more than the highest id, and leading zeros without end."""
    with pytest.raises(Wrong):
        values.target(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        (2**128 - 1, "340282366920938463463374607431768211455"),
        (-(2**128), "a huge number"),
        ("x" * 40, f"'{'x' * 40}'"),
        ("x" * 41, f"'{'x' * 39}…'"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
        ((1,), "a list"),
        (dt.date(2026, 3, 1), "a date"),  # TOML has them
    ],
)
def test_how_a_value_is_shown(value, shown):
    """As JSON calls it, whole while it is short."""
    assert values.show(value) == shown


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/X", "X"),
        ("x" * 101, "x" * 100),
        ("-" + "x" * 100, "_-" + "x" * 98),
    ],
)
def test_a_name_made_of_a_path_is_as_long_as_a_name_may_be(path, name):
    assert values.name_from(path) == name
