"""The watcher on real folders: what rings, what does not, and that nothing ends it in silence.

The tests wait for a bell with a bound, never for a time. That something does not ring is shown by what rings next.
"""

import errno
import logging
import os
import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field
from watchdog.observers import inotify_c

from jqsched.adapters import filesystem
from jqsched.adapters import watcher as watchers
from jqsched.adapters.watcher import FolderWatcher

BOUND_S = 100
ALL = [("drop", None, False), ("config",), ("job", None)]


@define
class Case:
    """A watched spool; `bells` are what was rung, in order."""

    root: Path
    bells: "queue.Queue[tuple[object, ...]]" = field(factory=queue.Queue)
    watcher: FolderWatcher = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name in ("jobs", "drop"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.watcher = FolderWatcher(
            str(self.root),
            lambda name, settled: self.bells.put(("drop", name, settled)),
            lambda id_, _: self.bells.put(("job", id_)),
            lambda: self.bells.put(("config",)),
            lambda *_: None,
            logging.getLogger("test"),
        )

    def rung(self, count: int = 1) -> list[tuple[object, ...]]:
        return [self.bells.get(timeout=BOUND_S) for _ in range(count)]

    def write(self, path: str) -> Path:
        (self.root / path).write_text("x")
        return self.root / path


@pytest.fixture
def case(tmp_path) -> Iterator[Case]:
    made = Case(tmp_path / "spool")
    made.watcher.start()
    assert made.rung(3) == ALL  # at first all is unknown
    yield made
    made.watcher.stop()
    assert made.bells.empty(), list(made.bells.queue)


def reader(case: Case) -> watchers._Reader:
    assert case.watcher._reader is not None
    return case.watcher._reader


def event(mask: int, name: bytes = b"") -> inotify_c.InotifyEvent:
    return inotify_c.InotifyEvent(inotify_c.WatchDescriptor(1), inotify_c.Mask(mask), 0, name)


def test_a_rename_inside_rings_settled(case):
    case.write(".a.tmp").rename(case.root / "a.json")
    assert case.rung() == [("drop", "a.json", True)]


def test_a_rename_from_outside_rings_settled(case, tmp_path):
    (tmp_path / "b.toml").write_text("x")
    (tmp_path / "b.toml").rename(case.root / "b.toml")
    assert case.rung() == [("drop", "b.toml", True)]


def test_a_hard_link_rings(case, tmp_path):
    (tmp_path / "upload").write_text("x")
    os.link(tmp_path / "upload", case.root / "a.json")
    assert case.rung() == [("drop", None, False)]


def test_a_file_written_in_place_rings_when_it_is_begun_and_when_it_is_closed(case):
    case.write("a.json")
    assert case.rung(2) == [("drop", None, False), ("drop", "a.json", False)]


def test_names_are_bytes_to_the_system(case):
    os.rename(case.write(".a"), os.fsencode(case.root) + b"/a\xff.json")
    assert case.rung() == [("drop", os.fsdecode(b"a\xff.json"), True)]


def test_a_burst_rings_for_each(case):
    for i in range(500):
        case.write(".a").rename(case.root / f"{i}.json")
    assert case.rung(500) == [("drop", f"{i}.json", True) for i in range(500)]


def test_the_configuration_has_its_own_bell(case):
    case.write("new").rename(case.root / "jqsched.toml")
    assert case.rung() == [("config",)]


def test_other_names_do_not_ring(case):
    for name in ("jqsched.db-wal", "a.json.tmp", ".a.json", "jobs/.new-1", "jobs/1.json.reason", "jobs/x.json"):
        case.write(name)
    case.write(".b").rename(case.root / "b.json")
    assert case.rung() == [("drop", "b.json", True)]


def test_an_edit_and_a_deletion_in_jobs_ring(case):
    path = case.write("jobs/17.json")
    assert case.rung() == [("job", 17)]
    case.write(".new").rename(path)
    assert case.rung() == [("job", 17)]
    path.rename(path.with_suffix(".bak"))
    assert case.rung() == [("job", 17)]
    case.write("jobs/18.json").unlink()
    assert case.rung(2) == [("job", 18), ("job", 18)]


def test_an_overflow_rings_everything(case):
    reader(case)._inotify.handle_event(event(inotify_c.InotifyConstants.IN_Q_OVERFLOW))
    assert case.rung(3) == ALL


def test_a_bell_that_fails_does_not_end_the_watcher(case, monkeypatch, caplog):
    monkeypatch.setattr(watchers._DropBell, "ring", lambda *_: 1 / 0)
    case.write(".a").rename(case.root / "a.json")
    case.write("jobs/1.json")
    assert case.rung() == [("job", 1)]
    assert "a bell of the watcher failed: ZeroDivisionError" in caplog.text
    assert case.watcher.alive()


def test_a_dead_thread_is_noticed_and_started_again(case, monkeypatch, caplog):
    open_before = len(os.listdir("/proc/self/fd"))

    def broken(self: inotify_c.InotifyFD) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    dead = reader(case)
    monkeypatch.setattr(inotify_c.InotifyFD, "_check_inotify_fd", broken)
    case.write(".a").rename(case.root / "a.json")  # wakes it, if it is reading already; then this rings
    dead.join(BOUND_S)
    assert not case.watcher.alive()
    monkeypatch.undo()
    while not case.bells.empty():
        assert case.rung() == [("drop", "a.json", True)]
    assert case.watcher.ensure()
    assert case.rung(3) == ALL
    assert case.watcher.alive()
    case.write(".a").rename(case.root / "b.json")
    assert case.rung() == [("drop", "b.json", True)]
    assert "cannot read its events" in caplog.text
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_all_is_well_costs_nothing_and_rings_nothing(case):
    thread = reader(case)
    assert case.watcher.ensure()
    assert reader(case) is thread


def test_a_replaced_folder_is_watched_again(case, caplog):
    case.root.rename(case.root.with_name("old"))
    assert case.rung(3) == [("job", None), ("drop", None, False), ("config",)]
    assert not case.watcher.ensure()  # it is gone
    assert not case.watcher.ensure()
    assert caplog.text.count("cannot be watched") == 1
    (case.root / "jobs").mkdir(parents=True)
    (case.root / "drop").mkdir()
    assert case.watcher.ensure()
    assert case.rung(3) == ALL
    case.write(".a").rename(case.root / "a.json")
    assert case.rung() == [("drop", "a.json", True)]


def test_a_folder_replaced_unnoticed_is_found_by_its_inode(case):
    case.watcher._watched = ((0, 0), (0, 0))
    assert case.watcher.ensure()
    assert case.rung(3) == ALL


def test_a_replaced_jobs_folder_is_watched_again(case):
    (case.root / "jobs").rmdir()
    assert case.rung() == [("job", None)]
    (case.root / "jobs").mkdir()
    assert case.watcher.ensure()
    assert case.rung(3) == ALL


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC, errno.ENOSYS])
def test_limits_of_inotify_are_said_once_and_end_by_themselves(tmp_path, monkeypatch, caplog, code):
    def limited() -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(inotify_c.InotifyFD, "_create_inotify_fd", limited)
    case = Case(tmp_path / "spool")
    case.watcher.start()
    assert not case.watcher.ensure()
    assert caplog.text.count("cannot be watched, only scanned") == 1
    assert case.bells.empty()
    monkeypatch.undo()
    assert case.watcher.ensure()
    case.watcher.stop()


def test_too_few_watches_leave_no_descriptor_open(tmp_path, monkeypatch):
    def limited(*_: object) -> int:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(inotify_c.InotifyFD, "add_callback", limited)
    case = Case(tmp_path / "spool")
    open_before = len(os.listdir("/proc/self/fd"))
    assert not case.watcher.ensure()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_network_file_system_is_only_scanned(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(filesystem, "_kind", lambda path: 0x6969)
    case = Case(tmp_path / "spool")
    assert not case.watcher.ensure()
    assert "is on NFS" in caplog.text


def test_the_file_system_is_known():
    assert filesystem._kind("/proc") == 0x9FA0
    assert filesystem._kind("/nonexistent") == 0
    assert filesystem.remote_kind("/proc") is None


def test_jobs_do_not_inherit_it_and_a_crash_does_not_hang(case):
    assert reader(case).daemon
    assert not os.get_inheritable(reader(case)._inotify._inotify_fd)


def test_it_can_be_stopped_twice_and_before_it_began(tmp_path):
    case = Case(tmp_path / "spool")
    case.watcher.stop()
    case.watcher.start()
    thread = reader(case)
    case.watcher.stop()
    case.watcher.stop()
    assert not thread.is_alive()
    assert not case.watcher.alive()
