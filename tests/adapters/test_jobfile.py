"""Job files: each key of docs/reference/job-file.md, each kind of error; and no file makes the reader raise."""

import json
import sys
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.adapters.jobfile import BadFile, as_json, read_job, write_job
from jqsched.adapters.jobfile.job import NO_CWD
from jqsched.core.job import Dependency, Draft, OnInterrupt, Reason, Spec

SHORT_KEYS = [
    *("command", "script", "name", "urgency", "priority", "after", "dependencies", "cwd", "env", "cores"),
    *("time_limit", "output", "error", "on_interrupt", "reason"),
]


def read(text: str | bytes, suffix: str = ".json", **more: str) -> Draft | BadFile:
    return read_job(text if isinstance(text, bytes) else text.encode(), suffix, "/home/me", **more)


def job(**keys: object) -> Draft:
    """A file with these keys, and a command if there is none; it must be good."""
    command = {} if "script" in keys else {"command": ["true"]}
    found = read(json.dumps(command | keys))
    assert isinstance(found, Draft), found
    return found


def errors(**keys: object) -> tuple[str, ...]:
    """What is wrong with such a file; something must be."""
    found = read(json.dumps({"command": ["true"]} | keys))
    assert isinstance(found, BadFile), found
    return found.errors


# ---- the table ----------------------------------------------------------------------------------------------------


def test_the_least_file_and_all_defaults():
    assert job() == Draft(Spec(command=("true",), name="true", cwd="/home/me"), urgency=16, pin=None)


def test_every_key_has_its_place_in_the_draft():
    draft = job(
        command=["make", "all"], name="build", urgency=31, priority=7, after=[17, "lint", "18", "ƒ3"], cwd="/src",
        dependencies=[
            {"scheme": "afterany", "value": "20"},
            {"scheme": "after", "value": "serve", "next": True},
            {"scheme": "begin-time", "value": "1970-01-01T00:00:10+00:00"},
            {"scheme": "singleton"},
        ],
        env={"B": "2", "A": "1"}, cores=4, time_limit="1.5h", output="out/{id}-{name}.log", error="err",
        on_interrupt="fail", reason=["nightly", ["user", "said so"], ["cron", "again", 1_700_000_000_000_000_000]],
    )  # fmt: skip
    assert draft == Draft(
        Spec(
            command=("make", "all"),
            name="build",
            cwd="/src",
            env=(("A", "1"), ("B", "2")),
            cores=4,
            time_limit_us=5_400_000_000,
            output="out/{id}-{name}.log",
            error="err",
            on_interrupt=OnInterrupt.FAIL,
            reasons=(
                Reason("", "nightly"),
                Reason("user", "said so"),
                Reason("cron", "again", 1_700_000_000_000_000_000),
            ),
            dependencies=(
                Dependency("afterok", 17),
                Dependency("afterok", "lint"),
                Dependency("afterok", 18),
                Dependency("afterok", 2),
                Dependency("afterany", 20),
                Dependency("after", "serve", True),
                Dependency("begin-time", 10_000_000),
                Dependency("singleton"),
            ),
        ),
        urgency=31,
        pin=7,
    )


def test_a_script_is_run_by_the_shell_and_named_after_its_file():
    draft = read('{"script": "make && make test"}', stem="nightly build")
    assert draft.spec.command == ("/bin/sh", "-c", "make && make test")
    assert draft.spec.name == "nightly_build"
    assert read('{"script": "x"}').spec.name == "sh"
    assert read('{"command": ["/bin/true"]}', stem="nightly").spec.name == "true"


@pytest.mark.parametrize(
    ("first", "command"),
    [
        ("#!/bin/bash -e", ("/bin/bash", "-e", "-c", "SCRIPT", "script", "a", "b c")),
        ("#!/usr/bin/env python3", ("/usr/bin/env", "python3", "-c", "SCRIPT", "a", "b c")),
        ("echo", ("/bin/sh", "-c", "SCRIPT", "script", "a", "b c")),
    ],
)
def test_a_script_gets_its_arguments_as_its_interpreter_hands_them_on(first: str, command: tuple[str, ...]):
    """A shell takes one word more, for `$0`."""
    text = f"{first}\nx"
    draft = read(json.dumps({"script": text, "args": ["a", "b c"]}))
    assert draft.spec.command == tuple(text if word == "SCRIPT" else word for word in command)
    assert errors(args=["a"]) == ("args: only with a script; a command has its arguments itself",)


def test_an_edited_file_without_a_name_keeps_its_jobs():
    assert read('{"script": "x"}', name="nightly").spec.name == "nightly"
    assert read('{"script": "x", "name": "y"}', name="nightly").spec.name == "y"


@pytest.mark.parametrize("key", SHORT_KEYS)
@pytest.mark.parametrize("value", [None, True, 1.5, {"a": []}, [["x"], []], [1.5], "", "\x00", "\ud800"])
def test_no_key_takes_what_is_not_its_type(key, value):
    if (key, value) == ("time_limit", 1.5):
        return
    found = read(json.dumps({"command": ["true"], key: value}))
    assert isinstance(found, BadFile)
    assert any(error.startswith(key) for error in found.errors), found.errors


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"urgency": 32}, "urgency: must be an integer 0…31, not 32"),
        ({"urgency": "16"}, "urgency: must be an integer 0…31, not '16'"),
        ({"urgency": True}, "urgency: must be an integer 0…31, not true"),
        ({"urgency": None}, "urgency: must be an integer 0…31, not null"),
        ({"urgency": 16.0}, "urgency: must be an integer 0…31, not 16.0"),
        ({"priority": 2**32}, "priority: must be an integer 0…4294967295, not 4294967296"),
        ({"priority": -1}, "priority: must be an integer 0…4294967295, not -1"),
        ({"cores": 0}, "cores: must be an integer 1…2147483647, not 0"),
        ({"command": []}, "command: must not be empty"),
        ({"command": ["", "x"]}, "command[0]: must not be empty: it names the program"),
        ({"command": ["x", None]}, "command[1]: must be a string, not null"),
        ({"command": "ls -l"}, "command: must be a list of strings, not 'ls -l'"),
        ({"script": "x"}, "command, script: only one of the two"),
        ({"cwd": "src"}, "cwd: must be an absolute path, not 'src'"),
        ({"env": {"A": 1}}, "env.A: must be a string, not 1"),
        ({"env": {"A=": "1"}}, "env['A=']: is no name for a variable: empty, or with = or NUL, or not Unicode"),
        ({"time_limit": 0}, "time_limit: must be more than 0 and at most 8500000000 seconds, not 0"),
        ({"time_limit": ""}, "time_limit: must be seconds, or a duration like 90s, 10m, 1.5h, 2d, 100ms, not ''"),
        ({"output": "x{pid}"}, "output: may contain {id}, {name}, {attempt} and {rank} and no other braces: 'x{pid}'"),
        ({"error": "dir/"}, "error: must be the path of a file, not 'dir/'"),
        ({"on_interrupt": "Fail"}, "on_interrupt: must be requeue or fail, not 'Fail'"),
        ({"reason": [["a", "b", "c"]]}, "reason[0][2]: must be nanoseconds since 1970 (an integer), not 'c'"),
        ({"after": [".."]}, "after[0]: no job could have this name: '..'"),
        ({"after": [0]}, "after[0]: must be a job id (an integer from 1), not 0"),
        ({"after": "build"}, "after: must be a list of ids and names, not 'build'"),
        ({"dependencies": [{"scheme": 5}]},
            ("dependencies[0].scheme: must be one of after afterstart afterexcept afterany afterok afternotok "
            "begin-time singleton, or a plugin's, not 5")),
        ({"dependencies": [{"scheme": "begin-time", "value": "2026-01-01T00:00:00"}]},
            "dependencies[0].value: needs an offset from UTC (like Z or +01:00): '2026-01-01T00:00:00'"),
        ({"comand": ["x"]}, "comand: unknown key; did you mean command?"),
        ({"Cwd": "/"}, "Cwd: unknown key; did you mean cwd?"),
        ({"zzz": 1}, "zzz: unknown key"),
        ({"tasks": 2}, "tasks: unknown key"),
        ({"\x1b[31m": 1}, r"\x1b[31m: unknown key"),
    ],
)  # fmt: skip
def test_an_error_says_what_was_expected_and_what_was_found(keys, error):
    assert errors(**keys) == (error,)


def test_all_errors_are_said_at_once():
    found = read(
        '{"comand": 1, "urgency": 99, "env": {"A": 1, "B": null}, "after": [[], " x y"], "cores": 1, "cores": 2}'
    )
    places = {error.split(":")[0] for error in found.errors}
    assert places == {"comand", "urgency", "env.A", "env.B", "after[0]", "after[1]", "cores", "command"}
    assert not found.incomplete


def test_of_very_many_errors_the_first_are_said():
    found = read(json.dumps({f"k{i}": i for i in range(50_000)}))
    assert len(found.errors) == 21
    assert found.errors[-1] == "… and 49981 more errors"


# ---- the long form ------------------------------------------------------------------------------------------------

LONG = {
    "resources": [{"type": "slot", "count": 2, "with": [{"type": "core", "count": 1}], "label": "task"}],
    "tasks": [{"command": ["hostname"], "slot": "task", "count": {"per_slot": 1}}],
    "attributes": {"system": {"duration": 60, "shell": {"options": {}}}},
    "version": 1,
}


def test_the_long_form():
    draft = read(json.dumps(LONG | {"urgency": 3, "priority": 4}))
    assert (draft.spec.tasks, draft.spec.cores, draft.spec.cwd) == (2, 2, "/home/me")
    assert (draft.urgency, draft.pin, draft.spec.jobspec) == (3, 4, LONG)
    assert read(json.dumps(LONG), name="kept").spec.name == "kept"


def test_the_long_form_is_known_by_its_keys():
    found = read(json.dumps({key: LONG[key] for key in ("resources", "tasks")}))
    assert found.errors == ("version: missing",)


def test_all_errors_of_the_long_form():
    found = read(json.dumps(LONG | {"urgency": "x", "version": 1, "more": 1, "tasks": []}))
    assert {error.split(":")[0] for error in found.errors} == {"urgency", "more", "tasks"}


# ---- syntax -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "not JSON at byte 0: the file is empty"),
        (b" \n", "not JSON at byte 0: the file is empty"),
        (b'{"command": ["x"]', "not JSON at byte 17 (line 1, column 18): Expecting ',' delimiter"),
        (b'{"command": ["x"]} {}', "not JSON at byte 19 (line 1, column 20): Extra data"),
        ('{"é": x}'.encode(), "not JSON at byte 7 (line 1, column 7): Expecting value"),
        (b'\xef\xbb\xbf{"a": x}', "not JSON at byte 9 (line 1, column 7): Expecting value"),
        (b'{"a": "\xe9"}', "not JSON at byte 7: not UTF-8 (invalid continuation byte)"),
        (b'{"a": "\xc0\xaf"}', "not JSON at byte 7: not UTF-8 (invalid start byte)"),
        (b'{"a": "\xed\xa0\x80"}', "not JSON at byte 7: not UTF-8 (invalid continuation byte)"),
        ("{}".encode("utf-16"), "not JSON at byte 0: not UTF-8 (invalid start byte)"),
        (b"\0" * 100, "not JSON at byte 0 (line 1, column 1): Expecting value"),
    ],
)
def test_what_does_not_parse_says_where_and_may_be_incomplete(data, error):
    assert read(data) == BadFile((error,), incomplete=True)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"[]", "must be an object, not a list"),
        (b"null", "must be an object, not null"),
        (b'{"urgency": NaN}', "number not allowed: NaN"),
        (b'{"urgency": -Infinity}', "number not allowed: -Infinity"),
        (b'{"urgency": 1e999}', "number not allowed: 1e999"),
        (b'{"urgency": ' + b"1" * 5000 + b"}", "number not allowed: 11111111111111111111… (more than 20 digits)"),
        (b"[" * 1_000_000, "nested more than 32 deep"),
        (b'{"command": ["x"], "command": ["y"]}', "command: stands there twice"),
        (b'{"command": ["x"], "env": {"A": "1", "A": "1"}}', "env.A: stands there twice"),
        (b'{"command": ["\\ud800"]}', "command[0]: is not valid Unicode: it contains a lone surrogate"),
        (b'{"command": ["\\u0000"]}', "command[0]: must not contain NUL (\\u0000)"),
        (b'{"command": [], "env": {"\\ud800": "1"}}', "env.\\ud800: no such key: it contains NUL or a lone surrogate"),
    ],
)  # fmt: skip
def test_what_parses_and_never_can_be_a_job(data, error):
    found = read(data)
    assert found.errors[0] == error
    assert not found.incomplete


def test_a_byte_order_mark_is_skipped():
    assert read(b'\xef\xbb\xbf{"command": ["true"]}') == job()


def test_deep_values_where_anything_may_stand_are_refused_too():
    deep = json.loads("[" * 40 + "]" * 40)
    assert "nested more than 32 deep" in read(json.dumps(LONG | {"attributes": {"system": {"x": deep}}})).errors[0]


# ---- TOML ---------------------------------------------------------------------------------------------------------

TOML = """
command = ["make", "all"]
time_limit = "10m"
[env]
CC = "gcc"
"""


def test_toml_is_the_same_keys_and_is_kept_as_json():
    draft = read(TOML, ".toml")
    assert draft == read(as_json(TOML.encode(), ".toml"))
    assert draft.spec.env == (("CC", "gcc"),)
    assert as_json(b'{"a": 1}', ".json") == '{"a": 1}'


@pytest.mark.parametrize(
    ("text", "incomplete"),
    [
        ("command = [", True),
        ("command = x", True),
        ("= 1", True),
        ("command = ['x']\ncommand = ['x']", True),
        ("urgency = inf", False),
        ("urgency = nan", False),
        ("urgency = " + "1" * 5000, False),
        ("name = 2026-01-01", False),
        ("a." * 50_000 + "b = 1", False),
        ("x = {" + "a." * 50_000 + "b = 1}", False),
        ("a = " + "[" * 100_000, False),
        ('command = ["\\u0000"]', False),
    ],
)
def test_bad_toml(text, incomplete):
    began_s = perf_counter()
    found = read(text, ".toml")
    assert isinstance(found, BadFile)
    assert found.incomplete == incomplete, found
    assert perf_counter() - began_s < 5  # tomllib alone takes a minute for the long keys


def test_a_toml_that_was_cut_off_is_good_toml():
    """Which is why the spool waits until its writer has closed it."""
    assert isinstance(read(TOML[: TOML.index("time_limit")], ".toml"), Draft)


# ---- for all files ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from([*SHORT_KEYS, "version", "tasks", "resources", "x"])


@given(
    st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")), st.sampled_from([".json", ".toml"])
)
def test_no_bytes_make_the_reader_raise(data, suffix):
    found = read(data, suffix)
    assert isinstance(found, Draft) or all(found.errors)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_no_object_makes_the_reader_raise(entries):
    found = read(json.dumps(entries))
    assert isinstance(found, Draft) or all(found.errors)
    if isinstance(found, BadFile):
        assert not any("\n" in error for error in found.errors)
        assert not found.incomplete or "Infinity" in json.dumps(entries)


@given(st.integers(0, 200), st.sampled_from([" ", "\0", "x", '"', "}", "\\ud800"]))
def test_a_torn_or_patched_file_never_raises(at, patch):
    text = json.dumps({"command": ["a", "b"], "env": {"A": "é"}, "after": [1, "x"], "time_limit": "10m"})
    torn = read(text[: at % len(text)])
    assert isinstance(torn, BadFile)
    assert torn.incomplete
    read(text[: at % len(text)] + patch + text[at % len(text) :])


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
NAME = st.from_regex(r"[a-z][a-z.+-]{0,9}", fullmatch=True)
DRAFTS = st.builds(
    Draft,
    st.builds(
        Spec,
        command=st.tuples(TEXT.filter(bool), TEXT),
        name=NAME,
        cwd=TEXT.map("/{}".format),
        env=st.dictionaries(NAME, TEXT, max_size=2).map(lambda env: tuple(sorted(env.items()))),
        cores=st.integers(1, 100),
        tasks=st.integers(1, 3),
        time_limit_us=st.none() | st.integers(1, 8 * 10**15),
        output=st.none() | NAME,
        error=st.none() | NAME,
        on_interrupt=st.sampled_from(OnInterrupt),
        reasons=st.lists(st.builds(Reason, TEXT, TEXT, st.none() | st.integers(0, 2**63 - 1)), max_size=2).map(tuple),
        dependencies=st.lists(
            st.builds(Dependency, st.just("afterok"), st.integers(1, 99))
            | st.builds(Dependency, st.just("after"), NAME, st.booleans())
            | st.builds(Dependency, st.just("begin-time"), st.integers(0, 8 * 10**15)),
            max_size=2,
        ).map(tuple),
    ),
    urgency=st.integers(0, 31),
    pin=st.none() | st.integers(0, 2**32 - 1),
)


@given(DRAFTS)
def test_a_draft_written_out_reads_back_as_itself(draft):
    assert read(write_job(draft)) == draft


def test_a_long_draft_written_out_reads_back_as_itself():
    draft = read(json.dumps(LONG | {"urgency": 3}))
    assert read(write_job(draft)) == draft


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "spool").glob("*.[jt]*")), ids=lambda path: path.name
)
def test_the_examples_are_good(path):
    if path.name != "jqsched.toml":
        assert isinstance(read(path.read_bytes(), path.suffix), Draft)


def test_the_recursion_limit_is_left_alone():
    before = sys.getrecursionlimit()
    read(b"[" * 100_000)
    assert sys.getrecursionlimit() == before


# ---- a spool in a folder whose name is not UTF-8 --------------------------------------------------------------------


def test_a_job_of_a_spool_whose_path_is_not_utf_8_states_where_it_runs():
    """Its path cannot stand in a JSON text, so it is not taken instead."""
    folder = "/srv/\udcff"
    for data in ('{"command": ["true"]}', json.dumps(LONG)):
        found = read_job(data.encode(), ".json", folder)
        assert isinstance(found, BadFile)
        assert found.errors == (NO_CWD,)
    for data in (
        '{"command": ["true"], "cwd": "/w"}',
        json.dumps(LONG).replace('"duration"', '"cwd": "/w", "duration"'),
    ):
        found = read_job(data.encode(), ".json", folder)
        assert isinstance(found, Draft)
        assert found.spec.cwd == "/w"
