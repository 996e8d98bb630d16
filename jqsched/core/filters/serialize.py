"""Rules as one text, as a store keeps them.

Rule: what `rules_text` writes, `kept_rules` reads; it raises ValueError for any other text, which means damage.
"""

import json

from jqsched.core.filters.documents import BadRule, read_rule, rule_document
from jqsched.core.filters.rule import Rules, in_order

ERRORS_SHOWN = 20  # in the one line of a refusal


def rules_text(rules: Rules) -> str:
    """Write all rules as one JSON text."""
    return json.dumps([rule_document(rule) for rule in rules], ensure_ascii=False)


def kept_rules(text: str | None) -> Rules:
    """Read the rules that a store keeps, in their order; None for none. Raises ValueError for what is no such text."""
    if text is None:
        return ()
    try:
        documents = json.loads(text)
    except ValueError as error:
        raise ValueError(f"filter rules: no JSON: {error}") from None
    except RecursionError:
        raise ValueError("filter rules: nested too deeply") from None
    if not isinstance(documents, list):
        raise ValueError("filter rules: no list")
    read = [read_rule(document) for document in documents]
    bad = [error for rule in read if isinstance(rule, BadRule) for error in rule.errors]
    rules = [rule for rule in read if not isinstance(rule, BadRule)]
    if len({rule.uuid for rule in rules}) < len(rules):
        bad.append("two have the same uuid")
    if bad:
        raise ValueError(f"filter rules: {'; '.join(bad[:ERRORS_SHOWN])}")
    return in_order(rules)
