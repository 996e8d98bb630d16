"""`jqsched simulate`: what the scheduler would do with a queue, with job files or with a trace, and when.

Rule: the spool is only read, without a lock; its scheduler is asked for its limits and nothing else. What is
dropped, how long it runs and under which limits is put together here; the rest is `jqsched.testing.simulation`.
"""

import json
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from attrs import evolve, frozen

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli import simulation_report as simulated
from jqsched.cli.failure import INVALID, OK, USAGE, Failure, tell
from jqsched.cli.target import Place, reading, scheduler_status
from jqsched.core.event import Event
from jqsched.core.job import Draft, Outcome, OwnName, Spec, State
from jqsched.core.jobspec import Wrong
from jqsched.core.jobspec.values import show
from jqsched.core.json import Json
from jqsched.core.policy import Backfill, Limits, outcome_of
from jqsched.core.queue import EMPTY, Queue, find, load
from jqsched.core.view import event_entry, runtime_us
from jqsched.ports import Stored
from jqsched.scheduler.rulebook import RuleRefused
from jqsched.testing.runtimes import FAILED, RunOf, Sample, fails, median_us, read_distribution, runs
from jqsched.testing.simulation import START_US, USERID, Simulation, nothing_past
from jqsched.testing.simulation_ports import Arrival, Past, Sink
from jqsched.testing.swf import BadTrace, Trace, arrivals, read_trace

HISTORY = "history"
HISTORY_JOBS = 20_000  # finished jobs that are looked at for it, the last to end first
ASSUMED = "the time limit, else a minute (--runtime says otherwise)"
SETTINGS = ("drained", "last_id", "seq", "last_us")


@frozen
class Request:
    """What the command line says; None: not given. `queue`: whether the present queue takes part."""

    files: Sequence[str] = ()
    swf: str | None = None
    queue: bool | None = None
    max_running: int | None = None
    cores: int | None = None
    backfill: str | None = None
    backfill_depth: int | None = None
    runtime: str | None = None
    fail: float = 0.0
    rules: Sequence[str] = ()
    seed: int = 0
    now_us: int | None = None
    until_us: int | None = None


def simulate(request: Request, where: Place | None, shown: simulated.ReportOptions) -> int:
    """Simulate and print. 3 when there were files or jobs that were refused; what was not goes its way."""
    if request.swf is not None and (request.files or request.queue):
        raise Failure("simulate: a trace is simulated alone, on an empty queue", USAGE)
    if request.swf is not None and request.runtime is not None:
        raise Failure("--runtime: a trace says itself how long its jobs run", USAGE)
    if request.queue is None:
        request = evolve(request, queue=not request.files and request.swf is None)
    trace = _trace(request.swf) if request.swf is not None else None
    bad_files, drops = _drops(request.files)
    with reading(where) if where is not None else nullcontext() as reader:
        simulation = _put_together(request, where, reader, trace, drops, shown)
        try:
            simulation.run(request.until_us)
        except RuleRefused as refused:
            raise Failure([f"--rule: {error}" for error in str(refused).splitlines()], INVALID) from None
    shown.result(simulation, seed=request.seed, assumed=ASSUMED if request.runtime is None and trace is None else None)
    for line in simulation.rejected:
        tell(line)
    return INVALID if bad_files or simulation.rejected else OK


def _put_together(
    request: Request,
    where: Place | None,
    reader: StoreReader | None,
    trace: Trace | None,
    drops: Sequence[Arrival],
    shown: simulated.ReportOptions,
) -> Simulation:
    stored = _stored(reader) if reader is not None and request.queue else Stored(EMPTY, (), {}, {})
    if trace is not None:
        start_us, limits = request.now_us or START_US, _limits_of_trace(request, trace)
        coming: Iterable[Arrival] = _of_trace(request, trace)
    else:
        start_us, limits = request.now_us or time.time_ns() // 1000, _limits(request, where)
        coming = drops
    if not drops and trace is None and not request.queue:
        raise Failure("simulate: there is no job file to simulate", INVALID)
    return Simulation(
        limits,
        coming,
        _runs(request, reader),
        stored=stored,
        start_us=start_us,
        past=_past(reader) if reader is not None else nothing_past,
        sink=_journal(stored.queue, start_us) if shown.events else None,
        rules=list(_rules(request.rules)),
        # What is dropped beside the present queue belongs to the spool's user, as the names there do.
        userid=os.stat(where.root).st_uid if where is not None and request.queue else USERID,
    )


# ---- what is there, and what comes --------------------------------------------------------------------------------


def _stored(reader: StoreReader) -> Stored:
    """The present queue, with the scheduler's settings."""
    settings = {key: value for key in SETTINGS if (value := reader.setting(key)) is not None}
    queue = load(
        reader.active(),
        seq=max(reader.last_seq(), int(settings.get("seq", 0))),
        last_us=max(reader.last_us(), int(settings.get("last_us", 0))),
        last_id=max(reader.last_id(), int(settings.get("last_id", 0))),
        rules=reader.rules(),
    )
    return Stored(queue, (), {}, settings)


def _past(reader: StoreReader) -> Past:
    """What the store knows of finished jobs."""

    def past(ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:
        found: dict[int | OwnName, Outcome] = {}
        for id_, job in reader.jobs(ids).items():
            if job.state is State.INACTIVE:
                found[id_] = outcome_of(job)
        for own_name in names:
            for job in reader.named(own_name[1]):
                if job.state is State.INACTIVE and job.own_name == own_name:
                    found[own_name] = outcome_of(job)  # the highest id comes last and stays
        return found

    return past


def _drops(files: Sequence[str]) -> tuple[int, list[Arrival]]:
    """Read job files in the order of their names, as if dropped now; how many are none, and the others."""
    from jqsched.cli.maintenance import read_draft

    bad, drops = 0, []
    for path in sorted((path for file in files for path in _job_files(Path(file))), key=lambda path: (path.name, path)):
        draft = read_draft(str(path))
        if isinstance(draft, Draft):
            drops.append(Arrival(0, path.name, draft))
        else:
            bad += 1
            tell(*(f"{path}: {error}" for error in draft))
    return bad, drops


def _job_files(path: Path) -> list[Path]:
    """The job files of a folder, as the drop zone has them; any other path stands for itself."""
    if not path.is_dir():
        return [path]
    return [
        file
        for file in path.iterdir()
        if file.suffix in (".json", ".toml") and not file.name.startswith(".") and file.name != "jqsched.toml"
    ]


def _trace(file: str) -> Trace:
    """Read a trace, gzipped or not."""
    import gzip
    import io

    try:
        with open(file, "rb") as raw:  # once: it may be a pipe
            plain = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
            with io.TextIOWrapper(plain, encoding="utf-8", errors="replace") as lines:
                trace = read_trace(lines)
    except (OSError, EOFError, zlib.error) as error:
        raise Failure(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}", INVALID) from None
    if isinstance(trace, BadTrace):
        raise Failure([f"{file}: {error}" for error in trace.errors], INVALID)
    for note in trace.left_out:
        tell(f"{file}: left out: {note}")
    return trace


def _of_trace(request: Request, trace: Trace) -> Iterator[Arrival]:
    for nth, job in enumerate(arrivals(trace), 1):
        run = job.run._replace(status=FAILED) if fails(request.seed, nth, 1, request.fail) else job.run
        yield Arrival(job.submit_us, job.name, job.draft, run)


# ---- under which limits, and how long -----------------------------------------------------------------------------


def _limits(request: Request, where: Place | None) -> Limits:
    """As the spool's scheduler has them; else as it would have them if it were started with these options."""
    from jqsched.adapters.config import Config, merge, read_config
    from jqsched.adapters.jobfile import BadFile
    from jqsched.runtime.build import limits_of

    status = scheduler_status(where.root) if where is not None else None
    if status is not None and request.max_running is None and request.cores is None:
        return _backfilled(request, evolve(status.limits, draining=False))
    path = os.path.join(where.root, "jqsched.toml") if where is not None else None
    config = read_config(path) if path is not None else Config()
    if isinstance(config, Config):
        config = merge(config, {"max_running": request.max_running, "cores": request.cores})
    if isinstance(config, BadFile):
        raise Failure([f"{path or 'simulate'}: {error}" for error in config.errors], USAGE)
    # Permits ahead bridge the time that a commit takes: here it takes none.
    return _backfilled(request, evolve(limits_of(config), ahead=0))


def _backfilled(request: Request, limits: Limits) -> Limits:
    """With backfill as the command line says, else as the limits do; here a job ends when its time is over."""
    easy = limits.backfill if request.backfill is None else (Backfill() if request.backfill == "easy" else None)
    if easy is not None:
        depth = request.backfill_depth if request.backfill_depth is not None else easy.depth
        easy = Backfill(depth, grace_us=0)
    return evolve(limits, backfill=easy)


def _limits_of_trace(request: Request, trace: Trace) -> Limits:
    """As many cores as the machine had, and a slot for each."""
    cores = request.cores or trace.processors
    if cores is None:
        raise Failure(f"{request.swf}: does not say how many processors there were (MaxProcs): say --cores N", USAGE)
    return _backfilled(request, Limits(request.max_running or cores, cores))


def _runs(request: Request, reader: StoreReader | None) -> RunOf:
    """How long jobs run."""
    if request.runtime == HISTORY and reader is not None:
        return runs(request.seed, history_us=_history_us(reader), fail=request.fail)
    sample: Sample | None = None
    if request.runtime is not None:
        try:
            sample = read_distribution(request.runtime)
        except Wrong as wrong:
            raise Failure(f"--runtime: {wrong}, or history", USAGE) from None
    return runs(request.seed, sample, fail=request.fail)


def _history_us(reader: StoreReader) -> dict[str, int]:
    """The median run time of the finished jobs of each name."""
    times: dict[str, list[int]] = {}
    for job in reader.finished(most=HISTORY_JOBS):
        if job.t_run_us:
            times.setdefault(job.spec.name, []).append(runtime_us(job, job.t_inactive_us))
    return {name: median_us(of_name) for name, of_name in times.items()}


# ---- rules --------------------------------------------------------------------------------------------------------


def _rules(words: Sequence[str]) -> Iterator[Json]:
    """The documents of the rules that were given, each with a name, and checked as `filter add` checks them."""
    from jqsched.core.filters import BadRule, read_rule
    from jqsched.core.filters.lint import doubtful_fields

    for nth, document in enumerate((document for word in words for document in _documents(word)), 1):
        named = {"uuid": f"rule-{nth}", "priority": nth, **document} if isinstance(document, dict) else document
        rule = read_rule(named, watermark=0)
        errors = rule.errors if isinstance(rule, BadRule) else doubtful_fields(rule)
        if errors:
            raise Failure([f"--rule: {error}" for error in errors], INVALID)
        yield named


def _documents(word: str) -> list[Json]:
    """Read `EXPRESSION=ACTION`, a rule as JSON, or a file of one or of many."""
    from jqsched.cli.rules import action, predicates

    if word.lstrip().startswith(("{", "[")):
        return _as_json(word, "--rule")
    if word.endswith(".json") and "=" not in word:
        try:
            return _as_json(Path(word).read_text("utf-8"), word)
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"{word}: cannot be read: {getattr(error, 'strerror', None) or error}", INVALID) from None
    which, equals, wanted = word.rpartition("=")
    if not equals:
        raise Failure(f"--rule: {show(word)} is neither EXPRESSION=ACTION nor a rule as JSON nor a file of them", USAGE)
    return [{"predicates": predicates(which), "action": action(wanted.strip())}]


def _as_json(text: str, place: str) -> list[Json]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(f"{place}: not JSON: {error}", INVALID) from None
    return document if isinstance(document, list) else [document]


# ---- the journal --------------------------------------------------------------------------------------------------


def _journal(queue: Queue, start_us: int) -> Sink:
    """A writer of the journal as `jqsched journal --json` has it; its times count from the beginning."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    specs: dict[int, Spec] = {}

    def spec_of(event: Event) -> Spec | None:
        if event.spec is not None:
            specs[event.jobid] = event.spec
        if event.name == "clean":
            specs.pop(event.jobid, None)
        if event.name != "alloc":
            return None
        old = find(queue, event.jobid)
        return specs.get(event.jobid) or (old.spec if old is not None else None)

    def write(first_seq: int, events: Sequence[Event]) -> None:
        entries = (
            event_entry(seq, evolve(event, t_us=event.t_us - start_us), spec_of(event))
            for seq, event in enumerate(events, first_seq)
        )
        sys.stdout.write("".join(encode(entry) + "\n" for entry in entries))

    return write
