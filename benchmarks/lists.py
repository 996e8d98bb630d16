"""Lists and single jobs from a store with many finished jobs: how long an answer takes, and what memory it costs.

    python benchmarks/lists.py [--finished 100000] [--queued 10000] [--json FILE]

The store is written as the scheduler writes it, ten events for each finished job. Each question is asked of an open
handle, in a process of its own that has asked before; medians in milliseconds. The same is asked of a store with a
hundredth of the jobs, for how it grows. No scheduler runs: none takes part in an answer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from jqsched import Handle
from jqsched.adapters.store.writer import SqliteStore
from jqsched.constants import FLUX_JOB_STATE_PENDING, FLUX_USERID_UNKNOWN
from jqsched.core.event import Event, advance
from jqsched.core.job import Job, Spec
from jqsched.core.json import JsonObject
from jqsched.core.queue import EMPTY
from jqsched.job import get_job, job_list, job_list_inactive
from jqsched.ports import Batch

SAMPLES = 100
SLOW_SAMPLES = 5  # of what takes longer than SLOW_MS
SLOW_MS = 50.0
BATCH = 2000
T0_US = 1_795_247_114_000_000
LIST_MAX_MS, GET_MAX_MS, MEMORY_GROWTH_MAX_BYTES = 5.0, 5.0, 4_000_000

SUBMIT = ("submit", {"userid": os.getuid(), "urgency": 16, "flags": 0, "version": 1})
QUEUED = (SUBMIT, ("validate", {}), ("depend", {}), ("priority", {"priority": 16}))
RAN = (*QUEUED, ("alloc", {"annotations": {"sched": {"resource_summary": "1 core"}}}), ("start", {}))
ENDED = (("release", {"ranks": "all", "final": True}), ("free", {}), ("clean", {}))


# ---- the store ----------------------------------------------------------------------------------------------------


def facts_of(number: int, finished: int) -> Iterator[tuple[str, JsonObject]]:
    """What happened to a job: every hundredth of those that finished has failed."""
    if number > finished:
        return iter(QUEUED)
    return iter((*RAN, ("finish", {"status": 256 if number % 100 == 0 else 0}), *ENDED))


def spec_of(number: int) -> Spec:
    """One in a thousand has a name of its own, one in ten a jobspec with a queue."""
    name = f"rare{number}" if number % 1000 == 0 else "common"
    jobspec = {"version": 1, "attributes": {"system": {"queue": "batch"}}} if number % 10 == 0 else None
    return Spec(("true",), name, "/home/user", jobspec=jobspec)


def write(folder: Path, finished: int, queued: int) -> None:
    """Leave a store behind."""
    store = SqliteStore(str(folder), lambda: None)
    store.start(lambda _: None)
    seq, now_us = 1, T0_US
    events: list[Event] = []
    jobs: list[Job] = []
    for number in range(1, finished + queued + 1):
        job: Job | None = None
        for name, context in facts_of(number, finished):
            now_us += 1
            events.append(Event(number, now_us, name, context, spec_of(number) if name == "submit" else None))
            job = advance(job, events[-1])
        assert job is not None
        jobs.append(job)
        if len(jobs) == BATCH or number == finished + queued:
            store.submit(Batch(EMPTY, seq, tuple(events), tuple(jobs)))
            seq, events, jobs = seq + len(events), [], []
    store.close()


# ---- the questions ------------------------------------------------------------------------------------------------

Question = Callable[[Handle, int], int]  # the handle, how many are finished; answers how many jobs were found

EVERYBODY = FLUX_USERID_UNKNOWN


def _inactive(most: int, **how: object) -> Question:
    return lambda handle, finished: len(job_list_inactive(handle, max_entries=most, **how).get_jobs())  # type: ignore[arg-type]  # as given


def _pending(handle: Handle, finished: int) -> int:
    return len(job_list(handle, max_entries=10, userid=EVERYBODY, states=FLUX_JOB_STATE_PENDING).get_jobs())


def _get_job(handle: Handle, finished: int) -> int:
    assert get_job(handle, finished // 2) is not None
    return 1


def _old(handle: Handle, finished: int) -> int:
    """Those that ended in a stretch of time long ago."""
    end_s = (T0_US + 10 * finished // 2) / 1_000_000
    constraint: JsonObject = {"and": [{"t_inactive": [f"<={end_s!r}"]}, {"t_inactive": [f">{end_s - 0.0001!r}"]}]}
    return len(job_list_inactive(handle, constraint=constraint).get_jobs())


# what is asked, how many answers there must be, and whether it has to keep LIST_MAX_MS
QUESTIONS: dict[str, tuple[Question, int, bool]] = {
    "10 last": (_inactive(10), 10, True),
    "10 last, one name": (_inactive(10, name="common"), 10, True),
    "by a rare name": (_inactive(10, name="rare1000"), 1, True),
    "10 last failed": (_inactive(10, constraint={"results": ["failed"]}), 10, True),
    "10 last of a queue": (_inactive(10, queue="batch"), 10, True),
    "10 in a stretch": (_old, 10, True),
    "10 next to run": (_pending, 10, False),
    "nobody's": (_inactive(10, constraint={"userid": [4711]}), 0, False),
    "1000 last": (_inactive(1000), 1000, False),
    "get_job": (_get_job, 1, True),
}


def measure(spool: str, finished: int) -> dict[str, float]:
    """Milliseconds for each question, and the bytes that this process grew by while it asked."""
    figures: dict[str, float] = {}
    with Handle(spool) as handle:
        for _, ask in zip(range(3), [_inactive(1000)] * 3, strict=True):
            ask(handle, finished)
        before = _resident_bytes()
        for name, (question, _, _) in QUESTIONS.items():
            figures[name] = median(_times_ms(handle, question, finished))
        figures["bytes"] = _resident_bytes() - before
        for name, (question, wanted, _) in QUESTIONS.items():
            assert question(handle, finished) == wanted, name
    figures["first"] = _first_ms(spool, finished)
    return figures


def _times_ms(handle: Handle, question: Question, finished: int) -> Iterator[float]:
    samples, taken = SAMPLES, 0
    while taken < samples:
        begin = time.perf_counter()
        question(handle, finished)
        took_ms = (time.perf_counter() - begin) * 1000
        taken += 1
        samples = SLOW_SAMPLES if took_ms > SLOW_MS else samples
        yield took_ms


def _first_ms(spool: str, finished: int) -> float:
    """What the first list of a new handle takes."""
    begin = time.perf_counter()
    with Handle(spool) as handle:
        _inactive(10)(handle, finished)
    return (time.perf_counter() - begin) * 1000


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# ---- all of them --------------------------------------------------------------------------------------------------


def table(finished: int, queued: int) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Measure a small store and a large one, print both, and name what is not reached."""
    found: dict[str, dict[str, float]] = {}
    for size in (finished // 100, finished):
        with tempfile.TemporaryDirectory(prefix="jqsched-bench-") as folder:
            write(Path(folder), size, queued)
            command = [sys.executable, __file__, "--one", folder, str(size)]
            found[str(size)] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    small, large = found.values()
    for name in (*QUESTIONS, "first"):
        print(f"{name:<20} {small[name]:10.3f} {large[name]:10.3f}")
    print(f"{'grown by, bytes':<20} {small['bytes']:10.0f} {large['bytes']:10.0f}")
    missed = [name for name, (_, _, aimed) in QUESTIONS.items() if aimed and large[name] >= LIST_MAX_MS]
    return found, missed + (["memory"] if large["bytes"] - small["bytes"] > MEMORY_GROWTH_MAX_BYTES else [])


def main() -> int:
    """Print the table; 1 if something is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--json", type=Path, default=None, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, metavar=("SPOOL", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return 0
    print(f"{'ms':<20} {options.finished // 100:>10} {options.finished:>10} finished, {options.queued} queued")
    found, missed = table(options.finished, options.queued)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(f"not reached: {', '.join(missed)}" if missed else "all reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
