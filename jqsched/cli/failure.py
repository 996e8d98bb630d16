"""How a command ends badly: one line on stderr that says what, where and what to do, and an exit code.

Rule: whatever goes wrong becomes a `Failure` here; no user sees a traceback, and nothing fails in silence.
"""

import errno
import sys
from collections.abc import Sequence

OK, INSIDE, USAGE, INVALID, NO_JOB, NOT_NOW, NO_SCHEDULER, IN_USE = 0, 1, 2, 3, 4, 5, 6, 8
INTERRUPTED = 130

# `wait` ends with the job's status, so its own failures are where no status is expected (sysexits.h)
WAIT_TIMEOUT, _WAIT_INSIDE = 75, 70
_OF_WAIT = {USAGE: 64, NO_JOB: 66, NO_SCHEDULER: 69, WAIT_TIMEOUT: WAIT_TIMEOUT}

_BY_ERRNO = {
    errno.ENOENT: NO_JOB,
    errno.EBUSY: NOT_NOW,
    errno.EALREADY: NOT_NOW,
    errno.EHOSTDOWN: NO_SCHEDULER,
    errno.ENOTCONN: NO_SCHEDULER,
}


class Failure(Exception):
    """The end of a command: what the user is told, one line or several, and the exit code."""

    def __init__(self, text: str | Sequence[str], code: int = INSIDE) -> None:
        self.lines = (text,) if isinstance(text, str) else tuple(text)
        super().__init__("\n".join(self.lines))
        self.code = code


def printable(text: str) -> str:
    """A text in which nothing acts on a terminal: control and other unprintable characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def tell(*lines: str) -> None:
    """Say something to the user on stderr, each line with our name before it; a line break in one is escaped."""
    try:
        sys.stderr.write("".join(f"jqsched: {printable(line)}\n" for line in lines))
        sys.stderr.flush()
    except (OSError, ValueError):  # stderr is closed or full: no reader is left
        return


def refusal(error: OSError, doing: str, invalid: int = INVALID) -> Failure:
    """What the scheduler answered; EINVAL is `invalid`."""
    code = invalid if error.errno == errno.EINVAL else _BY_ERRNO.get(error.errno or 0, INSIDE)
    if isinstance(error, TimeoutError):
        return Failure(f"{doing}: the scheduler does not answer; see what it does, or try again")
    text = error.strerror or str(error)
    if code == NO_SCHEDULER:
        text += " (start one with `jqsched run`)"
    return Failure([f"{doing}: {line}" for line in text.splitlines()], code)


def of_wait(failure: Failure) -> Failure:
    """The same failure with the exit code that `wait` has for it."""
    return Failure(failure.lines, _OF_WAIT.get(failure.code, _WAIT_INSIDE))


def explained(error: Exception) -> Failure:
    """Make a failure of anything that a command let through."""
    if isinstance(error, Failure):
        return error
    named = {"SpoolInUse": IN_USE, "StoreRefused": INSIDE, "SpoolRefused": INSIDE, "PortError": INSIDE}
    kind = type(error).__name__  # by name: to import these would cost each command what only few need
    if kind in named:
        return Failure(str(error), named[kind])
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        code = NO_SCHEDULER if kind == "NoScheduler" else INSIDE
        return Failure(f"{where}{error.strerror or error}", code)
    return Failure(f"internal error: {kind}: {error} (JQSCHED_DEBUG=1 shows where; please report it)")
