"""Ownership of job files: read only regular files of the scheduler's user or root that no other user may write to.

Where the scheduler runs jobs as the owners of their files, those of any user are read.
Rule: a file is opened once, following no link and without blocking; type and owner are taken from that descriptor, and
the content is read through it. Nothing is read before these checks, and never more than 1 MiB.
"""

import errno
import fcntl
import os
import pwd
import signal
import stat
from collections.abc import Callable

from attrs import frozen

from jqsched.adapters.secure_open import kind_of, open_to_others

SIZE_MAX_BYTES = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# what open says of a thing that it did not open, without opening it
_REFUSED = {
    errno.ELOOP: "is a symbolic link: only regular files are read",
    errno.ENXIO: "is a socket: only regular files are read",
    errno.ENODEV: "is a device: only regular files are read",
}
_UNREADABLE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETXTBSY, errno.EOVERFLOW}

# Says why a file with this stat is not read; empty when it is.
Distrust = Callable[[os.stat_result], str]


@frozen
class Content:
    """The content of a trusted file, and its stat before reading.

    `written`: a process has it open for writing; None: that is not known, or was not asked.
    """

    data: bytes
    stat: os.stat_result
    written: bool | None = None


@frozen
class Refusal:
    """Why a file is not read. `unreadable`: not before it changes; `busy`: not before another process lets go of it."""

    text: str
    unreadable: bool = False
    busy: bool = False


def distrust(found: os.stat_result, owner: int | None = None) -> str:
    """Say why a file with this stat is not read; empty when it is. `owner`: another user that may own it."""
    if not stat.S_ISREG(found.st_mode):
        return f"is {kind_of(found)}: only regular files are read"
    if found.st_uid not in (os.geteuid(), 0, owner):
        return f"is owned by user {found.st_uid}: only files of user {_and(owner)}{os.geteuid()} or root are read"
    if open_to_others(found):
        return f"may be written to by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w"
    if found.st_size > SIZE_MAX_BYTES:
        return f"is too large: {found.st_size} bytes, at most {SIZE_MAX_BYTES}"
    return ""


def distrust_drop(found: os.stat_result) -> str:
    """Say why a file with this stat does not become a job of its owner, any user; empty when it does.

    The user that dropped it need not be its owner: a hard link can be made to another user's file. So it must have one
    name only, and no other user may be able to write to it.
    """
    if stat.S_ISREG(found.st_mode):
        if found.st_nlink > 1:
            return f"has {found.st_nlink} names (hard links): only files with one are run as their owners"
        if not _is_known(found.st_uid):
            return f"is owned by user {found.st_uid}, whom this system does not know"
    return distrust(found, found.st_uid)


def other_owner(found: os.stat_result) -> int | None:
    """Return the user whose job this trusted file is; None: the scheduler's own."""
    return None if found.st_uid in (os.geteuid(), 0) else found.st_uid


def _and(owner: int | None) -> str:
    return "" if owner is None else f"{owner}, "


def _is_known(userid: int) -> bool:
    try:
        pwd.getpwuid(userid)
    except KeyError:
        return False
    return True


def read_trusted(
    name: str, dir_fd: int | None = None, distrusted: Distrust = distrust, *, ask_writers: bool = False
) -> Content | Refusal:
    """Open, check and read a file; `ask_writers`: also whether a process has it open for writing.

    Raises OSError for what is no fault of the file (no descriptors left), and FileNotFoundError when there is none.
    """
    try:
        fd = os.open(name, _FLAGS, dir_fd=dir_fd)
    except OSError as wrong:
        return _not_opened(wrong)
    try:
        found = os.fstat(fd)
        if why := distrusted(found):
            return Refusal(why)
        data = os.read(fd, found.st_size + 1)
        return Content(data, found, is_written(fd) if ask_writers else None)
    except OSError as wrong:
        return _not_opened(wrong)
    finally:
        os.close(fd)


def is_written(fd: int) -> bool | None:
    """Whether a process has this file open for writing, asked after it was read; None where that cannot be known.

    A read lease is only given when no process has (fcntl(2)), and not at all by remote file systems or on other users'
    files. It is released at once; a process that opens the file in between waits no longer than that, and the signal
    that this process would get for it is one that is ignored (by default it would end the process).
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as wrong:
        return True if wrong.errno == errno.EAGAIN else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _not_opened(wrong: OSError) -> Refusal:
    if wrong.errno in _REFUSED:
        return Refusal(_REFUSED[wrong.errno])
    if wrong.errno == errno.EAGAIN:  # opening would have to wait until another process (Samba, say) gives up a lease
        return Refusal("cannot be read: another process holds a lease on it", unreadable=True, busy=True)
    if wrong.errno in _UNREADABLE:
        return Refusal(f"cannot be read: {wrong.strerror}", unreadable=True)
    raise wrong
