"""The executor process is killed at its own calls, alone and with the scheduler: nothing lost, nothing two at once,
nothing run again that is known to have ended. A few places always; all of them in the sweep.
"""

import errno
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.executor_deaths import Meant, Stage, judge, tell, tell_adoption

Story = Callable[[Stage], None]

ALONE, BOTH = False, True
# story, which executor of it dies, before which call, alone or with the scheduler
PLACES = [
    (tell, 1, "listen", 1, ALONE),  # before it is ready
    (tell, 1, "pwrite", 1, BOTH),  # said hello to, and has not taken back that it ended
    (tell, 1, "posix_spawn", 2, BOTH),  # an order is known and not begun
    (tell, 1, "close", 1, ALONE),  # a process is there that was not reported
    (tell, 1, "waitpid", 2, BOTH),  # one has ended, and its status is known to the kernel only
    (tell, 1, "send", 3, ALONE),  # news that are not told
    (tell, 1, "killpg", 2, BOTH),  # TERM was sent, KILL was not
    (tell, 1, "fsync", 1, ALONE),  # alone, with the statuses that were not taken
    (tell, 1, "ftruncate", 2, ALONE),  # they are kept, and it has half said that it ends
    (tell, 2, "pwrite", 1, BOTH),  # the next one has read them
    (tell_adoption, 2, "register", 4, ALONE),  # one of two is watched
    (tell_adoption, 2, "send", 1, BOTH),  # both are adopted, and that was not reported
]


def _die(folder: Path, story: Story, meant: Meant) -> bool:
    """Tell the story with this death in it, and judge; returns whether the death came."""
    stage = Stage(folder, meant)
    try:
        story(stage)
        judge(stage)
        return stage.has_burned
    finally:
        stage.close()


@pytest.mark.parametrize(("story", "executor", "name", "nth", "both"), PLACES)
def test_an_executor_that_dies_loses_nothing_and_runs_nothing_twice(
    tmp_path: Path, story: Story, executor: int, name: str, nth: int, both: bool
) -> None:
    """At the places where what is known and what has happened are furthest apart.

    Seen to fail: an executor that took every attempt it had not heard of for one that never started.
    """
    assert _die(tmp_path, story, Meant(executor, name, nth, both=both)), "it never came to that call"


@pytest.mark.parametrize(
    ("story", "executor", "name", "nth", "error"),
    [
        (tell, 1, "send", 2, errno.ENOBUFS),
        (tell, 1, "pwrite", 1, errno.ENOSPC),
        (tell_adoption, 2, "register", 5, errno.ENOSPC),
        (tell_adoption, 2, "send", 2, errno.ENOBUFS),
    ],
)
def test_a_call_of_an_executor_may_fail(
    tmp_path: Path, story: Story, executor: int, name: str, nth: int, error: int
) -> None:
    """It ends and another one takes over, or it is connected to anew; jobs do not notice.

    Seen to fail: a message that could not be sent was dropped, the connection stood, and both ends waited for ever.
    """
    assert _die(tmp_path, story, Meant(executor, name, nth, error=error)), "it never came to that call"


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.timeout(1200)
@pytest.mark.sweep
def test_every_write_of_an_executor_may_fail(tmp_path: Path, error: int) -> None:
    """The calls by which it keeps what must not be lost, and those by which it speaks and listens."""
    for name in ("pwrite", "ftruncate", "fdatasync", "fsync", "rename", "unlink", "flush", "register", "send", "recv"):
        for nth in (1, 2):
            folder = tmp_path / f"{name}-{nth}"
            folder.mkdir()
            _die(folder, tell, Meant(1, name, nth, error=error))


@pytest.mark.parametrize(("story", "executor"), [(tell, 1), (tell, 2), (tell_adoption, 1), (tell_adoption, 2)])
@pytest.mark.parametrize("both", [ALONE, BOTH])
@pytest.mark.timeout(1200)
@pytest.mark.sweep
def test_an_executor_may_die_at_every_call(tmp_path: Path, story: Story, executor: int, both: bool) -> None:
    """Before each call that can be seen from outside, as a run without deaths makes them."""
    (tmp_path / "whole").mkdir()
    stage = Stage(tmp_path / "whole", Meant(executor))
    story(stage)
    judge(stage)
    stage.close()
    calls = Counter(stage.report.read_text().split())
    died = 0
    for name, most in sorted(calls.items()):
        for nth in range(1, most + 1):
            for again in range(3):  # timing may spare a call
                folder = tmp_path / f"{name}-{nth}-{again}"
                folder.mkdir()
                if _die(folder, story, Meant(executor, name, nth, both=both)):
                    died += 1
                    break
    assert died > 0.8 * sum(calls.values()), "timing may spare a call at the end each time, and no more"
