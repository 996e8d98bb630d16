"""A whole scheduler on fakes: time, disk, folder and processes are values, and each moment can be stopped at.

Rule: nothing moves by itself. Whatever is done, every order that reaches the executor is checked on its way (its
permit, and the job as it is to be run, must be durable by then), and so is every start: one process for an attempt, one
attempt at a time, none of a job that is over.
"""

from collections.abc import Callable, Sequence

from attrs import evolve

from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.job import Job
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find
from jqsched.ports import Attempt, ExecutorLost, Finished, News, Recovery, Start
from jqsched.scheduler.commands import Commands, Payload, Reply
from jqsched.scheduler.loop import Dependencies, Scheduler
from jqsched.testing.fake_clock import FakeClock
from jqsched.testing.fake_executor import FakeExecutor, Plan
from jqsched.testing.fake_spool import Parse
from jqsched.testing.faults import CrashPoint, FusedSpool, FusedStore

USERID = 1000
GRACE_US = 5_000_000
LIMITS = Limits(max_running=1, cores=4, ahead=3)
TURN_US = 10_000  # so much later a commit may be due

Key = tuple[int, int]
Planned = Callable[[Start], Plan]


class WatchedExecutor(FakeExecutor):
    """A fake that checks its orders, and whose news can be held back.

    `planned` says how an attempt behaves that is started now (None: as `run_for` and `fail` said, else until it is
    ended). `statuses` has the end of each attempt that is over, None where it cannot be known. `deaths` counts
    how often it was killed, `known_deaths` those of which the scheduler knows.
    """

    def __init__(self, store: FusedStore, fuse: CrashPoint, planned: Planned | None = None) -> None:
        super().__init__(Plan(run_us=None))
        self.store, self._fuse, self._planned = store, fuse, planned
        self.orders: list[Key] = []
        self.asked_back: list[Key] = []
        self.stopped: list[Key] = []
        self.limits: tuple[int, int, int] = (0, 0, 0)
        self.launched: set[Key] = set()
        self.statuses: dict[Key, int | None] = {}
        self.on_launch: Callable[[Start], None] = lambda _: None
        self.deaths = self.known_deaths = 0
        self.holding = False
        self.held: list[News] = []
        self._forward: Callable[[Sequence[News]], None] = lambda _: None

    # -- news

    def recover(self, attempts: Sequence[Attempt], deliver: Callable[[Sequence[News]], None]) -> Recovery:
        """Say what became of these attempts. What is told while it does is not held back."""
        self._fuse.hit()
        self._forward, self.held, self.known_deaths = deliver, [], self.deaths
        holding, self.holding = self.holding, False
        found = super().recover(attempts, self._pass_on)
        self.holding = holding
        self._fuse.hit()
        return found

    def _pass_on(self, news: Sequence[News]) -> None:
        if self.holding:
            self.held += news
        else:
            self._forward(news)

    def let_go(self) -> None:
        """Pass on the news that were held back, and those to come at once."""
        self.holding = False
        held, self.held = self.held, []
        self._forward(held)

    def deliver_one(self, choose: Callable[[int], int], *, again: bool = False) -> News | None:
        """Pass on one of the news that are held back, None if there is none: of any attempt the first, and that the
        executor is lost when nothing else is left. `again`: an end is told once more later, as it may be.
        """
        first: dict[Key, int] = {}
        for at, item in enumerate(self.held):
            if not isinstance(item, ExecutorLost):
                first.setdefault((item.id, item.attempt), at)
        places = list(first.values()) or list(range(len(self.held)))
        if not places:
            return None
        at = places[choose(len(places))]
        item = self.held[at]
        if not (again and isinstance(item, Finished)):
            del self.held[at]
        self._forward([item])
        return item

    def disconnect(self) -> None:
        """The scheduler is gone, and with it what it was not told yet."""
        super().disconnect()
        self.held = []

    def kill(self) -> None:
        """Die as by kill -9."""
        super().kill()
        self.deaths += 1

    # -- orders

    def start(self, orders: Sequence[Start]) -> None:
        """Take orders whose permit and spec are durable."""
        for order in orders:
            attempt, job = self.store.disk.attempts.get(order.id), self.store.disk.jobs.get(order.id)
            assert attempt is not None, f"{order.id} was ordered without a durable permit"
            assert attempt.attempt == order.attempt, f"{order.id} was ordered with another attempt's permit"
            assert job is not None, f"{order.id} was ordered before it was accepted"
            # The time limit of an allocated job may change on the way; `set_time_limit` follows when that is durable.
            stored = evolve(job.spec, time_limit_us=order.spec.time_limit_us)
            assert stored == order.spec, f"{order.id} was ordered as nobody has stored it"
            assert job.attempt == order.attempt, f"{order.id} was ordered before it was queued again"
        self._fuse.hit()
        self.orders += [(order.id, order.attempt) for order in orders]
        super().start(orders)
        self._fuse.hit()

    def _launch_one(self, order: Start) -> None:
        key = (order.id, order.attempt)
        job = self.store.disk.jobs.get(order.id)
        assert key not in self.launched, f"attempt {order.attempt} of job {order.id} was started twice"
        assert order.id not in [id_ for id_, _ in self.running()], f"job {order.id} runs already"
        assert job is not None, f"job {order.id} was started, and is purged"
        assert not job.t_inactive_us, f"job {order.id} was started, and is over"
        self.launched.add(key)
        self.on_launch(order)
        if self._planned is not None:
            self._plans[order.id] = self._planned(order)
        super()._launch_one(order)

    def _keep(self, end: Finished, expired: bool) -> None:
        self.statuses[end.id, end.attempt] = end.status
        super()._keep(end, expired)

    def withdraw(self, attempts: Sequence[Key]) -> None:
        """Give up what has not started."""
        self._fuse.hit()
        self.asked_back += attempts
        super().withdraw(attempts)
        self._fuse.hit()

    def stop(self, id_: int, attempt: int) -> None:
        """End a running attempt."""
        self._fuse.hit()
        self.stopped.append((id_, attempt))
        super().stop(id_, attempt)

    def acknowledge(self, attempts: Sequence[Key]) -> None:
        """Forget these ends, which must be durable."""
        for id_, attempt in attempts:
            known = self.store.disk.attempts.get(id_)
            still = known is not None and known.attempt == attempt and (id_, attempt) in self._finished
            assert not still, f"the end of attempt {attempt} of job {id_} is to be forgotten, and not durable"
        super().acknowledge(attempts)
        self._fuse.hit()

    def limit(self, max_running: int, cores: int, grace_us: int) -> None:
        """Set the limits."""
        self.limits = (max_running, cores, grace_us)
        super().limit(max_running, cores, grace_us)


class Rig:
    """A scheduler and its surroundings. Commits happen in `commit` only; nothing else moves by itself.

    `parse(text, name)` reads a job file as `Spool.parse` does; `plugins` are loaded at each start.
    """

    def __init__(
        self,
        parse: Parse,
        limits: Limits = LIMITS,
        planned: Planned | None = None,
        plugins: tuple[str, ...] = (),
    ) -> None:
        self.limits, self.plugins = limits, plugins
        self.clock = FakeClock()
        self.fuse = CrashPoint()
        self.log: list[str] = []
        self.seen: list[Event] = []
        self.boot_id = "boot"
        self.store = FusedStore(self._sync, self.fuse)
        self.spool = FusedSpool(parse, self._accepted, self.fuse)
        self.executor = WatchedExecutor(self.store, self.fuse, planned)
        self._planned = planned
        self._offline = False

    def _sync(self) -> None:
        self.spool.sync()

    def _accepted(self, id_: int) -> str | None:
        return self.scheduler.ledger.file_text(id_) or self.store.file(id_)

    # -- life

    def boot(self, *, offline: bool = False) -> None:
        """Start a scheduler on what there is; `offline`: one without an executor, as a command is."""
        self._offline = offline
        self.executor.store = self.store
        self.scheduler = Scheduler(
            Dependencies(
                store=self.store,
                spool=self.spool,
                executor=None if offline else self.executor,
                clock=self.clock,
                wake=lambda: None,
                observe=self._observe,
                log=self.log.append,
                userid=USERID,
                boot_id=self.boot_id,
                output_folder="/output",
                is_finished=self.store.is_finished,
                request=self._request,
                plugins=self.plugins,
            ),
            self.store.load(),
            self.limits,
            GRACE_US,
        )
        self.commands = Commands(self.scheduler, USERID)
        self.scheduler.start()

    def ask(self, topic: str, payload: Payload, reply: Reply) -> None:
        """Ask the scheduler, or do it without one."""
        refusal = None
        if self._offline:
            refusal = self.commands.refusal_offline(topic, payload, self.store.disk.attempts)
        if refusal is not None:
            reply(refusal)
        else:
            self.commands.run(topic, payload, reply)

    def _request(self, topic: str, payload: Payload, reply: Reply) -> None:
        self.commands.run(topic, payload, reply)

    def _observe(self, events: Sequence[Event], _: Queue) -> None:
        self.seen += events
        self.commands.look()

    def crash(self, *, executor: bool = False) -> None:
        """kill -9 of the scheduler (and its executor): what was not durable is gone. Not started again yet."""
        self.fuse.put_out()
        self.store = self.store.crash(self._sync)
        self.spool = self.spool.reopen(self._accepted)
        if executor:
            self.executor.kill()
        self.executor.disconnect()
        self.executor.holding, self.executor.held = False, []

    def power_cut(self, choose: Callable[[int], int]) -> int:
        """All processes die, and the last renames that were not synced are undone; returns how many."""
        self.crash()
        self.boot_id += "'"
        lost, before = self.spool.power_cut(choose), self.executor
        self.executor = WatchedExecutor(self.store, self.fuse, self._planned)
        self.executor.launched, self.executor.statuses = before.launched, before.statuses
        self.executor.deaths, self.executor.known_deaths = before.deaths + 1, before.known_deaths
        self.executor.on_launch = before.on_launch
        self.executor.now_us = before.now_us
        return lost

    # -- moving

    def turn(self) -> int | None:
        """One turn; so much later that a commit may be due."""
        self.clock.advance(TURN_US)
        return self.scheduler.turn()

    def commit(self) -> None:
        """What was handed over becomes durable, and the scheduler hears of it."""
        self.store.commit()
        self.turn()

    def advance(self, us: int = 0) -> None:
        """The executor goes on, and tells."""
        self.executor.advance(self.executor.now_us + us)

    # -- seeing

    @property
    def head(self) -> Queue:
        """The queue as it is decided, durable or not."""
        return self.scheduler.ledger.head

    @property
    def visible(self) -> Queue:
        """The queue as it is visible outside the loop."""
        return self.scheduler.ledger.visible.get()

    def job(self, id_: int) -> Job:
        """A job as the scheduler has it, or as it ended."""
        job = find(self.head, id_) or self.store.disk.jobs.get(id_)
        assert job is not None, f"no job {id_}"
        return job

    def events(self, id_: int) -> list[str]:
        """The names of a job's durable events."""
        return [event.name for _, event in sorted(self.store.disk.events.items()) if event.jobid == id_]

    def check(self) -> None:
        """The queue is whole, nothing is claimed, and (when settled) the store says the same."""
        queues.check(self.head)
        assert queues.same(self.head.settled(), self.store.load().queue)
