"""Futures: answers that come, or do not; one, or a stream of them; waited for, called back, and of several together."""

import errno
from collections import deque
from collections.abc import Iterator

import pytest

from jqsched.client.reactor import Reactor
from jqsched.future import Future, WaitAllFuture


class Owner:
    """A handle, as far as futures know one."""

    def __init__(self) -> None:
        self.reactor = Reactor()


class Answers:
    """A channel that answers what it is given."""

    def __init__(self, *answers) -> None:
        self.answers, self.canceled = deque(answers), 0

    def poll(self):
        return self.answers.popleft() if self.answers else None

    def cancel(self) -> None:
        self.canceled += 1


END = OSError(errno.ENODATA, "No data available")


@pytest.fixture
def owner() -> Iterator[Owner]:
    made = Owner()
    yield made
    made.reactor.close()


def test_an_answer_is_given_as_often_as_it_is_asked_for(owner: Owner):
    future = Future(Answers({"a": 1}, {"a": 2}), owner)
    assert (future.get(), future.get()) == ({"a": 1}, {"a": 1})
    future.reset()
    assert future.get() == {"a": 1}, "there is only one answer: nothing comes after it"


def test_a_stream_goes_on_when_it_is_reset(owner: Owner):
    future = Future(Answers({"a": 1}, {"a": 2}, END), owner, streaming=True)
    assert (future.get(), future.get()) == ({"a": 1}, {"a": 1})
    future.reset()
    assert future.get() == {"a": 2}
    future.reset()
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            future.get()
        assert caught.value.errno == errno.ENODATA
        future.reset()


def test_an_error_is_raised_each_time_and_named(owner: Owner):
    future = Future(Answers(OSError(errno.ENOENT, "unknown job id")), owner)
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="unknown job id"):
            future.get()
    assert future.error_string() == "unknown job id"
    assert Future(Answers({}), owner).error_string() is None
    assert Future(Answers(), owner).error_string() is None


def test_what_does_not_come_in_time_is_a_timeout_and_may_come_later(owner: Owner):
    answers = Answers()
    future = Future(answers, owner)
    assert not future.is_ready()
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError) as caught:
            future.wait_for(timeout)
        assert caught.value.errno == errno.ETIMEDOUT
    answers.answers.append({"late": True})
    assert future.is_ready()
    assert future.wait_for(0).get() == {"late": True}


def test_a_callback_gets_the_future_and_its_arguments_once(owner: Owner):
    calls = []
    future = Future(Answers({"a": 1}), owner)
    assert future.then(lambda *args, **kwargs: calls.append((args, kwargs)), 1, 2, three=3) is future
    assert calls == [], "the reactor calls, not `then`"
    assert owner.reactor.run() == 0
    assert calls == [((future, 1, 2), {"three": 3})]


def test_a_callback_is_called_again_for_what_it_asks_for(owner: Owner):
    seen = []

    def callback(future: Future) -> None:
        seen.append(future.get()["n"])
        if len(seen) < 3:
            future.reset()

    Future(Answers({"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}), owner, streaming=True).then(callback)
    assert owner.reactor.run() == 0
    assert seen == [1, 2, 3], "not reset: no further call"


def test_a_callback_may_look_ahead(owner: Owner):
    """After `reset` the next answer may be there already; that it was looked at ends nothing."""
    seen = []

    def callback(future: Future) -> None:
        try:
            seen.append(future.get()["n"])
        except OSError:
            seen.append("end")
            return
        future.reset()
        future.is_ready()

    Future(Answers({"n": 1}, {"n": 2}, {"n": 3}, END), owner, streaming=True).then(callback)
    assert owner.reactor.run() == 0
    assert seen == [1, 2, 3, "end"]


def test_a_callback_may_give_way_to_another(owner: Owner):
    seen = []
    future = Future(Answers({}), owner)
    future.then(lambda future: (seen.append("first"), future.then(lambda _: seen.append("second"))))
    owner.reactor.run()
    assert seen == ["first", "second"]


def test_a_future_has_one_callback_at_a_time(owner: Owner):
    """As in Flux. None is no callback, whether there is one or not."""
    seen = []
    future = Future(Answers({}), owner).then(lambda _: seen.append("first"))
    for waits in (True, False):
        with pytest.raises(ValueError, match="Callback cannot be None"):
            future.then(None)
        if waits:
            with pytest.raises(FileExistsError, match="then callback already exists"):
                future.then(lambda _: seen.append("second"))
            owner.reactor.run()
    future.then(lambda _: seen.append("third"))
    owner.reactor.run()
    assert seen == ["first", "third"]


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_a_callback_is_called_when_its_time_is_over_and_may_wait_on(owner: Owner, timeout: float):
    seen: list[object] = []
    answers = Answers()

    def callback(future: Future) -> None:
        try:
            seen.append(future.get())
        except TimeoutError as late:
            seen.append(late.errno)
            if len(seen) == 2:
                answers.answers.append({"n": 1})
            future.reset()

    Future(answers, owner).then(callback, timeout=timeout)
    assert owner.reactor.run() == 0
    assert seen == [errno.ETIMEDOUT, errno.ETIMEDOUT, {"n": 1}]


def test_an_answer_in_time_is_no_timeout(owner: Owner):
    seen = []
    Future(Answers({"n": 1}), owner).then(lambda future: seen.append(future.get()), timeout=0)
    owner.reactor.run()
    assert seen == [{"n": 1}]


def test_what_a_callback_raises_ends_the_reactor_and_that_callback(owner: Owner):
    def broken(_: Future) -> None:
        raise LookupError("mine")

    Future(Answers({}), owner).then(broken)
    with pytest.raises(LookupError, match="mine"):
        owner.reactor.run()
    assert owner.reactor.run() == 0


def test_a_stopped_stream_calls_nobody_back(owner: Owner):
    answers = Answers({"n": 1}, {"n": 2})
    future = Future(answers, owner, streaming=True).then(lambda _: pytest.fail("called"))
    future.cancel(stop=True)
    assert owner.reactor.run() == 0
    assert answers.canceled == 1


def test_a_future_made_of_another_has_its_answers(owner: Owner):
    first = Future(Answers({"n": 1}, {"n": 2}), owner, streaming=True)
    second = Future(first)
    assert second.get() == {"n": 1}
    second.reset()
    assert second.get() == {"n": 2}
    assert second.get_flux() is owner
    assert second.get_reactor() is owner.reactor


# --- several together --------------------------------------------------------------------------------------------


def test_all_are_waited_for(owner: Owner):
    late = Answers()
    one, other = Future(Answers({"n": 1}), owner), Future(late, owner)
    both = WaitAllFuture([one])
    both.push(other, "other")
    assert not both.is_ready()
    with pytest.raises(TimeoutError):
        both.wait_for(0)
    late.answers.append({"n": 2})
    assert both.is_ready()
    assert both.get() == {}
    assert (both.get_child("0"), both.get_child("other")) == (one, other)
    assert [child.get()["n"] for child in both.children] == [1, 2]
    with pytest.raises(KeyError):
        both.get_child("1")


def test_one_that_failed_is_ready_too(owner: Owner):
    both = WaitAllFuture([Future(Answers(OSError(errno.ENOENT, "no")), owner), Future(Answers({}), owner)])
    assert both.wait_for(1).is_ready()


def test_all_together_call_back_once(owner: Owner):
    seen, late = [], Answers()
    both = WaitAllFuture([Future(Answers({}), owner), Future(late, owner)])
    both.then(lambda future: seen.append(len(future.children)))
    owner.reactor.call_later(0, lambda: late.answers.append({}))
    owner.reactor.run()
    assert seen == [2]


def test_none_at_all_is_ready():
    assert WaitAllFuture().wait_for(0).is_ready()


def test_canceling_all_cancels_each(owner: Owner):
    channels = [Answers(), Answers()]
    WaitAllFuture([Future(channel, owner) for channel in channels]).cancel()
    assert [channel.canceled for channel in channels] == [1, 1]


def test_a_callback_that_takes_all_there_is_is_not_called_for_the_end_again(owner: Owner):
    seen = []

    def drain(future: Future) -> None:
        try:
            while future.is_ready():
                seen.append(future.get()["n"])
                future.reset()
        except OSError:
            seen.append("end")

    Future(Answers({"n": 1}, {"n": 2}, END), owner, streaming=True).then(drain)
    assert owner.reactor.run() == 0
    assert seen == [1, 2, "end"]
