"""A persistent ordered set: what "in order of priority, then id" means as a data structure.

Rule: an old value stays as it was; every operation costs O(log n) and shares all but a path with its input. A
weight-balanced tree (Adams 1992; the parameters 3 and 2 of Hirai and Yamamoto 2011), its nodes plain tuples because
they are the cheapest immutable thing that CPython has. Keys are tuples of integers, so order never depends on a hash.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional, TypeAlias

Key: TypeAlias = tuple[int, ...]
Order: TypeAlias = Optional["Node"]
EMPTY: Order = None

_DELTA, _GAMMA = 3, 2


class Node(NamedTuple):
    """A tree: all keys of `left` < `key` < all keys of `right`; `size` counts all three."""

    left: "Order"
    key: Key
    right: "Order"
    size: int


def size(order: Order) -> int:
    """Count the keys. O(1)."""
    return order[3] if order is not None else 0


def _node(left: Order, key: Key, right: Order) -> Node:
    return Node(left, key, right, (left[3] if left is not None else 0) + (right[3] if right is not None else 0) + 1)


def _balance(left: Order, key: Key, right: Order) -> Node:
    """Make a node of two trees of which one may be too heavy by one insertion or removal."""
    left_size, right_size = size(left), size(right)
    if left_size + right_size <= 1:
        return Node(left, key, right, left_size + right_size + 1)
    if right is not None and right_size > _DELTA * left_size:
        if size(right.left) < _GAMMA * size(right.right):
            return _node(_node(left, key, right.left), right.key, right.right)
        pivot = right.left
        assert pivot is not None
        return _node(_node(left, key, pivot.left), pivot.key, _node(pivot.right, right.key, right.right))
    if left is not None and left_size > _DELTA * right_size:
        if size(left.right) < _GAMMA * size(left.left):
            return _node(left.left, left.key, _node(left.right, key, right))
        pivot = left.right
        assert pivot is not None
        return _node(_node(left.left, left.key, pivot.left), pivot.key, _node(pivot.right, key, right))
    return Node(left, key, right, left_size + right_size + 1)


def add(order: Order, key: Key) -> Node:
    """Insert a key; the same tree when it is there already."""
    if order is None:
        return Node(None, key, None, 1)
    left, here, right, _ = order
    if key < here:
        grown = add(left, key)
        return order if grown is left else _balance(grown, here, right)
    if here < key:
        grown = add(right, key)
        return order if grown is right else _balance(left, here, grown)
    return order


def discard(order: Order, key: Key) -> Order:
    """Remove a key; the same tree when it is not there."""
    if order is None:
        return None
    left, here, right, _ = order
    if key < here:
        shrunk = discard(left, key)
        return order if shrunk is left else _balance(shrunk, here, right)
    if here < key:
        shrunk = discard(right, key)
        return order if shrunk is right else _balance(left, here, shrunk)
    return _glue(left, right)


def _glue(left: Order, right: Order) -> Order:
    if left is None:
        return right
    if right is None:
        return left
    if left.size > right.size:
        heir = last(left)
        assert heir is not None
        return _balance(discard(left, heir), heir, right)
    heir = first(right)
    assert heir is not None
    return _balance(left, heir, discard(right, heir))


def first(order: Order) -> Key | None:
    """The least key, None when empty."""
    if order is None:
        return None
    while order.left is not None:
        order = order.left
    return order.key


def last(order: Order) -> Key | None:
    """The greatest key, None when empty."""
    if order is None:
        return None
    while order.right is not None:
        order = order.right
    return order.key


def contains(order: Order, key: Key) -> bool:
    """Whether the key is there."""
    while order is not None:
        if key < order.key:
            order = order.left
        elif order.key < key:
            order = order.right
        else:
            return True
    return False


def rank(order: Order, key: Key) -> int:
    """How many keys are less than this one, be it there or not."""
    below = 0
    while order is not None:
        if order.key < key:
            below += size(order.left) + 1
            order = order.right
        else:
            order = order.left
    return below


def ascending(order: Order) -> Iterator[Key]:
    """All keys in order, lazily: the first k of n cost O(k + log n)."""
    path: list[Node] = []
    while path or order is not None:
        while order is not None:
            path.append(order)
            order = order.left
        here = path.pop()
        yield here.key
        order = here.right


def build(keys: Iterable[Key]) -> Order:
    """Make an order of any keys at once. O(n log n), O(n) when they come sorted."""
    ordered = sorted(set(keys))

    def between(low: int, high: int) -> Order:
        if low >= high:
            return None
        middle = (low + high) // 2
        return Node(between(low, middle), ordered[middle], between(middle + 1, high), high - low)

    return between(0, len(ordered))
