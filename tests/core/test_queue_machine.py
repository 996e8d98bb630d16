"""Laws 1 to 8 on any history: the machine beside the naive model, and how far it gets."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from jqsched.core.event import TRANSITIONS
from jqsched.core.job import State
from tests.core.queue_machine import QueueMachine, walk

TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(stateful_step_count=40)

PARTS, EXAMPLES_OF_A_PART = 20, 5_000

# A decision passes PRIORITY in one step, so no other event meets a job there; a plugin that is not ready will stop it.
# Nor does anything but a plugin change a job that is NEW.
NEVER_BETWEEN_STEPS = {
    *(("PRIORITY", "urgency"), ("PRIORITY", "exception")),
    *(("NEW", "jobspec-update"), ("NEW", "exception")),  # of plugins, and there are none here
}


def test_the_fixed_search_passes_and_reaches_every_transition():
    """Every row of the table of events, in every state that it allows, was taken. With planted bugs it fails."""
    reached = walk()
    table = {(state.name, name) for name, (states, _) in TRANSITIONS.items() for state in State if state in states}
    assert table - NEVER_BETWEEN_STEPS == set(reached) - {("none", "submit")}
    assert sum(reached.values()) > 10_000


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(PARTS))
def test_the_laws_hold_in_100_000_examples(part: int):
    """In parts, so that all cores look; each looks elsewhere, and elsewhere the next time."""
    searched = settings(max_examples=EXAMPLES_OF_A_PART, stateful_step_count=40, deadline=None, derandomize=False)
    run_state_machine_as_test(QueueMachine, settings=searched)
