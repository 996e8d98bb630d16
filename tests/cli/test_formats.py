"""How values are written for people: times that are read back, columns of wide characters."""

import time
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from jqsched.cli import formats
from jqsched.cli.target import time_us


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


BACK_US = 1_793_511_000_000_000  # 01:30 of the night in which clocks go back, for the first time


@pytest.mark.parametrize("t_us", [0, 1, BACK_US, BACK_US + 3_600_000_000, 1_795_247_114_123_456])
def test_a_time_that_is_shown_is_read_back(new_york: None, t_us: int):
    assert time_us(formats.clock(t_us)) == t_us


def test_without_its_offset_it_is_local_and_the_first_of_two(new_york: None):
    first, second = formats.clock(BACK_US), formats.clock(BACK_US + 3_600_000_000)
    assert first != second
    assert time_us(first[:26]) == time_us(second[:26]) == BACK_US


WORDS = ["build", "ビルド作業", "grüße", "e\u0301te\u0301", "🏗️"]


def test_columns_are_aligned_in_cells():
    lines = list(formats.columns([(word, "x", "end") for word in WORDS]))
    assert len({cell_len(line[: line.index("x  end")]) for line in lines}) == 1


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("width", [1, 2, 5, 20])
def test_what_is_fitted_has_its_width(word: str, width: int):
    assert cell_len(formats.fitted(word, width)) == width
