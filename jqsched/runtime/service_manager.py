"""Tell systemd when the scheduler serves, when it stops, and that its loop still turns.

In: the environment that systemd gives a unit of Type=notify. Out: datagrams to its socket; without one, nothing. What
cannot be sent is dropped: a service manager that does not listen must not stop a scheduler. Source: sd_notify(3).
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress


class ServiceManager:
    """The service manager that started this process, if there is one that listens.

    `due_us`: the monotonic time at which `keep_alive` has something to say; None: never.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        # Taken out of the environment: they are for this process alone.
        path = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        is_watched = bool(path) and watchdog_us.isdecimal() and pid in ("", str(os.getpid()))
        self._every_us = int(watchdog_us) // 3 if is_watched else 0
        self.due_us = 0 if self._every_us else None
        self._is_stopping = False

    def ready(self) -> None:
        """Say that the scheduler serves."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Say that it ends, once."""
        if not self._is_stopping:
            self._is_stopping = True
            self._tell("STOPPING=1")

    def keep_alive(self, now_us: int) -> None:
        """Say that the loop turns, as often as the watchdog asks for."""
        if self.due_us is not None and now_us >= self.due_us:
            self.due_us = now_us + self._every_us
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode("ascii"), self._address)
