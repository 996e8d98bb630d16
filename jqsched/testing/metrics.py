"""The figures of a simulation: how long jobs waited, how busy slots and cores were, and when.

Rule: computed from the table when all is over, by integers up to the last division, so two machines agree to the bit.
All times are microseconds from the beginning.
"""

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from jqsched.core.policy import Limits
from jqsched.testing.simulation_ports import NEVER, End, Table

BOUND_US = 10_000_000  # of the slowdown: shorter jobs count as if they ran so long. Source: Feitelson and Rudolph 1998


@frozen
class Spread:
    """Of many values: the mean, the median, what nine of ten do not exceed, and the greatest."""

    mean: float
    p50: float
    p90: float
    max: float


@frozen
class Figures:
    """What a simulation comes to. `jobs` counts by end; `unstarted` of the finished never ran.

    `begin_us`: the first submission, or 0 where jobs were there at the beginning; `end_us`: the last end; `wait_us` and
    `slowdown` of jobs that started in it (None: none did). Utilisations are shares of what slots and cores could do.
    """

    jobs: dict[End, int]
    unstarted: int
    started: int
    begin_us: int
    end_us: int
    wait_us: Spread | None
    slowdown: Spread | None
    slots_used: float
    cores_used: float
    running_most: int

    @property
    def makespan_us(self) -> int:
        """From the beginning to the last end."""
        return self.end_us - self.begin_us

    @property
    def starts_per_s(self) -> float:
        """How many jobs started in a second of simulated time."""
        return self.started * 1_000_000 / self.makespan_us if self.makespan_us else 0.0


def figures(table: Table, limits: Limits, running_most: int, now_us: int) -> Figures:
    """Sum up. What runs still counts until `now_us`. O(n log n)."""
    counts = dict.fromkeys(End, 0)
    for end in table.ends:
        counts[End(end)] += 1
    started = [row for row in range(len(table)) if table.begin_us[row] >= 0]
    waits_us = sorted(wait_us(table, row) for row in started)
    ran = [row for row in started if table.end_us[row] != NEVER]
    begin_us, end_us = _begin_us(table), _end_us(table, now_us)
    capacity_us = end_us - begin_us
    busy_us = cores_us = 0
    for row, first_us, last_us in _runs(table, now_us):
        busy_us += last_us - first_us
        cores_us += (last_us - first_us) * table.cores[row]
    finished = len(table) - counts[End.LEFT] - counts[End.REFUSED]
    return Figures(
        jobs=counts,
        unstarted=finished - sum(end_us != NEVER for end_us in table.end_us),
        started=len(started),
        begin_us=begin_us,
        end_us=end_us,
        wait_us=_spread(waits_us),
        slowdown=_spread(sorted(_slowdown(table, row) for row in ran)),
        slots_used=busy_us / (capacity_us * limits.max_running) if capacity_us else 0.0,
        cores_used=cores_us / (capacity_us * limits.cores) if capacity_us else 0.0,
        running_most=running_most,
    )


def wait_us(table: Table, row: int) -> int:
    """How long a job that started has waited in the simulation."""
    return table.begin_us[row] - max(0, table.submit_us[row])


def _slowdown(table: Table, row: int) -> float:
    run_us = table.end_us[row] - table.begin_us[row]
    return max(1.0, (wait_us(table, row) + run_us) / max(run_us, BOUND_US))


def _begin_us(table: Table) -> int:
    if table.there_at_start or not len(table):
        return 0
    return table.submit_us[0]


def _end_us(table: Table, now_us: int) -> int:
    """The last end; the present where jobs run still."""
    runs = any(
        begin_us != NEVER and end_us == NEVER for begin_us, end_us in zip(table.begin_us, table.end_us, strict=True)
    )
    return now_us if runs else max(_begin_us(table), max(table.end_us, default=0))


def _runs(table: Table, now_us: int) -> Iterator[tuple[int, int, int]]:
    """Each job that ran: its row, and from when to when it ran in the simulation."""
    for row, (begin_us, end_us) in enumerate(zip(table.begin_us, table.end_us, strict=True)):
        if begin_us != NEVER:
            yield row, max(0, begin_us), end_us if end_us != NEVER else now_us


def _spread(ordered: Sequence[float]) -> Spread | None:
    """Of sorted values; the percentiles are values that occurred (nearest rank)."""
    if not ordered:
        return None
    count = len(ordered)
    return Spread(
        mean=sum(ordered) / count,
        p50=ordered[(count * 50 + 99) // 100 - 1],
        p90=ordered[(count * 90 + 99) // 100 - 1],
        max=ordered[-1],
    )


# ---- over time ----------------------------------------------------------------------------------------------------


def cores_busy(table: Table, first_us: int, last_us: int, buckets: int) -> list[float]:
    """How many cores were busy on average in each of so many equal spans. O(n + buckets)."""
    runs = ((begin_us, end_us, table.cores[row]) for row, begin_us, end_us in _runs(table, last_us))
    return _averages(runs, first_us, last_us, buckets)


def jobs_waiting(table: Table, first_us: int, last_us: int, buckets: int) -> list[float]:
    """How many jobs were there and had not started, on average in each span. O(n + buckets)."""

    def waits() -> Iterator[tuple[int, int, int]]:
        for submit_us, begin_us, end in zip(table.submit_us, table.begin_us, table.ends, strict=True):
            if begin_us != NEVER:
                yield max(0, submit_us), max(0, begin_us), 1
            elif end == End.LEFT:
                yield max(0, submit_us), last_us, 1

    return _averages(waits(), first_us, last_us, buckets)


def _averages(spans: Iterable[tuple[int, int, int]], first_us: int, last_us: int, buckets: int) -> list[float]:
    """The average sum of weights in each bucket, of spans (from, to, weight).

    Exact in integers: a time is counted in `buckets`ths, so that a bucket is `last_us - first_us` of them long.
    """
    width = last_us - first_us
    if width <= 0:
        return [0.0] * buckets
    partial, steps = [0] * (buckets + 1), [0] * (buckets + 1)
    for begin_us, end_us, weight in spans:
        begin, begin_rest = divmod((begin_us - first_us) * buckets, width)
        end, end_rest = divmod((end_us - first_us) * buckets, width)
        steps[begin] += weight
        steps[end] -= weight
        partial[begin] -= begin_rest * weight
        partial[end] += end_rest * weight
    averages, level = [], 0
    for bucket in range(buckets):
        level += steps[bucket]
        averages.append((level * width + partial[bucket]) / width)
    return averages
