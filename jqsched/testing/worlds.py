"""Many seeded stories, on all cores: `python -m jqsched.testing.world --seeds 10000`.

Rule: a seed's story does not depend on the others, so any range can be told in any number of processes.
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from attrs import evolve

from jqsched.testing.world import FIGURES, STEPS, Tally, Violation, World

CHUNK = 50


def tell(seed: int, steps: int = STEPS) -> tuple[Tally, str]:
    """Tell one story to its end; the figures, and the breach of a law if there is one."""
    world = World(seed)
    try:
        world.run(steps).settle()
    except Violation as breach:
        return evolve(world.result(), violations=1), str(breach)
    return world.result(), ""


def tell_all(seeds: Iterable[int], steps: int = STEPS, jobs: int = 1) -> Iterator[tuple[Tally, str]]:
    """Tell many, in the order of their seeds."""
    one = partial(tell, steps=steps)
    if jobs <= 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, seeds, chunksize=CHUNK)


def main(arguments: list[str]) -> int:
    """Tell a range of stories, print the breaches and one table of figures; 1 if a law was broken."""
    parser = argparse.ArgumentParser(prog="python -m jqsched.testing.world", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="the first seed (default 0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each story (default {STEPS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    parser.add_argument("--show", type=int, default=3, help="so many breaches are printed in full (default 3)")
    options = parser.parse_args(arguments)
    total, shown = Tally(), 0
    for tally, breach in tell_all(range(options.first, options.first + options.seeds), options.steps, options.jobs):
        total += tally
        if breach:
            shown += 1
            print(breach if shown <= options.show else breach.splitlines()[0], end="\n\n", flush=True)
    print(table(total))
    return 1 if total.violations else 0


def table(tally: Tally) -> str:
    """The figures, one a line."""
    lines = zip(FIGURES, tally.figures, strict=True)
    return "\n".join(f"{name.replace('_', ' '):<16} {figure:>10,}" for name, figure in lines)
