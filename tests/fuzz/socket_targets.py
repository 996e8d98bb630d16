"""The targets at sockets: requests to the server, what an executor process says, and the file that one leaves.

Rule: the world is made anew for each input, so that an answer depends on nothing before it; the bytes come at once and
in pieces, and the answers are the same.
"""

import errno
import json
import os
import selectors
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from jqsched.adapters import server
from jqsched.adapters.executors.local import wire
from jqsched.adapters.executors.local.client import LocalExecutor
from jqsched.adapters.executors.local.exit_status_journal import Record
from jqsched.adapters.jobfile import BadFile, read_job
from jqsched.cli.failure import printable
from jqsched.core.job import Draft
from jqsched.ports import ExecutorLost, Expired, Finished, News, Started, Withdrawn
from jqsched.runtime.daemon import _Daemon
from jqsched.testing.harness import Rig

LINE_MAX_BYTES = 8_192  # in place of the server's 4 MiB, that inputs may exceed it
TURNS_MAX = 50
PIECES_MAX = 8
WAIT_FOR_JOBS = {"job-manager.wait", "job-manager.drain"}  # these are answered when jobs have ended

Lines = tuple[str, ...]


# ---- requests -------------------------------------------------------------------------------------------------------


def frames(data: bytes) -> Lines:
    """Requests: each is answered or waits, at once and in pieces alike, and the server goes on."""
    with mock.patch.object(server, "LINE_MAX_BYTES", LINE_MAX_BYTES):
        answers, waiting = _asked([data])
        again = _asked(_pieces(data))
    assert (answers, waiting) == again, f"in pieces it is answered otherwise: {answers} {again}"
    for answer in answers:
        _check(answer)
    _all_answered(data, answers, waiting)
    errors = [answer for answer in answers if "errnum" in answer and answer["errnum"] != errno.ENODATA]
    if len(errors) < len(answers) or not answers:
        return ()
    return tuple(printable(line) for answer in errors[:8] for line in answer["errstr"].split("\n"))


def _check(answer: dict[str, Any]) -> None:
    assert type(answer["matchtag"]) is int
    assert -1 <= answer["matchtag"] < 2**63
    if "errnum" in answer:
        assert set(answer) == {"matchtag", "errnum", "errstr"}
        assert answer["errnum"] in errno.errorcode
        assert isinstance(answer["errstr"], str)
    else:
        assert set(answer) == {"matchtag", "payload"}
        assert isinstance(answer["payload"], dict)


def _all_answered(data: bytes, answers: list[dict[str, Any]], waiting: set[int]) -> None:
    """Each of the good requests, up to the first bad one, has an answer, or waits for jobs to end."""
    asked: dict[int, str] = {}
    for line in data.split(b"\n")[:-1]:
        try:
            topic, matchtag, _, _ = server._parse(line)
        except server._Malformed:
            if len(line) > LINE_MAX_BYTES:
                return
            last = answers[-1] if answers else {}
            assert last.get("errnum") == errno.EPROTO, "what is no request is answered so"
            return
        if len(line) > LINE_MAX_BYTES or matchtag in asked or topic in ("cancel", "disconnect"):
            return
        asked[matchtag] = topic
    if len(data.rpartition(b"\n")[2]) <= LINE_MAX_BYTES:
        assert sorted(asked) == sorted({*(answer["matchtag"] for answer in answers), *waiting}), (asked, answers)
    assert {asked[matchtag] for matchtag in waiting} <= WAIT_FOR_JOBS


def _pieces(data: bytes) -> list[bytes]:
    random = Random(zlib.crc32(data))
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(1, PIECES_MAX)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class _Desk:
    """A server that lives on, and a scheduler that is new for each client."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jqsched-fuzz-")
        self.selector = selectors.DefaultSelector()
        self.log: list[str] = []
        self.server = server.Server(self._folder.name, self._handle, self.selector, self.log.append)
        self.rig = _rig()

    def _handle(self, request: server.Request) -> None:
        _Daemon._command(SimpleNamespace(_built=SimpleNamespace(commands=self.rig.commands)), request)  # type: ignore[arg-type]  # no more of it is used

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self._folder.name}/{server.FILE_NAME}")
            connection.setblocking(False)
            yield connection
        self.pump()
        assert not self.server.clients, "who is gone is forgotten"

    def pump(self) -> None:
        """Let the server do all that it can do now."""
        while ready := self.selector.select(0):
            for key, mask in ready:
                key.data(mask)

    def settle(self) -> None:
        """Let the scheduler come to rest."""
        for _ in range(TURNS_MAX):
            self.rig.turn()
            self.rig.commit()
            self.rig.advance()
            self.pump()
            if self.rig.scheduler.is_settled:
                break
        self.rig.check()

    @property
    def waiting(self) -> set[int]:
        """The requests that are not answered."""
        return {matchtag for client in self.server.clients for matchtag in client.requests}


def _rig() -> Rig:
    """One job runs, two wait, one of these held."""
    rig = Rig(_parse)
    rig.boot()
    for nth, more in enumerate(("", "", ', "urgency": 0')):
        rig.scheduler.intake.submit(f'{{"command": ["true"], "name": "job{nth}"{more}}}')
    for _ in range(3):
        rig.turn()
        rig.commit()
        rig.advance()
    return rig


def _parse(text: str, name: str) -> Draft | str:
    job = read_job(text.encode(), ".json", "/", name=name)
    return "\n".join(job.errors) if isinstance(job, BadFile) else job


@cache
def _desk() -> _Desk:
    return _Desk()


def _asked(pieces: list[bytes]) -> tuple[list[dict[str, Any]], set[int]]:
    """What is answered, and what waits in the end."""
    driver = _desk()
    driver.rig = _rig()
    with driver.client() as connection:
        for piece in pieces:
            with suppress(BrokenPipeError):
                connection.sendall(piece)
            driver.pump()
        driver.settle()
        answers, waiting = _answers(connection), driver.waiting
    with driver.client() as connection:
        connection.sendall(b'{"topic":"ping","matchtag":1}\n')
        driver.pump()
        driver.settle()
        assert [answer["errnum"] for answer in _answers(connection)] == [errno.ENOSYS], "the next one is served"
    return answers, waiting


def _answers(connection: socket.socket) -> list[dict[str, Any]]:
    data = b""
    with suppress(BlockingIOError, ConnectionResetError):
        while chunk := connection.recv(1 << 20):
            data += chunk
    assert not data or data.endswith(b"\n"), "an answer is a whole line"
    return [json.loads(line, parse_constant=_no_number) for line in data.splitlines()]


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


# ---- the executor ---------------------------------------------------------------------------------------------------

_FIELDS: dict[type, tuple[tuple[type, ...], ...]] = {
    Started: ((int,),) * 5,
    Finished: ((int,), (int,), (int, type(None)), (str, type(None)), (int,), (int,), (int,), (int,)),
    Withdrawn: ((int,),) * 2,
    Expired: ((int,),) * 2,
}


def executor(data: bytes) -> Lines:
    """What an executor process says: news of the right types, or it is lost with a reason; at once and in pieces."""
    whole, pieces = _told([data]), _told(_pieces(data))
    reasons = [item.reason for item in whole if isinstance(item, ExecutorLost)]
    assert len(reasons) <= 1, "it is lost once"
    for item in whole:
        for kinds, name in zip(_FIELDS.get(type(item), ()), type(item).__slots__, strict=False):
            assert type(getattr(item, name)) in kinds, f"{item} has the types of its fields"
    lost = [item for item in pieces if isinstance(item, ExecutorLost)]
    assert len(lost) == len(reasons), "in pieces it is understood alike"
    return tuple(reasons)


def _told(pieces: list[bytes]) -> list[News]:
    told: list[News] = []
    near, far = socket.socketpair()
    with far:
        local = LocalExecutor(str(_folder()), told.append)
        local._link, local._deliver = wire.Link(near), told.extend
        for piece in pieces:
            far.setblocking(False)
            left = piece
            while left and local._link:
                with suppress(BlockingIOError, BrokenPipeError):
                    left = left[far.send(left) :]
                local.on_readable()
            _drain(local)
        local.close()
        near.close()
    return told


def _drain(local: LocalExecutor) -> None:
    """Read what is there, a chunk at a time."""
    for _ in range(4):
        local.on_readable()


def statuses(data: bytes) -> Lines:
    """The statuses that an executor left: read, or refused as damaged."""
    folder = _folder()
    (folder / wire.STATE).unlink(missing_ok=True)  # to write over it would wait for the disk
    (folder / wire.STATE).write_bytes(data)
    fd = wire.open_spool(str(folder))
    record = None
    try:
        record = Record(fd)
        ended = record.load()
    except ValueError as wrong:
        return (str(wrong),)
    finally:
        if record is not None:
            os.close(record._lock_fd)
        os.close(fd)
    for fields in ended:
        assert list(map(type, fields[:2])) == [int, int], "a status has its fields"
        assert len(fields) == 9
    json.dumps(ended)
    return ()


@cache
def _folder() -> Path:
    return Path(_made().name)


@cache
def _made() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="jqsched-fuzz-")
