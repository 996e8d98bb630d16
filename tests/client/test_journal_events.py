"""The journal: each event of all jobs comes once and in order, with its jobspec and resources, old ones and new."""

import errno
import json
import sqlite3

import pytest

from jqsched import Handle
from jqsched.client.services import journal as service
from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.job.journal import SENTINEL_EVENT, JournalConsumer, JournalEvent
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, QUEUED, STARTED, SpoolMaker
from tests.client.journal_lines import all_events, drained, lines, of


class Long(JournalConsumer):
    """One that makes its events by itself, so that they come job by job."""

    def create_event(self, *args, **kwargs) -> JournalEvent:
        return super().create_event(*args, **kwargs)


# --- an event ----------------------------------------------------------------------------------------------------


def test_an_event_has_its_job_and_is_a_dict():
    event = JournalEvent(17, {"timestamp": 1795247774.5935, "name": "priority", "context": {"b": 1, "a": "ä"}})
    assert (event.jobid, event.name, event.timestamp) == (17, "priority", 1795247774.5935)
    assert event == {"timestamp": 1795247774.5935, "name": "priority", "context": {"b": 1, "a": "ä"}}
    assert event.context_string == '{"a":"ä","b":1}'
    assert (event.jobspec, event.R, event.is_empty()) == (None, None, False)
    assert str(event) == '17: 1795247774.59350 priority {"a":"ä","b":1}'


def test_an_event_shows_its_jobspec_and_resources():
    event = JournalEvent(17, {"timestamp": 1.0, "name": "submit"}, {"version": 1}, {"version": 2})
    assert str(event) == "17: 1.00000 submit jobspec={'version': 1}", "R is no part of a submission"
    event = JournalEvent(17, {"timestamp": 1.0, "name": "alloc"}, {"version": 1}, {"version": 2})
    assert str(event) == "17: 1.00000 alloc R={'version': 2}", "nor the jobspec of an allocation"
    assert event.context_string == ""


def test_the_sentinel_is_no_event():
    assert SENTINEL_EVENT.is_empty()
    assert SENTINEL_EVENT.jobid == -1
    assert set(SENTINEL_EVENT) == {"timestamp", "context"}
    assert str(SENTINEL_EVENT) == "-1: End of historical data stream"
    assert JournalEvent(-1, {"timestamp": 0.0, "context": {}}) != SENTINEL_EVENT
    with pytest.raises(KeyError):
        SENTINEL_EVENT.name  # noqa: B018 - asking is what fails


def test_the_sentinel_is_an_attribute_of_the_consumer_too():
    assert JournalConsumer.SENTINEL_EVENT is SENTINEL_EVENT


# --- history -----------------------------------------------------------------------------------------------------


def test_the_full_history_comes_in_the_order_of_time(spool: SpoolMaker, handle: Handle):
    first, second = spool.add(*QUEUED), spool.add(*COMPLETED)
    spool.add(*STARTED[3:], id_=first.id)
    events = all_events(handle)
    assert lines(events) == [*of(first, *QUEUED), *of(second, *COMPLETED), (1, "alloc"), (1, "start")]
    times = [event.timestamp for event in events]
    assert times == sorted(set(times))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_without_full_only_active_jobs_have_a_history(spool: SpoolMaker, handle: Handle):
    first = spool.add(*QUEUED)
    ended = spool.add(*COMPLETED)
    second = spool.add(*QUEUED)
    spool.add(*STARTED[3:], id_=first.id)
    assert lines(all_events(handle, full=False)) == [*of(first, *STARTED), *of(second, *QUEUED)]
    assert ended.id not in {event.jobid for event in all_events(handle, full=False)}


def test_history_in_portions_is_the_same(spool: SpoolMaker, handle: Handle, monkeypatch: pytest.MonkeyPatch):
    for facts in (COMPLETED, QUEUED, CANCELED, STARTED, QUEUED):
        spool.add(*facts)
    whole = [lines(all_events(handle, full=full)) for full in (True, False)]
    monkeypatch.setattr(service, "PORTION", 3)
    monkeypatch.setattr(service, "JOBS_PORTION", 1)
    assert [lines(all_events(handle, full=full)) for full in (True, False)] == whole
    assert len(whole[0]) > len(whole[1]) > 0


def test_jobspec_and_resources_come_with_their_events(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED, cores=2, env=(("SECRET", "x"),))
    events = {event.name: event for event in all_events(handle)}
    assert events["submit"].jobspec["tasks"][0]["command"] == ["sleep", "1"]
    assert "SECRET" not in json.dumps(events["submit"].jobspec)
    assert events["alloc"].R["execution"]["R_lite"] == [{"rank": "0", "children": {"core": "0-1"}}]
    assert {name for name, event in events.items() if event.jobspec or event.R} == {"submit", "alloc"}


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"full": False},
        {"since_seq": 9},
        {"ids": [1, 3]},
        {"events": ["submit", "alloc", "clean"]},
        {"events": ["alloc"]},
        {"include_sentinel": True},
    ],
)
def test_events_are_what_the_methods_for_subclasses_make(
    spool: SpoolMaker, handle: Handle, monkeypatch: pytest.MonkeyPatch, choice: dict
):
    """Those of the class itself come in columns and are made in a shorter way."""
    monkeypatch.setattr(service, "PORTION", 4)
    for facts in (COMPLETED, CANCELED, STARTED):
        spool.add(*facts, cores=2)
    short, long = all_events(handle, **choice), drained(Long(handle, **choice).start())
    assert short == long != []
    for key in ("jobid", "jobspec", "R", "seq"):
        assert [getattr(event, key) for event in short] == [getattr(event, key) for event in long]
    assert {type(event) for event in short} == {JournalEvent}
    assert {type(event.jobid) for event in short} == {type(event.jobid) for event in long}


@pytest.mark.parametrize("columns", [False, True])
def test_resources_are_those_of_each_attempt(spool: SpoolMaker, handle: Handle, columns: bool):
    """Also where both stand in one portion, without another job's event between."""
    again = ("release", "free", ("requeue", {"attempt": 2}), *QUEUED[2:], *STARTED[3:])
    spool.add(*STARTED, *again)
    consumer = (JournalConsumer if columns else Long)(handle).start()
    allocs = [event for event in drained(consumer) if event.name == "alloc"]
    assert len(allocs) == 2
    assert [event.R["execution"]["starttime"] for event in allocs] == [event.timestamp for event in allocs]


def test_columns_have_many_events_of_any_jobs_in_one_answer(spool: SpoolMaker, handle: Handle):
    """What a row of each column tells belongs together; an answer is JSON, as any other is."""
    one, other = spool.add(*QUEUED, cores=2), spool.add()
    spool.add("alloc", id_=one.id)
    payload = {"full": True, "columns": True, "deny": {"validate": 1}}
    stream = handle.rpc("job-manager.events-journal", payload, flags=FLUX_RPC_STREAMING)
    answer = json.loads(stream.get_str())
    assert [*zip(answer["ids"], answer["seqs"], answer["names"], strict=True)] == [
        *((one.id, 1, "submit"), (one.id, 3, "depend"), (one.id, 4, "priority")),
        *((other.id, 5, "submit"), (one.id, 6, "alloc")),
    ]
    assert answer["contexts"][1:3] == [{}, {"priority": 16}]
    assert sorted(answer["timestamps"]) == answer["timestamps"]
    (index, submitted), (index_other, _), (index_alloc, allocated) = answer["told"]
    assert (index, index_other, index_alloc) == (0, 3, 4)
    assert submitted["jobspec"]["tasks"][0]["command"] == ["sleep", "1"]
    assert allocated["R"]["execution"]["R_lite"] == [{"rank": "0", "children": {"core": "0-1"}}]
    stream.reset()
    assert stream.get() == {"id": -1, "events": [], "seq": 6}


def test_each_event_has_a_context_of_its_own(spool: SpoolMaker, handle: Handle):
    """Also one that is read but once, and what is inside it: a consumer that changes its event changes no other."""
    for _ in range(2):
        spool.add(*COMPLETED)
    for event in all_events(handle):
        for value in event.context.values():
            if isinstance(value, dict):
                value.clear()
        event.context["mine"] = True
    again = all_events(handle)
    assert not any("mine" in event.context for event in again)
    assert all(event.context["annotations"]["sched"] for event in again if event.name == "alloc")


@pytest.mark.parametrize(
    "damage",
    ["context = '{' WHERE name = 'finish'", "spec = '{' WHERE name = 'submit'", "spec = '{\"x\":1}' WHERE seq = 1"],
)
def test_what_nobody_wrote_is_an_error_in_one_line(spool: SpoolMaker, handle: Handle, damage: str):
    spool.add(*COMPLETED)
    with sqlite3.connect(spool.root / "jqsched.db") as connection:
        connection.execute(f"UPDATE events SET {damage}")
    with pytest.raises(OSError, match=r"jqsched.db: damaged \(.*") as raised:
        all_events(handle)
    assert raised.value.errno == errno.EIO
    assert "\n" not in str(raised.value)


def test_events_of_a_job_that_follow_each_other_come_together_and_are_numbered(
    spool: SpoolMaker, handle: Handle, monkeypatch: pytest.MonkeyPatch
):
    """One answer has one job, no gap in its seqs, and a bound; what is left out by a filter is such a gap."""
    monkeypatch.setattr(service, "PORTION", 6)
    one, other, another = spool.add(*COMPLETED), spool.add(*QUEUED), spool.add()
    stream = handle.rpc("job-manager.events-journal", {"full": True}, flags=FLUX_RPC_STREAMING)
    answers = [stream.reset() or stream.get() for _ in range(6)]
    assert [(answer["id"], len(answer["events"]), answer["seq"]) for answer in answers] == [
        *((one.id, 6, 6), (one.id, 4, 10), (other.id, 2, 12), (other.id, 2, 14), (another.id, 1, 15), (-1, 0, 15)),
    ]
    assert [event.seq for event in all_events(handle)] == [*range(1, 16)]
    assert [event.seq for event in all_events(handle, events=["submit", "depend", "priority"])] == [
        1,
        3,
        4,
        11,
        13,
        14,
        15,
    ]


def test_resources_are_told_to_who_did_not_see_the_submission(spool: SpoolMaker, handle: Handle):
    job = spool.add(*QUEUED, cores=2)
    spool.add(*STARTED[3:], id_=job.id)
    (event,) = all_events(handle, events=["alloc"])
    assert event.R["execution"]["R_lite"][0]["children"] == {"core": "0-1"}


@pytest.mark.parametrize("columns", [False, True])
def test_resources_are_told_of_many_jobs_at_once(
    spool: SpoolMaker, handle: Handle, monkeypatch: pytest.MonkeyPatch, columns: bool
):
    """More than are remembered; and what is remembered has a bound, whatever is chosen."""
    monkeypatch.setattr(service, "SPECS_MAX", 2)
    for cores in range(1, 6):
        spool.add(*QUEUED, cores=cores)
    for id_ in range(1, 6):
        spool.add("alloc", id_=id_)
    given = [event.R["execution"]["R_lite"][0]["children"]["core"] for event in all_events(handle) if event.R]
    assert given == ["0", "0-1", "0-2", "0-3", "0-4"]
    answers = service._Answers(handle._records.reader, columns)
    assert list(answers.of([handle._records.reader().stretch(0, 100, service.EVERYTHING, -1)]))
    assert len(answers._specs) == 2


def test_a_spool_in_which_nothing_happened_has_an_empty_journal(handle: Handle):
    assert all_events(handle, include_sentinel=True) == [SENTINEL_EVENT]


# --- the sentinel ------------------------------------------------------------------------------------------------


def test_the_sentinel_stands_between_history_and_what_comes(spool: SpoolMaker, handle: Handle):
    spool.add(*QUEUED)
    consumer = JournalConsumer(handle, include_sentinel=True).start()
    history = [consumer.poll() for _ in range(4)]
    assert not any(event.is_empty() for event in history)
    assert consumer.poll() is SENTINEL_EVENT
    spool.add(*QUEUED)
    assert lines(drained(consumer)) == [(2, "submit"), (2, "validate"), (2, "depend"), (2, "priority")]


@pytest.mark.parametrize("choice", [{"full": True}, {"full": False, "include_sentinel": True}])
def test_the_sentinel_comes_only_when_it_is_asked_for_and_history_is_full(
    spool: SpoolMaker, handle: Handle, choice: dict
):
    spool.add(*QUEUED)
    assert not any(event.is_empty() for event in all_events(handle, **choice))


# --- what comes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [True, False])
def test_what_is_committed_later_comes_once(spool: SpoolMaker, handle: Handle, full: bool):
    job = spool.add(*QUEUED)
    consumer = JournalConsumer(handle, full=full).start()
    assert lines([consumer.poll() for _ in range(4)]) == of(job, *QUEUED)
    with pytest.raises(TimeoutError):
        consumer.poll(timeout=0)
    spool.add(*STARTED[3:], id_=job.id)
    other = spool.add(*COMPLETED)
    assert lines(drained(consumer)) == [(1, "alloc"), (1, "start"), *of(other, *COMPLETED)]


def test_a_timeout_loses_nothing(spool: SpoolMaker, handle: Handle):
    consumer = JournalConsumer(handle).start()
    with pytest.raises(TimeoutError):
        consumer.poll(timeout=0.001)
    job = spool.add(*QUEUED)
    assert lines([consumer.poll(timeout=100) for _ in range(4)]) == of(job, *QUEUED)


def test_a_job_that_was_active_at_the_start_is_told_whole(spool: SpoolMaker, handle: Handle):
    """One that ends between the request and its history is in neither twice nor half."""
    first, second = spool.add(*QUEUED), spool.add(*QUEUED)
    consumer = JournalConsumer(handle, full=False).start()
    head = consumer.poll()
    spool.add(*STARTED[3:], ("finish", {"status": 0}), *ENDED, id_=second.id)
    found = [head, *drained(consumer)]
    assert sorted(lines(found)) == sorted([*of(first, *QUEUED), *of(second, *COMPLETED)])


def test_who_was_active_is_known_of_each_moment(spool: SpoolMaker, handle: Handle):
    """What ends or comes between two looks at the store changes nothing."""
    spool.add(*QUEUED)  # 1 to 4
    spool.add(*COMPLETED)  # 5 to 14
    spool.add(*QUEUED)
    reader = handle._records.reader()
    found = {seq: reader.active_at(seq) for seq in (0, 1, 4, 5, 13, 14, 15)}
    assert found == {0: [], 1: [1], 4: [1], 5: [1, 2], 13: [1, 2], 14: [1], 15: [1, 3]}
