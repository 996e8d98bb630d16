"""Opening what a job wrote, to read it.

Rule: nothing but regular files is read, and by root nothing of another user's job but files of that user: where its
output goes is for him to say, and he may have put a link there to what only root may read.
"""

import os
import stat

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class NotReadable(Exception):
    """There is something, but not to be read as output; the text says why."""


def open_output(path: str, userid: int) -> int:
    """Open the output file of a job of this user: a descriptor. Raises: NotReadable; OSError, as ENOENT and ENXIO."""
    descriptor = os.open(path, _FLAGS)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        why = "is no regular file: its content is wherever it went"
    elif os.geteuid() == 0 and userid not in (0, found.st_uid):
        why = f"belongs to user {found.st_uid}, but it is the output of a job of user {userid}"
    else:
        return descriptor
    os.close(descriptor)
    raise NotReadable(f"{path}: {why}")
