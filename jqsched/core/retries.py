"""Retries: whether a failed attempt is followed by another, why, and after what delay; and that of one put off.

In: a job whose attempt has failed, and how. Out: a note for its log (None: no retry), or a delay. Pure; a decision of
`core.decide` is made before anything is posted of the attempt's end, so that a job's log has one `finish` at most.
"""

import math
from zlib import crc32

from jqsched.core.job import Dependency, Job, Scheme, describe_begin_time, read_wait

PUT_OFF = "put-off"  # the type of an exception of severity 3: the attempt could not be begun, and another will be
SIGNAL, TIMEOUT = "signal", "timeout"
_SIGNALS = range(129, 193)  # exit codes that say: ended by signal number code - 128
_PUT_OFF_US, _PUT_OFF_MOST_US = 1_000_000, 60_000_000
_JITTER = 10  # the delay is made longer by up to this part of it


def note_of_failure(job: Job, status: int) -> str | None:
    """Say that an attempt that ended with this wait status is retried: `exit 75, 2 of 3`; None when it is not."""
    code = status >> 8
    if not status:
        return None
    kinds, failure = ((code, SIGNAL), f"signal {code - 128}") if code in _SIGNALS else ((code,), f"exit {code}")
    return _note(job, kinds, failure)


def note_of_timeout(job: Job) -> str | None:
    """Say that an attempt that used up its time limit is retried; None when it is not."""
    return _note(job, (TIMEOUT,), TIMEOUT)


def _note(job: Job, kinds: tuple[int | str, ...], failure: str) -> str | None:
    wanted = job.spec.retries
    if wanted is None or job.retried >= wanted.max or (wanted.on and not set(kinds) & set(wanted.on)):
        return None
    return f"{failure}, {job.retried + 1} of {wanted.max}"


def delay_us(job: Job) -> int:
    """Return how long a job waits before the retry that was decided last.

    Shape:  `delay * factor ** (retry - 1)`, at most `max_delay`, and up to a tenth more: by a hash of id and attempt,
            so that jobs that failed together do not come back together, and a replay finds the same.
    """
    wanted = job.spec.retries
    if wanted is None or not wanted.delay_us or not job.retried:
        return 0
    growth = (job.retried - 1) * math.log(wanted.factor)  # compared as logarithms: the power itself may overflow
    is_within = growth < math.log(max(1.0, wanted.max_delay_us / wanted.delay_us))
    grown = wanted.delay_us * wanted.factor ** (job.retried - 1) if is_within else wanted.max_delay_us
    base_us = min(round(grown), wanted.max_delay_us)
    return _jittered(job, base_us)


def put_off_us(job: Job) -> int:
    """Return how long a job waits whose attempt could not be begun: a second, longer with each attempt, and at most a
    minute.
    """
    return _jittered(job, min(_PUT_OFF_US << min(job.attempt - 1, 6), _PUT_OFF_MOST_US))


def _jittered(job: Job, base_us: int) -> int:
    share = crc32(f"{job.id} {job.attempt}".encode()) / 2**32
    return base_us + int(base_us * share / _JITTER)


def is_backoff(job: Job, description: str) -> bool:
    """Whether a job waits for this because of its last attempt: a begin time that its file does not ask for."""
    if job.attempt == 1:
        return False
    wait = read_wait(description)
    asked = (_begin_time(dependency) for dependency in job.spec.dependencies)
    return wait is not None and wait.scheme is Scheme.BEGIN_TIME and description not in asked


def _begin_time(dependency: Dependency) -> str | None:
    is_one = dependency.scheme == Scheme.BEGIN_TIME.value and isinstance(dependency.value, int)
    return describe_begin_time(dependency.value) if is_one and isinstance(dependency.value, int) else None


def describe_backoff(job: Job, description: str, now_us: int) -> str | None:
    """Say what comes after this wait, and when: `retry 2 of 3 in 8 s`; None where no attempt came before it.

    `now_us` 0: the time is not known.
    """
    wait = read_wait(description)
    if wait is None or not isinstance(wait.target, int) or not is_backoff(job, description):
        return None
    when = f" in {max(0, -((now_us - wait.target) // 1_000_000))} s" if now_us else f", {description}"
    return f"{phase(job)}{when}"


def phase(job: Job) -> str:
    """Say which retry is next, or runs: `retry 2 of 3`; of a job that is not retried, why its start was put off."""
    told = job.exception
    if told is not None and told.type == PUT_OFF:
        return f"{told.note}; another try"
    if not job.retried:
        return "its start was put off; another try"
    most = job.spec.retries.max if job.spec.retries is not None else job.retried
    return f"retry {job.retried} of {max(most, job.retried)}"
