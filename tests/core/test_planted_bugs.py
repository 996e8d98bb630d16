"""The machine sees what it is there to see: with each of these small defects planted, its fixed search fails.

Without one the same search passes: that is `test_queue_machine.py`. Each defect names the law of
docs/reference/laws.md that it breaks.
"""

from collections.abc import Callable

import pytest
from attrs import evolve as changed

from jqsched.core import accept, admission, binding, decide, event, order, policy, retries
from jqsched.core import fold as step
from jqsched.core import queue as queues
from jqsched.core.admission import ABSENT, OPEN, GateKind
from jqsched.core.event import IllegalEvent
from jqsched.core.filters import rule as rules_of_one_job
from jqsched.core.job import Scheme, State
from jqsched.core.queue import Claim, Permit
from jqsched.core.queue import value as queue
from tests.core.queue_machine import walk

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, Plant] = {}


def planted(law: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        BUGS[f"{law}-{plant.__name__}"] = plant
        return plant

    return note


def wrap(patch, module, name, wrapper):
    """Replace a function by one that is given the original and the arguments."""
    original = getattr(module, name)
    patch.setattr(module, name, lambda *args, **more: wrapper(original, *args, **more))


@planted("law1")
def claim_leaves_the_job_enqueued(patch):
    def claim(original, q, id_):
        claimed = original(q, id_)
        if claimed and not claimed[0].manipulated[id_].from_running:
            return changed(claimed[0], enqueued=claimed[0].enqueued.set(id_, claimed[1])), claimed[1]
        return claimed

    wrap(patch, queues, "claim", claim)


@planted("law1")
def claim_of_a_running_job_leaves_it_running(patch):
    def claim(original, q, id_):
        job = q.running.get(id_)
        if job is None:
            return original(q, id_)
        return changed(q, manipulated=q.manipulated.set(id_, Claim(job, from_running=True))), job

    wrap(patch, queues, "claim", claim)


@planted("law2")
def release_drops_the_job(patch):
    def release(original, q, id_):
        return changed(q, manipulated=q.manipulated.discard(id_))

    wrap(patch, queues, "release", release)


@planted("law2")
def an_accepted_job_is_not_posted(patch):
    def enter(original, fold, arrival, bounds):
        if not (bounds and bounds[0].met):
            original(fold, arrival, bounds)

    wrap(patch, accept, "_enter", enter)


@planted("law3")
def requeue_does_not_raise_the_attempt(patch):
    states, apply = event.TRANSITIONS["requeue"]
    patch.setitem(event.TRANSITIONS, "requeue", (states, lambda job, e: changed(apply(job, e), attempt=job.attempt)))


@planted("law3")
def news_of_an_old_attempt_are_believed(patch):
    def finished(original, q, id_, attempt, *rest, **more):
        job = queue.find(q, id_)
        return original(q, id_, job.attempt if job else attempt, *rest, **more)

    wrap(patch, decide, "finished", finished)


@planted("law3")
def a_job_ends_while_its_order_is_out(patch):
    """As it was when limits were lowered: queued jobs ended without heed of their permits."""

    def schedule(original, q, limits, now_us):
        decided = original(q, limits, now_us)
        if not decided.recalled:
            return decided
        gone = decide.dequeue(decided.queue, decided.recalled[0], limits, now_us, userid=0)
        return changed(decided, queue=gone.queue, events=decided.events + gone.events)

    wrap(patch, decide, "schedule", schedule)


@planted("law4")
def select_goes_by_id_only(patch):
    def select(original, q, limits):
        by_id = [(key[1], key[1]) for key in order.ascending(q.ready)]
        return original(changed(q, ready=order.build(by_id)), limits)

    wrap(patch, policy, "select", select)


@planted("law4")
def ties_go_to_the_highest_id(patch):
    patch.setattr(queue, "rank_key", lambda job: (-job.priority, -job.id))
    wrap(
        patch,
        policy,
        "select",
        lambda original, q, limits: original(
            changed(q, ready=order.build((-queue.find(q, -i).priority, -i) for _, i in order.ascending(q.ready))),
            limits,
        ),
    )


@planted("law4")
def overtaken_permits_stay(patch):
    patch.setattr(policy, "overtaken", lambda q, limits: ())


@planted("law5")
def claim_leaves_the_job_ready(patch):
    def claim(original, q, id_):
        claimed = original(q, id_)
        return claimed and (changed(claimed[0], ready=q.ready), claimed[1])

    wrap(patch, queues, "claim", claim)


@planted("law5")
def release_does_not_make_it_ready_again(patch):
    wrap(patch, queues, "release", lambda original, q, id_: changed(original(q, id_), ready=q.ready))


@planted("law5")
def a_job_claimed_from_running_gives_up_its_slot(patch):
    patch.setattr(queue.Queue, "busy", property(lambda self: len(self.running)))


@planted("law5")
def dependents_do_not_see_a_claimed_job(patch):
    wrap(patch, accept, "find", lambda original, q, id_: None if id_ in q.manipulated else original(q, id_))


@planted("law6")
def an_event_is_not_told(patch):
    def told(original, fold, answer=None):
        whole = original(fold, answer)
        return changed(whole, events=tuple(e for e in whole.events if e.name != "urgency"))

    wrap(patch, step.Fold, "step", told)


@planted("law6")
def timestamps_may_be_equal(patch):
    events = step.Event
    patch.setattr(step, "Event", lambda jobid, t_us, *rest: events(jobid, t_us // 3 * 3, *rest))


@planted("law6")
def names_are_not_indexed(patch):
    patch.setattr(queue, "_index_name", lambda q, old, new, fields: None)


@planted("law6")
def waits_are_not_taken_back(patch):
    wrap(patch, queue, "_index_waits", lambda original, q, old, new, fields: original(q, None, new, fields))


@planted("law6")
def a_restart_forgets_begin_times(patch):
    wrap(patch, queues, "load", lambda original, jobs, **more: changed(original(jobs, **more), timers=None))


@planted("law6")
def settled_keeps_permits(patch):
    wrap(patch, queues, "withdraw", lambda original, q, id_: changed(original(q, id_), permits=q.permits))


@planted("law6")
def a_run_of_events_keeps_a_permit_lost_on_the_way(patch):
    """As it was: SCHED to SCHED in one run of events looked like nothing."""
    patch.setattr(queue, "reduce", lambda fold, run_, q: q)


@planted("law7")
def one_job_too_many(patch):
    wrap(patch, policy, "select", lambda original, q, at: original(q, changed(at, max_running=at.max_running + 1)))


@planted("law7")
def one_core_too_many(patch):
    wrap(patch, policy, "select", lambda original, q, at: original(q, changed(at, cores=at.cores + 1)))


@planted("law7")
def finish_frees_no_cores(patch):
    def place(original, q, old, new, fields):
        original(q, old, new, fields)
        if new is None and old is not None and old.state in (State.RUN, State.CLEANUP):
            fields["cores_used"] = q.cores_used

    wrap(patch, queue, "_place", place)


@planted("law7")
def withdraw_does_not_give_back_the_cores(patch):
    wrap(
        patch,
        queue,
        "withdraw",
        lambda original, q, id_: changed(original(q, id_), cores_permitted=q.cores_permitted),
    )


@planted("law7")
def jobs_are_permitted_while_drained(patch):
    wrap(patch, policy, "select", lambda original, q, limits: original(q, changed(limits, draining=False)))


@planted("law8")
def held_jobs_are_ready(patch):
    patch.setattr(queue, "is_ready", lambda job: job.state is State.SCHED)


@planted("law8")
def permits_are_forgotten_at_a_change(patch):
    wrap(patch, queue, "_drop_permit", lambda original, q, job, key, fields: None)


@planted("law8")
def what_can_never_run_stays_in_the_way(patch):
    patch.setattr(policy, "infeasible", lambda q, limits: [])


@planted("rules")
def a_change_of_rules_leaves_the_old_gates(patch):
    patch.setattr(queues, "set_rules", lambda q, rules: changed(q, rules=rules))


@planted("rules")
def a_restart_forgets_the_rules(patch):
    wrap(
        patch, queues, "load", lambda original, jobs, **more: changed(original(jobs, **more | {"rules": ()}), rules=())
    )


@planted("rules")
def the_last_rule_applies(patch):
    wrap(patch, admission, "applying_filter", lambda original, rules, subject: original(rules[::-1], subject))


@planted("rules")
def rules_go_by_uuid_only(patch):
    def applying(original, rules, subject):
        return original(sorted(rules, key=lambda rule: rule.uuid), subject)

    wrap(patch, admission, "applying_filter", applying)


@planted("rules")
def continue_applies(patch):
    def applying(original, rules, subject):
        return next((rule for rule in rules if rule.matches(subject)), None)

    wrap(patch, admission, "applying_filter", applying)


@planted("rules")
def the_watermark_is_not_looked_at(patch):
    wrap(patch, rules_of_one_job, "compile_predicate", lambda original, predicate, watermark: original(predicate, 0))


@planted("rules")
def reject_leaves_what_is_queued(patch):
    patch.setattr(policy, "rejected", lambda q: [])


@planted("rules")
def reject_lets_files_in(patch):
    patch.setattr(accept, "_refused_by_rule", lambda *_: {})


@planted("rules")
def reject_does_not_see_who_comes_back(patch):
    """A running job is let be; when it is queued again the rule applies."""
    patch.setattr(step, "rejecting", lambda q, gates: None)


@planted("rules")
def a_paused_job_takes_a_slot(patch):
    def select(original, q, at):
        paused = {id_ for id_, gates in q.admission.gates.items() if any(gate.kind is GateKind.PAUSE for gate in gates)}
        return original(q, changed(at, max_running=at.max_running - len(paused & set(q.enqueued))))

    wrap(patch, policy, "select", select)


@planted("rules")
def permits_stay_under_other_rules(patch):
    patch.setattr(policy, "no_longer_admitted", lambda q: ())


@planted("rates")
def a_job_that_ends_keeps_its_place(patch):
    def move(original, held, id_, before, after):
        return original(held, id_, before._replace(admitted=False) if after == ABSENT else before, after)

    wrap(patch, admission, "move", move)


@planted("rates")
def a_paused_job_takes_its_bucket_s_place(patch):
    """As in Ganeti (W2): rate limits first, then rules."""

    def candidates(original, q):
        ready = sorted((job for job in q.enqueued.values() if queues.is_ready(job)), key=queues.rank_key)
        limited = policy.limit_rates(q, [job for job in ready if job.id not in q.permits])
        return iter([job.id for job in policy.filter_jobs(q, limited)])

    wrap(patch, policy, "candidates", candidates)


@planted("rates")
def a_limit_lets_one_more_through(patch):
    def gate(original, rule):
        made = original(rule)
        return made._replace(limit=made.limit + 1) if made and made.kind is GateKind.RULE else made

    wrap(patch, admission, "rule_gate", gate)


@planted("rates")
def a_job_on_its_way_back_gives_up_its_place(patch):
    patch.setattr(Claim, "admitted", property(lambda claim: claim.from_running))


@planted("rates")
def an_edit_keeps_the_old_bucket(patch):
    def gates_after(original, q, old, new):
        return original(q, old, new) if old is None else queues.gates_known(q, new.id)

    wrap(patch, queue, "_gates_after", gates_after)


@planted("rates")
def who_is_limited_gets_a_permit_ahead(patch):
    """It would take the place of one who could start sooner."""
    patch.setattr(policy, "gates_known", lambda q, id_: OPEN)


@planted("dependencies")
def a_failed_job_satisfies_afterok(patch):
    def judge(original, scheme, outcome):
        return original(Scheme.AFTERANY if scheme is Scheme.AFTEROK else scheme, outcome)

    wrap(patch, step, "judge_outcome", judge)


@planted("dependencies")
def the_doomed_stay(patch):
    wrap(patch, step, "_resolve", lambda original, fold, outcome: original(fold, outcome) and [])


@planted("dependencies")
def nobody_hears_of_a_start(patch):
    patch.setattr(decide, "waits_on", lambda job, id_: [])


@planted("dependencies")
def cycles_are_let_in(patch):
    patch.setattr(binding.Binding, "cycle", lambda self: {})


@planted("dependencies")
def an_edit_may_close_a_cycle(patch):
    """As it was: only names, and not ids, were looked for among those that wait."""

    def is_awaited(original, self, id_):
        return queue.find(self.queue, id_) is None and original(self, id_)

    wrap(patch, binding.Binding, "is_awaited", is_awaited)


@planted("dependencies")
def who_waits_for_a_name_is_not_bound(patch):
    patch.setattr(accept, "_bind_waiting", lambda fold, arrival: None)


@planted("dependencies")
def an_edit_binds_again_what_was_bound(patch):
    """As it was: every dependency of an edited job was looked up anew."""

    def update(original, q, id_, was, now, *rest, **more):
        if was.spec.dependencies == now.spec.dependencies:
            return original(q, id_, was, now, *rest, **more)
        return original(q, id_, changed(was, spec=changed(was.spec, dependencies=())), now, *rest, **more)

    wrap(patch, accept, "update", update)


@planted("dependencies")
def a_begin_time_is_one_microsecond_late(patch):
    wrap(patch, policy, "due", lambda original, q, now_us: original(q, now_us - 1))


@planted("life")
def held_one_interruption_late(patch):
    wrap(
        patch,
        decide,
        "_hold_after_too_many",
        lambda original, fold, id_: original(
            changed_limits(fold, interruptions_max=fold.limits.interruptions_max + 1), id_
        ),
    )


def changed_limits(fold, **limits):
    fold.limits = changed(fold.limits, **limits)
    return fold


@planted("retries")
def a_retry_posts_finish(patch):
    """As if it were decided after the end was posted."""

    def back(original, fold, job, status=None):
        if job.retrying and status is not None:
            job = fold.post(job.id, ("finish", {"status": status}))
        original(fold, job, status)

    wrap(patch, decide, "_back_to_queue", back)


@planted("retries")
def a_retry_is_announced_twice(patch):
    wrap(patch, decide, "_retry", lambda original, fold, job, note: original(fold, original(fold, job, note), note))


@planted("retries")
def a_cancel_is_retried(patch):
    states, apply = event.TRANSITIONS["exception"]

    def exception(job, e):
        after = apply(job, e)
        if e.context["type"] == "cancel" and after.spec.retries and job.state is State.RUN:
            return changed(after, requeuing=True, fatal=False, state=job.state, t_cleanup_us=0)
        return after

    patch.setitem(event.TRANSITIONS, "exception", (states, exception))


@planted("retries")
def the_last_attempt_is_retried(patch):
    def note(original, job, kinds, failure):
        more = job.spec.retries and changed(job.spec.retries, max=job.spec.retries.max + 1)
        return original(changed(job, spec=changed(job.spec, retries=more)), kinds, failure)

    wrap(patch, retries, "_note", note)


@planted("retries")
def every_failure_is_retried(patch):
    def note(original, job, kinds, failure):
        every = job.spec.retries and changed(job.spec.retries, on=())
        return original(changed(job, spec=changed(job.spec, retries=every)), kinds, failure)

    wrap(patch, retries, "_note", note)


@planted("retries")
def a_timeout_that_is_retried_ends_the_job(patch):
    patch.setattr(retries, "note_of_timeout", lambda _: None)


@planted("retries")
def nobody_waits_between_attempts(patch):
    patch.setattr(retries, "delay_us", lambda _: 0)


@planted("retries")
def an_interruption_is_counted_as_a_retry(patch):
    states, apply = event.TRANSITIONS["exception"]

    def exception(job, e):
        after = apply(job, e)
        return changed(after, retried=after.retried + (after.interruptions > job.interruptions))

    patch.setitem(event.TRANSITIONS, "exception", (states, exception))


@planted("life")
def release_forgets_the_urgency_before(patch):
    states, apply = event.TRANSITIONS["urgency"]
    patch.setitem(event.TRANSITIONS, "urgency", (states, lambda job, e: changed(apply(job, e), urgency_before=16)))


@planted("life")
def a_pin_wins_over_a_hold(patch):
    original = event.effective_priority

    def effective(urgency, pin, computed):
        return pin if pin is not None else original(urgency, pin, computed)

    for module in (accept, decide, step):
        patch.setattr(module, "effective_priority", effective, raising=False)


@planted("life")
def a_permit_is_for_the_first_attempt(patch):
    patch.setattr(queue, "Permit", lambda attempt, recalled=False: Permit(1, recalled))


@pytest.mark.parametrize("bug", BUGS)
def test_the_machine_fails_with(bug: str, monkeypatch: pytest.MonkeyPatch):
    """A fixed search finds the planted defect."""
    BUGS[bug](monkeypatch)
    with pytest.raises((AssertionError, IllegalEvent, LookupError, AttributeError, TypeError)):
        walk()
