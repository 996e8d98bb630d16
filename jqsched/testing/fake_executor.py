"""An executor in memory, in virtual time: no process, no clock, and it dies when it is told to.

Rule: it keeps the contract of `ports.Executor` as the real one does (`jqsched.testing.contracts.executor`): order,
limits, what is told, what is remembered, and what is lost when it is killed. Nothing happens but in a call.
"""

from collections.abc import Callable, Sequence

from attrs import define, frozen

from jqsched.ports import (
    Attempt,
    ExecutorLost,
    Expired,
    Finished,
    News,
    PortError,
    Recovery,
    Start,
    Started,
    Starting,
    Withdrawn,
)

Key = tuple[int, int]

_TICK_US = 10_000


@frozen
class Plan:
    """How a job behaves: how long it runs (None: until it is ended), how it ends, whether it ignores SIGTERM, and
    whether it cannot be started at all (`fails`: the text; with `status` None it is put off). `hangs`: what its process
    does before it becomes its program, until it is ended."""

    run_us: int | None = 1_000
    status: int | None = 0
    stubborn: bool = False
    fails: str | None = None
    hangs: str = ""


@define
class _Run:
    """An attempt that runs, or went on when its executor was killed (`adopted`, once another one has found it)."""

    key: Key
    pid: int
    start_us: int
    cores: int
    plan: Plan
    end_us: int | None
    status: int | None
    limit_us: int | None
    expired: bool = False
    stopping: bool = False
    adopted: bool = False

    @property
    def due_us(self) -> int | None:
        """When something happens to it next."""
        limits = [] if self.expired or self.limit_us is None else [self.start_us + self.limit_us]
        return min([*limits, *([] if self.end_us is None else [self.end_us])], default=None)

    def started(self) -> Started:
        return Started(*self.key, self.pid, self.start_us // _TICK_US)

    def starting(self) -> Starting:
        return Starting(*self.key, self.plan.hangs, self.start_us)


class FakeExecutor:
    """Runs plans instead of processes. `advance` is the only passing of time."""

    def __init__(self, default: Plan | None = None) -> None:
        self.now_us = 0
        self.signals: list[tuple[int, int, int]] = []  # id, attempt, signum: of `signal`
        self.unavailable: PortError | None = None  # raised by `recover` while it is set
        self._default = default or Plan()
        self._plans: dict[int, Plan] = {}
        self._max_running = self._cores = self._grace_us = 0
        self._deliver: Callable[[Sequence[News]], None] | None = None
        self._knows_past = False  # it, and not a dead one before it, got what was ordered
        self._waiting: dict[Key, Start] = {}
        self._running: dict[Key, _Run] = {}
        self._orphans: dict[Key, _Run] = {}
        self._finished: dict[Key, tuple[Finished, bool]] = {}
        self._news: list[News] = []
        self._last_pid = 1_000

    # ---- for tests and simulations --------------------------------------------------------------------------------

    def run_for(self, id_: int, us: int | None, status: int = 0, *, stubborn: bool = False) -> None:
        """Plan how all attempts of a job behave that start from now on."""
        self._plans[id_] = Plan(us, status, stubborn)

    def fail(self, id_: int, text: str) -> None:
        """Plan that a job cannot be started."""
        self._plans[id_] = Plan(status=127 << 8, fails=text)

    def put_off(self, id_: int, text: str) -> None:
        """Plan that a job cannot be started now, and perhaps later."""
        self._plans[id_] = Plan(status=None, fails=text)

    def hang(self, id_: int, step: str) -> None:
        """Plan that a job's process does not become its program until it is ended."""
        self._plans[id_] = Plan(None, hangs=step)

    def end(self, id_: int, status: int = 0) -> None:
        """End a running job by itself, at the next `advance`."""
        for run in [*self._running.values(), *self._orphans.values()]:
            if run.key[0] == id_:
                run.end_us, run.status = self.now_us, None if run.adopted else status

    def kill(self) -> None:
        """Die as by kill -9: statuses and orders are forgotten, running jobs go on without a parent."""
        self._orphans |= self._running
        self._running, self._waiting, self._finished = {}, {}, {}
        self._knows_past = False
        self._news = [ExecutorLost("killed")]

    def disconnect(self) -> None:
        """The scheduler dies: nothing more is told, and orders are given up."""
        self._deliver = None
        self._waiting.clear()
        self._news.clear()

    def running(self) -> list[Key]:
        """Return the attempts whose process lives, adopted and forsaken ones too."""
        return sorted([*self._running, *self._orphans])

    def waiting(self) -> list[Key]:
        """Return the orders that have not started, first in turn first."""
        return list(self._waiting)

    @property
    def next_us(self) -> int | None:
        """When something happens next; `now_us` while news wait to be delivered; None: never."""
        dues = [run.due_us for run in [*self._running.values(), *self._orphans.values()]]
        news = [self.now_us] if self._news and self._deliver else []
        return min([due for due in dues if due is not None] + news, default=None)

    def advance(self, now_us: int) -> None:
        """Let time pass until `now_us`, and deliver what happened."""
        self._launch()
        while (due := self._first()) and due[0] <= now_us:
            self.now_us = max(due[0], self.now_us)
            self._happen(due[1])
            self._launch()
        self.now_us = max(now_us, self.now_us)
        self.on_readable()

    # ---- the port -------------------------------------------------------------------------------------------------

    def recover(self, attempts: Sequence[Attempt], deliver: Callable[[Sequence[News]], None]) -> Recovery:
        """Say what became of these attempts; after `kill`, as a new executor."""
        if self.unavailable:
            raise self.unavailable
        self.disconnect()
        self._deliver = deliver
        asked = {(a.id, a.attempt): a for a in attempts}
        never = [key for key, attempt in asked.items() if self._never_started(key, attempt)]
        self._knows_past = True
        self.acknowledge([key for key in self._finished if key not in asked])
        ends = {key: self._finished[key] for key in asked if key in self._finished}
        goes_on = {key: self._running[key] for key in asked if key in self._running}
        expired = [key for key, run in goes_on.items() if run.expired] + [key for key, end in ends.items() if end[1]]
        if expired:
            deliver([Expired(*key) for key in expired])
        self._news += [run.starting() for run in goes_on.values() if run.plan.hangs and not run.adopted]
        return Recovery(
            running=tuple(run.started() for run in goes_on.values()),
            finished=tuple(end for end, _ in ends.values() if not end.is_lost),
            never=tuple(never),
            lost=tuple(key for key, (end, _) in ends.items() if end.is_lost),
        )

    def limit(self, max_running: int, cores: int, grace_us: int) -> None:
        """Set how many may run at a time, on how many cores, and the grace."""
        self._max_running, self._cores, self._grace_us = max_running, cores, grace_us
        self._launch()

    def start(self, orders: Sequence[Start]) -> None:
        """Append to the orders."""
        if not self._knows_past or not self._deliver:
            return
        for order in orders:
            key = (order.id, order.attempt)
            if key not in self._running and key not in self._finished:
                self._waiting[key] = order
        self._launch()

    def withdraw(self, attempts: Sequence[Key]) -> None:
        """Give up what has not started."""
        if not self._knows_past or not self._deliver:
            return
        for key in attempts:
            if key in self._running:
                self._news.append(self._running[key].started())
            elif key in self._finished:
                self._news.append(self._finished[key][0])
            else:
                self._waiting.pop(key, None)
                self._news.append(Withdrawn(*key))
        self._launch()

    def stop(self, id_: int, attempt: int) -> None:
        """End a running attempt."""
        if run := self._running.get((id_, attempt)):
            self._begin_stop(run)

    def signal(self, id_: int, attempt: int, signum: int) -> None:
        """Note the signal; plans know nothing of signals."""
        if (id_, attempt) in self._running:
            self.signals.append((id_, attempt, signum))

    def set_time_limit(self, id_: int, attempt: int, time_limit_us: int | None) -> None:
        """Change the time limit of a running attempt."""
        run = self._running.get((id_, attempt))
        if run and not run.stopping:
            run.limit_us, run.expired = time_limit_us, False

    def acknowledge(self, attempts: Sequence[Key]) -> None:
        """Forget these."""
        for key in attempts:
            self._finished.pop(key, None)

    def close(self) -> None:
        """Let go: as when the scheduler dies."""
        self.disconnect()

    def fileno(self) -> int:
        """Return no descriptor: there is nothing to wait for."""
        return -1

    @property
    def wants_write(self) -> bool:
        """Orders are always taken at once."""
        return False

    def on_writable(self) -> None:
        """Nothing is ever left to send."""

    def on_readable(self) -> None:
        """Deliver what has happened so far."""
        if self._news and self._deliver:
            news, self._news = self._news, []
            if isinstance(news[-1], ExecutorLost):
                deliver, self._deliver = self._deliver, None
                deliver(news)
            else:
                self._deliver(news)

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _never_started(self, key: Key, attempt: Attempt) -> bool:
        """Make an attempt that was asked about known; True when it was never started."""
        if key in self._running or key in self._finished:
            return False
        if self._knows_past and not attempt.pid:
            return True
        if orphan := self._orphans.pop(key, None):
            orphan.adopted, orphan.status = True, None
            self._running[key] = orphan
        else:
            self._finished[key] = (Finished(*key, None, pid=attempt.pid, start_ticks=attempt.start_ticks), False)
        return False

    def _launch(self) -> None:
        """Start what fits, in the order given."""
        while self._waiting and self._deliver and len(self._running) < self._max_running:
            order = next(iter(self._waiting.values()))
            if sum(run.cores for run in self._running.values()) + order.spec.cores > self._cores:
                return
            self._launch_one(order)

    def _launch_one(self, order: Start) -> None:
        key = (order.id, order.attempt)
        del self._waiting[key]
        plan = self._plans.get(order.id, self._default)
        if plan.fails is not None:
            self._keep(Finished(*key, plan.status, plan.fails), False)
            return
        self._last_pid += 1
        end_us = None if plan.run_us is None else self.now_us + plan.run_us
        limit_us = order.spec.time_limit_us
        run = _Run(key, self._last_pid, self.now_us, order.spec.cores, plan, end_us, plan.status, limit_us)
        self._running[key] = run
        self._news.append(run.started())
        if plan.hangs:
            self._news.append(run.starting())

    def _first(self) -> tuple[int, _Run] | None:
        """Return what happens next: the earliest, and of those at one time that of the lowest id."""
        runs = [*self._running.values(), *self._orphans.values()]
        dues = [(run.due_us, run) for run in runs if run.due_us is not None]
        return min(dues, key=lambda due: (due[0], due[1].key), default=None)

    def _happen(self, run: _Run) -> None:
        ends = run.end_us is not None and run.end_us <= self.now_us
        if self._orphans.get(run.key) is run:
            run.expired = True  # no executor watches its limit
            if ends:
                del self._orphans[run.key]
        elif ends:
            del self._running[run.key]
            self._keep(Finished(*run.key, run.status, None, run.pid, run.start_us // _TICK_US), run.expired)
        else:
            run.expired = True
            if self._deliver:
                self._news.append(Expired(*run.key))
            self._begin_stop(run)

    def _begin_stop(self, run: _Run) -> None:
        if run.stopping:
            return
        run.stopping = True
        end_us, status = self.now_us, (128 + 15) << 8
        if run.plan.stubborn:
            end_us, status = self.now_us + self._grace_us, (128 + 9) << 8
        if run.end_us is None or run.end_us > end_us:
            run.end_us, run.status = end_us, None if run.adopted else status

    def _keep(self, end: Finished, expired: bool) -> None:
        self._finished[end.id, end.attempt] = (end, expired)
        if self._deliver:
            self._news.append(end)
