"""The folder `rejected/`: files that could not be accepted, each with `NAME.reason` beside it.

Rule: a file is moved there as it is, whatever it is, and neither opened nor followed; nothing there is ever replaced or
removed, a reason neither. The reason is written first, so that no file ever lies there without one. The folder grows up
to `FILES_MAX` files; further ones stay where they were dropped until a user makes room.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count

from jqsched.adapters.spool.folder import Folder

FILES_MAX = 10_000
_NAME_BYTES_MAX = 255 - len(".reason")


class Rejects:
    """The folder `rejected/` of a spool. `_count`: the number of files when its modification time was `_changed_ns`."""

    def __init__(self, folder: Folder, parent: Folder) -> None:
        self.folder, self._parent = folder, parent
        self._count, self._changed_ns = 0, -1

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another file. While there is room, the folder is not looked at."""
        if self._changed_ns >= 0 and self._count < FILES_MAX:
            return False
        changed_ns = os.fstat(self.folder.fd).st_mtime_ns
        if changed_ns != self._changed_ns:
            self._changed_ns = changed_ns
            self._count = sum(1 for name, _ in self.folder.scan() if not name.endswith(".reason"))
        return self._count >= FILES_MAX

    def set_aside(self, source: Folder, entry: str, name: str, errors: Iterable[str]) -> str:
        """Move `entry`, dropped as `name`, and say why. Returns its name there; OSError: it is where it was."""
        text = f"dropped as {name!r}\n" + "".join(f"{error}\n" for error in errors)
        for kept in _names(name):
            if self.folder.has(kept):
                continue
            try:
                self._create(f"{kept}.reason", text.encode(errors="backslashreplace"))
            except FileExistsError:
                continue  # the reason of another, or a file that was called like one
            try:
                source.move(entry, self.folder, kept)
            except OSError as wrong:
                self.folder.unlink(f"{kept}.reason", missing_ok=True)  # it was made a moment ago, by us
                if not isinstance(wrong, FileExistsError):
                    raise
            else:
                self._count += 1
                return kept
        raise AssertionError("the names do not end")

    def _create(self, name: str, data: bytes) -> None:
        try:
            self.folder.create(name, data)
        except FileNotFoundError:  # the folder was removed
            self.folder.open_again(self._parent)
            self.folder.create(name, data)

    def clear(self, folder: Folder, name: str) -> None:
        """Remove a file of ours; a directory that has taken its place is set aside."""
        try:
            folder.unlink(name, missing_ok=True)
        except IsADirectoryError:
            with suppress(FileNotFoundError):
                self.set_aside(folder, name, name, ("a directory in the place of a file of the scheduler's",))


def _names(name: str) -> Iterator[str]:
    """Propose names: the file's own (what cannot be printed as `_`), then with .2, .3, … ; cut to leave room."""
    plain = "".join(char if char.isprintable() else "_" for char in name)
    for nth in count(1):
        suffix = "" if nth == 1 else f".{nth}"
        room = _NAME_BYTES_MAX - len(suffix)
        yield plain.encode()[:room].decode(errors="ignore") + suffix
