"""Admission: of the jobs that are ready, those that rules and rate limits let through.

Rule: a gate lets at most so many jobs through at a time; a job passes when each of its gates has room, and then takes
a place in each. Nothing is known here of queues, priorities or states: a job is the key by which it waits, and its
gates. Jobs with the same gates wait in one group. A group is on the watch list of one of its gates, a full one as soon
as one was found, so what is stopped costs nothing until that gate has room again.
Source: Ganeti JQScheduler/Filtering.hs, ReasonRateLimiting.hs. Differs: rules and rate limits are applied
together, so that a job which one gate stops takes no place at another.
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
    """What a gate is made by: a rule (that pauses, rejects or limits), a rate limit among a job's reasons, or the limit
    of its array.
    """

    PAUSE = 1
    REJECT = 2
    RULE = 3
    BUCKET = 4
    ARRAY = 5


class Gate(NamedTuple):
    """What lets `limit` jobs through at a time, 0 = none. `key`: the rule's uuid, what follows `rate-limit:`, or an
    array's id.
    """

    kind: GateKind
    key: str
    limit: int


Gates: TypeAlias = tuple[Gate, ...]  # of a job: sorted, each once
OPEN: Gates = ()
_NO_GATES: IdMap[Gates] = IdMap()
_NO_GROUPS: PMap[Gates, Order] = pmap()
_NO_WATCHED: PMap[Gates, Gate] = pmap()
_NO_WATCH_LISTS: PMap[Gate, Order] = pmap()
_NO_PLACES: PMap[Gate, int] = pmap()


# ---- the gates of a job -------------------------------------------------------------------------------------------


def gates_of(rules: Rules, job: Job) -> Gates:
    """The gates of a job: of the rule that applies to it, of its rate limits, and of its array. O(rules)."""
    element = job.spec.element
    limit = element.array.limit if element is not None else None
    if not rules and not job.spec.reasons and limit is None:
        return OPEN
    rule = applying_filter(rules, subject_of(job)) if rules else None
    shut = rule_gate(rule) if rule is not None else None
    gates = _together(shut, buckets(job.spec.reasons))
    if element is None or limit is None:
        return gates
    return _together(_gate(GateKind.ARRAY, str(element.array.id), limit), gates)


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


# ---- waiting and admitted jobs ------------------------------------------------------------------------------------


@frozen
class Admission:
    """The jobs that wait at gates, and how many each gate has admitted; jobs without gates do not appear.

    `gates`: of each live job that has any. `groups`: the keys of those that wait, by their gates. `watched`: the gate
    on whose watch list a group is; `watch_lists`: for each gate the first keys of the groups on its list; `openings`:
    the first keys of the watch lists of gates with room. `places`: how many are admitted. The group of the first key of
    `openings` may pass.
    """

    gates: IdMap[Gates] = _NO_GATES
    groups: PMap[Gates, Order] = _NO_GROUPS
    watched: PMap[Gates, Gate] = _NO_WATCHED
    watch_lists: PMap[Gate, Order] = _NO_WATCH_LISTS
    openings: Order = None
    places: PMap[Gate, int] = _NO_PLACES


EMPTY = Admission()


class Position(NamedTuple):
    """A job's position at its gates: the key by which it waits there, or that it is admitted, or neither."""

    gates: Gates
    key: Key | None = None
    admitted: bool = False


ABSENT = Position(OPEN)


def move(admission: Admission, id_: int, before: Position, after: Position) -> Admission:
    """Move a job from one position to another; one that is gone has no gates.

    Cost: O(log n); what is stopped by another gate than before is filed there, each group once for each such change.
    """
    change = _Change(admission)
    if before.key is not None and before.gates:
        change.leave(before.gates, before.key)
    stays = before.admitted and after.admitted and before.gates == after.gates  # most often: saves two moves
    if before.admitted and not stays:
        change.take(before.gates, -1)
    if before.gates != after.gates:
        change.gates = change.gates.set(id_, after.gates) if after.gates else change.gates.discard(id_)
    if after.admitted and not stays:
        change.take(after.gates, 1)
    if after.key is not None and after.gates:
        change.join(after.gates, after.key)
    change.settle()
    return change.done()


def passing(admission: Admission, passed_over: Container[int] = ()) -> Iterator[Key]:
    """Yield the keys of the jobs that may pass, in order, each provided that all before it pass. O(log n) for each.

    A job that the caller has put into `passed_over` before it asks for the next does not pass: it takes no place.
    """
    change = _Change(admission)
    while (key := change.settle()) is not None:
        yield key
        gates = change.gates[key[-1]]
        change.leave(gates, key)
        if key[-1] not in passed_over:
            change.take(gates, 1)


def first_passing(admission: Admission) -> Key | None:
    """Return the key of the first job that may pass, None if there is none."""
    return order.first(admission.openings)


def places(admission: Admission, gate: Gate) -> int:
    """Return how many jobs this gate has admitted."""
    return admission.places.get(gate, 0)


def stopping(admission: Admission, gates: Gates) -> list[Gate]:
    """Return the gates among these that have no room."""
    return [gate for gate in gates if places(admission, gate) >= gate.limit]


def over_limit(admission: Admission, gates: Gates) -> bool:
    """Whether one of these gates has admitted more jobs than its limit, which was lowered since."""
    return any(places(admission, gate) > gate.limit for gate in gates)


class _Change:
    """An admission that is being changed. Its values are persistent, so the original stays as it was."""

    def __init__(self, admission: Admission) -> None:
        self.gates, self.groups, self.watched = admission.gates, admission.groups, admission.watched
        self.watch_lists, self.openings, self.places = admission.watch_lists, admission.openings, admission.places

    def done(self) -> Admission:
        return Admission(self.gates, self.groups, self.watched, self.watch_lists, self.openings, self.places)

    def has_room(self, gate: Gate) -> bool:
        return self.places.get(gate, 0) < gate.limit

    def join(self, gates: Gates, key: Key) -> None:
        self.set_group(gates, order.add(self.groups.get(gates), key))

    def leave(self, gates: Gates, key: Key) -> None:
        self.set_group(gates, order.discard(self.groups[gates], key))

    def set_group(self, gates: Gates, group: Order) -> None:
        """Set the keys of a group; if its first key has changed, file it on the watch lists again."""
        was = order.first(self.groups.get(gates))
        head = order.first(group)
        self.groups = self.groups.set(gates, group) if group is not None else self.groups.discard(gates)
        if head == was:
            return
        watched_gate = self.watched.get(gates) or self._watched_gate(gates)
        watch_list = self.watch_lists.get(watched_gate)
        watch_list = order.discard(watch_list, was) if was is not None else watch_list
        watch_list = order.add(watch_list, head) if head is not None else watch_list
        self._set_watch_list(watched_gate, watch_list)
        self.watched = self.watched.set(gates, watched_gate) if head is not None else self.watched.discard(gates)

    def _watched_gate(self, gates: Gates) -> Gate:
        return next((gate for gate in gates if not self.has_room(gate)), gates[0])

    def _set_watch_list(self, gate: Gate, watch_list: Order) -> None:
        was, now = order.first(self.watch_lists.get(gate)), order.first(watch_list)
        self.watch_lists = (
            self.watch_lists.set(gate, watch_list) if watch_list is not None else self.watch_lists.discard(gate)
        )
        if was != now and self.has_room(gate):
            self._reopen(was, now)

    def _reopen(self, was: Key | None, now: Key | None) -> None:
        if was is not None:
            self.openings = order.discard(self.openings, was)
        if now is not None:
            self.openings = order.add(self.openings, now)

    def take(self, gates: Gates, more: int) -> None:
        """Count `more` admitted jobs at each of these gates (-1: one less)."""
        for gate in gates:
            had_room = self.has_room(gate)
            through = self.places.get(gate, 0) + more
            self.places = self.places.set(gate, through) if through else self.places.discard(gate)
            head = order.first(self.watch_lists.get(gate))
            if head is not None and had_room != self.has_room(gate):
                self._reopen(*((head, None) if had_room else (None, head)))

    def settle(self) -> Key | None:
        """Move what another gate stops to the watch list of that one, until the first opening may pass; its key."""
        while (key := order.first(self.openings)) is not None:
            gates = self.gates[key[-1]]
            full = next((gate for gate in gates if not self.has_room(gate)), None)
            if full is None:
                return key
            self._set_watch_list(self.watched[gates], order.discard(self.watch_lists[self.watched[gates]], key))
            self._set_watch_list(full, order.add(self.watch_lists.get(full), key))
            self.watched = self.watched.set(gates, full)
        return None


# ---- build and check as a whole -----------------------------------------------------------------------------------
def build(positions: Iterable[tuple[int, Position]]) -> Admission:
    """Make the admission of jobs in these positions. O(n log n)."""
    gates: dict[int, Gates] = {}
    groups: dict[Gates, list[Key]] = {}
    through: dict[Gate, int] = {}
    for id_, position in positions:
        if not position.gates:
            continue
        gates[id_] = position.gates
        if position.key is not None:
            groups.setdefault(position.gates, []).append(position.key)
        if position.admitted:
            for gate in position.gates:
                through[gate] = through.get(gate, 0) + 1
    change = _Change(Admission(gates=id_map(gates), places=pmap(through)))
    for group in sorted(groups):
        change.set_group(group, order.build(groups[group]))
    change.settle()
    return change.done()


def check(admission: Admission) -> None:
    """Assert that every group is on one watch list, of one of its gates, and that the first opening may pass."""
    heads: dict[Gate, set[Key]] = {}
    for gates, group in admission.groups.items():
        head = order.first(group)
        assert head is not None, "an empty group"
        assert admission.watched[gates] in gates, "a group is filed under a strange gate"
        heads.setdefault(admission.watched[gates], set()).add(head)
    watch_lists = {gate: set(order.ascending(watch_list)) for gate, watch_list in admission.watch_lists.items()}
    assert heads == watch_lists, "watch_lists are not the heads of their groups"
    assert set(admission.watched) == set(admission.groups), "watched of groups that are not there"
    openings = {min(watch_list) for gate, watch_list in watch_lists.items() if places(admission, gate) < gate.limit}
    assert openings == set(order.ascending(admission.openings)), (
        "openings are not the heads of the watch lists with room"
    )
    first = first_passing(admission)
    assert first is None or not stopping(admission, admission.gates[first[-1]]), "the first opening may not pass"
