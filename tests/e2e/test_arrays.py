"""Arrays, as a user has them: one file, many jobs, whatever is killed in between."""

import json
import os

from jqsched.adapters.store.fsck import audit
from tests.e2e.conftest import Daemon, until


def test_an_array_and_what_waits_for_it(daemon: Daemon) -> None:
    """Placeholders and variables; dependencies on all elements; one file until the last has ended."""
    (daemon.elsewhere / "names.txt").write_text("ann\nbob\n")
    show = 'printf "%s " "$JQSCHED_ARRAY_ID" "$JQSCHED_ARRAY_INDEX" "$JQSCHED_ARRAY_COUNT" "$JQSCHED_ARRAY_VALUE"'
    here = str(daemon.elsewhere)
    daemon.drop("a.json", {"name": "sweep", "array": "1-5:2", "script": show, "output": "{index}.out", "cwd": here})
    daemon.drop(
        "b.json",
        {"name": "each", "each": {"file": "names.txt"}, "command": ["echo", "hi {value}"], "cwd": here}
        | {"output": "{value}.{id}.out"},
    )
    daemon.drop("c.json", {"name": "both", "after": ["sweep", "each"], "command": ["true"]})
    daemon.start("--max-running", "2")
    daemon.wait(6)
    assert (daemon.elsewhere / "3.out").read_text() == "1 3 3  "
    assert (daemon.elsewhere / "bob.5.out").read_text() == "hi bob\n"
    assert {id_: job.success for id_, job in daemon.by_id().items()} == dict.fromkeys(range(1, 7), True)
    until(lambda: not os.listdir(daemon.spool / "jobs"))
    assert daemon.stop() == 0
    assert audit(str(daemon.spool)) == []


def test_an_array_outlives_its_scheduler(daemon: Daemon) -> None:
    """Killed while its elements run: the others run once each; its file is edited and deleted meanwhile."""
    ran, go = daemon.elsewhere / "ran", daemon.elsewhere / "go"
    wait = f"echo $JQSCHED_ARRAY_INDEX >> {ran}; until test -e {go}; do sleep 0.01; done"
    job = {"name": "sweep", "array": "0-7%2", "script": wait}
    daemon.drop("a.json", job)
    daemon.start("--max-running", "4")
    until(lambda: ran.exists() and len(ran.read_text().split()) == 2)
    daemon.kill()
    file = daemon.spool / "jobs" / "1.json"
    new = daemon.spool / "jobs" / ".new"
    new.write_text(json.dumps(job | {"script": f"echo edited-$JQSCHED_ARRAY_INDEX >> {ran}"}))
    new.rename(file)
    daemon.start("--max-running", "4")
    go.touch()
    daemon.wait(8)
    assert sorted(ran.read_text().split()) == ["0", "1", *(f"edited-{index}" for index in range(2, 8))]
    go.unlink()
    daemon.drop("b.json", job)
    until(lambda: len(ran.read_text().split()) == 10)
    (daemon.spool / "jobs" / "9.json").unlink()
    until(lambda: daemon.by_id()[16].result is not None, "the elements that wait to be canceled")
    go.touch()
    daemon.wait(16)
    results = [daemon.by_id()[id_].result.name for id_ in range(9, 17)]
    assert results == ["COMPLETED"] * 2 + ["CANCELED"] * 6


def test_a_full_queue_takes_an_array_whole_or_not_at_all(daemon: Daemon) -> None:
    """It waits in the drop zone until there is room for all of it; one that is larger than the queue is refused."""
    (daemon.spool / "jqsched.toml").write_text("queue_max = 5\n")
    go = daemon.elsewhere / "go"
    daemon.drop("a.json", {"name": "first", "array": "1-3", "script": f"until test -e {go}; do sleep 0.01; done"})
    daemon.drop("b.json", {"name": "second", "array": "1-4", "command": ["true"]})
    daemon.drop("c.json", {"name": "third", "array": "1-6", "command": ["true"]})
    daemon.start("--max-running", "1")
    until(lambda: "an array of 4 jobs waits in the drop zone" in daemon.said.read_text())
    assert (daemon.spool / "b.json").exists()
    until(lambda: set(daemon.jobs()) == {"first"})
    go.touch()
    daemon.wait(7)
    until((daemon.spool / "rejected" / "c.json.reason").exists)
    reason = (daemon.spool / "rejected" / "c.json.reason").read_text()
    assert "array: 6 elements; queue_max is 5" in reason


def test_a_command_for_all_elements(daemon: Daemon) -> None:
    """Asked at once, answered for each; what runs is stopped."""
    daemon.drop("a.json", {"name": "sweep", "array": "0-9%2", "command": ["sleep", "1000"]})
    daemon.start("--max-running", "2")
    until(lambda: 2 in daemon.by_id() and daemon.by_id()[2].started)
    done = daemon.command("cancel", "1")
    assert done.returncode == 0
    assert "job 1: is being stopped" in done.stderr
    assert "job 10: canceled before it started" in done.stderr
    daemon.wait(10)
    assert {job.result.name for job in daemon.by_id().values()} == {"CANCELED"}
