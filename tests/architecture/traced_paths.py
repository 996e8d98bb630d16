"""Trace through which modules two requests go: a dropped file, and a new priority of a job that has a permit.

`python -m tests.architecture.traced_paths` prints how many modules and hops each takes (a hop is a call from one module
of jqsched into another). A scheduler in a process of its own records the calls of all its threads between two signals;
the executor's process and the command's are not recorded.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from attrs import frozen

from jqsched.adapters.store.reader import StoreReader
from jqsched.client.connection import Connection, NoScheduler

PATIENCE_S = 120.0
T = TypeVar("T")
LAUNCH = "from tests.architecture import traced_paths; traced_paths.run_traced()"


@frozen
class Trace:
    """The calls between modules, in order: (caller's module, called module)."""

    hops: tuple[tuple[str, str], ...]

    @property
    def modules(self) -> frozenset[str]:
        """Return the modules that took part."""
        return frozenset(name for hop in self.hops for name in hop)

    @property
    def distinct(self) -> frozenset[tuple[str, str]]:
        """Return the hops without repetitions: turns of the loop that find nothing to do repeat theirs."""
        return frozenset(self.hops)

    def missing(self, modules: Iterable[str]) -> str | None:
        """Return the first of these modules (or packages) that did not run after those before it; None if all did."""
        order = iter([name for hop in self.hops for name in hop])
        for module in modules:
            if not any(name == module or name.startswith(f"{module}.") for name in order):
                return module
        return None


def run_traced() -> None:
    """Run the command line of jqsched; between the first and the second SIGUSR2 its calls are recorded."""
    out, sys.argv = sys.argv[1], ["jqsched", *sys.argv[2:]]
    hops: list[tuple[str, str]] = []
    recording = threading.Event()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and recording.is_set():
            caller = frame.f_back
            while caller is not None and not _module(caller):  # attrs, the interpreter's callbacks
                caller = caller.f_back
            called, source = _module(frame), _module(caller) if caller is not None else ""
            if called and called != source:
                hops.append((source or "outside", called))

    def toggle(*_: object) -> None:
        if recording.is_set():
            recording.clear()
            Path(out).write_text(json.dumps(hops))
            hops.clear()
        else:
            recording.set()
        Path(f"{out}.toggled").touch()

    signal.signal(signal.SIGUSR2, toggle)
    threading.setprofile(profile)
    sys.setprofile(profile)
    from jqsched.cli.main import main

    sys.exit(main())


def _module(frame: FrameType) -> str:
    """Return the module of a frame without `jqsched.`; empty for code that is not ours."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.removeprefix("jqsched.") if name.startswith("jqsched.") else ""


def _until(condition: Callable[[], object], what: str) -> None:
    deadline, pause = time.monotonic() + PATIENCE_S, select.poll()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S} s in vain for {what}")
        pause.poll(10)


class TracedScheduler:
    """A scheduler whose calls can be recorded."""

    def __init__(self, folder: Path) -> None:
        self.spool, self._out = folder / "spool", folder / "trace.json"
        self.spool.mkdir(mode=0o700)
        (self.spool / "jqsched.toml").write_text("max_running = 1\nscan_s = 10\n")  # the watcher comes first
        command = [sys.executable, "-c", LAUNCH, str(self._out), "run", "--spool", str(self.spool)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until(self._serves, "the scheduler to serve")

    def _serves(self) -> bool:
        try:
            self.ask("status")
        except NoScheduler:
            return False
        return True

    def ask(self, topic: str, **payload: object) -> dict[str, object]:
        """Ask the scheduler."""
        with Connection(str(self.spool)) as connection:
            return dict(connection.request(f"job-manager.{topic}", payload))  # type: ignore[arg-type]  # JSON values

    def drop(self, name: str, *command: str) -> None:
        """Drop a job file by rename."""
        draft = self.spool.parent / name
        draft.write_text(json.dumps({"command": command, "output": "/dev/null"}))
        draft.rename(self.spool / f"{name}.json")

    def is_finished(self, id_: int) -> bool:
        """Whether the end of a job is durable. Read from the store: the scheduler is not asked."""
        return any(job.id == id_ for job in self._read(StoreReader.finished))

    def has_attempt(self, id_: int) -> bool:
        """Whether a permit or a process of a job is durable."""
        return id_ in self._read(StoreReader.permitted)

    def _read(self, rows: Callable[[StoreReader], Iterable[T]]) -> list[T]:
        reader = StoreReader(str(self.spool))
        try:
            return list(rows(reader))
        finally:
            reader.close()

    def traced(self, act: Callable[[], object]) -> Trace:
        """Record the calls while something is done."""
        self._toggle()
        act()
        self._toggle()
        return Trace(tuple((source, called) for source, called in json.loads(self._out.read_text())))

    def _toggle(self) -> None:
        toggled = Path(f"{self._out}.toggled")
        self._process.send_signal(signal.SIGUSR2)
        _until(toggled.exists, "the signal to be handled")
        toggled.unlink()

    def stop(self) -> None:
        """End the scheduler, and the jobs."""
        self.ask("stop-starts")
        for id_ in self._read(StoreReader.permitted):
            self.ask("cancel", id=id_)
        self._process.terminate()
        self._process.wait(PATIENCE_S)


@contextmanager
def traced_scheduler() -> Iterator[TracedScheduler]:
    """Run a scheduler with one slot on a spool of its own."""
    with tempfile.TemporaryDirectory() as folder:
        scheduler = TracedScheduler(Path(folder))
        try:
            yield scheduler
        finally:
            scheduler.stop()


def drop_and_priority() -> tuple[Trace, Trace]:
    """Trace a dropped file until its job has ended, then a new priority of a job that waits with a permit."""
    with traced_scheduler() as scheduler:

        def drop() -> None:
            scheduler.drop("first", "true")
            _until(lambda: scheduler.is_finished(1), "the end of the job")

        dropped = scheduler.traced(drop)
        for id_, command in ((2, ("sleep", "1000")), (3, ("true",))):
            scheduler.drop(f"job-{id_}", *command)
            _until(lambda id_=id_: scheduler.has_attempt(id_), "the permit")
        changed = scheduler.traced(lambda: scheduler.ask("priority", id=3, priority=99))
    return dropped, changed


def main() -> None:
    """Print the figures of both paths."""
    for name, trace in zip(("a dropped file", "a priority of a permitted job"), drop_and_priority(), strict=True):
        print(f"{name}: {len(trace.modules)} modules, {len(trace.distinct)} different hops of {len(trace.hops)}")


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    main()
