"""The asyncio way: the loop turns the handle, no thread does; tasks wait side by side, and leaving ends a stream."""

import asyncio
import errno
import threading

import pytest

from jqsched import Handle
from jqsched.adapters import server
from jqsched.client.connection import NoScheduler
from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.job.event import event_watch_async
from jqsched.job.journal import JournalConsumer
from tests.cli.conftest import COMPLETED, QUEUED, FakeScheduler, SpoolMaker, fatal

NAMES = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]


def test_a_request_is_awaited(spool: SpoolMaker, scheduler: FakeScheduler):
    async def main() -> None:
        async with Handle(spool.root) as handle:
            assert (await handle.rpc("job-manager.status"))["pid"] == 4711
            with pytest.raises(OSError) as caught:
                await handle.rpc("no.such-topic")
            assert caught.value.errno == errno.ENOSYS

    asyncio.run(main())


def test_requests_are_awaited_side_by_side(spool: SpoolMaker, scheduler: FakeScheduler):
    held: list[server.Request] = []

    def hold(request: server.Request) -> None:
        held.append(request)
        if len(held) == 20:
            for one in reversed(held):
                one.respond({"id": one.payload["id"]})

    scheduler.answers["cancel"] = hold

    async def main() -> list[dict]:
        async with Handle(spool.root) as handle:
            return await asyncio.gather(*(handle.rpc("job-manager.cancel", {"id": id_}) for id_ in range(20)))

    assert [answer["id"] for answer in asyncio.run(main())] == list(range(20))


def test_without_a_scheduler_it_is_said_so(spool: SpoolMaker):
    async def main() -> None:
        async with Handle(spool.root) as handle:
            with pytest.raises(NoScheduler):
                await handle.rpc("job-manager.cancel", {"id": 1})

    asyncio.run(main())


def test_a_handle_made_before_the_loop_works_in_one_and_then_in_the_next(handle: Handle, scheduler: FakeScheduler):
    async def main() -> int:
        return (await handle.rpc("job-manager.status"))["pid"]

    assert [asyncio.run(main()), asyncio.run(main())] == [4711, 4711]
    assert handle.rpc("job-manager.status").get()["pid"] == 4711


def test_events_are_iterated_to_the_end_of_the_log(spool: SpoolMaker):
    job = spool.add(*COMPLETED)

    async def main() -> list[str]:
        async with Handle(spool.root) as handle:
            return [event.name async for event in event_watch_async(handle, job.id)]

    assert asyncio.run(main()) == NAMES


def test_an_error_ends_the_iteration(spool: SpoolMaker):
    async def main() -> None:
        async with Handle(spool.root) as handle:
            with pytest.raises(FileNotFoundError):
                async for _ in event_watch_async(handle, 99):
                    pass

    asyncio.run(main())


def test_the_journal_is_iterated(spool: SpoolMaker):
    spool.add(*COMPLETED)

    async def main() -> list[str]:
        async with Handle(spool.root) as handle:
            consumer, names = JournalConsumer(handle, include_sentinel=True), []
            async for event in consumer:
                if event.is_empty():
                    consumer.stop()
                else:
                    names.append(event.name)
            return names

    assert asyncio.run(main()) == NAMES


def test_what_comes_later_wakes_who_waits(spool: SpoolMaker, scheduler: FakeScheduler):
    """Two tasks on one handle, the bell rung from another thread."""
    bells: list[server.Request] = []
    listening = threading.Event()

    def bell(request: server.Request) -> None:
        bells.append(request)
        request.stream({"seq": 0})
        listening.set()

    scheduler.answers["bell"] = bell
    job = spool.add(*QUEUED)

    async def watch(handle: Handle) -> list[str]:
        return [event.name async for event in event_watch_async(handle, job.id)]

    async def main() -> list[list[str]]:
        async with Handle(spool.root) as handle:
            tasks = [asyncio.create_task(watch(handle)) for _ in range(2)]
            await asyncio.to_thread(listening.wait, 10)
            spool.add(fatal("cancel"), "clean", id_=job.id)
            bells[0].stream({"seq": 6})
            return await asyncio.wait_for(asyncio.gather(*tasks), 10)

    assert asyncio.run(main()) == [[*NAMES[:4], "exception", "clean"]] * 2
    assert len(bells) == 1, "one bell for all of a handle"


def test_a_blocking_call_in_the_loop_takes_no_bell_from_others(spool: SpoolMaker, scheduler: FakeScheduler):
    """It reads what another task waits for; that task is woken all the same."""
    bells: list[server.Request] = []
    listening = threading.Event()

    def bell(request: server.Request) -> None:
        bells.append(request)
        request.stream({"seq": 0})
        listening.set()

    def change(request: server.Request) -> None:
        spool.add(fatal("cancel"), "clean", id_=job.id)
        bells[0].stream({"seq": 6})
        request.respond({})

    scheduler.answers.update({"bell": bell, "cancel": change})
    job = spool.add(*QUEUED)

    async def watch(handle: Handle) -> list[str]:
        return [event.name async for event in event_watch_async(handle, job.id)]

    async def main() -> list[str]:
        async with Handle(spool.root) as handle:
            task = asyncio.create_task(watch(handle))
            await asyncio.to_thread(listening.wait, 10)
            handle.rpc("job-manager.cancel", {"id": job.id}).get()
            return await asyncio.wait_for(task, 10)

    assert asyncio.run(main()) == [*NAMES[:4], "exception", "clean"]


def test_who_finds_out_that_the_scheduler_went_away_wakes_the_others(spool: SpoolMaker):
    fake = FakeScheduler(spool.root)
    asked = threading.Event()
    fake.answers["wait"] = lambda request: asked.set()

    async def main() -> None:
        async with Handle(spool.root) as handle:
            task = asyncio.create_task(handle.rpc("job-manager.wait").ready())
            await asyncio.to_thread(asked.wait, 10)
            handle.reactor._detach()  # nothing is read until the next request
            fake.close()
            later = handle.rpc("job-manager.status")
            handle.reactor.attach()
            waited = await asyncio.wait_for(task, 10)
            with pytest.raises(OSError):
                await waited
            with pytest.raises(NoScheduler):
                await later

    asyncio.run(main())


def test_other_tasks_have_their_turn_in_a_long_history(spool: SpoolMaker):
    for _ in range(50):
        spool.add(*COMPLETED)
    turns = []

    async def other() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def main() -> int:
        async with Handle(spool.root) as handle:
            task = asyncio.create_task(other())
            consumer = JournalConsumer(handle).start()
            consumer.stop()
            found = len([event async for event in consumer])
            task.cancel()
            return found

    assert asyncio.run(main()) == 500
    assert len(turns) >= 5


def test_a_stream_that_is_left_is_canceled_at_the_scheduler(spool: SpoolMaker, scheduler: FakeScheduler):
    closed = threading.Event()

    def forever(request: server.Request) -> None:
        request.on_close = closed.set
        for n in range(3):
            request.stream({"n": n})

    scheduler.answers["forever"] = forever

    async def main() -> None:
        async with Handle(spool.root) as handle:
            stream = handle.rpc("job-manager.forever", flags=FLUX_RPC_STREAMING)
            async for answer in stream:
                if answer["n"] == 1:
                    break
            await handle.rpc("job-manager.status")
            assert await asyncio.to_thread(closed.wait, 10)

    asyncio.run(main())


def test_a_task_that_is_canceled_leaves_no_watcher(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["wait"] = lambda request: None

    async def main() -> None:
        async with Handle(spool.root) as handle:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(handle.rpc("job-manager.wait").ready(), 0.01)
            assert not handle.reactor._watchers
            assert (await handle.rpc("job-manager.status"))["pid"] == 4711

    asyncio.run(main())


def test_a_callback_is_called_in_the_loop_too(spool: SpoolMaker, scheduler: FakeScheduler):
    async def main() -> int:
        async with Handle(spool.root) as handle:
            answered = asyncio.get_running_loop().create_future()
            handle.rpc("job-manager.status").then(lambda future: answered.set_result(future.get()["pid"]))
            return await asyncio.wait_for(answered, 10)

    assert asyncio.run(main()) == 4711


def test_what_a_callback_raises_goes_to_the_loop(spool: SpoolMaker, scheduler: FakeScheduler):
    told = []

    async def main() -> None:
        loop, seen = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: (told.append(context["exception"]), seen.set()))
        async with Handle(spool.root) as handle:
            handle.rpc("job-manager.status").then(lambda _: 1 / 0)
            await asyncio.wait_for(seen.wait(), 10)
            assert (await handle.rpc("job-manager.status"))["pid"] == 4711

    asyncio.run(main())
    assert [type(error) for error in told] == [ZeroDivisionError]
