"""`jqsched jobs`: which jobs, in which order, in which form."""

import json
import os
from collections.abc import Sequence
from datetime import datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched import Handle
from jqsched.cli import jobs as lists
from jqsched.cli.fastjson import writer
from jqsched.core.job import Job, JobException, Spec, State
from jqsched.core.view import INFO_KEYS, job_info
from jqsched.job import JobID, JobList
from tests.cli.conftest import (
    CANCELED,
    COMPLETED,
    QUEUED,
    STARTED,
    T0_US,
    TIMED_OUT,
    FakeScheduler,
    SpoolMaker,
    failed,
)

RAN = datetime.fromtimestamp(T0_US // 1_000_000).astimezone()


@pytest.fixture
def full(spool: SpoolMaker) -> SpoolMaker:
    """1 completed, 2 failed, 3 canceled, 4 timeout, 5 running, 6 queued, 7 queued higher, 8 waits, 9 held."""
    spool.add(*COMPLETED, name="build")
    spool.add(*failed(3 << 8), name="build")
    spool.add(*CANCELED, jobspec={"attributes": {"system": {"queue": "batch"}}})
    spool.add(*TIMED_OUT)
    spool.add(*STARTED, name="build")
    spool.add(*QUEUED)
    spool.add("validate", "depend", ("priority", {"priority": 500}))
    spool.add(("dependency-add", {"description": "after-success=5"}), "validate")
    spool.add(*QUEUED, ("urgency", {"urgency": 0, "userid": 0}), ("priority", {"priority": 0}))
    return spool


def ids(spool: SpoolMaker, *arguments: str) -> list[int]:
    code, out, err = spool.run("jobs", "--ids", *arguments)
    assert (code, err) == (0, "")
    return [int(line) for line in out.split()]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], [7, 6, 8, 9, 5]),
        (["-a"], [7, 6, 8, 9, 5, 4, 3, 2, 1]),
        (["--count", "3"], [7, 6, 8]),
        (["-a", "--count", "7"], [7, 6, 8, 9, 5, 4, 3]),
        (["--filter", "running"], [5]),
        (["--filter", "failed,RUNNING"], [5, 2]),
        (["--filter", "inactive", "--count", "2"], [4, 3]),
        (["--filter", "completed", "--count", "1"], [1]),
        (["--filter", "depend"], [8]),
        (["--name", "build"], [5]),
        (["--name", "build", "-a"], [5, 2, 1]),
        (["--name", "build", "-a", "--count", "2"], [5, 2]),
        (["--name", "none"], []),
        (["2", "6", "2"], [2, 6]),
        (["ƒ7"], [6]),
        (["0x2", "0000.0000.0000.0006", "job.0000.0000.0000.0001", JobID(7).words, JobID(8).emoji], [2, 6, 1, 7, 8]),
        (["-A"], [7, 6, 8, 9, 5]),
        (["-f", "F,r"], [5, 2]),
        (["-c", "2", "-f", "PD"], [7, 6]),
        (["-u", "0"], [7, 6, 8, 9, 5]),
        (["-u", "4711", "-a"], []),
        (["-q", "batch", "-a"], [3]),
        (["--constraint", '{"not": [{"states": ["active"]}]}'], [4, 3, 2, 1]),
        (["--constraint", '{"not": [{"states": ["active"]}]}', "--name", "build"], [2, 1]),
        (["--constraint", '{"results": ["failed", 1]}', "-c", "1"], [2]),
        (["--constraint", "{}", "--filter", "depend"], [8]),
        (["--sort", "id"], [5, 6, 7, 8, 9]),
        (["--sort", "-id"], [9, 8, 7, 6, 5]),
        (["--sort", "-priority,-id", "-f", "pending"], [7, 6, 9, 8]),
        (["--sort", "name,-t_submit", "-a", "--name", "build"], [5, 2, 1]),
        (["--sort", "returncode,id", "-a"], [5, 6, 7, 8, 9, 3, 1, 2, 4]),
        (["--sort", "-id", "1", "7", "4"], [7, 4, 1]),
        (["--sort", "-id", "--count", "2"], [7, 6]),
        (["--sort", "status_abbrev,id.hex", "-f", "inactive"], [3, 1, 2, 4]),
    ],
)
def test_which_and_in_what_order(full: SpoolMaker, arguments: list[str], wanted: list[int]):
    assert ids(full, *arguments) == wanted


def test_since_is_for_finished_jobs(full: SpoolMaker):
    between_us = full.jobs[3].t_inactive_us
    assert ids(full, "--since", f"{between_us / 1e6:.6f}") == [7, 6, 8, 9, 5, 4]
    assert ids(full, "--since", "2037-01-01T00:00:00Z", "--filter", "inactive") == []


def test_unknown_ids_are_named_and_the_others_shown(full: SpoolMaker):
    code, out, err = full.run("jobs", "--ids", "99", "5")
    assert (code, out) == (4, "5\n")
    assert err.startswith("jqsched: job 99: unknown")


def test_the_table(full: SpoolMaker):
    code, out, err = full.run("jobs", "-a")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "PRIORITY", "TIME", "REMARK"]
    assert lines[1].split() == ["7", "job7", "SCHED", "500", "-"]
    assert lines[3].split() == ["8", "job8", "DEPEND", "-", "-", "after-success=5"]
    assert lines[4].split()[-1] == "held"
    assert lines[6].split()[2] == "TIMEOUT"
    assert lines[8].split()[-2:] == ["exit", "3"]
    assert "\x1b" not in out
    assert len({line.index(word) for line, word in zip(lines[1:3], ("SCHED", "SCHED"), strict=True)}) == 1


def test_an_empty_list_is_said(spool: SpoolMaker):
    code, out, err = spool.run("jobs")
    assert (code, out) == (0, "")
    assert err == "jqsched: no active jobs (-a shows finished ones too)\n"
    assert spool.run("jobs", "-a")[2] == "jqsched: no such jobs\n"


def test_json_is_one_document(full: SpoolMaker):
    code, out, err = full.run("jobs", "-a", "--json")
    document = json.loads(out)
    assert (code, err, document["schema"]) == (0, "", "jqsched.jobs/1")
    assert [job["id"] for job in document["jobs"]] == [7, 6, 8, 9, 5, 4, 3, 2, 1]
    assert all(list(job) == list(INFO_KEYS) for job in document["jobs"])
    shown = {job["id"]: job for job in document["jobs"]}
    assert (shown[4]["result"], shown[4]["returncode"]) == ("TIMEOUT", 142)
    assert "dependency after-success=5" in shown[8]["reasons"]
    assert "no scheduler serves this spool" in shown[6]["reasons"]
    assert shown[5]["reasons"] == []


def test_json_of_nothing_is_a_document_too(spool: SpoolMaker):
    code, out, _ = spool.run("jobs", "--json")
    assert (code, json.loads(out)) == (0, {"schema": "jqsched.jobs/1", "jobs": []})


def test_json_comes_in_portions(full: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lists, "PORTION", 2)
    whole = json.loads(full.run("jobs", "-a", "--json")[1])
    assert len(whole["jobs"]) == 9


def test_the_schedulers_limits_give_reasons(full: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["status"]["max_running"] = 1
    shown = {job["id"]: job for job in json.loads(full.run("jobs", "--json")[1])["jobs"]}
    assert shown[7]["reasons"] == ["slots: 1 of 1 taken"]
    scheduler.answers["status"] |= {"max_running": 9, "drained": True}
    assert json.loads(full.run("jobs", "7", "--json")[1])["jobs"][0]["reasons"] == ["the queue is drained"]


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{id} {name}", "2 build"),
        ("{id:>4}|{name:<8}|{name:.2}", "   2|build   |bu"),
        ("{returncode}{{}}", "3{}"),
        ("{queue}|{queue:>3}|{t_run:.1f}", "|   |1795247114.0"),
        ("{exception.type}|{success}|{exception.occurred}", "|False|False"),
        ("{id}\\t{cwd}", "2\t/home/user"),
        ("{dependencies}|{reasons}", "|"),
        ("plain", "plain"),
        ("{id.f58} {id.hex}|{id.kvs:>26}", "ƒ3 0x2|   job.0000.0000.0000.0002"),
        ("{status_abbrev} {result_abbrev:>3} {state_single}", "F   F I"),
        ("{inactive_reason}|{contextual_info}|{contextual_time:.6f}", f"Exit 3|{os.uname().nodename}|0.000002"),
        ("{annotations.sched.resource_summary}|{sched.resource_summary:>8}|{user.x.y:>3}|", "1 core|  1 core|   |"),
        ("{queue:>3h}|{ntasks:>3h}|{t_remaining:>5.1fh}|{dependencies:h}|{success:h}", "  -|  1|    -|-|False"),
        ("{returncode:h}|{queue:h}|{duration:h}", "3|-|-"),
        ("{t_run!D}|{t_run!d:%Y}|{t_run!d:%Y::>6}|{t_run!d:%b%d %H}", f"{RAN:%FT%T}|{RAN:%Y}|  {RAN:%Y}|{RAN:%b%d %H}"),
        ("{t_remaining!D:>3}|{t_remaining!d:%Y::>3}|{t_remaining!d:%Y::>3h}|{t_remaining!F:h}|", "   |   |  -|-|"),
        ("{runtime!F}|{runtime!H}|{duration!F:>3h}|{duration!H}|", "0s|0:00:00|  -||"),
    ],
)
def test_a_format(full: SpoolMaker, template: str, wanted: str):
    assert full.run("jobs", "2", "--format", template) == (0, f"{wanted}\n", "")


@pytest.mark.parametrize(
    "template",
    [
        "{",
        "{}",
        "{0}",
        "{nope}",
        "{id.real}",
        "{name[0]}",
        "{name.__class__}",
        "{id!r}",
        "{id:>99999}",
        "{id:{name}}",
        "{name:d}",
        "{exception.args}",
        "{id.f59}",
        "{id.orig}",
        "{annotations}.{annotations.sched[0]}",
        "{sched}",
        "{user.__class__.x y}",
        "{status_abbrev.x}",
        "{t_run!D:d:d}",
        "{t_run!d:%Y::99999}",
        "{t_run!s}",
        "{t_run!Dx}",
        "{id:hh}",
    ],
)
def test_a_format_reaches_nothing_but_keys(full: SpoolMaker, template: str):
    code, out, err = full.run("jobs", "2", "--format", template)
    assert (code, out) == (2, "")
    assert err.startswith("jqsched: --format")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--constraint", "{"], "--constraint: not JSON: "),
        (["--constraint", "[]"], "--constraint: constraint object invalid: constraint must be JSON object"),
        (["--constraint", '{"foo": []}'], "--constraint: constraint object invalid: unknown constraint operator: foo"),
        (["--constraint", "[" * 100_000], "--constraint: not JSON: "),
        (["--sort", "nope"], "--sort: 'nope' is no key to sort by; there are t_depend, "),
        (["--sort", "id,"], "--sort: '' is no key to sort by"),
        (["--sort", "annotations"], "--sort: 'annotations' is no key to sort by"),
        (["--user", "no such user"], "'no such user' is no user"),
        (["-A", "-u", "0"], "--all-users and --user: only one of them"),
        (["a/b\tc"], "names no job"),
        (["0x0"], "'0x0' is no job id (an integer)"),
        (["0x" + "f" * 16], "is no job id (an integer)"),
    ],
)
def test_what_cannot_be_asked_for_is_said(full: SpoolMaker, arguments: list[str], said: str):
    code, out, err = full.run("jobs", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_list_is_as_job_list_gives_it(full: SpoolMaker):
    """The command and the module answer the same questions in the same way."""
    with Handle(full.root) as handle:
        for filters in ("pending", "running,failed", "inactive", "canceled,completed,depend"):
            jobs = JobList(handle, filters=[filters], user="all", name="build").jobs()
            assert ids(full, "--filter", filters, "--name", "build") == [job.id for job in jobs]
            jobs = JobList(handle, filters=[filters], user="all", max_entries=2).jobs()
            assert ids(full, "--filter", filters, "--count", "2") == [job.id for job in jobs]


def test_a_format_escapes_what_acts_on_a_terminal(spool: SpoolMaker):
    spool.add(*QUEUED, cwd="/a\x1b[2J")
    assert spool.run("jobs", "--format", "{cwd}")[1] == "/a\\x1b[2J\n"


# --- the fast way is the same way --------------------------------------------------------------------------------

TIMES = st.one_of(st.just(0), st.integers(1, 2_000_000_000_000_000))
SPECS = st.builds(
    Spec,
    command=st.just(("true",)),
    name=st.text(min_size=1),
    cwd=st.text(),
    cores=st.integers(1, 9),
    tasks=st.integers(1, 9),
    nodes=st.integers(1, 3),
    time_limit_us=st.one_of(st.none(), st.integers(1, 10**12)),
    jobspec=st.one_of(st.none(), st.just({"attributes": {"system": {"queue": "q"}}})),
)
JOBS = st.builds(
    Job,
    id=st.integers(1, 2**63 - 1),
    spec=SPECS,
    userid=st.integers(0, 3),
    state=st.sampled_from(State),
    priority=st.integers(-1, 2**32 - 1),
    waits=st.one_of(st.just(()), st.just(("after-success=5",))),
    attempt=st.integers(1, 5),
    fatal=st.booleans(),
    exception=st.one_of(st.none(), st.builds(JobException, st.text(), st.integers(0, 7), st.text())),
    status=st.one_of(st.none(), st.integers(0, 65535)),
    **{
        f"t_{name}_us": TIMES
        for name in ["submit", "depend", "priority", "sched", "run", "start", "cleanup", "inactive"]
    },
)


@given(JOBS, st.lists(st.text(), max_size=2), TIMES)
def test_the_fast_writer_writes_what_job_info_says(job: Job, reasons: list[str], now_us: int):
    for same in (job, evolve(job, exception=None, waits=(), spec=evolve(job.spec, time_limit_us=None, jobspec=None))):
        line = writer(lambda userid: f"user{userid}", now_us, "vm")(same, reasons)
        shown = job_info(same, username=f"user{same.userid}", now_us=now_us, reasons=reasons, hostname="vm")
        assert line == json.dumps(shown, separators=(",", ":"))


def test_a_table_of_many_is_written_as_it_is_read(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    """Portion by portion; columns get wider where a later one needs it."""
    for _ in range(5):
        spool.add(*COMPLETED)
    whole = spool.run("jobs", "-a")[1]
    portions: list[int] = []
    write = lists._write_plain

    def spy(rows: Sequence[lists.Row], widths: Sequence[int]) -> None:
        portions.append(len(rows))
        write(rows, widths)

    monkeypatch.setattr(lists, "_write_plain", spy)
    monkeypatch.setattr(lists, "PORTION", 2)
    assert spool.run("jobs", "-a")[1] == whole
    assert portions == [3, 2, 1]
