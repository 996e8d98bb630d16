"""The long searches of a night, with a fresh seed, on all cores, and one table of what they found.

    python3 dev.py night [--seed N] [--scale F] [--only PART,PART] [--jobs N]

Rule: a part is a function of a seed and a count, and its shares do not know of each other, so what one finds is found
again from its seed alone. `--short` is the small, fixed night that the suite runs, too.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from attrs import frozen
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

import tests.e2e.soak
import tests.fuzz.search
from jqsched.testing.offline import tell_offline
from jqsched.testing.worlds import tell_all
from tests.adapters import store_damage
from tests.core.queue_machine import QueueMachine
from tests.fuzz.targets import KINDS

FINDINGS_SHOWN = 3
SHORT_SEED = 1


@frozen
class Share:
    """How much was tried, and what was found: each a text that begins with how to find it again."""

    tried: int
    findings: tuple[str, ...] = ()


@frozen
class Part:
    """A search: what it tries, how much of it in a night, in one share, and in the short night."""

    name: str
    what: str
    search: Callable[[int, int], Share]
    night: int
    share: int
    short: int


@frozen
class Row:
    """A part and what became of it. CPU is not told: shares take the cores in turn."""

    part: Part
    tried: int
    findings: tuple[str, ...]


# ---- the parts ----------------------------------------------------------------------------------------------------


def worlds(first: int, seeds: int) -> Share:
    """Stories of the whole scheduler on fakes, with crashes and faults."""
    breaches = [breach for _, breach in tell_all(range(first, first + seeds)) if breach]
    return Share(seeds, tuple(breaches))


def offline(first: int, seeds: int) -> Share:
    """The same with commands that act without a scheduler in between."""
    return Share(seeds, tuple(breach for _, breach in tell_offline(range(first, first + seeds)) if breach))


def machine(number: int, examples: int) -> Share:
    """Histories of the queue beside its naive model."""
    searched = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, database=None, derandomize=False,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    seeded = seed(number)(type("Seeded", (QueueMachine,), {}))
    try:
        run_state_machine_as_test(seeded, settings=searched)
    except Exception as error:  # whatever a law or the queue itself raises is what is looked for
        notes = "\n".join(getattr(error, "__notes__", ()))
        return Share(examples, (f"seed {number}, {examples} examples: {type(error).__name__}: {error}\n{notes}",))
    return Share(examples)


def fuzz(name: str, number: int, count: int) -> Share:
    """Inputs of one kind, made of its corpus."""
    result = tests.fuzz.search.run(KINDS[name], number, count)
    again = f"python -m tests.fuzz --kind {name} --seed {number}"
    return Share(
        result.tried, tuple(f"{again} --from {at.number}: {at.path}\n{at.fault.text}" for at in result.findings)
    )


def damage(number: int, flips: int) -> Share:
    """Bits that are flipped in a store."""
    tally = store_damage.run(number, flips)
    again = f"python -m tests.adapters.store_damage --seed {number} --count {flips}"
    return Share(flips, tuple(f"{again}: {broken}" for broken in tally.deceived))


def soak(number: int, kills: int) -> Share:
    """A real scheduler under four clients, killed so often, with its executor."""
    with tempfile.TemporaryDirectory(prefix="jqsched-soak-") as folder:
        findings, _ = tests.e2e.soak.tell(Path(folder), number, kills)
    return Share(kills, tuple(f"python -m tests.e2e.soak {number} {kills}: {finding}" for finding in findings))


def sweeps(_: int, tests: int) -> Share:
    """The tests that are too long for the suite: what dies at every call, very many files, twenty kills. No seeds."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "sweep", "--timeout", "7200", *SWEPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = tuple(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR")))
    return Share(tests, failed or ((done.stdout + done.stderr,) if done.returncode else ()))


SWEPT = ("tests/e2e", "tests/crash")
PARTS = (
    Part("worlds", "stories of the whole scheduler, with crashes, power cuts and faults", worlds, 40_000, 500, 20),
    Part("offline", "such stories with commands that act without a scheduler", offline, 20_000, 500, 10),
    Part("machine", "histories of the queue beside its naive model", machine, 100_000, 1_000, 10),
    Part("store", "bits flipped in a store", damage, 20_000, 500, 10),
    *(
        Part(f"fuzz {name}", f"inputs made of the corpus of {name}", partial(fuzz, name), 100_000, 5_000, 20)
        for name in KINDS
    ),
    Part("soak", "kills of real schedulers and executors under four clients", soak, 400, 50, 2),
    Part("sweeps", "runs of all long tests with real processes", sweeps, 1, 1, 0),
)


# ---- a night ------------------------------------------------------------------------------------------------------


def shares(part: Part, seed_: int, most: int) -> Iterator[tuple[int, int]]:
    """The seeds and counts of a part's shares: together so many, and no seed twice."""
    for begin in range(0, most, part.share):
        yield seed_ + begin, min(part.share, most - begin)


def run(parts: Sequence[Part], seed_: int, jobs: int, how_many: Callable[[Part], int]) -> Iterator[Row]:
    """Search all parts, and give a row for each, in their order."""
    if jobs == 1:
        for part in parts:
            yield _row(part, [part.search(*share) for share in shares(part, seed_, how_many(part))])
        return
    with ProcessPoolExecutor(jobs) as pool:
        begun = [[pool.submit(part.search, *share) for share in shares(part, seed_, how_many(part))] for part in parts]
        for part, futures in zip(parts, begun, strict=True):
            yield _row(part, [future.result() for future in futures])


def _row(part: Part, done: Sequence[Share]) -> Row:
    return Row(part, sum(share.tried for share in done), sum((share.findings for share in done), ()))


def table(rows: Sequence[Row]) -> str:
    """The findings in full, the first of each part, and the table."""
    text = "".join(f"{row.part.name}: {finding}\n\n" for row in rows for finding in row.findings[:FINDINGS_SHOWN])
    lines = [f"| {'part':<18} | {'tried':>9} | {'found':>5} | what |", "|---|---|---|---|"]
    lines += [f"| {row.part.name:<18} | {row.tried:>9,} | {len(row.findings):>5} | {row.part.what} |" for row in rows]
    return text + "\n".join(lines)


def main(arguments: Sequence[str], parts: Sequence[Part] = PARTS) -> int:
    """Search for a night; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python3 dev.py night", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="where to begin (default: a fresh one)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of a night's work (default 1.0)")
    parser.add_argument("--only", default="", help="comma list of " + ", ".join(part.name for part in parts))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    parser.add_argument("--short", action="store_true", help="the small, fixed night of the suite")
    options = parser.parse_args(arguments)
    chosen = [part for part in parts if not options.only or part.name in options.only.split(",")]
    if not chosen:
        parser.error(f"no part {options.only!r}")
    seed_ = SHORT_SEED if options.short else options.seed if options.seed is not None else secrets.randbits(40)
    begin = time.monotonic()
    how_many = partial(_how_many, options.scale, short=options.short)
    rows = list(run(chosen, seed_, options.jobs, how_many))
    print(table(rows))
    print(f"seed {seed_}, {time.monotonic() - begin:.0f} s")
    return 1 if any(row.findings for row in rows) else 0


def _how_many(scale: float, part: Part, *, short: bool) -> int:
    return part.short if short else max(1, round(part.night * scale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
