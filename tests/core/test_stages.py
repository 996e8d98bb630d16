"""A job's life where plugins have a say: one move at a time, and what plugins may ask for.

Source: docs/reference/states.md, docs/reference/plugins.md.
"""

import pytest
from attrs import evolve

from jqsched.core import plugin_stages as stages
from jqsched.core import queue as queues
from jqsched.core.event import TRANSITIONS
from jqsched.core.fold import Changed, Dequeued, Refused, SetTimeLimit, Step, Stop, UnknownJob
from jqsched.core.job import Dependency, Result, State
from tests.core.scheduler_driver import USERID, SchedulerDriver, a_file, after

RELEASE = ("release", {"ranks": "all", "final": True})
UNKNOWN = 99
FOREIGN = "my-plugin"


class Stages(SchedulerDriver):
    """A driver at which plugins have a say."""

    def __init__(self, *, plugged: bool = True, **limits: int) -> None:
        super().__init__(plugged=plugged, **limits)

    def ask(self, what, *arguments, **more) -> Step:
        """Take a step of `stages`."""
        return self.take(what(self.queue, *arguments, self.limits, self.now_us, **more))

    def go(self, id_: int, *, over: bool = True, **more) -> list:
        """The events of the next move."""
        before = len(self.log(id_))
        self.ask(stages.proceed, id_, over=over, **more)
        return self.log(id_)[before:]

    def to_sched(self, id_: int, priority: int = 16) -> None:
        assert (self.go(id_), self.go(id_)) == (["validate"], ["depend"])
        self.ask(stages.prioritize, id_, priority)


@pytest.fixture
def driver() -> Stages:
    return Stages()


def raised(kind: str, severity: int, note: str = "", userid: int = USERID) -> tuple[str, dict]:
    return ("exception", {"type": kind, "severity": severity, "note": note, "userid": userid})


# ---- on its way ---------------------------------------------------------------------------------------------------


def test_a_job_goes_on_one_event_at_a_time(driver):
    """And not by itself to SCHED: its priority is a plugin's to give."""
    driver.drop(a_file())
    assert [driver.names(1), driver.go(1), driver.go(1), driver.go(1)] == [["submit"], ["validate"], ["depend"], []]
    assert driver.state(1) is State.PRIORITY


def test_a_job_that_waits_does_not_go_on(driver):
    driver.drop(a_file(), a_file("b", after("afterok", 1)))
    assert (driver.go(2), driver.go(2)) == (["validate"], [])
    assert driver.state(2) is State.DEPEND


def test_the_end_has_its_stages(driver):
    """Nothing while something of the attempt is left, nor while an epilog runs."""
    driver.drop(a_file(), a_file("b", after("afterany", 1)))
    driver.to_sched(1)
    driver.start(1)
    assert driver.go(1) == []
    driver.finish(1)
    assert driver.log(1)[-1] == ("finish", {"status": 0})
    assert driver.go(1, over=False, released=True) == []
    assert driver.go(1, epilogs=True) == [RELEASE]
    assert driver.go(1, released=True, epilogs=True) == []
    assert driver.go(1, released=True) == ["free", "clean"]
    assert driver.job(1).result is Result.COMPLETED
    assert driver.job(2).waits == ()


def test_what_never_ran_has_nothing_to_free(driver):
    driver.drop(a_file(), a_file())
    driver.go(1)
    driver.cancel(1)
    assert driver.go(1, epilogs=True) == []
    assert driver.go(1) == ["clean"]
    driver.to_sched(2)
    driver.start(2)
    driver.finish(2)
    driver.queue = queues.load(
        [evolve(driver.job(2), t_start_us=0)], seq=driver.queue.seq, last_us=driver.queue.last_us, last_id=2
    )
    assert driver.go(2) == ["free", "clean"]


def test_a_job_that_can_never_run_is_ended_when_it_is_scheduled(driver):
    driver.drop(a_file(cores=9))
    driver.to_sched(1)
    assert driver.go(1) == [raised("alloc", 0, "unsatisfiable request: need 9 core(s), there are 4")]
    assert driver.go(1) == ["clean"]


def test_nobody_goes_on_who_is_not_there(driver):
    assert driver.ask(stages.proceed, UNKNOWN, over=True).events == ()
    assert driver.ask(stages.prioritize, UNKNOWN, 5).events == ()
    assert driver.ask(stages.resume, UNKNOWN, over=True).events == ()


def test_what_a_plugin_rejects_never_was_a_job(driver):
    """A job that waits for it learns that it failed, and did not start."""
    driver.drop(a_file(), *[a_file("b", after(scheme, 1)) for scheme in ("afterok", "afternotok", "after")])
    for id_ in (2, 3, 4):
        driver.go(id_)
    step = driver.ask(stages.invalidate, 1)
    assert driver.names(1) == ["submit", "invalidate"]
    assert queues.find(driver.queue, 1) is None
    assert [job.id for job in step.finished] == []
    for id_, scheme in ((2, "success"), (3, "failure"), (4, "start")):
        note = f"dependency after-{scheme}=1 can never be satisfied"
        assert driver.log(id_)[-1] == raised("dependency", 0, note)
    with pytest.raises(AssertionError, match=r"^only what was submitted can be rejected$"):
        driver.ask(stages.invalidate, UNKNOWN)


def test_who_is_being_submitted_behind_a_rejected_job_is_rejected_too(driver):
    others = (a_file("c", after("afterok", 2)), a_file("d", after("after", 2)), a_file("b", after("singleton")))
    driver.drop(a_file(), a_file("b", after("afterok", 1)), *others)
    for id_ in (3, 4, 5):
        driver.go(id_)
    driver.ask(stages.invalidate, 1)
    ends = ["invalidate", "invalidate", "exception", "exception", "dependency-remove"]
    assert [driver.names(id_)[-1] for id_ in range(1, 6)] == ends


def test_an_interrupted_job_is_queued_again_without_a_priority(driver):
    """That is the plugin's. One that was ended waits for its stages."""
    driver.drop(a_file(), a_file())
    for id_ in (1, 2):
        driver.to_sched(id_)
    driver.start(1, 2)
    driver.interrupt(1)
    assert driver.names(1)[-4:] == ["exception", "release", "free", "requeue"]
    assert driver.state(1) is State.PRIORITY
    driver.cancel(2)
    driver.interrupt(2)
    assert driver.names(2)[-1] == "exception"
    assert driver.go(2) == [RELEASE]


def test_a_rejected_job_frees_its_name(driver):
    driver.drop(a_file("s"), a_file("s", after("singleton")))
    driver.go(2)
    assert driver.job(2).waits == ("singleton",)
    driver.ask(stages.invalidate, 1)
    assert driver.job(2).waits == ()


# ---- priorities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("urgency", "pin", "computed", "priority"),
    [(16, None, 5, 5), (16, 7, 5, 7), (0, None, 5, 0), (31, None, 5, 4294967295), (16, 7, None, 7), (16, None, 0, 0)],
)
def test_hold_expedite_and_pins_win_over_a_plugin(driver, urgency, pin, computed, priority):
    driver.drop(a_file(urgency=urgency, pin=pin))
    driver.go(1)
    driver.go(1)
    driver.ask(stages.prioritize, 1, computed)
    assert driver.log(1)[-1] == ("priority", {"priority": priority})
    assert driver.state(1) is State.SCHED


def test_no_priority_yet(driver):
    """The job waits for one."""
    driver.drop(a_file())
    driver.go(1)
    driver.go(1)
    assert driver.ask(stages.prioritize, 1, None).events == ()
    assert driver.state(1) is State.PRIORITY


def test_a_priority_is_told_in_sched_when_it_is_another(driver):
    """And in no other state but PRIORITY."""
    driver.drop(a_file(), a_file("b", after("afterok", 1)))
    assert driver.ask(stages.prioritize, 1, 5).events == ()
    driver.to_sched(1, 5)
    assert driver.ask(stages.prioritize, 1, 5).events == ()
    assert [event.name for event in driver.ask(stages.prioritize, 1, 6).events] == ["priority"]
    assert driver.job(1).priority == 6
    driver.start(1)
    assert driver.ask(stages.prioritize, 1, 7).events == ()


def test_a_pin_that_is_taken_back_leaves_the_priority_to_the_plugin(driver):
    driver.drop(a_file())
    driver.to_sched(1)
    driver.pin(1, 7)
    assert driver.log(1)[-1] == ("priority", {"pin": 7, "priority": 7})
    driver.pin(1, None)
    assert driver.log(1)[-1] == ("priority", {"pin": None})


# ---- without plugins again ----------------------------------------------------------------------------------------


def test_what_plugins_had_stopped_goes_on_without_them(driver):
    """With the priority of its own, and to its end when nothing of it is left."""
    driver.drop(
        a_file(urgency=20), a_file(urgency=20, pin=7), a_file(cores=9), *[a_file()] * 4, a_file(urgency=0, pin=7)
    )
    for id_ in (1, 2, 3, 8):
        driver.go(id_)
        driver.go(id_)
    for id_ in (4, 5):
        driver.to_sched(id_)
    driver.start(4)
    driver.go(7)
    for id_ in (5, 7):
        driver.cancel(id_)
    driver.finish(4)
    driver.limits = evolve(driver.limits, plugged=False)
    for id_ in (1, 2, 3, 6, 8):
        driver.ask(stages.resume, id_, over=False)
    assert [driver.log(id_)[-1] for id_ in (1, 2, 8)] == [("priority", {"priority": each}) for each in (20, 7, 0)]
    assert driver.names(3)[-2:] == ["exception", "clean"]
    assert driver.names(6) == ["submit"]
    assert driver.ask(stages.resume, 4, over=False).events == ()
    for id_ in (4, 5, 7):
        driver.ask(stages.resume, id_, over=True)
    assert driver.names(4)[-3:] == ["finish", "free", "clean"]
    assert driver.names(5)[-3:] == ["exception", "free", "clean"]
    assert driver.names(7)[-2:] == ["exception", "clean"]


# ---- exceptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "a b", "a=b", "a\tb"])
def test_what_is_no_type_of_an_exception(driver, kind):
    driver.drop(a_file())
    assert driver.ask(stages.raise_exception, 1, kind, 0, "", userid=1).answer == Refused("invalid exception type")
    assert not stages.is_bad_kind("a-b")


@pytest.mark.parametrize("severity", [-1, 8])
def test_what_is_no_severity(driver, severity):
    driver.drop(a_file())
    step = driver.ask(stages.raise_exception, 1, "x", severity, "", userid=1)
    assert (step.answer, step.events) == (Refused("invalid exception severity"), ())


def test_an_exception_of_severity_0_ends_who_has_not_started(driver):
    """But not one that is being submitted: that is rejected."""
    driver.drop(a_file())
    no = Refused("a job that is being submitted cannot be ended: reject it")
    assert driver.ask(stages.raise_exception, 1, "x", 0, "why", userid=5).answer == no
    driver.go(1)
    step = driver.ask(stages.raise_exception, 1, "x", 0, "y" * 2000, userid=5)
    assert (step.answer, step.effects) == (Dequeued(1), ())
    assert driver.log(1)[-1] == raised("x", 0, "y" * 1024, userid=5)


def test_an_exception_of_severity_0_stops_who_runs(driver):
    driver.drop(a_file())
    driver.to_sched(1)
    driver.start(1)
    noted = driver.ask(stages.raise_exception, 1, "x", 1, "why", userid=5)
    assert (noted.answer, noted.effects) == (Changed(driver.job(1)), ())
    assert driver.log(1)[-1] == raised("x", 1, "why", userid=5)
    driver.ask(stages.raise_exception, 1, "least", 7, "", userid=5)
    assert driver.log(1)[-1] == raised("least", 7, userid=5)
    assert driver.state(1) is State.RUN
    step = driver.ask(stages.raise_exception, 1, "x", 0, "why", userid=5)
    assert (step.answer, step.effects) == (Changed(driver.job(1)), (Stop(1, 1),))
    assert driver.state(1) is State.CLEANUP


@pytest.mark.parametrize(
    ("ask", "arguments"),
    [
        (stages.note, ("memo", {})),
        (stages.add_dependency, (FOREIGN,)),
        (stages.remove_dependency, (FOREIGN,)),
        (stages.update_spec, (a_file().spec, {})),
    ],
)
def test_nothing_can_be_asked_for_a_job_that_is_not_there(driver, ask, arguments):
    step = driver.ask(ask, UNKNOWN, *arguments)
    assert (step.answer, step.events) == (UnknownJob(UNKNOWN), ())
    assert driver.ask(stages.raise_exception, UNKNOWN, "x", 0, "", userid=0).answer == UnknownJob(UNKNOWN)


# ---- notes --------------------------------------------------------------------------------------------------------


def test_a_note_is_an_event_that_is_only_data(driver):
    """Also while the job is being submitted, as Flux has it."""
    driver.drop(a_file())
    assert driver.ask(stages.note, 1, "memo", {"k": 0}).answer == Changed(driver.job(1))
    assert driver.log(1)[-1] == ("memo", {"k": 0})
    assert driver.job(1).state is State.NEW
    driver.go(1)
    assert driver.ask(stages.note, 1, "memo", {"k": 1}).answer == Changed(driver.job(1))
    assert driver.log(1)[-1] == ("memo", {"k": 1})


@pytest.mark.parametrize("name", ["", "submit", "invalidate", *TRANSITIONS])
def test_a_note_has_no_name_that_means_something(driver, name):
    driver.drop(a_file())
    driver.go(1)
    step = driver.ask(stages.note, 1, name, {})
    assert (step.answer, step.events) == (Refused(f"{name!r} is an event of the scheduler's own"), ())


# ---- dependencies -------------------------------------------------------------------------------------------------


def test_a_plugin_has_a_job_wait_and_go_on(driver):
    """Once for each description; to go on is the next move's."""
    driver.drop(a_file())
    for _ in range(2):
        assert isinstance(driver.ask(stages.add_dependency, 1, FOREIGN).answer, Changed)
    driver.go(1)
    assert driver.names(1) == ["submit", "dependency-add", "validate"]
    assert driver.go(1) == []
    before = driver.job(1)
    assert driver.ask(stages.add_dependency, 1, "other").answer == Changed(before)
    assert driver.job(1).waits == (FOREIGN, "other")
    for description in (FOREIGN, "other"):
        before = driver.job(1)
        assert driver.ask(stages.remove_dependency, 1, description).answer == Changed(before)
        assert driver.log(1)[-1] == ("dependency-remove", {"description": description})
    assert driver.state(1) is State.DEPEND
    assert driver.go(1) == ["depend"]


def test_what_a_job_does_not_wait_for_is_unknown(driver):
    """While it could; later nothing is removed at all."""
    driver.drop(a_file())
    for _ in range(2):
        assert driver.ask(stages.remove_dependency, 1, FOREIGN).answer == UnknownJob(1)
        driver.go(1)
    late = driver.ask(stages.remove_dependency, 1, FOREIGN)
    assert late.answer == Refused("dependencies are removed in NEW and DEPEND only")
    late = driver.ask(stages.add_dependency, 1, FOREIGN)
    assert (late.answer, late.events) == (Refused("dependencies are added in NEW and DEPEND only"), ())


@pytest.mark.parametrize("description", ["", "singleton", "after-success=1", "begin-time=5", "begin-time=soon"])
def test_a_plugin_does_not_write_as_the_scheduler_does(driver, description):
    driver.drop(a_file())
    no = Refused(f"{description!r} is how the scheduler writes a dependency of its own")
    assert driver.ask(stages.add_dependency, 1, description).answer == no


# ---- another spec -------------------------------------------------------------------------------------------------


def test_a_plugin_gives_a_job_another_spec(driver):
    """Told in the log as it says."""
    driver.drop(a_file())
    spec = a_file(cores=2).spec
    step = driver.ask(stages.update_spec, 1, spec, {"cores": 2})
    assert (step.answer, step.effects) == (Changed(driver.job(1)), ())
    assert driver.log(1)[-1] == ("jobspec-update", {"cores": 2})
    assert driver.job(1).spec == spec


def test_of_a_job_that_runs_only_the_time_limit_is_changed(driver):
    """At once, and of one that is ending nothing."""
    driver.drop(a_file())
    driver.to_sched(1)
    driver.start(1)
    no = Refused("the job runs already: only its time limit can be changed")
    assert driver.ask(stages.update_spec, 1, a_file(cores=2).spec, {}).answer == no
    limited = evolve(a_file(time_limit_us=5).spec, jobspec={"k": 1})
    step = driver.ask(stages.update_spec, 1, limited, {"duration": 5})
    assert (step.answer, step.effects) == (Changed(driver.job(1)), (SetTimeLimit(1, 1, 5),))
    assert driver.job(1).spec == limited
    driver.finish(1)
    assert driver.ask(stages.update_spec, 1, limited, {}).answer == no


# ---- what plugins resolve -----------------------------------------------------------------------------------------


def test_a_dependency_of_a_plugin_is_left_to_it(driver):
    """Without plugins it is unknown."""
    file = a_file("a", Dependency("x", "y"), after("singleton"))
    driver.drop(file)
    assert (driver.refused, driver.names(1)) == ({}, ["submit", "dependency-add", "dependency-remove"])
    plain = Stages(plugged=False)
    plain.drop(file)
    assert plain.refused[1].startswith('dependency scheme "x" not supported')


def test_dependencies_of_plugins_cannot_be_edited(driver):
    """Neither added nor taken away; beside them ours can."""
    foreign = Dependency("x", "y")
    driver.drop(a_file(), a_file("b", foreign, after("afterany", 1)))
    no = Refused("dependencies: those of plugins cannot be changed")
    for wanted in ((foreign, Dependency("x", "z")), (after("afterany", 1),)):
        step = driver.edit(2, *wanted)
        assert (step.answer, step.events, step.queue) == (no, (), driver.queue)
    driver.go(2)
    assert isinstance(driver.edit(2, foreign, after("afterok", 1)).answer, Changed)
    assert driver.job(2).waits == ("after-success=1",)
