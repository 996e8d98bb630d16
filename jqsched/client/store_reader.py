"""Store reader: opens the store when it exists, and reopens it when another file has replaced it.

Rule: everything is read in portions that are read to their end, so no snapshot is held while a reader thinks, and the
writer's log can be cleared.
"""

import os
from contextlib import suppress

from jqsched.adapters.store.elsewhere import check_store_folder, noted_folder
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import store_path


class _NoStore(StoreReader):
    """The store of a spool in which nothing was ever dropped."""

    def __init__(self) -> None:
        self.path, self.is_empty = "", True

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class Records:
    """The store in `folder` (None: where the spool says), and where the spool `root` keeps what jobs wrote."""

    def __init__(self, root: str, folder: str | None) -> None:
        self.root, self._named = root, folder
        self._folder = folder or root
        self._reader: StoreReader = _NoStore()
        self._opened: tuple[int, int] | None = None

    def reader(self) -> StoreReader:
        """Return a reader of what is committed now. Raises StoreRefused, PortError."""
        if self._opened is None:
            self._find_folder()
        found = self._found()
        if found != self._opened or self._reader.is_empty:
            self.close()
            if found is not None:
                with suppress(FileNotFoundError):
                    self._reader, self._opened = StoreReader(self._folder), found
        return self._reader

    def _find_folder(self) -> None:
        """Find the folder of the store, as commands do. Raises StoreRefused where another one is named, PortError."""
        if self._named is None:
            self._folder = noted_folder(self.root) or self.root
        else:
            check_store_folder(self.root, self._named)

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(store_path(self._folder))
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        self._reader, self._opened = _NoStore(), None
