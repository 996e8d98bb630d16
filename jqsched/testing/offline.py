# ruff: noqa: SLF001 - a part of `world`, in a file of its own
"""Seeded stories in which commands act without a scheduler, as processes of their own, between the schedulers' lives.

Rule: they go through the same code as `jqsched submit` without a scheduler: a scheduler without an executor, which
starts, does what is asked, and ends, or is killed on its way. The laws are those of `world`.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from attrs import evolve

from jqsched.testing.harness import TURN_US, Rig
from jqsched.testing.world import STEPS, Tally, Violation, World, table

TURNS_MOST = 5
DEADLY_WRITES = 12


def command(world: World) -> None:
    """A command acts without a scheduler, and ends; or is killed on its way."""
    rig, choose = world.rig, world._choose
    world._say("a command without a scheduler starts")
    world.is_up = True
    world.users.forget()
    world.laws.loaded(rig.store.load().queue)
    if not choose(3):
        rig.fuse.light(choose(DEADLY_WRITES))
    world._drive(partial(rig.boot, offline=True))
    if world.is_up:
        world._drive(world.users.command() if choose(4) else world.users.change_rules())
    for _ in range(1 + choose(TURNS_MOST)):
        world._pass(TURN_US)
        for act in (partial(_turn, rig), world._write, partial(_hear, rig)):
            if world.is_up:
                world._drive(act)
        if world.is_up:
            world.laws.check()
    if world.is_up:
        world._fall("the command ends")


def _turn(rig: Rig) -> None:
    rig.scheduler.turn()


def _hear(rig: Rig) -> None:
    rig.scheduler.do_tasks()


DOWN = table(
    (30, World.boot),
    (60, command),
    (10, World.drop),
    (10, World.edit),
    (5, World.wait),
    (5, World.end),
    (5, World.delete),
    (3, World.kill_executor),
    (2, World.cut_power),
)


def tell_offline(seeds: Iterable[int], steps: int = STEPS) -> Iterator[tuple[Tally, str]]:
    """Tell such stories to their ends: the figures, and the breach of a law if there is one."""
    for seed in seeds:
        world = World(seed, down=DOWN)
        try:
            world.run(steps).settle()
        except Violation as breach:
            yield evolve(world.result(), violations=1), f"with commands without a scheduler: {breach}"
        else:
            yield world.result(), ""
