"""The notifier: each follower gets the last number, none too often, and one that does not read costs nothing."""

import pytest
from attrs import define, field

from jqsched.core.json import JsonObject
from jqsched.runtime.notifier import APART_US, AT_ONCE, ROUND_US, Notifier
from jqsched.testing.fake_clock import FakeClock


@define(eq=False)
class Follower:
    """Keeps the numbers that it was sent."""

    messages: list[object] = field(factory=list)
    unread_bytes: int = 0

    def stream(self, payload: JsonObject) -> None:
        self.messages.append(payload["seq"])


def follow(notifier: Notifier, count: int) -> list[Follower]:
    followers = [Follower() for _ in range(count)]
    for follower in followers:
        notifier.add(follower, 1)
    return followers


def flush(notifier: Notifier, clock: FakeClock) -> int:
    """Notify until no follower is pending; return how long that takes."""
    begin_us = clock.monotonic_us()
    while notifier.due_us is not None:
        clock.advance(max(0, notifier.due_us - clock.monotonic_us()))
        notifier.notify_due()
    return clock.monotonic_us() - begin_us


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def notifier(clock: FakeClock) -> Notifier:
    return Notifier(clock)


def test_a_new_follower_is_notified_at_once(notifier: Notifier) -> None:
    assert [follower.messages for follower in follow(notifier, 3)] == [[1]] * 3


def test_after_a_pause_a_few_are_notified_at_once(notifier: Notifier) -> None:
    followers = follow(notifier, AT_ONCE)
    notifier.notify(2)
    assert [follower.messages for follower in followers] == [[1, 2]] * AT_ONCE
    assert notifier.due_us is None


def test_many_are_notified_in_turn_and_each_within_a_round(notifier: Notifier, clock: FakeClock) -> None:
    """Each commit notifies; a follower gets one message a round at most, and the last number in the end."""
    followers = follow(notifier, 1000)
    last = 0
    for last in range(2, 402):
        notifier.notify(last)
        clock.advance(ROUND_US // 100)
    rounds = 4
    counts = [len(follower.messages) - 1 for follower in followers]
    assert rounds - 1 <= min(counts) <= max(counts) <= rounds + 1
    assert flush(notifier, clock) <= ROUND_US
    assert {follower.messages[-1] for follower in followers} == {last}


def test_a_busy_scheduler_does_not_notify_more_often(notifier: Notifier, clock: FakeClock) -> None:
    (follower,) = follow(notifier, 1)
    for seq in range(1000):
        notifier.notify(seq)
        clock.advance(APART_US // 10)
    assert len(follower.messages) <= 1 + AT_ONCE + 1000 // 10
    flush(notifier, clock)
    assert follower.messages[-1] == 999


def test_a_follower_that_does_not_read_is_notified_when_it_has_read(notifier: Notifier) -> None:
    """It gets no turn meanwhile, and causes no wake-up."""
    sleeper, other = follow(notifier, 2)
    sleeper.unread_bytes = 9
    for seq in (2, 3):
        notifier.notify(seq)
    assert (sleeper.messages, other.messages, notifier.due_us) == ([1], [1, 2, 3], None)
    sleeper.unread_bytes = 0
    notifier.notify_due()
    assert sleeper.messages == [1, 3]


def test_a_removed_follower_is_not_notified(notifier: Notifier) -> None:
    gone = Follower()
    notifier.remove(notifier.add(gone, 1))
    notifier.notify(2)
    assert gone.messages == [1]


def test_followers_that_leave_shorten_the_turns(notifier: Notifier, clock: FakeClock) -> None:
    """The turns of many are far apart; a follower that is left alone does not wait for theirs."""
    numbers = [notifier.add(Follower(), 1) for _ in range(9)]
    (left,) = follow(notifier, 1)
    for seq in range(2, 100):
        notifier.notify(seq)
        clock.advance(ROUND_US // 1000)
    for number in numbers:
        notifier.remove(number)
    notifier.notify(100)
    assert flush(notifier, clock) <= APART_US
    assert left.messages[-1] == 100


def test_a_follower_that_leaves_after_its_message_delays_no_other(notifier: Notifier, clock: FakeClock) -> None:
    """Followers that wait for the same end get the message in turn, and leave."""
    numbers = {notifier.add(follower, 1): follower for follower in [Follower() for _ in range(100)]}
    followers = list(numbers.values())
    for seq in range(2, 5):
        notifier.notify(seq)
    begin_us = clock.monotonic_us()
    while notifier.due_us is not None:
        clock.advance(max(0, notifier.due_us - clock.monotonic_us()))
        notifier.notify_due()
        for number in [number for number, follower in numbers.items() if follower.messages[-1] == 4]:
            notifier.remove(number)
            del numbers[number]
    assert [follower.messages[-1] for follower in followers] == [4] * 100
    assert clock.monotonic_us() - begin_us <= ROUND_US
