"""The store's schema: its tables and version; open, refuse or migrate a database.

In: a folder. Out: an open connection; StoreRefused or PortError.
Rule: everything that depends on the format's version is here. A store that is newer, damaged, foreign or missing where
there must be one is refused with the way out named; an empty one is never started in its place.
"""

import errno
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jqsched.adapters.filesystem import remote_kind
from jqsched.adapters.secure_open import check_file, check_folder, secure_open
from jqsched.adapters.store import wal
from jqsched.adapters.store.codec import COLUMNS, Damaged, checksum
from jqsched.ports import PortError

FILE_NAME = "jqsched.db"
FORMAT_VERSION = 4
SUMS_SINCE = 2  # the version in which rows got their checksums
ARRAYS_SINCE = 4  # the version in which there are arrays
INCREMENTAL = 2  # auto_vacuum: free pages are given back when it is asked for, a few at a time
PATH_MAX_BYTES = 504  # SQLite: 512, with room for the names of what it puts beside the database
APPLICATION_ID = 0x6A717363  # "jqsc": `file` and we ourselves know a store by it

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, jobid INTEGER NOT NULL, t_us INTEGER NOT NULL, name TEXT NOT NULL, context TEXT, spec TEXT,
    crc INTEGER
);
CREATE INDEX events_of_job ON events (jobid, seq);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, userid INTEGER NOT NULL, state INTEGER NOT NULL,
    urgency INTEGER NOT NULL, urgency_before INTEGER NOT NULL, pin INTEGER, priority INTEGER NOT NULL, waits TEXT,
    attempt INTEGER NOT NULL, interruptions INTEGER NOT NULL, requeuing INTEGER NOT NULL, fatal INTEGER NOT NULL,
    exception TEXT, status INTEGER, t_submit_us INTEGER NOT NULL, t_depend_us INTEGER NOT NULL,
    t_priority_us INTEGER NOT NULL, t_sched_us INTEGER NOT NULL, t_run_us INTEGER NOT NULL,
    t_start_us INTEGER NOT NULL, t_cleanup_us INTEGER NOT NULL, t_inactive_us INTEGER NOT NULL, crc INTEGER
);
CREATE INDEX jobs_live ON jobs (id) WHERE state < 64;
CREATE INDEX jobs_inactive ON jobs (t_inactive_us, id) WHERE state = 64;
CREATE INDEX jobs_by_name ON jobs (name, id);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL,
    boot_id TEXT NOT NULL, crc INTEGER
);
CREATE TABLE files (id INTEGER PRIMARY KEY, text TEXT NOT NULL, crc INTEGER);
CREATE TABLE arrays (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, indexes TEXT NOT NULL, crc INTEGER);
"""


def _add_checksums(connection: sqlite3.Connection) -> None:
    """From version 1: what is there counts as whole."""
    connection.create_function("checksum", -1, lambda *row: checksum(row), deterministic=True)
    for table, columns in COLUMNS.items():
        if table == "arrays":  # since version 4
            continue
        connection.execute(f"ALTER TABLE {table} ADD COLUMN crc INTEGER")
        connection.execute(f"UPDATE {table} SET crc = checksum({','.join(columns)})")


def _count_retries(_: sqlite3.Connection) -> None:
    """From version 2: nothing to rewrite. Only now may specs have retries, and the column `requeuing` more than a flag
    (`codec`), which an earlier program would misread.
    """


def _add_arrays(connection: sqlite3.Connection) -> None:
    """From version 3: a table more, the last in `TABLES`."""
    connection.execute(next(statement for statement in TABLES.split(";") if "TABLE arrays" in statement))


# From each old version, what brings it to the next; run in one transaction with the new version's number.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {
    1: _add_checksums,
    2: _count_retries,
    3: _add_arrays,
}


# What SQLite raises for damaged data; the second where its message quotes a text that is not valid UTF-8.
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)


class StoreRefused(Exception):
    """The store cannot be used as it is; the text names the file, what is wrong and the way out."""


def store_path(folder: str | Path) -> str:
    """Return the path of the database in a folder."""
    return str(Path(folder) / FILE_NAME)


@contextmanager
def port_errors(doing: str, path: str) -> Iterator[None]:
    """Turn SQLite's errors into PortError; SQLite hides the errno, so its own error name stands in the text."""
    try:
        yield
    except sqlite3.Error as error:
        raise PortError(doing, path, None, f"{_name(error)}: {said(error)}") from error


@contextmanager
def damage_refused(doing: str, path: str) -> Iterator[None]:
    """Turn SQLite's errors into PortError, but those that mean damage into StoreRefused, with the way out named."""
    try:
        with port_errors(doing, path):
            yield
    except Damaged as error:
        raise StoreRefused(f"{path}: damaged ({error}): {_way_out(path)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreRefused(f"{path}: damaged ({type(error).__name__}: {error}): {_way_out(path)}") from error
    except PortError as error:
        if isinstance(error.__cause__, sqlite3.Error) and is_damage(error.__cause__):
            raise StoreRefused(f"{path}: damaged ({error.text}): {_way_out(path)}") from error
        raise


def said(error: Exception) -> str:
    """Return an error's text as one line: SQLite may quote a statement."""
    return " ".join(str(error).split())


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite's error means damaged data, rather than a disk that fails, is full or in use.

    An error in decoding has no name, and a missing table or column is reported as SQLITE_ERROR.
    """
    named = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    return not isinstance(error, sqlite3.OperationalError) or named == "SQLITE_ERROR"


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds a lock that is needed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def connect(path: str, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database with the settings that the guarantees rest on. Transactions are begun and ended by hand.

    Raises: StoreRefused when its files may be another user's.
    """
    _check_files(path, for_reading=read_only)
    connection = _open(path, "ro" if read_only else "rwc")
    if not read_only:
        _settle(connection)
    return connection


def _open(path: str, mode: str) -> sqlite3.Connection:
    if len(os.fsencode(path)) > PATH_MAX_BYTES:
        raise StoreRefused(
            f"{path}: a path of {len(os.fsencode(path))} bytes, of which SQLite takes {PATH_MAX_BYTES}:"
            " name a folder with a shorter one with --store"
        )
    uri = f"file:{_quoted(path)}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)


def _settle(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _check_files(path: str, *, for_reading: bool = False) -> None:
    """Refuse a store whose files another user may have put there, or may change: SQLite opens them by their names.

    A reader may be root and look at another user's store: then the files may belong to the owner of the folder.
    """
    folder = str(Path(path).parent)
    try:
        if for_reading:
            owner = os.stat(folder).st_uid
        else:
            check_folder(folder)
            owner = None
        for suffix in ("", "-wal", "-shm", "-journal"):
            check_file(path + suffix, owner=owner)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise PortError("look at the store", path, error.errno, error.strerror or str(error)) from error
        raise StoreRefused(f"{error.filename}: {error.strerror}") from error
    except FileNotFoundError:
        return  # no folder: said when something is made in it
    except OSError as error:
        raise PortError("look at the store", path, error.errno, error.strerror or str(error)) from error


def _make_private(path: str) -> None:
    """Make the file before SQLite does, for its owner only; the files that SQLite puts beside it get the same mode."""
    try:
        os.close(secure_open(path, os.O_RDWR | os.O_CREAT))
    except OSError as error:
        raise PortError("make the store", path, error.errno, error.strerror or str(error)) from error


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def open_store(path: str, *, used_before: bool) -> sqlite3.Connection:
    """Open the store for writing: make it if it is new, migrate it if it is old, refuse it if it is anything else.

    Raises: StoreRefused; PortError when the disk fails. `used_before` says that this spool had a store already.
    """
    kind = remote_kind(str(Path(path).parent))
    if kind is not None:
        raise StoreRefused(f"{path}: on {kind}, where SQLite's WAL cannot work: name a local folder with --store")
    _check_files(path)
    exists = Path(path).exists() and Path(path).stat().st_size > 0
    if used_before and not exists:
        raise _missing(path, "is missing")
    if not exists:
        _make_private(path)
    with port_errors("open the store", path):
        connection = _open(path, "rw")
    try:
        _prepare(connection, path, used_before=used_before)
    except BaseException:  # whatever it was: the caller does not get this connection, so it could not close it
        connection.close()
        raise
    return connection


def check_log(path: str) -> str:
    """Check a database's log before SQLite opens it; returns a warning, or an empty text.

    Raises: StoreRefused when commits are lost. No other process may be writing.
    """
    _check_files(path)
    found = wal.look(path)
    if found.lost:
        raise StoreRefused(log_text(path, found))
    return log_text(path, found) if found.doubt else ""


def log_text(path: str, found: wal.Look) -> str:
    """Return the message about a log that is not whole, with the way out."""
    if not found.lost:
        return f"{path}-wal: {found.doubt}"
    go_on = f'sqlite3 {shlex.quote(path)} "PRAGMA wal_checkpoint(TRUNCATE)"'
    return (
        f"{path}-wal: {found.lost}: put a backup in the place of the store;"
        f" or go on without them, and what ran since then runs again: {go_on}"
    )


def _prepare(connection: sqlite3.Connection, path: str, *, used_before: bool) -> None:
    try:
        version = format_version(connection, path)
    except UNREADABLE as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise PortError("open the store", path, None, f"{_name(error)}: {said(error)}") from error
        raise StoreRefused(f"{path}: damaged ({said(error)}): {_way_out(path)}") from error
    if version == 0 and used_before:
        raise _missing(path, f"holds nothing (was {path}-wal beside it?)")
    with damage_refused("prepare the store", path):
        if version == 0:
            connection.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")  # while there is no page yet, or never
        _settle(connection)  # not before: what is not ours stays as it is
    with port_errors("prepare the store", path):
        if version == 0:
            _create(connection)
        elif version < FORMAT_VERSION:
            _migrate(connection, version)


def _missing(path: str, how: str) -> StoreRefused:
    return StoreRefused(
        f"{path}: the store {how}, but this spool was in use: put it back from a backup"
        f" (or, to begin with an empty history, remove {Path(path).parent / 'jqsched.lock'})"
    )


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)


def _way_out(path: str) -> str:
    return f"look at it with `jqsched check-spool --spool {Path(path).parent}`, or put a backup in its place"


def format_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of the format, 0 for an empty database; refuses what is newer, not ours or never was."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables == 0 and version == 0:
        return 0
    if application != APPLICATION_ID:
        raise StoreRefused(f"{path}: not a store of jqsched: move it away, or name another folder with --store")
    if version > FORMAT_VERSION:
        raise StoreRefused(
            f"{path}: written by a newer jqsched (format {version}, this one knows {FORMAT_VERSION}):"
            " install that version, or put a backup in its place"
        )
    if version < 1:
        raise StoreRefused(f"{path}: damaged (format {version}): {_way_out(path)}")
    return version


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in filter(str.strip, TABLES.split(";")):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for old in range(version, FORMAT_VERSION):
        connection.execute("BEGIN IMMEDIATE")
        MIGRATIONS[old](connection)
        connection.execute(f"PRAGMA user_version={old + 1}")
        connection.execute("COMMIT")
