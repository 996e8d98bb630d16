"""Where a spool is at home: so that nobody serves a copy beside its original without meaning to.

Rule: a spool that was served last on another machine is a copy of what may still be served there. On the same machine,
one under another path is a copy unless it is the very directory that was served. One that was moved, or put back in its
place from a backup, is none. Numbers alone prove nothing: a cloned disk has the inode numbers of its original.
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
ANOTHER_BOOT = "of the original"  # no boot's id: what ran then is not looked for among the processes that run here


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
        """As it is stored."""
        return json.dumps([self.machine, self.path, self.inode, self.device, self.boot])


def home_of(root: str) -> Home:
    """Where this spool is. Source: machine-id(5)."""
    machine = ""
    with suppress(OSError, UnicodeDecodeError), open("/etc/machine-id", encoding="ascii") as file:
        machine = file.read().strip()
    found = os.stat(root)
    return Home(machine, os.path.realpath(root), found.st_ino, found.st_dev, boot_id())


def read_home(text: str | None) -> Home | None:
    """What was stored; None: nothing, or nothing that we understand."""
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
    """What the store holds, as far as it is true here, and the home to be stored (None: it is).

    What an original ran is not running here, whatever has its pids. Raises SpoolRefused for a copy, unless it is to be
    adopted.
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
