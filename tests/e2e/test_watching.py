"""The watcher is real, and so are the scans, and so are the functions: take one away and see what goes on."""

import json

from tests.e2e.conftest import NO_SCAN, Daemon, until

NO_WATCHER = """
from jqsched.adapters import watcher
watcher.FolderWatcher.start = watcher.FolderWatcher.ensure = lambda self: False
"""
OVERFLOWED = """
from jqsched.adapters import watcher
watcher._DropBell.ring = watcher._JobsBell.ring = lambda self, mask, name: False
"""
DEAD_THREAD = """
from jqsched.adapters import watcher
def die(self):
    raise SystemExit
watcher._Reader.run = die
"""
NO_SELECT = """
from jqsched.core import policy
policy.select = lambda queue, limits: ()
"""


def _drop_edit_delete(daemon: Daemon) -> None:
    """A drop, an edit and a deletion, each seen to take effect."""
    daemon.drop("edited.json", {"name": "edited", "command": ["true"], "urgency": 0})
    daemon.drop("deleted.json", {"name": "deleted", "command": ["true"], "urgency": 0})
    until(lambda: len(daemon.jobs()) == 2, "both drops")
    jobs = daemon.jobs()
    new = daemon.spool / "jobs" / ".edit"
    new.write_text(json.dumps({"name": "edited", "command": ["true"], "urgency": 16}))
    new.rename(daemon.spool / "jobs" / f"{jobs['edited'].id}.json")
    (daemon.spool / "jobs" / f"{jobs['deleted'].id}.json").unlink()
    daemon.wait(2)
    jobs = daemon.jobs()
    assert jobs["edited"].success
    assert jobs["deleted"].exception is not None
    assert jobs["deleted"].exception.type == "cancel"


def test_without_scans_the_watcher_sees_it_all(daemon: Daemon) -> None:
    """With the periodic scan off, a drop, an edit and a deletion take effect through watchdog."""
    daemon.start(patch=NO_SCAN)
    _drop_edit_delete(daemon)


def test_without_a_watcher_the_scan_sees_it_all(daemon: Daemon) -> None:
    """With no watcher at all they take effect through the scan."""
    (daemon.spool / "jqsched.toml").write_text("scan_s = 0.2\n")
    daemon.start(patch=NO_WATCHER)
    _drop_edit_delete(daemon)


def test_with_the_watchers_thread_dead_the_scan_sees_it_all(daemon: Daemon) -> None:
    """An observer thread that has ended loses nothing, and is reported."""
    (daemon.spool / "jqsched.toml").write_text("scan_s = 0.2\n")
    daemon.start(patch=DEAD_THREAD)
    _drop_edit_delete(daemon)
    assert "watcher" in daemon.said.read_text()


def test_with_every_event_lost_the_scan_sees_it_all(daemon: Daemon) -> None:
    """An overflowed queue drops events without a word."""
    (daemon.spool / "jqsched.toml").write_text("scan_s = 0.2\n")
    daemon.start(patch=OVERFLOWED)
    _drop_edit_delete(daemon)


def test_without_the_cores_select_nothing_starts(daemon: Daemon) -> None:
    """The daemon has no other way to choose: with `select` answering nothing, it starts nothing."""
    daemon.start(patch=NO_SELECT)
    daemon.drop("a.json", {"name": "a", "command": ["true"]})
    until(lambda: "a" in daemon.jobs())
    daemon.drop("b.json", {"name": "b", "command": ["true"], "urgency": 31})
    until(lambda: "b" in daemon.jobs())
    assert [job.t_run_us for job in daemon.jobs().values()] == [0, 0]


def test_an_edit_takes_effect_at_once_on_an_idle_scheduler(daemon: Daemon) -> None:
    """Nothing else wakes it: no scan, no request.

    Seen to fail: the edit was noted by the turn that it woke, and looked at in the next, which came with a scan.
    """
    daemon.start(patch=NO_SCAN)
    daemon.drop("job.json", {"name": "job", "command": ["true"], "urgency": 0})
    until(lambda: "job" in daemon.jobs())
    file = daemon.spool / "jobs" / f"{daemon.jobs()['job'].id}.json"
    file.with_name(".edit").write_text('{"name": "job", "command": ["true"], "urgency": 1}')
    file.with_name(".edit").rename(file)
    until(lambda: daemon.jobs()["job"].success)


def test_an_invalid_edit_keeps_the_last_good_form(daemon: Daemon) -> None:
    """The reason is written beside the file, and goes away with the next good edit."""
    daemon.start()
    daemon.drop("job.json", {"name": "job", "command": ["true"], "urgency": 0})
    until(lambda: "job" in daemon.jobs())
    file = daemon.spool / "jobs" / f"{daemon.jobs()['job'].id}.json"
    reason = file.with_name(f"{file.name}.reason")
    file.with_name(".edit").write_text('{"name": "job", "command": ["true"], "urgency": 99}')
    file.with_name(".edit").rename(file)
    until(reason.exists, "the reason")
    assert "urgency" in reason.read_text()
    assert daemon.jobs()["job"].urgency == 0
    file.with_name(".edit").write_text('{"name": "job", "command": ["true"], "urgency": 1}')
    file.with_name(".edit").rename(file)
    daemon.wait(1)
    assert not reason.exists()


def test_edits_and_deletions_while_it_was_down_take_effect_first(daemon: Daemon) -> None:
    """Nothing starts in its old form, and nothing that was deleted starts at all."""
    ran = daemon.elsewhere / "ran"
    for name in ("edited", "deleted"):
        daemon.drop(f"{name}.json", {"name": name, "script": f"echo old-{name} >> {ran}"})
    daemon.start(patch=NO_SELECT)
    until(lambda: len(daemon.jobs()) == 2)
    daemon.stop()
    jobs = daemon.jobs()
    (daemon.spool / "jobs" / f"{jobs['deleted'].id}.json").unlink()
    edited = daemon.spool / "jobs" / f"{jobs['edited'].id}.json"
    edited.write_text(json.dumps({"name": "edited", "script": f"echo new >> {ran}"}))
    daemon.start()
    daemon.wait(2)
    assert ran.read_text() == "new\n"


def test_a_change_of_the_configuration_is_picked_up(daemon: Daemon) -> None:
    """Valid: at once. Invalid: the last good values hold, and `status` says so."""
    daemon.start()
    config = daemon.spool / "jqsched.toml"
    config.write_text("max_running = 7\n")
    until(lambda: daemon.request("status")["max_running"] == 7)
    config.write_text("max_runing = 9\n")
    until(lambda: daemon.request("status")["warnings"])
    status = daemon.request("status")
    assert status["max_running"] == 7
    assert "max_running" in str(status["warnings"])
