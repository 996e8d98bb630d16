"""The search: inputs made of a corpus are put to a target, and what must not be is a finding.

Rule: input number N of a kind and a seed is always the same (as long as the corpus is), and is judged without regard to
those before it; so a finding is named by kind, seed and number. Work is bounded by counting calls, not by a clock.
"""

import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from attrs import define, field, frozen

from tests.fuzz.mutation import mutated

CORPUS = Path(__file__).parent / "corpus"
LINES_MAX = 64
FINDINGS_MAX = 20
TRIES_MAX = 1_000  # to make an input smaller
HANG_S = 10  # of CPU, for one input: what takes so long is taken for endless

Target = Callable[[bytes], tuple[str, ...]]


@frozen
class Kind:
    """A kind of input: the words of its language, and what it is put to.

    `target(data)` gives the lines of a refusal, none when the input was accepted; whatever it raises is a finding.
    """

    name: str
    target: Target
    words: tuple[bytes, ...]
    calls_max: int = 100_000  # for one input; of each byte of it `calls_per_byte` more
    calls_per_byte: int = 500
    line_max: int = 2_000  # characters of one line of a refusal

    def corpus(self) -> list[Path]:
        """The files of its corpus, in order."""
        return sorted((CORPUS / self.name).iterdir())


@frozen
class Fault:
    """What must not be: `where` tells one fault from another, `text` is for people."""

    where: str
    text: str


@frozen
class Finding:
    """An input that shows a fault, made as small as it is easily made, and where it was put."""

    number: int
    fault: Fault
    data: bytes
    path: Path


@define
class Result:
    """What a search has tried."""

    kind: str
    seed: int
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    findings: list[Finding] = field(factory=list)

    def __str__(self) -> str:
        told = f"{self.kind}: seed {self.seed}: {self.tried} inputs, {self.accepted} accepted, {self.refused} refused, "
        return told + f"{len(self.findings)} findings"


def run(
    kind: Kind, seed: int, count: int, *, first: int = 0, folder: Path | None = None, findings_max: int = FINDINGS_MAX
) -> Result:
    """Try `count` inputs, from number `first` on; each fault is reported once, with its input in `folder`."""
    seeds = [path.read_bytes() for path in kind.corpus()]
    result = Result(kind.name, seed)
    known: set[str] = set()
    for number in range(first, first + count):
        data = made(kind, seed, number, seeds)
        refused, fault = judge(kind, data)
        result.tried += 1
        result.refused += refused and fault is None
        result.accepted += not refused and fault is None
        if fault is None or fault.where in known:
            continue
        known.add(fault.where)
        result.findings.append(_kept(kind, seed, number, fault, data, folder))
        if len(result.findings) >= findings_max:
            break
    return result


def made(kind: Kind, seed: int, number: int, seeds: list[bytes]) -> bytes:
    """Make input `number`."""
    return mutated(Random(f"{kind.name} {seed} {number}"), seeds, kind.words)


def _kept(kind: Kind, seed: int, number: int, fault: Fault, data: bytes, folder: Path | None) -> Finding:
    small = minimised(kind, data, fault.where)
    folder = folder or Path(tempfile.mkdtemp(prefix="jqsched-fuzz-"))
    path = folder / f"{kind.name}-{seed}-{number}"
    path.write_bytes(small)
    return Finding(number, fault, small, path)


# ---- judging --------------------------------------------------------------------------------------------------------


class _TooMuch(BaseException):
    """An input took more work than any may; no handler for mere exceptions holds it up."""


def judge(kind: Kind, data: bytes) -> tuple[bool, Fault | None]:
    """Put one input to its target: whether it was refused, and what was wrong with that."""
    try:
        with _bounded(kind.calls_max + kind.calls_per_byte * len(data)):
            lines = kind.target(data)
    except Exception as wrong:  # whatever escapes from a target is what is looked for
        return False, _fault(wrong)
    except _TooMuch as wrong:
        return False, _fault(wrong)
    bad = [what for line in lines[: LINES_MAX + 1] if (what := _no_refusal(line, kind.line_max))]
    if len(lines) > LINES_MAX:
        bad.append(f"a refusal of {len(lines)} lines")
    return bool(lines), Fault(bad[0].partition(":")[0], "; ".join(bad)) if bad else None


def _no_refusal(line: str, line_max: int) -> str:
    """Say why this is no line that a user can be shown; empty when it is."""
    if not line.strip():
        return "an empty line"
    if len(line) > line_max:
        return f"a line too long: {len(line)} characters: {line[:60]!a}…"
    return "" if line.isprintable() else f"a line that is not printable: {line[:300]!a}"


def _fault(wrong: BaseException) -> Fault:
    """A fault by the kind of exception and the line of ours that it came from."""
    frames = traceback.extract_tb(wrong.__traceback__)
    ours = [frame for frame in frames if "/jqsched/" in frame.filename or frame.filename.endswith("targets.py")]
    last = (ours or frames)[-1]
    where = f"{type(wrong).__name__} at {Path(last.filename).name}:{last.lineno}"
    if isinstance(wrong, _TooMuch | RecursionError):  # where it breaks off says nothing
        where = type(wrong).__name__
    return Fault(where, f"{where}: {str(wrong)[:300]!a}\n" + "".join(traceback.format_list(frames[-6:])))


@contextmanager
def _bounded(calls_max: int) -> Iterator[None]:
    """Count the calls, of C functions too; past the bound, or HANG_S of CPU without end, it is _TooMuch."""
    left = calls_max

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal left
        if event in ("call", "c_call"):
            left -= 1
            if left == 0:
                raise _TooMuch(f"more than {calls_max} calls")

    def hangs(_signum: int, _frame: FrameType | None) -> None:
        raise _TooMuch(f"{HANG_S} s of CPU, and no end")

    before, handler = sys.getprofile(), signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)


def minimised(kind: Kind, data: bytes, where: str, tries: int = TRIES_MAX) -> bytes:
    """Drop parts, ever smaller ones, as long as the same fault is there."""
    size = max(len(data) // 2, 1)
    while size and tries > 0:
        at, dropped = 0, False
        while at < len(data) and tries > 0:
            tries -= 1
            less = data[:at] + data[at + size :]
            fault = judge(kind, less)[1]
            if fault is not None and fault.where == where:
                data, dropped = less, True
            else:
                at += size
        size = size if dropped and size == 1 else size // 2
    return data
