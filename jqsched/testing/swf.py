"""Traces of real machines in the Standard Workload Format, as jobs that arrive.

Rule: a trace is read as a whole before anything is simulated: every line that is none is told with its number. What a
field means for us is said in `arrivals`; -1 is "unknown" everywhere.
Source: Chapin, Feitelson et al., The Standard Workload Format, version 2.2 (18 fields a line, header lines with `;`).
"""

import re
from collections.abc import Iterable, Iterator

from attrs import frozen

from jqsched.core.job import Dependency, Draft, Reason, Spec
from jqsched.core.jobspec.values import COUNT_MAX, SECONDS_MAX
from jqsched.testing.runtimes import FAILED, RUN_US_MAX, Run

FIELDS = 18
ERRORS_MAX = 20
UNKNOWN = -1
TERMINATED = (128 + 15) << 8

_HEADER = re.compile(r";\s*(\w+)\s*:\s*(.*)")
_INTEGER = re.compile(r"\d{1,9}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d*)?", re.ASCII)  # a float holds 15 digits; averages are written as 12.5
_NAMES = (
    "job number", "submit time", "wait time", "run time", "processors", "CPU time", "memory", "requested processors",
    "requested time", "requested memory", "status", "user", "group", "executable", "queue", "partition",
    "preceding job", "think time",
)  # fmt: skip


@frozen
class TraceJob:
    """A line of a trace, as far as it matters here. `cores` is never unknown, the rest may be."""

    number: int
    submit_us: int
    run_us: int
    cores: int
    limit_us: int
    status: int
    executable: int
    user: int
    preceding: int


@frozen
class Trace:
    """The jobs of a trace in the order of submission, and of its header what was asked for."""

    jobs: tuple[TraceJob, ...]
    processors: int | None = None
    left_out: tuple[str, ...] = ()


@frozen
class BadTrace:
    """Why a trace is none: the first errors, each with its line."""

    errors: tuple[str, ...]


class _BadLine(ValueError):
    """What is wrong with one line."""


@frozen
class TraceArrival:
    """A job as it comes: when, what, and how it goes."""

    submit_us: int
    name: str
    draft: Draft
    run: Run


# ---- reading ------------------------------------------------------------------------------------------------------


def read_trace(lines: Iterable[str]) -> Trace | BadTrace:
    """Read a trace.

    Shape:    jobs that ran: lines that tell of a part of a job (status 2, 3, 4), and of one that was canceled before it
              ran, are left out and counted.
    Refuses:  a line that has not 18 numbers, times that run backwards, a job without run time or processors, a job
              number that was there before.
    Cost:     about 10 µs a line; some 350 bytes a job.
    """
    reading = _Reading()
    for nth, line in enumerate(lines, 1):
        try:
            reading.take(line.strip())
        except _BadLine as wrong:
            reading.errors.append(f"line {nth}: {wrong}")
            if len(reading.errors) == ERRORS_MAX:
                break
    return reading.result()


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._header: dict[str, str] = {}
        self._jobs: list[TraceJob] = []
        self._numbers: set[int] = set()
        self._parts = self._canceled = 0

    def take(self, text: str) -> None:
        """Take in a line. Raises _BadLine."""
        if not text or text.startswith(";"):
            if found := _HEADER.match(text):
                self._header.setdefault(found[1].lower(), found[2].strip())
            return
        fields = _fields(text)
        if fields[10] in (2, 3, 4):
            self._parts += 1
        elif fields[10] == 5 and fields[3] <= 0:
            self._canceled += 1
        else:
            self._add(_job(fields))

    def _add(self, job: TraceJob) -> None:
        if self._jobs and job.submit_us < self._jobs[-1].submit_us:
            raise _BadLine("submit time (field 2): earlier than that of the job before it")
        if job.number in self._numbers:
            raise _BadLine(f"job number (field 1): {job.number} was there before")
        self._numbers.add(job.number)
        self._jobs.append(job)

    def result(self) -> Trace | BadTrace:
        """The trace, or all errors."""
        processors: int | None = None
        try:
            processors = _processors(self._header)
        except _BadLine as wrong:
            self.errors.append(str(wrong))
        if not self._jobs and not self.errors:
            self.errors.append("there is no job in it")
        if self.errors:
            return BadTrace(tuple(self.errors))
        left_out = [f"{self._parts} line(s) about parts of jobs"] if self._parts else []
        left_out += [f"{self._canceled} job(s) canceled before they ran"] if self._canceled else []
        return Trace(tuple(self._jobs), processors, tuple(left_out))


def _fields(text: str) -> list[float]:
    words = text.split()
    if len(words) != FIELDS:
        raise _BadLine(f"has {len(words)} fields, not {FIELDS}")
    for nth, word in enumerate(words):
        if not _NUMBER.fullmatch(word):
            raise _BadLine(f"{_NAMES[nth]} (field {nth + 1}): {word[:40]!r} is no number")
    return [float(word) for word in words]


def _job(fields: list[float]) -> TraceJob:
    if fields[0] < 1:
        raise _BadLine("job number (field 1): must be 1 or more")
    if fields[1] < 0:
        raise _BadLine("submit time (field 2): is unknown")
    if fields[3] < 0:
        raise _BadLine("run time (field 4): is unknown")
    cores = int(fields[4]) if fields[4] >= 1 else int(fields[7])
    if cores < 1:
        raise _BadLine("processors (field 5), requested processors (field 8): both unknown")
    if cores > COUNT_MAX:
        raise _BadLine(f"processors (field 5), requested processors (field 8): more than {COUNT_MAX}")
    run_us, limit_us = _us(fields[3]), _us(fields[8])
    if max(run_us, _us(fields[1])) > RUN_US_MAX:
        raise _BadLine("submit time, run time (fields 2 and 4): too large")
    if limit_us > SECONDS_MAX * 1_000_000:
        raise _BadLine("requested time (field 9): too large")
    number, status, user, executable, preceding = (int(fields[nth]) for nth in (0, 10, 11, 13, 16))
    return TraceJob(number, _us(fields[1]), run_us, cores, limit_us, status, executable, user, preceding)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000) if seconds >= 0 else UNKNOWN


def _processors(header: dict[str, str]) -> int | None:
    """How many processors the machine had, as far as the header tells."""
    for key in ("maxprocs", "maxnodes"):
        text = header.get(key, "").split(" ")[0]
        if text in ("", "-1"):
            continue
        if not _INTEGER.fullmatch(text) or int(text) < 1:
            raise _BadLine(f"header {key}: {text[:40]!r} is no number of processors")
        return int(text)
    return None


# ---- as jobs ------------------------------------------------------------------------------------------------------


def arrivals(trace: Trace, first_id: int = 1) -> Iterator[TraceArrival]:
    """The jobs of a trace as they come; the n-th gets the id `first_id` + n.

    Shape:    named for its executable (`app7`), else `job`; its user stands among its reasons (`user 3`), for rules;
              cores: the processors that it used, else those requested. The requested time is its time limit, unless
              it ran longer: then that machine did not enforce it. A preceding job is a dependency `afterany`; the think
              time is not kept. It ends as it did: well, failed (status 0), or terminated (status 5).
    """
    ids = {job.number: first_id + nth for nth, job in enumerate(trace.jobs)} if _has_chains(trace) else {}
    specs: dict[tuple[int, int, int, int], Spec] = {}
    for nth, job in enumerate(trace.jobs):
        limit_us = job.limit_us if job.limit_us >= job.run_us and job.limit_us > 0 else UNKNOWN
        key = (job.executable, job.cores, limit_us, job.user)
        spec = specs.get(key)
        if spec is None:
            spec = specs[key] = _spec(*key)
        before = ids.get(job.preceding)
        if before is not None and before < first_id + nth:
            spec = _spec(*key, before)
        yield TraceArrival(job.submit_us, f"job {job.number}", Draft(spec), Run(job.run_us, _status(job)))


def _has_chains(trace: Trace) -> bool:
    return any(job.preceding > 0 for job in trace.jobs)


def _spec(executable: int, cores: int, limit_us: int, user: int, before: int | None = None) -> Spec:
    return Spec(
        command=("true",),
        name=f"app{executable}" if executable > 0 else "job",
        cwd="/",
        cores=cores,
        time_limit_us=limit_us if limit_us != UNKNOWN else None,
        reasons=(Reason("swf", f"user {user}"),) if user != UNKNOWN else (),
        dependencies=(Dependency("afterany", before),) if before is not None else (),
    )


def _status(job: TraceJob) -> int:
    return {0: FAILED, 5: TERMINATED}.get(job.status, 0)
