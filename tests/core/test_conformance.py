"""Ganeti's own answers for 1,200 queues: what is chosen, eligible, let through, rejected, dequeued.

The differences are those that docs/differences.md and the cases' README name: a manipulated job blocks its dependents,
and was
started as far as dequeue is concerned; rules and rate limits are asked together, so in the cases of kind `filter
language` the choice may be another.
"""

from typing import Any

import pytest

from jqsched.core import decide, policy
from jqsched.core import queue as queues
from jqsched.core.admission import buckets
from jqsched.core.filters import in_order
from jqsched.core.fold import AlreadyStarted, Dequeued, UnknownJob
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.core.view import show
from tests.core.ganeti_cases import KINDS, START_US, Case, cases

NOW_US = 10 * START_US
DEQUEUED = {Dequeued: "removed", AlreadyStarted: "started", UnknownJob: "error"}


def limits(case: Case) -> Limits:
    return Limits(case.max_running, cores=10**6)


def a_queue(case: Case) -> Queue:
    """The case's jobs, what waits for jobs that are nowhere released, and then its rules."""
    queue = queues.load(case.jobs, seq=1, last_us=9 * START_US, last_id=10**6)
    for job in case.manipulated:
        claimed = queues.claim(queue, job.id)
        assert claimed is not None
        queue = claimed[0]
    queue = decide.resolve_missing_antecedents(queue, {}, limits(case), NOW_US).queue
    queue = queues.set_rules(queue, in_order(case.rules))
    queues.check(queue)
    return queue


def chosen(case: Case, queue: Queue) -> dict[str, list[int]]:
    """Who is chosen, and the three lists when they have started."""
    ids = policy.select(queue, limits(case))
    for id_ in ids:
        queue = decide.started(queue, id_, 1, limits(case), NOW_US).queue
    queues.check(queue)
    shown = show(queue)
    return {
        "chosen": list(ids),
        "enqueued": list(shown.enqueued),
        "running": list(shown.running),
        "manipulated": list(shown.manipulated),
    }


def answers(case: Case) -> dict[str, Any]:
    """All of our answers, in the form of Ganeti's."""
    queue = a_queue(case)
    enqueued = [queue.enqueued[job.id] for job in case.enqueued]
    eligible = [job for job in enqueued if policy.eligible(queue, job)]
    return {
        "select": chosen(case, queue) if case.kind != "filter language" else None,
        "eligible_sorted": [job.id for job in sorted(eligible, key=queues.rank_key)],
        "job_filtering": [job.id for job in policy.filter_jobs(queue, enqueued)],
        "reason_rate_limit": [job.id for job in policy.limit_rates(queue, enqueued)],
        "rejected": [[id_, rule_of(queue, id_)] for id_ in policy.rejected(queue)],
        "eligible": {job.id: policy.eligible(queue, job) for job in enqueued},
        "buckets": {
            job.id: sorted(f"{gate.key}:{gate.limit}" for gate in buckets(job.spec.reasons)) for job in case.jobs
        },
        "dequeue": [dequeued(case, queue, entry["id"]) for entry in case.answer["dequeue"]],
    }


def rule_of(queue: Queue, id_: int) -> str:
    rule = policy.rejecting(queue, queues.gates_known(queue, id_))
    assert rule is not None
    return rule.uuid


def dequeued(case: Case, queue: Queue, id_: int) -> dict[str, Any]:
    step = decide.dequeue(queue, id_, limits(case), NOW_US, userid=0)
    return {"id": id_, "result": DEQUEUED[type(step.answer)]}


def expected(case: Case) -> dict[str, Any]:
    """Ganeti's answers, with the intended differences put in."""
    answer, manipulated = case.answer, {job.id for job in case.manipulated}
    return {
        "select": answer["select"] if case.kind != "filter language" else None,
        "eligible_sorted": answer["eligible_sorted"],
        "job_filtering": answer["job_filtering"],
        "reason_rate_limit": answer["reason_rate_limit"],
        "rejected": answer["rejected"],
        "eligible": {job.id: answer["jobs"][str(job.id)]["eligible"] for job in case.enqueued},
        "buckets": {job.id: sorted(answer["jobs"][str(job.id)]["buckets"]) for job in case.jobs},
        "dequeue": [
            {"id": entry["id"], "result": "started" if entry["id"] in manipulated else entry["result"]}
            for entry in answer["dequeue"]
        ],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_answers_are_ganetis(kind: str):
    """Every key of every case of a kind."""
    tested = 0
    for case in cases(kind):
        assert answers(case) == expected(case), f"case {case.number}"
        tested += 1
    assert tested, f"no case of the kind {kind}"
