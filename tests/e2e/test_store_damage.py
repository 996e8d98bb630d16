"""A store in which a bit was flipped, from outside: one line that says what and what to do, and nothing is run."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.adapters.store_damage import flip
from tests.e2e.conftest import Daemon, until


def test_commits_lost_in_the_log_of_a_killed_scheduler_are_refused_until_somebody_says_so(daemon: Daemon):
    """SQLite would go on with what was before the flipped bit, and the same ids would be given out again.

    With the way out that is named it goes on, and `check-spool` still says that there was more.
    """
    daemon.start()
    for number in range(1, 5):
        daemon.drop(f"{number}.json", {"command": ["true"]})
        daemon.wait(number)
    daemon.kill()
    store = daemon.spool / "jqsched.db"
    log = Path(f"{store}-wal")
    flip(log, 8 * (log.stat().st_size // 2))
    checked, run = daemon.command("check-spool"), daemon.command("run", "--exit-when-idle")
    (line,) = checked.stdout.splitlines()
    assert line.startswith(f"{log}: damaged at frame ")
    assert (checked.returncode, run.returncode) == (1, 1)
    assert run.stderr == f"jqsched: {line}\n"
    way_out = re.search(r'"(PRAGMA .*)"', line)
    assert way_out
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(way_out[1])
    run = daemon.command("run", "--exit-when-idle")
    assert run.returncode == 0
    assert "of a job that the store does not know" in run.stdout + run.stderr


def test_a_job_whose_command_is_damaged_does_not_run_until_the_table_is_made_anew(daemon: Daemon):
    """Then it runs as it was dropped."""
    ran = daemon.elsewhere / "ran"
    daemon.drop("a.json", {"name": "a", "script": f"echo right > {ran}"})
    assert daemon.command("drain").returncode == 0
    daemon.start()
    until(lambda: "a" in daemon.jobs())
    assert daemon.stop() == 0
    with closing(sqlite3.connect(daemon.spool / "jqsched.db")) as store:
        store.execute("UPDATE jobs SET spec = replace(spec, 'right', 'wrong')")
        store.commit()
    for command in (("run", "--exit-when-idle"), ("hold", "1")):
        refused = daemon.command(*command)
        assert refused.returncode == 1
        assert "damaged (jobs 1: not as it was written)" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert "job 1 is not in the job table as its events say" in daemon.command("check-spool").stdout
    assert daemon.command("check-spool", "--rebuild").returncode == 0
    for command in (("resume",), ("run", "--exit-when-idle")):
        assert daemon.command(*command).returncode == 0
    assert ran.read_text() == "right\n"
