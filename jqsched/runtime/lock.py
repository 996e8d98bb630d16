"""The spool's lock: one scheduler, or one command without a scheduler, for one spool at a time.

Rule: the lock belongs to the process that holds it, so it ends with the process, and jobs never inherit it. Waiting
processes get it in turn (flock(2) queues them), so commands cannot keep a scheduler from starting.

Two things are locked: `jqsched.lock`, which says what holds it, and the folder `jobs/`. A user may take the file for a
stale one and remove it; the lock on the folder still holds then.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum
from functools import partial

from attrs import frozen

from jqsched.adapters.secure_open import secure_open
from jqsched.adapters.spool import refuse_foreign
from jqsched.ports import PortError

LOCK, LOCKED_FOLDER = "jqsched.lock", "jobs"
USED = "used"
LOOK_S = 0.1  # between two looks of a waiting process at what holds the lock
UNKNOWN_S = 5.0  # for this long, a holder that does not say what it is may be a command
_TEXT_BYTES = 48


class Role(Enum):
    """What wants the lock, or holds it."""

    SCHEDULER = "scheduler"
    COMMAND = "command"


@frozen
class Holder:
    """What holds the lock; pid 0, role None: it does not say."""

    pid: int = 0
    role: Role | None = None


Patience = Callable[[Holder, float], bool]


class SpoolInUse(Exception):
    """Another scheduler, or a command, holds the spool; `pid` is its process."""

    def __init__(self, root: str, holder: Holder) -> None:
        what = f"{holder.role.value}, process" if holder.role is not None else "process"
        super().__init__(f"{root}: in use by {what} {holder.pid or 'unknown'}")
        self.pid = holder.pid


class SpoolLock:
    """The lock of one spool, held until `close`.

    The lock file says what holds it, and, once the store is durable, that there is one (`used`): so that a store that
    vanished is not taken for a new spool.

    `patience` is asked, again and again, whether to go on waiting: what holds the lock, and for how many seconds that
    has been so. Raises SpoolInUse when it is over, SpoolRefused for a spool of another user, PortError.
    """

    def __init__(self, root: str, role: Role, patience: Patience) -> None:
        self._root, self._path, self._role = root, os.path.join(root, LOCK), role
        refuse_foreign(root)  # before anything is made in it
        self._fd = self._lock_file(patience)
        self._folder_fd = -1
        self.used_before = USED.encode() in os.pread(self._fd, _TEXT_BYTES, 0).split()
        try:
            self._write(used=self.used_before)
            self._folder_fd = self._lock_folder(patience)
        except BaseException:  # whatever it was: the caller does not get this lock, so it could not release it
            self._release()
            raise

    def mark_used(self) -> None:
        """Note that the store exists, so that a missing one is a fault from now on. Called when it is durable."""
        if not self.used_before:
            self.used_before = True
            self._write(used=True)

    def close(self) -> None:
        """Release the lock, and remove this process from its file."""
        with suppress(PortError):
            self._write(used=self.used_before, is_held=False)
        self._release()

    def _release(self) -> None:
        for fd in (self._folder_fd, self._fd):
            if fd >= 0:
                os.close(fd)

    # -- the lock file

    def _lock_file(self, patience: Patience) -> int:
        while True:
            fd = self._open_file()
            self._wait(fd, partial(_holder, fd), patience)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(self._path, follow_symlinks=False)):
                    return fd
            os.close(fd)  # it was removed while we waited

    def _open_file(self) -> int:
        try:
            return secure_open(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise PortError("open the lock", self._path, error.errno, error.strerror or str(error)) from error

    def _write(self, *, used: bool, is_held: bool = True) -> None:
        holder = f"{os.getpid()} {self._role.value}" if is_held else "0"
        text = f"{holder} {USED if used else ''}".ljust(_TEXT_BYTES - 1) + "\n"
        try:
            os.pwrite(self._fd, text.encode(), 0)
        except OSError as error:
            raise PortError("write the lock", self._path, error.errno, error.strerror or str(error)) from error

    # -- the folder

    def _lock_folder(self, patience: Patience) -> int:
        path = os.path.join(self._root, LOCKED_FOLDER)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            fd = os.open(path, flags)
        except OSError as error:
            raise PortError("lock the spool", path, error.errno, error.strerror or str(error)) from error
        self._wait(fd, lambda: Holder(_locked_by(fd)), patience)
        return fd

    # -- waiting

    def _wait(self, fd: int, holder: Callable[[], Holder], patience: Patience) -> None:
        """Wait for the lock of a descriptor. Closes the descriptor if it is not obtained."""
        if _lock_now(fd):
            return
        turn = _Turn(fd)
        held_by, looks = holder(), 0
        while not turn.has_come.wait(LOOK_S):
            now = holder()
            held_by, looks = (now, looks + 1) if now == held_by else (now, 0)
            try:
                goes_on = patience(held_by, looks * LOOK_S)
            except BaseException:  # Ctrl-C, too: the turn is not wanted any more
                turn.give_up()
                raise
            if not goes_on:
                turn.give_up()
                raise SpoolInUse(self._root, held_by)


def _lock_now(fd: int) -> bool:
    """Lock a descriptor if no process holds it. Returns True also where the file system has no such locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        if not os.path.isdir(f"/proc/self/fd/{fd}"):
            raise
    return True


class _Turn:
    """A place in the kernel's queue for a lock, held by a thread: a blocking flock cannot be abandoned otherwise."""

    def __init__(self, fd: int) -> None:
        self.has_come = threading.Event()
        self._fd, self._given_up, self._mutex = fd, False, threading.Lock()
        threading.Thread(target=self._stand, name="jqsched-lock", daemon=True).start()

    def _stand(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        with self._mutex:
            if self._given_up:
                os.close(self._fd)
            else:
                self.has_come.set()

    def give_up(self) -> None:
        """Give up the turn: whenever the lock is obtained, it is released at once."""
        with self._mutex:
            self._given_up = True
            if self.has_come.is_set():
                os.close(self._fd)


def _holder(fd: int) -> Holder:
    """Read from a lock file what holds it."""
    words = os.pread(fd, _TEXT_BYTES, 0).decode(errors="replace").split()
    pid = int(words[0]) if words and words[0].isdecimal() else 0
    # an older version wrote only its pid: most likely a scheduler, for commands are short
    role = next((role for role in Role if role.value in words), Role.SCHEDULER if pid else None)
    return Holder(pid, role)


def _locked_by(fd: int) -> int:
    """Find the process that holds a flock of this file; 0: not found. Source: proc_locks(5)."""
    inode = str(os.fstat(fd).st_ino)
    with suppress(OSError), open("/proc/locks", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5].rpartition(":")[2] == inode:
                return int(words[4])
    return 0


def past_commands(say: Callable[[str], None]) -> Patience:
    """Return a patience that waits for commands, however long they take, but not for a scheduler."""

    def patience(holder: Holder, held_s: float) -> bool:
        if holder.role is Role.SCHEDULER:
            return held_s < LOOK_S  # looked at twice: what was just locked may still name its last holder
        if holder.role is None:
            return held_s < UNKNOWN_S
        if held_s >= UNKNOWN_S and holder not in told:
            told.append(holder)
            say(f"waiting for process {holder.pid}, a command that holds the spool")
        return True

    told: list[Holder] = []
    return patience


@contextmanager
def spool_lock(root: str, role: Role, patience: Patience) -> Iterator[SpoolLock]:
    """Take the lock of a spool. Raises SpoolInUse when patience ends, SpoolRefused, PortError."""
    with closing(SpoolLock(root, role, patience)) as lock:
        yield lock
