"""What becomes of a job: its log, event by event, as Flux writes it (docs/reference/events.md, other courses)."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core import decide
from jqsched.core import queue as queues
from jqsched.core.fold import AlreadyStarted, Changed, Dequeued, Refused, Stop, UnknownJob
from jqsched.core.job import OnInterrupt, Result, State
from jqsched.core.view import returncode, runtime_us
from tests.core.scheduler_driver import USERID, SchedulerDriver, a_file, after

SUBMIT = ("submit", {"userid": USERID, "urgency": 16, "flags": 0, "version": 1})
ALLOC = ("alloc", {"annotations": {"sched": {"resource_summary": "1 core"}}})
PRIORITY = ("priority", {"priority": 16})
RELEASE = ("release", {"ranks": "all", "final": True})
QUEUED = [SUBMIT, "validate", "depend", PRIORITY]
OVER = [RELEASE, "free", "clean"]
UNKNOWN = 99


def raised(kind: str, severity: int, note: str = "") -> tuple[str, dict]:
    return ("exception", {"type": kind, "severity": severity, "note": note, "userid": USERID})


def test_a_plain_job_has_exactly_ten_events(driver):
    (job,) = driver.drop(a_file())
    driver.run(job)
    assert driver.log(job) == [*QUEUED, ALLOC, "start", ("finish", {"status": 0}), *OVER]
    assert driver.job(job).result is Result.COMPLETED


def test_the_log_says_how_many_cores_a_job_got(driver):
    driver.drop(a_file(cores=2))
    driver.start(1)
    assert driver.log(1)[4] == ("alloc", {"annotations": {"sched": {"resource_summary": "2 cores"}}})


def test_timestamps_increase_strictly_over_all_jobs(driver):
    """Though the clock stands still, and then goes back; by no more than they must."""
    driver.drop(a_file(), a_file())
    driver.now_us -= 1_000
    driver.run(1)
    times = [event.t_us for event in driver.events]
    assert times == list(range(times[0], times[0] + len(times)))


@pytest.mark.parametrize(("status", "code"), [(256, 1), (42 << 8, 42), ((128 + 9) << 8, 137)])
def test_a_status_that_is_not_0_is_no_exception(driver, status, code):
    """exit 1, exit 42, SIGKILL: the job failed, and its log says no more than the status."""
    driver.drop(a_file())
    driver.run(1, status)
    assert driver.log(1) == [*QUEUED, ALLOC, "start", ("finish", {"status": status}), *OVER]
    assert (driver.job(1).result, returncode(driver.job(1))) == (Result.FAILED, code)


def test_a_command_that_is_not_found(driver):
    """`start`, a fatal exec exception, `finish` with 127: as a shell would."""
    driver.drop(a_file())
    driver.schedule()
    driver.finish(1, 127 << 8, error="no such file: nosuchprog")
    exec_failed = raised("exec", 0, "no such file: nosuchprog")
    assert driver.log(1) == [*QUEUED, ALLOC, "start", exec_failed, ("finish", {"status": 32512}), *OVER]
    assert (driver.job(1).result, returncode(driver.job(1))) == (Result.FAILED, 127)


def test_a_timeout(driver):
    """The exception comes when the time is over, the end when the process is gone."""
    driver.drop(a_file(time_limit_us=500_000))
    driver.start(1)
    assert driver.expire(1).effects == (Stop(1, 1),)
    assert driver.state(1) is State.CLEANUP
    driver.finish(1, (128 + 15) << 8)
    timeout = raised("timeout", 0, "resource allocation expired")
    assert driver.log(1) == [*QUEUED, ALLOC, "start", timeout, ("finish", {"status": 36608}), *OVER]
    assert driver.job(1).result is Result.TIMEOUT


def test_a_job_without_a_limit_does_not_expire(driver):
    """Late news of a limit that was taken away meanwhile."""
    driver.drop(a_file())
    driver.start(1)
    assert not driver.expire(1).events


def test_a_job_that_asks_for_too_many_cores(driver):
    """It goes the way to SCHED, as in Flux, and is told there."""
    driver.drop(a_file(cores=9))
    no = raised("alloc", 0, "unsatisfiable request: need 9 core(s), there are 4")
    assert driver.log(1) == [*QUEUED, no, "clean"]
    assert (driver.job(1).result, returncode(driver.job(1))) == (Result.FAILED, 1)


def test_a_job_that_asks_for_several_nodes(driver):
    driver.drop(a_file(nodes=2, cores=2))
    assert driver.log(1)[-2:] == [raised("alloc", 0, "unsatisfiable request: need 2 nodes, there is 1"), "clean"]


# ---- cancel, in each state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [(), (after("afterok", "nobody"),)], ids=["sched", "depend"])
def test_cancel_of_a_queued_job_ends_it_at_once(driver, waits):
    driver.drop(a_file("a", *waits))
    assert driver.cancel(1, "not needed").answer == Dequeued(1)
    assert driver.log(1)[-2:] == [raised("cancel", 0, "not needed"), "clean"]
    assert (driver.job(1).result, returncode(driver.job(1))) == (Result.CANCELED, -128)


@pytest.mark.parametrize("starts", [False, True], ids=["queued", "running"])
def test_who_cancels_is_told(driver, starts):
    """And not whose job it is."""
    driver.drop(a_file())
    if starts:
        driver.start(1)
    driver.take(decide.dequeue(driver.queue, 1, driver.limits, driver.now_us, userid=USERID + 1))
    told = [context for name, context in filter(lambda entry: entry[0] == "exception", driver.log(1))]
    assert [context["userid"] for context in told] == [USERID + 1]


def test_cancel_needs_no_note(driver):
    driver.drop(a_file())
    driver.take(decide.dequeue(driver.queue, 1, driver.limits, driver.now_us, userid=USERID))
    assert driver.log(1)[-2:] == [raised("cancel", 0), "clean"]


def test_cancel_of_a_running_job_ends_it_when_its_process_is_gone(driver):
    driver.drop(a_file())
    driver.start(1)
    step = driver.cancel(1)
    assert (step.answer, step.effects) == (AlreadyStarted(1, stopping=True), (Stop(1, 1),))
    assert 1 in driver.queue.running
    driver.finish(1, 36608)
    assert driver.log(1)[4:] == [ALLOC, "start", raised("cancel", 0), ("finish", {"status": 36608}), *OVER]
    assert driver.job(1).result is Result.CANCELED


def test_cancel_twice_says_it_once_and_stops_again(driver):
    """The log has one cause; who asks again may be asking because the first TERM did nothing."""
    driver.drop(a_file())
    driver.start(1)
    driver.cancel(1)
    again = driver.cancel(1)
    assert (again.events, again.effects) == ((), (Stop(1, 1),))


def test_cancel_of_an_allocated_job_ends_it_when_its_order_comes_back(driver):
    """At most once: `alloc` is said before the start. When it was not started, there is no `start` and no `finish`."""
    driver.drop(a_file(on_interrupt=OnInterrupt.FAIL))
    driver.schedule()
    assert driver.cancel(1).effects == (Stop(1, 1),)
    driver.interrupt(1)
    assert driver.log(1) == [*QUEUED, ALLOC, raised("cancel", 0), *OVER]
    assert driver.job(1).result is Result.CANCELED


def test_cancel_of_an_allocated_job_that_starts_nevertheless(driver):
    """The order was not given back in time: the process is stopped as soon as it is known."""
    driver.drop(a_file(on_interrupt=OnInterrupt.FAIL))
    driver.schedule()
    driver.cancel(1)
    step = driver.take(decide.started(driver.queue, 1, 1, driver.limits, driver.now_us))
    assert step.effects == (Stop(1, 1),)
    driver.finish(1, 36608)
    assert driver.names(1)[4:] == ["alloc", "exception", "start", "finish", "release", "free", "clean"]
    assert driver.job(1).result is Result.CANCELED


@pytest.mark.parametrize("command", ["cancel", "unhold", "requeue"])
def test_commands_on_a_job_that_is_not_there(driver, command):
    """Finished or never given out: the core does not know it, and says so; nothing happens."""
    driver.drop(a_file())
    driver.run(1)
    for id_ in (1, UNKNOWN):
        step = getattr(driver, command)(id_)
        assert (step.answer, step.events) == (UnknownJob(id_), ())
    assert driver.urgency(1, 5).answer == driver.pin(1, 5).answer == UnknownJob(1)


# ---- urgency, pin, hold, release ----------------------------------------------------------------------------------


def test_hold_then_release(driver):
    """A hold is urgency 0, which is priority 0: never."""
    driver.drop(a_file())
    driver.urgency(1, 0)
    assert driver.schedule() == []
    assert driver.unhold(1).answer == Changed(driver.job(1))
    changes = [
        *(("urgency", {"userid": USERID, "urgency": 0}), ("priority", {"priority": 0})),
        *(("urgency", {"userid": USERID, "urgency": 16}), PRIORITY),
    ]
    assert driver.log(1)[4:] == changes
    assert driver.schedule() == [1]


def test_release_gives_back_the_urgency_before_the_hold(driver):
    """Also if it was held twice."""
    driver.drop(a_file(urgency=25))
    driver.urgency(1, 0)
    driver.urgency(1, 0)
    driver.unhold(1)
    assert driver.job(1).urgency == 25


def test_release_of_a_job_submitted_on_hold(driver):
    """There was no urgency before: it is the default."""
    driver.drop(a_file(urgency=0))
    driver.unhold(1)
    assert (driver.job(1).urgency, driver.job(1).priority) == (16, 16)


def test_release_of_a_job_that_is_not_held(driver):
    driver.drop(a_file(urgency=20))
    step = driver.unhold(1)
    assert (step.events, step.answer) == ((), Changed(driver.job(1)))


def test_a_pin_of_0_holds_and_release_removes_it(driver):
    driver.drop(a_file(pin=0))
    assert driver.schedule() == []
    driver.unhold(1)
    assert (driver.job(1).pin, driver.schedule()) == (None, [1])


def test_release_of_a_job_that_can_never_run_ends_it(driver):
    """It is told when it is to be queued, with all that ended because of it."""
    driver.drop(a_file(urgency=0, pin=0, cores=3), a_file("b", after("afterok", 1)))
    driver.limits = evolve(driver.limits, cores=2)
    step = driver.unhold(1)
    assert [job.id for job in step.finished] == [1, 2]
    assert isinstance(step.answer, Changed)
    assert step.answer.job.id == 1


def test_urgency_31_goes_first(driver):
    driver.drop(a_file(), a_file(pin=2**32 - 2), a_file(urgency=31))
    assert driver.log(3)[3] == ("priority", {"priority": 4294967295})
    assert driver.schedule() == [3, 2, 1]


@pytest.mark.parametrize(("urgency", "priority"), [(0, 0), (31, 4294967295), (20, 7)])
def test_hold_and_expedite_win_over_a_pin(driver, urgency, priority):
    """From the start or later; and a pin wins over any other urgency."""
    driver.drop(a_file(urgency=urgency, pin=7), a_file(pin=7), a_file(urgency=urgency))
    driver.urgency(2, urgency)
    driver.pin(3, 7)
    assert [driver.job(id_).priority for id_ in (1, 2, 3)] == [priority] * 3


def test_urgency_in_sched_is_told_with_the_priority_that_follows(driver):
    """Each time, also when the value is the same, as in Flux."""
    driver.drop(a_file(urgency=20))
    driver.urgency(1, 20)
    assert driver.log(1)[4:] == [("urgency", {"userid": USERID, "urgency": 20}), ("priority", {"priority": 20})]


def test_urgency_while_it_waits(driver):
    """No priority is said before the dependency is met."""
    driver.drop(a_file(), a_file("b", after("afterany", 1)))
    driver.urgency(2, 5)
    driver.run(1)
    assert driver.names(2)[-4:] == ["urgency", "dependency-remove", "depend", "priority"]
    assert driver.job(2).priority == 5


def test_pin_and_auto(driver):
    """A pin stays until `auto`; what is said of it replays."""
    driver.drop(a_file())
    driver.pin(1, 1000)
    assert driver.log(1)[-1] == ("priority", {"pin": 1000, "priority": 1000})
    driver.urgency(1, 5)
    assert driver.job(1).priority == 1000
    driver.pin(1, None)
    assert (driver.job(1).pin, driver.job(1).priority) == (None, 5)
    assert driver.log(1)[-1] == ("priority", {"pin": None, "priority": 5})


def test_a_pin_while_it_waits(driver):
    """No priority is said before the dependency is met."""
    driver.drop(a_file("a", after("afterok", "nobody")))
    driver.pin(1, 7)
    assert driver.log(1)[-1] == ("priority", {"pin": 7})


def test_a_running_job_keeps_its_urgency(driver):
    driver.drop(a_file())
    driver.start(1)
    assert driver.urgency(1, 5).answer == driver.pin(1, 5).answer == driver.unhold(1).answer == AlreadyStarted(1)


# ---- requeue and interruption -------------------------------------------------------------------------------------


def test_requeue_of_a_running_job(driver):
    """The wish is durable, then it is stopped; at its end, whatever the status, it is queued again."""
    driver.drop(a_file())
    driver.start(1)
    step = driver.requeue(1)
    assert (step.answer, step.effects) == (AlreadyStarted(1, stopping=True), (Stop(1, 1),))
    driver.finish(1, 0)
    requeued = [raised("requeue", 2), RELEASE, "free", ("requeue", {"attempt": 2}), PRIORITY]
    assert driver.log(1)[4:] == [ALLOC, "start", *requeued]
    job = driver.job(1)
    assert (job.state, job.interruptions, job.t_run_us, job.status) == (State.SCHED, 0, 0, None)
    driver.run(1)
    assert (driver.job(1).result, driver.job(1).attempt) == (Result.COMPLETED, 2)


def test_who_asks_for_a_requeue_is_told(driver):
    """And not whose job it is."""
    driver.drop(a_file())
    driver.start(1)
    driver.take(decide.requeue(driver.queue, 1, driver.limits, driver.now_us, userid=USERID + 1))
    assert driver.log(1)[-1][1]["userid"] == USERID + 1


def test_requeue_of_a_queued_job_is_nothing_to_do(driver):
    driver.drop(a_file())
    step = driver.requeue(1)
    assert (step.answer, step.events, step.effects) == (Changed(driver.job(1)), (), ())


def test_requeue_of_a_job_that_is_just_ending_is_refused(driver):
    driver.drop(a_file())
    driver.start(1)
    driver.cancel(1)
    assert driver.requeue(1).answer == Refused("job 1 is just ending: requeue it when it has")


def test_cancel_wins_over_requeue(driver):
    driver.drop(a_file())
    driver.start(1)
    driver.requeue(1)
    driver.cancel(1)
    driver.finish(1, 36608)
    assert driver.job(1).result is Result.CANCELED


def test_an_interrupted_job_is_queued_again(driver):
    driver.drop(a_file())
    driver.start(1)
    driver.interrupt(1)
    again = [raised("interrupted", 2, "gone"), RELEASE, "free", ("requeue", {"attempt": 2}), PRIORITY]
    assert driver.log(1)[4:] == [ALLOC, "start", *again]
    assert driver.schedule() == [1]


def test_an_interrupted_job_that_may_run_once_only_fails(driver):
    driver.drop(a_file(on_interrupt=OnInterrupt.FAIL))
    driver.start(1)
    driver.interrupt(1)
    assert driver.log(1)[4:] == [ALLOC, "start", raised("interrupted", 0, "gone"), *OVER]
    assert driver.job(1).result is Result.FAILED


def test_five_interruptions_hold_a_job(driver):
    """Not four; and a requeue that was asked for is none."""
    driver.drop(a_file())
    driver.start(1)
    driver.requeue(1)
    driver.interrupt(1)
    for count in range(1, 6):
        assert driver.job(1).urgency == 16
        driver.start(1)
        driver.interrupt(1)
        assert driver.job(1).interruptions == count
    assert driver.log(1)[-2:] == [("urgency", {"userid": USERID, "urgency": 0}), ("priority", {"priority": 0})]
    assert driver.schedule() == []
    driver.unhold(1)
    assert driver.schedule() == [1]


def test_a_permitted_job_that_is_gone_without_a_trace(driver):
    """It may have run: `alloc` is said, and the next attempt is another; of the five it is none."""
    driver.drop(a_file())
    driver.schedule()
    driver.interrupt(1)
    assert driver.names(1)[4:] == ["alloc", "exception", "release", "free", "requeue", "priority"]
    assert (driver.job(1).attempt, driver.job(1).interruptions) == (2, 0)


def test_a_permit_that_is_gone_is_no_interruption_too_many(driver):
    """Who was released after five may lose a permit, and is not held for it."""
    driver.drop(a_file())
    for _ in range(5):
        driver.start(1)
        driver.interrupt(1)
    driver.unhold(1)
    assert driver.schedule() == [1]
    driver.interrupt(1)
    assert (driver.job(1).interruptions, driver.job(1).urgency) == (5, 16)


def test_news_of_another_attempt_are_not_believed(driver):
    """Late or repeated, they change nothing."""
    driver.drop(a_file(time_limit_us=1))
    driver.start(1)
    driver.interrupt(1)
    driver.start(1)
    at = (driver.limits, driver.now_us)
    for step in (
        decide.started(driver.queue, 1, 1, *at),
        decide.started(driver.queue, 1, 2, *at),
        decide.finished(driver.queue, 1, 1, 0, *at),
        decide.interrupted(driver.queue, 1, 1, *at),
        decide.expired(driver.queue, 1, 1, *at),
        decide.finished(driver.queue, UNKNOWN, 1, 0, *at),
    ):
        assert (step.queue, step.events, step.effects) == (driver.queue, (), ())


def test_an_interruption_of_which_nothing_is_known(driver):
    """It has an empty note."""
    driver.drop(a_file())
    driver.start(1)
    driver.take(decide.interrupted(driver.queue, 1, 1, driver.limits, driver.now_us))
    assert driver.job(1).exception.note == ""


@pytest.mark.parametrize("scheme", ["after", "afterok"])
def test_what_waits_for_a_job_of_which_nobody_knows_ends(driver, scheme):
    """It cannot be said that it started, or ended well."""
    driver.drop(a_file(), a_file("b", after(scheme, 1)))
    waiting = queues.load([driver.job(2)], seq=driver.queue.seq, last_us=driver.queue.last_us, last_id=2)
    step = decide.resolve_missing_antecedents(waiting, {}, driver.limits, driver.now_us)
    assert [(job.id, job.exception.type) for job in step.finished] == [(2, "dependency")]


# ---- limits -------------------------------------------------------------------------------------------------------


def test_weeding_ends_what_can_never_run(driver):
    """And nothing else: not what fits, not what runs."""
    driver.drop(a_file(cores=3), a_file(cores=3), a_file())
    driver.start(1)
    driver.limits = evolve(driver.limits, cores=2)
    for id_ in (1, 2, 3):
        driver.take(decide.end_if_infeasible(driver.queue, id_, driver.limits, driver.now_us))
    assert [job.id for job in queues.live(driver.queue)] == [1, 3]
    assert driver.names(2)[-2:] == ["exception", "clean"]


def test_weeding_of_one_that_is_not_there(driver):
    step = decide.end_if_infeasible(driver.queue, UNKNOWN, driver.limits, driver.now_us)
    assert (step.queue, step.events) == (driver.queue, ())


def test_a_long_chain_of_hopeless_jobs_ends_at_once(driver):
    """Each of 500 can run when the one before is over, and then never: no recursion is that deep."""
    driver.drop(a_file(), *(a_file("a", after("afterany", id_), cores=9) for id_ in range(1, 500)))
    driver.cancel(1)
    assert len(driver.finished) == 500


def test_a_remark_changes_nothing(driver):
    """An edit that was refused is logged as an exception of severity 5."""
    driver.drop(a_file())
    driver.schedule()
    before = driver.job(1)
    driver.take(decide.note_refused_edit(driver.queue, 1, "bad edit", driver.limits, driver.now_us))
    assert driver.log(1)[-1] == raised("edit", 5, "bad edit")
    assert evolve(driver.job(1), exception=None) == before
    assert 1 in driver.queue.permits


# ---- times --------------------------------------------------------------------------------------------------------


def times(driver, id_: int) -> dict[str, int]:
    return {event.name: event.t_us for event in driver.events if event.jobid == id_}


def test_events_have_the_times_of_the_executor(driver):
    """Not those at which the news come; of a start that is told with its end, too."""
    driver.drop(a_file())
    driver.schedule()
    now_us = driver.now_us + 1_000
    driver.take(
        decide.finished(driver.queue, 1, 1, 0, driver.limits, now_us, start_us=now_us - 900, end_us=now_us - 100)
    )
    at = times(driver, 1)
    assert (at["alloc"], at["start"], at["finish"]) == (now_us - 901, now_us - 900, now_us - 100)
    finish = next(event for event in driver.events if event.name == "finish")
    assert finish.context == {"status": 0}


@pytest.mark.parametrize("ahead_us", [1, 10**12], ids=["clock set back", "far ahead"])
def test_a_clock_that_was_set_back_makes_no_event_of_the_future(driver, ahead_us):
    driver.drop(a_file())
    driver.schedule()
    now_us = driver.now_us + 1_000
    at = now_us + ahead_us
    driver.take(decide.finished(driver.queue, 1, 1, 0, driver.limits, now_us, start_us=at, end_us=at))
    assert times(driver, 1)["start"] == now_us
    assert times(driver, 1)["finish"] == now_us + 1


@given(
    st.lists(st.tuples(st.integers(1, 5_000), st.integers(0, 5_000)), min_size=1, max_size=6),
    st.sampled_from((0, 10**15)),
)
def test_no_job_is_shown_to_have_run_for_less_than_it_did(runs: list[tuple[int, int]], ahead_us: int):
    """Jobs overlap, and times increase strictly over all of them; the clock may have been years ahead once."""
    driver = SchedulerDriver(max_running=9, cores=9)
    driver.drop(*[a_file()] * len(runs))
    driver.schedule()
    first_us, now_us = driver.now_us, driver.now_us + 10_000
    driver.queue = evolve(driver.queue, last_us=driver.queue.last_us + ahead_us)
    for id_, (start_us, ran_us) in enumerate(runs, 1):
        at = {"start_us": first_us + start_us, "end_us": first_us + start_us + ran_us}
        step = decide.finished(driver.queue, id_, 1, 0, driver.limits, now_us, **at)
        driver.queue = step.queue
        (job,) = step.finished
        assert runtime_us(job, now_us) >= ran_us
        assert job.t_cleanup_us - job.t_run_us >= ran_us, "clients look at these"
