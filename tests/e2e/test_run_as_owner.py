"""A scheduler of root that runs jobs as the owners of their files: who they are, and what they cannot reach."""

import json
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched import Handle
from jqsched.cli.failure import NOT_NOW
from jqsched.job import event_watch
from tests.e2e.conftest import Daemon, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
NOBODY = 65534
AS_OWNER = "run_as_owner = true\ngrace_s = 0.2\n"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A spool that others can reach: pytest's own folders are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="jqsched-"))
    folder.chmod(0o755)
    made = Daemon(folder)
    made.spool.chmod(0o711)
    (made.spool / "jqsched.toml").write_text(AS_OWNER)
    yield made
    made.close()

    def is_gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)  # an executor that ends writes and removes things there, too
        return not folder.exists()

    until(is_gone, "the folder to be removed")


def drop(daemon: Daemon, name: str, job: dict[str, object], where: str = "drop", *, mode: int = 0o644) -> None:
    """Drop a file of the user `nobody`."""
    path = daemon.elsewhere / f"{name}.json"
    path.write_text(json.dumps({"name": name, **job}))
    path.chmod(mode)
    os.chown(path, NOBODY, NOBODY)
    path.rename(daemon.spool / where / path.name)


def output(daemon: Daemon, name: str) -> Path:
    return daemon.spool / "output" / f"{daemon.jobs()[name].id}.log"


def run(daemon: Daemon, script: str, **job: object) -> str:
    """Run a script as the user `nobody` and return what it wrote."""
    drop(daemon, "job", {"script": script, **job})
    daemon.wait(1)
    return output(daemon, "job").read_text()


def folder_of_nobody(daemon: Daemon) -> Path:
    made = daemon.elsewhere / "nobody"
    made.mkdir(mode=0o700)
    os.chown(made, NOBODY, NOBODY)
    return made


def reason(daemon: Daemon, name: str) -> str:
    path = daemon.spool / "rejected" / f"{name}.json"  # it follows its reason
    until(path.exists)
    return path.with_name(f"{name}.json.reason").read_text()


def userid(pid: int) -> set[str]:
    """The four user ids of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return set(next(line.split()[1:] for line in lines if line.startswith("Uid:")))


def test_by_default_a_file_of_another_user_is_refused(daemon: Daemon) -> None:
    (daemon.spool / "jqsched.toml").write_text("")
    daemon.start()
    drop(daemon, "job", {"command": ["id"]}, where=".")
    assert f"is owned by user {NOBODY}" in reason(daemon, "job")
    assert (daemon.spool / "drop").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("where", ["drop", "."])
def test_a_job_is_its_owner_in_everything(daemon: Daemon, where: str) -> None:
    """All ids and groups, nothing to go back to, the environment, and the job's record."""
    daemon.start()
    drop(
        daemon, "job", {"script": "id -u; id -g; id -G; grep -E 'Uid|Gid|CapPrm|CapEff' /proc/self/status; env"}, where
    )
    daemon.wait(1)
    job = daemon.jobs()["job"]
    assert (job.status, job.userid) == (0, NOBODY)
    told = output(daemon, "job").read_text().splitlines()
    nobody = pwd.getpwuid(NOBODY)
    groups = os.getgrouplist(nobody.pw_name, nobody.pw_gid)
    assert told[:2] == [str(NOBODY), str(nobody.pw_gid)]
    assert {int(group) for group in told[2].split()} == set(groups)
    assert "Uid:\t" + "\t".join([str(NOBODY)] * 4) in told
    assert "Gid:\t" + "\t".join([str(nobody.pw_gid)] * 4) in told
    assert {"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"} <= set(told)
    env = dict(line.split("=", 1) for line in told if "=" in line)
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == (nobody.pw_name, nobody.pw_name, nobody.pw_dir)
    assert env["SHELL"] == nobody.pw_shell
    assert "root" not in env["PATH"]
    (listed,) = json.loads(daemon.command("jobs", "-a", "--json").stdout)["jobs"]
    assert (listed["userid"], listed["username"]) == (NOBODY, nobody.pw_name)
    assert f"by {nobody.pw_name}" in daemon.command("show", "1").stdout
    assert nobody.pw_name in daemon.command("jobs", "-a", "--user", nobody.pw_name, "--format", "{username}").stdout


def test_roots_files_run_as_root_and_nobody_elses_do(daemon: Daemon) -> None:
    daemon.start()
    daemon.drop("root.json", {"name": "root", "command": ["id", "-u"]})
    drop(daemon, "nobody", {"command": ["id", "-u"]})
    daemon.wait(2)
    assert (output(daemon, "root").read_text(), output(daemon, "nobody").read_text()) == ("0\n", f"{NOBODY}\n")


def test_it_finds_nothing_of_roots_open_and_its_output_is_its_own(daemon: Daemon) -> None:
    """No descriptor but three; a file that only root may read stays unread; the log is its own, with mode 0600."""
    secret = daemon.elsewhere / "secret"
    secret.write_text("secret of root")
    secret.chmod(0o600)
    daemon.start()
    told = run(daemon, f"ls /proc/self/fd; cat {secret}; cat {daemon.spool}/jqsched.db; ls {daemon.spool}")
    assert told.split("3\n", 1)[0] == "0\n1\n2\n"
    assert told.count("Permission denied") == 3
    assert "secret of root" not in told
    found = output(daemon, "job").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o600)


@pytest.mark.parametrize("link", ["symbolic", "in its path", "the file itself"])
@pytest.mark.parametrize("key", ["output", "error"])
def test_output_is_opened_with_the_users_rights(daemon: Daemon, link: str, key: str) -> None:
    """Neither by a link nor by its name does it reach a file of root's."""
    secret = daemon.elsewhere / "secret"
    secret.write_text("as it was\n")
    secret.chmod(0o600)
    there = folder_of_nobody(daemon)
    (there / "link").symlink_to(secret)
    (there / "folder").symlink_to(daemon.spool)
    path = {"symbolic": there / "link", "in its path": there / "folder/jqsched.toml", "the file itself": secret}[link]
    daemon.start()
    drop(daemon, "job", {"command": ["echo", "owned"], key: str(path)})
    daemon.wait(1)
    job = daemon.jobs()["job"]
    assert job.status == 126 << 8
    assert job.exception is not None
    assert "start failed" in job.exception.note
    assert (secret.read_text(), (daemon.spool / "jqsched.toml").read_text()) == ("as it was\n", AS_OWNER)


@pytest.mark.parametrize("key", ["output", "error"])
def test_what_its_user_put_in_its_outputs_place_is_not_shown(daemon: Daemon, key: str) -> None:
    """Made when the job had ended: a link to what only root may read, a FIFO; neither by `log` nor to a script."""
    secret = daemon.elsewhere / "secret"
    secret.write_text("of root's\n")
    secret.chmod(0o600)
    there = folder_of_nobody(daemon)
    daemon.start()
    drop(daemon, "job", {"script": "echo owned; echo owned >&2", key: str(there / "out")})
    daemon.wait(1)
    arguments = ("log", "1", *(["--error"] if key == "error" else []))
    assert "owned\n" in daemon.command(*arguments).stdout
    whats: dict[str, Callable[[Path], object]] = {
        "is a symbolic link": lambda path: path.symlink_to(secret),
        "is no regular file": os.mkfifo,  # which `log` must not wake a writer of
        f"belongs to user 0, but it is the output of a job of user {NOBODY}": lambda path: os.link(secret, path),
    }
    for told, put in whats.items():
        (there / "out").unlink()
        put(there / "out")
        shown = daemon.command(*arguments)
        assert (shown.returncode, shown.stdout) == (NOT_NOW, "")
        assert told in shown.stderr
    with Handle(daemon.spool) as handle:
        log = [entry["context"].get("data", "") for entry in event_watch(handle, 1, "guest.output")]
    assert "of root's\n" not in log


@pytest.mark.parametrize(
    ("job", "status", "told"),
    [
        ({"command": ["nosuch"]}, 127, "nosuch: No such file"),
        ({"command": ["/nosuch/it"]}, 127, "/nosuch/it: No such file"),
        ({"command": ["/etc/passwd"]}, 126, "/etc/passwd: Permission denied"),
        ({"command": ["true"], "cwd": "/root"}, 126, "/root: Permission denied"),
        ({"command": ["true"], "output": "/nosuch/file"}, 126, "/nosuch/file: No such file"),
    ],
)
def test_what_cannot_be_started_says_why(daemon: Daemon, job: dict[str, object], status: int, told: str) -> None:
    """As for jobs of the scheduler's own user: status, exception and text; the folder is entered as the user."""
    daemon.start()
    drop(daemon, "job", job)
    daemon.wait(1)
    ended = daemon.jobs()["job"]
    assert ended.status == status << 8
    assert ended.exception is not None
    assert (ended.exception.type, ended.exception.severity) == ("exec", 0)
    assert f"start failed: {told}" in ended.exception.note


def test_it_is_canceled_and_all_of_it(daemon: Daemon) -> None:
    """TERM, then KILL; what it has put in a session of its own as well."""
    pids = folder_of_nobody(daemon) / "pids"
    daemon.start()
    script = (
        f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; sleep 1000' & echo $$ >> {pids}; sleep 1000"
    )
    drop(daemon, "job", {"script": script})
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    both = [int(pid) for pid in pids.read_text().split()]
    assert userid(both[0]) == userid(both[1]) == {str(NOBODY)}
    daemon.request("cancel", id=daemon.jobs()["job"].id)
    daemon.wait(1)
    assert [pid for pid in both if Path(f"/proc/{pid}").exists()] == []


def test_a_restart_harms_it_not(daemon: Daemon) -> None:
    """The next scheduler finds it running, and learns how it ended; one that is still queued is still its owner's."""
    there = folder_of_nobody(daemon)
    os.mkfifo(there / "go")
    os.chown(there / "go", NOBODY, NOBODY)
    daemon.start("--max-running", "1")
    drop(daemon, "job", {"script": f"read it < {there}/go; id -u; exit 7"})
    until(lambda: "job" in daemon.jobs() and daemon.jobs()["job"].t_run_us)
    drop(daemon, "next", {"command": ["id", "-u"]})
    until(lambda: "next" in daemon.jobs())
    daemon.kill()
    daemon.start("--max-running", "1")
    (there / "go").write_text("go\n")
    daemon.wait(2)
    assert (daemon.jobs()["job"].status, daemon.jobs()["next"].status) == (7 << 8, 0)
    assert output(daemon, "job").read_text() == output(daemon, "next").read_text() == f"{NOBODY}\n"
    assert daemon.events(1).count("start") == 1


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_what_a_crash_left_half_taken_is_still_its_owners(daemon: Daemon, suffix: str) -> None:
    """Moved to `jobs/`, turned from TOML into JSON, and not accepted: it does not become root's."""
    stop = "import os; from jqsched.scheduler.intake import Intake; Intake.accept = lambda *_: os._exit(9)"
    path = daemon.elsewhere / f"job.{suffix}"
    path.write_text({"json": '{"name": "job", "script": "id -u"}', "toml": 'name = "job"\nscript = "id -u"\n'}[suffix])
    os.chown(path, NOBODY, NOBODY)
    (daemon.spool / "drop").mkdir()
    path.rename(daemon.spool / "drop" / path.name)
    daemon.start(patch=stop, wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 9
    assert [left.name for left in (daemon.spool / "jobs").iterdir()] == ["1.json"]
    daemon.start()
    daemon.wait(1)
    assert output(daemon, "job").read_text() == f"{NOBODY}\n"


def test_a_finished_job_that_is_queued_anew_is_still_its_owners(daemon: Daemon) -> None:
    """By any user who asks for it, with and without a scheduler."""
    daemon.start()
    assert run(daemon, "id -u") == f"{NOBODY}\n"
    first = daemon.jobs()["job"].id
    again = daemon.request("requeue", id=first)["id"]
    daemon.wait(2)
    assert (daemon.spool / f"output/{again}.log").read_text() == f"{NOBODY}\n"
    assert daemon.stop() == 0
    assert daemon.command("requeue", str(first)).returncode == 0
    (queued,) = (daemon.spool / "jobs").iterdir()
    assert queued.stat().st_uid == NOBODY
    daemon.start()
    daemon.wait(3)
    assert (daemon.spool / "output" / f"{queued.stem}.log").read_text() == f"{NOBODY}\n"


def test_when_it_is_turned_off_again_new_files_are_refused_and_old_jobs_stay_their_owners(daemon: Daemon) -> None:
    daemon.start()
    daemon.request("stop-starts")
    drop(daemon, "old", {"command": ["id", "-u"]})
    until(lambda: "old" in daemon.jobs())
    assert daemon.stop() == 0
    (daemon.spool / "jqsched.toml").write_text("")
    daemon.start()
    drop(daemon, "new", {"command": ["id", "-u"]}, where=".")
    assert "is owned by user" in reason(daemon, "new")
    daemon.request("resume")
    daemon.wait(1)
    assert output(daemon, "old").read_text() == f"{NOBODY}\n"


def test_what_others_may_have_had_a_hand_in_is_refused(daemon: Daemon) -> None:
    """A second name, a mode that lets others write, an unknown user; and a good one runs."""
    daemon.start()
    name = daemon.elsewhere / "linked"
    name.write_text('{"command": ["id"]}')
    os.chown(name, NOBODY, NOBODY)
    os.link(name, daemon.spool / "drop/linked.json")
    drop(daemon, "open", {"command": ["id"]}, mode=0o666)
    drop(daemon, "group", {"command": ["id"]}, mode=0o664)
    stranger = daemon.elsewhere / "stranger.json"
    stranger.write_text('{"command": ["id"]}')
    os.chown(stranger, 4_000_000_000, 4_000_000_000)
    stranger.rename(daemon.spool / "drop/stranger.json")
    assert "2 names (hard links)" in reason(daemon, "linked")
    assert "may be written to by others (mode 0666)" in reason(daemon, "open")
    assert "may be written to by others (mode 0664)" in reason(daemon, "group")
    assert "whom this system does not know" in reason(daemon, "stranger")
    assert run(daemon, "id -u") == f"{NOBODY}\n"
    assert daemon.jobs().keys() == {"job"}


def test_a_spool_that_others_may_write_to_is_refused(daemon: Daemon) -> None:
    """They could put a store, a socket or an executor's state there."""
    daemon.spool.chmod(0o1733)
    daemon.start(wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(30) != 0
    said = daemon.said.read_text()
    assert "may be written to by others (mode 1733): chmod 0700" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


def test_only_root_can_run_as_owner(daemon: Daemon) -> None:
    """Any other user is told so in one line."""
    patch = "import os; os.geteuid = lambda: 1000; os.chown(r'{0}', 1000, -1); os.chown(r'{0}/jqsched.toml', 1000, -1)"
    daemon.start(wait=False, patch=patch.format(daemon.spool))
    assert daemon.process is not None
    assert daemon.process.wait(30) != 0
    assert "run_as_owner: only a scheduler that runs as root" in daemon.said.read_text()
    assert len(daemon.said.read_text().splitlines()) == 1


def test_without_the_kernels_protection_of_hard_links_it_does_not_start(daemon: Daemon) -> None:
    """A link to another user's file that has no other name any more could not be told from a drop of theirs."""
    patch = """
from pathlib import Path
real = Path.read_text
Path.read_text = lambda path, *more, **named: "0" if path.name == "protected_hardlinks" else real(path, *more, **named)
"""
    daemon.start(wait=False, patch=patch)
    assert daemon.process is not None
    assert daemon.process.wait(30) != 0
    assert "fs.protected_hardlinks = 1, and it is 0: sysctl" in daemon.said.read_text()


def test_a_user_may_drop_and_take_nothing_else(daemon: Daemon) -> None:
    """The drop zone is there for all; the spool's own files, and those of others in the zone, are not."""
    daemon.start()
    assert stat.S_IMODE((daemon.spool / "drop").stat().st_mode) == 0o1733
    job = json.dumps({"name": "dropped", "command": ["id", "-u"]})
    script = f"""
        cd {daemon.spool} && echo '{job}' > drop/.new && mv drop/.new drop/dropped.json
        for name in jqsched.db-wal jqsched.sock x.json jobs/x.json output/x drop/.x; do echo > $name && echo wrote; done
        rm drop/.x drop/.roots jqsched.toml || ls drop || ls . || cat jqsched.db || echo tried
    """
    (daemon.spool / "drop/.roots").touch()
    told = run(daemon, script)
    daemon.wait(2)
    assert output(daemon, "dropped").read_text() == f"{NOBODY}\n"
    assert told.count("wrote") == 1
    assert told.endswith("tried\n")
    assert (daemon.spool / "drop/.roots").exists()
