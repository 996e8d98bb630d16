"""What words on a command line say: from the words after an option to the value of its key in a job file.

Rule: only the shape is read here, and `Wrong` raised for a word without it; the key's reader says what is valid.
Source: docs/reference/commands.md; RFC 26 (dependencies as `SCHEME:VALUE?KEY=VALUE`).
"""

import re

from jqsched.core.jobspec.values import Wrong, must, show
from jqsched.core.json import Json

_NUMBER = re.compile(r"-?\d{1,20}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,20}(\.\d{1,20})?", re.ASCII)
_RETRY_PARTS = ("max", "delay", "factor", "max_delay", "on", "separator")


def comma_list(word: str) -> list[Json]:
    """Read `A,B`: words between commas."""
    words = [part.strip() for part in word.split(",")]
    if not all(words):
        raise must("one word, or several with commas between them", word)
    return [*words]


def text(word: str) -> list[Json]:
    """Read a text, one element of a list."""
    return [word]


def dependency(word: str) -> list[Json]:
    """Read `SCHEME:VALUE`, `SCHEME:NAME?next=true`, or a scheme that has no value."""
    scheme, colon, value = word.partition(":")
    entries: dict[str, Json] = {"scheme": scheme}
    for ending, is_next in (("?next=true", True), ("?next=false", False)):
        if value.endswith(ending):
            value = value.removesuffix(ending)
            entries["next"] = is_next
    if colon:
        entries["value"] = value
    return [entries]


def retries(word: str) -> Json:
    """Read a number, or parts: `max=3,delay=10s,factor=2,max_delay=10m,on=75,on=signal,separator=false`."""
    if _NUMBER.fullmatch(word):
        return int(word)
    entries: dict[str, Json] = {}
    on: list[Json] = []
    for part in word.split(","):
        key, equals, value = part.strip().partition("=")
        key = key.replace("-", "_")
        if not equals or key not in _RETRY_PARTS or (key in entries and key != "on"):
            raise Wrong(
                ("", f"must be a number, or {'=…,'.join(_RETRY_PARTS)}=…, each once (but on), not {show(part)}")
            )
        if key == "on":
            on.append(int(value) if _NUMBER.fullmatch(value) else value)
        else:
            entries[key] = _retry_part(key, value)
    return entries | ({"on": on} if on else {})


def _retry_part(key: str, value: str) -> Json:
    if key == "max" and _NUMBER.fullmatch(value):
        return int(value)
    if key == "factor" and _DECIMAL.fullmatch(value):
        return float(value)
    if key == "separator" and value in ("true", "false"):
        return value == "true"
    return value
