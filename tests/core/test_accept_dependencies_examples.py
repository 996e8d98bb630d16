"""What a dropped file means: what its job waits for, by id, by name, by time, and which waits are refused.

Source: design.md section 5; flux.md section 2 (variants); RFC 26.
"""

import pytest
from attrs import evolve

from jqsched.core.job import Scheme, State, describe
from jqsched.core.step import Refused
from jqsched.testing.story import START_US
from tests.core.desk import USERID, a_file, after


def add(description: str) -> tuple[str, dict]:
    return ("dependency-add", {"description": description})


def remove(description: str) -> tuple[str, dict]:
    return ("dependency-remove", {"description": description})


def hopeless(description: str) -> tuple[str, dict]:
    note = f"dependency {description} can never be satisfied"
    return ("exception", {"type": "dependency", "severity": 0, "note": note, "userid": USERID})


@pytest.mark.parametrize(
    ("asked", "more"), [({}, {}), ({"pin": 7, "requeue_of": 3}, {"pin": 7, "requeue_of": 3}), ({"urgency": 5}, {})]
)
def test_what_a_file_asks_for_is_in_its_first_event(desk, asked, more):
    """What it does not ask for is not."""
    desk.drop(evolve(a_file(), **asked))
    context = {"userid": USERID, "urgency": asked.get("urgency", 16), "flags": 0, "version": 1}
    assert desk.log(1)[0] == ("submit", context | more)


@pytest.mark.parametrize(
    ("urgency", "pin", "priority"), [(16, None, 16), (16, 7, 7), (0, 7, 0), (31, 7, 4294967295), (16, 0, 0)]
)
def test_the_first_priority_of_a_job(desk, urgency, pin, priority):
    desk.drop(a_file(urgency=urgency, pin=pin))
    assert desk.log(1)[-1] == ("priority", {"priority": priority})


# ---- dependencies by id -------------------------------------------------------------------------------------------


def test_a_dependency_is_added_before_validate_and_removed_when_met(desk):
    desk.drop(a_file(), a_file("b", after("afterok", 1)))
    assert desk.log(2)[1:] == [add("after-success=1"), "validate"]
    desk.run(1)
    assert desk.log(2)[3:] == [remove("after-success=1"), "depend", ("priority", {"priority": 16})]


@pytest.mark.parametrize(
    ("scheme", "status", "phrase"),
    [("afterok", 256, "success"), ("afternotok", 0, "failure"), ("afterexcept", 256, "exception")],
)
def test_a_dependency_that_can_never_be_met_ends_the_job(desk, scheme, status, phrase):
    desk.drop(a_file(), a_file("b", after(scheme, 1)), a_file("c", after("afterok", 2)))
    desk.run(1, status)
    assert desk.log(2)[-2:] == [hopeless(f"after-{phrase}=1"), "clean"]
    assert desk.log(3)[-2:] == [hopeless("after-success=2"), "clean"]


@pytest.mark.parametrize(
    ("scheme", "status"),
    [("afterok", 0), ("afternotok", 256), ("afterany", 0), ("afterany", 256), ("after", 256), ("afterstart", 0)],
)
def test_a_dependency_that_is_met_already(desk, scheme, status):
    """Added, and removed, before validate."""
    desk.drop(a_file())
    desk.run(1, status)
    desk.drop(a_file("b", after(scheme, 1)))
    assert desk.names(2) == ["submit", "dependency-add", "dependency-remove", "validate", "depend", "priority"]
    description = describe(Scheme(scheme), 1)
    assert desk.log(2)[1:3] == [add(description), remove(description)]


@pytest.mark.parametrize(
    ("scheme", "status", "why"),
    [
        ("afterok", 256, "failed or was canceled"),
        ("afternotok", 0, "ended well"),
        ("afterexcept", 256, "ended without an exception"),
    ],
)
def test_a_dependency_that_failed_already_is_refused(desk, scheme, status, why):
    desk.drop(a_file())
    desk.run(1, status)
    (id_,) = desk.drop(a_file("b", after(scheme, 1)))
    assert desk.refused == {id_: f"dependency: {scheme}: job 1 {why}"}
    assert not desk.log(id_)


def test_a_dependency_on_one_that_was_canceled_is_refused(desk):
    """Whether it had started matters to `after` only."""
    desk.drop(a_file())
    desk.cancel(1)
    desk.drop(a_file("b", after("afterok", 1)))
    assert desk.refused == {2: "dependency: afterok: job 1 failed or was canceled"}


def test_what_a_cancel_before_the_start_means(desk):
    """A job that never ran has not failed, as Flux judges it; but it was ended by an exception."""
    desk.drop(a_file(), a_file("b", after("afternotok", 1)), a_file("c", after("afternotok", 2)))
    desk.drop(a_file("d", after("afterexcept", 1)), a_file("e", after("afterexcept", 2)))
    desk.cancel(1)
    assert [desk.log(id_)[-2:] for id_ in (2, 3)] == [
        [hopeless("after-failure=1"), "clean"],
        [hopeless("after-failure=2"), "clean"],
    ]
    assert remove("after-exception=1") in desk.log(4)
    assert remove("after-exception=2") in desk.log(5)
    desk.drop(a_file("f", after("afternotok", 1)))
    assert desk.refused == {6: "dependency: afternotok: job 1 ended before it ran"}


def test_after_is_met_by_a_start(desk):
    desk.drop(a_file(), a_file("b", after("after", 1)))
    desk.schedule()
    assert desk.state(2) is State.DEPEND
    desk.start(1)
    assert desk.state(2) is State.SCHED
    desk.drop(a_file("c", after("after", 1)))
    assert desk.state(3) is State.SCHED


def test_who_is_doomed_by_a_start_holds_up_no_one(desk):
    """1 lets 2 go, which can never run, which dooms 3; 4 waits for 1 alone."""
    two = (after("after", 1), after("afterok", 2))
    desk.drop(a_file(), a_file("b", after("after", 1), cores=9), a_file("c", *two), a_file("d", after("after", 1)))
    desk.start(1)
    assert sorted(desk.finished) == [2, 3]
    assert desk.state(4) is State.SCHED


def test_after_is_never_met_by_a_job_that_ends_unstarted(desk):
    desk.drop(a_file(), a_file("b", after("after", 1)))
    desk.cancel(1)
    assert desk.log(2)[-2:] == [hopeless("after-start=1"), "clean"]
    (id_,) = desk.drop(a_file("c", after("after", 1)))
    assert desk.refused[id_] == "dependency: after: job 1 ended without having started"


@pytest.mark.parametrize("id_", [7, 2**63])
def test_an_id_that_was_never_given_out_is_refused(desk, id_):
    desk.drop(a_file("b", after("afterok", id_)))
    assert desk.refused[1] == f"dependency: afterok: job {id_} is unknown (purged, or never given out)"


def test_a_refusal_does_not_take_others_with_it(desk):
    """But those that depend on it by id."""
    desk.drop(a_file("a", after("afterok", 99)), a_file("b", after("afterok", 1)), a_file("c"))
    assert set(desk.refused) == {1, 2}
    assert desk.state(3) is State.SCHED


def test_a_dependent_of_a_job_that_can_never_run_in_the_same_scan(desk):
    """It learns of the end, though that came in the very commit that accepted both."""
    desk.drop(a_file("a", cores=9), a_file("b", after("afterany", 1)), a_file("c", after("afterok", "a")))
    assert desk.state(2) is State.SCHED
    assert desk.log(3)[-2:] == [hopeless("after-success=a→1"), "clean"]


def test_a_dependent_whose_other_antecedent_ends_because_of_the_first(desk):
    """1 lets 2 go, which can never run, which dooms 3, which waited for 1 too."""
    desk.drop(
        a_file(), a_file("b", after("afterany", 1), cores=9), a_file("c", after("afterany", 1), after("afterok", 2))
    )
    desk.run(1)
    assert desk.log(3)[-2:] == [hopeless("after-success=2"), "clean"]


# ---- dependencies by name -----------------------------------------------------------------------------------------


def test_a_name_is_bound_to_a_file_of_the_same_scan_first(desk):
    """Before the one that was there, and also if it comes after."""
    desk.drop(a_file("build"))
    desk.drop(a_file("test", after("afterok", "build")), a_file("build"))
    assert desk.log(2)[1:] == [add("after-success=build→3"), "validate"]


def test_a_name_is_bound_to_the_newest_unfinished_job(desk):
    """Never to itself."""
    desk.drop(a_file("build"))
    desk.drop(a_file("build"))
    desk.drop(a_file("build", after("afterok", "build")))
    assert desk.job(3).waits == ("after-success=build→2",)


def test_a_name_whose_job_has_started(desk):
    """That is enough for `after`, and for nothing else."""
    desk.drop(a_file("build"))
    desk.start(1)
    desk.drop(a_file("t", after("after", "build")), a_file("t", after("afterok", "build")))
    assert (desk.state(2), desk.job(3).waits) == (State.SCHED, ("after-success=build→1",))


def test_a_name_is_bound_to_the_newest_finished_job_if_that_satisfies(desk):
    desk.drop(a_file("build"))
    desk.run(1)
    desk.drop(a_file("test", after("afterok", "build")))
    assert desk.log(2)[1:3] == [add("after-success=build→1"), remove("after-success=build→1")]


def test_a_name_waits_for_the_next_when_the_newest_finished_does_not_satisfy(desk):
    """When it comes it is bound to that one, in the commit that accepts it."""
    desk.drop(a_file("build"))
    desk.run(1, 256)
    desk.drop(a_file("test", after("afterok", "build")))
    assert desk.log(2)[1:] == [add("after-success=build"), "validate"]
    desk.drop(a_file("build"))
    assert desk.log(2)[3:] == [add("after-success=build→3"), remove("after-success=build")]
    desk.run(3)
    assert desk.state(2) is State.SCHED


def test_a_name_that_comes_changes_no_other_wait(desk):
    """All waits for it are bound, and what waits for others waits on."""
    waits = (after("afterok", "build"), after("afterok", 1), after("after", "build"), after("afterok", "else"))
    desk.drop(a_file())
    desk.drop(a_file("test", *waits, after("begin-time", desk.now_us + 5)))
    desk.drop(a_file("build"))
    rest = ("after-success=1", "after-success=else", "begin-time=1700000000.000005")
    assert desk.job(2).waits == (*rest, "after-success=build→3", "after-start=build→3")


def test_who_waits_for_its_own_name_waits_for_another(desk):
    """That is not there yet."""
    desk.drop(a_file("a", after("afterok", "a")))
    assert desk.job(1).waits == ("after-success=a",)
    desk.drop(a_file("a"))
    assert desk.job(1).waits == ("after-success=a→2",)


def test_next_binds_to_no_finished_job(desk):
    desk.drop(a_file("build"))
    desk.run(1)
    desk.drop(a_file("test", after("afterok", "build", next_only=True)))
    assert desk.job(2).waits == ("after-success=build",)


def test_a_name_is_bound_once(desk):
    """A later job of that name is another."""
    desk.drop(a_file("build"), a_file("test", after("afterok", "build")))
    desk.drop(a_file("build"))
    assert desk.job(2).waits == ("after-success=build→1",)


# ---- cycles -------------------------------------------------------------------------------------------------------


def test_a_cycle_is_refused_with_the_names_of_its_members(desk):
    """When it would be closed; of those in it the last to come."""
    desk.drop(a_file("a", after("afterok", "c")), a_file("b", after("afterok", 1)))
    desk.drop(a_file("c", after("afterok", "b")))
    assert desk.refused == {3: "dependency: cycle: c (3) -> b (2) -> a (1) -> c (3)"}
    assert desk.job(1).waits == ("after-success=c",)


def test_a_cycle_within_a_scan(desk):
    desk.drop(a_file("a", after("afterok", "b")), a_file("b", after("afterok", "a")))
    assert desk.refused == {2: "dependency: cycle: b (2) -> a (1) -> b (2)"}


def test_a_job_cannot_depend_on_its_own_id(desk):
    desk.drop(a_file("a", after("afterok", 1)))
    assert "cannot depend on itself" in desk.refused[1]


def test_a_cycle_through_a_singleton(desk):
    """The newcomer waits for every older namesake, one of which waits for whom the newcomer is awaited by."""
    desk.drop(a_file("s"))
    desk.drop(a_file("s", after("afterany", "x")))
    desk.drop(a_file("x", after("afterany", 4)), a_file("s", after("singleton")))
    assert desk.refused[4] == "dependency: cycle: s (4) -> s (2) -> x (3) -> s (4)"
    assert "job 4 is unknown" in desk.refused[3]


def test_a_cycle_through_a_singleton_of_the_same_scan(desk):
    desk.drop(a_file("s", after("afterany", "x")), a_file("s", after("singleton")), a_file("x", after("afterany", "s")))
    assert desk.refused == {3: "dependency: cycle: x (3) -> s (2) -> s (1) -> x (3)"}


def test_cycles_are_broken_at_the_first_arrival_that_closes_one(desk):
    """Whichever of them the search meets first."""
    desk.drop(
        a_file("a", after("afterok", 2), after("afterok", 3)),
        *(a_file("b", after("afterok", 1)), a_file("c", after("afterok", 1))),
    )
    assert desk.refused == {
        1: "dependency: afterok: job 2 is unknown (purged, or never given out)",
        2: "dependency: cycle: b (2) -> a (1) -> b (2)",
        3: "dependency: afterok: job 1 is unknown (purged, or never given out)",
    }


def test_an_arrival_that_only_reaches_a_cycle_is_taken(desk):
    """And one that is in a cycle that another closes, if it can do without that one."""
    desk.drop(
        a_file("a", after("afterok", "b")), a_file("a", after("afterok", "c")), a_file("c", after("afterok", "b")),
        a_file("b", after("afterok", "a")),
    )  # fmt: skip
    assert desk.refused == {4: "dependency: cycle: b (4) -> a (2) -> c (3) -> b (4)"}


def test_an_edit_may_not_close_a_cycle_through_a_singleton(desk):
    """Nobody names the older job, and yet it is waited for."""
    desk.drop(a_file("s"), a_file("s", after("singleton")))
    assert desk.edit(1, after("afterok", 2)).answer == Refused("dependency: cycle: s (1) -> s (2) -> s (1)")


def test_a_chain_that_ends_at_a_name_is_no_cycle(desk):
    """Of a live job, or of the one that comes and is waited for."""
    desk.drop(a_file("a", after("afterok", "z")), a_file("b", after("afterok", 1)), a_file("d", after("afterok", "c")))
    desk.drop(a_file("c", after("afterok", "b"), after("afterok", "y")))
    assert not desk.refused
    assert desk.job(4).waits == ("after-success=b→2", "after-success=y")


def test_an_edit_may_not_close_a_cycle(desk):
    """Neither by id nor by name."""
    desk.drop(a_file("a"), a_file("b", after("afterok", 1)), a_file("c", after("afterany", "b")))
    for dependency in (after("afterok", 3), after("afterok", "c")):
        step = desk.edit(1, dependency)
        assert step.answer == Refused("dependency: cycle: a (1) -> c (3) -> b (2) -> a (1)")
        assert not step.events


# ---- begin time and singleton -------------------------------------------------------------------------------------


def test_a_begin_time(desk):
    desk.drop(a_file("a", after("begin-time", START_US + 1_500_000)))
    assert desk.log(1)[1:] == [add("begin-time=1700000001.5"), "validate"]
    desk.tick(1_499_999)
    assert desk.state(1) is State.DEPEND
    desk.tick(1)
    assert desk.log(1)[3:] == [remove("begin-time=1700000001.5"), "depend", ("priority", {"priority": 16})]


def test_a_begin_time_that_is_past(desk):
    desk.drop(a_file("a", after("begin-time", START_US)))
    assert desk.names(1) == ["submit", "dependency-add", "dependency-remove", "validate", "depend", "priority"]


def test_a_begin_time_is_one_wait_of_several(desk):
    """What has come is removed, and nothing else."""
    now_us = desk.now_us
    desk.drop(
        a_file(),
        a_file("b", after("afterok", 1), after("begin-time", now_us + 1), after("begin-time", now_us + 2_000_000)),
    )
    desk.tick(1)
    assert desk.job(2).waits == ("after-success=1", "begin-time=1700000002")


def test_who_is_doomed_by_a_begin_time_holds_up_no_one(desk):
    """The time of the first has come, and it can never run, which dooms the second; the third goes on."""
    times = [after("begin-time", desk.now_us + at) for at in (1, 2, 3)]
    desk.drop(a_file("a", times[0], cores=9), a_file("b", times[1], after("afterok", 1)), a_file("c", times[2]))
    desk.tick(5)
    assert sorted(desk.finished) == [1, 2]
    assert desk.state(3) is State.SCHED


def test_two_begin_times_that_come_together(desk):
    """Both are removed at once, and a job that can never run ends only once."""
    desk.drop(a_file("a", after("begin-time", START_US + 1), after("begin-time", START_US + 2), cores=9))
    desk.tick(5)
    assert desk.names(1)[-6:] == [*["dependency-remove"] * 2, "depend", "priority", "exception", "clean"]


OTHER = USERID + 1


def test_a_name_is_not_bound_to_a_live_job_of_another_user(desk):
    """Neither to one that came before it, in the same scan or another, nor to one that comes while it waits."""
    desk.drop(a_file("build"), userid=OTHER)
    desk.drop(a_file("deploy", after("afterok", "build")))
    assert desk.job(2).waits == ("after-success=build",)
    desk.drop(a_file("build"), userid=OTHER)
    assert desk.job(2).waits == ("after-success=build",)
    desk.drop(a_file("build"))
    assert desk.job(2).waits == ("after-success=build→4",)
    desk.run(1)
    desk.run(3)
    assert desk.state(2) is State.DEPEND
    desk.run(4)
    assert desk.state(2) is State.SCHED


def test_a_name_is_not_bound_to_a_finished_job_of_another_user(desk):
    """Nor in an edit, which root may make: the names are still those of the job's user."""
    desk.drop(a_file("build"), userid=OTHER)
    desk.run(1)
    desk.drop(a_file("deploy", after("afterok", "build")), a_file("edited"))
    desk.edit(3, after("afterok", "build"))
    assert [desk.job(id_).waits for id_ in (2, 3)] == [("after-success=build",)] * 2


def test_a_singleton_is_one_among_its_users_jobs(desk):
    desk.drop(a_file("s", urgency=0), userid=OTHER)
    desk.drop(a_file("s"))
    desk.drop(a_file("s", after("singleton")))
    assert desk.job(3).waits == ("singleton",)
    desk.run(2)
    assert desk.state(3) is State.SCHED
    desk.drop(a_file("s", after("singleton")), userid=OTHER)
    assert desk.job(4).waits == ("singleton",)
    desk.cancel(1)
    assert desk.state(4) is State.SCHED


def test_jobs_of_two_users_that_name_each_other_are_no_cycle(desk):
    desk.drop(a_file("a", after("afterok", "b")), userid=OTHER)
    desk.drop(a_file("b", after("afterok", "a")))
    assert desk.refused == {}
    desk.drop(a_file("b"), userid=OTHER)
    desk.drop(a_file("a"))
    assert desk.refused == {}
    assert [desk.job(id_).waits for id_ in (1, 2)] == [("after-success=b→3",), ("after-success=a→4",)]


def test_a_singleton_waits_for_the_older_ones_of_its_name(desk):
    """One after the other, and not for younger ones."""
    one = a_file("s", after("singleton"))
    desk.drop(one, one, one, a_file("t", after("singleton")))
    assert desk.log(2)[1:] == [add("singleton"), "validate"]
    assert [desk.state(id_).name for id_ in (1, 2, 3, 4)] == ["SCHED", "DEPEND", "DEPEND", "SCHED"]
    desk.run(1, 256)
    assert [desk.state(id_).name for id_ in (2, 3)] == ["SCHED", "DEPEND"]
    desk.cancel(2)
    assert desk.state(3) is State.SCHED


def test_a_singleton_waits_for_those_that_were_there(desk):
    desk.drop(a_file("s"))
    desk.drop(a_file("s", after("singleton")))
    assert desk.job(2).waits == ("singleton",)


def test_a_singleton_does_not_wait_for_itself(desk):
    """Though it is there when it is made one."""
    desk.drop(a_file("s"))
    desk.edit(1, after("singleton"))
    assert desk.state(1) is State.SCHED


def test_a_singleton_waits_for_all_the_older_ones(desk):
    """Also when several of them run at the same time."""
    desk.drop(a_file("s"), a_file("s"), a_file("s", after("singleton")))
    desk.start(1, 2)
    desk.finish(1)
    assert desk.state(3) is State.DEPEND
    desk.finish(2)
    assert desk.state(3) is State.SCHED
