"""A terminal as a full screen: keys in, frames out, and the terminal as it was when all is over.

Rule: whatever ends us but SIGKILL, the terminal is given back. It knows nothing of what it shows.
"""

import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Callable
from selectors import EVENT_READ
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from jqsched.client.reactor import Reactor

Draw = Callable[[int, int], Text]

_READ_BYTES = 1024
_KEY = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_NAMES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[5~": "page up", b"\x1b[6~": "page down",
    b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[F": "end", b"\x1bOF": "end", b"\x1b[4~": "end",
    b"\r": "enter", b"\n": "enter", b"\x1b": "escape",
}  # fmt: skip
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_HEARD = (*_ENDING, signal.SIGWINCH, signal.SIGTSTP)


def keys_of(data: bytes) -> list[str]:
    """The keys that were pressed, by name; those that mean nothing here are `?`."""
    return [_NAMES.get(word) or (chr(word[0]) if len(word) == 1 else "?") for word in _KEY.findall(data)]


class Terminal:
    """stdin and stdout, turned by a reactor. `is_over`: the screen is no longer wanted."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._console = Console(file=sys.stdout, highlight=False)
        self._keys: list[str] = []
        self._signals: list[int] = []
        self._shown: tuple[Text, os.terminal_size] | None = None
        self._handlers: dict[int, signal._HANDLER] = {}
        self._ended_by = 0
        self.is_over = False

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._in)
        self._handlers = {number: signal.signal(number, self._heard) for number in _HEARD}
        self._reactor.register(self._in, EVENT_READ, self._read)
        self._take_over()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._give_back()
        except (OSError, termios.error):  # it is gone, as we are
            self.is_over = True
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._ended_by:
            signal.raise_signal(self._ended_by)

    def _take_over(self) -> None:
        tty.setcbreak(self._in)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        self._shown = None

    def _give_back(self) -> None:
        termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)

    # -- out

    def draw(self, drawn: Draw) -> None:
        """Show what `drawn` makes for this width and height; nothing is written where that is there already."""
        size = os.get_terminal_size(self._out)
        text = drawn(size.columns, size.lines)
        if (text, size) != self._shown:
            self._console.size = (size.columns, size.lines)
            self._console.update_screen(text)
            self._shown = text, size

    # -- in

    def has_news(self) -> bool:
        """Whether a key was pressed, or something became of the terminal."""
        return bool(self._keys or self._signals or self.is_over)

    def keys(self) -> list[str]:
        """The keys since the last time; a stop and an end by signal are seen to here."""
        numbers, self._signals = self._signals, []
        for number in numbers:
            if number in _ENDING:
                self.is_over, self._ended_by = True, number
            elif number == signal.SIGTSTP:
                self._give_back()
                signal.raise_signal(signal.SIGSTOP)
                self._take_over()
        pressed, self._keys = self._keys, []
        return pressed

    def _read(self, _: int) -> None:
        try:
            data = os.read(self._in, _READ_BYTES)
        except OSError:  # hung up
            data = b""
        if not data:
            self._reactor.unregister(self._in)
            self.is_over = True
        self._keys += keys_of(data)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)
        self._reactor.wake()
