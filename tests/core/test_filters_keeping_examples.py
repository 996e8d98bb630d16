"""Filter rules, one behaviour each: a rule is a value, is kept as text, and is doubted when no job can fulfil it."""

import json

import pytest
from attrs import evolve

from jqsched.core.filters import in_order, kept_rules, rules_text
from jqsched.core.filters.lint import doubtful_fields
from tests.core.filter_cases import document, rule

# ---- rules as values ------------------------------------------------------------------------------------------------


def test_a_rule_is_a_value():
    """Equal by what it says, hashable, and without its compiled part in sight."""
    one, same = rule(["job", ["=~", "name", "x"]]), rule(["job", ["=~", "name", "x"]])
    assert one == same
    assert len({one, same}) == 1
    assert one != evolve(one, note="why")
    assert "matches" not in repr(one)


def test_a_rate_limit_and_nothing_else_has_a_limit():
    with pytest.raises(AssertionError, match=r"^RATE_LIMIT, and no other, has a limit$"):
        evolve(rule(), limit=3)
    with pytest.raises(AssertionError):
        evolve(rule(action=["RATE_LIMIT", 1]), limit=None)


# ---- doubts ---------------------------------------------------------------------------------------------------------

JOB_FIELDS = (
    "(known: command name cwd cores on_interrupt tasks nodes userid time_limit output error input "
    "queue project bank user.X)"
)


SECRETS = "the environment is not shown to rules: there may be secrets in it"
HIDDEN = f"is not shown to rules; did you mean output? {JOB_FIELDS}"
REASON_FIELDS = "(known: source reason timestamp)"


@pytest.mark.parametrize(
    ("predicate", "doubt"),
    [
        (["job", ["=", "nmae", "x"]], f"no job has the field 'nmae'; did you mean name? {JOB_FIELDS}"),
        (["job", ["=", "priority", 1]], f"no job has the field 'priority' {JOB_FIELDS}"),
        (["job", ["=", "env", "x"]], f"{SECRETS} {JOB_FIELDS}"),
        (["job", ["=", "environment", "x"]], f"{SECRETS} {JOB_FIELDS}"),
        (["job", ["=", "user.jqsched.output", "x"]], f"'user.jqsched.output' {HIDDEN}"),
        (["job", ["=", "user.jqsched.cwd", "x"]], f"'user.jqsched.cwd' {HIDDEN.replace('output', 'cwd', 1)}"),
        (["job", ["=", "text", "x"]], f"no job has the field 'text' {JOB_FIELDS}"),
        (["reason", ["=", "nosuch", "x"]], f"no reason has the field 'nosuch' {REASON_FIELDS}"),
        (["job", ["=", "id", 1]], f"no job has the field 'id': it is one of jobid predicates {JOB_FIELDS}"),
        (["job", ["=", "source", "x"]], f"no job has the field 'source': it is one of reason predicates {JOB_FIELDS}"),
        (["jobid", ["=", "ID", 1]], "no jobid predicate has the field 'ID'; did you mean id? (known: id)"),
        (["jobid", ["<", "id", "watermrk"]], "id is compared with 'watermrk': only a number or watermark can hold"),
        (["jobid", ["=~", "id", "1"]], "id is a number, and =~ needs a string: it never holds"),
        (["reason", ["=", "text", "x"]], f"no reason has the field 'text'; did you mean reason? {REASON_FIELDS}"),
        (["job", ["=~", "command", "gcc"]], "command is a list of strings, and =~ needs a string: it never holds"),
        (["job", ["=[]", "name", "gcc"]], "name is a string, and =[] needs a list: it never holds"),
        (["job", ["|", None, ["!", ["?", "cores"]]]], "cores is a number, and ? needs a boolean: it never holds"),
    ],
)  # fmt: skip
def test_what_no_job_can_fulfil_is_doubted(predicate, doubt):
    assert doubtful_fields(rule(["job", None], predicate)) == (f"predicates[1]: {doubt}",)


@pytest.mark.parametrize(
    "predicate",
    [
        ["job", ["&", ["=", "queue", "x"], ["?", "user.a"], ["=~", "user.b.c", "x"], ["=[]", "user.d", 1]]],
        ["job", ["=~", "queue", "x"]],
        ["job", ["&", ["=[]", "command", "x"], ["=~", "name", "x"], [">", "time_limit", 1.5], ["=", "output", "x"]]],
        ["jobid", ["|", ["=", "id", 3], ["<", "id", "watermark"]]],
        ["reason", ["&", ["=", "source", "x"], ["=~", "reason", "x"], [">", "timestamp", 1]]],
    ],
)  # fmt: skip
def test_what_a_job_can_fulfil_is_not_doubted(predicate):
    assert doubtful_fields(rule(predicate)) == ()


# ---- as a store keeps them ------------------------------------------------------------------------------------------


def test_rules_are_kept_as_one_text():
    """And come back in their order, whatever order they were written in."""
    rules = [rule(["job", ["=", "name", "ü"]], uuid="b", note="größer"), rule(uuid="a", action=["RATE_LIMIT", 2])]
    text = rules_text(tuple(rules))
    assert kept_rules(text) == in_order(rules)
    assert "größer" in text
    assert kept_rules(None) == kept_rules("[]") == ()


BAD_PRIORITY = "priority: must be an integer from 0, not -1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 200_000, "nested too deeply"),
        ("{}", "no list"),
        (json.dumps([document(), document()]), "two have the same uuid"),
        (json.dumps([document(priority=-1), document(), {}]), None),
        (json.dumps([document(priority=-1), document(priority=-1)]), f"{BAD_PRIORITY}; {BAD_PRIORITY}"),
        (json.dumps([document(priority=-1), *[document()] * 2]), f"{BAD_PRIORITY}; two have the same uuid"),
    ],
    ids=["empty", "deep", "object", "twice", "missing", "bad", "bad and twice"],
)
def test_kept_rules_that_are_none_are_damage(text, said):
    """All that is wrong with them is said."""
    with pytest.raises(ValueError, match=r"^filter rules: ") as damage:
        kept_rules(text)
    assert said is None or str(damage.value) == f"filter rules: {said}"
    assert said is not None or str(damage.value).count("missing") == 5


def test_all_doubts_are_told_each_once():
    """In the order of the tests that they are about."""
    odd = ["|", ["?", "cores"], ["?", "tasks"], ["?", "cores"]]
    never = "is a number, and ? needs a boolean: it never holds"
    assert doubtful_fields(rule(["job", odd], ["job", ["?", "nodes"]])) == (
        f"predicates[0]: cores {never}",
        f"predicates[0]: tasks {never}",
        f"predicates[1]: nodes {never}",
    )
