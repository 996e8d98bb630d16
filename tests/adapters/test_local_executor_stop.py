"""The real executor: a stop reaches all that descends from a job, a signal its group; the executor outlives both."""

import os
import signal
from pathlib import Path

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
