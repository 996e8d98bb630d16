"""`jqsched check`, `archive` and `check-spool`: looking after files and the store.

Rule: whatever is written is whole or not there: under another name, synced, and then renamed.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jqsched.adapters.secure_open import check_folder, secure_open
from jqsched.adapters.store.reader import StoreReader
from jqsched.cli.failure import INSIDE, INVALID, NO_JOB, OK, Failure, printable, tell
from jqsched.cli.target import Place, reading
from jqsched.core.job import Draft, Job, State, is_ours
from jqsched.core.jobspec import remarks

PORTION = 500  # finished jobs read at once

# ---- job files ----------------------------------------------------------------------------------------------------


def check(files: Sequence[str]) -> int:
    """Check job files: all errors of each, with their places."""
    worst = OK
    for file in files:
        draft = read_draft(file)
        if isinstance(draft, Draft):
            sys.stdout.write(f"{printable(file)}: ok, a job named {draft.spec.name}{_for_plugins(draft)}\n")
            for line in remarks(draft.spec):
                sys.stderr.write(f"{printable(file)}: {printable(line)}\n")
            continue
        worst = INVALID
        for error in draft:
            sys.stderr.write(f"{printable(file)}: {printable(error)}\n")
    return worst


def print_schema() -> int:
    """Print the JSON Schema of the job file, as editors and other programs want it."""
    from jqsched.core.jobspec.json_schema import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
    return OK


def _for_plugins(draft: Draft) -> str:
    """What only a plugin can say yes to: perhaps it is a slip of the pen."""
    foreign = [dependency.scheme for dependency in draft.spec.dependencies if not is_ours(dependency)]
    if not foreign:
        return ""
    return f" (only with a plugin that knows the dependency scheme {', '.join(map(repr, foreign))})"


def read_draft(file: str) -> Draft | Sequence[str]:
    """Read a file as the scheduler would; its errors where it is no job file."""
    from jqsched.adapters.jobfile import BadFile, read_job
    from jqsched.adapters.jobfile.owned import Refusal, read_trusted

    path = Path(file)
    try:
        content = read_trusted(file)
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
    if isinstance(content, Refusal):
        return [content.text]
    if content.data.startswith(b"#!"):
        return _read_script(content.data, file)
    if path.suffix not in (".json", ".toml"):
        return ["a job file's name ends in .json or .toml, and a script begins with #!"]
    draft = read_job(content.data, path.suffix, str(path.absolute().parent.parent), stem=path.stem)
    return draft.errors if isinstance(draft, BadFile) else draft


def _read_script(data: bytes, file: str) -> Draft | Sequence[str]:
    """Read a script as `batch` would; what is ignored of it is told."""
    from jqsched.adapters.jobfile import BadFile, read_job
    from jqsched.cli.batch import job_file_of
    from jqsched.core.jobspec.directives import BadDirectives

    try:
        text, notes = job_file_of(data.decode(), file)
    except UnicodeDecodeError as wrong:
        return [f"not UTF-8 at byte {wrong.start}"]
    except BadDirectives as wrong:
        return wrong.errors
    for note in notes:
        sys.stderr.write(f"{printable(file)}: {printable(note)}\n")
    draft = read_job(text.encode(), ".json", "/")
    return draft.errors if isinstance(draft, BadFile) else draft


# ---- the archive --------------------------------------------------------------------------------------------------


def archive(where: Place, ids: Sequence[int] | None, before_us: int) -> int:
    """Write `archive/ID.json` for these finished jobs (None: all), if they ended before a time.

    Those that are there already stay.
    """
    from jqsched.cli.show import document
    from jqsched.scheduler.housekeeping import CLOCK, ended_before_us

    folder = os.path.join(where.root, "archive")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    check_folder(folder)
    written, unknown = 0, 0
    with reading(where) as reader:
        known = reader.jobs(ids or ())
        for id_ in ids or ():
            if id_ not in known or known[id_].state is not State.INACTIVE:
                tell(f"job {id_}: {'is not finished' if id_ in known else 'unknown'}; not archived")
                unknown += 1
        before_us = ended_before_us(reader.setting(CLOCK), before_us, time.time_ns() // 1000)
        for job in _finished(reader) if ids is None else known.values():
            path = os.path.join(folder, f"{job.id}.json")
            if job.state is not State.INACTIVE or job.t_inactive_us >= before_us or os.path.exists(path):
                continue
            # the archive outlives the store, so what is left out here would be lost: the environment is in it
            entries = document(where, job, list(reader.events(job.id)), redacted=False)
            _write_whole(path, json.dumps(entries, indent=1) + "\n")
            written += 1
    _sync_folder(folder)
    tell(f"archived {written} job(s) in {folder}")
    return NO_JOB if unknown else OK


def _finished(reader: StoreReader) -> Iterator[Job]:
    """All finished jobs, in portions: no transaction stays open while files are written, or the store's log grows."""
    end = (0, 0)
    while portion := reader.ended_after(end, PORTION):
        yield from portion
        end = (portion[-1].t_inactive_us, portion[-1].id)


def _write_whole(path: str, text: str) -> None:
    temporary = f"{path}.tmp"
    with open(secure_open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- the store ----------------------------------------------------------------------------------------------------


def check_spool(where: Place, *, rebuild: bool) -> int:
    """Check every row, and the job table beside the events; with `rebuild` write it anew while no scheduler runs."""
    from jqsched.adapters.spool.orphaned_output import outputs
    from jqsched.adapters.store.elsewhere import check_store_folder
    from jqsched.adapters.store.fsck import audit
    from jqsched.adapters.store.fsck import rebuild as write_anew

    check_store_folder(where.root, where.store)
    if rebuild:
        from jqsched.runtime import Role, past_commands, spool_lock

        if not os.path.exists(os.path.join(where.store, "jqsched.db")):
            raise Failure(f"{where.store}: there is no store to rebuild")
        with spool_lock(where.root, Role.COMMAND, past_commands(tell)):
            tell(f"wrote the job table anew: {write_anew(where.store)} job(s)")
    traces = outputs(where.root)  # before the store is read: what is started meanwhile is in both
    findings = audit(where.store, _show_progress if sys.stderr.isatty() else lambda _: None)
    findings = findings or _unknown(where, traces)
    for finding in findings:
        sys.stdout.write(f"{printable(finding)}\n")
    if findings:
        way = (
            "restore a backup"
            if rebuild
            else "`jqsched check-spool --rebuild` writes the job table anew, and mends nothing else"
        )
        tell(f"{len(findings)} finding(s); {way}")
        return INSIDE
    tell(f"{where.store}: all is well")
    return OK


def _show_progress(what: str) -> None:
    """Show on a terminal what is being checked; nothing (an empty text) clears it."""
    sys.stderr.write(f"\r\x1b[K{printable(what)}")
    sys.stderr.flush()


def _unknown(where: Place, traces: Sequence[int]) -> list[str]:
    """What the folders know, and a store that is whole does not."""
    from jqsched.adapters.spool.orphaned_output import unknown_text

    with reading(where) as reader:
        last_id = max(reader.last_id(), int(reader.setting("last_id") or 0))
    unknown = [id_ for id_ in traces if id_ > last_id]
    return [unknown_text(where.root, unknown)] if unknown else []
