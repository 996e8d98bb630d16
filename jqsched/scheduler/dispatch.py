"""Dispatch: permits and orders out to the executor, news of processes in.

Rule: an order leaves only when its permit is durable, and never for a job that was changed meanwhile; a change of a
permitted job waits until the executor has given the permit back or the job has started (law 5). News are repeatable.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count

from attrs import evolve

from jqsched.core import decide, policy
from jqsched.core import queue as queues
from jqsched.core.backfill import Settled
from jqsched.core.filters import Rules
from jqsched.core.fold import Answer, Effect, EndHopeless, SetTimeLimit, Step, Stop
from jqsched.core.job import Job, State, output_paths
from jqsched.core.jobspec.arrays import with_place
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find
from jqsched.ports import (
    Attempt,
    Clock,
    Executor,
    ExecutorLost,
    Expired,
    Finished,
    News,
    Recovery,
    Start,
    Started,
    Starting,
    Withdrawn,
)
from jqsched.scheduler.ledger import Ledger

Apply = Callable[[Queue, Limits, int], Step]
Answered = Callable[[Answer | None], None]
Unsent = tuple[int, int]  # a job's id, and the number of the permit whose order is to leave

# So many orders may wait unstarted at the executor before a permit is no longer urgent: at least this, and a part of
# the permits ahead, for a commit that gives more of them takes longer.
_LOW_WATER, _LOW_WATER_PART = 2, 16

GONE = "the executor went away under it, and its exit status with it"
NEVER_SEEN = "it was allowed to start, and nothing is known of it since"


class Dispatch:
    """The scheduler's side of the executor: sends permits and orders to it, and applies its news to the queue."""

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor | None,
        clock: Clock,
        limits: Limits,
        boot_id: str,
        output_folder: str,
        userid: int,
        is_held: Callable[[int], bool],
        attempt_over: Callable[[int], None],
    ) -> None:
        """For plugins: `is_held`, whether an order must wait; `attempt_over`, called when an attempt has no process."""
        self.limits = limits
        self.executor_lost: str | None = None
        self.slow_starts: dict[int, Starting] = {}  # of jobs whose process has not become its program yet
        self._ledger, self._executor, self._clock = ledger, executor, clock
        self._boot_id, self._output_folder, self._userid = boot_id, output_folder, userid
        self._attempts: dict[int, Attempt] = {}
        self._ending: dict[tuple[int, int], Attempt] = {}
        self._unsent: dict[int, int] = {}
        self._numbers = count(1)
        self._changes: dict[int, list[tuple[Apply, Answered]]] = {}
        self._resend: list[Unsent] = []
        self._settled: Settled | None = None
        self._is_held, self._attempt_over = is_held, attempt_over

    # -- changes of jobs

    def change(self, id_: int, apply: Apply, answered: Answered) -> None:
        """Change a job, at once or when the executor has given it back; `answered` is called when decided."""
        if id_ in self._changes:
            self._changes[id_].append((apply, answered))
            return
        if id_ in self._unsent and id_ in self._ledger.head.permits:
            self._take_back(id_)
        permit = self._ledger.head.permits.get(id_)
        if permit is None:
            self._apply_change(apply, answered)
            return
        claimed = queues.claim(self._ledger.head, id_)
        assert claimed is not None
        self._ledger.head = claimed[0]
        self._changes[id_] = [(apply, answered)]
        if not permit.recalled and self._executor is not None:
            self._executor.withdraw([(id_, permit.attempt)])

    def _apply_change(self, apply: Apply, answered: Answered) -> None:
        step = self.take(apply)
        answered(step.answer)

    def _finish_changes(self, id_: int) -> None:
        """Make the changes that waited for the executor's answer, and release the job to where it belongs."""
        changes = self._changes.pop(id_, ())
        for apply, answered in changes:
            self._apply_change(apply, answered)
        if changes:
            self._ledger.head = queues.release(self._ledger.head, id_)

    def take(self, apply: Apply) -> Step:
        """Apply a decision to the head, and carry out its effects when they are durable."""
        step = apply(self._ledger.head, self.limits, self._clock.now_us())
        self._ledger.apply(step)
        if step.effects:
            self._ledger.after(lambda: self._perform(step.effects), urgent=True)
        return step

    def _perform(self, effects: Iterable[Effect]) -> None:
        if self._executor is None:
            return
        for effect in effects:
            match effect:
                case Stop(id_, attempt):
                    self._stop(id_, attempt)
                case SetTimeLimit(id_, attempt, time_limit_us):
                    self._executor.set_time_limit(id_, attempt, time_limit_us)
                case EndHopeless(ids):
                    for id_ in ids:
                        self.change(id_, partial(_end_if_infeasible, id_), lambda _: None)

    def _stop(self, id_: int, attempt: int) -> None:
        job = find(self._ledger.head, id_)
        if job is None or job.attempt != attempt or self._executor is None:
            return
        if job.started:
            self._executor.stop(id_, attempt)
        elif id_ not in self._unsent:
            self._executor.withdraw([(id_, attempt)])

    # -- starting

    def schedule(self) -> None:
        """Make one scheduling pass; orders leave when their permits are durable."""
        if self._executor is None or self.executor_lost is not None:
            return
        decided = decide.schedule(self._ledger.head, self.limits, self._clock.now_us(), self._settled)
        self._settled = decided.settled
        if not decided.permits and not decided.recalled:
            return
        for id_ in decided.permits:  # first: a plugin that is shown the events may end the job
            job = find(decided.queue, id_)
            assert job is not None
            self._remember(Attempt(id_, job.attempt, boot_id=self._boot_id))
        unsent = self._note_unsent(decided.permits)
        self._ledger.post(decided.queue, decided.events)
        at_executor = [id_ for id_ in decided.recalled if id_ not in self._unsent]
        for id_ in set(decided.recalled).difference(at_executor):
            self._take_back(id_)
        if at_executor:  # at once: it needs no commit, and a change that comes before one relies on it
            permits = self._ledger.head.permits
            self._executor.withdraw([(id_, permits[id_].attempt) for id_ in at_executor])
        if decided.permits:
            waiting = len(self._ledger.head.permits) + self._ledger.head.busy - self.limits.max_running
            short = waiting - len(decided.permits) < max(_LOW_WATER, self.limits.ahead // _LOW_WATER_PART)
            self._ledger.after(lambda: self._order(unsent), urgent=short)

    def _note_unsent(self, ids: Iterable[int]) -> list[Unsent]:
        """Number these permits: a job may lose its permit and get another before an order for the first one left."""
        unsent = [(id_, next(self._numbers)) for id_ in ids]
        self._unsent.update(unsent)
        return unsent

    def _remember(self, attempt: Attempt) -> None:
        self._attempts[attempt.id] = attempt
        self._ledger.record(attempt)

    def _forget(self, id_: int, attempt: int) -> None:
        known = self._attempts.get(id_)
        if known is not None and known.attempt == attempt:
            del self._attempts[id_]
            self.slow_starts.pop(id_, None)
        self._ledger.forget(id_, attempt)

    def _take_back(self, id_: int) -> None:
        """Drop a permit whose order has not left yet."""
        self._unsent.pop(id_, None)
        attempt = self._ledger.head.permits[id_].attempt
        self._ledger.head = queues.withdraw(self._ledger.head, id_)
        self._forget(id_, attempt)

    def _order(self, unsent: Iterable[Unsent]) -> None:
        """Send the orders of permits that are durable now and still hold."""
        if self.executor_lost is not None:
            self._resend += unsent
            return
        orders: list[Start] = []
        for id_, number in unsent:
            if self._unsent.get(id_) != number or self._is_held(id_):
                continue
            del self._unsent[id_]
            job = find(self._ledger.head, id_)
            if job is None:
                continue
            if id_ in self._ledger.head.permits or (job.state is State.RUN and not job.requeuing):
                orders.append(self._start_order(job))
            else:  # allocated, and ended before it was started
                self._never_started(job)
        if orders and self._executor is not None:
            self._executor.start(orders)

    def _start_order(self, job: Job) -> Start:
        output, error = output_paths(job.spec, job.id, self._output_folder, job.attempt)
        return Start(job.id, job.attempt, with_place(job.spec), output, error, self._other(job))

    def _other(self, job: Job) -> int | None:
        """Whose job it is; None: the scheduler's own user's."""
        return None if job.userid == self._userid else job.userid

    def _never_started(self, job: Job) -> None:
        """End or requeue, as was asked, a job that was allocated and stopped before its attempt started."""
        self._forget(job.id, job.attempt)
        self.take(lambda queue, limits, now_us: decide.interrupted(queue, job.id, job.attempt, limits, now_us))
        self._attempt_over(job.id)

    # -- news

    def news(self, news: Sequence[News]) -> None:
        """Apply news of the executor to the queue."""
        for item in news:
            if not isinstance(item, ExecutorLost) and self._is_late(item):
                self._take_late(item)
                continue
            match item:
                case Started():
                    self._started(item)
                case Starting(id_, _, step):
                    self.slow_starts[id_] = item
                    if not step:  # it has started, after all
                        del self.slow_starts[id_]
                case Finished():
                    self._finished(item)
                case Withdrawn(id_, attempt):
                    self._withdrawn(id_, attempt)
                case Expired(id_, attempt):
                    self._expired(id_, attempt)
                case ExecutorLost(reason):
                    self.executor_lost = reason
                    self.slow_starts.clear()  # such a process dies with its executor

    def _is_late(self, item: Started | Starting | Finished | Withdrawn | Expired) -> bool:
        """Whether this news is about an earlier attempt than the job's present one: executors repeat news of ends."""
        job = find(self._ledger.head, item.id)
        return job is not None and job.attempt != item.attempt

    def _take_late(self, item: News) -> None:
        """Forget and acknowledge an earlier attempt that ended; the job's present attempt is not affected."""
        if isinstance(item, Finished):
            self._forget(item.id, item.attempt)
            self._ledger.after(lambda: self._acknowledge(item.id, item.attempt))

    def _started(self, item: Started) -> None:
        self._unsent.pop(item.id, None)
        self.take(lambda *at: decide.started(at[0], item.id, item.attempt, *at[1:], start_us=item.start_us))
        if find(self._ledger.head, item.id) is not None:
            known = self._attempts.get(item.id) or Attempt(item.id, item.attempt, boot_id=self._boot_id)
            self._remember(evolve(known, attempt=item.attempt, pid=item.pid, start_ticks=item.start_ticks))
        self._finish_changes(item.id)

    def _finished(self, item: Finished) -> None:
        def ended(queue: Queue, limits: Limits, now_us: int) -> Step:
            if item.status is None and item.error is not None:
                return decide.put_off(queue, item.id, item.attempt, item.error, limits, now_us)
            if item.status is None:
                job = find(queue, item.id)
                note = GONE if job is not None and job.started else NEVER_SEEN
                return decide.interrupted(queue, item.id, item.attempt, limits, now_us, note=note, counts=counts)
            times = {"start_us": item.start_us, "end_us": item.end_us}
            return decide.finished(queue, item.id, item.attempt, item.status, limits, now_us, error=item.error, **times)

        known = self._attempts.get(item.id)
        # An attempt that took the machine down, not the executor alone, counts: such a job must not run for ever.
        counts = known is None or known.boot_id != self._boot_id
        if known is not None and known.attempt == item.attempt:
            self._ending[item.id, item.attempt] = known
        self._forget(item.id, item.attempt)
        if self.limits.plugged and item.status is not None:  # each stage by itself
            self.take(lambda *at: decide.started(at[0], item.id, item.attempt, *at[1:], start_us=item.start_us))
        self.take(ended)
        self._attempt_over(item.id)
        self._ledger.after(lambda: self._acknowledge(item.id, item.attempt))
        self._finish_changes(item.id)

    def _acknowledge(self, id_: int, attempt: int) -> None:
        self._ending.pop((id_, attempt), None)
        if self._executor is not None:
            self._executor.acknowledge([(id_, attempt)])

    def _withdrawn(self, id_: int, attempt: int) -> None:
        job = find(self._ledger.head, id_)
        if job is not None and job.attempt == attempt:
            if job.state < State.RUN:
                self._forget(id_, attempt)
                self._ledger.head = queues.withdraw(self._ledger.head, id_)
            elif job.started:
                return  # late news of an attempt that is known to run
            elif job.fatal or job.requeuing:
                self._never_started(job)
            else:
                self._send_again(id_)
        self._finish_changes(id_)

    def signal(self, id_: int, signum: int) -> bool:
        """Send a signal to a job's processes; False when none is known to run."""
        job = find(self._ledger.head, id_)
        if job is None or job.state is not State.RUN or not job.started or self._executor is None:
            return False
        self._executor.signal(id_, job.attempt, signum)
        return True

    def has_attempt(self, id_: int) -> bool:
        """Whether a process of the job runs, or may still start."""
        return id_ in self._attempts

    def order_held(self, id_: int) -> None:
        """Send the order of a job that no plugin holds any more."""
        if id_ in self._unsent:
            self._send_again(id_)

    def _send_again(self, id_: int) -> None:
        unsent = self._note_unsent([id_])
        self._ledger.after(lambda: self._order(unsent), urgent=True)

    def _expired(self, id_: int, attempt: int) -> None:
        # An attempt that has used up its time limit did start, even if that news has not come yet.
        self.take(lambda queue, limits, now_us: decide.started(queue, id_, attempt, limits, now_us))
        self.take(lambda queue, limits, now_us: decide.expired(queue, id_, attempt, limits, now_us))

    # -- recovery

    def expect(self, attempts: Iterable[Attempt]) -> None:
        """Register the attempts that were under way when the last scheduler ended; `recover` asks about them."""
        self._attempts = {attempt.id: attempt for attempt in attempts}

    def recover(self, attempts: Iterable[Attempt], deliver: Callable[[Sequence[News]], None]) -> None:
        """Connect to an executor, and ask it for the state of the attempts. Raises PortError."""
        assert self._executor is not None
        self._attempts = {attempt.id: attempt for attempt in attempts}
        asked = [self._with_job(attempt) for attempt in self._attempts.values() if attempt.id not in self._unsent]
        # Those whose end is not durable, too: a new executor that was not asked about them would report to the next
        # scheduler, if this one dies before the commit, that they never started.
        found = self._executor.recover([*asked, *self._ending.values()], deliver)
        self.executor_lost = None
        self.apply_recovery(found.without(self._ending))

    def _with_job(self, attempt: Attempt) -> Attempt:
        job = find(self._ledger.head, attempt.id)
        return attempt if job is None else evolve(attempt, cores=job.spec.cores, userid=self._other(job))

    def reconnect(self, deliver: Callable[[Sequence[News]], None]) -> None:
        """Connect to another executor after one was lost, and bring the queue in line with what the new one knows."""
        self.recover(list(self._attempts.values()), deliver)
        resend, self._resend = self._resend, []
        self._order(resend)

    def apply_recovery(self, found: Recovery) -> None:
        """Bring the queue in line with what the executor knows."""
        self.news([*found.finished, *found.running])  # ends first: they make room for what runs
        for item in found.running:
            self._limit_adopted(item)
        for id_, attempt in found.never:
            self._never(id_, attempt)
        for id_, attempt in found.lost:
            self._finished(Finished(id_, attempt, None))
        for job in sorted(self._ledger.head.running.values(), key=lambda job: job.id):
            self._settle_running(job)

    def _limit_adopted(self, item: Started) -> None:
        """Send the executor the time limit of an attempt that it adopted, for it did not get the order to start it."""
        job = find(self._ledger.head, item.id)
        if self._executor is not None and job is not None and job.spec.time_limit_us is not None:
            self._executor.set_time_limit(item.id, item.attempt, job.spec.time_limit_us)

    def _never(self, id_: int, attempt: int) -> None:
        job = find(self._ledger.head, id_)
        if job is not None and job.attempt == attempt and job.started:
            self._finished(Finished(id_, attempt, None))
        else:
            self._withdrawn(id_, attempt)
            if job is None:
                self._forget(id_, attempt)

    def _settle_running(self, job: Job) -> None:
        """Stop a job again that was being stopped; requeue or end one whose attempt the executor does not know."""
        if job.id not in self._attempts:
            self._finished(Finished(job.id, job.attempt, None))
        elif job.started and (job.fatal or job.requeuing):
            self._ledger.after(lambda: self._perform([Stop(job.id, job.attempt)]))

    # -- rules and limits

    def set_rules(self, rules: Rules) -> None:
        """Set the rules: a job that they no longer admit gives its permit back, one that they reject ends."""
        self._ledger.head = queues.set_rules(self._ledger.head, rules)
        self._recall(policy.no_longer_admitted(self._ledger.head))
        self.end_infeasible()

    def _recall(self, ids: Iterable[int]) -> None:
        for id_ in ids:
            if id_ in self._unsent:
                self._take_back(id_)
            elif self._executor is not None:
                attempt = self._ledger.head.permits[id_].attempt
                self._ledger.head = queues.recall(self._ledger.head, id_)
                self._executor.withdraw([(id_, attempt)])

    def set_limits(self, limits: Limits, grace_us: int) -> None:
        """Set the limits; a lower limit stops no running job."""
        shrunk = limits.cores < self.limits.cores
        is_new_to_plugins = limits.plugged and not self.limits.plugged
        self.limits = limits
        if is_new_to_plugins:  # a job with a permit would start before the plugins are called for it
            permits = self._ledger.head.permits
            self._recall(id_ for id_, permit in sorted(permits.items()) if not permit.recalled)
        if self._executor is not None:
            self._executor.limit(limits.max_running, limits.cores, grace_us)
        if shrunk:
            self.end_infeasible()

    def end_infeasible(self) -> None:
        """End the queued jobs that could never run under these limits and rules; one with a permit is asked back first.

        Without an executor no permit can be asked back, so no job ends here; the next start ends them.
        """
        head = self._ledger.head
        self._perform([EndHopeless(tuple(sorted({*policy.infeasible(head, self.limits), *policy.rejected(head)})))])

    @property
    def at_executor(self) -> int:
        """Return how many permits that have not started the executor holds or is about to get."""
        return len(self._ledger.head.permits) + len(self._changes)


def _end_if_infeasible(id_: int, queue: Queue, limits: Limits, now_us: int) -> Step:
    return decide.end_if_infeasible(queue, id_, limits, now_us)
