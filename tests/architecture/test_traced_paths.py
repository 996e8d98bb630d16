"""docs/explanation/architecture.md shows the way of a dropped file and of a new priority as the scheduler goes it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.traced_paths import Trace, drop_and_priority

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "architecture.md"
DROP, PRIORITY = "From `mv` to the first instruction", "From `jqsched priority` to its answer"
OTHER_PROCESS = "another process"  # of such a row nothing can be seen here


def way(page: str, title: str) -> list[str]:
    """Return the modules that the steps of a section name, in order: `core/policy` is core.policy."""
    section = page.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]
    cells = (line.split("|") for line in section.splitlines() if re.match(r"\| \d", line))
    return [name for row in cells if OTHER_PROCESS not in row[3] for name in modules(row[3])]


def modules(cell: str) -> Iterator[str]:
    """Return the modules that a cell names."""
    for path in re.findall(r"`([\w/]+)`", cell):
        yield path.replace("/", ".")


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    """What was recorded of both, in one life of a scheduler."""
    return dict(zip((DROP, PRIORITY), drop_and_priority(), strict=True))


@pytest.mark.parametrize("title", [DROP, PRIORITY])
def test_the_page_shows_the_way_as_it_is(traces: dict[str, Trace], title: str):
    """Each module of the table runs, and after those of the rows above it."""
    steps = way(PAGE.read_text("utf-8"), title)
    assert len(steps) >= 5
    assert traces[title].missing(steps) is None, steps


def test_a_step_in_the_wrong_place_is_noticed():
    """The order counts, and a module that has nothing to do with it; a package stands for its modules."""
    trace = Trace((("adapters.server", "scheduler.commands"), ("scheduler.commands", "core.queue.value")))
    assert trace.missing(["adapters.server", "scheduler.commands", "core.queue"]) is None
    assert trace.missing(["core.queue", "scheduler.commands"]) == "scheduler.commands"
    assert trace.missing(["core.constraint"]) == "core.constraint"
