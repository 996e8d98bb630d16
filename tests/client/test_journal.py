"""The journal: each event of all jobs once and in order; what is chosen; going on where one was; poll and callbacks."""

import errno
import json
import math
import sqlite3

import pytest

from jqsched import Handle
from jqsched.client.services import journal as service
from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.job.journal import SENTINEL_EVENT, JournalConsumer, JournalConsumerBase, JournalEvent
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, QUEUED, STARTED, SpoolMaker

Line = tuple[int, str]


def drained(consumer: JournalConsumer) -> list[JournalEvent]:
    """All that has happened so far; the consumer is stopped."""
    consumer.stop()
    found = []
    while (event := consumer.poll(timeout=10)) is not None:
        found.append(event)
    return found


def lines(events: list[JournalEvent]) -> list[Line]:
    return [(int(event.jobid), "" if event.is_empty() else event.name) for event in events]


def all_events(handle: Handle, **choice) -> list[JournalEvent]:
    return drained(JournalConsumer(handle, **choice).start())


def of(job, *facts) -> list[Line]:
    names = [fact if isinstance(fact, str) else fact[0] for fact in facts]
    return [(job.id, name) for name in ("submit", *names)]


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
    assert str(event) == "17: 1.00000 submit jobspec={'version': 1} R={'version': 2}"
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


def test_events_are_what_the_methods_for_subclasses_make(spool: SpoolMaker, handle: Handle):
    """Those of the class itself are made in a shorter way."""

    class Long(JournalConsumer):
        def create_event(self, *args, **kwargs) -> JournalEvent:
            return super().create_event(*args, **kwargs)

    for facts in (COMPLETED, CANCELED, STARTED):
        spool.add(*facts, cores=2)
    short, long = all_events(handle), drained(Long(handle).start())
    assert short == long
    for key in ("jobid", "jobspec", "R", "seq"):
        assert [getattr(event, key) for event in short] == [getattr(event, key) for event in long]
    assert {type(event) for event in short} == {JournalEvent}
    assert {type(event.jobid) for event in short} == {type(event.jobid) for event in long}


def test_each_event_has_a_context_of_its_own(spool: SpoolMaker, handle: Handle):
    """Also one that is read but once, and what is inside it: who changes his event changes no other."""
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
    monkeypatch.setattr(service, "TOGETHER", 6)
    one, other, another = spool.add(*COMPLETED), spool.add(*QUEUED), spool.add()
    stream = handle.rpc("job-manager.events-journal", {"full": True}, flags=FLUX_RPC_STREAMING)
    answers = [stream.reset() or stream.get() for _ in range(5)]
    assert [(answer["id"], len(answer["events"]), answer["seq"]) for answer in answers] == [
        *((one.id, 6, 6), (one.id, 4, 10), (other.id, 4, 14), (another.id, 1, 15), (-1, 0, 15)),
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


def test_resources_are_told_of_many_jobs_at_once(spool: SpoolMaker, handle: Handle, monkeypatch: pytest.MonkeyPatch):
    """More than are remembered; and what is remembered has a bound, whatever is chosen."""
    monkeypatch.setattr(service, "SPECS_MAX", 2)
    for cores in range(1, 6):
        spool.add(*QUEUED, cores=cores)
    for id_ in range(1, 6):
        spool.add("alloc", id_=id_)
    given = [event.R["execution"]["R_lite"][0]["children"]["core"] for event in all_events(handle) if event.R]
    assert given == ["0", "0-1", "0-2", "0-3", "0-4"]
    shown = service._Shown(handle._records.reader)
    assert len(list(shown(handle._records.reader().stretch(0, 100, service.EVERYTHING, -1)))) == 10
    assert len(shown._specs) == 2


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
    assert lines([consumer.poll(timeout=10) for _ in range(4)]) == of(job, *QUEUED)


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


# --- what is chosen ----------------------------------------------------------------------------------------------


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
    for full in (True, False):  # who goes on wants all that he missed, of finished jobs too
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


# --- start, stop, callbacks --------------------------------------------------------------------------------------


def test_poll_before_start_is_refused(handle: Handle):
    with pytest.raises(RuntimeError, match=r"poll\(\) called before start\(\)"):
        JournalConsumer(handle).poll()


def test_start_again_is_from_the_beginning(spool: SpoolMaker, handle: Handle):
    job = spool.add(*QUEUED)
    consumer = JournalConsumer(handle).start()
    assert [consumer.poll().name, consumer.poll().name] == ["submit", "validate"]
    assert consumer.start() is consumer
    assert lines(drained(consumer)) == of(job, *QUEUED)


def test_after_the_end_there_is_none_each_time(spool: SpoolMaker, handle: Handle):
    consumer = JournalConsumer(handle).start()
    drained(consumer)
    assert [consumer.poll(), consumer.poll(timeout=0)] == [None, None]
    spool.add(*QUEUED)
    assert consumer.poll() is None
    JournalConsumer(handle).stop()


@pytest.mark.parametrize("before", [True, False])
def test_each_event_calls_back(spool: SpoolMaker, handle: Handle, before: bool):
    spool.add(*COMPLETED)
    seen = []

    def callback(event: JournalEvent, consumer: JournalConsumer, more: str) -> None:
        seen.append((event.name, more))
        if event.name == "clean":
            consumer.stop()

    consumer = JournalConsumer(handle)
    if before:
        assert consumer.set_callback(callback, consumer, more="more") is consumer
        consumer.start()
    else:
        consumer.start().set_callback(callback, consumer, more="more")
    assert handle.reactor_run() == 0
    assert seen == [(name, "more") for name in ["submit", "validate", "depend", "priority", "alloc", "start",
                                                "finish", "release", "free", "clean"]]  # fmt: skip


@pytest.mark.parametrize("deliver_end", [False, True])
def test_the_end_is_told_to_a_callback_that_asked_for_it(spool: SpoolMaker, handle: Handle, deliver_end: bool):
    spool.add(*QUEUED)
    seen = []
    consumer = JournalConsumer(handle, deliver_end=deliver_end).set_callback(seen.append).start()
    consumer.stop()
    assert handle.reactor_run() == 0
    assert len(seen) == 4 + deliver_end
    assert (seen[-1] is None) == deliver_end


def test_a_long_history_calls_back_for_all(spool: SpoolMaker, handle: Handle):
    for _ in range(60):
        spool.add(*COMPLETED)
    seen = []
    consumer = JournalConsumer(handle, deliver_end=True).set_callback(seen.append).start()
    consumer.stop()
    handle.reactor_run()
    assert len(seen) == 601


def test_a_callback_may_be_replaced_by_itself(spool: SpoolMaker, handle: Handle):
    spool.add(*QUEUED)
    first, second = [], []
    consumer = JournalConsumer(handle)

    def once(event: JournalEvent) -> None:
        first.append(event.name)
        consumer.set_callback(lambda event: second.append(event.name))

    consumer.set_callback(once).start()
    consumer.stop()
    handle.reactor_run()
    assert (first, second) == (["submit"], ["validate", "depend", "priority"])


def test_what_a_callback_raises_ends_the_reactor_and_loses_one_event(spool: SpoolMaker, handle: Handle):
    spool.add(*QUEUED)
    seen = []

    def callback(event: JournalEvent) -> None:
        if event.name == "validate":
            raise LookupError("mine")
        seen.append(event.name)

    consumer = JournalConsumer(handle).set_callback(callback).start()
    consumer.stop()
    with pytest.raises(LookupError, match="mine"):
        handle.reactor_run()
    handle.reactor_run()
    assert seen == ["submit", "depend", "priority"]


def test_a_callback_may_start_anew(spool: SpoolMaker, handle: Handle):
    spool.add(*QUEUED)
    seen = []
    consumer = JournalConsumer(handle)

    def callback(event: JournalEvent) -> None:
        seen.append(event.name)
        if seen == ["submit", "validate"]:
            consumer.start()
        elif event.name == "priority":
            consumer.stop()

    consumer.set_callback(callback).start()
    handle.reactor_run()
    assert seen == ["submit", "validate", "submit", "validate", "depend", "priority"]


def test_two_consumers_of_one_handle_see_the_same(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED)
    seen: dict[int, list[str]] = {0: [], 1: []}
    consumers = [
        JournalConsumer(handle).set_callback(lambda event, n: seen[n].append(event.name), number).start()
        for number in seen
    ]
    for consumer in consumers:
        consumer.stop()
    handle.reactor_run()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 10


def test_events_of_one_s_own_are_made_by_one_s_own_method(spool: SpoolMaker, handle: Handle):
    """Of each entry, with what came with its response."""

    class Named(JournalConsumer):
        def create_event(self, entry: dict, *args, **kwargs) -> JournalEvent:
            return super().create_event({**entry, "name": entry["name"].upper()}, *args, **kwargs)

    class Marked(JournalConsumer):
        def process_response(self, resp: dict) -> dict:
            return {**super().process_response(resp), "jobspec": {"marked": resp["id"]}}

    spool.add(*COMPLETED)
    plain = all_events(handle)
    named, marked = (drained(own(handle).start()) for own in (Named, Marked))
    assert [event.name for event in named] == [event.name.upper() for event in plain]
    assert [event.seq for event in named] == [event.seq for event in marked] == [*range(1, 11)]
    assert [event.jobspec for event in marked] == [{"marked": 1}, *[None] * 9]
    assert [event.R for event in marked] == [event.R for event in plain]


def test_a_journal_of_one_s_own_says_what_it_asks_for(spool: SpoolMaker, handle: Handle):
    class Own(JournalConsumerBase):
        @property
        def request_payload(self) -> dict:
            return {"full": self.full, "allow": {"clean": 1}}

        def process_response(self, resp: dict) -> dict:
            return {"jobid": resp["id"]}

        def create_event(self, entry: dict, jobid: int) -> JournalEvent:
            return JournalEvent(jobid, entry)

    spool.add(*COMPLETED)
    assert lines(drained(Own(handle, "job-manager.events-journal").start())) == [(1, "clean")]
    with pytest.raises(NotImplementedError):
        JournalConsumerBase(handle, "job-manager.events-journal").start()
