"""World: seeded random histories of a whole scheduler, with users, processes, disks and crashes.

Rule: the same seed gives the same history to the byte, on any machine. What a port's contract leaves open is drawn:
when commits complete, in which order attempts are reported, when scheduler, executor or power fail. After every step
the laws are checked; a breach says seed, step and story. `python -m jqsched.testing.world --help` tells many.
"""

import json
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from attrs import evolve, frozen

from jqsched.core import policy
from jqsched.core.policy import Limits
from jqsched.core.queue import find
from jqsched.ports import ExecutorLost, Finished, News, PortError, Start
from jqsched.testing.fake_executor import FakeExecutor, Plan
from jqsched.testing.faults import Crashed
from jqsched.testing.harness import GRACE_US, TURN_US, Rig
from jqsched.testing.invariants import Laws
from jqsched.testing.workload import BROKEN, Users

T = TypeVar("T")

STEPS = 100
CORES_MOST = 4
REST_ROUNDS = 400  # so many at most until a world without faults has come to rest
RUN_US = (0, 1_000, 20_000, 400_000, 6_000_000, None, None)
STATUSES = (0, 0, 0, 1 << 8, (128 + 9) << 8)
FAILS, PUT_OFF = "start failed: no such file", "start failed: no room for a process"
PAUSES_US = (0, 1_000, 20_000, 500_000, 3_000_000)
JUMPS_US = (-3_600_000_000, -50, 50, 3_600_000_000)


@frozen
class Tally:
    """Counts of what happened in one history, or in many."""

    seeds: int = 0
    steps: int = 0
    crashes: int = 0
    power_cuts: int = 0
    failed_writes: int = 0
    executor_losses: int = 0
    accepted: int = 0
    finished: int = 0
    attempts: int = 0
    interruptions: int = 0
    answers: int = 0
    violations: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(mine + theirs for mine, theirs in zip(self.figures, other.figures, strict=True)))

    @property
    def figures(self) -> tuple[int, ...]:
        """All figures, in the order in which they are named."""
        return tuple(getattr(self, name) for name in FIGURES)


FIGURES = tuple(Tally.__annotations__)


class Violation(AssertionError):
    """A law was broken: the text has the seed, the step, and what led there."""


class World:
    """One scheduler's life, from one seed. `run` tells it; `settle` lets it come to a good end."""

    def __init__(self, seed: int, plugins: tuple[str, ...] = (), down: "Moves | None" = None, backoff: int = 1) -> None:
        self._down = down or (DOWN, DOWN_WEIGHTS)  # what may happen while no scheduler runs
        self.seed, self.step = seed, 0
        self.story: list[str] = []
        self.tally = Tally(seeds=1)
        self._random = Random(seed)
        self._choose: Callable[[int], int] = self._random.randrange
        ahead = self._choose(4)
        self._limits = Limits(
            1 + self._choose(3), CORES_MOST - self._choose(3), ahead, interruptions_max=1 + self._choose(3)
        )
        self._room = evolve(self._limits, cores=CORES_MOST)
        self.rig = Rig(lambda text, name: BROKEN, self._limits, self._planned, plugins)
        self.laws = Laws(self.rig)
        self.is_up = False
        self._calm = False
        self.users = Users(self.rig, self.laws, self._choose, self._say, backoff)

    # -- telling

    def run(self, steps: int = STEPS) -> "World":
        """Tell so many steps more. Raises Violation."""
        for _ in range(steps):
            self.step += 1
            self._guarded(self._move)
        self.tally = evolve(self.tally, steps=self.step)
        return self

    def settle(self) -> "World":
        """No faults any more, every job ends, and every job is let through: everything comes to rest, and a job that is
        left has a reason. Raises Violation.
        """
        self._calm = True
        self._guarded(self._come_to_rest)
        return self

    def journal(self) -> str:
        """All that ever was durable, an event a line."""
        events = ([event.t_us, event.jobid, event.name, dict(event.context)] for event in self.laws.journal)
        return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)

    def result(self) -> Tally:
        """The figures so far."""
        laws, executor = self.laws, self.rig.executor
        return evolve(
            self.tally,
            accepted=len(laws.accepted),
            finished=len(laws.finished),
            attempts=len(executor.launched),
            interruptions=laws.interruptions,
        )

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
            if self.is_up:
                self.laws.check()
        except Exception as wrong:  # whatever the scheduler raises, it should not have
            raise Violation(self._told(wrong)) from wrong

    def _told(self, wrong: Exception) -> str:
        what = str(wrong) if isinstance(wrong, AssertionError) and str(wrong) else repr(wrong)
        call = f"World({self.seed}).run({self.step})" + (".settle()" if self._calm else "")
        return f"{call}: step {self.step}: {what}\nThe story so far:\n" + "\n".join(self.story)

    def _say(self, text: str) -> None:
        self.story.append(f"{self.step:4} {text}")

    def _count(self, name: str) -> None:
        self.tally = evolve(self.tally, **{name: getattr(self.tally, name) + 1})

    def _of(self, options: Sequence[T]) -> T:
        return options[self._choose(len(options))]

    def _planned(self, order: Start) -> Plan:
        """How an attempt behaves that starts now."""
        fails, failed = {0: (FAILS, 127 << 8), 1: (PUT_OFF, None)}.get(self._choose(14), (None, None))
        status = self._of(STATUSES) if fails is None else failed
        plan = Plan(self._of(RUN_US), status, stubborn=not self._choose(6), fails=fails)
        runs = "for ever" if plan.run_us is None else f"for {plan.run_us} us"
        self._say(f"     job {order.id} attempt {order.attempt} " + (fails or f"runs {runs}, status {status}"))
        return plan

    # -- moves

    def _move(self) -> None:
        moves, weights = (UP, UP_WEIGHTS) if self.is_up else self._down
        (move,) = self._random.choices(moves, cum_weights=weights)
        move(self)

    def drop(self) -> None:
        """Drop files."""
        self.users.drop()
        if self.is_up:
            self.rig.scheduler.intake.more = True

    def edit(self) -> None:
        """Change a job's file."""
        self.users.edit()

    def delete(self) -> None:
        """Delete a job's file."""
        self.users.delete()

    def look(self) -> None:
        """Report the changed files to the scheduler, as the folder watcher does."""
        if self.users.changed:
            changed, self.users.changed = sorted(self.users.changed), set()
            self._say(f"look at the files of {changed}")
            self._drive(lambda: self.rig.scheduler.intake.look_at(changed))

    def command(self) -> None:
        """Send a user's command."""
        self._drive(self.users.command())

    def govern(self) -> None:
        """Send an owner's command: drain, resume, purge, or set limits or rules."""
        match self._of(("stop-starts", "resume", "resume", "purge", "limits", "limits", "rules", "rules", "rules")):
            case "limits":
                limits = evolve(self._limits, max_running=self._choose(4), cores=CORES_MOST - self._choose(3))
                self._say(f"limits: {limits.max_running} jobs, {limits.cores} cores")
                self.rig.limits = limits
                self._drive(lambda: self.rig.scheduler.set_limits(limits, GRACE_US))
            case "rules":
                self._drive(self.users.change_rules())
            case "purge":
                self._drive(self.users.purge())
            case topic:
                self._drive(self.users.ask(topic, {}))

    def turn(self) -> None:
        """Let the scheduler take a turn."""
        rig, before = self.rig, self.rig.head
        self._pass(self._of((0, 1_000, TURN_US, TURN_US)))

        def turn() -> None:
            rig.scheduler.turn()
            if rig.head is not before:
                self.laws.turned(before)

        self._drive(turn)

    def commit(self) -> None:
        """Commit the submitted batches; the scheduler learns of it in its next turn."""
        if self.rig.store.pending:
            self._write()
            self._say(f"commit, up to event {self.laws.replayed.seq}")

    def _write(self) -> None:
        store = self.rig.store
        before = len(store.written)
        store.commit()
        if len(store.written) > before:
            self.laws.durable(store.written[before:])

    def tell(self) -> None:
        """Deliver some of the executor's reports to the scheduler, in order for each attempt."""
        for _ in range(1 + self._choose(3)):
            if self.is_up:
                self._drive(self._tell_one)

    def _tell_one(self) -> None:
        told = self.rig.executor.deliver_one(self._choose, again=not self._calm and not self._choose(5))
        if told is not None:
            self._say(f"told: {_news(told)}")

    def _pass(self, us: int) -> None:
        """Time passes, for scheduler and executor."""
        self.rig.clock.advance(us)
        self.rig.advance(us)

    def wait(self) -> None:
        """Advance the time."""
        us = self._of(PAUSES_US)
        self._say(f"{us} us pass")
        self._pass(us)

    def end(self) -> None:
        """End a process: it exits, or a user kills it."""
        running = self.rig.executor.running()
        if running:
            id_, _ = self._of(running)
            status = self._of(STATUSES)
            self._say(f"job {id_} ends with {status}")
            self.rig.executor.end(id_, status)
            self.rig.advance()

    # -- faults

    def light(self) -> None:
        """Arrange for the scheduler to die soon, between two writes."""
        if not self.rig.fuse.is_lit:
            self.rig.fuse.light(self._choose(6))

    def crash(self) -> None:
        """Kill the scheduler; batches that it submitted may become durable all the same."""
        self._fall("the scheduler is killed")

    def cut_power(self) -> None:
        """Cut the power: every process dies, and the disk keeps what was synced, and perhaps more."""
        self._count("power_cuts")
        self._fall("the power fails", power=True)

    def fail_write(self) -> None:
        """Make the next commit fail."""
        if not self.rig.store.has_failed and self.rig.store.pending:
            self._count("failed_writes")
            kept = not self._choose(2)
            self._say("the next commit fails" + (", and is on the disk" if kept else ""))
            self.rig.store.fail(kept=kept)
            self._write()

    def kill_executor(self) -> None:
        """Kill the executor; the processes of its jobs continue."""
        self._count("executor_losses")
        self._say("the executor is killed")
        self.rig.executor.kill()
        self.rig.advance()

    def jump(self) -> None:
        """Set the wall clock forwards or backwards."""
        jump_us = self._of(JUMPS_US)
        self._say(f"the clock jumps by {jump_us} us")
        self.rig.clock.wall_us += jump_us

    def stop(self) -> None:
        """The scheduler is asked to end, as by SIGTERM, and does once nothing can start any more."""
        self._say("the scheduler is asked to end")
        self._drive(self.rig.scheduler.stop)

    def boot(self) -> None:
        """Start another scheduler."""
        self._say("a scheduler starts")
        self.is_up = True
        self.users.forget()
        self.rig.executor.holding = True
        self.laws.loaded(self.rig.store.load().queue)
        self._drive(self.rig.boot)

    def _drive(self, act: Callable[[], None]) -> None:
        """Call into the scheduler, which may crash on the way."""
        try:
            act()
        except Crashed:
            self._fall("the scheduler is killed in the middle of it")
        except PortError as error:
            self._fall(f"the scheduler ends: {error}")
        else:
            if self.is_up:
                self.tally = evolve(self.tally, answers=self.tally.answers + self.users.hear_answers())
                if self.rig.scheduler.is_stopped and not self.rig.executor.held:
                    self.rig.executor.close()
                    self._fall("the scheduler has ended as it was asked to")

    def _fall(self, how: str, *, power: bool = False) -> None:
        """Discard the dead scheduler: batches that it submitted may be durable; answers not yet sent are lost."""
        store = self.rig.store
        if store.pending and not store.has_failed and not self._choose(2):
            self._write()
            how += f"; events up to {self.laws.replayed.seq} are durable"
        if power:
            how += f"; {self.rig.power_cut(self._choose)} renames are lost"
        else:
            executor = not self._calm and not self._choose(4)
            self._count("crashes")
            self.rig.crash(executor=executor)
            how += ", and its executor with it" if executor else ""
        self._say(how)
        self.users.forget()
        self.is_up = False

    # -- the end

    def _come_to_rest(self) -> None:
        self._say("no more faults")
        self.rig.fuse.put_out()
        self.rig.executor.unavailable = None
        calm = 0
        for _ in range(REST_ROUNDS):
            calm = calm + 1 if self._rest_once() else 0
            if calm > 2:
                self.laws.at_rest()
                assert not self.users.unanswered, f"never answered: {self.users.unanswered}"
                return
        raise AssertionError("it never comes to rest")

    def _rest_once(self) -> bool:
        """Run one round without faults, in which every running job ends. Return whether nothing happened."""
        rig = self.rig
        if not self.is_up:
            self.boot()
            rig.scheduler.intake.more = True
        if rig.limits != self._room or rig.scheduler.drained:
            rig.limits = self._room
            rig.scheduler.set_limits(self._room, GRACE_US)
            rig.scheduler.set_drained(False)
        for remove in self.users.remove_rules():
            self._drive(remove)
        before = (rig.head, len(rig.store.batches), len(rig.executor.held), len(rig.spool.files.drops))
        self.look()
        for _ in range(2):
            self.turn()
            if self.is_up:
                self.commit()
                self.turn()
        while self.is_up and rig.executor.held:
            self.tell()
        for id_, attempt in rig.executor.running():
            job = find(rig.head, id_)
            if job is None or not (job.fatal or job.requeuing):
                rig.executor.end(id_)
            else:  # those the scheduler has to end, and not their time limit
                FakeExecutor.set_time_limit(rig.executor, id_, attempt, None)
        self._pass(max(1_000_000, (rig.executor.next_us or 0) - rig.executor.now_us))
        rig.clock.wall_us = max(rig.clock.wall_us, rig.head.last_us, policy.next_timer_us(rig.head) or 0) + 1
        after = (rig.head, len(rig.store.batches), len(rig.executor.held), len(rig.spool.files.drops))
        return self.is_up and after == before and rig.scheduler.is_settled and not rig.executor.running()


def _news(item: News) -> str:
    if isinstance(item, ExecutorLost):
        return "the executor is lost"
    text = f"{type(item).__name__.lower()} {item.id} attempt {item.attempt}"
    return f"{text} with {item.status}" if isinstance(item, Finished) else text


Move = Callable[[World], None]
Moves = tuple[tuple[Move, ...], tuple[int, ...]]


def table(*rows: tuple[int, Move]) -> Moves:
    """Moves, and their weights added up."""
    total, weights = 0, []
    for weight, _ in rows:
        total += weight
        weights.append(total)
    return tuple(move for _, move in rows), tuple(weights)


UP, UP_WEIGHTS = table(
    (300, World.turn),
    (220, World.commit),
    (110, World.tell),
    (70, World.drop),
    (60, World.command),
    (40, World.wait),
    (40, World.end),
    (30, World.edit),
    (30, World.look),
    (16, World.govern),
    (14, World.light),
    (10, World.crash),
    (8, World.kill_executor),
    (8, World.jump),
    (6, World.delete),
    (6, World.fail_write),
    (6, World.cut_power),
    (4, World.stop),
)
DOWN, DOWN_WEIGHTS = table(
    (60, World.boot),
    (10, World.drop),
    (10, World.edit),
    (10, World.wait),
    (10, World.end),
    (5, World.delete),
    (5, World.kill_executor),
    (4, World.light),
    (2, World.cut_power),
)

if __name__ == "__main__":
    from jqsched.testing.worlds import main

    sys.exit(main(sys.argv[1:]))
