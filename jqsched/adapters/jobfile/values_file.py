"""Values files: the lines that an array's `each: {"file": PATH}` takes its values from.

Rule: a file is opened once and read through that descriptor. It must be a regular file of the job's owner: the
scheduler may be root, and a user is not to be shown another user's lines. It is not read again after acceptance.
"""

import os
import stat

BYTES_MAX = 64 << 20
_TOO_LARGE = f"is larger than {BYTES_MAX >> 20} MiB"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def read_lines(path: str, owner: int) -> tuple[str, ...] | str:
    """Return the lines of a file, without their ends, or why it cannot be read. Never raises for what is in it."""
    try:
        fd = os.open(path, _FLAGS)
    except OSError as wrong:
        return f"cannot be read: {wrong.strerror}"
    except ValueError:
        return "cannot be read: its path contains NUL"
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return "is no regular file"
        if found.st_uid != owner:
            return f"belongs to user {found.st_uid}, and the job to user {owner}: only the owner's own files are read"
        if found.st_size > BYTES_MAX:
            return _TOO_LARGE
        with open(fd, "rb", closefd=False) as file:
            return _lines(file.read(BYTES_MAX + 1))
    except OSError as wrong:
        return f"cannot be read: {wrong.strerror}"
    finally:
        os.close(fd)


def _lines(data: bytes) -> tuple[str, ...] | str:
    if len(data) > BYTES_MAX:  # it has grown
        return _TOO_LARGE
    if b"\0" in data:
        return f"contains NUL at byte {data.index(0)}"
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as wrong:
        return f"is not UTF-8 at byte {wrong.start}"
    return tuple(lines if lines[-1] else lines[:-1])
