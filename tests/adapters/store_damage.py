"""Flip bits in a store: no reader is deceived. `python -m tests.adapters.store_damage --seed 1 --count 10000`.

The property, for each flip: whatever is read is as it was, or `check-spool` has a finding; who reads gets values or a
refusal, never another exception; and what a scheduler would start with is as it was, whatever is found, or refused.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen, mutable

from jqsched.adapters.store import wal
from jqsched.adapters.store.fsck import audit
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import StoreRefused
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.event import Event
from jqsched.core.filters import Rule, read_rule, rules_text
from jqsched.core.job import Dependency, Reason, Spec
from jqsched.ports import RULES, Attempt, PortError
from jqsched.testing.contracts.store import Author, Heard

LIVES = ("clean", "priority", "start", "clean", "failed", "canceled", "held")
JOBS = 49
FILES = ("jqsched.db", "jqsched.db-wal")
RULE = {
    "uuid": "12345678-1234-1234-1234-123456789012",
    "priority": 1,
    "predicates": [],
    "action": "PAUSE",
    "watermark": 0,
}


# ---- a store that has seen something ------------------------------------------------------------------------------


def tell(author: Author, number: int) -> list[Event]:
    """The events of one more job: finished, waiting, running, failed, canceled or held."""
    life = LIVES[number % len(LIVES)]
    spec = Spec(
        ("sh", "-c", f"work {number}"),
        f"job{number % 5}",
        "/home/user",
        env=(("HOME", "/home/user"), ("LONG", "x" * (6000 if number == 8 else number))),
        dependencies=(Dependency("afterok", 7),) if life == "priority" else (),
        reasons=(Reason("user", "because"),),
    )
    plain = life if life in ("clean", "priority", "start") else "clean" if life == "failed" else "priority"
    events = author.life(number, plain, spec)
    if life == "failed":
        events = [Event(e.jobid, e.t_us, e.name, {"status": 256}) if e.name == "finish" else e for e in events]
    t_us = events[-1].t_us + 1
    if life == "canceled":
        note = {"type": "cancel", "severity": 0, "note": f"nobody wants {number}", "userid": 1000}
        events += [Event(number, t_us, "exception", note), Event(number, t_us + 1, "clean")]
    if life == "held":
        events += [Event(number, t_us, "urgency", {"urgency": 0, "userid": 1000})]
    return events


def write(store: SqliteStore) -> None:
    """Write a history in many commits, with what a scheduler keeps beside it; the log is taken over once."""
    author, heard = Author(), Heard()
    store.start(heard)
    rule = read_rule(RULE)
    assert isinstance(rule, Rule)
    settings = ((RULES, rules_text((rule,))), ("drained", "1"), ("home", '["m","/spool",7]'), ("last_id", str(JOBS)))
    heard.wait_for_batch(store.submit(author.batch(settings=settings)))
    for number in range(1, JOBS + 1):
        events = tell(author, number)
        live = events[-1].name != "clean"
        runs = (Attempt(number, 1, 4000 + number, 99 * number, "boot"),) if events[-1].name == "start" else ()
        text = ((number, f'{{"command": ["work", "{number}"]}}'),) if live else ()
        heard.wait_for_batch(store.submit(author.batch(events, attempts=runs, files=text)))
        if number == JOBS // 2:
            store._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    seqs = (("seq", str(author.queue.seq)), ("last_us", str(author.queue.last_us)))
    heard.wait_for_batch(store.submit(author.batch(purged=(3, 4), settings=seqs)))


def make(folder: Path) -> tuple[Path, Path]:
    """Make a store that was closed, and one as kill -9 leaves it: with all that is new in its log."""
    work, closed, killed = (folder / name for name in ("work", "closed", "killed"))
    for made in (work, closed, killed):
        made.mkdir()
    with closing(SqliteStore(str(work), lambda: None)) as store:
        write(store)
        for name in FILES:
            shutil.copyfile(work / name, killed / name)
    shutil.copyfile(work / FILES[0], closed / FILES[0])
    return closed, killed


# ---- what can be read ---------------------------------------------------------------------------------------------


def lists(reader: StoreReader) -> Iterator[Any]:
    """What commands read."""
    yield list(map(repr, reader.active()))
    yield list(map(repr, reader.finished()))
    yield [job.id for number in range(5) for job in reader.named(f"job{number}")]
    yield reader.permitted()
    yield reader.counts()
    yield reader.last_id(), reader.last_seq(), reader.last_us()


def logs(reader: StoreReader) -> Iterator[Any]:
    """What tells of the past."""
    yield list(map(repr, reader.journal()))
    yield [list(map(repr, reader.events(number))) for number in range(1, JOBS + 1)]


def settings(reader: StoreReader) -> Iterator[Any]:
    """What was set."""
    yield repr(reader.rules())
    yield [reader.setting(key) for key in (RULES, "drained", "home", "last_id", "seq", "last_us", "purged_events")]


def begun(store: SqliteStore) -> Iterator[Any]:
    """What a scheduler begins with."""
    stored = store.load()
    jobs = {**dict(stored.queue.enqueued), **dict(stored.queue.running)}
    yield sorted((id_, repr(job)) for id_, job in jobs.items())
    yield stored.queue.seq, stored.queue.last_us, stored.queue.last_id, repr(stored.queue.rules)
    yield list(map(repr, stored.attempts)), sorted(stored.files.items()), sorted(stored.settings.items())
    yield store.doubt


def asked(store: SqliteStore) -> Iterator[Any]:
    """What a scheduler asks later, and acts upon."""
    for number in range(1, JOBS + 1):
        yield from (repr(store.spec(number)), store.userid(number), store.file(number), store.is_finished(number))
        yield repr(store.outcomes([number], []))


def read(folder: Path) -> dict[str, Any]:
    """All of it; what was refused is its text."""

    def begin() -> SqliteStore:
        return SqliteStore(str(folder), lambda: None, used_before=True)

    def look() -> StoreReader:
        return StoreReader(str(folder))

    ways: tuple[tuple[Callable[[], Any], Callable[[Any], Iterator[Any]]], ...]
    ways = ((look, lists), (look, logs), (look, settings), (begin, begun), (begin, asked))
    return {of.__name__: _told(opens, of) for opens, of in ways}


@frozen
class Refused:
    """One line that says why not."""

    text: str = field(eq=False)


def _told(opens: Callable[[], Any], of: Callable[[Any], Iterator[Any]]) -> Any:
    try:
        with closing(opens()) as opened:
            return list(of(opened))
    except (StoreRefused, PortError) as error:
        return Refused(str(error))


UNKNOWN = ("None", None, False, "{}")  # what a scheduler is told of what it asks: true, refused, or unknown


# ---- flips --------------------------------------------------------------------------------------------------------


@mutable
class Tally:
    """How many flips changed nothing, were found, or deceived a reader."""

    harmless: int = 0
    found: int = 0
    deceived: list[str] = field(factory=list)


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def judge(there: Path, truth: dict[str, Any]) -> tuple[bool, str]:
    """Whether something was found or refused, and which reader was deceived, if any."""
    try:
        findings = audit(str(there))
        seen = read(there)
    except Exception as error:  # that there is none is the property
        return True, f"{type(error).__name__}: {error}"
    lines = [*findings, *(value.text for value in seen.values() if isinstance(value, Refused))]
    if any("\n" in line or not line for line in lines):
        return True, f"not one line: {lines}"
    wrong = [name for name in truth if seen[name] not in (truth[name], Refused(""))]
    if wrong and not findings:
        return True, f"{wrong} not as before, and nothing was found"
    if not any("is not whole" in finding for finding in findings):  # else all is as it was a commit before
        for name in {"begun", "asked"}.intersection(wrong):
            for value, true in zip(seen[name], truth[name], strict=True):
                if value != true and (name == "begun" or value not in UNKNOWN):
                    return True, f"{name}: {value!r:.200} in place of {true!r:.200}"
    return bool(lines), ""


@contextmanager
def _nobody_writes() -> Iterator[None]:
    """So a log that is not whole need not be looked at again a little later."""
    before, wal.PAUSE_S = wal.PAUSE_S, 0.0
    try:
        yield
    finally:
        wal.PAUSE_S = before


def run(seed: int, count: int) -> Tally:
    """Flip `count` bits, each in a copy of its own; half of them in a log that was not taken over yet."""
    dice, tally = random.Random(seed), Tally()
    with _nobody_writes(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = make(folder)
        truths = []
        for number, store in enumerate(stores):
            whole = folder / f"whole{number}"
            shutil.copytree(store, whole)
            assert audit(str(whole)) == []
            truths.append(read(whole))
        assert truths[0] == truths[1]
        assert not any(isinstance(value, Refused) for value in truths[0].values())
        for number in range(count):
            store, there = stores[number % 2], folder / "there"
            shutil.copytree(store, there)
            file = there / dice.choice(sorted(path.name for path in store.iterdir()))
            bit = dice.randrange(file.stat().st_size * 8)
            flip(file, bit)
            found, deceived = judge(there, truths[0])
            if deceived:
                tally.deceived.append(f"{store.name}/{file.name}, bit {bit % 8} of byte {bit // 8}: {deceived}")
            tally.found += found and not deceived
            tally.harmless += not found
            shutil.rmtree(there)
    return tally


def main() -> int:
    """Flip as many as are asked for, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--count", type=int, default=10_000)
    asked_for = parser.parse_args()
    tally = run(asked_for.seed, asked_for.count)
    print(f"seed {asked_for.seed}: {asked_for.count} flips: {tally.found} found, {tally.harmless} harmless,", end=" ")
    print("\n  ".join([f"{len(tally.deceived)} deceived", *tally.deceived]))
    return 1 if tally.deceived else 0


if __name__ == "__main__":
    sys.exit(main())
