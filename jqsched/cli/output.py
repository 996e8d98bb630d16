"""`jqsched log`: what a job wrote, at once or as it comes.

Rule: bytes are copied as they are. Several files (of several tasks) come one after the other, what is new of each.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Self

from jqsched.cli.failure import NOT_NOW, OK, Failure, tell
from jqsched.cli.follow import rest
from jqsched.cli.target import Place, known_job, reading
from jqsched.client.outputs import NotReadable, open_output
from jqsched.core.job import Job, OutputFile, State, output_files

LOG_POLL_S = 0.2  # the job writes straight to its file, and tells nobody
_COPY_BYTES = 1 << 18


def log(where: Place, id_: int, *, follow: bool, error: bool, label: bool, rank: int | None) -> int:
    """Print what a job wrote; with `follow` as it comes, until the job is finished.

    `label`: each line begins with the rank of its task. `rank`: of this task only.
    """
    with reading(where) as reader, ExitStack() as stack:
        job = known_job(reader, id_)
        files = _files(where, job, error=error, rank=rank)
        tails = [stack.enter_context(_Tail(file, job.userid, label=label)) for file in files]
        _print_new(tails)
        while follow and job.state is not State.INACTIVE:
            rest(LOG_POLL_S)
            now = reader.jobs([id_]).get(id_)  # before its output is read: what it wrote last comes before its end
            _print_new(tails)
            if now is None:  # purged: it was over
                break
            job = now
        for tail in tails:
            tail.end_line()
    if not any(tail.printed_bytes for tail in tails):
        _explain_silence(job, [file.path for file in files])
    return OK


def _files(where: Place, job: Job, *, error: bool, rank: int | None) -> Sequence[OutputFile]:
    """Choose the files to print. What a job writes to a file that it names as `error` is printed by `--error` only."""
    files = output_files(job.spec, job.id, f"{where.root}/output", job.attempt)
    if rank is not None and not any(file.rank == rank for file in files):
        shared = "" if rank >= job.spec.tasks else ": all its tasks write to one file"
        raise Failure(f"job {job.id}: there is no output of task {rank} alone{shared}", NOT_NOW)
    chosen = [file for file in files if rank in (None, file.rank)]
    errors = [file for file in chosen if file.stream == "stderr"]
    if error:
        return errors or chosen
    return [file for file in chosen if file.stream == "stdout" or job.spec.error is None]


def _print_new(tails: Sequence["_Tail"]) -> None:
    for tail in tails:
        tail.print_new()


class _Tail:
    """An output file that is printed as it grows, as `tail -F` does it.

    One that was truncated is read from its beginning, one that another took the place of to its end and then the other.
    """

    def __init__(self, file: OutputFile, userid: int, *, label: bool) -> None:
        self.printed_bytes = 0
        self._path, self._userid = file.path, userid
        self._label = b"%d: " % file.rank if label else b""
        self._line = b""  # of what is labelled, the line that has not ended
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def print_new(self) -> None:
        """Print what was not printed yet. A file that is not there (yet) is empty."""
        if self._file is not None:
            self._copy(self._file)
            if not self._was_replaced(self._file):
                return
            self._copy(self._file)  # what was written until then
            self._file.close()
        self._file = self._opened()
        if self._file is not None:
            self._copy(self._file)

    def end_line(self) -> None:
        """Print what is left of a labelled line."""
        if self._line:
            self._write(b"\n")

    def _opened(self) -> IO[bytes] | None:
        try:
            return open(open_output(self._path, self._userid), "rb", buffering=0)
        except NotReadable as reason:
            raise Failure(str(reason), NOT_NOW) from None
        except OSError as wrong:
            if wrong.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _was_replaced(self, file: IO[bytes]) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(file.fileno()))
        except OSError:  # removed, so far without a successor
            return False

    def _copy(self, file: IO[bytes]) -> None:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
        while data := file.read(_COPY_BYTES):
            self.printed_bytes += len(data)
            self._write(data)
        sys.stdout.buffer.flush()

    def _write(self, data: bytes) -> None:
        if self._label:
            *lines, self._line = (self._line + data).split(b"\n")
            data = b"".join(b"%s%s\n" % (self._label, line) for line in lines)
        sys.stdout.buffer.write(data)


def _explain_silence(job: Job, paths: Sequence[str]) -> None:
    if not job.t_start_us and job.state < State.RUN:
        raise Failure(f"job {job.id}: has not started, so there is no output yet (-f waits for it)", NOT_NOW)
    if not any(map(os.path.exists, paths)):
        raise Failure(f"job {job.id}: {paths[0]} does not exist: the job never ran, or it was removed", NOT_NOW)
    tell(f"job {job.id}: has written nothing to {paths[0]}")
