"""Read the payload of a request: typed access to its entries, with an error for what is missing or malformed.

Rule: EPROTO for what has not the right form, as Flux answers. Source: RFC 6.
"""

import errno
import os
from collections.abc import Callable
from math import floor
from typing import TypeVar

from jqsched.client.store_channel import Call
from jqsched.core.json import Json
from jqsched.future import Payload

T = TypeVar("T")
D = TypeVar("D")

_INTEGER_MAX = 2**63
_TIME_MAX_S = 2.0**42  # nothing happens after that


def protocol_error(text: str | None = None) -> OSError:
    """Return the error for a malformed request."""
    return OSError(errno.EPROTO, text or os.strerror(errno.EPROTO))


def given(call: Call) -> Payload:
    """Return the payload; raise when there is none."""
    if call.payload is None:
        raise protocol_error()
    return call.payload


def optional(payload: Payload, key: str, read: Callable[[str, Json], T], default: D) -> T | D:
    """Read an entry that may be missing."""
    return read(key, payload[key]) if payload.get(key) is not None else default


def integer(key: str, value: Json) -> int:
    """Read an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise protocol_error(f"invalid payload: {key} must be an integer")
    return value


def job_id(key: str, value: Json) -> int:
    """Read a job id; one that no job of ours can have is an unknown one."""
    number = integer(key, value)
    return number if 0 < number < _INTEGER_MAX else 0


def number(key: str, value: Json) -> float:
    """Read a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise protocol_error(f"invalid payload: {key} must be a number")
    return float(value)


def last_us(time_s: float) -> int:
    """The last microsecond that is not after a time, both as seconds since the epoch are told: rounded."""
    time_s = max(0.0, min(time_s, _TIME_MAX_S))
    time_us = floor(time_s * 1_000_000)
    while time_us / 1_000_000 > time_s:
        time_us -= 1
    while (time_us + 1) / 1_000_000 <= time_s:
        time_us += 1
    return time_us


def boolean(key: str, value: Json) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise protocol_error(f"invalid payload: {key} must be true or false")
    return value


def text(key: str, value: Json) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise protocol_error(f"invalid payload: {key} must be a string")
    return value


def many(read: Callable[[str, Json], T]) -> Callable[[str, Json], list[T]]:
    """Read an array of values."""

    def read_all(key: str, value: Json) -> list[T]:
        if not isinstance(value, list):
            raise protocol_error(f"invalid payload: {key} must be an array")
        return [read(f"each of {key}", item) for item in value]

    return read_all


def names(key: str, value: Json) -> list[str]:
    """Read an object of which only the keys count."""
    if not isinstance(value, dict):
        raise protocol_error(f"invalid payload: {key} must be an object")
    return list(value)
