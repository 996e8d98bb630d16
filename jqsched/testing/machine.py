"""A state machine for people who write a policy: anything may happen to a queue, and the laws hold after each step.

Rule: it plays the scheduler's shell around the core, with one executor that starts what it was told to, in order; a
change of a permitted job waits until the permit was given back, as in the real one. Subclass `QueueMachine`, override
`select` with your policy and `check` with what it promises, and let Hypothesis look for the shortest history that
breaks it. Laws are numbered as in docs/reference/laws.md.
"""

from collections.abc import Callable
from functools import partial

from attrs import define, evolve
from hypothesis import currently_in_test_context, note
from hypothesis import settings as Settings  # noqa: N812  # a type here, and the name of an argument
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import SearchStrategy

from jqsched.core import accept, binding, decide, policy
from jqsched.core import queue as queues
from jqsched.core.decide import Schedule
from jqsched.core.event import Event
from jqsched.core.filters import Rule, in_order
from jqsched.core.fold import Changed, EndHopeless, Fold, Step, Stop
from jqsched.core.job import Draft, Job, OnInterrupt, Outcome, OwnName, State
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY, Queue, find
from jqsched.testing.scenario import START_US, USERID
from jqsched.testing.strategies import dependencies, drafts, filter_rules, pins, rate_limits, specs, urgencies

PICK = st.integers(0, 11)
COMMANDS = ("cancel", "hold", "urgency", "pin", "release", "requeue")


@define
class Order:
    """What the executor was told to start; `asked`: to be given back."""

    id: int
    attempt: int
    asked: bool = False


# A step that would do nothing is none: so short histories are full.


def _has_jobs(machine: "QueueMachine") -> bool:
    return bool(machine.queue.names)


def _is_asked(machine: "QueueMachine") -> bool:
    return any(order.asked for order in machine.orders)


def _has_processes(machine: "QueueMachine") -> bool:
    return bool(machine.processes)


def _tell(line: str) -> None:
    """Say in the story what came of a step; a machine that is driven by hand says nothing."""
    if currently_in_test_context():
        note(f"# {line}")


class QueueMachine(RuleBasedStateMachine):
    """A queue, and around it users, an executor, time, and restarts.

    `limits`: the most that is ever allowed. `work_conserving`: whether the policy promises to leave no slot free while
    a job could start. `queue`, `events`, `finished`: what has happened so far, for `check`; `orders` are what the
    executor has not started yet, `processes` the attempts that run, by job.
    """

    limits = Limits(max_running=2, cores=4, ahead=1, interruptions_max=2)
    work_conserving = True

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.replayed = EMPTY, EMPTY
        self.now_us = START_US
        self.events: list[Event] = []
        self.finished: list[Job] = []
        self.accepted: set[int] = set()
        self._files: dict[int, Draft] = {}
        self.orders: list[Order] = []
        self.processes: dict[int, int] = {}
        self._waiting: dict[int, list[Callable[[], Step]]] = {}
        self._next_id = 1

    # ---- to be overridden -----------------------------------------------------------------------------------------

    def select(self, queue: Queue, limits: Limits) -> tuple[int, ...]:
        """The policy: the ids of the jobs that get a permit now, first to start first. As it is: `policy.select`."""
        return policy.select(queue, limits)

    def overtaken(self, queue: Queue, limits: Limits) -> tuple[int, ...]:
        """The permits that are asked back, not asked for yet; all when draining. As it is: `policy.overtaken`, which
        lets a job of higher rank pass. A policy with an order of its own needs its own.
        """
        return policy.overtaken(queue, limits)

    def check(self, queue: Queue) -> None:
        """What the policy promises besides the laws; asserted after every step."""

    def draft(self) -> SearchStrategy[Draft]:
        """The jobs that are dropped. As it is: few names, few cores, and dependencies on jobs that came lately."""
        last = self.queue.last_id
        near = dependencies(st.integers(max(1, last - 5), last + 3))
        return drafts(specs(depends_on=near, reasons=rate_limits))

    # ---- the laws -------------------------------------------------------------------------------------------------

    def take(self, step: Step) -> Step:
        """Take a step: its events lead to its queue (law 6), and to nothing that the laws forbid."""
        assert queues.same(queues.evolve_all(self.queue, step.events), step.queue), "the events do not lead there"
        self.queue = step.queue
        for event in step.events:
            self._record(event)
        self.finished += step.finished
        return step

    def _record(self, event: Event) -> None:
        before = find(self.replayed, event.jobid)
        assert event.jobid not in {job.id for job in self.finished}, f"{event.name} of a finished job (law 3)"
        if event.name in ("alloc", "start"):
            assert before is not None, f"{event.name} of a job that is not there"
            assert not before.started, "a new attempt before the last is over (law 3)"
        self.replayed = queues.evolve(self.replayed, event)
        self.events.append(event)

    @invariant()
    def laws_hold(self) -> None:
        """Laws 1, 2 and 6: each accepted job is in one place or finished, and a replay gives this queue."""
        queues.check(self.queue)
        over = {job.id for job in self.finished}
        assert self.accepted == {job.id for job in queues.live(self.queue)} | over, "a job is lost (law 2)"
        replayed = queues.set_rules(self.replayed, self.queue.rules)
        assert queues.same(replayed, self.queue.settled()), "a replay gives another queue (law 6)"

    @invariant()
    def executor_and_queue_agree(self) -> None:
        """Law 3: whatever runs, or may start, is a live job's present attempt."""
        for id_, attempt in [*self.processes.items(), *((order.id, order.attempt) for order in self.orders)]:
            job = find(self.queue, id_)
            assert job is not None, f"job {id_} is over, and its process is not (law 3)"
            assert job.attempt == attempt, f"job {id_} has another attempt (law 3)"

    def check_invariants(self, settings: Settings, output: object, runtimes: dict[str, float]) -> None:
        """As Hypothesis does it, but without a line for each of them in the story."""
        del output
        super().check_invariants(settings, lambda line: None, runtimes)

    @invariant()
    def promises_hold(self) -> None:
        """What the policy promises."""
        self.check(self.queue)

    def _check_choice(self, before: Queue, chosen: tuple[int, ...]) -> None:
        """Check what every policy must keep: it chooses only jobs that may start (laws 5, 8), within limits (law 7)."""
        limits = self.limits
        may = list(policy.candidates(before))
        assert len(set(chosen)) == len(chosen), f"select chose a job twice: {chosen}"
        wrong = sorted(set(chosen) - {id_ for id_ in before.enqueued if policy.eligible(before, before.enqueued[id_])})
        assert not wrong, f"select chose jobs that may not start: {wrong}"
        taken = before.busy + len(before.permits) + len(chosen)
        assert not chosen or taken <= limits.max_running + limits.ahead, (
            f"select chose {len(chosen)} jobs, so that {taken} run or may start: at most "
            f"{limits.max_running} slots and {limits.ahead} ahead of them there are (law 7)"
        )
        assert not (chosen and limits.draining), f"select chose {chosen} while drained: nothing starts then (law 8)"
        cores = before.cores_used + before.cores_permitted + sum(before.enqueued[id_].spec.cores for id_ in chosen)
        assert not chosen or limits.ahead or cores <= limits.cores, (
            f"select chose {chosen}, so that {cores} cores are taken: there are {limits.cores} (law 7)"
        )
        admitted = policy.admit(before, [before.enqueued[id_] for id_ in chosen])
        assert len(admitted) == len(chosen), f"select chose jobs that a rule or a rate limit stops: {chosen}"
        if self.work_conserving and may and not chosen and not limits.draining:
            first = before.enqueued[may[0]]
            slot = before.busy + len(before.permits) < limits.max_running
            fits = before.cores_used + before.cores_permitted + first.spec.cores <= limits.cores
            assert not (slot and fits), f"select chose nobody, and there is a slot and cores for job {first.id}"

    # ---- rules: what users do -------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """The limits are the class's again, whatever an earlier story made of them."""
        self.limits = type(self).limits

    @rule(new=st.runner().flatmap(lambda machine: st.lists(machine.draft(), min_size=1, max_size=3)))
    def drop(self, new: list[Draft]) -> None:
        """Files are dropped; what is refused is forgotten."""
        arrivals = [binding.Arrival(self._next_id + at, draft, USERID) for at, draft in enumerate(new)]
        self._next_id += len(new)
        accepted = accept.accept(self.queue, arrivals, self._known(), self.limits, self.now_us)
        entered = {arrival.id for arrival in arrivals} - set(accepted.refused)
        _tell(f"accepted: {sorted(entered)}, refused: {sorted(accepted.refused)}")
        self.accepted |= entered
        self._files |= {arrival.id: arrival.draft for arrival in arrivals}
        self.take(accepted.step)

    def _known(self) -> dict[int | OwnName, Outcome]:
        return policy.known_outcomes(self.finished)

    @precondition(_has_jobs)
    @rule(pick=PICK, command=st.sampled_from(COMMANDS), urgency=urgencies, pin=pins)
    def command(self, pick: int, command: str, urgency: int, pin: int | None) -> None:
        """A user asks for something."""
        job = self._job(pick)
        if job is None:
            return

        def apply() -> Step:
            at, then = (self.queue, job.id), (self.limits, self.now_us)
            steps: dict[str, Callable[[], Step]] = {
                "cancel": lambda: decide.dequeue(*at, *then, userid=USERID),
                "hold": lambda: decide.set_urgency(*at, 0, *then, userid=USERID),
                "urgency": lambda: decide.set_urgency(*at, urgency, *then, userid=USERID),
                "pin": lambda: decide.set_priority(*at, pin, *then),
                "release": lambda: decide.unhold(*at, *then, userid=USERID),
                "requeue": lambda: decide.requeue(*at, *then, userid=USERID),
            }
            return steps[command]()

        self._change(job.id, apply)

    @precondition(_has_jobs)
    @rule(pick=PICK, other=st.runner().flatmap(lambda machine: machine.draft()))
    def edit(self, pick: int, other: Draft) -> None:
        """A job's file is changed to another one of the same name."""
        job = self._job(pick)
        if job is None:
            return

        def apply() -> Step:
            was = self._files[job.id]
            now = evolve(other, spec=evolve(other.spec, name=was.spec.name))
            step = accept.update(self.queue, job.id, was, now, self._known(), self.limits, self.now_us, userid=USERID)
            if isinstance(step.answer, Changed):
                self._files[job.id] = now
            return step

        self._change(job.id, apply)

    @precondition(_has_jobs)
    @rule(max_running=st.integers(0, 8), cores=st.integers(0, 8), draining=st.sampled_from((False,) * 5 + (True,)))
    def set_limits(self, max_running: int, cores: int, draining: bool) -> None:
        """Limits are lowered, or raised again to what the class allows. Law 7: that stops no job."""
        most = type(self).limits
        self.limits = evolve(
            most,
            max_running=min(most.max_running, max_running),
            cores=max(1, most.cores - cores // 4),
            draining=draining,
        )
        self._weed()

    @precondition(_has_jobs)
    @rule(rules=st.lists(filter_rules(), max_size=2, unique_by=lambda rule: rule.uuid))
    def set_rules(self, rules: list[Rule]) -> None:
        """The owner sets other filter rules."""
        self.queue = queues.set_rules(self.queue, in_order(rules))
        for id_ in policy.no_longer_admitted(self.queue):
            self.queue = queues.recall(self.queue, id_)
            self._ask_back(id_)
        self._weed()

    def _weed(self) -> None:
        for id_ in sorted({*policy.infeasible(self.queue, self.limits), *policy.rejected(self.queue)}):
            self._change(id_, partial(self._weed_one, id_))

    def _weed_one(self, id_: int) -> Step:
        return decide.end_if_infeasible(self.queue, id_, self.limits, self.now_us)

    @precondition(_has_jobs)
    @rule(pick=PICK)
    def claim_or_release(self, pick: int) -> None:
        """Law 5: a job is taken out while it is changed, or put back."""
        job = self._job(pick)
        if job is None or job.id in self.queue.permits or job.id in self._waiting:
            return
        claimed = queues.claim(self.queue, job.id)
        self.queue = claimed[0] if claimed is not None else queues.release(self.queue, job.id)

    # ---- rules: what the scheduler and its executor do ------------------------------------------------------------

    @precondition(lambda machine: bool(machine.queue.enqueued))
    @rule(starts=st.integers(0, 3))
    def schedule(self, starts: int) -> None:
        """A pass of the policy; then the executor starts some of its orders."""
        decided = self._pass()
        _tell(f"permitted: {list(decided.permits)}, asked back: {list(decided.recalled)}")
        self.queue = decided.queue
        for event in decided.events:
            self._record(event)
        for id_ in decided.recalled:
            self._ask_back(id_)
        for id_ in decided.permits:
            job = find(self.queue, id_)
            assert job is not None
            self.orders.append(Order(id_, job.attempt))
        for _ in range(starts):
            self.start()

    def _pass(self) -> Schedule:
        """`decide.schedule`, with the policy of this class."""
        queue = self.queue
        recalled = tuple(self.overtaken(queue, self.limits))
        for id_ in recalled:
            queue = queues.recall(queue, id_)
        chosen = tuple(self.select(queue, self.limits))
        self._check_choice(queue, chosen)
        fold = Fold(queue, self.limits, self.now_us)
        for id_ in chosen:
            job = queue.enqueued[id_]
            if job.spec.on_interrupt is OnInterrupt.FAIL:
                fold.post(id_, ("alloc", decide.allocation(job)))
            else:
                fold.queue = queues.permit(fold.queue, id_)
        return Schedule(fold.queue, tuple(fold.events), chosen, recalled)

    @precondition(lambda machine: bool(machine.orders))
    @rule()
    def start(self) -> None:
        """The executor starts its first order, if there is room for it."""
        if not self.orders:
            return
        order = self.orders[0]
        job = find(self.queue, order.id)
        running = [found for id_ in self.processes if (found := find(self.queue, id_)) is not None]
        assert job is not None
        cores = sum(other.spec.cores for other in running) + job.spec.cores
        if len(running) >= self.limits.max_running or cores > self.limits.cores:
            return
        self.orders.pop(0)
        self.processes[order.id] = order.attempt
        self.take(decide.started(self.queue, order.id, order.attempt, self.limits, self.now_us))
        self._come_back(order.id)

    @precondition(_is_asked)
    @rule(pick=PICK)
    def withdrawn(self, pick: int) -> None:
        """The executor gives back an order that it was asked for."""
        asked = [order for order in self.orders if order.asked]
        if asked:
            self._give_back(asked[pick % len(asked)])

    def _give_back(self, order: Order) -> None:
        self.orders.remove(order)
        job = find(self.queue, order.id)
        assert job is not None
        if job.state < State.RUN:
            self.queue = queues.withdraw(self.queue, order.id)
        elif job.fatal or job.requeuing:
            self.take(decide.interrupted(self.queue, order.id, order.attempt, self.limits, self.now_us))
        else:
            self.orders.append(Order(order.id, order.attempt))
        self._come_back(order.id)

    @precondition(_has_processes)
    @rule(pick=PICK, status=st.sampled_from((0, 0, 256, (128 + 9) << 8)))
    def finish(self, pick: int, status: int) -> None:
        """A process ends."""
        if self.processes:
            id_ = sorted(self.processes)[pick % len(self.processes)]
            attempt = self.processes.pop(id_)
            self.take(decide.finished(self.queue, id_, attempt, status, self.limits, self.now_us))
            self._come_back(id_)

    @precondition(_has_processes)
    @rule(pick=PICK, expired=st.booleans())
    def interrupt(self, pick: int, expired: bool) -> None:
        """A process is gone, or has used up its time."""
        if not self.processes:
            return
        id_ = sorted(self.processes)[pick % len(self.processes)]
        attempt = self.processes[id_]
        if expired:
            self.take(decide.expired(self.queue, id_, attempt, self.limits, self.now_us))
        else:
            del self.processes[id_]
            self.take(decide.interrupted(self.queue, id_, attempt, self.limits, self.now_us))
            self._come_back(id_)

    @precondition(_has_jobs)
    @rule(later_us=st.sampled_from((1, 10, 60, -30)))
    def time_passes(self, later_us: int) -> None:
        """Also backwards, as wall clocks do."""
        self.now_us += later_us
        self.take(decide.release_due_jobs(self.queue, self.limits, self.now_us))

    @precondition(_has_jobs)
    @rule()
    def restart(self) -> None:
        """The queue of the stored jobs is the fold of the events; orders that had not started never will."""
        jobs, at = list(queues.live(self.queue)), self.queue
        loaded = queues.load(jobs, seq=at.seq, last_us=at.last_us, last_id=at.last_id, rules=at.rules)
        assert queues.same(loaded, self.queue.settled()), "a restart finds another queue (law 6)"
        self.queue = loaded
        self._waiting.clear()
        for order in list(self.orders):
            self._give_back(order)
        self._weed()

    # ---- changes of permitted jobs --------------------------------------------------------------------------------

    def _job(self, pick: int) -> Job | None:
        jobs = list(queues.live(self.queue))
        return jobs[pick % len(jobs)] if jobs else None

    def _ask_back(self, id_: int) -> None:
        for order in self.orders:
            if order.id == id_:
                order.asked = True

    def _change(self, id_: int, apply: Callable[[], Step]) -> None:
        """Change a job at once; one that is permitted when it was given back, or has started."""
        if id_ in self._waiting:
            self._waiting[id_].append(apply)
        elif id_ in self.queue.permits:
            claimed = queues.claim(self.queue, id_)
            assert claimed is not None
            self.queue = claimed[0]
            self._waiting[id_] = [apply]
            self._ask_back(id_)
        else:
            self._apply(apply)

    def _apply(self, apply: Callable[[], Step]) -> None:
        for effect in self.take(apply()).effects:
            if isinstance(effect, Stop):
                self._ask_back(effect.id)
            elif isinstance(effect, EndHopeless):
                for id_ in effect.ids:
                    self._change(id_, partial(self._weed_one, id_))

    def _come_back(self, id_: int) -> None:
        """The executor has answered: make the changes that waited, and put the job back."""
        changes = self._waiting.pop(id_, None)
        for apply in changes or ():
            self._apply(apply)
        if changes is not None:
            self.queue = queues.release(self.queue, id_)

    def teardown(self) -> None:
        """Law 6 once more, for the whole history at once."""
        whole = queues.evolve_all(EMPTY, self.events)
        assert queues.same(whole, self.replayed), "a replay gives another queue (law 6)"
