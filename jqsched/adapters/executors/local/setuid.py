"""Start a task in a forked child: change to its user where that is another one, and only then open what it names.

Rule: as root the child does what needs root (session, groups, ids) and nothing else: folder, command and output are
looked up and opened as the user, so that nothing is reached which that user could not reach. The executor does not wait
for it either: a folder may hang, so the child says through a pipe why it could not start. It does not outlive its
parent before it is the task: until then no other process could tell how it ends. Standard library only (see `wire`).

The child is a copy of this process until exec. The kernel lets no process of the user look into it: by the change of
its ids it is no longer dumpable (prctl(2), PR_SET_DUMPABLE).
"""

import os
import pwd
import signal
from collections.abc import Callable, Iterable

from jqsched.adapters.executors.local import attributes

_UNDER_WAY = b"."
_TEXT_BYTES_MAX = 4000  # less than PIPE_BUF: written at once, or not at all

# Looks up and opens what the task needs, and execs: returns only by raising. Called as the user (None: our own).
Begin = Callable[[pwd.struct_passwd | None], None]
# What is said of a failure: the wait status, and the text.
Explain = Callable[[BaseException], tuple[int, str]]


def fork_as(userid: int | None, begin: Begin, explain: Explain, reset: Iterable[int]) -> tuple[int, int]:
    """Fork a child that becomes this user (None: stays ours) and begins.

    Returns its pid and a descriptor for `complaint`. By then the child leads its session and ignores no
    signal. OSError: there is no child.
    """
    listening, speaking = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(listening)
        os.close(speaking)
        raise
    if pid == 0:
        _be(userid, begin, explain, reset, speaking, parent)
    os.close(speaking)
    os.read(listening, 1)  # no call before this byte can block
    os.set_blocking(listening, False)
    return pid, listening


def complaint(fd: int) -> tuple[int, str] | None:
    """Say why a child that has ended did not start: wait status and text; None: it did. Closes the descriptor."""
    with open(fd, "rb", buffering=0) as pipe:
        said = pipe.read(_TEXT_BYTES_MAX) or b""
    status, _, text = said.decode(errors="backslashreplace").partition(" ")
    return (int(status), text) if status else None


def become(user: pwd.struct_passwd) -> None:
    """Change to this user for good, with their groups and none of this process's. Raises OSError where that failed."""
    attributes.reset()
    ids, group_ids = (user.pw_uid,) * 3, (user.pw_gid,) * 3
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    os.setgroups(groups)
    os.setresgid(*group_ids)
    os.setresuid(*ids)
    if os.getresuid() != ids or os.getresgid() != group_ids or not set(os.getgroups()) <= set(groups):
        raise PermissionError(f"cannot become the user {user.pw_name}")
    if user.pw_uid and _can_go_back():
        raise PermissionError(f"user {user.pw_name} would still be root")
    if user.pw_uid:
        attributes.drop()


def _can_go_back() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def _be(userid: int | None, begin: Begin, explain: Explain, reset: Iterable[int], speaking: int, parent: int) -> None:
    """Run the child; never returns."""
    try:
        os.setsid()
        for signum in reset:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.write(speaking, _UNDER_WAY)
        user = None if userid is None else _look_up(userid)
        if user is not None:
            become(user)
        attributes.die_with_parent()  # not earlier: a change of user ends it
        if os.getppid() != parent:
            os._exit(1)
        os.umask(0o022)
        begin(user)
    except BaseException as failure:  # a child that went on would be a second executor
        status, text = explain(failure)
        os.write(speaking, f"{status} {text}".encode(errors="backslashreplace")[:_TEXT_BYTES_MAX])
    finally:
        os._exit(1)


def _look_up(userid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(userid)
    except KeyError:
        raise LookupError(f"this system does not know user {userid}") from None
