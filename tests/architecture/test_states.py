"""docs/reference/states.md is made from `core.event.TRANSITIONS`, and laws that are cited exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched.core.event import TRANSITIONS, Event, IllegalEvent, advance
from jqsched.core.job import Job, Spec, State

ROOT = Path(__file__).resolve().parents[2]
SPEC = Spec(command=("true",), name="a", cwd="/")

# What an event may carry, where that decides where it leads.
CONTEXTS: dict[str, list[dict[str, object]]] = {
    "dependency-add": [{"description": "after-success=1"}],
    "dependency-remove": [{"description": "after-success=1"}],
    "priority": [{"priority": 16}],
    "urgency": [{"userid": 0, "urgency": 20}],
    "finish": [{"status": 0}],
    "exception": [{"type": "cancel", "severity": severity, "note": "", "userid": 0} for severity in (0, 2)],
    "requeue": [{"attempt": 2}],
}


def moves() -> Iterator[tuple[State, State, str]]:
    """Yield each change of state that an event of the table makes."""
    for name, (states, _) in TRANSITIONS.items():
        for state in sorted(states):
            for context in CONTEXTS.get(name, [{}]):
                job = Job(id=1, spec=SPEC, userid=0, state=state)
                try:
                    after = advance(job, Event(1, 7, name, context, SPEC if name == "jobspec-update" else None))
                except IllegalEvent:
                    continue  # an exception of severity 0 in NEW
                assert after is not None
                if after.state is not state:
                    yield state, after.state, name


def diagram() -> str:
    """Draw the table as a Mermaid state diagram, an arrow for each pair of states."""
    events: dict[tuple[State, State], list[str]] = {}
    for before, after, name in moves():
        events.setdefault((before, after), []).append(name)
    arrows = [f"    {a.name} --> {b.name}: {', '.join(sorted(names))}" for (a, b), names in sorted(events.items())]
    ends = ["    NEW --> [*]: invalidate", "    INACTIVE --> [*]"]
    return "\n".join(["stateDiagram-v2", "    [*] --> NEW: submit", *arrows, *ends])


def test_the_diagram_of_states_is_made_from_the_table_of_transitions():
    page = (ROOT / "docs/reference/states.md").read_text("utf-8")
    (drawn,) = re.findall(r"(?s)```mermaid\n(.*?)\n```", page)
    assert drawn == diagram(), f"put this into the page:\n{diagram()}"


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_each_state_has_its_row(state: State):
    assert f"| {state.name} |" in (ROOT / "docs/reference/states.md").read_text("utf-8")


def test_laws_that_are_cited_are_on_the_page():
    page = (ROOT / "docs/reference/laws.md").read_text("utf-8")
    laws = [int(number) for number in re.findall(r"(?m)^\| (\d+) \|", page)]
    assert laws == list(range(1, len(laws) + 1))
    for folder in ("jqsched", "tests", "docs"):
        for path in (*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")):
            cited = re.findall(r"(?i)\blaws? (\d+)\b", path.read_text("utf-8"))
            assert set(map(int, cited)) <= set(laws), path
