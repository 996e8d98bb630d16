"""Plugin events: show each event of each job to the plugins, and carry out what their callbacks ask for.

Rule: the core decides in stages (`core.plugin_stages`) while plugins are loaded. Each event is shown in order, first to
the plugins that subscribed, then, if it led to another state, to all; when a job's events are shown, it goes on to its
next stage. What a callback posts for its own job is shown after it (FIFO, no recursion); for another, idle job before
it goes on. What an earlier scheduler's plugins did to a job is read from its event log when it is asked for.
Source: flux-jobtap-plugins(7); Flux event.c (event queue).
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from jqsched.core import plugin_stages as stages
from jqsched.core import queue as queues
from jqsched.core.event import Event, advance
from jqsched.core.fold import Refused, Step
from jqsched.core.job import Job, Spec, State, is_ours, unsupported
from jqsched.core.jobspec import JobspecError, shown_jobspec, updated
from jqsched.core.jobspec.writers import dependency_object
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find
from jqsched.jobtap import PRIORITY_UNAVAIL, Args, Plugin
from jqsched.jobtap.boundary import failure, one_line
from jqsched.jobtap.plugin import is_priority
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.ledger import Ledger
from jqsched.scheduler.plugin_call import FollowedJob, Past, arguments, entry_of, unborn
from jqsched.scheduler.plugin_registry import Registry

Decide = Callable[[Queue, Limits, int], Step]

SEVERITY_STUCK = 4  # of the exception that reports a callback that failed: it ends nothing
POSTS_MAX = 1_000  # by plugins, before the scheduler has its turn again
POSTED_WITHOUT_END = f"{POSTS_MAX} events were posted in one go: one of them posts without end"


class PluginEvents:
    """The jobs as plugins see them."""

    def __init__(
        self,
        ledger: Ledger,
        dispatch: Dispatch,
        log: Callable[[str], None],
        make_registry: "Callable[[PluginEvents], Registry]",
    ) -> None:
        """`make_registry` makes the registry of the plugins that these events are shown to."""
        self.registry = make_registry(self)
        self.current: list[int] = []  # the jobs whose callbacks run, the innermost last
        self._ledger, self._dispatch, self._log = ledger, dispatch, log
        self._jobs: dict[int, FollowedJob] = {}
        self._todo: dict[int, None] = {}
        self._rejected: dict[int, str] = {}
        self._reported: set[tuple[str, str, int]] = set()
        self._showing: set[int] = set()
        self._is_pumping = False
        self._posts = 0  # by plugins, in the present pumping
        self.is_introducing = False  # whether jobs are shown to plugins that are new

    # ---- events ---------------------------------------------------------------------------------------------------

    def follow(self, events: Sequence[Event]) -> None:
        """Queue the events of a step to be shown to plugins. Called for each step, on the loop's thread."""
        for event in events:
            followed = self._jobs.get(event.jobid)
            if followed is None:
                followed = self._jobs[event.jobid] = FollowedJob(unborn(event), past=Past())
            followed.events.append(event)
            self._todo[event.jobid] = None
        if not self._is_pumping:
            self._pump()

    def _pump(self) -> None:
        self._is_pumping = True
        try:
            self._let_in([id_ for id_ in self._todo if self._jobs[id_].job.state is State.NEW])
            while self._todo:
                id_ = next(iter(self._todo))
                del self._todo[id_]
                self.show(id_)
        finally:
            self._is_pumping = False
            self._posts = 0
            self._reported.clear()

    def may_post(self) -> bool:
        """Whether plugins may post one more event before the scheduler has its turn again; it is counted.

        The first that is one too many is logged.
        """
        self._posts += 1
        if self._posts == POSTS_MAX + 1:
            self._log(f"plugins: {POSTED_WITHOUT_END}")
        return self._posts <= POSTS_MAX

    def _let_in(self, new: list[int]) -> None:
        """Have all jobs of a step rejected or validated before any goes on, for they may depend on one another."""
        for id_ in new:
            with self._shown_here(id_):
                while (followed := self._jobs.get(id_)) is not None and followed.events:
                    self._show_one(followed, followed.events.popleft())
        for id_ in new:
            if (followed := self._jobs.get(id_)) is not None:
                self._proceed(id_, followed)

    @contextmanager
    def _shown_here(self, id_: int) -> Iterator[None]:
        """Mark a job as being shown, so that events which come meanwhile are queued."""
        self._showing.add(id_)
        try:
            yield
        finally:
            self._showing.discard(id_)

    def show(self, id_: int) -> None:
        """Show a job's events and let it go on until there are no more; do nothing if that is under way."""
        if id_ in self._showing:
            return
        with self._shown_here(id_):
            while (followed := self._jobs.get(id_)) is not None:
                if followed.events:
                    self._show_one(followed, followed.events.popleft())
                elif not self._proceed(id_, followed):
                    break

    def _proceed(self, id_: int, followed: FollowedJob) -> bool:
        if find(self._ledger.head, id_) is None:
            return False
        over = not self._dispatch.has_attempt(id_)
        released, epilogs = followed.released, followed.epilogs > 0

        def proceed(queue: Queue, limits: Limits, now_us: int) -> Step:
            return stages.proceed(queue, id_, limits, now_us, over=over, released=released, epilogs=epilogs)

        return bool(self.decide(proceed).events)

    def decide(self, decision: Decide) -> Step:
        """Apply a decision to the head; its events are queued to be shown."""
        return self._dispatch.take(decision)

    def _show_one(self, followed: FollowedJob, event: Event) -> None:
        before = followed.job
        is_new = event.name == "submit"
        after = advance(None if is_new else before, event)
        followed.job = after if after is not None else before
        if followed.past is not None:
            followed.past.add(event)
        self._note(followed, event)
        if is_new:
            self._enter(followed)
            return
        entry = entry_of(event)
        if followed.subscribers:
            self._call(followed, f"job.event.{event.name}", {"entry": entry}, only=list(followed.subscribers))
        if after is None:
            self._rejected.setdefault(event.jobid, "dependency: what it depends on was rejected")
            self._forget(followed)
        elif event.name == "jobspec-update":
            self._call(followed, "job.update", {"updates": dict(event.context)})
        if after is not None and after.state is not before.state:
            self._entered(followed, before.state, entry)
        elif event.name == "priority" and "priority" not in event.context:
            self.ask_priority(followed)  # it is not pinned any more

    def _note(self, followed: FollowedJob, event: Event) -> None:
        if event.name == "release":
            followed.released = True
        elif event.name == "requeue":
            followed.released, followed.prologs, followed.end_event = False, 0, None
        elif followed.job.state is State.CLEANUP and followed.end_event is None:
            followed.end_event = entry_of(event)

    def _entered(self, followed: FollowedJob, before: State, entry: dict[str, Json]) -> None:
        """Call all plugins for a job that entered a state, and in PRIORITY ask for its priority."""
        topic = f"job.state.{followed.job.state.name.lower()}"
        self._call(followed, topic, {"entry": entry, "prev_state": int(before)})
        if followed.job.state is State.INACTIVE:
            self._call(followed, "job.inactive-add", {})
            self._forget(followed)

    def _forget(self, followed: FollowedJob) -> None:
        self._call(followed, "job.destroy", {})
        self._jobs.pop(followed.job.id, None)

    # ---- a new job ------------------------------------------------------------------------------------------------

    def _enter(self, followed: FollowedJob) -> None:
        """Call the plugins for a job that is being submitted; each may reject it. Source: docs/reference/plugins.md."""
        errmsg = self._reason_against(followed)
        id_ = followed.job.id
        if errmsg is None:
            self._call(followed, "job.new", {})
        elif find(self._ledger.head, id_) is not None:
            self._rejected[id_] = errmsg
            self.decide(lambda queue, limits, now_us: stages.invalidate(queue, id_, limits, now_us))

    def _reason_against(self, followed: FollowedJob) -> str | None:
        for topic in ("job.create", "job.validate"):
            errmsg = self._ask(followed, topic, {}, "rejected by job-manager plugin")
            if errmsg is not None:
                return errmsg
        for dependency in followed.job.spec.dependencies:
            topic, given = f"job.dependency.{dependency.scheme}", dependency_object(dependency)
            if not any(plugin.is_for("job.dependency.", topic) for plugin in self.registry.plugins):
                return unsupported(dependency.scheme)
            default = "rejected by job-manager dependency plugin"
            errmsg = self._ask(followed, topic, {"dependency": given}, default)
            if errmsg is not None:
                return errmsg
        return None

    def _ask(self, followed: FollowedJob, topic: str, more: JsonObject, default: str) -> str | None:
        args, called_well = self._call(followed, topic, more)
        return None if called_well else _errmsg(args, default)

    def rejections(self) -> dict[int, str]:
        """Return the jobs that plugins rejected since the last call, with the reasons."""
        rejected, self._rejected = self._rejected, {}
        return rejected

    # ---- calling --------------------------------------------------------------------------------------------------

    def _call(
        self, followed: FollowedJob, topic: str, more: JsonObject, only: Sequence[Plugin] | None = None
    ) -> tuple[Args, bool]:
        """Call the plugins for a job, and carry out what they return; a refusal is left to the caller."""
        if not any(plugin.handler(topic) for plugin in (self.registry.plugins if only is None else only)):
            if topic == "job.state.priority":
                self._apply_outputs(followed, topic, {})
            return Args({}), True
        args = Args({**arguments(followed), **more})
        self.current.append(followed.job.id)
        try:
            called_well = self.registry.call(topic, args, only)
        finally:
            self.current.pop()
        if followed.updates:
            self._update(followed)
        if topic not in _ASKING:
            self._apply_outputs(followed, topic, args.out)
        return args, called_well

    def _apply_outputs(self, followed: FollowedJob, topic: str, out: JsonObject) -> None:
        """Apply the priority and the annotations that callbacks returned."""
        id_ = followed.job.id
        priority, annotations = out.get("priority"), out.get("annotations")
        if isinstance(annotations, dict):
            context: JsonObject = {"annotations": annotations}
            self._post(id_, topic, lambda *at: stages.note(at[0], id_, "annotations", context, *at[1:]))
        elif annotations is not None:
            self.report(id_, topic, f"annotations: Expected object, got {_kind(annotations)}")
        if priority is not None and priority != PRIORITY_UNAVAIL and not is_priority(priority):
            self.report(id_, topic, f"arg_unpack: Expected integer, got {_kind(priority)}")
            priority = None
        computed = priority if isinstance(priority, int) and priority != PRIORITY_UNAVAIL else None
        if topic == "job.state.priority":
            self.decide(lambda *at: stages.prioritize(at[0], id_, computed, *at[1:]))
        elif computed is not None:
            self._post(id_, topic, lambda *at: stages.prioritize(at[0], id_, computed, *at[1:]))

    def _post(self, id_: int, topic: str, decision: Decide) -> None:
        """Post what a callback returned, unless plugins have posted too much; a refusal is reported."""
        if not self.may_post():
            return
        answer = self.decide(decision).answer
        if isinstance(answer, Refused):
            self.report(id_, topic, answer.text)

    def ask_priority(self, followed: FollowedJob) -> None:
        """Ask the plugins for a pending job's priority."""
        if followed.job.state in (State.PRIORITY, State.SCHED):
            self._visit(followed, lambda: self._call(followed, "job.priority.get", {}))

    def _visit(self, followed: FollowedJob, act: Callable[[], object]) -> None:
        """Call the plugins for a job that has no event to show; what they post for it is shown afterwards."""
        id_ = followed.job.id
        if id_ in self._showing:
            act()
            return
        with self._shown_here(id_):
            act()
        self._todo[id_] = None
        if not self._is_pumping:
            self._pump()

    def _update(self, followed: FollowedJob) -> None:
        updates, followed.updates = followed.updates, {}
        job = find(self._ledger.head, followed.job.id)
        if job is None:
            return
        try:
            id_, spec = job.id, updated(job.spec, updates)
        except JobspecError as wrong:  # it was changed after the callback had asked
            self.report(job.id, "job.update", one_line("; ".join(wrong.errors)))
        else:
            self._post(id_, "job.update", lambda *at: stages.update_spec(at[0], id_, spec, updates, *at[1:]))

    def report(self, id_: int, topic: str, what: str) -> None:
        """Say in a job's log that a callback failed, once for each kind of failure."""
        key = (topic, what, id_)
        job = find(self._ledger.head, id_)
        if job is None or key in self._reported or not self.may_post():
            return
        self._reported.add(key)
        note = f"{what} (job may be stuck in {job.state.name} state)"
        userid = job.userid

        def told(queue: Queue, limits: Limits, now_us: int) -> Step:
            severity = SEVERITY_STUCK
            return stages.raise_exception(queue, id_, topic, severity, note, limits, now_us, userid=userid)

        self.decide(told)

    def failed(self, plugin: Plugin, topic: str, what: str) -> None:
        """Log that a callback raised, also in the log of the job that it was called for."""
        self._log(f"plugin {plugin.name}: {topic}: {what}")
        if self.current:
            self.report(self.current[-1], topic, f"{plugin.name}: {what}")

    def ask_update(self, id_: int, key: str, value: Json) -> Args | None:
        """Ask `job.update.KEY`; None when no plugin knows the key. Raises OSError EINVAL with what a plugin says."""
        followed, topic = self._jobs[id_], f"job.update.{key}"
        if not any(plugin.is_for("job.update.", topic) for plugin in self.registry.plugins):
            return None
        cred: dict[str, Json] = {"userid": followed.job.userid, "rolemask": 1}
        args, called_well = self._call(followed, topic, {"cred": cred, "key": key, "value": value})
        if not called_well:
            raise failure(errno.EINVAL, _errmsg(args, f"update of {key} rejected"))
        return args

    def validate_update(self, id_: int, spec: Spec) -> None:
        """Pass a jobspec as it would be through `job.validate`. Raises OSError EINVAL."""
        followed = self._jobs[id_]
        jobspec = shown_jobspec(spec)
        args, called_well = self._call(followed, "job.validate", {"jobspec": jobspec})
        if not called_well:
            raise failure(errno.EINVAL, _errmsg(args, "rejected by job-manager plugin"))

    # ---- jobs that were accepted before ---------------------------------------------------------------------------

    def get(self, id_: int) -> FollowedJob | None:
        """Return what is kept of an active job."""
        return self._jobs.get(id_)

    def past(self, followed: FollowedJob) -> Past:
        """Return what was posted for a job, by this scheduler and those before it."""
        if followed.past is None:
            followed.past = Past()
            for event in self._ledger.events_of(followed.job.id):
                followed.past.add(event)
        return followed.past

    def begin(self) -> None:
        """Begin to follow jobs, with all that are active now."""
        for job in queues.live(self._ledger.head):
            self._jobs.setdefault(job.id, FollowedJob(job))

    def introduce(self, plugins: Iterable[Plugin], order: str, *, at_start: bool) -> None:
        """Show the active jobs to newly loaded plugins.

        Source: docs/reference/plugins.md (load, restart).
        """
        plugins = list(plugins)
        self.is_introducing = True
        try:
            for job in _sorted(queues.live(self._ledger.head), order):
                followed = self._jobs.get(job.id)
                if followed is not None:
                    self._visit(followed, partial(self._introduce, followed, plugins, at_start=at_start))
        finally:
            self.is_introducing = False

    def _introduce(self, followed: FollowedJob, plugins: list[Plugin], *, at_start: bool) -> None:
        job = followed.job
        self._call(followed, "job.create", {}, plugins)
        self._call(followed, "job.new", {}, plugins)
        if job.state is State.DEPEND:
            for dependency in job.spec.dependencies:
                if not is_ours(dependency):
                    given = {"dependency": dependency_object(dependency)}
                    self._call(followed, f"job.dependency.{dependency.scheme}", given, plugins)
            self._call(followed, "job.state.depend", {}, plugins)
        elif at_start and (job.state is State.CLEANUP or (job.state is State.RUN and not job.started)):
            # A prolog or an epilog that was under way when the scheduler ended is begun anew.
            self._call(followed, f"job.state.{job.state.name.lower()}", {"prev_state": int(job.state)}, plugins)

    def reprioritize_all(self) -> None:
        """Ask for the priority of each pending job."""
        for job in list(queues.live(self._ledger.head)):
            followed = self._jobs.get(job.id)
            if followed is not None:
                self.ask_priority(followed)

    def drop(self, plugins: Iterable[Plugin]) -> None:
        """Drop what was kept for plugins that were unloaded."""
        for plugin in plugins:
            for followed in self._jobs.values():
                followed.subscribers.pop(plugin, None)
                followed.aux.pop(plugin, None)

    def is_held(self, id_: int) -> bool:
        """Whether an allocated job's order must wait for a prolog."""
        followed = self._jobs.get(id_)
        return followed is not None and followed.prologs > 0


_ASKING = frozenset(("job.create", "job.validate", "job.destroy", "job.inactive-add"))


def _sorted(jobs: Iterable[Job], order: str) -> list[Job]:
    sign = {"state": 1, "-state": -1}.get(order, 0)
    return sorted(jobs, key=lambda job: (sign * job.state, job.id))


def _errmsg(args: Args, default: str) -> str:
    """Return the text of a refusal, as one line."""
    errmsg = args.out.get("errmsg")
    return one_line(errmsg) if isinstance(errmsg, str) and errmsg else default


def _kind(value: object) -> str:
    """Return the JSON name of a value's type."""
    names = {str: "string", bool: "boolean", float: "real", dict: "object", list: "array", type(None): "null"}
    return names.get(type(value), "integer")
