"""The folder `rejected/`: files that could not be accepted, each with `NAME.reason` beside it.

Rule: a file is moved there as it is, whatever it is, and neither opened nor followed; nothing there is replaced. The
reason is written first, so that no file ever lies there without one.
"""

from collections.abc import Iterable, Iterator
from itertools import count

from jqsched.adapters.spool.folder import Folder

_NAME_BYTES_MAX = 255 - len(".reason")


class Rejects:
    """What was set aside."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def set_aside(self, source: Folder, entry: str, name: str, errors: Iterable[str]) -> str:
        """Move `entry`, dropped as `name`, and say why. Returns its name there; OSError: it is where it was."""
        text = f"dropped as {name!r}\n" + "".join(f"{error}\n" for error in errors)
        for kept in _names(name):
            reason = f"{kept}.reason"
            if self.folder.has(kept):
                continue
            self.folder.write(reason, text.encode(errors="backslashreplace"))
            try:
                source.move(entry, self.folder, kept)
            except OSError as wrong:
                self.folder.unlink(reason, missing_ok=True)
                if not isinstance(wrong, FileExistsError):
                    raise
            else:
                return kept
        raise AssertionError("the names do not end")


def _names(name: str) -> Iterator[str]:
    """Propose names: the file's own (what cannot be printed as `_`), then with .2, .3, … ; cut to leave room."""
    plain = "".join(char if char.isprintable() else "_" for char in name)
    for nth in count(1):
        suffix = "" if nth == 1 else f".{nth}"
        room = _NAME_BYTES_MAX - len(suffix)
        yield plain.encode()[:room].decode(errors="ignore") + suffix
