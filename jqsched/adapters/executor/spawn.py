"""How an order becomes processes: environment, command lookup, folder, output files, posix_spawn.

Rule: a process gets exactly what is documented and nothing else: no descriptor but 0, 1 and 2, no signal ignored or
blocked, no variable of the scheduler's environment. Standard library only (see `wire`).
"""

import errno
import os
import pwd
import signal
import stat

from jqsched.adapters.executor.wire import Key

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_STARTED = 127 << 8, 126 << 8
_LATER = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Order:
    """The order to run one attempt, as it came over the wire; `error` None means together with `output`."""

    __slots__ = ("command", "cores", "cwd", "env", "error", "key", "limit_us", "name", "output", "tasks")

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
    ) -> None:
        self.key: Key = (id_, attempt)
        self.command, self.name, self.cwd, self.env = command, name, cwd, env
        self.cores, self.tasks, self.limit_us = cores, tasks, limit_us
        self.output, self.error = output, error


class NotNow(Exception):
    """The machine has no room for another process or descriptor at the moment; nothing was started."""


class StartFailed(Exception):
    """It cannot be started, now or later; `status` is what it ends with."""

    def __init__(self, text: str, status: int = NOT_STARTED) -> None:
        super().__init__(text)
        self.status = status


class Launcher:
    """Starts orders for one spool, with the environment of the user whom this process runs as."""

    def __init__(self, spool: str) -> None:
        self._base = _user_environment()
        self._spool = spool
        self._host = os.uname().nodename
        # What this process ignores, itself or by inheritance (nohup), a job does not.
        self._reset = [s for s in signal.valid_signals() if signal.getsignal(s) is signal.SIG_IGN]

    def launch(self, order: Order, pids: list[int]) -> None:
        """Start all tasks of the order and append their pids. Raises NotNow when none was, StartFailed at any."""
        try:
            self._launch(order, pids)
        except StartFailed as failure:
            raise self._say(pids, str(failure), failure.status) from failure
        except OSError as failure:
            if failure.errno in _LATER and not pids:
                raise NotNow from failure
            raise self._say(pids, _describe(failure, order.command[0])) from failure
        except ValueError as failure:  # a NUL or a lone surrogate where the kernel takes none
            raise self._say(pids, f"{order.command[0]}: {failure}") from failure

    def _say(self, pids: list[int], text: str, status: int = NOT_STARTED) -> StartFailed:
        return StartFailed(f"task {len(pids)} (host {self._host}): start failed: {text}", status)

    def _launch(self, order: Order, pids: list[int]) -> None:
        fds: list[int] = []
        os.chdir(order.cwd)  # always anew: a folder that was replaced since is another folder
        try:
            fds.append(_open_output(order.output))
            if order.error is not None:
                fds.append(_open_output(order.error))
            env = self._environment(order)
            path = _find(order.command[0], env["PATH"])
            for rank in range(order.tasks):
                if order.tasks > 1:
                    env["JQSCHED_TASK_RANK"] = str(rank)
                pids.append(self._spawn(path, order.command, env, fds[0], fds[-1]))
        finally:
            for fd in fds:
                os.close(fd)
            os.chdir("/")  # this process keeps no folder from being unmounted

    def _spawn(self, path: str, command: list[str], env: dict[str, str], out: int, err: int) -> int:
        # Descriptor 0 is /dev/null here too, and stays; all others are close-on-exec.
        redirect = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)]
        try:
            return os.posix_spawn(
                path, command, env, file_actions=redirect, setsid=True, setsigmask=(), setsigdef=self._reset
            )
        except FileNotFoundError as failure:
            raise StartFailed(f"{command[0]}: {os.strerror(errno.ENOENT)}", NOT_FOUND) from failure
        except OSError as failure:
            failure.filename = command[0]  # as it was asked for, not where it was found
            raise

    def _environment(self, order: Order) -> dict[str, str]:
        env = self._base | dict(order.env)
        env["JQSCHED_JOB_ID"], env["JQSCHED_ATTEMPT"] = str(order.key[0]), str(order.key[1])
        env["JQSCHED_NAME"], env["JQSCHED_SPOOL"] = order.name, self._spool
        return env


def _describe(failure: OSError, command: str) -> str:
    return f"{failure.filename or command}: {os.strerror(failure.errno or 0)}"


def _user_environment() -> dict[str, str]:
    """Make what a job's environment is made from: a login's, without the login."""
    try:
        user = pwd.getpwuid(os.geteuid())
        name, home, shell = user.pw_name, user.pw_dir, user.pw_shell
    except KeyError:  # a uid without a name, as in containers
        name, home, shell = str(os.geteuid()), "/", ""
    return {
        "PATH": PATH,
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "SHELL": shell or "/bin/sh",
        "LANG": _system_language(),
    }


def _system_language() -> str:
    try:
        with open("/etc/default/locale", encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError):
        return "C.UTF-8"
    values = [line.removeprefix("LANG=").strip("\"'") for line in lines if line.startswith("LANG=")]
    return values[-1] if values and values[-1] else "C.UTF-8"


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


def _open_output(path: str) -> int:
    """Open an output file to append. A FIFO, a socket, a disk or a link is none."""
    try:
        fd = os.open(path, _APPEND, 0o600)
    except OSError as failure:
        if failure.errno in (errno.ENXIO, errno.EISDIR):  # a FIFO that nobody reads, a socket; a folder
            raise StartFailed(f"{path}: not a regular file") from failure
        raise
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
            raise StartFailed(f"{path}: not a regular file")
        os.set_blocking(fd, True)
    except BaseException:  # whatever it was, the descriptor is not left behind
        os.close(fd)
        raise
    return fd
