"""The rules for a job file's `retries`: a number, or an object.

Rule: as in `values`: a valid value, or `Wrong` with all that is wrong, each with its place.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from jqsched.core.job import RETRY_DELAY_MAX_US, Retries
from jqsched.core.jobspec.values import Wrong, boolean, duration_s, integer, many, microseconds, must, number, show

T = TypeVar("T")

_DELAY_MAX_S = 31_622_400
_FACTOR_MAX = 1000
_EXIT_CODE_MAX = 255
_retries_max = integer(0, 1_000_000)
_RETRIES = ("max", "delay", "factor", "max_delay", "on", "separator")


def retries(value: object) -> Retries | None:
    """Read retries: how many (0: none), or an object of `max`, `delay`, `factor`, `max_delay`, `on` and `separator`."""
    if not isinstance(value, Mapping):
        if type(value) is not int:
            raise must("a number of retries, or an object with max", value)
        most = _retries_max(value)
        return Retries(most) if most else None
    errors = [(f".{show(key)[1:-1]}", "unknown key") for key in value if key not in _RETRIES]
    if "max" not in value:
        errors.append((".max", "missing"))

    def take(key: str, read: Callable[[object], T], default: T) -> T:
        try:
            return read(value[key]) if key in value else default
        except Wrong as wrong:
            errors.extend((f".{key}{place}", what) for place, what in wrong.errors)
            return default

    most, delay_us = take("max", _retries_max, 0), take("delay", _delay_us, 0)
    max_delay_us = take("max_delay", _delay_us, max(RETRY_DELAY_MAX_US, delay_us))
    wished = Retries(
        max=most,
        delay_us=delay_us,
        factor=take("factor", _factor, 1.0),
        max_delay_us=max_delay_us,
        on=take("on", _retry_on, ()),
        separator=take("separator", boolean, default=True),
    )
    if max_delay_us < delay_us:
        errors.append((".max_delay", "is less than the delay"))
    if errors:
        raise Wrong(*errors)
    return wished if most else None


def _delay_us(value: object) -> int:
    seconds = duration_s(value)
    if not 0 <= seconds <= _DELAY_MAX_S:
        raise must(f"0…{_DELAY_MAX_S} seconds (a year)", value)
    return microseconds(seconds)


def _factor(value: object) -> float:
    factor = number(value)
    if not 1 <= factor <= _FACTOR_MAX:
        raise must(f"1…{_FACTOR_MAX}", value)
    return factor


def _retry_on(value: object) -> tuple[int | str, ...]:
    wanted = many(value, _retry_kind, 'exit codes, "signal" and "timeout"')
    if not wanted:
        raise Wrong(("", "must not be empty: leave it out to retry after every failure"))
    return tuple(dict.fromkeys(wanted))


def _retry_kind(value: object) -> int | str:
    if value in ("signal", "timeout") and isinstance(value, str):
        return value
    if type(value) is not int or not 1 <= value <= _EXIT_CODE_MAX:
        raise must(f'an exit code 1…{_EXIT_CODE_MAX}, "signal" or "timeout"', value)
    return value
