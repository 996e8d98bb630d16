"""Arrays on the command line, with no scheduler: `42` is the array, `42_7` an element, a list shows it in one line."""

import json
from pathlib import Path

import pytest

from jqsched.adapters.store.reader import StoreReader
from tests.cli.conftest import SpoolMaker


@pytest.fixture
def sweep(spool: SpoolMaker) -> SpoolMaker:
    """Job 1 by itself, the array 2 of ten, and job 12."""
    assert spool.run("submit", "--name", "alone", "--", "true")[0] == 0
    assert spool.run("submit", "--array", "1-19:2%3", "--name", "sweep", "--", "echo", "{index}")[:2] == (0, "2\n")
    assert spool.run("submit", "--name", "last", "--", "true")[:2] == (0, "12\n")
    return spool


def table(spool: SpoolMaker, *arguments: str) -> list[list[str]]:
    code, out, err = spool.run("jobs", *arguments)
    assert code == 0, err
    return [line.split() for line in out.splitlines()[1:]]


def states(spool: SpoolMaker) -> str:
    """The first letters of the states of all jobs, by id."""
    reader = StoreReader(str(spool.root))
    try:
        jobs = sorted([*reader.active(), *reader.finished()], key=lambda job: job.id)
    finally:
        reader.close()
    return "".join((job.result.name if job.result else job.state.name)[0] for job in jobs)


def test_a_list_shows_an_array_in_one_line(sweep: SpoolMaker):
    """Elements that are alike; what differs apart, and all by themselves when asked."""
    assert table(sweep) == [
        ["1", "alone", "SCHED", "16", "-"],
        ["2_[1-19:2]", "sweep", "SCHED", "16", "-", "10", "jobs"],
        ["12", "last", "SCHED", "16", "-"],
    ]
    expanded = table(sweep, "--expand")
    assert [row[0] for row in expanded] == ["1", *(f"2_{index}" for index in range(1, 20, 2)), "12"]
    assert [row[0] for row in table(sweep, "2_[3-6]", "--expand")] == ["2_3", "2_5"]
    assert sweep.run("jobs", "2", "--ids")[1].split() == [str(id_) for id_ in range(2, 12)]
    assert len(json.loads(sweep.run("jobs", "--json")[1])["jobs"]) == 12
    sweep.run("cancel", "2_[9-11]")
    rows = [row[:3] for row in table(sweep, "-a", "2")]
    assert rows == [["2_[1,3,5,…]", "sweep", "SCHED"], ["2_[9-11:2]", "sweep", "CANCELED"]]


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["2_1"], "SCSSSSSSSSSS"),
        (["2_[3,15-99]"], "SSCSSSSSCCCS"),
        (["2"], "SCCCCCCCCCCS"),
        (["sweep", "12"], "SCCCCCCCCCCC"),
        (["5"], "SSSSCSSSSSSS"),
    ],
)
def test_which_elements_are_canceled(sweep: SpoolMaker, words: list[str], after: str):
    """By index, all of them, by name, and by the id of one."""
    assert sweep.run("cancel", *words)[0] == 0
    assert states(sweep) == after


def test_what_is_left_of_an_array_is_meant(sweep: SpoolMaker):
    """Of an array's id those elements that a command can change; when none is left, that is said."""
    sweep.run("cancel", "2_1", "2_3")
    code, _, err = sweep.run("hold", "2")
    assert (code, "job 2:" in err, "job 4: is held" in err or "job 4" in err) == (0, False, True)
    sweep.run("cancel", "2")
    code, _, err = sweep.run("cancel", "2")
    assert (code, err) == (5, "jqsched: job 2: job is finished\n")
    assert sweep.run("purge", "2")[2] == "jqsched: purged 10 job(s)\n"
    assert sweep.run("show", "2_1")[0] == 4


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("2_2", "array 2 has no such element: its indexes are 1-19:2"),
        ("2_[20-30]", "array 2 has no such element: its indexes are 1-19:2"),
        ("1_0", "job 1 is no array: it has no elements"),
        ("99_0", "job 99: unknown (never given out, or purged)"),
    ],
)
def test_elements_that_are_none(sweep: SpoolMaker, word: str, why: str):
    """Said in a line."""
    assert sweep.run("cancel", word) == (4, "", f"jqsched: {why}\n")


def test_a_command_about_one_job_chooses_an_element(sweep: SpoolMaker):
    """And says which."""
    code, out, err = sweep.run("show", "2")
    assert (code, err) == (0, "jqsched: 2 is an array of 10 jobs; this is the first that waits, 2_1 (job 2)\n")
    assert "array        2_1, one of 10" in out
    sweep.run("cancel", "2_1")
    assert "2_3 (job 3)" in sweep.run("explain", "2")[2]
    assert sweep.run("show", "2_19")[1].splitlines()[0].split() == ["job", "11", "sweep"]
    assert json.loads(sweep.run("show", "2_19", "--json")[1])["jobspec"]["attributes"]["user"]["jqsched"]["array"] == {
        "id": 2, "index": 19, "count": 10, "limit": 3,
    }  # fmt: skip


def test_dependencies_on_an_array_are_explained(sweep: SpoolMaker):
    """With how many elements are awaited."""
    assert sweep.run("submit", "--after", "sweep", "--", "true")[0] == 0
    sweep.run("cancel", "1", "12")
    assert "dependency after-success=sweep→2_*: 10 of 10 are not over" in sweep.run("explain", "13")[1]
    sweep.run("cancel", "2_1")
    assert states(sweep)[-1] == "F"


def test_values_from_files(spool: SpoolMaker, tmp_path: Path):
    """A line each, or an item each of a JSON list; the lines travel with the job file."""
    (tmp_path / "lines").write_text("a b\n\nc\n")
    (tmp_path / "list.json").write_text('[{"x": 1}, {"x": "two"}]')
    of_list = ("--from-json", str(tmp_path / "list.json"), "--array-limit", "1", "--max-failures", "2")
    assert spool.run("submit", "--each-line", str(tmp_path / "lines"), "--", "echo", "<{value}>")[:2] == (0, "1\n")
    assert spool.run("submit", *of_list, "--", "echo", "{x}{y}")[:2] == (0, "4\n")
    reader = StoreReader(str(spool.root))
    commands = {job.id: job.spec.command[1] for job in reader.active()}
    reader.close()
    assert commands == {1: "<a b>", 2: "<>", 3: "<c>", 4: "1{y}", 5: "two{y}"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--array", "3-1"], "submit: array: '3-1' at character 1: the range ends before it begins: 3 to 1"),
        (["--array", "0-99999"], "submit: array: would be 100000 elements: at most 10000 are possible"),
        (["--from-json", "/dev/null"], "submit: /dev/null: not JSON"),
        (["--each-line", "/nowhere"], "submit: /nowhere: No such file or directory"),
        (["--each-line", "/dev/null"], "submit: each: must not be empty"),
        (["--array-limit", "3"], "submit: array_limit: is for arrays, and neither array nor each is there"),
    ],
)
def test_what_is_wrong_is_said(spool: SpoolMaker, options: list[str], why: str):
    """With exit code 3."""
    code, out, err = spool.run("submit", *options, "--", "true")
    assert (code, out) == (3, "")
    assert f"jqsched: {why}" in err
