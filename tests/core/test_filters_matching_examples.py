"""Filter rules, one behaviour each: what a predicate sees, what errors make of it, and which rule applies."""

from types import MappingProxyType

import pytest
from attrs import evolve

from jqsched.core.filters import applying_filter, in_order, matching, subject
from jqsched.core.jobspec import from_jobspec, to_jobspec
from tests.core.filter_cases import FULL, PLAIN, T_SUBMIT_US, holds, rule

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
    plain = to_jobspec(PLAIN)
    kept = from_jobspec({**plain, "attributes": {**plain["attributes"], "user": {"other": {}}}})
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
    """A jobspec that was frozen is seen as it is."""
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
