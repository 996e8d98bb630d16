"""The daemon: a scheduler in its selector loop, with executor, socket, followers, signals and scans around it.

Rule: one thread turns; the watcher's and the store's threads only post. Nothing here decides about jobs.
"""

import errno
import os
import selectors
import signal
import time
from collections.abc import Sequence
from types import FrameType

from attrs import asdict

from jqsched.adapters.config import config_signature
from jqsched.adapters.jobfile import BadFile
from jqsched.adapters.server import Request, Server
from jqsched.adapters.watcher import FolderWatcher
from jqsched.core.event import Event
from jqsched.core.json import Json
from jqsched.core.queue import Queue
from jqsched.ports import PortError
from jqsched.runtime.build import Report, Runtime, limits_of
from jqsched.runtime.configuration import RunOptions, configuration, good_configuration
from jqsched.runtime.lock import Role, past_commands, spool_lock
from jqsched.runtime.notifier import Notifier
from jqsched.runtime.service_manager import ServiceManager
from jqsched.scheduler.commands import Payload

SCAN_JOBS = 2_000  # job files looked at in one go: a few milliseconds
SCAN_PAUSE_US = 100_000


def run_daemon(options: RunOptions, report: Report) -> int:
    """Run the scheduler of a spool until it is told to end, or is idle. Returns the exit code.

    Raises: SpoolInUse, SpoolRefused, StoreRefused, PortError.
    """
    root = os.path.abspath(options.spool)
    _make_spool(root)
    with spool_lock(root, Role.SCHEDULER, past_commands(report.log)) as lock:
        config = good_configuration(root, options)
        built = Runtime(root, options.store or root, config, report, lock, executor=True, adopt=options.adopt)
        daemon = _Daemon(built, options)
        lock.mark_used()
        last_word = "the scheduler ended before it answered"
        try:
            return daemon.run()
        except Exception as error:  # whatever it is, it ends the scheduler, and is raised again
            last_word += f": {error}"
            raise
        finally:
            daemon.close(last_word)


def _make_spool(root: str) -> None:
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise PortError("make the spool", root, error.errno, error.strerror or str(error)) from error


class _Daemon:
    """The selector loop around a scheduler: executor, socket, followers, signals, timers."""

    def __init__(self, built: Runtime, options: RunOptions) -> None:
        self._built, self._options, self._root = built, options, built.root
        self._scheduler = built.scheduler
        self._selector = selectors.DefaultSelector()
        self._selector.register(built.doorbell, selectors.EVENT_READ, lambda _: built.doorbell.silence())
        self._registered: tuple[int, int] = (-1, 0)
        self._server = Server(built.root, self._handle, self._selector, built.report.log)
        self._notifier = Notifier(built.clock)
        self._service_manager = ServiceManager(os.environ)
        self._warnings: list[str] = []
        self._store_warnings: list[str] = []
        self._since_us = built.clock.now_us()
        self._signaled = 0
        self._edited: set[int] = set()
        self._config_path = os.path.join(built.root, "jqsched.toml")
        self._config_sign: object = None  # the first scan reads it: it may have changed since the start
        self._watcher = FolderWatcher(
            built.root,
            self._ring_drop,
            self._ring_jobs,
            self._ring_config,
            self._ring_shared,
            built.log,
        )
        self._next_scan_us = 0
        built.observers.append(self._ring_followers)

    # -- wake-ups, from the watcher's thread

    def _ring_drop(self, name: str | None, settled: bool) -> None:
        self._built.spool.ring(name, settled)
        self._scheduler.post(self._more_drops)

    def _ring_shared(self, name: str | None, settled: bool) -> None:
        self._built.spool.ring_shared(name, settled)
        self._scheduler.post(self._more_drops)

    def _more_drops(self) -> None:
        self._scheduler.intake.more = True

    def _ring_jobs(self, id_: int | None, written: bool) -> None:
        if id_ is None:
            self._scheduler.post(self._scan_soon)
        elif not self._built.spool.own_change(id_) or (written and self._built.spool.is_stray(id_)):
            self._scheduler.post(lambda: self._edited.add(id_))

    def _plugin_files(self) -> set[str]:
        return {os.path.basename(plugin) for plugin in self._built.config.plugins}

    def _scan_soon(self) -> None:
        self._next_scan_us = 0

    def _ring_config(self) -> None:
        self._scheduler.post(self._reload)

    # -- life

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._watcher.start()
        self._built.report((), self._scheduler.ledger.head)  # the names of those that are there already
        self._scheduler.start()
        self._service_manager.ready()
        while True:
            if self._signaled:
                self._service_manager.stopping()
                self._scheduler.stop()  # before the turn, which recalls permits
            due_us = self._turn()
            if self._is_over():
                return 0
            self._wait(due_us)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._signaled and number == signal.SIGINT:
            os._exit(130)  # the second Ctrl-C ends at once: jobs run on, and the store is safe at any moment
        self._signaled = number
        self._built.doorbell.ring()

    def _is_over(self) -> bool:
        if self._signaled:
            return self._scheduler.is_stopped
        if self._options.exit_when_idle and self._scheduler.is_idle and not self._edited:
            for line in self._scheduler.left_over():
                self._built.report.log(f"left in the queue: {line}")
            return True
        return False

    def _turn(self) -> int | None:
        self._scheduler.do_tasks()  # first: the wake-ups for edits are among them
        now_us = self._built.clock.monotonic_us()
        if now_us >= self._next_scan_us:
            self._scan(now_us)
        self._look_at_edits()
        due_us = self._scheduler.turn()
        return min(self._next_scan_us, due_us) if due_us is not None else self._next_scan_us

    def _scan(self, now_us: int) -> None:
        """Scan for what the watcher may have missed: the drop zone, and a part of the job files."""
        self._next_scan_us = now_us + round(self._built.config.scan_s * 1_000_000)
        self._built.report.flush()
        self._built.spool.check_alive()
        self._watcher.ensure()
        self._server.ensure()
        self._built.spool.ring()
        self._more_drops()
        for line in self._built.spool.fresh_remarks(self._plugin_files()):
            self._built.report.log(line)
        self._look_at_store()
        if (sign := config_signature(self._config_path)) != self._config_sign:
            self._config_sign = sign
            self._reload()
        self._edited.update(self._built.spool.scan_jobs(SCAN_JOBS))
        if self._built.spool.is_scanning_jobs:
            self._next_scan_us = now_us + SCAN_PAUSE_US

    def _look_at_store(self) -> None:
        self._scheduler.look_at_store()
        warnings = self._built.store.warnings()
        about = {warning.partition(":")[0] for warning in self._store_warnings}
        for warning in warnings:
            if warning.partition(":")[0] not in about:  # once for each, though the figures change
                self._built.report.log(warning)
        self._store_warnings = warnings

    def _look_at_edits(self) -> None:
        again_us = self._built.spool.edits_again_us
        if self._edited or (again_us is not None and again_us <= self._built.clock.monotonic_us()):
            edited, self._edited = sorted(self._edited), set()
            self._scheduler.intake.look_at(edited)

    def _wait(self, due_us: int | None) -> None:
        look_s = self._look_at_executor()
        self._watch_executor()
        again_us = self._built.spool.edits_again_us
        now_us = self._built.clock.monotonic_us()
        self._service_manager.keep_alive(now_us)
        dues_us = (due_us, again_us, self._notifier.due_us, self._service_manager.due_us)
        times = [time_us for time_us in dues_us if time_us is not None]
        timeout_s = max(0.0, (min(times) - now_us) / 1_000_000) if times else None
        if look_s is not None:
            left_s = max(0.0, look_s - time.monotonic())
            timeout_s = left_s if timeout_s is None else min(timeout_s, left_s)
        for key, mask in self._selector.select(timeout_s):
            key.data(mask)
        self._notifier.notify_due()

    def _look_at_executor(self) -> float | None:
        """See whether the executor answers; returns when to look again."""
        executor = self._built.executor
        assert executor is not None
        return executor.look(time.monotonic())

    def _watch_executor(self) -> None:
        """Keep the executor's descriptor registered as it comes, goes and wants to write."""
        executor = self._built.executor
        assert executor is not None
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if executor.wants_write else 0)
        wanted = (executor.fileno(), events)
        if wanted == self._registered:
            return
        if self._registered[0] >= 0:
            self._selector.unregister(self._registered[0])
        if wanted[0] >= 0:
            self._selector.register(wanted[0], events, self._on_executor)
        self._registered = wanted

    def _on_executor(self, mask: int) -> None:
        executor = self._built.executor
        assert executor is not None
        if mask & selectors.EVENT_WRITE:
            executor.on_writable()
        if mask & selectors.EVENT_READ:
            executor.on_readable()
        # At once: a lost executor's descriptor is closed, and the next one's may have the same number.
        self._watch_executor()

    # -- configuration

    def _reload(self) -> None:
        config = configuration(self._root, self._options)
        if isinstance(config, BadFile):
            self._warnings = [f"jqsched.toml: {error}" for error in config.errors]
            for warning in self._warnings:
                self._built.report.log(f"{warning} (the last good values hold)")
            return
        self._warnings = []
        if config != self._built.config:
            self._built.configure(config)
            self._built.report.log("configuration reloaded")

    # -- the socket

    def _handle(self, request: Request) -> None:
        if request.topic == "job-manager.status":
            request.respond(self._status())
        elif request.topic == "job-manager.bell":
            self._follow(request)
        else:
            self._command(request)

    def _command(self, request: Request) -> None:
        def reply(answer: Payload | OSError) -> None:
            if isinstance(answer, OSError):
                request.respond_error(answer.errno or errno.EIO, answer.strerror or str(answer))
            else:
                request.respond(answer)

        request.on_close = lambda: self._built.commands.abandon(reply)
        self._built.commands.run(request.topic, request.payload, reply)

    def _follow(self, request: Request) -> None:
        number = self._notifier.add(request, self._scheduler.ledger.visible.get().seq)
        request.on_close = lambda: self._notifier.remove(number)

    def _ring_followers(self, _: Sequence[Event], queue: Queue) -> None:
        """Notify followers after each commit, also one without events, which may have changed rules."""
        self._notifier.notify(queue.seq)

    def _status(self) -> dict[str, Json]:
        limits = limits_of(self._built.config)
        return {
            "pid": os.getpid(),
            "since_us": self._since_us,
            "max_running": limits.max_running,
            "cores": limits.cores,
            "backfill": asdict(limits.backfill) if limits.backfill is not None else None,
            "running": self._scheduler.ledger.visible.get().busy,
            "drained": self._scheduler.drained,
            "stalled": self._stalled(),
            "starting": self._starting(),
            "log_full": self._scheduler.intake.is_held_up,
            "warnings": [
                *self._warnings,
                *self._built.store.warnings(),
                *self._full(),
                *self._built.spool.remarks(self._plugin_files()),
            ],
        }

    def _stalled(self) -> str:
        """Return a message if the executor does not answer, so that no job starts or ends; else an empty text."""
        assert self._built.executor is not None
        return self._built.executor.silence

    def _starting(self) -> list[Json]:
        """List the jobs whose processes take long to become their programs, and what they do instead."""
        slow = sorted(self._scheduler.dispatch.slow_starts.values(), key=lambda start: start.id)
        return [{"id": start.id, "step": start.step, "since": start.since_us / 1_000_000} for start in slow]

    def _full(self) -> list[str]:
        if not self._scheduler.intake.is_full or self._scheduler.intake.is_held_up:
            return []
        return [f"the queue is full (queue_max = {self._built.config.queue_max}): dropped files wait in the drop zone"]

    def close(self, last_word: str) -> None:
        self._watcher.stop()
        self._server.close(last_word)
        self._built.close()
        self._built.report.close()
        self._selector.close()
