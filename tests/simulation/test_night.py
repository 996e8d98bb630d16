"""The night command: a small, fixed night finds nothing; what a part finds is in the table, and ends it with 1."""

import re

import pytest

from tests.night import FINDINGS_SHOWN, PARTS, Part, Share, main, shares


def test_a_short_night_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Every part of the long one is in it, but for the long tests themselves."""
    assert main(["--short", "--jobs", "1"]) == 0, capsys.readouterr().out
    table = capsys.readouterr().out
    for part in PARTS:
        (row,) = (line for line in table.splitlines() if line.startswith(f"| {part.name} "))
        _, _, tried, found, _, _ = (cell.strip() for cell in row.split("|"))
        assert (int(tried), found) == (part.short, "0")
    assert [part.name for part in PARTS if not part.short] == ["sweeps"]


def found(first: int, count: int) -> Share:
    """Every tenth seed is bad."""
    return Share(count, tuple(f"seed {seed}" for seed in range(first, first + count) if seed % 10 == 0))


FAULTY = Part("faulty", "numbers", found, night=100, share=7, short=1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_found_is_told_and_ends_the_night_with_1(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it is counted, whichever share found it; the first are shown, and how to find them again."""
    assert main(["--seed", "1000", "--jobs", str(jobs)], [FAULTY]) == 1
    told = capsys.readouterr().out
    assert [line for line in told.splitlines() if line.startswith("faulty: ")] == [
        f"faulty: seed {seed}" for seed in range(1000, 1000 + 10 * FINDINGS_SHOWN, 10)
    ]
    assert re.search(r"\| faulty +\| +100 \| +10 \| numbers \|", told)
    assert "seed 1000," in told


def test_shares_are_disjoint_and_together_all() -> None:
    seeds = [seed for first, count in shares(FAULTY, 5, 100) for seed in range(first, first + count)]
    assert seeds == [*range(5, 105)]


def test_a_night_begins_elsewhere_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        main(["--jobs", "1", "--scale", "0.01"], [FAULTY])
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("seed "))
    assert first != second
