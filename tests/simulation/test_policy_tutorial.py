"""docs/tutorials/testing-a-policy.md does what it says: its machine finds the mistake, and all of its code runs."""

import re
import runpy
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis.stateful import run_state_machine_as_test

from jqsched.core import policy
from jqsched.core.job import Draft, Spec
from jqsched.testing.machine import QueueMachine

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = runpy.run_path(str(DOCS / "examples" / "short_jobs_first.py"))
PAGE = (DOCS / "tutorials" / "testing-a-policy.md").read_text("utf-8")
BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)


def told(machine: type[QueueMachine]) -> tuple[str, list[str]]:
    """What the machine finds, and the moves of the shortest story that leads there."""
    with pytest.raises(AssertionError) as found:
        run_state_machine_as_test(machine, settings=EXAMPLE["SEARCH"])
    story = "\n".join(found.value.__notes__)
    return str(found.value), re.findall(r"(?m)^state\.(\w+)\(", story)


@pytest.mark.timeout(300)  # it is minimised
def test_the_first_version_fails_with_a_short_story():
    """Two passes with jobs between which nothing started: whatever else happened was taken away."""
    what, moves = told(EXAMPLE["FirstVersion"])
    assert "law 7" in what
    # How the three were chosen, one and two or two and one, depends on what Hypothesis has seen of other modules.
    assert re.sub(r"chose \d jobs", "chose 1 jobs", what) in PAGE
    assert moves[0] == "begin"
    assert set(moves[1:-1]) == {"drop", "schedule"}
    assert len(moves[1:-1]) <= 4
    assert moves[-1] == "teardown"


@pytest.mark.timeout(300)
def test_the_second_version_passes():
    run_state_machine_as_test(EXAMPLE["SecondVersion"], settings=EXAMPLE["SEARCH"])


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_page_runs(block: str):
    """With the names of the example at hand; a test in it is called, and one that is to fail says so itself."""
    names = dict(EXAMPLE)
    exec(compile(block, "testing-a-policy.md", "exec"), names)
    for name in re.findall(r"(?m)^def (test_\w+)", block):
        names[name]()


def test_the_page_has_its_blocks():
    """A page whose code is not found tests nothing."""
    assert len(BLOCKS) == 4


def test_all_code_that_the_page_quotes_is_in_the_example():
    """Lines of the policy that are in the page are those of the file."""
    source = (DOCS / "examples" / "short_jobs_first.py").read_text("utf-8")
    for block in re.findall(r"(?ms)^```py\n(.*?)^```", PAGE):
        assert block in source, block


def ready(cores: int, machine: type[QueueMachine]) -> QueueMachine:
    """A machine with two jobs that wait for their turn."""
    state = machine()
    state.begin()
    state.drop([Draft(Spec(("true",), "a", "/", cores=cores)), Draft(Spec(("true",), "b", "/", cores=cores))])
    return state


def test_a_policy_that_starts_jobs_while_drained_is_found():
    """Law 8."""

    class Deaf(QueueMachine):
        def select(self, queue, limits):
            return policy.select(queue, evolve(limits, draining=False))

    state = ready(1, Deaf)
    state.limits = evolve(state.limits, draining=True)
    with pytest.raises(AssertionError, match=r"while drained: nothing starts then \(law 8\)"):
        state.schedule(starts=0)


def test_a_policy_that_takes_cores_that_are_not_there_is_found():
    """Law 7, where no permit goes ahead of its cores."""

    class Greedy(QueueMachine):
        limits = evolve(QueueMachine.limits, ahead=0)

        def select(self, queue, limits):
            return policy.select(queue, evolve(limits, cores=99))

    with pytest.raises(AssertionError, match=r"so that 6 cores are taken: there are 4 \(law 7\)"):
        ready(3, Greedy).schedule(starts=0)
