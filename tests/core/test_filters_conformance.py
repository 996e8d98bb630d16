"""Matching and order of rules against the answers of Ganeti's own scheduler, for every job of every case."""

import pytest

from jqsched.core.filters import applying_filter, in_order, matching, read_rule, rule_document, subject_of
from tests.core.ganeti_cases import KINDS, Case, cases, documents


def told(case: Case) -> dict[str, object]:
    """What our functions say of the rules of a case, in the form of its answer."""
    rules = in_order(case.rules)
    jobs = {}
    for job in case.jobs:
        subject = subject_of(job)
        applying = applying_filter(rules, subject)
        jobs[str(job.id)] = (
            [rule.uuid for rule in matching(rules, subject)],
            applying.uuid if applying is not None else None,
        )
    return {"filter_order": [rule.uuid for rule in rules], "jobs": jobs}


def asked(case: Case) -> dict[str, object]:
    """The same of Ganeti."""
    jobs = {id_: (answer["matching"], answer["applying"]) for id_, answer in case.answer["jobs"].items()}
    return {"filter_order": case.answer["filter_order"], "jobs": jobs}


@pytest.mark.parametrize("kind", KINDS)
def test_rules_match_and_apply_as_in_ganeti(kind: str):
    """Order, matching rules and the applying rule of each job, enqueued, running and manipulated."""
    tested = 0
    for case in cases(kind):
        assert told(case) == asked(case), f"case {case.number}"
        tested += 1
    assert tested, f"no case of the kind {kind}"


def test_there_are_no_other_kinds_of_cases():
    assert {document["kind"] for document in documents()} <= set(KINDS)


def test_rules_of_the_cases_come_back_from_their_documents():
    rules = [rule for kind in KINDS for case in cases(kind) for rule in case.rules]
    assert rules
    assert all(read_rule(rule_document(rule)) == rule for rule in rules)
