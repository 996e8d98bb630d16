"""Streams and their bell: whatever was committed before a ring is seen, in whatever order rings and reads come.

Each history of a few commits, rings and reads is tried. A commit or a ring may come anywhere, between two reads of one
answer, too. What is claimed: when a stream says "nothing now", all that was rung for has been given.
"""

from collections.abc import Iterator
from itertools import product

import pytest

from jqsched.client.store_channel import PAUSE, Call, LocalChannel, Pause
from jqsched.future import Payload


class World:
    """A store that is a number of events, and a bell; others act between any two reads, as `acts` says."""

    def __init__(self, acts: tuple[str, ...]) -> None:
        self._acts = iter(acts)
        self.events = self.rung_for = self.rings = 0

    def read(self) -> int:
        """Read how many events there are; before and after it, others may act."""
        self.act()
        events = self.events
        self.act()
        return events

    def act(self) -> bool:
        act = next(self._acts, None)
        for letter in act or "":
            if letter == "c":
                self.events += 1
            elif letter == "r":
                self.rings, self.rung_for = self.rings + 1, self.events
        return act is not None

    def last_rings(self) -> None:
        self.rings, self.rung_for = self.rings + 1, self.events

    def listen(self) -> None:
        """As the bell's: nothing is to be done."""

    def call_later(self, *_: object) -> None:
        """As the reactor's."""


def portion_by_portion(world: World) -> Iterator[Payload | Pause]:
    """As an event log is watched: read what there is, give it, wait."""
    given = 0
    while True:
        there = world.read()
        for number in range(given, there):
            yield {"n": number}
        given = there
        yield PAUSE


def up_to_where_it_was(world: World) -> Iterator[Payload | Pause]:
    """As the journal is read: see how far it goes, then read up to there, an event at a time."""
    given = 0
    while True:
        now = world.read()
        while given < now:
            world.read()
            yield {"n": given}
            given += 1
        yield PAUSE


@pytest.mark.parametrize("service", [portion_by_portion, up_to_where_it_was])
def test_what_was_rung_for_is_given_before_a_stream_says_that_there_is_nothing(service):
    for acts in product(("", "c", "r", "cr"), repeat=5):
        world = World(acts)
        channel = LocalChannel(lambda _, world=world: service(world), Call(None, True, None), world, world)
        given = 0
        for _ in range(4 * len(acts)):
            rung_for = world.rung_for
            if channel.poll() is not None:
                given += 1
            else:
                assert given >= rung_for, acts
                world.act()
        world.last_rings()
        while channel.poll() is not None:
            given += 1
        assert given == world.events, acts
