"""Where a spool is at home: so that nobody serves a copy beside its original without meaning to.

Rule: a spool is a copy when it is another directory than the one in which its store was served last, and that under
another path or on another machine. One that was moved, or put back in its place from a backup, is none.
"""

import json
import os
from contextlib import suppress

from attrs import evolve, frozen

from jqsched.adapters.spool import SpoolRefused
from jqsched.ports import Stored

HOME = "home"
ANOTHER_BOOT = "of the original"  # no boot's id: what ran then is not looked for among the processes that run here


@frozen
class Home:
    """A directory: on which machine ("": unknown), under which path, and which inode."""

    machine: str
    path: str
    inode: int

    @property
    def text(self) -> str:
        """As it is stored."""
        return json.dumps([self.machine, self.path, self.inode])


def home_of(root: str) -> Home:
    """Where this spool is. Source: machine-id(5)."""
    machine = ""
    with suppress(OSError, UnicodeDecodeError), open("/etc/machine-id", encoding="ascii") as file:
        machine = file.read().strip()
    return Home(machine, os.path.realpath(root), os.stat(root).st_ino)


def read_home(text: str | None) -> Home | None:
    """What was stored; None: nothing, or nothing that we understand."""
    with suppress(ValueError, TypeError):
        return Home(*json.loads(text or ""))
    return None


def is_copy(here: Home, was: Home) -> bool:
    """Whether this is a copy of the spool that was served there."""
    return here.inode != was.inode and (here.path, here.machine) != (was.path, was.machine)


def at_home(stored: Stored, root: str, *, adopt: bool) -> tuple[Stored, str | None]:
    """What the store holds, as far as it is true here, and the home to be stored (None: it is).

    What an original ran is not running here, whatever has its pids. Raises SpoolRefused for a copy, unless it is to be
    adopted.
    """
    here, was = home_of(root), read_home(stored.settings.get(HOME))
    if was is not None and is_copy(here, was):
        if not adopt:
            where = was.path if here.machine == was.machine else f"{was.path} on another machine"
            raise SpoolRefused(
                f"{root} is a copy of {where}: both would run the same jobs. If nobody will serve the original any"
                " more, start with --adopt: what ran there counts as interrupted"
            )
        elsewhere = tuple(evolve(attempt, boot_id=ANOTHER_BOOT) for attempt in stored.attempts)
        stored = evolve(stored, attempts=elsewhere)
    return stored, None if here == was else here.text
