"""`--format`: a template like `{id:>6} {name}`, filled in with the keys of a job's JSON document.

Rule: keys and nothing else (no attributes, indexes or conversions reach an object of ours), and widths that are sane.
"""

import json
import re
from collections.abc import Callable, Mapping
from string import Formatter

from jqsched.cli.failure import USAGE, Failure, printable
from jqsched.core.json import Json
from jqsched.core.view import INFO_KEYS

_EXCEPTION_KEYS = tuple(f"exception.{key}" for key in ("occurred", "severity", "type", "note"))
KEYS = (*INFO_KEYS, *_EXCEPTION_KEYS)
_SPEC = re.compile(r"(.?[<>=^])?[-+ ]?0?(\d{0,3})(?:\.\d{1,3})?[sdfeg]?")

Document = Mapping[str, Json]


def compiled(template: str) -> Callable[[Document], str]:
    """Make a function that writes a job's document; refuses a template with anything but keys and plain formats."""
    pieces = _pieces(template)

    def write(document: Document) -> str:
        return "".join(text if key is None else _value(document, key, text) for text, key in pieces)

    return write


def _pieces(template: str) -> list[tuple[str, str | None]]:
    """The template in pieces: a literal text with None, or a format with its key."""
    pieces: list[tuple[str, str | None]] = []
    try:
        parsed = list(Formatter().parse(template.replace("\\t", "\t").replace("\\n", "\n")))
    except ValueError as error:
        raise Failure(f"--format: {error}", USAGE) from None
    for literal, key, spec, conversion in parsed:
        if literal:
            pieces.append((literal, None))
        if key is None:
            continue
        if key not in KEYS:
            raise Failure(f"--format: {{{key}}} is no key; there are {', '.join(KEYS)}", USAGE)
        if conversion or not _SPEC.fullmatch(spec or ""):
            raise Failure(f"--format: {{{key}}} has a format that is not known: {conversion or spec}", USAGE)
        pieces.append((spec or "", key))
    return pieces


def _value(document: Document, key: str, spec: str) -> str:
    value = document.get(key)
    if key in _EXCEPTION_KEYS:
        exception = document["exception"]
        value = exception.get(key.partition(".")[2]) if isinstance(exception, Mapping) else None
    if value is None:
        parts = _SPEC.fullmatch(spec)
        align, width = (parts[1] or ">", parts[2]) if parts else (">", "")
        return format("", f"{align.replace('=', '>')}{width}")
    if isinstance(value, bool | dict | list):
        value = ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
    try:
        return format(printable(value) if isinstance(value, str) else value, spec)
    except ValueError as error:
        raise Failure(f"--format: {{{key}:{spec}}}: {error}", USAGE) from None
