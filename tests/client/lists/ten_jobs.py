"""What tests of lists share: a spool with ten jobs in all that a job can be, and the ids of a list."""

import copy
import shutil
from pathlib import Path

from jqsched import Handle
from jqsched.constants import FLUX_USERID_UNKNOWN
from jqsched.job import JobListRPC, job_list
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, TIMED_OUT, SpoolMaker, failed

EVERYBODY = FLUX_USERID_UNKNOWN


def write(root: Path) -> SpoolMaker:
    """1 completed, 2 failed, 3 canceled, 4 timeout, 5 and 6 running, 7 queued, 8 queued higher, 9 waits, 10 held."""
    spool = SpoolMaker(root, None)
    spool.add(*COMPLETED, name="build")
    spool.add(*failed(3 << 8), name="build", jobspec={"attributes": {"system": {"queue": "batch"}}})
    spool.add(*CANCELED)
    spool.add(*TIMED_OUT)
    spool.add(*STARTED, name="build")
    spool.add(*STARTED)
    spool.add(*QUEUED)
    spool.add("validate", "depend", ("priority", {"priority": 500}))
    spool.add(("dependency-add", {"description": "after-success=5"}), "validate")
    spool.add(*QUEUED, ("urgency", {"urgency": 0, "userid": 0}), ("priority", {"priority": 0}))
    return spool


def copied(written: SpoolMaker, root: Path) -> SpoolMaker:
    """A copy of it, which may be gone on with."""
    spool = copy.copy(written)
    spool.root, spool.jobs = root, dict(written.jobs)
    shutil.copytree(written.root, spool.root)
    return spool


IN_ORDER = [8, 7, 9, 10, 6, 5, 4, 3, 2, 1]


def ids(rpc: JobListRPC) -> list[int]:
    return [job["id"] for job in rpc.get_jobs()]


def everybody_s(handle: Handle, **how: object) -> list[int]:
    return ids(job_list(handle, userid=EVERYBODY, **how))
