"""A naive model of the queue, written from docs/reference/: lists and dicts; each question looks at all jobs.

Rule: nothing of `jqsched.core`'s queue, policy, events or decisions is used here, only the values that go in (Draft,
and rules as documents). What the model knows after each step is compared with the real queue by the machine beside it.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from attrs import evolve

from jqsched.core.job import Dependency, Draft, OnInterrupt, Spec
from tests.core import naive_filters

HIGHEST = 4294967295
NaiveGate = tuple[str, str, int]  # what makes it, its rule's uuid or its bucket's key, how many may be through
PHRASES = {
    "after": "start",
    "afterstart": "start",
    "afterexcept": "exception",
    "afterany": "finish",
    "afterok": "success",
    "afternotok": "failure",
}


@dataclass(frozen=True)
class NaiveWait:
    """What one dependency still waits for: the id it is bound to, or nothing yet (then it waits for the name)."""

    scheme: str
    wanted: int | str | None
    bound: int | None = None
    backoff: bool = False

    @property
    def text(self) -> str:
        if self.scheme == "singleton":
            return "singleton"
        if self.scheme == "begin-time":
            seconds, rest = divmod(self.wanted, 1_000_000)
            return f"begin-time={seconds}" + (f".{rest:06}".rstrip("0") if rest else "")
        arrow = f"→{self.bound}" if self.bound not in (None, self.wanted) else ""
        return f"after-{PHRASES[self.scheme]}={self.wanted}{arrow}"


@dataclass
class NaiveJob:
    """One job, finished or not. `state` is DEPEND, SCHED, RUN, CLEANUP or INACTIVE."""

    id: int
    spec: Spec
    urgency: int
    pin: int | None
    before_hold: int = 16
    state: str = "DEPEND"
    waits: list[NaiveWait] = field(default_factory=list)
    attempt: int = 1
    entered_run: bool = False
    started: bool = False
    requeuing: bool = False
    retrying: bool = False
    retried: int = 0
    ended_by: str | None = None
    status: int | None = None
    interruptions: int = 0
    permit: str | None = None
    claimed_from: str | None = None
    claimed_with_permit: bool = False
    userid: int = 1000
    t_submit_us: int = 0

    @property
    def priority(self) -> int:
        if self.urgency == 0:
            return 0
        if self.urgency == 31:
            return HIGHEST
        return self.urgency if self.pin is None else self.pin

    @property
    def is_over(self) -> bool:
        return self.state == "INACTIVE"

    @property
    def has_begun(self) -> bool:
        return self.state in ("RUN", "CLEANUP")

    @property
    def is_admitted(self) -> bool:
        """Whether it takes a place wherever a rule or a rate limit counts: it runs, or may start at any moment."""
        if self.claimed_from:
            return self.claimed_from == "running" or self.claimed_with_permit
        return self.has_begun or bool(self.permit)

    @property
    def place(self) -> str:
        if self.is_over:
            return "finished"
        if self.claimed_from:
            return "manipulated"
        return "running" if self.has_begun else "enqueued"

    @property
    def went_well(self) -> bool:
        return self.status == 0 and self.ended_by is None

    @property
    def result(self) -> str:
        if self.went_well:
            return "COMPLETED"
        return {"cancel": "CANCELED", "timeout": "TIMEOUT"}.get(self.ended_by, "FAILED")


class NaiveRefusal(Exception):
    """This file cannot become a job."""


class NaiveScheduler:
    """All jobs in one list, in the order of their ids."""

    def __init__(self, max_running: int, cores: int, ahead: int, interruptions_max: int) -> None:
        self.jobs: list[NaiveJob] = []
        self.max_running, self.cores, self.ahead = max_running, cores, ahead
        self.interruptions_max, self.draining = interruptions_max, False
        self.rules: list[dict[str, Any]] = []

    # -- looking

    @property
    def live(self) -> list[NaiveJob]:
        return [job for job in self.jobs if not job.is_over]

    def find(self, id_: int) -> NaiveJob | None:
        return next((job for job in self.live if job.id == id_), None)

    @property
    def slot_holders(self) -> list[NaiveJob]:
        """Law 5: a claimed job takes what it took before."""
        return [job for job in self.live if job.place == "running" or job.claimed_from == "running"]

    @property
    def permitted(self) -> list[NaiveJob]:
        return _ranked([job for job in self.live if job.permit])

    @property
    def ready(self) -> list[NaiveJob]:
        return _ranked(
            [
                job
                for job in self.live
                if job.place == "enqueued" and job.state == "SCHED" and job.priority > 0 and not job.permit
            ]
        )

    def why_never(self, job: NaiveJob) -> str | None:
        """What ends a job that need not wait: a REJECT rule applies to it, or it is too large."""
        if self.is_rejected(job):
            return "cancel"
        return None if self.is_feasible(job) else "alloc"

    def is_feasible(self, job: NaiveJob) -> bool:
        return job.spec.cores <= self.cores and job.spec.nodes == 1

    # -- rules and rate limits: docs/reference/filter-rules.md, looked up anew each time

    def rule_of(self, job: NaiveJob) -> dict[str, Any] | None:
        """The rule that applies: the first that matches and is not CONTINUE."""
        in_order = sorted(self.rules, key=lambda rule: (rule["priority"], rule["watermark"], rule["uuid"].encode()))
        matching = [rule for rule in in_order if naive_filters.matches(rule, job)]
        return next((rule for rule in matching if rule["action"] != "CONTINUE"), None)

    def is_rejected(self, job: NaiveJob) -> bool:
        rule = self.rule_of(job)
        return rule is not None and rule["action"] == "REJECT"

    def gates(self, job: NaiveJob) -> set[NaiveGate]:
        """Whatever may stop a job that is ready: its rule, unless that is ACCEPT, and its buckets, each once."""
        rule, texts = self.rule_of(job), [reason.text for reason in job.spec.reasons]
        buckets = [found for found in (re.fullmatch("rate-limit:(([0-9]+)(:.*)?)", text) for text in texts) if found]
        gates = {("BUCKET", found[1], int(found[2])) for found in buckets if int(found[2]) > 0}
        if rule is None or rule["action"] == "ACCEPT":
            return gates
        if isinstance(rule["action"], list):
            return gates | {("RULE", rule["uuid"], rule["action"][1])}
        return gates | {(rule["action"], rule["uuid"], 0)}

    def places(self) -> dict[NaiveGate, int]:
        """How many take a place at each gate."""
        counts: dict[NaiveGate, int] = {}
        for job in self.live:
            for gate in self.gates(job) if job.is_admitted else ():
                counts[gate] = counts.get(gate, 0) + 1
        return counts

    @property
    def admitted(self) -> list[NaiveJob]:
        """Those of the ready jobs that rules and rate limits let through, each if all before it start."""
        counts, admitted = self.places(), []
        for job in self.ready:
            gates = self.gates(job)
            if all(counts.get(gate, 0) < gate[2] for gate in gates):
                admitted.append(job)
                counts |= {gate: counts.get(gate, 0) + 1 for gate in gates}
        return admitted

    def set_rules(self, rules: list[dict[str, Any]]) -> list[int]:
        """Other rules from now on; returns the ids of the permitted jobs that they do not let through any more."""
        self.rules = rules
        counts = self.places()
        no_longer_admitted = [job for job in self.permitted if any(counts[gate] > gate[2] for gate in self.gates(job))]
        recalled = [job.id for job in no_longer_admitted if job.permit == "given"]
        for job in no_longer_admitted:
            job.permit = "recalled"
        return recalled

    @property
    def rejected(self) -> list[int]:
        """Section 3: those that have not started end; who runs is let be."""
        return [job.id for job in self.live if not job.has_begun and self.is_rejected(job)]

    # -- acceptance

    def accept(self, arrivals: Sequence[tuple[int, Draft]], now_us: int) -> set[int]:
        """Take a batch; the ids of those that are refused. A cycle is broken at the first arrival that closes one."""
        new = [NaiveJob(id_, draft.spec, draft.urgency, draft.pin) for id_, draft in arrivals]
        out = {job.id for job in new if self.is_rejected(job)}
        while True:
            batch = [job for job in new if job.id not in out]
            errors = {job.id for job in batch if self._bind_all(job, batch, now_us) is None}
            if errors:
                out |= errors
                continue
            closers = {job.id for job in batch if self._closes_cycle(job, batch)}
            if not closers:
                break
            out.add(min(closers))
        for job in batch:
            job.before_hold = job.urgency or 16
            self.jobs.append(job)
        for job in self.live:
            for at, wait in enumerate(job.waits):
                if wait.bound is None and isinstance(wait.wanted, str):
                    comers = [other.id for other in batch if other.spec.name == wait.wanted and other.id != job.id]
                    if comers:
                        job.waits[at] = replace(wait, bound=comers[0])
        self._settle()
        return out

    def _bind_all(self, job: NaiveJob, batch: list[NaiveJob], now_us: int) -> list[NaiveWait] | None:
        try:
            job.waits = self.bind(job, job.spec.dependencies, batch, now_us)
        except NaiveRefusal:
            return None
        return job.waits

    def bind(
        self, job: NaiveJob, dependencies: Sequence[Dependency], batch: list[NaiveJob], now_us: int
    ) -> list[NaiveWait]:
        """What these dependencies wait for; those that are met wait for nothing."""
        waits: list[NaiveWait] = []
        for dependency in dependencies:
            wait = self._bind_one(job, dependency, batch, now_us)
            if wait is not None and wait not in waits:
                waits.append(wait)
        return waits

    def _bind_one(self, job: NaiveJob, dependency: Dependency, batch: list[NaiveJob], now_us: int) -> NaiveWait | None:
        scheme, wanted = dependency.scheme, dependency.value
        if scheme == "begin-time":
            return NaiveWait(scheme, wanted) if wanted > now_us else None
        if scheme == "singleton":
            return NaiveWait(scheme, None) if self._elders(job, batch) else None
        others = [other for other in [*self.live, *batch] if other.id != job.id]
        finished = [other for other in self.jobs if other.is_over]
        if isinstance(wanted, int):
            here = [other for other in [*others, *finished] if other.id == wanted]
            if not here or self._verdict(scheme, here[0]) is False:
                raise NaiveRefusal
            return NaiveWait(scheme, wanted, wanted) if self._verdict(scheme, here[0]) is None else None
        beside = [other for other in batch if other.spec.name == wanted and other.id != job.id]
        unfinished = beside or [other for other in others if other.spec.name == wanted]
        if unfinished:
            newest = max(unfinished, key=lambda other: other.id)
            return NaiveWait(scheme, wanted, newest.id) if self._verdict(scheme, newest) is None else None
        past = [other for other in finished if other.spec.name == wanted]
        if past and not dependency.next_only and self._verdict(scheme, max(past, key=lambda other: other.id)):
            return None
        return NaiveWait(scheme, wanted)

    def _elders(self, job: NaiveJob, batch: Sequence[NaiveJob] = ()) -> list[NaiveJob]:
        return [other for other in [*self.live, *batch] if other.spec.name == job.spec.name and other.id < job.id]

    @staticmethod
    def _verdict(scheme: str, antecedent: NaiveJob) -> bool | None:
        """True: met; False: can never be; None: open."""
        if scheme in ("after", "afterstart") and antecedent.started:
            return True
        if not antecedent.is_over:
            return None
        return {
            "after": antecedent.started,
            "afterstart": antecedent.started,
            "afterexcept": antecedent.ended_by is not None,
            "afterany": True,
            "afterok": antecedent.went_well,
            "afternotok": antecedent.entered_run and not antecedent.went_well,
        }[scheme]

    def _closes_cycle(self, job: NaiveJob, batch: Sequence[NaiveJob]) -> bool:
        """Whether a way leads from it back to itself by jobs that came before it."""
        there = {other.id: other for other in [*self.live, *batch] if other.id <= job.id or other in self.live}
        seen: set[int] = set()
        todo = [job.id]
        while todo:
            for other in self._awaited_by(there[todo.pop()], list(there.values())):
                if other.id == job.id:
                    return True
                if other.id not in seen:
                    seen.add(other.id)
                    todo.append(other.id)
        return False

    @staticmethod
    def _awaited_by(job: NaiveJob, there: list[NaiveJob]) -> list[NaiveJob]:
        awaited: list[NaiveJob] = []
        for wait in job.waits:
            same_name = [other for other in there if other.spec.name == wait.wanted and other.id != job.id]
            if wait.scheme == "singleton":
                awaited += [other for other in there if other.spec.name == job.spec.name and other.id < job.id]
            elif wait.bound is not None:
                awaited += [other for other in there if other.id == wait.bound]
            elif same_name:
                awaited.append(min(same_name, key=lambda other: other.id))
        return awaited

    # -- what follows from what happened

    def _settle(self) -> None:
        """Again and again, until nothing changes: met dependencies go, hopeless jobs end, others become ready."""
        while any(self._settle_one(job) for job in self.live):
            pass

    def _settle_one(self, job: NaiveJob) -> bool:
        if job.state == "SCHED" and not job.permit and not job.claimed_from and not self.is_feasible(job):
            return self._end_if_hopeless(job)
        if job.state != "DEPEND":
            return False
        for wait in job.waits:
            met = self._is_met(job, wait)
            if met:
                job.waits.remove(wait)
                return True
            if met is False:
                return self._end(job, "dependency")
        if not job.waits:
            job.state = "SCHED"
            return self._end_if_hopeless(job) or True
        return False

    def _is_met(self, job: NaiveJob, wait: NaiveWait) -> bool | None:
        if wait.scheme == "singleton":
            return True if not self._elders(job) else None
        if wait.bound is None:
            return None
        return self._verdict(wait.scheme, next(other for other in self.jobs if other.id == wait.bound))

    def _end_if_hopeless(self, job: NaiveJob) -> bool:
        why = self.why_never(job) if job.state == "SCHED" else None
        return why is not None and self._end(job, why)

    def _end(self, job: NaiveJob, why: str | None = None) -> bool:
        job.ended_by = job.ended_by or why
        job.state, job.permit, job.claimed_from, job.requeuing = "INACTIVE", None, None, False
        job.claimed_with_permit = False
        job.waits.clear()
        return True

    # -- commands

    def cancel(self, id_: int) -> str:
        job = self.find(id_)
        if job is None:
            return "unknown"
        if job.has_begun:
            self._doom(job, "cancel")
            return "stopping"
        self._end(job, "cancel")
        self._settle()
        return "dequeued"

    @staticmethod
    def _doom(job: NaiveJob, why: str) -> None:
        if job.ended_by is None:
            job.ended_by, job.state = why, "CLEANUP"

    def _queued(self, id_: int) -> tuple[NaiveJob | None, str]:
        job = self.find(id_)
        if job is None:
            return None, "unknown"
        return (None, "started") if job.has_begun else (job, "changed")

    def set_urgency(self, id_: int, urgency: int) -> str:
        job, answer = self._queued(id_)
        if job:
            if job.urgency:
                job.before_hold = job.urgency
            job.urgency = urgency
            self._settle_changed(job)
        return answer

    def _settle_changed(self, job: NaiveJob) -> None:
        """What was changed goes the way to SCHED again, and is looked at again there."""
        self._end_if_hopeless(job)
        self._settle()

    def pin(self, id_: int, pin: int | None) -> str:
        job, answer = self._queued(id_)
        if job:
            job.pin = pin
        return answer

    def unhold(self, id_: int) -> str:
        job, answer = self._queued(id_)
        if job:
            if job.pin == 0:
                job.pin = None
            if job.urgency == 0:
                self.set_urgency(id_, job.before_hold)
        return answer

    def requeue(self, id_: int) -> str:
        job = self.find(id_)
        if job is None:
            return "unknown"
        if job.state == "RUN":
            job.requeuing = True
            return "stopping"
        return "refused" if job.state == "CLEANUP" else "changed"

    def edit(self, id_: int, was: Draft, now: Draft, refused: bool, now_us: int) -> str:
        """Only what differs between the two files changes; a dependency that stays in the file stays bound."""
        job = self.find(id_)
        if job is None:
            return "unknown"
        if was.spec.name != now.spec.name:
            return "refused"
        if job.has_begun:
            if not _differ_in_limit_only(was, now) or (job.state == "CLEANUP" and was != now):
                return "started"
            job.spec = evolve(job.spec, time_limit_us=now.spec.time_limit_us)
            return "changed"
        if self.is_rejected(replace(job, spec=now.spec)):
            assert refused, "an edit that a rule rejects was not refused"
            return "refused"
        added = [new for new in now.spec.dependencies if new not in was.spec.dependencies]
        kept = [old for old in now.spec.dependencies if old in was.spec.dependencies]
        asked = {(old.scheme, old.value) for old in kept}
        waits, state = job.waits, job.state
        try:
            new = self.bind(job, added, [], now_us)
            job.waits = new
            if self._closes_cycle(job, []):
                raise NaiveRefusal
        except NaiveRefusal:
            job.waits, job.state = waits, state
            assert refused, "an edit that cannot be was not refused"
            return "refused"
        job.waits = [wait for wait in waits if wait.backoff or (wait.scheme, wait.wanted) in asked]
        job.waits += [wait for wait in new if wait not in job.waits]
        job.spec = now.spec
        if job.waits:
            job.state = "DEPEND"
        if was.urgency != now.urgency:
            self.set_urgency(id_, now.urgency)
        if was.pin != now.pin:
            job.pin = now.pin
        self._settle_changed(job)
        return "changed"

    # -- news

    def _attempt(self, id_: int, attempt: int) -> NaiveJob | None:
        job = self.find(id_)
        fits = job is not None and job.attempt == attempt and job.state != "DEPEND"
        return job if fits else None

    def start(self, id_: int, attempt: int) -> NaiveJob | None:
        job = self._attempt(id_, attempt)
        if job and not job.started:
            job.started, job.permit = True, None
            if job.state == "SCHED":
                job.state = "RUN"
                job.entered_run = True
            self._settle()
        return job

    def finish(self, id_: int, attempt: int, status: int, error: str | None, now_us: int) -> None:
        job = self.start(id_, attempt)
        if not job:
            return
        if error:
            self._doom(job, "exec")
        elif status and job.state == "RUN" and not job.requeuing:
            code = status // 256
            self._retry(job, "signal" if 128 < code <= 192 else None, code)
        if job.requeuing and job.state == "RUN":
            self._again(job, now_us)
        else:
            job.status = status
            self._end(job)
        self._settle()

    @staticmethod
    def _retry(job: NaiveJob, *kinds: str | int | None) -> bool:
        """Whether a failed attempt is followed by another; it is announced at once."""
        retries = job.spec.retries
        if retries is None or job.retried == retries.max or (retries.on and not any(k in retries.on for k in kinds)):
            return False
        job.requeuing = job.retrying = True
        job.retried += 1
        return True

    def _again(self, job: NaiveJob, now_us: int) -> None:
        delay_us = self._delay_us(job) if job.retrying else 0
        job.state, job.attempt, job.started, job.requeuing, job.permit = "SCHED", job.attempt + 1, False, False, None
        job.entered_run, job.retrying = False, False
        if delay_us:
            job.state = "DEPEND"
            job.waits.append(NaiveWait("begin-time", now_us + delay_us, backoff=True))
        self._end_if_hopeless(job)

    @staticmethod
    def _delay_us(job: NaiveJob) -> int:
        retries = job.spec.retries
        delay_us = float(retries.delay_us)
        for _ in range(job.retried - 1):
            delay_us = delay_us * retries.factor
        whole = int(min(delay_us, retries.max_delay_us))
        return whole + whole * zlib.crc32(f"{job.id} {job.attempt}".encode()) // (10 * 2**32)

    def interrupt(self, id_: int, attempt: int, now_us: int) -> None:
        job = self._attempt(id_, attempt)
        if not job:
            return
        if job.state == "CLEANUP":
            self._end(job)
        elif job.requeuing:
            self._again(job, now_us)
        elif job.spec.on_interrupt is OnInterrupt.FAIL:
            self._end(job, "interrupted")
        else:
            counts = job.started
            job.interruptions += counts
            self._again(job, now_us)
            if counts and job.interruptions >= self.interruptions_max and not job.is_over:
                self.set_urgency(id_, 0)
        self._settle()

    def expire(self, id_: int, attempt: int) -> None:
        job = self._attempt(id_, attempt)
        if job and job.state == "RUN" and job.spec.time_limit_us is not None:
            if job.retrying or self._retry(job, "timeout"):
                return
            self._doom(job, "timeout")

    def tick(self, now_us: int) -> None:
        for job in self.live:
            job.waits = [wait for wait in job.waits if wait.scheme != "begin-time" or wait.wanted > now_us]
        self._settle()

    def weed(self, id_: int) -> None:
        job = self.find(id_)
        if job and not job.has_begun and self.is_rejected(job):
            self._end(job, "cancel")
        elif job:
            self._end_if_hopeless(job)
        self._settle()

    # -- starting

    def schedule(self) -> tuple[list[int], list[int]]:
        """Recall the overtaken, then permit the best; returns the ids of both."""
        if self.draining:
            overtaken = self.permitted
        else:
            best = self.admitted[:1]
            overtaken = [job for job in self.permitted if best and _rank(best[0]) < _rank(job)]
        recalled = sorted(job.id for job in overtaken if job.permit == "given")
        for job in overtaken:
            job.permit = "recalled"
        ordered = [*self.slot_holders, *self.permitted]
        slots, cores = self.max_running - len(ordered), self.cores - sum(job.spec.cores for job in ordered)
        ahead = self.ahead + min(slots, 0)
        must_wait = False
        chosen: list[int] = []
        for job in [] if self.draining else self.admitted:
            must_wait = must_wait or slots < 1 or job.spec.cores > cores
            if must_wait and (ahead < 1 or job.spec.on_interrupt is OnInterrupt.FAIL or self.gates(job)):
                break
            ahead -= must_wait
            slots, cores = slots - 1, cores - job.spec.cores
            chosen.append(job.id)
            if job.spec.on_interrupt is OnInterrupt.FAIL:
                job.state = "RUN"
                job.entered_run = True
            else:
                job.permit = "given"
        return recalled, chosen

    # -- moving

    def claim(self, id_: int) -> None:
        job = self.find(id_)
        job.claimed_from, job.claimed_with_permit, job.permit = job.place, bool(job.permit), None

    def release(self, id_: int) -> None:
        job = self.find(id_)
        if job:
            job.claimed_from, job.claimed_with_permit = None, False

    def withdraw(self, id_: int) -> None:
        job = self.find(id_)
        if job:
            job.permit = None

    def restart(self) -> None:
        for job in self.live:
            job.claimed_from, job.claimed_with_permit, job.permit = None, False, None

    def purge(self) -> None:
        self.jobs = self.live


def _differ_in_limit_only(was: Draft, now: Draft) -> bool:
    return evolve(was, spec=evolve(was.spec, time_limit_us=now.spec.time_limit_us)) == now


def _rank(job: NaiveJob) -> tuple[int, int]:
    return (-job.priority, job.id)


def _ranked(jobs: list[NaiveJob]) -> list[NaiveJob]:
    return sorted(jobs, key=_rank)
