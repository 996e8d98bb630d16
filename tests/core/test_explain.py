"""Why a job does not run: no wrong reason, none missing. Lift all and it starts; leave any one and it does not."""

from collections.abc import Iterable

from attrs import evolve
from hypothesis import given, target
from hypothesis import strategies as st

from jqsched.core import admission, explain, order, policy
from jqsched.core import queue as queues
from jqsched.core.explain import Obstacle, Why
from jqsched.core.job import Job, State
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from tests.core.desk import Desk, a_file, after
from tests.core.test_admission import Teller, a_rule, limited, named

UNBOUNDED = 10**6


def why(desk: Desk, id_: int) -> list[Obstacle]:
    return explain.obstacles(explain.look(desk.queue, desk.limits), desk.job(id_))


def lifted(queue: Queue, limits: Limits, id_: int, obstacles: Iterable[Obstacle]) -> tuple[Queue, Limits]:
    """The queue and the limits as they are when these obstacles of a job are gone, and nothing else has changed."""
    if id_ in queue.manipulated and any(obstacle.why is Why.CHANGING for obstacle in obstacles):
        queue = queues.release(queue, id_)
    job = queues.find(queue, id_)
    assert job is not None
    waits = {obstacle.wait for obstacle in obstacles}
    left = tuple(wait for wait in job.waits if wait not in waits)
    is_released = any(obstacle.why is Why.HELD for obstacle in obstacles)
    without = {obstacle.gate for obstacle in obstacles if obstacle.gate is not None}
    for obstacle in obstacles:
        if obstacle.why is Why.DRAINED:
            limits = evolve(limits, draining=False)
        elif obstacle.why is Why.SLOTS:
            limits = evolve(limits, max_running=UNBOUNDED)
        elif obstacle.why is Why.CORES:
            limits = evolve(limits, cores=UNBOUNDED)
    return _with(queue, _freed(job, left, released=is_released), without), limits


def _freed(job: Job, waits: tuple[str, ...], *, released: bool) -> Job:
    urgency, pin = job.urgency, job.pin
    if released:
        urgency, pin = urgency or job.urgency_before, pin or None
    priority = policy_priority(urgency, pin)
    state = State.DEPEND if waits else State.SCHED
    return evolve(job, waits=waits, urgency=urgency, pin=pin, priority=priority, state=state)


def policy_priority(urgency: int, pin: int | None) -> int:
    return 0 if urgency == 0 else 2**32 - 1 if urgency == 31 else pin if pin is not None else urgency


def _with(queue: Queue, job: Job, without: set[object]) -> Queue:
    """The queue with this form of the job, and with some of its gates wide open to it."""
    if job.id not in queue.enqueued:
        return queue
    gates = tuple(gate for gate in queues.gates_known(queue, job.id) if gate not in without)
    bare = evolve(queue, enqueued=queue.enqueued.set(job.id, job))
    whole = queues.set_rules(bare, queue.rules)
    key = queues.rank_key(job) if job.state is State.SCHED and job.priority > 0 else None
    was = admission.Stand(queues.gates_known(whole, job.id), key)
    moved = admission.move(whole.admission, job.id, was, admission.Stand(gates, key))
    ready = whole.ready
    if key is not None and gates != was.gates and not gates:
        ready = order.add(ready, key)
    return evolve(whole, admission=moved, ready=ready)


def starts(queue: Queue, limits: Limits, id_: int) -> bool:
    return id_ in policy.select(queue, evolve(limits, ahead=0))


@given(st.data())
def test_no_reason_is_wrong_and_none_is_missing(data: st.DataObject):
    """For each job of any queue: with all its reasons lifted it is chosen, with any one of them left it is not."""
    teller = Teller(data)
    for _ in range(data.draw(st.integers(3, 25))):
        teller.tell()
    queue = teller.desk.queue
    limits = evolve(
        teller.desk.limits,
        draining=data.draw(st.sampled_from((False, False, True))),
        max_running=data.draw(st.integers(1, 6)),
    )
    outlook = explain.look(queue, limits)
    named_ = 0
    for job in queues.live(queue):
        obstacles = explain.obstacles(outlook, job)
        if job.state >= State.RUN or job.id in queue.permits:
            assert obstacles == []
            continue
        assert starts(*lifted(queue, limits, job.id, obstacles), job.id), (job.id, obstacles)
        for left in obstacles:
            others = [obstacle for obstacle in obstacles if obstacle is not left]
            assert not starts(*lifted(queue, limits, job.id, others), job.id), (job.id, left)
        named_ += len(obstacles)
    target(named_)


def test_a_chain_is_told_to_its_end():
    """On whom a job waits, in turn, each with its own reasons."""
    desk = Desk(max_running=1)
    desk.drop(
        a_file("fetch", urgency=0),
        a_file("build", after("afterok", "fetch")),
        a_file("test", after("afterok", "build")),
    )
    told = explain.explain(explain.look(desk.queue, desk.limits), desk.job(3))
    assert [(link.depth, link.job.spec.name) for link in told.chain] == [(1, "build"), (2, "fetch")]
    assert [obstacle.help for obstacle in told.chain[1].obstacles] == ["it is released (`jqsched release 1`)"]


def test_what_would_help_is_named():
    desk = Desk(max_running=1)
    desk.rule(a_rule("PAUSE", named("b"), uuid="0123456789", note="not now"))
    desk.drop(a_file(), limited("1:x"), limited("1:x", name="b"))
    desk.start(1)
    assert [(obstacle.text, obstacle.help) for obstacle in why(desk, 3)] == [
        ("rule 01234567 (not now) pauses it", "the rule is gone (`jqsched filter remove 01234567`)"),
        ("rate-limit:1:x: 0 of 1 taken, 1 ahead of it", "those ahead of it are over"),
        ("slots: 1 of 1 taken", "job 1 is over, or more than 1 may run"),
    ]


def test_a_limit_names_who_is_through():
    desk = Desk()
    desk.rule(a_rule(["RATE_LIMIT", 1], named("a"), uuid="r"))
    desk.drop(a_file(), a_file(), a_file())
    desk.start(1)
    texts = [(obstacle.why, obstacle.text, obstacle.help, obstacle.on) for obstacle in why(desk, 2)]
    assert texts == [
        (
            Why.RULE,
            "rule r limits it: 1 of 1 taken",
            "job 1 is over, or the rule is gone (`jqsched filter remove r`)",
            (1,),
        )
    ]


def test_who_waits_for_cores_ahead_is_named():
    desk = Desk(max_running=9, cores=4)
    desk.drop(a_file(cores=3), a_file(cores=2), a_file())
    desk.start(1)
    assert [obstacle.text for obstacle in why(desk, 2)] == ["cores: 2 wanted, 1 of 4 free"]
    assert [(obstacle.text, obstacle.on) for obstacle in why(desk, 3)] == [
        ("cores: job 2 is ahead of it and waits for 2", (2,))
    ]


def test_how_many_are_ahead():
    """Of those that would start: paused, held and limited jobs are not."""
    desk = Desk(max_running=1)
    desk.rule(a_rule("PAUSE", named("b")))
    desk.drop(a_file(), a_file("b"), a_file(urgency=0), limited("1:x"), limited("1:x"), a_file())
    told = explain.explain(explain.look(desk.queue, desk.limits), desk.job(6))
    assert told.ahead == 2
