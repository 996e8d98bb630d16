"""What a dropped file means: what its job waits for, by id, by name, by time, and which waits are refused.

Source: docs/reference/job-file.md, docs/reference/events.md; RFC 26.
"""

import pytest
from attrs import evolve

from jqsched.core.fold import Refused
from jqsched.core.job import Scheme, State, describe
from jqsched.testing.scenario import START_US
from tests.core.scheduler_driver import USERID, a_file, after


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
def test_what_a_file_asks_for_is_in_its_first_event(driver, asked, more):
    """What it does not ask for is not."""
    driver.drop(evolve(a_file(), **asked))
    context = {"userid": USERID, "urgency": asked.get("urgency", 16), "flags": 0, "version": 1}
    assert driver.log(1)[0] == ("submit", context | more)


@pytest.mark.parametrize(
    ("urgency", "pin", "priority"), [(16, None, 16), (16, 7, 7), (0, 7, 0), (31, 7, 4294967295), (16, 0, 0)]
)
def test_the_first_priority_of_a_job(driver, urgency, pin, priority):
    driver.drop(a_file(urgency=urgency, pin=pin))
    assert driver.log(1)[-1] == ("priority", {"priority": priority})


# ---- dependencies by id -------------------------------------------------------------------------------------------


def test_a_dependency_is_added_before_validate_and_removed_when_met(driver):
    driver.drop(a_file(), a_file("b", after("afterok", 1)))
    assert driver.log(2)[1:] == [add("after-success=1"), "validate"]
    driver.run(1)
    assert driver.log(2)[3:] == [remove("after-success=1"), "depend", ("priority", {"priority": 16})]


@pytest.mark.parametrize(
    ("scheme", "status", "phrase"),
    [("afterok", 256, "success"), ("afternotok", 0, "failure"), ("afterexcept", 256, "exception")],
)
def test_a_dependency_that_can_never_be_met_ends_the_job(driver, scheme, status, phrase):
    driver.drop(a_file(), a_file("b", after(scheme, 1)), a_file("c", after("afterok", 2)))
    driver.run(1, status)
    assert driver.log(2)[-2:] == [hopeless(f"after-{phrase}=1"), "clean"]
    assert driver.log(3)[-2:] == [hopeless("after-success=2"), "clean"]


@pytest.mark.parametrize(
    ("scheme", "status"),
    [("afterok", 0), ("afternotok", 256), ("afterany", 0), ("afterany", 256), ("after", 256), ("afterstart", 0)],
)
def test_a_dependency_that_is_met_already(driver, scheme, status):
    """Added, and removed, before validate."""
    driver.drop(a_file())
    driver.run(1, status)
    driver.drop(a_file("b", after(scheme, 1)))
    assert driver.names(2) == ["submit", "dependency-add", "dependency-remove", "validate", "depend", "priority"]
    description = describe(Scheme(scheme), 1)
    assert driver.log(2)[1:3] == [add(description), remove(description)]


@pytest.mark.parametrize(
    ("scheme", "status", "why"),
    [
        ("afterok", 256, "failed or was canceled"),
        ("afternotok", 0, "ended well"),
        ("afterexcept", 256, "ended without an exception"),
    ],
)
def test_a_dependency_that_failed_already_is_refused(driver, scheme, status, why):
    driver.drop(a_file())
    driver.run(1, status)
    (id_,) = driver.drop(a_file("b", after(scheme, 1)))
    assert driver.refused == {id_: f"dependency: {scheme}: job 1 {why}"}
    assert not driver.log(id_)


def test_a_dependency_on_one_that_was_canceled_is_refused(driver):
    """Whether it had started matters to `after` only."""
    driver.drop(a_file())
    driver.cancel(1)
    driver.drop(a_file("b", after("afterok", 1)))
    assert driver.refused == {2: "dependency: afterok: job 1 failed or was canceled"}


def test_what_a_cancel_before_the_start_means(driver):
    """A job that never ran has not failed, as Flux judges it; but it was ended by an exception."""
    driver.drop(a_file(), a_file("b", after("afternotok", 1)), a_file("c", after("afternotok", 2)))
    driver.drop(a_file("d", after("afterexcept", 1)), a_file("e", after("afterexcept", 2)))
    driver.cancel(1)
    assert [driver.log(id_)[-2:] for id_ in (2, 3)] == [
        [hopeless("after-failure=1"), "clean"],
        [hopeless("after-failure=2"), "clean"],
    ]
    assert remove("after-exception=1") in driver.log(4)
    assert remove("after-exception=2") in driver.log(5)
    driver.drop(a_file("f", after("afternotok", 1)))
    assert driver.refused == {6: "dependency: afternotok: job 1 ended before it ran"}


def test_after_is_met_by_a_start(driver):
    driver.drop(a_file(), a_file("b", after("after", 1)))
    driver.schedule()
    assert driver.state(2) is State.DEPEND
    driver.start(1)
    assert driver.state(2) is State.SCHED
    driver.drop(a_file("c", after("after", 1)))
    assert driver.state(3) is State.SCHED


def test_who_is_doomed_by_a_start_holds_up_no_one(driver):
    """1 lets 2 go, which can never run, which dooms 3; 4 waits for 1 alone."""
    two = (after("after", 1), after("afterok", 2))
    driver.drop(a_file(), a_file("b", after("after", 1), cores=9), a_file("c", *two), a_file("d", after("after", 1)))
    driver.start(1)
    assert sorted(driver.finished) == [2, 3]
    assert driver.state(4) is State.SCHED


def test_after_is_never_met_by_a_job_that_ends_unstarted(driver):
    driver.drop(a_file(), a_file("b", after("after", 1)))
    driver.cancel(1)
    assert driver.log(2)[-2:] == [hopeless("after-start=1"), "clean"]
    (id_,) = driver.drop(a_file("c", after("after", 1)))
    assert driver.refused[id_] == "dependency: after: job 1 ended without having started"


@pytest.mark.parametrize("id_", [7, 2**63])
def test_an_id_that_was_never_given_out_is_refused(driver, id_):
    driver.drop(a_file("b", after("afterok", id_)))
    assert driver.refused[1] == f"dependency: afterok: job {id_} is unknown (purged, or never given out)"


def test_a_refusal_does_not_take_others_with_it(driver):
    """But those that depend on it by id."""
    driver.drop(a_file("a", after("afterok", 99)), a_file("b", after("afterok", 1)), a_file("c"))
    assert set(driver.refused) == {1, 2}
    assert driver.state(3) is State.SCHED


def test_a_dependent_of_a_job_that_can_never_run_in_the_same_scan(driver):
    """It learns of the end, though that came in the very commit that accepted both."""
    driver.drop(a_file("a", cores=9), a_file("b", after("afterany", 1)), a_file("c", after("afterok", "a")))
    assert driver.state(2) is State.SCHED
    assert driver.log(3)[-2:] == [hopeless("after-success=a→1"), "clean"]


def test_a_dependent_whose_other_antecedent_ends_because_of_the_first(driver):
    """1 lets 2 go, which can never run, which dooms 3, which waited for 1 too."""
    driver.drop(
        a_file(), a_file("b", after("afterany", 1), cores=9), a_file("c", after("afterany", 1), after("afterok", 2))
    )
    driver.run(1)
    assert driver.log(3)[-2:] == [hopeless("after-success=2"), "clean"]


# ---- dependencies by name -----------------------------------------------------------------------------------------


def test_a_name_is_bound_to_a_file_of_the_same_scan_first(driver):
    """Before the one that was there, and also if it comes after."""
    driver.drop(a_file("build"))
    driver.drop(a_file("test", after("afterok", "build")), a_file("build"))
    assert driver.log(2)[1:] == [add("after-success=build→3"), "validate"]


def test_a_name_is_bound_to_the_newest_unfinished_job(driver):
    """Never to itself."""
    driver.drop(a_file("build"))
    driver.drop(a_file("build"))
    driver.drop(a_file("build", after("afterok", "build")))
    assert driver.job(3).waits == ("after-success=build→2",)


def test_a_name_whose_job_has_started(driver):
    """That is enough for `after`, and for nothing else."""
    driver.drop(a_file("build"))
    driver.start(1)
    driver.drop(a_file("t", after("after", "build")), a_file("t", after("afterok", "build")))
    assert (driver.state(2), driver.job(3).waits) == (State.SCHED, ("after-success=build→1",))


def test_a_name_is_bound_to_the_newest_finished_job_if_that_satisfies(driver):
    driver.drop(a_file("build"))
    driver.run(1)
    driver.drop(a_file("test", after("afterok", "build")))
    assert driver.log(2)[1:3] == [add("after-success=build→1"), remove("after-success=build→1")]


def test_a_name_waits_for_the_next_when_the_newest_finished_does_not_satisfy(driver):
    """When it comes it is bound to that one, in the commit that accepts it."""
    driver.drop(a_file("build"))
    driver.run(1, 256)
    driver.drop(a_file("test", after("afterok", "build")))
    assert driver.log(2)[1:] == [add("after-success=build"), "validate"]
    driver.drop(a_file("build"))
    assert driver.log(2)[3:] == [add("after-success=build→3"), remove("after-success=build")]
    driver.run(3)
    assert driver.state(2) is State.SCHED


def test_a_name_that_comes_changes_no_other_wait(driver):
    """All waits for it are bound, and what waits for others waits on."""
    waits = (after("afterok", "build"), after("afterok", 1), after("after", "build"), after("afterok", "else"))
    driver.drop(a_file())
    driver.drop(a_file("test", *waits, after("begin-time", driver.now_us + 5)))
    driver.drop(a_file("build"))
    rest = ("after-success=1", "after-success=else", "begin-time=1700000000.000005")
    assert driver.job(2).waits == (*rest, "after-success=build→3", "after-start=build→3")


def test_who_waits_for_its_own_name_waits_for_another(driver):
    """That is not there yet."""
    driver.drop(a_file("a", after("afterok", "a")))
    assert driver.job(1).waits == ("after-success=a",)
    driver.drop(a_file("a"))
    assert driver.job(1).waits == ("after-success=a→2",)


def test_next_binds_to_no_finished_job(driver):
    driver.drop(a_file("build"))
    driver.run(1)
    driver.drop(a_file("test", after("afterok", "build", next_only=True)))
    assert driver.job(2).waits == ("after-success=build",)


def test_a_name_is_bound_once(driver):
    """A later job of that name is another."""
    driver.drop(a_file("build"), a_file("test", after("afterok", "build")))
    driver.drop(a_file("build"))
    assert driver.job(2).waits == ("after-success=build→1",)


# ---- cycles -------------------------------------------------------------------------------------------------------


def test_a_cycle_is_refused_with_the_names_of_its_members(driver):
    """When it would be closed; of those in it the last to come."""
    driver.drop(a_file("a", after("afterok", "c")), a_file("b", after("afterok", 1)))
    driver.drop(a_file("c", after("afterok", "b")))
    assert driver.refused == {3: "dependency: cycle: c (3) -> b (2) -> a (1) -> c (3)"}
    assert driver.job(1).waits == ("after-success=c",)


def test_a_cycle_within_a_scan(driver):
    driver.drop(a_file("a", after("afterok", "b")), a_file("b", after("afterok", "a")))
    assert driver.refused == {2: "dependency: cycle: b (2) -> a (1) -> b (2)"}


def test_a_job_cannot_depend_on_its_own_id(driver):
    driver.drop(a_file("a", after("afterok", 1)))
    assert "cannot depend on itself" in driver.refused[1]


def test_a_cycle_through_a_singleton(driver):
    """The newcomer waits for every older namesake, one of which waits for a job that awaits the newcomer."""
    driver.drop(a_file("s"))
    driver.drop(a_file("s", after("afterany", "x")))
    driver.drop(a_file("x", after("afterany", 4)), a_file("s", after("singleton")))
    assert driver.refused[4] == "dependency: cycle: s (4) -> s (2) -> x (3) -> s (4)"
    assert "job 4 is unknown" in driver.refused[3]


def test_a_cycle_through_a_singleton_of_the_same_scan(driver):
    driver.drop(
        a_file("s", after("afterany", "x")), a_file("s", after("singleton")), a_file("x", after("afterany", "s"))
    )
    assert driver.refused == {3: "dependency: cycle: x (3) -> s (2) -> s (1) -> x (3)"}


def test_cycles_are_broken_at_the_first_arrival_that_closes_one(driver):
    """Whichever of them the search meets first."""
    driver.drop(
        a_file("a", after("afterok", 2), after("afterok", 3)),
        *(a_file("b", after("afterok", 1)), a_file("c", after("afterok", 1))),
    )
    assert driver.refused == {
        1: "dependency: afterok: job 2 is unknown (purged, or never given out)",
        2: "dependency: cycle: b (2) -> a (1) -> b (2)",
        3: "dependency: afterok: job 1 is unknown (purged, or never given out)",
    }


def test_an_arrival_that_only_reaches_a_cycle_is_taken(driver):
    """And one that is in a cycle that another closes, if it can do without that one."""
    driver.drop(
        a_file("a", after("afterok", "b")), a_file("a", after("afterok", "c")), a_file("c", after("afterok", "b")),
        a_file("b", after("afterok", "a")),
    )  # fmt: skip
    assert driver.refused == {4: "dependency: cycle: b (4) -> a (2) -> c (3) -> b (4)"}


def test_an_edit_may_not_close_a_cycle_through_a_singleton(driver):
    """No dependency names the older job, and yet it is waited for."""
    driver.drop(a_file("s"), a_file("s", after("singleton")))
    assert driver.edit(1, after("afterok", 2)).answer == Refused("dependency: cycle: s (1) -> s (2) -> s (1)")


def test_a_chain_that_ends_at_a_name_is_no_cycle(driver):
    """Of a live job, or of the one that comes and is waited for."""
    driver.drop(
        a_file("a", after("afterok", "z")), a_file("b", after("afterok", 1)), a_file("d", after("afterok", "c"))
    )
    driver.drop(a_file("c", after("afterok", "b"), after("afterok", "y")))
    assert not driver.refused
    assert driver.job(4).waits == ("after-success=b→2", "after-success=y")


def test_an_edit_may_not_close_a_cycle(driver):
    """Neither by id nor by name."""
    driver.drop(a_file("a"), a_file("b", after("afterok", 1)), a_file("c", after("afterany", "b")))
    for dependency in (after("afterok", 3), after("afterok", "c")):
        step = driver.edit(1, dependency)
        assert step.answer == Refused("dependency: cycle: a (1) -> c (3) -> b (2) -> a (1)")
        assert not step.events


# ---- begin time and singleton -------------------------------------------------------------------------------------


def test_a_begin_time(driver):
    driver.drop(a_file("a", after("begin-time", START_US + 1_500_000)))
    assert driver.log(1)[1:] == [add("begin-time=1700000001.5"), "validate"]
    driver.tick(1_499_999)
    assert driver.state(1) is State.DEPEND
    driver.tick(1)
    assert driver.log(1)[3:] == [remove("begin-time=1700000001.5"), "depend", ("priority", {"priority": 16})]


def test_a_begin_time_that_is_past(driver):
    driver.drop(a_file("a", after("begin-time", START_US)))
    assert driver.names(1) == ["submit", "dependency-add", "dependency-remove", "validate", "depend", "priority"]


def test_a_begin_time_is_one_wait_of_several(driver):
    """What has come is removed, and nothing else."""
    now_us = driver.now_us
    driver.drop(
        a_file(),
        a_file("b", after("afterok", 1), after("begin-time", now_us + 1), after("begin-time", now_us + 2_000_000)),
    )
    driver.tick(1)
    assert driver.job(2).waits == ("after-success=1", "begin-time=1700000002")


def test_who_is_doomed_by_a_begin_time_holds_up_no_one(driver):
    """The time of the first has come, and it can never run, which dooms the second; the third goes on."""
    times = [after("begin-time", driver.now_us + at) for at in (1, 2, 3)]
    driver.drop(a_file("a", times[0], cores=9), a_file("b", times[1], after("afterok", 1)), a_file("c", times[2]))
    driver.tick(5)
    assert sorted(driver.finished) == [1, 2]
    assert driver.state(3) is State.SCHED


def test_two_begin_times_that_come_together(driver):
    """Both are removed at once, and a job that can never run ends only once."""
    driver.drop(a_file("a", after("begin-time", START_US + 1), after("begin-time", START_US + 2), cores=9))
    driver.tick(5)
    assert driver.names(1)[-6:] == [*["dependency-remove"] * 2, "depend", "priority", "exception", "clean"]


OTHER = USERID + 1


def test_a_name_is_not_bound_to_a_live_job_of_another_user(driver):
    """Neither to one that came before it, in the same scan or another, nor to one that comes while it waits."""
    driver.drop(a_file("build"), userid=OTHER)
    driver.drop(a_file("deploy", after("afterok", "build")))
    assert driver.job(2).waits == ("after-success=build",)
    driver.drop(a_file("build"), userid=OTHER)
    assert driver.job(2).waits == ("after-success=build",)
    driver.drop(a_file("build"))
    assert driver.job(2).waits == ("after-success=build→4",)
    driver.run(1)
    driver.run(3)
    assert driver.state(2) is State.DEPEND
    driver.run(4)
    assert driver.state(2) is State.SCHED


def test_a_name_is_not_bound_to_a_finished_job_of_another_user(driver):
    """Nor in an edit, which root may make: the names are still those of the job's user."""
    driver.drop(a_file("build"), userid=OTHER)
    driver.run(1)
    driver.drop(a_file("deploy", after("afterok", "build")), a_file("edited"))
    driver.edit(3, after("afterok", "build"))
    assert [driver.job(id_).waits for id_ in (2, 3)] == [("after-success=build",)] * 2


def test_a_singleton_is_one_among_its_users_jobs(driver):
    driver.drop(a_file("s", urgency=0), userid=OTHER)
    driver.drop(a_file("s"))
    driver.drop(a_file("s", after("singleton")))
    assert driver.job(3).waits == ("singleton",)
    driver.run(2)
    assert driver.state(3) is State.SCHED
    driver.drop(a_file("s", after("singleton")), userid=OTHER)
    assert driver.job(4).waits == ("singleton",)
    driver.cancel(1)
    assert driver.state(4) is State.SCHED


def test_jobs_of_two_users_that_name_each_other_are_no_cycle(driver):
    driver.drop(a_file("a", after("afterok", "b")), userid=OTHER)
    driver.drop(a_file("b", after("afterok", "a")))
    assert driver.refused == {}
    driver.drop(a_file("b"), userid=OTHER)
    driver.drop(a_file("a"))
    assert driver.refused == {}
    assert [driver.job(id_).waits for id_ in (1, 2)] == [("after-success=b→3",), ("after-success=a→4",)]


def test_a_singleton_waits_for_the_older_ones_of_its_name(driver):
    """One after the other, and not for younger ones."""
    one = a_file("s", after("singleton"))
    driver.drop(one, one, one, a_file("t", after("singleton")))
    assert driver.log(2)[1:] == [add("singleton"), "validate"]
    assert [driver.state(id_).name for id_ in (1, 2, 3, 4)] == ["SCHED", "DEPEND", "DEPEND", "SCHED"]
    driver.run(1, 256)
    assert [driver.state(id_).name for id_ in (2, 3)] == ["SCHED", "DEPEND"]
    driver.cancel(2)
    assert driver.state(3) is State.SCHED


def test_a_singleton_waits_for_those_that_were_there(driver):
    driver.drop(a_file("s"))
    driver.drop(a_file("s", after("singleton")))
    assert driver.job(2).waits == ("singleton",)


def test_a_singleton_does_not_wait_for_itself(driver):
    """Though it is there when it is made one."""
    driver.drop(a_file("s"))
    driver.edit(1, after("singleton"))
    assert driver.state(1) is State.SCHED


def test_a_singleton_waits_for_all_the_older_ones(driver):
    """Also when several of them run at the same time."""
    driver.drop(a_file("s"), a_file("s"), a_file("s", after("singleton")))
    driver.start(1, 2)
    driver.finish(1)
    assert driver.state(3) is State.DEPEND
    driver.finish(2)
    assert driver.state(3) is State.SCHED
