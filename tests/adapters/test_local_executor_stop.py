"""The real executor: a stop reaches all that descends from a job, a signal its group; the executor outlives both."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jqsched.testing.contracts.executor import finished, started
from tests.adapters.executor_case import marked, pid_in, run
from tests.ports.executor_contract import LocalRig, alive, until


def test_what_a_job_leaves_behind_lives_on_unless_it_is_stopped(rig: LocalRig):
    left = rig.spool / "left"
    run(rig, f"setsid sh -c 'echo $$ > {left}; exec sleep 1000' &\nwhile [ ! -s {left} ]; do :; done")
    pid = pid_in(left)
    run(rig, "true", 2)
    assert alive(pid)


def test_stop_reaches_all_that_descends_from_a_job(rig: LocalRig):
    """Another session, an emptied environment, an orphan, one that ignores TERM: the slot is free when all are gone."""
    texts = {
        "session": "exec setsid sleep 1000",
        "stripped": "exec env -i sleep 1000",
        "orphan": "(setsid sleep 1000 &) & exec sleep 1000",
        "stubborn": "trap '' TERM; while :; do sleep 0.05; done",
    }
    script = "".join(f"(echo $(sh -c 'echo $PPID') > {name}; {text}) &\n" for name, text in texts.items())
    rig.executor.start([rig.script(1, script + "wait")])
    pids = {name: pid_in(rig.spool / name) for name in texts}
    until(lambda: Path(f"/proc/{pids['stubborn']}/task/{pids['stubborn']}/children").read_text())
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == (128 + signal.SIGTERM) << 8
    assert not any(alive(pid) for pid in pids.values())
    assert not marked(rig, 1)


def test_a_job_that_is_stopped_sees_that_it_is_to_end(rig: LocalRig):
    """Seen to fail: TERM waited behind SIGSTOP until the grace was over."""
    rig.executor.start([rig.script(1, "trap 'exit 3' TERM; echo $$ > pid; while :; do sleep 0.01; done")])
    started(rig, 1)
    pid = pid_in(rig.spool / "pid")
    rig.executor.signal(1, 1, signal.SIGSTOP)
    # D: its child was stopped between vfork and exec, and it waits for that.
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TD")
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == 3 << 8


def test_stop_reaches_what_is_hardly_known_any_more(rig: LocalRig):
    """One without marks, session or parent, that was seen before; and one without marks that was born after TERM."""
    text = """
        setsid env -i sh -c 'trap "" TERM; echo $$; while :; do sleep 0.05; done' > seen &
        trap 'env -i sleep 1000 & echo $! > late; exit 0' TERM
        while :; do sleep 0.05; done
    """
    rig.executor.start([rig.script(1, text)])
    seen = pid_in(rig.spool / "seen")
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == 0
    assert not alive(seen)
    assert not alive(pid_in(rig.spool / "late"))


@pytest.mark.parametrize(
    "daemon",
    [
        "(setsid env -i sleep 1000 & echo $! > pid)",
        "env -i setsid sh -c 'sleep 1000 & echo $! > pid'",
        "env -i setsid sh -c 'exec 0<&- 1>&- 2>&-; (setsid sleep 1000 & echo $! > pid) &'",
    ],
)
def test_stop_reaches_what_was_never_seen_and_left_session_parent_and_environment(rig: LocalRig, daemon: str):
    """And what another attempt left behind in the same way is left alone."""
    rig.executor.start(
        [rig.script(1, f"{daemon}; sleep 1000"), rig.script(2, "env -i setsid sleep 1000 & echo $! > other")]
    )
    pid, other = pid_in(rig.spool / "pid"), pid_in(rig.spool / "other")
    finished(rig, 2)
    rig.executor.stop(1, 1)
    finished(rig, 1)
    assert not alive(pid)
    assert alive(other)


MARKS = """
import os, resource, sys
from jqsched.adapters.executors.local.mark import Marker
spool, other = (os.open(path, os.O_RDONLY) for path in sys.argv[1:3])
if sys.argv[3]:
    resource.setrlimit(10, (0, int(sys.argv[3])))
def child(marker):
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        return marker.look(pid)
    finally:
        os.kill(pid, 9)
outer = Marker(spool)
outer.put((7, 3), ranked=True)
print(child(outer))
for folder in (spool, other):  # schedulers that this job runs, the second one in the first one
    inner = Marker(folder)
    inner.clear()
    print(outer.look(os.getpid()))
inner.put((2**60, 1), ranked=False)  # does not fit
print(child(inner))
inner.put((7, 4), ranked=False)
print(child(inner), child(outer), outer.look(1))
"""


@pytest.mark.parametrize(
    ("lowered", "printed"),
    [
        ("", ["((7, 3), True)", "None", "None", "None", "((7, 4), False) None None"]),
        ("1024", ["None", "None", "None", "None", "None None None"]),
    ],
)
def test_marks_of_a_scheduler_within_a_job_are_its_own(tmp_path: Path, lowered: str, printed: list[str]):
    """And where another program has lowered the limit there are none."""
    other = tmp_path / "other"
    other.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MARKS, tmp_path, other, lowered], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.splitlines() == printed


def test_a_signal_goes_to_the_group(rig: LocalRig):
    rig.executor.start([rig.script(1, "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done")])
    started(rig, 1)
    rig.wait_until_ready(1)
    rig.executor.signal(1, 1, signal.SIGUSR1)
    end = finished(rig, 1)[0]
    assert end.status == 3 << 8
    assert "got" in rig.output(1).read_text()


def test_the_executor_heeds_no_signal_but_kill(rig: LocalRig):
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(rig.executor._child, signum)
    assert run(rig, "echo on") == "on\n"
