"""A journal under fire: whatever is killed, each event of each job comes exactly once, and in order."""

import threading

import pytest

from jqsched import Handle
from jqsched.adapters.store.reader import StoreReader
from jqsched.job.journal import JournalConsumer, JournalEvent
from tests.e2e.conftest import Daemon

Seen = tuple[int, int, str]


def _seen(event: JournalEvent) -> Seen:
    return event.seq, int(event.jobid), event.name


class Follower(threading.Thread):
    """Reads the journal by callback, with a handle of its own, until so many jobs are over."""

    def __init__(self, spool: str, jobs: int) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._spool, self._left = spool, jobs

    def run(self) -> None:
        """Follow."""
        with Handle(self._spool) as handle:
            self.consumer = JournalConsumer(handle).set_callback(self._take).start()
            handle.reactor_run()

    def _take(self, event: JournalEvent) -> None:
        self.seen.append(_seen(event))
        self._left -= event.name == "clean"
        if not self._left:
            self.consumer.stop()


def _resumed(daemon: Daemon, seen: list[Seen], until_clean: int) -> None:
    """Go on behind the last event with a new handle, until so many jobs in all are over."""
    with Handle(daemon.spool) as handle:
        consumer = JournalConsumer(handle, since_seq=seen[-1][0] if seen else 0).start()
        clean = sum(name == "clean" for _, _, name in seen)
        while clean < until_clean:
            event = consumer.poll()
            assert event is not None
            seen.append(_seen(event))
            clean += event.name == "clean"


def _follow(daemon: Daemon, jobs: int, kills: int) -> None:
    follower = Follower(str(daemon.spool), jobs)
    follower.start()
    resumed: list[Seen] = []
    for number in range(jobs // 2):
        daemon.drop(f"{number}.json", {"command": ["true"]})
    daemon.start("--max-running", "2")
    for number in range(jobs // 2, jobs):
        daemon.drop(f"{number}.json", {"command": ["true"]})
    for kill in range(1, kills + 1):
        _resumed(daemon, resumed, kill * jobs // (kills + 2))
        daemon.kill()
        daemon.start("--max-running", "2")
    _resumed(daemon, resumed, jobs)
    follower.join(600)
    reader = StoreReader(str(daemon.spool))
    truth = [(seq, event.jobid, event.name) for seq, event in reader.journal()]
    reader.close()
    assert [seq for seq, _, _ in truth] == list(range(1, len(truth) + 1))
    assert sum(name == "clean" for _, _, name in truth) == jobs
    assert follower.seen == truth
    assert resumed == truth[: len(resumed)]
    assert resumed[-1][2] == "clean"


def test_a_journal_followed_through_five_kills_has_each_event_once(daemon: Daemon) -> None:
    """One reader that stays, and one that begins anew after each kill where it was."""
    _follow(daemon, jobs=200, kills=5)


@pytest.mark.sweep
@pytest.mark.timeout(600)
def test_a_journal_followed_through_twenty_kills_has_each_event_once(daemon: Daemon) -> None:
    """The same with 1,000 jobs."""
    _follow(daemon, jobs=1000, kills=20)
