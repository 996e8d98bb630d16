"""The scheduler's own log: whatever stderr is, no write waits, nothing is raised, and what is lost is said."""

import os
import pty
import socket
import termios
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from jqsched.cli.log_stream import KEPT_MAX_BYTES, LogStream

LINE = "x" * 99 + "\n"
FLOOD = 3 * KEPT_MAX_BYTES // len(LINE)


def a_pipe() -> tuple[int, int]:
    return os.pipe()


def a_socket() -> tuple[int, int]:
    near, far = socket.socketpair()
    return near.detach(), far.detach()


def a_terminal() -> tuple[int, int]:
    """Stopped, as by Ctrl-S."""
    near, far = pty.openpty()
    attributes = termios.tcgetattr(far)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(far, termios.TCSANOW, attributes)
    termios.tcflow(far, termios.TCOOFF)
    return near, far


def opened(fd: int) -> TextIO:
    return open(fd, "w", encoding="utf-8")


def read_all(fd: int, until: Callable[[bytes], bool], flush: Callable[[], None]) -> bytes:
    data = b""
    while not until(data):
        flush()
        data += os.read(fd, 1 << 16)
    return data


@pytest.mark.parametrize("make", [a_pipe, a_socket, a_terminal])
def test_what_nobody_reads_is_kept_to_a_bound_and_the_rest_is_counted(make: Callable[[], tuple[int, int]]) -> None:
    near, far = make()
    with opened(far) as stream:
        log = LogStream(stream)
        for _ in range(FLOOD):
            log.write(LINE)
        assert os.get_blocking(far), "others share the flags of stderr"
        lost = log.lost
        assert 0 < lost < FLOOD
        if make is a_terminal:
            termios.tcflow(far, termios.TCOON)
        text = read_all(near, lambda data: b"lost: it could" in data and data.endswith(b"\n"), log.flush).decode()
        assert text.count(LINE) == FLOOD - lost
        assert f" {lost} line(s) of this log are lost" in text
        log.write("on\n")
        assert read_all(near, lambda data: data.endswith(b"on\n"), log.flush) == b"on\n"
        log.finish()
    os.close(near)


def test_a_reader_that_ends_ends_nothing_else() -> None:
    near, far = os.pipe()
    with opened(far) as stream:
        log = LogStream(stream)
        os.close(near)
        for _ in range(3):
            log.write(LINE)
        log.finish()
        assert log.lost == 3


def test_a_full_disk_is_said_when_there_is_room_again(tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full, (tmp_path / "log").open("w", encoding="utf-8") as file:
        log = LogStream(full)
        log.write(LINE * 2)
        os.dup2(file.fileno(), full.fileno())
        log.write(LINE)
        log.finish()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first + "\n" == LINE
    assert second.endswith("2 line(s) of this log are lost: it could not be written")


def test_no_stderr_at_all() -> None:
    log = LogStream(None)
    log.write(LINE)
    log.finish()
    assert not log.isatty()
