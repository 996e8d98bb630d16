"""What a crash left in `jobs/`, looked at once, at start.

Rule: a file there without a job is a drop that was not accepted yet. It keeps its id where that can still be new; one
that cannot (below every new id, or absurdly high: somebody put it there) gets the next.
"""

import re
from collections.abc import Callable

from jqsched.adapters.spool.drops import Drop, Drops
from jqsched.adapters.spool.edits import Edits
from jqsched.adapters.spool.folder import Folder
from jqsched.ports import Harvest

_FILE = re.compile(r"([1-9]\d{0,18})\.(json|toml)(\.reason)?", re.ASCII)
_FAR = 1_000_000


def take_leftovers(
    jobs: Folder,
    drops: Drops,
    edits: Edits,
    live: Callable[[int], bool],
    finished: Callable[[int], bool],
    next_id: int,
) -> Harvest:
    """Take what was not accepted, remove what is over; the rest belongs to live jobs."""
    new: dict[int, str] = {}
    strange: list[str] = []
    for name, _ in list(jobs.scan()):
        if name.startswith(".new-"):
            jobs.unlink(name, missing_ok=True)
        elif match := _FILE.fullmatch(name):
            id_ = int(match[1])
            if match[3]:
                _sort_reason(jobs, edits, id_, live(id_))
            elif live(id_) or finished(id_):
                if match[2] == "toml" or not live(id_):
                    jobs.unlink(name, missing_ok=True)
            elif not next_id <= id_ < next_id + _FAR:
                strange.append(name)
            elif new.get(id_) != f"{id_}.toml":  # beside its TOML, the JSON may be half converted
                new[id_] = name
    found = [Drop(name, name, arrived=True, id=id_, label=jobs.labelled(name)) for id_, name in sorted(new.items())]
    for drop in found:
        if drop.entry.endswith(".toml"):
            jobs.unlink(f"{drop.id}.json", missing_ok=True)
    found += [Drop(name, name, arrived=True, label=jobs.labelled(name)) for name in sorted(strange)]
    return drops.take_back(found, next_id, edits.seen)


def _sort_reason(jobs: Folder, edits: Edits, id_: int, is_live: bool) -> None:
    if is_live:
        edits.reasons.add(id_)
    else:
        jobs.unlink(f"{id_}.json.reason", missing_ok=True)
