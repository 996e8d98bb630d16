"""The persistent ordered set, beside a sorted list."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jqsched.core import order

KEYS = st.tuples(st.integers(-5, 5), st.integers(0, 30))


def depth(tree: order.Order) -> int:
    return 0 if tree is None else 1 + max(depth(tree.left), depth(tree.right))


def assert_sound(tree: order.Order) -> None:
    """Sizes are right, and no side is more than three times as heavy as the other (weights count one more)."""
    if tree is None:
        return
    left, right = order.size(tree.left), order.size(tree.right)
    assert tree.size == left + right + 1
    assert left + right <= 1 or (left <= 3 * right and right <= 3 * left)
    assert_sound(tree.left)
    assert_sound(tree.right)


class OrderMachine(RuleBasedStateMachine):
    """Anything is added and removed; every version that ever was stays what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.tree, self.keys = order.EMPTY, []
        self.versions: list[tuple[order.Order, list[order.Key]]] = []

    @rule(key=KEYS)
    def add(self, key):
        self.keep()
        self.tree = order.add(self.tree, key)
        self.keys = sorted({*self.keys, key})

    @rule(key=KEYS)
    def discard(self, key):
        self.keep()
        self.tree = order.discard(self.tree, key)
        self.keys = [other for other in self.keys if other != key]

    @rule(pick=st.integers(0, 100))
    def discard_one_that_is_there(self, pick):
        if self.keys:
            self.discard(self.keys[pick % len(self.keys)])

    @rule(keys=st.lists(KEYS, max_size=40))
    def build(self, keys):
        self.keep()
        self.tree, self.keys = order.build(keys), sorted(set(keys))

    @rule(key=KEYS)
    def look(self, key):
        assert order.contains(self.tree, key) == (key in self.keys)
        assert order.rank(self.tree, key) == sum(other < key for other in self.keys)

    def keep(self) -> None:
        self.versions.append((self.tree, self.keys))

    @invariant()
    def is_the_sorted_list(self):
        assert list(order.ascending(self.tree)) == self.keys
        assert order.size(self.tree) == len(self.keys)
        assert order.first(self.tree) == (self.keys[0] if self.keys else None)
        assert order.last(self.tree) == (self.keys[-1] if self.keys else None)
        assert_sound(self.tree)

    def teardown(self):
        for tree, keys in self.versions:
            assert list(order.ascending(tree)) == keys


TestOrder = OrderMachine.TestCase


@given(st.lists(KEYS, max_size=30), KEYS)
def test_what_changes_nothing_gives_the_same_tree(keys, key):
    """Adding what is there and removing what is not costs no new node."""
    tree = order.build(keys)
    assert (order.add(tree, key) is tree) == (key in keys)
    assert (order.discard(tree, key) is tree) == (key not in keys)


def nodes(tree: order.Order) -> set[int]:
    return set() if tree is None else {id(tree)} | nodes(tree.left) | nodes(tree.right)


@pytest.mark.parametrize("change", [order.add, order.discard])
def test_a_change_makes_few_new_nodes(change):
    """Of 4,000 keys, a change makes anew the path to one place and what is turned beside it: all else is shared."""
    keys = [(number * 7919 % 100_003,) for number in range(4_000)]
    tree = order.build(keys)
    old = nodes(tree)
    for key in keys[::400]:
        changed = change(tree, key if change is order.discard else (key[0] + 200_000,))
        assert len(nodes(changed) - old) <= 2 * math.log2(len(keys)) + 3


@pytest.mark.parametrize("direction", [1, -1])
def test_sorted_input_makes_no_list_of_the_tree(direction):
    """Ids that count up, the usual case, leave the tree balanced."""
    tree = order.EMPTY
    for number in range(2_000):
        tree = order.add(tree, (direction * number,))
    assert_sound(tree)
    assert depth(tree) <= 2 * math.log2(2_000)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_tree_is_turned_when_a_side_gets_more_than_three_times_as_heavy(direction):
    """And not before: most additions turn nothing."""
    tree = order.build((direction * number,) for number in (0, 1, 2))
    for number in (3, 4):
        tree = order.add(tree, (direction * number,))
        assert tree.key == (direction * 1,)
    assert {order.size(tree.left), order.size(tree.right)} == {1, 3}
    assert order.add(tree, (direction * 5,)).key != (direction * 1,)


class Watched(tuple):
    """A key that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __lt__(self, other):
        Watched.comparisons += 1
        return tuple.__lt__(self, other)


@pytest.mark.parametrize(
    "ask",
    [order.add, order.discard, order.contains, order.rank],
    ids=lambda ask: ask.__name__,
)
def test_a_question_compares_along_one_path(ask):
    """At most two comparisons for each level of the tree."""
    tree = order.build(Watched((number,)) for number in range(10_000))
    for number in (0, 4_999, 5_000, 9_999, -1, 10_000):
        Watched.comparisons = 0
        ask(tree, Watched((number,)))
        assert 0 < Watched.comparisons <= 2 * depth(tree) + 2


def only_its_left_edge(tree: order.Node) -> order.Node:
    """The tree with something at every turn to the right that breaks every reader of it."""
    left = only_its_left_edge(tree.left) if tree.size > 7 else tree.left
    return order.Node(left, tree.key, tree.right if tree.size <= 7 else object(), tree.size)


def test_the_first_few_cost_no_walk_over_all():
    """`ascending` is lazy: who takes three keys of ten thousand has touched nothing but the left edge."""
    taken = order.ascending(only_its_left_edge(order.build((number,) for number in range(10_000))))
    assert [next(taken) for _ in range(3)] == [(0,), (1,), (2,)]
