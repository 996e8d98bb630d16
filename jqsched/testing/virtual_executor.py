"""An executor in virtual time for many jobs: what happens next is on a heap, and nothing is looked through.

Rule: it keeps the contract of `ports.Executor` for one scheduler that never dies (`tests/simulation/`); what dies, is
stubborn or cannot be started is in `fake_executor`.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from attrs import define

from jqsched.core.job import Job
from jqsched.ports import Attempt, Executor, Expired, Finished, News, Recovery, Start, Started, Withdrawn
from jqsched.testing.runtimes import Run

TERMINATED = (128 + 15) << 8
PID = 1
_TICK_US = 10_000

Key = tuple[int, int]
At = Callable[[int, int], None]  # a job's id, and when


@define
class _Process:
    start_us: int
    end_us: int
    status: int
    cores: int
    limit_us: int | None
    expired: bool = False

    @property
    def due_us(self) -> int:
        """When something happens to it next: its end, or before it (once) the end of its time."""
        if self.expired or self.limit_us is None:
            return self.end_us
        return min(self.end_us, self.start_us + self.limit_us)


class VirtualExecutor:
    """Runs what `run_of(order)` says instead of processes; `begun` and `over` are told when one started and ended."""

    def __init__(self, now_us: int, run_of: Callable[[Start], Run], begun: At, over: At) -> None:
        self.now_us = now_us
        self.running_most = 0
        self._run_of, self._begun, self._over = run_of, begun, over
        self._max_running = self._cores = self._cores_used = self._grace_us = 0
        self._deliver: Callable[[Sequence[News]], None] = lambda _: None
        self._waiting: dict[Key, Start] = {}
        self._running: dict[Key, _Process] = {}
        self._finished: dict[Key, Finished] = {}
        self._heap: list[tuple[int, Key]] = []
        self._news: list[News] = []

    def adopt(self, job: Job, run: Run) -> None:
        """A job runs already; call before `recover`."""
        end_us = max(self.now_us, job.t_start_us + run.run_us)
        limit_us = job.spec.time_limit_us
        self._add((job.id, job.attempt), _Process(job.t_start_us, end_us, run.status, job.spec.cores, limit_us))

    @property
    def next_us(self) -> int | None:
        """When something happens next, None: never."""
        while self._heap:
            due_us, key = self._heap[0]
            process = self._running.get(key)
            if process is not None and process.due_us == due_us:
                return due_us
            heappop(self._heap)  # it has ended, or was given another end
        return None

    def advance(self, now_us: int) -> None:
        """Let time pass."""
        while (due_us := self.next_us) is not None and due_us <= now_us:
            self.now_us = max(self.now_us, due_us)
            self._happen(heappop(self._heap)[1])
            self._launch()
        self.now_us = max(self.now_us, now_us)

    def tell(self) -> bool:
        """Deliver what has happened; whether there was anything."""
        news, self._news = self._news, []
        if news:
            self._deliver(news)
        return bool(news)

    # -- the port

    def recover(self, attempts: Sequence[Attempt], deliver: Callable[[Sequence[News]], None]) -> Recovery:
        """Say which of these run; no other was ever started."""
        self._deliver = deliver
        asked = [(attempt.id, attempt.attempt) for attempt in attempts]
        return Recovery(
            running=tuple(self._started(key, self._running[key].start_us) for key in asked if self._runs(key)),
            never=tuple(key for key in asked if not self._runs(key)),
        )

    def _started(self, key: Key, start_us: int) -> Started:
        return Started(*key, PID, start_us // _TICK_US, start_us)

    def _runs(self, key: Key) -> bool:
        return key in self._running

    def limit(self, max_running: int, cores: int, grace_us: int) -> None:
        """Set how many may run at a time, on how many cores, and the grace."""
        self._max_running, self._cores, self._grace_us = max_running, cores, grace_us
        self._launch()

    def start(self, orders: Sequence[Start]) -> None:
        """Append to the orders."""
        for order in orders:
            key = (order.id, order.attempt)
            if key not in self._running and key not in self._finished:
                self._waiting[key] = order
        self._launch()

    def withdraw(self, attempts: Sequence[Key]) -> None:
        """Give up what has not started."""
        for key in attempts:
            if key in self._running:
                self._news.append(self._started(key, self._running[key].start_us))
            elif key in self._finished:
                self._news.append(self._finished[key])
            else:
                self._waiting.pop(key, None)
                self._news.append(Withdrawn(*key))
        self._launch()

    def stop(self, id_: int, attempt: int) -> None:
        """End a running attempt: it obeys at once."""
        key = (id_, attempt)
        process = self._running.get(key)
        if process is not None and process.end_us > self.now_us:
            process.end_us, process.status = self.now_us, TERMINATED
            heappush(self._heap, (self.now_us, key))

    def signal(self, id_: int, attempt: int, signum: int) -> None:
        """No client listens."""

    def set_time_limit(self, id_: int, attempt: int, time_limit_us: int | None) -> None:
        """Change the time limit of a running attempt."""
        process = self._running.get((id_, attempt))
        if process is not None:
            process.limit_us, process.expired = time_limit_us, False
            heappush(self._heap, (process.due_us, (id_, attempt)))

    def acknowledge(self, attempts: Sequence[Key]) -> None:
        """Forget these."""
        for key in attempts:
            self._finished.pop(key, None)

    def close(self) -> None:
        """Nothing is open."""

    # -- inside

    def _launch(self) -> None:
        """Start what fits, in the order given."""
        while self._waiting and len(self._running) < self._max_running:
            key, order = next(iter(self._waiting.items()))
            if self._cores_used + order.spec.cores > self._cores:
                return
            del self._waiting[key]
            run, spec = self._run_of(order), order.spec
            end_us = self.now_us + run.run_us
            self._add(key, _Process(self.now_us, end_us, run.status, spec.cores, spec.time_limit_us))
            self._begun(order.id, self.now_us)
            self._news.append(self._started(key, self.now_us))

    def _add(self, key: Key, process: _Process) -> None:
        self._running[key] = process
        self._cores_used += process.cores
        self.running_most = max(self.running_most, len(self._running))
        heappush(self._heap, (process.due_us, key))

    def _happen(self, key: Key) -> None:
        """A process ends, or has used up its time."""
        process = self._running[key]
        if process.end_us > self.now_us:
            process.expired = True
            self._news.append(Expired(*key))
            self.stop(*key)
            return
        del self._running[key]
        self._cores_used -= process.cores
        self._over(key[0], self.now_us)
        end = self._finished[key] = Finished(*key, process.status, None, PID, process.start_us // _TICK_US)
        self._news.append(end)


_PORT: type[Executor] = VirtualExecutor  # for mypy: it has the port's methods
