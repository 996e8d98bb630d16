"""Where a command works: the spool, its store and its scheduler; and how times and durations are given.

Rule: reading needs no scheduler; a spool without a store has no jobs yet.
"""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from math import inf
from typing import Any, NamedTuple, cast

from jqsched.adapters.store.elsewhere import check_store_folder
from jqsched.adapters.store.reader import StoreReader
from jqsched.cli.failure import NO_JOB, USAGE, Failure, tell
from jqsched.client.connection import Connection, NoScheduler
from jqsched.client.user_spool import user_spool
from jqsched.core.job import Job, State
from jqsched.core.jobspec import Wrong, values
from jqsched.core.json import Json
from jqsched.core.policy import Backfill, Limits

STATUS_TIMEOUT_S = 2.0
FOREVER_US = values.SECONDS_MAX * 1_000_000


class Place(NamedTuple):
    """A spool, and the folder its store is in."""

    root: str
    store: str


def place(spool: str | None, store: str | None, *, may_be_missing: bool = False, makes: bool = False) -> Place:
    """Find the spool, the user's own where none is named; it must be there. `makes`: the user's own is made."""
    if not spool:
        root = user_spool(os.environ, os.geteuid(), os.path.expanduser("~"))
        if makes:
            os.makedirs(root, mode=0o700, exist_ok=True)
        elif not may_be_missing and not os.path.isdir(root):
            text = f"no spool: say --spool DIR, or set JQSCHED_SPOOL; {root}, which is used without, does not exist yet"
            raise Failure(f"{text} (`jqsched run` makes it)", USAGE)
    else:
        root = os.path.abspath(spool)
        if not may_be_missing and not os.path.isdir(root):
            raise Failure(f"{root}: no such directory; name a spool with --spool or JQSCHED_SPOOL", USAGE)
    return Place(root, os.path.abspath(store) if store else root)


# ---- the store ----------------------------------------------------------------------------------------------------


class _NoStore(StoreReader):
    """The store of a spool in which nothing was ever dropped."""

    def __init__(self) -> None:
        self.path, self.is_empty = "", True

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def reading(where: Place) -> Iterator[StoreReader]:
    """Open the store for reading. Raises StoreRefused where the spool's is elsewhere."""
    check_store_folder(where.root, where.store)
    try:
        reader = StoreReader(where.store)
    except FileNotFoundError:
        reader = _NoStore()
    try:
        yield reader
    finally:
        reader.close()


def known_job(reader: StoreReader, id_: int) -> Job:
    """The job of an id."""
    job = reader.jobs([id_]).get(id_)
    if job is None:
        raise Failure(f"job {id_}: unknown (never given out, or purged)", NO_JOB)
    return job


# ---- the scheduler ------------------------------------------------------------------------------------------------


class SlowStart(NamedTuple):
    """A job whose process has not become its program for some seconds, and what it does instead."""

    id: int
    step: str
    since: float

    @property
    def text(self) -> str:
        """Say it, as `starting for 12 s: chdir /mnt/x`."""
        return f"starting for {max(0, time.time() - self.since):.0f} s: {self.step}"


class Status(NamedTuple):
    """What a scheduler says of itself."""

    pid: int
    since_us: int
    max_running: int
    cores: int
    running: int
    drained: bool
    warnings: list[str]
    backfill: Backfill | None = None
    stalled: str = ""  # that its executor does not answer; else empty
    starting: Sequence[SlowStart] = ()
    log_full: bool = False  # whether it starts nothing because the store's log is full

    def document(self) -> dict[str, Json]:
        """Return all of it as a document."""
        return {**self._asdict(), "starting": [start._asdict() for start in self.starting]}

    @property
    def limits(self) -> Limits:
        """Within what it starts jobs."""
        return Limits(self.max_running, self.cores, draining=self.drained, backfill=self.backfill)


def scheduler_status(root: str) -> Status | None:
    """Ask the scheduler; None when there is none or it does not answer."""
    try:
        return ask_scheduler(root)
    except TimeoutError:
        return None


def ask_scheduler(root: str) -> Status | None:
    """Ask the scheduler; None when there is none. Raises TimeoutError when it does not answer."""
    try:
        with Connection(root, timeout_s=STATUS_TIMEOUT_S) as connection:
            answer = connection.request("job-manager.status")
    except NoScheduler:
        return None
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
        tell(f"{root}: the scheduler does not answer now: {error.strerror}")
        return None

    def number(key: str) -> int:
        return cast(int, answer.get(key, 0))

    return Status(
        number("pid"),
        number("since_us"),
        number("max_running"),
        number("cores"),
        number("running"),
        bool(answer.get("drained")),
        [str(warning) for warning in cast(list[Json], answer.get("warnings", []))],
        Backfill(**cast(dict[str, int], answer["backfill"])) if answer.get("backfill") else None,
        str(answer.get("stalled", "")),
        [SlowStart(**start) for start in cast(list[Any], answer.get("starting", []))],
        bool(answer.get("log_full")),
    )


def slow_start(root: str, job: Job) -> list[str]:
    """Say what keeps the process of a running job from becoming its program; empty: nothing is known to."""
    scheduler = scheduler_status(root) if job.state is State.RUN else None
    return [start.text for start in scheduler.starting if start.id == job.id] if scheduler is not None else []


# ---- values on the command line -----------------------------------------------------------------------------------


def time_us(text: str) -> int:
    """Read a time: seconds since the epoch, RFC 3339, or as we show it; without an offset it is local.

    Where clocks go back, such a time comes twice: the first is meant.
    """
    try:
        return values.begin_us(_with_offset(text))
    except Wrong as wrong:
        raise Failure(f"time {wrong}", USAGE) from None


def _with_offset(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
        return text if time.tzinfo is not None or "-" not in text else time.astimezone().isoformat()
    except (ValueError, OverflowError, OSError):
        return text  # a number, or wrong: the reader says


def duration_us(text: str) -> int:
    """Read a duration: seconds, or RFC 23 as `10m`; 0 is one too, and what is longer than a century is for ever."""
    word = text.strip()
    try:
        seconds = inf if word.lower() in ("inf", "infinity") else values.duration_s(word)  # RFC 23 has these two
    except Wrong as wrong:
        raise Failure(f"duration {wrong}", USAGE) from None
    return FOREVER_US if seconds >= values.SECONDS_MAX else round(seconds * 1_000_000)


def userid(text: str) -> int:
    """Read a user: a name or a number."""
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        pass  # no name, so perhaps a number
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Failure(f"{values.show(text)} is no user", USAGE)
    return int(text)


def hostname() -> str:
    """The name of this machine."""
    return os.uname().nodename


def username(userid: int) -> str:
    """The name of a user; the number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(userid).pw_name
    except KeyError:
        return str(userid)
