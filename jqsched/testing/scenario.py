"""Stories: what happens to a queue when jobs come, run and end, told by the code that makes the choices.

Rule: all that is not determined is asked of `choose(n)` (a number below n), so that Hypothesis, a seeded generator or a
list of numbers can tell a story; the same choices give the same events. Nothing of the shell takes part: a permitted
job starts when the story says so.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from attrs import evolve, frozen

from jqsched.core import decide, policy
from jqsched.core import queue as queues
from jqsched.core.accept import accept, update
from jqsched.core.binding import Arrival
from jqsched.core.event import Event
from jqsched.core.fold import Step
from jqsched.core.job import Dependency, Draft, Job, OnInterrupt, Outcome, OwnName, Reason, Retries, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY, Queue

Choose: TypeAlias = Callable[[int], int]
T = TypeVar("T")

START_US = 1_700_000_000_000_000
USERID = 1000
RETRIES = (
    *(None, None, None, None),
    Retries(1),
    Retries(2, delay_us=20, factor=2.0, max_delay_us=30),
    Retries(2, on=(75, "timeout")),
)
LIMITS = Limits(max_running=2, cores=4, interruptions_max=2)
NAMES = ("a", "b", "c")
URGENCIES = (16, 16, 16, 0, 31, 1, 20)
PINS = (None, None, None, 0, 5, 1000)
CORES = (1, 1, 1, 1, 2, 2, 3, 9)
STATUSES = (0, 0, 0, 1 << 8, (128 + 9) << 8)
RATE_LIMITS = (None, None, None, None, None, "rate-limit:1:x", "rate-limit:2:x", "rate-limit:1:y")
SCHEMES = ("afterok", "afterok", "afterany", "afternotok", "after", "begin-time", "singleton")


@frozen
class History:
    """What was told: the events, the queue that they lead to, and the jobs that ended on the way."""

    events: tuple[Event, ...]
    queue: Queue
    finished: tuple[Job, ...]


class Story:
    """A queue to which things happen, one move after the other."""

    def __init__(self, choose: Choose, limits: Limits = LIMITS) -> None:
        self.queue, self.limits, self.now_us = EMPTY, limits, START_US
        self.events: list[Event] = []
        self.finished: list[Job] = []
        self._choose = choose
        self._files: dict[int, Draft] = {}
        self._moves: tuple[Callable[[], None], ...] = (
            self.drop,
            self.schedule,
            self.start,
            self.finish,
            self.change,
            self.interrupt,
            self.edit,
            self.wait,
        )

    def tell(self, moves: int) -> History:
        """Make so many moves more; returns all that has happened so far."""
        for _ in range(moves):
            self._of(self._moves)()
        return History(tuple(self.events), self.queue, tuple(self.finished))

    # -- moves

    def drop(self) -> None:
        """One to three files are dropped; what is refused is forgotten."""
        first = self.queue.last_id + 1
        arrivals = [
            Arrival(id_, draft(self._choose, id_, self.now_us), USERID)
            for id_ in range(first, first + 1 + self._choose(3))
        ]
        self._files |= {arrival.id: arrival.draft for arrival in arrivals}
        known: dict[int | OwnName, Outcome] = {}
        for job in self.finished:
            known[job.id] = policy.outcome_of(job)
            known[job.own_name] = policy.outcome_of(max(self._namesakes(job.spec.name), key=lambda other: other.id))
        self._take(accept(self.queue, arrivals, known, self.limits, self.now_us).step)

    def schedule(self) -> None:
        """One scheduling pass; what it recalls is given back at once."""
        decided = decide.schedule(self.queue, self.limits, self.now_us)
        self.queue = decided.queue
        self.events += decided.events
        for id_ in decided.recalled:
            self.queue = queues.withdraw(self.queue, id_)

    def start(self) -> None:
        """A job with a permit, or allocated, starts."""
        waiting = [*self.queue.permits, *(job.id for job in self.queue.running.values() if not job.started)]
        if waiting:
            id_ = self._of(sorted(waiting))
            job = queues.find(self.queue, id_)
            assert job is not None
            self._take(decide.started(self.queue, id_, job.attempt, self.limits, self.now_us))

    def finish(self) -> None:
        """A running job ends with some status, or could not be started."""
        job = self._running()
        if job is not None:
            status, error = self._of(STATUSES), self._of((None, None, None, "no such file"))
            self._take(decide.finished(self.queue, job.id, job.attempt, status, self.limits, self.now_us, error=error))

    def interrupt(self) -> None:
        """A running job is gone, or has used up its time."""
        job = self._running()
        if job is not None:
            what = self._of((decide.interrupted, decide.expired))
            self._take(what(self.queue, job.id, job.attempt, self.limits, self.now_us))

    def change(self) -> None:
        """A user cancels, holds, releases, requeues a job, or says how urgent it is."""
        job = self._any()
        if job is None:
            return
        at = (self.queue, job.id)
        then = (self.limits, self.now_us)
        changes: tuple[Callable[[], Step], ...] = (
            lambda: decide.dequeue(*at, *then, userid=USERID),
            lambda: decide.set_urgency(*at, self._of(URGENCIES), *then, userid=USERID),
            lambda: decide.set_priority(*at, self._of(PINS), *then),
            lambda: decide.unhold(*at, *then, userid=USERID),
            lambda: decide.requeue(*at, *then, userid=USERID),
        )
        self._take(self._of(changes)())

    def edit(self) -> None:
        """A job's file is changed to another one of the same name."""
        job = self._any()
        if job is None or job.state >= State.RUN:
            return
        was, now = self._files[job.id], draft(self._choose, job.id, self.now_us, job.spec.name)
        kept = tuple(new for new in now.spec.dependencies if new.scheme in ("begin-time", "singleton"))
        now = evolve(now, spec=evolve(now.spec, dependencies=kept))
        step = update(self.queue, job.id, was, now, {}, self.limits, self.now_us, userid=USERID)
        self._files[job.id] = now
        self._take(step)

    def wait(self) -> None:
        """Time passes."""
        self.now_us += self._of((0, 1, 50))
        self._take(decide.release_due_jobs(self.queue, self.limits, self.now_us))

    # -- choices

    def _of(self, options: Sequence[T]) -> T:
        return _of(self._choose, options)

    def _any(self) -> Job | None:
        jobs = list(queues.live(self.queue))
        return self._of(jobs) if jobs else None

    def _running(self) -> Job | None:
        jobs = [job for job in queues.live(self.queue) if job.state >= State.RUN]
        return self._of(jobs) if jobs else None

    def _namesakes(self, name: str) -> list[Job]:
        return [job for job in self.finished if job.spec.name == name]

    def _take(self, step: Step) -> None:
        self.queue = step.queue
        self.events += step.events
        self.finished += step.finished


def draft(choose: Choose, id_: int, now_us: int, name: str | None = None) -> Draft:
    """A job file, for a job that would get this id: now and then with dependencies, on jobs near it or on a time."""
    dependencies = tuple(_dependency(choose, id_, now_us) for _ in range(_of(choose, (0, 0, 1, 2))))
    spec = Spec(
        command=("true",),
        name=name or _of(choose, NAMES),
        cwd="/",
        cores=_of(choose, CORES),
        time_limit_us=_of(choose, (None, 1_000_000, 5_000_000)),
        on_interrupt=_of(choose, tuple(OnInterrupt)),
        retries=_of(choose, RETRIES),
        reasons=tuple(Reason("", text) for text in (_of(choose, RATE_LIMITS),) if text is not None),
        dependencies=dependencies,
    )
    return Draft(spec, _of(choose, URGENCIES), _of(choose, PINS))


def _dependency(choose: Choose, id_: int, now_us: int) -> Dependency:
    scheme = _of(choose, SCHEMES)
    if scheme == "singleton":
        return Dependency(scheme)
    if scheme == "begin-time":
        return Dependency(scheme, now_us + _of(choose, (-1, 0, 10, 40)))
    if choose(2):
        return Dependency(scheme, _of(choose, NAMES), next_only=choose(2) == 1)
    return Dependency(scheme, max(1, id_ + _of(choose, (-1, -2, -3, 1))))


def _of(choose: Choose, options: Sequence[T]) -> T:
    return options[choose(len(options))]
