"""Commands: requests of users, by socket or (while no scheduler runs) by the command line.

In: a topic and a payload. Out: one answer, a payload or an OSError whose errno tells why the command was refused.
Rule: a command is answered when what it did is durable. Source: flux-core's job-manager (errno and texts).
"""

import errno
import signal
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import TypeAlias, TypeGuard

from jqsched.core import decide
from jqsched.core import plugin_stages as stages
from jqsched.core.filters import Rule, rule_document
from jqsched.core.fold import AlreadyStarted, Answer, Changed, Dequeued, Refused, Step, UnknownJob
from jqsched.core.job import PRIORITY_MAX, URGENCY_EXPEDITE, URGENCY_HOLD
from jqsched.core.jobspec import values
from jqsched.core.json import Json
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find, live
from jqsched.ports import Store
from jqsched.scheduler.ledger import Ledger
from jqsched.scheduler.loop import Scheduler
from jqsched.scheduler.rulebook import Rulebook, RuleRefused

TOPIC_SHOWN_MAX = 100
Payload: TypeAlias = Mapping[str, Json]
Reply: TypeAlias = Callable[[Payload | OSError], None]


class Commands:
    """The topics `job-manager.*` that change something or wait for something."""

    def __init__(self, scheduler: Scheduler, userid: int) -> None:
        self._scheduler, self._userid = scheduler, userid
        self._waiting: list[tuple[Callable[[], bool], Reply]] = []
        self._topics: dict[str, Callable[[Payload, Reply], None]] = {
            "job-manager.submit": self._submit,
            "job-manager.cancel": self._cancel,
            "job-manager.urgency": self._urgency,
            "job-manager.priority": self._priority,
            "job-manager.hold": self._hold,
            "job-manager.release": self._release,
            "job-manager.requeue": self._requeue,
            "job-manager.drain": self._drain,
            "job-manager.stop-starts": lambda payload, reply: self._allow_starts(False, reply),
            "job-manager.resume": lambda payload, reply: self._allow_starts(True, reply),
            "job-manager.filter-add": self._filter_add,
            "job-manager.filter-replace": self._filter_replace,
            "job-manager.filter-remove": self._filter_remove,
            "job-manager.wait": self._wait,
            "job-manager.purge": self._purge,
            "job-manager.raise": self._raise,
            "job-manager.kill": self._kill,
            "job-manager.update": self._update,
            "job-manager.jobtap": self._jobtap,
            "job-manager.jobtap-query": self._jobtap_query,
            "job-manager.jobtap-list": lambda payload, reply: reply({"plugins": self._scheduler.jobtap.listed()}),
        }

    def run(self, topic: str, payload: Payload, reply: Reply) -> None:
        """Carry out a command; `reply` is called once, on the loop's thread, perhaps in a later turn."""
        command = self._topics.get(topic)
        if command is None and self._scheduler.jobtap.serve(topic, payload, partial(self._answer, reply)):
            return
        if command is None:
            reply(OSError(errno.ENOSYS, f"Unknown service method {values.show(topic, TOPIC_SHOWN_MAX)}"))
            return
        try:
            if topic in _OF_MANY and "ids" in payload:
                self._run_for_each(command, payload, reply)
            else:
                command(payload, reply)
        except _BadPayload as error:
            reply(OSError(errno.EPROTO, str(error)))

    def _run_for_each(self, command: Callable[[Payload, Reply], None], payload: Payload, reply: Reply) -> None:
        """Carry out a command for each of `ids`; the answer has one for each, in their order, and is durable as one."""
        ids = list(dict.fromkeys(_ids(payload)))
        shared = {key: value for key, value in payload.items() if key != "ids"}
        answers: dict[int, Json] = {}

        def answered(id_: int, answer: Payload | OSError) -> None:
            answers[id_] = _answer_of_many(id_, answer)
            if len(answers) == len(ids):
                reply({"answers": [answers[id_] for id_ in ids]})

        for id_ in ids:
            command({**shared, "id": id_}, partial(answered, id_))
        if not ids:
            reply({"answers": []})

    def refusal_offline(self, topic: str, payload: Payload, attempts: Container[int]) -> OSError | None:
        """Why this is not done without an executor; None: it is. `attempts`: the jobs that run, or may."""
        id_ = payload.get("id")
        if id_ in attempts:
            return OSError(errno.ENOTCONN, "the job runs or may run: start the scheduler first")
        is_over = isinstance(id_, int) and find(self._scheduler.ledger.head, id_) is None
        is_new = topic == "job-manager.submit" or (topic == "job-manager.requeue" and is_over)
        if is_new and not self._scheduler.accepts:
            text = "the scheduler names plugins, which have a say in it: start it, or drop the job file"
            return OSError(errno.ENOTCONN, text)
        return None

    # -- jobs

    def _submit(self, payload: Payload, reply: Reply) -> None:
        self._answer_submitted(self._scheduler.intake.submit(_text(payload, "text")), reply)

    def _answer_submitted(self, new: int | str, reply: Reply, **more: Json) -> None:
        if isinstance(new, str):
            reply(OSError(errno.EINVAL, new))
        else:
            self._reply_when_durable(reply, {"id": new, **more})

    def _cancel(self, payload: Payload, reply: Reply) -> None:
        note = _text(payload, "note") if payload.get("note") else ""
        self._change(payload, reply, lambda *at: decide.dequeue(*at, userid=self._userid, note=note))

    def _urgency(self, payload: Payload, reply: Reply) -> None:
        urgency = _integer(payload, "urgency")
        if not URGENCY_HOLD <= urgency <= URGENCY_EXPEDITE:
            reply(OSError(errno.EINVAL, "urgency value is out of range: 0 to 31"))
            return
        self._set_urgency(payload, urgency, reply)

    def _set_urgency(self, payload: Payload, urgency: int, reply: Reply) -> None:
        job = find(self._scheduler.ledger.head, _integer(payload, "id"))
        old = job.urgency if job is not None else 0

        def apply(queue: Queue, id_: int, limits: Limits, now_us: int) -> Step:
            return decide.set_urgency(queue, id_, urgency, limits, now_us, userid=self._userid)

        self._change(payload, reply, apply, old_urgency=old)

    def _priority(self, payload: Payload, reply: Reply) -> None:
        pin = None if payload.get("priority") is None else _integer(payload, "priority")
        if pin is not None and not 0 <= pin <= PRIORITY_MAX:
            reply(OSError(errno.EINVAL, f"priority is out of range: 0 to {PRIORITY_MAX}"))
            return

        def apply(queue: Queue, id_: int, limits: Limits, now_us: int) -> Step:
            return decide.set_priority(queue, id_, pin, limits, now_us)

        self._change(payload, reply, apply)

    def _hold(self, payload: Payload, reply: Reply) -> None:
        self._set_urgency(payload, URGENCY_HOLD, reply)

    def _release(self, payload: Payload, reply: Reply) -> None:
        self._change(payload, reply, lambda *at: decide.unhold(*at, userid=self._userid))

    def _requeue(self, payload: Payload, reply: Reply) -> None:
        id_ = _integer(payload, "id")
        if find(self._scheduler.ledger.head, id_) is not None:
            self._change(payload, reply, lambda *at: decide.requeue(*at, userid=self._userid), changed="queued")
            return
        draft, owner = self._store.spec(id_), self._store.userid(id_)
        if draft is None or owner is None:
            reply(OSError(errno.ENOENT, "unknown job id"))
            return
        new = self._scheduler.intake.resubmit(draft, self._scheduler.around.spool.write_out(draft), owner)
        self._answer_submitted(
            new, reply, outcome="resubmitted", **({"held": True} if 0 in (draft.urgency, draft.pin) else {})
        )

    @property
    def _store(self) -> Store:
        return self._scheduler.around.store

    def _change(
        self,
        payload: Payload,
        reply: Reply,
        apply: Callable[[Queue, int, Limits, int], Step],
        *,
        changed: str = "changed",
        **more: Json,
    ) -> None:
        """Change one job, and answer when it is durable."""
        id_ = _integer(payload, "id")

        def answered(answer: Answer | None) -> None:
            outcome = self._outcome(id_, answer, changed)
            if isinstance(outcome, OSError):
                reply(outcome)
            else:
                self._reply_when_durable(reply, {"outcome": outcome, **more})

        self._scheduler.dispatch.change(id_, lambda queue, limits, now_us: apply(queue, id_, limits, now_us), answered)

    def _outcome(self, id_: int, answer: Answer | None, changed: str) -> str | OSError:
        match answer:
            case Dequeued():
                return "dequeued"
            case Changed():
                return changed
            case AlreadyStarted(stopping=True):
                return "stopping"
            case AlreadyStarted():
                return OSError(errno.EBUSY, "already started")
            case Refused(text):
                return OSError(errno.EBUSY, text)
            case UnknownJob() if self._is_finished(id_):
                return OSError(errno.EALREADY, "job is finished")
            case _:
                return OSError(errno.ENOENT, "unknown job id")

    def _is_finished(self, id_: int) -> bool:
        return bool(self._scheduler.ledger.outcomes({id_}, set()))

    def _reply_when_durable(self, reply: Reply, payload: Payload) -> None:
        self._scheduler.ledger.after(lambda: reply(payload), urgent=True)

    # -- the scheduler

    def _allow_starts(self, allowed: bool, reply: Reply) -> None:
        """Stop all starts (the command `jqsched drain`), or allow them again."""
        self._scheduler.set_drained(not allowed)
        self._reply_when_durable(reply, {})

    def _drain(self, _: Payload, reply: Reply) -> None:
        """Answer when no job is active, as Flux's topic of this name does; it stops nothing. Source: Flux's drain.c."""
        ledger = self._scheduler.ledger
        self._waiting.append((lambda: _has_none(ledger.head) and _has_none(ledger.visible.get()), reply))
        self.look()

    def _purge(self, payload: Payload, reply: Reply) -> None:
        ids = _ids(payload)
        for id_ in ids:
            if not self._store.outcomes([id_], ()):
                live = find(self._scheduler.ledger.head, id_) is not None
                text = f"job {id_} is not finished" if live else f"unknown job id {id_}"
                reply(OSError(errno.EBUSY if live else errno.ENOENT, text))
                return

        def answered(count: int | OSError) -> None:
            reply(count if isinstance(count, OSError) else {"purged": count})

        if ids:
            self._scheduler.housekeeping.purge(ids, answered)
        else:
            self._scheduler.housekeeping.purge_before(_integer(payload, "before_us"), answered)

    # -- plugins, and the commands that they share with users

    def _answer(self, reply: Reply, answer: Payload | OSError) -> None:
        """Send a plugin's answer, once what the plugin did is durable."""
        if isinstance(answer, OSError):
            reply(answer)
        else:
            self._reply_when_durable(reply, answer)

    def _raise(self, payload: Payload, reply: Reply) -> None:
        kind, severity = _text(payload, "type"), _integer(payload, "severity")
        note = _text(payload, "note") if payload.get("note") else ""

        def apply(queue: Queue, id_: int, limits: Limits, now_us: int) -> Step:
            return stages.raise_exception(queue, id_, kind, severity, note, limits, now_us, userid=self._userid)

        if stages.is_bad_kind(kind) or not 0 <= severity <= stages.SEVERITY_MAX:
            what = "type" if stages.is_bad_kind(kind) else "severity"
            reply(OSError(errno.EPROTO, f"invalid exception {what}"))
        else:
            self._change(payload, reply, apply)

    def _kill(self, payload: Payload, reply: Reply) -> None:
        """Send a signal to a job that runs. Source: flux-core, job-manager/kill.c."""
        id_, signum = _integer(payload, "id"), _integer(payload, "signum")
        job = find(self._scheduler.ledger.head, id_)
        if job is None:
            known = self._is_finished(id_)
            reply(OSError(errno.EALREADY, "job is finished") if known else OSError(errno.ENOENT, "unknown job id"))
        elif signum not in signal.valid_signals():
            reply(OSError(errno.EINVAL, "Invalid signal number"))
        elif not self._scheduler.dispatch.signal(id_, signum):
            reply(OSError(errno.EINVAL, "job is not running"))
        else:
            reply({})

    def _update(self, payload: Payload, reply: Reply) -> None:
        id_, updates = _integer(payload, "id"), payload.get("updates")
        if not isinstance(updates, Mapping) or not updates:
            raise _BadPayload("invalid payload: updates must be an object")
        try:
            apply = self._scheduler.jobtap.update_request(id_, updates)
        except OSError as refused:
            reply(refused)
        else:
            self._change(payload, reply, lambda queue, _, limits, now_us: apply(queue, limits, now_us))

    def _jobtap(self, payload: Payload, reply: Reply) -> None:
        jobtap, conf = self._scheduler.jobtap, payload.get("conf")
        if conf is not None and not isinstance(conf, Mapping):
            reply(OSError(errno.EINVAL, "jobtap: conf must be an object"))
            return
        try:
            if payload.get("remove") is not None:
                jobtap.remove(_text(payload, "remove"))
            if payload.get("load") is not None:
                jobtap.load(_text(payload, "load"), conf or {})
        except OSError as refused:
            reply(refused)
        else:
            self._reply_when_durable(reply, {"plugins": jobtap.listed()})

    def _jobtap_query(self, payload: Payload, reply: Reply) -> None:
        try:
            reply(self._scheduler.jobtap.query(_text(payload, "name")))
        except OSError as refused:
            reply(refused)

    # -- rules

    def _filter_add(self, payload: Payload, reply: Reply) -> None:
        self._change_rules(lambda rulebook: rulebook.add(payload.get("rule")), reply)

    def _filter_replace(self, payload: Payload, reply: Reply) -> None:
        name = _text(payload, "uuid")
        self._change_rules(lambda rulebook: rulebook.replace(name, payload.get("rule")), reply)

    def _filter_remove(self, payload: Payload, reply: Reply) -> None:
        name = _text(payload, "uuid")
        self._change_rules(lambda rulebook: rulebook.remove(name), reply)

    def _change_rules(self, change: Callable[[Rulebook], Rule], reply: Reply) -> None:
        try:
            rule = change(self._scheduler.rulebook)
        except RuleRefused as refused:
            reply(OSError(errno.EINVAL, str(refused)))
        except KeyError as unknown:
            reply(OSError(errno.ENOENT, f"unknown rule {values.show(unknown.args[0])}"))
        else:
            self._reply_when_durable(reply, {"rule": dict(rule_document(rule))})

    # -- waiting

    def _wait(self, payload: Payload, reply: Reply) -> None:
        """Answer when these jobs, or `count` jobs in all, or all present jobs have finished."""
        ids = _ids(payload)
        if payload.get("all") is True:
            ids = [job.id for job in live(self._scheduler.ledger.head)]
        if payload.get("count") is not None:
            wanted = _integer(payload, "count")
            self._waiting.append((lambda: self._scheduler.finished_count >= wanted, reply))
        else:
            unknown = [id_ for id_ in ids if not self._is_known(id_)]
            if unknown:
                reply(OSError(errno.ENOENT, f"unknown job id {unknown[0]}"))
                return
            left = set(ids)
            self._waiting.append((lambda: _all_gone(left, self._scheduler.ledger), reply))
        self.look()

    def _is_known(self, id_: int) -> bool:
        return find(self._scheduler.ledger.head, id_) is not None or self._is_finished(id_)

    def look(self) -> None:
        """Answer the requests whose wait is over; called when something has become durable."""
        if not self._waiting:
            return
        over = [(done, reply) for done, reply in self._waiting if done()]
        for entry in over:
            self._waiting.remove(entry)
            entry[1]({})

    def abandon(self, reply: Reply) -> None:
        """Drop a waiting request: its client has disconnected."""
        self._waiting = [entry for entry in self._waiting if entry[1] is not reply]


def _all_gone(left: set[int], ledger: Ledger) -> bool:
    for id_ in list(left):
        if find(ledger.visible.get(), id_) is not None or find(ledger.head, id_) is not None:
            return False
        if ledger.is_ending(id_):  # one that ended as soon as it came was never visible
            return False
        left.discard(id_)
    return True


def _answer_of_many(id_: int, answer: Payload | OSError) -> Json:
    """Write the answer about one of many jobs: it, or why the command was refused."""
    if isinstance(answer, OSError):
        return {"id": id_, "refused": {"errno": answer.errno, "text": answer.strerror}, "answer": None}
    return {"id": id_, "refused": None, "answer": {**answer}}


# Commands that change jobs, each by itself: they take `ids` in the place of `id`.
_OF_MANY = frozenset(
    f"job-manager.{name}" for name in ("cancel", "urgency", "priority", "hold", "release", "requeue", "raise", "kill")
)


class _BadPayload(Exception):
    """A payload that does not fit the topic."""


def _integer(payload: Payload, key: str) -> int:
    value = payload.get(key)
    if not _is_integer(value):
        raise _BadPayload(f"invalid payload: {key} must be an integer")
    return value


def _is_integer(value: Json) -> TypeGuard[int]:
    """Whether this is an integer that the store can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _text(payload: Payload, key: str) -> str:
    value = payload.get(key)
    if not isinstance(value, str):
        raise _BadPayload(f"invalid payload: {key} must be a string")
    if not values.is_unicode(value):
        raise _BadPayload(f"invalid payload: {key} must be valid Unicode")
    return value


def _ids(payload: Payload) -> list[int]:
    value = payload.get("ids") or []
    ids = [id_ for id_ in value if _is_integer(id_)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(ids) < len(value):
        raise _BadPayload("invalid payload: ids must be an array of integers")
    return ids


def _has_none(queue: Queue) -> bool:
    return not (len(queue.enqueued) or len(queue.running) or len(queue.manipulated))
