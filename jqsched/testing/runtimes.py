"""How long simulated jobs run, and whether they fail: given, or drawn.

Rule: what is drawn depends on the seed, the job's id and its attempt and on nothing else: two simulations that differ
in limits or rules draw the same, and so do two machines (logarithms are taken in decimal, correctly rounded).
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from jqsched.core.job import Spec
from jqsched.core.jobspec import Wrong, values

DEFAULT_US = 60_000_000
FAILED = 1 << 8
RUN_US_MAX = values.SECONDS_MAX * 1_000_000

_DECIMAL = Context(prec=20)
_DRAWN_BITS = 53


class Run(NamedTuple):
    """How an attempt goes: how long, and with which wait status."""

    run_us: int
    status: int = 0


class Draws:
    """Numbers for one attempt of a job, in (0, 1], each as likely as any other."""

    def __init__(self, seed: int, id_: int, attempt: int, purpose: str) -> None:
        self._key, self._nth = f"{seed}/{id_}/{attempt}/{purpose}", 0

    def next(self) -> float:
        """The next number."""
        self._nth += 1
        digest = blake2b(f"{self._key}/{self._nth}".encode(), digest_size=8).digest()
        return ((int.from_bytes(digest, "big") >> (64 - _DRAWN_BITS)) + 1) / (1 << _DRAWN_BITS)


Sample: TypeAlias = Callable[[Draws], float]  # a run time in microseconds
RunOf: TypeAlias = Callable[[int, int, Spec], Run]  # id, attempt, spec


# ---- distributions ------------------------------------------------------------------------------------------------


def _fixed(us: int) -> Sample:
    return lambda _: us


def _uniform(low_us: int, high_us: int) -> Sample:
    return lambda draws: low_us + (high_us - low_us) * draws.next()


def _exponential(mean_us: int) -> Sample:
    return lambda draws: -mean_us * _ln(draws.next())


def _lognormal(median_us: int, sigma: float) -> Sample:
    return lambda draws: median_us * float(_DECIMAL.exp(_DECIMAL.create_decimal_from_float(sigma * _normal(draws))))


def _ln(number: float) -> float:
    return float(_DECIMAL.ln(_DECIMAL.create_decimal_from_float(number)))


def _normal(draws: Draws) -> float:
    """A normal deviate, by Marsaglia's polar method."""
    while True:
        one, other = 2 * draws.next() - 1, 2 * draws.next() - 1
        square = one * one + other * other
        if 0 < square < 1:
            return one * float(_DECIMAL.sqrt(Decimal(-2 * _ln(square) / square)))


def read_distribution(text: str) -> Sample:
    """Read `10m`, `exp:MEAN`, `uniform:LOW:HIGH` or `lognormal:MEDIAN:SIGMA`. Raises Wrong."""
    kind, *words = text.split(":")
    match kind, words:
        case _, []:
            return _fixed(values.duration_us(text))
        case "exp", [mean]:
            return _exponential(values.duration_us(mean))
        case "uniform", [low, high]:
            bounds = values.duration_us(low), values.duration_us(high)
            if bounds[0] > bounds[1]:
                raise Wrong(("", f"the first of uniform:LOW:HIGH is more than the second: {text!r}"))
            return _uniform(*bounds)
        case "lognormal", [median, sigma]:
            return _lognormal(values.duration_us(median), _sigma(sigma))
        case _:
            pass
    raise Wrong(("", f"must be a duration, exp:MEAN, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA, not {text!r}"))


def _sigma(text: str) -> float:
    try:
        sigma = float(text)
    except ValueError:
        sigma = -1.0
    if not 0 <= sigma <= 10:
        raise Wrong(("", f"the sigma of lognormal must be a number 0…10, not {text!r}"))
    return sigma


# ---- of jobs ------------------------------------------------------------------------------------------------------


def runs(
    seed: int, sample: Sample | None = None, *, history_us: Mapping[str, int] | None = None, fail: float = 0.0
) -> RunOf:
    """Make the function that says how an attempt goes.

    Shape:    the run time is what `history_us` has for the job's name, else a sample, else (no `sample`) the job's time
              limit, else a minute; it fails with probability `fail`.
    Cost:     some microseconds where anything is drawn.
    """
    known = history_us or {}

    def run_of(id_: int, attempt: int, spec: Spec) -> Run:
        run_us = known.get(spec.name)
        if run_us is None:
            run_us = _sampled(id_, attempt) if sample is not None else spec.time_limit_us or DEFAULT_US
        return Run(run_us, FAILED if fails(seed, id_, attempt, fail) else 0)

    def _sampled(id_: int, attempt: int) -> int:
        assert sample is not None
        return min(round(sample(Draws(seed, id_, attempt, "run"))), RUN_US_MAX)

    return run_of


def fails(seed: int, id_: int, attempt: int, probability: float) -> bool:
    """Whether an attempt fails."""
    return probability > 0 and Draws(seed, id_, attempt, "fail").next() <= probability


def median_us(run_times_us: Sequence[int]) -> int:
    """The median, of an even number the lower one; at least one is there."""
    return sorted(run_times_us)[(len(run_times_us) - 1) // 2]
