"""What tests of the spool share: a spool and its clock, and what happens between two of its own steps.

No test waits: the clock is a number, and what happens "meanwhile" is put between two steps of the adapter.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field

from jqsched.adapters.spool import FileSpool, Known
from jqsched.adapters.spool.folder import Folder
from jqsched.adapters.spool.write_stability import QUIET_US
from jqsched.ports import ScanResult

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

    def intake(self, next_id: int = 1, most: int = 100) -> ScanResult:
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


def leftovers(
    case: Case, *, live: tuple[int, ...] = (), finished: tuple[int, ...] = (), next_id: int = 1
) -> ScanResult:
    return case.spool.leftovers(lambda id_: id_ in live, lambda id_: id_ in finished, next_id)


def between(monkeypatch, name: str, happens: Callable[[], None], *, before: bool = True) -> None:
    """Let something happen once, right before (or after) the folder's operation of this name."""
    real, done = getattr(Folder, name), []

    def step(self: Folder, *args: object, **more: object) -> object:
        if before and not done:
            done.append(happens())
        result = real(self, *args, **more)
        if not before and not done:
            done.append(happens())
        return result

    monkeypatch.setattr(Folder, name, step)


def failing(monkeypatch, name: str, code: int, *, on: int = 1, times: int = 1) -> None:
    """Let the folder's operation fail, from the n-th call on."""
    real, calls = getattr(Folder, name), []

    def fail(self: Folder, *args: object, **more: object) -> object:
        calls.append(name)
        if on <= len(calls) < on + times:
            raise OSError(code, os.strerror(code), f"{self.path}/x")
        return real(self, *args, **more)

    monkeypatch.setattr(Folder, name, fail)


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "x.json").write_text(GOOD)


def takes_labels(folder: Path) -> bool:
    """Whether files there may have attributes; an old tmpfs has none."""
    probe = folder / ".probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"")
    except OSError:
        return False
    finally:
        probe.unlink()
    return True
