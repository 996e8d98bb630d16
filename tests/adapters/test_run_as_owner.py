"""Files of other users, and their processes: what is refused, what is theirs, what cannot be forged.

What happens "meanwhile" is put between two of the adapter's own steps. The whole is tested in `tests/e2e`.
"""

import ctypes
import errno
import fcntl
import logging
import os
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from jqsched.adapters.executors.local import attributes, procfs, setuid
from jqsched.adapters.executors.local.mark import Marker
from jqsched.adapters.executors.local.run import ProcessTable, Run
from jqsched.adapters.executors.local.starting import Child
from jqsched.adapters.executors.local.wire import boot_id, open_spool
from jqsched.adapters.spool import FileSpool, Known, SpoolRefused
from jqsched.adapters.spool import folder as folders
from jqsched.adapters.watcher import FolderWatcher
from jqsched.ports import Attempt, Finished, ScanResult, Start, Started, Starting
from jqsched.testing.contracts.executor import GRACE_US, an_attempt_that_was_put_off, finished, of, started
from tests.ports.executor_contract import LocalRig, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
GOOD = '{"name": "job", "command": ["true"]}'
NOBODY, OTHER = 65534, 1  # 1: daemon
LIBC = ctypes.CDLL(None, use_errno=True)
ADD_KEY = {"x86_64": 248, "aarch64": 217}.get(os.uname().machine, -1)


class Clock:
    """The real time."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


class Case:
    """A spool of root's into which all may drop; `known` are its live jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[int, Known] = {}
        self.spool = FileSpool(str(root), logging.getLogger("test"), Clock(), self.known.get, run_as_owner=True)

    def drop(self, name: str = "a.json", text: str = GOOD, owner: int = NOBODY) -> Path:
        hidden = self.root / "drop/.hidden"
        hidden.write_text(text)
        os.chown(hidden, owner, owner)
        return hidden.rename(self.root / "drop" / name)

    def intake(self, most: int = 100) -> ScanResult:
        self.spool.ring()
        return self.spool.intake(1, most)

    def take(self) -> Path:
        """Take a job of the user `nobody`, as last accepted."""
        self.drop()
        assert [taken.userid for taken in self.intake().taken] == [NOBODY]
        self.known[1] = Known("job", GOOD, NOBODY)
        return self.root / "jobs/1.json"


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path / "spool")
    yield made
    made.spool.close()


def failure_of(fd: int) -> tuple[int, str] | None:
    """Read why a child that has ended did not start."""
    child = Child(fd, 0)
    assert not child.is_on_its_way()
    return child.failure


def once(monkeypatch: pytest.MonkeyPatch, where: object, name: str, happens: Callable[[], None]) -> None:
    """Let something happen just before the first call of a function."""
    real, left = getattr(where, name), [happens]

    def called(*args: object, **named: object) -> object:
        if left:
            left.pop()()
        return real(*args, **named)

    monkeypatch.setattr(where, name, called)


# ---- files ---------------------------------------------------------------------------------------------------------


def test_a_file_is_its_owners_in_either_drop_zone(case: Case):
    case.drop("a.json")
    case.drop("b.json", owner=0)
    case.drop("c.json").rename(case.root / "c.json")
    case.drop("d.toml", 'name = "job"\nscript = "true"\n', OTHER).rename(case.root / "d.toml")
    case.spool.ring("d.toml", settled=True)
    taken = case.intake().taken
    assert sorted((one.name, one.userid) for one in taken) == [
        *(("a.json", NOBODY), ("b.json", None), ("c.json", NOBODY), ("d.toml", OTHER))
    ]
    assert len({one.id for one in taken}) == 4
    for one in taken:
        assert (case.root / f"jobs/{one.id}.json").stat().st_uid == (one.userid or 0)


def test_no_more_are_taken_from_both_zones_than_asked_for(case: Case):
    for name in "abcd":
        case.drop(f"{name}.json")
        case.drop(f"{name}.json").rename(case.root / f"{name}.json")
        case.drop(f"{name}.json")
    steps = [case.spool.intake(1, 3) for _ in range(3)]
    assert [len(step.taken) for step in steps] == [3, 3, 2]
    assert [step.more for step in steps] == [True, True, False]
    assert len({one.id for step in steps for one in step.taken}) == 8


def test_a_configuration_in_the_shared_zone_is_none_and_no_job(case: Case):
    case.drop("jqsched.toml")
    assert case.intake() == ScanResult()


def test_an_owner_that_changes_between_reading_and_taking_is_asked_again(case: Case, monkeypatch: pytest.MonkeyPatch):
    """Who is judged is who it will run as."""
    path = case.drop()
    once(monkeypatch, folders, "_rename_noreplace", lambda: os.chown(path, OTHER, OTHER))
    assert case.intake().taken == ()
    assert [taken.userid for taken in case.intake().taken] == [OTHER]


@pytest.mark.parametrize("change", ["link", "mode"])
def test_what_changes_between_reading_and_taking_is_judged_again(
    case: Case, monkeypatch: pytest.MonkeyPatch, change: str
):
    path = case.drop()
    changes = {"link": lambda: os.link(path, case.root / "drop/.second"), "mode": lambda: path.chmod(0o666)}
    once(monkeypatch, folders, "_rename_noreplace", changes[change])
    assert case.intake().taken == ()
    ((name, errors),) = case.intake().refused
    assert "hard links" in errors if change == "link" else "mode 0666" in errors
    assert (case.root / "rejected/1.json").exists() or (case.root / "rejected" / name).exists()


def test_a_file_that_is_replaced_by_another_users_is_that_users(case: Case, monkeypatch: pytest.MonkeyPatch):
    """The name was read as a file of `nobody`, and another user's file was taken under it."""
    path = case.drop()

    def replace() -> None:
        path.unlink()
        case.drop(owner=OTHER)

    once(monkeypatch, folders, "_rename_noreplace", replace)
    assert case.intake().taken == ()
    assert [taken.userid for taken in case.intake().taken] == [OTHER]


def test_a_file_with_a_lease_stops_nobody(case: Case):
    """Opening it would wait for its holder; so the next one is taken, and it itself when the lease is gone."""
    held = case.drop("a.json")
    case.drop("b.json")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(held, os.O_RDONLY)
    try:
        os.close(fd)
        fd = os.open(held, os.O_WRONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        harvest = case.intake()
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)
    assert [taken.name for taken in harvest.taken] == ["b.json"]
    assert (harvest.refused, harvest.again_us is not None, held.exists()) == ((), True, True)
    held.chmod(0o600)  # else it is looked at again after a while
    assert [taken.name for taken in case.intake().taken] == ["a.json"]


def test_files_that_a_crash_left_are_their_owners(case: Case):
    case.drop("a.json").rename(case.root / "jobs/1.json")
    case.drop("b.json", owner=0).rename(case.root / "jobs/2.json")
    (found, roots) = case.spool.leftovers(lambda _: False, lambda _: False, 1).taken
    assert (found.userid, roots.userid) == (NOBODY, None)


@pytest.mark.parametrize(("owner", "told"), [(0, ""), (NOBODY, ""), (OTHER, f"is owned by user {OTHER}")])
def test_who_may_have_written_an_edit(case: Case, owner: int, told: str):
    """Root, and whose job it is."""
    path = case.take()
    path.write_text('{"name": "job", "command": ["false"]}')
    os.chown(path, owner, owner)
    (edit,) = case.spool.edits([1])
    assert told in edit.errors
    assert bool(edit.errors) == bool(told)
    assert (edit.draft is None) == bool(told)


def test_a_job_file_that_is_made_for_a_user_is_his(case: Case):
    """A job that is queued anew, and one whose file a power cut left empty."""
    path = case.take()
    path.write_bytes(b"")
    os.chown(path, 0, 0)
    os.utime(path, (1, 1))
    case.spool.edits([1])
    case.spool._edit_quiet._since.update({key: (sign, 0) for key, (sign, _) in case.spool._edit_quiet._since.items()})
    case.spool.edits([1])
    case.spool.write(2, GOOD, NOBODY)
    for found in (path, case.root / "jobs/2.json"):
        assert found.read_text() == GOOD
        assert (found.stat().st_uid, stat.S_IMODE(found.stat().st_mode)) == (NOBODY, 0o600)


@pytest.mark.parametrize(("folder", "mode"), [(".", 0o1733), (".", 0o777), ("drop", 0o733), ("jobs", 0o1733)])
def test_folders_that_others_could_play_with_are_refused(tmp_path: Path, folder: str, mode: int):
    Case(tmp_path).spool.close()
    (tmp_path / folder).chmod(mode)
    with pytest.raises(SpoolRefused, match="may be written to by others"):
        Case(tmp_path)


def test_the_mode_of_the_shared_zone_is_its_owners_choice(tmp_path: Path):
    """It is made for all, and left alone after that."""
    Case(tmp_path).spool.close()
    assert stat.S_IMODE((tmp_path / "drop").stat().st_mode) == 0o1733
    (tmp_path / "drop").chmod(0o1730)
    Case(tmp_path).spool.close()
    assert stat.S_IMODE((tmp_path / "drop").stat().st_mode) == 0o1730


def test_a_drop_in_the_shared_zone_rings(case: Case):
    rung: list[tuple[str | None, bool]] = []
    watcher = FolderWatcher(
        str(case.root),
        lambda *_: None,
        lambda *_: None,
        lambda: None,
        lambda name, settled: rung.append((name, settled)),
        logging.getLogger("test"),
    )
    watcher.start()
    try:
        case.drop("a.json")
        until(lambda: ("a.json", True) in rung)
    finally:
        watcher.stop()


# ---- processes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rig() -> Iterator[LocalRig]:
    """An executor in a spool that others can reach: pytest's own folders are root's alone."""
    spool = Path(tempfile.mkdtemp(prefix="jqsched-"))
    spool.chmod(0o711)
    (spool / "output").mkdir(mode=0o700)
    rig = LocalRig(spool)
    rig.connect()
    rig.executor.limit(4, 4, GRACE_US)
    yield rig
    rig.close()
    shutil.rmtree(spool, ignore_errors=True)


def order(rig: LocalRig, id_: int, *command: str, userid: int = NOBODY, **spec: object) -> Start:
    """An order of the user `nobody` with the default output."""
    path = str(rig.spool / f"output/{id_}.log")
    return evolve(rig.order(id_, *command, output=path, **spec), userid=userid)


def run(rig: LocalRig, start: Start) -> Finished:
    rig.executor.start([start])
    return finished(rig, start.id)[-1]


def begun(rig: LocalRig, *ids: int) -> list[Started]:
    """Wait until the processes of these are `sleep`."""
    items = started(rig, *ids)
    until(lambda: all(Path(f"/proc/{item.pid}/comm").read_text() == "sleep\n" for item in items))
    return items


def descriptors(rig: LocalRig) -> int:
    return len(os.listdir(f"/proc/{rig.executor._child}/fd"))


def test_descriptors_signals_and_session_are_as_of_other_jobs(rig: LocalRig):
    sleeps, script = order(rig, 2, "sleep", "1000"), "ls -l /proc/self/fd; umask; exec sleep 1000"
    rig.executor.start([order(rig, 1, "sh", "-c", script), sleeps])
    pid, plain = started(rig, 1)[0].pid, started(rig, 2)[0].pid
    for each in (pid, plain):
        until(lambda each=each: Path(f"/proc/{each}/comm").read_text() == "sleep\n")
    assert "SigBlk:\t0000000000000000\n" in Path(f"/proc/{plain}/status").read_text()  # a shell clears it by itself
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    glibc_s_own = 0b11 << 31  # 32 and 33, which the executor got ignored from its posix_spawn
    assert int(status["SigIgn"], 16) & ~glibc_s_own == int(status["SigBlk"], 16) == 0
    assert os.getsid(pid) == os.getpgid(pid) == pid
    text = (rig.spool / "output/1.log").read_text()
    assert text.endswith("0022\n")
    arrows = [line.split()[-3:] for line in text.splitlines() if " -> " in line]
    told = {fd: target for fd, _, target in arrows}
    assert told.pop("3").startswith("/proc/")
    log = str(rig.spool / "output/1.log")
    assert told == {"0": "/dev/null", "1": log, "2": log}
    rig.executor.signal(1, 1, signal.SIGHUP)
    assert finished(rig, 1)[-1].status == (128 + signal.SIGHUP) << 8


def test_input_is_opened_as_the_owner_of_the_job(rig: LocalRig):
    """What root alone may read is not shown to another user's job."""
    for name, mode in (("secret", 0o600), ("open", 0o644)):
        (rig.spool / name).write_text("told\n")
        (rig.spool / name).chmod(mode)
    end = run(rig, order(rig, 1, "cat", input="secret"))
    assert end.status == 126 << 8
    assert str(end.error).endswith(f"start failed: {rig.spool}/secret: {os.strerror(errno.EACCES)}")
    assert run(rig, order(rig, 2, "cat", input="open")).status == 0
    assert (rig.spool / "output/2.log").read_text() == "told\n"


def test_no_descriptor_is_left_of_any_end(rig: LocalRig):
    """Of a good one, one that fails, and one that cannot start."""
    run(rig, order(rig, 1, "true"))
    before = descriptors(rig)
    ends = [run(rig, order(rig, 2, "true")), run(rig, order(rig, 3, "false")), run(rig, order(rig, 4, "nosuch"))]
    assert [end.status for end in ends] == [0, 1 << 8, 127 << 8]
    assert descriptors(rig) == before


def test_an_unknown_user_cannot_start(rig: LocalRig):
    end = run(rig, order(rig, 1, "true", userid=4_000_000_000))
    assert end.status == 126 << 8
    assert "start failed: this system does not know user 4000000000" in str(end.error)


def test_several_tasks_are_all_its_users_and_fail_as_one(rig: LocalRig):
    """One output for all; the job is over, with the reason of the first, when all have failed."""
    end = run(rig, order(rig, 1, "sh", "-c", 'echo "$JQSCHED_TASK_RANK $(id -u)"', tasks=2, cores=2))
    assert (end.status, end.error) == (0, None)
    assert sorted((rig.spool / "output/1.log").read_text().splitlines()) == [f"0 {NOBODY}", f"1 {NOBODY}"]
    end = run(rig, order(rig, 2, "nosuch", tasks=2, cores=2))
    assert end.status == 127 << 8
    assert "start failed: nosuch" in str(end.error)


def test_the_folder_of_the_default_output_is_made_again(rig: LocalRig):
    (rig.spool / "output").rmdir()
    assert run(rig, order(rig, 1, "echo", "out")).status == 0
    assert (rig.spool / "output/1.log").read_text() == "out\n"
    assert (rig.spool / "output").stat().st_uid == 0


def test_the_default_files_of_several_tasks_are_made_for_their_user(rig: LocalRig):
    """In the folder that it cannot reach; a link there is not followed."""
    script = "echo $JQSCHED_TASK_RANK; echo $JQSCHED_TASK_RANK >&2"
    patterns = {name: str(rig.spool / f"output/1.{{rank}}.{name}") for name in ("out", "err")}
    start = order(rig, 1, "sh", "-c", script, tasks=2)
    assert run(rig, evolve(start, output=patterns["out"], error=patterns["err"])).status == 0
    for name in ("0.out", "0.err", "1.out", "1.err"):
        path = rig.spool / "output" / f"1.{name}"
        assert (path.read_text(), path.stat().st_uid) == (f"{name[0]}\n", NOBODY)
    (rig.spool / "output/2.1.err").symlink_to(rig.spool / "secret")
    end = run(rig, evolve(start, id=2, output=patterns["out"], error=patterns["err"].replace("1.{", "2.{")))
    assert end.status == 126 << 8
    assert "symbolic link" in str(end.error)
    assert not (rig.spool / "secret").exists()


@pytest.mark.parametrize("there", ["symbolic", "hard", "folder", "another's"])
def test_the_default_output_goes_through_no_link(rig: LocalRig, there: str):
    """Whatever has come to lie in its place."""
    secret = rig.spool / "secret"
    secret.touch()  # empty, as one that the executor had just made
    path = rig.spool / "output/1.log"
    if there == "symbolic":
        path.symlink_to(secret)
    elif there == "hard":
        path.hardlink_to(secret)
    elif there == "folder":
        path.mkdir()
    else:
        path.write_text("of root\n")
    end = run(rig, order(rig, 1, "echo", "owned"))
    assert end.status == 126 << 8
    assert "start failed" in str(end.error)
    assert (secret.read_text(), secret.stat().st_uid) == ("", 0)


def test_a_folder_in_place_of_output_that_is_a_link_is_not_followed(rig: LocalRig):
    elsewhere = rig.spool / "elsewhere"
    (rig.spool / "output").rename(elsewhere)
    (rig.spool / "output").symlink_to(elsewhere)
    assert run(rig, order(rig, 1, "echo", "owned")).status == 126 << 8
    assert list(elsewhere.iterdir()) == []


def test_a_new_attempt_appends_and_an_output_that_was_not_given_away_yet_is(rig: LocalRig):
    """The executor may die between making the file and giving it away."""
    path = rig.spool / "output/1.log"
    path.touch(0o600)
    for attempt in (1, 2):
        start = evolve(order(rig, 1, "echo", "line"), attempt=attempt)
        rig.executor.start([start])
        until(lambda attempt=attempt: path.read_text() == "line\n" * attempt, rig.executor, rig.news)
    assert path.stat().st_uid == NOBODY


def test_it_is_adopted_and_stopped_by_the_next_executor(rig: LocalRig):
    """Also where its pid was never told: by its marks, which are its user's."""
    rig.executor.start([order(rig, 1, "sleep", "1000"), order(rig, 2, "sleep", "1000")])
    one, two = begun(rig, 1, 2)  # before it is its program a process dies with its executor
    rig.crash_executor()
    asked = [Attempt(1, 1, one.pid, one.start_ticks, boot_id(), 1, NOBODY), Attempt(2, 1, 0, 0, boot_id(), 1, NOBODY)]
    found = rig.connect(asked)
    assert {item.pid for item in found.running} == {one.pid, two.pid}
    rig.executor.limit(4, 4, GRACE_US)
    rig.executor.stop(1, 1)
    rig.executor.stop(2, 1)
    assert [end.status for end in finished(rig, 1, 2)] == [None, None]


def test_marks_that_another_user_forges_are_not_believed(rig: LocalRig):
    """Else a job of another user would be over only with that process, and hold its slot until then."""
    env = {"JQSCHED_JOB_ID": "1", "JQSCHED_ATTEMPT": "1", "JQSCHED_SPOOL": str(rig.spool), "PATH": os.environ["PATH"]}
    forged = subprocess.Popen(
        ["sleep", "1000"], env=env, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", start_new_session=True
    )
    spool_fd = open_spool(str(rig.spool))
    try:
        until(lambda: procfs.mark(forged.pid) is not None)
        snapshot = ProcessTable(spool_fd, str(rig.spool), Marker(spool_fd))
        assert snapshot.mains((1, 1), 0, 0, None) == snapshot.mains((1, 1), 0, 0, OTHER) == []
        assert [process.pid for process in snapshot.mains((1, 1), 0, 0, NOBODY)] == [forged.pid]
        for userid, members in ((None, []), (OTHER, []), (NOBODY, [forged.pid])):
            assert [process.pid for process in snapshot.members(Run((1, 1), 1, 0, userid), set())] == members
    finally:
        os.close(spool_fd)
        forged.kill()
        forged.wait()


def test_a_user_who_may_have_no_more_processes_waits_without_a_slot(rig: LocalRig):
    """RLIMIT_NPROC: the attempt is over before anything of it has begun, and says so in words."""
    user = 9  # news: no other test has processes of it
    resource.prlimit(rig.executor._child, resource.RLIMIT_NPROC, (1, 1))
    sleepers = [order(rig, id_, "sleep", "1000", userid=user) for id_ in (1, 2)]  # one is over it: it is counted after
    rig.executor.start(sleepers)
    begun(rig, 1, 2)
    touched = rig.spool / "open" / "touched"
    touched.parent.mkdir()
    touched.parent.chmod(0o777)
    rig.executor.limit(3, 3, GRACE_US)
    rig.executor.start([order(rig, 3, "true", userid=user, error=str(touched)), rig.quick(4)])
    end, _ = finished(rig, 3, 4)
    assert end.is_put_off
    assert end.error.endswith("start failed: user news may have no more processes (RLIMIT_NPROC)")
    assert not touched.exists()
    for id_ in (1, 2):
        rig.executor.signal(id_, 1, signal.SIGKILL)
    assert [end.status for end in finished(rig, 1, 2)] == [137 << 8] * 2
    rig.executor.start([evolve(order(rig, 3, "true", userid=user), attempt=2)])
    rig.wait(lambda: [item for item in rig.news if isinstance(item, Finished) and (item.id, item.attempt) == (3, 2)])
    assert rig.news[-1].status == 0


def test_an_attempt_that_was_put_off_is_kept_until_it_is_acknowledged(rig: LocalRig):
    user = 10  # uucp
    resource.prlimit(rig.executor._child, resource.RLIMIT_NPROC, (1, 1))
    rig.executor.limit(2, 2, GRACE_US)
    rig.executor.start([order(rig, id_, "sleep", "1000", userid=user) for id_ in (1, 2)])
    begun(rig, 1, 2)
    rig.executor.limit(3, 3, GRACE_US)
    an_attempt_that_was_put_off(rig, order(rig, 3, "true", userid=user))


def test_a_job_of_several_tasks_waits_for_processes_and_is_named(rig: LocalRig):
    """Some of its tasks may run already, so it cannot be put off."""
    user = 13  # proxy
    resource.prlimit(rig.executor._child, resource.RLIMIT_NPROC, (1, 1))
    rig.executor.start([order(rig, 1, "sleep", "1000", userid=user, tasks=3), rig.quick(2)])
    finished(rig, 2)
    rig.wait(lambda: of(rig.news, Starting, 1))
    assert of(rig.news, Starting, 1)[0].step == "wait: user proxy may have no more processes (RLIMIT_NPROC)"
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[-1].status == (128 + signal.SIGTERM) << 8


def test_a_path_that_another_user_says_is_not_followed(rig: LocalRig):
    """It may lead anywhere, to where a look never ends too."""
    link = rig.spool / "link"
    link.symlink_to(rig.spool)
    env = {"JQSCHED_JOB_ID": "1", "JQSCHED_ATTEMPT": "1", "JQSCHED_SPOOL": str(link), "PATH": os.environ["PATH"]}
    spool_fd = open_spool(str(rig.spool))
    try:
        for userid, followed in ((0, True), (NOBODY, False)):
            process = subprocess.Popen(["sleep", "1000"], env=env, user=userid, cwd="/", start_new_session=True)
            until(lambda process=process: procfs.mark(process.pid) is not None)
            found = ProcessTable(spool_fd, str(rig.spool), Marker(spool_fd)).mains((1, 1), 0, 0, userid)
            process.kill()
            process.wait()
            assert bool(found) == followed
    finally:
        os.close(spool_fd)


def test_whoever_could_go_back_does_not_begin(monkeypatch: pytest.MonkeyPatch):
    """The ids are looked at after they were set, in the child itself."""

    def status(**calls: object) -> tuple[int, str] | None:
        with monkeypatch.context() as patch:
            for name, call in calls.items():
                patch.setattr(setuid.os, name, call)
            pid, fd = setuid.fork_as(NOBODY, lambda *_: None, lambda failure: (7, str(failure)), ())
            os.waitpid(pid, 0)
            return failure_of(fd)

    assert status() is None
    real = os.setgroups
    for name, call in (("setresuid", print), ("setresgid", print), ("setgroups", lambda _: real([0, 4]))):
        found = status(**{name: call})
        assert found is not None, name
        assert "cannot become the user" in found[1]
    found = status(setuid=lambda _: None)
    assert found is not None
    assert "would still be root" in found[1]


def _status_line(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":\t", 1)[1] for line in lines if line.startswith(f"{name}:"))


def _call(number: int, *arguments: object) -> int:
    return int(LIBC.syscall(number, *arguments))


def _add_key() -> None:
    assert _call(attributes._KEYCTL, attributes._KEYCTL_JOIN_SESSION_KEYRING, b"of-root") > 0
    assert LIBC.syscall(ADD_KEY, b"user", b"jqsched-test", b"secret", 6, -3) > 0


# What root's scheduler may have of its own: how it is set, how it is read, and what a job of another user has.
OF_ROOT: dict[str, tuple[Callable[[], object], Callable[[], object], object]] = {
    "nice": (
        lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        0,
    ),
    "oom_score_adj": (
        lambda: Path("/proc/self/oom_score_adj").write_text("300"),
        lambda: Path("/proc/self/oom_score_adj").read_text(),
        "0\n",
    ),
    "scheduling": (
        lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(3)),
        lambda: (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
        (os.SCHED_OTHER, 0),
    ),
    "ionice": (
        lambda: _call(attributes._IOPRIO_SET, 1, 0, 1 << 13 | 2),
        lambda: _call(attributes._IOPRIO_SET + 1, 1, 0) >> 13 in (0, 2),  # none, or "best effort" as it follows nice
        True,
    ),
    "securebits": (lambda: LIBC.prctl(28, 0b10000, 0, 0, 0), lambda: LIBC.prctl(27, 0, 0, 0, 0), 0),
    "capabilities": (
        lambda: LIBC.prctl(28, 0b100, 0, 0, 0),  # SECBIT_NO_SETUID_FIXUP: the change of user drops none
        lambda: [_status_line(name) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
        ["0" * 16] * 4,
    ),
    "session keyring": (_add_key, lambda: _call(attributes._KEYCTL, 10, -3, b"user", b"jqsched-test", 0), -1),
    "signals": (
        lambda: (signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2})),
        lambda: (int(_status_line("SigIgn"), 16) & 1, _status_line("SigBlk")),
        (0, "0" * 16),
    ),
    "umask": (lambda: os.umask(0o777), lambda: os.umask(0), 0o022),
    "resource limits, which stay": (
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200)),
        lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
        (100, 200),
    ),
}


@pytest.mark.parametrize("name", OF_ROOT)
def test_a_job_of_another_user_inherits_what_is_written_down(name: str, monkeypatch: pytest.MonkeyPatch):
    """Seen to fail for each of these when it is not reset."""
    spoil, read, wanted = OF_ROOT[name]
    listening, speaking = os.pipe()
    monkeypatch.setattr(setuid.os, "setsid", spoil)  # the first thing that the child does
    pid, fd = setuid.fork_as(
        NOBODY,
        lambda *_: os.write(speaking, repr(read()).encode()),
        lambda failure: (7, str(failure)),
        (signal.SIGHUP,),
    )
    os.close(speaking)
    os.waitpid(pid, 0)
    with open(listening, encoding="ascii") as told:
        assert (told.read(), failure_of(fd)) == (repr(wanted), None)


@pytest.mark.parametrize("name", ["oom_score_adj", "nice"])
def test_what_a_container_does_not_let_us_reset_stays_where_it_is_no_advantage(name: str):
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    attributes._to_default(name, lambda: 7, refuse)
    with pytest.raises(PermissionError, match=name):
        attributes._to_default(name, lambda: -7, refuse)


def test_until_it_is_what_it_is_to_be_its_user_cannot_look_into_the_child_and_nobody_waits_for_it():
    """It is a copy of the executor: other jobs' environments are in its memory. Seen to be readable after exec."""
    waiting, going_on = os.pipe()

    def begin(*_: object) -> None:
        os.read(waiting, 1)
        os.execv("/bin/sleep", ["sleep", "1000"])

    pid, fd = setuid.fork_as(NOBODY, begin, lambda failure: (7, str(failure)), ())
    try:
        until(lambda: procfs.real_userid(pid) == NOBODY)
        for file in ("environ", "mem", "fd", "maps"):
            looked = subprocess.run(
                ["/bin/ls" if file == "fd" else "/bin/cat", f"/proc/{pid}/{file}"],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            assert b"Permission denied" in looked.stderr, file
        os.write(going_on, b".")
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        command = ["/bin/cat", f"/proc/{pid}/environ"]
        assert subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], check=False).returncode == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for left in (waiting, going_on):
            os.close(left)
    assert failure_of(fd) is None
