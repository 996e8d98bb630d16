"""What the world does to a scheduler that runs: each row of the faults that no other test forces.

The rows and their tests are listed in `docs/guarantees.md`.
"""

import json
import os
import random
import shutil
import signal
import socket
import stat
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from jqsched.adapters.store.reader import StoreReader
from jqsched.client.connection import Connection
from tests.e2e.conftest import Daemon, until

# A PATCH: the store grows to so many pages, and then its disk is full.
SMALL_DISK = """
from jqsched.adapters.store import writer as module
real = module.open_store
def small(*arguments, **options):
    connection = real(*arguments, **options)
    connection.execute("PRAGMA max_page_count = 60")
    return connection
module.open_store = small
"""


def waits(daemon: Daemon, name: str, **keys: object) -> Path:
    """Drop a job that runs until the file that is returned is there, and wait until it runs."""
    go = daemon.elsewhere / f"{name}.go"
    script = f"echo begin $JQSCHED_ATTEMPT >> {go}.ran; until test -e {go}; do sleep 0.02; done"
    daemon.drop(f"{name}.json", {"name": name, "script": script, **keys})
    until(lambda: name in daemon.jobs() and daemon.jobs()[name].started, f"{name} to run")
    return go


def said(daemon: Daemon) -> str:
    """What the scheduler has said; never a traceback."""
    text = daemon.said.read_text()
    assert "Traceback" not in text, text
    return text


def test_a_commit_that_fails_is_said_to_whoever_waits_for_it_and_by_the_scheduler(daemon: Daemon) -> None:
    """Both name the store. What was answered before is kept."""
    daemon.start(patch=SMALL_DISK)
    first = daemon.command("submit", "--name", "first", "--", "true")
    refused = daemon.command("submit", "--", "true", "x" * 100_000, "x" * 100_000, "x" * 100_000)
    why = f"commit to the store: {daemon.spool / 'jqsched.db'}: SQLITE_FULL: database or disk is full"
    assert (first.returncode, refused.returncode) == (0, 6)
    assert refused.stderr.startswith(f"jqsched: submit: the scheduler ended before it answered: {why}")
    assert daemon.process is not None
    assert daemon.process.wait() == 1
    assert said(daemon).endswith(f"jqsched: {why}\n")
    assert list(daemon.jobs()) == ["first"]


# ---- races with the end -------------------------------------------------------------------------------------------

RACES = 60


def test_changes_in_a_race_with_the_end_have_one_winner(daemon: Daemon) -> None:
    """Cancel, requeue, priority, urgency, an edit and a deletion, at jobs that start and end meanwhile: each is
    answered with what came of it, and each job runs as often as its events say.
    """
    ran = daemon.elsewhere / "ran"
    for number in range(RACES):
        script = f"echo $JQSCHED_JOB_ID $JQSCHED_ATTEMPT >> {ran}; sleep 0.0{number % 5}"
        daemon.drop(f"j{number:02}.json", {"name": f"j{number}", "script": script})
    daemon.start("--max-running", "2")
    until(lambda: len(daemon.jobs()) == RACES, "all to be accepted")
    answers = _race(daemon, random.Random(8))
    reader = StoreReader(str(daemon.spool))
    assert not [*reader.active()]
    jobs = {job.id: job for job in reader.finished()}
    reader.close()
    assert len(jobs) == RACES + sum(answer == "resubmitted" for _, _, answer in answers)
    runs = Counter(ran.read_text().split("\n")[:-1])
    assert set(runs.values()) == {1}, "an attempt ran twice"
    for id_, topic, answer in answers:
        names = daemon.events(id_)
        if (topic, answer) == ("cancel", "dequeued"):  # the attempt that was waiting then never ran
            assert "start" not in names[len(names) - names[::-1].index("requeue") if "requeue" in names else 0 :]
            assert f"{id_} {jobs[id_].attempt}" not in runs
        if (topic, answer) == ("cancel", "stopping"):
            assert jobs[id_].exception is not None
            assert jobs[id_].exception.type == "cancel"
        if answer == "already over":
            assert names[-1] == "clean"
    for id_, job in jobs.items():
        names = daemon.events(id_)
        assert (names.count("clean"), names.count("finish") <= 1) == (1, True)
        assert job.attempt == 1 + names.count("requeue")
    assert {answer for _, _, answer in answers} >= {"dequeued", "stopping", "changed", "already over"}
    assert daemon.command("check-spool").returncode == 0
    said(daemon)


def _race(daemon: Daemon, rng: random.Random) -> list[tuple[int, str, str]]:
    """Change jobs near the front of the queue until none is left; what was answered."""
    answers: list[tuple[int, str, str]] = []
    with Connection(str(daemon.spool)) as connection:
        reader = StoreReader(str(daemon.spool))
        while live := sorted(reader.active(), key=lambda job: (not job.started, job.id)):
            id_ = rng.choice(live[:4]).id
            topic = rng.choice(["cancel", "requeue", "priority", "urgency", "edit", "delete"])
            if topic in ("edit", "delete"):
                _change_file(daemon, id_, topic)
                continue
            payload = {"priority": {"priority": 7}, "urgency": {"urgency": 9}}.get(topic, {})
            try:
                answer = connection.request(f"job-manager.{topic}", {"id": id_, **payload})
                answers.append((id_, topic, str(answer["outcome"])))
            except OSError as refused:
                text = {"job is finished": "already over"}.get(str(refused.strerror), str(refused.strerror))
                answers.append((id_, topic, text))
        reader.close()
    return answers


def _change_file(daemon: Daemon, id_: int, topic: str) -> None:
    file = daemon.spool / "jobs" / f"{id_}.json"
    try:
        if topic == "edit":
            job = json.loads(file.read_text()) | {"urgency": 12}
            (daemon.elsewhere / "edit").write_text(json.dumps(job))
            if file.exists():  # else it is over: a new file in `jobs/` is no job's
                (daemon.elsewhere / "edit").rename(file)
        elif id_ % 7 == 0:
            file.unlink()
    except FileNotFoundError:
        pass


# ---- the spool itself ---------------------------------------------------------------------------------------------


def _move(daemon: Daemon) -> Path:
    return daemon.spool.rename(daemon.elsewhere / "moved")


def _replace(daemon: Daemon) -> Path:
    moved = _move(daemon)
    daemon.spool.mkdir(mode=0o700)
    return moved


def _replace_jobs(daemon: Daemon) -> Path:
    (daemon.spool / "jobs").rename(daemon.elsewhere / "jobs")
    (daemon.spool / "jobs").mkdir(mode=0o700)
    return daemon.spool


@pytest.mark.parametrize("change", [_move, _replace, _replace_jobs])
def test_a_spool_that_is_moved_or_replaced_ends_the_scheduler_and_no_job(daemon: Daemon, change: object) -> None:
    """At once and with 1; the message names the folder, nothing is made in the new one, and back in its place the job
    is found, with the status it ended with.
    """
    daemon.start()
    go = waits(daemon, "long")
    assert callable(change)
    moved = change(daemon)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 1
    assert str(daemon.spool) in said(daemon)
    assert "replaced" in said(daemon) or "No such file" in said(daemon)
    if moved == daemon.spool:
        (daemon.spool / "jobs").rmdir()
        (daemon.elsewhere / "jobs").rename(daemon.spool / "jobs")
    else:
        if daemon.spool.exists():
            daemon.spool.rmdir()  # fails if there is anything in it
        moved.rename(daemon.spool)
    daemon.start()
    go.touch()
    daemon.wait(1)
    job = daemon.jobs()["long"]
    assert (job.status, job.attempt) == (0, 1)


def test_a_spool_that_is_deleted_ends_the_scheduler(daemon: Daemon) -> None:
    """With 1 and the name of the folder; the executor ends as well, for no scheduler will ever ask."""
    (daemon.spool / "jqsched.toml").write_text("scan_s = 0.2\n")  # while its folders are open no bell rings
    daemon.start()
    executor = int((daemon.spool / "jqsched-executor.lock").read_text().split()[2])
    shutil.rmtree(daemon.spool)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 1
    assert str(daemon.spool) in said(daemon)
    until(lambda: not Path(f"/proc/{executor}/fd/0").exists(), "the executor to end")


# ---- what lies in the spool ---------------------------------------------------------------------------------------


def test_what_is_no_file_of_ours_is_set_aside_and_the_good_ones_run(daemon: Daemon) -> None:
    """Socket, FIFO, device, folder, links, files of others and files that others may write: each is kept, told, and
    neither opened nor followed; good files between them run.
    """
    secret = daemon.elsewhere / "secret.json"
    secret.write_text(json.dumps({"name": "secret", "command": ["true"]}))
    bad = ["fifo", "socket", "folder", "link", "dangling", "loop", "writable"]
    top = daemon.spool
    os.mkfifo(top / "fifo.json")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket.json"))
    (top / "folder.json").mkdir()
    (top / "link.json").symlink_to(secret)
    (top / "dangling.json").symlink_to("nowhere")
    (top / "loop.json").symlink_to("loop.json")
    (top / "writable.json").write_text(secret.read_text())
    (top / "writable.json").chmod(0o666)
    if os.geteuid() == 0:
        bad += ["device", "foreign"]
        os.mknod(top / "device.json", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        (top / "foreign.json").write_text(secret.read_text())
        os.chown(top / "foreign.json", 12345, 12345)
    for number in range(3):
        daemon.drop(f"good-{number}.json", {"name": f"good-{number}", "command": ["true"]})
    daemon.start()
    daemon.wait(3)
    until(lambda: len(list((top / "rejected").glob("*.reason"))) == len(bad), "all to be set aside")
    assert {path.stem for path in (top / "rejected").glob("*.json")} == set(bad)
    assert sorted(daemon.jobs()) == ["good-0", "good-1", "good-2"]
    assert (top / "rejected" / "link.json").is_symlink()
    assert secret.exists()
    said(daemon)


# ---- watching -----------------------------------------------------------------------------------------------------

NO_INOTIFY = """
import errno
from watchdog.observers import inotify_c
def limited(*_):
    raise OSError(errno.{code}, "inotify limit reached")
inotify_c.InotifyFD.{method} = limited
"""


@pytest.mark.parametrize(("method", "code"), [("_create_inotify_fd", "EMFILE"), ("add_callback", "ENOSPC")])
def test_at_the_limits_of_inotify_scans_remain(daemon: Daemon, method: str, code: str) -> None:
    """Said once, however many scans follow."""
    (daemon.spool / "jqsched.toml").write_text("scan_s = 0.1\n")
    daemon.start(patch=NO_INOTIFY.format(method=method, code=code))
    for number in range(3):
        daemon.drop(f"j{number}.json", {"name": f"j{number}", "command": ["true"]})
        daemon.wait(number + 1)
    assert said(daemon).count("cannot be watched, only scanned") == 1


REMOTE = """
from jqsched.adapters import filesystem
real = filesystem._kind
filesystem._kind = lambda path: 0x6969 if path.rstrip("/").endswith("spool") else real(path)
"""


def test_on_a_network_file_system_the_store_is_refused_and_the_spool_is_scanned(daemon: Daemon) -> None:
    """With the way out, `--store`, and with that it serves."""
    daemon.start(patch=REMOTE, wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 1
    assert "on NFS, where SQLite's WAL cannot work: name a local folder with --store" in said(daemon)
    (daemon.spool / "jqsched.toml").write_text("scan_s = 0.1\n")
    daemon.start("--store", str(daemon.elsewhere), patch=REMOTE)
    daemon.drop("a.json", {"command": ["true"]})
    daemon.wait(1)
    assert said(daemon).count("is on NFS, where changes by others cannot be watched") == 1


def test_a_scheduler_that_was_frozen_misses_nothing(daemon: Daemon) -> None:
    """Drops, an end and a time limit while it was stopped: each counts when it goes on, and no other limit does."""
    daemon.start("--max-running", "3")
    go = waits(daemon, "ends", time_limit=3600)
    waits(daemon, "expires", time_limit=0.2)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    for number in range(20):
        daemon.drop(f"{number:02}.json", {"name": f"j{number}", "command": ["true"], "time_limit": 60})
    go.touch()
    until(lambda: len(_of_job(daemon)) == 1, "the first to end")
    daemon.process.send_signal(signal.SIGCONT)
    daemon.wait(22)
    jobs = daemon.jobs()
    assert [name for name, job in jobs.items() if not job.success] == ["expires"]
    assert jobs["expires"].result is not None
    assert jobs["expires"].result.name == "TIMEOUT"


# ---- the clock and the boot ---------------------------------------------------------------------------------------

WILD_CLOCK = """
import itertools, random
from jqsched.runtime import build
real, rng = build.WallClock.now_us, random.Random(5)
build.WallClock.now_us = lambda self: real(self) + rng.choice([0, 86_400_000_000, -86_400_000_000])
"""


def test_a_clock_that_jumps_by_days_hurts_nothing(daemon: Daemon) -> None:
    """At every reading, to and fro: order is by rank, no time limit fires, and times in the journal only increase."""
    ran = daemon.elsewhere / "ran"
    for number in range(8):
        job = {"urgency": 20 - number, "time_limit": 3600, "script": f"echo {number} >> {ran}"}
        daemon.drop(f"{number}.json", {"name": f"j{number}", **job})
    daemon.start("--max-running", "1", patch=WILD_CLOCK)
    daemon.wait(8)
    assert ran.read_text().split() == [str(number) for number in range(8)]
    assert {job.status for job in daemon.jobs().values()} == {0}
    reader = StoreReader(str(daemon.spool))
    times = [event.t_us for _, event in reader.journal()]
    reader.close()
    assert times == sorted(set(times))
    said(daemon)


OTHER_BOOT = """
from jqsched.runtime import build
from jqsched.adapters.executors.local import client as local
build.boot_id = lambda: "another-boot"
local._BOOT = local._BOOT.replace("main(sys.argv[2])", '''
from jqsched.adapters.executors.local import process
process.boot_id = lambda: "another-boot"
main(sys.argv[2])''')
"""


def test_after_another_boot_nothing_of_before_runs(daemon: Daemon) -> None:
    """What ran is interrupted without a look at pids, even where one of them, of the right start time, is alive: in
    another boot that is a stranger, and no signal reaches it.
    """
    daemon.start("--max-running", "2")
    go = waits(daemon, "again")
    once_go = waits(daemon, "once", on_interrupt="fail")
    executor = int((daemon.spool / "jqsched-executor.lock").read_text().split()[2])
    daemon.kill()
    os.kill(executor, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{executor}/fd/0").exists(), "the executor's end")
    strangers = _of_job(daemon)
    assert len(strangers) == 2
    daemon.start(patch=OTHER_BOOT)
    until(lambda: (job := daemon.jobs()["again"]).started and job.attempt == 2, "the second attempt")
    assert daemon.request("cancel", id=daemon.jobs()["again"].id) == {"outcome": "stopping"}
    daemon.wait(2)
    jobs = daemon.jobs()
    assert jobs["again"].interruptions == 1
    assert jobs["once"].exception is not None
    assert jobs["once"].exception.type == "interrupted"
    assert Path(f"{go}.ran").read_text() == "begin 1\nbegin 2\n"
    assert Path(f"{once_go}.ran").read_text() == "begin 1\n"


def _of_job(daemon: Daemon) -> list[int]:
    """The pids of the shells of this spool's jobs."""
    mark, found = f"JQSCHED_SPOOL={daemon.spool}".encode(), []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and os.getsid(pid) == pid:
                found.append(pid)
        except OSError:
            continue
    return found


# ---- jobs that behave badly ---------------------------------------------------------------------------------------

FLOOD_BYTES = 100_000_000


def test_a_flood_of_output_goes_past_the_scheduler(daemon: Daemon) -> None:
    """Straight to the file, byte for byte; and a device that is full is the job's failure, and no other job's."""
    daemon.start("--max-running", "3")
    daemon.drop("flood.json", {"name": "flood", "command": ["head", "-c", str(FLOOD_BYTES), "/dev/zero"]})
    daemon.drop("full.json", {"name": "full", "command": ["echo", "x"], "output": "/dev/full"})
    daemon.drop("good.json", {"name": "good", "command": ["true"]})
    daemon.wait(3)
    jobs = daemon.jobs()
    assert {name: job.success for name, job in jobs.items()} == {"flood": True, "full": False, "good": True}
    log = daemon.spool / "output" / f"{jobs['flood'].id}.log"
    assert log.stat().st_size == FLOOD_BYTES
    log.unlink()
    assert daemon.process is not None
    peak = next(line for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 100_000, "kilobytes: nothing of the flood came through it"


def test_a_job_that_multiplies_is_stopped_to_the_last(daemon: Daemon) -> None:
    """Children that leave the session, ignore TERM, and are born again as long as one of them lives: canceled, all of
    them end before the slot is free.

    Seen to fail on a busy machine: a process that had a child and ended while /proc was read was missed, and the child
    with it.
    """
    (daemon.spool / "jqsched.toml").write_text("grace_s = 0.1\n")
    daemon.start("--max-running", "1")
    hydra = daemon.elsewhere / "hydra"
    hydra.write_text("#!/bin/sh\ntrap '' TERM\nsleep 0.05\nsetsid $0 &\nsleep 0.05\n")
    hydra.chmod(0o700)
    script = f"trap '' TERM; for i in 1 2 3 4 5 6 7 8; do setsid {hydra} & done; sleep 1000"
    daemon.drop("bomb.json", {"name": "bomb", "script": script})
    until(lambda: "bomb" in daemon.jobs() and len(_of_job(daemon)) > 8, "it to multiply")
    assert daemon.request("cancel", id=daemon.jobs()["bomb"].id) == {"outcome": "stopping"}
    daemon.drop("next.json", {"name": "next", "command": ["pgrep", "-f", str(hydra)]})
    daemon.wait(2)
    assert daemon.jobs()["next"].status == 1 << 8, "one was found when the slot was free"
    assert not _of_job(daemon)


# ---- very many files ----------------------------------------------------------------------------------------------


LINKS_MOST = 50_000  # of one file, on ext4


def _flood(daemon: Daemon, files: int, script: str) -> None:
    """Many names of one good file, made before the scheduler is."""
    for number in range(files):
        source = daemon.elsewhere / f"source-{number // LINKS_MOST}"
        if not number % LINKS_MOST:
            source.write_text(json.dumps({"script": script}))
        os.link(source, daemon.spool / f"{number:07}.json")


def _left(daemon: Daemon) -> int:
    return sum(name.endswith(".json") for name in os.listdir(daemon.spool))


def _known(daemon: Daemon) -> int:
    with closing(StoreReader(str(daemon.spool))) as reader:
        return len([*reader.active(), *reader.finished()])


def _live(daemon: Daemon) -> int:
    with closing(StoreReader(str(daemon.spool))) as reader:
        return len([*reader.active()])


def _many(daemon: Daemon, files: int, most_kilobytes: int) -> None:
    (daemon.spool / "jqsched.toml").write_text("queue_max = 500\n")
    first = daemon.elsewhere / "first"
    _flood(daemon, files, f"test -e {first} || {{ ls {daemon.spool} > {first}.new; mv {first}.new {first}; }}")
    daemon.start("--max-running", "1", wait=False)
    until(first.exists, "the first job to start")
    found = sum(line.endswith(".json") for line in first.read_text().splitlines())
    assert found >= files - 500 - 1, "it had to wait until all were taken"
    until(daemon.serves, "the scheduler to serve")
    daemon.request("stop-starts")
    until(lambda: daemon.request("status")["warnings"], "the queue to be full")
    assert "queue_max = 500" in str(daemon.request("status")["warnings"])
    until(lambda: daemon.request("status")["running"] == 0, "the last job to end")
    until(lambda: _live(daemon) == 500, "the room that its end made to be filled")  # nothing moves any more
    left = _left(daemon)
    assert _known(daemon) + left == files
    assert left >= files - 2000
    assert daemon.process is not None
    peak = next(line for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < most_kilobytes
    said(daemon)


def test_of_very_many_files_the_first_starts_while_the_others_wait(daemon: Daemon) -> None:
    """No more are taken than may be queued, the rest waits where it is, `status` says so, and memory is bounded."""
    _many(daemon, 100_000, 80_000)


@pytest.mark.timeout(600)
@pytest.mark.sweep
def test_of_a_million_files_too(daemon: Daemon) -> None:
    """The same with a million, in as much memory: names are listed in portions."""
    _many(daemon, 1_000_000, 80_000)
