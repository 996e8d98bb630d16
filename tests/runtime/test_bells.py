"""Bells: nobody is forgotten, nobody is rung for more often than it is worth, and one who sleeps costs nothing."""

import pytest
from attrs import define, field

from jqsched.core.json import JsonObject
from jqsched.runtime.notifier import APART_US, AT_ONCE, ROUND_US, Bells
from jqsched.testing.fake_clock import FakeClock


@define(eq=False)
class Follower:
    """Notes what it is told."""

    heard: list[object] = field(factory=list)
    unread_bytes: int = 0

    def stream(self, payload: JsonObject) -> None:
        self.heard.append(payload["seq"])


def follow(bells: Bells, count: int) -> list[Follower]:
    followers = [Follower() for _ in range(count)]
    for follower in followers:
        bells.add(follower, 1)
    return followers


def ring_out(bells: Bells, clock: FakeClock) -> int:
    """Ring until nobody waits for his turn; how long that takes."""
    begin_us = clock.monotonic_us()
    while bells.due_us is not None:
        clock.advance(max(0, bells.due_us - clock.monotonic_us()))
        bells.ring_due()
    return clock.monotonic_us() - begin_us


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bells(clock: FakeClock) -> Bells:
    return Bells(clock)


def test_who_begins_to_follow_is_told_at_once(bells: Bells) -> None:
    assert [follower.heard for follower in follow(bells, 3)] == [[1]] * 3


def test_after_quiet_a_few_are_told_at_once(bells: Bells) -> None:
    followers = follow(bells, AT_ONCE)
    bells.ring(2)
    assert [follower.heard for follower in followers] == [[1, 2]] * AT_ONCE
    assert bells.due_us is None


def test_many_are_told_in_turn_and_each_within_a_round(bells: Bells, clock: FakeClock) -> None:
    """Each commit rings; each bell is rung for once a round at most, and has the last word in the end."""
    followers = follow(bells, 1000)
    last = 0
    for last in range(2, 402):
        bells.ring(last)
        clock.advance(ROUND_US // 100)
    rounds = 4
    counts = [len(follower.heard) - 1 for follower in followers]
    assert rounds - 1 <= min(counts) <= max(counts) <= rounds + 1
    assert ring_out(bells, clock) <= ROUND_US
    assert {follower.heard[-1] for follower in followers} == {last}


def test_a_busy_scheduler_rings_no_more_than_so_often(bells: Bells, clock: FakeClock) -> None:
    (follower,) = follow(bells, 1)
    for seq in range(1000):
        bells.ring(seq)
        clock.advance(APART_US // 10)
    assert len(follower.heard) <= 1 + AT_ONCE + 1000 // 10
    ring_out(bells, clock)
    assert follower.heard[-1] == 999


def test_one_who_sleeps_is_rung_for_when_he_has_read(bells: Bells) -> None:
    """He has no turn meanwhile, and nobody wakes up for him."""
    sleeper, other = follow(bells, 2)
    sleeper.unread_bytes = 9
    for seq in (2, 3):
        bells.ring(seq)
    assert (sleeper.heard, other.heard, bells.due_us) == ([1], [1, 2, 3], None)
    sleeper.unread_bytes = 0
    bells.ring_due()
    assert sleeper.heard == [1, 3]


def test_who_is_gone_is_not_rung_for(bells: Bells) -> None:
    gone = Follower()
    bells.remove(bells.add(gone, 1))
    bells.ring(2)
    assert gone.heard == [1]


def test_who_leaves_takes_his_part_of_the_waiting_with_him(bells: Bells, clock: FakeClock) -> None:
    """The turns of many are far apart; one who is left alone does not wait for theirs."""
    numbers = [bells.add(Follower(), 1) for _ in range(9)]
    (left,) = follow(bells, 1)
    for seq in range(2, 100):
        bells.ring(seq)
        clock.advance(ROUND_US // 1000)
    for number in numbers:
        bells.remove(number)
    bells.ring(100)
    assert ring_out(bells, clock) <= APART_US
    assert left.heard[-1] == 100


def test_who_is_told_and_leaves_slows_nobody_down(bells: Bells, clock: FakeClock) -> None:
    """Readers that wait for the same end are told of it one after the other, and leave."""
    numbers = {bells.add(follower, 1): follower for follower in [Follower() for _ in range(100)]}
    followers = list(numbers.values())
    for seq in range(2, 5):
        bells.ring(seq)
    begin_us = clock.monotonic_us()
    while bells.due_us is not None:
        clock.advance(max(0, bells.due_us - clock.monotonic_us()))
        bells.ring_due()
        for number in [number for number, follower in numbers.items() if follower.heard[-1] == 4]:
            bells.remove(number)
            del numbers[number]
    assert [follower.heard[-1] for follower in followers] == [4] * 100
    assert clock.monotonic_us() - begin_us <= ROUND_US
