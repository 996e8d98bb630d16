"""How values are written for people: times, durations, how a job ended, events.

Rule: text for one line each, and nothing in it that a terminal acts on.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence

from jqsched.cli.failure import printable
from jqsched.core.event import Event
from jqsched.core.job import Job, Result, State
from jqsched.core.retries import describe_backoff, phase
from jqsched.core.view import returncode

STYLES = {
    "RUN": "green",
    "CLEANUP": "green",
    "COMPLETED": "blue",
    "FAILED": "red",
    "TIMEOUT": "red",
    "CANCELED": "yellow",
}


def clock(time_us: int) -> str:
    """A local time with its date, to the microsecond, and with its offset: where clocks go back it comes twice."""
    seconds, micros = divmod(time_us, 1_000_000)
    local = time.localtime(seconds)
    offset = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{micros:06d}{offset[:3]}:{offset[3:5]}"


def duration(time_us: int) -> str:
    """A duration in the one or two units that matter: `15ms`, `1.23s`, `12m05s`, `3h07m`, `2d03h`."""
    if time_us < 1_000_000:
        return f"{time_us // 1000}ms"
    if time_us < 60_000_000:
        return f"{time_us / 1_000_000:.2f}s"
    minutes, seconds = divmod(time_us // 1_000_000, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24:02d}h"


def status(job: Job) -> str:
    """The state of a job, or how it ended."""
    return job.result.name if job.result is not None else job.state.name


def ending(job: Job) -> str:
    """How a job ended, in a few words; empty when all is well or it has not."""
    code = returncode(job)
    words: list[str] = []
    if job.fatal and job.exception is not None:
        note = f": {job.exception.note}" if job.exception.note else ""
        words.append(f"{job.exception.type}{note}")
    if code is not None and code > 128 and job.result is not Result.TIMEOUT:
        words.append(f"signal {code - 128}")
    elif code and code > 0 and not words:
        words.append(f"exit {code}")
    return printable(", ".join(words))


def remark(job: Job, now_us: int | None = None) -> str:
    """What is worth a glance in a list: what a job waits for, which attempt it is, or how it ended."""
    if job.state is State.INACTIVE:
        return ending(job)
    if job.waits:
        now_us = time.time_ns() // 1000 if now_us is None else now_us
        return printable(" ".join(describe_backoff(job, wait, now_us) or wait for wait in job.waits))
    if job.state in (State.PRIORITY, State.SCHED) and 0 in (job.urgency, job.priority):
        return "held"
    if job.retried:
        return printable(phase(job))
    return f"attempt {job.attempt}" if job.attempt > 1 else ""


def happening(event: Event) -> str:
    """An event: its name and its context as `key=value`."""
    words = [event.name]
    for key, value in event.context.items():
        plain = isinstance(value, str) and value.isprintable() and value and " " not in value
        words.append(f"{key}={value if plain else json.dumps(value, ensure_ascii=False)}")
    return printable(" ".join(words))


# ---- columns ------------------------------------------------------------------------------------------------------


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """A text with blanks behind it up to so many cells."""
    return text + " " * (width - cells(text))


def fitted(text: str, width: int) -> str:
    """A text in just so many cells; where it does not fit, `…` stands for what is left out."""
    if cells(text) <= width:
        return padded(text, width)
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1) + "…"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of aligned columns; the last is as wide as it is, but no line wraps on a terminal."""
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        line = "  ".join([*(padded(cell, width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        yield line if most is None or cells(line) <= most else fitted(line, most)
