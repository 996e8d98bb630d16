"""Build a scheduler: connect the ports of `jqsched.scheduler` to their adapters.

In: a spool and its configuration. Out: a `Runtime`. Failures of adapters pass through.
Rule: only construction; no decision about jobs is made here.
"""

import gc
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from jqsched.adapters.config import Config, as_document
from jqsched.adapters.executors.local.client import LocalExecutor
from jqsched.adapters.spool import FileSpool, Known
from jqsched.adapters.spool.orphaned_output import outputs_near, unknown_text
from jqsched.adapters.store.elsewhere import note_store_folder
from jqsched.adapters.store.writer import SqliteStore, boot_id
from jqsched.core.event import Event
from jqsched.core.policy import Backfill, Limits
from jqsched.core.queue import Queue, elements, find, has_file
from jqsched.runtime.lock import SpoolLock
from jqsched.runtime.plugin_watchdog import PluginWatchdog
from jqsched.runtime.spool_identity import HOME, at_home
from jqsched.scheduler.commands import Commands, Payload, Reply
from jqsched.scheduler.loop import Dependencies, Observe, Scheduler

AHEAD = 32  # permits beyond the free slots: enough that no slot waits for a commit, few enough to be recalled at once


class Report(Protocol):
    """The output of a running scheduler: events and log messages."""

    def __call__(self, events: Sequence[Event], queue: Queue) -> None:
        """Show what has become durable."""

    def log(self, text: str) -> None:
        """Show a message."""

    def flush(self) -> None:
        """Write output that was held back, as far as that does not block. Called now and then."""

    def close(self) -> None:
        """Write what is left at the end."""


class WallClock:
    """The machine's clocks. Source: clock_gettime(2)."""

    def now_us(self) -> int:
        """Wall-clock time."""
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        """Time since boot, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def limits_of(config: Config) -> Limits:
    """Return the limits that a configuration sets on this machine."""
    usable = len(os.sched_getaffinity(0))
    max_running = config.max_running or usable
    cores = config.cores or max(usable, max_running)
    easy = Backfill(config.backfill_depth, round(config.grace_s * 1_000_000)) if config.backfill == "easy" else None
    return Limits(max_running, cores, ahead=AHEAD, interruptions_max=config.interruptions_max, backfill=easy)


class Runtime:
    """A scheduler and the parts that it was built of."""

    def __init__(
        self,
        root: str,
        store_folder: str,
        config: Config,
        report: Report,
        lock: SpoolLock,
        *,
        executor: bool,
        adopt: bool = False,
    ) -> None:
        self.root, self.report, self.config = root, report, config
        self.clock = WallClock()
        self.log = logging.getLogger(f"jqsched.{id(self)}")
        self.log.propagate = False
        self.log.addHandler(_ReportHandler(report))
        self.spool = FileSpool(root, self.log, self.clock, self._known, run_as_owner=config.run_as_owner)
        note_store_folder(root, store_folder)
        self.store = SqliteStore(store_folder, self.spool.sync, used_before=lock.used_before)
        if self.store.doubt:
            report.log(self.store.doubt)
        with _collector_at_rest():
            stored, home = self.store.load(), None
        unknown = outputs_near(root, stored.queue.last_id)
        if unknown:
            report.log(unknown_text(root, unknown))
        if executor:
            stored, home = at_home(stored, root, adopt=adopt)
        self.executor = LocalExecutor(root, report.log) if executor else None
        self.doorbell = Doorbell()
        self.observers: list[Observe] = [report]
        self.scheduler = Scheduler(
            Dependencies(
                store=self.store,
                spool=self.spool,
                executor=self.executor,
                clock=self.clock,
                wake=self.doorbell.ring,
                observe=self._observe,
                log=report.log,
                userid=os.geteuid(),
                boot_id=boot_id(),
                output_folder=os.path.join(os.path.abspath(root), "output"),
                is_finished=self.store.is_finished,
                request=self._request,
                plugins=config.plugins,
                plugin_folder=os.path.abspath(root),
                on_plugin_load=PluginWatchdog(report.log).watch,
            ),
            stored,
            limits_of(config),
            round(config.grace_s * 1_000_000),
        )
        if home is not None:
            self.scheduler.ledger.setting(HOME, home)
        self.scheduler.intake.queue_max = config.queue_max
        self.scheduler.housekeeping.keep_finished = config.keep_finished
        self.attempts = {attempt.id for attempt in stored.attempts}
        self.commands = Commands(self.scheduler, os.geteuid())
        self.scheduler.jobtap.config = as_document(config)

    def configure(self, config: Config) -> None:
        """Apply another configuration."""
        self.config = config
        self.scheduler.intake.queue_max = config.queue_max
        self.scheduler.housekeeping.keep_finished = config.keep_finished
        self.scheduler.set_limits(limits_of(config), round(config.grace_s * 1_000_000))
        self.scheduler.jobtap.configure(as_document(config))

    def _known(self, id_: int) -> Known | None:
        ledger = self.scheduler.ledger
        if not has_file(ledger.head, id_):
            return None
        progress = ledger.head.arrays.get(id_)
        job = find(ledger.head, id_) if progress is None else next(elements(ledger.head, progress.array))
        assert job is not None, "a job file that is known is that of a live job"
        # Another user's, where there can be one: only root runs jobs, and owns files, of other users.
        owner = job.userid if os.geteuid() == 0 and job.userid != 0 else None
        return Known(job.spec.name, ledger.file_text(id_) or self.store.file(id_), owner)

    def _request(self, topic: str, payload: Payload, reply: Reply) -> None:
        self.commands.run(topic, payload, reply)

    def _observe(self, events: Sequence[Event], queue: Queue) -> None:
        for observer in self.observers:
            observer(events, queue)
        self.commands.look()

    def close(self) -> None:
        self.store.close()
        if self.executor is not None:
            self.executor.close()
        self.spool.close()
        self.doorbell.close()


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Build something large and lasting without the cyclic garbage collector.

    What was built is exempt from then on, and the collector runs less often: the values of the queue make no cycles,
    so it would walk them again and again and find nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        gc.enable()


class _ReportHandler(logging.Handler):
    """Passes log records to the report."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report.log(record.getMessage())


class Doorbell:
    """Wakes the selector from any thread; rung many times, it wakes once."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._near.fileno()

    def ring(self) -> None:
        """Wake the loop. Any thread, signal handlers too."""
        if not self._rung:
            self._rung = True
            self._far.send(b"!")

    def silence(self) -> None:
        """Clear the wake-up; the next `ring` wakes the loop again."""
        with suppress(BlockingIOError):
            self._near.recv(64)
        # Last: a ring before this is not lost, for the next turn looks at everything; one whose byte was
        # read here with the flag still set would silence all later ones.
        self._rung = False

    def close(self) -> None:
        """Close both ends."""
        self._near.close()
        self._far.close()
