"""The part of the caller's environment that `submit` writes into a job.

In: the caller's variables and the options `--env`, `--env-all` and `--env-none`. Out: the job's `env`, and the names
that were left out because they look like secrets or are not text, so that the user can be told. Pure: it reads no
environment of its own. A wrong `--env` raises Failure.

Rule: what looks like a secret goes into a job only if it is named, for the spool's store keeps it for as long as the
job, and every backup of the store with it.
"""

import enum
import re
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from jqsched.cli.failure import USAGE, Failure
from jqsched.core.jobspec.values import show


class Capture(enum.Enum):
    """How much is captured without being named."""

    DEFAULT = "what finds programs, libraries and the language"
    ALL = "everything but the session's"
    NONE = "nothing"


@frozen
class Environment:
    """A job's variables, and the names of those that were left out."""

    variables: dict[str, str]
    secrets: tuple[str, ...]
    not_text: tuple[str, ...]


# What `python` and every other program that the shell finds needs in order to be found, and to be the same one.
_DEFAULT = re.compile(r"PATH|VIRTUAL_ENV|CONDA_.*|PYTHONPATH|LD_LIBRARY_PATH|LANG|LC_.*", re.DOTALL)

# What describes the login, the terminal, the desktop, or the unit from which `submit` is called. It is wrong, or gone,
# by the time that the job runs. The same list stands in docs/reference/commands.md.
SESSION_NAMES = frozenset(
    (
        *("_", "COLORTERM", "COLUMNS", "DBUS_SESSION_BUS_ADDRESS", "DESKTOP_STARTUP_ID", "DISPLAY"),
        *("GPG_AGENT_INFO", "GPG_TTY", "INVOCATION_ID", "JOURNAL_STREAM", "LINES", "MAIL", "MAINPID"),
        *("MANAGERPID", "NOTIFY_SOCKET", "OLDPWD", "PWD", "SESSION_MANAGER", "SHLVL", "STY"),
        *("SYSTEMD_EXEC_PID", "TERM", "TERMCAP", "TMUX", "TMUX_PANE", "VTE_VERSION", "WAYLAND_DISPLAY"),
        *("WINDOW", "WINDOWID", "WT_SESSION", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_SEAT", "XDG_VTNR"),
    )
)
SESSION_PREFIXES = ("JQSCHED_", "LISTEN_", "SSH_", "SUDO_", "TERM_", "WATCHDOG_", "XDG_SESSION_")

_SECRET = re.compile(
    r"token|secret|passw|passphrase|credential|cookie|(?:api|access|private|secret)key"
    r"|(?:^|[_.-])(?:auth|keys?|pass|pwd|pat)(?:$|[_.-])",
    re.IGNORECASE,
)


def environment(caller: Mapping[str, str], capture: Capture, named: Sequence[str]) -> Environment:
    """Return the variables of a job that is submitted with these options; the last `--env` of a name holds."""
    explicit = dict(_named(word, caller) for word in named)
    captured = sorted(name for name in caller if _IS_CAPTURED[capture](name) and name and name not in explicit)
    secrets = tuple(filter(_SECRET.search, captured))
    not_text = tuple(name for name in captured if name not in secrets and not _is_text(name + caller[name]))
    left_out = {*secrets, *not_text}
    variables = {name: caller[name] for name in captured if name not in left_out}
    return Environment(variables | explicit, secrets, not_text)


def _is_of_session(name: str) -> bool:
    return name in SESSION_NAMES or name.startswith(SESSION_PREFIXES)


_IS_CAPTURED: dict[Capture, Callable[[str], bool]] = {
    Capture.DEFAULT: lambda name: _DEFAULT.fullmatch(name) is not None,
    Capture.ALL: lambda name: not _is_of_session(name),
    Capture.NONE: lambda _: False,
}


def _named(word: str, caller: Mapping[str, str]) -> tuple[str, str]:
    """Read NAME=VALUE, or NAME for a variable of the caller's."""
    name, equals, value = word.partition("=")
    if not name:
        raise Failure(f"--env {show(word)}: must be NAME=VALUE, or the NAME of a variable that is set here", USAGE)
    if equals:
        return name, value
    if name not in caller:
        raise Failure(f"--env {show(word)}: is not set here; --env NAME=VALUE sets it for the job", USAGE)
    return name, caller[name]


def _is_text(value: str) -> bool:
    """Whether it can be written in a job file: the system's variables are bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
