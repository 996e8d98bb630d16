"""What an edited file means: the events that come of an edit, and what can not be edited.

Source: docs/reference/job-file.md, docs/reference/events.md; RFC 26.
"""

import pytest

from jqsched.core.fold import AlreadyStarted, Changed, Refused, SetTimeLimit, UnknownJob
from jqsched.core.job import Dependency, OnInterrupt, Reason, State
from jqsched.core.jobspec import to_jobspec
from tests.core.scheduler_driver import USERID, a_file, after


def test_an_edit_says_what_differs(driver):
    """Nothing for what does not."""
    driver.drop(a_file())
    driver.edit(1, urgency=20, command=("sleep", "1"), cwd="/tmp", cores=2, time_limit_us=1_500_000)
    update = {
        "tasks": to_jobspec(driver.job(1).spec)["tasks"],
        "attributes.system.duration": 1.5,
        "attributes.system.cwd": "/tmp",
        "attributes.user.jqsched.cores": 2,
    }
    urgency = ("urgency", {"userid": USERID, "urgency": 20})
    assert driver.log(1)[4:] == [urgency, ("jobspec-update", update), ("priority", {"priority": 20})]
    assert driver.job(1).spec.command == ("sleep", "1")


def test_an_edit_tells_no_secret(driver):
    """Of the environment, only that it changed."""
    driver.drop(a_file(env=(("TOKEN", "old"),)))
    driver.edit(1, env=(("TOKEN", "secret"),))
    assert driver.log(1)[4] == ("jobspec-update", {"attributes.system.environment": "changed"})
    assert driver.job(1).spec.env == (("TOKEN", "secret"),)


def test_an_edit_of_nothing(driver):
    driver.drop(a_file())
    step = driver.edit(1)
    assert (step.answer, step.events) == (Changed(driver.job(1)), ())


def test_an_edit_is_answered_with_the_job_as_it_is_now(driver):
    """Or as it was, when the edit ends it."""
    driver.drop(a_file())
    assert driver.edit(1, cores=2).answer == Changed(driver.job(1))
    before = driver.job(1)
    assert before.spec.cores == 2
    assert driver.edit(1, cores=9).answer == Changed(before)


def test_a_pin_does_not_free_a_held_job(driver):
    driver.drop(a_file(urgency=0))
    driver.edit(1, pin=7)
    assert (driver.job(1).pin, driver.job(1).priority) == (7, 0)


def test_an_edit_adds_a_begin_time(driver):
    """One that is past is not waited for."""
    driver.drop(a_file(), a_file())
    driver.edit(1, after("begin-time", driver.now_us))
    driver.edit(2, after("begin-time", driver.now_us + 1_000_000))
    assert (driver.state(1), driver.job(2).waits) == (State.SCHED, ("begin-time=1700000001",))


def test_an_edit_sets_and_removes_a_pin(driver):
    driver.drop(a_file())
    driver.edit(1, pin=1000)
    assert (driver.job(1).pin, driver.job(1).priority) == (1000, 1000)
    driver.edit(1, pin=None)
    assert (driver.job(1).pin, driver.job(1).priority) == (None, 16)


def test_an_edit_leaves_what_a_command_set(driver):
    """The difference is to the file as last accepted, not to the job."""
    driver.drop(a_file())
    driver.urgency(1, 25)
    driver.edit(1, cores=2)
    assert driver.job(1).urgency == 25


def test_an_edit_adds_and_removes_dependencies(driver):
    """The job goes back to DEPEND, and on when nothing is open."""
    driver.drop(a_file(), a_file("b"), a_file("c"))
    driver.edit(3, after("afterok", 1), after("afterany", "b"))
    assert (driver.state(3), driver.job(3).waits) == (State.DEPEND, ("after-success=1", "after-finish=b→2"))
    assert driver.names(3)[4:] == ["dependency-add", "dependency-add", "jobspec-update"]
    assert driver.log(3)[-1] == ("jobspec-update", {"attributes.system.dependencies": ["afterok", "afterany"]})
    driver.edit(3, dependencies=())
    assert (driver.state(3), driver.job(3).waits) == (State.SCHED, ())


def test_an_edit_leaves_a_begin_time_and_a_singleton_that_stay_in_the_file(driver):
    stay = (after("begin-time", driver.now_us + 1_500_000), after("singleton"), after("afterok", 1))
    driver.drop(a_file(), a_file("a", *stay))
    waits = driver.job(2).waits
    driver.edit(2, *stay, after("afterany", 1))
    assert driver.job(2).waits == (*waits, "after-finish=1")
    assert "dependency-remove" not in driver.names(2)


def test_an_edit_leaves_bound_what_stays_in_the_file(driver):
    """Neither a newer job of the name, nor an antecedent that was purged, matters to what is not changed."""
    driver.drop(a_file("build"), a_file("old"), a_file("test", after("afterok", "build"), after("afterok", 2)))
    driver.run(2)
    del driver.finished[2]
    driver.drop(a_file("build"), a_file("d"))
    step = driver.edit(3, *driver.files[3].spec.dependencies, after("afterany", "d"))
    assert isinstance(step.answer, Changed)
    assert driver.job(3).waits == ("after-success=build→1", "after-finish=d→5")


def test_an_edit_to_ones_own_name_means_another_of_that_name(driver):
    driver.drop(a_file("a"), a_file("a"))
    driver.edit(2, after("afterok", "a"))
    assert driver.job(2).waits == ("after-success=a→1",)


def test_an_edit_that_can_never_run_ends_the_job(driver):
    """Also if it pins the job at the same time."""
    driver.drop(a_file(), a_file())
    driver.edit(1, cores=9)
    driver.edit(2, cores=9, pin=5)
    for id_ in (1, 2):
        assert driver.names(id_)[-2:] == ["exception", "clean"]


@pytest.mark.parametrize("dependency", [Dependency("afterok", 99), Dependency("afterok", 1)])
def test_an_edit_that_cannot_be_is_refused_whole(driver, dependency):
    driver.drop(a_file())
    step = driver.edit(1, dependency, urgency=20)
    assert isinstance(step.answer, Refused)
    assert not step.events


def test_an_edit_may_not_change_the_name(driver):
    driver.drop(a_file())
    assert driver.edit(1, name="b").answer == Refused("name: cannot be changed (it is 'a')")


def test_of_a_running_job_only_the_time_limit_can_be_edited(driver):
    driver.drop(a_file())
    driver.start(1)
    assert driver.edit(1, cores=2, time_limit_us=5).answer == AlreadyStarted(1)
    assert driver.edit(1, pin=3).answer == AlreadyStarted(1)
    step = driver.edit(1, time_limit_us=5_000_000)
    assert (step.effects, step.answer) == ((SetTimeLimit(1, 1, 5_000_000),), Changed(driver.job(1)))
    assert driver.log(1)[-1] == ("jobspec-update", {"attributes.system.duration": 5.0})
    assert driver.edit(1, time_limit_us=None).effects == (SetTimeLimit(1, 1, None),)
    assert driver.log(1)[-1] == ("jobspec-update", {"attributes.system.duration": 0.0})


def test_the_time_limit_of_a_running_jobspec_can_be_edited(driver):
    """It is in the document, too."""
    old, new = ({"attributes": {"system": {"duration": duration}}} for duration in (4, 5))
    driver.drop(a_file(time_limit_us=4_000_000, jobspec=old))
    driver.start(1)
    assert driver.edit(1, time_limit_us=5_000_000, jobspec=new).effects == (SetTimeLimit(1, 1, 5_000_000),)
    assert driver.job(1).spec.jobspec == new


def test_of_a_job_that_is_just_ending_nothing_can_be_edited(driver):
    """Not even the time limit: its log knows no such event any more."""
    driver.drop(a_file())
    driver.start(1)
    driver.cancel(1)
    assert driver.edit(1, time_limit_us=5_000_000).answer == AlreadyStarted(1)


def test_an_edit_of_a_job_that_is_gone(driver):
    driver.drop(a_file())
    driver.run(1)
    assert driver.edit(1, cores=2).answer == UnknownJob(1)


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ({"output": "x.log"}, "attributes.user.jqsched.output", "x.log"),
        ({"error": "x.err"}, "attributes.user.jqsched.error", "x.err"),
        ({"on_interrupt": OnInterrupt.FAIL}, "attributes.user.jqsched.on_interrupt", "fail"),
        ({"reasons": (Reason("me", "why"),)}, "attributes.user.jqsched.reasons", [["me", "why"]]),
        ({"reasons": (Reason("me", "why", 5),)}, "attributes.user.jqsched.reasons", [["me", "why", 5]]),
    ],
)
def test_an_edit_names_what_is_ours(driver, change, key, value):
    """Keys that RFC 25 does not know are told under `attributes.user.jqsched`."""
    driver.drop(a_file())
    driver.edit(1, **change)
    assert driver.log(1)[4] == ("jobspec-update", {key: value})
