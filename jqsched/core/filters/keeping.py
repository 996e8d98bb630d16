"""Rules as one text, as a store keeps them.

Rule: what `rules_text` writes, `kept_rules` reads; anything else is damage, and said so.
"""

import json

from jqsched.core.filters.reading import BadRule, read_rule, rule_document
from jqsched.core.filters.rule import Rules, in_order


def rules_text(rules: Rules) -> str:
    """Write all rules as one JSON text."""
    return json.dumps([rule_document(rule) for rule in rules], ensure_ascii=False)


def kept_rules(text: str | None) -> Rules:
    """Read the rules that a store keeps, in their order; None for none. Raises ValueError for what is no such text."""
    documents = json.loads(text or "[]")
    rules = [read_rule(document) for document in (documents if isinstance(documents, list) else [documents])]
    bad = [error for rule in rules if isinstance(rule, BadRule) for error in rule.errors]
    if bad:
        raise ValueError(f"filter rules: {'; '.join(bad)}")
    return in_order(rule for rule in rules if not isinstance(rule, BadRule))
