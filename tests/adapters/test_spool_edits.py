"""The spool directory: job files that are edited, and those that come by command."""

import os

import pytest

from jqsched.ports import Edit, ScanResult
from tests.adapters.spool_case import GOOD, leftovers, make_folder

# ---- editing --------------------------------------------------------------------------------------------------------


def test_a_file_nobody_touched_is_not_told(case):
    case.take()
    assert case.spool.edits([1]) == []
    assert case.spool.own_change(1)


def test_an_edit_is_told_once(case):
    path = case.take()
    text = '{"command": ["true"], "urgency": 20}'
    path.write_text(text)
    assert not case.spool.own_change(1)
    (edit,) = case.spool.edits([1])
    assert (edit.id, edit.text, edit.errors) == (1, text, "")
    assert edit.draft.urgency == 20
    assert case.spool.edits([1]) == []
    assert case.spool.own_change(1)


def test_an_edit_keeps_the_jobs_name(case):
    path = case.take('{"script": "old"}', name="nightly")
    path.write_text('{"script": "new"}')
    assert case.spool.edits([1])[0].draft.spec.name == "nightly"


def test_a_bad_edit_is_told_once_with_all_errors(case):
    case.take().write_text('{"command": [], "cores": 0}')
    (edit,) = case.spool.edits([1])
    assert (edit.draft, len(edit.errors.splitlines())) == (None, 2)
    assert case.spool.edits([1]) == []


def test_a_reason_is_removed_by_the_next_good_edit(case):
    path = case.take()
    case.spool.complain(1, "cores: too many")
    assert (case.root / "jobs" / "1.json.reason").read_text() == "cores: too many\n"
    path.write_text('{"command": ["new"]}')
    (edit,) = case.spool.edits([1])
    case.spool.accepted(1, edit.text)
    assert case.files("jobs") == ["1.json"]


def test_a_reason_is_removed_when_the_edit_is_taken_back(case):
    path = case.take()
    path.write_text("[]")
    case.spool.edits([1])
    case.spool.complain(1, "bad")
    path.write_text(GOOD)
    assert case.spool.edits([1]) == []
    assert case.files("jobs") == ["1.json"]


def test_a_half_written_edit_is_left_until_it_is_whole(case):
    path = case.take()
    path.write_text(GOOD[:9])
    assert case.spool.edits([1]) == []
    assert case.spool.edits_again_us is not None
    path.write_text('{"command": ["new"]}')
    assert case.spool.edits([1])[0].draft.spec.command == ("new",)
    assert case.spool.edits_again_us is None


def test_an_edit_that_is_open_for_writing_is_not_judged(case):
    path = case.take()
    with path.open("w") as writer:
        writer.write('{"command": ["true"]')
        writer.flush()
        for _ in range(3):
            assert case.spool.edits([1]) == []
            case.later()
        writer.write(', "urgency": 3}')
    (edit,) = case.spool.edits([1])
    assert edit.draft is not None
    assert edit.draft.urgency == 3


def test_a_half_written_edit_that_stays_so_is_bad(case):
    case.take().write_text(GOOD[:9])
    case.spool.edits([1])
    case.later()
    (edit,) = case.spool.edits([])  # its time is up: no request is needed
    assert edit.errors.startswith("not JSON at byte")


def test_a_deleted_file_is_told_once_and_not_at_once(case):
    """Some editors move the old file away before they write the new one."""
    path = case.take()
    path.unlink()
    assert case.spool.edits([1]) == []
    case.later(600_000)
    assert case.spool.edits([]) == [Edit(1)]
    assert case.spool.edits([1]) == []
    assert case.spool.own_change(1)


def test_an_editor_that_moves_the_file_away_first_deletes_nothing(case):
    path = case.take()
    path.rename(path.with_suffix(".json~"))
    assert case.spool.edits([1]) == []
    path.write_text('{"command": ["new"]}')
    assert case.spool.edits([1])[0].draft.spec.command == ("new",)
    case.later()
    assert case.spool.edits([]) == []


def test_a_file_that_a_power_cut_left_empty_is_restored(case):
    path = case.take()
    path.write_text("")
    assert case.spool.edits([1]) == []
    case.later()
    assert case.spool.edits([]) == []
    assert path.read_text() == GOOD
    assert case.spool.own_change(1)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), make_folder])
def test_what_is_put_in_a_job_files_place_is_not_followed(case, make):
    path = case.take()
    path.unlink()
    make(path)
    assert "only regular files are read" in case.spool.edits([1])[0].errors
    assert case.spool.edits([1]) == []


def test_edits_made_while_nobody_ran_are_told(case):
    case.take().write_text('{"command": ["new"]}')
    case.take(id_=2)
    case.take(id_=3).unlink()
    case.restart()
    assert leftovers(case, live=(1, 2, 3), next_id=4) == ScanResult()
    assert [(edit.id, edit.draft is None) for edit in case.spool.edits([1, 2, 3], at_start=True)] == [
        (1, False),
        (3, True),
    ]


def test_a_scan_of_job_files_goes_on_where_it_stopped(case):
    for id_ in range(1, 8):
        case.take(id_=id_)
    (case.root / "jobs" / "2.json").write_text("[]")
    (case.root / "jobs" / "6.json").unlink()
    found = case.spool.scan_jobs(3)
    while case.spool.is_scanning_jobs:
        found += case.spool.scan_jobs(3)
    assert sorted(found) == [2, 6]
    assert [edit.id for edit in case.spool.edits(found)] == [2]


def test_jobs_that_are_over_leave_nothing(case):
    case.take()
    case.spool.complain(1, "bad")
    case.spool.remove([1, 99])
    assert case.files("jobs") == []
    del case.known[1]
    assert case.spool.edits([1]) == []
    assert case.spool.own_change(1)
    assert case.spool.scan_jobs(10) == []


# ---- jobs that come by command --------------------------------------------------------------------------------------


def test_a_job_file_is_written_for_a_job_that_came_by_command(case):
    case.spool.write(5, GOOD)
    assert (case.root / "jobs" / "5.json").read_text() == GOOD
    assert (case.root / "jobs" / "5.json").stat().st_mode & 0o777 == 0o600
    assert case.spool.own_change(5)


@pytest.mark.parametrize(("there", "aside"), [("", []), ("mine", ["5.json", "5.json.reason"])])
def test_what_lies_in_its_place_is_not_lost(case, there, aside):
    (case.root / "jobs" / "5.json").write_text(there)
    case.spool.write(5, GOOD)
    assert (case.root / "jobs" / "5.json").read_text() == GOOD
    assert case.files("rejected") == aside


def test_texts_are_checked_and_written_as_files_are(case):
    draft = case.spool.parse('{"command": ["true"], "urgency": 3}')
    assert case.spool.parse(case.spool.write_out(draft)) == draft
    assert (
        case.spool.parse('{"urgency": 99}') == "urgency: must be an integer 0…31, not 99\ncommand: missing (or script)"
    )
    assert case.spool.parse('{"script": "x"}', "nightly").spec.name == "nightly"
