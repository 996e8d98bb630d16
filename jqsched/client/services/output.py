"""`guest.output`: what a job wrote, as an event log, made from its output files when it is read.

Rule: files are read as they are, in portions, and nothing but regular files is opened to read. Text that is not UTF-8
comes as base64. Where output and error go to one file it is all `stdout`, where tasks write to one file all is of rank
0. Source: RFC 24.
"""

import base64
import errno
import os
from collections.abc import Iterator

from jqsched.client.outputs import NotReadable, open_output
from jqsched.client.store_channel import Pause
from jqsched.core.event import LAST_EVENTS, Event
from jqsched.core.job import Job, OutputFile, output_files
from jqsched.core.json import Json

Entry = dict[str, Json]

CHUNK_BYTES = 1 << 16
POLL_S = 0.2  # no notice is sent when a job writes


def output_log(events: Iterator[Event | Pause], job: Job, folder: str) -> Iterator[Entry | Pause]:
    """The header when the job has started, what it writes, and at its end the end of each stream.

    `folder` has the default output files. A job that never ran has none. The time of a piece is when the file was
    written last.
    """
    files = [_File(file, job.userid) for file in output_files(job.spec, job.id, folder, job.attempt)]
    started = False
    for event in events:
        if isinstance(event, Pause):
            if started:
                yield from _new_data(files)
            yield Pause(POLL_S) if started else event
        elif event.name == "start" and not started:
            started = True
            yield _header(event.t_us / 1_000_000, [str(file.source["stream"]) for file in files])
        elif event.name in LAST_EVENTS and started:
            yield from _new_data(files, to_the_end=True)
            for file in files:
                context: Entry = {**file.source, "eof": True}
                yield {"timestamp": event.t_us / 1_000_000, "name": "data", "context": context}
            return
    if started:
        yield from _new_data(files, to_the_end=True)


def _header(stamp: float, streams: list[str]) -> Entry:
    encoding: Json = {"stdout": "UTF-8", "stderr": "UTF-8"}
    count: Json = {"stdout": streams.count("stdout"), "stderr": streams.count("stderr") or 1}
    context: Entry = {"version": 1, "encoding": encoding, "count": count, "options": {}}
    return {"timestamp": stamp, "name": "header", "context": context}


def _new_data(files: list["_File"], *, to_the_end: bool = False) -> Iterator[Entry]:
    for file in files:
        yield from file.entries(to_the_end=to_the_end)


class _File:
    """One stream of a job's task, read from where it was left."""

    def __init__(self, file: OutputFile, userid: int) -> None:
        self.source: Entry = {"stream": file.stream, "rank": str(file.rank)}
        self._path, self._userid = file.path, userid
        self._offset = 0
        self._rest = b""

    def entries(self, *, to_the_end: bool) -> Iterator[Entry]:
        """What was written since, as entries. A character of which only a part is there waits for the rest."""
        for chunk, stamp in self._chunks():
            self._rest += chunk
            cut = len(self._rest) - _broken_off(self._rest)
            if cut:
                yield self._entry(self._rest[:cut], stamp)
            self._rest = self._rest[cut:]
        if to_the_end and self._rest:
            rest, self._rest = self._rest, b""
            yield self._entry(rest, self._stamp)

    def _chunks(self) -> Iterator[tuple[bytes, float]]:
        try:
            descriptor = open_output(self._path, self._userid)
        except NotReadable:
            return
        except OSError as wrong:
            if wrong.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO):
                return
            raise
        try:
            self._stamp = os.fstat(descriptor).st_mtime
            while data := os.pread(descriptor, CHUNK_BYTES, self._offset):
                self._offset += len(data)
                yield data, self._stamp
        finally:
            os.close(descriptor)

    def _entry(self, data: bytes, stamp: float) -> Entry:
        context: Entry = {**self.source}
        try:
            context["data"] = data.decode()
        except UnicodeDecodeError:
            context["data"] = base64.b64encode(data).decode()
            context["encoding"] = "base64"
        return {"timestamp": stamp, "name": "data", "context": context}


def _broken_off(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character that is not whole yet."""
    for length in range(1, min(3, len(data)) + 1):
        byte = data[-length]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return length if length < wanted else 0
        if byte < 0x80:
            return 0
    return 0
