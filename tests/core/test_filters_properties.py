"""Laws of filter rules, for all rules and jobs: a second interpreter agrees, nothing raises, everything comes back."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from jqsched.core.filters import (
    Action,
    BadRule,
    Rule,
    applying_filter,
    in_order,
    matching,
    predicate_document,
    read_rule,
    rule_document,
    subject_of,
)
from jqsched.core.filters.expression import BadExpression, expression_of, read_expression
from jqsched.core.filters.lint import doubtful_fields
from jqsched.core.job import Job, OnInterrupt, Reason, Spec
from tests.core import naive_filters

WORDS = st.sampled_from(["", "a", "b", "ab", "build", "é", "watermark", "10"])
NUMBERS = st.integers(-3, 12) | st.sampled_from([1.5, 2.0, -0.0, 10**20])
VALUES = WORDS | NUMBERS
REGEXES = st.sampled_from(["", "a", "^a", "b$", "[ab]+", "^$", "é", "a|b", "(?i)B", "x{2}", "\\."])
FIELDS = {
    "jobid": st.sampled_from(["id"] * 5 + ["nosuch", ""]),
    "reason": st.sampled_from(["source", "reason", "timestamp"] * 3 + ["nosuch", "text"]),
    "job": st.sampled_from([
        "name", "command", "cwd", "cores", "tasks", "nodes", "on_interrupt", "userid", "time_limit", "output", "error",
        "queue", "bank", "user.a", "user.b", "user.a.b", "user.a.b.c", "user.jqsched", "user.jqsched.output", "user",
        "nosuch", "env",
    ]),
}  # fmt: skip


def leaves(kind: str) -> st.SearchStrategy[list]:
    field = FIELDS[kind]
    return st.one_of(
        st.tuples(st.sampled_from(["=", "==", "!=", "<", "<=", ">", ">="]), field, VALUES),
        st.tuples(st.sampled_from(["=", "<"]), field, VALUES),
        st.tuples(st.just("=~"), field, REGEXES),
        st.tuples(st.just("=[]"), field, VALUES),
        st.tuples(st.just("?"), field),
    ).map(list)


def filters(kind: str) -> st.SearchStrategy:
    """Filters that are read without complaint, errors of evaluation and parts that are never reached included."""
    return st.recursive(
        st.none() | leaves(kind) | leaves(kind) | leaves(kind),
        lambda inner: st.one_of(
            st.builds(lambda parts: ["&", *parts], st.lists(inner, max_size=3)),
            st.builds(lambda parts: ["|", *parts], st.lists(inner, max_size=3)),
            st.builds(lambda part: ["!", part], inner),
        ),
        max_leaves=8,
    )


PREDICATES = st.sampled_from(["jobid", "reason", "job", "job"]).flatmap(
    lambda kind: st.tuples(st.just(kind), filters(kind)).map(list)
)
RULES = st.fixed_dictionaries(
    {
        "uuid": st.text("abcdef-0123456789", min_size=1, max_size=8),
        "watermark": st.integers(0, 12),
        "priority": st.integers(0, 5),
        "predicates": st.lists(PREDICATES, max_size=3),
        "action": st.sampled_from(["ACCEPT", "CONTINUE", "PAUSE", "REJECT"])
        | st.tuples(st.just("RATE_LIMIT"), st.integers(1, 9)).map(list),
    },
    optional={"note": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)},
)

ATOMS = st.none() | st.booleans() | NUMBERS | WORDS
NESTED = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
USER = st.dictionaries(st.sampled_from(["a", "b", "jqsched"]), NESTED, max_size=3)
JOBS = st.builds(
    Job,
    id=st.integers(1, 12),
    spec=st.builds(
        Spec,
        command=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        name=WORDS,
        cwd=WORDS,
        cores=st.integers(1, 4),
        time_limit_us=st.none() | st.sampled_from([1_500_000, 2_000_000]),
        output=st.none() | WORDS,
        error=st.none() | WORDS,
        on_interrupt=st.sampled_from(OnInterrupt),
        reasons=st.lists(st.builds(Reason, WORDS, WORDS, st.none() | st.integers(0, 12)), max_size=3).map(tuple),
        jobspec=st.none()
        | st.builds(
            lambda user, system: {"attributes": {"user": user, "system": system}},
            USER,
            st.dictionaries(st.sampled_from(["queue", "bank", "environment"]), NESTED, max_size=2),
        ),
    ),
    userid=st.integers(0, 3),
    t_submit_us=st.integers(0, 3),
)


def read(document: object) -> Rule:
    rule = read_rule(document)
    assert isinstance(rule, Rule), rule
    return rule


@given(RULES, JOBS)
def test_a_naive_interpreter_of_the_specification_agrees(document, job):
    """Whatever the filter and the job: errors, parts that are never reached and unlike types included."""
    assert read(document).matches(subject_of(job)) == naive_filters.matches(document, job)


@given(st.lists(RULES, max_size=6), JOBS)
def test_who_applies_is_the_first_in_order_that_matches_and_is_not_continue(documents, job):
    rules = in_order(map(read, documents))
    expected = sorted(documents, key=lambda rule: (rule["priority"], rule["watermark"], rule["uuid"].encode()))
    assert [rule.uuid for rule in rules] == [rule["uuid"] for rule in expected]
    subject = subject_of(job)
    found = matching(rules, subject)
    assert found == [rule for rule in rules if rule.matches(subject)]
    assert applying_filter(rules, subject) == next((rule for rule in found if rule.action is not Action.CONTINUE), None)


# ---- documents ------------------------------------------------------------------------------------------------------


def plain(value: object) -> object:
    """A document as it is written: floats without a fraction are integers."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@given(RULES)
def test_a_rule_is_written_as_it_was_read(document):
    """Also by way of JSON; operators stay as they were written."""
    rule = read(document)
    assert rule_document(rule) == {key: plain(value) for key, value in document.items()}
    again = read(json.loads(json.dumps(rule_document(rule))))
    assert again == rule
    assert hash(again) == hash(rule)


KEYS = st.sampled_from(["uuid", "watermark", "priority", "predicates", "action", "note", "reason", "x"])
MARKS = st.sampled_from(["job", "jobid", "reason", "opcode", "&", "|", "!", "=", "=~", "=[]", "?", "RATE_LIMIT", "id"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | MARKS | MARKS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
BROKEN = st.one_of(
    JSON,
    st.fixed_dictionaries({"predicates": JSON}, optional={"action": JSON, "uuid": JSON, "priority": JSON}),
    st.tuples(RULES, KEYS, JSON).map(lambda parts: {**parts[0], parts[1]: parts[2]}),
    st.tuples(RULES, MARKS, JSON).map(lambda parts: {**parts[0], "predicates": [[parts[1], parts[2]]]}),
)


@given(BROKEN)
@example({"predicates": [["job", ["=", "a", float("nan")]], ["job", ["=~", "a", "\ud800"]]], "\ud800": 10**5000})
@example([[[[[]]]]])
def test_whatever_json_is_read_or_refused_with_places(document):
    """Never an exception; a refusal is one or more single lines, each of which begins with its place."""
    found = read_rule(document)
    if isinstance(found, Rule):
        assert read_rule(rule_document(found)) == found
        doubtful_fields(found)
        expression_of(found.predicates)
    else:
        assert isinstance(found, BadRule)
        assert found.errors
        for error in found.errors:
            assert error.isprintable()
            assert ": " in error or not isinstance(document, dict)


# ---- expressions ----------------------------------------------------------------------------------------------------

ODD_TEXTS = st.text(st.sampled_from("ab\"'\\ \n\t\x1b\u202eé."), max_size=6)
ODD_FIELDS = st.sampled_from(
    ["id", "reason", "reason.text", "and", "not", "true", "user.x y", "", "a.", "1", "user.1-2"]
)
ODD = st.tuples(
    st.sampled_from(["job", "jobid", "reason"]),
    st.one_of(
        st.tuples(
            st.sampled_from(["=", "==", "=[]"]), ODD_FIELDS | FIELDS["job"], ODD_TEXTS | NUMBERS | st.floats(-9, 9)
        ),
        st.tuples(st.just("?"), ODD_FIELDS),
    ).map(list),
).map(list)


@given(st.lists(PREDICATES | ODD, max_size=5))
def test_an_expression_means_the_predicates_it_was_made_of(documents):
    """Exactly these, in this order; what has no readable form is written as JSON."""
    rule = read({"uuid": "u", "watermark": 0, "priority": 0, "predicates": documents, "action": "PAUSE"})
    line = expression_of(rule.predicates)
    assert line.isprintable()
    assert read_expression(line) == [predicate_document(predicate) for predicate in rule.predicates]


PIECES = st.sampled_from([
    "name", "id", "reason", "reason.text", "and", "or", "not", "also", "contains", "true", "watermark", "(", ")", "?",
    "=", "==", "!=", "<", "=~", '"a"', "'b'", '"["', "1", "-2.5", "1e999", '["job",null]', "[[", '"', "&", "user.a",
    '["reason",["=","source","x"]]', "queue", "9999999999999999999999", "\x1b", "\ud800", "é",
])  # fmt: skip


@given(st.lists(PIECES, max_size=12).map(" ".join) | st.text(max_size=30) | st.binary(max_size=30).map(repr))
def test_whatever_text_is_an_expression_or_refused_with_its_column(text):
    """What is an expression makes a rule, and comes back the same; what is none says where."""
    found = read_expression(text)
    if isinstance(found, BadExpression):
        assert 1 <= found.column <= len(text) + 1
        assert found.text.isprintable()
        return
    rule = read({"uuid": "u", "watermark": 0, "priority": 0, "predicates": found, "action": "PAUSE"})
    assert read_expression(expression_of(rule.predicates)) == found
