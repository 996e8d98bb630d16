"""Open the output files of a job for reading.

Rule: only regular files are read. For another user's job root reads only files that this user owns: the user chooses
where the output goes, and may have put a link there to a file that only root may read.
"""

import os
import stat

_LOOK = os.O_PATH | os.O_CLOEXEC  # opens nothing: a device or a FIFO does not notice
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class NotReadable(Exception):
    """The path exists but may not be read as output; the text says why."""


def open_output(path: str, userid: int) -> int:
    """Open the output file of a job of this user; return a descriptor. Raises: NotReadable; OSError, as ENOENT."""
    of_another = os.geteuid() == 0 and userid != 0
    seen = os.open(path, _LOOK | (os.O_NOFOLLOW if of_another else 0))
    try:
        found = os.fstat(seen)
        if stat.S_ISLNK(found.st_mode):
            raise NotReadable(f"{path}: is a symbolic link, and was none when the job wrote there")
        if not stat.S_ISREG(found.st_mode):
            raise NotReadable(f"{path}: is no regular file: its content is wherever it went")
        if of_another and found.st_uid != userid:
            raise NotReadable(f"{path}: belongs to user {found.st_uid}, but it is the output of a job of user {userid}")
        return os.open(f"/proc/self/fd/{seen}", _READ)  # the file that was checked, even if its name has another by now
    finally:
        os.close(seen)
