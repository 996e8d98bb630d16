"""The spool directory: whose it is, dropping, and files that are still being written or that race with their owner."""

import errno
import json
import os
from collections.abc import Iterator

import pytest

from jqsched.adapters.jobfile import owned as trusted
from jqsched.adapters.spool import SpoolRefused
from jqsched.adapters.spool import folder as folders
from jqsched.adapters.spool import inbox as drops
from jqsched.adapters.spool.folder import Folder
from jqsched.adapters.spool.rejects import Rejects
from jqsched.adapters.spool.write_stability import QUIET_US
from jqsched.ports import PortError, ScanResult
from tests.adapters.spool_case import GOOD, Case, between

# ---- the directory --------------------------------------------------------------------------------------------------


def test_a_missing_spool_is_made_for_its_owner_alone(case):
    assert case.root.stat().st_mode & 0o7777 == 0o700
    assert sorted(os.listdir(case.root)) == ["archive", "drop", "jobs", "output", "rejected"]


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o700, False), (0o755, False), (0o1733, True), (0o777, True), (0o722, True)]
)
def test_who_may_write_to_a_spool(tmp_path, caplog, mode, refused):
    root = tmp_path / "spool"
    root.mkdir()
    root.chmod(mode)
    if refused:
        with pytest.raises(SpoolRefused, match="chmod 0700"):
            Case(root)
    else:
        Case(root).spool.close()
    assert ("may be read by others" in caplog.text) == (mode == 0o755)


def test_drop_is_a_zone_of_its_own_in_every_mode(case):
    """What is copied into it with `rsync --delete` cannot take the store along; removed while all runs, it is made."""
    assert (case.root / "drop").stat().st_mode & 0o7777 == 0o700
    case.drop("drop/a.json")
    case.drop("b.json")
    assert [(taken.id, taken.name) for taken in case.intake().taken] == [(1, "b.json"), (2, "a.json")]
    (case.root / "drop").rmdir()
    (case.root / "archive").rmdir()
    case.spool.check_alive()
    case.drop("drop/c.json")
    assert [taken.name for taken in case.intake(3).taken] == ["c.json"]
    case.spool.check_alive()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_folders_that_nothing_depends_on_may_be_removed_or_replaced(case, is_replaced: bool):
    """As by a user who tidies up, or rotates them. Seen to end the scheduler."""
    for name in ("output", "rejected"):
        if is_replaced:
            (case.root / name).rename(case.root.with_name(name))
            (case.root / name).mkdir(mode=0o700)
        else:
            (case.root / name).rmdir()
    case.spool.check_alive()
    case.drop("a.json", '{"name": 1}')
    assert [name for name, _ in case.intake().refused] == ["a.json"]
    assert (case.root / "rejected/a.json").exists()
    assert (case.root / "output").is_dir()


def test_the_folder_for_bad_files_is_made_when_it_is_needed(case):
    (case.root / "rejected").rmdir()
    case.drop("a.json", '{"name": 1}')
    assert [name for name, _ in case.intake().refused] == ["a.json"]
    assert sorted(os.listdir(case.root / "rejected")) == ["a.json", "a.json.reason"]
    case.spool.check_alive()


def test_a_folder_that_others_may_write_to_is_not_taken_for_one_of_ours(case):
    (case.root / "rejected").rmdir()
    (case.root / "rejected").mkdir()
    (case.root / "rejected").chmod(0o777)
    with pytest.raises(PortError, match="may be written to by others"):
        case.spool.check_alive()


def test_a_link_in_place_of_jobs_is_not_followed(tmp_path):
    (tmp_path / "spool").mkdir(mode=0o700)
    (tmp_path / "spool" / "jobs").symlink_to("/etc")
    with pytest.raises(PortError, match="opening the spool"):
        Case(tmp_path / "spool")


def test_a_replaced_spool_is_noticed(case):
    case.spool.check_alive()
    case.root.rename(case.root.with_name("gone"))
    with pytest.raises(PortError) as gone:
        case.spool.check_alive()
    assert gone.value.errno_ == errno.ENOENT
    case.root.mkdir()
    with pytest.raises(PortError) as replaced:
        case.spool.check_alive()
    assert replaced.value.errno_ == errno.ESTALE
    case.root.rmdir()
    case.root.with_name("gone").rename(case.root)


# ---- dropping -------------------------------------------------------------------------------------------------------


def test_files_are_taken_in_the_order_of_their_names(case):
    for name in ("c.json", "a.json", "b.json"):
        case.drop(name)
    harvest = case.intake(next_id=5)
    assert [(taken.id, taken.name, taken.text) for taken in harvest.taken] == [
        (5, "a.json", GOOD),
        (6, "b.json", GOOD),
        (7, "c.json", GOOD),
    ]
    assert case.files("jobs") == ["5.json", "6.json", "7.json"]
    assert (harvest.more, harvest.again_us, case.dropped()) == (False, None, [])


def test_a_step_takes_so_many_and_goes_on_where_it_stopped(case, monkeypatch):
    for i in range(5):
        case.drop(f"{i}.json")
    assert [taken.name for taken in case.intake(1, 2).taken] == ["0.json", "1.json"]
    monkeypatch.setattr(Folder, "scan", lambda self: pytest.fail("scanned again"))
    harvest = case.spool.intake(3, 2)
    assert [taken.name for taken in harvest.taken] == ["2.json", "3.json"]
    assert harvest.more
    harvest = case.spool.intake(5, 2)
    assert [taken.name for taken in harvest.taken] == ["4.json"]
    assert not harvest.more


def test_very_many_names_are_listed_in_portions(case, monkeypatch):
    """Each file is taken once, by name within its portion, whatever else is there and whatever comes meanwhile."""
    monkeypatch.setattr(drops, "LISTED_AT_ONCE", 4)
    names = [case.drop(f"{at:02}.json").name for at in range(20)]
    for at in range(9):
        case.drop(f"note{at}.txt")
    harvests = [case.intake(1, 3)]
    case.drop("late.json")
    case.spool.ring("late.json", True)
    while harvests[-1].more:
        harvests.append(case.spool.intake(1, 3))
    steps = [[taken.name for taken in harvest.taken] for harvest in harvests]
    assert sorted(name for step in steps for name in step) == [*names, "late.json"]
    assert all(step == sorted(step) for step in steps)
    assert case.spool.intake(100, 100) == ScanResult()


def test_what_is_gone_is_forgotten_after_the_last_portion(case, monkeypatch):
    """What is there is not: a file that was left where it is is not told of again."""
    monkeypatch.setattr(drops, "LISTED_AT_ONCE", 2)
    for name in ("left.json", *(f"{at}.json" for at in range(7))):
        case.drop(name)
    monkeypatch.setattr(Rejects, "set_aside", _refuse_to_set_aside)
    case.drop("left.json", "}")
    case.later()

    def round_() -> list[str]:
        told, harvest = [], case.intake(1, 100)
        while harvest.more:
            told += [name for name, _ in harvest.refused]
            harvest = case.spool.intake(100, 100)
        return told + [name for name, _ in harvest.refused]

    assert round_() == ["left.json"]
    assert round_() == []
    zone, _ = case.spool._zones
    assert list(zone._left) == ["left.json"]
    (case.root / "left.json").unlink()
    assert round_() == []
    assert not zone._left


def _refuse_to_set_aside(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_without_a_bell_nothing_is_looked_at(case):
    assert not case.intake().more
    case.drop("a.json")
    assert case.spool.intake(1, 10) == ScanResult()
    assert len(case.intake().taken) == 1


def test_a_bell_during_a_scan_is_not_forgotten(case, monkeypatch):
    scan = Folder.scan

    def scan_and_ring(self: Folder) -> Iterator[tuple[str, bool]]:
        found = list(scan(self))
        case.drop("late.json")
        case.spool.ring("late.json", True)
        return iter(found)

    monkeypatch.setattr(Folder, "scan", scan_and_ring)
    assert case.intake().more
    monkeypatch.undo()
    assert [taken.name for taken in case.spool.intake(1, 10).taken] == ["late.json"]


@pytest.mark.parametrize(
    "name", [".a.json", "#a.json#", ".#a.json", "#a.json", "a.json.tmp", "a.json~", "a.json.swp", "a.json.partial",
             "jqsched.toml", "README", "jqsched.db"]
)  # fmt: skip
def test_other_names_are_ignored_and_stay(case, name):
    case.drop(name)
    assert case.intake() == ScanResult()
    assert case.dropped() == [name]


def test_the_same_file_twice_and_two_suffixes_are_two_jobs(case):
    case.drop("a.json")
    case.drop("a.toml", 'command = ["true"]')
    case.spool.ring("a.toml", True)
    assert [taken.id for taken in case.intake().taken] == [1, 2]
    case.drop("a.json")
    assert [taken.id for taken in case.intake(3).taken] == [3]


def test_ids_in_jobs_are_passed_over(case):
    (case.root / "jobs" / "1.json").write_text("mine")
    (case.root / "jobs" / "2.toml").write_text("mine")
    case.drop("a.json")
    case.drop("b.toml", 'command = ["true"]')
    case.later()
    assert [taken.id for taken in case.intake().taken] == [2, 3]
    assert (case.root / "jobs" / "1.json").read_text() == "mine"


def test_a_hard_link_to_an_own_file_is_a_drop(case, tmp_path):
    (tmp_path / "upload").write_text(GOOD)
    os.link(tmp_path / "upload", case.root / "a.json")
    assert len(case.intake().taken) == 1
    assert (tmp_path / "upload").read_text() == GOOD


def test_toml_is_kept_as_json(case):
    case.drop("a.toml", 'command = ["true"]\n[env]\nA = "1"\n')
    case.spool.ring("a.toml", True)
    (taken,) = case.intake().taken
    assert json.loads(taken.text) == {"command": ["true"], "env": {"A": "1"}}
    assert case.files("jobs") == ["1.json"]
    assert (case.root / "jobs" / "1.json").read_text() == taken.text


def test_no_renameat2_is_no_obstacle(case, monkeypatch):
    monkeypatch.setattr(folders, "_renameat2", None)
    (case.root / "jobs" / "1.json").write_text("mine")
    case.drop("a.json")
    case.drop("bad.json", "{}")
    harvest = case.intake()
    assert [taken.id for taken in harvest.taken] == [2]
    assert case.files("rejected") == ["bad.json", "bad.json.reason"]


# ---- written in place -----------------------------------------------------------------------------------------------


def test_a_half_written_file_is_left_and_taken_when_it_is_whole(case):
    (case.root / "a.json").write_text(GOOD[:9])
    harvest = case.intake()
    assert (harvest.taken, harvest.refused) == ((), ())
    assert 0 < harvest.again_us - case.clock.monotonic_us() <= QUIET_US
    (case.root / "a.json").write_text(GOOD)
    assert len(case.intake().taken) == 1
    assert case.spool.intake(2, 10).again_us is None


def test_a_half_file_that_stays_so_is_set_aside(case):
    (case.root / "a.json").write_text(GOOD[:9])
    case.intake()
    case.later(QUIET_US - 100_000)
    assert case.intake().refused == ()
    case.later(100_000)
    harvest = case.spool.intake(1, 10)  # not rung: its time is up
    assert harvest.refused[0][1].startswith("not JSON at byte 1")
    assert harvest.again_us is None


def test_a_file_that_goes_on_changing_is_left(case):
    for i in range(5):
        (case.root / "a.json").write_text("{" + " " * i)
        assert case.intake().refused == ()
        case.clock.ahead_us += QUIET_US * 3 // 4
    case.clock.ahead_us += QUIET_US // 4
    assert len(case.intake().refused) == 1


def test_a_clock_put_back_does_not_make_a_file_wait_for_ever(case):
    (case.root / "a.json").write_text("{")
    case.clock.wall_ahead_us = -(10**15)  # every file is of the future
    assert case.intake().refused == ()
    case.clock.ahead_us += QUIET_US
    assert len(case.spool.intake(1, 10).refused) == 1


def test_a_bad_file_that_was_renamed_in_is_judged_at_once(case):
    case.drop("a.json", "{")
    case.spool.ring("a.json", True)
    assert len(case.intake().refused) == 1


def test_a_bad_file_that_was_only_closed_may_be_opened_again(case):
    (case.root / "a.json").write_text("{")
    case.spool.ring("a.json", False)
    assert case.intake().refused == ()


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
def test_a_file_that_is_open_for_writing_is_not_judged_however_long_it_is(case, name):
    """Half a TOML file is a TOML file, and half a JSON file would be set aside."""
    whole = 'command = ["true"]\nurgency = 0\n' if name == "a.toml" else '{"command": ["true"], "urgency": 0}'
    with (case.root / name).open("w") as writer:
        writer.write(whole[:19])
        writer.flush()
        for _ in range(3):
            assert case.intake() == ScanResult(again_us=case.spool.intake(1, 10).again_us)
            case.later(6 * QUIET_US)
        assert case.spool.remarks() == [f"in the drop zone, and its writer still has it open: {name}"]
        assert (case.spool.fresh_remarks(), case.spool.fresh_remarks()) == (case.spool.remarks(), [])
        writer.write(whole[19:])
    case.later()
    (taken,) = case.intake().taken
    assert taken.draft.urgency == 0
    assert case.spool.remarks() == []


def test_a_file_that_nobody_has_open_need_not_wait(case):
    (case.root / "a.toml").write_text('command = ["true"]\n')
    assert len(case.intake().taken) == 1


def test_a_lease_of_somebody_else_delays_and_loses_nothing(case, monkeypatch):
    """Samba takes them; to open such a file would mean to wait for it."""
    case.drop("a.json")
    real = os.open

    def leased(name: str, *args: object, **more: object) -> int:
        if name == "a.json":
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", name)
        return real(name, *args, **more)

    monkeypatch.setattr(os, "open", leased)
    found = case.intake()
    assert (found.taken, found.refused, found.again_us is not None) == ((), (), True)
    case.later(6 * QUIET_US)
    assert case.intake().refused == ()
    assert case.spool.remarks() == ["in the drop zone, and another process holds a lease on it: a.json"]
    monkeypatch.undo()
    case.later()
    assert len(case.intake().taken) == 1


def test_what_was_hardly_meant_to_be_nothing_is_named_after_a_while(case):
    for name in ("X.JSON", "b.yaml", "c.json.tmp", ".hidden.x", "d~", "jqsched.toml", "policy.py", "drop/jqsched.toml"):
        (case.root / name).write_text(GOOD)
    (case.root / "work").mkdir()
    case.intake()
    assert case.spool.remarks() == []
    case.later(6 * QUIET_US)
    case.intake()
    assert case.spool.remarks({"policy.py"}) == [
        "in the drop zone, and no job file (NAME.json or NAME.toml): X.JSON, b.yaml, work"
    ]
    (case.root / "work").rmdir()
    (case.root / "X.JSON").rename(case.root / "b.yaml")
    case.intake()
    assert case.spool.remarks({"policy.py"}) == ["in the drop zone, and no job file (NAME.json or NAME.toml): b.yaml"]


def test_toml_waits_until_it_was_closed_or_quiet(case, monkeypatch):
    """For half a TOML file is a TOML file; that is, where it cannot be known who has it open."""
    monkeypatch.setattr(trusted, "is_written", lambda _: None)
    (case.root / "a.toml").write_text('command = ["true"]\n')
    assert case.intake().taken == ()
    case.spool.ring("a.toml", False)
    assert len(case.spool.intake(1, 10).taken) == 1
    (case.root / "b.toml").write_text('command = ["true"]\n')
    assert case.intake(2).taken == ()
    case.later()
    assert len(case.spool.intake(2, 10).taken) == 1


def test_a_file_that_vanishes_while_it_waits_is_forgotten(case):
    (case.root / "a.json").write_text("{")
    case.intake()
    (case.root / "a.json").unlink()
    case.later()
    case.spool.intake(1, 10)
    assert case.spool.intake(1, 10) == ScanResult()


# ---- races ----------------------------------------------------------------------------------------------------------


def test_a_file_that_vanishes_before_it_is_opened_is_no_error(case, monkeypatch):
    case.drop("a.json")
    between(monkeypatch, "read", (case.root / "a.json").unlink)
    assert case.intake() == ScanResult()


def test_a_file_that_vanishes_before_it_is_moved_is_no_error(case, monkeypatch):
    case.drop("a.json")
    between(monkeypatch, "move", (case.root / "a.json").unlink)
    assert case.intake() == ScanResult()
    case.drop("b.json")
    assert [taken.id for taken in case.intake().taken] == [1]


def test_a_file_that_is_replaced_after_it_was_read_is_read_again(case, monkeypatch):
    """Neither the old content nor the new is lost or taken for the other."""
    case.drop("a.json")
    between(monkeypatch, "move", lambda: case.drop("a.json", '{"command": ["new"]}'))
    assert case.intake().more
    (taken,) = case.spool.intake(2, 10).taken
    assert taken.draft.spec.command == ("new",)
    assert (taken.name, case.files("jobs")) == ("a.json", [f"{taken.id}.json"])


def test_a_file_that_is_replaced_by_a_bad_one_is_set_aside_from_jobs(case, monkeypatch):
    case.drop("a.json")
    between(monkeypatch, "move", lambda: case.drop("a.json", "[]"))
    case.intake()
    assert case.spool.intake(2, 10).refused == (("a.json", "must be an object, not a list"),)
    assert (case.files("jobs"), case.files("rejected")) == ([], ["a.json", "a.json.reason"])


def test_a_file_that_is_replaced_by_a_link_is_not_followed(case, monkeypatch):
    case.drop("a.json")

    def swap() -> None:
        (case.root / "a.json").unlink()
        (case.root / "a.json").symlink_to("/etc/passwd")

    between(monkeypatch, "move", swap)
    case.intake()
    assert "symbolic link" in case.spool.intake(2, 10).refused[0][1]
    assert os.readlink(case.root / "rejected" / "a.json") == "/etc/passwd"


def test_a_new_file_of_the_same_name_is_never_lost(case, monkeypatch):
    """It is renamed over the old one after that was moved: both are jobs."""
    case.drop("a.json")
    between(monkeypatch, "move", lambda: case.drop("a.json", '{"command": ["second"]}'), before=False)
    assert len(case.intake().taken) == 1
    assert case.intake(2).taken[0].draft.spec.command == ("second",)
