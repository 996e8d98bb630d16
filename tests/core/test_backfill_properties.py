"""Backfill beside a naive one: the same choices, and a reservation that is kept.

The naive one knows no queue: it looks through all ends and all jobs each time.
"""

from heapq import heappop, heappush
from typing import NamedTuple

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core import backfill, decide, explain
from jqsched.core.backfill import Amounts, Reservation
from jqsched.core.policy import Backfill
from tests.core.scheduler_driver import SchedulerDriver, a_file

S = 1_000_000


class Work(NamedTuple):
    """A job that comes so long after the one before it, and runs for so long; limit 0: it has none."""

    gap_s: int
    cores: int
    limit_s: int
    run_s: int
    urgency: int = 16


def works(urgencies: st.SearchStrategy[int]) -> st.SearchStrategy[list[Work]]:
    """Few numbers, so that ends and limits meet."""
    limits = st.sampled_from([0, 1, 2, 3, 4, 6, 8, 12])
    one = st.builds(Work, st.integers(0, 4), st.integers(1, 6), limits, st.integers(1, 12), urgencies)
    return st.lists(one.map(lambda work: work._replace(run_s=min(work.run_s, work.limit_s or 12))), max_size=25)


class Happenings:
    """The core, and all that happens to it: jobs come, start at once when they are permitted, and end."""

    def __init__(self, max_running: int, cores: int, depth: int = 0) -> None:
        self.driver = SchedulerDriver(max_running, cores, backfill=Backfill(depth))
        self.start_us: dict[int, int] = {}
        self.reserved: Reservation | None = None
        self._ends: list[tuple[int, int]] = []
        self._works: dict[int, Work] = {}

    @property
    def now_us(self) -> int:
        return self.driver.now_us

    def play(self, coming: list[Work]) -> None:
        """Until the last job has ended."""
        at_us = self.now_us
        for work in coming:
            at_us += work.gap_s * S
            self._until(at_us)
            limit_us = work.limit_s * S or None
            (id_,) = self.driver.drop(a_file(cores=work.cores, time_limit_us=limit_us, urgency=work.urgency))
            self._works[id_] = work
            self._pass()
        while self._ends:
            self._until(self._ends[0][0])
        assert not self.driver.queue.running
        assert not self.driver.queue.enqueued

    def _until(self, at_us: int) -> None:
        while self._ends and self._ends[0][0] <= at_us:
            self.driver.now_us = self._ends[0][0]
            while self._ends and self._ends[0][0] == self.now_us:
                self.driver.finish(heappop(self._ends)[1])
            self._pass()
        self.driver.now_us = at_us

    def _pass(self) -> None:
        expected, without_reason = self.expected(), self._without_reason()
        chosen = self.driver.schedule()
        assert chosen == expected
        assert without_reason == set(chosen)
        for id_ in chosen:
            self.driver.take(
                decide.started(self.driver.queue, id_, 1, self.driver.limits, self.now_us, start_us=self.now_us)
            )
            self.start_us[id_] = self.now_us
            heappush(self._ends, (self.now_us + self._works[id_].run_s * S, id_))
        assert self.driver.schedule() == [], "a second pass finds nothing more"
        self._settles()
        found = backfill.prospects(self.driver.queue, self.driver.limits, self.now_us)
        self.reserved = found.reserved if found is not None else None

    def _settles(self) -> None:
        """What is told of the next pass is true: until then no job would be chosen."""
        settled = backfill.settled(self.driver.queue, self.driver.limits, self.now_us)
        assert settled is not None
        assert settled.holds(self.driver.queue, self.driver.limits, self.now_us)
        last_us = settled.until_us - 1 if settled.until_us is not None else self.now_us + 100 * S
        assert backfill.choose(self.driver.queue, self.driver.limits, last_us).ids == ()

    def _without_reason(self) -> set[int]:
        """The jobs that nothing keeps from starting, by what users are told."""
        snapshot = explain.take_snapshot(self.driver.queue, self.driver.limits, self.now_us)
        return {id_ for id_, job in self.driver.queue.enqueued.items() if not explain.obstacles(snapshot, job)}

    # -- the naive one

    def expected(self) -> list[int]:
        """What the naive one chooses."""
        waiting = sorted(self.driver.queue.enqueued, key=lambda id_: (-self._works[id_].urgency, id_))
        running = {id_: self._end_us(id_, self.start_us[id_]) for id_ in self.driver.queue.running}
        chosen: list[int] = []

        def free_at(t_us: int) -> tuple[int, int]:
            on = [id_ for id_, end_us in running.items() if end_us is None or end_us > t_us]
            limits = self.driver.limits
            return limits.max_running - len(on), limits.cores - sum(self._works[id_].cores for id_ in on)

        def fits(id_: int, slots: int, cores: int) -> bool:
            return slots >= 1 and cores >= self._works[id_].cores

        def start(id_: int) -> None:
            chosen.append(id_)
            running[id_] = self._end_us(id_, self.now_us)

        now_us = self.now_us
        while waiting and fits(waiting[0], *free_at(now_us)):
            start(waiting.pop(0))
        if not waiting:
            return chosen
        first, *behind = waiting
        times = sorted({now_us, *(end_us for end_us in running.values() if end_us is not None and end_us > now_us)})
        shadow_us = next((t_us for t_us in times if fits(first, *free_at(t_us))), None)
        slots, cores = free_at(shadow_us if shadow_us is not None else now_us)
        slots, cores = slots - 1, cores - self._works[first].cores
        for id_ in behind:
            end_us = self._end_us(id_, now_us)
            in_time = shadow_us is not None and end_us is not None and end_us <= shadow_us
            if fits(id_, *free_at(now_us)) and (in_time or fits(id_, slots, cores)):
                start(id_)
                if not in_time:
                    slots, cores = slots - 1, cores - self._works[id_].cores
        return chosen

    def _end_us(self, id_: int, start_us: int) -> int | None:
        limit_s = self._works[id_].limit_s
        return start_us + limit_s * S if limit_s else None


class Promised(Happenings):
    """Looks whether each reservation is kept, whichever job is chosen."""

    def expected(self) -> list[int]:
        return list(decide.schedule(self.driver.queue, self.driver.limits, self.now_us).permits)

    def _pass(self) -> None:
        before = self.reserved
        super()._pass()
        if before is None or before.at_us is None:
            return
        after = self.reserved
        if after is not None and after.id == before.id:
            assert after.at_us is not None, "a reservation was taken back"
            assert after.at_us <= before.at_us, "a reservation was moved to a later time"
        else:
            assert self.start_us[before.id] <= before.at_us, "the job starts later than was promised"


AT_ONCE = st.just(16)


@given(works(st.integers(1, 20)), st.integers(1, 8))
def test_the_naive_one_chooses_the_same(coming: list[Work], max_running: int) -> None:
    """Whatever the ranks are, with and without time limits, and slots short as well as cores."""
    Happenings(max_running, 6).play(coming)


@given(works(AT_ONCE), st.integers(1, 8))
def test_a_reservation_is_never_moved_to_a_later_time(coming: list[Work], max_running: int) -> None:
    """And its holder starts no later than it was; jobs of higher rank do not come here: they change ranks."""
    Promised(max_running, 6).play(coming)


def late(*at: object) -> Reservation:
    """A planted bug: the reservation is a second too late."""
    reserved = RESERVE(*at)  # type: ignore[arg-type]  # what the original takes
    return evolve(reserved, at_us=reserved.at_us + S) if reserved.at_us is not None else reserved


def generous(*at: object) -> Reservation:
    """A planted bug: one core more than there is counts as spare."""
    reserved = RESERVE(*at)  # type: ignore[arg-type]  # as above
    return evolve(reserved, spare=reserved.spare.plus(Amounts(0, 1)))


RESERVE = backfill.reserve


@pytest.mark.parametrize("planted", [late, generous])
def test_a_planted_bug_is_found(planted: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reservation that is wrong is seen by its own law, whatever the naive one says."""
    monkeypatch.setattr(backfill, "reserve", planted)
    coming = [Work(0, 4, 4, 4), Work(0, 6, 2, 2), Work(1, 2, 4, 4), Work(0, 1, 0, 9)]
    with pytest.raises(AssertionError, match=r"later than was promised|moved to a later time|taken back"):
        Promised(8, 6).play(coming)
