"""A spool whose store is written directly, the command line called in this process, and a scheduler that is a table."""

import gc
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched.adapters.server import Request, Server
from jqsched.adapters.store.writer import SqliteStore
from jqsched.cli import target
from jqsched.cli.main import main
from jqsched.core.event import Event, advance
from jqsched.core.job import Job, Spec
from jqsched.core.queue import EMPTY
from jqsched.ports import Batch

T0_US = 1_795_247_114_000_000

SUBMIT = ("submit", {"userid": 0, "urgency": 16, "flags": 0, "version": 1})
QUEUED = ("validate", "depend", ("priority", {"priority": 16}))
STARTED = (*QUEUED, ("alloc", {"annotations": {"sched": {"resource_summary": "1 core"}}}), "start")
ENDED = (("release", {"ranks": "all", "final": True}), "free", "clean")
COMPLETED = (*STARTED, ("finish", {"status": 0}), *ENDED)


def failed(status: int) -> tuple:
    return (*STARTED, ("finish", {"status": status}), *ENDED)


def fatal(kind: str, note: str = "") -> tuple[str, dict]:
    return ("exception", {"type": kind, "severity": 0, "note": note, "userid": 0})


CANCELED = (*QUEUED, fatal("cancel", "because"), "clean")
TIMED_OUT = (*STARTED, fatal("timeout", "resource allocation expired"), ("finish", {"status": 142 << 8}), *ENDED)


class SpoolMaker:
    """A spool folder; each `add` is one commit."""

    def __init__(self, root: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.root, self._capture = root, capture
        self.seq, self.t_us, self.last_id = 1, T0_US, 0
        self.jobs: dict[int, Job] = {}

    def add(self, *facts, id_: int | None = None, **spec) -> Job:
        """Add a job, or with `id_` go on with one; each fact takes a microsecond of time."""
        job = self.jobs.get(id_) if id_ is not None else None
        if job is None:
            self.last_id += 1
            number = self.last_id
            wanted = {"command": ("sleep", "1"), "name": f"job{number}", "cwd": "/home/user", **spec}
            facts = (SUBMIT, *facts)
        else:
            number, wanted = job.id, {}
        events = []
        for fact in facts:
            name, context = fact if isinstance(fact, tuple) else (fact, {})
            self.t_us += 1
            made = Spec(**wanted) if name == "submit" else None
            events.append(Event(number, self.t_us, name, context, made))
            job = advance(job, events[-1])
        assert job is not None
        self.jobs[number] = job
        self.commit(events, [job])
        return job

    def commit(self, events: list[Event], jobs: list[Job]) -> None:
        """Write a batch."""
        store = SqliteStore(str(self.root), lambda: None)
        store.start(lambda _: None)
        store.submit(Batch(EMPTY, self.seq, tuple(events), tuple(jobs)))
        store.close()
        self.seq += len(events)

    def run(self, *arguments: str, spool: bool = True) -> tuple[int, str, str]:
        """Run a command; its exit code, stdout and stderr."""
        place = [arguments[0], "--spool", str(self.root), *arguments[1:]] if spool else list(arguments)
        self._capture.readouterr()
        code = main(place)
        out, err = self._capture.readouterr()
        return code, out, err


@pytest.fixture
def spool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[SpoolMaker]:
    monkeypatch.delenv("JQSCHED_SPOOL", raising=False)
    monkeypatch.delenv("JQSCHED_STORE", raising=False)
    monkeypatch.setattr(target, "user_spool", lambda *_: str(tmp_path / "own" / "spool"))
    (tmp_path / "spool").mkdir(mode=0o700)
    yield SpoolMaker(tmp_path / "spool", capsys)
    gc.enable()


class FakeScheduler:
    """A scheduler that answers from a table: topic to payload, OSError, or a function of the request."""

    def __init__(self, root: Path) -> None:
        self.asked: list[tuple[str, dict]] = []
        self.answers: dict[str, object] = {
            "status": {
                "pid": 4711,
                "since_us": T0_US,
                "max_running": 2,
                "cores": 4,
                "running": 0,
                "drained": False,
                "warnings": [],
            }
        }
        self._selector = selectors.DefaultSelector()
        self._server = Server(str(root), self._handle, self._selector, lambda _: None)
        self._near, self._far = socket.socketpair()
        self._selector.register(self._near, selectors.EVENT_READ, self._end)
        self._ended = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _handle(self, request: Request) -> None:
        topic = request.topic.removeprefix("job-manager.")
        if "ids" in request.payload and topic not in ("wait", "purge"):
            request.respond({"answers": [self._of_one(topic, request.payload, id_) for id_ in request.payload["ids"]]})
            return
        if topic != "status":
            self.asked.append((topic, dict(request.payload)))
        answer = self.answers.get(topic, OSError(38, f"Unknown service method '{request.topic}'"))
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, OSError):
            request.respond_error(answer.errno or 0, answer.strerror or "")
        elif isinstance(answer, Callable):
            answer(request)
        else:
            request.respond(answer)

    def _of_one(self, topic: str, payload: dict, id_: int) -> dict:
        """The answer about one of many jobs."""
        self.asked.append((topic, {"id": id_, **{key: value for key, value in payload.items() if key != "ids"}}))
        answer = self.answers[topic]
        answer = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(answer, OSError):
            return {"id": id_, "refused": {"errno": answer.errno, "text": answer.strerror}, "answer": None}
        return {"id": id_, "refused": None, "answer": answer}

    def _run(self) -> None:
        while not self._ended:
            for key, mask in self._selector.select():
                key.data(mask)

    def _end(self, _: int) -> None:
        self._ended = True

    def close(self) -> None:
        self._far.send(b"x")
        self._thread.join()
        self._server.close("the scheduler ended")
        self._selector.close()
        self._near.close()
        self._far.close()


@pytest.fixture
def scheduler(spool: SpoolMaker) -> Iterator[FakeScheduler]:
    fake = FakeScheduler(spool.root)
    yield fake
    fake.close()
