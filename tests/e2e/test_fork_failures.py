"""The machine has no room for another process: what waits, what fails, what ends; nothing is lost."""

import json

from tests.e2e.conftest import Daemon, until

# In the executor process: posix_spawn fails so often, or from the second task on.
NO_ROOM = """
from jqsched.adapters.executors.local import client as local
local._BOOT = '''
import os
def _limit(real, failures):
    def spawn(*arguments, **keywords):
        {decide}
        if failures:
            raise OSError(failures.pop(), "no room", arguments[0])
        return real(*arguments, **keywords)
    os.posix_spawn = spawn
_limit(os.posix_spawn, {failures})
''' + local._BOOT
"""
AGAIN, NO_MEMORY, NO_ACCESS = 11, 12, 13


def test_a_job_waits_while_there_is_no_room_for_a_process(daemon: Daemon) -> None:
    """EAGAIN or ENOMEM: it stays first in its order, is tried again with a delay, and nothing of it is an attempt."""
    daemon.start("--max-running", "1", patch=NO_ROOM.format(decide="pass", failures=[AGAIN, NO_MEMORY]))
    ran = daemon.elsewhere / "ran"
    for name, urgency in (("first", 20), ("second", 10)):
        daemon.drop(f"{name}.json", {"name": name, "urgency": urgency, "script": f"echo {name} >> {ran}"})
    daemon.wait(2)
    assert ran.read_text() == "first\nsecond\n"
    assert [(job.status, job.attempt, job.interruptions) for job in daemon.jobs().values()] == [(0, 1, 0)] * 2


def test_a_job_that_waits_for_room_can_be_canceled_and_survives_kills(daemon: Daemon) -> None:
    """Its order is given up like any other that has not started; the next scheduler and executor run the rest."""
    daemon.start("--max-running", "1", patch=NO_ROOM.format(decide="pass", failures=[AGAIN] * 1000))
    for name in ("gone", "kept"):
        daemon.drop(f"{name}.json", {"name": name, "command": ["true"]})
    until(lambda: len(daemon.jobs()) == 2, "both to be accepted")
    assert daemon.request("cancel", id=daemon.jobs()["gone"].id) == {"outcome": "dequeued"}
    daemon.kill()
    until(lambda: (daemon.spool / "jqsched-executor.lock").read_text() == "ended\n", "the executor to end")
    daemon.start()
    daemon.wait(2)
    jobs = daemon.jobs()
    assert "start" not in daemon.events(jobs["gone"].id)
    assert (jobs["kept"].status, jobs["kept"].attempt) == (0, 1)


def test_of_several_tasks_none_is_left_alone(daemon: Daemon) -> None:
    """Where only some of a job's processes can be started it fails, says why, and those that run are ended."""
    decide = "count = _limit.count = getattr(_limit, 'count', 0) + 1; failures = [11] if count > 1 else []"
    daemon.start(patch=NO_ROOM.format(decide=decide, failures=[]))
    document = {
        "version": 1,
        "resources": [{"type": "slot", "count": 2, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": ["sleep", "1000"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 0, "cwd": str(daemon.elsewhere), "job": {"name": "pair"}}},
    }
    daemon.drop("pair.json", json.dumps(document))
    daemon.wait(1)
    job = daemon.jobs()["pair"]
    assert job.status == 126 << 8
    assert job.exception is not None
    assert "task 1" in job.exception.note
    assert "Resource temporarily unavailable" in job.exception.note


# In the scheduler: there is no room for an executor so often; between two tries it need not wait so long here.
NO_EXECUTOR = """
import os
from jqsched.adapters.executors.local import client as local
local._AGAIN_S, local._PATIENCE_S = 0.01, {patience_s}
def limited(*arguments, real=os.posix_spawn, failures=[{code}] * {times}, **keywords):
    if failures:
        code = failures.pop()
        raise OSError(code, os.strerror(code))
    return real(*arguments, **keywords)
os.posix_spawn = limited
"""


def test_without_room_for_the_executor_the_scheduler_waits_for_some(daemon: Daemon) -> None:
    """It says why, once, and goes on by itself."""
    daemon.start(patch=NO_EXECUTOR.format(code=AGAIN, times=3, patience_s=30))
    daemon.drop("a.json", {"name": "a", "command": ["true"]})
    daemon.wait(1)
    assert daemon.said.read_text().count("Resource temporarily unavailable: trying again") == 1


def test_if_there_stays_no_room_for_the_executor_the_scheduler_says_so_and_ends(daemon: Daemon) -> None:
    """With 1; what was dropped waits for the next start. A fault that does not pass is not waited for."""
    daemon.drop("a.json", {"name": "a", "command": ["true"]})
    for code, times in ((AGAIN, 10**6), (NO_ACCESS, 1)):
        daemon.start(patch=NO_EXECUTOR.format(code=code, times=times, patience_s=0.1), wait=False)
        assert daemon.process is not None
        assert daemon.process.wait(30) == 1
        *again, line = daemon.said.read_text().splitlines()
        daemon.said.write_text("")
        assert [told.rpartition(": ")[2] for told in again] == ["trying again"] * (code == AGAIN)
        assert "start the executor" in line
        assert "again" not in line
    daemon.start()
    daemon.wait(1)
    assert daemon.jobs()["a"].success
