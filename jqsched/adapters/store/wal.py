"""SQLite's write-ahead log, looked at before SQLite does: does it still say all that was committed?

Rule: reads only, and knows nothing of jobs. SQLite takes a log up to the first frame that is not as it was written, and
drops all after it without a word; here that is a finding. A crash tears the last commit at most, because each is synced
before the next is written; so two commits after the tear, or a log whose head is wrong, are damage.
Source: https://www.sqlite.org/fileformat2.html, section 4.
"""

import os
import struct
import time
from collections.abc import Iterator
from typing import BinaryIO

from attrs import frozen

_HEAD, _FRAME_HEAD = struct.Struct(">8I"), struct.Struct(">6I")
_MAGIC = 0x377F0682  # and one more where the checksums are of big-endian words
_U32 = 0xFFFFFFFF
_LOOKS = 3
PAUSE_S = 0.1  # only where a log is not whole


@frozen
class Look:
    """What was found: where the log breaks (a frame's number), and the texts, empty where there is nothing to say.

    `head` is the log's, which is another one whenever the log begins anew.
    """

    at: int = 0
    lost: str = ""
    doubt: str = ""
    head: bytes = b""


_WHOLE = Look()


def look(path: str) -> Look:
    """Look at the log of a database; nobody may be writing to it. Cost: about 0.1 ms for each page in it."""
    try:
        with open(f"{path}-wal", "rb") as file:
            return _look(file)
    except OSError:
        return _WHOLE  # there is none; or SQLite will say what is wrong with it


def look_beside_a_writer(path: str) -> Look:
    """The same where somebody may be writing: what was half written at one look is whole, or gone, a little later."""
    found = look(path)
    for _ in range(_LOOKS):
        if not found.at:
            return found
        time.sleep(PAUSE_S)  # nobody tells when a writer has gone on
        before, found = found, look(path)
        if (found.at, found.head) == (before.at, before.head):
            return found
    return _WHOLE


def _look(file: BinaryIO) -> Look:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return _WHOLE
    magic, _, page_bytes, _, *salts, sum_1, sum_2 = _HEAD.unpack(head)
    if (magic | 1) != _MAGIC | 1 or _add(magic, head[:24], (0, 0)) != (sum_1, sum_2):
        return (
            Look(1, lost="its head is damaged, so all commits in it are lost", head=head)
            if os.fstat(file.fileno()).st_size > _HEAD.size
            else _WHOLE
        )
    whole = _whole_frames(file, magic, page_bytes, (sum_1, sum_2), salts)
    after = list(_frames_after(file, whole, page_bytes, salts))
    commits = sum(size > 0 for size in after)
    if commits > 1:
        lost = f"damaged at frame {whole + 1}, so the last {commits} commits in it are lost"
        return Look(whole + 1, lost=lost, head=head)
    if after:
        return Look(
            whole + 1,
            doubt=f"the last commit, at frame {whole + 1}, is not whole: a crash tore it, and then nobody was told of"
            " it; or it is damaged, and what it said is lost",
            head=head,
        )
    return _WHOLE


def _whole_frames(file: BinaryIO, magic: int, page_bytes: int, sums: tuple[int, int], salts: list[int]) -> int:
    """How many frames are as they were written; the file is then after the last of them."""
    number = 0
    while True:
        frame = file.read(_FRAME_HEAD.size + page_bytes)
        if len(frame) < _FRAME_HEAD.size + page_bytes:
            return number
        *_, salt_1, salt_2, sum_1, sum_2 = _FRAME_HEAD.unpack_from(frame)
        if [salt_1, salt_2] != salts:
            return number
        sums = _add(magic, frame[_FRAME_HEAD.size :], _add(magic, frame[:8], sums))
        if sums != (sum_1, sum_2):
            return number
        number += 1


def _frames_after(file: BinaryIO, whole: int, page_bytes: int, salts: list[int]) -> Iterator[int]:
    """Of each frame after the whole ones that belongs to this log, and not to an older one: the size that it commits.

    Salts are random, so one that is off by a bit is damaged, not older.
    """
    wanted = salts[0] << 32 | salts[1]
    at, step = _HEAD.size + whole * (_FRAME_HEAD.size + page_bytes), _FRAME_HEAD.size + page_bytes
    while True:
        file.seek(at)
        frame = file.read(_FRAME_HEAD.size)
        if len(frame) < _FRAME_HEAD.size:
            return
        _, size, salt_1, salt_2, *_ = _FRAME_HEAD.unpack(frame)
        if ((salt_1 << 32 | salt_2) ^ wanted).bit_count() <= 1:
            yield size
        at += step


def _add(magic: int, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """Go on with SQLite's checksum."""
    one, two = sums
    for word_1, word_2 in struct.iter_unpack(">II" if magic & 1 else "<II", data):
        one = (one + word_1 + two) & _U32
        two = (two + word_2 + one) & _U32
    return one, two
