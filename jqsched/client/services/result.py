"""`job-info.result`: the first of some jobs that is over, as a document; waits until one is.

Rule: jobs are answered in the order in which they ended. Ours: Flux follows the event log of each job for it.
"""

import errno
from collections.abc import Iterator
from os import uname

from jqsched.client.services import payload as reading
from jqsched.client.store_channel import PAUSE, Call, Pause
from jqsched.core.attributes import ATTRIBUTES, job_attributes
from jqsched.future import Payload


def result(call: Call) -> Iterator[Payload | Pause]:
    """Answer with the first of the jobs `ids` to end.

    Raises: EPROTO; ENOENT when none of them is known (any more).
    Cost: a look at each of the jobs whenever something was committed.
    """
    ids = reading.many(reading.job_id)("ids", reading.given(call).get("ids"))
    while True:
        reader = call.records.reader()
        known = reader.known(ids)  # first: one that is purged when it has ended is not missed, but told as unknown
        job = reader.first_ended(ids)
        if job is not None:
            notes = reader.notes()(job.id)
            yield {"job": job_attributes(job, ATTRIBUTES, uname().nodename, notes)}
            return
        if not known:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        yield PAUSE
