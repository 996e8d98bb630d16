"""Stay with jobs that were just submitted: wait for their ends, and show what they write meanwhile.

In: ids, and how much is wanted. Out: the exit status of `jqsched wait`, for the same reasons. Ctrl-C ends the waiting
and leaves the jobs alone; what was said then is how to come back.
"""

import enum
import errno
from collections.abc import Sequence
from contextlib import ExitStack

from jqsched.cli.failure import INTERRUPTED, Failure, explained, of_wait, refusal, tell
from jqsched.cli.follow import rest
from jqsched.cli.output import LOG_POLL_S, JobOutput
from jqsched.cli.target import Place, ask_scheduler, known_job, reading
from jqsched.cli.wait import await_jobs, tell_ends
from jqsched.client.connection import NoScheduler
from jqsched.core.job import State

_NAMED_MAX = 10  # ids in the line that says how to come back


class Attention(enum.Enum):
    """How long to stay with a job, and what to show of it."""

    NONE = "print the id"
    WAIT = "wait for the end"
    FOLLOW = "show the output, too"

    @staticmethod
    def of(*, wait: bool, follow: bool) -> "Attention":
        """Return what these options ask for."""
        return Attention.FOLLOW if follow else Attention.WAIT if wait else Attention.NONE


def attend(where: Place, ids: Sequence[int], attention: Attention) -> int:
    """Stay with jobs until all are finished; return the exit status that `wait` has for them."""
    try:
        if attention is Attention.FOLLOW:
            _check_served(where)
            return _follow(where, ids)
        return await_jobs(where, ids)
    except KeyboardInterrupt:
        _tell_how_to_come_back(ids)
        return INTERRUPTED
    except BrokenPipeError:  # no reader is left: the end of the command, not of the job
        raise
    except (Failure, OSError) as error:
        raise of_wait(explained(error)) from None


def _check_served(where: Place) -> None:
    try:
        if ask_scheduler(where.root) is not None:
            return
    except TimeoutError:
        return  # there is one
    raise refusal(NoScheduler(errno.EHOSTDOWN, "no scheduler serves this spool"), "follow")


def _tell_how_to_come_back(ids: Sequence[int]) -> None:
    named = " ".join(map(str, ids[:_NAMED_MAX])) + (" …" if len(ids) > _NAMED_MAX else "")
    jobs = f"job {named} goes" if len(ids) == 1 else f"jobs {named} go"
    show = f", `jqsched log -f {ids[0]}` shows its output" if len(ids) == 1 else ""
    tell(f"{jobs} on: `jqsched wait {named}` waits{show}, `jqsched cancel {named}` ends {'it' if show else 'them'}")


def _follow(where: Place, ids: Sequence[int]) -> int:
    """Print what jobs write as it comes; of several, the id before each line."""
    with reading(where) as reader, ExitStack() as stack:
        jobs = {id_: known_job(reader, id_) for id_ in ids}
        labels = {id_: f"{id_}: " if len(jobs) > 1 else "" for id_ in ids}
        outputs = {id_: stack.enter_context(JobOutput(where, job, label=labels[id_])) for id_, job in jobs.items()}
        left = list(ids)
        while True:
            found = reader.jobs(left)  # before the output is read: what a job wrote last comes before its end
            jobs.update(found)
            for id_ in left:
                outputs[id_].print_new(jobs[id_])
            left = [id_ for id_ in left if id_ in found and found[id_].state is not State.INACTIVE]
            if not left:
                break
            rest(LOG_POLL_S)
    with reading(where) as reader:
        return tell_ends([known_job(reader, id_) for id_ in ids])
