"""Waiting for news: when it is worth while to read the store again.

Rule: only a hint; a follower reads on from the last seq that it has, so nothing is missed or told twice, and a
scheduler that ends or begins in the middle makes no difference. A wait ends with BrokenPipeError as soon as our
output has no reader: it may be hours before there is something to write.
"""

import errno
import os
import select
from collections.abc import Iterator

from jqsched.cli.target import STATUS_TIMEOUT_S
from jqsched.client.connection import Connection

POLL_S = 1.0  # while no scheduler runs: commands change the store then, too
_STDOUT = 1


def moments(root: str, *, follow: bool) -> Iterator[None]:
    """The moments at which something may have been committed: now, and with `follow` again and again."""
    yield
    while follow:
        yield from _commits(root)
        rest(POLL_S)
        yield


def _commits(root: str) -> Iterator[None]:
    """The moments at which the scheduler has committed something; they end when there is none, or none for us."""
    try:
        connection = Connection(root, timeout_s=STATUS_TIMEOUT_S)
    except OSError:
        return
    with connection:
        try:
            bells = connection.stream("job-manager.bell")
            connection.request("job-manager.status")  # answered, so the bell before it is hung
        except OSError:
            return
        yield
        while True:
            if not connection.is_received:
                _wait(-1.0, connection.fileno())
            try:
                if next(bells, None) is None:
                    return
            except OSError:
                return
            yield


def rest(seconds: float) -> None:
    """Wait. Raises BrokenPipeError as soon as our output has no reader."""
    _wait(seconds)


def _wait(seconds: float, *descriptors: int) -> None:
    """Wait until one of these can be read, at most so long (negative: for ever)."""
    poll = select.poll()
    poll.register(_STDOUT, 0)  # that it is broken is always told
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    ready = poll.poll(seconds * 1000 if seconds >= 0 else None)
    if any(descriptor == _STDOUT for descriptor, _ in ready):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
