"""A spool that was copied, moved, or put back: who may serve it, and what becomes of what ran."""

import subprocess
from pathlib import Path

from tests.e2e.conftest import Daemon, until


def test_a_copy_is_refused_until_it_is_adopted_and_touches_no_job_of_the_original(daemon: Daemon, tmp_path: Path):
    """With the path of the original and the way out, in one line; adopted, what ran counts as interrupted, though a
    process with its pid and start time is alive: it is the original's, and is neither adopted nor signalled.
    """
    daemon.start()
    ran = daemon.elsewhere / "ran"
    go = daemon.elsewhere / "go"
    daemon.drop("long.json", {"name": "long", "script": f"echo x >> {ran}; until test -e {go}; do sleep 0.02; done"})
    until(lambda: "long" in daemon.jobs() and daemon.jobs()["long"].started)
    (tmp_path / "copies").mkdir()
    copy = Daemon(tmp_path / "copies")
    subprocess.run(["cp", "-a", f"{daemon.spool}/.", str(copy.spool)], check=True)
    refused = copy.command("run")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"{copy.spool} is a copy of {daemon.spool}" in refused.stderr
    assert "--adopt" in refused.stderr
    try:
        copy.start("--adopt")
        until(lambda: (job := copy.jobs()["long"]).started and job.attempt == 2, "the copy to run it again")
        assert copy.request("cancel", id=1) == {"outcome": "stopping"}
        copy.wait(1)
        assert daemon.jobs()["long"].started
        go.touch()
        daemon.wait(1)
        assert daemon.jobs()["long"].status == 0
        assert copy.stop() == 0
        copy.start()  # at home now
        assert ran.read_text() == "x\nx\n"
    finally:
        copy.close()


def test_a_spool_that_was_moved_or_put_back_is_no_copy(daemon: Daemon) -> None:
    """`mv`; and a backup in the place of what it was taken of."""
    daemon.start()
    assert daemon.stop() == 0
    subprocess.run(["cp", "-a", str(daemon.spool), f"{daemon.elsewhere}/backup"], check=True)
    home = daemon.spool
    daemon.spool = home.rename(daemon.elsewhere / "moved")
    assert daemon.command("run", "--exit-when-idle").returncode == 0
    daemon.spool = home
    (daemon.elsewhere / "backup").rename(home)
    assert daemon.command("run", "--exit-when-idle").returncode == 0
