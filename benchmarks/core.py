"""The queue core at a thousand to a million queued jobs: what each operation costs, and how it grows.

    python benchmarks/core.py [--sizes 1000,1000000] [--kinds plain,rules,...] [--json FILE]

Each kind and size is a process of its own, so that memory is what it seems. Operations follow one another on the queue
that the one before has left, as in the scheduler; medians of some hundred, for each job touched. Nothing is written and
nothing is started.
"""

import argparse
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from jqsched.core import decide
from jqsched.core import queue as queues
from jqsched.core.accept import accept
from jqsched.core.binding import Arrival
from jqsched.core.filters import Rule, Rules, in_order, read_rule
from jqsched.core.job import Draft, Job, Reason, Spec, State
from jqsched.core.json import Json
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SAMPLES = 300
BUCKETS = 50
NOW_US = 10**15
OPERATIONS = ("enqueue", "dequeue", "set_priority", "pass")
GROWTH_MAX, OPERATION_MAX_US, PASS_MAX_US, MEMORY_MAX_BYTES = 3.0, 100.0, 1000.0, 1500.0


def _rule(number: int, action: Json, *predicates: Json) -> Rule:
    document = {"uuid": f"r{number}", "watermark": 0, "priority": number, "predicates": [*predicates], "action": action}
    rule = read_rule(document)
    assert isinstance(rule, Rule), rule
    return rule


# Nine that are asked of every job and do not match, one that limits it to more than there are.
TEN_RULES = in_order(
    (
        *(_rule(number, "PAUSE", ["job", ["=", "name", f"other{number}"]]) for number in range(8)),
        _rule(8, ["RATE_LIMIT", 1000], ["job", ["=~", "name", "^jo?b"]]),
        _rule(9, "PAUSE", ["jobid", ["<", "id", 0]]),
    )
)
PAUSED = in_order((_rule(0, "PAUSE", ["job", ["=", "cwd", "/paused"]]),))


def plain(id_: int, count: int) -> Job:
    """A job that could start."""
    return _job(id_, 16 + id_ % 7)


def blocked(id_: int, count: int) -> Job:
    """Every second one waits for the one before it."""
    if id_ % 2:
        return plain(id_, count)
    return _job(id_, -1, state=State.DEPEND, waits=(f"after-success={id_ - 1}",))


def paused(id_: int, count: int) -> Job:
    """Nine in ten are paused, and of higher rank than the others."""
    return plain(id_, count) if id_ % 10 == 0 else _job(id_, 100 + id_ % 7, cwd="/paused")


def limited(id_: int, count: int) -> Job:
    """Nine in ten are in one of the buckets, and of higher rank than the others."""
    if id_ % 10 == 0:
        return plain(id_, count)
    return _job(id_, 100 + id_ % 7, reasons=(Reason("bench", f"rate-limit:1:host{id_ % BUCKETS}"),))


def _job(
    id_: int,
    priority: int,
    *,
    cwd: str = "/",
    reasons: tuple[Reason, ...] = (),
    state: State = State.SCHED,
    waits: tuple[str, ...] = (),
) -> Job:
    spec = Spec(("true",), f"job{id_}", cwd, reasons=reasons)
    pin = priority if priority > 0 else None
    return Job(id_, spec, 0, state, priority=priority, pin=pin, waits=waits, t_submit_us=id_)


KINDS: dict[str, tuple[Callable[[int, int], Job], Rules]] = {
    "plain": (plain, ()),
    "10 rules": (plain, TEN_RULES),
    "half blocked": (blocked, ()),
    "90% paused": (paused, PAUSED),
    "90% limited": (limited, ()),
}


# ---- one kind, one size -------------------------------------------------------------------------------------------


def measure(kind: str, count: int) -> dict[str, float]:
    """Microseconds for each operation, and bytes for each job."""
    gc.disable()
    make, rules = KINDS[kind]
    before = _resident_bytes()
    jobs = (make(id_, count) for id_ in range(1, count + 1))
    queue = queues.load(jobs, seq=1, last_us=count, last_id=count, rules=rules)
    memory = (_resident_bytes() - before) / count
    gc.freeze()
    queue = _fill_buckets(queue)
    figures = {"bytes": memory, "pass": median(_passes(queue))}
    sample = random.Random(count).sample(sorted(queue.enqueued), SAMPLES)
    figures["enqueue"] = median(_enqueued(queue))
    figures["set_priority"] = median(
        _timed(queue, sample, lambda it, id_: decide.set_priority(it, id_, 50 + id_ % 100, LIMITS, NOW_US).queue)
    )
    figures["dequeue"] = median(
        _timed(queue, sample, lambda it, id_: decide.dequeue(it, id_, LIMITS, NOW_US, userid=0).queue)
    )
    return figures


LIMITS = Limits(max_running=2, cores=10**6)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _fill_buckets(queue: Queue) -> Queue:
    """Let one of each bucket run, so that all are full."""
    while queue.admission.awake is not None and queue.busy < BUCKETS:
        for id_ in decide.schedule(queue, Limits(BUCKETS, 10**6), NOW_US).permits:
            queue = decide.started(queues.permit(queue, id_), id_, 1, LIMITS, NOW_US).queue
    return queue


def _passes(queue: Queue) -> Iterator[float]:
    """Passes that choose two each; the two start and end before the next."""
    limits = Limits(queue.busy + 2, 10**6)
    for _ in range(min(SAMPLES // 2, len(queue.enqueued) // 40)):
        begin = time.perf_counter()
        decided = decide.schedule(queue, limits, NOW_US)
        yield (time.perf_counter() - begin) * 1e6
        assert len(decided.permits) == 2, "a pass did not choose two"
        queue = decided.queue
        for id_ in decided.permits:
            queue = decide.finished(queue, id_, 1, 0, limits, NOW_US).queue


def _enqueued(queue: Queue) -> Iterator[float]:
    like = queue.enqueued[max(queue.enqueued) - 1].spec
    for number in range(SAMPLES):
        spec = Spec(("true",), f"new{number}", like.cwd, reasons=like.reasons)
        arrivals = [Arrival(queue.last_id + 1, Draft(spec), 0)]
        begin = time.perf_counter()
        accepted = accept(queue, arrivals, {}, LIMITS, NOW_US)
        yield (time.perf_counter() - begin) * 1e6
        queue = accepted.step.queue


def _timed(queue: Queue, sample: list[int], change: Callable[[Queue, int], Queue]) -> Iterator[float]:
    for id_ in sample:
        if id_ not in queue.enqueued:
            continue  # it ended with one that it waited for
        begin, count = time.perf_counter(), len(queue.enqueued)
        queue = change(queue, id_)
        yield (time.perf_counter() - begin) * 1e6 / max(1, count - len(queue.enqueued))


# ---- all of them --------------------------------------------------------------------------------------------------


def table(kind: str, sizes: list[int]) -> tuple[dict[int, dict[str, float]], bool]:
    """Measure a kind at all sizes, print it, and say whether it keeps what is to be reached."""
    found: dict[int, dict[str, float]] = {}
    for size in sizes:
        command = [sys.executable, __file__, "--one", kind, str(size)]
        found[size] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        cells = "  ".join(f"{found[size][what]:9.1f}" for what in (*OPERATIONS, "bytes"))
        print(f"{kind:<13} {size:>9}  {cells}", flush=True)
    growth = {what: found[sizes[-1]][what] / found[sizes[0]][what] for what in OPERATIONS}
    print(f"{kind:<13} {'growth':>9}  " + "  ".join(f"{growth[what]:9.2f}" for what in OPERATIONS), flush=True)
    slow = [what for what in OPERATIONS[:3] if found[sizes[-1]][what] >= OPERATION_MAX_US]
    fits = found[sizes[-1]]["bytes"] < MEMORY_MAX_BYTES and found[sizes[-1]]["pass"] < PASS_MAX_US
    return found, fits and not slow and max(growth.values()) < GROWTH_MAX


def main() -> int:
    """Print the table; 1 if something is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--json", type=Path, default=None, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return 0
    print(f"{'us':<13} {'queued':>9}  " + "  ".join(f"{what:>9}" for what in (*OPERATIONS, "bytes/job")))
    sizes = [int(size) for size in options.sizes.split(",")]
    results = {kind: table(kind, sizes) for kind in options.kinds.split(",")}
    if options.json:
        options.json.write_text(json.dumps({kind: found for kind, (found, _) in results.items()}, indent=1))
    missed = [kind for kind, (_, reached) in results.items() if not reached]
    print(f"not reached: {', '.join(missed)}" if missed else "all reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
