"""The spool directory: dropping, setting aside, editing, and what a crash or somebody else does in between.

No test waits: the clock is a number, and what happens "meanwhile" is put between two of the adapter's own steps.
"""

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import define, field

from jqsched.adapters.spool import FileSpool, Known, SpoolRefused, drops
from jqsched.adapters.spool import folder as folders
from jqsched.adapters.spool.folder import Folder
from jqsched.adapters.spool.quiet import QUIET_US
from jqsched.adapters.spool.rejects import Rejects
from jqsched.ports import Edit, Harvest, PortError

GOOD = '{"command": ["true"]}'
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@define
class Clock:
    """The real time, and what a test adds to it (files get real times)."""

    ahead_us: int = 0
    wall_ahead_us: int = 0

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self.wall_ahead_us

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000 + self.ahead_us


@define
class Case:
    """A spool and what a test does to it as its owner."""

    root: Path
    clock: Clock = field(factory=Clock)
    known: dict[int, Known] = field(factory=dict)
    spool: FileSpool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.spool = FileSpool(str(self.root), logging.getLogger("test"), self.clock, self.known.get)

    def restart(self) -> None:
        self.spool.close()
        self.open()

    def drop(self, name: str, text: str | bytes = GOOD, mode: int = 0o644) -> Path:
        """Write under another name and rename into place; nothing is rung."""
        path = self.root / name
        hidden = self.root / ".hidden"
        hidden.write_bytes(text.encode() if isinstance(text, str) else text)
        hidden.chmod(mode)
        hidden.rename(path)
        return path

    def intake(self, next_id: int = 1, most: int = 100) -> Harvest:
        self.spool.ring()
        return self.spool.intake(next_id, most)

    def later(self, us: int = QUIET_US) -> None:
        self.clock.ahead_us += us
        self.clock.wall_ahead_us += us

    def files(self, folder: str) -> list[str]:
        return sorted(os.listdir(self.root / folder))

    def dropped(self) -> list[str]:
        """What is left in the drop zone."""
        return sorted(name for name in os.listdir(self.root) if not (self.root / name).is_dir())

    def reason(self, name: str) -> str:
        return (self.root / "rejected" / f"{name}.reason").read_text()

    def take(self, text: str = GOOD, id_: int = 1, name: str = "true") -> Path:
        """Make a live job of a file, as last accepted."""
        self.drop(f"{name}.json", text)
        (taken,) = self.intake(id_).taken
        assert taken.id == id_
        self.known[id_] = Known(name, text)
        self.spool.accepted(id_, text)
        return self.root / "jobs" / f"{id_}.json"


@pytest.fixture
def case(tmp_path) -> Iterator[Case]:
    made = Case(tmp_path / "spool")
    yield made
    made.spool.close()


def leftovers(case: Case, *, live: tuple[int, ...] = (), finished: tuple[int, ...] = (), next_id: int = 1) -> Harvest:
    return case.spool.leftovers(lambda id_: id_ in live, lambda id_: id_ in finished, next_id)


# ---- the directory ------------------------------------------------------------------------------------------------


def test_a_missing_spool_is_made_for_its_owner_alone(case):
    assert case.root.stat().st_mode & 0o7777 == 0o700
    assert sorted(os.listdir(case.root)) == ["archive", "jobs", "output", "rejected"]


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o700, False), (0o755, False), (0o1733, False), (0o777, True), (0o722, True)]
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


# ---- dropping -----------------------------------------------------------------------------------------------------


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
    assert case.spool.intake(100, 100) == Harvest()


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
    (zone,) = case.spool._zones
    assert list(zone._left) == ["left.json"]
    (case.root / "left.json").unlink()
    assert round_() == []
    assert not zone._left


def _refuse_to_set_aside(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_without_a_bell_nothing_is_looked_at(case):
    assert not case.intake().more
    case.drop("a.json")
    assert case.spool.intake(1, 10) == Harvest()
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
    assert case.intake() == Harvest()
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


# ---- written in place ---------------------------------------------------------------------------------------------


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


def test_toml_waits_until_it_was_closed_or_quiet(case):
    """For half a TOML file is a TOML file."""
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
    assert case.spool.intake(1, 10) == Harvest()


# ---- races --------------------------------------------------------------------------------------------------------


def between(monkeypatch, name: str, happens: Callable[[], None], *, before: bool = True) -> None:
    """Let something happen once, right before (or after) the folder's operation of this name."""
    real, done = getattr(Folder, name), []

    def step(self: Folder, *args: object) -> object:
        if before and not done:
            done.append(happens())
        result = real(self, *args)
        if not before and not done:
            done.append(happens())
        return result

    monkeypatch.setattr(Folder, name, step)


def test_a_file_that_vanishes_before_it_is_opened_is_no_error(case, monkeypatch):
    case.drop("a.json")
    between(monkeypatch, "read", (case.root / "a.json").unlink)
    assert case.intake() == Harvest()


def test_a_file_that_vanishes_before_it_is_moved_is_no_error(case, monkeypatch):
    case.drop("a.json")
    between(monkeypatch, "move", (case.root / "a.json").unlink)
    assert case.intake() == Harvest()
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


# ---- what is set aside --------------------------------------------------------------------------------------------


def test_a_rejected_file_is_kept_as_it_was_with_all_errors(case):
    case.drop("a.json", '{"comand": 1, "urgency": 99}')
    assert case.intake().refused[0][0] == "a.json"
    assert (case.root / "rejected" / "a.json").read_text() == '{"comand": 1, "urgency": 99}'
    assert case.reason("a.json").splitlines() == [
        "dropped as 'a.json'",
        "urgency: must be an integer 0…31, not 99",
        "comand: unknown key; did you mean command?",
        "command: missing (or script)",
    ]


def test_nothing_in_rejected_is_replaced(case):
    for i in range(3):
        case.drop("a.json", f"[{i}]")
        case.intake()
    assert case.files("rejected") == sorted(f"a.json{s}{r}" for s in ("", ".2", ".3") for r in ("", ".reason"))
    assert (case.root / "rejected" / "a.json.2").read_text() == "[1]"


@pytest.mark.parametrize(
    ("name", "kept", "said"),
    [
        ("zq\n\x1b[2J\u202e.json", "zq__[2J_.json", r"zq\n\x1b[2J\u202e.json"),
        (os.fsdecode(b"zq\xff\xfe.json"), "zq__.json", r"zq\udcff\udcfe.json"),
        ("-rf zq.json", "-rf zq.json", "-rf zq.json"),
        ("zq" + "x" * 248 + ".json", "zq" + "x" * 246, "zq" + "x" * 248 + ".json"),
        ("é" * 125 + ".json", "é" * 124, "é" * 125 + ".json"),
    ],
)
def test_odd_names_are_kept_and_said_harmlessly(case, name, kept, said):
    case.drop(name, "[]")
    assert case.intake().refused[0][0] == said
    assert case.files("rejected") == [kept, f"{kept}.reason"]
    assert case.reason(kept).startswith(f"dropped as '{said}'\n")


def test_a_good_file_with_an_odd_name_is_a_job(case):
    case.drop("zq\n\u202e.json", '{"script": "x"}')
    assert case.intake().taken[0].draft.spec.name == "zq__"


def make_socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "x.json").write_text(GOOD)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "is a symbolic link: only regular files are read"),
        (lambda path: path.symlink_to("/nonexistent"), "is a symbolic link: only regular files are read"),
        (lambda path: path.symlink_to(path), "is a symbolic link: only regular files are read"),
        (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link: only regular files are read"),
        (os.mkfifo, "is a FIFO: only regular files are read"),
        (make_socket, "is a socket: only regular files are read"),
        (make_folder, "is a directory: only regular files are read"),
    ],
    ids=["link", "dangling", "loop", "device", "fifo", "socket", "directory"],
)
def test_what_is_no_file_is_moved_aside_itself_and_never_opened(case, monkeypatch, make, error):
    make(case.root / "a.json")
    monkeypatch.setattr(Folder, "read", lambda *_: pytest.fail("opened"))
    assert case.intake().refused == (("a.json", error),)
    assert case.files("rejected") == ["a.json", "a.json.reason"]


@pytest.mark.parametrize("make", [os.mkfifo, make_socket, make_folder, lambda path: path.symlink_to("/etc/passwd")])
def test_what_becomes_no_file_after_the_scan_is_told_by_its_descriptor(case, monkeypatch, make):
    case.drop("a.json")

    def swap() -> None:
        (case.root / "a.json").unlink()
        make(case.root / "a.json")

    between(monkeypatch, "read", swap)
    assert "only regular files are read" in case.intake().refused[0][1]


@AS_ROOT
@pytest.mark.parametrize("kind", [0o020000, 0o060000])
def test_devices_are_not_opened(case, kind):
    os.mknod(case.root / "a.json", 0o600 | kind, os.makedev(1, 3) if kind == 0o020000 else os.makedev(7, 250))
    assert case.intake().refused == (("a.json", "is a device: only regular files are read"),)


@AS_ROOT
def test_another_users_file_is_refused(case):
    os.chown(case.drop("a.json"), 65534, 65534)
    assert "is owned by user 65534" in case.intake().refused[0][1]


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_file_that_others_may_write_is_refused(case, mode):
    case.drop("a.json", mode=mode)
    assert f"may be written to by others (mode {mode:04o}): chmod go-w" in case.intake().refused[0][1]


def test_a_file_of_a_umask_of_002_is_good(case):
    case.drop("a.json", mode=0o664)
    assert len(case.intake().taken) == 1


def test_a_huge_file_is_not_read(case, monkeypatch):
    with (case.root / "a.json").open("wb") as file:
        file.truncate(8 << 30)
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("read"))
    assert case.intake().refused == (("a.json", "is too large: 8589934592 bytes, at most 1048576"),)


def test_an_unreadable_file_is_said_once_and_tried_again_when_it_changes(case, monkeypatch):
    path = case.drop("a.json")
    real = os.open

    def denied(name: str, *args: object, **more: object) -> int:
        if name == "a.json":
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return real(name, *args, **more)

    monkeypatch.setattr(os, "open", denied)
    assert case.intake().refused == (
        ("a.json", "cannot be read: Permission denied\nleft where it is until it changes"),
    )
    assert case.intake() == Harvest()
    path.chmod(0o600)
    assert len(case.intake().refused) == 1
    monkeypatch.undo()
    path.chmod(0o640)
    assert len(case.intake().taken) == 1


def test_what_cannot_be_moved_is_said_once(case, monkeypatch):
    case.drop("a.json")

    def busy(self: Folder, name: str, to: Folder, new: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", name)

    monkeypatch.setattr(Folder, "move", busy)
    assert "cannot be taken: Operation not permitted" in case.intake().refused[0][1]
    assert case.intake() == Harvest()
    assert (case.dropped(), case.files("rejected")) == (["a.json"], [])


def test_a_file_refused_after_it_was_taken(case):
    case.drop("a.json")
    case.intake()
    case.spool.refuse(1, "a.json", "no such job: 99\nand more")
    assert (case.files("jobs"), case.files("rejected")) == ([], ["a.json", "a.json.reason"])
    assert case.reason("a.json") == "dropped as 'a.json'\nno such job: 99\nand more\n"


# ---- a bad disk ---------------------------------------------------------------------------------------------------


def failing(monkeypatch, name: str, code: int, *, on: int = 1, times: int = 1) -> None:
    """Let the folder's operation fail, from the n-th call on."""
    real, calls = getattr(Folder, name), []

    def fail(self: Folder, *args: object, **more: object) -> object:
        calls.append(name)
        if on <= len(calls) < on + times:
            raise OSError(code, os.strerror(code), f"{self.path}/x")
        return real(self, *args, **more)

    monkeypatch.setattr(Folder, name, fail)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize(
    ("operation", "on"), [("move", 1), ("stat", 1), ("write", 1), ("read", 1), ("scan", 1), ("unlink", 2)]
)
def test_an_error_of_the_disk_is_raised_and_loses_nothing(case, monkeypatch, operation, on, code):
    case.drop("a.json")
    case.drop("b.json", "[]")
    case.drop("c.toml", 'command = ["true"]')
    case.later()
    failing(monkeypatch, operation, code, on=on)
    taken, refused, raised = [], [], []
    case.spool.ring()
    for _ in range(10):
        try:
            harvest = case.spool.intake(1, 10)
        except PortError as wrong:
            raised.append(wrong)
            continue
        taken += harvest.taken
        refused += harvest.refused
    assert sorted(one.name for one in taken) == ["a.json", "c.toml"]
    assert [name for name, _ in refused] == ["b.json"]
    assert len(case.files("jobs")) == 2
    assert case.files("rejected") == ["b.json", "b.json.reason"]
    assert all(wrong.errno_ == code and wrong.path.startswith(str(case.root)) for wrong in raised)
    assert len(raised) <= 1  # not at all where the step had taken something: then the next one would meet it


def test_what_a_step_had_taken_before_the_error_is_told(case, monkeypatch):
    for name in ("a.json", "b.json"):
        case.drop(name)
    failing(monkeypatch, "move", errno.ENOSPC, on=2, times=2)
    assert [taken.name for taken in case.intake().taken] == ["a.json"]
    with pytest.raises(PortError):
        case.spool.intake(2, 10)
    assert [taken.name for taken in case.spool.intake(2, 10).taken] == ["b.json"]


def test_no_descriptors_left_is_an_error_not_a_bad_file(case, monkeypatch):
    case.drop("a.json")
    failing(monkeypatch, "read", errno.EMFILE)
    with pytest.raises(PortError) as wrong:
        case.intake()
    assert wrong.value.errno_ == errno.EMFILE
    assert len(case.spool.intake(1, 10).taken) == 1


def test_a_failed_sync_is_raised(case, monkeypatch):
    case.drop("a.json")
    case.intake()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PortError, match="syncing the spool"):
        case.spool.sync()


def test_only_folders_that_changed_are_synced(case, monkeypatch):
    case.spool.sync()
    case.drop("a.json")
    case.intake()
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    case.spool.sync()
    case.spool.sync()
    assert synced == [str(case.root / "jobs"), str(case.root)]


# ---- what a crash left --------------------------------------------------------------------------------------------


def test_files_without_a_job_are_taken_at_start(case):
    for id_ in (3, 10, 4):
        (case.root / "jobs" / f"{id_}.json").write_text(GOOD)
    harvest = leftovers(case, live=(3,), next_id=4)
    assert [taken.id for taken in harvest.taken] == [4, 10]
    case.drop("a.json")
    assert [taken.id for taken in case.intake(4).taken] == [11]


def test_files_of_finished_jobs_are_removed_at_start(case):
    for name in ("1.json", "1.json.reason", "2.json", "2.json.reason", ".new-7", ".new-7.reason", "notes~"):
        (case.root / "jobs" / name).write_text(GOOD)
    assert leftovers(case, live=(2,), finished=(1,), next_id=3).taken == ()
    assert case.files("jobs") == ["2.json", "2.json.reason", "notes~"]
    case.spool.accepted(2, GOOD)
    assert case.files("jobs") == ["2.json", "notes~"]


def test_ids_that_cannot_be_new_get_the_next(case):
    for id_ in (1, 999_999_999_999):
        (case.root / "jobs" / f"{id_}.json").write_text(GOOD)
    harvest = leftovers(case, next_id=5)
    assert sorted(taken.id for taken in harvest.taken) == [5, 6]
    assert case.files("jobs") == ["5.json", "6.json"]


def test_bad_leftovers_are_set_aside(case):
    (case.root / "jobs" / "5.json").write_text("[]")
    (case.root / "jobs" / "6.json").symlink_to("/etc/passwd")
    harvest = leftovers(case)
    assert (harvest.taken, [name for name, _ in harvest.refused]) == ((), ["5.json", "6.json"])
    assert case.files("jobs") == []


@pytest.mark.parametrize("half", [None, "", GOOD])
def test_a_half_converted_toml_is_converted_again(case, half):
    (case.root / "jobs" / "5.toml").write_text('command = ["toml"]')
    if half is not None:
        (case.root / "jobs" / "5.json").write_text(half)
    case.later()
    (taken,) = leftovers(case).taken
    assert (taken.id, taken.draft.spec.command) == (5, ("toml",))
    assert case.files("jobs") == ["5.json"]


@pytest.mark.parametrize("suffix", [".json", ".toml"])
@pytest.mark.parametrize("operation", ["move", "stat", "write", "unlink"])
@pytest.mark.parametrize("on", [1, 2, 3])
def test_a_crash_at_any_step_is_made_good_at_start(case, monkeypatch, operation, on, suffix):
    """The process ends at the n-th operation; the next one finds the file, once."""

    class Killed(BaseException):
        pass

    real, calls = getattr(Folder, operation), []

    def die(self: Folder, *args: object, **more: object) -> object:
        calls.append(operation)
        if len(calls) == on:
            raise Killed
        return real(self, *args, **more)

    case.drop(f"a{suffix}", GOOD if suffix == ".json" else 'command = ["true"]')
    case.later()
    monkeypatch.setattr(Folder, operation, die)
    with suppress(Killed):
        case.intake()
    monkeypatch.undo()
    case.restart()
    found = [*leftovers(case).taken]
    found += case.intake(max([1, *(taken.id + 1 for taken in found)])).taken
    assert [taken.draft.spec.command for taken in found] == [("true",)]
    assert case.files("jobs") == [f"{found[0].id}.json"]
    assert case.dropped() == []


# ---- editing ------------------------------------------------------------------------------------------------------


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


def test_a_half_written_edit_that_stays_so_is_bad(case):
    case.take().write_text(GOOD[:9])
    case.spool.edits([1])
    case.later()
    (edit,) = case.spool.edits([])  # its time is up: nobody need ask for it
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
    assert leftovers(case, live=(1, 2, 3), next_id=4) == Harvest()
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


# ---- jobs that come by command ------------------------------------------------------------------------------------


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
