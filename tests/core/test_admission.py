"""Rules and rate limits: what the queue keeps of them is what the plain functions say, at every prefix of a history;
and Ganeti's weaknesses, which are not ours.
"""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core import admission, decide, policy
from jqsched.core import queue as queues
from jqsched.core.filters import Rule, Rules, in_order, read_rule
from jqsched.core.fold import AlreadyStarted, Changed, Refused
from jqsched.core.job import Draft, Job, Reason, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.testing.scenario import START_US
from tests.core.scheduler_driver import USERID, SchedulerDriver, a_file, after

LIMITS = Limits(max_running=3, cores=5)


def a_rule(action: object, *predicates: object, priority: int = 0, uuid: str = "r", watermark: int = 0, **more) -> Rule:
    document = {"action": action, "predicates": list(predicates), "priority": priority, "uuid": uuid, **more}
    rule = read_rule({**document, "watermark": watermark})
    assert isinstance(rule, Rule), rule
    return rule


def named(name: str) -> list:
    return ["job", ["=", "name", name]]


def limited(*limits: str, name: str = "a", **more) -> Draft:
    return a_file(name, reasons=tuple(Reason("test", f"rate-limit:{limit}") for limit in limits), **more)


# ---- what the queue keeps, and the plain functions ----------------------------------------------------------------

NAMES = ("a", "b", "c")
ACTIONS = ("ACCEPT", "CONTINUE", "PAUSE", "REJECT", ["RATE_LIMIT", 1], ["RATE_LIMIT", 2])


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    """A few rules that are about many of the jobs."""
    filters = st.sampled_from(
        (
            named("a"),
            named("b"),
            ["job", None],
            ["jobid", ["<=", "id", 4]],
            ["jobid", [">", "id", "watermark"]],
            ["reason", ["=~", "reason", "^rate-limit:1"]],
            ["job", [">", "cores", 1]],
        )
    )
    return in_order(
        a_rule(
            draw(st.sampled_from(ACTIONS)),
            *draw(st.lists(filters, max_size=2)),
            priority=draw(st.integers(0, 2)),
            uuid=f"r{number}",
            watermark=draw(st.integers(0, 8)),
        )
        for number in range(draw(st.integers(0, 3)))
    )


@st.composite
def ruled_drafts(draw: st.DrawFn) -> Draft:
    limits = draw(st.lists(st.sampled_from(("1:x", "2:x", "1:y", "2:y")), max_size=2))
    dependencies = draw(st.sampled_from(((), (), (after("afterany", "b"),))))
    draft = limited(*limits, name=draw(st.sampled_from(NAMES)), cores=draw(st.sampled_from((1, 1, 2))))
    urgency = draw(st.sampled_from((16, 16, 16, 0, 20)))
    return evolve(draft, urgency=urgency, spec=evolve(draft.spec, dependencies=dependencies))


def plainly(queue: Queue) -> list[int]:
    """Who could take a slot, in order: from the jobs alone."""
    jobs = [job for job in queues.live(queue) if policy.eligible(queue, job) and job.id not in queue.permits]
    return [job.id for job in policy.admit(queue, sorted(jobs, key=queues.rank_key))]


class Teller:
    """A history with rules: all that is not determined is drawn."""

    def __init__(self, data: st.DataObject) -> None:
        self.driver, self.data = SchedulerDriver(LIMITS.max_running, LIMITS.cores), data

    def of(self, options) -> object:
        return self.data.draw(st.sampled_from(sorted(options)))

    def tell(self) -> None:
        moves = ("drop", "rule", "schedule", "start", "finish", "claim", "release", "withdraw", "urgency", "edit")
        getattr(self, self.of(moves))()

    def drop(self) -> None:
        self.driver.drop(*self.data.draw(st.lists(ruled_drafts(), min_size=1, max_size=3)))

    def rule(self) -> None:
        self.driver.rule(*self.data.draw(rule_sets()))
        for id_ in policy.rejected(self.driver.queue):
            self.driver.take(decide.end_if_infeasible(self.driver.queue, id_, self.driver.limits, self.driver.now_us))

    def schedule(self) -> None:
        self.driver.schedule()

    def start(self) -> None:
        if self.driver.queue.permits:
            self.driver.start(self.of(self.driver.queue.permits))

    def finish(self) -> None:
        running = [job.id for job in queues.live(self.driver.queue) if job.state is State.RUN]
        if running:
            how = self.of(("finish", "interrupt"))
            getattr(self.driver, how)(self.of(running))

    def claim(self) -> None:
        live = [job.id for job in queues.live(self.driver.queue)]
        claimed = queues.claim(self.driver.queue, self.of(live)) if live else None
        self.driver.queue = claimed[0] if claimed else self.driver.queue

    def release(self) -> None:
        for id_ in sorted(self.driver.queue.manipulated):
            self.driver.queue = queues.release(self.driver.queue, id_)

    def withdraw(self) -> None:
        if self.driver.queue.permits:
            self.driver.queue = queues.withdraw(self.driver.queue, self.of(self.driver.queue.permits))

    def urgency(self) -> None:
        live = [job.id for job in queues.live(self.driver.queue)]
        if live:
            self.driver.urgency(self.of(live), self.of((0, 1, 16, 20)))

    def edit(self) -> None:
        queued = [job for job in queues.live(self.driver.queue) if job.state < State.RUN]
        if queued:
            job = queued[self.data.draw(st.integers(0, len(queued) - 1))]
            draft = self.data.draw(ruled_drafts())
            self.driver.edit(job.id, urgency=draft.urgency, cores=draft.spec.cores, reasons=draft.spec.reasons)


@given(st.data())
def test_what_is_kept_says_what_the_plain_functions_say(data: st.DataObject):
    """At every prefix: the candidates are those that the jobs alone give, and `select` takes a prefix of them."""
    teller = Teller(data)
    for _ in range(data.draw(st.integers(1, 25))):
        before = teller.driver.queue
        kept = plainly(before)
        teller.tell()
        queue = teller.driver.queue
        queues.check(queue)
        assert list(policy.candidates(queue)) == plainly(queue)
        assert plainly(before) == kept, "an old value has changed"
        chosen = policy.select(queue, LIMITS)
        assert list(chosen) == plainly(queue)[: len(chosen)]
        for gate, through in queue.admission.places.items():
            assert through > 0
            assert policy.rule_of(queue, gate) is not None or gate.kind is admission.GateKind.BUCKET


# ---- examples -----------------------------------------------------------------------------------------------------


def test_paused_jobs_take_no_place_in_a_bucket():
    """W2: in Ganeti a paused job takes its bucket's place in every pass, and those behind it never start."""
    driver = SchedulerDriver()
    driver.rule(a_rule("PAUSE", named("a")))
    driver.drop(limited("1:x", name="a", urgency=20), limited("1:x", name="b"))
    assert driver.schedule() == [2]


def test_a_job_that_its_bucket_stops_takes_no_place_of_its_rule():
    """And the other way round: who is stopped by one gate takes no place of another."""
    driver = SchedulerDriver()
    driver.rule(a_rule(["RATE_LIMIT", 1], ["jobid", [">", "id", 1]]))
    driver.drop(limited("1:x", urgency=30), limited("1:x", urgency=20), a_file())
    assert driver.schedule() == [1, 3]


def test_a_full_gate_holds_back_no_one():
    """Law 8: limited jobs are passed over, however urgent."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(*[limited("1:x", urgency=31)] * 3, a_file(), a_file())
    assert driver.schedule() == [1, 4, 5]
    driver.start(1)
    driver.finish(1)
    assert driver.schedule() == [2]


def test_who_ran_before_the_rule_counts():
    driver = SchedulerDriver()
    driver.drop(a_file(), a_file())
    driver.start(1)
    driver.queue = queues.withdraw(driver.queue, 2)
    driver.rule(a_rule(["RATE_LIMIT", 1], named("a")))
    assert driver.schedule() == []
    driver.finish(1)
    assert driver.schedule() == [2]


def test_the_maintenance_goes_on_while_all_else_is_paused():
    """W1: the documented way, by a regular expression on reasons, works."""
    driver = SchedulerDriver()
    maintenance = a_rule("ACCEPT", ["reason", ["=~", "reason", "maintenance pink bunny"]], uuid="m")
    driver.rule(maintenance, a_rule("PAUSE", ["job", None], priority=1, uuid="p"))
    driver.drop(a_file(), a_file("b", reasons=(Reason("me", "for maintenance pink bunny"),)))
    assert driver.schedule() == [2]


def test_a_bucket_has_no_rule():
    """Not even one whose uuid is its key; nor has a gate whose rule is gone."""
    driver = SchedulerDriver()
    driver.rule(a_rule("PAUSE", named("a"), uuid="2"))
    pause, bucket = admission.gates_of(driver.queue.rules, Job(1, limited("2").spec, USERID))
    assert pause.key == bucket.key
    assert policy.rule_of(driver.queue, pause) == driver.queue.rules[0]
    assert policy.rule_of(driver.queue, bucket) is None
    driver.rule()
    assert policy.rule_of(driver.queue, pause) is None


def test_paused_jobs_go_on_when_the_rule_goes():
    driver = SchedulerDriver()
    driver.rule(a_rule("PAUSE", ["jobid", ["<=", "id", "watermark"]], watermark=2))
    driver.drop(a_file(), a_file(), a_file())
    assert driver.schedule() == [3]
    driver.rule()
    assert driver.schedule() == [1, 2]


def test_a_rule_that_comes_ousts_permits():
    """Who has a permit and is not let through any more is to be asked back; who runs runs on."""
    driver = SchedulerDriver(max_running=2)
    driver.drop(*[a_file()] * 3)
    driver.start(1)
    assert sorted(driver.queue.permits) == [2]
    driver.rule(a_rule("PAUSE", named("a")))
    assert policy.no_longer_admitted(driver.queue) == (2,)
    driver.queue = queues.withdraw(driver.queue, 2)
    assert driver.schedule() == []
    assert driver.job(1).state is State.RUN


def test_a_gate_that_is_just_full_stops_who_comes_and_ousts_nobody():
    """Who is through was let through; it is over_limit when it was narrowed, or shut."""
    driver = SchedulerDriver()
    driver.drop(*[limited("1:x", "2:y")] * 2)
    assert driver.schedule() == [1]
    gates = queues.gates_known(driver.queue, 2)
    assert [gate.key for gate in admission.stopping(driver.queue.admission, gates)] == ["1:x"]
    assert policy.no_longer_admitted(driver.queue) == ()


def test_a_rejected_file_makes_no_job():
    driver = SchedulerDriver()
    driver.rule(a_rule("REJECT", named("a"), note="no more of these", uuid="0123456789"))
    assert driver.drop(a_file(), a_file("b", after("afterok", "a"))) == [1, 2]
    assert driver.refused == {1: "rejected by rule 01234567 (no more of these)"}
    assert driver.job(2).waits == ("after-success=a",)


@pytest.mark.parametrize(
    "predicate",
    [
        ["jobid", ["=", "id", 1]],
        ["job", ["=", "userid", USERID]],
        ["reason", ["=", "timestamp", START_US * 1_000]],
    ],
)
def test_a_rule_sees_a_file_as_the_job_that_it_would_be(predicate):
    """With its id, whose it is, and when it comes."""
    driver = SchedulerDriver()
    driver.rule(a_rule("REJECT", predicate))
    driver.drop(a_file(reasons=(Reason("me", "why"),)))
    assert driver.refused == {1: "rejected by rule r"}


def test_a_rejected_queued_job_is_canceled():
    """Whether it could start or not; who runs runs on."""
    driver = SchedulerDriver()
    driver.drop(a_file(), a_file(), a_file(urgency=0), a_file("b", after("afterok", 2)))
    driver.start(1)
    driver.queue = queues.withdraw(driver.queue, 2)
    driver.rule(a_rule("REJECT", named("a")))
    assert policy.rejected(driver.queue) == [2, 3]
    for id_ in policy.rejected(driver.queue):
        driver.take(decide.end_if_infeasible(driver.queue, id_, driver.limits, driver.now_us))
    assert driver.log(2)[-2:] == [
        ("exception", {"type": "cancel", "severity": 0, "note": "rejected by rule r", "userid": USERID}),
        "clean",
    ]
    assert sorted(driver.finished) == [2, 3, 4]


def test_weeding_ends_who_waits_and_not_who_runs():
    """Also one that is not queued yet, for it waits for another."""
    driver = SchedulerDriver()
    driver.drop(a_file(), a_file("a", after("afterok", "nobody")))
    driver.start(1)
    driver.rule(a_rule("REJECT", named("a")))
    for id_ in (1, 2):
        driver.take(decide.end_if_infeasible(driver.queue, id_, driver.limits, driver.now_us))
    assert sorted(driver.finished) == [2]
    assert driver.state(1) is State.RUN


def test_a_running_job_that_is_rejected_is_not_queued_again():
    driver = SchedulerDriver()
    driver.drop(a_file())
    driver.start(1)
    driver.rule(a_rule("REJECT", named("a")))
    driver.interrupt(1)
    assert driver.names(1)[-3:] == ["priority", "exception", "clean"]
    assert driver.log(1)[-2] == (
        "exception",
        {"type": "cancel", "severity": 0, "note": "rejected by rule r", "userid": USERID},
    )


def test_an_edit_into_a_rejected_form_is_refused():
    driver = SchedulerDriver()
    driver.rule(a_rule("REJECT", ["job", [">", "cores", 1]]))
    driver.drop(a_file())
    assert driver.edit(1, cores=2).answer == Refused("rejected by rule r")
    assert isinstance(driver.edit(1, cwd="/tmp").answer, Changed)


def test_an_edit_changes_the_gates():
    driver = SchedulerDriver()
    driver.drop(limited("1:x"), limited("1:x"))
    driver.start(1)
    assert driver.schedule() == []
    driver.edit(2, reasons=limited("1:y").spec.reasons)
    assert driver.schedule() == [2]


def test_who_passes_its_gates_overtakes():
    """Law 4, for jobs with gates too; those that are stopped overtake no other job."""
    driver = SchedulerDriver(max_running=1)
    driver.drop(a_file())
    assert driver.schedule() == [1]
    driver.rule(a_rule("PAUSE", named("p")))
    driver.drop(a_file("p", urgency=30))
    assert policy.overtaken(driver.queue, driver.limits) == ()
    driver.drop(limited("1:x", urgency=20))
    assert policy.overtaken(driver.queue, driver.limits) == (1,)


def ids(jobs: list[Job]) -> list[int]:
    return [job.id for job in jobs]


def test_rules_and_rate_limits_each_alone():
    """Both at once are `admit`."""
    driver = SchedulerDriver()
    driver.rule(a_rule(["RATE_LIMIT", 3], named("a")))
    driver.drop(*[limited("2:x")] * 4, a_file("b"))
    jobs = list(queues.live(driver.queue))
    assert ids(policy.filter_jobs(driver.queue, jobs)) == [1, 2, 3, 5]
    assert ids(policy.limit_rates(driver.queue, jobs)) == ids(policy.admit(driver.queue, jobs)) == [1, 2, 5]


@pytest.mark.parametrize("starts", [False, True], ids=["permitted", "requeued"])
def test_a_claimed_job_keeps_its_place(starts):
    """One that may start until the executor answers, and one that ran when it was claimed."""
    driver = SchedulerDriver()
    driver.drop(limited("1:x"), limited("1:x"))
    assert driver.schedule() == [1]
    if starts:
        driver.start(1)
    driver.queue, _ = queues.claim(driver.queue, 1)
    if starts:
        driver.interrupt(1)
    assert policy.is_admitted(driver.queue, driver.job(1))
    assert policy.limit_rates(driver.queue, [driver.job(2)]) == []
    assert driver.schedule() == []
    driver.queue = queues.release(driver.queue, 1)
    assert not policy.is_admitted(driver.queue, driver.job(1))
    assert driver.schedule() == [1]


def test_who_may_start_takes_its_place_along():
    """A permitted job that is changed keeps a place: in the gates that it has now, and in no other."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(limited("1:x"), limited("1:x"), limited("1:y"))
    assert driver.schedule() == [1, 3]
    driver.queue, _ = queues.claim(driver.queue, 1)
    driver.edit(1, reasons=limited("1:z").spec.reasons)
    assert driver.schedule() == [2]
    driver.drop(limited("1:z"))
    assert driver.schedule() == []


def test_a_limited_job_gets_no_permit_ahead():
    """Nor is a job behind it: a bucket's place is only given to a job that can start."""
    driver = SchedulerDriver(max_running=1, ahead=5)
    driver.drop(a_file(), limited("1:x"), a_file())
    assert driver.schedule() == [1]


@pytest.mark.parametrize("text", ["0:x", "-1:x", "1.5:x", "x", "", "1e3:x", " 1:x", "٣:x"])
def test_what_is_no_rate_limit(text: str):
    """N is a plain decimal number above 0."""
    assert admission.buckets((Reason("me", f"rate-limit:{text}"),)) == ()


@pytest.mark.parametrize(("text", "limit"), [("2", 2), ("02", 2), ("2:", 2), ("2:a:b", 2), ("17:pink bunny", 17)])
def test_a_bucket_is_named_by_all_that_follows(text: str, limit: int):
    (gate,) = admission.buckets((Reason("me", f"rate-limit:{text}"), Reason("you", f"rate-limit:{text}")))
    assert (gate.key, gate.limit) == (text, limit)


def test_lanes_that_share_a_gate_wait_for_it_in_order():
    """Each job with another bucket of its own, and all in one: one at a time, by rank."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(*[limited("1:shared", f"1:own{number}", urgency=10 + number) for number in range(5)])
    order = []
    while chosen := driver.schedule():
        order += chosen
        driver.start(*chosen)
        driver.finish(*chosen)
    assert order == [5, 4, 3, 2, 1]


def test_a_job_knows_its_gates_as_long_as_it_lives():
    driver = SchedulerDriver()
    driver.drop(limited("1:x"))
    gates = queues.gates_known(driver.queue, 1)
    driver.start(1)
    assert queues.gates_known(driver.queue, 1) == gates
    assert admission.places(driver.queue.admission, gates[0]) == 1
    driver.finish(1)
    assert driver.queue.admission == admission.EMPTY


def test_who_waits_for_a_job_that_is_long_over_is_told():
    """As a rebuilt or restored store may have it: met, or never to be met."""
    spec = Spec(("true",), "a", "/")
    waits = ("after-finish=1", "after-success=2", "after-success=3", "after-success=10", "after-success=b")
    jobs = [Job(id_, spec, 0, State.DEPEND, waits=(wait,)) for id_, wait in enumerate(waits, 10)]
    queue = queues.load(jobs, seq=1, last_us=1, last_id=14)
    step = decide.resolve_missing_antecedents(
        queue, {2: policy.Outcome(2, "b", USERID, success=True, ran=True)}, LIMITS, 10
    )
    assert [(job.id, job.state.name) for job in step.queue.enqueued.values()] == [
        *((10, "SCHED"), (11, "SCHED")),
        *((13, "DEPEND"), (14, "DEPEND")),  # for one who is there, and one who is still to come
    ]
    assert [job.id for job in step.finished] == [12]


def test_started_jobs_are_no_dequeued_ones():
    driver = SchedulerDriver()
    driver.drop(limited("1:x"))
    driver.start(1)
    assert driver.cancel(1).answer == AlreadyStarted(1, stopping=True)
