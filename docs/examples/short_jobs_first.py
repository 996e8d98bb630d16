"""A policy that starts short jobs first, with a mistake and without it, and the machine that tells them apart.

`python docs/examples/short_jobs_first.py` looks for the mistake. The text is docs/tutorials/testing-a-policy.md.
"""

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from hypothesis.strategies import SearchStrategy

from jqsched.core import policy
from jqsched.core.job import Draft, Job
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.testing.machine import QueueMachine
from jqsched.testing.strategies import specs

NO_LIMIT_US = 10**18
SEARCH = settings(
    max_examples=200,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink),  # to explain the smallest history takes longer than to find it
)


def shortness(job: Job) -> tuple[int, int]:
    """The order of this policy: the shortest time limit first, then the lowest id."""
    return (job.spec.time_limit_us or NO_LIMIT_US, job.id)


def waiting(queue: Queue) -> list[Job]:
    """The jobs that lack nothing but a slot and cores, the shortest first."""
    jobs = [job for job in queue.enqueued.values() if policy.eligible(queue, job) and job.id not in queue.permits]
    return policy.admit(queue, sorted(jobs, key=shortness))


def fill(queue: Queue, slots: int, cores: int) -> tuple[int, ...]:
    """As many as there are slots and cores for; who does not fit holds back those behind him."""
    chosen: list[int] = []
    for job in waiting(queue):
        if len(chosen) >= slots or job.spec.cores > cores:
            break
        chosen.append(job.id)
        cores -= job.spec.cores
    return tuple(chosen)


def select_with_a_mistake(queue: Queue, limits: Limits) -> tuple[int, ...]:
    """The first version."""
    if limits.draining:
        return ()
    return fill(queue, limits.max_running - queue.busy, limits.cores - queue.cores_used)


def select(queue: Queue, limits: Limits) -> tuple[int, ...]:
    """The second: a permit that has not started yet takes its slot and its cores, too."""
    if limits.draining:
        return ()
    slots = limits.max_running - queue.busy - len(queue.permits)
    return fill(queue, slots, limits.cores - queue.cores_used - queue.cores_permitted)


class FirstVersion(QueueMachine):
    """What is asked of it: `select`, no permits ahead of a slot, and a promise of its own in `check`."""

    limits = Limits(max_running=2, cores=4)
    work_conserving = False  # the shortest may have to wait for its cores, and the others with it

    def draft(self) -> SearchStrategy[Draft]:
        """Jobs that this policy tells apart, and nothing else: the story will be short."""
        return st.builds(Draft, specs(name=st.just("a"), cores=st.just(1), dependencies_max=0, retries=st.none()))

    def select(self, queue: Queue, limits: Limits) -> tuple[int, ...]:
        """The policy under test."""
        return select_with_a_mistake(queue, limits)

    def overtaken(self, queue: Queue, limits: Limits) -> tuple[int, ...]:
        """A permit is kept, whoever comes: short jobs do not wait for priorities."""
        return policy.overtaken(queue, limits) if limits.draining else ()

    def check(self, queue: Queue) -> None:
        """Never more jobs run or may start than there are slots, unless the limit was lowered under them."""
        most = type(self).limits.max_running
        assert queue.busy + len(queue.permits) <= most, f"{queue.busy + len(queue.permits)} on {most} slots"


class SecondVersion(FirstVersion):
    """The same, repaired."""

    def select(self, queue: Queue, limits: Limits) -> tuple[int, ...]:
        """The policy under test."""
        return select(queue, limits)


TestShortJobsFirst = SecondVersion.TestCase
TestShortJobsFirst.settings = SEARCH

if __name__ == "__main__":
    print("the second version: ", end="", flush=True)
    run_state_machine_as_test(SecondVersion, settings=SEARCH)
    print("nothing found")
    print("the first version:")
    run_state_machine_as_test(FirstVersion, settings=SEARCH)
