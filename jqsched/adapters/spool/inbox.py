"""The inbox: move dropped files from the drop zone to `jobs/ID.json`, or to `rejected/`.

In: the drop zone, and hints which names to look at. Out: drafts and refusals; OSError when the disk fails.
Rule: whatever happens, a dropped file is in the drop zone, in `jobs/` or in `rejected/`; it is never unlinked by the
name under which it was dropped, and not judged while it may still be written. Source: docs/reference/job-file.md.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from itertools import islice

from attrs import evolve, frozen

from jqsched.adapters.jobfile import (
    BadFile,
    Content,
    Distrust,
    Refusal,
    as_json,
    distrust,
    is_named_by_file,
    other_owner,
    read_job,
)
from jqsched.adapters.spool.folder import Folder, escaped, is_same, signature
from jqsched.adapters.spool.lingering import Lingering
from jqsched.adapters.spool.rejects import FILES_MAX, Rejects
from jqsched.adapters.spool.write_stability import Quiet
from jqsched.core.job import Draft
from jqsched.ports import UNLIMITED, Room, ScanResult, Taken

CONFIG = "jqsched.toml"
_OURS = {"jobs", "output", "rejected", "archive", "drop", "__pycache__"}  # the last: of plugins in the spool
_TEMPORARY = ("~", ".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", ".new", ".lock")
NO_JOB_FILE = "in the drop zone, and no job file (NAME.json or NAME.toml)"
_OPEN = "in the drop zone, and its writer still has it open"
_LEASED = "in the drop zone, and another process holds a lease on it"
_NOT_READ = "in the drop zone, and cannot be taken or read until it is changed"
LISTED_AT_ONCE = 50_000  # names; a tenth of a second, after which the first of a million files can start
_HINTS_MAX = 100_000
_AGAIN = "taking dropped files: %s: %s: it is tried again"
# errors of rename that are about this one file (immutable, mounted on, a directory not ours), not about the disk
_THIS_FILE = {errno.EPERM, errno.EACCES, errno.EBUSY, errno.EXDEV, errno.ENOTEMPTY, errno.ETXTBSY}


def is_job_name(name: str) -> bool:
    """Whether a file of this name in the drop zone is a job; temporary names of editors and uploaders are not."""
    return name.endswith((".json", ".toml")) and name[0] not in ".#" and name != CONFIG


def is_strange(name: str) -> bool:
    """Whether a file of this name is neither a job, nor ours, nor a temporary one: perhaps it was meant to be a job."""
    is_ours = name in _OURS or name.startswith("jqsched")
    return not (is_job_name(name) or name[0] in ".#" or name.endswith(_TEMPORARY) or is_ours)


@frozen
class Drop:
    """A dropped file: its present name, the one under which it was dropped, and whether it is in `jobs/` already.

    `id` is the one that it has, 0 when it is to get the next. `label` is what a leftover was called, where it is known.
    """

    entry: str
    name: str
    arrived: bool = False
    id: int = 0
    label: str = ""

    @property
    def key(self) -> str:
        """Return what distinguishes this drop from all others."""
        return f"jobs/{self.entry}" if self.arrived else self.entry

    @property
    def stem(self) -> str:
        """Return its original name without suffix, as far as known: a leftover has its id, maybe a label."""
        return self.label if self.arrived and self.entry == self.name else self.name[:-5]


class Drops:
    """The dropped files that are not taken yet.

    `_pending` are the names listed last that are still to be looked at, the next one last; `_odd` those that are no
    regular files. `_listing` is the rest of a scan, where there are very many, and `_unseen` what it has to meet if it
    is still there. `_halfway` were moved to `jobs/` and there found changed, or not found out about. `_left` stay where
    they are until they change, `_beyond` of them because `rejected/` is full.
    """

    def __init__(
        self,
        root: Folder,
        jobs: Folder,
        rejects: Rejects,
        quiet: Quiet,
        lingering: Lingering,
        cwd: str,
        log: logging.Logger,
        distrusted: Distrust = distrust,
    ) -> None:
        self.lingering = lingering
        self._root, self._jobs, self._rejects, self._quiet, self._cwd = root, jobs, rejects, quiet, cwd
        self._log, self._distrusted = log, distrusted
        self._next_id = 1
        self._rung = True
        self._hints: dict[str, bool] = {}
        self._pending: list[str] = []
        self._listing: Iterator[tuple[str, bool]] | None = None
        self._unseen: set[str] = set()
        self._odd: set[str] = set()
        self._left: dict[str, int] = {}
        self._halfway: list[Drop] = []
        self._beyond: set[str] = set()
        self._reserved: set[int] = set()
        self._room, self._awaits_room = UNLIMITED, 0

    def ring(self, name: str | None, settled: bool) -> None:
        """Look again. With a name: its writer closed it, or (settled) it was renamed in whole. Any thread."""
        if name is not None and is_job_name(name):
            if len(self._hints) >= _HINTS_MAX:
                self._hints.clear()  # a hint only saves two seconds
            self._hints[name] = settled or self._hints.get(name, False)
        self._rung = True

    # ---- looking --------------------------------------------------------------------------------------------------

    def intake(self, next_id: int, most: int, seen: Callable[[int, int], None], room: Room = UNLIMITED) -> ScanResult:
        """Look at up to `most` files; `seen` is told each id taken and its file's signature.

        It ends early when there is no room for the next, or enough jobs of arrays were taken for one step.

        OSError: nothing was taken, and the next call begins with the same file. Where something was, it is logged, and
        the next call tries again.
        """
        self._next_id = max(self._next_id, next_id)
        taken: list[Taken] = []
        refused: list[tuple[str, str]] = []
        self._room, self._awaits_room, jobs = room, 0, 0
        for drop in self._next_drops(most):
            try:
                outcome = self._take(drop, seen)
            except OSError as wrong:
                self._put_back(drop)
                if not taken and not refused:
                    raise
                self._log.warning(_AGAIN, escaped(f"{wrong.filename}"), wrong.strerror)
                break
            if isinstance(outcome, Taken):
                taken.append(outcome)
                jobs += outcome.draft.ids
                self._room = evolve(room, jobs=room.jobs - jobs)
                if jobs >= most:
                    break
            elif self._awaits_room:
                self._put_back(drop)
                break
            elif outcome is not None:
                refused.append(outcome)
        more = bool(self._pending) or self._is_due()
        return ScanResult(tuple(taken), tuple(refused), more, self._quiet.again_us(), self._awaits_room)

    def take_back(self, drops: list[Drop], next_id: int, seen: Callable[[int, int], None]) -> ScanResult:
        """Take files that are in `jobs/` already, all at once: each has its id."""
        self._halfway.extend(drops)
        self._reserved = {drop.id for drop in drops}
        following, found = max([next_id, *(drop.id + 1 for drop in drops)]), ScanResult()
        for _ in range(len(drops)):
            part = self.intake(following, len(self._halfway), seen)
            found = evolve(part, taken=found.taken + part.taken, refused=found.refused + part.refused)
            following = max([following, *(taken.next_id for taken in part.taken)])
            if not self._halfway:
                break
        self._reserved = set()
        return found

    def _put_back(self, drop: Drop) -> None:
        if drop.arrived:
            self._halfway.append(drop)
        else:
            self._pending.append(drop.entry)

    def _next_drops(self, most: int) -> Iterator[Drop]:
        for _ in range(min(most, len(self._halfway))):
            yield self._halfway.pop(0)
            most -= 1
        if not self._pending and self._is_due():
            self._scan()
        while self._pending and most > 0:
            name = self._pending.pop()
            most -= 1
            if not self._is_unchanged(name):
                yield Drop(name, name)

    def _is_due(self) -> bool:
        return self._listing is not None or self._rung or bool(self._quiet.due())

    def _scan(self) -> None:
        """List what is there; of very many names the next portion."""
        if self._listing is None:
            self._rung = False  # before the scan: a hint that comes during it must not be forgotten
            noted = self.lingering.names()
            self._unseen = {*self._hints, *self._left, *noted, *(key for key in self._quiet if "/" not in key)}
        try:
            listing = self._listing = self._listing or self._root.scan()
            listed = list(islice(listing, LISTED_AT_ONCE))
        except OSError:
            self._listing, self._rung = None, True
            raise
        found = [entry for entry in listed if is_job_name(entry[0])]
        self._pending = sorted((name for name, _ in found), reverse=True)
        self._odd = {name for name, regular in found if not regular}
        self._unseen.difference_update(self._pending)
        for name, _ in listed:
            if is_strange(name):
                self._unseen.discard(name)
                self.lingering.note(name, NO_JOB_FILE)
        if len(listed) < LISTED_AT_ONCE:
            self._listing = None
            for gone in self._unseen:
                self._hints.pop(gone, None)
                self._left.pop(gone, None)
                self._beyond.discard(gone)
                self._quiet.forget(gone)
                self.lingering.forget(gone)

    def _is_unchanged(self, name: str) -> bool:
        """Whether this file was looked at before, and there is no reason to do it again."""
        if name in self._beyond and not self._rejects.is_full:
            self._beyond.discard(name)
            self._left.pop(name, None)
        if name not in self._left and not len(self._quiet):
            return False
        try:
            found = self._root.stat(name)
        except FileNotFoundError:
            return True
        if self._left.get(name) == signature(found):
            return True
        if self._left.pop(name, None) is not None:
            self.lingering.forget(name)
        return name not in self._hints and self._quiet.waits(name, found)

    # ---- judging --------------------------------------------------------------------------------------------------

    def _take(self, drop: Drop, seen: Callable[[int, int], None]) -> Taken | tuple[str, str] | None:
        """Judge one file: taken, refused (name, errors), or None: gone, or not to be judged yet."""
        try:
            content = self._read(drop)
        except FileNotFoundError:
            self._quiet.forget(drop.key)
            return None
        if isinstance(content, Refusal) and content.busy:
            self._wait(drop, _LEASED)
            return None
        if isinstance(content, Refusal):
            return self._refuse(drop, (content.text,), content.unreadable)
        if content.written:
            self._wait(drop, _OPEN)
            return None
        hint = self._hints.pop(drop.key, None)
        suffix = drop.entry[-5:]
        job = read_job(content.data, suffix, self._cwd, drop.stem, owner=content.stat.st_uid)
        if isinstance(job, BadFile):
            unsure = job.incomplete and not hint
        else:
            unsure = suffix == ".toml" and hint is None and content.written is None
        if unsure and not self._quiet.settled(drop.key, content.stat):
            return None
        self._quiet.forget(drop.key)
        self.lingering.forget(drop.key)
        if isinstance(job, BadFile):
            return self._refuse(drop, job.errors)
        if never := self._room.refusal(job):
            return self._refuse(drop, (never,))
        if job.ids > self._room.jobs:
            self._awaits_room = job.ids
            if hint is not None:
                self._hints[drop.key] = hint
            return None
        return self._keep(drop, content, job, seen)

    def _wait(self, drop: Drop, why: str) -> None:
        """Postpone a file that is still being written."""
        try:
            self._quiet.again(drop.key, self._folder(drop).stat(drop.entry))
        except FileNotFoundError:
            return
        self._hints.pop(drop.key, None)
        if drop.arrived:
            self._halfway.append(drop)
        else:
            self.lingering.note(drop.entry, why)

    def _folder(self, drop: Drop) -> Folder:
        return self._jobs if drop.arrived else self._root

    def _read(self, drop: Drop) -> Content | Refusal:
        if not drop.arrived and drop.entry in self._odd:  # opening a device may do things
            self._odd.discard(drop.entry)
            if text := self._distrusted(self._root.stat(drop.entry)):
                return Refusal(text)
        was_renamed_in = self._hints.get(drop.key, False)  # then it is whole: a rename says so
        return self._folder(drop).read(drop.entry, self._distrusted, ask_writers=not was_renamed_in)

    def _refuse(self, drop: Drop, errors: tuple[str, ...], unreadable: bool = False) -> tuple[str, str] | None:
        self._hints.pop(drop.key, None)
        if not unreadable and not drop.arrived and self._rejects.is_full:
            return self._leave_beyond(drop, errors)
        if not unreadable:
            try:
                self._rejects.set_aside(self._folder(drop), drop.entry, drop.name, errors)
                return escaped(drop.name), "\n".join(errors)
            except OSError as wrong:
                if wrong.errno == errno.ENOENT and not self._folder(drop).has(drop.entry):
                    return None
                if wrong.errno not in _THIS_FILE:
                    raise
                errors = (*errors, f"cannot be set aside: {wrong.strerror}")
        try:
            self._left[drop.key] = signature(self._folder(drop).stat(drop.entry))
        except FileNotFoundError:
            return None
        self.lingering.note(drop.key, _NOT_READ)
        return escaped(drop.name), "\n".join((*errors, "left where it is until it changes"))

    def _leave_beyond(self, drop: Drop, errors: tuple[str, ...]) -> tuple[str, str] | None:
        """Leave a file where it is, as `rejected/` is full. The first such file is logged; `status` counts them."""
        is_first = not self._beyond
        try:
            self._left[drop.entry] = signature(self._root.stat(drop.entry))
        except FileNotFoundError:
            return None
        self._beyond.add(drop.entry)
        full = f"left where it is, and more like it: rejected/ holds {FILES_MAX} files or more: delete some"
        return (escaped(drop.name), "\n".join((*errors, full))) if is_first else None

    def give_back(self, entry: str, name: str) -> bool:
        """Put back a file that was refused after it was taken: there is no room in `rejected/`. False: it cannot be."""
        try:
            self._jobs.move(entry, self._root, name)
            self._left[name] = signature(self._root.stat(name))
        except FileExistsError:
            return False
        except FileNotFoundError:
            return True
        self._beyond.add(name)
        return True

    @property
    def beyond_count(self) -> int:
        """How many files are here only because there is no room in `rejected/`."""
        return len(self._beyond)

    def is_halfway(self, entry: str) -> bool:
        """Whether a file in `jobs/` is one of ours that is not accepted yet."""
        return any(drop.entry == entry for drop in self._halfway)

    # ---- moving to `jobs/` ----------------------------------------------------------------------------------------

    def _keep(
        self, drop: Drop, content: Content, job: Draft, seen: Callable[[int, int], None]
    ) -> Taken | tuple[str, str] | None:
        """Move a good file to `jobs/`, and make sure that what arrived there is what was read."""
        suffix = drop.entry[-5:]
        label = drop.stem if is_named_by_file(job, drop.stem) else ""
        try:
            id_ = self._own_id(drop, job) or self._move(drop, suffix, label)
            self._next_id = max(self._next_id, id_ + job.ids)
        except OSError as wrong:
            if wrong.errno == errno.ENOENT and not self._folder(drop).has(drop.entry):
                return None
            if wrong.errno in _THIS_FILE:
                return self._refuse(drop, (f"cannot be taken: {wrong.strerror}",), unreadable=True)
            raise
        entry = f"{id_}{suffix}"
        text = as_json(content.data, suffix)
        try:
            found = self._jobs.stat(entry)
            if not is_same(found, content.stat):
                self._jobs.mark(entry)
                self._halfway.append(Drop(entry, drop.name, arrived=True))
                self._rung = True
                return None
            if suffix == ".toml":
                if drop.id:  # an error may have ended it between the two files: the TOML is the one that counts
                    self._jobs.unlink(f"{id_}.json", missing_ok=True)
                found = self._convert(id_, text, other_owner(content.stat), label)
        except OSError as wrong:
            if wrong.errno == errno.ENOENT and not self._jobs.has(entry):
                return None  # its owner took it away again
            if not drop.id:
                self._jobs.mark(entry)
                self._halfway.append(Drop(entry, drop.name, arrived=True, id=id_))
            raise
        seen(id_, signature(found))
        return Taken(id_, drop.name, job, text, other_owner(content.stat))

    def _own_id(self, drop: Drop, job: Draft) -> int:
        """Return the id that a drop has already, 0 if it is to get the next: it has none, or is an array that has more
        elements now than there are ids below the next file's.
        """
        following = range(drop.id + 1, drop.id + job.ids)
        return 0 if drop.id and any(id_ in following for id_ in self._reserved) else drop.id

    def _move(self, drop: Drop, suffix: str, label: str) -> int:
        if label:  # before a crash can part it from its name
            self._folder(drop).label(drop.entry, label)
        while True:
            id_ = self._next_id
            self._next_id += 1
            if suffix == ".toml" and self._jobs.has(f"{id_}.json"):
                continue
            try:
                self._folder(drop).move(drop.entry, self._jobs, f"{id_}{suffix}")
            except FileExistsError:
                continue
            except OSError:
                self._next_id = id_
                raise
            return id_

    def _convert(self, id_: int, text: str, owner: int | None, label: str) -> os.stat_result:
        """Write `jobs/ID.json` beside `jobs/ID.toml`, and remove the latter: it has had our own name since the move.

        It gets the same owner: after a crash that alone tells which user's job it is.
        """
        self._jobs.write(f".new-{id_}", text.encode(), owner)
        if label:
            self._jobs.label(f".new-{id_}", label)
        self._jobs.move(f".new-{id_}", self._jobs, f"{id_}.json")
        self._jobs.unlink(f"{id_}.toml")
        return self._jobs.stat(f"{id_}.json")
