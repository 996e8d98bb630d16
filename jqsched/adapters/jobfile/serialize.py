"""Write job files: the text of a draft that came by command, or of a job that is queued anew.

Rule: `read_job(write_job(draft)) == draft`, but for `requeue_of`, which no file can ask for.
"""

import json

from jqsched.core.job import Draft, Spec
from jqsched.core.jobspec import to_jobspec
from jqsched.core.jobspec.keys import KEYS, OF_SPEC
from jqsched.core.json import Json


def write_job(draft: Draft) -> str:
    """Write a draft as JSON: in the short form where that can say it all, else as a jobspec."""
    spec = draft.spec
    is_short = spec.jobspec is None and spec.tasks == spec.nodes == 1
    entries = _short(spec) if is_short else dict(to_jobspec(spec))
    for key in KEYS:
        if key.in_draft and (value := getattr(draft, key.fills)) != key.absent:
            entries[key.name] = key.write(value)
    return json.dumps(entries, ensure_ascii=False)


def _short(spec: Spec) -> dict[str, Json]:
    """Write what differs from the defaults, and what has none."""
    entries: dict[str, Json] = {}
    for key in OF_SPEC:
        value = getattr(spec, key.fills)
        if value != key.absent:
            entries[key.name] = key.write(value)
    return entries
