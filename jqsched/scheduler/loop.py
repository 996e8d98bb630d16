"""The scheduler's loop: turn after turn on one thread, news in, decisions, batches out.

In: news of the executor, job files, commands, timers. Out: batches for the store, orders for the executor; `turn`
returns when the next turn is due.
Rule: a turn takes in what has come, lets the core decide, makes one scheduling pass and hands a batch to the store. It
blocks only where a port says so. Other threads reach it through `post` alone. Failures of ports end it as `PortError`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from errno import EBUSY
from itertools import islice

from attrs import define, evolve

from jqsched.core import backfill, decide, explain, policy
from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.ports import PLUGGED, Batch, Clock, Executor, News, PortError, Spool, Store, Stored, files_over
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.housekeeping import Housekeeping
from jqsched.scheduler.intake import Intake
from jqsched.scheduler.ledger import Ledger
from jqsched.scheduler.plugin_registry import Registry
from jqsched.scheduler.plugin_service import Jobtap, Request
from jqsched.scheduler.rulebook import Rulebook

# A commit costs CPU as well as time: where no client waits, this much time may pass between two.
COMMIT_SPACING_US = 5_000
AHEAD_TIMES_LONG_LOG = 4  # so many times the permits ahead where commits are far apart
DRAINED = "drained"
LEFT_OVER_MOST = 20

Observe = Callable[[Sequence[Event], Queue], None]
Task = Callable[[], None]


@define
class Dependencies:
    """The ports and settings that a scheduler is built with; `on_plugin_load`: see `Registry`."""

    store: Store
    spool: Spool
    executor: Executor | None
    clock: Clock
    wake: Callable[[], None]
    observe: Observe
    log: Callable[[str], None]
    userid: int
    boot_id: str
    output_folder: str
    is_finished: Callable[[int], bool]
    request: Request  # carries out what a plugin asks for as a user may
    plugins: tuple[str, ...] = ()
    plugin_folder: str = "."
    on_plugin_load: Callable[[Registry], None] = lambda _: None


class Scheduler:
    """The scheduler of one spool: decides on the loop's thread, and is read through `visible` from anywhere."""

    def __init__(self, around: Dependencies, stored: Stored, limits: Limits, grace_us: int) -> None:
        self.around = around
        self.drained = stored.settings.get(DRAINED) == "1"
        self.finished_count = around.store.finished_count()
        self._stored, self._limits, self._grace_us = stored, limits, grace_us
        self._tasks: deque[Task] = deque()
        self._last_flush_us = 0
        self._stopping = self._is_log_full = self._is_log_long = False
        self.accepts = True  # False: plugins would have a say in it, and there is no executor, so none are loaded
        self.ledger = Ledger(around.store, stored.queue, self._observe, self._show_to_plugins)
        self.dispatch = Dispatch(
            self.ledger,
            around.executor,
            around.clock,
            evolve(limits, draining=self.drained),
            around.boot_id,
            around.output_folder,
            around.userid,
            is_held=self._is_held,
            attempt_over=self._attempt_over,
        )
        self.intake = Intake(
            self.ledger,
            self.dispatch,
            around.spool,
            around.store,
            around.clock,
            around.userid,
            around.log,
            self._rejections,
        )
        self.rulebook = Rulebook(self.ledger, self.dispatch, lambda: self.intake.next_id)
        self.jobtap = Jobtap(
            self.ledger,
            self.dispatch,
            around.clock,
            around.userid,
            around.log,
            self.post,
            around.plugin_folder,
            around.request,
            around.on_plugin_load,
            self._apply_limits,
        )
        self.housekeeping = Housekeeping(self.ledger, around.store, around.clock, stored.settings, self.jobtap.purged)

    # -- from other threads

    def post(self, task: Task) -> None:
        """Queue a call for the loop's next turn. From any thread."""
        self._tasks.append(task)
        self.around.wake()

    def deliver_durable(self, outcome: int | PortError) -> None:
        """Take the store's report that batches are durable. Called on the store's thread."""

        def take_in() -> None:
            if isinstance(outcome, PortError):
                raise outcome
            self.ledger.durable(outcome)

        self.post(take_in)

    # -- lifecycle

    def start(self) -> None:
        """Load the store, take the files that were moved but not accepted, and find the state of every attempt.

        Without an executor plugins are not loaded, so where there are any nothing is accepted. Raises PortError when
        the executor cannot be had.
        """
        self.around.store.start(self.deliver_durable)
        was_plugged = self._stored.settings.get(PLUGGED) == "1"
        if self.around.executor is None:  # what runs, or may, is left to the next scheduler, and so are its files
            self.accepts = not (self.around.plugins or was_plugged)
            self.intake.unverified.difference_update(attempt.id for attempt in self._stored.attempts)
        if self.accepts:
            self.jobtap.start(self.around.plugins, self._stored.attempts, was_plugged=was_plugged)
            self.intake.resolve_missing_antecedents()
            self.intake.leftovers(self.around.is_finished, self._stored.queue)
        if self.around.executor is not None:
            self.around.executor.limit(self._limits.max_running, self._limits.cores, self._grace_us)
            self.dispatch.recover(self._stored.attempts, self.deliver_news)
            self.around.executor.limit(self._limits.max_running, self._limits.cores, self._grace_us)
            self.dispatch.end_infeasible()  # cores and rules may have changed since these jobs were accepted

    def deliver_news(self, news: Sequence[News]) -> None:
        """Apply the executor's news. On the loop's thread."""
        self.dispatch.news(news)

    def turn(self) -> int | None:
        """Make one turn. Returns the time (monotonic, microseconds) at which the next is due, None if nothing is."""
        self.do_tasks()
        self.jobtap.fire()
        self._replace_executor()
        if not self._stopping:
            self._bring_in()
            self._verify()
            self.housekeeping.step()
        self.dispatch.schedule()
        return self._flush()

    def do_tasks(self) -> None:
        """Do what other threads have posted."""
        while self._tasks:
            self._tasks.popleft()()

    def _bring_in(self) -> None:
        now_us = self.around.clock.monotonic_us()
        again_us = self.intake.again_us
        wants_in = self.intake.more or (again_us is not None and again_us <= now_us)
        if wants_in and self.accepts and not self.ledger.is_busy:
            self.intake.step()
        head, wall_us = self.ledger.head, self.around.clock.now_us()
        timer_us = policy.next_timer_us(head)
        if timer_us is not None and timer_us <= wall_us:
            self.dispatch.take(decide.release_due_jobs)

    def _verify(self) -> None:
        """Check job files after a start: first those of the jobs that would start next, then some of the others."""
        unverified = self.intake.unverified
        now_us = self.around.clock.now_us()
        while unverified and (first := unverified.intersection(self._next(now_us))):
            self.intake.verify(sorted(first))
        if unverified and not self.ledger.is_busy:
            self.intake.verify_some()

    def _next(self, now_us: int) -> tuple[int, ...]:
        """Return the ids of the job files of which the next pass would start a job."""
        head = self.ledger.head
        ids = backfill.choose(head, self.dispatch.limits, now_us).ids
        return tuple(queues.file_of(head.enqueued[id_]) for id_ in ids) if head.arrays else ids

    def _replace_executor(self) -> None:
        if self.dispatch.executor_lost is not None and not self._stopping:
            self.around.log(f"the executor is gone ({self.dispatch.executor_lost}): starting another")
            self.dispatch.reconnect(self.deliver_news)
            self._apply_limits()

    def _flush(self) -> int | None:
        now_us = self.around.clock.monotonic_us()
        due_us = self._last_flush_us + max(COMMIT_SPACING_US, self.around.store.spacing_us)
        if self.ledger.has_more and not self.ledger.is_busy:
            if self.ledger.urgent or self.ledger.is_full or now_us >= due_us or self._stopping:
                self._last_flush_us = now_us
                self.ledger.flush()
            else:
                return min(due_us, self._next_due_us(now_us) or due_us)
        return self._next_due_us(now_us)

    def _next_due_us(self, now_us: int) -> int | None:
        due: list[int] = []
        may_take = not self.ledger.is_busy and not self._stopping
        has_room = may_take and self.accepts and not self.intake.is_full
        if (may_take and (self.intake.unverified or self.housekeeping.is_due)) or (has_room and self.intake.more):
            due.append(now_us)
        if has_room and self.intake.again_us is not None:  # else there will be a turn when that has changed
            due.append(self.intake.again_us)
        timer_us = policy.next_timer_us(self.ledger.head)
        if timer_us is not None:
            due.append(now_us + max(0, timer_us - self.around.clock.now_us()))
        if self.jobtap.next_due_us is not None:
            due.append(self.jobtap.next_due_us)
        return min(due, default=None)

    def stop(self) -> None:
        """Stop: recall all permits and make all decisions durable; running jobs run on."""
        if not self._stopping:
            self._stopping = True
            self.housekeeping.abandon(OSError(EBUSY, "the scheduler ends: some of the jobs are still there"))
            self._apply_limits()

    @property
    def is_settled(self) -> bool:
        """Whether all decisions are durable, and their effects carried out."""
        return self.ledger.is_idle and not self._tasks

    @property
    def is_stopped(self) -> bool:
        """Whether, after `stop`, no job can start any more and all decisions are durable."""
        none_out = not self.dispatch.at_executor or self.dispatch.executor_lost is not None
        return self._stopping and none_out and self.is_settled

    @property
    def is_idle(self) -> bool:
        """Whether no job runs, and none can start without a command or a new file."""
        head = self.ledger.head
        nothing_runs = not head.running and not head.manipulated and not head.permits
        may_start = policy.first_candidate(head) is not None and not self.drained
        awaited = self.intake.more or self.intake.again_us is not None or head.timers is not None
        return self.is_settled and nothing_runs and not may_start and not awaited and self.housekeeping.is_idle

    # -- limits

    def _present_limits(self) -> Limits:
        draining = self.drained or self._stopping or self._is_log_full
        if not self.jobtap.is_plugged:
            ahead = self._limits.ahead * (AHEAD_TIMES_LONG_LOG if self._is_log_long else 1)
            return evolve(self._limits, draining=draining, ahead=ahead)
        # No permits ahead: plugins have something to do with a job that is about to start.
        return evolve(self._limits, draining=draining, plugged=True, ahead=0)

    def set_limits(self, limits: Limits, grace_us: int) -> None:
        """Set the limits."""
        self._limits, self._grace_us = limits, grace_us
        self._apply_limits()

    def set_drained(self, drained: bool) -> None:
        """Stop new starts, or allow them again; survives a restart."""
        self.drained = drained
        self.ledger.setting(DRAINED, "1" if drained else "0")
        self._apply_limits()

    def _apply_limits(self) -> None:
        self.dispatch.set_limits(self._present_limits(), self._grace_us)

    # -- the store

    def look_at_store(self) -> None:
        """Check that the store is still there, what is to be purged, and how long its log is. Called now and then.

        Raises PortError when it is gone.
        """
        store = self.around.store
        store.check()
        self.housekeeping.look(self.finished_count)
        log = (store.spacing_us > 0, store.is_log_full)
        if log != (self._is_log_long, self._is_log_full):
            self._is_log_long, self._is_log_full = log
            self.intake.is_held_up = self._is_log_full
            self._apply_limits()

    # -- after a commit

    def _observe(self, batch: Batch) -> None:
        over = sum(event.name == "clean" for event in batch.events)
        if over:
            self.finished_count += over
            self.around.spool.remove(files_over(batch))
        self.around.observe(batch.events, batch.queue)

    # -- what plugins have to do with decisions

    def _show_to_plugins(self, events: Sequence[Event]) -> None:
        self.jobtap.follow(events)

    def _is_held(self, id_: int) -> bool:
        return self.jobtap.is_held(id_)

    def _attempt_over(self, id_: int) -> None:
        self.jobtap.attempt_over(id_)

    def _rejections(self) -> dict[int, str]:
        return self.jobtap.rejections()

    # -- at the end

    def left_over(self) -> Iterable[str]:
        """Return a line for each queued job that says why it does not run; for very many jobs only the first."""
        head = self.ledger.head
        snapshot = explain.take_snapshot(head, self._present_limits(), self.around.clock.now_us())
        for job in islice(queues.live(head), LEFT_OVER_MOST):
            why = ", ".join(explain.reasons(snapshot, job)) or job.state.name.lower()
            yield f"job {job.id} ({job.spec.name}): {why}"
        more = len(head.enqueued) + len(head.running) - LEFT_OVER_MOST
        if more > 0:
            yield f"and {more} more"
