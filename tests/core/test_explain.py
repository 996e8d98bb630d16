"""Why a job does not run: no wrong reason, none missing. Lift all and it starts; leave any one and it does not."""

from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given, target
from hypothesis import strategies as st

from jqsched.core import admission, explain, order, policy
from jqsched.core import queue as queues
from jqsched.core.explain import Obstacle, Why
from jqsched.core.job import Job, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from tests.core.scheduler_driver import SchedulerDriver, a_file, after
from tests.core.test_admission import Teller, a_rule, limited, named

UNBOUNDED = 10**6


def why(driver: SchedulerDriver, id_: int) -> list[Obstacle]:
    return explain.obstacles(explain.take_snapshot(driver.queue, driver.limits), driver.job(id_))


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
    was = admission.Position(queues.gates_known(whole, job.id), key)
    moved = admission.move(whole.admission, job.id, was, admission.Position(gates, key))
    ready = whole.ready
    if key is not None and gates != was.gates and not gates:
        ready = order.add(ready, key)
    return evolve(whole, admission=moved, ready=ready)


def without_permits(queue: Queue) -> Queue:
    """The same jobs, all of which have still to be chosen: who was handed over waits for room as the others do."""
    for id_ in sorted(queue.permits):
        queue = queues.withdraw(queue, id_)
    return queue


def starts(queue: Queue, limits: Limits, id_: int) -> bool:
    return id_ in policy.select(queue, evolve(limits, ahead=0))


@given(st.data())
def test_no_reason_is_wrong_and_none_is_missing(data: st.DataObject):
    """For each job of any queue: with all its reasons lifted it is chosen, with any one of them left it is not."""
    teller = Teller(data)
    for _ in range(data.draw(st.integers(3, 25))):
        teller.tell()
    limits = evolve(
        teller.driver.limits,
        draining=data.draw(st.sampled_from((False, False, True))),
        max_running=data.draw(st.integers(1, 6)),
    )
    snapshot = explain.take_snapshot(teller.driver.queue, limits)
    queue = without_permits(teller.driver.queue)
    named_ = 0
    for job in queues.live(queue):
        obstacles = explain.obstacles(snapshot, job)
        if job.state >= State.RUN:
            assert obstacles == []
            continue
        assert starts(*lifted(queue, limits, job.id, obstacles), job.id), (job.id, obstacles)
        for left in obstacles:
            others = [obstacle for obstacle in obstacles if obstacle is not left]
            assert not starts(*lifted(queue, limits, job.id, others), job.id), (job.id, left)
        named_ += len(obstacles)
    target(named_)


def test_a_chain_is_told_to_its_end():
    """On which jobs a job waits, in turn, each with its own reasons."""
    driver = SchedulerDriver(max_running=1)
    driver.drop(
        a_file("fetch", urgency=0),
        a_file("build", after("afterok", "fetch")),
        a_file("test", after("afterok", "build")),
    )
    told = explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(3))
    assert [(link.depth, link.job.spec.name) for link in told.chain] == [(1, "build"), (2, "fetch")]
    assert [obstacle.help for obstacle in told.chain[1].obstacles] == ["it is released (`jqsched release 1`)"]


def test_what_would_help_is_named():
    driver = SchedulerDriver(max_running=1)
    driver.rule(a_rule("PAUSE", named("b"), uuid="0123456789", note="not now"))
    driver.drop(a_file(), limited("1:x"), limited("1:x", name="b"))
    driver.start(1)
    assert [(obstacle.text, obstacle.help) for obstacle in why(driver, 3)] == [
        ("rule 01234567 (not now) pauses it", "the rule is gone (`jqsched filter remove 01234567`)"),
        ("rate-limit:1:x: 0 of 1 taken, 1 ahead of it", "those ahead of it are over"),
        ("slots: 1 of 1 taken", "job 1 is over, or more than 1 may run"),
    ]


def test_a_limit_names_who_is_through():
    driver = SchedulerDriver()
    driver.rule(a_rule(["RATE_LIMIT", 1], named("a"), uuid="r"))
    driver.drop(a_file(), a_file(), a_file())
    driver.start(1)
    texts = [(obstacle.why, obstacle.text, obstacle.help, obstacle.on) for obstacle in why(driver, 2)]
    assert texts == [
        (
            Why.RULE,
            "rule r limits it: 1 of 1 taken",
            "job 1 is over, or the rule is gone (`jqsched filter remove r`)",
            (1,),
        )
    ]


def test_who_waits_for_cores_ahead_is_named():
    driver = SchedulerDriver(max_running=9, cores=4)
    driver.drop(a_file(cores=3), a_file(cores=2), a_file())
    driver.start(1)
    assert [obstacle.text for obstacle in why(driver, 2)] == ["cores: 2 wanted, 1 of 4 free"]
    assert [(obstacle.text, obstacle.on) for obstacle in why(driver, 3)] == [
        ("cores: job 2 is ahead of it and waits for 2", (2,))
    ]


def test_how_many_are_ahead():
    """Of those that would start: paused, held and limited jobs are not."""
    driver = SchedulerDriver(max_running=1)
    driver.rule(a_rule("PAUSE", named("b")))
    driver.drop(a_file(), a_file("b"), a_file(urgency=0), limited("1:x"), limited("1:x"), a_file())
    told = explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(6))
    assert told.ahead == 2


# ---- what is said -------------------------------------------------------------------------------------------------


def said(obstacles: Iterable[Obstacle]) -> list[tuple[Why, str, str, tuple[int, ...]]]:
    return [(obstacle.why, obstacle.text, obstacle.help, obstacle.on) for obstacle in obstacles]


def a_waiting_job(*waits: str) -> Job:
    return Job(1, Spec(("true",), "a", "/"), 0, State.DEPEND, waits=waits, priority=16)


@pytest.mark.parametrize(
    ("wait", "more", "help_", "on"),
    [
        ("begin-time=5", "", "its begin time comes", ()),
        ("after-start=7", "", "job 7 has started", (7,)),
        ("after-finish=7", "", "job 7 is over", (7,)),
        ("after-success=b→7", "", "job 7 has ended well", (7,)),
        ("after-failure=7", "", "job 7 has failed", (7,)),
        ("after-success=b", ": no job named b was dropped yet", "a job named b is dropped", ()),
        ("singleton", "", "every older job named a is over", ()),
        ("approval", "", "the plugin that it belongs to says so", ()),
    ],
)
def test_what_is_said_of_a_wait(wait, more, help_, on):
    """Of a job that is not in the queue its id; of a plugin's wait no more than that there is one."""
    queue = queues.load([a_waiting_job(wait)], seq=1, last_us=1, last_id=1)
    told = explain.obstacles(explain.take_snapshot(queue, Limits(1, 1)), a_waiting_job(wait))
    assert said(told) == [(Why.DEPENDENCY, f"dependency {wait}{more}", help_, on)]
    assert told[0].wait == wait


def test_who_is_waited_for_is_named():
    driver = SchedulerDriver(max_running=99, cores=99)
    driver.drop(*[a_file("s")] * 12, a_file("t", after("afterok", 1)), a_file("s", after("singleton")))
    assert [obstacle.help for obstacle in why(driver, 13)] == ["job 1 (s) has ended well"]
    (singleton,) = why(driver, 14)
    ten = tuple(range(1, 11))
    assert singleton.help == "every older job named s (jobs 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) is over"
    assert singleton.on == ten


def test_a_singleton_names_its_elders_and_no_other():
    driver = SchedulerDriver()
    driver.drop(a_file("s"), a_file("x"), a_file("s", after("afterok", "x"), after("singleton")))
    told = [(obstacle.help, obstacle.on) for obstacle in why(driver, 3)]
    assert told == [("job 2 (x) has ended well", (2,)), ("every older job named s (job 1) is over", (1,))]


@pytest.mark.parametrize("job", [{"pin": 0}, {"state": State.SCHED, "priority": 0}], ids=["waits", "by a plugin"])
def test_who_is_held_is_told_so_whatever_holds_it(job):
    """A pin that has not had its effect yet, or a priority that neither urgency nor pin is the reason of."""
    held = evolve(a_waiting_job(), **job)
    queue = queues.load([held], seq=1, last_us=1, last_id=1)
    told = explain.obstacles(explain.take_snapshot(queue, Limits(1, 1)), held)
    assert [(obstacle.why, obstacle.text) for obstacle in told] == [(Why.HELD, "held (priority 0)")]


def test_a_priority_of_a_plugin_counts():
    """1 is not 16, though nothing else was asked for."""
    jobs = [evolve(a_waiting_job(), id=id_, state=State.SCHED, priority=id_) for id_ in (1, 2)]
    queue = queues.load(jobs, seq=1, last_us=1, last_id=2)
    assert explain.ahead(explain.take_snapshot(queue, Limits(1, 1)), jobs[0]) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [({"urgency": 0}, "urgency 0"), ({"pin": 0}, "priority 0"), ({"urgency": 0, "pin": 0}, "urgency 0")],
)
def test_who_is_held_is_told_how_to_go_on(file, text):
    driver = SchedulerDriver()
    driver.drop(a_file(**file))
    assert said(why(driver, 1)) == [(Why.HELD, f"held ({text})", "it is released (`jqsched release 1`)", ())]


def test_what_concerns_all_is_told_to_each():
    """No starts, no scheduler, no slot."""
    driver = SchedulerDriver(max_running=1)
    driver.drop(a_file(), a_file())
    driver.start(1)
    snapshot = explain.take_snapshot(driver.queue, evolve(driver.limits, draining=True))
    told = explain.explain(evolve(snapshot, general=(explain.UNSERVED,)), driver.job(2))
    assert said(told.obstacles) == [
        (Why.DRAINED, "the queue is drained", "starts are allowed again (`jqsched resume`)", ()),
        (Why.SLOTS, "slots: 1 of 1 taken", "job 1 is over, or more than 1 may run", (1,)),
        (Why.UNSERVED, "no scheduler serves this spool", "`jqsched run` is started", ()),
    ]
    assert not told.permitted


@pytest.mark.parametrize("general", [explain.UNSERVED, explain.stalled("it is silent"), explain.LOG_FULL])
def test_what_concerns_all_is_told_to_who_was_handed_over_too(general):
    """Without a scheduler, an executor that answers, or room in the log, nothing starts; what runs needs none."""
    driver = SchedulerDriver()
    driver.drop(a_file(), a_file())
    driver.start(1)
    for id_, permitted, why in ((1, False, ()), (2, True, (general,))):
        told = explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(id_))
        assert (told.permitted, told.obstacles) == (permitted, ())
        told = explain.explain(explain.take_snapshot(driver.queue, driver.limits, general=(general,)), driver.job(id_))
        assert (told.permitted, told.obstacles) == (False, why)


def test_who_was_handed_over_waits_for_room_and_is_ahead():
    """A permit is none of the places that it waits for; those behind it count it."""
    driver = SchedulerDriver(max_running=1, ahead=2)
    driver.drop(*[a_file()] * 4)
    driver.start(1)
    assert sorted(driver.queue.permits) == [2, 3]
    snapshot = explain.take_snapshot(driver.queue, driver.limits)
    told = [explain.explain(snapshot, driver.job(id_)) for id_ in (2, 3, 4)]
    assert [(each.permitted, each.ahead) for each in told] == [(True, 0), (True, 1), (False, 2)]
    for each in told:
        assert said(each.obstacles) == [
            (Why.SLOTS, "slots: 1 of 1 taken", "job 1 is over, or more than 1 may run", (1,))
        ]


def test_many_that_run_are_not_all_named():
    driver = SchedulerDriver(max_running=12, cores=99)
    driver.drop(*[a_file()] * 13)
    driver.start(*range(1, 13))
    (slots,) = why(driver, 13)
    ten = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert slots.help == f"one of jobs {ten} and 2 more is over, or more than 12 may run"
    assert slots.on == tuple(range(1, 13))


@pytest.mark.parametrize(
    ("max_running", "ahead", "starts", "limit", "text", "help_"),
    [
        (3, 0, 2, 3, "1 of 3 free, 1 ahead of it", "1 of those ahead of it are over, or more may run"),
        (2, 0, 2, 2, "2 of 2 taken", "one of jobs 1, 2 is over, or more than 2 may run"),
        (2, 0, 2, 1, "2 of 1 taken", "one of jobs 1, 2 is over, or more than 1 may run"),
        (1, 2, 0, 1, "1 of 1 free, 3 ahead of it", "3 of those ahead of it are over, or more may run"),
        (1, 2, 0, 0, "0 of 0 taken", "more than 0 may run"),
    ],
    ids=["permits", "running", "lowered", "ahead", "none"],
)
def test_how_many_slots_are_taken(max_running, ahead, starts, limit, text, help_):
    """Permits take none, but are ahead; who runs does, when the limit was lowered."""
    driver = SchedulerDriver(max_running, cores=99, ahead=ahead)
    driver.drop(*[a_file()] * 4)
    driver.start(*range(1, starts + 1))
    driver.limits = evolve(driver.limits, max_running=limit)
    assert [(obstacle.text, obstacle.help) for obstacle in why(driver, 4)] == [(f"slots: {text}", help_)]


def test_how_many_of_those_ahead_must_end():
    """The first that is one too many is told of the one."""
    driver = SchedulerDriver(max_running=2, cores=99)
    driver.drop(*[a_file()] * 4)
    assert why(driver, 2) == []
    assert said(why(driver, 3)) == [
        (Why.SLOTS, "slots: 2 of 2 free, 2 ahead of it", "1 of those ahead of it are over, or more may run", ())
    ]
    assert why(driver, 4)[0].help == "2 of those ahead of it are over, or more may run"


def test_what_is_said_of_cores():
    """How many are free for it, and from which job on there are none."""
    driver = SchedulerDriver(max_running=9, cores=4)
    driver.drop(a_file(cores=4), a_file(), a_file())
    wanted = (
        Why.CORES,
        "cores: 1 wanted, 4 of 4 free, 4 for those ahead of it",
        "running jobs are over, or there are more cores",
    )
    assert said(why(driver, 2)) == [(*wanted, ())]
    waits = (Why.CORES, "cores: job 2 is ahead of it and waits for 1", "job 2 has started and cores are free", (2,))
    assert said(why(driver, 3)) == [waits]
    driver.start(1)
    driver.limits = evolve(driver.limits, cores=2)
    assert [(obstacle.text, obstacle.on) for obstacle in why(driver, 2)] == [("cores: 1 wanted, 0 of 2 free", (1,))]


def test_who_waits_for_cores_first_is_named():
    """Permits hold cores too."""
    driver = SchedulerDriver(max_running=9, cores=4)
    driver.drop(a_file(cores=2))
    assert driver.schedule() == [1]
    driver.drop(a_file(cores=3), a_file(), a_file())
    assert [obstacle.on for obstacle in why(driver, 4)] == [(2,)]


def test_what_is_said_of_a_rule():
    """Which jobs it rejects or limits, which are through, and which rule is to go."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(*[a_file("l")] * 5, a_file("r"))
    rejects = a_rule("REJECT", named("r"), uuid="0123456789", note="no more")
    driver.rule(rejects, a_rule(["RATE_LIMIT", 2], named("l"), uuid="limits-it"))
    driver.start(1, 2)
    gone = "the rule is gone (`jqsched filter remove {}`)"
    assert said(why(driver, 6)) == [
        (Why.RULE, "rule 01234567 (no more) rejects it", gone.format("01234567"), ()),
    ]
    assert [obstacle.gate for obstacle in why(driver, 6)] == list(queues.gates_known(driver.queue, 6))
    limited_ = "rule limits-i limits it: 2 of 2 taken"
    help_ = f"one of jobs 1, 2 is over, or {gone.format('limits-i')}"
    assert said(why(driver, 3)) == [(Why.RULE, limited_, help_, (1, 2))]
    assert said(why(driver, 4)) == [(Why.RULE, limited_, help_, (1, 2))]
    assert [obstacle.gate for obstacle in why(driver, 3)] == list(queues.gates_known(driver.queue, 3))


def test_what_is_said_of_a_bucket():
    """A job that is through is named if its end would do; a claimed job is through if it runs, not if it waits."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(*[limited("2:x")] * 4)
    driver.start(1)
    driver.queue = queues.withdraw(driver.queue, 2)
    for id_ in (1, 4):
        driver.queue, _ = queues.claim(driver.queue, id_)
    ahead_of_it = (Why.RATE_LIMIT, "rate-limit:2:x: 1 of 2 taken, 1 ahead of it", "those ahead of it are over", (1,))
    assert why(driver, 2) == []
    assert said(why(driver, 3)) == [ahead_of_it]
    assert why(driver, 3)[0].gate == queues.gates_known(driver.queue, 3)[0]
    driver.schedule()
    assert said(why(driver, 3)) == [ahead_of_it]
    driver.start(2)
    taken = (Why.RATE_LIMIT, "rate-limit:2:x: 2 of 2 taken", "one of jobs 1, 2 is over", (1, 2))
    assert said(why(driver, 3)) == [taken]


@pytest.mark.parametrize(
    ("file", "ahead"),
    [
        (a_file(urgency=0), 2),
        (a_file(pin=0), 2),
        (a_file(urgency=0, pin=17), 1),
        (a_file("b", after("afterok", "nobody"), urgency=17), 1),
        (a_file("b", after("afterok", "nobody"), urgency=31, pin=7), 0),
    ],
)
def test_where_a_job_would_stand(file, ahead):
    """Who is held or waits, as if neither were so: among one of urgency 20 and two of 16."""
    driver = SchedulerDriver()
    driver.drop(a_file(urgency=20), limited("1:x"), file, a_file())
    assert explain.ahead(explain.take_snapshot(driver.queue, driver.limits), driver.job(3)) == ahead


def test_a_hold_is_told_from_the_urgency_before_it():
    driver = SchedulerDriver()
    driver.drop(a_file(urgency=20), a_file(urgency=25))
    driver.urgency(2, 0)
    assert explain.ahead(explain.take_snapshot(driver.queue, driver.limits), driver.job(2)) == 0


def test_a_long_chain_is_told_up_to_a_hundred():
    """First what comes first among the waits, to its end."""
    driver = SchedulerDriver()
    driver.drop(a_file(urgency=0), *(a_file("a", after("afterok", id_), after("afterany", 1)) for id_ in range(1, 120)))
    told = explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(120))
    assert [(link.depth, link.job.id) for link in told.chain] == [(depth, 120 - depth) for depth in range(1, 101)]


def test_each_job_of_a_chain_is_told_once():
    driver = SchedulerDriver()
    driver.drop(a_file(urgency=0), *(a_file("a", after("afterok", id_), after("afterany", 1)) for id_ in range(1, 4)))
    told = explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(4))
    assert [(link.depth, link.job.id) for link in told.chain] == [(1, 3), (2, 2), (3, 1)]


def test_a_chain_goes_on_behind_one_that_was_told():
    driver = SchedulerDriver()
    waits = (after("afterok", 2), after("afterok", 1), after("afterok", 3))
    driver.drop(a_file(urgency=0), a_file("a", after("afterok", 1)), a_file(urgency=0), a_file("a", *waits))
    told = explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(4))
    assert [(link.depth, link.job.id) for link in told.chain] == [(1, 2), (2, 1), (1, 3)]


def test_no_chain_leads_to_who_is_in_the_way_without_being_waited_for():
    """Nor to one that is not there."""
    driver = SchedulerDriver(max_running=1)
    driver.drop(a_file(), limited("1:x"), limited("1:x"))
    driver.start(1)
    assert explain.explain(explain.take_snapshot(driver.queue, driver.limits), driver.job(3)).chain == ()
    queue = queues.load([a_waiting_job("after-success=7")], seq=1, last_us=1, last_id=1)
    assert explain.explain(explain.take_snapshot(queue, Limits(1, 1)), a_waiting_job("after-success=7")).chain == ()


def test_a_job_that_waits_for_a_plugin_s_priority_says_so():
    """Only plugins leave a job in PRIORITY."""
    job = Job(1, Spec(command=("true",), name="a", cwd="/"), 0, state=State.PRIORITY)
    queue = queues.load([job], seq=0, last_us=0, last_id=1)
    (obstacle,) = explain.obstacles(explain.take_snapshot(queue, Limits(1, 1)), job)
    assert obstacle.why is explain.Why.PRIORITY
