"""Report a simulation: its metrics, a chart of when each job ran, and the jobs that are left; or one JSON document.

Rule: the same figures give the same bytes, whatever terminal or machine; colours and the width of the window only
where stdout is a terminal.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from attrs import asdict, frozen

from jqsched.cli.failure import printable
from jqsched.cli.formats import STYLES, cells, duration, fitted
from jqsched.core.json import Json
from jqsched.testing.metrics import Figures, Spread, cores_busy, figures, jobs_waiting, wait_us
from jqsched.testing.simulation import Simulation
from jqsched.testing.simulation_ports import NEVER, End, Table

SCHEMA = "jqsched.simulation/1"
WIDTH = 80
GANTT_ROWS = 40  # jobs that get a line each; of more, only how many cores were busy is drawn
PROFILE_ROWS = 6
NAME_WIDTH = 20
NAMED_MOST = 20  # jobs that are named one by one
PORTION = 500

Segments = list[tuple[str, str]]  # text and style


@frozen
class ReportOptions:
    """What of a simulation is shown, and how. `events`: the journal was written already. `width` None: what fits."""

    events: bool = False
    as_json: bool = False
    gantt: bool = True
    width: int | None = None

    def result(self, simulation: Simulation, *, seed: int, assumed: str | None = None) -> None:
        """Print it. `assumed`: how long jobs were taken to run, where no run time was given."""
        if self.events:
            return
        table, limits = simulation.table, simulation.limits
        summed = figures(table, limits, simulation.running_most, simulation.now_us)
        if self.as_json:
            _write_json(simulation, summed, seed)
            return
        assumption: list[Segments] = [[(f"{'run times':<12} ", "bold"), (f"assumed: {assumed}", "")]] if assumed else []
        _write([*_summary(simulation, summed), *assumption, *(self._chart(simulation, summed) if self.gantt else [])])
        _write(_remarks(simulation))

    def _chart(self, simulation: Simulation, summed: Figures) -> list[Segments]:
        width = self.width or (shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH)
        if not summed.makespan_us:
            return []
        draw = _gantt if len(simulation.table) <= GANTT_ROWS else _profile
        return [[("", "")], *draw(simulation, summed, width)]


def _write(lines: Sequence[Segments]) -> None:
    if not sys.stdout.isatty():
        sys.stdout.write("".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        console.print(Text.assemble(*line), no_wrap=True, overflow="crop", crop=True)


# ---- figures ------------------------------------------------------------------------------------------------------


def _summary(simulation: Simulation, summed: Figures) -> list[Segments]:
    limits, counts = simulation.limits, summed.jobs
    ends = ", ".join(f"{count} {end.name.lower()}" for end, count in counts.items() if count and end is not End.LEFT)
    left = f"{', ' if ends else ''}{counts[End.LEFT]} left" if counts[End.LEFT] else ""
    never = f"; {summed.unstarted} ended without having run" if summed.unstarted else ""
    rows = [
        ("limits", f"{limits.max_running} running at a time, {limits.cores} cores"),
        ("jobs", f"{sum(counts.values())}: {ends}{left}{never}" if sum(counts.values()) else "none"),
        ("makespan", duration(summed.makespan_us)),
    ]
    if summed.wait_us is not None:
        rows.append(("wait", _spread_text(summed.wait_us, lambda us: duration(round(us)))))
    if summed.slowdown is not None:
        rows.append(("slowdown", _spread_text(summed.slowdown, "{:.2f}".format)))
    share = f"{summed.slots_used:.1%} of the slots, {summed.cores_used:.1%} of the cores"
    rows.append(("utilisation", f"{share}; at most {summed.running_most} running"))
    rows.append(("rate", f"{summed.starts_per_s:.3g} starts/s"))
    return [[(f"{key:<12} ", "bold"), (text, "")] for key, text in rows]


def _spread_text(spread: Spread, write: Callable[[float], str]) -> str:
    return f"mean {write(spread.mean)}, median {write(spread.p50)}, 90% {write(spread.p90)}, max {write(spread.max)}"


# ---- charts -------------------------------------------------------------------------------------------------------


@frozen
class Glyphs:
    """What charts are drawn with: eighths of a block from none to full, a waiting job's dot, and a border."""

    eighths: str
    waiting: str
    border: str

    @property
    def full(self) -> str:
        """A whole block."""
        return self.eighths[-1]


BLOCKS, PLAIN = Glyphs(" ▁▂▃▄▅▆▇█", "·", "│"), Glyphs("   ..::##", ".", "|")


def _glyphs() -> Glyphs:
    """Blocks, where stdout can take them."""
    try:
        BLOCKS.eighths.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return BLOCKS


def _gantt(simulation: Simulation, summed: Figures, width: int) -> list[Segments]:
    """A line for each job: when it waited and when it ran."""
    table, glyphs = simulation.table, _glyphs()
    rows = sorted(range(len(table)), key=lambda row: (table.begin_us[row] == NEVER, table.begin_us[row], row))
    id_width = max(len(str(table.id_of(row))) for row in rows)
    name_width = min(NAME_WIDTH, max(cells(printable(table.names[row])) for row in rows))
    columns = max(10, width - id_width - name_width - 2)
    lines = []
    for row in rows:
        label = f"{table.id_of(row):>{id_width}} {fitted(printable(table.names[row]), name_width)} "
        lines.append([(label, ""), *_bar(table, row, summed, columns, glyphs)])
    return [*lines, [(" " * (id_width + name_width + 2) + _axis(summed, columns), "dim")]]


def _bar(table: Table, row: int, summed: Figures, columns: int, glyphs: Glyphs) -> Segments:
    """The line of one job; whatever ran has at least one block."""

    def column(t_us: int) -> int:
        return min(columns, max(0, (t_us - summed.begin_us) * columns // summed.makespan_us))

    submitted, begun, ended = table.submit_us[row], table.begin_us[row], table.end_us[row]
    here = column(submitted)
    if begun == NEVER:
        waits = columns - here if table.ends[row] == End.LEFT else 0
        return [(" " * here, ""), (glyphs.waiting * waits, "dim")]
    first = min(column(begun), columns - 1)
    last = max(first + 1, column(ended) if ended != NEVER else columns)
    style = STYLES.get(End(table.ends[row]).name, STYLES["RUN"])
    return [(" " * here, ""), (glyphs.waiting * (first - here), "dim"), (glyphs.full * (last - first), style)]


def _axis(summed: Figures, columns: int) -> str:
    first, last = duration(summed.begin_us), duration(summed.end_us)
    return f"{first:<{columns - len(last)}}{last}"


def _profile(simulation: Simulation, summed: Figures, width: int) -> list[Segments]:
    """How many cores were busy over time, and under it how many jobs waited."""
    table, cores = simulation.table, simulation.limits.cores
    label = max(len("waiting"), len(str(cores)))
    columns = max(10, width - label - 1)
    span = (table, summed.begin_us, summed.end_us, columns)
    glyphs, busy, waiting = _glyphs(), cores_busy(*span), jobs_waiting(*span)
    lines: list[Segments] = []
    for level in range(PROFILE_ROWS - 1, -1, -1):
        title = {PROFILE_ROWS - 1: str(cores), 0: "cores"}.get(level, "")
        bar = "".join(_eighth(glyphs, value / cores * PROFILE_ROWS - level) for value in busy)
        lines.append([(f"{title:>{label}}{glyphs.border}", "dim"), (bar, STYLES["RUN"])])
    most = max(waiting)
    bar = "".join(_eighth(glyphs, value / most if most else 0.0) for value in waiting)
    lines.append([(f"{'waiting':>{label}}{glyphs.border}", "dim"), (bar, "yellow")])
    return [*lines, [(" " * (label + 1) + _axis(summed, columns), "dim")], [(f"at most {most:.0f} waiting", "dim")]]


def _eighth(glyphs: Glyphs, part: float) -> str:
    """The block that is filled so far; what is more than nothing shows."""
    steps = len(glyphs.eighths) - 1
    return glyphs.eighths[max(0, min(steps, round(part * steps) or (part > 0)))]


# ---- one by one ---------------------------------------------------------------------------------------------------


def _remarks(simulation: Simulation) -> list[Segments]:
    """The jobs that are left, and those that ended without having run, each with the reasons; of many the first."""
    table = simulation.table
    left = ((id_, f"left: {', '.join(why)}") for id_, why in simulation.left())
    never_ran = (
        (id_, f"did not run: {note}")
        for id_, note in sorted(table.notes.items())
        if (row := table.row_of(id_)) is not None and table.begin_us[row] == NEVER and table.ends[row] != End.REFUSED
    )
    lines = [*_named(table, left), *_named(table, never_ran)]
    return [[("", "")], *lines] if lines else []


def _named(table: Table, found: Iterator[tuple[int, str]]) -> list[Segments]:
    lines: list[Segments] = []
    for id_, text in islice(found, NAMED_MOST):
        row = table.row_of(id_)
        assert row is not None
        lines.append([(f"job {id_} ({printable(table.names[row])}) {printable(text)}", "")])
    more = sum(1 for _ in found)
    return [*lines, [(f"and {more} more", "")]] if more else lines


# ---- JSON ---------------------------------------------------------------------------------------------------------


def _write_json(simulation: Simulation, summed: Figures, seed: int) -> None:
    """One document; a line for each job."""
    limits = simulation.limits
    head: dict[str, Json] = {
        "schema": SCHEMA,
        "seed": seed,
        "limits": {"max_running": limits.max_running, "cores": limits.cores},
        "summary": _summary_document(summed),
    }
    sys.stdout.write(json.dumps(head, separators=(",", ":"))[:-1] + ',"jobs":[')
    lines, between = _job_lines(simulation), "\n"
    while portion := list(islice(lines, PORTION)):
        sys.stdout.write(between + ",\n".join(portion))
        between = ",\n"
    sys.stdout.write("\n]}\n")


def _summary_document(summed: Figures) -> dict[str, Json]:
    return {
        "jobs": {end.name: count for end, count in summed.jobs.items()},
        "unstarted": summed.unstarted,
        "begin": summed.begin_us / 1_000_000,
        "end": summed.end_us / 1_000_000,
        "makespan": summed.makespan_us / 1_000_000,
        "wait": _spread_document(summed.wait_us, 1_000_000),
        "slowdown": _spread_document(summed.slowdown, 1),
        "slots_used": summed.slots_used,
        "cores_used": summed.cores_used,
        "running_most": summed.running_most,
        "starts_per_s": summed.starts_per_s,
    }


def _spread_document(spread: Spread | None, unit: int) -> Json:
    return {key: value / unit for key, value in asdict(spread).items()} if spread is not None else None


def _job_lines(simulation: Simulation) -> Iterator[str]:
    table, encode = simulation.table, json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    left = dict(simulation.left())
    for row in range(len(table)):
        id_, begun = table.id_of(row), table.begin_us[row]
        document: dict[str, Json] = {
            "id": id_,
            "name": table.names[row],
            "result": End(table.ends[row]).name,
            "cores": table.cores[row],
            "submit": _seconds(table.submit_us[row]),
            "wait": wait_us(table, row) / 1_000_000 if begun >= 0 else None,
            "start": _seconds(begun),
            "end": _seconds(table.end_us[row]),
            "note": table.notes.get(id_),
            "reasons": list(left.get(id_, [])),
        }
        yield encode(document)


def _seconds(time_us: int) -> float | None:
    return time_us / 1_000_000 if time_us != NEVER else None
