"""What tests of the real executor share: scripts that are run, and what is seen of processes from outside."""

import fcntl
import os
from pathlib import Path

from jqsched.adapters.executors.local.wire import LOCK
from jqsched.testing.contracts.executor import finished
from tests.ports.executor_contract import LocalRig, until


def run(rig: LocalRig, text: str, id_: int = 1, **spec: object) -> str:
    """Run a script and return what it wrote; it must end well."""
    rig.executor.start([rig.script(id_, text, **spec)])
    end = finished(rig, id_)[0]
    assert (end.status, end.error) == (0, None)
    return rig.output(id_).read_text()


def pid_in(path: Path) -> int:
    """Wait for a pid that a job writes, and return it."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def lock_is_free(rig: LocalRig) -> bool:
    with (rig.spool / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def marked(rig: LocalRig, id_: int) -> list[int]:
    """Find living processes of a job by their environment."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"JQSCHED_SPOOL=" + os.fsencode(rig.spool) in words and b"JQSCHED_JOB_ID=%d" % id_ in words:
            found.append(int(name))
    return found
