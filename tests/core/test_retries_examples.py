"""Retries: a failed attempt is followed by another, and a reader of the job's log sees one end. So is an attempt
that could not be begun.
"""

import pytest
from attrs import evolve

from jqsched.core import decide, retries
from jqsched.core.event import Event, advance
from jqsched.core.explain import Why, obstacles, take_snapshot
from jqsched.core.fold import Stop
from jqsched.core.job import OnInterrupt, Result, Retries, State, read_wait
from tests.core.scheduler_driver import USERID, SchedulerDriver, a_file, after
from tests.core.test_decide_examples import ALLOC, OVER, PRIORITY, QUEUED, RELEASE, raised

S = 1_000_000
EX_TEMPFAIL = 75 << 8
KILLED = (128 + 9) << 8


def announced(note: str, number: int) -> tuple[str, dict]:
    name, context = raised("retry", 2, note)
    return name, context | {"retry": number}


def test_the_log_of_a_job_that_is_retried(driver: SchedulerDriver):
    """An announcement, the end of the attempt without `finish`, and the next attempt; `finish` once, at the end."""
    driver.drop(a_file(retries=Retries(1)))
    driver.run(1, EX_TEMPFAIL)
    again = [announced("exit 75, 1 of 1", 1), RELEASE, "free", ("requeue", {"attempt": 2, "status": EX_TEMPFAIL})]
    assert driver.log(1) == [*QUEUED, ALLOC, "start", *again, PRIORITY]
    driver.run(1, 256)
    assert driver.log(1)[11:] == [ALLOC, "start", ("finish", {"status": 256}), *OVER]
    job = driver.job(1)
    assert (job.result, job.attempt, job.retried, job.interruptions) == (Result.FAILED, 2, 1, 0)


def test_a_delay_is_a_begin_time(driver: SchedulerDriver):
    """As long as it has not come, the job waits in DEPEND."""
    driver.drop(a_file(retries=Retries(2, delay_us=10 * S)))
    driver.run(1, 256)
    name, context = driver.log(1)[-1]
    wait = read_wait(context["description"])
    assert name == "dependency-add"
    assert 10 * S <= wait.target - driver.now_us <= 11 * S
    assert (driver.state(1), driver.job(1).attempt) == (State.DEPEND, 2)
    driver.tick(wait.target - driver.now_us - 1)
    assert driver.state(1) is State.DEPEND
    driver.tick(1)
    assert driver.log(1)[-3:] == [("dependency-remove", context), "depend", PRIORITY]
    driver.run(1)
    assert driver.job(1).result is Result.COMPLETED


@pytest.mark.parametrize("what", ["finishes", "is lost"])
def test_a_timeout_that_is_retried_is_not_fatal(driver: SchedulerDriver, what: str):
    """Decided before anything is posted; the attempt is stopped, and the job goes back however it then ends."""
    driver.drop(a_file(time_limit_us=S, retries=Retries(1, on=("timeout",))))
    driver.start(1)
    assert driver.expire(1).effects == (Stop(1, 1),)
    timeout = raised("timeout", 2, "resource allocation expired")
    assert driver.log(1)[-2:] == [timeout, announced("timeout, 1 of 1", 1)]
    assert driver.expire(1).events == (), "told again"
    if what == "finishes":
        driver.finish(1, 143 << 8)
        assert driver.log(1)[-2] == ("requeue", {"attempt": 2, "status": 143 << 8})
    else:
        driver.interrupt(1)
        assert driver.log(1)[-2] == ("requeue", {"attempt": 2})
    assert (driver.state(1), driver.job(1).interruptions) == (State.SCHED, 0)
    driver.start(1)
    driver.expire(1)
    driver.finish(1, 143 << 8)
    assert driver.job(1).result is Result.TIMEOUT


@pytest.mark.parametrize(
    ("on", "status", "again"),
    [
        ((), 256, True),
        ((), KILLED, True),
        ((), 0, False),
        ((75,), EX_TEMPFAIL, True),
        ((75,), 256, False),
        (("timeout",), 256, False),
        (("signal",), KILLED, True),
        (("signal",), 256, False),
        ((137,), KILLED, True),
        ((75,), KILLED, False),
    ],
)
def test_which_failures_are_retried(driver: SchedulerDriver, on: tuple[int | str, ...], status: int, again: bool):
    """Without `on` all of them."""
    driver.drop(a_file(retries=Retries(1, on=on)))
    driver.run(1, status)
    assert (driver.state(1) is State.SCHED) == again


def test_what_is_never_retried(driver: SchedulerDriver):
    """What could not be started, what a dependency dooms, and, at most once, what was interrupted."""
    driver.drop(a_file("a", retries=Retries(3)), a_file("b", after("afterok", "a"), retries=Retries(3)))
    driver.schedule()
    driver.finish(1, 127 << 8, error="no such file")
    assert [driver.job(id_).result for id_ in (1, 2)] == [Result.FAILED, Result.FAILED]
    assert driver.names(2)[-2:] == ["exception", "clean"]


def test_a_cancel_is_not_retried(driver: SchedulerDriver):
    """Of a running attempt, of one whose timeout is retried, and in a backoff, where it ends the job at once."""
    driver.drop(*[a_file(time_limit_us=S, retries=Retries(3, delay_us=S)) for _ in range(3)])
    driver.start(1, 2)
    driver.cancel(1)
    driver.expire(2)
    driver.cancel(2)
    for id_ in (1, 2):
        driver.finish(id_, 143 << 8)
    driver.run(3, 256)
    driver.cancel(3)
    assert [driver.job(id_).result for id_ in (1, 2, 3)] == [Result.CANCELED] * 3
    assert [driver.job(id_).attempt for id_ in (1, 2, 3)] == [1, 1, 2]
    assert driver.names(3)[-2:] == ["exception", "clean"]


def test_who_depends_waits_for_the_last_attempt(driver: SchedulerDriver):
    """`afterok` is not doomed by the first failure, `afternotok` not met by it."""
    driver.drop(
        a_file("a", retries=Retries(1)),
        a_file("b", after("afterok", "a")),
        a_file("c", after("afternotok", "a")),
    )
    driver.drop(a_file("a", after("singleton")))
    driver.run(1, 256)
    assert [driver.state(id_) for id_ in (2, 3, 4)] == [State.DEPEND] * 3
    driver.run(1)
    assert [driver.state(id_) for id_ in (2, 3, 4)] == [State.SCHED, State.INACTIVE, State.SCHED]


def test_interruptions_and_requeues_are_counted_apart(driver: SchedulerDriver):
    """They raise the attempt and take no retry."""
    driver.drop(a_file(retries=Retries(1)))
    driver.start(1)
    driver.interrupt(1)
    driver.start(1)
    driver.requeue(1)
    driver.finish(1, 143 << 8)
    driver.run(1, 256)
    job = driver.job(1)
    assert (job.state, job.attempt, job.retried, job.interruptions) == (State.SCHED, 4, 1, 1)


def test_an_edit_may_change_the_retries_and_keeps_the_backoff(driver: SchedulerDriver):
    """A queued job has those of its file as it is now."""
    driver.drop(a_file("b"), a_file(retries=Retries(1, delay_us=S)))
    driver.run(2, 256)
    waits = driver.job(2).waits
    driver.edit(2, after("afterany", "b"), retries=Retries(5))
    assert driver.job(2).waits == (*waits, "after-finish=b→1")
    assert ("jobspec-update", 5) in [
        (event.name, event.context.get("attributes.user.jqsched.retries")) for event in driver.events
    ]
    driver.edit(2, retries=Retries(1))
    driver.run(1)
    driver.tick(2 * S)
    driver.run(2, 256)
    assert driver.job(2).result is Result.FAILED


def test_nobody_else_s_exception_is_a_retry(driver: SchedulerDriver):
    """A user or a plugin may raise one of any type."""
    driver.drop(a_file(retries=Retries(1)))
    driver.start(1)
    job = driver.job(1)
    event = Event(1, driver.now_us, *raised("retry", 2))
    assert not advance(job, event).requeuing


@pytest.mark.parametrize(
    ("wanted", "retried", "base_s"),
    [
        (Retries(9, delay_us=10 * S), 3, 10),
        (Retries(9, 10 * S, 2.0, 600 * S), 1, 10),
        (Retries(9, 10 * S, 2.0, 600 * S), 3, 40),
        (Retries(9, 10 * S, 2.0, 600 * S), 8, 600),
        (Retries(10**6, 10 * S, 1000.0, 600 * S), 10**6, 600),
        (Retries(9), 3, 0),
    ],
)
def test_how_long_a_backoff_is(driver: SchedulerDriver, wanted: Retries, retried: int, base_s: int):
    """It grows up to the most, and never overflows; up to a tenth is added, another for each job and attempt."""
    driver.drop(a_file(retries=wanted))
    job = evolve(driver.job(1), retried=retried)
    delays = {retries.delay_us(evolve(job, id=id_)) for id_ in range(1, 30)}
    assert all(base_s * S <= delay <= base_s * S * 11 // 10 for delay in delays)
    assert len(delays) == (29 if base_s else 1)
    assert retries.delay_us(job) == retries.delay_us(job)


def test_the_user_of_a_retry_is_the_job_s(driver: SchedulerDriver):
    """No user asked for it."""
    driver.drop(a_file(retries=Retries(1)))
    driver.run(1, 256)
    assert driver.log(1)[6][1]["userid"] == USERID


# ---- an attempt that could not be begun -----------------------------------------------------------------------------


def put_off(driver: SchedulerDriver, id_: int = 1) -> None:
    attempt = driver.job(id_).attempt
    driver.take(decide.put_off(driver.queue, id_, attempt, "no room", driver.limits, driver.now_us))


@pytest.mark.parametrize("on_interrupt", OnInterrupt)
@pytest.mark.parametrize("is_told_to_have_started", [False, True])
def test_the_log_of_a_job_that_is_put_off(
    driver: SchedulerDriver, on_interrupt: OnInterrupt, is_told_to_have_started: bool
):
    """It is no interruption and no retry, and it is the same for a job that runs at most once."""
    driver.drop(a_file(on_interrupt=on_interrupt))
    if is_told_to_have_started:
        driver.start(1)
    put_off(driver)
    start = ["start"] if is_told_to_have_started else []
    name, context = driver.log(1)[-1]
    again = [raised("put-off", 3, "no room"), RELEASE, "free", ("requeue", {"attempt": 2}), (name, context)]
    assert driver.log(1) == [*QUEUED, ALLOC, *start, *again]
    job = driver.job(1)
    assert (job.state, job.interruptions, job.retried) == (State.DEPEND, 0, 0)
    (why,) = obstacles(take_snapshot(driver.queue, driver.limits, driver.now_us), job)
    assert (why.why, why.text) == (Why.RETRY, "no room; another try in 2 s")
    driver.tick(2 * S)
    driver.run(1)
    assert driver.job(1).result is Result.COMPLETED


def test_a_job_is_put_off_longer_each_time_and_at_most_for_a_minute(driver: SchedulerDriver):
    driver.drop(a_file())
    seconds = []
    for _ in range(70):
        put_off(driver)
        wait = read_wait(driver.log(1)[-1][1]["description"])
        seconds.append((wait.target - driver.now_us) // S)
        driver.tick(wait.target - driver.now_us)
    assert seconds[:5] == [1, 2, 4, 8, 16]
    assert 60 <= min(seconds[6:]) <= max(seconds) <= 66


@pytest.mark.parametrize("asked", ["cancel", "requeue"])
def test_what_a_user_asked_for_comes_before_another_try(driver: SchedulerDriver, asked: str):
    driver.drop(a_file())
    driver.start(1)
    at = (driver.queue, 1, driver.limits, driver.now_us)
    driver.take(decide.dequeue(*at, userid=USERID) if asked == "cancel" else decide.requeue(*at, userid=USERID))
    put_off(driver)
    job = driver.job(1)
    assert (job.result, job.state) == ((Result.CANCELED, State.INACTIVE) if asked == "cancel" else (None, State.SCHED))


def test_a_retry_after_a_job_was_put_off_is_explained_as_one(driver: SchedulerDriver):
    driver.drop(a_file(retries=Retries(2, delay_us=10 * S)))
    put_off(driver)
    driver.tick(2 * S)
    driver.run(1, 256)
    (why,) = obstacles(take_snapshot(driver.queue, driver.limits, driver.now_us), driver.job(1))
    assert why.text.startswith("retry 1 of 2 in ")
