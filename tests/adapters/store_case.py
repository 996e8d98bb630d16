"""What tests of the store share: a store that is opened, left behind, or changed behind the scheduler's back."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from jqsched.adapters.store import codec
from jqsched.adapters.store.schema import store_path
from jqsched.adapters.store.writer import SqliteStore
from jqsched.ports import Batch
from jqsched.testing.contracts.store import Author, Heard

PAGE_BYTES = 4096


def open_store(folder: Path, *, used_before: bool = False) -> SqliteStore:
    return SqliteStore(str(folder), lambda: None, used_before=used_before)


def make(folder: Path, *batches: Batch) -> None:
    """Leave a store with these batches behind."""
    made, heard = open_store(folder), Heard()
    made.start(heard)
    for batch in batches:
        made.submit(batch)
    made.close()
    assert heard.all == ([len(batches)] if batches else [])


def sql(folder: Path, *statements: str) -> None:
    """Change a store behind the scheduler's back."""
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        for statement in statements:
            changed = connection.execute(statement).rowcount
            assert changed != 0, f"nothing was changed by {statement}"


def sum_up(folder: Path) -> None:
    """Make the checksums right again: what stands in the store is then what a scheduler wrote, wrong as it may be."""
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        connection.create_function("checksum", -1, lambda *row: codec.checksum(row))
        for table, columns in codec.COLUMNS.items():
            connection.execute(f"UPDATE {table} SET crc = checksum({','.join(columns)})")


def overwrite(folder: Path, pages: int, content: Callable[[int], bytes]) -> None:
    """Fill a store with jobs, and write over all of it behind its first pages."""
    author = Author()
    make(folder, *(author.job(id_, "alloc") for id_ in range(1, 100)))
    path = Path(store_path(folder))
    kept, size = PAGE_BYTES * pages, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(kept)
        file.write(content(size - kept))
