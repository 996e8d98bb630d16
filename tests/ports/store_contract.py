"""The rig of the real store for the contract in `jqsched.testing.contracts.store`."""

from contextlib import closing
from pathlib import Path

from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.event import Event
from jqsched.core.job import Job
from jqsched.ports import Batch
from jqsched.testing.contracts.store import Heard, durable


class SqliteRig:
    """The real one, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._top, self._folders = folder, 0
        self.fresh()

    def fresh(self) -> None:
        if self._folders:
            self.store.close()
        self._folders += 1
        self.folder = self._top / str(self._folders)
        self.folder.mkdir()
        self.syncs: list[str] = []
        self._open()

    def _open(self) -> None:
        self.store = SqliteStore(str(self.folder), self._sync)
        self._heard = Heard()

    def _sync(self) -> None:
        self.syncs.append(durable(self.jobs()))

    def begin(self) -> None:
        self.store.start(self._heard)

    def write(self, *batches: Batch) -> None:
        numbers = [self.store.submit(batch) for batch in batches]
        self._heard.wait_for_batch(max(numbers, default=1))

    def reopen(self) -> None:
        self.store.close()
        self._open()

    def _read(self) -> StoreReader:
        return StoreReader(str(self.folder))

    def events(self) -> list[tuple[int, Event]]:
        with closing(self._read()) as reader:
            return list(reader.journal())

    def jobs(self) -> dict[int, Job]:
        with closing(self._read()) as reader:
            return {job.id: job for job in [*reader.active(), *reader.finished()]}

    def close(self) -> None:
        self.store.close()
