"""Plugins as users have them: files of their own, loaded into a running scheduler or by its configuration. The ones in
`docs/examples/plugins` are run here, each for what its first line says.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jqsched import Handle, job
from jqsched.core.job import State
from tests.e2e.conftest import PATIENCE_S, Daemon, until

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "plugins"
HELD = {"urgency": 0, "command": ["true"]}


def own(daemon: Daemon, name: str, text: str | None = None) -> str:
    """A copy of an example, or a plugin of this text, that no other user can write to."""
    path = daemon.elsewhere / name
    path.write_text(text if text is not None else (EXAMPLES / name).read_text())
    path.chmod(0o600)
    return str(path)


def plugin(daemon: Daemon, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`jqsched plugin COMMAND`."""
    words = [sys.executable, "-m", "jqsched", "plugin", command, "--spool", str(daemon.spool), *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


# ---- the examples -------------------------------------------------------------------------------------------------


def test_jobs_over_a_user_limit_are_rejected(daemon: Daemon) -> None:
    daemon.start("--plugin", own(daemon, "user_limit.py") + " most=2")
    for number in range(3):
        daemon.drop(f"{number}.json", {"name": f"j{number}", **HELD})
    until(lambda: list((daemon.spool / "rejected").glob("*.reason")))
    (reason,) = (daemon.spool / "rejected").glob("*.reason")
    assert "has 2 jobs, as many as may be" in reason.read_text()
    refused = daemon.command("submit", "--", "true")
    assert refused.returncode != 0
    assert "as many as may be" in refused.stderr
    daemon.command("cancel", str(next(iter(daemon.jobs().values())).id))
    assert daemon.command("submit", "--", "true").returncode == 0


def test_priorities_age_with_time(daemon: Daemon) -> None:
    """Also those of jobs that were there before, and again each minute (here: 20 ms)."""
    text = (EXAMPLES / "age.py").read_text().replace("60.0", "0.02")
    daemon.drop("a.json", {"name": "a", "urgency": 3, "after": ["nobody"], "command": ["true"]})
    daemon.drop("b.json", {"name": "b", "urgency": 16, "cores": 1, "command": ["sleep", "60"]})
    daemon.drop("c.json", {"name": "c", "urgency": 3, "command": ["true"]})
    daemon.start("--max-running", "1")
    until(lambda: "b" in daemon.jobs() and daemon.jobs()["b"].started)
    assert daemon.jobs()["c"].priority == 3
    assert plugin(daemon, "load", own(daemon, "age.py", text), "points_per_minute=60000").returncode == 0
    until(lambda: daemon.jobs()["c"].priority > 3500, "it to age half a second")
    assert daemon.jobs()["a"].state is State.DEPEND


def test_a_priority_comes_late_from_a_service(daemon: Daemon) -> None:
    shares = daemon.elsewhere / "shares"
    shares.mkdir()
    (shares / "rich").write_text("900")
    daemon.start("--max-running", "1", "--plugin", own(daemon, "fair_share.py") + f" folder={shares}")
    daemon.drop("first.json", {"name": "first", "command": ["true"]})
    daemon.drop("rich.json", {"name": "rich", "command": ["true"]})
    until(lambda: len(daemon.jobs()) == 2)
    daemon.wait(2)
    assert {name: job.priority for name, job in daemon.jobs().items()} == {"first": 16, "rich": 900}


def test_a_job_waits_for_a_file(daemon: Daemon) -> None:
    wanted = daemon.elsewhere / "today.csv"
    text = (EXAMPLES / "file_exists.py").read_text().replace("EVERY_S = 1.0", "EVERY_S = 0.02")
    daemon.start("--plugin", own(daemon, "file_exists.py", text))
    depends = {"dependencies": [{"scheme": "file-exists", "value": str(wanted)}]}
    daemon.drop("a.json", {"name": "a", "command": ["true"], **depends})
    daemon.drop("b.json", {"command": ["true"], "dependencies": [{"scheme": "file-exists", "value": "here"}]})
    until(lambda: "a" in daemon.jobs())
    assert daemon.jobs()["a"].waits == (f"file-exists={wanted}",)
    assert f"file-exists={wanted}" in daemon.command("explain", "1").stdout
    daemon.kill()
    daemon.start("--plugin", own(daemon, "file_exists.py", text))
    assert daemon.jobs()["a"].state is State.DEPEND
    wanted.touch()
    daemon.wait(1)
    assert daemon.jobs()["a"].success
    assert "no absolute path" in (daemon.spool / "rejected" / "b.json.reason").read_text()


def test_a_service_answers_queries(daemon: Daemon) -> None:
    daemon.start()
    assert plugin(daemon, "load", own(daemon, "counts.py")).returncode == 0
    daemon.drop("a.json", {"name": "build", "command": ["true"]})
    daemon.drop("b.json", {"name": "build", "command": ["false"]})
    daemon.wait(2)
    assert daemon.request("counts.get", name="build") == {"completed": 1, "failed": 1}
    with pytest.raises(FileNotFoundError, match="no job named x has ended"):
        daemon.request("counts.get", name="x")
    said = json.loads(plugin(daemon, "query", "counts.py").stdout)
    assert said["counts"] == {"build": {"completed": 1, "failed": 1}}


# ---- what they say of jobs, and what they should not say -------------------------------------------------------------


NOTES = """
def note(p, topic, args):
    if args["state"] == 1:
        p.event_post(-1, "memo", {"who": "me"})
def plugin_init(p):
    p.add_handler("job.create", note)
    p.add_handler("job.state.sched", lambda p, topic, args: args.out.update(annotations={"user": {"step": 1}}))
"""


def test_what_a_plugin_notes_is_shown_by_all_that_show_a_job(daemon: Daemon) -> None:
    """Also by a scheduler, or none, that never met the plugin."""
    daemon.start("--plugin", own(daemon, "notes.py", NOTES))
    daemon.drop("a.json", {"name": "a", **HELD})
    until(lambda: "annotations" in daemon.events(1))
    daemon.kill()
    notes = {"user": {"who": "me", "step": 1}}
    assert json.loads(daemon.command("jobs", "--json").stdout)["jobs"][0]["annotations"] == notes
    assert json.loads(daemon.command("show", "1", "--json").stdout)["job"]["annotations"] == notes
    assert daemon.events(1)[:4] == ["submit", "memo", "validate", "depend"]
    journal = [json.loads(line) for line in daemon.command("journal", "--json").stdout.splitlines()]
    noted = [entry["context"]["annotations"] for entry in journal if entry["name"] == "annotations"]
    assert noted == [{"user": {"step": 1}}]
    daemon.start()
    with Handle(daemon.spool) as handle:
        assert job.get_job(handle, 1)["annotations"] == notes
        assert job.JobList(handle).jobs()[0].annotations.user.step == 1


def test_a_plugin_that_hands_over_rubbish_harms_nothing(daemon: Daemon) -> None:
    """What is stored is whole, all of the journal can be read, and the log says what was wrong in lines."""
    text = (EXAMPLES.parents[2] / "tests" / "data" / "plugins" / "hostile.py").read_text()
    daemon.start("--max-running", "100")
    conf = ('calls_in=["job.create"]', 'answers=["job.state.*","job.event.*"]', "subscribes=true")
    assert plugin(daemon, "load", own(daemon, "hostile.py", text), *conf).returncode == 0
    for number in range(50):
        daemon.drop(f"{number}.json", {"name": f"j{number}", "command": ["true"]})
    daemon.drop("x.json", {"name": "job.create", "command": ["true"]})
    daemon.request("hostile.do")
    until(lambda: len(daemon.jobs()) == 51)
    assert plugin(daemon, "remove", "hostile.py").returncode == 0
    daemon.command("cancel", *map(str, range(1, 52)))  # those that wait for the plugin; the others have ended
    daemon.wait(51)
    assert daemon.command("check-spool").returncode == 0
    journal = daemon.command("journal", "--json").stdout.splitlines()
    assert {json.loads(line)["jobid"] for line in journal} == set(range(1, 52))
    assert "plugin hostile.py: job.state.depend: " in daemon.said.read_text()
    assert "Traceback" not in daemon.said.read_text()
    assert daemon.stop() == 0


# ---- commands and the configuration -------------------------------------------------------------------------------


def test_load_list_query_and_remove(daemon: Daemon) -> None:
    assert plugin(daemon, "list").returncode == 6
    path = own(daemon, "counts.py")
    daemon.start()
    assert plugin(daemon, "load", path).stderr == "jqsched: plugin counts.py: loaded\n"
    assert plugin(daemon, "load", path).stderr == "jqsched: plugin load: counts.py already loaded\n"
    listed = plugin(daemon, "list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "PATH"]
    assert listed[1].split() == [".priority-default", "builtin"]
    assert listed[-1].split() == ["counts.py", path]
    as_json = json.loads(plugin(daemon, "list", "--json").stdout)
    assert as_json["plugins"][-1] == {"name": "counts.py", "path": path}
    assert plugin(daemon, "remove", "counts.py").returncode == 0
    gone = plugin(daemon, "query", "counts.py")
    assert (gone.returncode != 0, gone.stderr) == (True, "jqsched: plugin query: counts.py: plugin not found\n")
    assert plugin(daemon, "load", "nosuch.py").stderr.endswith("No such plugin found\n")


def test_the_configuration_loads_plugins_and_a_bad_one_stops_the_start(daemon: Daemon) -> None:
    """A path in it is relative to the spool."""
    own(daemon, "counts.py")
    (daemon.spool / "plugins").mkdir()
    (daemon.elsewhere / "counts.py").rename(daemon.spool / "plugins" / "counts.py")
    config = daemon.spool / "jqsched.toml"
    config.write_text('plugins = ["plugins/counts.py"]\n')
    daemon.start()
    assert "counts.py" in plugin(daemon, "list").stdout
    daemon.stop()
    submitted = daemon.command("submit", "--", "true")
    assert (submitted.returncode, "names plugins" in submitted.stderr) == (6, True)
    config.write_text('plugins = ["plugins/nosuch.py"]\n')
    failed = daemon.command("run", "--exit-when-idle")
    assert failed.returncode != 0
    assert failed.stderr.count("\n") == 1
    assert "nosuch.py: No such plugin found" in failed.stderr


def test_a_plugin_that_hangs_is_reported_and_in_the_end_the_scheduler_ends(daemon: Daemon) -> None:
    """The job that runs is unharmed, and the next scheduler finds it. The times are shortened here."""
    text = "import time\ndef plugin_init(p):\n    p.add_handler('job.validate', lambda *_: time.sleep(600))\n"
    shorter = (
        "from jqsched.runtime import plugin_watchdog as dog; dog.LOOK_S, dog.REPORT_S, dog.GIVE_UP_S = 0.05, 0.2, 0.6"
    )
    daemon.drop("long.json", {"name": "long", "script": f"until test -e {daemon.elsewhere}/go; do sleep 0.01; done"})
    daemon.start(patch=shorter)
    until(lambda: "long" in daemon.jobs() and daemon.jobs()["long"].started)
    assert plugin(daemon, "load", own(daemon, "hangs.py", text)).returncode == 0
    daemon.drop("a.json", {"name": "a", "command": ["true"]})
    assert daemon.process is not None
    assert daemon.process.wait(PATIENCE_S) == 1
    said = daemon.said.read_text()
    assert "plugin hangs.py hangs in job.validate" in said
    assert "plugin hangs.py has not come back from job.validate" in said
    assert "Traceback" not in said
    daemon.start()
    (daemon.elsewhere / "go").touch()
    daemon.wait(2)
    assert all(job.success and job.attempt == 1 for job in daemon.jobs().values())
