"""The exit status journal: the executor's lock file, and the statuses that no scheduler has taken when it ends.

In: statuses, as attempts end and are acknowledged. Out: two files in the spool, read by the next executor.
Rule: what is claimed here is synced before it is relied on. The lock is held (and inherited by no child) as long as the
executor lives, so a free lock means that it is dead, and that no child of it is still on its way to exec. "ended" in
the lock file means that it ended by itself: then an attempt that it does not tell of was never started.
"""

import fcntl
import json
import os

from jqsched.adapters.executors.local.wire import LOCK, STATE, Key, has_fields
from jqsched.adapters.secure_open import secure_open

# A finished attempt as it goes over the wire and into the file: id, attempt, status (None: unknowable), error, pid,
# start_ticks, expired, start_us, end_us.
Ended = tuple[int, int, int | None, str | None, int, int, bool, int, int]
_WITHOUT_TIMES = 7  # fields, as an executor of before wrote them
_ENDED = b"ended\n"


class Record:
    """The lock and the file of one executor process. Raises BlockingIOError when another one lives."""

    def __init__(self, directory_fd: int) -> None:
        self._directory_fd = directory_fd
        self._lock_fd = secure_open(LOCK, os.O_RDWR | os.O_CREAT, dir_fd=directory_fd)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.after_clean_end = os.pread(self._lock_fd, len(_ENDED), 0) == _ENDED
        self._stored: set[Key] = set()

    def load(self) -> list[Ended]:
        """Return the statuses that the last executor could not hand over."""
        try:
            fd = secure_open(STATE, os.O_RDONLY, dir_fd=self._directory_fd)
        except FileNotFoundError:
            return []
        with open(fd, "rb") as file:
            data = file.read()
        try:
            ended: list[Ended] = [_ended(fields) for fields in json.loads(data.decode("ascii"))["finished"]]
            self._stored = {(id_, attempt) for id_, attempt, *_ in ended}
        except (ValueError, KeyError, TypeError, RecursionError) as failure:
            raise ValueError(
                f"{STATE} is damaged ({failure}); move it away: jobs that it tells of then count as interrupted"
            ) from failure
        return ended

    def begin(self, boot_id: str) -> None:
        """Remove the note that the last executor has ended, before the first order can come."""
        was_clean, self.after_clean_end = self.after_clean_end, False
        self._write_lock(f"alive {boot_id} {os.getpid()}\n".encode(), sync=was_clean)

    def forget(self, key: Key) -> None:
        """Drop a status that a scheduler has taken; the file is removed with the last one."""
        if key in self._stored:
            self._stored.remove(key)
            if not self._stored:
                os.unlink(STATE, dir_fd=self._directory_fd)

    def end(self, ended: list[Ended], begun: bool) -> None:
        """Write the statuses that were not taken and then, if `begin` was called, note that this executor has ended."""
        if not begun:
            return
        if ended:
            self._store(ended)
        elif self._stored:
            os.unlink(STATE, dir_fd=self._directory_fd)
        self._write_lock(_ENDED, sync=True)

    def _store(self, ended: list[Ended]) -> None:
        temporary = f".{STATE}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(secure_open(temporary, flags, dir_fd=self._directory_fd), "w", encoding="ascii") as file:
            json.dump({"finished": ended}, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, STATE, src_dir_fd=self._directory_fd, dst_dir_fd=self._directory_fd)
        os.fsync(self._directory_fd)

    def _write_lock(self, text: bytes, *, sync: bool) -> None:
        os.pwrite(self._lock_fd, text, 0)
        os.ftruncate(self._lock_fd, len(text))
        if sync:
            os.fdatasync(self._lock_fd)


def _ended(fields: list[object]) -> Ended:
    """Take a status from the file. Raises ValueError for what is none."""
    if len(fields) == _WITHOUT_TIMES:
        fields = [*fields, 0, 0]
    if not has_fields("finished", fields):
        raise ValueError("what should be a status is none")
    return (*fields,)  # type: ignore[return-value]  # the types were just looked at
