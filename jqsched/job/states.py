"""The names of states and results, both ways: long (`L`), short (`S`), and in lower case (`l`, `s`).

Rule: Flux's functions and forms; the names themselves are the core's. Source: docs/reference/states.md.
"""

from collections.abc import Mapping

from jqsched.core.constraint import RESULT_NAMES, RESULTS_BY_NAME, STATE_NAMES, STATES_BY_NAME
from jqsched.core.job import State


def statetostr(stateid: int, fmt: str = "L") -> str:
    """Name a state or virtual state: `SCHED`, `S`; `PENDING`, `PD`. Raises: ValueError for what is neither."""
    return _name(STATE_NAMES, stateid, fmt, "state")


def resulttostr(resultid: int | str, fmt: str = "L") -> str:
    """Name a result: `COMPLETED`, `CD`; no result (`""`) has no name. Raises: ValueError for what is none."""
    return "" if isinstance(resultid, str) else _name(RESULT_NAMES, resultid, fmt, "result")


def statustostr(stateid: int, resultid: int | str, fmt: str = "L") -> str:
    """Name how a job stands: its result once it has one, else its state."""
    return resulttostr(resultid, fmt) if stateid == State.INACTIVE else statetostr(stateid, fmt)


def strtostate(text: str) -> int:
    """Read the name of a state or virtual state, in any of its forms. Raises: ValueError."""
    return _number(STATES_BY_NAME, text, "state")


def strtoresult(text: str) -> int:
    """Read the name of a result, in any of its forms. Raises: ValueError."""
    return _number(RESULTS_BY_NAME, text, "result")


def _name(names: Mapping[int, tuple[str, str]], number: int, fmt: str, what: str) -> str:
    if number not in names:
        raise ValueError(f"{number} is no {what}")
    if fmt not in ("L", "S", "l", "s"):
        raise ValueError(f"{fmt!r} is no form of a name; there are L, S, l, s")
    name = names[number][fmt in "Ss"]
    return name.lower() if fmt.islower() else name


def _number(names: Mapping[str, int], text: str, what: str) -> int:
    if text not in names:
        raise ValueError(f"{text!r} is no {what}")
    return names[text]
