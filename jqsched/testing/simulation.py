"""Simulation: the scheduler itself, its loop and its core, on a virtual clock, with jobs whose run times are given.

Rule: no second implementation: only `jqsched.scheduler` decides which job starts when. Here are only its
surroundings and the passing of time, which goes from one happening to the next.
"""

import errno
from collections.abc import Callable, Iterable, Iterator

from attrs import evolve

from jqsched.core import explain
from jqsched.core.job import Outcome, OwnName, State
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY, live
from jqsched.ports import Attempt, Start, Stored
from jqsched.scheduler.loop import Dependencies, Scheduler
from jqsched.testing.fake_clock import FakeClock
from jqsched.testing.runtimes import Run, RunOf
from jqsched.testing.simulation_ports import Arrival, Arrivals, Past, Sink, Table, TableStore
from jqsched.testing.virtual_executor import VirtualExecutor

START_US = 1_700_000_000_000_000
USERID = 1000


def nothing_past(ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:
    """No job ended before the beginning."""
    return {}


class Simulation:
    """A scheduler, and all that happens to it until nothing more does."""

    def __init__(
        self,
        limits: Limits,
        arrivals: Iterable[Arrival],
        runs: RunOf,
        *,
        stored: Stored | None = None,
        start_us: int = START_US,
        past: Past = nothing_past,
        sink: Sink | None = None,
        rules: Iterable[Json] = (),
        userid: int = USERID,
    ) -> None:
        """Put a scheduler among its surroundings.

        Shape:    `stored` is the queue that is there at the beginning, `past` what is known of jobs that had ended by
                  then; arrivals come in the order of their times. `sink` gets the events as they become durable.
                  `rules`: documents of filter rules, added at the beginning to those of the queue.
        """
        stored = stored or Stored(EMPTY, (), {}, {})
        running = [job for _, job in sorted(stored.queue.running.items())]
        self._rules = tuple(rules)
        self.limits, self.table = limits, Table(start_us, stored.queue)
        self.rejected: list[str] = []
        self._clock = FakeClock(start_us)
        self._runs = runs
        self._arrivals = Arrivals(arrivals, self.table, self._clock)
        self._executor = VirtualExecutor(start_us, self._run_of, self.table.begun, self.table.over)
        for job in filter(lambda job: job.started, running):
            self._executor.adopt(job, runs(job.id, job.attempt, job.spec))
        stored = evolve(stored, attempts=tuple(Attempt(job.id, job.attempt) for job in running))
        self._rung = False
        self.scheduler = Scheduler(
            Dependencies(
                store=TableStore(self.table, stored, past, sink),
                spool=self._arrivals,
                executor=self._executor,
                clock=self._clock,
                wake=self._ring,
                observe=lambda events, queue: None,
                log=self.rejected.append,
                userid=userid,
                boot_id="",
                output_folder="/",
                is_finished=lambda _: False,
                request=_refuse_request,
            ),
            stored,
            limits,
            grace_us=0,
        )

    def _ring(self) -> None:
        self._rung = True

    def _run_of(self, order: Start) -> Run:
        return self._arrivals.runs.pop(order.id, None) or self._runs(order.id, order.attempt, order.spec)

    @property
    def now_us(self) -> int:
        """How much time has passed."""
        return self._clock.now_us() - self.table.start_us

    @property
    def running_most(self) -> int:
        """How many jobs have run at a time."""
        return self._executor.running_most

    def run(self, until_us: int | None = None) -> None:
        """Go on until nothing more happens by itself, or until a time.

        Raises:   RuleRefused.
        Cost:     the scheduler's, O(log n) for each job, and some 20 µs.
        """
        self.scheduler.start()
        for document in self._rules:
            self.scheduler.rulebook.add(document)
        while True:
            due_us = self._settle()
            happenings = (due_us, self._executor.next_us, self._arrivals.next_us)
            next_us = min((us for us in happenings if us is not None), default=None)
            if next_us is None or (until_us is not None and next_us - self.table.start_us > until_us):
                return
            self._clock.advance(next_us - self._clock.now_us())
            self._executor.advance(next_us)
            if next_us == self._arrivals.next_us:
                self.scheduler.intake.more = True

    def _settle(self) -> int | None:
        """Turn until nothing is left to do at this moment. Returns when the scheduler wants to be asked again."""
        self._executor.tell()
        while True:
            self._rung = False
            due_us = self.scheduler.turn()
            told = self._executor.tell()
            in_us = due_us - self._clock.monotonic_us() if due_us is not None else 1
            if not (self._rung or told or in_us <= 0):
                return self._clock.now_us() + in_us if due_us is not None else None

    # -- what is left

    def left(self) -> Iterator[tuple[int, list[str]]]:
        """The jobs that are not finished, by id, each with every reason."""
        queue = self.scheduler.ledger.head
        snapshot = explain.take_snapshot(
            queue, evolve(self.limits, draining=self.scheduler.drained), self._clock.now_us()
        )
        for job in live(queue):
            why = explain.reasons(snapshot, job) if job.state < State.RUN else ["running"]
            yield job.id, why or [job.state.name.lower()]


def _refuse_request(topic: str, payload: JsonObject, reply: Callable[[JsonObject | OSError], None]) -> None:
    reply(OSError(errno.ENOSYS, f"{topic}: nothing answers requests in a simulation"))
