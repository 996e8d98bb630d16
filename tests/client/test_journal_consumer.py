"""The journal's consumer: start, stop and poll as in Flux; callbacks hear each event; subclasses make their own."""

import pytest

from jqsched import Handle
from jqsched.job.event import event_watch_async
from jqsched.job.journal import JournalConsumer, JournalConsumerBase, JournalEvent, JournalEventBase
from tests.cli.conftest import COMPLETED, QUEUED, SpoolMaker, fatal
from tests.client.journal_lines import all_events, drained, lines, of


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


def test_a_journal_begins_at_its_start_and_ends_at_its_stop(spool: SpoolMaker, handle: Handle):
    """Where now is, is when it is asked, not when the first or the next event is read."""
    old = spool.add(*QUEUED)
    consumers = [JournalConsumer(handle, full=full, include_sentinel=True).start() for full in (False, True)]
    watch = event_watch_async(handle, old.id)
    later = spool.add(*QUEUED)
    for consumer in consumers:
        consumer.stop()
    watch.cancel()
    spool.add(fatal("cancel"), "clean", id_=old.id)
    for consumer in consumers:
        events = []
        while (event := consumer.poll(0)) is not None:
            events.append(event)
        jobs = [int(event.jobid) for event in events if not event.is_empty()]
        assert jobs == [old.id] * 4 + [later.id] * 4
        assert not consumer.full or events[4].is_empty(), "what came after `start` is no history"
    assert [watch.get_event().name for _ in range(4)] == ["submit", "validate", "depend", "priority"]
    assert watch.get_event() is None


def test_a_journal_of_one_s_own_may_have_another_end_of_its_history(handle: Handle):
    class Own(JournalConsumerBase):
        SENTINEL_EVENT = JournalEventBase({"name": "here"})

        def is_empty_response(self, resp):
            return "here" in resp

    own = Own(handle, "own.journal", "own.end", True, 0.0, True)
    assert own.cancel_topic == "own.end"
    assert own._events({"here": True}) == (Own.SENTINEL_EVENT,)
    assert JournalConsumerBase(handle, "own").cancel_topic == "own-cancel"
    assert JournalEventBase({}).timestamp > 0
