"""Write job files: the text of a draft that came by command, or of a job that is queued anew.

Rule: `read_job(write_job(draft)) == draft`, but for `requeue_of`, which no file can ask for.
"""

import json

from jqsched.core.job import URGENCY_DEFAULT, Draft, OnInterrupt, Spec
from jqsched.core.jobspec import dependency_object, reason_list, retries_value, to_jobspec
from jqsched.core.json import Json


def write_job(draft: Draft) -> str:
    """Write a draft as JSON: in the short form where that can say it all, else as a jobspec."""
    spec = draft.spec
    is_short = spec.jobspec is None and spec.tasks == spec.nodes == 1
    entries = _short(spec) if is_short else dict(to_jobspec(spec))
    if draft.urgency != URGENCY_DEFAULT:
        entries["urgency"] = draft.urgency
    if draft.pin is not None:
        entries["priority"] = draft.pin
    return json.dumps(entries, ensure_ascii=False)


def _short(spec: Spec) -> dict[str, Json]:
    entries: dict[str, Json] = {"name": spec.name, "command": list(spec.command), "cwd": spec.cwd}
    wishes: dict[str, Json] = {
        "env": dict(spec.env) or None,
        "cores": spec.cores if spec.cores != 1 else None,
        "time_limit": spec.time_limit_us / 1_000_000 if spec.time_limit_us is not None else None,
        "output": spec.output,
        "error": spec.error,
        "on_interrupt": spec.on_interrupt.value if spec.on_interrupt is not OnInterrupt.REQUEUE else None,
        "retries": retries_value(spec.retries) if spec.retries is not None else None,
        "reason": [reason_list(reason) for reason in spec.reasons] or None,
        "dependencies": [dependency_object(dependency) for dependency in spec.dependencies] or None,
    }
    return entries | {key: value for key, value in wishes.items() if value is not None}
