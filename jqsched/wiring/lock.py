"""The spool's lock: one scheduler, or one command, for one spool at a time.

Rule: the lock is the process that holds it; nothing stale can be left behind, and jobs never inherit it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from jqsched.adapters.secure_open import secure_open
from jqsched.ports import PortError

LOCK = "jqsched.lock"
USED = "used"


class SpoolInUse(Exception):
    """Another scheduler, or a command, holds the spool; `pid` is its process."""

    def __init__(self, root: str, pid: int) -> None:
        super().__init__(f"{root}: in use by process {pid or 'unknown'}")
        self.pid = pid


class SpoolLock:
    """One scheduler for one spool: a lock on a file in it, gone with the process that holds it.

    The file says whose it is, and, once the store is durable, that there is one: so that a store that vanished is not
    taken for a new spool.
    """

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, LOCK)
        try:
            self._fd = secure_open(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise PortError("open the lock", self._path, error.errno, error.strerror or str(error)) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            words = os.pread(self._fd, 100, 0).split()
            os.close(self._fd)
            raise SpoolInUse(root, int(words[0]) if words and words[0].isdigit() else 0) from None
        self.used_before = USED.encode() in os.pread(self._fd, 100, 0).split()
        self._write(used=self.used_before)

    def mark_used(self) -> None:
        """From now on a missing store is a fault. Called when it is durable."""
        if not self.used_before:
            self._write(used=True)

    def _write(self, *, used: bool) -> None:
        text = f"{os.getpid()} {USED if used else ''}\n".encode()
        try:
            os.pwrite(self._fd, text.ljust(24), 0)
        except OSError as error:
            raise PortError("write the lock", self._path, error.errno, error.strerror or str(error)) from error

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)


@contextmanager
def spool_lock(root: str) -> Iterator[SpoolLock]:
    """Hold the spool. Raises SpoolInUse."""
    with closing(SpoolLock(root)) as lock:
        yield lock
