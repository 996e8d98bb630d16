"""The map from ids: a dict in all that it says, in the order of the ids, and old values stay as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.idmap import IdMap, id_map

IDS = st.integers(0, 40) | st.integers(0, 5000) | st.integers(0, 2**40)
CHANGES = st.lists(st.tuples(IDS, st.none() | st.text(max_size=2)), max_size=60)


@given(CHANGES)
def test_it_is_a_dict_in_the_order_of_the_ids(changes: list[tuple[int, str | None]]):
    """After each change, and all values before it say what they said."""
    kept: list[tuple[IdMap[str], dict[int, str]]] = []
    here, plain = IdMap[str](), dict[int, str]()
    for id_, value in changes:
        here = here.discard(id_) if value is None else here.set(id_, value)
        plain = {key: old for key, old in plain.items() if key != id_} | ({} if value is None else {id_: value})
        kept.append((here, plain))
    for one, other in kept:
        assert list(one.items()) == sorted(other.items())
        assert len(one) == len(other)
        assert all(one.get(id_) == other.get(id_) and (id_ in one) == (id_ in other) for id_, _ in changes)


@given(st.dictionaries(IDS, st.text(max_size=2), max_size=80))
def test_made_at_once_is_made_one_by_one(plain: dict[int, str]):
    one_by_one = IdMap[str]()
    for id_, value in plain.items():
        one_by_one = one_by_one.set(id_, value)
    at_once = id_map(plain)
    assert at_once == one_by_one == plain
    assert (at_once._root, at_once._shift) == (one_by_one._root, one_by_one._shift)


@given(st.sets(IDS, max_size=60))
def test_what_is_empty_holds_nothing(ids: set[int]):
    """Jobs come and go for years; no branch of the tree is kept for those that went."""
    here = IdMap[int]()
    for id_ in ids:
        here = here.set(id_, id_)
    for id_ in sorted(ids):
        here = here.remove(id_)
    assert here._root == IdMap[int]()._root


def test_what_is_not_there():
    here = IdMap[str]().set(3, "c")
    assert here.get(4) is None
    assert here.get(4, "nothing") == "nothing"
    assert here.get(10**9, "nothing") == "nothing"
    assert here.get(-1) is None
    assert -1 not in here
    assert "3" not in here
    assert here.discard(4) is here
    assert here.discard(10**9) is here
    for id_ in (4, 10**9, -3):
        with pytest.raises(KeyError, match=rf"^{id_}$"):
            here[id_]
        with pytest.raises(KeyError, match=rf"^{id_}$"):
            here.remove(id_)


def test_it_is_shown_as_the_dict_that_it_is():
    """In the order of the ids, whatever order they came in."""
    assert repr(IdMap[str]().set(40, "d").set(3, "c")) == "IdMap({3: 'c', 40: 'd'})"


def test_none_and_negative_ids_are_refused():
    with pytest.raises(AssertionError):
        IdMap[str]().set(-1, "a")
    with pytest.raises(AssertionError):
        IdMap[str]().set(1, None)  # type: ignore[arg-type]  # what is tested
