"""The files of live jobs, `jobs/ID.json`, and the edits that their owners make.

In: the folder, and the ids to look at. Out: edits, deletions and refusals as values; OSError when the disk fails.
Rule: each change is reported once. A file is compared first by its stat signature (one integer is kept for each job),
then by its content with the file as last accepted, which the store keeps. Source: docs/reference/job-file.md (Editing).
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial

from attrs import frozen

from jqsched.adapters.jobfile import Content, Refusal, distrust, read_job
from jqsched.adapters.spool.folder import Folder, signature
from jqsched.adapters.spool.rejects import Rejects
from jqsched.adapters.spool.write_stability import Quiet
from jqsched.core.job import Draft
from jqsched.ports import Edit

# An editor that saves by moving the old file away first leaves a moment without any.
ABSENT_US = 500_000
_GONE = 0


@frozen
class Known:
    """A live job: its name, its file as last accepted (None: not durable yet), and its owner (None: the scheduler's
    own user).
    """

    name: str
    text: str | None
    userid: int | None = None


class Edits:
    """The job files and their last signatures. `reasons` are the jobs that have a reason file beside theirs."""

    def __init__(
        self,
        jobs: Folder,
        rejects: Rejects,
        quiet: Quiet,
        cwd: str,
        known: Callable[[int], Known | None],
        log: logging.Logger,
    ) -> None:
        self._jobs, self._rejects, self._quiet, self._cwd = jobs, rejects, quiet, cwd
        self._known, self._log = known, log
        self._signatures: dict[int, int] = {}
        self._round: list[int] = []
        self.reasons: set[int] = set()

    def seen(self, id_: int, sign: int) -> None:
        """Note the signature of a job's file that the scheduler made or took itself."""
        self._signatures[id_] = sign

    def is_ours(self, id_: int) -> bool:
        """Whether a change of this file was our own doing, or is known already. Any thread; one stat."""
        sign = self._signatures.get(id_)
        if sign is None:
            return True
        try:
            return signature(self._jobs.stat(f"{id_}.json")) == sign
        except FileNotFoundError:
            return sign == _GONE
        except OSError:
            return False

    def is_stray(self, id_: int) -> bool:
        """Whether there is a file of this id that is not known, if the job is not live. Any thread; mostly no call."""
        return id_ not in self._signatures and self._jobs.has(f"{id_}.json")

    def scan(self, most: int) -> list[int]:
        """Look at up to `most` files, from where the last call stopped; return the ids of those that changed."""
        if not self._round:
            self._round = list(self._signatures)
        part = self._round[-most:]
        del self._round[-most:]
        return [id_ for id_ in part if not self.is_ours(id_)]

    @property
    def is_scanning(self) -> bool:
        """Whether a round of `scan` is not finished."""
        return bool(self._round)

    def look(self, ids: Iterable[int], *, at_start: bool = False) -> list[Edit]:
        """Return the changes of these files, and of those that were still being written before."""
        due = [int(key) for key in self._quiet.due()]
        edits = [self._look(id_, at_start=at_start) for id_ in dict.fromkeys([*ids, *due])]
        return [edit for edit in edits if edit is not None]

    def _look(self, id_: int, *, at_start: bool) -> Edit | None:
        known = self._known(id_)
        key, entry = str(id_), f"{id_}.json"
        if known is None:
            self._quiet.forget(key)
            return None
        try:
            sign = signature(self._jobs.stat(entry))
            if self._signatures.get(id_) == sign:
                self._quiet.forget(key)
                return None
            content = self._jobs.read(entry, partial(distrust, owner=known.userid))
        except FileNotFoundError:
            return self._missing(id_, at_start=at_start)
        if isinstance(content, Refusal) and content.busy:
            self._quiet.again(key, self._jobs.stat(entry))
            return None
        if isinstance(content, Refusal):
            return self._tell(id_, sign, Edit(id_, errors=content.text))
        return self._compare(id_, content, known)

    def _missing(self, id_: int, *, at_start: bool) -> Edit | None:
        if self._signatures.get(id_) == _GONE:
            return None
        if not at_start and not self._quiet.absent(str(id_), ABSENT_US):
            return None
        return self._tell(id_, _GONE, Edit(id_))

    def _compare(self, id_: int, content: Content, known: Known) -> Edit | None:
        sign = signature(content.stat)
        if known.text is not None and content.data == known.text.encode():
            self._tell(id_, sign, None)
            self.forget_reason(id_)
            return None
        if self._is_written(id_, content, known):
            self._quiet.again(str(id_), content.stat)
            return None
        job = read_job(content.data, ".json", self._cwd, name=known.name)
        if isinstance(job, Draft):
            return self._tell(id_, sign, Edit(id_, job, content.data.decode()))
        if job.incomplete and not self._quiet.settled(str(id_), content.stat):
            return None
        if not content.data.strip(b"\0 \r\n\t") and known.text:
            self._log.warning("jobs/%d.json was empty, as a power cut leaves it: restored", id_)
            self.write(id_, known.text, known.userid, over=True)
            return None
        return self._tell(id_, sign, Edit(id_, errors="\n".join(job.errors)))

    def _is_written(self, id_: int, content: Content, known: Known) -> bool:
        """Whether a process has the changed file open for writing, or it has changed a moment ago."""
        try:
            again = self._jobs.read(f"{id_}.json", partial(distrust, owner=known.userid), ask_writers=True)
        except FileNotFoundError:
            return True
        return isinstance(again, Refusal) or bool(again.written) or again.data != content.data

    def _tell(self, id_: int, sign: int, edit: Edit | None) -> Edit | None:
        self._signatures[id_] = sign
        self._quiet.forget(str(id_))
        return edit

    # ---- the scheduler's own changes ------------------------------------------------------------------------------

    def write(self, id_: int, text: str, owner: int | None = None, *, over: bool = False) -> None:
        """Make a job's file. FileExistsError: there is one, unless it is to be written over."""
        new, entry = f".new-{id_}", f"{id_}.json"
        self._rejects.clear(self._jobs, new)
        self._jobs.create(new, text.encode(), owner)
        if over:
            self._replace(new, entry)
        else:
            self._jobs.move(new, self._jobs, entry)
        self._signatures[id_] = signature(self._jobs.stat(entry))

    def complain(self, id_: int, errors: str) -> None:
        """Write the reason beside the file."""
        self._rejects.clear(self._jobs, f".new-{id_}.reason")
        self._jobs.create(f".new-{id_}.reason", f"{errors}\n".encode(errors="backslashreplace"))
        self._replace(f".new-{id_}.reason", f"{id_}.json.reason")
        self.reasons.add(id_)

    def _replace(self, new: str, entry: str) -> None:
        try:
            self._jobs.replace(new, entry)
        except IsADirectoryError:
            self._rejects.clear(self._jobs, entry)
            self._jobs.replace(new, entry)

    def forget_reason(self, id_: int) -> None:
        """Remove the reason beside the file, if there is one."""
        if id_ in self.reasons:
            self._rejects.clear(self._jobs, f"{id_}.json.reason")
            self.reasons.discard(id_)

    def remove(self, id_: int) -> None:
        """Remove the file and the reason of a job that is over."""
        self.forget(id_)
        self.forget_reason(id_)
        self._rejects.clear(self._jobs, f"{id_}.json")

    def forget(self, id_: int) -> None:
        """Drop what is kept of a file that is no longer a job's."""
        self._signatures.pop(id_, None)
        self._quiet.forget(str(id_))
