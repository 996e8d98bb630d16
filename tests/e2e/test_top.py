"""`jqsched top` on a terminal of its own, and `wait-event` on a job that runs: real programs, a real scheduler."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PATIENCE_S, Daemon, until

_STYLE, _ESCAPE = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")

# A session leader that opens a terminal has it for its own: the terminal sends it Ctrl-C and the news of its size.
_LAUNCH = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
from jqsched.cli.main import main
sys.exit(main())
"""


class Looker:
    """`jqsched top` on a pseudo-terminal, and what stands on its screen."""

    def __init__(self, spool: Path, lines: int = 24, columns: int = 100) -> None:
        self.master, slave = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, "top", "--spool", str(spool)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"},
        )
        self._slave = slave
        self.written = ""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self, timeout_s: float = 0.0) -> bool:
        """Read what was written meanwhile; False when nothing was."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return False
        self.written += os.read(self.master, 1 << 16).decode()
        return True

    def frame(self) -> str:
        """The last frame: each begins at the top left corner."""
        return _ESCAPE.sub("\n", _STYLE.sub("", self.written.rpartition("\x1b[1;1H")[2]))

    def until(self, condition: Callable[[str], object], what: str) -> str:
        """Read until a whole frame fulfils the condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.frame()):
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.frame()}"
            self.read(0.1)
        return self.frame()

    def shows(self, words: str) -> str:
        return self.until(lambda frame: words in frame, words)

    def ended(self) -> int:
        """Its exit code, when it ends, all that it wrote having been read."""
        until(lambda: self.read() or self.process.poll() is not None, "the end of top")
        while self.process.poll() is None:
            self.read(0.1)
        while self.read():
            pass
        return self.process.returncode

    def is_given_back(self) -> bool:
        """Whether the terminal is as it was: its modes, its cursor, its main screen."""
        return (
            termios.tcgetattr(self._slave) == self.before
            and self.written.rfind("\x1b[?25h") > self.written.rfind("\x1b[?25l")
            and self.written.rfind("\x1b[?1049l") > self.written.rfind("\x1b[?1049h")
        )

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.master)
        self.master = -1

    def is_stopped(self) -> bool:
        return self._stat()[0] == "T"

    def cpu_ticks(self) -> int:
        """Processor time that it used."""
        return sum(map(int, self._stat()[11:13]))

    def _stat(self) -> list[str]:
        """/proc's line of it, from the state on."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.master >= 0:
            os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def looker(daemon: Daemon) -> Iterator[Callable[..., Looker]]:
    made: list[Looker] = []

    def make(**size: int) -> Looker:
        made.append(Looker(daemon.spool, **size))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_top_follows_what_happens_and_obeys(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """A drop shows without a key; h holds and releases; c asks, then cancels; enter shows all; q gives back."""
    daemon.start("--max-running", "1")
    top = looker()
    top.shows("0 running, 0 pending, 0 finished")
    daemon.drop("long.json", {"name": "long", "script": "sleep 600"})
    top.shows("1 running, 0 pending")
    daemon.drop("next.json", {"name": "next", "script": "sleep 600"})
    assert "slots 1/1" in top.shows("slots: 1 of 1 taken")
    top.press("jh")
    top.shows("job 2: is held")
    assert daemon.jobs()["next"].urgency == 0
    top.press("h")
    top.shows("job 2: is released")
    assert daemon.jobs()["next"].urgency == 16
    top.press("k\r")
    top.shows("sleep 600")
    top.press("qc")
    top.shows("cancel job 1 long?")
    assert daemon.jobs()["long"].exception is None
    top.press("y")
    top.shows("job 1: is being stopped")
    top.shows("1 running, 0 pending, 1 finished")
    assert daemon.jobs()["next"].t_run_us
    top.press("q")
    assert top.ended() == 0
    assert top.is_given_back()


def test_top_hears_of_what_is_no_event(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """While nothing runs no clock turns: that the scheduler is drained, or has a rule, is told by the bell alone."""
    daemon.start()
    daemon.drop("held.json", {"name": "held", "command": ["true"], "urgency": 0})
    top = looker()
    top.shows("1 pending")
    assert daemon.command("drain").returncode == 0
    top.shows("drained: nothing is started")
    assert daemon.command("resume").returncode == 0
    top.until(lambda frame: "1 pending" in frame and "drained" not in frame, "no word of drained")
    rule = ["add", "--spool", str(daemon.spool), "pause", "--note", "inventory"]
    subprocess.run([sys.executable, "-m", "jqsched", "filter", *rule], check=True, stdout=subprocess.DEVNULL)
    top.shows("inventory")
    top.press("q")
    assert top.ended() == 0


def test_top_outlives_the_scheduler_and_finds_the_next(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """Killed: it says so, and shows what the store knows, what commands do without one, too; the next is seen."""
    daemon.start()
    daemon.drop("held.json", {"name": "held", "command": ["true"], "urgency": 0})
    top = looker()
    top.shows("held (urgency 0)")
    daemon.kill()
    assert "held" in top.shows("no scheduler: nothing is started")
    assert daemon.command("submit", "--name", "late", "true").returncode == 0
    assert "no scheduler" in top.shows("late")
    daemon.start()
    assert "scheduler pid" in top.shows("1 finished")
    top.press("q")
    assert top.ended() == 0


def test_top_fits_what_the_terminal_becomes(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """A resize is followed at once, though nothing happens; no line is longer than the screen."""
    daemon.start()
    for number in range(3):
        daemon.drop(f"{number}.json", {"name": "x" * 50, "command": ["true"], "urgency": 0})
    top = looker(lines=24, columns=100)
    top.shows("3 pending")
    until(lambda: not top.read(1.0), "quiet")
    top.resize(5, 40)
    frame = top.until(lambda frame: max(map(len, frame.splitlines())) == 40, "a narrow frame")
    assert "q quit" in frame
    top.press("q")
    assert top.ended() == 0


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda top: top.press("\x03"), 130),
        (lambda top: top.process.send_signal(signal.SIGTERM), -signal.SIGTERM),
    ],
    ids=["ctrl-c", "sigterm"],
)
def test_top_gives_the_terminal_back_however_it_ends(
    daemon: Daemon, looker: Callable[..., Looker], end: Callable[[Looker], None], code: int
) -> None:
    """Modes, cursor and main screen are as before."""
    top = looker()
    top.shows("no scheduler")
    assert not top.is_given_back()
    end(top)
    assert top.ended() == code
    assert top.is_given_back()


def test_top_ends_with_its_terminal(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """A window that is closed leaves no process behind."""
    top = looker()
    top.shows("no scheduler")
    top.hang_up()
    assert top.process.wait(PATIENCE_S) == -signal.SIGHUP


def test_top_stopped_gives_the_terminal_back_until_it_goes_on(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """SIGTSTP (Ctrl-Z in a shell): the terminal is the shell's; SIGCONT: the screen is drawn anew."""
    top = looker()
    top.shows("no scheduler")
    top.process.send_signal(signal.SIGTSTP)
    until(lambda: top.read() or top.is_stopped(), "the stop")
    until(top.is_stopped, "the stop")
    while top.read():
        pass
    assert top.is_given_back()
    drawn = len(top.written)
    top.process.send_signal(signal.SIGCONT)
    until(lambda: top.read() and "q quit" in top.written[drawn:], "a new frame")
    assert not top.is_given_back()


def test_top_writes_nothing_when_nothing_happens(daemon: Daemon, looker: Callable[..., Looker]) -> None:
    """With a scheduler and no job that runs it sleeps: no time of the processor, not a byte; a drop wakes it."""
    daemon.start()
    daemon.drop("held.json", {"name": "held", "command": ["true"], "urgency": 0})
    top = looker()
    top.shows("held (urgency 0)")
    until(lambda: not top.read(1.0), "quiet")
    used = top.cpu_ticks()
    assert not top.read(2.0)
    assert top.cpu_ticks() == used
    daemon.drop("other.json", {"name": "other", "command": ["true"], "urgency": 0})
    top.shows("other")


def test_wait_event_on_a_job_that_lives(daemon: Daemon) -> None:
    """It waits while the scheduler is killed and another adopts the job; what can never come is 5."""
    daemon.start()
    gate = daemon.elsewhere / "gate"
    os.mkfifo(gate)
    daemon.drop("job.json", {"name": "job", "script": f"read line < {gate}"})
    until(lambda: "job" in daemon.jobs())
    assert daemon.command("wait-event", "1", "start", "--quiet").returncode == 0
    assert daemon.command("wait-event", "1", "finish", "--timeout", "0").returncode == 75
    command = [sys.executable, "-m", "jqsched", "wait-event", "--spool", str(daemon.spool), "--json", "1", "finish"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        daemon.kill()
        daemon.start()
        assert waiting.poll() is None
        gate.write_text("go\n")
        out, _ = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, json.loads(out)["context"]) == (0, {"status": 0})
    missed = daemon.command("wait-event", "1", "exception")
    assert (missed.returncode, missed.stdout) == (5, "")
    assert "log ended" in missed.stderr


def test_a_signal_and_an_exception_reach_a_job_that_runs(daemon: Daemon) -> None:
    """`kill` lets the job decide; `raise` of severity 0 ends it, of another is a note."""
    daemon.start()
    caught = daemon.elsewhere / "caught"
    script = f"trap 'echo usr1 > {caught}' USR1; touch {caught}; while :; do sleep 0.05; done"
    daemon.drop("job.json", {"name": "job", "script": script})
    until(caught.exists)
    assert daemon.command("kill", "1", "-s", "usr1").returncode == 0
    until(lambda: caught.read_text() == "usr1\n", "the signal")
    assert daemon.command("raise", "1", "-t", "odd", "-s", "3", "-m", "hm").returncode == 0
    assert daemon.command("raise", "1", "-t", "enough").returncode == 0
    daemon.wait(1)
    job = daemon.jobs()["job"]
    assert job.exception is not None
    assert (job.exception.type, job.exception.severity) == ("enough", 0)
    assert daemon.events(1).count("exception") == 2
