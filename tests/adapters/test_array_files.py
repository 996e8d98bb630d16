"""Job files of arrays: how they are read, and the run of ids that each takes."""

import json
import os
from pathlib import Path

import pytest

from jqsched.adapters.jobfile import BadFile, read_job
from jqsched.adapters.jobfile.values_file import BYTES_MAX
from jqsched.core.job import Array, Draft, Element
from jqsched.ports import Room
from tests.adapters.spool_case import AS_ROOT, Case, leftovers


def text(**entries: object) -> str:
    return json.dumps({"command": ["echo", "{index}"], "name": "sweep", **entries})


def read(folder: str = "/tmp", owner: int | None = None, **entries: object) -> Draft:
    draft = read_job(text(**entries).encode(), ".json", folder, owner=owner)
    assert isinstance(draft, Draft), draft
    return draft


def errors(cwd: str = "/tmp", owner: int | None = None, **entries: object) -> tuple[str, ...]:
    refused = read_job(text(**entries).encode(), ".json", cwd, owner=owner)
    assert isinstance(refused, BadFile)
    return refused.errors


def test_each_element_is_a_job_file_of_its_own():
    """With its placeholders filled in, and in memory once what is the same."""
    draft = read(array="2-4%2", output="{index}-{id}.log", env={"A": "B"}, cores=2, max_failures=5)
    assert [spec.command for spec in draft.elements] == [("echo", "2"), ("echo", "3"), ("echo", "4")]
    assert [spec.output for spec in draft.elements] == ["2-{id}.log", "3-{id}.log", "4-{id}.log"]
    assert [spec.element for spec in draft.elements] == [Element(Array(0, 3, 2, 5), index) for index in (2, 3, 4)]
    assert (draft.spec, draft.ids, draft.elements[2].cores) == (draft.elements[0], 3, 2)
    assert draft.elements[0].env is draft.elements[2].env


def test_all_elements_have_one_name():
    """That of the first, where the file states none and the program is filled in."""
    draft = read_job(b'{"each": ["a", "b"], "command": ["./run-{value}"]}', ".json", "/")
    assert isinstance(draft, Draft)
    assert [spec.name for spec in draft.elements] == ["run-a", "run-a"]


def test_a_script_is_not_filled_in():
    """It has the variables."""
    draft = read_job(b'{"array": "0-1", "script": "echo {index} ${JQSCHED_ARRAY_INDEX}"}', ".json", "/")
    assert isinstance(draft, Draft)
    assert draft.elements[1].command[-1] == "echo {index} ${JQSCHED_ARRAY_INDEX}"


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ({"each": ["a", "b/"], "output": "x{value}"}, ("element 1: output: must be the path of a file, not 'xb/'",)),
        ({"each": ["a", ""], "command": ["{value}"]}, (
            "element 1: command[0]: must not be empty: it names the program",
        )),
        ({"array": "0-3", "outptu": "x"}, ("outptu: unknown key; did you mean output?",)),
        ({"array": "0-3", "output": "{{index}}"}, (
            "output: may contain {id}, {name}, {attempt} and {rank} and no other braces: '{index}'",
        )),
        ({"array_limit": 3}, (
            "array_limit: is for arrays, and neither array nor each is there", "array_limit: unknown key",
        )),
        ({"array": "0-3", "version": 1}, ("array: only in the short form of a job file",)),
    ],
)  # fmt: skip
def test_what_is_wrong(entries: dict[str, object], wrong: tuple[str, ...]):
    """With the first element that is wrong, or as of any job file."""
    assert errors(**entries) == wrong


def test_a_jobspec_cannot_say_that_it_is_an_element():
    """Only the scheduler makes elements."""
    jobspec = {
        "version": 1,
        "resources": [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": ["true"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {}, "user": {"jqsched": {"array": {"id": 1, "index": 0, "count": 3}}}},
    }
    refused = read_job(json.dumps(jobspec).encode(), ".json", "/")
    assert isinstance(refused, BadFile)
    assert refused.errors == ("attributes.user.jqsched.array: is given by the scheduler, to an array's elements",)


# ---- values files -------------------------------------------------------------------------------------------------


def test_values_come_from_a_file(tmp_path: Path):
    """A line each, without its end; relative to the job's cwd."""
    (tmp_path / "names.txt").write_text("ann\nbob c\n\nlast")
    draft = read(str(tmp_path), each={"file": "names.txt"}, command=["x", "{value}"])
    assert [spec.command[1] for spec in draft.elements] == ["ann", "bob c", "", "last"]
    draft = read("/", cwd=str(tmp_path), each={"file": "names.txt"}, command=["x"])
    assert draft.ids == 4


def test_values_files_that_are_refused(tmp_path: Path):
    """Each in one line that names the file."""
    (tmp_path / "nul").write_bytes(b"a\n\0")
    (tmp_path / "latin").write_bytes(b"a\n\xe4")
    (tmp_path / "link").symlink_to("nul")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").write_text("")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(BYTES_MAX + 1)
    told = {
        name: errors(str(tmp_path), each={"file": name})
        for name in ("none", "nul", "latin", "link", "fifo", "empty", "large", ".")
    }
    assert told == {
        "none": ("each.file: 'none' cannot be read: No such file or directory",),
        "nul": ("each.file: 'nul' contains NUL at byte 2",),
        "latin": ("each.file: 'latin' is not UTF-8 at byte 2",),
        "link": ("each.file: 'link' cannot be read: Too many levels of symbolic links",),
        "fifo": ("each.file: 'fifo' is no regular file",),
        "empty": ("each: the file has no lines",),
        "large": ("each.file: 'large' is larger than 64 MiB",),
        ".": ("each.file: '.' is no regular file",),
    }


@AS_ROOT
def test_only_the_owners_own_values_are_read(tmp_path: Path):
    """The scheduler is root, the job is another user's: no user is shown root's files."""
    (tmp_path / "secret").write_text("of root")
    refused = errors(str(tmp_path), 65534, each={"file": "secret"})
    assert refused == (
        "each.file: 'secret' belongs to user 0, and the job to user 65534: only the owner's own files are read",
    )


# ---- ids ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def case(tmp_path: Path) -> Case:
    root = tmp_path / "spool"
    root.mkdir(mode=0o700)
    return Case(root)


def test_the_next_file_has_the_id_behind_the_run(case: Case):
    """In the same scan, in a later one, and in the one of a start that takes up both."""
    case.drop("a.json", text(array="0-9"))
    case.drop("b.json")
    assert [(taken.id, taken.next_id) for taken in case.intake().taken] == [(1, 11), (11, 12)]
    case.drop("c.json")
    assert [taken.id for taken in case.intake(1).taken] == [12]
    case.restart()
    assert [(taken.id, taken.draft.ids) for taken in leftovers(case).taken] == [(1, 10), (11, 1), (12, 1)]


@pytest.mark.parametrize(("array", "ids"), [("0-9", [1, 11]), ("0-8", [1, 11]), ("0-10", [11, 12])])
def test_a_leftover_that_has_another_count_now_gets_a_run_of_its_own(case: Case, array: str, ids: list[int]):
    """Where there is no room below the next file's id."""
    case.drop("a.json", text(array="0-9"))
    case.drop("b.json")
    case.intake()
    case.restart()
    (case.root / "jobs" / "1.json").write_text(text(array=array))
    found = leftovers(case)
    assert sorted(taken.id for taken in found.taken) == ids
    taken = [(taken.id, taken.next_id) for taken in sorted(found.taken, key=lambda taken: taken.id)]
    assert taken[0][1] <= taken[1][0], "runs overlap"
    assert case.files("jobs") == sorted(f"{id_}.json" for id_ in ids)


def test_an_array_waits_whole_until_there_is_room(case: Case):
    """And what is behind it waits, too."""
    case.drop("a.json")
    case.drop("b.json", text(array="0-4"))
    case.drop("c.json")
    case.spool.ring()
    found = case.spool.intake(1, 100, Room(4, most=10))
    assert ([taken.id for taken in found.taken], found.more, found.awaits_room) == ([1], True, 5)
    found = case.spool.intake(2, 100, Room(4, most=10))
    assert (found.taken, found.awaits_room) == ((), 5)
    found = case.spool.intake(2, 100, Room(6, most=10))
    assert [(taken.id, taken.next_id) for taken in found.taken] == [(2, 7), (7, 8)]


def test_an_array_for_which_there_is_never_room_is_refused(case: Case):
    """With the number."""
    case.drop("a.json", text(array="0-10"))
    case.spool.ring()
    found = case.spool.intake(1, 100, Room(10, most=10))
    assert found.refused == (("a.json", "array: 11 elements; queue_max is 10"),)


def test_a_step_ends_when_arrays_have_brought_enough(case: Case):
    """Not each of many arrays in one commit."""
    for name in "abc":
        case.drop(f"{name}.json", text(array="0-99"))
    found = case.intake(1, 150)
    assert ([taken.id for taken in found.taken], found.more) == ([1, 101], True)
    assert [taken.id for taken in case.spool.intake(201, 150).taken] == [201]
