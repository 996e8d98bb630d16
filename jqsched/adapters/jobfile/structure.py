"""Strict reading of an object into an attrs class, by cattrs: no coercion, no unknown keys, all errors at once.

Rule: which keys there are is said by the class, what each may hold by its reader, and nothing by this module.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from attrs import fields
from cattrs import Converter
from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from jqsched.adapters.jobfile.document import ERRORS_MAX, BadFile, Object, shown
from jqsched.core.jobspec import Wrong

T = TypeVar("T")


class Strict(Generic[T]):
    """A reader of objects into `cls`. Its keys are the fields of `cls`, all optional; `readers` has one each."""

    def __init__(self, cls: type[T], readers: Mapping[str, Callable[[object], object]]) -> None:
        self._keys = [attribute.name for attribute in fields(cls)]  # type: ignore[arg-type]  # an attrs class, as said
        assert set(self._keys) == set(readers), "each key has a reader"
        overrides = {key: override(struct_hook=_hook(read)) for key, read in readers.items()}
        self._structure: Callable[[Object, type[T]], T] = make_dict_structure_fn(
            cls,
            Converter(detailed_validation=True),
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            **overrides,  # type: ignore[arg-type]  # cattrs takes its own options and the fields' in one namespace
        )
        self._cls = cls

    def read(self, entries: Object) -> T | BadFile:
        """Read an object, or say all that is wrong with it."""
        try:
            return self._structure(entries, self._cls)
        except ClassValidationError as group:
            return BadFile(tuple(error for cause in group.exceptions for error in self._explain(cause)))

    def _explain(self, cause: BaseException) -> list[str]:
        if isinstance(cause, ForbiddenExtraKeysError):
            return [self._unknown(key, nth < ERRORS_MAX) for nth, key in enumerate(sorted(cause.extra_fields))]
        if not isinstance(cause, Wrong):
            raise cause  # a reader is broken: that is no error of the file's
        notes = [note for note in cause.__notes__ if isinstance(note, AttributeValidationNote)]
        return [f"{notes[0].name}{place}: {what}" for place, what in cause.errors]

    def _unknown(self, key: str, suggest: bool) -> str:
        # difflib is quadratic in the key's length, and there may be 50,000 keys
        near = get_close_matches(key.lower(), self._keys, 1) if suggest and len(key) <= 40 else []
        return f"{shown(key)}: unknown key" + (f"; did you mean {near[0]}?" if near else "")


def _hook(read: Callable[[object], object]) -> Callable[[Any, Any], object]:
    """Drop the type that cattrs passes along."""
    return lambda value, _type: read(value)
