"""A state machine: anything may happen to a queue, and after each step the naive model knows the same.

`QueueMachine` plays the scheduler's shell around the core: it keeps the executor's list of orders, waits with a change
until a permitted job was given back (as `scheduler.dispatch` does), and restarts. Laws are numbered as in
docs/reference/laws.md.

`jqsched.testing.machine` has a machine of the same name and with the same shell, for other people's policies. This one
is not made of that one: here each move tells the model, too, and asks it what should come of it, and the moves are
ruder (stale news, lost orders, edits key by key). One machine for both would have a hook in every line.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jqsched.core import accept, binding, decide, policy
from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.filters import Rule, in_order, read_rule
from jqsched.core.fold import AlreadyStarted, Answer, Changed, Dequeued, Refused, Step, Stop, UnknownJob
from jqsched.core.job import Draft, Job, Outcome, OwnName, Reason, State
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY
from jqsched.testing.scenario import START_US, draft
from jqsched.testing.strategies import dependencies, drafts, pins, rule_documents, specs, urgencies
from tests.core.naive import NaiveScheduler

USERID = 1000
PICK = st.integers(0, 11)
COMMANDS = ("cancel", "hold", "urgency", "urgency", "pin", "release", "requeue", "requeue")
EDITABLE = ("dependencies", "urgency", "pin", "cores", "time_limit_us", "on_interrupt", "retries", "reasons", "name")
LIMITED = ((), (), (), ("rate-limit:1:x",), ("rate-limit:1:x", "rate-limit:2:y"), ("rate-limit:2:y", "rate-limit:2:y"))
UNLIMITED = (("nightly", "rate-limit:0:x"), ("rate-limit:two:x", "rate-limit"))
REASONS = tuple(tuple(Reason("", text) for text in texts) for texts in (*LIMITED, *UNLIMITED))


@dataclass
class Order:
    """What the executor was told to start; `asked`: to be given back."""

    id: int
    attempt: int
    asked: bool = False


Change = tuple[Callable[[], Step], Callable[[bool], str | None]]


def said(answer: Answer | None) -> str | None:
    """The model's word for an answer."""
    match answer:
        case AlreadyStarted(stopping=stopping):
            return "stopping" if stopping else "started"
        case Dequeued():
            return "dequeued"
        case Changed():
            return "changed"
        case UnknownJob():
            return "unknown"
        case Refused():
            return "refused"
    return None


def near_drafts(machine: "QueueMachine") -> st.SearchStrategy[Draft]:
    """Drafts whose dependencies by id are on jobs that came lately, on neighbours, or on what does not exist."""
    last = machine.queue.last_id
    near = dependencies(st.integers(max(1, last - 5), last + 3))
    return drafts(specs(depends_on=near, reasons=st.sampled_from(REASONS)))


def near_rules(machine: "QueueMachine") -> st.SearchStrategy[list[dict[str, Any]]]:
    """Documents of a few rules, whose watermarks are ids that came lately."""
    back = rule_documents().map(lambda rule: {**rule, "watermark": max(0, machine.queue.last_id - rule["watermark"])})
    return st.lists(back, max_size=3, unique_by=lambda rule: rule["uuid"])


class QueueMachine(RuleBasedStateMachine):
    """The queue, the model, and between them an executor that starts what it was told to, in order."""

    reached: ClassVar[Counter[tuple[str, str]]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.replayed = EMPTY, EMPTY
        self.now_us = START_US
        self.events: list[Event] = []
        self.finished: list[Job] = []
        self.accepted: set[int] = set()
        self.over: set[int] = set()
        self.files: dict[int, Draft] = {}
        self.orders: list[Order] = []
        self.processes: dict[int, int] = {}
        self.pending: dict[int, list[Change]] = {}
        self.next_id = 1

    @initialize(max_running=st.integers(1, 3), cores=st.integers(3, 4), ahead=st.integers(0, 2))
    def begin(self, max_running, cores, ahead):
        self.limits = Limits(max_running, cores, ahead, interruptions_max=2)
        self.naive = NaiveScheduler(max_running, cores, ahead, interruptions_max=2)

    # -- what every step must keep

    def take(self, step: Step) -> Step:
        """Take a step: its events are the ones that lead to its queue (law 6), and are lawful in themselves."""
        assert queues.same(queues.evolve_all(self.queue, step.events), step.queue)
        self.record(step.events)
        self.queue = step.queue
        self.finished += step.finished
        for job in step.finished:
            model = next(other for other in self.naive.jobs if other.id == job.id)
            assert (job.result.name, job.attempt) == (model.result, model.attempt), f"{job} ended unlike {model}"
        return step

    def record(self, events: Iterable[Event]) -> None:
        for event in events:
            before = queues.find(self.replayed, event.jobid)
            self.reached[before.state.name if before else "none", event.name] += 1
            assert event.jobid not in self.over, f"{event.name} of a finished job"  # law 3
            assert event.t_us > self.replayed.last_us, "time positions still"
            if event.name in ("alloc", "start"):
                assert not before.started, "a new attempt before the last is over"  # law 3
            if event.name == "finish":
                assert not before.retrying, "an attempt that is retried has no finish"
            if event.name == "requeue":
                assert event.context["attempt"] == before.attempt + 1  # law 3
            self.replayed = queues.evolve(self.replayed, event)
            if queues.find(self.replayed, event.jobid) is None:
                self.over.add(event.jobid)
            self.events.append(event)

    @invariant()
    def queue_is_sound(self):
        """Every index is what the jobs say; laws 1 and 2: each accepted job is in one place, or finished."""
        queues.check(self.queue)
        assert self.accepted == {job.id for job in queues.live(self.queue)} | self.over
        assert [job.id for job in self.finished] == [event.jobid for event in self.events if event.name == "clean"]

    @invariant()
    def replay_gives_the_queue(self):
        """Law 6, at every prefix."""
        assert queues.same(self.replayed, self.queue.settled())
        assert self.queue.seq == len(self.events)

    @invariant()
    def executor_and_queue_agree(self):
        """Law 3: whatever runs, or may start, is a live job's present attempt."""
        for id_, attempt in [*self.processes.items(), *((order.id, order.attempt) for order in self.orders)]:
            job = queues.find(self.queue, id_)
            assert job is not None, f"job {id_} is over, and its process is not"
            assert job.attempt == attempt
            assert job.started == (id_ in self.processes)

    @invariant()
    def model_knows_the_same(self):
        """Each job is where the model has it, in the same state; what is taken of the limits is the same (law 5)."""
        assert {job.id for job in self.naive.live} == {job.id for job in queues.live(self.queue)}
        places = {"enqueued": self.queue.enqueued, "running": self.queue.running, "manipulated": self.queue.manipulated}
        for model in self.naive.live:
            job = queues.find(self.queue, model.id)
            assert model.id in places[model.place], f"{model} is not in {model.place}"
            assert sorted(job.waits) == sorted(wait.text for wait in model.waits), model
            assert (job.state.name, job.urgency, job.pin, job.attempt, job.interruptions, job.spec) == (
                model.state,
                model.urgency,
                model.pin,
                model.attempt,
                model.interruptions,
                model.spec,
            )
            assert (job.started, job.requeuing, job.fatal) == (model.started, model.requeuing, bool(model.ended_by))
            assert (job.retrying, job.retried) == (model.retrying, model.retried)
            if job.state >= State.SCHED:
                assert job.priority == model.priority
            permit = self.queue.permits.get(job.id)
            assert (permit and ("recalled" if permit.recalled else "given")) == model.permit
            assert permit is None or permit.attempt == job.attempt
        self.check_admission()
        assert self.queue.busy == len(self.naive.slot_holders)
        assert self.queue.cores_used == sum(job.spec.cores for job in self.naive.slot_holders)

    def check_admission(self) -> None:
        """Which rule applies to a job, which jobs are in a bucket, which take a place there, and which may pass."""
        for model in self.naive.live:
            gates = queues.gates_known(self.queue, model.id)
            assert {(gate.kind.name, gate.key, gate.limit) for gate in gates} == self.naive.gates(model), model
        places = self.queue.admission.places
        assert {(gate.kind.name, gate.key, gate.limit): places[gate] for gate in places} == self.naive.places()
        admitted = [job.id for job in self.naive.admitted]
        assert list(policy.candidates(self.queue)) == admitted
        assert set(self.naive.rejected) <= self.pending.keys(), "a rejected job stays"
        assert [key[-1] for key in filter(None, [policy.first_candidate(self.queue)])] == admitted[:1]

    # -- doing things

    def job(self, pick: int) -> int:
        """The id of some live job; of one that never was if there is none."""
        ids = [job.id for job in self.naive.live]
        return ids[pick % len(ids)] if ids else 999_999

    def order_of(self, id_: int) -> Order | None:
        return next((order for order in self.orders if order.id == id_), None)

    def change(self, id_: int, real: Callable[[], Step], naive: Callable[[bool], str | None]) -> None:
        """Change a job at once; one that is permitted when it was given back, or has started."""
        if id_ in self.pending:
            self.pending[id_].append((real, naive))
        elif id_ in self.queue.permits:
            self.take_out(id_)
            self.pending[id_] = [(real, naive)]
            self.order_of(id_).asked = True
        else:
            self.apply((real, naive))

    def apply(self, change: Change) -> None:
        real, naive = change
        step = real()
        answer = naive(isinstance(step.answer, Refused))
        assert said(step.answer) == answer
        self.take(step)
        for effect in step.effects:
            order = self.order_of(effect.id) if isinstance(effect, Stop) else None
            if order is not None:
                order.asked = True

    def come_back(self, id_: int) -> None:
        """The executor has answered: make the changes that waited, and put the job back."""
        changes = self.pending.pop(id_, None)
        for change in changes or ():
            self.apply(change)
        if changes is not None:
            self.put_back(id_)

    def take_out(self, id_: int) -> None:
        self.queue, _ = queues.claim(self.queue, id_)
        self.naive.claim(id_)

    def put_back(self, id_: int) -> None:
        self.queue = queues.release(self.queue, id_)
        self.naive.release(id_)

    # -- rules: what users do

    @rule(new=st.lists(drafts(specs(dependencies_max=0)), min_size=1, max_size=3))
    def drop_plain(self, new):
        self.accept(new)

    @rule(new=st.runner().flatmap(lambda machine: st.lists(near_drafts(machine), min_size=1, max_size=4)))
    def drop(self, new):
        self.accept(new)

    def accept(self, new: list[Draft]) -> None:
        arrivals = [binding.Arrival(self.next_id + at, draft, USERID) for at, draft in enumerate(new)]
        self.next_id += len(new)
        accepted = accept.accept(self.queue, arrivals, self.known(), self.limits, self.now_us)
        refused = set(accepted.refused)
        wanted = self.naive.accept([(arrival.id, arrival.draft) for arrival in arrivals], self.now_us)
        assert refused == wanted, f"{refused} were refused, {wanted} should be"
        self.accepted |= {arrival.id for arrival in arrivals} - refused
        self.files |= {arrival.id: arrival.draft for arrival in arrivals}
        self.take(accepted.step)

    def known(self) -> dict[int | OwnName, Outcome]:
        """What the store says of finished jobs: by id, and the newest of each name."""
        unpurged = {job.id for job in self.naive.jobs}
        outcomes = {job.id: policy.outcome_of(job) for job in self.finished if job.id in unpurged}
        return outcomes | {outcomes[id_].own_name: outcomes[id_] for id_ in sorted(outcomes)}

    @rule(pick=PICK, command=st.sampled_from(COMMANDS), urgency=urgencies, pin=pins)
    def command(self, pick, command, urgency, pin):
        self.do(self.job(pick), command, urgency, pin)

    def do(self, id_: int, command: str, urgency: int = 16, pin: int | None = None) -> None:
        def real() -> Step:
            at, then = (self.queue, id_), (self.limits, self.now_us)
            return {
                "cancel": lambda: decide.dequeue(*at, *then, userid=USERID),
                "hold": lambda: decide.set_urgency(*at, 0, *then, userid=USERID),
                "urgency": lambda: decide.set_urgency(*at, urgency, *then, userid=USERID),
                "pin": lambda: decide.set_priority(*at, pin, *then),
                "release": lambda: decide.unhold(*at, *then, userid=USERID),
                "requeue": lambda: decide.requeue(*at, *then, userid=USERID),
            }[command]()

        def naive(_: bool) -> str:
            return {
                "cancel": lambda: self.naive.cancel(id_),
                "hold": lambda: self.naive.set_urgency(id_, 0),
                "urgency": lambda: self.naive.set_urgency(id_, urgency),
                "pin": lambda: self.naive.pin(id_, pin),
                "release": lambda: self.naive.unhold(id_),
                "requeue": lambda: self.naive.requeue(id_),
            }[command]()

        self.change(id_, real, naive)

    @rule(pick=PICK)
    def remark(self, pick):
        self.take(decide.note_refused_edit(self.queue, self.job(pick), "a bad edit", self.limits, self.now_us))

    @rule(
        pick=PICK,
        other=st.runner().flatmap(near_drafts),
        keys=st.sets(st.sampled_from(EDITABLE), min_size=1, max_size=3),
    )
    def edit(self, pick, other, keys):
        id_ = self.job(pick)
        change = {key: getattr(other, key) for key in keys & {"urgency", "pin"}}
        spec = {key: getattr(other.spec, key) for key in keys - {"urgency", "pin"}}

        def read() -> tuple[Draft, Draft]:
            was = self.files.get(id_, other)
            return was, evolve(was, spec=evolve(was.spec, **spec), **change)

        def real() -> Step:
            was, now = read()
            return accept.update(self.queue, id_, was, now, self.known(), self.limits, self.now_us, userid=USERID)

        def naive(refused: bool) -> str:
            was, now = read()
            answer = self.naive.edit(id_, was, now, refused, self.now_us)
            if answer == "changed":
                self.files[id_] = now
            return answer

        self.change(id_, real, naive)

    @rule(pick=PICK)
    def claim_or_release(self, pick):
        """Law 5: any job may be taken out; a permitted one is asked back from the executor."""
        id_ = self.job(pick)
        if id_ in self.queue.manipulated or queues.find(self.queue, id_) is None:
            assert queues.claim(self.queue, id_) is None
            if id_ not in self.pending:
                self.put_back(id_)
            return
        if id_ in self.queue.permits:
            self.pending[id_] = []
            self.order_of(id_).asked = True
        self.take_out(id_)

    @rule(
        max_running=st.sampled_from((3, 3, 2, 2, 1, 1, 0)),
        cores=st.sampled_from((4, 4, 4, 3, 2)),
        draining=st.sampled_from((False,) * 7 + (True,)),
    )
    def set_limits(self, max_running, cores, draining):
        """Law 7: lowering a limit stops no job. What can never run any more ends, once it is not at the executor."""
        self.limits = evolve(self.limits, max_running=max_running, cores=cores, draining=draining)
        self.naive.max_running, self.naive.cores, self.naive.draining = max_running, cores, draining
        self.weed()

    @rule(rules=st.runner().flatmap(near_rules))
    def set_rules(self, rules):
        """Other rules: a permit against them is asked back, a job that they reject ends, one that runs runs on."""
        read = [read_rule(document) for document in rules]
        assert all(isinstance(rule, Rule) for rule in read)
        self.queue = queues.set_rules(self.queue, in_order(read))
        self.replayed = queues.set_rules(self.replayed, in_order(read))
        recalled = self.naive.set_rules(rules)
        assert sorted(policy.no_longer_admitted(self.queue)) == sorted(recalled)
        assert policy.rejected(self.queue) == self.naive.rejected
        for id_ in recalled:
            self.queue = queues.recall(self.queue, id_)
            self.order_of(id_).asked = True
        self.weed()

    def weed(self) -> None:
        for id_ in sorted({*policy.infeasible(self.queue, self.limits), *policy.rejected(self.queue)}):
            self.change(
                id_,
                partial(lambda id_: decide.end_if_infeasible(self.queue, id_, self.limits, self.now_us), id_),
                partial(lambda id_, _: self.naive.weed(id_), id_),
            )

    # -- rules: what the scheduler does

    @rule(starts=st.integers(0, 3), hasty=st.sampled_from((None, None, "cancel", *COMMANDS)))
    def schedule(self, starts, hasty=None):
        """A pass; perhaps a command for the first of the chosen; then the executor starts some of its orders."""
        ready = [job.id for job in self.naive.admitted]
        held_back = [job.id for job in self.naive.live if job.place != "enqueued" or job.state != "SCHED"]
        decided = decide.schedule(self.queue, self.limits, self.now_us)
        recalled, chosen = self.naive.schedule()
        assert list(decided.permits) == chosen
        assert sorted(decided.recalled) == recalled
        assert chosen == [id_ for id_ in ready if id_ in chosen][: len(chosen)]
        assert chosen == ready[: len(chosen)], "law 4: a better one was passed over"
        assert not set(chosen) & set(held_back)
        self.record(decided.events)
        self.queue = decided.queue
        if chosen:
            assert self.queue.busy + len(self.queue.permits) <= self.limits.max_running + self.limits.ahead  # law 7
        if chosen and not self.limits.ahead:
            assert self.queue.cores_used + self.queue.cores_permitted <= self.limits.cores  # law 7
        for id_ in recalled:
            self.order_of(id_).asked = True
        self.orders += [Order(id_, queues.find(self.queue, id_).attempt) for id_ in chosen]
        if hasty and chosen:
            self.do(chosen[0], hasty)
        for _ in range(starts):
            self.start()

    @rule()
    def turn(self):
        """The common case: a pass, and all that fits starts."""
        self.schedule(starts=3)

    @rule()
    def start(self):
        """The executor starts its first order if there is room (it keeps the limits itself)."""
        if not self.orders:
            return
        order, running = self.orders[0], [self.naive.find(id_) for id_ in self.processes]
        model = self.naive.find(order.id)
        fits = sum(job.spec.cores for job in running) + model.spec.cores <= self.limits.cores
        if len(running) >= self.limits.max_running or not fits:
            return
        self.orders.pop(0)
        self.processes[order.id] = order.attempt
        step = decide.started(self.queue, order.id, order.attempt, self.limits, self.now_us)
        to_be_stopped = bool(model.ended_by) or model.requeuing
        assert (Stop(order.id, order.attempt) in step.effects) == to_be_stopped, "it was ended before it started"
        self.naive.start(order.id, order.attempt)
        self.take(step)
        self.come_back(order.id)

    @rule(pick=PICK)
    def withdrawn(self, pick):
        """The executor gives back an order that it was asked for."""
        asked = [order for order in self.orders if order.asked]
        if asked:
            self.give_back(asked[pick % len(asked)])

    def give_back(self, order: Order) -> None:
        self.orders.remove(order)
        job = queues.find(self.queue, order.id)
        if job.state < State.RUN:
            self.queue = queues.withdraw(self.queue, order.id)
            self.naive.withdraw(order.id)
        elif job.fatal or job.requeuing:
            self.lose(order.id, order.attempt)
        else:
            self.orders.append(Order(order.id, order.attempt))
        self.come_back(order.id)

    # -- rules: what processes do

    @rule(
        pick=PICK,
        status=st.sampled_from((0, 0, 256, 75 << 8, (128 + 9) << 8)),
        error=st.sampled_from((None, None, None, "no such file")),
    )
    def finish(self, pick, status, error):
        """A process ends, or the first order cannot be started."""
        if error and self.orders:
            order = self.orders.pop(0)
            id_, attempt = order.id, order.attempt
        elif self.processes:
            id_ = sorted(self.processes)[pick % len(self.processes)]
            attempt, error = self.processes.pop(id_), None
        else:
            return
        step = decide.finished(self.queue, id_, attempt, status, self.limits, self.now_us, error=error)
        self.naive.finish(id_, attempt, status, error, self.now_us)
        self.take(step)
        self.come_back(id_)

    @rule(pick=PICK)
    def interrupt(self, pick):
        """A process, or an order, is gone."""
        there = [*sorted(self.processes.items()), *((order.id, order.attempt) for order in self.orders)]
        if there:
            id_, attempt = there[pick % len(there)]
            self.processes.pop(id_, None)
            self.orders = [order for order in self.orders if order.id != id_]
            self.lose(id_, attempt)
            self.come_back(id_)

    def lose(self, id_: int, attempt: int) -> None:
        step = decide.interrupted(self.queue, id_, attempt, self.limits, self.now_us)
        self.naive.interrupt(id_, attempt, self.now_us)
        self.take(step)

    @rule(pick=PICK)
    def expire(self, pick):
        if self.processes:
            id_ = sorted(self.processes)[pick % len(self.processes)]
            step = decide.expired(self.queue, id_, self.processes[id_], self.limits, self.now_us)
            self.naive.expire(id_, self.processes[id_])
            self.take(step)

    @rule(pick=PICK, late=st.sampled_from(("started", "finished", "interrupted", "expired")))
    def stale_news(self, pick, late):
        """Law 3: late word of an attempt that is over changes nothing."""
        old = [(job.id, job.attempt) for job in self.finished]
        old += [(job.id, job.attempt - 1) for job in queues.live(self.queue) if job.attempt > 1]
        old += [(id_, attempt) for id_, attempt in self.processes.items() if late == "started"]
        if not old:
            return
        id_, attempt = sorted(old)[pick % len(old)]
        status = (0,) if late == "finished" else ()
        step = getattr(decide, late)(self.queue, id_, attempt, *status, self.limits, self.now_us)
        assert (step.queue, step.events, step.effects) == (self.queue, (), ())

    # -- rules: time and restarts

    @rule(later_us=st.sampled_from((1, 10, 20, 60, -30)))
    def time_passes(self, later_us):
        """Also backwards, as wall clocks do."""
        self.now_us += later_us
        step = decide.release_due_jobs(self.queue, self.limits, self.now_us)
        self.naive.tick(self.now_us)
        self.take(step)
        assert policy.next_timer_us(self.queue) is None or policy.next_timer_us(self.queue) > self.now_us

    @rule()
    def restart(self):
        """The queue of the stored jobs is the fold of the events; orders that had not started never will."""
        stored = list(queues.live(self.queue))
        at = self.queue
        loaded = queues.load(stored, seq=at.seq, last_us=at.last_us, last_id=at.last_id, rules=at.rules)
        assert queues.same(loaded, self.queue.settled())
        self.queue = loaded
        self.naive.restart()
        self.pending.clear()
        for order in [*self.orders]:
            self.give_back(order)
        self.weed()

    @rule()
    def purge(self):
        """Finished jobs are forgotten: no job can depend on them any more."""
        self.naive.purge()

    def teardown(self):
        """Law 6 once more, for the whole history at once."""
        replayed = queues.evolve_all(EMPTY, self.events)
        assert queues.same(queues.set_rules(replayed, self.queue.rules), self.replayed)


INVARIANTS = (
    QueueMachine.queue_is_sound,
    QueueMachine.replay_gives_the_queue,
    QueueMachine.executor_and_queue_agree,
    QueueMachine.model_knows_the_same,
)


WALKS, STEPS = 200, 80


def walk() -> Counter[tuple[str, str]]:
    """Take the same rules at random, the same each time: nothing is minimised, but it gets further in less time.

    Every other walk has filter rules and rate limits: in a crowd that they hold back, less happens to each job.
    Returns which (state, event) were reached, and how often.
    """
    QueueMachine.reached.clear()
    for seed in range(WALKS):
        random = Random(seed)
        machine = QueueMachine()
        machine.begin(max_running=random.randint(1, 3), cores=random.randint(3, 4), ahead=random.randint(0, 2))
        for _ in range(STEPS):
            stride(machine, random, limited=seed % 2 == 1)
            for holds in INVARIANTS:
                holds(machine)
        machine.teardown()
    return QueueMachine.reached


def stride(machine: QueueMachine, random: Random, *, limited: bool) -> None:
    """One rule, with arguments like those that Hypothesis would give it."""
    pick, of = random.randrange(12), random.choice
    move = of((*MOVES, "set_rules", "set_rules") if limited else MOVES)
    reasons = REASONS if limited else ((),)
    if move == "drop":
        machine.drop([a_draft(machine, random, reasons) for _ in range(random.randint(1, 3))])
    elif move == "command":
        machine.command(pick, of(COMMANDS), of((16, 15, 17, 0, 31)), of((None, None, 0, 16, 17)))
    elif move == "edit":
        keys = of(({"time_limit_us"}, *({key} for key in EDITABLE), set(random.sample(EDITABLE, 2))))
        machine.edit(pick, a_draft(machine, random, reasons), keys)
    elif move == "set_limits":
        machine.set_limits(of((3, 3, 2, 2, 1, 0)), of((4, 4, 3, 2)), draining=of((False, False, False, True)))
    elif move == "set_rules":
        machine.set_rules([a_rule(machine, random, uuid) for uuid in of(("", "b", "ba", "ba"))])
    elif move == "schedule":
        machine.schedule(random.randint(0, 3), of((None, None, "cancel", *COMMANDS)))
    elif move == "finish":
        machine.finish(pick, of((0, 0, 256, 75 << 8)), of((None, None, None, "no such file")))
    elif move == "stale_news":
        machine.stale_news(pick, of(("started", "finished", "interrupted", "expired")))
    elif move == "time_passes":
        machine.time_passes(of((1, 10, 20, 60, -30)))
    elif move in ("turn", "start", "restart", "purge"):
        getattr(machine, move)()
    else:
        getattr(machine, move)(pick)


def a_draft(machine: QueueMachine, random: Random, reasons: Sequence[tuple[Reason, ...]]) -> Draft:
    drawn = draft(random.randrange, machine.next_id, machine.now_us)
    return evolve(drawn, spec=evolve(drawn.spec, reasons=random.choice(reasons)))


def a_rule(machine: QueueMachine, random: Random, uuid: str) -> dict[str, Any]:
    of = random.choice
    tests = (
        *(["job", ["=", "name", of("abc")]], ["job", ["<", "cores", 2]], ["job", ["!", ["?", "time_limit"]]]),
        *(["jobid", [of(("<=", ">")), "id", "watermark"]], ["reason", ["=~", "reason", of(("rate", "x$"))]]),
    )
    return {
        "uuid": uuid,
        "watermark": max(0, machine.next_id - 1 - random.randrange(4)),
        "priority": random.randrange(2),
        "predicates": random.sample(tests, of((0, 1, 1, 2))),
        "action": of(
            ("ACCEPT", "CONTINUE", "CONTINUE", "PAUSE", "PAUSE", "REJECT", ["RATE_LIMIT", 1], ["RATE_LIMIT", 2])
        ),
    }


MOVES = (
    *("drop", "drop", "command", "command", "command", "edit", "edit", "turn", "turn", "schedule", "schedule"),
    *("start", "withdrawn", "withdrawn", "finish", "finish", "interrupt", "expire", "time_passes", "time_passes"),
    *("claim_or_release", "claim_or_release", "set_limits", "stale_news", "restart", "purge", "remark"),
)
