"""What `jqsched run` shows: running jobs on a terminal, plain lines elsewhere; on stderr.

Rule: looking on costs the scheduler next to nothing (a few microseconds a job, one write a batch), and nothing that
happens to stderr happens to the scheduler.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast

from jqsched.cli.failure import printable
from jqsched.cli.formats import duration
from jqsched.cli.log_stream import LogStream
from jqsched.core import order
from jqsched.core.event import Event
from jqsched.core.queue import EMPTY, Queue, find

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHOWN_MAX = 30  # running jobs on a terminal
REFRESHES_PER_S = 4
FINISHED_PER_S_MAX = 200  # lines that a terminal scrolls; the rest is counted


class Monitor(Protocol):
    """What is shown of what goes on."""

    def __call__(self, events: Sequence[Event], queue: Queue) -> None:
        """Show what has become durable."""

    def log(self, text: str) -> None:
        """Show a message."""

    def flush(self) -> None:
        """Show what could not be shown before, as far as it can be now. Called now and then."""

    def close(self) -> None:
        """Show the end. May be called twice."""


def monitor() -> Monitor:
    """Choose what fits stderr."""
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveMonitor()
    return PlainMonitor()


# ---- what there is to say -----------------------------------------------------------------------------------------


class News(NamedTuple):
    """One thing worth a line: a job, what became of it, and the kind that decides its colour."""

    jobid: int
    name: str
    text: str
    kind: str


_STARTED, _WELL, _BADLY, _NOTE = "started", "completed", "failed", "note"


class Teller:
    """Makes news of events. Jobs that are gone already are looked up in the queue before this batch."""

    def __init__(self) -> None:
        self._before = EMPTY
        self._names: dict[int, str] = {}  # of jobs that came in this batch
        self._started_us: dict[int, int] = {}
        self._ended: dict[int, str] = {}  # by fatal exceptions, until the job is clean
        self._statuses: dict[int, int] = {}

    def news(self, events: Sequence[Event], queue: Queue) -> Iterator[News]:
        """What is worth telling of a batch."""
        for event in events:
            name = event.name
            if name == "submit" and event.spec is not None:
                self._names[event.jobid] = event.spec.name
            elif name == "start":
                self._started_us[event.jobid] = event.t_us
                yield News(event.jobid, self._name(event.jobid, queue), "started", _STARTED)
            elif name == "finish":
                status = event.context.get("status")
                self._statuses[event.jobid] = status if isinstance(status, int) else 0
            elif name == "exception":
                yield from self._exception(event, queue)
            elif name == "clean":
                yield self._end(event, queue)
            elif name == "requeue":
                self._started_us.pop(event.jobid, None)
                yield News(event.jobid, self._name(event.jobid, queue), "queued again", _NOTE)
        self._before = queue
        self._names.clear()

    def _name(self, id_: int, queue: Queue) -> str:
        name = self._names.get(id_)
        if name is not None:
            return name
        job = find(self._before, id_) or find(queue, id_)
        return job.spec.name if job is not None else "?"

    def _exception(self, event: Event, queue: Queue) -> Iterator[News]:
        kind, note = event.context.get("type"), event.context.get("note")
        text = f"{kind}: {note}" if note else f"{kind}"
        if event.context.get("severity") == 0:
            self._ended.setdefault(event.jobid, text)
        else:
            yield News(event.jobid, self._name(event.jobid, queue), text, _NOTE)

    def _end(self, event: Event, queue: Queue) -> News:
        id_ = event.jobid
        status, exception = self._statuses.pop(id_, None), self._ended.pop(id_, None)
        started_us = self._started_us.pop(id_, None) or self._started_before(id_)
        after = f" after {duration(event.t_us - started_us)}" if started_us else ""
        name = self._name(id_, queue)
        if status == 0 and exception is None:
            return News(id_, name, f"completed{after}", _WELL)
        if exception is None:
            return News(id_, name, f"failed{after}: {_status_text(status)}", _BADLY)
        return News(id_, name, f"ended{after}: {exception}", _BADLY)

    def _started_before(self, id_: int) -> int:
        job = find(self._before, id_)
        return job.t_start_us if job is not None else 0


def _status_text(status: int | None) -> str:
    code = (status or 0) >> 8
    return f"signal {code - 128}" if code > 128 else f"exit {code}"


# ---- plain lines --------------------------------------------------------------------------------------------------


class PlainMonitor:
    """One line for each thing that happens, one write for each batch."""

    def __init__(self) -> None:
        self._teller = Teller()
        self._stream = LogStream(sys.stderr)

    def __call__(self, events: Sequence[Event], queue: Queue) -> None:
        """Write the lines of a batch."""
        at = time.strftime("%H:%M:%S")
        news = self._teller.news(events, queue)
        text = "".join([f"{at} job {jobid} {name}: {printable(text)}\n" for jobid, name, text, _ in news])
        if text:
            self._stream.write(text)

    def log(self, text: str) -> None:
        """Write a message."""
        self._stream.write(f"{time.strftime('%H:%M:%S')} {printable(text)}\n")

    def flush(self) -> None:
        """Write what could not be written before."""
        self._stream.flush()

    def close(self) -> None:
        """Write the last words."""
        self._stream.finish()


# ---- a terminal ---------------------------------------------------------------------------------------------------

_STYLES = {_WELL: "blue", _BADLY: "red", _NOTE: "yellow", _STARTED: "green"}


class LiveMonitor:
    """The running jobs, redrawn some times a second by rich's own thread; what is finished scrolls past above."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._teller = Teller()
        self._queue = EMPTY
        self._finished = self._failed = self._untold = 0
        self._second, self._told = 0, 0
        self._stream = LogStream(sys.stderr)
        stream = cast(IO[str], self._stream)  # it has what rich asks of a file
        self._console = console or Console(file=stream, highlight=False)
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=REFRESHES_PER_S, transient=True
        )
        self._live.start()

    def __call__(self, events: Sequence[Event], queue: Queue) -> None:
        """Take in a batch; the lines of what has ended are printed at once."""
        self._queue = queue
        ended = [news for news in self._teller.news(events, queue) if news.kind != _STARTED]
        self._finished += sum(news.kind == _WELL for news in ended)
        self._failed += sum(news.kind == _BADLY for news in ended)
        shown = ended[: self._room()]
        self._told += len(shown)
        self._untold += len(ended) - len(shown)
        if shown:
            self._print(shown)

    def _room(self) -> int:
        """How many lines may still be printed in this second; what was left out before is counted out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._told = second, 0
            if self._untold:
                self._say(f"… and {self._untold} more", "dim")
                self._untold = 0
        return max(0, FINISHED_PER_S_MAX - self._told)

    def _print(self, shown: Sequence[News]) -> None:
        from rich.text import Text

        lines = [
            Text.assemble(f"job {news.jobid} {printable(news.name)}: ", (printable(news.text), _STYLES[news.kind]))
            for news in shown
        ]
        self._console.print(Text("\n", no_wrap=True, overflow="ellipsis").join(lines))

    def _render(self) -> "Text":
        from rich.text import Text

        queue = self._queue
        ready = order.size(queue.ready) + order.size(queue.permitted)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{queue.busy} running, {ready} ready, {len(queue.enqueued) - ready} waiting", "bold")
        text.append(f"; {self._finished} completed, {self._failed} failed")
        now_us = time.time_ns() // 1000
        for id_ in sorted(queue.running)[:SHOWN_MAX]:
            job = queue.running[id_]
            ran = duration(max(0, now_us - (job.t_start_us or job.t_run_us)))
            text.append(f"\n  {id_} {printable(job.spec.name)}").append(f"  {ran}", "green")
        if len(queue.running) > SHOWN_MAX:
            text.append(f"\n  … and {len(queue.running) - SHOWN_MAX} more", "dim")
        return text

    def log(self, text: str) -> None:
        """Print a message above the running jobs."""
        self._say(printable(text), "yellow")

    def _say(self, text: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(text, style))  # the style on the text: one given to print colours the display, too

    def flush(self) -> None:
        """Write what a stopped terminal did not take."""
        self._stream.flush()

    def close(self) -> None:
        """Give the terminal back, with the sum of it all."""
        if self._live.is_started:
            self._live.stop()
            self._say(f"{self._finished} completed, {self._failed} failed", "bold")
            self._stream.finish()
