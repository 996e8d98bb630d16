"""Process attributes that fork and exec pass on, and that another user's job must not inherit from the executor.

In: the executor's child on its way to become a job. Out: the same process with the kernel's defaults, as
docs/reference/job-file.md lists them. `reset` needs root and comes before the change of user, `drop` comes after it.
Both raise OSError, so that a job that would inherit something does not start. Standard library only (see `wire`).
"""

import ctypes
import errno
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS = 1, 28
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
_IOPRIO_WHO_PROCESS = 1

# keyctl and ioprio_set have no function in libc, and a number for each architecture: asm/unistd.h
_NUMBERS = {
    "x86_64": (250, 251), "aarch64": (219, 30), "riscv64": (219, 30), "loongarch64": (219, 30), "ppc64le": (271, 273),
    "s390x": (280, 282), "i686": (288, 289), "armv7l": (311, 314),
}  # fmt: skip
_KEYCTL, _IOPRIO_SET = _NUMBERS.get(os.uname().machine, (-1, -1))  # -1: ENOSYS
_libc = ctypes.CDLL(None, use_errno=True)


def reset() -> None:
    """Set priorities, the OOM score and securebits to their defaults. Source: capabilities(7), proc(5)."""
    _to_default("oom_score_adj", _oom_score_adj, _reset_oom_score_adj)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    _to_default("nice", lambda: os.getpriority(os.PRIO_PROCESS, 0), lambda: os.setpriority(os.PRIO_PROCESS, 0, 0))
    _call("ioprio_set", _IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, 0)
    _check("prctl(PR_SET_SECUREBITS)", _libc.prctl(_PR_SET_SECUREBITS, 0, 0, 0, 0))


def drop() -> None:
    """Give up every capability, and the session keyring for a new one without a name. Source: keyrings(7)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check("capset", _libc.capset(header, (ctypes.c_uint32 * 6)()))
    _call("leaving the session keyring", _KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None)


def die_with_parent(*, die: bool = True) -> None:
    """Have this process killed when its parent dies, or no longer. Source: prctl(2)."""
    _check("prctl(PR_SET_PDEATHSIG)", _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if die else 0, 0, 0, 0))


def _to_default(name: str, value: Callable[[], int], to_zero: Callable[[], None]) -> None:
    """Set a priority to 0. A container may forbid that, which is an error only where the priority is below 0."""
    try:
        to_zero()
    except PermissionError as failure:
        if value() < 0:
            failure.filename = name
            raise


def _oom_score_adj() -> int:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        return int(file.read())


def _reset_oom_score_adj() -> None:
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"0")


def _call(what: str, number: int, *arguments: int | None) -> None:
    """Make a system call. One that this kernel lacks has nothing to reset."""
    try:
        _check(what, _libc.syscall(number, *arguments))
    except OSError as failure:
        if failure.errno != errno.ENOSYS or number < 0:
            raise


def _check(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
