"""The journal: what is chosen by time, seq, job and name comes, and nothing else; going on where one was."""

import errno
import math

import pytest

from jqsched import Handle
from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.job.journal import JournalConsumer
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, SpoolMaker
from tests.client.journal_lines import all_events, drained, lines, of


def test_since_is_a_time_after_which(spool: SpoolMaker, handle: Handle):
    for _ in range(5):
        spool.add(*COMPLETED)
    events = all_events(handle)
    for event in events:
        later = [other for other in events if other.timestamp > event.timestamp]
        assert all_events(handle, since=event.timestamp) == later
        assert all_events(handle, since=math.nextafter(event.timestamp, 0)) == [event, *later]
    assert all_events(handle, since=events[-1].timestamp + 1) == []
    assert all_events(handle, since=-1) == events


def test_since_holds_for_active_jobs_and_for_what_comes(spool: SpoolMaker, handle: Handle):
    job = spool.add(*QUEUED)
    middle = all_events(handle)[1].timestamp
    assert lines(all_events(handle, full=False, since=middle)) == [(1, "depend"), (1, "priority")]
    consumer = JournalConsumer(handle, since=middle + 3600).start()
    spool.add(*STARTED[3:], id_=job.id)
    with pytest.raises(TimeoutError):
        consumer.poll(timeout=0)


def test_since_seq_goes_on_behind_every_event(spool: SpoolMaker, handle: Handle):
    for facts in (COMPLETED, QUEUED, CANCELED):
        spool.add(*facts)
    events = all_events(handle)
    for full in (True, False):  # a follower that goes on wants all that it missed, of finished jobs too
        for at in range(len(events) + 1):
            seq = events[at - 1].seq if at else 0
            assert all_events(handle, full=full, since_seq=seq) == events[at:]
    consumer = JournalConsumer(handle, since_seq=events[-1].seq + 2).start()
    assert not consumer.rpc.is_ready() or consumer.rpc.get()["events"] == []
    job = spool.add(*QUEUED)
    assert lines(drained(consumer)) == of(job, *QUEUED)[2:], "as if what is not there yet had been seen"


def test_last_seq_is_where_to_go_on(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED)
    consumer = JournalConsumer(handle).start()
    seen = [consumer.poll() for _ in range(4)]
    assert consumer.last_seq == 4
    assert lines([*seen, *all_events(handle, since_seq=consumer.last_seq)]) == of(job, *COMPLETED)
    assert JournalConsumer(handle, since_seq=7).last_seq == 7


def test_last_seq_of_a_history_job_by_job_is_that_of_its_end(spool: SpoolMaker, handle: Handle):
    """In the middle of it no seq says what was seen."""
    first = spool.add(*QUEUED)
    spool.add(*COMPLETED)
    consumer = JournalConsumer(handle, full=False).start()
    consumer.poll()
    assert consumer.last_seq == 0
    for _ in range(3):
        consumer.poll()
    with pytest.raises(TimeoutError):
        consumer.poll(timeout=0)
    assert consumer.last_seq == 14
    spool.add("alloc", id_=first.id)
    assert consumer.poll().name == "alloc"
    assert consumer.last_seq == 15


def test_jobs_are_chosen_by_id_and_by_name(spool: SpoolMaker, handle: Handle):
    spool.add(*QUEUED, name="a")
    spool.add(*COMPLETED, name="b")
    spool.add(*QUEUED, name="a")
    assert {int(event.jobid) for event in all_events(handle, ids=[1, "2"])} == {1, 2}
    assert {int(event.jobid) for event in all_events(handle, names=["a"])} == {1, 3}
    assert {int(event.jobid) for event in all_events(handle, names=["a"], ids=[2, 3])} == {3}
    assert {int(event.jobid) for event in all_events(handle, full=False, ids=[1, 2])} == {1}
    assert all_events(handle, ids=[]) == all_events(handle, names=["'; DROP TABLE jobs"]) == []
    consumer = JournalConsumer(handle, names=["a"]).start()
    spool.add(*QUEUED, name="b")
    spool.add("validate", name="a")
    assert lines(drained(consumer))[-2:] == [(5, "submit"), (5, "validate")]


def test_events_are_chosen_by_name(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED)
    spool.add(*CANCELED)
    assert lines(all_events(handle, events=["finish", "exception"])) == [(1, "finish"), (2, "exception")]
    assert lines(all_events(handle, full=False, events=["finish"])) == []
    assert all_events(handle, events=[]) == []


def test_allow_and_deny_choose_as_in_flux(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED)

    def names(**payload) -> list[str]:
        stream = handle.rpc("job-manager.events-journal", {"full": True, **payload}, flags=FLUX_RPC_STREAMING)
        found = []
        while (response := stream.get())["events"]:
            found += [entry["name"] for entry in response["events"]]
            stream.reset()
        assert response["id"] == -1
        return found

    assert names(allow={"submit": 1, "clean": 1}) == ["submit", "clean"]
    assert names(allow={"submit": 1, "clean": 1}, deny={"submit": 1}) == ["clean"]
    assert len(names(deny={"submit": 1})) == 9
    assert len(names()) == 10


@pytest.mark.parametrize(
    "payload",
    [{"full": 1}, {"allow": ["submit"]}, {"deny": "x"}, {"since": "now"}, {"since_seq": 1.5}, {"since_seq": True},
     {"ids": 1}, {"ids": ["1"]}, {"names": "a"}, {"names": [1]}],
)  # fmt: skip
def test_a_payload_of_the_wrong_form_is_refused(handle: Handle, payload: dict):
    with pytest.raises(OSError) as caught:
        handle.rpc("job-manager.events-journal", payload, flags=FLUX_RPC_STREAMING).get()
    assert caught.value.errno == errno.EPROTO


def test_the_journal_must_be_a_stream_and_have_a_payload(handle: Handle):
    with pytest.raises(OSError, match="requires streaming RPC flag"):
        handle.rpc("job-manager.events-journal", {}).get()
    with pytest.raises(OSError) as caught:
        handle.rpc("job-manager.events-journal", flags=FLUX_RPC_STREAMING).get()
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("choice", [{"names": "abc"}, {"events": "submit"}])
def test_one_name_for_a_list_of_names_is_refused(handle: Handle, choice: dict):
    with pytest.raises(TypeError):
        JournalConsumer(handle, **choice)
