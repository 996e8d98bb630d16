"""Copies of frozen values in which some fields are others.

Rule: `evolve` is `attrs.evolve`, and type checkers see that one. It costs half, for all fields are read and written at
once; events make fourteen such copies in the life of a job.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING

from attrs import fields

__all__ = ["evolve"]

if TYPE_CHECKING:
    from attrs import evolve
else:

    def evolve(value, /, **changes):
        """Copy a frozen attrs value with these fields changed. All its fields must be arguments of its class."""
        kind = type(value)
        read, places = _layout(kind)
        values = list(read(value))
        for name, new in changes.items():
            values[places[name]] = new
        return kind(*values)


@cache
def _layout(kind: type) -> tuple[Callable[[object], tuple[object, ...]], dict[str, int]]:
    """What reads all fields of a class, and the place of each among its arguments."""
    names = [field.name for field in fields(kind)]
    assert len(names) > 1
    assert all(field.init and field.alias == field.name for field in fields(kind)), f"{kind.__name__} is not plain"
    return attrgetter(*names), {name: place for place, name in enumerate(names)}
