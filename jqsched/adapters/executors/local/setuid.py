"""Start a task in a forked child: change to its user where that is another one, and only then open what it names.

Rule: as root the child does what needs root (session, groups, ids) and nothing else: folder, command and output are
looked up and opened as the user, so that nothing is reached which that user could not reach. The executor does not wait
for it either: a folder may hang, so the child says through a pipe (see `starting`) what it is doing, and why it could
not start. It does not outlive its parent before it is the task: until then no other process could tell how it ends.
Standard library only (see `wire`).

The child is a copy of this process until exec. The kernel lets no process of the user look into it: by the change of
its ids it is no longer dumpable (prctl(2), PR_SET_DUMPABLE).
"""

import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial

from jqsched.adapters.executors.local import attributes, starting
from jqsched.adapters.executors.local.starting import NotYet, Say

_UNDER_WAY = b"."
_NOT_THERE = "/proc/self/not-there"
_ROOM_S, _ROOM_MOST_S = 0.2, 5.0  # how often a child that waits looks whether its user may have one more process

# Looks up and opens what the task needs, and execs: returns only by raising. Called as the user (None: our own), with
# what it says each step by.
Begin = Callable[[pwd.struct_passwd | None, Say], None]
# What is said of a failure: the wait status, and the text.
Explain = Callable[[BaseException], tuple[int, str]]


def fork_as(
    userid: int | None, begin: Begin, explain: Explain, reset: Iterable[int], *, waits: bool = False
) -> tuple[int, int]:
    """Fork a child that becomes this user (None: stays ours) and begins. `waits`: also for room for a process of this
    user; else that it is lacking is a failure of the kind NotYet.

    Returns its pid and a descriptor for `starting.Child`. By then the child leads its session and ignores no
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
        _be(userid, begin, explain, reset, speaking, parent, waits=waits)
    os.close(speaking)
    os.read(listening, 1)  # no call before this byte can block
    os.set_blocking(listening, False)
    return pid, listening


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


def _be(
    userid: int | None,
    begin: Begin,
    explain: Explain,
    reset: Iterable[int],
    speaking: int,
    parent: int,
    *,
    waits: bool,
) -> None:
    """Run the child; never returns."""
    try:
        os.setsid()
        for signum in reset:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.write(speaking, _UNDER_WAY)
        say = partial(starting.say_step, speaking)
        user = None
        if userid is not None:
            say(f"look up user {userid}")
            user = _look_up(userid)
            become(user)
        attributes.die_with_parent()  # not earlier: a change of user ends it
        if os.getppid() != parent:
            os._exit(1)
        if user is not None:
            _find_room(user, say, waits=waits)
        os.umask(0o022)
        begin(user, say)
    except BaseException as failure:  # a child that went on would be a second executor
        starting.say_failure(speaking, *explain(failure), is_later=isinstance(failure, NotYet))
    finally:
        os._exit(1)


def _find_room(user: pwd.struct_passwd, say: Say, *, waits: bool) -> None:
    """See that the user may have this process: RLIMIT_NPROC, which setresuid(2) puts off until the next execve(2).

    That looks at the limit before it looks for the program, and not again once there was room. So nothing that the job
    names has been touched yet.
    """
    pause_s = _ROOM_S
    while True:
        try:
            os.execve(_NOT_THERE, ["-"], {})  # noqa: S606  # fails in any case
        except FileNotFoundError:
            return
        except BlockingIOError:
            lacking = f"user {user.pw_name} may have no more processes (RLIMIT_NPROC)"
            if not waits:
                raise NotYet(lacking) from None
            say(f"wait: {lacking}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _ROOM_MOST_S)


def _look_up(userid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(userid)
    except KeyError:
        raise LookupError(f"this system does not know user {userid}") from None
