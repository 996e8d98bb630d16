"""The JSON of a plain job or event, written at once: for a list of 100,000 jobs that is a second less to wait, and of
those who follow the journal there may be many.

Rule: `line(job, …)` is exactly the JSON of `view.job_info(job, …)`, and `event_line(row)` that of `view.event_entry`,
which properties pin; whatever is not plain (an exception, dependencies, a time limit, a jobspec; an event with more to
it than its context) is left to these.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from json.encoder import encode_basestring_ascii as quoted

from jqsched.adapters.store.codec import EventRow, decode_json
from jqsched.core.event import LAST_EVENTS, NO_CONTEXT
from jqsched.core.job import UNSET_PRIORITY, Job, Result, State
from jqsched.core.json import JsonObject
from jqsched.core.view import cores_text, job_info, returncode, runtime_us

_encode = json.JSONEncoder(separators=(",", ":")).encode
_NAMES = {state: state.name for state in State}  # an enum's own `name` costs more than all the rest of a field
_RESULTS = {result: result.name for result in Result}

Line = Callable[[Job, Sequence[str]], str]


def writer(
    username: Callable[[int], str],
    now_us: int,
    hostname: str,
    notes: Callable[[int], JsonObject] = lambda _: NO_CONTEXT,
) -> Line:
    """Make the function that writes jobs as JSON objects.

    `username` names a user by id, `notes` reads what plugins noted of a job.
    """

    def line(job: Job, reasons: Sequence[str]) -> str:
        spec, noted = job.spec, notes(job.id)
        plain = job.exception is None and not job.waits and spec.time_limit_us is None and spec.jobspec is None
        if noted or not plain:
            user = username(job.userid)
            return _encode(job_info(job, username=user, now_us=now_us, reasons=reasons, hostname=hostname, notes=noted))
        ended, ran = job.state is State.INACTIVE, job.t_run_us > 0
        result = job.result
        shown_result = f'"{_RESULTS[result]}"' if result is not None else "null"
        state = f'"{_NAMES[job.state]}"'
        return (
            f'{{"t_depend":{_seconds(job.t_depend_us)},"t_priority":{_seconds(job.t_priority_us)},'
            f'"t_sched":{_seconds(job.t_sched_us)},"t_run":{_seconds(job.t_run_us)},'
            f'"t_cleanup":{_seconds(job.t_cleanup_us)},"t_inactive":{_seconds(job.t_inactive_us)},'
            f'"duration":0.0,"expiration":{"0.0" if ran else "null"},"name":{quoted(spec.name)},'
            f'"cwd":{quoted(spec.cwd)},"queue":null,"project":null,"bank":null,"ntasks":{spec.tasks},'
            f'"ncores":{spec.cores},"nnodes":{spec.nodes if ran or spec.nodes > 1 else "null"},'
            f'"priority":{job.priority if job.priority != UNSET_PRIORITY else "null"},'
            f'"ranks":{_ONE_RANK if ran else "null"},"nodelist":{quoted(hostname) if ran else "null"},'
            f'"success":{_BOOLS[job.success] if ended else "null"},"result":{shown_result},'
            f'"waitstatus":{_or_null(job.status)},"id":{job.id},"t_submit":{_seconds(job.t_submit_us)},'
            f'"t_remaining":0.0,"state":{state},"username":{quoted(username(job.userid))},"userid":{job.userid},'
            f'"urgency":{job.urgency},"runtime":{runtime_us(job, now_us) / 1_000_000},'
            f'"status":{shown_result if ended else state},"returncode":{_or_null(returncode(job))},'
            f'"dependencies":[],"jobid":"{job.id}","annotations":{_annotations(spec.cores) if ran else "{}"},'
            f'"exception":{_NO_EXCEPTION if ended else _NOT_KNOWN},"attempt":{job.attempt},'
            f'"reasons":{_encode(list(reasons)) if reasons else "[]"}}}'
        )

    return line


_NOT_PLAIN = frozenset({"submit", "alloc", *LAST_EVENTS})  # told with more, or what ends that


def event_line(row: EventRow) -> str:
    """Write a plain event as a line; "" where it is none. Raises: ValueError for a context that is no JSON."""
    seq, jobid, t_us, name, context, spec = row
    if spec is not None or name in _NOT_PLAIN:
        return ""
    shown = ""
    if context:
        if not context.isascii() or "\x7f" in context:  # which the store writes as they are
            return ""
        decode_json(context)  # it is shown as it stands: compact, as it was written
        shown = f'"context":{context},'
    return f'{{"timestamp":{t_us / 1_000_000},"name":{quoted(name)},{shown}"jobid":{jobid},"seq":{seq}}}\n'


_ONE_RANK = '"0"'
_BOOLS = {False: "false", True: "true"}
_NO_EXCEPTION = '{"occurred":false,"severity":null,"type":null,"note":null}'
_NOT_KNOWN = '{"occurred":null,"severity":null,"type":null,"note":null}'


@cache
def _annotations(cores: int) -> str:
    return _encode({"sched": {"resource_summary": cores_text(cores)}})


def _seconds(time_us: int) -> float | str:
    return time_us / 1_000_000 if time_us else "null"


def _or_null(value: int | None) -> int | str:
    return value if value is not None else "null"
