"""What `run` shows: a line for each thing that happens, and a display of what runs."""

import io
import sys

import pytest
from rich.console import Console

from jqsched.cli import monitor
from jqsched.core.event import Event
from jqsched.core.job import Spec
from jqsched.core.queue import EMPTY, evolve_all
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, STARTED, SUBMIT, T0_US, failed, fatal


def happened(queue, *facts, id_: int = 1, name: str = "build"):
    """Events of a job after those of the queue, and the queue after them."""
    events = []
    for n, fact in enumerate(facts):
        word, context = fact if isinstance(fact, tuple) else (fact, {})
        spec = Spec(("true",), name, "/") if word == "submit" else None
        events.append(Event(id_, max(queue.last_us, T0_US) + (n + 1) * 1_000_000, word, context, spec))
    return events, evolve_all(queue, events)


def told(*batches) -> list[str]:
    """What a teller says of batches of facts."""
    teller, queue, said = monitor.Teller(), EMPTY, []
    for facts in batches:
        events, queue = happened(queue, *facts)
        said += [f"{news.name} {news.text}" for news in teller.news(events, queue)]
    return said


def test_a_job_in_one_batch():
    assert told((SUBMIT, *COMPLETED)) == ["build started", "build completed after 4.00s"]


def test_a_job_in_many_batches():
    steps = [(fact,) for fact in (SUBMIT, *failed(137 << 8))]
    assert told(*steps) == ["build started", "build failed after 4.00s: signal 9"]


def test_a_canceled_job_names_the_reason():
    assert told((SUBMIT, *CANCELED)) == ["build ended: cancel: because"]


def test_a_timeout_keeps_its_exception():
    facts = (SUBMIT, *STARTED, fatal("timeout", "too long"), ("finish", {"status": 142 << 8}), *ENDED)
    assert told(facts)[1].endswith(": timeout: too long")


def test_a_note_is_told_and_ends_nothing():
    note = ("exception", {"type": "note", "severity": 5, "note": "hm", "userid": 0})
    assert told((SUBMIT, *STARTED, note), (("finish", {"status": 0}), *ENDED))[1:] == [
        "build note: hm",
        "build completed after 5.00s",
    ]


def test_a_job_that_ran_before_the_scheduler_started():
    """Its start was told to another; the queue knows when it was."""
    _, before = happened(EMPTY, SUBMIT, *STARTED)
    teller = monitor.Teller()
    list(teller.news([], before))
    events, after = happened(before, ("finish", {"status": 0}), *ENDED)
    (news,) = teller.news(events, after)
    assert news.text.startswith("completed after ")


def test_nothing_is_remembered_of_jobs_that_are_gone():
    teller, queue = monitor.Teller(), EMPTY
    for id_, facts in enumerate((COMPLETED, CANCELED, failed(1), (*STARTED, fatal("x"), *ENDED[-1:])), start=1):
        events, queue = happened(queue, SUBMIT, *facts, id_=id_)
        list(teller.news(events, queue))
    assert [teller._names, teller._started_us, teller._ended, teller._statuses] == [{}] * 4


def test_plain_lines_are_one_write_a_batch(monkeypatch: pytest.MonkeyPatch):
    writes: list[str] = []
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "write", writes.append)
    monkeypatch.setattr(sys, "stderr", stderr)
    plain = monitor.monitor()
    assert isinstance(plain, monitor.PlainMonitor)
    plain(*happened(EMPTY, SUBMIT, *COMPLETED))
    assert len(writes) == 1
    assert [line.partition(" ")[2] for line in writes[0].splitlines()] == [
        "job 1 build: started",
        "job 1 build: completed after 4.00s",
    ]
    plain([], EMPTY)
    assert len(writes) == 1
    plain.log("a\x1b[2J message")
    assert "\x1b" not in writes[1]


def test_what_acts_on_a_terminal_is_escaped_line_by_line(capsys: pytest.CaptureFixture[str]):
    plain = monitor.PlainMonitor()
    plain(*happened(EMPTY, SUBMIT, *STARTED[:-2], fatal("cancel", "\x1b[2J\n"), "clean"))
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


def test_a_closed_stderr_stops_nobody(monkeypatch: pytest.MonkeyPatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    plain = monitor.PlainMonitor()
    plain(*happened(EMPTY, SUBMIT, *COMPLETED))
    plain.log("x")


def live() -> tuple[monitor.LiveMonitor, Console, io.StringIO]:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    return monitor.LiveMonitor(console), console, screen


def test_the_display_shows_what_runs_and_what_has_ended():
    shown, _, screen = live()
    events, queue = happened(EMPTY, SUBMIT, *STARTED)
    shown(events, queue)
    text = shown._render().plain
    assert text.startswith("1 running, 0 ready, 0 waiting; 0 completed, 0 failed\n  1 build  ")
    events, queue = happened(queue, ("finish", {"status": 256}), *ENDED)
    shown(events, queue)
    assert shown._render().plain == "0 running, 0 ready, 0 waiting; 0 completed, 1 failed"
    shown.log("a message")
    shown.close()
    shown.close()
    out = screen.getvalue()
    assert "job 1 build: failed after" in out
    assert "a message" in out
    assert out.rstrip().endswith("0 completed, 1 failed")


def test_a_flood_is_counted_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monitor, "FINISHED_PER_S_MAX", 2)
    monkeypatch.setattr(monitor.time, "monotonic", lambda: second)
    second = 1.0
    shown, _, screen = live()
    queue = EMPTY
    for id_ in range(1, 6):
        events, queue = happened(queue, SUBMIT, *COMPLETED, id_=id_)
        shown(events, queue)
    second = 2.0
    events, queue = happened(queue, SUBMIT, *COMPLETED, id_=6)
    shown(events, queue)
    shown.close()
    out = screen.getvalue()
    assert [f"job {id_} " in out for id_ in range(1, 7)] == [True, True, False, False, False, True]
    assert "… and 3 more" in out
    assert "6 completed" in out
