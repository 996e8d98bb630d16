"""The environment of a user's login, without the login: what the environment of a job is made from.

In: the user database, and the system's language. Standard library only (see `wire`).
"""

import os
import pwd

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def own_environment() -> dict[str, str]:
    """Make what the environment of our own user's jobs is made from."""
    try:
        return environment_of(pwd.getpwuid(os.geteuid()))
    except KeyError:  # a uid without a name, as in containers
        return _login(str(os.geteuid()), "/", "")


def environment_of(user: pwd.struct_passwd) -> dict[str, str]:
    """Make what the environment of this user's jobs is made from."""
    return _login(user.pw_name, user.pw_dir, user.pw_shell)


def _login(name: str, home: str, shell: str) -> dict[str, str]:
    """Make a login's environment, without the login."""
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
