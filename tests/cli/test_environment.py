"""What `submit` writes of its caller's environment into the job."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.cli.environment import SESSION_NAMES, SESSION_PREFIXES, Capture, environment
from jqsched.cli.failure import Failure
from tests.cli.conftest import FakeScheduler, SpoolMaker

FOUND_BY_DEFAULT = {
    "PATH": "/home/u/venv/bin:/usr/bin",
    "VIRTUAL_ENV": "/home/u/venv",
    "CONDA_PREFIX": "/opt/conda",
    "CONDA_DEFAULT_ENV": "base",
    "PYTHONPATH": "/home/u/lib",
    "LD_LIBRARY_PATH": "/opt/cuda/lib64",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "C.UTF-8",
}
OF_PROJECTS = {"OMP_NUM_THREADS": "4", "GIT_AUTHOR_NAME": "A", "KEYBOARD": "de", "MONKEY": "1", "PATHOLOGY": "x"}
SECRETS = (
    *("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "apiKey"),
    *(
        "OPENAI_API_KEY",
        "SSL_PASSPHRASE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "NPM_AUTH",
        "SESSION_COOKIE",
        "CONDA_TOKEN",
    ),
)


def test_by_default_what_finds_programs_libraries_and_the_language():
    caller = FOUND_BY_DEFAULT | OF_PROJECTS | dict.fromkeys(SECRETS, "s") | dict.fromkeys(SESSION_NAMES, "x")
    assert environment(caller, Capture.DEFAULT, ()).variables == FOUND_BY_DEFAULT


def test_all_but_the_sessions_and_secrets():
    session = dict.fromkeys([*SESSION_NAMES, *(f"{prefix}X" for prefix in SESSION_PREFIXES)], "x")
    caller = FOUND_BY_DEFAULT | OF_PROJECTS | session | dict.fromkeys(SECRETS, "s")
    got = environment(caller, Capture.ALL, ())
    assert got.variables == FOUND_BY_DEFAULT | OF_PROJECTS
    assert set(got.secrets) == set(SECRETS)


def test_none_but_the_named_ones():
    caller = FOUND_BY_DEFAULT | {"DB_PASSWORD": "s"}
    assert environment(caller, Capture.NONE, ()).variables == {}
    named = environment(caller, Capture.NONE, ["LANG", "DB_PASSWORD", "A=1", "B=x=y", "E=", "A=2"])
    assert named.variables == {"LANG": "de_DE.UTF-8", "DB_PASSWORD": "s", "A": "2", "B": "x=y", "E": ""}
    assert named.secrets == ()


@pytest.mark.parametrize("word", ["", "=", "=x", "ABSENT"])
def test_a_name_that_is_none_or_not_set_is_refused(word: str):
    with pytest.raises(Failure) as refused:
        environment({"A": "1"}, Capture.DEFAULT, [word])
    assert "--env" in str(refused.value)


names = st.one_of(
    st.sampled_from([*FOUND_BY_DEFAULT, *SECRETS, *sorted(SESSION_NAMES), "LC_\udcff"]),
    st.text(st.characters(exclude_characters="=\0"), min_size=1),
)


@given(st.dictionaries(names, st.text(st.characters(exclude_characters="\0"))), st.sampled_from(Capture), st.data())
def test_what_is_named_wins_and_what_is_captured_is_text(caller: dict[str, str], capture: Capture, data: st.DataObject):
    named = data.draw(st.lists(st.sampled_from(sorted(caller)), max_size=3)) if caller else []
    got = environment(caller, capture, named)
    assert got.variables.items() <= caller.items()
    assert set(named) <= set(got.variables)
    assert not set(got.variables) & {*got.secrets, *got.not_text}
    for name in set(got.variables) - set(named):
        (name + caller[name]).encode()
    assert environment(caller, Capture.NONE, named).variables.items() <= got.variables.items()


def test_the_reference_lists_what_is_of_the_session():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text()
    (listed,) = re.findall(r"^Of the session are (.*)$", page, re.MULTILINE)
    words = set(re.findall(r"`([^`]+)`", listed))
    assert words == SESSION_NAMES | {f"{prefix}*" for prefix in SESSION_PREFIXES}


def test_submit_passes_the_callers_environment_on(
    spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
):
    for name in tuple(os.environ):
        monkeypatch.delenv(name)
    for name, value in {"PATH": "/v/bin", "VIRTUAL_ENV": "/v", "FOO": "1", "MY_TOKEN": "s", "BAD": "\udcff"}.items():
        monkeypatch.setenv(name, value)
    scheduler.answers["submit"] = {"id": 1}

    def submit(*options: str) -> tuple[dict | None, str]:
        code, out, err = spool.run("submit", *options, "--", "python", "x.py")
        assert (code, out) == (0, "1\n")
        return json.loads(scheduler.asked[-1][1]["text"]).get("env"), err

    assert submit() == ({"PATH": "/v/bin", "VIRTUAL_ENV": "/v"}, "")
    assert submit("--env-none") == (None, "")
    variables, err = submit("--env-all", "--env", "X=2")
    assert variables == {"PATH": "/v/bin", "VIRTUAL_ENV": "/v", "FOO": "1", "X": "2"}
    assert [line.rsplit(": ")[-1] for line in err.splitlines()] == ["'MY_TOKEN' (--env NAME passes one on)", "'BAD'"]
    assert submit("--env-none", "--env", "MY_TOKEN") == ({"MY_TOKEN": "s"}, "")
    code, out, err = spool.run("submit", "--env-all", "--env-none", "--", "true")
    assert (code, out, err.count("\n")) == (2, "", 1)
