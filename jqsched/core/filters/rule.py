"""Filter rules as values: their order, which of them match a job, and which one applies.

Rule: a rule knows whether it matches, and nothing of queues, counts or effects. A match depends on the rule and the
subject only. Source: docs/reference/filter-rules.md.
"""

from collections.abc import Iterable
from enum import Enum
from typing import TypeAlias

from attrs import Factory, field, frozen

from jqsched.core.filters.predicates import Holds, Predicate, compile_predicate
from jqsched.core.filters.subject import Subject

RULES_MAX = 10_000


class Action(Enum):
    """What a rule wants of the jobs that it applies to; CONTINUE never applies."""

    ACCEPT = "ACCEPT"
    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    REJECT = "REJECT"
    RATE_LIMIT = "RATE_LIMIT"


def _compile(rule: "Rule") -> Holds:
    """Compile all predicates to one test; a rule without predicates matches every job."""
    tests = tuple([compile_predicate(predicate, rule.watermark) for predicate in rule.predicates])
    if len(tests) == 1:
        return tests[0]

    def matches(subject: Subject) -> bool:
        for test in tests:  # noqa: SIM110  # all() costs three times as much
            if not test(subject):
                return False
        return True

    return matches


@frozen
class Rule:
    """A filter rule. Code that makes one without `read_rule` must keep what that checks; a bad regex raises.

    `watermark` is the last id that had been given out when the rule was made or replaced. `limit` is RATE_LIMIT's
    number, None for all other actions. `note` says why the rule was made. `matches` is compiled of the predicates and
    the watermark, and is no part of the value.
    """

    uuid: str
    watermark: int
    priority: int
    predicates: tuple[Predicate, ...]
    action: Action
    limit: int | None = None
    note: str = ""
    matches: Holds = field(init=False, repr=False, eq=False, default=Factory(_compile, takes_self=True))

    def __attrs_post_init__(self) -> None:
        assert (self.action is Action.RATE_LIMIT) == (self.limit is not None), "RATE_LIMIT, and no other, has a limit"


Rules: TypeAlias = tuple[Rule, ...]


def in_order(rules: Iterable[Rule]) -> Rules:
    """Put rules into the order in which they are asked: increasing priority, then watermark, then uuid as bytes."""
    return tuple(sorted(rules, key=lambda rule: (rule.priority, rule.watermark, rule.uuid.encode())))


def matching(rules: Rules, subject: Subject) -> list[Rule]:
    """List the rules that match a job: those of which all predicates hold.

    Shape: in the order given. Cost: about 0.2 µs for a simple rule, 1 µs for a regular expression.
    """
    return [rule for rule in rules if rule.matches(subject)]


def applying_filter(rules: Rules, subject: Subject) -> Rule | None:
    """Find the rule that applies to a job: the first matching one that is not CONTINUE. `rules` must be in order.

    Cost: as `matching`, up to the rule that applies.
    """
    for rule in rules:
        if rule.action is not Action.CONTINUE and rule.matches(subject):
            return rule
    return None
