"""RFC 31 constraints: what they match, what is no constraint and how that is said, and how much work they may make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.constraint import (
    COMPARISONS_MAX,
    DEPTH_MAX,
    EXCESSIVE,
    BadConstraint,
    BadFilter,
    Budget,
    Excessive,
    Not,
    Or,
    Results,
    States,
    matches,
    read_constraint,
    read_filter,
)
from jqsched.core.job import Job, Result, Spec, State
from tests.core.constraint_cases import HOSTNAME, documents, in_queue, jobs, naive_matches

RUNNING = Job(7, Spec(("make",), "build", "/"), 1000, state=State.RUN, t_submit_us=5_000_000, t_run_us=7_000_000)


def does_match(document: object, job: Job = RUNNING, hostname: str = HOSTNAME) -> bool:
    constraint = read_constraint(document)
    assert not isinstance(constraint, BadConstraint), constraint
    return matches(constraint, job, Budget(), hostname)


@given(documents, jobs())
def test_a_constraint_matches_what_its_words_say(document: dict, job: Job):
    assert does_match(document, job) == naive_matches(document, job)


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({}, True),
        ({"and": []}, True),
        ({"or": []}, True),
        ({"not": []}, False),
        ({"not": [{"name": ["build"]}, {"userid": [1]}]}, True),
        ({"not": [{"name": ["build"]}, {"userid": [1000]}]}, False),
        ({"states": ["RUNNING"]}, True),
        ({"states": ["r"]}, True),
        ({"states": [14, 64]}, False),
        ({"states": []}, False),
        ({"results": [15]}, False),
        ({"userid": [4294967295]}, True),
        ({"userid": []}, False),
        ({"name": ["x", "build"]}, True),
        ({"t_run": [">=7"]}, True),
        ({"t_run": ["<7.0"]}, False),
        ({"t_run": [">6.9e0", "<0"]}, True),
        ({"t_inactive": [">=0"]}, False),
        ({"hostlist": ["a,vm", "b"]}, True),
        ({"hostlist": ["v[0-9]m"]}, False),
        ({"ranks": ["1-3,0"]}, True),
        ({"ranks": [""]}, False),
    ],
)
def test_examples(document: dict, wanted: bool):
    assert does_match(document) is wanted


def test_a_queue_is_found_in_the_jobspec_only_where_it_belongs():
    def job(jobspec: dict) -> Job:
        return Job(1, Spec(("true",), "true", "/", jobspec=jobspec), 0)

    assert does_match({"queue": ["x", "batch"]}, job(in_queue("batch")))
    assert not does_match({"queue": ["batch"]}, job({"attributes": {"user": {"queue": "batch"}}}))
    assert not does_match({"queue": ["batch"]}, RUNNING)


@pytest.mark.parametrize(
    ("hosts", "hostname", "wanted"),
    [
        ("node[1-3,7]", "node7", True),
        ("node[1-3,7]", "node4", False),
        ("node[01-10]", "node07", True),
        ("node[01-10]", "node7", False),
        ("n[0-1]-ib", "n1-ib", True),
        ("a,b", "b", True),
        ("a,b", "a,b", False),
    ],
)
def test_hosts_are_spelled_as_rfc_29_says(hosts: str, hostname: str, wanted: bool):
    assert does_match({"hostlist": [hosts]}, hostname=hostname) is wanted


# what is no constraint, and Flux's word for it
BAD = [
    ([], "constraint must be JSON object"),
    (None, "constraint must be JSON object"),
    ("x", "constraint must be JSON object"),
    ({"and": [], "or": []}, "constraint must only contain 1 element"),
    ({"name": "x"}, "operator name values not an array"),
    ({"foo": "x"}, "operator foo values not an array"),
    ({"foo": []}, "unknown constraint operator: foo"),
    ({"and": [{"or": [{"foo": []}]}]}, "unknown constraint operator: foo"),
    ({"not": [3]}, "constraint must be JSON object"),
    ({"userid": ["0"]}, "userid value must be an integer"),
    ({"userid": [True]}, "userid value must be an integer"),
    ({"userid": [1.0]}, "userid value must be an integer"),
    ({"name": [1]}, "name value must be a string"),
    ({"queue": [None]}, "queue value must be a string"),
    ({"states": ["RUM"]}, "invalid states value 'RUM' specified"),
    ({"states": ["Run"]}, "invalid states value 'Run' specified"),
    ({"states": [128]}, "invalid states value '80h' specified"),
    ({"states": [-1]}, "invalid states value 'FFFFFFFFh' specified"),
    ({"states": [1.5]}, "states value invalid type"),
    ({"results": ["ok"]}, "invalid results value 'ok' specified"),
    ({"results": [16]}, "invalid results value '10h' specified"),
    ({"results": [True]}, "results value invalid type"),
    ({"t_run": []}, "timestamp value not specified"),
    ({"t_run": [5]}, "t_run value must be a string"),
    ({"t_run": ["5"]}, "timestamp comparison operator not specified"),
    ({"t_run": ["=5"]}, "timestamp comparison operator not specified"),
    ({"t_run": [">5x"]}, "Invalid timestamp value specified"),
    ({"t_run": [">=nan"]}, "Invalid timestamp value specified"),
    ({"t_run": [">1e999"]}, "Invalid timestamp value specified"),
    ({"t_run": [">-5"]}, "timestamp value must be >= 0.0"),
    ({"hostlist": [1]}, "host value must be a string"),
    ({"hostlist": ["a[1"]}, "host value not in valid Hostlist format"),
    ({"hostlist": ["a[3-1]"]}, "host value not in valid Hostlist format"),
    ({"hostlist": [""]}, "host value not in valid Hostlist format"),
    ({"hostlist": ["a[0-99999999]"]}, "too many hosts specified"),
    ({"hostlist": ["a[1-1000]", "b[1-1000]"]}, "too many hosts specified"),
    ({"ranks": [0]}, "ranks value must be a string"),
    ({"ranks": ["x"]}, "ranks value not in valid Idset format"),
    ({"ranks": ["3-1"]}, "ranks value not in valid Idset format"),
]


@pytest.mark.parametrize(("document", "text"), BAD, ids=[str(document)[:40] for document, _ in BAD])
def test_what_is_no_constraint_is_said_as_flux_says_it(document: object, text: str):
    assert read_constraint(document) == BadConstraint(f"invalid payload: constraint object invalid: {text}")


def nested(depth: int) -> dict:
    document: dict = {"name": ["build"]}
    for _ in range(depth - 1):
        document = {"not": [document]}
    return document


def test_depth_is_bounded():
    assert isinstance(read_constraint(nested(DEPTH_MAX)), Not)
    too_deep = read_constraint(nested(DEPTH_MAX + 1))
    assert isinstance(too_deep, BadConstraint)
    assert too_deep.text.endswith(f"nested more than {DEPTH_MAX} deep")
    assert isinstance(read_constraint(nested(900)), BadConstraint)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("and", "not", "name", "states", "t_run", "ranks", "hostlist")), inner, max_size=2
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_document_is_read_or_refused(document: object):
    constraint = read_constraint(document)
    if not isinstance(constraint, BadConstraint):
        assert matches(constraint, RUNNING, Budget()) in (True, False)


def test_a_search_that_compares_too_often_ends():
    constraint = read_constraint({"or": [{"name": ["x"]}] * 3})
    budget = Budget(7)
    assert not any(matches(constraint, RUNNING, budget) for _ in range(2))
    with pytest.raises(Excessive, match="Excessive comparisons made, limit search via states or since"):
        matches(constraint, RUNNING, budget)
    assert (budget.left, COMPARISONS_MAX, EXCESSIVE[:9]) == (0, 1_000_000, "Excessive")


def test_what_is_decided_is_not_compared():
    budget = Budget(2)
    assert matches(read_constraint({"or": [{"name": ["build"]}, {"name": ["x"]}]}), RUNNING, budget)
    assert not matches(read_constraint({"and": [{"name": ["x"]}, {"name": ["build"]}]}), RUNNING, budget)
    assert budget.left == 0


# ---- filters ------------------------------------------------------------------------------------------------------


def test_a_filter_reads_states_and_results():
    assert read_filter("pending, FAILED,Timeout") == Or((States(14), Results(Result.FAILED | Result.TIMEOUT)))
    assert read_filter("running") == Or((States(48), Results(0)))
    assert read_filter("A,ca,S") == Or((States(62), Results(Result.CANCELED)))


@pytest.mark.parametrize("text", ["", "pending,", "nope", "14"])
def test_what_is_no_state_is_said(text: str):
    bad = read_filter(text)
    assert isinstance(bad, BadFilter)
    assert bad.text.endswith(
        " is no state or result; there are new, depend, priority, sched, run, cleanup, inactive, pending, running, "
        "active, completed, failed, canceled, timeout"
    )


def test_states_and_results_are_alternatives():
    wanted = read_filter("running,failed")
    assert not isinstance(wanted, BadFilter)
    failed, completed = (Job(1, RUNNING.spec, 0, state=State.INACTIVE, status=status) for status in (256, 0))
    assert [matches(wanted, job, Budget()) for job in (RUNNING, failed, completed)] == [True, True, False]
