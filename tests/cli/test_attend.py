"""`submit --wait` and `--follow`: what is printed, how it ends, and what Ctrl-C leaves alone."""

import json
import os
from pathlib import Path

import pytest

from jqsched.cli import attend as attending
from jqsched.cli import output, target
from jqsched.cli.attend import Attention, attend
from jqsched.cli.target import Place
from jqsched.client.user_spool import user_spool
from tests.cli.conftest import COMPLETED, QUEUED, STARTED, FakeScheduler, SpoolMaker, failed

FAILED_END = failed(3 << 8)[len(STARTED) :]


@pytest.fixture
def takes(spool: SpoolMaker, scheduler: FakeScheduler) -> FakeScheduler:
    """A scheduler that runs what is submitted, and ends it with 3 as soon as a client waits."""

    def take(request) -> None:
        request.respond({"id": spool.add(*STARTED).id})

    def end(request) -> None:
        spool.add(*FAILED_END, id_=request.payload["ids"][0])
        request.respond({})

    scheduler.answers.update(submit=take, wait=end)
    return scheduler


def write(spool: SpoolMaker, id_: int, data: bytes) -> None:
    """Append to a job's output."""
    (spool.root / "output").mkdir(exist_ok=True)
    with (spool.root / "output" / f"{id_}.log").open("ab") as file:
        file.write(data)


class Rests:
    """What happens while a command rests: one step each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps) -> None:
        self._steps = list(steps)
        monkeypatch.setattr(attending, "rest", lambda _: self._steps.pop(0)())


def interrupt() -> None:
    raise KeyboardInterrupt


def test_wait_prints_the_id_and_ends_with_the_jobs_status(spool: SpoolMaker, takes: FakeScheduler):
    code, out, err = spool.run("submit", "--wait", "--env-none", "true")
    assert (code, out, err) == (3, "1\n", "jqsched: job 1 (job1): FAILED (exit 3)\n")
    code, out, _ = spool.run("submit", "--wait", "--json", "--env-none", "true")
    assert (code, json.loads(out)) == (3, {"schema": "jqsched.submit/1", "id": 2})


def test_follow_prints_what_the_job_writes_and_nothing_else(
    spool: SpoolMaker, takes: FakeScheduler, monkeypatch: pytest.MonkeyPatch
):
    def end() -> None:
        write(spool, 1, b"two")
        spool.add(*FAILED_END, id_=1)

    Rests(monkeypatch, lambda: write(spool, 1, b"one\n"), end)
    code, out, err = spool.run("submit", "--follow", "--env-none", "true")
    assert (code, out) == (3, "one\ntwo")
    assert err == "jqsched: job 1\njqsched: job 1 (job1): FAILED (exit 3)\n"


def test_of_several_jobs_each_line_has_its_id(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch, capsys):
    for _ in range(2):
        spool.add(*STARTED)

    def end() -> None:
        write(spool, 1, b"ne\nlast")
        for id_ in (1, 2):
            spool.add(*COMPLETED[len(STARTED) :], id_=id_)

    write(spool, 1, b"o")
    Rests(monkeypatch, lambda: write(spool, 2, b"a\n\nb\n"), end)
    assert attend(Place(str(spool.root), str(spool.root)), [1, 2], Attention.FOLLOW) == 0
    assert capsys.readouterr().out == "2: a\n2: \n2: b\n1: one\n1: last\n"


def test_a_line_without_end_is_not_kept(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch, capsys):
    monkeypatch.setattr(output, "_LINE_MAX_BYTES", 3)
    for _ in range(2):
        spool.add(*COMPLETED)
    write(spool, 1, b"12345")
    assert attend(Place(str(spool.root), str(spool.root)), [1, 2], Attention.FOLLOW) == 0
    assert capsys.readouterr().out == "1: 12345\n"


def test_the_output_of_the_next_attempt_may_be_another_file(
    spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
):
    """Of a path with {attempt}, as after a retry. Seen to fail: what later attempts wrote was never shown."""
    spool.add(*STARTED, output=f"{spool.root}/output/{{attempt}}.log")

    def again() -> None:
        write(spool, 1, b"first\n")
        spool.add(*("release", "free"), ("requeue", {"attempt": 2}), ("priority", {"priority": 16}), id_=1)

    def end() -> None:
        spool.add("alloc", "start", *COMPLETED[len(STARTED) :], id_=1)
        write(spool, 2, b"second\n")

    Rests(monkeypatch, again, end)
    scheduler.answers["submit"] = {"id": 1}
    assert spool.run("submit", "--follow", "--env-none", "true")[:2] == (0, "first\nsecond\n")


@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_ctrl_c_leaves_the_job_alone(
    spool: SpoolMaker, takes: FakeScheduler, monkeypatch: pytest.MonkeyPatch, option: str
):
    monkeypatch.setattr(attending, "await_jobs", lambda *_: interrupt())
    Rests(monkeypatch, interrupt)
    code, _, err = spool.run("submit", option, "--env-none", "true")
    assert code == 130
    come_back = "`jqsched wait 1` waits, `jqsched log -f 1` shows its output, `jqsched cancel 1` ends it"
    assert err.splitlines()[-1] == f"jqsched: job 1 goes on: {come_back}"
    assert [topic for topic, _ in takes.asked] == ["submit"]


def test_ctrl_c_with_several_names_all(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(attending, "await_jobs", lambda *_: interrupt())
    assert attend(Place(str(spool.root), str(spool.root)), range(1, 13), Attention.WAIT) == 130
    named = "1 2 3 4 5 6 7 8 9 10 …"
    assert f"jobs {named} go on: `jqsched wait {named}` waits, `jqsched cancel" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_without_a_scheduler_the_job_is_queued_and_that_is_said(spool: SpoolMaker, option: str):
    """A code that no job's status is taken for."""
    code, _, err = spool.run("submit", option, "--env-none", "true")
    assert code == 69
    assert "no scheduler serves this spool" in err
    assert spool.run("jobs", "--ids")[1] == "1\n"


def test_json_is_for_a_job_that_is_not_followed(spool: SpoolMaker):
    assert spool.run("submit", "--follow", "--json", "true")[0] == 2


# ---- the user's own spool -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "userid", "path"),
    [
        ({}, 0, "/var/spool/jqsched"),
        ({"XDG_STATE_HOME": "/state"}, 0, "/var/spool/jqsched"),
        ({"XDG_STATE_HOME": "/state"}, 1000, "/state/jqsched/spool"),
        ({"XDG_STATE_HOME": ""}, 1000, "/home/me/.local/state/jqsched/spool"),
        ({"XDG_STATE_HOME": "state"}, 1000, "/home/me/.local/state/jqsched/spool"),
        ({}, 1000, "/home/me/.local/state/jqsched/spool"),
    ],
)
def test_where_it_is(environment: dict[str, str], userid: int, path: str):
    assert user_spool(environment, userid, "/home/me") == path


def test_submit_makes_it_and_every_command_finds_it(spool: SpoolMaker, tmp_path: Path):
    own = tmp_path / "own" / "spool"
    code, _, err = spool.run("jobs", spool=False)
    assert code == 2
    assert str(own) in err
    assert not own.exists(), "looking makes nothing"
    assert spool.run("submit", "--env-none", "true", spool=False) == (0, "1\n", "")
    assert own.stat().st_mode & 0o777 == 0o700
    assert spool.run("jobs", "--ids", spool=False) == (0, "1\n", "")
    assert spool.run("cancel", "last", spool=False)[0] == 0


def test_a_spool_that_is_named_is_not_made_by_submit(spool: SpoolMaker, tmp_path: Path):
    """It may be misspelled."""
    code, _, err = spool.run("submit", "--spool", str(tmp_path / "absent"), "true", spool=False)
    assert code == 2
    assert "no such directory" in err
    assert not (tmp_path / "absent").exists()


def test_one_that_cannot_be_made_is_said_in_a_line(spool: SpoolMaker, tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(target, "user_spool", lambda *_: str(tmp_path / "file" / "spool"))
    code, out, err = spool.run("submit", "true", spool=False)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert os.strerror(20) in err


def test_queued_is_waited_for(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*QUEUED)

    def end(request) -> None:
        spool.add("alloc", "start", *COMPLETED[len(STARTED) :], id_=1)
        request.respond({})

    scheduler.answers.update(submit={"id": 1}, wait=end)
    assert spool.run("submit", "--wait", "--env-none", "true") == (0, "1\n", "")
