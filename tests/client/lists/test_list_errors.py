"""`jqsched.job.list`: what is wrong with a request is said as Flux says it."""

import errno

import pytest

from jqsched import Handle
from jqsched.job import get_job, job_list, job_list_id

GOOD = {"max_entries": 5, "attrs": ["all"]}
BAD = [
    ("list", {**GOOD, "max_entries": -1}, errno.EPROTO, "invalid payload: max_entries < 0 not allowed"),
    ("list", {"attrs": []}, errno.EPROTO, "invalid payload: max_entries must be an integer"),
    ("list", {**GOOD, "max_entries": "5"}, errno.EPROTO, "invalid payload: max_entries must be an integer"),
    ("list", {**GOOD, "since": -0.5}, errno.EPROTO, "invalid payload: since < 0.0 not allowed"),
    ("list", {**GOOD, "since": "x"}, errno.EPROTO, "invalid payload: since must be a number"),
    ("list", {**GOOD, "attrs": "all"}, errno.EPROTO, "invalid payload: attrs must be an array"),
    ("list", {"max_entries": 5}, errno.EPROTO, "invalid payload: attrs must be an array"),
    ("list", {**GOOD, "attrs": ["nope"]}, errno.EINVAL, "nope is not a valid attribute"),
    ("list", {**GOOD, "attrs": ["all", "id"]}, errno.EINVAL, "id is not a valid attribute"),
    ("list", {**GOOD, "attrs": [1]}, errno.EINVAL, "attr has no string value"),
    (
        "list",
        {**GOOD, "constraint": {"foo": [1]}},
        errno.EPROTO,
        "invalid payload: constraint object invalid: unknown constraint operator: foo",
    ),
    (
        "list",
        {**GOOD, "constraint": None},
        errno.EPROTO,
        "invalid payload: constraint object invalid: constraint must be JSON object",
    ),
    ("list", None, errno.EPROTO, "Protocol error"),
    ("list-id", {"attrs": []}, errno.EPROTO, "invalid payload: id must be an integer"),
    ("list-id", {"id": "1", "attrs": []}, errno.EPROTO, "invalid payload: id must be an integer"),
    ("list-id", {"id": 1}, errno.EPROTO, "invalid payload: attrs must be an array"),
    ("list-id", {"id": 1, "attrs": ["nope"]}, errno.EINVAL, "nope is not a valid attribute"),
    ("list-id", {"id": 1, "attrs": [], "state": 1}, errno.EPROTO, "invalid payload: invalid state specified"),
    ("list-id", {"id": 1, "attrs": [], "state": "RUN"}, errno.EPROTO, "invalid payload: state must be an integer"),
    ("list-id", {"id": 99, "attrs": []}, errno.ENOENT, "No such file or directory"),
]


@pytest.mark.parametrize(("topic", "payload", "number", "text"), BAD, ids=[f"{row[0]}-{row[1]}" for row in BAD])
def test_what_is_wrong_is_said_as_flux_says_it(handle: Handle, topic: str, payload: object, number: int, text: str):
    rpc = handle.rpc(f"job-list.{topic}", payload)
    with pytest.raises(OSError) as caught:
        rpc.get()
    assert (caught.value.errno, caught.value.strerror) == (number, text)


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ({"max_entries": -1}, errno.EPROTO),
        ({"since": -1}, errno.EPROTO),
        ({"attrs": ["nope"]}, errno.EINVAL),
        ({"attrs": "all"}, errno.EPROTO),
        ({"attrs": None}, errno.EPROTO),
        ({"states": 128}, errno.EPROTO),
        ({"results": 16}, errno.EPROTO),
        ({"name": 5}, errno.EPROTO),
        ({"constraint": {"t_run": ["5"]}}, errno.EPROTO),
    ],
)
def test_wrong_arguments_are_said_when_the_answer_is_taken(handle: Handle, how: dict, number: int):
    rpc = job_list(handle, **how)
    with pytest.raises(OSError) as caught:
        rpc.get_jobs()
    assert caught.value.errno == number


def test_a_search_that_compares_too_often_is_refused(handle: Handle, monkeypatch: pytest.MonkeyPatch):
    from jqsched.client.services import list as service
    from jqsched.core.constraint import Budget

    monkeypatch.setattr(service, "Budget", lambda: Budget(0))
    with pytest.raises(OSError) as caught:
        job_list(handle, queue="batch").get_jobs()
    assert (caught.value.errno, caught.value.strerror) == (
        errno.EINVAL,
        "Excessive comparisons made, limit search via states or since",
    )


def test_a_list_needs_a_handle():
    for ask in (lambda: job_list(None), lambda: job_list_id(None, 1), lambda: get_job(None, 1)):
        with pytest.raises(OSError) as caught:
            ask()
        assert caught.value.errno == errno.EINVAL
