"""Housekeeping: delete finished jobs, on a user's request or because more are kept than `keep_finished` allows.

In: requests with ids or an age, and the number to keep. Out: purges for the ledger, and answers with their counts.
Rule: it works in steps, each part of a commit of a few milliseconds, so that the loop turns between two steps and no
client waits. Where the times of events are ahead of the clock, marks tell how old a job is.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from attrs import define

from jqsched.core.job import Outcome, Progress
from jqsched.ports import Clock, Store
from jqsched.scheduler.ledger import Ledger

PURGED = "purged"  # the setting that counts the purged jobs
CLOCK = "clock"  # the setting that holds the marks
STEP_US = 20_000  # a step is made so large that it is durable after about so long
STEP_MIN, STEP_FIRST, STEP_MAX = 128, 256, 2_048  # fewer are no faster: each commit is synced
PATIENCE_US = 250_000  # so long may other work be committed before the next step
END_US = 2**62
AHEAD_US = 60_000_000
NOW_US = 1_000_000  # a time as young as this was meant as now when it was asked for
MARKS_MAX = 256

Marks = tuple[tuple[int, int], ...]  # (time of an event, wall-clock time at which it was the last one), in their order
Answer = Callable[[int | OSError], None]


@define
class _Purge:
    """One purge: these jobs, or (None) the oldest ones that ended before a time, at most `left`."""

    ids: deque[int] | None
    before_us: int
    left: int
    answer: Answer
    count: int = 0


class Housekeeping:
    """Deletes finished jobs step by step. `keep_finished`: how many the store keeps (None: all)."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        clock: Clock,
        settings: dict[str, str],
        forgotten: Callable[[Sequence[int]], None],
    ) -> None:
        self.keep_finished: int | None = None
        self._ledger, self._store, self._clock, self._forgotten = ledger, store, clock, forgotten
        self._purged = int(settings.get(PURGED, 0))
        self._marks = read_marks(settings.get(CLOCK))
        self._purges: deque[_Purge] = deque()
        self._step = STEP_FIRST
        self._is_under_way = False
        self._last_us = 0  # when the last step was durable

    @property
    def is_due(self) -> bool:
        """Whether a step is due now: a commit of its own, for what else is in one with it would wait for it too."""
        if not self._purges or self._is_under_way:
            return False
        return not self._ledger.has_more or self._clock.monotonic_us() >= self._last_us + PATIENCE_US

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._purges and not self._is_under_way

    # -- requests

    def purge(self, ids: Iterable[int], answer: Answer) -> None:
        """Delete these finished jobs; `answer` is called with their number when all are gone."""
        wanted = deque(dict.fromkeys(ids))
        self._purges.append(_Purge(wanted, END_US, len(wanted), answer))

    def purge_before(self, wall_us: int, answer: Answer) -> None:
        """Delete the jobs that ended before a time on the clock, and before now: what ends meanwhile stays."""
        before_us = ended_before_us(json.dumps(self._marks), wall_us, self._clock.now_us())
        before_us = min(before_us, self._ledger.head.last_us + 1)
        self._purges.append(_Purge(None, before_us, END_US, answer))

    def look(self, finished_count: int) -> None:
        """Mark the time, and request a purge if too many finished jobs are kept. Called now and then.

        The oldest are those with the first events, whatever the clock says.
        """
        marks = marked(self._marks, self._ledger.head.last_us, self._clock.now_us())
        if marks != self._marks:
            self._marks = marks
            self._ledger.setting(CLOCK, json.dumps(marks))
        if self.keep_finished is not None and self.is_idle:
            too_many = finished_count - self._purged - self.keep_finished
            if too_many > 0:
                self._purges.append(_Purge(None, END_US, too_many, lambda _: None))

    def abandon(self, why: OSError) -> None:
        """Drop all purges, as the scheduler ends; jobs that are not deleted yet stay."""
        while self._purges:
            self._purges.popleft().answer(why)

    # -- steps

    def step(self) -> None:
        """Delete the next jobs, once those of the step before are durably gone."""
        if not self.is_due:
            return
        purge = self._purges[0]
        ids = self._next(purge)
        if not ids and purge.ids:  # an earlier request deleted these: the next turn looks at those that follow
            return
        if not ids:
            self._purges.popleft()
            self._ledger.after(lambda: purge.answer(purge.count), urgent=True)
            return
        purge.count += len(ids)
        purge.left -= len(ids)
        self._purged += len(ids)
        self._ledger.purge(ids)
        self._forgotten(ids)
        self._ledger.setting(PURGED, str(self._purged))
        self._is_under_way, begun_us = True, self._clock.monotonic_us()
        self._ledger.after(lambda: self._done(begun_us), urgent=True)

    def _next(self, purge: _Purge) -> list[int]:
        most = min(self._step, purge.left)
        if purge.ids is None:
            return self._store.finished_before(purge.before_us, most) if most > 0 else []
        ids = [purge.ids.popleft() for _ in range(min(most, len(purge.ids)))]
        known = self._store.outcomes(ids, ())
        arrays = self._ledger.head.arrays
        return [id_ for id_ in ids if id_ in known and not _is_of_live_array(known[id_], arrays)]

    def _done(self, begun_us: int) -> None:
        self._is_under_way = False
        self._last_us = self._clock.monotonic_us()
        took_us = self._last_us - begun_us
        if took_us > STEP_US:
            self._step = max(STEP_MIN, self._step // 2)
        elif took_us < STEP_US // 2:
            self._step = min(STEP_MAX, self._step * 2)


def _is_of_live_array(outcome: Outcome, arrays: Mapping[int, Progress]) -> bool:
    """Whether a job is an element of an array that is not over, which tells how many of its elements have failed."""
    return outcome.element is not None and outcome.element.array.id in arrays


# ---- ages ---------------------------------------------------------------------------------------------------------


def read_marks(text: str | None) -> Marks:
    """Read the marks of a setting; empty where there are none, or the text is damaged."""
    with suppress(ValueError, TypeError):
        return tuple((int(event_us), int(wall_us)) for event_us, wall_us in json.loads(text or "[]"))
    return ()


def marked(marks: Marks, last_us: int, now_us: int) -> Marks:
    """Add a mark of the present time if the last event is ahead of the clock.

    Times of events only go up. If the clock was ahead once, all later events follow that time closely until the clock
    has caught up, and say nothing of when they were; but what had happened by a mark is older than the mark.
    """
    if last_us <= now_us + AHEAD_US or (marks and marks[-1][0] == last_us):
        return marks
    kept = [mark for mark in marks if mark[0] < last_us and mark[1] <= now_us]
    if len(kept) >= MARKS_MAX:  # the older they are, the further apart they may be
        kept = [*islice(kept, 0, MARKS_MAX // 2, 2), *kept[MARKS_MAX // 2 :]]
    return (*kept, (last_us, now_us))


def event_time_us(marks: Marks, wall_us: int) -> int:
    """Return the event time before which, as far as known, all events are older than a time on the clock."""
    return max([wall_us, *(event_us + 1 for event_us, marked_us in marks if marked_us <= wall_us)])


def ended_before_us(setting: str | None, wall_us: int, now_us: int) -> int:
    """Return `event_time_us` by the stored marks; for the present, a time after all ended jobs."""
    return END_US if wall_us >= now_us - NOW_US else event_time_us(read_marks(setting), wall_us)
