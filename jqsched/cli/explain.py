"""`jqsched explain`: every reason why a job does not run, what would help, and which jobs it waits for.

Rule: the queue is made from the store, so that it is told with a scheduler and without; the reasons are the core's.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli import formats
from jqsched.cli.failure import OK, printable
from jqsched.cli.jobs import snapshot_of
from jqsched.cli.target import Place, known_job, reading, scheduler_status, slow_start
from jqsched.core import explain as core
from jqsched.core import queue as queues
from jqsched.core.explain import Explanation, Obstacle
from jqsched.core.job import Job, State
from jqsched.core.json import Json
from jqsched.core.queue import Queue

SCHEMA = "jqsched.explain/1"


def explain(where: Place, id_: int, *, as_json: bool) -> int:
    """Print why a job does not run."""
    with reading(where) as reader:
        job = known_job(reader, id_)
        told = _explained(where, reader, job)
    slow = slow_start(where.root, job)
    if as_json:
        sys.stdout.write(json.dumps(_document(told, slow), indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{printable(line)}\n" for line in _lines(told, slow))
    return OK


def _explained(where: Place, reader: StoreReader, job: Job) -> Explanation:
    if job.state is State.INACTIVE:
        return Explanation(job, (), 0, permitted=False, chain=())
    return core.explain(snapshot_of(_queue(reader), scheduler_status(where.root)), job)


def _queue(reader: StoreReader) -> Queue:
    """The queue as the store has it, permits included."""
    arrays = reader.progress()
    queue = queues.load(reader.active(), seq=0, last_us=0, last_id=0, rules=reader.rules(), arrays=arrays)
    for id_ in reader.permitted():
        job = queue.enqueued.get(id_)
        if job is not None and queues.is_ready(job):
            queue = queues.permit(queue, id_)
    return queue


# ---- for people ---------------------------------------------------------------------------------------------------


def _lines(told: Explanation, slow: Sequence[str]) -> Iterator[str]:
    job = told.job
    ending = formats.ending(job)
    yield f"job {job.id} ({job.spec.name}): {formats.status(job)}" + (f" ({ending})" if ending else "")
    if job.state >= State.RUN:
        yield from (f"  {text}" for text in slow)
        return
    if told.permitted and not told.obstacles:
        yield "may start at any moment: it has been handed over"
        return
    if told.permitted:
        yield "handed over: it starts as soon as there is room for it"
    if not told.obstacles:
        yield "nothing is in its way: it starts with the next pass"
    for obstacle in told.obstacles:
        reserved = f", reserved for {formats.clock(obstacle.until_us)}" if obstacle.until_us is not None else ""
        yield f"  {obstacle.text}{reserved}"
        if obstacle.help:
            yield f"    until {obstacle.help}"
    yield f"ahead of it: {told.ahead}"
    if told.chain:
        yield "it waits for"
    for link in told.chain:
        why = "; ".join(obstacle.text for obstacle in link.obstacles)
        yield f"{'  ' * link.depth}{link.job.id} {link.job.spec.name} {formats.status(link.job)}" + (
            f": {why}" if why else ""
        )


# ---- for programs -------------------------------------------------------------------------------------------------


def _document(told: Explanation, slow: Sequence[str]) -> dict[str, Json]:
    return {
        "schema": SCHEMA,
        "id": told.job.id,
        "name": told.job.spec.name,
        "state": told.job.state.name,
        "permitted": told.permitted,
        "ahead": told.ahead if told.job.state < State.RUN else None,
        "reasons": _reasons(told.obstacles),
        "starting": slow[0] if slow else None,
        "chain": [
            {
                "depth": link.depth,
                "id": link.job.id,
                "name": link.job.spec.name,
                "state": link.job.state.name,
                "reasons": _reasons(link.obstacles),
            }
            for link in told.chain
        ],
    }


def _reasons(obstacles: Iterable[Obstacle]) -> list[Json]:
    return [
        {
            "kind": each.why.value,
            "text": each.text,
            "until": each.help,
            "jobs": list[Json](each.on),
            "expected": each.until_us / 1_000_000 if each.until_us is not None else None,
        }
        for each in obstacles
    ]
