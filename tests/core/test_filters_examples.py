"""Filter rules, one behaviour each: what a predicate sees, errors, order, refusals, doubts."""

import json
import subprocess
import sys
from types import MappingProxyType

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
    applying_filter,
    in_order,
    kept_rules,
    matching,
    read_rule,
    regex,
    rule_document,
    rules_text,
    subject,
)
from jqsched.core.filters.doubts import doubtful_fields
from jqsched.core.filters.language import And, Compare, Or, depth
from jqsched.core.filters.reading import ERRORS_MAX, is_too_big, near, read_predicate
from jqsched.core.job import OnInterrupt, Reason, Spec
from jqsched.core.jobspec import from_jobspec, to_jobspec

PLAIN = Spec(command=("gcc", "-c", "x.c"), name="build", cwd="/src", env=(("SECRET", "x"),), cores=4)
FULL = evolve(
    PLAIN,
    tasks=2,
    time_limit_us=90_500_000,
    output="o.log",
    error="e.log",
    on_interrupt=OnInterrupt.FAIL,
    reasons=(Reason("me", "maintenance of node7", 5), Reason("cron", "nightly")),
    jobspec={
        "attributes": {
            "system": {"queue": "big", "project": "p1", "bank": "b1", "environment": {"SECRET": "x"}},
            "user": {
                "flag": True, "off": False, "nothing": None, "n": 3, "f": 1.5, "text": "t", "many": [1, 2.0, 3],
                "mixed": [1, "a"], "bools": [True, 1], "none": [], "inner": {"deep": {"x": 1}, "list": [{"y": 1}]},
                "a.b": 1, "jqsched": {"output": "o.log"},
            },
        }
    },
)  # fmt: skip
T_SUBMIT_US = 7


def document(*predicates: object, **changes: object) -> dict:
    rule = {"uuid": "r1", "watermark": 10, "priority": 0, "predicates": list(predicates), "action": "PAUSE"}
    return rule | changes


def rule(*predicates: object, **changes: object) -> Rule:
    found = read_rule(document(*predicates, **changes))
    assert isinstance(found, Rule), found
    return found


def holds(kind: str, filter_: object, spec: Spec = FULL, id_: int = 10) -> bool:
    return rule([kind, filter_]).matches(subject(id_, spec, 1000, T_SUBMIT_US))


def errors(*predicates: object, **changes: object) -> tuple[str, ...]:
    found = read_rule(document(*predicates, **changes))
    assert isinstance(found, BadRule)
    return found.errors


# ---- job predicates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "build"), ("cwd", "/src"), ("cores", 4), ("tasks", 2), ("nodes", 1), ("time_limit", 90.5),
        ("output", "o.log"), ("error", "e.log"), ("on_interrupt", "fail"), ("userid", 1000), ("queue", "big"),
        ("project", "p1"), ("bank", "b1"), ("user.n", 3), ("user.f", 1.5), ("user.text", "t"), ("user.inner.deep.x", 1),
    ],
)  # fmt: skip
def test_a_job_predicate_sees_the_field(field, value):
    assert holds("job", ["=", field, value])
    assert not holds("job", ["!=", field, value])


@pytest.mark.parametrize("field", ["time_limit", "output", "error", "queue", "project", "bank", "user.n"])
def test_a_field_that_was_not_given_is_absent(field):
    """So it makes the predicate false, whatever is asked, also under `!`."""
    assert not holds("job", ["!=", field, "x"], PLAIN)
    assert not holds("job", ["!", ["=", field, "x"]], PLAIN)
    assert holds("job", ["!=", field, "x"], FULL)


@pytest.mark.parametrize(
    "field",
    [
        "env", "environment", "user.environment", "env.SECRET", "system.environment.SECRET", "urgency", "priority",
        "state", "attempt", "id", "user", "user.", "user.jqsched", "user.jqsched.output", "user.a.b",
        "user.inner.list.0", "user.inner.list.y", "user.many.0", "user.text.x", "dependencies", "reason", "",
    ],
)  # fmt: skip
def test_what_rules_must_not_or_cannot_see_is_no_field(field):
    """Secrets, what changes, list indexes, keys with a dot, and our own corner of the jobspec."""
    assert not holds("job", ["!", ["=", field, "no such value"]])


def test_whether_a_jobspec_is_kept_makes_no_difference():
    """A jobspec that can be made again is not kept; a rule must not see which it was."""
    kept = from_jobspec({**to_jobspec(PLAIN), "attributes": {**to_jobspec(PLAIN)["attributes"], "other": {}}})
    remade = from_jobspec(to_jobspec(PLAIN))
    assert kept.jobspec is not None
    assert remade.jobspec is None
    for field in ("name", "output", "user.jqsched", "user.jqsched.output"):
        assert holds("job", ["!=", field, "x"], kept) == holds("job", ["!=", field, "x"], remade)


@pytest.mark.parametrize(
    ("smaller", "values"),
    [("nothing", ["", 0]), ("off", [0, -5, ""]), ("flag", [0, -5, ""]), ("n", ["", 4, 3.5]), ("text", ["u"])],
)
def test_unlike_values_have_an_order(smaller, values):
    """null < false < true < numbers < strings < arrays < objects; so nothing that can be compared is an error."""
    for value in values:
        assert holds("job", ["<", f"user.{smaller}", value])
        assert holds("job", ["!=", f"user.{smaller}", value])
        assert not holds("job", [">=", f"user.{smaller}", value])


@pytest.mark.parametrize("larger", ["many", "none", "inner"])
def test_arrays_and_objects_are_larger_than_any_value(larger):
    assert holds("job", [">", f"user.{larger}", "\U0010ffff"])
    assert holds("job", [">", f"user.{larger}", 10**20])


def test_an_object_may_be_any_mapping():
    """A jobspec that was frozen is seen as it stands."""
    frozen_ = evolve(PLAIN, jobspec={"attributes": {"user": MappingProxyType({"x": MappingProxyType({"y": 1})})}})
    assert holds("job", ["=", "user.x.y", 1], frozen_)
    assert holds("job", [">", "user.x", "\U0010ffff"], frozen_)


def test_true_is_not_one():
    """Python's `True == 1` does not shine through."""
    assert not holds("job", ["=", "user.flag", 1])
    assert not holds("job", ["=", "user.off", 0])
    assert not holds("job", [">=", "user.flag", 0])


def test_a_boolean_test_needs_a_boolean():
    assert holds("job", ["?", "user.flag"])
    assert holds("job", ["!", ["?", "user.off"]])
    for field in ("user.n", "user.text", "user.nothing", "user.none", "name"):
        assert not holds("job", ["?", field])
        assert not holds("job", ["!", ["?", field]])


def test_a_list_contains_what_it_is_all_of():
    """All strings or all integers, as the value is: else an error."""
    assert holds("job", ["=[]", "command", "gcc"])
    assert holds("job", ["!", ["=[]", "command", "gc"]])
    assert holds("job", ["=[]", "user.many", 2])
    assert holds("job", ["!", ["=[]", "user.none", 2]])
    assert holds("job", ["!", ["=[]", "user.none", "a"]])
    for field, value in [
        ("mixed", 1),
        ("mixed", "a"),
        ("bools", 1),
        ("many", "a"),
        ("many", 1.5),
        ("text", "t"),
        ("inner", "deep"),
    ]:
        assert not holds("job", ["=[]", f"user.{field}", value])
        assert not holds("job", ["!", ["=[]", f"user.{field}", value]])
    assert not holds("job", ["!", ["=[]", "command", 1]])


def test_a_regular_expression_is_searched_anywhere():
    assert holds("job", ["=~", "name", "uil"])
    assert not holds("job", ["=~", "name", "^uil"])
    assert holds("job", ["=~", "name", "(?i)^BUILD$"])
    assert not holds("job", ["!", ["=~", "cores", "4"]])


# ---- errors and what is not reached ---------------------------------------------------------------------------------

TRUE, FALSE, BAD = ["=", "id", 10], ["=", "id", 9], ["=", "nosuch", 1]


@pytest.mark.parametrize(
    ("filter_", "answer"),
    [
        (BAD, False),
        (["!", BAD], False),
        (["!", ["!", BAD]], False),
        (["|", TRUE, BAD], True),
        (["|", BAD, TRUE], False),
        (["|", FALSE, BAD], False),
        (["!", ["|", FALSE, BAD]], False),
        (["!", ["&", FALSE, BAD]], True),
        (["!", ["&", BAD, FALSE]], False),
        (["!", ["&", TRUE, BAD]], False),
        (["&"], True),
        (["|"], False),
        (None, True),
    ],
)
def test_an_error_makes_the_predicate_false_unless_it_is_never_reached(filter_, answer):
    assert holds("jobid", filter_) is answer


@pytest.mark.parametrize("absent", ["nosuch", "user.nosuch", "user.text.x"])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: ["!", ["!", f]], lambda f: ["&", f]])
def test_a_job_predicate_looks_all_fields_up_first(absent, wrap):
    """Also those behind a decided `|` or `&`, and behind `null`."""
    unreached = ["=", absent, 1]
    assert not holds("job", wrap(["|", ["=", "cores", 4], unreached]))
    assert not holds("job", wrap(["!", ["&", ["=", "cores", 5], unreached]]))
    assert not holds("job", wrap(["|", None, unreached]))


def test_a_wrong_type_that_is_not_reached_does_no_harm_in_a_job_predicate():
    assert holds("job", ["|", ["=", "cores", 4], ["?", "name"]])
    assert not holds("job", ["|", ["?", "name"], ["=", "cores", 4]])


# ---- jobid and reason predicates ------------------------------------------------------------------------------------


def test_the_watermark_is_that_of_the_rule():
    assert holds("jobid", ["<=", "id", "watermark"], id_=10)
    assert not holds("jobid", ["<=", "id", "watermark"], id_=11)
    moved = evolve(rule(["jobid", ["<=", "id", "watermark"]]), watermark=11)
    assert moved.matches(subject(11, PLAIN, 0, 0))


def test_any_other_word_is_an_error_for_an_id():
    assert holds("jobid", ["!=", "id", "watermark"], id_=11)
    assert not holds("jobid", ["!=", "id", "Watermark"], id_=11)
    assert not holds("jobid", ["!=", "id", "10"], id_=11)
    assert not holds("jobid", ["!", ["=", "id", "10"]], id_=11)


@pytest.mark.parametrize("filter_", [["=~", "id", "1"], ["?", "id"], ["=[]", "id", 10], ["=[]", "id", "watermark"]])
def test_an_id_is_a_number_and_nothing_else(filter_):
    assert not holds("jobid", filter_)
    assert not holds("jobid", ["!", filter_])
    assert holds("jobid", ["|", TRUE, filter_])


def test_a_reason_filter_takes_regular_expressions():
    """W1: what Ganeti documents, and what does not work there."""
    assert holds("reason", ["=~", "reason", "^maintenance"])
    assert holds("reason", ["&", ["=~", "source", "^m"], ["=~", "reason", "node[0-9]"]])
    assert not holds("reason", ["=~", "timestamp", "5"])
    assert not holds("reason", ["!", ["=~", "timestamp", "5"]])


@pytest.mark.parametrize("filter_", [["?", "source"], ["=[]", "source", "me"], ["=[]", "timestamp", 5]])
def test_no_part_of_a_reason_is_a_boolean_or_a_list(filter_):
    assert not holds("reason", filter_)
    assert not holds("reason", ["!", filter_])


def test_one_entry_must_make_a_reason_predicate_true():
    assert not holds("reason", ["&", ["=", "source", "me"], ["=", "reason", "nightly"]])
    assert rule(["reason", ["=", "source", "me"]], ["reason", ["=", "reason", "nightly"]]).matches(
        subject(1, FULL, 0, T_SUBMIT_US)
    )
    assert holds("reason", ["!=", "source", "me"])


def test_without_reasons_every_reason_predicate_is_false():
    assert not holds("reason", None, PLAIN)
    assert not holds("reason", ["!=", "source", "me"], PLAIN)
    assert holds("reason", None, FULL)


def test_a_reason_without_a_time_has_that_of_the_submission():
    assert holds("reason", ["&", ["=", "source", "cron"], ["=", "timestamp", T_SUBMIT_US * 1000]])
    assert holds("reason", ["&", ["=", "source", "me"], ["=", "timestamp", 5]])


def test_in_reasons_strings_are_smaller_than_numbers():
    assert holds("reason", ["<", "reason", -(10**20)])
    assert holds("reason", [">", "timestamp", "\U0010ffff"])
    assert holds("reason", ["!", ["=", "timestamp", "5"]])


# ---- order, matching, applying --------------------------------------------------------------------------------------


def test_rules_are_asked_by_priority_then_watermark_then_uuid_as_bytes():
    rules = [rule(uuid=u, watermark=w, priority=p) for u, w, p in [("b", 1, 0), ("a", 1, 0), ("Z", 1, 0), ("a", 0, 0)]]
    rules += [rule(uuid="0", watermark=0, priority=1)]
    assert [(r.uuid, r.watermark) for r in in_order(rules)] == [("a", 0), ("Z", 1), ("a", 1), ("b", 1), ("0", 0)]
    assert in_order(in_order(rules)) == in_order(reversed(rules))


def test_continue_matches_and_never_applies():
    job = subject(1, PLAIN, 0, 0)
    first, second = rule(action="CONTINUE", uuid="a"), rule(action=["RATE_LIMIT", 2], uuid="b")
    other = rule(["job", ["=", "name", "x"]], uuid="c")
    rules = in_order([other, second, first])
    assert matching(rules, job) == [first, second]
    assert applying_filter(rules, job) == second
    assert second.limit == 2
    assert applying_filter((first, other), job) is None


def test_all_predicates_must_hold():
    yes, no = ["job", ["=", "name", "build"]], ["jobid", FALSE]
    assert rule(yes, yes).matches(subject(10, PLAIN, 0, 0))
    assert not rule(yes, no).matches(subject(10, PLAIN, 0, 0))
    assert not rule(no, yes).matches(subject(10, PLAIN, 0, 0))
    assert rule().matches(subject(10, PLAIN, 0, 0))


# ---- reading --------------------------------------------------------------------------------------------------------


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
    "(known: name command cwd cores tasks nodes on_interrupt userid time_limit output error queue project bank user.X)"
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
