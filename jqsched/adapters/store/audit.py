"""The audit behind `jqsched check-spool`: is the job table what the events say, and is the database whole?

Rule: findings are texts for a person; `rebuild` writes the job table anew from the events, and no other table. Filter
rules are in no event: that they cannot be read is a finding, and nothing is done about it.
"""

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from jqsched.adapters.store import codec
from jqsched.adapters.store.schema import connect, port_errors, store_path
from jqsched.adapters.store.writer import PURGED_EVENTS, SELECT_EVENTS, SELECT_JOBS, UPSERT_JOB
from jqsched.core.event import advance
from jqsched.core.filters import kept_rules
from jqsched.core.job import Job
from jqsched.ports import RULES


def audit(folder: str) -> list[str]:
    """Everything that is wrong with the store in `folder`; empty when nothing is."""
    path = store_path(folder)
    if not Path(path).exists():
        return [f"{path}: there is no store"]
    try:
        with closing(connect(path, read_only=True)) as connection:
            connection.execute("BEGIN")  # one snapshot for all that follows: the daemon may be writing
            checks = (_integrity, _count, _rules, _projection)
            return [finding for check in checks for finding in check(connection, path)]
    except sqlite3.DatabaseError as error:
        return [f"{path}: cannot be read: {error}"]


def _integrity(connection: sqlite3.Connection, path: str) -> Iterator[str]:
    for (finding,) in connection.execute("PRAGMA integrity_check(20)"):
        if finding != "ok":
            yield f"{path}: {finding}"


def _count(connection: sqlite3.Connection, path: str) -> Iterator[str]:
    """Seqs are dense: those that are not there were purged, or are missing."""
    there, last = connection.execute("SELECT count(*), coalesce(max(seq), 0) FROM events").fetchone()
    noted = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('seq', ?)", (PURGED_EVENTS,)))
    missing = max(last, int(noted.get("seq", 0))) - there - int(noted.get(PURGED_EVENTS, 0))
    if missing:
        yield f"{path}: {missing} event(s) are missing"


def _rules(connection: sqlite3.Connection, path: str) -> Iterator[str]:
    """No scheduler starts on damaged rules: it would not know whom they stop."""
    try:
        for (text,) in connection.execute("SELECT value FROM meta WHERE key = ?", (RULES,)):
            kept_rules(text)
    except (ValueError, TypeError) as error:
        drop = f"sqlite3 {shlex.quote(path)} \"DELETE FROM meta WHERE key = '{RULES}'\""
        yield f"{path}: damaged {error}; where there is no backup, drop them all: {drop}"


def _projection(connection: sqlite3.Connection, path: str) -> Iterator[str]:
    stored = {row[0]: row for row in connection.execute(SELECT_JOBS)}
    last_us = 0
    for _, t_us in connection.execute("SELECT seq, t_us FROM events ORDER BY seq"):
        if t_us <= last_us:
            yield f"{path}: an event at {t_us} is not after the one before it ({last_us})"
        last_us = t_us
    for jobid, folded in fold_all(connection):
        if isinstance(folded, str):
            yield f"{path}: {folded}"
        elif folded is None:
            if stored.pop(jobid, None) is not None:
                yield f"{path}: job {jobid} was invalidated, but is in the job table"
        elif stored.pop(jobid, None) != codec.job_to_row(folded):
            yield f"{path}: job {jobid} is not in the job table as its events say (state {folded.state.name})"
    for jobid in stored:
        yield f"{path}: job {jobid} is in the job table, but has no events"


def fold_all(connection: sqlite3.Connection) -> Iterator[tuple[int, Job | str | None]]:
    """For each job its events folded, or what does not fit."""
    rows = connection.execute(f"{SELECT_EVENTS} ORDER BY jobid, seq")
    for jobid, log in groupby(rows, itemgetter(1)):
        job: Job | None = None
        try:
            for row in log:
                job = advance(job, codec.event_from_row(row)[1])
        except (AssertionError, AttributeError, ValueError, KeyError, TypeError) as error:
            yield jobid, f"the event log of job {jobid} does not fold: {error}"
        else:
            yield jobid, job


def rebuild(folder: str) -> int:
    """Write the job table anew from the events, in one transaction; returns the number of jobs.

    The row of a job whose events do not fold is left as it is: without one its file would be taken for a new job's.
    Raises: PortError. Only when no scheduler runs (the caller holds the spool's lock).
    """
    path = store_path(folder)
    with port_errors("rebuild the job table", path), closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        folded = dict(fold_all(connection))
        rows = [(id_,) for (id_,) in connection.execute("SELECT id FROM jobs") if not isinstance(folded.get(id_), str)]
        connection.executemany("DELETE FROM jobs WHERE id = ?", rows)
        jobs = [job for job in folded.values() if isinstance(job, Job)]
        connection.executemany(UPSERT_JOB, map(codec.job_to_row, jobs))
        connection.execute("COMMIT")
    return len(jobs)
