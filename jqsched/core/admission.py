"""Admission: of the jobs that are ready, those that rules and rate limits let through.

Rule: a gate lets at most so many jobs through at a time; a job passes when each of its gates has room, and then takes
a place in each. Nothing is known here of queues, priorities or states: a job is the key by which it waits, and its
gates. Jobs with the same gates wait in one lane. A lane is filed in the yard of one of its gates, a full one as soon as
it was found there, so what is stopped costs nothing until that gate has room again.
Source: Ganeti JQScheduler/Filtering.hs, ReasonRateLimiting.hs. Differs: rules and rate limits together, so that who is
stopped by one takes no place of another.
"""

from collections.abc import Container, Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from attrs import frozen
from pyrsistent import PMap, pmap

from jqsched.core import order
from jqsched.core.filters import Action, Rule, Rules, applying_filter, subject_of
from jqsched.core.idmap import IdMap, id_map
from jqsched.core.job import Job, Reason
from jqsched.core.order import Key, Order

RATE_LIMIT_PREFIX = "rate-limit:"


class GateKind(IntEnum):
    """What a gate is made by: a rule (that pauses, rejects or limits), or a rate limit among a job's reasons."""

    PAUSE = 1
    REJECT = 2
    RULE = 3
    BUCKET = 4


class Gate(NamedTuple):
    """What lets `limit` jobs through at a time, 0 = none. `key`: the rule's uuid, or what follows `rate-limit:`."""

    kind: GateKind
    key: str
    limit: int


Gates: TypeAlias = tuple[Gate, ...]  # of a job: sorted, each once
OPEN: Gates = ()
_NO_GATES: IdMap[Gates] = IdMap()
_NO_LANES: PMap[Gates, Order] = pmap()
_NO_HOMES: PMap[Gates, Gate] = pmap()
_NO_YARDS: PMap[Gate, Order] = pmap()
_NO_PLACES: PMap[Gate, int] = pmap()


# ---- the gates of a job -------------------------------------------------------------------------------------------


def gates_of(rules: Rules, job: Job) -> Gates:
    """The gates of a job: of the rule that applies to it, and of its rate limits. O(rules)."""
    if not rules and not job.spec.reasons:
        return OPEN
    rule = applying_filter(rules, subject_of(job)) if rules else None
    shut = rule_gate(rule) if rule is not None else None
    return _together(shut, buckets(job.spec.reasons))


@lru_cache(maxsize=4096)  # a million jobs of a few kinds share a few tuples
def _together(gate: Gate | None, others: Gates) -> Gates:
    return tuple(sorted({gate, *others})) if gate is not None else others


@lru_cache(maxsize=4096)
def _gate(kind: GateKind, key: str, limit: int) -> Gate:
    return Gate(kind, key, limit)


def rule_gate(rule: Rule) -> Gate | None:
    """The gate that a rule makes, if it applies; None when it lets everything through."""
    match rule.action:
        case Action.PAUSE:
            return _gate(GateKind.PAUSE, rule.uuid, 0)
        case Action.REJECT:
            return _gate(GateKind.REJECT, rule.uuid, 0)
        case Action.RATE_LIMIT:
            assert rule.limit is not None
            return _gate(GateKind.RULE, rule.uuid, rule.limit)
        case Action.ACCEPT | Action.CONTINUE:
            return None


@lru_cache(maxsize=4096)
def buckets(reasons: tuple[Reason, ...]) -> Gates:
    """The rate limits among the reasons of a job: `rate-limit:N:LABEL` lets N jobs through at a time.

    The key is everything behind the prefix, N as it is written included. N is a decimal number above 0.
    Source: Ganeti ReasonRateLimiting.hs parseReasonRateLimit.
    """
    found: set[Gate] = set()
    for reason in reasons:
        if reason.text.startswith(RATE_LIMIT_PREFIX):
            key = reason.text.removeprefix(RATE_LIMIT_PREFIX)
            number = key.partition(":")[0]
            if number.isascii() and number.isdecimal() and len(number) < 10 and int(number) > 0:
                found.add(Gate(GateKind.BUCKET, key, int(number)))
    return tuple(sorted(found))


# ---- who waits, who is through ------------------------------------------------------------------------------------


@frozen
class Admission:
    """Who waits at which gates, and how many are through each; only jobs that have gates are here.

    `gates`: of each live job that has any. `lanes`: the keys of those that wait, by their gates. `homes`: the gate in
    whose yard a lane is filed; `yards`: for each gate the first keys of the lanes filed there; `awake`: the first keys
    of the yards of gates with room. `places`: how many are through. The lane of the first key of `awake` may pass.
    """

    gates: IdMap[Gates] = _NO_GATES
    lanes: PMap[Gates, Order] = _NO_LANES
    homes: PMap[Gates, Gate] = _NO_HOMES
    yards: PMap[Gate, Order] = _NO_YARDS
    awake: Order = None
    places: PMap[Gate, int] = _NO_PLACES


EMPTY = Admission()


class Stand(NamedTuple):
    """How a job stands to its gates: the key by which it waits there, or that it is through, or neither."""

    gates: Gates
    key: Key | None = None
    through: bool = False


NOWHERE = Stand(OPEN)


def move(admission: Admission, id_: int, before: Stand, after: Stand) -> Admission:
    """Bring a job from one standing to another; one that is gone has no gates.

    Cost: O(log n); what is stopped by another gate than before is filed there, each lane once for each such change.
    """
    change = _Change(admission)
    if before.key is not None and before.gates:
        change.leave(before.gates, before.key)
    stays = before.through and after.through and before.gates == after.gates  # most often: saves two moves
    if before.through and not stays:
        change.take(before.gates, -1)
    if before.gates != after.gates:
        change.gates = change.gates.set(id_, after.gates) if after.gates else change.gates.discard(id_)
    if after.through and not stays:
        change.take(after.gates, 1)
    if after.key is not None and after.gates:
        change.join(after.gates, after.key)
    change.settle()
    return change.done()


def passing(admission: Admission, passed_over: Container[int] = ()) -> Iterator[Key]:
    """The keys of those that may pass, in order: each if all before it do. O(log n) for each.

    A job that is in `passed_over` when the next is asked for does not pass: it takes no place.
    """
    change = _Change(admission)
    while (key := change.settle()) is not None:
        yield key
        gates = change.gates[key[-1]]
        change.leave(gates, key)
        if key[-1] not in passed_over:
            change.take(gates, 1)


def first_passing(admission: Admission) -> Key | None:
    """The key of the first that may pass, None if nobody may."""
    return order.first(admission.awake)


def places(admission: Admission, gate: Gate) -> int:
    """How many are through this gate."""
    return admission.places.get(gate, 0)


def stopping(admission: Admission, gates: Gates) -> list[Gate]:
    """Those of the gates that have no room."""
    return [gate for gate in gates if places(admission, gate) >= gate.limit]


def crowded(admission: Admission, gates: Gates) -> bool:
    """Whether more are through one of these gates than it lets through: it was narrowed, or shut."""
    return any(places(admission, gate) > gate.limit for gate in gates)


class _Change:
    """An admission in the making. Its values are persistent, so the one that it began with stays as it was."""

    def __init__(self, admission: Admission) -> None:
        self.gates, self.lanes, self.homes = admission.gates, admission.lanes, admission.homes
        self.yards, self.awake, self.places = admission.yards, admission.awake, admission.places

    def done(self) -> Admission:
        return Admission(self.gates, self.lanes, self.homes, self.yards, self.awake, self.places)

    def has_room(self, gate: Gate) -> bool:
        return self.places.get(gate, 0) < gate.limit

    def join(self, gates: Gates, key: Key) -> None:
        self.set_lane(gates, order.add(self.lanes.get(gates), key))

    def leave(self, gates: Gates, key: Key) -> None:
        self.set_lane(gates, order.discard(self.lanes[gates], key))

    def set_lane(self, gates: Gates, lane: Order) -> None:
        """Give a lane these keys; file it, if its first key is another now."""
        was = order.first(self.lanes.get(gates))
        head = order.first(lane)
        self.lanes = self.lanes.set(gates, lane) if lane is not None else self.lanes.discard(gates)
        if head == was:
            return
        home = self.homes.get(gates) or self._home(gates)
        yard = self.yards.get(home)
        yard = order.discard(yard, was) if was is not None else yard
        yard = order.add(yard, head) if head is not None else yard
        self._set_yard(home, yard)
        self.homes = self.homes.set(gates, home) if head is not None else self.homes.discard(gates)

    def _home(self, gates: Gates) -> Gate:
        return next((gate for gate in gates if not self.has_room(gate)), gates[0])

    def _set_yard(self, gate: Gate, yard: Order) -> None:
        was, now = order.first(self.yards.get(gate)), order.first(yard)
        self.yards = self.yards.set(gate, yard) if yard is not None else self.yards.discard(gate)
        if was != now and self.has_room(gate):
            self._wake(was, now)

    def _wake(self, was: Key | None, now: Key | None) -> None:
        if was is not None:
            self.awake = order.discard(self.awake, was)
        if now is not None:
            self.awake = order.add(self.awake, now)

    def take(self, gates: Gates, more: int) -> None:
        """So many more jobs are through these gates (-1: one less)."""
        for gate in gates:
            had_room = self.has_room(gate)
            through = self.places.get(gate, 0) + more
            self.places = self.places.set(gate, through) if through else self.places.discard(gate)
            head = order.first(self.yards.get(gate))
            if head is not None and had_room != self.has_room(gate):
                self._wake(*((head, None) if had_room else (None, head)))

    def settle(self) -> Key | None:
        """File what another gate stops in the yard of that one, until the first that is awake may pass; its key."""
        while (key := order.first(self.awake)) is not None:
            gates = self.gates[key[-1]]
            full = next((gate for gate in gates if not self.has_room(gate)), None)
            if full is None:
                return key
            self._set_yard(self.homes[gates], order.discard(self.yards[self.homes[gates]], key))
            self._set_yard(full, order.add(self.yards.get(full), key))
            self.homes = self.homes.set(gates, full)
        return None


# ---- at once ------------------------------------------------------------------------------------------------------


def build(stands: Iterable[tuple[int, Stand]]) -> Admission:
    """Make the admission of jobs that stand so. O(n log n)."""
    gates: dict[int, Gates] = {}
    lanes: dict[Gates, list[Key]] = {}
    through: dict[Gate, int] = {}
    for id_, stand in stands:
        if not stand.gates:
            continue
        gates[id_] = stand.gates
        if stand.key is not None:
            lanes.setdefault(stand.gates, []).append(stand.key)
        if stand.through:
            for gate in stand.gates:
                through[gate] = through.get(gate, 0) + 1
    change = _Change(Admission(gates=id_map(gates), places=pmap(through)))
    for lane in sorted(lanes):
        change.set_lane(lane, order.build(lanes[lane]))
    change.settle()
    return change.done()


def check(admission: Admission) -> None:
    """Assert that every lane is filed once, under one of its gates, and that who is awake may pass."""
    heads: dict[Gate, set[Key]] = {}
    for gates, lane in admission.lanes.items():
        head = order.first(lane)
        assert head is not None, "an empty lane"
        assert admission.homes[gates] in gates, "a lane is filed under a strange gate"
        heads.setdefault(admission.homes[gates], set()).add(head)
    yards = {gate: set(order.ascending(yard)) for gate, yard in admission.yards.items()}
    assert heads == yards, "yards are not the heads of their lanes"
    assert set(admission.homes) == set(admission.lanes), "homes of lanes that are not there"
    awake = {min(yard) for gate, yard in yards.items() if places(admission, gate) < gate.limit}
    assert awake == set(order.ascending(admission.awake)), "awake are not the heads of the yards with room"
    first = first_passing(admission)
    assert first is None or not stopping(admission, admission.gates[first[-1]]), "the first awake may not pass"
