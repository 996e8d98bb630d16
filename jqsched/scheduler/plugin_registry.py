"""The registry of plugins: load, unload, and call their callbacks one after the other.

Rule: whatever a callback does, the caller goes on: what it raises is reported and counts as a failure, and what it left
in `args.out` that is not JSON is reported and dropped before any other code sees it. Nothing is known here of jobs.
Source: flux-jobtap-plugins(7); Flux jobtap.c.
"""

import errno
import os
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial

from jqsched.core.jobspec.values import show
from jqsched.core.json import Json, JsonObject
from jqsched.jobtap import BUILT_IN, Args, Handle, Host, Plugin, Timer, boundary, find_plugin
from jqsched.jobtap.boundary import failure
from jqsched.jobtap.handle import Callback, Loop
from jqsched.jobtap.loading import BUILTIN

Report = Callable[[Plugin, str, str], None]  # the plugin, the topic, and what went wrong

NESTED_MAX = 16  # calls within calls: a plugin that calls itself without end is stopped well before Python's stack ends


class Registry:
    """The plugins in the order in which they were loaded; the built-in ones first."""

    def __init__(
        self, host: Host, loop: Loop, folder: str, report: Report, on_load: "Callable[[Registry], None]"
    ) -> None:
        """`on_load` is called before code of a plugin is run for the first time, with this registry."""
        self.plugins: list[Plugin] = []
        self.calling: tuple[str, str] | None = None  # plugin and topic, for the watchdog
        self.calls = 0
        self._nested = 0
        self._host, self._loop, self._folder, self._report = host, loop, folder, report
        self._on_load = on_load
        self._built_in = list(BUILT_IN)  # loaded with the first other plugin: until then the core does what they would

    # -- calling

    def call(
        self, topic: str, args: Args, only: Iterable[Plugin] | None = None, raised: list[str] | None = None
    ) -> bool:
        """Call the first handler of each plugin that matches, in load order, until one fails; False when one did.

        What a callback raises is reported, and added to `raised`.
        """
        for plugin in list(self.plugins) if only is None else only:
            handler = plugin.handler(topic)
            if handler is not None:
                went_well = self._call_one(plugin, topic, partial(handler, args), raised)
                self._take_out(plugin, topic, args)
                if not went_well:
                    return False
        return True

    def _take_out(self, plugin: Plugin, topic: str, args: Args) -> None:
        """Replace what a callback left in `args.out` by a copy of what is JSON. Our own plugins leave nothing else."""
        if plugin.path == BUILTIN:
            return
        size_max = boundary.EVENT_SIZE_MAX if topic.startswith("job.") else boundary.ANSWER_SIZE_MAX
        args.out, complaints = boundary.readable_parts(getattr(args, "out", None), size_max)
        for complaint in complaints:
            self._report(plugin, topic, complaint)

    def _call_one(self, plugin: Plugin, topic: str, act: Callable[[], object], raised: list[str] | None = None) -> bool:
        """Call one handler; False when it failed. A return value that is no number, or None, counts as 0."""
        if self._nested >= NESTED_MAX:
            self._report(plugin, topic, "plugins call one another without end")
            return False
        outer, self.calling = self.calling, (plugin.name, topic)
        self.calls += 1
        self._nested += 1
        try:
            answer = act()
        except BaseException as error:  # whatever a plugin raises, the scheduler goes on
            what = boundary.describe_error(error)
            if raised is not None:
                raised.append(what)
            self._report(plugin, topic, what)
            return False
        finally:
            self.calling = outer
            self.calls += 1
            self._nested -= 1
        return not boundary.is_refusal(answer)

    def guard(self, plugin_name: str, topic: str, act: Callable[[], object]) -> bool:
        """Call a function of a plugin that is no handler: a timer, an answer. False when it failed."""
        plugin = next((one for one in self.plugins if one.name == plugin_name), None)
        return plugin is not None and self._call_one(plugin, topic, act)

    def service(self, topic: str) -> tuple[Plugin, Callable[..., object], object] | None:
        """Find the plugin and the function that answer a topic."""
        for plugin in self.plugins:
            if topic in plugin.services:
                return plugin, *plugin.services[topic]
        return None

    # -- loading

    @property
    def names(self) -> list[str]:
        """Return the names of the loaded plugins."""
        return [*self._built_in, *(plugin.name for plugin in self.plugins)]

    def wake_built_in(self) -> None:
        """Load the modules of the built-in plugins, before all other plugins."""
        self.plugins[:0] = [self._make(name, {}) for name in self._built_in]
        self._built_in = []

    def load(self, wanted: str, conf: JsonObject) -> Plugin:
        """Load a plugin; a built-in one that is given a configuration takes its own place.

        Raises: EEXIST, ENOENT, EINVAL, and what its `plugin_init` raises as EINVAL.
        """
        name = wanted if wanted in BUILT_IN else os.path.basename(wanted)
        loaded = next((at for at, plugin in enumerate(self.plugins) if plugin.name == name), None)
        again = wanted in BUILT_IN and bool(conf) and loaded is not None
        if name in self.names and not again:
            raise failure(errno.EEXIST, f"{name} already loaded")
        plugin = self._make(wanted, conf)
        if loaded is None:
            self.plugins.append(plugin)
        else:
            self.plugins[loaded] = plugin
        return plugin

    def _make(self, wanted: str, conf: JsonObject) -> Plugin:
        self._on_load(self)
        self.calling, self.calls = (wanted, "plugin_init"), self.calls + 1
        try:
            return self._begin(wanted, conf)
        finally:
            self.calling, self.calls = None, self.calls + 1

    def _begin(self, wanted: str, conf: JsonObject) -> Plugin:
        name, path, init = find_plugin(wanted, self._folder)
        plugin = Plugin(name, path, conf, self._host, Handle(_Guarded(self._loop, self, name), name))
        try:
            answer = init(plugin)
        except BaseException as error:  # whatever a plugin raises, the scheduler goes on
            number, text = boundary.error_number(error), boundary.error_text(error)
            if not isinstance(error, OSError):
                text = f"plugin_init: {boundary.describe_error(error)}"
            raise failure(number, f"{wanted}: {text}") from error
        if boundary.is_refusal(answer):
            raise failure(errno.EINVAL, f"{wanted}: plugin_init failed")
        return plugin

    def unload(self, wanted: str) -> list[Plugin]:
        """Unload plugins: one by its name, `all` but the built-in ones, or those that a glob matches.

        Raises: ENOENT when none is meant.
        """
        found = [plugin for plugin in self.plugins if _is_meant(plugin.name, wanted)]
        if not found and wanted != "all":
            raise failure(errno.ENOENT, "Failed to find plugin to remove")
        for plugin in found:
            self.plugins.remove(plugin)
        return found

    def find(self, name: str) -> Plugin:
        """A loaded plugin by its name. Raises: EINVAL, as Flux."""
        for plugin in self.plugins:
            if plugin.name == name:
                return plugin
        raise failure(errno.EINVAL, f"{show(name, 100)[1:-1]}: plugin not found")

    def query(self, name: str) -> dict[str, Json]:
        """Return a plugin's description of itself. Raises: EINVAL."""
        plugin = self.find(name)
        args = Args({})
        args.out |= {"name": plugin.name, "path": plugin.path}
        self.call("plugin.query", args, [plugin])
        return args.out


def _is_meant(name: str, wanted: str) -> bool:
    """Whether a name is meant: exactly, or by a glob, which does not match the dot of the built-in ones."""
    if wanted == name:
        return True
    hidden = name.startswith(".") and not wanted.startswith(".")
    return not hidden and (wanted == "all" or fnmatchcase(name, wanted))


class _Guarded:
    """The loop as one plugin sees it: exceptions of its callbacks are contained; after unloading none is called."""

    def __init__(self, loop: Loop, registry: Registry, name: str) -> None:
        self._loop, self._registry, self._name = loop, registry, name

    def request(self, topic: str, payload: JsonObject, reply: Callable[[JsonObject | OSError], None]) -> None:
        self._loop.request(topic, payload, lambda answer: self._contained(topic, lambda: reply(answer)))

    def call_at(self, due_us: int, callback: Callback, repeat_us: int, timer: Timer) -> None:
        self._loop.call_at(due_us, lambda: self._contained("timer", callback), repeat_us, timer)

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._loop.call_soon(lambda: self._contained("call", callback))

    def now_us(self) -> int:
        return self._loop.now_us()

    def log(self, text: str) -> None:
        self._loop.log(text)

    def _contained(self, topic: str, act: Callable[[], object]) -> None:
        self._registry.guard(self._name, topic, act)
