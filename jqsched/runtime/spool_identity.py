"""The identity of a spool: detect a copy, so that it is not served beside its original by mistake.

In: the directory, and the identity that the store holds. Out: whether it is a copy, and the identity to be stored.
Rule: a spool that was served last on another machine is a copy of one that may still be served there. On the same
machine, one under another path is a copy unless it is the very directory that was served. A spool that was moved, or
restored in its place from a backup, is no copy. Inode numbers alone prove nothing: a cloned disk has those of its
original.
"""

import json
import os
from contextlib import suppress

from attrs import evolve, frozen

from jqsched.adapters.spool import SpoolRefused
from jqsched.adapters.store.writer import boot_id
from jqsched.ports import Stored
from jqsched.runtime.lock import LOCK

HOME = "home"
ANOTHER_BOOT = "of the original"  # the id of no boot: its processes are not looked for here


@frozen
class Home:
    """A directory: on which machine ("": unknown), under which path, which inode; on which device in which boot, for a
    device has its number for one boot only ("": not noted).
    """

    machine: str
    path: str
    inode: int
    device: int = 0
    boot: str = ""

    @property
    def text(self) -> str:
        """Return the text to be stored."""
        return json.dumps([self.machine, self.path, self.inode, self.device, self.boot])


def home_of(root: str) -> Home:
    """Return the present identity of this spool. Source: machine-id(5)."""
    machine = ""
    with suppress(OSError, UnicodeDecodeError), open("/etc/machine-id", encoding="ascii") as file:
        machine = file.read().strip()
    found = os.stat(root)
    return Home(machine, os.path.realpath(root), found.st_ino, found.st_dev, boot_id())


def read_home(text: str | None) -> Home | None:
    """Parse a stored identity; None: there is none, or it is not understood."""
    with suppress(ValueError, TypeError):
        return Home(*json.loads(text or ""))
    return None


def is_copy(here: Home, was: Home, *, original_is_there: bool) -> bool:
    """Whether this is a copy of the spool that was served there. `original_is_there`: under its path is a spool, and it
    is not this one.
    """
    if here.machine and was.machine and here.machine != was.machine:
        return True
    if (here.machine, here.path) == (was.machine, was.path):
        return False
    if here.inode != was.inode:
        return True
    return here.device != was.device if here.boot == was.boot else original_is_there


def _is_there(root: str, path: str) -> bool:
    with suppress(OSError):
        return os.path.lexists(os.path.join(path, LOCK)) and not os.path.samefile(root, path)
    return False


def at_home(stored: Stored, root: str, *, adopt: bool) -> tuple[Stored, str | None]:
    """Check the stored identity. Returns the part of the stored settings that holds here, and the identity to store.

    The identity is None when it is stored already. Jobs of an original do not run here, whatever has their pids. Raises
    SpoolRefused for a copy, unless it is to be adopted.
    """
    here, was = home_of(root), read_home(stored.settings.get(HOME))
    if was is not None and is_copy(here, was, original_is_there=_is_there(root, was.path)):
        if not adopt:
            where = was.path if here.machine == was.machine else f"{was.path} on machine {was.machine or 'unknown'}"
            raise SpoolRefused(
                f"{root} is a copy of {where}: both would run the same jobs. If nobody will serve the original any"
                " more, start with --adopt: what ran there counts as interrupted"
            )
        elsewhere = tuple(evolve(attempt, boot_id=ANOTHER_BOOT) for attempt in stored.attempts)
        stored = evolve(stored, attempts=elsewhere)
    return stored, None if here == was else here.text
