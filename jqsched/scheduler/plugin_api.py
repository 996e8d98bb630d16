"""The plugin API: what plugins may do to jobs.

In: calls of plugins, with arguments that `jobtap.boundary` has checked and copied. Out: a decision of
`core.plugin_stages`, or an OSError with Flux's errno.
Rule: the events of a job are shown to plugins after the callback that runs for it, those of any other job at once. A
plugin that posts without end is stopped after `POSTS_MAX` events. Source: flux_jobtap_get_flux(3),
flux-jobtap-plugins(7).
"""

import errno
from collections.abc import Callable, Iterator

from jqsched.core import plugin_stages as stages
from jqsched.core import queue as queues
from jqsched.core.event import Event, advance
from jqsched.core.fold import Answer, Refused, Step, UnknownJob
from jqsched.core.job import Job, Spec, State
from jqsched.core.jobspec import JobspecError, updated
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find
from jqsched.jobtap import CURRENT_JOB, Args, Plugin
from jqsched.jobtap.boundary import failure
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.ledger import Ledger
from jqsched.scheduler.plugin_call import FollowedJob, arguments
from jqsched.scheduler.plugin_events import POSTED_WITHOUT_END, PluginEvents

Apply = Callable[[Queue, int, Limits, int], Step]


class JobHost:
    """Access to the jobs for plugins."""

    def __init__(self, events: PluginEvents, ledger: Ledger, dispatch: Dispatch, userid: int) -> None:
        self._events, self._ledger, self._dispatch, self._userid = events, ledger, dispatch, userid

    # -- which job

    def _id(self, id_: int) -> int:
        """A job's id, or the present one's. Raises EINVAL where there is none."""
        if id_ != CURRENT_JOB:
            return id_
        if not self._events.current:
            raise failure(errno.EINVAL, "there is no current job outside of callbacks")
        return self._events.current[-1]

    def _tap(self, id_: int) -> FollowedJob:
        followed = self._events.get(self._id(id_))
        if followed is None:
            raise failure(errno.ENOENT)
        return followed

    def _job(self, id_: int) -> Job:
        job = find(self._ledger.head, self._id(id_))
        if job is None:
            raise failure(errno.ENOENT)
        return job

    # -- changes

    def _change(self, id_: int, apply: Apply) -> None:
        """Apply a decision and show its events; a job with a permit is changed once the executor gave that back."""
        here = self._id(id_)
        self._count()
        answers: list[Answer | None] = []
        self._dispatch.change(here, lambda queue, limits, now_us: apply(queue, here, limits, now_us), answers.append)
        if not answers:
            return  # later: a permit is asked back first
        match answers[0]:
            case UnknownJob():
                raise failure(errno.ENOENT)
            case Refused(text):
                raise failure(errno.EINVAL, text)
            case _:
                pass
        if here not in self._events.current:
            self._events.show(here)

    def _count(self) -> None:
        if not self._events.may_post():
            raise failure(errno.EOVERFLOW, POSTED_WITHOUT_END)

    def reprioritize_all(self) -> None:
        self._events.reprioritize_all()

    def reprioritize_job(self, id_: int, priority: int) -> None:
        self._job(id_)
        self._change(id_, lambda queue, here, *at: stages.prioritize(queue, here, priority, *at))

    def dependency_add(self, id_: int, description: str) -> None:
        followed = self._tap(id_)
        if description in self._events.past(followed).removed:
            if self._events.is_introducing:
                return  # a plugin that was loaded again asks for all that the job once waited for
            raise failure(errno.EEXIST, f"{description!r} was removed before")
        self._change(id_, lambda queue, here, *at: stages.add_dependency(queue, here, description, *at))

    def dependency_remove(self, id_: int, description: str) -> None:
        followed = self._tap(id_)
        self._change(id_, lambda queue, here, *at: stages.remove_dependency(queue, here, description, *at))
        self._events.past(followed).removed.add(description)

    def perilog(self, id_: int, name: str, description: str, status: int | None) -> None:
        followed, job = self._tap(id_), self._job(id_)
        which, begins = ("prologs" if name.startswith("prolog") else "epilogs"), status is None
        count = getattr(followed, which)
        if begins and which == "prologs" and (job.state > State.RUN or job.started):
            raise failure(errno.EINVAL, "the job was started already")
        if begins and which == "epilogs" and job.state is not State.CLEANUP:
            raise failure(errno.EINVAL, "the job has not ended")
        if not begins and count == 0:
            raise failure(errno.EINVAL, f"no {which[:-1]} of this job is under way")
        context: dict[str, Json] = {"description": description}
        if status is not None:
            context["status"] = status
        setattr(followed, which, count + (1 if begins else -1))
        try:
            self.post(id_, name, context)
        except OSError:
            setattr(followed, which, count)
            raise
        if not begins and followed.prologs == 0:
            self._dispatch.order_held(job.id)

    def post(self, id_: int, name: str, context: JsonObject) -> None:
        self._change(id_, lambda queue, here, *at: stages.note(queue, here, name, context, *at))

    def raise_exception(self, id_: int, kind: str, severity: int, note: str) -> None:
        def apply(queue: Queue, here: int, limits: Limits, now_us: int) -> Step:
            return stages.raise_exception(queue, here, kind, severity, note, limits, now_us, userid=self._userid)

        self._change(id_, apply)

    def update_jobspec(self, id_: int, updates: JsonObject) -> None:
        current = self._events.current[-1] if self._events.current else None
        if id_ != CURRENT_JOB and id_ == current:
            raise failure(errno.EINVAL, "the current job's jobspec is changed by jobspec_update")
        followed, job = self._tap(id_), self._job(id_)
        if job.state >= State.RUN:
            raise failure(errno.EINVAL, "the job runs already")
        if id_ == CURRENT_JOB:
            _respecified(job.spec, {**followed.updates, **updates})  # what cannot be is said here
            followed.updates.update(updates)
            return
        spec = _respecified(job.spec, updates)
        self._change(id_, lambda queue, here, *at: stages.update_spec(queue, here, spec, updates, *at))

    # -- queries

    def subscribe(self, plugin: Plugin, id_: int, *, wanted: bool) -> None:
        followed = self._tap(id_)
        if wanted:
            followed.subscribers[plugin] = None
        else:
            followed.subscribers.pop(plugin, None)

    def was_posted(self, id_: int, name: str) -> bool:
        followed = self._tap(id_)
        return name in self._events.past(followed).posted or any(event.name == name for event in followed.events)

    def lookup(self, id_: int) -> JsonObject:
        return arguments(self._tap(id_))

    def result(self, id_: int) -> int:
        job = self._tap(id_).job
        if job.state < State.CLEANUP:
            raise failure(errno.EINVAL, "the job has not ended")
        if job.state is not State.INACTIVE:
            ended = advance(job, Event(job.id, job.t_cleanup_us + 1, "clean"))
            assert ended is not None
            job = ended
        assert job.result is not None
        return int(job.result)

    def aux(self, plugin: Plugin, id_: int) -> dict[str, object]:
        return self._tap(id_).aux.setdefault(plugin, {})

    def call(self, plugin: Plugin, id_: int, topic: str, args: Args) -> int:
        if topic.startswith("job."):
            raise failure(errno.EINVAL)
        here = self._id(id_)
        self._tap(here)
        self._events.current.append(here)
        try:
            others = [other for other in self._events.registry.plugins if other is not plugin]
            return 0 if self._events.registry.call(topic, args, others) else -1
        finally:
            self._events.current.pop()

    def live_jobs(self) -> Iterator[Job]:
        return queues.live(self._ledger.head)


def _respecified(spec: Spec, updates: JsonObject) -> Spec:
    """Apply updates to a spec. Raises: EINVAL, with what is wrong."""
    try:
        changed = updated(spec, updates)
    except JobspecError as wrong:
        raise failure(errno.EINVAL, "; ".join(wrong.errors)) from None
    if changed.name != spec.name:
        raise failure(errno.EINVAL, stages.NAME_STAYS)
    return changed
