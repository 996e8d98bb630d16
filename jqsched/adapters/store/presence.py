"""Presence: whether the store's files are still those that were opened, and which processes hold locks on them.

Rule: looks at names and at /proc, and never opens a file of the store: to close it again would drop the locks that
SQLite holds on it for this process (fcntl(2), "Record locking").
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from jqsched.ports import PortError

_READ_MARKS = range(124, 128)  # bytes of the -shm file that readers of the log lock
_WRITE_LOCK = range(120, 121)  # and the one that the writer does. Source: https://www.sqlite.org/walformat.html, 2.3
_GONE = (
    "was removed or replaced by another program while it was in use: {lost}; put it back, or a backup, and start again"
)
_LOST = {
    "": "nothing more is kept, so nothing more is accepted",
    "-wal": "what was committed last is nowhere else, so nothing more is accepted",
    "-shm": "its readers cannot be noticed any more, so nothing more is written",
}


class StoreFiles:
    """The files of an open store, by device and inode."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: dict[str, tuple[int, int]] = {}
        self.log_bytes = 0

    def check(self) -> None:
        """Compare the files with those that were there first, and note how long the log is. Three system calls.

        Raises: PortError when one is gone or another one. The log and its index are made with the first transaction.
        """
        for suffix, lost in _LOST.items():
            path = self._path + suffix
            try:
                status = os.stat(path)
            except OSError as error:
                if suffix and suffix not in self._opened:
                    continue
                raise PortError("use the store", path, error.errno, _GONE.format(lost=lost)) from error
            identity = (status.st_dev, status.st_ino)
            if self._opened.setdefault(suffix, identity) != identity:
                raise PortError("use the store", path, None, _GONE.format(lost=lost))
            if suffix == "-wal":
                self.log_bytes = status.st_size

    def readers(self) -> list[str]:
        """Find other processes that read the store in a transaction, with their names."""
        return self._holders(_READ_MARKS)

    def writers(self) -> list[str]:
        """Find other processes that hold the store's write lock, with their names."""
        return self._holders(_WRITE_LOCK)

    def _holders(self, wanted: range) -> list[str]:
        found = dict[int, None]()
        with suppress(OSError, ValueError):
            inode = os.stat(f"{self._path}-shm").st_ino
            found = dict.fromkeys(_lock_holders(Path("/proc/locks").read_text("ascii").splitlines(), inode, wanted))
        return [_named(pid) for pid in found if pid != os.getpid()]


def _lock_holders(lines: Iterable[str], inode: int, wanted: range) -> Iterable[int]:
    """Find the processes that hold a lock on one of these bytes of a file. Source: proc_locks(5)."""
    for line in lines:
        words = line.split()
        if len(words) < 8 or words[1] not in ("POSIX", "OFDLCK") or words[5].rpartition(":")[2] != str(inode):
            continue
        first, last = int(words[6]), 2**63 if words[7] == "EOF" else int(words[7])
        if first < wanted.stop and last >= wanted.start:
            yield int(words[4])


def _named(pid: int) -> str:
    name = ""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text(errors="backslashreplace").strip()
    return f"process {pid} ({name})" if name else "a process that cannot be seen here" if pid <= 0 else f"process {pid}"
