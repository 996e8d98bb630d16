"""`jqsched batch`: a script with directives becomes a job file.

In: a script, its arguments, options of the command line, which win over directives. Out: a `Submission`, or a Failure
with each error and its line. `check` reads scripts by the same functions.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from jqsched.cli.control import Submission, job_text
from jqsched.cli.environment import Capture
from jqsched.cli.failure import INVALID, Failure, tell
from jqsched.cli.submission import begin_time
from jqsched.core.jobspec.directive_options import Wishes, wishes_of
from jqsched.core.jobspec.directives import BadDirectives, read_directives
from jqsched.core.jobspec.values import name_from
from jqsched.core.json import Json

SIZE_MAX_BYTES = 1 << 20
_CAPTURES = {"all": Capture.ALL, "none": Capture.NONE, "": Capture.DEFAULT}


def submission(
    words: Sequence[str], options: Mapping[str, Json], capture: Capture | None, *, ignore_unknown: bool
) -> Submission:
    """Make the submission of a script and its arguments; `-` is standard input. What is ignored is told."""
    file, *arguments = words
    text = read_script(file)
    shown = "standard input" if file == "-" else file
    try:
        wishes, notes = wishes_in(text, ignore_unknown=ignore_unknown)
    except BadDirectives as wrong:
        raise Failure([f"batch: {shown}: {error}" for error in wrong.errors], INVALID) from None
    tell(*(f"batch: {shown}: {note}" for note in notes))
    own_env = options.get("env")
    env: list[Json] = [*wishes.env, *(own_env if isinstance(own_env, list | tuple) else ())]
    keys = {**_entries(text, file, arguments, wishes), **options, "env": env}
    return Submission({}, keys, capture if capture is not None else _CAPTURES[wishes.capture])


def wishes_in(text: str, *, ignore_unknown: bool = False) -> tuple[Wishes, list[str]]:
    """Read the directives of a script: what they ask for, and what is ignored of them. Raises: BadDirectives."""
    directives = read_directives(text)
    wishes = wishes_of(directives.found, ignore_unknown=ignore_unknown)
    return wishes, [*directives.notes, *wishes.ignored]


def job_file_of(text: str, file: str) -> tuple[str, list[str]]:
    """Write the job file that a script makes, without an environment, and what is ignored. Raises: BadDirectives."""
    wishes, notes = wishes_in(text)
    return job_text(Submission({}, _entries(text, file, (), wishes)), {}), notes


def _entries(text: str, file: str, arguments: Sequence[str], wishes: Wishes) -> dict[str, Json]:
    name = "sh" if file == "-" else name_from(os.path.splitext(os.path.basename(file))[0])
    entries: dict[str, Json] = {"script": text, "name": name, **wishes.entries}
    if arguments:
        entries["args"] = [*arguments]
    if "begin_time" in entries:
        entries["begin_time"] = begin_time(str(entries["begin_time"]))
    return entries


def read_script(file: str) -> str:
    """Read a script, or standard input for `-`. A Failure says why it is none."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(SIZE_MAX_BYTES + 1)
        else:
            with open(file, "rb") as opened:
                data = opened.read(SIZE_MAX_BYTES + 1)
    except OSError as error:
        raise Failure(f"batch: {file}: {error.strerror}", INVALID) from None
    if len(data) > SIZE_MAX_BYTES:
        raise Failure(f"batch: {file}: is larger than {SIZE_MAX_BYTES} bytes", INVALID)
    try:
        return data.decode()
    except UnicodeDecodeError as wrong:
        raise Failure(f"batch: {file}: not UTF-8 at byte {wrong.start}: is it a program? submit it", INVALID) from None
