"""Every parameter of every command with values that mean harm.

The commands and their parameters are read from the command tree, so a new one takes part by itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jqsched.cli.app import commands as all_commands
from tests.cli.conftest import COMPLETED, FakeScheduler, SpoolMaker

VALUES = ["", "0", "-1", str(2**63), "9" * 5_000, "٣", "1_0", "nan", "a\nb", "a\0b", "a\udcff"]
REQUIRED = {  # by its metavar, what a parameter that must be given is when another one is looked at
    "JOB": "1",
    "EVENT": "start",
    "-- COMMAND...": "true",
    "N": "5",
    "N|auto": "5",
    "ACTION": "pause",
    "UUID": "u",
    "UUID...": "u",
    "FILE...": "x.json",
    "[FILE...]": "x.json",
    "SCRIPT [ARGS...]": "x.sh",
    "PLUGIN": "x",
    "NAME": "x",
}
TOPICS = (
    *("submit", "cancel", "urgency", "priority", "hold", "release", "requeue", "drain", "resume", "filter-add"),
    *("filter-replace", "filter-remove", "wait", "purge", "raise", "kill", "jobtap", "jobtap-list", "jobtap-query"),
)
CODES = {0, 2, 3, 4, 5, 6}
CODES_OF_WAIT = {0, 64, 66, 69, 75}


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list]]:
    """All commands: the words that name each, and its parameters."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), [param for param in command.params if param.name != "help"]


COMMANDS = dict(commands(all_commands()))


def lines_of(path: tuple[str, ...], root: str) -> Iterator[list[str]]:
    """The command lines for one command: each of its parameters with each value."""
    params = COMMANDS[path]
    arguments = [param for param in params if param.param_type_name == "argument"]
    as_json = ["--json"] if any("--json" in param.opts for param in params) else []
    for param in params:
        if param.name in ("spool", "store") and path != ("jobs",):
            continue  # they are read in one place
        for value in VALUES:
            if param.param_type_name == "argument":
                given = [
                    value if each is param else REQUIRED[each.metavar]
                    for each in arguments
                    if each.required or each is param
                ]
                yield [*path, *as_json, "--spool", root, "--", *given]
            elif not getattr(param, "is_flag", False):
                given = [REQUIRED[each.metavar] for each in arguments if each.required]
                yield [*path, *as_json, "--spool", root, param.opts[0], value, "--", *given]


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != ("run",)], ids=" ".join)
def test_whatever_is_given_has_a_documented_end(
    spool: SpoolMaker, scheduler: FakeScheduler, path: tuple[str, ...], tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """A documented code and a line, and of JSON a whole document, or a whole one a line, or nothing."""
    monkeypatch.chdir(tmp_path)
    spool.add(*COMPLETED)
    scheduler.answers.update({key: {"id": 1, "purged": 0, "plugins": [], "outcome": "changed"} for key in TOPICS})
    for line in lines_of(path, str(spool.root)):
        if path == ("check",):
            code, out, err = spool.run(
                *(word for word in line if word not in ("--spool", str(spool.root))), spool=False
            )
        else:
            code, out, err = spool.run(*line, spool=False)
        shown = f"{[word[:40] for word in line]}: {code} {out[:300]!r} {err[:300]!r}"
        assert code in (CODES_OF_WAIT if path == ("wait",) else CODES) or "File name too long" in err, shown
        assert "internal error" not in err, shown
        assert "damaged" not in err, shown
        lines = (1, 2) if path == ("simulate",) else (1,)  # of a file, and that none is left
        assert code == 0 or err.count("\n") in lines, shown
        if "--json" in line and out:
            assert is_json(out), shown


def is_json(out: str) -> bool:
    """Whether this is one document, or one a line."""
    try:
        json.loads(out)
    except ValueError:
        return all(isinstance(json.loads(line), dict) for line in out.splitlines())
    return True


@pytest.mark.parametrize("option", [param.opts[0] for param in COMMANDS[("run",)] if param.metavar == "N"])
@pytest.mark.parametrize("value", VALUES)
def test_limits_that_are_none_are_refused(spool: SpoolMaker, option: str, value: str):
    code, out, err = spool.run("run", option, value)
    assert (code, out, err.count("\n")) == (2, "", 1)


STREAMLESS = [
    ["jobs", "-a"],
    ["jobs", "-a", "--json"],
    ["journal"],
    ["show", "1"],
    ["wait", "1"],
    ["hold", "1"],
    ["top"],
]


@pytest.mark.parametrize("arguments", STREAMLESS, ids=" ".join)
def test_closed_streams_change_no_code(spool: SpoolMaker, arguments: list[str]):
    """Seen to fail: an internal error without stdout, and "damaged" of a store that was whole."""
    spool.add(*COMPLETED)
    line = [sys.executable, "-m", "jqsched", arguments[0], "--spool", str(spool.root), *arguments[1:]]
    code = subprocess.run(line, capture_output=True, timeout=200, check=False).returncode
    closing = 'exec <&- >&-; exec "$@"'
    ran = subprocess.run(
        ["sh", "-c", closing, "sh", *line],
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ},
    )
    assert ran.returncode == code
    assert "internal error" not in ran.stderr
    assert "damaged" not in ran.stderr
    ran = subprocess.run(
        ["sh", "-c", 'exec 2>&-; exec "$@"', "sh", *line], stdout=subprocess.PIPE, timeout=200, check=False
    )
    assert ran.returncode == code
