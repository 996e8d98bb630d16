"""What every executor must do, written once; each clause is a function of a rig, which makes jobs and waits for news.

Rule: a clause knows no processes, no clock and no test runner: jobs are quick, open (until they are ended), stubborn,
or hang at their start, and the rig decides what that means. The author of an executor writes a `Rig` for it and runs
`CLAUSES`, each on a fresh one. That of the fake is in `fake_executor_rig`.
"""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from jqsched.ports import Attempt, ExecutorLost, Expired, Finished, News, Recovery, Start, Started, Starting, Withdrawn

GRACE_US = 200_000


class Rig(Protocol):
    """An executor with its surroundings."""

    executor: Any  # an `Executor`, and whatever else the rig itself needs of it
    news: list[News]
    boot_id: str

    def connect(self, attempts: Sequence[Attempt] = ()) -> Recovery: ...
    def crash_scheduler(self) -> None: ...
    def crash_executor(self) -> None: ...
    def quick(self, id_: int, status: int = 0, **spec: Any) -> Start: ...
    def open(self, id_: int, **spec: Any) -> Start: ...
    def stubborn(self, id_: int) -> Start: ...
    def broken(self, id_: int) -> Start: ...
    def hanging(self, id_: int) -> Start: ...
    def let_go(self, id_: int) -> None: ...
    def end(self, id_: int, code: int = 0) -> None: ...
    def wait(self, condition: Callable[[], object]) -> None: ...
    def wait_until_ended(self, start: Started) -> None: ...
    def wait_until_ready(self, id_: int) -> None: ...


def of(news: Iterable[News], kind: type, id_: int | None = None) -> list[Any]:
    """The news of one kind, and of one job."""
    return [item for item in news if isinstance(item, kind) and id_ in (None, getattr(item, "id", None))]


def finished(rig: Rig, *ids: int) -> list[Finished]:
    """Wait for the ends of these, and return them in this order."""
    rig.wait(lambda: all(of(rig.news, Finished, id_) for id_ in ids))
    return [of(rig.news, Finished, id_)[0] for id_ in ids]


def started(rig: Rig, *ids: int) -> list[Started]:
    """Wait until these run, and return what was told, in this order."""
    rig.wait(lambda: all(of(rig.news, Started, id_) for id_ in ids))
    return [of(rig.news, Started, id_)[0] for id_ in ids]


def has_started(news: Iterable[News], id_: int) -> bool:
    """A `Finished` tells that it started, too."""
    news = list(news)
    return bool(of(news, Started, id_) or of(news, Finished, id_))


def attempt(rig: Rig, item: Started | Start) -> Attempt:
    """The record of an attempt that was ordered, or is known to have started."""
    if isinstance(item, Started):
        return Attempt(item.id, item.attempt, item.pid, item.start_ticks, rig.boot_id)
    return Attempt(item.id, item.attempt, boot_id=rig.boot_id)


# ---- the clauses --------------------------------------------------------------------------------------------------


def runs_and_tells(rig: Rig) -> None:
    """An order is started, and its end is told with its status."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.quick(1), rig.quick(2, status=3)])
    ends = finished(rig, 1, 2)
    assert [end.status for end in ends] == [0, 3 << 8]
    assert all(end.pid and end.error is None for end in ends)


def started_comes_before_finished(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    assert begin.pid > 0
    rig.end(1)
    end = finished(rig, 1)[0]
    assert (end.pid, end.start_ticks) == (begin.pid, begin.start_ticks)


def starts_nothing_without_limits(rig: Rig) -> None:
    rig.connect()
    rig.executor.start([rig.quick(1)])
    rig.executor.withdraw([(1, 1)])
    rig.wait(lambda: of(rig.news, Withdrawn, 1))
    assert not has_started(rig.news, 1)


def keeps_order_and_max_running(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 8, GRACE_US)
    rig.executor.start([rig.open(3), rig.open(1), rig.open(2)])
    started(rig, 3, 1)
    rig.executor.withdraw([(9, 1)])  # answered after whatever it wanted to start
    rig.wait(lambda: of(rig.news, Withdrawn, 9))
    assert not has_started(rig.news, 2)
    rig.end(3)
    started(rig, 2)


def one_that_waits_for_cores_holds_back_the_others(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(3, 2, GRACE_US)
    rig.executor.start([rig.open(1), rig.quick(2, cores=2), rig.quick(3)])
    started(rig, 1)
    rig.executor.withdraw([(9, 1)])
    rig.wait(lambda: of(rig.news, Withdrawn, 9))
    assert not has_started(rig.news, 2)
    assert not has_started(rig.news, 3)
    rig.end(1)
    finished(rig, 2, 3)
    ends = [item.id for item in of(rig.news, Finished)]
    assert ends.index(2) < ends.index(3)


def a_higher_limit_starts_more(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(1, 4, GRACE_US)
    rig.executor.start([rig.open(1), rig.open(2)])
    started(rig, 1)
    rig.executor.limit(2, 4, GRACE_US)
    started(rig, 2)


def withdraw_answers_for_each(rig: Rig) -> None:
    """Withdrawn what waits or is unknown; Started or Finished again what did start."""
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.quick(1)])
    finished(rig, 1)
    rig.executor.start([rig.open(2), rig.quick(3)])
    started(rig, 2)
    rig.news.clear()
    rig.executor.withdraw([(1, 1), (2, 1), (3, 1), (4, 7)])
    rig.wait(lambda: of(rig.news, Withdrawn, 4))
    assert of(rig.news, Finished, 1)
    assert of(rig.news, Started, 2)
    assert of(rig.news, Withdrawn) == [Withdrawn(3, 1), Withdrawn(4, 7)]
    rig.end(2)
    rig.executor.start([rig.quick(5), rig.quick(3)])  # what was withdrawn may be ordered again
    finished(rig, 2, 3)


def stop_ends_it(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.open(1)])
    started(rig, 1)
    rig.executor.stop(1, 1)
    rig.executor.stop(1, 1)
    rig.executor.stop(7, 1)
    assert finished(rig, 1)[0].status == (128 + signal.SIGTERM) << 8


def stop_kills_after_the_grace(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.stubborn(1)])
    started(rig, 1)
    rig.wait_until_ready(1)
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == (128 + signal.SIGKILL) << 8


def cannot_be_started(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.broken(1), rig.quick(2)])
    end, _ = finished(rig, 1, 2)
    assert end.status == 127 << 8
    assert end.error is not None
    assert "start failed" in end.error
    assert end.pid == 0


def a_start_that_hangs_is_told(rig: Rig) -> None:
    """With what it does; also to the next scheduler. Other jobs run meanwhile, and it ends once it can start."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.hanging(1), rig.quick(2)])
    finished(rig, 2)
    rig.wait(lambda: of(rig.news, Starting))
    assert [type(item) for item in rig.news if getattr(item, "id", 0) == 1] == [Started, Starting]
    (slow,) = of(rig.news, Starting)
    assert slow.id == slow.attempt == 1
    assert slow.step
    begin = started(rig, 1)[0]
    rig.crash_scheduler()
    rig.news.clear()
    assert rig.connect([attempt(rig, begin)]).running == (begin,)
    rig.wait(lambda: of(rig.news, Starting))
    assert of(rig.news, Starting) == [slow]
    rig.let_go(1)
    assert finished(rig, 1)[0].status == 0


def a_start_that_hangs_can_be_stopped(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.hanging(1)])
    started(rig, 1)
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == (128 + signal.SIGTERM) << 8


def an_attempt_that_was_put_off(rig: Rig, order: Start) -> None:
    """It takes no slot, and its end is kept as any other; another attempt of the job may begin.

    Not among `CLAUSES`: how to make such an order depends on the machine.
    """
    rig.executor.start([order, rig.quick(99)])
    end, _ = finished(rig, order.id, 99)
    assert end.is_put_off
    assert end.error
    for _ in range(2):
        rig.crash_scheduler()
        found = rig.connect([attempt(rig, order)])
        assert [(item.id, item.error) for item in found.finished] == [(order.id, end.error)]
        assert (found.running, found.never, found.lost) == ((), (), ())
    rig.executor.acknowledge([(order.id, 1)])


def tells_a_limit_once_and_keeps_it(rig: Rig) -> None:
    """No scheduler stops the attempt: it may be frozen."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.open(1, time_limit_us=50_000)])
    assert finished(rig, 1)[0].status == (128 + signal.SIGTERM) << 8
    assert [type(item) for item in rig.news][-2:] == [Expired, Finished]
    assert len(of(rig.news, Expired)) == 1


def a_limit_may_be_changed(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.open(1, time_limit_us=3_600_000_000), rig.open(2, time_limit_us=60_000)])
    started(rig, 1, 2)
    rig.executor.set_time_limit(2, 1, None)
    rig.executor.set_time_limit(1, 1, 90_000)
    rig.wait(lambda: of(rig.news, Expired, 1))
    assert not of(rig.news, Expired, 2)
    rig.executor.set_time_limit(1, 1, 3_600_000_000)  # too late
    assert finished(rig, 1)[0].status == (128 + signal.SIGTERM) << 8
    assert len(of(rig.news, Expired, 1)) == 1


def a_second_scheduler_learns_all(rig: Rig) -> None:
    """Running, finished and never started: each is told to the next scheduler; orders are given up."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    orders = [rig.open(1), rig.open(2), rig.quick(3)]
    rig.executor.start(orders)
    first, second = started(rig, 1, 2)
    rig.crash_scheduler()
    rig.end(2, 5)
    rig.wait_until_ended(second)
    found = rig.connect([attempt(rig, order) for order in orders] + [Attempt(8, 1, boot_id=rig.boot_id)])
    assert found.running == (first,)
    assert [(end.id, end.status, end.pid) for end in found.finished] == [(2, 5 << 8, second.pid)]
    assert sorted(found.never) == [(3, 1), (8, 1)]
    assert found.lost == ()
    rig.executor.start([rig.quick(3)])
    assert finished(rig, 3)[0].status == 0
    rig.end(1, 4)
    assert finished(rig, 1)[0].status == 4 << 8


def a_status_is_kept_until_acknowledged(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    orders = [rig.quick(1), rig.quick(2, status=2)]
    rig.executor.start(orders)
    finished(rig, 1, 2)
    for _ in range(2):
        rig.crash_scheduler()
        found = rig.connect([attempt(rig, order) for order in orders])
        assert sorted((end.id, end.status) for end in found.finished) == [(1, 0), (2, 2 << 8)]
    rig.executor.acknowledge([(1, 1), (2, 1)])
    rig.executor.close()
    found = rig.connect([attempt(rig, orders[0])])
    assert found.finished == ()


def ended_while_nobody_was_there(rig: Rig) -> None:
    """The last job ends with no scheduler: its status is found by the next."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    order = rig.open(1)
    rig.executor.start([order])
    begin = started(rig, 1)[0]
    rig.crash_scheduler()
    rig.end(1, 6)
    rig.wait_until_ended(begin)
    waited = rig.quick(2)
    found = rig.connect([attempt(rig, begin), attempt(rig, waited)])
    assert [(end.id, end.status) for end in found.finished] == [(1, 6 << 8)]
    assert found.never == ((2, 1),)


def a_limit_ends_a_job_while_nobody_is_there(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    order = rig.open(1, time_limit_us=300_000)
    rig.executor.start([order])
    begin = started(rig, 1)[0]
    assert not of(rig.news, Expired)
    rig.crash_scheduler()
    rig.wait_until_ended(begin)
    found = rig.connect([attempt(rig, begin)])
    assert of(rig.news, Expired, 1)
    assert [end.status for end in found.finished] == [(128 + signal.SIGTERM) << 8]


def what_has_outrun_its_limit_does_not_outrun_its_scheduler(rig: Rig) -> None:
    """The limit was told, and the scheduler died before it could act on it."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([rig.open(1, time_limit_us=30_000)])
    begin = started(rig, 1)[0]
    rig.wait(lambda: of(rig.news, Expired, 1))
    rig.crash_scheduler()
    rig.wait_until_ended(begin)
    found = rig.connect([attempt(rig, begin)])
    assert [end.status for end in found.finished] == [(128 + signal.SIGTERM) << 8]
    assert len(of(rig.news, Expired, 1)) == 2


def the_death_of_the_executor_is_told(rig: Rig) -> None:
    """What went on is adopted, and its status may be unknowable; what cannot be known is lost."""
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    orders = [rig.open(1), rig.quick(2)]
    rig.executor.start(orders)
    begin = started(rig, 1)[0]
    end = finished(rig, 2)[0]
    rig.crash_executor()
    rig.wait(lambda: any(isinstance(item, ExecutorLost) for item in rig.news))
    over = Attempt(2, 1, end.pid, end.start_ticks or 1, rig.boot_id)
    found = rig.connect([attempt(rig, orders[0]), over, Attempt(3, 1, boot_id=rig.boot_id)])
    assert [(item.id, item.pid) for item in found.running] == [(1, begin.pid)]
    assert sorted(found.lost) == [(2, 1), (3, 1)]
    assert found.never == ()
    rig.end(1, 3)
    assert finished(rig, 1)[0].status in (None, 3 << 8)


def an_adopted_one_keeps_to_its_limit(rig: Rig) -> None:
    """Once that was said again."""
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.open(1, time_limit_us=3_600_000_000)])
    begin = started(rig, 1)[0]
    rig.crash_executor()
    rig.wait(lambda: any(isinstance(item, ExecutorLost) for item in rig.news))
    rig.connect([attempt(rig, begin)])
    rig.executor.set_time_limit(1, 1, 50_000)
    assert finished(rig, 1)[0].status in (None, (128 + signal.SIGTERM) << 8)
    assert len(of(rig.news, Expired, 1)) == 1


def an_adopted_one_takes_a_slot_and_can_be_stopped(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    rig.crash_executor()
    rig.wait(lambda: any(isinstance(item, ExecutorLost) for item in rig.news))
    rig.connect([attempt(rig, begin)])
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.quick(2)])
    rig.executor.withdraw([(9, 1)])
    rig.wait(lambda: of(rig.news, Withdrawn, 9))
    assert not has_started(rig.news, 2)
    rig.executor.stop(1, 1)
    end, _ = finished(rig, 1, 2)
    assert end.status in (None, (128 + signal.SIGTERM) << 8)


def another_boot_is_another_world(rig: Rig) -> None:
    rig.connect()
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    rig.crash_executor()
    found = rig.connect([Attempt(2, 1, os.getpid(), begin.start_ticks, "another-boot")])
    assert found.lost == ((2, 1),)


CLAUSES = [
    runs_and_tells,
    started_comes_before_finished,
    starts_nothing_without_limits,
    keeps_order_and_max_running,
    one_that_waits_for_cores_holds_back_the_others,
    a_higher_limit_starts_more,
    withdraw_answers_for_each,
    stop_ends_it,
    stop_kills_after_the_grace,
    cannot_be_started,
    a_start_that_hangs_is_told,
    a_start_that_hangs_can_be_stopped,
    tells_a_limit_once_and_keeps_it,
    a_limit_may_be_changed,
    a_second_scheduler_learns_all,
    a_status_is_kept_until_acknowledged,
    ended_while_nobody_was_there,
    a_limit_ends_a_job_while_nobody_is_there,
    what_has_outrun_its_limit_does_not_outrun_its_scheduler,
    the_death_of_the_executor_is_told,
    an_adopted_one_keeps_to_its_limit,
    an_adopted_one_takes_a_slot_and_can_be_stopped,
    another_boot_is_another_world,
]
