"""A whole scheduler on fakes: time, disk, folder and processes are values, and each moment can be stopped at.

Rule: whatever a test does, every order that reaches the executor is checked on its way (its permit, and the job as it
is to be run, must be durable by then), and so is every start: one process for an attempt, one attempt at a time.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from jqsched.adapters.jobfile import BadFile, read_job
from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.job import Draft, Job
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find
from jqsched.ports import Attempt, News, Recovery, Start
from jqsched.scheduler.commands import Commands
from jqsched.scheduler.loop import Scheduler, Surroundings
from jqsched.testing.fake_clock import FakeClock
from jqsched.testing.fake_executor import FakeExecutor, Plan
from jqsched.testing.fake_spool import MemorySpool
from jqsched.testing.fake_store import MemoryStore

USERID = 1000
GRACE_US = 5_000_000
LIMITS = Limits(max_running=1, cores=4, ahead=3)


def parse(text: str, name: str) -> Draft | str:
    """Read a job file as the real spool does."""
    job = read_job(text.encode(), ".json", "/", name=name)
    return "\n".join(job.errors) if isinstance(job, BadFile) else job


class WatchedExecutor(FakeExecutor):
    """A fake whose jobs run until they are ended, that checks its orders, and whose news can be held back."""

    def __init__(self) -> None:
        super().__init__(Plan(run_us=None))
        self.store = MemoryStore()
        self.orders: list[tuple[int, int]] = []
        self.asked_back: list[tuple[int, int]] = []
        self.stopped: list[tuple[int, int]] = []
        self.limits: tuple[int, int, int] = (0, 0, 0)
        self.launched: set[tuple[int, int]] = set()
        self.holding = False
        self.held: list[News] = []
        self._forward: Any = None

    def recover(self, attempts: Sequence[Attempt], deliver: Any) -> Recovery:
        self._forward = deliver
        return super().recover(attempts, self._pass_on)

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

    def start(self, orders: Sequence[Start]) -> None:
        for order in orders:
            attempt, job = self.store.disk.attempts.get(order.id), self.store.disk.jobs.get(order.id)
            assert attempt is not None, f"{order.id} was ordered without a durable permit"
            assert attempt.attempt == order.attempt, f"{order.id} was ordered with another attempt's permit"
            assert job is not None, f"{order.id} was ordered before it was accepted"
            assert job.spec == order.spec, f"{order.id} was ordered as nobody has stored it"
            assert job.attempt == order.attempt, f"{order.id} was ordered before it was queued again"
        self.orders += [(order.id, order.attempt) for order in orders]
        super().start(orders)

    def _launch_one(self, order: Start) -> None:
        key = (order.id, order.attempt)
        assert key not in self.launched, f"attempt {order.attempt} of job {order.id} was started twice"
        assert order.id not in [id_ for id_, _ in self.running()], f"job {order.id} runs already"
        self.launched.add(key)
        super()._launch_one(order)

    def withdraw(self, attempts: Sequence[tuple[int, int]]) -> None:
        self.asked_back += attempts
        super().withdraw(attempts)

    def stop(self, id_: int, attempt: int) -> None:
        self.stopped.append((id_, attempt))
        super().stop(id_, attempt)

    def limit(self, max_running: int, cores: int, grace_us: int) -> None:
        self.limits = (max_running, cores, grace_us)
        super().limit(max_running, cores, grace_us)


class World:
    """A scheduler and its surroundings. Commits happen in `commit` only; nothing else moves by itself."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.clock = FakeClock()
        self.executor = WatchedExecutor()
        self.log: list[str] = []
        self.seen: list[Event] = []
        self.store = MemoryStore(self._sync)
        self.spool = MemorySpool(parse, self._accepted)
        self.boot()

    def _sync(self) -> None:
        self.spool.sync()

    def _accepted(self, id_: int) -> str | None:
        return self.scheduler.ledger.file_text(id_) or self.store.file(id_)

    def boot(self) -> None:
        """Start a scheduler on what there is."""
        self.executor.store = self.store
        self.scheduler = Scheduler(
            Surroundings(
                store=self.store,
                spool=self.spool,
                executor=self.executor,
                clock=self.clock,
                wake=lambda: None,
                observe=self._observe,
                log=self.log.append,
                userid=USERID,
                boot_id="boot",
                output_folder="/output",
                is_finished=self.store.is_finished,
            ),
            self.store.load(),
            self.limits,
            GRACE_US,
        )
        self.commands = Commands(self.scheduler, USERID)
        self.scheduler.start()

    def _observe(self, events: Sequence[Event], _: Queue) -> None:
        self.seen += events
        self.commands.look()

    def crash(self, *, executor: bool = False) -> None:
        """kill -9 of the scheduler (and its executor): what was not durable is gone. Not started again yet."""
        self.store = self.store.crash(self._sync)
        self.spool = self.spool.reopen(self._accepted)
        if executor:
            self.executor.kill()
        self.executor.disconnect()
        self.executor.holding, self.executor.held = False, []

    def restart(self, *, executor: bool = False) -> None:
        """Crash, and start again."""
        self.crash(executor=executor)
        self.boot()
        self.settle()

    # -- moving

    def turn(self) -> int | None:
        """One turn; so much later that a commit may be due."""
        self.clock.advance(10_000)
        return self.scheduler.turn()

    def commit(self) -> None:
        """What was handed over becomes durable, and the scheduler hears of it."""
        self.store.commit()
        self.turn()

    def advance(self, us: int = 0) -> None:
        """The executor goes on, and tells."""
        self.executor.advance(self.executor.now_us + us)

    def settle(self) -> None:
        """Go on until nothing moves by itself. The executor's time stands still."""
        for _ in range(200):
            before = self._state()
            self.turn()
            self.store.commit()
            self.turn()
            if not self.executor.holding:
                self.advance()
            if self._state() == before and self.scheduler.is_settled:
                return
        raise AssertionError("it never comes to rest")

    def _state(self) -> tuple[object, ...]:
        return (len(self.store.batches), self.scheduler.ledger.head, len(self.executor.orders), self.executor.running())

    # -- doing

    def drop(self, name: str = "", **keys: Any) -> None:
        """Drop a job file; the order of names is the order of ids."""
        text = json.dumps({"command": ["true"], **({"name": name} if name else {}), **keys})
        self.spool.files.drops[f"{len(self.spool.files.drops):06}-{name}.json"] = text
        self.scheduler.intake.more = True

    def add(self, *names: str, **keys: Any) -> None:
        """Drop jobs, and let everything settle."""
        for name in names:
            self.drop(name, **keys)
        self.settle()

    def ask(self, topic: str, **payload: Any) -> list[Any]:
        """Ask as a client does; what is answered comes into the list."""
        answers: list[Any] = []
        self.commands.run(f"job-manager.{topic}", payload, answers.append)
        return answers

    def edit(self, id_: int, **keys: Any) -> None:
        """Change a job's file, and have it looked at."""
        self.change_file(id_, **keys)
        self.scheduler.intake.look_at([id_])

    def change_file(self, id_: int, **keys: Any) -> None:
        """Change a job's file; nobody looks."""
        self.spool.files.jobs[id_] = json.dumps(json.loads(self.spool.files.jobs[id_]) | keys)

    def end(self, id_: int, status: int = 0) -> None:
        """A running job ends, and all settles."""
        self.executor.end(id_, status)
        self.advance()
        self.settle()

    # -- seeing

    @property
    def head(self) -> Queue:
        return self.scheduler.ledger.head

    @property
    def visible(self) -> Queue:
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


@pytest.fixture
def world() -> World:
    """One slot, four cores, three permits ahead, and no job yet."""
    return World()
