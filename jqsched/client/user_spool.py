"""The spool that is used where none is named: a user's own, or that of the machine for root.

In: the environment, a user and its home. Out: a path, whether there is such a directory or not. Pure.
Source: XDG Base Directory Specification (a path that is not absolute is to be ignored).
"""

from collections.abc import Mapping
from os.path import isabs

OF_ROOT = "/var/spool/jqsched"


def user_spool(environment: Mapping[str, str], userid: int, home: str) -> str:
    """Return the path of a user's spool."""
    if userid == 0:
        return OF_ROOT
    state = environment.get("XDG_STATE_HOME", "")
    return f"{state if isabs(state) else f'{home}/.local/state'}/jqsched/spool"
