"""Copies of frozen values: what attrs makes of them, for every value that the core copies so."""

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.evolve import evolve
from jqsched.core.job import Job, Spec, State
from jqsched.core.queue import Queue

VALUES = (Job(1, Spec(("true",), "a", "/"), 0), Queue(seq=3), Spec(("true",), "a", "/"))


@given(st.sampled_from(VALUES), st.data())
def test_a_copy_is_what_attrs_makes(value: object, data: st.DataObject):
    names = [each.name for each in attrs.fields(type(value))]
    changes = {name: object() for name in data.draw(st.sets(st.sampled_from(names)))}
    assert evolve(value, **changes) == attrs.evolve(value, **changes)


def test_the_value_stays_as_it_was():
    job = VALUES[0]
    assert evolve(job, state=State.RUN).state is State.RUN
    assert job.state is State.NEW


def test_a_field_that_is_not_there_is_no_field():
    with pytest.raises(KeyError):
        evolve(VALUES[0], nosuch=1)


def test_a_value_with_a_hidden_field_is_refused():
    """One that is computed would be copied and not computed anew."""

    @frozen
    class Computed:
        one: int
        two: int = field(init=False, default=2)

    with pytest.raises(AssertionError):
        evolve(Computed(1), one=2)
