"""What one job names may hang or be held by another process: that job waits, and no other one notices."""

import ctypes
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched.adapters.executors.local.mounts import _may_hang
from jqsched.testing.contracts.executor import GRACE_US, finished, started
from tests.ports.executor_contract import LocalRig, until

NOBODY = 65534
_CLONE_NEWNS, _MS_REC_PRIVATE, _MNT_DETACH = 0x20000, 0x44000, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LocalRig]:
    made = LocalRig(tmp_path)
    made.connect()
    made.executor.limit(4, 4, GRACE_US)
    yield made
    made.close()


@pytest.fixture
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that never answers, in a mount namespace that only this test and its executor have."""
    before, here = os.open("/proc/self/ns/mnt", os.O_RDONLY), Path.cwd()
    where = tmp_path_factory.mktemp("dead")
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as reason:
        pytest.skip(f"no FUSE here: {reason}")
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    place = os.fsencode(where)
    if _LIBC.unshare(_CLONE_NEWNS) or _LIBC.mount(b"none", b"/", None, _MS_REC_PRIVATE, None):
        pytest.skip("no mount namespaces here")
    assert _LIBC.mount(b"dead", place, b"fuse", 0, options) == 0
    yield where
    os.close(server)  # a call that hangs gets an error
    _LIBC.umount2(place, _MNT_DETACH)
    _LIBC.setns(before, 0)
    os.chdir(here)  # setns(2) goes to the root of the namespace
    os.close(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("key", ["cwd", "output", "error", "command", "command in PATH"])
def test_a_job_on_a_dead_file_system_stops_nobody_and_can_be_stopped(dead: Path, rig: LocalRig, key: str):
    """Others start, reach their time limits and end; it is stopped as any job. Seen to fail for each key."""
    path = str(dead / "x")
    order = {
        "cwd": rig.order(1, "true", cwd=path),
        "output": rig.order(1, "true", output=path),
        "error": rig.order(1, "true", error=path),
        "command": rig.order(1, path),
        "command in PATH": rig.order(1, "nosuch", env=(("PATH", str(dead)),)),
    }[key]
    rig.executor.start([order, rig.quick(2, 3), rig.script(3, "exec sleep 1000", time_limit_us=200_000)])
    assert finished(rig, 2)[-1].status == 3 << 8
    started(rig, 1)
    rig.executor.stop(3, 1)
    rig.executor.stop(1, 1)
    ends = {end.id: end.status for end in finished(rig, 1, 3)}
    assert ends[1] == (128 + signal.SIGTERM) << 8
    assert ends[3] == (128 + signal.SIGTERM) << 8


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_job_that_hangs_dies_with_its_executor_and_the_next_one_starts(dead: Path, rig: LocalRig):
    """Before it has become the job no other process could tell how it ends; and it would keep the executor's lock."""
    rig.executor.start([rig.order(1, "true", cwd=str(dead))])
    pid = started(rig, 1)[0].pid
    rig.crash_executor()
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    rig.connect()
    rig.executor.limit(4, 4, GRACE_US)
    rig.executor.start([rig.quick(2)])
    assert finished(rig, 2)[-1].status == 0


@pytest.mark.parametrize("key", ["output", "error", "command"])
def test_a_lease_keeps_one_job_waiting_and_nobody_else(rig: LocalRig, key: str):
    """The errno is that of a machine without room for a process, and is not taken for it."""
    leased = rig.spool / "leased"
    shutil.copy("/bin/true", leased)
    if key == "command" and os.geteuid() == 0:
        os.chown(leased, NOBODY, NOBODY)  # a lease on a file of root's is root's affair
    handler = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(leased, os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        order = rig.order(1, str(leased)) if key == "command" else rig.order(1, "true", **{key: str(leased)})
        rig.executor.start([order, rig.quick(2, 3)])
        assert finished(rig, 2)[-1].status == 3 << 8
        assert [item.id for item in rig.news if hasattr(item, "status")] == [2]
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, handler)
    assert finished(rig, 1)[-1].status == 0


@pytest.mark.parametrize(
    ("kind", "place", "may_hang"),
    [
        ("ext4", "/", False),
        ("overlay", "/", False),
        ("tmpfs", "/tmp", False),
        ("nfs4", "/home", True),
        ("fuse.sshfs", "/home/ada/far", True),
        ("autofs", "/net", True),
        ("autofs", "/proc/sys/fs/binfmt_misc", False),
        ("something-new", "/x", True),
    ],
)
def test_which_file_systems_may_hang(kind: str, place: str, may_hang: bool):
    assert _may_hang(f"36 35 98:0 /mnt1 {place} rw,noatime master:1 - {kind} - - rw,errors=continue") == may_hang
