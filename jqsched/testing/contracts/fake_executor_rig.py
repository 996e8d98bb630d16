"""The rig of `FakeExecutor` for the contract of executors: jobs are plans, and waiting lets the next thing happen."""

from collections.abc import Callable, Sequence
from typing import Any

from jqsched.core.job import Spec
from jqsched.ports import Attempt, News, Recovery, Start, Started
from jqsched.testing.fake_executor import FakeExecutor


class FakeRig:
    """The fake: a job's end is a number, and waiting lets the next thing happen."""

    def __init__(self) -> None:
        self.executor = FakeExecutor()
        self.news: list[News] = []
        self.boot_id = "boot"

    def connect(self, attempts: Sequence[Attempt] = ()) -> Recovery:
        return self.executor.recover(attempts, self.news.extend)

    def crash_scheduler(self) -> None:
        self.executor.disconnect()

    def crash_executor(self) -> None:
        self.executor.kill()

    def _start(self, id_: int, **spec: Any) -> Start:
        return Start(id_, 1, Spec(command=("plan",), name="job", cwd="/", **spec), "/dev/null", None)

    def quick(self, id_: int, status: int = 0, **spec: Any) -> Start:
        self.executor.run_for(id_, 1_000, status << 8)
        return self._start(id_, **spec)

    def open(self, id_: int, **spec: Any) -> Start:
        self.executor.run_for(id_, None)
        return self._start(id_, **spec)

    def stubborn(self, id_: int) -> Start:
        self.executor.run_for(id_, None, stubborn=True)
        return self._start(id_)

    def broken(self, id_: int) -> Start:
        self.executor.fail(id_, "start failed: nosuch")
        return self._start(id_)

    def hanging(self, id_: int) -> Start:
        self.executor.hang(id_, "chdir /mnt")
        return self._start(id_)

    def let_go(self, id_: int) -> None:
        self.executor.end(id_, 0)

    def end(self, id_: int, code: int = 0) -> None:
        self.executor.end(id_, code << 8)

    def wait(self, condition: Callable[[], object]) -> None:
        self.executor.on_readable()
        while not condition():
            next_us = self.executor.next_us
            assert next_us is not None, f"nothing will ever happen; so far {self.news}"
            self.executor.advance(next_us)

    def wait_until_ready(self, id_: int) -> None:
        """Plans are ready when they start."""

    def wait_until_ended(self, start: Started) -> None:
        while (start.id, start.attempt) in self.executor.running():
            next_us = self.executor.next_us
            assert next_us is not None
            self.executor.advance(next_us)
