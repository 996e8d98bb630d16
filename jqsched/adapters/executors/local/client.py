"""`LocalExecutor`: the port `Executor` over a connection to a spool's executor process, started where none lives.

In: orders, and the connection's readiness. Out: news; PortError where no executor can be had.
Rule: no decision about jobs, no thread, no waiting but in `recover`. The caller's loop calls `on_readable` when
`fileno` is readable, and `on_writable` when it is writable while `wants_write`.
"""

import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jqsched.adapters.executors.local import wire
from jqsched.adapters.executors.local.heartbeat import SILENT_S, Heartbeat, peer, send
from jqsched.adapters.executors.local.wire import Link, Message
from jqsched.adapters.secure_open import secure_open
from jqsched.core.jobspec.values import show
from jqsched.ports import (
    Attempt,
    ExecutorLost,
    Expired,
    Finished,
    News,
    PortError,
    Recovery,
    Start,
    Started,
    Starting,
    Withdrawn,
)

_PATIENCE_S = 10.0
_SILENT_MOST_S = 10.0  # how long it may stay silent after it was continued
_AGAIN_S = 1.0
_ACKNOWLEDGED_MOST = 64
_PACKAGES = Path(__file__).resolve().parents[4]
# The packages' own __init__ would import what an executor has no use for, at each start: bare packages stand in.
_BOOT = """
import sys, types
for name in ("jqsched", "jqsched.adapters", "jqsched.adapters.executors", "jqsched.adapters.executors.local"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
from jqsched.adapters.executors.local.process import main
main(sys.argv[2])
"""


class LocalExecutor:
    """Orders for, and news from, the executor process of one spool."""

    def __init__(self, spool_dir: str, log: Callable[[str], None]) -> None:
        self._spool = os.path.abspath(spool_dir)
        self._log = log
        self._link: Link | None = None
        self._heartbeat: Heartbeat | None = None  # while there is a link
        self._deliver: Callable[[Sequence[News]], None] = lambda _: None
        self._limits: Message | None = None
        self._acknowledged: list[tuple[int, int]] = []  # sent with the next orders: nothing depends on them
        self._child = 0  # the executor process, where it is this process's child
        self._former: list[int] = []  # those before it, until they are reaped
        self._met = False

    # ---- connecting -----------------------------------------------------------------------------------------------

    def recover(self, attempts: Sequence[Attempt], deliver: Callable[[Sequence[News]], None]) -> Recovery:
        """Connect to the living executor or start a new one, and return the states of these attempts. Blocks."""
        self.close()
        self._deliver = deliver
        deadline_s = time.monotonic() + _PATIENCE_S
        asked = [[a.id, a.attempt, a.pid, a.start_ticks, a.boot_id, a.cores, a.userid] for a in attempts]
        hello: Message = ["hello", wire.VERSION, asked]
        try:
            spool_fd = wire.open_spool(self._spool)
        except OSError as failure:
            raise _port_error("open the spool", self._spool, failure) from failure
        try:
            answer = self._say_hello(spool_fd, hello, deadline_s)
        finally:
            os.close(spool_fd)
        if self._limits:
            self._send(self._limits)
        return self._recovered(attempts, answer)

    def _say_hello(self, spool_fd: int, hello: Message, deadline_s: float) -> Message:
        """Find an executor that answers: one may be ending just now, or have died since the last look."""
        no_room: PortError | None = None
        while time.monotonic() < deadline_s:
            told, no_room = no_room, None if self._lives(spool_fd) else self._spawn(deadline_s)
            if no_room is not None:
                if told is None:
                    self._log(f"{no_room}: trying again")
                time.sleep(_AGAIN_S)  # no event tells when there is room
                continue
            sock = self._connect(spool_fd)
            if sock is None:
                time.sleep(0.002)  # it is starting: its socket is not there yet, and no event tells when
                continue
            link = Link(sock)
            link.send([hello])
            answer = _await_answer(link, min(deadline_s, time.monotonic() + SILENT_S))
            if answer is None and self._lives(spool_fd):
                answer = self._await_silent(link)
                deadline_s = time.monotonic() + _PATIENCE_S  # it has ended, perhaps by us: for another one
            if answer and answer[0] == "state":
                self._link, self._heartbeat = link, Heartbeat(sock, time.monotonic(), self._log)
                return answer
            link.close()
            if answer:
                raise PortError("connect to the executor", self._path(wire.SOCKET), None, str(answer[-1]))
        raise no_room or PortError(
            "connect to the executor", self._path(wire.SOCKET), None, f"it does not answer (see {wire.LOG} beside it)"
        )

    def _await_silent(self, link: Link) -> Message | None:
        """Wait for the answer of an executor that is silent: it is continued, and in the end killed."""
        pid = peer(link.sock)
        self._log(f"the executor (pid {pid}) does not answer; continuing it")
        send(pid, signal.SIGCONT)
        answer = _await_answer(link, time.monotonic() + _SILENT_MOST_S)
        if answer is None and link.receive() is not None:
            self._log(f"the executor (pid {pid}) does not answer; killing it, another one takes over its jobs")
            send(pid, signal.SIGKILL)
            _await_answer(link, time.monotonic() + _PATIENCE_S)
        return answer

    def _lives(self, spool_fd: int) -> bool:
        """Say whether an executor holds the lock."""
        try:
            fd = secure_open(wire.LOCK, os.O_RDWR | os.O_CREAT, dir_fd=spool_fd)
        except OSError as failure:
            raise _port_error("open the executor's lock", self._path(wire.LOCK), failure) from failure
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as failure:
            raise _port_error("lock", self._path(wire.LOCK), failure) from failure
        finally:
            os.close(fd)
        return False

    def _connect(self, spool_fd: int) -> socket.socket | None:
        """Connect; None when no executor listens, yet or any more."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(wire.address(spool_fd))
        except (FileNotFoundError, ConnectionError):
            sock.close()
            return None
        except OSError as failure:
            sock.close()
            raise _port_error("connect to the executor", self._path(wire.SOCKET), failure) from failure
        return sock

    def _spawn(self, deadline_s: float) -> PortError | None:
        """Start an executor process, and wait until it is ready or has said why not.

        Returns a text if the machine has no room for it now; a later attempt may succeed.
        """
        self._reap()
        try:
            child, ready_fd = self._launch()
        except OSError as failure:
            error = _port_error("start the executor", sys.executable, failure)
            if failure.errno not in wire.NO_ROOM:
                raise error from failure
            return error
        self._former.append(self._child)
        self._child = child
        output = _read_until_ready(ready_fd, deadline_s)
        if output != wire.READY and self._ended_unwanted():
            text = output.decode(errors="replace").strip() or "it ended without a word"
            raise PortError("start the executor", self._spool, None, text.splitlines()[-1])
        return None

    def _launch(self) -> tuple[int, int]:
        """Start the process; its pid, and where it says that it is ready, or why not. Raises OSError."""
        arguments = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, str(_PACKAGES), self._spool]
        # One that is started from within a job must not pass for a part of that job.
        env = {name: value for name, value in os.environ.items() if name not in ("JQSCHED_JOB_ID", "JQSCHED_ATTEMPT")}
        ready_fd, child_fd = os.pipe()
        try:
            pid = os.posix_spawn(
                sys.executable,
                arguments,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, child_fd, 1),
                    (os.POSIX_SPAWN_DUP2, child_fd, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except OSError:
            os.close(ready_fd)
            raise
        finally:
            os.close(child_fd)
        return pid, ready_fd

    def _ended_unwanted(self) -> bool:
        """Tell why a new executor did not get ready: a failure, or another one was faster."""
        self._reap()
        spool_fd = wire.open_spool(self._spool)
        try:
            return not self._lives(spool_fd)
        finally:
            os.close(spool_fd)

    def _reap(self) -> None:
        """Reap executors that have ended."""
        left = [pid for pid in (*self._former, self._child) if pid and not _has_ended(pid)]
        self._former = [pid for pid in left if pid != self._child]
        if self._child not in left:
            self._child = 0

    def _recovered(self, attempts: Sequence[Attempt], answer: Message) -> Recovery:
        """Sort the executor's attempts by those asked for. At first, all others were durable already: forget them."""
        _, told_running, told_finished, told_never = answer
        asked = {(a.id, a.attempt) for a in attempts}
        running = {(id_, attempt): (Started(id_, attempt, *more), late) for id_, attempt, *more, late in told_running}
        finished = {(fields[0], fields[1]): (_finished(*fields), fields[6]) for fields in told_finished}
        if not self._met:  # later, an end may be known and not durable yet
            self.acknowledge(sorted(finished.keys() - asked))
        self._met = True
        for id_, attempt in sorted(running.keys() - asked):
            self._log(f"the executor runs attempt {attempt} of job {id_}, of which nothing is known here")
        expired = [key for known in (running, finished) for key, (_, late) in known.items() if late and key in asked]
        if expired:
            self._deliver([Expired(*key) for key in expired])
        ends = [end for key, (end, _) in finished.items() if key in asked]
        return Recovery(
            running=tuple(started for key, (started, _) in running.items() if key in asked),
            finished=tuple(end for end in ends if not end.is_lost),
            never=tuple((id_, attempt) for id_, attempt in told_never),
            lost=tuple((end.id, end.attempt) for end in ends if end.is_lost),
        )

    # ---- the caller's loop ----------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor to wait for; -1 while there is no executor."""
        return self._link.sock.fileno() if self._link else -1

    @property
    def wants_write(self) -> bool:
        """Whether orders are left that the executor has not taken yet."""
        return bool(self._link and self._link.wants_write)

    def on_writable(self) -> None:
        """Send what is left."""
        if self._link:
            self._link.flush()

    def on_readable(self) -> None:
        """Read what has come, and deliver it."""
        if not self._link:
            return
        try:
            messages = self._link.receive()
            news = [_news(message) for message in messages or () if message != ["pong"]]
        except (ValueError, TypeError) as failure:
            self._lose(f"it says what nobody understands: {failure}")
            return
        if messages and self._heartbeat:
            self._heartbeat.heard()
        if news:
            self._log_slow_starts(news)
            self._deliver(news)
        elif messages is None:
            silent = self._heartbeat and self._heartbeat.is_killed
            self._lose("it did not answer and was killed" if silent else "its process has ended")

    def _log_slow_starts(self, news: Sequence[News]) -> None:
        for item in news:
            if isinstance(item, Starting) and item.step:
                self._log(f"job {item.id}: its process takes long to become its program: {item.step}")

    def look(self, now_s: float) -> float | None:
        """See whether the executor answers; returns when to look again, by time.monotonic. None: there is none."""
        if self._heartbeat and self._heartbeat.due_s <= now_s:
            self.on_readable()  # messages that came while this process was busy count
        if self._heartbeat is None:
            return None
        if self._heartbeat.look(now_s):
            self._send(["ping"])
        return self._heartbeat.due_s

    @property
    def silence(self) -> str:
        """Return a message if the executor does not answer; empty while it does, or there is none."""
        return self._heartbeat.text if self._heartbeat else ""

    def _lose(self, reason: str) -> None:
        self.close()
        self._deliver([ExecutorLost(reason)])

    def close(self) -> None:
        """Let go of the executor; it gives up what it has not started, and lives on while jobs run."""
        if self._link:
            self._send()
            self._link.close()
            self._link = self._heartbeat = None
        self._reap()

    # ---- orders ---------------------------------------------------------------------------------------------------

    def limit(self, max_running: int, cores: int, grace_us: int) -> None:
        """Set how many may run at a time, on how many cores, and the grace; kept for the next executor too."""
        self._limits = ["limits", max_running, cores, grace_us]
        self._send(self._limits)

    def start(self, orders: Sequence[Start]) -> None:
        """Send orders to start attempts, behind those that were sent before."""
        self._send(*(_start(order) for order in orders))

    def withdraw(self, attempts: Sequence[tuple[int, int]]) -> None:
        """Take back orders that have not started."""
        if attempts:
            self._send(["withdraw", [*attempts]])

    def stop(self, id_: int, attempt: int) -> None:
        """End a running attempt."""
        self._send(["stop", id_, attempt])

    def signal(self, id_: int, attempt: int, signum: int) -> None:
        """Send one signal to the attempt's process group."""
        self._send(["signal", id_, attempt, int(signum)])

    def set_time_limit(self, id_: int, attempt: int, time_limit_us: int | None) -> None:
        """Change the time limit of a running attempt."""
        self._send(["relimit", id_, attempt, time_limit_us])

    def acknowledge(self, attempts: Sequence[tuple[int, int]]) -> None:
        """Tell the executor that the ends of these attempts are durable, so that it may forget them."""
        self._acknowledged += attempts
        if len(self._acknowledged) >= _ACKNOWLEDGED_MOST:
            self._send()

    def _send(self, *messages: Message) -> None:
        """Send, if there is a connection; what a dead executor missed is settled by the next `recover`."""
        if self._acknowledged:
            messages = (["ack", self._acknowledged], *messages)
            self._acknowledged = []
        if self._link and messages:
            self._link.send([*messages])

    def _path(self, name: str) -> str:
        return os.path.join(self._spool, name)


def _finished(
    id_: int, attempt: int, status: int | None, error: str | None, pid: int, ticks: int, _: bool, *times_us: int
) -> Finished:
    """Make the news of an end; whether it had expired was told before."""
    return Finished(id_, attempt, status, error, pid, ticks, *times_us)


def _start(order: Start) -> Message:
    spec = order.spec
    userid = order.userid if os.geteuid() == 0 else None  # only root can change users
    return [
        "start",
        order.id,
        order.attempt,
        spec.command,
        spec.name,
        spec.cwd,
        spec.env,
        spec.cores,
        spec.tasks,
        spec.time_limit_us,
        order.output,
        order.error,
        spec.input,
        userid,
        spec.output is None,
        spec.output is None and spec.error is None,
        order.attempt > 1 and spec.retries is not None and spec.retries.separator,
    ]


_NEWS: Mapping[str, Callable[..., News]] = {
    "started": Started,
    "starting": Starting,
    "finished": _finished,
    "withdrawn": Withdrawn,
    "expired": Expired,
}


def _news(message: Message) -> News:
    """Read a message. Raises ValueError, TypeError for anything else."""
    kind, *fields = message
    if kind not in _NEWS:
        raise ValueError(f"what is {show(kind)}?")
    if not wire.has_fields(kind, fields):
        raise ValueError(f"{kind} has not its fields")
    return _NEWS[kind](*fields)


def _await_answer(link: Link, deadline_s: float) -> Message | None:
    """Wait for the answer to hello, which comes before any news; None when the executor is gone."""
    poll = select.poll()
    while (left_s := deadline_s - time.monotonic()) > 0:
        poll.register(link.sock, select.POLLIN | (select.POLLOUT if link.wants_write else 0))
        poll.poll(left_s * 1000)
        link.flush()
        try:
            messages = link.receive(to_line_end=True)  # news may follow at once
        except ValueError:  # no executor of ours
            return None
        if messages is None:
            return None
        if messages:
            return messages[0]
    return None


def _has_ended(child: int) -> bool:
    """Reap a child if it has ended; True when there is none any more."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def _read_until_ready(fd: int, deadline_s: float) -> bytes:
    """Read what a new executor says until it is ready, or is gone, or time is up."""
    output = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    with open(fd, "rb", buffering=0) as pipe:
        while output != wire.READY and poll.poll(max(deadline_s - time.monotonic(), 0) * 1000):
            data = pipe.read(65536)
            if not data:
                break
            output += data
    return output


def _port_error(doing: str, path: str, failure: OSError) -> PortError:
    return PortError(doing, path, failure.errno, failure.strerror or os.strerror(failure.errno or 0))
