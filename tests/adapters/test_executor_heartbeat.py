"""A silent executor is noticed, said, continued, and in the end killed; no other process is blamed. Time is faked."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from jqsched.adapters.executors.local import client, heartbeat, procfs
from jqsched.adapters.executors.local.heartbeat import ASK_S, KILL_S, SILENT_S, TICK_S, Heartbeat
from jqsched.ports import ExecutorLost
from jqsched.testing.contracts.executor import finished, started
from tests.ports.executor_contract import LocalRig, attempt, until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def beating(pid: int, log: list[str]) -> Heartbeat:
    near, far = socket.socketpair()
    with near, far:
        beat = Heartbeat(near, 0.0, log.append)
    beat.pid = pid
    return beat


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: procfs.state(pid) == "T")


def tick(beat: Heartbeat, seconds: float) -> None:
    end_s = beat.due_s + seconds
    while beat.due_s < end_s:
        assert not beat.look(beat.due_s)


def test_one_that_does_not_answer_is_continued_and_at_last_killed(sleeper: subprocess.Popen[bytes]):
    log: list[str] = []
    beat = beating(sleeper.pid, log)
    stop(sleeper.pid)
    assert not beat.look(ASK_S - 1)
    assert beat.look(ASK_S)
    tick(beat, SILENT_S - TICK_S)
    assert (beat.text, log) == ("", [])
    tick(beat, TICK_S)
    assert "stopped) has not answered" in log[0]
    until(lambda: procfs.state(sleeper.pid) != "T")
    assert "has not answered" in beat.text
    stop(sleeper.pid)
    tick(beat, KILL_S - SILENT_S)
    assert sleeper.wait() == -signal.SIGKILL
    assert [line.rpartition("; ")[2].split()[0] for line in log] == ["continuing", "killing"]


def test_one_that_answers_is_asked_now_and_then(sleeper: subprocess.Popen[bytes]):
    log: list[str] = []
    beat = beating(sleeper.pid, log)
    now_s = asked = 0
    for now_s in range(1, 1000):
        if beat.look(now_s):
            asked += 1
            beat.heard()
    assert 1000 / ASK_S > asked > 1000 / (2 * ASK_S)
    assert log == []
    beat.look(beat.due_s)
    beat.look(beat.due_s)
    tick(beat, SILENT_S)
    beat.heard()
    beat.look(beat.due_s)
    assert beat.text == ""
    assert "answers again" in log[-1]


def test_a_scheduler_that_was_frozen_blames_nobody(sleeper: subprocess.Popen[bytes]):
    log: list[str] = []
    beat = beating(sleeper.pid, log)
    assert beat.look(ASK_S)
    beat.look(100_000.0)
    assert (beat.text, log) == ("", [])


def test_an_executor_that_was_stopped_goes_on_with_all_it_knew(rig: LocalRig):
    rig.executor.start([rig.open(1)])
    started(rig, 1)
    stop(rig.executor._child)
    now_s = time.monotonic()
    while not rig.executor.silence:
        now_s = rig.executor.look(now_s) or now_s
    assert "continuing" in rig.log[0]
    rig.end(1, 3)
    assert finished(rig, 1)[0].status == 3 << 8
    rig.executor.look(now_s + TICK_S)
    assert rig.executor.silence == ""


def test_an_executor_that_stays_silent_is_replaced(rig: LocalRig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heartbeat.signal, "SIGCONT", 0)  # stopped again at once
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    stop(rig.executor._child)
    now_s = time.monotonic()
    while "killing" not in rig.log[-1:] and len(rig.log) < 2:
        now_s = rig.executor.look(now_s) or now_s
    rig.wait(lambda: any(isinstance(item, ExecutorLost) for item in rig.news))
    assert rig.connect([attempt(begin)]).running == (begin,)


@pytest.mark.parametrize("stays", [False, True])
def test_a_scheduler_that_starts_finds_a_stopped_executor(rig: LocalRig, monkeypatch: pytest.MonkeyPatch, stays: bool):
    """It is continued; one that stays stopped is killed, and another one takes its place."""
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    monkeypatch.setattr(client, "SILENT_S", 0.1)
    if stays:
        monkeypatch.setattr(client.signal, "SIGCONT", 0)
        monkeypatch.setattr(client, "_SILENT_MOST_S", 2.0)
    rig.crash_scheduler()
    stop(rig.executor._child)
    assert rig.connect([attempt(begin)]).running == (begin,)
    assert "continuing" in rig.log[0]
    assert ("killing" in " ".join(rig.log)) == stays
