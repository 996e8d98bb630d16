"""The expression of a rule: what a line means, how predicates are written, and what is said of a line that is none."""

import pytest

from jqsched.core.filters import DEPTH_MAX, RULE_SIZE_MAX, Rule, read_rule
from jqsched.core.filters.expression import BadExpression, expression_of, read_expression


def written(*predicates: object) -> str:
    rule = read_rule({"uuid": "u", "watermark": 0, "priority": 0, "predicates": list(predicates), "action": "PAUSE"})
    assert isinstance(rule, Rule), rule
    return expression_of(rule.predicates)


NAME, CORES, ID = ["=", "name", "x"], [">", "cores", 4], ["<=", "id", "watermark"]
SOURCE, TEXT = ["=", "source", "me"], ["=~", "reason", "node[0-9]"]


@pytest.mark.parametrize(
    ("line", "predicates"),
    [
        ('name = "x"', [["job", NAME]]),
        ("cores > 4", [["job", CORES]]),
        ("id <= watermark", [["jobid", ID]]),
        ("id = 17", [["jobid", ["=", "id", 17]]]),
        ('reason.source = "me"', [["reason", SOURCE]]),
        ('reason.text =~ "node[0-9]"', [["reason", TEXT]]),
        ("reason.time_ns > 5", [["reason", [">", "timestamp", 5]]]),
        ('command contains "gcc"', [["job", ["=[]", "command", "gcc"]]]),
        ("user.a.b-c?", [["job", ["?", "user.a.b-c"]]]),
        ("time_limit <= 1.5", [["job", ["<=", "time_limit", 1.5]]]),
        ("user.n = -3", [["job", ["=", "user.n", -3]]]),
        ('name == "x"', [["job", ["==", "name", "x"]]]),
        (r'name =~ "^a\.b\"c\d$"', [["job", ["=~", "name", r"^a\.b" + '"c' + r"\d$"]]]),
        (r'name = "a\b"', [["job", ["=", "name", "a\\b"]]]),
        (r'name = "a\\"', [["job", ["=", "name", "a\\"]]]),
        ('not name = "x"', [["job", ["!", NAME]]]),
        ('not not name = "x"', [["job", ["!", ["!", NAME]]]]),
        ('name = "x" and cores > 4', [["job", ["&", NAME, CORES]]]),
        ('name = "x" or cores > 4', [["job", ["|", NAME, CORES]]]),
        ('name = "x" and (cores > 4 and user.a?)', [["job", ["&", NAME, ["&", CORES, ["?", "user.a"]]]]]),
        ('name = "x" or cores > 4 and user.a?', [["job", ["|", NAME, ["&", CORES, ["?", "user.a"]]]]]),
        ('(name = "x" or cores > 4) and user.a?', [["job", ["&", ["|", NAME, CORES], ["?", "user.a"]]]]),
        ('not (name = "x" or cores > 4)', [["job", ["!", ["|", NAME, CORES]]]]),
        ('not name = "x" and cores > 4', [["job", ["&", ["!", NAME], CORES]]]),
        ('id <= watermark and name = "x"', [["jobid", ID], ["job", NAME]]),
        ('(name = "x" or cores > 4) and id <= watermark', [["job", ["|", NAME, CORES]], ["jobid", ID]]),
        ('reason.source = "me" and reason.text =~ "node[0-9]"', [["reason", ["&", SOURCE, TEXT]]]),
        ('reason.source = "me" and also reason.text =~ "node[0-9]"', [["reason", SOURCE], ["reason", TEXT]]),
        ('name = "x" and id <= watermark and also cores > 4', [["job", NAME], ["jobid", ID], ["job", CORES]]),
        ('name = "x" or cores > 4 and also user.a?', [["job", ["|", NAME, CORES]], ["job", ["?", "user.a"]]]),
        ("not id = 17", [["jobid", ["!", ["=", "id", 17]]]]),
        ('not reason.source = "me"', [["reason", ["!", SOURCE]]]),
        ("user.n = 9007199254740993", [["job", ["=", "user.n", 2**53 + 1]]]),
        ('["job", ["!", null]]', [["job", ["!", None]]]),
        ('["job", ["&"]]', [["job", ["&"]]]),
        ('["job", ["=", "and", 1]]', [["job", ["=", "and", 1]]]),
        ('["job", ["=", "a b", 1]]', [["job", ["=", "a b", 1]]]),
        ('["jobid", ["=", "ID", 1]]', [["jobid", ["=", "ID", 1]]]),
        ("true", []),
        ('["job", null]', [["job", None]]),
        ('id <= watermark and ["reason", null]', [["jobid", ID], ["reason", None]]),
        (r'["job", ["=", "name", "a\u001bb"]]', [["job", ["=", "name", "a\x1bb"]]]),
        ('["job", ["=", "id", 3]]', [["job", ["=", "id", 3]]]),
        ('["job", ["&", ["=", "name", "x"]]]', [["job", ["&", NAME]]]),
    ],
)  # fmt: skip
def test_a_line_means_predicates_and_they_are_written_as_it(line, predicates):
    assert read_expression(line) == predicates
    assert written(*predicates) == line


@pytest.mark.parametrize(
    ("line", "predicates"),
    [
        ("name='x'", [["job", NAME]]),
        ('  name\n=\t"x"  ', [["job", NAME]]),
        ('((name = "x"))', [["job", NAME]]),
        ('reason = "x"', [["reason", ["=", "reason", "x"]]]),
        ("cores > 4.0", [["job", CORES]]),
        ('id <= "watermark"', [["jobid", ID]]),
        ('name = "x" and id <= watermark and cores > 4', [["job", ["&", NAME, CORES]], ["jobid", ID]]),
        ('(name = "x" and id <= watermark) and cores > 4', [["job", ["&", NAME, CORES]], ["jobid", ID]]),
        ('["job", ["=","name","x"]] and cores > 4', [["job", ["&", NAME, CORES]]]),
        (" true ", []),
    ],
)
def test_a_line_may_be_written_otherwise(line, predicates):
    assert read_expression(line) == predicates


def test_all_terms_of_a_kind_become_one_predicate_wherever_they_stand():
    """So two tests of reasons are about one entry; `and also` is for two entries."""
    mixed = 'reason.source = "me" and cores > 4 and reason.text =~ "node[0-9]"'
    assert read_expression(mixed) == [["reason", ["&", SOURCE, TEXT]], ["job", CORES]]


TWO_RULES = "a predicate is about one of them, and all predicates of a rule must hold; make two rules"
JOB = f"fields of the job: {TWO_RULES}"
REASON = f"fields of the job and a reason: {TWO_RULES}"
NOT = "each with not before one of them"
TRUTH = "whether a field is true is asked by FIELD?, and not FIELD?"
KNOWN = "(known: reason.text reason reason.source reason.time_ns)"
VALUE = "must be a string or a number (of at most 100 digits), not"
SIGNS = "one of ? = == != < <= > >= =~ contains after the field"


@pytest.mark.parametrize(
    ("line", "text", "column"),
    [
        ("", "expected a field, not, or a bracket, not the end", 1),
        ("name", f"expected {SIGNS} 'name', not the end", 5),
        ("name is 3", f"expected {SIGNS} 'name', not 'is'", 6),
        ("name =", "expected a number, or a text in quotes, not the end", 7),
        ("name = build", "expected a number, or a text in quotes, not 'build': write \"build\"", 8),
        ("cores > watermark", "expected a number, or a text in quotes, not 'watermark'; watermark is for id only", 9),
        ("user.a = true", f"expected a number, or a text in quotes, not 'true'; {TRUTH}", 10),
        ("user.a = false", f"expected a number, or a text in quotes, not 'false'; {TRUTH}", 10),
        ("name =~ build", "expected a regular expression in quotes, as \"^build\", not 'build'", 9),
        ('name =~ "["', "is no regular expression of RE2: missing ]: [", 9),
        ('name = "x', "this text has no end", 8),
        ('name = "x" & cores > 4', "'&' is not expected here: write and", 12),
        ('! name = "x"', "'!' is not expected here: write not, or !=", 1),
        ('name = "x" cores > 4', "expected 'and', 'or', or the end, not 'cores'", 12),
        ('(name = "x"', "expected ')', not the end", 12),
        ('name = "x")', "expected 'and', 'or', or the end, not ')'", 11),
        ('name = "x" and', "expected a field, not, or a bracket, not the end", 15),
        ("true and cores > 4", "expected a field, not, or a bracket, not 'true'; true stands alone", 1),
        ("reason.tetx = 1", f"no reason has the field 'reason.tetx' {KNOWN}", 1),
        ('id > 3 or name = "x"', f"'or' cannot join tests of the id and {JOB}, one for each side", 8),
        ('not (id > 3 and name = "x")', f"'not' cannot join tests of the id and {JOB}, {NOT}", 1),
        ('cores > 4 or (user.a? and reason = "x")', f"'or' cannot join tests of {REASON}, one for each side", 11),
        ('(name = "x" and also cores > 4)', "expected ')', not 'and'", 13),
        ("cores > 1e999", "must be a string or a number (of at most 100 digits), not inf", 9),
        ('["job", ["=", "name"]]', "[1]: = takes a field and a value, not 1 parts", 1),
        ('["job"]', "must be a list of kind and filter, not a list", 1),
        ('["job", ["=", 1, null]]', f"[1][1]: must be a field's name, not 1; [1][2]: {VALUE} null", 1),
        ('["jop", null]', "[0]: must be one of jobid reason job, not 'jop'; did you mean job?", 1),
        ("[job]", 'no JSON: a predicate is written as ["job", ["=", "name", "build"]]', 1),
        ("\x1b", r"'\x1b' is not expected here", 1),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused_with_its_column(line, text, column):
    assert read_expression(line) == BadExpression(text, column)


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("not ", ""), ("(cores > 4 or name = ", ")"), ('[["job",', "]")]
)
def test_a_deep_expression_is_refused(opening, closing):
    """Not by running into Python's stack."""
    for times in (DEPTH_MAX + 2, 2_500):
        assert isinstance(read_expression(opening * times + "user.a?" + closing * times), BadExpression)


def test_brackets_may_be_as_deep_as_a_rule_and_no_deeper():
    deepest = "(" * DEPTH_MAX + "user.a?" + ")" * DEPTH_MAX
    assert read_expression(deepest) == [["job", ["?", "user.a"]]]
    assert read_expression(f"({deepest})") == BadExpression(f"nested deeper than {DEPTH_MAX}", DEPTH_MAX + 2)


def test_an_expression_may_be_as_deep_as_a_rule():
    """Brackets that make no level count too, but not against what a rule may be."""
    filter_: object = ["?", "user.a"]
    for level in range(DEPTH_MAX - 1):
        filter_ = ["!", filter_] if level % 3 == 0 else ["&" if level % 3 == 1 else "|", filter_, ["?", "user.b"]]
    line = written(["job", filter_])
    assert not line.startswith("[")
    assert read_expression(line) == [["job", filter_]]
    assert read_expression(f"not ({line})") == BadExpression(f"nested deeper than {DEPTH_MAX}", 1)


def test_an_expression_has_a_size():
    assert read_expression("true".rjust(RULE_SIZE_MAX)) == []
    assert read_expression(" " * (RULE_SIZE_MAX + 1)) == BadExpression(
        f"too long: an expression may have {RULE_SIZE_MAX} characters", 1
    )


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\u202e"])
def test_what_a_terminal_would_act_on_is_written_as_json(text):
    line = written(["job", ["=", "name", text]])
    assert line.isprintable()
    assert line.startswith('["job", ')
