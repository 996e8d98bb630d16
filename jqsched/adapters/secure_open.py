"""`secure_open`: open files that are trusted because of where they are: store, lock, configuration, state.

Rule: a name in a folder proves nothing. What is opened or made here is a regular file of this process's user (or of
root) that no other user may write to, checked by its descriptor; a new file is made exclusively.
A file that another program opens by its name (SQLite: the store, its log and index) is looked at by `check_file`, which
is as safe only in a folder that no other user may write to: `check_folder`.
Fails with PermissionError (EPERM), whose text says whose the file is, or what it is, and what to do.
"""

import errno
import os
import stat

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ALWAYS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def secure_open(name: str, flags: int, mode: int = 0o600, *, dir_fd: int | None = None) -> int:
    """Open a file that may be trusted, or make it (O_CREAT). Follows no link and does not block.

    Raises: PermissionError when it may not be trusted; else what open(2) says.
    """
    present = (flags | _ALWAYS) & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)
    while True:
        try:
            fd = os.open(name, present, dir_fd=dir_fd)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _refusal(name, "is a symbolic link, not a regular file: move it away") from None
            raise
        else:
            return _checked(fd, name, truncate=bool(flags & os.O_TRUNC))
        try:
            return os.open(name, flags | _ALWAYS | os.O_EXCL, mode, dir_fd=dir_fd)
        except FileExistsError:
            continue  # another process was quicker: what is there now is checked


def _checked(fd: int, name: str, *, truncate: bool) -> int:
    try:
        if why := distrust_file(os.fstat(fd)):
            raise _refusal(name, f"{why}: move it away")
        if truncate:
            os.ftruncate(fd, 0)
    except BaseException:  # the caller does not get this descriptor, so it could not close it
        os.close(fd)
        raise
    return fd


def check_file(path: str, *, dir_fd: int | None = None, owner: int | None = None) -> bool:
    """Whether there is such a file; it is one that may be trusted. `owner`: another user, whose it may be as well.

    Raises: PermissionError when it may not.
    """
    try:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if why := distrust_file(found, owner):
        raise _refusal(path, f"{why}: move it away")
    return True


def check_folder(path: str) -> None:
    """Check that no other user may make or replace names in this folder; its parents are not checked.

    Raises: PermissionError when another user may, or owns the folder.
    """
    found = os.stat(path)
    if found.st_uid not in (os.geteuid(), 0):
        raise _refusal(path, f"belongs to user {found.st_uid}")
    if open_to_others(found):
        raise _refusal(path, f"may be written to by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w")


def distrust_file(found: os.stat_result, owner: int | None = None) -> str:
    """Say why a file with this stat is not trusted; empty when it is. `owner`: another user that may own it too."""
    if not stat.S_ISREG(found.st_mode):
        return f"is {kind_of(found)}, not a regular file"
    if found.st_uid not in (os.geteuid(), 0, owner):
        return f"is owned by user {found.st_uid}"
    if open_to_others(found):
        return f"may be written to by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def kind_of(found: os.stat_result) -> str:
    """Name the type of a file that is not a regular one."""
    return _KINDS.get(stat.S_IFMT(found.st_mode), "no file")


def open_to_others(found: os.stat_result) -> bool:
    """Whether others may write to it. The group counts as others, except our own one with a file of ours: where each
    user has a group of their own, umask is 002 and all their files are writable by it.
    """
    return bool(found.st_mode & stat.S_IWOTH) or (
        bool(found.st_mode & stat.S_IWGRP)
        and (found.st_gid not in (os.getegid(), 0) or found.st_uid not in (os.geteuid(), 0))
    )


def _refusal(path: str, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, path)
