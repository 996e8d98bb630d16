"""Store reader: opens the store when it exists, and reopens it when another file has replaced it.

Rule: everything is read in portions that are read to their end, so no snapshot is held while a reader thinks, and the
writer's log can be cleared.
"""

import os
from contextlib import suppress

from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import store_path


class _NoStore(StoreReader):
    """The store of a spool in which nothing was ever dropped."""

    def __init__(self) -> None:
        self.path, self.is_empty = "", True

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class Records:
    """The store in `folder`, and where the spool `root` keeps what jobs wrote."""

    def __init__(self, root: str, folder: str) -> None:
        self.root, self._folder, self._path = root, folder, store_path(folder)
        self._reader: StoreReader = _NoStore()
        self._opened: tuple[int, int] | None = None

    def reader(self) -> StoreReader:
        """Return a reader of what is committed now. Raises StoreRefused, PortError."""
        found = self._found()
        if found != self._opened or self._reader.is_empty:
            self.close()
            if found is not None:
                with suppress(FileNotFoundError):
                    self._reader, self._opened = StoreReader(self._folder), found
        return self._reader

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        self._reader, self._opened = _NoStore(), None
