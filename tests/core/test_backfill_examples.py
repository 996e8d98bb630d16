"""Who may start before a job of higher rank that waits for cores, one behaviour each."""

from typing import Any

from jqsched.core import backfill, decide
from jqsched.core.backfill import Amounts, Reservation
from jqsched.core.job import OnInterrupt, Reason
from jqsched.core.policy import Backfill
from jqsched.core.queue import Permit
from tests.core.scheduler_driver import SchedulerDriver, a_file

M = 60_000_000  # a minute
GRACE_US = 10_000_000


def a_desk(
    cores: int = 8, *, max_running: int = 8, depth: int = 1000, grace_us: int = 0, **limits: int
) -> SchedulerDriver:
    return SchedulerDriver(max_running, cores, backfill=Backfill(depth, grace_us), **limits)


def limited(cores: int, minutes: int | None, **more: Any):
    return a_file(cores=cores, time_limit_us=minutes * M if minutes is not None else None, **more)


def started(driver: SchedulerDriver, *files: Any) -> None:
    """These run since now, to the microsecond."""
    ids = driver.drop(*files)
    assert set(driver.schedule()) == set(ids)
    for id_ in ids:
        driver.take(decide.started(driver.queue, id_, 1, driver.limits, driver.now_us, start_us=driver.now_us))


def reserved(driver: SchedulerDriver) -> Reservation | None:
    found = backfill.prospects(driver.queue, driver.limits, driver.now_us)
    return found.reserved if found is not None else None


def in_minutes(driver: SchedulerDriver) -> float | None:
    """In how many minutes the reservation is."""
    held = reserved(driver)
    assert held is not None
    return round((held.at_us - driver.now_us) / M, 3) if held.at_us is not None else None


def test_a_job_that_ends_by_then_may_pass():
    """Equality counts: it may end just when the reservation begins."""
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60), limited(2, 11), limited(2, 10))
    assert driver.schedule() == [4]
    assert in_minutes(driver) == 10


def test_a_job_that_needs_only_what_is_spare_then_may_pass_whatever_its_limit():
    """And the spare shrinks by it."""
    driver = a_desk()
    started(driver, limited(4, 10))
    driver.drop(limited(6, 60), limited(2, None), limited(2, None))
    assert driver.schedule() == [3]
    assert reserved(driver) == Reservation(2, driver.now_us + 10 * M, Amounts(6, 0))


def test_what_ends_by_then_takes_nothing_of_the_spare():
    driver = a_desk()
    started(driver, limited(4, 10))
    driver.drop(limited(6, 60), limited(2, 5), limited(2, None))
    assert driver.schedule() == [3, 4]


def test_all_ends_of_one_moment_count_for_the_spare():
    driver = a_desk()
    started(driver, limited(2, 10), limited(2, 10), limited(2, 10))
    driver.drop(limited(3, 60), limited(2, None))
    assert reserved(driver) == Reservation(4, driver.now_us + 10 * M, Amounts(7, 5))
    assert driver.schedule() == [5]


def test_the_grace_belongs_to_the_end_of_a_job():
    """A job may take so long to end after its limit, the one that passes as well as the one that runs."""
    driver = a_desk(grace_us=GRACE_US)
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60), limited(2, 10))
    assert in_minutes(driver) == 10.167
    assert driver.schedule() == [3]


def test_without_a_shadow_time_nobody_takes_cores():
    """A job without a limit holds what the first one waits for: for an unknown time."""
    driver = a_desk()
    started(driver, limited(6, None))
    driver.drop(limited(8, 60), limited(1, 1))
    assert driver.schedule() == []
    assert in_minutes(driver) is None


def test_an_overdue_job_ends_now():
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60))
    driver.tick(11 * M)
    assert in_minutes(driver) == 0


def test_only_the_first_that_waits_has_a_reservation():
    """The next one that waits may be delayed."""
    driver = a_desk()
    started(driver, limited(5, 10))
    driver.drop(limited(4, 60), limited(7, 60), limited(3, 10))
    assert driver.schedule() == [4]
    held = reserved(driver)
    assert (held.id if held else None) == 2


def test_as_many_are_looked_at_as_the_depth_says():
    files = [limited(6, 20), limited(8, 60), limited(4, 1), limited(2, 1)]
    for depth, chosen in ((1, []), (2, [4]), (0, [4])):
        driver = a_desk(depth=depth)
        started(driver, files[0])
        driver.drop(*files[1:])
        assert driver.schedule() == chosen, depth


def test_without_a_slot_nobody_passes():
    driver = a_desk(max_running=1)
    started(driver, limited(6, 20))
    driver.drop(limited(8, 60), limited(1, 1))
    assert driver.schedule() == []


def test_a_job_is_permitted_ahead_only_where_it_waits_for_a_slot_alone():
    """And nothing behind one that waits for more is."""
    driver = a_desk(max_running=2, ahead=5)
    started(driver, limited(4, 20), limited(2, 20))
    driver.drop(limited(1, 1), limited(8, 1), limited(1, 1))
    assert driver.schedule() == [3]


def test_a_job_that_may_not_pass_takes_no_place_at_a_gate():
    """The bucket holds one: it is free for the next that fits."""
    in_bucket = {"reasons": (Reason("me", "rate-limit:1:disk"),)}
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60), limited(2, 60, **in_bucket), limited(2, 5, **in_bucket))
    assert driver.schedule() == [4]


def test_the_holder_keeps_its_place_at_a_gate():
    """A job behind it that took the place would delay it."""
    in_bucket = {"reasons": (Reason("me", "rate-limit:1:disk"),)}
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60, **in_bucket), limited(2, 5, **in_bucket), limited(2, 5))
    assert driver.schedule() == [4]


def test_at_most_once_may_pass_too():
    """It is allocated at once, as ever."""
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60), limited(2, 5, on_interrupt=OnInterrupt.FAIL))
    assert driver.schedule() == [3]
    assert driver.log(3)[-1][0] == "alloc"


def test_a_permit_that_passed_stays_while_the_same_job_waits():
    """It is withdrawn when another job holds the reservation before it has started."""
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60), limited(2, 5))
    assert driver.schedule() == [3]
    assert driver.queue.permits[3] == Permit(1, passed=2)
    assert driver.schedule() == []
    assert not driver.queue.permits[3].recalled
    driver.drop(limited(8, 60, urgency=20))
    driver.schedule()
    assert driver.queue.permits[3].recalled


def test_the_time_of_a_job_counts_from_the_executors_start():
    """Not from when the news came."""
    driver = a_desk()
    driver.drop(limited(6, 10), limited(8, 60))
    driver.schedule()
    start_us = driver.now_us
    driver.now_us += 3 * M
    driver.take(decide.started(driver.queue, 1, 1, driver.limits, driver.now_us, start_us=start_us))
    assert in_minutes(driver) == 7
    assert driver.job(1).t_start_us == start_us


def test_drained_nothing_starts():
    driver = a_desk()
    started(driver, limited(6, 10))
    driver.drop(limited(8, 60), limited(2, 5))
    driver.limits = type(driver.limits)(8, 8, draining=True, backfill=Backfill())
    assert driver.schedule() == []
