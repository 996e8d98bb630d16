"""The ports: what the scheduler needs of the outside, as Protocols; their docstrings are the contract.

Rule: values and signatures only. An adapter and its fake pass the same contract suite (`tests/ports`). Failures of the
outside are `PortError`: what was being done, with which path, and the errno; no caller retries on the same file.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Protocol

from attrs import field, frozen

from jqsched.core.event import Event
from jqsched.core.job import Draft, Job, Outcome, OwnName, Spec, State
from jqsched.core.queue import Queue, file_of, has_file


class PortError(Exception):
    """A failure of the outside: `doing` (what was going on), `path` and `errno_` (None where it is not known)."""

    def __init__(self, doing: str, path: str, errno_: int | None, text: str) -> None:
        super().__init__(f"{doing}: {path}: {text}")
        self.doing, self.path, self.errno_, self.text = doing, path, errno_, text


# ---- clock --------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time. The core never asks for it; the loop does, once for each batch."""

    def now_us(self) -> int:
        """Wall-clock time, microseconds since the epoch. It may jump."""

    def monotonic_us(self) -> int:
        """Time for timeouts, microseconds; goes on during suspend and never jumps (CLOCK_BOOTTIME)."""


# ---- executor -----------------------------------------------------------------------------------------------------


@frozen
class Start:
    """The order to run one attempt of a job, as soon as a slot and its cores are free.

    Orders are started in the order given; one that waits for cores holds back those behind it. `output` and `error`
    are absolute paths (error None: together with output). `time_limit_us` counts from the start of the process: when
    it is used up the executor tells (`Expired`) and stops the attempt, for a scheduler may be frozen. `userid` is the
    user that it runs as, where the executor can change users (None: the executor's own user).
    """

    id: int
    attempt: int
    spec: Spec
    output: str
    error: str | None
    userid: int | None = None


@frozen
class Started:
    """News: the attempt's process runs. `start_ticks` is field 22 of /proc/PID/stat; `pid` 0 when unknown.

    `start_us`: when it started, on the wall clock as it is now; 0 = not known.
    """

    id: int
    attempt: int
    pid: int
    start_ticks: int
    start_us: int = field(default=0, eq=False)  # read off two clocks: told again, it may differ a little


@frozen
class Finished:
    """News: the attempt is over and all that had to be killed with it is gone.

    `status` is a wait status as Flux logs it: exit code << 8, or (128 + signal) << 8. None: over, but it is unknown how
    (its executor died): interrupted. `error` is set when it could not be started (`exec` exception): status is then 127
    << 8 (not found) or 126 << 8 (anything else), or None where it provably was not begun, for want of something that
    may be there later (`is_put_off`). `pid` as in `Started`, so a `Finished` may come without one.
    `start_us`, `end_us`: when it started and ended, on the wall clock as it was at the end; 0 = not known.
    """

    id: int
    attempt: int
    status: int | None
    error: str | None = None
    pid: int = 0
    start_ticks: int = 0
    start_us: int = field(default=0, eq=False)
    end_us: int = field(default=0, eq=False)

    @property
    def is_put_off(self) -> bool:
        """Whether nothing of it was begun, and another attempt may have better luck."""
        return self.status is None and self.error is not None

    @property
    def is_lost(self) -> bool:
        """Whether it is over, and how it ended is not known."""
        return self.status is None and self.error is None


@frozen
class Starting:
    """News: the attempt's process has not become its program after some seconds; it may hang. Told after `Started`.

    `step` is what it does, as "chdir /mnt/x"; empty: it has become the program. `since_us` is when it started, on the
    wall clock. Told again when the step changes, and after `recover`.
    """

    id: int
    attempt: int
    step: str
    since_us: int = field(default=0, eq=False)


@frozen
class Withdrawn:
    """News: the order was given up before it started, as asked; it will not start."""

    id: int
    attempt: int


@frozen
class Expired:
    """News: the attempt has run for its time limit, and is being stopped. Told once, and again by `recover`."""

    id: int
    attempt: int


@frozen
class ExecutorLost:
    """News: the executor is gone; what it had is unknown until `Executor.recover` has answered again."""

    reason: str


News = Started | Starting | Finished | Withdrawn | Expired | ExecutorLost


@frozen
class Attempt:
    """The durable record of an attempt that may exist: a permit, or a process. pid 0: not known to have started.

    `boot_id` is of the boot in which it was permitted. `cores` is what its job asks for, `userid` whose it is (not
    stored: the job tells).
    """

    id: int
    attempt: int
    pid: int = 0
    start_ticks: int = 0
    boot_id: str = ""
    cores: int = 1
    userid: int | None = None


@frozen
class Recovery:
    """What `Executor.recover` found of the attempts it was asked about; each is in exactly one of the four.

    `running` goes on (adopted; its end will be news). `finished` ended with a known status, or was put off. `never`
    provably never started and will not. `lost`: gone without a trace.
    """

    running: tuple[Started, ...] = ()
    finished: tuple[Finished, ...] = ()
    never: tuple[tuple[int, int], ...] = ()
    lost: tuple[tuple[int, int], ...] = ()

    def without(self, keys: Container[tuple[int, int]]) -> "Recovery":
        """Leave out some attempts."""
        return Recovery(
            running=tuple(item for item in self.running if (item.id, item.attempt) not in keys),
            finished=tuple(item for item in self.finished if (item.id, item.attempt) not in keys),
            never=tuple(key for key in self.never if key not in keys),
            lost=tuple(key for key in self.lost if key not in keys),
        )


class Executor(Protocol):
    """Starts, signals and reaps processes, and outlives the scheduler. All calls but `recover` return at once; news
    come through the callable given to `recover`, in order for each attempt, each end at least once until acknowledged.
    """

    def recover(self, attempts: Sequence[Attempt], deliver: Callable[[Sequence[News]], None]) -> Recovery:
        """Connect to the living executor or start a new one, and say what became of these attempts. Blocks.

        Raises PortError when no executor can be had. To be called again after `ExecutorLost`.
        """

    def limit(self, max_running: int, cores: int, grace_us: int) -> None:
        """Set how many may run at a time, on how many cores, and the grace between TERM and KILL."""

    def start(self, orders: Sequence[Start]) -> None:
        """Append to the orders. Each (id, attempt) is given once in its life, unless withdrawn or never started."""

    def withdraw(self, attempts: Sequence[tuple[int, int]]) -> None:
        """Give up what has not started: answered for each by `Withdrawn`, or by `Started`/`Finished` if it had."""

    def stop(self, id_: int, attempt: int) -> None:
        """End a running attempt: SIGTERM to its whole tree, SIGKILL after the grace. Repeatable; unknown: no effect."""

    def signal(self, id_: int, attempt: int, signum: int) -> None:
        """Send one signal to the attempt's process group. Unknown: no effect."""

    def set_time_limit(self, id_: int, attempt: int, time_limit_us: int | None) -> None:
        """Change the time limit of a running attempt. One that is being stopped: no effect."""

    def acknowledge(self, attempts: Sequence[tuple[int, int]]) -> None:
        """The ends of these attempts are durable; the executor may forget them."""

    def close(self) -> None:
        """Let go of the executor; it gives up what it has not started, and lives on while jobs run."""


# ---- store --------------------------------------------------------------------------------------------------------

RULES = "rules"  # the setting that holds the filter rules (`filters.rules_text`)
PLUGGED = "plugged"  # the setting that is there once plugins had a say: "1" where jobs may wait for them


@frozen
class ArrayRow:
    """The durable record of an array: the ids from `id` on are its elements', in the order of their `indexes`."""

    id: int
    count: int
    indexes: str


@frozen
class Batch:
    """What one commit makes durable, and what is done when it is.

    `first_seq` is the seq of the first of `events`. `jobs` are the jobs these events changed, as they are after all of
    them (the projection). `attempts` are records to write, `over` those to remove. `files` are accepted job files (id,
    text), that of an array under its id; a file is forgotten when the last job of it is over. `arrays` are new ones,
    whose elements are all in this commit. `purged` are finished jobs of which all is deleted. `sync_spool` says that
    files were renamed and the folders are to be synced first. `queue` becomes visible when durable.
    """

    queue: Queue
    first_seq: int
    events: tuple[Event, ...] = ()
    jobs: tuple[Job, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    over: tuple[tuple[int, int], ...] = ()
    files: tuple[tuple[int, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    purged: tuple[int, ...] = ()
    sync_spool: bool = False
    arrays: tuple[ArrayRow, ...] = ()


def files_over(batch: Batch) -> list[int]:
    """Return the ids of the job files that are over with this batch: no live job is of them any more."""
    over = {file_of(job): None for job in batch.jobs if job.state is State.INACTIVE}
    return [id_ for id_ in over if not has_file(batch.queue, id_)]


@frozen
class Stored:
    """What a store holds at start: the queue of live jobs, their attempts and their files as last accepted."""

    queue: Queue
    attempts: tuple[Attempt, ...]
    files: dict[int, str]
    settings: dict[str, str]


class Store(Protocol):
    """The events of all jobs (the truth) and the job table (a projection), always consistent with each other."""

    def load(self) -> Stored:
        """Read what a restart needs; cost O(live jobs).

        Raises PortError when the disk fails. What is damaged or newer is refused by the adapter's own exception.
        """

    def start(self, deliver: Callable[[int | PortError], None]) -> None:
        """Begin to write. `deliver` is called, from any thread, with the number of the last durable batch, or once
        with the PortError that ended it all."""

    def submit(self, batch: Batch) -> int:
        """Hand over a batch; returns its number (from 1). They become durable in order, several in one commit if they
        come fast. Does not wait."""

    def outcomes(self, ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:
        """What is known of finished jobs: by id, and for each name the newest. Absent: unknown or purged. By the id of
        an array that is over, or its name, the outcome says what is known of all its elements (`whole`).
        """

    def spec(self, id_: int) -> Draft | None:
        """The spec that a job has now, as that of no element, its last urgency and pin; None: unknown or purged."""

    def events(self, id_: int) -> Sequence[Event]:
        """The event log of a job, oldest first; empty when it is unknown or purged."""

    def userid(self, id_: int) -> int | None:
        """Whose job it is; None when unknown or purged."""

    def file(self, id_: int) -> str | None:
        """The text of a live job's file as last accepted."""

    def finished_count(self) -> int:
        """How many jobs are finished, purged ones included."""

    def finished_before(self, before_us: int, most: int) -> list[int]:
        """The ids of jobs that ended before this time, oldest first, at most so many; but for elements of arrays that
        are not over.
        """

    def check(self) -> None:
        """See that what becomes durable can be found again. Raises PortError when the store was taken away."""

    @property
    def spacing_us(self) -> int:
        """The time that should pass between two commits that no client waits for, because each takes space that is
        not given back soon; 0 while it is."""

    @property
    def is_log_full(self) -> bool:
        """Whether as little as possible is to be written until that is mended."""

    def warnings(self) -> list[str]:
        """What is wrong around the store, a line each; empty when nothing is."""

    def close(self) -> None:
        """Make durable what was handed over, and end."""


# ---- spool --------------------------------------------------------------------------------------------------------


@frozen
class Taken:
    """A dropped file that was checked, moved to `jobs/ID.json` and found there to be the same. `userid`: whose it is
    (None: the scheduler's own user's).
    """

    id: int
    name: str
    draft: Draft
    text: str
    userid: int | None = None

    @property
    def next_id(self) -> int:
        """The first id above those that its jobs take."""
        return self.id + self.draft.ids


@frozen
class Room:
    """How many more `jobs` may be queued now. A file of more than `most` is refused: it will never have room."""

    jobs: int = 2**63
    most: int = 2**63

    def refusal(self, draft: Draft) -> str:
        """Say why there will never be room for a file; empty: there may be."""
        return f"array: {draft.ids} elements; queue_max is {self.most}" if draft.ids > self.most else ""


UNLIMITED = Room()


@frozen
class ScanResult:
    """What one intake step brought: files taken, how many were set aside (name, errors), whether files may be left
    that want another look at `again_us` (monotonic; None: nothing is waiting). `awaits_room`: the next file is an
    array's, for which there is no room yet: of so many jobs (0: none waits for it).
    """

    taken: tuple[Taken, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    more: bool = False
    again_us: int | None = None
    awaits_room: int = 0


@frozen
class Edit:
    """A change of `jobs/ID.json`: `draft` and `text` when it is valid, `errors` when not, neither when deleted."""

    id: int
    draft: Draft | None = None
    text: str = ""
    errors: str = ""


class Spool(Protocol):
    """The folder of job files; one owner of every byte in it but the store's and the jobs'."""

    def intake(self, next_id: int, most: int, room: Room = UNLIMITED) -> ScanResult:
        """Take up to `most` dropped files, in the order of their names within one scan (of very many files: within each
        portion of it); ids count up from next_id. Of arrays no more are taken when there are as many jobs. A file for
        which there is no room yet stays, and so does what is behind it.
        """

    def leftovers(self, live: Callable[[int], bool], finished: Callable[[int], bool], next_id: int) -> ScanResult:
        """At start: take the `jobs/ID.json` that no job is known for, and remove those of finished jobs."""

    def refuse(self, id_: int, name: str, errors: str) -> None:
        """Set a taken file aside after all: to `rejected/NAME` with `NAME.reason`."""

    def parse(self, text: str, name: str = "") -> Draft | str:
        """Check the text of a job file (JSON): the draft, or all errors in one text. `name` is the job's, if it has
        one already and the file does not say."""

    def write_out(self, draft: Draft) -> str:
        """The text of a job file (JSON) that reads back as this draft."""

    def write(self, id_: int, text: str, userid: int | None = None) -> None:
        """Make `jobs/ID.json` for a job that came by command, or restore one that a power cut left empty. `userid`:
        whose job it is, where that is not the scheduler's own user."""

    def edits(self, ids: Iterable[int], *, at_start: bool = False) -> list[Edit]:
        """Look at these job files and tell those that differ from what was last accepted or told. A missing one may
        be just being replaced and is given a moment, but not `at_start`."""

    def strays(self, ids: Iterable[int]) -> list[tuple[str, str]]:
        """None of these is a live job's id: set their files aside, but those that are just being taken or removed. (An
        edit that came after the end, say.) Tells the name of each, and why."""

    def accepted(self, id_: int, text: str) -> None:
        """This text is now the file as last accepted; a reason written beside it is removed."""

    def complain(self, id_: int, errors: str) -> None:
        """Write the reason why an edit was refused beside the file."""

    def remove(self, ids: Iterable[int]) -> None:
        """The jobs are over: remove their files and reasons."""

    def sync(self) -> None:
        """Sync the folders after renames. Called on the store's thread."""


class Watcher(Protocol):
    """Rings when a folder may have changed. Only a hint: it may ring too often, late, or never."""

    def start(self) -> None:
        """Begin; raises nothing (where watching is impossible the scans remain)."""

    def stop(self) -> None:
        """End, and wait for its thread."""
