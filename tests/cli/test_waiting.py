"""`wait-event`: which event is the one, what is printed, and how it ends."""

import json

import pytest

from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, FakeScheduler, SpoolMaker, failed, fatal


def names(out: str) -> list[str]:
    return [json.loads(line)["name"] for line in out.splitlines()]


def test_what_has_happened_counts_without_a_scheduler(spool: SpoolMaker):
    spool.add(*COMPLETED)
    code, out, err = spool.run("wait-event", "1", "start")
    assert (code, err) == (0, "")
    assert out.endswith("  start\n")
    assert out == next(f"{line}\n" for line in spool.run("events", "1")[1].splitlines() if line.endswith("  start"))


def test_as_json_it_is_rfc_18s(spool: SpoolMaker):
    spool.add(*failed(256))
    assert list(json.loads(spool.run("wait-event", "1", "start", "--json")[1])) == ["timestamp", "name"]
    entry = json.loads(spool.run("wait-event", "1", "finish", "--json")[1])
    assert entry["context"] == {"status": 256}
    assert isinstance(entry["timestamp"], float)


def test_verbose_is_all_before_it_and_quiet_not_itself(spool: SpoolMaker):
    spool.add(*COMPLETED)
    before = ["submit", "validate", "depend"]
    assert names(spool.run("wait-event", "1", "priority", "-v", "--json")[1]) == [*before, "priority"]
    assert names(spool.run("wait-event", "1", "priority", "-v", "-q", "--json")[1]) == before
    assert spool.run("wait-event", "1", "priority", "-q") == (0, "", "")


def test_an_exception_ends_no_wait(spool: SpoolMaker):
    spool.add(*CANCELED)
    assert spool.run("wait-event", "1", "clean")[0] == 0
    assert spool.run("wait-event", "1", "exception", "-m", "type=cancel")[0] == 0


@pytest.mark.parametrize("match", ["severity=0", "type=odd", 'type="odd"', "note="])
def test_a_context_that_matches(spool: SpoolMaker, match: str):
    spool.add(*QUEUED, fatal("odd"), "clean")
    assert spool.run("wait-event", "1", "exception", "-m", match, "-q") == (0, "", "")


@pytest.mark.parametrize("match", ["severity=00", "severity=", "type=od", "typ=odd", "nothing=null"])
def test_a_context_that_does_not(spool: SpoolMaker, match: str):
    spool.add(*QUEUED, fatal("odd"), "clean")
    code, out, err = spool.run("wait-event", "1", "exception", "-m", match)
    assert (code, out) == (5, "")
    assert match in err


def test_the_count_is_of_those_that_match(spool: SpoolMaker):
    note = [("exception", {"type": kind, "severity": 3, "note": kind, "userid": 0}) for kind in ("a", "b", "a")]
    spool.add(*QUEUED, *note, *CANCELED[-2:])
    told = json.loads(spool.run("wait-event", "1", "exception", "-c", "2", "-m", "type=a", "--json")[1])
    last = [json.loads(line) for line in spool.run("events", "1", "--json")[1].splitlines()][-3]
    assert told["timestamp"] == last["timestamp"]
    code, out, err = spool.run("wait-event", "1", "exception", "-c", "5")
    assert (code, out) == (5, "")
    assert "4 times of 5" in err


def test_the_log_of_the_processes(spool: SpoolMaker):
    spool.add(*failed(256))
    spool.add(*CANCELED)
    run = ("wait-event", "-p", "exec", "--json")
    assert json.loads(spool.run(*run, "1", "complete")[1])["context"] == {"status": 256}
    assert spool.run(*run[:2], "guest.exec.eventlog", "1", "done")[0] == 0
    assert spool.run(*run, "1", "start")[0] == 5
    assert spool.run(*run, "2", "done")[0] == 5, "one that never ran has an empty log"


def test_it_waits_for_what_comes(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add(*STARTED)

    def ring(request) -> None:
        spool.add(("finish", {"status": 0}), id_=1)
        request.stream({"seq": 8})

    scheduler.answers["bell"] = ring
    assert names(spool.run("wait-event", "1", "finish", "--json")[1]) == ["finish"]


def test_its_failures(spool: SpoolMaker):
    spool.add(*QUEUED)
    assert spool.run("wait-event", "9", "start")[0] == 4
    code, out, err = spool.run("wait-event", "1", "start", "--timeout", "0")
    assert (code, out) == (75, "")
    assert err.count("\n") == 1
    assert spool.run("wait-event", "1", "priority", "--timeout", "0", "-q") == (0, "", ""), "it is there: no waiting"


@pytest.mark.parametrize(
    "more", [["-m", "type"], ["-m", "=x"], ["-c", "0"], ["-t", "soon"], ["-p", "guest.input"], ["--nope"]]
)
def test_its_usage_errors(spool: SpoolMaker, more: list[str]):
    spool.add(*COMPLETED)
    code, out, err = spool.run("wait-event", "1", "start", *more)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
