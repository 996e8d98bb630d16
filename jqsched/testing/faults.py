"""Fakes whose scheduler can be stopped at every write: before it, after it, or between two that belong together.

Rule: a fuse burns at each call that changes something outside the scheduler; when it is through, `Crashed` leaves the
call, and the driver of the scheduler throws it away. What was done before that moment stays done. Renames and removals
that were not synced may be undone by a power cut, the last ones first, as a journaling file system does.
"""

from collections.abc import Callable, Iterable
from functools import partial

from jqsched.core.job import Draft
from jqsched.ports import Batch, PortError, Taken
from jqsched.testing.fake_spool import Files, MemorySpool, Parse
from jqsched.testing.fake_store import Disk, MemoryStore


class Crashed(BaseException):
    """kill -9 of the scheduler, at this point. Nothing may catch it but the code that lit the fuse."""


class CrashPoint:
    """Counts the writes that are left until the scheduler dies; unlit, it lasts for ever."""

    def __init__(self) -> None:
        self._left: int | None = None

    @property
    def is_lit(self) -> bool:
        """Whether a crash is to come."""
        return self._left is not None

    def light(self, writes: int) -> None:
        """Crash after so many writes more."""
        self._left = writes

    def put_out(self) -> None:
        """No crash after all."""
        self._left = None

    def hit(self) -> None:
        """A write begins or is done. Raises Crashed when it was the last."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left = None
            raise Crashed


class FusedStore(MemoryStore):
    """A store whose scheduler may die before or after it hands over a batch, and whose next commit may fail."""

    def __init__(self, sync_spool: Callable[[], None], fuse: CrashPoint, disk: Disk | None = None) -> None:
        super().__init__(sync_spool, disk=disk)
        self._fuse = fuse
        self._failing: bool | None = None
        self.written: list[Batch] = []  # what is on the disk of what was handed over

    def crash(self, sync_spool: Callable[[], None] = lambda: None) -> "FusedStore":
        """The store as the next scheduler finds it."""
        return FusedStore(sync_spool, self._fuse, self.disk.copy())

    def submit(self, batch: Batch) -> int:
        """Hand over a batch."""
        self._fuse.hit()
        number = super().submit(batch)
        self._fuse.hit()
        return number

    def fail(self, *, kept: bool) -> None:
        """Have the next commit fail; `kept`: it is on the disk all the same, as after a failed fsync it may be."""
        self._failing = kept

    def _write(self, todo: list[Batch]) -> None:
        failing, self._failing = self._failing, None
        if failing is not False:
            super()._write(todo)
            self.written += todo
        if failing is not None:
            raise PortError("commit to the store", "memory", None, "SQLITE_IOERR_FSYNC: as the story wanted it")


Undo = Callable[[], None]


class FusedSpool(MemorySpool):
    """A spool whose scheduler may die between any two files; `taken`: which id each file got that left the drop zone,
    for good or until a power cut, by its name.
    """

    def __init__(
        self,
        parse: Parse,
        known: Callable[[int], str | None],
        fuse: CrashPoint,
        files: Files | None = None,
        taken: dict[str, int] | None = None,
    ) -> None:
        super().__init__(parse, known, files)
        self.taken: dict[str, int] = taken if taken is not None else {}
        self._fuse = fuse
        self._unsynced: list[Undo] = []

    def reopen(self, known: Callable[[int], str | None] = lambda _: None) -> "FusedSpool":
        """The folder as the next scheduler finds it."""
        again = FusedSpool(self._parse, known, self._fuse, self.files, self.taken)
        again._written, again._unsynced = self._written, self._unsynced
        return again

    def sync(self) -> None:
        """What was done so far outlasts a power cut."""
        super().sync()
        self._unsynced.clear()

    def power_cut(self, choose: Callable[[int], int]) -> int:
        """Undo the last of what was not synced; returns how much of it."""
        lost = choose(len(self._unsynced) + 1)
        for undo in self._unsynced[::-1][:lost]:
            undo()
        self._unsynced.clear()
        return lost

    # ---- each write, and how it is undone -------------------------------------------------------------------------

    def _take(self, id_: int, name: str, draft: Draft, text: str) -> Taken:
        dropped = id_ not in self.files.jobs
        taken = super()._take(id_, name, draft, text)
        if dropped:
            self.taken[name] = id_
            self._unsynced.append(partial(self._put_back, id_, name))
        self._fuse.hit()
        return taken

    def _put_back(self, id_: int, name: str) -> None:
        text = self.files.jobs.pop(id_, None)
        if text is not None:
            self.files.drops[name] = text
            del self.taken[name]

    def _put_file(self, id_: int, text: str) -> None:
        self.files.jobs[id_] = text

    def refuse(self, id_: int, name: str, errors: str) -> None:
        """Set a taken file aside after all."""
        text, before = self.files.jobs.get(id_), set(self.files.rejected)
        super().refuse(id_, name, errors)
        if text is not None:
            (kept,) = set(self.files.rejected) - before
            self._unsynced.append(partial(self._undo_refusal, id_, kept, text))
        self._fuse.hit()

    def _undo_refusal(self, id_: int, kept: str, text: str) -> None:
        del self.files.rejected[kept]
        self._put_file(id_, text)

    def write(self, id_: int, text: str, userid: int | None = None) -> None:
        """Make a job's file."""
        self._fuse.hit()
        super().write(id_, text, userid)
        self._unsynced.append(partial(self._unwrite, id_))
        self._fuse.hit()

    def _unwrite(self, id_: int) -> None:
        self.files.jobs.pop(id_, None)

    def complain(self, id_: int, errors: str) -> None:
        """Write why an edit was refused."""
        super().complain(id_, errors)
        self._fuse.hit()

    def remove(self, ids: Iterable[int]) -> None:
        """Remove the files of jobs that are over, one after the other."""
        for id_ in list(ids):
            self._fuse.hit()
            text = self.files.jobs.get(id_)
            super().remove([id_])
            if text is not None:
                self._unsynced.append(partial(self._put_file, id_, text))
        self._fuse.hit()
