"""The worlds see what they are there to see: with each of these defects planted, one of the fixed seeds breaks a law.

Without one they pass: that is `test_worlds.py`. Each defect is one that a scheduler of this kind has, and some are ones
that this one had.
"""

from collections.abc import Callable

import pytest
from attrs import evolve

from jqsched.core import admission, decide, order, policy
from jqsched.core import queue as queues
from jqsched.core.job import State
from jqsched.core.policy import Limits
from jqsched.core.queue import value as queue_value
from jqsched.ports import RULES, Finished, Recovery
from jqsched.scheduler import loop
from jqsched.scheduler.commands import Commands
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.intake import Intake
from jqsched.scheduler.ledger import Ledger
from jqsched.testing import fake_store
from jqsched.testing.harness import Rig
from jqsched.testing.offline import tell_offline
from jqsched.testing.world import Violation, World
from jqsched.testing.worlds import tell_all

Plant = Callable[[pytest.MonkeyPatch], None]
FAULTS: dict[str, Plant] = {}
SEEDS = range(200)  # most are found by one of the first ten


def planted(plant: Plant) -> Plant:
    FAULTS[plant.__name__] = plant
    return plant


def wrap(patch, owner, name, wrapper):
    """Replace a function or a method by one that is given the original and the arguments."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **more: wrapper(original, *args, **more))


# ---- what is durable, and when ------------------------------------------------------------------------------------


@planted
def orders_leave_before_their_permit_is_durable(patch):
    def after(original, ledger, act, *, urgent=False):
        if "_order" in act.__code__.co_names:
            act()
        else:
            original(ledger, act, urgent=urgent)

    wrap(patch, Ledger, "after", after)


@planted
def commands_are_answered_before_they_are_durable(patch):
    patch.setattr(Commands, "_reply_when_durable", lambda self, reply, payload: reply(payload))


@planted
def what_is_decided_is_visible_at_once(patch):
    def apply(original, ledger, step):
        original(ledger, step)
        ledger.visible.swap(ledger.head)

    wrap(patch, Ledger, "apply", apply)


@planted
def ends_are_acknowledged_before_they_are_durable(patch):
    def finished(original, dispatch, item):
        original(dispatch, item)
        dispatch._acknowledge(item.id, item.attempt)

    wrap(patch, Dispatch, "_finished", finished)


@planted
def the_folders_are_not_synced_before_the_commit(patch):
    """A power cut brings a file back into the drop zone that is a job already."""
    wrap(patch, Ledger, "_batch", lambda original, ledger: evolve(original(ledger), sync_spool=False))


# ---- recovery -----------------------------------------------------------------------------------------------------


@planted
def recovery_forgets_the_attempts(patch):
    wrap(patch, Dispatch, "recover", lambda original, dispatch, attempts, deliver: original(dispatch, (), deliver))


@planted
def recovery_takes_what_is_lost_for_never_started(patch):
    def apply(original, dispatch, found):
        original(dispatch, Recovery(found.running, found.finished, (*found.never, *found.lost)))

    wrap(patch, Dispatch, "apply_recovery", apply)


@planted
def recovery_does_not_take_the_files_that_a_crash_left(patch):
    patch.setattr(Intake, "leftovers", lambda self, is_finished, loaded: None)


@planted
def edits_while_it_was_down_are_not_looked_at(patch):
    def edits_unseen(original, intake, ids):
        intake.unverified.difference_update(list(ids))

    wrap(patch, Intake, "verify", edits_unseen)


# ---- permits ------------------------------------------------------------------------------------------------------


@planted
def a_change_does_not_wait_for_the_permit(patch):
    """A job that is canceled, edited or held at once can be started all the same."""
    patch.setattr(Dispatch, "change", lambda self, id_, apply, answered: self._apply_change(apply, answered))


@planted
def overtaken_permits_stay(patch):
    patch.setattr(policy, "overtaken", lambda *_: ())


@planted
def a_recall_is_not_sent(patch):
    def schedule(original, dispatch):
        executor = dispatch._executor
        withdraw, executor.withdraw = executor.withdraw, lambda _: None
        try:
            original(dispatch)
        finally:
            executor.withdraw = withdraw

    wrap(patch, Dispatch, "schedule", schedule)


@planted
def withdrawn_permits_are_kept(patch):
    """The job is never chosen again."""
    patch.setattr(Dispatch, "_withdrawn", lambda self, id_, attempt: self._finish_changes(id_))


@planted
def an_order_whose_permit_is_gone_leaves_all_the_same(patch):
    def take_back(original, dispatch, id_):
        number = dispatch._unsent.get(id_)
        original(dispatch, id_)
        dispatch._unsent[id_] = number

    def order(original, dispatch, unsent):
        head = dispatch._ledger.head
        orders = [dispatch._start_order(queues.find(head, id_)) for id_, _ in unsent if queues.find(head, id_)]
        for id_, _ in unsent:
            dispatch._unsent.pop(id_, None)
        if orders and dispatch.executor_lost is None:
            dispatch._executor.start(orders)

    wrap(patch, Dispatch, "_take_back", take_back)
    wrap(patch, Dispatch, "_order", order)


# ---- news ---------------------------------------------------------------------------------------------------------


@planted
def news_of_an_earlier_attempt_are_believed(patch):
    """An end that is told twice ends the next attempt, too."""

    def news(original, dispatch, items):
        for item in items:
            job = queues.find(dispatch._ledger.head, getattr(item, "id", 0))
            late = isinstance(item, Finished) and job is not None and job.attempt > item.attempt
            original(dispatch, [evolve(item, attempt=job.attempt) if late else item])

    wrap(patch, Dispatch, "news", news)


@planted
def the_loss_of_the_executor_is_not_noticed(patch):
    patch.setattr(loop.Scheduler, "_replace_executor", lambda self: None)


@planted
def a_stop_is_not_sent(patch):
    """A canceled job of which it is unknown when it ends runs on."""
    patch.setattr(Dispatch, "_stop", lambda self, id_, attempt: None)


@planted
def statuses_are_mixed_up(patch):
    wrap(
        patch,
        decide,
        "finished",
        lambda original, q, id_, attempt, status, *rest, **more: original(
            q, id_, attempt, status and 256, *rest, **more
        ),
    )


# ---- the queue ----------------------------------------------------------------------------------------------------


@planted
def a_set_aside_file_is_dropped(patch):
    def set_aside(original, intake, taken, errors):
        intake._spool.remove([taken.id])
        intake._ledger.spend(taken.id)

    wrap(patch, Intake, "_set_aside", set_aside)


@planted
def a_requeued_job_keeps_its_attempt(patch):
    wrap(
        patch,
        decide,
        "_back_to_queue",
        lambda original, fold, job: original(fold, evolve(job, attempt=job.attempt - 1)),
    )


@planted
def one_job_too_many(patch):
    """The executor keeps its limit; here it is told another one."""

    def set_up(original, dispatch, limits, grace_us):
        original(dispatch, evolve(limits, max_running=limits.max_running + 1), grace_us)

    wrap(patch, Dispatch, "set_limits", set_up)


@planted
def the_limits_are_not_told_to_a_new_executor(patch):
    patch.setattr(
        loop.Scheduler, "_apply_limits", lambda self: setattr(self.dispatch, "limits", self._present_limits())
    )


@planted
def begin_times_never_come(patch):
    patch.setattr(policy, "due", lambda *_: [])


@planted
def priority_is_turned_round(patch):
    """Of those that may start, the last goes first."""

    def select(original, q, limits):
        chosen = original(q, limits)
        ready = sorted(
            (j for j in q.enqueued.values() if j.state is State.SCHED and j.priority > 0 and j.id not in q.permits),
            key=lambda j: (j.priority, -j.id),
        )
        return tuple(j.id for j in ready[: len(chosen)])

    wrap(patch, policy, "select", select)


@planted
def purged_before_the_file_is_gone(patch):
    """As a crash between the two would find it: the file is taken for a new drop."""

    def observe(original, scheduler, events, queue):
        scheduler.around.observe(events, queue)

    wrap(patch, loop.Scheduler, "_observe", observe)


# ---- rules and rate limits ----------------------------------------------------------------------------------------


@planted
def changes_of_rules_are_not_kept(patch):
    """They are gone when the scheduler is."""

    def setting(original, ledger, key, value):
        if key != RULES:
            original(ledger, key, value)

    wrap(patch, Ledger, "setting", setting)


@planted
def a_rule_is_forgotten_by_the_next_scheduler(patch):
    patch.setattr(fake_store, "kept_rules", lambda _: ())


@planted
def rate_limits_are_not_kept(patch):
    patch.setattr(queue_value, "gates_of", lambda rules, job: ())


@planted
def a_bucket_has_room_for_one_more(patch):
    def buckets(original, reasons):
        return tuple(gate._replace(limit=gate.limit + 1) for gate in original(reasons))

    wrap(patch, admission, "buckets", buckets)


@planted
def places_are_not_given_back(patch):
    """A job that ended takes its place for ever."""
    wrap(patch, admission._Change, "take", lambda original, change, gates, more: original(change, gates, max(0, more)))


# ---- commands without a scheduler ---------------------------------------------------------------------------------

OFFLINE: dict[str, Plant] = {}  # only `jqsched.testing.offline` has such commands, so only it can find these
OFFLINE_SEEDS = range(200)


def planted_offline(plant: Plant) -> Plant:
    OFFLINE[plant.__name__] = plant
    return plant


def is_offline(intake: Intake) -> bool:
    return intake._dispatch._executor is None


@planted_offline
def a_command_takes_the_id_of_a_file_without_a_row(patch):
    """It gives out the id after the last in the store, though what a killed scheduler left has taken that at start."""

    def resubmit(original, intake, *args):
        if is_offline(intake):
            intake.next_id = intake._store.load().queue.last_id + 1
        return original(intake, *args)

    wrap(patch, Intake, "resubmit", resubmit)


@planted_offline
def commands_ignore_leftovers(patch):
    """What a killed scheduler has moved to `jobs/` and not accepted is no job yet when a command looks for an id."""
    wrap(patch, Intake, "leftovers", lambda original, intake, *args: is_offline(intake) or original(intake, *args))


@planted_offline
def commands_decide_with_built_in_limits(patch):
    """A job that is not too large ends as too large."""

    def boot(original, rig, *, offline=False):
        configured, rig.limits = rig.limits, (Limits(1, 1) if offline else rig.limits)
        try:
            original(rig, offline=offline)
        finally:
            rig.limits = configured

    wrap(patch, Rig, "boot", boot)


@planted_offline
def commands_answer_before_it_is_durable(patch):
    """And are killed then."""

    def reply(original, commands, answer, payload):
        if is_offline(commands._scheduler.intake):
            answer(payload)
        else:
            original(commands, answer, payload)

    wrap(patch, Commands, "_reply_when_durable", reply)


@planted_offline
def commands_forget_edits_that_were_not_looked_at(patch):
    """They take the file as it is for the one that was accepted."""

    def start(original, scheduler):
        original(scheduler)
        if is_offline(scheduler.intake):
            for id_ in sorted(scheduler.intake.unverified):
                if id_ in scheduler.around.spool.files.jobs:
                    scheduler.ledger.file(id_, scheduler.around.spool.files.jobs[id_])

    wrap(patch, loop.Scheduler, "start", start)


@pytest.mark.parametrize("fault", OFFLINE)
def test_a_world_with_commands_without_a_scheduler_fails_with(fault: str, monkeypatch: pytest.MonkeyPatch):
    OFFLINE[fault](monkeypatch)
    assert any(breach for _, breach in tell_offline(OFFLINE_SEEDS))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_world_fails_with(fault: str, monkeypatch: pytest.MonkeyPatch):
    """One of the fixed seeds finds the planted defect."""
    FAULTS[fault](monkeypatch)
    assert any(breach for _, breach in tell_all(SEEDS))


BACKOFF_SEEDS = range(60)


def a_scheduler_that_starts_ends_all_backoffs(patch):
    """As if it had waited for as long as it was down."""
    ended = []

    def start(original, scheduler):
        ended.extend(id_ for _, id_ in order.ascending(scheduler.around.store.load().queue.timers))
        original(scheduler)

    def release(original, queue, limits, now_us):
        if not ended:
            return original(queue, limits, now_us)
        fold = decide.Fold(queue, limits, now_us)
        for job in filter(None, (queues.find(queue, id_) for id_ in ended)):
            decide.satisfy(fold, job, [wait for wait in job.waits if wait.startswith("begin-time=")])
        ended.clear()
        return fold.step()

    wrap(patch, loop.Scheduler, "start", start)
    wrap(patch, decide, "release_due_jobs", release)
    wrap(patch, policy, "next_timer_us", lambda original, queue: 0 if ended else original(queue))


def test_a_world_with_long_backoffs_fails_where_a_start_ends_them(monkeypatch: pytest.MonkeyPatch):
    a_scheduler_that_starts_ends_all_backoffs(monkeypatch)

    def tell_them() -> None:
        for seed in BACKOFF_SEEDS:
            World(seed, backoff=20_000).run().settle()

    with pytest.raises(Violation, match="left its backoff"):
        tell_them()


def test_there_are_many():
    """Enough to say that the laws are looked at."""
    assert len(FAULTS) > 20
