"""The surroundings of a simulation keep their ports, as far as they say that they do."""

from collections.abc import Callable, Sequence
from heapq import heappush
from typing import Any

import pytest

from jqsched.core.job import Draft, Spec
from jqsched.core.queue import EMPTY
from jqsched.ports import Attempt, News, Recovery, Start, Started, Stored
from jqsched.testing.contracts import executor as contract
from jqsched.testing.contracts.store import Author, Heard
from jqsched.testing.fake_clock import FakeClock
from jqsched.testing.runtimes import Run
from jqsched.testing.simulation import nothing_past
from jqsched.testing.simulation_ports import Arrival, Arrivals, Table, TableStore
from jqsched.testing.virtual_executor import VirtualExecutor

FOR_EVER_US = 10**15


class VirtualRig:
    """The virtual executor: jobs that run until they are ended run for ever until then."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.executor = VirtualExecutor(0, lambda order: self.runs[order.id], lambda *_: None, lambda *_: None)
        self.news: list[News] = []

    def connect(self, attempts: Sequence[Attempt] = ()) -> Recovery:
        return self.executor.recover(attempts, self.news.extend)

    def _start(self, id_: int, run: Run, **spec: Any) -> Start:
        self.runs[id_] = run
        return Start(id_, 1, Spec(command=("plan",), name="job", cwd="/", **spec), "/dev/null", None)

    def quick(self, id_: int, status: int = 0, **spec: Any) -> Start:
        return self._start(id_, Run(1_000, status << 8), **spec)

    def open(self, id_: int, **spec: Any) -> Start:
        return self._start(id_, Run(FOR_EVER_US), **spec)

    def end(self, id_: int, code: int = 0) -> None:
        """Have a job end now."""
        process = self.executor._running[id_, 1]
        process.end_us, process.status = self.executor.now_us, code << 8
        heappush(self.executor._heap, (process.end_us, (id_, 1)))

    def wait(self, condition: Callable[[], object]) -> None:
        self.executor.tell()
        while not condition():
            next_us = self.executor.next_us
            assert next_us is not None
            assert next_us < FOR_EVER_US, f"nothing will ever happen; so far {self.news}"
            self.executor.advance(next_us)
            self.executor.tell()


# What needs a death, a job that cannot be started or one that ignores signals is not for it.
CLAUSES = (
    contract.runs_and_tells,
    contract.started_comes_before_finished,
    contract.starts_nothing_without_limits,
    contract.keeps_order_and_max_running,
    contract.one_that_waits_for_cores_holds_back_the_others,
    contract.a_higher_limit_starts_more,
    contract.withdraw_answers_for_each,
    contract.stop_ends_it,
    contract.tells_a_limit_once_and_keeps_it,
    contract.a_limit_may_be_changed,
)


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_the_virtual_executor(clause: Callable[[Any], None]):
    clause(VirtualRig())


def test_what_was_acknowledged_is_forgotten():
    rig = VirtualRig()
    rig.connect()
    rig.executor.limit(1, 1, 0)
    rig.executor.start([rig.quick(1)])
    contract.finished(rig, 1)
    rig.news.clear()
    rig.executor.acknowledge([(1, 1)])
    rig.executor.withdraw([(1, 1)])
    rig.executor.tell()
    assert not contract.has_started(rig.news, 1)


def test_ends_come_in_the_order_of_time_then_of_ids():
    rig = VirtualRig()
    rig.connect()
    rig.executor.limit(9, 9, 0)
    rig.executor.start([rig._start(id_, Run(us)) for id_, us in ((5, 20), (4, 10), (3, 20), (2, 30))])
    rig.executor.advance(20)
    rig.executor.tell()
    over = [item.id for item in rig.news if not isinstance(item, Started)]
    assert over == [4, 3, 5]


def test_the_table_s_store_passes_events_on_and_remembers_how_jobs_ended():
    """By id, and by name the newest; each batch is durable at once, in order."""
    told: list[tuple[int, str]] = []
    table, author, heard = Table(0, EMPTY), Author(), Heard()
    store = TableStore(
        table,
        Stored(EMPTY, (), {}, {}),
        nothing_past,
        lambda first, events: told.extend((seq, event.name) for seq, event in enumerate(events, first)),
    )
    for _ in range(3):
        table._add(0, "job", 1)
    table.begin_us[0] = table.begin_us[1] = 1
    store.start(heard)
    store.submit(author.job(1))
    store.submit(author.job(2))
    store.submit(author.job(3, "alloc"))
    assert heard.all == [1, 2, 3]
    assert told == list(enumerate((event.name for event in author.events), 1))
    found = store.outcomes([1, 3, 9], [(1000, "job"), (1000, "other")])
    assert {key: (outcome.id, outcome.success, outcome.ran) for key, outcome in found.items()} == {
        1: (1, True, True),
        (1000, "job"): (2, True, True),
    }
    assert store.finished_count() == 2


def test_the_past_is_asked_and_what_ended_here_is_newer():
    table, author = Table(0, EMPTY), Author()
    asked: list[object] = []

    def past(ids, names):
        asked.append((list(ids), list(names)))
        return {}

    store = TableStore(table, Stored(EMPTY, (), {}, {}), past, None)
    table._add(0, "job", 1)
    store.start(lambda _: None)
    store.submit(author.job(1))
    assert store.outcomes([1], [(1000, "job")]).keys() == {1, (1000, "job")}
    assert asked == [([1], [(1000, "job")])]


def test_arrivals_are_taken_in_steps_and_not_before_their_time():
    clock, table = FakeClock(1_000), Table(1_000, EMPTY)
    coming = [Arrival(us, f"{us}.json", Draft(Spec(("true",), "job", "/"))) for us in (0, 0, 0, 7)]
    spool = Arrivals(coming, table, clock)
    first, second = spool.intake(1, 2), spool.intake(3, 2)
    assert [taken.id for taken in (*first.taken, *second.taken)] == [1, 2, 3]
    assert (first.more, second.more, spool.next_us) == (True, False, 1_007)
    clock.advance(6)
    assert spool.intake(4, 2).taken == ()
    clock.advance(1)
    assert [taken.id for taken in spool.intake(4, 2).taken] == [4]
    assert spool.next_us is None
