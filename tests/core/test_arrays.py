"""The keys of an array in a job file: read lazily, refused with their places, and filled in."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.job import Array, Element
from jqsched.core.jobspec import Wrong
from jqsched.core.jobspec.arrays import (
    ELEMENTS_MAX,
    element,
    element_object,
    file_of,
    fill,
    fill_text,
    is_array,
    read_indexes,
    read_plan,
    without_array,
    write_indexes,
)

FIELDS = {"index": "7", "value": "v", "lr": "0.1"}


def errors_of(entries: Mapping[str, object], lines: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(Wrong) as refused:
        read_plan(entries, lines)
    return [f"{place}: {what}" for place, what in refused.value.errors]


@pytest.mark.parametrize(
    ("text", "indexes", "limit"),
    [
        ("0-3", [0, 1, 2, 3], None),
        ("5", [5], None),
        ("1-9:2", [1, 3, 5, 7, 9], None),
        ("1-8:3", [1, 4, 7], None),
        ("1,5,9", [1, 5, 9], None),
        ("9,1-3,2", [1, 2, 3, 9], None),
        ("0-15%4", [*range(16)], 4),
        ("1,3%1", [1, 3], 1),
    ],
)
def test_ranges(text: str, indexes: list[int], limit: int | None):
    """As Slurm writes them; ascending, each index once."""
    plan = read_plan({"array": text})
    assert (list(plan.indexes), plan.limit, plan.count) == (indexes, limit, len(indexes))
    assert plan.fields(0) == {"index": str(indexes[0])}
    assert plan.value(0) is None


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("1-9:0", 5, "the step must be from 1"),
        ("4,9-1", 3, "ends before it begins: 9 to 1"),
        ("0-3%0", 5, "how many may run at a time"),
        ("0-3%x", 5, "how many may run at a time"),
        ("", 1, "must be an index (5)"),
        ("1,,2", 3, "must be an index (5)"),
        ("-1", 1, "must be an index (5)"),
        ("٣", 1, "must be an index (5)"),
        ("3000000000", 1, "indexes go up to"),
        ("0-" + "9" * 5000, 3, "is a huge number"),
    ],
)
def test_wrong_ranges(text: str, at: int, why: str):
    """Each with the character at which it is wrong."""
    (error,) = errors_of({"array": text})
    assert error.startswith("array: ")
    assert f"at character {at}: " in error
    assert why in error
    assert len(error) < 300


@pytest.mark.parametrize(
    ("entries", "total"),
    [
        ({"array": "0-999999999999"}, 10**12),
        ({"array": f"0-{ELEMENTS_MAX}"}, ELEMENTS_MAX + 1),
        ({"array": ",".join(["0-9999"] * 100)}, 1_000_000),
        ({"each": {"product": {"a": "1-10000", "b": "1-10000", "c": "1-10000"}}}, 10**12),
        ({"each": ["x"] * (ELEMENTS_MAX + 1)}, ELEMENTS_MAX + 1),
        ({"each": {"product": {"a": "1-1000000000"}}}, 10**9),
    ],
)
def test_what_explodes_is_refused_with_its_number(entries: dict[str, object], total: int):
    """Counted, and never held in memory."""
    (error,) = errors_of(entries)
    assert f"would be {total} elements: at most {ELEMENTS_MAX}" in error


def test_values_of_a_list():
    """Strings and numbers are values; the keys of objects are placeholders of their own."""
    plan = read_plan({"each": ["a", 2, {"lr": 0.1, "net": "x", "fast": True}], "array_limit": 2, "max_failures": 3})
    assert [plan.fields(at) for at in range(plan.count)] == [
        {"index": "0", "value": "a"},
        {"index": "1", "value": "2"},
        {"index": "2", "value": '{"lr":0.1,"net":"x","fast":true}', "lr": "0.1", "net": "x", "fast": "true"},
    ]
    assert (plan.limit, plan.max_failures) == (2, 3)


def test_values_of_a_product():
    """Every combination, the last key changing first."""
    plan = read_plan({"each": {"product": {"lr": [0.1, 0.01], "seed": "1-3"}}})
    assert [(plan.fields(at)["lr"], plan.fields(at)["seed"]) for at in range(plan.count)] == [
        ("0.1", "1"), ("0.1", "2"), ("0.1", "3"), ("0.01", "1"), ("0.01", "2"), ("0.01", "3"),
    ]  # fmt: skip


def test_values_of_a_file():
    """The reader of job files reads it; here its lines are values."""
    entries = {"each": {"file": "names.txt"}}
    assert file_of(entries) == "names.txt"
    assert file_of({"each": ["names.txt"]}) is None
    assert read_plan(entries, ("ann", "", "bob c")).fields(2) == {"index": "2", "value": "bob c"}
    assert errors_of(entries) == ["each: the file has no lines"]


@pytest.mark.parametrize(
    ("entries", "errors"),
    [
        ({"array": 7}, ["array: must be a string, not 7"]),
        ({"array": "0-3", "each": ["a"]}, ["array, each: only one of the two"]),
        ({"array": "0-3%2", "array_limit": 2}, ["array_limit: array says it already (%2)"]),
        ({"array": "0", "max_failures": 0}, ["max_failures: must be an integer 1…2147483647, not 0"]),
        ({"each": []}, ["each: must not be empty"]),
        ({"each": {}}, ["each: must be a list, or have one key: product or file"]),
        ({"each": "a"}, ["each: must be a list of strings or objects, or an object with product or file, not 'a'"]),
        ({"each": ["a", None, "\0"]}, [
            "each[1]: must be a string, a number, true or false, not null",
            "each[2]: must not contain NUL (\\u0000)",
        ]),
        ({"each": [{"a": [1]}]}, ["each[0].a: must be a string, a number, true or false, not a list"]),
        ({"each": [{"index": 1}]}, ["each[0].index: cannot be a key: {index} stands for something else"]),
        ({"each": [{"a-b": 1}]}, ["each[0].a-b: is no name for a placeholder (letters, digits and _)"]),
        ({"each": ["x" * 200_000]}, ["each[0]: is too long to be handed to a program"]),
        ({"each": {"product": {}}}, ["each.product: must not be empty"]),
        ({"each": {"product": {"a": [], "id": "1"}}}, [
            "each.product.a: must not be empty",
            "each.product.id: cannot be a key: {id} stands for something else",
        ]),
        ({"each": {"product": {"a": [1, {}]}}}, [
            "each.product.a[1]: must be a string, a number, true or false, not an object"
        ]),
        ({"each": {"product": {"a": "1-x"}}}, [
            "each.product.a: '1-x' at character 1: must be an index (5), a range (0-99) or one with a step (1-9:2)"
        ]),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_place(entries: dict[str, object], errors: list[str]):
    """All errors at once."""
    assert errors_of(entries) == errors


def test_keys_that_are_for_arrays_only():
    """They are not ignored where there is none."""
    entries = {"command": ["true"], "array_limit": 2, "max_failures": 1}
    assert not is_array(entries)
    assert [error.partition(":")[0] for error in without_array(entries)] == ["array_limit", "max_failures"]
    assert without_array({**entries, "array": "0-3"}) == []


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{index}", "7"),
        ("a{value}b{lr}", "avb0.1"),
        ("{{index}}", "{index}"),
        ("{{other}} {other} {0} {} { index }", "{{other}} {other} {0} {} { index }"),
        ("awk '{print $1}' x{index}", "awk '{print $1}' x7"),
        ('{"k": {"lr": {lr}}}', '{"k": {"lr": 0.1}}'),
        ("{index", "{index"),
        ("{id}-{name}-{attempt}", "{id}-{name}-{attempt}"),
    ],
)
def test_placeholders(text: str, filled: str):
    """Known ones only; all other braces stay."""
    assert fill_text(text, FIELDS) == filled


def test_where_placeholders_are_filled_in():
    """Not in `script`, in no key and in no name."""
    entries = {
        "command": ["run", "{index}", 3], "env": {"{index}": "{value}"}, "output": "{index}.out", "error": "{lr}",
        "cwd": "/{value}", "script": "echo {index}", "name": "{index}", "reason": ["{index}"],
    }  # fmt: skip
    assert fill(entries, FIELDS) == {
        "command": ["run", "7", 3], "env": {"{index}": "v"}, "output": "7.out", "error": "0.1",
        "cwd": "/v", "script": "echo {index}", "name": "{index}", "reason": ["{index}"],
    }  # fmt: skip


@given(st.text(), st.text())
def test_a_value_is_not_looked_into(text: str, value: str):
    """What a value brings is no placeholder again."""
    before, after = text.replace("{", "("), "{value}"
    assert fill_text(before + after, {"value": value, "index": "1"}) == before + value


@given(st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=20))
def test_indexes_read_back(indexes: set[int]):
    """However they are spaced."""
    ascending = sorted(indexes)
    assert list(read_indexes(write_indexes(ascending))) == ascending


@given(st.integers(0, 10**6), st.integers(1, 1000), st.integers(1, 500))
def test_evenly_spaced_indexes_are_short(first: int, step: int, count: int):
    """The text does not grow with their number."""
    indexes = range(first, first + step * count, step)
    assert len(write_indexes(indexes)) < 30
    assert list(read_indexes(write_indexes(indexes))) == list(indexes)


@given(
    st.builds(
        Element,
        st.builds(
            Array,
            st.integers(0, 2**63 - 1),
            st.integers(1, 2**31 - 1),
            st.none() | st.integers(1, 99),
            st.none() | st.integers(1, 99),
        ),
        st.integers(0, 2**31 - 1),
        st.none() | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
    )
)
def test_an_element_in_a_jobspec_reads_back(one: Element):
    """With its limits and its value."""
    assert element(element_object(one)) == one
