"""The benchmarks: one command, each figure beside a bare limit or a goal, measured in the same run.

    python benchmarks/run.py [--only rate,latency,…] [--blocks 3] [--work FOLDER] [--json FILE]

Rates are ratios to `limit.c` (posix_spawn and wait, as many at a time), measured before and after each run; CPU is of
scheduler, executor and the jobs they reaped, from /proc. A rate counts only in a folder where creating a file is cheap
(some file systems make it 30 times dearer from one minute to the next).
Read ratios, not rates: the machine is never quiet.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jqsched.adapters.store.reader import StoreReader
from jqsched.client.connection import Connection, NoScheduler

HERE = Path(__file__).parent
SLOTS = 2
CREATE_US_MAX = 60.0
FLOOD, LINKS_MOST = 1_000_000, 50_000  # of one file, on ext4
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
Row = tuple[str, str, str, str]  # what, measured, to reach, aim
Measure = Callable[[argparse.Namespace], list[Row]]


class Bench:
    """A spool in a fresh folder, and its scheduler."""

    def __init__(self, work: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jqsched-bench-", dir=work))
        self.spool, self.aside = self.folder / "spool", self.folder / "aside"
        self.spool.mkdir(mode=0o700)
        self.aside.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.dropped = 0

    def start(self, *options: str) -> float:
        """Start the scheduler; returns the seconds until it serves."""
        begin = time.perf_counter()
        command = [sys.executable, "-m", "jqsched", "run", "--spool", str(self.spool), "--max-running", str(SLOTS)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self.serves():
            if self.process.poll() is not None:
                raise SystemExit((self.folder / "log").read_text())
            time.sleep(0.002)  # a client cannot wait for a socket that is not there yet
        return time.perf_counter() - begin

    def serves(self) -> bool:
        """Whether the scheduler answers."""
        try:
            with Connection(str(self.spool)) as connection:
                return bool(connection.request("job-manager.status"))
        except NoScheduler:
            return False

    def drop(self, count: int, **job: object) -> None:
        """Drop so many jobs, each by a rename."""
        for number in range(self.dropped, self.dropped + count):
            name = f"j{number:06}"
            text = json.dumps({"name": name, "command": ["/bin/true"], **job})
            (self.aside / name).write_text(text)
            os.rename(self.aside / name, self.spool / f"{name}.json")
        self.dropped += count

    def wait(self, count: int) -> None:
        """Wait until so many jobs in all are finished, durably."""
        with Connection(str(self.spool)) as connection:
            connection.request("job-manager.wait", {"count": count})

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the scheduler."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def pids(self) -> list[int]:
        """Scheduler and executor."""
        assert self.process is not None
        found = [self.process.pid]
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(self.spool) in words and any(b"executors.local.process" in word for word in words):
                found.append(int(entry))
        return found

    def cpu_s(self) -> float:
        """CPU of scheduler, executor and all jobs they reaped."""
        total = 0.0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(map(int, fields[11:15])) * TICK_S
        return total

    def rss_mb(self) -> float:
        """Memory of the scheduler."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def create_us(self) -> float:
        """What creating a file costs here just now."""
        probe = self.folder / "probe"
        probe.mkdir(exist_ok=True)
        begin = time.perf_counter()
        for number in range(200):
            os.close(os.open(probe / str(number), os.O_CREAT | os.O_WRONLY, 0o600))
        cost_us = (time.perf_counter() - begin) / 200 * 1e6
        shutil.rmtree(probe)
        return cost_us

    def first(self, event: str) -> int:
        """The time of the first event of that name, in microseconds."""
        reader = StoreReader(str(self.spool))
        try:
            return min((entry.t_us for _, entry in reader.journal() if entry.name == event), default=0)
        finally:
            reader.close()


@contextmanager
def bench(work: Path) -> Iterator[Bench]:
    """A bench that leaves no process; its folder stays until the end, for removing many files makes creating dear."""
    made = Bench(work)
    try:
        yield made
    finally:
        made.stop()


def limit(count: int = 1000) -> tuple[float, float]:
    """The bare rate, and the CPU a job in seconds."""
    binary = Path(tempfile.gettempdir()) / f"jqsched-limit-{os.getuid()}"
    if not binary.exists() or binary.stat().st_mtime < (HERE / "limit.c").stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", binary, HERE / "limit.c"], check=True)
    before = os.times()
    rate = float(subprocess.run([binary, str(count), str(SLOTS)], check=True, capture_output=True).stdout)
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    return rate, used_s / count


def _blocks(options: argparse.Namespace, one: Callable[[], tuple[float, float] | None]) -> tuple[str, str]:
    """The medians of three runs, block by block, and the median of these."""
    blocks: list[tuple[float, float]] = []
    for _ in range(options.blocks):
        runs = [run for run in (one() for _ in range(3)) if run is not None]
        if runs:
            rate, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
            blocks.append((rate, cpu))
    if not blocks:
        return "no run counted: creating a file costs too much here", "-"
    rates, cpus = zip(*blocks, strict=True)
    shown = " ".join(f"{rate:.3f}" for rate in rates)
    return f"{statistics.median(rates):.3f} (blocks {shown})", f"{statistics.median(cpus):.3f}"


def rate(options: argparse.Namespace) -> list[Row]:
    """2,000 jobs dropped by rename, two at a time, as a ratio to the limit; and the same at most once."""

    def one(**job: object) -> tuple[float, float] | None:
        with bench(options.work) as it:
            it.start()
            it.drop(60, **job)
            it.wait(60)
            dear = it.create_us() > CREATE_US_MAX
            (rate_a, cpu_a), cpu_before = limit(), it.cpu_s()
            begin = time.perf_counter()
            it.drop(options.jobs, **job)
            it.wait(60 + options.jobs)
            took_s = time.perf_counter() - begin
            cpu_s = (it.cpu_s() - cpu_before) / options.jobs
            rate_b, cpu_b = limit()
            if dear:
                return None
            return options.jobs / took_s / ((rate_a + rate_b) / 2), (cpu_a + cpu_b) / 2 / cpu_s

    plain, cpu = _blocks(options, one)
    strict, _ = _blocks(options, lambda: one(on_interrupt="fail"))
    return [
        (f"{options.jobs} x true: rate / limit", plain, "0.40", "0.50"),
        ("the same, CPU of C's job / CPU of ours", cpu, "0.45", "0.55"),
        ("the same, at most once", strict, "0.25", "0.30"),
    ]


def latency(options: argparse.Namespace) -> list[Row]:
    """From the rename to the job's first instruction on an idle scheduler; the job stamps CLOCK_MONOTONIC itself."""
    with bench(options.work) as it:
        it.start()
        stamper = it.folder / "stamp"
        source = it.folder / "stamp.c"
        source.write_text(
            "#include <stdio.h>\n#include <time.h>\nint main(void) { struct timespec t;"
            ' clock_gettime(CLOCK_MONOTONIC, &t); printf("%lld\\n", t.tv_sec * 1000000000LL + t.tv_nsec); return 0; }\n'
        )
        subprocess.run(["gcc", "-O2", "-static", "-o", stamper, source], check=True)
        took_ms: list[float] = []
        for number in range(203):
            (it.aside / "job").write_text(json.dumps({"name": "stamp", "command": [str(stamper)]}))
            begin = time.monotonic_ns()
            os.rename(it.aside / "job", it.spool / "stamp.json")
            it.wait(number + 1)
            stamp = int((it.spool / "output" / f"{number + 1}.log").read_text())
            took_ms.append((stamp - begin) / 1e6)
            time.sleep(0.02)  # the scheduler is idle again: that is what is measured
        took_ms = sorted(took_ms[3:])
    shown = f"{took_ms[100]:.2f} / {took_ms[198]:.2f} ms"
    return [("drop to start, idle, p50 / p99 of 200", shown, "4 / 10 ms", "3 / 7 ms")]


def burst(options: argparse.Namespace) -> list[Row]:
    """10,000 files at once: dropped while the scheduler is stopped by SIGSTOP, so that they are all there."""
    with bench(options.work) as it:
        it.start()
        assert it.process is not None
        it.process.send_signal(signal.SIGSTOP)
        it.drop(10_000)
        begin_us = time.time_ns() // 1000
        it.process.send_signal(signal.SIGCONT)
        reader = StoreReader(str(it.spool))
        while sum(reader.counts().values()) < 10_000:
            time.sleep(0.005)  # a look costs the scheduler its cores, too
        accepted_s = time.time_ns() / 1e9 - begin_us / 1e6
        started_s = (it.first("start") - begin_us) / 1e6
        reader.close()
    return [
        ("10,000 files at once: all accepted", f"{accepted_s:.2f} s", "3 s", "2 s"),
        ("the same: first job started", f"{started_s:.3f} s", "0.3 s", "0.15 s"),
    ]


def flood(options: argparse.Namespace) -> list[Row]:
    """1,000,000 files in the drop zone of a scheduler that starts: when does the first job, and how large is it?"""
    with bench(options.work) as it:
        (it.spool / "jqsched.toml").write_text("queue_max = 500\n")
        for number in range(FLOOD):
            source = it.aside / str(number // LINKS_MOST)
            if not number % LINKS_MOST:
                source.write_text(json.dumps({"name": "flood", "command": ["true"]}))
            os.link(source, it.spool / f"{number:07}.json")
        starts_s, memory_mb = [], 0.0
        for finished in range(0, 3000, 1000):
            last_us = time.time_ns() // 1000
            it.start()
            it.wait(finished + 1000)
            memory_mb = max(memory_mb, it.rss_mb())
            it.stop(signal.SIGKILL)
            reader = StoreReader(str(it.spool))
            starts = (event.t_us for _, event in reader.journal(since_us=last_us) if event.name == "start")
            starts_s.append((min(starts) - last_us) / 1e6)
            reader.close()
    shown = f"{statistics.median(starts_s):.2f} s; {memory_mb:.0f} MB"
    return [("1,000,000 files: a scheduler's start to that of its first job; memory", shown, "1 s", "")]


def queued(options: argparse.Namespace) -> list[Row]:
    """100,000 queued jobs: memory, restart to the first start, a list of all."""
    with bench(options.work) as it:
        it.start()
        it.drop(SLOTS, command=["sleep", "600"], urgency=31)
        it.drop(100_000)
        reader = StoreReader(str(it.spool))
        while sum(reader.counts().values()) < 100_000 + SLOTS:
            time.sleep(0.1)  # as above
        rss_mb = it.rss_mb()
        begin = time.perf_counter()
        command = [sys.executable, "-m", "jqsched", "jobs", "--spool", str(it.spool), "--json"]
        with (it.folder / "list").open("wb") as list_:
            subprocess.run(command, check=True, stdout=list_)
        list_s = time.perf_counter() - begin
        it.stop(signal.SIGKILL)
        for job in list(reader.active()):
            if job.started:
                subprocess.run([sys.executable, "-c", ENDER, str(it.spool), str(job.id)], check=True)
        last_us = reader.last_us()
        begin_us = time.time_ns() // 1000
        it.start()
        first_us = 0
        while not first_us:
            time.sleep(0.002)  # the store is looked at, for no client is to be served before the first start
            starts = [event.t_us for _, event in reader.journal(since_us=last_us) if event.name == "start"]
            first_us = min(starts, default=0)
        restart_s = (first_us - begin_us) / 1e6
        again_mb = it.rss_mb()
        reader.close()
    return [
        ("100,000 queued: memory (after a restart)", f"{rss_mb:.0f} ({again_mb:.0f}) MB", "250 MB", "150 MB"),
        ("the same: restart to first start", f"{restart_s:.2f} s", "3 s", "1.5 s"),
        ("the same: jobs --json of all", f"{list_s:.2f} s", "3 s", "1 s"),
    ]


ENDER = """
import os, signal, sys
mark = {f"JQSCHED_SPOOL={sys.argv[1]}".encode(), f"JQSCHED_JOB_ID={sys.argv[2]}".encode()}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if mark <= set(open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")): os.kill(int(pid), signal.SIGKILL)
    except OSError: pass
"""


def idle(options: argparse.Namespace) -> list[Row]:
    """Wake-ups of an idle scheduler and executor, counted by voluntary context switches of all their threads."""
    with bench(options.work) as it:
        it.start()
        it.drop(5)
        it.wait(5)
        time.sleep(1)  # what the jobs woke up has gone to sleep
        before, cpu_before, seconds = _switches(it), it.cpu_s(), 20
        time.sleep(seconds)  # the time that is measured
        wakeups, cpu_ms = (_switches(it) - before) / seconds, (it.cpu_s() - cpu_before) * 1000 / seconds
    return [("idle: wake-ups a second (a scan every 5 s)", f"{wakeups:.2f}; {cpu_ms:.2f} ms CPU/s", "the scan's", "")]


def _switches(it: Bench) -> int:
    total = 0
    for pid in it.pids():
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            total += next(int(line.split()[1]) for line in status.open() if line.startswith("voluntary_ctxt"))
    return total


def command(options: argparse.Namespace) -> list[Row]:
    """How long a command takes to answer."""
    with bench(options.work) as it:
        it.start()
        shown = []
        for words in (["--help"], ["jobs", "--spool", str(it.spool)]):
            took_s = []
            for _ in range(5):
                begin = time.perf_counter()
                subprocess.run([sys.executable, "-m", "jqsched", *words], check=True, capture_output=True)
                took_s.append(time.perf_counter() - begin)
            shown.append(f"{statistics.median(took_s):.3f}")
    return [("`jqsched --help` / `jqsched jobs`", " / ".join(shown) + " s", "0.3 s", "")]


MEASURES: dict[str, Measure] = {
    "rate": rate, "latency": latency, "burst": burst, "flood": flood, "queued": queued, "idle": idle,
    "command": command,
}  # fmt: skip


def tabulate(doc: str | None, measures: dict[str, Measure], *flags: tuple[str, type, object, str]) -> None:
    """Read the command line, measure what it names, and print one table. Each flag: name, type, default, help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(measures), help="comma list of " + ", ".join(measures))
    parser.add_argument("--work", type=Path, default=None, help="folder on the disk to be measured")
    parser.add_argument("--json", type=Path, default=None, help="write the rows there, too")
    for name, kind, default, help_ in flags:
        parser.add_argument(name, type=kind, default=default, help=f"{help_} (default {default})")
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    print("| what | measured | to reach | aim | load average |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="jqsched-bench-", dir=options.work, ignore_cleanup_errors=True) as work:
        options.work = Path(work)
        for name in options.only.split(","):
            for row in measures[name](options):
                rows.append((*row, f"{os.getloadavg()[0]:.1f}"))
                print("| " + " | ".join(rows[-1]) + " |", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    tabulate(
        __doc__,
        MEASURES,
        ("--blocks", int, 3, "blocks of three runs for the rates"),
        ("--jobs", int, 2000, "jobs in a rate run"),
    )
