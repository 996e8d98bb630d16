"""The spool's lock: one holder, in the order in which they came, whatever becomes of the lock file."""

import os
import threading
from pathlib import Path

import pytest

from jqsched.adapters.spool import SpoolRefused
from jqsched.runtime.lock import LOCK, Holder, Role, SpoolInUse, SpoolLock, past_commands

BOUND_S = 120.0


def never(_: Holder, held_s: float) -> bool:
    return False


def for_long(_: Holder, held_s: float) -> bool:
    return held_s < BOUND_S


def refused(root: Path, role: Role) -> SpoolInUse:
    with pytest.raises(SpoolInUse) as caught:
        SpoolLock(str(root), role, never)
    return caught.value


@pytest.mark.parametrize("held", Role)
@pytest.mark.parametrize("wanted", Role)
def test_nobody_else_gets_in_even_when_the_lock_file_is_removed(tmp_path: Path, held: Role, wanted: Role) -> None:
    lock = SpoolLock(str(tmp_path), held, never)
    assert held.value in str(refused(tmp_path, wanted))
    (tmp_path / LOCK).unlink()
    assert refused(tmp_path, wanted).pid == os.getpid()
    lock.close()
    SpoolLock(str(tmp_path), wanted, never).close()


def test_who_waits_gets_it_in_its_turn(tmp_path: Path) -> None:
    """Each begins to wait when the one before it does; none is overtaken, and a scheduler waits for commands."""
    lock = SpoolLock(str(tmp_path), Role.COMMAND, never)
    order: list[int] = []
    waiting = [threading.Event() for _ in range(6)]

    def take(number: int) -> None:
        def patience(holder: Holder, held_s: float) -> bool:
            waiting[number].set()
            return past_commands(lambda _: None)(holder, held_s) if number == 3 else held_s < BOUND_S

        mine = SpoolLock(str(tmp_path), Role.SCHEDULER if number == 3 else Role.COMMAND, patience)
        order.append(number)
        mine.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
    for thread, event in zip(threads, waiting, strict=True):
        thread.start()
        assert event.wait(BOUND_S)
    lock.close()
    for thread in threads:
        thread.join(BOUND_S)
    assert order == list(range(6))


def test_a_scheduler_is_not_waited_for(tmp_path: Path) -> None:
    lock = SpoolLock(str(tmp_path), Role.SCHEDULER, never)
    with pytest.raises(SpoolInUse, match=f"in use by scheduler, process {os.getpid()}"):
        SpoolLock(str(tmp_path), Role.SCHEDULER, past_commands(lambda _: None))
    lock.close()


@pytest.mark.parametrize("text", ["4711 scheduler used", "4711 used", "4711 command used", "0 used", "used", "\0 x"])
def test_what_a_dead_holder_wrote_keeps_nobody_out(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    lock = SpoolLock(str(tmp_path), Role.SCHEDULER, never)
    assert lock.used_before == ("used" in text)
    lock.close()
    assert ("used" in (tmp_path / LOCK).read_text()) == ("used" in text)


def test_a_lock_file_that_is_removed_while_one_waits_is_made_again(tmp_path: Path) -> None:
    lock = SpoolLock(str(tmp_path), Role.COMMAND, never)

    def patience(_: Holder, held_s: float) -> bool:
        if (tmp_path / LOCK).exists():
            (tmp_path / LOCK).unlink()
            lock.close()
        return held_s < BOUND_S

    mine = SpoolLock(str(tmp_path), Role.COMMAND, patience)
    assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    refused(tmp_path, Role.COMMAND)
    mine.close()


def test_who_gave_up_waiting_does_not_get_it_later(tmp_path: Path) -> None:
    lock = SpoolLock(str(tmp_path), Role.COMMAND, never)
    refused(tmp_path, Role.COMMAND)
    lock.close()
    SpoolLock(str(tmp_path), Role.COMMAND, for_long).close()


def test_in_the_spool_of_another_user_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4711)
    tmp_path.chmod(0o700)
    if os.getuid() == 0:
        os.chown(tmp_path, 4712, -1)
    with pytest.raises(SpoolRefused, match="belongs to user"):
        SpoolLock(str(tmp_path), Role.COMMAND, never)
    assert not list(tmp_path.iterdir())
