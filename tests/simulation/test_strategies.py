"""What is shipped for other people's tests gives what it says: values that are consistent, and of every kind."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jqsched.adapters.jobfile import BadFile, read_job
from jqsched.core import policy
from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.filters import Action, Rule, applying_filter, read_rule, rule_document, subject_of
from jqsched.core.job import Dependency, Draft, Job, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.testing import strategies
from jqsched.testing.machine import QueueMachine
from jqsched.testing.scenario import History
from jqsched.testing.strategies import filter_rules, job_files, jobs

SEARCH = settings(
    max_examples=1_000,
    database=None,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),  # nothing is minimised
    suppress_health_check=list(HealthCheck),
)


class _Found(Exception):
    """Ends a search."""


def is_found(strategy, holds):
    """Whether a value of this kind is among the first thousand."""

    @SEARCH
    @given(strategy)
    def search(value):
        if holds(value):
            raise _Found

    try:
        search()
    except _Found:
        return True
    return False


@given(job_files())
def test_a_job_file_is_accepted(file):
    """In JSON and in TOML, by the reader that the real spool uses."""
    read = read_job(file.text.encode(), file.name[file.name.rindex(".") :], "/watched_gate/me")
    assert isinstance(read, Draft), read


@given(job_files(broken=True))
def test_a_broken_job_file_is_refused(file):
    """With at least one error that has a text."""
    read = read_job(file.text.encode(), file.name[file.name.rindex(".") :], "/watched_gate/me")
    assert isinstance(read, BadFile), file.text
    assert all(read.errors)


@given(queue=...)
def test_a_queue_by_its_type_alone_is_whole(queue: Queue):
    """The entry point is loaded: an annotation is enough."""
    queues.check(queue)


@given(job=..., limits=...)
def test_a_job_by_its_type_alone_is_one_that_events_lead_to(job: Job, limits: Limits):
    """Its times are in order, and it runs only when it was allowed to."""
    assert job.t_submit_us > 0
    assert (job.t_run_us > 0) or job.state is not State.RUN
    assert (job.result is not None) == (job.state is State.INACTIVE)
    assert limits.max_running >= 0


@pytest.mark.parametrize("kind", [Dependency, Draft, Event, History, Job, Limits, Queue, Rule, Spec])
def test_every_registered_type_has_its_strategy(kind):
    assert is_found(st.from_type(kind), lambda value: isinstance(value, kind))


@pytest.mark.parametrize("state", [State.DEPEND, State.SCHED, State.RUN, State.INACTIVE])
def test_jobs_are_found_in_every_state(state):
    assert is_found(jobs(), lambda job: job.state is state)


@pytest.mark.parametrize(
    "holds",
    [
        lambda queue: queue.manipulated,
        lambda queue: queue.permits and queue.running,
        lambda queue: queue.rules and any(queue.admission.gates),
        lambda queue: queue.timers,
        lambda queue: queue.dependents,
    ],
    ids=["claimed", "permitted", "gated", "timed", "dependent"],
)
def test_queues_of_every_kind_are_found(holds):
    assert is_found(strategies.queues(), holds)


@given(filter_rules())
def test_a_rule_reads_back(rule):
    assert read_rule(dict(rule_document(rule))) == rule


@pytest.mark.parametrize("action", Action)
def test_rules_of_every_action_are_found(action):
    assert is_found(filter_rules(), lambda rule: rule.action is action)


@given(queue=..., rule=...)
def test_rules_and_jobs_meet(queue: Queue, rule: Rule):
    """No assertion about how often: that some rule applies to some job is searched for below."""
    for job in queues.live(queue):
        assert applying_filter((rule,), subject_of(job)) in (rule, None)


def test_a_rule_that_applies_is_found():
    pair = st.tuples(strategies.queues(), filter_rules())
    assert is_found(
        pair,
        lambda both: any(applying_filter((both[1],), subject_of(job)) for job in queues.live(both[0])),
    )


# ---- what may be missing ------------------------------------------------------------------------------------------

WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hypothesis":
            raise ImportError("hypothesis is not installed here")
sys.meta_path.insert(0, Refuse())
import jqsched
from jqsched.testing import fake_clock, fake_executor, fake_spool, fake_store, faults, world, worlds
from jqsched.testing import invariants as laws
from jqsched.testing import harness as rig
from jqsched.testing import scenario as story
world.World(1).run(30).settle()
from jqsched.testing.contracts import executor, spool, store

assert "hypothesis" not in sys.modules
"""


def test_fakes_world_and_contracts_need_no_hypothesis():
    """It is an extra."""
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=200)


def test_hypothesis_does_not_load_our_strategies_before_somebody_asks():
    """A project that has this package installed and tests something else pays for the types only."""
    code = "import sys, hypothesis; print([f'jqsched.{name}' in sys.modules for name in NAMES])"
    code = code.replace("NAMES", "('core.queue', 'testing.strategies')")
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=200, capture_output=True, text=True)
    assert done.stdout == "[True, False]\n"


# ---- the machine --------------------------------------------------------------------------------------------------


class TheRealPolicy(QueueMachine):
    """As it is shipped."""


TestTheRealPolicy = TheRealPolicy.TestCase
TestTheRealPolicy.settings = settings(stateful_step_count=30, max_examples=30)


def broken(name):
    """A machine with a policy that breaks something."""

    def held_jobs(queue, limits):
        held = sorted(job.id for job in queue.enqueued.values() if job.state is State.SCHED and not job.priority)
        return (*policy.select(queue, limits), *held[:1])

    def one_too_many(queue, limits):
        return tuple(policy.candidates(queue))[: limits.max_running + limits.ahead + 1]

    def idle(queue, limits):
        return ()

    def twice(queue, limits):
        return policy.select(queue, limits)[:1] * 2

    def through_the_gate(queue, limits):
        able = sorted(job.id for job in queue.enqueued.values() if policy.eligible(queue, job))
        able = [id_ for id_ in able if id_ not in queue.permits]
        return tuple(able[: limits.max_running - queue.busy - len(queue.permits)])

    def while_drained(queue, limits):
        return policy.select(queue, Limits(limits.max_running + 1, limits.cores, limits.ahead))

    policies = [held_jobs, one_too_many, idle, twice, through_the_gate, while_drained]
    select = next(each for each in policies if each.__name__ == name)
    return type(name, (QueueMachine,), {"select": lambda self, queue, limits: select(queue, limits)})


@pytest.mark.parametrize("name", ["held_jobs", "one_too_many", "idle", "twice", "through_the_gate", "while_drained"])
def test_the_machine_finds(name):
    """Each broken policy, in an ordinary run."""
    from hypothesis.stateful import run_state_machine_as_test

    with pytest.raises(AssertionError, match="select chose"):
        run_state_machine_as_test(
            broken(name),
            settings=settings(SEARCH, stateful_step_count=30, report_multiple_bugs=False),
        )
