"""A spool in memory: what was dropped, the job files, what was set aside, and what their owners do to them.

Rule: it keeps the contract of `ports.Spool` but for time: a file is whole as soon as it is there, and one that is
missing was deleted.
"""

from collections.abc import Callable, Iterable

from attrs import define, evolve, field

from jqsched.core.job import Draft
from jqsched.ports import UNLIMITED, Edit, Room, ScanResult, Spool, Taken

IN_ITS_PLACE = "this file was in its place"  # of a file that was set aside for a command's job

Parse = Callable[[str, str], Draft | str]


@define
class Files:
    """What is in the folder: texts by name or id; `rejected` with the errors; `reasons` beside job files."""

    drops: dict[str, str] = field(factory=dict)
    jobs: dict[int, str] = field(factory=dict)
    rejected: dict[str, tuple[str, str]] = field(factory=dict)
    reasons: dict[int, str] = field(factory=dict)


class MemorySpool:
    """Tests put texts into `files`, and find there what became of them.

    `parse(text, name)` reads a job file as `Spool.parse` does; `known(id)` is the text of a live job's file as last
    accepted (None: it is not known yet).
    """

    def __init__(
        self, parse: Parse, known: Callable[[int], str | None] = lambda _: None, files: Files | None = None
    ) -> None:
        self.files = files or Files()
        self.steps: list[int] = []  # how many files each call of intake took or refused
        self.syncs = 0
        self._parse, self._known = parse, known
        self._written: dict[str, Draft] = {}
        self._seen: dict[int, str | None] = {}
        self._next_id = 1

    def reopen(self, known: Callable[[int], str | None] = lambda _: None) -> "MemorySpool":
        """The folder as the next scheduler finds it: the files are there, what was seen of them is forgotten."""
        again = MemorySpool(self._parse, known, self.files)
        again._written = self._written
        return again

    # ---- the drop zone --------------------------------------------------------------------------------------------

    def intake(self, next_id: int, most: int, room: Room = UNLIMITED) -> ScanResult:
        """Take up to `most` dropped files, in the order of their names, as far as there is room."""
        self._next_id = max(self._next_id, next_id)
        taken: list[Taken] = []
        refused: list[tuple[str, str]] = []
        awaits_room = 0
        for name in sorted(self.files.drops)[:most]:
            text = self.files.drops[name]
            draft = self.parse(text)
            errors = draft if isinstance(draft, str) else room.refusal(draft)
            jobs = sum(job.draft.ids for job in taken)
            if isinstance(draft, str) or errors:
                del self.files.drops[name]
                self._set_aside(name, text, errors)
                refused.append((name, errors))
            elif jobs + draft.ids > room.jobs:
                awaits_room = draft.ids
                break
            elif jobs < most:
                del self.files.drops[name]
                taken.append(self._take(self._new_id(), name, draft, text))
        self.steps.append(len(taken) + len(refused))
        return ScanResult(tuple(taken), tuple(refused), more=bool(self.files.drops), awaits_room=awaits_room)

    def leftovers(self, live: Callable[[int], bool], finished: Callable[[int], bool], next_id: int) -> ScanResult:
        """Take the job files that no job is known for, and remove those of finished jobs."""
        self.remove([id_ for id_ in self.files.jobs if finished(id_)])
        self._next_id = max(self._next_id, next_id)
        taken: list[Taken] = []
        refused: list[tuple[str, str]] = []
        for id_, text in sorted(self.files.jobs.items()):
            if live(id_):
                continue
            draft = self.parse(text)
            if isinstance(draft, str):
                self.refuse(id_, f"{id_}.json", draft)
                refused.append((f"{id_}.json", draft))
            else:
                taken.append(self._take(self._own_id(id_, draft), f"{id_}.json", draft, text))
        return ScanResult(tuple(taken), tuple(refused), more=bool(self.files.drops))

    def _own_id(self, id_: int, draft: Draft) -> int:
        """The id that a file has; another for an array that has more elements now than there are ids below the next."""
        if not any(other in self.files.jobs for other in range(id_ + 1, id_ + draft.ids)):
            return id_
        new = max(self._next_id, *self.files.jobs) + 1
        self.files.jobs[new] = self.files.jobs.pop(id_)
        return new

    def _new_id(self) -> int:
        while self._next_id in self.files.jobs:
            self._next_id += 1
        return self._next_id

    def _take(self, id_: int, name: str, draft: Draft, text: str) -> Taken:
        self._next_id = max(self._next_id, id_ + draft.ids)
        self.files.jobs[id_] = self._seen[id_] = text
        return Taken(id_, name, draft, text)

    def refuse(self, id_: int, name: str, errors: str) -> None:
        """Set a taken file aside after all, unless its owner removed it."""
        self._seen.pop(id_, None)
        text = self.files.jobs.pop(id_, None)
        if text is not None:
            self._set_aside(name, text, errors)

    def _set_aside(self, name: str, text: str, errors: str) -> None:
        kept, nth = name, 1
        while kept in self.files.rejected:
            nth += 1
            kept = f"{name}.{nth}"
        self.files.rejected[kept] = (text, errors)

    # ---- texts ----------------------------------------------------------------------------------------------------

    def parse(self, text: str, name: str = "") -> Draft | str:
        """Check the text of a job file: the draft, or all errors."""
        return self._written.get(text) or self._parse(text, name)

    def write_out(self, draft: Draft) -> str:
        """A text that reads back as this draft, but for `requeue_of`."""
        plain = evolve(draft, requeue_of=None)
        text = f"written out: {plain!r}"
        self._written[text] = plain
        return text

    # ---- job files ------------------------------------------------------------------------------------------------

    def write(self, id_: int, text: str, userid: int | None = None) -> None:  # noqa: ARG002  # all is one user's here
        """Make a job's file. What lies there already is set aside, unless it is empty."""
        self._next_id = max(self._next_id, id_ + 1)
        before = self.files.jobs.get(id_)
        if before:
            self._set_aside(f"{id_}.json", before, f"job {id_} came by command; {IN_ITS_PLACE}")
        self.files.jobs[id_] = self._seen[id_] = text

    def edits(self, ids: Iterable[int], *, at_start: bool = False) -> list[Edit]:  # noqa: ARG002  # nothing is given time
        """Tell which of these differ from what was last accepted or told."""
        found: list[Edit] = []
        for id_ in ids:
            present = self.files.jobs.get(id_)
            last = self._seen[id_] if id_ in self._seen else self._known(id_)
            self._seen[id_] = present
            if present is None and last is not None:
                found.append(Edit(id_))
            elif present is not None and present != last:
                if present == self._known(id_):
                    self.files.reasons.pop(id_, None)
                else:
                    found.append(self._read_edit(id_, present))
        return found

    def strays(self, ids: Iterable[int]) -> list[tuple[str, str]]:
        """Set aside those of these job files that no job is known for."""
        said: list[tuple[str, str]] = []
        for id_ in ids:
            text = self.files.jobs.get(id_)
            if text is not None and id_ not in self._seen:
                del self.files.jobs[id_]
                self._set_aside(f"{id_}.json", text, "no job's file")
                said.append((f"{id_}.json", "no job's file"))
        return said

    def _read_edit(self, id_: int, text: str) -> Edit:
        draft = self.parse(text)
        return Edit(id_, errors=draft) if isinstance(draft, str) else Edit(id_, draft, text)

    def accepted(self, id_: int, text: str) -> None:  # noqa: ARG002  # the text is kept by the store; `known` asks it
        """The file was accepted as it is: a reason beside it is removed."""
        self.files.reasons.pop(id_, None)

    def complain(self, id_: int, errors: str) -> None:
        """Write why an edit was refused beside the file."""
        self.files.reasons[id_] = errors

    def remove(self, ids: Iterable[int]) -> None:
        """The jobs are over: remove their files and reasons."""
        for id_ in list(ids):
            self.files.jobs.pop(id_, None)
            self.files.reasons.pop(id_, None)
            self._seen.pop(id_, None)

    def sync(self) -> None:
        """Count."""
        self.syncs += 1


_PORT: type[Spool] = MemorySpool  # for mypy: it has the port's methods
