"""Strict reading of an object by a table of readers: no coercion, no unknown keys, all errors at once.

Rule: which keys there are, and what each may hold, is said by the readers, and nothing by this module.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from jqsched.adapters.jobfile.document import ERRORS_MAX, BadFile, Object, shown
from jqsched.core.jobspec import Wrong

Readers = Mapping[str, Callable[[object], object]]


def read_keys(entries: Object, readers: Readers) -> Object | BadFile:
    """Read the values of an object, each key by its reader; or say all that is wrong, in the order of the readers."""
    found: Object = {}
    errors: list[tuple[str, Wrong]] = []
    for key, value in entries.items():
        if key in readers:
            try:
                found[key] = readers[key](value)
            except Wrong as wrong:
                errors.append((key, wrong))
    if not errors and len(found) == len(entries):
        return found
    order = list(readers)
    errors.sort(key=lambda error: order.index(error[0]))
    lines = [f"{key}{place}: {what}" for key, wrong in errors for place, what in wrong.errors]
    unknown = sorted(key for key in entries if key not in readers)
    return BadFile((*lines, *(_unknown(key, order, nth < ERRORS_MAX) for nth, key in enumerate(unknown))))


def _unknown(key: str, keys: list[str], suggest: bool) -> str:
    # difflib is quadratic in the key's length, and there may be 50,000 keys
    near = get_close_matches(key.lower(), keys, 1) if suggest and len(key) <= 40 else []
    return f"{shown(key)}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
