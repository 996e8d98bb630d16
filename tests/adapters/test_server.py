"""The socket server and the connection to it: answers, streams, bounds, and clients of every bad manner."""

import contextlib
import errno
import gc
import json
import os
import selectors
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched.adapters import server as module
from jqsched.adapters.server import Request, Server
from jqsched.client.connection import Connection, NoScheduler

LAST_WORD = "the scheduler ended: commit to the store: /spool/jqsched.db: SQLITE_FULL"


class Loop:
    """A server and the selector loop that drives it, on a thread so that clients may block."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.log: list[str] = []
        self.requests: list[Request] = []
        self.seen = threading.Semaphore(0)
        self.selector = selectors.DefaultSelector()
        self.server = Server(self.root, self.handle, self.selector, self.log.append)
        self.calls: list = []
        self.wake, self.waker = socket.socketpair()
        self.selector.register(self.wake, selectors.EVENT_READ, lambda _: self.called())
        self.done = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def handle(self, request: Request) -> None:
        if request.topic == "echo":
            request.respond(request.payload)
        elif request.topic == "fail":
            request.respond_error(errno.ENOENT, "unknown job id")
        elif request.topic == "count":
            for n in range(request.payload["to"]):
                request.stream({"n": n})
            request.end()
        else:
            self.requests.append(request)
            self.seen.release()

    def run(self) -> None:
        while not self.done:
            for key, mask in self.selector.select():
                key.data(mask)

    def called(self) -> None:
        self.wake.recv(1)
        call, answer = self.calls.pop()
        call()
        answer.set()

    def do(self, call) -> None:
        """Do something on the loop's thread, and wait until it is done."""
        answer = threading.Event()
        self.calls.append((call, answer))
        self.waker.send(b"x")
        assert answer.wait(10)

    def next_request(self) -> Request:
        assert self.seen.acquire(timeout=100)
        return self.requests.pop(0)

    def close(self) -> None:
        self.do(lambda: setattr(self, "done", True))
        self.thread.join()
        self.server.close(LAST_WORD)
        self.selector.close()
        self.wake.close()
        self.waker.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    running = Loop(tmp_path)
    yield running
    running.close()


@contextlib.contextmanager
def raw(loop: Loop) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(f"{loop.root}/jqsched.sock")
        yield connection


def everything(connection: socket.socket) -> list[dict]:
    data = b""
    while chunk := connection.recv(1 << 20):
        data += chunk
    return [json.loads(line) for line in data.splitlines()]


# --- answers -----------------------------------------------------------------------------------------------------


def test_a_request_is_answered(loop: Loop):
    with Connection(loop.root) as connection:
        assert connection.request("echo", {"text": "grüße\n"}) == {"text": "grüße\n"}
        assert connection.request("echo") == {}


@pytest.mark.parametrize("in_its_place", ["nothing", "socket", "folder"])
def test_a_socket_that_was_removed_is_made_again(loop: Loop, in_its_place: str):
    """Clients that are connected do not notice. Seen to keep all others out until the scheduler was started again."""
    path = Path(loop.root) / "jqsched.sock"
    with Connection(loop.root) as before, socket.socket(socket.AF_UNIX) as other:
        loop.do(loop.server.ensure)
        assert loop.log == []
        path.unlink()
        if in_its_place == "socket":
            other.bind(str(path))
        elif in_its_place == "folder":
            path.mkdir()
            loop.do(loop.server.ensure)
            assert "cannot be made again: is in the way and no socket" in loop.log.pop()
            path.rmdir()
        loop.do(loop.server.ensure)
        assert loop.log == [f"{path} was removed or replaced: made again"]
        with Connection(loop.root) as after:
            for connection in (before, after):
                assert connection.request("echo", {"text": "x"}) == {"text": "x"}


def test_an_error_keeps_its_errno_and_text(loop: Loop):
    with Connection(loop.root) as connection:
        with pytest.raises(OSError) as caught:
            connection.request("fail")
        assert (caught.value.errno, caught.value.strerror) == (errno.ENOENT, "unknown job id")
        assert connection.request("echo") == {}, "the connection goes on"


def test_a_stream_ends(loop: Loop):
    with Connection(loop.root) as connection:
        assert [message["n"] for message in connection.stream("count", {"to": 3})] == [0, 1, 2]


def test_a_request_may_go_between_the_messages_of_a_stream(loop: Loop):
    with Connection(loop.root) as connection:
        stream = connection.stream("count", {"to": 3})
        assert connection.request("echo", {"a": 1}) == {"a": 1}
        assert [message["n"] for message in stream] == [0, 1, 2]


def test_an_answer_larger_than_every_buffer_arrives_whole(loop: Loop):
    text = "x" * 3_000_000
    with Connection(loop.root) as connection:
        for _ in range(3):
            assert connection.request("echo", {"text": text})["text"] == text


def test_the_socket_is_its_owners_alone(loop: Loop):
    status = os.stat(f"{loop.root}/jqsched.sock")
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_a_long_path_works(tmp_path: Path):
    root = tmp_path / ("long" * 30) / ("long" * 30)
    root.mkdir(parents=True)
    running = Loop(root)
    try:
        with Connection(str(root)) as connection:
            assert connection.request("echo", {"a": 1}) == {"a": 1}
    finally:
        running.close()
    assert not (root / "jqsched.sock").exists()


def test_a_dead_schedulers_socket_is_replaced(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "jqsched.sock"))
    with pytest.raises(NoScheduler):
        Connection(str(tmp_path))
    running = Loop(tmp_path)
    with Connection(running.root) as connection:
        assert connection.request("echo") == {}
    running.close()


def test_what_is_no_socket_is_not_removed(tmp_path: Path):
    (tmp_path / "jqsched.sock").write_text("mine")
    with selectors.DefaultSelector() as selector, pytest.raises(FileExistsError):
        Server(str(tmp_path), print, selector, print)
    assert (tmp_path / "jqsched.sock").read_text() == "mine"


def test_no_scheduler_is_said_so(tmp_path: Path):
    with pytest.raises(NoScheduler):
        Connection(str(tmp_path))
    with pytest.raises(NoScheduler):
        Connection(str(tmp_path / "absent"))


def test_a_scheduler_that_goes_away_is_said_so(tmp_path: Path):
    running = Loop(tmp_path)
    with Connection(running.root) as connection:
        stream = connection.stream("bell")
        running.next_request()
        running.close()
        assert list(stream) == [], "an open stream is ended properly"
        with pytest.raises(NoScheduler):
            connection.request("echo")


def test_who_waits_for_an_answer_hears_why_there_will_be_none(tmp_path: Path):
    """The reason is the scheduler's, not that of its socket; a wait and a submission alike know that it went away."""
    running, heard = Loop(tmp_path), []

    def ask() -> None:
        with Connection(running.root) as connection, pytest.raises(NoScheduler) as caught:
            connection.request("submit")
        heard.append((caught.value.errno, caught.value.strerror))

    asking = threading.Thread(target=ask)
    asking.start()
    running.next_request()
    running.close()
    asking.join(10)
    assert heard == [(errno.ENOTCONN, LAST_WORD)]


# --- requests that end early -------------------------------------------------------------------------------------


def test_a_client_that_goes_away_closes_its_requests(loop: Loop):
    closed = threading.Event()
    with Connection(loop.root) as connection:
        connection.stream("bell")
        request = loop.next_request()
        loop.do(lambda: setattr(request, "on_close", closed.set))
    assert closed.wait(10)
    assert not request.is_open
    loop.do(lambda: request.stream({}))
    loop.do(lambda: request.respond({}))


def test_a_stream_that_nobody_reads_further_is_closed(loop: Loop):
    closed = threading.Event()
    with Connection(loop.root) as connection:
        stream = connection.stream("bell")
        request = loop.next_request()
        loop.do(lambda: setattr(request, "on_close", closed.set))
        loop.do(lambda: request.stream({"seq": 1}))
        assert next(stream) == {"seq": 1}
        stream.close()
        assert closed.wait(10)
        assert connection.request("echo", {"a": 1}) == {"a": 1}


def test_a_stream_can_be_canceled(loop: Loop):
    with raw(loop) as connection:
        connection.sendall(b'{"topic":"bell","matchtag":1,"streaming":true}\n')
        request = loop.next_request()
        assert request.streaming
        connection.sendall(b'{"topic":"cancel","matchtag":1}\n{"topic":"cancel","matchtag":7}\n')
        answer = json.loads(connection.recv(1000))
        assert (answer["matchtag"], answer["errnum"]) == (1, errno.ENODATA)
        assert not request.is_open


def test_an_answered_request_is_not_closed_again(loop: Loop):
    called: list[int] = []
    with Connection(loop.root) as connection:
        stream = connection.stream("bell")
        request = loop.next_request()
        loop.do(lambda: setattr(request, "on_close", lambda: called.append(1)))
        loop.do(request.end)
        assert list(stream) == []
    with Connection(loop.root) as connection:
        assert connection.request("echo") == {}, "the first one's end was seen before this was answered"
    assert called == []


# --- bounds and bad manners --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"\xff",
        b'{"topic":"echo"}',
        b'{"topic":"echo","matchtag":-1}',
        b'{"topic":"echo","matchtag":true}',
        b'{"topic":"echo","matchtag":1e3}',
        b'{"topic":7,"matchtag":1}',
        b'{"topic":"echo","matchtag":1,"payload":[]}',
        b'{"topic":"echo","matchtag":1,"payload":{"a":NaN}}',
        b'{"topic":"echo","matchtag":1,"payload":{"a":"\\ud800"}}',
        b'{"topic":"echo","matchtag":1,"streaming":1}',
        b'{"topic":"echo","matchtag":' + b"9" * 5000 + b"}",
        b'{"topic":"echo","matchtag":1,"payload":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
def test_a_malformed_line_is_answered_and_ends_the_connection(loop: Loop, line: bytes):
    with raw(loop) as connection:
        connection.sendall(line + b'\n{"topic":"echo","matchtag":2}\n')
        (answer,) = everything(connection)
    assert answer["errnum"] == errno.EPROTO
    assert answer["errstr"]


def test_a_matchtag_in_use_is_refused(loop: Loop):
    with raw(loop) as connection:
        connection.sendall(b'{"topic":"bell","matchtag":1}\n' * 2)
        (answer,) = everything(connection)
    assert (answer["matchtag"], answer["errnum"]) == (1, errno.EPROTO)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_too_long_is_refused(loop: Loop, monkeypatch: pytest.MonkeyPatch, end: bytes):
    monkeypatch.setattr(module, "LINE_MAX_BYTES", 1000)
    with raw(loop) as connection:
        connection.sendall(b"x" * 1001 + end)
        (answer,) = everything(connection)
    assert answer["errnum"] == errno.EMSGSIZE


def test_a_line_may_come_in_pieces(loop: Loop):
    with raw(loop) as connection:
        for byte in b'{"topic":"echo","matchtag":5,"payload":{"a":1}}\n':
            connection.sendall(bytes([byte]))
        assert json.loads(connection.recv(1000)) == {"matchtag": 5, "payload": {"a": 1}}


def test_too_many_open_requests_are_refused_one_by_one(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "OPEN_REQUESTS_MAX", 2)
    with raw(loop) as connection:
        for n in range(3):
            connection.sendall(b'{"topic":"bell","matchtag":%d}\n' % n)
        answer = json.loads(connection.recv(1000))
        assert (answer["matchtag"], answer["errnum"]) == (2, errno.EAGAIN)
        loop.do(loop.next_request().end)
        assert json.loads(connection.recv(1000))["matchtag"] == 0
        connection.sendall(b'{"topic":"echo","matchtag":9}\n')
        assert json.loads(connection.recv(1000)) == {"matchtag": 9, "payload": {}}


def test_open_requests_that_hold_too_much_are_refused_one_by_one(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    """What is answered, canceled or refused holds nothing any more."""
    monkeypatch.setattr(module, "OPEN_REQUESTS_MAX_BYTES", 1000)
    with raw(loop) as connection:

        def ask(matchtag: int, size: int) -> None:
            line = json.dumps({"topic": "bell", "matchtag": matchtag, "payload": {"a": "x" * size}})
            connection.sendall(line.encode() + b"\n")

        for round_ in range(3):
            ask(2 * round_, 600)
            request = loop.next_request()
            ask(2 * round_ + 1, 600)
            answer = json.loads(connection.recv(1000))
            assert (answer["matchtag"], answer["errnum"]) == (2 * round_ + 1, errno.EAGAIN)
            if round_:
                loop.do(request.end)
            else:
                connection.sendall(b'{"topic":"cancel","matchtag":0}\n')
            assert json.loads(connection.recv(1000))["matchtag"] == 2 * round_
            assert not request.is_open


def test_a_slow_reader_is_dropped_and_named(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "UNREAD_MAX_BYTES", 100_000)
    with raw(loop) as connection:
        connection.sendall(b'{"topic":"bell","matchtag":1,"streaming":true}\n')
        request = loop.next_request()

        def flood() -> None:
            while request.is_open:
                request.stream({"text": "x" * 10_000})

        loop.do(flood)
        assert request.unread_bytes > 100_000
    assert any(f"pid {os.getpid()}" in line and "unread" in line for line in loop.log)
    with Connection(loop.root) as connection:
        assert connection.request("echo") == {}


def test_one_client_too_many_is_told_so(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CLIENTS_MAX", 1)
    with Connection(loop.root) as first:
        assert first.request("echo") == {}
        with Connection(loop.root) as second, pytest.raises(OSError) as caught:
            second.request("echo")
        assert caught.value.errno == errno.EAGAIN
        assert first.request("echo") == {}


def test_beyond_the_clients_some_may_ask_how_it_is(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CLIENTS_MAX", 1)
    monkeypatch.setattr(module, "EXTRA_CLIENTS_MAX", 1)
    monkeypatch.setattr(module, "EXTRA_TOPIC", "echo")
    with Connection(loop.root) as first, Connection(loop.root) as second, Connection(loop.root) as third:
        assert [first.request("echo"), second.request("echo")] == [{}, {}]
        with pytest.raises(OSError, match="too many clients"):
            third.request("echo")
        with pytest.raises(OSError, match="too many clients"):
            second.request("other")


def test_another_users_client_is_refused(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_peer", lambda _: (1, os.geteuid() + 1))
    with raw(loop) as connection:
        (answer,) = everything(connection)
    assert answer["errnum"] == errno.EPERM


def test_who_is_at_the_other_end_comes_from_the_kernel(loop: Loop):
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert module._peer(one) == (os.getpid(), os.geteuid())
        assert struct.calcsize("3i") == 12


def no_room() -> int:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("taken", [False, True], ids=["and one to spare", "that one taken by another thread meanwhile"])
def test_without_a_descriptor_left_clients_are_turned_away_and_the_loop_does_not_spin(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, taken: bool
):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # what tests before this one left would be closed in the middle of it, and make room
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        held: list[int] = []
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            if taken:
                monkeypatch.setattr(module, "_spare", no_room)
            connection.connect(f"{loop.root}/jqsched.sock")
            assert connection.recv(1) == b""
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in held:
                os.close(descriptor)
    assert any("cannot accept" in line for line in loop.log)
    with Connection(loop.root) as after:
        assert after.request("echo") == {}
