"""A persistent map from job ids: what is known of each live job, by its id.

Rule: an old value stays as it was; every operation costs O(log n), to the base 32, and shares all but a path with its
input. A radix tree of plain tuples: ids are small integers that count up, so the bits of an id are its place: nothing
is hashed, an entry costs some ten bytes, and a walk is in the order of the ids. None says that nothing is there, so it
is no value.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeAlias, TypeVar, cast, overload

V = TypeVar("V")
T = TypeVar("T")
Places: TypeAlias = tuple[object, ...]

_BITS = 5
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1
_EMPTY: Places = (None,) * _WIDTH


class IdMap(Mapping[int, V], Generic[V]):
    """A map from integers that are not negative, with the methods of a Mapping, and `set`, `remove` and `discard`."""

    __slots__ = ("_root", "_shift", "_size")

    def __init__(self, root: Places = _EMPTY, shift: int = 0, size: int = 0) -> None:
        self._root, self._shift, self._size = root, shift, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, id_: int) -> V:
        found = self.get(id_)
        if found is None:
            raise KeyError(id_)
        return found

    @overload
    def get(self, id_: int, /) -> V | None: ...
    @overload
    def get(self, id_: int, /, default: V | T) -> V | T: ...
    def get(self, id_: int, /, default: object = None) -> object:
        """Return the value of an id, or the default."""
        node, shift = self._root, self._shift
        if id_ >> (shift + _BITS):  # too high for this tree, or negative
            return default
        while shift:
            below = node[id_ >> shift & _MASK]
            if below is None:
                return default
            node, shift = below, shift - _BITS  # type: ignore[assignment]  # above the leaves there are tuples
        found = node[id_ & _MASK]
        return default if found is None else found

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, int) and self.get(id_) is not None

    def __iter__(self) -> Iterator[int]:
        return (id_ for id_, _ in _walk(self._root, self._shift, 0))

    def __repr__(self) -> str:
        return f"IdMap({dict(_walk(self._root, self._shift, 0))!r})"

    def set(self, id_: int, value: V) -> "IdMap[V]":
        """Return a map that has this value for an id."""
        assert id_ >= 0 and value is not None
        root, shift = self._root, self._shift
        while id_ >> (shift + _BITS):
            root = (root, *_EMPTY[1:]) if self._size else _EMPTY
            shift += _BITS
        root, before = _put(root, shift, id_, value)
        return IdMap(root, shift, self._size + (before is None))

    def remove(self, id_: int) -> "IdMap[V]":
        """Return a map without this id. Raises KeyError when it is not there."""
        smaller = self.discard(id_)
        if smaller is self:
            raise KeyError(id_)
        return smaller

    def discard(self, id_: int) -> "IdMap[V]":
        """Return a map without this id, whether it is in this one or not."""
        if id_ >> (self._shift + _BITS):
            return self
        root, before = _put(self._root, self._shift, id_, None)
        return self if before is None else IdMap(root, self._shift, self._size - 1)


def _put(root: Places, shift: int, id_: int, value: object) -> tuple[Places, object]:
    """Make the tree in which an id has this value; also what it had before. Places that become empty are dropped."""
    path: list[Places] = []
    node = root
    while shift:
        path.append(node)
        node = node[id_ >> shift & _MASK] or _EMPTY  # type: ignore[assignment]  # above the leaves there are tuples
        shift -= _BITS
    before, below = node[id_ & _MASK], value
    while True:
        places = list(node)
        places[id_ >> shift & _MASK] = below
        made = tuple(places)
        if not path:
            return made, before
        below = made if value is not None or made != _EMPTY else None
        node, shift = path.pop(), shift + _BITS


def _walk(node: Places, shift: int, base: int) -> Iterator[tuple[int, object]]:
    for at, below in enumerate(node):
        if below is not None:
            id_ = base + (at << shift)
            if shift:
                yield from _walk(cast(Places, below), shift - _BITS, id_)
            else:
                yield id_, below


def id_map(values: Mapping[int, V]) -> IdMap[V]:
    """Build a map from its items. O(n)."""
    level: dict[int, object] = dict(values)
    shift = -_BITS
    while shift < 0 or any(level):  # until all is under 0
        above: dict[int, list[object]] = {}
        for id_, value in level.items():
            above.setdefault(id_ >> _BITS, list(_EMPTY))[id_ & _MASK] = value
        level = {id_: tuple(places) for id_, places in above.items()}
        shift += _BITS
    return IdMap(cast(Places, level.get(0, _EMPTY)), shift, len(values))
