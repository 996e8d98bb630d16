"""`guest.output`: what a job wrote, each byte once and in order, whatever it is and whenever it is written."""

import base64
import os
from pathlib import Path

import pytest

from jqsched import Handle
from jqsched.client.services import output as module
from jqsched.core.job import output_files
from jqsched.job.event import EventLogEvent, event_watch, event_watch_async
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, QUEUED, STARTED, SpoolMaker


def write(spool: SpoolMaker, data: bytes, name: str = "1.log", mode: str = "wb") -> Path:
    (spool.root / "output").mkdir(exist_ok=True)
    with open(spool.root / "output" / name, mode) as file:
        file.write(data)
    return spool.root / "output" / name


def read(events: list[EventLogEvent], stream: str = "stdout") -> bytes:
    whole = b""
    for event in events:
        context = event.context
        if event.name == "data" and context["stream"] == stream and "data" in context:
            encoded = context.get("encoding") == "base64"
            whole += base64.b64decode(context["data"]) if encoded else context["data"].encode()
    return whole


def watched(handle: Handle, id_: int) -> list[EventLogEvent]:
    return list(event_watch(handle, id_, "guest.output"))


def test_a_header_the_data_and_the_end(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED)
    write(spool, b"hello\n")
    header, data, end = watched(handle, job.id)
    assert header.name == "header"
    assert header.context["version"] == 1
    assert header.context["count"] == {"stdout": 1, "stderr": 1}
    assert data.context == {"stream": "stdout", "rank": "0", "data": "hello\n"}
    assert end.context == {"stream": "stdout", "rank": "0", "eof": True}


def test_two_files_are_two_streams(spool: SpoolMaker, handle: Handle, tmp_path: Path):
    job = spool.add(*COMPLETED, output=str(tmp_path / "out"), error=str(tmp_path / "err"))
    (tmp_path / "out").write_bytes(b"out")
    (tmp_path / "err").write_bytes(b"err")
    events = watched(handle, job.id)
    assert (read(events), read(events, "stderr")) == (b"out", b"err")
    assert [event.context["stream"] for event in events if event.context.get("eof")] == ["stdout", "stderr"]


@pytest.mark.parametrize(
    ("paths", "sources"),
    [
        ({}, [("0", "stdout"), ("0", "stderr"), ("1", "stdout"), ("1", "stderr")]),
        ({"output": "{id}"}, [("0", "stdout")]),
        ({"output": "{id}.{rank}"}, [("0", "stdout"), ("1", "stdout")]),
        ({"output": "{id}", "error": "{id}.{rank}"}, [("0", "stdout"), ("0", "stderr"), ("1", "stderr")]),
        ({"error": "{id}.e"}, [("0", "stdout"), ("0", "stderr"), ("1", "stdout")]),
    ],
    ids=["default", "one file", "by rank", "errors by rank", "one file of errors"],
)
def test_tasks_and_streams_are_told_apart_where_they_have_files_of_their_own(
    spool: SpoolMaker, handle: Handle, tmp_path: Path, paths: dict[str, str], sources: list[tuple[str, str]]
):
    """`count` in the header is how many ends of a stream there will be."""
    (spool.root / "output").mkdir(exist_ok=True)
    job = spool.add(*COMPLETED, tasks=2, cwd=str(tmp_path), **paths)
    for file in output_files(job.spec, job.id, str(spool.root / "output")):
        Path(file.path).write_text(f"{file.rank} {file.stream}\n")
    header, *events = watched(handle, job.id)
    assert [(one.context["rank"], one.context["stream"]) for one in events if one.context.get("eof")] == sources
    for event in events[: len(sources)]:
        assert event.context["data"] == f"{event.context['rank']} {event.context['stream']}\n"
    count = header.context["count"]
    assert count["stdout"] == len([stream for _, stream in sources if stream == "stdout"])
    assert count["stderr"] == (len([stream for _, stream in sources if stream == "stderr"]) or 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe\0\x80", "grüße ƒ 💯".encode() * 30_000, b"\xf0\x9f\x92", os.urandom(300_000), b"\xc3" * 10,
     b"a" * (module.CHUNK_BYTES - 1) + "💯".encode()],
    ids=["nothing", "no text", "text over many portions", "half a character", "noise", "starts", "over the border"],
)  # fmt: skip
def test_every_byte_is_given_once(spool: SpoolMaker, handle: Handle, data: bytes):
    job = spool.add(*COMPLETED)
    write(spool, data)
    assert read(watched(handle, job.id)) == data


def test_text_is_not_cut_inside_a_character(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED)
    write(spool, b"a" * (module.CHUNK_BYTES - 1) + "💯".encode() + b"b")
    assert all("encoding" not in event.context for event in watched(handle, job.id) if event.name == "data")


def test_what_is_written_meanwhile_is_given_as_it_comes(spool: SpoolMaker, handle: Handle):
    """Half a character waits for its other half; the job's last words are not lost."""
    job = spool.add(*STARTED)
    write(spool, "grü".encode()[:-1])
    future = event_watch_async(handle, job.id, "guest.output")
    assert future.get_event().name == "header"
    assert future.get_event().context["data"] == "gr"
    with pytest.raises(TimeoutError):
        future.wait_for(0)
    write(spool, "ü".encode()[1:] + b"sse", mode="ab")
    assert future.get_event().context["data"] == "üsse"
    write(spool, b", last words", mode="ab")
    spool.add(("finish", {"status": 0}), *ENDED, id_=job.id)
    assert future.get_event().context["data"] == ", last words"
    assert future.get_event().context == {"stream": "stdout", "rank": "0", "eof": True}
    assert future.get_event() is None


def test_a_job_that_waits_has_no_output_yet(spool: SpoolMaker, handle: Handle):
    job = spool.add(*QUEUED)
    write(spool, b"of an earlier life")
    with pytest.raises(TimeoutError):
        event_watch_async(handle, job.id, "guest.output").wait_for(0)


def test_a_job_that_never_ran_has_none(spool: SpoolMaker, handle: Handle):
    assert watched(handle, spool.add(*CANCELED).id) == []


def test_a_file_that_is_gone_is_empty(spool: SpoolMaker, handle: Handle):
    assert [event.name for event in watched(handle, spool.add(*COMPLETED).id)] == ["header", "data"]


def test_what_is_no_file_is_not_read(spool: SpoolMaker, handle: Handle, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        job = spool.add(*COMPLETED, output=str(path))
        assert read(watched(handle, job.id)) == b""


def test_it_can_be_looked_up_at_once(spool: SpoolMaker, handle: Handle):
    job = spool.add(*STARTED)
    write(spool, b"so far")
    found = handle.rpc("job-info.lookup", {"id": job.id, "keys": ["guest.output"]}).get()["guest.output"]
    assert read([EventLogEvent(line) for line in found.splitlines()]) == b"so far"
