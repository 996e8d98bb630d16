"""What a handle watches beside futures: times, signals, descriptors; and what it knows of its instance."""

import errno
import logging
import os
import signal

import pytest

from jqsched import Handle
from tests.cli.conftest import SpoolMaker


def test_a_timer_calls_once_or_again_and_again(handle: Handle):
    calls: list[object] = []
    once = handle.timer_watcher_create(0.001, lambda *told: calls.append(told), args="once").start()
    assert handle.reactor_run() == 0
    assert calls == [(handle, once, 0, "once")]

    def thrice(_: Handle, watcher: object, __: int, ___: object) -> None:
        calls.append(watcher)
        if len(calls) == 4:
            repeated.stop()

    repeated = handle.timer_watcher_create(0, thrice, repeat=0.001).start().start()
    assert handle.reactor_run() == 0
    assert calls[1:] == [repeated] * 3
    once.start()
    handle.reactor_run()
    assert len(calls) == 5, "it may be started again"
    with pytest.raises(ValueError, match="negative"):
        handle.timer_watcher_create(-1, print)


def test_a_signal_calls(handle: Handle):
    before = signal.getsignal(signal.SIGUSR2)
    seen: list[object] = []

    def stop(_: Handle, watcher: object, __: int, args: object) -> None:
        seen.append(args)
        watcher.stop()

    with handle.signal_watcher_create(signal.SIGUSR2, stop, "told"):
        handle.timer_watcher_create(0, lambda *_: os.kill(os.getpid(), signal.SIGUSR2)).start()
        handle.reactor_run()
    assert (seen, signal.getsignal(signal.SIGUSR2)) == (["told"], before)


def test_a_descriptor_calls_while_it_can_be_read(handle: Handle):
    near, far = os.pipe()
    seen: list[bytes] = []

    def read(_: Handle, watcher: object, revents: int, __: object) -> None:
        assert revents == 1
        seen.append(os.read(near, 2))
        if seen[-1] == b"ef":
            watcher.stop()

    watcher = handle.fd_watcher_create(near, 1, read).start()
    with pytest.raises(FileExistsError):
        handle.fd_watcher_create(near, 1, read).start()
    os.write(far, b"abcdef")
    assert not handle.reactor.wait(lambda: False, 0.001), "what waits for something else is not kept awake by it"
    handle.reactor_run()
    assert seen == [b"ab", b"cd", b"ef"], "what is left is told again"
    watcher.stop()
    os.close(near)
    os.close(far)


def test_what_a_handle_knows_of_its_instance(spool: SpoolMaker, handle: Handle, caplog: pytest.LogCaptureFixture):
    assert (handle.get_rank(), handle.attr_get("rank"), handle.attr_get("size")) == (0, "0", "1")
    assert handle.attr_get("local-uri") == f"local://{spool.root}/jqsched.sock"
    with pytest.raises(FileNotFoundError, match="no attribute 'none'"):
        handle.attr_get("none")
    assert (handle.conf_get(), handle.conf_get("max_running", 1)) == ({}, 1)
    (spool.root / "jqsched.toml").write_text("max_running = 3\n[plugins]\nload = ['a']\n")
    assert handle.conf_get("max_running") == 3
    assert (handle.conf_get("plugins.load"), handle.conf_get("plugins.none.more")) == (["a"], None)
    handle.log(4, "careful: 100%")
    handle.log(7, "not shown")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "careful: 100%")]
    with pytest.raises(OSError) as caught:
        handle.log(8, "")
    assert caught.value.errno == errno.EINVAL
