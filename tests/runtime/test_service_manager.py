"""What a scheduler tells systemd, and the unit files that rely on it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched.runtime.service_manager import ServiceManager

UNITS = sorted((Path(__file__).parents[2] / "docs" / "systemd").glob("*.service"))


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@jqsched-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.setblocking(False)
        yield sock, name


def told(sock: socket.socket) -> list[str]:
    states = []
    while True:
        try:
            states.append(sock.recv(100).decode())
        except BlockingIOError:
            return states


def test_it_tells_of_its_life_in_order(listener: tuple[socket.socket, str]):
    """Three times within the watchdog's time, once of the end; and its children do not inherit where to tell."""
    sock, name = listener
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    manager = ServiceManager(environ)
    assert environ == {"HOME": "/"}
    manager.ready()
    manager.keep_alive(10_000_000)
    assert manager.due_us == 11_000_000
    manager.keep_alive(10_999_999)
    manager.keep_alive(11_000_000)
    manager.stopping()
    manager.stopping()
    assert told(sock) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}])
def test_without_a_watchdog_for_it_it_is_not_due(tmp_path: Path, watchdog: dict[str, str]):
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone"), **watchdog})
    manager.ready()  # nothing listens: nothing happens
    manager.keep_alive(10**12)
    assert manager.due_us is None


def test_without_systemd_it_tells_nobody():
    manager = ServiceManager({"WATCHDOG_USEC": "3000000"})
    manager.ready()
    assert manager.due_us is None


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_file_is_one_that_systemd_accepts(unit: Path, tmp_path: Path):
    """With a program that is there in place of jqsched, and a user that is."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    text = unit.read_text()
    for program in ("%h/.local/bin/jqsched", "/usr/local/bin/jqsched"):
        text = text.replace(program, "/bin/true")
    checked = tmp_path / unit.name.replace("@", "-of")
    checked.write_text(text.replace("%i", "root"))
    verified = subprocess.run(["systemd-analyze", "verify", checked], capture_output=True, text=True, check=False)
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if "jqsched" in line]) == (0, [])
