"""What the folders know and the store does not: output of jobs that were never given out, as the store has it.

Rule: reads names only. A job starts after its commit, so output of an id above all that the store knows says that
commits are lost, or that the store is older than the folders.
"""

import os
import re
from contextlib import suppress

NEAR = 128  # ids after the last one that are tried at start, where there is no time to look through the folder

_OUTPUT = re.compile(r"([1-9][0-9]{0,17})\.log")


def outputs(root: str) -> list[int]:
    """The ids of all jobs of which there is output in its usual place."""
    with suppress(OSError), os.scandir(os.path.join(root, "output")) as entries:
        return sorted(int(found[1]) for entry in entries if (found := _OUTPUT.fullmatch(entry.name)))
    return []


def outputs_near(root: str, last_id: int) -> list[int]:
    """The ids just after this one of which there is output."""
    ids = range(last_id + 1, last_id + 1 + NEAR)
    return [id_ for id_ in ids if os.path.lexists(os.path.join(root, "output", f"{id_}.log"))]


def unknown_text(root: str, ids: list[int]) -> str:
    """What is said of output of jobs that the store does not know."""
    return (
        f"{root}/output/{ids[0]}.log: of a job that the store does not know ({len(ids)} of the kind): commits are lost,"
        " or the store is older than this folder; what ran since then may run again. If that is as it should be, move"
        " the file away"
    )
