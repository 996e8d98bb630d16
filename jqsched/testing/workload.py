"""What users do to a scheduler in a seeded story: drop, edit and delete files, ask for things, and change the rules.

Rule: users know what a user can see, and choose by `choose`; nothing of the scheduler is touched here. What is asked is
handed to the driver of the scheduler, and what was answered must be durable by then.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from attrs import evolve, field, frozen

from jqsched.core import queue as queues
from jqsched.core.filters import kept_rules
from jqsched.core.job import PRIORITY_MAX, Draft, State
from jqsched.core.json import Json
from jqsched.ports import RULES
from jqsched.scheduler.commands import Payload
from jqsched.testing.harness import Rig
from jqsched.testing.invariants import Laws
from jqsched.testing.scenario import CORES, URGENCIES, draft

T = TypeVar("T")

BROKEN = "this is no job file"
COMMANDS = ("cancel", "cancel", "urgency", "hold", "release", "priority", "requeue", "requeue", "wait", "submit")
RULES_MOST = 3  # with more rules than these, one is removed
PINS = (None, 0, 5, 16, 1000, PRIORITY_MAX)
ACTIONS: tuple[Json, ...] = ("PAUSE", "REJECT", "ACCEPT", "CONTINUE", ["RATE_LIMIT", 1], ["RATE_LIMIT", 2])
PREDICATES: tuple[Json, ...] = (
    [],
    [["jobid", [">", "id", "watermark"]]],
    [["jobid", ["<=", "id", "watermark"]]],
    [["job", ["=", "name", "a"]]],
    [["job", ["|", ["=", "name", "b"], [">", "cores", 1]]]],
    [["reason", ["=~", "reason", "rate-limit"]]],
)


@frozen
class _Asked:
    """A command that is under way: what was asked, of which job, and the answer when it comes."""

    topic: str
    id: int
    answers: list[Payload | OSError] = field(factory=list)


class Users:
    """Some users, and the owner. `asked`: the commands that were not answered yet.

    `backoff`: by how much the delays of retries are longer, so that a crash can come in between.
    """

    def __init__(
        self, rig: Rig, laws: Laws, choose: Callable[[int], int], say: Callable[[str], None], backoff: int = 1
    ) -> None:
        self._rig, self._laws, self._choose, self._say = rig, laws, choose, say
        self._backoff = backoff
        self._dropped = 0
        self.changed: set[int] = set()  # files changed and not yet reported to the scheduler
        self._asked: list[_Asked] = []

    def _of(self, options: Sequence[T]) -> T:
        return options[self._choose(len(options))]

    # -- files

    def drop(self) -> None:
        """One to three files are dropped, now and then one that is none."""
        for _ in range(1 + self._choose(3)):
            self._dropped += 1
            text, name = BROKEN, f"{self._dropped:04}.json"
            if self._choose(12):
                dropped = self._draft(self._next_id())
                text, name = self._rig.spool.write_out(dropped), f"{self._dropped:04}-{dropped.spec.name}.json"
                self._say(f"drop {name}{_short(dropped)}")
            else:
                self._say(f"drop {name}, which is broken")
            self._rig.spool.files.drops[name] = text

    def _draft(self, id_: int, name: str | None = None) -> Draft:
        made = draft(self._choose, id_, self._rig.clock.now_us(), name)
        retries = made.spec.retries
        if retries is None or self._backoff == 1:
            return made
        delay_us, most_us = retries.delay_us * self._backoff, retries.max_delay_us * self._backoff
        return evolve(made, spec=evolve(made.spec, retries=evolve(retries, delay_us=delay_us, max_delay_us=most_us)))

    def _next_id(self) -> int:
        return max(self._laws.replayed.last_id, max(self._rig.spool.taken.values(), default=0)) + 1

    def _files(self) -> list[int]:
        """The jobs whose file may be changed: of those that are durable."""
        return sorted(set(self._rig.spool.files.jobs) & set(self._rig.store.disk.files))

    def edit(self) -> None:
        """A job's file is changed, now and then so that it is none."""
        ids = self._files()
        if not ids:
            return
        id_, files = self._of(ids), self._rig.spool.files
        was = self._rig.spool.parse(files.jobs[id_])
        if isinstance(was, str) or not self._choose(8):
            files.jobs[id_] = BROKEN if not self._choose(3) else self._rig.store.disk.files[id_]
            self._say(f"break or restore the file of job {id_}")
        else:
            now = self._edited(was, id_)
            files.jobs[id_] = self._rig.spool.write_out(now)
            self._say(f"edit job {id_}:{_short(now)}")
        self.changed.add(id_)

    def _edited(self, was: Draft, id_: int) -> Draft:
        other = self._draft(id_, was.spec.name)
        match self._choose(8):
            case 0:
                return evolve(was, urgency=self._of(URGENCIES))
            case 1:
                return evolve(was, pin=self._of(PINS))
            case 2:
                return evolve(was, spec=evolve(was.spec, cores=self._of(CORES)))
            case 3:
                return evolve(was, spec=evolve(was.spec, time_limit_us=self._of((None, 10_000, 1_000_000))))
            case 4:
                return evolve(was, spec=evolve(was.spec, dependencies=other.spec.dependencies))
            case 5:
                return evolve(was, spec=evolve(was.spec, reasons=other.spec.reasons))
            case 6:
                return evolve(was, spec=evolve(was.spec, command=("true", str(self._choose(100)))))
            case _:
                return other

    def delete(self) -> None:
        """Delete a job's file."""
        ids = self._files()
        if ids:
            id_ = self._of(ids)
            self._say(f"delete the file of job {id_}")
            del self._rig.spool.files.jobs[id_]
            self.changed.add(id_)

    # -- commands

    def command(self) -> Callable[[], None]:
        """Draw a user's command. Return the function that sends it to the scheduler."""
        topic = self._of(COMMANDS)
        rig, id_ = self._rig, self._some_id()
        payloads: dict[str, Payload] = {
            "urgency": {"id": id_, "urgency": self._of(URGENCIES)},
            "priority": {"id": id_, "priority": self._of(PINS)},
            "wait": {"ids": [id_]},
            "submit": {"text": rig.spool.write_out(self._draft(id_))},
        }
        return self.ask(topic, payloads.get(topic, {"id": id_}), id_)

    def _some_id(self) -> int:
        """A job's id; now and then of one that is over, or never was."""
        running = sorted(self._rig.head.running)
        live = running if running and not self._choose(3) else [job.id for job in queues.live(self._rig.head)]
        return self._of(live) if live and self._choose(8) else 1 + self._choose(self._next_id())

    def purge(self) -> Callable[[], None]:
        """The owner purges what ended some time ago."""
        return self.ask("purge", {"before_us": self._rig.clock.now_us() - self._of((0, 1_000_000, 10_000_000))})

    def change_rules(self) -> Callable[[], None]:
        """The owner adds a rule, puts another in its place, or takes it away."""
        rules = self._rig.head.rules
        document: dict[str, Json] = {
            "priority": self._choose(3),
            "action": self._of(ACTIONS),
            "predicates": self._of(PREDICATES),
        }
        if not rules or (len(rules) < RULES_MOST and self._choose(2)):
            uuid = f"{self._choose(2**32):08x}-0000-4000-8000-000000000000"
            return self.ask("filter-add", {"rule": {**document, "uuid": uuid}})
        name = self._of(rules).uuid
        if self._choose(2):
            return self.ask("filter-remove", {"uuid": name})
        return self.ask("filter-replace", {"uuid": name, "rule": document})

    def remove_rules(self) -> list[Callable[[], None]]:
        """The owner takes all rules away."""
        return [self.ask("filter-remove", {"uuid": rule.uuid}) for rule in self._rig.head.rules]

    def ask(self, topic: str, payload: Payload, id_: int = 0) -> Callable[[], None]:
        """Record a command as sent. Return the function that sends it to the scheduler."""
        asked = _Asked(topic, id_)
        self._asked.append(asked)
        self._say(f"{topic} {'' if topic in ('submit', 'purge') else payload}")
        return lambda: self._rig.ask(f"job-manager.{topic}", payload, asked.answers.append)

    # -- answers

    def hear_answers(self) -> int:
        """Check that whatever was answered is durable; return how many answers arrived."""
        answered = [asked for asked in self._asked if asked.answers]
        for asked in answered:
            self._asked.remove(asked)
            assert len(asked.answers) == 1, f"{asked.topic} {asked.id} was answered twice"
            answer = asked.answers[0]
            if not isinstance(answer, OSError):
                self._say(f"     {asked.topic} {asked.id}: {dict(answer)}")
                self._is_true(asked, answer)
        return len(answered)

    def _is_true(self, asked: _Asked, answer: Mapping[str, Json]) -> None:
        over = self._laws.finished
        if asked.topic == "submit":
            assert answer["id"] in self._laws.accepted, "a submit was answered that is not durable (law 2)"
        elif asked.topic == "wait":
            assert asked.id in over, f"job {asked.id} was waited for, and is not over"
        elif answer.get("outcome") == "dequeued":
            job = self._rig.store.disk.jobs.get(asked.id)  # an epilog may keep it
            is_ended = asked.id in over or (job is not None and job.fatal)
            assert is_ended, f"job {asked.id} was said to be dequeued, and is not"
        elif asked.topic == "cancel":
            job = self._rig.store.disk.jobs.get(asked.id)
            is_ending = job is None or job.fatal or job.state >= State.CLEANUP
            assert is_ending, f"job {asked.id} was said to be stopping, and nothing is durable"
        elif asked.topic.startswith("filter-"):
            self._rules_are_kept(asked.topic)

    def _rules_are_kept(self, topic: str) -> None:
        """Of two changes one after the other the first is answered when either is durable: so none can be lost."""
        kept = kept_rules(self._rig.store.disk.settings.get(RULES))
        others = [asked for asked in self._asked if asked.topic.startswith("filter-")]
        assert others or kept == self._rig.head.rules, f"a {topic} was answered that is not durable"

    def forget(self) -> None:
        """The scheduler is gone: what it was asked is not answered any more, and no ring comes for what was changed."""
        self._asked.clear()
        self.changed.clear()

    @property
    def unanswered(self) -> list[str]:
        """What was asked and is not answered, but for waits."""
        return [f"{asked.topic} {asked.id}" for asked in self._asked if asked.topic != "wait"]


def _short(dropped: Draft) -> str:
    """What is unusual about a job."""
    spec = dropped.spec
    parts = {
        "urgency": dropped.urgency if dropped.urgency != 16 else None,
        "pin": dropped.pin,
        "cores": spec.cores if spec.cores > 1 else None,
        "limit_us": spec.time_limit_us,
        "on_interrupt": spec.on_interrupt.value if spec.on_interrupt.value != "requeue" else None,
        "after": ", ".join(f"{dep.scheme} {'' if dep.value is None else dep.value}" for dep in spec.dependencies),
        "reasons": ", ".join(reason.text for reason in spec.reasons),
    }
    return "".join(f" {key}={value}" for key, value in parts.items() if value not in (None, ""))
