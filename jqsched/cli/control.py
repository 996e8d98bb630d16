"""Commands that change something: asked of the scheduler, or done under the spool's lock where none runs.

Rule: what is done is the same either way; each job is answered for on its own, and the exit code is the worst of them.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, cast

from attrs import frozen

from jqsched.cli.arrays import all_of
from jqsched.cli.attend import Attention, attend
from jqsched.cli.environment import Capture, Environment, environment
from jqsched.cli.failure import (
    IN_USE,
    INVALID,
    NO_SCHEDULER,
    NOT_NOW,
    OK,
    USAGE,
    Failure,
    refusal,
    tell,
)
from jqsched.cli.selector import NAME_PREFIX, is_read_as_other
from jqsched.cli.submission import tell_what_it_waits_for
from jqsched.cli.target import Place, reading
from jqsched.client.connection import Connection, NoScheduler
from jqsched.core.job import PRIORITY_MAX, State
from jqsched.core.jobspec.values import show
from jqsched.core.json import Json, JsonObject

ANSWER_TIMEOUT_S = 60.0
LOCK_PATIENCE_S = 60.0  # so long one command, or a scheduler that just starts, may hold the spool
_PURGED_AT_ONCE = 10_000  # ids in one request
_CHANGED_AT_ONCE = 1_000
_VALUES_BYTES_MAX = 1 << 20  # more do not go into a job file
_HINTS = {"job is not running": " (`jqsched cancel` ends a queued one)"}  # what to do where the refusal does not say it
_DIGITS_MAX = 20  # of a number; more make it no larger, only slower to read


class Asked(Protocol):
    """What carries out requests: a scheduler at the end of a socket, or this process itself."""

    def request(self, topic: str, payload: JsonObject) -> dict[str, Json]:
        """Ask, and wait until it is done. Raises OSError."""


@contextmanager
def control(where: Place, *, unbounded: bool = False) -> Iterator[Asked]:
    """Connect to the scheduler, or take its place for this command.

    An answer is waited for ANSWER_TIMEOUT_S seconds; `unbounded`: as long as it takes.
    """
    with ExitStack() as stack:
        yield _reach(where, stack, None if unbounded else ANSWER_TIMEOUT_S)


class _Served(Exception):
    """A scheduler has come while we waited for the spool."""


def _reach(where: Place, stack: ExitStack, answer_timeout_s: float | None) -> Asked:
    while True:
        try:
            return stack.enter_context(Connection(where.root, timeout_s=answer_timeout_s))
        except NoScheduler:
            pass
        from jqsched.runtime import Holder, Role, SpoolInUse, offline

        def patience(holder: Holder, held_s: float) -> bool:
            if holder.role is not Role.COMMAND and _is_served(where.root):
                raise _Served
            return held_s < LOCK_PATIENCE_S

        try:
            return stack.enter_context(offline(where.root, where.store, patience))
        except _Served:
            continue
        except SpoolInUse as error:
            raise Failure(f"{error}, which does not answer on its socket", IN_USE) from None


def _is_served(root: str) -> bool:
    try:
        Connection(root).close()
    except NoScheduler:
        return False
    return True


def ask(asked: Asked, topic: str, payload: JsonObject, doing: str, invalid: int = INVALID) -> dict[str, Json]:
    """Ask for one thing; a refusal becomes a Failure."""
    try:
        return asked.request(f"job-manager.{topic}", payload)
    except OSError as error:
        raise refusal(error, doing, invalid) from None


# ---- submit -------------------------------------------------------------------------------------------------------


@frozen
class Submission:
    """What `submit` was given: what to run, keys of the job file (`env` as words), and what to capture."""

    program: Mapping[str, Json]
    keys: Mapping[str, Json] = {}
    capture: Capture = Capture.DEFAULT
    each: Sequence[Json] | None = None


def values_of(each_line: str | None, from_json: str | None) -> list[Json] | None:
    """Read the values of an array: the lines of a file, or a list in a JSON file; `-` is standard input. None: neither
    is given.
    """
    if each_line is not None and from_json is not None:
        raise Failure("submit: --each-line and --from-json exclude each other", USAGE)
    path = each_line if each_line is not None else from_json
    if path is None:
        return None
    text = _read(path)
    if each_line is not None:
        return list[Json](text.removesuffix("\n").split("\n")) if text else []
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(f"submit: {path}: not JSON: {error}", INVALID) from None
    if not isinstance(values, list):
        raise Failure(f"submit: {path}: must be a list, not {show(values)}", INVALID)
    return values


def _read(path: str) -> str:
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            data = file.read(_VALUES_BYTES_MAX + 1)
        if len(data) > _VALUES_BYTES_MAX:
            raise Failure(f"submit: {path}: is larger than a job file may be (1 MiB): name it in `each`", INVALID)
        return data.decode()
    except OSError as error:
        raise Failure(f"submit: {path}: {error.strerror}", INVALID) from None
    except UnicodeDecodeError:
        raise Failure(f"submit: {path}: is not valid UTF-8", INVALID) from None


def job_text(given: Submission, variables: Mapping[str, str]) -> str:
    """Write the job file of a submission. What is wrong in it is for whatever reads job files to say."""
    entries: dict[str, object] = {**given.program, **given.keys, "cwd": _cwd(given.keys.get("cwd"))}
    entries.pop("env", None)
    if given.each is not None:
        entries["each"] = list(given.each)
    if variables:
        entries["env"] = dict(variables)
    text = json.dumps(entries, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Failure("submit: what is given is not valid UTF-8, which job files are made of", INVALID) from None
    return text


def _cwd(given: Json) -> str:
    try:
        return os.path.abspath(str(given or "."))
    except FileNotFoundError:
        raise Failure("submit: the current directory was removed; name one with --cwd", USAGE) from None


def submit(where: Place, given: Submission, *, as_json: bool, attention: Attention = Attention.NONE) -> int:
    """Submit a job and print its id; stay with it as long as is asked."""
    captured = environment(os.environ, given.capture, cast(Sequence[str], given.keys.get("env", ())))
    text = job_text(given, captured.variables)
    with control(where) as asked:
        id_ = ask(asked, "submit", {"text": text}, "submit")["id"]
    _note_left_out(captured)
    name = given.keys.get("name")
    if isinstance(name, str) and is_read_as_other(name):
        tell(f"submit: commands read {show(name)} as something else than a name: say {NAME_PREFIX}{name}")
    if attention is Attention.FOLLOW:
        tell(f"job {id_}")  # stdout is for what the job writes
    else:
        sys.stdout.write(json.dumps({"schema": "jqsched.submit/1", "id": id_}) + "\n" if as_json else f"{id_}\n")
        sys.stdout.flush()
    hopeless = tell_what_it_waits_for(where, cast(int, id_), given.keys)
    if hopeless or attention is Attention.NONE:
        return hopeless
    return attend(where, all_of(where, cast(int, id_)), attention)


def _note_left_out(captured: Environment) -> None:
    """Say which of the caller's variables the job was not given, and why."""
    if captured.secrets:
        names = ", ".join(map(show, captured.secrets))
        tell(f"submit: not passed on, for their names look like secrets: {names} (--env NAME passes one on)")
    if captured.not_text:
        names = ", ".join(map(show, captured.not_text))
        tell(f"submit: not passed on, for they are not valid UTF-8: {names}")


# ---- changes of jobs ----------------------------------------------------------------------------------------------


def change(
    where: Place,
    ids: Sequence[int],
    topic: str,
    more: JsonObject | None = None,
    *,
    told: Callable[[dict[str, Json]], str],
    invalid: int = USAGE,
) -> int:
    """Ask the same for each job, and say what became of it; the worst exit code."""
    worst = OK
    if not ids:
        return OK
    with control(where) as asked:
        for id_, answer in _answers(asked, topic, ids, more or {}):
            if isinstance(answer, OSError):
                failure = refusal(answer, f"job {id_}", invalid)
                tell(*(line + _HINTS.get(line.removeprefix(f"job {id_}: "), "") for line in failure.lines))
                worst = max(worst, failure.code)
                if failure.code == NO_SCHEDULER and isinstance(asked, Connection):
                    break
            else:
                tell(f"job {id_}: {told(answer)}")
    return worst


def _answers(
    asked: Asked, topic: str, ids: Sequence[int], more: JsonObject
) -> Iterator[tuple[int, dict[str, Json] | OSError]]:
    """Ask about each job; a scheduler about many at once, for each request waits for a commit."""
    if isinstance(asked, Connection) and len(ids) > 1:
        for at in range(0, len(ids), _CHANGED_AT_ONCE):
            payload: dict[str, Json] = {**more, "ids": list[Json](ids[at : at + _CHANGED_AT_ONCE])}
            try:
                found = asked.request(f"job-manager.{topic}", payload)["answers"]
            except OSError as error:
                yield ids[at], error
                return
            for one in cast(list[dict[str, Any]], found):
                refused = one["refused"]
                yield one["id"], OSError(refused["errno"], refused["text"]) if refused else one["answer"]
        return
    for id_ in ids:
        try:
            yield id_, asked.request(f"job-manager.{topic}", {"id": id_, **more})
        except OSError as error:
            yield id_, error


def cancel(where: Place, ids: Sequence[int], note: str) -> int:
    """Cancel jobs."""
    return change(where, ids, "cancel", {"note": note}, told=canceled)


def canceled(answer: dict[str, Json]) -> str:
    """Say what became of a job that was canceled."""
    words = {"dequeued": "canceled before it started", "stopping": "is being stopped"}
    return words.get(_outcome(answer), "canceled")


def raise_exception(where: Place, ids: Sequence[int], kind: str, severity: int, note: str) -> int:
    """Raise an exception on jobs; to cancel is one of its kinds."""
    from jqsched.core.plugin_stages import is_bad_kind

    if is_bad_kind(kind):
        raise Failure(f"--type {show(kind)}: must be a word without spaces and =", USAGE)
    if (kind, severity) == ("cancel", 0):
        return cancel(where, ids, note)

    def told(answer: dict[str, Json]) -> str:
        if severity:
            return f"exception {kind} is noted"
        return "ended before it started" if _outcome(answer) == "dequeued" else "is being stopped"

    return change(where, ids, "raise", {"type": kind, "severity": severity, "note": note}, told=told)


def kill(where: Place, ids: Sequence[int], word: str) -> int:
    """Send a signal to jobs that run."""
    signum = _signal(word)
    name = signum.name if isinstance(signum, signal.Signals) else f"signal {signum}"
    return change(where, ids, "kill", {"signum": int(signum)}, told=lambda _: f"{name} sent", invalid=NOT_NOW)


def _signal(word: str) -> int:
    """Read a signal: its number, or its name with or without SIG."""
    name = word.upper().removeprefix("SIG")
    found = signal.Signals.__members__.get(f"SIG{name}")
    valid = {int(signum): signum for signum in signal.valid_signals()}
    if found is None and word.isascii() and word.isdigit():
        found = valid.get(int(word[:4]))
    if found is None:
        raise Failure(f"{show(word)} is no signal: a name such as USR1, or a number", USAGE)
    return found


def requeue(where: Place, ids: Sequence[int]) -> int:
    """Have jobs run again; where a finished one is submitted anew, the new id is printed."""

    def told(answer: dict[str, Json]) -> str:
        outcome = _outcome(answer)
        if outcome == "resubmitted":
            sys.stdout.write(f"{answer['id']}\n")
            sys.stdout.flush()
            held = f", held as it was (`jqsched release {answer['id']}`)" if answer.get("held") else ""
            return f"is finished; its like is now job {answer['id']}{held}"
        return "is stopped, and queued again when it has ended" if outcome == "stopping" else "is queued already"

    return change(where, ids, "requeue", told=told)


def retry(where: Place, ids: Sequence[int], attention: Attention) -> int:
    """Submit finished jobs again, each as it was run, and print the new ids; stay with these as long as is asked."""
    with reading(where) as reader:
        live = [id_ for id_, job in reader.jobs(ids).items() if job.state is not State.INACTIVE]
    for id_ in live:
        tell(f"job {id_}: is not finished (`jqsched requeue {id_}` stops it and runs it again)")
    new: list[int] = []

    def told(answer: dict[str, Json]) -> str:
        new.append(cast(int, answer["id"]))
        if attention is not Attention.FOLLOW:
            sys.stdout.write(f"{answer['id']}\n")
            sys.stdout.flush()
        held = f", held as it was (`jqsched release {answer['id']}`)" if answer.get("held") else ""
        return f"is run again as job {answer['id']}{held}"

    worst = change(where, [id_ for id_ in ids if id_ not in live], "requeue", told=told)
    worst = max(worst, NOT_NOW if live else OK)
    if attention is Attention.NONE or not new:
        return worst
    return max(worst, attend(where, new, attention))


def urgency(where: Place, ids: Sequence[int], value: int) -> int:
    """Change the urgency of jobs."""
    return change(
        where,
        ids,
        "urgency",
        {"urgency": value},
        told=lambda answer: f"urgency {answer.get('old_urgency', '?')} → {value}",
    )


def read_priority(value: str) -> int | None:
    """Read a priority; None for `auto`, which leaves it to the priority plugin."""
    digits = value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX
    if value != "auto" and not (digits and int(value) <= PRIORITY_MAX):
        raise Failure(f"{show(value)} is no priority: an integer from 0 to {PRIORITY_MAX}, or auto", USAGE)
    return None if value == "auto" else int(value)


def priority(where: Place, ids: Sequence[int], pin: int | None) -> int:
    """Pin the priority of jobs, or leave it to the priority plugin again."""
    words = "priority is computed again" if pin is None else f"priority is {pin} now"
    return change(where, ids, "priority", {"priority": pin}, told=lambda _: words)


def _outcome(answer: dict[str, Json]) -> str:
    return str(answer.get("outcome", ""))


def stop_starts(where: Place) -> int:
    """Have no more jobs started."""
    with control(where) as asked:
        ask(asked, "stop-starts", {}, "drain")
    tell("drained: no more jobs are started (`jqsched resume`)")
    return OK


def resume(where: Place) -> int:
    """Have jobs started again."""
    with control(where) as asked:
        ask(asked, "resume", {}, "resume")
    tell("jobs are started again")
    return OK


def purge(where: Place, ids: Sequence[int] | None, before_us: int) -> int:
    """Remove finished jobs from the store: these (None: all), if they ended before a time."""
    payloads: list[dict[str, Json]] = [{"before_us": before_us}]
    if ids is not None:
        with reading(where) as reader:  # unknown ones go along: they are refused there
            known = reader.jobs(ids)
        old = [id_ for id_ in ids if id_ not in known or known[id_].t_inactive_us <= before_us]
        payloads = [{"ids": list[Json](old[at : at + _PURGED_AT_ONCE])} for at in range(0, len(old), _PURGED_AT_ONCE)]
    purged = 0
    if payloads:
        with control(where, unbounded=True) as asked:  # millions take minutes, in steps
            purged = sum(cast(int, ask(asked, "purge", payload, "purge")["purged"]) for payload in payloads)
    tell(f"purged {purged} job(s)")
    return OK
