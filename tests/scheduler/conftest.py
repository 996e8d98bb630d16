"""A rig (`jqsched.testing.harness`) with job files as the real spool reads them, and moves for tests that go through a
history by hand. Histories that are drawn are in `jqsched.testing.world`.
"""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jqsched.adapters.jobfile import BadFile, read_job
from jqsched.core.job import Draft
from jqsched.core.policy import Limits
from jqsched.testing.harness import LIMITS, Rig

__all__ = ["LIMITS", "World"]


def parse(text: str, name: str) -> Draft | str:
    """Read a job file as the real spool does."""
    job = read_job(text.encode(), ".json", "/", name=name)
    return "\n".join(job.errors) if isinstance(job, BadFile) else job


class World(Rig):
    """A rig that is told by hand what happens: files by their keys, one step at a time, up from the start."""

    def __init__(self, limits: Limits = LIMITS, plugins: tuple[str, ...] = ()) -> None:
        super().__init__(parse, limits, plugins=plugins)
        self.boot()

    def restart(self, *, executor: bool = False) -> None:
        """Crash, and start again."""
        self.crash(executor=executor)
        self.boot()
        self.settle()

    # -- moving

    def settle(self) -> None:
        """Go on until nothing moves by itself. The executor's time stands still."""
        for _ in range(200):
            before = self._state()
            self.turn()
            self.store.commit()
            self.turn()
            if not self.executor.holding:
                self.advance()
            if self._state() == before and self.scheduler.is_settled:
                return
        raise AssertionError("it never comes to rest")

    def _state(self) -> tuple[object, ...]:
        return (len(self.store.batches), self.scheduler.ledger.head, len(self.executor.orders), self.executor.running())

    # -- doing

    def drop(self, name: str = "", **keys: Any) -> None:
        """Drop a job file; the order of names is the order of ids."""
        text = json.dumps({"command": ["true"], **({"name": name} if name else {}), **keys})
        self.spool.files.drops[f"{len(self.spool.files.drops):06}-{name}.json"] = text
        self.scheduler.intake.more = True

    def add(self, *names: str, **keys: Any) -> None:
        """Drop jobs, and let everything settle."""
        for name in names:
            self.drop(name, **keys)
        self.settle()

    def ask(self, topic: str, **payload: Any) -> list[Any]:
        """Ask as a client does; what is answered comes into the list."""
        answers: list[Any] = []
        self.commands.run(f"job-manager.{topic}", payload, answers.append)
        return answers

    def edit(self, id_: int, **keys: Any) -> None:
        """Change a job's file, and have it looked at."""
        self.change_file(id_, **keys)
        self.scheduler.intake.look_at([id_])

    def change_file(self, id_: int, **keys: Any) -> None:
        """Change a job's file without a notice."""
        self.spool.files.jobs[id_] = json.dumps(json.loads(self.spool.files.jobs[id_]) | keys)

    def end(self, id_: int, status: int = 0) -> None:
        """A running job ends, and all settles."""
        self.executor.end(id_, status)
        self.advance()
        self.settle()


@pytest.fixture
def world() -> World:
    """One slot, four cores, three permits ahead, and no job yet."""
    return World()


Make = Callable[..., World]


def write(folder: Path, body: str, name: str = "p.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(body))
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def plugged(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Make a world whose scheduler loads plugins with these bodies."""

    def make(*bodies: str, limits: Limits = LIMITS) -> World:
        return World(limits, tuple(write(tmp_path, body, f"p{at}.py") for at, body in enumerate(bodies)))

    return make
