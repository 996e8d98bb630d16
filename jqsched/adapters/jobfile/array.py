"""The job file of an array: each of its elements is read as a job file of its own, with its placeholders filled in.

Rule: whatever holds for a job file holds for every element's, values that were filled in included; the first element
that is wrong is named by its index. Elements share what is the same in all of them.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from jqsched.adapters.jobfile.document import BadFile, Object
from jqsched.adapters.jobfile.values_file import read_lines
from jqsched.core.evolve import evolve
from jqsched.core.job import Array, Draft, Element, Spec
from jqsched.core.jobspec import Wrong, arrays

ReadOne = Callable[[Object, str], Draft | BadFile]  # reads the entries of one element, and names it where they do not
_SHARED = ("cwd", "env", "output", "error", "retries", "reasons", "dependencies")


def read_array(entries: Object, default_cwd: str, owner: int | None, read_one: ReadOne) -> Draft | BadFile:
    """Read the entries of an array's job file. Cost: that of reading each element's."""
    lines: Sequence[str] = ()
    path = arrays.file_of(entries)
    if path is not None:
        here = entries.get("cwd")
        folder = here if isinstance(here, str) else default_cwd
        found = read_lines(os.path.join(folder, path), os.geteuid() if owner is None else owner)
        if isinstance(found, str):
            return BadFile((f"each.file: {path!r} {found}",))
        lines = found
    if "version" in entries:
        return BadFile(("array: only in the short form of a job file",))
    try:
        plan = arrays.read_plan(entries, lines)
    except Wrong as wrong:
        return BadFile(tuple(f"{place}: {what}" for place, what in wrong.errors))
    return _read_elements({key: entries[key] for key in entries if key not in arrays.KEYS}, plan, read_one)


def _read_elements(entries: Object, plan: arrays.Plan, read_one: ReadOne) -> Draft | BadFile:
    array = Array(0, plan.count, plan.limit, plan.max_failures)
    first: Draft | None = None
    specs: list[Spec] = []
    for position in range(plan.count):
        filled = arrays.fill(entries, plan.fields(position))
        draft = read_one(filled, first.spec.name if first is not None else "")
        if isinstance(draft, BadFile):
            if first is None and isinstance(read_one(entries, ""), BadFile):  # not because of what was filled in
                return draft
            return BadFile(tuple(f"element {plan.indexes[position]}: {error}" for error in draft.errors))
        first = first or draft
        element = Element(array, plan.indexes[position], plan.value(position))
        specs.append(evolve(draft.spec, name=first.spec.name, element=element, **_same(draft.spec, first.spec)))
    assert first is not None, "an array has an element"
    return evolve(first, spec=specs[0], elements=tuple(specs))


def _same(spec: Spec, first: Spec) -> dict[str, Any]:
    """Return the values of the first element that another has too, so that they are in memory once."""
    return {key: value for key in _SHARED if (value := getattr(first, key)) == getattr(spec, key)}
