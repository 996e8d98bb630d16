"""Edits of an array's file: what they change in the elements that wait.

In: the file as last accepted and as it is now, both as drafts, and the queue. Out: for each element that has not
started its draft before and after; or why nothing is changed.
Rule: which elements there are, their values and their name stay as they were accepted.
"""

from collections.abc import Iterator

from jqsched.core.evolve import evolve
from jqsched.core.job import Draft, Job, Spec, State
from jqsched.core.queue import Queue, elements

UNCHANGEABLE = "array, each, array_limit, max_failures: cannot be changed"


def why_not(queue: Queue, id_: int, was: Draft, now: Draft) -> str:
    """Say why an edit of the file of this array is refused whole; empty: it is not."""
    if now.spec.name != was.spec.name:
        return f"name: cannot be changed (it is {was.spec.name!r})"
    if [spec.element for spec in was.elements] != [spec.element for spec in now.elements]:
        return UNCHANGEABLE
    if any(not _is_of(job, now) for job in elements(queue, queue.arrays[id_].array)):
        return "each: the file that the values come from has changed since: they stay as they were accepted"
    return ""


def _is_of(job: Job, draft: Draft) -> bool:
    """Whether an element has the value that a draft would give it."""
    element, other = job.spec.element, _spec_of(job, draft).element
    assert element is not None
    assert other is not None
    return (element.index, element.value) == (other.index, other.value)


def _spec_of(job: Job, draft: Draft) -> Spec:
    assert job.spec.element is not None
    return draft.elements[job.id - job.spec.element.array.id]


def changes(queue: Queue, id_: int, was: Draft, now: Draft) -> Iterator[tuple[int, Draft, Draft]]:
    """Yield the elements that have not started, each with its draft before and after the edit."""
    for job in elements(queue, queue.arrays[id_].array):
        if job.state < State.RUN:
            yield job.id, _element(job, was), _element(job, now)


def _element(job: Job, draft: Draft) -> Draft:
    return Draft(evolve(_spec_of(job, draft), element=job.spec.element), draft.urgency, draft.pin)
