"""Jobtap: the plugins of a scheduler, from loading to unloading; their services, timers and requests.

Rule: with the built-in plugins alone no plugin is called, and the core decides in one go. From the first other
plugin on (or when a built-in one is removed) it decides in stages, until the scheduler ends. Source:
docs/reference/plugins.md; docs/adr/0011-plugins-and-stages.md.
"""

import errno
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

from jqsched.core import plugin_stages as stages
from jqsched.core import queue as queues
from jqsched.core.event import Event
from jqsched.core.fold import Step
from jqsched.core.job import State
from jqsched.core.jobspec import JobspecError, updated
from jqsched.core.jobspec.values import show
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.jobtap import Args, Message, Plugin, Timer
from jqsched.jobtap.boundary import failure, one_line
from jqsched.jobtap.handle import Callback
from jqsched.jobtap.loading import read_wanted
from jqsched.ports import PLUGGED, Attempt, Clock, PortError
from jqsched.scheduler.dispatch import Dispatch
from jqsched.scheduler.ledger import Ledger
from jqsched.scheduler.plugin_api import JobHost
from jqsched.scheduler.plugin_events import Decide, PluginEvents
from jqsched.scheduler.plugin_registry import Registry

DURATION = "attributes.system.duration"
ERRORS_SHOWN = 3  # in the one line of a refusal

Reply = Callable[[JsonObject | OSError], None]
Request = Callable[[str, JsonObject, Reply], None]
Post = Callable[[Callable[[], None]], None]


class Jobtap:
    """The plugins of a scheduler; `is_plugged` once the core decides in stages; `on_plugged` is called then."""

    def __init__(
        self,
        ledger: Ledger,
        dispatch: Dispatch,
        clock: Clock,
        userid: int,
        log: Callable[[str], None],
        post: Post,
        folder: str,
        request: Request,
        on_load: Callable[[Registry], None],
        on_plugged: Callable[[], None],
    ) -> None:
        """`request` carries out what a plugin asks for as a user may; `on_load`: see `Registry`."""
        self.is_plugged = False
        self.config: JsonObject = {}
        self._ledger, self._dispatch, self._clock, self._userid = ledger, dispatch, clock, userid
        self._log, self._post, self._request, self._on_plugged = log, post, request, on_plugged
        self._timers: list[_Due] = []
        self._numbers = count()

        def registry(events: PluginEvents) -> Registry:
            return Registry(JobHost(events, ledger, dispatch, userid), self, folder, events.failed, on_load)

        self.events = PluginEvents(ledger, dispatch, log, registry)
        self.registry = self.events.registry

    # -- lifecycle

    def start(self, wanted: Iterable[str], attempts: Iterable[Attempt], *, was_plugged: bool) -> None:
        """Load the plugins of the configuration before anything is decided, and show them the jobs that are there.

        Without plugins: the jobs that those of the last scheduler had stopped go on. Raises PortError for a plugin
        that cannot be loaded: a scheduler without it would let through what it is there to stop.
        """
        self._dispatch.expect(attempts)
        for entry in wanted:
            try:
                self._load(*read_wanted(entry))
            except ValueError as error:
                raise PortError("load a plugin", entry, errno.EINVAL, str(error)) from error
            except OSError as error:
                raise PortError("load a plugin", entry, error.errno, error.strerror or str(error)) from error
        if self.is_plugged:
            self.events.introduce(self.registry.plugins, "none", at_start=True)
            self.events.reprioritize_all()
        elif was_plugged:
            self._resume()

    def _resume(self) -> None:
        for job in list(queues.live(self._ledger.head)):
            if job.state in (State.PRIORITY, State.CLEANUP):
                over = not self._dispatch.has_attempt(job.id)
                self._dispatch.take(partial(_resume, job.id, over))
        self._ledger.setting(PLUGGED, "0")

    def _load(self, name: str, conf: JsonObject) -> Plugin:
        if name.startswith(".") and conf:
            self._plug()
        plugin = self.registry.load(name, conf)
        refusal = self._configure(plugin)
        if refusal:
            self.registry.unload(plugin.name)
            self.events.drop([plugin])
            raise failure(errno.EINVAL, f"{name}: {refusal}")
        self._plug()
        return plugin

    def _configure(self, plugin: Plugin) -> str:
        """Show a plugin the configuration; returns why the plugin refuses it, or an empty text."""
        args, failures = Args({"conf": dict(self.config)}), list[str]()
        if self.registry.call("conf.update", args, [plugin], failures):
            return ""
        errmsg = args.out.get("errmsg")
        return one_line(errmsg) if isinstance(errmsg, str) else "; ".join(failures) or "conf.update failed"

    def _plug(self) -> None:
        """Switch the core to stages, so that plugins are called between them."""
        if self.is_plugged:
            return
        self.is_plugged = True
        self.registry.wake_built_in()
        self.events.begin()
        self._ledger.setting(PLUGGED, "1")
        self._on_plugged()

    # -- the life of jobs

    def follow(self, events: Sequence[Event]) -> None:
        """Show the events of a decision to the plugins."""
        if self.is_plugged:
            self.events.follow(events)

    def is_held(self, id_: int) -> bool:
        """Whether the order of an allocated job must wait for a prolog."""
        return self.is_plugged and self.events.is_held(id_)

    def attempt_over(self, id_: int) -> None:
        """Let a job go on of whose attempt no process is left."""
        if self.is_plugged:
            self.events.show(id_)

    def rejections(self) -> dict[int, str]:
        """Return the jobs that plugins have rejected since this was last called, and why."""
        return self.events.rejections()

    # -- commands

    def load(self, name: str, conf: JsonObject) -> Plugin:
        """Load a plugin, show it the jobs that are there, and ask for all priorities. Raises OSError as Flux."""
        plugin = self._load(name, conf)
        self.events.introduce([plugin], plugin.sort_order, at_start=False)
        self.events.reprioritize_all()
        return plugin

    def remove(self, name: str) -> list[Plugin]:
        """Unload plugins; jobs that wait for one go on waiting. Raises: ENOENT."""
        if name.startswith("."):
            self._plug()  # the core cannot stand in for a built-in plugin that is removed
        gone = self.registry.unload(name)
        self.events.drop(gone)
        return gone

    def query(self, name: str) -> dict[str, Json]:
        """Return a plugin's description of itself. Raises: EINVAL."""
        if not self.is_plugged and name in self.registry.names:
            self._plug()
        return self.registry.query(name)

    def listed(self) -> list[Json]:
        """The names and paths of the plugins, in load order."""
        known = {plugin.name: plugin.path for plugin in self.registry.plugins}
        return [{"name": name, "path": known.get(name, "builtin")} for name in self.registry.names]

    def update_request(self, id_: int, updates: Mapping[str, Json]) -> Decide:
        """Have plugins check a requested update of a jobspec; returns the function that applies it.

        All or nothing: no handler for a key is EINVAL, but for the duration, which its owner may change. Unless
        each
        handler says `validated`, the new jobspec passes `job.validate`. Raises OSError. Source:
        docs/reference/plugins.md.
        """
        job = queues.find(self._ledger.head, id_)
        if job is None:
            raise failure(errno.ENOENT, "unknown job id")
        changes, validated = dict(updates), True
        for key, value in updates.items():
            args = self.events.ask_update(id_, key, value) if self.is_plugged else None
            if args is None and key != DURATION:
                raise failure(errno.EINVAL, f"update of {show(key, 100)[1:-1]} not supported")
            out = args.out if args is not None else {}
            validated = validated and bool(out.get("validated"))
            more = out.get("updates")
            changes |= more if isinstance(more, dict) else {}
        try:
            spec = updated(job.spec, changes)
        except JobspecError as wrong:
            raise failure(errno.EINVAL, "; ".join(wrong.errors[:ERRORS_SHOWN])) from None
        if self.is_plugged and not validated:
            self.events.validate_update(id_, spec)
        return lambda queue, limits, now_us: stages.update_spec(queue, id_, spec, changes, limits, now_us)

    def purged(self, ids: Iterable[int]) -> None:
        """Tell plugins that finished jobs were purged."""
        if self.is_plugged:
            for id_ in ids:
                self.registry.call("job.inactive-remove", Args({"id": id_}))

    def configure(self, config: JsonObject) -> None:
        """Show all plugins a configuration that has changed; those that refuse it are named in the log."""
        self.config = config
        for plugin in list(self.registry.plugins) if self.is_plugged else ():
            refusal = self._configure(plugin)
            if refusal:
                self._log(f"plugin {plugin.name}: conf.update: {refusal}")

    def serve(self, topic: str, payload: JsonObject, reply: Reply) -> bool:
        """Have a plugin answer a request to its service; False when no plugin knows the topic."""
        found = self.registry.service(topic)
        if found is None:
            return False
        plugin, callback, arg = found
        message = Message(topic, payload, self._userid, reply)
        more = () if arg is None else (arg,)
        went_well = self.registry.guard(plugin.name, topic, lambda: callback(plugin, message, *more))
        if not went_well and not message.is_answered:
            message.respond_error(errno.EIO, f"plugin {plugin.name} failed: see the log")
        return True

    # -- the loop, for plugins

    def request(self, topic: str, payload: JsonObject, reply: Reply) -> None:
        """Carry out a plugin's request in the next turn, as for a user."""
        self._post(lambda: self._request(topic, payload, reply))

    def call_at(self, due_us: int, callback: Callback, repeat_us: int, timer: Timer) -> None:
        """Call a function at a time, and repeatedly if `repeat_us` is not 0, until the timer is canceled."""
        heapq.heappush(self._timers, _Due(due_us, next(self._numbers), callback, repeat_us, timer))
        self._post(lambda: None)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call a function in the next turn. From any thread."""

        def call() -> None:
            callback()

        self._post(call)

    def now_us(self) -> int:
        """Monotonic time."""
        return self._clock.monotonic_us()

    def log(self, text: str) -> None:
        """Log a line."""
        self._log(text)

    @property
    def next_due_us(self) -> int | None:
        """Return the time at which the next timer fires."""
        return self._timers[0][0] if self._timers else None

    def fire(self) -> None:
        """Call the timers that are due; timers set meanwhile are called later."""
        now_us, due = self.now_us(), list[_Due]()
        while self._timers and self._timers[0].due_us <= now_us:
            due.append(heapq.heappop(self._timers))
        for one in due:
            if one.timer.is_canceled is True:  # the plugin holds it, and may have put anything there
                continue
            if one.repeat_us:
                again = one._replace(due_us=now_us + one.repeat_us, number=next(self._numbers))
                heapq.heappush(self._timers, again)
            one.callback()


class _Due(NamedTuple):
    """A scheduled call, ordered by its time, then by its unique number."""

    due_us: int
    number: int
    callback: Callback
    repeat_us: int
    timer: Timer


def _resume(id_: int, over: bool, queue: Queue, limits: Limits, now_us: int) -> Step:
    return stages.resume(queue, id_, limits, now_us, over=over)
