"""The ledger: what one commit holds, and in what order things happen around it."""

from collections.abc import Iterable

from jqsched.core.event import Event
from jqsched.core.job import Outcome, OwnName
from jqsched.core.queue import EMPTY, Queue
from jqsched.ports import Attempt, Batch
from jqsched.scheduler.ledger import Ledger


class OneByOne:
    """A store that keeps the batches it is given, and makes none durable by itself."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def submit(self, batch: Batch) -> int:
        self.batches.append(batch)
        return len(self.batches)

    def outcomes(self, ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:  # a port
        return {}


def _ledger(told: list[object] | None = None) -> tuple[Ledger, OneByOne]:
    def observe(batch: Batch) -> None:
        if told is not None:
            told.append((batch.events, batch.queue))

    store = OneByOne()
    return Ledger(store, EMPTY, observe), store  # type: ignore[arg-type]  # the part of a Store that a ledger uses


def test_a_permit_given_again_in_the_same_batch_stands() -> None:
    """Withdrawn and permitted again before one commit: the record is written, and not deleted again.

    Seen to fail: without it the executor ran the job, and a restart, finding no record, ran it a second time.
    """
    ledger, store = _ledger()
    ledger.record(Attempt(1, 1))
    ledger.forget(1, 1)
    ledger.record(Attempt(1, 1))
    ledger.flush()
    assert store.batches[0].attempts == (Attempt(1, 1),)
    assert store.batches[0].over == ()


def test_a_permit_taken_back_in_the_same_batch_is_gone() -> None:
    """Permitted and withdrawn before one commit: nothing is written, and an older record is deleted."""
    ledger, store = _ledger()
    ledger.record(Attempt(1, 1))
    ledger.forget(1, 1)
    ledger.flush()
    assert store.batches[0].attempts == ()
    assert store.batches[0].over == ((1, 1),)


def test_durable_then_visible_then_acted_upon() -> None:
    """Nothing is seen or done before the store's word; what is done sees it, and what is told comes last."""
    told: list[object] = []
    ledger, _ = _ledger(told)
    event = Event(1, 1, "submit")
    ledger.post(Queue(seq=1), [event])
    ledger.after(lambda: told.append(("acted", ledger.visible.get().seq)))
    ledger.flush()
    assert (told, ledger.visible.get().seq) == ([], 0)
    ledger.durable(1)
    assert told == [("acted", 1), ((event,), Queue(seq=1))]


def test_one_batch_is_under_way_at_a_time() -> None:
    """What is decided meanwhile goes into the next, with the next seqs."""
    ledger, store = _ledger()
    ledger.post(Queue(seq=1), [Event(1, 1, "submit")])
    ledger.flush()
    ledger.post(Queue(seq=3), [Event(1, 2, "validate"), Event(1, 3, "depend")])
    ledger.flush()
    assert len(store.batches) == 1
    ledger.durable(1)
    ledger.flush()
    assert [batch.first_seq for batch in store.batches] == [1, 2]
