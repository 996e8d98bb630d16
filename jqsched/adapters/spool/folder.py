"""One open directory, and the file operations in it.

Rule: every operation uses the directory's descriptor, so replacing a part of its path redirects none of them; no file
is replaced unless the method says so; an OSError names the whole path.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from jqsched.adapters.jobfile import Content, Distrust, Refusal, distrust, read_trusted

_RENAME_NOREPLACE = 1
_LABEL = "user.jqsched.name"
_MARK = "user.jqsched.dropped"
_libc = ctypes.CDLL(None, use_errno=True)
_renameat2: Callable[[int, bytes, int, bytes, int], int] | None = getattr(_libc, "renameat2", None)  # musl has none


class Folder:
    """An open directory. `dirty`: names in it were changed since it was synced last."""

    __slots__ = ("dirty", "fd", "path")

    def __init__(self, path: str, parent: "Folder | None" = None) -> None:
        """Open it, and make it (0700) if it is missing. Inside a parent it must not be a link."""
        self.path, self.dirty = path, False
        self.fd = self._open(parent)

    def _open(self, parent: "Folder | None") -> int:
        path = self.path
        at = None if parent is None else parent.fd
        name = path if parent is None else os.path.basename(path)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=at)
            self.dirty = True
            if parent is not None:
                parent.dirty = True
        nofollow = 0 if parent is None else os.O_NOFOLLOW
        try:
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | nofollow, dir_fd=at)
        except OSError as wrong:
            raise OSError(wrong.errno, wrong.strerror, path) from None

    def open_again(self, parent: "Folder") -> None:
        """Open what has this name now, under the same descriptor; make it if it is missing."""
        new = self._open(parent)
        os.dup2(new, self.fd, inheritable=False)
        os.close(new)

    def is_in_place(self) -> bool:
        """Whether its path still leads to it. OSError: to nothing."""
        found, opened = os.stat(self.path), os.fstat(self.fd)
        return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.fd)

    def _at(self, name: str, wrong: OSError) -> OSError:
        return OSError(wrong.errno, wrong.strerror, f"{self.path}/{name}")

    def scan(self) -> Iterator[tuple[str, bool]]:
        """List the names, and whether each is a regular file."""
        with os.scandir(self.fd) as entries:
            for entry in entries:
                yield entry.name, entry.is_file(follow_symlinks=False)

    def stat(self, name: str) -> os.stat_result:
        """Look at a name itself, never at what it points to."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError as wrong:
            raise self._at(name, wrong) from None

    def read(self, name: str, distrusted: Distrust = distrust, *, ask_writers: bool = False) -> Content | Refusal:
        """Read a file if it may be trusted; on request, tell whether a process has it open for writing."""
        try:
            return read_trusted(name, self.fd, distrusted, ask_writers=ask_writers)
        except OSError as wrong:
            raise self._at(name, wrong) from None

    def has(self, name: str) -> bool:
        """Whether there is such a name."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def move(self, name: str, to: "Folder", new: str) -> None:
        """Rename into another folder, replacing nothing (FileExistsError)."""
        try:
            _rename_noreplace(self.fd, name, to.fd, new)
        except OSError as wrong:
            raise self._at(name, wrong) from None
        self.dirty = to.dirty = True

    def label(self, name: str, text: str) -> None:
        """Store a file's original name in an extended attribute, where there are these and the file is writable."""
        with suppress(OSError):
            os.setxattr(f"/proc/self/fd/{self.fd}/{name}", _LABEL, os.fsencode(text), follow_symlinks=False)

    def labelled(self, name: str) -> str:
        """Return the original name stored with a file, or ""; the file's owner may have changed it."""
        with suppress(OSError):
            return os.fsdecode(os.getxattr(f"/proc/self/fd/{self.fd}/{name}", _LABEL, follow_symlinks=False))
        return ""

    def mark(self, name: str) -> None:
        """Mark a file as dropped and not yet accepted. The mark names the file, so it is void on a copy."""
        with suppress(OSError):
            os.setxattr(f"/proc/self/fd/{self.fd}/{name}", _MARK, self._marked_as(name), follow_symlinks=False)

    def is_marked(self, name: str) -> bool:
        """Whether this very file, under this name, is marked as dropped."""
        with suppress(OSError):
            path = f"/proc/self/fd/{self.fd}/{name}"
            return os.getxattr(path, _MARK, follow_symlinks=False) == self._marked_as(name)
        return False

    def _marked_as(self, name: str) -> bytes:
        return f"{name} {self.stat(name).st_ino}".encode()

    def replace(self, name: str, new: str) -> None:
        """Rename inside this folder over whatever is there."""
        try:
            os.rename(name, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as wrong:
            raise self._at(new, wrong) from None
        self.dirty = True

    def write(self, name: str, data: bytes, owner: int | None = None) -> None:
        """Make a file of a name that is ours (0600), an owner's if one is given; what a crash left of it is removed."""
        self.unlink(name, missing_ok=True)
        self.create(name, data, owner)

    def create(self, name: str, data: bytes, owner: int | None = None) -> None:
        """Make a new file (0600), whole or not at all; FileExistsError when there is something of this name."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=self.fd)
            try:
                if owner is not None:
                    os.fchown(fd, owner, -1)
                while data:
                    data = data[os.write(fd, data) :]
            except BaseException:  # whatever it was: half a file must not stay
                os.unlink(name, dir_fd=self.fd)
                raise
            finally:
                os.close(fd)
        except OSError as wrong:
            raise self._at(name, wrong) from None
        self.dirty = True

    def unlink(self, name: str, *, missing_ok: bool = False) -> None:
        """Remove a name that is ours."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except OSError as wrong:
            if missing_ok and wrong.errno == errno.ENOENT:
                return
            raise self._at(name, wrong) from None
        self.dirty = True

    def sync(self) -> None:
        """Make the names durable, if they changed. Any thread: what changes meanwhile is dirty again."""
        if not self.dirty:
            return
        self.dirty = False
        try:
            os.fsync(self.fd)
        except OSError as wrong:
            raise OSError(wrong.errno, wrong.strerror, self.path) from None


def _rename_noreplace(old_fd: int, old: str, new_fd: int, new: str) -> None:
    if _renameat2 is not None:
        if _renameat2(old_fd, os.fsencode(old), new_fd, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        error = ctypes.get_errno()
        if error not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(error, os.strerror(error), old)
    # NFS and others know no flags. The folders renamed into are ours alone, so looking first is good enough there.
    with suppress(FileNotFoundError):
        os.stat(new, dir_fd=new_fd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)


def signature(found: os.stat_result) -> int:
    """Sum up what changes when a file does, in one small integer (there may be a million of them)."""
    return hash((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether this is the same file with the same content, as much to be trusted as it was; a rename changes its ctime,
    so that is not asked.
    """
    return (
        one.st_ino == other.st_ino
        and (one.st_uid, one.st_mode, one.st_nlink) == (other.st_uid, other.st_mode, other.st_nlink)
        and one.st_size == other.st_size
        and one.st_mtime_ns == other.st_mtime_ns
        and one.st_dev == other.st_dev
    )


def escaped(name: str) -> str:
    """Escape a name so that it takes one line and has no effect on a terminal."""
    return repr(name)[1:-1]
