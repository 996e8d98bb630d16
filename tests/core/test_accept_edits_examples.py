"""What an edited file means: the events that come of an edit, and what can not be edited.

Source: design.md section 5; flux.md section 2 (variants); RFC 26.
"""

import pytest

from jqsched.core.job import Dependency, OnInterrupt, Reason, State
from jqsched.core.jobspec import to_jobspec
from jqsched.core.step import AlreadyStarted, Changed, Refused, Relimit, UnknownJob
from tests.core.desk import USERID, a_file, after


def test_an_edit_says_what_differs(desk):
    """Nothing for what does not."""
    desk.drop(a_file())
    desk.edit(1, urgency=20, command=("sleep", "1"), cwd="/tmp", cores=2, time_limit_us=1_500_000)
    update = {
        "tasks": to_jobspec(desk.job(1).spec)["tasks"],
        "attributes.system.duration": 1.5,
        "attributes.system.cwd": "/tmp",
        "attributes.user.jqsched.cores": 2,
    }
    urgency = ("urgency", {"userid": USERID, "urgency": 20})
    assert desk.log(1)[4:] == [urgency, ("jobspec-update", update), ("priority", {"priority": 20})]
    assert desk.job(1).spec.command == ("sleep", "1")


def test_an_edit_tells_no_secret(desk):
    """Of the environment, only that it changed."""
    desk.drop(a_file(env=(("TOKEN", "old"),)))
    desk.edit(1, env=(("TOKEN", "secret"),))
    assert desk.log(1)[4] == ("jobspec-update", {"attributes.system.environment": "changed"})
    assert desk.job(1).spec.env == (("TOKEN", "secret"),)


def test_an_edit_of_nothing(desk):
    desk.drop(a_file())
    step = desk.edit(1)
    assert (step.answer, step.events) == (Changed(desk.job(1)), ())


def test_an_edit_is_answered_with_the_job_as_it_is_now(desk):
    """Or as it was, when the edit ends it."""
    desk.drop(a_file())
    assert desk.edit(1, cores=2).answer == Changed(desk.job(1))
    before = desk.job(1)
    assert before.spec.cores == 2
    assert desk.edit(1, cores=9).answer == Changed(before)


def test_a_pin_does_not_free_a_held_job(desk):
    desk.drop(a_file(urgency=0))
    desk.edit(1, pin=7)
    assert (desk.job(1).pin, desk.job(1).priority) == (7, 0)


def test_an_edit_adds_a_begin_time(desk):
    """One that is past is not waited for."""
    desk.drop(a_file(), a_file())
    desk.edit(1, after("begin-time", desk.now_us))
    desk.edit(2, after("begin-time", desk.now_us + 1_000_000))
    assert (desk.state(1), desk.job(2).waits) == (State.SCHED, ("begin-time=1700000001",))


def test_an_edit_sets_and_removes_a_pin(desk):
    desk.drop(a_file())
    desk.edit(1, pin=1000)
    assert (desk.job(1).pin, desk.job(1).priority) == (1000, 1000)
    desk.edit(1, pin=None)
    assert (desk.job(1).pin, desk.job(1).priority) == (None, 16)


def test_an_edit_leaves_what_a_command_set(desk):
    """The difference is to the file as last accepted, not to the job."""
    desk.drop(a_file())
    desk.urgency(1, 25)
    desk.edit(1, cores=2)
    assert desk.job(1).urgency == 25


def test_an_edit_adds_and_removes_dependencies(desk):
    """The job goes back to DEPEND, and on when nothing is open."""
    desk.drop(a_file(), a_file("b"), a_file("c"))
    desk.edit(3, after("afterok", 1), after("afterany", "b"))
    assert (desk.state(3), desk.job(3).waits) == (State.DEPEND, ("after-success=1", "after-finish=b→2"))
    assert desk.names(3)[4:] == ["dependency-add", "dependency-add", "jobspec-update"]
    assert desk.log(3)[-1] == ("jobspec-update", {"attributes.system.dependencies": ["afterok", "afterany"]})
    desk.edit(3, dependencies=())
    assert (desk.state(3), desk.job(3).waits) == (State.SCHED, ())


def test_an_edit_leaves_a_begin_time_and_a_singleton_that_stay_in_the_file(desk):
    stay = (after("begin-time", desk.now_us + 1_500_000), after("singleton"), after("afterok", 1))
    desk.drop(a_file(), a_file("a", *stay))
    waits = desk.job(2).waits
    desk.edit(2, *stay, after("afterany", 1))
    assert desk.job(2).waits == (*waits, "after-finish=1")
    assert "dependency-remove" not in desk.names(2)


def test_an_edit_leaves_bound_what_stays_in_the_file(desk):
    """Neither a newer job of the name, nor an antecedent that was purged, matters to what is not changed."""
    desk.drop(a_file("build"), a_file("old"), a_file("test", after("afterok", "build"), after("afterok", 2)))
    desk.run(2)
    del desk.finished[2]
    desk.drop(a_file("build"), a_file("d"))
    step = desk.edit(3, *desk.files[3].spec.dependencies, after("afterany", "d"))
    assert isinstance(step.answer, Changed)
    assert desk.job(3).waits == ("after-success=build→1", "after-finish=d→5")


def test_an_edit_to_ones_own_name_means_another_of_that_name(desk):
    desk.drop(a_file("a"), a_file("a"))
    desk.edit(2, after("afterok", "a"))
    assert desk.job(2).waits == ("after-success=a→1",)


def test_an_edit_that_can_never_run_ends_the_job(desk):
    """Also if it pins the job at the same time."""
    desk.drop(a_file(), a_file())
    desk.edit(1, cores=9)
    desk.edit(2, cores=9, pin=5)
    for id_ in (1, 2):
        assert desk.names(id_)[-2:] == ["exception", "clean"]


@pytest.mark.parametrize("dependency", [Dependency("afterok", 99), Dependency("afterok", 1)])
def test_an_edit_that_cannot_be_is_refused_whole(desk, dependency):
    desk.drop(a_file())
    step = desk.edit(1, dependency, urgency=20)
    assert isinstance(step.answer, Refused)
    assert not step.events


def test_an_edit_may_not_change_the_name(desk):
    desk.drop(a_file())
    assert desk.edit(1, name="b").answer == Refused("name: cannot be changed (it is 'a')")


def test_of_a_running_job_only_the_time_limit_can_be_edited(desk):
    desk.drop(a_file())
    desk.start(1)
    assert desk.edit(1, cores=2, time_limit_us=5).answer == AlreadyStarted(1)
    assert desk.edit(1, pin=3).answer == AlreadyStarted(1)
    step = desk.edit(1, time_limit_us=5_000_000)
    assert (step.effects, step.answer) == ((Relimit(1, 1, 5_000_000),), Changed(desk.job(1)))
    assert desk.log(1)[-1] == ("jobspec-update", {"attributes.system.duration": 5.0})
    assert desk.edit(1, time_limit_us=None).effects == (Relimit(1, 1, None),)
    assert desk.log(1)[-1] == ("jobspec-update", {"attributes.system.duration": 0.0})


def test_the_time_limit_of_a_running_jobspec_can_be_edited(desk):
    """It stands in the document, too."""
    old, new = ({"attributes": {"system": {"duration": duration}}} for duration in (4, 5))
    desk.drop(a_file(time_limit_us=4_000_000, jobspec=old))
    desk.start(1)
    assert desk.edit(1, time_limit_us=5_000_000, jobspec=new).effects == (Relimit(1, 1, 5_000_000),)
    assert desk.job(1).spec.jobspec == new


def test_of_a_job_that_is_just_ending_nothing_can_be_edited(desk):
    """Not even the time limit: its log knows no such event any more."""
    desk.drop(a_file())
    desk.start(1)
    desk.cancel(1)
    assert desk.edit(1, time_limit_us=5_000_000).answer == AlreadyStarted(1)


def test_an_edit_of_a_job_that_is_gone(desk):
    desk.drop(a_file())
    desk.run(1)
    assert desk.edit(1, cores=2).answer == UnknownJob(1)


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
def test_an_edit_names_what_is_ours(desk, change, key, value):
    """Keys that RFC 25 does not know are told under `attributes.user.jqsched`."""
    desk.drop(a_file())
    desk.edit(1, **change)
    assert desk.log(1)[4] == ("jobspec-update", {key: value})
