"""What must hold when a soak is over: what was asked and what ran, beside the scheduler's account of it."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from attrs import define, field

from jqsched.adapters.store.reader import StoreReader
from jqsched.core.event import Event
from jqsched.core.job import Job, State

Runs: TypeAlias = Sequence[tuple[str, str, int]]  # begin, end or meets; name; attempt


@define
class Known:
    """What the clients know. What was asked and not answered may have been done or not."""

    codes: dict[str, int] = field(factory=dict)  # how each job is to end, by its name
    once: set[str] = field(factory=set)  # these run at most once
    dropped: set[str] = field(factory=set)
    submitted: dict[str, int] = field(factory=dict)  # answered: the ids
    requeued: Counter[int] = field(factory=Counter)  # asked for
    copies: dict[int, int] = field(factory=dict)  # answered: ids, and of what they are copies
    canceled: set[int] = field(factory=set)  # asked for
    surely_canceled: set[int] = field(factory=set)  # answered
    edited: set[int] = field(factory=set)


@define
class Account:
    """All jobs, and their logs, as the store has them."""

    jobs: Mapping[int, Job]
    logs: Mapping[int, Sequence[Event]]


def read(spool: Path) -> Account:
    """Read the account of a scheduler."""
    with closing(StoreReader(str(spool))) as reader:
        jobs = {job.id: job for job in [*reader.active(), *reader.finished()]}
        return Account(jobs, {id_: [event for _, event in reader.events(id_)] for id_ in jobs})


def breaches(spool: Path, ran: Path, known: Known) -> Iterator[str]:
    """Whatever was lost, doubled, set aside, run otherwise than the log says, or left."""
    account = read(spool)
    yield from _lost_or_doubled(account, known)
    yield from _set_aside(spool, account, known)
    for id_, job in account.jobs.items():
        log, runs = account.logs[id_], runs_of(ran / str(id_))
        wrong = [*_wrong_runs(job, log, runs), *_wrong_end(job, log, runs, known), *_run_again(job, log, known)]
        if wrong:
            told = [f"{event.name} {dict(event.context)}" for event in log]
            yield f"job {id_} {job.spec.name}: {'; '.join(wrong)}: {told}; ran: {runs}"
    done = subprocess.run(
        [sys.executable, "-m", "jqsched", "check-spool", "--spool", str(spool)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        yield f"check-spool: {done.stdout}{done.stderr}"


def runs_of(file: Path) -> Runs:
    """What a job wrote down."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [(word, name, int(attempt)) for word, name, attempt in map(str.split, lines)]


def _lost_or_doubled(account: Account, known: Known) -> Iterator[str]:
    """Each file is one job, and so is each submission that was answered; one that was not is one or none."""
    jobs = account.jobs
    origins = {id_: log[0].context.get("requeue_of") for id_, log in account.logs.items()}
    first = Counter(jobs[id_].spec.name for id_, origin in origins.items() if origin is None)
    unanswered = _unanswered_requeues(account, known)  # such a copy may be taken from its file, which knows no origin
    yield from (f"{name} was dropped, and is no job" for name in sorted(known.dropped) if not first[name])
    yield from (f"{name} is {count} jobs" for name, count in first.items() if count > 1 + unanswered[name])
    yield from (f"{name} was asked for by nobody" for name in first if name not in known.codes)
    for name, id_ in known.submitted.items():
        if id_ not in jobs or jobs[id_].spec.name != name:
            yield f"{name} was answered to be job {id_}, which is {jobs.get(id_)}"
    for id_, origin in known.copies.items():
        if origins.get(id_) != origin:
            yield f"job {origin} was answered to be requeued as {id_}, which is {jobs.get(id_)}"
    for origin, count in Counter(origins.values()).items():
        if isinstance(origin, int) and count > known.requeued[origin]:
            yield f"job {origin} was requeued {known.requeued[origin]} times, and has {count} copies"
    for id_ in known.surely_canceled:
        if "cancel" not in map(_fatal, account.logs.get(id_, ())):
            yield f"the cancel of job {id_} was answered, and its log says nothing of it"


def _unanswered_requeues(account: Account, known: Known) -> Counter[str]:
    """How many requeues were asked for and not answered, by the name of the job."""
    answered = Counter(known.copies.values())
    unanswered = Counter[str]()
    for id_, count in known.requeued.items():
        if id_ in account.jobs:
            unanswered[account.jobs[id_].spec.name] += count - answered[id_]
    return unanswered


def _set_aside(spool: Path, account: Account, known: Known) -> Iterator[str]:
    """Nothing is, but edits that came when their job had ended; nor does anything lie about."""
    for file in sorted((spool / "rejected").iterdir()):
        id_ = file.name.split(".")[0]
        if not id_.isdecimal() or int(id_) not in known.edited or int(id_) not in account.jobs:
            yield f"rejected/{file.name}: {file.read_text()[:500]}"
    left = [*(spool / "jobs").glob("*.json"), *spool.glob("*.json"), *(spool / "drop").glob("*.json")]
    yield from (f"{file} lies there for ever" for file in left)


def _wrong_runs(job: Job, log: Sequence[Event], runs: Runs) -> Iterator[str]:
    """No attempt ran twice, none met another, and each is one that was allocated."""
    counts = Counter((word, attempt) for word, _, attempt in runs)
    allocated = 0
    for event in log:
        allocated += event.name == "alloc"
    yield from (f"{word} of attempt {attempt}: {count} times" for (word, attempt), count in counts.items() if count > 1)
    yield from (f"attempt {attempt} met another" for word, attempt in counts if word == "meets")
    yield from (f"it ran as {name}" for _, name, _ in runs if name != job.spec.name)
    most = min(job.attempt, allocated)
    yield from (f"attempt {at} ran, of {most}" for word, at in counts if word == "begin" and at > most)


def _wrong_end(job: Job, log: Sequence[Event], runs: Runs, known: Known) -> Iterator[str]:
    """It is finished; as its program ended, if it was left to end."""
    fatal = {type_ for event in log if (type_ := _fatal(event))}
    allowed = {"cancel"} if job.id in known.canceled else set[str]()
    if job.spec.name in known.once:
        allowed.add("interrupted")
    if fatal - allowed:
        yield f"ended by {sorted(fatal - allowed)}"
    if job.state is not State.INACTIVE:
        yield "is not finished"
    elif not fatal:
        if job.status != known.codes.get(job.spec.name, 0) << 8:
            yield f"status {job.status}, and its program ends with {known.codes.get(job.spec.name)}"
        if [word for word, _, attempt in runs if attempt == job.attempt] != ["begin", "end"]:
            yield f"attempt {job.attempt} did not run from begin to end"


def _run_again(job: Job, log: Sequence[Event], known: Known) -> Iterator[str]:
    """Each further attempt has its reason: a user asked, or it is unknown how the one before it ended."""
    seen, asked = set[str](), 0
    for event in log:
        seen.add(f"exception {event.context['type']}" if event.name == "exception" else event.name)
        if event.name != "requeue":
            continue
        if "exception requeue" in seen:
            asked += 1
        elif "exception interrupted" not in seen or "finish" in seen:
            yield f"attempt {event.context['attempt']} has no reason"
        elif job.spec.name in known.once:
            yield f"attempt {event.context['attempt']} of a job that runs at most once"
        seen = set()
    if asked > known.requeued[job.id]:
        yield f"requeued {asked} times, and asked {known.requeued[job.id]} times"


def _fatal(event: Event) -> str:
    """The type of an exception that ends a job."""
    is_fatal = event.name == "exception" and event.context["severity"] == 0
    return str(event.context["type"]) if is_fatal else ""
