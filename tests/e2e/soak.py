"""A real scheduler under four clients at once, while it and its executor are killed at random: nothing lost, nothing
run twice, nothing stuck.

    python -m tests.e2e.soak SEED KILLS

Rule: the seed makes the choices (what is asked, what is killed, and after how much); the moments are the machine's.
What ran is not asked of the scheduler: each job writes down its runs, in a file of its own. Every command is a process
of its own, which acts without a scheduler where there is none; they are forked from one that has everything imported,
for the work of a soak is to be the scheduler's.
"""

import fcntl
import json
import multiprocessing.connection
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import TypeAlias

from attrs import define, frozen

from jqsched.adapters.executors.local.wire import LOCK
from jqsched.adapters.store.reader import StoreReader
from jqsched.cli.failure import NO_SCHEDULER, NOT_NOW, OK
from jqsched.core.job import Job, State
from tests.e2e.soak_laws import Known, breaches
from tests.ports.executor_contract import _belongs, _kill

PATIENCE_S = 180.0
NO_BEGIN_S = 1.0
LOOK_S = 0.002
CLIENTS = 4
BACKLOG_MOST = 30
Words: TypeAlias = tuple[str, ...]

KILLED = -signal.SIGKILL
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    __name__, "jqsched.cli.app", "jqsched.cli.control", "jqsched.cli.rules", "jqsched.runtime.offline",
    "typer._adapters",
])  # fmt: skip

CONFIGURATION = "max_running = 3\ncores = 3\ngrace_s = 0.1\n"
# Writes down its runs, and whether one meets another: the process that has the lock is alive, or a child of it is.
JOB = """\
token=$1 seconds=$2 code=$3 kind=$4 id=${5:-$JQSCHED_JOB_ID} attempt=${6:-$JQSCHED_ATTEMPT}
if test $kind = bare && test $# = 4; then exec env -i /bin/sh "$0" "$@" $id $attempt; fi
cd "$(dirname "$0")" || exit 99
if test $kind = stubborn; then trap '' TERM; fi
exec 9>>$id.lock
flock -n 9 || echo "meets $token $attempt" >>$id
echo "begin $token $attempt" >>$id
if test $kind = apart; then setsid -w sleep $seconds; else sleep $seconds; fi
echo "end $token $attempt" >>$id
exit $code
"""
# What a client wishes, and how often; what takes a number.
WISHES = {
    "submit": 25, "drop": 25, "edit": 12, "cancel": 6, "requeue": 8, "hold": 3, "release": 3, "urgency": 5,
    "priority": 5, "rule": 6, "drain": 2,
}  # fmt: skip
VALUED = ("edit", "urgency", "priority")
KILLED_CLIENTS = 0.06
KINDS = ("plain", "bare", "bare", "stubborn", "apart")
SECONDS = ("0", "0", "0.05", "0.2", "0.5")


@frozen
class Wish:
    """What a client does next, and when it is killed, if it is."""

    words: Words
    killed_after_s: float | None = None


@define
class Command:
    """A command under way, and what became of it."""

    wish: Wish
    process: ForkServerProcess
    said: Path
    begin_s: float

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.exitcode


class Soak:
    """One spool, its clients, and what kills them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.spool, self.ran = folder, folder / "spool", folder / "ran"
        for made in (self.spool, self.ran, folder / "said"):
            made.mkdir(mode=0o700)
        (self.spool / "jqsched.toml").write_text(CONFIGURATION)
        (self.ran / "job").write_text(JOB)
        self.choices, self.wishes = Random(f"faults {seed}"), [Random(f"{seed} {n}") for n in range(CLIENTS)]
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.under_way: list[Command | None] = [None] * CLIENTS
        self.known, self.findings, self.tally = Known(), list[str](), Counter[str]()
        self.rules: list[str] = []
        self.is_quiet = False

    # ---- the story

    def tell(self, kills: int) -> None:
        """Kill so often, while the clients go on; then let all come to its end."""
        self.start()
        for _ in range(kills):
            self._go_on(commands=self.choices.randrange(12), pause_s=self.choices.choice((0, 0.01, 0.1, 0.4)))
            if self.choices.randrange(2):
                self._wait_for_a_begin()
            {0: self._kill_scheduler, 1: self._kill_executor}.get(self.choices.randrange(4), self._kill_both)()
            if self.scheduler is None:
                self._go_on(commands=self.choices.randrange(6), pause_s=self.choices.choice((0, 0, 0.1)))
                self.start()
            if not self.choices.randrange(4):
                self._probe()
        self._come_to_an_end()

    def start(self) -> None:
        """Start a scheduler; it serves when it does."""
        with (self.folder / "said" / "scheduler").open("ab") as said:
            self.scheduler = subprocess.Popen(
                [sys.executable, "-m", "jqsched", "run", "--spool", str(self.spool)], stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, cwd=self.folder,
            )  # fmt: skip
        self.tally["schedulers"] += 1

    def _go_on(self, commands: int, pause_s: float) -> None:
        """Let the clients work until so many commands have ended, and a little longer."""
        most = self.tally["commands"] + commands
        self._until(lambda: self.tally["commands"] >= most, "commands to end")
        until_s = time.monotonic() + pause_s
        self._until(lambda: time.monotonic() >= until_s, "time to pass")

    def _wait_for_a_begin(self) -> None:
        """Until a job writes its first line: the scheduler may not have heard of it yet. There may be none to begin."""
        begins, until_s = self.ran.stat().st_mtime_ns, time.monotonic() + NO_BEGIN_S
        self._until(lambda: self.ran.stat().st_mtime_ns != begins or time.monotonic() > until_s, "a begin")

    def _until(self, condition: Callable[[], bool], what: str) -> bool:
        """Let the clients work until the condition holds; that it never does is a finding."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline_s:
                self.findings.append(f"stuck: {PATIENCE_S} s in vain for {what}: {self._position()}")
                return False
            self._turn()
        return True

    def _turn(self) -> None:
        """Give each idle client something to do, and wait a little for one to end."""
        if self.scheduler is not None and self.scheduler.poll() is not None:
            self.findings.append(f"the scheduler ended with {self.scheduler.returncode}: {self._last_words()}")
            self.start()
        now_s = time.monotonic()
        for n, command in enumerate(self.under_way):
            if command is None:
                self.under_way[n] = None if self.is_quiet else self._begin(self._wish(self.wishes[n]))
            elif command.code is not None:
                self.under_way[n] = None
                self._hear(command)
            elif command.wish.killed_after_s is not None and now_s > command.begin_s + command.wish.killed_after_s:
                command.process.kill()
            elif now_s > command.begin_s + PATIENCE_S:
                self.findings.append(f"stuck: {command.wish}: {self._position()}")
                command.process.kill()
                command.process.join()
        ends = [command.process.sentinel for command in self.under_way if command is not None]
        multiprocessing.connection.wait(ends, LOOK_S)

    # ---- faults

    def _kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()
        self.scheduler = None
        self.tally["kills of the scheduler"] += 1

    def _kill_executor(self) -> None:
        """Kill what holds the executor's lock, and has written there what it is; there may be none."""
        with suppress(FileNotFoundError, ProcessLookupError), (self.spool / LOCK).open("rb") as file:
            words = file.read().split()
            if words[:1] != [b"alive"] or _is_free(file.fileno()):
                return
            fd = os.pidfd_open(int(words[2]))
            with suppress(ProcessLookupError), os.fdopen(fd):
                if not _is_free(file.fileno()):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                    self.tally["kills of the executor"] += 1

    def _kill_both(self) -> None:
        first, second = self._kill_executor, self._kill_scheduler
        if self.choices.randrange(2):
            first, second = second, first
        first()
        second()

    def _probe(self) -> None:
        """With no more faults and no more requests everything moves: a job that nothing holds back ends."""
        self.is_quiet = True
        self._until(lambda: not any(self.under_way), "the clients to pause")
        self._ask("resume")
        name = f"probe{len(self.known.codes)}x"  # no rule is about it
        self._drop(name, self._work(name, "0", 0, "plain"), urgency=31)
        self._until(lambda: any(job.state is State.INACTIVE for job in self._jobs(name)), f"{name} to end")
        self.tally["probes"] += 1
        self.is_quiet = False

    def _come_to_an_end(self) -> None:
        """Ask for nothing more, take back whatever holds jobs back, and wait until all are finished."""
        self.is_quiet = True
        self._until(lambda: not any(self.under_way), "the clients to end")
        self._ask("resume")
        self._until(lambda: not self._lie_there(), "files to be taken")
        with closing(StoreReader(str(self.spool))) as reader:
            rules = [rule.uuid for rule in reader.rules()]
        if rules:
            self._ask("filter", "remove", *rules)
        if self._jobs():
            self._ask("release", *(str(job.id) for job in self._jobs()))
        self._until(lambda: not self._jobs(), "all jobs to end")

    def close(self) -> None:
        """Leave no process behind."""
        for command in filter(None, self.under_way):
            command.process.kill()
            command.process.join()
        if self.scheduler is not None:
            self._kill_scheduler()
        self._kill_executor()
        marks = [os.fsencode(self.spool), os.fsencode(self.ran / "job")]
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            for mark in marks:
                if _belongs(pid, mark):
                    _kill(pid, mark)

    # ---- clients

    def _wish(self, chance: Random) -> Wish | None:
        """What a client does next: the same choices for the same seed, among the jobs that there are."""
        kind = chance.choices(tuple(WISHES), tuple(WISHES.values()))[0]
        number, killed = chance.randrange(1 << 30), chance.random()
        live = sorted(int(name[:-5]) for name in _names(self.spool / "jobs") if name[:-5].isdecimal())
        if kind in ("submit", "drop"):
            words = self._new_job(kind, number, live) if len(live) < BACKLOG_MOST else ()
        elif kind in ("rule", "drain"):
            words = self._for_all_jobs(kind, number)
        else:
            words = self._change(kind, number, live)
        return Wish(words, number % 1000 / 2000 if killed < KILLED_CLIENTS else None) if words else None

    def _new_job(self, kind: str, number: int, live: Sequence[int]) -> Words:
        """A submission; or a file, which needs no client. The digits of the number say what the job is like."""
        name, is_once = f"j{len(self.known.codes)}", number // 100 % 10 == 0
        work = self._work(name, SECONDS[number % 5], number // 1000 % 4 // 3 * 7, KINDS[number // 10 % 5])
        if is_once:
            self.known.once.add(name)
        if kind == "submit":
            once = ("--on-interrupt", "fail") if is_once else ()
            return ("submit", "--name", name, "--output", "/dev/null", *once, "--", *work)
        after = [{"scheme": "afterany", "value": live[0]}] if live else []
        self._drop(name, work, dependencies=after, on_interrupt="fail" if is_once else "requeue")
        return ()

    def _for_all_jobs(self, kind: str, number: int) -> Words:
        if kind == "drain":
            return (("drain", "resume", "resume")[number % 3],)
        if self.rules and number % 2:
            return ("filter", "remove", self.rules.pop(0))
        action = ("pause", "rate-limit:1", "continue")[number // 10 % 3]
        return ("filter", "add", action, f'name =~ "{number // 100 % 10}$"')

    def _change(self, kind: str, number: int, live: Sequence[int]) -> Words:
        """Of a job that lives, or, now and then, of one that is finished."""
        ids = live if number % 10 else sorted(self.known.submitted.values())
        if not ids:
            return ()
        id_ = ids[number // 10 % len(ids)]
        if kind == "cancel":
            self.known.canceled.add(id_)
        elif kind == "requeue":
            self.known.requeued[id_] += 1
        elif kind == "edit":
            self.known.edited.add(id_)
        return (kind, str(id_), *((str(1 + number // 1000 % 31),) if kind in VALUED else ()))

    def _work(self, name: str, seconds: str, code: int, kind: str) -> list[str]:
        self.known.codes[name] = code
        return ["/bin/sh", str(self.ran / "job"), name, seconds, str(code), kind]

    def _drop(self, name: str, work: Sequence[str], **keys: object) -> None:
        self.known.dropped.add(name)
        written = self.folder / f"{name}.json"
        written.write_text(json.dumps({"name": name, "command": work, "output": "/dev/null", **keys}))
        drop = self.spool / "drop"
        written.rename((drop if len(self.known.dropped) % 2 and drop.is_dir() else self.spool) / written.name)
        self.tally["files"] += 1

    def _begin(self, wish: Wish | None) -> Command | None:
        if wish is None:
            return None
        self.tally["begun"] += 1
        said = self.folder / "said" / str(self.tally["begun"])
        work = _edit if wish.words[0] == "edit" else _command
        process = FORKS.Process(target=work, args=(str(self.spool), wish.words, str(said)))
        process.start()
        return Command(wish, process, said, time.monotonic())

    def _ask(self, *words: str) -> None:
        command = self._begin(Wish(words))
        assert command is not None
        self._until(lambda: command.code is not None, f"{words}")
        self._hear(command)

    def _hear(self, command: Command) -> None:
        """Take down what was answered. A command that was killed, or lost its scheduler, may have done it or not."""
        wish, code = command.wish, command.code
        said, messages = (_taken(command.said.with_suffix(suffix)) for suffix in ("", ".messages"))
        command.process.close()
        self.tally["commands"] += 1
        self.tally[f"{wish.words[0]}: {code}"] += 1
        if code not in (OK, KILLED, NO_SCHEDULER, NOT_NOW) or (code == KILLED and wish.killed_after_s is None):
            self.findings.append(f"{' '.join(wish.words)} ended with {code}: {said}{messages}")
        match wish.words if code == OK else ():
            case ["submit", "--name", name, *_]:
                self.known.submitted[name] = int(said)
            case ["requeue", id_] if said:
                self.known.copies[int(said)] = int(id_)
            case ["cancel", id_]:
                self.known.surely_canceled.add(int(id_))
            case ["filter", "add", *_]:
                self.rules.append(said.strip())
            case _:
                pass

    # ---- looking

    def _jobs(self, name: str = "") -> list[Job]:
        """The jobs of a name, else those that are not finished; none while there is no store yet."""
        with suppress(FileNotFoundError), closing(StoreReader(str(self.spool))) as reader:
            return list(reader.named(name) if name else reader.active())
        return []

    def _lie_there(self) -> list[str]:
        """What waits in the drop zones."""
        return [name for place in (self.spool, self.spool / "drop") for name in _names(place) if name.endswith(".json")]

    def _last_words(self) -> str:
        return (self.folder / "said" / "scheduler").read_text()[-2000:]

    def _position(self) -> str:
        jobs = [f"{job.id} {job.spec.name} {job.state.name} {job.priority} {job.waits}" for job in self._jobs()]
        return f"active: {jobs}; dropped: {self._lie_there()}; said: {self._last_words()}"


def _is_free(descriptor: int) -> bool:
    """Whether the lock of a file is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _taken(file: Path) -> str:
    """What stands in a file, which goes away."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
    finally:
        file.unlink(missing_ok=True)


def _command(spool: str, words: Sequence[str], said: str) -> None:
    """A command, in a process of its own."""
    from jqsched.cli.main import main

    _write_to(said)
    at = 2 if words[0] == "filter" else 1
    sys.exit(main([*words[:at], "--spool", spool, *words[at:]]))


def _edit(spool: str, words: Sequence[str], said: str) -> None:
    """An editor: it reads a job's file, and puts another in its place, whatever became of the job meanwhile."""
    _, id_, urgency = words
    file = Path(spool, "jobs", f"{id_}.json")
    with suppress(FileNotFoundError):
        text = json.dumps(json.loads(file.read_text()) | {"urgency": int(urgency)})
        written = file.with_name(f".{id_}.{os.getpid()}")
        written.write_text(text)
        written.rename(file)


def _write_to(file: str) -> None:
    """Let what is printed go to a file, and messages to another."""
    for descriptor, name in ((1, file), (2, file + ".messages")):
        with open(name, "w") as said:
            os.dup2(said.fileno(), descriptor)


def tell(folder: Path, seed: int, kills: int) -> tuple[list[str], Counter[str]]:
    """A soak to its end: what it found, and how much was done."""
    soak = Soak(folder, seed)
    try:
        soak.tell(kills)
        return [*soak.findings, *breaches(soak.spool, soak.ran, soak.known)], soak.tally
    finally:
        soak.close()


def main(arguments: Sequence[str]) -> int:
    """Soak by hand; what is found stays where it is."""
    seed, kills = map(int, arguments)
    folder = Path(tempfile.mkdtemp(prefix="jqsched-soak-"))
    findings, tally = tell(folder, seed, kills)
    print(*findings, *(f"{what}: {count}" for what, count in sorted(tally.items())), sep="\n")
    if findings:
        print(f"left in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
