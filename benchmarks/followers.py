"""Readers beside a scheduler that works: what they cost it, how far they fall behind, and what many finished jobs cost.

    python benchmarks/followers.py [--only load,crowd,wait,finished] [--pairs 3] [--work FOLDER] [--json FILE]

Each follower is a process that reads the whole journal through a `JournalConsumer`, event by event. What they cost is
the rate with them as a part of the rate without, run after run on fresh spools: the median of some pairs. On two cores
the jobs, the scheduler and all readers share these. Readers lag by the time from an event to the moment when the one
that is last has it; most while files are accepted, much faster than jobs run. The machine is never quiet: the load
average stands beside.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from clients import fill
from run import Measure, Row, bench, tabulate

from jqsched import Handle, job

LISTS_A_MINUTE = 1000
LOAD_PAIRS = 5  # for each pair that is asked for: these take two seconds, and scatter from 0.6 to 1.1
WAITS = 200
MEMORY_JOBS, PORTION = (1000, 5000), 500

# Prints `ready` when the history is read, and at the end the longest time that the first or the last event of a job
# took, the longest of those that happened more than two seconds after the last submission, and its own CPU since. It
# looks at every event, but not at the time of each: that would be a fifth of what is measured.
FOLLOWER = """
import sys, time
from jqsched import Handle
from jqsched.job.journal import JournalConsumer
wanted, ended, submitted, late_s = int(sys.argv[2]), 0, 0.0, {}
with Handle(sys.argv[1]) as handle:
    consumer = JournalConsumer(handle, include_sentinel=True).start()
    while not (event := consumer.poll()).is_empty():
        ended += event.name == "clean"
    print("ready", flush=True)
    before_s = time.process_time()
    while ended < wanted:
        event = consumer.poll()
        name = event.name
        if name == "submit":
            submitted = event.timestamp
        elif name == "clean":
            ended += 1
        else:
            continue
        second = int(event.timestamp)
        late_s[second] = max(late_s.get(second, 0.0), time.time() - event.timestamp)
    used_s = time.process_time() - before_s
    after_s = [late_s[second] for second in late_s if second > submitted + 2]
    print(max(late_s.values()), max(after_s, default=0.0), used_s, flush=True)
"""
# Lists the last ten that finished and the next ten to run, in turn, so many times a minute, until it is ended.
LISTER = """
import sys, time
from jqsched import Handle
from jqsched.job import job_list, job_list_inactive
with Handle(sys.argv[1]) as handle:
    print("ready", flush=True)
    due_s = time.monotonic()
    while True:
        for ask in (job_list_inactive, job_list):
            ask(handle, max_entries=10).get_jobs()
            due_s += 60 / float(sys.argv[2])
            time.sleep(max(0.0, due_s - time.monotonic()))  # so many a minute, and not more
"""
# Waits for the event of each job that it is told, and prints when it had it.
WAITER = """
import sys, time
from jqsched import Handle, job
with Handle(sys.argv[1]) as handle:
    for line in sys.stdin:
        job.event_wait(handle, int(line), "urgency")
        print(time.perf_counter(), flush=True)
"""


@contextmanager
def readers(code: str, count: int, *arguments: object) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that read, all of them ready; ended with the block."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    made = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield made
    finally:
        for process in made:
            process.kill()
        for process in made:
            process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a reader prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


# ---- what readers cost --------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Jobs a second, how late the last follower was at worst, and then, and the CPU of followers and of all else."""

    rate: float
    late_s: float = 0.0
    late_after_s: float = 0.0
    followers_s: float = 0.0
    cpu_s: float = 0.0


def rate(options: argparse.Namespace, jobs: int, followers: int, lists: int, **spec: object) -> Run:
    """Run so many jobs under so many followers and lists a minute."""
    with bench(options.work) as it:
        it.start()
        it.drop(20)
        it.wait(20)
        with (
            readers(FOLLOWER, followers, it.spool, 20 + jobs) as following,
            readers(LISTER, 1 if lists else 0, it.spool, lists) as listing,
        ):
            assert all(said(process) == "ready" for process in [*following, *listing])
            before_s, begin = it.cpu_s(), time.perf_counter()
            it.drop(jobs, **spec)
            it.wait(20 + jobs)
            took_s, cpu_s = time.perf_counter() - begin, it.cpu_s() - before_s
            told = [tuple(map(float, said(process).split())) for process in following]
    if not told:
        return Run(jobs / took_s, cpu_s=cpu_s)
    late_s, late_after_s, used_s = zip(*told, strict=True)
    return Run(jobs / took_s, max(late_s), max(late_after_s), sum(used_s), cpu_s)


def _compared(count: int, what: str, one: Callable[[bool], Run]) -> list[Row]:
    pairs = [(one(False), one(True)) for _ in range(count)]
    ratio = statistics.median(beside.rate / alone.rate for alone, beside in pairs)
    rates = ", ".join(f"{alone.rate:.0f} → {beside.rate:.0f}" for alone, beside in pairs)
    followers_s, cpu_s = (
        statistics.median(column) for column in zip(*(beside[3:] for _, beside in pairs), strict=True)
    )
    return [
        (f"{what}: rate with / without", f"{ratio:.2f} ({rates} a second)", "0.80", ""),
        ("the same: late at worst", f"{max(beside.late_s for _, beside in pairs):.2f} s", "1 s", ""),
        (
            "the same: late at worst, 2 s after the last submission",
            f"{max(beside.late_after_s for _, beside in pairs):.2f} s",
            "1 s",
            "",
        ),
        ("the same: CPU of followers; scheduler, executor, jobs", f"{followers_s:.2f} s; {cpu_s:.2f} s", "", ""),
    ]


def load(options: argparse.Namespace) -> list[Row]:
    """2,000 x true under 10 followers and 1,000 lists a minute."""

    def one(beside: bool) -> Run:
        return rate(options, options.jobs, 10 if beside else 0, LISTS_A_MINUTE if beside else 0)

    what = f"{options.jobs} x true, 10 followers, {LISTS_A_MINUTE} lists a minute"
    return _compared(options.pairs * LOAD_PAIRS, what, one)


def crowd(options: argparse.Namespace) -> list[Row]:
    """5,000 jobs of 20 ms under 100 followers."""

    def one(beside: bool) -> Run:
        return rate(options, options.short_jobs, options.crowd if beside else 0, 0, command=["/bin/sleep", "0.02"])

    return _compared(options.pairs, f"{options.short_jobs} jobs of 20 ms, {options.crowd} followers", one)


# ---- how soon -----------------------------------------------------------------------------------------------------


def wait(options: argparse.Namespace) -> list[Row]:
    """From the answer to a change (it is durable) to the moment when `event_wait` in another process has returned."""
    with bench(options.work) as it:
        it.start()
        with Handle(it.spool) as handle, readers(WAITER, 1, it.spool) as (waiter,):
            assert waiter.stdin is not None
            took_ms = []
            for _ in range(WAITS):
                id_ = job.submit(handle, {"command": ["true"]}, urgency=0)
                waiter.stdin.write(f"{id_}\n")
                waiter.stdin.flush()
                time.sleep(0.03)  # it waits by then, and nothing tells that it does
                job.set_urgency(handle, id_, 0)
                answered_s = time.perf_counter()
                took_ms.append((float(said(waiter)) - answered_s) * 1000)
    took_ms.sort()
    shown = f"{took_ms[WAITS // 2]:.2f} / {took_ms[WAITS * 99 // 100]:.2f} ms"
    return [("event_wait returns after the change was answered, p50 / p99", shown, "2 ms", "")]


# ---- many finished jobs -------------------------------------------------------------------------------------------


def finished(options: argparse.Namespace) -> list[Row]:
    """100,000 finished jobs in the store: how soon a scheduler has run a job, and what memory it takes."""
    rows, memory = [], []
    for count in (options.finished // 100, options.finished):
        starts_s = []
        with bench(options.work) as it:
            fill(it.spool, count)
            for number in range(5):
                it.drop(1)
                begin = time.perf_counter()
                it.start()
                it.wait(count + number + 1)
                starts_s.append(time.perf_counter() - begin)
                memory_mb = it.rss_mb()
                it.stop(signal.SIGKILL)
        memory.append(memory_mb)
        rows.append(
            (
                f"{count} finished: restart to the end of the first `true`",
                f"{statistics.median(starts_s):.2f} s",
                "1 s",
                "",
            )
        )
    shown = " → ".join(f"{mb:.1f}" for mb in memory) + " MB"
    rows.append((f"memory of the scheduler with {options.finished // 100}, {options.finished} finished", shown, "", ""))
    with bench(options.work) as it:
        it.start()
        grown = []
        for count in range(PORTION, MEMORY_JOBS[-1] + 1, PORTION):  # as many at a time, early and late
            it.drop(PORTION)
            it.wait(count)
            if count in MEMORY_JOBS:
                grown.append(it.rss_mb())
    shown = " → ".join(f"{mb:.1f}" for mb in grown) + " MB"
    rows.append((f"memory of one that ran {MEMORY_JOBS[0]}, {MEMORY_JOBS[1]} jobs itself", shown, "flat", ""))
    return rows


MEASURES: dict[str, Measure] = {
    "load": load, "crowd": crowd, "wait": wait, "finished": finished,
}  # fmt: skip


if __name__ == "__main__":
    tabulate(
        __doc__,
        MEASURES,
        ("--pairs", int, 3, "runs without and with readers; five times as many of the short ones"),
        ("--jobs", int, 2000, "jobs of `load`"),
        ("--short-jobs", int, 5000, "jobs of `crowd`"),
        ("--crowd", int, 100, "followers of `crowd`"),
        ("--finished", int, 100_000, "jobs of `finished`"),
    )
