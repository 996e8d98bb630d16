"""What every store must do, written once; each clause is a function of a rig, which hands over batches and waits.

Rule: a clause knows no SQL, no thread and no test runner. The author of a store writes a `Rig` for it and runs
`CLAUSES`, each on a fresh one. `MemoryRig` is that of the fake.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jqsched.core.event import Event, advance
from jqsched.core.evolve import evolve
from jqsched.core.job import Array, Draft, Element, Job, Progress, Spec
from jqsched.core.queue import EMPTY, Queue, evolve_all, same
from jqsched.ports import ArrayRow, Attempt, Batch, PortError
from jqsched.testing.fake_store import MemoryStore
from jqsched.testing.scenario import Story

PATIENCE_S = 20.0
START_US = 1_000_000
SPEC = Spec(("true",), "job", "/")
NAME, OF_ANOTHER = (1000, "job"), (1001, "job")
LIFE = ("submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean")
CONTEXTS: dict[str, dict[str, Any]] = {
    "submit": {"userid": 1000, "urgency": 16, "flags": 0, "version": 1},
    "priority": {"priority": 16},
    "finish": {"status": 0},
}


class Heard:
    """What a store delivered, from whatever thread."""

    def __init__(self) -> None:
        self.all: list[int | PortError] = []
        self._changed = threading.Condition()

    def __call__(self, outcome: int | PortError) -> None:
        with self._changed:
            self.all.append(outcome)
            self._changed.notify_all()

    def wait(self, condition: Callable[[list[int | PortError]], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.all), PATIENCE_S), f"waited in vain; heard {self.all}"

    def wait_for_batch(self, number: int) -> None:
        self.wait(lambda heard: heard and (isinstance(heard[-1], PortError) or heard[-1] >= number))
        assert not isinstance(self.all[-1], PortError), self.all[-1]


class Author:
    """Writes events, and the batches that a ledger would make of them."""

    def __init__(self) -> None:
        self.queue: Queue = EMPTY
        self.jobs: dict[int, Job | None] = {}
        self.events: list[Event] = []

    def batch(self, events: Sequence[Event] = (), **more: Any) -> Batch:
        first_seq = self.queue.seq + 1
        for event in events:
            self.jobs[event.jobid] = advance(self.jobs.get(event.jobid), event)
        self.queue = evolve_all(self.queue, events)
        self.events += events
        touched = [self.jobs[id_] for id_ in dict.fromkeys(event.jobid for event in events)]
        jobs = tuple(job for job in touched if job is not None)
        return Batch(self.queue, first_seq, tuple(events), jobs, **more)

    def life(self, id_: int, until: str = "clean", spec: Spec = SPEC, **submit: Any) -> list[Event]:
        """The events of a plain job, up to and with this one."""
        events: list[Event] = []
        t_us = max(START_US, self.queue.last_us) + 1
        for name in LIFE[: LIFE.index(until) + 1]:
            context = CONTEXTS.get(name, {}) | (submit if name == "submit" else {})
            events.append(Event(id_, t_us + len(events), name, context, spec if name == "submit" else None))
        return events

    def job(self, id_: int, until: str = "clean", spec: Spec = SPEC, **more: Any) -> Batch:
        return self.batch(self.life(id_, until, spec), **more)


class Rig(Protocol):
    """A store with its disk."""

    store: Any
    syncs: list[str]

    def fresh(self) -> None: ...
    def begin(self) -> None: ...
    def write(self, *batches: Batch) -> None: ...
    def reopen(self) -> None: ...
    def events(self) -> list[tuple[int, Event]]: ...
    def jobs(self) -> dict[int, Job]: ...


class MemoryRig:
    """The fake, committing when it is told to."""

    def __init__(self) -> None:
        self.fresh()

    def fresh(self) -> None:
        self.syncs: list[str] = []
        self.store = MemoryStore(self._sync)
        self._heard = Heard()

    def _sync(self) -> None:
        self.syncs.append(durable(self.jobs()))

    def begin(self) -> None:
        self.store.start(self._heard)

    def write(self, *batches: Batch) -> None:
        numbers = [self.store.submit(batch) for batch in batches]
        self.store.commit()
        for number in numbers:
            self._heard.wait_for_batch(number)

    def reopen(self) -> None:
        self.store.close()
        self.store = self.store.crash()

    def events(self) -> list[tuple[int, Event]]:
        return sorted(self.store.disk.events.items(), key=lambda item: item[0])

    def jobs(self) -> dict[int, Job]:
        return dict(self.store.disk.jobs)

    def close(self) -> None:
        self.store.close()


def durable(jobs: Mapping[int, Job]) -> str:
    """What a rig notes when the spool is synced: the jobs that are durable by then."""
    return f"durable: {sorted(jobs)}"


# ---- the clauses --------------------------------------------------------------------------------------------------


def an_empty_store_holds_nothing(rig: Rig) -> None:
    stored = rig.store.load()
    assert same(stored.queue, EMPTY)
    assert (stored.attempts, stored.files, stored.settings) == ((), {}, {})
    assert (rig.store.finished_count(), rig.store.finished_before(10**18, -1)) == (0, [])
    assert rig.store.outcomes([1], [NAME]) == {}
    assert (rig.store.spec(1), rig.store.file(1)) == (None, None)


def batches_are_numbered_from_one(rig: Rig) -> None:
    author = Author()
    assert [rig.store.submit(author.job(id_, "validate")) for id_ in (1, 2, 3)] == [1, 2, 3]


def batches_become_durable_in_the_order_given(rig: Rig) -> None:
    """Seqs are dense, and the events are those that were handed over."""
    author = Author()
    rig.begin()
    rig.write(author.job(1), author.job(2, "validate"))
    rig.write(author.job(3, "alloc"))
    assert rig.events() == list(enumerate(author.events, 1))


def nothing_is_seen_before_it_is_durable(rig: Rig) -> None:
    """What was only handed over is in no answer, and not told."""
    author = Author()
    rig.store.submit(author.job(1, files=((1, "text"),), settings=(("drained", "1"),)))
    rig.store.submit(author.job(2, "alloc", attempts=(Attempt(2, 1),), files=((2, "text"),)))
    assert rig.store.outcomes([1], [NAME]) == {}
    assert (rig.store.spec(1), rig.store.file(2), rig.store.finished_count()) == (None, None, 0)
    stored = rig.store.load()
    assert same(stored.queue, EMPTY)
    assert (stored.attempts, stored.files, stored.settings) == ((), {}, {})
    rig.begin()
    rig.write()
    assert set(rig.store.outcomes([1], [NAME])) == {1, NAME}


def the_job_table_is_what_the_events_say(rig: Rig) -> None:
    author = Author()
    rig.begin()
    rig.write(author.job(1), author.job(2, "alloc"))
    rig.write(author.batch([Event(2, author.queue.last_us + 1, "start")]))
    assert rig.jobs() == author.jobs


def loading_gives_the_fold_of_the_events(rig: Rig) -> None:
    """For many histories, cut anywhere into batches; after reopening."""
    for seed in range(12):
        rig.fresh()
        rig.begin()
        author, cuts = Author(), random.Random(seed)
        events = list(Story(cuts.randrange).tell(60).events)
        while events:
            size = cuts.randint(1, 25)
            rig.write(author.batch(events[:size]))
            events = events[size:]
        rig.reopen()
        assert same(rig.store.load().queue, author.queue), f"seed {seed}"


def attempts_are_kept_until_they_are_over(rig: Rig) -> None:
    """All of an attempt but its cores comes back; the newer of a job replaces the older."""
    author = Author()
    rig.begin()
    rig.write(author.job(2, "alloc", attempts=(Attempt(2, 1), Attempt(1, 1, 55, 66, "boot", cores=9))))
    assert rig.store.load().attempts == (Attempt(1, 1, 55, 66, "boot"), Attempt(2, 1))
    rig.write(author.batch(attempts=(Attempt(2, 1, 77, 88, "boot"),), over=((1, 1),)))
    assert rig.store.load().attempts == (Attempt(2, 1, 77, 88, "boot"),)
    rig.reopen()
    assert rig.store.load().attempts == (Attempt(2, 1, 77, 88, "boot"),)


def the_end_of_an_older_attempt_leaves_the_newer(rig: Rig) -> None:
    """In one batch and in the next: `over` names job and attempt."""
    author = Author()
    rig.begin()
    rig.write(author.batch(attempts=(Attempt(1, 1),)))
    rig.write(author.batch(attempts=(Attempt(1, 2),), over=((1, 1),)))
    assert rig.store.load().attempts == (Attempt(1, 2),)
    rig.write(author.batch(over=((1, 1),)))
    assert rig.store.load().attempts == (Attempt(1, 2),)


def an_attempt_that_was_begun_and_is_over_in_one_batch_is_over(rig: Rig) -> None:
    """What a batch ends it does not leave behind, even if it also records it."""
    author = Author()
    rig.begin()
    rig.write(author.batch(attempts=(Attempt(1, 1),), over=((1, 1),)))
    assert rig.store.load().attempts == ()


def files_are_kept_while_the_job_lives(rig: Rig) -> None:
    """As last accepted; gone with the batch in which it ends, even if that one brings a text."""
    author = Author()
    rig.begin()
    rig.write(author.job(1, "alloc", files=((1, "old ünï"),)), author.job(2, files=((2, "x"),)))
    rig.write(author.batch(files=((1, "new"),)))
    assert (rig.store.file(1), rig.store.file(2), rig.store.file(3)) == ("new", None, None)
    assert rig.store.load().files == {1: "new"}
    end = [Event(1, author.queue.last_us + 1, "exception", {"type": "cancel", "severity": 0, "note": "", "userid": 0})]
    rig.write(author.batch([*end, Event(1, author.queue.last_us + 2, "clean")], files=((1, "newer"),)))
    assert rig.store.load().files == {}


def settings_are_kept(rig: Rig) -> None:
    author = Author()
    rig.begin()
    rig.write(author.batch(settings=(("drained", "1"), ("other", "x"))), author.batch(settings=(("drained", "0"),)))
    rig.reopen()
    assert rig.store.load().settings == {"drained": "0", "other": "x"}


def an_array_is_live_until_its_last_element_is_over(rig: Rig) -> None:
    """Its file is kept, how far it is is counted anew, and none of its elements is offered to be purged; then it is
    known by its id and its name what became of all of it.
    """
    author, array = Author(), Array(2, 2, limit=1)
    specs = [evolve(SPEC, element=Element(array, index)) for index in (3, 7)]
    rig.begin()
    rig.write(author.job(1))
    first = author.job(2, "priority", specs[0])
    second = author.job(3, "priority", specs[1], files=((2, "both"),), arrays=(ArrayRow(2, 2, "3,7"),))
    rig.write(first, second)
    rig.write(author.batch(author.life(2, spec=specs[0])[LIFE.index("priority") + 1 :]))
    rig.reopen()
    stored = rig.store.load()
    assert same(stored.queue, author.queue)
    assert stored.queue.arrays[2] == Progress(array, arrived=2, left=1, ran=True)
    assert (stored.files, rig.store.is_finished(2)) == ({2: "both"}, True)
    assert rig.store.finished_before(10**18, -1) == [1]
    assert rig.store.outcomes([2], ())[2].whole is None
    assert rig.store.spec(2) == Draft(SPEC, requeue_of=2)
    rig.begin()
    rig.write(author.batch(author.life(3, spec=specs[1])[LIFE.index("priority") + 1 :]))
    assert rig.store.load().files == {}
    assert rig.store.finished_before(10**18, -1) == [1, 2, 3]
    known = rig.store.outcomes([2, 3], [NAME])
    assert known[2].whole == known[NAME].whole == Progress(array, arrived=2, ran=True)
    assert known[3].whole is None


def outcomes_by_id_and_by_name_the_newest(rig: Rig) -> None:
    """Newest: the highest id, in whatever order they ended. What lives, or is not asked for, is absent."""
    author = Author()
    rig.begin()
    rig.write(author.job(1), author.job(2, "alloc"), author.job(3, "clean", Spec(("x",), "other", "/")))
    lives = author.job(4, "alloc")
    ends_first = author.job(5)
    last = author.queue.last_us
    ended = author.batch(
        [
            Event(2, last + 1, "finish", {"status": 256}),
            Event(2, last + 2, "clean"),
        ]
    )
    of_another = author.batch(author.life(6, userid=OF_ANOTHER[0]))
    rig.write(lives, ends_first, ended, of_another)
    found = rig.store.outcomes([1, 2, 4, 99], [NAME, (NAME[0], "nobody"), OF_ANOTHER])
    assert {key: (o.id, o.own_name, o.success, o.ran) for key, o in found.items()} == {
        1: (1, NAME, True, True),
        2: (2, NAME, False, False),
        NAME: (5, NAME, True, True),
        OF_ANOTHER: (6, OF_ANOTHER, True, True),
    }


def the_spec_comes_back_with_urgency_and_pin(rig: Rig) -> None:
    author = Author()
    rig.begin()
    rig.write(author.batch(author.life(1, urgency=7, pin=99)), author.job(2, "validate"))
    assert rig.store.spec(1) == Draft(SPEC, 7, 99, requeue_of=1)
    assert rig.store.spec(2) == Draft(SPEC, 16, None, requeue_of=2)
    assert rig.store.spec(3) is None
    assert (rig.store.userid(2), rig.store.userid(3)) == (1000, None)


def finished_jobs_oldest_first(rig: Rig) -> None:
    """Ended before that time, not at it; at most so many; negative: all."""
    author = Author()
    rig.begin()
    rig.write(author.job(2), author.job(1), author.job(3, "alloc"), author.job(4))
    ends = {event.jobid: event.t_us for event in author.events if event.name == "clean"}
    assert rig.store.finished_before(ends[4] + 1, -1) == [2, 1, 4]
    assert rig.store.finished_before(ends[4], -1) == [2, 1]
    assert rig.store.finished_before(ends[4] + 1, 1) == [2]
    assert rig.store.finished_count() == 3


def a_purged_job_is_gone_and_its_numbers_are_not(rig: Rig) -> None:
    """Ids and seqs go on above the purged ones, and it still counts as finished: as the settings `seq`, `last_us`,
    `last_id` and `purged` say.
    """
    author = Author()
    rig.begin()
    rig.write(author.job(1, "alloc"), author.job(2))
    last = author.queue
    kept = (("seq", str(last.seq)), ("last_us", str(last.last_us)), ("last_id", str(last.last_id)))
    rig.write(author.batch(purged=(2,), settings=(*kept, ("purged", "1"))))
    rig.reopen()
    stored = rig.store.load()
    assert same(stored.queue, author.queue)
    assert rig.store.outcomes([2], [NAME]) == {}
    assert rig.store.spec(2) is None
    assert rig.store.finished_count() == 1
    assert {event.jobid for _, event in rig.events()} == {1}


def a_live_job_cannot_lose_its_row(rig: Rig) -> None:
    """Whatever a purge names, what is not finished stays whole."""
    author = Author()
    rig.begin()
    rig.write(author.job(1, "alloc"), author.job(2))
    rig.write(author.batch(purged=(1, 2)))
    assert rig.jobs() == {1: author.jobs[1]}
    assert [event.name for _, event in rig.events()] == list(LIFE[:5])


def the_spool_is_synced_before_the_commit(rig: Rig) -> None:
    """For a batch that asks for it; what the sync sees is not durable yet."""
    author = Author()
    rig.begin()
    rig.write(author.job(1))
    assert rig.syncs == []
    rig.write(author.job(2, sync_spool=True))
    assert rig.syncs == ["durable: [1]"]


def close_makes_durable_what_was_handed_over(rig: Rig) -> None:
    author = Author()
    rig.begin()
    for id_ in range(1, 20):
        rig.store.submit(author.job(id_))
    rig.reopen()
    assert rig.store.finished_count() == 19


CLAUSES = [
    an_empty_store_holds_nothing,
    batches_are_numbered_from_one,
    batches_become_durable_in_the_order_given,
    nothing_is_seen_before_it_is_durable,
    the_job_table_is_what_the_events_say,
    loading_gives_the_fold_of_the_events,
    attempts_are_kept_until_they_are_over,
    the_end_of_an_older_attempt_leaves_the_newer,
    an_attempt_that_was_begun_and_is_over_in_one_batch_is_over,
    files_are_kept_while_the_job_lives,
    settings_are_kept,
    outcomes_by_id_and_by_name_the_newest,
    an_array_is_live_until_its_last_element_is_over,
    the_spec_comes_back_with_urgency_and_pin,
    finished_jobs_oldest_first,
    a_purged_job_is_gone_and_its_numbers_are_not,
    a_live_job_cannot_lose_its_row,
    the_spool_is_synced_before_the_commit,
    close_makes_durable_what_was_handed_over,
]
