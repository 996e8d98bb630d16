"""The frozen values of the queue: jobs, what they were asked to run, and what they wait for.

Rule: a value checks its own shape and knows nothing of queues, events or policy. Times are integer microseconds
since the epoch (`_us`), 0 = not yet. Source: RFC 21 (states), RFC 26 (dependencies), RFC 14/25 (jobspec).
"""

from enum import Enum, IntEnum
from typing import NamedTuple, TypeAlias

from attrs import frozen

from jqsched.core.json import JsonObject

URGENCY_HOLD, URGENCY_DEFAULT, URGENCY_EXPEDITE = 0, 16, 31
PRIORITY_MAX = 2**32 - 1
UNSET_PRIORITY = -1
ARROW = "→"
ARRAY_MARK = "_*"  # after an array's id, where all of its elements are meant and not its first one
RETRY_DELAY_MAX_US = 86_400_000_000  # a day: the longest backoff where the job file names none
OwnName: TypeAlias = tuple[int, str]  # a user and a name: names in dependencies are those of the same user's jobs


class ArrayId(NamedTuple):
    """An array as what a job waits for: all of its elements, which are jobs from `id` on."""

    id: int


class State(IntEnum):
    """A job's state, as RFC 21 names it; the numbers are Flux's bits."""

    NEW = 1
    DEPEND = 2
    PRIORITY = 4
    SCHED = 8
    RUN = 16
    CLEANUP = 32
    INACTIVE = 64


class Result(IntEnum):
    """How a job ended."""

    COMPLETED = 1
    FAILED = 2
    CANCELED = 4
    TIMEOUT = 8


class OnInterrupt(Enum):
    """What becomes of a job whose attempt was interrupted from outside: at least once, or at most once."""

    REQUEUE = "requeue"
    FAIL = "fail"


class Scheme(Enum):
    """Dependency schemes of RFC 26 that the scheduler itself resolves."""

    AFTER = "after"
    AFTERSTART = "afterstart"
    """The name that Flux has given to `after` since."""
    AFTEREXCEPT = "afterexcept"
    AFTERANY = "afterany"
    AFTEROK = "afterok"
    AFTERNOTOK = "afternotok"
    BEGIN_TIME = "begin-time"
    SINGLETON = "singleton"


@frozen
class Dependency:
    """A dependency as it was asked for, before it is bound to a job.

    `value` is an id (int), a name (str), the begin time in microseconds (int), or None for singleton. `next_only`
    binds a name only to a job that is not finished. A scheme that is not of `Scheme` belongs to a plugin.
    """

    scheme: str
    value: int | str | None = None
    next_only: bool = False


_SCHEMES = frozenset(scheme.value for scheme in Scheme)


def is_ours(dependency: Dependency) -> bool:
    """Whether the scheduler itself resolves a dependency; all others are plugins'."""
    return dependency.scheme in _SCHEMES


def unsupported(scheme: str) -> str:
    """Return the message for an unknown dependency scheme. Source: docs/reference/plugins.md."""
    return f'dependency scheme "{scheme}" not supported (there are {", ".join(sorted(_SCHEMES))})'


@frozen
class Wait:
    """What a dependency description, as it stands in `dependency-add`, says a job waits for.

    `target` is the antecedent's id when bound, the awaited name when not, the begin time in microseconds, or None.
    """

    scheme: Scheme
    target: int | str | ArrayId | None
    description: str


_PREFIXES = {
    "after-start": Scheme.AFTER,
    "after-finish": Scheme.AFTERANY,
    "after-success": Scheme.AFTEROK,
    "after-failure": Scheme.AFTERNOTOK,
    "after-exception": Scheme.AFTEREXCEPT,
}
_PREFIX_OF = {scheme: prefix for prefix, scheme in _PREFIXES.items()} | {Scheme.AFTERSTART: "after-start"}


def describe(scheme: Scheme, wanted: int | str, bound: int | ArrayId | None = None) -> str:
    """Write the description of a dependency on a job: `after-success=build→17`, `after-success=17` or, not yet bound,
    `after-success=build`; on an array: `after-success=sweep→42_*` or `after-success=42→42_*`.
    """
    text = f"{_PREFIX_OF[scheme]}={wanted}"
    if isinstance(bound, ArrayId):
        return f"{text}{ARROW}{bound.id}{ARRAY_MARK}"
    return f"{text}{ARROW}{bound}" if bound is not None and bound != wanted else text


def describe_begin_time(begin_us: int) -> str:
    """Write the description of a begin time, in seconds as Flux does."""
    return f"begin-time={begin_us / 1_000_000:.6f}".rstrip("0").rstrip(".")


def read_wait(description: str) -> Wait | None:
    """Read a description back; None when it is not one of ours (a plugin's, which only the plugin removes)."""
    if description == "singleton":
        return Wait(Scheme.SINGLETON, None, description)
    prefix, equals, wanted = description.partition("=")
    if not equals:
        return None
    if prefix == "begin-time":
        return Wait(Scheme.BEGIN_TIME, round(float(wanted) * 1_000_000), description)
    scheme = _PREFIXES.get(prefix)
    if scheme is None:
        return None
    _, arrow, bound = wanted.rpartition(ARROW)
    if bound.isdecimal():
        return Wait(scheme, int(bound), description)
    if arrow and bound.removesuffix(ARRAY_MARK).isdecimal():
        return Wait(scheme, ArrayId(int(bound.removesuffix(ARRAY_MARK))), description)
    return Wait(scheme, wanted, description)


@frozen
class Retries:
    """How often and when a failed attempt is followed by another.

    `max` attempts after the first. Before retry number n pass `delay_us * factor ** (n - 1)`, at most `max_delay_us`,
    and up to a tenth more (`core.retries`). `on`: exit codes, `"signal"`, `"timeout"`; empty: every failure.
    `separator`: a line between the attempts in the output.
    """

    max: int
    delay_us: int = 0
    factor: float = 1.0
    max_delay_us: int = RETRY_DELAY_MAX_US
    on: tuple[int | str, ...] = ()
    separator: bool = True


class Reason(NamedTuple):
    """Why a job was made, in the words of `source`; `t_ns` is when, in nanoseconds, None for the job's submission."""

    source: str
    text: str
    t_ns: int | None = None


@frozen
class Array:
    """What the elements of an array share: its id, which is that of the first, and how many there are.

    `limit`: so many run at a time. `max_failures`: after so many failures what has not started is canceled. None: no
    such limit.
    """

    id: int
    count: int
    limit: int | None = None
    max_failures: int | None = None


@frozen
class Element:
    """Which element of which array a job is; `value` as its process gets it (None: it has an index only)."""

    array: Array
    index: int
    value: str | None = None


@frozen
class Spec:
    """What a job is to run and how: the short form of a job file after its defaults are filled in.

    `command` is executed as it stands. `cores` is the total over all tasks. `env` is sorted by name. `input` is the
    file that is its stdin, None /dev/null. `jobspec` is the complete RFC 25 document where the job was given in that
    form, else None (it can be derived). `element`: which one of an array it is, all placeholders being filled in; else
    None.
    """

    command: tuple[str, ...]
    name: str
    cwd: str
    env: tuple[tuple[str, str], ...] = ()
    cores: int = 1
    tasks: int = 1
    nodes: int = 1
    time_limit_us: int | None = None
    output: str | None = None
    error: str | None = None
    input: str | None = None
    on_interrupt: OnInterrupt = OnInterrupt.REQUEUE
    retries: Retries | None = None
    reasons: tuple[Reason, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    jobspec: JsonObject | None = None
    element: Element | None = None


@frozen
class Draft:
    """A checked job file that is not a job yet: its spec, and the urgency and pinned priority that it asks for.

    `elements`: the specs of an array's elements, `spec` being that of the first; the array's id in them is 0 until it
    has one. Empty where it is no array.
    """

    spec: Spec
    urgency: int = URGENCY_DEFAULT
    pin: int | None = None
    requeue_of: int | None = None
    elements: tuple[Spec, ...] = ()

    @property
    def ids(self) -> int:
        """How many ids its jobs take."""
        return len(self.elements) or 1


@frozen
class JobException:
    """An `exception` event's content; severity 0 ends the job."""

    type: str
    severity: int
    note: str


@frozen
class Job:
    """One job as the events so far have made it. Only `event.advance` makes a changed one.

    `priority` is what orders the queue (-1 before the first); `pin` is a priority that was asked for and wins over
    plugins; `urgency_before` is what `release` restores. `waits` are the descriptions of unmet dependencies, in the
    order in which they were added. `exception` is the one that is shown: of the lowest severity, first seen. `fatal`
    says that an exception of severity 0 ended the job. `requeuing` says that the attempt's end leads to the queue,
    `retrying` that it does because the attempt failed. `retried` counts the retries that were decided so far.
    """

    id: int
    spec: Spec
    userid: int
    state: State = State.NEW
    urgency: int = URGENCY_DEFAULT
    urgency_before: int = URGENCY_DEFAULT
    pin: int | None = None
    priority: int = UNSET_PRIORITY
    waits: tuple[str, ...] = ()
    attempt: int = 1
    interruptions: int = 0
    requeuing: bool = False
    fatal: bool = False
    exception: JobException | None = None
    status: int | None = None
    t_submit_us: int = 0
    t_depend_us: int = 0
    t_priority_us: int = 0
    t_sched_us: int = 0
    t_run_us: int = 0
    t_start_us: int = 0
    t_cleanup_us: int = 0
    t_inactive_us: int = 0
    retried: int = 0
    retrying: bool = False

    @property
    def started(self) -> bool:
        """Whether the present attempt's process was started."""
        return self.t_start_us > 0

    @property
    def own_name(self) -> OwnName:
        """The name that others of the same user may depend on."""
        return (self.userid, self.spec.name)

    @property
    def expires_us(self) -> int | None:
        """When the present attempt's time is used up, counted from its allocation until it has started; None: it has
        no time limit. Only for a job that was allocated.
        """
        limit_us = self.spec.time_limit_us
        return (self.t_start_us or self.t_run_us) + limit_us if limit_us is not None else None

    @property
    def success(self) -> bool:
        """Whether the job ended well: status 0 and no fatal exception before it."""
        return self.status == 0 and not self.fatal

    @property
    def result(self) -> Result | None:
        """How the job ended; None while it has not. Source: RFC 21; Flux job-list eventlog_inactive_complete."""
        if self.state is not State.INACTIVE:
            return None
        if self.success:
            return Result.COMPLETED
        kind = self.exception.type if self.fatal and self.exception else ""
        return {"cancel": Result.CANCELED, "timeout": Result.TIMEOUT}.get(kind, Result.FAILED)


@frozen
class Progress:
    """How far an array is: how many of its elements have arrived, are `left` (not over) and have failed for good.

    Of those that are over: `spoiled`: one ended otherwise than well; `failed_running`: one of these had been given its
    resources; `ran`: one was started; `is_fatal`: a fatal exception ended one.
    """

    array: Array
    arrived: int = 0
    left: int = 0
    failed: int = 0
    spoiled: bool = False
    ran: bool = False
    failed_running: bool = False
    is_fatal: bool = False

    @property
    def is_over(self) -> bool:
        """Whether every element has ended."""
        return not self.left and self.arrived >= self.array.count

    @property
    def is_spent(self) -> bool:
        """Whether so many elements have failed that no other is to start."""
        most = self.array.max_failures
        return most is not None and self.failed >= most


@frozen
class Outcome:
    """What is remembered of a finished job for the sake of those that depend on it.

    `ran`: its command was started. `entered_run`: it was given its resources, so that it could fail. `is_fatal`: a
    fatal exception ended it. `element`: of which array it is one, if of any; `whole`: what is known of that array.
    """

    id: int
    name: str
    userid: int
    success: bool
    ran: bool
    entered_run: bool = False
    is_fatal: bool = False
    element: Element | None = None
    whole: "Progress | None" = None

    @property
    def own_name(self) -> OwnName:
        """The name that others of the same user may depend on."""
        return (self.userid, self.name)


_FILE_NAME_BYTES_MAX = 200  # a file's name may have 255, and there may be more in it than the job's


def _as_file_name(name: str) -> str:
    """Write a job's name so that it leads nowhere and fits into a file's name."""
    return name.replace("/", "_").encode()[:_FILE_NAME_BYTES_MAX].decode(errors="ignore")


RANK = "{rank}"  # in the path of an output file: each task has one of its own


def output_paths(spec: Spec, id_: int, folder: str, attempt: int = 1) -> tuple[str, str | None]:
    """Where a job's output and (None: together with it) error go; `folder` holds the default files.

    These are `ID.log`, and with several tasks `ID.{rank}.out` and `ID.{rank}.err`. `{id}`, `{name}` and `{attempt}` are
    filled in, the name made safe; `{rank}` stays where there are several tasks. A relative path is relative to the
    job's cwd.
    """

    def path(pattern: str) -> str:
        name = pattern.replace("{id}", str(id_)).replace("{attempt}", str(attempt))
        name = name.replace("{name}", _as_file_name(spec.name))
        name = name if spec.tasks > 1 else name.replace(RANK, "0")
        return name if name.startswith("/") else f"{spec.cwd.rstrip('/')}/{name}"

    error = path(spec.error) if spec.error is not None else None
    if spec.output is not None:
        return path(spec.output), error
    if spec.tasks == 1:
        return f"{folder}/{id_}.log", error
    return f"{folder}/{id_}.{RANK}.out", error or f"{folder}/{id_}.{RANK}.err"


@frozen
class OutputFile:
    """A file that a task writes a stream to, `stdout` or `stderr`. All tasks that share one write as rank 0."""

    rank: int
    stream: str
    path: str


def output_files(spec: Spec, id_: int, folder: str, attempt: int = 1) -> list[OutputFile]:
    """All files that a job writes to, in the order of ranks; where output and error are together it is `stdout`."""
    output, error = output_paths(spec, id_, folder, attempt)
    streams = [("stdout", output), *([("stderr", error)] if error is not None else [])]
    return [
        OutputFile(rank, stream, path.replace(RANK, str(rank)))
        for rank in range(spec.tasks)
        for stream, path in streams
        if RANK in path or not rank
    ]
