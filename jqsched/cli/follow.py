"""Waiting for news: when it is worth while to read the store again.

Rule: only a hint; whoever follows reads on from the last seq that it has, so nothing is missed or told twice, and a
scheduler that ends or begins in the middle makes no difference.
"""

import time
from collections.abc import Iterator

from jqsched.cli.place import STATUS_TIMEOUT_S
from jqsched.client.connection import Connection, NoScheduler

POLL_S = 1.0  # while no scheduler runs: commands change the store then, too


def moments(root: str, *, follow: bool) -> Iterator[None]:
    """The moments at which something may have been committed: now, and with `follow` again and again."""
    yield
    while follow:
        try:
            with Connection(root, timeout_s=STATUS_TIMEOUT_S) as connection:
                bells = connection.stream("job-manager.bell")
                connection.request("job-manager.status")  # answered, so the bell before it is hung
                yield
                for _ in bells:
                    yield
        except (NoScheduler, TimeoutError):
            pass
        time.sleep(POLL_S)
        yield
