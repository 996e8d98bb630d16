"""Check SQLite's write-ahead log before SQLite opens it: does it still hold all that was committed?

Rule: reads only, and knows nothing of jobs. SQLite takes a log up to the first frame that is not as it was written, and
silently drops all after it; here that is a finding. A crash tears the last commit at most, because each is synced
before the next is written; so two commits after the tear, or a log whose head is wrong, are damage.
Source: https://www.sqlite.org/fileformat2.html, section 4.
"""

import os
import struct
import sys
import time
from array import array
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from attrs import frozen

Sums = tuple[int, int]  # SQLite's checksum

_HEAD, _FRAME_HEAD = struct.Struct(">8I"), struct.Struct(">6I")
_MAGIC = 0x377F0682  # and one more where the checksums are of big-endian words
_U32 = 0xFFFFFFFF
_LOOKS = 3
_PAIRS_UNCUT = 16  # 32 bits of room, less than 1.6 for each pair
AT_ONCE = 256  # frames read at once: a megabyte, which stays in a core's cache
PAUSE_S = 0.1  # only where a log is not whole


@frozen
class Look:
    """The result: where the log breaks (a frame's number), and the texts, empty where there is nothing to say.

    `head` is the log's, which is another one whenever the log begins anew.
    """

    at: int = 0
    lost: str = ""
    doubt: str = ""
    head: bytes = b""


_WHOLE = Look()


def look(path: str) -> Look:
    """Check the log of a database; no process may be writing to it. Cost: about 20 us for each page in it."""
    try:
        with open(f"{path}-wal", "rb") as file:
            return _look(file)
    except OSError:
        return _WHOLE  # there is none; or SQLite will say what is wrong with it


def look_beside_a_writer(path: str) -> Look:
    """Check the log while another process may write: what is half written is whole, or gone, a little later."""
    found = look(path)
    for _ in range(_LOOKS):
        if not found.at:
            return found
        time.sleep(PAUSE_S)  # a writer's progress causes no event to wait for
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


def _whole_frames(file: BinaryIO, magic: int, page_bytes: int, sums: Sums, salts: list[int]) -> int:
    """Count the frames that are as they were written."""
    number, frame_bytes = 0, _FRAME_HEAD.size + page_bytes
    while True:
        file.seek(_HEAD.size + number * frame_bytes)
        data = file.read(AT_ONCE * frame_bytes)
        frames = len(data) // frame_bytes
        if not frames:
            return number
        portion = memoryview(data)[: frames * frame_bytes]
        if not _are_whole(portion, frames, magic, sums, salts):
            whole = _frames_before_a_broken_one(portion, frame_bytes, magic, sums, salts)
            if whole < frames:
                return number + whole
        *_, sum_1, sum_2 = _FRAME_HEAD.unpack_from(portion, len(portion) - frame_bytes)
        sums, number = (sum_1, sum_2), number + frames


def _are_whole(portion: memoryview, frames: int, magic: int, sums: Sums, salts: list[int]) -> bool:
    """Compute the checksums of many frames at once, six times as fast as one after the other; whether all are right.

    The sum of a frame goes on from that of the frame before, and that one is stored, so no frame has to wait for
    another. One large integer holds a value of each frame, in 64 bits each, and one addition adds for all of them.
    Sums of 32 bits grow by less than three times with each pair of words, so there is room for some pairs before what
    is above 32 bits has to be cut off.
    False also where words are not in the order of this machine, or that is not a little-endian one.
    """
    if magic & 1 or sys.byteorder != "little":
        return False
    heads, pairs = array("I", portion.tobytes()), array("Q", portion.tobytes())
    heads.byteswap()
    step = len(pairs) // frames
    salt_1, salt_2, stored_1, stored_2 = (heads[word :: 2 * step] for word in (2, 3, 4, 5))
    if salt_1 != array("I", salts[:1] * frames) or salt_2 != array("I", salts[1:] * frames):
        return False
    one, two = _lanes([sums[0], *stored_1[:-1]]), _lanes([sums[1], *stored_2[:-1]])
    cut = _lanes([_U32] * frames)
    for number, pair in enumerate((0, *range(_FRAME_HEAD.size // 8, step)), 1):  # the head's first pair, and the page
        both = int.from_bytes(pairs[pair::step], "little")
        one += (both & cut) + two
        two += (both >> 32 & cut) + one
        if number % _PAIRS_UNCUT == 0:
            one, two = one & cut, two & cut
    return (one & cut, two & cut) == (_lanes(stored_1), _lanes(stored_2))


def _lanes(values: Iterable[int]) -> int:
    """Put values beside each other, 64 bits each."""
    return int.from_bytes(array("Q", values), "little")


def _frames_before_a_broken_one(portion: memoryview, frame_bytes: int, magic: int, sums: Sums, salts: list[int]) -> int:
    """Count the whole frames of a portion before the first that is not."""
    for number, at in enumerate(range(0, len(portion), frame_bytes)):
        *_, salt_1, salt_2, sum_1, sum_2 = _FRAME_HEAD.unpack_from(portion, at)
        page = portion[at + _FRAME_HEAD.size : at + frame_bytes]
        sums = _add(magic, page, _add(magic, portion[at : at + 8], sums))
        if [salt_1, salt_2] != salts or sums != (sum_1, sum_2):
            return number
    return len(portion) // frame_bytes


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


def _add(magic: int, data: bytes | memoryview, sums: Sums) -> Sums:
    """Continue SQLite's checksum over these words."""
    one, two = sums
    for word_1, word_2 in struct.iter_unpack(">II" if magic & 1 else "<II", data):
        one = (one + word_1 + two) & _U32
        two = (two + word_2 + one) & _U32
    return one, two
