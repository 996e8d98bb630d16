"""Recovery of `jobs/`: sort the files that a crash left there, once, at start.

In: the folder, the live jobs and the last id given out. Out: drops to accept; files to remove or set aside.
Rule: a file without a job counts as a drop that was not accepted yet only where that is proved: its id is above all
that were given out, or it bears the mark of a drop. Every other file came there some other way (an editor that saved
after the job was over and purged, say), and is set aside, so that no job that ran runs again.
"""

import logging
import re
from collections.abc import Callable
from enum import Enum, auto

from jqsched.adapters.spool.edits import Edits
from jqsched.adapters.spool.folder import Folder, escaped
from jqsched.adapters.spool.inbox import Drop, Drops
from jqsched.adapters.spool.rejects import Rejects
from jqsched.core.jobspec.values import ID_MAX
from jqsched.ports import ScanResult

_FILE = re.compile(r"([1-9]\d*)\.(json|toml)(\.reason)?", re.ASCII)
_FAR = 1_000_000
_SHOWN_MAX = 5


class _What(Enum):
    """What a file in `jobs/` is. LIVE: a live job's, or to be left alone; RUBBISH: our own, and of no use any more."""

    NEW = auto()
    MARKED = auto()
    LIVE = auto()
    REASON = auto()
    LATE = auto()
    RUBBISH = auto()
    STRANGE = auto()
    OTHER = auto()


def take_leftovers(
    jobs: Folder,
    drops: Drops,
    edits: Edits,
    rejects: Rejects,
    live: Callable[[int], bool],
    finished: Callable[[int], bool],
    next_id: int,
    log: logging.Logger,
) -> ScanResult:
    """Take what was not accepted, remove what is over, set aside what is strange; the rest belongs to live jobs."""
    new: dict[int, str] = {}
    marked, strange, others = list[str](), list[str](), list[str]()
    for name, _ in list(jobs.scan()):
        id_, what = _look(jobs, name, live, finished, next_id)
        if what is _What.NEW:
            if new.get(id_) != f"{id_}.toml":  # beside its TOML, the JSON may be half converted
                new[id_] = name
        elif what is _What.MARKED:
            marked.append(name)
        elif what is _What.STRANGE:
            strange.append(name)
        elif what is _What.OTHER:
            others.append(name)
        elif what is _What.REASON:
            edits.reasons.add(id_)
        elif what is not _What.LIVE:
            rejects.clear(jobs, name)
            if what is _What.LATE:
                log.warning("jobs/%s was removed: job %d is over, and what came since is too late", name, id_)
    if others:
        shown = ", ".join(escaped(name) for name in sorted(others)[:_SHOWN_MAX])
        log.warning("jobs/ holds %d file(s) that belong to no job: %s", len(others), shown)
    found = [Drop(name, name, arrived=True, id=id_, label=jobs.labelled(name)) for id_, name in sorted(new.items())]
    for drop in found:
        if drop.entry.endswith(".toml"):
            rejects.clear(jobs, f"{drop.id}.json")
    found += [Drop(name, name, arrived=True, label=jobs.labelled(name)) for name in sorted(marked)]
    for name in sorted(strange):
        log.warning("rejected %s: %s", name, set_stray_aside(jobs, rejects, name))
    return drops.take_back(found, next_id, edits.seen)


def set_stray_aside(jobs: Folder, rejects: Rejects, name: str) -> str:
    """Set aside a file in `jobs/` that belongs to no job; returns why."""
    why = f"jobs/{name} is no job's file: its job is over, or there never was one; to run it, drop it into the spool"
    rejects.set_aside(jobs, name, name, (why,))
    return why


def _look(
    jobs: Folder, name: str, live: Callable[[int], bool], finished: Callable[[int], bool], next_id: int
) -> tuple[int, _What]:
    """Return what a file is, and the id in its name (0: none)."""
    match = _FILE.fullmatch(name)
    if match is None:
        is_other = name.endswith((".json", ".toml")) and not name.startswith(".")
        return 0, _What.OTHER if is_other else _What.RUBBISH if name.startswith(".new-") else _What.LIVE
    id_ = _id(match[1])
    if id_ is None:
        return 0, _What.STRANGE
    if match[3]:
        return id_, _What.REASON if live(id_) else _What.RUBBISH
    if live(id_):
        return id_, _What.RUBBISH if match[2] == "toml" else _What.LIVE
    if finished(id_):
        return id_, _What.LATE
    if next_id <= id_ < next_id + _FAR:
        return id_, _What.NEW
    return id_, _What.MARKED if jobs.is_marked(name) else _What.STRANGE


def _id(digits: str) -> int | None:
    """Parse an id; None if it is out of range."""
    return int(digits) if len(digits) <= len(str(ID_MAX)) and int(digits) <= ID_MAX else None
