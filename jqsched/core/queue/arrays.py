"""The arrays of a queue: how far each is, kept up to date by what happens to its elements.

Rule: computed from jobs alone. `taken_in`, for one element that arrives or ends, is what `evolve` does; `progress_of`
says the same of all elements at once.
"""

from collections.abc import Iterable

from jqsched.core.evolve import evolve
from jqsched.core.idmap import IdMap
from jqsched.core.job import Array, Element, Job, Progress, Result, State

Arrays = IdMap[Progress]


def advanced(progress: Progress, *, arrives: bool, job: Job | None) -> Progress:
    """Take in that an element arrives, or ends, or both; `job` is its last form, None: it was taken back, which counts
    as a failure. A live one changes nothing more.
    """
    if arrives:
        progress = evolve(progress, arrived=progress.arrived + 1, left=progress.left + 1)
    if job is None:
        return evolve(progress, left=progress.left - 1, failed=progress.failed + 1, spoiled=True)
    return _ended(progress, job) if job.state is State.INACTIVE else progress


def _ended(progress: Progress, job: Job) -> Progress:
    left, ran = progress.left - 1, progress.ran or job.started
    if job.success:
        return evolve(progress, left=left, ran=ran)
    return evolve(
        progress,
        left=left,
        ran=ran,
        failed=progress.failed + (job.result is not Result.CANCELED),
        spoiled=True,
        failed_running=progress.failed_running or job.t_run_us > 0,
        is_fatal=progress.is_fatal or job.fatal,
    )


def progress_of(array: Array, elements: Iterable[Job]) -> Progress:
    """Return how far an array is, by its elements, live and finished ones; those that are not among them were taken
    back.
    """
    progress = Progress(array)
    for job in elements:
        progress = advanced(progress, arrives=True, job=job)
    for _ in range(array.count - progress.arrived):
        progress = advanced(progress, arrives=True, job=None)
    return progress


def taken_in(arrays: Arrays, element: Element, *, arrives: bool, job: Job | None) -> Arrays:
    """Return the arrays after an element arrived or ended; an array that is over is no longer there."""
    id_ = element.array.id
    progress = advanced(arrays.get(id_) or Progress(element.array), arrives=arrives, job=job)
    return arrays.discard(id_) if progress.is_over else arrays.set(id_, progress)
