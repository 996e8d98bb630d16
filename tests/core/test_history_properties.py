"""Laws of the fold, for any history: replay, load, and that nothing depends on what a queue is not made of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core import decide
from jqsched.core import queue as queues
from jqsched.core.event import IllegalEvent
from jqsched.core.job import ARROW, Scheme, describe, describe_begin_time, read_wait
from jqsched.core.jobspec import values
from jqsched.core.queue import EMPTY
from jqsched.testing.scenario import LIMITS
from jqsched.testing.strategies import histories, names

ROOT = Path(__file__).resolve().parents[2]


@given(histories())
def test_a_replay_gives_the_queue(history):
    """Law 6: one by one, all at once, and as it is without claims and permits."""
    one_by_one = EMPTY
    for event in history.events:
        one_by_one = queues.evolve(one_by_one, event)
        queues.check(one_by_one)
    assert queues.same(one_by_one, history.queue.settled())
    assert queues.same(one_by_one, queues.evolve_all(EMPTY, history.events))


@given(histories(), st.integers(0, 1_000))
def test_a_replay_may_be_taken_up_anywhere(history, at):
    """Loaded from its jobs at any event, a queue goes on as if it had been there all the time."""
    at %= len(history.events) + 1
    before = queues.evolve_all(EMPTY, history.events[:at])
    jobs = list(queues.live(before))
    loaded = queues.load(reversed(jobs), seq=before.seq, last_us=before.last_us, last_id=before.last_id)
    assert queues.same(queues.evolve_all(loaded, history.events[at:]), history.queue.settled())


@given(histories())
def test_every_number_is_given_once(history):
    """The queue counts all events, and knows the time of the last and the highest id."""
    assert history.queue.seq == len(history.events)
    assert history.queue.last_us == max((event.t_us for event in history.events), default=0)
    assert history.queue.last_id == max((event.jobid for event in history.events), default=0)


@given(histories(), st.integers(0, 1_000))
def test_an_event_that_is_not_newer_is_refused(history, at):
    """No history can be replayed with an event twice, or in another order."""
    if history.events:
        with pytest.raises(IllegalEvent, match="is not after"):
            queues.evolve(history.queue, history.events[at % len(history.events)])


@given(histories(), st.integers(0, 1_000))
def test_a_claim_and_its_release_change_nothing(history, pick):
    """Law 5: a job that is taken out and put back unchanged is where it was; a claim costs it a permit."""
    ids = [job.id for job in queues.live(history.queue)]
    if ids:
        id_ = ids[pick % len(ids)]
        claimed, job = queues.claim(history.queue, id_)
        queues.check(claimed)
        assert queues.find(claimed, id_) == job
        assert queues.claim(claimed, id_) is None
        assert queues.same(queues.release(claimed, id_), queues.withdraw(history.queue, id_))


@given(histories())
def test_a_queue_stays_what_it_was(history):
    """Whatever is decided on it: the decision holds the next queue, and this one is as before."""
    before = queues.load(
        list(queues.live(history.queue.settled())),
        seq=history.queue.seq,
        last_us=history.queue.last_us,
        last_id=history.queue.last_id,
    )
    for id_ in [job.id for job in queues.live(history.queue)]:
        decide.dequeue(history.queue, id_, LIMITS, 0, userid=0)
        decide.started(history.queue, id_, 1, LIMITS, 0)
        queues.claim(history.queue, id_)
    assert queues.same(before, history.queue.settled())


# ---- descriptions -------------------------------------------------------------------------------------------------


@given(st.integers(0, values.SECONDS_MAX * 1_000_000))
def test_a_begin_time_reads_back_to_the_microsecond(begin_us):
    """It is written in seconds, as Flux does, and is what orders the timers."""
    wait = read_wait(describe_begin_time(begin_us))
    assert (wait.scheme, wait.target) == (Scheme.BEGIN_TIME, begin_us)


@given(
    st.sampled_from([Scheme.AFTER, Scheme.AFTERANY, Scheme.AFTEROK, Scheme.AFTERNOTOK, Scheme.AFTEREXCEPT]),
    st.integers(1, 2**60) | names,
    st.none() | st.integers(1, 2**60),
)
def test_a_description_reads_back(scheme, wanted, bound):
    """The name while it waits for one, the id as soon as there is one."""
    if isinstance(wanted, int):
        bound = wanted
    wait = read_wait(describe(scheme, wanted, bound))
    assert (wait.scheme, wait.target) == (scheme, wanted if bound is None else bound)
    assert (ARROW in wait.description) == (bound is not None and bound != wanted)


# ---- law 10 -------------------------------------------------------------------------------------------------------

TELL = """
import random, json
from jqsched.core import policy
from jqsched.testing.scenario import Story
{plant}
history = Story(random.Random(7).randrange).tell(1500)
print(json.dumps([[e.jobid, e.t_us, e.name, dict(e.context)] for e in history.events]))
"""


IMPURE = "select = policy.select; policy.select = lambda *at: select(*at)[:1 + hash('some name') % 2]"


def told_with(hash_seed: str, plant: str = "") -> list:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TELL.format(plant=plant)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


def test_the_same_choices_give_the_same_events_whatever_the_hash_seed():
    """Law 10: also in another process, where sets and maps are walked in another order."""
    first, *others = [told_with(seed) for seed in ("0", "1", "4242")]
    assert len(first) > 1_000
    assert all(other == first for other in others)


def test_what_depends_on_a_hash_would_be_seen():
    """Planted: a pass starts one job or two, as the hash of a name has it."""
    assert len({len(told_with(str(seed), IMPURE)) for seed in range(6)}) > 1
