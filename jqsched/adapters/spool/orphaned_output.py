"""Orphaned output: output files of ids above the last one that the store knows.

Rule: reads names only. A job starts after its commit, so output of an id that the store has not given out shows that
commits are lost, or that the store is older than the folders.
"""

import os
import re
from contextlib import suppress

NEAR = 128  # ids after the last one that are tried at start, where there is no time to look through the folder

_OUTPUT = re.compile(r"([1-9][0-9]{0,17})\.(?:log|0\.out)")  # of one task, or the first of several


def outputs(root: str) -> list[int]:
    """Return the ids of all jobs that have output in the default place."""
    with suppress(OSError), os.scandir(os.path.join(root, "output")) as entries:
        return sorted(int(found[1]) for entry in entries if (found := _OUTPUT.fullmatch(entry.name)))
    return []


def outputs_near(root: str, last_id: int) -> list[int]:
    """Return the ids just after this one that have output."""
    ids = range(last_id + 1, last_id + 1 + NEAR)
    return [id_ for id_ in ids if any(os.path.lexists(path) for path in _paths(root, id_))]


def _paths(root: str, id_: int) -> list[str]:
    return [os.path.join(root, "output", f"{id_}.{end}") for end in ("log", "0.out")]


def unknown_text(root: str, ids: list[int]) -> str:
    """Return the message about output of jobs that the store does not know."""
    path = next(filter(os.path.lexists, _paths(root, ids[0])), root)
    return (
        f"{path}: of a job that the store does not know ({len(ids)} of the kind): commits are lost,"
        " or the store is older than this folder; what ran since then may run again. If that is as it should be, move"
        " the file away"
    )
