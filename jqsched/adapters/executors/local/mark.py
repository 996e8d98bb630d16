"""The mark that all processes of an attempt carry and cannot lose: a resource limit that the kernel does not use.

RLIMIT_LOCKS has limited nothing since Linux 2.4.25 (getrlimit(2)), and a process has it from its parent through fork,
exec, new sessions, an emptied environment and closed descriptors. The hard limit names the spool, the soft one the
attempt. A process without privileges can lower both and raise neither; one that knows nothing of them keeps them.

Rule: `put` changes limits of this process only; nothing else is remembered. Where no mark can be put (the limit was
lowered before, or the call is forbidden), the marks in the environment remain. Standard library only (see `wire`).
"""

import os
import resource

from jqsched.adapters.executors.local.wire import Key

_LOCKS = 10  # RLIMIT_LOCKS; Python has no name for it
_SPOOL_BITS = 47
_LEVELS = 1 << 13  # so many schedulers may run as jobs of each other
_SOFT_END = _LEVELS << _SPOOL_BITS  # soft limits are below it, hard ones from it up to twice as much
_ATTEMPT_BITS = 20
_ODD = 0x9E3779B97F4A7C15  # scatters device numbers, so that the inodes of two devices do not meet


class Marker:
    """Marks what this process starts as parts of attempts of one spool, and recognises such marks."""

    def __init__(self, spool_fd: int) -> None:
        here = os.fstat(spool_fd)
        self._spool = (here.st_dev * _ODD + here.st_ino) % (1 << _SPOOL_BITS)  # a folder that is renamed keeps it
        self._hard = _own_hard_limit(self._spool)

    def put(self, key: Key, *, ranked: bool) -> None:
        """Have the processes that are started from now on carry the mark of this attempt; `ranked`: as one of several
        tasks."""
        self._set(_soft_limit(key, ranked))

    def clear(self) -> None:
        """Remove the mark of an attempt from this process, if it was started by one."""
        self._set(0)

    def _set(self, soft: int) -> None:
        if self._hard:
            try:
                resource.setrlimit(_LOCKS, (soft, self._hard))
            except (OSError, ValueError):  # forbidden (seccomp): the same the next time
                self._hard = 0

    def look(self, pid: int) -> tuple[Key, bool] | None:
        """Return which attempt a process or zombie is marked as part of, and whether it is ranked; None: it carries no
        mark of this spool, or is gone, or another user's."""
        try:
            soft, hard = resource.prlimit(pid, _LOCKS)
        except (OSError, ValueError):
            return None
        if not (hard >= _SOFT_END > soft > 0 and hard % (1 << _SPOOL_BITS) == self._spool):
            return None
        id_, attempt = divmod(soft >> 1, 1 << _ATTEMPT_BITS)
        return (id_, attempt), bool(soft & 1)


def _soft_limit(key: Key, ranked: bool) -> int:
    """Number an attempt; 0, which is no mark, where the numbers are too large for it."""
    id_, attempt = key
    number = (id_ << _ATTEMPT_BITS | attempt) << 1 | ranked
    return number if attempt < 1 << _ATTEMPT_BITS and number < _SOFT_END else 0


def _own_hard_limit(spool: int) -> int:
    """Return a hard limit that names the spool, below the one there is; 0: none can be had.

    There is one already where this scheduler runs as a job of another one: what it starts is to have its own.
    """
    _, hard = resource.getrlimit(_LOCKS)
    level = 2 * _LEVELS - 1 if hard == resource.RLIM_INFINITY else (hard >> _SPOOL_BITS) - 1
    return level << _SPOOL_BITS | spool if _LEVELS <= level < 2 * _LEVELS else 0
