"""`jqsched top`: looks on at a spool as it changes; on no terminal, once.

Rule: it looks when the bell rings, but not more often than people can read; while jobs run it turns their clocks each
second; else it waits, and costs nothing.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli import formats
from jqsched.cli import top_screen as board
from jqsched.cli.control import ask, canceled, control
from jqsched.cli.failure import OK, Failure, explained, printable
from jqsched.cli.jobs import snapshot_of
from jqsched.cli.show import DRAINED, lines
from jqsched.cli.target import Place, Status, hostname, known_job, reading, scheduler_status
from jqsched.cli.top_screen import Board, View
from jqsched.client.commit_notice import Bell
from jqsched.client.reactor import Reactor
from jqsched.client.store_reader import Records
from jqsched.core.constraint import Budget, States
from jqsched.core.explain import reasons
from jqsched.core.job import Job, State
from jqsched.core.json import Json
from jqsched.core.view import PENDING, RUNNING, remaining_us, runtime_us, standing

if TYPE_CHECKING:
    from rich.text import Text

    from jqsched.cli.terminal import Terminal

SCHEMA = "jqsched.top/1"
LISTED_MAX = 1000  # jobs that wait; of more of them their reasons are not looked for, either
LOOK_S = 0.25  # from one look to the next, at least
LOOK_REST = 4  # and so many times as long as a look takes: a large spool costs a fifth of a core, no more
CLOCK_S = 1.0
_ALL_COMPARISONS = 2**63


def top(where: Place, *, once: bool, as_json: bool) -> int:
    """Show what runs and what waits: live, or as it is now."""
    if as_json or once or not _on_terminal():
        with reading(where) as reader:
            view = take(where, reader)
        now_us = time.time_ns() // 1000
        sys.stdout.write(json.dumps(document(view, now_us)) + "\n" if as_json else plain(view, now_us))
        return OK
    _live(where)
    return OK


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


# ---- one moment ---------------------------------------------------------------------------------------------------


def take(where: Place, reader: StoreReader) -> View:
    """Look at a spool and its scheduler."""
    scheduler = scheduler_status(where.root)
    with reader.snapshot():
        counts = reader.counts()
        finished = counts.pop(State.INACTIVE, 0)
        running, waiting = _search(reader, RUNNING), _search(reader, State.NEW | PENDING, LISTED_MAX)
        pending = sum(counts.values()) - len(running)
        active = [*waiting, *running]
        is_whole = pending <= len(waiting)
        drained = scheduler.drained if scheduler is not None else reader.setting(DRAINED) == "1"
        remark = _reasons(reader, active, scheduler) if is_whole and scheduler is not None else formats.remark
    return View(
        spool=where.root,
        scheduler=scheduler,
        drained=drained,
        running=len(running),
        pending=pending,
        finished=finished,
        cores_used=sum(job.spec.cores for job in running),
        jobs=[*running, *waiting],
        unlisted=pending - len(waiting),
        remark=remark,
    )


def _search(reader: StoreReader, states: int, most: int = -1) -> list[Job]:
    found = reader.search(States(states), most=most, budget=Budget(_ALL_COMPARISONS), hostname=hostname())
    return list(found)


def _reasons(reader: StoreReader, active: Sequence[Job], scheduler: Status) -> Callable[[Job], str]:
    """Why jobs do not run; of those that do, what their list entry says."""
    snapshot = snapshot_of(standing(active, reader.rules()), scheduler)

    def remark(job: Job) -> str:
        if job.state >= State.RUN:
            return formats.remark(job)
        return printable("; ".join(reasons(snapshot, job)))

    return remark


def document(view: View, now_us: int) -> dict[str, Json]:
    """A moment as one document."""
    scheduler = view.scheduler
    told: Json = {**scheduler._asdict()} if scheduler is not None else None
    return {
        "schema": SCHEMA,
        "spool": view.spool,
        "scheduler": told,
        "drained": view.drained,
        "slots": {"used": view.running, "limit": scheduler.max_running if scheduler is not None else None},
        "cores": {"used": view.cores_used, "limit": scheduler.cores if scheduler is not None else None},
        "counts": {"running": view.running, "pending": view.pending, "finished": view.finished},
        "unlisted": view.unlisted,
        "jobs": [_entry(view, job, now_us) for job in view.jobs],
    }


def _entry(view: View, job: Job, now_us: int) -> dict[str, Json]:
    is_limited = job.state is State.RUN and job.spec.time_limit_us is not None
    return {
        "id": job.id,
        "name": job.spec.name,
        "state": job.state.name,
        "urgency": job.urgency,
        "priority": job.priority if job.priority >= 0 else None,
        "runtime": runtime_us(job, now_us) / 1_000_000,
        "t_remaining": remaining_us(job, now_us) / 1_000_000 if is_limited else None,
        "ncores": job.spec.cores,
        "remark": view.remark(job),
    }


def plain(view: View, now_us: int) -> str:
    """A moment as lines."""
    table = formats.columns([board.HEADER, *(board.row(view, job, now_us) for job in view.jobs)])
    return "".join(f"{line}\n" for line in (*board.head(view), *table, *board.foot(view)))


# ---- live ---------------------------------------------------------------------------------------------------------


def _live(where: Place) -> None:
    from jqsched.cli.terminal import Terminal

    reactor = Reactor()
    watch = Watch(where, reactor)
    try:
        with Terminal(reactor) as terminal:
            watch.run(terminal)
    finally:
        watch.close()
        reactor.close()


class Watch:
    """The loop: it looks when there is something to see, and waits in between."""

    def __init__(self, where: Place, reactor: Reactor) -> None:
        self._where, self._reactor = where, reactor
        self._bell, self._records = Bell(where.root, reactor), Records(where.root, where.store)
        self._heard = self._bell.rings
        self._next_look_s = time.monotonic() + LOOK_S
        self._view = take(where, self._records.reader())
        self._board = Board(self._view, self._act, self._details)

    def close(self) -> None:
        """Let go of scheduler and store."""
        self._bell.close()
        self._records.close()

    def run(self, terminal: "Terminal") -> None:
        """Show what there is until `q`, or until the terminal is gone."""
        self._bell.listen()
        while not (self._board.is_over or terminal.is_over):
            terminal.draw(self._drawn)
            self._wait(terminal)
            keys = terminal.keys()
            for key in keys:
                self._board.press(key)
            if (keys or self._has_rung()) and time.monotonic() >= self._next_look_s:
                self._look()

    def _wait(self, terminal: "Terminal") -> None:
        """Wait for a key, the bell, or the next second while jobs run; after the bell, until a look is due."""
        pause_s = CLOCK_S if self._view.running else -1.0
        self._reactor.wait(lambda: terminal.has_news() or self._has_rung(), pause_s)
        if self._has_rung():
            self._reactor.wait(terminal.has_news, max(0.0, self._next_look_s - time.monotonic()))

    def _has_rung(self) -> bool:
        return self._bell.rings != self._heard

    def _look(self) -> None:
        self._heard, began_s = self._bell.rings, time.monotonic()
        self._view = take(self._where, self._records.reader())
        self._board.show(self._view)
        ended_s = time.monotonic()
        self._next_look_s = max(began_s + LOOK_S, ended_s + LOOK_REST * (ended_s - began_s))

    def _drawn(self, width: int, height: int) -> "Text":
        return self._board.text(width, height, time.time_ns() // 1000)

    def _act(self, topic: str, job: Job) -> str:
        """Ask for something about a job; what goes wrong is told, and is the end of nothing."""
        self._next_look_s = 0.0  # to see at once what came of it
        try:
            with control(self._where) as asked:
                answer = ask(asked, topic, {"id": job.id}, f"job {job.id}")
        except Exception as error:  # as in `main`, but that we go on
            return printable(str(explained(error)))
        return f"job {job.id}: {_SAID[topic](answer)}"

    def _details(self, job: Job) -> Sequence[str]:
        reader = self._records.reader()
        try:
            known = known_job(reader, job.id)
        except Failure as purged:
            return [str(purged)]
        remark = self._view.remark(known)
        return list(lines(self._where, known, list(reader.events(job.id)), [remark] if remark else []))


_SAID: dict[str, Callable[[dict[str, Json]], str]] = {
    "cancel": canceled,
    "hold": lambda _: "is held",
    "release": lambda _: "is released",
}
