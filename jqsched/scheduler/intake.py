"""Intake: turn job files that were dropped, edited or deleted into jobs and changes of jobs.

In: scans of the spool. Out: decisions for the ledger; a file that the core refuses is set aside with the reason.
Rule: files are taken in steps, so that the first of very many jobs start while the other files wait. The spool reports
what is there, the core decides what it means.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice

from jqsched.core import accept, decide, policy
from jqsched.core.binding import Known, arrivals_of
from jqsched.core.fold import AlreadyStarted, Answer, Refused, Step
from jqsched.core.job import Draft
from jqsched.core.jobspec import remarks
from jqsched.core.jobspec.arrays import write_indexes
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, elements, file_of, find, has_file, live
from jqsched.ports import ArrayRow, Clock, Edit, Room, ScanResult, Spool, Store, Taken
from jqsched.scheduler import array_edits
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.ledger import Ledger

NO_LIMIT = 2**63
STEP = 128  # files in one intake step: larger ones make the first start wait, smaller ones make more commits
DELETED_NOTE = "its job file was removed"

Log = Callable[[str], None]


class Intake:
    """The scheduler's side of the spool."""

    def __init__(
        self,
        ledger: Ledger,
        dispatch: Dispatch,
        spool: Spool,
        store: Store,
        clock: Clock,
        userid: int,
        log: Log,
        rejections: Callable[[], dict[int, str]],
    ) -> None:
        """`rejections` returns what plugins have rejected since it was last called."""
        self.more = True
        self.again_us: int | None = None
        self.queue_max: int | None = None
        self._awaited_room = 1
        self.is_held_up = False  # nothing is taken in, for the store has no room
        self._ledger, self._dispatch, self._spool, self._store = ledger, dispatch, spool, store
        self._clock, self._userid, self._log = clock, userid, log
        self.next_id = ledger.head.last_id + 1
        # Their files may have been edited while no scheduler ran; none starts before that was looked at.
        head = ledger.head
        self.unverified = {*map(file_of, live(head))} if head.arrays else {*head.enqueued, *head.running}
        self._rejections = rejections

    # -- drops

    @property
    def is_full(self) -> bool:
        """Whether as many jobs are queued as may be; files wait in the drop zone then. So does an array, and what is
        behind it, until there is room for all of it.
        """
        return self.is_held_up or self._room < min(self._awaited_room, self._queue_max)

    @property
    def _queue_max(self) -> int:
        return self.queue_max if self.queue_max is not None else NO_LIMIT

    @property
    def _room(self) -> int:
        """How many more jobs may be queued."""
        return self._queue_max - len(self._ledger.head.enqueued)

    def step(self) -> None:
        """Take what was dropped, up to STEP files or as many jobs, and no more than may be queued."""
        if not self.is_full:
            self._awaited_room = 1
            self.take_in(self._spool.intake(self.next_id, STEP, Room(self._room, self._queue_max)))

    def leftovers(self, is_finished: Callable[[int], bool], loaded: Queue) -> None:
        """Take the files that were moved but not accepted, and remove those of finished jobs. Called at start.

        `loaded`: the queue as the store had it. A job that ended since is in neither, and its file is no new drop.
        """
        self.take_in(self._spool.leftovers(lambda id_: has_file(loaded, id_), is_finished, self.next_id))

    def take_in(self, harvest: ScanResult) -> None:
        """Make jobs of the files of a scan; a file that is refused now is set aside."""
        self.more, self.again_us = harvest.more, harvest.again_us
        if harvest.awaits_room > 1:
            self._awaited_room = harvest.awaits_room
            self._log(f"an array of {harvest.awaits_room} jobs waits in the drop zone until so many may be queued")
        for name, errors in harvest.refused:
            self._log(_rejected(name, errors))
        if harvest.refused:
            self._ledger.sync_spool()
        if not harvest.taken:
            return
        self.next_id = max(self.next_id, *(taken.next_id for taken in harvest.taken))
        owners = {taken.id: taken.userid for taken in harvest.taken if taken.userid is not None}
        refused = self.accept([(taken.id, taken.draft, taken.text) for taken in harvest.taken], owners)
        for taken in harvest.taken:
            if taken.id in refused:
                self._set_aside(taken, refused[taken.id])

    def _set_aside(self, taken: Taken, errors: str) -> None:
        self._spool.refuse(taken.id, taken.name, errors)
        self._ledger.spend(taken.id)
        self._log(_rejected(taken.name, errors))

    def resolve_missing_antecedents(self) -> None:
        """Resolve waits for jobs that are over, which a rebuilt or restored store may hold. Called at start."""
        head = self._ledger.head
        gone = {id_ for id_ in head.dependents if isinstance(id_, int) and find(head, id_) is None}
        if gone:
            known = self._ledger.outcomes(gone, set())
            self._dispatch.take(
                lambda queue, limits, now_us: decide.resolve_missing_antecedents(queue, known, limits, now_us)
            )

    def accept(self, drafts: list[tuple[int, Draft, str]], owners: Mapping[int, int]) -> dict[int, str]:
        """Make jobs of drafts whose files are in place; returns the refusals by id. `owners`: the user of each job
        that is not the scheduler's own."""
        arrivals = [
            arrival for id_, draft, _ in drafts for arrival in arrivals_of(id_, draft, owners.get(id_, self._userid))
        ]
        known = self._known((owners.get(id_, self._userid), draft) for id_, draft, _ in drafts)
        accepted = accept.accept(self._ledger.head, arrivals, known, self._dispatch.limits, self._clock.now_us())
        self._ledger.apply(accepted.step)
        refused = {**accepted.refused, **self._rejected_by_plugins(drafts)}
        for id_, draft, text in drafts:
            if id_ not in refused:
                for line in remarks(draft.spec):
                    self._log(f"job {id_} {draft.spec.name}: {line}")
                self._ledger.file(id_, text)
                if draft.elements:
                    self._ledger.array(_row(id_, draft))
                self._spool.accepted(id_, text)
        self._remove_finished(accepted.step)
        return refused

    def _rejected_by_plugins(self, drafts: Iterable[tuple[int, Draft, str]]) -> dict[int, str]:
        """Return the refusals by plugins; a file of an array is refused if all of its elements are."""
        rejections = self._rejections()
        if not rejections:
            return rejections
        refused: dict[int, str] = {}
        for id_, draft, _ in drafts:
            gone = [other for other in range(id_, id_ + draft.ids) if other in rejections]
            if len(gone) == draft.ids:
                refused[id_] = rejections[id_]
            elif gone:
                text = f"{len(gone)} of {draft.ids} elements are rejected: {rejections[gone[0]]}"
                self._log(f"array {id_} {draft.spec.name}: {text}")
        return refused

    def _remove_finished(self, step: Step) -> None:
        """Remove the files of jobs that ended as soon as they were accepted, for they could never run."""
        over = [id_ for id_ in {file_of(job): None for job in step.finished} if not has_file(step.queue, id_)]
        if over:
            self._ledger.after(lambda: self._spool.remove(over))

    def _known(self, drafts: Iterable[tuple[int, Draft]]) -> Known:
        dependencies = ((userid, dependency) for userid, draft in drafts for dependency in draft.spec.dependencies)
        return self._ledger.outcomes(*policy.lookups(self._ledger.head, dependencies))

    def submit(self, text: str) -> int | str:
        """Make a job of a text that came by command; returns its id, or why not."""
        draft = self._spool.parse(text)
        if isinstance(draft, str):
            return draft
        return self.resubmit(draft, text, self._userid)

    def resubmit(self, draft: Draft, text: str, userid: int) -> int | str:
        """Make a job of a draft and the text of its file, for this user; returns its id, or why not."""
        if self.is_held_up:
            return "the store's log is full (`jqsched status` says why): a dropped file would wait"
        if self.is_full or draft.ids > self._room:
            return f"the queue is full (queue_max = {self.queue_max}): a dropped file would wait"
        id_ = self.next_id
        self.next_id += draft.ids
        self._spool.write(id_, text, None if userid == self._userid else userid)
        refused = self.accept([(id_, draft, text)], {id_: userid})
        if id_ in refused:
            self._spool.remove([id_])
            self._ledger.spend(id_)
            return refused[id_]
        return id_

    # -- edits

    def verify(self, ids: Iterable[int]) -> None:
        """Queue these job files for a check of what happened to them while no scheduler ran."""
        here = [id_ for id_ in ids if id_ in self.unverified]
        self.unverified.difference_update(here)
        for edit in self._spool.edits(here, at_start=True):
            self._edit(edit)

    def verify_some(self) -> None:
        """Check the next of the files that `verify` queued."""
        self.verify(list(islice(self.unverified, STEP)))

    def look_at(self, ids: Iterable[int]) -> None:
        """See whether these job files were edited or deleted, and act on it; one of no job is set aside."""
        ids = list(ids)
        head = self._ledger.head
        strays = self._spool.strays(id_ for id_ in ids if not has_file(head, id_))
        for name, why in strays:
            self._log(_rejected(name, why))
        if strays:
            self._ledger.sync_spool()
        for edit in self._spool.edits(id_ for id_ in ids if has_file(head, id_)):
            self._edit(edit)

    def _edit(self, edit: Edit) -> None:
        if edit.errors:
            self._complain(edit.id, edit.errors)
        elif edit.draft is None:
            for id_ in self._jobs_of(edit.id):
                self._deleted(id_)
        elif edit.id in self._ledger.head.arrays:
            self._update_array(edit.id, edit.draft, edit.text)
        else:
            self._update(edit.id, edit.draft, edit.text)

    def _jobs_of(self, id_: int) -> list[int]:
        """Return the live jobs of a job file: the job, or the elements of the array."""
        progress = self._ledger.head.arrays.get(id_)
        return [id_] if progress is None else [job.id for job in elements(self._ledger.head, progress.array)]

    def _update_array(self, id_: int, now: Draft, text: str) -> None:
        """Apply an edit of an array's file to those of its elements that wait."""
        was = self._last_accepted(id_)
        head = self._ledger.head
        why = f"the file as last accepted is not known: {was}" if isinstance(was, str) else ""
        if isinstance(was, str) or (why := array_edits.why_not(head, id_, was, now)):
            self._complain(id_, why)
            return
        for element, before, after in list(array_edits.changes(head, id_, was, now)):
            refused: list[str] = []
            self._dispatch.change(element, self._updating(element, before, after), partial(_note_refusal, refused))
            if refused:  # so are all others, for the same reason
                self._complain(id_, refused[0])
                return
        self._ledger.file(id_, text)
        self._spool.accepted(id_, text)

    def _updating(self, id_: int, was: Draft, now: Draft) -> Callable[[Queue, Limits, int], Step]:
        def apply(queue: Queue, limits: Limits, now_us: int) -> Step:
            job = find(queue, id_)
            known = self._known([(job.userid, now)] if job is not None else [])
            return accept.update(queue, id_, was, now, known, limits, now_us, userid=self._userid)

        return apply

    def _deleted(self, id_: int) -> None:
        """Cancel the job of a deleted file if it is queued; a running job is not affected."""
        job = find(self._ledger.head, id_)
        if job is None or job.t_run_us:
            return

        def cancel(queue: Queue, limits: Limits, now_us: int) -> Step:
            now = find(queue, id_)
            if now is None or now.t_run_us:
                return Step(queue)
            return decide.dequeue(queue, id_, limits, now_us, userid=self._userid, note=DELETED_NOTE)

        self._dispatch.change(id_, cancel, lambda _: None)

    def _update(self, id_: int, draft: Draft, text: str) -> None:
        def apply(queue: Queue, limits: Limits, now_us: int) -> Step:
            was = self._last_accepted(id_)  # now: another edit may have waited before this one
            if isinstance(was, str):
                return Step(queue, answer=Refused(f"the file as last accepted is not known: {was}"))
            if draft.elements:
                return Step(queue, answer=Refused(array_edits.UNCHANGEABLE))
            job = find(queue, id_)
            known = self._known([(job.userid, draft)] if job is not None else [])
            return accept.update(queue, id_, was, draft, known, limits, now_us, userid=self._userid)

        def answered(answer: Answer | None) -> None:
            match answer:
                case Refused(reason):
                    self._complain(id_, reason)
                case AlreadyStarted():
                    self._complain(id_, "the job runs already: only its time limit can be changed")
                case _:
                    self._ledger.file(id_, text)
                    self._spool.accepted(id_, text)

        self._dispatch.change(id_, apply, answered)

    def _last_accepted(self, id_: int) -> Draft | str:
        text = self._ledger.file_text(id_) or self._store.file(id_)
        job = next((job for job in map(partial(find, self._ledger.head), self._jobs_of(id_)) if job is not None), None)
        return self._spool.parse(text, job.spec.name if job is not None else "") if text is not None else "unknown"

    def _complain(self, id_: int, errors: str) -> None:
        """Refuse an edit: the job keeps its last good form, and the reason goes beside the file and into its log; for
        an array into that of its first element that is not over.
        """
        self._spool.complain(id_, errors)
        job = self._jobs_of(id_)[0]
        self._dispatch.take(lambda queue, limits, now_us: decide.note_refused_edit(queue, job, errors, limits, now_us))


def _row(id_: int, draft: Draft) -> ArrayRow:
    indexes = [spec.element.index for spec in draft.elements if spec.element is not None]
    return ArrayRow(id_, draft.ids, write_indexes(indexes))


def _note_refusal(refused: list[str], answer: Answer | None) -> None:
    if isinstance(answer, Refused):
        refused.append(answer.text)


def _rejected(name: str, errors: str) -> str:
    """Write the log line of a file that was set aside; all errors are in its reason file."""
    return f"rejected {name}: " + "; ".join(errors.splitlines())
