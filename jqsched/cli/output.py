"""`jqsched log`: what a job wrote, at once or as it comes.

Rule: bytes are copied as they are. Several files (of several tasks) come one after the other, what is new of each.
"""

import errno
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import IO, Self

from jqsched.cli.failure import NOT_NOW, OK, Failure, tell
from jqsched.cli.follow import rest
from jqsched.cli.target import Place, known_job, reading
from jqsched.client.outputs import NotReadable, open_output
from jqsched.core.job import Job, OutputFile, State, output_files

LOG_POLL_S = 0.2  # the job writes straight to its file, without notice
_COPY_BYTES = 1 << 18
_LINE_MAX_BYTES = 1 << 20


def log(where: Place, id_: int, *, follow: bool, error: bool, label: bool, rank: int | None) -> int:
    """Print what a job wrote; with `follow` as it comes, until the job is finished.

    `label`: each line begins with the rank of its task. `rank`: of this task only.
    """
    with reading(where) as reader:
        job = known_job(reader, id_)
        with JobOutput(where, job, error=error, label="{rank}: " if label else "", rank=rank) as output:
            output.print_new(job)
            while follow and job.state is not State.INACTIVE:
                rest(LOG_POLL_S)
                now = reader.jobs([id_]).get(id_)  # before its output is read: what it wrote last comes before its end
                output.print_new(now or job)
                if now is None:  # purged: it was over
                    break
                job = now
    if not output.printed_bytes:
        _explain_silence(job, output.paths)
    return OK


class JobOutput:
    """What a job writes, printed as it grows. With `{attempt}` in a path each attempt has files of its own.

    `label`: what each line begins with; `{rank}` is that of the task.
    """

    def __init__(
        self, where: Place, job: Job, *, error: bool = False, label: str = "", rank: int | None = None
    ) -> None:
        self._files = partial(_files, where, error=error, rank=rank)
        self._label, self._attempt, self._printed_bytes = label, job.attempt, 0
        self._tails = self._opened(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    @property
    def printed_bytes(self) -> int:
        """How much was printed, of all attempts."""
        return self._printed_bytes + sum(tail.printed_bytes for tail in self._tails)

    @property
    def paths(self) -> Sequence[str]:
        """The files of the present attempt."""
        return [tail.path for tail in self._tails]

    def print_new(self, job: Job) -> None:
        """Print what was not printed yet. `job`: as it was before; a later attempt may write to other files."""
        for tail in self._tails:
            tail.print_new()
        if job.attempt == self._attempt:
            return
        self._attempt = job.attempt
        if [file.path for file in self._files(job)] != self.paths:
            self._finish()
            self._printed_bytes, self._tails = self.printed_bytes, self._opened(job)
            for tail in self._tails:
                tail.print_new()

    def _opened(self, job: Job) -> list["_Tail"]:
        return [_Tail(file, job.userid, label=self._label) for file in self._files(job)]

    def _finish(self) -> None:
        for tail in self._tails:
            tail.close()


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


class _Tail:
    """An output file that is printed as it grows, as `tail -F` does it.

    One that was truncated is read from its beginning, one that another took the place of to its end and then the other.
    """

    def __init__(self, file: OutputFile, userid: int, *, label: str) -> None:
        self.printed_bytes = 0
        self.path, self._userid = file.path, userid
        self._label = label.format(rank=file.rank).encode()
        self._line = b""  # of what is labelled, the line that has not ended
        self._file: IO[bytes] | None = None

    def close(self) -> None:
        """Print what is left of a labelled line, and close the file."""
        if self._line:
            self._write(b"\n")
            sys.stdout.buffer.flush()
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

    def _opened(self) -> IO[bytes] | None:
        try:
            return open(open_output(self.path, self._userid), "rb", buffering=0)
        except NotReadable as reason:
            raise Failure(str(reason), NOT_NOW) from None
        except OSError as wrong:
            if wrong.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _was_replaced(self, file: IO[bytes]) -> bool:
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(file.fileno()))
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
            if len(self._line) > _LINE_MAX_BYTES:  # it is not kept for ever
                lines, self._line = [*lines, self._line], b""
            data = b"".join(b"%s%s\n" % (self._label, line) for line in lines)
        sys.stdout.buffer.write(data)


def _explain_silence(job: Job, paths: Sequence[str]) -> None:
    if not job.t_start_us and job.state < State.RUN:
        raise Failure(f"job {job.id}: has not started, so there is no output yet (-f waits for it)", NOT_NOW)
    if not any(map(os.path.exists, paths)):
        raise Failure(f"job {job.id}: {paths[0]} does not exist: the job never ran, or it was removed", NOT_NOW)
    tell(f"job {job.id}: has written nothing to {paths[0]}")
