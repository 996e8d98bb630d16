"""A driver for examples: jobs are dropped, start, end and are changed in one line each, and the log of each is kept."""

from attrs import evolve

from jqsched.core import accept, binding, decide, policy
from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.filters import Rule, in_order
from jqsched.core.fold import Step
from jqsched.core.job import Array, Dependency, Draft, Element, Job, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY
from jqsched.testing.scenario import START_US

USERID = 1000


def after(scheme: str, value: int | str | None = None, *, next_only: bool = False) -> Dependency:
    return Dependency(scheme, value, next_only)


def a_file(name: str = "a", *dependencies: Dependency, urgency: int = 16, pin: int | None = None, **spec) -> Draft:
    return Draft(Spec(command=("true",), name=name, cwd="/", dependencies=dependencies, **spec), urgency, pin)


def an_array(
    count: int,
    name: str = "sweep",
    *dependencies: Dependency,
    limit: int | None = None,
    max_failures: int | None = None,
    **spec,
) -> Draft:
    """An array with the indexes from 0 on."""
    draft = a_file(name, *dependencies, **spec)
    array = Array(0, count, limit, max_failures)
    specs = tuple(evolve(draft.spec, element=Element(array, index)) for index in range(count))
    return evolve(draft, spec=specs[0], elements=specs)


class SchedulerDriver:
    """A queue, the events so far, and the jobs that have ended."""

    def __init__(self, max_running: int = 4, cores: int = 4, **limits: int) -> None:
        self.limits = Limits(max_running, cores, **limits)
        self.queue, self.now_us = EMPTY, START_US
        self.events: list[Event] = []
        self.finished: dict[int, Job] = {}
        self.refused: dict[int, str] = {}
        self.files: dict[int, Draft] = {}

    def take(self, step: Step) -> Step:
        self.queue = step.queue
        self.events += step.events
        self.finished |= {job.id: job for job in step.finished}
        queues.check(self.queue)
        return step

    def log(self, id_: int) -> list[tuple[str, dict] | str]:
        """The events of a job: the name, with its context if there is one."""
        mine = [event for event in self.events if event.jobid == id_]
        return [(event.name, dict(event.context)) if event.context else event.name for event in mine]

    def names(self, id_: int) -> list[str]:
        return [event.name for event in self.events if event.jobid == id_]

    def job(self, id_: int) -> Job:
        """A job, live or finished."""
        found = queues.find(self.queue, id_) or self.finished.get(id_)
        assert found is not None, f"no job {id_}"
        return found

    # -- what happens

    def rule(self, *rules: Rule) -> None:
        """These are the rules from now on."""
        self.queue = queues.set_rules(self.queue, in_order(rules))
        queues.check(self.queue)

    def drop(self, *files: Draft, userid: int = USERID) -> list[int]:
        """Files of one scan and user; returns their ids, refused or not."""
        first = max([self.queue.last_id, *self.refused]) + 1
        arrivals: list[binding.Arrival] = []
        for file in files:
            arrivals += binding.arrivals_of(first, file, userid)
            first += file.ids
        outcomes = policy.known_outcomes(self.finished.values())
        accepted = accept.accept(self.queue, arrivals, outcomes, self.limits, self.now_us)
        self.take(accepted.step)
        self.refused |= accepted.refused
        self.files |= {arrival.id: arrival.draft for arrival in arrivals}
        return [arrival.id for arrival in arrivals]

    def schedule(self) -> list[int]:
        decided = decide.schedule(self.queue, self.limits, self.now_us)
        self.queue = decided.queue
        self.events += decided.events
        return list(decided.permits)

    def start(self, *ids: int) -> None:
        """A pass, then these start."""
        self.schedule()
        for id_ in ids:
            self.take(decide.started(self.queue, id_, self.job(id_).attempt, self.limits, self.now_us))

    def finish(self, id_: int, status: int = 0, error: str | None = None) -> None:
        attempt = self.job(id_).attempt
        self.take(decide.finished(self.queue, id_, attempt, status, self.limits, self.now_us, error=error))

    def run(self, id_: int, status: int = 0) -> None:
        self.start(id_)
        self.finish(id_, status)

    def interrupt(self, id_: int) -> None:
        self.take(decide.interrupted(self.queue, id_, self.job(id_).attempt, self.limits, self.now_us, note="gone"))

    def expire(self, id_: int) -> Step:
        return self.take(decide.expired(self.queue, id_, self.job(id_).attempt, self.limits, self.now_us))

    def cancel(self, id_: int, note: str = "") -> Step:
        return self.take(decide.dequeue(self.queue, id_, self.limits, self.now_us, userid=USERID, note=note))

    def urgency(self, id_: int, urgency: int) -> Step:
        return self.take(decide.set_urgency(self.queue, id_, urgency, self.limits, self.now_us, userid=USERID))

    def pin(self, id_: int, pin: int | None) -> Step:
        return self.take(decide.set_priority(self.queue, id_, pin, self.limits, self.now_us))

    def unhold(self, id_: int) -> Step:
        return self.take(decide.unhold(self.queue, id_, self.limits, self.now_us, userid=USERID))

    def requeue(self, id_: int) -> Step:
        return self.take(decide.requeue(self.queue, id_, self.limits, self.now_us, userid=USERID))

    def edit(self, id_: int, *dependencies: Dependency, urgency: int | None = None, **changes) -> Step:
        """Change a file: `pin=`, `urgency=`, a field of the spec; dependencies only if any are given."""
        was = self.files[id_]
        outcomes = {job.id: policy.outcome_of(job) for job in self.finished.values()}
        outcomes |= {job.own_name: policy.outcome_of(job) for job in self.finished.values()}
        if dependencies:
            changes["dependencies"] = dependencies
        now = Draft(was.spec, was.urgency if urgency is None else urgency, changes.pop("pin", was.pin))
        now = evolve(now, spec=evolve(was.spec, **changes))
        step = accept.update(self.queue, id_, was, now, outcomes, self.limits, self.now_us, userid=USERID)
        if step.events:
            self.files[id_] = now
        return self.take(step)

    def tick(self, later_us: int) -> None:
        self.now_us += later_us
        self.take(decide.release_due_jobs(self.queue, self.limits, self.now_us))

    def state(self, id_: int) -> State:
        return self.job(id_).state
