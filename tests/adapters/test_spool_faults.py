"""The spool directory: what is set aside, a bad disk, and what a crash left."""

import errno
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from jqsched.adapters.spool import rejects
from jqsched.adapters.spool.folder import Folder
from jqsched.core.jobspec import values
from jqsched.ports import PortError, ScanResult
from tests.adapters.spool_case import AS_ROOT, GOOD, between, failing, leftovers, make_folder, takes_labels

# ---- what is set aside ----------------------------------------------------------------------------------------------


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
    assert case.intake() == ScanResult()
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
    assert case.intake() == ScanResult()
    assert (case.dropped(), case.files("rejected")) == (["a.json"], [])


def test_a_file_refused_after_it_was_taken(case):
    case.drop("a.json")
    case.intake()
    case.spool.refuse(1, "a.json", "no such job: 99\nand more")
    assert (case.files("jobs"), case.files("rejected")) == ([], ["a.json", "a.json.reason"])
    assert case.reason("a.json") == "dropped as 'a.json'\nno such job: 99\nand more\n"


# ---- a bad disk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize(
    ("operation", "on"), [("move", 1), ("stat", 1), ("write", 1), ("read", 1), ("scan", 1), ("unlink", 2)]
)
def test_an_error_of_the_disk_is_told_and_loses_nothing(case, monkeypatch, caplog, operation, on, code):
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
    told = caplog.text.count(f"{os.strerror(code)}: it is tried again")  # where the step had taken something before
    assert len(raised) + told == 1


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


# ---- what a crash left ----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("id_", [1, 4, 999_999_999_999, 2**63 - 1, 2**63, 10**19 - 1, 10**400 // 10**180])
def test_what_cannot_be_proved_to_be_a_drop_is_set_aside(case, id_):
    """An editor saved it after its job was over and purged, say; a finished job does not run again so."""
    (case.root / "jobs" / f"{id_}.json").write_text(GOOD)

    def is_finished(id_: int) -> bool:
        assert id_ < 2**63, "the store knows no such numbers"
        return False

    assert case.spool.leftovers(lambda _: False, is_finished, 5).taken == ()
    assert (case.files("jobs"), case.files("rejected")) == ([], [f"{id_}.json", f"{id_}.json.reason"])
    assert "is no job's file" in case.reason(f"{id_}.json")


def test_a_drop_that_was_moved_and_not_taken_keeps_the_proof(case, monkeypatch):
    """It was changed while it was taken, later ones were accepted, and then the scheduler died."""
    case.drop("a.json")
    between(monkeypatch, "move", lambda: case.drop("a.json", '{"command": ["changed"]}'))
    assert case.intake().taken == ()
    case.restart()
    found = leftovers(case, next_id=9)
    assert [(taken.id, taken.draft.spec.command) for taken in found.taken] == (
        [(9, ("changed",))] if takes_labels(case.root) else []
    )


def test_a_copy_of_such_a_drop_has_no_proof(case, monkeypatch):
    case.drop("a.json")
    between(monkeypatch, "move", lambda: case.drop("a.json", '{"command": ["changed"]}'))
    case.intake()
    there = case.root / "jobs" / "1.json"
    shutil.copy2(there, case.root / "jobs" / "new")  # with its attributes
    (case.root / "jobs" / "new").rename(there)
    case.restart()
    assert leftovers(case, next_id=9).taken == ()
    assert case.files("rejected") == ["1.json", "1.json.reason"]


def test_an_edit_that_comes_after_the_end_is_set_aside_and_said(case):
    path = case.take()
    assert not case.spool.is_stray(1)
    case.spool.remove([1])
    del case.known[1]
    assert not case.spool.is_stray(1)
    assert case.spool.strays([1, 2]) == []
    path.write_text(GOOD)
    assert case.spool.is_stray(1)
    ((name, why),) = case.spool.strays([1, 2])
    assert (name, "is no job's file" in why) == ("1.json", True)
    assert (case.files("jobs"), case.files("rejected")) == ([], ["1.json", "1.json.reason"])


def test_directories_in_the_place_of_our_files_end_nothing(case):
    case.take()
    for name in (".new-1.reason", "1.json.reason", ".new-2", "7.json.reason", "3.json"):
        make_folder(case.root / "jobs" / name)
    case.spool.complain(1, "why")
    assert (case.root / "jobs/1.json.reason").read_text() == "why\n"
    case.spool.write(2, GOOD)
    (case.root / "jobs/1.json").unlink()
    make_folder(case.root / "jobs/1.json")
    case.spool.remove([1])
    for name in (".new-8", "9.json"):
        make_folder(case.root / "jobs" / name)
    case.restart()
    assert leftovers(case, live=(2,), finished=(3,), next_id=9).taken == ()
    assert case.files("jobs") == ["2.json"]
    kept = [name for name in case.files("rejected") if not name.endswith(".reason.reason")]
    assert len(kept) > 8, "each with what was in it"


# ---- what is set aside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["file", "folder", "reason"])
def test_a_reason_is_written_over_nothing(case, first):
    """A name that is cut to the same length may be that of the reason of another."""
    short = "a" * 236 + ".json"
    long = f"{short}.reason.json"
    if first == "folder":
        make_folder(case.root / long)
    elif first == "file":
        case.drop(long, "precious")
        case.later()
    case.intake()
    case.drop(short, "[]")
    case.later()
    case.intake()
    if first == "reason":
        case.drop(long, "precious")
        case.later()
        case.intake()
    names = case.files("rejected")
    assert len(names) == 4
    kept = [name for name in names if f"{name}.reason" in names]
    assert len(kept) == 2
    assert case.dropped() == []


def test_rejected_does_not_grow_without_bound(case, monkeypatch):
    """What is beyond stays where it was dropped, with a word; once there is room it is set aside."""
    monkeypatch.setattr(rejects, "FILES_MAX", 3)
    for at in range(6):
        case.drop(f"{at}.json", "[]")
    said = case.intake().refused
    assert [name for name, _ in said] == ["0.json", "1.json", "2.json", "3.json"]
    assert "rejected/ holds" in said[-1][1]
    assert (len(case.files("rejected")), case.dropped()) == (6, ["3.json", "4.json", "5.json"])
    assert case.spool.remarks() == [
        "rejected/ is full (10000 files or more): 3 bad file(s) stay in the drop zone: delete some"
    ]
    assert case.intake() == ScanResult()
    case.drop("good.json")
    assert [taken.name for taken in case.intake().taken] == ["good.json"]
    case.spool.refuse(1, "good.json", "refused after all")
    assert case.dropped() == ["3.json", "4.json", "5.json", "good.json"]
    assert case.intake() == ScanResult()
    for name in case.files("rejected"):
        (case.root / "rejected" / name).unlink()
    assert [name for name, _ in case.intake().refused][:3] == ["3.json", "4.json", "5.json"]


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

    case.drop(f"build it{suffix}", '{"script": "make"}' if suffix == ".json" else 'script = "make"')
    case.later()
    monkeypatch.setattr(Folder, operation, die)
    with suppress(Killed):
        case.intake()
    monkeypatch.undo()
    case.restart()
    found = [*leftovers(case).taken]
    found += case.intake(max([1, *(taken.id + 1 for taken in found)])).taken
    assert [taken.draft.spec.command[-1] for taken in found] == ["make"]
    assert found[0].draft.spec.name == "build_it" or not takes_labels(case.root)
    assert case.files("jobs") == [f"{found[0].id}.json"]
    assert case.dropped() == []


@pytest.mark.parametrize("text", [GOOD, '{"script": "make", "name": "mine"}'])
def test_a_file_that_names_its_job_is_not_labelled(case, text):
    case.drop("a.json", text)
    case.intake()
    assert os.listxattr(case.root / "jobs" / "1.json") == []


def test_where_a_file_system_takes_no_label_the_name_is_lost_and_nothing_else(case, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", refuse)
    case.drop("build.json", '{"script": "make"}')
    assert [taken.draft.spec.name for taken in case.intake().taken] == ["build"]
    case.restart()
    assert [taken.draft.spec.name for taken in leftovers(case).taken] == ["sh"]


def test_a_label_is_but_a_name(case):
    """Any user may give one to a file of theirs."""
    if not takes_labels(case.root):
        pytest.skip("files have no attributes here")
    for id_, text in ((1, '{"script": "make"}'), (2, "[]")):
        path = case.root / "jobs" / f"{id_}.json"
        path.write_text(text)
        os.setxattr(path, "user.jqsched.name", b"/../../etc/x y\n\xff\0" * 100)
    harvest = leftovers(case)
    (taken,) = harvest.taken
    assert values.is_name(taken.draft.spec.name)
    assert [name for name, _ in harvest.refused] == ["2.json"]
    assert case.files("rejected") == ["2.json", "2.json.reason"]
