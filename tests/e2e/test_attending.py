"""`submit --wait` and `--follow` with a real scheduler and real jobs."""

import signal
import subprocess
import sys

from tests.e2e.conftest import PATIENCE_S, Daemon


def test_a_submission_is_waited_for_followed_and_left_alone(daemon: Daemon) -> None:
    daemon.start()
    waited = daemon.command("submit", "--wait", "--", "sh", "-c", "exit 3")
    assert (waited.returncode, waited.stdout) == (3, "1\n")
    assert "job 1 (sh): FAILED (exit 3)" in waited.stderr
    followed = daemon.command("submit", "--follow", "--", "sh", "-c", "echo one; echo two >&2")
    assert (followed.returncode, followed.stdout, followed.stderr) == (0, "one\ntwo\n", "jqsched: job 2\n")

    gate = daemon.elsewhere / "gate"
    line = [sys.executable, "-m", "jqsched", "submit", "--spool", str(daemon.spool), "--follow", "--"]
    line += ["sh", "-c", f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "begun\n"
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=PATIENCE_S)
        assert following.returncode == 130
    assert "job 3 goes on: `jqsched wait 3` waits" in said
    gate.touch()
    assert daemon.command("wait", "3").returncode == 0, "Ctrl-C did not reach the job"
