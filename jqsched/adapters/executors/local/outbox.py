"""The news for the scheduler, in the order in which they happened, until they are due.

In: messages, and runs that have started. Out: the messages to send now, and when the next are due.
Rule: news may wait a little for company, because one message for many costs less; the order of one attempt's news is
kept. A start whose end is known before it is told is not told: the end says it too, and a look at /proc is saved.
Standard library only (see `wire`).
"""

from jqsched.adapters.executors.local.run import Run, now_us, told_us
from jqsched.adapters.executors.local.wire import Message

_DELAY_US = 3_000  # how long news may wait for company: starts always, ends while no slot wants orders


class Outbox:
    """News that have not been sent; a `Run` among them says that it started."""

    def __init__(self) -> None:
        self._items: list[Message | Run] = []
        self._since_us = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, item: Message | Run) -> None:
        """Append news."""
        self._items.append(item)

    def clear(self) -> None:
        """Forget all: the scheduler that was to be told is gone."""
        self._items.clear()

    def replace_start(self, run: Run, message: Message) -> bool:
        """Put an end in the place of the start that was not told yet; False where it was."""
        if run not in self._items:
            return False
        self._items[self._items.index(run)] = message
        return True

    def fix_start(self, run: Run) -> None:
        """Let a start be told in any case, because news that come behind it depend on it."""
        self.replace_start(run, started(run))

    def due_us(self, *, may_wait: bool) -> int:
        """Return when news are due; 0: there are none. `may_wait`: nothing is gained by sending ends at once."""
        if not self._items:
            return 0
        if not self._since_us:
            self._since_us = now_us()
        only_starts = all(isinstance(item, Run) for item in self._items)  # which nothing depends on
        return self._since_us + (_DELAY_US if only_starts or may_wait else 0)

    def take(self, now: int) -> list[Message]:
        """Return the news to send now; the latest starts wait for their ends a little."""
        latest_us, count = now - _DELAY_US, len(self._items)
        while count and isinstance(run := self._items[count - 1], Run) and run.start_us > latest_us:
            count -= 1
        due, self._items = self._items[:count], self._items[count:]
        self._since_us = now if self._items else 0
        return [started(item) if isinstance(item, Run) else item for item in due]


def started(run: Run) -> Message:
    """Make the message that a run has started."""
    run.look_up_start()
    return ["started", *run.key, run.pid, run.start_ticks, told_us(run.start_us)]
