"""System calls of the executor process that Python has no function for, and its socket and log in the spool.

Rule: each function does one thing and keeps no state. Standard library only (see
`wire`).
"""

import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import time

from jqsched.adapters.executors.local.wire import LOG, SOCKET, address
from jqsched.adapters.secure_open import secure_open

_PR_SET_CHILD_SUBREAPER = 36


def child_signal_fd() -> int:
    """Make a descriptor that is readable when a child ends, and become the parent of all orphaned descendants."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    mask = (1 << (signal.SIGCHLD - 1)).to_bytes(128, sys.byteorder)  # a sigset_t
    fd: int = libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return fd


def listen(spool_fd: int) -> socket.socket:
    """Listen in the spool. A socket of that name is a dead executor's, for this process holds the lock."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=spool_fd)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    umask = os.umask(0o177)
    try:
        listener.bind(address(spool_fd))
    finally:
        os.umask(umask)
    listener.listen()
    return listener


def accept(listener: socket.socket) -> socket.socket | None:
    """Take the next connection of our own user, or of root; None when there is none."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:  # no client is there, or it went away again
            return None
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid in (0, os.geteuid()):
            return sock
        sock.close()


def complain(spool_fd: int, text: str) -> None:
    """Write to the log in the spool, which exists only if there ever was trouble."""
    with contextlib.suppress(OSError):  # there is nowhere left to complain
        fd = secure_open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, dir_fd=spool_fd)
        with open(fd, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} executor {os.getpid()}: {text}\n")
