"""Filter rules: which jobs a rule is about, in Ganeti's language, and the reading and writing of rules.

Rule: matching only. What a rule does to a job that it matches (hold it, count it, cancel it) is decided elsewhere.
Rules come in by `read_rule` and go out by `rule_document`, so whatever is a `Rule` was found valid. Modules that
only the command line needs (`expression`, `lint`) are imported directly.
Source: docs/reference/filter-rules.md.
"""

from jqsched.core.filters.documents import RULE_SIZE_MAX, BadRule, predicate_document, read_rule, rule_document
from jqsched.core.filters.predicates import DEPTH_MAX, Kind, Predicate
from jqsched.core.filters.regex import REGEX_BYTES_MAX, TEXT_BYTES_MAX
from jqsched.core.filters.rule import RULES_MAX, Action, Rule, Rules, applying_filter, in_order, matching
from jqsched.core.filters.serialize import kept_rules, rules_text
from jqsched.core.filters.subject import Subject, subject, subject_of

__all__ = [
    "DEPTH_MAX",
    "REGEX_BYTES_MAX",
    "RULES_MAX",
    "RULE_SIZE_MAX",
    "TEXT_BYTES_MAX",
    "Action",
    "BadRule",
    "Kind",
    "Predicate",
    "Rule",
    "Rules",
    "Subject",
    "applying_filter",
    "in_order",
    "kept_rules",
    "matching",
    "predicate_document",
    "read_rule",
    "rule_document",
    "rules_text",
    "subject",
    "subject_of",
]
