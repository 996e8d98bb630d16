"""`FolderWatcher`: wake the scheduler when files change in the drop zones or in `jobs/`; inotify, read by watchdog.

Rule: it gives hints and nothing more. Where watching is impossible or ends (no inotify, its limits, a network file
system, a replaced directory, a bug), it logs that once and the scans of the scheduler remain. It never touches a file.

watchdog's own observer is not used: it holds events back for 0.5 s to pair moves, hides overflows, and ends at the
first exception. Its inotify reader is, driven by a thread of ours.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from jqsched.adapters.filesystem import remote_kind

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

PAUSE_S = 0.003  # between two readings that rang: a burst is then read in a few hundred wake-ups, not in ten thousand

_MODIFIED_AND_CLOSED, _MOVED_FROM, _MOVED_TO, _CREATED, _DELETED = 0x8, 0x40, 0x80, 0x100, 0x200
_SELF_DELETED, _SELF_MOVED, _UNMOUNTED, _ONLY_DIRECTORY = 0x400, 0x800, 0x2000, 0x1000000
_LOST = _SELF_DELETED | _SELF_MOVED | _UNMOUNTED
_DROP_MASK = _MOVED_TO | _MODIFIED_AND_CLOSED | _CREATED | _SELF_DELETED | _SELF_MOVED | _ONLY_DIRECTORY
_JOBS_MASK = _MOVED_TO | _MODIFIED_AND_CLOSED | _MOVED_FROM | _DELETED | _SELF_DELETED | _SELF_MOVED | _ONLY_DIRECTORY
_CONFIG = b"jqsched.toml"


class RingDrop(Protocol):
    """Look at the drop zone: all of it (None); a file whose writer closed it; or one renamed in whole (settled)."""

    def __call__(self, name: str | None, settled: bool) -> None:
        """Ring."""


class RingJobs(Protocol):
    """Look at a job's file (None: at all); `written`: something was put there, so it may be of a job that is over."""

    def __call__(self, id_: int | None, written: bool) -> None:
        """Ring."""


class FolderWatcher:
    """Watches `root`, `root/jobs` and `root/drop`. The bells are rung from its thread and must be quick."""

    def __init__(
        self,
        root: str,
        ring_drop: RingDrop,
        ring_jobs: RingJobs,
        ring_config: Callable[[], None],
        ring_shared: RingDrop,
        log: logging.Logger,
    ) -> None:
        self._root, self._log = root, log
        jobs = _JobsBell(ring_jobs, self._lost)

        def root_lost() -> None:
            if not self._is_lost and self._lost():
                jobs.ring_all()  # it asks for a scan, and that finds out what became of the spool

        # A file in `drop/` that is called like the configuration is none, and no job either.
        self._watches: list[tuple[str, int, _Bell]] = [
            (root, _DROP_MASK, _DropBell(ring_drop, ring_config, root_lost)),
            (os.path.join(root, "jobs"), _JOBS_MASK, jobs),
            (os.path.join(root, "drop"), _DROP_MASK, _DropBell(ring_shared, lambda: None, self._lost)),
        ]
        self._reader: _Reader | None = None
        self._watched: tuple[tuple[int, int], ...] = ()
        self._is_lost = False
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin to watch, or log why that is impossible."""
        self.ensure()

    def stop(self) -> None:
        """End, and wait for the thread."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.end()

    def alive(self) -> bool:
        """Whether changes are being rung."""
        return self._reader is not None and self._reader.is_alive() and not self._is_lost

    def ensure(self) -> bool:
        """Watch again where that ended or the folders were replaced; then everything is rung. Cheap when all is well.

        Returns whether it watches. To be called with each scan, from one thread.
        """
        try:
            folders = tuple((found.st_dev, found.st_ino) for found in (os.stat(path) for path, _, _ in self._watches))
            if self.alive() and folders == self._watched:
                return True
            if self._reader is not None and not self._reader.is_alive():
                self._log.warning("the watcher's thread had ended; it is started again")
            self.stop()
            if kind := remote_kind(self._root):
                self._say(
                    f"{self._root!r} is on {kind}, where changes by others cannot be watched: only scans see them"
                )
                return False
            self._is_lost = False
            self._reader = _Reader(self._watches, self._log)
            self._watched = folders
            self._reader.start()
        except Exception as wrong:  # whatever watchdog or the system does here: the scans remain, so nothing is lost
            self._say(f"{self._root!r} cannot be watched, only scanned: {type(wrong).__name__}: {wrong}")
            return False
        self._said.clear()
        for _, _, bell in self._watches:
            bell.on_queue_overflow()  # what happened between is unknown
        return True

    def _lost(self) -> bool:
        """Note that a folder is not watched any more; returns whether that was unexpected."""
        if self._reader is None:
            return False  # we end it ourselves
        if not self._is_lost:
            self._log.warning("%r was moved, removed or unmounted: no longer watched", self._root)
        self._is_lost = True
        return True

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._log.warning("%s", text)


class _Bell:
    """What watchdog calls for each event of one folder. `rang` is reset by the reader."""

    def __init__(self, lost: Callable[[], object]) -> None:
        self._lost = lost
        self.rang = False

    def on_event(self, event: "InotifyEvent") -> None:
        self.rang |= self.ring(event.mask, event.name)
        if event.mask & _LOST:
            self._lost()
            self.ring_all()

    def on_watch_deleted(self, wd: int) -> None:  # noqa: ARG002  # watchdog's signature
        self._lost()

    def on_queue_overflow(self) -> None:
        self.ring_all()

    def ring(self, mask: int, name: bytes) -> bool:
        raise NotImplementedError

    def ring_all(self) -> None:
        raise NotImplementedError


class _DropBell(_Bell):
    def __init__(self, ring_drop: RingDrop, ring_config: Callable[[], None], lost: Callable[[], object]) -> None:
        super().__init__(lost)
        self._ring_drop, self._ring_config = ring_drop, ring_config

    def ring(self, mask: int, name: bytes) -> bool:
        if not name.endswith((b".json", b".toml")) or name.startswith(b"."):
            return False
        if name == _CONFIG:
            self._ring_config()
        elif mask & _MOVED_TO:
            self._ring_drop(os.fsdecode(name), True)
        elif mask & _MODIFIED_AND_CLOSED:
            self._ring_drop(os.fsdecode(name), False)
        else:  # created: a hard link, which is whole, or a file that was only begun
            self._ring_drop(None, False)
        return True

    def ring_all(self) -> None:
        self._ring_drop(None, False)
        self._ring_config()


class _JobsBell(_Bell):
    def __init__(self, ring_jobs: RingJobs, lost: Callable[[], object]) -> None:
        super().__init__(lost)
        self._ring_jobs = ring_jobs

    def ring(self, mask: int, name: bytes) -> bool:
        digits = name[:-5]
        if not digits.isdigit() or not name.endswith(b".json") or len(digits) > 19:
            return False
        self._ring_jobs(int(digits), bool(mask & (_MOVED_TO | _MODIFIED_AND_CLOSED)))
        return True

    def ring_all(self) -> None:
        self._ring_jobs(None, False)


class _Reader(threading.Thread):
    """Reads inotify events and hands them to the bells. A daemon: a crash on the main thread must end the process."""

    def __init__(self, watches: list[tuple[str, int, _Bell]], log: logging.Logger) -> None:
        super().__init__(name="jqsched-watcher", daemon=True)
        self._log = log
        self._bells = [bell for _, _, bell in watches]
        self._ended = threading.Event()
        self._inotify = _inotify()
        try:
            for path, mask, bell in watches:
                watch = self._inotify.add_callback(
                    os.fsencode(path),
                    mask,  # type: ignore[arg-type]  # watchdog's NewType, an integer
                    bell,
                    id(bell),  # type: ignore[arg-type]  # likewise
                )
                if watch < 0:
                    raise PermissionError(f"{path} may not be watched")
        except OSError:
            self._inotify.stop()
            raise

    def run(self) -> None:
        """Ring until ended."""
        try:
            while not self._ended.is_set():
                self._ring(self._inotify.read_events())
        except Exception as wrong:  # of reading: this thread is of no use any more, and `ensure` starts another
            self._log.warning("the watcher cannot read its events: %s: %s", type(wrong).__name__, wrong)
        finally:
            self._inotify._is_reading = False  # noqa: SLF001  # else its `stop` leaves closing to a thread that is gone

    def _ring(self, events: "list[InotifyEvent]") -> None:
        for event in events:
            try:
                self._inotify.handle_event(event)
            except Exception as wrong:  # an error in one must not stop the others; the scans make up for this event
                self._log.warning("a bell of the watcher failed: %s: %s", type(wrong).__name__, wrong)
        if any(bell.rang for bell in self._bells):
            for bell in self._bells:
                bell.rang = False
            self._ended.wait(PAUSE_S)

    def end(self) -> None:
        """End the thread, which may have ended by itself, and let go of inotify."""
        self._ended.set()
        self._inotify.stop()
        if self.is_alive():
            self.join()


def _inotify() -> "InotifyFD":
    from watchdog.observers.inotify_c import InotifyFD  # noqa: PLC0415  # raises where there is no inotify

    inotify = InotifyFD()
    inotify._is_reading = False  # noqa: SLF001  # not read yet: see `run`
    # watchdog leaves it inheritable, and each job would have it open
    os.set_inheritable(inotify._inotify_fd, False)  # noqa: SLF001  # there is no other way to it
    return inotify
