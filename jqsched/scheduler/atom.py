"""An atomic reference to an immutable value: what all code outside the loop sees.

Rule: one writer, any number of readers, no lock: in CPython reading and replacing a reference is atomic, and the value
behind it never changes. Source: Ganeti's IORef Queue and modifyJobs.
"""

from typing import Generic, TypeVar

T = TypeVar("T")


class Atom(Generic[T]):
    """A reference that any thread may read, and that its one writer replaces."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def get(self) -> T:
        """The present value. Never waits."""
        return self._value

    def swap(self, value: T) -> T:
        """Put another value in its place; returns the one before."""
        before, self._value = self._value, value
        return before
