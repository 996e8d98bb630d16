"""The audit behind `jqsched check-spool`: is every row as it was written, and is the job table what the events say?

Rule: findings are lines for a person: what is damaged, and what to do. `rebuild` writes the job table anew from the
events, and no other table; it makes nothing of events that are damaged or missing. Rows are read one after the other.
"""

import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

from attrs import define

from jqsched.adapters.store import codec, wal
from jqsched.adapters.store.schema import (
    ARRAYS_SINCE,
    FORMAT_VERSION,
    SUMS_SINCE,
    TABLES,
    UNREADABLE,
    StoreRefused,
    check_log,
    connect,
    damage_refused,
    format_version,
    log_text,
    open_store,
    said,
    store_path,
)
from jqsched.adapters.store.writer import PURGED_EVENTS, PUT_JOB, SELECT_SUMMED
from jqsched.core.event import advance
from jqsched.core.filters import kept_rules
from jqsched.core.job import Job
from jqsched.ports import RULES

FINDINGS_MAX = 100  # of each check: a store with more findings needs its backup, not the list
NAMED_MAX = 5
_WRONG = (ValueError, KeyError, TypeError, AttributeError, AssertionError)  # what damaged values lead to
_WAYS_OUT = {
    "meta": "put a backup in its place",
    "files": "put a backup in its place",
    "attempts": "put a backup in its place",
    "arrays": "put a backup in its place",
    "events": "put a backup in its place; if the job is finished, `jqsched purge` forgets it",
}


@define
class _Store:
    """A database that is looked at, at one moment; `has_sums` is false where its rows have no checksums yet.

    `version`: of its format. `events_are_whole`: the checksums of all events were looked at, and none was wrong.
    """

    connection: sqlite3.Connection
    path: str
    has_sums: bool
    version: int = FORMAT_VERSION
    events_are_whole: bool = False

    def rows(self, table: str, rest: str) -> Iterator[codec.Row]:
        """Rows, with their checksums last."""
        select = SELECT_SUMMED[table] if self.has_sums else SELECT_SUMMED[table].replace(",crc FROM", ",NULL FROM")
        return self.connection.execute(f"{select} {rest}")

    def is_whole(self, row: codec.Row) -> bool:
        """Whether a row is as it was written, as far as can be known."""
        return codec.is_whole(row) if self.has_sums else True


def audit(folder: str, progress: Callable[[str], None] = lambda _: None) -> list[str]:
    """Return everything that is wrong with the store in `folder`, a line each; empty when nothing is.

    `progress` is called with the name of each check, and with an empty text at the end.
    """
    path = store_path(folder)
    if not Path(path).exists():
        return [f"{path}: there is no store"]
    log = wal.look_beside_a_writer(path)  # first: SQLite would silently cut off a damaged log
    found = [log_text(path, log)] if log.at else []
    try:
        with closing(connect(path, read_only=True)) as connection:
            connection.text_factory = _text
            connection.execute("BEGIN")  # one snapshot for all that follows: the daemon may be writing
            version = format_version(connection, path)
            if version == 0:
                found.append(f"{path}: holds nothing (was {path}-wal beside it?): put a backup in its place")
            else:
                store = _Store(connection, path, version >= SUMS_SINCE, version)
                for number, check in enumerate(_CHECKS, 1):
                    progress(f"checking {path}: {number} of {len(_CHECKS)}")
                    found += _findings(check(store), path)
    except StoreRefused as error:
        found.append(str(error))
    except UNREADABLE as error:
        found.append(f"{path}: cannot be read: {said(error)}")
    finally:
        progress("")
    return found


def _text(stored: bytes) -> str:
    """A text that may be damaged."""
    return stored.decode(errors="surrogateescape")


def _findings(check: Iterator[str], path: str) -> Iterator[str]:
    """Return the findings of one check, up to the point where damage ends it."""
    try:
        yield from islice(check, FINDINGS_MAX)
        if next(check, None) is not None:
            yield f"{path}: and more of the kind"
    except UNREADABLE as error:
        yield f"{path}: cannot be read: {said(error)}"
    except _WRONG as error:
        yield f"{path}: holds what nobody wrote: {type(error).__name__}: {error}"


def _integrity(store: _Store) -> Iterator[str]:
    for (finding,) in store.connection.execute("PRAGMA integrity_check(20)"):
        if finding != "ok":
            yield f"{store.path}: {' '.join(finding.split())}: put a backup in its place"


def _tables(store: _Store) -> Iterator[str]:
    """Check that tables and indexes are those of the format: SQLite would accept any definition that it can read."""
    if not store.has_sums:
        return
    statements = (_bare(statement) for statement in TABLES.split(";"))
    is_known = store.version >= ARRAYS_SINCE
    wanted = sorted(text for text in statements if text and (is_known or not text.startswith("CREATETABLEarrays")))
    there = store.connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    if sorted(_bare(sql) for (sql,) in there) != wanted:
        yield f"{store.path}: the definition of a table or index is damaged: put a backup in its place"


def _bare(sql: str) -> str:
    return sql.replace(" ", "").replace("\n", "")


def _sums(store: _Store) -> Iterator[str]:
    """Find rows that are not as they were written. Those of jobs are compared with their events later."""
    for table, way_out in _WAYS_OUT.items():
        if table == "arrays" and store.version < ARRAYS_SINCE:
            continue
        is_whole = True
        for row in store.rows(table, f"ORDER BY {codec.COLUMNS[table][0]}"):
            if not store.is_whole(row):
                is_whole = False
                yield f"{store.path}: {_named(table, row)} is damaged: {way_out}"
        store.events_are_whole = store.events_are_whole or (is_whole and table == "events")


def _named(table: str, row: codec.Row) -> str:
    match table:
        case "meta":
            return f"the setting {row[0]!r}"
        case "files":
            return f"the text of the file of job {row[0]}"
        case "attempts":
            return f"the record of attempt {row[1]} of job {row[0]}"
        case "arrays":
            return f"the record of array {row[0]}"
        case _:
            return f"event {row[0]} ({row[3]} of job {row[1]})"


def _count(store: _Store) -> Iterator[str]:
    missing = _missing_events(store.connection)
    if missing:
        yield f"{store.path}: {missing} event(s) are missing: put a backup in its place"


def _missing_events(connection: sqlite3.Connection) -> int:
    """Find missing events: seqs are dense, so one that is not there was purged, or is missing."""
    there, last = connection.execute("SELECT count(*), coalesce(max(seq), 0) FROM events").fetchone()
    noted = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('seq', ?)", (PURGED_EVENTS,)))
    missing: int = max(last, int(noted.get("seq", 0))) - there - int(noted.get(PURGED_EVENTS, 0))
    return missing


def _rules(store: _Store) -> Iterator[str]:
    """Check the rules: no scheduler starts on damaged ones, for it would not know which jobs they stop."""
    try:
        for (text,) in store.connection.execute("SELECT value FROM meta WHERE key = ?", (RULES,)):
            kept_rules(text)
    except (ValueError, TypeError) as error:
        drop = f"sqlite3 {shlex.quote(store.path)} \"DELETE FROM meta WHERE key = '{RULES}'\""
        yield f"{store.path}: damaged {error}; where there is no backup, drop them all: {drop}"


def _projection(store: _Store) -> Iterator[str]:
    """Check that events are in the order of their times, and each row of the job table is the fold of its events."""
    last_us = 0
    for _, t_us in store.connection.execute("SELECT seq, t_us FROM events ORDER BY seq"):
        if t_us <= last_us:
            yield f"{store.path}: an event at {t_us} is not after the one before it ({last_us})"
        last_us = t_us
    rows = ((row[0], "row", row) for row in store.rows("jobs", "ORDER BY id"))
    folds = ((jobid, "fold", folded) for jobid, folded in fold_all(store))
    for jobid, group in groupby(merge(rows, folds, key=itemgetter(0)), key=itemgetter(0)):
        finding = _compared(store, jobid, {kind: value for _, kind, value in group})
        if finding:
            yield f"{store.path}: {finding}"


def _compared(store: _Store, jobid: int, found: dict[str, codec.Row | Job | str | None]) -> str:
    """Compare a job's row, if there is one, with the fold of its events, if it has any; return the difference."""
    row, folded = found.get("row"), found.get("fold")
    assert row is None or isinstance(row, tuple)
    if "fold" not in found:
        return f"job {jobid} is in the job table, but has no events"
    if isinstance(folded, str):
        damaged = row is not None and not store.is_whole(row)
        return f"{folded}{', and its row in the job table is damaged' if damaged else ''}: put a backup in its place"
    if not isinstance(folded, Job):
        return f"job {jobid} was invalidated, but is in the job table" if row is not None else ""
    if row is None or row[:-1] != codec.job_to_row(folded):
        return f"job {jobid} is not in the job table as its events say (state {folded.state.name})"
    return "" if store.is_whole(row) else f"job {jobid}: the checksum in the job table is damaged"


_CHECKS = (_integrity, _tables, _sums, _count, _rules, _projection)


def fold_all(store: _Store) -> Iterator[tuple[int, Job | str | None]]:
    """Yield for each job the fold of its events, or the reason why they do not fold."""
    for jobid, log in groupby(store.rows("events", "ORDER BY jobid, seq"), itemgetter(1)):
        job: Job | None = None
        try:
            for row in log:
                if not store.events_are_whole and not store.is_whole(row):
                    raise codec.Damaged(f"event {row[0]} is damaged")
                job = advance(job, codec.event_from_row(row[:-1])[1])
        except _WRONG as error:
            yield jobid, f"the event log of job {jobid} does not fold: {error}"
        else:
            yield jobid, job


def rebuild(folder: str) -> int:
    """Write the job table anew from the events, in one transaction; returns the number of jobs.

    The row of a job whose events do not fold is left as it is: without one its file would be taken for a new job's.
    Raises: StoreRefused when events are damaged or missing, for a table made of the others would hide it; PortError.
    Only when no scheduler runs (the caller holds the spool's lock).
    """
    path = store_path(folder)
    check_log(path)
    with closing(open_store(path, used_before=True)) as connection, damage_refused("rebuild the job table", path):
        connection.execute("BEGIN IMMEDIATE")
        store = _Store(connection, path, has_sums=True)
        _refuse_damage(store)
        kept, count = set[int](), 0
        for id_, folded in fold_all(store):
            if folded is not None:
                kept.add(id_)
            if isinstance(folded, Job):
                connection.execute(PUT_JOB, codec.summed(codec.job_to_row(folded)))
                count += 1
        extra = [(id_,) for (id_,) in connection.execute("SELECT id FROM jobs") if id_ not in kept]
        connection.executemany("DELETE FROM jobs WHERE id = ?", extra)
        connection.execute("COMMIT")
    return count


def _refuse_damage(store: _Store) -> None:
    damaged = (str(row[0]) for row in store.rows("events", "ORDER BY seq") if not store.is_whole(row))
    named = list(islice(damaged, NAMED_MAX))
    if named:
        more = " and more" if next(damaged, None) else ""
        raise StoreRefused(
            f"{store.path}: event(s) {', '.join(named)}{more} are damaged, and a job table made of the others would"
            " hide it: put a backup in its place; a finished job can be purged"
        )
    missing = _missing_events(store.connection)
    if missing:
        raise StoreRefused(
            f"{store.path}: {missing} event(s) are missing, and a job table made of the others would hide it:"
            " put a backup in its place"
        )
