"""A job's life where plugins have a say: one move at a time, and what plugins may ask for. Source: flux.md 1 and 8."""

import pytest
from attrs import evolve

from jqsched.core import queue as queues
from jqsched.core import stages
from jqsched.core.event import TRANSITIONS
from jqsched.core.job import Dependency, Result, State
from jqsched.core.step import Changed, Dequeued, Refused, Relimit, Step, Stop, UnknownJob
from tests.core.desk import USERID, Desk, a_file, after

RELEASE = ("release", {"ranks": "all", "final": True})
UNKNOWN = 99
FOREIGN = "my-plugin"


class Stages(Desk):
    """A desk at which plugins have a say."""

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
def desk() -> Stages:
    return Stages()


def raised(kind: str, severity: int, note: str = "", userid: int = USERID) -> tuple[str, dict]:
    return ("exception", {"type": kind, "severity": severity, "note": note, "userid": userid})


# ---- on its way ---------------------------------------------------------------------------------------------------


def test_a_job_goes_on_one_event_at_a_time(desk):
    """And not by itself to SCHED: its priority is a plugin's to give."""
    desk.drop(a_file())
    assert [desk.names(1), desk.go(1), desk.go(1), desk.go(1)] == [["submit"], ["validate"], ["depend"], []]
    assert desk.state(1) is State.PRIORITY


def test_a_job_that_waits_does_not_go_on(desk):
    desk.drop(a_file(), a_file("b", after("afterok", 1)))
    assert (desk.go(2), desk.go(2)) == (["validate"], [])
    assert desk.state(2) is State.DEPEND


def test_the_end_has_its_stages(desk):
    """Nothing while something of the attempt is left, nor while an epilog runs."""
    desk.drop(a_file(), a_file("b", after("afterany", 1)))
    desk.to_sched(1)
    desk.start(1)
    assert desk.go(1) == []
    desk.finish(1)
    assert desk.log(1)[-1] == ("finish", {"status": 0})
    assert desk.go(1, over=False, released=True) == []
    assert desk.go(1, epilogs=True) == [RELEASE]
    assert desk.go(1, released=True, epilogs=True) == []
    assert desk.go(1, released=True) == ["free", "clean"]
    assert desk.job(1).result is Result.COMPLETED
    assert desk.job(2).waits == ()


def test_what_never_ran_has_nothing_to_free(desk):
    desk.drop(a_file(), a_file())
    desk.go(1)
    desk.cancel(1)
    assert desk.go(1, epilogs=True) == []
    assert desk.go(1) == ["clean"]
    desk.to_sched(2)
    desk.start(2)
    desk.finish(2)
    desk.queue = queues.load(
        [evolve(desk.job(2), t_start_us=0)], seq=desk.queue.seq, last_us=desk.queue.last_us, last_id=2
    )
    assert desk.go(2) == ["free", "clean"]


def test_a_job_that_can_never_run_is_ended_when_it_is_scheduled(desk):
    desk.drop(a_file(cores=9))
    desk.to_sched(1)
    assert desk.go(1) == [raised("alloc", 0, "unsatisfiable request: need 9 core(s), there are 4")]
    assert desk.go(1) == ["clean"]


def test_nobody_goes_on_who_is_not_there(desk):
    assert desk.ask(stages.proceed, UNKNOWN, over=True).events == ()
    assert desk.ask(stages.prioritize, UNKNOWN, 5).events == ()
    assert desk.ask(stages.resume, UNKNOWN, over=True).events == ()


def test_what_a_plugin_rejects_never_was_a_job(desk):
    """Whoever waits for it learns that it failed, and did not start."""
    desk.drop(a_file(), *[a_file("b", after(scheme, 1)) for scheme in ("afterok", "afternotok", "after")])
    for id_ in (2, 3, 4):
        desk.go(id_)
    step = desk.ask(stages.invalidate, 1)
    assert desk.names(1) == ["submit", "invalidate"]
    assert queues.find(desk.queue, 1) is None
    assert [job.id for job in step.finished] == []
    for id_, scheme in ((2, "success"), (3, "failure"), (4, "start")):
        note = f"dependency after-{scheme}=1 can never be satisfied"
        assert desk.log(id_)[-1] == raised("dependency", 0, note)
    with pytest.raises(AssertionError, match=r"^only what was submitted can be rejected$"):
        desk.ask(stages.invalidate, UNKNOWN)


def test_who_is_being_submitted_behind_a_rejected_job_is_rejected_too(desk):
    others = (a_file("c", after("afterok", 2)), a_file("d", after("after", 2)), a_file("b", after("singleton")))
    desk.drop(a_file(), a_file("b", after("afterok", 1)), *others)
    for id_ in (3, 4, 5):
        desk.go(id_)
    desk.ask(stages.invalidate, 1)
    ends = ["invalidate", "invalidate", "exception", "exception", "dependency-remove"]
    assert [desk.names(id_)[-1] for id_ in range(1, 6)] == ends


def test_an_interrupted_job_is_queued_again_without_a_priority(desk):
    """That is the plugin's. One that was ended waits for its stages."""
    desk.drop(a_file(), a_file())
    for id_ in (1, 2):
        desk.to_sched(id_)
    desk.start(1, 2)
    desk.interrupt(1)
    assert desk.names(1)[-4:] == ["exception", "release", "free", "requeue"]
    assert desk.state(1) is State.PRIORITY
    desk.cancel(2)
    desk.interrupt(2)
    assert desk.names(2)[-1] == "exception"
    assert desk.go(2) == [RELEASE]


def test_a_rejected_job_frees_its_name(desk):
    desk.drop(a_file("s"), a_file("s", after("singleton")))
    desk.go(2)
    assert desk.job(2).waits == ("singleton",)
    desk.ask(stages.invalidate, 1)
    assert desk.job(2).waits == ()


# ---- priorities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("urgency", "pin", "computed", "priority"),
    [(16, None, 5, 5), (16, 7, 5, 7), (0, None, 5, 0), (31, None, 5, 4294967295), (16, 7, None, 7), (16, None, 0, 0)],
)
def test_hold_expedite_and_pins_win_over_a_plugin(desk, urgency, pin, computed, priority):
    desk.drop(a_file(urgency=urgency, pin=pin))
    desk.go(1)
    desk.go(1)
    desk.ask(stages.prioritize, 1, computed)
    assert desk.log(1)[-1] == ("priority", {"priority": priority})
    assert desk.state(1) is State.SCHED


def test_no_priority_yet(desk):
    """The job waits for one."""
    desk.drop(a_file())
    desk.go(1)
    desk.go(1)
    assert desk.ask(stages.prioritize, 1, None).events == ()
    assert desk.state(1) is State.PRIORITY


def test_a_priority_is_told_in_sched_when_it_is_another(desk):
    """And in no other state but PRIORITY."""
    desk.drop(a_file(), a_file("b", after("afterok", 1)))
    assert desk.ask(stages.prioritize, 1, 5).events == ()
    desk.to_sched(1, 5)
    assert desk.ask(stages.prioritize, 1, 5).events == ()
    assert [event.name for event in desk.ask(stages.prioritize, 1, 6).events] == ["priority"]
    assert desk.job(1).priority == 6
    desk.start(1)
    assert desk.ask(stages.prioritize, 1, 7).events == ()


def test_a_pin_that_is_taken_back_leaves_the_priority_to_the_plugin(desk):
    desk.drop(a_file())
    desk.to_sched(1)
    desk.pin(1, 7)
    assert desk.log(1)[-1] == ("priority", {"pin": 7, "priority": 7})
    desk.pin(1, None)
    assert desk.log(1)[-1] == ("priority", {"pin": None})


# ---- without plugins again ----------------------------------------------------------------------------------------


def test_what_plugins_had_stopped_goes_on_without_them(desk):
    """With the priority of its own, and to its end when nothing of it is left."""
    desk.drop(a_file(urgency=20), a_file(urgency=20, pin=7), a_file(cores=9), *[a_file()] * 4, a_file(urgency=0, pin=7))
    for id_ in (1, 2, 3, 8):
        desk.go(id_)
        desk.go(id_)
    for id_ in (4, 5):
        desk.to_sched(id_)
    desk.start(4)
    desk.go(7)
    for id_ in (5, 7):
        desk.cancel(id_)
    desk.finish(4)
    desk.limits = evolve(desk.limits, plugged=False)
    for id_ in (1, 2, 3, 6, 8):
        desk.ask(stages.resume, id_, over=False)
    assert [desk.log(id_)[-1] for id_ in (1, 2, 8)] == [("priority", {"priority": each}) for each in (20, 7, 0)]
    assert desk.names(3)[-2:] == ["exception", "clean"]
    assert desk.names(6) == ["submit"]
    assert desk.ask(stages.resume, 4, over=False).events == ()
    for id_ in (4, 5, 7):
        desk.ask(stages.resume, id_, over=True)
    assert desk.names(4)[-3:] == ["finish", "free", "clean"]
    assert desk.names(5)[-3:] == ["exception", "free", "clean"]
    assert desk.names(7)[-2:] == ["exception", "clean"]


# ---- exceptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "a b", "a=b", "a\tb"])
def test_what_is_no_type_of_an_exception(desk, kind):
    desk.drop(a_file())
    assert desk.ask(stages.raise_exception, 1, kind, 0, "", userid=1).answer == Refused("invalid exception type")
    assert not stages.is_bad_kind("a-b")


@pytest.mark.parametrize("severity", [-1, 8])
def test_what_is_no_severity(desk, severity):
    desk.drop(a_file())
    step = desk.ask(stages.raise_exception, 1, "x", severity, "", userid=1)
    assert (step.answer, step.events) == (Refused("invalid exception severity"), ())


def test_an_exception_of_severity_0_ends_who_has_not_started(desk):
    """But not one that is being submitted: that is rejected."""
    desk.drop(a_file())
    no = Refused("a job that is being submitted cannot be ended: reject it")
    assert desk.ask(stages.raise_exception, 1, "x", 0, "why", userid=5).answer == no
    desk.go(1)
    step = desk.ask(stages.raise_exception, 1, "x", 0, "y" * 2000, userid=5)
    assert (step.answer, step.effects) == (Dequeued(1), ())
    assert desk.log(1)[-1] == raised("x", 0, "y" * 1024, userid=5)


def test_an_exception_of_severity_0_stops_who_runs(desk):
    desk.drop(a_file())
    desk.to_sched(1)
    desk.start(1)
    noted = desk.ask(stages.raise_exception, 1, "x", 1, "why", userid=5)
    assert (noted.answer, noted.effects) == (Changed(desk.job(1)), ())
    assert desk.log(1)[-1] == raised("x", 1, "why", userid=5)
    desk.ask(stages.raise_exception, 1, "least", 7, "", userid=5)
    assert desk.log(1)[-1] == raised("least", 7, userid=5)
    assert desk.state(1) is State.RUN
    step = desk.ask(stages.raise_exception, 1, "x", 0, "why", userid=5)
    assert (step.answer, step.effects) == (Changed(desk.job(1)), (Stop(1, 1),))
    assert desk.state(1) is State.CLEANUP


@pytest.mark.parametrize(
    ("ask", "arguments"),
    [
        (stages.note, ("memo", {})),
        (stages.add_dependency, (FOREIGN,)),
        (stages.remove_dependency, (FOREIGN,)),
        (stages.respecify, (a_file().spec, {})),
    ],
)
def test_nothing_can_be_asked_for_a_job_that_is_not_there(desk, ask, arguments):
    step = desk.ask(ask, UNKNOWN, *arguments)
    assert (step.answer, step.events) == (UnknownJob(UNKNOWN), ())
    assert desk.ask(stages.raise_exception, UNKNOWN, "x", 0, "", userid=0).answer == UnknownJob(UNKNOWN)


# ---- notes --------------------------------------------------------------------------------------------------------


def test_a_note_is_an_event_that_is_only_data(desk):
    """Also while the job is being submitted, as Flux has it."""
    desk.drop(a_file())
    assert desk.ask(stages.note, 1, "memo", {"k": 0}).answer == Changed(desk.job(1))
    assert desk.log(1)[-1] == ("memo", {"k": 0})
    assert desk.job(1).state is State.NEW
    desk.go(1)
    assert desk.ask(stages.note, 1, "memo", {"k": 1}).answer == Changed(desk.job(1))
    assert desk.log(1)[-1] == ("memo", {"k": 1})


@pytest.mark.parametrize("name", ["", "submit", "invalidate", *TRANSITIONS])
def test_a_note_has_no_name_that_means_something(desk, name):
    desk.drop(a_file())
    desk.go(1)
    step = desk.ask(stages.note, 1, name, {})
    assert (step.answer, step.events) == (Refused(f"{name!r} is an event of the scheduler's own"), ())


# ---- dependencies -------------------------------------------------------------------------------------------------


def test_a_plugin_has_a_job_wait_and_go_on(desk):
    """Once for each description; to go on is the next move's."""
    desk.drop(a_file())
    for _ in range(2):
        assert isinstance(desk.ask(stages.add_dependency, 1, FOREIGN).answer, Changed)
    desk.go(1)
    assert desk.names(1) == ["submit", "dependency-add", "validate"]
    assert desk.go(1) == []
    before = desk.job(1)
    assert desk.ask(stages.add_dependency, 1, "other").answer == Changed(before)
    assert desk.job(1).waits == (FOREIGN, "other")
    for description in (FOREIGN, "other"):
        before = desk.job(1)
        assert desk.ask(stages.remove_dependency, 1, description).answer == Changed(before)
        assert desk.log(1)[-1] == ("dependency-remove", {"description": description})
    assert desk.state(1) is State.DEPEND
    assert desk.go(1) == ["depend"]


def test_what_a_job_does_not_wait_for_is_unknown(desk):
    """While it could; later nothing is removed at all."""
    desk.drop(a_file())
    for _ in range(2):
        assert desk.ask(stages.remove_dependency, 1, FOREIGN).answer == UnknownJob(1)
        desk.go(1)
    late = desk.ask(stages.remove_dependency, 1, FOREIGN)
    assert late.answer == Refused("dependencies are removed in NEW and DEPEND only")
    late = desk.ask(stages.add_dependency, 1, FOREIGN)
    assert (late.answer, late.events) == (Refused("dependencies are added in NEW and DEPEND only"), ())


@pytest.mark.parametrize("description", ["", "singleton", "after-success=1", "begin-time=5", "begin-time=soon"])
def test_a_plugin_does_not_write_as_the_scheduler_does(desk, description):
    desk.drop(a_file())
    no = Refused(f"{description!r} is how the scheduler writes a dependency of its own")
    assert desk.ask(stages.add_dependency, 1, description).answer == no


# ---- another spec -------------------------------------------------------------------------------------------------


def test_a_plugin_gives_a_job_another_spec(desk):
    """Told in the log as it says."""
    desk.drop(a_file())
    spec = a_file(cores=2).spec
    step = desk.ask(stages.respecify, 1, spec, {"cores": 2})
    assert (step.answer, step.effects) == (Changed(desk.job(1)), ())
    assert desk.log(1)[-1] == ("jobspec-update", {"cores": 2})
    assert desk.job(1).spec == spec


def test_of_a_job_that_runs_only_the_time_limit_is_changed(desk):
    """At once, and of one that is ending nothing."""
    desk.drop(a_file())
    desk.to_sched(1)
    desk.start(1)
    no = Refused("the job runs already: only its time limit can be changed")
    assert desk.ask(stages.respecify, 1, a_file(cores=2).spec, {}).answer == no
    limited = evolve(a_file(time_limit_us=5).spec, jobspec={"k": 1})
    step = desk.ask(stages.respecify, 1, limited, {"duration": 5})
    assert (step.answer, step.effects) == (Changed(desk.job(1)), (Relimit(1, 1, 5),))
    assert desk.job(1).spec == limited
    desk.finish(1)
    assert desk.ask(stages.respecify, 1, limited, {}).answer == no


# ---- what plugins resolve -----------------------------------------------------------------------------------------


def test_a_dependency_of_a_plugin_is_left_to_it(desk):
    """Without plugins nobody knows it."""
    file = a_file("a", Dependency("x", "y"), after("singleton"))
    desk.drop(file)
    assert (desk.refused, desk.names(1)) == ({}, ["submit", "dependency-add", "dependency-remove"])
    plain = Stages(plugged=False)
    plain.drop(file)
    assert plain.refused[1].startswith('dependency scheme "x" not supported')


def test_dependencies_of_plugins_cannot_be_edited(desk):
    """Neither added nor taken away; beside them ours can."""
    foreign = Dependency("x", "y")
    desk.drop(a_file(), a_file("b", foreign, after("afterany", 1)))
    no = Refused("dependencies: those of plugins cannot be changed")
    for wanted in ((foreign, Dependency("x", "z")), (after("afterany", 1),)):
        step = desk.edit(2, *wanted)
        assert (step.answer, step.events, step.queue) == (no, (), desk.queue)
    desk.go(2)
    assert isinstance(desk.edit(2, foreign, after("afterok", 1)).answer, Changed)
    assert desk.job(2).waits == ("after-success=1",)
