"""The door to files that are trusted by their names: what is opened, what is made, what is refused; who uses it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jqsched.adapters.config import Config, read_config
from jqsched.adapters.executors.local import wire
from jqsched.adapters.executors.local.exit_status_journal import Record
from jqsched.adapters.secure_open import check_file, check_folder, secure_open
from jqsched.adapters.spool import SpoolRefused
from jqsched.adapters.store.schema import StoreRefused, open_store, store_path
from jqsched.ports import PortError
from jqsched.runtime.lock import Role, SpoolLock
from tests.adapters.spool_case import AS_ROOT, Case

STRANGER = 12345


def _of_others(path: Path) -> None:
    path.write_bytes(b"")
    os.chown(path, STRANGER, -1)


def _writable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)


def _link(path: Path) -> None:
    path.with_name("target").write_bytes(b"")
    path.symlink_to("target")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


PLANTED = [
    pytest.param(_of_others, marks=AS_ROOT, id="of others"),
    pytest.param(_writable, id="writable"),
    pytest.param(_link, id="link"),
    pytest.param(os.mkfifo, id="fifo"),
    pytest.param(Path.mkdir, id="folder"),
]
Plant = Callable[[Path], None]


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
@pytest.mark.parametrize("plant", PLANTED)
def test_what_somebody_else_may_have_put_there_is_not_opened(tmp_path, plant: Plant, flags):
    plant(tmp_path / "x")
    with pytest.raises(OSError, match=r"move it away|Is a directory|No such device"):
        secure_open(str(tmp_path / "x"), flags)


@pytest.mark.parametrize("plant", [*PLANTED, pytest.param(_socket, id="socket")])
def test_what_another_program_opens_is_looked_at(tmp_path, plant: Plant):
    plant(tmp_path / "x")
    with pytest.raises(PermissionError, match="move it away"):
        check_file(str(tmp_path / "x"))


def test_what_is_ours_is_opened_and_what_is_missing_is_made_for_us_alone(tmp_path):
    path = str(tmp_path / "x")
    assert not check_file(path)
    with pytest.raises(FileNotFoundError):
        secure_open(path, os.O_RDONLY)
    os.close(secure_open(path, os.O_RDWR | os.O_CREAT))
    assert os.stat(path).st_mode & 0o7777 == 0o600
    Path(path).write_bytes(b"abc")
    os.close(secure_open(path, os.O_RDWR | os.O_CREAT))
    assert Path(path).read_bytes() == b"abc"
    os.close(secure_open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    assert Path(path).read_bytes() == b""
    assert check_file(path)


def test_what_is_put_there_in_the_last_moment_is_looked_at(tmp_path, monkeypatch):
    """Between finding no file and making one, another process makes it."""
    real, path = os.open, tmp_path / "x"

    def late(name: str, flags: int, *args: object, **more: object) -> int:
        if flags & os.O_EXCL and not path.exists():
            _writable(path)
        return real(name, flags, *args, **more)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(PermissionError, match="written to by others"):
        secure_open(str(path), os.O_RDWR | os.O_CREAT)


@pytest.mark.parametrize(("mode", "good"), [(0o700, True), (0o755, True), (0o1777, False), (0o1733, False)])
def test_a_folder_in_which_others_can_make_names_is_no_place_for_such_files(tmp_path, mode, good):
    tmp_path.chmod(mode)
    if good:
        check_folder(str(tmp_path))
    else:
        with pytest.raises(PermissionError, match="chmod go-w"):
            check_folder(str(tmp_path))


# ---- who uses it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("plant", PLANTED)
def test_a_store_of_somebody_else_is_refused(tmp_path, plant: Plant, suffix):
    open_store(store_path(tmp_path), used_before=False).close()
    path = Path(store_path(tmp_path) + suffix)
    path.unlink(missing_ok=True)
    plant(path)
    with pytest.raises(StoreRefused, match="move it away"):
        open_store(store_path(tmp_path), used_before=False)


def test_a_store_in_a_folder_of_others_is_refused(tmp_path):
    tmp_path.chmod(0o1777)
    with pytest.raises(StoreRefused, match="chmod go-w"):
        open_store(store_path(tmp_path), used_before=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("plant", PLANTED)
def test_a_lock_of_somebody_else_is_refused(tmp_path, plant: Plant):
    plant(tmp_path / "jqsched.lock")
    with pytest.raises(PortError, match="open the lock"):
        SpoolLock(str(tmp_path), Role.SCHEDULER, lambda *_: False)


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("name", [wire.LOCK, wire.STATE])
def test_an_executors_files_of_somebody_else_are_refused(tmp_path, plant: Plant, name):
    plant(tmp_path / name)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r"move it away|Is a directory"):
            Record(folder).load()
    finally:
        os.close(folder)


@pytest.mark.parametrize("plant", PLANTED)
def test_a_configuration_of_somebody_else_is_refused(tmp_path, plant: Plant):
    plant(tmp_path / "jqsched.toml")
    assert not isinstance(read_config(str(tmp_path / "jqsched.toml")), Config)


@pytest.mark.parametrize("name", ["jobs", "rejected", "output", "archive", "drop"])
@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, name, mode):
    root = tmp_path / "spool"
    root.mkdir(mode=0o700)
    (root / name).mkdir()
    (root / name).chmod(mode)
    with pytest.raises(SpoolRefused, match="may be written to by others"):
        Case(root)
