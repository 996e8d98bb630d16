"""Filter rules, one behaviour each: what is read as a rule; all else is refused with all errors and their places."""

import subprocess
import sys

import pytest
from attrs import evolve

from jqsched.core.filters import (
    DEPTH_MAX,
    REGEX_BYTES_MAX,
    RULE_SIZE_MAX,
    TEXT_BYTES_MAX,
    Action,
    BadRule,
    Rule,
    read_rule,
    regex,
    rule_document,
    subject,
)
from jqsched.core.filters.documents import ERRORS_MAX, is_too_big, near, read_predicate
from jqsched.core.filters.predicates import And, Compare, Or, depth
from tests.core.filter_cases import PLAIN, document, errors, holds, rule


def test_numbers_that_are_integers_are_taken_however_they_are_written():
    read = rule(watermark="007", priority=2.0, action=["RATE_LIMIT", 2.0])
    assert (read.watermark, read.priority, read.limit) == (7, 2, 2)
    assert rule_document(read)["action"] == ["RATE_LIMIT", 2]
    (predicate,) = rule(["job", ["=", "cores", 4.0]]).predicates
    assert repr(predicate.filter) == "Compare(operator='=', field='cores', value=4)"


def test_a_new_rule_gets_its_uuid_and_watermark_where_it_has_none():
    new = document()
    del new["uuid"], new["watermark"]
    made = read_rule(new, uuid="u7", watermark=3)
    assert isinstance(made, Rule)
    assert (made.uuid, made.watermark) == ("u7", 3)
    kept = read_rule(document(), uuid="u7", watermark=3)
    assert isinstance(kept, Rule)
    assert (kept.uuid, kept.watermark) == ("r1", 10)


@pytest.mark.parametrize("action", [action.value for action in Action if action is not Action.RATE_LIMIT])
def test_actions_are_words(action):
    assert rule(action=action).action.value == action


ACTIONS = 'must be one of ACCEPT CONTINUE PAUSE REJECT, or ["RATE_LIMIT", N], not'
VALUE = "must be a string or a number (of at most 100 digits), not"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"reason": []}, "reason: unknown key"),
        ({"proirity": 1}, "proirity: unknown key; did you mean priority?"),
        ({"priority": -1}, "priority: must be an integer from 0, not -1"),
        ({"priority": "1"}, "priority: must be an integer from 0, not '1'"),
        ({"priority": True}, "priority: must be an integer from 0, not true"),
        ({"priority": 1.5}, "priority: must be an integer from 0, not 1.5"),
        ({"priority": 2**63}, "priority: must be an integer from 0, not 9223372036854775808"),
        ({"watermark": "-1"}, "watermark: must be an integer from 0, not '-1'"),
        ({"watermark": "1.0"}, "watermark: must be an integer from 0, not '1.0'"),
        ({"watermark": "²"}, "watermark: must be an integer from 0, not '²'"),
        ({"watermark": -1}, "watermark: must be an integer from 0, not -1"),
        ({"uuid": ""}, "uuid: must be 1 to 100 letters, digits and _ . -, not ''"),
        ({"uuid": "a b"}, "uuid: must be 1 to 100 letters, digits and _ . -, not 'a b'"),
        ({"action": "PAUZE"}, f"action: {ACTIONS} 'PAUZE'; did you mean PAUSE?"),
        ({"action": "pause"}, f"action: {ACTIONS} 'pause'; did you mean PAUSE?"),
        ({"action": ["PAUSE"]}, f"action: {ACTIONS} a list; did you mean PAUSE?"),
        ({"action": "RATE_LIMIT"}, 'action: RATE_LIMIT needs a number: ["RATE_LIMIT", 2]'),
        ({"action": ["RATE_LIMIT"]}, 'action: RATE_LIMIT needs a number: ["RATE_LIMIT", 2]'),
        ({"action": ["RATE_LIMIT", 0]}, "action[1]: must be an integer from 1, not 0"),
        ({"action": ["RATE_LIMIT", "2"]}, "action[1]: must be an integer from 1, not '2'"),
        ({"action": ["RATE_LIMIT", 1, 2]}, f"action: {ACTIONS} a list; did you mean RATE_LIMIT?"),
        ({"predicates": {}}, "predicates: must be a list of predicates, not an object"),
        ({"predicates": ["job"]}, "predicates[0]: must be a list of kind and filter, not 'job'"),
        ({"note": 5}, "note: must be a text of at most 1000 characters"),
        ({"note": "\ud800"}, "note: must be a text of at most 1000 characters"),
        ({"watermark": "0" * 20 + "1"}, "watermark: must be an integer from 0, not '000000000000000000001'"),
        ({"note": "x" * 1001}, "note: must be a text of at most 1000 characters"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_its_place(changes, error):
    assert errors(**changes) == (error,)


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("note", "x" * 1000, "x" * 1000),
        ("watermark", "0" * 19 + "1", 1),
        ("watermark", "0", 0),
        ("priority", 2**63 - 1, 2**63 - 1),
        ("uuid", "x" * 100, "x" * 100),
    ],
)
def test_what_is_just_allowed(key, value, meant):
    assert getattr(rule(**{key: value}), key) == meant


@pytest.mark.parametrize("value", [10**100, -(10**100), 9.9e99, "x"])
def test_what_a_field_may_be_compared_with(value):
    """And one more is too much."""
    (predicate,) = rule(["job", ["=", "cores", value]]).predicates
    assert predicate.filter == Compare("=", "cores", value)


def test_one_predicate_alone_has_the_size_of_a_rule():
    assert read_predicate(["job", ["=", "name", "x" * RULE_SIZE_MAX]]) == BadRule(("too big",))


def test_a_rule_is_an_object():
    assert read_rule([1]) == BadRule(("a rule must be an object, not a list",))
    assert rule().note == ""


HALF = RULE_SIZE_MAX // 2


@pytest.mark.parametrize(
    ("document", "is_big"),
    [
        ("x" * (RULE_SIZE_MAX - 1), False),
        ("x" * RULE_SIZE_MAX, True),
        ([0] * (HALF - 1), False),
        ([0] * HALF, True),
        ([0] * (RULE_SIZE_MAX - 1), True),
        (dict.fromkeys(map(str, range(RULE_SIZE_MAX - 1))), True),
        (["x" * RULE_SIZE_MAX, {"a": 1}], True),
        ({"a": ["x" * RULE_SIZE_MAX]}, True),
    ],
    ids=["text", "long text", "list", "long list", "longer list", "object", "beside an object", "deep"],
)
def test_how_big_a_document_is(document, is_big):
    """Every value counts one, and a text, a list and an object one more for each part."""
    assert is_too_big(document) is is_big


def test_no_suggestion_is_looked_for_in_a_long_word():
    """That would take long."""
    known = "x" * 41
    assert near("x" * 40, [known]) == f"; did you mean {known}?"
    assert near("x" * 41, [known]) == ""


@pytest.mark.parametrize("key", ["uuid", "watermark", "priority", "predicates", "action"])
def test_what_is_missing_is_said(key):
    short = document()
    del short[key]
    assert read_rule(short) == BadRule((f"{key}: missing",))


OPERATORS = "must be one of & | ! ? = == != < <= > >= =~ =[], not"


@pytest.mark.parametrize(
    ("filter_", "error"),
    [
        ([], "[1]: must be null or a list that begins with an operator, not an empty one"),
        ("x", "[1]: must be null or a list that begins with an operator, not 'x'"),
        (True, "[1]: must be null or a list that begins with an operator, not true"),
        (["and"], f"[1][0]: {OPERATORS} 'and'; did you mean &?"),
        (["contains", "name", "x"], f"[1][0]: {OPERATORS} 'contains'; did you mean =[]?"),
        ([["="]], f"[1][0]: {OPERATORS} a list"),
        (["&", None, ["!", ["=", "name", None]]], f"[1][2][1][2]: {VALUE} null"),
        (["=", "name", True], f"[1][2]: {VALUE} true"),
        (["=", "name", 10**101], f"[1][2]: {VALUE} a huge number"),
        (["=", "name", float("nan")], f"[1][2]: {VALUE} nan"),
        (["=", "name", 10**100 + 1], f"[1][2]: {VALUE} a huge number"),
        (["=", "name", "\ud800"], "[1][2]: is not valid Unicode: it contains a lone surrogate"),
        (["=", "name"], "[1]: = takes a field and a value, not 1 parts"),
        (["!", None, None], "[1]: ! takes a filter, not 2 parts"),
        (["?"], "[1]: ? takes a field, not 0 parts"),
        (["=", 1, 1], "[1][1]: must be a field's name, not 1"),
        (["=", "\ud800", 1], "[1][1]: is not valid Unicode: it contains a lone surrogate"),
        (["=~", "name", 1], "[1][2]: must be a regular expression (a string), not 1"),
        (["=~", "name", "["], "[1][2]: is no regular expression of RE2: missing ]: ["),
        (["=~", "name", "(?=x)"], "[1][2]: is no regular expression of RE2: invalid perl operator: (?="),
        (["=~", "name", "(x{1000}){1000}"], "[1][2]: is no regular expression of RE2: invalid repetition size: {1000}"),
        (["=~", "name", "\\pL{50}"], "[1][2]: is no regular expression of RE2: pattern too large - compile failed"),
        (["=~", "name", ".{400}"], "[1][2]: is too big: it comes to 3204 steps, and may to 2000"),
        (["=~", "name", "x" * 1001], "[1][2]: must be at most 1000 bytes long, not 1001"),
        (["=~", "name", "\ud800"], "[1][2]: is not valid Unicode: it contains a lone surrogate"),
        (["=~", "name", "[\x1b"], r"[1][2]: is no regular expression of RE2: missing ]: [\x1b"),
    ],
)  # fmt: skip
def test_a_bad_filter_is_refused_with_its_place(filter_, error):
    assert errors(["job", filter_]) == (f"predicates[0]{error}",)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("opcode", "; did you mean job?"),
        ("Job", "; did you mean job?"),
        ("reasons", "; did you mean reason?"),
        (5, ""),
    ],
)
def test_a_kind_that_is_none_is_refused_with_a_suggestion(kind, hint):
    shown = repr(kind)
    assert errors([kind, None]) == (f"predicates[0][0]: must be one of jobid reason job, not {shown}{hint}",)


def test_all_errors_are_said_at_once():
    said = errors(["jop", ["an"]], ["job", ["|", ["=", 1, []], ["=~", "a", "["]]], priority=-1, action=0, extra=0)
    assert [error.partition(":")[0] for error in said] == [
        "extra", "priority", "predicates[0][0]", "predicates[0][1][0]", "predicates[1][1][1][1]",
        "predicates[1][1][1][2]", "predicates[1][1][2][2]", "action",
    ]  # fmt: skip


def test_of_very_many_errors_the_first_are_said_and_how_many_more():
    """Of a rule and of a predicate alike; a rule that has as many as are said has no more."""
    for more in (0, 1, 30):
        said = errors(["job", ["|", *(["=", 1, "x"] for _ in range(ERRORS_MAX + more))]])
        assert [error.partition(":")[0] for error in said[:ERRORS_MAX]] == [
            f"predicates[0][1][{at}][1]" for at in range(1, ERRORS_MAX + 1)
        ]
        assert said[ERRORS_MAX:] == ((f"… and {more} more errors",) if more else ())


def nested(depth: int) -> list:
    filter_: list = ["=", "name", "x"]
    for _ in range(depth - 1):
        filter_ = ["!", filter_]
    return filter_


def test_a_filter_may_be_nested_so_deep_and_no_deeper():
    assert rule(["job", nested(DEPTH_MAX)]).matches(subject(1, PLAIN, 0, 0)) is (DEPTH_MAX % 2 == 0)
    (error,) = errors(["job", nested(DEPTH_MAX + 1)])
    assert error.endswith(f"nested deeper than {DEPTH_MAX}")


def test_a_form_without_parts_is_as_deep_as_a_test():
    assert depth(And(())) == depth(Or(())) == depth(None) == depth(Compare("=", "name", "x")) == 1


def test_depth_is_counted_not_run_into():
    """A document far deeper than Python's stack is refused like any other."""
    assert errors(["job", nested(10_000)])[0].endswith(f"nested deeper than {DEPTH_MAX}")
    assert errors(["job", nested(200_000)]) == (f"too big: a rule may have {RULE_SIZE_MAX} characters",)


def test_a_rule_has_a_size():
    assert errors(["job", ["=", "name", "x" * RULE_SIZE_MAX]]) == (
        f"too big: a rule may have {RULE_SIZE_MAX} characters",
    )
    assert errors(["job", ["&", *[None] * RULE_SIZE_MAX]]) == (f"too big: a rule may have {RULE_SIZE_MAX} characters",)


def test_the_last_step_of_a_regular_expression_is_allowed():
    assert rule(["job", ["=~", "name", ".{249}xxxx"]])
    too_big = "predicates[0][1][2]: is too big: it comes to 2001 steps, and may to 2000"
    assert errors(["job", ["=~", "name", ".{249}xxxxx"]]) == (too_big,)


def test_a_regular_expression_has_a_size_and_a_text_that_is_searched_too():
    """What is too long to be searched is an error of the predicate: false, also under `!`."""
    assert rule(["job", ["=~", "name", "x" * REGEX_BYTES_MAX]])
    long, longer = (evolve(PLAIN, name="x" * size) for size in (TEXT_BYTES_MAX, TEXT_BYTES_MAX + 1))
    assert holds("job", ["=~", "name", "^x"], long)
    assert not holds("job", ["=~", "name", "^x"], longer)
    assert not holds("job", ["!", ["=~", "name", "y"]], longer)


def test_a_text_that_is_no_unicode_is_searched_without_harm():
    """A jobspec may hold lone surrogates where no reader of ours looks."""
    odd = evolve(PLAIN, jobspec={"attributes": {"user": {"x": "a\ud800b"}}})
    assert holds("job", ["=~", "user.x", "b$"], odd)


@pytest.mark.parametrize("predicate", [["job", ["=", "name", "x"]], ["job", ["=~", "name", "x"]]])
def test_re2_is_imported_when_an_expression_is_compiled_and_not_before(predicate):
    """It takes 5 to 10 ms, which a command that reads no rules should not pay."""
    code = (
        "import sys; from jqsched.core.filters import read_rule\n"
        f"read_rule({document(predicate)!r})\n"
        "print('re2' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(predicate[1][0] == "=~")
    assert ran.stderr == ""


def test_a_bad_regular_expression_prints_nothing(capfd):
    """RE2 logs to stderr unless it is told not to."""
    assert errors(["job", ["=~", "name", "["]])
    assert errors(["job", ["=~", "name", "\\pL{50}"]])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((b"missing ]: [",), "missing ]: ["),
        (("in words",), "in words"),
        ((), ""),
        ((b"\xff",), "\ufffd"),
        (("x" * 100,), "x" * 100),
        (("x" * 101,), "x" * 99 + "…"),
        ((b"[\x1b",), r"[\x1b"),
        (("a\\b",), "a\\b"),
    ],
)
def test_what_re2_says_is_shown_in_one_short_line(arguments, said):
    """It may quote the expression: long, or with something in it that a terminal acts on."""
    assert regex._said(Exception(*arguments)) == said
