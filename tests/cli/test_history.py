"""`events`, `journal`, `log` and `show`, `status`: what happened, at once and as it comes."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.adapters.store import codec
from jqsched.cli import follow, history
from jqsched.cli import output as output_module
from jqsched.cli.fastjson import event_line
from jqsched.core.event import Event
from jqsched.core.job import Spec
from jqsched.core.view import event_entry
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, QUEUED, STARTED, T0_US, FakeScheduler, SpoolMaker, failed

TEN = "submit validate depend priority alloc start finish release free clean"


NAMES = st.sampled_from([*TEN.split(), "invalidate", "urgency", "exception", "jobspec-update", "memo"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


def lines(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


# --- events ------------------------------------------------------------------------------------------------------


def test_events_of_a_job(spool: SpoolMaker):
    spool.add(*COMPLETED)
    code, out, err = spool.run("events", "1", "--json")
    assert (code, err) == (0, "")
    entries = lines(out)
    assert " ".join(entry["name"] for entry in entries) == TEN
    assert [entry["seq"] for entry in entries] == list(range(1, 11))
    assert entries[0]["jobspec"]["tasks"][0]["command"] == ["sleep", "1"]
    assert entries[4]["R"]["execution"]["R_lite"] == [{"rank": "0", "children": {"core": "0"}}]
    assert [set(entry) & {"R", "jobspec"} for entry in entries[5:]] == [set()] * 5


def test_events_for_people(spool: SpoolMaker):
    spool.add(*CANCELED)
    code, out, _ = spool.run("events", "1")
    assert code == 0
    assert "exception type=cancel severity=0 note=because userid=0" in out
    assert len(out.splitlines()) == 6


def test_a_note_cannot_act_on_a_terminal(spool: SpoolMaker):
    bad = ("exception", {"type": "cancel", "severity": 0, "note": "\x1b[2J\u202e", "userid": 0})
    spool.add(*QUEUED, bad, "clean")
    for command in (["events", "1"], ["show", "1"], ["jobs", "-a"], ["journal"]):
        out = spool.run(*command)[1]
        assert "\x1b" not in out
        assert "\u202e" not in out


@pytest.mark.parametrize("command", ["events", "show", "log"])
def test_an_unknown_job_is_4(spool: SpoolMaker, command: str):
    code, out, err = spool.run(command, "17")
    assert (code, out) == (4, "")
    assert err.startswith("jqsched: job 17: unknown")


def test_events_are_followed_until_the_end(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*STARTED)

    def ring(request) -> None:
        spool.add(("finish", {"status": 0}), id_=1)
        request.stream({"seq": 7})
        spool.add(*ENDED, id_=1)
        request.stream({"seq": 10})

    scheduler.answers["bell"] = ring
    code, out, err = spool.run("events", "1", "-f", "--json")
    assert (code, err) == (0, "")
    assert " ".join(entry["name"] for entry in lines(out)) == TEN


def test_without_a_scheduler_the_store_is_asked_again(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    spool.add(*STARTED)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        spool.add(("finish", {"status": 0}), *ENDED, id_=1)

    monkeypatch.setattr(follow, "rest", pause)
    code, out, _ = spool.run("events", "1", "-f", "--json")
    assert (code, pauses) == (0, [1.0])
    assert " ".join(entry["name"] for entry in lines(out)) == TEN


def test_a_scheduler_that_restarts_makes_no_gap(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch):
    spool.add(*STARTED)
    finish = [("finish", {"status": 0}), *ENDED]

    def hang_up(request) -> None:
        spool.add(finish.pop(0), id_=1)
        request.end()

    scheduler.answers["bell"] = hang_up
    monkeypatch.setattr(follow, "rest", lambda _: None)
    code, out, _ = spool.run("events", "1", "-f", "--json")
    assert code == 0
    assert " ".join(entry["name"] for entry in lines(out)) == TEN


# --- journal -----------------------------------------------------------------------------------------------------


def test_the_journal_is_all_events_in_order(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "PORTION", 3)
    spool.add(*COMPLETED)
    spool.add(*CANCELED)
    entries = lines(spool.run("journal", "--json")[1])
    assert [entry["seq"] for entry in entries] == list(range(1, 17))
    assert [entry["jobid"] for entry in entries] == [1] * 10 + [2] * 6


def test_the_journal_from_somewhere_on(spool: SpoolMaker):
    spool.add(*COMPLETED)
    assert [entry["seq"] for entry in lines(spool.run("journal", "--json", "--since-seq", "8")[1])] == [9, 10]
    since = f"{(T0_US + 9) / 1e6:.6f}"
    assert [entry["name"] for entry in lines(spool.run("journal", "--json", "--since", since)[1])] == ["clean"]


def test_r_is_told_though_submit_is_long_ago(spool: SpoolMaker):
    spool.add(*COMPLETED, cores=3)
    (entry,) = [e for e in lines(spool.run("journal", "--json", "--since-seq", "4")[1]) if e["name"] == "alloc"]
    assert entry["R"]["execution"]["R_lite"][0]["children"]["core"] == "0-2"


@given(NAMES, st.dictionaries(st.text(), JSON, max_size=3), st.integers(1, 2**53), st.booleans())
def test_the_fast_line_of_an_event_is_its_entry(name: str, context: dict, t_us: int, has_spec: bool):
    """Where there is one: most events have no more to them than stands in their row."""
    event = Event(7, t_us, name, context, Spec(("true",), "a", "/") if has_spec else None)
    line = event_line(codec.event_to_row(9, event))
    if line:
        assert line == json.dumps(event_entry(9, event, Spec(("true",), "a", "/")), separators=(",", ":")) + "\n"
    else:
        assert has_spec or name in ("submit", "alloc", "clean", "invalidate") or not is_plain(json.dumps(context))


def is_plain(text: str) -> bool:
    return "\\u" not in text


def test_a_damaged_context_is_refused_and_not_shown(spool: SpoolMaker):
    spool.add(*COMPLETED)
    with closing(sqlite3.connect(spool.root / "jqsched.db")) as database:
        database.execute("UPDATE events SET context = '{\"status\":0' WHERE name = 'finish'")
        database.commit()
    for arguments in (("--json",), ()):
        code, out, err = spool.run("journal", *arguments)
        assert (code, "finish" in out, err.count("\n")) == (1, False, 1)
        assert "damaged" in err


def test_the_journal_for_people(spool: SpoolMaker):
    spool.add(*QUEUED)
    out = spool.run("journal")[1].splitlines()
    assert len(out) == 4
    assert out[3].endswith("  1  priority priority=16")


def test_the_journal_of_an_empty_spool_is_empty(spool: SpoolMaker):
    assert spool.run("journal") == (0, "", "")


def test_the_journal_is_followed_until_ctrl_c(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*QUEUED)
    rung = threading.Event()

    def ring(request) -> None:
        spool.add(*COMPLETED)
        request.stream({"seq": 14})
        rung.set()

    scheduler.answers["bell"] = ring
    command = [sys.executable, "-m", "jqsched", "journal", "-f", "--json", "--spool", str(spool.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert rung.wait(30)
        seen = [json.loads(following.stdout.readline())["seq"] for _ in range(14)]
        following.send_signal(2)
        assert following.communicate(timeout=120) == ("", "")
    assert seen == list(range(1, 15))
    assert following.returncode == 130


# --- output ------------------------------------------------------------------------------------------------------


def output(spool: SpoolMaker, data: bytes, name: str = "1.log") -> None:
    (spool.root / "output").mkdir(exist_ok=True)
    (spool.root / "output" / name).write_bytes(data)


def logged(spool: SpoolMaker, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jqsched", "log", "--spool", str(spool.root), *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=120)


def test_log_prints_bytes(spool: SpoolMaker):
    spool.add(*COMPLETED)
    output(spool, b"\xff\x00hi\x1b[1m\n")
    done = logged(spool, "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\xff\x00hi\x1b[1m\n", b"")


def test_log_of_a_job_that_writes_elsewhere(spool: SpoolMaker, tmp_path):
    spool.add(*COMPLETED, output="out-{id}-{name}", error="/nowhere/at/all", cwd=str(tmp_path), name="x")
    (tmp_path / "out-1-x").write_bytes(b"there\n")
    assert logged(spool, "1").stdout == b"there\n"
    done = logged(spool, "1", "-e")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"/nowhere/at/all" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ((), "0 out\n0 err\n1 out\n1 err\nend"),
        (("-e",), "0 err\n1 err\nend"),
        (("-l",), "0: 0 out\n0: 0 err\n1: 1 out\n1: 1 err\n1: end\n"),
        (("--rank", "0"), "0 out\n0 err\n"),
        (("--rank", "1", "-e", "--label-io", "-f"), "1: 1 err\n1: end\n"),
    ],
)
def test_log_of_a_job_of_several_tasks(spool: SpoolMaker, arguments: tuple[str, ...], printed: str):
    """One after the other; with labels, or of one alone."""
    spool.add(*COMPLETED, tasks=2)
    for rank in range(2):
        output(spool, b"%d out\n" % rank, f"1.{rank}.out")
        output(spool, b"%d err\n%s" % (rank, b"end" if rank else b""), f"1.{rank}.err")
    done = logged(spool, "1", *arguments)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, printed, b"")


def test_log_of_one_task_that_has_no_file_of_its_own(spool: SpoolMaker, tmp_path):
    spool.add(*COMPLETED, tasks=2, output=str(tmp_path / "all"))
    for rank, why in (("1", b"all its tasks write to one file"), ("2", b"no output of task 2")):
        done = logged(spool, "1", "--rank", rank)
        assert (done.returncode, done.stdout) == (5, b"")
        assert why in done.stderr


def test_log_of_a_job_that_has_not_started(spool: SpoolMaker):
    spool.add(*QUEUED)
    code, out, err = spool.run("log", "1")
    assert (code, out) == (5, "")
    assert "has not started" in err


def test_log_of_a_silent_job_says_so(spool: SpoolMaker):
    spool.add(*COMPLETED)
    output(spool, b"")
    done = logged(spool, "1")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"has written nothing" in done.stderr


def test_log_reads_no_fifo(spool: SpoolMaker, tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    spool.add(*STARTED, output=str(tmp_path / "pipe"))
    done = logged(spool, "1")
    assert done.returncode == 5
    assert b"no regular file" in done.stderr


def test_log_is_followed_until_the_job_is_over(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    spool.add(*STARTED)
    output(spool, b"one\n")
    steps = [
        lambda: output(spool, b"one\ntwo\n"),
        lambda: (output(spool, b"one\ntwo\nthree\n"), spool.add(("finish", {"status": 0}), *ENDED, id_=1)),
    ]
    monkeypatch.setattr(output_module, "rest", lambda _: steps.pop(0)())
    assert spool.run("log", "1", "-f") == (0, "one\ntwo\nthree\n", "")
    assert steps == []


def test_a_followed_log_may_be_truncated_or_replaced(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    """As logrotate does it, with copytruncate or without; what comes after it is printed."""
    spool.add(*STARTED)
    output(spool, b"a long first line\n")
    path = spool.root / "output" / "1.log"

    def replace() -> None:
        with path.open("ab") as old:
            path.rename(path.with_suffix(".old"))
            old.write(b"last of the old\n")
        output(spool, b"three\n")

    steps = [
        lambda: output(spool, b"two\n"),
        replace,
        path.unlink,
        lambda: (output(spool, b"four\n"), spool.add(("finish", {"status": 0}), *ENDED, id_=1)),
    ]
    monkeypatch.setattr(output_module, "rest", lambda _: steps.pop(0)())
    written = "a long first line\ntwo\nlast of the old\nthree\nfour\n"
    assert spool.run("log", "1", "-f") == (0, written, "")


@pytest.mark.parametrize("command", ["log", "events"])
def test_a_job_that_is_purged_while_it_is_followed_is_over(spool: SpoolMaker, monkeypatch, command: str):
    spool.add(*STARTED)
    output(spool, b"one\n")

    def purge(_: float) -> None:
        with sqlite3.connect(spool.root / "jqsched.db") as store:
            store.execute("DELETE FROM jobs")
            store.execute("DELETE FROM events")

    monkeypatch.setattr(output_module, "rest", purge)
    monkeypatch.setattr(follow, "rest", purge)
    code, out, err = spool.run(command, "1", "-f")
    assert (code, err) == (0, "")
    assert out


# --- show and status ---------------------------------------------------------------------------------------------


def test_show_is_all_about_a_job(spool: SpoolMaker):
    spool.add(*failed(137 << 8), name="build", command=("sh", "-c", "a b"), env=(("SECRET", "x"),))
    code, out, err = spool.run("show", "1")
    assert (code, err) == (0, "")
    for text in (
        "1 build",
        "FAILED (signal 9)",
        "sh -c 'a b'",
        "output/1.log",
        "returncode   137",
        "finish status=35072",
    ):
        assert text in out
    assert "SECRET" not in out


def test_show_says_why_a_job_waits(spool: SpoolMaker):
    spool.add(("dependency-add", {"description": "after-success=late"}), "validate")
    out = spool.run("show", "1")[1]
    assert "no job named late was dropped yet" in out
    assert "no scheduler serves this spool" in out


def test_show_json(spool: SpoolMaker):
    spool.add(*COMPLETED, env=(("SECRET", "x"),))
    out = spool.run("show", "1", "--json")[1]
    document = json.loads(out)
    assert document["schema"] == "jqsched.job/1"
    assert document["job"]["id"] == 1
    assert " ".join(event["name"] for event in document["events"]) == TEN
    assert document["output"] == f"{spool.root}/output/1.log"
    assert "SECRET" not in out


def test_status_without_a_scheduler_is_6(spool: SpoolMaker):
    spool.add(*COMPLETED)
    spool.add(*QUEUED)
    code, out, err = spool.run("status")
    assert code == 6
    assert "1 SCHED, 1 INACTIVE" in out
    assert "jqsched run" in err
    code, out, _ = spool.run("status", "--json")
    document = json.loads(out)
    assert (code, document["scheduler"], document["jobs"]) == (6, None, {"SCHED": 1, "INACTIVE": 1})


def test_status_with_a_scheduler(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["status"] |= {"drained": True, "warnings": ["jqsched.toml: cores: must be …"]}
    code, out, err = spool.run("status")
    assert (code, err) == (0, "")
    assert "pid 4711" in out
    assert "resume" in out
    assert "jqsched.toml: cores" in out
    assert json.loads(spool.run("status", "--json")[1])["scheduler"]["max_running"] == 2
