"""What `jqsched top` shows: a spool at one moment, a list with one job selected, and what each key does.

Rule: it asks no scheduler itself: it gets moments, keys, and the functions that act on a job and tell all about one.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from attrs import frozen
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.text import Text

from jqsched.cli import formats
from jqsched.cli.failure import printable
from jqsched.cli.target import Status
from jqsched.core.job import Job, State
from jqsched.core.view import remaining_us, runtime_us

HEADER = ("ID", "NAME", "STATE", "URG", "PRIORITY", "TIME", "LEFT", "CORES", "REMARK")
HELP = "q quit  j k move  enter details  c cancel  h hold, release"
HELP_DETAILS = "q back  j k scroll"
_LEFT_ALIGNED = (1, 2)
_STATE = 2
_NAME_CELLS_MAX = 40
_PAGE = 10
_MOVES = {"j": 1, "down": 1, "k": -1, "up": -1, "page down": _PAGE, "page up": -_PAGE, "home": -(10**9), "end": 10**9}

Act = Callable[[str, Job], str]
Details = Callable[[Job], Sequence[str]]


# ---- what there is to see -----------------------------------------------------------------------------------------


@frozen
class View:
    """A spool at one moment: `jobs` that run, then those that wait, in the order of lists; `unlisted` more wait.

    `scheduler` is None when there is none. `remark` says what is worth a glance of a job.
    """

    spool: str
    scheduler: Status | None
    drained: bool
    running: int
    pending: int
    finished: int
    cores_used: int
    jobs: Sequence[Job]
    unlisted: int
    remark: Callable[[Job], str]


def head(view: View) -> list[str]:
    """The lines above the list."""
    scheduler = view.scheduler
    served = f"scheduler pid {scheduler.pid}" if scheduler is not None else "no scheduler: nothing is started"
    slots = _used(view.running, scheduler.max_running if scheduler is not None else None)
    cores = _used(view.cores_used, scheduler.cores if scheduler is not None else None)
    counted = f"{view.running} running, {view.pending} pending, {view.finished} finished"
    drained = "  drained: nothing is started" if view.drained else ""
    warnings = scheduler.warnings if scheduler is not None else ()
    return [
        f"{served}{drained}  {printable(view.spool)}",
        f"slots {slots}  cores {cores}  {counted}",
        *(f"warning: {printable(warning)}" for warning in warnings),
    ]


def _used(used: int, limit: int | None) -> str:
    return f"{used}" if limit is None else f"{used}/{limit}"


def row(view: View, job: Job, now_us: int) -> tuple[str, ...]:
    """A job's line of the list."""
    ran_us = runtime_us(job, now_us)
    is_limited = job.state is State.RUN and job.spec.time_limit_us is not None
    return (
        str(job.id),
        printable(job.spec.name),
        job.state.name,
        str(job.urgency),
        str(job.priority) if job.priority >= 0 else "-",
        formats.duration(ran_us) if ran_us else "-",
        formats.duration(remaining_us(job, now_us)) if is_limited else "-",
        str(job.spec.cores),
        view.remark(job),
    )


def foot(view: View) -> list[str]:
    """The lines below the list."""
    return [f"… and {view.unlisted} more"] if view.unlisted else []


# ---- the screen ---------------------------------------------------------------------------------------------------


class Mode(Enum):
    """What is on the screen."""

    LIST = "list"
    CONFIRM = "confirm"
    DETAILS = "details"


class Board:
    """The screen of `top`, and what its keys do.

    `act(topic, job)` does something to a job and says what came of it; `details(job)` tells all about it.
    """

    def __init__(self, view: View, act: Act, details: Details) -> None:
        self._view, self._act, self._details = view, act, details
        self._at = self._offset = self._scroll = 0
        self._mode = Mode.LIST
        self._job: Job | None = None  # that is asked about, or shown
        self._said = ""
        self._told: Sequence[str] = ()
        self.is_over = False

    @property
    def selected(self) -> Job | None:
        """The job that keys are about."""
        return self._view.jobs[self._at] if self._view.jobs else None

    def show(self, view: View) -> None:
        """Show a newer snapshot. The selected job stays selected; if it is gone, the job now in its place is."""
        before, self._view = self.selected, view
        ids = [job.id for job in view.jobs]
        if before is not None and before.id in ids:
            self._at = ids.index(before.id)
        self._move(0)
        if self._mode is Mode.DETAILS and self._job is not None:
            self._told = self._details(self._job)

    # -- keys

    def press(self, key: str) -> None:
        """Do what a key says."""
        if self._mode is Mode.CONFIRM:
            self._answer(key)
        elif self._mode is Mode.DETAILS:
            self._read(key)
        else:
            self._choose(key)

    def _choose(self, key: str) -> None:
        job = self.selected
        self._said = ""
        if key == "q":
            self.is_over = True
        elif key in _MOVES:
            self._move(_MOVES[key])
        elif job is None:
            return
        elif key == "c":
            self._mode, self._job = Mode.CONFIRM, job
        elif key == "h":
            self._said = self._act("release" if _is_held(job) else "hold", job)
        elif key == "enter":
            self._mode, self._job, self._scroll = Mode.DETAILS, job, 0
            self._told = self._details(job)

    def _answer(self, key: str) -> None:
        assert self._job is not None
        self._mode = Mode.LIST
        self._said = self._act("cancel", self._job) if key in ("y", "Y") else "not canceled"

    def _read(self, key: str) -> None:
        if key in ("q", "enter", "escape"):
            self._mode = Mode.LIST
        self._scroll = max(0, self._scroll + _MOVES.get(key, 0))

    def _move(self, by: int) -> None:
        self._at = max(0, min(self._at + by, len(self._view.jobs) - 1))

    # -- drawing

    def text(self, width: int, height: int, now_us: int) -> Text:
        """The screen, in so many cells and lines."""
        lines = self._details_lines(width, height) if self._mode is Mode.DETAILS else self._list_lines(height, now_us)
        return Text("\n", no_wrap=True, overflow="ellipsis").join(lines[:height])

    def _list_lines(self, height: int, now_us: int) -> list[Text]:
        above = [Text(line, "bold" if n == 0 else "") for n, line in enumerate(head(self._view))]
        below = [Text(line, "dim") for line in foot(self._view)]
        room = max(1, height - len(above) - len(below) - 2)
        self._offset = max(0, min(self._offset, self._at, len(self._view.jobs) - room), self._at - room + 1)
        shown = self._view.jobs[self._offset : self._offset + room]
        rows = [HEADER, *(row(self._view, job, now_us) for job in shown)]
        table = list(_aligned(rows))
        if shown:
            table[self._at - self._offset + 1].stylize("reverse")
        blank = [Text()] * (room - len(shown))
        return [*above, *table, *below, *blank, self._last_line()]

    def _last_line(self) -> Text:
        if self._mode is Mode.CONFIRM:
            assert self._job is not None
            return Text(f"cancel job {self._job.id} {printable(self._job.spec.name)}? y, or any other key", "bold red")
        return Text(self._said, "yellow") if self._said else Text(HELP, "dim")

    def _details_lines(self, width: int, height: int) -> list[Text]:
        lines = [part for line in self._told for part in (chop_cells(line, width) or [""])]
        room = max(1, height - 1)
        self._scroll = max(0, min(self._scroll, len(lines) - room))
        shown = [Text(line) for line in lines[self._scroll : self._scroll + room]]
        return [*shown, *[Text()] * (room - len(shown)), Text(HELP_DETAILS, "dim")]


def _is_held(job: Job) -> bool:
    return 0 in (job.urgency, job.priority)


def _aligned(rows: Sequence[Sequence[str]]) -> Sequence[Text]:
    """Lines of aligned columns; the last is as wide as it is, and states have their colours."""
    widths = [min(_NAME_CELLS_MAX, max(cell_len(cells[column]) for cells in rows)) for column in range(len(HEADER) - 1)]
    lines = []
    for cells in rows:
        line = Text()
        for column, width in enumerate(widths):
            cell = cells[column]
            fitted = set_cell_size(cell, width) if column in _LEFT_ALIGNED else cell.rjust(width)
            style = formats.STYLES.get(cell, "dim") if column == _STATE and cells is not rows[0] else ""
            line.append(fitted, style).append("  ")
        line.append(cells[-1])
        if cells is rows[0]:
            line.stylize("bold")
        lines.append(line)
    return lines
