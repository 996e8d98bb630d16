"""The rulebook: the filter rules of a scheduler, changed by commands and kept in the store.

Rule: a change applies from the next decision on, and is kept in the store's settings as one list of documents; the
command is answered when that is durable. What rules mean is decided in the core (`core.filters`).
"""

from collections.abc import Callable

from jqsched.core.filters import RULES_MAX, BadRule, Rule, Rules, in_order, read_rule, rules_text
from jqsched.core.json import Json
from jqsched.ports import RULES
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.ledger import Ledger


class RuleRefused(Exception):
    """A refused change of the rules; the text says why."""


class Rulebook:
    """The rules as they are now, and their changes."""

    def __init__(self, ledger: Ledger, dispatch: Dispatch, next_id: Callable[[], int]) -> None:
        self._ledger, self._dispatch, self._next_id = ledger, dispatch, next_id

    @property
    def rules(self) -> Rules:
        """The rules in the order in which they are asked."""
        return self._ledger.head.rules

    def add(self, document: Json) -> Rule:
        """Make a rule; its watermark is the last id that was given out. Raises RuleRefused."""
        if len(self.rules) >= RULES_MAX:
            raise RuleRefused(f"there are {RULES_MAX} rules: as many as may be")
        rule = self._read(document)
        if any(other.uuid == rule.uuid for other in self.rules):
            raise RuleRefused(f"there is a rule {rule.uuid} already: replace it")
        self._set((*self.rules, rule))
        return rule

    def replace(self, name: str, document: Json) -> Rule:
        """Replace a rule; the new one keeps the uuid and gets a new watermark. Raises RuleRefused, and KeyError when
        there is no such rule.
        """
        old = self.find(name)
        rule = self._read({**document, "uuid": old.uuid} if isinstance(document, dict) else document)
        self._set((*(other for other in self.rules if other is not old), rule))
        return rule

    def remove(self, name: str) -> Rule:
        """Remove a rule. Raises as `replace`."""
        old = self.find(name)
        self._set(tuple(other for other in self.rules if other is not old))
        return old

    def find(self, name: str) -> Rule:
        """Find a rule by its uuid, or by the beginning of it."""
        exact = [rule for rule in self.rules if rule.uuid == name]
        found = exact or [rule for rule in self.rules if name and rule.uuid.startswith(name)]
        if not found:
            raise KeyError(name)
        if len(found) > 1:
            raise RuleRefused(f"{name!r} may be any of {', '.join(rule.uuid for rule in found)}")
        return found[0]

    def _read(self, document: Json) -> Rule:
        if isinstance(document, dict):
            document = {**document, "watermark": self._next_id() - 1}
        rule = read_rule(document)
        if isinstance(rule, BadRule):
            raise RuleRefused("\n".join(rule.errors))
        return rule

    def _set(self, rules: Rules) -> None:
        ordered = in_order(rules)
        self._ledger.setting(RULES, rules_text(ordered))
        self._dispatch.set_rules(ordered)
