"""The note in a spool whose store is in another folder, so that no command works on a wrong store.

Rule: a command that works on another folder than the noted one is refused with the way out named, unless the store was
moved there. The note is a file of one line, `jqsched.store`.
"""

import os
import shlex
from contextlib import suppress

from jqsched.adapters.secure_open import secure_open
from jqsched.adapters.store.schema import FILE_NAME, StoreRefused
from jqsched.ports import PortError

NOTE = "jqsched.store"
_NOTE_MAX_BYTES = 4096  # PATH_MAX


def check_store_folder(root: str, folder: str) -> None:
    """Check that this folder is the noted one, if there is a note. Raises StoreRefused."""
    noted = noted_folder(root)
    if noted is None or noted == os.path.abspath(folder) or (_has_store(folder) and not _has_store(noted)):
        return
    raise StoreRefused(f"{root}: its store is in {noted}: say --store {shlex.quote(noted)}, or set JQSCHED_STORE")


def note_store_folder(root: str, folder: str) -> None:
    """Note the folder with the spool. The caller holds the spool's lock. Raises StoreRefused, PortError."""
    check_store_folder(root, folder)
    folder, noted, path = os.path.abspath(folder), noted_folder(root), os.path.join(root, NOTE)
    if folder == (noted or os.path.abspath(root)):
        return
    try:
        if folder == os.path.abspath(root):
            os.unlink(path)
            return
        with open(secure_open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(os.fsencode(folder))
        os.rename(f"{path}.tmp", path)
    except OSError as error:
        raise PortError("note where the store is", path, error.errno, error.strerror or str(error)) from error


def noted_folder(root: str) -> str | None:
    """Return the folder that the spool's store is noted to be in; None: there is no note. Raises PortError."""
    path = os.path.join(root, NOTE)
    try:
        with suppress(FileNotFoundError), open(secure_open(path, os.O_RDONLY), "rb") as file:
            return os.fsdecode(file.read(_NOTE_MAX_BYTES)) or None
    except OSError as error:
        raise PortError("read where the store is", path, error.errno, error.strerror or str(error)) from error
    return None


def _has_store(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, FILE_NAME))
