"""The Python interface: how fast a journal is read, how soon an event is heard, what many watchers cost.

    python benchmarks/clients.py [--only history,latency,watchers,start] [--work FOLDER]

Latency is from the moment when the scheduler's answer to the change is there (it is durable then) to the moment when
another process has its event; and from the event's own time, which is before its commit. Read both beside what a bare
socket takes. The machine is never quiet.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from run import Measure, Row, bench, tabulate

from jqsched import Handle, job
from jqsched.adapters.store.writer import SqliteStore
from jqsched.client.connection import Connection
from jqsched.constants import FLUX_REACTOR_NOWAIT, FLUX_REACTOR_ONCE
from jqsched.core.event import Event, advance
from jqsched.core.job import Spec
from jqsched.core.queue import EMPTY
from jqsched.job.journal import JournalConsumer
from jqsched.ports import Batch

SUBMIT = ("submit", {"userid": 0, "urgency": 16, "flags": 0, "version": 1})
QUEUED = (SUBMIT, ("validate", {}), ("depend", {}), ("priority", {"priority": 16}))
COMPLETED = (
    *QUEUED,
    ("alloc", {"annotations": {"sched": {"resource_summary": "1 core"}}}),
    ("start", {}),
    ("finish", {"status": 0}),
    ("release", {"ranks": "all", "final": True}),
    ("free", {}),
    ("clean", {}),
)
PORTION = 500
CHANGES = 300


def fill(folder: Path, finished: int, queued: int = 0) -> None:
    """Write a store with so many jobs."""
    store = SqliteStore(str(folder), lambda: None)
    store.start(lambda _: None)
    t_us, seq = 1_795_247_114_000_000, 1
    stories = [*[COMPLETED] * finished, *[QUEUED] * queued]
    for begin in range(0, len(stories), PORTION):
        events, jobs = [], []
        for id_, story in enumerate(stories[begin : begin + PORTION], begin + 1):
            known = None
            for name, context in story:
                t_us += 1
                spec = Spec(command=("true",), name=f"job{id_}", cwd="/") if name == "submit" else None
                events.append(Event(id_, t_us, name, context, spec))
                known = advance(known, events[-1])
            jobs.append(known)
        store.submit(Batch(EMPTY, seq, tuple(events), tuple(jobs)))
        seq += len(events)
    store.close()


def history(options: argparse.Namespace) -> list[Row]:
    """20,000 events by poll and by callback; 200,000; the end of 1,000,000; the active of 100,000."""
    rows = []
    small, middle, large = (Path(tempfile.mkdtemp(dir=options.work)) for _ in range(3))
    fill(small, 2000)
    fill(middle, 20_000)
    fill(large, 96_000, 10_000)
    for name, read, to_reach in (("poll", _polled, "0.2 s"), ("callback", _called, "0.2 s")):
        shown = _median(lambda read=read: read(small))
        rows.append((f"journal of 20,000 events, by {name}", shown, to_reach, ""))
    rows.append(("journal of 200,000 events, by poll", _median(lambda: _polled(middle)), "2 s", ""))
    rows.append(
        ("the last 1,000 of 1,000,000, by since_seq", _median(lambda: _polled(large, since_seq=999_000)), "", "")
    )
    rows.append(("10,000 queued of 106,000 jobs, full=False", _median(lambda: _polled(large, full=False)), "", ""))
    rows.append(("one job's log of 106,000", _median(lambda: _log(large)), "", ""))
    return rows


def _median(measure: Callable[[], float]) -> str:
    took = sorted(measure() for _ in range(7))
    return f"{took[3]:.3f} s ({took[0]:.3f} to {took[-1]:.3f})"


def _polled(folder: Path, **choice: object) -> float:
    with Handle(folder) as handle:
        begin = time.perf_counter()
        consumer = JournalConsumer(handle, **choice).start()
        consumer.stop()
        while consumer.poll() is not None:
            pass
        return time.perf_counter() - begin


def _called(folder: Path) -> float:
    seen = []
    with Handle(folder) as handle:
        begin = time.perf_counter()
        JournalConsumer(handle).set_callback(seen.append).start().stop()
        handle.reactor_run()
        return time.perf_counter() - begin


def _log(folder: Path) -> float:
    with Handle(folder) as handle:
        begin = time.perf_counter()
        job.event_wait(handle, 50_000, "clean")
        return time.perf_counter() - begin


WATCHER = """
import sys, time
from jqsched import Handle
from jqsched.job.journal import JournalConsumer
with Handle(sys.argv[1]) as handle:
    consumer = JournalConsumer(handle, events=["urgency"]).start()
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        event = consumer.poll()
        print(time.perf_counter(), time.time() - event.timestamp, flush=True)
"""


def latency(options: argparse.Namespace) -> list[Row]:
    """A change is made; when has another process its event?"""
    with bench(options.work) as it:
        it.start()
        command = [sys.executable, "-c", WATCHER, str(it.spool), str(CHANGES)]
        with Handle(it.spool) as handle, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            id_ = job.submit(handle, {"command": ["true"]}, urgency=0)
            watcher.stdout.readline()
            answered, asked, heard = [], [], []
            for _ in range(CHANGES):
                time.sleep(0.01)  # the watcher has gone back to waiting by then
                begin = time.perf_counter()
                job.set_urgency(handle, id_, 0)
                answered.append(time.perf_counter())
                asked.append(answered[-1] - begin)
                heard.append(tuple(map(float, watcher.stdout.readline().split())))
            bare = []
            with Connection(str(it.spool)) as connection:
                for _ in range(CHANGES):
                    begin = time.perf_counter()
                    connection.request("job-manager.status")
                    bare.append(time.perf_counter() - begin)
    after_answer = [at - answer for (at, _), answer in zip(heard, answered, strict=True)]
    return [
        ("event heard after its change was answered, p50 / p99", _percentiles(after_answer), "2 ms", ""),
        ("event heard after its own time (commit in between)", _percentiles([since for _, since in heard]), "", ""),
        ("the change: asked to answered, durable", _percentiles(asked), "", ""),
        ("a question over the bare socket", _percentiles(bare), "", ""),
    ]


def _percentiles(times_s: list[float]) -> str:
    ordered = sorted(time_s * 1000 for time_s in times_s)
    return f"{ordered[len(ordered) // 2]:.2f} / {ordered[len(ordered) * 99 // 100]:.2f} ms"


def watchers(options: argparse.Namespace) -> list[Row]:
    """1,000 logs watched by one handle; 100 processes' worth of handles that follow the journal."""
    rows = []
    with bench(options.work) as it:
        it.start("--max-running", "2")
        with Handle(it.spool) as handle:
            ids = [job.submit(handle, {"command": ["true"]}, urgency=0) for _ in range(1000)]
            ended: list[int] = []
            for id_ in ids:
                job.event_watch_async(handle, id_).then(_until_end, ended)
            begin = time.perf_counter()
            for id_ in ids[:100]:
                job.set_urgency_async(handle, id_, 16)
            while len(ended) < 100:
                handle.reactor_run(flags=FLUX_REACTOR_ONCE)
            rows.append(
                ("100 jobs run under 1,000 watches of one handle", f"{time.perf_counter() - begin:.2f} s", "", "")
            )
    for followers in (0, 100):
        with bench(options.work) as it:
            it.start()
            handles = [Handle(it.spool) for _ in range(followers)]
            for handle in handles:
                JournalConsumer(handle).set_callback(lambda _: None).start()
                handle.reactor_run(flags=FLUX_REACTOR_NOWAIT)
            cpu_s, begin = it.cpu_s(), time.perf_counter()
            it.drop(500)
            it.wait(500)
            shown = f"{time.perf_counter() - begin:.2f} s, CPU {it.cpu_s() - cpu_s:.2f} s"
            rows.append((f"500 jobs with {followers} followers that do not read", shown, "", ""))
            for handle in handles:
                handle.close()
    return rows


def _until_end(future: job.JobEventWatchFuture, ended: list[int]) -> None:
    if future.get_event() is None:
        ended.append(1)


def start(options: argparse.Namespace) -> list[Row]:
    """What a script pays before its first request."""
    rows = []
    for code in ("pass", "import jqsched; jqsched.Handle", "from jqsched.job import journal, event, control"):
        took = []
        for _ in range(9):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            took.append(time.perf_counter() - begin)
        rows.append((f"python -c '{code}'", f"{statistics.median(took):.3f} s", "", ""))
    return rows


MEASURES: dict[str, Measure] = {
    "history": history, "latency": latency, "watchers": watchers, "start": start,
}  # fmt: skip


if __name__ == "__main__":
    tabulate(__doc__, MEASURES)
