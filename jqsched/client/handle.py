"""`Handle`: one process's access to a spool, as `flux.Flux()` gives access to an instance.

Rule: a request that only reads is answered from the store, any other by the scheduler; the caller sees no difference
(ADR 8). Nothing is opened before it is needed, and reading needs no scheduler.
"""

import errno
import logging
import os
import tomllib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Self

import jqsched
from jqsched.client.commit_notice import Bell
from jqsched.client.connection import FILE_NAME
from jqsched.client.reactor import Reactor
from jqsched.client.rpc_channel import Wire
from jqsched.client.services import SERVICES
from jqsched.client.store_channel import Call, LocalChannel
from jqsched.client.store_reader import Records
from jqsched.client.user_spool import user_spool
from jqsched.client.watchers import FDWatcher, SignalWatcher, TimerWatcher
from jqsched.constants import FLUX_NODEID_ANY, FLUX_REACTOR_NOWAIT, FLUX_REACTOR_ONCE
from jqsched.future import Channel, Payload
from jqsched.rpc import RPC, Given

CONFIG_NAME = "jqsched.toml"
_NO_SPOOL = "no spool: name its directory, or set JQSCHED_SPOOL"  # where the user's own is not there

# Handles that a child let go of. SQLite forbids to close a parent's connection, and so would the garbage collector;
# descriptors may have other meanings in the child by then.
_INHERITED: list["Handle"] = []


class Handle:
    """A spool's jobs and its scheduler.

    Threads may share it: each waits for futures of its own, and one of them runs the reactor. A child process makes
    its own; in one, an inherited handle refuses requests with EBADF, and closing it changes nothing.

    `spool` is its directory, by default `JQSCHED_SPOOL`, else the user's own. `store` (`JQSCHED_STORE`) is the folder
    of its store, which need not be named: the spool keeps a note of it. Another one is refused with the first read.
    Raises: FileNotFoundError where there is no such directory, NotADirectoryError.

    In asyncio: `async with Handle() as handle`, `await` a future, `async for` over a stream. The loop waits on the
    handle's own epoll descriptor, so there is no thread; a portion of the store is read on the loop's thread, which
    takes some milliseconds at most. `get`, `poll` and `reactor_run` block, there as elsewhere.
    """

    def __init__(
        self, spool: str | os.PathLike[str] | None = None, *, store: str | os.PathLike[str] | None = None
    ) -> None:
        self._closed = True
        root = os.fspath(spool) if spool is not None else os.environ.get("JQSCHED_SPOOL", "")
        own = user_spool(os.environ, os.geteuid(), os.path.expanduser("~"))
        if not root and spool is None and os.path.isdir(own):
            root = own
        if not root:
            raise FileNotFoundError(errno.ENOENT, _NO_SPOOL)
        if not os.path.isdir(root):
            number = errno.ENOTDIR if os.path.exists(root) else errno.ENOENT
            raise OSError(number, os.strerror(number), root)
        self.spool = os.path.abspath(root)
        folder = os.fspath(store) if store is not None else os.environ.get("JQSCHED_STORE")
        self.reactor = Reactor()
        self._records = Records(self.spool, os.path.abspath(folder) if folder else None)
        self._bell, self._wire = Bell(self.spool, self.reactor), Wire(self.spool, self.reactor)
        self._services = SERVICES
        self._closed = False

    def close(self) -> None:
        """Close the connection and the store; pending futures never become ready.

        In a child of the process that made the handle, nothing that is the parent's is touched.
        """
        if self._closed:
            return
        self._closed = True
        if self.reactor.is_inherited:
            _INHERITED.append(self)
        with nullcontext() if self.reactor.is_inherited else self.reactor.lock:
            self._bell.close()
            self._wire.close()
            if not self.reactor.is_inherited:
                self._records.close()
                self.reactor.close()

    def __del__(self) -> None:
        with suppress(Exception):  # whatever is left when the interpreter ends
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.reactor.attach()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    # -- requests

    def rpc(self, topic: str | bytes, payload: Given = None, nodeid: int = FLUX_NODEID_ANY, flags: int = 0) -> RPC:
        """Send a request; the future is ready when it is answered. Raises OSError EINVAL for an invalid request."""
        return RPC(self, topic, payload, nodeid, flags)

    def ask(self, topic: str, payload: Payload | None, *, streaming: bool) -> Channel:
        """Send a request and return the channel of its answers. `rpc` returns a future instead."""
        with self.reactor.lock:
            return self._ask(topic, payload, streaming=streaming)

    def _ask(self, topic: str, payload: Payload | None, *, streaming: bool) -> Channel:
        if self._closed:
            raise OSError(errno.EBADF, "the handle is closed")
        service = self._services.get(topic)
        if service is None:
            return self._wire.ask(topic, payload, streaming=streaming)
        return LocalChannel(service, Call(payload, streaming, self._records), self._bell, self.reactor)

    # -- what Flux's handles know of their instance

    def attr_get(self, name: str) -> str:
        """Get an attribute of the instance: `rank`, `size`, `instance-level`, `hostlist`, `local-uri`, `version`.

        Raises FileNotFoundError for an unknown attribute.
        """
        known = {
            "rank": "0",
            "size": "1",
            "instance-level": "0",
            "hostlist": os.uname().nodename,
            "local-uri": f"local://{self.spool}/{FILE_NAME}",
            "version": jqsched.__version__,
        }
        if name not in known:
            raise FileNotFoundError(errno.ENOENT, f"there is no attribute {name!r}; there are {', '.join(known)}")
        return known[name]

    def get_rank(self) -> int:
        """Return the rank of the only node: 0."""
        return 0

    def log(self, level: int, fstring: str) -> None:
        """Log a line, with a level of `syslog`, by Python's logger `jqsched`: the scheduler keeps no log of clients."""
        names = (logging.CRITICAL,) * 3 + (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)
        if not 0 <= level < len(names):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        logging.getLogger("jqsched").log(names[level], "%s", fstring)

    def conf_get(self, key: str | None = None, default: object = None) -> object:
        """Get an entry of `jqsched.toml` by its dotted key, `default` where there is none; without a key, all of it."""
        try:
            with open(f"{self.spool}/{CONFIG_NAME}", "rb") as file:
                found: object = tomllib.load(file)
        except FileNotFoundError:
            found = {}
        for part in key.split(".") if key else ():
            if not isinstance(found, dict) or part not in found:
                return default
            found = found[part]
        return found

    def timer_watcher_create(
        self, after: float, callback: Callable[..., object], repeat: float = 0.0, args: object = None
    ) -> TimerWatcher:
        """Make a watcher that calls `callback(handle, watcher, revents, args)` after a time; `start` it."""
        return TimerWatcher(self, after, callback, repeat, args)

    def signal_watcher_create(self, signum: int, callback: Callable[..., object], args: object = None) -> SignalWatcher:
        """Make a watcher that calls `callback` when the process receives a signal; `start` it."""
        return SignalWatcher(self, signum, callback, args)

    def fd_watcher_create(
        self, fd_int: int, events: int, callback: Callable[..., object], args: object = None
    ) -> FDWatcher:
        """Make a watcher that calls when a descriptor can be read (`events` 1) or written (2); `start` it."""
        return FDWatcher(self, fd_int, events, callback, args)

    # -- the reactor

    def get_reactor(self) -> Reactor:
        """Return the reactor, which runs the callbacks."""
        return self.reactor

    def reactor_run(self, reactor: Reactor | None = None, flags: int = 0) -> int:
        """Run callbacks until no future is pending or `reactor_stop` is called; return how many are still pending.

        `flags`: FLUX_REACTOR_ONCE returns after a callback ran; FLUX_REACTOR_NOWAIT runs only those that are ready now.
        An exception of a callback ends the run and is raised here. Raises KeyboardInterrupt on Ctrl-C or `interrupt`.
        """
        once, nowait = bool(flags & FLUX_REACTOR_ONCE), bool(flags & FLUX_REACTOR_NOWAIT)
        return (reactor or self.reactor).run(once=once, nowait=nowait)

    def reactor_stop(self, reactor: Reactor | None = None) -> None:
        """Let `reactor_run` return; from a callback, a signal handler or another thread."""
        (reactor or self.reactor).stop()

    def reactor_interrupt(self, *_: object) -> None:
        """Let `reactor_run` raise KeyboardInterrupt; fit for `signal.signal` and as a callback."""
        self.reactor.interrupt()
