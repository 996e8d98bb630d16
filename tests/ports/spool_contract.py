"""The rig of the real spool for the contract in `jqsched.testing.contracts.spool`."""

import logging
import os
import time
from pathlib import Path

from jqsched.adapters.spool import FileSpool, Known
from jqsched.ports import Edit

LONG_US = 10_000_000  # so long nothing is given time


class Clock:
    """The real time (files have it), and what the rig adds to it."""

    ahead_us = 0

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self.ahead_us

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000 + self.ahead_us


class FileRig:
    """The real one, in a folder."""

    def __init__(self, root: Path) -> None:
        self._root, self._clock = root, Clock()
        self._accepted: dict[int, str] = {}
        self._open()

    def _open(self) -> None:
        self.spool = FileSpool(str(self._root), logging.getLogger("test"), self._clock, self._known)

    def _known(self, id_: int) -> Known | None:
        return Known("job", self._accepted[id_]) if id_ in self._accepted else None

    def drop(self, name: str, content: str) -> None:
        hidden = self._root / ".hidden"
        hidden.write_text(content)
        hidden.rename(self._root / name)
        self.spool.ring(name, settled=True)

    def change(self, id_: int, content: str | None) -> None:
        path = self._root / f"jobs/{id_}.json"
        path.unlink(missing_ok=True)
        if content is not None:
            self._clock.ahead_us += LONG_US
            path.write_text(content)
            os.utime(path, ns=(self._clock.now_us() * 1000, self._clock.now_us() * 1000))

    def accept(self, id_: int, content: str) -> None:
        self._accepted[id_] = content
        self.spool.accepted(id_, content)

    def look(self, *ids: int) -> list[Edit]:
        edits = self.spool.edits(ids)
        self._clock.ahead_us += LONG_US
        return [*edits, *self.spool.edits([])]

    def reopen(self) -> None:
        self.spool.close()
        self._open()

    def close(self) -> None:
        self.spool.close()

    def dropped(self) -> list[str]:
        return sorted(path.name for path in self._root.glob("*.json"))

    def file(self, id_: int) -> str | None:
        return _content(self._root / f"jobs/{id_}.json")

    def reason(self, id_: int) -> str | None:
        reason = _content(self._root / f"jobs/{id_}.json.reason")
        return reason.strip() if reason is not None else None

    def rejected(self) -> dict[str, str]:
        """The errors by name: the reason begins with the name under which the file was dropped."""
        reasons = sorted((self._root / "rejected").glob("*.reason"))
        return {path.name.removesuffix(".reason"): path.read_text().strip().split("\n", 1)[1] for path in reasons}


def _content(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
