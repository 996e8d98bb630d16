"""Start the processes of an order: environment, command lookup, folder, output files, posix_spawn.

Where they are another user's, or where access to what the order names may hang, `setuid` starts them in a child.
Rule: nothing that one order names keeps others waiting, and none of its errors is taken for one of the machine.
posix_spawn is quick (a fork costs a millisecond) and waits for folder, output and command, so it is used where these
cannot hang: no file system is mounted that may, and no process holds a lease. A process gets exactly what is documented
and nothing else: no descriptor but 0, 1 and 2, no signal ignored or blocked, no variable of the scheduler's
environment. Standard library only (see `wire`).
"""

import contextlib
import errno
import os
import pwd
import signal
import stat
import time
from collections.abc import Callable
from functools import partial

from jqsched.adapters.executors.local import attributes, login, setuid, wire
from jqsched.adapters.executors.local.mark import Marker
from jqsched.adapters.executors.local.mounts import Mounts
from jqsched.adapters.executors.local.starting import Child, Say, StartingChildren
from jqsched.adapters.executors.local.wire import Key

NOT_FOUND, NOT_STARTED = 127 << 8, 126 << 8
_RANK = "{rank}"
_LEASE = "another process holds a lease on it and does not give it up"
_LEASE_S = 60.0  # how long a child waits for a lease to end: longer than the kernel's lease-break-time
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Order:
    """The order to run one attempt, as it came over the wire.

    `error` None: together with `output`; where one of them has `{rank}` in it, each task has a file of its own. `input`
    None: /dev/null. `userid` None: as this process's own user. `in_spool`, `error_in_spool`: the file is the default
    one, which its user cannot reach: it is made for them. `separate`: a line is to tell its output from that of the
    attempts before.
    """

    __slots__ = (
        "command", "cores", "cwd", "env", "error", "error_in_spool", "in_spool", "input", "key", "limit_us", "name",
        "output", "separate", "tasks", "userid",
    )  # fmt: skip

    def __init__(
        self,
        id_: int,
        attempt: int,
        command: list[str],
        name: str,
        cwd: str,
        env: list[tuple[str, str]],
        cores: int,
        tasks: int,
        limit_us: int | None,
        output: str,
        error: str | None,
        input_: str | None,
        userid: int | None,
        in_spool: bool,
        error_in_spool: bool,
        separate: bool,
    ) -> None:
        self.key: Key = (id_, attempt)
        self.command, self.name, self.cwd, self.env = command, name, cwd, env
        self.cores, self.tasks, self.limit_us = cores, tasks, limit_us
        self.output, self.error, self.input = output, error, input_
        self.userid, self.in_spool, self.error_in_spool, self.separate = userid, in_spool, error_in_spool, separate

    def paths(self, rank: int) -> tuple[str, str | None]:
        """Return where a task's output and error go."""
        if self.tasks == 1:
            return self.output, self.error
        error = None if self.error is None else self.error.replace(_RANK, str(rank))
        return self.output.replace(_RANK, str(rank)), error

    def begins_output(self, rank: int) -> bool:
        """Return whether a task is the first that writes to its files."""
        return not rank or (_RANK in self.output and (self.error is None or _RANK in self.error))


class NotNow(Exception):
    """The machine has no room for another process or descriptor at the moment; nothing was started."""


class StartFailed(Exception):
    """An attempt that cannot be started; `status` is its end. None: it was not begun, and may be ordered later."""

    def __init__(self, text: str, status: int | None = NOT_STARTED) -> None:
        super().__init__(text)
        self.status = status


class _Leased(Exception):
    """Another process holds a lease on what an order names, so opening it may take long; nothing was started."""


class Launcher:
    """Starts orders for one spool, with the environment of the user that they run as."""

    def __init__(self, spool: str, spool_fd: int, marker: Marker, mounts: Mounts) -> None:
        self._mounts = mounts
        self._base = login.own_environment()
        self.spool, self._spool_fd, self._marker = spool, spool_fd, marker
        self.starting = StartingChildren()
        self._host = os.uname().nodename
        # What this process ignores, itself or by inheritance (nohup), a job does not.
        self._reset = [s for s in signal.valid_signals() if signal.getsignal(s) is signal.SIG_IGN]

    def launch(self, order: Order, pids: list[int]) -> None:
        """Start all tasks of the order and append their pids. Raises NotNow when none was, StartFailed at any."""
        self._marker.put(order.key, ranked=order.tasks > 1)
        try:
            self._launch(order, pids)
        except StartFailed as failure:
            raise StartFailed(self._say(len(pids), str(failure)), failure.status) from failure
        except OSError as failure:
            if failure.errno in wire.NO_ROOM and not pids:
                raise NotNow from failure
            raise StartFailed(self._say(len(pids), _describe(failure, order.command[0]))) from failure
        except ValueError as failure:  # a NUL or a lone surrogate where the kernel takes none
            raise StartFailed(self._say(len(pids), f"{order.command[0]}: {failure}")) from failure

    def failure(self, pid: int, rank: int) -> StartFailed | None:
        """Say why a task that has ended could not be started; None: it was. Once for each pid that is reaped."""
        child = self.starting.remove(pid)
        if child is None or child.failure is None:
            return None
        status, text = child.failure
        return StartFailed(self._say(rank, text), None if child.is_later else status)

    def _say(self, rank: int, text: str) -> str:
        return f"task {rank} (host {self._host}): start failed: {text}"

    def _launch(self, order: Order, pids: list[int]) -> None:
        if order.userid is None and not self._mounts.may_hang:
            try:
                self._launch_here(order, pids)
            except _Leased:
                pass
            else:
                return
        self._launch_in_children(order, pids)

    def _launch_here(self, order: Order, pids: list[int]) -> None:
        fds: list[int] = []
        os.chdir(order.cwd)  # always anew: a folder that was replaced since is another folder
        try:
            path, env = "", self._environment(order, self._base)
            for rank in range(order.tasks):
                self._open_outputs(order, rank, fds)
                if not rank:
                    path = _find(order.command[0], env["PATH"])
                    if "/" in order.command[0]:
                        _look_for_lease(path)
                if order.tasks > 1:
                    env["JQSCHED_TASK_RANK"] = str(rank)
                pids.append(self._spawn(path, order, env, fds))
        finally:
            for fd in fds:
                os.close(fd)
            os.chdir("/")  # this process keeps no folder from being unmounted

    def _open_outputs(self, order: Order, rank: int, fds: list[int]) -> None:
        """Open a task's files, in the place of those of the task before."""
        if rank and _RANK not in order.output and _RANK not in (order.error or ""):
            return
        while fds:
            os.close(fds.pop())
        output, error = order.paths(rank)
        fds.append(_open_default(output, _open_output) if order.in_spool else _open_output(output))
        if error is not None:
            fds.append(_open_output(error))
        if order.separate and order.begins_output(rank):
            _separate(fds, order.key[1])

    def _spawn(self, path: str, order: Order, env: dict[str, str], outputs: list[int]) -> int:
        # Descriptor 0 is /dev/null here too, and stays unless there is an input; all others are close-on-exec.
        command, redirect = order.command, [(os.POSIX_SPAWN_DUP2, outputs[0], 1), (os.POSIX_SPAWN_DUP2, outputs[-1], 2)]
        # Each task reads it from the beginning.
        read_from = None if order.input is None else _open_input(_path_of_input(order))
        if read_from is not None:
            redirect.append((os.POSIX_SPAWN_DUP2, read_from, 0))
        try:
            return os.posix_spawn(
                path, command, env, file_actions=redirect, setsid=True, setsigmask=(), setsigdef=self._reset
            )
        except FileNotFoundError as failure:
            raise StartFailed(f"{command[0]}: {os.strerror(errno.ENOENT)}", NOT_FOUND) from failure
        except OSError as failure:
            failure.filename = command[0]  # as it was asked for, not where it was found
            raise
        finally:
            if read_from is not None:
                os.close(read_from)

    def _launch_in_children(self, order: Order, pids: list[int]) -> None:
        """Start the tasks that have not started in forked children; their errors are reported when they have ended."""
        for rank in range(len(pids), order.tasks):
            out = err = None
            try:
                if order.userid is not None:
                    output, error = order.paths(rank)
                    out = self._open_in_spool(output, order.userid) if order.in_spool else None
                    if error is not None and order.error_in_spool:
                        err = self._open_in_spool(error, order.userid)
                begin = partial(self._begin, order, rank, out, err)
                pid, fd = setuid.fork_as(order.userid, begin, _explain, self._reset, waits=order.tasks > 1)
                pids.append(pid)
                self.starting.add(pid, order.key, Child(fd, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000))
            finally:
                for opened in (out, err):
                    if opened is not None:
                        os.close(opened)

    def _begin(
        self, order: Order, rank: int, out: int | None, err: int | None, user: pwd.struct_passwd | None, say: Say
    ) -> None:
        """Become the task, in the child and as its user. `out`, `err`: files in the spool, which are open already."""
        env = self._environment(order, self._base if user is None else login.environment_of(user))
        if order.tasks > 1:
            env["JQSCHED_TASK_RANK"] = str(rank)
        say(f"chdir {order.cwd}")
        os.chdir(order.cwd)
        output, error = order.paths(rank)
        if out is None:
            patiently = partial(_open_patiently, say=say)
            out = _open_default(output, patiently) if order.in_spool else patiently(output)
        if err is None:
            err = out if error is None else _open_patiently(error, say)
        read_from = None if order.input is None else _open_patiently(_path_of_input(order), say, _open_input)
        if order.separate and order.begins_output(rank):
            _separate([out] if err == out else [out, err], order.key[1])
        say(f"look for {order.command[0]}")
        path = _find(order.command[0], env["PATH"])
        if read_from is not None:
            os.dup2(read_from, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        say(f"execute {path}")
        attributes.die_with_parent(die=False)
        try:
            os.execve(path, order.command, env)  # noqa: S606  # a job is whatever its user says
        except FileNotFoundError as failure:
            raise StartFailed(f"{order.command[0]}: {os.strerror(errno.ENOENT)}", NOT_FOUND) from failure
        except OSError as failure:
            failure.filename = order.command[0]
            raise
        except ValueError as failure:
            raise StartFailed(f"{order.command[0]}: {failure}") from failure

    def _open_in_spool(self, path: str, userid: int) -> int:
        """Make or open the default output file of another user, in a folder that only we write to.

        Raises StartFailed, OSError.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder = os.open("output", flags, dir_fd=self._spool_fd)
        except FileNotFoundError:  # it was removed while the scheduler runs
            os.mkdir("output", 0o700, dir_fd=self._spool_fd)
            folder = os.open("output", flags, dir_fd=self._spool_fd)
        try:
            fd = _open_output(os.path.basename(path), folder)
        except _Leased as failure:
            raise StartFailed(f"{path}: {_LEASE}") from failure
        finally:
            os.close(folder)
        try:
            found = os.fstat(fd)
            if found.st_nlink != 1:
                raise StartFailed(f"{path}: has another name (a hard link)")
            if found.st_uid == os.geteuid() and not found.st_size:  # new, or we died before the next line
                os.fchown(fd, userid, -1)
            elif found.st_uid != userid:
                raise StartFailed(f"{path}: belongs to user {found.st_uid}")
        except BaseException:  # whatever it was, the descriptor is not left behind
            os.close(fd)
            raise
        return fd

    def _environment(self, order: Order, base: dict[str, str]) -> dict[str, str]:
        env = base | dict(order.env)
        env["JQSCHED_JOB_ID"], env["JQSCHED_ATTEMPT"] = str(order.key[0]), str(order.key[1])
        env["JQSCHED_NAME"], env["JQSCHED_SPOOL"] = order.name, self.spool
        return env


def _describe(failure: OSError, command: str) -> str:
    return f"{failure.filename or command}: {os.strerror(failure.errno or 0)}"


def _explain(failure: BaseException) -> tuple[int, str]:
    """Say what kept a task of another user from starting."""
    if isinstance(failure, StartFailed):
        return failure.status or NOT_STARTED, str(failure)
    if isinstance(failure, OSError) and failure.errno:
        return NOT_STARTED, f"{failure.filename or 'becoming its user'}: {os.strerror(failure.errno)}"
    return NOT_STARTED, str(failure)


def _find(command: str, path: str) -> str:
    """Look a command up as execvp does, but in the job's PATH, and from its folder."""
    if "/" in command:
        return command
    forbidden = False
    for folder in path.split(":"):
        candidate = os.path.join(folder, command) if folder else "./" + command
        try:
            if not stat.S_ISREG(os.stat(candidate).st_mode):
                continue
        except PermissionError:
            forbidden = True
        except OSError:
            continue
        else:
            if os.access(candidate, os.X_OK):
                return candidate
            forbidden = True
    if forbidden:
        raise StartFailed(f"{command}: {os.strerror(errno.EACCES)}")
    raise StartFailed(f"{command}: {os.strerror(errno.ENOENT)}", NOT_FOUND)


def _look_for_lease(path: str) -> None:
    """Raise _Leased where to execute a file would wait for a lease on it to end: on one of root's, root alone can."""
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) and found.st_uid:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except BlockingIOError as failure:
        raise _Leased from failure
    except OSError:
        return  # posix_spawn says why


def _open_default(path: str, open_: Callable[[str], int]) -> int:
    """Open an output file in the spool. Its folder is made again where it was removed while the scheduler runs."""
    try:
        return open_(path)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), 0o700)
        return open_(path)


def _open_patiently(path: str, say: Say, open_file: Callable[[str], int] | None = None) -> int:
    """Open an output file (or another) in the child, which may wait for a lease on it to end."""
    end_s = time.monotonic() + _LEASE_S
    say(f"open {path}")
    while True:
        try:
            return (open_file or _open_output)(path)
        except _Leased as failure:
            if time.monotonic() > end_s:
                raise StartFailed(f"{path}: {_LEASE}") from failure
            time.sleep(0.1)


def _path_of_input(order: Order) -> str:
    return os.path.join(order.cwd, order.input or "")


def _open_input(path: str) -> int:
    """Open a file to read it as stdin. It may be behind a link: what may be read through one may be read."""
    try:
        fd = os.open(path, _READ)
    except BlockingIOError as failure:
        raise _Leased from failure
    except OSError as failure:
        if failure.errno == errno.ENXIO:  # a socket
            raise StartFailed(f"{path}: not a regular file") from failure
        raise
    return _regular(fd, path)


def _open_output(path: str, folder: int | None = None) -> int:
    """Open an output file to append. A FIFO, a socket, a disk or a link is none."""
    try:
        fd = os.open(path, _APPEND, 0o600, dir_fd=folder)
    except BlockingIOError as failure:
        raise _Leased from failure
    except OSError as failure:
        if failure.errno in (errno.ENXIO, errno.EISDIR):  # a FIFO without a reader, a socket; a folder
            raise StartFailed(f"{path}: not a regular file") from failure
        if failure.errno == errno.ELOOP and _is_link(path, folder):
            raise StartFailed(f"{path}: is a symbolic link, which an output file must not be") from failure
        raise
    return _regular(fd, path)


def _regular(fd: int, path: str) -> int:
    """Return the descriptor of a file or a character device, blocking again; any other is closed and refused."""
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
            raise StartFailed(f"{path}: not a regular file")
        os.set_blocking(fd, True)
    except BaseException:  # whatever it was, the descriptor is not left behind
        os.close(fd)
        raise
    return fd


def _separate(fds: list[int], attempt: int) -> None:
    """Write a line where the output of an attempt begins behind that of others."""
    for fd in fds:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_size:
            try:
                os.write(fd, b"--- jqsched: attempt %d ---\n" % attempt)
            except OSError:  # a full disk: the attempt is worth more than the line
                continue


def _is_link(path: str, folder: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path, dir_fd=folder).st_mode)
    except OSError:
        return False
