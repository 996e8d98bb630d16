"""Commands on a spool that no scheduler serves: a scheduler without an executor, under the spool's lock.

In: the topics and payloads of commands. Out: the answers that a running scheduler would give.
Rule: it starts as any scheduler does, with the same configuration, and continues from what the last one left; but no
job is started or stopped, and one that runs, or may run, is not touched. Where plugins are configured no job is
accepted, for they are not loaded here and could not reject one.
"""

import errno
import os
import selectors
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jqsched.adapters.spool import SpoolRefused
from jqsched.core.event import Event
from jqsched.core.json import Json
from jqsched.core.queue import Queue
from jqsched.runtime.build import Doorbell, Runtime
from jqsched.runtime.configuration import RunOptions, good_configuration
from jqsched.runtime.lock import Patience, Role, spool_lock
from jqsched.scheduler.commands import Payload


class _Silent:
    """A report that shows nothing but messages, on a list."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, events: Sequence[Event], queue: Queue) -> None:
        """Show nothing."""

    def log(self, text: str) -> None:
        """Keep the message."""
        self.messages.append(text)

    def flush(self) -> None:
        """Nothing waits to be shown."""

    def close(self) -> None:
        """Nothing to close."""


class Offline:
    """The commands of a spool that no scheduler serves: the same functions on the same store, one at a time."""

    def __init__(self, built: Runtime) -> None:
        self._built = built

    def request(self, topic: str, payload: Payload) -> dict[str, Json]:
        """Carry out a command durably. Raises the OSError that the daemon would answer."""
        refusal = self._built.commands.refusal_offline(topic, payload, self._built.attempts)
        if refusal is not None:
            raise refusal
        answers: list[Payload | OSError] = []
        self._built.commands.run(topic, payload, answers.append)
        while not answers:
            self._built.scheduler.turn()
            if not answers and self._built.scheduler.is_settled:
                raise OSError(errno.ENOTCONN, "no scheduler is running")
            _wait(self._built.doorbell)
        answer = answers[0]
        if isinstance(answer, OSError):
            raise answer
        return dict(answer)


def _wait(doorbell: Doorbell) -> None:
    """Wait until the doorbell rings, at most a little while."""
    with selectors.DefaultSelector() as selector:
        selector.register(doorbell, selectors.EVENT_READ)
        selector.select(0.1)
    doorbell.silence()


@contextmanager
def offline(root: str, store: str | None, patience: Patience) -> Iterator[Offline]:
    """Hold the spool for one or more commands. Raises SpoolInUse, SpoolRefused, StoreRefused, PortError."""
    root = os.path.abspath(root)
    if not Path(root).is_dir():
        raise SpoolRefused(f"{root}: no such spool")
    with spool_lock(root, Role.COMMAND, patience) as lock:
        config = good_configuration(root, RunOptions(root))
        built = Runtime(root, store or root, config, _Silent(), lock, executor=False)
        try:
            lock.mark_used()
            built.scheduler.start()
            yield Offline(built)
        finally:
            built.close()
