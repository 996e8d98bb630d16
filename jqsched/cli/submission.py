"""What `submit` makes of its options and its command: the entries of a job file, and what is said of the job at once.

Rule: nothing is guessed and nothing converted that the readers of job files would refuse; what is odd is told.
"""

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence

from jqsched.cli.failure import INVALID, OK, USAGE, Failure, tell
from jqsched.cli.target import Place, duration_us, reading, scheduler_status, time_us
from jqsched.core.job import ARROW, Job, Scheme, State, read_wait
from jqsched.core.jobspec.keys import KEYS
from jqsched.core.jobspec.values import Wrong, name_from, show
from jqsched.core.json import Json

_OF_A_SHELL = re.compile(r"[\s|&;<>()$`'\"*?]")


def entries_of(options: Mapping[str, Json], *, hold: bool = False) -> dict[str, Json]:
    """Make the entries of a job file from options by key, as the words stand on the command line; None: not given."""
    entries: dict[str, Json] = {}
    for key in KEYS:
        value = options.get(key.name)
        if value is None or key.option is None:
            continue
        parse = key.option.parse
        try:
            if parse is not None and isinstance(value, list | tuple):
                parsed: list[Json] = []
                for word in value:
                    found = parse(str(word))
                    parsed += found if isinstance(found, list) else [found]
                value = parsed
            elif parse is not None:
                value = parse(str(value))
        except Wrong as wrong:
            raise Failure(f"{key.flag}: {wrong}", USAGE) from None
        entries[key.name] = value
    if "begin_time" in entries:
        entries["begin_time"] = begin_time(str(entries["begin_time"]))
    if hold:
        if "urgency" in entries:
            raise Failure("--hold is urgency 0: not together with --urgency", USAGE)
        entries["urgency"] = 0
    return entries


def begin_time(word: str) -> Json:
    """Read a time, also a local one, or `+2h` from now; in seconds, as job files have it."""
    begin_us = time.time_ns() // 1000 + duration_us(word[1:]) if word.startswith("+") else time_us(word)
    return begin_us / 1_000_000


def program_of(words: Sequence[str], cwd: Json, *, shell: bool) -> dict[str, Json]:
    """Return the key of what is to run: the command, or with `shell` a script of its words.

    Refuses: one word that only a shell could make sense of, where no program is called that.
    """
    if shell:
        script = " ".join(words)
        return {"script": script, "name": name_from((script.split() or ["sh"])[0])}
    if len(words) == 1 and _OF_A_SHELL.search(words[0]) and not _is_there(words[0], str(cwd or ".")):
        raise Failure(
            f"submit: {show(words[0])} is one word, and no program is called that: leave out the quotes, or say --shell"
            " to have /bin/sh run it",
            USAGE,
        )
    return {"command": [*words]}


def _is_there(word: str, cwd: str) -> bool:
    try:
        return os.path.exists(os.path.join(cwd, word)) or shutil.which(word) is not None
    except ValueError:  # a NUL
        return False


# ---- what is known of the job at once -------------------------------------------------------------------------------


def tell_what_it_waits_for(where: Place, id_: int, entries: Mapping[str, Json]) -> int:
    """Say what keeps a job that was just submitted from starting, if nothing that is there now changes that.

    INVALID where it can never run as things are. A plain job costs nothing.
    """
    if not {"after", "dependencies", "cores"} & entries.keys():
        return OK
    with reading(where) as reader:
        job = reader.jobs([id_]).get(id_)
    if job is None or job.state >= State.RUN:
        return OK
    names = _awaited_names(job)
    if names:
        tell(f"submit: job {id_} waits for {', '.join(map(show, names))}, and no job of yours has that name yet")
    status = scheduler_status(where.root) if job.spec.cores > 1 else None
    if status is not None and job.spec.cores > status.limits.cores:
        tell(
            f"submit: job {id_} asks for {job.spec.cores} cores, and this scheduler has {status.limits.cores} for its"
            f" jobs: it cannot start (`jqsched cancel {id_}`, or raise `cores` in jqsched.toml)"
        )
        return INVALID
    return OK


def _awaited_names(job: Job) -> list[str]:
    waits = [wait for wait in map(read_wait, job.waits) if wait is not None and wait.scheme is not Scheme.SINGLETON]
    return [wait.target for wait in waits if isinstance(wait.target, str) and ARROW not in wait.description]
